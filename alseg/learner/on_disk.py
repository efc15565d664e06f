"""A mask-mode learner on disk: JSON, arrays without pickle, and its estimator's own files."""

import hashlib
import os
import re
import secrets
import zipfile
from pathlib import Path

import numpy as np

from alseg.derived import PAGE
from alseg.files import (
    add_array,
    describe_callable,
    describe_object,
    is_json,
    make_folder,
    name_of_kind,
    read_json,
    remove_tree,
    replacing,
    resolve_callable,
    resolve_class,
    resolve_object,
    sweep,
    write_json,
)
from alseg.images import ImageFiles
from alseg.interfaces import Saved, is_fitted, meets
from alseg.validation import message

_FORMAT, _VERSION = "alseg-learner", 1
_STATE_FILE = "learner.json"
# The names that we make up, each with a token of its save.
_NAMES = re.compile(
    r"(masks|images)-[0-9a-f]{8}\.npz|estimator-[0-9a-f]{8}|\.learner\.json\.[0-9a-f]{8}"
)


def write_learner(learner, folder, include_images=True):
    """Write a learner beside what the folder holds, then take its place in one step.

    Parameters
    ----------
    learner : ActiveLearner
        In mask mode.
    folder : Path
    include_images : bool, default=True

    Raises
    ------
    TypeError
        If arguments of `fit` are no JSON, the estimator cannot be saved, or images are mixed.
    """
    if not is_json(learner.fit_kwargs):
        raise TypeError(message("fit_kwargs", "plain JSON to be saved", learner.fit_kwargs))
    make_folder(folder)
    previous = _read_state(folder) if (folder / _STATE_FILE).exists() else {}
    token = secrets.token_hex(4)
    state = {
        "format": _FORMAT,
        "version": _VERSION,
        "root": str(learner._root),  # 63 bits are more than every JSON reader keeps
        "n_annotate": learner._n_annotate,
        "gradient_steps": None if learner.gradient_steps is None else int(learner.gradient_steps),
        "seeded": learner.random_state is not None,
        "on_transformed": bool(learner.on_transformed),
        "warm_start": bool(learner.warm_start),
        "fit_kwargs": learner.fit_kwargs,
        "source": None if learner.source is None else {"n_images": len(learner.source_set)},
        "source_weight": float(learner.source_weight),
        "labels": _listed(learner.labels),
        "groups": None if learner.groups is None else _listed(learner.groups),
        "query_strategy": _described(learner.query_strategy, describe_callable),
        "augmenter": _described(learner.augmenter, describe_object),
        "estimator": _save_estimator(learner._estimator, folder / f"estimator-{token}"),
        "masks": f"masks-{token}.npz",
        "images": _save_images(learner.images, folder, token, include_images, previous),
    }
    known = {str(i): mask for i, mask in enumerate(learner.masks) if mask is not None}
    # Each on the disk before the state that names it.
    with replacing(folder / state["masks"], folder) as temporary:
        np.savez_compressed(temporary, **known)
    write_json(folder / _STATE_FILE, state, folder)
    _sweep(folder, state)


def read_learner(
    folder, estimator=None, query_strategy=None, augmenter=None, images=None, source=None
):
    """What `write_learner` wrote, with what is given in its place.

    Parameters
    ----------
    folder : Path
    estimator, query_strategy, augmenter, images, source
        See `ActiveLearner.load`.

    Returns
    -------
    arguments : dict
        Of `ActiveLearner`.
    state : dict
        What it is made of besides, by attribute: where its seeds come from, how often it was
        annotated, and the steps of its last refit.

    Raises
    ------
    FileNotFoundError, ValueError
        See `ActiveLearner.load`.
    """
    state = _read_state(folder)
    labels = state["labels"]
    if images is None:
        images = _load_images(state["images"], folder)
    if query_strategy is None:
        query_strategy = _undescribed("query_strategy", state, _resolve_strategy)
    if augmenter is None:
        augmenter = _undescribed("augmenter", state, _resolve_augmenter)
    arguments = {
        "estimator": _load_estimator(state["estimator"], folder, estimator),
        "query_strategy": query_strategy,
        "on_transformed": state["on_transformed"],
        "images": images,
        "labels": _unlisted(labels),
        "groups": _unlisted(state.get("groups")),  # older files lack it
        "masks": _load_masks(_inside(folder, state["masks"]), len(labels["values"])),
        "augmenter": augmenter,
        "source": _same_source(state.get("source"), source),  # older files lack it
        "source_weight": state.get("source_weight", 1.0),
        "warm_start": state["warm_start"],
        "random_state": int(state["root"]) if state["seeded"] else None,
        **state["fit_kwargs"],
    }
    return arguments, {
        "_root": int(state["root"]),
        "_n_annotate": state["n_annotate"],
        "gradient_steps": state.get("gradient_steps"),  # older files lack them
    }


def _listed(values):
    return {"dtype": values.dtype.str, "values": values.tolist()}


def _unlisted(saved):
    return None if saved is None else np.array(saved["values"], dtype=np.dtype(saved["dtype"]))


