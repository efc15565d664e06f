"""k-means that reads its points a block at a time and keeps no copy of them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from alseg._types import Array, Images, Random
from alseg.query.diversity.cover import check_weights, draw, zero_noise
from alseg.query.diversity.points import BLOCK_BYTES, as_embeddings, pair
from alseg.validation import check_number, check_rng

TOLERANCE = 1e-4  # of the mean variance of a feature: centres that move less have arrived
MAX_ITER = 300
MIN_SAMPLE = 4096  # of points that centres start at
SAMPLE_PER_CENTRE = 20
LEAST_DRAWN, MOST_DRAWN = 16, 128  # candidates for a start at once
MAX_ROUNDS = 30  # of clusters that start again; near duplicates could go on for ever


def k_means_groups(
    X: Images,
    n_clusters: int,
    weights: Array = None,
    metric: str = "euclidean",
    random_state: Random = None,
    labelled: Array = None,
) -> Any:
    """k-means clusters of the rows, and how far each is from the centre of its own.

    Lloyd's algorithm [1]_ from a start by k-means++ [2]_, of several candidates for a centre the
    one that lowers the sum most; the start is chosen among a random part of many points. It ends
    as scikit-learn's does: when no point changes its cluster, or centres move no more.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite; may be memory-mapped: one pass for each iteration.
    n_clusters : int
        At least 1; above the number of points each point is a cluster.
    weights : array-like of shape (n_samples + n_labelled,) or None, default=None
        What each point counts in the centres and in the start.
    metric : {"euclidean", "cosine"}, default="euclidean"
        With the cosine, rows are brought to unit length first.
    random_state : None, int, numpy Generator or RandomState, default=None
    labelled : array-like of shape (n_labelled, n_features) or None, default=None
        More points, grouped with those of `X`.

    Returns
    -------
    groups : ndarray of shape (n_samples + n_labelled,), int
        In [0, n_clusters - 1], those of `X` first. Duplicates may leave fewer clusters than asked
        for.
    sq_distances : ndarray of shape (n_samples + n_labelled,), float
        To the centre of its own cluster.

    Raises
    ------
    TypeError, ValueError
        If `n_clusters` is out of range, or the embeddings or weights are not valid.

    References
    ----------
    .. [1] Lloyd 1982, IEEE Transactions on Information Theory, doi:10.1109/TIT.1982.1056489.
    .. [2] Arthur and Vassilvitskii 2007, SODA, Sections 2.2 and 7.

    Examples
    --------
    >>> groups, away = k_means_groups([[0.0], [2.0], [9.0]], 2, random_state=0)
    >>> bool(groups[0] == groups[1] != groups[2]), away.tolist()
    (True, [1.0, 1.0, 0.0])
    >>> groups, _ = k_means_groups([[0.0], [9.0]], 2, labelled=[[8.0]], random_state=0)
    >>> bool(groups[0] != groups[1] == groups[2])
    True
    """
    X = as_embeddings(X)
    check_number("n_clusters", n_clusters, 1, integer=True)
    points, known = pair(X, labelled, metric, keep=False)
    sets = [points] if known is None else [points, known]
    weights = check_weights(weights, n_points(sets))
    _, groups, away = k_means(sets, n_clusters, weights, check_rng(random_state))
    return groups, away


def k_means(sets: Any, n_clusters: int, weights: Array, rng: np.random.Generator) -> Any:
    """Centres, groups and squared distances of the points of all `sets` together.

    Parameters
    ----------
    sets : list of Points
        Comparable with one another.
    n_clusters : int
    weights : ndarray of shape (n,), float64, or None
    rng : numpy Generator

    Returns
    -------
    centres : ndarray of shape (min(n_clusters, n), d), float64
        As prepared rows.
    groups : ndarray of shape (n,), int
    sq_distances : ndarray of shape (n,), float64
    """
    centres, groups = centres_and_groups(sets, n_clusters, weights, rng)
    return centres, groups, sq_to_own(sets, centres, groups)


def centres_and_groups(sets: Any, n_clusters: int, weights: Array, rng: Any) -> Any:
    """What `k_means` gives, without the distances, which cost one more pass."""
    n_clusters = min(n_clusters, n_points(sets))
    if n_clusters == 0:
        return np.empty((0, sets[0].width)), np.empty(0, np.intp)
    centres = start_centres(sets, n_clusters, weights, rng)
    return lloyd(sets, centres, n_clusters, weights)


def n_points(sets: Any) -> int:
    """How many points there are in all `sets`."""
    return sum(points.n for points in sets)


def _blocks(sets):
    """Pairs (slice over the points of all sets, prepared rows)."""
    start = 0
    for points in sets:
        for part, rows in points.blocks():
            yield slice(start + part.start, start + part.stop), rows
        start += points.n


# -- the start --


def start_centres(sets: Any, n_clusters: Any, weights: Array, rng: Any) -> Any:
    """Prepared rows that centres start at; fewer than `n_clusters` of fewer different points.

    Each is the best of ``2 + log(n_clusters)`` that are drawn as k-means++ does, by the sum of
    squared distances that it leaves.
    """
    which, weights = _sample(sets, max(MIN_SAMPLE, SAMPLE_PER_CENTRE * n_clusters), weights, rng)
    rows = _rows_of(sets, which)
    n_tried = 2 + int(np.log(n_clusters))
    picks = [draw(weights, weights > 0, rng)]
    near = np.full(len(rows), np.inf, rows.dtype)
    sq = np.einsum("ij,ij->i", rows, rows)
    near[:] = _sq_to(rows, sq, np.array(picks))[0]
    candidates = _candidates(rows, sq, weights, near, rng)
    while len(picks) < n_clusters:
        tried = list(itertools.islice(candidates, n_tried))
        if not tried:
            break
        lower = [np.minimum(away, near) for _, away in tried]
        best = int(np.argmin([weights @ low for low in lower]))
        picks.append(tried[best][0])
        near[:] = lower[best]
    return rows[picks].astype(np.float64)


def _candidates(rows, sq, weights, near, rng):
    """Pairs (position, squared distances of all rows to it), drawn in proportion to `near`.

    Many are drawn at once, so that their distances are one matrix product. The caller lowers `near`
    in place between two of them; a position that was drawn by the `near` of before is then kept
    with the chance that is left of it, which makes it a draw by the present one.
    """
    size = LEAST_DRAWN
    while (chance := weights * near).any():
        before, total = near.copy(), np.cumsum(chance)
        drawn = np.searchsorted(total, rng.random(size) * total[-1], side="right")
        drawn = np.minimum(drawn, np.flatnonzero(chance)[-1])
        n_kept = 0
        for position, away in zip(drawn.tolist(), _sq_to(rows, sq, drawn), strict=True):
            if rng.random() * before[position] < near[position]:
                n_kept += 1
                yield position, away
        size = min(2 * size, MOST_DRAWN) if 2 * n_kept > size else max(size // 2, LEAST_DRAWN)


def _sq_to(rows, sq, which):
    """Squared distances of some rows to all of them; 0 where rounding leaves no digit."""
    result = (-2 * rows[which]) @ rows.T
    result += sq
    result += sq[which, None]
    result[result <= 16 * np.finfo(rows.dtype).eps * sq] = 0
    return result


def _sample(sets, size, weights, rng):
    """Positions of about `size` points, and weights that make up for how they were drawn.

    Half is drawn alike and half by the weights, so that neither many light points nor a few heavy
    ones are missed.
    """
    n = n_points(sets)
    even = np.ones(n) if weights is None else weights
    if n <= size:
        return np.arange(n), even
    if weights is None:
        which = np.sort(rng.choice(n, size, replace=False))
        return which, np.ones(size)
    chance = np.minimum(1, size / 2 * (1 / n + weights / weights.sum()))
    which = np.flatnonzero(rng.random(n) < chance)
    return which, weights[which] / chance[which]


def _rows_of(sets, which):
    """Prepared rows of sorted positions."""
    result = np.empty((len(which), sets[0].width), sets[0].dtype)
    start = 0
    for points in sets:
        for part in points.parts():
            first, last = np.searchsorted(which, (start + part.start, start + part.stop))
            if first < last:
                result[first:last] = points.rows(which[first:last] - start)
        start += points.n
    return result


# -- Lloyd --


def lloyd(
    sets: Any, centres: Array, n_clusters: int, weights: Array = None, max_iter: int = MAX_ITER
) -> Any:
    """Lloyd's algorithm from given centres.

    A cluster that loses all of its weight starts again at the point that adds most to the sum of
    squared distances; where that is 0 it stays empty.

    Parameters
    ----------
    sets : list of Points
    centres : ndarray of shape (m, d)
        Prepared rows, at most `n_clusters`: the others start as a lost cluster does.
    n_clusters : int
    weights : ndarray of shape (n,) or None, default=None
    max_iter : int, default=300

    Returns
    -------
    centres : ndarray of shape (n_clusters, d), float64
    groups : ndarray of shape (n,), int
    """
    n = n_points(sets)
    weights = np.ones(n) if weights is None else weights
    n_open, width = n_clusters - len(centres), centres.shape[1]
    centres = np.concatenate([centres, np.full((n_open, width), np.nan)])
    groups = np.full(n, -1)
    sums = np.zeros(centres.shape)
    total_sq = sum(float(points.sq.sum(dtype=np.float64)) for points in sets)
    tolerance = TOLERANCE * total_sq / (n * width)
    n_rounds = 0
    near, changed = np.empty(n, sets[0].dtype), np.ones(n_clusters, bool)
    for _ in range(max_iter):
        n_moved = _assign(sets, centres, groups, weights, sums, near, changed)
        mass = np.bincount(groups, weights, minlength=n_clusters)
        seats = np.empty(0, dtype=np.intp)
        if not mass.all() and n_rounds < MAX_ROUNDS:
            seats = _farthest(sets, centres, groups, weights, int((mass == 0).sum()))
            n_rounds += 1
        lost = np.flatnonzero(mass == 0)
        if len(seats):
            _move(_rows_of(sets, seats), groups, seats, lost[: len(seats)], weights, sums)
            mass = np.bincount(groups, weights, minlength=n_clusters)
        new = np.full(centres.shape, np.nan)
        np.divide(sums, mass[:, None], out=new, where=mass[:, None] > 0)
        n_closed = int((np.isfinite(centres[:, 0]) & (mass == 0)).sum())
        shift = np.nansum((new - centres) ** 2)
        changed = ~((new == centres) | (np.isnan(new) & np.isnan(centres))).all(axis=1)
        centres = new
        if n_moved == n_closed == len(seats) == 0:
            return centres, groups
        if shift <= tolerance and n_closed == len(seats) == 0:
            break
    _assign(sets, centres, groups, weights, sums, near, changed)
    return centres, groups


def _assign(sets, centres, groups, weights, sums, near, changed):
    """Put each point to its nearest centre, in place; returns how many changed their group.

    Points whose centre is the one of before are compared with the `changed` ones alone. Only those
    that change their group are added to the sums and taken away: few, after the first passes.
    `near` is the squared distance to the own centre, without the point's squared length.
    """
    dtype = sets[0].dtype
    closed = np.isnan(centres[:, 0])
    centres = np.where(closed[:, None], 0, centres)
    centres_sq = np.where(closed, np.inf, np.einsum("ij,ij->i", centres, centres)).astype(dtype)
    factor = np.ascontiguousarray((-2 * centres).astype(dtype).T)
    few = np.flatnonzero(changed)
    if not len(few):
        return 0
    few_factor = np.ascontiguousarray(factor[:, few])
    step = max(1, BLOCK_BYTES // (len(centres) * dtype.itemsize))
    n_moved = 0
    for part, rows in _blocks(sets):
        nearest, low = groups[part].copy(), near[part]
        again = changed[nearest]
        low[again] = np.inf
        for which in _runs(np.flatnonzero(again), len(rows), step):
            _nearer(rows[which] @ factor, centres_sq, which, nearest, low)
        for which in _runs(np.flatnonzero(~again), len(rows), step):
            _nearer(rows[which] @ few_factor, centres_sq[few], which, nearest, low, few)
        moved = np.flatnonzero(nearest != groups[part])
        if len(moved):
            which = part.start + moved
            rows = rows if len(moved) == len(rows) else rows[moved]
            _move(rows, groups, which, nearest[moved], weights, sums)
            n_moved += len(moved)
    return n_moved


def _runs(which, n, step):
    """Parts of some of n positions, as slices where they are all."""
    for start in range(0, len(which), step):
        stop = min(start + step, len(which))
        yield slice(start, stop) if len(which) == n else which[start:stop]


def _nearer(away, centres_sq, which, nearest, low, names=None):
    """Lower `low` where one of some centres is nearer, and say in `nearest` which, in place."""
    away += centres_sq
    best = away.argmin(axis=1)
    value = np.take_along_axis(away, best[:, None], axis=1)[:, 0]
    better = value < low[which]
    best = best if names is None else names[best]
    nearest[which] = np.where(better, best, nearest[which])
    low[which] = np.where(better, value, low[which])


def _move(rows, groups, which, to, weights, sums):
    """Change the groups of some points and what they add to the sums, in place."""
    step = max(1, BLOCK_BYTES // (8 * rows.shape[1]))
    weight, origin = weights[which], groups[which]
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        block = rows[part].astype(np.float64)
        for sign, place in ((1, to[part]), (-1, origin[part])):
            at = np.flatnonzero(place >= 0)
            if len(at):
                shape = (len(sums), len(block))
                sums += csr_array((sign * weight[part][at], (place[at], at)), shape) @ block
    groups[which] = to


def _farthest(sets, centres, groups, weights, n):
    """At most `n` positions, in their order, that add most to the sum, and more than rounding."""
    away = sq_to_own(sets, centres, groups)
    start = 0
    for points in sets:
        zero_noise(away[start : start + points.n], points.sq, points.dtype)
        start += points.n
    away *= weights
    farthest = np.argsort(-away, kind="stable")[:n]
    return np.sort(farthest[away[farthest] > 0])


def sq_to_own(sets, centres, groups):
    """Squared distance of each point to the centre of its group, from the differences."""
    away = np.empty(n_points(sets))
    for part, rows in _blocks(sets):
        step = max(1, BLOCK_BYTES // (8 * rows.shape[1]))
        for start in range(0, len(rows), step):
            some = slice(part.start + start, min(part.start + start + step, part.stop))
            gap = rows[start : start + step] - centres[groups[some]]
            away[some] = np.einsum("ij,ij->i", gap, gap)
    return away
