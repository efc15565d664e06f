"""Small runs of a fixed seed as digests: says whether a change has changed any number.

    python tests/net.py                     the digests of this tree, as JSON
    python tests/net.py --against REVISION  those of this tree beside those of a commit
    python tests/net.py --only fit          a part of either

It is no test: digests hold on one machine with one set of packages, so both sides are run here,
one after the other, by this file as it is now. It knows public names alone. Where one has moved,
or an argument has become a field of another, say so in `PLACES`, `NESTED` and `GROUPS`, so that the
same run is made of both.
"""

import argparse
import contextlib
import copy
import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import io
import json
import os
import pickle
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve()
TREE = HERE.parents[1]
CACHE = TREE / ".net"

# Where a public name may stand, newest place first; the package itself is always looked at first.
PLACES = {
    "DeepEnsemble": ("alseg.learner", "alseg.ensemble"),
    "JointLoss": ("alseg.training", "alseg.losses"),
    "MaskOracle": ("alseg.oracles",),
    "PlainUNet": ("alseg.network", "alseg.network.published"),
    "Row": ("alseg.comparison", "alseg.experiment.chains"),
    "MaskFiles": ("alseg.images",),
    "make_glands": ("alseg.datasets",),
    "read_comparison": ("alseg.comparison",),
    "strategies": ("alseg.strategies",),
}
# Flat argument -> (argument, its field), where an argument has become a field of another one:
# "jitter": ("augmentation", "jitter"). "PseudoLabelAugmenter.weight" is of that class alone.
NESTED = {
    {"phases": "schedule"}.get(field, field): (argument, field)
    for argument, fields in {
        "network": "pooling cam_stride dropout dropout_placement class_dropout normalize",
        "augmentation": "flips joint_flip affine jitter stain n_views",
        "schedule": "phases class_phase start_from refit_epochs keep_epoch ema lr_schedule"
        " encoder_lr_scale clip_norm sampling drop_tiny_last_batch",
        "execution": "amp channels_last",
    }.items()
    for field in fields.split()
}
# Argument -> the class of what it takes, where that is not the argument's name in capitals or the
# type of its default: "consistency": "Consistency".
GROUPS = {"consistency": "Consistency"}

VOLATILE = ("seconds", "memory_mib", "environment", "versions", "ran", "version")
SMALL = {
    "encoder": "tiny",
    "max_epochs": 2,
    "steps_per_epoch": 2,
    "random_state": 0,
    "device": "cpu",
}


# -- public names, wherever they stand ------------------------------------------------------------


def public(name):
    """A public name of alseg, from its new place or its old one."""
    for place in ("alseg", *PLACES.get(name, ())):
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError:
            continue
        if hasattr(module, name):
            return getattr(module, name)
        if place.rpartition(".")[2] == name:
            return module
    raise ImportError(f"{name} is in none of {['alseg', *PLACES.get(name, ())]}: see PLACES.")


def _nested(kind, flat):
    """Flat arguments that a class knows, and the fields of others by (argument, field)."""
    known = inspect.signature(kind.__init__).parameters
    plain, fields = {}, {}
    for name, value in flat.items():
        place = NESTED.get(f"{kind.__name__}.{name}", NESTED.get(name))
        # `schedule` is a field of the `schedule` of today, and was itself one of the arguments.
        is_object = name in known and dataclasses.is_dataclass(known[name].default)
        if (name in known and not is_object) or place is None:
            if isinstance(value, dict) and hasattr(
                importlib.import_module("alseg"), str(GROUPS.get(name))
            ):
                value = public(GROUPS[name])(**value)
            plain[name] = value
        else:
            fields.setdefault(place[0], {})[place[1]] = value
    return plain, fields


def _group(argument, before, fields):
    """A nested argument with some fields set; `before` is what it was."""
    if before is None or isinstance(before, (str, int, float, type)):
        return public(GROUPS.get(argument, argument.title().replace("_", "")))(**fields)
    if dataclasses.is_dataclass(before):
        return dataclasses.replace(before, **fields)
    if isinstance(before, dict):
        return {**before, **fields}
    return copy.deepcopy(before).set_params(**fields)


def made(name, **flat):
    """An object of a public class, from flat arguments."""
    kind = public(name)
    plain, fields = _nested(kind, flat)
    defaults = inspect.signature(kind.__init__).parameters
    for argument, values in fields.items():
        before = defaults[argument].default
        plain[argument] = _group(argument, None if before is inspect._empty else before, values)
    return kind(**plain)


def segmenter(**flat):
    """The estimator of every run here: tiny, two epochs of two steps, but for what is given."""
    return made("JointCAMSegmenter", **{**SMALL, **flat})


def preset(name, **flat):
    """A preset, with flat arguments that replace some of its own."""
    kind = public("JointCAMSegmenter")
    plain, fields = _nested(kind, flat)
    model = kind.from_preset(name, **plain)
    for argument, values in fields.items():
        model.set_params(**{argument: _group(argument, getattr(model, argument), values)})
    return model


def asking_parts(name, unit, size=32, per_image=None, **options):
    """A strategy that asks about parts of images: by its own arguments, or by `by_region`."""
    strategies = public("strategies")
    strategy = getattr(strategies, f"{name}_sampling")
    parts = {"unit": unit, "size": size, "per_image": per_image}
    if "unit" in inspect.signature(strategy).parameters:
        return functools.partial(strategy, **options, **parts)
    score = None if name == "random" else getattr(strategies, f"{name}_score")
    if options:
        score = functools.partial(score, **options)
    return strategies.by_region(score, **parts)


def augmenter(**flat):
    """A `PseudoLabelAugmenter` from flat arguments."""
    return made("PseudoLabelAugmenter", **flat)


# -- digests --------------------------------------------------------------------------------------


