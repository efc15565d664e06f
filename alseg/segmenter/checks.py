"""What `JointCAMSegmenter` and its `fit` are given, checked before anything is read or trained."""

import inspect
import os
import warnings

import numpy as np
import torch
from sklearn.utils.validation import column_or_1d
from skorch.callbacks import BatchScoring, InputShapeSetter, LRScheduler

from alseg.files import FLAT_PLACES
from alseg.images import as_masks
from alseg.interfaces import takes_batch
from alseg.labels import as_labels, missing_labels
from alseg.network import check_encoder_name
from alseg.segmenter import inference
from alseg.segmenter.option_values import same_value
from alseg.segmenter.parameters import KINDS, as_consistency, as_objects, check_kinds
from alseg.segmenter.saving import lost_criterion
from alseg.segmenter.whole_networks import check_whole, is_whole
from alseg.training import check_crop, criterion_options
from alseg.validation import (
    check_number,
    check_option,
    did_you_mean,
    message,
)

_MOST_CLASSES = np.iinfo(np.int16).max  # masks are held as int16


def checked_image_size(image_size):
    """The size at which the network works as (height, width), or the name of a way to choose it.

    Parameters
    ----------
    image_size : None, "large", int or sequence of two int

    Raises
    ------
    TypeError, ValueError
        If it is something else, or not positive.
    """
    if image_size is None or isinstance(image_size, str):
        return image_size and check_option("image_size", image_size, ("large",))
    size = (image_size,) * 2 if np.isscalar(image_size) else image_size
    if not isinstance(size, (tuple, list, np.ndarray)) or len(size) != 2:
        raise ValueError(
            message("image_size", "None, 'large', an int or (height, width)", image_size)
        )
    return tuple(int(check_number("image_size", side, 1, integer=True)) for side in size)


def check_params(model):
    """Check all parameters of an estimator, before any file is read.

    Parameters
    ----------
    model : JointCAMSegmenter

    Raises
    ------
    TypeError, ValueError
        If one is not known, out of its range, or does not go with another.
    """
    check_param_names(model)
    check_kinds(model)
    _check_parts(model)
    _check_numbers(model)
    if model.crop is not None:
        check_crop(model.crop)
    if not isinstance(model.feature_cache, (str, os.PathLike, type(None))):
        raise TypeError(message("feature_cache", "None or a folder", model.feature_cache))
    _check_callbacks(model)
    _check_validation(model)
    _check_together(model)
    _check_objects(model)
    if is_whole(model):
        check_whole(model)


def _check_parts(model):
    """What code a model is made of."""
    if not (isinstance(model.encoder, str) or callable(model.encoder)):
        raise TypeError(message("encoder", "a name or a torch module", model.encoder))
    if isinstance(model.encoder, str):
        check_encoder_name(model.encoder, model.encoder_weights)
    for name in ("module", "criterion", "optimizer"):
        if not callable(getattr(model, name)):
            raise TypeError(message(name, "a class", getattr(model, name)))
    if model.criterion is lost_criterion:
        lost_criterion(None, None)


def _check_numbers(model):
    check_number("n_mask_classes", model.n_mask_classes, 2, _MOST_CLASSES, integer=True)
    checked_image_size(model.image_size)
    check_option("test_flips", model.test_flips, tuple(inference.TEST_FLIPS))
    check_number("lr", model.lr, 0, open_low=True)
    check_number("max_epochs", model.max_epochs, 0, integer=True)
    if model.steps_per_epoch is not None:
        check_number("steps_per_epoch", model.steps_per_epoch, 1, integer=True)
    check_number("batch_size", model.batch_size, 1, integer=True)
    check_number("weak_batch_size", model.weak_batch_size, 0, integer=True)
    check_number("predict_batch_size", model.predict_batch_size, 1, integer=True)


