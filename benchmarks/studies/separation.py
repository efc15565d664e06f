"""Ways of telling glands apart on the same maps of the same fits, by folds.

    python -m benchmarks.studies.separation                # 90 CPU minutes, resumable
    python -m benchmarks.studies.separation --members DIR  # with kept fits of `ceiling --wide`: 15
    python -m benchmarks.studies.separation --table-only

The fits are those of ``ceiling --wide``: GlaS' 85 training images in five folds that tear no
patient apart, 192 x 288, 300 steps, borders learned beside classes, 8 masks (two sets a fold) and
all. Each way makes objects of the same probabilities, in four views, of the images that a fold
holds out; it is compared with the first way, a pair a fold. Of so many ways one is above 0 by
chance: one that helps does so with 8 masks and with all. Test images are not opened.
"""

import argparse
import functools
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from skimage.morphology import isotropic_closing, isotropic_opening

from alseg.experiment import environment
from alseg.files import write_text
from alseg.metrics import object_overlaps
from alseg.segmenter import separate_objects
from benchmarks.core.data import find_data
from benchmarks.core.results import RESULTS, records_so_far
from benchmarks.core.runner import run_missing
from benchmarks.core.tables import head, line
from benchmarks.studies.ceiling import (
    ALL,
    N_FOLDS,
    N_MASKS,
    WIDE_STEPS,
    compared,
    fitted_wide,
    mean_of,
    split,
)
from benchmarks.studies.objects import object_scores, read

TASKS = [(N_MASKS, fold) for fold in range(2 * N_FOLDS)] + [(ALL, fold) for fold in range(N_FOLDS)]
MEASURES = {"f1": "object F1", "object_dice": "object Dice"}


@dataclass(frozen=True)
class Way:
    """How objects are made of two maps.

    least : what "inside" is at least at a marker
    seam : the mean of "inside" at a seam above which two are one; None for never
    more : added to the threshold of foreground
    closed : radius of the disc by which foreground is closed, in pixels; below 0 it is opened
    blur : standard deviation of a Gaussian over both maps, in pixels
    smallest : times the smallest object that is kept, which the masks say
    sure : the mean probability of foreground of an object that is kept
    absorbed : whether what is too small belongs to the neighbour it touches most, if there is one
    """

    least: float = 0.5
    seam: float | None = None
    more: float = 0.0
    closed: int = 0
    blur: float = 0.0
    smallest: float = 1.0
    sure: float = 0.0
    absorbed: bool = False


FIRST = "markers above 0.5"
BEST = {"least": 0.7, "seam": 0.4}  # of the preset "alseg-best"
WAYS = {
    **{
        f"markers above {least}" + (f", seams undone of more than {seam}" if seam else ""): Way(
            least, seam
        )
        for least in (0.5, 0.7, 0.9)
        for seam in (None, 0.3, 0.4, 0.5)
    },
    "as in alseg-best, foreground 0.1 lower": Way(**BEST, more=-0.1),
    "as in alseg-best, foreground 0.1 higher": Way(**BEST, more=0.1),
    "as in alseg-best, foreground closed by 5 pixels": Way(**BEST, closed=5),
    "as in alseg-best, foreground closed by 10 pixels": Way(**BEST, closed=10),
    "as in alseg-best, foreground opened by 5 pixels": Way(**BEST, closed=-5),
    "as in alseg-best, maps blurred by 2 pixels": Way(**BEST, blur=2.0),
    "as in alseg-best, maps blurred by 4 pixels": Way(**BEST, blur=4.0),
    "as in alseg-best, half as small objects kept": Way(**BEST, smallest=0.5),
    "as in alseg-best, objects twice as large kept": Way(**BEST, smallest=2.0),
    "as in alseg-best, objects of a mean above 0.8": Way(**BEST, sure=0.8),
    "as in alseg-best, small ones to the neighbour they touch": Way(**BEST, absorbed=True),
}