def _feed(digest, value):
    """Add a value to a digest: arrays by type, shape and bytes, dicts by sorted key."""
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, torch.nn.Module):
        for key, tensor in value.state_dict().items():
            digest.update(f"{key}:".encode())
            _feed(digest, tensor)
    elif isinstance(value, (np.ndarray, np.generic)):
        value = np.asarray(value)
        digest.update(f"array {value.dtype.str} {value.shape} ".encode())
        if value.dtype == object:
            for item in value.ravel():
                _feed(digest, item)
        else:
            digest.update(np.ascontiguousarray(value).tobytes())
    elif hasattr(value, "to_dict") and type(value).__name__ == "Regions":
        _feed(digest, value.to_dict())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            digest.update(f"{key}:".encode())
            _feed(digest, value[key])
        digest.update(b";")
    elif isinstance(value, (list, tuple)):
        digest.update(f"{len(value)} ".encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, (set, frozenset)):
        _feed(digest, sorted(value))
    elif value is None or isinstance(value, (bool, int, float, str, bytes)):
        digest.update(f"{value!r},".encode())
    else:
        raise TypeError(f"No digest of a {type(value).__name__}.")


def digest_of(value):
    """The first 16 digits of a SHA-256."""
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()[:16]


def plain(value, left_out=VOLATILE):
    """A value of JSON without what tells time or machine, classes by their bare names."""
    if isinstance(value, dict):
        # Further down "seconds" is what an annotation costs.
        return {key: plain(item, ()) for key, item in value.items() if key not in left_out}
    if isinstance(value, (list, tuple)):
        return [plain(item, ()) for item in value]
    if isinstance(value, str):
        return re.sub(r"\balseg(?:\.\w+)*[.:](\w+)", r"\1", value)
    return value


def flat_description(told):
    """What a record tells of an estimator or augmenter, its nested arguments as flat ones."""
    if not isinstance(told, dict):
        return told
    told, back = dict(told), {place: name.rpartition(".")[2] for name, place in NESTED.items()}
    for argument in {argument for argument, _ in NESTED.values()}:
        if any((argument, field) in back for field in _fields(told.get(argument))):
            for field, value in told.pop(argument).items():
                if (argument, field) in back:
                    told[back[argument, field]] = value
    return told


def flat_strategy(told):
    """What a record tells of a strategy; parts of images as they were asked for before."""
    if not isinstance(told, dict) or not str(told.get("name")).startswith("by_region("):
        return told
    told = dict(told)
    score = told.pop("score") or {"name": "random_score"}
    return {**told, **score, "name": score["name"].replace("_score", "_sampling")}


def _fields(value):
    return value if isinstance(value, dict) else ()


def config_of(config):
    """What decides the numbers of a run, as a record tells it, in flat arguments."""
    config = plain(config)
    for key in ("estimator", "augmenter"):
        if key in config:
            config[key] = flat_description(config[key])
    if "strategy" in config:
        config["strategy"] = flat_strategy(config["strategy"])
    if "rows" in config:
        config["rows"] = {name: config_of(row) for name, row in config["rows"].items()}
    return config


def records_digests(records):
    """Of the numbers of records, and of what they say that decided them."""
    told = [config_of(record["config"]) for record in records if "config" in record]
    numbers = [{k: v for k, v in plain(record).items() if k != "config"} for record in records]
    return {"records": numbers, "config": told}


def history_of(model):
    """Losses of all epochs."""
    return [row["train_loss"] for row in model.history]


def state(model):
    """What a fit has left: weights in the order of their keys, and what else is fitted."""
    names = (
        "classes_",
        "canvas_",
        "has_masks_",
        "threshold_",
        "n_steps_",
        "held_out_",
        "trained_on_",
        "validation_score_",
    )
    found = {name: getattr(model, name, None) for name in names}
    return {"weights": model.module_, "fitted": found, "losses": history_of(model)}


def predictions(model, X, label=True):
    """Every `predict_*`, `transform`, gradients and uncertainties."""
    found = {}
    methods = ["predict_mask_proba", "predict_masks"]
    methods += ["predict", "predict_proba", "predict_cams", "predict_joint"] if label else []
    for name in methods:
        found[name] = getattr(model, name)(X)
    for kind in ("encoder", "decoder", *(["cam"] if label else [])):
        if kind != "decoder" or model.has_masks_:
            found[f"transform {kind}"] = model.transform(X, kind=kind)
    if model.has_masks_:
        found["gradient_embedding"] = model.gradient_embedding(X)
        found["gradient_embedding joint"] = model.gradient_embedding(X, loss="joint")
        found["gradient_length"] = model.gradient_length(X)
    plain_scores = ("least_confidence", "margin", "entropy")
    drawn = (
        "mc_variance",
        "bald",
        "mean_deviation",
        "predictive_entropy",
        "expected_entropy",
        "vote_entropy",
        "variation_ratio",
    )
    for target in ("mask", "label") if label else ("mask",):
        if target == "mask" and not model.has_masks_:
            continue
        for method in (*plain_scores, *drawn):
            maps = target == "mask" and method in ("entropy", "bald")
            found[f"uncertainty {method} of {target}"] = model.predict_uncertainty(
                X, method, target=target, return_maps=maps, n_draws=3
            )
    if model.has_masks_:
        for how in ("max", "sum"):
            found[f"uncertainty {how}"] = model.predict_uncertainty(X, aggregate=how)
    return found


# -- data -----------------------------------------------------------------------------------------


@functools.cache
def glands(n=12, seed=0, size=(32, 48)):
    """Made-up glands."""
    return public("make_glands")(n, image_size=size, random_state=seed)


def masks_of(data, kind):
    """Masks of all images, some, parts of some, or none."""
    masks = [mask.copy() for mask in data.masks]
    if kind == "none":
        return None
    if kind == "all":
        return data.masks
    known = masks[:5] + [None] * (len(masks) - 5)
    if kind == "partial":
        known[1][:, 20:] = -1
        known[2][:9] = -1
    return known


@functools.cache
def fitted(kind="some", **flat):
    """A model that several runs look at and none changes."""
    data = glands()
    return segmenter(**flat).fit(data.images, data.labels, masks=masks_of(data, kind))


# -- runs -----------------------------------------------------------------------------------------

RUNS = {}


def run(name):
    """Name a function without arguments that gives a dict of what is told of the run."""

    def keep(function):
        if name in RUNS:
            raise ValueError(f"Two runs are named {name!r}.")
        RUNS[name] = function
        return function

    return keep


@run("data: glands")
def _glands():
    data = glands()
    return {
        "images": data.images,
        "labels": data.labels,
        "masks": data.masks,
        "ids": list(data.ids),
    }


