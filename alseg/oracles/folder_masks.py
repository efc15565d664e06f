"""An oracle that reads masks drawn elsewhere."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alseg._types import Array, StrPath
from alseg.images import MaskFiles, stack
from alseg.oracles.asked import asked, check_ids
from alseg.validation import message


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
    >>> import numpy as np
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
        sample_ids, regions = asked(sample_ids, regions)
        sample_ids = check_ids(sample_ids, len(self._stems))
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


def _same_form(name):
    """A name in one Unicode form: file systems change it."""
    return unicodedata.normalize("NFC", name)


def _stem(name):
    # `a.b` may be a stem with a dot in it or a file name; only known endings are taken off.
    path = Path(name)
    endings = {".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".npy", ".webp"}
    return path.stem if path.suffix.lower() in endings else path.name
