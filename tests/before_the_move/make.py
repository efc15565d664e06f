"""Makes what stands in this folder: files that alseg has written before its modules moved.

Run from commit b25a5d8, with nothing else in this folder:

    python tests/before_the_move/make.py

`tests/test_before_the_move.py` goes on from all of it, on any processor: images are made of
integers alone, and no number that a fit gives is compared. It calls `shapes`, `validation_set`,
`estimator` and `comparison_arguments` too, which say the same by the names of today. What writes
files, from `cut` on, is kept to be read, and need not run later.
"""

import contextlib
import functools
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
LABELS = ("round", "square")
# `alseg run` and its like are given these; their networks are not kept, which would be large.
TINY = (
    "--encoder",
    "tiny",
    "--max-epochs",
    "1",
    "--steps-per-epoch",
    "1",
    "--image-size",
    "32",
    "32",
    "--device",
    "cpu",
    "--threads",
    "1",
    "--quiet",
)
RUN = (
    "--strategy",
    "bald",
    "--class-balanced",
    "--pseudo-labels",
    "0.5",
    "--initial",
    "4",
    "--n-instances",
    "2",
    "--rounds",
    "2",
    "--no-panels",
    "--train-split",
    "all",
    "--test-split",
    "all",
    *TINY,
)
# Flat arguments, as they were, of a network of a few kilobytes.
SMALL = {
    "module__channels": (2, 4, 4),
    "module__variant": "strided",
    "pooling": "average",
    "image_size": (32, 32),
    "dropout": 0.2,
    "normalize": (0.4, 0.3),
    "flips": "horizontal",
    "affine": (0.1, 10.0),
    "jitter": 0.1,
    "stain": 0.02,
    "test_flips": "horizontal",
    "threshold": "validation",
    "ema": 0.9,
    "consistency": {"weight": 0.5, "threshold": 0.6},
    "class_phase": {"lr": 1e-3, "max_epochs": 1},
    "class_weight": {"round": 2.0, "square": 1.0},
    "lr": 0.01,
    "encoder_lr_scale": 1.0,
    "lr_schedule": ("step", 1, 0.5),
    "max_epochs": 1,
    "refit_epochs": 1,
    "steps_per_epoch": 2,
    "batch_size": 3,
    "weak_batch_size": 1,
    "predict_batch_size": 5,
    "clip_norm": 5.0,
    "criterion__dice_scale": 0.5,
    "criterion__normalize": "batch",
    "optimizer__weight_decay": 0.01,
    "device": "cpu",
}


def shapes(n, first=0):
    """Images, labels and masks of discs and squares, the same on every processor.

    Returns
    -------
    images : ndarray of shape (n, 32, 32, 3), uint8
    labels : ndarray of shape (n,), str
    masks : ndarray of shape (n, 32, 32), int8
    """
    rows, columns = np.mgrid[:32, :32]
    images, labels, masks = [], [], []
    for i in range(first, first + n):
        down, right = np.abs(rows - 10 - 7 * i % 12), np.abs(columns - 10 - 5 * i % 12)
        inside = np.maximum(down, right) < 7 if i % 2 else down**2 + right**2 < 64
        ground = [(3 * rows + 5 * columns + 11 * i + 40 * c) % 60 for c in range(3)]
        images.append(np.stack([g + inside * (110 + 30 * c) for c, g in enumerate(ground)], -1))
        labels.append(LABELS[i % 2])
        masks.append(inside)
    return np.array(images, np.uint8), np.array(labels), np.array(masks, np.int8)


def validation_set():
    """The images that choose a threshold."""
    from alseg import ValidationSet

    return ValidationSet(*shapes(4, 40))


def estimator(**options):
    """The small network."""
    import torch

    from alseg import JointCAMSegmenter
    from alseg.files import nested_names
    from alseg.network import PlainUNet
    from alseg.training import JointLoss

    parts = {"module": PlainUNet, "criterion": JointLoss, "optimizer": torch.optim.Adam}
    flat = {"validation": validation_set(), **SMALL, **options}
    return JointCAMSegmenter(**parts).set_params(**nested_names(flat))


