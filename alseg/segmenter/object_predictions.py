"""Objects that a fitted model finds: their ids, and how good they are."""

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils.metaestimators import available_if

from alseg.images import as_images, as_masks, stack
from alseg.interfaces import ObjectMaps, meets
from alseg.metrics import mask_from_proba, object_dice, object_f1, object_hausdorff
from alseg.segmenter import inference
from alseg.segmenter.parameters import as_objects
from alseg.segmenter.predictions import PredictingSegmenter
from alseg.segmenter.separation import separate_objects
from alseg.training import DEEPEST, check_crop, enlarged, object_ids
from alseg.validation import check_option

SMALLEST_INSIDE = 0.25  # of the smallest object: what its border leaves of it where it is thin

OBJECT_METRICS = {"f1": object_f1, "dice": object_dice, "hausdorff": object_hausdorff}


def _has_maps(model):
    return meets(model, ObjectMaps)


class ObjectsMixin:
    """Objects of a model that gives their maps, see `alseg.interfaces.ObjectMaps`."""

    @property
    def mask_kind(self):
        """What masks of a fit hold: "classes", or the "instances" of objects."""
        return as_objects(self.objects).mask_kind

    @available_if(_has_maps)
    def predict_objects(self, X):
        """Id of the object at each pixel, each image at its own size.

        With `objects` touching ones are told apart, see `alseg.segmenter.separate_objects` and
        `Objects`; without, and after a fit without masks, they are connected parts of the
        foreground. Of several pixel classes objects are those of each.

        Returns
        -------
        ndarray of shape (n, H, W), int32; of n (H, W) arrays where sizes differ
            0 is background; in each image objects are 1, 2, ...
        """
        return stack([self._separated(maps) for maps in self.iter_object_maps(X)])

    def _separated(self, maps):
        """Objects of one image (H, W): those of each class, one after the other."""
        options = as_objects(self.objects)
        mask = mask_from_proba(maps.mask_proba, self.threshold_)
        objects = np.zeros(mask.shape, dtype=np.int32)
        for value in range(1, self.n_mask_classes):
            found = separate_objects(
                mask == value,
                maps.inside,
                options.inside,
                maps.min_size,
                SMALLEST_INSIDE * maps.min_size,
                options.fill_holes,
            )
            found[(mask != 0) & (mask != value)] = 0  # what lies in a hole may be of another class
            objects = np.where((found > 0) & (objects == 0), found + objects.max(), objects)
        return objects

    @available_if(_has_maps)
    def score_objects(self, X, masks, metric="f1", mask_kind=None):
        """How well objects are found, as in the GlaS contest, over the images that have a mask.

        Parameters
        ----------
        X : images
        masks : as of `fit`
            Annotated in all pixels, or None.
        metric : {"f1", "dice", "hausdorff"}, default="f1"
            See `alseg.metrics.object_f1`, `object_dice` and `object_hausdorff`.
        mask_kind : None or {"classes", "instances"}, default=None
            What `masks` hold: of classes the connected parts of each are objects. None is as
            `objects` says.

        Returns
        -------
        float
        """
        check_option("metric", metric, tuple(OBJECT_METRICS))
        mask_kind = self.mask_kind if mask_kind is None else mask_kind
        check_option("mask_kind", mask_kind, ("classes", "instances"))
        images = as_images(X)
        masks = as_masks(masks, len(images))
        known = np.array([i for i in range(len(images)) if masks[i] is not None], dtype=int)
        truth = [masks[i] if mask_kind == "instances" else object_ids(masks[i]) for i in known]
        return OBJECT_METRICS[metric](list(self.predict_objects(images.take(known))), truth)


class ObjectSegmenter(ObjectsMixin, PredictingSegmenter):
    """A segmenter that tells objects apart."""

    @property
    def has_objects(self):
        """Whether objects are learned, and not only connected parts of the foreground."""
        return bool(self._learns_objects and getattr(self, "has_masks_", True))

    def iter_object_maps(self, X):
        """What `predict_objects` goes by, image by image: means of it are of several models.

        Yields
        ------
        Bunch
            ``mask_proba`` (C, H, W), as of `predict_mask_proba`; ``inside`` (H, W), float, large
            inside an object and small at its border, 1 where objects are not learned; and
            ``min_size``, the pixels of the smallest object.
        """
        self._check_fitted()
        options, learned = as_objects(self.objects), self.has_objects
        for images, positions, out in self._stream(X, ("mask_proba",) + ("objects",) * learned):
            for k, i in enumerate(positions):
                size = images.size(i)
                proba = inference.resize_maps(out["mask_proba"][k], size)
                inside = np.ones(proba.shape[1:])
                if learned:
                    inside = inference.resize_maps(out["objects"][k][None], size)[0]
                    border = options.kind == "border"
                    # Half where a pixel lies as deep as a border is wide.
                    inside = 1 - proba[0] - inside if border else DEEPEST / 2 * inside
                smallest = self.min_object_size_ if options.min_size is None else options.min_size
                smallest = smallest / self._area_at_network(size)
                yield Bunch(mask_proba=proba, inside=inside, min_size=smallest)

    def _area_at_network(self, size):
        """Pixels at which the network works, to a pixel of an image of this size."""
        if self.crop is not None:
            crop = check_crop(self.crop)
            return np.prod(enlarged(size, crop)) / np.prod(size) * crop["scale"] ** 2
        return np.prod(self.canvas_) / np.prod(size)
