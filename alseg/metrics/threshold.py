"""From class probabilities of pixels to masks: the threshold, fixed or chosen on validation."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Masks
from alseg.labels import MISSING
from alseg.validation import check_number, message

THRESHOLD_GRID = np.arange(5, 100) / 100
"""The published candidates: 0.05, 0.06, ..., 0.99."""
THRESHOLD_GRID.flags.writeable = False


def mask_from_proba(proba: Array, threshold: float = 0.5) -> np.ndarray:
    """The mask that pixel probabilities stand for.

    Parameters
    ----------
    proba : ndarray of shape (n_mask_classes, H, W), float
        Class probabilities of each pixel of one image, in [0, 1].
    threshold : float in [0, 1], default=0.5
        With two mask classes a pixel is foreground if its probability is at least this. With more
        the likeliest class is taken (the first of equals) and the threshold has no meaning.

    Returns
    -------
    mask : ndarray of shape (H, W), int16

    Examples
    --------
    >>> mask_from_proba(np.array([[[0.2, 0.7, 0.6]], [[0.8, 0.3, 0.4]]]), threshold=0.4)
    array([[1, 0, 1]], dtype=int16)
    """
    check_number("threshold", threshold, 0, 1)
    proba = _check_proba(proba, "proba")
    if len(proba) > 2:
        return proba.argmax(axis=0).astype(np.int16)
    return (proba[1] >= proba.dtype.type(threshold)).astype(np.int16)


def threshold_scores(mask_proba: Masks, masks: Masks, grid: Array = THRESHOLD_GRID) -> np.ndarray:
    """Mean IoU that each threshold would reach [1]_.

    The IoU of foreground and of background are averaged in each image and then over images, each
    with 1 added to numerator and denominator, so that an absent class that is not predicted
    counts 1. Pixels that are `MISSING` do not count, nor do images without an annotated pixel.

    Parameters
    ----------
    mask_proba : iterable of n ndarrays of shape (2, H, W), float
        Class probabilities of each pixel, in [0, 1]; an array of shape (n, 2, H, W) is one.
        Read one by one, so a generator does.
    masks : iterable of n ndarrays of shape (H, W), int, or None
        The truth: 0, 1, or `MISSING` where not annotated.
    grid : array-like of shape (n_thresholds,), float, default=THRESHOLD_GRID
        Thresholds, ascending. A pixel is foreground if its probability is at least the threshold.

    Returns
    -------
    scores : ndarray of shape (n_thresholds,), float, in (0, 1]

    Raises
    ------
    ValueError
        If the two differ in length or size, there are not two mask classes, or no pixel is
        annotated.

    References
    ----------
    .. [1] Belharbi et al. 2021, WACV, doi:10.1109/WACV48630.2021.00338, and its released code.

    Examples
    --------
    >>> mask_proba = np.array([[[[0.9, 0.4]], [[0.1, 0.6]]]])
    >>> threshold_scores(mask_proba, np.array([[[0, 1]]]), grid=[0.1, 0.5, 0.9]).round(3)
    array([0.583, 1.   , 0.583])
    """
    grid = np.asarray(grid, dtype=float)
    if grid.ndim != 1 or not len(grid) or (np.diff(grid) < 0).any():
        raise ValueError(message("grid", "one ascending row of thresholds", grid))
    total, n_scored = np.zeros(len(grid)), 0
    for i, (proba, mask) in enumerate(zip(mask_proba, masks, strict=True)):
        if mask is None:
            continue
        proba, mask = _check_proba(proba, f"mask_proba[{i}]"), np.asarray(mask)
        if len(proba) != 2:
            raise ValueError(
                message(
                    f"mask_proba[{i}]",
                    "of two mask classes",
                    proba.shape,
                    "With more classes the likeliest is taken and no threshold is needed.",
                )
            )
        if mask.shape != proba.shape[1:]:
            raise ValueError(message(f"masks[{i}]", f"of shape {proba.shape[1:]}", mask.shape))
        if not np.isin(mask, (MISSING, 0, 1)).all():
            raise ValueError(message(f"masks[{i}]", "of 0, 1 and -1 (missing)", np.unique(mask)))
        known = mask != MISSING
        if known.any():
            total += _smoothed_mean_iou(proba[1][known], mask[known] == 1, grid)
            n_scored += 1
    if not n_scored:
        raise ValueError("masks must be annotated in at least one pixel, got none that is.")
    return total / n_scored


def best_threshold(mask_proba: Array, masks: Masks, grid: Any = THRESHOLD_GRID) -> Any:
    """The threshold with the largest mean IoU on validation images [1]_.

    Of equally good thresholds the one nearest to 0.5 is taken (the smaller of two): the paper
    does not say, and the end of a plateau is the choice that carries over worst.

    Parameters
    ----------
    mask_proba, masks, grid
        As in `threshold_scores`.

    Returns
    -------
    threshold : float
        To be used as `proba >= threshold`, see `mask_from_proba`.

    References
    ----------
    .. [1] Belharbi et al. 2021, WACV, doi:10.1109/WACV48630.2021.00338, and its released code.

    Examples
    --------
    >>> mask_proba = np.array([[[[0.9, 0.8]], [[0.1, 0.2]]]])
    >>> best_threshold(mask_proba, np.array([[[0, 1]]]))
    0.2
    """
    grid = np.asarray(grid, dtype=float)
    scores = threshold_scores(mask_proba, masks, grid)
    # Sums of floats in another order differ in the last digits: equal means equal up to those.
    ties = np.flatnonzero(scores >= scores.max() - 1e-12)
    distance = np.round(np.abs(grid[ties] - 0.5), 12)
    return float(grid[ties[np.argmin(distance)]])


def _check_proba(proba, name):
    proba = np.asarray(proba)
    if proba.ndim != 3 or len(proba) < 2 or not np.issubdtype(proba.dtype, np.floating):
        got = (proba.shape, proba.dtype)
        raise ValueError(message(name, "float, of shape (n_mask_classes >= 2, H, W)", got))
    return proba


def _smoothed_mean_iou(p, truth, grid):
    """Scores of one image at all thresholds from one pass: count pixels between thresholds."""
    # In the type of p, as `p >= threshold` compares: float32(0.06) < 0.06 would lose a pixel.
    bins = np.searchsorted(grid.astype(p.dtype), p, side="right")  # thresholds <= p
    n_foreground = np.bincount(bins[truth], minlength=len(grid) + 1)
    n_background = np.bincount(bins[~truth], minlength=len(grid) + 1)
    true_fg = n_foreground[::-1].cumsum()[::-1][1:]  # pixels with p >= grid[t], for each t
    false_fg = n_background[::-1].cumsum()[::-1][1:]
    false_bg = n_foreground.sum() - true_fg
    true_bg = n_background.sum() - false_fg
    wrong = false_fg + false_bg
    return ((true_fg + 1) / (true_fg + wrong + 1) + (true_bg + 1) / (true_bg + wrong + 1)) / 2
