"""ISIC 2017, dermoscopic images of skin lesions."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import StrPath
from alseg.datasets._folder import existing_folder, parts_of_table
from alseg.datasets._layout import image_files
from alseg.datasets._manifest import read_manifest
from alseg.validation import message

_PARTS = {"train": "Training", "valid": "Validation", "test": "Test_v2"}
_CLASSES = ("melanoma", "seborrheic_keratosis")


def load_isic(root: StrPath) -> Any:
    """Load ISIC 2017: skin lesions, nevus, melanoma or seborrheic keratosis [1]_.

    `root` holds the unpacked archives of the challenge (``ISIC-2017_Training_Data``,
    ``ISIC-2017_Training_Part1_GroundTruth``, ``ISIC-2017_Training_Part3_GroundTruth.csv``, and
    the same with ``Validation`` and ``Test_v2``, each if it is there), or a copy with a
    ``manifest.csv`` (columns ``image,mask,label,split``; a split ``val`` is called ``valid``
    here too). Files are read when needed.

    Parameters
    ----------
    root : str or Path

    Returns
    -------
    isic : Parts
        ``train``, ``valid``, ``test`` as far as they are there, and ``all``. ``labels`` are
        "melanoma", "nevus" and "seborrheic_keratosis", ``masks`` 1 in the lesion.

    Raises
    ------
    FileNotFoundError
        If there is no such part, or a file of it is missing.

    References
    ----------
    .. [1] Codella et al. 2018, arXiv:1710.05006.

    Examples
    --------
    ::

        isic = load_isic("~/data/isic2017")
        isic.valid
        # Dataset('isic.valid': 150 images, 3 classes, 150 masks)
    """
    root = existing_folder(root)
    if (root / "manifest.csv").is_file():
        table = read_manifest(root / "manifest.csv")
        table["split"] = np.where(table["split"] == "val", "valid", table["split"])
        return parts_of_table(table, "isic", "half", published=True)
    rows = []
    for part, word in _PARTS.items():
        if (root / f"ISIC-2017_{word}_Data").is_dir():
            rows += _read_part(root, part, word)
    if not rows:
        raise FileNotFoundError(
            message("root", "a folder with ISIC-2017_Training_Data or manifest.csv", str(root))
        )
    columns = np.array(rows, dtype=object).T
    table = dict(zip(("id", "image", "mask", "label", "split"), columns), group=None)
    return parts_of_table(table, "isic", "half", published=True)


def _read_part(root, part, word):
    """Rows (id, image, mask, label, part) of one of the challenge's three parts."""
    images = root / f"ISIC-2017_{word}_Data"
    masks = root / f"ISIC-2017_{word}_Part1_GroundTruth"
    truth = root / f"ISIC-2017_{word}_Part3_GroundTruth.csv"
    if not truth.is_file():
        raise FileNotFoundError(f"{str(truth)!r} does not exist: it says the images' classes.")
    label_of = _read_labels(truth)
    rows = []
    for file in image_files(images):
        if file.stem.endswith("_superpixels"):
            continue
        if file.stem not in label_of:
            raise ValueError(f"{str(truth)!r} has no row for the image {str(file)!r}.")
        mask = masks / f"{file.stem}_segmentation.png"
        if masks.is_dir() and not mask.is_file():
            raise FileNotFoundError(f"{str(mask)!r} does not exist: the mask of {str(file)!r}.")
        rows.append(
            (file.stem, str(file), str(mask) if masks.is_dir() else None, label_of[file.stem], part)
        )
    if not rows:
        raise FileNotFoundError(f"{str(images)!r} holds no images.")
    return rows


def _read_labels(path):
    """Image id to class name, from the columns melanoma and seborrheic_keratosis (0 or 1)."""
    import pandas as pd

    frame = pd.read_csv(path)
    for column in ("image_id", *_CLASSES):
        if column not in frame:
            raise ValueError(
                message(f"{str(path)!r}", f"a CSV with a column {column!r}", list(frame.columns))
            )
    labels = np.full(len(frame), "nevus", dtype=object)
    for column in _CLASSES:
        labels[frame[column].to_numpy(float) > 0.5] = column
    return dict(zip(frame["image_id"].astype(str).str.strip(), labels))
