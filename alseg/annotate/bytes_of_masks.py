"""Masks as the bytes that a page sends and gets."""

import numpy as np

from alseg.labels import MISSING
from alseg.validation import message

NOBODY = 255
"""How `MISSING` stands in the bytes that a page sends and gets."""


def as_pixels(mask):
    """A mask as the bytes that a page gets: a byte a pixel, row by row, 255 where nobody said.

    Parameters
    ----------
    mask : ndarray of shape (H, W), int

    Returns
    -------
    bytes of length H * W
    """
    return mask.astype(np.uint8).tobytes()  # -1, that nobody said, is 255 of them


def marked_mask(pixels, size, n_classes):
    """The mask that the bytes of a page say.

    Parameters
    ----------
    pixels : bytes
        As `as_pixels` makes them.
    size : (int, int)
        Height and width of the image.
    n_classes : int
        With the background.

    Returns
    -------
    mask : ndarray of shape (H, W), int16

    Raises
    ------
    ValueError
        If there are not H * W of them, or one is no class.

    Examples
    --------
    >>> marked_mask(bytes([0, 1, 255, 0]), (2, 2), n_classes=2)
    array([[ 0,  1],
           [-1,  0]], dtype=int16)
    """
    height, width = size
    if len(pixels) != height * width:
        raise ValueError(message("body", f"{height} x {width} bytes", len(pixels)))
    values = np.frombuffer(pixels, np.uint8).reshape(height, width)
    # Nobody is 0 now, and class c is c + 1: no pass more than needed, an image may have millions.
    above = values + np.uint8(1)
    if above.max(initial=0) > n_classes:
        bad = (values >= n_classes) & (values != NOBODY)
        rule = f"of classes in [0, {n_classes - 1}], or {NOBODY} where nobody said"
        raise ValueError(message("body", rule, np.unique(values[bad])[:4].tolist()))
    mask = above.astype(np.int16)
    mask += MISSING
    return mask
