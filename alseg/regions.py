"""Parts of images: which pixels are asked for, and scores of windows, tiles and superpixels."""

import hashlib
import os
import threading
from collections import OrderedDict

import numpy as np
from scipy import special
from scipy.ndimage import uniform_filter

from alseg.labels import MISSING
from alseg.validation import EmptyPool, check_number, check_option, check_rng, message

__all__ = [
    "UNITS",
    "RegionPicker",
    "Regions",
    "box_mean",
    "box_sum",
    "pick_regions",
    "region_impurity",
    "ripu",
    "slic_superpixels",
    "superpixel_means",
    "superpixels_of",
    "tile_means",
]

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
        What kind of parts they are: what they cost depends on it, see `alseg.costs`.

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

    def __init__(self, ids, pixels, sizes, unit="patch"):
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

    def __len__(self):
        return len(self._ids)

    def __iter__(self):
        """Pairs of an image's id and the flat positions of a region's pixels, best first."""
        return ((int(i), self.pixels(k)) for k, i in enumerate(self._ids))

    def pixels(self, k):
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

    def region_map(self, sample_id):
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

    def mask(self, sample_id):
        """The pixels asked for in an image: (H, W) bool."""
        return self.region_map(sample_id) >= 0

    def restrict(self, sample_id, mask):
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

    def renumbered(self, ids):
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

    def take(self, idx):
        """The regions with these numbers, as `Regions`.

        Parameters
        ----------
        idx : slice or array-like of int
        """
        numbers = np.arange(len(self))[idx]
        sizes = dict(zip(self._sample_ids.tolist(), self._sizes.tolist(), strict=True))
        return Regions(self._ids[numbers], [self.pixels(k) for k in numbers], sizes, self._unit)

    def summary(self):
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

    def to_dict(self):
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
    def from_dict(cls, saved):
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


# -- sums over windows, tiles, superpixels --------------------------------------------------------


def _n_inside(n, size):
    """How many of `size` neighbours of each of `n` places are inside, (n,) int."""
    low = np.arange(n) - size // 2
    return np.minimum(low + size, n) - np.maximum(low, 0)


def box_sum(maps, size):
    """Sum over the square window centred at each pixel, cut at the border of the image.

    Running sums along rows, then columns: the cost does not depend on `size`.

    Parameters
    ----------
    maps : array-like of shape (..., H, W), bool, int or float
    size : int
        Side of the window. An even one has one pixel more above and left of its centre.

    Returns
    -------
    ndarray of shape (..., H, W), float64

    Raises
    ------
    ValueError
        If `size` is below 1.

    Examples
    --------
    >>> box_sum(np.ones((1, 4)), 3)
    array([[2., 3., 3., 2.]])
    """
    check_number("size", size, low=1, integer=True)
    maps = np.asarray(maps)
    if maps.dtype not in (np.float32, np.float64):
        maps = maps.astype(np.float64)
    sums = np.empty(maps.shape, np.float64)
    for where in np.ndindex(maps.shape[:-2]):  # a map at a time stays in the cache
        uniform_filter(maps[where], size, output=sums[where], mode="constant")
    sums *= float(size) ** 2
    return sums


def box_mean(maps, size):
    """Mean over the square window centred at each pixel, of its pixels inside the image.

    Parameters
    ----------
    maps : array-like of shape (..., H, W), float
    size : int
        Side of the window, see `box_sum`.

    Returns
    -------
    ndarray of shape (..., H, W), float64

    Examples
    --------
    >>> box_mean([[0.0, 3.0, 3.0]], 3)
    array([[1.5, 2. , 3. ]])
    """
    sums = box_sum(maps, size)
    h, w = sums.shape[-2:]
    return sums / (_n_inside(h, size)[:, None] * _n_inside(w, size))


