"""Every number that a record holds about a model, from one pass over the test images."""

import numpy as np

from alseg.derived import joint_of
from alseg.experiment.measures import average, measure_image
from alseg.images import as_images, as_masks
from alseg.interfaces import attribute_of, has_class_head, mask_classes_of
from alseg.labels import MISSING, as_labels, codes_among, label_names, missing_labels
from alseg.metrics import (
    by_label,
    calibration_bins,
    calibration_error_from_bins,
    dice_per_image,
    instances_from_mask,
    mask_metrics,
    mean_iou_per_image,
    object_dice_from_overlaps,
    object_f1_from_overlaps,
    object_overlaps,
)

SCORES = (
    "dice",
    "dice_background",
    "iou",
    "mean_iou",
    "pooled_dice",
    "pooled_dice_background",
    "pooled_iou",
    "pooled_mean_iou",
    "dice_worst_tenth",
    "class_accuracy",
    "object_dice",
    "object_f1",
)
"""Numbers of `evaluate` of which more is better."""

ERRORS = ("mask_calibration_error", "label_calibration_error")
"""Numbers of `evaluate` of which less is better."""

TAKEN = (*SCORES, *ERRORS)
"""Names that no measure of one's own may have."""

_CHUNK = 16  # images whose pixel probabilities are held at once


def evaluate(model, test, measures=None):
    """Measure a model on images with labels and masks.

    Parameters
    ----------
    model : alseg.interfaces.Estimator
        Fitted.
    test : Dataset
        Images without a mask count for the class accuracy alone, those without a label for all but
        that.
    measures : dict of str -> Measure, default=None
        Further scores, see `alseg.experiment.Protocol`.

    Returns
    -------
    metrics : dict
        What `alseg.metrics.mask_metrics` gives (``dice`` of the foreground, ``dice_background``,
        ``mean_iou``, ``pooled_dice``, ``dice_worst_tenth``, ...), ``class_accuracy`` with a
        class head and labels (of several classes an image, the share of images all of whose known
        ones are right), ``object_dice`` and ``object_f1`` where the data set knows objects
        (predicted ones are those of `predict_objects` where the model has
        objects, or connected parts), ``mask_calibration_error`` and
        ``label_calibration_error`` (expected calibration error, where the model gives
        probabilities), ``by_label`` with ``n_images``, ``dice``, ``mean_iou`` and
        ``class_accuracy`` for each class, or each set of them by its name of
        `alseg.labels.label_names`, ``by_subset`` with ``n_images``, ``dice``, and where
        there are objects ``object_dice`` and ``object_f1`` for each of ``test.subsets`` where it
        has them, and ``dice_per_image`` in the order of `test`. All in [0, 1]. Of each of
        `measures` the mean over the images that have one, None where none has, and
        ``<name>_per_image``.
    """
    images = as_images(test.images)
    n = len(images)
    labels = as_labels(test.labels, n)
    known = ~missing_labels(labels)
    truth = as_masks(test.masks, n)
    masks = [truth[i] for i in range(n)]
    instances = as_masks(getattr(test, "instances", None), n)
    measured = {name: [] for name in measures or ()}
    head = has_class_head(model)
    predicted_labels, predicted_masks, label_proba = [], [], []
    calibration = 0
    for start in range(0, n, _CHUNK):
        stop = min(start + _CHUNK, n)
        joint = joint_of(model, images.take(np.arange(start, stop)))
        if head:
            predicted_labels.extend(np.asarray(joint.labels).tolist())
            label_proba.extend(joint.get("proba", ()))
        predicted_masks.extend(joint.masks)
        if "mask_proba" in joint:
            # Every fourth row and column: neighbouring pixels say the same.
            proba = [p[:, ::4, ::4] for p in joint.mask_proba]
            some = [None if m is None else m[::4, ::4] for m in masks[start:stop]]
            calibration = calibration + calibration_bins(proba, some)
        for name, values in _measured(measures, model, joint, masks, instances, start).items():
            measured[name] += values
    n_mask_classes = mask_classes_of(model)
    columns = {}
    if head and known.any():
        right = _right(predicted_labels, labels)
        columns["class_accuracy"] = np.where(known, right, np.nan)
    dice = dice_per_image(predicted_masks, masks, n_mask_classes=n_mask_classes)
    iou = mean_iou_per_image(predicted_masks, masks, n_mask_classes)
    metrics = mask_metrics(predicted_masks, masks, n_mask_classes=n_mask_classes)
    if "class_accuracy" in columns:
        metrics["class_accuracy"] = float(columns["class_accuracy"][known].mean())
    if np.any(calibration):
        metrics["mask_calibration_error"] = calibration_error_from_bins(calibration)
    codes = _class_codes(model, labels) if label_proba else None
    if codes is not None and (codes != MISSING).any():
        proba = np.array(label_proba)
        if codes.ndim == 2:  # as many answers, each of two classes
            proba, codes = np.stack([1 - proba, proba], -1).reshape(-1, 2), codes.ravel()
        bins = calibration_bins(proba[codes != MISSING], codes[codes != MISSING])
        metrics["label_calibration_error"] = calibration_error_from_bins(bins)
    overlaps = _overlaps(test, predicted_masks, model)
    metrics.update(_object_metrics(overlaps, np.ones(n, dtype=bool)))
    if getattr(test, "subsets", None) is not None:
        metrics["by_subset"] = {
            str(name): {
                "n_images": int((test.subsets == name).sum()),
                "dice": _mean(dice[test.subsets == name]),
                **_object_metrics(overlaps, test.subsets == name),
            }
            for name in np.unique(test.subsets)
        }
    columns = {"dice": dice, "mean_iou": iou, **columns}
    parts = {name: by_label(values, labels) for name, values in columns.items()}
    named = label_names(labels)
    metrics["by_label"] = {
        str(label): {
            "n_images": int((named == label).sum()),
            **{name: values[label] for name, values in parts.items()},
        }
        for label in parts["dice"]
    }
    metrics["dice_per_image"] = dice
    for name, values in measured.items():
        metrics |= {name: average(values), f"{name}_per_image": np.array(values)}
    return metrics


