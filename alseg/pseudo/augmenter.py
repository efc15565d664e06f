"""Self-labelled masks: which images get one, from which pixels, and what it counts."""

import functools
import numbers
import os

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from alseg.derived import joint_of, mask_proba_of, masks_of
from alseg.images import as_images, as_masks, fingerprint, soft_over, stack
from alseg.interfaces import (
    attribute_of,
    estimator_of,
    has_part,
    is_multilabel,
)
from alseg.labels import MISSING, as_labels, fraction_annotated, one_an_image
from alseg.metrics import best_threshold, mask_from_proba
from alseg.pseudo.agreement import colour_evidence, pixel_quality, rank_agreement
from alseg.pseudo.neighbours import (
    colour_histogram,
    paired_neighbours,
    within_class_cosine,
    within_class_distances,
)
from alseg.pseudo.refits import REFITS, FitOfRound
from alseg.query import as_schedule, predicted_doubt, pseudo_group
from alseg.validation import check_number, check_option, check_rng, message

_CHUNK = 16  # images whose probabilities are held at once
_EVIDENCE = ("cam", "colours")
_BY_PROBABILITY = ("sampled", "soft")  # labels that ask for no class of each pixel
# What a predicted pixel weighs at most: less than an expert's, so that it is never taken for one to
# choose a threshold by, and by so little that nothing else changes.
_BELOW_AN_EXPERT = float(np.nextafter(np.float32(1), np.float32(0)))


