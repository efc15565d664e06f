"""Every strategy for three rounds: what it asks, how long that takes, and how much it holds.

    python -m benchmarks.studies.strategies            # about 45 minutes at one thread, resumable
    python -m benchmarks.studies.strategies --options  # the options on GlaS too, 45 minutes more
    python -m benchmarks.studies.strategies --data glands --strategies entropy_sampling ceal
    python -m benchmarks.studies.strategies --table-only

All that `alseg.testing.all_strategies` gives on `make_glands` (encoder "tiny" from random
weights), and each strategy and wrapper once, with its defaults, on GlaS (fold 0, shrunk to
96 x 144, test masks too; MobileNetV2 with ImageNet weights). Round 0 fits 8 class-balanced masks;
it is done once and every strategy of the data starts from that network. Each of the three rounds
after it asks, fits from scratch and evaluates. Strategies that compare members ask a `DeepEnsemble`
of three, which fits thrice as much and predicts by the mean; "ceal" is `ceal_sampling` with
pseudo-labels and warm starts, as published.

Images: 4 a round. Parts of images: as many as make a quarter of these images' pixels (squares and
superpixels of 16 pixels' side, at most 8 an image; RIPU's windows have 3), or 5 single pixels an
image of the pool (at most 10 in one). So rows that ask for parts pay less than the others:
"kilopixels" and "clicks" (`alseg.query.costs`) say how much.

What the table tells: that each strategy runs on a real network, what its questions take in seconds
and memory beside a fit, and what they cost. What it cannot tell: which strategy is better. It is
one seed, three rounds and short fits; on GlaS another seed moves a row by up to 1.5 points of Dice
at four times the steps (`glas.py`), as much as most rows differ. For that there is `alseg compare`,
with seeds and tests.

Seconds are wall-clock, at one thread: on a shared machine they count the neighbours too. Each task
is a process of its own, so its peak memory is its own; the table leaves out what the process held
before, the libraries and the data (`base`).
"""

import argparse
import dataclasses
import functools
import importlib
import json
import multiprocessing
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from alseg import JointCAMSegmenter, PseudoLabelAugmenter
from alseg.calling import accepts, unit_of
from alseg.datasets import load_glas, make_glands
from alseg.experiment import Records, environment, peak_memory_mib, run
from alseg.files import write_text
from alseg.learner import DeepEnsemble
from alseg.strategies import ceal_sampling
from alseg.testing import all_strategies
from benchmarks.core.data import find_data
from benchmarks.core.parts import shrunk
from benchmarks.core.results import RESULTS
from benchmarks.core.tables import head, line

DATA = ("glands", "glas")
ROUNDS, INITIAL, PER_ROUND = 3, 8, 4
SIDE, PIXELS = 16, 5  # of a part asked for; single ones an image
N_MEMBERS = 3
SIZES = {
    # training and test images, their size, steps of a fit
    "full": {"glands": (60, 40, (48, 72), 24), "glas": (67, 80, (96, 144), 30)},
    "tiny": {"glands": (32, 6, (32, 48), 2), "glas": (32, 6, (48, 72), 2)},
}
# Two seconds of each task, were they not imported before; the first is what an optimizer imports.
IMPORTED_LATE = ("torch._dynamo", "safetensors.torch", "skimage.measure", "skimage.segmentation")
# What stands for a wrapper where its options are left out.
WRAPPED = (
    "by_region(entropy_score, superpixel)",
    "by_region(random, patch)",
    "class_balanced(entropy_score)",
    "distinct(entropy_score)",
    "foreground_random(mask)",
    "mixture(entropy_sampling, random_score)",
    "stochastic(entropy_score)",
    "stochastic_batches(entropy_score)",
    "subsample(entropy_score)",
)


def load(data, sizes, seed):
    n_train, n_test, image_size, _ = sizes
    if data == "glands":
        train = make_glands(n_train, image_size, random_state=seed)
        return train, make_glands(n_test, image_size, random_state=1000 + seed)
    glas = load_glas(find_data("glas"), fold=0)
    parts = []
    for part, n in ((glas.train, n_train), (glas.test, n_test)):
        some = part.take(np.linspace(0, len(part) - 1, n).astype(int))
        some = dataclasses.replace(some, groups=None, subsets=None, published_part=None)
        parts.append(shrunk(some, image_size, Image.Resampling.BILINEAR))
    return parts


def network(data, sizes):
    weights = None
    if data == "glas":
        weights = str(find_data("weights") / "mobilenet_v2_imagenet.safetensors")
    return JointCAMSegmenter(
        encoder="tiny" if weights is None else "mobilenet_v2",
        encoder_weights=weights,
        image_size=sizes[2],
        batch_size=8,
        weak_batch_size=4,
        max_epochs=1,
        steps_per_epoch=sizes[3],
        device="cpu",
    )


