"""Many rows at once: who beats whom at how many budgets, and whether the ranking would last."""

from itertools import combinations
from typing import NamedTuple

import numpy as np

from alseg.experiment.statistics.paired import paired_t
from alseg.validation import check_number, message


def penalty_matrix(curves, alpha=0.05):
    """Share of the budgets at which each row beats each other row [1]_.

    At each budget entry (i, j) gains 1 / n_budgets if a two-sided paired t-test over the seeds
    calls row i better than row j.

    Parameters
    ----------
    curves : array-like of shape (n_rows, n_seeds, n_budgets), float
        Scores at budgets that all rows share, larger is better. NaN where there is none; such
        pairs of seeds are left out.
    alpha : float, default=0.05
        Two-sided level of each single test, in (0, 1).

    Returns
    -------
    matrix : ndarray of shape (n_rows, n_rows), float
        In [0, 1], 0 on the diagonal. Row i: how often i beats others. The mean of column j (its
        own entry left out) is how often j is beaten: smaller is better.

    Raises
    ------
    ValueError
        If the shape is another, or `alpha` is not in (0, 1).

    Notes
    -----
    A picture, not a test. Budgets of one chain depend on each other, so half of the entries may
    rest on one lucky mask; n_rows² n_budgets tests are not adjusted, so 5 % of the entries of equal
    rows are wins; few seeds rarely win at all; and the size of a difference is not seen. Decide by
    `verdict`.

    References
    ----------
    .. [1] Ash et al. 2020, Deep batch active learning by diverse, uncertain gradient lower bounds
       (BADGE), arXiv:1906.03671, section 5.

    Examples
    --------
    >>> a = np.array([[0.5, 0.8], [0.6, 0.9], [0.5, 0.8]])  # 3 seeds, 2 budgets
    >>> b = a - [[0.0, 0.1], [0.0, 0.11], [0.0, 0.1]]       # worse at the second budget
    >>> penalty_matrix([a, b]).tolist()
    [[0.0, 0.5], [0.0, 0.0]]
    """
    curves = np.asarray(curves, dtype=float)
    if curves.ndim != 3:
        raise ValueError(message("curves", "of shape (n_rows, n_seeds, n_budgets)", curves.shape))
    check_number("alpha", alpha, 0, 1)
    n_rows, _, n_budgets = curves.shape
    matrix = np.zeros((n_rows, n_rows))
    for i, j in combinations(range(n_rows), 2):
        for budget in range(n_budgets):
            differences = curves[i, :, budget] - curves[j, :, budget]
            differences = differences[np.isfinite(differences)]
            if len(differences) < 2:
                continue
            result = paired_t(differences)
            if result.p_value < alpha:
                winner, loser = (i, j) if result.mean > 0 else (j, i)
                matrix[winner, loser] += 1 / n_budgets
    return matrix


class RankStability(NamedTuple):
    """What `rank_stability` returns.

    Attributes
    ----------
    mean, least : float
        Of `taus`.
    taus : ndarray of shape (n_subsets,), float
        Kendall's tau-b between the ranking without those seeds and that of all.
    """

    mean: float
    least: float
    taus: np.ndarray


def rank_stability(areas, leave_out=1):
    """Whether rows would be ranked alike without some of the seeds.

    Parameters
    ----------
    areas : array-like of shape (n_rows, n_seeds), float
        Areas under the curves; ranked by their means over the seeds.
    leave_out : int, default=1
        Seeds left out at once, in all ways.

    Returns
    -------
    result : RankStability
        1 is the same order, -1 the reverse; each pair of rows that changes places costs
        4 / (n_rows (n_rows - 1)). The subsets overlap in most seeds, so that new seeds would agree
        less than these do.

    Raises
    ------
    ValueError
        If there are fewer than two rows, or no more seeds than are left out.

    Examples
    --------
    >>> result = rank_stability([[0.7, 0.8, 0.9], [0.6, 0.7, 0.8], [0.64, 0.64, 0.94]])
    >>> result.taus.round(2).tolist()  # without the third seed the last two change places
    [1.0, 1.0, 0.33]
    """
    from scipy.stats import kendalltau

    areas = np.asarray(areas, dtype=float)
    if areas.ndim != 2 or len(areas) < 2:
        raise ValueError(message("areas", "of shape (n_rows >= 2, n_seeds)", areas.shape))
    if not np.isfinite(areas).all():
        raise ValueError(message("areas", "finite", areas.tolist()))
    n_seeds = areas.shape[1]
    check_number("leave_out", leave_out, 1, n_seeds - 1, integer=True)
    # Rounded, so that means which are equal on paper tie whatever the order of their sums.
    of_all = areas.mean(axis=1).round(12)
    taus = []
    for out in combinations(range(n_seeds), leave_out):
        kept = np.delete(areas, out, axis=1).mean(axis=1).round(12)
        taus.append(kendalltau(kept, of_all).statistic)
    taus = np.array(taus)
    return RankStability(float(taus.mean()), float(taus.min()), taus)
