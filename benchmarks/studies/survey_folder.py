"""The benchmark of Wang et al. 2024 on folders laid out as NCT-CRC-HE, ISIC 2020 or ACDC.

    python -m benchmarks.studies.survey_folder --layout acdc --data ACDC --dry-run
    python -m benchmarks.studies.survey_folder --layout acdc --data ACDC  # 2 cores, an hour
    python -m benchmarks.studies.survey_folder --layout nct --data NCT --profile paper --budget high
    python -m benchmarks.studies.survey_folder --layout isic --data ISIC --profile gpu --minutes 9

acdc    manifest.csv (image, mask, split) of slices, masks of 0 to 3, parts train, valid, test
nct     NCT-CRC-HE-100K/<class>/* and CRC-VAL-HE-7K/<class>/*, or manifest.csv (image, label, split)
isic    manifest.csv (image, label, split), the rarest class is what is looked for

A manifest with the parts train and val alone is tested on val (as isic2017/, where it is a smaller
thing of the same kind as ISIC 2020).

Slices are asked for masks; that is a comparison of the package, with its verdict and report. Images
of the other two are asked for their class, which nothing knows before: a loop of this script, a
record a round, the same statistics. The tables of the survey are not stored here, so that no
published number stands beside ours.
"""

import argparse
import contextlib
import dataclasses
import functools
import sys
import types

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.metrics import roc_auc_score

from alseg import Augmentation, Execution, JointCAMSegmenter, Network, Protocol, Schedule
from alseg.comparison import Row, n_threads, slug
from alseg.datasets import Dataset, load_folder
from alseg.experiment import Records, describe_data, described, environment, read_records
from alseg.experiment.statistics import area_under_curve, verdict
from alseg.files import jsonable, write_text
from alseg.images import IMAGE_SUFFIXES, ImageFiles
from alseg.segmenter import ValidationSet, preset_params
from alseg.strategies import (
    badge_sampling,
    bald_sampling,
    core_set_sampling,
    entropy_sampling,
    least_confidence_sampling,
    margin_sampling,
    mc_dropout_sampling,
    random_sampling,
)
from alseg.training import n_batches
from benchmarks.core.parts import BadData, Wanted, read_parts
from benchmarks.core.results import RESULTS
from benchmarks.core.run_study import OutOfTime, main, time_limit
from benchmarks.core.study import Study, differences, make_parser, read_options
from benchmarks.core.tables import head, line
from benchmarks.core.work import PEAK, SUSTAINED, cost_of_image, duration

SEEDS = (1000, 2000, 3000, 4000, 5000)
COMMON = {
    "folder": "none",
    "seeds": SEEDS,
    "encoder": None,  # for slices; the classifiers' is a ResNet-18 from random weights
    "encoder_weights": None,
    "amp": False,
    "device": "auto",
    "n_jobs": 1,
    "threads": 1,
}
SMALL = {"seeds": SEEDS[:3], "device": "cpu", "n_jobs": 2}

# -- slices, asked for their masks ----------------------------------------------------------------

_params = preset_params("survey2024-acdc")
_ACDC = {
    **COMMON,
    "image_size": _params["image_size"],
    "steps": _params["max_epochs"] * _params["steps_per_epoch"],
    "batch_size": _params["batch_size"],
    "lr": _params["lr"],
    "initial": 10,
    "n_instances": 10,
    "rounds": 5,
}
ACDC = {
    "paper": _ACDC,
    "cpu": {
        **_ACDC,
        **SMALL,
        "image_size": (64, 64),
        "steps": 60,
        "batch_size": 8,
        "rounds": 2,
        "limit": 120,
        "valid_limit": 20,
        "test_limit": 60,
    },
    "gpu": {**_ACDC, "steps": 1000, "amp": True, "device": "cuda"},
}
ACDC_NOTES = (
    "Dice is the mean of three classes over slices, not over volumes; no surface distance",
    "rotation is always drawn from 0.4 radians, quarter turns are not; images are flipped along "
    "each axis by itself, not along both at once; the first slices differ from seed to seed",
    "DBAL, BALD and RA, which the survey's code has for slices too, are left out",
)


