"""Around a score or a strategy: noise, batches, a smaller pool, no near duplicates, mixtures."""

import numbers

import numpy as np

from alseg.calling import name_of
from alseg.query import NOISES, shares, stochastic_top_n, top_n
from alseg.rows import n_rows
from alseg.rows import retrieve_rows as rows
from alseg.strategies._shared import check_pool, estimator_of
from alseg.strategies.around_others import (
    check_callable,
    named,
    now,
    part_of,
    pick,
    scores_of,
)
from alseg.strategies.embedding import embeddings_of
from alseg.strategies.informativeness import entropy_sampling, entropy_score
from alseg.validation import check_number, check_option, check_rng, message, seed_of

_BLOCK = 4096  # rows looked at at once

# -- noise --


def stochastic_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    score=entropy_score,
    beta=1.0,
    kind="power",
    y_pool=None,
):
    """Draw images by their score instead of taking the largest (power, soft-max, soft-rank [1]_).

    The best images of a pool are often alike, and a score is only a guess: chance makes a batch
    diverse at no cost.

    Parameters
    ----------
    learner : what `score` needs
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
    score : callable, default=entropy_score
        A score ``f(learner, X_pool) -> (n_pool,)``.
    beta : float, or callable ``f(n_labelled) -> float``, default=1.0
        0 is random, infinity takes the largest. A schedule may be `ramp`.
    kind : {"power", "softmax", "softrank"}, default="power"
        What the chance of an image is in proportion to: ``score ** beta``,
        ``exp(beta * score)`` or ``rank ** -beta``; see `alseg.query.stochastic_top_n`.
    y_pool : array-like of shape (n_pool,) or None
        Handed on to a score that names it.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        In the order drawn.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid, or scores are negative with "power".

    References
    ----------
    .. [1] Kirsch et al. 2023, arXiv:2106.12059.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> stochastic_sampling(ToySegmenter(), toy_images(5), 2, random_state=0).shape
    (2,)
    """
    n_instances = check_pool(X_pool, n_instances)
    check_option("kind", kind, NOISES)
    rng = check_rng(random_state)
    scores = scores_of(score, learner, X_pool, seed_of(random_state, rng), y_pool)
    return stochastic_top_n(scores, n_instances, now(beta, learner), kind, rng)


def stochastic(score=entropy_score, beta=1.0, kind="power"):
    """A strategy that draws images by a score; see `stochastic_sampling`.

    Parameters
    ----------
    score : callable, default=entropy_score
    beta : float, or callable ``f(n_labelled) -> float``, default=1.0
    kind : {"power", "softmax", "softrank"}, default="power"

    Returns
    -------
    strategy : functools.partial

    Examples
    --------
    >>> stochastic(entropy_score, beta=2).__name__
    'stochastic(entropy_score)'
    """
    name = f"stochastic({name_of(check_callable('score', score))})"
    check_option("kind", kind, NOISES)
    return named(name, stochastic_sampling, score=score, beta=beta, kind=kind)


# -- batches --


def stochastic_batches_sampling(
    learner, X_pool, n_instances=1, random_state=None, *, score=entropy_score, y_pool=None
):
    """Ask for a random batch: of all that a shuffled pool is cut into, the one of most doubt [1]_.

    Parameters
    ----------
    learner : what `score` needs
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
        The size of the batches. What is left over when the pool is cut is not asked about.
    random_state : None, int, numpy Generator or RandomState, default=None
    score : callable, default=entropy_score
        A score ``f(learner, X_pool) -> (n_pool,)``; the mean over a batch counts.
    y_pool : array-like of shape (n_pool,) or None
        Handed on to a score that names it.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        The batch, best first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or `score` no score.

    References
    ----------
    .. [1] Gaillochet et al. 2023, Active learning for medical image segmentation with stochastic
       batches, arXiv:2301.07670.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> stochastic_batches_sampling(ToySegmenter(), toy_images(5), 2, random_state=0).shape
    (2,)
    """
    n_instances = check_pool(X_pool, n_instances)
    rng = check_rng(random_state)
    scores = scores_of(score, learner, X_pool, seed_of(random_state, rng), y_pool)
    top_n(scores, 1, rng)  # NaN is an error there
    n_batches = len(scores) // n_instances
    batches = rng.permutation(len(scores))[: n_batches * n_instances].reshape(n_batches, -1)
    best = batches[scores[batches].mean(axis=1).argmax()]
    return best[np.argsort(-scores[best], kind="stable")]


