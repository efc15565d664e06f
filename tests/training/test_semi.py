"""Consistency training on images without a mask: the pixels, their loss, the batches, the fits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from skorch.callbacks import Callback

from alseg import Consistency, Schedule
from alseg.labels import MISSING
from alseg.segmenter import with_fields
from alseg.segmenter.estimator import JointCAMSegmenter
from alseg.segmenter.parameters import as_consistency
from alseg.training.augment import colour_jitter, stain_jitter
from alseg.training.batches import TrainingBatches
from alseg.training.consistency import (
    AdaptiveThresholds,
    ConsistentBatches,
    consistency_loss,
    cut_boxes,
    ramp_up,
    sure_masks,
    taught_by,
    with_consistency,
)
from alseg.training.losses import JointLoss
from alseg.training.training_data import TrainingData

H, W = 32, 48


def squares(n=8, seed=0):
    """Bright squares, red or blue ones by class; the squares are the mask."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (n, H, W, 3), dtype=np.uint8)
    masks, labels = np.zeros((n, H, W), dtype=int), np.array(["blue", "red"])[np.arange(n) % 2]
    for i in range(n):
        top, left = rng.integers(0, H // 2), rng.integers(0, W // 2)
        masks[i, top : top + H // 2, left : left + W // 2] = 1
        images[i, ..., 0 if labels[i] == "red" else 2][masks[i] == 1] += 180
    return images, labels, [masks[i] if i < n // 2 else None for i in range(n)]


def make(**options):
    common = {
        "encoder": "tiny",
        "max_epochs": 2,
        "random_state": 0,
        "batch_size": 4,
        "weak_batch_size": 4,
    }
    return JointCAMSegmenter(**with_fields({**common, **options}))


def same_weights(a, b):
    a, b = a.module_.state_dict(), b.module_.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# -- the formulas --------------------------------------------------------------------------------


def test_sure_pixels_by_hand():
    proba = torch.tensor([[0.96, 0.02, 0.02], [0.5, 0.3, 0.2], [0.0, 0.05, 0.95]])  # three pixels
    logits = proba.log().T.reshape(1, 3, 1, 3)
    assert sure_masks(logits, 0.94).tolist() == [[[0, MISSING, 2]]]
    assert sure_masks(logits, 0.955).tolist() == [[[0, MISSING, MISSING]]]
    even = torch.zeros(1, 2, 1, 1)  # a probability of exactly 0.5
    assert sure_masks(even, 0.5).tolist() == [[[MISSING]]] and sure_masks(even, 0.49).max() == 0
    assert sure_masks(logits, 0.0).tolist() == [[[0, 0, 2]]]
    assert sure_masks(logits, 1.0).tolist() == [[[MISSING] * 3]]
    assert sure_masks(torch.full((1, 2, 1, 1), torch.nan)).tolist() == [[[MISSING]]]


def test_the_loss_is_a_mean_over_all_pixels_of_images_without_a_mask():
    logits = torch.tensor([[[[0.0, 1.0]], [[0.0, -1.0]]], [[[2.0, 0.0]], [[0.0, 3.0]]]])
    logits.requires_grad_()
    masks = torch.tensor([[[1, MISSING]], [[0, 1]]])
    expected = (math.log(2) + math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-3))) / 4
    assert consistency_loss(logits, masks, 4).item() == pytest.approx(expected)
    masks[1] = MISSING
    two = torch.tensor(2)  # the second has a mask: its pixels are no part of the mean
    assert consistency_loss(logits, masks, two).item() == pytest.approx(math.log(2) / 2)
    assert consistency_loss(logits, masks, 4).item() == pytest.approx(math.log(2) / 4)
    nothing = consistency_loss(logits, torch.full_like(masks, MISSING), torch.tensor(0))
    nothing.backward()
    assert nothing.item() == 0 and (logits.grad == 0).all()


def test_the_loss_of_soft_targets_is_that_of_the_same_classes_and_of_a_mixture():
    torch.manual_seed(0)
    logits, masks = torch.randn(2, 3, 4, 5), torch.randint(-1, 3, (2, 4, 5))
    known = (masks != MISSING)[:, None]
    one_hot = (masks[:, None] == torch.arange(3)[:, None, None]).float()
    hard = consistency_loss(logits, masks, 40)
    torch.testing.assert_close(consistency_loss(logits, one_hot, 40), hard)
    soft = torch.rand(2, 3, 4, 5).softmax(1) * known
    by_hand = -(soft * logits.log_softmax(1)).sum() / 7
    torch.testing.assert_close(consistency_loss(logits, soft, 7), by_hand)


def test_adaptive_thresholds_by_hand():
    thresholds = AdaptiveThresholds(memory=0.75)
    proba = torch.tensor([[0.9, 0.7], [0.1, 0.3]]).reshape(1, 2, 1, 2)  # two pixels
    # confidence 0.75 / 2 + 0.25 * 0.8; shares 0.75 / 2 + 0.25 * (0.8, 0.2)
    expected = np.array([0.575, 0.575 * 0.425 / 0.575])
    np.testing.assert_allclose(thresholds.after(proba.log()), expected, rtol=1e-5)
    confidence, shares = 0.575, np.array([0.575, 0.425])
    confidence, shares = 0.75 * confidence + 0.2, 0.75 * shares + 0.25 * np.array([0.8, 0.2])
    expected = confidence * shares / shares.max()
    np.testing.assert_allclose(thresholds.after(proba.log()), expected, rtol=1e-5)
    # a pixel of the rare class passes with what one of the common class would not
    both = torch.tensor([[0.45, 0.55], [0.55, 0.45]]).log().reshape(1, 2, 1, 2)
    assert sure_masks(both, torch.tensor([0.6, 0.5])).tolist() == [[[1, MISSING]]]


@given(st.integers(4, 40), st.integers(4, 40), st.integers(0, 2**31))
def test_cut_boxes_are_boxes_of_half_the_area(height, width, seed):
    boxes = cut_boxes(5, (height, width), torch.Generator().manual_seed(seed))
    assert boxes.shape == (5, height, width)
    for box in boxes.numpy():
        rows, columns = box.any(1), box.any(0)
        assert np.array_equal(box, np.outer(rows, columns))
        for line in (rows, columns):
            at = np.flatnonzero(line)
            assert len(at) and len(at) == at[-1] - at[0] + 1
        # each side is off by less than one pixel
        off = (rows.sum() + 1) * (columns.sum() + 1) - rows.sum() * columns.sum()
        assert abs(box.sum() - height * width / 2) <= off


def test_the_ramp():
    assert [ramp_up(step, 10, 0.3) for step in (0, 1, 2, 3, 9)] == pytest.approx(
        [0, 1 / 3, 2 / 3, 1, 1]
    )
    assert ramp_up(0, 10, 0) == ramp_up(0, 0, 0.5) == 1
    assert ramp_up(5, 10, 1) == 0.5


def test_the_criterion_sees_what_it_would_see_without():
    torch.manual_seed(0)
    criterion = JointLoss()
    prediction = {"logits": torch.randn(3, 2), "mask_logits": torch.randn(3, 2, 4, 5)}
    target = {
        "labels": torch.tensor([0, 1, 0]),
        "masks": torch.randint(0, 2, (2, 4, 5)),
        "mask_weight": torch.ones(2, 1, 1),
    }
    first = {**prediction, "mask_logits": prediction["mask_logits"][:2]}
    plain = criterion(first, target)
    assert torch.equal(with_consistency(criterion, first, target), plain)
    extra = {
        "masks": torch.ones(1, 4, 5, dtype=torch.long),
        "n_open": torch.tensor(20),
        "weight": 0.25,
    }
    found = with_consistency(criterion, prediction, {**target, "consistency": extra})
    ce = torch.nn.functional.cross_entropy(prediction["mask_logits"][2:], extra["masks"])
    torch.testing.assert_close(found, plain + 0.25 * ce)
    # a criterion of the user's with targets of any kind
    assert with_consistency(lambda p, t: p + t, 1, 2) == 3


class Bright:
    """A teacher to whom bright is foreground."""

    n_mask_classes = 2

    def __init__(self):
        self.seen = []

    def predict_mask_proba(self, X):
        self.seen.append(X)
        p = X.max(-1) / 255
        return np.stack([1 - p, p], 1)


# -- options -------------------------------------------------------------------------------------


def test_options():
    assert as_consistency(None) == as_consistency(0) == Consistency(weight=0)
    assert as_consistency(2) == Consistency(2, 0.95, 0.25, 0.5, 0.0)
    model = make(consistency=0.5).set_params(consistency__ramp=0)
    assert model.consistency == Consistency(0.5, ramp=0)
    # A field of what is not there does not turn it on.
    assert make().set_params(consistency__ramp=0).consistency.weight == 0


@pytest.mark.parametrize(
    "value, error, rule",
    [
        ("yes", TypeError, r"consistency must be None, a number or a Consistency, as consistency="),
        ({"weight": 1}, TypeError, r"a Consistency, as consistency=Consistency\(weight="),
        (-1, ValueError, r"consistency\.weight must be >= 0, got -1"),
        (float("nan"), ValueError, r"consistency\.weight must be >= 0"),
        (True, TypeError, r"consistency\.weight must be a number"),
        (Consistency(threshold=1.5), ValueError, r"consistency\.threshold must be >= 0 and <= 1"),
        (Consistency(ramp=3), ValueError, r"consistency\.ramp must be"),
        (Consistency(jitter=-0.1), ValueError, r"consistency\.jitter must be"),
        (Consistency(stain="a"), TypeError, r"consistency\.stain must be a number"),
        (Consistency(threshold="best"), ValueError, r"threshold must be a number in \[0, 1\] or"),
        (Consistency(cutmix=2), ValueError, r"consistency\.cutmix must be"),
        (Consistency(copy_paste=-1), ValueError, r"consistency\.copy_paste must be"),
        (Consistency(targets="hard"), ValueError, r"consistency\.targets must be"),
        (Consistency(teacher="me"), TypeError, r"consistency\.teacher must be None or a fitted"),
    ],
)
def test_bad_options(value, error, rule):
    with pytest.raises(error, match=rule):
        make(consistency=value).fit(["no such file.png"], ["a"])


@pytest.mark.parametrize(
    "options, rule",
    [
        (
            {"schedule__sampling": "passes"},
            "schedule.sampling must be 'streams' with consistency, got 'passes'",
        ),
        (
            {"feature_cache": "maps", "schedule__encoder_lr_scale": 0},
            "feature_cache must be None with consistency, got 'maps'. Strong colours",
        ),
        ({"weak_batch_size": 0}, "weak_batch_size must be at least 1 with consistency"),
        (
            {"consistency__cutmix": 0.5, "weak_batch_size": 1},
            "weak_batch_size must be at least 2 with consistency.cutmix",
        ),
        (
            {"consistency__teacher": Bright(), "n_mask_classes": 3},
            "consistency.teacher must be of n_mask_classes=3, got 2",
        ),
    ],
)
def test_what_does_not_go_with_it_is_told_before_any_file_is_read(options, rule):
    with pytest.raises(ValueError, match=rule):
        make(**{"consistency": 1.0, **options}).fit(["no such file.png"], ["a"])
    with pytest.raises(FileNotFoundError):
        make(**{"consistency": 0, **options}, consistency__weight=0).fit(
            ["no such file.png"], ["a"]
        )


# -- batches -------------------------------------------------------------------------------------


def batches_of(data, seed=0, **options):
    augmentation = {"flips": "both", "affine": (0.25, 15.0), "jitter": 0.15}
    rng = np.random.default_rng(seed)
    return TrainingBatches(data, 3, 2, 3, augmentation, rng, **options)


def data_of(masks, n=8):
    images, labels, _ = squares(n)
    weight = [1.0 if m is None or w else 0.3 for w, m in masks]
    codes = np.arange(n) % 2
    return TrainingData.build(images, codes, [m for _, m in masks], weight, (H, W), 2)


def split(masks):
    """(expert's, mask) of each: no mask beyond."""
    return [(True, masks[i]) if i < 4 else (True, None) for i in range(8)]


def bright(x):
    """Mask logits by which a pixel is foreground where it is bright: sure where very."""
    light = 20 * (x.amax(1) - 0.5)
    return torch.stack([-light, light], 1)


def test_batches_are_those_without_it_but_for_the_colours():
    _, _, masks = squares()
    options = Consistency(weight=2.0, ramp=0.5, stain=0.1)
    seen = []

    def predict(x):
        seen.append(x)
        return bright(x)

    plain = batches_of(data_of(split(masks)))
    coloured = ConsistentBatches(batches_of(data_of(split(masks))), predict, options, n_steps=6)
    assert len(coloured) == 3
    colours = torch.Generator().manual_seed((plain.generator.initial_seed() + 1) % 2**63)
    steps = 0
    for _ in range(2):  # the ramp goes on over the epochs
        for (x, target), (x2, target2) in zip(plain, coloured, strict=True):
            extra = target2.pop("consistency")
            assert x["n_decode"] == 2 and x2["n_decode"] == 5
            assert target.keys() == target2.keys()
            assert all(torch.equal(target[k], target2[k]) for k in target)
            assert torch.equal(x2["x"][:2], x["x"][:2]) and torch.equal(seen[-1], x["x"][2:])
            strong = stain_jitter(x["x"][2:], colours, 0.1)
            assert torch.equal(x2["x"][2:], colour_jitter(strong, colours, 0.5))
            assert torch.equal(extra["masks"], sure_masks(bright(x["x"][2:]), 0.95))
            assert int(extra["n_open"]) == 3 * H * W
            assert extra["weight"] == pytest.approx(2 * min(1, steps / 3))
            steps += 1
    assert steps == 6 and len(seen) == 6


def test_images_with_a_pseudo_mask_stay_as_they_are():
    images, _, masks = squares()
    pseudo = [(True, masks[0]), *[(False, masks[1])] * 4, *[(True, None)] * 3]
    plain = batches_of(data_of(pseudo))
    coloured = ConsistentBatches(batches_of(data_of(pseudo)), bright, Consistency(), n_steps=3)
    kinds = set()
    for (x, target), (x2, target2) in zip(plain, coloured, strict=True):
        extra = target2["consistency"]
        with_mask = (target["masks"][2:] != MISSING).flatten(1).any(1)
        assert int(extra["n_open"]) == int((~with_mask).sum()) * H * W
        for i, known in enumerate(with_mask.tolist()):
            same = torch.equal(x["x"][2 + i], x2["x"][2 + i])
            assert same == known
            assert (extra["masks"][i] == MISSING).all() or not known
            kinds.add(known)
    assert kinds == {True, False}


@pytest.mark.parametrize(
    "masks, decode",
    [
        ([(True, np.ones((H, W), int))] * 8, True),  # everything annotated
        ([(True, np.ones((H, W), int))] * 2 + [(False, np.ones((H, W), int))] * 6, True),
        ([(True, None)] * 8, True),  # nothing
        ([(True, np.ones((H, W), int))] * 4 + [(True, None)] * 4, False),  # the class head alone
    ],
)
def test_nothing_to_do_leaves_the_batches(masks, decode):
    def predict(x):
        raise RuntimeError("not wanted")

    plain = batches_of(data_of(masks), decode=decode)
    same = ConsistentBatches(batches_of(data_of(masks), decode=decode), predict, Consistency(), 3)
    for (x, target), (x2, target2) in zip(plain, same, strict=True):
        assert torch.equal(x["x"], x2["x"]) and x["n_decode"] == x2["n_decode"]
        assert target.keys() == target2.keys()


def coloured_with(masks, options, predict=bright, n_weak=3):
    data = data_of(masks)
    rng = np.random.default_rng(0)
    batches = TrainingBatches(
        data, 3, 2, n_weak, {"flips": "none", "affine": None, "jitter": 0}, rng
    )
    return ConsistentBatches(batches, predict, options, n_steps=3)


def pieces(*options, masks=None):
    masks = split(squares()[2]) if masks is None else masks
    return [list(coloured_with(masks, one)) for one in options]


def test_cutmix_takes_boxes_of_other_images_with_what_is_said_of_them():
    still = Consistency(jitter=0, threshold=0.5)
    plain, cut = pieces(still, Consistency(jitter=0, threshold=0.5, cutmix=1.0))
    n_cut = 0
    for (x, target), (x2, target2) in zip(plain, cut, strict=True):
        assert torch.equal(x["x"][:2], x2["x"][:2])
        images, others = x["x"][2:], x2["x"][2:]
        masks, others_masks = target["consistency"]["masks"], target2["consistency"]["masks"]
        whole = [
            torch.where((others != images).any(1)[:, None], images.roll(k, 0), images)
            for k in (1, 2)
        ]
        assert any(torch.equal(others, one) for one in whole)  # one shift for all of a batch
        # each pixel, image and target, is of one and the same image
        for i, j in np.ndindex(3, 3):
            from_j = (others[i] == images[j]).all(0)
            n_cut += int(from_j.sum()) if i != j else 0
        assert torch.equal(others_masks, torch.where(others.amax(1) > 0.5, 1, 0))
        assert masks.shape == others_masks.shape
    assert n_cut > 0


def test_copy_paste_brings_annotated_objects_with_their_classes():
    plain, pasted = pieces(
        Consistency(jitter=0, threshold=0.5), Consistency(jitter=0, threshold=0.5, copy_paste=1.0)
    )
    soft = pieces(Consistency(jitter=0, targets="soft", copy_paste=1.0))[0]
    for (x, target), (x2, target2), (_, target3) in zip(plain, pasted, soft, strict=True):
        known = target["masks"]
        for i in range(3):
            was, now = x["x"][2 + i], x2["x"][2 + i]
            fits = []
            for source in range(2):
                where = known[source] == 1
                fits.append(torch.equal(now, torch.where(where, x["x"][source], was)))
                if fits[-1]:
                    found = target2["consistency"]["masks"][i]
                    assert (found[where] == 1).all()
                    assert torch.equal(found[~where], target["consistency"]["masks"][i][~where])
                    assert (
                        target3["consistency"]["masks"][i][:, where] == torch.tensor([[0], [1]])
                    ).all()
            assert any(fits)


def test_soft_targets_are_the_probabilities_and_only_of_what_is_open():
    _, _, masks = squares()
    mixed = [(True, masks[0]), *[(False, masks[1])] * 4, *[(True, None)] * 3]
    for x, target in coloured_with(mixed, Consistency(targets="soft", jitter=0)):
        extra = target["consistency"]
        bare = (target["masks"][2:] == MISSING).flatten(1).all(1)
        proba = bright(x["x"][2:]).softmax(1) * bare[:, None, None, None]
        assert torch.equal(extra["masks"], proba)


def test_within_looks_at_what_is_not_annotated_of_images_with_marks():
    _, _, masks = squares()
    marked = [np.where(np.arange(W) % 4 == 0, mask, MISSING) for mask in masks[:4]]
    options = Consistency(within=True, threshold=0.5)
    seen = []

    def predict(x):
        seen.append(x)
        return bright(x)

    for x, target in coloured_with(split(marked), options, predict):
        extra = target["consistency"]
        assert len(seen[-1]) == len(extra["masks"]) == 5 == x["n_decode"]
        known = target["masks"] != MISSING
        assert known.any() and not known.all()
        assert (extra["masks"][:2][known] == MISSING).all()
        said = sure_masks(bright(seen[-1]), 0.5)
        assert torch.equal(extra["masks"][:2][~known], said[:2][~known])
        assert int(extra["n_open"]) == 3 * H * W + int((~known).sum())
    assert not any(torch.equal(a["x"], b) for (a, _), b in zip(pieces(options)[0], seen))


def test_a_teacher_sees_what_a_user_would_give_it_and_is_what_is_learned():
    x = torch.rand(2, 3, 4, 5)
    teacher = Bright()
    found = taught_by(teacher)(x).exp()
    pixels = (x * 255).round()
    torch.testing.assert_close(found[:, 1], pixels.amax(1) / 255)
    assert teacher.seen[0].dtype == np.uint8 and teacher.seen[0].shape == (2, 4, 5, 3)


def test_a_fitted_teacher_teaches_and_clones_share_it():
    images, labels, masks = squares()
    teacher = make(max_epochs=1).fit(images, labels, masks)
    options = Consistency(teacher=teacher, targets="soft", ramp=0)
    model = make(consistency=options)
    assert clone(model).consistency.teacher is teacher
    taught = model.fit(images, labels, masks)
    alone = make(consistency=Consistency(targets="soft", ramp=0)).fit(images, labels, masks)
    assert not same_weights(taught, alone)
    said = {}
    for always in (0, 1):

        class Stubborn:
            def predict_mask_proba(self, X, always=always):
                found = np.zeros((len(X), 2, *X.shape[1:3]))
                found[:, always] = 1
                return found

        options = Consistency(5.0, teacher=Stubborn(), ramp=0)
        student = make(consistency=options, max_epochs=6).fit(images, labels, masks)
        said[always] = np.mean(student.predict_mask_proba(images[4:])[:, 1])
    assert said[1] > said[0] + 0.1


# -- fits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"schedule__phases": "two-phase"}, {"network__pooling": None}]
)
def test_weight_zero_is_the_fit_without_it_bit_for_bit(options):
    images, labels, masks = squares()
    without = make(**options).fit(images, labels, masks)
    for consistency in (0, Consistency(weight=0.0, threshold=0.5)):
        zero = make(consistency=consistency, **options).fit(images, labels, masks)
        assert same_weights(without, zero)
    on = make(consistency=Consistency(threshold=0.5), **options).fit(images, labels, masks)
    assert not same_weights(without, on)
    again = make(consistency=Consistency(threshold=0.5), **options).fit(images, labels, masks)
    assert same_weights(on, again)


