"""Objects in masks: found, matched and scored as in the GlaS contest."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from alseg._types import Array, Masks
from alseg.metrics.overlap import _check_same_length, _integers
from alseg.validation import check_number, message

# -- objects, as in the GlaS contest --


def instances_from_mask(mask: Masks, min_size: int = 0, connectivity: Any = 1) -> np.ndarray:
    """Number the connected parts of a mask's foreground.

    Parameters
    ----------
    mask : ndarray of shape (H, W), int or bool
        Foreground is above 0; `MISSING` is none.
    min_size : int, default=0
        Parts of fewer pixels are removed.
    connectivity : {1, 2}, default=1
        1 joins pixels that share a side, 2 also those that share a corner.

    Returns
    -------
    instances : ndarray of shape (H, W), int32
        0 is background, parts are 1, 2, ...

    Raises
    ------
    TypeError, ValueError
        If the mask is not of integers, or an option is out of range.

    Examples
    --------
    >>> instances_from_mask(np.array([[1, 0, 1, 1]]))
    array([[1, 0, 2, 2]], dtype=int32)
    """
    from scipy import ndimage

    check_number("min_size", min_size, low=0, integer=True)
    check_number("connectivity", connectivity, low=1, high=2, integer=True)
    mask = _integers("mask", mask)
    if mask.ndim != 2:
        raise ValueError(message("mask", "of shape (H, W)", mask.shape))
    structure = ndimage.generate_binary_structure(2, connectivity)
    instances, _ = ndimage.label(mask > 0, structure=structure)
    sizes = np.bincount(instances.ravel())
    keep = sizes >= min_size
    keep[0] = False
    number = np.where(keep, np.cumsum(keep), 0)
    return number[instances].astype(np.int32)


def _as_images(instances, name):
    """One instance map or a sequence of them, as a list of (H, W) integer arrays."""
    if isinstance(instances, np.ndarray) and instances.ndim == 2 and instances.dtype != object:
        return [_integers(name, instances)]
    return [_integers(f"{name}[{i}]", instances[i]) for i in range(len(instances))]


def object_overlaps(pred_instances: Array, true_instances: Array) -> Any:
    """How many pixels each predicted object shares with each true one: what object metrics need.

    Several metrics, or those of parts of a data set, then count pixels once:
    `object_f1_from_overlaps`, `object_dice_from_overlaps`.

    Parameters
    ----------
    pred_instances, true_instances : ndarray of shape (H, W), int; or a sequence of them
        Number of the object at each pixel, 0 where there is none.

    Returns
    -------
    overlaps : list of (areas (P,), areas (T,), overlap (P, T)), int
        Of each image: pixels of its predicted objects, of its true objects, and of pairs.

    Raises
    ------
    TypeError, ValueError
        If lengths or sizes differ, or values are not integers >= 0.

    Examples
    --------
    >>> object_overlaps(np.array([[1, 1, 0, 2, 0]]), np.array([[7, 7, 7, 0, 8]]))
    [(array([2, 1]), array([3, 1]), array([[2, 0],
           [0, 0]]))]
    """
    overlaps = []
    pred_instances = _as_images(pred_instances, "pred_instances")
    true_instances = _as_images(true_instances, "true_instances")
    _check_same_length(pred_instances, true_instances, "pred_instances")
    for i, (pred, true) in enumerate(zip(pred_instances, true_instances, strict=True)):
        if pred.shape != true.shape:
            rule = f"of the size of the true map, {true.shape}"
            raise ValueError(message(f"pred_instances[{i}]", rule, pred.shape))
        if pred.size and min(pred.min(), true.min()) < 0:
            rule = ">= 0 everywhere (objects cannot be partly annotated)"
            raise ValueError(message(f"instances[{i}]", rule, int(min(pred.min(), true.min()))))
        (p, n_p), (t, n_t) = _renumbered(pred.ravel()), _renumbered(true.ravel())
        table = np.bincount(p * n_t + t, minlength=n_p * n_t).reshape(n_p, n_t)
        overlaps.append((table[1:].sum(axis=1), table[:, 1:].sum(axis=0), table[1:, 1:]))
    return overlaps


def _renumbered(numbers):
    """Numbers >= 0 as 0 (background) and 1, 2, ... in their order, and how many there are."""
    highest = int(numbers.max(initial=0))
    if highest > 4 * len(numbers) + 1000:  # far apart: a table of them would be large
        _, found = np.unique(np.append(numbers, 0), return_inverse=True)
        return found[:-1], int(found.max()) + 1
    there = np.bincount(numbers, minlength=highest + 1) > 0
    there[0] = True
    return (np.cumsum(there) - 1)[numbers], int(there.sum())


def _most_overlapped(overlap, areas):
    """Column of the largest overlap of each row; of equal ones the smallest object, so that the
    numbers of the objects do not matter."""
    return (overlap * (areas.max() + 1) - areas).argmax(axis=1)


def object_counts(pred_instances: Array, true_instances: Array, min_overlap: float = 0.5) -> Any:
    """Objects found, objects invented, objects missed, as the GlaS contest counts them [1]_.

    A predicted object belongs to the true object that it overlaps most (the smaller of two). It
    is a true positive if it covers at least `min_overlap` of that true object, else a false
    positive. True objects that no true positive belongs to are false negatives.

    Parameters
    ----------
    pred_instances, true_instances : ndarray of shape (H, W), int; or a sequence of them
        Number of the object at each pixel, 0 where there is none. Counts of several images are
        summed.
    min_overlap : float, default=0.5
        In (0, 1].

    Returns
    -------
    true_positives, false_positives, false_negatives : int

    Raises
    ------
    TypeError, ValueError
        If lengths or sizes differ, or values are not integers >= 0.

    References
    ----------
    .. [1] Sirinukunwattana et al. 2017, Gland segmentation in colon histology images: the GlaS
       challenge contest, arXiv:1603.00275.

    Examples
    --------
    >>> object_counts(np.array([[1, 1, 0, 2, 0]]), np.array([[7, 7, 7, 0, 8]]))
    (1, 1, 1)
    """
    check_number("min_overlap", min_overlap, low=0, high=1, open_low=True)
    return _counts(object_overlaps(pred_instances, true_instances), min_overlap)


def _counts(overlaps, min_overlap):
    found = invented = missed = 0
    for area_pred, area_true, overlap in overlaps:
        hit = np.zeros(len(area_pred), dtype=bool)
        matched = np.zeros(len(area_true), dtype=bool)
        if overlap.size:
            own = _most_overlapped(overlap, area_true)
            hit = overlap[np.arange(len(own)), own] >= min_overlap * area_true[own]
            matched[own[hit]] = True
        found += int(hit.sum())
        invented += int((~hit).sum())
        missed += int((~matched).sum())
    return found, invented, missed


def object_f1(pred_instances: Masks, true_instances: Masks, min_overlap: float = 0.5) -> Any:
    """F1 of found objects, ``2 TP / (2 TP + FP + FN)``, as in the GlaS contest.

    Parameters, errors and reference as in `object_counts`; the counts of several images are
    pooled. A prediction that merges two glands finds at most one of them.

    Returns
    -------
    float
        In [0, 1]; 1 if there is no object on either side.

    Examples
    --------
    >>> object_f1(np.array([[1, 1, 0, 2, 0]]), np.array([[7, 7, 7, 0, 8]]))
    0.5
    """
    check_number("min_overlap", min_overlap, low=0, high=1, open_low=True)
    return object_f1_from_overlaps(object_overlaps(pred_instances, true_instances), min_overlap)


def object_f1_from_overlaps(overlaps: Any, min_overlap: float = 0.5) -> Any:
    """`object_f1` of what `object_overlaps` counted.

    Parameters
    ----------
    overlaps : list
        Of the images that count.
    min_overlap : float, default=0.5

    Returns
    -------
    float

    Examples
    --------
    >>> overlaps = object_overlaps(np.array([[1, 1, 0, 2, 0]]), np.array([[7, 7, 7, 0, 8]]))
    >>> object_f1_from_overlaps(overlaps)
    0.5
    """
    check_number("min_overlap", min_overlap, low=0, high=1, open_low=True)
    found, invented, missed = _counts(overlaps, min_overlap)
    total = 2 * found + invented + missed
    return 2 * found / total if total else 1.0


def object_dice(pred_instances: Array, true_instances: Array) -> Any:
    """Object-level Dice of the GlaS contest [1]_.

    Each predicted object is compared with the true object that it overlaps most, and each true
    object with the predicted one; both sides are averaged weighted by area, and then with each
    other. Merged and split objects cost, which pixel Dice does not see.

    Parameters
    ----------
    pred_instances, true_instances : ndarray of shape (H, W), int; or a sequence of them
        Number of the object at each pixel, 0 where there is none. With several images the
        objects of all are averaged together, by area.

    Returns
    -------
    float
        In [0, 1]; 1 if there is no object on either side.

    Raises
    ------
    TypeError, ValueError
        If lengths or sizes differ, or values are not integers >= 0.

    References
    ----------
    .. [1] Sirinukunwattana et al. 2017, arXiv:1603.00275.

    Examples
    --------
    >>> merged, apart = np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 2]])
    >>> object_dice(apart, apart), round(object_dice(merged, apart), 4)
    (1.0, 0.6667)
    """
    return object_dice_from_overlaps(object_overlaps(pred_instances, true_instances))


def object_dice_from_overlaps(overlaps: Any) -> Any:
    """`object_dice` of what `object_overlaps` counted.

    Parameters
    ----------
    overlaps : list
        Of the images that count.

    Returns
    -------
    float

    Examples
    --------
    >>> overlaps = object_overlaps(np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 2]]))
    >>> round(object_dice_from_overlaps(overlaps), 4)
    0.6667
    """
    weighted, areas = np.zeros(2), np.zeros(2)
    for area_pred, area_true, overlap in overlaps:
        areas += area_pred.sum(), area_true.sum()
        for side, (mine, other, table) in enumerate(
            [(area_pred, area_true, overlap), (area_true, area_pred, overlap.T)]
        ):
            if table.size:
                best = _most_overlapped(table, other)
                common = table[np.arange(len(best)), best]
                weighted[side] += (mine * 2 * common / (mine + other[best])).sum()
    if not areas.any():
        return 1.0
    return float((weighted / np.maximum(areas, 1)).mean())


def object_hausdorff(pred_instances: Array, true_instances: Array) -> Any:
    """Object-level Hausdorff distance of the GlaS contest [1]_, in pixels.

    Each predicted object is compared with the true object that it overlaps most, or where it
    overlaps none with the nearest by this distance; each true object likewise. Both sides are
    averaged weighted by area, and then with each other. Distances are between the pixels of the
    objects.

    Parameters
    ----------
    pred_instances, true_instances : ndarray of shape (H, W), int; or a sequence of them
        Number of the object at each pixel, 0 where there is none. With several images the
        objects of all are averaged together, by area.

    Returns
    -------
    float
        0 if there is no object on either side, infinite if an image has objects on one alone.

    Raises
    ------
    TypeError, ValueError
        If lengths or sizes differ, or values are not integers >= 0.

    References
    ----------
    .. [1] Sirinukunwattana et al. 2017, arXiv:1603.00275.

    Examples
    --------
    >>> true, pred = np.zeros((2, 1, 12), int)
    >>> true[0, 2:6], pred[0, 2:9] = 7, 1
    >>> object_hausdorff(pred, true)
    3.0
    """
    overlaps = object_overlaps(pred_instances, true_instances)
    pairs = zip(
        _as_images(pred_instances, "pred_instances"),
        _as_images(true_instances, "true_instances"),
        overlaps,
        strict=True,
    )
    weighted, areas = np.zeros(2), np.zeros(2)
    for pred, true, (area_pred, area_true, overlap) in pairs:
        if not overlap.size:
            weighted += [np.inf if len(area) else 0.0 for area in (area_pred, area_true)]
            areas += area_pred.sum(), area_true.sum()
            continue
        between = _distance_of_objects(pred, true)
        for side, (area, other, table) in enumerate(
            [(area_pred, area_true, overlap), (area_true, area_pred, overlap.T)]
        ):
            best = _most_overlapped(table, other)
            for k, j in enumerate(best):
                rivals = [j] if table[k, j] else range(len(other))
                near = min(between(k, m) if side == 0 else between(m, k) for m in rivals)
                weighted[side] += area[k] * near
            areas[side] += area.sum()
    if np.isinf(weighted).any():
        return float("inf")
    return float((weighted / np.maximum(areas, 1)).mean())


def _distance_of_objects(pred, true):
    """A function of a predicted and a true object, by their places, to their Hausdorff distance."""
    from scipy.spatial import cKDTree

    maps = [_numbered(instances) for instances in (pred, true)]
    pixels = [_pixels_of_objects(numbers, numbers > 0) for numbers in maps]
    # The nearest pixel of an object is one at its rim, from wherever one is not in it.
    trees = [
        [cKDTree(rim) if len(rim) else None for rim in _pixels_of_objects(numbers, _rims(numbers))]
        for numbers in maps
    ]

    def farthest(side, k, j):
        places = pixels[side][k]
        outside = places[maps[1 - side][tuple(places.T)] != j + 1]
        return trees[1 - side][j].query(outside)[0].max() if len(outside) else 0.0

    @functools.cache
    def between(k, j):
        return float(max(farthest(0, k, j), farthest(1, j, k)))

    return between


def _numbered(instances):
    numbers, _ = _renumbered(instances.ravel())
    return numbers.reshape(instances.shape)


def _rims(numbers):
    """Pixels of objects beside a pixel of something else."""
    rims = np.zeros(numbers.shape, dtype=bool)
    for axis in (0, 1):
        a = np.moveaxis(numbers, axis, 0)
        differ = a[1:] != a[:-1]
        along = np.moveaxis(rims, axis, 0)  # a view
        along[1:] |= differ
        along[:-1] |= differ
    return rims & (numbers > 0)


def _pixels_of_objects(numbers, chosen):
    """Rows and columns of the chosen pixels of each object: a list of (n_pixels, 2)."""
    places, own = np.argwhere(chosen), numbers[chosen]
    order = np.argsort(own, kind="stable")
    ends = np.searchsorted(own[order], np.arange(1, numbers.max(initial=0) + 1), side="right")
    return np.split(places[order], ends[:-1])
