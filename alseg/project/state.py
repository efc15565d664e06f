"""A folder of images that somebody is annotating, and everything known about it, on disk.

The state folder holds `state.json`, `masks/` (what was added), `ask/round_001/` (what was asked)
and `model-<key>/` (the last model; the key is a digest of all that it was fitted to). `state.json`
is written last and in one step: what it does not name does not count, so any command may be killed
and given again.
"""

import csv
import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from alseg.experiment.names import resolve_strategy
from alseg.experiment.records import jsonable, lock, write_text
from alseg.images import (
    IMAGE_SUFFIXES,
    ImageFiles,
    as_images,
    as_masks,
    check_pairs,
    image_size,
    read_mask,
)
from alseg.interop import call_strategy, check_query_idx, unit_of
from alseg.labels import MISSING, fraction_annotated
from alseg.selection import class_balanced_top_n
from alseg.validation import EmptyPool, check_n_instances, check_number, message

FORMAT = "alseg.Project/1"
STATE = "state.json"
_UNKNOWN = 255  # how MISSING stands in a stored 8-bit mask
_CHUNK = 8
_PALETTE = [0, 0, 0, 255, 200, 0, 0, 229, 255, 255, 92, 205, 124, 252, 0, 255, 255, 255]


class ProjectError(ValueError):
    """A state folder, or masks for it, that cannot be used as asked."""


@contextmanager
def open_project(folder, data=None, options=None):
    """Open a state folder for one command, locked against a second one.

    Parameters
    ----------
    folder : str or Path
    data : str, Path or None, default=None
        The folder of images, needed to start a project: `alseg.datasets.load_folder` says how it
        looks. For one that exists it must be the same.
    options : dict or None, default=None
        ``estimator`` (parameters of `JointCAMSegmenter`), ``strategy``, ``class_balanced``,
        ``pseudo_labels``, ``seed``, ``part``, ``mask_mapping``; those given replace the ones kept.

    Yields
    ------
    project : Project

    Raises
    ------
    FileNotFoundError
        If there is no project and no `data` to start one.
    ProjectError
        If the folder holds something else, or is of other data.
    FolderInUse
        If another command is at work in it.
    """
    folder = Path(folder)
    if not (folder / STATE).is_file():
        if data is None:
            raise FileNotFoundError(
                f"{folder} is not a state folder. Start one with `alseg query --data DIR "
                f"--out {folder}`."
            )
        if folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir()):
            raise ProjectError(
                message("out", "a new or empty folder, or one that alseg query made", str(folder))
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "ab")
    except OSError as error:
        raise type(error)(
            message("out", "a folder that can be written to", str(folder))
            + f" {error.strerror or error}: {error.filename or folder}"
        ) from error
    with file:
        lock(file)
        yield Project(folder, data, options or {})


