"""`state.json`: what may stand in it, and how it is read where it may come from somebody else."""

import re

from alseg.files import read_json
from alseg.project.rules import are_colours

FORMAT = "alseg.Project/1"

MASK_OPTIONS = ("mask_mapping", "missing_value", "mask_suffix", "resize_masks")
"""How masks are read, for each `add` too."""

OPTIONS = (
    "strategy",
    "first",
    "class_balanced",
    "pseudo_labels",
    "seed",
    "part",
    *MASK_OPTIONS,
    "mask_classes",
    "mask_kind",
)
"""What a state holds of the command line, beside the estimator's parameters."""

ESTIMATOR_OPTIONS = (
    "preset",
    "encoder",
    "encoder_weights",
    "pooling",
    "n_mask_classes",
    "image_size",
    "max_epochs",
    "steps_per_epoch",
    "batch_size",
    "lr",
    "schedule",
    "objects",
    "device",
)
"""Parameters of the estimator that a state may hold: none names code or a place to write."""


class ProjectError(ValueError):
    """A state folder, or masks for it, that cannot be used as asked."""


def read_state(path):
    """`state.json`, every part of it checked: it may come from somebody else.

    Parameters
    ----------
    path : Path

    Returns
    -------
    state : dict

    Raises
    ------
    ProjectError
        If it is damaged, or not a state of this version.
    """
    try:
        state = read_json(path)
    except ValueError as error:
        raise ProjectError(str(error)) from error
    if state.get("format") != FORMAT:
        raise ProjectError(f"{path} is not the state of this version of alseg.")
    problem = _problem(state)
    if problem:
        raise ProjectError(f"{path} is damaged: {problem}.")
    return state


def _problem(state):
    """What is wrong with the shape of a state, or None."""
    shapes = {"data": str, "options": dict, "rounds": list, "masks": dict}
    for name, kind in shapes.items():
        if not isinstance(state.get(name), kind):
            return f"{name!r} must be a {kind.__name__}"
    options = state["options"]
    strange = sorted(set(options) - {*OPTIONS, "estimator"})
    estimator = options.get("estimator", {})
    if not isinstance(estimator, dict):
        return "'estimator' must be a dict"
    strange += sorted(set(estimator) - set(ESTIMATOR_OPTIONS))
    if strange:
        return f"it has the option {strange[0]!r}, which no state has"
    if options.get("first") not in (None, "random", "diverse"):
        return "'first' must be 'random' or 'diverse'"
    for name in ("strategy", "part", "mask_suffix", "mask_mapping", "mask_kind"):
        if not isinstance(options.get(name, ""), str | None):
            return f"{name!r} must be a string"
    if not isinstance(estimator.get("n_mask_classes", 2), int) or not (
        2 <= estimator.get("n_mask_classes", 2) <= 255
    ):
        return "'n_mask_classes' must be an integer in [2, 255]"
    if not isinstance(options.get("mask_classes") or [], list):
        return "'mask_classes' must be a list"
    for found in state["rounds"]:
        if (
            not isinstance(found, dict)
            or not _is_natural(found.get("round"))
            or not _are_names(found.get("ids"))
        ):
            return "a round must have a number and ids"
    return (
        _problem_of_masks(state["masks"])
        or _problem_of_history(state.get("history", []))
        or _problem_of_answers(state)
    )


def _problem_of_answers(state):
    """Of what `alseg annotate` keeps beside masks."""
    for name in ("skipped", "empty"):
        if not _are_names(state.get(name, [])):
            return f"{name!r} must be names"
    if not are_colours(state.get("colors", [])):
        return "'colors' must be of the form '#rrggbb'"
    labels, revisions = state.get("labels", {}), state.get("revisions", {})
    if not isinstance(labels, dict) or not _are_names(list(labels.values())):
        return "'labels' must be names by name"
    if not isinstance(revisions, dict) or not all(map(_is_natural, revisions.values())):
        return "'revisions' must be numbers by name"
    return _problem_of_checks(state.get("checks", {})) or _problem_of_regions(
        state.get("regions", {})
    )


def _problem_of_regions(regions):
    """Of parts of images that were asked: see `alseg.annotate`."""
    if not isinstance(regions, dict):
        return "'regions' must be regions by name"
    for name, entry in regions.items():
        windows = entry.get("windows") if isinstance(entry, dict) else None
        if not isinstance(windows, list) or not windows or not _is_natural(entry.get("answered")):
            return f"the regions of {name!r} must be windows, and how many are answered"
        for window in windows:
            if (
                not isinstance(window, list)
                or len(window) != 4
                or not all(map(_is_natural, window))
            ):
                return f"a window of {name!r} must be top, left, height and width"
    return None


def _problem_of_checks(checks):
    """Of images that were asked to measure the model: see `alseg.annotate`."""
    if not isinstance(checks, dict):
        return "'checks' must be checks by name"
    for name, entry in checks.items():
        if not isinstance(entry, dict):
            return f"the check {name!r} must say how it was answered"
        if not all(_is_natural(entry.get(key, 0)) for key in ("points", "number")):
            return f"the check {name!r} must have numbers"
        if entry.get("answer") not in (None, "whole", "points", "strokes"):
            return f"the check {name!r} must be answered by 'whole', 'points' or 'strokes'"
    return None


def _problem_of_masks(masks):
    for name, entry in masks.items():
        file = entry.get("file") if isinstance(entry, dict) else None
        plain = isinstance(file, str) and file not in ("", ".", "..")
        if not plain or re.search(r"[/\\\0]", file):
            return f"the mask of {name!r} must have the name of a file in masks/"
        if not isinstance(entry.get("share", 0.0), int | float | None):
            return f"the share of {name!r} must be a number"
        if not isinstance(entry.get("annotated", 1.0), int | float):
            return f"the annotated share of {name!r} must be a number"
        if not isinstance(entry.get("digest"), str | None):
            return f"the digest of {name!r} must be a string"
    return None


def _problem_of_history(history):
    if not isinstance(history, list):
        return "'history' must be a list"
    for step in history:
        if not isinstance(step, dict) or step.get("command") not in ("add", "query", "skip"):
            return "a step of the history must be of add, query or skip"
        if step["command"] == "skip" and not isinstance(step.get("id"), str):
            return "a skip in the history must name an image"
        if step["command"] == "query" and not _is_natural(step.get("round")):
            return "a question in the history must have a round"
        before = step.get("before", {})
        if step["command"] == "add" and not isinstance(before, dict):
            return "an add in the history must say what was before"
        found = _problem_of_masks({k: v for k, v in before.items() if v is not None})
        if found:
            return found
    return None


def _is_natural(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**6


def _are_names(value):
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
