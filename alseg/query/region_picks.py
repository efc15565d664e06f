"""The best parts of images, picked so that none overlaps another or what is annotated."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Random
from alseg.query.region_scores import box_mean, superpixel_means, tile_means
from alseg.query.regions import UNITS, Regions
from alseg.validation import EmptyPool, check_number, check_option, check_rng, message

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
    spread : bool, default=False
        Whether no image gets a second region before all have a first, nor a third before all have
        a second: of the images with the fewest, those with the best regions come first. What is
        annotated already counts as so many regions as its pixels make, rounded up.
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
        n_instances: int,
        unit: str,
        size: int = 32,
        sliding: bool = False,
        per_image: int | None = None,
        top: float | None = None,
        random_state: Random = None,
        spread: bool = False,
    ) -> None:
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
        if not isinstance(spread, (bool, np.bool_)):
            raise TypeError(message("spread", "True or False", spread))
        self.spread = bool(spread)
        self._rng = check_rng(random_state)
        self._held = []  # (turn, score, tie, image, pixels); all of one turn without `spread`
        self._sizes = {}
        self._worst, self._last_turn = -np.inf, np.inf

    def add(
        self,
        i: int,
        scores: Array,
        known: Array = None,
        labels: Array = None,
        limit: int | None = None,
        centred: bool = False,
    ) -> None:
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
            raise ValueError(
                message(f"known of image {i}", f"of shape {scores.shape}", open_.shape)
            )
        turn = self._regions_of(open_) if self.spread else 0
        limits = self.n_instances, self.per_image, limit, self._last_turn - turn + 1
        most = min(m for m in limits if m is not None)
        if most < 1 or not open_.any():
            return
        if self.sliding:
            picked = self._windows(scores, open_, most, centred)
        else:
            picked = self._parts(scores, open_, labels, most)
        if picked:
            self._sizes[int(i)] = scores.shape
            for rank, (score, tie, pixels) in enumerate(picked):
                self._held.append((turn + self.spread * rank, score, tie, int(i), pixels))
            if len(self._held) > 4 * self.n_instances + 1000:
                self._prune()

    def _regions_of(self, open_):
        """How many regions the annotated pixels of an image make."""
        n_known = open_.size - int(open_.sum())
        return n_known if self.unit == "pixel" else -(-n_known // self.size**2)

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
        turns, scores, ties = (np.array([held[k] for held in self._held]) for k in range(3))
        if self.spread:
            best = np.lexsort((ties, -scores, turns))[: self.n_instances]
        else:
            best = _best(scores, ties, self.n_instances)
        self._held = [self._held[j] for j in best]
        if len(self._held) == self.n_instances:
            if self.spread:
                self._last_turn = self._held[-1][0]
            else:
                self._worst = self._held[-1][1]

    def regions(self) -> Any:
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
            raise EmptyPool(
                "No region is left to ask about: the pool is annotated, or at its limit."
            )
        if n_left < self.n_instances:
            rule = f"in [1, {n_left}] (the regions left in the pool, with its limits)"
            raise ValueError(message("n_instances", rule, self.n_instances))
        _, _, _, ids, pixels = zip(*self._held, strict=True)
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
    maps: Array,
    n_instances: int,
    unit: str = "patch",
    size: Any = 32,
    sliding: Any = False,
    per_image: Any = None,
    top: Any = None,
    known: Array = None,
    labels: Array = None,
    random_state: Any = None,
    spread: bool = False,
) -> Any:
    """The best regions of a pool, from maps of pixel scores.

    Parameters
    ----------
    maps : array of shape (n, H, W), or sequence of n arrays of shape (H, W), float
        Larger is more worth asking.
    n_instances : int
        How many regions.
    unit : {"patch", "superpixel", "pixel"}, default="patch"
    size, sliding, per_image, top, random_state, spread
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
    >>> maps = np.array([[[0.9, 0.8, 0.7]], [[0.1, 0.2, 0.3]]])
    >>> pick_regions(maps, 3, "pixel").ids, pick_regions(maps, 3, "pixel", spread=True).ids
    (array([0, 0, 0]), array([0, 1, 0]))
    """
    if unit == "superpixel" and labels is None:
        raise ValueError(message("labels", "given for unit='superpixel'", None))
    picker = RegionPicker(n_instances, unit, size, sliding, per_image, top, random_state, spread)
    for i, scores in enumerate(maps):
        picker.add(
            i,
            scores,
            None if known is None else known[i],
            None if labels is None else labels[i],
        )
    return picker.regions()
