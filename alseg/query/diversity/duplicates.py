"""Near-duplicates: images that show the same, brighter or darker, compressed, or smaller.

Two images are compared by small grey copies: the ranks of their pixels (which no exposure and no
gamma changes), each without the mean of its surroundings (so that two tiles with a light corner, or
two pictures with something dark in the middle, are not alike for that). By
benchmarks/studies/duplicates.py, over the images of four data sets, one image twice is at 0.96 or
more and two images at 0.90 or less; an image and itself under another exposure are above 0.92 but
where its light parts are clipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter

from alseg._types import Array, Images
from alseg.images import as_images, thumbnails
from alseg.validation import check_number, message

ALIKE = 0.92
"""From this likeness on two images are near-duplicates."""

_SIDE = 16
_AROUND = 5  # pixels of the thumbnail that are surroundings
_CLIPPED = 5 / 255  # as dark, or as near to white, a pixel may have lost what it showed
_LOOKED_AT = 100  # candidates; a pool of copies is not read to its end
_LEAST = 0.25  # share of pixels that must not be clipped for the others to be left out


def likeness(a: Array, b: Array) -> Any:
    """How much two small grey images show the same: a correlation of local ranks.

    Parameters
    ----------
    a, b : ndarray of shape (h, w), float in [0, 1]
        As `alseg.images.thumbnails` gives them.

    Returns
    -------
    float
        At most 1. Two images without any structure are alike (1), one is like no other (0).

    Examples
    --------
    >>> image = np.random.default_rng(0).random((16, 16))
    >>> round(likeness(image, 0.6 * image**1.5), 3)
    1.0
    """
    if a.shape != b.shape:
        raise ValueError(message("b", f"of the shape of a, {a.shape}", b.shape))
    low, high = _CLIPPED, 1 - _CLIPPED
    seen = (a > low) & (a < high) & (b > low) & (b < high)
    if seen.mean() < _LEAST:
        seen = np.ones(a.shape, bool)
    x, y = _local_ranks(a, seen), _local_ranks(b, seen)
    lengths = np.linalg.norm(x), np.linalg.norm(y)
    if 0 in lengths:
        return float(lengths[0] == lengths[1])
    return float((x * y).sum() / (lengths[0] * lengths[1]))


def _local_ranks(image, seen):
    ranks = np.zeros(image.shape)
    values = image[seen]
    if np.ptp(values) < 1e-6:
        return ranks
    # As scipy.stats.rankdata, which takes half a second to import.
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    ranks[seen] = (ends - (counts - 1) / 2)[place] / len(values)
    share = uniform_filter(seen.astype(float), _AROUND, mode="constant")
    mean = uniform_filter(ranks, _AROUND, mode="constant") / np.maximum(share, 1e-9)
    local = ranks[seen] - mean[seen]
    ranks[seen] = local - local.mean()
    return ranks


def distinct_images(
    order: Sequence[int],
    images: Images,
    n_instances: int,
    known: Array = None,
    alike: float = ALIKE,
) -> np.ndarray:
    """The first positions of an order whose images are no near-duplicates of one before.

    Parameters
    ----------
    order : sequence of int
        Positions in `images`, best first.
    images : images as for `alseg.images.as_images`
        Only those are read that come into question, at most ``max(100, 10 * n_instances)``.
    n_instances : int
        In [1, len(order)].
    known : images as for `alseg.images.as_images`, or None, default=None
        Others that must not be repeated, such as those annotated already. All are read.
    alike : float, default=0.92
        From this `likeness` on, two images are near-duplicates; above 1 none are.

    Returns
    -------
    positions : ndarray of shape (n_instances,), int
        In the order given. Where there are too few, the first of those left out stand at the end.

    Raises
    ------
    TypeError, ValueError
        If `n_instances` is out of range, or an image cannot be read.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> tile, other = rng.random((2, 32, 32))
    >>> distinct_images([0, 1, 2], [tile, 0.8 * tile, other], 2)
    array([0, 2])
    """
    kept, left_out = first_distinct(order, images, n_instances, known, alike)
    return np.array((kept + left_out)[:n_instances], dtype=np.intp)


def first_distinct(
    order: Any, images: Images, n_instances: int, known: Any = None, alike: Any = ALIKE
) -> Any:
    """What `distinct_images` keeps and what it leaves out.

    Parameters
    ----------
    order, images, n_instances, known, alike
        As in `distinct_images`.

    Returns
    -------
    kept : list of at most `n_instances` int
    left_out : list of int
        Near-duplicates, and where there are too few to be kept what was not looked at.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> tile, other = rng.random((2, 32, 32))
    >>> first_distinct([1, 0, 2], [tile, 0.8 * tile, other], 3)
    ([1, 2], [0])
    """
    order = np.asarray(order, dtype=np.intp)
    check_number("n_instances", n_instances, 1, len(order), integer=True)
    images = as_images(images)
    have = [] if known is None or len(known) == 0 else list(thumbnails(known, _SIDE))
    kept, left_out, most = [], [], max(_LOOKED_AT, 10 * n_instances)
    for position in order[:most].tolist():
        if len(kept) == n_instances:
            break
        mine = thumbnails(images.take([position]), _SIDE)[0]
        if any(likeness(mine, other) >= alike for other in have):
            left_out.append(position)
            continue
        kept.append(position)
        have.append(mine)
    return kept, left_out + order[most:].tolist()
