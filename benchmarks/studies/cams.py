"""Class activation maps side by side on GlaS: what the class of an image tells about its glands.

    python -m benchmarks.studies.cams --dry-run  # the plan: rows, fits, estimated CPU minutes
    python -m benchmarks.studies.cams            # all rows; resumable, one line a row and seed
    python -m benchmarks.studies.cams --table-only

The 67 training images of fold 0 with their classes, benign or malignant, and no mask. Each pooling
has a network of its own, with the same ImageNet weights, steps, image size and random numbers.
Grad-CAM, Grad-CAM++, LayerCAM and Score-CAM explain the network with average pooling. The first
three look at what its class head sees, where Grad-CAM is by definition the CAM without bias and
negative values. Score-CAM needs a pass for each channel, and gets the 96 channels of stride 16.

The map is that of the true class, as in the published evaluation; who has no label of a test image
must take the predicted one. It is brought to the size of the mask and scaled to [0, 1].
Masks come from it in three ways: by the threshold with the best mean IoU on the 18 validation
images (published for decoders, and a use of 18 masks), by 0.5, and, where there is a map for each
class, where that of the true class is the largest (published for CAMs). The test images choose
nothing. All-ones, random maps and a stain, which know no class, go through the same.

The four come from torchcam (`pip install -r benchmarks/requirements-peers.txt`), which imports
without torchvision; grad-cam requires torchvision, and captum has Grad-CAM alone of the four.
Without torchcam their rows are left out.
"""

import argparse
import functools
import importlib.metadata
import importlib.util
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from alseg import JointCAMSegmenter, Network
from alseg.datasets import load_glas
from alseg.experiment import environment, read_records
from alseg.experiment.statistics import bootstrap_groups_seeds
from alseg.files import write_text
from alseg.images import as_images
from alseg.metrics import best_threshold, dice_per_image, pixel_average_precision
from alseg.network import evaluating
from alseg.segmenter import haematoxylin, pool_batches, saliency
from benchmarks.core.data import decoded, find_weights, found_all, weights_name
from benchmarks.core.results import BATCHES, RESULTS
from benchmarks.core.runner import run_missing
from benchmarks.core.tables import head, line, spread

SECONDS_A_STEP = 0.17  # CPU seconds, measured: MobileNetV2, 12 images of 96 x 144, one thread
SECONDS_A_PASS = 0.006  # of one such image
SECONDS_A_ROW = 7.0  # maps of 98 images, and scoring them
MEASURED_AREA = 96 * 144
N_EXPLAINED = 98  # validation and test images
SCORE_LAYER = {"mobilenet_v2": "network.encoder.features.13"}  # 96 maps of stride 16


@dataclass(frozen=True)
class MapSource:
    """One kind of map.

    pooling : of the network that it belongs to; None has no network
    explainer : its class in torchcam.methods, or None for the network's own class maps
    seeded : whether seeds differ
    published : classification error, Dice of foreground and of background on the GlaS test images,
        in %, of Belharbi et al., TMI 2022 (doc/tabglas.png of the repository
        deep-wsl-histo-min-max-uncertainty)
    """

    what: str
    pooling: str | None = None
    explainer: str | None = None
    seeded: bool = True
    published: tuple = (None, None, None)


ROWS = {
    "all-ones": MapSource("all-ones mask", seeded=False, published=(None, 66.01, 0.00)),
    "random-pixels": MapSource("random pixels"),
    "random-map": MapSource("random map, as coarse as a CAM"),
    "stain": MapSource("haematoxylin", seeded=False),
    "average": MapSource("CAM, average pooling", "average", published=(0.00, 66.90, 17.88)),
    "grad-cam": MapSource("Grad-CAM", "average", "GradCAM", published=(0.00, 66.30, 21.30)),
    "grad-cam++": MapSource("Grad-CAM++", "average", "GradCAMpp"),
    "layer-cam": MapSource("LayerCAM", "average", "LayerCAM"),
    "score-cam": MapSource("Score-CAM", "average", "ScoreCAM"),
    "max": MapSource("CAM, max", "max", published=(1.25, 66.00, 26.32)),
    "lse": MapSource("CAM, LSE", "lse", published=(1.25, 66.05, 27.93)),
    "wildcat": MapSource("CAM, WILDCAT", "wildcat", published=(1.25, 67.21, 22.96)),
    "attention": MapSource(
        "CAM, attention (Deep MIL)", "attention", published=(2.50, 68.52, 41.34)
    ),
}