def test_where_every_image_or_none_has_a_mask_it_is_the_fit_without_it():
    images, labels, masks = squares()
    for chosen in (masks[:4] * 2, None):
        pair = [make(consistency=c).fit(images, labels, chosen) for c in (None, 1.0)]
        assert same_weights(*pair)


class Losses(Callback):
    """The loss of each step, beside that of the same prediction by explicit loops."""

    def on_train_begin(self, net, **kwargs):
        self.pairs, self.sure = [], []

    def on_batch_end(self, net, batch, training, loss, y_pred, **kwargs):
        extra = batch[1]["consistency"]
        p = y_pred["mask_logits"].detach().double().softmax(1)[-len(extra["masks"]) :].numpy()
        masks, total = extra["masks"].numpy(), 0.0
        for i, r, c in np.argwhere(masks != MISSING):
            total -= math.log(p[i, masks[i, r, c], r, c])
        known = {**y_pred, "mask_logits": y_pred["mask_logits"][: len(batch[1]["masks"])]}
        own = net.criterion_(known, batch[1]).item()
        expected = own + extra["weight"] * total / masks.size
        self.pairs.append((loss.item(), expected))
        self.sure.append((masks != MISSING).mean())
        assert not net.module_.training or all(m.training for m in net.module_.modules())


