"""What a learning curve is worth: area, labels to reach a score, score per foreground pixel."""

from typing import NamedTuple

import numpy as np

from alseg.validation import check_number, message


def area_under_curve(y, x=None, window=None):
    """Area under a learning curve by the trapezoid rule, divided by the range of `x` [1]_.

    It is the mean height of the curve, so it has the unit of `y`. A single point is its own area.

    Parameters
    ----------
    y : array-like of shape (..., n_rounds), float
        Scores in the order of the rounds; leading axes (strategies, seeds) are kept.
    x : array-like of shape (n_rounds,) or as `y`, float, default=None
        Where the scores stand, strictly increasing (number of masks, of seconds). None is the
        round index, as in [1]_.
    window : (float, float) or None, default=None
        The part of the x axis that counts; the curve is interpolated at both ends. None is all.

    Returns
    -------
    area : float, or ndarray of shape (...)

    Raises
    ------
    ValueError
        If `y` is empty or not finite, `x` is not strictly increasing and of a fitting shape, or the
        window reaches beyond a curve: nothing is extrapolated.

    References
    ----------
    .. [1] Belharbi et al., WACV 2021, arXiv:2010.04889, Table 3.

    Examples
    --------
    >>> area_under_curve([60, 80, 80])
    75.0
    >>> area_under_curve([60, 80, 80], x=[8, 10, 16])  # the plateau lasts longer
    77.5
    >>> area_under_curve([60, 80, 80], x=[8, 10, 16], window=(9, 11))
    77.5
    """
    y = np.asarray(y, dtype=float)
    if y.ndim == 0 or y.shape[-1] == 0:
        raise ValueError(message("y", "scores of at least one round", y.tolist()))
    if not np.isfinite(y).all():
        raise ValueError(message("y", "finite", y.tolist()))
    x = _checked_x(x, y)
    if not np.isfinite(x).all() or (np.diff(x) <= 0).any():
        raise ValueError(message("x", "finite and strictly increasing", x.tolist()))
    if window is not None:
        area = _area_of_window(y, x, window)
    elif y.shape[-1] == 1:
        area = y[..., 0]
    else:
        area = _trapezoid(y, x) / (x[..., -1] - x[..., 0])
    return float(area) if np.ndim(area) == 0 else area


def _checked_x(x, y):
    n_rounds = y.shape[-1]
    x = np.arange(n_rounds, dtype=float) if x is None else np.asarray(x, dtype=float)
    if x.shape not in ((n_rounds,), y.shape):
        shapes = " or ".join(dict.fromkeys([f"({n_rounds},)", str(y.shape)]))
        raise ValueError(message("x", f"of shape {shapes}, as y", x.shape))
    return x


def _trapezoid(y, x):
    return (np.diff(x) * (y[..., 1:] + y[..., :-1])).sum(axis=-1) / 2


def _area_of_window(y, x, window):
    low, high = window
    check_number("window[0]", low)
    check_number("window[1]", high, low, open_low=True)
    x = np.broadcast_to(x, y.shape)
    least, most = x[..., 0].max(), x[..., -1].min()
    if low < least or high > most:
        rule = f"within the curves, from {least:g} to {most:g}"
        raise ValueError(message("window", rule, (low, high)))
    area = np.empty(y.shape[:-1])
    for place in np.ndindex(area.shape):
        inside = (x[place] > low) & (x[place] < high)
        at = np.concatenate([[low], x[place][inside], [high]])
        area[place] = _trapezoid(np.interp(at, x[place], y[place]), at) / (high - low)
    return area


def labels_to_reach(x, y, target, interpolate=True):
    """The least number of labels (or of any cost) with which a curve reaches a score.

    Parameters
    ----------
    x : array-like of shape (n_rounds,) or as `y`, float
        Labels at each round, increasing.
    y : array-like of shape (..., n_rounds), float
        Scores; NaN where there is none. For "the mean curve reaches" give the mean over seeds: the
        mean of the seeds' own numbers of labels is another thing, and does not exist where one
        seed is censored.
    target : float
        The score to reach, such as 0.95 times that of full supervision.
    interpolate : bool, default=True
        Whether the curve is a line between two rounds; else the first round that is there counts.

    Returns
    -------
    labels : float, or ndarray of shape (...)
        Infinite where the score is not reached: more than the last round's labels (censored). The
        first round's labels where it is reached at once: no more than these. NaN without scores.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> labels_to_reach([8, 10, 12], [0.6, 0.7, 0.8], target=0.75)
    11.0
    >>> labels_to_reach([8, 10, 12], [0.6, 0.7, 0.8], target=0.75, interpolate=False)
    12.0
    >>> labels_to_reach([8, 10, 12], [0.6, 0.7, 0.8], target=0.9)
    inf
    """
    y = np.asarray(y, dtype=float)
    if y.ndim == 0:
        raise ValueError(message("y", "scores of at least one round", y.tolist()))
    check_number("target", target)
    x = np.broadcast_to(_checked_x(x, y), y.shape)
    labels = np.full(y.shape[:-1], np.nan)
    for place in np.ndindex(labels.shape):
        there = np.isfinite(y[place]) & np.isfinite(x[place])
        labels[place] = _first_at(x[place][there], y[place][there], target, interpolate)
    return float(labels) if labels.ndim == 0 else labels


