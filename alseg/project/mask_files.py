"""Masks as files: how we write them, and how those that we wrote are read again."""

import io

import numpy as np

from alseg.images import image_depth, mask_values, read_mask
from alseg.labels import MISSING

UNKNOWN, UNKNOWN_ID = 255, 2**16 - 1
"""How `MISSING` stands in a stored mask of 8 bits, and in one of 16; so a project has at most 254
classes."""

PALETTE = ((0, 0, 0), (255, 200, 0), (0, 229, 255), (255, 92, 205), (124, 252, 0), (255, 255, 255))
"""RGB of class 0 (background), 1, 2, ...: those of the outlines on the page."""


_QUICKLY = 1  # of PNG's levels: twice as fast as its usual one, in a file somewhat larger


def png_bytes(array, palette=None, level=None):
    """An (H, W) array of whole numbers as the bytes of a PNG file.

    Parameters
    ----------
    array : ndarray of shape (H, W), uint8 or uint16
    palette : sequence of (r, g, b) or None, default=None
        Colours of the values; None is grey.
    level : int in [0, 9] or None, default=None
        How much time compression takes; None is what PNG usually does.

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
    image.save(buffer, format="PNG", **({} if level is None else {"compress_level": level}))
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


def id_bytes(ids):
    """Ids of objects as the bytes of a file of 16 bits a pixel, or of 32 where it takes them.

    Parameters
    ----------
    ids : ndarray of shape (H, W), int
        0 is background.

    Returns
    -------
    suffix : {".png", ".tif"}
    data : bytes

    Examples
    --------
    >>> id_bytes(np.array([[0, 65535]]))[0], id_bytes(np.array([[0, 65536]]))[0]
    ('.png', '.tif')
    """
    if ids.max(initial=0) <= np.iinfo(np.uint16).max:
        return ".png", png_bytes(ids.astype(np.uint16))
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(buffer, ids.astype(np.uint32), compression="zlib")
    return ".tif", buffer.getvalue()


def stored_bytes(mask):
    """A mask as it is kept: its classes as grey values, 255 where nobody said.

    Of 16 bits where ids of objects need them, and then 65 535.
    """
    kind = np.uint8 if mask.max(initial=0) < UNKNOWN else np.uint16
    stored = mask.astype(kind)  # -1, that nobody said, is the last value of either
    return png_bytes(stored, level=_QUICKLY)  # somebody waits for it


def read_stored(path):
    """A mask that `stored_bytes` made: (H, W) int16, `MISSING` where nobody said."""
    stored, _ = mask_values(path)
    _, depth = image_depth(path)
    unknown = UNKNOWN_ID if depth > 8 else UNKNOWN
    return np.where(stored == unknown, MISSING, stored).astype(np.int16)


def read_proposal(path, n_mask_classes=2):
    """A mask that `mask_bytes` made: (H, W) int16."""
    mask = read_mask(path)
    return (mask > 0).astype(np.int16) if n_mask_classes == 2 else mask