class PseudoLabelAugmenter(TransformerMixin, BaseEstimator):
    """Gives images without a mask the one that the model predicts [1]_.

    Pixels that the oracle has annotated are never overwritten, and nothing is kept: each
    `transform` predicts again, and an image leaves as soon as the oracle has answered for it. An
    image that the oracle has annotated in part gets predictions in its other pixels.

    Parameters
    ----------
    selection : {"neighbours", "confidence", "all", "ceal"}, default="neighbours"
        Which images, of those not fully annotated, get predictions. "neighbours": those with an
        annotated image among their `k` nearest by `descriptor` (the published rule), and those
        annotated in part. "confidence": those that the model is sure of, see `confidence`.
        "all": every one. "ceal": some of those that the model is certain of, as many as the
        `schedule` says [2]_, see `alseg.query.pseudo_group`; made to go with `ceal_sampling`.
    k : int, default=10
        Neighbours looked at by "neighbours". The paper has 40, which on its data, with fewer
        images than that in a class, lets every image pass; 5 to 10 make it a choice.
    same_class : bool, default=True
        Whether only images of one class can be neighbours.
    confidence : float in [0, 1], default=0.9
        What "confidence" asks of an image: the probability of the likeliest class, on average
        over its pixels without annotation, is at least this.
    weight : float in [0, 1], default=0.1
        What a predicted pixel counts in the loss, lambda in the paper; one of the oracle counts
        1 (and 1 is the largest number below it). With 0 nothing is predicted and the masks come
        back as they are: the baseline.
    threshold : None, float in [0, 1] or "validation", default=None
        From which probability on a pixel is foreground. None: the threshold of the estimator
        (`threshold_`, else its parameter, else 0.5). "validation": the one with the best mean
        IoU on validation images (`alseg.metrics.best_threshold`), as published. Without
        meaning for more than two mask classes, or with `sure`.
    sure : None, float in [0, 1] or pair of floats in [0, 1], default=None
        Use only pixels that the model is sure of and leave the others `MISSING`. A number: pixels
        whose likeliest class has a larger probability. A pair (low, high), for two mask classes:
        background where the probability of foreground is below `low`, foreground above `high`.
    agreement : None, float in [0, 1] or "weight", default=None
        Control by something other than the decoder. A number: leave an image out whose predicted
        mask the `evidence` agrees with less than this, see `alseg.pseudo.rank_agreement`; 0.5
        is chance. "weight": an image counts `weight` times ``2 a - 1`` for an agreement a, and not
        at all at chance or below. Needs some annotated foreground and background.
    evidence : tuple of {"cam", "colours"}, default=("cam", "colours")
        What has to agree, on average. "cam": the class activation map of the predicted class.
        "colours": those of the foreground and background in the annotated image (of the same class,
        with `same_class`) that is nearest by `descriptor`; an image annotated in part is its own.
        Without one there is no such evidence.
    validation : object with `images` and `masks`, or None, default=None
        What threshold="validation" is chosen on. None: the estimator's own `validation_`.
    verbose : int, default=0
        Whether to show progress while descriptors are computed.
    labels : {"hard", "weighted", "sampled", "soft"}, default="hard"
        "weighted" is "hard", and a pixel counts `weight` times the lead of its class: its
        probability minus that of the likeliest other one, 2 p - 1 for two classes; a pixel without
        a lead is left out. Of the cross-entropy to (1 - p, p) that is all but a pull towards 1/2
        of weight 2 - 2 p. With ``weight=1`` too, such masks are in the second stream of a batch.
        "sampled" draws the class of each pixel from its predicted probabilities, anew at each
        `transform`. The expected gradient of the cross-entropy is then that of soft labels, the
        probabilities themselves, which [2]_ trains on. "soft" gives these: a mask of
        probabilities, as a fit of `JointCAMSegmenter` takes them, with the expert's pixels as 0 and
        1. The last two know neither `threshold` nor `sure`.
    schedule : alseg.query.CEALSchedule, dict of its parameters, or None, default=None
        How many images "ceal" labels, by the number of images with an annotation. None is as
        published: from the fifth round of 35 after 600 on, 20 and then 20 more a round.
    n_draws : int, default=20
        Stochastic predictions that "ceal" judges an image by.
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides the draws and picks of "ceal", and "sampled" labels. `ActiveLearner` sets it.
    descriptor : {"histogram", "encoder"}, callable or array of shape (n_samples, d), \
default="histogram"
        What neighbours are alike in. "histogram": the colours, as published, kept in the life of
        the augmenter. "encoder": the embeddings that the estimator given to `fit` makes, its
        `transform(X)`, by the cosine between them; computed anew at each fit, for they are of that
        model. Or embeddings of your own, compared in the same way: an array with a row for each
        image of `X`, or a function of the images (a sequence of arrays (H, W, 3)) that makes one
        at each fit.
    refit : {"scratch", "continue", "published", "once"}, default="scratch"
        How `ActiveLearner` fits to the predicted masks, after the fit that predicts them.
        "scratch": from where that fit started. "continue": from that fit, so that none of its steps
        are lost. "published": as the released code of [1]_, that is from scratch, but the first fit
        learns from the masks that the model of the round before predicts, and where epochs are
        chosen by validation (``keep_epoch="validation"``) the better of the two fits is kept.
        "once": there is no such fit; the model of the round before predicts, and one fit learns
        from the masks and that, in the first round from the masks alone. With ``warm_start=True``
        this is how [2]_ goes on. With the last two, ``learner.fit()`` without a new mask goes on
        from the model as it is: a further round.

    Attributes
    ----------
    candidates_ : ndarray of int
        Images that may get predictions, ascending.
    pairs_ : ndarray of shape (n_pairs, 2), int
        With "neighbours", each unannotated candidate and its nearest annotated image.
    selected_ : ndarray of int
        After `transform`: the images that did get at least one predicted pixel.
    threshold_ : float or None
        After `transform`: the threshold used, None if none was needed.
    report_ : Bunch
        After `transform`, an entry for each candidate: ``sample_ids``, ``coverage`` (the share of
        its open pixels that are labelled now; 0 for an image left out), and ``agreement`` (nan
        without `agreement`). With `true_masks` in `fit` also ``accuracy`` and ``dice`` of the
        labelled pixels (nan where there are none).

    References
    ----------
    .. [1] Belharbi et al. 2021, WACV, doi:10.1109/WACV48630.2021.00338.
    .. [2] Gorriz et al. 2017, arXiv:1711.09168. It counts pseudo-labels fully: ``weight=1``.

    Examples
    --------
    >>> class Segmenter:  # anything with this method
    ...     def predict_mask_proba(self, X):
    ...         p = np.stack([X[i][..., 0] / 255 for i in range(len(X))])
    ...         return np.stack([1 - p, p], axis=1)
    >>> X = np.zeros((2, 1, 2, 3), dtype=np.uint8)
    >>> X[:, :, 1] = 200
    >>> masks = np.array([[[0, 1]], [[-1, -1]]])
    >>> augmenter = PseudoLabelAugmenter(k=1, weight=0.1)
    >>> masks, mask_weight = augmenter.fit_transform(X, ["a", "a"], masks=masks,
    ...                                              estimator=Segmenter())
    >>> masks.tolist(), mask_weight
    ([[[0, 1]], [[0, 1]]], array([1. , 0.1]))
    """

    def __init__(
        self,
        selection="neighbours",
        *,
        k=10,
        same_class=True,
        confidence=0.9,
        weight=0.1,
        threshold=None,
        sure=None,
        agreement=None,
        evidence=("cam", "colours"),
        validation=None,
        verbose=0,
        labels="hard",
        schedule=None,
        n_draws=20,
        random_state=None,
        descriptor="histogram",
        refit="scratch",
    ):
        self.selection = selection
        self.k = k
        self.same_class = same_class
        self.confidence = confidence
        self.weight = weight
        self.threshold = threshold
        self.sure = sure
        self.agreement = agreement
        self.evidence = evidence
        self.validation = validation
        self.verbose = verbose
        self.labels = labels
        self.schedule = schedule
        self.n_draws = n_draws
        self.random_state = random_state
        self.descriptor = descriptor
        self.refit = refit

    def fit(self, X, y=None, masks=None, *, estimator, true_masks=None):
        """Look at what is annotated and decide which images may get predictions.

        Parameters
        ----------
        X : images as everywhere: an array, a list of arrays of any sizes, or paths
        y : array-like of shape (n_samples,) or None, default=None
            Class labels of the images, for "neighbours" within one class: those without a label
            are one more class, as all are with None.
        masks : masks as everywhere, or None, default=None
            What the oracle has annotated; `MISSING` pixels and None are not.
        estimator : object with `predict_mask_proba`, or a learner with `estimator`
            Fitted already. It is used in `transform` and not changed. With
            ``descriptor="encoder"`` it also has a method `transform` that gives embeddings.
        true_masks : masks as everywhere, or None, default=None
            What the oracle would say, for the ``accuracy`` in `report_` alone.

        Returns
        -------
        self
        """
        self._check_parameters()
        images = as_images(X)
        n_samples = len(images)
        self._estimator = _segmenter(estimator)
        self._given_masks = masks
        self._masks = as_masks(masks, n_samples)
        self._true_masks = None if true_masks is None else as_masks(true_masks, n_samples)
        self._examples = {}
        self._check_descriptor(n_samples)
        self.pairs_ = np.empty((0, 2), dtype=int)
        self.candidates_ = np.empty(0, dtype=int)
        if self.weight == 0:
            return self
        self._check_evidence()
        annotated = np.array([fraction_annotated(self._masks[i]) for i in range(n_samples)])
        self._held_out = self._known_held_out(images, annotated)
        # Spawned from one seed: what fit draws does not change what transform draws.
        seed = int(check_rng(self.random_state).integers(2**31 - 1))
        self._seeds = np.random.SeedSequence(seed).generate_state(3) >> 1
        # Not before they are wanted: without an annotated image there is no neighbour.
        blocks = functools.cache(lambda: self._distances(images, self._check_labels(y, n_samples)))
        if self.agreement is not None and "colours" in self.evidence:
            self._examples = self._nearest_annotated(blocks, annotated)
        if self.selection == "ceal":
            self.candidates_ = self._certain(images, annotated)
            return self
        if self.selection != "neighbours":
            self.candidates_ = np.flatnonzero(annotated < 1)
            return self
        self._check_labels(y, n_samples)
        if (annotated > 0).any() and (annotated == 0).any():
            self.pairs_ = np.stack(paired_neighbours(blocks(), annotated > 0, self.k), axis=1)
        # Nothing looks more like a partly annotated image than that image itself.
        partly = np.flatnonzero((annotated > 0) & (annotated < 1))
        self.candidates_ = np.union1d(self.pairs_[:, 0], partly)
        return self

    def fits_of_round(self, warm_start=False):
        """The fits that a round makes with this augmenter, as `refit` says.

        Parameters
        ----------
        warm_start : bool, default=False
            Whether the first of them goes on from the model of the round before.

        Returns
        -------
        fits : list of alseg.pseudo.FitOfRound

        Raises
        ------
        ValueError
            If `refit` is not known, or "published" with a warm start.
        """
        check_option("refit", self.refit, REFITS)
        first = "last" if warm_start else "new"
        if self.refit == "once":
            return [FitOfRound(first, "last")]
        if self.refit == "published":
            if warm_start:
                remedy = "The published way starts each fit anew."
                raise ValueError(
                    message("warm_start", "False with refit='published'", True, remedy)
                )
            return [FitOfRound("new", "carried"), FitOfRound("new", "this", keep_better=True)]
        again = warm_start or self.refit == "continue"
        return [FitOfRound(first), FitOfRound("this" if again else "new", "this")]

    def most_pseudo_masks(self, n_annotated, n_images):
        """How many of `n_images`, with so many annotated, get a mask at most, as an int."""
        if self.weight == 0:
            return 0
        n_open = n_images - n_annotated
        if self.selection != "ceal":
            return n_open
        return min(as_schedule(self.schedule).n_pseudo(n_annotated), n_open)

    def transform(self, X):
        """Predict the candidates and merge the predictions into the oracle's masks.

        Parameters
        ----------
        X : the images that `fit` was given

        Returns
        -------
        masks : ndarray of shape (n_samples, H, W), int16, or (n_samples,), object
            An object array, with None where there is neither an annotation nor a prediction, if
            there is a None or the sizes differ, and with ``labels="soft"``, where predicted ones
            are (C, H, W), float32. With weight=0, the masks that `fit` was given.
        mask_weight : ndarray of shape (n_samples,), float, or of pixels
            1, and `weight` for a predicted mask. If an image holds both, or with
            ``labels="weighted"``, a weight for each pixel: shape (n_samples, H, W), or an object
            array of 2-D arrays where the sizes differ.
        """
        check_is_fitted(self)
        images = as_images(X)
        n_samples = len(self._masks)
        if len(images) != n_samples:
            rule = f"the {n_samples} images that fit was given"
            raise ValueError(message("X", rule, len(images)))
        self.selected_, self.threshold_ = np.empty(0, dtype=int), None
        self._labelling = np.random.default_rng(self._seeds[2]) if self.weight else None
        nothing = np.empty(0)
        self.report_ = Bunch(sample_ids=self.candidates_, coverage=nothing, agreement=nothing)
        if self.weight == 0:
            return self._given_masks, np.ones(n_samples)
        masks = [self._masks[i] for i in range(n_samples)]
        weight, mixed, selected, rows = np.ones(n_samples), {}, [], []
        for i, proba, cam in self._predictions(images):
            predicted = self._pseudo_mask(i, proba, masks[i])
            agreement = self._agreement(i, predicted, cam, images)
            share = self._share(agreement)
            if not share:
                predicted[:] = MISSING
            rows.append((*self._quality(i, predicted, masks[i]), agreement))
            filled = predicted != MISSING
            if not filled.any():
                continue
            selected.append(i)
            pixels = min(self.weight * share, _BELOW_AN_EXPERT)
            if self.labels == "weighted":
                pixels = pixels * _lead(proba, predicted)
            partly = fraction_annotated(masks[i]) > 0
            if partly or np.ndim(pixels):
                mixed[i] = np.where(filled, pixels, 1.0).astype(np.float32)
            else:
                weight[i] = pixels
            if self.labels == "soft":
                masks[i] = soft_over(proba, masks[i])
            else:
                masks[i] = np.where(filled, predicted, masks[i]) if partly else predicted
        self.selected_ = np.array(selected, dtype=int)
        columns = np.array(rows, dtype=float).reshape(-1, 4).T
        self.report_.update(zip(("coverage", "accuracy", "dice", "agreement"), columns))
        if self._true_masks is None:
            del self.report_["accuracy"], self.report_["dice"]
        found = _each(masks) if self.labels == "soft" else stack(masks)
        return found, _weights(weight, mixed, images)

    def precompute(self, X):
        """Compute the colour histograms of a pool ahead of its first `fit`.

        They are kept with the augmenter, by the content of an image (or by path, size and time
        of a file), so no later `fit` on these images, or on some of them, computes them again. With
        another `descriptor` there is nothing to compute ahead.

        Parameters
        ----------
        X : images as everywhere

        Returns
        -------
        self
        """
        images = as_images(X)
        if self._is_published():
            self._histograms(images)
        return self

    def _certain(self, images, annotated):
        """CEAL's fourth group among the images without an annotation, as dataset positions."""
        schedule = as_schedule(self.schedule)
        n = schedule.n_pseudo(int((annotated > 0).sum()))
        unlabelled = np.flatnonzero(annotated == 0)
        if n == 0 or not len(unlabelled):
            return np.empty(0, dtype=int)
        pool = images.take(unlabelled)
        seed = int(self._seeds[0])
        score, empty = predicted_doubt(
            self._estimator, pool, self.n_draws, seed, chunk=_CHUNK, masks_of=masks_of
        )
        # Positions in the pool are not those in the data set: the released code mixes them up.
        return unlabelled[pseudo_group(score, empty, n, random_state=int(self._seeds[1]))]

    def _check_parameters(self):
        check_option("selection", self.selection, ["neighbours", "confidence", "all", "ceal"])
        check_option("labels", self.labels, ["hard", "weighted", *_BY_PROBABILITY])
        check_option("refit", self.refit, REFITS)
        as_schedule(self.schedule)
        check_number("n_draws", self.n_draws, 2, integer=True)
        for name in ("sure", "threshold"):
            value = getattr(self, name)
            if self.labels in _BY_PROBABILITY and value is not None:
                rule = f"None with labels={self.labels!r}"
                raise ValueError(message(name, rule, value, "Take one of the two."))
        if isinstance(self.agreement, str):
            check_option("agreement", self.agreement, ["weight"])
        elif self.agreement is not None:
            check_number("agreement", self.agreement, 0, 1)
        known = isinstance(self.evidence, (tuple, list)) and len(self.evidence) > 0
        if not known or any(name not in _EVIDENCE for name in self.evidence):
            raise ValueError(message("evidence", f"one or more of {_EVIDENCE}", self.evidence))
        check_number("k", self.k, 1, integer=True)
        check_number("confidence", self.confidence, 0, 1)
        check_number("weight", self.weight, 0, 1)
        if isinstance(self.threshold, str):
            check_option("threshold", self.threshold, ["validation"])
        elif self.threshold is not None:
            check_number("threshold", self.threshold, 0, 1)
        if isinstance(self.sure, numbers.Real):
            check_number("sure", self.sure, 0, 1)
        elif self.sure is not None:
            rule = "None, a number or a pair 0 <= low <= high <= 1"
            if isinstance(self.sure, str) or np.shape(self.sure) != (2,):
                raise ValueError(message("sure", rule, self.sure))
            if not 0 <= self.sure[0] <= self.sure[1] <= 1:
                raise ValueError(message("sure", rule, self.sure))

    @property
    def needs(self):
        """What it asks an estimator for, as `alseg.strategies.needs_of` tells it."""
        cams = self.agreement is not None and "cam" in self.evidence
        embedded = isinstance(self.descriptor, str) and self.descriptor == "encoder"
        drawn = self.selection == "ceal"
        found = (("cams", cams), ("draws", drawn), ("embeddings", embedded))
        return ("masks", *(part for part, needed in found if needed))

    def _check_evidence(self):
        if self.agreement is None or "cam" not in self.evidence:
            return
        if is_multilabel(self._estimator):
            rule = "('colours',) where images are of several classes, of which none has the map"
            raise ValueError(message("evidence", rule, self.evidence))
        if not has_part(self._estimator, "cams"):
            remedy = "Without a class head take evidence=('colours',)."
            raise ValueError(
                message(
                    "estimator",
                    "one with predict_joint for evidence='cam'",
                    type(self._estimator).__name__,
                    remedy,
                )
            )

    def _check_labels(self, y, n_samples):
        if not self.same_class:
            return None
        labels = as_labels(y, n_samples)
        if not one_an_image(labels, n_samples):
            raise ValueError(message("y", f"of shape ({n_samples},)", labels.shape))
        return labels

    def _histograms(self, images):
        """Descriptors of a pool, (n, 3, 256), each computed once in the life of the augmenter."""
        from tqdm import tqdm

        # Not in __init__, which keeps parameters only: a clone starts empty.
        known = vars(self).setdefault("_known_histograms", {})
        keys = _fingerprints(images)
        unknown = [i for i, key in enumerate(keys) if key not in known]
        for i in tqdm(unknown, desc="descriptors", disable=not (self.verbose and unknown)):
            known[keys[i]] = colour_histogram(images[i])
        return keys, np.stack([known[key] for key in keys])

    def _distances(self, images, labels):
        if not self._is_published():
            return within_class_cosine(self._embeddings(images), labels)
        keys, histograms = self._histograms(images)
        pool = (keys, None if labels is None else labels.tolist())
        if pool != getattr(self, "_pool", None):
            self._blocks = within_class_distances(histograms, labels)
            self._pool = pool
        return self._blocks

    def _is_published(self):
        return isinstance(self.descriptor, str) and self.descriptor == "histogram"

    def _check_descriptor(self, n_samples):
        if isinstance(self.descriptor, str):
            check_option("descriptor", self.descriptor, ["histogram", "encoder"])
            if self.descriptor == "encoder" and not has_part(self._estimator, "embeddings"):
                remedy = "Take descriptor='histogram', or give embeddings of your own."
                raise TypeError(
                    message(
                        "estimator",
                        "one with transform for descriptor='encoder'",
                        type(self._estimator).__name__,
                        remedy,
                    )
                )
        elif not callable(self.descriptor):
            _check_embeddings("descriptor", self.descriptor, n_samples)

    def _embeddings(self, images):
        if isinstance(self.descriptor, str):
            return _check_embeddings("transform(X)", self._estimator.transform(images), len(images))
        if callable(self.descriptor):
            return _check_embeddings("descriptor(images)", self.descriptor(images), len(images))
        return np.asarray(self.descriptor, dtype=float)

    def _predictions(self, images):
        """Sample id, class probabilities of pixels and CAM, a chunk of the candidates at a time."""
        for start in range(0, len(self.candidates_), _CHUNK):
            ids = self.candidates_[start : start + _CHUNK]
            chunk = images.take(ids)
            if self.agreement is None or "cam" not in self.evidence:
                proba = mask_proba_of(self._estimator, chunk)
                yield from zip(ids, proba, [None] * len(ids), strict=True)
                continue
            joint = joint_of(self._estimator, chunk, cams=True)  # both from one pass
            cams = [cam[k] for cam, k in zip(joint.cams, joint.proba.argmax(1), strict=True)]
            yield from zip(ids, joint.mask_proba, cams, strict=True)

    def _agreement(self, i, predicted, cam, images):
        """Of a predicted mask with what else is known of the image; nan if it is not asked for."""
        if self.agreement is None:
            return np.nan
        found = [] if cam is None else [rank_agreement(cam, predicted)]
        example = self._examples.get(int(i))
        if example is not None:
            evidence = colour_evidence(images[i], images[example], self._masks[example])
            found.append(rank_agreement(evidence, predicted))
        return float(np.mean(found)) if found else 0.5

    def _share(self, agreement):
        """What an image of such an agreement counts, in [0, 1]; 0 leaves it out."""
        if self.agreement is None:
            return 1.0
        if self.agreement == "weight":
            return max(0.0, 2 * agreement - 1)
        return float(agreement >= self.agreement)

    def _quality(self, i, predicted, mask):
        nothing = np.full(predicted.shape, MISSING)
        truth = None if self._true_masks is None else self._true_masks[i]
        open_pixels = (nothing if mask is None else mask) == MISSING
        return pixel_quality(predicted, nothing if truth is None else truth, open_pixels)

    def _nearest_annotated(self, blocks, annotated):
        """The image whose colours tell foreground, for each image that has one."""
        partly = np.flatnonzero((annotated > 0) & (annotated < 1))
        examples = {int(i): int(i) for i in partly}
        if (annotated > 0).any() and (annotated == 0).any():
            found = paired_neighbours(blocks(), annotated > 0, k=len(annotated))
            examples.update(zip(*(ids.tolist() for ids in found)))
        return examples

    def _pseudo_mask(self, i, proba, mask):
        """The predicted classes of one image, `MISSING` where they are not to be used."""
        if mask is not None and mask.shape != proba.shape[1:]:
            rule = f"of the size of the mask, {mask.shape}"
            raise ValueError(message(f"the prediction for image {i}", rule, proba.shape[1:]))
        open_pixels = np.ones(proba.shape[1:], bool) if mask is None else mask == MISSING
        likeliest = proba.max(axis=0)
        judged = self.selection == "confidence" and open_pixels.any()
        if judged and likeliest[open_pixels].mean(dtype=float) < self.confidence:
            return np.full(proba.shape[1:], MISSING, dtype=np.int16)
        if self.labels == "sampled":
            # Thresholds of the cumulated probabilities, one uniform number a pixel.
            steps = np.cumsum(proba, axis=0, dtype=float)
            u = self._labelling.random(proba.shape[1:]) * steps[-1]
            predicted = (u >= steps[:-1]).sum(axis=0).astype(np.int16)
        elif self.labels == "soft":
            predicted = proba.argmax(axis=0).astype(np.int16)
        elif self.sure is None:
            if len(proba) == 2 and self.threshold_ is None:
                self.threshold_ = self._resolve_threshold()
            predicted = mask_from_proba(proba, 0.5 if len(proba) > 2 else self.threshold_)
        elif isinstance(self.sure, numbers.Real):
            predicted = proba.argmax(axis=0).astype(np.int16)
            predicted[likeliest <= self.sure] = MISSING
        else:
            if len(proba) > 2:
                remedy = "Give the least probability of the likeliest class."
                raise ValueError(
                    message("sure", "a number with 3 or more mask classes", self.sure, remedy)
                )
            low, high = self.sure
            predicted = np.full(proba.shape[1:], MISSING, dtype=np.int16)
            predicted[proba[1] < low] = 0
            predicted[proba[1] > high] = 1
        predicted[~open_pixels] = MISSING
        if self.labels == "weighted":
            predicted[_lead(proba, predicted) == 0] = MISSING
        return predicted

    def _known_held_out(self, images, annotated):
        """What the estimator held out; of one that was loaded, found among the images again."""
        if self.threshold != "validation" or self.validation is not None:
            return None
        part = attribute_of(self._estimator, "validation_", None)
        if part is not None:
            return part
        known = attribute_of(self._estimator, "held_out_", ())
        held = [i for i in np.flatnonzero(annotated) if known and fingerprint(images[i]) in known]
        return Bunch(images=images.take(held), masks=self._masks.take(held)) if held else None

    def _resolve_threshold(self):
        if self.threshold == "validation":
            held_out = self.validation
            if held_out is None:
                held_out = self._held_out
            if held_out is None:
                remedy = "Give validation= here or to the estimator, or a number."
                raise ValueError(
                    message(
                        "threshold", "a number without validation images", self.threshold, remedy
                    )
                )
            images = as_images(held_out.images)
            masks = as_masks(held_out.masks, len(images))
            return best_threshold(
                _streamed_proba(self._estimator, images), (masks[i] for i in range(len(images)))
            )
        if self.threshold is not None:
            return float(self.threshold)
        for name in ("threshold_", "threshold"):
            own = attribute_of(self._estimator, name, None)
            if isinstance(own, numbers.Real):
                return float(own)
        return 0.5


