"""How good predicted masks are. Every name says whether images are averaged or pixels pooled.

Predictions come first and truth second, as in torchmetrics and MONAI. In the truth a pixel that
is `MISSING` (-1) counts nowhere, and so does an image whose mask is None. An image's value is NaN
where nothing of it is annotated; means leave such images out. Two masks in which a class does not
occur agree about it: 1, not 0.
"""

from alseg.metrics.calibration import (
    calibration_bins,
    calibration_error_from_bins,
    expected_calibration_error,
    pixel_average_precision,
)
from alseg.metrics.instances import (
    instances_from_mask,
    object_counts,
    object_dice,
    object_dice_from_overlaps,
    object_f1,
    object_f1_from_overlaps,
    object_hausdorff,
    object_overlaps,
)
from alseg.metrics.overlap import (
    dice_from_confusion,
    dice_per_image,
    dice_score,
    hausdorff_per_image,
    iou_from_confusion,
    iou_per_image,
    mean_dice,
    mean_iou,
    mean_iou_per_image,
    pixel_confusion,
    pixel_confusion_per_image,
    pooled_dice,
    pooled_iou,
    pooled_mean_iou,
)
from alseg.metrics.scoring import DiceScorer, dice_scorer
from alseg.metrics.summary import by_label, mask_metrics, worst_tenth
from alseg.metrics.threshold import (
    THRESHOLD_GRID,
    best_threshold,
    mask_from_proba,
    threshold_scores,
)

__all__ = [
    "DiceScorer",
    "THRESHOLD_GRID",
    "best_threshold",
    "by_label",
    "calibration_bins",
    "calibration_error_from_bins",
    "dice_from_confusion",
    "dice_per_image",
    "dice_score",
    "dice_scorer",
    "expected_calibration_error",
    "hausdorff_per_image",
    "instances_from_mask",
    "iou_from_confusion",
    "iou_per_image",
    "mask_from_proba",
    "mask_metrics",
    "mean_dice",
    "mean_iou",
    "mean_iou_per_image",
    "object_counts",
    "object_dice",
    "object_dice_from_overlaps",
    "object_f1",
    "object_f1_from_overlaps",
    "object_hausdorff",
    "object_overlaps",
    "pixel_average_precision",
    "pixel_confusion",
    "pixel_confusion_per_image",
    "pooled_dice",
    "pooled_iou",
    "pooled_mean_iou",
    "threshold_scores",
    "worst_tenth",
]