# Flat arguments of a fit to some masks.
OPTIONS = {
    "ema": {"ema": 0.9},
    "consistency": {"consistency": {"weight": 0.5, "threshold": 0.5, "ramp": 0.5}},
    "consistency with ema": {"consistency": 1.0, "ema": 0.5},
    "consistency with stain": {"consistency": {"threshold": 0.4, "jitter": 0.3, "stain": 0.1}},
    "two-phase": {"schedule": "two-phase", "class_phase": {"lr": 1e-3, "max_epochs": 1}},
    "crop": {"crop": {"size": 32, "scale": 0.75, "min_side": 36, "pad": 0.05}},
    "class_weight balanced": {"class_weight": "balanced"},
    "class_weight dict": {"class_weight": {"regular": 2.0, "irregular": 0.5}},
    "cosine": {"lr_schedule": "cosine", "lr": 1e-3},
    "constant": {"lr_schedule": "constant", "encoder_lr_scale": 1.0},
    "step": {"lr_schedule": ("step", 1, 0.5)},
    "poly": {"lr_schedule": ("poly", 0.9)},
    "passes": {"sampling": "passes", "steps_per_epoch": None, "drop_tiny_last_batch": False},
    "passes of a number of steps": {"sampling": "passes", "batch_size": 3},
    "batches": {"batch_size": 3, "weak_batch_size": 3, "predict_batch_size": 5},
    "no weak batches": {"weak_batch_size": 0, "steps_per_epoch": None},
    "frozen encoder": {"encoder_lr_scale": 0.0},
    "max pooling": {"pooling": "max"},
    "lse pooling": {"pooling": "lse", "cam_stride": None},
    "wildcat pooling": {"pooling": "wildcat", "cam_stride": 8},
    "attention pooling": {"pooling": "attention"},
    "dropout": {"dropout": 0.5, "dropout_placement": "everywhere", "class_dropout": 0.3},
    "normalize dataset": {"normalize": "dataset"},
    "normalize imagenet": {"normalize": "imagenet"},
    "normalize by hand": {"normalize": (0.4, 0.3)},
    "augmentation": {"flips": "horizontal", "affine": (0.1, 5.0), "jitter": 0.3, "stain": 0.1},
    "no augmentation": {"flips": "none", "affine": None, "jitter": 0.0},
    "flips of images alone": {"joint_flip": False},
    "test flips": {"test_flips": "both"},
    "horizontal test flips": {"test_flips": "horizontal", "threshold": 0.4},
    "clip_norm": {"clip_norm": 0.5},
    "keep_epoch train_loss": {"keep_epoch": "train_loss"},
    "loss options": {
        "criterion__dice": "batch",
        "criterion__class_scale": 0.7,
        "criterion__dice_background": True,
        "criterion__normalize": "batch",
    },
    "image_size": {"image_size": (32, 32)},
    "large": {"image_size": "large", "channels_last": False},
    "bfloat16": {"amp": True},
    "validation share": {"validation": 0.3, "threshold": "validation"},
    "validation keeps the epoch": {"validation": 0.3, "keep_epoch": "validation", "ema": 0.5},
    "two-phase with validation": {
        "schedule": "two-phase",
        "validation": 0.4,
        "max_epochs": 1,
        "keep_epoch": "validation",
        "threshold": "validation",
    },
    "training again differs": {"random_state": 1},
}


def _fit_option(flat):
    data = glands()
    model = segmenter(**flat).fit(data.images, data.labels, masks=masks_of(data, "some"))
    return {
        **state(model),
        "masks": model.predict_mask_proba(data.images[:4]),
        "joint": model.predict_joint(data.images[:3]),
    }


for _name, _flat in OPTIONS.items():
    run(f"fit: {_name}")(functools.partial(_fit_option, _flat))


def _fit_masks(kind):
    model = fitted(kind)
    return {**state(model), **predictions(model, glands().images)}


for _kind in ("all", "some", "partial", "none"):
    run(f"fit: {_kind} masks")(functools.partial(_fit_masks, _kind))


@run("fit: mask_weight")
def _mask_weight():
    import numpy as np

    data, found = glands(), {}
    by_image = np.where(np.arange(len(data.labels)) < 5, 1.0, 0.25)
    by_pixel = [np.full(mask.shape, 0.5 + 0.5 * (i % 2)) for i, mask in enumerate(data.masks)]
    for name, weight in (("image", by_image), ("pixel", by_pixel)):
        model = segmenter().fit(data.images, data.labels, masks=data.masks, mask_weight=weight)
        found |= {f"{name} {key}": value for key, value in state(model).items()}
    return found


@run("fit: partial_fit, warm_start")
def _partial_fit():
    data = glands()
    masks = masks_of(data, "some")
    model = segmenter(refit_epochs=1).partial_fit(data.images[:8], data.labels[:8], masks=masks[:8])
    model.partial_fit(data.images, data.labels, masks=masks)
    found = state(model)
    model.set_params(lr=1e-4, warm_start=True).fit(data.images, data.labels, masks=masks)
    return found | {f"warm {key}": value for key, value in state(model).items()}


@run("fit: validation set")
def _validation_set():
    data, other = glands(), glands(6, 3)
    part = public("ValidationSet")(other.images, other.labels, other.masks)
    model = segmenter(validation=part, threshold="validation", keep_epoch="validation")
    model.fit(data.images, data.labels, masks=masks_of(data, "some"))
    return {**state(model), "masks": model.predict_masks(data.images)}


@run("fit: three mask classes")
def _three_classes():
    import numpy as np

    data = glands()
    masks = [np.where((m > 0) & (np.arange(m.shape[1]) > 24), 2, m) for m in data.masks]
    model = segmenter(n_mask_classes=3).fit(data.images, data.labels, masks=masks)
    return {**state(model), **predictions(model, data.images[:5])}


@run("fit: no class head")
def _no_class_head():
    data = glands()
    masks = masks_of(data, "some")
    model = segmenter(pooling=None).fit(data.images, None, masks=masks)
    return {**state(model), **predictions(model, data.images[:5], label=False)}