def stochastic_batches(score=entropy_score):
    """A strategy that asks for the best of random batches; see `stochastic_batches_sampling`.

    Parameters
    ----------
    score : callable, default=entropy_score

    Returns
    -------
    strategy : functools.partial

    Examples
    --------
    >>> stochastic_batches(entropy_score).__name__
    'stochastic_batches(entropy_score)'
    """
    name = f"stochastic_batches({name_of(check_callable('score', score))})"
    return named(name, stochastic_batches_sampling, score=score)


# -- a smaller pool --


def subsample_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    strategy=entropy_sampling,
    size=1000,
    y_pool=None,
):
    """Ask a strategy about a random part of the pool: what a large pool costs, for less.

    Parameters
    ----------
    learner : what `strategy` needs
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
    strategy : callable, default=entropy_sampling
        A strategy, or a score.
    size : int, or float in (0, 1], default=1000
        Images looked at, or a share of the pool; at least `n_instances`. A pool not larger is
        handed on as it is.
    y_pool : array-like of shape (n_pool,) or None
        Cut and handed on to a strategy that names it.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Positions in the whole pool.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> subsample_sampling(ToySegmenter(), toy_images(9), 2, random_state=0, size=4).shape
    (2,)
    """
    n_instances = check_pool(X_pool, n_instances)
    n_pool = n_rows(X_pool)
    _check_size(size)
    wanted = size if isinstance(size, numbers.Integral) else -(-n_pool * size // 1)
    wanted = max(n_instances, int(wanted))
    rng = check_rng(random_state)
    seed = seed_of(random_state, rng)
    if wanted >= n_pool:
        return pick(strategy, learner, X_pool, n_instances, seed, y_pool)
    mine = np.sort(rng.choice(n_pool, wanted, replace=False))
    picked = pick(strategy, learner, rows(X_pool, mine), n_instances, seed, part_of(y_pool, mine))
    return mine[picked]


def _check_size(size):
    if isinstance(size, numbers.Integral):
        check_number("size", size, 1, integer=True)
    else:
        check_number("size", size, 0, 1, open_low=True)


def subsample(strategy=entropy_sampling, size=1000):
    """A strategy that looks at a random part of the pool; see `subsample_sampling`.

    Parameters
    ----------
    strategy : callable, default=entropy_sampling
    size : int, or float in (0, 1], default=1000

    Returns
    -------
    strategy : functools.partial

    Examples
    --------
    >>> subsample(entropy_sampling, size=500).__name__
    'subsample(entropy_sampling)'
    """
    _check_size(size)
    name = f"subsample({name_of(check_callable('strategy', strategy))})"
    return named(name, subsample_sampling, strategy=strategy, size=size)


# -- no near duplicates --


def distinct_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    score=entropy_score,
    similarity=0.95,
    embedding=None,
    y_pool=None,
):
    """Ask about the best images that are not near duplicates of a better one.

    From the best score on, an image is left out if its cosine similarity to one that was picked
    is above `similarity`. Where too few are left, the best of those left out fill up.

    Parameters
    ----------
    learner : what `score` needs
        Its estimator needs `transform`, if `embedding` is None.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal scores.
    score : callable, default=entropy_score
        A score ``f(learner, X_pool) -> (n_pool,)``.
    similarity : float in [-1, 1], default=0.95
        Embeddings that are never negative are all similar: look at yours before you choose.
    embedding : None, str, callable or array, default=None
        None is the estimator's `transform`; see `alseg.strategies.embedding.embeddings_of`. Two
        embeddings of zeros are duplicates, one is like no other.
    y_pool : array-like of shape (n_pool,) or None
        Handed on to a score that names it.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Best first; duplicates that filled up stand at the end.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid, or an embedding is not finite.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> distinct_sampling(ToySegmenter(), toy_images(5), 2, random_state=0).shape
    (2,)
    """
    n_instances = check_pool(X_pool, n_instances)
    check_number("similarity", similarity, -1, 1)
    rng = check_rng(random_state)
    scores = scores_of(score, learner, X_pool, seed_of(random_state, rng), y_pool)
    order = top_n(scores, len(scores), rng)
    points = pool_embeddings(learner, X_pool, embedding)
    length = np.linalg.norm(points, axis=1)
    zero = length == 0
    points = points / np.where(zero, 1, length)[:, None]
    picked, later, blocked = [], [], np.zeros(len(order), bool)
    for i in order:
        if blocked[i]:
            later.append(i)
            continue
        picked.append(i)
        if len(picked) == n_instances:
            break
        near = points @ points[i] > similarity
        if zero[i]:
            near |= zero
        blocked |= near
    return np.array((picked + later)[:n_instances])


