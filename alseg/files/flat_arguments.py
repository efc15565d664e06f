"""Arguments of `JointCAMSegmenter` that files of before tell side by side, and where they are."""

from __future__ import annotations

from typing import Any

FIELDS = {
    "network": (
        "pooling",
        "cam_stride",
        "dropout",
        "dropout_placement",
        "class_dropout",
        "normalize",
    ),
    "augmentation": (
        "flips",
        "joint_flip",
        "affine",
        "jitter",
        "stain",
        "n_views",
        "hook",
        "copy_paste",
        "mixup",
    ),
    "schedule": (
        "phases",
        "class_phase",
        "start_from",
        "refit_epochs",
        "keep_epoch",
        "ema",
        "lr_schedule",
        "encoder_lr_scale",
        "clip_norm",
        "sampling",
        "drop_tiny_last_batch",
    ),
    "execution": ("amp", "channels_last", "processes"),
}
"""Arguments that are objects, and the fields of each."""

CONSISTENCY = {
    "weight": 1.0,
    "threshold": 0.95,
    "ramp": 0.25,
    "jitter": 0.5,
    "stain": 0.0,
    "targets": "sure",
    "cutmix": 0.0,
    "copy_paste": 0.0,
    "within": False,
    "teacher": None,
}
"""Options of consistency training, which were keys of a dict of which some might be left out."""

# Fields that records of before do not tell, and what was before there was such.
_LATER = {"hook": None, "processes": None, "copy_paste": 0.0, "mixup": 0.0}

# Flat name -> (argument, field). All have kept their names but one.
PLACES = {
    {"phases": "schedule"}.get(field, field): (argument, field)
    for argument, fields in FIELDS.items()
    for field in fields
}


def nested_names(params: Any) -> Any:
    """Parameters by the names of today: ``jitter`` as ``augmentation__jitter``.

    Parameters
    ----------
    params : dict of str -> object
        ``schedule`` is a flat name where it is text. A dict in the place of an object is its
        fields, of `consistency` some of them.

    Returns
    -------
    dict of str -> object
        What is no flat name stays, in the same order.

    Examples
    --------
    >>> nested_names({"jitter": 0.1, "schedule": "two-phase", "lr": 0.1})
    {'augmentation__jitter': 0.1, 'schedule__phases': 'two-phase', 'lr': 0.1}
    """
    found = {}
    for name, value in params.items():
        if name in (*FIELDS, "consistency", "objects") and isinstance(value, dict):
            whole = CONSISTENCY if name == "consistency" else {}
            found |= {f"{name}__{field}": item for field, item in {**whole, **value}.items()}
            continue
        if name in PLACES and (name not in FIELDS or isinstance(value, str)):
            name = "__".join(PLACES[name])
        found[name] = value
    return found


def flat_settings(told: Any) -> Any:
    """What a record tells of an estimator, side by side as it was, so that two can be compared.

    Parameters
    ----------
    told : dict of str -> object
        JSON's types; of something else than an estimator it comes back as it is.

    Returns
    -------
    dict of str -> object

    Examples
    --------
    >>> execution = {"class": "Execution", "amp": False, "channels_last": True}
    >>> flat_settings({"lr": 0.1, "execution": execution})
    {'lr': 0.1, 'amp': False, 'channels_last': True}
    """
    names = {place: name for name, place in PLACES.items()}
    found = {}
    for name, value in told.items():
        if name == "objects" and value is None:
            continue  # as before there was such
        if name in FIELDS and _is_object(value, name.title()):
            for field, setting in value.items():
                if field != "class" and not (field in _LATER and setting == _LATER[field]):
                    found[names.get((name, field), f"{name}__{field}")] = setting
        else:
            found[name] = value
    if "consistency" in found:
        found["consistency"] = _whole_consistency(found["consistency"])
    return found


def _is_object(value, kind):
    return isinstance(value, dict) and value.get("class") == kind


def _whole_consistency(value):
    if isinstance(value, (int, float)):
        value = {"weight": value}
    if not isinstance(value, dict):
        return value
    return {**CONSISTENCY, **{key: item for key, item in value.items() if key != "class"}}
