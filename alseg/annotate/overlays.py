"""Small pictures of a mask, a proposal and their difference, to lie over a thumbnail."""

import numpy as np

from alseg.labels import MISSING
from alseg.metrics import dice_from_confusion, dice_per_image, pixel_confusion
from alseg.report import picture_bytes

KINDS = ("mask", "proposal", "difference")

_CLASS, _BACKGROUND = 150, 70  # opacity, of 255
_HIT, _MISSED, _EXTRA, _OTHER = (20, 184, 166), (249, 115, 22), (99, 102, 241), (217, 70, 239)
_FINE = 4  # a mask is looked at on a grid this much finer than the picture


def of_mask(mask, colours, side):
    """A mask in the colours of its classes; the background is darkened, what nobody said is clear.

    Parameters
    ----------
    mask : ndarray of shape (H, W), int
    colours : sequence of str
        "#rrggbb" of each class.
    side : int
        Pixels of the longer side.

    Returns
    -------
    bytes of a PNG file
    """
    table = np.zeros((len(colours) + 1, 4), np.uint8)
    for k, colour in enumerate(colours):
        table[k] = *bytes.fromhex(colour[1:]), _CLASS if k else _BACKGROUND
    return _picture(table, mask, side)  # MISSING takes the last row


def of_difference(mask, proposed, side):
    """Where a mask and a proposal agree and differ, of the pixels that were marked.

    What the proposal misses is hatched, so that it is told apart without its colour.
    """
    kinds = np.full(mask.shape, -1, np.int16)
    kinds[(mask > 0) & (proposed == mask)] = 0
    kinds[(mask > 0) & (proposed == 0)] = 1
    kinds[(mask == 0) & (proposed > 0)] = 2
    kinds[(mask > 0) & (proposed > 0) & (proposed != mask)] = 3
    rows = [(*_HIT, 130), (*_MISSED, 235), (*_EXTRA, 200), (*_OTHER, 200), (0, 0, 0, 0)]
    return _picture(np.array(rows, np.uint8), kinds, side, hatched=1)


def _picture(table, values, side, hatched=None):
    from PIL import Image

    height, width = values.shape
    scale = side / max(height, width)
    size = tuple(max(1, round(scale * length)) for length in (width, height))
    step = max(1, int(1 / scale) // _FINE)
    small = values[::step, ::step]
    drawn = table[small]
    way = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
    drawn = np.array(Image.fromarray(drawn).resize(size, way))
    if hatched is not None:
        at = (small == hatched).astype(np.uint8) * 255
        at = np.asarray(Image.fromarray(at).resize(size, way)) > 127
        y, x = np.nonzero(at)
        drawn[y, x, 3] = np.where((x + y) % 6 < 3, drawn[y, x, 3], 70)
    return picture_bytes(drawn, "PNG", compress_level=1)


def agreement(mask, proposed, class_names):
    """How well a proposal agrees with a mask, over the pixels that were marked.

    Parameters
    ----------
    mask, proposed : ndarray of shape (H, W), int
        `MISSING` where nobody said; a proposal says something of each pixel.
    class_names : sequence of str
        Of classes 1, 2, ...

    Returns
    -------
    found : dict
        ``dice``, the mean over the classes that are in one of the two (None if nothing is
        marked); ``classes``, the ``name`` and ``dice`` of each of them; ``marked``, the share of
        the image's pixels.

    Examples
    --------
    >>> mask = np.array([[0, 1, 1, -1]])
    >>> agreement(mask, np.array([[0, 1, 0, 1]]), ["gland"])
    {'dice': 0.6667, 'classes': [{'name': 'gland', 'dice': 0.6667}], 'marked': 0.75}
    """
    n = len(class_names) + 1
    marked = float((mask != MISSING).mean())
    if not marked:
        return {"dice": None, "classes": [], "marked": 0.0}
    dice = dice_from_confusion(pixel_confusion([proposed], [mask], n_mask_classes=n))
    there = [k for k in range(1, n) if (((mask == k) | (proposed == k)) & (mask != MISSING)).any()]
    return {
        "dice": round(float(dice_per_image([proposed], [mask], n_mask_classes=n)[0]), 4),
        "classes": [{"name": class_names[k - 1], "dice": round(float(dice[k]), 4)} for k in there],
        "marked": round(marked, 4),
    }
