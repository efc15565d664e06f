"""How good predicted masks are. Every name says whether images are averaged or pixels pooled.

Predictions come first and truth second, as in torchmetrics and MONAI. In the truth a pixel that
is `MISSING` (-1) counts nowhere, and so does an image whose mask is None. An image's value is NaN
where nothing of it is annotated; means leave such images out. Two masks in which a class does not
occur agree about it: 1, not 0.
"""

import math

import numpy as np

from alseg.labels import MISSING
from alseg.threads import warnings_ignored
from alseg.validation import check_number, message

__all__ = [
    "DiceScorer",
    "by_label",
    "calibration_bins",
    "calibration_error_from_bins",
    "dice_from_confusion",
    "dice_per_image",
    "dice_score",
    "dice_scorer",
    "expected_calibration_error",
    "hausdorff_per_image",
    "instances_from_mask",
    "iou_from_confusion",
    "iou_per_image",
    "mask_metrics",
    "mean_dice",
    "mean_iou",
    "mean_iou_per_image",
    "object_counts",
    "object_dice",
    "object_dice_from_overlaps",
    "object_f1",
    "object_f1_from_overlaps",
    "object_overlaps",
    "pixel_average_precision",
    "pixel_confusion",
    "pixel_confusion_per_image",
    "pooled_dice",
    "pooled_iou",
    "pooled_mean_iou",
    "worst_tenth",
]


# -- pairs of masks, checked once --


def _integers(name, mask):
    """A mask as an integer array; booleans are 0 and 1, fractions are no classes."""
    mask = np.asarray(mask)
    if mask.dtype == bool:
        return mask.astype(np.int8)
    if mask.dtype.kind not in "iu":
        remedy = "Threshold probabilities first."
        raise TypeError(message(name, "of an integer dtype", str(mask.dtype), remedy))
    return mask


def _check_same_length(pred_masks, masks, name="pred_masks"):
    if len(pred_masks) != len(masks):
        raise ValueError(message(name, f"one for each of {len(masks)} masks", len(pred_masks)))


def _check_range(name, mask, low, n_mask_classes):
    if mask.size and (mask.min() < low or mask.max() >= n_mask_classes):
        bad = mask[(mask < low) | (mask >= n_mask_classes)]
        rule = f"of classes 0..{n_mask_classes - 1}" + (" or MISSING (-1)" if low else "")
        remedy = "Pass n_mask_classes, or map 0/255 masks to 0/1."
        raise ValueError(message(name, rule, int(bad.flat[0]), remedy))


def _pairs(pred_masks, masks, n_mask_classes):
    """Yield (i, pred, true) as flat integer arrays of the annotated pixels of each image."""
    _check_same_length(pred_masks, masks)
    for i in range(len(masks)):
        if masks[i] is None:
            yield i, np.zeros(0, np.intp), np.zeros(0, np.intp)
            continue
        pred = _integers(f"pred_masks[{i}]", pred_masks[i])
        true = _integers(f"masks[{i}]", masks[i])
        if pred.shape != true.shape:
            rule = f"of the size of its mask, {true.shape}"
            raise ValueError(message(f"pred_masks[{i}]", rule, pred.shape))
        _check_range(f"pred_masks[{i}]", pred, 0, n_mask_classes)
        _check_range(f"masks[{i}]", true, MISSING, n_mask_classes)
        known = true != MISSING
        yield i, pred[known].astype(np.intp), true[known].astype(np.intp)


def pixel_confusion_per_image(pred_masks, masks, n_mask_classes=2):
    """Pixel counts of each image by true and predicted class.

    Parameters
    ----------
    pred_masks : sequence of n arrays (H, W), int or bool
        Predicted class of each pixel; sizes may differ.
    masks : sequence of n arrays (H, W), int or bool, or None
        True class of each pixel, `MISSING` (-1) where not annotated; None is all missing.
    n_mask_classes : int, default=2
        Number of classes, the background included.

    Returns
    -------
    confusion : ndarray of shape (n, n_mask_classes, n_mask_classes), int
        Rows are the true classes and columns the predicted ones, as in scikit-learn. All 0 for an
        image without annotated pixels.

    Raises
    ------
    TypeError
        If a mask is not of integers or booleans.
    ValueError
        If the lengths or the sizes of a pair differ, or a value is outside the classes.

    Examples
    --------
    >>> pixel_confusion_per_image([np.array([[0, 1, 1]])], [np.array([[0, 0, -1]])])
    array([[[1, 1],
            [0, 0]]])
    """
    check_number("n_mask_classes", n_mask_classes, low=1, integer=True)
    confusion = np.zeros((len(masks), n_mask_classes, n_mask_classes), dtype=np.int64)
    for i, pred, true in _pairs(pred_masks, masks, n_mask_classes):
        counts = np.bincount(true * n_mask_classes + pred, minlength=n_mask_classes**2)
        confusion[i] = counts.reshape(n_mask_classes, n_mask_classes)
    return confusion


