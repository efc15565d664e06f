"""Images and masks of other libraries and of your own sequences, each read when asked for."""

from __future__ import annotations

import os
import sys
import threading
import uuid
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from alseg._types import Array, Function
from alseg.images.formats import explained
from alseg.images.pixels import decode, decode_bytes, decode_object
from alseg.images.read import MASK_MAPPINGS, as_mask, as_picture, read_image, read_mask
from alseg.images.sequences import _as_key, _check_ids, _check_pixels, _HeldImages, _HeldMasks
from alseg.labels import as_labels
from alseg.validation import check_number, check_option, did_you_mean, message


class Triple(NamedTuple):
    """Images, class labels and masks, in the order of `fit` and of `alseg.datasets.Dataset`.

    ``model.fit(*triple)``, ``Dataset(*triple)``; `labels` and `masks` may be None.
    """

    images: Any
    labels: Any
    masks: Any


# ---- rows of a source ----------------------------------------------------------------------------


class _Rows:
    """Items of a source, one read at a time, the last one kept: its mask is asked for next.

    Sources are read by one thread at a time; in a child process by a lock of its own. A copy shares
    the source, and a pickle holds it.
    """

    def __init__(self, source: Any, name: str) -> None:
        self.source, self.name = source, name
        self._fresh()

    def _fresh(self):
        self.token, self._last = uuid.uuid4().hex, (None, None)
        self._lock, self._pid = threading.Lock(), os.getpid()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, row: Any) -> Any:
        if self._pid != os.getpid():  # another thread of the parent may have held it
            self._lock, self._pid = threading.Lock(), os.getpid()
        with self._lock:
            known, item = self._last
            if known != row:
                item = self.source[int(row)]
                self._last = row, item
            return item

    def forget(self) -> None:
        """Read the last one anew when it is asked for again."""
        self._last = None, None

    def __getstate__(self):
        return {"source": self.source, "name": self.name}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._fresh()

    def __deepcopy__(self, memo):
        return self