CONTROLS = ("all-ones", "random-map")


# -- maps ------------------------------------------------------------------------------------


def fit(train, options, pooling, seed):
    """A network from class labels alone, and the CPU seconds that it took."""
    began = time.process_time()
    model = JointCAMSegmenter(
        encoder=options["encoder"],
        encoder_weights=options["encoder_weights"],
        network=Network(pooling=pooling),
        image_size=tuple(options["image_size"]),
        max_epochs=1,
        steps_per_epoch=options["steps"],
        random_state=seed,
        device=options["device"],
        **BATCHES,
    ).fit(train.images, train.labels)
    return model, time.process_time() - began


class Classifier(nn.Module):
    """The class logits alone of a `JointCAMNetwork`, of images that are already normalised.

    Score-CAM multiplies its input by masks, in its authors' code too after normalisation: what is
    masked is then of mean colour, which histology has, and not black, which it has not.
    """

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        x = x * self.network.std + self.network.mean
        return self.network.classify(self.network.encode(x), x.shape[2:])[0]


def normalised(network, x):
    """Images as `Classifier` takes them, padded as `encode` pads: a map then covers all of them."""
    h, w = x.shape[2:]
    stride = network.max_stride
    x = F.pad(x, (0, -w % stride, 0, -h % stride), mode="replicate")
    return (x - network.mean) / network.std


def explained(model, explainer, images, classes, layer=None):
    """Maps of torchcam for one class an image.

    Parameters
    ----------
    model : JointCAMSegmenter
    explainer : str
        A class of torchcam.methods.
    images : images
    classes : ndarray of shape (n,), int
        Positions in ``model.classes_``.
    layer : str or None
        Name of the layer in `Classifier` that is looked at; None is what the class head sees.

    Returns
    -------
    list of n tensors of shape (h, w)
        Neither scaled nor resized.
    """
    from torchcam import methods

    network, maps = model.module_, []
    stride = network.strides[network.cam_level]
    with evaluating(network):
        classifier = Classifier(network)
        # In evaluation the head's dropout hands on what it gets.
        target = network.class_head.dropout if layer is None else layer
        with getattr(methods, explainer)(classifier, target_layer=target) as extractor:
            layout = torch.contiguous_format
            pool = as_images(images)
            for positions, x in pool_batches(pool, model.canvas_, 16, model.device_, layout):
                scores = classifier(normalised(network, x))
                wanted = [int(c) for c in np.asarray(classes)[list(positions)]]
                (cam,) = extractor(wanted, scores, normalized=False)
                maps += network.crop_maps(cam[:, None], x.shape[2:], stride)[:, 0].detach().cpu()
    return maps


def true_class(model, part):
    """Position of each image's label in ``model.classes_``."""
    return np.searchsorted(model.classes_, np.asarray(part.labels))


def scaled(maps, part):
    """Maps (h, w) to arrays (H, W) in [0, 1] of the size of their images."""
    sizes = [np.shape(mask) for mask in part.masks]
    return [saliency(one[None], size)[0].numpy() for one, size in zip(maps, sizes, strict=True)]


def largest(cams, classes, part):
    """The published mask of a CAM: where the map of the true class is the largest of all."""
    masks = []
    for cam, k, mask in zip(cams, classes, part.masks, strict=True):
        cam = torch.as_tensor(cam)[None].float()
        cam = F.interpolate(cam, size=np.shape(mask), mode="bilinear", align_corners=False)[0]
        masks.append((cam.argmax(0) == int(k)).numpy().astype(np.int16))
    return masks