def test_the_loss_of_each_step_by_hand():
    images, labels, masks = squares()
    losses = Losses()
    options = Consistency(weight=0.7, threshold=0.55, ramp=0.5)
    model = make(consistency=options, max_epochs=3, callbacks=[losses])
    model.fit(images, labels, masks)
    found, expected = np.array(losses.pairs).T
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert len(found) == 6 and 0 < np.mean(losses.sure) < 1
    by_epoch = found.reshape(3, 2).mean(1)
    np.testing.assert_allclose(model.history[:, "train_loss"], by_epoch, rtol=1e-4)


def test_the_model_predicts_as_it_is_and_its_average_where_there_is_one():
    images, labels, masks = squares()
    seen = {}

    class Spy(JointCAMSegmenter):
        def _present_mask_logits(self, x):
            before = {k: v.clone() for k, v in self.module_.state_dict().items()}
            found = super()._present_mask_logits(x)
            after = self.module_.state_dict()
            assert all(torch.equal(before[k], after[k]) for k in before)  # statistics too
            assert not found.requires_grad
            assert all(m.training for m in self.module_.modules())
            weights = before
            if self._run.average is not None:
                with self._run.average.shown():
                    weights = {k: v.clone() for k, v in self.module_.state_dict().items()}
            seen["last"] = x, found, weights
            return found

    for ema in (None, 0.9):
        model = Spy(
            encoder="tiny",
            random_state=0,
            schedule=Schedule(ema=ema),
            consistency=1.0,
            max_epochs=3,
        )
        model.fit(images, labels, masks)
        x, found, weights = seen["last"]
        model.module_.load_state_dict(weights)
        with torch.no_grad():
            torch.testing.assert_close(model.module_.eval()(x)["mask_logits"], found)


