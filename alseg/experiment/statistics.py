"""What a curve is worth, and whether two strategies differ by more than chance."""

from typing import NamedTuple

import numpy as np

from alseg.validation import check_number, check_rng, message

_EXACT_LIMIT = 20  # 2**20 sign patterns are a million sums: still exact, still quick


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


def area_under_curve(y, x=None):
    """Area under a learning curve by the trapezoid rule, divided by the range of `x` [1]_.

    It is the mean height of the curve, so it has the unit of `y`. A single point is its own area.

    Parameters
    ----------
    y : array-like of shape (..., n_rounds), float
        Scores in the order of the rounds; leading axes (strategies, seeds) are kept.
    x : array-like of shape (n_rounds,), float, default=None
        Where the scores stand, strictly increasing (number of masks, of seconds). None is the
        round index, as in [1]_.

    Returns
    -------
    area : float, or ndarray of shape (...)

    Raises
    ------
    ValueError
        If `y` is empty or not finite, or `x` is not strictly increasing and of the same length.

    References
    ----------
    .. [1] Belharbi et al., WACV 2021, arXiv:2010.04889, Table 3.

    Examples
    --------
    >>> area_under_curve([60, 80, 80])
    75.0
    >>> area_under_curve([60, 80, 80], x=[8, 10, 16])  # the plateau lasts longer
    77.5
    """
    y = np.asarray(y, dtype=float)
    if y.ndim == 0 or y.shape[-1] == 0:
        raise ValueError(message("y", "scores of at least one round", y.tolist()))
    if not np.isfinite(y).all():
        raise ValueError(message("y", "finite", y.tolist()))
    n_rounds = y.shape[-1]
    x = np.arange(n_rounds, dtype=float) if x is None else np.asarray(x, dtype=float)
    if x.shape != (n_rounds,):
        raise ValueError(message("x", f"of shape ({n_rounds},), as y", x.shape))
    if not np.isfinite(x).all() or (np.diff(x) <= 0).any():
        raise ValueError(message("x", "finite and strictly increasing", x.tolist()))
    if n_rounds == 1:
        area = y[..., 0]
    else:
        area = np.trapezoid(y, x, axis=-1) if hasattr(np, "trapezoid") else np.trapz(y, x, axis=-1)
        area = area / (x[-1] - x[0])
    return float(area) if np.ndim(area) == 0 else area


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
    differences = np.asarray(differences, dtype=float)
    if differences.ndim != 1 or len(differences) == 0:
        raise ValueError(message("differences", "of shape (n,) with n >= 1", differences.shape))
    if not np.isfinite(differences).all():
        raise ValueError(message("differences", "finite", differences.tolist()))
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
