"""Strokes of a pen, made first, and the pixels that they cover, made second."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alseg._types import Array
from alseg.labels import MISSING
from alseg.validation import check_number, message


class Stroke(NamedTuple):
    """The way of a pen while it is down.

    Parameters
    ----------
    points : ndarray of shape (n, 2), float
        Rows and columns in the image; the centre of its first pixel is (0.5, 0.5). One point is a
        dot.
    width : int
        Of the brush, in pixels.
    value : int
        The class that it marks.
    """

    points: Array
    width: int
    value: int


def paint(mask: Array, stroke: Stroke) -> Array:
    """Mark in place what a stroke covers, as the page of `alseg annotate` does.

    A brush moves with its middle on a pixel's centre if its width is odd, on a corner if it is
    even, in straight lines from point to point. It covers the pixels whose centre is at most half
    its width from there.

    Parameters
    ----------
    mask : ndarray of shape (H, W), int
    stroke : Stroke

    Returns
    -------
    mask : ndarray
        The same.

    Raises
    ------
    ValueError
        If the stroke has no point, or no width.

    Examples
    --------
    >>> paint(np.zeros((3, 5), int), Stroke(np.array([[1.5, 0.5], [1.5, 2.5]]), 1, 7))
    array([[0, 0, 0, 0, 0],
           [7, 7, 7, 0, 0],
           [0, 0, 0, 0, 0]])
    """
    width = check_number("stroke.width", stroke.width, low=1, integer=True)
    points = np.asarray(stroke.points, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        rule = "rows and columns of one point at least"
        raise ValueError(message("stroke.points", rule, f"shape {points.shape}"))
    # In whole half pixels, so that no rounding decides.
    if width % 2:
        places = 2 * np.floor(points).astype(np.int64) + 1
    else:
        places = 2 * np.floor(points + 0.5).astype(np.int64)
    for a, b in zip(places, places[1:] if len(places) > 1 else places, strict=False):
        _paint_segment(mask, a, b, width, stroke.value)
    return mask


def _paint_segment(mask, a, b, width, value):
    height, across = mask.shape
    low, high = np.minimum(a, b) - width, np.maximum(a, b) + width
    top, left = np.maximum(low // 2, 0)
    bottom, right = np.minimum(high // 2 + 1, (height, across))
    if top >= bottom or left >= right:
        return
    dy, dx = b - a
    y = 2 * np.arange(top, bottom)[:, None] + 1 - a[0]
    x = 2 * np.arange(left, right)[None, :] + 1 - a[1]
    long = dx * dx + dy * dy
    along = x * dx + y * dy
    near = np.where(
        along <= 0,
        x * x + y * y <= width * width,
        np.where(
            along >= long,
            (x - dx) ** 2 + (y - dy) ** 2 <= width * width,
            (x * dy - y * dx) ** 2 <= width * width * long,
        ),
    )
    mask[top:bottom, left:right][near] = value


def painted(strokes, size):
    """The mask that strokes say, one after the other; `MISSING` elsewhere.

    Parameters
    ----------
    strokes : sequence of Stroke
    size : (int, int)

    Returns
    -------
    mask : ndarray of shape (H, W), int16
    """
    mask = np.full(size, MISSING, np.int16)
    for stroke in strokes:
        paint(mask, stroke)
    return mask


# -- where a careful pen goes --


def room(inside):
    """How far each pixel of a region is from the nearest pixel outside; the image has no end.

    A brush of an odd width stays within the region as long as its middle is where this is larger
    than half the width: that holds on straight steps between neighbours, corner to corner too.
    """
    from scipy import ndimage

    if inside.all():
        return np.full(inside.shape, np.inf)
    return ndimage.distance_transform_edt(inside)


def widest(space, width):
    """The largest odd width up to `width` for which there is room."""
    fits = int(min(np.ceil(2 * space) - 1, width))
    return max(1, fits - (fits + 1) % 2)


def path_near(lines, start, length):
    """The pixels of a path along lines, through or close by a start, in order.

    Parameters
    ----------
    lines : ndarray of shape (H, W), bool
        Thin, as of a skeleton.
    start : (int, int)
        One of them.
    length : float
        At most that of the path, in pixels.

    Returns
    -------
    path : ndarray of shape (n, 2), int
        Neighbours, corner to corner too.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    reach = int(length) + 2
    top, left = (max(0, int(at) - reach) for at in start)
    part = lines[top : start[0] + reach + 1, left : start[1] + reach + 1]
    at = np.argwhere(part)
    number = np.full(np.add(part.shape, 2), -1)  # with a border, so that no index leaves it
    number[1:-1, 1:-1][part] = np.arange(len(at))
    pairs = []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        other = number[at[:, 0] + 1 + dy, at[:, 1] + 1 + dx]
        one = np.flatnonzero(other >= 0)
        pairs.append((one, other[one], np.full(len(one), np.hypot(dy, dx))))
    one, other, far = (np.concatenate(found) for found in zip(*pairs, strict=True))
    graph = coo_array((far, (one, other)), shape=(len(at), len(at))).tocsr()
    first = int(number[start[0] - top + 1, start[1] - left + 1])

    def farthest(node, limit):
        away, before = dijkstra(
            graph, directed=False, indices=node, limit=limit, return_predecessors=True
        )
        return int(np.argmax(np.where(np.isfinite(away), away, -1))), before

    end, _ = farthest(first, length / 2)
    node, before = farthest(end, length)
    path = [node]
    while path[-1] != end:
        path.append(int(before[path[-1]]))
    return at[path] + (top, left)
