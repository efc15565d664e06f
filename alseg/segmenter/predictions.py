"""What a fitted segmenter says of images: classes, masks, maps, embeddings, uncertainty."""

import functools

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils.metaestimators import available_if

from alseg.images import as_images, stack
from alseg.metrics import mask_from_proba, mean_dice
from alseg.query import DRAW_UNCERTAINTIES, UNCERTAINTIES, mask_gradient_length, mask_gradients
from alseg.query import aggregate as aggregate_maps
from alseg.segmenter import inference
from alseg.segmenter.adversary import adversarial_batch
from alseg.segmenter.checks import class_masks
from alseg.segmenter.fits import FittingSegmenter
from alseg.segmenter.parameters import as_objects
from alseg.segmenter.whole_networks import is_whole, network_facts
from alseg.training import PartSize, check_crop, undo
from alseg.validation import check_number, check_option, check_rng, message

# Kinds of embeddings, and what the stream calls them.
EMBEDDINGS = {"encoder": "embedding", "decoder": "decoder_embedding", "cam": "cam_embedding"}

_PREDICT_NOTE = "Results stay as they are; set a smaller predict_batch_size to avoid it."


def _is_in_parts(model):
    """Whether class maps and the last convolution are there: a whole network has none to show."""
    return not is_whole(model)


