"""CEAL's groups of a pool by how unsure the model is, and its counts of pseudo-labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from alseg._types import Array, Images, Masks, Random
from alseg.query.selection import top_n
from alseg.validation import check_keys, check_n_instances, check_number, check_rng, message

N_BINS = 80


@dataclass(frozen=True)
class CEALSchedule:
    """How many pseudo-labels there are at which number of annotated images, as published [1]_.

    The iteration is counted by what is annotated, so that it is known after a restart too.

    Parameters
    ----------
    n_initial : int, default=600
        Annotated images before the first iteration.
    n_per_round : int, default=35
        Annotated in each iteration.
    start : int, default=5
        The first iteration with pseudo-labels.
    n_first : int, default=20
        Pseudo-labels in that iteration.
    growth : int, default=20
        How many more in each iteration after it.

    References
    ----------
    .. [1] Gorriz et al. 2017, arXiv:1711.09168.

    Examples
    --------
    >>> schedule = CEALSchedule()
    >>> [schedule.n_pseudo(600 + 35 * iteration) for iteration in (1, 4, 5, 6, 10)]
    [0, 0, 20, 40, 120]
    """

    n_initial: int = 600
    n_per_round: int = 35
    start: int = 5
    n_first: int = 20
    growth: int = 20

    def __post_init__(self):
        check_number("n_initial", self.n_initial, 0, integer=True)
        check_number("n_per_round", self.n_per_round, 1, integer=True)
        for name in ("start", "n_first", "growth"):
            check_number(name, getattr(self, name), 0, integer=True)

    def iteration(self, n_annotated: Any) -> Any:
        """The iteration that a number of annotated images belongs to; 0 before the first."""
        return max(0, (n_annotated - self.n_initial) // self.n_per_round)

    def n_pseudo(self, n_annotated: Any) -> Any:
        """Pseudo-labels to be used when so many images are annotated."""
        since = self.iteration(n_annotated) - self.start
        return 0 if since < 0 else self.n_first + self.growth * since


def as_schedule(schedule: Any) -> Any:
    """A `CEALSchedule` of one, of a dict of its arguments, or of None: the published one."""
    if schedule is None or isinstance(schedule, CEALSchedule):
        return schedule or CEALSchedule()
    known = CEALSchedule.__dataclass_fields__
    return CEALSchedule(**check_keys("schedule", schedule, known, "None, a CEALSchedule"))


def histogram_bins(scores: Array, n_bins: int = N_BINS) -> Any:
    """The bin of each score, of `n_bins` equal ones from the smallest to the largest.

    Parameters
    ----------
    scores : ndarray of shape (n,), float
    n_bins : int, default=80

    Returns
    -------
    bins : ndarray of shape (n,), int
        In [0, n_bins - 1]; all in the first where all scores are equal.

    Examples
    --------
    >>> histogram_bins(np.array([0.0, 0.4, 1.0]), 2)
    array([0, 0, 1])
    """
    low, high = scores.min(), scores.max()
    if not high > low:
        return np.zeros(len(scores), dtype=np.intp)
    edges = np.linspace(low, high, n_bins + 1)
    return np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, n_bins - 1)


def group_counts(n_instances: int, groups: Array = (10, 15, 10)) -> np.ndarray:
    """`n_instances` in proportion to the groups: no detection, random, most uncertain.

    Parameters
    ----------
    n_instances : int
    groups : sequence of 3 numbers, default=(10, 15, 10)
        The published numbers, of 35 in an iteration. What cannot be shared goes to the largest
        remainders, of equal ones to the most uncertain first, then to no detection.

    Returns
    -------
    counts : ndarray of shape (3,), int

    Raises
    ------
    ValueError
        If `groups` are not three numbers of at least 0, not all 0.

    Examples
    --------
    >>> group_counts(35), group_counts(7), group_counts(1)
    (array([10, 15, 10]), array([2, 3, 2]), array([0, 1, 0]))
    """
    values = np.asarray(groups, dtype=float)
    if values.shape != (3,) or not (values >= 0).all() or not 0 < values.sum() < np.inf:
        raise ValueError(message("groups", "3 numbers >= 0, not all 0", groups))
    exact = values / values.sum() * n_instances
    counts = np.floor(exact + 1e-9).astype(np.intp)
    remainder = np.round(exact - counts, 9)
    order = np.lexsort(([1, 2, 0], -remainder))
    counts[order[: n_instances - counts.sum()]] += 1
    return counts


def ceal_groups(
    scores: Array,
    empty: Array,
    n_instances: int,
    groups: Array = (10, 15, 10),
    n_bins: int = N_BINS,
    random_state: Random = None,
) -> Any:
    """Whom to ask: images without a detection, some at random, and the most uncertain [1]_.

    The bounds of [1]_ are for 80 bins and are scaled to `n_bins`. With m the fullest bin of the
    histogram of scores:

    - no detection: those with an empty prediction, then the lowest scores;
    - most uncertain: from the last 5 bins, the emptiest first, until there are enough, drawn at
      random from the last of them;
    - random: alike from bins m + 6 to 46.

    No image is in two groups (in the released code it can be). Where a group finds too few, the
    most uncertain group takes the highest scores left, and the random one any image left.

    Parameters
    ----------
    scores : array-like of shape (n_pool,), float
        Doubt, finite.
    empty : array-like of shape (n_pool,), bool
        Whether nothing was detected in the image.
    n_instances : int
    groups : sequence of 3 numbers, default=(10, 15, 10)
        Shares of the groups, see `group_counts`.
    n_bins : int, default=80
    random_state : None, int, numpy Generator or RandomState, default=None

    Returns
    -------
    no_detection, random, most_uncertain : ndarrays of int
        Positions in the pool, together `n_instances`.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an argument is not valid.

    References
    ----------
    .. [1] Gorriz et al. 2017, arXiv:1711.09168, and its released code.

    Examples
    --------
    >>> scores = np.linspace(0, 1, 100) ** 2
    >>> parts = ceal_groups(scores, scores == 0, 7, random_state=0)
    >>> [len(part) for part in parts], sorted(parts[0].tolist())
    ([2, 3, 2], [0, 1])
    """
    scores, empty, rng = _checked(scores, empty, random_state)
    n_instances = check_n_instances(n_instances, len(scores))
    check_number("n_bins", n_bins, 5, integer=True)
    n_none, n_random, n_most = group_counts(n_instances, groups)
    order = rng.permutation(len(scores))  # decides between equal ones
    bins = histogram_bins(scores, n_bins)
    counts = np.bincount(bins, minlength=n_bins)

    by_doubt = order[np.lexsort((scores[order], ~empty[order]))]
    none = by_doubt[:n_none]
    open_ = np.ones(len(scores), bool)
    open_[none] = False

    most = []
    tail = np.arange(n_bins - 5, n_bins)
    for b in tail[np.argsort(counts[tail], kind="stable")]:
        if len(most) >= n_most:
            break
        most.extend(rng.permutation(np.flatnonzero(open_ & (bins == b))))
    # Shuffled as a whole, as published: an emptier bin is looked at first, not preferred.
    most = rng.permutation(np.array(most, dtype=np.intp))[:n_most]
    open_[most] = False
    if len(most) < n_most:
        left = order[open_[order]]
        more = left[np.argsort(-scores[left], kind="stable")][: n_most - len(most)]
        most = np.concatenate([most, more])
        open_[more] = False
    most = most[np.argsort(-scores[most], kind="stable")]

    low, high = counts.argmax() + round(6 * n_bins / N_BINS), round(47 * n_bins / N_BINS)
    some = rng.permutation(np.flatnonzero(open_ & (bins >= low) & (bins < high)))[:n_random]
    open_[some] = False
    if len(some) < n_random:
        more = rng.permutation(np.flatnonzero(open_))[: n_random - len(some)]
        some = np.concatenate([some, more])
    return none, some, most


def pseudo_group(
    scores: Array, empty: Array, n: int, n_bins: int = N_BINS, random_state: Random = None
) -> np.ndarray:
    """Whom to trust: at most n images at random from the fullest bin of doubt.

    Images in which nothing was detected are left out, also of the question which bin is the
    fullest: as published, it may well be that of the undetected, and a missed object becomes an
    empty pseudo-mask.

    Parameters
    ----------
    scores : array-like of shape (n_pool,), float
    empty : array-like of shape (n_pool,), bool
    n : int
        At least 0. There may be fewer.
    n_bins : int, default=80
        Of the histogram over all scores.
    random_state : None, int, numpy Generator or RandomState, default=None

    Returns
    -------
    positions : ndarray of int, ascending

    Examples
    --------
    >>> scores = np.array([0, 0, 0, 0, 0.2, 0.21, 0.9])
    >>> pseudo_group(scores, scores == 0, 5, n_bins=10)
    array([4, 5])
    """
    check_number("n", n, 0, integer=True)
    check_number("n_bins", n_bins, 1, integer=True)
    scores, empty, rng = _checked(scores, empty, random_state)
    if n == 0 or empty.all():
        return np.empty(0, dtype=np.intp)
    bins = histogram_bins(scores, n_bins)
    fullest = np.bincount(bins[~empty], minlength=n_bins).argmax()
    inside = np.flatnonzero((bins == fullest) & ~empty)
    return np.sort(rng.permutation(inside)[:n])


def _checked(scores, empty, random_state):
    rng = check_rng(random_state)
    scores = np.asarray(scores, dtype=float)
    if len(scores):
        top_n(scores, 1, 0)  # its checks: a vector, finite
    empty = np.asarray(empty)
    if empty.shape != scores.shape or empty.dtype != bool:
        rule = f"bool of shape {scores.shape}"
        raise ValueError(message("empty", rule, (empty.dtype.name, empty.shape)))
    return scores, empty, rng


def doubt(maps: Array, masks: Masks, n_draws: int, reduce: str = "mean") -> Any:
    """Variance weighted by the depth inside the predicted object, the mean of ``V T`` [1]_.

    T is the Euclidean distance to the background of the *binarised deterministic* prediction,
    scaled to [0, 1] in each image; the released code takes that of the last stochastic draw,
    which is nowhere 0. It is 0 for an image without a contour.

    Parameters
    ----------
    maps : sequence of arrays of shape (H, W), float
        Unbiased variance over the draws.
    masks : sequence of arrays of shape (H, W), int
        Predicted classes; above 0 is foreground.
    n_draws : int
        Turns the unbiased variance into that of the population, as published.
    reduce : {"mean", "sum"}, default="mean"
        Over the pixels. The paper sums over images of one size, which orders them as the mean does;
        where sizes differ the sum favours large ones.

    Returns
    -------
    score : ndarray of shape (n,), float
    empty : ndarray of shape (n,), bool
        Whether no pixel was predicted foreground.

    References
    ----------
    .. [1] Gorriz et al. 2017, arXiv:1711.09168.

    Examples
    --------
    >>> doubt([np.ones((1, 5))], [np.array([[0, 1, 1, 1, 0]])], n_draws=2, reduce="sum")
    (array([1.]), array([False]))
    """
    from alseg.query.aggregation import distance_weighted

    scores, empty = [], []
    for values, mask in zip(maps, masks, strict=True):
        values, inside = np.asarray(values, dtype=float), np.asarray(mask) > 0
        if values.shape != inside.shape:
            rule = f"of the size of the masks, {inside.shape}"
            raise ValueError(message("maps", rule, values.shape))
        proba = np.stack([~inside, inside]).astype(float)
        total = distance_weighted(values[None], proba[None])[0] * (n_draws - 1) / n_draws
        scores.append(total if reduce == "sum" else total / values.size)
        empty.append(not inside.any())
    return np.array(scores, dtype=float), np.array(empty, dtype=bool)


def predicted_doubt(
    estimator: Array,
    images: Images,
    n_draws: int = 20,
    random_state: Random = None,
    reduce: str = "mean",
    chunk: int = 16,
    masks_of: Any = None,
) -> Any:
    """`doubt` of a pool, a chunk of images at a time.

    Parameters
    ----------
    estimator : object with `predict_uncertainty` and `predict_masks`
    images : what `as_images` gives
    n_draws : int, default=20
        At least 2.
    random_state : None or int
        Of the draws, the same for each chunk.
    reduce : {"mean", "sum"}, default="mean"
    chunk : int, default=16
    masks_of : callable ``f(estimator, images) -> masks``, or None, default=None
        None is the estimator's `predict_masks`.

    Returns
    -------
    score : ndarray of shape (n,), float
    empty : ndarray of shape (n,), bool

    Examples
    --------
    >>> from alseg.images import as_images
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> score, empty = predicted_doubt(ToySegmenter(), as_images(toy_images(3)), random_state=0)
    >>> score.shape, empty.tolist()
    ((3,), [False, False, True])
    """
    check_number("n_draws", n_draws, 2, integer=True)
    for name in ("predict_uncertainty", *(["predict_masks"] if masks_of is None else [])):
        if not hasattr(estimator, name):
            raise TypeError(message("estimator", f"with `{name}`", estimator))
    find = masks_of if masks_of is not None else lambda model, X: model.predict_masks(X)
    scores, empties = [np.empty(0)], [np.empty(0, bool)]
    for start in range(0, len(images), chunk):
        part = images.take(np.arange(start, min(start + chunk, len(images))))
        _, maps = estimator.predict_uncertainty(
            part,
            method="mc_variance",
            return_maps=True,
            n_draws=n_draws,
            random_state=random_state,
        )
        score, empty = doubt(maps, find(estimator, part), n_draws, reduce)
        scores.append(score)
        empties.append(empty)
    return np.concatenate(scores), np.concatenate(empties)
