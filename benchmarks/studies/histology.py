"""Whether a network of stained tissue, kept as it is, adds to one of ImageNet, from few masks.

    pip install --no-deps lavlab-shell==0.9.1; pip install onnx onnxruntime
    python -m benchmarks.studies.histology               # some half CPU hour, resumable
    python -m benchmarks.studies.histology --table-only

The wheel ``lavlab-shell`` (MIT; its training data are not stated) brings a SegResNet of 1.6 M
parameters that was trained on prostates: logits of what is inside and outside of glands, and of
neither, at 1 micron a pixel. It sees eosin, haematoxylin and optical density, each from its 1st to
its 99th percentile, taken apart by Macenko's method as `monai` computes it. Its weights are read
into MONAI's network of that name, and must give what the wheel's own file gives, to 1e-3.

First without a mask: its glands on GlaS' 85 training images, at 1 micron a pixel and at the 1.7 of
192 x 288, against a mask that is full. Then as features: a mask decoder on kept maps of encoders
that are not trained ("alseg-fast", 60 steps at 192 x 288, 8 masks, class-balanced at random), of
EfficientNet-Lite0, of the SegResNet's last 64 channels at stride 4 beside them, of as many of the
same network with the weights that it is made with (the control: more channels, and stains taken
apart), and of these 64 alone. GlaS' training images in five folds that tear no patient apart, two
sets of masks each; test images are not opened. Sets of a fold are averaged: a pair is a fold.
"""

import argparse
import functools
import importlib.util
import itertools
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate, pad

from alseg import JointCAMSegmenter
from alseg.datasets import class_folds
from alseg.experiment import environment
from alseg.experiment.statistics import paired_t
from alseg.files import write_text
from alseg.metrics import dice_per_image
from alseg.network import build_encoder
from alseg.query import class_balanced_top_n
from benchmarks.core.data import find_data
from benchmarks.core.results import RESULTS, records_so_far
from benchmarks.core.runner import run_missing
from benchmarks.core.tables import head, line
from benchmarks.studies.objects import read

CANVAS, STEPS, N_MASKS, N_FOLDS, N_SETS = (192, 288), 60, 8, 5, 2
# Micron a pixel: of the images, of the canvas, and what it was trained on.
OF_IMAGES, OF_CANVAS, TRAINED_ON = 0.62, 0.62 * 522 / CANVAS[0], 1.0
MEAN, STD = 0.5, 0.5  # of the images as the network sees them
FEW = 50  # pixels of tissue that tell nothing of its stains
ROWS = {
    "lite0": "EfficientNet-Lite0",
    "both": "and the SegResNet at stride 4",
    "random": "and the SegResNet as it is before training",
    "tissue": "the SegResNet alone",
}
ALONE = "alone"


# -- the network ----------------------------------------------------------------------------------


def untrained():
    """MONAI's SegResNet of the wheel's size, with random weights, the same each time."""
    from monai.networks.nets import SegResNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SegResNet(2, 16, 3, 3, act="MISH", blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1))


