"""The published GlaS protocol: how well does alseg segment glands with 8 to 40 masks?

    python -m benchmarks.studies.glas --profile cpu  # 128 x 192, two hours on 2 cores, resumable
    python -m benchmarks.studies.glas --profile paper  # 374 x 374, 8 to 56 masks, five seeds: a GPU
    python -m benchmarks.studies.glas --profile cpu --table-only

Fold 0 of Belharbi et al. 2021 (67 training, 18 validation, 80 test images). The 18 validation masks
are not used: fixed steps, last weights, threshold 0.5. Every row trains from scratch with the same
number of gradient steps; rows at twice the steps are there because a cycle of pseudo-labels costs a
second fit. Nothing was chosen on the test images: the defaults were chosen by folds of the
training part.
"""

import argparse
import functools
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.utils import Bunch

from alseg import JointCAMSegmenter, PseudoLabelAugmenter
from alseg.datasets import load_glas
from alseg.experiment import environment, evaluate
from alseg.files import jsonable
from alseg.metrics import pixel_average_precision
from alseg.query import class_balanced_top_n
from alseg.segmenter import haematoxylin, haematoxylin_masks
from alseg.strategies import class_balanced, entropy_score
from benchmarks.core.data import find_data, find_weights, weights_name
from benchmarks.core.results import BATCHES, RESULTS
from benchmarks.core.runner import run_missing
from benchmarks.core.tables import head, line, spread

PROFILES = {
    "cpu": {"image_size": (128, 192), "budgets": (8, 16, 24, 40), "seeds": (0, 1, 2), "steps": 120},
    "paper": {
        "image_size": (374, 374),
        "budgets": tuple(range(8, 57, 2)),
        "seeds": (0, 1, 2, 3, 4),
        "steps": 4000,
    },
}

# What the published runs reached, METHODS of the paper's Table 3 and its per-round results, in %.
PUBLISHED = {8: (67.14, 67.26, 67.20), 16: (74.06, 73.45, 77.64), 24: (74.40, 76.58, 80.43)}
PUBLISHED[40] = (81.89, 83.11, 84.83)
PUBLISHED_FULL = 86.53


class Fixed:
    """Something that has masks to show without any training, in the form that `evaluate` takes."""

    def __init__(self, masks):
        self.masks = masks

    def predict_joint(self, images):
        masks = [self.masks(image) for image in images]
        return Bunch(labels=np.full(len(masks), ""), masks=masks)


def make_model(options, seed, n_steps):
    return JointCAMSegmenter(
        encoder=options["encoder"],
        encoder_weights=options["encoder_weights"],
        image_size=options["image_size"],
        max_epochs=1,
        steps_per_epoch=n_steps,
        random_state=seed,
        device=options["device"],
        **BATCHES,
    )


def partly(masks, ids):
    return [masks[i] if i in set(ids) else None for i in range(len(masks))]


def scores_with_flips(model, test, test_flips=("none", "both")):
    """The metrics of `evaluate`, without and with the mean over four flips."""
    rows = {}
    for flips in test_flips:
        model.test_flips = flips
        rows[flips] = evaluate(model, test)
    model.test_flips = "none"
    return rows


def fit(options, train, seed, n_steps, masks, mask_weight=None):
    start = time.perf_counter()
    model = make_model(options, seed, n_steps)
    model.fit(train.images, train.labels, masks, mask_weight)
    return model, time.perf_counter() - start


def row(method, seed, budget, model, test, seconds, ids, n_steps, **extra):
    return {
        "method": method,
        "seed": seed,
        "n_masks": budget,
        "n_masks_validation": 0,
        "gradient_steps": n_steps,
        "sample_ids": ids,
        "metrics": scores_with_flips(model, test),
        "seconds": {"fit": seconds},
        **extra,
    }


def initial_ids(labels, budget, seed):
    """Nested class-balanced random sets: the first `budget` of one order a seed."""
    order = class_balanced_top_n(np.zeros(len(labels)), labels, len(labels), random_state=seed)
    return np.asarray(order)[:budget].tolist()