def test_a_frozen_classifier_stays_frozen_and_the_decoder_learns():
    images, labels, masks = squares()
    pair = [
        make(schedule__phases="two-phase", consistency=c).fit(images, labels, masks)
        for c in (None, Consistency(threshold=0.5, ramp=0))
    ]
    a, b = (m.module_.state_dict() for m in pair)
    frozen = [k for k in a if k.startswith(("encoder.", "class_head."))]
    assert frozen and all(torch.equal(a[k], b[k]) for k in frozen)
    assert not torch.equal(a["mask_conv.weight"], b["mask_conv.weight"])


@pytest.mark.parametrize(
    "options",
    [
        {"schedule__encoder_lr_scale": 0},
        {"crop": {"size": 24}},
        {"execution__amp": True},
        {"image_size": (30, 40), "execution__channels_last": False},
        {"network__dropout_placement": "everywhere", "test_flips": "both"},
        {"n_mask_classes": 3},
        {"schedule__keep_epoch": "train_loss", "schedule__refit_epochs": 1},
    ],
)
def test_with_other_options(options, tmp_path):
    images, labels, masks = squares()
    model = make(consistency=Consistency(threshold=0.4, stain=0.1), **options)
    model.fit(images, labels, masks).partial_fit(images, labels, masks=masks)
    assert np.isfinite(model.predict_mask_proba(images)).all()
    model.save(tmp_path / "model")
    assert JointCAMSegmenter.load(tmp_path / "model").consistency == model.consistency


def test_no_mask_is_needed_where_none_is_learned_from(monkeypatch):
    """Images without a mask fill the second stream also where there is no class head."""
    images, labels, masks = squares()
    sizes = []
    monkeypatch.setattr(
        JointCAMSegmenter,
        "run_single_epoch",
        lambda self, iterator, *a, **k: sizes.extend(len(x["x"]) for x, _ in iterator or ()),
    )
    for consistency in (None, 1.0):
        make(network__pooling=None, consistency=consistency, max_epochs=1).fit(images, None, masks)
    assert sizes == [4, 4, 8, 8]
