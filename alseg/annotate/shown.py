"""Pictures of images that a browser shows, and proposals of the last model."""

import functools
import threading

import numpy as np

from alseg.annotate.proposed import as_bytes
from alseg.project import last_model
from alseg.report import fit_within, picture_bytes
from alseg.validation import message

SIDE = 192
"""Pixels of the longer side of a thumbnail."""

_PROPOSALS = 64  # kept in memory
_SAMPLED = 200_000  # pixels that percentiles are taken of


def picture(image, low=None, high=None, channels=None):
    """An image as the bytes of a BMP file of its size, three channels of 8 bits each.

    Nothing is lost, and it is written twenty times as fast as PNG: it goes no further than to the
    browser of this computer.

    Parameters
    ----------
    image, low, high, channels
        As `in_window` takes them.

    Returns
    -------
    bytes

    Examples
    --------
    >>> picture(np.zeros((2, 3), np.uint8))[:2]
    b'BM'
    """
    return picture_bytes(in_window(image, low, high, channels), "BMP")


def thumbnail(image, side=SIDE):
    """A small picture of an image, as the bytes of a JPEG file.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C), uint8 or float in [0, 1]
    side : int, default=192

    Returns
    -------
    bytes
    """
    return picture_bytes(fit_within(in_window(image), side), "JPEG", quality=80)


def in_window(image, low=None, high=None, channels=None):
    """What is shown of an image: three of its channels, from dark to light.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C), uint8 or float in [0, 1]
    low, high : float in [0, 100] or None, default=None
        Percentiles of the values that are shown black and white: of all channels together where
        there are three, which are colours, else of each by itself. None leaves 8 bits as they are,
        and takes 0.1 and 99.9 of floats: what a camera of 12 bits saves with 16 is else black.
    channels : sequence of 1 or 3 int, or None, default=None
        Those shown as grey, or as red, green and blue. None is the first three, or the first.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8

    Raises
    ------
    ValueError
        If the percentiles are not in order, or there is no such channel.

    Examples
    --------
    >>> dark = np.linspace(0, 0.01, 6).reshape(2, 3, 1)
    >>> in_window(dark, 0, 100)[..., 0]
    array([[  0,  51, 102],
           [153, 204, 255]], dtype=uint8)
    """
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    n_channels = image.shape[2]
    if channels is None:
        channels = (0, 1, 2) if n_channels > 2 else (0,)
    if len(channels) not in (1, 3) or not all(0 <= c < n_channels for c in channels):
        rule = f"1 or 3 of the {n_channels} channels, from 0"
        raise ValueError(message("channels", rule, list(channels)))
    shown = image if list(channels) == list(range(n_channels)) else image[..., list(channels)]
    if low is not None or high is not None or image.dtype != np.uint8:
        low, high = (0.1 if low is None else low), (99.9 if high is None else high)
        if not 0 <= low < high <= 100:
            raise ValueError(message("low and high", "percentiles, low < high", (low, high)))
        shown = _stretched(shown, low, high, together=n_channels == 3)
    return np.broadcast_to(shown, (*shown.shape[:2], 3))


def _stretched(values, low, high, together):
    """Values as uint8, percentiles `low` and `high` as 0 and 255."""
    step = max(1, int(np.sqrt(values.shape[0] * values.shape[1] / _SAMPLED)))
    axis = None if together else (0, 1)
    ends = np.percentile(values[::step, ::step], (low, high), axis=axis).astype(np.float32)
    first, last = ends.reshape(2, -1)
    top = np.float32(255 if values.dtype == np.uint8 else 1)
    flat = last <= first  # nothing to stretch: as it is
    first, last = np.where(flat, 0, first), np.where(flat, top, last)
    factor = np.float32(255) / (last - first)
    shown = (values - first.astype(np.float32)) * factor.astype(np.float32)
    return np.rint(np.clip(shown, 0, 255, out=shown), out=shown).astype(np.uint8)


class Proposals:
    """What the model fitted last thinks of images; it is loaded when the first is asked for.

    Parameters
    ----------
    project : Project
    images : sequence of ndarray
        As `alseg.images.as_images` gives them.

    Attributes
    ----------
    there : bool
        Whether there is a model.
    """

    def __init__(self, project, images):
        self._path = last_model(project)
        self._n_classes = project.n_mask_classes
        self._device = project.state["options"]["estimator"].get("device")
        self._images, self._model, self._lock = images, None, threading.Lock()
        self._probabilities = functools.lru_cache(_PROPOSALS)(self._predict)
        self.there = self._path is not None

    def __call__(self, i):
        """Bytes of an image, see `alseg.annotate.proposed.as_bytes`; None without a model."""
        return self._probabilities(i) if self.there else None

    def proposal(self, i):
        """Version of the model, always 0, and what it proposes, as bytes; or None."""
        found = self(i)
        return None if found is None else (0, found)

    def version(self, i):
        """Of the model: there is one, 0."""
        return 0 if self.there else None

    def uncertainty(self, i):
        """Not known."""
        return None

    def older(self):
        """None: nothing is known of how unsure it is."""
        return set()

    def frame(self, i):
        """Not known."""
        return None

    def _predict(self, i):
        with self._lock:  # one at a time: what is drawn meanwhile must not wait for processors
            if self._model is None and not self._load():
                return None
            found = self._model.predict_mask_proba(self._images.take(np.array([i])))
        return as_bytes(np.asarray(found[0]))

    def _load(self):
        from alseg.segmenter import JointCAMSegmenter

        options = {} if self._device is None else {"device": self._device}
        try:
            model = JointCAMSegmenter.load(
                self._path, feature_cache=None, schedule__start_from=None, verbose=0, **options
            )
        except (OSError, ValueError):  # damaged, or removed: it can be fitted again
            model = None
        if model is None or model.n_mask_classes != self._n_classes:
            self.there = False
            return False
        self._model = model
        return True
