"""Arguments of `JointCAMSegmenter` that belong together, as values: `Network`, `Schedule`, ..."""

import dataclasses
import numbers
from dataclasses import dataclass

import numpy as np

from alseg.network import POOLINGS
from alseg.segmenter.option_values import Options
from alseg.training import (
    CONSISTENCY_TARGETS,
    FLIPS,
    ObjectReader,
    check_hook,
    check_lr_schedule,
)
from alseg.validation import check_keys, check_number, check_option, message

_PHASE_OPTIONS = ("lr", "lr_schedule", "max_epochs")


@dataclass(frozen=True, eq=False, repr=False)
class Network(Options):
    """What is built on the encoder: the class head, dropout, and how images come in.

    Parameters
    ----------
    pooling : {"average", "max", "lse", "wildcat", "attention"} or None, default="average"
        How class maps become image logits, see `alseg.network.cam.CAMHead`. None is no class head:
        masks alone, and `y` may be None.
    cam_stride : int or None, default=16
        The class head sees the encoder's maps of this stride and deeper. None is the deepest alone.
    dropout : float in [0, 1), default=0.3
        Of channels of the decoder's output, in training and in stochastic draws.
    dropout_placement : {"last", "everywhere"}, default="last"
        ``"everywhere"`` drops channels after each level too; a draw then costs a whole pass.
    class_dropout : float in [0, 1), default=0.1
        Of channels of what the class head sees.
    normalize : {"auto", "half", "imagenet", "dataset"} or (mean, std), default="auto"
        Input normalisation. ``"half"`` maps [0, 1] to [-1, 1]; ``"auto"`` is ``"imagenet"`` with
        ``encoder_weights="imagenet"`` and ``"half"`` otherwise; ``"dataset"`` is one mean and one
        standard deviation of all pixels of the images of the first fit. A pair may hold numbers, or
        one of each channel. Of ``"imagenet"`` the three are repeated for further channels.

    Examples
    --------
    >>> Network(pooling="wildcat", dropout=0.3)
    Network(pooling='wildcat')
    """

    pooling: str | None = "average"
    cam_stride: int | None = 16
    dropout: float = 0.3
    dropout_placement: str = "last"
    class_dropout: float = 0.1
    normalize: object = "auto"

    def check(self):
        """Refuse a field that is out of its range, naming it as ``network.dropout``."""
        if self.pooling is not None:
            check_option("network.pooling", self.pooling, POOLINGS)
        for name in ("dropout", "class_dropout"):
            check_number(f"network.{name}", getattr(self, name), 0, 0.999)
        check_option("network.dropout_placement", self.dropout_placement, ("last", "everywhere"))
        if not isinstance(self.normalize, str) and not is_pair(self.normalize):
            rule = "'auto', 'dataset', 'half', 'imagenet' or a pair (mean, std)"
            raise ValueError(message("network.normalize", rule, self.normalize))


