"""Self-labelled masks, and what else sees a mask that a model predicts."""

from alseg.pseudo.agreement import colour_evidence, pixel_quality, rank_agreement
from alseg.pseudo.augmenter import PseudoLabelAugmenter
from alseg.pseudo.neighbours import (
    colour_histogram,
    colour_histograms,
    jensen_shannon,
    paired_neighbours,
    within_class_cosine,
    within_class_distances,
)

__all__ = [
    "PseudoLabelAugmenter",
    "colour_evidence",
    "colour_histogram",
    "colour_histograms",
    "jensen_shannon",
    "paired_neighbours",
    "pixel_quality",
    "rank_agreement",
    "within_class_cosine",
    "within_class_distances",
]