def unlearned(name, parts, options, seed):
    """Maps (H, W) of the rows without a network, of each part."""
    rng, maps = np.random.default_rng(seed), {}
    coarse = tuple(-(-n // 16) for n in options["image_size"])
    for key, part in parts.items():
        sizes = [np.shape(mask) for mask in part.masks]
        if name == "all-ones":
            maps[key] = [np.ones(size, np.float32) for size in sizes]
        elif name == "random-pixels":
            maps[key] = [rng.random(size, dtype=np.float32) for size in sizes]
        elif name == "random-map":
            noise = [torch.from_numpy(rng.random(coarse, dtype=np.float32)) for _ in sizes]
            maps[key] = scaled(noise, part)
        else:
            density = [torch.from_numpy(haematoxylin(image)) for image in part.images]
            maps[key] = scaled(density, part)
    return maps


# -- scores ----------------------------------------------------------------------------------


def both_dice(masks, truth):
    """Mean Dice of the foreground and of the background."""
    return {
        name: float(np.nanmean(dice_per_image(masks, truth, label=label)))
        for name, label in (("foreground", 1), ("background", 0))
    }


def scores(maps, parts):
    """What maps (H, W) in [0, 1] of the validation and the test images are worth."""
    pairs = (np.stack([1 - one, one]) for one in maps["valid"])
    threshold, truth = best_threshold(pairs, parts["valid"].masks), list(parts["test"].masks)
    precision = pixel_average_precision(maps["test"], truth, per_image=True)
    return {
        "threshold": threshold,
        "dice": {
            name: both_dice([(one >= t).astype(np.int16) for one in maps["test"]], truth)
            for name, t in (("validation", threshold), ("half", 0.5))
        },
        "pixel_ap": float(np.nanmean(precision)),
        "pixel_ap_per_image": np.round(precision, 5),
        "n_constant": sum(bool(np.ptp(one) == 0) for one in maps["test"]),
    }


def scores_of_row(name, parts, options, seed, network):
    """The record of one row and seed; `network` gives (model, seconds) of a pooling and a seed."""
    row, test = ROWS[name], parts["test"]
    if row.pooling is None:
        began = time.process_time()
        maps = unlearned(name, parts, options, seed)
        record = {"class_error": None, "seconds": {"maps": time.process_time() - began}}
    else:
        model, seconds = network(row.pooling, seed)
        began, maps, more = time.process_time(), {}, {}
        for key in ("valid", "test"):
            classes = true_class(model, parts[key])
            if row.explainer:
                layer = SCORE_LAYER.get(options["encoder"]) if name == "score-cam" else None
                raw = explained(model, row.explainer, parts[key].images, classes, layer)
            else:
                cams = model.predict_cams(parts[key].images)
                raw = [torch.from_numpy(cam[k]) for cam, k in zip(cams, classes)]
                more = {"argmax": both_dice(largest(cams, classes, parts[key]), parts[key].masks)}
            maps[key] = scaled(raw, parts[key])
        seconds = {"fit": seconds, "maps": time.process_time() - began}
        wrong = model.predict(test.images) != np.asarray(test.labels)
        record = {"class_error": float(wrong.mean()), "seconds": seconds}
    began = time.process_time()
    record |= scores(maps, parts)
    record["seconds"]["scores"] = time.process_time() - began
    if row.pooling and not row.explainer:
        record["dice"] |= more  # of the test images, which came last
    return {"row": name, "seed": seed, "ids": test.ids, "groups": test.groups, **record}


# -- the plan --------------------------------------------------------------------------------


def chosen_rows(only):
    """The rows to run, and the controls that they are compared with, in the order of `ROWS`."""
    return [name for name in ROWS if only is None or name in {*only, *CONTROLS}]


def tasks(options, rows):
    """(seed, row): the rows of a network in one piece, since they share its fit."""
    return [
        (seed, name)
        for seed in options["seeds"]
        for name in rows
        if ROWS[name].seeded or seed == options["seeds"][0]
    ]


def minutes(options, work):
    """Estimated CPU minutes: steps, passes of Score-CAM, and scores."""
    area = np.prod(options["image_size"]) / MEASURED_AREA
    fits = {(seed, ROWS[name].pooling) for seed, name in work if ROWS[name].pooling}
    passes = 96 * N_EXPLAINED * sum(name == "score-cam" for _, name in work)
    steps = options["steps"] * len(fits)
    seconds = area * (steps * SECONDS_A_STEP + passes * SECONDS_A_PASS)
    return (seconds + SECONDS_A_ROW * len(work)) / 60


def run_all(options, rows, parts, out):
    """Measure what is not on disk yet; `parts` holds train, valid and test."""
    torch.set_num_threads(1)
    absent = [name for name in rows if ROWS[name].explainer]
    if absent and importlib.util.find_spec("torchcam") is None:
        rows = [name for name in rows if name not in absent]
        print(
            f"skipped {', '.join(absent)}: no torchcam;"
            " pip install -r benchmarks/requirements-peers.txt"
        )
    config = {key: options[key] for key in ("encoder", "image_size", "steps")}
    config["encoder_weights"] = weights_name(options["encoder_weights"])
    held = {key: decoded(parts[key]) for key in ("valid", "test")}
    train, machine = decoded(parts["train"]), environment(options["device"])
    if any(ROWS[name].explainer for name in rows):
        machine["torchcam"] = importlib.metadata.version("torchcam")

    @functools.lru_cache(maxsize=1)
    def network(pooling, seed):
        return fit(train, options, pooling, seed)

    def record_of(tasks):
        ((seed, name),) = tasks
        return [{**scores_of_row(name, held, options, seed, network), "environment": machine}]

    def key_of(record):
        return record["seed"], record["row"]

    run_missing(out, config, tasks(options, rows), key_of, record_of, title="cams", unit="row")


# -- the table -------------------------------------------------------------------------------


def above(own, control):
    """Average precision above that of a control, in points, with patients and seeds drawn anew."""
    a = 100 * np.array([record["pixel_ap_per_image"] for record in own], float)
    found = {record["seed"]: record["pixel_ap_per_image"] for record in control}
    seeds = [record["seed"] for record in own]
    if set(seeds) != set(found):  # a control of one seed stands for all, and the other way round
        found = dict.fromkeys(seeds, np.mean(list(found.values()), axis=0))
    b = 100 * np.array([found[seed] for seed in seeds], float)
    result = bootstrap_groups_seeds(a, b, groups=own[0]["groups"], random_state=0)
    return f"{result.mean:+.1f} [{result.low:+.1f}, {result.high:+.1f}]"


HEAD = ("map", "seeds", "class error", "pixel AP", "above all-ones", "above a random map")
HEAD += ("threshold", "Dice", "background", "Dice at 0.5", "background at 0.5")
HEAD += ("Dice, largest", "background, largest")
HEAD += ("published error", "published Dice", "published background")


def table(records):
    """Markdown: a line a row, in %, mean and standard deviation over seeds."""
    lines = head(HEAD)
    for name, row in ROWS.items():
        own = [record for record in records if record["row"] == name]
        if not own:
            continue
        error = [None if r["class_error"] is None else 100 * r["class_error"] for r in own]
        cells = [row.what, len(own), spread(error, 1, none="")]
        cells.append(spread([r["pixel_ap"] for r in own], none=""))
        for other in CONTROLS:
            control = [record for record in records if record["row"] == other]
            fair = control and other != name and name != "all-ones"
            cells.append(above(own, control) if fair else "")
        cells.append(spread([r["threshold"] for r in own], 1, 2, none=""))
        for way in ("validation", "half", "argmax"):
            for side in ("foreground", "background"):
                values = [r["dice"][way][side] for r in own if way in r["dice"]]
                cells.append(spread(values, none=""))
        cells += ["" if value is None else f"{value:.2f}" for value in row.published]
        lines.append(line(cells))
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--image-size", type=int, nargs=2, default=[96, 144])
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--encoder", default="mobilenet_v2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "cams")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args(argv)
    rows, options = chosen_rows(arguments.only), vars(arguments).copy()
    if arguments.dry_run:
        work = tasks(options, rows)
        for name in rows:
            print(f"{name:14} {ROWS[name].what}")
        n_fits = len({(seed, ROWS[name].pooling) for seed, name in work if ROWS[name].pooling})
        print(f"{len(work)} records, {n_fits} fits, about {minutes(options, work):.0f} CPU minutes")
        return 0
    if not arguments.table_only:
        folders = found_all("glas")
        if folders is None:
            return 0
        (folder,) = folders
        options["encoder_weights"] = find_weights(folder, arguments.encoder)
        run_all(options, rows, load_glas(folder, fold=0), arguments.out)
    text = table(read_records(arguments.out))
    print(text)
    write_text(arguments.out / "table.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