# ---- what is made of an item ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """How an image, or a mask, is got out of an item.

    key : int, str or None
        None is the item itself.
    """

    key: Any = None
    read: Any = None
    value_range: Any = None
    channels_first: bool | None = None
    mapping: str | None = None
    axes: str = "yx"

    def where(self, name: str, row: Any) -> str:
        """How an error names it."""
        return f"{name}[{row}]" + ("" if self.key is None else f"[{self.key!r}]")

    def _value(self, where, item):
        value = item if self.key is None else _picked(where, item, self.key)
        value = value if self.read is None else self.read(value)
        if isinstance(value, dict) and {"bytes", "path"} <= value.keys():  # as a file was stored
            stored = value["bytes"]
            value = value["path"] if stored is None else bytes(stored)
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    def image(self, name: str, row: Any, item: Any) -> np.ndarray:
        """(H, W, C), uint8 or float32 in [0, 1], grey repeated."""
        where = self.where(name, row)
        value = self._value(where, item)
        if value is None:
            raise ValueError(message(where, "an image", value))
        if isinstance(value, str) and self.value_range is None:
            return read_image(os.path.expanduser(value))
        if isinstance(value, (bytes, Image.Image)) and self.value_range is None:
            with explained(where):
                return as_picture(where, _decoded_here(where, value))
        array = self._array(where, value, flat=False)
        array = array[:, :, None] if array.ndim == 2 else array
        array = scaled(where, array, self.value_range)
        _check_pixels(where, array, array.shape[2])
        array = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array
        return array if array.dtype == np.uint8 else array.astype(np.float32, copy=False)

    def mask(self, name: str, row: Any, item: Any) -> np.ndarray | None:
        """(H, W) int16, or None."""
        where = self.where(name, row)
        value = self._value(where, item)
        if value is None:
            return None
        if isinstance(value, str):
            return read_mask(os.path.expanduser(value), self.mapping)
        if isinstance(value, (bytes, Image.Image)):
            with explained(where):
                return as_mask(where, _decoded_here(where, value), self.mapping)
        array = self._array(where, value, flat=True)
        return _classes(where, array, self.mapping)

    def _array(self, where, value, flat):
        """An array (H, W) or (H, W, C) of a tensor, array, picture or file, as it is stored."""
        if isinstance(value, str):
            value = decode(os.path.expanduser(value))[1].values
        elif isinstance(value, (bytes, Image.Image)):
            with explained(where):
                value = _decoded_here(where, value).values
        first = self.channels_first
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            first = True if first is None else first
            value = value.detach().cpu()
            value = value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
            value = value.numpy()
        array = np.asarray(value)
        if flat and array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):
            last = array.shape[-1] == 1 and not (first and array.shape[0] == 1)
            array = array[:, :, 0] if last else array[0]
        if array.ndim not in ((2,) if flat else (2, 3)) or array.size == 0:
            rule = "a mask of shape (H, W) or (1, H, W)" if flat else "an image of two dimensions"
            raise ValueError(message(where, rule, f"shape {array.shape}"))
        if array.ndim == 3 and first:
            array = np.moveaxis(array, 0, -1)
        return array.swapaxes(0, 1) if self.axes == "xy" else array


def _picked(where, item, key):
    try:
        return item[key]
    except (KeyError, IndexError, TypeError):
        pass
    if isinstance(item, dict):
        known = list(item)
        raise ValueError(message(where, f"there, among {known}", "none", did_you_mean(key, known)))
    shown = f"{len(item)} parts" if isinstance(item, (tuple, list)) else type(item).__name__
    raise ValueError(message(where, "there", f"an item of {shown}"))


def scaled(where: str, array: Array, value_range: Any) -> np.ndarray:
    """Pixels by the range in which they were given: the one place where values are scaled.

    Parameters
    ----------
    where : str
    array : ndarray
    value_range : None or (low, high)
        None leaves them as they are. (0, 255) leaves uint8 as it is.

    Returns
    -------
    ndarray
        float32 in [0, 1]: ``(array - low) / (high - low)``.

    Raises
    ------
    ValueError
        If a value is outside the range, or not finite: nothing is clipped.

    Examples
    --------
    >>> scaled("X[0]", np.array([[0, 4095]], np.uint16), (0, 4095))
    array([[0., 1.]], dtype=float32)
    """
    if value_range is None or (array.dtype == np.uint8 and tuple(value_range) == (0, 255)):
        return array
    low, high = value_range
    if array.dtype.kind not in "biuf":
        raise TypeError(message(where, "numbers", str(array.dtype)))
    least, most = float(array.min()), float(array.max())
    if not (low <= least and most <= high):  # NaN too
        remedy = "Give the range that all images have, or clip them by read=."
        raise ValueError(message(where, f"in value_range=({low}, {high})", [least, most], remedy))
    unit = (array.astype(np.float64) - low) / (high - low)
    return unit.astype(np.float32)


def _decoded_here(where, value):
    """The `Pixels` of a picture, or of the bytes of a file."""
    return decode_bytes(where, value) if isinstance(value, bytes) else decode_object(where, value)


def _classes(where, array, mapping):
    """Classes of pixels, int16, of whatever numbers they were stored as."""
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and (array == np.round(array)).all()):
            raise ValueError(message(where, "whole numbers (classes)", "fractions or NaN"))
        array = array.astype(np.int64)
    if array.dtype.kind == "u":
        array = array.astype(np.int64)
    if mapping == "binary":
        other = array[(array != 0) & (array != 1) & (array != 255)]
        if other.size:
            raise ValueError(message(where, "of 0, 1 and 255 alone", int(other[0])))
    if mapping is not None:
        array = (array > (127 if mapping == "half" else 0)).astype(np.int16)
    _check_ids(where, array)
    return array.astype(np.int16)


# ---- sequences -----------------------------------------------------------------------------------


class _Lazy:
    """What is made of the items of a source, by position: an element is read when asked for."""

    def __init__(self, items, part, index=None, sizes=None):
        self.items, self.part = items, part
        self.index = np.arange(len(items)) if index is None else index
        self._sizes = {} if sizes is None else sizes  # of all views, by row

    def __getitem__(self, key):
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            return self._made(int(self.index[key]))
        return super().__getitem__(key)

    def take(self, idx):
        """The elements at the positions `idx`, (k,) int or bool, without reading any."""
        return type(self)(self.items, self.part, self.index[_as_key(idx)], self._sizes)

    def joined(self, others):
        """The elements of this and other views of one source, one after another."""
        index = np.concatenate([one.index for one in (self, *others)])
        return type(self)(self.items, self.part, index, self._sizes)

    def is_of(self, other):
        """Whether `other` is a view of the same source."""
        return type(other) is type(self) and other.items is self.items and other.part == self.part

    def where(self, i):
        """How an error names element `i`: by its place in the source."""
        return self.part.where(self.items.name, int(self.index[i]))

    def size(self, i):
        """(H, W) of element `i`: known where it was read before, else it is read now."""
        row = int(self.index[i])
        if row not in self._sizes:
            self._made(row)
        return self._sizes[row]

    def __repr__(self):
        return f"{type(self).__name__}({len(self)} of {self.items.name})"


class LazyImages(_Lazy, _HeldImages):
    """Images that a source gives one by one; `from_sequence`, `from_torch` and others make it.

    Indexed like a 1-D array, by slices, positions and masks too; each image is (H, W, C), uint8 or
    float32 in [0, 1], and read anew each time it is asked for (a fit, and a learner's rounds, keep
    what they read, up to 256 MiB). It can be pickled where its source can.
    """

    def _made(self, row):
        image = self.part.image(self.items.name, row, self.items[row])
        self._sizes[row] = image.shape[:2]
        return image

    def path(self, i: Any) -> None:
        """None: how an item is stored is its source's affair."""

    def key(self, i: int) -> tuple[str, int]:
        """What tells image `i` from all others in this process."""
        return self.items.token, int(self.index[i])


