"""What does asking cost? T stochastic draws against one pass, and memory that does not grow.

    python -m benchmarks.speed.acquisition  # about 20 minutes on one core

Time: `predict_uncertainty` with 20 draws ("mc_variance", "bald") on images of the network size, so
that nothing is decoded or resized, against

- one prefix and 20 suffixes: all of the network before the first dropout once a batch, what follows
  (dropout, last convolution, softmax) 20 times, with no statistics kept; and
- one plain pass: `predict_mask_proba`'s batches, without resizing its maps.

Memory: for 200 and 2 000 image files, T = 5 and T = 50, a process of its own loads the model,
resets its high-water mark, asks, and reports the mark above where it started (Linux alone). The
ratio is the largest of the four over the smallest, each the median of its repeats. glibc keeps a
part of what is freed, a different one in each run: the same run was seen at 169 to 198 MiB. So the
four are measured a second time with the allocator told to give freed blocks back at once
(`peak-memory-live-*`), where the same run repeats to the MiB; that line shows growth most clearly.

`ratio` lines are medians of repeats taken in turns, from CPU seconds at one thread; the exit status
is 1 where a limit is broken.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from alseg import JointCAMSegmenter
from alseg.datasets import make_glands
from alseg.network import dropout_active, evaluating
from alseg.segmenter import predict_batch
from benchmarks.core.results import RESULTS, write_record
from benchmarks.core.timing import interleave, ratio_row, said_by_child

N_DRAWS = 20
LIMITS = {"suffixes": 1.3, "plain": 2.5, "memory": 1.10}
FILE_SIZE = (160, 240)  # of the files, so that reading resizes
IMAGE_SIZE = (128, 192)
COUNTS, DRAWS = (200, 2000), (5, 50)
ALLOCATORS = {"peak-memory": {}, "peak-memory-live": {"MALLOC_MMAP_THRESHOLD_": "65536"}}


def fitted(encoder, image_size, seed):
    """A model with a mask branch; how well it is trained does not change what it costs."""
    glands = make_glands(8, image_size=image_size, random_state=seed)
    model = JointCAMSegmenter(
        encoder=encoder, image_size=image_size, max_epochs=1, random_state=seed, device="cpu"
    )
    return model.fit(glands.images, glands.labels, glands.masks)


def prefix_and_suffixes(model, images):
    """The lower bound by hand: prefix once a batch, then the rest `N_DRAWS` times."""
    network = model.module_
    with torch.inference_mode():
        for _, x in model._batches(images):
            with evaluating(network):
                decoded = network.decode(network.encode(x))
            with dropout_active(network):
                for _ in range(N_DRAWS):
                    network.mask_head(decoded, x.shape[2:], grid=True).softmax(1)


def plain_pass(model, images):
    for _, x in model._batches(images):
        predict_batch(model.module_, x, True, need=("mask_proba",))


def compare_time(encoder, n_images, n_repeats, seed):
    model = fitted(encoder, IMAGE_SIZE, seed)
    images = make_glands(n_images, image_size=IMAGE_SIZE, random_state=seed + 1).images
    sides = {
        "plain": lambda: plain_pass(model, images),
        "bound": lambda: prefix_and_suffixes(model, images),
    }
    for method in ("mc_variance", "bald"):
        sides[method] = lambda method=method: model.predict_uncertainty(
            images, method=method, n_draws=N_DRAWS, random_state=seed
        )
    seconds = interleave(sides, n_repeats)
    rows = []
    for method in ("mc_variance", "bald"):
        for side, against in (("suffixes", "bound"), ("plain", "plain")):
            name = f"{N_DRAWS}-draws-{method}-to-{side}-{encoder}"
            rows.append(ratio_row(name, seconds[method], seconds[against], LIMITS[side]))
    return rows


def memory_mib(field):
    """A field of /proc/self/status (VmRSS, VmHWM) in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def measure_memory(model_path, folder, n_images, n_draws):
    """In a process of its own: peak above the start, in MiB, as JSON on the standard output."""
    torch.set_num_threads(1)
    model = JointCAMSegmenter.load(model_path, device="cpu")
    paths = sorted(str(p) for p in Path(folder).glob("*.png"))[:n_images]
    if len(paths) != n_images:
        raise RuntimeError(f"{folder} holds {len(paths)} images, not {n_images}")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark becomes what is held now
    start = memory_mib("VmRSS")
    scores = model.predict_uncertainty(paths, method="mc_variance", n_draws=n_draws, random_state=0)
    peak = memory_mib("VmHWM")
    if scores.shape != (n_images,):
        raise RuntimeError(f"{scores.shape} scores of {n_images} images")
    print(json.dumps({"start": start, "peak": peak, "above_start": peak - start}))


