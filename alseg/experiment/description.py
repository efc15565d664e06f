"""What decides the numbers of a run, as JSON: parameters, files by their content, and data."""

import functools
import hashlib
import os
import re
from pathlib import Path

import torch

from alseg.files import add_array, file_digest, jsonable, name_of_kind
from alseg.images import MaskFiles, as_images, as_masks
from alseg.network import NAMED_WEIGHTS

_FILES = ("encoder_weights", "start_from")  # parameters that may be a file in the working folder
_END = 2**16  # bytes at each end of a data file that its digest reads


def described(thing):
    """Class and parameters of an estimator or augmenter, as JSON's types, for the record.

    Parameters
    ----------
    thing : estimator
        Anything with ``get_params``; of something else the class alone is told.

    Returns
    -------
    dict
        A file or folder that a parameter names is told by its name and content, so that it may lie
        elsewhere the next time. An estimator within is described in the same way.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> described(GaussianNB(priors=[0.5, 0.5]))
    {'class': 'GaussianNB', 'priors': [0.5, 0.5], 'var_smoothing': 1e-09}
    """
    found = {"class": type(thing).__name__}
    if hasattr(thing, "get_params"):
        params = thing.get_params(deep=False)
        if "feature_cache" in params:  # where it lies, and what it holds by now, decides nothing
            params["feature_cache"] = params["feature_cache"] is not None
        for key in sorted(params):
            if key not in ("verbose", "random_state") and not key.startswith("_"):
                found[key] = described_value(params[key], key)
    return found


def described_value(value, name=""):
    """One parameter, as JSON's types.

    Parameters
    ----------
    value : object
    name : str, default=""
        Of the parameter: "encoder_weights" and "start_from" may be a file without a folder.

    Returns
    -------
    object
        What is not made of numbers, strings, lists and dicts is told by its class or name; a
        `ValidationSet` and a network by a digest too, of its data or its weights, and a
        `functools.partial` by its function and what it gives that.

    Examples
    --------
    >>> described_value((96, 144)), described_value("imagenet", "encoder_weights")
    ([96, 144], 'imagenet')
    >>> described_value(functools.partial(sorted, reverse=True))
    {'function': 'builtins.sorted', 'args': [], 'keywords': {'reverse': True}}
    """
    if isinstance(value, (str, Path)) and _is_path(value, name.rpartition("__")[2]):
        return described_file(value)
    try:
        return jsonable(value)
    except TypeError:
        pass
    if hasattr(value, "get_params") and not isinstance(value, type):
        return described(value)
    if isinstance(value, functools.partial):
        keywords = {key: described_value(one, key) for key, one in sorted(value.keywords.items())}
        args = [described_value(one) for one in value.args]
        return {"function": described_value(value.func), "args": args, "keywords": keywords}
    kind = value if hasattr(value, "__qualname__") else type(value)
    name = name_of_kind(kind)
    if isinstance(value, torch.nn.Module):
        return {"class": name, "sha256": _digest_of_network(value)}
    if all(hasattr(value, part) for part in ("images", "labels", "masks")):  # a ValidationSet
        return {"class": name, "sha256": _digest_of_set(value)}
    return name


def _is_path(value, name):
    text = os.path.expanduser(str(value))
    if "://" in text or text in NAMED_WEIGHTS:
        return False
    if isinstance(value, Path) or os.path.isabs(text):
        return True
    return (name in _FILES or os.sep in text) and os.path.exists(text)


def described_file(path):
    """Name and content of a file, or of a folder with all that is in it.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict
        ``file``, its name without the folder it lies in, and ``sha256``, the first 16 digits, None
        where there is nothing.

    Examples
    --------
    >>> described_file("nowhere/weights.safetensors")
    {'file': 'weights.safetensors', 'sha256': None}
    """
    path = Path(os.path.expanduser(path))
    digest = None
    if path.is_file():
        digest = _digest(*_state(path))
    elif path.is_dir():
        whole = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            whole.update(repr((file.relative_to(path).parts, _digest(*_state(file)))).encode())
        digest = whole.hexdigest()
    return {"file": path.name, "sha256": digest and digest[:16]}


def _state(path):
    """What tells whether a file is still the one that was read."""
    stat = os.stat(path)
    return str(path), stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=2**10)
def _digest(path, size, changed):
    """Of a whole file, read again only when its size or its time is another."""
    return file_digest(path)


@functools.lru_cache(maxsize=2**17)
def _digest_of_ends(path, size, changed):
    """Of both ends of a file: a data set of large images is told in seconds."""
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read(_END))
        if size > _END:
            file.seek(max(_END, size - _END))
            digest.update(file.read())
    return digest.hexdigest()


def describe_data(train, test):
    """Name, sizes and a digest of the two parts, for the record.

    Parameters
    ----------
    train, test : Dataset

    Returns
    -------
    dict
        ``name``, ``n_train``, ``n_test``, and ``train`` and ``test``, digests that change with the
        images, masks, labels or their order. Of files they hold the name, the size, both ends of
        the content (64 KiB each) and how mask values are mapped: reading all of them can take
        minutes.
    """
    return {
        "name": str(train.name),
        "n_train": len(train.ids),
        "n_test": len(test.ids),
        "train": _fingerprint(train),
        "test": _fingerprint(test),
    }


def _fingerprint(part):
    told = list(map(str, part.ids)), list(map(str, part.labels))
    return _digest_of_pairs(told, part.images, part.masks)


def _digest_of_set(part):
    labels, masks = part.labels, part.masks
    if masks is not None and not hasattr(masks, "paths"):
        known = [mask for mask in masks if mask is not None]
        if known and all(isinstance(mask, (str, os.PathLike)) for mask in known):
            masks = MaskFiles(masks)  # told by its files, which else are all decoded
    told = None if labels is None else list(map(str, labels))
    return _digest_of_pairs(told, part.images, masks)


def _digest_of_network(module):
    """Of the layers of a network and their weights, from which each fit starts."""
    layers = re.sub("0x[0-9a-f]+", "", repr(module))  # where a function lies says nothing
    digest = hashlib.sha256(layers.encode())
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        add_array(digest, tensor.detach().cpu().numpy())
    return digest.hexdigest()[:16]


def _told(path):
    """Name, size and digest of a file; of several, of each."""
    if isinstance(path, tuple):
        return tuple(map(_told, path))
    state = _state(path)
    return os.path.basename(path), state[1], _digest_of_ends(*state)


def _digest_of_pairs(told, images, masks):
    digest = hashlib.sha256(repr(told).encode())
    images = as_images(images)
    masks = as_masks(masks, len(images))
    for items in (images, masks):
        paths = getattr(items, "paths", None)
        if paths is not None:
            mapping = getattr(items, "mapping", None)
            digest.update(repr(getattr(mapping, "told", mapping)).encode())
            if getattr(items, "resize_to", None) is not None:
                digest.update(b"resized")
        for i in range(len(items)):
            if paths is not None:
                path = paths[i]
                told = None if path is None else _told(path)
                digest.update(repr(told).encode())
            elif items[i] is None:
                digest.update(b"None")
            else:
                add_array(digest, items[i])
    return digest.hexdigest()[:16]