def load_slices(folder, options):
    """The parts of a manifest; a slice has no class."""
    parts = {}
    for name, part in load_folder(folder, mask_mapping=None).items():
        parts["valid" if name == "val" else name] = dataclasses.replace(
            part, labels=np.full(len(part), "slice")
        )
    return parts


def wanted_slices(folder, options):
    """The 656 training slices of 70 patients; how many the others have is not known."""
    n = None if options["profile"] == "cpu" else 656
    return {"train": Wanted(n), "valid": Wanted(), "test": Wanted()}


def build_slices(parts, options):
    """Estimator, rows and protocol."""
    valid, n_epochs = parts["valid"], _params["max_epochs"]
    estimator = JointCAMSegmenter.from_preset(
        "survey2024-acdc",
        validation=ValidationSet(valid.images, valid.labels, valid.masks),
        image_size=options["image_size"],
        batch_size=options["batch_size"],
        lr=options["lr"],
        steps_per_epoch=max(1, options["steps"] // n_epochs),
        execution=Execution(amp=options["amp"]),
        device=options["device"],
    )
    rows = {
        "random": Row(random_sampling),
        "least confidence": Row(least_confidence_sampling),
        "margin": Row(margin_sampling),
        "entropy": Row(entropy_sampling),
        "core-set, L2": Row(functools.partial(core_set_sampling, metric="euclidean")),
        "core-set, cosine": Row(functools.partial(core_set_sampling, metric="cosine")),
        "BADGE": Row(badge_sampling),
    }
    protocol = Protocol(
        initial=options["initial"],
        n_instances=options["n_instances"],
        rounds=options["rounds"],
        class_balanced=False,
        warm_start=True,
        n_threads=options["threads"],
        control="random",
        controls=(),
        references=("full supervision",),
    )
    return estimator, rows, protocol


# -- images, asked for their class ----------------------------------------------------------------

_NCT = {
    **COMMON,
    "image_size": (224, 224),
    "epochs": 100,
    "batch_size": 128,
    "lr": 0.01,
    "n_draws": 25,
    "initial": 50,
    "n_instances": 50,
    "rounds": 5,
}
_CPU = {
    **SMALL,
    "image_size": (64, 64),
    "epochs": 15,
    "batch_size": 16,
    "n_draws": 5,
    "initial": 30,
    "n_instances": 30,
    "rounds": 2,
    "limit": 300,
    "valid_limit": 30,
    "test_limit": 200,
}
_GPU = {"amp": True, "device": "cuda"}
NCT = {"paper": _NCT, "cpu": {**_NCT, **_CPU}, "gpu": {**_NCT, **_GPU}}
ISIC = NCT  # the same network, schedule and low budget; more augmentation, see make_classifier
HIGH = {
    "nct": {"initial": 1000, "n_instances": 1000, "rounds": 20},
    "isic": {"initial": 1000, "n_instances": 1000, "rounds": 10},
}
CLASS_NOTES = (
    "images are normalised by 0.5 and resized to the network's size; the published ISIC crops 224 "
    "of 300 pixels, moves them further and changes their colours",
    "a tenth of the training images, the same for all seeds, chooses the epoch by accuracy, after "
    "each epoch (published: after every 2 or 10, ISIC by AUC); the first images differ from seed "
    "to seed",
)
FOLDERS = {"train": "NCT-CRC-HE-100K", "test": "CRC-VAL-HE-7K"}


def load_classes(folder, options):
    """Parts train, valid (a tenth of what is to train on, if there is none) and test."""
    if any((folder / name).is_dir() for name in FOLDERS.values()):
        parts = {
            part: _class_folders(folder / name, part)
            for part, name in FOLDERS.items()
            if (folder / name).is_dir()
        }
    else:
        parts = dict(load_folder(folder))
    if "val" in parts:
        parts["valid" if "test" in parts else "test"] = parts.pop("val")
    if "train" in parts and "valid" not in parts:
        train = parts["train"]
        order = np.random.default_rng(0).permutation(len(train))
        valid = np.isin(np.arange(len(train)), order[: max(1, len(train) // 10)])
        parts |= {"train": train.take(~valid), "valid": train.take(valid)}
    return parts


def _class_folders(folder, part):
    files = sorted(f for f in folder.glob("*/*") if f.suffix.lower() in IMAGE_SUFFIXES)
    return Dataset(
        ImageFiles([str(file) for file in files]),
        np.array([file.parent.name for file in files], dtype=str),
        ids=[f"{file.parent.name}/{file.stem}" for file in files],
        name=f"nct.{part}",
    )


def wanted_classes(layout, folder, options):
    """Parts without masks; the published numbers of images unless on a CPU."""
    if options["profile"] == "cpu":
        numbers = (None, None)
    else:
        numbers = (90_000, 7180) if layout == "nct" else (None, 9938)
    return {
        "train": Wanted(numbers[0], masks=False),
        "valid": Wanted(masks=False),
        "test": Wanted(numbers[1], masks=False),
    }


def make_classifier(layout, parts, options):
    """ResNet-18 with dropout of 0.5 before its last layer, from random weights in each round."""
    valid = parts["valid"]
    return JointCAMSegmenter(
        encoder="resnet18",
        encoder_weights=options["encoder_weights"],
        network=Network(pooling="average", cam_stride=None, class_dropout=0.5),
        image_size=options["image_size"],
        augmentation=Augmentation(
            flips="both" if layout == "isic" else "horizontal",
            affine=(0.1, 20.0) if layout == "isic" else None,
            jitter=0.0,
        ),
        schedule=Schedule(
            keep_epoch="validation",
            lr_schedule="cosine",
            encoder_lr_scale=1.0,
            sampling="passes",
        ),
        batch_size=options["batch_size"],
        max_epochs=options["epochs"],
        lr=options["lr"],
        criterion__class_scale=1.0,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        optimizer__weight_decay=5e-4,
        validation=ValidationSet(valid.images, valid.labels, None),
        execution=Execution(amp=options["amp"]),
        device=options["device"],
    )


def class_rows(options):
    """Strategies by name, all by the image's class."""
    label = {"target": "label"}
    draws = {**label, "n_draws": options["n_draws"]}
    partial = functools.partial
    return {
        "random": random_sampling,
        "least confidence": partial(least_confidence_sampling, **label),
        "entropy": partial(entropy_sampling, **label),
        "margin": partial(margin_sampling, **label),
        "core-set, L2": partial(core_set_sampling, metric="euclidean"),
        "core-set, cosine": partial(core_set_sampling, metric="cosine"),
        "DBAL": partial(mc_dropout_sampling, **draws),
        "BALD": partial(bald_sampling, **draws),
        "BADGE": partial(badge_sampling, **label),
    }


def run_chain(name, ask, estimator, parts, options, seed, metric, out):
    """All rounds of one row and seed, a record each; those that are there are not done again."""
    train, test = parts["train"], parts["test"]
    classes = np.unique(train.labels)
    config = {
        "strategy": name,
        "seed": seed,
        "initial": options["initial"],
        "n_instances": options["n_instances"],
        "estimator": described(estimator),
        "data": describe_data(train, test),
    }
    with n_threads(options["threads"]), Records(out / slug(name) / str(seed), config) as records:
        known = [i for record in records.records for i in record["sample_ids"]]
        model = None
        for round_ in range(len(records.records), options["rounds"] + 1):
            rng = np.random.default_rng([seed, round_])
            if round_ == 0:
                asked = rng.permutation(len(train))[: options["initial"]].tolist()
            else:
                if model is None:
                    model = fit(estimator, train, known, classes, seed, round_ - 1)
                pool = np.setdiff1d(np.arange(len(train)), known)
                learner = types.SimpleNamespace(
                    estimator=model, X_training=train.images.take(np.array(known))
                )
                picked = ask(
                    learner,
                    train.images.take(pool),
                    n_instances=options["n_instances"],
                    random_state=int(rng.integers(2**31 - 1)),
                )
                asked = pool[picked].tolist()
            known = known + asked
            model = fit(estimator, train, known, classes, seed, round_)
            proba = model.predict_proba(test.images)
            records.append(
                jsonable(
                    {
                        "strategy": name,
                        "seed": seed,
                        "round": round_,
                        "sample_ids": asked,
                        "n_labels": len(known),
                        "score": score(proba, test.labels, classes, metric),
                        "gradient_steps": model.n_steps_,
                        "environment": environment(model.device_),
                    }
                )
            )


def fit(estimator, train, known, classes, seed, round_):
    """From random weights; a class that was not met yet is one that it knows of."""
    number = int(np.random.default_rng([seed, round_, 1]).integers(2**31 - 1))
    model = JointCAMSegmenter(**estimator.get_params(deep=False)).set_params(random_state=number)
    known = np.array(known)
    return model.partial_fit(train.images.take(known), train.labels[known], classes=classes)


def score(proba, labels, classes, metric):
    """Accuracy, or the area under the ROC curve of the rarest class against all others."""
    if metric == "accuracy":
        return float((classes[proba.argmax(1)] == labels).mean())
    counts = [(labels == label).sum() for label in classes]
    rare = int(np.argmin(counts))
    return float(roc_auc_score(labels == classes[rare], proba[:, rare]))


def class_plan(parts, options, estimator, rows, study):
    """The plan in words."""
    n_train, n_classes = len(parts["train"]), len(np.unique(parts["train"].labels))
    forward, training = cost_of_image(estimator, n_classes, decode=False)
    total = steps = 0
    for round_ in range(options["rounds"] + 1):
        n = options["initial"] + round_ * options["n_instances"]
        steps += options["epochs"] * n_batches(n, options["batch_size"])
        total += training * options["epochs"] * n
        looked_at = len(parts["test"]) + options["epochs"] * len(parts["valid"])
        total += forward * (looked_at + (n_train - n if round_ else 0))
    many = len(rows) * len(options["seeds"])
    return "\n".join(
        [
            f"profile     {options['profile']}",
            "data        " + ", ".join(f"{name} {len(part)}" for name, part in parts.items()),
            f"rows        {', '.join(rows)}",
            f"seeds       {', '.join(map(str, options['seeds']))}",
            f"asked       {options['initial']} classes, then {options['rounds']} rounds of "
            f"{options['n_instances']}",
            f"fits        {many * (options['rounds'] + 1)}, {steps * many:,} steps in all",
            f"operations  {total * many:.1e}, questions by draws counted as one pass",
            f"time        {duration(total * many / 5e10 / options['n_jobs'])} on "
            f"{options['n_jobs']} cores at 5e+10 operations a second, "
            f"{duration(total * many / SUSTAINED)} on a GPU at {SUSTAINED:.0e}, "
            f"{duration(total * many / PEAK)} at {PEAK:.1e}, the peak of an H200",
            *("not as published: " + line for line in (*differences(study, options), *study.notes)),
        ]
    )


def class_results(out, rows, options, metric, odd):
    """A table of all rows and the verdict, of what is there."""
    areas, lines = {}, head(["row", "seeds", "labels", "area", "final"])
    for name in rows:
        curves = {}
        for seed in options["seeds"]:
            with contextlib.suppress(FileNotFoundError):
                curves[seed] = read_records(out / slug(name) / str(seed))
        whole = {s: c for s, c in curves.items() if len(c) == options["rounds"] + 1}
        areas[name] = np.array(
            [
                area_under_curve([r["score"] for r in whole[s]], [r["n_labels"] for r in whole[s]])
                if s in whole and options["rounds"]
                else np.nan
                for s in options["seeds"]
            ]
        )
        if whole:
            final = 100 * np.array([chain[-1]["score"] for chain in whole.values()])
            n = next(iter(whole.values()))[-1]["n_labels"]
            area = 100 * areas[name][np.isfinite(areas[name])]
            spread = [f"{v.mean():.1f} ± {v.std(ddof=len(v) > 1):.1f}" for v in (area, final)]
            lines.append(line([name, len(whole), n, *spread]))
    said = str(verdict(areas, "random", [name for name in rows if name != "random"]))
    text = "\n".join(
        [
            *lines,
            "",
            f"{metric}, per cent.",
            "",
            said,
            "",
            *(f"- not as published: {line}" for line in odd),
        ]
    )
    write_text(out / "table.md", text + "\n")
    print(text)


def main_classes(layout, study, metric, argv):
    """The loop over images that are asked for their class."""
    arguments = make_parser(study).parse_args(argv)
    options = read_options(study, arguments)
    if arguments.data is None:
        print("missing: name the folder with --data", file=sys.stderr)
        return 1
    try:
        parts = read_parts(study, options, arguments.data.expanduser().resolve())
    except BadData as error:
        print(error, file=sys.stderr)
        return 1
    rows = class_rows(options)
    if options["rows"]:
        rows = {name: rows[name] for name in rows if name in {"random", *options["rows"]}}
    estimator = make_classifier(layout, parts, options)
    if arguments.dry_run:
        print(class_plan(parts, options, estimator, rows, study))
        return 0
    out = (arguments.out or RESULTS / f"{study.name}-{options['profile']}").resolve()
    if not arguments.only_report:
        work = [(name, ask, seed) for seed in options["seeds"] for name, ask in rows.items()]
        try:
            with time_limit(arguments.minutes):
                Parallel(n_jobs=options["n_jobs"], batch_size=1)(
                    delayed(run_chain)(name, ask, estimator, parts, options, seed, metric, out)
                    for name, ask, seed in work
                )
        except OutOfTime:
            print("stopped: the minutes are over. The same command goes on from here.")
            return 0
    class_results(out, rows, options, metric, [*differences(study, options), *study.notes])
    return 0


# -- all three ------------------------------------------------------------------------------------


def make_study(layout, budget="low"):
    """The study of a layout, with the low or the high budget."""
    if layout == "acdc":
        return Study(
            name="survey-acdc",
            text=__doc__,
            profiles=ACDC,
            load=load_slices,
            wanted=wanted_slices,
            build=build_slices,
            published=lambda options, window: {},
            notes=ACDC_NOTES,
        )
    profiles = NCT if layout == "nct" else ISIC
    if budget == "high":
        profiles = {
            name: profile if name == "cpu" else {**profile, **HIGH[layout]}
            for name, profile in profiles.items()
        }
    return Study(
        name=f"survey-{layout}-{budget}",
        text=__doc__,
        profiles=profiles,
        load=load_classes,
        wanted=functools.partial(wanted_classes, layout),
        build=None,
        published=lambda options, window: {},
        notes=CLASS_NOTES,
    )


def run(argv=None):
    """Run the layout that the command line names."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--layout", choices=("nct", "isic", "acdc"), default="acdc")
    parser.add_argument("--budget", choices=("low", "high"), default="low")
    own, rest = parser.parse_known_args(argv)
    study = make_study(own.layout, own.budget)
    if own.layout == "acdc":
        return main(study, rest)
    return main_classes(own.layout, study, "accuracy" if own.layout == "nct" else "AUC", rest)


if __name__ == "__main__":
    sys.exit(run())
