"""alseg.metrics: against torchmetrics, MONAI and scikit-learn, by hand, and inside searches."""

import inspect
import pickle

import numpy as np
import pytest
import sklearn
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import directed_hausdorff
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from alseg import metrics
from alseg.labels import MISSING
from alseg.metrics.calibration import (
    calibration_bins,
    calibration_error_from_bins,
    expected_calibration_error,
    pixel_average_precision,
)
from alseg.metrics.instances import (
    instances_from_mask,
    object_counts,
    object_dice,
    object_dice_from_overlaps,
    object_f1,
    object_f1_from_overlaps,
    object_overlaps,
)
from alseg.metrics.overlap import (
    dice_from_confusion,
    dice_per_image,
    dice_score,
    hausdorff_per_image,
    iou_from_confusion,
    iou_per_image,
    mean_dice,
    mean_iou,
    mean_iou_per_image,
    pixel_confusion,
    pixel_confusion_per_image,
    pooled_dice,
    pooled_iou,
    pooled_mean_iou,
)
from alseg.metrics.scoring import DiceScorer, dice_scorer
from alseg.metrics.summary import by_label, mask_metrics, worst_tenth

PAIRED = [dice_per_image, mean_dice, pooled_dice, iou_per_image, pooled_iou, mean_iou_per_image]
PAIRED += [mean_iou, pooled_mean_iou, pixel_confusion, pixel_confusion_per_image, mask_metrics]
PAIRED += [hausdorff_per_image]


def random_pair(rng, n=5, h=11, w=13, n_classes=2, missing=0.0):
    true = rng.integers(0, n_classes, (n, h, w))
    pred = np.where(rng.random((n, h, w)) < 0.7, true, rng.integers(0, n_classes, (n, h, w)))
    true[rng.random((n, h, w)) < missing] = MISSING
    return pred, true


def one_hot(masks, n_classes):
    return torch.nn.functional.one_hot(torch.as_tensor(masks).long(), n_classes).movedim(-1, 1)


@st.composite
def pairs(draw):
    seed, n, c = draw(st.integers(0, 10**6)), draw(st.integers(1, 4)), draw(st.integers(2, 4))
    missing = draw(st.sampled_from([0.0, 0.3]))
    pred, true = random_pair(np.random.default_rng(seed), n, 4, 5, c, missing)
    true[:, 0, 0] = 0  # at least one annotated pixel an image
    return pred, true, c


def test_all_public_names_are_exported():
    public = {
        name
        for name, value in vars(metrics).items()
        if inspect.isfunction(value) and value.__module__.startswith("alseg.metrics.")
        if not name.startswith("_")
    }
    assert public | {"DiceScorer", "dice_scorer", "THRESHOLD_GRID"} == set(metrics.__all__)


# -- pairs of masks --


@settings(deadline=None, max_examples=40)
@given(pairs())
def test_confusion_equals_scikit_learn(case):
    pred, true, c = case
    known = true != MISSING
    expected = sklearn.metrics.confusion_matrix(true[known], pred[known], labels=range(c))
    np.testing.assert_array_equal(pixel_confusion(pred, true, c), expected)
    each = pixel_confusion_per_image(pred, true, c)
    np.testing.assert_array_equal(each.sum(axis=0), expected)


@settings(deadline=None, max_examples=40)
@given(pairs(), st.integers(0, 3))
def test_dice_and_iou_equal_scikit_learn_image_by_image(case, label):
    pred, true, c = case
    label = min(label, c - 1)
    dice, iou = [], []
    for p, t in zip(pred, true, strict=True):
        a, b = t[t != MISSING] == label, p[t != MISSING] == label
        dice.append(sklearn.metrics.f1_score(a, b, zero_division=1.0))
        iou.append(sklearn.metrics.jaccard_score(a, b, zero_division=1.0) if (a | b).any() else 1)
    np.testing.assert_allclose(dice_per_image(pred, true, label, c), dice)
    np.testing.assert_allclose(iou_per_image(pred, true, label, c), iou)
    np.testing.assert_allclose(mean_dice(pred, true, label, c), np.mean(dice))
    known = true != MISSING
    a, b = true[known] == label, pred[known] == label
    pooled = sklearn.metrics.f1_score(a, b, zero_division=1.0)
    np.testing.assert_allclose(pooled_dice(pred, true, label, c), pooled)
    np.testing.assert_allclose(pooled_iou(pred, true, label, c), pooled / (2 - pooled))


