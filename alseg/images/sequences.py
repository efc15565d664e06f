"""Many images or masks as one sequence: arrays, lists, or files that are read when asked for."""

from __future__ import annotations

import copy
import hashlib
import numbers
import os
from typing import Any

import numpy as np
from PIL import Image

from alseg._types import Array, Images, Masks
from alseg.images.coding import MaskCoding, read_coded
from alseg.images.fitting import merged, ratio, resized
from alseg.images.formats import explained
from alseg.images.pixels import decode_object
from alseg.images.read import (
    MASK_MAPPINGS,
    MAX_ID,
    as_mask,
    as_picture,
    float_problem,
    image_size,
    read_image,
    read_mask,
)
from alseg.images.soft import check_soft, hard_mask
from alseg.labels import MISSING, is_soft
from alseg.validation import check_option, message

# ---- files -------------------------------------------------------------------------------------


class _Files:
    """A lazy sequence of files: indexed like a 1-D array, each element read when asked for.

    `shape` and the indexing by arrays are what scikit-learn's splitters need: without them they
    decode everything into a list.
    """

    def __init__(self, paths):
        if isinstance(paths, (str, os.PathLike)) or not hasattr(paths, "__len__"):
            raise TypeError(message("paths", "a sequence of paths", paths))
        held = np.empty(len(paths), dtype=object)
        for i, path in enumerate(paths):
            held[i] = self._checked(i, path)
        self.paths = held

    def _checked(self, i, path):
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(message(f"paths[{i}]", "a string or a Path", path))
        return os.path.expanduser(os.fspath(path))

    ndim = 1

    @property
    def shape(self):
        return (len(self.paths),)

    def __len__(self):
        return len(self.paths)

    def __iter__(self):
        return (self._read(i) for i in range(len(self)))

    def __getitem__(self, key):
        if isinstance(key, tuple):  # scikit-learn indexes rows with `X[key, ...]`
            if len(key) != 2 or key[1] is not Ellipsis:
                raise IndexError(message("index", "one-dimensional", key))
            key = key[0]
        if isinstance(key, numbers.Integral) and not isinstance(key, (bool, np.bool_)):
            return self._read(range(len(self))[key])
        return self.take(key)

    def __array__(self, dtype=None, copy=None):
        array = stack(list(self))
        return array if dtype is None else array.astype(dtype)

    def take(self, idx):
        """The files at the positions `idx`, (k,) int, as a sequence of the same kind."""
        return type(self)(self.paths[_as_key(idx)])

    def joined(self, others):
        """The files of this and other sequences of the same kind, one after another."""
        return type(self)(np.concatenate([one.paths for one in (self, *others)]))

    def size(self, i):
        """(H, W) of file `i` from its header alone; None where there is no file."""
        return image_size(self.paths[i])

    def where(self, i):
        """How an error names element `i`: by its file."""
        return f"{self.paths[i]!r}"

    def __repr__(self):
        first = f", first {self.paths[0]!r}" if len(self) else ""
        return f"{type(self).__name__}({len(self)} files{first})"


class ImageFiles(_Files):
    """Image files as a sequence that reads each when it is asked for.

    Parameters
    ----------
    paths : sequence of str or Path
        ``~`` is expanded. Nothing is opened here.

    Attributes
    ----------
    paths : ndarray of shape (n,), object
        The paths as strings.
    shape : tuple (n,)

    Examples
    --------
    >>> files = ImageFiles(["a.png", "b.png", "c.png"])
    >>> files.shape, files[[2, 0]].paths.tolist()
    ((3,), ['c.png', 'a.png'])
    """

    def path(self, i: Any) -> Any:
        """The path of file `i`."""
        return self.paths[i]

    def _read(self, i):
        return read_image(self.paths[i])


