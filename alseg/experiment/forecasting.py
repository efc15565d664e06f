"""What score more masks would bring: learning curves that fit the rounds so far, averaged."""

from typing import NamedTuple

import numpy as np

from alseg.validation import check_number, message

# The prior of `forecast`, in one place. Back-tested on published curves: docs/user/comparing.md.
_RATES = np.geomspace(0.1, 1.0, 10)
_N_ASYMPTOTES = 15
_NOISE_SD = 0.015  # of a score about its curve, counted as `_NOISE_N` observations
_NOISE_N = 2.0
_ROUNDS_PER_OBSERVATION = 3.0  # successive rounds share masks: their errors are not independent
_FLAT = 0.2  # how likely it is, before a round is looked at, that a curve rises no more


class Forecast(NamedTuple):
    """What `forecast` returns.

    Attributes
    ----------
    n_masks : float or ndarray
        As given.
    mean, low, high : float or ndarray
        Of the score that would be measured there, the noise of a round included.
    """

    n_masks: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Backtest(NamedTuple):
    """What `backtest` returns. Errors are those of forecasts, forecast minus measured.

    Attributes
    ----------
    coverage : float
        Share of the intervals that hold the score measured later.
    bias : float
        Mean error.
    mean_error : float
        Mean absolute error.
    mean_error_of_last : float
        The same for the simplest forecast of all: the last score stays.
    width : float
        Mean width of the intervals.
    n : int
        Forecasts made. Those of one curve are not independent.
    """

    coverage: float
    bias: float
    mean_error: float
    mean_error_of_last: float
    width: float
    n: int


def forecast(n_masks, scores, at, confidence=0.9):
    """Score after more masks, with an interval that is the wider, the fewer rounds there are.

    Averages over all power laws ``a - b n ** -c`` (rates c from 0.1 to 1, asymptotes a up to 1),
    each weighted by how well it fits the rounds so far, so nothing hangs on one fit to three
    points. High asymptotes count more beforehand, as saturation is easily seen in noise; the noise
    about the curve is taken as 1.5 points until the rounds show another; and three rounds count
    as one independent observation, because they share masks.

    Parameters
    ----------
    n_masks : array-like of shape (n_rounds,), float
        Above 0, strictly increasing.
    scores : array-like of shape (n_rounds,), float
        In [0, 1], of one curve: of one seed to forecast one run, or the mean over seeds to
        forecast the mean. NaN where there is none.
    at : float or array-like of shape (n_at,), float
        Numbers of masks to forecast for, above 0.
    confidence : float, default=0.9
        In (0, 1).

    Returns
    -------
    result : Forecast
        Assumes that things go on as they are: the same strategy, network and steps, and enough
        images of the same kind. How often intervals held on published curves stands in the user
        guide.

    Raises
    ------
    ValueError
        If fewer than three rounds have a score, or a value is out of range.

    Examples
    --------
    >>> result = forecast([8, 10, 12, 14], [0.67, 0.70, 0.72, 0.73], at=20)
    >>> print(f"{result.mean:.2f} [{result.low:.2f}, {result.high:.2f}]")
    0.75 [0.69, 0.81]
    """
    n_masks, scores = _checked_rounds(n_masks, scores)
    at = np.asarray(at, dtype=float)
    if not (np.isfinite(at) & (at > 0)).all():
        raise ValueError(message("at", "above 0", at.tolist()))
    _check_confidence(confidence)
    curves = _weighted_curves(n_masks, scores)
    ahead = (at.reshape(-1, 1) / n_masks[0]) ** -curves.rate  # (n_at, n_curves)
    centre = curves.asymptote - curves.gain * ahead
    # Of the measured score: noise of a round, and of the gain that the rounds leave open.
    spread = curves.noise * np.sqrt(1 + _ROUNDS_PER_OBSERVATION * ahead**2 / curves.squares)
    mean, low, high = (
        v.clip(0, 1).reshape(at.shape) for v in _summary(centre, spread, curves, confidence)
    )
    if at.ndim == 0:
        return Forecast(float(at), float(mean), float(low), float(high))
    return Forecast(at, mean, low, high)


class Gain(NamedTuple):
    """What `forecast_gain` returns.

    Attributes
    ----------
    mean, low, high : float
        What the curve rises; 0 or more.
    noise : float
        Standard deviation of a score about the curve.
    """

    mean: float
    low: float
    high: float
    noise: float