@pytest.mark.parametrize("n_classes", [2, 4])
def test_equal_monai(monai, rng, n_classes):
    pred, true = random_pair(rng, n_classes=n_classes)
    hots = one_hot(pred, n_classes), one_hot(true, n_classes)
    options = {"include_background": True, "reduction": "none"}
    dice = monai.metrics.DiceMetric(**options)(*hots).numpy()
    iou = monai.metrics.MeanIoU(**options)(*hots).numpy()
    for c in range(n_classes):
        np.testing.assert_allclose(dice_per_image(pred, true, c, n_classes), dice[:, c], rtol=1e-5)
        np.testing.assert_allclose(iou_per_image(pred, true, c, n_classes), iou[:, c], rtol=1e-5)
    foreground = dice[:, 1:].mean()
    np.testing.assert_allclose(mean_dice(pred, true, None, n_classes), foreground, rtol=1e-5)
    np.testing.assert_allclose(mean_iou(pred, true, n_classes), iou.mean(), rtol=1e-5)


@pytest.fixture(scope="module")
def torchmetrics():
    """Imported here for the reason of `monai`."""
    import torchmetrics.classification
    import torchmetrics.functional.segmentation

    return torchmetrics


@pytest.mark.parametrize("n_classes", [2, 4])
def test_equal_torchmetrics(torchmetrics, rng, n_classes):
    pred, true = random_pair(rng, n_classes=n_classes)
    tensors = torch.as_tensor(pred), torch.as_tensor(true)
    expected = torchmetrics.functional.segmentation.mean_iou(
        *tensors, num_classes=n_classes, input_format="index"
    )
    np.testing.assert_allclose(mean_iou_per_image(pred, true, n_classes), expected, rtol=1e-5)
    true[:, :4] = MISSING
    task = "binary" if n_classes == 2 else "multiclass"
    jaccard = torchmetrics.JaccardIndex(
        task="multiclass", num_classes=n_classes, average="macro", ignore_index=MISSING
    )
    expected = jaccard(torch.as_tensor(pred), torch.as_tensor(true))
    np.testing.assert_allclose(pooled_mean_iou(pred, true, n_classes), expected, rtol=1e-5)
    if task == "binary":
        jaccard = torchmetrics.JaccardIndex(task=task, ignore_index=MISSING)
        expected = jaccard(torch.as_tensor(pred), torch.as_tensor(true))
        np.testing.assert_allclose(pooled_iou(pred, true), expected, rtol=1e-5)


def test_a_mean_over_images_is_not_pooled():
    """A perfect large object and one missed pixel (F12)."""
    pred = [np.ones((5, 5), int), np.zeros((1, 1), int)]
    true = [np.ones((5, 5), int), np.ones((1, 1), int)]
    assert iou_per_image(pred, true).tolist() == [1.0, 0.0]
    assert pooled_iou(pred, true) == 25 / 26
    assert mean_iou(pred, true) == 0.5


def test_empty_masks_agree():
    empty, full = np.zeros((1, 3, 3), int), np.ones((1, 3, 3), int)
    for f in (dice_per_image, iou_per_image):
        assert f(empty, empty).tolist() == [1.0]
        assert f(full, full, label=0).tolist() == [1.0]
        assert f(full, empty).tolist() == f(empty, full).tolist() == [0.0]
    assert mean_iou(empty, empty) == 1.0
    # With more classes an absent one says nothing, and is not averaged in as a 1.
    pred, true = np.array([[[1, 1, 0]]]), np.array([[[1, 0, 0]]])
    assert dice_per_image(pred, true, n_mask_classes=5).tolist() == [2 / 3]
    assert dice_per_image(pred, true, label=4, n_mask_classes=5).tolist() == [1.0]
    np.testing.assert_allclose(mean_iou_per_image(pred, true, n_mask_classes=5), [0.5])


@settings(deadline=None, max_examples=40)
@given(pairs())
def test_missing_pixels_count_nowhere(case):
    pred, true, c = case
    other = np.where(true == MISSING, (pred + 1) % c, pred)
    for f in (dice_per_image, iou_per_image, pixel_confusion):
        expected = f(pred, true, n_mask_classes=c)
        np.testing.assert_array_equal(f(other, true, n_mask_classes=c), expected)