def tile_means(map_, size):
    """Mean of each tile of a grid; those at the lower and right end are cut by the image.

    Parameters
    ----------
    map_ : array-like of shape (H, W), float
    size : int
        Side of a tile.

    Returns
    -------
    ndarray of shape (ceil(H / size), ceil(W / size)), float64

    Examples
    --------
    >>> tile_means([[0.0, 2.0, 5.0]], 2)
    array([[1., 5.]])
    """
    check_number("size", size, low=1, integer=True)
    map_ = np.asarray(map_, dtype=np.float64)
    rows, columns = (np.arange(0, n, size) for n in map_.shape)
    sums = np.add.reduceat(np.add.reduceat(map_, rows, axis=0), columns, axis=1)
    heights, widths = (
        np.diff(edges, append=n) for edges, n in zip((rows, columns), map_.shape, strict=True)
    )
    return sums / (heights[:, None] * widths)


def superpixel_means(map_, labels):
    """Mean of each superpixel.

    Parameters
    ----------
    map_ : array-like of shape (H, W), float
    labels : array-like of shape (H, W), int
        The superpixel of each pixel, 0 and up.

    Returns
    -------
    ndarray of shape (labels.max() + 1,), float64
        0 for a number that no pixel has.

    Raises
    ------
    ValueError
        If a label is negative, or the sizes differ.

    Examples
    --------
    >>> superpixel_means([[1.0, 3.0, 5.0]], [[0, 0, 1]])
    array([2., 5.])
    """
    map_, labels = np.asarray(map_, dtype=np.float64), np.asarray(labels)
    if labels.shape != map_.shape:
        raise ValueError(message("labels", f"of the map's size {map_.shape}", labels.shape))
    if labels.dtype.kind not in "iu" or (labels.size and labels.min() < 0):
        raise ValueError(message("labels", "integers of at least 0", labels))
    counts = np.bincount(labels.reshape(-1))
    sums = np.bincount(labels.reshape(-1), weights=map_.reshape(-1))
    return sums / np.maximum(counts, 1)


def region_impurity(classes, size, n_classes):
    """Entropy of the classes in the window around each pixel, over its largest possible value [1]_.

    Parameters
    ----------
    classes : array-like of shape (H, W), int
        Predicted class of each pixel, in [0, n_classes - 1].
    size : int
        Side of the window, cut at the border.
    n_classes : int

    Returns
    -------
    ndarray of shape (H, W), float64
        In [0, 1]; 0 where one class is alone in the window.

    Raises
    ------
    ValueError
        If a class is out of range.

    References
    ----------
    .. [1] Xie et al. 2022, Towards Fewer Annotations: Active Learning via Region Impurity and
       Prediction Uncertainty for Domain Adaptive Semantic Segmentation, arXiv:2111.12940.

    Examples
    --------
    >>> region_impurity([[0, 0, 1, 1]], 3, n_classes=2).round(3)
    array([[0.   , 0.918, 0.918, 0.   ]])
    """
    check_number("n_classes", n_classes, low=2, integer=True)
    check_number("size", size, low=1, integer=True)
    classes = np.asarray(classes)
    present = np.unique(classes)
    if classes.dtype.kind not in "iu" or present[0] < 0 or present[-1] >= n_classes:
        raise ValueError(message("classes", f"integers in [0, {n_classes - 1}]", present))
    # H = log n - sum c log c / n over the counts c, which are integers: their logarithms are few.
    counts = np.arange(size * size + 1)
    table = special.xlogy(counts, counts)
    total = np.zeros(classes.shape)
    for c in present:
        inside = uniform_filter(
            (classes == c).astype(np.float32), size, output=np.float64, mode="constant"
        )
        inside *= size * size
        total += table[np.rint(inside).astype(np.intp)]
    n = _n_inside(classes.shape[0], size)[:, None] * _n_inside(classes.shape[1], size)
    impurity = (np.log(n) - total / n) / np.log(n_classes)
    return impurity.clip(0, 1)  # rounding may leave it by 1e-16


