"""Augmentation of one's own: a batch in, a batch out; by hand or by a library.

kornia, torchvision and albumentations are imported by their adapter alone, and are no dependency.
"""

import functools
import inspect

import torch

from alseg.labels import MISSING
from alseg.network import forked_torch_rng
from alseg.training.training_data import to_unit
from alseg.validation import message

# What a hook is given besides images and masks, where it has a parameter of the name. Those of the
# second line come back too, in this order.
_SEED = ("generator",)
_CHANGED = ("labels", "mask_weight")


def check_hook(name, hook):
    """Refuse what cannot be called as a hook is, see `run_hook`; None is no hook.

    Raises
    ------
    TypeError
    """
    if hook is None:
        return
    rule = "None or a function hook(images, masks), with generator, labels, mask_weight if it likes"
    if not callable(hook) or isinstance(hook, type):
        raise TypeError(message(name, rule, hook))
    parameters = _parameters(hook)
    given = [p for p in parameters.values() if p.name not in (*_SEED, *_CHANGED)]
    taken = [p for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    more = [p.name for p in taken[2:] if p.default is p.empty]
    more += [p.name for p in given if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    any_number = any(p.kind is p.VAR_POSITIONAL for p in given)
    if more or (len(taken) < 2 and not any_number):
        raise TypeError(message(name, rule, f"one of the parameters {list(parameters)}"))


def run_hook(hook, images, masks, labels, mask_weight, generator, n_mask_classes=None):
    """A batch as a hook changes it.

    Parameters
    ----------
    hook : callable
        ``hook(images, masks)``, which gives a pair back. Of the keywords ``generator``, ``labels``
        and ``mask_weight`` it is passed those that it names, and gives the last two, where it has
        them, back after the masks.
    images : tensor of shape (N, C, H, W), float in [0, 1]
    masks : tensor of shape (N, H, W), int64, MISSING where not annotated
    labels : tensor of shape (N,), int64
        Positions in ``classes_``.
    mask_weight : tensor of shape (N, 1, 1) or (N, H, W), float
    generator : torch.Generator
        Of the CPU. Torch's global generators are seeded by it, and put back after.
    n_mask_classes : int or None

    Returns
    -------
    images, masks, labels, mask_weight : tensors of the same shapes

    Raises
    ------
    TypeError, ValueError
        If it gives something else back.

    Examples
    --------
    >>> def upside_down(images, masks):
    ...     return images.flip(-2), masks.flip(-2)
    >>> images, masks = torch.rand(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64)
    >>> parts = torch.zeros(2, dtype=torch.int64), torch.ones(2, 1, 1)
    >>> found = run_hook(upside_down, images, masks, *parts, torch.Generator())
    >>> torch.equal(found[0][:, :, 0], images[:, :, 3])
    True
    """
    told = _parameters(hook)
    known = {"generator": generator, "labels": labels, "mask_weight": mask_weight}
    given = {name: value for name, value in known.items() if name in told}
    back = [name for name in _CHANGED if name in given]
    moves_alone = "mask_weight" not in back and mask_weight.shape[-1] > 1
    as_they_were = masks.clone() if moves_alone else None
    seed = int(torch.randint(2**62, (), generator=generator))
    with forked_torch_rng(seed, images.device):
        found = hook(images, masks, **given)
    names = ["images", "masks", *back]
    if not isinstance(found, (tuple, list)) or len(found) != len(names):
        rule = f"a function that gives ({', '.join(names)}) back"
        raise TypeError(message("augmentation.hook", rule, _shown(found)))
    changed = dict(zip(names, found))
    before = {"images": images, "masks": masks, "labels": labels, "mask_weight": mask_weight}
    _check_found(changed, before, n_mask_classes)
    if moves_alone and not torch.equal(changed["masks"], as_they_were):
        raise ValueError(
            "augmentation.hook must take mask_weight, and give it back, where weights differ within"
            " an image and it changes masks: pixels move, and their weights with them."
        )
    after = {**before, **changed}
    pixels = after["images"].to(images.dtype)
    return pixels, after["masks"].long(), after["labels"], after["mask_weight"]


def _check_found(changed, before, n_mask_classes):
    for name, value in changed.items():
        was = before[name]
        is_kind = torch.is_tensor(value) and value.is_floating_point() == was.is_floating_point()
        same = is_kind and value.shape == was.shape and value.device == was.device
        # Labels that are mixed have a share of each class.
        mixed = name == "labels" and torch.is_tensor(value) and value.ndim == 2
        if not (same or (mixed and len(value) == len(was))):
            rule = f"a tensor of {_shown(was)}"
            raise ValueError(message(f"{name} of augmentation.hook", rule, _shown(value)))
    if not torch.isfinite(changed["images"]).all():
        raise ValueError(message("images of augmentation.hook", "finite", "nan or infinity"))
    masks = changed["masks"]
    if masks is before["masks"] or n_mask_classes is None:
        return
    low, high = masks.min().item(), masks.max().item()
    if low < MISSING or high >= n_mask_classes:
        rule = f"in [0, {n_mask_classes - 1}], or {MISSING} where not annotated"
        bad = low if low < MISSING else high
        raise ValueError(message("masks of augmentation.hook", rule, bad))


def _shown(value):
    if torch.is_tensor(value):
        kind = str(value.dtype).removeprefix("torch.")
        return f"shape {tuple(value.shape)}, {kind}, on {value.device}"
    if isinstance(value, (tuple, list)):
        return f"{len(value)} of {[type(one).__name__ for one in value]}"
    return type(value).__name__


def _parameters(hook):
    try:
        return inspect.signature(hook).parameters
    except (TypeError, ValueError):
        return {}


# -- adapters --------------------------------------------------------------------------------------


def from_kornia(*augmentations):
    """A hook of kornia's augmentations, each of which draws anew for each image.

    Parameters
    ----------
    *augmentations : kornia.augmentation modules, or one ``AugmentationSequential``

    Returns
    -------
    callable
        For ``Augmentation(hook=...)``. What comes in from outside an image is MISSING where kornia
        pads with zeros, as it does by default.

    Examples
    --------
    >>> import kornia.augmentation as K
    >>> from alseg import Augmentation
    >>> hook = from_kornia(K.RandomAffine(15.0), K.ColorJiggle(0.1, 0.1))
    >>> augmentation = Augmentation(hook=hook)
    """
    from kornia.augmentation import AugmentationSequential

    if len(augmentations) == 1 and isinstance(augmentations[0], AugmentationSequential):
        (together,) = augmentations
    else:
        together = AugmentationSequential(*augmentations, data_keys=["input", "mask"])
    return functools.partial(_by_kornia, together)


def _by_kornia(together, images, masks, mask_weight):
    planes = _planes(masks, mask_weight)
    images, planes = together(images, planes, data_keys=["input", "mask"])
    return images, *_of_planes(planes, mask_weight)


def from_torchvision(transform):
    """A hook of a transform of torchvision.transforms.v2, called for each image by itself.

    Parameters
    ----------
    transform : callable
        ``transform(image, mask)`` of two tv_tensors, such as a ``v2.Compose``.

    Returns
    -------
    callable
        For ``Augmentation(hook=...)``. What comes in from outside an image is MISSING where
        torchvision fills with zeros, as it does by default.
    """
    return functools.partial(_by_torchvision, transform)


def _by_torchvision(transform, images, masks, mask_weight):
    from torchvision import tv_tensors

    planes, found = _planes(masks, mask_weight), []
    for image, plane in zip(images, planes):
        found.append(transform(tv_tensors.Image(image), tv_tensors.Mask(plane)))
    images, planes = (
        torch.stack([one.as_subclass(torch.Tensor) for one in p]) for p in zip(*found)
    )
    return images, *_of_planes(planes, mask_weight)


def from_albumentations(transform, dtype="uint8"):
    """A hook of a transform of albumentations (1.4.15 or later), called for each image by itself.

    Parameters
    ----------
    transform : callable
        ``transform(image=image, masks=[...])`` of arrays (H, W, C) and (H, W), which gives a dict
        of them, and has ``set_random_seed``: such as an ``albumentations.Compose``.
    dtype : {"uint8", "float32"}, default="uint8"
        Of the images that it is given: in [0, 255], for which most transforms are made, or in
        [0, 1].

    Returns
    -------
    callable
        For ``Augmentation(hook=...)``. What comes in from outside an image is MISSING where masks
        are filled with zeros, as they are by default.

    Raises
    ------
    TypeError
        If its random numbers cannot be seeded.
    """
    if not callable(getattr(transform, "set_random_seed", None)):
        remedy = "Earlier versions of albumentations draw from Python's global generator."
        rule = "a transform with set_random_seed"
        raise TypeError(message("transform", rule, transform, remedy))
    if dtype not in ("uint8", "float32"):
        raise ValueError(message("dtype", "'uint8' or 'float32'", dtype))
    return functools.partial(_by_albumentations, transform, dtype)


def _by_albumentations(transform, dtype, images, masks, mask_weight, generator):
    transform.set_random_seed(int(torch.randint(2**31, (), generator=generator)))
    planes = _planes(masks, mask_weight)
    shown = images.clamp(0, 1)
    shown = (shown * 255).round().byte() if dtype == "uint8" else shown
    shown, parts = shown.movedim(1, -1).cpu().numpy(), planes.cpu().numpy()
    found = [transform(image=image, masks=list(part)) for image, part in zip(shown, parts)]
    pixels = [torch.as_tensor(one["image"]).movedim(-1, 0) for one in found]
    moved = [torch.stack([torch.as_tensor(part) for part in one["masks"]]) for one in found]
    images = to_unit(torch.stack(pixels)).to(images)
    return images, *_of_planes(torch.stack(moved).to(planes), mask_weight)


def _planes(masks, mask_weight):
    """Masks, and weights of pixels, as maps (N, P, H, W) that zeros can come into: 0 is MISSING."""
    planes = [(masks - MISSING).float()]
    if mask_weight.shape[-1] > 1:
        planes.append(mask_weight)
    return torch.stack(planes, 1)


def _of_planes(planes, mask_weight):
    nearest = planes[:, 0].round()
    between = (planes[:, 0] - nearest).abs() > 1e-3  # of a transform that was told to interpolate
    masks = torch.where(between, 0, nearest.long()) + MISSING
    return masks, (planes[:, 1] if planes.shape[1] > 1 else mask_weight)