def forecast_gain(n_masks, scores, at, confidence=0.9):
    """How much the learning curve rises from the last round on, its noise left out.

    The power laws of `forecast` all rise, and few rounds cannot tell a slow rise from none. So that
    the curve is flat is one hypothesis more, taken for 20 % likely beforehand: its weight after the
    rounds is a part of the mean, and the interval reaches to 0 where it cannot be excluded.

    Parameters
    ----------
    n_masks, scores, confidence : see `forecast`
    at : float
        Number of masks to forecast for, not below that of the last round.

    Returns
    -------
    result : Gain

    Examples
    --------
    >>> result = forecast_gain([8, 10, 12, 14], [0.67, 0.70, 0.72, 0.73], at=20)
    >>> print(f"{result.mean:.2f} [{result.low:.2f}, {result.high:.2f}]")
    0.02 [0.00, 0.04]
    """
    n_masks, scores = _checked_rounds(n_masks, scores)
    check_number("at", at, n_masks[-1])
    _check_confidence(confidence)
    curves = _weighted_curves(n_masks, scores)
    falls = (n_masks[-1] / n_masks[0]) ** -curves.rate - (at / n_masks[0]) ** -curves.rate
    spread = curves.noise * np.sqrt(_ROUNDS_PER_OBSERVATION / curves.squares) * falls
    centre, spread = (curves.gain * falls)[None], np.maximum(spread, 1e-9)[None]
    flat = _weight_of_flat(scores, curves)

    def end(p):
        if p <= flat:
            return 0.0
        p = (p - flat) / (1 - flat)
        return float(_quantile(p, centre, spread, curves.weight, curves.freedom)[0].clip(0, 1))

    mean = float(((1 - flat) * (centre @ curves.weight))[0].clip(0, 1))
    low, high = (end((1 + sign * confidence) / 2) for sign in (-1, 1))
    return Gain(mean, low, high, float(curves.noise @ curves.weight))


def _weight_of_flat(scores, curves):
    """How likely it is, after the rounds, that the curve rises no more."""
    misfit = ((scores - scores.mean()) ** 2).sum() / _ROUNDS_PER_OBSERVATION
    log_flat = -curves.freedom / 2 * np.log(_NOISE_N * _NOISE_SD**2 + misfit)
    odds = _FLAT / (1 - _FLAT) * np.exp(np.clip(log_flat - curves.log_likelihood, -700, 700))
    return float(odds / (1 + odds))


def _check_confidence(confidence):
    check_number("confidence", confidence, 0, 1, open_low=True)
    if confidence == 1:
        raise ValueError(message("confidence", "in (0, 1)", confidence))


class _Curves(NamedTuple):
    """Power laws, each with how well it fits the rounds so far: arrays of shape (n_curves,)."""

    rate: np.ndarray
    asymptote: np.ndarray
    gain: np.ndarray  # how far the first round is below the asymptote
    squares: np.ndarray
    noise: np.ndarray  # standard deviation of a score about the curve
    weight: np.ndarray
    freedom: float
    log_likelihood: float  # of all together, as the prior weighs them


def _weighted_curves(n_masks, scores):
    low_asymptote = max(0.0, min(scores.max(), 1) - 2 * _NOISE_SD)
    steps = np.arange(1, _N_ASYMPTOTES + 1) / _N_ASYMPTOTES
    rate, step = (grid.ravel() for grid in np.meshgrid(_RATES, steps, indexing="ij"))
    asymptote = low_asymptote + (1 - low_asymptote) * step  # (n_curves,)
    falls = (n_masks / n_masks[0]) ** -rate[:, None]  # (n_curves, n_rounds)
    below = asymptote[:, None] - scores
    squares = (falls**2).sum(axis=1)
    gain = np.maximum(0, (falls * below).sum(axis=1) / squares)
    misfit = ((below - gain[:, None] * falls) ** 2).sum(axis=1)
    freedom = _NOISE_N + len(scores) / _ROUNDS_PER_OBSERVATION
    noise = _NOISE_N * _NOISE_SD**2 + misfit / _ROUNDS_PER_OBSERVATION
    log_weight = np.log(step / step.sum()) - freedom / 2 * np.log(noise)
    weight = np.exp(log_weight - log_weight.max())
    log_likelihood = float(log_weight.max() + np.log(weight.sum()))
    weight /= weight.sum()
    noise = np.sqrt(noise / freedom)
    return _Curves(rate, asymptote, gain, squares, noise, weight, freedom, log_likelihood)


