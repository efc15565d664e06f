"""How much a label would move the last layer: BADGE, and expected gradient length."""

import numpy as np

from alseg.query import badge_picks, expected_gradient_length, outer_picks, top_n
from alseg.rows import n_rows
from alseg.strategies._shared import (
    check_one_class,
    check_pool,
    check_shape,
    estimator_of,
    target_of,
)
from alseg.strategies.wrappers import pool_embeddings
from alseg.validation import check_option, message

LOSSES = ("cross_entropy", "joint")


def _proba(learner, X_pool):
    check_one_class(learner, "Take target='mask', or entropy_sampling with target='label'.")
    model = learner if hasattr(learner, "predict_proba") else estimator_of(learner)
    if not hasattr(model, "predict_proba"):
        raise TypeError(message("learner", "with `predict_proba`", model))
    proba = np.asarray(model.predict_proba(X_pool), dtype=float)
    if proba.ndim != 2 or len(proba) != n_rows(X_pool):
        rule = f"of shape ({n_rows(X_pool)}, n_classes)"
        raise ValueError(message("predict_proba(X_pool)", rule, proba.shape))
    return proba


def _segmenter(learner, name):
    estimator = estimator_of(learner)
    if not hasattr(estimator, name):
        remedy = "It can do target='label' if it has `predict_proba` and `transform`."
        raise TypeError(message("learner", f"with `{name}`", estimator, remedy))
    return getattr(estimator, name)


def badge_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    target=None,
    loss="cross_entropy",
    embedding=None,
):
    """Ask about images whose gradients are long and point different ways (BADGE [1]_).

    For labels the gradients of the last layer are outer products of what is wrong with the
    prediction and the embedding, and are never formed. For masks it is the gradient of the mask
    loss by the weights of the last convolution, the predicted mask as truth, summed over the
    pixels: C x D numbers an image.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        With `gradient_embedding`, such as `JointCAMSegmenter` fitted with masks; for
        ``target="label"`` with `predict_proba`, and `transform` or `embedding`.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
    target : {"mask", "label"} or None, default=None
        None is "mask", and "label" of a model that gives no masks.
    loss : {"cross_entropy", "joint"}, default="cross_entropy"
        With masks; "joint" adds the Dice loss, see `alseg.training.mask_loss`.
    embedding : None, str, callable or array, default=None
        With labels, what the last layer sees; None is `transform`, see
        `alseg.strategies.embedding.embeddings_of`.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        The longest gradient first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid, the estimator cannot do it, or it predicts NaN.

    References
    ----------
    .. [1] Ash et al. 2020, arXiv:1906.03671.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> badge_sampling(ToySegmenter(), toy_images(5), 2, random_state=0).shape
    (2,)
    """
    n_instances = check_pool(X_pool, n_instances)
    check_option("loss", loss, LOSSES)
    target = target_of(learner, target)
    if target == "label":
        proba = _proba(learner, X_pool)
        return badge_picks(
            proba, pool_embeddings(learner, X_pool, embedding), n_instances, random_state
        )
    gradients = _segmenter(learner, "gradient_embedding")(X_pool, loss=loss)
    if np.ndim(gradients) != 2 or len(gradients) != n_rows(X_pool):
        rule = f"of shape ({n_rows(X_pool)}, d)"
        raise ValueError(message("gradient_embedding(X_pool)", rule, np.shape(gradients)))
    return outer_picks(np.ones((len(gradients), 1)), gradients, n_instances, random_state)


def egl_score(learner, X_pool, *, target=None, embedding=None):
    """How long a gradient of the last layer is expected to be (expected gradient length [1]_).

    For labels the expectation of the length over the predicted class. For masks, where all classes
    of all pixels are too many to sum over, the root of the expected *squared* length of the
    cross-entropy's gradient, pixels being independent: ``sqrt(sum_x |h_x|^2 (1 - sum_c p_c^2))``
    over the number of pixels.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        With `gradient_length`, such as `JointCAMSegmenter` fitted with masks; for
        ``target="label"`` with `predict_proba`, and `transform` or `embedding`.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    target : {"mask", "label"} or None, default=None
        None is "mask", and "label" of a model that gives no masks.
    embedding : None, str, callable or array, default=None
        With labels; None is `transform`.

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        Larger is more worth asking; 0 for a certain prediction.

    Raises
    ------
    TypeError
        If the estimator cannot do it.

    References
    ----------
    .. [1] Settles et al. 2008, NIPS, Multiple-instance active learning.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> egl_score(ToySegmenter(), toy_images(5)).shape
    (5,)
    """
    target = target_of(learner, target)
    if target == "label":
        proba = _proba(learner, X_pool)
        return expected_gradient_length(proba, pool_embeddings(learner, X_pool, embedding))
    return check_shape(_segmenter(learner, "gradient_length")(X_pool), n_rows(X_pool))


def egl_sampling(learner, X_pool, n_instances=1, random_state=None, *, target=None, embedding=None):
    """Ask about the images of the largest `egl_score`.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal scores.
    target, embedding
        As in `egl_score`.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Positions in the pool, best first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `egl_score`.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> egl_sampling(ToySegmenter(), toy_images(5), 2).shape
    (2,)
    """
    n_instances = check_pool(X_pool, n_instances)
    return top_n(
        egl_score(learner, X_pool, target=target, embedding=embedding), n_instances, random_state
    )