def _save_estimator(estimator, folder):
    name = name_of_kind(type(estimator), ":")
    if not is_fitted(estimator):  # not fitted: its parameters are all there is
        return {"class": name, "file": None, "described": describe_object(estimator)}
    if not meets(estimator, Saved):
        raise TypeError(message("estimator", "one with save(path) and load(path)", estimator, PAGE))
    estimator.save(folder)
    return {"class": name, "file": folder.name}


def _same_source(saved, given):
    if saved is not None and given is None:
        rule = f"given, as it is not saved: {saved['n_images']} images"
        raise ValueError(message("source", rule, None))
    labels = (
        getattr(given, "labels", None) if given is None or hasattr(given, "labels") else given[1]
    )
    if saved is not None and len(labels) != saved["n_images"]:
        raise ValueError(message("source", f"the one of {saved['n_images']} images", "another"))
    return given


def _sweep(folder, state):
    """Remove what earlier or interrupted saves left behind."""
    keep = {state["masks"], state["estimator"]["file"], state["images"].get("file")}
    sweep(folder)
    for name in os.listdir(folder):
        if _NAMES.fullmatch(name) and name not in keep:
            remove_tree(folder / name, folder)


def _read_state(folder):
    path = folder / _STATE_FILE
    try:
        state = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} must be a saved learner, but is no JSON: {error}") from error
    if state.get("format") != _FORMAT:
        raise ValueError(f"{path} must be a saved learner, but is something else.")
    if state.get("version") != _VERSION:
        raise ValueError(
            message(f"version in {path}", f"{_VERSION}", state.get("version"), "Update alseg.")
        )
    return state


def _described(value, describe):
    if value is None:
        return None
    return {"described": describe(value), "shown": repr(value)[:200]}


def _undescribed(argument, state, resolve):
    saved = state[argument]
    if saved is None:
        return None
    if saved["described"] is None:
        raise ValueError(
            message(argument, "given: the saved one has no name in alseg", saved["shown"])
        )
    return resolve(argument, saved["described"])


def _resolve_strategy(argument, described):
    from alseg.strategies import current_strategy  # loads them all

    return current_strategy(resolve_callable(argument, described))


def _resolve_augmenter(argument, described):
    return resolve_object(argument, described, needs=("fit", "transform"))


def _load_estimator(saved, folder, given):
    if saved["file"] is None:
        if given is not None:
            return given
        if saved["described"] is None:
            raise ValueError(
                message("estimator", "given: the saved one was not fitted yet", saved["class"])
            )
        return resolve_object("estimator", saved["described"], needs=("fit", "load"))
    path = _inside(folder, saved["file"])
    if given is None:
        given = resolve_class("estimator", saved["class"], needs=("fit", "load"))
    return given.load(path) if hasattr(given, "load") else given(path)


def _inside(folder, name):
    if Path(name).name != name:
        raise ValueError(message(f"a file named in {folder / _STATE_FILE}", "in that folder", name))
    return folder / name


def _load_arrays(path):
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged: {error}. Take an earlier copy.") from error


def _load_masks(path, n):
    masks = np.full(n, None, dtype=object)
    for name, mask in _load_arrays(path).items():
        masks[int(name)] = mask
    return masks


def _paths_of(images):
    """The paths behind `images`, or None where they are arrays."""
    paths = getattr(images, "paths", images)
    if isinstance(paths, np.ndarray) and paths.ndim != 1:
        return None
    if all(isinstance(path, (str, os.PathLike)) for path in paths):
        return [os.fspath(path) for path in paths]
    return None


def _save_images(images, folder, token, include, previous):
    kind = "files" if hasattr(images, "paths") else "array"
    kind = "list" if isinstance(images, (list, tuple)) else kind
    paths = _paths_of(images)
    if paths is not None:
        return {"kind": kind, "paths": paths}
    if not include:
        return {"kind": "given"}
    if any(isinstance(image, (str, os.PathLike)) for image in images):
        raise TypeError("images must be all arrays or all paths to be saved, got some of each.")
    one_array = isinstance(images, np.ndarray) and images.dtype != object
    arrays = {"all": images} if one_array else {str(i): a for i, a in enumerate(images)}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    digest = hashlib.sha256()
    for array in arrays.values():
        add_array(digest, array)
    state = {"kind": kind, "file": f"images-{token}.npz", "sha256": digest.hexdigest()}
    before = previous.get("images", {})
    if before.get("sha256") == state["sha256"] and _inside(folder, before["file"]).exists():
        return {**state, "file": before["file"]}  # images do not change from round to round
    with replacing(folder / state["file"], folder) as temporary:
        np.savez(temporary, **arrays)
    return state


def _load_images(saved, folder):
    if saved["kind"] == "given":
        raise ValueError("images must be given: they were not saved (include_images=False).")
    if "paths" in saved:
        if saved["kind"] == "list":
            return list(saved["paths"])
        paths = np.array(saved["paths"], dtype=object)
        if saved["kind"] == "array":
            return paths
        return ImageFiles(paths)
    arrays = _load_arrays(_inside(folder, saved["file"]))
    if "all" in arrays:
        return arrays["all"]
    images = [arrays[str(i)] for i in range(len(arrays))]
    if saved["kind"] == "list":
        return images
    held = np.empty(len(images), dtype=object)
    for i, image in enumerate(images):
        held[i] = image
    return held