def _check_validation(model):
    """Whether there is a part that chooses the threshold or the epoch, where one should."""
    if model.schedule.keep_epoch == "validation" and model.validation is None:
        raise ValueError(
            "keep_epoch='validation' needs a validation part: set `validation` to a fraction or"
            " a ValidationSet, or `schedule.keep_epoch` to 'last'."
        )
    if isinstance(model.threshold, str):
        check_option("threshold", model.threshold, ("validation",))
        if model.validation is None:
            raise ValueError(
                "threshold='validation' needs a validation part: set `validation` to a fraction"
                " or a ValidationSet, or `threshold` to a number."
            )
        if model.n_mask_classes > 2:
            raise ValueError("threshold='validation' is for two mask classes alone.")
    else:
        check_number("threshold", model.threshold, 0, 1)


def _check_together(model):
    """What goes with one argument and not with another."""
    scale, phases = model.schedule.encoder_lr_scale, model.schedule.phases
    consistency = as_consistency(model.consistency)
    if consistency.weight:
        _check_second_stream(model, consistency)
    if model.feature_cache is not None and scale:
        remedy = "What an encoder that learns gives is of no use in the next step."
        raise ValueError(
            message("schedule.encoder_lr_scale", "0 with feature_cache", scale, remedy)
        )
    for name, off in (("hook", None), ("copy_paste", 0), ("mixup", 0)):
        value = getattr(model.augmentation, name)
        if model.feature_cache is not None and not same_value(value, off):
            rule, remedy = f"{off} with feature_cache", "Its views are the same in every fit."
            raise ValueError(message(f"augmentation.{name}", rule, value, remedy))
    crf = model.get_params_for("criterion").get("crf_scale", 0)
    if model.feature_cache is not None and not same_value(crf, 0):
        remedy = "It looks at colours, of which maps know nothing."
        raise ValueError(message("criterion__crf_scale", "0 with feature_cache", crf, remedy))
    headless = not is_whole(model) and model.network.pooling is None
    if headless and phases == "two-phase":
        rule = "'joint' with Network(pooling=None)"
        remedy = "Without a class head the first of two phases has nothing to learn."
        raise ValueError(message("schedule.phases", rule, phases, remedy))


def _check_objects(model):
    """What does not go with objects."""
    options = as_objects(model.objects)
    if options.mask_kind == "instances" and model.n_mask_classes != 2:
        rule, remedy = "2 with ids in masks", "Of more classes ids do not say which they are of."
        raise ValueError(message("n_mask_classes", rule, model.n_mask_classes, remedy))
    for name, off in (("hook", None), ("copy_paste", 0)):
        value = getattr(model.augmentation, name)
        if options.kind is not None and not same_value(value, off):
            remedy = "It changes classes alone, and borders would stay where they were."
            raise ValueError(message(f"augmentation.{name}", f"{off} with objects", value, remedy))
    if options.kind is None:
        return
    known = keywords(model.module)
    if is_whole(model) or (known is not None and "objects" not in known):
        name = "a whole network" if is_whole(model) else model.module.__name__
        remedy = "It has no output for them: predict_objects then takes connected parts."
        raise ValueError(message("objects", f"None with {name}", options.kind, remedy))


def _check_callbacks(model):
    """Refuse skorch's callbacks that could do nothing here, or fail in the middle of a fit."""
    given = model.callbacks if isinstance(model.callbacks, (list, tuple)) else []
    schedule = model.schedule
    schedules = [
        schedule.lr_schedule,
        (schedule.class_phase or {}).get("lr_schedule", "constant"),
    ]
    for item in given:
        callback = item[1] if isinstance(item, tuple) else item
        kind = callback if isinstance(callback, type) else type(callback)
        if issubclass(kind, BatchScoring):
            remedy = (
                "A batch holds images moved and coloured, and not all have a mask:"
                " take skorch.callbacks.EpochScoring."
            )
        elif issubclass(kind, InputShapeSetter):
            remedy = "The network takes images of any size: set `image_size` where it matters."
        elif issubclass(kind, LRScheduler) and schedules != ["constant"] * 2:
            remedy = (
                "schedule.lr_schedule sets the learning rate at each step: set it to 'constant' (in"
                " class_phase too), or leave the callback out."
            )
        elif _monitors_nothing(model, callback):
            rule = f"without {kind.__name__} of {callback.monitor!r}, as nothing is held out"
            remedy = "set `validation` to a fraction or a ValidationSet, or another monitor."
            raise ValueError(f"callbacks must be {rule}: {remedy}")
        else:
            continue
        raise ValueError(message("callbacks", f"without {kind.__name__}", kind.__name__, remedy))


