"""Annotated images of another domain: what they are worth, and whom to ask about beside them.

    python -m benchmarks.studies.domain               # about 10 CPU minutes, resumable
    python -m benchmarks.studies.domain --table-only  # the table from the records

From EBHI-Seg (biopsies of the colon at 400 x) to GlaS (glands at 20 x), and back. The source is 60
images with all masks, the target 60 whose masks are asked for: none at first, then twice 8. Dice of
the foreground is the mean over 40 images of the target that are in neither: of GlaS' testA, and of
EBHI-Seg from other cases. All images are 96 x 144; the encoder (EfficientNet-Lite0, ImageNet
weights) is frozen, its maps are computed once, and the decoder is trained for 40 steps each time,
without a class head, since the domains have other classes. Rows of one seed start from one model,
but for those of another source.

A chain of a row that the records hold is not run again: a killed run goes on where it was.
"""

import argparse
import copy
import functools
import sys
import tempfile
import time

import numpy as np
import torch

from alseg import ActiveLearner, JointCAMSegmenter
from alseg.datasets import load_folder, load_glas
from alseg.experiment import read_records
from alseg.files import write_text
from alseg.metrics import dice_per_image
from alseg.strategies import (
    aada_sampling,
    clue_sampling,
    core_set_sampling,
    entropy_sampling,
    random_sampling,
    with_source,
)
from benchmarks.core.data import found_all
from benchmarks.core.parts import foreground_arrays
from benchmarks.core.results import RESULTS, write_record
from benchmarks.core.runner import run_missing
from benchmarks.core.tables import head, line

SIZE, N_POOL, N_TEST = (96, 144), 60, 40
ROUNDS, N_INSTANCES = 2, 8
STEPS = {"max_epochs": 8, "steps_per_epoch": 5}
DIRECTIONS = {"EBHI-Seg -> GlaS": ("ebhi_seg", "glas"), "GlaS -> EBHI-Seg": ("glas", "ebhi_seg")}
# Strategy, and what the masks of the source weigh; None is no source. Below 1 they are drawn beside
# the target's masks, at most BESIDE a batch, instead of among them.
BESIDE = 8
ROWS = {
    "random, no source": (random_sampling, None),
    "random, the source beside": (random_sampling, 0.5),
    "random": (random_sampling, 1.0),
    "entropy": (entropy_sampling, 1.0),
    "AADA": (aada_sampling, 1.0),
    "CLUE": (clue_sampling, 1.0),
    "core-set": (core_set_sampling, 1.0),
    "core-set, the source counts": (with_source(core_set_sampling), 1.0),
}


@functools.cache
def parts_of(name, folder):
    """Images and masks of a domain: to train on, and to be measured by."""
    if name == "glas":
        split = load_glas(folder, fold=None)
        first = np.arange(N_TEST)  # testA comes first
        return foreground_arrays(
            split.train, np.arange(min(N_POOL, len(split.train))), SIZE
        ), foreground_arrays(split.test, first, SIZE)
    data = load_folder(folder).all
    rng = np.random.default_rng(0)
    cases = rng.permutation(np.unique(data.groups))
    order = [i for case in cases for i in rng.permutation(np.flatnonzero(data.groups == case))]
    used, test = order[:N_POOL], order[::-1]
    taken = set(data.groups[used].tolist())
    test = [i for i in test if data.groups[i] not in taken][:N_TEST]
    return foreground_arrays(data, used, SIZE), foreground_arrays(data, test, SIZE)


@functools.cache
def start_of(direction, seed, weight, folders, cache):
    """A learner of the target, with a model of the source alone, or without one."""
    source, target = (parts_of(name, folders[name]) for name in DIRECTIONS[direction])
    model = JointCAMSegmenter.from_preset(
        "alseg-fast",
        image_size=SIZE,
        network__pooling=None,
        feature_cache=cache,
        weak_batch_size=BESIDE if weight is not None and weight < 1 else 0,
        device="cpu",
        **STEPS,
    )
    images, masks = source[0]
    learner = ActiveLearner(
        model,
        images=target[0][0],
        labels=np.zeros(len(target[0][0]), dtype=int),
        source=None if weight is None else (images, np.zeros(len(images), dtype=int), masks),
        source_weight=1.0 if weight is None else weight,
        random_state=seed,
    )
    return learner if weight is None else learner.fit()