def test_images_without_annotation_are_left_out(rng):
    pred, true = random_pair(rng, n=4)
    listed = [true[0], None, np.full_like(true[2], MISSING), true[3]]
    values = dice_per_image(pred, listed)
    assert np.isnan(values).tolist() == [False, True, True, False]
    np.testing.assert_allclose(mean_dice(pred, listed), mean_dice(pred[[0, 3]], true[[0, 3]]))
    np.testing.assert_allclose(mean_iou(pred, listed), mean_iou(pred[[0, 3]], true[[0, 3]]))
    assert pooled_iou(pred, listed) == pooled_iou(pred[[0, 3]], true[[0, 3]])
    for f in (mean_dice, mean_iou, pooled_dice, pooled_iou, pooled_mean_iou, mask_metrics):
        with pytest.raises(ValueError, match="masks must be annotated in at least one pixel"):
            f(pred[:2], [None, listed[2]])


def test_ragged_masks(rng):
    pred, true = random_pair(rng, n=2)
    ragged_pred, ragged_true = np.empty(2, dtype=object), np.empty(2, dtype=object)
    ragged_pred[:] = [pred[0, :4], pred[1]]
    ragged_true[:] = [true[0, :4], true[1]]
    expected = [dice_score(pred[0, :4], true[0, :4]), dice_score(pred[1], true[1])]
    np.testing.assert_allclose(dice_per_image(ragged_pred, ragged_true), expected)
    np.testing.assert_allclose(dice_per_image(list(ragged_pred), list(ragged_true)), expected)


def test_dtypes_and_untouched_input(rng):
    pred, true = random_pair(rng)
    before = pred.copy(), true.copy()
    expected = dice_per_image(pred, true)
    for dtype in (bool, np.uint8, np.int8, np.int16, np.int64):
        np.testing.assert_array_equal(dice_per_image(pred.astype(dtype), true), expected)
        np.testing.assert_array_equal(dice_per_image(pred, true.astype(dtype)), expected)
    np.testing.assert_array_equal(before[0], pred)
    np.testing.assert_array_equal(before[1], true)


@pytest.mark.parametrize("f", PAIRED)
def test_errors_of_pairs(rng, f):
    pred, true = random_pair(rng, n=3)
    with pytest.raises(ValueError, match="pred_masks must be one for each of 3 masks, got 2"):
        f(pred[:2], true)
    with pytest.raises(ValueError, match=r"pred_masks\[1\] must be of the size of its mask"):
        f([pred[0], pred[1, :4], pred[2]], true)
    with pytest.raises(ValueError, match=r"masks\[2\] must be of classes 0..1 .*got 255.*0/255"):
        f(pred, [true[0], true[1], true[2] * 255])
    with pytest.raises(ValueError, match=r"masks\[0\] must be of classes 0..1 or MISSING.*got -2"):
        f(pred, np.where(true == 0, -2, true))
    with pytest.raises(ValueError, match=r"pred_masks\[0\] must be of classes 0..1, got -1"):
        f(pred - 1, true)
    with pytest.raises(TypeError, match=r"pred_masks\[0\] must be of an integer dtype.*Threshold"):
        f(pred / 2, true)


def test_errors_of_options(rng):
    pred, true = random_pair(rng, n=1)
    with pytest.raises(ValueError, match="label must be >= 0 and <= 1, got 2"):
        mean_dice(pred, true, label=2)
    with pytest.raises(TypeError, match="label must be an integer"):
        mean_dice(pred, true, label="foreground")
    with pytest.raises(ValueError, match="n_mask_classes must be >= 2 for a mean"):
        mean_dice(pred * 0, true * 0, n_mask_classes=1)
    with pytest.raises(TypeError, match="n_mask_classes must be an integer"):
        dice_from_confusion(pixel_confusion(pred, true, n_mask_classes=2.0))


def test_from_confusion_by_hand():
    confusion = np.array([[5, 1], [2, 4]])
    np.testing.assert_allclose(dice_from_confusion(confusion), [10 / 13, 8 / 11])
    np.testing.assert_allclose(iou_from_confusion(confusion), [5 / 8, 4 / 7])
    assert np.isnan(dice_from_confusion(np.zeros((2, 2), int))).all()


# -- summaries --


