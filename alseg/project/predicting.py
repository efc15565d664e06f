"""Predicted masks and labels of a folder of images, written to a folder of their own."""

import json
import os
from contextlib import closing
from pathlib import Path, PurePosixPath

from alseg.files import (
    AppendOnly,
    OwnFolder,
    csv_text,
    digest_of,
    file_digest,
    file_name,
    file_names,
    jsonable,
)
from alseg.images import ImageFiles, image_size
from alseg.project.asking import fitted
from alseg.project.folders import image_files_under
from alseg.project.mask_files import mask_bytes
from alseg.project.state import ProjectError, check_apart

LABELS = "labels.csv"
_DONE = ".alseg-predicted"
_CHUNK = (
    8  # images predicted at once; fewer of large ones, whose probabilities are at their own size
)
_PIXELS = 4e6


def predict(project, source, out, overwrite=False, progress=None, say=None):
    """Write a predicted mask for each image, and `labels.csv` with the classes.

    Given again with the same input it goes on where it was. Files that cannot be read are left out
    and named at the end.

    Parameters
    ----------
    project : Project
    source : str or Path
        An image file, or a folder with images, searched with its subfolders; of a folder as
        `alseg.datasets.load_folder` takes it, its images and not its masks.
    out : str or Path
        Folder for ``<stem>.png``, in the subfolders of `source`, and ``labels.csv``.
    overwrite : bool, default=False
        Whether predictions of an earlier model may be replaced. Files that somebody else wrote or
        has changed since never are.
    progress : callable or None, default=None
        Called with the number of images done so far and their total.
    say : callable or None, default=None
        Told in a line what is being done.

    Returns
    -------
    found : dict
        ``n``, images that have a mask now; ``bad``, why others have none, by name; ``skipped``,
        names of files that are no images; ``kept``, images whose predicted mask somebody has
        changed since.

    Raises
    ------
    ProjectError
        If a file is in the way, or two images would have one mask.
    """
    source, out = Path(source).expanduser(), Path(out)
    check_apart(out, Path(project.state["data"]))
    suffix = project.option("mask_suffix")
    files, skipped = _images_of(source, suffix, leave_out=(out, project.folder))
    root = source if source.is_dir() else source.parent
    files = {_name(file, root): file for file in files}
    targets = _targets(list(files))
    bad = _unreadable(files)
    with OwnFolder(out) as folder, closing(AppendOnly(folder.path / _DONE)) as record:
        record.end_line()
        done = _rows(record)
        kept = _check_room(folder, files, targets, done)
        model, key = fitted(project, project.known_masks(), say)
        key = f"{key}-{model.threshold_:g}"
        todo = _still_to_do(folder, files, targets, done, kept, bad, key, overwrite)
        _predict_all(
            folder, record, model, key, todo, targets, bad, progress, len(files) - len(bad)
        )
        rows = _rows(record)
        folder.write(LABELS, _labels_csv(model, files, rows, bad))
        folder.sweep()
    return {"n": len(files) - len(bad), "bad": bad, "skipped": skipped, "kept": kept}


# -- which images ----------------------------------------------------------------------------------


def _images_of(source, mask_suffix=None, leave_out=()):
    """Image files, and names of files that are none; what lies in folders of ours is neither."""
    from alseg.datasets import is_mask_name, load_folder

    if not source.is_dir():
        if not source.exists():
            raise FileNotFoundError(f"{source} is not there: name an image or a folder of images.")
        return [source], []
    if (source / "manifest.csv").is_file() or (source / "images").is_dir():
        # Said, so that nobody looks at masks: they play no part here.
        parts = load_folder(source, mask_mapping="nonzero", mask_suffix=mask_suffix)
        return [Path(path) for path in parts.all.images.paths], list(parts.skipped or ())
    files, skipped = image_files_under(source, leave_out)
    return [file for file in files if not is_mask_name(file.stem, mask_suffix)], skipped


def _name(file, root):
    """How an image is called in labels.csv: its path below the folder."""
    try:
        return file.relative_to(root).as_posix()
    except ValueError:  # a manifest names it from elsewhere
        return Path(os.path.abspath(file)).as_posix()


def _targets(names):
    """Where each image's mask goes, by the image's name: paths with ``/`` in the folder."""
    folders = {}
    for name in names:
        folders.setdefault(PurePosixPath(name).parent, []).append(name)
    targets = {}
    for parent, inside in folders.items():
        stems = [PurePosixPath(name).stem for name in inside]
        seen = {}
        for name, stem in zip(inside, stems):
            if stem in seen:
                raise ProjectError(
                    f"Two images would have one mask: {seen[stem]!r} and {name!r}. Rename one."
                )
            seen[stem] = name
        above = [file_name(part) for part in parent.parts if part not in ("/", ".")]
        for name, file in zip(inside, file_names(stems, ".png")):
            targets[name] = "/".join([*above, file])
    return targets