def pixel_confusion(pred_masks, masks, n_mask_classes=2):
    """Pixel counts of all images together by true and predicted class.

    Parameters, errors and order of the result as in `pixel_confusion_per_image`.

    Returns
    -------
    confusion : ndarray of shape (n_mask_classes, n_mask_classes), int

    Examples
    --------
    >>> pixel_confusion([np.array([[0, 1]]), np.array([[1]])], [np.array([[0, 0]]), None])
    array([[1, 1],
           [0, 0]])
    """
    return pixel_confusion_per_image(pred_masks, masks, n_mask_classes).sum(axis=0)


def _ratio(intersection, total, annotated):
    """intersection / total; 1 where a class is in neither mask, NaN where nothing is annotated."""
    with np.errstate(invalid="ignore"):
        ratio = np.where(total == 0, 1.0, intersection / np.where(total == 0, 1, total))
    return np.where(annotated, ratio, np.nan)


def dice_from_confusion(confusion):
    """Dice of each class, ``2 TP / (2 TP + FP + FN)``.

    Parameters
    ----------
    confusion : ndarray of shape (..., C, C), int
        Of `pixel_confusion` or `pixel_confusion_per_image`.

    Returns
    -------
    dice : ndarray of shape (..., C), float
        In [0, 1]; 1 for a class in neither mask; NaN where no pixel is annotated.

    Examples
    --------
    >>> dice_from_confusion(np.array([[2, 1], [1, 1]])).round(4)
    array([0.6667, 0.5   ])
    """
    confusion = np.asarray(confusion)
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    total = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    return _ratio(2 * hit, total, confusion.sum(axis=(-2, -1))[..., None] > 0)


def iou_from_confusion(confusion):
    """Intersection over union of each class, ``TP / (TP + FP + FN)``.

    Parameters
    ----------
    confusion : ndarray of shape (..., C, C), int
        Of `pixel_confusion` or `pixel_confusion_per_image`.

    Returns
    -------
    iou : ndarray of shape (..., C), float
        In [0, 1]; 1 for a class in neither mask; NaN where no pixel is annotated.

    Examples
    --------
    >>> iou_from_confusion(np.array([[2, 1], [1, 1]])).round(4)
    array([0.5   , 0.3333])
    """
    confusion = np.asarray(confusion)
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    total = confusion.sum(axis=-1) + confusion.sum(axis=-2) - hit
    return _ratio(hit, total, confusion.sum(axis=(-2, -1))[..., None] > 0)


def _present(confusion):
    """Whether a class is in the truth or in the prediction, (..., C)."""
    return confusion.sum(axis=-1) + confusion.sum(axis=-2) > 0


def _mean_over(values, present):
    """Mean of (..., C) over the classes present; 1 where none is; NaN stays."""
    count = present.sum(axis=-1)
    total = np.where(present, values, 0).sum(axis=-1)
    mean = np.where(count == 0, 1.0, total / np.maximum(count, 1))
    return np.where(np.isnan(values).all(axis=-1), np.nan, mean)


def _of_label(values, confusion, label):
    """One value an image (or in all) from (..., C): of a class, or the mean of the foreground's."""
    n_mask_classes = confusion.shape[-1]
    if label is None:
        if n_mask_classes == 1:
            raise ValueError(message("n_mask_classes", ">= 2 for a mean over the foreground", 1))
        return _mean_over(values[..., 1:], _present(confusion)[..., 1:])
    check_number("label", label, low=0, high=n_mask_classes - 1, integer=True)
    return values[..., label]


def _mean(values):
    """Mean over the annotated images as a float; an error where there is none."""
    values = np.asarray(values, dtype=float)
    known = ~np.isnan(values)
    if not known.any():
        remedy = "There is nothing to compare with."
        raise ValueError(message("masks", "annotated in at least one pixel", len(values), remedy))
    return float(values[known].mean())


def dice_per_image(pred_masks, masks, label=None, n_mask_classes=2):
    """Dice coefficient of each image, ``2 |P and G| / (|P| + |G|)``.

    Parameters
    ----------
    pred_masks, masks, n_mask_classes
        As in `pixel_confusion_per_image`.
    label : int or None, default=None
        The class: 1 is the foreground of binary masks, 0 the background. None is the mean over
        the foreground classes (1, 2, ...) that are in the image's true or predicted mask, which
        for binary masks is the foreground.

    Returns
    -------
    dice : ndarray of shape (n,), float
        In [0, 1]; 1 where neither mask holds the class; NaN where nothing is annotated.

    Raises
    ------
    TypeError, ValueError
        As in `pixel_confusion_per_image`, and if `label` is outside the classes.

    Examples
    --------
    >>> pred = np.array([[[0, 1], [1, 1]], [[0, 0], [0, 0]]])
    >>> true = np.array([[[0, 0], [1, 1]], [[0, 0], [0, 0]]])
    >>> dice_per_image(pred, true)  # two empty masks agree
    array([0.8, 1. ])
    """
    confusion = pixel_confusion_per_image(pred_masks, masks, n_mask_classes)
    return _of_label(dice_from_confusion(confusion), confusion, label)


