"""Which images look alike? Colour histograms against the encoder's embeddings, on GlaS.

    python -m benchmarks.studies.neighbours  # about 2 CPU minutes

Of the 85 training images, each with its nearest other one by

- colour histograms, as published;
- the embeddings of MobileNetV2 with ImageNet weights, not trained on GlaS;
- its embeddings after a fit to all class labels and 8 masks, as `descriptor="encoder"` finds them
  (mean of the seeds; with the test images never opened).

Shares: how often the nearest image of all is of the same class, and of the same patient. Agreement:
how well the foreground colours of the nearest image of the same class rank the pixels of the
image's own true mask (`colour_evidence`, `rank_agreement`; 0.5 is chance): the nearest of all
("any"), of those of other patients, and of 4 annotated ones ("few"), drawn at random 100 times.
A gain is a mean over patients of mean differences, with its 95 % interval.
"""

import argparse
import sys

import numpy as np
import torch
from tqdm import tqdm

from alseg import JointCAMSegmenter, Network
from alseg.datasets import load_glas
from alseg.experiment.statistics import paired_t
from alseg.pseudo import (
    colour_evidence,
    colour_histograms,
    rank_agreement,
    within_class_cosine,
    within_class_distances,
)
from alseg.query import class_balanced_top_n
from alseg.training import image_tensor, mask_tensor
from benchmarks.core.data import find_data, find_weights
from benchmarks.core.results import BATCHES, RESULTS, write_record
from benchmarks.core.timing import Stopwatch

SIZE = (96, 144)
N_ANNOTATED, N_DRAWS = 4, 100  # of a class: 8 masks


def agreements(train):
    """(n, n): how the colours of image j rank the pixels of image i; nan between classes."""
    n = len(train.labels)
    pixels = [image_tensor(train.images[i], SIZE).movedim(0, -1).numpy() for i in range(n)]
    masks = [mask_tensor(train.masks[i], SIZE).numpy() for i in range(n)]
    found = np.full((n, n), np.nan)
    pairs = np.argwhere(train.labels[:, None] == train.labels)
    for i, j in tqdm(pairs, desc="colours"):
        found[i, j] = rank_agreement(colour_evidence(pixels[i], pixels[j], masks[j]), masks[i])
    return found


def distances(blocks, n):
    """(n, n), infinite between classes and from an image to itself."""
    found = np.full((n, n), np.inf)
    for ids, block in blocks:
        found[np.ix_(ids, ids)] = block
    np.fill_diagonal(found, np.inf)
    return found


def embeddings(train, options, masks=None):
    common = {"encoder": "mobilenet_v2", "image_size": SIZE, "max_epochs": 1, "device": "cpu"}
    model = JointCAMSegmenter(**{**BATCHES, **common, **options})
    return model.fit(train.images, train.labels, masks).transform(train.images)


def agreement_of_neighbours(everywhere, within, train, agreement):
    """Of one descriptor: shares, and for each image the agreement with its nearest ones."""
    patients, n = np.asarray(train.groups), len(train.labels)
    nearest = everywhere.argmin(1)
    other = np.where(patients[:, None] == patients, np.inf, within)
    rng, rows = np.random.default_rng(0), np.arange(n)
    few = np.zeros((N_DRAWS, n))
    for draw in range(N_DRAWS):  # the same draws for each descriptor
        annotated = np.zeros(n, dtype=bool)
        for label in np.unique(train.labels):
            annotated[rng.choice(np.flatnonzero(train.labels == label), N_ANNOTATED, False)] = True
        away = np.where(annotated, within, np.inf)
        few[draw] = agreement[rows, away.argmin(1)]
        few[draw, annotated] = np.nan
    return {
        "same_class": float((train.labels[nearest] == train.labels).mean()),
        "same_patient": float((patients[nearest] == patients).mean()),
        "any": agreement[rows, within.argmin(1)],
        "other_patient": agreement[rows, other.argmin(1)],
        "few": np.nanmean(few, axis=0),
    }


