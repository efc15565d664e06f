"""Superpixels of an image for a click on one: worked out at a reduced size, some kept."""

import threading
from collections import OrderedDict

import numpy as np

from alseg.annotate.shown import in_window
from alseg.query import slic_superpixels
from alseg.report import fit_within
from alseg.validation import message

COUNTS = (150, 600, 2400)
"""About how many superpixels an image may be cut into. Few sizes, so that they are kept."""

_SIDE = 640  # pixels of the longer side: their outlines are no finer on a screen
_KEPT = 64  # images, of less than a megabyte each


def cut(image, n):
    """Superpixels of an image, at a size of at most 640 pixels.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C), uint8 or float in [0, 1]
    n : int
        About how many, one of `COUNTS`.

    Returns
    -------
    labels : ndarray of shape (h, w), uint16
        0 to their number minus one.

    Examples
    --------
    >>> image = np.zeros((1000, 2000, 3), np.uint8)
    >>> labels = cut(image, 150)
    >>> labels.shape, 100 < labels.max() < 200
    ((320, 640), np.True_)
    """
    if n not in COUNTS:
        raise ValueError(message("n", f"one of {list(COUNTS)}", n))
    small = fit_within(in_window(image), min(_SIDE, max(np.shape(image)[:2])))
    size = max(2, round(np.sqrt(small.shape[0] * small.shape[1] / n)))
    return slic_superpixels(small, size).astype(np.uint16)


class Cells:
    """Superpixels of images, each computed once, one at a time, and kept while there is room.

    Parameters
    ----------
    images : sequence of ndarray
        As `alseg.images.as_images` gives them.
    """

    def __init__(self, images):
        self._images, self._kept, self._lock = images, OrderedDict(), threading.Lock()

    def __call__(self, i, n):
        """See `cut`."""
        with self._lock:  # two at once would leave no processor for what is drawn meanwhile
            if (i, n) not in self._kept:
                self._kept[i, n] = cut(self._images[i], n)
            self._kept.move_to_end((i, n))
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return self._kept[i, n]
