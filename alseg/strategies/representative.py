"""Representativeness: picks that cover the pool, or stand where it is dense.

All compare embeddings (`embedding`, see `alseg.strategies.embedding.embeddings_of`) of the pool
with one another and with those of the learner's training images; none looks at the labels.
"""

import numpy as np

from alseg.interfaces import MaskProbabilities, meets
from alseg.labels import label_codes
from alseg.query import diversity, top_n
from alseg.rows import n_rows
from alseg.rows import retrieve_rows as rows
from alseg.strategies._shared import check_pool, estimator_of, last_step
from alseg.strategies.around_others import scores_of
from alseg.strategies.embedding import embeddings_of
from alseg.strategies.stochastic import mc_variance_score
from alseg.validation import check_number, check_rng, message, seed_of

_CHUNK = 64  # images whose pixel probabilities are held at once


def core_set_score(learner, X_pool, *, embedding=None, metric="euclidean"):
    """Distance to the nearest labelled image; to the mean of the pool, where nothing is labelled.

    Parameters
    ----------
    learner, X_pool, embedding, metric
        As in `core_set_sampling`.

    Returns
    -------
    score : ndarray of shape (n_pool,), float

    Examples
    --------
    >>> core_set_score(None, np.array([[0.0], [4.0], [2.0]]), embedding="input")
    array([2., 2., 0.])
    """
    pool, labelled = embeddings_of(learner, X_pool, embedding)
    return diversity.distance_to_labelled(pool, labelled, metric)


def core_set_sampling(
    learner, X_pool, n_instances=1, random_state=None, *, embedding=None, metric="euclidean"
):
    """Core-set: again and again the image farthest from all labelled or picked ones [1]_.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator` and `.X_training`
        With `transform`, or see `embedding`.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Not used: nothing is left to chance.
    embedding : None, str, callable, array or pair of arrays, default=None
        None is the estimator's `transform`; others are ``"encoder"``, ``"decoder"`` (over the
        predicted foreground), ``"cam"``, ``"input"``, a function of images, or your own arrays,
        see `alseg.strategies.embedding.embeddings_of`.
    metric : {"euclidean", "cosine"}, default="euclidean"

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Where nothing is labelled the first is the image nearest to the mean.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or the embeddings are not finite numbers
        with a row an image.

    References
    ----------
    .. [1] Sener and Savarese 2018, arXiv:1708.00489.

    Examples
    --------
    >>> X_pool = np.array([[0.0], [1.0], [5.0], [9.0]])
    >>> core_set_sampling(None, X_pool, 3, embedding="input")
    array([2, 0, 3])
    """
    n_instances = check_pool(X_pool, n_instances)
    pool, labelled = embeddings_of(learner, X_pool, embedding)
    return diversity.k_center_greedy(pool, n_instances, labelled, metric)


def k_means_plus_plus_sampling(
    learner, X_pool, n_instances=1, random_state=None, *, embedding=None
):
    """Images drawn with a chance in proportion to the squared distance to the nearest pick.

    Parameters
    ----------
    learner, X_pool, n_instances, embedding
        As in `core_set_sampling`. Labelled images count as picked.
    random_state : None, int, numpy Generator or RandomState, default=None
        Of the draws.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Examples
    --------
    >>> X_pool = np.array([[0.0], [0.0], [9.0], [9.0]])
    >>> picks = k_means_plus_plus_sampling(None, X_pool, 2, 0, embedding="input")
    >>> sorted(int(i) // 2 for i in picks)
    [0, 1]
    """
    n_instances = check_pool(X_pool, n_instances)
    pool, labelled = embeddings_of(learner, X_pool, embedding)
    return diversity.k_means_plus_plus(pool, n_instances, labelled, random_state=random_state)