def tasks(names=None):
    """name -> (strategy, what it asks: "network", "ensemble" or "ceal")."""
    found = {}
    for name, strategy in all_strategies().items():
        found[name] = strategy, "ensemble" if name.startswith("committee") else "network"
    found["ceal"] = ceal_sampling, "ceal"
    unknown = sorted(set(names or ()) - set(found))
    if unknown:
        raise SystemExit(f"--strategies must be among {list(found)}, got {unknown}")
    return {name: task for name, task in found.items() if names is None or name in names}


def question(name, strategy, sizes):
    """The strategy with parts of a size that fits these images, and how many it is to ask for."""
    unit = unit_of(strategy)
    if unit == "image":
        return strategy, PER_ROUND
    options, side = {}, SIDE
    if unit == "pixel":
        options["per_image"] = 10
    elif name.startswith("ripu"):
        side = 3
    else:
        options = {"size": SIDE, "per_image": 8}
    # What a strategy has bound, such as the toys' sizes, is bound anew.
    base = strategy.func if isinstance(strategy, functools.partial) else strategy
    options = {key: value for key, value in options.items() if accepts(base, key)}
    if unit == "pixel":
        return functools.partial(strategy, **options), PIXELS * (sizes[0] - INITIAL)
    n_pixels = PER_ROUND * np.prod(sizes[2]) / 4
    return functools.partial(strategy, **options), round(n_pixels / side**2)


def three_rounds(data, name, kind, sizes, seed, start, loaded):
    """One task, or round 0 alone if the name is None: its records become a row."""
    torch.set_num_threads(1)
    base = peak_memory_mib()["peak"]
    train, test = loaded
    model = network(data, sizes)
    if kind == "ensemble":
        model = DeepEnsemble(model, N_MEMBERS)
    if name is None:
        return run(
            model,
            train,
            test,
            all_strategies()["random_sampling"],
            rounds=0,
            n_instances=PER_ROUND,
            out=start,
            initial=INITIAL,
            seed=seed,
            keep_model=True,
        )[0]
    strategy, n_instances = question(name, tasks([name])[name][0], sizes)
    options = {}
    if kind == "ceal":
        # Pseudo-labels from the second round on, as many as are asked for, and so many more each.
        schedule = {
            "n_initial": INITIAL,
            "n_per_round": PER_ROUND,
            "start": 2,
            "n_first": PER_ROUND,
            "growth": PER_ROUND,
        }
        augmenter = PseudoLabelAugmenter("ceal", weight=1, labels="sampled", schedule=schedule)
        options = {"augmenter": augmenter, "warm_start": True}
    with tempfile.TemporaryDirectory() as out:
        records = run(
            model,
            train,
            test,
            strategy,
            rounds=ROUNDS,
            n_instances=n_instances,
            out=out,
            initial=INITIAL,
            seed=seed,
            name=name,
            start=start,
            **options,
        )
    after = records[1:]
    memory = {key: max(r["memory_mib"][key] for r in after) for key in ("query", "fit")}
    return {
        "asks": unit_of(strategy),
        "n_instances": n_instances,
        "dice": [record["metrics"]["dice"] for record in records],
        "n_masks": records[-1]["n_masks"],
        "asked": [record["sample_ids"] for record in records],
        "cost": {k: records[-1]["cost"][k] - records[0]["cost"][k] for k in records[0]["cost"]},
        "gradient_steps": sum(r["gradient_steps"] or 0 for r in after),
        "seconds": {k: [r["seconds"].get(k, 0.0) for r in after] for k in ("query", "fit")},
        "memory_mib": {"base": base, **memory},
    }


def attempt(task):
    """`three_rounds`, with an error as part of the row: one strategy must not end the others."""
    data, name, kind = task[:3]
    begun = time.perf_counter()
    row = {"data": data, "strategy": name, "kind": kind}
    try:
        row |= three_rounds(data, name, kind, *task[3:])
    except Exception as error:
        traceback.print_exc()
        row["error"] = f"{type(error).__name__}: {error}"
    row["seconds"] = {**row.get("seconds", {}), "task": round(time.perf_counter() - begun, 2)}
    return row


