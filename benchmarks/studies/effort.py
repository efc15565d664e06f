"""What an hour of an expert buys, by how it is spent: masks, points, patches, strokes, corrections.

    python -m benchmarks.studies.effort               # five seeds: some two CPU hours, resumable
    python -m benchmarks.studies.effort --table-only  # the table from the records

GlaS' 85 training images at 192 x 288, and 120 of EBHI-Seg at 128 x 128, in five folds that tear no
patient and no case apart; a seed is a fold, another order of the images, and another model. Test
images of GlaS are not opened. Each row is a way of annotating the images of the pool; after 5, 15,
30 and 60 minutes a model learns from what is there. It is the decoder on a frozen encoder
("alseg-fast", the same steps for all rows), whose maps are computed once. Control: whole masks of
images drawn at random, the classes alike, outlined by polygons.

Seconds are counted by the rates of `alseg.oracles`, whose sources stand there: a look 1 s, a
polygon's corner or a further point 0.9 s, an image's first point 2.4 s, a free stroke 10.9 s. They
are medians of other studies, not measured on these images; the records hold clicks and strokes too.

A row of a seed that the records hold is not run again: a killed run goes on where it was.
"""

import argparse
import functools
import itertools
import sys
import tempfile
import time
from types import SimpleNamespace

import numpy as np
import torch

from alseg import JointCAMSegmenter
from alseg.datasets import class_folds, load_folder, load_glas
from alseg.experiment import read_records
from alseg.experiment.statistics import paired_t
from alseg.files import write_text
from alseg.labels import MISSING
from alseg.metrics import dice_per_image
from alseg.oracles import CorrectionOracle, PatchOracle, PointOracle, StrokeOracle
from alseg.query import annotation_cost, class_balanced_top_n, slic_superpixels
from benchmarks.core.data import found_all
from benchmarks.core.parts import foreground_arrays
from benchmarks.core.results import RESULTS, write_record
from benchmarks.core.runner import run_missing

BUDGETS = (300, 900, 1800, 3600)
STEPS, N_FOLDS, N_EBHI = 60, 5, 120
SIZES = {"glas": (192, 288), "ebhi_seg": (128, 128)}
LOOK, CORNER, FIRST = 1.0, 0.9, 2.4
CONTROL = "whole masks"
# What of a row is compared with what of the control: positions in `BUDGETS`.
AGAINST = (
    ("less whole masks, 30 min", 2, 2),
    ("60 min", 3, 3),
    ("30 min less 60 min of whole masks", 2, 3),
)
FULL = "all masks"


# -- the ways: each yields (position, mask, seconds, clicks or strokes) of an answer ---------------


def whole(state):
    """Whole masks of images at random."""
    for i in state.order:
        cost = annotation_cost([state.truth[i]], seconds_per_image=LOOK, seconds_per_click=CORNER)
        yield i, state.truth[i], cost.seconds, cost.clicks


def most_uncertain(state):
    """Whole masks: at random until there is a model, then by entropy, class by class."""
    done = set()
    while len(done) < len(state.order):
        left = [i for i in state.order if i not in done]
        scores = np.zeros(len(left))
        if state.model is not None:
            scores = state.model.predict_uncertainty(state.images[left])
        [at] = class_balanced_top_n(scores, state.labels[left], 1, state.rng)
        i = left[at]
        done.add(i)
        cost = annotation_cost([state.truth[i]], seconds_per_image=LOOK, seconds_per_click=CORNER)
        yield i, state.truth[i], cost.seconds, cost.clicks


def asked_of(make, state):
    """An oracle's answer for each image, and again, with other chances, when all have one."""
    for again in itertools.count():
        oracle = make(state.truth, random_state=1000 * state.seed + again)
        for i in state.order:
            found = oracle.draw(i)
            yield i, found.mask, found.cost.seconds, found.cost.clicks


def uncertain_points(state, n=20):
    """Points at random until there is a model, then among the 5 % of pixels it doubts most [1]_.

    .. [1] Shin et al. 2021, All you need are a few pixels, arXiv:2104.06394.
    """
    while True:
        for i in state.order:
            known = np.ones(state.truth[i].shape, dtype=bool)
            if state.model is not None:
                proba = state.model.predict_mask_proba(state.images[[i]])[0]
                first = np.sort(proba, axis=0)[::-1]
                margin = first[0] - first[1]
                known = margin <= np.quantile(margin, 0.05)
            at = state.rng.permutation(np.argwhere(known))[:n]
            mask = np.full(state.truth[i].shape, MISSING, np.int16)
            mask[tuple(at.T)] = state.truth[i][tuple(at.T)]
            yield i, mask, FIRST + CORNER * (len(at) - 1), len(at)


