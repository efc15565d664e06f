"""Does cheap uncertainty rank images as well? Dropout before the last convolution, or everywhere.

    python -m benchmarks.studies.dropout_placement  # GlaS and the weights file, about 30 minutes

The default network drops channels once, after the decoder, so that 20 draws cost little more than
one pass (`benchmarks/speed/acquisition.py`). This asks what that costs: for each seed, train on 16
class-balanced masks of GlaS's training part once with each placement (same rate), score all other
images by T = 20 draws, and correlate the scores with the true error of the predicted masks
(Spearman). The difference, last - everywhere, is bootstrapped over images and seeds, both
placements on the same resample. The default holds if the 95 % interval stays above -0.1.

Nothing is chosen by this: the default was set for its cost, by folds of the training part. The test
images are among those scored because 69 images leave an interval of 0.08 to either side;
`--without-test` leaves them out.

Each fit is kept beside the result (`*.jsonl`) as it ends: started again with the same options, the
script goes on from there.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

from alseg import JointCAMSegmenter, Network
from alseg.datasets import load_glas
from alseg.query import class_balanced_top_n
from benchmarks.core.data import found_all
from benchmarks.core.results import BATCHES, RESULTS, write_record

PLACEMENTS = ("last", "everywhere")
METHODS = ("mc_variance", "bald")
ERRORS = ("pixel", "dice")
MARGIN = -0.1


def mask_errors(predicted, true):
    """1 - pixel accuracy and 1 - Dice of the foreground of each image; two empty masks agree."""
    pixel, dice = [], []
    for p, t in zip(predicted, true):
        p, t = p == 1, t == 1
        pixel.append((p != t).mean())
        total = p.sum() + t.sum()
        dice.append(1 - 2 * (p & t).sum() / total if total else 0.0)
    return {"pixel": np.array(pixel), "dice": np.array(dice)}


def fit_and_score(data, options, placement, seed, n_masks, n_draws, with_test):
    """Fit with one placement; scores and errors of the images whose mask it was not shown."""
    train, valid = data.train, data.valid
    order = class_balanced_top_n(
        np.zeros(len(train.labels)), train.labels, len(train.labels), random_state=seed
    )
    annotated, rest = np.asarray(order)[:n_masks], np.sort(np.asarray(order)[n_masks:])
    masks = [train.masks[i] if i in set(annotated) else None for i in range(len(train.labels))]
    model = JointCAMSegmenter(
        network=Network(dropout_placement=placement),
        steps_per_epoch=-(-len(train.labels) // 8),
        random_state=seed,
        device="cpu",
        **BATCHES,
        **options,
    )
    start = time.perf_counter()
    model.fit(train.images, train.labels, masks)
    seconds = {"fit": time.perf_counter() - start}
    row = {"placement": placement, "seed": seed, "ids": [], "scores": {m: [] for m in METHODS}}
    row["errors"] = {e: [] for e in ERRORS}
    for part in (train.take(rest), valid, *((data.test,) if with_test else ())):
        true = [part.masks[i] for i in range(len(part.labels))]
        for name, values in mask_errors(model.predict_masks(part.images), true).items():
            row["errors"][name] += values.tolist()
        for method in METHODS:
            start = time.perf_counter()
            scores = model.predict_uncertainty(
                part.images, method=method, n_draws=n_draws, random_state=seed
            )
            seconds[method] = seconds.get(method, 0.0) + time.perf_counter() - start
            row["scores"][method] += scores.tolist()
        row["ids"] += [str(i) for i in part.ids]
    row["mean_dice"] = 1 - float(np.mean(row["errors"]["dice"]))
    row["dropout"] = model.network.dropout
    row["n_steps"] = model.n_steps_
    row["seconds"] = seconds
    return row


def read_fits(path, options):
    """Fits of the same options that an earlier run kept; a line cut by a kill is left out."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row.pop("options") == options:
            found[row["placement"], row["seed"]] = row
    return found


def spearman(x, y):
    """Rank correlation, ties at their mean rank."""
    return np.corrcoef(rankdata(x), rankdata(y))[0, 1]