def dice_score(pred_mask, mask, label=None, n_mask_classes=2):
    """Dice coefficient of one image; see `dice_per_image`.

    Parameters
    ----------
    pred_mask, mask : array of shape (H, W), int or bool
        Prediction and truth; `MISSING` in the truth is left out.
    label : int or None, default=None
    n_mask_classes : int, default=2

    Returns
    -------
    float

    Examples
    --------
    >>> dice_score(np.array([[1, 1]]), np.array([[1, 0]])) == 2 / 3
    True
    """
    return float(dice_per_image([pred_mask], [mask], label, n_mask_classes)[0])


def mean_dice(pred_masks, masks, label=None, n_mask_classes=2):
    """Mean over the images of the Dice coefficient; see `dice_per_image`.

    Images without annotated pixels are left out.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        As `dice_per_image`, and if no image has an annotated pixel.

    Examples
    --------
    >>> mean_dice([np.array([[1, 1]]), np.array([[1, 0]])], [np.array([[1, 1]]), None])
    1.0
    """
    return _mean(dice_per_image(pred_masks, masks, label, n_mask_classes))


def pooled_dice(pred_masks, masks, label=None, n_mask_classes=2):
    """Dice coefficient of the pixels of all images together, so that large images count more.

    Parameters and errors as in `dice_per_image`.

    Returns
    -------
    float

    Examples
    --------
    >>> pooled_dice([np.ones((3, 3), int), np.zeros((1, 1), int)],
    ...             [np.ones((3, 3), int), np.ones((1, 1), int)]).__round__(4)
    0.9474
    """
    confusion = pixel_confusion(pred_masks, masks, n_mask_classes)
    return _mean([_of_label(dice_from_confusion(confusion), confusion, label)])


def iou_per_image(pred_masks, masks, label=None, n_mask_classes=2):
    """Intersection over union (Jaccard) of each image; everything else as `dice_per_image`.

    Returns
    -------
    iou : ndarray of shape (n,), float

    Examples
    --------
    >>> iou_per_image([np.array([[0, 1], [1, 1]])], [np.array([[0, 0], [1, 1]])]).round(4)
    array([0.6667])
    """
    confusion = pixel_confusion_per_image(pred_masks, masks, n_mask_classes)
    return _of_label(iou_from_confusion(confusion), confusion, label)


def pooled_iou(pred_masks, masks, label=None, n_mask_classes=2):
    """Intersection over union of the pixels of all images together.

    Parameters and errors as in `dice_per_image`. It differs much from the mean over images: a
    perfect large object and a missed small one are nearly 1 here and 0.5 there.

    Returns
    -------
    float

    Examples
    --------
    >>> pooled_iou([np.ones((3, 3), int), np.zeros((1, 1), int)],
    ...            [np.ones((3, 3), int), np.ones((1, 1), int)])
    0.9
    """
    confusion = pixel_confusion(pred_masks, masks, n_mask_classes)
    return _mean([_of_label(iou_from_confusion(confusion), confusion, label)])


def mean_iou_per_image(pred_masks, masks, n_mask_classes=2):
    """Mean over the classes, the background included, of the IoU of each image.

    Classes in neither mask of an image are left out of its mean.

    Parameters
    ----------
    pred_masks, masks, n_mask_classes
        As in `pixel_confusion_per_image`.

    Returns
    -------
    iou : ndarray of shape (n,), float
        In [0, 1]; NaN where nothing is annotated.

    Examples
    --------
    >>> mean_iou_per_image([np.array([[0, 1], [1, 1]])], [np.array([[0, 0], [1, 1]])]).round(4)
    array([0.5833])
    """
    confusion = pixel_confusion_per_image(pred_masks, masks, n_mask_classes)
    return _mean_over(iou_from_confusion(confusion), _present(confusion))


def mean_iou(pred_masks, masks, n_mask_classes=2):
    """Mean over images of the mean over classes of the IoU; see `mean_iou_per_image`.

    Returns
    -------
    float

    Examples
    --------
    >>> mean_iou([np.array([[0, 1], [1, 1]])], [np.array([[0, 0], [1, 1]])]).__round__(4)
    0.5833
    """
    return _mean(mean_iou_per_image(pred_masks, masks, n_mask_classes))