@dataclass(frozen=True, eq=False, repr=False)
class WholeNetwork(Options):
    """A whole network of your own, which maps images to mask logits: a U-Net, a DeepLab, a ViT.

    It takes images (N, 3, H, W) and returns mask logits (N, C, H', W'), alone, first in a list
    (deep supervision) or in a dict or dataclass under ``mask_logits``, ``masks``, ``out`` or
    ``logits``. C is `n_mask_classes`; one map z, before a sigmoid, counts as the logits (0, z).
    Logits of the images' classes (N, K) beside them, under ``class_logits`` or ``logits``, or
    second in a tuple, are a class head; without them it gives masks alone, and `y` may be None.
    Images are padded to a multiple of its stride, and logits brought to their size. There are no
    class activation maps, and a stochastic draw costs a whole pass.

    Parameters
    ----------
    module : nn.Module or callable
        A module is copied at fit: each fit from scratch starts from its weights. A function (or a
        class) makes a new one in each fit, by the seed; it is called with those of ``n_classes``,
        ``n_mask_classes`` and ``n_channels`` that it names.
    embedding_layer : str or None, default=None
        Dotted name, as of ``module.named_modules()``, of the layer that `transform` takes: the mean
        over positions of its maps (N, D, h, w), or over its tokens (N, T, D). None is the layer
        that gives the smallest maps; the last one, where several do.
    stride : int or None, default=None
        Height and width must be multiples of it. None finds it by trying powers of two, and 14.
    encoder : str or None, default=None
        Dotted name of a pretrained part, which learns at ``Schedule(encoder_lr_scale=)`` of the
        rate, 0.3 unless said otherwise, and is frozen with 0. None trains all of it alike.
    normalize : {"imagenet", "half", "dataset"} or (mean, std), default="imagenet"
        Input normalisation, as of `Network`: most pretrained networks expect ImageNet's.

    Examples
    --------
    >>> from torch import nn
    >>> WholeNetwork(nn.Conv2d(3, 2, 1), stride=1)
    WholeNetwork(module=Conv2d(3, 2, kernel_size=(1, 1), stride=(1, 1)), stride=1)
    """

    module: object = None
    embedding_layer: str | None = None
    stride: int | None = None
    encoder: str | None = None
    normalize: object = "imagenet"

    def check(self):
        """Refuse a field that is out of its range, naming it as ``network.stride``."""
        if not callable(self.module):
            raise TypeError(message("network.module", WHOLE, self.module))
        if self.stride is not None:
            check_number("network.stride", self.stride, 1, integer=True)
        for name in ("embedding_layer", "encoder"):
            part = getattr(self, name)
            if part is not None and not (isinstance(part, str) and part):
                raise TypeError(message(f"network.{name}", "None or a dotted name", part))
        if isinstance(self.normalize, str):
            check_option("network.normalize", self.normalize, ("dataset", "half", "imagenet"))
        elif not is_pair(self.normalize):
            rule = "'dataset', 'half', 'imagenet' or a pair (mean, std)"
            raise ValueError(message("network.normalize", rule, self.normalize))


WHOLE = "a torch module, or a function that makes one"


def as_network(value):
    """A module, or a function that makes one, as the `WholeNetwork` that it means.

    Anything else comes back as it is.

    Examples
    --------
    >>> as_network(lambda n_mask_classes: None).stride is None, as_network(Network("max"))
    (True, Network(pooling='max'))
    """
    if isinstance(value, Options) or not callable(value):
        return value
    return WholeNetwork(value)


