"""What annotation costs: images, pixels, clicks and seconds, by stated formulas."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from alseg._types import Array, Masks
from alseg.images import as_masks
from alseg.labels import MISSING
from alseg.query.regions import Regions
from alseg.validation import check_number, message


class AnnotationCost(NamedTuple):
    """What some annotations cost; sums of them by `+`.

    Parameters
    ----------
    images : int
        Images that were opened.
    pixels : int
        Pixels that were annotated.
    clicks : int
        Clicks of the mouse.
    seconds : float
        Of a person's time.

    Examples
    --------
    >>> AnnotationCost(1, 100, 7, 12.0) + AnnotationCost(2, 50, 1, 3.5)
    AnnotationCost(images=3, pixels=150, clicks=8, seconds=15.5)
    """

    images: int
    pixels: int
    clicks: int
    seconds: float

    def __add__(self, other):
        if not isinstance(other, AnnotationCost):
            return NotImplemented
        return AnnotationCost(*(a + b for a, b in zip(self, other, strict=True)))

    def __radd__(self, other):  # sum() starts at 0
        return self if other == 0 else NotImplemented


def polygon_clicks(mask: Masks, tolerance: float = 1.0) -> int:
    """Corners of the polygons around the objects of a mask: the clicks that draw them.

    Every class but the background is outlined, each piece and each hole on its own, by the
    contour half-way between its pixels and the others; its corners are thinned (Douglas and
    Peucker [1]_) as far as it stays within `tolerance`. An object that ends at the border of the
    mask is closed along it.

    Parameters
    ----------
    mask : array-like of shape (H, W), int
        Class, or number of the instance (touching objects are then outlined one by one), of each
        pixel; 0 is background. `MISSING` is not outlined.
    tolerance : float, default=1.0
        In pixels; 0 keeps every corner.

    Returns
    -------
    clicks : int
        0 for a mask of background.

    Raises
    ------
    ValueError
        If `mask` is not 2-D, or `tolerance` is negative.

    References
    ----------
    .. [1] Douglas and Peucker 1973, doi:10.3138/FM57-6770-U75U-7727.

    Examples
    --------
    >>> mask = np.zeros((20, 20), int)
    >>> mask[5:15, 5:15] = 1
    >>> polygon_clicks(mask)  # a square
    4
    """
    from skimage.measure import approximate_polygon, find_contours

    check_number("tolerance", tolerance, low=0)
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype.kind not in "iub":
        raise ValueError(message("mask", "integers of shape (H, W)", f"{mask.dtype} {mask.shape}"))
    clicks = 0
    for k in np.unique(mask[mask > 0]):
        rows, columns = np.nonzero(mask == k)
        part = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == k
        for contour in find_contours(np.pad(part, 1).astype(float), 0.5):
            corners = approximate_polygon(_from_a_corner(contour), tolerance)
            clicks += max(len(corners) - 1, 1)  # the last is the first again
    return clicks


def _from_a_corner(contour):
    """A closed contour that starts at its point farthest from the middle.

    The first point is never thinned out: it should be a corner.
    """
    ring = contour[:-1]
    start = int(np.argmax(((ring - ring.mean(axis=0)) ** 2).sum(axis=1)))
    ring = np.roll(ring, -start, axis=0)
    return np.concatenate([ring, ring[:1]])


def annotation_cost(
    masks: Masks,
    regions: Any = None,
    *,
    instances: Array = None,
    tolerance: float = 1.0,
    seconds_per_image: float = 0.0,
    seconds_per_region: float = 0.0,
    seconds_per_click: float = 1.0,
) -> Any:
    """What answers cost, of whole images or of parts of them.

    An image or a region of one class alone costs one click, which says the class: a pixel, a pure
    superpixel or patch. Any other costs the corners of the polygons around its objects, as
    `polygon_clicks` counts them, cut by the region. Answers by majority (`MaskOracle(...,
    majority=True)`) are pure, and so one click each [1]_. Time is

        seconds = seconds_per_image * images + seconds_per_region * regions
                  + seconds_per_click * clicks

    where an image that is asked as a whole counts as one region. The rates depend on the tool and
    the person: measure them; by default seconds are clicks.

    Parameters
    ----------
    masks : array of shape (n, H, W), or sequence of n masks
        The answers, one for each image; `MISSING` where not annotated.
    regions : Regions or None, default=None
        What was asked for; `masks` are aligned with its `sample_ids`. None is whole images.
    instances : sequence of n arrays of shape (H, W), int, or None
        Numbers of the objects, to outline touching ones one by one; aligned with `masks`.
    tolerance : float, default=1.0
        See `polygon_clicks`.
    seconds_per_image, seconds_per_region : float, default=0.0
        For opening an image, and for finding and looking at a region.
    seconds_per_click : float, default=1.0

    Returns
    -------
    cost : AnnotationCost

    Raises
    ------
    TypeError, ValueError
        If a rate is negative, or `masks` and `regions` do not fit each other.

    References
    ----------
    .. [1] Cai et al. 2021, Revisiting Superpixels for Active Learning in Semantic Segmentation
       with Realistic Annotation Costs, CVPR.

    Examples
    --------
    >>> masks = np.zeros((2, 20, 20), int)
    >>> masks[0, 5:15, 5:15] = 1
    >>> annotation_cost(masks, seconds_per_image=10.0)  # four corners, and "nothing here"
    AnnotationCost(images=2, pixels=800, clicks=5, seconds=25.0)
    >>> regions = Regions([0], [[0, 1, 2]], {0: (20, 20)}, "superpixel")
    >>> annotation_cost([regions.restrict(0, masks[0])], regions)
    AnnotationCost(images=1, pixels=3, clicks=1, seconds=1.0)
    """
    rates = {
        "seconds_per_image": seconds_per_image,
        "seconds_per_region": seconds_per_region,
        "seconds_per_click": seconds_per_click,
    }
    for name, rate in rates.items():
        check_number(name, rate, low=0)
    if regions is not None and not isinstance(regions, Regions):
        raise TypeError(message("regions", "Regions or None", regions))
    n = len(masks) if regions is None else len(regions.sample_ids)
    masks, instances = as_masks(masks, n), as_masks(instances, n)
    n_images = n_pixels = n_regions = clicks = 0
    for position in range(n):
        mask, objects = masks[position], instances[position]
        if mask is None or not (mask != MISSING).any():
            continue
        if objects is not None and objects.shape != mask.shape:
            name = f"instances[{position}]"
            raise ValueError(message(name, f"of its mask's size {mask.shape}", objects.shape))
        n_images += 1
        n_pixels += int((mask != MISSING).sum())
        for box, inside in _asked_parts(regions, position, mask):
            part = np.where(inside, mask[box], MISSING)
            known = part != MISSING
            if not known.any():
                continue
            n_regions += 1
            drawn = part if objects is None else np.where(known, objects[box], MISSING)
            pure = len(np.unique(part[known])) == 1 and len(np.unique(drawn[known])) == 1
            clicks += 1 if pure else polygon_clicks(drawn, tolerance)
    seconds = (
        seconds_per_image * n_images + seconds_per_region * n_regions + seconds_per_click * clicks
    )
    return AnnotationCost(n_images, n_pixels, clicks, float(seconds))


def _asked_parts(regions, position, mask):
    """(box, pixels inside the box) of each region of an image, or of the whole."""
    if regions is None:
        yield np.s_[:, :], np.ones(mask.shape, bool)
        return
    sample_id = regions.sample_ids[position]
    size = tuple(regions.sizes[position].tolist())
    if mask.shape != size:
        name = f"masks[{position}] (image {sample_id})"
        raise ValueError(message(name, f"of the size of its image {size}", mask.shape))
    for k in np.flatnonzero(regions.ids == sample_id):
        rows, columns = np.divmod(regions.pixels(k), size[1])
        box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        inside = np.zeros((rows.max() - rows.min() + 1, columns.max() - columns.min() + 1), bool)
        inside[rows - rows.min(), columns - columns.min()] = True
        yield box, inside
