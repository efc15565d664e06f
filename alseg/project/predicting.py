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
    file_names,
    jsonable,
)
from alseg.images import ImageFiles, image_size
from alseg.project.asking import fitted
from alseg.project.folders import image_files_under
from alseg.project.mask_files import id_bytes, mask_bytes
from alseg.project.object_files import (
    COUNTS,
    OBJECTS,
    SUFFIXES,
    id_files,
    object_tables,
    objects_of,
)
from alseg.project.state import check_apart
from alseg.project.state_file import ProjectError
from alseg.validation import check_number

LABELS = "labels.csv"
_DONE = ".alseg-predicted"
_CHUNK = (
    8  # images predicted at once; fewer of large ones, whose probabilities are at their own size
)
_PIXELS = 4e6


def predict(
    project, source, out, overwrite=False, progress=None, say=None, objects=False, min_area=0
):
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
    objects : bool, default=False
        Whether objects are told apart and counted: ``objects/<stem>.png`` holds their ids (16 bits
        a pixel, 0 is background; of more than 65 535 a TIFF file), ``objects.csv`` a row an object,
        ``counts.csv`` a row an image and class. See `JointCAMSegmenter.predict_objects`.
    min_area : int, default=0
        Objects of fewer pixels are left out.

    Returns
    -------
    found : dict
        ``n``, images that have a mask now; ``n_objects``, or None; ``bad``, why others have none,
        by name; ``skipped``, names of files that are no images; ``kept``, images whose predicted
        mask or ids somebody has changed since.

    Raises
    ------
    ProjectError
        If a file is in the way, or two images would have one mask.
    """
    check_number("min_area", min_area, 0, integer=True)
    source, out = Path(source).expanduser(), Path(out)
    check_apart(out, Path(project.state["data"]))
    suffix = project.option("mask_suffix")
    files, skipped = _images_of(source, suffix, leave_out=(out, project.folder))
    root = source if source.is_dir() else source.parent
    files = {_name(file, root): file for file in files}
    work = _Work(project, files, min_area if objects else None, overwrite)
    with OwnFolder(out) as folder, closing(AppendOnly(folder.path / _DONE)) as record:
        record.end_line()
        done = _rows(record)
        kept = _check_room(folder, work, done)
        model, key = fitted(project, project.known_masks(), say)
        work.key = f"{key}-{model.threshold_:g}"
        _predict_all(folder, record, model, work, _still_to_do(folder, work, done, kept), progress)
        rows = _rows(record)
        folder.write(LABELS, _labels_csv(model, files, rows, work.bad))
        n_objects = _write_tables(folder, work, rows, project.class_names)
        folder.sweep()
    n = len(files) - len(work.bad)
    return {"n": n, "n_objects": n_objects, "bad": work.bad, "skipped": skipped, "kept": kept}


class _Work:
    """What is to be written of which images: names of images to their files.

    Attributes
    ----------
    files, targets, ids : dict of str to Path or str
        Where an image is, where its mask goes, and its ids, without suffix.
    bad : dict of str to str
        Why images cannot be read.
    min_area : int or None
        Of objects; None if none are wanted.
    """

    def __init__(self, project, files, min_area, overwrite):
        self.files, self.min_area, self.overwrite = files, min_area, overwrite
        self.targets = _targets(list(files))
        self.ids = {} if min_area is None else id_files(self.targets)
        self.bad = _unreadable(files)
        self.key = None

    def named(self):
        """Every name that may be written, and the image that it is of: None is all of them."""
        names = [*self.targets.items(), (None, LABELS)]
        if self.min_area is not None:
            names += [(None, OBJECTS), (None, COUNTS)]
            names += [(image, stem + end) for image, stem in self.ids.items() for end in SUFFIXES]
        return names

    def has_objects(self, folder, row):
        """Whether what is wanted of objects is there, as a row says."""
        if self.min_area is None:
            return True
        if row.get("objects") is None or row.get("min_area") != self.min_area:
            return False
        path = folder.path / row["ids"]
        return path.is_file() and row.get("ids_sha256") == file_digest(path)


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
        parts = PurePosixPath(name).parent.parts
        place = tuple(part for part in parts if part not in ("/", "."))
        folders.setdefault(place, []).append(name)
    places, targets = _safe_folders(folders), {}
    for parent, inside in folders.items():
        stems = [PurePosixPath(name).stem for name in inside]
        seen = {}
        for name, stem in zip(inside, stems):
            if stem in seen:
                raise ProjectError(
                    f"Two images would have one mask: {seen[stem]!r} and {name!r}. Rename one."
                )
            seen[stem] = name
        for name, file in zip(inside, file_names(stems, ".png")):
            targets[name] = "/".join([*places[parent], file])
    return targets


def _safe_folders(folders):
    """What each folder is called, by its parts: as it is, but where that is no safe name."""
    beside = {}
    known = {parts[: k + 1] for parts in folders for k in range(len(parts))}
    for *above, part in sorted(known):
        beside.setdefault(tuple(above), []).append(part)
    places = {(): ()}
    for above in sorted(beside):  # what is above comes first
        for part, name in zip(beside[above], file_names(beside[above])):
            places[*above, part] = (*places[above], name)
    return places


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


def _check_room(folder, work, rows):
    """Before the fit: nothing of somebody else's may be in the way, and no name be too long.

    Returns
    -------
    kept : list of str
        Images whose predicted mask, or ids, were changed since: they are the user's now, and stay.
    """
    kept = []
    for image, name in work.named():
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
        if image not in kept:
            kept.append(image)
    return kept


def _still_to_do(folder, work, rows, kept):
    """Images to predict, by name: neither done with this model nor changed by somebody since."""
    todo = {}
    for name, file in work.files.items():
        if name in work.bad or name in kept:
            continue
        target = work.targets[name]
        there = folder.status(target) != "absent"
        row = rows.get(name, {})
        if there and row.get("of") == _of(file, work.key):
            same = row.get("sha256") == file_digest(folder.path / target)
            if same and work.has_objects(folder, row):
                continue
            there = False  # killed before the new mask took the place of the old one
        if there and not work.overwrite:
            raise ProjectError(
                f"{folder.path / target} is there already, of another image or an earlier "
                "model. Name another folder, or --overwrite the predictions."
            )
        todo[name] = row.get("ids")  # which go, or are replaced
    return todo


def _of(file, key):
    """What a prediction is of: the image as it is now, and the model."""
    found = os.stat(file)
    return [key, found.st_size, found.st_mtime_ns]


# -- predicting ------------------------------------------------------------------------------------


def _predict_all(folder, record, model, work, todo, progress):
    """Predict a few at a time; a file that turns out to be damaged is named in `work.bad`."""
    total = len(work.files) - len(work.bad)
    names, start = list(todo), 0
    while start < len(names):
        chunk = names[start : start + _at_once(work.files[names[start]])]
        for name, mask, label, proba, ids in _predict_some(model, work, chunk):
            data = mask_bytes(mask, model.n_mask_classes)
            row = {
                "image": name,
                "of": _of(work.files[name], work.key),
                "label": jsonable(label) if model.has_class_head else None,
                "proba": [round(float(value), 6) for value in proba],
                "sha256": digest_of(data),
            }
            written = {work.targets[name]: data}
            if ids is not None:
                ids, found = objects_of(ids, mask, model.n_mask_classes, work.min_area)
                suffix, data = id_bytes(ids)
                row |= {"objects": found, "n_pixels": ids.size, "min_area": work.min_area}
                row |= {"ids": work.ids[name] + suffix, "ids_sha256": digest_of(data)}
                written[row["ids"]] = data
            # The row first: one without its mask is predicted again.
            record.append(json.dumps(row).encode() + b"\n", durable=False)
            for target, data in written.items():
                folder.write(target, data)
            if todo[name] is not None and todo[name] not in written:
                folder.remove(todo[name])  # of an earlier model, or of more ids than now
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


def _predict_some(model, work, names):
    """Yield name, mask, label, probabilities of classes, and ids or None."""
    images = ImageFiles([work.files[name] for name in names])
    try:
        joint = model.predict_joint(images, objects=work.min_area is not None)
    except (ValueError, FileNotFoundError) as error:
        if len(names) == 1:
            work.bad[names[0]] = str(error)
            return
        for name in names:
            yield from _predict_some(model, work, [name])
        return
    labels, proba = (joint.get(part, [()] * len(names)) for part in ("labels", "proba"))
    yield from zip(names, joint.masks, labels, proba, joint.get("objects", [None] * len(names)))


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


def _write_tables(folder, work, rows, class_names):
    """What was counted of all images that have objects; how many there are, if they are wanted."""
    told = {
        name: (rows[name]["objects"], rows[name]["n_pixels"])
        for name in work.files
        if name not in work.bad and rows[name].get("objects") is not None
    }
    tables, wanted = object_tables(told, class_names), work.min_area is not None
    for name in (OBJECTS, COUNTS):
        if name in tables and (wanted or folder.status(name) == "ours"):
            folder.write(name, tables[name])
        elif folder.status(name) == "ours":
            folder.remove(name)
    return sum(len(found) for found, _ in told.values()) if wanted else None
