"""A robot annotates in the real page: Dice against its marks, strokes and seconds.

    python -m benchmarks.annotator --data glas  # some 20 minutes on 2 busy cores, resumable
    python -m benchmarks.annotator --data ebhi_seg isic2017
    python -m benchmarks.annotator --short      # a minute, on made images, without a fit
    python -m benchmarks.annotator --table-only

The server is that of the command (`alseg annotate DATA --out STATE --no-browser`), the browser a
headless Chromium. A simulated expert who knows the true masks answers each question that the page
asks:

- strokes: two along the middle of each class and three pairs along borders (`StrokeOracle`), then
  "only what I marked";
- corrections: it looks at the proposal that the page shows, or at nothing where it shows none, and
  corrects it, the largest errors first (`CorrectionOracle`), then "all of it is right";
- points: a key for each of the 20 pixels that the page asks about (`PointOracle`'s rates).

What it draws are events of the pointer in the page. After each answer the marks that the server
gives are compared with what the pointer drew: `lost` counts the pixels that differ. At every so
many marks the state folder is copied. After the loop each copy is scored: "alseg-fast" is fitted to
its masks and predicts the test images. Dice is their mean.

The comparison is a run of the library without a page: the same expert, recipe, number of images
and fits, on images that are class-balanced at random as the page's first questions are. Seconds of
the expert are those of the oracle's rates, and those of the wall those of the machine.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from alseg import JointCAMSegmenter
from alseg.datasets import class_folds, load_folder, load_glas, make_glands
from alseg.files import write_text
from alseg.labels import MISSING
from alseg.metrics import dice_per_image
from alseg.oracles import CorrectionOracle, PointOracle, StrokeOracle
from alseg.project import open_project
from alseg.query import class_balanced_top_n
from benchmarks.core.data import decoded, find_data
from benchmarks.core.page_robot import MISSING_PROGRAMS, Robot, browser, served
from benchmarks.core.parts import fewer, shrunk
from benchmarks.core.results import RESULTS, write_record
from benchmarks.core.tables import head, line

OUT = RESULTS / "annotator"
SIZES = {"glas": (192, 288), "ebhi_seg": (224, 224), "isic2017": (192, 192), "made": (96, 144)}
WAYS = ("strokes", "corrections", "points")
N_POINTS = 20  # that the page asks of an image


def parts_of(name, n_images, n_test, seed=0):
    """(images to annotate, images to test on) of a data set, at its size here; or None."""
    if name == "made":
        pool = make_glands(n_images, image_size=SIZES[name], random_state=seed)
        return pool, make_glands(n_test, image_size=SIZES[name], random_state=seed + 1)
    folder = find_data(name)
    if folder is None:
        return None
    if name == "glas":
        parts = load_glas(folder, fold=0)
        pool, test = parts.train, parts.test
    elif name == "isic2017":
        parts = load_folder(folder)
        pool, test = parts["train"], parts["val"]
    else:
        every = load_folder(folder).all
        held = class_folds(every.labels, 0, every.groups, 3)
        pool, test = every.take(np.flatnonzero(~held)), every.take(np.flatnonzero(held))
    found = (
        shrunk(decoded(fewer(part, n)), SIZES[name])
        for part, n in ((pool, n_images), (test, n_test))
    )
    return tuple(found)


def expert(way, masks, seed):
    """Who answers, with brushes for images of some 200 pixels."""
    if way == "points":
        return PointOracle(masks, N_POINTS, random_state=seed)
    if way == "strokes":
        return StrokeOracle(masks, 2, 3, width=5, length=50, random_state=seed)
    return CorrectionOracle(masks, tolerance=1, min_area=12, widths=(3, 5, 9, 17))


def write_folder(root, pool):
    """The images of a pool as files, `images/<class>/<number>.png`."""
    for i in range(len(pool.labels)):
        folder = root / "images" / str(pool.labels[i])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(pool.images[i])).save(folder / f"{i:04d}.png")


def said(way, oracle, number, proposal):
    """(drawing, answer) of the expert about an image."""
    if way != "corrections":
        return oracle.draw(number), "marks"
    found = oracle.correct(number, proposal)
    return found, "all" if found.confirmed else "marks"


def drawn(robot, way, oracle, image):
    """Draw what the expert says of what the page shows, and go on where it shows more meanwhile.

    A proposal may come until the first stroke; who corrects has to look at it then.

    Returns
    -------
    shown : ndarray of shape (H, W) or None
        As it was at last.
    drawing, kind : Drawing or Correction, str
        What the expert said, with the cost of both looks where there were two.
    mask : ndarray of shape (H, W)
        What the pointer drew.
    """
    number = int(Path(image["name"]).name.split(".")[0])
    shown, empty = robot.proposal(image), np.zeros((image["height"], image["width"]), np.int16)
    drawing, kind = said(way, oracle, number, empty if shown is None else shown)
    mask = robot.draw(image, drawing.strokes)
    late = robot.proposal(image)
    if shown is None and late is not None and way == "corrections":
        first = drawing
        drawing, kind = said(way, oracle, number, np.where(mask == MISSING, late, mask))
        again = robot.draw(image, drawing.strokes)
        mask = np.where(again == MISSING, mask, again)
        cost = drawing.cost._replace(
            clicks=drawing.cost.clicks + len(first.strokes),
            seconds=drawing.cost.seconds + first.cost.seconds,
        )
        drawing = drawing._replace(strokes=first.strokes + drawing.strokes, cost=cost)
    return late, drawing, kind, mask


def annotate(way, pool, state, root, n_marks, every, seed=0, look=None):
    """Drive the page until so many images have marks; a row an answer, and copies of the state.

    Parameters
    ----------
    look : callable or None
        Called with the robot and the row at each step, for pictures.
    """
    oracle = expert(way, [np.asarray(mask) for mask in pool.masks], seed)
    rows, copies = [], {}
    with served(root, state, "--seed", seed, "--quiet") as (address, _), browser() as window:
        began = time.perf_counter()
        robot = Robot(window, address)
        training = b'"training"' in (robot.fetch("/api/standing") or b"")
        if way == "points":
            window.press("q")
        while len(rows) < n_marks and (image := robot.image()) is not None:
            number = int(Path(image["name"]).name.split(".")[0])
            started = time.perf_counter()
            if way == "points":  # those that the page asks about
                shown = robot.proposal(image)
                drawing, kind = said(way, oracle, number, None)
                mask, waited = robot.say(image, oracle.truth(number))
                drawing = drawing._replace(mask=mask)
            else:
                shown, drawing, kind, mask = drawn(robot, way, oracle, image)
            proposal = 0 if shown is None else shown
            drew = time.perf_counter() - started
            row = {
                "image": number,
                "answer": kind,
                "proposed": shown is not None,
                "check": image.get("check"),
                "strokes": len(drawing.strokes),
                "clicks": drawing.cost.clicks,
                "expert_seconds": round(drawing.cost.seconds, 1),
                "differs": int(np.count_nonzero((mask != drawing.mask) & (mask != MISSING))),
            }
            if look is not None:
                look(robot, row)
            if way != "points":
                waited = robot.answer(kind, image)
            row["next_seconds"] = round(waited, 3)
            expected = mask if kind == "marks" else np.where(mask == MISSING, proposal, mask)
            row["lost"] = int(np.count_nonzero(robot.saved(image) != expected))
            row["drawing_seconds"] = round(drew, 2)
            row["wall_seconds"] = round(time.perf_counter() - began, 1)
            rows.append(row)
            if len(rows) % every == 0 or len(rows) == n_marks:
                copies[len(rows)] = state.with_name(f"{state.name}-{len(rows)}")
                shutil.copytree(state, copies[len(rows)])
        print(f"{robot.presses_again} keys pressed again", flush=True)
        problems = [line for line in window.errors() if "status of 404" not in line]
    return rows, copies, problems, training


def fitted(images, labels, masks, seed):
    """The model that scores marks."""
    model = JointCAMSegmenter.from_preset("alseg-fast").set_params(random_state=seed, device="cpu")
    return model.fit(images, labels, masks)


def dice_of(model, test):
    """Mean Dice of a model's masks on the images of a test part, in %."""
    found = model.predict_masks(list(test.images))
    return round(100 * float(np.nanmean(dice_per_image(list(found), list(test.masks)))), 2)


