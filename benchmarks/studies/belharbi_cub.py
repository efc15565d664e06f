"""Belharbi et al. 2021 on CUB-200-2011, or its protocol on butterflies, as published and scaled.

    python -m benchmarks.studies.belharbi_cub --dry-run  # what it takes; trains nothing
    python -m benchmarks.studies.belharbi_cub  # butterflies: ten minutes on 2 cores
    python -m benchmarks.studies.belharbi_cub --profile gpu --minutes 9  # CUB, in slices
    python -m benchmarks.studies.belharbi_cub --profile paper            # CUB: 20 rounds, 5 seeds
    python -m benchmarks.studies.belharbi_cub --only-report

The profiles paper and gpu want CUB-200-2011 with its segmentations. The profile cpu takes the Leeds
butterflies: ten species instead of 200, photographs with one mask each, the same questions (one
image of each class a round). Its numbers are those of butterflies and are called so; the published
ones stand beside them to show the size of the effect, not to be matched. Rows, classifier and
validation are as in belharbi_glas.py.
"""

import sys

from alseg.datasets import load_cub, load_folder
from benchmarks.core.parts import Wanted
from benchmarks.core.run_study import main
from benchmarks.core.study import Study
from benchmarks.studies.belharbi_glas import (
    LONGER,
    NOTES,
    PAIRS,
    build,
    make_classifier,
    paper_profile,
    published_rows,
)

PAPER = {
    **paper_profile("belharbi2021-cub"),
    "folder": "CUB_200_2011",
    "data_name": "cub",
    "fold": 0,
    "initial": 200,
    "n_instances": 200,
    "rounds": 19,
    "lambda": 0.001,
}
PROFILES = {
    "paper": PAPER,
    "cpu": {
        **PAPER,
        "folder": "leeds_butterfly",
        "shrink": 0.5,
        "crop": {"size": 73, "scale": 0.9, "min_side": 74, "pad": 0.01},
        "limit": 40,
        "valid_limit": 20,
        "test_limit": 60,
        "initial": 10,
        "n_instances": 10,
        "rounds": 1,
        "rows": ("random", "entropy", "label propagation", LONGER),
        "seeds": (0, 1, 2),
        "epochs": 16,
        "class_epochs": 16,
        "batch_size": 5,  # no last batch is smaller: BatchNorm takes its statistics from it
        "n_draws": 10,
        # Pretrained weights that are at hand; a ResNet-18 from random ones learns nothing here.
        "encoder": "mobilenet_v2",
        "device": "cpu",
        "n_jobs": 2,
    },
    "gpu": {
        **PAPER,
        "seeds": (0, 1, 2),
        "rounds": 9,
        "epochs": 10,
        "class_epochs": 30,
        "amp": True,
        "device": "cuda",
    },
}


def is_cub(folder):
    """Whether it is the official folder."""
    return any((place / "images.txt").is_file() for place in (folder, folder / "CUB_200_2011"))


def load(folder, options):
    """CUB as published, or a folder with the parts train, valid (or val) and test."""
    if is_cub(folder):
        return load_cub(folder, fold=options["fold"])
    parts = dict(load_folder(folder))
    if "val" in parts:
        parts["valid"] = parts.pop("val")
    return parts


def wanted(folder, options):
    """The published sizes, unless butterflies (or others) are what is asked for."""
    if options["profile"] == "cpu" and not is_cub(folder):
        return {"train": Wanted(), "valid": Wanted(), "test": Wanted()}
    return {"train": Wanted(4794), "valid": Wanted(1200), "test": Wanted(5794)}


def published(options, window):
    """The numbers of CUB; those of other data cover other masks, and are areas of all rounds."""
    same = options["data_name"] == "cub"
    return published_rows("CUB", window if same else (None, None))


STUDY = Study(
    name="belharbi-cub",
    text=__doc__,
    profiles=PROFILES,
    load=load,
    wanted=wanted,
    build=build,
    classifier=make_classifier,
    published=published,
    notes=NOTES,
    pairs=PAIRS,
    data="CUB",
    windows=((200, 1000), (200, 2000), (200, 4000)),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
