"""Plain transformers as encoders: the patches' map, and the pyramid that is made of it."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from alseg.network import JointCAMNetwork, PatchEncoder, SimpleFeaturePyramid


def patches(channels=8, size=16):
    return PatchEncoder(nn.Conv2d(3, channels, size, stride=size), channels, size)


@pytest.fixture
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return JointCAMNetwork(patches()).eval()


def test_the_pyramid_by_hand():
    """Each level from functions alone, as the paper's Sec. 3 and ViTDet's code have it."""
    pyramid = SimpleFeaturePyramid(8, channels=4)
    x = torch.randn(2, 8, 4, 6)

    def norm(x, layer):
        mean = x.mean(1, keepdim=True)
        variance = x.var(1, unbiased=False, keepdim=True)
        scale, shift = (v.reshape(1, -1, 1, 1) for v in (layer.weight, layer.bias))
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    def double(x, layer):  # a transposed convolution of kernel and stride 2 tiles the map
        n, _, h, w = x.shape
        tiles = torch.einsum("nchw,cdij->ndhiwj", x, layer.weight)
        return tiles.reshape(n, -1, 2 * h, 2 * w) + layer.bias.reshape(1, -1, 1, 1)

    for p in pyramid.parameters():
        nn.init.normal_(p)
    a, b, c, d = pyramid.levels
    quarter = double(F.gelu(norm(double(x, a[0][0]), a[0][1])), a[0][3])
    pooled = x.reshape(2, 8, 2, 2, 3, 2).amax((3, 5))
    for level, scaled, found in zip(
        (a, b, c, d), (quarter, double(x, b[0]), x, pooled), pyramid([x]), strict=True
    ):
        small = norm(torch.einsum("nchw,dc->ndhw", scaled, level[1].weight[:, :, 0, 0]), level[2])
        expected = norm(F.conv2d(small, level[3].weight, padding=1), level[4])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("in_channels", "n"), [(192, 825_776), (768, 3_518_144)])
def test_parameters_are_as_many_as_stated(in_channels, n):
    pyramid = SimpleFeaturePyramid(in_channels)
    assert sum(p.numel() for p in pyramid.parameters()) == n
    c, h, q, d = 128, in_channels // 2, in_channels // 4, in_channels
    doubled = 4 * d * h + h
    by_hand = 2 * doubled + 2 * h + 4 * h * q + q + c * (q + h + 2 * d) + 4 * (9 * c * c + 4 * c)
    assert by_hand == n
    assert f"{n:,}" in SimpleFeaturePyramid.__doc__


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_strides_and_shapes(stride):
    pyramid = SimpleFeaturePyramid(12, stride, channels=5)
    assert pyramid.strides == [stride // 4, stride // 2, stride, 2 * stride]
    maps = pyramid([torch.rand(1, 12, 64 // stride * 2, 128 // stride * 2)])
    expected = [(1, 5, 128 // s, 256 // s) for s in pyramid.strides]
    assert [tuple(m.shape) for m in maps] == expected


@pytest.mark.parametrize(
    ("patch", "stride"), [(2, 2), (4, 4), (8, 8), (14, 16), (12, 16), (16, 16), (20, 16), (32, 32)]
)
def test_patches_have_the_nearest_power_of_two_as_stride(patch, stride):
    encoder = patches(size=patch)
    assert encoder.strides == [stride]
    (found,) = encoder(torch.rand(2, 3, 2 * stride, 3 * stride))
    assert found.shape == (2, 8, 2, 3)


def test_patches_of_fourteen_pixels_are_cut_from_a_smaller_image():
    encoder, x = patches(size=14), torch.rand(1, 3, 64, 96)
    expected = encoder.net(F.interpolate(x, size=(56, 84), mode="bilinear", align_corners=False))
    assert torch.equal(encoder(x)[0], expected)
    same = patches(size=16)
    assert torch.equal(same(x)[0], same.net(x))


def test_of_a_list_the_last_map_counts():
    class Blocks(nn.Module):
        def forward(self, x):
            x = F.avg_pool2d(x, 16)
            return [x, x + 1, x + 2]

    (found,) = PatchEncoder(Blocks(), 3)(torch.zeros(1, 3, 32, 32))
    assert found.eq(2).all()


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"channels": 0}, "channels must be >= 1"),
        ({"channels": 8, "patch_size": 1}, "patch_size must be >= 2"),
    ],
)
def test_what_a_patch_encoder_refuses(arguments, rule):
    with pytest.raises(ValueError, match=rule):
        PatchEncoder(nn.Identity(), **arguments)


def test_the_network_has_maps_of_four_strides_and_the_cam_at_sixteen(network):
    assert network.encoder.strides == [16]
    assert network.strides == [4, 8, 16, 32]
    with torch.no_grad():
        out = network(torch.rand(2, 3, 64, 96))
    assert out["cam"].shape == (2, 2, 4, 6)
    assert out["mask_logits"].shape == (2, 2, 64, 96)
    assert network.embed(network.encode(torch.rand(1, 3, 64, 96))).shape == (1, 256, 4, 6)


@settings(max_examples=15)
@given(h=st.integers(1, 70), w=st.integers(1, 70))
def test_any_size_is_that_of_the_padded_image_cropped(h, w):
    torch.manual_seed(0)
    network = JointCAMNetwork(patches(size=14)).eval()
    x = torch.rand(1, 3, h, w)
    padded = F.pad(x, (0, -w % 32, 0, -h % 32), mode="replicate")
    with torch.no_grad():
        found, whole = network(x), network(padded)
    assert torch.equal(found["mask_logits"], whole["mask_logits"][:, :, :h, :w])
    assert torch.equal(found["cam"], whole["cam"][:, :, : -(-h // 16), : -(-w // 16)])


def test_gradients_reach_every_parameter(network):
    network.train()
    out = network(torch.rand(2, 3, 64, 64))
    (out["logits"].square().sum() + out["mask_logits"].square().sum()).backward()
    without = [k for k, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_the_pyramid_belongs_to_the_classifier_and_not_to_the_encoder(network):
    assert network.neck in network.class_parts()
    own = {k for k, _ in network.named_parameters() if k.startswith("encoder.")}
    assert own == {"encoder.net.weight", "encoder.net.bias"}


def test_other_encoders_have_no_neck():
    network = JointCAMNetwork("tiny", None)
    assert not list(network.neck.parameters())
    assert network.strides == network.encoder.strides


def test_a_pyramid_inside_an_encoder_of_ones_own():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 16, 16, stride=16)
            self.pyramid = SimpleFeaturePyramid(16, channels=8)
            self.out_channels, self.strides = self.pyramid.out_channels, self.pyramid.strides

        def forward(self, x):
            return self.pyramid([self.patches(x)])

    with torch.no_grad():
        out = JointCAMNetwork(Own()).eval()(torch.rand(1, 3, 40, 50))
    assert out["mask_logits"].shape == (1, 2, 40, 50)


def test_several_maps_of_one_stride_are_answered_by_the_way_out():
    class Blocks(nn.Module):
        out_channels, strides = [8, 8, 8], [16, 16, 16]

    with pytest.raises(
        ValueError, match=r"strides=\[16, 16, 16\].*alseg\.network\.PatchEncoder\.$"
    ):
        JointCAMNetwork(Blocks())


def test_a_network_that_was_pickled_without_a_neck_is_whole():
    network, x = JointCAMNetwork("tiny", None).eval(), torch.rand(1, 3, 33, 50)
    expected = network(x)["mask_logits"]
    old = copy.deepcopy(network)
    del old._modules["neck"], old.strides
    assert torch.equal(pickle.loads(pickle.dumps(old))(x)["mask_logits"], expected)