def pooled_mean_iou(pred_masks, masks, n_mask_classes=2):
    """Mean over classes, the background included, of the IoU of all pixels together.

    Returns
    -------
    float

    Examples
    --------
    >>> pooled_mean_iou([np.array([[0, 1], [1, 1]])], [np.array([[0, 0], [1, 1]])]).__round__(4)
    0.5833
    """
    confusion = pixel_confusion(pred_masks, masks, n_mask_classes)
    return _mean([_mean_over(iou_from_confusion(confusion), _present(confusion))])


# -- summaries --


def worst_tenth(values):
    """Mean of the lowest tenth of the values: what the bad images are like.

    Parameters
    ----------
    values : array-like of shape (n,), float
        One value an image, such as of `dice_per_image`; NaN is left out.

    Returns
    -------
    float
        Of the ``ceil(n / 10)`` lowest.

    Raises
    ------
    ValueError
        If there is no value.

    Examples
    --------
    >>> worst_tenth([0.25, 0.75, np.nan] + [1.0] * 10)
    0.5
    """
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if values.size == 0:
        raise ValueError(message("values", "at least one number", values.size))
    return float(np.sort(values)[: math.ceil(values.size / 10)].mean())


def by_label(values, labels):
    """Mean of one value an image, for the images of each class apart.

    Parameters
    ----------
    values : array-like of shape (n,), float
        Such as of `dice_per_image`; NaN is left out.
    labels : array-like of shape (n,)
        Class label of each image.

    Returns
    -------
    dict
        Class label -> float, NaN for a class without a value.

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> by_label([0.5, 1.0, 0.0], ["benign", "benign", "malignant"])
    {'benign': 0.75, 'malignant': 0.0}
    """
    values, labels = np.asarray(values, dtype=float), np.asarray(labels)
    if values.shape != labels.shape:
        raise ValueError(message("labels", f"of shape {values.shape}", labels.shape))
    means = {}
    for label in np.unique(labels):
        mine = values[(labels == label) & ~np.isnan(values)]
        means[label.item()] = float(mine.mean()) if mine.size else math.nan
    return means


def mask_metrics(pred_masks, masks, labels=None, n_mask_classes=2):
    """The numbers that belong into every table of masks, from one pass over the pixels.

    Parameters
    ----------
    pred_masks, masks, n_mask_classes
        As in `pixel_confusion_per_image`.
    labels : array-like of shape (n,), or None
        Class label of each image; if given, the Dice of each class of images stands under
        ``dice_<label>``.

    Returns
    -------
    dict
        name -> float: ``dice``, ``dice_background``, ``iou``, ``mean_iou`` (means over images),
        ``pooled_dice``, ``pooled_dice_background``, ``pooled_iou``, ``pooled_mean_iou``,
        ``dice_worst_tenth``.

    Raises
    ------
    TypeError, ValueError
        As `mean_dice`.

    Examples
    --------
    >>> ones = np.ones((2, 4, 4), int)
    >>> numbers = mask_metrics(ones, np.tril(ones), labels=["a", "b"])
    >>> round(numbers["dice"], 4), numbers["dice_background"], round(numbers["dice_a"], 4)
    (0.7692, 0.0, 0.7692)
    """
    each = pixel_confusion_per_image(pred_masks, masks, n_mask_classes)
    pooled = each.sum(axis=0)
    dice, iou = dice_from_confusion(each), iou_from_confusion(each)
    all_dice, all_iou = dice_from_confusion(pooled), iou_from_confusion(pooled)
    foreground = _of_label(dice, each, None)
    numbers = {
        "dice": _mean(foreground),
        "dice_background": _mean(dice[:, 0]),
        "iou": _mean(_of_label(iou, each, None)),
        "mean_iou": _mean(_mean_over(iou, _present(each))),
        "pooled_dice": float(_of_label(all_dice, pooled, None)),
        "pooled_dice_background": float(all_dice[0]),
        "pooled_iou": float(_of_label(all_iou, pooled, None)),
        "pooled_mean_iou": float(_mean_over(all_iou, _present(pooled))),
        "dice_worst_tenth": worst_tenth(foreground),
    }
    if labels is not None:
        for label, value in by_label(foreground, labels).items():
            numbers[f"dice_{label}"] = value
    return numbers


# -- probabilities --


def _checked_scores(scores, masks, name):
    """Yield (i, scores, true) of the annotated pixels; scores keep their leading class axis."""
    _check_same_length(scores, masks, name)
    for i in range(len(masks)):
        if masks[i] is None:
            continue
        true = _integers(f"masks[{i}]", masks[i])
        one = np.asarray(scores[i])
        if one.shape[one.ndim - true.ndim :] != true.shape:
            rule = f"of the size of its mask, {true.shape}"
            raise ValueError(message(f"{name}[{i}]", rule, one.shape))
        if not np.isfinite(one).all():
            raise ValueError(message(f"{name}[{i}]", "finite", "NaN or infinity"))
        known = true != MISSING
        yield i, one[..., known], true[known]