def pool_embeddings(learner, X_pool, embedding=None):
    """Embeddings (n_pool, d) of the pool alone, floats and finite.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    embedding : None, str, callable, array or pair of arrays, default=None
        See `alseg.strategies.embedding.embeddings_of`.

    Returns
    -------
    points : ndarray of shape (n_pool, d), float32 or float64

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> pool_embeddings(ToySegmenter(), toy_images(3)).shape
    (3, 8)
    """
    named = embedding is None or isinstance(embedding, str) or callable(embedding)
    # A bare estimator has no training images, which need not be embedded here.
    owner = estimator_of(learner) if named else learner
    return finite(embeddings_of(owner, X_pool, embedding)[0])


def finite(points):
    """Embeddings as finite floats; the first row that is not is named.

    Examples
    --------
    >>> finite(np.array([[1, 2]]))
    array([[1., 2.]])
    """
    points = points.astype(np.float32 if points.dtype == np.float32 else np.float64, copy=False)
    for start in range(0, len(points), _BLOCK):  # of a memory map that is larger than memory, too
        good = np.isfinite(points[start : start + _BLOCK]).all(axis=1)
        if not good.all():
            where = start + int(np.argmin(good))
            raise ValueError(f"embeddings must be finite, got NaN or infinity at position {where}.")
    return points


def distinct(score=entropy_score, similarity=0.95, embedding=None):
    """A strategy that asks about no near duplicates; see `distinct_sampling`.

    Parameters
    ----------
    score : callable, default=entropy_score
    similarity : float in [-1, 1], default=0.95
    embedding : None, str, callable or array, default=None

    Returns
    -------
    strategy : functools.partial

    Examples
    --------
    >>> distinct(entropy_score).__name__
    'distinct(entropy_score)'
    """
    name = f"distinct({name_of(check_callable('score', score))})"
    check_number("similarity", similarity, -1, 1)
    return named(name, distinct_sampling, score=score, similarity=similarity, embedding=embedding)


# -- mixtures --


def mixture_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    strategies,
    weights=None,
    y_pool=None,
):
    """Share the questions among several strategies, by weights that may follow a schedule.

    Parameters
    ----------
    learner : what the strategies need
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
    strategies : sequence of callables
        Strategies or scores. Each is asked about what those before it have left.
    weights : None, or sequence of float or callable ``f(n_labelled) -> float``
        None is equal shares. What cannot be shared is drawn, so that shares are right on average
        even of one question a round; see `alseg.query.shares`.
    y_pool : array-like of shape (n_pool,) or None
        Handed on to those that name it.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Those of the first strategy first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid.

    Examples
    --------
    >>> from alseg.strategies import random_sampling
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> both = [entropy_sampling, random_sampling]
    >>> mixture_sampling(ToySegmenter(), toy_images(5), 4, 0, strategies=both).shape
    (4,)
    """
    n_instances = check_pool(X_pool, n_instances)
    strategies = _check_parts(strategies, weights)
    rng = check_rng(random_state)
    weights = [1.0] * len(strategies) if weights is None else [now(w, learner) for w in weights]
    counts = shares(weights, n_instances, rng)
    left, picked = np.arange(n_rows(X_pool)), []
    for strategy, n in zip(strategies, counts, strict=True):
        seed = seed_of(random_state, rng)
        if n == 0:
            continue
        whole = len(left) == n_rows(X_pool)
        X = X_pool if whole else rows(X_pool, left)
        mine = left[pick(strategy, learner, X, int(n), seed, part_of(y_pool, left))]
        picked.append(mine)
        left = np.setdiff1d(left, mine)
    return np.concatenate(picked)


def _check_parts(strategies, weights):
    strategies = list(strategies)
    if not strategies:
        raise ValueError(message("strategies", "at least one", strategies))
    for strategy in strategies:
        check_callable("strategies", strategy)
    if weights is not None and len(weights) != len(strategies):
        raise ValueError(message("weights", f"{len(strategies)}, one a strategy", len(weights)))
    return strategies


def mixture(strategies, weights=None):
    """A strategy that shares the questions among others; see `mixture_sampling`.

    Parameters
    ----------
    strategies : sequence of callables
    weights : None, or sequence of float or callable ``f(n_labelled) -> float``

    Returns
    -------
    strategy : functools.partial

    Examples
    --------
    >>> import functools
    >>> from alseg.strategies import entropy_sampling, ramp, random_sampling
    >>> fading = functools.partial(ramp, start=1, stop=0, first=10, last=50)
    >>> mixture([entropy_sampling, random_sampling], [1, fading]).__name__
    'mixture(entropy_sampling, random_sampling)'
    """
    strategies = _check_parts(strategies, weights)
    name = f"mixture({', '.join(map(name_of, strategies))})"
    return named(name, mixture_sampling, strategies=tuple(strategies), weights=weights)
