"""Picks that cover the embedding space by balls of one radius: ProbCover."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Images, Random
from alseg.query.diversity.clustering import lloyd, sq_to_own, start_centres
from alseg.query.diversity.cover import as_distance, nearest_exact, spread_out
from alseg.query.diversity.points import (
    BLOCK_BYTES,
    CHUNK,
    Points,
    as_embeddings,
    block_rows,
    nearest_of,
    pair,
    squared,
)
from alseg.validation import check_n_instances, check_number, check_rng, message

GROUP_SIZE, MAX_GROUPS = 100, 1024  # of points whose neighbours are looked for together


def prob_cover(
    X: Images,
    n_instances: int,
    radius: float,
    labelled: Array = None,
    metric: str = "euclidean",
    random_state: Random = None,
) -> np.ndarray:
    """Greedily, the point with most points within `radius` that nothing labelled covers [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite.
    n_instances : int
        In [1, n_samples].
    radius : float
        Above 0: a point covers those at a smaller distance, itself included. See
        `purity_radius`.
    labelled : array-like of shape (n_labelled, n_features) or None, default=None
        Cover points already, and are covered.
    metric : {"euclidean", "cosine"}, default="euclidean"
        What `radius` is measured in.
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between points that cover alike.

    Returns
    -------
    picks : ndarray of shape (n_instances,), int
        Once all is covered the rest are those farthest from the labelled and picked ones (where
        as published they are arbitrary).

    Raises
    ------
    EmptyPool
        If `X` has no row.
    TypeError, ValueError
        If `n_instances` or `radius` is out of range, or the embeddings are not finite numbers.

    Notes
    -----
    No graph is stored: it has of the order of n^2 edges where the radius is large. Each row of it
    is computed once to count, from one of its two ends, and once when its point becomes covered.
    Points are put into groups before, and by the triangle inequality groups are compared with one
    another only as far as a ball may reach: where embeddings have clusters, that is little.

    References
    ----------
    .. [1] Yehuda et al. 2022, arXiv:2205.11320, Algorithm 1.

    Examples
    --------
    >>> prob_cover([[0.0], [0.4], [0.8], [5.0], [9.0], [9.1]], 2, radius=0.5, random_state=0)
    array([1, 5])
    """
    X = as_embeddings(X)
    n_instances = check_n_instances(n_instances, len(X))
    rng = check_rng(random_state)
    points, known = pair(X, labelled, metric)
    limit = _squared_radius(radius, metric)
    open_ = _not_covered(points, known, limit)
    balls = _Balls(points, limit)
    degree = balls.degrees(open_)
    turn = rng.permutation(points.n)  # decides between equal degrees
    picks = []
    while len(picks) < n_instances and open_.any():
        value = np.where(degree == degree.max(), turn, -1)
        pick = int(value.argmax())
        picks.append(pick)
        covered = np.flatnonzero(open_ & (balls.counts(np.array([pick])) > 0))
        open_[covered] = False
        if len(picks) < n_instances:
            degree -= balls.counts(covered)
    if len(picks) < n_instances:
        return spread_out(points, known, n_instances, picks)
    return np.array(picks)


def cover_degrees(
    X: Images, radius: float, labelled: Array = None, metric: str = "euclidean"
) -> np.ndarray:
    """How many uncovered points lie within `radius` of each, what `prob_cover` ranks by.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    radius : float
        Above 0.
    labelled : array-like of shape (n_labelled, n_features) or None, default=None
    metric : {"euclidean", "cosine"}, default="euclidean"

    Returns
    -------
    degree : ndarray of shape (n_samples,), int

    Examples
    --------
    >>> cover_degrees([[0.0], [0.4], [0.8], [5.0]], radius=0.5)
    array([2, 3, 2, 1])
    >>> cover_degrees([[0.0], [0.4], [0.8], [5.0]], radius=0.5, labelled=[[0.0]])
    array([0, 1, 1, 1])
    """
    points, known = pair(as_embeddings(X), labelled, metric)
    limit = _squared_radius(radius, metric)
    return _Balls(points, limit).degrees(_not_covered(points, known, limit))


def _squared_radius(radius, metric):
    if not (np.isscalar(radius) and radius == np.inf):
        check_number("radius", radius, 0, open_low=True)
    return float(2 * radius if metric == "cosine" else radius**2)


def _not_covered(points, known, limit):
    open_ = np.ones(points.n, bool)
    if known is not None:
        near = nearest_of(points, known).astype(np.float64)
        slack = points.tolerance
        unsure = np.flatnonzero(np.abs(near - limit) <= slack)
        if len(unsure):
            near[unsure] = nearest_exact(points, known, unsure)
        open_ = near >= limit
    return open_


class _Balls:
    """Who is nearer than a radius to whom, without comparing groups that are too far apart.

    A point x of a group with centre c has no neighbour in a group with centre e whose points are at
    most r from e, unless ``|x - c| > |c - e| - r - radius``. Groups hold their points with the
    farthest from the centre first, so that those in question are the first of each.
    """

    def __init__(self, points, limit):
        self.points, self.limit = points, limit
        # What rounding may add to a distance.
        self.radius = np.sqrt(limit) + np.sqrt(points.tolerance)
        n_groups = min(MAX_GROUPS, max(1, points.n // GROUP_SIZE))
        rng = np.random.default_rng(0)  # of speed, not of what is found
        centres = start_centres([points], n_groups, None, rng)
        centres, self.groups = lloyd([points], centres, n_groups, max_iter=1)
        self.away = np.sqrt(sq_to_own([points], centres, self.groups))
        self.order = np.lexsort((-self.away, self.groups))
        self.ends = np.searchsorted(self.groups[self.order], np.arange(n_groups + 1))
        self.reach = np.zeros(n_groups)
        np.maximum.at(self.reach, self.groups, self.away)
        centres = np.nan_to_num(centres)  # empty groups
        sq = np.einsum("ij,ij->i", centres, centres)
        self.apart = np.sqrt(squared(centres, sq, centres, sq))

    def degrees(self, open_):
        """For each point, how many of those that are open are within the radius."""
        counts = np.zeros(self.points.n, np.int64)
        for group in range(len(self.reach)):
            mine = self.order[self.ends[group] : self.ends[group + 1]]
            for others, i, j in self._neighbours(group, mine, group):
                counts[others] += np.bincount(i[open_[mine[j]]], minlength=len(others))
                later = open_[others[i]] & (self.groups[others[i]] != group)
                counts[mine] += np.bincount(j[later], minlength=len(mine))
        return counts

    def counts(self, positions):
        """For each point, how many of `positions` are within the radius."""
        counts = np.zeros(self.points.n, np.int64)
        groups = self.groups[positions]
        for group in np.unique(groups):
            mine = positions[groups == group]
            for start in range(0, len(mine), CHUNK):
                some = mine[start : start + CHUNK]
                for others, i, _ in self._neighbours(group, some):
                    counts[others] += np.bincount(i, minlength=len(others))
        return counts

    def _neighbours(self, group, mine, first=0):
        """Triples (others, i, j): ``others[i]`` and ``mine[j]`` are neighbours.

        `mine` are some of the points of a group, others those of that `first` and of later groups.
        """
        if not len(mine):
            return
        least = self.apart[group] - self.away[mine].max() - self.radius
        found = []
        for other in range(first, len(self.reach)):
            if least[other] < self.reach[other]:
                those = self.order[self.ends[other] : self.ends[other + 1]]
                n = np.searchsorted(-self.away[those], -least[other], side="left")
                found.append(those[:n])
        found = np.concatenate(found)
        centres, centres_sq = self.points.rows(mine), self.points.sq[mine]
        step = block_rows(self.points.width, self.points.dtype)
        for start in range(0, len(found), step):
            others = found[start : start + step]
            yield others, *self._pairs(others, mine, centres, centres_sq)

    def _pairs(self, others, mine, centres, centres_sq):
        points, slack = self.points, self.points.tolerance
        away = points.rows(others) @ (-2 * centres).T
        away += centres_sq
        most = self.limit + slack - points.sq[others]
        i, j = np.divmod(np.flatnonzero(away < most[:, None]), len(mine))
        if not np.isfinite(self.limit):
            return i, j
        near = away[i, j] + points.sq[others[i]]
        inside = near < self.limit - slack
        unsure = np.flatnonzero(~inside)  # rounding may have decided
        step = max(1, BLOCK_BYTES // (8 * points.width))
        for start in range(0, len(unsure), step):
            some = unsure[start : start + step]
            gap = points.exact(others[i[some]]) - points.exact(mine[j[some]])
            inside[some] = np.einsum("ij,ij->i", gap, gap) < self.limit
        return i[inside], j[inside]


def purity_radius(X: Images, groups: Array, purity: float = 0.95, metric: str = "euclidean") -> Any:
    """The largest radius at which balls hold one group alone, the rule of ProbCover [1]_.

    A ball around a point is pure if all points nearer than the radius are of its group; the share
    of pure balls falls as the radius grows. As published the radius is looked for on a grid; here
    it is exact, since a ball is pure up to the distance of the nearest point of another group.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    groups : array-like of shape (n_samples,)
        As published, k-means clusters, as many as there are classes.
    purity : float in (0, 1], default=0.95
        Share of balls that must be pure.
    metric : {"euclidean", "cosine"}, default="euclidean"

    Returns
    -------
    radius : float
        Infinite if there is one group alone.

    Raises
    ------
    TypeError, ValueError
        If `purity` is out of range, or lengths differ.

    References
    ----------
    .. [1] Yehuda et al. 2022, arXiv:2205.11320, Section 3.3.

    Examples
    --------
    >>> purity_radius([[0.0], [1.0], [4.0], [5.0]], [0, 0, 1, 1], purity=1.0)
    3.0
    >>> purity_radius([[0.0], [1.0], [4.0], [5.0]], [0, 0, 1, 1], purity=0.5)
    4.0
    """
    X = as_embeddings(X)
    check_number("purity", purity, 0, 1, open_low=True)
    groups = np.asarray(groups)
    if groups.shape != (len(X),):
        raise ValueError(message("groups", f"of shape ({len(X)},)", groups.shape))
    if len(X) == 0:
        raise ValueError(message("X", "of at least one row", X.shape))
    _, codes = np.unique(groups, return_inverse=True)
    points = Points(X, metric)
    reach = np.full(points.n, np.inf)
    for start in range(0, points.n, CHUNK):
        some = np.arange(start, min(start + CHUNK, points.n))
        centres = points.rows(some)
        for part, rows in points.blocks():
            away = squared(rows, points.sq[part], centres, points.sq[some])
            away[codes[part, None] == codes[some]] = np.inf
            np.minimum(reach[part], away.min(axis=1), out=reach[part])
    # At most n - ceil(purity n) balls may be impure; rounding must not decide about one.
    impure = points.n - int(np.ceil(purity * points.n - 1e-9))
    return float(as_distance(np.sort(reach)[impure], metric))