def marks_in(state, root, pool):
    """The masks of a copy of a state folder, in the order of the pool."""
    with open_project(state, root) as project:
        masks = project.known_masks()
        names = [int(Path(name).name.split(".")[0]) for name in project.data.ids.tolist()]
    found = [None] * len(pool.labels)
    for number, mask in zip(names, masks, strict=True):
        found[number] = mask
    return found


def curve(rows, copies, root, pool, test, seed):
    """What was spent, and the Dice, at each copy."""
    points = []
    for n, copy in copies.items():
        masks = marks_in(copy, root, pool)
        spent = rows[:n]
        points.append(
            {
                "marks": sum(mask is not None for mask in masks),
                "strokes": sum(row["strokes"] for row in spent),
                "expert_seconds": round(sum(row["expert_seconds"] for row in spent), 1),
                "wall_seconds": spent[-1]["wall_seconds"],
                "dice": dice_of(fitted(list(pool.images), pool.labels, masks, seed), test),
            }
        )
        print(json.dumps(points[-1]), flush=True)
    return points


def library(way, pool, test, wanted, seed, proposed):
    """The same without a page: what is spent, and Dice, at the same numbers of marks.

    `proposed` says whether the expert sees what the model of the last fit proposes, as in the page.
    """
    oracle = expert(way, [np.asarray(mask) for mask in pool.masks], seed)
    n = len(pool.labels)
    order = np.asarray(class_balanced_top_n(np.zeros(n), pool.labels, max(wanted), seed))
    masks, points, spent, strokes, model = [None] * n, [], 0.0, 0, None
    for k, number in enumerate(order.tolist(), start=1):
        proposal = np.zeros(np.shape(pool.masks[number]), np.int16)
        if proposed and model is not None:
            [proposal] = model.predict_masks([pool.images[number]])
        drawing, _ = said(way, oracle, number, proposal)
        masks[number] = drawing.mask
        spent, strokes = spent + drawing.cost.seconds, strokes + len(drawing.strokes)
        if k in wanted:
            model = fitted(list(pool.images), pool.labels, masks, seed)
            dice = dice_of(model, test)
            points.append(
                {"marks": k, "strokes": strokes, "expert_seconds": round(spent, 1), "dice": dice}
            )
            print(json.dumps(points[-1]), flush=True)
    return points