def compare(rows, method, error, n_bootstrap, random_state=0):
    """Spearman of each placement, mean over seeds, and the bootstrap interval of their difference.

    Images are the same across seeds, so a replicate draws images once for all its seeds, and seeds
    with replacement: both are samples of what one would like to know.
    """
    seeds = sorted({row["seed"] for row in rows})
    by = {(row["placement"], row["seed"]): row for row in rows}
    images = sorted({i for row in rows for i in row["ids"]})
    pairs = {}
    for seed in seeds:
        ids = by["last", seed]["ids"]
        if ids != by["everywhere", seed]["ids"]:
            raise RuntimeError(f"seed {seed}: the placements were not scored on the same images")
        pairs[seed] = (
            np.array([images.index(i) for i in ids]),
            [
                (
                    np.array(by[placement, seed]["scores"][method]),
                    np.array(by[placement, seed]["errors"][error]),
                )
                for placement in PLACEMENTS
            ],
        )
    values = {
        placement: [spearman(*pairs[seed][1][k]) for seed in seeds]
        for k, placement in enumerate(PLACEMENTS)
    }
    rng = np.random.default_rng(random_state)
    replicates = []
    for _ in range(n_bootstrap):
        counts = np.bincount(rng.integers(len(images), size=len(images)), minlength=len(images))
        differences = []
        for seed in rng.choice(seeds, size=len(seeds)):
            codes, both = pairs[seed]
            chosen = np.repeat(np.arange(len(codes)), counts[codes])
            last, everywhere = (spearman(s[chosen], e[chosen]) for s, e in both)
            differences.append(last - everywhere)
        replicates.append(np.mean(differences))
    low, high = np.quantile(replicates, [0.025, 0.975])
    last, everywhere = np.mean(values["last"]), np.mean(values["everywhere"])
    print(
        f"spearman {method} {error} last {last:.3f} everywhere {everywhere:.3f}"
        f" difference {last - everywhere:+.3f} [{low:+.3f}, {high:+.3f}] margin {MARGIN}",
        flush=True,
    )
    return {
        "method": method,
        "error": error,
        "spearman": values,
        "difference": float(last - everywhere),
        "interval": [float(low), float(high)],
        "margin": MARGIN,
        "met": bool(low > MARGIN),
    }


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5])
    parser.add_argument("--without-test", action="store_true")
    parser.add_argument("--n-masks", type=int, default=16)
    parser.add_argument("--n-draws", type=int, default=20)
    parser.add_argument("--max-epochs", type=int, default=13)
    parser.add_argument("--n-bootstrap", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=RESULTS / "dropout_placement.json")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    folders = found_all("glas", "weights")
    if folders is None:
        return 0
    glas, weights = folders
    data = load_glas(glas, fold=0)
    options = {
        "encoder": "mobilenet_v2",
        "encoder_weights": str(weights / "mobilenet_v2_imagenet.safetensors"),
        "image_size": (128, 192),
        "max_epochs": arguments.max_epochs,
    }
    published = {**options, "encoder_weights": "weights/mobilenet_v2_imagenet.safetensors"}
    published.update(n_masks=arguments.n_masks, n_draws=arguments.n_draws)
    published.update(with_test=not arguments.without_test)
    published["image_size"] = list(published["image_size"])
    kept = arguments.out.with_suffix(".jsonl")
    kept.parent.mkdir(parents=True, exist_ok=True)
    done = read_fits(kept, published)
    rows = []
    for seed in arguments.seeds:
        for placement in PLACEMENTS:
            row = done.get((placement, seed))
            if row is None:
                row = fit_and_score(
                    data,
                    options,
                    placement,
                    seed,
                    arguments.n_masks,
                    arguments.n_draws,
                    not arguments.without_test,
                )
                with kept.open("a", encoding="utf-8") as file:
                    # The line break comes first: it also ends a line that a kill cut.
                    file.write("\n" + json.dumps({**row, "options": published}))
            rows.append(row)
            seconds = ", ".join(f"{k} {v:.1f} s" for k, v in row["seconds"].items())
            print(
                f"# seed {seed} {placement}: {len(row['ids'])} images, {row['n_steps']} steps, Dice"
                f" {row['mean_dice']:.3f}, {seconds}",
                flush=True,
            )
    results = [
        compare(rows, method, error, arguments.n_bootstrap)
        for method in METHODS
        for error in ERRORS
    ]
    return write_record(arguments.out, results, options=published, seeds=arguments.seeds, fits=rows)


if __name__ == "__main__":
    sys.exit(main())
