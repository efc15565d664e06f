"""What patience, several fits, several views and a teacher buy, from the same 8 masks of GlaS.

    python -m benchmarks.studies.ceiling                       # by folds: 2.5 CPU hours, resumable
    python -m benchmarks.studies.ceiling --only 300 600 --folds 0 1
    python -m benchmarks.studies.ceiling --wide                # at 192 x 288: 5 CPU minutes a fit
    python -m benchmarks.studies.ceiling --wide --canvas 256 384
    python -m benchmarks.studies.ceiling --test                # test images: an hour a set of masks
    python -m benchmarks.studies.ceiling --apart               # these fits, seams undone
    python -m benchmarks.studies.ceiling --best                # the preset: ten minutes a fit
    python -m benchmarks.studies.ceiling --table-only

GlaS' 85 training images in five folds that tear no patient apart, 8 masks, class-balanced at
random, EfficientNet-Lite0 in batches of 4 at 96 x 144: all rows of a fold get the same masks. The
mean of fits and views is taken from the same fits: three seeds of the first row, four views (flips)
or eight (and quarter turns). Rows that learn from images without a mask see 4 of them in a batch
beside the 4 with one; at equal steps they are compared with the masks alone, with the teacher
itself, and with the true masks in the place of what is predicted. One teacher is the mean of two
encoders, and one saw larger images than its student (``--wide``, 5 CPU minutes where it is not
kept), which learns for 300 steps and for 600. One row starts from 300 steps on 240 masks of
EBHI-Seg, other photographs of glands. A pair is a fold, and from the sixth on the same folds with
other sets of 8 masks (``--folds 5 6 7 8 9``); nothing is a gain whose interval includes 0.

With ``--wide``: the same folds at 192 x 288, 300 steps, borders of objects learned beside classes,
8 masks and all; one, four and eight views of the same fits, and objects of the same maps told apart
in several ways. ``--canvas`` asks for another size, which is compared with that one.

With ``--test``: the 67 training images of the published fold 0 at 192 x 288, 600 steps, borders of
objects learned beside classes, three fits, one, four and eight views. That was fixed before the 80
test images were opened, and they choose nothing. The 18 validation images of the fold, which
nothing else looks at, say what borders add to the same foreground. A seed is another set of 8
masks; ``--masks 0`` is all of them. With ``--best``: the preset "alseg-best" as it is, on the same
sets of masks, whose batches hold images without a mask too.

Fits are kept in ``members`` beside the records while a study runs, since means and teachers are
made of them; they may be deleted at the end.
"""

import argparse
import functools
import itertools
import json
import string
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure

from alseg import Consistency, JointCAMSegmenter, Objects, Schedule
from alseg.datasets import class_folds, load_folder
from alseg.experiment import environment
from alseg.experiment.statistics import paired_t
from alseg.files import write_text
from alseg.learner import DeepEnsemble
from alseg.metrics import (
    dice_per_image,
    mask_from_proba,
    object_overlaps,
)
from alseg.query import class_balanced_top_n
from alseg.segmenter import separate_objects
from benchmarks.core.data import find_data
from benchmarks.core.parts import foreground_arrays
from benchmarks.core.results import RESULTS, records_so_far
from benchmarks.core.runner import run_missing
from benchmarks.core.tables import head, line
from benchmarks.studies.histology import MEAN, STD, TissueEncoder
from benchmarks.studies.objects import measured, object_scores, read

N_FOLDS, N_MASKS, ALL, N_FITS = 5, 8, 0, 3
FOLD_CANVAS, TEST_CANVAS, TEST_STEPS = (96, 144), (192, 288), 600
VIEWS = {"none": 1, "both": 4, "dihedral": 8}
SEVERAL = ("both", "dihedral")
TAUGHT, CONTROL, TRUTH, SOURCE, TISSUE = "taught", "300", "truth", "ebhi", "tissue"
SOFT, LARGE, LARGE_600, TWO, LITE2 = "soft", "large", "large-600", "two", "lite2"
SHOWN = SOFT, LARGE, LARGE_600, TWO  # rows to which probabilities are shown as if they were masks
WIDE_STEPS = 300
SOURCE_CANVAS, N_SOURCE = (128, 128), 240
# Less than an expert's mask, so that it is in the second stream of a batch, and by nothing else.
BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