def test_worst_tenth_and_by_label():
    assert worst_tenth(np.arange(20.0)) == 0.5
    assert worst_tenth(np.arange(21.0)) == 1.0  # three of 21
    assert worst_tenth([0.3]) == 0.3
    with pytest.raises(ValueError, match="values must be at least one number"):
        worst_tenth([np.nan])
    means = by_label([0.5, np.nan, 0.1], np.array([2, 2, 3]))
    assert means == {2: 0.5, 3: 0.1} and type(next(iter(means))) is int
    assert np.isnan(by_label([np.nan], ["a"])["a"])
    with pytest.raises(ValueError, match="labels must be of shape"):
        by_label([1.0, 2.0], ["a"])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_mask_metrics_are_the_single_functions(rng, n_classes):
    pred, true = random_pair(rng, n=6, n_classes=n_classes, missing=0.2)
    labels = np.array(["benign", "malignant"] * 3)
    numbers = mask_metrics(pred, true, labels, n_classes)
    each = dice_per_image(pred, true, None, n_classes)
    expected = {
        "dice": each.mean(),
        "dice_background": mean_dice(pred, true, 0, n_classes),
        "iou": iou_per_image(pred, true, None, n_classes).mean(),
        "mean_iou": mean_iou(pred, true, n_classes),
        "pooled_dice": pooled_dice(pred, true, None, n_classes),
        "pooled_dice_background": pooled_dice(pred, true, 0, n_classes),
        "pooled_iou": pooled_iou(pred, true, None, n_classes),
        "pooled_mean_iou": pooled_mean_iou(pred, true, n_classes),
        "dice_worst_tenth": each.min(),
        "dice_benign": each[::2].mean(),
        "dice_malignant": each[1::2].mean(),
    }
    assert numbers.keys() == expected.keys()
    for name, value in expected.items():
        assert numbers[name] == pytest.approx(value), name
        assert type(numbers[name]) is float


def test_the_all_ones_row_of_glas(glas_folder):
    """66.02 on the 80 test images (METHODS 1.13)."""
    import csv

    from PIL import Image

    with open(glas_folder / "manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"].startswith("test")]
    masks = [np.asarray(Image.open(glas_folder / row["mask"])) > 0 for row in rows]
    assert len(masks) == 80
    dice = mean_dice([np.ones_like(mask) for mask in masks], masks)
    assert 100 * dice == pytest.approx(66.02, abs=0.01)


# -- probabilities --


def test_average_precision_equals_scikit_learn(rng):
    true = rng.integers(-1, 2, (3, 6, 7))
    scores = rng.random(true.shape).astype(np.float32)
    known = true >= 0
    expected = sklearn.metrics.average_precision_score(true[known], scores[known])
    assert pixel_average_precision(scores, true) == pytest.approx(expected)
    masks = [*true, None, np.zeros((6, 7), int)]
    each = pixel_average_precision([*scores, scores[0], scores[0]], masks, per_image=True)
    for value, s, t in zip(each[:3], scores, true, strict=True):
        known = t >= 0
        assert value == pytest.approx(sklearn.metrics.average_precision_score(t[known], s[known]))
    assert np.isnan(each[3:]).all()
    constant = pixel_average_precision(np.zeros(true.shape), true)
    assert constant == pytest.approx((true == 1).sum() / (true >= 0).sum())  # the prevalence


def test_errors_of_average_precision():
    with pytest.raises(ValueError, match="masks must be with a pixel of class 1"):
        pixel_average_precision(np.ones((1, 2, 2)), np.zeros((1, 2, 2), int))
    with pytest.raises(ValueError, match="masks must be with a pixel of class 1"):
        pixel_average_precision(np.ones((1, 2, 2)), [None])
    with pytest.raises(ValueError, match=r"scores\[0\] must be finite"):
        pixel_average_precision(np.full((1, 2, 2), np.nan), np.ones((1, 2, 2), int))
    with pytest.raises(ValueError, match=r"scores\[0\] must be of the size"):
        pixel_average_precision(np.ones((1, 2, 3)), np.ones((1, 2, 2), int))
    with pytest.raises(ValueError, match=r"scores\[0\] must be of shape \(H, W\)"):
        pixel_average_precision(np.ones((1, 2, 2, 2)), np.ones((1, 2, 2), int))
    with pytest.raises(ValueError, match="scores must be one for each of 1 masks"):
        pixel_average_precision(np.ones((2, 2, 2)), np.ones((1, 2, 2), int))


