"""A whole network of the user's in `JointCAMSegmenter`: looked at, checked, built."""

import inspect

import numpy as np
import torch

from alseg.network import (
    CANVAS,
    ForeignNetwork,
    JointCAMNetwork,
    check_part,
    examine,
    examined,
    forked_torch_rng,
    made,
)
from alseg.segmenter.parameters import Schedule, WholeNetwork, as_network
from alseg.training import check_crop, scaled
from alseg.validation import message


def is_whole(model):
    """Whether an estimator has a whole network of the user's."""
    return isinstance(as_network(model.network), WholeNetwork)


def network_facts(model, canvas=None, n_classes=2, n_channels=3):
    """What `alseg.network.examine` says of an estimator's whole network; asked again, remembered.

    Parameters
    ----------
    model : JointCAMSegmenter
    canvas : (int, int) or None, default=None
        None is what the parameters say of it, before any image is seen.
    n_classes, n_channels : int
        What a function that makes it is told.

    Returns
    -------
    NetworkFacts

    Raises
    ------
    TypeError, ValueError
        If the network does not take images of this size, or gives no mask logits.
    """
    options = as_network(model.network)
    canvas = _canvas_before(model) if canvas is None else tuple(canvas)
    source, known = options.module, _known(model, n_classes, n_channels)
    layout = (torch.channels_last, torch.contiguous_format)
    if not model.execution.channels_last:
        layout = layout[1:]

    def look():
        with forked_torch_rng(0):
            module = source if isinstance(source, torch.nn.Module) else made(source, **known)
        check_part(module, "network.encoder", options.encoder)
        given = canvas, options.stride, options.embedding_layer
        try:
            return examine(module, *given, memory_format=layout[0])
        except ValueError as error:
            if len(layout) == 1:
                raise
            try:
                examine(module, *given)
            except ValueError:
                raise error from error.__cause__
            rule = "False with this network, which takes images in no other layout"
            raise ValueError(message("execution.channels_last", rule, True, str(error))) from error

    told = () if isinstance(source, torch.nn.Module) else tuple(known.values())
    key = canvas, options.stride, options.embedding_layer, options.encoder, layout, told
    return examined(source, look, key)


def _known(model, n_classes, n_channels):
    return {
        "n_classes": n_classes,
        "n_mask_classes": model.n_mask_classes,
        "n_channels": n_channels,
    }


def _canvas_before(model):
    if model.crop is not None:
        crop = check_crop(model.crop)
        return scaled((crop["size"],) * 2, crop["scale"])
    size = model.image_size
    if size is None or isinstance(size, str):
        return CANVAS
    return tuple(int(side) for side in ((size,) * 2 if np.isscalar(size) else size))


def check_whole(model):
    """Refuse what does not go with an estimator's whole network, or what that cannot do.

    Parameters
    ----------
    model : JointCAMSegmenter
        Of parameters that are each by itself as they should be.

    Raises
    ------
    TypeError, ValueError
    """
    own = inspect.signature(type(model)).parameters
    for name in ("encoder", "encoder_weights"):
        value = getattr(model, name)
        if name in own and value is not own[name].default and value != own[name].default:
            rule = f"{own[name].default!r}, its default, with a whole network"
            raise ValueError(message(name, rule, value, "It has weights and parts of its own."))
    options = model.get_params_for("module")
    if options or model.module is not JointCAMNetwork:
        remedy = "The network is the one that `network` gives."
        shown = options or model.module
        raise ValueError(message("module", "left out with a whole network", shown, remedy))
    if model.feature_cache is not None:
        remedy = "It has no encoder whose maps could be kept."
        raise ValueError(
            message("feature_cache", "None with a whole network", str(model.feature_cache), remedy)
        )
    if model.schedule.phases != "joint":
        remedy = "There is no class head that could be trained by itself."
        rule = "'joint' with a whole network"
        raise ValueError(message("schedule.phases", rule, model.schedule.phases, remedy))
    scale = model.schedule.encoder_lr_scale
    if as_network(model.network).encoder is None and scale not in (Schedule.encoder_lr_scale, 1):
        rule = "left out with a whole network that does not say which part is its encoder"
        remedy = "Name it: WholeNetwork(module, encoder='...')."
        raise ValueError(message("schedule.encoder_lr_scale", rule, scale, remedy))
    check_facts(model, network_facts(model))
    source = as_network(model.network).module
    learns = not isinstance(source, torch.nn.Module) or any(
        p.requires_grad for p in source.parameters()
    )
    if model.max_epochs and not learns:
        remedy = (
            "Set requires_grad of those that should, or max_epochs=0 to predict with it as it is."
        )
        rule = "a module with parameters that learn"
        raise ValueError(message("network", rule, f"{_name_of(source)}, all frozen", remedy))


def check_facts(model, facts, n_classes=None, n_channels=None):
    """Refuse a network whose logits are not as many as there are classes.

    Parameters
    ----------
    model : JointCAMSegmenter
    facts : NetworkFacts
    n_classes, n_channels : int or None, default=None
        Image classes that are told apart (0: masks alone), and channels of the images. None is not
        known yet.

    Raises
    ------
    ValueError
    """
    name = _name_of(as_network(model.network).module)
    n, got = model.n_mask_classes, facts.n_mask_logits
    if got != n and (got, n) != (1, 2):
        rule = f"a module that gives {n} mask logits a pixel, as n_mask_classes says"
        remedy = f"Set n_mask_classes={got}, or give the network {n} channels."
        if got == 1:
            remedy = f"Give the network {n} channels."
        raise ValueError(message("network", rule, f"{name} with {got}", remedy))
    got = facts.n_class_logits
    if n_classes and got is not None and got != n_classes and (got, n_classes) != (1, 2):
        rule = f"a module that gives {n_classes} class logits, as y has classes"
        remedy = "A function that names n_classes is told how many."
        raise ValueError(message("network", rule, f"{name} with {got}", remedy))
    if n_channels is not None and facts.n_channels not in (n_channels, 1 if n_channels == 3 else 0):
        rule = f"a module that takes images of {n_channels} channels, as X has"
        remedy = "A function that names n_channels is told how many."
        raise ValueError(message("network", rule, f"{name} with {facts.n_channels}", remedy))
    if facts.stride is None and model.crop is not None:
        remedy = "Set image_size to it instead."
        raise ValueError(
            message("crop", f"None with {name}, which takes one size alone", model.crop, remedy)
        )


def _name_of(source):
    return getattr(source, "__name__", type(source).__name__)


def build_network(model, n_classes, mean, std):
    """The network that is trained: a copy of the user's module, or a new one.

    Parameters
    ----------
    model : JointCAMSegmenter
    n_classes : int
    mean, std : float or sequence of 3 floats

    Returns
    -------
    ForeignNetwork
    """
    options = as_network(model.network)
    facts = network_facts(model, getattr(model, "canvas_", None), n_classes, model.n_channels_)
    return ForeignNetwork(
        made(options.module, **_known(model, n_classes, facts.n_channels)),
        facts,
        n_classes=n_classes,
        n_mask_classes=model.n_mask_classes,
        classifies=bool(n_classes) and facts.n_class_logits is not None,
        mean=_of_channels(mean, facts.n_channels),
        std=_of_channels(std, facts.n_channels),
        encoder=options.encoder,
    )


def _of_channels(value, n_channels):
    """Three numbers, of RGB, as their mean for images of other channels."""
    value = np.asarray(value, dtype=float).ravel()
    return float(value.mean()) if value.size == 3 and n_channels != 3 else value
