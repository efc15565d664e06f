"""Contextual diversity: with what other classes each class is confused, compared between images."""

from __future__ import annotations

import numpy as np

from alseg._types import Array, Masks
from alseg.query.uncertainty import entropy
from alseg.validation import check_n_instances, message

FLOOR = 1e-12  # of a probability, before its logarithm


def class_context(mask_proba: Masks) -> np.ndarray:
    """The mean class distribution of the pixels that are predicted as each class [1]_.

    Parameters
    ----------
    mask_proba : array-like of shape (C, H, W), float
        Class probabilities of one image's pixels.

    Returns
    -------
    context : ndarray of shape (C, C), float
        Row c: the mean of the pixels predicted as c, weighted by their entropy (alike where all
        are certain); zeros if there is no such pixel.

    Raises
    ------
    ValueError
        If it is not of that shape, or not finite.

    References
    ----------
    .. [1] Agarwal et al. 2020, arXiv:2008.05723, Eq. 1.

    Examples
    --------
    >>> class_context([[[0.8, 0.6]], [[0.2, 0.4]]]).round(2)
    array([[0.69, 0.31],
           [0.  , 0.  ]])
    """
    proba = np.asarray(mask_proba, dtype=np.float64)
    if proba.ndim != 3 or not np.isfinite(proba).all():
        raise ValueError(message("mask_proba", "finite, of shape (C, H, W)", proba.shape))
    n_classes = len(proba)
    proba = proba.reshape(n_classes, -1)
    predicted = proba.argmax(axis=0)
    weight = np.asarray(entropy(proba, axis=0), dtype=np.float64)
    weight = weight + FLOOR  # certain pixels count alike, and only where there are no others
    total = np.bincount(predicted, weight, minlength=n_classes)
    context = np.stack(
        [np.bincount(predicted, weight * row, minlength=n_classes) for row in proba], axis=1
    )
    return np.divide(context, total[:, None], out=np.zeros_like(context), where=total[:, None] > 0)


class _Contexts:
    """Contexts laid out so that all distances to one image are a matrix-vector product."""

    def __init__(self, contexts, name):
        contexts = np.asarray(contexts, dtype=np.float64)
        if contexts.ndim != 3 or contexts.shape[1] != contexts.shape[2]:
            raise ValueError(message(name, "of shape (n, C, C)", contexts.shape))
        if not np.isfinite(contexts).all():
            raise ValueError(f"{name} must be finite, got NaN or infinite values.")
        seen = contexts.sum(axis=2) > 0  # (n, C)
        proba = np.where(seen[..., None], np.maximum(contexts, FLOOR), 0)
        log = np.where(seen[..., None], np.log(np.maximum(contexts, FLOOR)), 0)
        own = (proba * log).sum(axis=2)  # (n, C)
        n = len(contexts)
        # Of i and j, summed over the classes seen in both: p_i log p_i + p_j log p_j
        # - p_i log p_j - p_j log p_i.
        self.left = np.concatenate([own, seen, -proba.reshape(n, -1), -log.reshape(n, -1)], axis=1)
        self.right = np.concatenate([seen, own, log.reshape(n, -1), proba.reshape(n, -1)], axis=1)
        self.n_classes = contexts.shape[1]

    def distance_to(self, other, i):
        found = self.left @ other.right[i] / (2 * self.n_classes)
        return np.maximum(found, 0)


def contextual_distance(contexts: Array, others: Array) -> np.ndarray:
    """Mean over the classes of the symmetric Kullback-Leibler divergence of two contexts [1]_.

    A class that one of the two images does not show adds 0, as published.

    Parameters
    ----------
    contexts : array-like of shape (n, C, C), float
    others : array-like of shape (m, C, C), float

    Returns
    -------
    distance : ndarray of shape (n, m), float, in nats

    References
    ----------
    .. [1] Agarwal et al. 2020, arXiv:2008.05723, Eq. 2.

    Examples
    --------
    >>> a = [[0.5, 0.5], [0.0, 0.0]]
    >>> b = [[0.8, 0.2], [0.5, 0.5]]
    >>> contextual_distance([a, b], [b]).round(3)
    array([[0.104],
           [0.   ]])
    """
    a, b = _Contexts(contexts, "contexts"), _Contexts(others, "others")
    if a.n_classes != b.n_classes:
        raise ValueError(message("others", f"of {a.n_classes} classes", b.n_classes))
    return np.stack([a.distance_to(b, i) for i in range(len(b.left))], axis=1)


def contextual_picks(contexts: Array, n_instances: int, labelled: Array = None) -> np.ndarray:
    """k-centre greedy on the contextual distance (CDAL-CS) [1]_.

    Parameters
    ----------
    contexts : array-like of shape (n, C, C), float
        Of each image, see `class_context`.
    n_instances : int
        In [1, n].
    labelled : array-like of shape (m, C, C) or None, default=None

    Returns
    -------
    picks : ndarray of shape (n_instances,), int
        Without labelled images the first is that of the smallest mean distance to all.

    Raises
    ------
    EmptyPool
        If there is no context.
    TypeError, ValueError
        If `n_instances` is out of range, or the contexts are not valid.

    References
    ----------
    .. [1] Agarwal et al. 2020, arXiv:2008.05723.

    Examples
    --------
    >>> contexts = [[[p, 1 - p], [0.5, 0.5]] for p in (0.5, 0.6, 0.95)]
    >>> contextual_picks(contexts, 1, labelled=contexts[:1])
    array([2])
    """
    n_instances = check_n_instances(n_instances, len(contexts))
    pool = _Contexts(contexts, "contexts")
    n = len(pool.left)
    near = np.full(n, np.inf)
    picks = []
    if labelled is not None and len(labelled):
        near = nearest_context(contexts, labelled)
    else:
        picks.append(int((pool.left @ pool.right.mean(axis=0)).argmin()))
    while len(picks) < n_instances:
        if picks:
            near = np.minimum(near, pool.distance_to(pool, picks[-1]))
            near[picks] = -np.inf
        picks.append(int(near.argmax()))
    return np.array(picks)


def nearest_context(contexts: Array, labelled: Array) -> np.ndarray:
    """Contextual distance of each image to the nearest labelled one.

    Parameters
    ----------
    contexts : array-like of shape (n, C, C), float
    labelled : array-like of shape (m, C, C), float

    Returns
    -------
    distance : ndarray of shape (n,), float

    Examples
    --------
    >>> a = [[0.5, 0.5], [0.0, 0.0]]
    >>> nearest_context([a], [a]).round(9)
    array([0.])
    """
    pool, known = _Contexts(contexts, "contexts"), _Contexts(labelled, "labelled")
    if pool.n_classes != known.n_classes:
        raise ValueError(message("labelled", f"of {pool.n_classes} classes", known.n_classes))
    near = np.full(len(pool.left), np.inf)
    for i in range(len(known.left)):
        np.minimum(near, pool.distance_to(known, i), out=near)
    return near