@dataclass(frozen=True, eq=False, repr=False)
class Augmentation(Options):
    """How images are moved and coloured in training, anew each time.

    Parameters
    ----------
    flips : {"both", "horizontal", "none"}, default="both"
        Random flips; ``"horizontal"`` for natural images.
    joint_flip : bool, default=True
        False flips images and not their masks: a defect of published code, for comparison.
    affine : None or (scale, degrees), default=(0.25, 15.0)
        Random zoom and rotation.
    jitter : float in [0, 1], default=0.15
        Random gain and offset of each channel, however many there are.
    stain : float in [0, 1], default=0.0
        Random amounts of haematoxylin and eosin, for histology alone, see
        `alseg.training.stain_jitter`. Published strengths are 0.05 (light) and 0.2 (strong).
    hook : None or callable, default=None
        ``hook(images, masks)`` gives a batch back as it is to be trained on, after all of the
        above: images (N, C, H, W), float in [0, 1], and masks (N, H, W), int64, -1 where not
        annotated. Of the keywords `generator` (a torch.Generator, by which it repeats), `labels`
        and `mask_weight` it is passed those that it names; the last two come back after the masks.
        See `alseg.training.from_kornia`, `from_torchvision` and `from_albumentations`.
    copy_paste : float in [0, 1], default=0.0
        With this probability an image receives annotated objects of another one of the batch, with
        their pixels, mask and weights [1]_, see `alseg.training.copy_paste`. In one without a mask
        they alone are annotated. Its class label stays. Before the hook.
    mixup : float, default=0.0
        Alpha of mix-up [2]_, such as 0.2; 0 is none. Each image becomes lam times itself plus
        (1 - lam) times another one of the batch, lam ~ Beta(alpha, alpha) drawn for each batch, and
        the loss is lam times that of its own label and mask plus (1 - lam) times that of the
        other's. After the hook.
    n_views : int, default=8
        With a `feature_cache`, each image is moved and coloured in so many fixed ways, the same in
        every fit, instead of anew each time.

    References
    ----------
    .. [1] Ghiasi et al. 2021, Simple Copy-Paste, arXiv:2012.07177.
    .. [2] Zhang et al. 2018, mixup, arXiv:1710.09412.

    Examples
    --------
    >>> Augmentation(jitter=0.3) == Augmentation(flips="both", jitter=0.3)
    True
    """

    flips: str = "both"
    joint_flip: bool = True
    affine: tuple | None = (0.25, 15.0)
    jitter: float = 0.15
    stain: float = 0.0
    n_views: int = 8
    hook: object = None
    copy_paste: float = 0.0
    mixup: float = 0.0

    def check(self):
        """Refuse a field that is out of its range, naming it as ``augmentation.jitter``."""
        check_option("augmentation.flips", self.flips, FLIPS)
        check_affine(self.affine, "augmentation.affine")
        check_number("augmentation.jitter", self.jitter, 0, 1)
        check_number("augmentation.stain", self.stain, 0, 1)
        check_number("augmentation.n_views", self.n_views, 1, integer=True)
        check_hook("augmentation.hook", self.hook)
        check_number("augmentation.copy_paste", self.copy_paste, 0, 1)
        check_number("augmentation.mixup", self.mixup, 0)


@dataclass(frozen=True, eq=False, repr=False)
class Consistency(Options):
    """Consistency training on the images of each batch that have no mask [1]_.

    What the model, its average (with `Schedule.ema`: a mean teacher [2]_) or a `teacher` of your
    own says of a view is what the model has to say of the same view in stronger colours.

    Parameters
    ----------
    weight : float, default=1.0
        What the loss of these images counts beside that of masks. 0 is no consistency training.
    threshold : float in [0, 1] or "adaptive", default=0.95
        A pixel counts if its likeliest class has a larger probability. ``"adaptive"`` is a
        threshold of each class, lower for rarer ones, that rises as the model grows sure, see
        `alseg.training.AdaptiveThresholds`.
    ramp : float in [0, 1], default=0.25
        Share of the steps over which the weight rises from 0.
    jitter, stain : float in [0, 1], default=0.5, 0.0
        Strength of the strong colours, see `alseg.training.colour_jitter` and
        `alseg.training.stain_jitter`.
    targets : {"sure", "soft"}, default="sure"
        ``"soft"`` takes the probabilities of all pixels, whatever the threshold.
    cutmix : float in [0, 1], default=0.0
        With this probability an image gets a box of another one without a mask, with its targets,
        see `alseg.training.cut_boxes`. Needs a `weak_batch_size` of 2 or more.
    copy_paste : float in [0, 1], default=0.0
        With this probability an image gets the annotated objects of one with a mask, with their
        classes.
    within : bool, default=False
        Also of images annotated in part: their pixels that are not annotated. All images of a batch
        then come in strong colours.
    teacher : None or fitted estimator, default=None
        With `predict_mask_proba`, such as a `DeepEnsemble` of several fits: it says what the
        model is to say, which its own average does with None. Shared by clones, not saved.

    References
    ----------
    .. [1] Sohn et al. 2020, FixMatch, arXiv:2001.07685.
    .. [2] Tarvainen and Valpola 2017, arXiv:1703.01780.

    Examples
    --------
    >>> Consistency(0.5)
    Consistency(weight=0.5)
    """

    weight: float = 1.0
    threshold: float | str = 0.95
    ramp: float = 0.25
    jitter: float = 0.5
    stain: float = 0.0
    targets: str = "sure"
    cutmix: float = 0.0
    copy_paste: float = 0.0
    within: bool = False
    teacher: object = None

    def check(self):
        """Refuse a field that is out of its range, naming it as ``consistency.jitter``."""
        check_number("consistency.weight", self.weight, 0)
        if isinstance(self.threshold, str):
            if self.threshold != "adaptive":
                rule = "a number in [0, 1] or 'adaptive'"
                raise ValueError(message("consistency.threshold", rule, self.threshold))
        else:
            check_number("consistency.threshold", self.threshold, 0, 1)
        for name in ("ramp", "jitter", "stain", "cutmix", "copy_paste"):
            check_number(f"consistency.{name}", getattr(self, name), 0, 1)
        check_option("consistency.targets", self.targets, CONSISTENCY_TARGETS)
        if self.teacher is not None and not hasattr(self.teacher, "predict_mask_proba"):
            rule, found = "None or a fitted estimator with predict_mask_proba", type(self.teacher)
            raise TypeError(message("consistency.teacher", rule, found.__name__))


