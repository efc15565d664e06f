"""Typical images: picks that stand where the pool is dense, alone or times another score."""

import functools

from alseg.calling import name_of
from alseg.query import diversity, top_n
from alseg.strategies._shared import ask_images, check_pool
from alseg.strategies.around_others import scores_of
from alseg.strategies.embedding import embeddings_of
from alseg.strategies.informativeness import entropy_score
from alseg.strategies.representative import WithoutTraining
from alseg.validation import check_number, check_rng, message, seed_of


def typicality_score(learner, X_pool, *, n_neighbors=20, embedding=None, metric="euclidean"):
    """One over the mean distance to the nearest images of the pool.

    Parameters
    ----------
    learner, X_pool, embedding, metric
        As in `core_set_sampling`.
    n_neighbors : int, default=20

    Returns
    -------
    score : ndarray of shape (n_pool,), float

    Examples
    --------
    >>> import numpy as np
    >>> typicality_score(None, np.array([[0.0], [1.0], [4.0]]), embedding="input").argmax()
    np.int64(1)
    """
    pool, _ = embeddings_of(WithoutTraining(learner), X_pool, embedding)
    return diversity.typicality(pool, n_neighbors, metric)


def typiclust_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    n_neighbors=20,
    max_clusters=500,
    min_cluster_size=6,
    embedding=None,
    metric="euclidean",
):
    """TypiClust: the most typical image of each cluster that nothing is labelled of [1]_.

    Parameters
    ----------
    learner, X_pool, n_instances, embedding
        As in `core_set_sampling`.
    random_state : None, int, numpy Generator or RandomState, default=None
        Of k-means.
    n_neighbors : int, default=20
    max_clusters : int, default=500
        Clusters are as many as labelled images and questions together, at most this many.
    min_cluster_size : int, default=6
        Smaller clusters are asked last.
    metric : {"euclidean", "cosine"}, default="euclidean"
        With the cosine, embeddings are brought to unit length first (as published).

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    References
    ----------
    .. [1] Hacohen et al. 2022, arXiv:2202.02794.

    Examples
    --------
    >>> import numpy as np
    >>> X_pool = np.array([[0.0], [1.0], [2.0], [9.0]])
    >>> typiclust_sampling(None, X_pool, 1, 0, embedding="input")
    array([1])
    """
    n_instances = check_pool(X_pool, n_instances)
    pool, labelled = embeddings_of(learner, X_pool, embedding)
    return diversity.typiclust(
        pool,
        n_instances,
        labelled,
        n_neighbors,
        max_clusters,
        min_cluster_size,
        metric,
        random_state,
    )


def density_score(learner, X_pool, *, embedding=None, metric="cosine"):
    """Mean similarity to the pool, in [0, 1].

    Parameters
    ----------
    learner, X_pool, embedding
        As in `core_set_sampling`.
    metric : {"cosine", "euclidean"}, default="cosine"
        See `alseg.query.diversity.density`.

    Returns
    -------
    score : ndarray of shape (n_pool,), float

    Examples
    --------
    >>> import numpy as np
    >>> density_score(None, np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), embedding="input")
    array([0.83333333, 0.83333333, 0.66666667])
    """
    pool, _ = embeddings_of(WithoutTraining(learner), X_pool, embedding)
    return diversity.density(pool, metric)


def density_weighted_score(
    learner,
    X_pool,
    random_state=None,
    *,
    y_pool=None,
    score=entropy_score,
    beta=1.0,
    embedding=None,
    metric="cosine",
):
    """A score times ``density ** beta``: uncertain, and like many others [1]_.

    Parameters
    ----------
    learner, X_pool, random_state, y_pool, score, beta, embedding, metric
        As in `density_weighted_sampling`.

    Returns
    -------
    score : ndarray of shape (n_pool,), float

    References
    ----------
    .. [1] Settles and Craven 2008, EMNLP, Eq. 13.

    Examples
    --------
    >>> import numpy as np
    >>> density_weighted_score(
    ...     None, np.array([[1.0, 0.0], [2.0, 0.0]]), score=lambda learner, X: X[:, 0],
    ...     embedding="input",
    ... )
    array([1., 2.])
    """
    check_number("beta", beta, 0)
    seed = seed_of(random_state, check_rng(random_state))
    scores = scores_of(score, learner, X_pool, seed, y_pool)
    if (scores < 0).any():
        remedy = "A product with the density would turn the order of negative scores round."
        raise ValueError(message(f"{name_of(score)}", "not negative", scores.min(), remedy))
    return scores * density_score(learner, X_pool, embedding=embedding, metric=metric) ** beta