@run("fit: images of different sizes")
def _sizes():
    data, other = glands(), glands(4, 5, (40, 36))
    images = [*data.images[:6], *other.images]
    labels, masks = [*data.labels[:6], *other.labels], [*data.masks[:6], *other.masks]
    found = {}
    for name, flat in (("resized", {"image_size": (32, 40)}), ("cropped", {"crop": {"size": 32}})):
        model = segmenter(**flat).fit(images, labels, masks=masks)
        found |= {f"{name} {key}": value for key, value in state(model).items()}
        found |= {f"{name} {key}": value for key, value in predictions(model, images[4:8]).items()}
    return found


@run("fit: image files")
def _image_files():
    with tempfile.TemporaryDirectory() as folder:
        _write_images(Path(folder), glands())
        paths = sorted(map(str, Path(folder, "images").rglob("*.png")))
        labels = [Path(path).parent.name for path in paths]
        drawn = [str(Path(folder, "drawn", Path(path).name)) for path in paths]
        masks = public("MaskFiles")(drawn[:6] + [None] * (len(drawn) - 6), mapping="nonzero")
        model = segmenter().fit(paths, labels, masks=masks)
        return {**state(model), "masks": model.predict_masks(paths)}


@run("fit: feature_cache")
def _feature_cache():
    data = glands()
    with tempfile.TemporaryDirectory() as folder:
        model = segmenter(encoder_lr_scale=0.0, feature_cache=folder, n_views=2)
        model.fit(data.images, data.labels, masks=masks_of(data, "some"))
        first = model.predict_mask_proba(data.images)
        again = segmenter(encoder_lr_scale=0.0, feature_cache=folder, n_views=2)
        again.fit(data.images, data.labels, masks=masks_of(data, "some"))
        return {**state(model), "masks": first, "again": again.predict_mask_proba(data.images)}


@run("fit: start_from")
def _start_from():
    data = glands()
    with tempfile.TemporaryDirectory() as folder:
        segmenter().fit(data.images, data.labels).save(Path(folder, "model"))
        model = segmenter(start_from=Path(folder, "model"), schedule="two-phase")
        model.fit(data.images, data.labels, masks=masks_of(data, "some"))
        return {**state(model), "masks": model.predict_mask_proba(data.images)}


@run("fit: own encoder, optimizer and callbacks")
def _own_parts():
    import torch
    from skorch.callbacks import EpochScoring
    from torch import nn

    class Encoder(nn.Module):
        out_channels, strides = [4, 8], [2, 4]

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.a = nn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.b = nn.Conv2d(4, 8, 3, stride=2, padding=1)

        def forward(self, x):
            x = self.a(x).relu()
            return [x, self.b(x).relu()]

    data = glands()
    with torch.random.fork_rng():
        encoder = Encoder()
    model = segmenter(
        encoder=encoder,
        encoder_weights=None,
        cam_stride=4,
        lr=0.05,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        callbacks=[EpochScoring("accuracy", on_train=True, name="own")],
    )
    model.fit(data.images, data.labels, masks=masks_of(data, "some"))
    scores = [float(row["own"]) for row in model.history]
    return {**state(model), "own": scores, "masks": model.predict_mask_proba(data.images[:3])}


@run("fit: clone, pickle, cross-validation, save, load")
def _sklearn():
    from sklearn.base import clone
    from sklearn.model_selection import cross_val_score

    data, model = glands(), fitted("some")
    again = clone(model).fit(data.images, data.labels, masks=masks_of(data, "some"))
    scores = cross_val_score(
        segmenter(max_epochs=1), data.images, data.labels, cv=2, params={"masks": data.masks}
    )
    found = {
        "clone": again.module_,
        "scores": scores,
        "pickle": pickle.loads(pickle.dumps(model)).predict_mask_proba(data.images),
        "score": model.score(data.images, data.labels),
        "score_masks": model.score_masks(data.images, data.masks),
    }
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder, "model"))
        loaded = public("JointCAMSegmenter").load(Path(folder, "model"), device="cpu")
        found["loaded"] = loaded.predict_joint(data.images)
        loaded.partial_fit(data.images, data.labels, masks=data.masks)
        return found | {f"on {key}": value for key, value in state(loaded).items()}


PRESETS = (
    "alseg",
    "alseg-fast",
    "alseg-best",
    "belharbi2021-glas",
    "belharbi2021-cub",
    "gorriz2017-ceal",
    "survey2024-acdc",
)


def _preset(name):
    data, other = glands(6), glands(4, 3)
    labels, flat = data.labels, {"max_epochs": 1, "random_state": 0, "device": "cpu"}
    part = public("ValidationSet")(other.images, other.labels, other.masks)
    if name.startswith("belharbi"):
        flat |= {
            "encoder_weights": None,
            "validation": part,
            "lr": 0.01,
            "module__base_width": 2,
            "crop": {"size": 80, "scale": 0.9, "min_side": 84, "pad": 0.01},
            "module__leak": 4,
            "class_phase": {"lr": 1e-3, "max_epochs": 1},
            "mc_dropout": name.endswith("cub"),
        }
    elif name.startswith("alseg"):
        flat |= {"image_size": (32, 32), "steps_per_epoch": 2}
    else:
        flat |= {"image_size": (32, 32), "module__channels": (4, 8, 8, 8, 16)}
        labels = None
    if name.startswith("survey"):
        flat |= {"steps_per_epoch": 2, "validation": part}
    model = preset(name, **flat).fit(data.images, labels, masks=masks_of(data, "some"))
    found = {**state(model), "masks": model.predict_mask_proba(data.images[:2])}
    found["bald"] = model.predict_uncertainty(data.images[:2], "bald", n_draws=2)
    arguments = flat_description(_told_params(public("JointCAMSegmenter").from_preset(name)))
    return found | {"arguments": arguments}


def _told_params(model):
    """Parameters by their repr, classes by their bare names."""

    def told(value):
        if hasattr(value, "get_params") and not isinstance(value, type):
            return {key: told(item) for key, item in value.get_params(deep=False).items()}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {
                field.name: told(getattr(value, field.name)) for field in dataclasses.fields(value)
            }
        return value.__name__ if isinstance(value, type) else repr(value)

    return {key: told(value) for key, value in model.get_params(deep=False).items()}


