"""What every loader returns: a data set, and the parts it is split into."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from alseg._types import Array, Masks
from alseg.images import ImageFiles, LazyImages, LazyMasks, MaskFiles, stack
from alseg.labels import MISSING, as_labels, label_codes, missing_labels
from alseg.validation import UnknownName, did_you_mean, message

_SHOWN = 5  # names of files and classes in one line


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images with what is known about them.

    Parameters
    ----------
    images : ndarray of shape (n, H, W, C), list of arrays, ImageFiles or LazyImages
    labels : ndarray of shape (n,), or (n, K) for several classes an image, or None, default=None
        Class label of each image; where it is missing, -1 among numbers, and None among others.
        None is all missing.
    masks : ndarray of shape (n, H, W), int, MaskFiles, object array of arrays and None, or None
        Class of each pixel; None where (or if) there is none.
    instances : as `masks`, or None
        Instance id of each pixel, 0 is background.
    groups : ndarray of shape (n,), or None
        What must not be torn apart between parts (patients).
    ids : ndarray of shape (n,), str, or None
        Names of the images; None gives their positions.
    name : str, default=""
    subsets : ndarray of shape (n,), str, or None
        What the images are also measured by, each by itself (GlaS' testA and testB).
    published_part : str or None
        The part of a published split that the images are, by its name: groups that such a split
        tears apart are reported and not refused, see `torn_groups`.

    Examples
    --------
    >>> data = Dataset(np.zeros((3, 8, 8, 3), np.uint8), np.array(["a", "b", "a"]), name="toy")
    >>> data
    Dataset('toy': 3 images, 2 classes, 0 masks)
    >>> data.take([2]).ids
    array(['2'], dtype='<U1')
    """

    images: Any
    labels: Any = None
    masks: Any = None
    instances: Any = None
    groups: np.ndarray | None = None
    ids: Any = None
    name: str = ""
    subsets: np.ndarray | None = None
    published_part: str | None = None

    def __post_init__(self):
        n_samples = len(self.images)
        set_ = object.__setattr__  # frozen for users
        set_(self, "labels", as_labels(self.labels, n_samples))
        ids = range(n_samples) if self.ids is None else self.ids
        set_(self, "ids", np.asarray(list(map(str, ids)), dtype=str))
        if self.groups is not None:
            set_(self, "groups", np.asarray(self.groups))
        if self.subsets is not None:
            set_(self, "subsets", np.asarray(self.subsets))
        for field in ("labels", "masks", "instances", "groups", "ids", "subsets"):
            value = getattr(self, field)
            if value is not None and len(value) != n_samples:
                raise ValueError(
                    message(field, f"of the length of images ({n_samples})", len(value))
                )

    def __len__(self) -> int:
        return len(self.images)

    def take(self, idx: Array) -> Any:
        """The images at some positions, with all that is known about them.

        Parameters
        ----------
        idx : array-like of shape (k,), int or bool

        Returns
        -------
        Dataset
        """
        idx = np.asarray(idx)
        if idx.dtype != bool:
            idx = idx.astype(np.intp)  # an empty list is a float array
        parts = {
            field.name: _take(getattr(self, field.name), idx)
            for field in dataclasses.fields(self)
            if field.name not in ("name", "published_part")
        }
        return Dataset(**parts, name=self.name, published_part=self.published_part)

    def __repr__(self):
        n_classes = len(_class_counts(self.labels)[0])
        return (
            f"Dataset({self.name!r}: {len(self)} images, {n_classes} "
            f"class{'es' if n_classes != 1 else ''}, {n_masks(self.masks)} masks)"
        )


def n_masks(masks: Masks) -> int:
    """How many images have a mask, as a `Dataset` holds them; files are not opened.

    Of `LazyMasks` all count: which are None is not known until they are read.
    """
    if masks is None:
        return 0
    if isinstance(masks, LazyMasks):
        return len(masks)
    paths: Any = getattr(masks, "paths", masks)
    return sum(path is not None for path in paths)


def _count(n, one, many=None):
    return f"{n} {one if n == 1 else many or one + 's'}"


def _shown(name):
    """A file name as it may be shown: control characters and the like are escaped."""
    return name if name.isprintable() else repr(name)[1:-1]


def _take(values, idx):
    if values is None:
        return None
    if isinstance(values, (np.ndarray, ImageFiles, MaskFiles, LazyImages, LazyMasks)):
        return values[idx]
    positions = np.flatnonzero(idx) if idx.dtype == bool else idx
    return stack([values[i] for i in positions])


def _class_counts(labels):
    """Classes and how many images each has; of several an image its columns."""
    if labels.ndim == 2:
        return np.arange(labels.shape[1]), (labels == 1).sum(axis=0)
    classes, codes = label_codes(labels)
    return classes, np.bincount(codes[codes != MISSING], minlength=len(classes))


