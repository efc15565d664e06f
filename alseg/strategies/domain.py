"""Domain adaptation: annotated images of another domain, the source, beside the pool."""

import functools

import numpy as np

from alseg.calling import name_of
from alseg.images import join_images
from alseg.query import diversity, top_n
from alseg.rows import n_rows
from alseg.strategies._shared import ask_images, check_pool
from alseg.strategies.around_others import check_callable, named, pick, scores_of
from alseg.strategies.embedding import embeddings_of, source_embeddings
from alseg.strategies.informativeness import entropy_score
from alseg.validation import check_number, check_rng, message, seed_of


def aada_score(
    learner,
    X_pool,
    random_state=None,
    *,
    score=entropy_score,
    source=None,
    classifier=None,
    embedding=None,
    y_pool=None,
):
    """Doubt, times how much more an image looks like the target than like the source (AADA [1]_).

    ``(1 - D) / D * H``, where D is the probability of a domain discriminator that an image is one
    of the source, and H the entropy of the prediction: the importance weight of the image is the
    ratio of the two domains' densities there.

    Parameters
    ----------
    learner : what `score` needs
        What it holds in `X_training` counts as source, as in [1]_.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    random_state : None, int, numpy Generator or RandomState, default=None
        Of `score`, and of a classifier that has a parameter of this name.
    score : callable, default=entropy_score
        ``f(learner, X_pool) -> (n_pool,)``, not negative. In [1]_ the entropy of the label:
        ``functools.partial(entropy_score, target="label")``.
    source : object with `images`, images, array of shape (n_source, d), or None, default=None
        None is the `source` of the learner; an array of two dimensions is embeddings.
    classifier : scikit-learn classifier or None, default=None
        The discriminator. None is a logistic regression on standardised embeddings that weighs both
        domains alike, as the discriminator of [1]_ is trained on as many images of each.
    embedding : None, str, callable, array or pair of arrays, default=None
        None is the estimator's `transform`; see `alseg.strategies.embedding.embeddings_of`.
    y_pool : array-like of shape (n_pool,) or None
        Handed on to a score that names it.

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        Larger is more worth asking.

    Raises
    ------
    TypeError, ValueError
        If there is neither a source nor anything labelled, scores are negative, or the embeddings
        are not finite numbers.

    References
    ----------
    .. [1] Su et al. 2020, arXiv:1904.07848, section 3.

    Examples
    --------
    >>> X_pool = np.array([[0.0], [9.0]])  # the second is unlike the source
    >>> aada_score(None, X_pool, score=lambda learner, X: np.ones(2), embedding="input",
    ...            source=np.array([[0.0], [1.0]])).argmax()
    np.int64(1)
    """
    rng = check_rng(random_state)
    scores = scores_of(score, learner, X_pool, seed_of(random_state, rng), y_pool)
    top_n(scores, 1, 0)  # NaN is an error there
    if (scores < 0).any():
        raise ValueError(message("scores", ">= 0", float(scores.min()), f"From {name_of(score)}."))
    pool, labelled = embeddings_of(learner, X_pool, embedding)
    known = source_embeddings(learner, X_pool, embedding, source)
    known = [part for part in (known, labelled) if part is not None]
    if not known:
        remedy = "Give it to the learner: ActiveLearner(..., source=dataset)."
        raise ValueError(message("source", "given where nothing is labelled", None, remedy))
    odds = diversity.odds_of_unlabelled(pool, np.concatenate(known), classifier, rng)
    return odds * scores


def aada_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    score=entropy_score,
    source=None,
    classifier=None,
    embedding=None,
    top=None,
    y_pool=None,
):
    """Ask about the images of the largest `aada_score`: unsure, and unlike the source.

    Parameters
    ----------
    learner, X_pool, score, source, classifier, embedding, y_pool
        As in `aada_score`.
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Of the score, and between equal ones.
    top : float in (0, 1] or None, default=None
        Draw at random among this share of the pool, those of the largest scores; at least
        `n_instances`. 0.02 is what the code released with CLUE does. None takes the largest.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `aada_score`.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> source = toy_images(4, random_state=1)
    >>> aada_sampling(ToySegmenter(), toy_images(5), 2, 0, source=source).shape
    (2,)
    """
    n_instances, n_pool = check_pool(X_pool, n_instances), n_rows(X_pool)
    options = {"source": source, "classifier": classifier, "embedding": embedding}
    asked = functools.partial(aada_score, score=score, y_pool=y_pool, **options)
    if top is None:
        return ask_images(asked, learner, X_pool, n_instances, random_state)
    check_number("top", top, 0, 1, open_low=True)
    rng = check_rng(random_state)
    best = top_n(asked(learner, X_pool, rng), max(n_instances, int(np.ceil(top * n_pool))), rng)
    return rng.permutation(best)[:n_instances]


class _BesideSource:
    """A learner whose source counts as labelled."""

    def __init__(self, learner, images):
        self._learner, self._images = learner, images

    @property
    def X_training(self):
        """Images of the source, then what the learner has labels of."""
        own = getattr(self._learner, "X_training", None)
        return self._images if own is None else join_images(self._images, own)

    def __getattr__(self, name):
        return getattr(self._learner, name)


def with_source_sampling(
    learner, X_pool, n_instances=1, random_state=None, *, strategy, source=None, y_pool=None
):
    """Ask a strategy to which the images of the source count as labelled; see `with_source`.

    Parameters
    ----------
    learner, X_pool, n_instances, random_state, y_pool
        For the strategy.
    strategy : callable
        A strategy or a score.
    source : object with `images`, images, or None, default=None
        None is the `source` of the learner; where there is none the strategy is asked as it is.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Examples
    --------
    >>> from alseg.strategies import core_set_sampling
    >>> by_rows = functools.partial(core_set_sampling, embedding=np.asarray)
    >>> X_pool = np.array([[0.0], [4.0], [9.0]])
    >>> with_source_sampling(None, X_pool, strategy=by_rows, source=np.array([[9.0], [8.0]]))
    array([0])
    """
    n_instances = check_pool(X_pool, n_instances)
    source = getattr(learner, "source_set", None) if source is None else source
    if source is not None:
        learner = _BesideSource(learner, getattr(source, "images", source))
    return pick(strategy, learner, X_pool, n_instances, random_state, y_pool)


def with_source(strategy):
    """A strategy to which the images of the learner's source count as labelled.

    Around those that look for images unlike the labelled ones: then they are unlike the source,
    too. Without a source it is the strategy itself.

    Parameters
    ----------
    strategy : callable
        Such as `core_set_sampling`; its `embedding` must be a name or a function of images.

    Returns
    -------
    strategy : functools.partial
        With a `__name__` to show.

    Examples
    --------
    >>> from alseg.strategies import core_set_sampling
    >>> with_source(core_set_sampling).__name__
    'with_source(core_set_sampling)'
    """
    check_callable("strategy", strategy)
    return named(f"with_source({name_of(strategy)})", with_source_sampling, strategy=strategy)
