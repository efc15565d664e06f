"""A folder of one's own: `images/<class>/*` and `masks/*`, or a CSV manifest."""

import os
import re
from pathlib import Path

import numpy as np

from alseg.datasets._dataset import Dataset, make_parts
from alseg.datasets._folds import natural_key, split_train
from alseg.images import IMAGE_SUFFIXES, MASK_MAPPINGS, ImageFiles, MaskFiles, read_mask
from alseg.validation import check_option, message

_LOSSY = (".jpg", ".jpeg")
_PEEKED = 8  # masks that are looked at to see how they are coded
_LISTED = 10


def load_folder(root, fold=None, *, mask_mapping="auto", name=None):
    """Load images, class labels and masks from a folder or a CSV manifest.

    Either ``root/manifest.csv`` (or `root` itself, if it is a CSV file) has a row an image, with
    the columns ``image`` and, each if there is one, ``mask``, ``label``, ``split``, ``group`` (or
    ``patient``), ``fold0``, ``fold1``, ... or ``fold``; paths are relative to the manifest, an
    empty mask is none. Or the layout says it: ``root/images/<class>/*`` (or ``root/images/*`` for
    one class) with masks of the same stem in ``root/masks/<class>/*`` or ``root/masks/*``. Files
    are read when needed.

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
        ``groups`` are set if there is such a column.

    Raises
    ------
    FileNotFoundError
        If the folder, or a file that the manifest names, does not exist.
    ValueError
        If a mask fits no image, a column is missing, or a name is ambiguous.

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
    if root.is_file():
        table = read_manifest(root)
        name = root.parent.name if name is None else name
    elif (root / "manifest.csv").is_file():
        table = read_manifest(root / "manifest.csv")
    elif (root / "images").is_dir():
        table = _read_layout(root)
    else:
        remedy = "Put the images into images/<class>/, or write a manifest.csv."
        raise FileNotFoundError(
            message("root", "a folder with images/ or manifest.csv", str(root), remedy)
        )
    if fold is not None:
        table["split"] = _split_of_fold(table, fold)
    if mask_mapping == "auto":
        mask_mapping = _guess_mapping(table["mask"])
    return parts_of_table(table, root.name if name is None else name, mask_mapping)


def existing_folder(root, or_file=False):
    """`root` as an expanded Path, or a FileNotFoundError that names it."""
    if not isinstance(root, (str, os.PathLike)):
        raise TypeError(message("root", "a string or a Path", root))
    path = Path(root).expanduser()
    if path.is_dir() or (or_file and path.is_file()):
        return path
    raise FileNotFoundError(message("root", "an existing folder", str(path)))


def read_manifest(path):
    """A manifest as a dict of columns, each an (n,) object array of str.

    `image` and `mask` become paths (or None) beside the manifest; `id`, `label`, `split` and
    `group` are always there (`group` may be None).

    Raises
    ------
    FileNotFoundError, ValueError
        If a column or a file is missing, or an image stands twice.
    """
    import pandas as pd

    where = str(path)
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{where!r} cannot be read as CSV: {error}.") from error
    frame.columns = [str(column).strip() for column in frame.columns]
    if "image" not in frame:
        raise ValueError(message(f"{where!r}", "a CSV with a column 'image'", list(frame.columns)))
    if len(frame) == 0:
        raise ValueError(f"{where!r} has no rows.")
    table = {column: frame[column].str.strip().to_numpy(object) for column in frame.columns}
    named = table["image"]
    empty = np.flatnonzero(named == "")
    if empty.size:
        raise ValueError(f"{where!r} names no image in line {empty[0] + 2}.")
    names, counts = np.unique(named.astype(str), return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{where!r} has the image {str(names[counts > 1][0])!r} more than once.")
    table["id"] = _ids(named)
    table["image"] = _beside(path.parent, named)
    table["mask"] = _beside(path.parent, table.get("mask", np.full(len(frame), "", object)))
    missing = [
        file for column in ("image", "mask") for file in table[column]
        if file is not None and not os.path.isfile(file)
    ]
    if missing:
        shown = ", ".join(map(repr, missing[:_LISTED]))
        raise FileNotFoundError(f"{where!r} names {len(missing)} files that do not exist: {shown}.")
    if "label" not in table:
        table["label"] = np.full(len(frame), "image", dtype=object)
    unlabelled = np.flatnonzero(table["label"] == "")
    if unlabelled.size:
        remedy = "Every image needs a class label; leave the column out if there is one class."
        raise ValueError(f"{where!r} gives no label in line {unlabelled[0] + 2}. {remedy}")
    table.setdefault("split", np.full(len(frame), "", dtype=object))
    table["group"] = table.get("group", table.get("patient"))
    return table


def parts_of_table(table, name, mask_mapping):
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
    return make_parts(data, table["split"], name)


def image_files(folder):
    """Image files of a folder, in natural order; hidden files and other suffixes are left out."""
    files = [
        file for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES
        and not file.name.startswith(".")
        and file.is_file()
    ]
    return sorted(files, key=lambda file: natural_key(file.name))


def _beside(folder, names):
    paths = np.empty(len(names), dtype=object)
    for i, given in enumerate(names):
        # joining keeps what is absolute
        paths[i] = str(folder / Path(given.replace("\\", "/")).expanduser()) if given else None
    return paths


def _ids(names):
    """Stems where they tell the images apart, else paths without suffix."""
    stems = [Path(given.replace("\\", "/")).stem for given in names]
    if len(set(stems)) < len(stems):
        stems = [re.sub(r"\.[^./]*$", "", given) for given in names]
    return np.array(stems, dtype=object)


def _read_layout(root):
    """The columns of a manifest from `images/<class>/*` and `masks/`."""
    folders = sorted(
        (f for f in (root / "images").iterdir() if f.is_dir() and not f.name.startswith(".")),
        key=lambda folder: natural_key(folder.name),
    )
    loose = image_files(root / "images")
    if folders and loose:
        raise ValueError(
            f"{str(root / 'images')!r} must hold folders of classes or images, got both: "
            f"{folders[0].name!r} and {loose[0].name!r}."
        )
    found = [(file, folder.name) for folder in folders for file in image_files(folder)]
    found += [(file, "image") for file in loose]
    if not found:
        raise ValueError(
            f"{str(root / 'images')!r} must hold images ({', '.join(IMAGE_SUFFIXES)}), got none."
        )
    keys = [(label if folders else "", file.stem) for file, label in found]
    doubled = _first_double(keys)
    if doubled is not None:
        files = [str(file) for (file, _), key in zip(found, keys) if key == doubled]
        raise ValueError(f"Images must differ in their stems, got {files[0]!r} and {files[1]!r}.")
    table = {
        "image": np.array([str(file) for file, _ in found], dtype=object),
        "mask": np.full(len(found), None, dtype=object),
        "label": np.array([label for _, label in found], dtype=object),
        "split": np.full(len(found), "", dtype=object),
        "group": None,
        "id": _ids([str(file.relative_to(root / "images")) for file, _ in found]),
    }
    for i, file in _match_masks(root, keys):
        table["mask"][i] = str(file)
    return table


def _first_double(keys):
    seen = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


def _match_masks(root, keys):
    """Yield (position of the image, mask file); a mask that fits no image, or two, is an error."""
    if not (root / "masks").is_dir():
        return
    by_key = {key: i for i, key in enumerate(keys)}
    by_stem = {}
    for i, (_, stem) in enumerate(keys):
        by_stem.setdefault(stem, []).append(i)
    taken, strangers = {}, []
    folders = [folder for folder in sorted((root / "masks").iterdir()) if folder.is_dir()]
    files = [(file, by_stem.get(file.stem, [])) for file in image_files(root / "masks")]
    for folder in folders:
        for file in image_files(folder):
            # images/* without classes may still have masks in folders of classes
            fits = by_key.get((folder.name, file.stem), by_key.get(("", file.stem)))
            files.append((file, [] if fits is None else [fits]))
    for file, fits in files:
        if not fits:
            strangers.append(str(file))
        elif len(fits) > 1:
            labels = ", ".join(keys[i][0] for i in fits)
            raise ValueError(
                f"The mask {str(file)!r} fits images of several classes ({labels}). "
                "Put it into masks/<class>/."
            )
        elif fits[0] in taken:
            raise ValueError(
                f"Two masks fit one image: {taken[fits[0]]!r} and {str(file)!r}. Keep one."
            )
        else:
            taken[fits[0]] = str(file)
            yield fits[0], file
    if strangers:
        shown = ", ".join(map(repr, strangers[:_LISTED]))
        raise ValueError(
            f"{len(strangers)} masks fit no image: {shown}. A mask must have its image's stem."
        )


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