def _right(predicted, labels):
    """Whether the class of each image is right; of several, whether all that are known are."""
    if labels.ndim == 2:
        if np.ndim(predicted) != 2:  # one class or none an image, as a reference says
            return np.zeros(len(labels), dtype=bool)
        return ((np.array(predicted) == labels) | (labels == MISSING)).all(axis=1)
    return np.array([a == b for a, b in zip(predicted, labels.tolist(), strict=True)])


def _class_codes(model, labels):
    """Positions of labels in a model's classes, `MISSING` without one; None of other classes."""
    codes = codes_among(labels, attribute_of(model, "classes_", ()))
    if labels.ndim == 1 and not np.array_equal(codes == MISSING, missing_labels(labels)):
        return None
    return codes


def _measured(measures, model, joint, masks, instances, start):
    """Values of each measure for the images of one chunk."""

    def one_hot(mask):
        return np.stack([mask == c for c in range(mask_classes_of(model))]).astype(np.float32)

    found = {name: [] for name in measures or ()}
    for k, mask in enumerate(joint.masks if found else ()):
        one = measure_image(
            measures,
            masks[start + k],
            mask,
            instances=instances[start + k],
            proba=joint.mask_proba[k] if "mask_proba" in joint else one_hot(mask),
        )
        for name, value in one.items():
            found[name].append(value)
    return found


def _mean(values):
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _overlaps(test, predicted_masks, model):
    """What predicted and true objects share, of each image whose objects are known, by position."""
    if getattr(test, "instances", None) is None:
        return {}
    known = as_masks(test.instances, len(predicted_masks))
    told = attribute_of(model, "has_objects", False) and hasattr(model, "predict_objects")
    images, found = as_images(test.images), {}
    for i, mask in enumerate(predicted_masks):
        true = known[i]
        if true is not None:
            own = model.predict_objects(images.take([i]))[0] if told else instances_from_mask(mask)
            (found[i],) = object_overlaps(own, true)
    return found


def _object_metrics(overlaps, chosen):
    """Object metrics of the chosen images, in their order; none where no objects are known."""
    some = [overlap for i, overlap in overlaps.items() if chosen[i]]
    if not some:
        return {}
    return {
        "object_dice": float(object_dice_from_overlaps(some)),
        "object_f1": float(object_f1_from_overlaps(some)),
    }