def k_means_sampling(
    learner, X_pool, n_instances=1, random_state=None, *, embedding=None, metric="euclidean"
):
    """The image nearest to the centre of each of `n_instances` k-means clusters of the pool.

    Labelled images are not looked at; the same picks are ALPS at a cold start.

    Parameters
    ----------
    learner, X_pool, n_instances, embedding, metric
        As in `core_set_sampling`.
    random_state : None, int, numpy Generator or RandomState, default=None
        Of k-means.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Examples
    --------
    >>> X_pool = np.array([[0.0], [1.0], [2.0], [9.0]])
    >>> k_means_sampling(None, X_pool, 2, 0, embedding="input")
    array([1, 3])
    """
    n_instances = check_pool(X_pool, n_instances)
    pool, _ = embeddings_of(WithoutTraining(learner), X_pool, embedding)
    return diversity.k_means_picks(pool, n_instances, None, metric, random_state)


class WithoutTraining:
    """A learner whose training images are not looked at, so that they are not embedded either."""

    X_training = None

    def __init__(self, learner):
        self._learner = learner

    def __getattr__(self, name):
        return getattr(self._learner, name)


def facility_location_score(learner, X_pool, *, embedding=None, metric="cosine"):
    """How much an image brings the pool nearer to what is labelled, on average.

    Parameters
    ----------
    learner, X_pool, embedding
        As in `core_set_sampling`.
    metric : {"euclidean", "cosine"}, default="cosine"

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        Where nothing is labelled, minus the mean distance to the pool.

    Examples
    --------
    >>> X_pool = np.array([[0.0], [1.0], [2.0]])
    >>> facility_location_score(None, X_pool, embedding="input", metric="euclidean").argmax()
    np.int64(1)
    """
    pool, labelled = embeddings_of(learner, X_pool, embedding)
    return diversity.representation_gain(pool, labelled, metric)


def facility_location_sampling(
    learner, X_pool, n_instances=1, random_state=None, *, embedding=None, metric="cosine"
):
    """The images that represent the pool best, beside those that are labelled.

    Parameters
    ----------
    learner, X_pool, n_instances, random_state, embedding
        As in `core_set_sampling`. The cost grows as the square of the pool.
    metric : {"euclidean", "cosine"}, default="cosine"

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Examples
    --------
    >>> X_pool = np.array([[0.0], [1.0], [2.0], [9.0]])
    >>> facility_location_sampling(None, X_pool, 2, embedding="input", metric="euclidean")
    array([1, 3])
    """
    n_instances = check_pool(X_pool, n_instances)
    pool, labelled = embeddings_of(learner, X_pool, embedding)
    return diversity.facility_location(pool, n_instances, labelled, metric)


def suggestive_annotation_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    y_pool=None,
    score=mc_variance_score,
    n_candidates=None,
    embedding=None,
    metric="cosine",
):
    """Of the most uncertain images, those that represent the whole pool best [1]_.

    Parameters
    ----------
    learner, X_pool, n_instances, embedding
        As in `core_set_sampling`.
    random_state : None, int, numpy Generator or RandomState, default=None
        Of `score`, and between equal scores.
    y_pool : array-like of shape (n_pool,) or None, default=None
        For a score that takes it.
    score : callable, default=mc_variance_score
        A score ``f(learner, X_pool) -> (n_pool,)``. As published: the variance of an ensemble.
    n_candidates : int or None, default=None
        How many of the most uncertain images; at most the pool is taken. None is
        ``2 * n_instances``, as published (16 and 8).
    metric : {"euclidean", "cosine"}, default="cosine"

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Raises
    ------
    TypeError, ValueError
        As `core_set_sampling`, or if `n_candidates` is below `n_instances`.

    References
    ----------
    .. [1] Yang et al. 2017, arXiv:1706.04737.

    Examples
    --------
    >>> X_pool = np.array([[0.0], [1.0], [2.0], [3.0], [9.0]])
    >>> suggestive_annotation_sampling(
    ...     None, X_pool, 1, score=lambda learner, X: X[:, 0], n_candidates=3, embedding="input",
    ...     metric="euclidean",
    ... )
    array([2])
    """
    n_instances = check_pool(X_pool, n_instances)
    n_pool = n_rows(X_pool)
    rng = check_rng(random_state)
    if n_candidates is None:
        n_candidates = 2 * n_instances
    check_number("n_candidates", n_candidates, n_instances, integer=True)
    scores = scores_of(score, learner, X_pool, seed_of(random_state, rng), y_pool)
    candidates = top_n(scores, min(n_candidates, n_pool), rng)
    pool, _ = embeddings_of(WithoutTraining(learner), X_pool, embedding)
    return diversity.facility_location(pool, n_instances, None, metric, candidates=candidates)