class Parts(Mapping):
    """The parts of a data set by name: ``data["testA"]``, or ``data.testA``.

    Parameters
    ----------
    parts : mapping of str to Dataset
    skipped : sequence of str, default=()
        Files of the folder that are not read.
    n_files : int or None, default=None
        How many files there are with those.

    Attributes
    ----------
    skipped : tuple of str

    Examples
    --------
    >>> toy = Dataset(np.zeros((3, 8, 8, 3), np.uint8), ["a", "b", "a"])
    >>> data = Parts({"train": toy.take([0, 1]), "all": toy}, skipped=["notes.txt"], n_files=4)
    >>> data.parts, len(data.train)
    (('train', 'all'), 2)
    >>> print(data.describe())
    3 images, 2 classes (a: 2, b: 1), 0 masks
    3 of 4 files are read; skipped: notes.txt
    """

    def __init__(self, parts: Any, skipped: Any = (), n_files: int | None = None) -> None:
        self._parts = dict(parts)
        self.skipped = tuple(skipped)
        self._n_files: Any = n_files

    def describe(self) -> Any:
        """What the data are, in a few lines: sizes and classes, what was skipped, how masks are
        read.

        Returns
        -------
        str
            Names of files are shown with control characters and the like escaped.
        """
        lines = []
        data = self._parts.get("all")
        if data is not None:
            labels, counts = _class_counts(data.labels)
            shown = ", ".join(
                f"{_shown(str(label))}: {n}" for label, n in zip(labels[:_SHOWN], counts)
            )
            more = ", ..." if len(labels) > _SHOWN else ""
            classes = _count(len(labels), "class", "classes") + f" ({shown}{more})" * bool(shown)
            missing = int(missing_labels(data.labels).sum())
            if missing:
                classes += f", {missing} without a class" if len(labels) else ""
            lines.append(
                f"{_count(len(data), 'image')}, {classes}, {_count(n_masks(data.masks), 'mask')}"
            )
        if self.skipped:
            names = ", ".join(map(_shown, self.skipped[:_SHOWN]))
            more = ", ..." if len(self.skipped) > _SHOWN else ""
            read = self._n_files - len(self.skipped)
            lines.append(f"{read} of {self._n_files} files are read; skipped: {names}{more}")
        mapping: Any = getattr(getattr(data, "masks", None), "mapping", None)
        if hasattr(mapping, "describe"):
            lines.append(mapping.describe())
        return "\n".join(lines)

    @property
    def parts(self) -> Any:
        """Names of the parts."""
        return tuple(self._parts)

    def __getitem__(self, name: str) -> Any:
        if name in self._parts:
            return self._parts[name]
        raise UnknownName(
            message("part", f"one of {list(self._parts)}", name, did_you_mean(name, self._parts))
        )

    def __getattr__(self, name):
        # "_parts" itself is asked for while unpickling, before it is set.
        if not name.startswith("_") and name != "skipped" and name in self._parts:
            return self._parts[name]
        if name.startswith("_") or name == "skipped":
            raise AttributeError(name)
        raise AttributeError(
            message("part", f"one of {list(self._parts)}", name, did_you_mean(name, self._parts))
        )

    def __iter__(self):
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __dir__(self):
        return [*super().__dir__(), *self._parts]

    def __repr__(self):
        sizes = ", ".join(f"{name}: {len(part)}" for name, part in self._parts.items())
        return f"Parts({sizes})"


def make_parts(
    data: Any, split: Any, name: str, skipped: Any = (), n_files: Any = None, published: Any = False
) -> Any:
    """Parts of `data` by the names in `split`, (n,) str ("" is in none), and all of it as `all`."""
    parts = {}
    for part in dict.fromkeys(split):  # in the order in which they first stand
        if part and part != "all":
            chosen = data.take(np.flatnonzero(split == part))
            parts[part] = dataclasses.replace(
                chosen, name=f"{name}.{part}", published_part=part if published else None
            )
    order = [part for part in ("train", "valid", "test") if part in parts]
    order += [part for part in parts if part not in order]
    named = {part: parts[part] for part in order}
    return Parts({**named, "all": dataclasses.replace(data, name=name)}, skipped, n_files)


def torn_groups(train: Any, test: Any) -> Any:
    """Groups (patients) that stand on both sides of a split: what is known of them is tested.

    Parameters
    ----------
    train, test : Dataset

    Returns
    -------
    torn : dict or None
        None if no group is torn, or groups are not known. Else ``n_torn``, ``n_groups`` of both
        sides together, ``published``, whether these are two parts of a published split, and
        ``groups``, the torn ones' names, sorted.

    Examples
    --------
    >>> data = Dataset(np.zeros((3, 8, 8, 3), np.uint8), ["a"] * 3, groups=["p", "q", "p"])
    >>> torn_groups(data.take([0, 1]), data.take([2]))["groups"]
    ['p']
    """
    known = [getattr(part, "groups", None) for part in (train, test)]
    if any(groups is None for groups in known):
        return None
    here, there = (set(np.asarray(groups).tolist()) for groups in known)
    torn = here & there
    if not torn:
        return None
    parts = [getattr(part, "published_part", None) for part in (train, test)]
    return {
        "n_torn": len(torn),
        "n_groups": len(here | there),
        "published": None not in parts and parts[0] != parts[1],
        "groups": sorted(map(str, torn)),
    }
