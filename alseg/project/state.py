"""A folder of images that somebody is annotating, and everything known about it, on disk.

The state folder holds `state.json`, `masks/` (what was added), `ask/round_001/` (what was asked)
and `model-<key>/` (the last model; the key is a digest of all that it was fitted to). `state.json`
is written last and in one step: what it does not name does not count, so any command may be killed
and given again. All writing goes through `alseg.files`, whose ledger says which files are ours;
others may lie in the folder, and stay.
"""

import dataclasses
import os
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from alseg.calling import unit_of
from alseg.files import OwnFolder, jsonable, nested_names, read_json, write_json
from alseg.labels import label_codes, missing_labels
from alseg.project.mask_files import read_stored
from alseg.project.rules import by_rule, with_rule
from alseg.project.state_file import FORMAT, ProjectError, read_state
from alseg.report import ask_folder
from alseg.validation import check_option, counted, in_shell, message

STATE = "state.json"
_MARKER = '"format": "alseg.Project'
MASK_KINDS = ("classes", "instances")
_CACHED = 1000  # images whose encoder maps are kept: about a megabyte each


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
        ``estimator`` (parameters of `JointCAMSegmenter`, or ``preset``), ``strategy``,
        ``first`` ("random" or "diverse"), ``class_balanced``, ``pseudo_labels``, ``seed``,
        ``part``, ``mask_classes`` (names of the classes above the background), ``mask_kind``
        ("classes", or "instances": masks hold ids of objects), and of masks ``mask_mapping``,
        ``missing_value``, ``mask_suffix`` and ``resize_masks``, see `load_folder`; those given
        replace the ones kept, as soon as they are found to fit the folder.

    Yields
    ------
    project : Project

    Raises
    ------
    FileNotFoundError
        If there is no project and no `data` to start one.
    ProjectError
        If the folder holds something else, is of other data, or names code or a URL that `options`
        does not name again.
    FolderInUse
        If another command is at work in it.
    """
    folder = Path(folder)
    if not (folder / STATE).is_file():
        if data is None:
            raise FileNotFoundError(
                f"{folder} is not a state folder. Start one with `alseg query --data DIR "
                f"--out {in_shell(folder)}`."
            )
        if folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir()):
            raise ProjectError(
                message("out", "a new or empty folder, or one that alseg query made", str(folder))
            )
    if data is not None:
        if not Path(data).expanduser().exists():
            raise FileNotFoundError(message("data", "a folder of images or a manifest", str(data)))
        check_apart(folder, Path(data).expanduser())
    if (options or {}).get("strategy") is not None:
        check_unit(options["strategy"])
    with OwnFolder(folder) as files:
        yield Project(files, data, options or {})


def look_into(folder, options, given):
    """A project that another process has open, to read and not to write.

    Parameters
    ----------
    folder : Path
    options, given : dict
        What the options are there, and those that its command was given.

    Returns
    -------
    Project
        See `Project.reread`.
    """
    project = Project(_Unlocked(Path(folder)), None, {})
    project.state["options"], project.given = options, given
    return project


@dataclasses.dataclass(frozen=True)
class _Unlocked:
    """In the place of an `OwnFolder`: the ledger is that of another process."""

    path: Path

    def names(self):
        """Of what may be removed: nothing."""
        return []

    def adopt(self, name):
        """Nothing: the other process does."""


def check_apart(folder, data):
    """Refuse a folder of ours that would stand among the images, and be read as one of them.

    Parameters
    ----------
    folder : Path
        A state folder, or one for predictions.
    data : Path
        The folder of images, or its manifest.

    Raises
    ------
    ProjectError
    """
    here, there = folder.resolve(), data.resolve()
    named = (there / "images").is_dir() or (there / "manifest.csv").is_file()
    images = there / "images" if named else there  # else all that lies there is read
    if there.is_dir() and (here == there or images in (here, *here.parents)):
        raise ProjectError(
            message("out", "a folder outside the images", str(folder), f"They are in {data}.")
        )


class Project:
    """See `open_project`, which makes it.

    Attributes
    ----------
    files : OwnFolder
        The state folder.
    data : Dataset
        All images, their labels, and the masks that the folder of images holds.
    state : dict
        What `state.json` holds.
    given : dict
        The options that this command was given.
    quiet : bool
        Whether no bar is shown on stderr while something takes long.
    """

    def __init__(self, files, data, options):
        self.files, self.folder = files, files.path
        self.quiet = True
        self.given = jsonable(options)
        new = not (self.folder / STATE).is_file()
        if new:
            root = str(Path(data).expanduser().resolve())
            self.state = {"format": FORMAT, "data": root, "options": {}, "rounds": [], "masks": {}}
        else:
            self.state = read_state(self.folder / STATE)
        root, kept = self.state["data"], self.state["options"]
        if data is not None and not new:
            self._check_data(str(Path(data).expanduser().resolve()))
        estimator = {**kept.get("estimator", {}), **self.given.get("estimator", {})}
        self.state["options"] = {**kept, **self.given, "estimator": estimator}
        self._check_classes()
        self._check_kind(kept.get("mask_kind") or "classes")
        self._load()
        self.positions = {name: i for i, name in enumerate(self.data.ids.tolist())}
        said = self.given and {"estimator": {}, **kept} != self.state["options"]
        if new or said or root != self.state["data"]:
            # The folder is ours, and what was given is kept, whatever becomes of the command.
            self.write()

    def reread(self):
        """Take up what was kept meanwhile by the process whose folder it is; options stay."""
        options = self.state["options"]
        self.state = {**read_state(self.folder / STATE), "options": options}
        self.data = self._relabelled(self.parts[self.option("part", "all")])

    def _load(self):
        from alseg.datasets import load_folder

        coding = self.coding("coding")
        self.parts = load_folder(
            self.state["data"],
            mask_mapping=coding or self.mapping(self.option("mask_mapping")),
            missing_value=None if coding else self.option("missing_value"),
            mask_suffix=self.option("mask_suffix"),
            resize_masks=self.option("resize_masks", False),
        )
        part = self.option("part", "all")
        if part not in self.parts:
            raise ProjectError(message("part", f"one of {list(self.parts)}", part))
        self.data = self._relabelled(self.parts[part])
        if self.data.masks is not None:
            self.check_files(getattr(self.data.masks, "paths", ()))
            self.state["coding"] = self.data.masks.mapping.to_dict()

    def _relabelled(self, data):
        """The data with the class labels that somebody has corrected since."""
        corrected = self.state.get("labels") or {}
        found = {
            i: corrected[name] for i, name in enumerate(data.ids.tolist()) if name in corrected
        }
        known = {str(label): label for label in label_codes(data.labels)[0].tolist()}
        if not found or data.labels.ndim > 1:
            return data
        labels = data.labels.copy()
        for i, label in found.items():
            labels[i] = known.get(label, labels[i])
        return dataclasses.replace(data, labels=labels)

    def coding(self, name):
        """How masks are coded, as it was decided: "coding" of the folder, "added" of drawn ones.

        Returns
        -------
        MaskCoding or None
            None if nothing was decided, or this command says how masks are coded.
        """
        from alseg.images import MaskCoding

        said = {"mask_mapping", "missing_value", "mask_kind"} & self.given.keys()
        if self.state.get(name) is None or said:
            return None
        try:
            return MaskCoding.from_dict(self.state[name])
        except (TypeError, ValueError) as error:
            raise ProjectError(f"{self.folder / STATE} is damaged: {error}") from error

    def _check_data(self, root):
        started = self.state["data"]
        if root != started and os.path.exists(started):
            rule = f"{started!r}, with which {str(self.folder)!r} was started"
            raise ProjectError(message("data", rule, root))
        self.state["data"] = root  # it has moved

    def _check_classes(self):
        """Names of classes and their number must agree; either is enough."""
        names, estimator = self.option("mask_classes"), self.state["options"]["estimator"]
        if names is None:
            return
        if len(set(names)) < len(names) or not all(isinstance(n, str) and n for n in names):
            raise ProjectError(message("mask_classes", "different names", names))
        n = estimator.setdefault("n_mask_classes", len(names) + 1)
        if n != len(names) + 1:
            rule = f"{n - 1} names (n_mask_classes={n}, background included)"
            raise ProjectError(message("mask_classes", rule, names))

    def _check_kind(self, before):
        """Ids are no classes: what cannot be both is refused, and masks stay what they are."""
        kind = self.mask_kind
        check_option("mask_kind", kind, MASK_KINDS)
        if kind != before and self.state["masks"]:
            rule = f"{before!r}, as it was when masks were added"
            raise ProjectError(message("mask_kind", rule, kind, "Start another state folder."))
        if kind == "instances" and self.n_mask_classes != 2:
            remedy = "Ids are of objects of one class."
            n = self.n_mask_classes
            raise ProjectError(message("n_mask_classes", "2 with ids in masks", n, remedy))

    def check_files(self, paths):
        """Refuse several mask files an image where they hold ids: which is whose is not known."""
        several = [path for path in paths if isinstance(path, (tuple, list)) and len(path) > 1]
        if self.mask_kind != "classes" and several:
            files = ", ".join(map(str, several[0]))
            remedy = "Number the objects of an image in one file."
            raise ProjectError(
                message("masks", "one file an image with ids in them", files, remedy)
            )

    def mapping(self, name):
        """How values of masks are read where an option says so, or nothing: ids as they are."""
        if self.mask_kind == "classes":
            return mapping_of(name)
        if name not in (None, "none"):
            raise ProjectError(message("mask_mapping", "'none' with ids in masks", name))
        return None

    @property
    def mask_kind(self):
        """What masks hold: "classes", or the "instances" of objects."""
        return self.option("mask_kind", "classes")

    def classes(self, mask):
        """The classes of a mask that may hold ids."""
        return mask if self.mask_kind == "classes" else np.minimum(mask, 1)

    def revise(self, names):
        """Count that the masks of these images were changed, by whatever command."""
        revisions = self.state.setdefault("revisions", {})
        for name in names:
            revisions[name] = revisions.get(name, 0) + 1

    def write(self):
        """Keep the state: what it does not name does not count."""
        write_json(self.folder / STATE, self.state, self.folder, marker=_MARKER)

    def option(self, name, default=None):
        """An option of this command or of one before."""
        value = self.state["options"].get(name)
        return default if value is None else value

    @property
    def n_mask_classes(self):
        """Pixel classes, background included."""
        return self.state["options"]["estimator"].get("n_mask_classes", 2)

    @property
    def class_names(self):
        """Names of the pixel classes above the background."""
        names = self.option("mask_classes")
        if names is None:
            n = self.n_mask_classes - 1
            names = ["foreground"] if n == 1 else [f"class {k}" for k in range(1, n + 1)]
        return list(names)

    # -- what is known ----------------------------------------------------------------------------

    def in_folder(self):
        """(n,) bool: images that have a mask in the folder of images."""
        paths = getattr(self.data.masks, "paths", None)
        if paths is None:
            return np.zeros(len(self.data), dtype=bool)
        return np.array([path is not None for path in paths], dtype=bool)

    def has_drawn(self):
        """(n,) bool: images of which somebody has drawn a mask, of whatever part of their pixels.

        No file is read.
        """
        return self.in_folder() | np.isin(self.data.ids, list(self.state["masks"]))

    def has_mask(self):
        """(n,) bool: `has_drawn`, or empty by the rule about their class label; no file is read."""
        return self.has_drawn() | by_rule(self)

    def known_masks(self):
        """The masks known so far: object array of shape (n,) of (H, W) int16 arrays and None.

        Those added here go before those that lie in the folder of images. Of images that hold
        nothing by a rule some have an empty one: see `alseg.project.set_empty`.
        """
        known = np.full(len(self.data), None, dtype=object)
        for i in range(len(known)):
            known[i] = self.mask(i)
        return with_rule(self, known)

    def mask(self, i):
        """One of `known_masks`: the mask of image `i` that counts, or None."""
        added = self.state["masks"].get(str(self.data.ids[i]))
        if added is not None:
            return read_stored(self.folder / "masks" / added["file"])
        return None if self.data.masks is None else self.data.masks[i]

    def pending(self):
        """Names of images that were asked for and have no mask yet, in the order asked.

        Those of which somebody said that they cannot tell are not asked for again.
        """
        answered = self.in_folder() | by_rule(self)
        skipped = set(self.state.get("skipped", ()))
        asked = [name for round_ in self.state["rounds"] for name in round_["ids"]]
        return [
            name
            for name in dict.fromkeys(asked)
            if name in self.positions
            and name not in self.state["masks"]
            and name not in skipped
            and not answered[self.positions[name]]
        ]

    def summary(self):
        """One line about the folder and the masks: "200 images of 3 classes; 12 masks in ..."."""
        n_classes = len(label_codes(self.data.labels)[0])
        n_unknown = int(missing_labels(self.data.labels).sum())
        of = f" of {counted(n_classes, 'class', 'classes')}" if n_classes else ""
        of += f" ({n_unknown} without a class)" if n_classes and n_unknown else ""
        found = [counted(len(self.data), "image") + of]
        n_in_folder = int(self.in_folder().sum())
        if n_in_folder:
            found.append(f"{counted(n_in_folder, 'mask')} in the folder")
        n_added = sum(name in self.positions for name in self.state["masks"])
        if n_added or not n_in_folder:
            found.append(f"{counted(n_added, 'mask')} added")
        n_ruled = int(by_rule(self).sum())
        if n_ruled:
            found.append(f"{counted(n_ruled, 'image')} empty by their class")
        gone = len(self.state["masks"]) - n_added
        if gone:
            found.append(f"{counted(gone, 'mask')} of images that are no longer there")
        return "; ".join(found)

    def notes(self):
        """Lines about what was read and how: files that were skipped, the coding of masks."""
        return self.parts.describe().splitlines()[1:]


def clean(project):
    """Delete those of our files that no state names: of killed commands, undone and replaced."""
    state = project.state
    named = {entry["file"] for entry in state["masks"].values()}
    for step in state.get("history", ()):
        before = step.get("before") or {}
        named |= {entry["file"] for entry in before.values() if entry is not None}
    asked = {ask_folder(found["round"]) for found in state["rounds"]}
    for name in project.files.names():
        top, _, rest = name.partition("/")
        stale = (top == "masks" and rest not in named) or (
            top == "ask" and f"ask/{rest.partition('/')[0]}" not in asked
        )
        if stale:
            project.files.remove(name)
    project.files.sweep()


def mapping_of(name):
    """A mapping of mask values as `load_folder` takes it, of an option; None is "auto"."""
    return {None: "auto", "none": None}.get(name, name)


def check_trusted(project, name, value, sign, what):
    """Refuse code or a URL that a state names and this command does not.

    A state folder may come from somebody else, or be written by another program.

    Parameters
    ----------
    project : Project
    name : {"strategy", "encoder_weights"}
    value : object
        What the options say, of this command or of one before.
    sign : str
        What tells code or a URL by.
    what : str
        In words.

    Raises
    ------
    ProjectError
    """
    given = {**project.given, **project.given.get("estimator", {})}
    if isinstance(value, str) and sign in value and given.get(name) is None:
        option = name.replace("_", "-")
        raise ProjectError(
            f"{project.folder / STATE} names {what} ({name}: {value!r}), which a folder never "
            f"loads by itself. If you trust it: alseg query {in_shell(project.folder)} "
            f"--{option} {in_shell(value)}"
        )


def check_weights(project):
    """Refuse weights that a state names and that would be fetched from elsewhere.

    See `check_trusted`.
    """
    weights = project.state["options"]["estimator"].get("encoder_weights")
    check_trusted(project, "encoder_weights", weights, "://", "a URL")
    if weights == "pretrained":  # of any name of a hub
        check_trusted(project, "encoder_weights", weights, weights, "weights to fetch")


def check_unit(strategy):
    """Refuse a strategy for parts of images: what is asked and added here are whole masks."""
    from alseg.experiment import resolve_strategy

    unit = unit_of(resolve_strategy(strategy))
    if unit != "image":
        raise ProjectError(
            message(
                "strategy",
                "one that asks for whole images here",
                strategy,
                f"It asks for parts "
                f"of images (unit={unit!r}): use it with `alseg run` or ActiveLearner.",
            )
        )


def estimator_of(project):
    """The estimator that the options describe, not fitted.

    Where the encoder is frozen ("alseg-fast"), what it has seen is kept in the state folder, and
    the decoder goes on from the last model.
    """
    from alseg.segmenter import JointCAMSegmenter

    options = {
        key: tuple(value) if isinstance(value, list) else value  # JSON has no tuples
        for key, value in project.state["options"]["estimator"].items()
    }
    if project.mask_kind != "classes":
        options["objects__mask_kind"] = project.mask_kind
    options["verbose"] = int(not project.quiet)
    preset = options.pop("preset", "alseg")
    estimator = JointCAMSegmenter.from_preset(preset, **nested_names(options))
    if estimator.schedule.encoder_lr_scale == 0:
        estimator.set_params(
            feature_cache=feature_cache(project),
            schedule__start_from=last_model(project, project.state["options"]["estimator"]),
        )
    return estimator


def feature_cache(project):
    """The folder for what a frozen encoder has seen; None for a pool that would fill the disk."""
    return str(project.folder / "features") if len(project.data) <= _CACHED else None


def last_model(project, like=None):
    """The folder of the model saved last, if it knows the classes of images and pixels, or None.

    With parameters, one that learned as much of objects: its network is the same.
    """
    classes = label_codes(project.data.labels)[0].tolist()
    found = []
    for path in project.folder.glob("model-*/model.json"):
        with suppress(ValueError, OSError):
            record = read_json(path)
            params = record.get("params") or {}
            n = params.get("n_mask_classes", project.n_mask_classes)
            other = like is not None and _kind_of(params) != _kind_of(like)
            if record.get("classes") == classes and n == project.n_mask_classes and not other:
                found.append((path.stat().st_mtime_ns, str(path.parent)))
    return max(found)[1] if found else None


def _kind_of(params):
    """What of objects such a model learns."""
    value = params.get("objects")
    return value.get("Objects", value).get("kind") if isinstance(value, dict) else value
