"""What masks were worth in a comparison: labels saved, foreground annotated, forecasts tested."""

import numpy as np

from alseg.experiment.forecasting import Backtest, backtest
from alseg.experiment.rounds import foreground_pixels
from alseg.experiment.statistics import foreground_efficiency, labels_saved
from alseg.images import as_masks


def mean_curve(x, y, kept=True):
    """The mean over the seeds that are complete, and kept.

    Parameters
    ----------
    x, y : ndarray of shape (n_seeds, n_rounds), float
        NaN where there is nothing.
    kept : bool or ndarray of shape (n_seeds,), bool, default=True

    Returns
    -------
    x, y : ndarray of shape (n_rounds,), float
        Empty where no seed is left, or where x does not rise from round to round.

    Examples
    --------
    >>> mean_curve(np.array([[2, 4], [2, 4]]), np.array([[0.5, 0.75], [0.5, np.nan]]))
    (array([2., 4.]), array([0.5 , 0.75]))
    """
    whole = np.isfinite(y).all(axis=1) & np.isfinite(x).all(axis=1) & kept
    if not whole.any() or (np.diff(x[whole].mean(axis=0)) <= 0).any():
        return np.empty(0), np.empty(0)
    return x[whole].mean(axis=0), y[whole].mean(axis=0)


def saved_by_row(curves, control, full, shares):
    """Labels that each row saves against the control on the way to full supervision.

    Parameters
    ----------
    curves : dict of str -> (x, y), each ndarray of shape (n_seeds, n_rounds), float
    control : str
    full : float
        Score of full supervision.
    shares : sequence of number
        Per cent of it.

    Returns
    -------
    dict of str -> dict of number -> alseg.experiment.statistics.LabelsSaved
        By row and share, of means over the seeds that row and control both have. Rows whose x does
        not rise are left out.
    """
    found = {}
    if control not in curves or not np.isfinite(full):
        return found
    x_control, y_control = curves[control]
    for name, (x, y) in curves.items():
        if name == control:
            continue
        mine = mean_curve(x, y, np.isfinite(y_control).all(axis=1))
        his = mean_curve(x_control, y_control, np.isfinite(y).all(axis=1))
        if len(mine[0]) and len(his[0]):
            found[name] = {
                share: labels_saved(*mine, his[1], share / 100 * full, x_control=his[0])
                for share in shares
            }
    return found


def foreground_shares(chains, references, names, seeds, n_rounds, train=None):
    """Share of the training images' foreground that is annotated in each round.

    Parameters
    ----------
    chains : dict of (str, int) -> list of dict
        Records of each row and seed.
    references : dict of str -> list of dict
    names : sequence of str
    seeds : sequence of int
    n_rounds : int
    train : Dataset or None, default=None
        With it, records of before ``foreground_pixels`` was kept are counted anew.

    Returns
    -------
    dict of str -> ndarray of shape (n_seeds, n_rounds), float
        NaN where it is not known. Where a chain has stopped early, its last share goes on.
    """
    totals = {
        record["seed"]: record["foreground_pixels"]
        for record in references.get("full supervision", ())
        if record.get("foreground_pixels")
    }
    pixels = None
    if train is not None and not totals:
        masks = as_masks(train.masks, len(train.labels))
        pixels = np.array([foreground_pixels([mask]) for mask in masks])
        totals = dict.fromkeys(seeds, pixels.sum())
    found = {}
    for name in names:
        found[name] = np.full((len(seeds), n_rounds), np.nan)
        for row, seed in enumerate(seeds):
            chain = chains.get((name, seed), [])
            counted = [record.get("foreground_pixels") for record in chain]
            if None in counted and pixels is not None:
                parts = any("regions" in record for record in chain)
                ids = [np.array(record["sample_ids"], dtype=int) for record in chain]
                counted = np.cumsum([np.nan if parts else pixels[i].sum() for i in ids])
            if len(counted) == 0 or None in list(counted) or not totals.get(seed):
                continue
            found[name][row, : len(chain)] = np.array(counted, dtype=float) / totals[seed]
            if chain[-1].get("stopped"):
                found[name][row, len(chain) :] = found[name][row, len(chain) - 1]
    return found


def efficiency_by_row(foreground, curves, full):
    """Foreground efficiency of each row, of its mean curve.

    Parameters
    ----------
    foreground : dict of str -> ndarray of shape (n_seeds, n_rounds), float
        As `foreground_shares` gives it.
    curves : dict of str -> (x, y), each ndarray of shape (n_seeds, n_rounds), float
    full : float
        Score of full supervision.

    Returns
    -------
    dict of str -> float
        See `alseg.experiment.statistics.foreground_efficiency`. Infinite where the first round
        closes the gap to full supervision. Rows that start without a gap, or whose foreground is
        not known, are left out.
    """
    found = {}
    for name, (_, scores) in curves.items():
        x, y = mean_curve(foreground[name], scores)
        if len(x) < 2 or not full > y[0]:
            continue
        rate = foreground_efficiency(x, y, full, start=y[0])
        at_once = rate * (x[1] - x[0]) > 7  # of the gap not a thousandth is left
        found[name] = np.inf if at_once else rate
    return found


def backtest_rows(curves, confidence=0.9):
    """How well the first rounds of each row forecast its later ones, as they came out.

    Parameters
    ----------
    curves : dict of str -> (x, y), each ndarray of shape (n_seeds, n_rounds), float
        Scores in [0, 1].
    confidence : float, default=0.9

    Returns
    -------
    result : alseg.experiment.Backtest, or None
        Over the mean curves of all rows with more than three rounds; None where there is none.
    """
    tests = []
    for x, y in curves.values():
        at, scores = mean_curve(x, y)
        if len(at) > 3:
            tests.append(backtest(at, scores, confidence))
    if not tests:
        return None
    n = [test.n for test in tests]
    means = (float(np.average(values, weights=n)) for values in list(zip(*tests, strict=True))[:-1])
    return Backtest(*means, sum(n))


def ranks_without_a_seed(areas):
    """Ranks of the rows by their mean area, with all seeds and without each of them.

    Parameters
    ----------
    areas : ndarray of shape (n_rows, n_seeds), float

    Returns
    -------
    ranks : ndarray of shape (n_rows,), int
        1 is the largest; equal rows share the better rank.
    without : ndarray of shape (n_rows, n_seeds), int
        Column k: without seed k.

    Examples
    --------
    >>> ranks, without = ranks_without_a_seed(np.array([[0.7, 0.8, 0.3], [0.6, 0.6, 0.8]]))
    >>> ranks.tolist(), without.tolist()
    ([2, 1], [[2, 2, 1], [1, 1, 2]])
    """
    from scipy.stats import rankdata

    # Rounded, so that means which are equal on paper tie whatever the order of their sums.
    means = [areas.mean(axis=1), *(np.delete(areas, k, 1).mean(1) for k in range(areas.shape[1]))]
    ranks = [rankdata(-mean.round(12), method="min").astype(int) for mean in means]
    return ranks[0], np.stack(ranks[1:], axis=1)