class LazyMasks(_Lazy, _HeldMasks):
    """Masks that a source gives one by one: (H, W) int16, or None where there is none."""

    def _made(self, row):
        mask = self.part.mask(self.items.name, row, self.items[row])
        self._sizes[row] = None if mask is None else mask.shape
        return mask


# ---- what users call -----------------------------------------------------------------------------


def from_sequence(
    items: Any,
    read: Function | None = None,
    value_range: Any = None,
    channels_first: bool | None = None,
) -> LazyImages:
    """Images out of a sequence of your own, read one by one; other ranges and axes than ours.

    Parameters
    ----------
    items : object with a length and positions
        Arrays, tensors, PIL images, paths, or what `read` makes such of: an array, a memory map, a
        list, an HDF5 data set, an object of your own with ``__len__`` and ``__getitem__``.
    read : callable or None, default=None
        ``f(item) -> image``: reads a format of your own, clips, picks channels.
    value_range : None or (float, float), default=None
        The values of black and of white, such as (0, 65535) of 16 bits, (0, 4095) of a camera of 12
        bits, (0, 255) of floats. None is uint8, or floats in [0, 1]. A value outside is an error.
    channels_first : bool or None, default=None
        Whether an image is (C, H, W). None: tensors are, arrays are not.

    Returns
    -------
    images : LazyImages
        For `fit`, `ActiveLearner`, `Dataset` and whatever takes images.

    Raises
    ------
    TypeError, ValueError
        If `items` has no length, is empty, or `value_range` is no range; and when an image is read
        that is none, or has values outside the range.

    Examples
    --------
    >>> deep = np.full((2, 3, 4, 5), 4095, np.uint16)  # (N, C, H, W)
    >>> images = from_sequence(deep, value_range=(0, 4095), channels_first=True)
    >>> images.shape, images[0].shape, float(images[1].max())
    ((2,), (4, 5, 3), 1.0)
    """
    rows = _rows_of(items, "X")
    part = _Part(None, read, _range(value_range), channels_first)
    return LazyImages(rows, part)


