"""Small grey copies of images, without decoding all of a JPEG file."""

from __future__ import annotations

import numpy as np
from PIL import Image

from alseg._types import Images
from alseg.images.formats import header_of, opened, orientation_of
from alseg.images.pixels import Pixels, upright
from alseg.images.read import read_image
from alseg.images.sequences import as_images


def thumbnails(X: Images, side: int = 16) -> np.ndarray:
    """Small grey square copies of images, whatever their shape.

    Parameters
    ----------
    X : images as for `as_images`
        Of JPEG files only every eighth pixel or so is decoded, where that is enough.
    side : int, default=16

    Returns
    -------
    small : ndarray of shape (n, side, side), float32 in [0, 1]
        Means over blocks.

    Raises
    ------
    TypeError, ValueError
        As `as_images` and `read_image`.

    Examples
    --------
    >>> white = np.full((1, 40, 60, 3), 255, np.uint8)
    >>> thumbnails(white, 2).tolist()
    [[[1.0, 1.0], [1.0, 1.0]]]
    """
    images = as_images(X)
    small = np.empty((len(images), side, side), np.float32)
    for i in range(len(images)):
        path = images.path(i)
        small[i] = _of_array(images[i], side) if path is None else _of_file(path, side)
    return small


def _of_file(path, side):
    with opened(path) as (where, found, file):
        if found == "JPEG":
            image = header_of(where, found, file)
            if image.mode in ("L", "RGB"):  # CMYK is no matter of brightness alone
                orientation = orientation_of(image)
                image.draft("L", (4 * side, 4 * side))
                grey = np.asarray(_shrunk(image.convert("L"), side), np.float32) / 255
                return upright(where, Pixels(grey), orientation).values
    return _of_array(read_image(path), side)


def _of_array(image, side):
    if image.shape[2] != 3:  # no colours: all channels count alike
        top = 255 if image.dtype == np.uint8 else 1
        grey = image.mean(axis=2, dtype=np.float32) / np.float32(top)
        return np.asarray(_shrunk(Image.fromarray(grey), side))
    if image.dtype == np.uint8:
        grey = Image.fromarray(image).convert("L")
        return np.asarray(_shrunk(grey, side), np.float32) / 255
    weights = np.array([0.299, 0.587, 0.114], np.float32)  # as Pillow's "L"
    return np.asarray(_shrunk(Image.fromarray(image @ weights), side))


def _shrunk(grey, side):
    return grey.resize((side, side), Image.Resampling.BOX)
