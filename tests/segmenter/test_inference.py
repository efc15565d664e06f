"""Streaming prediction: one pass a batch, draws as running sums, nothing kept but results."""

import inspect
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alseg.images import as_images
from alseg.network import JointCAMNetwork
from alseg.network.joint import dropout_active
from alseg.query.uncertainty import bald, entropy, variance
from alseg.segmenter import inference


def network(**options):
    torch.manual_seed(0)
    net = JointCAMNetwork("tiny", n_classes=3, **{"dropout": 0.5, "class_dropout": 0.5, **options})
    with torch.no_grad():  # an untrained network is all but indifferent; make it say something
        net.mask_conv.weight.mul_(8)
        net.class_head.maps.weight.mul_(8)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_var.fill_(0.1)
    return net


@pytest.fixture
def x():
    return torch.rand(3, 3, 33, 47, generator=torch.Generator().manual_seed(1))


def count_calls(module):
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


# -- plain predictions -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [True, False])
def test_predict_batch_shapes_and_modes(x, mode):
    net = network(n_mask_classes=4).train(mode)
    need = ("proba", "mask_proba", "cam", "embedding")
    out = inference.predict_batch(net, x, True, need=need)
    shapes = {k: tuple(v.shape) for k, v in out.items()}
    assert shapes == {
        "proba": (3, 3),
        "mask_proba": (3, 4, 33, 47),
        "cam": (3, 3, 3, 3),
        "embedding": (3, 96),
    }
    assert torch.allclose(out["proba"].sum(1), torch.ones(3))
    assert torch.allclose(out["mask_proba"].sum(1), torch.ones(3, 33, 47), atol=1e-6)
    assert all(m.training == mode for m in net.modules())
    again = inference.predict_batch(net, x, True, need=need)
    assert all(torch.equal(out[k], again[k]) for k in out)


def test_only_what_is_needed_is_computed(x):
    net = network()
    decoder, head = count_calls(net.decoder), count_calls(net.class_head)
    assert set(inference.predict_batch(net, x, True, need=("cam",))) == {"proba", "cam"}
    inference.predict_batch(net, x, True, need=("proba",))
    assert not decoder and len(head) == 2
    inference.predict_batch(net, x, False, need=("mask_proba",))  # from the CAM
    assert not decoder
    encoder = count_calls(net.encoder)
    inference.predict_batch(net, x, True, "both", need=("cam",))
    assert len(encoder) == 1  # a CAM is of the unflipped image alone
    inference.predict_batch(net, x, True, "both", need=("proba", "mask_proba"))
    assert len(encoder) == 1 + 4


@pytest.mark.parametrize(
    "flips, axes", [("none", [()]), ("horizontal", [(), (3,)]), ("both", [(), (3,), (2,), (2, 3)])]
)
def test_flips_are_averaged(x, flips, axes):
    net = network().eval()
    out = inference.predict_batch(net, x, True, flips)
    proba, masks = 0, 0
    with torch.no_grad():
        for axis in axes:
            plain = net(x.flip(axis))
            proba = proba + plain["logits"].softmax(1) / len(axes)
            masks = masks + plain["mask_logits"].softmax(1).flip(axis) / len(axes)
        cam = net(x)["cam"]
    assert torch.allclose(out["proba"], proba, atol=1e-5)
    assert torch.allclose(out["mask_proba"], masks, atol=1e-5)
    assert torch.allclose(out["cam"], cam, atol=1e-5)


def test_flipping_the_image_flips_the_mask_with_all_flips(x):
    net = network()
    x = x[:, :, :32, :32]  # else the padding is on another side
    masks = inference.predict_batch(net, x, True, "both")["mask_proba"]
    flipped = inference.predict_batch(net, x.flip(3), True, "both")["mask_proba"]
    assert torch.allclose(masks, flipped.flip(3), atol=1e-5)


