"""Images at the network's size, and those of files and other sources kept between rounds.

A round reads its files to fit and again to predict the pool, and so does the next: what a file
was decoded to is kept, up to `LIMIT` bytes, those unused for longest leaving first. What is kept is
never stale: it belongs to the file with its size and times, and that of a file written within the
last seconds, whose times may not change when it is written again, is not kept. Arrays are not kept
at all: nothing tells that one was changed in place. What other libraries' data sets give is: they
were seen to give the same each time.
"""

import os
import threading
import time
from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F

LIMIT = 256 * 2**20
"""Bytes kept at most, in each process: 1600 images of 192 x 288."""

_FRESH = 3e9  # nanoseconds; file systems tell the time in steps of up to two seconds

_kept: OrderedDict = OrderedDict()
_n_bytes, _lock = 0, threading.Lock()


def image_tensor(image, canvas):
    """An (H, W, C) array to a (C, h, w) tensor of the same dtype, resized with anti-aliasing.

    Grey is repeated to three channels.
    """
    tensor = torch.from_numpy(np.array(image, copy=True)).movedim(-1, 0)
    if tensor.shape[0] == 1:
        tensor = tensor.expand(3, -1, -1)
    if tuple(tensor.shape[1:]) != tuple(canvas):
        if tensor.dtype != torch.uint8:
            tensor = tensor.float()
        tensor = F.interpolate(
            tensor[None], size=tuple(canvas), mode="bilinear", antialias=True, align_corners=False
        )[0]
    return tensor if tensor.dtype == torch.uint8 else tensor.float()


def decoded(images, i, canvas):
    """Image `i` at the network's size, from memory where its file is as it was.

    Parameters
    ----------
    images : as `alseg.images.as_images` gives them
    i : int
    canvas : (int, int)

    Returns
    -------
    tensor of shape (C, h, w), uint8 or float32
        `image_tensor` of the image, bit for bit. Not to be written to: others get the same.
    """
    path = images.path(i)
    before = None if path is None else _state(path)
    key = None if before is None else (os.path.abspath(path), before, tuple(canvas))
    token = images.key(i) if hasattr(images, "key") else None
    if token is not None:  # of a source that gives the same each time
        key = (*token, tuple(canvas))
    if key is not None:
        with _lock:
            if key in _kept:
                _kept.move_to_end(key)
                return _kept[key]
    with torch.inference_mode(False):  # whoever asks first: others may train on it
        tensor = image_tensor(images[i], canvas)
    if key is not None and (before is None or _stays(path, before)):
        _keep(key, tensor)
    return tensor


def _stays(path, before):
    """Whether a file is as it was, and long enough for its times to tell."""
    return _state(path) == before and time.time_ns() - max(before[:2]) > _FRESH


def forget():
    """Forget all images that are kept."""
    global _n_bytes
    with _lock:
        _kept.clear()
        _n_bytes = 0


def _state(path):
    """What changes when a file is written or replaced; None where there is no file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # reading it says what is wrong
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev


def _keep(key, tensor):
    global _n_bytes
    size = tensor.numel() * tensor.element_size()
    with _lock:
        if size > LIMIT or key in _kept:
            return
        while _kept and _n_bytes + size > LIMIT:
            _, old = _kept.popitem(last=False)
            _n_bytes -= old.numel() * old.element_size()
        _kept[key] = tensor
        _n_bytes += size


def _after_fork():
    # The lock may have been held by a thread that the child does not have.
    global _kept, _n_bytes, _lock
    _kept, _n_bytes, _lock = OrderedDict(), 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
