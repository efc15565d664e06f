"""How good a model is, by images that were drawn by chance, and what more marking would bring.

All of it is arithmetic on pixel counts by true and predicted class, of whole masks or of random
points: an image is one observation either way, and points only make it a noisier one.
"""

from typing import NamedTuple

import numpy as np

from alseg.experiment import forecast_gain
from alseg.validation import check_number, message

LEAST_FOR_INTERVAL = 3
"""Checks, or groups of them, below which no interval is given."""

LEAST_FOR_FORECAST = 4, 3
"""Checks, and points of the curve, below which nothing is said of what is to come."""

_SPACING = 1.08  # minutes of a point of a curve, at least, by those of the one before


class Estimate(NamedTuple):
    """What `estimate` returns. The ends are None below `LEAST_FOR_INTERVAL` images.

    Attributes
    ----------
    value : float
        In [0, 1].
    low, high : float or None
    n : int
        Images that it rests on.
    n_groups : int or None
        Groups that these are of, if any are.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    n_groups: int | None = None


def estimate(counts, score="dice", n_images=None, confidence=0.95, groups=None):
    """A score over all images that could have been drawn, from those that were, and an interval.

    Each image counts alike, however many of its pixels are known. The accuracy is without bias.
    Dice and IoU are ratios of means over images, for each class above the background that occurs,
    and then their mean; their bias falls as one over the number of images.

    Parameters
    ----------
    counts : array-like of shape (n, K, K), float
        Pixels of each image by true and predicted class.
    score : {"dice", "iou", "accuracy"}, default="dice"
    n_images : int or None, default=None
        From which the n were drawn; None for very many.
    confidence : float, default=0.95
    groups : sequence of str or None of length n, default=None
        Whose images they are, such as patients' or slides': images of one are no independent
        observations. None is a group of its own.

    Returns
    -------
    result : Estimate

    Raises
    ------
    ValueError
        If no image has a known pixel.

    Notes
    -----
    The interval is Student's about the log odds of the score, by the jackknife over images, or over
    groups where there are any: a whole group is left out at a time, and as many groups as there are
    count. It reaches at least to where one image (or group) more would move the score that is half
    as good, or half as bad: that none was seen does not say that there is none.

    Examples
    --------
    >>> found = estimate([[[8, 1], [1, 6]], [[4, 0], [0, 4]], [[9, 1], [2, 8]], [[5, 1], [0, 6]]])
    >>> print(f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}] of {found.n}")
    0.908 [0.717, 0.975] of 4
    """
    counts = np.asarray(counts, dtype=float)
    shares, given = _shares(counts), any(group is not None for group in groups or ())
    known = np.flatnonzero(counts.sum(axis=(1, 2)) > 0)
    units = _units(known, [None if groups is None else groups[k] for k in known])
    n, n_groups = len(shares), len(units) if given else None
    value = float(_score(shares.sum(axis=0), score))
    if len(units) < LEAST_FOR_INTERVAL:
        return Estimate(value, None, None, n, n_groups)
    rows = {k: row for row, k in enumerate(known.tolist())}
    of_unit = np.array([shares[[rows[k] for k in unit]].sum(axis=0) for unit in units])
    without = _score(shares.sum(axis=0) - of_unit, score)
    left = 1.0 if n_images is None else max(0.0, 1 - n / max(n_images, n))  # not looked at yet
    low, high = _interval(value, without, confidence, left)
    return Estimate(value, low, high, n, n_groups)


def _units(items, groups):
    """Items that are observed together, a list each: those of a group, or of None one."""
    found = {}
    for k, (item, group) in enumerate(zip(items, groups)):
        found.setdefault((k,) if group is None else group, []).append(item)
    return list(found.values())


def _shares(counts):
    """(n, K, K) counts of which each image has the sum 1; images without a known pixel are out."""
    counts = np.asarray(counts, dtype=float)
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2]:
        raise ValueError(message("counts", "of shape (n, K, K)", counts.shape))
    known = counts.sum(axis=(1, 2))
    if not (known > 0).any():
        raise ValueError(message("counts", "of at least one image with a known pixel", "none"))
    return counts[known > 0] / known[known > 0, None, None]


def _score(total, score):
    """Of summed shares, (..., K, K) -> (...,)."""
    hits = np.diagonal(total, axis1=-2, axis2=-1)
    if score == "accuracy":
        return hits.sum(axis=-1) / total.sum(axis=(-2, -1))
    both = total.sum(axis=-1) + total.sum(axis=-2)
    if score == "iou":
        above, below = hits, both - hits
    elif score == "dice":
        above, below = 2 * hits, both
    else:
        raise ValueError(message("score", "one of ['dice', 'iou', 'accuracy']", score))
    above, below = above[..., 1:], below[..., 1:]
    occurs = below > 1e-12
    ratios = np.where(occurs, above / np.where(occurs, below, 1), 0.0)
    n = occurs.sum(axis=-1)
    # Two masks without any foreground agree.
    return np.where(n > 0, ratios.sum(axis=-1) / np.maximum(n, 1), 1.0)[()]


def _interval(value, without, confidence, left):
    from scipy.special import expit, logit, stdtrit

    n = len(without)
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum() * left)
    inside = np.clip(value, 1e-6, 1 - 1e-6)
    t = stdtrit(n - 1, (1 + confidence) / 2)
    # Beyond 30 on the scale of log odds nothing is left of either end.
    reach = min(t * error / (inside * (1 - inside)), 30.0)
    one_more = left / (2 * (n + 1))
    low = min(expit(logit(inside) - reach), value - one_more * value)
    high = max(expit(logit(inside) + reach), value + one_more * (1 - value))
    return float(min(low, value)), float(max(high, value))


class CurvePoint(NamedTuple):
    """A point of `learning_curve`.

    Attributes
    ----------
    minutes : float
    estimate : Estimate
    counts : dict of str to ndarray of shape (K, K)
        By name of the image.
    groups : dict of str to str
        Whose image it is, by its name, where that is known.
    """

    minutes: float
    estimate: Estimate
    counts: dict
    groups: dict


def learning_curve(records, n_images=None, groups=None):
    """Dice against minutes, each from the images that were held out then.

    Parameters
    ----------
    records : list of (float, dict)
        Minutes, and counts by name of the image, in the order in which they came.
    n_images : int or None, default=None
        See `estimate`.
    groups : dict of str to str, or None, default=None
        Whose image it is, by its name, where that is known; see `estimate`.

    Returns
    -------
    points : list of CurvePoint
        Of later minutes each, the last of those at the same ones; the last record is among them.
    """
    kept, groups = [], groups or {}
    for minutes, counts in reversed(records):
        if counts and (not kept or minutes * _SPACING <= kept[-1][0]):
            kept.append((minutes, counts))

    def found(counts):
        whose = [groups.get(name) for name in counts]
        return estimate(list(counts.values()), n_images=n_images, groups=whose)

    return [
        CurvePoint(minutes, found(counts), counts, groups) for minutes, counts in reversed(kept)
    ]


class Outlook(NamedTuple):
    """What `outlook` returns; all in [0, 1], and `after` in minutes.

    Attributes
    ----------
    after : float
    dice, low, high : float
        Of the model after so many minutes more.
    gain, gain_low, gain_high : float
        From now on.
    n_checks, n_points : int
        Images, and points of the curve, that it rests on.
    """

    after: float
    dice: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    n_checks: int
    n_points: int


def outlook(points, after=10.0, confidence=0.9):
    """What the Dice will be after more minutes, from a curve; None where too little is known.

    Parameters
    ----------
    points : list of CurvePoint
    after : float, default=10.0
        Minutes.
    confidence : float, default=0.9

    Returns
    -------
    result : Outlook or None

    Notes
    -----
    Points are compared with the last one on the images that both have, so that which images are
    held out does not move the curve. To them power laws are fitted (`alseg.experiment.forecast`).
    The interval of the gain holds what the curve leaves open, that it rises no more among it, and
    how the gain differs when each of the images, or groups, is left out; that of the Dice also
    holds the interval of what it is now.
    """
    check_number("after", after, 0, open_low=True)
    least_images, least_points = LEAST_FOR_FORECAST
    if not points or points[-1].estimate.n < least_images or points[-1].estimate.low is None:
        return None
    last = points[-1]
    used = [
        point
        for point in points
        if point.minutes > 0 and len(point.counts.keys() & last.counts.keys()) >= least_images
    ]
    if len(used) < least_points:
        return None
    end = used[-1].minutes + after

    def gain_of(names):
        shared = [point for point in used if names & point.counts.keys()]
        if len(shared) < least_points:
            return None
        minutes = [point.minutes for point in shared]
        return forecast_gain(minutes, _anchored(shared, last, names), end, confidence=confidence)

    found = gain_of(set(last.counts))
    names = sorted(last.counts)
    units = _units(names, [last.groups.get(name) for name in names])
    spread = 0.0
    if len(names) > least_images:
        others = [gain_of(set(names) - set(unit)) for unit in units]
        if None in others:
            return None
        means = np.array([other.mean for other in others])
        spread = (len(units) - 1) / len(units) * ((means - means.mean()) ** 2).sum()
    from scipy.special import stdtrit

    reach = float(stdtrit(len(units) - 1, (1 + confidence) / 2) * np.sqrt(spread))
    gain = float(found.mean)
    low = max(0.0, gain - float(np.hypot(gain - found.low, reach)))
    high = gain + float(np.hypot(found.high - gain, reach))
    now = last.estimate
    dice = min(1.0, now.value + gain)
    return Outlook(
        after,
        dice,
        max(0.0, dice - float(np.hypot(now.value - now.low, np.hypot(gain - low, found.noise)))),
        min(1.0, dice + float(np.hypot(now.high - now.value, np.hypot(high - gain, found.noise)))),
        gain,
        low,
        high,
        len(names),
        len(used),
    )


def _anchored(points, last, names):
    """Dice of each point: that of the last, and the difference on the images that both have."""
    now = _dice_of(last.counts, names)
    scores = []
    for point in points:
        shared = names & point.counts.keys() & last.counts.keys()
        scores.append(now - _dice_of(last.counts, shared) + _dice_of(point.counts, shared))
    return np.clip(scores, 0, 1)


def shown_curve(points):
    """A curve as it is drawn: which images were held out does not move it where that is known.

    Parameters
    ----------
    points : list of CurvePoint

    Returns
    -------
    curve : list of [minutes, dice, low, high]
        The ends are None below `LEAST_FOR_INTERVAL` images.
    """
    if not points:
        return []
    last, found = points[-1], []
    for point in points:
        value, low, high = point.estimate[:3]
        if len(point.counts.keys() & last.counts.keys()) >= LEAST_FOR_FORECAST[0]:
            moved = float(_anchored([point], last, set(last.counts))[0]) - value
        else:
            moved = 0.0
        ends = [None if end is None else min(1.0, max(0.0, end + moved)) for end in (low, high)]
        found.append([point.minutes, value + moved, *ends])
    return found


def _dice_of(counts, names):
    return float(_score(_shares([counts[name] for name in sorted(names)]).sum(axis=0), "dice"))


def advice(now, ahead, n_left, target=None):
    """Whether to stop, and why.

    Parameters
    ----------
    now : Estimate or None
        Of the Dice.
    ahead : Outlook or None
    n_left : int
        Images without an answer.
    target : float or None, default=None
        Dice that is enough.

    Returns
    -------
    stop : bool
    text : str
        A sentence; empty where nothing can be said yet.

    Examples
    --------
    >>> advice(None, None, 0)
    (True, 'Every image has an answer.')
    >>> advice(Estimate(0.9, 0.86, 0.93, 12), None, 100, target=0.85)
    (True, 'The target of 85 is reached: even the lower end of the interval, 86, is above it.')
    """
    if n_left == 0:
        return True, "Every image has an answer."
    if now is not None and target is not None and now.low is not None and now.low >= target:
        return True, (
            f"The target of {100 * target:.0f} is reached: even the lower end of the interval, "
            f"{100 * now.low:.0f}, is above it."
        )
    if ahead is None:
        return False, ""
    gain, most = 100 * ahead.gain, 100 * ahead.gain_high
    minutes = f"{ahead.after:.0f} more minutes"
    if gain < 0.5 and most < 1:
        return True, (
            f"{minutes} would bring about {gain:.1f} points, and hardly more than {most:.1f}: you "
            "may stop."
        )
    none = "" if ahead.gain_low > 0 else ", or none"
    return False, f"Go on: {minutes} bring about {gain:.1f} points, perhaps {most:.1f}{none}."
