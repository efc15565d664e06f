"""Pictures of the images asked for: prediction, class activation, uncertainty, true mask."""

import numpy as np

from alseg.files import replacing, sweep
from alseg.report.pictures import fit_within, outline, overlay
from alseg.report.run_page import panel_path


def save_panels(folder, round_, sample_id, image, mask, seen=None, side=288):
    """Save the pictures of one image asked for, where `alseg.report.write_report` finds them.

    Parameters
    ----------
    folder : str or Path
        The run's; pictures go to ``panels/round_<number>/`` in it.
    round_ : int
    sample_id : int
    image : ndarray of shape (H, W, C)
    mask : ndarray of shape (H, W), int
        The oracle's answer.
    seen : dict or None, default=None
        What the model that asked saw: ``mask`` (H, W), ``cam`` (h, w) of the predicted class,
        ``uncertainty`` (H, W) and its greatest possible value, ``highest``. None for a seed set,
        which no model chose.
    side : int, default=288
        Longer side of a picture: sharp at the size shown, about 15 kB each.
    """
    sweep(panel_path(folder, round_, sample_id, "image").parent)
    pictures = {"image": fit_within(image, side), "mask": outline(image, mask, side)}
    if seen is not None:
        pictures["prediction"] = outline(image, seen["mask"], side)
        if seen["cam"] is not None:  # a model without a class head has none
            pictures["cam"] = overlay(image, seen["cam"], side)
        # From 0 to the most that there can be: one scale for all images and rounds.
        pictures["uncertainty"] = overlay(
            image, seen["uncertainty"], side, 0, seen["highest"], cmap="viridis"
        )
    for kind, picture in pictures.items():
        _save(panel_path(folder, round_, sample_id, kind), picture, folder)


def _save(path, picture, folder):
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(picture))
    with replacing(path, folder, durable=False) as temporary:  # pictures can be made again
        picture.save(temporary, format="JPEG", quality=82, optimize=True)
