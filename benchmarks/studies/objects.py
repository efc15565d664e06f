"""Whether learning borders or depths tells glands apart, and what it does to the foreground.

    python -m benchmarks.studies.objects             # all rows by folds, some 1 CPU hour, resumable
    python -m benchmarks.studies.objects --only border --masks 16 --folds 0 1
    python -m benchmarks.studies.objects --test --only border  # the chosen row, on test images
    python -m benchmarks.studies.objects --table-only

GlaS' 85 training images in five folds that tear no patient apart: MobileNetV2, 150 steps of 4
images with a mask at 128 x 192. In each fold all rows get the same masks (16, class-balanced at
random, or all), and the same random numbers. Objects are those of `predict_objects`, scored as in
the contest against the ids of the glands, at the images' own size; F1 pools the objects of a fold.
What is smaller than 19 of 20 objects of the masks is left out in all rows. A pair is a fold;
nothing is a gain whose interval includes 0. Two glands never touch in these masks: without their
ids, connected parts teach the very same borders.

With ``--test``: the 67 training images of the published fold 0, at 192 x 288, twice the steps and
four flips in prediction; 80 test images, testA and testB also by themselves. They choose nothing.
"""

import argparse
import functools
import itertools
import sys
import time
from pathlib import Path

import numpy as np
import torch

from alseg import JointCAMSegmenter, Objects
from alseg.datasets import class_folds, load_glas
from alseg.experiment import environment
from alseg.experiment.statistics import paired_t
from alseg.files import write_text
from alseg.metrics import (
    dice_per_image,
    object_dice_from_overlaps,
    object_f1_from_overlaps,
    object_overlaps,
)
from alseg.query import class_balanced_top_n
from alseg.training import ObjectReader, mask_tensor, object_ids
from benchmarks.core.data import find_data, find_weights
from benchmarks.core.results import RESULTS, records_so_far
from benchmarks.core.runner import run_missing
from benchmarks.core.tables import head, line

N_FOLDS, ALL = 5, 0
# What a row is, and what of objects it learns.
ROWS = {
    "none": ("classes alone, connected parts", None),
    "border": ("and borders of 3 pixels", "border"),
    "distance": ("and depths up to 12 pixels", "distance"),
}
MEASURES = {"dice": "Dice", "f1": "object F1", "object_dice": "object Dice"}
FOLDS = {"canvas": (128, 192), "steps": 150, "test_flips": "none"}
TEST = {"canvas": (192, 288), "steps": 300, "test_flips": "both"}
PARTS = {"": "both", "testA": "testA", "testB": "testB"}


@functools.cache
def read(folder, fold):
    """Parts of the data, with images that are held decoded."""
    parts = load_glas(folder, fold=fold)
    held = {}
    for name in ("train", "valid", "test") if fold is not None else ("train",):
        data = parts[name]
        images = [np.asarray(data.images[i]) for i in range(len(data))]
        ids = [np.asarray(data.instances[i]) for i in range(len(data))]
        held[name] = data, images, ids
    return held


def model_of(name, seed, weights, canvas, steps, test_flips):
    return JointCAMSegmenter(
        encoder="mobilenet_v2",
        encoder_weights=weights,
        image_size=canvas,
        objects=Objects(ROWS[name][1], mask_kind="instances"),
        max_epochs=1,
        steps_per_epoch=steps,
        weak_batch_size=0,
        test_flips=test_flips,
        random_state=seed,
        device="cpu",
    )


def fitted(name, n_masks, seed, weights, part, among, setup):
    """A model fitted to some masks of a part, and its CPU seconds."""
    data, images, ids = part
    n = len(among) if n_masks == ALL else n_masks
    zeros = np.zeros(len(among))
    chosen = set(class_balanced_top_n(zeros, data.labels[among], n, random_state=seed).tolist())
    masks = [ids[i] if j in chosen else None for j, i in enumerate(among)]
    model, began = model_of(name, seed, weights, **setup), time.process_time()
    model.fit([images[i] for i in among], data.labels[among], masks)
    seconds = time.process_time() - began
    if ROWS[name][1] is None:  # the others leave out what is smaller than nearly all of the masks
        model.set_params(objects__min_size=smallest(masks, setup["canvas"]))
    return model, seconds


def smallest(masks, canvas):
    reader = ObjectReader("border")
    for mask in masks:
        if mask is not None:
            reader.maps(mask_tensor(object_ids(mask), canvas))
    return reader.smallest()


def object_scores(overlaps):
    """Object F1 and object Dice, pooled over images."""
    return {
        "f1": float(object_f1_from_overlaps(overlaps)),
        "object_dice": float(object_dice_from_overlaps(overlaps)),
    }


def measured(model, images, ids, subsets=None):
    """Dice of the foreground and scores of objects, of all images and of each subset."""
    overlaps = object_overlaps(list(model.predict_objects(images)), ids)
    truth = [(one > 0).astype(int) for one in ids]
    dice = dice_per_image(list(model.predict_masks(images)), truth)
    found = {}
    for name in ("", *(() if subsets is None else np.unique(subsets))):
        own = np.flatnonzero(subsets == name) if name else np.arange(len(images))
        some = [overlaps[i] for i in own]
        found[str(name)] = {"dice": float(np.nanmean(dice[own])), **object_scores(some)}
    return found