@dataclass(frozen=True)
class Row:
    """A way of training: what differs from the first row.

    steps : gradient steps
    fits : how many seeds of it are fitted, of which a mean is taken
    against : the row that it is compared with
    """

    what: str
    steps: int = 300
    fits: int = 1
    change: dict = field(default_factory=dict)
    against: str = CONTROL


def unlabelled(**options):
    return {"weak_batch_size": 4, "consistency": Consistency(cutmix=0.5, **options)}


AVERAGE = {"schedule": Schedule(ema=0.99)}
ROWS = {
    "300": Row("masks alone, 300 steps", fits=N_FITS),
    "600": Row("600 steps", 600),
    "mean-teacher": Row(
        "sure pixels of the moving average, CutMix", change={**unlabelled(), **AVERAGE}
    ),
    TAUGHT: Row("soft targets of three fits, CutMix", change=unlabelled(targets="soft")),
    TRUTH: Row("control: true masks of all images", change={"weak_batch_size": 4}),
    SOFT: Row("probabilities of three fits in four views", change={"weak_batch_size": 4}),
    LARGE: Row("probabilities of a fit at 192 x 288 in four views", change={"weak_batch_size": 4}),
    LARGE_600: Row(
        "probabilities of a fit at 192 x 288 in four views, 600 steps",
        600,
        change={"weak_batch_size": 4},
        against="600",
    ),
    TWO: Row("probabilities of Lite0 and Lite2 in four views", change={"weak_batch_size": 4}),
    SOURCE: Row("starts from 300 steps on EBHI-Seg"),
    TISSUE: Row("beside frozen maps of a network of tissue"),
    "900": Row("900 steps", 900),
    LITE2: Row("Lite2", change={"encoder": "efficientnet-lite2"}),
    "class-wise": Row(
        "mean teacher, threshold of each class, pasted objects",
        change={**unlabelled(threshold="adaptive", copy_paste=0.5), **AVERAGE},
    ),
}


def model_of(row, seed, canvas, teacher=None):
    options = {"encoder": "efficientnet-lite0", "weak_batch_size": 0, **ROWS[row].change}
    model = JointCAMSegmenter(
        image_size=canvas,
        max_epochs=1,
        steps_per_epoch=ROWS[row].steps,
        batch_size=4,
        random_state=seed,
        device="cpu",
        **options,
    )
    return model.set_params(consistency__teacher=teacher) if row == TAUGHT else model


def some_masks(labels, among, n, seed):
    zeros = np.zeros(len(among))
    chosen = class_balanced_top_n(zeros, labels[among], n, random_state=seed)
    return set(np.asarray(chosen).tolist())


def mean_of(members, views):
    """The mean of fitted models, or one of them, in prediction over so many views."""
    for member in members:
        member.set_params(test_flips=views)
    if len(members) == 1:
        return members[0]
    ensemble = DeepEnsemble(members[0], len(members))
    ensemble.estimators_, ensemble.classes_ = list(members), members[0].classes_
    return ensemble


def members_of(out, row, key, n):
    """The first fits of a row that are kept, or None where one of them is missing."""
    places = [place_of(out, row, key, k) for k in range(n)]
    if not all(place.exists() for place in places):
        return None
    return [JointCAMSegmenter.load(place) for place in places]


def place_of(out, row, key, fit):
    return out / "members" / f"{row}-{key}-{fit}"


def kept(place, model, taught):
    """The model fitted, or as it was kept, and the CPU seconds of its fit."""
    seconds = place.with_name(f"{place.name}.json")
    if not seconds.exists():
        began = time.process_time()
        model.fit(*taught)
        place.parent.mkdir(parents=True, exist_ok=True)
        model.save(place)
        seconds.write_text(json.dumps(time.process_time() - began))
    code = {} if isinstance(model.encoder, str) else {"encoder": model.encoder}  # in no file
    return JointCAMSegmenter.load(place, **code), json.loads(seconds.read_text())