def superpixels(state, n=20):
    """The commonest class of superpixels, drawn at random: a click on each."""
    for again in itertools.count():
        for i in state.order:
            cells = state.cells(i)
            rng = np.random.default_rng([state.seed, again, int(i)])
            picked = rng.permutation(cells.max() + 1)[:n]
            mask = np.full(cells.shape, MISSING, np.int16)
            for k in picked:
                mask[cells == k] = np.bincount(state.truth[i][cells == k]).argmax()
            yield i, mask, FIRST + CORNER * (len(picked) - 1), len(picked)


def corrections(state, max_strokes=None):
    """What the model proposes, corrected; whole masks until there is one."""
    drawn = whole(state)
    for i in state.order:
        if state.model is None:
            yield next(drawn)
            continue
        if (state.masks[i] != MISSING).all():
            continue
        proposal = state.model.predict_masks(state.images[[i]])[0]
        found = CorrectionOracle(state.truth, max_strokes=max_strokes).correct(int(i), proposal)
        yield i, found.mask, found.cost.seconds, found.cost.clicks


def masks_then_points(state, n_masks=8):
    """Eight whole masks, then points of the other images."""
    yield from itertools.islice(whole(state), n_masks)
    rest = SimpleNamespace(**{**vars(state), "order": state.order[n_masks:]})
    yield from asked_of(functools.partial(PointOracle, n_points=20), rest)


def of(oracle, **options):
    return functools.partial(asked_of, functools.partial(oracle, **options))


# What a row is, and options of the loss.
ROWS = {
    CONTROL: (whole, {}),
    "whole masks, entropy": (most_uncertain, {}),
    "20 points an image": (of(PointOracle, n_points=20), {}),
    "100 points an image": (of(PointOracle, n_points=100), {}),
    "20 uncertain points": (uncertain_points, {}),
    "8 masks, then points": (masks_then_points, {}),
    "a ninth of each image": (of(PatchOracle), {}),
    "20 superpixels": (superpixels, {}),
    "strokes, middle": (of(StrokeOracle, n_strokes=1, n_borders=0), {}),
    "strokes, middle and border": (of(StrokeOracle, n_strokes=1, n_borders=1), {}),
    "strokes, middle and border, prior": (
        of(StrokeOracle, n_strokes=1, n_borders=1),
        {"prior": 0.5},
    ),
    "corrections, confirmed": (corrections, {}),
    "corrections, 5 strokes": (functools.partial(corrections, max_strokes=5), {}),
}


# -- data ------------------------------------------------------------------------------------------


@functools.cache
def all_of(name, folder):
    """Images, masks, labels and groups of a data set."""
    if name == "glas":
        data = load_glas(folder, fold=None).train
        idx = np.arange(len(data))
    else:
        data = load_folder(folder).all
        order = class_balanced_top_n(np.zeros(len(data)), data.labels, N_EBHI, random_state=0)
        idx = np.sort(order)
    images, masks = foreground_arrays(data, idx, SIZES[name])
    return images, masks, data.labels[idx], data.groups[idx]


# -- an hour ---------------------------------------------------------------------------------------


def fitted(state, options, cache, name):
    known = np.flatnonzero((state.masks != MISSING).any((1, 2)))
    model = JointCAMSegmenter.from_preset(
        "alseg-fast",
        image_size=SIZES[name],
        network__pooling=None,
        feature_cache=cache,
        weak_batch_size=0,
        max_epochs=1,
        steps_per_epoch=STEPS,
        random_state=state.seed,
        device="cpu",
        **{f"criterion__{key}": value for key, value in options.items()},
    )
    return model.fit(state.images[known], state.labels[known], masks=list(state.masks[known]))