def pixel_average_precision(scores, masks, label=1, per_image=False):
    """Area under the precision-recall curve of pixels; needs no threshold.

    A score that says nothing gets the prevalence of the class.

    Parameters
    ----------
    scores : sequence of n arrays (H, W), float
        For each pixel how likely it is of class `label`: probabilities, or a CAM (if pooled, then
        on a scale that images share). Larger is more likely.
    masks : sequence of n arrays (H, W), int, or None
        True classes; `MISSING` pixels and None are left out.
    label : int, default=1
        The class asked about.
    per_image : bool, default=False
        Whether to give one value an image instead of one over the pixels of all.

    Returns
    -------
    float, or ndarray of shape (n,), float
        In [0, 1]. For an image NaN if it does not hold the class.

    Raises
    ------
    ValueError
        If lengths or sizes differ, scores are not finite, or no pixel is of the class.

    Examples
    --------
    >>> pixel_average_precision([np.array([[0.1, 0.4, 0.35, 0.8]])], [np.array([[0, 0, 1, 1]])])
    0.8333...
    """
    from sklearn.metrics import average_precision_score

    values = np.full(len(masks), np.nan)
    pooled = [], []
    for i, one, true in _checked_scores(scores, masks, "scores"):
        if one.ndim != 1:
            raise ValueError(message(f"scores[{i}]", "of shape (H, W)", np.shape(scores[i])))
        hit = true == label
        if per_image and hit.any():
            values[i] = average_precision_score(hit, one)
        elif not per_image:
            pooled[0].append(hit)
            pooled[1].append(one)
    if per_image:
        return values
    hit = np.concatenate(pooled[0]) if pooled[0] else np.zeros(0, bool)
    if not hit.any():
        raise ValueError(message("masks", f"with a pixel of class {label}", "none"))
    return float(average_precision_score(hit, np.concatenate(pooled[1])))


def expected_calibration_error(proba, y, n_bins=15):
    """How far stated confidence is from accuracy, over pixels or over images [1]_.

    The mean, over equal bins of the largest class probability and weighted by their number of
    pixels, of ``|accuracy - mean confidence|``.

    Parameters
    ----------
    proba : sequence of n arrays (C, H, W), float; or ndarray of shape (n, K)
        Class probabilities of pixels, or of images.
    y : sequence of n arrays (H, W), int, or None; or ndarray of shape (n,), int
        True classes as positions in `proba`; `MISSING` pixels and None are left out.
    n_bins : int, default=15

    Returns
    -------
    float
        In [0, 1]; 0 is calibrated.

    Raises
    ------
    ValueError
        If lengths or sizes differ, a value is outside the classes, or nothing is annotated.

    References
    ----------
    .. [1] Naeini et al. 2015, Guo et al. 2017, arXiv:1706.04599.

    Examples
    --------
    >>> expected_calibration_error(np.array([[0.25, 0.75]] * 4), np.array([1, 1, 1, 0]))
    0.0
    """
    return calibration_error_from_bins(calibration_bins(proba, y, n_bins))


def calibration_bins(proba, y, n_bins=15):
    """What `expected_calibration_error` counts; bins of parts of the data may be added.

    Parameters
    ----------
    proba, y, n_bins
        As in `expected_calibration_error`.

    Returns
    -------
    bins : ndarray of shape (3, n_bins), float
        For each bin of the largest probability: how many, how many right, sum of the probability.
    """
    check_number("n_bins", n_bins, low=1, integer=True)
    found = np.zeros((3, n_bins))
    for i, one, true in _checked_scores(proba, y, "proba"):
        if one.ndim != 2:
            raise ValueError(message(f"proba[{i}]", "with a class axis first", np.shape(proba[i])))
        _check_range(f"y[{i}]", true, 0, one.shape[0])
        top = one.max(axis=0).astype(float)
        # Bins are (low, high], the first with its lower end.
        bins = np.clip(np.ceil(top * n_bins).astype(int) - 1, 0, n_bins - 1)
        for row, weights in enumerate((None, one.argmax(axis=0) == true, top)):
            found[row] += np.bincount(bins, weights, minlength=n_bins)
    return found


def calibration_error_from_bins(bins):
    """Expected calibration error of what `calibration_bins` counted.

    Parameters
    ----------
    bins : ndarray of shape (3, n_bins), float

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If nothing was counted.
    """
    count, hits, confidence = np.asarray(bins, dtype=float)
    if count.sum() == 0:
        raise ValueError(message("y", "annotated in at least one pixel", "none"))
    return float(np.abs(hits - confidence).sum() / count.sum())


# -- contours --