def source_of(out):
    """A folder with a fit to masks of EBHI-Seg, made once."""
    place = out / "members" / "ebhi_seg"
    if not place.exists():
        data = load_folder(find_data("ebhi_seg")).all
        chosen = some_masks(data.labels, np.arange(len(data)), N_SOURCE, 0)
        idx = np.array(sorted(chosen))
        images, masks = foreground_arrays(data, idx, SOURCE_CANVAS)
        model = model_of(CONTROL, 0, SOURCE_CANVAS).fit(images, data.labels[idx], list(masks))
        place.parent.mkdir(parents=True, exist_ok=True)
        model.save(place)
    return place


def split(data, fold):
    """Positions to learn from and to score; from the sixth fold on with other masks."""
    held = class_folds(data.labels, fold % N_FOLDS, data.groups, N_FOLDS)
    return np.flatnonzero(~held), np.flatnonzero(held)


def run_folds(tasks, folder, out):
    ((row, fold, fit),) = tasks
    data, images, ids = read(folder, None)["train"]
    train, test = split(data, fold)
    truth = [(one > 0).astype(np.int16) for one in ids]
    chosen = some_masks(data.labels, train, N_MASKS, fold)
    masks, weights = [truth[i] if j in chosen else None for j, i in enumerate(train)], None
    if row in (TRUTH, *SHOWN):
        weights = [1.0 if mask is not None else BELOW_ONE for mask in masks]
    if row == TRUTH:
        masks = [truth[i] for i in train]
    if row in SHOWN:
        if row == SOFT:
            members = members_of(out, CONTROL, fold, N_FITS)
        elif row == TWO:
            members = [members_of(out, one, fold, 1)[0] for one in (CONTROL, LITE2)]
        else:
            part = data, images, ids
            members = [fitted_wide(out / "wide", part, N_MASKS, WIDE_STEPS, fold)[0]]
        teacher = mean_of(members, "both")
        proba = teacher.predict_mask_proba([images[i] for i in train])
        masks = [soft if mask is None else mask for soft, mask in zip(proba, masks, strict=True)]
    beside = None
    if row == TAUGHT:
        beside = mean_of(members_of(out, CONTROL, fold, N_FITS), "none")
    model = model_of(row, fit, FOLD_CANVAS, beside)
    if row == SOURCE:
        model.set_params(schedule__start_from=source_of(out))
    if row == TISSUE:
        model.set_params(encoder=TissueEncoder(True), network__normalize=(MEAN, STD))
    taught = [images[i] for i in train], data.labels[train], masks, weights
    model, seconds = kept(place_of(out, row, fold, fit), model, taught)
    seen, expected = [images[i] for i in test], [truth[i] for i in test]
    scores = {f"1 x {VIEWS[v]}": dice_of(mean_of([model], v), seen, expected) for v in VIEWS}
    if row == TWO:
        scores["its teacher"] = dice_of(teacher, seen, expected)
    if fit:
        members = members_of(out, row, fold, fit + 1)
        for views in SEVERAL:
            mean = mean_of(members, views)
            scores[f"{fit + 1} x {VIEWS[views]}"] = dice_of(mean, seen, expected)
    return [record_of("folds", row, N_MASKS, fold, fit, scores, seconds, model)]


def dice_of(model, images, truth):
    return float(np.nanmean(dice_per_image(list(model.predict_masks(images)), truth)))


