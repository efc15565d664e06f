"""Objects that a fitted model finds: their ids, and how good they are."""

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils.metaestimators import available_if

from alseg.images import as_images, as_masks, stack
from alseg.interfaces import ObjectMaps, meets
from alseg.metrics import mask_from_proba, object_dice, object_f1, object_hausdorff
from alseg.segmenter import inference
from alseg.segmenter.parameters import as_objects
from alseg.segmenter.predictions import PredictingSegmenter, join_batches
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
                options.seam,
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

    def predict_joint(self, X, objects=False):
        """Everything about each image from one pass.

        Parameters
        ----------
        X : images
        objects : bool, default=False
            Whether objects are told apart, as `predict_objects` does.

        Returns
        -------
        Bunch
            ``masks`` (n, H, W) and ``mask_proba`` (n, C, H, W); with a class head ``labels`` (n,),
            ``proba`` (n, K) and ``cams`` (n, K, h, w); with `objects` ``objects`` (n, H, W); as the
            methods of these names give them. Of a whole network there are no ``cams``.
        """
        self._check_fitted()
        of_images = ("proba", "cam") if self.has_class_head else ()
        maps = self._parts_of_maps if objects else ("mask_proba",)
        proba, cams, mask_proba, ids = [], [], [], []
        for images, positions, out in self._stream(X, (*of_images, *maps)):
            if of_images:
                proba.append(out["proba"].cpu().numpy().astype(np.float64))
            if of_images and out["cam"] is not None:
                cams.append(out["cam"].cpu().numpy())
            for k, i in enumerate(positions):
                mask_proba.append(inference.resize_maps(out["mask_proba"][k], images.size(i)))
                if objects:
                    ids.append(self._separated(self._maps_of(mask_proba[-1], out, k)))
        joint = Bunch(
            masks=stack([mask_from_proba(p, self.threshold_) for p in mask_proba]),
            mask_proba=stack(mask_proba),
        )
        if of_images:
            joint.proba = self._exact(np.concatenate(proba))
            joint.labels = self._labels(joint.proba)
        if cams:
            joint.cams = join_batches(cams)
        if objects:
            joint.objects = stack(ids)
        return joint

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
        for images, positions, out in self._stream(X, self._parts_of_maps):
            for k, i in enumerate(positions):
                proba = inference.resize_maps(out["mask_proba"][k], images.size(i))
                yield self._maps_of(proba, out, k)

    @property
    def _parts_of_maps(self):
        return ("mask_proba",) + ("objects",) * self.has_objects

    def _maps_of(self, proba, out, k):
        """What is known of the objects of an image, the k-th of a batch of outputs."""
        options, size = as_objects(self.objects), proba.shape[1:]
        inside = np.ones(size)
        if self.has_objects:
            inside = inference.resize_maps(out["objects"][k][None], size)[0]
            border = options.kind == "border"
            # Half where a pixel lies as deep as a border is wide.
            inside = 1 - proba[0] - inside if border else DEEPEST / 2 * inside
        smallest = self.min_object_size_ if options.min_size is None else options.min_size
        smallest = smallest / self._area_at_network(size)
        return Bunch(mask_proba=proba, inside=inside, min_size=smallest)

    def _area_at_network(self, size):
        """Pixels at which the network works, to a pixel of an image of this size."""
        if self.crop is not None:
            crop = check_crop(self.crop)
            return np.prod(enlarged(size, crop)) / np.prod(size) * crop["scale"] ** 2
        return np.prod(self.canvas_) / np.prod(size)
