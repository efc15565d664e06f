"""What skorch builds from the parameters of a segmenter: network, loss and optimizer."""

import copy
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.class_weight import compute_class_weight
from skorch import NeuralNet
from skorch.callbacks import Callback, PrintLog

from alseg.interfaces import takes_batch
from alseg.labels import MISSING
from alseg.network import (
    NORMALIZATIONS,
    FeatureMemory,
    JointCAMNetwork,
    normalization_numbers,
    normalization_of,
    starts_at_random,
)
from alseg.segmenter.checks import check_params, keywords
from alseg.segmenter.option_values import same_value
from alseg.segmenter.parameters import as_network, as_objects, with_fields
from alseg.segmenter.whole_networks import build_network, is_whole, network_facts
from alseg.training import build_criterion, criterion_options, resolve_device
from alseg.validation import check_option, message

# Weight of the class loss where an encoder starts from random weights. The loss's own 0.1 was
# chosen with trained encoders, whose features tell the classes from the start; from random weights
# the mask loss would shape the features alone, and a short fit hardly learn the class.
CLASS_SCALE_FROM_SCRATCH = 0.3

# What network and canvas are built from: a fit that goes on cannot follow a change of these.
_BUILT_FROM = (
    "encoder",
    "encoder_weights",
    "n_mask_classes",
    "objects",
    "image_size",
    "crop",
    "module",
    "compile",
)