def run_wide(tasks, folder, out, canvas=TEST_CANVAS):
    ((n_masks, steps, fold, fit),) = tasks
    data, images, ids = read(folder, None)["train"]
    train, test = split(data, fold)
    model, seconds = fitted_wide(out, (data, images, ids), n_masks, steps, fold, fit, canvas)
    seen, expected = [images[i] for i in test], [ids[i] for i in test]
    scores = {
        f"1 x {VIEWS[views]}": measured(mean_of([model], views), seen, expected)[""]
        for views in VIEWS
    }
    n = n_masks or len(train)
    record = record_of("wide", f"{steps}", n, fold, fit, scores, seconds, model)
    apart = separation(mean_of([model], "both"), (data, seen, expected))
    return [{**record, "all": not n_masks, "separation": apart, "canvas": canvas}]


def fitted_wide(out, part, n_masks, steps, fold, fit=0, canvas=TEST_CANVAS):
    """A fit at 192 x 288, or larger, to some masks of a fold, or to all, and its CPU seconds."""
    data, images, ids = part
    train, _ = split(data, fold)
    chosen = some_masks(data.labels, train, n_masks or len(train), fold)
    masks = [ids[i] if j in chosen else None for j, i in enumerate(train)]
    taught = [images[i] for i in train], data.labels[train], masks
    place = place_of(out, f"wide-{steps}", f"{n_masks}-{fold}", fit)
    return kept(place, best_of(steps, fit, canvas), taught)


def best_of(steps, fit, canvas):
    return model_of("600", fit, canvas).set_params(
        objects=Objects("border", mask_kind="instances"), steps_per_epoch=steps
    )


def run_test(tasks, folder, out, canvas=TEST_CANVAS):
    ((n_masks, seed, fit),) = tasks
    parts = read(folder, 0)
    data, images, ids = parts["train"]
    among = np.arange(len(data))
    chosen = some_masks(data.labels, among, n_masks or len(data), seed)
    model = best_of(TEST_STEPS, fit, canvas)
    key, scores = f"{n_masks}-{seed}", {}
    taught = images, data.labels, [ids[i] if i in chosen else None for i in among]
    model, seconds = kept(place_of(out, "test", key, fit), model, taught)
    test, seen, true_ids = parts["test"]
    if not fit:
        for views in VIEWS:
            named = f"1 x {VIEWS[views]}"
            scores[named] = measured(mean_of([model], views), seen, true_ids, test.subsets)
    if fit == N_FITS - 1:
        members = members_of(out, "test", key, N_FITS)
        for views in SEVERAL:
            mean = mean_of(members, views)
            named = f"{N_FITS} x {VIEWS[views]}"
            scores[named] = measured(mean, seen, true_ids, test.subsets)
    n = n_masks or len(data)
    record = record_of("test", "600", n, seed, fit, scores, seconds, model)
    apart = separation(mean_of([model], "both"), parts["valid"])
    return [{**record, "separation": apart, "canvas": canvas}]


def run_apart(tasks, folder, out, canvas=TEST_CANVAS):
    """Kept fits on the test images, their objects told apart as "alseg-best" does."""
    ((n_masks, seed, fits),) = tasks
    key = f"{n_masks}-{seed}"
    members = members_of(out, "test", key, fits)
    best = JointCAMSegmenter.from_preset("alseg-best").objects
    for member in members:
        member.set_params(objects__inside=best.inside, objects__seam=best.seam)
    parts = read(folder, 0)
    test, seen, true_ids = parts["test"]
    scores = measured(mean_of(members, "both"), seen, true_ids, test.subsets)
    place = place_of(out, "test", key, fits - 1)
    seconds = json.loads(place.with_name(f"{place.name}.json").read_text())
    n = n_masks or len(parts["train"][0])
    how = {f"{fits} x 4, seams undone": scores}
    record = record_of("test", "600", n, seed, fits - 1, how, seconds, members[0])
    return [{**record, "canvas": canvas}]


