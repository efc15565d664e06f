"""What a page is told of the probabilities of an image: bytes, how unsure, and where most."""

from typing import NamedTuple

import numpy as np

_PIXELS = 65536  # at which doubt is looked at: it is smooth, and an image may be large


class Proposed(NamedTuple):
    """What a model makes of an image, see `proposed`."""

    pixels: bytes
    uncertainty: float
    frame: list


def proposed(proba):
    """What a page shows of the probabilities of an image.

    Parameters
    ----------
    proba : ndarray of shape (C, H, W), float

    Returns
    -------
    Proposed
        ``pixels``: see `as_bytes`; ``uncertainty``: the mean entropy of the pixels, 1 where nothing
        is known; ``frame``: [top, left, height, width], see `most_uncertain`.

    Examples
    --------
    >>> proba = np.array([[[0.5, 1.0, 1.0]], [[0.5, 0.0, 0.0]]])
    >>> found = proposed(proba)
    >>> list(found.pixels), round(found.uncertainty, 4), found.frame
    ([128, 0, 0], 0.3333, [0, 0, 1, 1])
    """
    height, width = proba.shape[1:]
    step = max(1, int(np.sqrt(height * width / _PIXELS)))
    doubt = entropy_map(proba[:, ::step, ::step])
    top, left, down, across = (step * value for value in most_uncertain(doubt))
    frame = [top, left, min(down, height - top), min(across, width - left)]
    return Proposed(as_bytes(proba), float(doubt.mean()), frame)


def as_bytes(proba):
    """Probability of foreground, a byte a pixel, and behind it the likeliest class above background
    where there are several.

    Parameters
    ----------
    proba : ndarray of shape (C, H, W), float

    Returns
    -------
    bytes of length H * W, or 2 * H * W for C > 2

    Examples
    --------
    >>> list(as_bytes(np.array([[[1.0, 0.2]], [[0.0, 0.3]], [[0.0, 0.5]]])))
    [0, 204, 1, 2]
    """
    foreground = np.rint(255 * (1 - np.clip(proba[0], 0, 1))).astype(np.uint8).tobytes()
    if len(proba) == 2:
        return foreground
    return foreground + (1 + proba[1:].argmax(0)).astype(np.uint8).tobytes()


def entropy_map(proba):
    """Entropy of the classes of each pixel, (H, W) float in [0, 1]: 1 where all are alike."""
    proba = np.clip(np.asarray(proba, dtype=np.float64), 1e-12, 1)
    return -(proba * np.log(proba)).sum(0) / np.log(len(proba))


def most_uncertain(doubt):
    """The window of a third of each side whose mean is the highest.

    Parameters
    ----------
    doubt : ndarray of shape (H, W), float

    Returns
    -------
    top, left, height, width : int
        The first of those that are alike.

    Examples
    --------
    >>> doubt = np.zeros((6, 9))
    >>> doubt[3:5, 4] = 1
    >>> most_uncertain(doubt)
    (3, 2, 2, 3)
    """
    height, width = (max(1, round(size / 3)) for size in doubt.shape)
    # Whole numbers, so that windows of the same content have the same sum.
    whole = np.rint(doubt * 2**20).astype(np.int64)
    sums = np.pad(whole.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    windows = sums[height:, width:] - sums[:-height, width:]
    windows = windows - sums[height:, :-width] + sums[:-height, :-width]
    top, left = divmod(int(windows.argmax()), windows.shape[1])
    return top, left, height, width
