"""Pictures of images that a browser shows, and proposals of the last model."""

import functools
import threading

import numpy as np

from alseg.project import last_model
from alseg.report import fit_within, picture_bytes

SIDE = 192
"""Pixels of the longer side of a thumbnail."""

_PROPOSALS = 64  # kept in memory


def picture(image):
    """An image as the bytes of a PNG file of its size: the first three channels, 8 bits each.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C), uint8 or float in [0, 1]

    Returns
    -------
    bytes

    Examples
    --------
    >>> picture(np.zeros((2, 3), np.uint8))[:4]
    b'\\x89PNG'
    """
    full = fit_within(image, max(np.shape(image)[:2]))
    return picture_bytes(full, "PNG", compress_level=1)


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
    return picture_bytes(fit_within(image, side), "JPEG", quality=80)


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
        Whether there is a model, of two pixel classes.
    """

    def __init__(self, project, images):
        self._path = last_model(project) if project.n_mask_classes == 2 else None
        self._device = project.state["options"]["estimator"].get("device")
        self._images, self._model, self._lock = images, None, threading.Lock()
        self._probabilities = functools.lru_cache(_PROPOSALS)(self._predict)
        self.there = self._path is not None

    def __call__(self, i):
        """Probability of foreground of an image: a byte a pixel, 0 to 255; None without a model."""
        return self._probabilities(i) if self.there else None

    def _predict(self, i):
        with self._lock:  # one at a time: what is drawn meanwhile must not wait for processors
            if self._model is None and not self._load():
                return None
            found = self._model.predict_mask_proba(self._images.take(np.array([i])))
        return np.rint(255 * np.asarray(found[0][1])).astype(np.uint8).tobytes()

    def _load(self):
        from alseg.segmenter import JointCAMSegmenter

        options = {} if self._device is None else {"device": self._device}
        try:
            model = JointCAMSegmenter.load(
                self._path, feature_cache=None, schedule__start_from=None, verbose=0, **options
            )
        except (OSError, ValueError):  # damaged, or removed: it can be fitted again
            self.there = False
            return False
        self._model = model
        return True