@dataclass(frozen=True, eq=False, repr=False)
class Objects(Options):
    """What is learned of objects beside their class, and how they are told apart.

    One more output learns of each pixel of an object whether it is border [1]_, or how deep it
    lies. Classes are learned as without it. `predict_objects` then starts from what is inside, and
    spreads from there over the foreground (marker-controlled watershed). Lengths and areas are in
    pixels of the size at which the network works, whatever the size of the images.

    Parameters
    ----------
    kind : None or {"border", "distance"}, default="border"
        ``"border"`` learns which pixels of an object lie within `border_width` of its edge, of thin
        objects within half their largest depth. ``"distance"`` learns the depth, up to four times
        `border_width`. None learns nothing: objects are then connected parts of the foreground.
    border_width : float, default=3.0
    mask_kind : {"classes", "instances"}, default="classes"
        What masks hold: pixel classes, whose connected parts are objects; or, with two classes, the
        id of each object, 0 is background. Of an id that is in several parts each is an object.
    weight : float, default=1.0
        What this counts in the loss, beside the loss of classes.
    inside : float in [0, 1], default=0.5
        An object starts where the chance of being inside (foreground, and no border) is larger; or
        where the depth is, of which `border_width` is one half.
    min_size : None or float, default=None
        Smaller objects are left out, and smaller places start none. None is the size that 19 of 20
        objects have in the masks of the fit that are annotated everywhere; 0 with ``kind=None``.
    fill_holes : bool, default=True
        Whether holes in an object are its own.
    seam : None or float in [0, 1], default=None
        Two objects that touch are one where the mean chance of being inside, along the seam between
        them, is larger. None leaves them apart.

    References
    ----------
    .. [1] Chen et al. 2016, DCAN: deep contour-aware networks, arXiv:1604.02677.

    Examples
    --------
    >>> Objects("border", mask_kind="instances")
    Objects(mask_kind='instances')
    """

    kind: str | None = "border"
    border_width: float = 3.0
    mask_kind: str = "classes"
    weight: float = 1.0
    inside: float = 0.5
    min_size: float | None = None
    fill_holes: bool = True
    seam: float | None = None

    def check(self):
        """Refuse a field that is out of its range, naming it as ``objects.border_width``."""
        if self.kind is not None:
            check_option("objects.kind", self.kind, OBJECT_KINDS)
        check_number("objects.border_width", self.border_width, 0, open_low=True)
        check_option("objects.mask_kind", self.mask_kind, ("classes", "instances"))
        check_number("objects.weight", self.weight, 0)
        check_number("objects.inside", self.inside, 0, 1)
        if self.min_size is not None:
            check_number("objects.min_size", self.min_size, 0)
        if self.seam is not None:
            check_number("objects.seam", self.seam, 0, 1)

    def reader(self):
        """What reads of the masks of a fit what is learned of objects."""
        return ObjectReader(self.kind, self.border_width, self.mask_kind)


