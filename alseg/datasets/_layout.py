"""Folders without a manifest: classes and masks from the layout `images/<class>/*`, `masks/*`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from alseg.datasets._folds import natural_key
from alseg.datasets._names import (
    is_mask_name,
    match_names,
    safe_ids,
    safe_part,
    safe_parts,
    without_suffix,
)
from alseg.images import IMAGE_SUFFIXES, is_image_name
from alseg.validation import message

_JUNK = {"thumbs.db", "desktop.ini"}  # of file managers, like what is hidden
_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation", "testa", "testb"}
_NO_CLASSES = {
    "mask",
    "label",
    "labels",
    "annotation",
    "annotations",
    "gt",
    "ground_truth",
    "groundtruth",
    "segmentation",
    "segmentations",
}


def image_files(folder: Path) -> Any:
    """Image files of a folder, in natural order; hidden files and other suffixes are left out."""
    files = [
        file
        for file in folder.iterdir()
        if is_image_name(file.name) and not file.name.startswith(".") and file.is_file()
    ]
    return sorted(files, key=lambda file: _order(file.name))


def files_under(folder: Path) -> Any:
    """Files of a folder and of the folders in it: images, and others.

    What is hidden, and what file managers leave behind, is in neither. Links to folders are
    followed, each folder once.

    Returns
    -------
    images, others : list of str
        Paths with ``/`` relative to `folder`; in natural order, of each folder the files first.
    """
    images, others, seen = [], [], set()
    for where, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted((name for name in folders if name[0] != "."), key=_order)
        above = os.path.relpath(where, folder).replace(os.sep, "/") + "/"
        above = "" if above == "./" else above
        for name in sorted(names, key=_order):
            if name[0] != "." and name.lower() not in _JUNK:
                (images if is_image_name(name) else others).append(above + name)
    return images, others


def _raise(error):
    raise error


def _order(name):
    return natural_key(name), name


def read_layout(root: Path, mask_suffix: Any = None) -> Any:
    """The columns of a manifest from `images/<class>/*` and `masks/`, and what was found.

    Without `images/` the folder itself is taken for it, where that is clear.

    Returns
    -------
    table : dict of str -> ndarray of shape (n,)
        As `read_manifest` gives it; `mask` holds a path, None, or a tuple of paths.
    skipped : list of str
        Files that are not read, relative to `root`.
    n_files : int
    """
    folder, prefix = root / "images", "images/"
    if not folder.is_dir():
        folder, prefix = root, ""
        _check_bare(root)
    found, others = files_under(folder)
    if folder == root:
        found, others = (
            [name for name in names if not name.startswith("masks/")] for names in (found, others)
        )
    names = [name for name in found if not is_mask_name(_stem(name), mask_suffix)]
    beside = [name for name in found if is_mask_name(_stem(name), mask_suffix)]
    if not names:
        got = f"{len(others)} other files" if others else "none"
        raise ValueError(
            f"{str(folder)!r} must hold images ({', '.join(IMAGE_SUFFIXES)}), got {got}."
        )
    loose = [name for name in names if "/" not in name]
    if folder == root and loose and len(loose) < len(names):
        inner = next(name for name in names if "/" in name)
        remedy = "Put them into images/, where a loose one is an image without a class."
        raise ValueError(
            f"{str(folder)!r} must hold folders of classes or images, got both: {inner!r} and "
            f"{loose[0]!r}. {remedy}"
        )
    # Masks tell images apart by their whole path, whatever their suffix.
    keys = ["/".join(safe_parts(without_suffix(name))) for name in names]
    _check_different(folder, names, keys)
    table = {
        "image": np.array([os.path.join(folder, name) for name in names], dtype=object),
        "mask": np.full(len(names), None, dtype=object),
        "label": np.array([_class_of(name) for name in names], dtype=object),
        "split": np.full(len(names), "", dtype=object),
        "group": None,
        "id": np.array(safe_ids(names), dtype=object),
    }
    skipped, aside = [prefix + name for name in others], []
    if (root / "masks").is_dir():
        aside, others = files_under(root / "masks")
        skipped += [f"masks/{name}" for name in others]
    _match(table, keys, [(beside, folder), (aside, root / "masks")], mask_suffix)
    if not aside and not beside:  # where somebody may have meant masks to be found
        skipped += [f"{name}/" for name in sorted(_NO_CLASSES) if (root / name).is_dir()]
    return table, skipped, len(found) + len(aside) + len(skipped)


def _stem(name):
    return without_suffix(name.rpartition("/")[2])


def _class_of(name):
    """The class of an image: the first folder, in a form that can be written down; else None."""
    return safe_part(name.partition("/")[0]) if "/" in name else None


def _match(table, keys, sources, mask_suffix):
    matched = {}
    for names, folder in sources:
        files = [folder / name for name in names]
        for i, fitting in match_names(files, keys, folder, mask_suffix).items():
            if i in matched:
                raise ValueError(
                    f"Two masks fit one image: {str(matched[i][0])!r} and {str(fitting[0])!r}. "
                    "Keep one."
                )
            matched[i] = fitting
    for i, fitting in matched.items():
        paths = tuple(str(file) for file in fitting)
        table["mask"][i] = paths if len(paths) > 1 else paths[0]


def _check_different(folder, names, keys):
    first = {}
    for name, key in zip(names, keys):
        other = first.setdefault(key, name)
        if other is not name:
            files = [os.path.join(folder, one) for one in (other, name)]
            # in Unicode form alone: they look the same
            alike = os.path.splitext(other)[1] == os.path.splitext(name)[1]
            shown = [ascii(file) if alike else repr(file) for file in files]
            raise ValueError(
                f"Images must differ in their stems, got {shown[0]} and {shown[1]}. Rename one."
            )


def _check_bare(root):
    """Refuse a folder without `images/` that does not say what it holds."""
    inner = [f for f in root.iterdir() if f.is_dir() and not f.name.startswith(".")]
    holding = sorted(f.name for f in inner if f.name != "masks" and files_under(f)[0])
    loose = image_files(root)
    rule = "a folder with images/ or manifest.csv"
    if (root / "state.json").is_file():
        remedy = "It is a state folder of alseg; give the folder of images."
        raise FileNotFoundError(message("root", rule, str(root), remedy))
    if not holding and not loose:
        remedy = "Put the images into images/<class>/, or write a manifest.csv."
        raise FileNotFoundError(message("root", rule, str(root), remedy))
    parts = [name for name in holding if name.lower() in _PARTS]
    unclear = [name for name in holding if name.lower() in _NO_CLASSES]
    if parts:
        remedy = "Name the parts in the column 'split' of a manifest.csv."
        raise ValueError(message("root", rule, f"{root} with the folder {parts[0]}/", remedy))
    if unclear:
        remedy = "Put images into images/<class>/ and masks into masks/."
        raise ValueError(message("root", rule, f"{root} with the folder {unclear[0]}/", remedy))
