"""What networks of other people return, and which of it are logits of pixels, or of images.

=================  =================================================================================
of pixels          a tensor (N, C, H', W'); (N, S, C, H', W') of S scales, the first the full one
..                 in a dict, dataclass or Hugging Face's ModelOutput: the first of the keys
                   ``mask_logits``, ``masks``, ``out``, ``logits`` that holds such a tensor
..                 in a list or tuple (deep supervision): the first such tensor
of images          a tensor (N, K) under ``class_logits``, or ``logits``; in a tuple the first such
=================  =================================================================================
"""

import dataclasses
from collections.abc import Mapping

import torch

from alseg.validation import message

MASK_KEYS = ("mask_logits", "masks", "out", "logits")
CLASS_KEYS = ("class_logits", "logits")


def mask_and_class_logits(out):
    """The logits in what a network returns; see the table at the head of this module.

    Parameters
    ----------
    out : tensor, mapping, dataclass, list or tuple

    Returns
    -------
    mask_logits : tensor of shape (N, C, H', W')
    class_logits : tensor of shape (N, K), or None

    Raises
    ------
    ValueError
        If there are none of pixels.

    Examples
    --------
    >>> masks, labels = torch.zeros(1, 2, 4, 4), torch.zeros(1, 3)
    >>> [None if t is None else tuple(t.shape) for t in mask_and_class_logits({"out": masks})]
    [(1, 2, 4, 4), None]
    >>> [tuple(t.shape) for t in mask_and_class_logits((masks, labels))]
    [(1, 2, 4, 4), (1, 3)]
    """
    named = fields_of(out)
    if named is not None:
        masks = [_first_map(named.get(key)) for key in MASK_KEYS]
        labels = [_logits_of_images(named.get(key)) for key in CLASS_KEYS]
    else:
        masks = [_first_map(out)]
        labels = [_logits_of_images(one) for one in out] if isinstance(out, (list, tuple)) else []
    mask_logits = next((one for one in masks if one is not None), None)
    if mask_logits is None:
        rule = (
            "a module that returns mask logits (N, C, H, W), alone, first in a list, or under one"
            f" of the keys {', '.join(MASK_KEYS)}"
        )
        remedy = "Wrap it in a module that does."
        raise ValueError(message("network", rule, _shown(out), remedy))
    return mask_logits, next((one for one in labels if one is not None), None)


def fields_of(out):
    """A mapping's or a dataclass's values by name, or None of anything else."""
    if isinstance(out, Mapping):
        return dict(out)
    if dataclasses.is_dataclass(out) and not isinstance(out, type):
        return {field.name: getattr(out, field.name) for field in dataclasses.fields(out)}
    return None


def with_two_classes(logits, n_classes):
    """One map z, before a sigmoid, as the logits (0, z) of two classes; others as they are.

    Examples
    --------
    >>> with_two_classes(torch.full((1, 1), 3.0), 2), with_two_classes(torch.ones(1, 3), 2).shape
    (tensor([[0., 3.]]), torch.Size([1, 3]))
    """
    if logits.shape[1] == 1 and n_classes == 2:
        return torch.cat([torch.zeros_like(logits), logits], 1)
    return logits


def pooled(out):
    """A vector an image of what a layer returns: the mean over positions, or over tokens.

    Parameters
    ----------
    out : tensor of shape (N, D, h, w), (N, T, D) or (N, D), or what holds some
        Of a list or tuple the last one counts, of a dict the first.

    Returns
    -------
    tensor of shape (N, D), or None
        None where there is no such tensor.

    Examples
    --------
    >>> pooled([torch.zeros(1, 8, 4, 4), torch.arange(4.0).reshape(1, 2, 1, 2)])
    tensor([[0.5000, 2.5000]])
    >>> pooled(torch.arange(4.0).reshape(1, 2, 2)), pooled("nothing")
    (tensor([[1., 2.]]), None)
    """
    maps = tensor_in(out)
    if maps is None or maps.ndim not in (2, 3, 4):
        return None
    if maps.ndim == 4:
        return maps.mean((2, 3))
    return maps.mean(1) if maps.ndim == 3 else maps


def tensor_in(out):
    """The tensor that stands for what a layer returns: the last of a list, the first of a dict."""
    if torch.is_tensor(out):
        return out
    named = fields_of(out)
    if named is not None:
        return next((one for one in named.values() if torch.is_tensor(one)), None)
    if isinstance(out, (list, tuple)):
        return next((one for one in reversed(out) if torch.is_tensor(one)), None)
    return None


def _first_map(value):
    if torch.is_tensor(value):
        if value.ndim == 5:
            return value[:, 0]
        return value if value.ndim == 4 else None
    if isinstance(value, (list, tuple)):
        return next((one for one in map(_first_map, value) if one is not None), None)
    return None


def _logits_of_images(value):
    return value if torch.is_tensor(value) and value.ndim == 2 else None


def _shown(out):
    if torch.is_tensor(out):
        return tuple(out.shape)
    named = fields_of(out)
    return type(out).__name__ if named is None else sorted(map(str, named))
