"""Paired differences: intervals, tests, adjusted p-values, power, seeds needed."""

import math
from typing import NamedTuple

import numpy as np

from alseg.validation import check_number, check_rng, message

_EXACT_LIMIT = 20  # 2**20 sign patterns are a million sums: still exact, still quick
_NORMAL_FROM = 10_000  # pairs from which t and normal distribution give the same number of seeds


class PairedT(NamedTuple):
    """What `paired_t` returns.

    Attributes
    ----------
    mean : float
    interval : (float, float)
    p_value : float
        Two-sided, in [0, 1].
    sd : float
        Of the differences (n - 1 in the denominator); NaN for one difference.
    n : int
    """

    mean: float
    interval: tuple
    p_value: float
    sd: float
    n: int


class SignFlipResult(NamedTuple):
    """What `sign_flip_test` returns.

    Attributes
    ----------
    p_value : float
        In (0, 1].
    floor : float
        The least p-value that so many differences can reach: no result can be below it.
    """

    p_value: float
    floor: float


class BootstrapInterval(NamedTuple):
    """What `bootstrap_groups_seeds` returns.

    Attributes
    ----------
    mean : float
        Of the differences that were seen.
    low, high : float
    """

    mean: float
    low: float
    high: float


def _checked_differences(differences):
    differences = np.asarray(differences, dtype=float)
    if differences.ndim != 1 or len(differences) == 0:
        raise ValueError(message("differences", "of shape (n,) with n >= 1", differences.shape))
    if not np.isfinite(differences).all():
        raise ValueError(message("differences", "finite", differences.tolist()))
    return differences


def _check_share(name, value):
    check_number(name, value, 0, 1, open_low=True)
    if value == 1:
        raise ValueError(message(name, "in (0, 1)", value))


def paired_t(differences, confidence=0.95):
    """Mean of paired differences with Student's t interval and two-sided p-value.

    Parameters
    ----------
    differences : array-like of shape (n,), float
        One difference a pair (a seed): this strategy minus the other.
    confidence : float, default=0.95
        In (0, 1).

    Returns
    -------
    result : PairedT
        One difference says nothing about its spread: the interval is infinite and p is 1. Where
        all differences are equal the interval is a point, and p is 1 if they are 0 and else 0;
        seeds that do not differ are more often one run under several names than a result.

    Raises
    ------
    ValueError
        If there is no difference, or one is not finite.

    Examples
    --------
    >>> result = paired_t([1.0, 2.0, 3.0])
    >>> round(result.mean, 2), [round(end, 2) for end in result.interval], round(result.p_value, 3)
    (2.0, [-0.48, 4.48], 0.074)
    """
    from scipy import stats

    differences = _checked_differences(differences)
    _check_share("confidence", confidence)
    n, mean = len(differences), float(differences.mean())
    if n == 1:
        return PairedT(mean, (-np.inf, np.inf), 1.0, np.nan, 1)
    if np.ptp(differences) == 0:
        mean = float(differences[0])
        return PairedT(mean, (mean, mean), float(mean == 0), 0.0, n)
    sd = float(differences.std(ddof=1))
    error = sd / math.sqrt(n)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, n - 1))
    return PairedT(mean, (mean - half, mean + half), p_value, sd, n)


def sign_flip_test(differences, n_resamples=100_000, random_state=None):
    """Two-sided test that paired differences are as likely positive as negative, by their mean.

    Under the null hypothesis each difference could as well have had the other sign. The p-value is
    the share of all sign patterns whose mean is at least as far from 0 as the one seen: exact up to
    20 differences, above that from random patterns (with the seen one counted among them).

    Parameters
    ----------
    differences : array-like of shape (n,), float
        One difference a pair (a seed): this strategy minus the other.
    n_resamples : int, default=100_000
        Random sign patterns for n > 20.
    random_state : None, int, Generator or RandomState, default=None
        Decides the random patterns; unused for n <= 20.

    Returns
    -------
    result : SignFlipResult
        `p_value`, and `floor`, the least p-value possible with n differences: 2 / 2**n in the exact
        test. Five seeds cannot show p < 0.05, whatever they measured.

    Raises
    ------
    ValueError
        If there is no difference, or one is not finite.

    Examples
    --------
    >>> sign_flip_test([1.0, 2.0, 3.0])  # 2 of 8 patterns are as extreme: all +, all -
    SignFlipResult(p_value=0.25, floor=0.25)
    """
    differences = _checked_differences(differences)
    n = len(differences)
    # Patterns that tie with the seen one on paper must tie here: sums in another order differ by
    # rounding alone.
    seen = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    if n <= _EXACT_LIMIT:
        sums = np.zeros(1)
        for difference in differences:
            sums = np.concatenate([sums + difference, sums - difference])
        return SignFlipResult(float(np.mean(np.abs(sums) >= seen)), 2.0 / 2**n)
    check_number("n_resamples", n_resamples, 1, integer=True)
    rng = check_rng(random_state)
    extreme, left = 0, n_resamples
    while left:
        size = min(left, 10_000)
        signs = rng.integers(0, 2, size=(size, n)) * 2 - 1
        extreme += int((np.abs(signs @ differences) >= seen).sum())
        left -= size
    return SignFlipResult((extreme + 1) / (n_resamples + 1), 1 / (n_resamples + 1))


