"""What is said once for many images: the pixel classes, and labels whose images hold nothing."""

import re

import numpy as np

from alseg.images import as_images
from alseg.labels import missing_labels
from alseg.validation import message, printable

_MOST_CLASSES = 253  # above the background: 255 is "nobody said"
_LONGEST = 60
_COLOUR = re.compile("#[0-9a-f]{6}")


def set_classes(project, names, colors):
    """Name the pixel classes above the background, and give them colours.

    Parameters
    ----------
    project : Project
    names : list of str
        Different ones. Once something is marked, those there may be renamed, not moved or removed,
        and others may come behind them: masks hold their numbers.
    colors : list of str
        "#rrggbb" of each.

    Raises
    ------
    ValueError
        If they are none, or masks would change their meaning. Nothing is changed then.
    """
    names, colors = _named(names), _coloured(colors, names)
    before = project.class_names
    if project.has_drawn().any() or any(n.startswith("drafts/") for n in project.files.names()):
        moved = [name for k, name in enumerate(before) if name in names and names.index(name) != k]
        if moved or len(names) < len(before):
            rule = f"as many as before, {before}, in that order, or more"
            remedy = "Masks hold their numbers: undo them first, or rename a class."
            raise ValueError(message("names", rule, names, remedy))
    options = project.state["options"]
    estimator = {**options["estimator"], "n_mask_classes": len(names) + 1}
    project.state["options"] = {**options, "mask_classes": names, "estimator": estimator}
    project.state["colors"] = colors
    project.write()


def _named(names):
    rule = f"1 to {_MOST_CLASSES} different texts of at most {_LONGEST} characters"
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(message("names", rule, names))
    names = [" ".join(name.split()) for name in names]
    good = all(0 < len(name) <= _LONGEST and name == printable(name) for name in names)
    same = len({name.casefold() for name in [*names, "background"]}) <= len(names)
    if not good or same or not 1 <= len(names) <= _MOST_CLASSES:
        raise ValueError(message("names", rule + ', none of them "background"', names))
    return names


def _coloured(colors, names):
    if not are_colours(colors) or len(colors) != len(names):
        raise ValueError(message("colors", f'{len(names)} of the form "#rrggbb"', colors))
    return colors


def are_colours(value):
    """Whether this is a list of "#rrggbb"."""
    return isinstance(value, list) and all(
        isinstance(colour, str) and _COLOUR.fullmatch(colour) for colour in value
    )


def set_empty(project, label, empty):
    """Say whether all images of a class label hold nothing: each pixel is background.

    Parameters
    ----------
    project : Project
    label : str
        One of the labels of images.
    empty : bool
        False takes it back, and all is as before.

    Raises
    ------
    ValueError
        If no image has that label.
    """
    if not isinstance(empty, bool):
        raise ValueError(message("empty", "true or false", empty))
    labels = project.data.labels
    known = [] if labels.ndim > 1 else sorted({str(x) for x in labels[~missing_labels(labels)]})
    if label not in known:
        raise ValueError(message("label", f"one of {known}", label))
    others = [one for one in project.state.get("empty", ()) if one != label]
    project.state["empty"] = sorted([*others, label] if empty else others)
    project.write()


def by_rule(project):
    """Images that hold nothing because their class label says so.

    A mask goes before the rule: an image that has one is not among them.

    Parameters
    ----------
    project : Project

    Returns
    -------
    ruled : ndarray of shape (n,), bool
    """
    labels, empty = project.data.labels, project.state.get("empty")
    if not empty or labels.ndim > 1:
        return np.zeros(len(project.data), dtype=bool)
    said = np.isin(labels.astype(str), list(empty)) & ~missing_labels(labels)
    return said & ~project.has_drawn()


def in_turn(project, ruled):
    """Images that hold nothing by the rule, in the order in which fits take some of them.

    Parameters
    ----------
    project : Project
    ruled : ndarray of shape (n,), bool
        See `by_rule`.

    Returns
    -------
    positions : ndarray of shape (ruled.sum(),), int
        The order is drawn once for all.
    """
    order = np.random.default_rng([project.option("seed", 0), 16]).permutation(len(ruled))
    return order[ruled[order]]


def with_rule(project, known):
    """Masks, and beside them empty ones of images by the rule: as many as were drawn, at most.

    More would teach what most fits know already, in the place of what was drawn: half of what a
    fit sees stays drawn. Which ones is drawn once for all, so that another mask brings others
    beside those there, and the same masks give the same fit.

    Parameters
    ----------
    project : Project
    known : ndarray of shape (n,), object
        Masks, or None.

    Returns
    -------
    known : ndarray of shape (n,), object
    """
    ruled = by_rule(project)
    if not ruled.any():
        return known
    known, images = known.copy(), as_images(project.data.images)
    left = sum(mask is not None for mask in known)
    for i in in_turn(project, ruled):
        if not left:
            break
        try:
            known[i] = np.zeros(images.size(i), np.int16)
        except (OSError, ValueError):  # it teaches nothing, and who asks for it is told
            continue
        left -= 1
    return known
