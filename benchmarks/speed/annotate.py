"""How long somebody waits in the page of `alseg annotate`: measured in the page by a robot.

    python -m benchmarks.speed.annotate  # some 5 minutes on 2 idle cores
    python -m benchmarks.speed.annotate --only large --repeats 3

The server is that of the command, the browser a headless Chromium without a graphics card, the
pointer that of the browser's protocol. On made images:

- start: from the start of the command to the first image on the desk, a folder of 5 000 images;
- next: from the key of an answer to the next image painted, and to the marks saved; and from the
  end of a stroke to its draft saved (a draft waits 2.5 s for more);
- stroke: from a move of the pointer to the end of the frame that shows it, and the time between
  frames meanwhile, on images of 1500 x 2000 and 3000 x 4000;
- learn: from the tenth new mark to a model behind the page that has learned from it, and to that
  model's proposal for the image that comes next, where the page trains;
- gallery: the time between frames while 10 000 images scroll by.

Each row has median and 95th percentile. The exit status is 1 where a limit is broken.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from alseg.datasets import make_glands
from alseg.oracles import StrokeOracle
from benchmarks.core.page_robot import MISSING_PROGRAMS, Robot, browser, served
from benchmarks.core.results import RESULTS, write_record
from benchmarks.speed.folder import make_folder

PARTS = ("start", "next", "stroke", "large", "learn", "gallery")
# Milliseconds: of the median, but where a frame is meant, of the 95th percentile too.
LIMITS = {"start": 3000, "next image": 300, "learn": 10_000}

# Notes what the page does from now on; `noted` gives it.
NOTE = """
const notes = window.noted = {moves: [], frames: [], answers: [], shown: [], drafts: [], ups: []};
const after = new MessageChannel(), waiting = [];
after.port1.onmessage = () => { for (const hear of waiting.splice(0)) hear(performance.now()); };
const painted = (hear) => requestAnimationFrame(() => {
  waiting.push(hear);
  after.port2.postMessage(0);
});
let last = null;
const frame = (now) => {
  if (last !== null) notes.frames.push(now - last);
  last = now;
  requestAnimationFrame(frame);
};
requestAnimationFrame(frame);
addEventListener("pointermove", (event) => {
  const began = event.timeStamp;
  if (event.buttons) painted((now) => notes.moves.push(now - began));
}, true);
addEventListener("pointerup", (event) => notes.ups.push(event.timeStamp), true);
addEventListener("keydown", (event) => {
  if (event.key === "Enter") notes.answers.push(event.timeStamp);
}, true);
new MutationObserver(() => {
  if (document.getElementById("desk").dataset.image) painted((now) => notes.shown.push(now));
}).observe(document.getElementById("desk"), {attributes: true, attributeFilter: ["data-image"]});
const saved = document.getElementById("saved");
new MutationObserver(() => {
  if (saved.dataset.state === "saved") notes.drafts.push(performance.now());
}).observe(saved, {attributes: true});
"""
SCROLL = """
const place = document.getElementById("gallery-scroll");
const far = arguments[0];
return new Promise((done) => {
  const frames = [];
  let last = null, steps = 0;
  const step = (now) => {
    if (last !== null) frames.push(now - last);
    last = now;
    place.scrollTop += far;
    if (++steps < 240) requestAnimationFrame(step);
    else done(frames);
  };
  requestAnimationFrame(step);
});
"""
SAVED = """
return performance.getEntriesByType("resource")
  .filter((one) => one.name.includes("/marks?") && one.name.includes("answer="))
  .map((one) => one.responseEnd);