def ripu(mask_proba, size=3):
    """Region impurity times mean uncertainty of the window around each pixel [1]_.

    Both factors are over log C, so that each is in [0, 1].

    Parameters
    ----------
    mask_proba : array-like of shape (C, H, W), float
        Pixel class probabilities of one image.
    size : int, default=3
        Side of the window; ``2 k + 1`` for the published radius ``k = 1``.

    Returns
    -------
    ndarray of shape (H, W), float64
        In [0, 1]; larger is more worth asking.

    References
    ----------
    .. [1] Xie et al. 2022, arXiv:2111.12940.

    Examples
    --------
    >>> proba = np.array([[[0.5, 0.5, 1.0]], [[0.5, 0.5, 0.0]]])
    >>> ripu(proba, size=1)  # one pixel alone is pure
    array([[0., 0., 0.]])
    """
    mask_proba = np.asarray(mask_proba)
    n_classes = len(mask_proba)
    impurity = region_impurity(mask_proba.argmax(axis=0), size, n_classes)
    entropy = special.entr(mask_proba).sum(axis=0)
    return impurity * box_mean(entropy, size) / np.log(n_classes)


# -- superpixels ----------------------------------------------------------------------------------


def slic_superpixels(image, size=32, compactness=10.0):
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
_kept, _kept_lock = OrderedDict(), threading.Lock()


def superpixels_of(images, idx, size=32, method=None):
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
    image = np.ascontiguousarray(images[i])
    return image.shape, image.dtype.str, hashlib.blake2b(image.data, digest_size=16).digest()


# -- picking --------------------------------------------------------------------------------------