def test_dihedral_views_are_the_eight_of_a_square_averaged_by_hand(x):
    net = network().eval()
    x = x[:, :, :32, :32]
    masks = inference.predict_batch(net, x, True, "dihedral")["mask_proba"]
    by_hand = 0
    with torch.no_grad():
        for turns in range(4):
            for mirrored in (False, True):
                seen = torch.rot90(x.flip(3) if mirrored else x, turns, (2, 3))
                proba = torch.rot90(net(seen)["mask_logits"].softmax(1), -turns, (2, 3))
                by_hand = by_hand + (proba.flip(3) if mirrored else proba) / 8
    assert torch.allclose(masks, by_hand, atol=1e-5)
    turned = inference.predict_batch(net, torch.rot90(x, 1, (2, 3)), True, "dihedral")
    assert torch.allclose(torch.rot90(masks, 1, (2, 3)), turned["mask_proba"], atol=1e-5)


@pytest.mark.parametrize("flips", sorted(inference.TEST_FLIPS))
def test_each_view_is_undone(x, flips):
    for view in inference.TEST_FLIPS[flips]:
        assert torch.equal(inference.turned_back(inference.turned(x, view), view), x)
    assert len({str(inference.turned(x, v)) for v in inference.TEST_FLIPS[flips]}) == len(
        inference.TEST_FLIPS[flips]
    )


def test_saliency_by_hand():
    cam = torch.tensor([[[1.0, 3.0], [2.0, 1.0]], [[5.0, 5.0], [5.0, 5.0]]])
    scaled = inference.saliency(cam, (2, 2))
    assert scaled.tolist() == [[[0, 1], [0.5, 0]], [[0, 0], [0, 0]]]  # constant: nothing, not nan


def test_without_masks_the_cam_of_the_predicted_class(x):
    net = network()
    out = inference.predict_batch(net, x, False)
    for i in range(3):
        cam = out["cam"][i, out["proba"][i].argmax()]
        large = F.interpolate(cam[None, None], (33, 47), mode="bilinear", align_corners=False)[0, 0]
        expected = (large - large.min()) / (large.max() - large.min())
        assert torch.allclose(out["mask_proba"][i, 1], expected, atol=1e-5)
    assert torch.allclose(out["mask_proba"].sum(1), torch.ones(3, 33, 47))


# -- reading the pool ------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4, 5, 7])
def test_pool_batches_hold_each_image_once(batch_size):
    images = as_images(np.random.default_rng(0).integers(0, 256, (5, 8, 12, 3), dtype=np.uint8))
    seen = []
    for positions, x in inference.pool_batches(
        images, (8, 12), batch_size, "cpu", torch.contiguous_format
    ):
        assert len(x) == len(positions) <= batch_size and x.min() >= 0 and x.max() <= 1
        for i, image in zip(positions, x):
            assert np.allclose(image.permute(1, 2, 0).numpy() * 255, images[i], atol=1e-3)
            seen.append(i)
    assert seen == list(range(5))


def test_pool_is_read_batch_by_batch():
    """No image is read before its batch is asked for, and none is kept."""

    class Lazy:
        read = []

        def path(self, i):
            return None

        def __len__(self):
            return 6

        def __getitem__(self, i):
            self.read.append(i)
            return np.full((8, 8, 3), i, np.uint8)

    pool = inference.pool_batches(Lazy(), (8, 8), 2, "cpu", torch.contiguous_format)
    assert Lazy.read == []
    _, x = next(pool)
    assert Lazy.read == [0, 1]
    kept = weakref.ref(x)
    del x
    _, x = next(pool)
    assert Lazy.read == [0, 1, 2, 3] and kept() is None


# -- draws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_masks", [True, False])
@pytest.mark.parametrize("placement", ["last", "everywhere"])
def test_F10_draws_differ_and_state_comes_back(x, placement, has_masks):
    net = network(dropout_placement=placement).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    for draws in (inference.mask_draws(net, x, 3, has_masks), inference.label_draws(net, x, 3)):
        a, b, c = draws
        assert not torch.equal(a, b) and not torch.equal(b, c)
        assert torch.allclose(a.sum(1), torch.ones_like(a.sum(1)), atol=1e-5)
    assert all(m.training for m in net.modules())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not any("forward" in vars(m) for m in net.modules())