class Folders(dict):
    """Folders of data by name, which a cache can tell apart."""

    def __hash__(self):
        return hash(tuple(self.items()))


def dice_of(learner, target):
    images, masks = target[1]
    return float(np.nanmean(dice_per_image(list(learner.predict_masks(images)), list(masks))))


def run_chain(tasks, folders, cache):
    """The records of rows, each of a direction and a seed: Dice after 0, 8 and 16 masks."""
    found = []
    for direction, row, seed in tasks:
        strategy, weight = ROWS[row]
        target = parts_of(DIRECTIONS[direction][1], folders[DIRECTIONS[direction][1]])
        learner = copy.copy(start_of(direction, seed, weight, folders, cache))
        learner.query_strategy = strategy
        dice, asked, began = (
            [None if weight is None else dice_of(learner, target)],
            [],
            time.process_time(),
        )
        for _ in range(ROUNDS):
            sample_ids, _ = learner.query(n_instances=N_INSTANCES)
            learner.annotate(sample_ids, target[0][1][sample_ids])
            asked += np.asarray(sample_ids).tolist()
            dice.append(dice_of(learner, target))
        record = {"direction": direction, "row": row, "seed": seed, "dice": dice, "asked": asked}
        found.append({**record, "seconds": {"cpu": round(time.process_time() - began, 1)}})
    return found


def table(records):
    """A row a strategy and direction: means over the seeds and their spread."""
    counts = [N_INSTANCES * k for k in range(ROUNDS + 1)]
    heads = [f"Dice, {n} masks" for n in counts]
    lines = head(["direction", "row", "seeds", *heads, f"less random, {counts[-1]} masks"])
    last = {(r["direction"], r["row"], r["seed"]): 100 * r["dice"][-1] for r in records}
    for direction in DIRECTIONS:
        for row in ROWS:
            mine = [r for r in records if (r["direction"], r["row"]) == (direction, row)]
            if not mine:
                continue
            cells = []
            for k in range(len(counts)):
                values = [100 * r["dice"][k] for r in mine if r["dice"][k] is not None]
                cells.append(told(values) if values else "")
            keys = [r["seed"] for r in mine if (direction, "random", r["seed"]) in last]
            gains = [last[direction, row, s] - last[direction, "random", s] for s in keys]
            cells.append("" if row == "random" or not gains else told(gains, "+"))
            lines.append(line([direction, row, len(mine), *cells]))
    return "\n".join(lines) + "\n"


def told(values, sign=""):
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):{sign}.1f}{spread}"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--out", default=RESULTS / "domain")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args(argv)
    names = ("ebhi_seg", "glas")
    folders = None if arguments.table_only else found_all(*names)
    if folders is not None:
        torch.set_num_threads(1)
        folders = Folders(zip(names, map(str, folders), strict=True))
        config = {
            "size": SIZE,
            "n": [N_POOL, N_TEST, ROUNDS, N_INSTANCES],
            "steps": STEPS,
            "preset": "alseg-fast without a class head",
        }
        tasks = [
            (direction, row, seed)
            for seed in arguments.seeds
            for direction in DIRECTIONS
            for row in arguments.rows
        ]
        with tempfile.TemporaryDirectory() as cache:
            run_missing(
                arguments.out,
                config,
                tasks,
                key_of=lambda record: (record["direction"], record["row"], record["seed"]),
                run=functools.partial(run_chain, folders=folders, cache=cache),
                title="domain",
                unit="chain",
            )
    elif not arguments.table_only:
        return 0
    records = [record for record in read_records(arguments.out) if record["row"] in ROWS]
    text = table(records)
    write_text(RESULTS / "domain" / "table.md", text)
    print(text)
    rows = [{name: value for name, value in r.items() if name != "config"} for r in records]
    return 0 if arguments.table_only else write_record(RESULTS / "domain" / "domain.json", rows)


if __name__ == "__main__":
    sys.exit(main())