class MaskFiles(_Files):
    """Mask files as a sequence that reads each when it is asked for.

    Parameters
    ----------
    paths : sequence of str, Path, tuple of paths, or None
        None is an image without a mask. Several files an image are parts of one mask: what any of
        them calls foreground, and an error where two give a pixel different classes.
    mapping : {None, "nonzero", "half", "binary"} or MaskCoding, default=None
        What becomes of the values, see `read_mask`, or how they are coded, see `decide_coding`.
    resize_to : sequence of str or Path of shape (n,), or None, default=None
        The image files: a mask whose size is a whole ratio of its image's (twice, half) is brought
        to it by nearest neighbour.

    Attributes
    ----------
    paths : ndarray of shape (n,), object
        The paths as strings, tuples of them, None where there is none.
    shape : tuple (n,)

    Examples
    --------
    >>> masks = MaskFiles(["a.png", None], mapping="nonzero")
    >>> masks[1] is None, masks[:1].mapping
    (True, 'nonzero')
    """

    def __init__(
        self,
        paths: Any,
        mapping: Any = None,
        resize_to: Any = None,
    ) -> None:
        if mapping is not None and not isinstance(mapping, MaskCoding):
            check_option("mapping", mapping, MASK_MAPPINGS)
        super().__init__(paths)
        self.mapping = mapping
        self.resize_to = None if resize_to is None else ImageFiles(resize_to).paths
        if resize_to is not None and len(resize_to) != len(self):
            raise ValueError(
                message("resize_to", f"of the length of paths ({len(self)})", len(resize_to))
            )

    def _checked(self, i, path):
        if path is None:
            return None
        if isinstance(path, tuple) and path:
            return tuple(super(MaskFiles, self)._checked(i, one) for one in path)
        return super()._checked(i, path)

    def take(self, idx: Array) -> Any:
        """The masks at the positions `idx`, (k,) int, as a sequence of the same kind."""
        key = _as_key(idx)
        images = None if self.resize_to is None else self.resize_to[key]
        return MaskFiles(self.paths[key], self.mapping, images)

    def joined(self, others: Any) -> Any:
        """The masks of this and other sequences, one after another; all are read in one way."""
        if any(
            (m.mapping, m.resize_to is None) != (self.mapping, self.resize_to is None)
            for m in others
        ):
            raise ValueError(
                message(
                    "mapping",
                    "that of all mask files that are put together",
                    [one.mapping for one in (self, *others)],
                )
            )
        images = None
        if self.resize_to is not None:
            images = np.concatenate([one.resize_to for one in (self, *others)])
        paths = np.concatenate([one.paths for one in (self, *others)])
        return MaskFiles(paths, self.mapping, images)

    def _read(self, i):
        path = self.paths[i]
        if path is None:
            return None
        if isinstance(path, tuple):
            mask = merged([read_coded(one, self.mapping) for one in path], path)
        else:
            mask = read_coded(path, self.mapping)
        return mask if self.resize_to is None else resized(mask, image_size(self.resize_to[i]))

    def size(self, i: Any) -> Any:
        """(H, W) of mask `i` from headers alone; None where there is no file."""
        path = self.paths[i]
        if path is None:
            return None
        size = image_size(path[0] if isinstance(path, tuple) else path)
        if self.resize_to is None:
            return size
        wanted = image_size(self.resize_to[i])
        return size if ratio(size, wanted) is None else wanted

    def where(self, i: Any) -> Any:
        """How an error names mask `i`: by its file, or the first of them."""
        path = self.paths[i]
        return f"{path[0]!r} and more" if isinstance(path, tuple) else f"{path!r}"


def _as_key(key):
    """An index that numpy applies to a 1-D array: a slice, positions, or a boolean mask."""
    if isinstance(key, slice):
        return key
    key = np.asarray(key)
    return key.astype(np.intp) if key.size == 0 and key.dtype != bool else key


# ---- one face ----------------------------------------------------------------------------------