def compare_memory(encoder, n_repeats, seed):
    from PIL import Image

    with tempfile.TemporaryDirectory(prefix="acquisition-") as folder:
        fitted(encoder, IMAGE_SIZE, seed).save(Path(folder) / "model")
        some = make_glands(20, image_size=FILE_SIZE, random_state=seed).images
        rng = np.random.default_rng(seed)
        for i in range(max(COUNTS)):
            # Shifted copies: files of their own, at a fraction of the time of drawing them.
            image = np.roll(some[i % len(some)], tuple(rng.integers(0, 100, 2)), axis=(0, 1))
            Image.fromarray(image).save(Path(folder) / f"{i:05d}.png", compress_level=1)
        rows = []
        for allocator in ALLOCATORS:
            runs = [
                {"n_images": n, "n_draws": t, "memory_mib": run_child(folder, n, t, allocator)}
                for _ in range(n_repeats)
                for n in COUNTS
                for t in DRAWS
            ]
            rows.append(memory_row(f"{allocator}-{encoder}", runs))
    return rows


def run_child(folder, n_images, n_draws, allocator):
    """`measure_memory` in a process of its own."""
    model = str(Path(folder) / "model")
    memory = said_by_child(
        "benchmarks.speed.acquisition",
        [model, folder, n_images, n_draws],
        env={**os.environ, **ALLOCATORS[allocator]},
    )
    print(
        f"# {allocator}: {n_images} images, T = {n_draws}: {memory['above_start']:.1f} MiB above"
        f" {memory['start']:.1f}",
        flush=True,
    )
    return memory


def memory_row(name, runs):
    """Largest over smallest of the medians of the settings, printed and returned for the record."""
    by_setting = {}
    for run in runs:
        setting = f"{run['n_images']} images, T={run['n_draws']}"
        by_setting.setdefault(setting, []).append(run["memory_mib"]["above_start"])
    medians = {setting: float(np.median(values)) for setting, values in by_setting.items()}
    value, limit = max(medians.values()) / min(medians.values()), LIMITS["memory"]
    print(f"ratio {name} {value:.3f} limit {limit:g}", flush=True)
    row = {"name": name, "ratio": value, "limit": limit, "met": value <= limit}
    return {**row, "medians_mib": medians, "repeats": runs}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoders", nargs="+", default=["resnet18", "mobilenet_v2"])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory-repeats", type=int, default=3, help="0 leaves memory out")
    parser.add_argument("--memory-encoder", default="resnet18")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "acquisition.json")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.child:
        model, folder, n_images, n_draws = arguments.child
        measure_memory(model, folder, int(n_images), int(n_draws))
        return 0
    torch.set_num_threads(1)
    rows = []
    for encoder in arguments.encoders:
        rows += compare_time(encoder, arguments.images, arguments.repeats, arguments.seed)
    if arguments.memory_repeats:
        rows += compare_memory(arguments.memory_encoder, arguments.memory_repeats, arguments.seed)
    return write_record(arguments.out, rows, seed=arguments.seed, image_size=IMAGE_SIZE)


if __name__ == "__main__":
    sys.exit(main())
