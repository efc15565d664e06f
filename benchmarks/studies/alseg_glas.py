"""Our recipe on GlaS: what do pseudo-labels and questions add to class-balanced random masks?

    python -m benchmarks.studies.alseg_glas --dry-run           # what it takes; trains nothing
    python -m benchmarks.studies.alseg_glas  # about an hour on 2 cores, resumable
    python -m benchmarks.studies.alseg_glas --profile patients  # by patients, five folds
    python -m benchmarks.studies.alseg_glas --only-report

The second half of a factorial whose first half is belharbi_glas.py: the same rows under another
recipe, `from_preset("alseg")`, on the same 67 training and 80 test images of fold 0. No validation
mask is used: fixed steps, last weights, threshold 0.5. Claims are within the recipe alone, and at
equal gradient steps: a row of pseudo-labels is two fits a round, and "random, twice the steps"
takes as many. Controls: pseudo-labels of weight 0, the true masks as pseudo-labels (the most that
pseudo-labels can give), and the images of lowest entropy.

`--profile cpu` freezes the pretrained encoder and keeps its maps on disk (`feature_cache`), so that
a fit costs the decoder alone. `--profile gpu` trains it, at 192 x 288.
"""

import sys

import numpy as np

from alseg import JointCAMSegmenter, Protocol, PseudoLabelAugmenter
from alseg.comparison import Row
from alseg.datasets import load_glas
from alseg.query import top_n
from alseg.segmenter import alseg_pseudo_labels
from alseg.strategies import entropy_sampling, entropy_score, random_sampling
from benchmarks.core.parts import Wanted
from benchmarks.core.results import BATCHES
from benchmarks.core.run_study import main
from benchmarks.core.study import Study
from benchmarks.studies.belharbi_glas import published_rows

CPU = {
    "folder": "glas",
    "data_name": "glas",
    "fold": 0,
    "patients": False,
    "encoder": "mobilenet_v2",
    "encoder_weights": "imagenet",
    "trained": False,  # the encoder
    "image_size": (96, 144),
    "steps": 150,
    "test_flips": "both",
    "initial": 8,
    "n_instances": 10,
    "rounds": 2,
    "k": 40,
    "lambda": 0.1,
    "seeds": tuple(range(10)),
    "references": ("full supervision", "weak labels only", "all-ones"),
    "shrink": 0.5,
    "amp": False,
    "device": "cpu",
    "n_jobs": 2,
    "threads": 1,
}
GPU = {
    **CPU,
    "encoder": "resnet18",
    "trained": True,
    "image_size": (192, 288),
    "steps": 300,
    "n_instances": 2,
    "rounds": 24,
    "shrink": 1,
    "amp": "auto",
    "device": "cuda",
    "seeds": tuple(range(5)),
    "n_jobs": 1,
}

LONGER = "random, twice the steps"
NO_WEIGHT = "pseudo-labels, lambda = 0"
ORACLE = "true masks as pseudo-labels"
SINGLE = (
    "random",
    "entropy",
    "low entropy",
    "label propagation",
    "pseudo-labels",
    LONGER,
    NO_WEIGHT,
    ORACLE,
)
PROFILES = {
    "cpu": {**CPU, "rows": SINGLE},
    # Five folds of all 165 images; seed s is tested on fold s % 5.
    "patients": {
        **CPU,
        "patients": True,
        "seeds": tuple(range(5)),
        "rows": ("random", "entropy", "label propagation", "pseudo-labels", LONGER),
    },
    # Fine-tuned at the resolution of the floor that was set for class-balanced random.
    "fine-tuned": {
        **CPU,
        "trained": True,
        "image_size": (192, 288),
        "steps": 300,
        "shrink": 1,
        "n_instances": 16,
        "rounds": 3,
        "seeds": (0, 1, 2),
        "references": ("full supervision", "all-ones"),
    },
    "gpu": GPU,
}


