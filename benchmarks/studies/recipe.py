"""Which recipe a minute buys: encoder, size, batch and steps, by folds of training images.

    python -m benchmarks.studies.recipe --dry-run          # the rows, and what a fit of each takes
    python -m benchmarks.studies.recipe                    # all rows; resumable, fold by fold
    python -m benchmarks.studies.recipe --only lite2 fast  # some rows, and their control
    python -m benchmarks.studies.recipe --only minute --out benchmarks/results/recipe-views  # turns
    python -m benchmarks.studies.recipe --table-only

The defaults have to answer within a minute of the masks on two cores, so rows are compared that
take about as long: 60 CPU seconds at one thread. Named apart are those that take longer, to say
what patience buys, and the fast preset.

GlaS' 85 training images and 170 of the training photographs of Leeds butterflies, each in five
folds that tear no patient (no near-duplicate) apart; test images are not opened. In each fold all
rows get the same 8 masks, class-balanced at random, the class labels of the whole fold, and the
same random numbers. A pair is a fold of a data set. Nothing is a gain whose interval includes 0.
Predictions with flips are made by the same fits. Seconds are CPU seconds at one thread.
"""

import argparse
import functools
import itertools
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from alseg import JointCAMSegmenter
from alseg.datasets import class_folds, load_folder, load_glas
from alseg.experiment import environment, read_records
from alseg.experiment.statistics import paired_t
from alseg.files import write_text
from alseg.metrics import dice_per_image
from alseg.query import class_balanced_top_n
from alseg.training import choose_canvas
from benchmarks.core.data import find_weights, found_all
from benchmarks.core.results import RESULTS
from benchmarks.core.runner import run_missing
from benchmarks.core.tables import head, line

N_FOLDS, N_MASKS, N_PHOTOGRAPHS = 5, 8, 170
SMALL, LARGE = 128 * 192, 192 * 288
FLIPS = ("none", "horizontal", "both", "dihedral")
BOTH = "both together"


@dataclass(frozen=True)
class Recipe:
    """A recipe: parameters of the estimator that are not the first row's.

    steps, area : gradient steps, and the largest area of the canvas
    """

    what: str
    steps: int
    change: dict = field(default_factory=dict)
    area: int = SMALL
    longer: bool = False


# Each image without a mask costs about 0.8 of one with.
ROWS = {
    "minute": Recipe("Lite0, batches of 4 + 2 at 128 x 192", 150),
    "no-weak": Recipe("no images without a mask", 200, {"weak_batch_size": 0}),
    "large-batch": Recipe("batches of 8 + 4", 90, {"batch_size": 8, "weak_batch_size": 4}),
    "large-image": Recipe("at 192 x 288", 75, area=LARGE),
    "lite2": Recipe("Lite2", 110, {"encoder": "efficientnet-lite2"}),
    "mobilenet": Recipe("MobileNetV2", 170, {"encoder": "mobilenet_v2"}),
    "fast": Recipe(
        "frozen Lite0, cached maps, batches of 4 + 0 at 192 x 288",
        30,
        {"schedule__encoder_lr_scale": 0.0, "feature_cache": "", "weak_batch_size": 0},
        area=LARGE,
    ),
    "default": Recipe("the default: Lite0, 4 + 2 at 128 x 192, fewer steps", 125),
    "faster": Recipe(
        "frozen Lite0, 4 cached views, batches of 4 + 0 at 192 x 288, fewer steps",
        20,
        {
            "schedule__encoder_lr_scale": 0.0,
            "feature_cache": "",
            "weak_batch_size": 0,
            "augmentation__n_views": 4,
        },
        area=LARGE,
    ),
    "twice": Recipe("twice the steps", 300, longer=True),
}


def glas(folder):
    return load_glas(folder, fold=None).train


def leeds(folder):
    data = load_folder(folder).train
    order = class_balanced_top_n(
        np.zeros(len(data.labels)), data.labels, N_PHOTOGRAPHS, random_state=0
    )
    return data.take(np.sort(order))


DATA = {"glas": glas, "leeds_butterfly": leeds}


def model_of(name, canvas, seed, weights, cache):
    row = ROWS[name]
    change = dict(row.change)
    if change.get("encoder") == "mobilenet_v2":
        change["encoder_weights"] = weights
    if "feature_cache" in change:
        change["feature_cache"] = cache
    options = {"encoder": "efficientnet-lite0", "batch_size": 4, "weak_batch_size": 2, **change}
    return JointCAMSegmenter.from_preset(
        "alseg",
        image_size=canvas,
        max_epochs=1,
        steps_per_epoch=row.steps,
        random_state=seed,
        device="cpu",
        **options,
    )