def run_folds(tasks, folder, weights):
    ((name, n_masks, fold, seed),) = tasks
    part = read(folder, None)["train"]
    data, images, ids = part
    held = class_folds(data.labels, fold, data.groups, N_FOLDS)
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    model, seconds = fitted(name, n_masks, seed, weights, part, train, FOLDS)
    scores = measured(model, [images[i] for i in test], [ids[i] for i in test])
    return [_record("folds", name, n_masks, fold, seed, scores, seconds, model, len(train))]


def run_test(tasks, folder, weights):
    ((name, n_masks, fold, seed),) = tasks
    parts = read(folder, fold)
    n = len(parts["train"][0])
    model, seconds = fitted(name, n_masks, seed, weights, parts["train"], np.arange(n), TEST)
    data, images, ids = parts["test"]
    scores = measured(model, images, ids, data.subsets)
    return [_record("test", name, n_masks, fold, seed, scores, seconds, model, n)]


def _record(kind, name, n_masks, fold, seed, scores, seconds, model, n_train):
    return {
        "kind": kind,
        "row": name,
        "n_masks": n_masks,
        "fold": fold,
        "seed": seed,
        "scores": scores,
        "n_train": n_train,
        "gradient_steps": model.n_steps_,
        "seconds": {"fit": seconds},
        "environment": environment("cpu"),
    }


def key_of(record):
    return record["row"], record["n_masks"], record["fold"], record["seed"]


def run_all(arguments, out, run, rows, folds):
    torch.set_num_threads(1)
    folder = find_data("glas")
    if folder is None:
        print("skipped: set ALSEG_DATA to the folder that holds glas/")
        return
    weights = find_weights(folder, "mobilenet_v2")
    tasks = itertools.product(arguments.seeds, arguments.masks, folds, rows)
    work = [(row, n_masks, fold, seed) for seed, n_masks, fold, row in tasks]
    config = {"folds": N_FOLDS, "setup": {**(FOLDS if run is run_folds else TEST)}}
    run = functools.partial(run, folder=folder, weights=weights)
    run_missing(out, config, work, key_of, run, title="objects")


def gain(records, row, n_masks, what, against="none"):
    """Mean and interval of paired differences over folds, in points; None of one pair."""
    by_fold, known = {}, {key_of(record): record for record in records}
    for (name, n, fold, seed), record in known.items():
        other = known.get((against, n, fold, seed))
        if (name, n) == (row, n_masks) and other is not None:
            difference = record["scores"][""][what] - other["scores"][""][what]
            by_fold.setdefault(fold, []).append(100 * difference)
    pairs = [float(np.mean(values)) for values in by_fold.values()]
    if len(pairs) < 2:
        return None
    test = paired_t(pairs)
    return test.mean, *test.interval


def table(records, tested=()):
    """Markdown: a line a row and number of masks; then of the test images."""
    columns = ["masks", "learned", "seeds x folds"]
    for name in MEASURES.values():
        columns += [name, "gain", "95 % interval"]
    lines = head([*columns, "CPU seconds"])
    for n_masks in sorted({r["n_masks"] for r in records}, key=lambda n: n or 10**6):
        for name, (what, _) in ROWS.items():
            own = [r for r in records if (r["row"], r["n_masks"]) == (name, n_masks)]
            if not own:
                continue
            seeds, folds = ({r[key] for r in own} for key in ("seed", "fold"))
            cells = [n_masks or "all", what, f"{len(seeds)} x {len(folds)}"]
            for measure in MEASURES:
                cells.append(f"{100 * np.mean([r['scores'][''][measure] for r in own]):.1f}")
                found = None if name == "none" else gain(records, name, n_masks, measure)
                cells += ["", ""] if found is None else _gain_cells(*found)
            cells.append(f"{np.mean([r['seconds']['fit'] for r in own]):.0f}")
            lines.append(line(cells))
    if not tested:
        return "\n".join(lines) + "\n"
    lines += ["", *head(["test images", "masks", "learned", "seeds", *MEASURES.values()])]
    for subset, n_masks, name in itertools.product(PARTS, (8, ALL), ROWS):
        own = [r for r in tested if (r["row"], r["n_masks"]) == (name, n_masks)]
        if own:
            values = [[100 * r["scores"][subset][m] for r in own] for m in MEASURES]
            shown = [", ".join(f"{v:.1f}" for v in of_seeds) for of_seeds in values]
            cells = [PARTS[subset], n_masks or own[0]["n_train"], ROWS[name][0], len(own), *shown]
            lines.append(line(cells))
    return "\n".join(lines) + "\n"


def _gain_cells(mean, low, high):
    return [f"{mean:+.1f}", f"{low:+.1f} to {high:+.1f}"]


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--masks", type=int, nargs="+", default=None, help="0 is all of them")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(N_FOLDS)))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "objects")
    parser.add_argument("--test", action="store_true", help="open the test images")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args(argv)
    tests = arguments.out / "test"
    if arguments.masks is None:
        arguments.masks = [8, ALL] if arguments.test else [16, ALL]
    if not arguments.table_only:
        if arguments.test:
            run_all(arguments, tests, run_test, arguments.only, [0])
        else:
            run_all(arguments, arguments.out, run_folds, arguments.only, arguments.folds)
    text = table(records_so_far(arguments.out), records_so_far(tests))
    print(text)
    write_text(arguments.out / "table.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