def objects_of(way, maps, threshold):
    """Numbers (H, W) of the objects of an image."""
    foreground, inside = maps.mask_proba[1], maps.inside
    if way.blur:
        foreground, inside = (ndimage.gaussian_filter(m, way.blur) for m in (foreground, inside))
    smallest, there = way.smallest * maps.min_size, foreground >= threshold + way.more
    if way.closed:
        change = isotropic_closing if way.closed > 0 else isotropic_opening
        room = 2 * abs(way.closed) + 1  # or what is near the edge would be closed up to it
        there = change(np.pad(there, room), abs(way.closed))[room:-room, room:-room]
    found = separate_objects(
        there,
        inside,
        way.least,
        0 if way.absorbed else smallest,
        maps.min_size / 4,  # as `predict_objects`
        seam=way.seam,
    )
    if way.absorbed:
        found = absorbed(found, smallest)
    if way.sure:
        numbers = np.arange(1, found.max() + 1)
        means = ndimage.mean(foreground, found, numbers) if len(numbers) else []
        found = np.where(np.isin(found, numbers[np.asarray(means) > way.sure]), found, 0)
    return found


def absorbed(numbers, smallest):
    """What is smaller becomes a part of the neighbour with which it shares most; alone it goes."""
    numbers, sizes = numbers.copy(), np.bincount(numbers.ravel())
    for one in np.argsort(sizes):
        if not one or sizes[one] >= smallest:
            continue
        mine = numbers == one
        around = numbers[ndimage.binary_dilation(mine) & ~mine]
        near = np.bincount(around[around > 0])
        numbers[mine] = near.argmax() if near.any() else 0
    return numbers


def run_ways(tasks, folder, members):
    """One fit, and what each way makes of its maps."""
    ((n_masks, fold),) = tasks
    data, images, ids = read(folder, None)["train"]
    train, test = split(data, fold)
    model, seconds = fitted_wide(members, (data, images, ids), n_masks, WIDE_STEPS, fold)
    model, found = mean_of([model], "both"), {name: [] for name in WAYS}
    began = time.process_time()
    for maps in model.iter_object_maps([images[i] for i in test]):
        for name, way in WAYS.items():
            found[name].append(objects_of(way, maps, model.threshold_))
    expected = [ids[i] for i in test]
    scores = {name: object_scores(object_overlaps(each, expected)) for name, each in found.items()}
    record = {"n_masks": n_masks or len(train), "all": not n_masks, "fold": fold, "scores": scores}
    told = time.process_time() - began
    cpu = {"fit": round(seconds, 1), "ways": round(told, 1)}
    return [{**record, "seconds": cpu, "environment": environment("cpu")}]


def key_of(record):
    return (ALL if record["all"] else record["n_masks"]), record["fold"]


def table(records):
    """Each way less the first, for 8 masks and for all."""
    heads = [f"{what}, {n}" for n in ("8 masks", "all") for what in MEASURES.values()]
    yield from head(["way", *(cell for one in heads for cell in (one, "95 % interval"))])
    for name in WAYS:
        cells = []
        for whole in (False, True):
            own = [r for r in records if r["all"] is whole]
            for key in MEASURES:
                mine, first = (
                    {r["fold"]: 100 * r["scores"][one][key] for r in own} for one in (name, FIRST)
                )
                if name == FIRST:
                    cells += [f"{np.mean(list(mine.values())):.1f}" if mine else "", ""]
                else:
                    cells += compared(mine, first)[:2]
        yield line([name, *cells])


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "separation")
    parser.add_argument("--members", type=Path, help="a folder that holds `members`; default: OUT")
    parser.add_argument("--tasks", type=int, default=len(TASKS), help="how many of the fits")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args(argv)
    folder, out = find_data("glas"), arguments.out
    if folder is None:
        print("skipped: set ALSEG_DATA to the folder that holds glas/")
        return 0
    if not arguments.table_only:
        torch.set_num_threads(1)
        run = functools.partial(run_ways, folder=folder, members=arguments.members or out)
        work = TASKS[: arguments.tasks]
        run_missing(out, {"ways": list(WAYS)}, work, key_of, run, title="separation")
    text = "\n".join(table(records_so_far(out)))
    print(text)
    write_text(out / "table.md", text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