def _monitors_nothing(model, callback):
    """Whether a callback goes by the loss of a validation part that there will not be."""
    held = model.validation is not None or model.train_split is not None
    return not held and getattr(callback, "monitor", None) in ("valid_loss", "valid_loss_best")


def _check_second_stream(model, consistency):
    """Whether batches hold what consistency looks at, and its teacher knows the classes."""
    sampling = model.schedule.sampling
    if sampling != "streams":
        rule = "'streams' with consistency"
        raise ValueError(message("schedule.sampling", rule, sampling, "Or set consistency=None."))
    n_weak, least = model.weak_batch_size, 2 if consistency.cutmix else int(not consistency.within)
    if n_weak < least:
        what = "consistency.cutmix" if consistency.cutmix else "consistency"
        rule = f"at least {least} with {what}, the images without a mask in a batch"
        raise ValueError(message("weak_batch_size", rule, n_weak))
    known = getattr(consistency.teacher, "n_mask_classes", model.n_mask_classes)
    if known != model.n_mask_classes:
        rule = f"of n_mask_classes={model.n_mask_classes}"
        raise ValueError(message("consistency.teacher", rule, known))
    if model.feature_cache is not None:
        remedy = "Strong colours are new at each step: their maps would fill the folder."
        raise ValueError(
            message("feature_cache", "None with consistency", str(model.feature_cache), remedy)
        )


def check_takes_soft(model):
    """Refuse a model that can make nothing of soft masks."""
    remedy = "Give the likeliest classes: alseg.images.hard_mask."
    if not takes_batch(model.criterion):
        rule = "of classes (H, W) with a criterion that is given logits and masks"
        raise ValueError(message("masks", rule, "soft ones, of probabilities", remedy))
    for name in ("hook", "copy_paste"):
        if not getattr(model.augmentation, name):
            continue
        rule = f"of classes (H, W) with augmentation.{name}, which changes classes alone"
        raise ValueError(message("masks", rule, "soft ones, of probabilities", remedy))


def check_param_names(model):
    """Refuse unknown arguments, which skorch would only see after all files were read."""
    parts = {"module": model.module, "criterion": model.criterion, "optimizer": model.optimizer}
    for name in sorted(model._params_to_validate):
        head, dunder, option = name.partition("__")
        if dunder and head in parts:
            options = (criterion_options if head == "criterion" else keywords)(parts[head])
            if options is None or option in options or option.startswith("param_groups"):
                continue
            remedy = did_you_mean(option, options).replace("mean '", f"mean '{head}__")
            if head == "criterion" and isinstance(parts[head], torch.nn.Module):
                remedy = (
                    f"It is made already: give its class, criterion={type(parts[head]).__name__}."
                )
        elif name.endswith("_") or any(name.startswith(p) for p in model.prefixes_):
            continue  # skorch's own checks suffice
        elif dunder and head in KINDS:
            remedy = f"Give {head}={KINDS[head].__name__}({option}=...), or use set_params."
        elif dunder and hasattr(model, head):
            continue  # a part that a subclass adds
        elif name in FLAT_PLACES:
            argument, field = FLAT_PLACES[name]
            remedy = f"Give {argument}={KINDS[argument].__name__}({field}=...)."
        else:
            own = inspect.signature(type(model)).parameters
            remedy = did_you_mean(head, [*parts, *model.prefixes_] if dunder else own)
        raise TypeError(
            f"{type(model).__name__} got an unexpected argument {name!r}. {remedy}".rstrip()
        )