def from_torch(
    dataset: Any,
    image: Any = 0,
    label: Any = 1,
    mask: Any = None,
    *,
    value_range: Any = None,
    mask_mapping: str | None = None,
) -> Triple:
    """Images, labels and masks of a torch ``Dataset``, or of anything with a length and positions.

    Parameters
    ----------
    dataset : object with ``__len__`` and ``__getitem__``
        Its items are tuples or dicts of tensors (images (C, H, W)), arrays (H, W, C), PIL images or
        paths. It must give the same item each time: augmentation is the estimator's.
    image, label, mask : int, str or None
        Where they stand in an item. None is none, and a `label` of None gives labels of None.
        `label` may be the labels themselves, (n,), such as ``dataset.targets``: else each item is
        read once here, for its label.
    value_range : None or (float, float), default=None
        As of `from_sequence`.
    mask_mapping : {None, "nonzero", "half", "binary"}, default=None
        What becomes of values of masks, such as of 0 and 255, see `read_mask`.

    Returns
    -------
    images, labels, masks : Triple
        `images` and `masks` are read when needed; ``model.fit(*triple)``, ``Dataset(*triple)``.

    Raises
    ------
    TypeError, ValueError
        If it has no length, an item lacks what is named, or two reads of an item differ.

    Examples
    --------
    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> x, y = torch.rand(4, 3, 32, 48), torch.tensor([0, 1, 0, 1])
    >>> images, labels, masks = from_torch(TensorDataset(x, y, (x[:, 0] > 0.5).long()), mask=2)
    >>> images[0].shape, labels, masks[0].shape
    ((32, 48, 3), array([0, 1, 0, 1]), (32, 48))
    """
    rows = _rows_of(dataset, "dataset")
    return _triple(rows, image, label, mask, value_range, mask_mapping)


def from_hf(
    dataset: Any,
    image: str = "image",
    label: Any = None,
    mask: str | None = None,
    *,
    value_range: Any = None,
    mask_mapping: str | None = None,
) -> Triple:
    """Images, labels and masks of a Hugging Face ``datasets.Dataset``: columns of one split.

    Parameters
    ----------
    dataset : datasets.Dataset
        Or anything with ``__len__``, ``column_names``, and ``__getitem__`` that gives a row as a
        dict and, for a name, a column.
    image, label, mask : str or None
        Names of columns: features of type ``Image`` (PIL images), or arrays. `label` may be the
        labels themselves. A mask of None is an image without one.
    value_range, mask_mapping
        As of `from_torch`.

    Returns
    -------
    images, labels, masks : Triple

    Raises
    ------
    TypeError, ValueError
        If a column is not there, it is several splits at once, or two reads of a row differ.

    Examples
    --------
    >>> class Rows:  # stands for datasets.load_dataset(..., split="train")
    ...     column_names = ["image", "annotation", "kind"]
    ...     def __len__(self):
    ...         return 2
    ...     def __getitem__(self, i):
    ...         if isinstance(i, str):
    ...             return ["a", "b"]
    ...         picture = Image.new("L", (6, 4), 255)
    ...         return {"image": picture, "annotation": picture, "kind": "ab"[i]}
    >>> images, labels, masks = from_hf(Rows(), label="kind", mask="annotation",
    ...                                 mask_mapping="nonzero")
    >>> images[0].shape, labels.tolist(), int(masks[1].max())
    ((4, 6, 3), ['a', 'b'], 1)
    """
    columns = getattr(dataset, "column_names", None)
    if isinstance(columns, dict):
        remedy = "Pass one, such as dataset[name]."
        raise TypeError(message("dataset", "one split", f"the splits {list(columns)}", remedy))
    if not isinstance(columns, (list, tuple)):
        raise TypeError(message("dataset", "one with `column_names`", type(dataset).__name__))
    for name, column in (("image", image), ("mask", mask), ("label", label)):
        if isinstance(column, str):
            check_option(name, column, tuple(columns))
    if isinstance(label, str):
        label = list(dataset[label])  # a column of its own: no image is decoded for it
    rows = _rows_of(dataset, "dataset")
    return _triple(rows, image, label, mask, value_range, mask_mapping)