def random_and_pseudo(options, train, test, seed, budget):
    """Class-balanced random masks, and a second fit with pseudo-labels on top, as published."""
    steps, ids = options["steps"], initial_ids(train.labels, budget, seed)
    masks = partly(train.masks, ids)
    model, seconds = fit(options, train, seed, steps, masks)
    rows = [row("random", seed, budget, model, test, seconds, ids, steps)]
    # The published selection; the threshold is 0.5 where the paper uses 18 validation masks.
    augmenter = PseudoLabelAugmenter("neighbours", k=40, weight=0.1)
    augmenter.fit(train.images, train.labels, masks, estimator=model)
    pseudo, weight = augmenter.transform(train.images)
    quality = pseudo_quality(pseudo, train.masks, ids)
    second, more = fit(options, train, seed, steps, pseudo, weight)
    name = "random + pseudo-labels"
    rows.append(
        row(name, seed, budget, second, test, seconds + more, ids, 2 * steps, pseudo=quality)
    )
    return rows


def random_longer(options, train, test, seed, budget):
    """Class-balanced random masks at the steps that the two fits of pseudo-labels take."""
    steps, ids = 2 * options["steps"], initial_ids(train.labels, budget, seed)
    model, seconds = fit(options, train, seed, steps, partly(train.masks, ids))
    return [row("random, twice the steps", seed, budget, model, test, seconds, ids, steps)]


def pseudo_quality(pseudo, truth, ids):
    """Share of the pseudo-labelled pixels that are right, and how many there are."""
    right = known = total = 0
    for i in set(range(len(truth))) - set(ids):
        total += truth[i].size
        if pseudo[i] is not None:
            mine = pseudo[i] >= 0
            known += mine.sum()
            right += (pseudo[i] == truth[i])[mine].sum()
    return {"accuracy": right / max(1, known), "coverage": known / max(1, total)}


def entropy_chain(options, train, test, seed):
    """Ask by mean entropy, class by class, from the same initial set as random."""
    steps, budgets = options["steps"], options["budgets"]
    ids = initial_ids(train.labels, budgets[0], seed)
    model, seconds = fit(options, train, seed, steps, partly(train.masks, ids))
    rows = []  # the first round is random's: nothing was asked yet
    for budget in budgets[1:]:
        pool = np.setdiff1d(np.arange(len(train.labels)), ids)
        ask = class_balanced(entropy_score)
        start = time.perf_counter()
        picked = ask(
            model,
            train.images.take(pool),
            n_instances=budget - len(ids),
            random_state=seed,
            y_pool=np.asarray(train.labels)[pool],
        )
        query = time.perf_counter() - start
        ids = ids + pool[picked].tolist()
        model, seconds = fit(options, train, seed, steps, partly(train.masks, ids))
        rows.append(row("entropy", seed, budget, model, test, seconds, ids, steps))
        rows[-1]["seconds"]["query"] = query
    return rows


def weak_only(options, train, test, seed):
    model, seconds = fit(options, train, seed, options["steps"], None)
    rows = [row("weak labels only", seed, 0, model, test, seconds, [], options["steps"])]
    rows[0]["pixel_ap"] = average_precision(
        (proba[1] for proba in model.predict_mask_proba(test.images)), test
    )
    return rows


def alone(options, train, test, seed):
    """Segmentation alone, the class loss off: what "joint" costs."""
    steps, budget = options["steps"], options["budgets"][1]
    ids = initial_ids(train.labels, budget, seed)
    start = time.perf_counter()
    model = make_model(options, seed, steps)
    model.set_params(criterion__class_scale=0.0, weak_batch_size=0)
    model.fit(train.images, train.labels, partly(train.masks, ids))
    seconds = time.perf_counter() - start
    rows = [row("random, no class loss", seed, budget, model, test, seconds, ids, steps)]
    for metrics in rows[0]["metrics"].values():
        del metrics["class_accuracy"]  # of a head that was not trained
    return rows


def full(options, train, test, seed, n_steps):
    n = len(train.labels)
    model, seconds = fit(options, train, seed, n_steps, train.masks)
    name = "full supervision" if n_steps == options["steps"] else "full supervision, longer"
    return [row(name, seed, n, model, test, seconds, list(range(n)), n_steps)]


def average_precision(scores, test):
    masks = [test.masks[i] for i in range(len(test.masks))]
    return pixel_average_precision(list(scores), masks)


def untrained(options, train, test):
    """All-ones and the stain threshold: what any method must beat."""
    ones = Fixed(lambda image: np.ones(image.shape[:2], np.int16))
    stain = Fixed(lambda image: haematoxylin_masks([image])[0])
    rows = []
    for name, model in (("all-ones", ones), ("haematoxylin threshold", stain)):
        rows.append(row(name, None, 0, model, test, 0.0, [], 0))
        rows[-1]["metrics"] = {"none": rows[-1]["metrics"]["none"]}
        del rows[-1]["metrics"]["none"]["class_accuracy"]
    fraction = [float((test.masks[i] == 1).mean()) for i in range(len(test.masks))]
    rows[0]["pixel_ap"] = float(np.mean(fraction))
    rows[1]["pixel_ap"] = average_precision(
        (haematoxylin(test.images[i]) for i in range(len(test.masks))), test
    )
    return rows