@pytest.mark.parametrize("n_bins", [1, 10, 15])
def test_calibration_equals_torchmetrics(torchmetrics, rng, n_bins):
    proba = rng.dirichlet([0.5] * 3, size=(4, 6, 7)).transpose(0, 3, 1, 2).astype(np.float32)
    true = rng.integers(-1, 3, (4, 6, 7))
    reference = torchmetrics.classification.MulticlassCalibrationError(
        num_classes=3, n_bins=n_bins, norm="l1", ignore_index=MISSING
    )
    expected = float(reference(torch.as_tensor(proba), torch.as_tensor(true)))
    assert expected_calibration_error(proba, true, n_bins) == pytest.approx(expected, abs=1e-5)
    labels, of_images = true[:, 0, 0].clip(0), proba[:, :, 0, 0]
    expected = float(reference(torch.as_tensor(of_images), torch.as_tensor(labels)))
    got = expected_calibration_error(of_images, labels, n_bins)
    assert got == pytest.approx(expected, abs=1e-5)


def test_calibration_of_parts_adds_up(rng):
    proba = rng.dirichlet([0.5] * 3, size=(4, 6, 7)).transpose(0, 3, 1, 2)
    true = rng.integers(-1, 3, (4, 6, 7))
    parts = calibration_bins(proba[:1], true[:1]) + calibration_bins(proba[1:], true[1:])
    assert parts.sum(1)[0] == (true >= 0).sum()
    whole = expected_calibration_error(proba, true)
    assert calibration_error_from_bins(parts) == pytest.approx(whole)
    with pytest.raises(ValueError, match="annotated in at least one pixel"):
        calibration_error_from_bins(np.zeros((3, 15)))


def test_errors_of_calibration():
    with pytest.raises(ValueError, match=r"y\[0\] must be of classes 0..1, got 2"):
        expected_calibration_error(np.full((1, 2, 2, 2), 0.5), np.full((1, 2, 2), 2))
    with pytest.raises(ValueError, match="y must be annotated in at least one pixel"):
        expected_calibration_error(np.full((1, 2, 2, 2), 0.5), [None])
    with pytest.raises(ValueError, match=r"proba\[0\] must be with a class axis first"):
        expected_calibration_error(np.full((1, 2, 2), 0.5), np.zeros((1, 2, 2), int))


# -- contours --


def test_hausdorff_equals_scipy(rng):
    pred, true = np.zeros((2, 4, 24, 24), int)
    for masks in (pred, true):
        for mask in masks:
            i, j = rng.integers(1, 12, 2)
            mask[i : i + rng.integers(2, 10), j : j + rng.integers(2, 10)] = 1
    got = hausdorff_per_image(pred, true)
    for value, p, t in zip(got, pred, true, strict=True):
        a, b = np.argwhere(p), np.argwhere(t)
        expected = max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0])
        # Contours against whole objects: the same unless one lies deep inside the other.
        assert value == pytest.approx(expected, abs=1.5)
    assert (hausdorff_per_image(pred, true, percentile=95) <= got).all()
    np.testing.assert_array_equal(hausdorff_per_image(pred, pred), 0)


def test_hausdorff_of_empty_and_partly_annotated_masks():
    one = np.zeros((4, 4), int)
    one[1, 1] = 1
    partly = np.where(one, 1, MISSING)
    pred = [one * 0, one, one * 0, one, one]
    got = hausdorff_per_image(pred, [one * 0, one * 0, one, partly, None])
    np.testing.assert_array_equal(got, [0, np.inf, np.inf, np.nan, np.nan])


# -- objects --


def test_instances():
    mask = np.array([[1, 0, 0, -1], [0, 1, 0, 2], [0, 0, 0, 2]])
    assert instances_from_mask(mask).tolist() == [[1, 0, 0, 0], [0, 2, 0, 3], [0, 0, 0, 3]]
    joined = instances_from_mask(mask, connectivity=2)
    assert joined.tolist() == [[1, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 2]]
    assert instances_from_mask(mask, min_size=2).max() == 1
    assert instances_from_mask(np.zeros((2, 2), bool)).max() == 0
    with pytest.raises(ValueError, match="connectivity must be >= 1 and <= 2, got 8"):
        instances_from_mask(mask, connectivity=8)
    with pytest.raises(ValueError, match="mask must be of shape"):
        instances_from_mask(mask[0])
    with pytest.raises(TypeError, match="mask must be of an integer dtype"):
        instances_from_mask(mask / 2)