class TruePseudoLabels(PseudoLabelAugmenter):
    """A control: the hidden masks where pseudo-labels would be, at their weight."""

    def transform(self, X):
        """The masks that the oracle gave, the hidden ones in the place of all others."""
        masks, weight = super().transform(X)
        given = [self._masks[i] for i in range(len(masks))]
        found = np.empty(len(masks), dtype=object)
        for i, mask in enumerate(given):
            found[i] = self._true_masks[i] if mask is None else mask
        return found, np.array([self.weight if mask is None else 1.0 for mask in given])


def low_entropy_sampling(learner, X_pool, n_instances=1, random_state=None):
    """A negative control: what the model is surest of."""
    return top_n(-entropy_score(learner, X_pool), n_instances, random_state)


def make_model(options, **more):
    """The recipe at the sizes of a profile."""
    # In the folder of the results, from which all runs.
    frozen = {"schedule__encoder_lr_scale": 0.0, "feature_cache": "features"}
    return JointCAMSegmenter.from_preset(
        "alseg",
        **{
            "encoder": options["encoder"],
            "encoder_weights": options["encoder_weights"],
            "image_size": options["image_size"],
            "max_epochs": 1,
            "steps_per_epoch": options["steps"],
            "test_flips": options["test_flips"],
            "execution__amp": options["amp"],
            **BATCHES,
            "device": options["device"],
            **({} if options["trained"] else frozen),
            **more,
        },
    )


def build(parts, options):
    """Estimator, rows and protocol."""
    published = PseudoLabelAugmenter(k=options["k"], weight=options["lambda"], refit="published")
    ours = alseg_pseudo_labels()
    rows = {
        "random": Row(random_sampling),
        "entropy": Row(entropy_sampling),
        "low entropy": Row(low_entropy_sampling),
        "label propagation": Row(random_sampling, published),
        "pseudo-labels": Row(random_sampling, PseudoLabelAugmenter(**ours)),
        "entropy + pseudo-labels": Row(entropy_sampling, PseudoLabelAugmenter(**ours)),
        LONGER: Row(
            random_sampling, estimator=make_model(options, steps_per_epoch=2 * options["steps"])
        ),
        # Of weight 0 they would be left out; so they fill the batches and count nothing.
        NO_WEIGHT: Row(random_sampling, PseudoLabelAugmenter(**{**ours, "weight": 1e-9})),
        ORACLE: Row(random_sampling, TruePseudoLabels(**ours)),
    }
    protocol = Protocol(
        initial=options["initial"],
        n_instances=options["n_instances"],
        rounds=options["rounds"],
        class_balanced=True,
        n_threads=options["threads"],
        n_folds=5 if options["patients"] else None,
        references=options["references"],
        control="random",
        family=("entropy", "label propagation", "pseudo-labels", "entropy + pseudo-labels"),
        controls=(),
    )
    return make_model(options), rows, protocol


def load(folder, options):
    """The parts of the published fold, or all images as one part."""
    parts = load_glas(folder, fold=options["fold"])
    return {"train": parts["all"]} if options["patients"] else parts


def wanted(folder, options):
    """As published."""
    if options["patients"]:
        return {"train": Wanted(165)}
    return {"train": Wanted(67), "test": Wanted(80)}


STUDY = Study(
    name="alseg-glas",
    text=__doc__,
    profiles=PROFILES,
    data="GlaS",
    load=load,
    wanted=wanted,
    build=build,
    published=lambda options, window: published_rows("GlaS", window),
    pairs=(
        ("label propagation", LONGER),
        ("pseudo-labels", LONGER),
        ("pseudo-labels", NO_WEIGHT),
        (NO_WEIGHT, LONGER),
        (ORACLE, LONGER),
        ("entropy + pseudo-labels", "pseudo-labels"),
        ("entropy", "low entropy"),
    ),
    notes=(
        "another network and recipe; no validation masks (published: 18)",
        "label propagation is the published rule and weight, k 40 and 0.1, under this recipe",
    ),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
