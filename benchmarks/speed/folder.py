"""How long a person with a folder waits: for the first question, the next one, and predictions.

    python -m benchmarks.speed.folder  # about 10 minutes on 2 idle cores
    python -m benchmarks.speed.folder --folders small --presets alseg-fast

Makes three folders of synthetic histology (200 JPEG photographs of 576 x 767 pixels, 5 000 PNG
files of 64 x 64, 500 JPEG photographs of 2000 x 3000; two classes, no mask) and gives the commands
of the README, each in a process of its own, as a person would:

    alseg query --data DIR --out STATE -n 5            # the first question
    alseg add STATE DRAWN                              # masks of these five, drawn by the script
    alseg query --out STATE -n 5                       # trains, looks, asks
    alseg predict STATE NEW --out OUT                  # 100 of the images

`--presets` adds rows with `--preset NAME` in the first command. Seconds are wall-clock, of the
whole process from its start, the median of `--repeats`; memory is the process's largest resident
set. All threads of the machine may be used, as a user's command does, except for presets that are
measured on one core (`--one-core`). Limits: 3, 3 and 10 s to the first question, 60 s to the next
one (10 s with "alseg-fast" on one core), 1 GiB of memory. The exit status is 1 where a limit is
broken.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from alseg.datasets import make_glands
from benchmarks import ONE_THREAD
from benchmarks.core.results import RESULTS, write_record

# Name: images, height, width, suffix, limit of the first question in seconds.
FOLDERS = {
    "photographs": (200, 576, 767, ".jpg", 3),
    "small": (5000, 64, 64, ".png", 3),
    "large": (500, 2000, 3000, ".jpg", 10),
}
NEXT_LIMIT, FAST_LIMIT, MEMORY_LIMIT = 60, 10, 1024


def make_folder(root, n, height, width, suffix):
    """Images of two classes below `root`, and their true masks by stem (made when asked for)."""
    n_distinct = min(n, 40)
    glands = make_glands(n_distinct, image_size=(64, 64 * width // height), random_state=0)
    masks = {}
    rng = np.random.default_rng(0)
    for i in range(n):
        k = i % n_distinct
        image = Image.fromarray(glands.images[k]).resize((width, height), Image.Resampling.BICUBIC)
        # Moved and coloured anew: no two are the same picture.
        pixels = np.roll(np.asarray(image), rng.integers(0, min(height, width), 2), (0, 1))
        shift = rng.integers(-12, 13, 3)
        pixels = np.clip(pixels.astype(np.int16) + shift, 0, 255).astype(np.uint8)
        folder = root / "images" / str(glands.labels[k])
        folder.mkdir(parents=True, exist_ok=True)
        options = {"quality": 90} if suffix == ".jpg" else {}
        Image.fromarray(pixels).save(folder / f"image_{i:05d}{suffix}", **options)
        masks[f"image_{i:05d}"] = folder / f"image_{i:05d}{suffix}"
    return masks


def draw(folder, images, names):
    """Masks as somebody might draw them: what is darker than the image's own middle."""
    folder.mkdir(parents=True)
    for name in names:
        with Image.open(images[name]) as image:
            grey = np.asarray(image.convert("L"))
        mask = np.where(grey > np.median(grey), 255, 0).astype(np.uint8)
        Image.fromarray(mask).save(folder / f"{name}.png")
    return folder


def timed(command, one_core):
    """Wall-clock seconds, largest resident set in MiB and stdout of a command, as a process."""
    # A user's command knows nothing of how benchmarks compute.
    environment = {k: v for k, v in os.environ.items() if k not in ONE_THREAD}
    environment["MPLBACKEND"] = "Agg"
    pin = {0} if one_core else None
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "alseg", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=(lambda: os.sched_setaffinity(0, pin)) if pin else None,
    )
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{err}")
    return seconds, usage.ru_maxrss / 1024, out


def names_of(out):
    return [line.partition(":")[0] for line in out.splitlines() if line]


def time_commands(root, images, new, options, one_core, place):
    """The commands of one annotator, once: seconds and MiB of each."""
    state, out = place / "state", place / "predicted"
    found = {}
    query = ["query", "--data", root, "--out", state, "-n", 5, *options]
    *found["first"], text = timed(query, one_core)
    asked = names_of(text)
    for round_ in range(
        2
    ):  # the second of two rounds counts: a warm preset has something to go on from
        drawn = draw(place / f"drawn_{round_}", images, asked)
        *found["add"], _ = timed(["add", state, drawn], one_core)
        *found["next"], text = timed(["query", "--out", state, "-n", 5], one_core)
        asked = names_of(text)
        if round_ == 0:
            found["second"] = found["next"]
    *found["predict"], _ = timed(["predict", state, new, "--out", out], one_core)
    return {name: values for name, values in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--folders", nargs="+", choices=FOLDERS, default=list(FOLDERS))
    parser.add_argument("--presets", nargs="+", default=["default", "alseg-fast"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "folder.json")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="folder-") as place:
        for name in args.folders:
            n, height, width, suffix, first_limit = FOLDERS[name]
            root = Path(place, name)
            images = make_folder(root, n, height, width, suffix)
            new = Path(place, f"{name}_new")
            new.mkdir()
            for path in list(images.values())[:100]:
                os.link(path, new / path.name)
            for preset in args.presets:
                one_core = preset == "alseg-fast"
                options = [] if preset == "default" else ["--preset", preset]
                runs = []
                for repeat in range(args.repeats):
                    work = Path(place, f"{name}-{preset}-{repeat}")
                    runs.append(time_commands(root, images, new, options, one_core, work))
                    shutil.rmtree(work)
                limit = FAST_LIMIT if one_core else NEXT_LIMIT
                limits = {
                    "first": first_limit,
                    "next": limit,
                    "second": None,
                    "add": None,
                    "predict": None,
                }
                for command, most in limits.items():
                    rows.append(row(name, preset, command, [run[command] for run in runs], most))
    raise SystemExit(write_record(args.out, rows, folders=FOLDERS, n_cpus=os.cpu_count()))


def row(folder, preset, command, runs, limit):
    seconds, memory = (statistics.median(values) for values in zip(*runs))
    found = {
        "folder": folder,
        "preset": preset,
        "command": command,
        "seconds": round(seconds, 2),
        "memory_mib": round(memory),
        "runs": runs,
    }
    if limit is not None:
        found |= {"limit": limit, "met": seconds <= limit and memory <= MEMORY_LIMIT}
    print(json.dumps({k: v for k, v in found.items() if k != "runs"}), flush=True)
    return found


if __name__ == "__main__":
    main()