def prob_cover_score(
    learner,
    X_pool,
    random_state=None,
    *,
    y_pool=None,
    radius=None,
    purity=0.95,
    n_clusters=None,
    embedding=None,
    metric="euclidean",
):
    """How many images that nothing labelled covers lie within the radius.

    Parameters
    ----------
    learner, X_pool, random_state, y_pool, radius, purity, n_clusters, embedding, metric
        As in `prob_cover_sampling`.

    Returns
    -------
    score : ndarray of shape (n_pool,), float

    Examples
    --------
    >>> prob_cover_score(None, np.array([[0.0], [0.4], [9.0]]), radius=0.5, embedding="input")
    array([2., 2., 1.])
    """
    pool, labelled = embeddings_of(learner, X_pool, embedding)
    if radius is None:
        k = _n_clusters(learner, y_pool, n_clusters)
        radius = _radius(pool, labelled, k, purity, metric, check_rng(random_state))
    return diversity.cover_degrees(pool, radius, labelled, metric).astype(float)


def prob_cover_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    y_pool=None,
    radius=None,
    purity=0.95,
    n_clusters=None,
    embedding=None,
    metric="euclidean",
):
    """ProbCover: again and again the image with most uncovered ones within a radius [1]_.

    Parameters
    ----------
    learner, X_pool, n_instances, embedding
        As in `core_set_sampling`.
    random_state : None, int, numpy Generator or RandomState, default=None
        Of k-means, and between images that cover alike.
    y_pool : array-like of shape (n_pool,) or None, default=None
        Image labels, for the number of classes alone.
    radius : float or None, default=None
        Above 0. None is the largest at which `purity` of the balls hold one k-means cluster alone,
        see `alseg.query.diversity.purity_radius`.
    purity : float in (0, 1], default=0.95
    n_clusters : int or None, default=None
        For the radius. None is the number of image classes, at least 2.
    metric : {"euclidean", "cosine"}, default="euclidean"

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Raises
    ------
    TypeError, ValueError
        As `core_set_sampling`, or if `radius` or `purity` is out of range.

    References
    ----------
    .. [1] Yehuda et al. 2022, arXiv:2205.11320.

    Examples
    --------
    >>> X_pool = np.array([[0.0], [0.4], [0.8], [5.0], [9.0]])
    >>> prob_cover_sampling(None, X_pool, 1, radius=0.5, embedding="input")
    array([1])
    """
    n_instances = check_pool(X_pool, n_instances)
    rng = check_rng(random_state)
    pool, labelled = embeddings_of(learner, X_pool, embedding)
    if radius is None:
        k = _n_clusters(learner, y_pool, n_clusters)
        radius = _radius(pool, labelled, k, purity, metric, rng)
    return diversity.prob_cover(pool, n_instances, radius, labelled, metric, rng)


def _n_clusters(learner, y_pool, n_clusters):
    if n_clusters is not None:
        return check_number("n_clusters", n_clusters, 1, integer=True)
    classes = getattr(estimator_of(learner), "classes_", None)
    if classes is None and y_pool is not None:
        classes = label_codes(y_pool)[0]
    return max(2, 0 if classes is None else len(classes))


def _radius(pool, labelled, n_clusters, purity, metric, rng):
    both = pool if labelled is None else np.concatenate([pool, labelled])
    groups, _ = diversity.k_means_groups(both, n_clusters, metric=metric, random_state=rng)
    radius = diversity.purity_radius(both, groups, purity, metric)
    return max(radius, np.finfo(float).tiny)  # a ball holds its centre at least