def as_images(X: Images) -> Any:
    """Images in any form as one sequence with a length, positions and `take`.

    Parameters
    ----------
    X : ndarray of shape (n, H, W, C) or (n, H, W); or sequence of n
        uint8, or float in [0, 1]; any number of channels, at most as many as rows or columns where
        they are more than three. A list or 1-D object array holds arrays of shape (H, W)
        or (H, W, C) of differing sizes, PIL images (each as `read_image` reads the
        file that it would be), or paths; `ImageFiles` is taken as it is.

    Returns
    -------
    images : sequence
        ``len(images)``; ``images[i]`` is (H, W, C), uint8 or float32 in [0, 1], grey repeated
        to three channels (it may be the very memory of `X`: not to be written to);
        ``images.size(i)`` is (H, W) without decoding; ``images.take(idx)`` the same for the
        positions `idx`, without a copy; ``images.where(i)`` names an element in errors;
        ``images.path(i)`` is the path of a file, None of an array.

    Raises
    ------
    TypeError
        If the dtype is neither uint8 nor float, or `X` is no sequence of images.
    ValueError
        If it is empty, has channels first or images of differing channels, NaN, or floats outside
        [0, 1].

    Examples
    --------
    >>> images = as_images([np.zeros((4, 5), np.uint8), np.ones((2, 3, 3))])
    >>> len(images), images.size(0), images[1].dtype
    (2, (4, 5), dtype('float32'))
    """
    if isinstance(X, (ImageFiles, _HeldImages)):
        _check_filled("X", X)
        return X
    if isinstance(X, (_Files, str, bytes, os.PathLike)):
        raise TypeError(message("X", "a sequence of images or of image files", X))
    if _is_numeric_array(X):
        X = np.asarray(X)
        if X.ndim not in (3, 4):
            raise ValueError(
                message("X", "of shape (n, H, W, C) or (n, H, W)", X.shape, _shape_remedy(X.shape))
            )
        if X.ndim == 3 and X.shape[2] in (3, 4) and min(X.shape[:2]) >= 16:
            remedy = "That looks like one image: pass X[None]."
            raise ValueError(message("X", "a sequence of images", X.shape, remedy))
        _check_filled("X", X)
        _check_pixels("X", X, X.shape[3] if X.ndim == 4 else 1)
        return _HeldImages(X)
    items = _as_items("X", X)
    _check_filled("X", items)
    if all(isinstance(item, (str, os.PathLike)) for item in items):
        return ImageFiles(items)
    for i, item in enumerate(items):
        if isinstance(item, (str, os.PathLike)):
            items[i] = os.path.expanduser(os.fspath(item))
            continue
        if item is None:
            raise ValueError(message(f"X[{i}]", "an image", item))
        if isinstance(item, Image.Image):
            with explained(f"X[{i}]"):
                item = as_picture(f"X[{i}]", decode_object(f"X[{i}]", item))
        array = np.asarray(item)
        if array.ndim not in (2, 3):
            raise ValueError(message(f"X[{i}]", "of shape (H, W) or (H, W, C)", array.shape))
        _check_pixels(f"X[{i}]", array, array.shape[2] if array.ndim == 3 else 1)
        items[i] = array
    _check_channels(items)
    return _HeldImages(items)


def as_masks(masks: Masks, n_samples: int, soft: bool = False) -> Any:
    """Masks in any form as one sequence with a length, positions and `take`.

    Parameters
    ----------
    masks : None, ndarray of shape (n, H, W), or sequence of n
        Class of each pixel, signed int, `MISSING` (-1) where not annotated. A list or 1-D object
        array holds arrays of shape (H, W), None (nothing annotated), PIL images (as `read_mask`
        reads files), or paths; `MaskFiles` is taken as it is. None is None for every image.
        Arrays of shape (C, H, W), float, are soft masks: the probability of each class at each
        pixel, which sum to 1, NaN where not annotated.
    n_samples : int
        How many there must be.
    soft : bool, default=False
        Give soft masks as they are. Otherwise they are given as the likeliest class of each pixel.

    Returns
    -------
    masks : sequence
        ``masks[i]`` is (H, W) int16, None, or with `soft` (C, H, W) float; ``take``, ``size``,
        ``where`` as in `as_images`.
        A mask that is all `MISSING` stays an array.

    Raises
    ------
    TypeError
        If the masks are not whole numbers.
    ValueError
        If there are not `n_samples`, a value is outside [-1, 32767], or probabilities are outside
        [0, 1] or do not sum to 1 (by more than 0.001).

    Examples
    --------
    >>> masks = as_masks([None, np.array([[0, 1]])], 2)
    >>> masks[0] is None, masks[1].dtype
    (True, dtype('int16'))
    """
    if masks is None:
        masks = _HeldMasks(np.full(n_samples, None, dtype=object))
    elif isinstance(masks, _HeldMasks):
        masks = masks.seen(soft)
    elif isinstance(masks, MaskFiles):
        pass
    elif isinstance(masks, (_Files, str, bytes, os.PathLike)):
        raise TypeError(message("masks", "a sequence of masks or of mask files", masks))
    elif _is_numeric_array(masks) and not (masks.ndim == 4 and masks.dtype.kind == "f"):
        masks = np.asarray(masks)
        if masks.ndim != 3:
            raise ValueError(message("masks", "of shape (n, H, W)", masks.shape))
        _check_ids("masks", masks)
        masks = _HeldMasks(masks)
    else:
        items = _as_items("masks", masks)
        for i, item in enumerate(items):
            if item is None:
                continue
            if isinstance(item, (str, os.PathLike)):
                items[i] = os.path.expanduser(os.fspath(item))
                continue
            if isinstance(item, Image.Image):
                with explained(f"masks[{i}]"):
                    item = as_mask(f"masks[{i}]", decode_object(f"masks[{i}]", item))
            items[i] = np.asarray(item)
            _check_mask(f"masks[{i}]", items[i])
        masks = _HeldMasks(items).seen(soft)
    if len(masks) != n_samples:
        remedy = "Use None for an image without a mask."
        raise ValueError(message("masks", f"of the length of X ({n_samples})", len(masks), remedy))
    return masks


