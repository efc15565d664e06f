"""A folder of one's own: `images/<class>/*` and `masks/*`, or a CSV manifest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from alseg._types import Function, StrPath
from alseg.datasets._dataset import Dataset, make_parts
from alseg.datasets._folds import split_train
from alseg.datasets._layout import read_layout
from alseg.datasets._manifest import read_manifest
from alseg.images import MASK_MAPPINGS, ImageFiles, MaskCoding, MaskFiles, decide_coding
from alseg.validation import check_number, check_option, message


def load_folder(
    root: StrPath,
    fold: int | str | None = None,
    *,
    mask_mapping: Any = "auto",
    missing_value: int | None = None,
    mask_suffix: str | None = None,
    resize_masks: bool = False,
    name: str | None = None,
    progress: Function | None = None,
) -> Any:
    """Load images, class labels and masks from a folder or a CSV manifest.

    Either ``root/manifest.csv`` (or `root` itself, if it is a CSV file) has a row an image, with
    the columns ``image`` and, each if there is one, ``mask``, ``label``, ``split``, ``group`` (or
    ``patient``), ``fold0``, ``fold1``, ... or ``fold``; paths are relative to the manifest, an
    empty mask is none, and an image with an empty label, or without the column, has no class. Or
    the layout says it: ``root/images/<class>/*``, in folders within or not (an image in
    ``root/images/`` itself has no class), with masks of the same stem in ``root/masks/<class>/*``
    or ``root/masks/*``. Without ``images/`` the folder itself is taken for it, where it holds
    images or folders of them. Files are read when needed.

    Parameters
    ----------
    root : str or Path
        ``~`` is expanded.
    fold : int, str or None, default=None
        None splits by the column ``split``. An integer k takes the column ``fold<k>`` (the part
        of each image) if there is one; else, if there is a column ``fold`` of integers, images
        with k in it become ``valid``; else fold k of ``train`` (of everything if there is no
        ``split``) is cut out by `class_folds`, groups kept whole. A string names a column.
    mask_mapping : {"auto", None, "nonzero", "half", "binary"} or MaskCoding, default="auto"
        What becomes of mask values, see `alseg.images.read_mask`. "auto" looks at all masks and
        decides once for all, see `alseg.images.decide_coding`; what it decided is
        ``data.all.masks.mapping``, which may be given here the next time.
    missing_value : int or None, default=None
        Value of pixels that are not annotated, often 255. They become `MISSING`.
    mask_suffix : str or None, default=None
        What masks have in their names in addition: with "_mask" ``x_mask.png`` is the mask of
        ``x``, in ``masks/`` or beside it, and ``x_mask_1.png``, ``x_mask_2.png`` are more of it:
        foreground is what any of them says. With "" these are ``x.png``, ``x_1.png``.
    resize_masks : bool, default=False
        Whether masks at twice, half or another whole ratio of their image's size are brought to it
        by nearest neighbour.
    name : str or None, default=None
        Name of the data set; None takes the folder's.
    progress : callable or None, default=None
        Called as ``progress(done, total)`` while masks are looked at.

    Returns
    -------
    data : Parts
        A `Dataset` for each part, by its name, and ``all``: ``data.train``, ``data["testA"]``.
        ``groups`` are set if there is such a column. ``data.skipped`` names the files that are no
        images, ``data.describe()`` says in words what was found. ``ids`` are the stems of the
        files, or as much of their paths as tells them apart.

    Raises
    ------
    FileNotFoundError
        If the folder, or a file that the manifest names, does not exist.
    ValueError
        If a mask fits no image, a column is missing, a row of the manifest is longer or shorter
        than its header, an image stands twice, or a name is ambiguous; of a manifest the line is
        named. If masks contradict one another, or what they mean is not clear.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for label in ("cat", "dog"):
    ...         Path(folder, "images", label).mkdir(parents=True)
    ...         Image.new("RGB", (8, 8)).save(f"{folder}/images/{label}/one.png")
    ...     data = load_folder(folder, name="pets")
    >>> data.all
    Dataset('pets': 2 images, 2 classes, 0 masks)
    """
    root = existing_folder(root, or_file=True)
    if not (mask_mapping is None or isinstance(mask_mapping, MaskCoding)):
        check_option("mask_mapping", mask_mapping, ("auto", *MASK_MAPPINGS))
    if missing_value is not None:
        check_number("missing_value", missing_value, -1, 2**16 - 1, integer=True)
    skipped, n_files = [], None
    if root.is_file():
        table = read_manifest(root)
        name = root.parent.name if name is None else name
    elif (root / "manifest.csv").is_file():
        table = read_manifest(root / "manifest.csv")
    else:
        table, skipped, n_files = read_layout(root, mask_suffix)
    if fold is not None:
        table["split"] = _split_of_fold(table, fold)
    coding = decide_coding(table["mask"], mask_mapping, missing_value, progress=progress)
    name = root.name if name is None else name
    return parts_of_table(table, name, coding, resize_masks, skipped, n_files)


def existing_folder(root: StrPath, or_file: bool = False) -> Path:
    """`root` as an expanded Path, or a FileNotFoundError that names it."""
    if not isinstance(root, (str, os.PathLike)):
        raise TypeError(message("root", "a string or a Path", root))
    path = Path(root).expanduser()
    if path.is_dir() or (or_file and path.is_file()):
        return path
    raise FileNotFoundError(message("root", "an existing folder", str(path)))


def parts_of_table(
    table: Any,
    name: str,
    mask_mapping: Any,
    resize_masks: Any = False,
    skipped: Any = (),
    n_files: Any = None,
    published: Any = False,
) -> Any:
    """The parts that the columns of a manifest describe; `published` is said by their loaders."""
    masks = MaskFiles(table["mask"], mask_mapping, table["image"] if resize_masks else None)
    data = Dataset(
        images=ImageFiles(table["image"]),
        labels=_labels(table),
        masks=None if all(path is None for path in masks.paths) else masks,
        instances=MaskFiles(table["instances"]) if "instances" in table else None,
        groups=None if table["group"] is None else table["group"].astype(str),
        ids=table["id"],
        name=name,
        subsets=table["subset"].astype(str) if "subset" in table else None,
    )
    return make_parts(data, table["split"], name, skipped, n_files, published)


def _split_of_fold(table, fold):
    """The split that `fold` asks for: a column of parts, of fold numbers, or the rule."""
    if isinstance(fold, str):
        if fold not in table or fold in ("image", "mask", "id"):
            columns = [c for c in table if c.startswith(("fold", "split"))]
            raise ValueError(message("fold", f"a column of the manifest ({columns})", fold))
        return table[fold]
    if f"fold{fold}" in table:
        return table[f"fold{fold}"]
    n_folds = sum(column.startswith("fold") and column[4:].isdigit() for column in table)
    if n_folds:
        raise ValueError(message("fold", f"in [0, {n_folds - 1}] (the manifest's columns)", fold))
    split = table["split"]
    if (split == "").all():
        split = np.full(len(split), "train", dtype=object)
    if "fold" in table:
        chosen = table["fold"] == str(fold)
        if not chosen.any():
            known = sorted(set(table["fold"]))
            raise ValueError(message("fold", f"a value of the column 'fold' ({known})", fold))
        return np.where(chosen, "valid", split)
    return split_train(split, _labels(table), fold, table["group"])


def _labels(table):
    """Strings, or objects where some are None: that image has no class."""
    labels = table["label"]
    return labels if any(label is None for label in labels) else labels.astype(str)