def run_tasks(todo, n_jobs):
    """The rows, in the order in which they end."""
    if not todo:
        return
    # A copy of this process, where there is such a thing: it has imported everything, and computed
    # nothing by torch, whose threads would not be copied.
    for module in IMPORTED_LATE:
        importlib.import_module(module)
    kinds = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in kinds else None)
    with context.Pool(n_jobs, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(attempt, todo, chunksize=1)


PLURALS = {"image": "images", "patch": "squares", "superpixel": "superpixels", "pixel": "pixels"}
COLUMNS = (
    ("strategy", lambda r: r["strategy"]),
    ("asks for", lambda r: f"{r['n_instances']} {PLURALS[r['asks']]}"),
    ("network", lambda r: r["kind"]),
    ("Dice, last", lambda r: f"{100 * r['dice'][-1]:.1f}"),
    ("mean of 3", lambda r: f"{100 * np.mean(r['dice'][1:]):.1f}"),
    ("kilopixels", lambda r: f"{r['cost']['pixels'] / 1000:.1f}"),
    ("clicks", lambda r: f"{r['cost']['clicks']}"),
    ("query s", lambda r: f"{sum(r['seconds']['query']):.2f}"),
    ("fit s", lambda r: f"{sum(r['seconds']['fit']):.1f}"),
    ("query MiB", lambda r: f"{r['memory_mib']['query'] - r['memory_mib']['base']:.0f}"),
    ("fit MiB", lambda r: f"{r['memory_mib']['fit'] - r['memory_mib']['base']:.0f}"),
)


def table(rows, starts):
    """Markdown: a table for each data set, by the mean Dice."""
    lines = [
        "Three rounds after 8 masks, one seed: rows differ by chance too, see "
        "`benchmarks/studies/strategies.py` for what this can and cannot tell. Costs, seconds "
        "(wall-clock, one thread) are sums over the rounds; MiB is the peak above what the process "
        "held before.",
    ]
    for data in DATA:
        part = [row for row in rows if row["data"] == data]
        if not part:
            continue
        first = {s["kind"]: f"{100 * s['dice']:.1f}" for s in starts if s["data"] == data}
        said = ", ".join(f"{kind} {dice}" for kind, dice in first.items())
        lines += ["", f"## {data}", "", f"Dice of round 0, which all start from: {said}.", ""]
        lines += head(title for title, _ in COLUMNS)
        good = [row for row in part if "error" not in row]
        for row in sorted(good, key=lambda r: -np.mean(r["dice"][1:])):
            lines.append(line(cell(row) for _, cell in COLUMNS))
        bad = [row for row in part if "error" in row]
        lines += [""] * bool(bad) + [f"- {row['strategy']}: {row['error']}" for row in bad]
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--strategies", nargs="+", metavar="NAME")
    parser.add_argument("--options", action="store_true", help="each with its options on GlaS too")
    parser.add_argument("--size", choices=list(SIZES), default="full", help="tiny: does it run?")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-jobs", type=int, default=1, help="tasks at once, a thread each")
    parser.add_argument("--out", type=Path, default=RESULTS / "strategies.json")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args(argv)
    sizes, chosen = SIZES[arguments.size], tasks(arguments.strategies)
    config = {
        "sizes": sizes,
        "seed": arguments.seed,
        "rounds": ROUNDS,
        "initial": INITIAL,
        "per_round": PER_ROUND,
        "side": SIDE,
        "pixels": PIXELS,
        "members": N_MEMBERS,
    }
    with Records(arguments.out.parent, config, arguments.out.stem + ".jsonl") as records:
        if not arguments.table_only:
            for data in arguments.data:
                if data == "glas" and (find_data("glas") is None or find_data("weights") is None):
                    print("glas/ and weights/ are not in ALSEG_DATA: left out.")
                    continue
                work(data, chosen, sizes[data], arguments, records)
        starts = {(r["data"], r["kind"]): r for r in records.records if r["strategy"] is None}
        rows = {(r["data"], r["strategy"]): r for r in records.records if r["strategy"]}
    rows, starts = list(rows.values()), list(starts.values())
    record = {
        "command": "python -m benchmarks.studies.strategies",
        "environment": environment("cpu"),
        **config,
        "starts": starts,
        "rows": rows,
    }
    for row in (*starts, *rows):
        row.pop("config", None)
    write_text(arguments.out, json.dumps(record, indent=1) + "\n")
    write_text(arguments.out.with_suffix(".md"), table(rows, starts))
    print(table(rows, starts))
    return int(any("error" in row for row in rows))


def work(data, chosen, sizes, arguments, records):
    """Round 0 once a kind of network, then every task that has no row yet."""
    done = {(r["data"], r["strategy"]) for r in records.records if "error" not in r}
    every = data == "glands" or arguments.options or arguments.strategies
    todo = {
        n: kind
        for n, (_, kind) in chosen.items()
        if (data, n) not in done and (every or "(" not in n or n in WRAPPED)
    }
    if not todo:
        return
    loaded, seed = load(data, sizes, arguments.seed), arguments.seed
    with tempfile.TemporaryDirectory() as folder:
        # CEAL starts from the network that the others start from.
        start = {
            kind: str(Path(folder, "ensemble" if kind == "ensemble" else "network"))
            for kind in set(todo.values())
        }
        first = {path: kind for kind, path in sorted(start.items())}
        fits = [(data, None, kind, sizes, seed, path, loaded) for path, kind in first.items()]
        for row in run_tasks(fits, arguments.n_jobs):
            if "error" in row:
                raise SystemExit(f"round 0 on {data}: {row['error']}")
            kind = "ensemble" if row["kind"] == "ensemble" else "network"
            record = {"data": data, "strategy": None, "kind": kind, "dice": row["metrics"]["dice"]}
            records.append({**record, "seconds": row["seconds"]})
        rest = [(data, n, kind, sizes, seed, start[kind], loaded) for n, kind in todo.items()]
        shown = tqdm(run_tasks(rest, arguments.n_jobs), data, len(rest))
        for row in shown:
            records.append(row)
            tqdm.write(f"{data} {row['strategy']}: {row.get('error') or row['seconds']}")


if __name__ == "__main__":
    sys.exit(main())