def test_nothing_is_left_switched_between_draws(x):
    """A generator that holds a context open would switch modes under its caller's feet."""
    for options in ({}, {"dropout_placement": "everywhere"}):
        net = network(**options).train()
        for draws in (
            inference.mask_draws(net, x, 3),
            inference.mask_draws(net, x, 3, has_masks=False),
            inference.label_draws(net, x, 3),
        ):
            next(draws)
            assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
            assert all(m.training for m in net.modules())
            net.eval()  # the caller may do anything between two draws
            next(draws)
            assert not any(m.training for m in net.modules())
            net.train()
            draws.close()
            assert all(m.training for m in net.modules())


def test_draws_are_a_generator_and_none_is_kept(x):
    for options in ({}, {"dropout_placement": "everywhere"}):
        draws = inference.mask_draws(network(**options), x, 50)
        assert inspect.isgenerator(draws)
        kept = [weakref.ref(next(draws)) for _ in range(3)]
        assert kept[0]() is None and kept[1]() is None


@pytest.mark.parametrize(
    "options, n_encoder, n_decoder",
    [
        ({}, 1, 1),
        ({"dropout": 0.0}, 1, 1),
        ({"dropout_placement": "everywhere"}, 20, 20),
    ],
)
def test_the_prefix_is_computed_once(x, options, n_encoder, n_decoder):
    net = network(**options)
    encoder, decoder = count_calls(net.encoder), count_calls(net.decoder)
    assert sum(1 for _ in inference.mask_draws(net, x, 20)) == 20
    assert (len(encoder), len(decoder)) == (n_encoder, n_decoder)


def test_the_prefix_is_computed_once_for_labels_and_cams(x):
    net = network()
    encoder, decoder = count_calls(net.encoder), count_calls(net.decoder)
    list(inference.label_draws(net, x, 20))
    list(inference.mask_draws(net, x, 20, has_masks=False))
    assert (len(encoder), len(decoder)) == (2, 0)


def test_dropout_in_the_decoder_alone_spares_the_encoder(x):
    net = network()
    for dropout in net.decoder.dropouts:
        dropout.p = 0.5
    assert net.first_dropout() == "decoder"
    encoder, decoder = count_calls(net.encoder), count_calls(net.decoder)
    a, b = inference.mask_draws(net, x, 2)
    assert (len(encoder), len(decoder)) == (1, 2) and not torch.equal(a, b)


def explicit_draws(net, x, n_draws):
    """As anybody would: the whole network, dropout on, again and again."""
    with torch.no_grad():
        for _ in range(n_draws):
            with dropout_active(net):
                decoded = net.decode(net.encode(x))
                yield net.mask_head(decoded, x.shape[2:], grid=True).softmax(1)


def test_without_dropout_draws_are_the_prediction(x):
    net = network(dropout=0.0)
    (explicit,) = explicit_draws(net, x, 1)
    for draw in inference.mask_draws(net, x, 2):
        assert draw.shape == (3, 2, 17, 24)  # at the decoder's stride, padding cropped
        assert torch.allclose(draw, explicit, atol=1e-6)


