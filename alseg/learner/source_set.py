"""A labelled set from elsewhere, beside the images of a learner that nobody is asked about."""

import numpy as np

from alseg.images import as_images, as_masks, join_images
from alseg.labels import as_labels, is_annotated, join_labels, one_an_image
from alseg.rows import n_rows
from alseg.validation import check_number, message


class SourceSet:
    """Images of another domain with class labels and masks, which each fit is to as well.

    Parameters
    ----------
    source : Dataset, or (images, labels, masks)
        What has `images`, `labels` and `masks` will do. None for a mask that is not known.
    check_masks : callable ``f(masks, images) -> masks``
        That of the learner's own masks.

    Attributes
    ----------
    images : images as given
    labels : ndarray of shape (n,)
    masks : ndarray of shape (n,), object

    Raises
    ------
    TypeError, ValueError
        If it is something else, the numbers differ, or no pixel is annotated.
    """

    def __init__(self, source, check_masks):
        if all(hasattr(source, part) for part in ("images", "labels", "masks")):
            source = (source.images, source.labels, source.masks)
        if not isinstance(source, (tuple, list)) or len(source) != 3:
            rule = "a Dataset or (images, labels, masks)"
            raise TypeError(message("source", rule, type(source).__name__))
        images, labels, masks = source
        faces = as_images(images)
        n = len(faces)
        self.images, self.labels = images, as_labels(labels, n).copy()
        if not one_an_image(self.labels, n):
            rule = f"of shape ({n},), one an image, or ({n}, K) of several classes"
            raise ValueError(message("labels of source", rule, self.labels.shape))
        self.masks = check_masks(as_masks(masks, n), faces)
        if not any(is_annotated(mask) for mask in self.masks):
            raise ValueError(message("masks of source", "some that are annotated", "none"))

    def __len__(self):
        return len(self.labels)

    def with_labels(self, labels):
        """Labels of a learner's images, then those of the source; of one kind."""
        try:
            return join_labels(labels, self.labels)
        except TypeError:
            rule = "of the kind of the learner's own labels: strings, integers or a matrix"
            raise TypeError(message("labels of source", rule, self.labels.dtype)) from None

    def with_masks(self, n, masks, mask_weight, weight):
        """Keywords of a fit: masks of n images (or None) and of the source, and their weights."""
        check_number("source_weight", weight, 0)
        both = np.full(n + len(self), None, dtype=object)
        for i, mask in enumerate([] if masks is None else masks):
            both[i] = mask
        for i, mask in enumerate(self.masks):
            both[n + i] = mask
        if mask_weight is None and weight == 1:
            return {"masks": both}
        weights = np.ones(n + len(self), dtype=object)
        for i, one in enumerate([] if mask_weight is None else mask_weight):
            weights[i] = one
        weights[n:] = weight
        return {"masks": both, "mask_weight": list(weights)}

    def with_images(self, images):
        """Images of a learner, then those of the source."""
        return join_images(images, self.images)


def fit_data(learner, masks, mask_weight):
    """What an estimator of a learner is fitted to: images, labels, and keywords for the masks."""
    source = learner.source_set
    if source is None:
        given = {"masks": masks} if masks is not None else {}
        given |= {} if mask_weight is None else {"mask_weight": mask_weight}
        return learner.images, learner.labels, given
    labels = source.with_labels(learner.labels)
    given = source.with_masks(n_rows(learner.images), masks, mask_weight, learner.source_weight)
    return source.with_images(learner.images), labels, given