def from_monai(
    data: Any,
    image: str = "image",
    label: Any = None,
    mask: str | None = "label",
    *,
    axes: str = "yx",
    value_range: Any = None,
    mask_mapping: str | None = None,
) -> Triple:
    """Images, labels and masks of MONAI's dicts: a list of them, or a ``monai.data.Dataset``.

    Parameters
    ----------
    data : list of dict, or monai.data.Dataset
        Each with paths (of image files, as alseg reads them), or with arrays or tensors
        (``MetaTensor``) of two spatial dimensions, as transforms without randomness give them.
    image, mask : str or None
        Keys of the image and of the mask, which MONAI calls the label.
    label : str, sequence of shape (n,), or None, default=None
        Key of the class label of an image, or the labels themselves.
    axes : {"yx", "xy"}, default="yx"
        "xy" for what ``LoadImage`` reads of PNG and the like: (C, W, H), unless its reader has
        ``reverse_indexing=False``. It is of tensors and arrays, not of paths.
    value_range, mask_mapping
        As of `from_torch`.

    Returns
    -------
    images, labels, masks : Triple

    Raises
    ------
    TypeError, ValueError
        If an item lacks a key, an image has three dimensions, or two reads of it differ.

    Examples
    --------
    >>> rows = [{"image": np.zeros((4, 6, 3), np.uint8), "label": np.eye(4, 6), "kind": "a"}]
    >>> images, labels, masks = from_monai(rows, label="kind")
    >>> images[0].shape, labels.tolist(), int(masks[0].sum())
    ((4, 6, 3), ['a'], 4)
    """
    check_option("axes", axes, ("yx", "xy"))
    rows = _rows_of(data, "data")
    return _triple(rows, image, label, mask, value_range, mask_mapping, axes)


# ---- checks --------------------------------------------------------------------------------------


def _rows_of(source, name):
    if not hasattr(source, "__len__") or not hasattr(source, "__getitem__"):
        rule = "an object with a length and positions (__len__ and __getitem__)"
        raise TypeError(message(name, rule, type(source).__name__))
    if isinstance(source, (str, bytes, dict)):
        raise TypeError(message(name, "a sequence of items", type(source).__name__))
    if len(source) == 0:
        raise ValueError(message(name, "at least one image", f"{len(source)} images"))
    return _Rows(source, name)


def _range(value_range):
    if value_range is None:
        return None
    if not isinstance(value_range, (tuple, list, np.ndarray)) or len(value_range) != 2:
        rule = "None or a pair (black, white)"
        raise ValueError(message("value_range", rule, value_range))
    low, high = (float(check_number("value_range", one)) for one in value_range)
    if not low < high:
        raise ValueError(message("value_range", "a pair of which the first is less", value_range))
    return low, high


def _triple(rows, image, label, mask, value_range, mapping, axes="yx"):
    if mapping is not None:
        check_option("mask_mapping", mapping, MASK_MAPPINGS)
    images = LazyImages(rows, _Part(image, value_range=_range(value_range), axes=axes))
    masks = None if mask is None else LazyMasks(rows, _Part(mask, mapping=mapping, axes=axes))
    _check_repeats(images, masks)
    return Triple(images, _labels(images, label), masks)


def _check_repeats(images, masks):
    """Read the first, the middle and the last item twice: they must be the same."""
    n = len(images)
    for i in sorted({0, n // 2, n - 1}):
        twice = []
        for _ in range(2):
            images.items.forget()
            twice.append([part[i] for part in (images, masks) if part is not None])
        if not all(_equal(a, b) for a, b in zip(*twice, strict=True)):
            raise ValueError(
                f"{images.items.name} must give the same item each time, but two reads of item {i}"
                " differ: leave random transforms out. Augmentation is the estimator's,"
                " JointCAMSegmenter(augmentation=Augmentation(...))."
            )


def _equal(a, b):
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def _labels(images, label):
    if label is None:
        return None
    if not isinstance(label, (int, str)):
        found = as_labels([_plain(one) for one in label])
        if len(found) != len(images):
            raise ValueError(message("label", f"of {len(images)} labels", f"{len(found)} labels"))
        return found
    rows, found = images.items, []
    for i in range(len(images)):
        images[i]  # its size, which is asked for next, and whether it is an image at all
        found.append(_plain(_picked(f"{rows.name}[{i}][{label!r}]", rows[i], label)))
    return as_labels(found)


def _plain(label):
    """A label, of a tensor as the number or the list that it holds."""
    return label.tolist() if hasattr(label, "tolist") else label
