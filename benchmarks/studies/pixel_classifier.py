"""What a classifier of pixels gives in seconds, beside the network that takes a minute.

    python -m benchmarks.studies.pixel_classifier  # one fold, about 6 CPU minutes, resumable
    python -m benchmarks.studies.pixel_classifier --only filters both --folds 0 1 2 3 4
    python -m benchmarks.studies.pixel_classifier --table-only

GlaS' 85 training images in folds that tear no patient apart; test images are not opened. In each
fold all rows get the same 4, 8 and 16 masks, nested and class-balanced at random, and the class
labels of the whole fold; and, as somebody who clicks would give them, 20 pixels of each of 8
masks, at random, of each class at least one. Dice is the mean over the images of the part that was
held out. Seconds are CPU seconds at one thread, of the fit and of the prediction of an image,
reading left out.

Rows that the record holds are not measured again: a killed run goes on where it was.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from alseg import JointCAMSegmenter, PixelClassifier
from alseg.datasets import class_folds, load_glas
from alseg.files import write_text
from alseg.labels import MISSING
from alseg.metrics import dice_per_image
from alseg.query import class_balanced_top_n
from benchmarks.core.data import find_data
from benchmarks.core.results import RESULTS, write_record
from benchmarks.core.tables import head, line

N_FOLDS = 5
CLICKED, CLICKS = 8, 20  # masks of which no more is known, and of each how many pixels
BOTH = ("filters", "encoder")


def linear():
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))


# What a row is, and how its model is made.
ROWS = {
    "default": ("JointCAMSegmenter, the defaults", JointCAMSegmenter),
    "fast": (
        'JointCAMSegmenter, "alseg-fast" without a cache',
        lambda: JointCAMSegmenter.from_preset("alseg-fast"),
    ),
    "filters": ("PixelClassifier, the defaults", PixelClassifier),
    "both": ("filters and encoder", lambda: PixelClassifier(features=BOTH)),
    "extra": (
        "filters and encoder, ExtraTreesClassifier",
        lambda: PixelClassifier(ExtraTreesClassifier(100, min_samples_leaf=5), BOTH),
    ),
    "linear": (
        "filters and encoder, LogisticRegression",
        lambda: PixelClassifier(linear(), BOTH),
    ),
}


def clicked(mask, n, rng):
    """What is known of a mask after n clicks, on pixels at random, of each class at least one."""
    order = rng.permutation(mask.size)
    _, first = np.unique(mask.ravel()[order], return_index=True)
    places = np.concatenate([order[first], np.delete(order, first)])[:n]
    known = np.full(mask.size, MISSING, dtype=np.int16)
    known[places] = mask.ravel()[places]
    return known.reshape(mask.shape)


def measure(row, data, images, fold, n_masks, clicks):
    """The record of one row on one fold with so many masks, and so many clicks on each if any."""
    held = class_folds(data.labels, fold, data.groups, N_FOLDS)
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    # The order does not depend on how many are taken: the sets are nested.
    order = class_balanced_top_n(
        np.zeros(len(train)), data.labels[train], len(train), random_state=fold
    )
    chosen = set(np.asarray(order)[:n_masks].tolist())
    masks = [data.masks[i] if j in chosen else None for j, i in enumerate(train)]
    if clicks is not None:
        rng = np.random.default_rng(fold)
        masks = [mask if mask is None else clicked(np.asarray(mask), clicks, rng) for mask in masks]
    model = ROWS[row][1]().set_params(random_state=fold, device="cpu")
    began = time.process_time()
    model.fit([images[i] for i in train], data.labels[train], masks)
    fitted = time.process_time()
    found = model.predict_joint([images[i] for i in test])
    predicted = time.process_time()
    dice = dice_per_image(list(found.masks), [data.masks[i] for i in test])
    return {
        "row": row,
        "fold": fold,
        "n_masks": n_masks,
        "clicks": clicks,
        "n_test": len(test),
        "dice": float(np.nanmean(dice)),
        "accuracy": float(np.mean(found.labels == data.labels[test])),
        "cpu_seconds": {
            "fit": round(fitted - began, 2),
            "image": round((predicted - fitted) / len(test), 3),
        },
    }


def table(rows):
    """A row a model and number of masks: means over the folds, the spread of Dice beside it."""
    columns = ("model", "masks", "folds", "Dice", "class accuracy", "CPU seconds a fit", "an image")
    lines = head(columns)
    groups = {}
    for row in rows:
        known = (row["clicks"] is None, row["n_masks"])
        groups.setdefault((*known, list(ROWS).index(row["row"])), []).append(row)
    for (whole, n_masks, k), group in sorted(groups.items()):
        dice = [100 * row["dice"] for row in group]
        spread = f" ± {np.std(dice, ddof=1):.1f}" if len(dice) > 1 else ""
        means = [
            f"{np.mean(dice):.1f}{spread}",
            f"{100 * np.mean([row['accuracy'] for row in group]):.0f}",
            f"{np.mean([row['cpu_seconds']['fit'] for row in group]):.1f}",
            f"{np.mean([row['cpu_seconds']['image'] for row in group]):.2f}",
        ]
        what = list(ROWS.values())[k][0]
        known = n_masks if whole else f"{group[0]['clicks']} clicks on each of {n_masks}"
        lines.append(line([what, known, len(group), *means]))
    return "\n".join(lines) + "\n"


def read_rows(path):
    """Rows of an earlier run by name, fold, number of masks and of clicks."""
    if not path.exists():
        return {}
    rows = json.loads(path.read_text("utf-8"))["rows"]
    return {tuple(row[name] for name in ("row", "fold", "n_masks", "clicks")): row for row in rows}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS)[:4])
    parser.add_argument("--folds", type=int, nargs="+", default=[0])
    parser.add_argument("--masks", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--out", type=Path, default=RESULTS / "pixel_classifier.json")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args(argv)
    rows = read_rows(arguments.out)
    folder = find_data("glas")
    if not arguments.table_only and folder is None:
        print("skipped: set ALSEG_DATA to the folder that holds glas")
        return 0
    if not arguments.table_only:
        torch.set_num_threads(1)
        data = load_glas(folder, fold=None).train
        images = [np.asarray(data.images[i]) for i in range(len(data))]
        known = [*((n, None) for n in arguments.masks), (CLICKED, CLICKS)]
        wanted = [
            (row, fold, *given)
            for fold in arguments.folds
            for given in known
            for row in arguments.only
        ]
        for key in wanted:
            if key in rows:
                continue
            row, fold, n_masks, clicks = key
            rows[key] = measure(row, data, images, fold, n_masks, clicks)
            print(json.dumps(rows[key]), flush=True)
            write_record(
                arguments.out,
                [rows[k] for k in sorted(rows, key=str)],
                command="python -m benchmarks.studies.pixel_classifier",
            )
    text = table(rows.values())
    write_text(arguments.out.with_suffix(".md"), text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