def run(name, way, n_images, n_test, n_marks, every, seed):
    """The record of one data set and way."""
    parts = parts_of(name, n_images, n_test)
    if parts is None:
        print(f"skipped: set ALSEG_DATA to the folder that holds {name}/")
        return None
    pool, test = parts
    with tempfile.TemporaryDirectory() as place:
        root, state = Path(place) / "slides", Path(place) / "state"
        write_folder(root, pool)
        rows, copies, problems, training = annotate(way, pool, state, root, n_marks, every, seed)
        points = [] if name == "made" else curve(rows, copies, root, pool, test, seed)
    proposed = any(row["proposed"] for row in rows)
    without = [] if name == "made" else library(way, pool, test, list(copies), seed, proposed)
    return {
        "data": name,
        "way": way,
        "seed": seed,
        "training": training,
        "n_images": len(pool.labels),
        "n_test": len(test.labels),
        "size": list(SIZES[name]),
        "lost": sum(row["lost"] for row in rows),
        "errors": problems,
        "page": points,
        "library": without,
        "answers": rows,
    }


def table(records):
    """A line for each point of each curve, the page beside the library."""
    columns = ("data", "expert", "model behind the pen", "images", "marks")
    columns += ("strokes", "minutes", "Dice, page", "strokes", "minutes", "Dice, library")
    lines = head([*columns, "page over library"])
    for record in records:
        for point, other in zip(record["page"], record["library"], strict=False):
            cells = [record["data"], record["way"], "yes" if record["training"] else "no"]
            cells += [record["n_images"], point["marks"]]
            for one in (point, other):
                cells += [one["strokes"], f"{one['expert_seconds'] / 60:.1f}", f"{one['dice']:.1f}"]
            lines.append(line([*cells, f"{point['dice'] - other['dice']:+.1f}"]))
    return "\n".join(lines) + "\n"


def draw_curves(records, path):
    """Dice against the marks, the strokes and the seconds of the expert."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    scales = [("marks", "images marked", 1), ("strokes", "strokes", 1)]
    scales.append(("expert_seconds", "minutes of the expert", 60))
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), sharey=True, layout="constrained")
    for k, record in enumerate(records):
        for kind, dashes in (("page", "-"), ("library", ":")):
            for ax, (what, label, scale) in zip(axes, scales, strict=True):
                xs = [point[what] / scale for point in record[kind]]
                ys = [point["dice"] for point in record[kind]]
                model = "" if record["training"] else ", no model"
                name = f"{record['data']}, {record['way']}{model}, {kind}"
                ax.plot(xs, ys, dashes, marker="o", markersize=3, color=f"C{k}", label=name)
                ax.set_xlabel(label)
    axes[0].set_ylabel("Dice (%)")
    axes[-1].legend(fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=list(SIZES)[:-1], default=["glas"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--images", type=int, default=67)
    parser.add_argument("--test", type=int, default=80)
    parser.add_argument("--marks", type=int, default=24)
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument("--short", action="store_true", help="six made images, without a fit")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table-only", action="store_true")
    options = parser.parse_args(argv)
    if MISSING_PROGRAMS and not options.table_only:
        print(f"skipped: not installed: {MISSING_PROGRAMS}")
        return 0
    if options.short:
        records = [run("made", way, 6, 1, 4, 2, 0) for way in options.ways]
        for record in records:
            print(json.dumps({k: record[k] for k in ("way", "lost", "errors", "answers")}))
        return int(any(record["lost"] or record["errors"] for record in records))
    path = options.out / "records.json"
    records = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    # Those of a page without a model behind the pen were made before there was one.
    known = {(one["data"], one["way"], one["seed"]) for one in records if one["training"]}
    for key in [(d, w, s) for s in options.seeds for d in options.data for w in options.ways]:
        if options.table_only or key in known:
            continue
        data, way, seed = key
        found = run(data, way, options.images, options.test, options.marks, options.every, seed)
        if found is not None:
            records.append(found)
            write_record(path, records)
    if records:
        text = table(records)
        write_text(options.out / "table.md", text)
        draw_curves(records, options.out / "curve.png")
        print(text)
    return int(any(record["lost"] or record["errors"] for record in records))


if __name__ == "__main__":
    sys.exit(main())