def run_best(tasks, folder, out):
    """The preset, from images of which some have a mask, on the test images."""
    ((n_masks, seed, fit),) = tasks
    parts = read(folder, 0)
    data, images, ids = parts["train"]
    n = n_masks or len(data)
    chosen = some_masks(data.labels, np.arange(len(data)), n, seed)
    masks = [mask if i in chosen else None for i, mask in enumerate(ids)]
    model = JointCAMSegmenter.from_preset(
        "alseg-best", objects__mask_kind="instances", random_state=fit, device="cpu"
    )
    began = time.process_time()
    model.fit(images, data.labels, masks)
    seconds, scores = time.process_time() - began, {}
    test, seen, true_ids = parts["test"]
    for views in SEVERAL:
        named = f"alseg-best, 1 x {VIEWS[views]}"
        scores[named] = measured(mean_of([model], views), seen, true_ids, test.subsets)
    return [record_of("test", "alseg-best", n, seed, fit, scores, seconds, model)]


# How objects are told apart: the least inside of a marker, and the mean of a seam from which on
# what it parts is one.
APART = {
    "borders": (0.5, None),
    "seams": (0.5, 0.4),
    "sure": (0.7, None),
    "sure, seams": (0.7, 0.4),
}
PARTED = {
    "borders": "borders learned",
    "seams": "seams undone of more than 0.4",
    "sure": "markers above 0.7",
    "sure, seams": "markers above 0.7, seams undone of more than 0.4",
    "parts": "connected parts",
}


def separation(model, part):
    """Objects of images by the borders learned, in several ways, and as connected parts."""
    _, images, ids = part
    found = {name: [] for name in (*APART, "parts")}
    for maps in model.iter_object_maps(images):
        foreground = mask_from_proba(maps.mask_proba, model.threshold_) > 0
        alone = separate_objects(foreground, np.ones(foreground.shape), min_size=maps.min_size)
        found["parts"].append(alone)
        for name, (least, seam) in APART.items():
            smallest = maps.min_size, maps.min_size / 4  # as `predict_objects`
            own = separate_objects(foreground, maps.inside, least, *smallest, seam=seam)
            found[name].append(own)
    return {name: object_scores(object_overlaps(each, ids)) for name, each in found.items()}


def record_of(kind, row, n_masks, fold, fit, scores, seconds, model):
    return {
        "kind": kind,
        "row": row,
        "n_masks": n_masks,
        "seed" if kind == "test" else "fold": fold,
        "fit": fit,
        "scores": scores,
        "gradient_steps": model.n_steps_,
        "seconds": {"fit": round(seconds, 1)},
        "environment": environment("cpu"),
    }


# -- the table -------------------------------------------------------------------------------------


def of_fold(records, row, what):
    """The Dice of each fold, in per cent: of the first fit, or the mean of those that there are."""
    found = {}
    for record in sorted(records, key=lambda r: r["fit"]):
        if record["row"] == row and what in record["scores"]:
            found.setdefault(record["fold"], []).append(100 * record["scores"][what])
    return {fold: float(np.mean(values)) for fold, values in found.items()}


def compared(mine, theirs):
    """Mean, interval and number of pairs, as cells."""
    pairs = [mine[fold] - theirs[fold] for fold in sorted(mine.keys() & theirs.keys())]
    if len(pairs) < 2:
        return "", "", len(pairs)
    test = paired_t(pairs)
    low, high = test.interval
    return f"{test.mean:+.2f}", f"{low:+.2f} to {high:+.2f}", len(pairs)


