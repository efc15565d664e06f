"""Sharing the questions alike among the classes: image labels are known for the whole pool."""

import numpy as np

from alseg.calling import accepts, call, check_query_idx, name_of
from alseg.labels import as_labels, label_strata, one_an_image
from alseg.query import class_balanced_top_n, class_quotas, interleave
from alseg.rows import n_rows
from alseg.rows import retrieve_rows as rows
from alseg.strategies._shared import check_pool, check_shape
from alseg.strategies.around_others import check_callable, named
from alseg.strategies.at_random import random_score
from alseg.validation import check_rng, message, seed_of


def class_balanced_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    y_pool=None,
    masks_pool=None,
    groups_pool=None,
    score=random_score,
):
    """Ask about the best images of each class, the classes sharing alike [1]_.

    Parameters
    ----------
    learner : estimator or learner
        What `score` needs.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides what is random in `score`, between equal scores, and, around a strategy, which
        classes get what cannot be shared alike.
    y_pool : array-like of shape (n_pool,)
        Class label of each image of the pool; those without one are one more class.
        `ActiveLearner` passes it in mask mode.
    masks_pool : sequence of n_pool masks and None, or None, default=None
        For a `score` that names it. `ActiveLearner` passes it in mask mode.
    groups_pool : array-like of shape (n_pool,) or None, default=None
        For a strategy that names it.
    score : callable, default=random_score
        A score ``f(learner, X_pool) -> (n_pool,)``, computed once for the whole pool; or a
        strategy ``f(learner, X_pool, n_instances=...)``, applied to each class's part of it.
        Which one is told by its parameter `n_instances`.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        The classes take turns, so that any beginning of it is balanced.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], `y_pool` does not give a label for each
        image, `score` is not callable, or a strategy does not give as many as asked.

    References
    ----------
    .. [1] Belharbi et al. 2021, arXiv:2010.04889.

    Examples
    --------
    >>> y_pool = np.array(["a", "a", "a", "b"])
    >>> idx = class_balanced_sampling(None, list(range(4)), 2, random_state=0, y_pool=y_pool)
    >>> sorted(y_pool[idx].tolist())
    ['a', 'b']
    """
    n_instances = check_pool(X_pool, n_instances)
    n_pool = n_rows(X_pool)
    check_callable("score", score)
    rng = check_rng(random_state)
    classes, counts = class_quotas(_labels(y_pool, n_pool), n_instances, rng)
    strata = label_strata(y_pool)
    if not accepts(score, "n_instances"):
        offered = {
            "random_state": seed_of(random_state, rng),
            "y_pool": y_pool,
            "masks_pool": masks_pool,
        }
        scores = call(score, learner, X_pool, **offered)
        return class_balanced_top_n(check_shape(scores, n_pool), y_pool, n_instances, rng)
    picked, codes, whose = [], [], f"the result of {name_of(score)}"
    for c in rng.permutation(len(classes)):  # no class is always the first of a turn
        if counts[c] == 0:
            continue
        mine = np.flatnonzero(strata == c)
        result = call(
            score,
            learner,
            rows(X_pool, mine),
            n_instances=int(counts[c]),
            random_state=seed_of(random_state, rng),
            y_pool=as_labels(y_pool)[mine],
            masks_pool=None if masks_pool is None else [masks_pool[i] for i in mine],
            groups_pool=None if groups_pool is None else np.asarray(groups_pool)[mine],
        )
        picked.append(mine[check_query_idx(result, len(mine), counts[c], whose)])
        codes.append(np.full(counts[c], c))
    return interleave(np.concatenate(picked), np.concatenate(codes))


def _labels(y_pool, n_pool):
    if y_pool is None or not one_an_image(as_labels(y_pool), n_pool):
        got = None if y_pool is None else np.shape(y_pool)
        remedy = "ActiveLearner passes it in mask mode; else pass it to query."
        raise ValueError(message("y_pool", f"class labels of shape ({n_pool},)", got, remedy))
    return y_pool


def class_balanced(score=random_score):
    """A strategy that shares the questions alike among the classes, around any other.

    Parameters
    ----------
    score : callable, default=random_score
        A public score, such as `entropy_score` or ``functools.partial(entropy_score,
        aggregate="max")``, or a strategy, such as modAL's or one of your own. A score is
        cheaper: the pool is predicted once.

    Returns
    -------
    strategy : functools.partial
        Of `class_balanced_sampling`, with a `__name__` to show; it can be pickled if `score`
        can.

    Raises
    ------
    TypeError
        If `score` is not callable.

    Examples
    --------
    >>> from alseg.strategies import entropy_score
    >>> strategy = class_balanced(entropy_score)
    >>> strategy.__name__
    'class_balanced(entropy_score)'
    """
    check_callable("score", score)
    return named(f"class_balanced({name_of(score)})", class_balanced_sampling, score=score)
