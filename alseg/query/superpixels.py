"""Superpixels of images, each computed once and kept."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from alseg._types import Function, Images
from alseg.images import fingerprint
from alseg.query.regions import _frozen
from alseg.validation import check_number, message

# -- superpixels ----------------------------------------------------------------------------------


def slic_superpixels(image: Images, size: int = 32, compactness: float = 10.0) -> np.ndarray:
    """Superpixels of an image by SLIC [1]_: connected, of like colour, of about equal area.

    The image is smoothed by a Gaussian of ``size / 8`` pixels first: without, the texture of
    tissue makes fragments, which are merged into fewer and less pure superpixels.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3), uint8 or float in [0, 1]
    size : int, default=32
        They have about ``size ** 2`` pixels.
    compactness : float, default=10.0
        Large: squares. Small: outlines that follow the colours.

    Returns
    -------
    labels : ndarray of shape (H, W), int32
        0 to their number minus one.

    References
    ----------
    .. [1] Achanta et al. 2012, SLIC Superpixels Compared to State-of-the-Art Superpixel Methods,
       doi:10.1109/TPAMI.2012.120.

    Examples
    --------
    >>> image = np.zeros((8, 16, 3), np.uint8)
    >>> image[:, 6:] = 200
    >>> slic_superpixels(image, size=8)[0]
    array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], dtype=int32)
    """
    from skimage.segmentation import slic

    check_number("size", size, low=1, integer=True)
    check_number("compactness", compactness, low=0, open_low=True)
    n_segments = max(1, round(image.shape[0] * image.shape[1] / size**2))
    if n_segments == 1:
        return np.zeros(image.shape[:2], dtype=np.int32)
    labels = slic(
        image, n_segments=n_segments, compactness=compactness, sigma=size / 8, start_label=0
    )
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


_KEPT_BYTES = 512 * 2**20
_kept: OrderedDict = OrderedDict()
_kept_lock = threading.Lock()


def superpixels_of(
    images: Images, idx: Sequence[int], size: int = 32, method: Function | None = None
) -> Any:
    """Superpixels of some images of a pool, each computed once and kept.

    They are known again by the content of an image (of a file: its path, size and time), so no
    later round computes them again. The ones used last are kept, up to 512 MiB in a process.

    Parameters
    ----------
    images : sequence, as `alseg.images.as_images` gives it
    idx : sequence of int
    size : int, default=32
    method : callable or None, default=None
        ``f(image, size) -> (H, W) int``. None is `slic_superpixels`.

    Returns
    -------
    list of ndarray of shape (H, W), int32
        Not to be written to.

    Raises
    ------
    ValueError
        If `method` does not give a label of at least 0 for each pixel.

    Examples
    --------
    >>> from alseg.images import as_images
    >>> images = as_images(np.zeros((2, 8, 8), np.uint8))
    >>> superpixels_of(images, [1], size=8)[0].shape
    (8, 8)
    """
    method = slic_superpixels if method is None else method
    found = []
    for i in idx:
        key = method, size, _fingerprint(images, i)
        with _kept_lock:
            labels = _kept.get(key)
            if labels is not None:
                _kept.move_to_end(key)
        if labels is None:
            labels = np.asarray(method(images[i], size))
            if labels.shape != tuple(images.size(i)) or labels.dtype.kind not in "iu":
                rule = f"integers of shape {tuple(images.size(i))}"
                raise ValueError(message("superpixels", rule, f"{labels.dtype} {labels.shape}"))
            if labels.min() < 0:
                raise ValueError(message("superpixels", "labels of at least 0", labels.min()))
            labels = _frozen(labels.astype(np.int32))
            with _kept_lock:
                _kept[key] = labels
                while sum(kept.nbytes for kept in _kept.values()) > _KEPT_BYTES and len(_kept) > 1:
                    _kept.popitem(last=False)
        found.append(labels)
    return found


def _fingerprint(images, i):
    paths = getattr(images, "paths", None)
    if paths is not None:
        stat = os.stat(paths[i])
        return os.path.abspath(paths[i]), stat.st_size, stat.st_mtime_ns
    return fingerprint(images[i])
