"""A folder of one's own: `images/<class>/*` and `masks/*`, or a CSV manifest."""

import os
from pathlib import Path

import numpy as np

from alseg.datasets._dataset import Dataset, make_parts
from alseg.datasets._folds import split_train
from alseg.datasets._layout import read_layout
from alseg.datasets._manifest import read_manifest
from alseg.images import MASK_MAPPINGS, ImageFiles, MaskFiles, read_mask
from alseg.validation import check_option, message

_LOSSY = (".jpg", ".jpeg")
_PEEKED = 8  # masks that are looked at to see how they are coded


def load_folder(root, fold=None, *, mask_mapping="auto", name=None):
    """Load images, class labels and masks from a folder or a CSV manifest.

    Either ``root/manifest.csv`` (or `root` itself, if it is a CSV file) has a row an image, with
    the columns ``image`` and, each if there is one, ``mask``, ``label``, ``split``, ``group`` (or
    ``patient``), ``fold0``, ``fold1``, ... or ``fold``; paths are relative to the manifest, an
    empty mask is none. Or the layout says it: ``root/images/<class>/*``, in folders within or not
    (or ``root/images/*`` for one class), with masks of the same stem in ``root/masks/<class>/*``
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
    mask_mapping : {"auto", None, "nonzero", "half", "binary"}, default="auto"
        What becomes of mask values, see `alseg.images.read_mask`. "auto" looks at some of the
        masks: 0/255 becomes 0/1 ("binary"), JPEG is cut at one half, other values stay.
    name : str or None, default=None
        Name of the data set; None takes the folder's.

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
        than its header, an image stands twice, or a name is ambiguous. Of a manifest the line is
        named.

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
    if mask_mapping not in (None, "auto"):
        check_option("mask_mapping", mask_mapping, ("auto", *MASK_MAPPINGS))
    skipped, n_files = [], None
    if root.is_file():
        table = read_manifest(root)
        name = root.parent.name if name is None else name
    elif (root / "manifest.csv").is_file():
        table = read_manifest(root / "manifest.csv")
    else:
        table, skipped, n_files = read_layout(root)
    if fold is not None:
        table["split"] = _split_of_fold(table, fold)
    if mask_mapping == "auto":
        mask_mapping = _guess_mapping(table["mask"])
    name = root.name if name is None else name
    return parts_of_table(table, name, mask_mapping, skipped, n_files)


def existing_folder(root, or_file=False):
    """`root` as an expanded Path, or a FileNotFoundError that names it."""
    if not isinstance(root, (str, os.PathLike)):
        raise TypeError(message("root", "a string or a Path", root))
    path = Path(root).expanduser()
    if path.is_dir() or (or_file and path.is_file()):
        return path
    raise FileNotFoundError(message("root", "an existing folder", str(path)))


def parts_of_table(table, name, mask_mapping, skipped=(), n_files=None):
    """The parts that the columns of a manifest describe."""
    masks = MaskFiles(table["mask"], mask_mapping)
    data = Dataset(
        images=ImageFiles(table["image"]),
        labels=table["label"].astype(str),
        masks=None if all(path is None for path in masks.paths) else masks,
        instances=MaskFiles(table["instances"]) if "instances" in table else None,
        groups=None if table["group"] is None else table["group"].astype(str),
        ids=table["id"],
        name=name,
        subsets=table["subset"].astype(str) if "subset" in table else None,
    )
    return make_parts(data, table["split"], name, skipped, n_files)


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
    return split_train(split, table["label"].astype(str), fold, table["group"])


def _guess_mapping(paths):
    """How the masks are coded, from the files' suffixes and a look at a few of them."""
    paths = [path for path in paths if path is not None]
    if any(path.lower().endswith(_LOSSY) for path in paths):
        return "half"
    step = max(1, len(paths) // _PEEKED)
    values = set()
    for path in paths[::step][:_PEEKED]:
        try:
            values.update(np.unique(read_mask(path)).tolist())
        except ValueError:
            continue  # a bad file is named when it is read, or by check_pairs
    return "binary" if 255 in values and values <= {0, 1, 255} else None
