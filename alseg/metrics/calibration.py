"""How good probabilities are: average precision of pixels, and calibration error."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Masks
from alseg.labels import MISSING
from alseg.metrics.overlap import _check_range, _check_same_length, _integers
from alseg.validation import check_number, message

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


def pixel_average_precision(
    scores: Array, masks: Masks, label: int = 1, per_image: bool = False
) -> Any:
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


def expected_calibration_error(proba: Array, y: Array, n_bins: int = 15) -> Any:
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


def calibration_bins(proba: Array, y: Array, n_bins: Any = 15) -> np.ndarray:
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


def calibration_error_from_bins(bins: Array) -> Any:
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
