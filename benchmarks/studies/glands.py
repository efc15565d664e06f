"""Synthetic glands: how far do 0, 4, 8, 16 and 32 masks go, from scratch, on two cores?

    python -m benchmarks.studies.glands  # about 10 minutes, one thread

No data is needed. 80 training images with class labels, masks for some of them (nested
class-balanced random sets), 60 test images; the small encoder from random weights, the same number
of gradient steps for every row. "stain" is Otsu's threshold on the blurred haematoxylin channel.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from alseg import JointCAMSegmenter
from alseg.datasets import make_glands
from alseg.experiment import evaluate
from alseg.metrics import mask_metrics
from alseg.query import class_balanced_top_n
from alseg.segmenter import haematoxylin_masks
from benchmarks.core.results import BATCHES, RESULTS, write_record
from benchmarks.core.tables import head, line, spread


def scores_of_seed(seed, budgets, n_train, epochs):
    train = make_glands(n_train, random_state=seed)
    test = make_glands(60, random_state=1000 + seed)
    order = class_balanced_top_n(np.zeros(n_train), train.labels, n_train, random_state=seed)
    stain = mask_metrics(list(haematoxylin_masks(test.images)), list(test.masks))
    rows = [{"method": "stain", "seed": seed, "n_masks": 0, "mean_iou": stain["mean_iou"]}]
    for budget in budgets:
        ids = set(np.asarray(order)[:budget].tolist())
        masks = [train.masks[i] if i in ids else None for i in range(n_train)]
        model = JointCAMSegmenter(
            "tiny",
            max_epochs=epochs,
            steps_per_epoch=-(-n_train // 8),
            random_state=seed,
            image_size="large",
            device="cpu",
            **BATCHES,
        )
        model.fit(train.images, train.labels, masks)
        metrics = evaluate(model, test)
        rows.append(
            {
                "method": "alseg",
                "seed": seed,
                "n_masks": budget,
                "n_steps": model.n_steps_,
                **{k: metrics[k] for k in ("mean_iou", "dice", "object_dice", "class_accuracy")},
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def table(rows):
    lines = head(["method", "masks", "mean IoU", "Dice", "object Dice", "class accuracy"])
    groups = {}
    for row in rows:
        groups.setdefault((row["method"], row["n_masks"]), []).append(row)
    for (method, n_masks), group in groups.items():
        cells = []
        for key in ("mean_iou", "dice", "object_dice", "class_accuracy"):
            cells.append(spread([r[key] for r in group if key in r], none=""))
        lines.append(line([method, n_masks, *cells]))
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budgets", type=int, nargs="+", default=[0, 4, 8, 16, 32])
    parser.add_argument("--n-train", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "glands.json")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    rows = []
    for seed in arguments.seeds:
        rows += scores_of_seed(seed, arguments.budgets, arguments.n_train, arguments.epochs)
    write_record(arguments.out, rows, command="python -m benchmarks.studies.glands")
    arguments.out.with_suffix(".md").write_text(table(rows), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    sys.exit(main())
