"""What a model predicts, and what is taken for a method that it lacks: masks of probabilities, say.

A model has to give probabilities of pixels (`predict_mask_proba`); all else follows from them, or
from one of the other methods, and is made here alone. Of a scikit-learn `Pipeline` the last step is
asked, about what the steps before make of the images.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from alseg.images import as_images, as_masks, stack
from alseg.interfaces import (
    ClassMaps,
    JointPredictions,
    ScoresMasks,
    Uncertainty,
    before_and_last,
    has_class_head,
    is_multilabel,
    mask_classes_of,
    meets,
)
from alseg.metrics import mask_from_proba, mean_dice
from alseg.query import DRAW_UNCERTAINTIES, UNCERTAINTIES
from alseg.query import aggregate as aggregate_maps
from alseg.rows import n_rows
from alseg.rows import retrieve_rows as rows
from alseg.validation import check_option, message

_CHUNK = 16  # images whose probabilities are held at once
PAGE = "See docs/user/own_estimator.md."


def _seen(model: Any, X: Any) -> tuple[Any, Any]:
    """The model that predicts, and the images as it sees them."""
    before, last = before_and_last(model)
    return last, X if before is None else before(X)


def mask_proba_of(model: Any, X: Any, **options: Any) -> Any:
    """Class probabilities of pixels: an array (C, H, W) for each image.

    Parameters
    ----------
    model : estimator
        Fitted, with `predict_mask_proba`; or a `Pipeline` that ends in one.
    X : images of shape (n, ...), or any sequence of images or paths
    **options
        For the method.

    Returns
    -------
    ndarray of shape (n, C, H, W), or sequence of n (C, H, W)
    """
    model, X = _seen(model, X)
    return model.predict_mask_proba(X, **options)


def masks_of(model: Any, X: Any, **options: Any) -> Any:
    """Class of each pixel: `predict_masks`, or what the probabilities stand for.

    Parameters
    ----------
    model, X, **options
        As of `mask_proba_of`. ``threshold_`` is read where there is no `predict_masks`; 0.5 is
        taken without it.

    Returns
    -------
    ndarray of shape (n, H, W), int, or of n (H, W)

    Examples
    --------
    >>> class Half:
    ...     def predict_mask_proba(self, X):
    ...         return np.stack([np.stack([1 - x, x]) for x in X])
    >>> masks_of(Half(), [np.array([[0.4, 0.6]])]).tolist()
    [[[0, 1]]]
    """
    model, X = _seen(model, X)
    if hasattr(model, "predict_masks"):
        return model.predict_masks(X, **options)
    return stack(_masks(model.predict_mask_proba(X, **options), _threshold(model)))


def _threshold(model):
    own = getattr(model, "threshold_", None)
    return 0.5 if own is None else own


def _masks(proba, threshold):
    return [mask_from_proba(p, threshold) for p in proba]


def joint_of(model: Any, X: Any, cams: bool = False, **options: Any) -> Bunch:
    """Everything about each image: `predict_joint`, or its parts one by one.

    Parameters
    ----------
    model, X, **options
        As of `mask_proba_of`.
    cams : bool, default=False
        Whether class activation maps are wanted, also where `predict_cams` alone gives them.

    Returns
    -------
    Bunch
        ``masks`` and ``mask_proba``, with a class head ``labels`` and ``proba``, and ``cams`` where
        `predict_joint` gives them or they are wanted.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> sorted(joint_of(ToySegmenter(), toy_images(2)))
    ['cams', 'labels', 'mask_proba', 'masks', 'proba']
    """
    model, X = _seen(model, X)
    head = has_class_head(model)
    if head and meets(model, JointPredictions):
        joint = model.predict_joint(X, **options)
        found = Bunch(**(joint if isinstance(joint, Mapping) else vars(joint)))
    else:
        proba = model.predict_mask_proba(X, **options)
        own = getattr(model, "threshold_", None)
        if own is None and hasattr(model, "predict_masks"):
            masks = list(model.predict_masks(X, **options))
        else:
            masks = _masks(proba, _threshold(model))
        found = Bunch(masks=masks, mask_proba=proba)
        if head:
            found.update(labels=model.predict(X), proba=model.predict_proba(X))
    if cams and "cams" not in found and meets(model, ClassMaps):
        found.cams = model.predict_cams(X)
    return found


def labels_of_proba(model: Any, proba: np.ndarray) -> np.ndarray:
    """The likeliest class of each image; of several a matrix, 1 where it is above 0.5."""
    if is_multilabel(model):
        return (proba > 0.5).astype(int)
    return model.classes_[proba.argmax(axis=1)]


def either_or(model: Any, proba: np.ndarray) -> np.ndarray:
    """Class probabilities (n, K) that sum to 1 over axis 1: of several classes (n, 2, K).

    Whether the image is of a class, or not, is a question by itself then.
    """
    return np.stack([1 - proba, proba], axis=1) if is_multilabel(model) else proba


def of_images(values: Any) -> Any:
    """What was measured over axis 1 of `either_or`: the mean over the classes of an image.

    An array or a tensor, of shape (n,) or (n, K).
    """
    return values if values.ndim == 1 else values.mean(axis=1)


def doubt_of_labels(model: Any, proba: np.ndarray, method: str) -> np.ndarray:
    """How unsure class probabilities are: ndarray of shape (n,), larger is less sure.

    Parameters
    ----------
    model : estimator
    proba : ndarray of shape (n, K)
        What it predicts.
    method : str
        A name in `alseg.query.UNCERTAINTIES`. Where an image is of several classes it is the mean
        over them, each a question of two answers.

    Examples
    --------
    >>> class Several:
    ...     multilabel_ = True
    >>> doubt_of_labels(Several(), np.array([[0.5, 1.0], [0.9, 0.9]]), "least_confidence").round(2)
    array([0.25, 0.1 ])
    """
    return of_images(UNCERTAINTIES[method](either_or(model, proba), axis=1))


def score_of_masks(model: Any, X: Any, masks: Any, **options: Any) -> float:
    """How good masks are: `score_masks`, or their mean Dice over the images that have a mask.

    Parameters
    ----------
    model, X, **options
        As of `mask_proba_of`.
    masks : array of shape (n, H, W), or sequence of n masks and None

    Returns
    -------
    float
    """
    model, X = _seen(model, X)
    if meets(model, ScoresMasks):
        return model.score_masks(X, masks, **options)
    masks = as_masks(masks, len(as_images(X)))
    known = [masks[i] for i in range(len(masks))]
    return mean_dice(masks_of(model, X), known, n_mask_classes=mask_classes_of(model))


def uncertainty_of(model: Any, X: Any, **options: Any) -> Any:
    """How unsure a model is of each image: `predict_uncertainty`, or of its probabilities.

    Parameters
    ----------
    model, X
        As of `mask_proba_of`.
    **options
        As of `alseg.JointCAMSegmenter.predict_uncertainty`: ``method="entropy"``,
        ``aggregate="mean"``, ``target="mask"``, ``return_maps=False``, ``n_draws`` and
        ``random_state``. Methods of draws take a `predict_uncertainty` of the model's own.

    Returns
    -------
    score : ndarray of shape (n,), float
    maps : ndarray of shape (n, H, W), float32, or of n (H, W); with `return_maps`

    Raises
    ------
    TypeError
        If the model has no draws.
    """
    model, X = _seen(model, X)
    if meets(model, Uncertainty):
        return model.predict_uncertainty(X, **options)
    return _from_probabilities(model, X, **options)


def _from_probabilities(
    model,
    X,
    method="entropy",
    aggregate="mean",
    target="mask",
    return_maps=False,
    n_draws=None,
    random_state=None,
):
    if method not in UNCERTAINTIES:
        check_option("method", method, (*UNCERTAINTIES, *DRAW_UNCERTAINTIES))
        rule = f"one with predict_uncertainty for {method!r}, which takes draws"
        raise TypeError(message("estimator", rule, model, PAGE))
    check_option("target", target, ("mask", "label"))
    if target == "label":
        return doubt_of_labels(model, np.asarray(model.predict_proba(X)), method)
    score_of = functools.partial(UNCERTAINTIES[method], axis=0)
    return scores_of_proba(model, X, score_of, aggregate, return_maps)


def scores_of_proba(
    model: Any, X: Any, map_of: Any, aggregate: Any, return_maps: bool = False
) -> Any:
    """Scores of the probabilities that a model gives each pixel, a few images at a time.

    Parameters
    ----------
    model, X
        As of `mask_proba_of`.
    map_of : callable
        From probabilities (C, H, W) to a map (H, W).
    aggregate : str or callable
        From the pixels to the image.
    return_maps : bool, default=False

    Returns
    -------
    scores : ndarray of shape (n,), float
    maps : ndarray of shape (n, H, W), float32, or of arrays; with `return_maps`

    Raises
    ------
    ValueError
        If a probability is not finite.
    """
    n = n_rows(X)
    scores, maps = [], []
    for start in range(0, n, _CHUNK):
        idx = np.arange(start, min(start + _CHUNK, n))
        for proba in mask_proba_of(model, rows(X, idx)):
            proba = np.asarray(proba)
            if not np.isfinite(proba).all():
                rule = "finite"
                raise ValueError(message("predict_mask_proba(X_pool)", rule, "NaN or infinity"))
            map_ = map_of(proba)
            scores.append(aggregate_maps(map_[None], aggregate, mask_proba=proba[None])[0])
            if return_maps:
                maps.append(map_.astype(np.float32))
    found = np.array(scores, dtype=float)
    return (found, stack(maps)) if return_maps else found