def comparison_arguments():
    """Those of `compare_strategies`, but for `out`."""
    from alseg import Protocol, PseudoLabelAugmenter
    from alseg.comparison import Row
    from alseg.datasets import Dataset
    from alseg.strategies import bald_sampling, entropy_sampling, random_sampling

    images, labels, masks = shapes(16)
    train = Dataset(images[:12], labels[:12], masks[:12], name="shapes")
    test = Dataset(images[12:], labels[12:], masks[12:], name="shapes")
    pseudo = PseudoLabelAugmenter(selection="all", sure=(0.2, 0.8), weight=0.5, refit="once")
    return {
        "estimator": estimator(),
        "strategies": {
            "random": random_sampling,
            "bald": functools.partial(bald_sampling, n_draws=3),
            "pseudo": Row(entropy_sampling, pseudo),
        },
        "data": (train, test),
        "protocol": Protocol(
            initial=4, n_instances=2, rounds=2, references=("all-ones",), controls=()
        ),
        "seeds": (0, 1),
        "verbose": 0,
    }


def write_slides(folder, masks=True):
    """Ten images in a folder for each class, and their masks."""
    from PIL import Image

    images, labels, known = shapes(10)
    for i, (image, label, mask) in enumerate(zip(images, labels, known)):
        place = folder / "images" / label
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"s{i}.png")
        if masks:
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"s{i}.png")


def cut(folder):
    """Take the last record away, as a kill before it was written would have."""
    for name in ("records.jsonl", "records.jsonl.sha256"):
        lines = (folder / name).read_bytes().splitlines(keepends=True)
        (folder / name).write_bytes(b"".join(lines[:-1]))


def make_models():
    """A segmenter, an ensemble, and learners: one fitted, one not."""
    from alseg import ActiveLearner, JointCAMSegmenter, PseudoLabelAugmenter
    from alseg.learner import DeepEnsemble
    from alseg.strategies import class_balanced, entropy_score, region_sampling

    images, labels, masks = shapes(10)
    known = [*masks[:4], *[None] * 6]
    model = estimator(random_state=3).fit(images, labels, masks=known)
    model.save(HERE / "segmenter")
    parts = {"module": "PlainUNet", "criterion": "JointLoss", "optimizer": "Adam"}
    told = {**SMALL, **parts, "random_state": 3}
    (HERE / "segmenter.json").write_text(json.dumps(told, indent=1) + "\n")
    few = {"validation": None, "threshold": 0.4}
    ensemble = DeepEnsemble(estimator(**few), 2, random_state=0)
    ensemble.fit(images, labels, masks=known).save(HERE / "ensemble")
    augmenter = PseudoLabelAugmenter(selection="all", sure=(0.2, 0.8), weight=0.5, refit="continue")
    given = {"images": images, "labels": labels, "random_state": 5}
    learner = ActiveLearner(
        estimator(), class_balanced(entropy_score), masks=known, augmenter=augmenter, **given
    )
    learner.fit().save(HERE / "learner")
    start = JointCAMSegmenter(
        encoder="tiny",
        image_size=(32, 32),
        max_epochs=1,
        steps_per_epoch=1,
        jitter=0.1,
        criterion__dice_scale=0.5,
    )
    asks = functools.partial(region_sampling, score=entropy_score, size=16)
    ActiveLearner(start, asks, **given).save(HERE / "learner_not_fitted")


def make_comparison():
    """Of three rows and two seeds: one cut short, one killed between two models, one not begun."""
    from alseg import compare_strategies
    from alseg.experiment import Records

    append, out = Records.append, HERE / "comparison"

    def killed(records, record):
        if record["strategy"] == "pseudo" and record["round"] == 2:
            raise KeyboardInterrupt
        append(records, record)

    Records.append = killed
    try:
        with contextlib.suppress(KeyboardInterrupt):
            compare_strategies(**comparison_arguments(), out=out)
    finally:
        Records.append = append
    cut(out / "rows" / "bald" / "1")


def make_run_and_state():
    """`alseg run` without its last round, and a state folder whose first question is answered."""
    from alseg.cli import main
    from alseg.project import add, open_project

    write_slides(HERE / "slides")
    # Elsewhere: a state folder keeps where its images lay, which is gone when it is gone on with.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        shutil.copytree(HERE / "slides", "slides")
        main(["run", "--data", "slides", "--out", "run", *RUN])
        cut(Path("run"))
        write_slides(Path("unmarked"), masks=False)
        main(["query", "--data", "unmarked", "--out", "state", "-n", "4", *TINY])
        with open_project("state") as project:
            for name in project.state["rounds"][0]["ids"]:
                Path("drawn").mkdir(exist_ok=True)
                shutil.copy(Path("slides", "masks", f"{name}.png"), "drawn")
            add(project, Path("drawn"))
        for name in ("run", "state"):
            shutil.move(name, HERE / name)


if __name__ == "__main__":
    make_models()
    make_comparison()
    make_run_and_state()
    # Empty, and large.
    for left_over in [*HERE.rglob(".lock"), *HERE.rglob("index.html")]:
        left_over.unlink()