def lines_of(records, at_size=()):
    """Rows of the table: of fits as they are, then of means over fits and views."""
    control = of_fold(records, CONTROL, "1 x 1")
    seconds = {
        row: np.mean([r["seconds"]["fit"] for r in records if r["row"] == row] or [np.nan])
        for row in ROWS
    }
    for row, one in ROWS.items():
        mine = of_fold(records, row, "1 x 1")
        if mine:
            theirs = of_fold(records, one.against, "1 x 1")
            against = ("", "", len(mine)) if row == CONTROL else compared(mine, theirs)
            yield one.what, one.steps, 1, 1, np.mean(list(mine.values())), *against, seconds[row]
    for n_fits, n_views in ((1, 4), (1, 8), (2, 4), (3, 4), (3, 8)):
        mine = of_fold(records, CONTROL, f"{n_fits} x {n_views}")
        if mine:
            what = "the first row, " + ("its views" if n_fits == 1 else "mean of fits and views")
            mean, total = np.mean(list(mine.values())), n_fits * seconds[CONTROL]
            yield what, 300, n_fits, n_views, mean, *compared(mine, control), total
    several = of_fold(records, CONTROL, f"{N_FITS} x 4")
    for row, one in ROWS.items():
        mine = of_fold(records, row, "1 x 4")
        if mine and row != CONTROL:
            what, mean = f"{one.what}, four views", np.mean(list(mine.values()))
            against = compared(mine, of_fold(records, one.against, "1 x 4"))
            yield what, one.steps, 1, 4, mean, *against, seconds[row]
    wide = (False, f"{WIDE_STEPS}", TEST_CANVAS)
    wide = [r for r in at_size if (r["all"], r["row"], canvas_of(r)) == wide]
    large = by_fold(wide, "scores", "1 x 4", "dice")
    two = of_fold(records, TWO, "its teacher")
    teachers = {TAUGHT: several, SOFT: several, LARGE: large, LARGE_600: large, TWO: two}
    for row, teacher in teachers.items():
        mine = of_fold(records, row, "1 x 4")
        if mine and teacher:
            what, mean = f"{ROWS[row].what}, less its teacher", np.mean(list(mine.values()))
            yield what, ROWS[row].steps, 1, 4, mean, *compared(mine, teacher), None


def canvas_of(record):
    """Rows and columns of the images that a record's model saw; the first ones do not say it."""
    return tuple(record.get("canvas", TEST_CANVAS))


def size_said(record):
    """What is added to a line of images that are not of the first size."""
    canvas = canvas_of(record)
    return "" if canvas == TEST_CANVAS else f", {canvas[0]} x {canvas[1]}"


def table(records, tested=(), at_size=()):
    """Markdown of the folds, of those at the size of the test images, then of the test images."""
    heads = ["how", "steps", "fits", "views", "Dice", "gain", "95 % interval", "folds", "CPU s"]
    text = head(heads) if records else []
    for what, steps, fits, views, mean, gain, interval, n, seconds in lines_of(records, at_size):
        shown = "" if seconds is None else f"{seconds:.0f}"
        text.append(line([what, steps, fits, views, f"{mean:.1f}", gain, interval, n, shown]))
    if at_size:
        text += ["", *wide_lines(at_size)]
    if tested:
        text += ["", *tested_lines(tested)]
    return "\n".join(text) + "\n"


def tested_lines(records):
    """Of the test images: Dice of all and of the two parts, scores of objects of the parts."""
    records = sorted(records, key=lambda r: (r["n_masks"], r["seed"], r["fit"]))
    scores = [(what, part) for what in HEADS for part in ("testA", "testB")]
    heads = [f"{what}, {part}" for what, part in scores]
    yield from head(["masks", "set", "fits x views", "Dice", *heads, "CPU s a fit"])
    for record in records:
        size = size_said(record)
        for how, found in record["scores"].items():
            cells = [
                record["n_masks"],
                record["seed"],
                how + size,
                f"{100 * found['']['dice']:.1f}",
            ]
            cells += [f"{100 * found[part][HEADS[what]]:.1f}" for what, part in scores]
            yield line([*cells, f"{record['seconds']['fit']:.0f}"])
    yield ""
    yield from head(["validation images", "masks", "set", "fit", "object F1", "object Dice"])
    for record in records:
        for name in ("borders", "parts") if "separation" in record else ():
            values = [
                f"{100 * record['separation'][name][key]:.1f}" for key in ("f1", "object_dice")
            ]
            of = (record[key] for key in ("n_masks", "seed", "fit"))
            yield line([PARTED[name] + size_said(record), *of, *values])