def chance(train, agreement):
    """What a random other image gives."""
    patients, n = np.asarray(train.groups), len(train.labels)
    other = ~np.eye(n, dtype=bool)
    apart = np.where(patients[:, None] == patients, np.nan, agreement)
    alone = np.where(other, agreement, np.nan)
    return {
        "same_class": float((train.labels[:, None] == train.labels)[other].mean()),
        "same_patient": float((patients[:, None] == patients)[other].mean()),
        "any": np.nanmean(alone, axis=1),
        "other_patient": np.nanmean(apart, axis=1),
        "few": np.nanmean(alone, axis=1),
    }


def average(parts):
    mean = {key: np.mean([part[key] for part in parts], axis=0) for key in parts[0]}
    return {key: value if np.ndim(value) else float(value) for key, value in mean.items()}


def gain(values, baseline, patients):
    """Mean difference over patients, with its interval."""
    differences = [np.mean((values - baseline)[patients == p]) for p in np.unique(patients)]
    test = paired_t(differences)
    return test.mean, *test.interval


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args(argv)
    folder = find_data("glas")
    weights = folder and find_weights(folder, "mobilenet_v2")
    if weights is None:
        print("skipped: no GlaS, or no weights/mobilenet_v2_imagenet.safetensors beside it")
        return 0
    torch.set_num_threads(1)
    watch, data = Stopwatch(), load_glas(folder, fold=None).train
    n, labels = len(data.labels), np.asarray(data.labels)
    images = [data.images[i] for i in range(n)]
    train = type(data)(images, labels, data.masks, None, data.groups, data.ids, data.name)
    agreement = agreements(train)
    histograms = colour_histograms(images)
    found = {"random": chance(train, agreement)}
    found["histogram"] = agreement_of_neighbours(
        distances(within_class_distances(histograms), n),
        distances(within_class_distances(histograms, labels), n),
        train,
        agreement,
    )

    def by_cosine(rows):
        pair = within_class_cosine(rows), within_class_cosine(rows, labels)
        return agreement_of_neighbours(*(distances(blocks, n) for blocks in pair), train, agreement)

    start = {"encoder_weights": weights}
    still = {"max_epochs": 0, "network": Network(normalize="imagenet"), "random_state": 0}
    found["encoder, ImageNet"] = by_cosine(embeddings(train, start | still))
    fitted = []
    for seed in tqdm(arguments.seeds, desc="fits"):
        order = class_balanced_top_n(np.zeros(n), labels, n, random_state=seed)
        chosen = set(np.asarray(order)[: 2 * N_ANNOTATED].tolist())
        masks = [train.masks[i] if i in chosen else None for i in range(n)]
        options = start | {"steps_per_epoch": arguments.steps, "random_state": seed}
        fitted.append(by_cosine(embeddings(train, options, masks)))
    found["encoder, fitted"] = average(fitted)
    # What no descriptor can do better: by the agreement itself.
    blind = distances([(np.arange(n), np.where(np.isnan(agreement), np.inf, -agreement))], n)
    best = agreement_of_neighbours(blind, blind, train, agreement)
    found["the best there is"] = {**best, "same_class": None, "same_patient": None}

    patients, rows = np.asarray(train.groups), []
    for name, part in found.items():
        row = {"descriptor": name, **{k: part[k] for k in ("same_class", "same_patient")}}
        for key in ("any", "other_patient", "few"):
            row[key] = float(np.mean(part[key]))
            if name != "histogram":
                row[f"{key}_gain_over_histogram"] = gain(
                    part[key], found["histogram"][key], patients
                )
        rows.append(row)
        print(row)
    seconds = dict(zip(("cpu", "wall"), watch.read()))
    options = {**vars(arguments), "seconds": seconds, "n_images": n, "size": SIZE}
    return write_record(RESULTS / "neighbours.json", rows, options=options)


if __name__ == "__main__":
    sys.exit(main())
