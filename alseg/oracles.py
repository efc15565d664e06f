"""Who answers: an oracle is a callable from sample ids to masks.

Any function `oracle(sample_ids) -> masks` will do; one with a parameter `regions` can be asked
about parts of images. These two stand in for a person: one knows all the masks and counts what it
is asked, the other reads what somebody has drawn into a folder.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alseg._types import Array, Masks, StrPath
from alseg.images import MaskFiles, as_masks, stack
from alseg.labels import MISSING, is_annotated
from alseg.query import Regions
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
        sample_ids, regions = _asked(sample_ids, regions)
        sample_ids = _check_ids(sample_ids, len(self._masks))
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


class FolderOracle:
    """Answers with the masks that somebody has drawn elsewhere, found by file name.

    Parameters
    ----------
    folder : path
        Where the masks are. Looked at again at each call, so masks may still be arriving.
    names : sequence of str or path of shape (n,)
        The file (or its stem) of each image; the mask of `slides/a_1.png` is `<folder>/a_1.*`.
    suffix : str, default=""
        What a mask's stem has in addition: with "_anno" it is `<folder>/a_1_anno.*`.
    mapping : None, "nonzero", "half", "binary" or MaskCoding, default=None
        How stored values become classes, as in `alseg.images.MaskFiles`.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).save(f"{folder}/b.png")
    ...     FolderOracle(folder, ["a.jpg", "b.jpg"], mapping="half")([1])
    array([[[0, 1]]], dtype=int16)
    """

    def __init__(
        self, folder: StrPath, names: Sequence[str], suffix: str = "", mapping: Any = None
    ) -> None:
        self.folder = Path(folder)
        self.suffix = suffix
        self.mapping = mapping
        self._stems = [_stem(name) for name in names]

    def __call__(self, sample_ids: Array, regions: Any = None) -> Any:
        """The masks of these images, as `MaskOracle` gives them.

        Parameters
        ----------
        sample_ids : array-like of shape (n_instances,), int, or Regions
        regions : Regions or None, default=None
            What is asked for in each; what is drawn outside is left out.

        Returns
        -------
        masks : ndarray of shape (n_instances, H, W), int16, or (n_instances,), object

        Raises
        ------
        FileNotFoundError
            If the folder or a mask is not there; the message names all that are missing.
        TypeError, ValueError
            If an id is unknown, or two files could be the mask of one image.
        """
        sample_ids, regions = _asked(sample_ids, regions)
        sample_ids = _check_ids(sample_ids, len(self._stems))
        if not self.folder.is_dir():
            raise FileNotFoundError(message("folder", "an existing folder", str(self.folder)))
        files = {}
        for path in sorted(self.folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                files.setdefault(_same_form(path.stem), []).append(path)
        wanted = [_same_form(self._stems[i] + self.suffix) for i in sample_ids]
        missing = [stem for stem in wanted if stem not in files]
        if missing:
            raise FileNotFoundError(
                f"{self.folder} must hold a mask for each image asked, got none for {missing}."
            )
        for stem in wanted:
            if len(files[stem]) > 1:
                both = [path.name for path in files[stem]]
                raise ValueError(message(f"the mask of {stem!r}", "one file", both))
        masks = list(MaskFiles([files[stem][0] for stem in wanted], self.mapping))
        if regions is not None:
            masks = [regions.restrict(i, m) for i, m in zip(sample_ids, masks, strict=True)]
        return stack(masks)


def _asked(sample_ids, regions):
    """Ids and regions, of ids with or without regions, or of regions alone."""
    if isinstance(sample_ids, Regions):
        if regions is not None and regions is not sample_ids:
            raise TypeError(message("regions", "left out where sample_ids are Regions", regions))
        return sample_ids.sample_ids, sample_ids
    if regions is not None and not isinstance(regions, Regions):
        raise TypeError(message("regions", "Regions or None", regions))
    return sample_ids, regions


def _check_ids(sample_ids, n_samples):
    ids = np.asarray(sample_ids)
    if ids.ndim != 1:
        raise ValueError(message("sample_ids", "one row of ids", sample_ids))
    if not len(ids):
        raise ValueError(message("sample_ids", "at least one id", sample_ids))
    if not np.issubdtype(ids.dtype, np.integer):
        raise TypeError(message("sample_ids", "integers", sample_ids))
    unknown = ids[(ids < 0) | (ids >= n_samples)]
    if len(unknown):
        raise ValueError(message("sample_ids", f"in [0, {n_samples - 1}]", unknown.tolist()))
    return ids.tolist()


def _same_form(name):
    """A name in one Unicode form: file systems change it."""
    return unicodedata.normalize("NFC", name)


def _stem(name):
    # `a.b` may be a stem with a dot in it or a file name; only known endings are taken off.
    path = Path(name)
    endings = {".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".npy", ".webp"}
    return path.stem if path.suffix.lower() in endings else path.name
