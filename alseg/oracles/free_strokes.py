"""An oracle that draws free strokes: along the middle of things, and on both sides of borders."""

from __future__ import annotations

import numpy as np

from alseg._types import Masks, Random
from alseg.labels import MISSING
from alseg.oracles.simulated import (
    FREE_STROKE,
    FURTHER_POINT,
    LOOK,
    Drawing,
    SimulatedExpert,
    drawn,
)
from alseg.oracles.strokes import Stroke, paint, path_near, room, widest
from alseg.validation import check_number, message


class StrokeOracle(SimulatedExpert):
    """Draws a few free strokes on each image, as people make them.

    Strokes go along the middle of objects and of the background (their medial axes), and in pairs
    along borders, one on each side. They shake, but never leave their class: each marked pixel is
    right. Where a brush is too wide for a thing, a narrower one is taken.

    Parameters
    ----------
    masks : array of shape (n, H, W), list or 1-D object array of arrays or paths, or MaskFiles
        The truth of every image.
    n_strokes : int, default=1
        Along the middle of each class of an image.
    n_borders : int, default=1
        Pairs along borders between classes.
    width : int, default=7
        Of the brush in pixels, odd.
    length : float, default=60
        At most that of a stroke, in pixels.
    clearance : float, default=1.0
        Between a border and the edge of the brush that goes along it, in pixels.
    jitter : float, default=1.0
        Standard deviation of the shaking, in pixels.
    seconds_per_image : float, default=1.0
        For looking at it, the second that [1]_ count for a yes or no.
    seconds_per_stroke : float, default=10.9
        What a free stroke over an object of one class took in [1]_; that one of this length takes
        as long is an assumption.
    seconds_per_click : float, default=0.9
        For a stroke that is only a dot: as for a further point in [1]_.
    random_state : int, Generator, RandomState or None, default=None

    Attributes
    ----------
    log, n_strokes, cost
        See `MaskOracle.log`; strokes drawn and what was paid so far.

    References
    ----------
    .. [1] Bearman et al. 2016, What's the Point: Semantic Segmentation with Point Supervision,
       ECCV, arXiv:1506.02106.

    Examples
    --------
    >>> truth = np.zeros((1, 40, 60), int)
    >>> truth[0, 10:30, 15:45] = 1
    >>> oracle = StrokeOracle(truth, random_state=0)
    >>> drawing = oracle.draw(0)
    >>> [(stroke.value, stroke.width) for stroke in drawing.strokes]
    [(0, 7), (1, 7), (1, 7), (0, 7)]
    >>> drawing.cost.seconds
    44.6
    """

    def __init__(
        self,
        masks: Masks,
        n_strokes: int = 1,
        n_borders: int = 1,
        *,
        width: int = 7,
        length: float = 60,
        clearance: float = 1.0,
        jitter: float = 1.0,
        seconds_per_image: float = LOOK,
        seconds_per_stroke: float = FREE_STROKE,
        seconds_per_click: float = FURTHER_POINT,
        random_state: Random = None,
    ) -> None:
        super().__init__(masks, random_state)
        self.strokes_per_class = check_number("n_strokes", n_strokes, low=0, integer=True)
        self.n_borders = check_number("n_borders", n_borders, low=0, integer=True)
        check_number("n_strokes + n_borders", n_strokes + n_borders, low=1)
        self.width = check_odd("width", width)
        self.length = check_number("length", length, low=1)
        self.clearance = check_number("clearance", clearance, low=0)
        self.jitter = check_number("jitter", jitter, low=0)
        self.rates = check_rates(seconds_per_image, seconds_per_stroke, seconds_per_click)

    def draw(self, sample_id: int) -> Drawing:
        """The strokes of an image, see `Drawing`.

        Parameters
        ----------
        sample_id : int

        Returns
        -------
        drawing : Drawing
        """
        truth = self.truth(sample_id)
        rng = self._rng(sample_id)
        space = {int(v): room(truth == v) for v in np.unique(truth[truth != MISSING])}
        strokes = []
        for value, free in space.items():
            for _ in range(self.strokes_per_class):
                strokes.append(self._along_the_middle(value, free, rng))
        for _ in range(self.n_borders):
            strokes += self._along_a_border(truth, space, rng)
        if not strokes:  # borders were asked for, and there is none
            value = min(space)
            strokes = [self._along_the_middle(value, space[value], rng)]
        return drawn(strokes, truth.shape, self.rates)

    def _along_the_middle(self, value, free, rng):
        from skimage.morphology import skeletonize

        inside = free > 0
        at = np.argwhere(inside)
        place = at[rng.integers(len(at))]  # a large object is more likely met
        lines = skeletonize(inside)
        start = _nearest(lines & _hangs_together(inside, place), place)
        width = widest(free[start], self.width)
        return self._shaken(
            path_near(lines & (2 * free > width), start, self.length), width, value, free, rng
        )

    def _along_a_border(self, truth, space, rng):
        sides = _border_pairs(truth)
        if not len(sides):
            return []
        return [
            self._beside(tuple(place), int(truth[tuple(place)]), space, rng)
            for place in sides[rng.integers(len(sides))]
        ]

    def _beside(self, place, value, space, rng):
        """A stroke of one class that keeps along the border near a pixel of it."""
        from skimage.morphology import skeletonize

        free = space[value]
        near = int(self.length + self.width + self.clearance) + 2
        top, left = (max(0, at - near) for at in place)
        part = np.s_[top : place[0] + near + 1, left : place[1] + near + 1]
        middle = np.subtract(place, (top, left))
        for width in range(self.width, 0, -2):
            away = width / 2 + (self.clearance if width > 1 else 0)
            band = (free[part] > away) & (free[part] <= away + 1.5)
            lines = skeletonize(band)
            start = _nearest(lines, middle)
            if start and np.hypot(*np.subtract(start, middle)) <= away + 3:
                path = path_near(lines, start, self.length) + (top, left)
                return self._shaken(path, width, value, free, rng)
        path = np.array([place])  # one pixel is all there is
        return self._shaken(path, 1, value, free, rng)

    def _shaken(self, path, width, value, free, rng):
        """A stroke along a path, with a shaking hand where there is room for it."""
        from scipy.ndimage import gaussian_filter1d

        points = path + 0.5
        stroke = Stroke(points, width, value)
        noise = gaussian_filter1d(rng.standard_normal(points.shape), 4, axis=0)
        if not self.jitter or len(points) < 2:
            return stroke
        moved = points + self.jitter * noise / max(noise.std(), 1e-9)
        pixels = np.clip(np.floor(moved).astype(int), 0, np.subtract(free.shape, 1))
        fits = 2 * free[tuple(pixels.T)] > width
        moved = np.where(fits[:, None], pixels + 0.5, points)
        shaken = Stroke(moved, width, value)
        covered = paint(np.zeros(free.shape, bool), shaken._replace(value=True))
        return shaken if (free[covered] > 0).all() else stroke


