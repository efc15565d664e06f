"""What region scores cost beside a dense convolution, and what picking parts of a pool costs.

The dense side is the published way [1]: a depth-wise convolution with a kernel of ones, once over
the one-hot predictions and once over the entropy. It is timed once, after the same on a small
image, since one call takes minutes of a core.

[1] Xie et al. 2022, arXiv:2111.12940.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F

from alseg.query import pick_regions, ripu, slic_superpixels
from benchmarks.core.results import RESULTS, write_record
from benchmarks.core.timing import Stopwatch, interleave


def dense_ripu(proba, size):
    """The same score by dense convolutions: (C, H, W) tensor to (H, W) tensor."""
    n_classes = len(proba)
    one_hot = F.one_hot(proba.argmax(0), n_classes).movedim(-1, 0).to(proba.dtype)
    ones = torch.ones(n_classes, 1, size, size, dtype=proba.dtype)
    counts = F.conv2d(one_hot[None], ones, padding=size // 2, groups=n_classes)[0]
    total = counts.sum(0)
    impurity = torch.special.entr(counts / total).sum(0)
    entropy = torch.special.entr(proba).sum(0)
    entropy = F.conv2d(entropy[None, None], ones[:1], padding=size // 2)[0, 0] / total
    return impurity * entropy / np.log(n_classes) ** 2


def prediction(n_classes, h, w, rng):
    """Class probabilities of a scene of blocks, (C, H, W) float32."""
    logits = np.kron(rng.normal(size=(n_classes, -(-h // 40), -(-w // 40))), np.ones((1, 40, 40)))
    logits = 3 * logits[:, :h, :w] + rng.normal(size=(n_classes, h, w))
    return torch.as_tensor(logits, dtype=torch.float32).softmax(0)


def main():
    """Time, compare, write the record; the exit status is 1 where a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=33)
    parser.add_argument("--image", type=int, nargs=2, default=(640, 1280), metavar=("H", "W"))
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    rows = []

    small = prediction(19, 64, 96, rng)
    dense_ripu(small, 5)  # loads the library
    np.testing.assert_allclose(ripu(small, 9), dense_ripu(small, 9), atol=1e-5)

    proba = prediction(19, *args.image, rng)
    ours = interleave({"boxes": lambda: ripu(proba, args.size)}, args.repeats)["boxes"]
    watch = Stopwatch()
    dense = dense_ripu(proba, args.size)
    dense_seconds = watch.read()
    np.testing.assert_allclose(ripu(proba, args.size), dense, atol=1e-4)
    seconds = np.median(np.array(ours), axis=0)
    ratio = dense_seconds[0] / seconds[0]
    name = f"dense-{args.size}x{args.size}-to-boxes"
    print(f"ratio {name} {ratio:.1f} limit 50", flush=True)
    rows.append(
        {
            "name": name,
            "ratio": ratio,
            "ratio_wall": dense_seconds[1] / seconds[1],
            "limit": 50,
            "met": bool(ratio >= 50),
            "shape": [19, *args.image],
            "seconds": {
                "dense": {"cpu": dense_seconds[0], "wall": dense_seconds[1]},
                "boxes": {"cpu": [s[0] for s in ours], "wall": [s[1] for s in ours]},
            },
        }
    )

    maps = rng.random((8, *args.image))
    images = rng.integers(0, 255, (1, *args.image, 3), dtype=np.uint8)
    watch = Stopwatch()
    labels = [slic_superpixels(images[0])] * len(maps)
    rows.append({"name": "slic-one-image", "seconds": dict(zip(("cpu", "wall"), watch.read()))})
    for unit, options in {
        "pixel": {"unit": "pixel"},
        "patch": {"unit": "patch"},
        "window": {"unit": "patch", "sliding": True},
        "superpixel": {"unit": "superpixel", "labels": labels},
    }.items():
        watch = Stopwatch()
        pick_regions(maps, 100, random_state=0, **options)
        cpu, wall = watch.read()
        print(f"pick {unit} {cpu / len(maps):.3f} s an image", flush=True)
        rows.append({"name": f"pick-100-{unit}-of-8-images", "seconds": {"cpu": cpu, "wall": wall}})
    return write_record(RESULTS / "regions.json", rows)


if __name__ == "__main__":
    raise SystemExit(main())