def _first_at(x, y, target, interpolate):
    if len(y) == 0:
        return np.nan
    reached = np.flatnonzero(y >= target)
    if len(reached) == 0:
        return np.inf
    k = reached[0]
    if k == 0 or not interpolate:
        return x[k]
    return x[k - 1] + (target - y[k - 1]) / (y[k] - y[k - 1]) * (x[k] - x[k - 1])


class LabelsSaved(NamedTuple):
    """What `labels_saved` returns.

    Attributes
    ----------
    labels, labels_control : float
        With which each curve reaches the score; infinite where it does not.
    saved : float
        The control's minus the strategy's; NaN if neither reaches the score.
    bound : {"exact", "at least", "at most", "unknown"}
        How `saved` is meant: "at least" where the control had not reached the score with its last
        label, "at most" where the strategy had not.
    """

    labels: float
    labels_control: float
    saved: float
    bound: str


def labels_saved(x, y, y_control, target, x_control=None, interpolate=True):
    """How many labels less than a control a strategy needs to reach a score.

    Parameters
    ----------
    x, y : array-like of shape (n_rounds,), float
        Labels and scores of the strategy.
    y_control : array-like of shape (n_rounds_control,), float
        Scores of the control.
    target : float
    x_control : array-like of shape (n_rounds_control,), float, default=None
        Labels of the control. None is `x`.
    interpolate : bool, default=True
        See `labels_to_reach`.

    Returns
    -------
    result : LabelsSaved

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> labels_saved([8, 10, 12], [0.6, 0.8, 0.8], [0.6, 0.7, 0.8], target=0.75)
    LabelsSaved(labels=9.5, labels_control=11.0, saved=1.5, bound='exact')
    >>> labels_saved([8, 10, 12], [0.6, 0.8, 0.9], [0.6, 0.7, 0.8], target=0.9)
    LabelsSaved(labels=12.0, labels_control=inf, saved=0.0, bound='at least')
    """
    x_control = x if x_control is None else x_control
    labels = labels_to_reach(x, np.ravel(y), target, interpolate)
    control = labels_to_reach(x_control, np.ravel(y_control), target, interpolate)
    last, last_control = float(np.nanmax(x)), float(np.nanmax(x_control))
    if np.isfinite(labels) and np.isfinite(control):
        return LabelsSaved(labels, control, control - labels, "exact")
    if np.isfinite(labels) and np.isinf(control):
        return LabelsSaved(labels, control, last_control - labels, "at least")
    if np.isinf(labels) and np.isfinite(control):
        return LabelsSaved(labels, control, control - last, "at most")
    return LabelsSaved(labels, control, np.nan, "unknown")


def foreground_efficiency(foreground, scores, full, start=None):
    """How quickly annotated foreground closes the gap to full supervision [1]_.

    The rate g of ``score = full - (full - start) exp(-g (x - x0))`` by least squares, where x is
    the share of the foreground that is annotated, x0 its least value and `start` the score there.
    Background costs an annotator little, so a strategy that looks good for each image because it
    asks about large objects does not look good here.

    Parameters
    ----------
    foreground : array-like, float
        Share of all foreground pixels of the training images that is annotated, in [0, 1].
    scores : array-like of the same shape, float
        Rounds of one or of all seeds; pairs with a NaN are left out.
    full : float
        Score of full supervision.
    start : float or None, default=None
        Score at x0. None is the mean of `scores` there; strategies of one comparison share it by
        themselves when they share round 0.

    Returns
    -------
    rate : float
        Larger is better; 0 where annotation does not help. Compare it within one data set and
        protocol only: it says nothing about seconds, nor about how good the last model is.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two different shares, or `full` is not above `start`.

    References
    ----------
    .. [1] Lueth et al. 2025, nnActive, TMLR, arXiv:2511.19183 (FG-Eff).

    Examples
    --------
    >>> x = np.array([0.1, 0.2, 0.4])
    >>> round(foreground_efficiency(x, 0.9 - 0.3 * np.exp(-5 * (x - 0.1)), full=0.9), 6)
    5.0
    """
    from scipy.optimize import least_squares

    x, y = np.asarray(foreground, dtype=float), np.asarray(scores, dtype=float)
    if x.shape != y.shape:
        raise ValueError(message("scores", f"of shape {x.shape}, as foreground", y.shape))
    check_number("full", full)
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    if len(np.unique(x)) < 2:
        raise ValueError(message("foreground", "two different shares or more", x.tolist()))
    x0, width = x.min(), np.ptp(x)
    start = y[x == x0].mean() if start is None else check_number("start", start)
    if not full > start:
        raise ValueError(message("full", f"above the score at the start, {start:g}", full))
    x = (x - x0) / width  # the rate is then of order 1

    def residual(rate):
        return full - (full - start) * np.exp(-rate[0] * x) - y

    fits = [
        least_squares(residual, [rate], bounds=(-3, 1e4), ftol=1e-12, xtol=1e-12, gtol=1e-12)
        for rate in (0.1, 1.0, 10.0)
    ]
    return float(min(fits, key=lambda fit: fit.cost).x[0] / width)