def check_odd(name, width):
    """The width of a brush that has its middle on a pixel."""
    check_number(name, width, low=1, integer=True)
    if width % 2 == 0:
        raise ValueError(message(name, "odd", width, f"Take {width + 1}."))
    return width


def check_rates(seconds_per_image, seconds_per_stroke, seconds_per_click):
    """The three of them, seen to be rates."""
    return (
        check_number("seconds_per_image", seconds_per_image, low=0),
        check_number("seconds_per_stroke", seconds_per_stroke, low=0),
        check_number("seconds_per_click", seconds_per_click, low=0),
    )


def _nearest(lines, place):
    """The pixel of lines next to a place, or None."""
    at = np.argwhere(lines)
    if not len(at):
        return None
    return tuple(at[np.argmin(((at - place) ** 2).sum(axis=1))].tolist())


def _hangs_together(inside, place):
    """The piece of a region that has a pixel."""
    from scipy import ndimage

    pieces, _ = ndimage.label(inside, np.ones((3, 3)))
    return pieces == pieces[tuple(place)]


def _border_pairs(truth):
    """Neighbours of different known classes: shape (n, 2, 2), the side, then row and column."""
    found = []
    for dy, dx in ((0, 1), (1, 0)):
        a, b = truth[: len(truth) - dy, : truth.shape[1] - dx], truth[dy:, dx:]
        at = np.argwhere((a != b) & (a != MISSING) & (b != MISSING))
        found.append(np.stack([at, at + (dy, dx)], axis=1))
    return np.concatenate(found)