class Project:
    """See `open_project`, which makes it.

    Attributes
    ----------
    data : Dataset
        All images, their labels, and the masks that the folder of images holds.
    state : dict
        What `state.json` holds.
    """

    def __init__(self, folder, data, options):
        from alseg.datasets import load_folder

        self.folder = Path(folder)
        new = not (self.folder / STATE).is_file()
        self.state = None if new else self._read_state()
        if new:
            root = str(Path(data).expanduser().resolve())
            self.state = {"format": FORMAT, "data": root, "options": {}, "rounds": [], "masks": {}}
        elif data is not None:
            self._check_data(str(Path(data).expanduser().resolve()))
        kept = self.state["options"]
        estimator = {**kept.get("estimator", {}), **options.get("estimator", {})}
        self.state["options"] = {**kept, **jsonable(options), "estimator": jsonable(estimator)}
        _check_unit(self._option("strategy", "entropy"))
        self._estimator()
        mapping = self._option("mask_mapping", "auto")
        mapping = None if mapping == "none" else mapping
        parts = load_folder(self.state["data"], mask_mapping=mapping)
        self.data = parts[self._option("part", "all")]
        self._position = {name: i for i, name in enumerate(self.data.ids.tolist())}
        if new:
            self._write_state()  # from here on the folder is ours, whatever happens

    def _read_state(self):
        path = self.folder / STATE
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ProjectError(f"{path} is damaged: {error}.") from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise ProjectError(f"{path} is not the state of this version of alseg.")
        return state

    def _check_data(self, root):
        started = self.state["data"]
        if root != started and os.path.exists(started):
            rule = f"{started!r}, with which {str(self.folder)!r} was started"
            raise ProjectError(message("data", rule, root))
        self.state["data"] = root  # it has moved

    def _write_state(self):
        write_text(self.folder / STATE, json.dumps(self.state, indent=1, ensure_ascii=False))

    def _option(self, name, default):
        value = self.state["options"].get(name)
        return default if value is None else value

    # -- what is known ----------------------------------------------------------------------------

    def known_masks(self):
        """The masks known so far: object array of shape (n,) of (H, W) int16 arrays and None.

        Those added here go before those that lie in the folder of images.
        """
        masks = as_masks(self.data.masks, len(self.data))
        known = np.full(len(self.data), None, dtype=object)
        for i, name in enumerate(self.data.ids.tolist()):
            added = self.state["masks"].get(name)
            if added is not None:
                stored = read_mask(self.folder / "masks" / added["file"])
                known[i] = np.where(stored == _UNKNOWN, MISSING, stored).astype(np.int16)
            else:
                known[i] = masks[i]
        return known

    def pending(self):
        """Names of images that were asked for and have no mask yet, in the order asked."""
        masks = as_masks(self.data.masks, len(self.data))
        asked = [name for round_ in self.state["rounds"] for name in round_["ids"]]
        return [
            name for name in dict.fromkeys(asked)
            if name in self._position and name not in self.state["masks"]
            and masks[self._position[name]] is None
        ]  # fmt: skip

    # -- the model --------------------------------------------------------------------------------

    def _estimator(self):
        from alseg.segmenter import JointCAMSegmenter

        return JointCAMSegmenter(**_arguments(self._option("estimator", {})))

    def model(self, masks):
        """The model fitted to these masks: read from disk if it is there, else fitted and kept."""
        from alseg.learner import ActiveLearner
        from alseg.segmenter import JointCAMSegmenter

        path = self.folder / f"model-{self._key(masks)}"
        if (path / "model.json").is_file():
            return JointCAMSegmenter.load(path, device=self._estimator().device)
        check_pairs(self.data.images, self.data.masks, self._estimator().n_mask_classes)
        augmenter = None
        if self._option("pseudo_labels", None) is not None:
            from alseg.pseudo import PseudoLabelAugmenter

            augmenter = PseudoLabelAugmenter(weight=self._option("pseudo_labels", None))
        learner = ActiveLearner(
            self._estimator(), images=self.data.images, labels=self.data.labels, masks=masks,
            augmenter=augmenter, random_state=self._option("seed", 0),
        )  # fmt: skip
        learner.fit()
        learner.estimator.save(path)
        for old in self.folder.glob("model-*"):
            if old != path:
                shutil.rmtree(old)
        return learner.estimator

    def _key(self, masks):
        digest = hashlib.sha256()
        options = {**self.state["options"], "strategy": None, "class_balanced": None}
        digest.update(json.dumps(options, sort_keys=True).encode())
        for name, label, mask in zip(self.data.ids.tolist(), self.data.labels.tolist(), masks):
            digest.update(repr((name, label, None if mask is None else mask.shape)).encode())
            if mask is not None:
                digest.update(np.ascontiguousarray(mask))
        return digest.hexdigest()[:12]

    # -- asking -----------------------------------------------------------------------------------

    def query(self, n_instances, new=False, show=None):
        """Choose the next images to annotate, with proposed masks in `ask/round_<number>/`.

        Images of an earlier question that have no mask yet are asked for again, unless `new`.

        Parameters
        ----------
        n_instances : int
        new : bool, default=False
            Ask about other images, and leave the open ones open.
        show : callable or None, default=None
            Writes a page about the question into its folder, such as
            `alseg.report.question.write_question`.

        Returns
        -------
        round : dict
            ``round``, ``ids`` (names), ``folder``, ``open`` (names without a mask yet), and
            ``again``, whether the question is an old one.

        Raises
        ------
        EmptyPool
            If every image has a mask or was asked for.
        """
        check_number("n_instances", n_instances, 1, integer=True)
        open_ = self.pending()
        if open_ and not new:
            last = next(r for r in reversed(self.state["rounds"]) if set(r["ids"]) & set(open_))
            folder = self.folder / "ask" / f"round_{last['round']:03d}"
            return {**last, "folder": folder, "open": open_, "again": True}
        masks = self.known_masks()
        complete = np.array([fraction_annotated(mask) == 1 for mask in masks])
        asked = np.isin(self.data.ids, open_) if open_ else np.zeros(len(masks), dtype=bool)
        pool_ids = np.flatnonzero(~complete & ~asked)
        if not len(pool_ids):
            raise EmptyPool(
                f"All {len(masks)} images have a mask" + (" or were asked for." if open_ else ".")
            )
        n_instances = check_n_instances(n_instances, len(pool_ids))
        model = None
        some = any(mask is not None for mask in masks)
        if some or self._estimator().n_mask_classes == 2:  # CAMs propose masks of two classes
            model = self.model(masks)
        sample_ids = pool_ids[self._choose(model if some else None, pool_ids, n_instances, masks)]
        number = len(self.state["rounds"]) + 1
        names = self.data.ids[sample_ids].tolist()
        folder = self._write_question(number, sample_ids, names, model, show)
        found = {"round": number, "ids": names, "n_masks": int(sum(m is not None for m in masks))}
        self.state["rounds"].append(found)
        self._write_state()
        return {**found, "folder": folder, "open": self.pending(), "again": False}

    def _choose(self, model, pool_ids, n_instances, masks):
        y_pool = self.data.labels[pool_ids]
        n_known = sum(mask is not None for mask in masks)
        seed = [self._option("seed", 0), n_known, len(self.state["rounds"])]
        rng = np.random.default_rng(seed)
        if model is None:
            # Nothing is known about masks yet: uncertainty would be that of the class alone.
            return class_balanced_top_n(rng.random(len(pool_ids)), y_pool, n_instances, rng)
        from alseg.learner import ActiveLearner

        strategy = resolve_strategy(self._option("strategy", "entropy"))
        if self._option("class_balanced", False):
            from alseg.strategies import class_balanced

            strategy = class_balanced(strategy)
        learner = ActiveLearner(
            model, strategy, images=self.data.images, labels=self.data.labels, masks=masks
        )
        extras = {"n_instances": n_instances, "random_state": int(rng.integers(2**31)),
                  "y_pool": y_pool}  # fmt: skip
        X_pool = as_images(self.data.images).take(pool_ids)
        found = call_strategy(strategy, learner, X_pool, extras=extras)
        return check_query_idx(found, len(pool_ids), n_instances)

    def _write_question(self, number, sample_ids, names, model, show):
        folder = self.folder / "ask" / f"round_{number:03d}"
        beside = folder.with_name(f".{folder.name}")
        for left_over in (beside, folder):  # of a command that was killed: no state names it
            if left_over.exists():
                shutil.rmtree(left_over)
        beside.mkdir(parents=True)
        images = as_images(self.data.images).take(sample_ids)
        queries, proposals = [], []
        for position, name in enumerate(names):
            query = {
                "id": name,
                "image": _path_of(images, position),
                "label": self.data.labels[sample_ids[position]],
                "size": list(images.size(position)),
                "proposal": None,
            }
            proposals.append(None)
            if model is not None:
                proposal = model.predict_masks(images.take(np.array([position])))[0]
                query["proposal"] = f"{name}.png"
                save_mask(beside / query["proposal"], proposal, model.n_mask_classes)
                proposals[-1] = proposal
            queries.append(query)
        text = json.dumps({"round": number, "queries": jsonable(queries)}, indent=1)
        write_text(beside / "queries.json", text)
        if show is not None:
            show(beside, number, queries, images, proposals, self.folder)
        os.replace(beside, folder)
        return folder

    # -- answers ----------------------------------------------------------------------------------

    def add(self, folder, replace=False, missing_value=None):
        """Take in masks that were drawn elsewhere; either all of them or none.

        Parameters
        ----------
        folder : str or Path
            Image files whose stems (or paths without suffix) are names of images.
        replace : bool, default=False
            Whether a mask may take the place of one already there.
        missing_value : int or None, default=None
            Value of pixels that are not annotated.

        Returns
        -------
        names : list of str

        Raises
        ------
        ProjectError
            If a file fits no image, has another size, holds a value that is no class, or its image
            has a mask already. Nothing is changed then.
        """
        folder = Path(folder).expanduser()
        files = _files_under(folder)
        in_folder = as_masks(self.data.masks, len(self.data))
        images = as_images(self.data.images)
        n_mask_classes = self._estimator().n_mask_classes
        masks, problems = {}, []
        for file in files:
            try:
                name = self._name_of(file, folder)
                if name in masks:
                    raise ProjectError(f"{file}: two files for the image {name!r}.")
                there = name in self.state["masks"] or in_folder[self._position[name]] is not None
                if there and not replace:
                    raise ProjectError(f"{file}: {name!r} has a mask already (--replace takes the "
                                       "new one).")  # fmt: skip
                size = images.size(self._position[name])
                masks[name] = _checked_mask(file, size, n_mask_classes, missing_value)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            more = f" And {len(problems) - 1} more." if len(problems) > 1 else ""
            raise ProjectError(f"{problems[0]}{more} Nothing was added.")
        (self.folder / "masks").mkdir(exist_ok=True)
        for name, mask in masks.items():
            stored = np.where(mask == MISSING, _UNKNOWN, mask).astype(np.uint8)
            # Named by content: what an old state names is never written over.
            digest = hashlib.sha256(stored).hexdigest()[:8]
            file_name = f"{name.replace('/', '__')}-{digest}.png"
            _save_png(self.folder / "masks" / file_name, stored)
            self.state["masks"][name] = {"file": file_name}
        self._write_state()
        named = {entry["file"] for entry in self.state["masks"].values()}
        for path in (self.folder / "masks").iterdir():
            if path.name not in named:
                path.unlink()
        return list(masks)

    def _name_of(self, file, folder):
        whole = file.relative_to(folder).with_suffix("").as_posix()
        if whole in self._position:
            return whole
        fits = [name for name in self._position if name.rpartition("/")[2] == file.stem]
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise ProjectError(f"{file}: fits {len(fits)} images ({', '.join(fits[:3])}). Put it "
                               "into the folder of its class.")  # fmt: skip
        from alseg.validation import did_you_mean

        remedy = did_you_mean(file.stem, list(self._position))
        raise ProjectError(f"{file}: no image is named {file.stem!r}. {remedy}".rstrip())

    # -- predictions ------------------------------------------------------------------------------

    def predict(self, source, out, overwrite=False, progress=None):
        """Write a predicted mask for each image, and `labels.csv` with the classes.

        Parameters
        ----------
        source : str or Path
            An image file, or a folder with images, searched with its subfolders.
        out : str or Path
            Folder for ``<stem>.png``, in the subfolders of `source`, and ``labels.csv``.
        overwrite : bool, default=False
            Whether files that are there may be replaced; they could be masks drawn by hand.
        progress : callable or None, default=None
            Called with the number of images done so far.

        Returns
        -------
        n : int
            Images predicted.
        """
        source, out = Path(source).expanduser(), Path(out)
        files = _files_under(source) if source.is_dir() else [source]
        root = source if source.is_dir() else source.parent
        targets = [(out / file.relative_to(root)).with_suffix(".png") for file in files]
        doubled = [t for t in set(targets) if targets.count(t) > 1]
        if doubled:
            raise ProjectError(f"Two images would be written to {doubled[0]}. Rename one.")
        there = [path for path in (*targets, out / "labels.csv") if path.exists()]
        if there and not overwrite:
            raise ProjectError(
                f"{there[0]} is there already. Name another folder, or --overwrite the files."
            )
        for file in files:
            image_size(file)  # an unreadable one is named before the first is written
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise type(error)(
                message("out", "a folder that can be written to", str(out))
            ) from error
        model = self.model(self.known_masks())
        rows = []
        for start in range(0, len(files), _CHUNK):
            chunk = files[start : start + _CHUNK]
            joint = model.predict_joint(ImageFiles(chunk))
            for i, file in enumerate(chunk):
                target = targets[start + i]
                target.parent.mkdir(parents=True, exist_ok=True)
                save_mask(target, joint.masks[i], model.n_mask_classes)
                proba = [f"{value:.6f}" for value in joint.proba[i]]
                rows.append([file.relative_to(root).as_posix(), joint.labels[i], *proba])
            if progress is not None:
                progress(start + len(chunk))
        beside = out / f".labels.{os.getpid()}.tmp"
        with open(beside, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image", "label", *(f"proba_{c}" for c in model.classes_)])
            writer.writerows(rows)
        os.replace(beside, out / "labels.csv")
        return len(files)


def _check_unit(strategy):
    """Refuse a strategy for parts of images: what is asked and added here are whole masks."""
    unit = unit_of(resolve_strategy(strategy))
    if unit != "image":
        raise ProjectError(
            message("strategy", "one that asks for whole images here", strategy, f"It asks for parts "
                    f"of images (unit={unit!r}): use it with `alseg run` or ActiveLearner.")
        )  # fmt: skip


# -- files ----------------------------------------------------------------------------------------


def save_mask(path, mask, n_mask_classes=2):
    """Write a mask so that a person can see it and a program can read it.

    Parameters
    ----------
    path : str or Path
        PNG: 0 and 255 for two classes, else a palette whose indices are the classes.
    mask : ndarray of shape (H, W), int
    n_mask_classes : int, default=2
    """
    mask = np.asarray(mask)
    if n_mask_classes == 2:
        _save_png(path, np.where(mask > 0, 255, 0).astype(np.uint8))
    else:
        _save_png(path, mask.astype(np.uint8), _PALETTE)


def _save_png(path, array, palette=None):
    from PIL import Image

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if palette is not None:
        image.putpalette(palette + [128] * (768 - len(palette)))
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    image.save(beside, format="PNG")
    os.replace(beside, path)


def _files_under(folder):
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder.")
    files = sorted(
        path for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )  # fmt: skip
    if not files:
        raise FileNotFoundError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return files


def _checked_mask(file, size, n_mask_classes, missing_value):
    mask = read_mask(file)
    if mask.shape != tuple(size):
        raise ProjectError(
            f"{file}: the mask is {mask.shape[0]} x {mask.shape[1]} pixels, its image "
            f"{size[0]} x {size[1]}."
        )
    unknown = np.zeros(mask.shape, bool) if missing_value is None else mask == missing_value
    values = np.unique(mask[~unknown])
    if n_mask_classes == 2 and set(values.tolist()) <= {0, 255}:
        mask, values = np.minimum(mask, 1), np.minimum(values, 1)
    bad = values[(values < 0) | (values >= n_mask_classes)]
    if len(bad):
        classes = f"0 to {n_mask_classes - 1}" + (", or 0 and 255" if n_mask_classes == 2 else "")
        shown = ", ".join(map(str, bad[:4])) + (", ..." if len(bad) > 4 else "")
        remedy = " Draw without soft edges." if 255 in bad else ""
        raise ProjectError(
            f"{file}: holds {shown}, where only classes may stand ({classes}).{remedy}"
        )
    if not len(values):
        raise ProjectError(f"{file}: no pixel is annotated.")
    return np.where(unknown, MISSING, mask).astype(np.int16)


def _path_of(images, position):
    paths = getattr(images, "paths", None)
    return None if paths is None else str(paths[position])


def _arguments(estimator):
    """Parameters of the estimator from JSON, where tuples have become lists."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in estimator.items()}
