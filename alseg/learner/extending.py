"""More images for a learner: what it has, and what is added, as one of the same kind."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from alseg._types import Images
from alseg.images import ImageFiles, LazyImages, as_images, join_images
from alseg.labels import as_labels, join_labels
from alseg.validation import message


def extended_images(images: Images, more: Images) -> Any:
    """Images after images, of the kind of the first; elements are not copied but for plain arrays.

    Parameters
    ----------
    images, more : images as everywhere
        Both of paths, or neither.

    Returns
    -------
    images : of the kind of `images`
        A lazy sequence of both where kinds or sizes differ.

    Raises
    ------
    TypeError
        If one of them is of paths and the other is not.
    ValueError
        If they have different numbers of channels.

    Examples
    --------
    >>> extended_images(["a.png"], ImageFiles(["b.png"]))
    ['a.png', 'b.png']
    >>> extended_images(np.zeros((2, 8, 8), np.uint8), np.ones((1, 8, 8), np.uint8)).shape
    (3, 8, 8)
    """
    by_path = [_are_paths(part) for part in (images, more)]
    if by_path[0] != by_path[1]:
        kinds = [{True: "paths", False: "arrays"}[one] for one in by_path]
        remedy = "Read them (alseg.images.read_image), or write them to files."
        raise TypeError(message("images", f"{kinds[0]}, as the learner's are", kinds[1], remedy))
    if not by_path[0]:
        channels = [as_images(part)[0].shape[2] for part in (images, more)]
        if channels[0] != channels[1]:
            rule = f"of {channels[0]} channels, as the learner's are"
            raise ValueError(message("images", rule, f"{channels[1]} channels"))
    if isinstance(images, ImageFiles):
        return images.joined([ImageFiles(getattr(more, "paths", more))])
    if isinstance(images, (list, tuple)) and (by_path[0] or isinstance(more, (list, tuple))):
        added: Any = getattr(more, "paths", more)
        return [*images, *added]
    if (
        isinstance(images, np.ndarray) and images.ndim == 1
    ):  # of arrays of differing sizes, or paths
        return np.concatenate([images.astype(object), _as_objects(getattr(more, "paths", more))])
    if isinstance(images, LazyImages) and images.is_of(more):
        return images.joined([more])
    return join_images(images, more)


def extended_labels(labels, more, n):
    """Labels, and those of n further images, of one kind; None are all missing.

    Examples
    --------
    >>> extended_labels(np.array(["a", "b"]), ["longer"], 1)
    array(['a', 'b', 'longer'], dtype='<U6')
    """
    found = as_labels(more, n)
    if more is not None and found.shape != (n, *labels.shape[1:]):
        rule = f"of shape {(n, *labels.shape[1:])}, as many as the images"
        raise ValueError(message("labels", rule, found.shape))
    try:
        return join_labels(labels, found)
    except TypeError:
        rule = f"of the kind of the learner's own ({labels.dtype})"
        raise TypeError(message("labels", rule, str(found.dtype))) from None


def _are_paths(images):
    held = getattr(images, "paths", None)
    if held is not None:
        return True
    if not isinstance(images, (list, tuple)) and getattr(images, "ndim", 2) != 1:
        return False
    if isinstance(images, LazyImages) or not len(images):
        return False
    return isinstance(images[0], (str, os.PathLike))


def _as_objects(items):
    found = np.empty(len(items), dtype=object)
    for i in range(len(items)):
        found[i] = items[i]
    return found