def run(name, data, images, fold, seed, weights):
    """The record of one row on one fold."""
    held = class_folds(data.labels, fold, data.groups, N_FOLDS)
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    order = class_balanced_top_n(
        np.zeros(len(train)), data.labels[train], N_MASKS, random_state=seed
    )
    chosen = set(np.asarray(order).tolist())
    masks = [data.masks[i] if j in chosen else None for j, i in enumerate(train)]
    canvas = choose_canvas([image.shape[:2] for image in images], ROWS[name].area)
    with tempfile.TemporaryDirectory(prefix="recipe-") as cache:
        model = model_of(name, canvas, seed, weights, cache)
        began = time.process_time()
        model.fit([images[i] for i in train], data.labels[train], masks)
        fitted = time.process_time() - began
        dice, seconds, shown = {}, {}, [images[i] for i in test]
        for flips in FLIPS:
            model.set_params(test_flips=flips, feature_cache=None)
            began = time.process_time()
            found = model.predict_joint(shown)
            seconds[flips] = (time.process_time() - began) / len(test)
            truth = [data.masks[i] for i in test]
            dice[flips] = float(np.nanmean(dice_per_image(list(found.masks), truth)))
            if flips == "none":
                accuracy = float(np.mean(found.labels == data.labels[test]))
    return {
        "row": name,
        "fold": fold,
        "seed": seed,
        "dice": dice,
        "accuracy": accuracy,
        "canvas": list(canvas),
        "gradient_steps": model.n_steps_,
        "n_test": len(test),
        "seconds": {"fit": fitted, "predict_an_image": seconds},
    }


def run_all(rows, folds, seeds, out):
    torch.set_num_threads(1)
    folders = found_all(*DATA)
    if folders is None:
        return
    folders = dict(zip(DATA, folders, strict=True))

    @functools.cache
    def read(part):
        data = DATA[part](folders[part])
        return data, [np.asarray(data.images[i]) for i in range(len(data.labels))]

    def record_of(tasks):
        ((name, fold, seed, part),) = tasks
        weights = find_weights(folders[part], "mobilenet_v2")
        record = run(name, *read(part), fold, seed, weights)
        return [{**record, "data": part, "environment": environment("cpu")}]

    config = {"n_masks": N_MASKS, "n_folds": N_FOLDS, "n_photographs": N_PHOTOGRAPHS}
    tasks = itertools.product(seeds, folds, DATA, rows)
    work = [(name, fold, seed, part) for seed, fold, part, name in tasks]
    run_missing(out, config, work, key_of, record_of, title="recipe")


def key_of(record):
    return record["row"], record["fold"], record["seed"], record["data"]


def value_of(record, what):
    """In points: Dice with a kind of flips, or accuracy."""
    return 100 * (record["accuracy"] if what == "accuracy" else record["dice"][what])


def gain(records, data, row, what, against="minute", base=None):
    """Mean and interval of paired differences over folds, averaged over seeds; None of one pair."""
    known, by_fold = {key_of(r): r for r in records}, {}
    for (name, fold, seed, part), record in known.items():
        other = known.get((against, fold, seed, part))
        if name == row and data in (part, BOTH) and other is not None:
            difference = value_of(record, what) - value_of(other, base or what)
            by_fold.setdefault((part, fold), []).append(difference)
    pairs = [float(np.mean(values)) for values in by_fold.values()]
    if len(pairs) < 2:
        return None
    test = paired_t(pairs)
    return test.mean, *test.interval, len(pairs)


def table(records):
    """Markdown: a line a row and data set."""
    columns = (
        "data",
        "recipe",
        "steps",
        "Dice",
        "over the first",
        "95 % interval",
        "pairs",
        "accuracy",
        "over the first",
        "CPU seconds a fit",
    )
    lines = head(columns)
    for data in (*DATA, BOTH):
        for name, row in ROWS.items():
            own = [r for r in records if r["row"] == name and data in (r["data"], BOTH)]
            if not own:
                continue
            cells = [data, row.what + (" (takes longer)" if row.longer else ""), row.steps]
            cells.append(f"{np.mean([value_of(r, 'none') for r in own]):.1f}")
            cells += _gain_cells(None if name == "minute" else gain(records, data, name, "none"))
            cells.append(f"{np.mean([value_of(r, 'accuracy') for r in own]):.1f}")
            better = None if name == "minute" else gain(records, data, name, "accuracy")
            cells.append("" if better is None else f"{better[0]:+.1f}")
            cells.append(f"{np.mean([r['seconds']['fit'] for r in own]):.0f}")
            lines.append(line(cells))
    columns = (
        "data",
        "flips in prediction",
        "over none",
        "95 % interval",
        "pairs",
        "CPU seconds an image",
    )
    lines += ["", *head(columns)]
    for data in (*DATA, BOTH):
        first = [r for r in records if r["row"] == "minute" and data in (r["data"], BOTH)]
        for flips in FLIPS:
            own = [r for r in first if flips in r["dice"]]  # turns came later
            if not own:
                continue
            seconds = np.mean([r["seconds"]["predict_an_image"][flips] for r in own])
            better = None if flips == "none" else gain(own, data, "minute", flips, base="none")
            lines.append(line([data, flips, *_gain_cells(better), f"{seconds:.3f}"]))
    return "\n".join(lines) + "\n"


def _gain_cells(found):
    if found is None:
        return "", "", ""
    mean, low, high, n = found
    return f"{mean:+.2f}", f"{low:+.2f} to {high:+.2f}", n


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(ROWS))
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(N_FOLDS)))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "recipe")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args(argv)
    rows = [name for name in ROWS if not arguments.only or name in ("minute", *arguments.only)]
    if arguments.dry_run:
        for name in rows:
            print(f"{name:12} {ROWS[name].steps:4} steps  {ROWS[name].what}")
        n = len(rows) * len(arguments.folds) * len(arguments.seeds) * len(DATA)
        print(f"{n} fits")
        return 0
    if not arguments.table_only:
        run_all(rows, arguments.folds, arguments.seeds, arguments.out)
    text = table(read_records(arguments.out))
    print(text)
    write_text(arguments.out / "table.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