for _name in PRESETS:
    run(f"preset: {_name}")(functools.partial(_preset, _name))


@run("parameters: defaults")
def _defaults():
    kinds = (
        public("JointCAMSegmenter")(),
        public("PseudoLabelAugmenter")(),
        public("SelfSupervisedPretrainer")(),
    )
    found = {type(kind).__name__: flat_description(_told_params(kind)) for kind in kinds}
    return {**found, "Protocol": public("Protocol")().to_dict()}


# -- asking ---------------------------------------------------------------------------------------


@functools.cache
def asking_learner():
    """A learner that has some masks; what is asked of it leaves no trace in the next question."""
    data = glands(14)
    learner = public("ActiveLearner")(
        segmenter(),
        images=data.images,
        labels=data.labels,
        masks=masks_of(data, "partial"),
        random_state=0,
    )
    return learner.fit()


def _strategies():
    """Name -> a function that gives the strategy."""

    def of(name, **options):
        def make():
            function = getattr(public("strategies"), name)
            return functools.partial(function, **options) if options else function

        return make

    def wrapped(name, *args, **options):
        def make():
            found = public("strategies")
            given = [getattr(found, a) if isinstance(a, str) else a for a in args]
            return getattr(found, name)(*given, **options)

        return make

    names = [
        "random",
        "entropy",
        "margin",
        "least_confidence",
        "bald",
        "mc_variance",
        "mc_dropout",
        "tta",
        "cam_disagreement",
        "badge",
        "egl",
        "clue",
        "ranked_batch",
        "clasp",
        "learning_loss",
        "core_set",
        "k_means",
        "k_means_plus_plus",
        "facility_location",
        "suggestive_annotation",
        "prob_cover",
        "typiclust",
        "density_weighted",
        "cdal",
        "discriminative",
        "foreground_random",
        "class_balanced",
        "ripu",
        "pixelpick",
        "region",
    ]
    found = {name: of(f"{name}_sampling") for name in names}
    found |= {
        "bald of labels": of("bald_sampling", target="label", n_draws=3),
        "entropy by max": of("entropy_sampling", aggregate="max"),
        "entropy of patches": lambda: asking_parts("entropy", unit="patch", size=16),
        "random pixels": lambda: asking_parts("random", unit="pixel"),
        "margin of superpixels": lambda: asking_parts(
            "margin", unit="superpixel", size=8, per_image=1
        ),
        "least confident pixels": lambda: asking_parts("least_confidence", unit="pixel"),
        "variance of patches": lambda: asking_parts("mc_variance", unit="patch", n_draws=3),
        "bald of pixels": lambda: asking_parts("bald", unit="pixel", n_draws=3, per_image=2),
        "ripu of pixels": of("ripu_sampling", unit="pixel", size=5, per_image=2),
        "released entropy": of("entropy_sampling", entropy_form="released"),
        "badge of labels": of("badge_sampling", target="label"),
        "badge joint": of("badge_sampling", loss="joint"),
        "ceal": of("ceal_sampling", groups=(1, 0, 1), n_draws=3),
        "regions of superpixels": of("region_sampling", unit="superpixel", size=8),
        "class-balanced entropy": wrapped("class_balanced", "entropy_score"),
        "by_region": wrapped("by_region", "margin_score", size=16),
        "stochastic": wrapped("stochastic", "entropy_score"),
        "stochastic_batches": wrapped("stochastic_batches", "entropy_score"),
        "subsample": wrapped("subsample", "entropy_sampling", 5),
        "distinct": wrapped("distinct", "entropy_score"),
        "without_near_duplicates": wrapped("without_near_duplicates", "entropy_sampling"),
        "within_seconds": wrapped("within_seconds", "entropy_sampling", None),
        "foreground": wrapped("foreground_random", source="mask", share=0.5),
    }
    return found


def _query(make):
    learner = asking_learner()
    learner.query_strategy = make()
    asked, _ = learner.query(n_instances=2)
    return {"asked": asked, "again": learner.query(n_instances=3)[0]}


for _name, _make in _strategies().items():
    run(f"query: {_name}")(functools.partial(_query, _make))


@run("query: max_seconds")
def _max_seconds():
    learner = asking_learner()
    learner.query_strategy = public("strategies").entropy_sampling
    found = {
        str(limit): learner.query(n_instances=2, max_seconds=limit)[0] for limit in (None, 1e4)
    }
    return {**found, "looked_at": learner.looked_at}


@run("query: scores")
def _scores():
    found, strategies = {}, public("strategies")
    learner, X = asking_learner(), glands(14).images[5:]
    for name in sorted(name for name in dir(strategies) if name.endswith("_score")):
        function = getattr(strategies, name)
        known = inspect.signature(function).parameters
        offered = {"random_state": 0, "y_pool": glands(14).labels[5:], "n_draws": 3}
        given = {key: value for key, value in offered.items() if key in known}
        if name != "committee_score":  # which has a run of its own
            found[name] = function(learner, X, **given)
    return found


@run("query: cold start")
def _cold_start():
    data, strategies = glands(8), public("strategies")
    learner = public("ActiveLearner")(
        segmenter(), images=data.images, labels=data.labels, random_state=3
    )
    embedding = strategies.pretrained_embedding(image_size=32)
    found = {"embedding": embedding(data.images)}
    for name in ("alps_sampling", "fps_sampling", "rep_div_sampling"):
        learner.query_strategy = functools.partial(getattr(strategies, name), embedding=embedding)
        found[name] = learner.query(n_instances=3)[0]
    return found


@run("query: committee of networks")
def _ensemble():
    data, strategies = glands(8), public("strategies")
    ensemble = public("DeepEnsemble")(segmenter(max_epochs=1), 2, bootstrap=True, random_state=0)
    learner = public("ActiveLearner")(
        ensemble,
        strategies.committee_sampling,
        images=data.images,
        labels=data.labels,
        masks=masks_of(data, "some"),
        random_state=0,
    )
    found = {"asked": learner.query(n_instances=2)[0], "joint": learner.predict_joint(data.images)}
    found["members"] = [member.module_ for member in learner.estimator.estimators_]
    return {**found, "bald": learner.predict_uncertainty(data.images, method="bald")}


