"""Scores of parts: sums over windows, tiles and superpixels, and the impurity of regions."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special
from scipy.ndimage import uniform_filter

from alseg._types import Array, Masks
from alseg.validation import check_number, message

# -- sums over windows, tiles, superpixels --------------------------------------------------------


def _n_inside(n, size):
    """How many of `size` neighbours of each of `n` places are inside, (n,) int."""
    low = np.arange(n) - size // 2
    return np.minimum(low + size, n) - np.maximum(low, 0)


def box_sum(maps: Array, size: int) -> Any:
    """Sum over the square window centred at each pixel, cut at the border of the image.

    Running sums along rows, then columns: the cost does not depend on `size`.

    Parameters
    ----------
    maps : array-like of shape (..., H, W), bool, int or float
    size : int
        Side of the window. An even one has one pixel more above and left of its centre.

    Returns
    -------
    ndarray of shape (..., H, W), float64

    Raises
    ------
    ValueError
        If `size` is below 1.

    Examples
    --------
    >>> box_sum(np.ones((1, 4)), 3)
    array([[2., 3., 3., 2.]])
    """
    check_number("size", size, low=1, integer=True)
    maps = np.asarray(maps)
    if maps.dtype not in (np.float32, np.float64):
        maps = maps.astype(np.float64)
    sums = np.empty(maps.shape, np.float64)
    for where in np.ndindex(maps.shape[:-2]):  # a map at a time stays in the cache
        uniform_filter(maps[where], size, output=sums[where], mode="constant")
    sums *= float(size) ** 2
    return sums


def box_mean(maps: Array, size: int) -> Any:
    """Mean over the square window centred at each pixel, of its pixels inside the image.

    Parameters
    ----------
    maps : array-like of shape (..., H, W), float
    size : int
        Side of the window, see `box_sum`.

    Returns
    -------
    ndarray of shape (..., H, W), float64

    Examples
    --------
    >>> box_mean([[0.0, 3.0, 3.0]], 3)
    array([[1.5, 2. , 3. ]])
    """
    sums = box_sum(maps, size)
    h, w = sums.shape[-2:]
    return sums / (_n_inside(h, size)[:, None] * _n_inside(w, size))


def tile_means(map_: Array, size: int) -> Any:
    """Mean of each tile of a grid; those at the lower and right end are cut by the image.

    Parameters
    ----------
    map_ : array-like of shape (H, W), float
    size : int
        Side of a tile.

    Returns
    -------
    ndarray of shape (ceil(H / size), ceil(W / size)), float64

    Examples
    --------
    >>> tile_means([[0.0, 2.0, 5.0]], 2)
    array([[1., 5.]])
    """
    check_number("size", size, low=1, integer=True)
    map_ = np.asarray(map_, dtype=np.float64)
    rows, columns = (np.arange(0, n, size) for n in map_.shape)
    sums = np.add.reduceat(np.add.reduceat(map_, rows, axis=0), columns, axis=1)
    heights, widths = (
        np.diff(edges, append=n) for edges, n in zip((rows, columns), map_.shape, strict=True)
    )
    return sums / (heights[:, None] * widths)


def superpixel_means(map_: Array, labels: Array) -> Any:
    """Mean of each superpixel.

    Parameters
    ----------
    map_ : array-like of shape (H, W), float
    labels : array-like of shape (H, W), int
        The superpixel of each pixel, 0 and up.

    Returns
    -------
    ndarray of shape (labels.max() + 1,), float64
        0 for a number that no pixel has.

    Raises
    ------
    ValueError
        If a label is negative, or the sizes differ.

    Examples
    --------
    >>> superpixel_means([[1.0, 3.0, 5.0]], [[0, 0, 1]])
    array([2., 5.])
    """
    map_, labels = np.asarray(map_, dtype=np.float64), np.asarray(labels)
    if labels.shape != map_.shape:
        raise ValueError(message("labels", f"of the map's size {map_.shape}", labels.shape))
    if labels.dtype.kind not in "iu" or (labels.size and labels.min() < 0):
        raise ValueError(message("labels", "integers of at least 0", labels))
    counts = np.bincount(labels.reshape(-1))
    sums = np.bincount(labels.reshape(-1), weights=map_.reshape(-1))
    return sums / np.maximum(counts, 1)


def region_impurity(classes: Array, size: int, n_classes: int) -> Any:
    """Entropy of the classes in the window around each pixel, over its largest possible value [1]_.

    Parameters
    ----------
    classes : array-like of shape (H, W), int
        Predicted class of each pixel, in [0, n_classes - 1].
    size : int
        Side of the window, cut at the border.
    n_classes : int

    Returns
    -------
    ndarray of shape (H, W), float64
        In [0, 1]; 0 where one class is alone in the window.

    Raises
    ------
    ValueError
        If a class is out of range.

    References
    ----------
    .. [1] Xie et al. 2022, Towards Fewer Annotations: Active Learning via Region Impurity and
       Prediction Uncertainty for Domain Adaptive Semantic Segmentation, arXiv:2111.12940.

    Examples
    --------
    >>> region_impurity([[0, 0, 1, 1]], 3, n_classes=2).round(3)
    array([[0.   , 0.918, 0.918, 0.   ]])
    """
    check_number("n_classes", n_classes, low=2, integer=True)
    check_number("size", size, low=1, integer=True)
    classes = np.asarray(classes)
    present = np.unique(classes)
    if classes.dtype.kind not in "iu" or present[0] < 0 or present[-1] >= n_classes:
        raise ValueError(message("classes", f"integers in [0, {n_classes - 1}]", present))
    # H = log n - sum c log c / n over the counts c, which are integers: their logarithms are few.
    counts = np.arange(size * size + 1)
    table = special.xlogy(counts, counts)
    total = np.zeros(classes.shape)
    for c in present:
        inside = uniform_filter(
            (classes == c).astype(np.float32), size, output=np.float64, mode="constant"
        )
        inside *= size * size
        total += table[np.rint(inside).astype(np.intp)]
    n = _n_inside(classes.shape[0], size)[:, None] * _n_inside(classes.shape[1], size)
    impurity = (np.log(n) - total / n) / np.log(n_classes)
    return impurity.clip(0, 1)  # rounding may leave it by 1e-16


def ripu(mask_proba: Masks, size: int = 3) -> Any:
    """Region impurity times mean uncertainty of the window around each pixel [1]_.

    Both factors are over log C, so that each is in [0, 1].

    Parameters
    ----------
    mask_proba : array-like of shape (C, H, W), float
        Pixel class probabilities of one image.
    size : int, default=3
        Side of the window; ``2 k + 1`` for the published radius ``k = 1``.

    Returns
    -------
    ndarray of shape (H, W), float64
        In [0, 1]; larger is more worth asking.

    References
    ----------
    .. [1] Xie et al. 2022, arXiv:2111.12940.

    Examples
    --------
    >>> proba = np.array([[[0.5, 0.5, 1.0]], [[0.5, 0.5, 0.0]]])
    >>> ripu(proba, size=1)  # one pixel alone is pure
    array([[0., 0., 0.]])
    """
    mask_proba = np.asarray(mask_proba)
    n_classes = len(mask_proba)
    impurity = region_impurity(mask_proba.argmax(axis=0), size, n_classes)
    entropy = special.entr(mask_proba).sum(axis=0)
    return impurity * box_mean(entropy, size) / np.log(n_classes)
