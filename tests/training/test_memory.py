"""alseg.training.memory: a batch that does not fit goes in parts; BatchNorm alone notices."""

import copy
import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from alseg.segmenter import with_fields
from alseg.segmenter.estimator import JointCAMSegmenter
from alseg.training.memory import OutOfMemory, PartSize, in_parts, join, statistics_kept

SIZES = []  # of the batches that went through `Limited`, in turn


class Limited(nn.Module):
    """An encoder without BatchNorm that runs out of memory above `limit` images."""

    out_channels, strides = [4, 6], [2, 4]

    def __init__(self, limit, dropout=0.0):
        super().__init__()
        self.limit = limit
        self.a, self.b = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        if x.shape[-1] == 24:  # not the small image by which an encoder is checked
            SIZES.append(len(x))
            if len(x) > self.limit:
                raise OutOfMemory("CUDA out of memory. Tried to allocate 2.00 GiB.")
        a = self.dropout(self.a(x).tanh())
        return [a, self.b(a).tanh()]


class Plain(nn.Module):
    """A decoder without BatchNorm."""

    out_channels = 4

    def __init__(self, channels):
        super().__init__()
        self.up = nn.ConvTranspose2d(channels[1], 4, 2, 2)

    def forward(self, features):
        return self.up(features[1]).tanh() + features[0]


@pytest.fixture(autouse=True)
def fresh():
    SIZES.clear()


def pool(n=12, n_masks=5):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 16, 24, 3), dtype=np.uint8)
    masks = [rng.integers(-1, 2, (16, 24)) if i < n_masks else None for i in range(n)]
    return images, np.arange(n) % 3, masks


def make(limit, **options):
    """Seeded, and without what depends on the order in which images come: dropout and BatchNorm."""
    return JointCAMSegmenter(
        **with_fields(
            {
                "encoder": Limited(limit),
                "module__decoder": Plain,
                "network__dropout": 0.0,
                "network__class_dropout": 0.0,
                "optimizer": torch.optim.SGD,
                "lr": 0.1,
                "max_epochs": 2,
                "steps_per_epoch": 2,
                "batch_size": 8,
                "weak_batch_size": 4,
                "random_state": 0,
                "device": "cpu",
                **options,
            }
        )
    )


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.module_.parameters()])


def ours(told):
    """Of the warnings told those of alseg: torch 2.4 warns of calls of its own."""
    return [warning for warning in told if issubclass(warning.category, RuntimeWarning)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_weight": "balanced", "criterion__normalize": "batch"},
        {"criterion__dice": "batch", "criterion__dice_background": True},
        {"schedule__sampling": "passes", "batch_size": 12},
        {
            "schedule__phases": "two-phase",
            "schedule__clip_norm": 0.1,
            "execution__channels_last": False,
        },
    ],
    ids=lambda options: "-".join(options) or "default",
)
def test_a_fit_in_parts_is_the_fit_of_whole_batches(options):
    """Any loss of the whole batch: also means weighted by class, and one Dice over all pixels."""
    torch.manual_seed(0)
    whole, parts = make(100, **options), make(3, **options)
    parts.encoder.load_state_dict(whole.encoder.state_dict())
    start = torch.cat([p.detach().flatten() for p in whole.encoder.parameters()])
    images, labels, masks = pool()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole.fit(images, labels, masks)
    SIZES.clear()
    with pytest.warns(RuntimeWarning, match="Out of memory in training with") as told:
        parts.fit(images, labels, masks)
    n = 8 if "schedule__phases" in options else 12  # the first phase has no second stream
    tried = SIZES.index(n)  # before it two images, where a batch may have a single mask
    assert max(SIZES[tried + 2 :]) <= 3
    for warning, most in zip(ours(told), (n, n // 2), strict=True):
        assert f"with {most} images at once" in str(warning.message)
    moved = (weights(whole)[-len(start) :] - start).abs().max()
    assert moved > 1e-3  # there is something to compare
    assert torch.allclose(weights(parts), weights(whole), atol=1e-6)
    for mine, theirs in zip(parts.history, whole.history):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-6)


def test_the_smaller_size_stays_for_the_rest_of_the_fit():
    images, labels, masks = pool()
    with pytest.warns(RuntimeWarning) as told:
        make(4, max_epochs=2).fit(images, labels, masks)
    # Each part is computed twice in a step: forward, and again in the backward pass.
    assert SIZES == [12, 6] + 4 * (4 * [3] + 4 * [3]) and len(ours(told)) == 2
    SIZES.clear()
    with pytest.warns(RuntimeWarning):
        model = make(4).fit(images, labels, masks)
        model.partial_fit(images, labels, masks=masks)
    assert SIZES.count(12) == 2  # the next fit tries anew


def test_it_says_what_was_tried_and_what_is_now():
    images, labels, masks = pool()
    rule = (
        r"training with 12 images at once: from here on at most 6 go .* keep their batch and its"
        r" gradient, but BatchNorm .* smaller batch_size .*\(CUDA out of memory\)"
    )
    with pytest.warns(RuntimeWarning, match=rule):
        make(6).fit(images, labels, masks)


def test_a_single_image_that_does_not_fit_is_an_error():
    images, labels, masks = pool()
    model = make(0)
    said = "training with a single image: set a smaller image_size"
    with pytest.raises(OutOfMemory, match=said), pytest.warns(RuntimeWarning):
        model.fit(images, labels, masks)
    assert SIZES == [12, 6, 3, 2, 1] and "_part_size" not in vars(model)


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError):
        PartSize("training", "").run(lambda parts: 1 / 0, 4)