def holm(p_values):
    """P-values adjusted for a family of tests: each can be held against the level itself [1]_.

    The smallest is multiplied by the number of tests m, the next by m - 1, and so on, and none may
    come out smaller than one before it. The chance of any false finding stays below the level,
    however the tests depend on one another (strategies that share a control do).

    Parameters
    ----------
    p_values : array-like of shape (m,), float
        In [0, 1], in any order.

    Returns
    -------
    adjusted : ndarray of shape (m,), float
        In the order given, at most 1.

    Raises
    ------
    ValueError
        If a value is not in [0, 1].

    References
    ----------
    .. [1] Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal
       of Statistics 6(2).

    Examples
    --------
    >>> holm([0.04, 0.01, 0.03]).tolist()
    [0.06, 0.03, 0.06]
    """
    p_values = np.asarray(p_values, dtype=float)
    if p_values.ndim != 1:
        raise ValueError(message("p_values", "of shape (m,)", p_values.shape))
    if not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError(message("p_values", "in [0, 1]", p_values.tolist()))
    m, order = len(p_values), np.argsort(p_values, kind="stable")
    adjusted = np.empty(m)
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(m, 0, -1)).clip(max=1)
    return adjusted


def power_paired_t(n, effect_size, alpha=0.05):
    """How often n pairs make a two-sided paired t-test find a difference that is there.

    From the noncentral t distribution. With a family of m tests, ``alpha / m`` gives the power that
    remains after Holm's adjustment at its first and hardest step.

    Parameters
    ----------
    n : int
        Pairs, at least 2.
    effect_size : float
        The difference in standard deviations of the paired differences.
    alpha : float, default=0.05
        Two-sided level, in (0, 1).

    Returns
    -------
    power : float
        In [alpha, 1].

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> [round(power_paired_t(n, 1.0), 2) for n in (5, 10, 12)]
    [0.4, 0.8, 0.88]
    """
    from scipy import stats

    check_number("n", n, 2, integer=True)
    _check_share("alpha", alpha)
    if not np.isfinite(effect_size):
        if np.isnan(effect_size):
            raise ValueError(message("effect_size", "a number", effect_size))
        return 1.0
    centre, critical = abs(effect_size) * math.sqrt(n), stats.t.isf(alpha / 2, n - 1)
    if centre > 100:  # T is its centre over a chi; scipy gives NaN far out
        found = stats.chi2.cdf((n - 1) * (centre / critical) ** 2, n - 1)
    else:
        found = stats.nct.sf(critical, n - 1, centre)
    if centre < 6:  # the other tail; later below 1e-9, and NaN in scipy
        found += stats.nct.cdf(-critical, n - 1, centre)
    return float(np.clip(found, alpha, 1.0))


def seeds_needed(difference, sd, power=0.8, alpha=0.05):
    """Pairs needed for a two-sided paired t-test to find a difference with a given power.

    The least n with which `power_paired_t` reaches `power`.

    Parameters
    ----------
    difference : float
        The difference that matters, or the one seen. A difference seen with few seeds is itself
        uncertain, and so is what comes out here: within a factor of a few.
    sd : float
        Standard deviation of the paired differences, >= 0.
    power : float, default=0.8
        In (0, 1).
    alpha : float, default=0.05
        Two-sided level, in (0, 1); divide by the number of comparisons for a family.

    Returns
    -------
    n : int or float
        At least 2; infinite if the difference is 0, NaN if the sd is.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> seeds_needed(difference=1.0, sd=1.0), seeds_needed(0.5, 1.0)
    (10, 34)
    """
    from scipy import stats

    _check_share("power", power)
    _check_share("alpha", alpha)
    check_number("difference", difference)
    if np.isnan(sd):
        return math.nan
    check_number("sd", sd, 0)
    if difference == 0:
        return math.inf
    if sd == 0:
        return 2
    effect_size = abs(difference) / sd
    quantiles = stats.norm.isf(alpha / 2) + stats.norm.ppf(power)
    normal = (max(quantiles, 0) / effect_size) ** 2
    if normal > _NORMAL_FROM:
        return math.ceil(normal) if normal < 1e15 else math.inf
    n = max(2, math.floor(normal))  # the t-test needs a little more
    while power_paired_t(n, effect_size, alpha) < power:
        n += 1
    return n


