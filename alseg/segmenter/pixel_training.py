"""Which pixels and images a `PixelClassifier` learns from, and the fits of its two classifiers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from alseg._types import Images, Masks
from alseg.images import read_pairs
from alseg.labels import MISSING
from alseg.segmenter.inference import resize_maps
from alseg.validation import message


def draw_of_each(
    positions: np.ndarray, classes: np.ndarray, n: int | None, rng: np.random.Generator
) -> np.ndarray:
    """Draw at most n of some positions, each with its class; of each class at least one.

    Parameters
    ----------
    positions : ndarray of shape (m,), int
    classes : ndarray of shape (m,), int
    n : int or None
        None is all of them. Of more classes than that, the first n are drawn.
    rng : numpy Generator

    Returns
    -------
    ndarray of shape (min(n, m),), int, ascending

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> draw_of_each(np.arange(100), np.arange(100) == 42, 3, rng).tolist()
    [36, 42, 82]
    """
    if n is None or len(positions) <= n:
        return positions
    order = rng.permutation(len(positions))
    _, first = np.unique(classes[order], return_index=True)
    order = np.concatenate([order[first], np.delete(order, first)])
    return np.sort(positions[order[:n]])


def drawn_pixels(
    images: Images,
    masks: Masks,
    weights: list[Any] | None,
    n_mask_classes: int,
    n_pixels: int | None,
    seed: int,
) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each image with annotated pixels: positions of some, their classes and weights.

    What is drawn of an image depends on the seed, its position and its own mask alone.

    Parameters
    ----------
    images, masks : as `as_images` and `as_masks` give them
        Every mask is read, and checked; no image is.
    weights : None, or list of float and ndarray of shape (H, W)
    n_mask_classes : int
    n_pixels : int or None
        At most so many of weight 1 or more, and of smaller weight; see `PixelClassifier`.
    seed : int

    Returns
    -------
    dict of int -> (ndarray of shape (2, m) int, ndarray of shape (m,) int, ndarray of shape (m,))
        By the image's position: rows and columns in the mask, classes, weights.
    """
    drawn = {}
    for i, mask in read_pairs(images, masks, n_mask_classes, read=lambda i: i):
        if mask is None:
            continue
        classes = mask.ravel()
        weight = np.broadcast_to(1.0 if weights is None else weights[i], mask.shape).ravel()
        known = np.flatnonzero((classes != MISSING) & (weight > 0))
        expert, rng = weight[known] >= 1, np.random.default_rng([seed, i])
        chosen = np.concatenate(
            [
                draw_of_each(part, classes[part], n_pixels, rng)
                for part in (known[expert], known[~expert])
            ]
        )
        if len(chosen):
            places = np.stack(np.unravel_index(chosen, mask.shape))
            drawn[i] = places, classes[chosen], weight[chosen]
    return drawn


def drawn_images(codes: np.ndarray, n: int, seed: int) -> list[int]:
    """Positions of the images that the image's class is learned from: list of at most n int."""
    rng = np.random.default_rng([seed, len(codes)])
    return draw_of_each(np.arange(len(codes)), codes, n, rng).tolist()


def places_on(
    grid: tuple[int, int], places: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, ...]:
    """Where pixels of an image stand on a grid of another size: an index of it.

    Examples
    --------
    >>> places_on((2, 3), np.array([[0, 3], [0, 11]]), (4, 12))  # the corners
    (array([0, 1]), array([0, 2]))
    """
    return tuple(
        (2 * place + 1) * n // (2 * side) for n, place, side in zip(grid, places, size, strict=True)
    )


def fitted_pixels(
    classifier: Any, X: np.ndarray, classes: np.ndarray, weight: np.ndarray, seed: int
) -> Any:
    """Fit a classifier of pixels.

    Parameters
    ----------
    classifier : scikit-learn classifier
        It is changed: seeded, and fitted.
    X : ndarray of shape (n_pixels, d)
    classes, weight : ndarray of shape (n_pixels,)
    seed : int

    Returns
    -------
    classifier
        One of one thread, or where there is one class alone maybe another.

    Raises
    ------
    ValueError
        If weights differ and it takes none.
    """
    params = _named(classifier, "random_state")
    classifier.set_params(**{name: seed for name, value in params.items() if value is None})
    given = {_weight_name(classifier): weight} if len(np.unique(weight)) > 1 else {}
    classifier = _or_constant(classifier, classes).fit(X, classes, **given)
    # Threads of a forest would add up its trees in the order in which they are done.
    return classifier.set_params(**dict.fromkeys(_named(classifier, "n_jobs"), 1))


def fitted_labels(embeddings: np.ndarray, codes: np.ndarray) -> Any:
    """A classifier of images by their mean features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return _or_constant(classifier, codes).fit(embeddings.astype(float), codes)


def fitted_answers(embeddings: np.ndarray, labels: np.ndarray) -> list[Any]:
    """A classifier of each column of labels (n, K), of the images where it is known.

    None for a column that is known of no image.
    """
    found = []
    for column in labels.T:
        known = column != MISSING
        found.append(fitted_labels(embeddings[known], column[known]) if known.any() else None)
    return found


def answers(classifiers: list[Any], embeddings: np.ndarray) -> np.ndarray:
    """Probability (n, K) of each class by itself; 0.5 of one of which nothing was known."""
    proba = np.full((len(embeddings), len(classifiers)), 0.5)
    for k, classifier in enumerate(classifiers):
        if classifier is not None:
            found = classifier.predict_proba(embeddings)
            proba[:, k] = found[:, classifier.classes_ == 1].sum(axis=1)  # 0 if it never was
    return proba


def mean_features(features: np.ndarray, size: Any = None) -> np.ndarray:
    """What the classes of an image are told by: the mean (d,) of the features of its pixels."""
    return features.mean((0, 1))


def proba_maps(model: Any, whole: Any, features: np.ndarray, n_mask_classes: int) -> np.ndarray:
    """What a model says of each pixel: (C, h, w); its columns are the classes of the whole one."""
    height, width, n_features = features.shape
    found = model.predict_proba(features.reshape(-1, n_features))
    proba = np.zeros((n_mask_classes, height, width))
    proba[whole.classes_] = found.T.reshape(-1, height, width)
    return proba


def resized(maps: Any, size: tuple[int, int]) -> np.ndarray:
    """Maps at an image's own size."""
    return resize_maps(torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32)), size)


def is_forest(classifier: Any) -> bool:
    """Whether a classifier has trees, with its classes in the same order and all features."""
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

    return isinstance(classifier, (RandomForestClassifier, ExtraTreesClassifier))


def _or_constant(classifier, classes):
    """A classifier, or where there is one class alone a tree of one leaf: some refuse that."""
    if len(np.unique(classes)) > 1 or is_forest(classifier):
        return classifier
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier()


def _named(classifier, name):
    """Parameters of this name, of a classifier and of the steps in it."""
    params = classifier.get_params(deep=True)
    return {n: value for n, value in params.items() if n == name or n.endswith(f"__{name}")}


def _weight_name(classifier):
    """The argument of `fit` that takes weights of samples, of a pipeline its last step's."""
    last, name = classifier, "sample_weight"
    if isinstance(classifier, Pipeline):
        step, last = classifier.steps[-1]
        name = f"{step}__{name}"
    if has_fit_parameter(last, "sample_weight"):
        return name
    remedy = "Take a forest, or leave mask_weight out (pseudo-masks with weight=1)."
    rule = "a classifier whose fit takes sample_weight where pixels count differently"
    raise ValueError(message("classifier", rule, last, remedy))