def _check_embeddings(name, value, n_samples):
    rule = f"numbers of shape ({n_samples}, d), a row for each image"
    try:
        embeddings = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(message(name, rule, type(value).__name__)) from None
    if embeddings.ndim != 2 or len(embeddings) != n_samples:
        raise ValueError(message(name, rule, embeddings.shape))
    if not np.isfinite(embeddings).all():
        raise ValueError(message(name, "finite", "a value that is not"))
    return embeddings


def _lead(proba, labels):
    """How far the class of each pixel is ahead of the likeliest other one; 0 where it is not."""
    own = np.take_along_axis(proba, np.maximum(labels, 0)[None], axis=0)[0]
    others = np.where(np.arange(len(proba))[:, None, None] == labels, -np.inf, proba).max(axis=0)
    return np.maximum(own - others, 0)


def _segmenter(estimator):
    found = estimator_of(estimator)
    if has_part(found, "masks"):
        return found
    raise TypeError(message("estimator", "an object with predict_mask_proba", estimator))


def _streamed_proba(estimator, images):
    for start in range(0, len(images), _CHUNK):
        ids = np.arange(start, min(start + _CHUNK, len(images)))
        yield from mask_proba_of(estimator, images.take(ids))


def _fingerprints(images):
    """What tells two images apart for sure: path, size and time of a file, else its content."""
    paths = getattr(images, "paths", None)
    if paths is not None:
        found = [(os.path.abspath(path), os.stat(path)) for path in paths]
        return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in found]
    return [fingerprint(images[i]) for i in range(len(images))]


def _each(masks):
    """Masks as an object array, whatever their shapes: those of probabilities are no stack."""
    held = np.empty(len(masks), dtype=object)
    for i, mask in enumerate(masks):
        held[i] = mask
    return held


def _weights(weight, mixed, images):
    """One number an image where that says it all, else one a pixel."""
    if not mixed:
        return weight
    maps = []
    for i, w in enumerate(weight):
        flat = i not in mixed
        maps.append(np.full(images.size(i), w, dtype=np.float32) if flat else mixed[i])
    return stack(maps)
