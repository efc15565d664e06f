"""Picks that leave no part of the embedding space far from a labelled point."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Images, Random
from alseg.query.diversity.points import (
    BLOCK_BYTES,
    CHUNK,
    as_embeddings,
    bring_near,
    nearest_of,
    pair,
    squared,
)
from alseg.validation import check_n_instances, check_number, check_rng, message

MAX_CANDIDATES = 64  # more points than this, equally far to within rounding: compute without it
TOP_BYTES = 16 << 20


def distance_to_labelled(
    X: Images, labelled: Array = None, metric: str = "euclidean"
) -> np.ndarray:
    """Distance of each point to the nearest labelled one, what core-set ranks by [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite; may be memory-mapped.
    labelled : array-like of shape (n_labelled, n_features) or None, default=None
        None, or no row: the distance to the mean of `X` (of its directions, with the cosine)
        takes its place.
    metric : {"euclidean", "cosine"}, default="euclidean"
        The cosine distance is ``1 - cos``; a zero row is at distance 1 from all rows but other
        zero rows.

    Returns
    -------
    distance : ndarray of shape (n_samples,), float64

    Raises
    ------
    TypeError, ValueError
        If the embeddings are not finite numbers of the same features.

    References
    ----------
    .. [1] Sener and Savarese 2018, arXiv:1708.00489.

    Examples
    --------
    >>> distance_to_labelled([[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0]])
    array([0., 5.])
    """
    points, known = pair(as_embeddings(X), labelled, metric)
    near = (points.sq if known is None else nearest_of(points, known)).astype(np.float64)
    # Below this the expanded square is noise: small distances are computed from the differences.
    unsure = np.flatnonzero(near < 1e3 * points.tolerance)
    if known is not None and len(unsure):
        near[unsure] = nearest_exact(points, known, unsure)
    return near / 2 if metric == "cosine" else np.sqrt(near)


def nearest_exact(points: Any, known: Any, which: Any) -> Any:
    """Squared distance of some points to the nearest of `known`, in double precision."""
    near = np.full(len(which), np.inf)
    for part in known.parts():
        _bring_near_exact(points, near, known.exact(part), which)
    return near


def _bring_near_exact(points, near, centres, which=None):
    """As `bring_near`, from the differences in double precision: slow, and exact for duplicates."""
    n = len(near)
    step = max(1, BLOCK_BYTES // (8 * points.width))
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        rows = points.exact(part if which is None else which[part])
        for centre in centres:
            away = rows - centre
            np.minimum(near[part], np.einsum("ij,ij->i", away, away), out=near[part])


def k_center_greedy(
    X: Images,
    n_instances: int,
    labelled: Array = None,
    metric: str = "euclidean",
    first: int | None = None,
) -> np.ndarray:
    """Again and again the point farthest from all that is labelled or picked (core-set) [1]_.

    The picks are those of a search in double precision, also for float32 data far from the
    origin: where rounding leaves several points for the farthest, their distances are computed
    from the differences. Distances of the many points that are far from being the farthest are
    brought up to date only now and then, all picks since at once, in one matrix product.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite; may be memory-mapped: it is read a block at a time.
    n_instances : int
        In [1, n_samples].
    labelled : array-like of shape (n_labelled, n_features) or None, default=None
    metric : {"euclidean", "cosine"}, default="euclidean"
        The cosine distance is ``1 - cos``; a zero row is at distance 1 from all rows but other
        zero rows.
    first : int or None, default=None
        Position of the first pick. None is the point farthest from the labelled ones or, where
        there are none, the point nearest to the mean.

    Returns
    -------
    picks : ndarray of shape (n_instances,), int
        Positions in `X`. Of points equally far the first is taken; once all are at distance 0,
        the rest follow in their order.

    Raises
    ------
    EmptyPool
        If `X` has no row.
    TypeError, ValueError
        If `n_instances` or `first` is out of range, or the embeddings are not finite numbers of
        the same features.

    References
    ----------
    .. [1] Sener and Savarese 2018, arXiv:1708.00489, Algorithm 1.

    Examples
    --------
    >>> k_center_greedy([[0.0], [1.0], [5.0], [9.0]], 2, labelled=[[0.0]])
    array([3, 2])
    """
    X = as_embeddings(X)
    n_instances = check_n_instances(n_instances, len(X))
    if first is not None:
        check_number("first", first, 0, len(X) - 1, integer=True)
    points, known = pair(X, labelled, metric)
    return spread_out(points, known, n_instances, [] if first is None else [int(first)])


def spread_out(points: Any, known: Any, n_instances: int, picks: Any) -> Any:
    """Go on from `picks` to `n_instances` of them."""
    picks = list(picks)
    near = nearest_of(points, known)
    if not picks and known is None:
        picks.append(_nearest_to_mean(points))
    if picks:
        start = np.array(picks)
        bring_near(points, near, points.rows(start), points.sq[start])
        near[start] = -np.inf
    while len(picks) < n_instances:
        more = _pick_farthest(points, known, near, picks, n_instances - len(picks))
        if more is None:  # rounding hides which is the farthest
            return _k_center_exact(points, known, n_instances, picks)
        picks += more
        if len(picks) < n_instances:
            start = np.array(more)
            bring_near(points, near, points.rows(start), points.sq[start])
            near[picks] = -np.inf
    return np.array(picks[:n_instances])


def _nearest_to_mean(points):
    slack = points.tolerance
    slack += 4 * np.sqrt(points.radius_sq) * np.linalg.norm(points.mean - points.shift)
    found = np.flatnonzero(points.sq <= points.sq.min() + slack)
    near = np.full(len(found), np.inf)
    _bring_near_exact(points, near, points.mean[None].astype(np.float64), found)
    return int(found[near.argmin()])


def _pick_farthest(points, known, near, picks, n_wanted):
    """Some next picks, from the points that are farthest by `near`, or None if rounding hides them.

    `near` is up to date for `picks`. A later pick only lowers distances, so the farthest of the
    `top` points is the farthest of all as long as it is above what any other point had.
    """
    n = points.n
    slack = points.tolerance
    size = min(n, max(CHUNK, min(n // 16, TOP_BYTES // (points.width * points.dtype.itemsize))))
    top = np.argpartition(near, n - size)[n - size :] if size < n else np.arange(n)
    top.sort()
    limit = -np.inf
    if size < n:
        rest = near.copy()
        rest[top] = -np.inf
        limit = rest.max()
    mine = near[top]
    candidates = np.flatnonzero(near >= mine.max() - slack)
    more = []
    rows = None
    while True:
        if len(candidates) > MAX_CANDIDATES:
            return more or None
        pick = int(candidates[0])
        if len(candidates) > 1:
            pick = _farthest_exact(points, known, candidates, picks + more)
        more.append(pick)
        if len(more) == n_wanted:
            return more
        rows = points.rows(top) if rows is None else rows
        place = np.searchsorted(top, pick)
        if place == size or top[place] != pick:
            return more
        away = squared(rows, points.sq[top], rows[place][None], points.sq[pick : pick + 1])[:, 0]
        np.minimum(mine, away, out=mine)
        mine[place] = -np.inf
        highest = mine.max()
        if not highest > limit + slack or np.isneginf(highest):
            return more
        candidates = top[mine >= highest - slack]


def _farthest_exact(points, known, candidates, picks):
    near = np.full(len(candidates), np.inf)
    if known is not None:
        near = nearest_exact(points, known, candidates)
    if picks:
        _bring_near_exact(points, near, points.exact(np.array(picks)), candidates)
    return int(candidates[near.argmax()])


def _k_center_exact(points, known, n_instances, picks):
    """The rest of the picks, each distance from the differences in double precision."""
    picks = list(picks)
    near = np.full(points.n, np.inf)
    if known is not None:
        near = nearest_exact(points, known, np.arange(points.n))
    if picks:
        _bring_near_exact(points, near, points.exact(np.array(picks)))
    near[picks] = -np.inf
    while len(picks) < n_instances:
        pick = int(near.argmax())
        picks.append(pick)
        _bring_near_exact(points, near, points.exact(np.array([pick])))
        near[pick] = -np.inf
    return np.array(picks)


def k_means_plus_plus(
    X: Images,
    n_instances: int,
    labelled: Array = None,
    weights: Array = None,
    random_state: Random = None,
) -> np.ndarray:
    """Points drawn with a chance in proportion to the squared distance to the nearest pick [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite; may be memory-mapped: one pass for each pick.
    n_instances : int
        In [1, n_samples].
    labelled : array-like of shape (n_labelled, n_features) or None, default=None
        Count as picked already. Without, the first pick is drawn with a chance in proportion to
        `weights`.
    weights : array-like of shape (n_samples,) or None, default=None
        Not negative; multiply the chances.
    random_state : None, int, numpy Generator or RandomState, default=None

    Returns
    -------
    picks : ndarray of shape (n_instances,), int
        Different positions. Once every point left is a duplicate of a pick (or of weight 0), the
        rest are drawn alike.

    Raises
    ------
    EmptyPool
        If `X` has no row.
    TypeError, ValueError
        If `n_instances` is out of range, or the embeddings or weights are not finite numbers.

    References
    ----------
    .. [1] Arthur and Vassilvitskii 2007, SODA, Section 2.2.

    Examples
    --------
    >>> picks = k_means_plus_plus([[0.0], [0.0], [9.0], [9.0]], 2, random_state=0)
    >>> sorted(int(i) // 2 for i in picks)  # one of each place
    [0, 1]
    """
    X = as_embeddings(X)
    n = len(X)
    n_instances = check_n_instances(n_instances, n)
    weights = check_weights(weights, n)
    rng = check_rng(random_state)
    points, known = pair(X, labelled, "euclidean")
    near = nearest_of(points, known)
    zero_noise(near, points.sq, points.dtype)
    left = np.ones(n, bool)
    picks = []
    for _ in range(n_instances):
        chance = np.ones(n) if np.isposinf(near[0]) else near.astype(np.float64)
        chance *= left
        if weights is not None:
            chance *= weights
        pick = draw(chance, left, rng)
        picks.append(pick)
        left[pick] = False
        if len(picks) < n_instances:
            bring_near(points, near, points.rows([pick]), points.sq[[pick]])
            zero_noise(near, points.sq, points.dtype)
    return np.array(picks)


def zero_noise(near: Any, sq: Any, dtype: Any) -> None:
    """Squared distances below what rounding leaves of a duplicate become 0, in place.

    Examples
    --------
    >>> near = np.array([1e-7, 1.0])
    >>> zero_noise(near, np.array([4.0, 4.0]), np.float32)
    >>> near.tolist()
    [0.0, 1.0]
    """
    near[near <= 16 * np.finfo(dtype).eps * sq] = 0


def draw(chance: Any, left: Any, rng: Any) -> Any:
    """A position drawn in proportion to `chance`; of those `left`, alike, where all are 0.

    Examples
    --------
    >>> draw(np.array([0.0, 2.0, 0.0]), np.ones(3, bool), np.random.default_rng(0))
    1
    """
    total = np.cumsum(chance)
    if total[-1] <= 0:
        return int(rng.choice(np.flatnonzero(left)))
    # Above the largest sum only by rounding; a position of chance 0 is never the first to exceed.
    pick = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
    return min(pick, int(np.flatnonzero(chance)[-1]))


def check_weights(weights: Array, n: int) -> Any:
    """Weights as a float vector of n numbers not below 0 and not all 0, or None.

    Examples
    --------
    >>> check_weights([1, 2], 2)
    array([1., 2.])
    """
    if weights is None:
        return None
    weights = np.asarray(weights, dtype=float)
    if weights.shape != (n,):
        raise ValueError(message("weights", f"of shape ({n},)", weights.shape))
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError(message("weights", "finite, not negative and not all 0", weights))
    return weights


def facility_location(
    X: Images,
    n_instances: int,
    labelled: Array = None,
    metric: str = "cosine",
    weights: Array = None,
    candidates: Array = None,
) -> np.ndarray:
    """The points that represent all others best: greedily, the largest drop of a sum of distances.

    Minimises ``sum_i w_i min_s dist(i, s)`` over the picks and the labelled points s. With the
    cosine distance ``1 - cos`` that is the largest sum of similarities to the nearest pick, the
    maximum cover of suggestive annotation [1]_; with the Euclidean one it is the greedy k-median
    of ViewAL's MaxRepr. Gains only fall as picks are made, so most are not computed again [2]_;
    no n x n matrix is kept.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite. The cost grows as ``n_candidates * n_samples``: `candidates` or a
        random part of a large pool keep it small.
    n_instances : int
        In [1, n_candidates].
    labelled : array-like of shape (n_labelled, n_features) or None, default=None
        Represent points already.
    metric : {"euclidean", "cosine"}, default="cosine"
    weights : array-like of shape (n_samples,) or None, default=None
        What each point counts in the sum; not negative.
    candidates : array-like of shape (n_candidates,), int, or None, default=None
        Positions that may be picked; all by default.

    Returns
    -------
    picks : ndarray of shape (n_instances,), int
        Positions in `X`; of equal gains that of the point farthest from all picked.

    Raises
    ------
    EmptyPool
        If there is no candidate.
    TypeError, ValueError
        If `n_instances` is out of range, or the embeddings, weights or candidates are not valid.

    References
    ----------
    .. [1] Yang et al. 2017, arXiv:1706.04737, Section 2.3.
    .. [2] Minoux 1978, Accelerated greedy algorithms for maximizing submodular set functions.

    Examples
    --------
    >>> facility_location([[0.0], [1.0], [2.0], [9.0]], 2, metric="euclidean")
    array([1, 3])
    """
    X = as_embeddings(X)
    candidates = _check_candidates(candidates, len(X))
    n_instances = check_n_instances(n_instances, len(candidates))
    weights = check_weights(weights, len(X))
    points, known = pair(X, labelled, metric)
    weights = np.ones(points.n) if weights is None else weights
    near = as_distance(nearest_of(points, known), metric)
    picks = []
    bound = representation_sums(points, candidates, weights, near)
    stale = np.zeros(len(candidates), bool)
    open_ = np.ones(len(candidates), bool)
    while len(picks) < n_instances:
        best = _best_gain(points, candidates, weights, near, bound, stale, open_)
        picks.append(int(candidates[best]))
        open_[best] = False
        if len(picks) == n_instances:
            break
        pick = candidates[best : best + 1]
        was_empty = np.isposinf(near[0])
        near = np.minimum(near, _distances(points, slice(None), points.rows(pick), pick)[:, 0])
        if was_empty:  # sums without any pick bound nothing
            bound = representation_sums(points, candidates, weights, near)
            stale[:] = False
        else:
            stale[:] = True
    return np.array(picks)


def representation_gain(X: Images, labelled: Array = None, metric: str = "cosine") -> np.ndarray:
    """What each point would add to `facility_location`'s sum, were it the next pick.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    labelled : array-like of shape (n_labelled, n_features) or None, default=None
    metric : {"euclidean", "cosine"}, default="cosine"

    Returns
    -------
    gain : ndarray of shape (n_samples,), float
        Mean drop of the distance to the nearest labelled point. Where nothing is labelled, minus
        the mean distance to all points.

    Examples
    --------
    >>> representation_gain([[0.0], [1.0], [2.0]], metric="euclidean").round(2)
    array([-1.  , -0.67, -1.  ])
    """
    points, known = pair(as_embeddings(X), labelled, metric)
    near = as_distance(nearest_of(points, known), metric)
    candidates = np.arange(points.n)
    return representation_sums(points, candidates, np.ones(points.n), near) / points.n


def _check_candidates(candidates, n):
    if candidates is None:
        return np.arange(n)
    candidates = np.asarray(candidates)
    good = candidates.ndim == 1 and candidates.dtype.kind in "iu"
    if not good or len(np.unique(candidates)) != len(candidates):
        raise ValueError(message("candidates", "different positions", candidates))
    if len(candidates) and (candidates.min() < 0 or candidates.max() >= n):
        raise ValueError(message("candidates", f"in [0, {n - 1}]", candidates))
    return candidates


def as_distance(sq: Any, metric: str) -> Any:
    """Squared distances of `Points` as distances of the metric."""
    return sq.astype(np.float64) / 2 if metric == "cosine" else np.sqrt(sq.astype(np.float64))


def _distances(points, part, centres, positions):
    """Distances (n_part, n_centres) of a slice of the points to some of them."""
    if part == slice(None):
        found = [_distances(points, p, centres, positions) for p in points.parts()]
        return np.concatenate(found)
    away = squared(points.rows(part), points.sq[part], centres, points.sq[positions])
    # A point is its own representative, exactly.
    inside = (positions >= part.start) & (positions < part.stop)
    away[positions[inside] - part.start, np.flatnonzero(inside)] = 0
    return away / 2 if points.metric == "cosine" else np.sqrt(away, out=away)


def representation_sums(points: Any, candidates: Array, weights: Array, near: Array) -> Any:
    """Drop of the weighted sum of `near` by each candidate; minus its sum, where near is infinite.

    Parameters
    ----------
    points : Points
    candidates : ndarray of shape (n_candidates,), int
    weights, near : ndarray of shape (n,), float

    Returns
    -------
    ndarray of shape (n_candidates,), float
    """
    gains = np.zeros(len(candidates))
    empty = np.isposinf(near[0])
    for start in range(0, len(candidates), CHUNK):
        mine = slice(start, start + CHUNK)
        centres = points.rows(candidates[mine])
        for part in points.parts():
            away = _distances(points, part, centres, candidates[mine])
            if empty:
                gains[mine] -= weights[part] @ away
            else:
                drop = np.subtract(near[part, None].astype(away.dtype), away, out=away)
                gains[mine] += weights[part] @ np.maximum(drop, 0, out=drop)
    return gains


def _best_gain(points, candidates, weights, near, bound, stale, open_):
    """The open candidate of the largest gain; `bound` and `stale` are brought up to date.

    Ties are common: two points that represent nobody but each other gain exactly the same. To
    within rounding, the one farther from all that is picked is taken.
    """
    eps = np.finfo(points.dtype).eps
    slack = points.tolerance * weights.max()
    if points.metric == "euclidean" and slack:
        slack /= np.sqrt(points.radius_sq)
    while True:
        value = np.where(open_, bound, -np.inf)
        tied = np.flatnonzero(value >= value.max() - slack - 32 * eps * abs(value.max()))
        if not stale[tied].any():
            return int(tied[near[candidates[tied]].argmax()])
        # A few at once cost little more than one: the pool is read once for them all.
        doubtful = np.flatnonzero(open_ & stale)
        if len(doubtful) > 16:
            doubtful = doubtful[np.argpartition(-bound[doubtful], 15)[:16]]
        bound[doubtful] = representation_sums(points, candidates[doubtful], weights, near)
        stale[doubtful] = False