def _unreadable(files):
    """Why files cannot be read, by name, as far as their headers show it."""
    bad = {}
    for name, file in files.items():
        try:
            image_size(file)
        except (ValueError, FileNotFoundError) as error:
            bad[name] = str(error)
    if len(bad) == len(files):
        raise ProjectError(f"None of {len(files)} images can be read. {next(iter(bad.values()))}")
    return bad


# -- what is there already -------------------------------------------------------------------------


def _rows(record):
    """Rows of images predicted earlier, by name, the last of each."""
    rows = {}
    for line in record.read().splitlines():
        try:
            row = json.loads(line)
            rows[row["image"]] = row
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # cut by a kill: that image is predicted again
    return rows


def _check_room(folder, files, targets, rows):
    """Before the fit: nothing of somebody else's may be in the way, and no name be too long.

    Returns
    -------
    kept : list of str
        Images whose predicted mask was changed since: it is the user's now, and stays.
    """
    kept = []
    for image, name in [*targets.items(), (None, LABELS)]:
        path = folder.path / name
        try:
            os.lstat(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = error.strerror or str(error)
            raise ProjectError(
                f"{path} cannot be written: {reason}. Name a shorter folder."
            ) from error
        if folder.status(name) != "foreign":
            continue
        if image not in rows:
            raise ProjectError(
                f"{path} is there already and alseg did not write it, or it was changed since: it "
                "stays as it is. Name another folder, or move it away."
            )
        kept.append(image)
    return kept


def _still_to_do(folder, files, targets, rows, kept, bad, key, overwrite):
    """Images to predict, by name: neither done with this model nor changed by somebody since."""
    todo = {}
    for name, file in files.items():
        if name in bad or name in kept:
            continue
        there = folder.status(targets[name]) != "absent"
        row = rows.get(name, {})
        if there and row.get("of") == _of(file, key):
            if row.get("sha256") == file_digest(folder.path / targets[name]):
                continue
            there = False  # killed before the new mask took the place of the old one
        if there and not overwrite:
            raise ProjectError(
                f"{folder.path / targets[name]} is there already, of another image or an earlier "
                "model. Name another folder, or --overwrite the predictions."
            )
        todo[name] = file
    return todo


def _of(file, key):
    """What a prediction is of: the image as it is now, and the model."""
    found = os.stat(file)
    return [key, found.st_size, found.st_mtime_ns]


# -- predicting ------------------------------------------------------------------------------------


def _predict_all(folder, record, model, key, todo, targets, bad, progress, total):
    """Predict a few at a time; a file that turns out to be damaged is named in `bad`."""
    names, start = list(todo), 0
    while start < len(names):
        chunk = names[start : start + _at_once(todo[names[start]])]
        for name, (mask, label, proba) in _predict_some(model, todo, chunk, bad):
            data = mask_bytes(mask, model.n_mask_classes)
            row = {
                "image": name,
                "of": _of(todo[name], key),
                "label": jsonable(label) if model.has_class_head else None,
                "proba": [round(float(value), 6) for value in proba],
                "sha256": digest_of(data),
            }
            # The row first: one without its mask is predicted again.
            record.append(json.dumps(row).encode() + b"\n", durable=False)
            folder.write(targets[name], data)
        if progress is not None:
            progress(total - len(names) + start + len(chunk), total)
        start += len(chunk)


def _at_once(file):
    """How many images of this size are predicted at once."""
    try:
        height, width = image_size(file)
    except (ValueError, FileNotFoundError):  # it was changed since; reading it says why
        return 1
    return max(1, min(_CHUNK, int(_PIXELS / (height * width))))


def _predict_some(model, todo, names, bad):
    try:
        joint = model.predict_joint(ImageFiles([todo[name] for name in names]))
    except (ValueError, FileNotFoundError) as error:
        if len(names) == 1:
            bad[names[0]] = str(error)
            return
        for name in names:
            yield from _predict_some(model, todo, [name], bad)
        return
    labels, proba = (joint.get(part, [()] * len(names)) for part in ("labels", "proba"))
    yield from zip(names, zip(joint.masks, labels, proba))


def _labels_csv(model, files, rows, bad):
    """The classes of all images, in the order in which they were found."""
    header = ["image", "label", *(f"proba_{name}" for name in model.classes_)]
    header = header if model.has_class_head else header[:1]
    table = []
    for name in files:
        if name not in bad:
            row = rows[name]
            of_classes = [row["label"], *(f"{value:.6f}" for value in row["proba"])]
            table.append([name, *of_classes][: len(header)])
    return csv_text(header, table)