@pytest.mark.parametrize("placement", ["last", "everywhere"])
def test_draws_are_those_of_the_dropout_modules(x, placement):
    """Statistically: the same mean and the same variance at each pixel."""
    net = network(dropout_placement=placement, dropout=0.3)
    n = 400
    torch.manual_seed(0)
    ours = torch.stack(list(inference.mask_draws(net, x[:1], n)))[:, 0, 1]
    copies = x[:1].expand(20, -1, -1, -1)  # dropout is drawn for each by itself
    theirs = torch.cat(list(explicit_draws(net, copies, n // 20)))[:, 1]
    assert theirs.std(0).mean() > 0.02
    error = (ours.mean(0) - theirs.mean(0)).abs() / (theirs.std(0) / n**0.5)
    assert error.mean() < 2.5  # in standard errors; of a difference of two means 1.13 is expected
    ratio = ours.std(0).mean() / theirs.std(0).mean()
    assert ratio.item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("placement", ["last", "everywhere"])
@pytest.mark.parametrize("kind", ["mask", "cam", "label"])
def test_draws_do_not_depend_on_the_batch(x, placement, kind):
    net = network(dropout_placement=placement)

    def draws(x):
        torch.manual_seed(7)
        if kind == "label":
            return torch.stack(list(inference.label_draws(net, x, 4)))
        return torch.stack(list(inference.mask_draws(net, x, 4, has_masks=kind == "mask")))

    whole = draws(x)
    for order in ([2], [1, 0], [2, 0, 1]):
        assert torch.allclose(whole[:, order], draws(x[order]), atol=1e-4)


@pytest.mark.parametrize("pooling", ["average", "wildcat", "attention"])
def test_label_draws_agree_with_explicit_ones(x, pooling):
    net = network(pooling=pooling, class_dropout=0.3)
    torch.manual_seed(0)
    ours = torch.stack(list(inference.label_draws(net, x, 300)))
    with torch.no_grad():
        copies, theirs = x.repeat(20, 1, 1, 1), []  # dropout is drawn for each by itself
        for _ in range(300 // 20):
            with dropout_active(net):
                theirs.append(net.classify(net.encode(copies), x.shape[2:])[0].softmax(1))
    theirs = torch.cat(theirs).unflatten(0, (-1, len(x)))
    assert (ours.mean(0) - theirs.mean(0)).abs().max() < 0.1
    assert (ours.std(0) - theirs.std(0)).abs().max() < 0.05
    assert theirs.std(0).max() > 0.01


@pytest.mark.parametrize("placement", ["last", "everywhere"])
@pytest.mark.parametrize("target", ["mask", "label"])
@pytest.mark.parametrize("has_masks", [True, False])
def test_running_sums_are_the_formulas_on_all_draws(x, placement, target, has_masks):
    net = network(dropout_placement=placement)
    torch.manual_seed(3)
    if target == "mask":
        draws = torch.stack(list(inference.mask_draws(net, x, 6, has_masks)))
    else:
        draws = torch.stack(list(inference.label_draws(net, x, 6)))
    for method, formula in [("mc_variance", variance), ("bald", bald)]:
        torch.manual_seed(3)
        values, mean = inference.uncertainty_batch(net, x, method, target, 6, has_masks)
        assert torch.allclose(values, formula(draws, axis=2), atol=1e-5)
        assert mean is None if target == "label" else torch.allclose(mean, draws.mean(0), atol=1e-5)


def test_plain_uncertainties_are_of_the_prediction(x):
    net = network()
    out = inference.predict_batch(net, x, True, "both")
    maps, proba = inference.uncertainty_batch(net, x, "entropy", "mask", 0, True, "both")
    assert torch.allclose(maps, entropy(out["mask_proba"], axis=1)) and maps.shape == (3, 33, 47)
    assert torch.equal(proba, out["mask_proba"])
    scores, none = inference.uncertainty_batch(net, x, "entropy", "label", 0, True, "both")
    assert torch.allclose(scores, entropy(out["proba"], axis=1)) and none is None


def test_resize_maps():
    maps = torch.rand(2, 5, 6)
    same = inference.resize_maps(maps, (5, 6))
    assert isinstance(same, np.ndarray) and (same == maps.numpy()).all()
    larger = inference.resize_maps(maps, (11, 9))
    assert larger.shape == (2, 11, 9) and larger.dtype == np.float32
    proba = torch.stack([maps[0], 1 - maps[0]])
    assert np.allclose(inference.resize_maps(proba, (3, 4)).sum(0), 1, atol=1e-6)
