"""Masks that somebody has drawn: found by their names, checked, kept, and looked at."""

from pathlib import Path

import numpy as np

from alseg.files import digest_of, file_name, file_names
from alseg.images import MaskFiles, as_images, decide_coding
from alseg.labels import MISSING
from alseg.project.answers import look_at_mask
from alseg.project.folders import image_files_under
from alseg.project.mask_files import read_proposal, read_stored, stored_bytes
from alseg.project.state import clean
from alseg.project.state_file import ProjectError
from alseg.report import ask_folder

_MOST_IDS = 2**15  # masks are read as int16


def add(
    project,
    folder,
    replace=False,
    mask_mapping=None,
    missing_value=None,
    mask_suffix=None,
    resize_masks=None,
):
    """Take in masks that were drawn elsewhere; either all of them or none.

    Parameters
    ----------
    project : Project
    folder : str or Path
        Mask files whose stems (or paths without suffix) are names of images.
    replace : bool, default=False
        Whether a mask may take the place of a different one already there.
    mask_mapping, missing_value, mask_suffix, resize_masks
        As of `load_folder`; None takes what was said or decided before.

    Returns
    -------
    found : dict
        ``looks``, an `alseg.project.Answer` for each mask added, by the image's name; ``same``,
        names of images whose mask was there already and is the same; ``skipped``, files that are no
        images; ``coding``, a line about what the values mean.

    Raises
    ------
    ProjectError
        If a file fits no image, has another size, holds a value that is no class, or its image
        has another mask already. Nothing is changed then.
    """
    folder = Path(folder).expanduser()
    files, skipped = image_files_under(folder)
    suffix = project.option("mask_suffix") if mask_suffix is None else mask_suffix
    matches = _matches(project, files, folder, suffix)
    project.check_files(matches.values())
    coding = _coding(project, matches, mask_mapping, missing_value)
    resize = project.option("resize_masks", False) if resize_masks is None else resize_masks
    masks = _read(project, matches, coding, resize)
    same = _already_there(project, matches, masks, replace)
    for name in same:
        del masks[name]
    looks = keep(project, masks, coding) if masks else {}
    clean(project)
    return {"looks": looks, "same": same, "skipped": skipped, "coding": coding.describe()}


def keep(project, masks, coding=None):
    """Keep masks as those that count, in one step: what `add` does once it has read them.

    Parameters
    ----------
    project : Project
    masks : dict of str to ndarray of shape (H, W), int
        By the image's name: classes below `Project.n_mask_classes`, or ids of objects where
        `Project.mask_kind` says so, `MISSING` where nobody said; at least one pixel is annotated.
        They take the place of those that are there.
    coding : MaskCoding or None, default=None
        How the files were coded that they come from, for those that come later.

    Returns
    -------
    looks : dict of str to Answer
        See `look_at_mask`.
    """
    state = project.state
    looks = _looks(project, masks)
    before = {name: state["masks"].get(name) for name in masks}
    for name, mask in masks.items():
        data = stored_bytes(mask)
        # Named by content: what an old state names is never written over.
        file = file_name(f"{name}-{digest_of(data, 8)}", ".png")
        project.files.write(f"masks/{file}", data)
        look = looks[name]
        state["masks"][name] = {
            "file": file,
            "share": round(look.foreground, 6),
            "annotated": look.annotated,
            "digest": look.digest,
        }
    project.revise(masks)
    skipped = [name for name in state.get("skipped", ()) if name not in masks]
    if len(skipped) < len(state.get("skipped", ())):
        state["skipped"] = skipped  # it could be told after all
    if coding is not None:
        state["added"] = coding.to_dict()
    state.setdefault("history", []).append({"command": "add", "before": before})
    project.write()
    return looks


def _matches(project, files, folder, suffix):
    from alseg.datasets import match_names

    try:
        return match_names(files, project.data.ids.tolist(), folder, suffix)
    except ValueError as error:
        raise ProjectError(f"{error} Nothing was added.") from error


