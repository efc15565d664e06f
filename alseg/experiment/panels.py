"""Pictures of the images asked for: prediction, class activation, uncertainty, true mask."""

import os

import numpy as np

from alseg.images import as_images, as_masks
from alseg.metrics import dice_score
from alseg.report.html import panel_path
from alseg.report.plots import fit_within, outline, overlay

SIDE = 288  # pixels of the longer side: sharp at the size shown, about 15 kB each


def save_panels(folder, round_, sample_ids, train, masks, model=None, side=SIDE):
    """Say what a model thought of the images it asked for, and save pictures of them.

    Parameters
    ----------
    folder : str, Path or None
        Pictures go to ``panels/round_<number>/`` in it. None writes none.
    round_ : int
    sample_ids : ndarray of shape (n_instances,), int
    train : Dataset
        Its images, labels and names.
    masks : sequence of n_instances (H, W) arrays
        The oracle's answers.
    model : JointCAMSegmenter or None, default=None
        The model that asked; None for a seed set, which no model chose.
    side : int, default=288
        Longer side of a picture.

    Returns
    -------
    asked : list of dict
        For each image ``sample_id``, ``id``, ``label`` and, with a model, ``predicted_label``,
        ``uncertainty`` (mean pixel entropy) and ``dice`` of the prediction.
    """
    sample_ids = np.asarray(sample_ids)
    images = as_images(train.images).take(sample_ids)
    masks = as_masks(masks, len(sample_ids))
    asked = []
    for position, sample_id in enumerate(sample_ids.tolist()):
        image, mask = images[position], masks[position]
        item = {
            "sample_id": sample_id,
            "id": str(train.ids[sample_id]),
            "label": np.asarray(train.labels)[sample_id],
        }
        pictures = {"image": fit_within(image, side), "mask": outline(image, mask, side)}
        if model is not None:
            # One image at a time: maps of a whole round of large images would not be small.
            one = images.take(np.array([position]))
            joint = model.predict_joint(one)
            uncertainty, maps = model.predict_uncertainty(one, return_maps=True)
            predicted = joint.masks[0]
            item["predicted_label"] = joint.labels[0]
            item["uncertainty"] = float(uncertainty[0])
            item["dice"] = dice_score(predicted, mask, n_mask_classes=joint.mask_proba[0].shape[0])
            cam = joint.cams[0][int(np.argmax(joint.proba[0]))]
            pictures["prediction"] = outline(image, predicted, side)
            pictures["cam"] = overlay(image, cam, side)
            highest = np.log(joint.mask_proba[0].shape[0])  # of the entropy: one scale for all
            pictures["uncertainty"] = overlay(image, maps[0], side, 0, highest, cmap="viridis")
        if folder is not None:
            for kind, picture in pictures.items():
                _save(panel_path(folder, round_, sample_id, kind), picture)
        asked.append(item)
    return asked


def _save(path, picture):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    Image.fromarray(picture).save(beside, format="JPEG", quality=82, optimize=True)
    os.replace(beside, path)
