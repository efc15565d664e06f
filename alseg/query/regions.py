"""`Regions`: which pixels of which images are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Masks
from alseg.labels import MISSING
from alseg.validation import check_option, message

UNITS = ("image", "patch", "superpixel", "pixel")
"""What a strategy can ask about; all but the first give `Regions`."""


# -- the value ----------------------------------------------------------------------------------


class Regions:
    """What is asked for in parts of images: the pixels of each region. Never changed.

    A region is a set of pixels of one image that is asked for, and paid for, as one: a patch, a
    superpixel, a pixel. Regions of one image do not overlap.

    Parameters
    ----------
    ids : array-like of shape (n_regions,), int
        The image of each region, best region first; positions in a pool, or sample ids.
    pixels : sequence of n_regions arrays of int
        Flat positions (``row * W + column``) of the pixels of each.
    sizes : dict of int -> (H, W)
        The size of each image in `ids`.
    unit : {"patch", "superpixel", "pixel"}, default="patch"
        What kind of parts they are: what they cost depends on it, see `alseg.query.costs`.

    Attributes
    ----------
    ids : ndarray of shape (n_regions,), int
    sample_ids : ndarray of shape (n_images,), int
        The images that are asked about, each once, in the order of their best regions.
    sizes : ndarray of shape (n_images, 2), int
        Their heights and widths, aligned with `sample_ids`.
    unit : str
    n_pixels : int
        Pixels asked for in all.

    Raises
    ------
    TypeError, ValueError
        If the parts do not fit each other: an id without a size, a region without a pixel or with
        one outside its image, or a pixel in two regions.

    Examples
    --------
    >>> regions = Regions([7, 2, 7], [[0, 1], [3], [5]], {7: (2, 3), 2: (2, 2)})
    >>> regions
    Regions(3 patches of 4 pixels in 2 images)
    >>> regions.sample_ids, regions.n_pixels
    (array([7, 2]), 4)
    >>> regions.mask(7)
    array([[ True,  True, False],
           [False, False,  True]])
    """

    __slots__ = ("_flat", "_ids", "_offsets", "_sample_ids", "_sizes", "_unit")

    def __init__(self, ids: Array, pixels: Array, sizes: Any, unit: str = "patch") -> None:
        ids = np.array(ids)
        ids = ids.astype(np.intp) if ids.size == 0 else ids
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise TypeError(message("ids", "a row of integers", ids))
        if len(pixels) != len(ids):
            rule = f"one array for each of the {len(ids)} regions"
            raise ValueError(message("pixels", rule, f"{len(pixels)}"))
        parts = [np.asarray(p).reshape(-1) for p in pixels]
        for k, part in enumerate(parts):
            if not len(part):
                raise ValueError(message(f"pixels[{k}]", "at least one pixel", part))
            if part.dtype.kind not in "iu":
                raise TypeError(message(f"pixels[{k}]", "integers", part))
        unit = check_option("unit", unit, UNITS[1:])
        first = np.sort(np.unique(ids, return_index=True)[1])
        unknown = [int(i) for i in ids[first] if int(i) not in sizes]
        if unknown:
            raise ValueError(message("sizes", f"given for the images {unknown}", sorted(sizes)))
        self._ids = _frozen(ids.astype(np.intp))
        self._unit = unit
        self._sample_ids = _frozen(self._ids[first])
        found = [tuple(sizes[int(i)]) for i in self._sample_ids]
        self._sizes = _frozen(np.array(found, dtype=np.intp).reshape(-1, 2))
        self._offsets = _frozen(np.cumsum([0, *map(len, parts)]))
        self._flat = _frozen(np.concatenate(parts).astype(np.intp) if parts else np.empty(0, int))
        self._check_pixels()

    def _check_pixels(self):
        if not len(self._ids):
            return
        codes = np.searchsorted(np.sort(self._sample_ids), self._ids)
        area = self._sizes.prod(axis=1)[np.argsort(self._sample_ids)]
        owner = np.repeat(codes, np.diff(self._offsets))
        if self._flat.min() < 0 or (self._flat >= area[owner]).any():
            bad = self._flat[(self._flat < 0) | (self._flat >= area[owner])]
            raise ValueError(message("pixels", "inside their images", bad[:5].tolist()))
        keys = np.sort(owner.astype(np.int64) * int(area.max()) + self._flat)
        if (keys[1:] == keys[:-1]).any():
            raise ValueError("pixels must be in one region each, got some that are in two.")

    ids = property(lambda self: self._ids)
    unit = property(lambda self: self._unit)
    sample_ids = property(lambda self: self._sample_ids)
    sizes = property(lambda self: self._sizes)
    n_pixels = property(lambda self: len(self._flat))

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self):
        """Pairs of an image's id and the flat positions of a region's pixels, best first."""
        return ((int(i), self.pixels(k)) for k, i in enumerate(self._ids))

    def pixels(self, k: Any) -> Any:
        """Flat positions of the pixels of region `k`, an array of int."""
        if not -len(self) <= k < len(self):
            raise IndexError(message("k", f"in [0, {len(self) - 1}]", k))
        k %= len(self)
        return self._flat[self._offsets[k] : self._offsets[k + 1]]

    def _of(self, sample_id):
        """Numbers of an image's regions, and its size."""
        where = np.flatnonzero(self._sample_ids == sample_id)
        if not len(where):
            shown = self._sample_ids.tolist()
            raise ValueError(message("sample_id", f"one of {shown}", sample_id))
        return np.flatnonzero(self._ids == sample_id), tuple(map(int, self._sizes[where[0]]))

    def region_map(self, sample_id: int) -> Any:
        """Which region each pixel of an image is in.

        Parameters
        ----------
        sample_id : int
            One of `sample_ids`.

        Returns
        -------
        ndarray of shape (H, W), int
            The number of the region, -1 where none is.
        """
        numbers, size = self._of(sample_id)
        found = np.full(size[0] * size[1], -1)
        for k in numbers:
            found[self.pixels(k)] = k
        return found.reshape(size)

    def mask(self, sample_id: Any) -> Any:
        """The pixels asked for in an image: (H, W) bool."""
        return self.region_map(sample_id) >= 0

    def restrict(self, sample_id: int, mask: Masks) -> Any:
        """A copy of an image's mask, `MISSING` in all pixels that are not asked for.

        Parameters
        ----------
        sample_id : int
            One of `sample_ids`.
        mask : ndarray of shape (H, W), int

        Returns
        -------
        ndarray of shape (H, W), int

        Raises
        ------
        ValueError
            If the mask has another size than the image.
        """
        asked, mask = self.mask(sample_id), np.asarray(mask)
        if mask.shape != asked.shape:
            name = f"the mask of image {sample_id}"
            raise ValueError(message(name, f"of its size {asked.shape}", mask.shape))
        return np.where(asked, mask, np.array(MISSING, dtype=mask.dtype))

    def renumbered(self, ids: Array) -> Any:
        """The same regions where position `p` is called ``ids[p]``: from a pool to sample ids.

        Parameters
        ----------
        ids : array-like of shape (n_pool,), int
            Different from one another.

        Returns
        -------
        Regions
        """
        ids = np.asarray(ids)
        if len(self) and (self._ids.max() >= len(ids) or self._ids.min() < 0):
            rule = f"positions in [0, {len(ids) - 1}]"
            raise ValueError(message("the ids of the regions", rule, self._sample_ids.tolist()))
        sizes = dict(zip(ids[self._sample_ids].tolist(), self._sizes.tolist(), strict=True))
        return Regions(ids[self._ids], [part for _, part in self], sizes, self._unit)

    def take(self, idx: Array) -> Any:
        """The regions with these numbers, as `Regions`.

        Parameters
        ----------
        idx : slice or array-like of int
        """
        numbers = np.arange(len(self))[idx]
        sizes = dict(zip(self._sample_ids.tolist(), self._sizes.tolist(), strict=True))
        return Regions(self._ids[numbers], [self.pixels(k) for k in numbers], sizes, self._unit)

    def summary(self) -> Any:
        """What is asked for, in numbers that go into a JSON record.

        Returns
        -------
        dict
            ``unit``, ``n_regions``, ``n_images``, ``n_pixels``, and ``images``: for each image its
            ``sample_id``, ``n_regions`` and ``n_pixels``.

        Examples
        --------
        >>> Regions([7], [[0, 1]], {7: (2, 3)}, "superpixel").summary()["images"]
        [{'sample_id': 7, 'n_regions': 1, 'n_pixels': 2}]
        """
        lengths = np.diff(self._offsets)
        images = [
            {
                "sample_id": int(i),
                "n_regions": int((self._ids == i).sum()),
                "n_pixels": int(lengths[self._ids == i].sum()),
            }
            for i in self._sample_ids
        ]
        return {
            "unit": self._unit,
            "n_regions": len(self),
            "n_images": len(images),
            "n_pixels": self.n_pixels,
            "images": images,
        }

    def to_dict(self) -> Any:
        """All of it as plain JSON, runs of pixels as pairs of start and length.

        Returns
        -------
        dict
            For `from_dict`.
        """
        runs = []
        for _, part in self:
            part = np.sort(part)
            starts = np.flatnonzero(np.diff(part, prepend=part[0] - 2) != 1)
            lengths = np.diff(starts, append=len(part))
            runs.append(np.stack([part[starts], lengths], axis=1).reshape(-1).tolist())
        return {
            "unit": self._unit,
            "ids": self._ids.tolist(),
            "sizes": [
                [int(i), *size]
                for i, size in zip(self._sample_ids, self._sizes.tolist(), strict=True)
            ],
            "runs": runs,
        }

    @classmethod
    def from_dict(cls, saved: Any) -> Any:
        """The regions that `to_dict` wrote down.

        Parameters
        ----------
        saved : dict

        Returns
        -------
        Regions

        Raises
        ------
        ValueError
            If it is something else.

        Examples
        --------
        >>> regions = Regions([7, 2], [[0, 1, 4], [3]], {7: (2, 3), 2: (2, 2)})
        >>> Regions.from_dict(regions.to_dict()) == regions
        True
        """
        try:
            sizes = {i: (h, w) for i, h, w in saved["sizes"]}
            pixels = []
            for run in saved["runs"]:
                pairs = np.array(run, dtype=int).reshape(-1, 2)
                pixels.append(np.concatenate([np.arange(s, s + n) for s, n in pairs]))
            return cls(np.array(saved["ids"], dtype=int), pixels, sizes, saved["unit"])
        except (KeyError, TypeError, ValueError) as error:
            rule = "what Regions.to_dict wrote"
            raise ValueError(message("saved", rule, saved, f"It is damaged: {error}")) from error

    def __reduce__(self):
        return type(self).from_dict, (self.to_dict(),)

    def _key(self):
        order = [tuple(np.sort(part).tolist()) for _, part in self]
        return self._unit, tuple(self._ids.tolist()), tuple(map(tuple, self._sizes.tolist())), order

    def __eq__(self, other):
        return isinstance(other, Regions) and self._key() == other._key()

    def __hash__(self):
        return hash((self._unit, self._ids.tobytes(), self.n_pixels))

    def __repr__(self):
        several = {"patch": "patches"}.get(self._unit, f"{self._unit}s")
        name = self._unit if len(self) == 1 else several
        held = "" if self._unit == "pixel" else f" of {self.n_pixels} pixels"
        n_images = len(self._sample_ids)
        return f"Regions({len(self)} {name}{held} in {n_images} image{'s' * (n_images != 1)})"


def _frozen(array):
    array = np.array(array)  # a copy: what the caller does to his stays his
    array.setflags(write=False)
    return array