def run_rows(tasks, folders, cache):
    """The records of rows, each of a data set and a seed: Dice after each budget."""
    found = []
    for name, row, seed in tasks:
        images, truth, labels, groups = all_of(name, folders[name])
        held = class_folds(labels, seed % N_FOLDS, groups, N_FOLDS)
        train, test = np.flatnonzero(~held), np.flatnonzero(held)
        began = time.process_time()
        state = SimpleNamespace(
            images=images[train],
            truth=truth[train],
            labels=labels[train],
            seed=seed,
            rng=np.random.default_rng([seed, 1]),
            model=None,
            masks=np.full(truth[train].shape, MISSING, np.int16),
        )
        state.cells = functools.cache(lambda i, state=state: slic_superpixels(state.images[i], 16))
        state.order = class_balanced_top_n(
            np.zeros(len(train)), state.labels, len(train), random_state=seed
        )
        record = {"data": name, "row": row, "seed": seed, "dice": [], "n_images": [], "clicks": []}
        way, options = ROWS.get(row, (None, {}))
        if way is None:
            state.masks[:] = state.truth
            answers, budgets = iter(()), BUDGETS[-1:]
        else:
            answers, budgets = way(state), BUDGETS
        seconds = clicks = 0.0
        for budget in budgets:
            while seconds < budget:
                answer = next(answers, None)
                if answer is None:
                    break
                i, mask, cost, n = answer
                seconds, clicks = seconds + cost, clicks + n
                state.masks[i] = np.where(mask == MISSING, state.masks[i], mask)
            state.model = fitted(state, options, cache, name)
            state.model.set_params(feature_cache=None)
            predicted = state.model.predict_masks(images[test])
            dice = float(np.nanmean(dice_per_image(list(predicted), list(truth[test]))))
            record["dice"].append(dice)
            record["n_images"].append(int((state.masks != MISSING).any((1, 2)).sum()))
            record["clicks"].append(clicks)
        record["seconds"] = {"cpu": round(time.process_time() - began, 1)}
        found.append(record)
    return found


# -- the table -------------------------------------------------------------------------------------


def table(records):
    """A row a way and data set: Dice after each budget, and against whole masks."""
    heads = " | ".join(f"{budget // 60} min" for budget in BUDGETS)
    against = " | ".join(name for name, _, _ in AGAINST)
    lines = [f"| data | way | seeds | {heads} | {against} |"]
    lines.append("|---" * (len(BUDGETS) + 3 + len(AGAINST)) + "|")
    by = {(r["data"], r["row"], r["seed"]): 100 * np.array(r["dice"]) for r in records}
    for name in SIZES:
        for row in (*ROWS, FULL):
            seeds = sorted(seed for data, way, seed in by if (data, way) == (name, row))
            if not seeds:
                continue
            dice = np.array([by[name, row, seed] for seed in seeds])
            cells = [""] * (len(BUDGETS) - dice.shape[1])
            cells += [f"{mean:.1f}" for mean in dice.mean(0)]
            pairs = [seed for seed in seeds if (name, CONTROL, seed) in by]
            for _, mine, theirs in AGAINST:
                if row in (CONTROL, FULL) or len(pairs) < 2:
                    cells.append("")
                    continue
                test = paired_t(
                    [by[name, row, seed][mine] - by[name, CONTROL, seed][theirs] for seed in pairs]
                )
                low, high = test.interval
                cells.append(f"{test.mean:+.1f} [{low:+.1f}, {high:+.1f}]")
            lines.append(f"| {name} | {row} | {len(seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, FULL], default=[*ROWS, FULL])
    parser.add_argument("--data", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--out", default=RESULTS / "effort")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args(argv)
    if not arguments.table_only:
        folders = found_all(*SIZES)
        if folders is None:
            return 0
        torch.set_num_threads(1)
        config = {"sizes": SIZES, "budgets": BUDGETS, "steps": STEPS, "n": [N_FOLDS, N_EBHI]}
        tasks = list(itertools.product(arguments.data, arguments.rows, range(arguments.seeds)))
        tasks.sort(key=lambda task: task[2])  # a killed run has whole seeds
        with tempfile.TemporaryDirectory() as cache:
            run_missing(
                arguments.out,
                config,
                tasks,
                key_of=lambda record: (record["data"], record["row"], record["seed"]),
                run=functools.partial(
                    run_rows, folders=dict(zip(SIZES, map(str, folders))), cache=cache
                ),
                title="effort",
                unit="row",
            )
    records = [r for r in read_records(arguments.out) if r["row"] in (*ROWS, FULL)]
    text = table(records)
    write_text(RESULTS / "effort" / "table.md", text)
    print(text)
    rows = [{name: value for name, value in r.items() if name != "config"} for r in records]
    return 0 if arguments.table_only else write_record(RESULTS / "effort" / "effort.json", rows)


if __name__ == "__main__":
    sys.exit(main())
