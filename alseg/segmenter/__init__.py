"""`JointCAMSegmenter` and `PixelClassifier`: image labels for all, masks for some; their files."""

from alseg.segmenter.assembly import NORMALIZATIONS
from alseg.segmenter.checks import class_masks
from alseg.segmenter.estimator import JointCAMSegmenter
from alseg.segmenter.fits import ValidationSet
from alseg.segmenter.inference import pool_batches, predict_batch, saliency
from alseg.segmenter.known_labels import KnownLabelsMixin
from alseg.segmenter.object_predictions import ObjectsMixin
from alseg.segmenter.parameters import (
    Augmentation,
    Consistency,
    Execution,
    Network,
    Objects,
    Schedule,
    WholeNetwork,
    with_fields,
)
from alseg.segmenter.phases import phases_of_fit
from alseg.segmenter.pixel_classifier import PixelClassifier
from alseg.segmenter.presets import PRESETS, alseg_pseudo_labels, preset_params
from alseg.segmenter.pretraining import SelfSupervisedPretrainer, simsiam_loss
from alseg.segmenter.saving import reading
from alseg.segmenter.separation import separate_objects
from alseg.segmenter.stain import haematoxylin, haematoxylin_masks

__all__ = [
    "Augmentation",
    "Consistency",
    "Execution",
    "JointCAMSegmenter",
    "KnownLabelsMixin",
    "NORMALIZATIONS",
    "Network",
    "Objects",
    "ObjectsMixin",
    "PRESETS",
    "PixelClassifier",
    "Schedule",
    "SelfSupervisedPretrainer",
    "ValidationSet",
    "WholeNetwork",
    "alseg_pseudo_labels",
    "class_masks",
    "haematoxylin",
    "haematoxylin_masks",
    "phases_of_fit",
    "pool_batches",
    "predict_batch",
    "preset_params",
    "reading",
    "saliency",
    "separate_objects",
    "simsiam_loss",
    "with_fields",
]