def fingerprint(image: Images) -> Any:
    """What tells an image from others by its content: a digest of pixels, shape and type.

    Parameters
    ----------
    image : ndarray

    Returns
    -------
    str

    Examples
    --------
    >>> a = np.zeros((2, 3, 3), np.uint8)
    >>> fingerprint(a) == fingerprint(a.copy()), fingerprint(a) == fingerprint(a.reshape(3, 2, 3))
    (True, False)
    """
    image = np.ascontiguousarray(image)
    start = f"{image.dtype.str}{image.shape}".encode()
    return hashlib.blake2b(
        image.data, digest_size=16, key=hashlib.sha256(start).digest()
    ).hexdigest()


def stack(arrays: Array) -> Any:
    """One array if the shapes agree, else a 1-D object array.

    Parameters
    ----------
    arrays : sequence of ndarray (or None)

    Returns
    -------
    ndarray of shape (n, ...) or (n,), object

    Examples
    --------
    >>> stack([np.zeros((2, 3)), np.ones((2, 3))]).shape
    (2, 2, 3)
    >>> stack([np.zeros((2, 3)), np.ones((4, 3))]).shape
    (2,)
    """
    arrays = list(arrays)
    whole = arrays and all(array is not None for array in arrays)
    if whole and len({np.shape(array) for array in arrays}) == 1:
        return np.stack(arrays)
    held = np.empty(len(arrays), dtype=object)
    for i, array in enumerate(arrays):
        held[i] = array
    return held


class _Held:
    """Elements in memory (or paths among them), seen through positions, so `take` copies none."""

    def __init__(self, items, index=None):
        self.items = items
        self.index = np.arange(len(items)) if index is None else index

    ndim = 1

    @property
    def shape(self):
        return (len(self.index),)

    def __len__(self):
        return len(self.index)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key):
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]
        if isinstance(key, numbers.Integral) and not isinstance(key, (bool, np.bool_)):
            return self._read(self.items[self.index[key]])
        return self.take(key)

    def __array__(self, dtype=None, copy=None):
        array = stack(list(self))
        return array if dtype is None else array.astype(dtype)

    def take(self, idx):
        return type(self)(self.items, self.index[_as_key(idx)])

    def size(self, i):
        item = self.items[self.index[i]]
        if item is None:
            return None
        return image_size(item) if isinstance(item, str) else item.shape[:2]

    def where(self, i):
        item = self.items[self.index[i]]
        return repr(item) if isinstance(item, str) else f"{self.name}[{self.index[i]}]"


class _HeldImages(_Held):
    name = "X"

    def path(self, i):
        item = self.items[self.index[i]]
        return item if isinstance(item, str) else None

    def _read(self, item):
        if isinstance(item, str):
            return read_image(item)
        if item.ndim == 2:
            item = item[:, :, None]
        if item.shape[2] == 1:
            item = np.repeat(item, 3, axis=2)
        return item if item.dtype == np.uint8 else item.astype(np.float32, copy=False)


class _HeldMasks(_Held):
    name = "masks"

    soft = False

    def seen(self, soft):
        """The same masks, those of probabilities as they are or as the likeliest classes."""
        if soft == self.soft:
            return self
        other = copy.copy(self)
        other.soft = soft
        return other

    def take(self, idx):
        return super().take(idx).seen(self.soft)

    def size(self, i):
        item = self.items[self.index[i]]
        return item.shape[1:] if is_soft(item) else super().size(i)

    def _read(self, item):
        if item is None:
            return None
        if is_soft(item):
            return item if self.soft else hard_mask(item)
        return read_mask(item) if isinstance(item, str) else item.astype(np.int16, copy=False)


def _is_numeric_array(X):
    dtype = getattr(X, "dtype", None)
    return dtype is not None and hasattr(X, "ndim") and getattr(dtype, "kind", "n") not in "OUST"