def keywords(part):
    """The argument names that a class takes, or None if it takes any."""
    try:
        parameters = inspect.signature(part).parameters
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    return list(parameters)


def check_labels(y, n):
    """Class labels of n images as `as_labels` gives them, those known of one type to be sorted.

    A matrix (n, K) says of each of K classes whether the image is of it.
    """
    y = as_labels(y, n)
    several = y.ndim == 2 and y.shape[1] > 1
    y = y if several else column_or_1d(y, warn=True)
    if len(y) != n:
        raise ValueError(message("y", f"of the length of X ({n})", len(y)))
    if several:
        return y
    known = y[~missing_labels(y)]
    _check_known_labels(known)
    if 0 < len(known) < n and y.dtype.kind == "i" and (known == 1).all():
        warnings.warn(
            "y holds 1 and -1 alone. -1 is a missing label, so that there is one class: of two"
            " classes write 0 and 1.",
            stacklevel=5,
        )
    return y


def _check_known_labels(y):
    if y.dtype.kind == "S" or (y.dtype == object and any(isinstance(one, bytes) for one in y)):
        # They could not be saved: JSON has none.
        remedy = "Decode them, such as with y.astype(str)."
        raise TypeError(message("y", "text, numbers or booleans", y[:3].tolist(), remedy))
    if y.dtype == object and all(isinstance(one, float) for one in y):
        y = y.astype(float)
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError(message("y", "finite", "Input y contains infinity"))
    if y.dtype.kind == "f" and (y != np.round(y)).any():
        raise ValueError("Unknown label type: continuous. y must be class labels, got fractions.")
    if y.dtype == object:
        try:
            np.unique(y)
        except TypeError:
            raise TypeError(message("y", "labels of one sortable type", y[:3].tolist())) from None


def check_classes(classes, known=None):
    """All image classes as `partial_fit` is told them, sorted; later ones must be the `known`."""
    remedy = "Masks are given by name: masks=masks."
    try:
        found = np.unique(column_or_1d(classes))
        found = found[~missing_labels(found)]
    except (TypeError, ValueError):
        rule = "the labels of all image classes, in one dimension"
        raise ValueError(message("classes", rule, type(classes).__name__, remedy)) from None
    if known is not None and not np.array_equal(found, known):
        rule = f"as at the first call, {known.tolist()}"
        raise ValueError(message("classes", rule, found.tolist(), remedy))
    return found


def check_weight(mask_weight, images):
    """The weights as a list of floats and (H, W) arrays, or None."""
    if mask_weight is None:
        return None
    n = len(images)
    if not hasattr(mask_weight, "__len__") or not hasattr(mask_weight, "__iter__"):
        remedy = "For one weight for all pass np.full(len(X), weight)."
        raise TypeError(message("mask_weight", "one weight an image", mask_weight, remedy))
    if len(mask_weight) != n:
        raise ValueError(message("mask_weight", f"of the length of X ({n})", len(mask_weight)))
    weights = []
    for i, weight in enumerate(mask_weight):  # iterated, since a Series is not indexed by position
        try:
            weight = np.asarray(weight, dtype=np.float32)
        except (TypeError, ValueError):
            raise TypeError(message(f"mask_weight[{i}]", "a number or an array", weight)) from None
        if weight.ndim and weight.shape != images.size(i):
            raise ValueError(
                message(f"mask_weight[{i}]", f"a number or of shape {images.size(i)}", weight.shape)
            )
        if not np.isfinite(weight).all() or (weight < 0).any():
            raise ValueError(message(f"mask_weight[{i}]", "finite and >= 0", float(weight.min())))
        weights.append(weight if weight.ndim else float(weight))
    return weights


def list_masks(masks, n):
    """The masks of n images, decoded: a list of (H, W) arrays and None."""
    masks = as_masks(masks, n)
    return [masks[i] for i in range(n)]


def class_masks(model, masks, n):
    """The masks of n images as classes, decoded, also where an estimator is given ids."""
    reader = as_objects(model.objects).reader()
    return [reader.classes(mask) for mask in list_masks(masks, n)]