def _coding(project, matches, mapping, missing_value):
    """How these masks are coded: as this command says, as those added before, or by themselves."""
    files = [file for found in matches.values() for file in found]
    known = None
    if mapping is None and missing_value is None:
        known = project.coding("added")
        mapping, missing_value = project.option("mask_mapping"), project.option("missing_value")
    try:
        if known is not None:
            return decide_coding(files, known=known)
        return decide_coding(files, project.mapping(mapping), missing_value)
    except ValueError as error:
        raise ProjectError(f"{error} Nothing was added.") from error


def _read(project, matches, coding, resize):
    """The masks by the names of their images, checked."""
    images = as_images(project.data.images)
    n_classes = project.n_mask_classes if project.mask_kind == "classes" else _MOST_IDS
    masks, problems = {}, []
    for i, files in matches.items():
        image = [images.paths[i]] if resize and hasattr(images, "paths") else None
        where = ", ".join(map(str, files))
        try:
            mask = MaskFiles([tuple(map(str, files))], coding, image)[0]
            _check(mask, images.size(i), n_classes, where, coding)
            masks[str(project.data.ids[i])] = mask
        except ValueError as error:
            problems.append(str(error))
    if problems:
        more = f" And {len(problems) - 1} more." if len(problems) > 1 else ""
        raise ProjectError(f"{problems[0]}{more} Nothing was added.")
    return masks


def _check(mask, size, n_classes, where, coding):
    if mask.shape != tuple(size):
        raise ProjectError(
            f"{where}: the mask is {mask.shape[0]} x {mask.shape[1]} pixels, its image "
            f"{size[0]} x {size[1]}. Draw it at the image's size, or --resize-masks if it is "
            "twice, half, ... as large."
        )
    values = np.unique(mask[mask != MISSING])
    bad = values[(values < 0) | (values >= n_classes)]
    if len(bad):
        shown = ", ".join(map(str, bad[:4])) + (", ..." if len(bad) > 4 else "")
        classes = f"0 to {n_classes - 1}" + (", or 0 and 255" if n_classes == 2 else "")
        raise ProjectError(
            f"{where}: holds {shown}, where only classes may stand ({classes}). For instance ids "
            "say --mask-mapping nonzero, or alseg query --mask-kind instances, which keeps objects "
            "apart; for soft edges half."
        )
    if not len(values):
        raise ProjectError(f"{where}: no pixel is annotated ({coding.describe()}).")


def _already_there(project, matches, masks, replace):
    """Names of images that have this mask already; an error if one has another."""
    in_folder = project.in_folder()
    same, different = [], []
    for i, files in matches.items():
        name = str(project.data.ids[i])
        entry = project.state["masks"].get(name)
        if entry is not None:
            there = read_stored(project.folder / "masks" / entry["file"])
        elif in_folder[i]:
            there = project.data.masks[i]
        else:
            continue
        if there.shape == masks[name].shape and (there == masks[name]).all():
            same.append(name)
        elif not replace:
            different.append(f"{files[0]}: {name!r} has a mask already, another one")
    if different:
        more = f" And {len(different) - 1} more." if len(different) > 1 else ""
        raise ProjectError(
            f"{different[0]} (--replace takes the new one).{more} Nothing was added."
        )
    return same


def _looks(project, masks):
    """What each mask looks like beside its proposal and the masks added before."""
    shares, digests = [], {}
    for name, entry in project.state["masks"].items():
        if name not in masks and isinstance(entry.get("share"), float):
            shares.append(entry["share"])
            digests[entry.get("digest")] = name
    looks = {}
    for name, mask in masks.items():
        look = look_at_mask(
            project.classes(mask),
            _proposal(project, name, mask.shape),
            shares,
            digests,
            project.n_mask_classes,
            project.class_names,
        )
        shares.append(look.foreground)
        digests[look.digest] = name
        looks[name] = look
    return looks


def _proposal(project, name, shape):
    """The mask that was proposed when an image was last asked for, or None."""
    for found in reversed(project.state["rounds"]):
        if name in found["ids"]:
            file = file_names(found["ids"], ".png")[found["ids"].index(name)]
            path = project.folder / ask_folder(found["round"]) / file
            if not path.is_file():
                return None
            try:
                proposal = read_proposal(path, project.n_mask_classes)
            except ValueError:  # somebody drew over it
                return None
            fits = proposal.shape == shape and proposal.max() < project.n_mask_classes
            return proposal if fits else None
    return None