def wide_lines(records):
    """Of the folds at 192 x 288: views, and ways of telling objects apart; then of other sizes."""
    heads = ["masks", "steps", "what", "measure", "mean", "gain", "95 % interval", "folds"]
    yield from head(heads)
    groups = {}
    for record in records:
        key = canvas_of(record), record["all"], int(record["row"])
        groups.setdefault(key, []).append(record)
    for (canvas, whole, steps), own in sorted(groups.items()):
        said = "all" if whole else own[0]["n_masks"], steps
        other = groups.get((TEST_CANVAS, whole, steps), [])
        less = f"{size_said(own[0])} less {TEST_CANVAS[0]} x {TEST_CANVAS[1]}"
        for what, measure, kind, name, key, first in rows_at_size():
            mine = by_fold(own, kind, name, key)
            if canvas == TEST_CANVAS:
                theirs = by_fold(own, kind, first, key)
                against = ("", "", len(mine)) if name == first else compared(mine, theirs)
                yield line([*said, what, measure, mean_cell(mine), *against])
            elif other and (kind == "scores" or name in ("borders", "seams")):
                theirs = by_fold(other, kind, name, key)
                yield line([*said, what + less, measure, mean_cell(mine), *compared(mine, theirs)])


def rows_at_size():
    """What a line of `wide_lines` says, its measure, where records have it, what it is less."""
    for k in VIEWS.values():
        yield f"{k} view" + "s" * (k > 1), "Dice", "scores", f"1 x {k}", "dice", "1 x 1"
    for name, what in PARTED.items():
        for key, measure in (("f1", "object F1"), ("object_dice", "object Dice")):
            yield what, measure, "separation", name, key, "borders"


def by_fold(records, kind, name, key):
    """A measure of each fold, in per cent."""
    return {r["fold"]: 100 * r[kind][name][key] for r in records}


def mean_cell(values):
    return f"{np.mean(list(values.values())):.1f}"


