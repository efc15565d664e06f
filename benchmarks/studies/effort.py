"""What an hour of an expert buys, by how it is spent: masks, points, patches, strokes, corrections.

    python -m benchmarks.studies.effort               # five seeds: some five CPU hours, resumable
    python -m benchmarks.studies.effort --data glas --rows "whole masks" "20 superpixels"
    python -m benchmarks.studies.effort --table-only  # the table from the records

GlaS' 85 training images at 192 x 288, and 120 images, the classes alike, of each of EBHI-Seg, ISIC
2017 and the Leeds butterflies at 128 x 128, in five folds that tear no patient, no case and no
near-duplicates apart; a seed is a fold, another order of the images, and another model. Test images
of GlaS are not opened. Each row is a way of annotating the images of the pool; after some minutes,
at most an hour, a model learns from what is there. It is the decoder on a frozen encoder
("alseg-fast", the same steps for all rows), whose maps are computed once; but not in rows whose
loss looks at colours ("CRF") or at changed images ("consistent within"), nor in those that train
the encoder too ("fine-tuned"): these have controls of their own. Control: whole masks of images
drawn at random, the classes alike, outlined by polygons.

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
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from alseg import Consistency, JointCAMSegmenter
from alseg.datasets import class_folds, load_folder, load_glas, load_isic
from alseg.experiment import read_records
from alseg.experiment.statistics import paired_t
from alseg.files import write_text
from alseg.labels import MISSING
from alseg.metrics import dice_per_image
from alseg.oracles import CorrectionOracle, PatchOracle, PointOracle, StrokeOracle
from alseg.query import (
    annotation_cost,
    class_balanced_top_n,
    entropy,
    ripu,
    slic_superpixels,
    stochastic_top_n,
    superpixel_means,
)
from alseg.query.diversity import distinct_images, facility_location
from alseg.strategies import pretrained_embedding
from benchmarks.core.data import found_all
from benchmarks.core.parts import foreground_arrays
from benchmarks.core.results import RESULTS, write_record
from benchmarks.core.runner import run_missing
from benchmarks.core.tables import head, line

BUDGETS = {
    "glas": (300, 900, 1800, 3600),
    "ebhi_seg": (300, 900, 1800, 3600),
    # Outlines of a few corners: in an hour the pool would be outlined.
    "isic2017": (150, 300, 900, 1800),
    "leeds_butterfly": (150, 300, 900, 1800),
}
# Of `--early`, in records of their own: nothing is fitted before, so that they are of the same run.
EARLY = {"glas": (150,), "ebhi_seg": (150,), "isic2017": (75,), "leeds_butterfly": (75,)}
STEPS, N_FOLDS, N_SAMPLE = 60, 5, 120
SIZES = {
    "glas": (192, 288),
    "ebhi_seg": (128, 128),
    "isic2017": (128, 128),
    "leeds_butterfly": (128, 128),
}
LOOK, CORNER, FIRST = 1.0, 0.9, 2.4
CONTROL = "whole masks"
FULL = "all masks"
TUNED = ", fine-tuned"
ENOUGH = 0.95  # of full supervision


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


def proba_of(state, i):
    """What the model says of an image, (C, H, W)."""
    return state.model.predict_mask_proba(state.images[[i]])[0]


def in_turn(state):
    """The images, each once before any is a second time."""
    return itertools.chain.from_iterable(itertools.repeat(state.order))


def answer_at(state, i, at):
    """The answer of an image whose pixels at these rows and columns are clicked."""
    mask = np.full(state.truth[i].shape, MISSING, np.int16)
    mask[tuple(at.T)] = state.truth[i][tuple(at.T)]
    return i, mask, FIRST + CORNER * (len(at) - 1), len(at)


def uncertain_points(state, n=20, n_fair=0):
    """Points at random until there is a model, then among the 5 % of pixels it doubts most [1]_.

    Of these `n`, `n_fair` stay at random.

    .. [1] Shin et al. 2021, All you need are a few pixels, arXiv:2104.06394.
    """
    for i in in_turn(state):
        known = np.ones(state.truth[i].shape, dtype=bool)
        if state.model is not None:
            first = np.sort(proba_of(state, i), axis=0)[::-1]
            margin = first[0] - first[1]
            known = margin <= np.quantile(margin, 0.05)
        at = state.rng.permutation(np.argwhere(known))[: n - n_fair]
        if n_fair:
            at = np.concatenate(
                [at, state.rng.permutation(np.argwhere(np.ones_like(known)))[:n_fair]]
            )
        yield answer_at(state, i, at)


def drawn_points(state, map_of, n=20):
    """Points at random until there is a model, then with chances in proportion to a map of it."""
    for i in in_turn(state):
        scores = np.ones(state.truth[i].shape)
        if state.model is not None:
            scores = map_of(proba_of(state, i)) * (state.masks[i] == MISSING)
        picked = stochastic_top_n(scores.ravel(), n, random_state=state.rng)
        yield answer_at(state, i, np.column_stack(np.divmod(picked, scores.shape[1])))


def doubt(proba):
    return entropy(proba, axis=0)


def borders(proba):
    """Where predicted classes meet, within 5 pixels, and the model is unsure [1]_.

    .. [1] Xie et al. 2022, Towards fewer annotations, arXiv:2111.12940.
    """
    return ripu(proba, size=11)


def said_of(state, i, cells, picked):
    """The answer of an image of which superpixels are clicked, with the commonest class of each."""
    mask = np.full(cells.shape, MISSING, np.int16)
    for k in picked:
        mask[cells == k] = np.bincount(state.truth[i][cells == k]).argmax()
    return i, mask, FIRST + CORNER * (len(picked) - 1), len(picked)


def superpixels(state, n=20, size=16):
    """Superpixels of some `size` (side, in pixels), drawn at random: a click on each."""
    for again in itertools.count():
        for i in state.order:
            cells = state.cells(i, size)
            rng = np.random.default_rng([state.seed, again, int(i)])
            yield said_of(state, i, cells, rng.permutation(cells.max() + 1)[:n])


def uncertain_superpixels(state, n=20):
    """Superpixels at random until there is a model, then in proportion to their mean entropy."""
    for i in in_turn(state):
        cells = state.cells(i)
        scores = np.ones(cells.max() + 1)
        if state.model is not None:
            scores = superpixel_means(doubt(proba_of(state, i)), cells)
        scores = scores * (superpixel_means(state.masks[i] == MISSING, cells) > 0)
        n_picked = min(n, len(scores))
        picked = stochastic_top_n(scores, n_picked, random_state=state.rng)
        yield said_of(state, i, cells, picked)


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


def typical_first(way, state):
    """A way, with the images in the order in which they represent all of the pool best [1]_.

    That is known before anything is asked; the classes are not balanced.

    .. [1] Yang et al. 2017, Suggestive annotation, arXiv:1706.04737, Section 2.3.
    """
    embedded = pretrained_embedding()(state.images)
    order = facility_location(embedded, len(embedded))
    yield from way(SimpleNamespace(**{**vars(state), "order": order}))


CRF = {"feature_cache": None, "criterion__crf_scale": 0.1}  # as published, arXiv:1906.04651


FINE = {"feature_cache": None, "schedule__encoder_lr_scale": 0.3}
WITHIN = {"feature_cache": None, "consistency": Consistency(within=True)}


def of(oracle, **options):
    return functools.partial(asked_of, functools.partial(oracle, **options))


# What a row is, and options of the loss; `feature_cache` None is without kept maps.
ROWS = {
    CONTROL: (whole, {}),
    "whole masks, entropy": (most_uncertain, {}),
    "20 points an image": (of(PointOracle, n_points=20), {}),
    "100 points an image": (of(PointOracle, n_points=100), {}),
    "20 uncertain points": (uncertain_points, {}),
    "20 points, half uncertain": (functools.partial(uncertain_points, n_fair=10), {}),
    "20 points, drawn by doubt": (functools.partial(drawn_points, map_of=doubt), {}),
    "20 points, at borders": (functools.partial(drawn_points, map_of=borders), {}),
    "8 masks, then points": (masks_then_points, {}),
    "a ninth of each image": (of(PatchOracle), {}),
    "20 superpixels": (superpixels, {}),
    "10 superpixels": (functools.partial(superpixels, n=10), {}),
    "5 superpixels": (functools.partial(superpixels, n=5), {}),
    "10 superpixels of 32": (functools.partial(superpixels, n=10, size=32), {}),
    "5 superpixels of 32": (functools.partial(superpixels, n=5, size=32), {}),
    "20 superpixels, typical first": (functools.partial(typical_first, superpixels), {}),
    "10 superpixels of 32, typical first": (
        functools.partial(typical_first, functools.partial(superpixels, n=10, size=32)),
        {},
    ),
    "whole masks, typical first": (functools.partial(typical_first, whole), {}),
    "20 superpixels, drawn by doubt": (uncertain_superpixels, {}),
    "strokes, middle": (of(StrokeOracle, n_strokes=1, n_borders=0), {}),
    "strokes, middle and border": (of(StrokeOracle, n_strokes=1, n_borders=1), {}),
    "strokes, middle and border, prior": (
        of(StrokeOracle, n_strokes=1, n_borders=1),
        {"criterion__prior": 0.5},
    ),
    "corrections, confirmed": (corrections, {}),
    "corrections, 5 strokes": (functools.partial(corrections, max_strokes=5), {}),
    "20 points, no kept maps": (of(PointOracle, n_points=20), {"feature_cache": None}),
    "20 points, CRF": (of(PointOracle, n_points=20), CRF),
    "20 points, consistent within": (of(PointOracle, n_points=20), WITHIN),
    "strokes, no kept maps": (
        of(StrokeOracle, n_strokes=1, n_borders=1),
        {"feature_cache": None},
    ),
    "strokes, CRF": (of(StrokeOracle, n_strokes=1, n_borders=1), CRF),
    FULL: (None, {}),
    CONTROL + TUNED: (whole, FINE),
    "20 superpixels" + TUNED: (superpixels, FINE),
    FULL + TUNED: (None, FINE),
}
FULLS = FULL, FULL + TUNED
# What has another control than `CONTROL` beside it.
BESIDE = {
    "20 points, CRF": "20 points, no kept maps",
    "20 points, consistent within": "20 points, no kept maps",
    "strokes, CRF": "strokes, no kept maps",
    "20 superpixels" + TUNED: CONTROL + TUNED,
}


# -- data ------------------------------------------------------------------------------------------


@functools.cache
def all_of(name, folder):
    """Images, masks, labels and groups of a data set; groups are None where none is known."""
    if name == "glas":
        data = load_glas(folder, fold=None).train
        idx = np.arange(len(data))
    else:
        # One picture of ISIC stands in training and in validation.
        data = load_isic(folder)["train"] if name == "isic2017" else load_folder(folder).all
        zeros = np.zeros(len(data))
        if data.groups is not None:
            order = class_balanced_top_n(zeros, data.labels, N_SAMPLE, random_state=0)
        else:
            order = class_balanced_top_n(zeros, data.labels, 2 * N_SAMPLE, random_state=0)
            order = distinct_images(order, data.images, N_SAMPLE)
        idx = np.sort(order)
    images, masks = foreground_arrays(data, idx, SIZES[name])
    groups = None if data.groups is None else data.groups[idx]
    return images, masks, data.labels[idx], groups


# -- an hour ---------------------------------------------------------------------------------------


def fitted(state, options, cache, name):
    known = np.flatnonzero((state.masks != MISSING).any((1, 2)))
    given = {"feature_cache": cache, **options}
    model = JointCAMSegmenter.from_preset(
        "alseg-fast",
        image_size=SIZES[name],
        network__pooling=None,
        weak_batch_size=0,
        max_epochs=1,
        steps_per_epoch=STEPS,
        random_state=state.seed,
        device="cpu",
        **given,
    )
    return model.fit(state.images[known], state.labels[known], masks=list(state.masks[known]))


def run_rows(tasks, folders, cache):
    """The records of rows, each of a data set and a seed: Dice after each budget."""
    found = []
    for name, row, seed, early in tasks:
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
        state.cells = functools.cache(
            lambda i, size=16, state=state: slic_superpixels(state.images[i], size)
        )
        state.order = class_balanced_top_n(
            np.zeros(len(train)), state.labels, len(train), random_state=seed
        )
        record = {"data": name, "row": row, "seed": seed, "dice": [], "n_images": [], "clicks": []}
        if early:
            record["early"] = True
        way, options = ROWS[row]
        if way is None:
            state.masks[:] = state.truth
            answers, budgets = iter(()), BUDGETS[name][-1:]
        else:
            answers, budgets = way(state), (EARLY if early else BUDGETS)[name]
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


def reached(curve, budgets, goal):
    """Seconds at which a curve first is at a goal, straight between budgets.

    Returns
    -------
    float
        The first budget where it is there by then; infinite where it never is.
    """
    above = np.flatnonzero(np.asarray(curve) >= goal)
    if not len(above):
        return np.inf
    k = above[0]
    if k == 0:
        return float(budgets[0])
    share = (goal - curve[k - 1]) / (curve[k] - curve[k - 1])
    return float(budgets[k - 1] + share * (budgets[k] - budgets[k - 1]))


def told(seconds, budgets):
    """Seconds of `reached` as minutes."""
    if np.isinf(seconds):
        return f"not within {budgets[-1] / 60:g}"
    return ("≤ " if seconds == budgets[0] else "") + f"{seconds / 60:.1f}"


def difference(values):
    """Mean and interval of paired differences; nothing of a single one."""
    if len(values) < 2:
        return ""
    found = paired_t(values)
    return f"{found.mean:+.1f} [{found.interval[0]:+.1f}, {found.interval[1]:+.1f}]"


def curves_of(name, records):
    """Of each row and seed of a data set: budgets and the Dice, in percent, after them."""
    found = {}
    for r in records:
        if r["data"] == name:
            budgets = (EARLY if r.get("early") else BUDGETS)[name][-len(r["dice"]) :]
            curve = found.setdefault(r["row"], {}).setdefault(r["seed"], {})
            curve.update({budget: 100 * dice for budget, dice in zip(budgets, r["dice"])})
    return found


def table_of(name, records):
    """The table of one data set: a row a way."""
    curves = curves_of(name, records)
    budgets = sorted({b for own in curves.values() for curve in own.values() for b in curve})
    middle, last = BUDGETS[name][-2:]
    heads = [f"{budget / 60:g} min" for budget in budgets]
    heads += [f"{middle // 60} min less {CONTROL}", f"{last // 60} min less"]
    heads += [f"{middle // 60} min less {last // 60} min of {CONTROL}"]
    heads += ["min to 95 % of full", "at half the time of whole masks, over 95 % of full"]
    lines = head(["way", "seeds", *heads])
    for row in ROWS:
        own, other = curves.get(row, {}), curves.get(BESIDE.get(row, CONTROL), {})
        if not own:
            continue
        cells = [_mean([own[seed].get(budget) for seed in own]) for budget in budgets]
        for mine, theirs in ((middle, middle), (last, last), (middle, last)):
            pairs = [
                own[s][mine] - other[s][theirs] for s in own.keys() & other if row not in FULLS
            ]
            cells.append("" if row in (CONTROL, CONTROL + TUNED) else difference(pairs))
        cells += ["", ""] if row in FULLS else at_goal(row, curves, budgets)
        lines.append(line([row, len(own), *cells]))
    return "\n".join(lines) + "\n"


def _mean(values):
    return "" if None in values else f"{np.mean(values):.1f}"


def at_goal(row, curves, budgets):
    """When a way is at the goal, and where it is at half the time that whole masks take to it.

    Both times are of curves averaged over the seeds that way, control and full supervision share.
    """
    tuned = TUNED if row.endswith(TUNED) else ""
    own, whole, full = (curves.get(name, {}) for name in (row, CONTROL + tuned, FULL + tuned))
    seeds = sorted(own.keys() & whole.keys() & full.keys())
    if not seeds:
        return ["", ""]
    budgets = [b for b in budgets if all(b in one[s] for one in (own, whole) for s in seeds)]
    aims = [ENOUGH * full[s][max(full[s])] for s in seeds]
    mine, theirs = (np.array([[one[s][b] for b in budgets] for s in seeds]) for one in (own, whole))
    when = told(reached(mine.mean(0), budgets, np.mean(aims)), budgets)
    half = reached(theirs.mean(0), budgets, np.mean(aims)) / 2
    if not budgets[0] <= half < np.inf:  # nobody looked so early
        return [when, ""]
    at = [np.interp(half, budgets, curve) for curve in mine]
    return [when, difference(np.subtract(at, aims))]


def tables(records):
    """The tables of all data sets of which there is a record."""
    found = [name for name in SIZES if any(r["data"] == name for r in records)]
    return "\n".join(f"**{name}**\n\n{table_of(name, records)}" for name in found)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--data", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--early", action="store_true", help="what the first minutes bring")
    parser.add_argument("--out", type=Path, default=RESULTS / "effort")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args(argv)
    if not arguments.table_only:
        folders = found_all(*SIZES)
        if folders is None:
            return 0
        torch.set_num_threads(1)
        config = {"sizes": SIZES, "budgets": BUDGETS, "steps": STEPS, "n": [N_FOLDS, N_SAMPLE]}
        rows = [row for row in arguments.rows if not (arguments.early and row in FULLS)]
        asked = itertools.product(range(arguments.seeds), arguments.data, rows)  # whole seeds first
        tasks = [(name, row, seed, arguments.early) for seed, name, row in asked]
        with tempfile.TemporaryDirectory() as cache:
            run_missing(
                arguments.out,
                config,
                tasks,
                key_of=lambda r: (r["data"], r["row"], r["seed"], r.get("early", False)),
                run=functools.partial(
                    run_rows, folders=dict(zip(SIZES, map(str, folders))), cache=cache
                ),
                title="effort",
                unit="row",
            )
    records = [r for r in read_records(arguments.out) if r["row"] in ROWS]
    text = tables(records)
    write_text(arguments.out / "table.md", text)
    print(text)
    rows = [{name: value for name, value in r.items() if name != "config"} for r in records]
    return 0 if arguments.table_only else write_record(arguments.out / "effort.json", rows)


if __name__ == "__main__":
    sys.exit(main())
