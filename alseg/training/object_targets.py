"""What is learned of objects beside their class: where their border is, or how deep a pixel lies.

The class of a pixel and its border are told by different outputs, so that everything that is said
of classes (losses, soft masks, consistency, draws) holds as it is. Of two classes and an output b
the chance of a border is ``p(foreground) sigmoid(b)``, and the loss is the cross-entropy of
background, interior and border: ``CE(class) + CE(border | foreground)``.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from alseg.images import hard_mask
from alseg.labels import MISSING, is_soft

DEEPEST = 4  # border widths from which on a pixel is as deep as any

_MOST_IDS = np.iinfo(np.int16).max - 1  # ids are brought to size as int16


def object_ids(mask):
    """The objects of a mask: connected parts of one value, by a shared side.

    So a mask of classes and one of ids are read alike, and an id of two parts is two objects.

    Parameters
    ----------
    mask : ndarray of shape (H, W), int, or (C, H, W), float, as of `fit`
        0 is background, MISSING not annotated. Of soft masks the likeliest classes.

    Returns
    -------
    ndarray of shape (H, W), int32
        0 and MISSING stay.

    Examples
    --------
    >>> object_ids(np.array([[1, 1, 2, 0, 1, -1]])).tolist()
    [[1, 1, 2, 0, 3, -1]]
    """
    from skimage.measure import label

    mask = hard_mask(mask) if is_soft(mask) else np.asarray(mask)
    found = label(np.where(mask > 0, mask, 0), background=0, connectivity=1)
    found = np.where(found > _MOST_IDS, (found - 1) % _MOST_IDS + 1, found)
    return np.where(mask == MISSING, MISSING, found).astype(np.int32)


def object_targets(ids, kind, width):
    """What is to be learned of each pixel of an object, and where it is known.

    Distances are those to the nearest annotated pixel that is not of the object. Where one that is
    not annotated is as near, nothing is known: the object may go on there, or end.

    Parameters
    ----------
    ids : ndarray of shape (H, W), int
        As of `object_ids`.
    kind : {"border", "distance"}
        1 within `width` pixels of the border, else 0; of a thin object only within half its
        largest depth, so that each has an interior. Or the depth, in units of `DEEPEST` times
        `width` pixels and at most 1.
    width : float

    Returns
    -------
    target : ndarray of shape (H, W), float32, in [0, 1]
    known : ndarray of shape (H, W), bool
        False outside objects.

    Examples
    --------
    >>> ids = np.array([[0, 1, 1, 1, 1, 1, 2, 2, 2, 2, -1]])
    >>> target, known = object_targets(ids, "border", 1)
    >>> target.astype(int).tolist(), known.astype(int).tolist()
    ([[0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0]], [[0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]])
    """
    from scipy.ndimage import find_objects

    target, known = np.zeros(ids.shape, np.float32), np.zeros(ids.shape, bool)
    for number, box in enumerate(find_objects(np.maximum(ids, 0)), 1):
        if box is None:
            continue
        wide = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
        part = ids[wide]
        own, missing = part == number, part == MISSING
        depth, open_ = _distance(own | missing)[own], _distance(~missing)[own]
        if kind == "border":
            limit = min(width, depth.max() / 2)
            target[wide][own] = depth <= limit
            known[wide][own] = (depth <= limit) | (open_ > limit)
        else:
            target[wide][own] = np.minimum(depth / (DEEPEST * width), 1)
            known[wide][own] = (depth <= open_) | (open_ >= DEEPEST * width)
    return target, known


def _distance(inside):
    """Distance of each pixel to the nearest that is False; infinite where none is."""
    from scipy.ndimage import distance_transform_edt

    if inside.all():
        return np.full(inside.shape, np.inf)
    return distance_transform_edt(inside)


@dataclass
class ObjectReader:
    """What a fit is to learn of the objects in its masks, and how large those are that it read.

    Parameters
    ----------
    kind : None or {"border", "distance"}
        As of `object_targets`. None learns nothing.
    width : float, default=3.0
        In pixels of the network.
    mask_kind : {"classes", "instances"}, default="classes"
        What masks hold.

    Attributes
    ----------
    sizes : list of ndarray
        Pixels of the network, of each object of each mask that is annotated everywhere.
    """

    kind: str | None
    width: float = 3.0
    mask_kind: str = "classes"
    sizes: list = field(default_factory=list)

    def classes(self, mask):
        """A mask of classes of one that may hold ids: above 0 is foreground."""
        if self.mask_kind == "classes" or mask is None or is_soft(mask):
            return mask
        return np.minimum(mask, 1)

    def maps(self, ids, scale=1.0):
        """Targets of objects and where they are known, as a tensor that takes little memory.

        Parameters
        ----------
        ids : tensor of shape (h, w), int
            Of `object_ids`, at the size at which they are learned.
        scale : float, default=1.0
            Pixels of the network a pixel of these.

        Returns
        -------
        tensor of shape (2, h, w), uint8
            The target, in 255ths, and 0 or 1.
        """
        ids = ids.numpy()
        if (ids != MISSING).all():
            sizes = np.bincount(ids.ravel())[1:]
            self.sizes.append(sizes[sizes > 0] * scale**2)
        target, known = object_targets(ids, self.kind, self.width / scale)
        return torch.from_numpy(np.stack([np.rint(255 * target), known]).astype(np.uint8))

    def smallest(self):
        """The size that 19 of 20 objects have, or 0 where none was read."""
        sizes = np.concatenate(self.sizes) if self.sizes else ()
        return float(np.quantile(sizes, 0.05)) if len(sizes) else 0.0


def unpacked(maps):
    """What `ObjectReader.maps` gave, of a batch, as numbers in [0, 1]: (N, 2, h, w) float32."""
    return maps.float() / maps.new_tensor([255, 1]).reshape(2, 1, 1)


def object_loss(object_logits, mask_logits, target, kind, dice_scale=1.0):
    """The loss of what is learned of objects, beside that of classes.

    As of `JointLoss`, it is a mean over the images with an annotated pixel, in each divided by the
    number of annotated pixels: with it the loss of the border is that of one more class. Dice is
    of the border's chance ``p(foreground) sigmoid(b)``, over what is known to be border or not.

    Parameters
    ----------
    object_logits : tensor of shape (M, 1, H, W)
    mask_logits : tensor of shape (M, C, H, W)
    target : dict
        ``masks`` (M, H, W), ``mask_weight`` (M, 1, 1) or (M, H, W), and ``objects`` (M, 2, H, W),
        float: the target in [0, 1], and where it is known.
    kind : {"border", "distance"}
        Of distances there is no Dice.
    dice_scale : float, default=1.0

    Returns
    -------
    scalar tensor
        0 where no pixel is annotated.

    Examples
    --------
    >>> target = {"masks": torch.tensor([[[1, 0]]]), "mask_weight": torch.ones(1, 1, 1)}
    >>> target["objects"] = torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]]])
    >>> logits = torch.zeros(1, 1, 1, 2), torch.zeros(1, 2, 1, 2)
    >>> round(object_loss(*logits, target, "border", dice_scale=0.0).item(), 4)  # log 2, halved
    0.3466
    """
    logits, masks = object_logits[:, 0].float(), target["masks"]
    truth, known = target["objects"].unbind(1)
    annotated = (masks != MISSING).flatten(1).sum(1)
    weight = known * target["mask_weight"]
    each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * weight
    loss = each.flatten(1).sum(1) / annotated.clamp(min=1)
    if kind == "border" and dice_scale:
        valid = ((masks == 0) | (known > 0)) * target["mask_weight"]
        chance = (1 - mask_logits.float().softmax(1)[:, 0]) * logits.sigmoid()
        truth = truth * known
        overlap = (chance * truth * valid).flatten(1).sum(1)
        total = ((chance + truth) * valid).flatten(1).sum(1)
        dice = 1 - (2 * overlap + 1) / (total + 1)
        mean_weight = valid.flatten(1).sum(1) / annotated.clamp(min=1)
        loss = loss + dice_scale * dice * mean_weight.clamp(max=1)
    return (loss * (annotated > 0)).sum() / (annotated > 0).sum().clamp(min=1)


def with_objects(criterion, options, prediction, target):
    """The loss of a batch: the criterion's, of classes, and that of objects.

    Parameters
    ----------
    criterion : callable
        ``criterion(prediction, target)``, such as `alseg.training.JointLoss`.
    options : object
        With ``kind`` and ``weight``, such as `alseg.segmenter.Objects`.
    prediction : dict
        As of `JointCAMNetwork`.
    target : dict
        Of a batch, also one without ``"objects"``, of which this is the criterion alone.

    Returns
    -------
    scalar tensor
    """
    if not isinstance(target, dict) or "objects" not in target:
        return criterion(prediction, target)
    target = dict(target)
    objects, logits = target.pop("objects"), prediction.get("object_logits")
    loss = criterion(prediction, target)
    if logits is None:
        return loss
    # With consistency training images without a mask are decoded too, and stand last.
    logits, masks = (part[: len(objects)] for part in (logits, prediction["mask_logits"]))
    of_objects = object_loss(logits, masks, {**target, "objects": objects}, options.kind)
    return loss + options.weight * of_objects