def hausdorff_per_image(pred_masks, masks, label=1, percentile=None, n_mask_classes=2):
    """Hausdorff distance between the contours of a class, in pixels, through MONAI.

    Parameters
    ----------
    pred_masks, masks, n_mask_classes
        As in `pixel_confusion_per_image`.
    label : int, default=1
        The class whose contours are compared.
    percentile : float or None, default=None
        95 is the usual robust form; None is the maximum.

    Returns
    -------
    distance : ndarray of shape (n,), float
        0 is best and where neither mask holds the class; infinite where one alone does; NaN for
        an image that is not wholly annotated: the rim of what is missing is no contour.

    Raises
    ------
    TypeError, ValueError
        As `pixel_confusion_per_image`.

    Examples
    --------
    >>> pred, true = np.zeros((2, 1, 8, 8), int)
    >>> pred[0, 2, 2] = true[0, 2, 5] = 1
    >>> hausdorff_per_image(pred, true)
    array([3.])
    """
    import torch
    from monai.metrics import compute_hausdorff_distance

    check_number("n_mask_classes", n_mask_classes, low=1, integer=True)
    check_number("label", label, low=0, high=n_mask_classes - 1, integer=True)
    distance = np.full(len(masks), np.nan)
    for i, pred, true in _pairs(pred_masks, masks, n_mask_classes):
        shape = np.shape(pred_masks[i])
        if masks[i] is None or true.size != np.prod(shape):
            continue
        pair = [np.ascontiguousarray(m.reshape(shape) == label) for m in (pred, true)]
        if pair[0].any() != pair[1].any():
            distance[i] = np.inf
        elif not pair[0].any():
            distance[i] = 0.0
        else:
            tensors = [torch.from_numpy(m)[None, None].float() for m in pair]  # (1, 1, H, W)
            with warnings_ignored(".*always_return_as_numpy"):  # MONAI 1.5, about a call of its own
                value = compute_hausdorff_distance(
                    *tensors, include_background=True, percentile=percentile
                )
            distance[i] = float(value)
    return distance


# -- objects, as in the GlaS contest --


def instances_from_mask(mask, min_size=0, connectivity=1):
    """Number the connected parts of a mask's foreground.

    Parameters
    ----------
    mask : ndarray of shape (H, W), int or bool
        Foreground is above 0; `MISSING` is none.
    min_size : int, default=0
        Parts of fewer pixels are removed.
    connectivity : {1, 2}, default=1
        1 joins pixels that share a side, 2 also those that share a corner.

    Returns
    -------
    instances : ndarray of shape (H, W), int32
        0 is background, parts are 1, 2, ...

    Raises
    ------
    TypeError, ValueError
        If the mask is not of integers, or an option is out of range.

    Examples
    --------
    >>> instances_from_mask(np.array([[1, 0, 1, 1]]))
    array([[1, 0, 2, 2]], dtype=int32)
    """
    from scipy import ndimage

    check_number("min_size", min_size, low=0, integer=True)
    check_number("connectivity", connectivity, low=1, high=2, integer=True)
    mask = _integers("mask", mask)
    if mask.ndim != 2:
        raise ValueError(message("mask", "of shape (H, W)", mask.shape))
    structure = ndimage.generate_binary_structure(2, connectivity)
    instances, _ = ndimage.label(mask > 0, structure=structure)
    sizes = np.bincount(instances.ravel())
    keep = sizes >= min_size
    keep[0] = False
    number = np.where(keep, np.cumsum(keep), 0)
    return number[instances].astype(np.int32)


def _as_images(instances, name):
    """One instance map or a sequence of them, as a list of (H, W) integer arrays."""
    if isinstance(instances, np.ndarray) and instances.ndim == 2 and instances.dtype != object:
        return [_integers(name, instances)]
    return [_integers(f"{name}[{i}]", instances[i]) for i in range(len(instances))]