def density_weighted_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    y_pool=None,
    score=entropy_score,
    beta=1.0,
    embedding=None,
    metric="cosine",
):
    """Ask about the images of the largest `density_weighted_score`.

    Parameters
    ----------
    learner, X_pool, n_instances, embedding
        As in `core_set_sampling`.
    random_state : None, int, numpy Generator or RandomState, default=None
        Of `score`, and between equal scores.
    y_pool : array-like of shape (n_pool,) or None, default=None
        For a score that takes it.
    score : callable, default=entropy_score
        A score ``f(learner, X_pool) -> (n_pool,)``, not negative.
    beta : float, default=1.0
        At least 0. The larger, the more the density counts.
    metric : {"cosine", "euclidean"}, default="cosine"
        See `alseg.query.diversity.density`.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Examples
    --------
    >>> import numpy as np
    >>> X_pool = np.array([[1.0, 0.0], [2.0, 0.0]])
    >>> density_weighted_sampling(
    ...     None, X_pool, score=lambda learner, X: X[:, 0], embedding="input"
    ... )
    array([1])
    """
    n_instances = check_pool(X_pool, n_instances)
    rng = check_rng(random_state)
    seed = seed_of(random_state, rng)
    scores = density_weighted_score(
        learner,
        X_pool,
        seed,
        y_pool=y_pool,
        score=score,
        beta=beta,
        embedding=embedding,
        metric=metric,
    )
    return top_n(scores, n_instances, rng)


def bal_score(
    learner, X_pool, random_state=None, *, n_clusters=100, embedding=None, metric="euclidean"
):
    """How much farther the second nearest of some k-means centres is than the nearest (BAL [1]_).

    Parameters
    ----------
    learner, X_pool, embedding, metric
        As in `core_set_sampling`. Labelled images are clustered with the pool.
    random_state : None, int, numpy Generator or RandomState, default=None
        Of k-means.
    n_clusters : int, default=100
        As the code of MedCAL-Bench has it; at most as many as there are images.

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        ``d_2 - d_1``: large where an image is typical of one cluster alone.

    References
    ----------
    .. [1] Li et al. 2024, arXiv:2312.15944, the cluster distance difference. Its sub-pools by this
       number, out of which doubt picks, are ``subsample`` and a score here.

    Examples
    --------
    >>> import numpy as np
    >>> X_pool = np.array([[0.0], [0.0], [4.0], [10.0], [10.0]])
    >>> bal_score(None, X_pool, 0, n_clusters=2, embedding="input").argmin()
    np.int64(2)
    """
    pool, labelled = embeddings_of(learner, X_pool, embedding)
    return diversity.cluster_gaps(pool, n_clusters, labelled, metric, random_state)


def bal_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    n_clusters=100,
    embedding=None,
    metric="euclidean",
):
    """Ask about the images of the largest `bal_score`, as MedCAL-Bench does.

    Parameters
    ----------
    learner, X_pool, n_clusters, embedding, metric
        As in `bal_score`.
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Of k-means, and between equal scores.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid, or the embeddings are not finite numbers.

    Examples
    --------
    >>> import numpy as np
    >>> X_pool = np.array([[0.0], [0.0], [1.0], [9.0], [10.0]])
    >>> np.sort(bal_sampling(None, X_pool, 3, 0, n_clusters=2, embedding="input"))
    array([0, 1, 4])
    """
    options = {"n_clusters": n_clusters, "embedding": embedding, "metric": metric}
    score = functools.partial(bal_score, **options)
    return ask_images(score, learner, X_pool, n_instances, random_state)
