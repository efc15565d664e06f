"""Picks from where points are dense: clusters, typicality, similarity to all others."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Images, Random
from alseg.query.diversity.clustering import centres_and_groups, k_means_groups
from alseg.query.diversity.cover import as_distance, facility_location, spread_out
from alseg.query.diversity.points import (
    BLOCK_BYTES,
    CHUNK,
    KEEP_BYTES,
    Points,
    SomeRows,
    as_embeddings,
    as_labelled,
    block_rows,
    pair,
    squared,
)
from alseg.validation import check_n_instances, check_number, check_rng

TINY = 1e-5  # added to a mean distance, as published


def k_means_picks(
    X: Images,
    n_instances: int,
    weights: Array = None,
    metric: str = "euclidean",
    random_state: Random = None,
) -> np.ndarray:
    """The point nearest to the centre of each of `n_instances` k-means clusters.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite.
    n_instances : int
        In [1, n_samples].
    weights : array-like of shape (n_samples,) or None, default=None
        What each point counts in the centres, for instance its uncertainty.
    metric : {"euclidean", "cosine"}, default="euclidean"
        With the cosine, rows are brought to unit length first.
    random_state : None, int, numpy Generator or RandomState, default=None

    Returns
    -------
    picks : ndarray of shape (n_instances,), int
        The largest cluster (by weight) first, equal ones in random order. Where duplicates leave
        fewer clusters than asked for, the rest are those farthest from the picks.

    Raises
    ------
    EmptyPool
        If `X` has no row.
    TypeError, ValueError
        If `n_instances` is out of range, or the embeddings or weights are not valid.

    Examples
    --------
    >>> k_means_picks([[0.0], [1.0], [2.0], [9.0]], 2, random_state=0)
    array([1, 3])
    """
    X = as_embeddings(X)
    n_instances = check_n_instances(n_instances, len(X))
    rng = check_rng(random_state)
    groups, away = k_means_groups(X, n_instances, weights, metric, rng)
    picks = []
    for group in by_size(groups, weights, rng):
        members = np.flatnonzero(groups == group)
        picks.append(int(members[away[members].argmin()]))
    return fill_up(X, n_instances, picks, metric)


def by_size(groups: Any, weights: Array = None, random_state: Any = None) -> Any:
    """Groups from the largest to the smallest, equal ones in random order.

    Examples
    --------
    >>> by_size(np.array([4, 7, 7]))
    array([7, 4])
    """
    found, codes = np.unique(groups, return_inverse=True)
    size = np.bincount(codes, weights)
    return found[np.lexsort((check_rng(random_state).permutation(len(found)), -size))]


def fill_up(
    X: Any, n_instances: int, picks: Any, metric: str = "euclidean", labelled: Any = None
) -> Any:
    """`picks`, and as many of the points farthest from them and the labelled as are missing.

    Examples
    --------
    >>> fill_up([[0.0], [1.0], [7.0]], 2, [0])
    array([0, 2])
    """
    picks = np.asarray(picks, dtype=np.intp)
    if len(picks) >= n_instances:
        return picks[:n_instances]
    points, known = pair(as_embeddings(X), labelled, metric)
    return spread_out(points, known, n_instances, picks.tolist())


def typicality(X: Images, n_neighbors: int = 20, metric: str = "euclidean") -> np.ndarray:
    """One over the mean distance to the nearest neighbours [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite.
    n_neighbors : int, default=20
        At least 1; at most all others are taken.
    metric : {"euclidean", "cosine"}, default="euclidean"
        With the cosine: the Euclidean distance of rows of unit length, as published.

    Returns
    -------
    typicality : ndarray of shape (n_samples,), float
        ``1 / (mean distance + 1e-5)``, the larger the denser; 1 for a single point.

    Raises
    ------
    TypeError, ValueError
        If the embeddings or `n_neighbors` are not valid.

    References
    ----------
    .. [1] Hacohen et al. 2022, arXiv:2202.02794, Section 3.2.

    Examples
    --------
    >>> typicality([[0.0], [1.0], [4.0]], n_neighbors=1).round(2)
    array([1.  , 1.  , 0.33])
    """
    X = as_embeddings(X)
    check_number("n_neighbors", n_neighbors, 1, integer=True)
    return _typicality(X, n_neighbors, metric)


def _typicality(X, n_neighbors, metric):
    if len(X) < 2:
        return np.ones(len(X))
    return 1 / (_mean_distance_to_nearest(Points(X, metric), n_neighbors) + TINY)


def _mean_distance_to_nearest(points, n_neighbors):
    k = min(n_neighbors, points.n - 1)
    mean = np.empty(points.n)
    step = max(1, block_rows(points.width, points.dtype))
    # Rows that are not kept are read again for each block: few and large ones, then.
    most = BLOCK_BYTES if points.kept is not None else KEEP_BYTES // 2
    step = max(1, min(step, most // (points.n * points.dtype.itemsize)))
    for start in range(0, points.n, step):
        some = np.arange(start, min(start + step, points.n))
        centres = points.rows(some)
        away = np.empty((len(some), points.n), points.dtype)
        for part, rows in points.blocks():
            away[:, part] = squared(centres, points.sq[some], rows, points.sq[part])
        away[np.arange(len(some)), some] = np.inf
        nearest = np.argpartition(away, k - 1, axis=1)[:, :k]
        away = np.take_along_axis(away, nearest, axis=1).astype(np.float64)
        # Of near duplicates the expanded square keeps no digit: take the differences.
        i, j = np.nonzero(away < 1e3 * points.tolerance)
        pairs = max(1, BLOCK_BYTES // (8 * points.width))
        for first in range(0, len(i), pairs):
            a, b = i[first : first + pairs], j[first : first + pairs]
            gap = points.exact(some[a]) - points.exact(nearest[a, b])
            away[a, b] = np.einsum("ij,ij->i", gap, gap)
        mean[some] = np.sqrt(away).mean(axis=1)
    return mean


def typiclust(
    X: Images,
    n_instances: int,
    labelled: Array = None,
    n_neighbors: int = 20,
    max_clusters: int = 500,
    min_cluster_size: int = 6,
    metric: str = "euclidean",
    random_state: Random = None,
) -> np.ndarray:
    """The most typical point of the clusters that nobody has labelled anything of [1]_.

    Points and labelled points together are put into ``min(n_labelled + n_instances,
    max_clusters)`` k-means clusters. Clusters take turns, those with the fewest labelled points
    first and the larger one of two; each gives its most typical point left, among the
    ``min(n_neighbors, points left / 2)`` nearest of them.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite.
    n_instances : int
        In [1, n_samples].
    labelled : array-like of shape (n_labelled, n_features) or None, default=None
    n_neighbors : int, default=20
    max_clusters : int, default=500
    min_cluster_size : int, default=6
        Smaller clusters are asked only when no other has a point left.
    metric : {"euclidean", "cosine"}, default="euclidean"
        With the cosine, rows are brought to unit length first (as published).
    random_state : None, int, numpy Generator or RandomState, default=None
        Of k-means.

    Returns
    -------
    picks : ndarray of shape (n_instances,), int
        Positions in `X`; of equally typical ones the first.

    Raises
    ------
    EmptyPool
        If `X` has no row.
    TypeError, ValueError
        If `n_instances` is out of range, or another argument is not valid.

    References
    ----------
    .. [1] Hacohen et al. 2022, arXiv:2202.02794, Algorithm 1.

    Examples
    --------
    >>> X = [[0.0], [1.0], [1.5], [2.0], [50.0], [51.0], [51.5], [53.0], [53.5]]
    >>> typiclust(X, 2, min_cluster_size=1, n_neighbors=2, random_state=0)
    array([5, 2])
    """
    X = as_embeddings(X)
    n = len(X)
    n_instances = check_n_instances(n_instances, n)
    labelled = as_labelled(labelled, X.shape[1])
    check_number("n_neighbors", n_neighbors, 1, integer=True)
    check_number("max_clusters", max_clusters, 1, integer=True)
    check_number("min_cluster_size", min_cluster_size, 1, integer=True)
    rng = check_rng(random_state)
    n_labelled = 0 if labelled is None else len(labelled)
    n_clusters = min(n_labelled + n_instances, max_clusters)
    points, known = pair(X, labelled, metric, keep=False)
    sets = [points] if known is None else [points, known]
    _, groups = centres_and_groups(sets, n_clusters, None, rng)
    return typical_of_groups(
        X, groups[:n], n_instances, groups[n:], n_neighbors, min_cluster_size, metric
    )


def typical_of_groups(
    X: Images,
    groups: Array,
    n_instances: int,
    labelled_groups: Array = (),
    n_neighbors: int = 20,
    min_cluster_size: int = 6,
    metric: str = "euclidean",
) -> np.ndarray:
    """What `typiclust` picks, given the clusters.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    groups : ndarray of shape (n_samples,), int
    n_instances : int
    labelled_groups : ndarray of shape (n_labelled,), int
        Clusters of the labelled points.
    n_neighbors, min_cluster_size : int
    metric : {"euclidean", "cosine"}, default="euclidean"

    Returns
    -------
    picks : ndarray of shape (n_instances,), int

    Examples
    --------
    >>> X = [[0.0], [1.0], [1.5], [9.0]]
    >>> typical_of_groups(X, np.array([0, 0, 0, 1]), 2, min_cluster_size=1)
    array([1, 3])
    """
    X = as_embeddings(X)
    found, codes = np.unique(np.concatenate([groups, labelled_groups]), return_inverse=True)
    codes, known = codes[: len(X)], codes[len(X) :]
    n_known = np.bincount(known, minlength=len(found))
    size = np.bincount(codes, minlength=len(found)) + n_known
    small = size < min_cluster_size
    order = np.lexsort((-size, n_known, small))
    members = {c: np.flatnonzero(codes == c) for c in order}
    picks = []
    for some in (order[~small[order]], order[small[order]]):
        while len(picks) < n_instances and any(len(members[c]) for c in some):
            for c in some:
                left = members[c]
                if len(picks) == n_instances or not len(left):
                    continue
                k = max(1, min(n_neighbors, len(left) // 2))
                best = int(_typicality(SomeRows(X, left), k, metric).argmax())
                picks.append(int(left[best]))
                members[c] = np.delete(left, best)
    return np.array(picks, dtype=np.intp)


def density(X: Images, metric: str = "cosine") -> np.ndarray:
    """Information density: mean similarity to all points [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite.
    metric : {"cosine", "euclidean"}, default="cosine"
        Similarity ``(1 + cos) / 2``, whose mean costs one pass; or ``1 / (1 + distance)``, which
        costs all pairs. A zero row has similarity 1/2 with all that have a direction.

    Returns
    -------
    density : ndarray of shape (n_samples,), float
        In [0, 1].

    References
    ----------
    .. [1] Settles and Craven 2008, EMNLP, Eq. 13.

    Examples
    --------
    >>> density([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]).round(3)
    array([0.833, 0.833, 0.667])
    >>> density([[0.0], [1.0]], metric="euclidean")
    array([0.75, 0.75])
    """
    X = as_embeddings(X)
    points = Points(X, metric)
    result = np.zeros(points.n)
    if metric == "cosine":
        for part in points.parts():
            result[part] = (1 + points.exact(part) @ points.mean) / 2
        return np.clip(result, 0, 1)
    for part, rows in points.blocks():
        for other, columns in points.blocks():
            away = squared(rows, points.sq[part], columns, points.sq[other])
            result[part] += (1 / (1 + np.sqrt(away))).sum(axis=1, dtype=np.float64)
    return result / max(points.n, 1)


def farthest_of_groups(
    X: Images, n_instances: int, metric: str = "euclidean", random_state: Random = None
) -> np.ndarray:
    """The two points farthest apart in each of ``n_instances / 2`` k-means clusters (FPS) [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite.
    n_instances : int
        In [1, n_samples]. If it is odd the smallest cluster gives one point.
    metric : {"euclidean", "cosine"}, default="euclidean"
        With the cosine, rows are brought to unit length first.
    random_state : None, int, numpy Generator or RandomState, default=None

    Returns
    -------
    picks : ndarray of shape (n_instances,), int
        Largest cluster first. What clusters of one point leave open is filled by the points
        farthest from the picks.

    References
    ----------
    .. [1] MedCAL-Bench 2025, arXiv:2508.03441.

    Examples
    --------
    >>> X = [[0.0], [1.0], [2.0], [3.0], [90.0], [91.0], [92.0]]
    >>> sorted(farthest_of_groups(X, 4, random_state=0).tolist())
    [0, 3, 4, 6]
    """
    X = as_embeddings(X)
    n_instances = check_n_instances(n_instances, len(X))
    rng = check_rng(random_state)
    groups, _ = k_means_groups(X, (n_instances + 1) // 2, metric=metric, random_state=rng)
    picks = []
    for group in by_size(groups, None, rng):
        members = np.flatnonzero(groups == group)
        picks += [int(i) for i in members[_farthest_pair(Points(SomeRows(X, members), metric))]]
    return fill_up(X, n_instances, picks, metric)


def _farthest_pair(points):
    """Positions of the two points farthest apart, the lower first; one, of a single point."""
    if points.n == 1:
        return np.array([0])
    best, found = -1.0, (0, 1)
    for part, rows in points.blocks():
        for other, columns in points.blocks():
            if other.start < part.start:
                continue
            for start in range(0, len(columns), CHUNK):
                some, sq = columns[start : start + CHUNK], points.sq[other][start : start + CHUNK]
                away = squared(rows, points.sq[part], some, sq)
                i, j = np.unravel_index(away.argmax(), away.shape)
                a, b = part.start + i, other.start + start + j
                if away[i, j] > best and a != b:
                    best, found = float(away[i, j]), (a, b)
    return np.sort(np.array(found))


def represent_then_spread(
    X: Images, n_instances: int, labelled: Array = None, share: float = 0.7, metric: str = "cosine"
) -> np.ndarray:
    """A share of the picks by facility location, the rest farthest from all picked (RepDiv) [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite.
    n_instances : int
        In [1, n_samples].
    labelled : array-like of shape (n_labelled, n_features) or None, default=None
    share : float in [0, 1], default=0.7
        Of the picks that represent; rounded.
    metric : {"cosine", "euclidean"}, default="cosine"

    Returns
    -------
    picks : ndarray of shape (n_instances,), int

    References
    ----------
    .. [1] MedCAL-Bench 2025, arXiv:2508.03441.

    Examples
    --------
    >>> X = [[0.0], [1.0], [2.0], [9.0], [20.0]]
    >>> represent_then_spread(X, 2, share=0.5, metric="euclidean")
    array([2, 4])
    """
    X = as_embeddings(X)
    n_instances = check_n_instances(n_instances, len(X))
    check_number("share", share, 0, 1)
    n_first = round(share * n_instances)
    picks = facility_location(X, n_first, labelled, metric) if n_first else []
    return fill_up(X, n_instances, picks, metric, labelled)


def cluster_gaps(
    X: Images,
    n_clusters: int = 100,
    labelled: Array = None,
    metric: str = "euclidean",
    random_state: Random = None,
) -> np.ndarray:
    """How much farther the second nearest k-means centre is than the nearest (BAL [1]_).

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite.
    n_clusters : int, default=100
        At most as many as there are points, labelled ones among them.
    labelled : array-like of shape (n_labelled, n_features) or None, default=None
        Clustered together with `X`.
    metric : {"euclidean", "cosine"}, default="euclidean"
    random_state : None, int, numpy Generator or RandomState, default=None
        Of k-means.

    Returns
    -------
    gap : ndarray of shape (n_samples,), float
        ``d_2 - d_1``: large deep inside a cluster, 0 between two; all 0 with a single cluster.

    Raises
    ------
    TypeError, ValueError
        If the embeddings or `n_clusters` are not valid.

    References
    ----------
    .. [1] Li et al. 2024, arXiv:2312.15944, the cluster distance difference.

    Examples
    --------
    >>> cluster_gaps([[0.0], [0.0], [4.0], [10.0], [10.0]], 2, random_state=0).round(2)
    array([8.67, 8.67, 3.33, 8.67, 8.67])
    """
    X = as_embeddings(X)
    check_number("n_clusters", n_clusters, 1, integer=True)
    points, known = pair(X, labelled, metric)
    sets = [points] if known is None else [points, known]
    centres, groups = centres_and_groups(sets, n_clusters, None, check_rng(random_state))
    centres = centres[np.bincount(groups, minlength=len(centres)) > 0].astype(points.dtype)
    if len(centres) < 2:
        return np.zeros(len(X))
    centres_sq = np.einsum("ij,ij->i", centres, centres)
    gaps = np.empty(len(X))
    for part, rows in points.blocks():
        away = as_distance(squared(rows, points.sq[part], centres, centres_sq), metric)
        nearest = np.partition(away, 1, axis=1)
        gaps[part] = nearest[:, 1] - nearest[:, 0]
    return gaps
