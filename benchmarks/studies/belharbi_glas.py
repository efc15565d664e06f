"""Belharbi et al. 2021 on GlaS, as published and scaled: does label propagation beat random?

    python -m benchmarks.studies.belharbi_glas --dry-run  # what it takes; trains nothing
    python -m benchmarks.studies.belharbi_glas  # an hour on 2 cores, resumable
    python -m benchmarks.studies.belharbi_glas --profile gpu --minutes 9  # a slice; again to go on
    python -m benchmarks.studies.belharbi_glas --profile paper  # 25 rounds, 5 seeds, 1000 epochs
    python -m benchmarks.studies.belharbi_glas --only-report

Fold 0: 67 training, 18 validation and 80 test images. The classifier is trained once, on class
labels alone, and every fit of every row and seed starts from it, the mask head included. The 18
validation masks choose epoch and threshold: they are supervision that no row counts. 79 of the 80
test images share a patient with the official training part. Nothing is chosen on test images.
"""

import functools
import sys

from alseg import JointCAMSegmenter, Protocol, PseudoLabelAugmenter
from alseg.comparison import Row
from alseg.datasets import load_glas
from alseg.segmenter import ValidationSet, alseg_pseudo_labels, preset_params
from alseg.strategies import entropy_sampling, mc_variance_sampling, random_sampling
from alseg.training import n_batches
from benchmarks.core.paper_scores import (
    ALL_ONES,
    AREA_SPREADS,
    CURVES,
    FULL_SUPERVISION,
    MEAN_AREAS,
    N_MASKS,
    WEAK_LABELS_ONLY,
)
from benchmarks.core.parts import Wanted
from benchmarks.core.run_study import CLASSIFIER, main
from benchmarks.core.study import Study
from benchmarks.core.study_results import published_mean, published_of_curve

PUBLISHED_ROWS = {
    "random": "random",
    "entropy": "entropy",
    "MC-dropout": "mc_dropout",
    "label propagation": "label_prop",
}
LONGER = "random, steps of label propagation"
NO_WEIGHT = "label propagation, lambda = 0"
OURS = "pseudo-labels"
PAIRS = (
    ("label propagation", LONGER),
    ("label propagation", NO_WEIGHT),
    (NO_WEIGHT, LONGER),
    (OURS, LONGER),
    (OURS, "label propagation"),
)


def paper_profile(preset):
    """What a preset says, as options of a profile."""
    params = preset_params(preset)
    return {
        "preset": preset,
        "epochs": params["max_epochs"],
        "class_epochs": params["schedule"].class_phase["max_epochs"],
        "lr": params["lr"],
        "batch_size": params["batch_size"],
        "crop": params["crop"],
        "encoder": params["encoder"],
        "encoder_weights": params["encoder_weights"],
        "n_draws": 50,
        "k": 40,
        "seeds": (0, 1, 2, 3, 4),
        "shrink": 1,
        "amp": False,
        "device": "auto",
        "n_jobs": 1,
        "threads": 1,
    }


PAPER = {
    **paper_profile("belharbi2021-glas"),
    "folder": "glas",
    "data_name": "glas",
    "fold": 0,
    "initial": 8,
    "n_instances": 2,
    "rounds": 24,
    "lambda": 0.1,
}
# 68 pixels are little more than the least that its unpadded convolutions take.
CPU = {
    **PAPER,
    "shrink": 0.18,
    "crop": {"size": 76, "scale": 0.9, "min_side": 78, "pad": 0.01},
    "n_instances": 10,
    "rounds": 2,
    "rows": ("random", "entropy", "label propagation", OURS, LONGER, NO_WEIGHT),
    "seeds": (0, 1, 2),
    "epochs": 16,
    "class_epochs": 16,
    "batch_size": 4,
    "lr": 0.05,
    "n_draws": 10,
    "encoder_weights": None,
    "device": "cpu",
    "n_jobs": 2,
}
PROFILES = {
    "paper": PAPER,
    "cpu": CPU,
    # Pretrained weights that are at hand, in a smaller network: with them it learns at this size.
    "cpu-mobilenet": {
        **CPU,
        "encoder": "mobilenet_v2",
        "encoder_weights": "imagenet",
        "n_instances": 20,
        "rounds": 1,
        "rows": ("random", "entropy", "label propagation", OURS, LONGER),
        "epochs": 32,
        "lr": 0.1,
    },
    "gpu": {
        **PAPER,
        "rows": ("random", "entropy", "MC-dropout", "label propagation", OURS),
        "epochs": 100,
        "class_epochs": 100,
        "amp": True,
        "device": "cuda",
    },
}

