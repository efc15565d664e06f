"""Masks as files: how we write them, and how those that we wrote are read again."""

import io

import numpy as np

from alseg.images import read_mask
from alseg.labels import MISSING

UNKNOWN = 255
"""How `MISSING` stands in a stored 8-bit mask; so a project has at most 254 classes."""

PALETTE = ((0, 0, 0), (255, 200, 0), (0, 229, 255), (255, 92, 205), (124, 252, 0), (255, 255, 255))
"""RGB of class 0 (background), 1, 2, ...: those of the outlines on the page."""


def png_bytes(array, palette=None):
    """An (H, W) uint8 array as the bytes of a PNG file.

    Parameters
    ----------
    array : ndarray of shape (H, W), uint8
    palette : sequence of (r, g, b) or None, default=None
        Colours of the values; None is grey.

    Returns
    -------
    bytes

    Examples
    --------
    >>> png_bytes(np.zeros((2, 2), np.uint8))[:4]
    b'\\x89PNG'
    """
    from PIL import Image

    image = Image.fromarray(array)
    if palette is not None:
        flat = [value for colour in palette for value in colour]
        image.putpalette(flat + [128] * (768 - len(flat)))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def mask_bytes(mask, n_mask_classes=2):
    """A mask as a PNG file that a person can see and a program can read.

    Parameters
    ----------
    mask : ndarray of shape (H, W), int
    n_mask_classes : int, default=2
        For two classes the file holds 0 and 255, else a palette whose indices are the classes.

    Returns
    -------
    bytes
    """
    mask = np.asarray(mask)
    if n_mask_classes == 2:
        return png_bytes(np.where(mask > 0, 255, 0).astype(np.uint8))
    return png_bytes(mask.astype(np.uint8), PALETTE)


def stored_bytes(mask):
    """A mask as it is kept: its classes as grey values, 255 where nobody said."""
    return png_bytes(np.where(mask == MISSING, UNKNOWN, mask).astype(np.uint8))


def read_stored(path):
    """A mask that `stored_bytes` made: (H, W) int16, `MISSING` where nobody said."""
    stored = read_mask(path)
    return np.where(stored == UNKNOWN, MISSING, stored).astype(np.int16)


def read_proposal(path, n_mask_classes=2):
    """A mask that `mask_bytes` made: (H, W) int16."""
    mask = read_mask(path)
    return (mask > 0).astype(np.int16) if n_mask_classes == 2 else mask