# -- learners -------------------------------------------------------------------------------------


def _annotate(warm_start=False, **flat):
    data = glands()
    more = augmenter(**flat) if flat else None
    learner = public("ActiveLearner")(
        segmenter(max_epochs=1),
        images=data.images,
        labels=data.labels,
        augmenter=more,
        warm_start=warm_start,
        random_state=0,
    )
    learner.true_masks = data.masks if flat else None
    oracle, found = public("MaskOracle")(data.masks), {"asked": []}
    for k in range(3):
        asked, _ = learner.query(n_instances=3 if k == 0 else 2)
        learner.annotate(asked, oracle(asked))
        found["asked"].append(asked)
        found[f"weights {k}"] = learner.estimator.module_
        found[f"steps {k}"] = learner.gradient_steps
        if flat:
            found[f"report {k}"] = dict(getattr(learner.augmenter, "report_", {}))
    found["selected"] = getattr(learner.augmenter, "selected_", None)
    return {**found, "masks": learner.predict_mask_proba(data.images), "known": list(learner.masks)}


for _name, _flat in {
    "no augmenter": {},
    "warm start": {"warm_start": True},
    "scratch": {"refit": "scratch", "selection": "all", "sure": (0.4, 0.6)},
    "continue": {"refit": "continue", "selection": "neighbours", "k": 3},
    "published": {"refit": "published", "selection": "all"},
    "once": {"refit": "once", "selection": "confidence", "confidence": 0.5},
    "once, warm": {"refit": "once", "selection": "all", "warm_start": True},
    "agreement": {"selection": "all", "agreement": "weight", "labels": "weighted", "weight": 1},
    "sampled labels": {"selection": "all", "labels": "sampled", "descriptor": "encoder"},
    "ceal": {
        "selection": "ceal",
        "n_draws": 3,
        "schedule": {"n_initial": 3, "n_per_round": 2, "start": 1, "n_first": 2, "growth": 1},
    },
}.items():
    run(f"annotate: {_name}")(functools.partial(_annotate, **_flat))


@run("annotate: regions")
def _annotate_regions():
    data, strategies = glands(8), public("strategies")
    learner = public("ActiveLearner")(
        segmenter(max_epochs=1),
        functools.partial(strategies.region_sampling, size=16),
        images=data.images,
        labels=data.labels,
        masks=masks_of(data, "partial"),
        random_state=0,
    )
    oracle, found = public("MaskOracle")(data.masks), {"asked": []}
    for _ in range(2):
        regions, _ = learner.query(n_instances=3)
        learner.annotate(regions, oracle(regions))
        found["asked"].append(regions)
    return {**found, "weights": learner.estimator.module_, "pixels": oracle.n_pixels}


@run("annotate: save, load, go on")
def _saved_learner():
    data = glands()
    learner = public("ActiveLearner")(
        segmenter(max_epochs=1),
        public("strategies").bald_sampling,
        images=data.images,
        labels=data.labels,
        masks=masks_of(data, "some"),
        random_state=0,
        augmenter=augmenter(selection="all", refit="continue", sure=(0.4, 0.6)),
    )
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        learner.fit().save(folder)
        learner = public("ActiveLearner").load(folder)
        for k in range(2):
            asked, _ = learner.query(n_instances=2)
            learner.annotate(asked, data.masks[asked])
            found |= {f"asked {k}": asked, f"weights {k}": learner.estimator.module_}
    return {**found, "masks": learner.predict_mask_proba(data.images)}


@run("teach: modAL's way")
def _teach():
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    learner = public("ActiveLearner")(
        LogisticRegression(), X_training=X[:8], y_training=y[:8], random_state=0
    )
    found = {"asked": []}
    for k, options in enumerate(({}, {"bootstrap": True}, {"only_new": True})):
        asked, instances = learner.query(X[8:], n_instances=6)
        learner.teach(instances, y[8:][asked], **options)
        found["asked"].append(asked)
        found[f"model {k}"] = learner.estimator.coef_
    return {**found, "proba": learner.predict_proba(X), "score": learner.score(X, y)}


@run("teach: images in modAL's way")
def _teach_images():
    data, learner = glands(), public("ActiveLearner")
    learner = learner(
        segmenter(max_epochs=1),
        public("strategies").entropy_sampling,
        X_training=data.images[:5],
        y_training=data.labels[:5],
        masks=data.masks[:5],
    )
    asked, instances = learner.query(data.images[5:], n_instances=2)
    learner.teach(instances, data.labels[5:][asked])
    return {
        "asked": asked,
        "weights": learner.estimator.module_,
        "masks": learner.predict_masks(data.images),
    }


@run("teach: committee")
def _committee():
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB

    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 3))
    y = (X[:, 0] > 0).astype(int)
    members = [
        public("ActiveLearner")(
            model,
            X_training=X[k : k + 10],
            y_training=y[k : k + 10],
            bootstrap_init=bool(k),
            random_state=k,
        )
        for k, model in enumerate((GaussianNB(), LogisticRegression(), GaussianNB()))
    ]
    committee, found = public("Committee")(members, random_state=0), {"asked": []}
    for bootstrap in (False, True):
        asked, instances = committee.query(X[20:], n_instances=3)
        committee.teach(instances, y[20:][asked], bootstrap=bootstrap)
        found["asked"].append(asked)
    committee.rebag()
    return {
        **found,
        "votes": committee.vote(X),
        "proba": committee.predict_proba(X),
        "predict": committee.predict(X),
        "classes": committee.classes_,
    }


