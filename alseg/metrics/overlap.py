"""How much masks overlap: confusion counts, Dice, IoU, and the distance between contours."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Masks
from alseg.labels import MISSING
from alseg.threads import warnings_ignored
from alseg.validation import check_number, message

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


def pixel_confusion_per_image(
    pred_masks: Masks, masks: Masks, n_mask_classes: int = 2
) -> np.ndarray:
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


def pixel_confusion(pred_masks: Masks, masks: Masks, n_mask_classes: int = 2) -> np.ndarray:
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


def dice_from_confusion(confusion: Array) -> np.ndarray:
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


def iou_from_confusion(confusion: Array) -> np.ndarray:
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


def dice_per_image(
    pred_masks: Masks, masks: Masks, label: int | None = None, n_mask_classes: int = 2
) -> np.ndarray:
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


def dice_score(
    pred_mask: Masks, mask: Masks, label: int | None = None, n_mask_classes: int = 2
) -> Any:
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


def mean_dice(
    pred_masks: Masks, masks: Masks, label: int | None = None, n_mask_classes: int = 2
) -> Any:
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


def pooled_dice(
    pred_masks: Masks, masks: Masks, label: int | None = None, n_mask_classes: int = 2
) -> Any:
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


def iou_per_image(
    pred_masks: Masks, masks: Masks, label: int | None = None, n_mask_classes: int = 2
) -> np.ndarray:
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


def pooled_iou(
    pred_masks: Masks, masks: Masks, label: int | None = None, n_mask_classes: int = 2
) -> Any:
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


def mean_iou_per_image(pred_masks: Masks, masks: Masks, n_mask_classes: int = 2) -> np.ndarray:
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


def mean_iou(pred_masks: Masks, masks: Masks, n_mask_classes: int = 2) -> Any:
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


def pooled_mean_iou(pred_masks: Masks, masks: Masks, n_mask_classes: int = 2) -> Any:
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


# -- contours --


def hausdorff_per_image(
    pred_masks: Masks,
    masks: Masks,
    label: int = 1,
    percentile: float | None = None,
    n_mask_classes: int = 2,
) -> np.ndarray:
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
            tensors: Any = [torch.from_numpy(m)[None, None].float() for m in pair]  # (1, 1, H, W)
            with warnings_ignored(".*always_return_as_numpy"):  # MONAI 1.5, about a call of its own
                value = compute_hausdorff_distance(
                    tensors[0], tensors[1], include_background=True, percentile=percentile
                )
            distance[i] = float(value)
    return distance


"""The `DiceScorer` to pass as `scoring=`."""
