"""An oracle that knows all the masks and counts what it is asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Masks
from alseg.images import as_masks, stack
from alseg.labels import MISSING, is_annotated
from alseg.oracles.asked import asked, check_ids
from alseg.validation import message


class MaskOracle:
    """Answers from known masks, and keeps count.

    Parameters
    ----------
    masks : array of shape (n, H, W), list or 1-D object array of arrays or paths, or MaskFiles
        The truth of every image. Files are read when asked for. None, or a mask without one
        annotated pixel, is an image that cannot be asked about.
    majority : bool, default=False
        Whether a region is answered with its most frequent class in all its pixels, which is what
        one click on a superpixel says [1]_, wrong where the region is not pure. The smallest class
        of equally frequent ones.

    Attributes
    ----------
    log : list of lists of int
        The ids of each answered call, in order. A refused call leaves no trace.
    n_pixels : int
        Number of pixels answered for.

    References
    ----------
    .. [1] Cai et al. 2021, Revisiting Superpixels for Active Learning in Semantic Segmentation
       with Realistic Annotation Costs, CVPR.

    Examples
    --------
    >>> oracle = MaskOracle(np.arange(12).reshape(3, 2, 2) % 2)
    >>> oracle([2, 0]).shape
    (2, 2, 2)
    >>> _ = oracle([2])
    >>> oracle.n_asked, oracle.n_answers, oracle.log
    (2, 3, [[2, 0], [2]])
    """

    def __init__(self, masks: Masks, majority: bool = False) -> None:
        if masks is None or not hasattr(masks, "__len__"):
            raise TypeError(message("masks", "a sequence of masks or of paths", masks))
        self._masks = as_masks(masks, len(masks))
        self.majority = majority
        self.log = []
        self.n_pixels = 0

    def __call__(self, sample_ids: Array, regions: Any = None) -> Any:
        """The masks of these images, or of parts of them.

        Parameters
        ----------
        sample_ids : array-like of shape (n_instances,), int, or Regions
            `Regions` alone ask about all their images.
        regions : Regions or None, default=None
            What is asked for in each of the images. None is all.

        Returns
        -------
        masks : ndarray of shape (n_instances, H, W), int16, or (n_instances,), object
            In the order asked; an object array of 2-D arrays where the sizes differ. `MISSING`
            outside the regions.

        Raises
        ------
        TypeError
            If the ids are not integers.
        ValueError
            If an id is unknown or not among the regions, or an image has no ground truth there.
        """
        sample_ids, regions = asked(sample_ids, regions)
        sample_ids = check_ids(sample_ids, len(self._masks))
        # Copies: what a learner does to its masks must not change the truth.
        masks = [None if self._masks[i] is None else np.array(self._masks[i]) for i in sample_ids]
        if regions is not None:
            masks = [
                None if mask is None else self._in_regions(i, mask, regions)
                for i, mask in zip(sample_ids, masks, strict=True)
            ]
        unknown = [i for i, mask in zip(sample_ids, masks, strict=True) if not is_annotated(mask)]
        if unknown:
            rule = "ids of images with ground truth" + (" in the regions" if regions else "")
            raise ValueError(message("sample_ids", rule, unknown, "Leave them out of the pool."))
        self.log.append(sample_ids)
        self.n_pixels += sum(int(np.count_nonzero(mask != MISSING)) for mask in masks)
        return stack(masks)

    def _in_regions(self, i, mask, regions):
        answer = regions.restrict(i, mask)
        if not self.majority:
            return answer
        numbers = regions.region_map(i)
        for k in np.unique(numbers[answer != MISSING]):
            inside = numbers == k
            known = answer[inside & (answer != MISSING)]
            answer[inside] = np.bincount(known).argmax()
        return answer

    @property
    def n_asked(self) -> Any:
        """Number of different images asked so far: what the annotation has cost."""
        return len({i for call in self.log for i in call})

    @property
    def n_answers(self) -> Any:
        """Number of masks given out; an image that is asked twice counts twice."""
        return sum(len(call) for call in self.log)