def tasks(options):
    """Pieces of work: key, function, arguments; what the others are compared with first."""
    seeds, budgets, steps = options["seeds"], options["budgets"], options["steps"]
    work = [("untrained", untrained, ())]
    work += [(f"entropy/{seed}", entropy_chain, (seed,)) for seed in seeds]
    for seed in seeds:
        work += [(f"random/{seed}/{b}", random_and_pseudo, (seed, b)) for b in budgets]
    for seed in seeds:
        work.append((f"full-long/{seed}", full, (seed, int(2.5 * steps))))
        work.append((f"weak/{seed}", weak_only, (seed,)))
        work.append((f"alone/{seed}", alone, (seed,)))
        work.append((f"full/{seed}", full, (seed, steps)))
    for seed in seeds:
        work += [(f"longer/{seed}/{b}", random_longer, (seed, b)) for b in budgets]
    return work


def run_task(options, root, keys):
    torch.set_num_threads(options["threads"])
    glas, work = load_glas(root / "glas", fold=0), {key: rest for key, *rest in tasks(options)}
    records = []
    for key in keys:
        function, arguments = work[key]
        rows = function(options, glas.train, glas.test, *arguments)
        machine = environment(options["device"])
        records.append({"key": key, "rows": jsonable(rows), "environment": machine})
    return records


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", choices=sorted(PROFILES), default="cpu")
    parser.add_argument("--data", type=Path, help="folder that holds glas/ (default: ALSEG_DATA)")
    parser.add_argument("--encoder", default="mobilenet_v2")
    parser.add_argument("--encoder-weights", help="default: weights/ beside the data, if there")
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("H", "W"))
    parser.add_argument("--budgets", type=int, nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args(argv)
    options = dict(PROFILES[arguments.profile])
    for name in ("image_size", "budgets", "seeds"):
        if getattr(arguments, name):
            options[name] = tuple(getattr(arguments, name))
    if arguments.steps:
        options["steps"] = arguments.steps
    options |= {k: getattr(arguments, k) for k in ("encoder", "device", "threads")}
    out = arguments.out or RESULTS / f"glas-{arguments.profile}"
    if not arguments.table_only:
        folder = arguments.data / "glas" if arguments.data else find_data("glas")
        if folder is None:
            print("skipped: no GlaS; set ALSEG_DATA to the folder that holds glas/")
            return 0
        root = folder.parent
        options["encoder_weights"] = arguments.encoder_weights or find_weights(
            folder, options["encoder"]
        )
        run_all(options, root, out, arguments.n_jobs)
    write_table(out, arguments.profile)
    return 0


def run_all(options, root, out, n_jobs):
    config = {k: v for k, v in options.items() if k not in ("seeds", "budgets", "encoder_weights")}
    config["encoder_weights"] = weights_name(options["encoder_weights"])
    run_missing(
        out,
        config,
        [key for key, *_ in tasks(options)],
        lambda record: record["key"],
        functools.partial(run_task, options, root),
        n_jobs=n_jobs,
        title="GlaS",
        unit="task",
    )


# -- the table ------------------------------------------------------------------------------------


def read_rows(out):
    with open(out / "records.jsonl", encoding="utf-8") as lines:
        return [r for line in lines for r in json.loads(line)["rows"]]


COLUMNS = {
    "Dice": "dice",
    "Dice background": "dice_background",
    "mean IoU": "mean_iou",
    "pooled Dice": "pooled_dice",
    "pooled mean IoU": "pooled_mean_iou",
    "worst tenth": "dice_worst_tenth",
    "object Dice": "object_dice",
    "object F1": "object_f1",
    "class accuracy": "class_accuracy",
}


def grouped(rows):
    groups = {}
    for r in sorted(rows, key=lambda r: (r["n_masks"], r["gradient_steps"], r["method"])):
        groups.setdefault((r["method"], r["n_masks"], r["gradient_steps"]), []).append(r)
    return groups


def write_table(out, profile):
    rows = read_rows(out)
    columns = ["method", "masks", "steps", "seeds", *COLUMNS, "benign", "malignant"]
    lines = head([*columns, "Dice, 4 flips", "s / fit"])
    for (method, n_masks, steps), group in grouped(rows).items():
        plain = [r["metrics"]["none"] for r in group]
        flips = [r["metrics"]["both"] for r in group if "both" in r["metrics"]]
        cells = [method, str(n_masks), str(steps), str(len(group))]
        cells += [spread([m.get(key) for m in plain], none="") for key in COLUMNS.values()]
        cells += [
            spread([m["by_label"][k]["dice"] for m in plain], none="")
            for k in ("benign", "malignant")
        ]
        cells += [spread([m["dice"] for m in flips], none="")]
        cells += [spread([r["seconds"]["fit"] for r in group], 1, none="")]
        lines.append(line(cells))
    (out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (out / "differences.md").write_text(paired_table(rows), encoding="utf-8")
    draw_curve(rows, out / "curve.png")
    print("\n".join(lines), "\n", paired_table(rows), sep="\n")


def paired_table(rows):
    """Differences to random at equal masks, paired by seed, with the published differences."""
    base = {(r["seed"], r["n_masks"]): r for r in rows if r["method"] == "random"}
    longer = {(r["seed"], r["n_masks"]): r for r in rows if r["method"].endswith("twice the steps")}
    lines = head(["method", "masks", "Dice - random", "at equal steps", "seeds", "published"])
    published = {"entropy": 1, "random + pseudo-labels": 2}
    for (method, n_masks, _steps), group in grouped(rows).items():
        group = [r for r in group if (r["seed"], n_masks) in base]
        if method == "random" or not group:
            continue

        def dice(r):
            return r["metrics"]["none"]["dice"]

        gain = [dice(r) - dice(base[r["seed"], n_masks]) for r in group]
        fair = [
            dice(r) - dice(longer[r["seed"], n_masks])
            for r in group
            if r["gradient_steps"] == 2 * base[r["seed"], n_masks]["gradient_steps"]
            and method != "random, twice the steps"
            and (r["seed"], n_masks) in longer
        ]
        known = PUBLISHED.get(n_masks)
        shown = ""
        if method in published and known:
            shown = f"{known[published[method]] - known[0]:+.2f}"
        lines.append(
            f"| {method} | {n_masks} | {spread(gain, none='')} | {spread(fair, none='')} | "
            f"{len(group)} | {shown} |"
        )
    return "\n".join(lines) + "\n"


def draw_curve(rows, path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colours = {
        "random": "#555555",
        "random, twice the steps": "#aaaaaa",
        "entropy": "#0072b2",
        "random + pseudo-labels": "#d55e00",
    }
    groups = grouped(rows)
    first = {n: g for (m, n, s), g in groups.items() if m == "random"}
    for method, colour in colours.items():
        points = {n: g for (m, n, s), g in groups.items() if m == method}
        if method == "entropy" and first:
            points = {min(first): first[min(first)], **points}  # the common initial set
        if not points:
            continue
        budgets = sorted(points)
        values = [[100 * r["metrics"]["none"]["dice"] for r in points[n]] for n in budgets]
        axes.plot(budgets, [np.mean(v) for v in values], color=colour, label=method, marker="o")
        for n, v in zip(budgets, values):
            axes.plot([n] * len(v), v, ".", color=colour, alpha=0.4, markersize=5)
    low = min(axes.dataLim.y0, 100) - 1
    below = []
    for (method, _, steps), group in groups.items():
        if not method.startswith(("full supervision", "weak labels", "all-ones")):
            continue
        value = np.mean([100 * r["metrics"]["none"]["dice"] for r in group])
        text = f"{method} {value:.1f}"
        if value < low:
            below.append(text)
            continue
        axes.axhline(value, color="#888888", linewidth=0.8, linestyle="--")
        axes.annotate(
            f"{text}, {steps} steps",
            (0.01, value),
            xycoords=("axes fraction", "data"),
            va="bottom",
            fontsize=8,
            color="#555555",
        )
    axes.set_ylim(bottom=low)
    axes.annotate(
        "below: " + ", ".join(below),
        (0.01, 0.02),
        xycoords="axes fraction",
        fontsize=8,
        color="#555555",
    )
    axes.set_xlabel("masks (of 67 training images)")
    axes.set_ylabel("Dice of the 80 test images, %")
    axes.legend(fontsize=8, loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    sys.exit(main())