@functools.cache
def tissue_network():
    """It with the wheel's weights, which gives what the wheel's file gives."""
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    package = importlib.util.find_spec("shell")
    path = Path(package.origin).parent / "weights" / "model_v1.onnx"
    network = untrained()
    graph = onnx.load(path).graph
    known = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    state = {name: torch.tensor(known[name]) for name in network.state_dict() if name in known}
    # What is normalised is scaled and shifted by arrays without a name, in the order of the calls.
    unnamed = [
        torch.tensor(known[name]).flatten()
        for node in graph.node
        if node.op_type in ("Mul", "Add")
        for name in node.input
        if name in known and known[name].ndim == 3
    ]
    called = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in network.named_modules()
        if isinstance(module, nn.GroupNorm)
    ]
    image = torch.rand((1, 3, 64, 128), generator=torch.Generator().manual_seed(0))
    network.eval()(image)
    for hook in hooks:
        hook.remove()
    names = [f"{name}.{part}" for name in called for part in ("weight", "bias")]
    state |= dict(zip(names, unnamed, strict=True))
    network.load_state_dict(state)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [expected] = session.run(None, {"input": image.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(network(image).numpy(), expected, atol=1e-3)
    return network.requires_grad_(False)


def stains(image):
    """Eosin, haematoxylin and optical density of an image (H, W, 3) of [0, 255], each in [0, 1]."""
    from monai.apps.pathology.transforms.stain.array import ExtractHEStains

    image = np.asarray(image, dtype=np.float32)
    density = -np.log(np.clip(image + 1, None, 240) / 240).reshape(-1, 3)
    vectors = np.array([[0.65, 0.07], [0.70, 0.99], [0.29, 0.11]])  # as published, without any
    if (density > 0.15).all(axis=1).sum() > FEW:
        vectors = ExtractHEStains()(image)
    vectors = vectors[:, np.argsort(vectors[0] / np.maximum(vectors[2], 1e-6))]  # eosin first
    found = np.column_stack([density @ np.linalg.pinv(vectors).T, density.mean(1)])
    low, high = np.percentile(found, (1, 99), axis=0)
    return np.clip((found - low) / (high - low + 1e-8), 0, 1).reshape(image.shape)


def tissue_input(images, size):
    """Stains of images (N, 3, H, W) in [0, 1], at a size, filled up to multiples of 64."""
    sized = interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
    found = [stains(255 * one.permute(1, 2, 0).numpy()) for one in sized.clamp(0, 1)]
    found = torch.tensor(np.stack(found), dtype=torch.float32).permute(0, 3, 1, 2)
    more = [-side % 64 for side in size]
    return pad(found, (0, more[1], 0, more[0]), mode="reflect")


class TissueEncoder(nn.Module):
    """Frozen maps: of the SegResNet at stride 4, with those of EfficientNet-Lite0 or without."""

    def __init__(self, beside, trained=True):
        super().__init__()
        self.tissue = tissue_network() if trained else untrained().requires_grad_(False)
        self.beside = build_encoder("efficientnet-lite0") if beside else None
        widths = list(self.beside.out_channels) if beside else [8, 64, 32, 32, 32]
        self.strides = list(self.beside.strides) if beside else [2, 4, 8, 16, 32]
        self.at = self.strides.index(4)
        self.out_channels = [n + 64 * (k == self.at and beside) for k, n in enumerate(widths)]

    def forward(self, x):
        with torch.no_grad():
            own = self.maps(x)
        if self.beside is None:  # the decoder wants maps at all strides
            means = own.unflatten(1, (32, 2)).mean(2)
            coarser = [nn.functional.avg_pool2d(means, 2**k) for k in (1, 2, 3)]
            finer = interpolate(own.unflatten(1, (8, 8)).mean(2), scale_factor=2.0)
            return [finer, own, *coarser]
        found = list(self.beside(x))
        found[self.at] = torch.cat([found[self.at], own], dim=1)
        return found

    def maps(self, x):
        """The 64 channels that the SegResNet's own decoder has at stride 4, as large as Lite0's."""
        kept = []
        hook = self.tissue.up_layers[0].register_forward_hook(lambda *found: kept.append(found[-1]))
        self.tissue(tissue_input(x.detach().cpu() * STD + MEAN, x.shape[-2:]))
        hook.remove()
        rows, columns = (side // 4 for side in x.shape[-2:])
        return kept[0][..., :rows, :columns].to(x.device)


# -- without a mask, and from few -----------------------------------------------------------------


def alone(images, ids):
    """Mean Dice of what the network takes for glands, by microns a pixel, and of full masks."""
    truth = [(np.asarray(one) > 0).astype(np.int16) for one in ids]
    found = {"a full mask": [np.ones_like(one) for one in truth]}
    for microns in (TRAINED_ON, OF_CANVAS):
        found[f"SegResNet, {microns:.1f} micron a pixel"] = [glands(i, microns) for i in images]
    return {what: float(np.mean(dice_per_image(masks, truth))) for what, masks in found.items()}


def glands(image, microns):
    """Where it sees the inside or the outside of a gland, and rather than neither."""
    x = torch.tensor(np.asarray(image) / 255, dtype=torch.float32).permute(2, 0, 1)[None]
    size = [round(side * OF_IMAGES / microns) for side in x.shape[-2:]]
    with torch.no_grad():
        logits = tissue_network()(tissue_input(x, size))[..., : size[0], : size[1]]
    inner, outer, neither = interpolate(logits, size=x.shape[-2:], mode="bilinear")[0]
    found = ((inner > 0) & (inner > neither)) | ((outer > 0) & (outer > neither))
    return found.numpy().astype(np.int16)


def run_rows(tasks, folder, cache):
    ((row, fold, chosen),) = tasks
    data, images, ids = read(folder, None)["train"]
    began = time.process_time()
    if row == ALONE:
        scores = alone(images, ids)
    else:
        scores = {"dice": decoded(row, fold, chosen, (data, images, ids), cache)}
    seconds = {"cpu": round(time.process_time() - began, 1)}
    record = {"row": row, "fold": fold, "set": chosen, "scores": scores, "seconds": seconds}
    return [{**record, "environment": environment("cpu")}]


def encoder_of(row):
    if row == "lite0":
        return "efficientnet-lite0"
    return TissueEncoder(beside=row != "tissue", trained=row != "random")


def decoded(row, fold, chosen, part, cache):
    """Dice on a fold's images of a decoder that learned from 8 masks of the others."""
    data, images, ids = part
    held = class_folds(data.labels, fold, data.groups, N_FOLDS)
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    zeros, seed = np.zeros(len(train)), N_FOLDS * chosen + fold
    given = train[class_balanced_top_n(zeros, data.labels[train], N_MASKS, random_state=seed)]
    truth = [(np.asarray(one) > 0).astype(np.int16) for one in ids]
    model = JointCAMSegmenter.from_preset(
        "alseg-fast",
        encoder=encoder_of(row),
        network__normalize=(MEAN, STD),
        network__pooling=None,
        image_size=CANVAS,
        max_epochs=1,
        steps_per_epoch=STEPS,
        feature_cache=Path(cache) / row,
        random_state=seed,
        device="cpu",
    )
    model.fit([images[i] for i in given], data.labels[given], [truth[i] for i in given])
    found = model.predict_masks([images[i] for i in test])
    return float(np.nanmean(dice_per_image(list(found), [truth[i] for i in test])))


# -- the table ------------------------------------------------------------------------------------


def of_folds(records, row):
    """Dice of each fold in per cent, the mean of its sets of masks."""
    found = {}
    for record in records:
        if record["row"] == row:
            found.setdefault(record["fold"], []).append(100 * record["scores"]["dice"])
    return {fold: float(np.mean(dice)) for fold, dice in found.items()}


def table(records):
    lines = []
    for record in records:
        if record["row"] == ALONE:
            lines = head(["GlaS' 85 training images, no mask", "Dice"])
            lines += [line([name, f"{100 * x:.1f}"]) for name, x in record["scores"].items()]
            lines.append("")
    lines += head(["frozen maps, 8 masks", "folds x sets", "Dice", "gain", "95 % interval"])
    control = of_folds(records, "lite0")
    for row, what in ROWS.items():
        mine = of_folds(records, row)
        if mine:
            n = sum(record["row"] == row for record in records)
            cells = [what, f"{len(mine)} x {n // len(mine)}", f"{np.mean(list(mine.values())):.1f}"]
            pairs = [mine[fold] - control[fold] for fold in mine.keys() & control]
            if row != "lite0" and len(pairs) > 1:
                test = paired_t(pairs)
                low, high = test.interval
                cells += [f"{test.mean:+.1f}", f"{low:+.1f} to {high:+.1f}"]
            lines.append(line([*cells, *[""] * (5 - len(cells))]))
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=[ALONE, *ROWS], default=[ALONE, *ROWS])
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(N_FOLDS)))
    parser.add_argument("--out", type=Path, default=RESULTS / "histology")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args(argv)
    folder = find_data("glas")
    if folder is None:
        print("skipped: set ALSEG_DATA to the folder that holds glas/")
        return 0
    if not arguments.table_only:
        torch.set_num_threads(1)
        asked = itertools.product(range(N_SETS), arguments.folds, arguments.only)
        work = [(row, fold, chosen) for chosen, fold, row in asked]
        work = [task for task in work if task[0] != ALONE or task[1:] == (0, 0)]
        config = {"canvas": CANVAS, "steps": STEPS, "masks": N_MASKS, "folds": N_FOLDS}
        with tempfile.TemporaryDirectory() as cache:
            run = functools.partial(run_rows, folder=folder, cache=cache)
            key_of = lambda r: (r["row"], r["fold"], r["set"])  # noqa: E731
            run_missing(arguments.out, config, work, key_of, run, title="histology")
    text = table(records_so_far(arguments.out))
    print(text)
    write_text(arguments.out / "table.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
