"""Images after images as one sequence, without a copy."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from alseg._types import Images
from alseg.images.sequences import _HeldImages, as_images


def join_images(first: Images, *others: Images) -> Any:
    """Images after images: an array of arrays of one shape and dtype, else a lazy sequence.

    Parameters
    ----------
    first, *others : images as everywhere
        Arrays, lists, paths or lazy sequences, of any sizes.

    Returns
    -------
    images : ndarray, or a sequence that `as_images` takes
        Each is read where it is, when it is asked for.

    Examples
    --------
    >>> both = join_images(np.zeros((2, 4, 4, 3), np.uint8), [np.ones((2, 3, 3))])
    >>> len(both), as_images(both).size(2), both[2].dtype
    (3, (2, 3), dtype('float32'))
    """
    parts = (first, *others)
    arrays = [part for part in parts if isinstance(part, np.ndarray) and part.dtype != object]
    if len(arrays) == len(parts) and len({(a.shape[1:], a.dtype) for a in arrays}) == 1:
        return np.concatenate(arrays)
    return _JoinedImages([as_images(part) for part in parts])


class _JoinedImages(_HeldImages):
    """Sequences of images as one; an element is asked of the sequence that it is of."""

    def __init__(self, items: Any, index: Any = None) -> None:
        self.starts = np.cumsum([0, *(len(part) for part in items)])
        super().__init__(items, np.arange(self.starts[-1]) if index is None else index)

    def _of(self, i):
        position = self.index[i]
        part = int(np.searchsorted(self.starts, position, side="right")) - 1
        return self.items[part], int(position - self.starts[part])

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, numbers.Integral) and not isinstance(key, (bool, np.bool_)):
            part, i = self._of(key)
            return part[i]
        return super().__getitem__(key)

    def size(self, i: Any) -> Any:
        """(H, W) of image `i`, without decoding."""
        part, i = self._of(i)
        return part.size(i)

    def path(self, i: Any) -> Any:
        """The path of image `i`, None where it is an array."""
        part, i = self._of(i)
        return part.path(i)

    def key(self, i: Any) -> Any:
        """What tells image `i` from others where its sequence knows; None elsewhere."""
        part, i = self._of(i)
        return part.key(i) if hasattr(part, "key") else None

    def where(self, i: Any) -> Any:
        """How an error names image `i`."""
        part, i = self._of(i)
        return part.where(i)
