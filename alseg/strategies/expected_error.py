"""Ask where the model is expected to be wrong, as far as its errors on labelled images tell."""

import numpy as np

from alseg.images import as_images, as_masks
from alseg.interfaces import MaskProbabilities, meets
from alseg.labels import MISSING
from alseg.query import LossPredictor, top_n
from alseg.rows import n_rows
from alseg.strategies._shared import (
    TARGETS,
    check_one_class,
    check_pool,
    check_shape,
    estimator_of,
    target_of,
)
from alseg.strategies.disagreement import chunks
from alseg.strategies.embedding import embeddings_of
from alseg.strategies.wrappers import finite
from alseg.validation import check_number, check_option, check_rng, message


def _label_losses(learner, X):
    check_one_class(learner, "Take target='mask', or entropy_sampling with target='label'.")
    model = learner if hasattr(learner, "predict_proba") else estimator_of(learner)
    if not hasattr(model, "predict_proba"):
        raise TypeError(message("learner", "with `predict_proba`", model))
    proba = np.asarray(model.predict_proba(X), dtype=float)
    classes = np.asarray(
        getattr(model, "classes_", getattr(estimator_of(learner), "classes_", None))
    )
    y = np.asarray(learner.y_training)
    columns = np.searchsorted(classes, y)
    return -np.log(np.clip(proba[np.arange(len(y)), columns], 1e-12, None))


def _mask_losses(learner, X):
    estimator = estimator_of(learner)
    if not meets(estimator, MaskProbabilities) or not hasattr(learner, "masks"):
        remedy = "Take target='label'."
        raise TypeError(message("learner", "in mask mode, with `masks`", learner, remedy))
    ids = np.asarray(learner.annotated_ids)
    masks = as_masks([learner.masks[i] for i in ids], len(ids))
    images, losses = as_images(X), []
    for idx in chunks(len(ids)):
        for i, proba in zip(idx, estimator.predict_mask_proba(images.take(idx)), strict=True):
            known = masks[i] != MISSING
            truth = np.take_along_axis(proba, np.clip(masks[i], 0, None)[None].astype(int), 0)[0]
            losses.append(-np.log(np.clip(truth[known].astype(float), 1e-12, None)).mean())
    return np.array(losses)


def learning_loss_score(
    learner,
    X_pool,
    random_state=None,
    *,
    target=None,
    embedding=None,
    margin=1.0,
    n_steps=200,
):
    """The loss that the model is expected to have on an image, up to order (learning loss [1]_).

    A small network learns, from the embeddings of the labelled images, which of two has the larger
    loss; see `alseg.query.learning_loss`. It is fitted after the model, to features that stay as
    they are, where [1]_ trains it along and lets its gradient reach them for the first part of
    training. The losses are those of images that the model was fitted to, which are smaller than
    those of others, as in [1]_.

    Parameters
    ----------
    learner : learner with `.estimator`, `.X_training` and `.y_training`, or `.masks`
        `ActiveLearner`, for masks in mask mode.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    random_state : None, int, numpy Generator or RandomState, default=None
        Where the small network starts.
    target : {"mask", "label"} or None, default=None
        None is "mask", and "label" of a model that gives no masks.
        The mean cross-entropy of annotated pixels, or that of the label.
    embedding : None, str, callable, array or pair of arrays, default=None
        See `alseg.strategies.embedding.embeddings_of`.
    margin : float, default=1.0
    n_steps : int, default=200

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        Larger is more worth asking. 0 for all, hence a random choice, if fewer than two labelled
        images differ in their loss.

    Raises
    ------
    TypeError
        If the learner does not know what is labelled.

    References
    ----------
    .. [1] Yoo and Kweon 2019, arXiv:1905.03677.

    Examples
    --------
    >>> from alseg.testing import ToyLearner, ToySegmenter, toy_images
    >>> learner = ToyLearner(ToySegmenter(), toy_images(3, random_state=1), ["class 0"] * 3)
    >>> learning_loss_score(learner, toy_images(5), 0, target="label").shape
    (5,)
    """
    if target is not None:
        check_option("target", target, TARGETS)
    check_number("n_steps", n_steps, 1, integer=True)
    check_number("margin", margin, 0, open_low=True)
    if getattr(learner, "X_training", None) is None:
        if getattr(learner, "images", None) is None and not hasattr(learner, "X_training"):
            remedy = "Ask through an ActiveLearner."
            raise TypeError(message("learner", "with `X_training`", learner, remedy))
        return np.zeros(n_rows(X_pool))  # nothing labelled yet
    points, known = embeddings_of(learner, X_pool, embedding)
    points = finite(points)
    if known is None:
        return np.zeros(len(points))
    if target is None:  # the masks of a learner that has some
        has_masks = hasattr(learner, "masks") and learner.masks is not None
        target = target_of(learner, None) if has_masks else "label"
    losses = (_mask_losses if target == "mask" else _label_losses)(learner, learner.X_training)
    predictor = LossPredictor(margin=margin, n_steps=n_steps, random_state=random_state)
    return check_shape(predictor.fit(finite(known), losses).predict(points), len(points))


def learning_loss_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    target=None,
    embedding=None,
    margin=1.0,
    n_steps=200,
):
    """Ask about the images of the largest `learning_loss_score`.

    Parameters
    ----------
    learner : learner with `.estimator`, `.X_training` and `.y_training`, or `.masks`
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Where the small network starts, and between equal scores.
    target, embedding, margin, n_steps
        As in `learning_loss_score`.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Positions in the pool, best first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `learning_loss_score`.

    Examples
    --------
    >>> from alseg.testing import ToyLearner, ToySegmenter, toy_images
    >>> learner = ToyLearner(ToySegmenter(), toy_images(3, random_state=1), ["class 0"] * 3)
    >>> learning_loss_sampling(learner, toy_images(5), 2, 0, target="label").shape
    (2,)
    """
    n_instances = check_pool(X_pool, n_instances)
    rng = check_rng(random_state)
    scores = learning_loss_score(
        learner,
        X_pool,
        int(rng.integers(2**31 - 1)),
        target=target,
        embedding=embedding,
        margin=margin,
        n_steps=n_steps,
    )
    return top_n(scores, n_instances, rng)
