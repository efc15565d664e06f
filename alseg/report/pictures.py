"""Pictures: an image scaled, with the outline of a mask or a map laid over it."""

import io

import numpy as np

from alseg.labels import MISSING

OUTLINE_COLOURS = ((255, 200, 0), (0, 229, 255), (255, 92, 205), (124, 252, 0), (255, 255, 255))
"""RGB of mask classes 1, 2, ...; each line is drawn on a dark casing, so it shows on any tissue."""


def fit_within(image, side):
    """Scale an image so that its longer side has `side` pixels.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C), uint8 or float in [0, 1]
    side : int

    Returns
    -------
    ndarray of shape (h, w, 3), uint8
    """
    from PIL import Image

    image = np.asarray(image)
    if image.dtype != np.uint8:
        image = np.rint(np.clip(image.astype(float), 0, 1) * 255).astype(np.uint8)
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[-1] < 3:
        image = np.repeat(image[..., :1], 3, axis=-1)
    size = _size_within(image.shape[:2], side)
    return np.asarray(Image.fromarray(image[..., :3]).resize(size[::-1], Image.Resampling.BICUBIC))


def picture_bytes(picture, kind, **options):
    """A picture as the bytes of a file.

    Parameters
    ----------
    picture : ndarray of shape (h, w, 3), uint8
    kind : {"BMP", "JPEG", "PNG"}
    **options
        Of Pillow's writer, such as `quality`.

    Returns
    -------
    bytes

    Examples
    --------
    >>> picture_bytes(np.zeros((2, 3, 3), np.uint8), "PNG")[:4]
    b'\\x89PNG'
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format=kind, **options)
    return buffer.getvalue()


def _size_within(size, side):
    scale = side / max(size)
    return tuple(max(1, round(scale * length)) for length in size)


def outline(image, mask, side=256):
    """Draw the outline of each class of a mask on an image.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C), uint8 or float in [0, 1]
    mask : ndarray of shape (H, W), int
        0 is background, `MISSING` is drawn as background.
    side : int, default=256
        Longer side of the picture.

    Returns
    -------
    picture : ndarray of shape (h, w, 3), uint8

    Examples
    --------
    >>> mask = np.zeros((8, 8), int)
    >>> mask[2:6, 2:6] = 1
    >>> outline(np.zeros((8, 8, 3), np.uint8), mask, side=32).shape
    (32, 32, 3)
    """
    from scipy.ndimage import binary_dilation
    from skimage.transform import resize

    picture = fit_within(image, side).copy()
    mask = np.asarray(mask)
    lines, width = [], max(1, round(side / 320))  # pixels on each side of the edge
    for number in np.unique(mask[(mask != 0) & (mask != MISSING)]):
        # Smooth edges: the class's map is scaled linearly and cut at one half.
        smooth = resize((mask == number).astype(float), picture.shape[:2], order=1) > 0.5
        edge = smooth & binary_dilation(~smooth, np.ones((3, 3)))
        colour = OUTLINE_COLOURS[(number - 1) % len(OUTLINE_COLOURS)]
        lines.append((binary_dilation(edge, np.ones((2, 2)), width), colour))
    for edge, _ in lines:
        picture[binary_dilation(edge, iterations=width)] = (18, 18, 28)
    for edge, colour in lines:
        picture[edge] = colour
    return picture


def overlay(image, values, side=256, low=None, high=None, cmap="magma", strength=0.62):
    """Lay a map over an image in grey.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C), uint8 or float in [0, 1]
    values : ndarray of shape (h, w), float
        Any size; scaled to the picture.
    side : int, default=256
        Longer side of the picture.
    low, high : float or None, default=None
        Values at the ends of the colour map; None is the least and the greatest of `values`.
    cmap : str, default="magma"
    strength : float in [0, 1], default=0.62
        How much of the colour covers the image.

    Returns
    -------
    picture : ndarray of shape (h, w, 3), uint8
    """
    import matplotlib
    from skimage.transform import resize

    grey = fit_within(image, side).astype(float) @ (0.299, 0.587, 0.114) / 255
    values = np.asarray(values, dtype=float)
    low = np.nanmin(values) if low is None else low
    high = np.nanmax(values) if high is None else high
    scaled = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    scaled = resize(scaled, grey.shape, order=1, mode="edge")
    colour = matplotlib.colormaps[cmap](scaled)[..., :3]
    mixed = (1 - strength) * grey[..., None] + strength * colour
    return np.rint(np.clip(mixed, 0, 1) * 255).astype(np.uint8)
