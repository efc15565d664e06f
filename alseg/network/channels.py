"""Encoders of images that have other than three channels: their first layer, adapted."""

import torch
from torch import nn

from alseg.validation import message


def input_channels(encoder):
    """How many channels an encoder takes: what it says, or its first convolution; 3 without one.

    Parameters
    ----------
    encoder : nn.Module

    Returns
    -------
    int

    Examples
    --------
    >>> input_channels(nn.Sequential(nn.Conv2d(5, 8, 3), nn.ReLU())), input_channels(nn.ReLU())
    (5, 3)
    """
    said = getattr(encoder, "in_channels", None)
    if isinstance(said, int):
        return said
    name = _first_convolution(encoder)
    return 3 if name is None else encoder.get_submodule(name).in_channels


def with_channels(encoder, n_channels):
    """An encoder that takes images of `n_channels`, its first convolution adapted where it must be.

    Of a convolution of three channels the weights are repeated, channel ``i`` getting those of
    ``i % 3``, and scaled by ``3 / n_channels``, so that its output keeps its size: what timm does
    with weights of RGB [1]_. No random number is drawn.

    Parameters
    ----------
    encoder : nn.Module
        Changed in place. One that takes `n_channels` already stays as it is.
    n_channels : int
        With three nothing is changed: the usual case, in which a module may do as it likes.

    Returns
    -------
    nn.Module
        The encoder.

    Raises
    ------
    ValueError
        If it takes another number, and that is not three, or it has no convolution to adapt.

    References
    ----------
    .. [1] Wightman 2019, PyTorch Image Models, doi:10.5281/zenodo.4414861, ``in_chans``.

    Examples
    --------
    >>> encoder = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False))
    >>> _ = encoder[0].weight.data.copy_(torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1))
    >>> with_channels(encoder, 5)[0].weight.flatten()
    tensor([0.6000, 1.2000, 2.4000, 0.6000, 1.2000], grad_fn=<ViewBackward0>)
    """
    found = input_channels(encoder)
    if n_channels in (3, found):
        return encoder
    name = _first_convolution(encoder)
    old = None if name is None else encoder.get_submodule(name)
    if found != 3 or old is None or old.in_channels != 3 or old.groups != 1:
        remedy = "Build it for them, or give images of as many channels as it takes."
        rule = f"one of {n_channels} channels, as the images have"
        shown = f"{type(encoder).__name__} of {found}"
        raise ValueError(message("encoder", rule, shown, remedy))
    weight = old.weight.detach()
    repeats = -(-n_channels // 3)
    weight = weight.repeat(1, repeats, 1, 1)[:, :n_channels] * (3 / n_channels)
    # In place: a subclass that pads in a way of its own stays what it is.
    old.in_channels = n_channels
    old.weight = nn.Parameter(weight.contiguous(), requires_grad=old.weight.requires_grad)
    if isinstance(getattr(encoder, "in_channels", None), int):
        encoder.in_channels = n_channels
    return encoder


def takes_channels(encoder, state, n_channels):
    """Whether weights are of an encoder whose first convolution takes `n_channels`.

    Parameters
    ----------
    encoder : nn.Module
    state : dict of str -> tensor
    n_channels : int
    """
    weight = state.get(f"{_first_convolution(encoder)}.weight")
    return weight is not None and weight.ndim == 4 and weight.shape[1] == n_channels


def of_channels(values, n_channels, name="network.normalize"):
    """Mean or standard deviation of an input normalisation for `n_channels`, as a tensor.

    Parameters
    ----------
    values : float or sequence of floats
        One for all channels, or one for each. Three, of RGB, are repeated as the weights of
        `with_channels` are.
    n_channels : int
    name : str

    Returns
    -------
    tensor of shape (1, 1, 1) or (n_channels, 1, 1), float32

    Examples
    --------
    >>> of_channels((0.1, 0.2, 0.3), 4).flatten(), of_channels(0.5, 4).flatten()
    (tensor([0.1000, 0.2000, 0.3000, 0.1000]), tensor([0.5000]))
    """
    values = torch.as_tensor(values, dtype=torch.float32).flatten()
    if len(values) == 3 and n_channels != 3:
        values = values.repeat(-(-n_channels // 3))[:n_channels]
    if len(values) not in (1, n_channels):
        raise ValueError(message(name, f"of one or {n_channels} numbers", values.tolist()))
    return values.reshape(-1, 1, 1)


def _first_convolution(encoder):
    """Name of the first convolution, in the order in which modules were added; None without one."""
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            return name
    return None
