"""How alike are different images, and one image under another exposure?

    python -m benchmarks.studies.duplicates  # 5 minutes on one core; data: see README.md

For each data set, among the pairs of images that are most alike by the ranks of their thumbnails
alone: which are near-duplicates by `alseg.query.diversity.likeness` (by file name, to be looked
at), and the largest likeness below the limit; the least likeness of pairs that the data set itself
says to be one photograph (its groups, of the butterflies); and how often an image is found again
after a change.
"""

import argparse
import csv
import io
import json
import sys

import numpy as np
from PIL import Image
from scipy.stats import rankdata

from alseg.images import read_image, thumbnails
from alseg.query.diversity import ALIKE, likeness
from benchmarks.core.data import find_data
from benchmarks.core.results import RESULTS, write_record

SETS = {"glas": False, "ebhi_seg": False, "isic2017": False, "leeds_butterfly": True}
"""Whether images of one group are one photograph (else a patient, or nothing)."""

N_IMAGES, N_PAIRS, N_CHANGED = 900, 3000, 60


def changes(image):
    """The same image, seen in other ways."""
    x = image.astype(float) / 255

    def clipped(y):
        return (np.clip(y, 0, 1) * 255).astype(np.uint8)

    found = {f"gain {gain}": clipped(gain * x) for gain in (0.6, 0.8, 1.25, 1.5)}
    found |= {f"gamma {gamma}": clipped(x**gamma) for gamma in (0.6, 0.8, 1.25, 1.6)}
    found["contrast 0.6"] = clipped(0.6 * x + 0.4 * x.mean())
    found["noise 0.03"] = clipped(x + np.random.default_rng(0).normal(0, 0.03, x.shape))
    held = io.BytesIO()
    Image.fromarray(image).save(held, "JPEG", quality=30)
    found["JPEG 30"] = np.asarray(Image.open(held).convert("RGB"))
    half = (image.shape[1] // 2, image.shape[0] // 2)
    found["half the size"] = np.asarray(Image.fromarray(image).resize(half, Image.BILINEAR))
    h, w = image.shape[:2]
    found["2 % cut off"] = image[int(0.02 * h) :, int(0.02 * w) :]
    return found


def likeness_within(name, groups_are_one):
    root = find_data(name)
    with open(root / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rng = np.random.default_rng(0)
    if len(rows) > N_IMAGES:
        rows = [rows[i] for i in np.sort(rng.choice(len(rows), N_IMAGES, replace=False))]
    paths = [str(root / row["image"]) for row in rows]
    small = thumbnails(paths)
    ranks = np.array([rankdata(one) for one in small.reshape(len(small), -1)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    ranks /= np.maximum(np.linalg.norm(ranks, axis=1, keepdims=True), 1e-9)
    above = np.triu_indices(len(rows), 1)
    nearest = np.argsort(-(ranks @ ranks.T)[above], kind="stable")[:N_PAIRS]
    groups = [row.get("group", i) if groups_are_one else i for i, row in enumerate(rows)]
    other, one, found = [], [], []
    for i, j in zip(above[0][nearest], above[1][nearest]):
        value = likeness(small[i], small[j])
        if groups[i] == groups[j]:
            one.append(value)
        elif value < ALIKE:
            other.append(value)
        else:
            found.append([rows[i]["image"], rows[j]["image"], round(value, 3)])
    again = {}
    for i in rng.permutation(len(rows))[:N_CHANGED]:
        image = read_image(paths[i])
        image = image if image.dtype == np.uint8 else (255 * image).astype(np.uint8)
        for change, changed in changes(image).items():
            again.setdefault(change, []).append(likeness(small[i], thumbnails([changed])[0]))
    return {
        "data": name,
        "images": len(rows),
        "pairs": len(above[0]),
        "near_duplicates": found,
        "most_alike_of_others": round(max(other), 3),
        "known_pairs": len(one),
        "least_alike_of_known": round(min(one), 3) if one else None,
        "found_again": {
            k: round(float(np.mean(np.array(v) >= ALIKE)), 3) for k, v in again.items()
        },
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=list(SETS), choices=list(SETS))
    arguments = parser.parse_args(argv)
    rows = []
    for name in arguments.data:
        rows.append(likeness_within(name, SETS[name]))
        print(json.dumps(rows[-1]), flush=True)
    if set(arguments.data) == set(SETS):
        write_record(RESULTS / "duplicates.json", rows, limit=ALIKE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
