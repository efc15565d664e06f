"""GlaS, the colon gland set of the MICCAI 2015 contest."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from alseg._types import StrPath
from alseg.datasets._folder import existing_folder, parts_of_table
from alseg.datasets._folds import N_FOLDS, natural_key, split_train
from alseg.datasets._layout import image_files
from alseg.datasets._manifest import read_manifest
from alseg.validation import check_number, message

_ORDER = {"train": 0, "testA": 1, "testB": 2}


def load_glas(root: StrPath, fold: int | None = 0) -> Any:
    """Load GlaS (Warwick-QU): H&E images of colon glands, benign or malignant [1]_.

    `root` is the official folder (``train_1.bmp``, ``train_1_anno.bmp``, ``testA_1.bmp``, ...,
    ``Grade.csv``), or a copy of other file type with the same names, or one with a
    ``manifest.csv`` (columns ``image,mask,label,split``, ``patient`` and ``fold0`` ... ``fold4``
    if there are). Files are read when needed.

    Parameters
    ----------
    root : str or Path
    fold : int in [0, 4] or None, default=0
        Which of the five published splits of the 85 training images into train and valid [2]_;
        67 + 18, per class 29 + 38 and 8 + 10 (fold 4: 72 + 13). The manifest's columns are used
        if it has them. Else `class_folds` makes them: the published rule and counts, but not the
        published members, whose shuffle is not reproduced by seed 0 of Python's or numpy's
        generator. None keeps all 85 in train, without a valid.

    Returns
    -------
    glas : Parts
        ``train``, ``valid``, ``test`` (testA and testB, 80 images) and ``all``. ``labels`` are
        "benign" and "malignant", ``masks`` 1 in glands, ``instances`` the glands' ids, ``groups``
        the patients: 11 of 16 stand in both train and test, as published, which experiments
        report; ``subsets`` "train", "testA" or "testB".

    Raises
    ------
    FileNotFoundError
        If the folder, ``Grade.csv`` or an image or mask that it names does not exist.

    References
    ----------
    .. [1] Sirinukunwattana et al. 2017, Medical Image Analysis 35, 489-502.
    .. [2] Belharbi et al. 2021, arXiv:2010.04889.

    Examples
    --------
    ::

        glas = load_glas("~/data/glas", fold=0)
        glas.train
        # Dataset('glas.train': 67 images, 2 classes, 67 masks)
    """
    root = existing_folder(root)
    if fold is not None:
        check_number("fold", fold, low=0, high=N_FOLDS - 1, integer=True)
    table: Any = None
    if (root / "manifest.csv").is_file():
        table = read_manifest(root / "manifest.csv")
    else:
        # The archive unpacks into a folder of its own.
        for folder in (root, *sorted(f for f in root.iterdir() if f.is_dir())):
            if (folder / "Grade.csv").is_file():
                table = _read_official(folder)
                break
    if table is None:
        raise FileNotFoundError(
            message("root", "a folder with Grade.csv (official) or manifest.csv", str(root))
        )
    order = sorted(
        range(len(table["id"])),
        key=lambda i: (_ORDER.get(table["split"][i], 3), natural_key(table["id"][i])),
    )
    table = {key: None if column is None else column[order] for key, column in table.items()}
    table["instances"] = table["mask"]
    part = np.where(table["split"] == "train", "train", "test").astype(object)
    if fold is not None and f"fold{fold}" in table:
        part = table[f"fold{fold}"]
    elif fold is not None:
        # By class, not by patient: a choice of the published protocol.
        part = split_train(part, table["label"].astype(str), fold)
    table["split"] = part
    table["subset"] = np.array([str(name).split("_")[0] for name in table["id"]], dtype=object)
    return parts_of_table(table, "glas", "nonzero", published=True)


def _read_official(folder):
    """The columns of a manifest from Grade.csv and the files beside it."""
    # The file has bare carriage returns as line ends, and spaces after the commas.
    lines = re.split(r"[\r\n]+", (folder / "Grade.csv").read_text(encoding="utf-8-sig").strip())
    rows = [[cell.strip() for cell in line.split(",")] for line in lines]
    header = [cell.lower() for cell in rows[0]]
    wanted = {"id": "name", "group": "patient", "label": "glas"}
    columns = {}
    for key, word in wanted.items():
        fits = [i for i, cell in enumerate(header) if word in cell]
        if not fits:
            raise ValueError(
                message(f"{str(folder / 'Grade.csv')!r}", f"a CSV with a column {word!r}", rows[0])
            )
        columns[key] = fits[0]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) <= max(columns.values()):
            raise ValueError(
                f"{str(folder / 'Grade.csv')!r} has too few cells in line {number}: {row}."
            )
    table = {
        key: np.array([row[i] for row in rows[1:]], dtype=object) for key, i in columns.items()
    }
    files = {file.stem: str(file) for file in image_files(folder)}
    wanted_files = [name + end for name in table["id"] for end in ("", "_anno")]
    missing = [name for name in wanted_files if name not in files]
    if missing:
        shown = ", ".join(map(repr, missing[:10]))
        raise FileNotFoundError(
            f"{str(folder / 'Grade.csv')!r} names {len(missing)} images or masks that are not "
            f"beside it: {shown}."
        )
    table["image"] = np.array([files[name] for name in table["id"]], dtype=object)
    table["mask"] = np.array([files[name + "_anno"] for name in table["id"]], dtype=object)
    table["split"] = np.array([name.split("_")[0] for name in table["id"]], dtype=object)
    return table
