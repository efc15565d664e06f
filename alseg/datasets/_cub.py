"""CUB-200-2011, 200 species of birds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from alseg._types import StrPath
from alseg.datasets._folder import existing_folder, parts_of_table
from alseg.datasets._folds import N_FOLDS, split_train
from alseg.validation import check_number, message


def load_cub(root: StrPath, fold: int | None = 0) -> Any:
    """Load CUB-200-2011 with its segmentations [1]_.

    `root` is the official folder ``CUB_200_2011`` (``images.txt``, ``image_class_labels.txt``,
    ``classes.txt``, ``train_test_split.txt``, ``images/``), or the one that holds it; the
    archive of ``segmentations/`` is unpacked inside or beside it. Files are read when needed.

    Parameters
    ----------
    root : str or Path
    fold : int in [0, 4] or None, default=0
        The official 5994 training images are split 80/20 per class into train and valid by
        `class_folds`: 4794 + 1200 (fold 4: 4800 + 1194), as published [2]_. None keeps them
        together.

    Returns
    -------
    cub : Parts
        ``train``, ``valid``, ``test`` and ``all``. ``labels`` are the classes' names
        ("001.Black_footed_Albatross"), ``masks`` 1 where the drawn mask is above 255 / 2.

    Raises
    ------
    FileNotFoundError
        If a list, an image or a mask does not exist.
    ValueError
        If the lists do not agree.

    References
    ----------
    .. [1] Wah et al. 2011, CNS-TR-2011-001; segmentations: Farrell et al.
    .. [2] Belharbi et al. 2021, arXiv:2010.04889.

    Examples
    --------
    ::

        cub = load_cub("~/data/CUB_200_2011")
        cub.train
        # Dataset('cub.train': 4794 images, 200 classes, 4794 masks)
    """
    root = existing_folder(root)
    if fold is not None:
        check_number("fold", fold, low=0, high=N_FOLDS - 1, integer=True)
    if not (root / "images.txt").is_file() and (root / "CUB_200_2011" / "images.txt").is_file():
        root = root / "CUB_200_2011"
    images = _read_list(root / "images.txt")
    class_of = _read_list(root / "image_class_labels.txt")
    classes = _read_list(root / "classes.txt")
    is_train = _read_list(root / "train_test_split.txt")
    for file, listed in (("image_class_labels.txt", class_of), ("train_test_split.txt", is_train)):
        if listed.keys() != images.keys():
            odd = sorted(listed.keys() ^ images.keys())[0]
            raise ValueError(
                f"{str(root / file)!r} and images.txt must list the same images, but image "
                f"{odd!r} stands in one only."
            )
    unnamed = sorted(set(class_of.values()) - classes.keys())
    if unnamed:
        raise ValueError(f"{str(root / 'classes.txt')!r} does not name the class {unnamed[0]!r}.")
    segmentations = next(
        (f for f in (root / "segmentations", root.parent / "segmentations") if f.is_dir()), None
    )
    if segmentations is None:
        raise FileNotFoundError(
            f"There is no folder 'segmentations' in or beside {str(root)!r}. "
            "It is an archive of its own on the data set's page."
        )
    paths = [images[number] for number in images]
    table: dict[str, Any] = {
        "id": np.array([Path(path).stem for path in paths], dtype=object),
        "image": np.array([str(root / "images" / path) for path in paths], dtype=object),
        "mask": np.array(
            [str(segmentations / Path(path).with_suffix(".png")) for path in paths], dtype=object
        ),
        "label": np.array([classes[class_of[number]] for number in images], dtype=object),
        "split": np.array(
            ["train" if is_train[number] == "1" else "test" for number in images], dtype=object
        ),
        "group": None,
    }
    missing = [f for column in ("image", "mask") for f in table[column] if not Path(f).is_file()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} files do not exist, first {missing[0]!r}.")
    if fold is not None:
        table["split"] = split_train(table["split"], table["label"].astype(str), fold)
    return parts_of_table(table, "cub", "half", published=True)


def _read_list(path):
    """A file of lines "number value" as a dict, in its order."""
    if not path.is_file():
        raise FileNotFoundError(
            message("root", f"the folder CUB_200_2011 with {path.name!r}", str(path.parent))
        )
    listed = {}
    for line_number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        number, _, value = line.strip().partition(" ")
        if not value:
            raise ValueError(
                f"{str(path)!r} must have two words a line, got {line!r} in line {line_number}."
            )
        listed[number] = value.strip()
    return listed
