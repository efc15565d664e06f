"""Numbers about a whole test set: means, the mean of the worst tenth, means by class label."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from alseg._types import Array, Masks
from alseg.labels import label_codes, label_names
from alseg.metrics.overlap import (
    _mean,
    _mean_over,
    _of_label,
    _present,
    dice_from_confusion,
    iou_from_confusion,
    pixel_confusion_per_image,
)
from alseg.validation import message

# -- summaries --


def worst_tenth(values: Array) -> Any:
    """Mean of the lowest tenth of the values: how good the worst images are.

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


def by_label(values: Array, labels: Array) -> Any:
    """Mean of one value an image, for the images of each class apart.

    Parameters
    ----------
    values : array-like of shape (n,), float
        Such as of `dice_per_image`; NaN is left out.
    labels : array-like of shape (n,), or (n, K) for several classes an image
        Class label of each image; those without one are left out. Of several classes, each set of
        them is one, by its name of `alseg.labels.label_names`.

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
    values, labels = np.asarray(values, dtype=float), label_names(labels)
    if values.shape != labels.shape:
        raise ValueError(message("labels", f"of shape {values.shape}", labels.shape))
    means, (classes, codes) = {}, label_codes(labels)
    for code, label in enumerate(classes.tolist()):
        mine = values[(codes == code) & ~np.isnan(values)]
        means[label] = float(mine.mean()) if mine.size else math.nan
    return means


def mask_metrics(
    pred_masks: Masks, masks: Masks, labels: Array = None, n_mask_classes: int = 2
) -> Any:
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