def reference_object_dice(pred, true):
    """The contest's formula with one loop an object."""

    def one_side(a, b):
        total = 0.0
        for i in np.unique(a[a > 0]):
            mine = a == i
            inside = b[mine & (b > 0)]
            if inside.size:
                counts = np.bincount(inside)
                others = [b == j for j in np.flatnonzero(counts == counts.max())]
                other = min(others, key=np.sum)
                total += mine.sum() * 2 * (mine & other).sum() / (mine.sum() + other.sum())
        return total / max((a > 0).sum(), 1)

    return (one_side(pred, true) + one_side(true, pred)) / 2


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_object_dice_equals_the_formula(seed):
    rng = np.random.default_rng(seed)
    pred, true = (np.kron(rng.integers(0, 4, (3, 4)), np.ones((3, 3), int)) for _ in range(2))
    pred = np.roll(pred, 1, axis=1)
    if pred.any() or true.any():
        assert object_dice(pred, true) == pytest.approx(reference_object_dice(pred, true))
    # Numbers of objects mean nothing; two sides are alike.
    shuffled = np.array([0, 30, 7, 11])[pred]
    assert object_dice(shuffled, true) == pytest.approx(object_dice(pred, true))
    assert object_dice(true, pred) == pytest.approx(object_dice(pred, true))


def test_object_metrics_by_hand():
    true = np.array([[1, 1, 1, 1, 0, 2, 2]])
    assert object_counts(true, true) == (2, 0, 0)
    assert object_f1(true, true) == object_dice(true, true) == 1.0
    half = np.array([[5, 5, 0, 0, 0, 9, 0]])  # half of each: found, as the paper says
    assert object_counts(half, true) == (2, 0, 0)
    less = np.array([[5, 0, 0, 0, 0, 9, 0]])
    assert object_counts(less, true) == (1, 1, 1)
    assert object_f1(less, true) == 0.5
    merged = np.array([[1, 1, 1, 1, 1, 1, 1]])  # belongs to the larger object only
    assert object_counts(merged, true) == (1, 0, 1)
    split = np.array([[1, 1, 3, 3, 0, 2, 2]])  # a tie: both halves cover half
    assert object_counts(split, true) == (3, 0, 0)
    # merged: pred side 2*4/(7+4); true side (4 * 8/11 + 2 * 4/9) / 6
    expected = (8 / 11 + (4 * 8 / 11 + 2 * 4 / 9) / 6) / 2
    assert object_dice(merged, true) == pytest.approx(expected)


def test_object_metrics_without_objects():
    none, some = np.zeros((3, 3), int), np.ones((3, 3), int)
    assert object_f1(none, none) == object_dice(none, none) == 1.0
    for pair in ((none, some), (some, none)):
        assert object_f1(*pair) == object_dice(*pair) == 0.0


def test_object_metrics_pool_several_images():
    true = [np.array([[1, 1, 0]]), np.array([[1], [0]])]
    pred = [np.array([[4, 4, 0]]), np.array([[0], [3]])]
    assert object_counts(pred, true) == (1, 1, 1)
    assert object_f1(pred, true) == 0.5
    assert object_dice(pred, true) == pytest.approx(2 / 3)  # two of three pixels on each side


def test_errors_of_object_metrics():
    with pytest.raises(ValueError, match=r"pred_instances\[0\] must be of the size"):
        object_dice(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="pred_instances must be one for each of 2 masks, got 1"):
        object_f1(np.zeros((1, 2, 2), int), np.zeros((2, 2, 2), int))
    with pytest.raises(ValueError, match="objects cannot be partly annotated"):
        object_f1(np.zeros((2, 2), int), np.full((2, 2), -1))
    with pytest.raises(TypeError, match="true_instances must be of an integer dtype"):
        object_f1(np.zeros((2, 2), int), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="min_overlap must be > 0"):
        object_f1(np.zeros((2, 2), int), np.zeros((2, 2), int), min_overlap=0)


# -- searches --


class ThresholdSegmenter(ClassifierMixin, BaseEstimator):
    """Foreground is what is brighter than a threshold; asks for masks in fit as ours does."""

    __metadata_request__fit = {"masks": True}

    def __init__(self, threshold=0.5):
        self.threshold = threshold

    def fit(self, X, y, masks=None):
        self.classes_ = np.unique(y)
        self.n_masks_ = None if masks is None else len(masks)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])

    def predict_masks(self, X):
        return (np.asarray(X) > self.threshold).astype(int)

    def score_masks(self, X, masks):
        return mean_dice(self.predict_masks(X), masks)