"""


def row(what, milliseconds, limit=None, **more):
    """Median and 95th percentile of what was measured."""
    values = np.array(milliseconds, dtype=float)
    found = {"what": what, "n": len(values), **more}
    if len(values):
        found["median_ms"] = round(float(np.median(values)), 1)
        found["p95_ms"] = round(float(np.percentile(values, 95)), 1)
    if limit is not None and len(values):
        found["limit_ms"] = limit
        found["met"] = bool(found["median_ms"] <= limit)
    return found


def write_images(root, n, size):
    """Made images of a size below a folder, as photographs where they are large; their masks."""
    small = make_glands(min(n, 6), image_size=(96, 96 * size[1] // size[0]), random_state=0)
    masks = []
    for i in range(n):
        k = i % len(small.labels)
        folder = root / "images" / str(small.labels[k])
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.roll(small.images[k], 7 * i, axis=1)
        picture = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC)
        picture.save(folder / f"{i:04d}.{'jpg' if size[0] > 1000 else 'png'}", quality=90)
        mask = Image.fromarray(np.roll(small.masks[k], 7 * i, axis=1).astype(np.uint8))
        masks.append(np.asarray(mask.resize(size[::-1], Image.Resampling.NEAREST)).astype(np.int16))
    return masks


def number_of(image):
    return int(Path(image["name"]).name.split(".")[0].rpartition("_")[2])


def measure_start(place, repeats):
    """A folder of 5 000 images, from the command to the first image; each time a new project."""
    root = place / "many"
    make_folder(root, 5000, 64, 64, ".png")
    seconds = []
    for k in range(repeats):
        with browser() as window:  # the start of a browser is not the page's
            began = time.perf_counter()
            with served(root, place / f"state-{k}", "--quiet") as (address, _):
                Robot(window, address)
                seconds.append(time.perf_counter() - began)
    return [row("start", [1000 * s for s in seconds], LIMITS["start"], n_images=5000)]


def measure_next(place, repeats):
    """Answers one after the other, images of 192 x 288."""
    masks = write_images(place / "next", 8 * repeats, (192, 288))
    oracle = StrokeOracle(masks, 1, 1, width=5, length=30, random_state=0)
    drafts = []
    with (
        served(place / "next", place / "next-state", "--quiet") as (address, _),
        browser() as window,
    ):
        robot = Robot(window, address)
        window.run(NOTE)
        n = 0
        while n < 6 * repeats and (image := robot.image()) is not None:
            robot.draw(image, oracle.draw(number_of(image)).strokes)
            if n < 2 * repeats:
                before = window.run("return [noted.drafts.length, noted.ups.at(-1)]")
                window.wait("noted.drafts.length > arguments[0]", before[0])
                drafts.append(window.run("return noted.drafts.at(-1)") - before[1])
            robot.answer("marks", image)
            n += 1
        notes, saved = window.run("return noted"), window.run(SAVED)
    shown = [next((at for at in notes["shown"] if at > began), None) for began in notes["answers"]]
    waits = [at - began for at, began in zip(shown, notes["answers"], strict=True) if at]
    kept = [at - began for at, began in zip(saved, notes["answers"], strict=False)]
    return [
        row("next image", waits, LIMITS["next image"]),
        row("answer saved", kept),
        row("draft saved", drafts),
    ]


def measure_strokes(place, repeats, size):
    """A pointer that moves over a large image at the pace at which the browser takes it."""
    name = f"{size[0]} x {size[1]}"
    root = place / name
    write_images(root, 2, size)
    with served(root, place / f"{name}-state", "--quiet") as (address, _), browser() as window:
        robot = Robot(window, address)
        image = robot.image()
        corner, scale = robot.places(image)
        robot.take(40, 1)
        window.run(NOTE)
        undone = []
        for k in range(repeats):
            way = np.linspace(0.1, 0.9, 60)
            wave = 0.5 + 0.3 * np.sin(9 * way + k)
            places = corner + scale * np.stack([way * size[1], wave * size[0]], axis=1)
            _mouse(window, "mousePressed", places[0])
            for at in places[1:]:
                _mouse(window, "mouseMoved", at)
            _mouse(window, "mouseReleased", places[-1])
            undone.append(
                window.run(
                    "const began = performance.now(); document.getElementById('undo').click();"
                    "return new Promise((done) => requestAnimationFrame(() => "
                    "setTimeout(() => done(performance.now() - began))))"
                )
            )
        notes = window.run("return noted")
        robot.draw(image, [])
        _mouse(window, "mousePressed", places[0])
        _mouse(window, "mouseReleased", places[0])
        waited = robot.answer("marks", image)
    return [
        row("stroke on screen", notes["moves"], 32, size=name),
        row("frames while drawing", notes["frames"][1:], 17, size=name),
        row("undo on screen", undone, size=name),
        row("answer to next image", [1000 * waited], size=name),
    ]


def _mouse(window, kind, at):
    window.devtools(
        "Input.dispatchMouseEvent",
        type=kind,
        x=round(float(at[0])),
        y=round(float(at[1])),
        button="left",
        buttons=0 if kind == "mouseReleased" else 1,
        clickCount=1,
    )


def measure_learn(place, repeats):
    """From the tenth new mark to what a model that knows it proposes, where one is trained."""
    masks = write_images(place / "learn", 10 * repeats + 10, (192, 288))
    oracle = StrokeOracle(masks, 1, 2, width=5, length=40, random_state=0)
    known, proposed, worked = [], [], []
    with (
        served(place / "learn", place / "learn-state", "--quiet") as (address, server),
        browser() as window,
    ):
        robot = Robot(window, address)
        for _ in range(repeats):
            for _ in range(10):
                image = robot.image()
                robot.draw(image, oracle.draw(number_of(image)).strokes)
                robot.answer("marks", image)
            began, before = time.perf_counter(), _cpu_seconds_below(server.pid)
            told = _standing(robot, "training")
            if told["state"] == "off":
                return [row("learn", [], note="this page trains nothing")]
            # Checks that count are kept out of the training, the last twelve of them.
            held_out = min(12, _standing(robot, "quality")["n_counted"])
            n_marked = json.loads(robot.fetch("/api/project"))["n_done"] - held_out
            while told["n_marked"] < n_marked:
                if time.perf_counter() - began > 120:
                    return [row("learn", [], note="no model within 120 s", said=told)]
                time.sleep(0.1)
                told = _standing(robot, "training")
            known.append(1000 * (time.perf_counter() - began))
            while (_following(robot)["version"] or 0) < told["version"]:
                time.sleep(0.1)
            proposed.append(1000 * (time.perf_counter() - began))
            worked.append(1000 * (_cpu_seconds_below(server.pid) - before))
    return [
        row("learn, model", known),
        row("learn", proposed, LIMITS["learn"], said=told),
        row("learn, CPU time of the process behind the page", worked),
    ]


def _cpu_seconds_below(pid):
    """What the processes that another one has started have worked so far."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == pid:
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _standing(robot, what):
    return json.loads(robot.fetch("/api/standing"))[what]


