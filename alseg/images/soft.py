"""Soft masks: a probability of each class at each pixel, of several annotators or of a teacher."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Masks
from alseg.labels import MISSING, is_soft, known_pixels
from alseg.validation import check_number, message

_SUM_TOLERANCE = 1e-3  # what a softmax in half precision may be off


def soft_mask(masks: Masks, n_mask_classes: int) -> np.ndarray:
    """What several annotators say of one image: the share of each class at each pixel.

    Parameters
    ----------
    masks : sequence of ndarray of shape (H, W), int
        Class of each pixel, one mask an annotator, `MISSING` where this one says nothing; None is
        an annotator who says nothing at all.
    n_mask_classes : int

    Returns
    -------
    ndarray of shape (n_mask_classes, H, W), float32
        The mean over those who say something; NaN in all classes where nobody does.

    Raises
    ------
    TypeError, ValueError
        If no mask is given, they are no integers, their sizes differ, or a value is no class.

    Examples
    --------
    >>> first, second = np.array([[1, 1, 0, -1]]), np.array([[1, 0, -1, -1]])
    >>> soft_mask([first, second], n_mask_classes=2).tolist()
    [[[0.0, 0.5, 1.0, nan]], [[1.0, 0.5, 0.0, nan]]]
    """
    n_classes = int(check_number("n_mask_classes", n_mask_classes, 2, integer=True))
    given = [(i, np.asarray(mask)) for i, mask in enumerate(masks) if mask is not None]
    if not given:
        raise ValueError(message("masks", "at least one mask", "none"))
    size = given[0][1].shape
    votes = np.zeros((n_classes, *size), dtype=np.float32)
    for i, mask in given:
        if mask.dtype.kind not in "iub":
            raise TypeError(message(f"masks[{i}]", "whole numbers (classes)", str(mask.dtype)))
        if mask.ndim != 2 or mask.shape != size:
            rule = "of shape (H, W), all of one image"
            raise ValueError(message(f"masks[{i}]", rule, mask.shape))
        bad = mask[(mask < MISSING) | (mask >= n_classes)]
        if bad.size:
            rule = f"of classes in [0, {n_classes - 1}], or {MISSING} where not annotated"
            raise ValueError(message(f"masks[{i}]", rule, int(bad[0])))
        votes += mask == np.arange(n_classes)[:, None, None]
    n_votes = votes.sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of a pixel that nobody knows
        return votes / n_votes


def soft_over(proba: np.ndarray, mask: Masks) -> np.ndarray:
    """Probabilities where a mask says nothing, and its classes as 0 and 1 where it does.

    Parameters
    ----------
    proba : ndarray of shape (C, H, W), float
    mask : ndarray of shape (H, W), int, or None
        `MISSING` and None say nothing. Values above C - 1, such as ids of objects, are class C - 1.

    Returns
    -------
    ndarray of shape (C, H, W), float32

    Examples
    --------
    >>> proba = np.array([[[0.25, 0.25, 0.25]], [[0.75, 0.75, 0.75]]])
    >>> soft_over(proba, np.array([[0, 1, -1]])).tolist()
    [[[1.0, 0.0, 0.25]], [[0.0, 1.0, 0.75]]]
    """
    proba = np.asarray(proba, dtype=np.float32)
    if mask is None:
        return proba
    classes = np.arange(len(proba))[:, None, None]
    return np.where(mask == MISSING, proba, np.minimum(mask, len(proba) - 1) == classes)


def hard_mask(mask: Masks) -> Any:
    """The likeliest class of each pixel of a soft mask; any other mask as it is.

    Parameters
    ----------
    mask : ndarray of shape (C, H, W), float, or (H, W), int, or None

    Returns
    -------
    ndarray of shape (H, W), int16, or `mask`
        `MISSING` where a class is NaN; of classes that are as likely the first.

    Examples
    --------
    >>> hard_mask(np.array([[[0.2, 0.5, np.nan]], [[0.8, 0.5, np.nan]]]))
    array([[ 1,  0, -1]], dtype=int16)
    """
    if not is_soft(mask):
        return mask
    known = known_pixels(mask)
    return np.where(known, np.where(known, mask, 0).argmax(axis=0), MISSING).astype(np.int16)


def check_soft(name: str, mask: np.ndarray) -> None:
    """Raise unless probabilities (C, H, W) are in [0, 1] and sum to 1 over C where they are known.

    Raises
    ------
    ValueError
    """
    if mask.size == 0 or len(mask) < 2:
        rule = "of shape (C, H, W) of two classes or more, where it is of probabilities"
        raise ValueError(message(name, rule, mask.shape))
    known = mask[:, known_pixels(mask)]
    bad = known[(known < 0) | (known > 1)]
    if bad.size:
        raise ValueError(message(name, "probabilities in [0, 1]", float(bad[0])))
    sums = known.sum(axis=0, dtype=np.float64)
    off = sums[np.abs(sums - 1) > _SUM_TOLERANCE]
    if off.size:
        remedy = "The classes are the first axis."
        rule = "probabilities that sum to 1 over the classes"
        raise ValueError(message(name, rule, f"a sum of {off[0]:.4g}", remedy))
