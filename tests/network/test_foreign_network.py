"""Networks of other people: what they return, what is found by trying them, how they are run."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from alseg.network import ForeignNetwork, examine, examined, made, mask_and_class_logits
from alseg.network.foreign_outputs import pooled, with_two_classes
from alseg.training import JointLoss, in_parts


class Down(nn.Module):
    """Mask logits of images whose sides are multiples of `stride`, which anything else breaks."""

    def __init__(self, stride=4, n_out=2, n_in=3, scale=1, dropout=0.0):
        super().__init__()
        self.stride = stride
        self.down = nn.Conv2d(n_in, 6, stride, stride=stride)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout2d(dropout)
        self.up = nn.ConvTranspose2d(6, n_out, stride // scale, stride=stride // scale)
        self.beside = nn.Conv2d(n_in, n_out, scale, stride=scale)

    def forward(self, x):
        return self.up(self.drop(self.norm(self.down(x)).relu_())) + self.beside(x)


class Wrapped(nn.Module):
    def __init__(self, function, *parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x):
        return self.function(x, *self.parts)


@dataclass
class Result:
    out: Any
    loss: Any = None


MAPS, LABELS = torch.rand(2, 3, 4, 4), torch.rand(2, 5)


# -- what comes out --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "out, has_labels",
    [
        (MAPS, False),
        (torch.stack([MAPS, 0 * MAPS], 1), False),  # scales in one tensor, the full one first
        ([MAPS, 0 * MAPS], False),
        ([[MAPS], [0 * MAPS]], False),
        ((MAPS, LABELS), True),
        ({"out": MAPS, "aux": 0 * MAPS}, False),
        ({"masks": MAPS, "logits": LABELS}, True),
        ({"mask_logits": [MAPS, 0 * MAPS], "class_logits": LABELS, "logits": 0 * LABELS}, True),
        ({"logits": MAPS, "class_logits": LABELS}, True),
        (OrderedDict(loss=None, logits=MAPS), False),
        (Result(MAPS), False),
    ],
)
def test_logits_are_found_in_what_a_network_returns(out, has_labels):
    masks, labels = mask_and_class_logits(out)
    assert torch.equal(masks, MAPS)
    assert torch.equal(labels, LABELS) if has_labels else labels is None


@pytest.mark.parametrize(
    "out, got",
    [
        (LABELS, r"got \(2, 5\)"),
        ({"seg": MAPS}, r"got \['seg'\]"),
        ("x", "got 'str'"),
        ([], "list"),
        (None, "None"),
    ],
)
def test_what_holds_no_mask_logits_is_told(out, got):
    with pytest.raises(ValueError, match="network must be a module that returns mask logits") as e:
        mask_and_class_logits(out)
    assert "mask_logits, masks, out, logits" in str(e.value)
    if got not in ("list", "None"):
        e.match(got)


def test_a_hugging_face_output_is_read():
    outputs = pytest.importorskip("transformers.modeling_outputs")
    assert torch.equal(mask_and_class_logits(outputs.SemanticSegmenterOutput(logits=MAPS))[0], MAPS)


def test_one_map_counts_as_the_logit_of_its_sigmoid():
    z = torch.randn(2, 1, 3, 3)
    both = with_two_classes(z, 2)
    torch.testing.assert_close(both.softmax(1)[:, 1:], z.sigmoid())
    assert with_two_classes(z, 3) is z and with_two_classes(MAPS, 2) is MAPS


def test_pooled_maps_tokens_and_vectors():
    torch.testing.assert_close(pooled(MAPS), MAPS.flatten(2).mean(2))
    tokens = torch.rand(2, 7, 3)
    torch.testing.assert_close(pooled((None, tokens)), tokens.sum(1) / 7)
    assert pooled({"last": LABELS, "first": tokens}) is LABELS
    assert pooled(torch.rand(3)) is None and pooled([]) is None


# -- what is found by trying -----------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 14, 16, 32])
@pytest.mark.parametrize("canvas", [(64, 96), (33, 50), (16, 16)])
def test_the_stride_is_found(stride, canvas):
    facts = examine(Down(stride), canvas)
    assert (facts.stride, facts.scale, facts.n_mask_logits) == (stride, 1, 2)


@pytest.mark.parametrize("scale", [2, 4])
def test_smaller_logits_are_told_by_their_scale(scale):
    facts = examine(Down(8, scale=scale))
    assert (facts.stride, facts.scale) == (8, scale)


def test_another_stride_may_be_given():
    with pytest.raises(ValueError, match=r"padded to multiples of 1, 2, .*WholeNetwork\(module, s"):
        examine(Down(12), (64, 100))
    assert examine(Down(12), (64, 100), stride=12).stride == 12
    with pytest.raises(ValueError, match="multiples of 8, got 'Down: RuntimeError"):
        examine(Down(12), (64, 100), stride=8)


def test_a_network_of_one_size():
    def one_size(x, net):
        if x.shape[2:] != (40, 56):
            raise AssertionError("40 x 56 alone")
        return net(x)

    net = Wrapped(one_size, Down(8))
    assert examine(net, (40, 56)).stride is None
    with pytest.raises(ValueError, match="AssertionError: 40 x 56 alone.*set image_size to that"):
        examine(net, (64, 96))


def test_convolutions_without_padding_are_refused():
    with pytest.raises(ValueError, match=r"got '.*mask logits of \(126, 382\) for images of"):
        examine(nn.Conv2d(3, 2, 3))


def test_a_package_that_is_missing_is_no_matter_of_size():
    def needs(x):
        raise ImportError("No module named 'einops'")

    with pytest.raises(ImportError, match="einops"):
        examine(Wrapped(needs))


@pytest.mark.parametrize("n", [1, 3, 5])
def test_channels_are_those_of_the_first_convolution(n):
    assert examine(Down(4, n_in=n)).n_channels == n


def test_class_logits_are_counted():
    def both(x, net, head):
        return net(x), head(x.mean((2, 3)))

    assert examine(Wrapped(both, Down(), nn.Linear(3, 7))).n_class_logits == 7


def test_the_embedding_layer_is_the_deepest_map_of_the_image():
    def forward(x, down, deep, gate, up, aside):
        maps = deep(down(x))
        aside(maps)  # as deep, later, and of no use to the masks
        return up(maps * gate(maps))

    parts = [
        nn.Conv2d(3, 4, 2, stride=2),
        nn.Sequential(nn.Conv2d(4, 8, 2, stride=2), nn.ReLU(inplace=True)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1)),  # smaller, but no map
        nn.ConvTranspose2d(8, 2, 4, stride=4),
        nn.Conv2d(8, 9, 1),
    ]
    assert examine(Wrapped(forward, *parts)).embedding_layer == "parts.1"


def test_tokens_count_as_a_map_of_patches():
    def forward(x, patches, block, up):
        maps = patches(x)
        tokens = block(maps.flatten(2).transpose(1, 2))
        return up(tokens.transpose(1, 2).reshape(maps.shape))

    parts = nn.Conv2d(3, 8, 16, 16), nn.Linear(8, 8), nn.ConvTranspose2d(8, 2, 16, stride=16)
    assert examine(Wrapped(forward, *parts)).embedding_layer == "parts.1"


def test_of_one_layer_the_embedding_is_its_logits():
    facts = examine(nn.Conv2d(3, 2, 1))
    assert facts.embedding_layer == ""


def test_an_embedding_layer_may_be_named():
    assert examine(Down(), embedding_layer="down").embedding_layer == "down"
    with pytest.raises(
        ValueError, match="network.embedding_layer must be the dotted name .* 'do.*"
    ):
        examine(Down(), embedding_layer="dwon")
    with pytest.raises(ValueError, match="Did you mean 'down'"):
        examine(Down(), embedding_layer="dwon")
    unused = Wrapped(lambda x, net, other: net(x), Down(), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="got 'parts.1: no call'"):
        examine(unused, embedding_layer="parts.1")


@pytest.mark.parametrize("p, where", [(0.0, ()), (0.3, ("masks",)), (0.3, ("classes",))])
def test_dropout_is_told_by_what_it_is_before(p, where):
    def both(x, net, head):
        return net(x), head(x.mean((2, 3)))

    in_masks = p if where == ("masks",) else 0.0
    head = nn.Sequential(nn.Dropout(p if where == ("classes",) else 0.0), nn.Linear(3, 2))
    nn.init.zeros_(head[1].weight)  # zeros now, and after a fit no longer
    facts = examine(Wrapped(both, Down(dropout=in_masks), head))
    assert (facts.draws_masks, facts.draws_classes) == ("masks" in where, "classes" in where)


def test_a_network_is_looked_at_and_left_alone():
    torch.manual_seed(0)
    net = Down(4, dropout=0.5).train()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    state = torch.get_rng_state()
    examine(net)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(m.training and not m._forward_hooks for m in net.modules())
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_what_is_known_of_a_module_goes_with_its_layers():
    net = Down()
    assert examined(net, lambda: examine(net), "key").n_mask_logits == 2
    assert examined(net, None, "key").n_mask_logits == 2  # not asked again
    net.up, net.beside = nn.ConvTranspose2d(6, 5, 4, stride=4), nn.Conv2d(3, 5, 1)
    assert examined(net, lambda: examine(net), "key").n_mask_logits == 5


# -- how it is run ---------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 4]))
def test_any_size_is_padded_and_cropped_back(height, width, scale):
    torch.manual_seed(0)
    net = Down(8, scale=scale).eval()
    network = ForeignNetwork(net, examine(net), mean=0.2, std=2.0).eval()
    x = torch.rand(2, 3, height, width)
    got = network(x)["mask_logits"]
    pad = (0, -width % 8, 0, -height % 8)
    expected = net(torch.nn.functional.pad((x - 0.2) / 2, pad, mode="replicate"))
    if scale > 1:
        expected = torch.nn.functional.interpolate(expected, scale_factor=scale, mode="bilinear")
    torch.testing.assert_close(got, expected[:, :, :height, :width])


def test_masks_are_decoded_of_the_first_images_alone():
    seen = []

    def watched(x, net):
        seen.append(len(x))
        return net(x)

    net = Wrapped(watched, Down())
    network = ForeignNetwork(net, examine(net), n_classes=3).eval()
    seen.clear()
    out = network(torch.rand(5, 3, 8, 8), n_decode=2)
    assert out["mask_logits"].shape == (2, 2, 8, 8) and seen == [2]
    assert torch.equal(out["logits"], torch.zeros(5, 3)) and out["cam"] is None
    assert network(torch.rand(5, 3, 8, 8), n_decode=0)["mask_logits"] is None


def test_class_logits_are_of_all_images():
    def both(x, net, head):
        return {"out": net(x), "class_logits": head(x.mean((2, 3)))}

    net = Wrapped(both, Down(), nn.Linear(3, 1))
    network = ForeignNetwork(net, examine(net), classifies=True, mean=0.0, std=1.0).eval()
    x = torch.rand(3, 3, 8, 8)
    out = network(x, n_decode=1)
    assert out["mask_logits"].shape == (1, 2, 8, 8)
    z = net.parts[1](x.mean((2, 3)))
    torch.testing.assert_close(out["logits"], torch.cat([0 * z, z], 1))


def test_images_are_made_grey_for_a_network_of_one_channel():
    net = Down(4, n_in=1).eval()
    network = ForeignNetwork(net, examine(net), mean=0.0, std=1.0).eval()
    x = torch.rand(1, 3, 8, 8)
    grey = torch.tensor(np.tensordot([0.299, 0.587, 0.114], x[0].numpy(), 1), dtype=torch.float32)
    torch.testing.assert_close(network(x)["mask_logits"], net(grey[None, None]))


def test_threads_do_not_mix_their_embeddings():
    torch.manual_seed(0)
    net = Down()
    network = ForeignNetwork(net, examine(net)).eval()
    images = [torch.rand(1, 3, 16, 16) for _ in range(4)]
    alone = [network.embed(network.encode(x)) for x in images]
    found: list = [[] for _ in images]

    def work(i):
        for _ in range(20):
            found[i].append(network.embed(network.encode(images[i])))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, several in zip(alone, found):
        assert len(several) == 20 and all(torch.equal(one, other) for other in several)


def test_an_embedding_is_taken_before_others_write_into_it():
    net = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1))
    network = ForeignNetwork(net, examine(net, embedding_layer="0"), mean=0.0, std=1.0).eval()
    x = torch.rand(1, 3, 4, 4)
    expected = net[0](x).mean((2, 3))
    assert (expected < 0).any()
    torch.testing.assert_close(network.embed(network.encode(x))[:, :, 0, 0], expected)


@pytest.mark.parametrize("n_classes", [None, 2])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(n_classes):
    """As where memory has run out; of a headless network a part may have nothing to do."""

    def both(x, net, *head):
        return (net(x), head[0](x.mean((2, 3)))) if head else net(x)

    torch.manual_seed(0)
    head = [] if n_classes is None else [nn.Linear(3, n_classes)]
    net = Wrapped(both, nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)), *head)
    network = ForeignNetwork(net, examine(net), classifies=n_classes is not None).train()
    x, masks = torch.rand(5, 3, 8, 8), torch.ones(3, 8, 8, dtype=torch.long)
    target = {"labels": torch.tensor([0, 1, 0, 1, 1]), "masks": masks}
    target["mask_weight"] = torch.ones(3, 1, 1)
    grads = []
    for parts in ([slice(0, 5)], [slice(0, 2), slice(2, 4), slice(4, 5)]):
        out = in_parts(lambda batch: network(**batch), network, {"x": x, "n_decode": 3}, parts)
        assert out["logits"].shape == (5, 2) and out["mask_logits"].shape == (3, 2, 8, 8)
        loss = JointLoss()(out, target)
        grads.append(torch.autograd.grad(loss, list(network.parameters())))
    for one, other in zip(*grads):
        torch.testing.assert_close(one, other)


# -- where it comes from ---------------------------------------------------------------------------


def test_a_module_is_copied_and_so_is_what_a_function_always_gives():
    net = Down()
    for source in (net, lambda: net):
        copy = made(source, n_classes=2)
        assert copy is not net
        assert torch.equal(copy.down.weight, net.down.weight)
        assert copy.down.weight.data_ptr() != net.down.weight.data_ptr()


def test_a_function_is_told_what_it_names():
    told = {"n_classes": 5, "n_mask_classes": 4, "n_channels": 1}

    def build(n_channels, *, n_mask_classes, width=3, **rest):
        assert not rest
        return Down(n_out=n_mask_classes, n_in=n_channels)

    net = made(build, **told)
    assert (net.beside.out_channels, net.beside.in_channels) == (4, 1)
    assert isinstance(made(Down, **told), Down)


@pytest.mark.parametrize(
    "source, rule",
    [
        (
            lambda: "unet",
            "network must be a torch module, or a function that makes one, got 'unet'",
        ),
        (nn.Conv2d, "a function that needs nothing but n_classes, got .*in_channels"),
    ],
)
def test_what_makes_no_network(source, rule):
    with pytest.raises(TypeError, match=rule):
        made(source, n_classes=2)
