"""An oracle that looks at a proposal and corrects it, the largest errors first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from alseg._types import Array, Masks
from alseg.images import as_masks
from alseg.labels import MISSING
from alseg.oracles.asked import check_ids
from alseg.oracles.free_strokes import check_odd, check_rates
from alseg.oracles.simulated import FREE_STROKE, FURTHER_POINT, LOOK, SimulatedExpert, drawn
from alseg.oracles.strokes import Stroke, paint, path_near, room
from alseg.query import AnnotationCost
from alseg.validation import check_number, message


class Correction(NamedTuple):
    """What a simulated expert makes of a proposal.

    Parameters
    ----------
    mask : ndarray of shape (H, W), int16
        What is said: the corrected proposal if `confirmed`, else the strokes alone.
    strokes : list of Stroke
        The corrections, in order.
    cost : AnnotationCost
    confirmed : bool
        Whether "all of it is right" was said: no error is left that is worth a stroke.
    corrected : ndarray of shape (H, W), bool
        Where strokes are.
    """

    mask: Array
    strokes: list[Stroke]
    cost: AnnotationCost
    confirmed: bool
    corrected: Array


class CorrectionOracle(SimulatedExpert):
    """Looks at what is proposed, and corrects it with strokes, the largest errors first.

    An error is a piece of the image in which the proposal says another class than the truth. It is
    painted over with the widest brushes that stay within the true class, so that each stroke is
    right. When nothing is left that is worth a stroke, the expert says "all of it is right", and
    the mask is the whole corrected proposal; who stops earlier says only what was marked.

    Parameters
    ----------
    masks : array of shape (n, H, W), list or 1-D object array of arrays or paths, or MaskFiles
        The truth of every image.
    proposals : sequence of n masks of shape (H, W), callable or None, default=None
        What is proposed for each image; or a function of ids that gives the masks of these.
        None proposes background everywhere.
    tolerance : float, default=2.0
        Errors no farther than this from a true border, in pixels, are not seen, and stay in what
        is confirmed.
    min_area : int, default=16
        Pieces of errors, and what strokes have left of them, of fewer pixels are not seen either.
        With 1, and a `tolerance` of 0, each pixel is corrected.
    max_strokes : int or None, default=None
        Stop after so many on an image.
    widths : sequence of int, default=(3, 7, 15, 31)
        Of the brushes in reach, in pixels, odd; one pixel is always in reach.
    seconds_per_image : float, default=1.0
        For looking at it, the second that [1]_ count for a yes or no.
    seconds_per_stroke : float, default=10.9
        As a free stroke takes in [1]_; that a correction takes as long is an assumption.
    seconds_per_click : float, default=0.9
        For a stroke that is only a dot: as for a further point in [1]_.

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
    >>> proposal = np.zeros((40, 60), int)
    >>> proposal[10:30, 15:35] = 1  # a third is missing
    >>> found = CorrectionOracle(truth).correct(0, proposal)
    >>> found.confirmed, [(stroke.value, stroke.width) for stroke in found.strokes]
    (True, [(1, 15)])
    >>> int((proposal != truth[0]).sum()), int((found.mask != truth[0]).sum())  # at the border
    (200, 54)
    """

    def __init__(
        self,
        masks: Masks,
        proposals: Any = None,
        *,
        tolerance: float = 2.0,
        min_area: int = 16,
        max_strokes: int | None = None,
        widths: Sequence[int] = (3, 7, 15, 31),
        seconds_per_image: float = LOOK,
        seconds_per_stroke: float = FREE_STROKE,
        seconds_per_click: float = FURTHER_POINT,
    ) -> None:
        super().__init__(masks, random_state=0)  # nothing is left to chance
        if proposals is not None and not callable(proposals):
            proposals = as_masks(proposals, len(self._masks))
        self.proposals = proposals
        self.tolerance = check_number("tolerance", tolerance, low=0)
        self.min_area = check_number("min_area", min_area, low=1, integer=True)
        if max_strokes is not None:
            check_number("max_strokes", max_strokes, low=1, integer=True)
        self.max_strokes = max_strokes
        self.widths = sorted({1, *(check_odd("widths", width) for width in widths)}, reverse=True)
        self.rates = check_rates(seconds_per_image, seconds_per_stroke, seconds_per_click)

    def _answers(self, ids):
        # A function is asked once, since a model predicts many images faster than each alone.
        if callable(self.proposals):
            proposed = as_masks(self.proposals(np.array(ids)), len(ids))
            return [self.correct(i, proposed[k]) for k, i in enumerate(ids)]
        return [self.draw(i) for i in ids]

    def draw(self, sample_id: int) -> Correction:
        """The corrections of what is proposed for an image; nothing is counted.

        Parameters
        ----------
        sample_id : int

        Returns
        -------
        correction : Correction
        """
        [i] = check_ids([sample_id], len(self._masks))
        if callable(self.proposals):
            return self.correct(i, as_masks(self.proposals(np.array([i])), 1)[0])
        if self.proposals is None:
            return self.correct(i, np.zeros(self.truth(i).shape, np.int16))
        return self.correct(i, self.proposals[i])

    def correct(self, sample_id: int, proposal: Array) -> Correction:
        """The corrections of a proposal; nothing is counted.

        Parameters
        ----------
        sample_id : int
        proposal : array-like of shape (H, W), int
            The class proposed for each pixel.

        Returns
        -------
        correction : Correction

        Raises
        ------
        ValueError
            If the proposal is not of the size of its image.
        """
        truth = self.truth(sample_id)
        proposal = np.asarray(proposal)
        if proposal.shape != truth.shape:
            rule = f"of the size of its image {truth.shape}"
            raise ValueError(message("proposal", rule, proposal.shape))
        strokes, finished = self._strokes(truth, proposal)
        found = drawn(strokes, truth.shape, self.rates)
        corrected = found.mask != MISSING
        if not finished:
            return Correction(found.mask, strokes, found.cost, False, corrected)
        mask = np.where(corrected, found.mask, proposal).astype(np.int16)
        mask[truth == MISSING] = MISSING
        n_pixels = int(np.count_nonzero(mask != MISSING))
        cost = found.cost._replace(pixels=n_pixels, clicks=found.cost.clicks + 1)  # the answer
        return Correction(mask, strokes, cost, True, corrected)

    def _strokes(self, truth, proposal):
        """Strokes in order, and whether they are all that are needed."""
        now, strokes = proposal.copy(), []
        space = {int(v): room(truth == v) for v in np.unique(truth[truth != MISSING])}
        for value, piece in self._errors(truth, proposal, space):
            # A stroke on another error may have gone over this one.
            left = self._seen(piece & (now != truth))
            while left.any():
                if len(strokes) == self.max_strokes:
                    return strokes, False
                stroke = self._over(left, value, space[value])
                strokes.append(stroke)
                paint(now, stroke)
                left = self._seen(left & (now != truth))
        return strokes, True

    def _seen(self, left):
        """The pieces that are worth a stroke."""
        from scipy import ndimage

        pieces, _ = ndimage.label(left, np.ones((3, 3)))
        return (np.bincount(pieces.ravel()) >= self.min_area)[pieces] & left

    def _errors(self, truth, proposal, space):
        """(class, pixels that are to be corrected) of each error, the largest first."""
        from scipy import ndimage

        found = []
        for value, free in space.items():
            pieces, n = ndimage.label((truth == value) & (proposal != value), np.ones((3, 3)))
            sizes = np.bincount(pieces.ravel(), minlength=n + 1)
            seen = np.where(free > self.tolerance, pieces, 0)
            for k in np.unique(seen[seen > 0]):
                found.append((-int(sizes[k]), value, int(k), seen == k))
        return [(value, piece) for _, value, _, piece in sorted(found, key=lambda error: error[:3])]

    def _over(self, left, value, free):
        """The stroke that goes over most of the pixels that are to be corrected."""
        reach = max(self.widths) + 1
        rows, columns = np.nonzero(left)
        top, first = (max(0, int(at.min()) - reach) for at in (rows, columns))
        part = np.s_[top : rows.max() + reach + 1, first : columns.max() + reach + 1]
        goal, free = left[part], free[part]
        best, most = None, 0
        for width in self.widths:  # of two that do alike, the narrower
            path = _path_over(goal, free, width)
            if path is None:
                continue
            covered = paint(np.zeros(goal.shape, bool), Stroke(path + 0.5, width, True))
            n = int(np.count_nonzero(covered & goal))
            if n >= most:
                best, most = Stroke(path + (top + 0.5, first + 0.5), width, value), n
        return best


def _path_over(goal, free, width):
    """A path for the middle of a brush that covers much of a goal and stays within, or None."""
    from scipy import ndimage
    from skimage.morphology import skeletonize

    # Where the middle is within the goal, or well over its edge.
    near = ndimage.distance_transform_edt(~goal) <= max(0, width / 4 - 1)
    places = near & (2 * free > width)
    if not places.any():
        return None
    pieces, _ = ndimage.label(places, np.ones((3, 3)))
    largest = np.bincount(pieces[places]).argmax()
    lines = skeletonize(pieces == largest)
    inside = goal & lines if (goal & lines).any() else lines
    start = np.argwhere(inside)[0]
    path = path_near(lines, tuple(start.tolist()), float(sum(goal.shape)))
    path = _continued(path, places, goal, width)[::-1]
    return _continued(path, places, goal, width)


def _continued(path, places, goal, width):
    """A path that goes straight on at its end: the middle lines of shapes end before they do."""
    if len(path) < 2:
        return path
    step = path[-1] - path[max(0, len(path) - 6)]
    step = np.rint(step / np.abs(step).max()).astype(int)
    more, at = [], path[-1] + step
    while len(more) < width and (at >= 0).all() and (at < goal.shape).all():
        if not places[tuple(at)]:
            break
        more.append(at)
        at = at + step
    return np.concatenate([path, more]) if more else path
