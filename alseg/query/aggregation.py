"""From a map of pixel scores to one score an image (numpy or torch).

Every function takes maps `(n, H, W)` and gives `(n,)`, on the device of a tensor. Which one is
used decides what is asked for: `sum`, `max` and `distance_weighted` favour large images and
`boundary_mean` images with a contour; the others compare images of differing sizes fairly.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np

from alseg._types import Array, Function, Masks
from alseg.query.uncertainty import floating, is_tensor, namespace
from alseg.validation import check_number, check_option, message


def _flat(maps):
    maps = floating(maps)
    return maps.reshape(maps.shape[0], -1)  # (n, H * W)


def _as_kind_of(x, like):
    """`x` (an array) as `like` is: a tensor on its device, or an array, of its dtype."""
    if is_tensor(like):
        return namespace(like).as_tensor(x, dtype=like.dtype, device=like.device)
    return np.asarray(x, dtype=like.dtype)


def _weighted_mean(maps, weights):
    """Mean with weights `(n, H, W)`; 0 for an image whose weights are all 0."""
    weights = weights.reshape(weights.shape[0], -1)
    total = weights.sum(axis=1)
    least = namespace(total).finfo(total.dtype).tiny  # only keeps 0 / 0 away
    return (_flat(maps) * weights).sum(axis=1) / total.clip(min=least)


def pixel_mean(maps: Array) -> Any:
    """Mean over the pixels of an image: the default, and the same for a small and a large image.

    Parameters
    ----------
    maps : ndarray or torch.Tensor of shape (n, H, W), float

    Returns
    -------
    score : ndarray or torch.Tensor of shape (n,), float

    Examples
    --------
    >>> pixel_mean(np.array([[[0.0, 1.0], [0.0, 1.0]]]))
    array([0.5])
    """
    return _flat(maps).mean(axis=1)


def pixel_sum(maps: Array) -> Any:
    """Sum over the pixels of an image. Biased: an image of twice the area scores twice as much.

    Parameters
    ----------
    maps : ndarray or torch.Tensor of shape (n, H, W), float

    Returns
    -------
    score : ndarray or torch.Tensor of shape (n,), float

    Examples
    --------
    >>> pixel_sum(np.array([[[0.0, 1.0], [0.0, 1.0]]]))
    array([2.])
    """
    return _flat(maps).sum(axis=1)


def pixel_max(maps: Array) -> Any:
    """Largest pixel of an image. Biased: more pixels are more chances for a large one.

    Parameters
    ----------
    maps : ndarray or torch.Tensor of shape (n, H, W), float

    Returns
    -------
    score : ndarray or torch.Tensor of shape (n,), float

    Examples
    --------
    >>> pixel_max(np.array([[[0.0, 0.75], [0.0, 0.5]]]))
    array([0.75])
    """
    maps = _flat(maps)
    return namespace(maps).amax(maps, axis=1)


def top_fraction(maps: Array, fraction: float = 0.1) -> Any:
    """Mean over the most uncertain pixels of an image.

    Parameters
    ----------
    maps : ndarray or torch.Tensor of shape (n, H, W), float
    fraction : float, default=0.1
        Share of the pixels that counts, in (0, 1]; at least one pixel does. 1 is the mean.

    Returns
    -------
    score : ndarray or torch.Tensor of shape (n,), float

    Raises
    ------
    ValueError
        If `fraction` is outside (0, 1].

    Examples
    --------
    >>> top_fraction(np.array([[[0.0, 1.0], [0.5, 0.0]]]), fraction=0.5)
    array([0.75])
    """
    check_number("fraction", fraction, low=0, high=1, open_low=True)
    maps = _flat(maps)
    n_pixels = maps.shape[1]
    k = max(1, round(fraction * n_pixels))
    if is_tensor(maps):
        return maps.topk(k, dim=1, sorted=False).values.mean(dim=1)
    return np.partition(maps, n_pixels - k, axis=1)[:, n_pixels - k :].mean(axis=1)


def quantile(maps: Array, q: float = 0.9) -> Any:
    """Quantile of the pixels of an image, linear between two pixels as in numpy.

    Parameters
    ----------
    maps : ndarray or torch.Tensor of shape (n, H, W), float
    q : float, default=0.9
        In [0, 1]; 0.5 is the median, 1 the maximum.

    Returns
    -------
    score : ndarray or torch.Tensor of shape (n,), float

    Raises
    ------
    ValueError
        If `q` is outside [0, 1].

    Examples
    --------
    >>> quantile(np.array([[[0.0, 1.0], [0.5, 0.25]]]), q=1.0)
    array([1.])
    """
    check_number("q", q, low=0, high=1)
    maps = _flat(maps)
    if not is_tensor(maps):
        return np.quantile(maps, q, axis=1).astype(maps.dtype)
    # torch.quantile refuses more than 2**24 numbers, a batch of photographs.
    torch = namespace(maps)
    ordered = maps.sort(dim=1).values
    position = q * (maps.shape[1] - 1)
    low = int(position)
    high = min(low + 1, maps.shape[1] - 1)
    result = torch.lerp(ordered[:, low], ordered[:, high], position - low)
    return result + 0 * ordered[:, -1]  # NaN sorts last: it must show at any q


def foreground_mean(maps: Array, mask_proba: Masks) -> Any:
    """Mean weighted by the probability of foreground, one minus that of class 0.

    Weights are soft: there is no threshold, and an image without predicted foreground still has a
    score (a hard foreground would score it 0, and never ask about a missed object).

    Parameters
    ----------
    maps : ndarray or torch.Tensor of shape (n, H, W), float
    mask_proba : ndarray or torch.Tensor of shape (n, C, H, W), float
        Pixel class probabilities.

    Returns
    -------
    score : ndarray or torch.Tensor of shape (n,), float
        0 where the probability of foreground is exactly 0 at every pixel.

    Examples
    --------
    >>> proba = np.array([[[[0.0, 1.0]], [[1.0, 0.0]]]])  # the left pixel is foreground
    >>> foreground_mean(np.array([[[0.2, 0.8]]]), proba)
    array([0.2])
    """
    return _weighted_mean(maps, 1 - floating(mask_proba)[:, 0])


def classwise_mean(maps: Array, mask_proba: Masks) -> Any:
    """Mean over the predicted classes of the mean over each one's pixels.

    A class that fills one per cent of an image counts as much as the background. Classes that
    are predicted nowhere in an image are left out.

    Parameters
    ----------
    maps : ndarray or torch.Tensor of shape (n, H, W), float
    mask_proba : ndarray or torch.Tensor of shape (n, C, H, W), float
        Pixel class probabilities.

    Returns
    -------
    score : ndarray or torch.Tensor of shape (n,), float

    Examples
    --------
    >>> proba = np.array([[[[0.0, 1.0, 1.0]], [[1.0, 0.0, 0.0]]]])
    >>> classwise_mean(np.array([[[0.9, 0.2, 0.4]]]), proba).round(4)
    array([0.6])
    """
    maps, mask_proba = floating(maps), floating(mask_proba)
    labels = mask_proba.argmax(axis=1)  # (n, H, W)
    total = count = 0
    for c in range(mask_proba.shape[1]):
        inside = (labels == c) * (maps * 0 + 1)  # as floats of the kind of maps
        total = total + _weighted_mean(maps, inside)
        count = count + inside.reshape(inside.shape[0], -1).sum(axis=1).clip(max=1)
    return total / count


def boundary_mean(maps: Array, mask_proba: Masks, width: int = 1) -> Any:
    """Mean over the pixels within `width` of the predicted contour.

    Parameters
    ----------
    maps : ndarray or torch.Tensor of shape (n, H, W), float
    mask_proba : ndarray or torch.Tensor of shape (n, C, H, W), float
        Pixel class probabilities; the contour is where the most likely class changes.
    width : int, default=1
        Pixels on each side of the contour, by 4-neighbour steps.

    Returns
    -------
    score : ndarray or torch.Tensor of shape (n,), float
        0 for an image in which one class is predicted everywhere.

    Raises
    ------
    ValueError
        If `width` is below 1.

    Examples
    --------
    >>> proba = np.array([[[[0.0, 0.0, 1.0, 1.0]], [[1.0, 1.0, 0.0, 0.0]]]])
    >>> boundary_mean(np.array([[[9.0, 1.0, 2.0, 9.0]]]), proba)
    array([1.5])
    """
    check_number("width", width, low=1, integer=True)
    maps = floating(maps)
    labels = floating(mask_proba).argmax(axis=1)
    near = labels != labels  # nowhere
    down = labels[:, 1:] != labels[:, :-1]
    right = labels[:, :, 1:] != labels[:, :, :-1]
    near[:, 1:] |= down
    near[:, :-1] |= down
    near[:, :, 1:] |= right
    near[:, :, :-1] |= right
    for _ in range(width - 1):
        before = namespace(near).asarray(near) * True  # a copy
        near[:, 1:] |= before[:, :-1]
        near[:, :-1] |= before[:, 1:]
        near[:, :, 1:] |= before[:, :, :-1]
        near[:, :, :-1] |= before[:, :, 1:]
    return _weighted_mean(maps, near * (maps * 0 + 1))


def _box_mean(maps, size, axis):
    """Means of `size` neighbours along an axis, at each place where they are all inside."""
    xp = namespace(maps)
    sums = xp.cumsum(maps, axis)
    n = maps.shape[axis]
    after = xp.moveaxis(sums, axis, 0)
    first = after[size - 1 : size]
    rest = after[size:] - after[: n - size]
    return xp.moveaxis(xp.concatenate([first, rest]), 0, axis) / size


def patch_max(maps: Array, size: int = 32) -> Any:
    """Largest mean over a square patch: an image with one bad place, whatever the rest.

    Parameters
    ----------
    maps : ndarray or torch.Tensor of shape (n, H, W), float
    size : int, default=32
        Side of the patch in pixels; a side longer than the image is cut to it. Patches lie at
        every position inside the image.

    Returns
    -------
    score : ndarray or torch.Tensor of shape (n,), float
        Larger images have more patches, hence a slight bias towards them.

    Raises
    ------
    ValueError
        If `size` is below 1.

    Examples
    --------
    >>> patch_max(np.array([[[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]]]), size=2)
    array([0.75])
    """
    check_number("size", size, low=1, integer=True)
    maps = floating(maps)
    maps = _box_mean(maps, min(size, maps.shape[1]), 1)
    return pixel_max(_box_mean(maps, min(size, maps.shape[2]), 2))


def distance_weighted(maps: Array, mask_proba: Masks, threshold: float = 0.5) -> Any:
    """Sum weighted by the depth inside the predicted foreground, as in CEAL [1]_.

    The weight is the Euclidean distance of a foreground pixel to the background, scaled to
    [0, 1] in each image, and 0 in the background: what is uncertain anyway, the contour, counts
    little. It is blind to objects that the prediction misses altogether, and a sum: larger
    images and objects score more.

    Parameters
    ----------
    maps : ndarray or torch.Tensor of shape (n, H, W), float
        In [1]_ the variance over stochastic draws.
    mask_proba : ndarray or torch.Tensor of shape (n, C, H, W), float
        Deterministic pixel class probabilities.
    threshold : float, default=0.5
        Foreground is where one minus the probability of class 0 is at least this.

    Returns
    -------
    score : ndarray or torch.Tensor of shape (n,), float
        0 where the prediction is the same everywhere: there is no contour to be far from.

    Raises
    ------
    ValueError
        If `threshold` is outside [0, 1].

    References
    ----------
    .. [1] Gorriz et al. 2017, Cost-Effective Active Learning for Melanoma Segmentation,
       arXiv:1711.09168.

    Examples
    --------
    >>> foreground = np.array([[[0.0, 1.0, 1.0, 1.0, 0.0]]])
    >>> proba = np.stack([1 - foreground, foreground], axis=1)
    >>> distance_weighted(np.ones((1, 1, 5)), proba)  # weights 0, 1/2, 1, 1/2, 0
    array([2.])
    """
    from scipy.ndimage import distance_transform_edt

    check_number("threshold", threshold, low=0, high=1)
    maps = floating(maps)
    foreground = 1 - floating(mask_proba)[:, 0] >= threshold
    foreground = foreground.cpu().numpy() if is_tensor(foreground) else foreground
    weights = np.zeros(foreground.shape)
    for weight, inside in zip(weights, foreground, strict=True):
        # Without one background pixel scipy's transform is a ramp from a corner, no distance.
        if inside.any() and not inside.all():
            depth = distance_transform_edt(inside)
            weight[:] = depth / depth.max()
    return (_flat(maps) * _flat(_as_kind_of(weights, maps))).sum(axis=1)


AGGREGATIONS = {
    "mean": pixel_mean,
    "sum": pixel_sum,
    "max": pixel_max,
    "top_fraction": top_fraction,
    "quantile": quantile,
    "foreground_mean": foreground_mean,
    "classwise_mean": classwise_mean,
    "boundary_mean": boundary_mean,
    "patch_max": patch_max,
    "distance_weighted": distance_weighted,
}
"""Name -> function ``f(maps)``, or ``f(maps, mask_proba)`` where the prediction is needed."""


def _resolve(how):
    if callable(how):
        return how
    return AGGREGATIONS[check_option("aggregate", how, AGGREGATIONS)]


def needs_mask_proba(how: Function | str) -> bool:
    """Whether an aggregation needs the pixel class probabilities beside the maps.

    Parameters
    ----------
    how : str or callable
        A name in `AGGREGATIONS`, or a function or `functools.partial` ``f(maps)``, with a
        parameter `mask_proba` if it needs that.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If it is neither callable nor a known name.

    Examples
    --------
    >>> needs_mask_proba("mean"), needs_mask_proba("foreground_mean")
    (False, True)
    """
    function = _resolve(how)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a built-in without a signature: nothing to give it
        return False
    given = function.keywords if isinstance(function, functools.partial) else {}
    return "mask_proba" in parameters and "mask_proba" not in given


def _is_ragged(maps):
    if is_tensor(maps):
        return False
    return isinstance(maps, (list, tuple)) or np.asarray(maps).dtype == object


def aggregate(maps: Array, how: Function | str = "mean", mask_proba: Masks = None) -> Any:
    """One score an image from a map of pixel scores.

    Parameters
    ----------
    maps : ndarray or torch.Tensor of shape (n, H, W), float; or list or object array of (H, W)
        Pixel scores; a list or 1-D object array for images of differing sizes.
    how : str or callable, default="mean"
        One of `AGGREGATIONS`: "mean", "sum", "max", "top_fraction", "quantile",
        "foreground_mean", "classwise_mean", "boundary_mean", "patch_max", "distance_weighted";
        or a function ``f(maps) -> (n,)``, such as
        ``functools.partial(top_fraction, fraction=0.05)``. It is given `mask_proba` if it has a
        parameter of that name.
    mask_proba : ndarray or torch.Tensor of shape (n, C, H, W), or a list of (C, H, W); or None
        Pixel class probabilities, for those that need them.

    Returns
    -------
    score : ndarray or torch.Tensor of shape (n,), float
        Of the kind of `maps` (an array for a list).

    Raises
    ------
    ValueError
        If `how` is unknown, if `mask_proba` is needed and not given, or if the result does not
        have shape (n,).

    Examples
    --------
    >>> maps = np.array([[[0.0, 1.0], [0.0, 0.5]]])
    >>> aggregate(maps, "max"), aggregate(maps, functools.partial(top_fraction, fraction=0.5))
    (array([1.]), array([0.75]))
    >>> aggregate([np.ones((2, 3)), np.zeros((4, 4))])
    array([1., 0.])
    """
    function = _resolve(how)
    needs = needs_mask_proba(how)
    if needs and mask_proba is None:
        name = how if isinstance(how, str) else getattr(how, "__name__", repr(how))
        raise ValueError(message("mask_proba", f"given for aggregate={name!r}", None))
    if _is_ragged(maps):
        return _aggregate_ragged(maps, function, mask_proba if needs else None)
    if maps.ndim != 3:
        raise ValueError(message("maps", "of shape (n, H, W)", tuple(maps.shape)))
    score = function(maps, mask_proba=mask_proba) if needs else function(maps)
    if tuple(score.shape) != (maps.shape[0],):
        rule = f"a function that gives shape ({maps.shape[0]},), one score an image"
        raise ValueError(message("aggregate", rule, tuple(score.shape)))
    return score


def _aggregate_ragged(maps, function, mask_proba):
    """Images of differing sizes, one at a time."""
    scores = []
    for i, one in enumerate(maps):
        if one.ndim != 2:
            raise ValueError(message(f"maps[{i}]", "of shape (H, W)", tuple(one.shape)))
        proba = None if mask_proba is None else mask_proba[i][None]
        score = function(one[None]) if proba is None else function(one[None], mask_proba=proba)
        if tuple(score.shape) != (1,):
            rule = "a function that gives one score an image"
            raise ValueError(message("aggregate", rule, tuple(score.shape)))
        scores.append(float(score[0]))
    return np.array(scores, dtype=float)