def object_overlaps(pred_instances, true_instances):
    """How many pixels each predicted object shares with each true one: what object metrics need.

    Several metrics, or those of parts of a data set, then count pixels once:
    `object_f1_from_overlaps`, `object_dice_from_overlaps`.

    Parameters
    ----------
    pred_instances, true_instances : ndarray of shape (H, W), int; or a sequence of them
        Number of the object at each pixel, 0 where there is none.

    Returns
    -------
    overlaps : list of (areas (P,), areas (T,), overlap (P, T)), int
        Of each image: pixels of its predicted objects, of its true objects, and of pairs.

    Raises
    ------
    TypeError, ValueError
        If lengths or sizes differ, or values are not integers >= 0.

    Examples
    --------
    >>> object_overlaps(np.array([[1, 1, 0, 2, 0]]), np.array([[7, 7, 7, 0, 8]]))
    [(array([2, 1]), array([3, 1]), array([[2, 0],
           [0, 0]]))]
    """
    overlaps = []
    pred_instances = _as_images(pred_instances, "pred_instances")
    true_instances = _as_images(true_instances, "true_instances")
    _check_same_length(pred_instances, true_instances, "pred_instances")
    for i, (pred, true) in enumerate(zip(pred_instances, true_instances, strict=True)):
        if pred.shape != true.shape:
            rule = f"of the size of the true map, {true.shape}"
            raise ValueError(message(f"pred_instances[{i}]", rule, pred.shape))
        if pred.size and min(pred.min(), true.min()) < 0:
            rule = ">= 0 everywhere (objects cannot be partly annotated)"
            raise ValueError(message(f"instances[{i}]", rule, int(min(pred.min(), true.min()))))
        (p, n_p), (t, n_t) = _renumbered(pred.ravel()), _renumbered(true.ravel())
        table = np.bincount(p * n_t + t, minlength=n_p * n_t).reshape(n_p, n_t)
        overlaps.append((table[1:].sum(axis=1), table[:, 1:].sum(axis=0), table[1:, 1:]))
    return overlaps


def _renumbered(numbers):
    """Numbers >= 0 as 0 (background) and 1, 2, ... in their order, and how many there are."""
    highest = int(numbers.max(initial=0))
    if highest > 4 * len(numbers) + 1000:  # far apart: a table of them would be large
        _, found = np.unique(np.append(numbers, 0), return_inverse=True)
        return found[:-1], int(found.max()) + 1
    there = np.bincount(numbers, minlength=highest + 1) > 0
    there[0] = True
    return (np.cumsum(there) - 1)[numbers], int(there.sum())


def _most_overlapped(overlap, areas):
    """Column of the largest overlap of each row; of equal ones the smallest object, so that the
    numbers of the objects do not matter."""
    return (overlap * (areas.max() + 1) - areas).argmax(axis=1)


def object_counts(pred_instances, true_instances, min_overlap=0.5):
    """Objects found, objects invented, objects missed, as the GlaS contest counts them [1]_.

    A predicted object belongs to the true object that it overlaps most (the smaller of two). It
    is a true positive if it covers at least `min_overlap` of that true object, else a false
    positive. True objects that no true positive belongs to are false negatives.

    Parameters
    ----------
    pred_instances, true_instances : ndarray of shape (H, W), int; or a sequence of them
        Number of the object at each pixel, 0 where there is none. Counts of several images are
        summed.
    min_overlap : float, default=0.5
        In (0, 1].

    Returns
    -------
    true_positives, false_positives, false_negatives : int

    Raises
    ------
    TypeError, ValueError
        If lengths or sizes differ, or values are not integers >= 0.

    References
    ----------
    .. [1] Sirinukunwattana et al. 2017, Gland segmentation in colon histology images: the GlaS
       challenge contest, arXiv:1603.00275.

    Examples
    --------
    >>> object_counts(np.array([[1, 1, 0, 2, 0]]), np.array([[7, 7, 7, 0, 8]]))
    (1, 1, 1)
    """
    check_number("min_overlap", min_overlap, low=0, high=1, open_low=True)
    return _counts(object_overlaps(pred_instances, true_instances), min_overlap)


def _counts(overlaps, min_overlap):
    found = invented = missed = 0
    for area_pred, area_true, overlap in overlaps:
        hit = np.zeros(len(area_pred), dtype=bool)
        matched = np.zeros(len(area_true), dtype=bool)
        if overlap.size:
            own = _most_overlapped(overlap, area_true)
            hit = overlap[np.arange(len(own)), own] >= min_overlap * area_true[own]
            matched[own[hit]] = True
        found += int(hit.sum())
        invented += int((~hit).sum())
        missed += int((~matched).sum())
    return found, invented, missed


def object_f1(pred_instances, true_instances, min_overlap=0.5):
    """F1 of found objects, ``2 TP / (2 TP + FP + FN)``, as in the GlaS contest.

    Parameters, errors and reference as in `object_counts`; the counts of several images are
    pooled. A prediction that merges two glands finds at most one of them.

    Returns
    -------
    float
        In [0, 1]; 1 if there is no object on either side.

    Examples
    --------
    >>> object_f1(np.array([[1, 1, 0, 2, 0]]), np.array([[7, 7, 7, 0, 8]]))
    0.5
    """
    check_number("min_overlap", min_overlap, low=0, high=1, open_low=True)
    return object_f1_from_overlaps(object_overlaps(pred_instances, true_instances), min_overlap)


def object_f1_from_overlaps(overlaps, min_overlap=0.5):
    """`object_f1` of what `object_overlaps` counted.

    Parameters
    ----------
    overlaps : list
        Of the images that count.
    min_overlap : float, default=0.5

    Returns
    -------
    float

    Examples
    --------
    >>> overlaps = object_overlaps(np.array([[1, 1, 0, 2, 0]]), np.array([[7, 7, 7, 0, 8]]))
    >>> object_f1_from_overlaps(overlaps)
    0.5
    """
    check_number("min_overlap", min_overlap, low=0, high=1, open_low=True)
    found, invented, missed = _counts(overlaps, min_overlap)
    total = 2 * found + invented + missed
    return 2 * found / total if total else 1.0