def _as_items(name, X):
    """A 1-D object array of the elements of a list, tuple, object array or column."""
    if not hasattr(X, "__len__") or not hasattr(X, "__iter__") or isinstance(X, dict):
        raise TypeError(message(name, "an array, or a list of arrays or of paths", X))
    if hasattr(X, "columns"):  # iterated, a data frame gives the names of its columns
        remedy = "Pass the column of images or paths alone, such as X['image']."
        raise TypeError(message(name, "one column", type(X).__name__, remedy))
    items = np.empty(len(X), dtype=object)
    for i, item in enumerate(X):
        # np.array(list_of_images, dtype=object) pulls images of one size apart into numbers.
        loose = getattr(item, "dtype", None) == np.dtype(object) and np.ndim(item) > 0
        items[i] = _numbers(item) if loose else item
    return items


def _numbers(item):
    """An array of Python numbers as an array of numbers: whole ones in [0, 255] as uint8."""
    array = np.array(item.tolist())
    if array.dtype.kind == "i" and array.min(initial=0) >= 0 and array.max(initial=0) <= 255:
        return array.astype(np.uint8)
    return array


def _check_filled(name, X):
    if len(X) == 0:
        raise ValueError(message(name, "at least one image", f"{len(X)} images"))


def _shape_remedy(shape):
    return "For one image pass X[None]." if len(shape) == 2 else ""


def _check_pixels(name, array, n_channels):
    """Raise unless `array` holds pixels: uint8, or floats in [0, 1], and its channels are last."""
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        remedy = (
            "Say what is black and what is white, such as for 16 bits: "
            "alseg.images.from_sequence(X, value_range=(0, 65535))."
        )
        raise TypeError(message(name, "uint8, or float in [0, 1]", str(array.dtype), remedy))
    if array.size == 0:
        raise ValueError(message(name, "an image with pixels", array.shape))
    if n_channels not in (1, 3) and n_channels > min(array.shape[-3:-1]):
        remedy = (
            "Put the channels last: np.moveaxis(X, -3, -1), or "
            "alseg.images.from_sequence(X, channels_first=True)."
        )
        rule = "of fewer channels, in the last axis, than rows and columns"
        raise ValueError(message(name, rule, array.shape, remedy))
    if array.dtype.kind == "f":
        problem = float_problem(array)
        if problem:
            if name == "X":  # the whole array: name the first image at fault
                first = next(i for i, image in enumerate(array) if float_problem(image))
                name, problem = f"X[{first}]", float_problem(array[first])
            remedy = ""
            if array.max() > 1:
                remedy = (
                    " Divide by 255, pass uint8, or say what is black and what is white: "
                    "alseg.images.from_sequence(X, value_range=(0, 255))."
                )
            raise ValueError(f"{name} must be finite and in [0, 1], but {problem}.{remedy}")


def _check_channels(items):
    """Raise where arrays among `items` have differing channels, grey counting as three."""
    first = None
    for i, item in enumerate(items):
        if isinstance(item, str):
            continue
        n_channels = item.shape[2] if item.ndim == 3 and item.shape[2] != 1 else 3
        first = n_channels if first is None else first
        if n_channels != first:
            rule = f"of {first} channels, as those before it"
            raise ValueError(message(f"X[{i}]", rule, item.shape))


def _check_mask(name, array):
    """Raise unless `array` holds pixel classes (H, W), or probabilities of them (C, H, W)."""
    if is_soft(array):
        check_soft(name, array)
        return
    if array.ndim != 2 or array.size == 0:
        remedy = "One of probabilities, (C, H, W), is of floats." if array.ndim == 3 else ""
        raise ValueError(message(name, "of shape (H, W) or None", array.shape, remedy))
    _check_ids(name, array)


def _check_ids(name, array):
    """Raise unless `array` holds pixel classes that fit int16."""
    if array.dtype.kind not in "iub":
        remedy = "Convert with .astype(int) if they are whole numbers."
        if array.dtype.kind == "f":
            remedy += " A mask of probabilities is of shape (C, H, W)."
        raise TypeError(message(name, "whole numbers (classes)", str(array.dtype), remedy))
    if array.size and array.dtype.kind != "b":
        low, high = array.min(), array.max()
        if low < MISSING or high > MAX_ID:
            value = int(low if low < MISSING else high)
            raise ValueError(message(name, f"in [{MISSING}, {MAX_ID}]", value))
