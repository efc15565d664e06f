"""Work at the images' own scale: random crops in training, whole images in prediction."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from alseg.validation import check_keys, check_number

CROP_DEFAULTS = {"size": None, "scale": 1.0, "min_side": None, "pad": 0.0}


def check_crop(crop):
    """The geometry of crops with all its entries.

    Parameters
    ----------
    crop : dict
        ``size``: side of the square that training cuts out, in pixels. ``scale``: both it and, in
        prediction, the whole image are resized by this. ``min_side``: images whose shorter side is
        less are first enlarged to it (and at least to `size`). ``pad``: share of each side by which
        the image is reflected over its borders.

    Returns
    -------
    crop : dict

    Raises
    ------
    TypeError, ValueError
        If an entry is unknown, missing or out of range.

    Examples
    --------
    >>> check_crop({"size": 416, "scale": 0.9})
    {'size': 416, 'scale': 0.9, 'min_side': None, 'pad': 0.0}
    """
    crop = {**CROP_DEFAULTS, **check_keys("crop", crop, sorted(CROP_DEFAULTS))}
    check_number("crop['size']", crop["size"], 1, integer=True)
    check_number("crop['scale']", crop["scale"], 0, open_low=True)
    check_number("crop['pad']", crop["pad"], 0, 0.5)
    if crop["min_side"] is not None:
        check_number("crop['min_side']", crop["min_side"], 1, integer=True)
    return crop


def scaled(size, scale):
    """A (height, width) times `scale`, rounded, at least 1.

    Examples
    --------
    >>> scaled((416, 416), 0.9)
    (374, 374)
    """
    return tuple(max(1, round(s * scale)) for s in size)


def enlarged(size, crop):
    """The (height, width) that an image is brought to before it is padded and cut.

    Examples
    --------
    >>> crop = check_crop({"size": 416, "min_side": 432})
    >>> enlarged((216, 300), crop), enlarged((522, 775), crop)
    ((432, 600), (522, 775))
    """
    short = max(crop["min_side"] or 0, crop["size"])
    factor = short / min(size)
    return tuple(round(s * factor) for s in size) if factor > 1 else tuple(size)


def borders(size, crop):
    """Rows above and below and columns left and right that padding adds.

    Examples
    --------
    >>> borders((522, 775), check_crop({"size": 416, "pad": 0.01}))
    (5, 7)
    """
    return tuple(int(s * crop["pad"]) for s in size)


def reflected(array, crop):
    """Pad the first two axes of an array by reflection, the border itself not repeated."""
    h, w = borders(array.shape[:2], crop)
    if not (h or w):
        return array
    return np.pad(array, ((h, h), (w, w)) + ((0, 0),) * (array.ndim - 2), mode="reflect")


def lanczos(image, size):
    """Resize an (H, W, C) array of uint8 or float by Lanczos, each channel on its own.

    Examples
    --------
    >>> lanczos(np.full((2, 3, 3), 7, dtype=np.uint8), (4, 6)).shape
    (4, 6, 3)
    """
    if tuple(image.shape[:2]) == tuple(size):
        return image
    dtype = np.uint8 if image.dtype == np.uint8 else np.float32
    resized = [
        Image.fromarray(np.ascontiguousarray(channel, dtype=dtype)).resize(
            size[::-1], Image.Resampling.LANCZOS
        )
        for channel in np.moveaxis(image, -1, 0)
    ]
    resized = np.stack([np.asarray(channel) for channel in resized], axis=-1)
    return resized if dtype == np.uint8 else resized.clip(0, 1)  # it overshoots at edges


def whole_image(image, crop):
    """An (H, W, C) image enlarged and padded, before it is scaled: what crops are cut from."""
    return reflected(lanczos(np.asarray(image), enlarged(image.shape[:2], crop)), crop)


def undo(maps, size, crop):
    """Bring what the network gave for a whole image back to that image.

    Parameters
    ----------
    maps : tensor of shape (N, C, h, w)
        Of the enlarged, padded and scaled image.
    size : (int, int)
        The image's own height and width.
    crop : dict

    Returns
    -------
    tensor of shape (N, C, H, W)
        Scaled back, without the border, resized (all bilinear).
    """
    inner = enlarged(size, crop)
    (top, left), (h, w) = borders(inner, crop), inner
    full = (h + 2 * top, w + 2 * left)
    if tuple(maps.shape[2:]) != full:
        maps = F.interpolate(maps, size=full, mode="bilinear", align_corners=False)
    maps = maps[:, :, top : top + h, left : left + w]
    if inner != tuple(size):
        maps = F.interpolate(
            maps, size=tuple(size), mode="bilinear", align_corners=False, antialias=True
        )
    return maps


def random_corner(size, crop, generator):
    """Where a crop begins, every place alike; from the CPU's generator, whatever the device."""
    top, left = (s - crop["size"] + 1 for s in size)
    draw = torch.rand(2, generator=generator)
    return int(draw[0] * top), int(draw[1] * left)


def squares(starts, widths, side):
    """Where the pixels of squares lie, in images whose rows follow one another in one long row.

    Parameters
    ----------
    starts : tensor of shape (N,), int64
        The first pixel of each square.
    widths : tensor of shape (N,), int64
        Of the images that they are cut from.
    side : int

    Returns
    -------
    tensor of shape (N, side, side), int64

    Examples
    --------
    >>> squares(torch.tensor([1, 12]), torch.tensor([4, 3]), 2).tolist()
    [[[1, 2], [5, 6]], [[12, 13], [15, 16]]]
    """
    steps = torch.arange(side, device=starts.device)
    rows = starts[:, None] + steps * widths[:, None]
    return rows[:, :, None] + steps
