"""PixelClassifier: scikit-learn on the features of single pixels, fitted in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import Bunch
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from alseg._types import Images, Masks, Random, StrPath
from alseg._version import __version__
from alseg.derived import doubt_of_labels, labels_of_proba
from alseg.images import as_images, as_masks, stack
from alseg.labels import MISSING, label_codes
from alseg.metrics import mask_from_proba, mean_dice
from alseg.network import forked_torch_rng, normalization_of
from alseg.progress import progress
from alseg.query import DRAW_UNCERTAINTIES, UNCERTAINTIES, sums_for
from alseg.query import aggregate as aggregate_maps
from alseg.segmenter.checks import check_labels, check_weight, checked_image_size
from alseg.segmenter.classifier_arrays import (
    STORABLE,
    below,
    is_storable,
    make_classifier,
    pack,
    unpack,
)
from alseg.segmenter.known_labels import KnownLabelsMixin
from alseg.segmenter.pixel_checks import check_pixel_params
from alseg.segmenter.pixel_features import (
    EncoderFeatures,
    feature_functions,
    image_features,
)
from alseg.segmenter.pixel_training import (
    answers,
    drawn_images,
    drawn_pixels,
    fitted_answers,
    fitted_labels,
    fitted_pixels,
    is_forest,
    mean_features,
    places_on,
    proba_maps,
    resized,
)
from alseg.segmenter.saving import (
    describe_params,
    from_json,
    read_parts,
    reading,
    write_model,
)
from alseg.training import AREAS, choose_canvas, decoded, resolve_device, to_unit
from alseg.validation import check_option, check_rng, message

FORMAT = "alseg.PixelClassifier/1"
# What a saved model does not decide: where it runs, and where anything is written.
_NOT_SAVED = ("classifier", "device", "feature_cache")


def _can_be_saved(model):
    """Whether `save` is there: the classifier is one that needs no pickle."""
    classifier = getattr(model, "classifier_", None)
    classifier = model.classifier if classifier is None else classifier
    if classifier is None or is_storable(classifier):
        return True
    rule = f"one of {STORABLE}, or a Pipeline of StandardScaler and one of them, to be saved"
    remedy = "Others could be written as a pickle alone, which runs code when it is read."
    raise TypeError(message("classifier", rule, classifier, remedy))


class PixelClassifier(KnownLabelsMixin, TransformerMixin, BaseEstimator):
    """Segment by a scikit-learn classifier of pixels, and classify images by their mean features.

    No network is trained: a fit takes seconds, and a few strokes are enough to see something. It
    has the surface of `JointCAMSegmenter`, so that learners, strategies, augmenters and comparisons
    take either. Class labels alone give no masks: there are no class activation maps.

    Parameters
    ----------
    classifier : scikit-learn classifier or None, default=None
        With ``predict_proba``. It is cloned, and parameters named `random_state` that are None are
        set at fit. None is a `RandomForestClassifier` of 100 trees with ``min_samples_leaf=5``.
    features : {"filters", "encoder"}, callable, or tuple of these, default="filters"
        What is known of a pixel:

        - ``"filters"``: intensity, edges and texture around it at several scales, see `sigmas`;
        - ``"encoder"``: feature maps of a pretrained network that stays as it is;
        - ``f(image) -> (H, W, d)``: a function of your own, of an image (H, W, 3), float32 in
          [0, 1], at the size of `image_size`.
    n_mask_classes : int, default=2
        Pixel classes, background (0) included.
    image_size : None, "large", "own", int or (int, int), default=None
        Height and width at which features are computed. None is the median size of the images of
        the first fit, scaled down to an area of at most 128 x 192; ``"large"`` to one of at most
        192 x 288; ``"own"`` is each image's own size: time and memory grow with its pixels.
    n_pixels : int or None, default=500
        Pixels drawn, at most, of those of an image that an expert annotated (weight 1 or more),
        and as many again of those of smaller weight; of each annotated class at least one. None is
        all of them.
    sigmas : (float, float), default=(0.5, 16.0)
        Smallest and largest scale of ``"filters"``, in pixels of `image_size`.
    encoder, encoder_weights
        Of ``"encoder"``, as of `JointCAMSegmenter`. Random weights follow `random_state`.
    encoder_strides : sequence of int, default=(4, 8, 16)
        Of the encoder's maps that are used.
    feature_cache : None, str or Path, default=None
        A folder for the encoder's maps of images that it has seen, which later fits and predictions
        then read. It may be shared, and deleted at any time.
    n_label_images : int, default=100
        Images, at most, that the image's class is learned from, drawn at random, of each class at
        least one.
    threshold : float in [0, 1], default=0.5
        Of the foreground probability, for two mask classes.
    n_jobs : int or None, default=None
        Images that are looked at at once, in threads, and trees that are grown at once. Results do
        not depend on it.
    random_state : None, int, Generator or RandomState, default=None
        Decides the pixels that are drawn and the classifier's randomness.
    device : str, default="auto"
        Of the encoder.
    verbose : int, default=0
        1 shows bars.

    Attributes
    ----------
    classifier_ : classifier or None
        Of pixels; None after a fit without masks.
    label_classifier_ : classifier, or list of one for each column of a matrix, or None
        Of images by their mean features; None after a fit without `y`.
    feature_functions_ : list of callable
        Each gives features of the pixels of an image.
    classes_ : ndarray of shape (K,)
        Image classes, sorted; ``[0]`` where `y` was None. Of a matrix its columns.
    multilabel_ : bool
        Whether it was fitted to a matrix of labels: images of several classes.
    has_masks_ : bool
    has_class_head : bool
        Whether it predicts image labels: False after a fit without `y`.
    canvas_ : (int, int) or None
        Size at which features are computed; None is each image's own.
    n_features_, n_channels_ : int
        Of a pixel: features, and channels of the images (3 of grey ones too).
    threshold_ : float
    device_ : str

    Examples
    --------
    >>> from alseg.datasets import make_glands
    >>> glands = make_glands(12, image_size=(32, 48), random_state=0)
    >>> model = PixelClassifier(n_pixels=100, random_state=0)
    >>> model = model.fit(glands.images, glands.labels, masks=glands.masks)
    >>> model.predict_masks(glands.images).shape
    (12, 32, 48)
    """

    __metadata_request__fit = {"masks": True, "mask_weight": True}

    def __init__(
        self,
        classifier: Any = None,
        features: Any = "filters",
        *,
        n_mask_classes: int = 2,
        image_size: Any = None,
        n_pixels: int | None = 500,
        sigmas: tuple[float, float] = (0.5, 16.0),
        encoder: Any = "efficientnet-lite0",
        encoder_weights: Any = "bundled",
        encoder_strides: Sequence[int] = (4, 8, 16),
        feature_cache: StrPath | None = None,
        n_label_images: int = 100,
        threshold: float = 0.5,
        n_jobs: int | None = None,
        random_state: Random = None,
        device: str = "auto",
        verbose: int = 0,
    ) -> None:
        self.classifier = classifier
        self.features = features
        self.n_mask_classes = n_mask_classes
        self.image_size = image_size
        self.n_pixels = n_pixels
        self.sigmas = sigmas
        self.encoder = encoder
        self.encoder_weights = encoder_weights
        self.encoder_strides = encoder_strides
        self.feature_cache = feature_cache
        self.n_label_images = n_label_images
        self.threshold = threshold
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    # -- fitting ---------------------------------------------------------------------------------

    def fit(
        self, X: Images, y: Any, masks: Masks = None, mask_weight: Any = None
    ) -> PixelClassifier:
        """Fit from scratch: a classifier of pixels, and one of images.

        Parameters
        ----------
        X : images
            As of `JointCAMSegmenter.fit`. Only images with an annotated pixel, and those of
            `n_label_images`, are read.
        y : array-like of shape (n,) or (n, K), or None
            Class label of each image, which may be missing, or a matrix of 0 and 1 of
            several classes. None learns masks alone.
        masks : None, ndarray of shape (n, H, W) int, or sequence of n (H, W) arrays, paths and None
            Pixel classes; -1 where not annotated. With none `predict_masks` is an error.
        mask_weight : None, array-like of shape (n,), or n arrays of shape (H, W), default=None
            What a pixel counts: 1 an expert's (the default), less a pseudo-mask's, 0 nothing.

        Returns
        -------
        self
            Left as it was if the fit fails.

        Raises
        ------
        ValueError
            If arguments disagree in length or size, a label or pixel class is not valid, a file
            cannot be read, there is neither a label nor an annotated pixel, or weights differ and
            the classifier takes none.
        """
        self.check_params()
        images = as_images(X)
        n = len(images)
        masks = as_masks(masks, n)
        weights = check_weight(mask_weight, images)
        named_classes, y = getattr(y, "columns", None), check_labels(y, n)
        classes, codes = label_codes(y)
        if y.ndim == 2:
            classes = np.arange(y.shape[1]) if named_classes is None else np.array(named_classes)
        labelled = (codes != MISSING).nonzero()[0]
        seed = int(check_rng(self.random_state).integers(2**31 - 1))
        drawn = drawn_pixels(images, masks, weights, self.n_mask_classes, self.n_pixels, seed)
        if not len(labelled) and not drawn:
            raise ValueError(
                "masks must be annotated in at least one pixel where there are no labels, got none"
                " that is. (fit requires y to be passed, but the target y is None.)"
            )
        canvas, device = self._canvas(images), resolve_device(self.device)
        named = labelled[drawn_images(codes[labelled], self.n_label_images, seed)].tolist()
        n_channels = images[min({*drawn, *named})].shape[2]  # of one that is read anyway
        new = {
            "classes_": classes,
            "multilabel_": y.ndim == 2,
            "canvas_": canvas,
            "device_": device,
            "has_masks_": bool(drawn),
            "threshold_": float(self.threshold),
            "n_channels_": n_channels,
            "feature_functions_": self._make_functions(seed, device, n_channels),
            "label_classifier_": None,
            "classifier_": None,
        }
        rows, embeddings = self._look(images, drawn, named, new)
        new["n_features_"] = len(embeddings[-1] if embeddings else rows[-1][0])
        if drawn:
            known = [drawn[i] for i in sorted(drawn)]
            targets, weight = (np.concatenate(part) for part in zip(*(k[1:] for k in known)))
            X_pixels = np.concatenate(rows)
            new["classifier_"] = fitted_pixels(
                self._own_classifier(), X_pixels, targets, weight, seed
            )
        if len(labelled):
            fitted = fitted_answers if y.ndim == 2 else fitted_labels
            known_labels = y if y.ndim == 2 else codes
            new["label_classifier_"] = fitted(np.stack(embeddings), known_labels[named])
        self.__dict__.update(new)
        return self

    def check_params(self) -> None:
        """Check all parameters, before any file is read.

        Raises
        ------
        TypeError, ValueError
            If one is out of its range or of another kind.
        """
        check_pixel_params(self)

    def _canvas(self, images):
        if self.image_size == "own":
            return None
        size = checked_image_size(self.image_size)
        if size is not None and size != "large":
            return size
        n = len(images)
        some = np.unique(np.linspace(0, n - 1, min(n, 1000)).round().astype(int))
        return choose_canvas([images.size(i) for i in some], AREAS[size])

    def _make_functions(self, seed, device, n_channels):
        def make_encoder():
            with forked_torch_rng(seed, device):
                return EncoderFeatures(
                    self.encoder,
                    self.encoder_weights,
                    self.encoder_strides,
                    device,
                    self.feature_cache,
                    n_channels,
                )

        return feature_functions(self.features, self.sigmas, make_encoder)

    def _look(self, images, drawn, named, new):
        """Features of the drawn pixels, and mean features of the images of `named`, in order."""
        wanted = set(named)
        rows, embeddings = [], {}

        def look(i):
            found = self._features(images, i, new)
            pixels = None
            if i in drawn:
                pixels = found[places_on(found.shape[:2], drawn[i][0], images.size(i))]
            return i, pixels, found.mean((0, 1)) if i in wanted else None

        for i, pixels, embedding in self._each(look, sorted({*drawn, *named}), "read"):
            if pixels is not None:
                rows.append(pixels)
            embeddings[i] = embedding
        return rows, [embeddings[i] for i in named]

    def _own_classifier(self):
        if self.classifier is not None:
            return clone(self.classifier)
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(100, min_samples_leaf=5, n_jobs=self.n_jobs)

    # -- prediction ------------------------------------------------------------------------------

    def _features(self, images, i, fitted):
        image = to_unit(decoded(images, i, fitted["canvas_"] or images.size(i)))
        n_channels = fitted.get("n_channels_", 3)  # earlier versions knew no other
        if len(image) != n_channels:
            rule = f"of {n_channels} channels, as at the fit (its first image)"
            raise ValueError(message("X", rule, f"{len(image)} channels"))
        # A copy: what is decoded is shared.
        image = np.array(image.movedim(0, -1).numpy(), order="C")
        return image_features(image, fitted["feature_functions_"])

    def _each(self, function, positions, what):
        """Yield ``function(i)`` in order, some images at once, none held longer than needed."""
        from joblib import Parallel, delayed

        jobs = Parallel(n_jobs=self.n_jobs, require="sharedmem", return_as="generator")
        with progress(what, len(positions), show=self.verbose > 0) as bar:
            for found in jobs(delayed(function)(i) for i in positions):
                bar.update()
                yield found

    def _predict_each(self, X, function):
        """A list of ``function(features, size)`` of each image; `size` is its own."""
        check_is_fitted(self)
        images = as_images(X)

        def predict(i):
            found = self._features(images, i, vars(self))
            return function(found, images.size(i))

        return list(self._each(predict, range(len(images)), "predict"))

    def _pixel_proba(self, features):
        """Class probabilities on the grid of the features: (C, h, w), float64."""
        return proba_maps(self.classifier_, self.classifier_, features, self.n_mask_classes)

    def _mask_proba(self, features, size):
        return resized(self._pixel_proba(features), size)

    def _label_proba(self, embeddings):
        if self.multilabel_:
            return answers(self.label_classifier_, np.stack(embeddings))
        found = self.label_classifier_.predict_proba(np.stack(embeddings))
        proba = np.zeros((len(found), len(self.classes_)))
        proba[:, self.label_classifier_.classes_] = found
        return proba

    @property
    def has_class_head(self) -> bool:
        """Whether it predicts image labels; so it does before a fit, too."""
        return getattr(self, "label_classifier_", self) is not None

    has_cams = False
    multilabel_ = False  # until a fit to a matrix of labels

    @property
    def has_draws(self) -> bool:
        """Whether it has draws, which are the trees of a forest."""
        return is_forest(self._own_classifier())

    def _check_labels(self, what):
        check_is_fitted(self)
        if not self.has_class_head:
            raise ValueError(
                f"{what} needs a fit with image labels, and this {type(self).__name__} was fitted"
                " with y=None: it gives masks alone. Use predict_masks, or give y."
            )

    def _check_masks(self, what):
        check_is_fitted(self)
        if not self.has_masks_:
            raise ValueError(
                f"{what} needs a fit with masks, and this {type(self).__name__} has seen none."
                " Begin with images drawn at random, as random_sampling does: annotate some of"
                " their pixels."
            )

    def predict_proba(self, X: Images) -> np.ndarray:
        """Class probabilities of images: ndarray of shape (n, K), float, rows summing to 1.

        Where an image is of several classes, each is by itself.
        """
        self._check_labels("predict_proba")
        return self._label_proba(self._predict_each(X, mean_features))

    def predict(self, X: Images) -> np.ndarray:
        """Class label of each image: ndarray of shape (n,), of the kind of `classes_`."""
        self._check_labels("predict")
        return labels_of_proba(self, self.predict_proba(X))

    def transform(self, X: Images) -> np.ndarray:
        """Embeddings of images, what their classes are told by: the mean features of their pixels.

        Parameters
        ----------
        X : images

        Returns
        -------
        ndarray of shape (n, n_features), float32
        """
        return np.stack(self._predict_each(X, mean_features))

    def predict_mask_proba(self, X: Images) -> np.ndarray:
        """Class probabilities of pixels, each image at its own size.

        Returns
        -------
        ndarray of shape (n, C, H, W), float32; of n (C, H, W) arrays where sizes differ
        """
        self._check_masks("predict_mask_proba")
        return stack(self._predict_each(X, self._mask_proba))

    def predict_masks(self, X: Images) -> np.ndarray:
        """Class of each pixel, each image at its own size.

        Returns
        -------
        ndarray of shape (n, H, W), int16; of n (H, W) arrays where sizes differ
        """
        self._check_masks("predict_masks")

        def mask(features, size):
            return mask_from_proba(self._mask_proba(features, size), self.threshold_)

        return stack(self._predict_each(X, mask))

    def predict_joint(self, X: Images) -> Bunch:
        """Everything about each image, its features computed once.

        Returns
        -------
        Bunch
            ``labels`` (n,) and ``proba`` (n, K), unless it was fitted without `y`; ``masks``
            (n, H, W) and ``mask_proba`` (n, C, H, W); as the methods of these names give them.
        """
        self._check_masks("predict_joint")
        found = self._predict_each(X, lambda *seen: (mean_features(*seen), self._mask_proba(*seen)))
        joint = Bunch(
            masks=stack([mask_from_proba(proba, self.threshold_) for _, proba in found]),
            mask_proba=stack([proba for _, proba in found]),
        )
        if self.has_class_head:
            joint.proba = self._label_proba([embedding for embedding, _ in found])
            joint.labels = labels_of_proba(self, joint.proba)
        return joint

    def predict_uncertainty(
        self,
        X: Images,
        method: str = "entropy",
        aggregate: Any = "mean",
        target: str = "mask",
        return_maps: bool = False,
        n_draws: int | None = None,
        random_state: Random = None,
    ) -> Any:
        """How unsure the model is of each image: larger is more worth asking.

        Parameters
        ----------
        X : images
        method : str, default="entropy"
            A name in `alseg.query.UNCERTAINTIES`, of the prediction; or, of pixels and with a
            forest, one in `DRAW_UNCERTAINTIES`: of its trees, each a draw.
        aggregate : str or callable, default="mean"
            How a map becomes a score, see `alseg.query.aggregation`. Maps are of the size at which
            features are computed.
        target : {"mask", "label"}, default="mask"
            Uncertainty of pixels, or of the image's class.
        return_maps : bool, default=False
            Return the maps too, each at its image's own size (``target="mask"``).
        n_draws, random_state : ignored
            The draws are the trees, all of them.

        Returns
        -------
        score : ndarray of shape (n,), float
        maps : ndarray of shape (n, H, W), float32, or of n (H, W) arrays; with `return_maps`
        """
        check_option("method", method, (*UNCERTAINTIES, *DRAW_UNCERTAINTIES))
        check_option("target", target, ("mask", "label"))
        what = f"predict_uncertainty(target={target!r})"
        if target == "label":
            self._check_labels(what)
            if return_maps:
                raise ValueError("return_maps=True needs target='mask': a class label has no map.")
            if method in DRAW_UNCERTAINTIES:
                rule = f"one of {sorted(UNCERTAINTIES)} for target='label', which has no draws"
                raise ValueError(message("method", rule, method))
            return doubt_of_labels(self, self.predict_proba(X), method)
        self._check_masks(what)
        members = self._members() if method in DRAW_UNCERTAINTIES else None

        def uncertainty(features, size):
            if members is None:
                proba = self._pixel_proba(features)
                values = UNCERTAINTIES[method](proba, axis=0)
            else:
                sums = sums_for(method, axis=0)
                for member in members:
                    sums.add(proba_maps(member, self.classifier_, features, self.n_mask_classes))
                proba, values = sums.mean(), DRAW_UNCERTAINTIES[method](sums)
            score = aggregate_maps(values[None], aggregate, mask_proba=proba[None])[0]
            return score, resized(values[None], size)[0] if return_maps else None

        found = self._predict_each(X, uncertainty)
        scores = np.array([score for score, _ in found], dtype=float)
        return (scores, stack([map_ for _, map_ in found])) if return_maps else scores

    def _members(self):
        """The trees of a forest, whose classes are those of the forest in the same order."""
        if is_forest(self.classifier_):
            return self.classifier_.estimators_
        rule = f"one of {sorted(UNCERTAINTIES)} without a forest, whose trees are the draws"
        raise ValueError(message("method", rule, f"draws of {type(self.classifier_).__name__}"))

    def score_masks(self, X: Images, masks: Masks) -> float:
        """Mean Dice of the foreground over the images that have a mask, in [0, 1]."""
        masks = as_masks(masks, len(as_images(X)))
        known = [masks[i] for i in range(len(masks))]
        return mean_dice(self.predict_masks(X), known, n_mask_classes=self.n_mask_classes)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []  # embeddings are float32
        tags.non_deterministic = self.random_state is None
        return tags

    # -- saving ----------------------------------------------------------------------------------

    @available_if(_can_be_saved)
    def save(self, path: StrPath) -> None:
        """Write the fitted model to a folder: arrays as safetensors, parameters as JSON.

        There is no such method with a classifier that only a pickle could hold; forests and trees,
        `LogisticRegression`, `GaussianNB`, and a `Pipeline` of `StandardScaler` and one of them can
        be saved. The new model takes the old one's place in one step.

        Parameters
        ----------
        path : str or Path
            A new folder, or one that `save` wrote before, which is replaced.

        Raises
        ------
        NotFittedError
            If it is not fitted.
        ValueError
            If `path` exists and is something else.
        """
        check_is_fitted(self)
        params = self.get_params(deep=False)
        known = {name: value for name, value in params.items() if name not in _NOT_SAVED}
        described, left_out = describe_params(known, {})
        record = {
            "format": FORMAT,
            "version": __version__,
            "params": described,
            "left_out": left_out,
            "own_classifier": pack("", self.classifier, fitted=False)[0],
            "classes": self.classes_.tolist(),
            "classes_dtype": self.classes_.dtype.str,
            "canvas": self.canvas_ and list(self.canvas_),
            "threshold": self.threshold_,
            "multilabel": self.multilabel_,
            "n_features": self.n_features_,
            "n_channels": self.n_channels_,
        }
        arrays = {}
        for name, part in (("classifier", self.classifier_), ("labels", self.label_classifier_)):
            record[name], own = pack(name, part)
            arrays.update({key: torch.from_numpy(array) for key, array in own.items()})
        for function in self.feature_functions_:
            if isinstance(function, EncoderFeatures):
                state = function.encoder.state_dict()
                arrays.update({f"encoder.{key}": tensor for key, tensor in state.items()})
                record["normalization"] = function.normalization
        write_model(path, record, arrays)

    @classmethod
    def load(cls, path: StrPath, device: str = "auto", **params: Any) -> PixelClassifier:
        """Read a model that `save` wrote; nothing in it is executed.

        Parameters
        ----------
        path : str or Path
        device : str, default="auto"
        **params
            Parameters that JSON could not hold, such as `features` that are functions and an
            `encoder` that is a module; an error names those that are needed. Others take the place
            of the saved ones.

        Returns
        -------
        PixelClassifier

        Raises
        ------
        FileNotFoundError, ValueError
            If the folder is not a saved model.
        """
        path = Path(path).expanduser()
        with reading(path):
            record, arrays = read_parts(path, FORMAT)
            saved = {name: from_json(value) for name, value in record["params"].items()}
            if record["own_classifier"]:
                saved["classifier"] = make_classifier(record["own_classifier"])
            fitted = {
                "classes_": np.array(record["classes"], dtype=np.dtype(record["classes_dtype"])),
                "canvas_": record["canvas"] and tuple(int(side) for side in record["canvas"]),
                "threshold_": float(record["threshold"]),
                "multilabel_": bool(record.get("multilabel", False)),
                "n_features_": int(record["n_features"]),
                "n_channels_": int(record.get("n_channels", 3)),
                "has_masks_": record["classifier"] is not None,
            }
            for name, attribute in (("classifier", "classifier_"), ("labels", "label_classifier_")):
                fitted[attribute] = unpack(name, record[name], arrays)
        for name in ("features", "encoder"):
            if name in record["left_out"] and name not in params:
                raise ValueError(
                    f"This model was saved with {name} of its own, which are code and not in the"
                    f" file: load(path, {name}=...) with the same."
                )
        model = cls(**{**saved, "device": device, **params})
        model.check_params()
        fitted["device_"] = resolve_device(device)
        model.__dict__.update(fitted)
        numbers = record.get("normalization")
        if isinstance(numbers, list):  # as it was given: JSON has no tuples
            numbers = tuple(map(tuple, numbers))
        model.feature_functions_ = model._loaded_functions(below("encoder", arrays), numbers)
        return model

    def _loaded_functions(self, state, normalization):
        weights, self.encoder_weights = self.encoder_weights, None  # all are the saved ones
        try:
            functions = self._make_functions(0, self.device_, self.n_channels_)
        finally:
            self.encoder_weights = weights
        for function in functions:
            if isinstance(function, EncoderFeatures):
                # Earlier versions, which did not keep it, knew what weights have by their names.
                function.load(state, normalization or normalization_of(self.encoder, weights))
        return functions