@run("pretrain")
def _pretrain():
    data = glands(8)
    pretrainer = made(
        "SelfSupervisedPretrainer",
        encoder="tiny",
        n_steps=3,
        batch_size=4,
        image_size=(32, 32),
        stain=0.1,
        random_state=0,
        device="cpu",
    )
    pretrainer.fit(data.images)
    found = {
        "weights": pretrainer.encoder_,
        "losses": pretrainer.losses_,
        "spread": pretrainer.spread_,
        "transform": pretrainer.transform(data.images),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = pretrainer.save_encoder(Path(folder, "encoder.safetensors"))
        model = segmenter(encoder_weights=path, max_epochs=1)
        model.fit(data.images, data.labels, masks=masks_of(data, "some"))
        return {**found, "segmenter": model.module_}


# -- comparisons and the command line -------------------------------------------------------------


def _comparison_digests(result):
    table = result.table()
    columns = [c for c in table.columns if not re.search(r"\(s\)|MiB", c)]
    found = {"table": table[columns].astype(str).to_dict("list"), **records_digests(result.records)}
    curves = {
        name: [list(map(float, part.ravel())) for part in pair]
        for name, pair in result.curves().items()
    }
    config = {k: v for k, v in result.config.items() if k not in ("ran", "versions")}
    return {**found, "curves": curves, "plan": config_of(config)}


@run("compare: compare_strategies")
def _compare():
    data, strategies = glands(14), public("strategies")
    protocol = made(
        "Protocol", initial=4, n_instances=2, rounds=1, references=("all-ones",), controls=()
    )
    rows = {
        "random": strategies.random_sampling,
        "bald": functools.partial(strategies.bald_sampling, n_draws=3),
        "patches": asking_parts("entropy", unit="patch", size=16),
        "pseudo": public("Row")(
            strategies.entropy_sampling, augmenter(refit="once", selection="all", sure=(0.4, 0.6))
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        result = public("compare_strategies")(
            segmenter(max_epochs=1, random_state=None),
            rows,
            data=(data.take(range(10)), data.take(range(10, 14))),
            protocol=protocol,
            seeds=range(2),
            out=folder,
            verbose=0,
        )
        return _comparison_digests(result)


@run("compare: warm start, epochs, all references")
def _compare_warm():
    data, strategies = glands(14), public("strategies")
    protocol = made(
        "Protocol", initial=4, n_instances=2, rounds=1, warm_start=True, epochs=1, control="margin"
    )
    with tempfile.TemporaryDirectory() as folder:
        result = public("compare_strategies")(
            segmenter(max_epochs=1, random_state=None),
            {"margin": strategies.margin_sampling},
            data=(data.take(range(10)), data.take(range(10, 14))),
            protocol=protocol,
            seeds=(3,),
            out=folder,
            verbose=0,
        )
        return _comparison_digests(result)


def _write_images(folder, data):
    """Images in a folder for each class, and their masks beside them in `drawn`."""
    from PIL import Image

    (folder / "drawn").mkdir(parents=True)
    for name, label, image, mask in zip(data.ids, data.labels, data.images, data.masks):
        place = folder / "images" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{name}.png")
        Image.fromarray((mask > 0).astype("uint8") * 255).save(folder / "drawn" / f"{name}.png")


def _alseg(*arguments):
    """What `python -m alseg` says, in this process: each start would take seconds."""
    argv, out = sys.argv, io.StringIO()
    sys.argv = ["alseg", *map(str, arguments)]
    code = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as told:
            runpy.run_module("alseg", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = argv
    if code:
        raise RuntimeError(f"alseg {' '.join(map(str, arguments))}: {code}: {told.getvalue()}")
    return out.getvalue()


TINY = (
    "--encoder",
    "tiny",
    "--max-epochs",
    1,
    "--steps-per-epoch",
    2,
    "--image-size",
    32,
    32,
    "--device",
    "cpu",
    "--threads",
    1,
    "--quiet",
)


@contextlib.contextmanager
def _new_folder():
    """A new folder as the working one, so that nothing names where it lies."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield Path(folder).resolve()


@run("command line: run")
def _cli_run():
    with _new_folder() as folder:
        said = _alseg(
            "run",
            "--data",
            "glands",
            "--limit",
            8,
            "--test-limit",
            3,
            "--rounds",
            2,
            "--initial",
            2,
            "--n-instances",
            2,
            "--seed",
            1,
            "--out",
            "run",
            "--class-balanced",
            "--pseudo-labels",
            0.5,
            *TINY,
        )
        lines = Path("run/records.jsonl").read_text().splitlines()
        panels = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.jpg")}
        return {"said": said, "panels": panels, **records_digests(list(map(json.loads, lines)))}


@run("command line: compare")
def _cli_compare():
    with _new_folder():
        _alseg(
            "compare",
            "--data",
            "glands",
            "--limit",
            8,
            "--test-limit",
            3,
            "--strategy",
            "entropy",
            "--seeds",
            1,
            "--rounds",
            1,
            "--initial",
            4,
            "--no-controls",
            "--control",
            "entropy",
            "--out",
            "compared",
            *TINY,
        )
        return _comparison_digests(public("read_comparison")("compared"))


def _folder_digests(folder):
    """All files of a folder: JSON without what names time or place, else bytes."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        # Hidden are ledgers; and a model's parameters are those of `options` in the state.
        if path.name.startswith(".") or path.name == "model.json":
            continue
        name = _without_token(name)
        if path.suffix == ".json":
            found[name] = plain(_without_places(json.loads(path.read_text())))
        elif path.suffix != ".html":
            found[name] = path.read_bytes()
    return found


def _without_token(name):
    """The name of a file without what makes it another one at each writing."""
    return re.sub(r"-[0-9a-f]{8}(?=\.\w+$)", "", name)


def _without_places(value):
    if isinstance(value, dict):
        return {
            key: _without_places(item)
            for key, item in value.items()
            if key not in ("data", "image", "of", "seen")
        }
    if isinstance(value, list):
        return list(map(_without_places, value))
    return _without_token(value) if isinstance(value, str) else value


@run("command line: query, add, predict")
def _cli_project():
    with _new_folder() as folder:
        _write_images(folder / "slides", glands())
        (folder / "slides" / "drawn").rename(folder / "all_drawn")
        found = {"first": _alseg("query", "--data", "slides", "--out", "state", "-n", 4, *TINY)}
        for k in range(2):
            queries = max(Path("state").rglob("queries.json"))
            asked = [query["id"] for query in json.loads(queries.read_text())["queries"]]
            drawn = Path(f"drawn {k}")
            drawn.mkdir()
            for name in asked:
                shutil.copy(folder / "all_drawn" / f"{name}.png", drawn)
            found[f"add {k}"] = _alseg("add", "state", drawn, "--threads", 1, "--quiet")
            found[f"asked {k}"] = asked
            found[f"query {k}"] = _alseg(
                "query", "--out", "state", "-n", 2, "--seconds", 0, "--threads", 1, "--quiet"
            )
        _alseg("predict", "state", "slides/images", "--out", "predicted", "--threads", 1, "--quiet")
        found |= {f"state {k}": v for k, v in _folder_digests(folder / "state").items()}
        predicted = _folder_digests(folder / "predicted")
        return found | {f"predicted {k}": v for k, v in predicted.items()}


@run("command line: query by a strategy without scores")
def _cli_core_set():
    with _new_folder() as folder:
        _write_images(folder / "slides", glands())
        (folder / "slides" / "drawn").rename(folder / "all_drawn")
        options = ["--strategy", "core-set", "--first", "diverse", *TINY]
        _alseg("query", "--data", "slides", "--out", "state", "-n", 3, *options)
        found, told = {}, ["--seconds", 0, "--threads", 1, "--quiet"]
        for k in range(2):
            queries = json.loads(max(Path("state").rglob("queries.json")).read_text())
            found[f"asked {k}"] = [query["id"] for query in queries["queries"]]
            drawn = Path(f"drawn {k}")
            drawn.mkdir()
            for name in found[f"asked {k}"]:
                shutil.copy(folder / "all_drawn" / f"{name}.png", drawn)
            _alseg("add", "state", drawn, "--threads", 1, "--quiet")
            _alseg("query", "--out", "state", "-n", 3, *told)
        queries = json.loads(max(Path("state").rglob("queries.json")).read_text())
        return {**found, "last": [query["id"] for query in queries["queries"]]}


# -- both trees -----------------------------------------------------------------------------------


def own_digests(only, tree):
    """Digests of all runs of the alseg that is imported here, run -> part -> digest."""
    import warnings

    import torch

    import alseg

    if not Path(alseg.__file__).resolve().is_relative_to(tree):
        raise SystemExit(f"{alseg.__file__} is not the alseg of {tree}.")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = {}
    for name, function in RUNS.items():
        if only not in name:
            continue
        start = time.monotonic()
        try:
            found[name] = {part: digest_of(value) for part, value in function().items()}
        except Exception as error:  # one run that cannot be made must not hide the others
            traceback.print_exc()
            found[name] = {"error": f"{type(error).__name__}: {error}"}
        print(f"{time.monotonic() - start:6.1f} s  {name}", file=sys.stderr)
    return found


def digests_of_tree(tree, only, quiet=False):
    """As `own_digests`, in a process that imports the alseg of a tree."""
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    environment = {
        **os.environ,
        **threads,
        "PYTHONPATH": str(tree),
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "Agg",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-P", HERE, "--only", only, "--tree", tree],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            stderr=subprocess.DEVNULL if quiet else None,
        )
    if done.returncode:
        raise SystemExit(f"The runs of {tree} could not be made: exit code {done.returncode}.")
    return json.loads(done.stdout)


def _git(*arguments):
    command = ["git", "-C", str(TREE), *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def _packages():
    """What decides digests beside the code, as far as it is cheap to tell."""
    names = ("torch", "numpy", "scipy", "scikit-learn", "skorch", "scikit-image", "pillow", "monai")
    processor = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
    told = [sys.version, *(os.environ.get(name, "") for name in processor)]
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            told.append(f"{name} {importlib.metadata.version(name)}")
    return "\n".join(told).encode()


def digests_of_commit(revision, only):
    """As `own_digests` of a commit: from the cache, or made in a worktree that is then removed."""
    commit = _git("rev-parse", "--verify", f"{revision}^{{commit}}")
    key = hashlib.sha256(HERE.read_bytes() + _packages()).hexdigest()[:16]
    whole = CACHE / f"{commit[:16]}-{key}.json"
    part = CACHE / f"{commit[:16]}-{key}-{hashlib.sha256(only.encode()).hexdigest()[:8]}.json"
    for path in (whole, part):
        if path.exists():
            print(f"{commit[:9]}: as cached in {path.relative_to(TREE)}", file=sys.stderr)
            kept = json.loads(path.read_text())
            return {name: parts for name, parts in kept.items() if only in name}
    print(f"{commit[:9]}:", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve() / "tree"
        _git("worktree", "add", "--detach", tree, commit)
        try:
            found = digests_of_tree(tree, only)
        finally:
            _git("worktree", "remove", "--force", tree)
    CACHE.mkdir(exist_ok=True)
    path = part if only else whole
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(found, indent=1))
    temporary.replace(path)
    return found


def differences(before, now):
    """A line for each part of a run that is not the same, or is an error."""
    lines = []
    for name in dict.fromkeys([*before, *now]):
        a, b = before.get(name, {}), now.get(name, {})
        for part in dict.fromkeys([*a, *b]):
            if a.get(part) != b.get(part):
                lines.append(f"{name}: {part}: {a.get(part)} before, {b.get(part)} now")
            elif part == "error":
                lines.append(f"{name}: cannot be made: {a[part]}")
    return lines


def main():
    """Print digests, or compare them; 1 is the exit code where any differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", metavar="REVISION", help="compare with this commit")
    parser.add_argument("--only", metavar="TEXT", default="", help="runs with this in the name")
    parser.add_argument("--list", action="store_true", help="name the runs")
    parser.add_argument("--tree", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.list:
        print("\n".join(name for name in RUNS if args.only in name))
        return 0
    if not any(args.only in name for name in RUNS):
        raise SystemExit(f"No run has {args.only!r} in its name: --list names them.")
    if args.tree is not None:
        with contextlib.redirect_stdout(sys.stderr):
            found = own_digests(args.only, args.tree)
        json.dump(found, sys.stdout, indent=1)
        return 0
    if args.against is None:
        found = digests_of_tree(TREE, args.only)
        print(json.dumps(found, indent=1))
        return int(any("error" in parts for parts in found.values()))
    before = digests_of_commit(args.against, args.only)
    print("this tree:", file=sys.stderr)
    lines = differences(before, digests_of_tree(TREE, args.only))
    print("\n".join(lines or [f"All {len(before)} runs are the same as at {args.against}."]))
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