class RegionPicker:
    """Picks the best regions of a pool whose maps come one image at a time.

    The score of a region is the mean of its pixels' scores, where pixels that are annotated
    already count 0: what is known is worth nothing. They are not asked for again. Only the best
    regions so far are kept.

    Parameters
    ----------
    n_instances : int
        How many regions.
    unit : {"patch", "superpixel", "pixel"}
    size : int, default=32
        Side of a patch.
    sliding : bool, default=False
        False: patches are the tiles of a grid. True: they are windows centred at any pixel without
        annotation, cut at the border; the best first, then the best that does not overlap it.
    per_image : int or None, default=None
        Most regions of one image.
    top : float in (0, 1] or None, default=None
        In each image, regions are drawn at random among the best share `top` of them [1]_. None
        takes the best.
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal scores, and what `top` draws.

    References
    ----------
    .. [1] Shin et al. 2021, All you need are a few pixels: semantic segmentation with PixelPick,
       arXiv:2104.06394.

    Examples
    --------
    >>> picker = RegionPicker(2, "pixel", per_image=1)
    >>> picker.add(0, np.array([[0.1, 0.9, 0.8]]))
    >>> picker.add(1, np.array([[0.2, 0.3, 0.0]]))
    >>> [(i, pixels.tolist()) for i, pixels in picker.regions()]
    [(0, [1]), (1, [1])]
    """

    def __init__(
        self,
        n_instances,
        unit,
        size=32,
        sliding=False,
        per_image=None,
        top=None,
        random_state=None,
    ):
        self.n_instances = check_number("n_instances", n_instances, low=1, integer=True)
        self.unit = check_option("unit", unit, UNITS[1:])
        self.size = check_number("size", size, low=1, integer=True)
        if sliding and unit != "patch":
            raise ValueError(message("unit", "'patch' with sliding=True", unit))
        self.sliding = bool(sliding)
        if per_image is not None:
            check_number("per_image", per_image, low=1, integer=True)
        self.per_image = per_image
        if top is not None:
            check_number("top", top, low=0, high=1, open_low=True)
        self.top = top
        self._rng = check_rng(random_state)
        self._held = []  # (score, tie, image, pixels)
        self._sizes = {}
        self._worst = -np.inf

    def add(self, i, scores, known=None, labels=None, limit=None, centred=False):
        """Look at an image; return None.

        Parameters
        ----------
        i : int
            Its position in the pool.
        scores : ndarray of shape (H, W), float
            Of its pixels.
        known : ndarray of shape (H, W), bool, or None
            Where it is annotated already.
        labels : ndarray of shape (H, W), int, or None
            Its superpixels, for that unit.
        limit : int or None
            Most regions of this image, if that is less than `per_image`.
        centred : bool, default=False
            Whether `scores` are already those of the windows centred at each pixel (`sliding`).

        Raises
        ------
        ValueError
            If a score is not finite, or the shapes differ.
        """
        scores = np.asarray(scores, dtype=np.float64)
        name = f"the pixel scores of image {i} of the pool"
        if scores.ndim != 2:
            raise ValueError(message(name, "of shape (H, W)", scores.shape))
        bad = scores.size - int(np.isfinite(scores).sum())
        if bad:
            raise ValueError(message(name, "finite", f"{bad} non-finite of {scores.size}"))
        open_ = np.ones(scores.shape, bool) if known is None else ~np.asarray(known, dtype=bool)
        if open_.shape != scores.shape:
            raise ValueError(message(f"known of image {i}", f"of shape {scores.shape}", open_.shape))
        most = min(m for m in (self.n_instances, self.per_image, limit) if m is not None)
        if most < 1 or not open_.any():
            return
        if self.sliding:
            picked = self._windows(scores, open_, most, centred)
        else:
            picked = self._parts(scores, open_, labels, most)
        if picked:
            self._sizes[int(i)] = scores.shape
            self._held.extend((score, tie, int(i), pixels) for score, tie, pixels in picked)
            if len(self._held) > 4 * self.n_instances + 1000:
                self._prune()

    def _parts(self, scores, open_, labels, most):
        """Best tiles, superpixels or pixels: (score, tie, flat pixels)."""
        flat_open = open_.reshape(-1)
        if self.unit == "pixel":
            where = np.flatnonzero(flat_open)
            values = scores.reshape(-1)[where]
            members = where.__getitem__
        else:
            labels = self._tiles(scores.shape) if self.unit == "patch" else np.asarray(labels)
            n_open = np.bincount(labels[open_], minlength=labels.max() + 1)
            where = np.flatnonzero(n_open)
            if self.unit == "patch":
                values = tile_means(scores * open_, self.size).reshape(-1)[where]
            else:
                values = superpixel_means(scores * open_, labels)[where]
            order = np.argsort(labels, axis=None, kind="stable")
            order = order[flat_open[order]]  # open pixels, region by region
            ends = np.cumsum(n_open)

            def members(j):
                k = where[j]
                return order[ends[k] - n_open[k] : ends[k]]

        ties = self._rng.random(len(values))
        chosen = self._choose(values, ties, most)
        return [(float(values[j]), ties[j], np.atleast_1d(members(j))) for j in chosen]

    def _tiles(self, shape):
        rows, columns = (np.arange(n) // self.size for n in shape)
        return rows[:, None] * (columns[-1] + 1) + columns

    def _choose(self, values, ties, most):
        if self.top is None:
            chosen = _best(values, ties, most)
            # What is worse than all that are held already cannot be asked for.
            return chosen[values[chosen] >= self._worst]
        among = _best(values, ties, max(1, int(np.ceil(self.top * len(values)))))
        drawn = self._rng.choice(among, size=min(most, len(among)), replace=False)
        return drawn

    def _windows(self, scores, open_, most, centred):
        """Best windows that do not overlap, greedily."""
        h, w = scores.shape
        means = scores if centred else box_mean(scores * open_, self.size)
        where = np.flatnonzero(open_)
        values = means.reshape(-1)[where]
        ties = self._rng.random(len(values))
        order = np.lexsort((ties, -values))
        if self.top is None:
            order = order[values[order] >= self._worst]
        else:
            order = self._rng.permutation(order[: int(np.ceil(self.top * len(order)))])
        free = open_.copy()
        picked, half = [], self.size // 2
        for start in range(0, len(order), 4096):
            block = order[start : start + 4096]
            for j in block[free.reshape(-1)[where[block]]]:
                r, c = divmod(int(where[j]), w)
                if not free[r, c]:
                    continue
                top, left = max(r - half, 0), max(c - half, 0)
                box = np.s_[top : min(r - half + self.size, h), left : min(c - half + self.size, w)]
                rows, columns = np.nonzero(open_[box])
                picked.append((float(values[j]), ties[j], (rows + top) * w + columns + left))
                if len(picked) == most:
                    return picked
                low = max(r - self.size + 1, 0), max(c - self.size + 1, 0)
                free[low[0] : r + self.size, low[1] : c + self.size] = False
        return picked

    def _prune(self):
        scores = np.array([held[0] for held in self._held])
        ties = np.array([held[1] for held in self._held])
        self._held = [self._held[j] for j in _best(scores, ties, self.n_instances)]
        if len(self._held) == self.n_instances:
            self._worst = self._held[-1][0]

    def regions(self):
        """The best regions of the images so far.

        Returns
        -------
        Regions
            `n_instances` of them, best first.

        Raises
        ------
        EmptyPool
            If nothing is left to ask about.
        ValueError
            If there are fewer than `n_instances`.
        """
        self._prune()
        n_left = len(self._held)
        if not n_left:
            raise EmptyPool("No region is left to ask about: the pool is annotated, or at its limit.")
        if n_left < self.n_instances:
            rule = f"in [1, {n_left}] (the regions left in the pool, with its limits)"
            raise ValueError(message("n_instances", rule, self.n_instances))
        _, _, ids, pixels = zip(*self._held, strict=True)
        return Regions(ids, pixels, self._sizes, self.unit)


def _best(values, ties, n):
    """Positions of the `n` largest values, the largest first, ties by `ties`."""
    if n < len(values):
        kth = np.partition(values, len(values) - n)[len(values) - n]
        above, equal = np.flatnonzero(values > kth), np.flatnonzero(values == kth)
        n_equal = n - len(above)
        if n_equal < len(equal):
            equal = equal[np.argpartition(ties[equal], n_equal - 1)[:n_equal]]
        among = np.concatenate([above, equal])
    else:
        among = np.arange(len(values))
    return among[np.lexsort((ties[among], -values[among]))]


def pick_regions(
    maps,
    n_instances,
    unit="patch",
    size=32,
    sliding=False,
    per_image=None,
    top=None,
    known=None,
    labels=None,
    random_state=None,
):
    """The best regions of a pool, from maps of pixel scores.

    Parameters
    ----------
    maps : array of shape (n, H, W), or sequence of n arrays of shape (H, W), float
        Larger is more worth asking.
    n_instances : int
        How many regions.
    unit : {"patch", "superpixel", "pixel"}, default="patch"
    size, sliding, per_image, top, random_state
        See `RegionPicker`.
    known : sequence of n arrays of shape (H, W), bool, or None; or None
        Where the images are annotated already.
    labels : sequence of n arrays of shape (H, W), int, or None
        Superpixels, for that unit.

    Returns
    -------
    regions : Regions
        Of positions in `maps`, best first.

    Raises
    ------
    EmptyPool, ValueError
        If there are no regions, or fewer than asked; if a score is not finite; if `labels` are
        needed and not given.

    Examples
    --------
    >>> maps = np.array([[[0.0, 0.5, 1.0, 1.0]]])
    >>> regions = pick_regions(maps, 1, "patch", size=2)
    >>> regions.pixels(0)
    array([2, 3])
    """
    if unit == "superpixel" and labels is None:
        raise ValueError(message("labels", "given for unit='superpixel'", None))
    picker = RegionPicker(n_instances, unit, size, sliding, per_image, top, random_state)
    for i, scores in enumerate(maps):
        picker.add(
            i,
            scores,
            None if known is None else known[i],
            None if labels is None else labels[i],
        )
    return picker.regions()