NOTES = (
    "masks are resized to the nearest pixel, not by Lanczos",
    "of equal thresholds the one nearest to 0.5 is taken",
    "one classifier (seed 0) for the row of weak labels, whose published spread is over five; its "
    "masks are of the predicted class",
    "the released code's defects are off: flips move image and mask, WILDCAT has its smallest "
    "values, entropy and variance are what they are called, a tiny last batch is dropped",
)


def decay_of(n_epochs, published, published_epochs):
    """The published step decay with its steps in proportion to the epochs."""
    kind, every, factor = published
    return kind, max(1, round(every * n_epochs / published_epochs)), factor


def make_model(parts, options, **more):
    """The published network and its training, at the sizes of a profile.

    Parameters
    ----------
    parts : dict of str -> Dataset
    options : dict
    **more
        Parameters that replace these.
    """
    published, valid = preset_params(options["preset"]), parts["valid"]
    return JointCAMSegmenter.from_preset(
        options["preset"],
        **{
            "validation": ValidationSet(valid.images, valid.labels, valid.masks),
            "crop": options["crop"],
            "batch_size": options["batch_size"],
            "max_epochs": options["epochs"],
            "lr": options["lr"],
            "schedule__lr_schedule": decay_of(
                options["epochs"], published["schedule"].lr_schedule, published["max_epochs"]
            ),
            "execution__amp": options["amp"],
            "device": options["device"],
            "encoder": options["encoder"],
            # All weights come from the classifier; without masks it is that, trained no further.
            "encoder_weights": None,
            "schedule__start_from": CLASSIFIER,
            "schedule__class_phase": {"max_epochs": 0},
            **more,
        },
    )


def make_classifier(parts, options):
    """The first of the two phases, on class labels."""
    phase = preset_params(options["preset"])["schedule"].class_phase
    n_epochs = options["class_epochs"]
    schedule = decay_of(n_epochs, phase["lr_schedule"], phase["max_epochs"])
    return make_model(
        parts,
        options,
        schedule__start_from=None,
        encoder_weights=options["encoder_weights"],
        schedule__class_phase={**phase, "lr_schedule": schedule, "max_epochs": n_epochs},
    )


def build(parts, options):
    """Estimator, rows and protocol."""
    n_train = len(parts["train"])
    # A pass of each of two fits over all images; the very first knows the first masks alone.
    rounds, batch = options["rounds"], options["batch_size"]
    all_passes = (2 * rounds + 1) * n_batches(n_train, batch) + n_batches(options["initial"], batch)
    n_steps = round(all_passes / (rounds + 1))
    draws = functools.partial(mc_variance_sampling, n_draws=options["n_draws"])
    two = {"refit": "published"}  # the same fits, so the same steps
    propagate = functools.partial(PseudoLabelAugmenter, k=options["k"], **two)
    rows = {
        "random": Row(random_sampling),
        "entropy": Row(entropy_sampling),
        "MC-dropout": Row(draws, estimator=make_model(parts, options, mc_dropout=True)),
        "label propagation": Row(random_sampling, propagate(weight=options["lambda"])),
        LONGER: Row(random_sampling, estimator=make_model(parts, options, steps_per_epoch=n_steps)),
        OURS: Row(random_sampling, PseudoLabelAugmenter(**{**alseg_pseudo_labels(), **two})),
        # Of weight 0 they would be left out; so they fill the batches and count nothing.
        NO_WEIGHT: Row(random_sampling, propagate(weight=1e-9)),
    }
    protocol = Protocol(
        initial=options["initial"],
        n_instances=options["n_instances"],
        rounds=options["rounds"],
        class_balanced=True,
        n_threads=options["threads"],
        control="random",
        family=("entropy", "MC-dropout", "label propagation", OURS),
        controls=(),
    )
    return make_model(parts, options), rows, protocol


def published_rows(name, window):
    """The published numbers of a data set, by row of ours."""
    found = {
        row: published_of_curve(
            CURVES[name][key],
            N_MASKS[name],
            (MEAN_AREAS[name][key], AREA_SPREADS[name][key]),
            window,
        )
        for row, key in PUBLISHED_ROWS.items()
    }
    found["full supervision"] = published_mean(FULL_SUPERVISION[name])
    found["weak labels only"] = published_mean(WEAK_LABELS_ONLY[name])
    if name in ALL_ONES:
        found["all-ones"] = {"final": f"{ALL_ONES[name]:.2f}"}
    return found


def load(folder, options):
    """The parts of the published fold."""
    return load_glas(folder, fold=options["fold"])


def wanted(folder, options):
    """As published."""
    return {"train": Wanted(67), "valid": Wanted(18), "test": Wanted(80)}


STUDY = Study(
    name="belharbi-glas",
    text=__doc__,
    profiles=PROFILES,
    data="GlaS",
    load=load,
    wanted=wanted,
    build=build,
    classifier=make_classifier,
    published=lambda options, window: published_rows("GlaS", window),
    notes=NOTES,
    pairs=PAIRS,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