def _following(robot):
    """The next image that is no check: the proposal of those is hidden."""
    image = robot.image()
    while True:
        image = json.loads(robot.fetch(f"/api/next?after={image['id']}"))
        if image["check"] != "open":
            return image


def measure_gallery(place, _):
    """10 000 thumbnails that scroll by, a row of them a frame and far faster."""
    root = place / "gallery"
    make_folder(root, 10_000, 64, 64, ".png")
    found = []
    with served(root, place / "gallery-state", "--quiet") as (address, _), browser() as window:
        Robot(window, address)
        began = time.perf_counter()
        window.press("g")
        window.wait("document.querySelectorAll('#gallery-cells img').length")
        found.append(row("gallery opens", [1000 * (time.perf_counter() - began)], n_images=10_000))
        for far in (40, 172, 3000):
            frames = window.run(SCROLL, far)
            found.append(row("frames while scrolling", frames, 17, pixels_a_frame=far))
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "annotate.json")
    options = parser.parse_args(argv)
    if MISSING_PROGRAMS:
        print(f"skipped: not installed: {MISSING_PROGRAMS}")
        return 0
    measures = {
        "start": measure_start,
        "next": measure_next,
        "stroke": lambda place, n: measure_strokes(place, n, (1500, 2000)),
        "large": lambda place, n: measure_strokes(place, n, (3000, 4000)),
        "learn": measure_learn,
        "gallery": measure_gallery,
    }
    rows = []
    load = os.getloadavg()[0]
    for name in options.only:
        with tempfile.TemporaryDirectory() as place:
            for found in measures[name](Path(place), options.repeats):
                print(json.dumps(found), flush=True)
                rows.append(found)
    loads = [round(load, 1), round(os.getloadavg()[0], 1)]
    return write_record(options.out, rows, n_cores=os.cpu_count(), load_before_and_after=loads)


if __name__ == "__main__":
    sys.exit(main())
