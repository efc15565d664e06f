"""What `PixelClassifier` is given, checked before anything is read or fitted."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from alseg.segmenter.checks import checked_image_size
from alseg.segmenter.pixel_features import as_feature_list
from alseg.validation import check_number, message

_MOST_CLASSES = np.iinfo(np.int16).max  # masks are held as int16


def check_pixel_params(model: Any) -> None:
    """Check all parameters of an estimator, before any file is read.

    Parameters
    ----------
    model : PixelClassifier

    Raises
    ------
    TypeError, ValueError
        If one is out of its range or of another kind.
    """
    classifier = model.classifier
    if classifier is not None and not (
        hasattr(classifier, "fit") and hasattr(classifier, "predict_proba")
    ):
        rule = "None or a scikit-learn classifier with predict_proba"
        raise TypeError(message("classifier", rule, classifier))
    as_feature_list(model.features)
    check_number("n_mask_classes", model.n_mask_classes, 2, _MOST_CLASSES, integer=True)
    if model.image_size != "own":
        checked_image_size(model.image_size)
    if model.n_pixels is not None:
        check_number("n_pixels", model.n_pixels, 1, integer=True)
    check_number("n_label_images", model.n_label_images, 1, integer=True)
    check_number("threshold", model.threshold, 0, 1)
    if model.n_jobs is not None and check_number("n_jobs", model.n_jobs, integer=True) == 0:
        rule = "None, >= 1, or negative as joblib counts them"
        raise ValueError(message("n_jobs", rule, model.n_jobs))
    if not isinstance(model.feature_cache, (str, os.PathLike, type(None))):
        raise TypeError(message("feature_cache", "None or a folder", model.feature_cache))
    for name, rule, n in (
        ("sigmas", "a pair (smallest, largest) of scales", 2),
        ("encoder_strides", "a sequence of strides", None),
    ):
        value = getattr(model, name)
        if not isinstance(value, (tuple, list)) or n not in (None, len(value)):
            raise TypeError(message(name, rule, value))
    low = check_number("sigmas[0]", model.sigmas[0], 0, open_low=True)
    check_number("sigmas[1]", model.sigmas[1], low)
