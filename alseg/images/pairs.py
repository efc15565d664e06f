"""Images and their masks, looked at together before they are used."""

from __future__ import annotations

from typing import Any

from alseg._types import Function, Images, Masks
from alseg.images.fitting import ratio
from alseg.images.sequences import as_images, as_masks
from alseg.labels import MISSING, is_soft
from alseg.progress import progress
from alseg.validation import message

_LISTED = 10  # bad files that one error names


def check_pairs(images: Images, masks: Masks, n_mask_classes: int | None = None) -> None:
    """Read every image and mask once, before an hour of training shows that one is bad.

    Parameters
    ----------
    images : as for `as_images`
    masks : as for `as_masks`
    n_mask_classes : int or None, default=None
        If given, mask values must be `MISSING` or in [0, n_mask_classes - 1].

    Raises
    ------
    FileNotFoundError, ValueError
        Names each file or position that is bad (the first ten), and why: it cannot be read, a
        mask's size differs from its image's, a value is no class.

    Examples
    --------
    >>> import numpy as np
    >>> check_pairs(np.zeros((1, 2, 2), np.uint8), [np.array([[0, 2], [0, 0]])], n_mask_classes=2)
    Traceback (most recent call last):
        ...
    ValueError: masks[0] holds the value 2, which is no class: with n_mask_classes=2 ...
    """
    for _ in read_pairs(images, masks, n_mask_classes):
        pass


def read_pairs(
    images: Images,
    masks: Masks,
    n_mask_classes: int | None = None,
    show: bool = False,
    read: Function | None = None,
    soft: bool = False,
):
    """Yield each image with its mask (None where there is none), read once, and checked.

    Parameters
    ----------
    images, masks, n_mask_classes
        As of `check_pairs`.
    show : bool, default=False
        Show a bar.
    read : callable or None, default=None
        Given a position, it gives the image as it is wanted. None gives the image itself.
    soft : bool, default=False
        As of `as_masks`.

    Yields
    ------
    image : ndarray of shape (H, W, C), or what `read` gives
    mask : ndarray of shape (H, W), or None; with `soft` also (C, H, W)

    Raises
    ------
    FileNotFoundError, ValueError
        After the last one, as `check_pairs`: those that are bad are passed over until then.
    """
    images = as_images(images)
    masks = as_masks(masks, len(images), soft)
    problems, missing = [], True
    with progress("read", len(images), show=show) as bar:
        for i in range(len(images)):
            try:
                pair = _read_pair(images, masks, i, n_mask_classes, read or images.__getitem__)
            except FileNotFoundError as error:
                problems.append(str(error))
            except ValueError as error:
                problems.append(str(error))
                missing = False
            else:
                yield pair
            bar.update()
    if problems:
        text = problems[0]
        if len(problems) > 1:
            text = f"{len(problems)} images or masks are bad. " + " ".join(problems[:_LISTED])
        raise (FileNotFoundError if missing else ValueError)(text)


def wrong_size(mask: Masks, found: Any, image: Images, wanted: Any) -> Any:
    """What is said of a mask that has not the size of its image; both as `where` names them.

    Examples
    --------
    >>> wrong_size("'m.png'", (4, 4), "'i.png'", (4, 6))
    "The mask 'm.png' is 4 x 4 pixels, its image 'i.png' 4 x 6: they must agree."
    """
    text = (
        f"The mask {mask} is {found[0]} x {found[1]} pixels, its image {image} "
        f"{wanted[0]} x {wanted[1]}: they must agree."
    )
    if ratio(found, wanted) is None:
        return text
    return (
        f"{text} Masks at a whole ratio of their image's size are brought to it, by nearest "
        "neighbour, with resize_masks=True (--resize-masks)."
    )


def _read_pair(images, masks, i, n_mask_classes, read):
    image, mask = read(i), masks[i]
    if mask is None:
        return image, None
    height, width = images.size(i)
    size = mask.shape[-2:]
    if size != (height, width):
        raise ValueError(wrong_size(masks.where(i), size, images.where(i), (height, width)))
    if n_mask_classes is None:
        return image, mask
    if is_soft(mask):
        if len(mask) != n_mask_classes:
            rule = f"of {n_mask_classes} classes, as n_mask_classes says"
            raise ValueError(message(masks.where(i), rule, len(mask)))
        return image, mask
    bad = mask[(mask < MISSING) | (mask >= n_mask_classes)]
    if bad.size:
        remedy = ""
        if n_mask_classes == 2:
            remedy = (
                " For 0/255 masks or instance ids map what is above 0 to 1: "
                "MaskFiles(paths, mapping='nonzero'), mask_mapping='nonzero' or "
                "--mask-mapping nonzero. Or say that ids are objects: "
                "objects=Objects(mask_kind='instances'), --mask-kind instances."
            )
        raise ValueError(
            f"{masks.where(i)} holds the value {bad.max()}, which is no class: with "
            f"n_mask_classes={n_mask_classes} it must be {MISSING} (not annotated) or in "
            f"[0, {n_mask_classes - 1}].{remedy}"
        )
    return image, mask