OBJECT_KINDS = ("border", "distance")


@dataclass(frozen=True, eq=False, repr=False)
class Schedule(Options):
    """What is trained when, from which weights, how fast, and which weights a fit ends with.

    Parameters
    ----------
    phases : {"joint", "two-phase"}, default="joint"
        ``"two-phase"`` trains encoder and class head first, for `max_epochs`, then freezes both,
        BatchNorm and dropout included, and trains the decoder for `max_epochs` (as published [1]_).
    class_phase : None or dict, default=None
        ``lr``, ``lr_schedule`` and ``max_epochs`` of the first of two phases, where they differ.
    start_from : None, str or Path, default=None
        A folder that `save` wrote: each fit starts from its weights, and the first of two phases
        is left out where there are masks. So all rounds of an experiment can start from one
        classifier, and new data from what was learned of other data: with ``phases="joint"`` heads
        of other classes, of images or pixels, begin anew. ``network.normalize="auto"`` is then the
        normalisation of that model.
    refit_epochs : int or None, default=None
        Epochs of a `partial_fit` that goes on from a fit. None is `max_epochs`.
    keep_epoch : {"last", "validation", "train_loss"}, default="last"
        Which weights a fit (each phase of it) ends with: the last; those with the best mean Dice
        at 0.5 on the validation part (accuracy, while there is no mask to learn from; the later of
        equals); or those with the smallest training loss.
    ema : None or float in [0, 1), default=None
        Decay of a moving average of weights and BatchNorm statistics over the steps of a fit, such
        as 0.99, see `alseg.network.WeightAverage`. The fit ends with the average, and
        `keep_epoch` chooses among averages; callbacks see the weights that are trained.
    lr_schedule : {"one-cycle", "cosine", "constant"}, tuple or callable, default="one-cycle"
        Of the learning rate over the steps of a fit [2]_; ``"cosine"`` falls from the start to 0.
        ``("step", n, factor)`` multiplies by `factor` every `n` epochs, down to 1e-7;
        ``("poly", power)`` is (1 - step / n_steps) to that power. A function ``f(step, n_steps)``
        gives the share of `lr` at a step in [0, n_steps - 1] of a phase of a fit, at least 0.
    encoder_lr_scale : float, default=0.3
        The encoder's learning rate is this times `lr`. With 0 it is frozen, its BatchNorm too.
    clip_norm : float or None, default=None
        Largest norm of all gradients of a step.
    sampling : {"streams", "passes"}, default="streams"
        ``"streams"`` fills each batch from two streams, see `batch_size` and `weak_batch_size` of
        the estimator. ``"passes"`` shuffles all images (those with a mask or pseudo-mask, where
        nothing else is learned from) and takes `batch_size` at a time; the last batch of a pass is
        smaller.
    drop_tiny_last_batch : bool, default=True
        With ``sampling="passes"``, leave out a last batch of an eighth of `batch_size` or less.

    References
    ----------
    .. [1] Belharbi et al. 2021, arXiv:2010.04889.
    .. [2] Smith and Topin 2017, arXiv:1708.07120.

    Examples
    --------
    >>> Schedule(ema=0.99, lr_schedule=("step", 100, 0.9))
    Schedule(ema=0.99, lr_schedule=('step', 100, 0.9))
    """

    phases: str = "joint"
    class_phase: dict | None = None
    start_from: object = None
    refit_epochs: int | None = None
    keep_epoch: str = "last"
    ema: float | None = None
    lr_schedule: object = "one-cycle"
    encoder_lr_scale: float = 0.3
    clip_norm: float | None = None
    sampling: str = "streams"
    drop_tiny_last_batch: bool = True

    def check(self):
        """Refuse a field that is out of its range, naming it as ``schedule.ema``."""
        check_option("schedule.phases", self.phases, ("joint", "two-phase"))
        self._check_class_phase()
        if self.refit_epochs is not None:
            check_number("schedule.refit_epochs", self.refit_epochs, 0, integer=True)
        check_option("schedule.keep_epoch", self.keep_epoch, ("last", "validation", "train_loss"))
        if self.ema is not None:
            check_number("schedule.ema", self.ema, 0, 0.99999)
        check_lr_schedule("schedule.lr_schedule", self.lr_schedule)
        check_number("schedule.encoder_lr_scale", self.encoder_lr_scale, 0)
        if self.clip_norm is not None:
            check_number("schedule.clip_norm", self.clip_norm, 0, open_low=True)
        check_option("schedule.sampling", self.sampling, ("streams", "passes"))

    def _check_class_phase(self):
        options, name = self.class_phase, "schedule.class_phase"
        if options is None:
            return
        check_keys(name, options, _PHASE_OPTIONS)
        if "lr" in options:
            check_number(f"{name}['lr']", options["lr"], 0, open_low=True)
        if "max_epochs" in options:
            check_number(f"{name}['max_epochs']", options["max_epochs"], 0, integer=True)
        if "lr_schedule" in options:
            check_lr_schedule(f"{name}['lr_schedule']", options["lr_schedule"])


