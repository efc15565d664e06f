"""Self-labelled masks, and what else sees a mask that a model predicts."""

from alseg.pseudo.agreement import colour_evidence, pixel_quality, rank_agreement
from alseg.pseudo.augmenter import PseudoLabelAugmenter
from alseg.pseudo.neighbours import (
    colour_histogram,
    colour_histograms,
    paired_neighbours,
    within_class_cosine,
    within_class_distances,
)
from alseg.pseudo.refits import FitOfRound, fits_of_round, most_pseudo_masks

__all__ = [
    "FitOfRound",
    "PseudoLabelAugmenter",
    "colour_evidence",
    "colour_histogram",
    "colour_histograms",
    "fits_of_round",
    "most_pseudo_masks",
    "paired_neighbours",
    "pixel_quality",
    "rank_agreement",
    "within_class_cosine",
    "within_class_distances",
]