class PredictingSegmenter(FittingSegmenter):
    """A segmenter with everything that is asked of a fitted one."""

    def _check_fitted(self):
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                f"This {type(self).__name__} is not fitted yet: call `fit` before predicting."
            )

    def __sklearn_is_fitted__(self):
        return bool(self.initialized_) and hasattr(self, "classes_") and hasattr(self, "device_")

    def _check_mask_branch(self):
        if not self.has_masks_ and not self.has_cams:
            raise ValueError(
                "Without any mask, masks come from the CAM, which this whole network has not: fit"
                " with some masks."
            )
        if not self.has_masks_ and self.multilabel_:
            raise ValueError(
                "Without any mask, masks come from the map of the class of an image, which has"
                " several here: predict_cams gives a map of each. Fit with some masks."
            )
        if not self.has_masks_ and self.n_mask_classes > 2:
            raise ValueError(
                f"Without any mask, masks come from the CAM, which tells foreground from background"
                f" alone, but n_mask_classes is {self.n_mask_classes}. Fit with some masks."
            )

    def _check_class_head(self, what):
        if not self.has_class_head:
            raise ValueError(
                f"{what} needs a class head, and this {type(self).__name__} has none"
                f" ({self._headless}): it gives masks alone. Use predict_masks, or"
                f" {self._remedy_for_none}."
            )

    @property
    def _remedy_for_none(self):
        if self._can_classify:
            return "give labels"
        return "give class logits too" if is_whole(self) else "set `network__pooling`"

    def _check_cams(self, what):
        self._check_class_head(what)
        if not self.has_cams:
            raise ValueError(f"{what} needs class activation maps, which a whole network has not.")

    def _check_borders(self, method):
        kind = as_objects(self.objects).kind
        if kind != "border" or not self.has_masks_:
            got = kind if self.has_masks_ else f"{kind!r} fitted without any mask"
            rule = "'border', and fitted with masks, for target='border'"
            raise ValueError(message("objects", rule, got))
        if method in DRAW_UNCERTAINTIES:
            remedy = "Draws are of classes: take target='mask'."
            rule = f"one of {', '.join(UNCERTAINTIES)} with target='border'"
            raise ValueError(message("method", rule, method, remedy))

    def _check_draws(self, method, target):
        if not is_whole(self):
            return
        facts = network_facts(self)
        if not (facts.draws_masks if target == "mask" else facts.draws_classes):
            rule = f"one of {', '.join(UNCERTAINTIES)} with a network that draws no {target}"
            remedy = "No dropout is before it: give the network nn.Dropout layers, by its argument."
            raise ValueError(message("method", rule, method, remedy))

    def _restore(self, images, positions):
        """What brings maps of a batch to the images' own size; None where resizing is all."""
        if self.crop is None:
            return None
        return functools.partial(undo, size=images.size(positions[0]), crop=check_crop(self.crop))

    def _batches(self, images):
        for positions, x in self._read_batches(images):
            if x.shape[1] != self.n_channels_:
                rule = f"of {self.n_channels_} channels, as at the fit"
                raise ValueError(message("X", rule, f"{x.shape[1]} channels"))
            yield positions, x

    def _read_batches(self, images):
        if self.crop is not None:
            return inference.whole_batches(
                images,
                check_crop(self.crop),
                self.device_,
                self._memory_format,
                self.verbose > 0,
            )
        return inference.pool_batches(
            images,
            self.canvas_,
            self.predict_batch_size,
            self.device_,
            self._memory_format,
            self.verbose > 0,
        )

    def _stream(self, X, need):
        """Yield (images, positions, predictions) batch by batch."""
        self._check_fitted()
        images = as_images(X)
        if "mask_proba" in need:
            self._check_mask_branch()
        size = PartSize("predicting", _PREDICT_NOTE)
        for positions, x in self._batches(images):
            predict = functools.partial(
                inference.predict_batch,
                self.module_,
                has_masks=self.has_masks_,
                test_flips=self.test_flips,
                need=need,
                restore=self._restore(images, positions),
            )
            yield images, positions, size.apply(predict, x)

    def _concat(self, X, key):
        return join_batches([out[key].cpu().numpy() for _, _, out in self._stream(X, (key,))])

    def predict_proba(self, X):
        """Class probabilities: ndarray of shape (n, K), float.

        Rows sum to 1; where an image is of several classes, each is by itself.
        """
        self._check_class_head("predict_proba")
        return self._exact(self._concat(X, "proba"))

    def _exact(self, proba):
        # In double precision, so that rows sum to 1 as closely as users and scikit-learn expect.
        proba = proba.astype(np.float64)
        return proba if self.multilabel_ else proba / proba.sum(1, keepdims=True)

    def _labels(self, proba):
        return (proba > 0.5).astype(int) if self.multilabel_ else self.classes_[proba.argmax(1)]

    def predict(self, X):
        """Class label of each image: ndarray of shape (n,), of the kind of `classes_`.

        Where an image is of several classes, a matrix (n, K) of 0 and 1.
        """
        self._check_class_head("predict")
        proba = self.predict_proba(X)  # first: it checks that there are classes
        return self._labels(proba)

    @available_if(_is_in_parts)
    def predict_cams(self, X):
        """Raw class activation maps, at the class head's stride.

        Returns
        -------
        ndarray of shape (n, K, h, w), float; of n (K, h, w) arrays where sizes differ (with `crop`)
        """
        self._check_cams("predict_cams")
        return self._concat(X, "cam")

    def transform(self, X, kind="encoder"):
        """Embeddings of images, for strategies that compare images with one another.

        Parameters
        ----------
        X : images
        kind : {"encoder", "decoder", "cam"}, default="encoder"
            - ``"encoder"``: the mean over positions of what the class head sees;
            - ``"cam"``: the same, weighted by the scaled CAM of the predicted class;
            - ``"decoder"``: the decoder's map, averaged over the predicted foreground (over all of
              it where none is predicted). Needs a fit with masks.

        Returns
        -------
        ndarray of shape (n, d), float
        """
        check_option("kind", kind, EMBEDDINGS)
        if kind == "cam":
            self._check_cams("transform(kind='cam')")
        self._check_fitted()
        if kind == "decoder" and is_whole(self):
            remedy = "It has one embedding layer, see WholeNetwork."
            raise ValueError(message("kind", "'encoder' with a whole network", kind, remedy))
        if kind == "decoder" and not self.has_masks_:
            remedy = "The decoder has seen no mask yet: use kind='cam' or kind='encoder'."
            raise ValueError(message("kind", "one that was trained", kind, remedy))
        return self._concat(X, EMBEDDINGS[kind])

    def _iter_mask_proba(self, X):
        for images, positions, out in self._stream(X, ("mask_proba",)):
            for i, proba in zip(positions, out["mask_proba"]):
                yield inference.resize_maps(proba, images.size(i))

    def predict_mask_proba(self, X):
        """Class probabilities of pixels, each image at its own size.

        With no mask seen at fit, the foreground is the CAM of the predicted class scaled to [0, 1].

        Returns
        -------
        ndarray of shape (n, C, H, W), float32; of n (C, H, W) arrays where sizes differ
        """
        return stack(list(self._iter_mask_proba(X)))

    def predict_masks(self, X):
        """Class of each pixel, each image at its own size.

        Returns
        -------
        ndarray of shape (n, H, W), int16; of n (H, W) arrays where sizes differ
        """
        return stack([mask_from_proba(p, self.threshold_) for p in self._iter_mask_proba(X)])

    def predict_uncertainty(
        self,
        X,
        method="entropy",
        aggregate="mean",
        target="mask",
        return_maps=False,
        n_draws=20,
        random_state=None,
    ):
        """How unsure the model is of each image: larger is more worth asking.

        Parameters
        ----------
        X : images
        method : str, default="entropy"
            ``"least_confidence"``, ``"margin"``, ``"entropy"``; or of stochastic draws
            ``"mc_variance"``, ``"bald"``, ``"mean_deviation"``, ``"predictive_entropy"``,
            ``"expected_entropy"``, ``"vote_entropy"``, ``"variation_ratio"``,
            ``"pairwise_dice"``, see
            `alseg.query.uncertainty`. A draw costs what follows the first dropout alone; their maps
            are at the decoder's stride.
        aggregate : str or callable, default="mean"
            How a map becomes a score, see `alseg.query.aggregation`. Maps are of the network's
            size, the same for all images.
        target : {"mask", "label", "border"}, default="mask"
            Uncertainty of pixels, or of the image's class; or of whether a pixel is an object's
            border, with ``objects="border"`` and a method without draws.
        return_maps : bool, default=False
            Return the maps too, each at its image's own size, of pixels.
        n_draws : int, default=20
        random_state : None, int, Generator or RandomState, default=None
            Of the draws. None takes the estimator's.

        Returns
        -------
        score : ndarray of shape (n,), float
        maps : ndarray of shape (n, H, W), float32, or of n (H, W) arrays; with `return_maps`
        """
        self._check_fitted()
        check_option("method", method, (*UNCERTAINTIES, *DRAW_UNCERTAINTIES))
        check_option("target", target, ("mask", "label", "border"))
        if target == "border":
            self._check_borders(method)
        elif target == "mask":
            self._check_mask_branch()
        else:
            self._check_class_head("predict_uncertainty(target='label')")
            if return_maps:
                raise ValueError("return_maps=True needs target='mask': a class label has no map.")
        if method in DRAW_UNCERTAINTIES:
            check_number("n_draws", n_draws, 2, integer=True)
            self._check_draws(method, target)
        images = as_images(X)
        rng = check_rng(self.random_state if random_state is None else random_state)
        seed = int(rng.integers(2**63 - 1))
        scores, maps, size = [], [], PartSize("predicting", _PREDICT_NOTE)
        for positions, x in self._batches(images):
            restore = self._restore(images, positions)

            def uncertainty(x, restore=restore):
                # The same seed for each batch: a score does not depend on where an image stands.
                values, mask_proba = inference.uncertainty_batch(
                    self.module_,
                    x,
                    method,
                    target,
                    n_draws,
                    self.has_masks_,
                    self.test_flips,
                    restore,
                    seed,
                )
                return {"values": values, "mask_proba": mask_proba}

            values, mask_proba = size.apply(uncertainty, x).values()
            if target == "label":
                scores.append(values)
            else:
                scores.append(aggregate_maps(values, aggregate, mask_proba=mask_proba))
            if return_maps:
                for i, map_ in zip(positions, values):
                    maps.append(inference.resize_maps(map_[None], images.size(i))[0])
        score = torch.cat(scores).cpu().numpy().astype(np.float64)
        return (score, stack(maps)) if return_maps else score

    @available_if(_is_in_parts)
    def gradient_embedding(self, X, loss="cross_entropy"):
        """What each image's own predicted mask would do to the last convolution, see `gradients`.

        Parameters
        ----------
        X : images
        loss : {"cross_entropy", "joint"}, default="cross_entropy"
            "joint" adds the Dice loss.

        Returns
        -------
        ndarray of shape (n, C * D), float
            Gradients of the mask loss, the predicted mask as truth, by the D weights of each of C
            pixel classes.

        Raises
        ------
        ValueError
            If it was fitted without any mask: the decoder has learned nothing.
        """
        check_option("loss", loss, ("cross_entropy", "joint"))
        return self._gradients(X, functools.partial(mask_gradients, loss=loss))

    @available_if(_is_in_parts)
    def gradient_length(self, X):
        """Root of the expected squared length of such gradients: ndarray of shape (n,), float."""
        return self._gradients(X, mask_gradient_length)

    def _gradients(self, X, function):
        self._check_fitted()
        if not self.has_masks_:
            remedy = "Fit with some masks, or take target='label'."
            raise ValueError(f"Gradients of masks need an estimator fitted with masks. {remedy}")
        size, of_batch = (
            PartSize("predicting", _PREDICT_NOTE),
            functools.partial(function, self.module_),
        )
        parts = [size.apply(of_batch, x) for _, x in self._batches(as_images(X))]
        return torch.cat(parts).cpu().numpy()

    def adversarial_divergence(
        self,
        X,
        epsilon=0.01,
        n_steps=1,
        aggregate="mean",
        target="mask",
        return_maps=False,
        random_state=None,
    ):
        """How far the worst small change of an image moves its prediction, in nats.

        Parameters
        ----------
        X : images
        epsilon : float, default=0.01
            Root mean square of the change, over pixels and channels in [0, 1].
        n_steps : int, default=1
            Power iterations towards the worst direction.
        aggregate, target, return_maps
            As of `predict_uncertainty`.
        random_state : None, int, Generator or RandomState, default=None
            Of the noise from which it starts. None takes the estimator's.

        Returns
        -------
        score : ndarray of shape (n,), float
            Of one view, without `test_flips`.
        maps : ndarray of shape (n, H, W), float32, or of n (H, W) arrays; with `return_maps`

        Raises
        ------
        ValueError
            If it was fitted without any mask, for ``target="mask"``.
        """
        self._check_fitted()
        check_option("target", target, ("mask", "label"))
        check_number("epsilon", epsilon, 0, open_low=True)
        check_number("n_steps", n_steps, 1, integer=True)
        if target == "label":
            self._check_class_head("adversarial_divergence(target='label')")
        elif not self.has_masks_:
            remedy = "Fit with some masks, or take target='label'."
            raise ValueError(f"Gradients of masks need an estimator fitted with masks. {remedy}")
        rng = check_rng(self.random_state if random_state is None else random_state)
        seed = int(rng.integers(2**63 - 1))
        images, size = as_images(X), PartSize("predicting", _PREDICT_NOTE)
        scores, maps = [], []
        for positions, x in self._batches(images):
            restore = self._restore(images, positions)

            def moved(x, restore=restore):
                # The same seed for each batch: a score does not depend on where an image stands.
                found, proba = adversarial_batch(
                    self.module_, x, target, epsilon, n_steps, seed, restore
                )
                return {"values": found.clip(min=0), "proba": proba}

            values, proba = size.apply(moved, x).values()
            of_mask = target == "mask"
            scores.append(
                aggregate_maps(values, aggregate, mask_proba=proba) if of_mask else values
            )
            if return_maps:
                for i, map_ in zip(positions, values):
                    maps.append(inference.resize_maps(map_[None], images.size(i))[0])
        score = torch.cat(scores).cpu().numpy().astype(np.float64)
        return (score, stack(maps)) if return_maps else score

    def score_masks(self, X, masks):
        """Mean Dice of the foreground over the images that have a mask; see `metrics.mean_dice`."""
        return mean_dice(
            self.predict_masks(X),
            class_masks(self, masks, len(as_images(X))),
            n_mask_classes=self.n_mask_classes,
        )


def join_batches(parts):
    """Batches of predictions as one array, or as one of arrays where sizes differ."""
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    return stack([row for part in parts for row in part])