def object_dice(pred_instances, true_instances):
    """Object-level Dice of the GlaS contest [1]_.

    Each predicted object is compared with the true object that it overlaps most, and each true
    object with the predicted one; both sides are averaged weighted by area, and then with each
    other. Merged and split objects cost, which pixel Dice does not see.

    Parameters
    ----------
    pred_instances, true_instances : ndarray of shape (H, W), int; or a sequence of them
        Number of the object at each pixel, 0 where there is none. With several images the
        objects of all are averaged together, by area.

    Returns
    -------
    float
        In [0, 1]; 1 if there is no object on either side.

    Raises
    ------
    TypeError, ValueError
        If lengths or sizes differ, or values are not integers >= 0.

    References
    ----------
    .. [1] Sirinukunwattana et al. 2017, arXiv:1603.00275.

    Examples
    --------
    >>> merged, apart = np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 2]])
    >>> object_dice(apart, apart), round(object_dice(merged, apart), 4)
    (1.0, 0.6667)
    """
    return object_dice_from_overlaps(object_overlaps(pred_instances, true_instances))


def object_dice_from_overlaps(overlaps):
    """`object_dice` of what `object_overlaps` counted.

    Parameters
    ----------
    overlaps : list
        Of the images that count.

    Returns
    -------
    float

    Examples
    --------
    >>> overlaps = object_overlaps(np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 2]]))
    >>> round(object_dice_from_overlaps(overlaps), 4)
    0.6667
    """
    weighted, areas = np.zeros(2), np.zeros(2)
    for area_pred, area_true, overlap in overlaps:
        areas += area_pred.sum(), area_true.sum()
        for side, (mine, other, table) in enumerate(
            [(area_pred, area_true, overlap), (area_true, area_pred, overlap.T)]
        ):
            if table.size:
                best = _most_overlapped(table, other)
                common = table[np.arange(len(best)), best]
                weighted[side] += (mine * 2 * common / (mine + other[best])).sum()
    if not areas.any():
        return 1.0
    return float((weighted / np.maximum(areas, 1)).mean())


# -- for scikit-learn's searches --


class DiceScorer:
    """Mean Dice as a scikit-learn scorer ``scorer(estimator, X, y, masks=masks)``.

    Scorers see masks only with metadata routing on; this one asks for `masks` by itself.
    The estimator's `score_masks` gives the value; in a `Pipeline` the last step's does.

    Examples
    --------
    >>> import sklearn
    >>> from sklearn.model_selection import GridSearchCV
    >>> with sklearn.config_context(enable_metadata_routing=True):
    ...     search = GridSearchCV(segmenter, grid, scoring=dice_scorer)   # doctest: +SKIP
    ...     search.fit(X, y, masks=masks)                                 # doctest: +SKIP
    """

    def __init__(self):
        self._requests = {"masks": True}

    def __repr__(self):
        return "dice_scorer"

    def set_score_request(self, *, masks=True):
        """Say under which name the masks are passed (a string), or not to pass them (False).

        Parameters
        ----------
        masks : bool, str or None, default=True

        Returns
        -------
        self
        """
        self._requests = {"masks": masks}
        return self

    def get_metadata_routing(self):
        """What scikit-learn asks to learn that `masks` is wanted."""
        from sklearn.utils.metadata_routing import MetadataRequest

        request = MetadataRequest(owner=type(self).__name__)
        for name, alias in self._requests.items():
            request.score.add_request(param=name, alias=alias)
        return request

    def __call__(self, estimator, X, y=None, masks=None):
        """Mean Dice of the estimator's masks; `y` is not looked at.

        Raises
        ------
        TypeError
            If the estimator has no `score_masks`.
        ValueError
            If `masks` is not given.
        """
        if masks is None:
            remedy = (
                "Turn routing on (sklearn.set_config(enable_metadata_routing=True)) and pass "
                "masks to fit, or params={'masks': masks}."
            )
            raise ValueError(message("masks", "given to dice_scorer", None, remedy))
        if hasattr(estimator, "steps"):  # a Pipeline hands on no method of its last step's own
            before, estimator = estimator[:-1], estimator[-1]
            X = before.transform(X) if len(before.steps) else X
        if not hasattr(estimator, "score_masks"):
            raise TypeError(message("estimator", "one with `score_masks`", estimator))
        return estimator.score_masks(X, masks)


dice_scorer = DiceScorer()
"""The `DiceScorer` to pass as `scoring=`."""