def curve(records, path):
    """Gain over the first row on the same folds, against CPU seconds of all fits."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    control = of_fold(records, CONTROL, "1 x 1")
    letters = dict(zip(ROWS, string.ascii_lowercase))
    colors = dict(zip(ROWS, colormaps["tab20"].colors))
    for row, letter in letters.items():
        for how in ("1 x 1", "1 x 4", *(("3 x 4",) if row == CONTROL else ())):
            mine = of_fold(records, row, how)
            shared = mine.keys() & control.keys()
            if len(shared) < 2:  # one fold says nothing
                continue
            fits, seconds = int(how[0]), [r["seconds"]["fit"] for r in records if r["row"] == row]
            at = fits * np.mean(seconds), np.mean([mine[fold] - control[fold] for fold in shared])
            marker = {"1 x 1": "o", "1 x 4": "s", "3 x 4": "D"}[how]
            said = f"{letter}  {ROWS[row].what} ({len(shared)} folds)" if how == "1 x 1" else None
            axes.plot(*at, marker, ms=11, mec="0.3", mew=0.6, color=colors[row], label=said)
            axes.annotate(letter, at, ha="center", va="center_baseline", size=7)
    axes.axhline(0, color="0.8", zorder=0)
    axes.margins(x=0.1)
    axes.set(xscale="log", xlabel="CPU seconds of all fits", ylabel="Dice over the first row")
    for side in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        side("{x:.0f}")
    axes.set_title(
        "8 masks of GlaS at 96 x 144: circles one view, squares four, diamond three fits"
    )
    axes.title.set_size(9)
    figure.legend(loc="outside right center", fontsize=7, frameon=False)
    figure.savefig(path, dpi=110)


HEADS = {"Dice": "dice", "object F1": "f1", "object Dice": "object_dice"}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    folds = list(range(N_FOLDS))
    parser.add_argument("--folds", type=int, nargs="+", default=folds, help="5 to 9: other masks")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of --test")
    parser.add_argument("--masks", type=int, nargs="+", default=[N_MASKS], help="not of folds")
    parser.add_argument("--out", type=Path, default=RESULTS / "ceiling")
    parser.add_argument("--fits", type=int, default=N_FITS, help="at most")
    parser.add_argument("--steps", type=int, nargs="+", default=[WIDE_STEPS], help="of --wide")
    parser.add_argument("--wide", action="store_true", help="by folds, at 192 x 288")
    parser.add_argument("--test", action="store_true", help="open the test images")
    parser.add_argument("--apart", action="store_true", help="kept fits of --test, seams undone")
    parser.add_argument("--best", action="store_true", help="the preset, on the test images")
    parser.add_argument(
        "--canvas", type=int, nargs=2, default=TEST_CANVAS, help="of --wide, --test"
    )
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args(argv)
    folder, out = find_data("glas"), arguments.out
    if folder is None:
        print("skipped: set ALSEG_DATA to the folder that holds glas/")
        return 0
    tests, wide, apart, best = (out / name for name in ("test", "wide", "apart", "best"))
    canvas = tuple(arguments.canvas)
    if canvas != TEST_CANVAS:
        if not (arguments.wide or arguments.test or arguments.apart):
            parser.error("--canvas is for --wide, --test and --apart")
        size = f"{canvas[0]}x{canvas[1]}"
        tests, wide, apart = (out / f"{kind}-{size}" for kind in ("test", "wide", "apart"))
    if not arguments.table_only:
        torch.set_num_threads(1)
        if arguments.apart:
            work = list(itertools.product(arguments.masks, arguments.seeds, (1, N_FITS)))
            work = [
                (n, k, m) for n, k, m in work if place_of(tests, "test", f"{n}-{k}", m - 1).exists()
            ]
            run = functools.partial(run_apart, folder=folder, out=tests, canvas=canvas)
            run_missing(apart, {"canvas": canvas}, work, key_of_apart, run, title="apart")
        elif arguments.best:
            work = list(itertools.product(arguments.masks, arguments.seeds, [0]))
            run = functools.partial(run_best, folder=folder, out=best)
            run_missing(best, {"preset": "alseg-best"}, work, key_of_test, run, title="best")
        elif arguments.test:
            work = list(itertools.product(arguments.masks, arguments.seeds, range(arguments.fits)))
            config = {"canvas": canvas, "steps": TEST_STEPS}
            run = functools.partial(run_test, folder=folder, out=tests, canvas=canvas)
            run_missing(tests, config, work, key_of_test, run, title="ceiling, test")
        elif arguments.wide:
            asked = itertools.product(arguments.folds, arguments.steps, arguments.masks)
            work = [(n, steps, fold, k) for fold, steps, n in asked for k in range(arguments.fits)]
            run = functools.partial(run_wide, folder=folder, out=wide, canvas=canvas)
            config = {"canvas": canvas}
            run_missing(wide, config, work, key_of_wide, run, title="ceiling, wide")
        else:
            work = [
                (row, fold, fit)
                for fold in arguments.folds
                for row in arguments.only
                for fit in range(min(ROWS[row].fits, arguments.fits))
            ]
            config = {"canvas": FOLD_CANVAS, "folds": N_FOLDS, "masks": N_MASKS}
            run = functools.partial(run_folds, folder=folder, out=out)
            run_missing(out, config, work, key_of, run, title="ceiling")
    by_folds = records_so_far(out)
    at_size = records_below(out, "wide*")
    tested = records_below(out, "test*") + records_below(out, "apart*") + records_below(out, "best")
    text = table(by_folds, tested, at_size)
    print(text)
    write_text(out / "table.md", text)
    if by_folds:
        curve(by_folds, out / "curve.png")
    return 0


def records_below(out, pattern):
    """The records of all sizes."""
    return [r for place in sorted(out.glob(pattern)) for r in records_so_far(place)]


def key_of(record):
    return record["row"], record["fold"], record["fit"]


def key_of_wide(record):
    n_masks = ALL if record["all"] else record["n_masks"]
    return n_masks, int(record["row"]), record["fold"], record["fit"]


def key_of_apart(record):
    n_masks, seed, fit = key_of_test(record)
    return n_masks, seed, fit + 1


def key_of_test(record):
    n_masks = record["n_masks"] if record["n_masks"] == N_MASKS else ALL
    return n_masks, record["seed"], record["fit"]


if __name__ == "__main__":
    sys.exit(main())
