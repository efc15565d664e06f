"""Ranking: from scores to positions in the pool. The only place that ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Random
from alseg.labels import as_labels, label_codes, label_strata, missing_labels, one_an_image
from alseg.validation import check_n_instances, check_option, check_rng, message

NOISES = ("power", "softmax", "softrank")


def _check_scores(scores):
    """`scores` as a finite float vector; NaN is an error of the score, never repaired here."""
    scores = scores.detach().cpu() if hasattr(scores, "detach") else scores
    scores = np.asarray(scores)
    if scores.ndim != 1:
        raise ValueError(message("scores", "of shape (n_samples,)", scores.shape))
    if scores.dtype.kind not in "fiub":
        raise TypeError(message("scores", "numbers", str(scores.dtype)))
    scores = scores.astype(float)
    finite = np.isfinite(scores)
    if not finite.all():
        found = f"{(~finite).sum()} non-finite of {len(scores)}"
        where = f"The first is at position {int(np.argmin(finite))}."
        raise ValueError(f"scores must be finite, got {found}. {where}")
    return scores


def _ranked(scores, rng):
    """Positions from the largest score to the smallest, ties in random order."""
    return np.lexsort((rng.permutation(len(scores)), -scores))


def top_n(scores: Array, n_instances: int, random_state: Random = None) -> np.ndarray:
    """Positions of the largest scores, best first.

    Parameters
    ----------
    scores : array-like or torch.Tensor of shape (n_samples,), float
        Finite; larger is more worth asking.
    n_instances : int
        How many, in [1, n_samples].
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal scores; the global state is not touched.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Raises
    ------
    EmptyPool
        If there are no scores.
    TypeError, ValueError
        If `n_instances` is no integer in range, or `scores` are not finite.

    Examples
    --------
    >>> top_n([0.1, 0.9, 0.5], 2)
    array([1, 2])
    """
    scores = _check_scores(scores)
    n_instances = check_n_instances(n_instances, len(scores))
    return _ranked(scores, check_rng(random_state))[:n_instances]


def _check_labels(y_pool, n_pool):
    """Classes, those without one being one more: positions (n_pool,), and their number."""
    if y_pool is None:
        remedy = "Pass the class labels of the pool, one an image."
        raise ValueError(message("y_pool", f"labels of shape ({n_pool},)", None, remedy))
    y_pool = as_labels(y_pool)
    if not one_an_image(y_pool, n_pool):
        raise ValueError(message("y_pool", f"labels of shape ({n_pool},)", y_pool.shape))
    codes = label_strata(y_pool)
    return codes, codes.max(initial=-1) + 1


def class_quotas(y_pool: Array, n_instances: int, random_state: Random = None) -> Any:
    """How many images of each class to ask for, so that the classes share alike.

    Each of the classes that still have images gets ``n_instances // n_classes`` [1]_; one with
    too few gives all it has, and the others share the rest. What cannot be shared alike goes to
    classes drawn at random, at most one more each, so that the sum is `n_instances` exactly
    (as published it may differ).

    Parameters
    ----------
    y_pool : array-like of shape (n_pool,)
        Class label of each image of the pool.
    n_instances : int
        In [1, n_pool].
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides who gets the remainder.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        The distinct labels, sorted. Images without a label are one more class, the last.
    counts : ndarray of shape (n_classes,), int
        Summing to `n_instances`, none above the images of its class.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in range, or `y_pool` not a vector of labels.

    References
    ----------
    .. [1] Belharbi et al. 2021, arXiv:2010.04889.

    Examples
    --------
    >>> classes, counts = class_quotas(["a", "a", "a", "a", "b"], 4)
    >>> classes.tolist(), counts.tolist()
    (['a', 'b'], [3, 1])
    """
    n_instances = check_n_instances(n_instances, len(y_pool))
    codes, n_classes = _check_labels(y_pool, len(y_pool))
    rng = check_rng(random_state)
    left = np.bincount(codes, minlength=n_classes)
    counts = np.zeros(n_classes, dtype=np.intp)
    while (open_ := np.flatnonzero(left > 0)).size and (rest := n_instances - counts.sum()) > 0:
        share = np.full(len(open_), rest // len(open_))
        if share[0] == 0:
            open_ = rng.choice(open_, size=rest, replace=False)
            share = np.ones(rest, dtype=int)
        share = np.minimum(share, left[open_])
        counts[open_] += share
        left[open_] -= share
    classes, y_pool = label_codes(y_pool)[0], as_labels(y_pool)
    if n_classes > len(classes):
        missing = y_pool[missing_labels(y_pool)][:1]
        classes = np.concatenate([classes.astype(y_pool.dtype), missing])
    return classes, counts


def class_balanced_top_n(
    scores: Array, y_pool: Array, n_instances: int, random_state: Random = None
) -> np.ndarray:
    """Positions of the largest scores of each class, the classes sharing alike.

    The classes take turns: in each turn every class that has images left gives its best one, and
    within a turn the better score comes first. Of ``n_instances`` each class therefore gives
    ``n_instances // n_classes`` [1]_ or all it has, and a last turn that is not complete goes to
    the classes with the best image left.

    Parameters
    ----------
    scores : array-like or torch.Tensor of shape (n_pool,), float
        Finite; larger is more worth asking.
    y_pool : array-like of shape (n_pool,)
        Class label of each image of the pool.
    n_instances : int
        In [1, n_pool].
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal scores.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Any beginning of it is as balanced as it can be.

    Raises
    ------
    EmptyPool
        If there are no scores.
    TypeError, ValueError
        If `n_instances` is no integer in range, `scores` are not finite, or `y_pool` does not
        have a label for each.

    References
    ----------
    .. [1] Belharbi et al. 2021, arXiv:2010.04889.

    Examples
    --------
    >>> class_balanced_top_n([0.9, 0.8, 0.7, 0.1], ["a", "a", "a", "b"], 3)
    array([0, 3, 1])
    """
    scores = _check_scores(scores)
    n_instances = check_n_instances(n_instances, len(scores))
    codes, _ = _check_labels(y_pool, len(scores))
    order = _ranked(scores, check_rng(random_state))
    return interleave(order, codes[order])[:n_instances]


def interleave(order: Array, codes: Array) -> Any:
    """`order` with its classes taking turns; within a turn the order is kept.

    Parameters
    ----------
    order : ndarray of shape (n,), int
        Positions, best first.
    codes : ndarray of shape (n,), int
        Class of each, aligned with `order`.

    Returns
    -------
    ndarray of shape (n,), int

    Examples
    --------
    >>> interleave(np.array([5, 3, 4, 9]), np.array([0, 0, 0, 1]))
    array([5, 9, 3, 4])
    """
    turn = np.empty(len(order), dtype=np.intp)
    for c in np.unique(codes):
        mine = np.flatnonzero(codes == c)
        turn[mine] = np.arange(len(mine))
    return order[np.argsort(turn, kind="stable")]


def stochastic_top_n(
    scores: Array,
    n_instances: int,
    beta: float = 1.0,
    kind: str = "power",
    random_state: Random = None,
) -> np.ndarray:
    """Positions drawn one by one without replacement, better scores more likely [1]_.

    The next position is i with a chance in proportion to ``s_i ** beta`` ("power"),
    ``exp(beta * s_i)`` ("softmax") or ``rank_i ** -beta`` ("softrank", the best having rank 1),
    among those left. It costs as much as `top_n`: the logarithms are ranked with Gumbel noise
    added, which is the same [2]_.

    Parameters
    ----------
    scores : array-like or torch.Tensor of shape (n_samples,), float
        Finite; not negative for "power", where a score of 0 is drawn after all others.
    n_instances : int
        How many, in [1, n_samples].
    beta : float, default=1.0
        0 draws at random, infinity gives `top_n`.
    kind : {"power", "softmax", "softrank"}, default="power"
    random_state : None, int, numpy Generator or RandomState, default=None

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        In the order drawn.

    Raises
    ------
    EmptyPool
        If there are no scores.
    TypeError, ValueError
        If `n_instances` is no integer in range, `beta` is negative or NaN, `scores` are not
        finite, or negative for "power".

    References
    ----------
    .. [1] Kirsch et al. 2023, Stochastic batch acquisition, arXiv:2106.12059.
    .. [2] Kool et al. 2019, Stochastic beams and where to find them, arXiv:1903.06059.

    Examples
    --------
    >>> stochastic_top_n([0.1, 0.9, 0.5], 2, beta=float("inf"))
    array([1, 2])
    >>> sorted(stochastic_top_n([0.1, 0.9, 0.5], 3, random_state=0).tolist())
    [0, 1, 2]
    """
    scores = _check_scores(scores)
    n_instances = check_n_instances(n_instances, len(scores))
    check_option("kind", kind, NOISES)
    if isinstance(beta, (str, bool)) or not np.isscalar(beta):
        raise TypeError(message("beta", "a number", beta))
    if not beta >= 0:  # type: ignore[operator]
        raise ValueError(message("beta", ">= 0", beta))
    if kind == "power" and (scores < 0).any():
        remedy = "Take kind='softmax' or 'softrank'."
        raise ValueError(message("scores", ">= 0 for kind='power'", scores.min(), remedy))
    rng = check_rng(random_state)
    if beta == np.inf:
        return _ranked(scores, rng)[:n_instances]
    if kind == "softmax":
        logs = scores
    elif kind == "softrank":
        logs = np.empty(len(scores))
        logs[_ranked(scores, rng)] = -np.log(np.arange(1, len(scores) + 1))
    else:
        with np.errstate(divide="ignore"):
            logs = np.log(scores)  # -inf at 0: after all others
    noisy = rng.gumbel(size=len(scores)) + (beta * logs if beta else 0)
    return _ranked(noisy, rng)[:n_instances]


def shares(weights: Array, n_instances: int, random_state: Random = None) -> np.ndarray:
    """`n_instances` split in proportion to weights.

    Each gets the whole part of its share; what is left goes to some of them, one each, drawn in
    proportion to their fractions, so that the shares are right on average even of one instance.

    Parameters
    ----------
    weights : array-like of shape (n,), float
        Finite, not negative, not all 0.
    n_instances : int
    random_state : None, int, numpy Generator or RandomState, default=None

    Returns
    -------
    counts : ndarray of shape (n,), int
        Summing to `n_instances`.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, or all are 0.

    Examples
    --------
    >>> shares([10, 15, 10], 7)
    array([2, 3, 2])
    """
    weights = _check_scores(weights)
    if (weights < 0).any() or weights.sum() == 0:
        raise ValueError(message("weights", ">= 0 and not all 0", weights.tolist()))
    exact = weights / weights.sum() * n_instances
    # What rounding makes of a whole number is that number.
    counts = np.floor(exact + 1e-9).astype(np.intp)
    rest = n_instances - counts.sum()
    if rest > 0:
        fractions = np.clip(exact - counts, 1e-12, None) * (weights > 0)
        counts[stochastic_top_n(fractions, int(rest), random_state=random_state)] += 1
    return counts
