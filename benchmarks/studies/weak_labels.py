"""What class labels alone tell about where things are: CAMs without a single mask.

    python -m benchmarks.studies.weak_labels  # all data sets that are there, about 40 minutes
    python -m benchmarks.studies.weak_labels --only glands glands-stroma

For each data set and seed: train on class labels, and compare the CAM's pixel average precision on
held-out images with three maps that know no label: a constant one (the share of foreground pixels),
nearness to the centre of the image and, for histology, a stain. The mean IoU of the thresholded CAM
stands beside that of an all-ones mask and of a stain threshold. Where the class is the object
(butterflies, the synthetic glands) the CAM should find it. In GlaS every image has glands and the
class sits in the whole tissue; every ISIC image shows one lesion, and the class says which kind.

Rows that the record holds are not measured again: a killed run goes on where it was.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from alseg import Augmentation, JointCAMSegmenter, Network
from alseg.datasets import load_folder, load_glas, make_glands
from alseg.metrics import mean_iou_per_image, pixel_average_precision
from alseg.segmenter import haematoxylin, haematoxylin_masks
from benchmarks.core.data import find_data
from benchmarks.core.results import BATCHES, RESULTS, write_record
from benchmarks.core.tables import head, line, spread


def glands(seed, texture="glands"):
    train = make_glands(120, texture=texture, random_state=seed)
    test = make_glands(60, texture=texture, random_state=1000 + seed)
    return train, test, {"encoder": "tiny", "max_epochs": 20}


def glas(seed):
    data = load_glas(find_data("glas"), fold=0)
    return data.train, data.test, pretrained((128, 192), 200)


def leeds(seed):
    data = load_folder(find_data("leeds_butterfly"))
    options = pretrained((160, 208), 250) | {"augmentation": Augmentation(flips="horizontal")}
    return data.train, data.test, options


def isic(seed):
    data = load_folder(find_data("isic2017"))
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(data.train.labels))[:800])
    options = pretrained((160, 160), 250) | {"class_weight": "balanced"}
    return data.train.take(some), data.val, options


def pretrained(image_size, n_steps):
    return {
        "encoder": "mobilenet_v2",
        "encoder_weights": str(find_data("weights") / "mobilenet_v2_imagenet.safetensors"),
        "image_size": image_size,
        "max_epochs": 1,
        "steps_per_epoch": n_steps,
    }


DATA = {
    "glands": glands,
    "glands-stroma": lambda seed: glands(seed, texture="stroma"),
    "glas": glas,
    "leeds_butterfly": leeds,
    "isic2017": isic,
}
HISTOLOGY = ("glands", "glands-stroma", "glas")


def scores_of_labels_alone(name, seed, pooling):
    train, test, options = DATA[name](seed)
    start = time.perf_counter()
    model = JointCAMSegmenter(
        network=Network(pooling=pooling), random_state=seed, device="cpu", **BATCHES, **options
    )
    model.fit(train.images, train.labels)
    seconds = time.perf_counter() - start
    masks = [test.masks[i] for i in range(len(test.labels))]
    joint = model.predict_joint(test.images)
    foreground = [proba[1] for proba in joint.mask_proba]
    known = [(m, f) for m, f in zip(masks, foreground) if m is not None and (m == 1).any()]
    truth, scores = [m for m, _ in known], [f for _, f in known]
    ones = [np.ones(m.shape, np.int16) for m in masks]
    row = {
        "data": name,
        "seed": seed,
        "pooling": pooling,
        "n_train": len(train.labels),
        "n_test": len(masks),
        "n_steps": model.n_steps_,
        "class_accuracy": float((joint.labels == np.asarray(test.labels)).mean()),
        "prevalence": float(np.mean([(m == 1).mean() for m in truth])),
        "pixel_ap": pixel_average_precision(scores, truth, per_image=True),
        "pixel_ap_pooled": pixel_average_precision(scores, truth),
        "mean_iou": float(np.nanmean(mean_iou_per_image(list(joint.masks), masks))),
        "mean_iou_all_ones": float(np.nanmean(mean_iou_per_image(ones, masks))),
        "seconds": {"fit": seconds},
    }
    row["pixel_ap"] = float(np.nanmean(row["pixel_ap"]))
    row["pixel_ap_centre"] = centre_ap(truth)
    if name in HISTOLOGY:
        images = [test.images[i] for i in range(len(masks))]
        stain = haematoxylin_masks(images)
        row["mean_iou_stain"] = float(np.nanmean(mean_iou_per_image(list(stain), masks)))
        stain_ap = pixel_average_precision([haematoxylin(i) for i in images], masks, per_image=True)
        row["pixel_ap_stain"] = float(np.nanmean(stain_ap))
    return row


def centre_ap(masks):
    """Average precision of nearness to the image's centre: photographers aim."""
    maps = []
    for mask in masks:
        y, x = (np.linspace(-1, 1, n) for n in mask.shape)
        maps.append(-(y[:, None] ** 2 + x**2))
    return float(np.nanmean(pixel_average_precision(maps, masks, per_image=True)))


COLUMNS = ("prevalence", "pixel_ap_centre", "pixel_ap_stain", "pixel_ap", "pixel_ap_pooled")
COLUMNS += ("mean_iou", "mean_iou_stain", "mean_iou_all_ones", "class_accuracy")


def table(rows):
    lines = head(["data", "pooling", "seeds", *COLUMNS])
    groups = {}
    for row in rows:
        groups.setdefault((row["data"], row["pooling"]), []).append(row)
    for (name, pooling), group in groups.items():
        cells = []
        for column in COLUMNS:
            values = [r[column] for r in group if column in r]
            cells.append(spread(values, 1, 3, none=""))
        lines.append(line([name, pooling, len(group), *cells]))
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=sorted(DATA), default=list(DATA))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--poolings", nargs="+", default=["average"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "weak_labels.json")
    parser.add_argument("--again", action="store_true", help="measure rows anew that are there")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    rows = read_rows(arguments.out)
    for name in arguments.only:
        needed = () if name.startswith("glands") else (name, "weights")
        absent = [folder for folder in needed if find_data(folder) is None]
        if absent:
            print(f"skipped {name}: set ALSEG_DATA to the folder that holds {' and '.join(absent)}")
            continue
        for pooling in arguments.poolings:
            for seed in arguments.seeds:
                key = (name, pooling, seed)
                if key in rows and not arguments.again:
                    continue
                rows[key] = scores_of_labels_alone(name, seed, pooling)
                print(json.dumps(rows[key]), flush=True)
                write(arguments.out, rows)
    write(arguments.out, rows)
    print(table(rows.values()))


def read_rows(path):
    """Rows of an earlier run by data, pooling and seed: they are not measured again."""
    if not path.exists():
        return {}
    rows = json.loads(path.read_text("utf-8"))["rows"]
    return {(row["data"], row["pooling"], row["seed"]): row for row in rows}


def write(path, rows):
    """The record and its table, after each fit, so that a killed run goes on where it was."""
    order = list(DATA)
    rows = [rows[key] for key in sorted(rows, key=lambda key: (order.index(key[0]), *key[1:]))]
    write_record(path, rows, command="python -m benchmarks.studies.weak_labels")
    path.with_suffix(".md").write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