@dataclass(frozen=True, eq=False, repr=False)
class Execution(Options):
    """How the same training is computed.

    Parameters
    ----------
    amp : bool or "auto", default=False
        bfloat16 autocast in training; the loss stays in float32. ``"auto"`` is on where a GPU
        computes in bfloat16, and off on a CPU.
    channels_last : bool, default=True
        Memory layout of the convolutions: faster, same results up to rounding.
    processes : None or "accelerate", default=None
        ``"accelerate"`` shares each batch among the processes that ``accelerate launch`` has
        started, one a GPU: each takes every n-th image of both streams, and gradients are averaged.
        All end with the same weights. `batch_size` and `weak_batch_size` have to be multiples of
        their number, and `random_state` an int.

    Examples
    --------
    >>> Execution(amp="auto")
    Execution(amp='auto')
    """

    amp: object = False
    channels_last: bool = True
    processes: object = None

    def check(self):
        """Refuse a field that is out of its range, naming it as ``execution.amp``."""
        if self.amp not in (False, True, "auto"):
            raise ValueError(message("execution.amp", "False, True or 'auto'", self.amp))
        if self.processes not in (None, "accelerate"):
            rule = "None or 'accelerate'"
            raise ValueError(message("execution.processes", rule, self.processes))


KINDS = {
    "network": Network,
    "augmentation": Augmentation,
    "consistency": Consistency,
    "objects": Objects,
    "schedule": Schedule,
    "execution": Execution,
}
"""Arguments of the estimator that are such objects, and the class of each."""


def with_fields(params, present=None):
    """Parameters, with fields such as ``augmentation__jitter`` put into the objects they are of.

    Parameters
    ----------
    params : dict of str -> object
    present : dict of str -> object, default=None
        The objects as they are, where `params` has none. None are the defaults.

    Returns
    -------
    dict of str -> object
        With a new object of each argument of which a field is given. Nothing given is changed.

    Raises
    ------
    TypeError
        If there is no such field, or the argument holds something else than such an object.

    Examples
    --------
    >>> with_fields({"lr": 0.1, "augmentation__jitter": 0.3, "augmentation__flips": "none"})
    {'lr': 0.1, 'augmentation': Augmentation(flips='none', jitter=0.3)}
    """
    found, changes = {}, {}
    for name, value in params.items():
        argument, dunder, field = name.partition("__")
        if dunder and argument in KINDS:
            changes.setdefault(argument, {})[field] = value
        else:
            found[name] = value
    for argument, fields in changes.items():
        now = found.get(argument, (present or {}).get(argument, _DEFAULT))
        found[argument] = _changed(argument, now, fields)
    return found


