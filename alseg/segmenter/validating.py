"""What a fit comes to on its validation part, after each epoch: losses and scores for `history`."""

import numpy as np
import torch

from alseg.images import as_images, as_masks, stack
from alseg.labels import MISSING, codes_among, is_annotated
from alseg.metrics import mask_from_proba, mean_dice
from alseg.network import evaluating
from alseg.segmenter.checks import list_masks
from alseg.segmenter.inference import resize_maps
from alseg.training import mask_tensor

# Images of a validation part that are kept decoded over a fit, in values; more are read each time.
_KEPT_VALUES = 2**26


def validation_loss(model):
    """The loss of each batch of the validation part, in the order of its images.

    Parameters
    ----------
    model : LoopingSegmenter
        While a fit is under way.

    Returns
    -------
    list of (float, int)
        The criterion's value, and the images of the batch: whole, as predictions see them. With
        `crop` at their own size, each by itself.
    """
    part, phase = model.validation_, model._phase_name
    images = as_images(part.images)
    codes = _codes(model, part.labels, len(images))
    decode = phase != "classifier" and model.has_masks_
    masks = _masks_of(model, images) if decode else None
    losses, sizes = [], []
    with torch.no_grad(), evaluating(model.module_):
        for positions, x in _batches(model, images):
            n_decode = len(x) if decode else 0
            prediction = dict(model.infer({"x": x, "n_decode": n_decode}))
            restore = model._restore(images, positions)
            if restore is not None and prediction["mask_logits"] is not None:
                prediction["mask_logits"] = restore(prediction["mask_logits"])
            chosen = list(positions)
            target = {"labels": codes[chosen].to(x.device)}
            target["masks"] = x.new_zeros((0, *x.shape[2:]), dtype=torch.int64)
            if decode:
                target["masks"] = torch.stack([masks[i] for i in chosen]).to(x.device).long()
            target["mask_weight"] = x.new_ones((n_decode, 1, 1))
            target["weighted"] = False
            losses.append(model.get_loss(prediction, target).detach())
            sizes.append(len(x))
    return list(zip(torch.stack(losses).cpu().tolist(), sizes))


def validation_scores(model):
    """What the predictions for the validation part are worth: at 0.5, each image at its own size.

    Parameters
    ----------
    model : LoopingSegmenter
        While a fit is under way.

    Returns
    -------
    dict of str -> float
        ``valid_dice``, the mean Dice of the images with an annotated pixel, once there are masks to
        learn from; ``valid_accuracy`` of those whose label is one of the classes.
    """
    part, kept = model.validation_, model._run.validation
    images = as_images(part.images)
    codes = _codes(model, part.labels, len(images)).numpy()
    labelled = model.has_class_head and part.labels is not None
    labelled = labelled and bool((codes != MISSING).any()) and not model.multilabel_
    if "own_masks" not in kept:
        masks = list_masks(part.masks, len(images))
        kept["own_masks"] = masks if any(is_annotated(mask) for mask in masks) else None
    masks = kept["own_masks"]
    if model._phase_name == "classifier" or not model.has_masks_:
        masks = None
    need = ("proba",) * labelled + ("mask_proba",) * (masks is not None)
    predicted, drawn = [], []
    for _, positions, out in model._stream(images, need) if need else ():
        if labelled:
            predicted.append(out["proba"].argmax(1).cpu().numpy())
        if masks is not None:
            for i, proba in zip(positions, out["mask_proba"]):
                drawn.append(mask_from_proba(resize_maps(proba, images.size(i)), 0.5))
    scores = {}
    if masks is not None:
        found = mean_dice(stack(drawn), masks, n_mask_classes=model.n_mask_classes)
        scores["valid_dice"] = float(found)
    if labelled:
        right = (np.concatenate(predicted) == codes)[codes != MISSING]
        scores["valid_accuracy"] = float(right.mean())
    return scores


def _batches(model, images):
    """Batches of the whole images, as for predictions; kept over a fit where they are few."""
    kept = model._run.validation
    if "batches" in kept:
        return kept["batches"]
    if model.crop is not None or len(images) * np.prod(model.canvas_) * 3 > _KEPT_VALUES:
        return model._batches(images)
    kept["batches"] = list(model._batches(images))
    return kept["batches"]


def _masks_of(model, images):
    """Masks at the size at which the loss sees them: int16 tensors."""
    kept = model._run.validation
    if "masks" not in kept:
        masks, found = as_masks(model.validation_.masks, len(images)), []
        for i in range(len(images)):
            size = model.canvas_ if model.crop is None else images.size(i)
            mask = masks[i]
            nothing = torch.full(tuple(size), MISSING, dtype=torch.int16)
            found.append(nothing if mask is None else mask_tensor(mask, size))
        kept["masks"] = found
    return kept["masks"]


def _codes(model, labels, n):
    """Positions of labels in the classes; `MISSING` for one that is none of them."""
    if labels is None or not model.has_class_head:
        return torch.full((n,), MISSING)
    return torch.as_tensor(codes_among(labels, model.classes_))


def record_best(history, name, value):
    """Record a score that is the better the larger, and whether no epoch before had as much.

    As skorch's scoring callbacks do, so that ``monitor=f"{name}_best"`` is understood.
    """
    before = [row[name] for row in history[:-1] if name in row]
    history.record(name, value)
    history.record(f"{name}_best", bool(value > max(before, default=-np.inf)))