@pytest.fixture
def toy(rng):
    X = rng.random((12, 6, 6))
    return X, np.tile(["a", "b"], 6), (X > 0.3).astype(int)


def test_scorer_called_by_hand(toy):
    X, y, masks = toy
    est = ThresholdSegmenter(0.3).fit(X, y)
    assert dice_scorer(est, X, y, masks=masks) == dice_scorer(est, X, y, masks) == 1.0
    with pytest.raises(ValueError, match="masks must be given to dice_scorer.*enable_metadata"):
        dice_scorer(est, X, y)
    with pytest.raises(TypeError, match="estimator must be one with `score_masks`"):
        dice_scorer(FunctionTransformer(), X, y, masks)


def test_scorer_in_a_grid_search(toy):
    X, y, masks = toy
    with sklearn.config_context(enable_metadata_routing=True):
        grid = {"threshold": [0.1, 0.3, 0.6]}
        search = GridSearchCV(ThresholdSegmenter(), grid, scoring=dice_scorer, cv=3)
        search.fit(X, y, masks=masks)
    assert search.best_params_ == {"threshold": 0.3} and search.best_score_ == 1.0
    assert search.best_estimator_.n_masks_ == 12


def test_scorer_beside_another_in_cross_validate(toy):
    X, y, masks = toy
    with sklearn.config_context(enable_metadata_routing=True):
        scoring = {"dice": dice_scorer, "accuracy": "accuracy"}
        est = ThresholdSegmenter(0.3)
        result = cross_validate(est, X, y, params={"masks": masks}, scoring=scoring, cv=3)
    assert result["test_dice"].tolist() == [1.0] * 3
    assert result["test_accuracy"].tolist() == [0.5] * 3


def test_scorer_with_another_name_for_the_masks(toy):
    X, y, masks = toy
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = DiceScorer().set_score_request(masks="exact_masks")
        params = {"masks": masks, "exact_masks": masks}
        est = ThresholdSegmenter(0.3)
        result = cross_validate(est, X, y, params=params, scoring=scorer, cv=3)
    assert result["test_score"].tolist() == [1.0] * 3
    assert dice_scorer.get_metadata_routing().score.requests == {"masks": True}  # as it was


@pytest.mark.parametrize("steps", [["double"], []])
def test_scorer_of_a_pipeline(toy, steps):
    X, y, masks = toy
    before = [(name, FunctionTransformer(np.asarray)) for name in steps]
    pipeline = Pipeline([*before, ("segment", ThresholdSegmenter(0.3))]).fit(X, y)
    assert dice_scorer(pipeline, X, y, masks) == 1.0


def test_scorer_is_picklable():
    assert pickle.loads(pickle.dumps(dice_scorer))._requests == {"masks": True}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([3, 40, 10**6]), st.integers(1, 12))
def test_object_overlaps_against_counting_pixels(seed, highest, width):
    rng = np.random.default_rng(seed)
    numbers = np.append(rng.integers(1, highest, 4), 0)  # with numbers left out, also far apart
    pred, true = numbers[rng.integers(0, 5, (2, 5, width))]
    ((area_pred, area_true, overlap),) = object_overlaps(pred, true)
    own = [n for n in np.unique(pred) if n], [n for n in np.unique(true) if n]
    assert area_pred.tolist() == [(pred == n).sum() for n in own[0]]
    assert area_true.tolist() == [(true == n).sum() for n in own[1]]
    assert overlap.shape == (len(own[0]), len(own[1]))
    for k, p in enumerate(own[0]):
        assert overlap[k].tolist() == [((pred == p) & (true == t)).sum() for t in own[1]]


def test_object_metrics_of_parts_from_overlaps_counted_once():
    rng = np.random.default_rng(0)
    pred, true = rng.integers(0, 5, (2, 6, 8, 8))
    overlaps = object_overlaps(pred, true)
    for part in ([0, 1, 2, 3, 4, 5], [1, 3], []):
        some = [overlaps[i] for i in part]
        assert object_dice_from_overlaps(some) == object_dice(list(pred[part]), list(true[part]))
        for least in (0.2, 0.5):
            expected = object_f1(list(pred[part]), list(true[part]), least)
            assert object_f1_from_overlaps(some, least) == expected