def test_amp_in_parts():
    images, labels, masks = pool()
    with pytest.warns(RuntimeWarning):
        model = make(6, execution__amp=True).fit(images, labels, masks)
    assert all(p.dtype == torch.float32 for p in model.module_.parameters())
    assert np.isfinite(model.history[-1, "train_loss"])


@pytest.mark.parametrize("placement", ["last", "everywhere"])
def test_predictions_in_parts_are_the_same(placement):
    images, labels, masks = pool()
    model = make(
        100, network__dropout=0.5, network__dropout_placement=placement, network__class_dropout=0.2
    )
    model.fit(images, labels, masks)

    def predictions():
        joint = model.predict_joint(images)
        draws = {"method": "bald", "n_draws": 3, "random_state": 1}
        score, maps = model.predict_uncertainty(images, return_maps=True, **draws)
        return [
            joint.proba,
            joint.cams,
            joint.mask_proba,
            score,
            maps,
            model.predict_uncertainty(images, target="label", **draws),
            model.predict_uncertainty(images, "entropy"),
            model.transform(images),
            model.transform(images, kind="decoder"),
            model.gradient_embedding(images),
            model.gradient_length(images),
        ]

    whole = predictions()
    model.module_.encoder.limit = 5
    SIZES.clear()
    with pytest.warns(RuntimeWarning) as told:
        parts = predictions()
    rule = "in predicting with 12 images at once: .* stay as they are; set a smaller predict_batch"
    assert re.search(rule, str(ours(told)[0].message))
    assert SIZES[:5] == [12, 6, 3, 3, 3]
    for mine, theirs in zip(parts, whole):
        assert mine.shape == theirs.shape and np.allclose(mine, theirs, atol=1e-6)
    model.module_.encoder.limit = 0
    said = "predicting with a single image"
    with pytest.raises(OutOfMemory, match=said), pytest.warns(RuntimeWarning):
        model.predict(images)


# -- the parts, by themselves ----------------------------------------------------------------------


def test_parts_by_hand():
    size = PartSize("training", "")
    assert size.run(list, 1) == [slice(0, 1)] and size.most is None
    size.most = 5
    assert size.run(list, 12) == [slice(0, 5), slice(5, 10), slice(10, 12)]
    assert size.run(list, 4) == [slice(0, 4)]  # a small last batch goes as a whole
    failing = iter([OutOfMemory("full"), OutOfMemory("full"), None])

    def work(parts):
        error = next(failing)
        if error:
            raise error
        return len(parts)

    with pytest.warns(RuntimeWarning):
        assert size.run(work, 12) == 6  # 5, 3, 2 at once
    assert size.most == 2


def test_rows_are_joined():
    a, b = torch.ones(2, 3), torch.zeros(1, 3)
    assert join([a]) is a and torch.equal(join([a, b]), torch.cat([a, b]))
    out = join([{"x": a, "y": None, "z": a}, {"x": b, "y": None, "z": None}])
    assert torch.equal(out["x"], torch.cat([a, b])) and out["y"] is None and out["z"] is a


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm2d(3), nn.Dropout(0.5)

    def forward(self, x, n_decode):
        h = self.dropout(self.norm(x))
        return {"logits": h.mean((2, 3)), "mask_logits": h[:n_decode] if n_decode else None}


def test_dropout_repeats_and_batchnorm_counts_each_part_once():
    x = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    norm = Norm()
    by_hand = copy.deepcopy(norm)
    parts = [slice(0, 2), slice(2, 4), slice(4, 5)]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        out = in_parts(lambda x: norm(**x), norm, {"x": x, "n_decode": 3}, parts)
        torch.rand(7)  # what else is drawn before the backward pass changes nothing
        (out["logits"].square().sum() + out["mask_logits"].pow(3).sum()).backward()
        torch.manual_seed(3)
        outs = [by_hand(x[p], n) for p, n in zip(parts, (2, 1, 0))]
    logits = torch.cat([part["logits"] for part in outs])
    masks = torch.cat([part["mask_logits"] for part in outs[:2]])
    (logits.square().sum() + masks.pow(3).sum()).backward()
    assert torch.equal(out["mask_logits"], masks) and len(masks) == 3
    for mine, theirs in zip(norm.parameters(), by_hand.parameters()):
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-6)
    for name, mine in norm.norm.named_buffers():
        assert torch.equal(mine, getattr(by_hand.norm, name))  # of one pass
    assert norm.norm.num_batches_tracked == 3


def test_statistics_are_given_back_after_an_exception():
    norm = nn.BatchNorm2d(2, momentum=None)
    norm(torch.rand(3, 2, 4, 4))
    before = copy.deepcopy(norm.state_dict())
    with pytest.raises(ZeroDivisionError), statistics_kept(nn.Sequential(norm, nn.Conv2d(1, 1, 1))):
        norm(torch.rand(3, 2, 4, 4))
        raise ZeroDivisionError
    assert norm.momentum is None
    assert all(torch.equal(part, before[name]) for name, part in norm.state_dict().items())
    norm(torch.rand(3, 2, 4, 4))
    assert norm.num_batches_tracked == 2