def bootstrap_groups_seeds(
    scores_a, scores_b, groups=None, n_resamples=5000, confidence=0.95, random_state=None
):
    """Interval of a mean difference that counts both seeds and patients as drawn by chance [1]_.

    An interval over seeds alone speaks about the images of one test set: other patients could
    order two strategies otherwise. Here seeds and groups of images are drawn with replacement,
    independently of each other, and the interval is that of the percentiles.

    Parameters
    ----------
    scores_a, scores_b : array-like of shape (n_seeds, n_images), float
        Score of each test image, with the same seeds and images in both; NaN where there is none.
    groups : array-like of shape (n_images,), or None, default=None
        The patient of each image. None takes each image as its own group.
    n_resamples : int, default=5000
    confidence : float, default=0.95
        In (0, 1).
    random_state : None, int, Generator or RandomState, default=None

    Returns
    -------
    result : BootstrapInterval
        Of the mean of ``scores_a - scores_b`` over images. With fewer than about ten seeds or
        groups a bootstrap interval is too narrow; one seed or one group does not vary at all.

    Raises
    ------
    ValueError
        If shapes differ or no pair of scores is there.

    References
    ----------
    .. [1] Owen 2007, The pigeonhole bootstrap, Annals of Applied Statistics 1(2), arXiv:0712.1111.

    Examples
    --------
    >>> a, b = np.array([[0.8, 0.9, 0.7], [0.9, 0.9, 0.8]]), np.full((2, 3), 0.7)
    >>> result = bootstrap_groups_seeds(a, b, groups=["p", "p", "q"], random_state=0)
    >>> round(result.mean, 3), result.low <= result.mean <= result.high
    (0.133, True)
    """
    a, b = np.asarray(scores_a, dtype=float), np.asarray(scores_b, dtype=float)
    if a.ndim != 2:
        raise ValueError(message("scores_a", "of shape (n_seeds, n_images)", a.shape))
    if a.shape != b.shape:
        raise ValueError(message("scores_b", f"of shape {a.shape}, as scores_a", b.shape))
    check_number("n_resamples", n_resamples, 1, integer=True)
    _check_share("confidence", confidence)
    rng = check_rng(random_state)
    n_seeds, n_images = a.shape
    groups = np.arange(n_images) if groups is None else np.asarray(groups)
    if groups.shape != (n_images,):
        raise ValueError(message("groups", f"of shape ({n_images},)", groups.shape))
    there = np.isfinite(a) & np.isfinite(b)
    if not there.any():
        raise ValueError(message("scores_a", "finite beside scores_b somewhere", "none"))
    _, group = np.unique(groups, return_inverse=True)
    sums = np.zeros((group.max() + 1, n_seeds))  # (n_groups, n_seeds), as counts
    counts = np.zeros_like(sums)
    differences = np.where(there, a, 0) - np.where(there, b, 0)
    np.add.at(sums, group, differences.T)
    np.add.at(counts, group, there.T)
    total, n = np.empty(n_resamples), np.empty(n_resamples)
    step = max(1, 1_000_000 // len(sums))  # so many resamples at once, for memory
    for start in range(0, n_resamples, step):
        part = slice(start, min(start + step, n_resamples))
        of_group = _draw(part.stop - part.start, len(sums), rng)
        of_seed = _draw(part.stop - part.start, n_seeds, rng)
        total[part] = ((of_group @ sums) * of_seed).sum(axis=1)
        n[part] = ((of_group @ counts) * of_seed).sum(axis=1)
    means = total[n > 0] / n[n > 0]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return BootstrapInterval(float(sums.sum() / counts.sum()), float(low), float(high))


def _draw(n_resamples, n, rng):
    """How often each of n is drawn when n are drawn with replacement: (n_resamples, n), float."""
    drawn = rng.integers(0, n, size=(n_resamples, n)) + n * np.arange(n_resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=n_resamples * n).reshape(-1, n).astype(float)
