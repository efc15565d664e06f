"""From images and masks to a fitted network: batches, losses, schedules, devices."""

from alseg.training.augment import FLIPS, colour_jitter, random_affine, random_flip, stain_jitter
from alseg.training.augmentation_hooks import (
    check_hook,
    from_albumentations,
    from_kornia,
    from_torchvision,
    run_hook,
)
from alseg.training.batches import TrainingBatches, cycle, drawn, n_batches, steps_of_epoch
from alseg.training.consistency import (
    CONSISTENCY_TARGETS,
    AdaptiveThresholds,
    ConsistentBatches,
    consistency_loss,
    cut_boxes,
    sure_masks,
    taught_by,
    with_consistency,
)
from alseg.training.crops import check_crop, enlarged, scaled, undo, whole_image
from alseg.training.decoding import decoded, image_tensor
from alseg.training.device import resolve_amp, resolve_device
from alseg.training.held_out import experts_masks, hold_out
from alseg.training.losses import JointLoss, mask_loss
from alseg.training.memory import PartSize, in_parts
from alseg.training.mixing import copy_paste, mix, mixed_loss
from alseg.training.object_targets import (
    DEEPEST,
    ObjectReader,
    object_ids,
    object_loss,
    object_targets,
    with_objects,
)
from alseg.training.plain_loss import PlainLoss, build_criterion, criterion_options
from alseg.training.processes import (
    average_gradients,
    check_sharing,
    mean_of_processes,
    share_of,
    sharing,
)
from alseg.training.schedules import check_lr_schedule, make_scheduler, one_cycle
from alseg.training.sparse_marks import balanced_weight, gated_crf_loss
from alseg.training.training_data import (
    AREAS,
    CropData,
    TrainingData,
    alike,
    choose_canvas,
    mask_tensor,
    to_unit,
)

__all__ = [
    "sharing",
    "share_of",
    "mean_of_processes",
    "check_sharing",
    "average_gradients",
    "AREAS",
    "AdaptiveThresholds",
    "CONSISTENCY_TARGETS",
    "ConsistentBatches",
    "CropData",
    "FLIPS",
    "JointLoss",
    "PartSize",
    "PlainLoss",
    "TrainingBatches",
    "TrainingData",
    "alike",
    "balanced_weight",
    "build_criterion",
    "check_crop",
    "check_hook",
    "check_lr_schedule",
    "choose_canvas",
    "colour_jitter",
    "consistency_loss",
    "copy_paste",
    "criterion_options",
    "cut_boxes",
    "cycle",
    "decoded",
    "drawn",
    "enlarged",
    "experts_masks",
    "from_albumentations",
    "from_kornia",
    "from_torchvision",
    "gated_crf_loss",
    "hold_out",
    "image_tensor",
    "in_parts",
    "make_scheduler",
    "mask_loss",
    "mask_tensor",
    "mix",
    "mixed_loss",
    "n_batches",
    "object_ids",
    "object_loss",
    "object_targets",
    "with_objects",
    "DEEPEST",
    "ObjectReader",
    "one_cycle",
    "random_affine",
    "random_flip",
    "resolve_amp",
    "resolve_device",
    "run_hook",
    "scaled",
    "stain_jitter",
    "steps_of_epoch",
    "sure_masks",
    "taught_by",
    "to_unit",
    "undo",
    "whole_image",
    "with_consistency",
]
