"""Simulated experts: they know the truth, and say of it what a person would in little time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from alseg._types import Array, Masks, Random
from alseg.images import as_masks, stack
from alseg.labels import MISSING, is_annotated
from alseg.oracles.asked import check_ids
from alseg.oracles.strokes import Stroke, painted
from alseg.query import AnnotationCost, annotation_cost
from alseg.validation import check_number, check_rng, message

# Bearman et al. 2016 measured these; see `PointOracle` and `StrokeOracle`.
FIRST_POINT, FURTHER_POINT, FREE_STROKE = 2.4, 0.9, 10.9
LOOK = 1.0


class Drawing(NamedTuple):
    """What a simulated expert says about an image.

    Parameters
    ----------
    mask : ndarray of shape (H, W), int16
        `MISSING` where nothing is said.
    strokes : list of Stroke
        Of which the mask is made, in order; empty where it is made of polygons.
    cost : AnnotationCost
        Clicks are presses of the button, or corners of polygons.
    """

    mask: Array
    strokes: list[Stroke]
    cost: AnnotationCost


class SimulatedExpert:
    """What these oracles share: the truth, answers that repeat, and a count of what they cost.

    A subclass has `draw`. The same image gets the same answer, whenever and beside whichever
    others it is asked about; another `random_state` gives others.

    Attributes
    ----------
    log : list of lists of int
        The ids of each answered call, in order. A refused call leaves no trace.
    n_strokes : int
        Strokes drawn so far.
    cost : AnnotationCost
        What the answers so far have cost.
    """

    def __init__(self, masks: Masks, random_state: Random = None) -> None:
        if masks is None or not hasattr(masks, "__len__"):
            raise TypeError(message("masks", "a sequence of masks or of paths", masks))
        self._masks = as_masks(masks, len(masks))
        self._seed = int(check_rng(random_state).integers(2**63))
        self.log = []
        self.n_strokes = 0
        self.cost = AnnotationCost(0, 0, 0, 0.0)

    def __call__(self, sample_ids: Array) -> Any:
        """What the expert says about these images.

        Parameters
        ----------
        sample_ids : array-like of shape (n_instances,), int

        Returns
        -------
        masks : ndarray of shape (n_instances, H, W), int16, or (n_instances,), object
            In the order asked; `MISSING` where nothing is said.

        Raises
        ------
        TypeError, ValueError
            If an id is unknown, or an image has no ground truth.
        """
        ids = check_ids(sample_ids, len(self._masks))
        drawings = self._answers(ids)
        self.log.append(ids)
        for drawing in drawings:
            self.n_strokes += len(drawing.strokes)
            self.cost += drawing.cost
        return stack([drawing.mask for drawing in drawings])

    def _answers(self, ids):
        return [self.draw(i) for i in ids]

    def truth(self, sample_id: int) -> Any:
        """The true mask of an image, to be looked at only.

        Raises
        ------
        ValueError
            If it has none.
        """
        [i] = check_ids([sample_id], len(self._masks))
        mask = self._masks[i]
        if not is_annotated(mask):
            raise ValueError(message("sample_ids", "ids of images with ground truth", [i]))
        return np.asarray(mask)

    def draw(self, sample_id: int) -> Any:  # a `Drawing`, or what has its fields
        """What the expert says about an image, with its strokes; nothing is counted.

        Parameters
        ----------
        sample_id : int

        Returns
        -------
        drawing : Drawing
        """
        raise NotImplementedError

    def _rng(self, i):
        return np.random.default_rng([self._seed, i])


def drawn(strokes, size, rates):
    """A drawing of strokes; `rates` are seconds an image, a stroke, and a dot."""
    mask = painted(strokes, size)
    dots = sum(len(stroke.points) == 1 for stroke in strokes)
    seconds = rates[0] + rates[1] * (len(strokes) - dots) + rates[2] * dots
    n_pixels = int(np.count_nonzero(mask != MISSING))
    return Drawing(mask, strokes, AnnotationCost(1, n_pixels, len(strokes), float(seconds)))


class PointOracle(SimulatedExpert):
    """Says the class of a few pixels of each image, drawn at random.

    Parameters
    ----------
    masks : array of shape (n, H, W), list or 1-D object array of arrays or paths, or MaskFiles
        The truth of every image.
    n_points : int, default=20
        Pixels an image; all that are known, where there are fewer.
    seconds_first, seconds_next : float
        For the first point of an image and for each further one. By default 2.4 and 0.9, medians
        of [1]_ for points on objects that somebody looks for; that a pixel which a page asks for
        takes as long is an assumption.
    random_state : int, Generator, RandomState or None, default=None

    Attributes
    ----------
    log, n_strokes, cost
        See `MaskOracle.log`; dots drawn and what was paid so far.

    References
    ----------
    .. [1] Bearman et al. 2016, What's the Point: Semantic Segmentation with Point Supervision,
       ECCV, arXiv:1506.02106.

    Examples
    --------
    >>> oracle = PointOracle(np.ones((2, 8, 8), int), n_points=3, random_state=0)
    >>> int((oracle([1]) == 1).sum()), oracle.cost
    (3, AnnotationCost(images=1, pixels=3, clicks=3, seconds=4.2))
    """

    def __init__(
        self,
        masks: Masks,
        n_points: int = 20,
        *,
        seconds_first: float = FIRST_POINT,
        seconds_next: float = FURTHER_POINT,
        random_state: Random = None,
    ) -> None:
        super().__init__(masks, random_state)
        self.n_points = check_number("n_points", n_points, low=1, integer=True)
        self.seconds_first = check_number("seconds_first", seconds_first, low=0)
        self.seconds_next = check_number("seconds_next", seconds_next, low=0)

    def draw(self, sample_id: int) -> Drawing:
        """The points of an image, see `Drawing`: each is a stroke one pixel wide.

        Parameters
        ----------
        sample_id : int

        Returns
        -------
        drawing : Drawing
        """
        truth = self.truth(sample_id)
        known = np.argwhere(truth != MISSING)
        n = min(self.n_points, len(known))
        picked = known[self._rng(sample_id).choice(len(known), n, replace=False)]
        strokes = [Stroke(at[None] + 0.5, 1, int(truth[tuple(at)])) for at in picked]
        rates = self.seconds_first - self.seconds_next, 0.0, self.seconds_next
        return drawn(strokes, truth.shape, rates)


class PatchOracle(SimulatedExpert):
    """Draws one window of each image exactly, placed at random.

    Parameters
    ----------
    masks : array of shape (n, H, W), list or 1-D object array of arrays or paths, or MaskFiles
        The truth of every image.
    share : float, default=1/9
        Of the image's area, in (0, 1]; the window has the image's proportions.
    tolerance : float, default=1.0
        Of the polygons that are counted, see `alseg.query.polygon_clicks`. The mask is exact.
    seconds_per_image : float, default=1.0
        For looking at it, the second that [1]_ count for a yes or no.
    seconds_per_click : float, default=0.9
        For a corner of a polygon, as for a further point in [1]_, which is an assumption: 54 to
        79 seconds for the outline of an object [1]_ [2]_ are then 60 to 88 corners.
    random_state : int, Generator, RandomState or None, default=None

    References
    ----------
    .. [1] Bearman et al. 2016, What's the Point: Semantic Segmentation with Point Supervision,
       ECCV, arXiv:1506.02106.
    .. [2] Lin et al. 2014, Microsoft COCO: Common Objects in Context, ECCV, arXiv:1405.0312.

    Examples
    --------
    >>> oracle = PatchOracle(np.ones((2, 9, 9), int), random_state=0)
    >>> int((oracle([0]) == 1).sum()), oracle.cost.clicks  # pure: one click says it
    (9, 1)
    """

    def __init__(
        self,
        masks: Masks,
        share: float = 1 / 9,
        *,
        tolerance: float = 1.0,
        seconds_per_image: float = LOOK,
        seconds_per_click: float = FURTHER_POINT,
        random_state: Random = None,
    ) -> None:
        super().__init__(masks, random_state)
        self.share = check_number("share", share, low=0, high=1, open_low=True)
        self.tolerance = check_number("tolerance", tolerance, low=0)
        self.seconds_per_image = check_number("seconds_per_image", seconds_per_image, low=0)
        self.seconds_per_click = check_number("seconds_per_click", seconds_per_click, low=0)

    def draw(self, sample_id: int) -> Drawing:
        """The window of an image, see `Drawing`; it has no strokes.

        Parameters
        ----------
        sample_id : int

        Returns
        -------
        drawing : Drawing
        """
        truth = self.truth(sample_id)
        rng = self._rng(sample_id)
        size = np.maximum(1, np.round(np.sqrt(self.share) * np.array(truth.shape))).astype(int)
        while True:  # a window of which nothing is known is no answer
            top, left = rng.integers(0, np.subtract(truth.shape, size) + 1)
            box = np.s_[top : top + size[0], left : left + size[1]]
            if (truth[box] != MISSING).any():
                break
        mask = np.full(truth.shape, MISSING, np.int16)
        mask[box] = truth[box]
        cost = annotation_cost(
            [mask[box]],
            tolerance=self.tolerance,
            seconds_per_image=self.seconds_per_image,
            seconds_per_click=self.seconds_per_click,
        )
        return Drawing(mask, [], cost)