def _summary(centre, spread, curves, confidence):
    """Mean and ends of the interval of a mixture over curves: (n_at, n_curves) -> 3 of (n_at,)."""
    ends = [
        _quantile(p, centre, spread, curves.weight, curves.freedom)
        for p in ((1 - confidence) / 2, (1 + confidence) / 2)
    ]
    return centre @ curves.weight, *ends


def _quantile(p, centre, spread, weight, freedom):
    """Of a mixture of Student's t distributions, by bisection: (n_at, n_curves) -> (n_at,)."""
    from scipy.special import stdtr  # the same as stats.t.cdf, several times quicker

    kept = weight > 1e-7
    centre, spread, weight = centre[:, kept], spread[:, kept], weight[kept] / weight[kept].sum()
    low = (centre - 100 * spread).min(axis=1)
    high = (centre + 100 * spread).max(axis=1)
    for _ in range(28):
        middle = (low + high) / 2
        below = stdtr(freedom, (middle[:, None] - centre) / spread) @ weight < p
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def backtest(n_masks, curves, confidence=0.9, min_rounds=3, horizon=None):
    """How good forecasts would have been: from each round on, of the rounds that came later.

    Parameters
    ----------
    n_masks : array-like of shape (n_rounds,), float
    curves : array-like of shape (..., n_rounds), float
        Scores in [0, 1].
    confidence : float, default=0.9
        Of the intervals.
    min_rounds : int, default=3
        Rounds known at the first forecast.
    horizon : int or None, default=None
        Rounds ahead. None is every later round.

    Returns
    -------
    result : Backtest

    Raises
    ------
    ValueError
        If no round is left to forecast, or a value is out of range.

    Examples
    --------
    >>> n_masks = np.arange(8, 40, 4)
    >>> result = backtest(n_masks, 0.9 - 0.6 * n_masks ** -0.5)
    >>> result.coverage, result.n
    (1.0, 15)
    """
    n_masks, curves = np.asarray(n_masks, dtype=float), np.asarray(curves, dtype=float)
    if curves.ndim == 0 or curves.shape[-1:] != n_masks.shape:
        raise ValueError(message("curves", f"of shape (..., {n_masks.size})", curves.shape))
    check_number("min_rounds", min_rounds, 3, integer=True)
    if horizon is not None:
        check_number("horizon", horizon, 1, integer=True)
    errors, errors_of_last, covered, widths = [], [], [], []
    for curve in curves.reshape(-1, len(n_masks)):
        for known in range(min_rounds, len(n_masks)):
            later = np.arange(known, len(n_masks))
            if horizon is not None:
                later = later[later == known - 1 + horizon]
            later = later[np.isfinite(curve[later])]
            if len(later) == 0 or np.isfinite(curve[:known]).sum() < 3:
                continue
            result = forecast(n_masks[:known], curve[:known], n_masks[later], confidence)
            last = curve[:known][np.isfinite(curve[:known])][-1]
            errors.extend(result.mean - curve[later])
            errors_of_last.extend(last - curve[later])
            covered.extend((result.low <= curve[later]) & (curve[later] <= result.high))
            widths.extend(result.high - result.low)
    if not errors:
        rule = f"of more than {min_rounds} rounds with a score, and a horizon within them"
        raise ValueError(message("curves", rule, curves.shape))
    return Backtest(
        float(np.mean(covered)),
        float(np.mean(errors)),
        float(np.abs(errors).mean()),
        float(np.abs(errors_of_last).mean()),
        float(np.mean(widths)),
        len(errors),
    )


def _checked_rounds(n_masks, scores):
    n_masks, scores = np.asarray(n_masks, dtype=float), np.asarray(scores, dtype=float)
    if n_masks.ndim != 1 or not np.isfinite(n_masks).all():
        raise ValueError(message("n_masks", "of shape (n_rounds,), finite", n_masks.tolist()))
    if (n_masks <= 0).any() or (np.diff(n_masks) <= 0).any():
        raise ValueError(message("n_masks", "above 0, strictly increasing", n_masks.tolist()))
    if scores.shape != n_masks.shape:
        raise ValueError(message("scores", f"of shape {n_masks.shape}, as n_masks", scores.shape))
    there = np.isfinite(scores)
    if there.sum() < 3:
        remedy = "Ask at least twice after round 0."
        rule = "known for three rounds or more"
        raise ValueError(message("scores", rule, int(there.sum()), remedy))
    n_masks, scores = n_masks[there], scores[there]
    if scores.min() < 0 or scores.max() > 1:
        remedy = "Divide percent by 100."
        raise ValueError(message("scores", "in [0, 1]", scores.tolist(), remedy))
    return n_masks, scores
