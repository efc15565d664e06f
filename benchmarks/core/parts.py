"""Parts of a data set: what they must have, and cut to fewer and smaller images."""

import dataclasses
from typing import NamedTuple

import numpy as np
from PIL import Image

from alseg.images import as_images, as_masks
from alseg.query import class_balanced_top_n


class Wanted(NamedTuple):
    """What a part of the data must have.

    Parameters
    ----------
    n_images : int or None, default=None
        As published; None is any number.
    masks : bool, default=True
        Whether each image needs one.
    """

    n_images: int | None = None
    masks: bool = True


class BadData(ValueError):
    """A folder that does not hold what a benchmark needs; the message has a line for each lack."""


def check_parts(parts, wanted, where):
    """Name everything that is missing, before anything is trained.

    Parameters
    ----------
    parts : mapping of str -> Dataset
    wanted : dict of str -> Wanted
    where : str or Path

    Raises
    ------
    BadData
        If a part, an image, a mask or a class is missing, or a published number of images differs.
    """
    lacks = []
    for name, want in wanted.items():
        if name not in parts:
            there = ", ".join(part for part in parts if part != "all") or "none"
            lacks.append(f"part {name!r}: must be there, got the parts {there}")
            continue
        part = parts[name]
        if want.n_images is not None and len(part) != want.n_images:
            lacks.append(f"part {name!r}: must have {want.n_images} images, got {len(part)}")
        if want.masks:
            lacks += _lacking_masks(name, part)
    if "train" in parts:
        taught = set(map(str, parts["train"].labels))
        for name in wanted:
            strange = sorted(set(map(str, parts[name].labels)) - taught) if name in parts else ()
            for label in strange:
                n = int((parts[name].labels.astype(str) == label).sum())
                lacks.append(
                    f"class {label!r}: must have a training image, got none ({n} in {name!r})"
                )
    if lacks:
        raise BadData("\n".join([f"{where} cannot be used:", *(f"  {lack}" for lack in lacks)]))


def _lacking_masks(name, part):
    if part.masks is None:
        return [f"part {name!r}: must have a mask for each of {len(part)} images, got none"]
    paths = getattr(part.masks, "paths", None)
    known = (
        [p is not None for p in paths]
        if paths is not None
        else [mask is not None for mask in as_masks(part.masks, len(part))]
    )
    without = [str(part.ids[i]) for i in np.flatnonzero(~np.array(known, dtype=bool))]
    if not without:
        return []
    shown = ", ".join(without[:5]) + (", ..." if len(without) > 5 else "")
    return [f"part {name!r}: must have a mask for each image, got none for {len(without)}: {shown}"]


def fewer(part, n, seed=0):
    """At most `n` images of a part, alike of all classes, drawn by a seed; in their order.

    Parameters
    ----------
    part : Dataset
    n : int or None
        None is all of them.
    seed : int, default=0

    Returns
    -------
    Dataset
    """
    if n is None or n >= len(part):
        return part
    rng = np.random.default_rng(seed)
    picked = class_balanced_top_n(rng.random(len(part)), part.labels, n, rng)
    return part.take(np.sort(picked))


def shrunk(part, to, smooth=Image.Resampling.BICUBIC):
    """A part as smaller arrays: images smoothly, masks and instances by their nearest pixels.

    Parameters
    ----------
    part : Dataset
    to : float or (int, int)
        Of height and width: a factor, 1 leaves the part as it is; or the size of all images.
    smooth : PIL.Image.Resampling, default=BICUBIC
        Of images.

    Returns
    -------
    Dataset
    """
    if to == 1:
        return part

    def size_of(array):
        return to if isinstance(to, tuple) else [max(1, round(to * n)) for n in array.shape[:2]]

    def small(array, kind):
        height, width = size_of(array)
        return np.asarray(Image.fromarray(array).resize((width, height), kind))

    def small_masks(masks):
        if masks is None:
            return None
        known = as_masks(masks, len(part))
        return _listed(
            None
            if known[i] is None
            else small(known[i].astype(np.int32), Image.Resampling.NEAREST).astype(np.int16)
            for i in range(len(part))
        )

    images = as_images(part.images)
    return dataclasses.replace(
        part,
        images=[small(np.asarray(images[i]), smooth) for i in range(len(part))],
        masks=small_masks(part.masks),
        instances=small_masks(part.instances),
    )


def foreground_arrays(data, idx, size):
    """Images of a data set and their foreground, 0 and 1, as arrays of one size.

    Parameters
    ----------
    data : Dataset
    idx : sequence of int
    size : (int, int)
        Height and width.

    Returns
    -------
    images : ndarray of shape (n, H, W, C), uint8
    masks : ndarray of shape (n, H, W), int16
    """
    across = size[::-1]
    images = [
        Image.fromarray(np.asarray(data.images[i])).resize(across, Image.Resampling.BILINEAR)
        for i in idx
    ]
    masks = [Image.fromarray((np.asarray(data.masks[i]) > 0).astype(np.uint8)) for i in idx]
    masks = [
        np.asarray(mask.resize(across, Image.Resampling.NEAREST), dtype=np.int16) for mask in masks
    ]
    return np.stack([np.asarray(image) for image in images]), np.stack(masks)


def _listed(arrays):
    arrays = list(arrays)
    found = np.empty(len(arrays), dtype=object)
    for i, array in enumerate(arrays):
        found[i] = array
    return found


def read_parts(study, options, folder):
    """The parts that a run uses, checked, cut and shrunk as the profile says.

    Raises
    ------
    BadData
        If something is missing, see `check_parts`; or a file is, as the loader says.
    """
    try:
        parts = study.load(folder, options)
    except (OSError, ValueError) as error:
        raise BadData(f"{folder} cannot be used:\n  {error}") from error
    wanted = study.wanted(folder, options)
    check_parts(parts, wanted, folder)
    limits = {"train": "limit", "valid": "valid_limit", "test": "test_limit"}
    found = {
        name: shrunk(fewer(parts[name], options.get(limits[name])), options.get("shrink", 1))
        for name in wanted
    }
    # A limit can leave a class without a training image; a class that is not trained is not tested.
    check_parts(found, {name: Wanted(None, want.masks) for name, want in wanted.items()}, folder)
    return found