_DEFAULT = object()


def _changed(argument, now, fields):
    kind = KINDS[argument]
    if now is _DEFAULT:
        now = None if kind in _IN_SHORT else kind()
    now = _as_kind(kind, now)
    if not isinstance(now, _allowed(kind)):
        name = f"{argument}__{next(iter(fields))}"
        raise TypeError(message(argument, f"{_example(argument)} to set {name}", now))
    return dataclasses.replace(now, **fields)


def check_kinds(model):
    """Refuse an argument of an estimator that is not the object it should be, or has a bad field.

    Parameters
    ----------
    model : JointCAMSegmenter

    Raises
    ------
    TypeError, ValueError
    """
    for argument, kind in KINDS.items():
        value = _as_kind(kind, getattr(model, argument))
        if not isinstance(value, _allowed(kind)):
            rule = _example(argument)
            if kind is Network:
                rule = f"{rule}, or {WHOLE}, or a WholeNetwork"
            raise TypeError(message(argument, rule, value))
        value.check()


def _as_kind(kind, value):
    """What stands for an object of this kind, as such an object."""
    of_kind = {Consistency: as_consistency, Objects: as_objects, Network: as_network}
    return of_kind[kind](value) if kind in of_kind else value


def _allowed(kind):
    return (Network, WholeNetwork) if kind is Network else kind


def as_consistency(value):
    """A number as the weight that it means, None as a weight of 0, and anything else as it is.

    Examples
    --------
    >>> as_consistency(0.5), as_consistency(None)
    (Consistency(weight=0.5), Consistency(weight=0.0))
    """
    if value is None:
        return Consistency(weight=0.0)
    if isinstance(value, numbers.Real):
        return Consistency(weight=value)
    return value


def as_objects(value):
    """The name of a kind as the `Objects` that it means, None as that of none.

    Examples
    --------
    >>> as_objects("distance"), as_objects(None).kind is None
    (Objects(kind='distance'), True)
    """
    if value is None or isinstance(value, str):
        return Objects(kind=value)
    return value


_IN_SHORT = {Consistency: "None, a number", Objects: "None, 'border', 'distance'"}


def uses_bare_images(estimator):
    """Whether images that have neither mask nor label are of use in training.

    By consistency, as what objects are pasted into, or as what is mixed with others.

    Examples
    --------
    >>> from alseg import JointCAMSegmenter
    >>> models = [{}, {"consistency": 1.0}, {"augmentation__mixup": 0.2}]
    >>> [uses_bare_images(JointCAMSegmenter(**with_fields(options))) for options in models]
    [False, True, True]
    """
    augmentation = getattr(estimator, "augmentation", None)
    mixes = isinstance(augmentation, Augmentation) and (
        augmentation.copy_paste or augmentation.mixup
    )
    return bool(mixes or as_consistency(getattr(estimator, "consistency", None)).weight)


def _example(argument):
    kind = KINDS[argument]
    made = f"{kind.__name__}({dataclasses.fields(kind)[0].name}=...)"
    article = "an" if made[0] in "AEO" else "a"
    if kind in _IN_SHORT:
        return f"{_IN_SHORT[kind]} or {article} {kind.__name__}, as {argument}={made}"
    return f"{article} {kind.__name__}, as {argument}={made}"


def is_pair(value):
    """Whether a value is a sequence of two."""
    return isinstance(value, (tuple, list, np.ndarray)) and len(value) == 2


def check_affine(affine, name="affine"):
    """Refuse a zoom and rotation that are no pair, or a zoom to nothing."""
    if affine is None:
        return
    if not is_pair(affine):
        raise ValueError(message(name, "None or a pair (scale, degrees)", affine))
    scale, degrees = affine
    check_number(f"{name}[0]", scale, 0, 0.99)
    check_number(f"{name}[1]", degrees, 0)