def _contexts(learner, X):
    remedy = "JointCAMSegmenter has it."
    estimator, X = last_step(learner, X)
    if not meets(estimator, MaskProbabilities):
        raise TypeError(message("learner", "with `predict_mask_proba`", estimator, remedy))
    found = []
    for start in range(0, n_rows(X), _CHUNK):
        some = rows(X, np.arange(start, min(start + _CHUNK, n_rows(X))))
        found += [diversity.class_context(proba) for proba in estimator.predict_mask_proba(some)]
    return np.array(found)


def _pool_and_labelled_contexts(learner, X_pool):
    training = getattr(learner, "X_training", None)
    labelled = None
    if training is not None and n_rows(training):
        labelled = _contexts(learner, training)
    return _contexts(learner, X_pool), labelled


def cdal_score(learner, X_pool):
    """Contextual distance to the nearest labelled image.

    Parameters
    ----------
    learner, X_pool
        As in `cdal_sampling`.

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        Where nothing is labelled, minus the mean distance to the pool.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> cdal_score(ToySegmenter(), toy_images(3)).shape
    (3,)
    """
    pool, labelled = _pool_and_labelled_contexts(learner, X_pool)
    if labelled is None:
        return -diversity.contextual_distance(pool, pool).mean(axis=1)
    return diversity.nearest_context(pool, labelled)


def cdal_sampling(learner, X_pool, n_instances=1, random_state=None):
    """Contextual diversity: images that confuse classes otherwise than those known [1]_.

    Parameters
    ----------
    learner : estimator with `predict_mask_proba`, or learner with such an `.estimator`
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Not used: nothing is left to chance.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Raises
    ------
    TypeError, ValueError
        If the estimator predicts no masks, or predicts NaN, or `n_instances` is out of range.

    References
    ----------
    .. [1] Agarwal et al. 2020, arXiv:2008.05723, CDAL-CS.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> len(cdal_sampling(ToySegmenter(), toy_images(5), 2))
    2
    """
    n_instances = check_pool(X_pool, n_instances)
    pool, labelled = _pool_and_labelled_contexts(learner, X_pool)
    return diversity.contextual_picks(pool, n_instances, labelled)


def discriminative_score(learner, X_pool, random_state=None, *, classifier=None, embedding=None):
    """Probability of not being one of the labelled images, by a classifier trained to tell.

    Parameters
    ----------
    learner, X_pool, random_state, classifier, embedding
        As in `discriminative_sampling`.

    Returns
    -------
    score : ndarray of shape (n_pool,), float

    Examples
    --------
    >>> X_pool = np.array([[0.0], [9.0]])
    >>> discriminative_score(None, X_pool, embedding=(X_pool, [[0.0], [1.0]])).argmax()
    np.int64(1)
    """
    pool, labelled = embeddings_of(learner, X_pool, embedding)
    return diversity.looks_unlabelled(pool, labelled, classifier, random_state)


def discriminative_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    n_batches=10,
    classifier=None,
    embedding=None,
):
    """Ask about the images that are told apart most surely from the labelled ones [1]_.

    Parameters
    ----------
    learner, X_pool, n_instances, embedding
        As in `core_set_sampling`; something must be labelled.
    random_state : None, int, numpy Generator or RandomState, default=None
        Of the classifier, and between equal probabilities.
    n_batches : int, default=10
        The classifier is trained this often; what was picked counts as labelled the next time.
    classifier : scikit-learn classifier or None, default=None
        None is a logistic regression.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Raises
    ------
    TypeError, ValueError
        As `core_set_sampling`, or if nothing is labelled.

    References
    ----------
    .. [1] Gissin and Shalev-Shwartz 2019, arXiv:1907.06347.

    Examples
    --------
    >>> X_pool = np.array([[0.0], [9.0]])
    >>> discriminative_sampling(None, X_pool, embedding=(X_pool, [[0.0], [1.0]]))
    array([1])
    """
    n_instances = check_pool(X_pool, n_instances)
    pool, labelled = embeddings_of(learner, X_pool, embedding)
    return diversity.discriminative_picks(
        pool, n_instances, labelled, n_batches, classifier, random_state
    )