class AssembledSegmenter(NeuralNet):
    """A skorch net whose parts follow from the parameters of `JointCAMSegmenter`."""

    _run = None  # a `TrainingRun`, while a fit is under way
    multilabel_ = False  # until a fit to a matrix of labels
    n_channels_ = 3  # until a fit says otherwise
    min_object_size_ = 0.0

    def __setattr__(self, name, value):
        # skorch takes any module set from outside for one of its own components and refuses it.
        if name in ("encoder", "network", "criterion"):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def _get_param_names(self):
        # skorch counts a set of its own, `_params_to_validate`, among the parameters.
        return [name for name in super()._get_param_names() if not name.startswith("_")]

    def __sklearn_clone__(self):
        # skorch counts all that a callback holds among its parameters: writers, files, connections.
        # A copy of one would be refused, or log where nobody looks.
        known = self.get_params(deep=False)
        params = {
            name: shared_callbacks(value)
            if name.startswith("callbacks")
            else clone(value, safe=False)
            for name, value in known.items()
        }
        model = type(self)(**params)
        for name in ("_metadata_request", "_sklearn_output_config"):  # as `clone` does
            if name in vars(self):
                vars(model)[name] = copy.deepcopy(vars(self)[name])
        return model

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
        """Whether the network classifies images, or gives masks alone.

        It does not with ``Network(pooling=None)``, and after a fit without any label.
        """
        return self._has_class_head_of(getattr(self, "classes_", (None,)))

    def _has_class_head_of(self, classes):
        return self._can_classify and len(classes) > 0

    @property
    def _can_classify(self):
        if is_whole(self):
            return network_facts(self).n_class_logits is not None
        return self.network.pooling is not None

    @property
    def has_cams(self):
        """Whether there are class activation maps."""
        return not is_whole(self) and self.has_class_head

    @property
    def has_draws(self):
        """Whether stochastic methods of `predict_uncertainty` have anything to draw."""
        if is_whole(self):
            facts = network_facts(self)
            return facts.draws_masks or facts.draws_classes
        return max(self.network.dropout, self.network.class_dropout) > 0

    @property
    def _learns_objects(self):
        return as_objects(self.objects).kind is not None

    @property
    def _headless(self):
        if self._can_classify:
            return "a fit without labels"
        return "a network of mask logits alone" if is_whole(self) else "Network(pooling=None)"

    @property
    def _default_callbacks(self):
        # A bar says that it goes on; the table of epochs is for those who ask for more.
        found = super()._default_callbacks
        return [(name, _EpochTable() if name == "print_log" else one) for name, one in found]

    @contextmanager
    def _on_device(self):
        """Show skorch the resolved device where it reads `self.device`, and put it back."""
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
        n_classes = max(1, len(self.classes_)) if hasattr(self, "classes_") else 2
        if is_whole(self):
            self.module_ = build_network(self, n_classes, *self._normalization())
        else:
            self.module_ = self._joint_network(n_classes)
        self._network.multilabel = getattr(self, "multilabel_", False)
        measured = same_value(as_network(self.network).normalize, "dataset")
        if measured and self._run is not None:
            self.module_.measure(self._run.data.images)
        if self.execution.channels_last:
            self.module_ = self.module_.to(memory_format=torch.channels_last)
        self._freeze_encoder()
        self._attach_memory()
        return self

    def _joint_network(self, n_classes):
        options = {
            "encoder": self.encoder,
            "encoder_weights": self.encoder_weights,
            "n_classes": n_classes,
            "n_mask_classes": self.n_mask_classes,
            "pooling": self.network.pooling if self.has_class_head else None,
            "cam_stride": self.network.cam_stride,
            "dropout": self.network.dropout,
            "dropout_placement": self.network.dropout_placement,
            "class_dropout": self.network.class_dropout,
        }
        options["mean"], options["std"] = self._normalization()
        known = keywords(self.module)
        if self._learns_objects:
            options["objects"] = True
        if self.n_channels_ != 3:
            self._check_takes_channels(known)
            options["n_channels"] = self.n_channels_
        if known is not None:  # a network that is one whole takes no encoder
            options = {name: value for name, value in options.items() if name in known}
        return self.module(**{**options, **self.get_params_for("module")})

    def _check_takes_channels(self, known):
        if known is not None and "n_channels" not in known:
            rule = f"a network with an argument `n_channels`, for images of {self.n_channels_}"
            raise ValueError(message("module", rule, self.module.__name__))

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
        memory = FeatureMemory(self.feature_cache)
        known = getattr(module, "feature_memory", None)  # of a fit that goes on
        if known is None or known.folder != memory.folder:
            module.feature_memory = memory

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

    @property
    def _memory_format(self):
        return torch.channels_last if self.execution.channels_last else torch.contiguous_format

    def _normalization(self):
        normalize = as_network(self.network).normalize
        if isinstance(normalize, str):
            check_option("network.normalize", normalize, ("auto", "dataset", *NORMALIZATIONS))
            if normalize == "dataset":
                normalize = "half"  # until the network has measured the images
            if normalize == "auto":
                normalize = normalization_of(self.encoder, self.encoder_weights)
        return normalization_numbers(normalize)

    def initialize_criterion(self):
        """Build the loss, with the class weights of the labels at hand."""
        options = self.get_params_for("criterion")
        self._criterion_from = {"criterion": self.criterion, **options}
        known = criterion_options(self.criterion) or ()
        if self._from_scratch() and ("class_scale" in known or not takes_batch(self.criterion)):
            options.setdefault("class_scale", CLASS_SCALE_FROM_SCRATCH)
        self._weighs_classes = self.class_weight is not None and self._run is not None
        known = () if self._run is None else self._run.all_codes[self._run.all_codes != MISSING]
        if self._weighs_classes and len(known) and self.multilabel_:
            options["class_weight"] = self._weight_of_columns()
        elif self._weighs_classes and len(known):
            y = self.classes_[known]
            weight = np.ones(len(self.classes_))
            present = np.unique(y)
            weight[np.searchsorted(self.classes_, present)] = compute_class_weight(
                self.class_weight, classes=present, y=y
            )
            options["class_weight"] = torch.as_tensor(weight, dtype=torch.float32)
        self.criterion_ = build_criterion(self.criterion, options)
        return self

    def _weight_of_columns(self):
        weight = [float(self.class_weight.get(name, 1.0)) for name in self.classes_.tolist()]
        return torch.as_tensor(weight, dtype=torch.float32)

    def _from_scratch(self):
        """Whether the encoder starts from random weights, see `starts_at_random`."""
        if self.schedule.start_from is not None:
            return False
        if is_whole(self):  # a module may have weights of its own
            return not isinstance(as_network(self.network).module, torch.nn.Module)
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
            part = getattr(self._network, "encoder", None)
            inside = set() if part is None else {id(p) for p in part.parameters()}
            encoder = [p for _, p in named if id(p) in inside]
            rest = [p for _, p in named if id(p) not in inside]
            groups = [{"params": rest, "lr": lr, "lr_scale": 1.0}]
            if encoder:
                scale = self.schedule.encoder_lr_scale
                groups.append({"params": encoder, "lr": lr * scale, "lr_scale": scale})
            self.optimizer_ = self.optimizer(groups, **options)
        return self

    def _set_frozen(self, frozen):
        for part in self.module_.class_parts():
            part.requires_grad_(not frozen)
        self._freeze_encoder()

    def _renew_optimizer(self):
        """A new optimizer for the frozen phase, or where an earlier fit's lacks something."""
        groups = self.optimizer_.param_groups
        known = {id(p) for group in groups for p in group["params"]}
        learn = {id(p) for p in self.module_.parameters() if p.requires_grad}
        if self._run.phase.name == "mask" or learn - known:
            with self._current_init_context("optimizer"):
                self.initialize_optimizer()
            for group in self.optimizer_.param_groups:  # skorch's `LRScheduler` goes on from it
                group["initial_lr"] = group["lr"]

    def _follow_parameters(self):
        """What a fit that goes on takes from parameters and labels anew."""
        now = {"criterion": self.criterion, **self.get_params_for("criterion")}
        changed = not same_value(getattr(self, "_criterion_from", now), now)
        if changed or self.class_weight is not None or getattr(self, "_weighs_classes", False):
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
        for name, value in as_network(self.network).get_params().items():
            params[f"network.{name}"] = value
        params["objects"] = as_objects(self.objects).kind
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


class _EpochTable(PrintLog):
    """A line an epoch, with ``verbose=2``; a sink of the user's always gets it."""

    def on_epoch_end(self, net, **kwargs):
        if net.verbose > 1 or self.sink is not print:
            super().on_epoch_end(net, **kwargs)


def _shortened(value):
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def shared_callbacks(given):
    """Callbacks for a copy of a net: objects of its own, that hold what those given hold.

    What they count anew in each fit is then no other net's, and where they write is the same.

    Parameters
    ----------
    given : callback, class, pair of a name and one of these, list of them, or None

    Examples
    --------
    >>> from skorch.callbacks import TensorBoard
    >>> writer = object()
    >>> (copied,) = shared_callbacks([TensorBoard(writer)])
    >>> copied.writer is writer
    True
    """
    if isinstance(given, (list, tuple)):
        return type(given)(shared_callbacks(one) for one in given)
    if not isinstance(given, Callback):
        return given
    try:
        return copy.copy(given)
    except Exception:  # whatever its class has to say about copies
        return given


def flat_callbacks(given):
    """The callback objects in callbacks as skorch takes them, or lists of them."""
    if isinstance(given, Callback):
        return [given]
    if isinstance(given, (str, type)) or not hasattr(given, "__iter__"):
        return []
    return [one for part in given for one in flat_callbacks(part)]
