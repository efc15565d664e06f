"""Where embeddings of a pool and of the labelled images come from."""

import numpy as np

from alseg.calling import accepts
from alseg.interfaces import Embeddings, before_and_last, estimator_of, meets
from alseg.query.diversity import as_embeddings
from alseg.rows import n_rows
from alseg.validation import check_option, message

EMBEDDINGS = ("encoder", "decoder", "cam", "input")


def embeddings_of(learner, X_pool, embedding=None):
    """Embeddings of the pool and of what the learner was given labels (or masks) of.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator` and `.X_training`
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    embedding : None, str, callable, array or pair of arrays, default=None
        - None: the estimator's `transform`, if it has one, else `X_pool` itself;
        - ``"encoder"``, ``"decoder"``, ``"cam"``: the estimator's ``transform(X, kind=...)``, see
          `JointCAMSegmenter.transform`;
        - ``"input"``: `X_pool` itself, of shape (n_pool, n_features);
        - a callable ``f(X) -> (n, d)``, called with the pool and with the labelled images;
        - an array: a row for each image of the learner's `images` (its own pool is then looked
          up), or for each of `X_pool`, if nothing is labelled;
        - a pair of arrays: of `X_pool`, and of the labelled images.

    Returns
    -------
    pool : ndarray of shape (n_pool, d)
    labelled : ndarray of shape (n_labelled, d), or None
        None where the learner has no training images.

    Raises
    ------
    TypeError, ValueError
        If there is no such embedding, or its rows are not those of the pool.

    Examples
    --------
    >>> pool, labelled = embeddings_of(None, ["a.png", "b.png"], lambda X: np.eye(len(X)))
    >>> pool.shape, labelled
    ((2, 2), None)
    """
    n_pool = n_rows(X_pool)
    training = getattr(learner, "X_training", None)
    training = None if training is None or n_rows(training) == 0 else training
    if isinstance(embedding, tuple) and len(embedding) == 2:
        pool, labelled = embedding
    elif embedding is None or isinstance(embedding, str) or callable(embedding):
        embed = embedding if callable(embedding) else _by_name(learner, X_pool, embedding)
        pool = embed(X_pool)
        labelled = None if training is None else embed(training)
    else:
        pool, labelled = _looked_up(learner, embedding, n_pool, training)
    pool = as_embeddings(pool, "embedding")
    if len(pool) != n_pool:
        raise ValueError(message("embedding", f"of {n_pool} rows, one an image", pool.shape))
    if labelled is None or n_rows(labelled) == 0:
        return pool, None
    return pool, as_embeddings(labelled, "embedding of the labelled images")


def source_embeddings(learner, X_pool, embedding=None, source=None):
    """Embeddings of a source: annotated images of another domain.

    Parameters
    ----------
    learner, X_pool, embedding
        As for `embeddings_of`.
    source : object with `images`, images, or array of shape (n_source, d), or None, default=None
        None is the learner's `source_set`, if it has one; an array of two dimensions is taken for
        the embeddings themselves.

    Returns
    -------
    ndarray of shape (n_source, d), or None
        None where there is no source.

    Raises
    ------
    TypeError
        If `embedding` is arrays, which have no rows of the source.

    Examples
    --------
    >>> source_embeddings(None, ["a.png"], lambda X: np.ones((len(X), 2)), ["b.png", "c.png"])
    array([[1., 1.],
           [1., 1.]])
    >>> source_embeddings(None, ["a.png"]) is None
    True
    """
    source = getattr(learner, "source_set", None) if source is None else source
    if source is None:
        return None
    if isinstance(source, np.ndarray) and source.ndim == 2:
        return as_embeddings(source, "source")
    images = getattr(source, "images", source)
    if embedding is not None and not isinstance(embedding, str) and not callable(embedding):
        remedy = "Give source= an array of its embeddings, or embedding= a function of images."
        raise TypeError(
            message("source", "embeddings where embedding= is arrays", "images", remedy)
        )
    embed = embedding if callable(embedding) else _by_name(learner, X_pool, embedding)
    return as_embeddings(embed(images), "embedding of the source")


def _by_name(learner, X_pool, embedding):
    """A function from images to embeddings."""
    if embedding is not None:
        check_option("embedding", embedding, EMBEDDINGS)
    estimator = estimator_of(learner)
    before, last = before_and_last(estimator)
    if embedding == "input" or (embedding is None and not meets(last, Embeddings)):
        seen = X_pool if embedding == "input" or before is None else before(X_pool)
        if np.ndim(seen) != 2 or getattr(seen, "dtype", np.dtype(float)).kind not in "fiub":
            remedy = "Give embedding= a callable or an array."
            raise TypeError(message("learner", "an estimator with `transform`", last, remedy))
        return (lambda X: X) if seen is X_pool else before
    options = {} if embedding in (None, "encoder") else {"kind": embedding}
    if not meets(last, Embeddings) or (options and not accepts(last.transform, "kind")):
        rule = f"an estimator with `transform(X, kind={embedding!r})`"
        raise TypeError(message("learner", rule, last))
    return lambda X: last.transform(X if before is None else before(X), **options)


def _looked_up(learner, table, n_pool, training):
    table = as_embeddings(table, "embedding")
    images = getattr(learner, "images", None)
    of_pool = (
        images is not None and len(table) == n_rows(images) and len(learner.pool_ids) == n_pool
    )
    n_training = 0 if training is None else n_rows(training)
    if of_pool and n_training == len(learner.annotated_ids):  # more with a source
        return table[learner.pool_ids], table[learner.annotated_ids]
    if training is None and len(table) == n_pool:
        return table, None
    remedy = "Give a pair (of the pool, of the labelled), or a callable that embeds both."
    rule = "an array with a row for each image of the learner"
    raise ValueError(message("embedding", rule, table.shape, remedy))
