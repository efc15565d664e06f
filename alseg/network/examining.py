"""What a whole network takes and gives, found by trying it on an image of zeros."""

import functools
import weakref
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from alseg.network.foreign_outputs import mask_and_class_logits, pooled, tensor_in
from alseg.network.joint import evaluated_twin, is_dropout
from alseg.validation import did_you_mean, message

# Strides that are tried, one after the other: powers of two, and the patches of ViTs.
STRIDES = (1, 2, 4, 8, 14, 16, 32, 64, 128)
CANVAS = (64, 96)  # where the size of the images is not known yet
_WIDE = (96, 160)  # at which maps are compared, whatever the images' size


@dataclass(frozen=True)
class NetworkFacts:
    """What `examine` finds out.

    Attributes
    ----------
    n_channels : int
        Channels of the images that it takes.
    stride : int or None
        Height and width must be multiples of it. None is a network that takes one size alone.
    scale : int
        By how much its mask logits are smaller than the images.
    n_mask_logits : int
    n_class_logits : int or None
        None where it gives none.
    embedding_layer : str
        Dotted name of the layer whose maps are the embedding; empty for the network itself.
    draws_masks, draws_classes : bool
        Whether any ``nn.Dropout*`` with a probability above 0 is before these logits.
    """

    n_channels: int
    stride: int | None
    scale: int
    n_mask_logits: int
    n_class_logits: int | None
    embedding_layer: str
    draws_masks: bool
    draws_classes: bool


def examine(
    module,
    canvas=CANVAS,
    stride=None,
    embedding_layer=None,
    memory_format=torch.contiguous_format,
):
    """Try a network, in evaluation mode, without a change of anything in it.

    Parameters
    ----------
    module : nn.Module
    canvas : (int, int), default=(64, 96)
        Height and width of the images that it has to take.
    stride : int or None, default=None
        None tries `STRIDES`. The smallest is taken at which a size that is no multiple of twice it
        works, and the logits come out smaller by one whole factor.
    embedding_layer : str or None, default=None
        None is the layer that gives the smallest maps of the whole image (or tokens for its
        patches), the last one where several do; layers that give the mask logits, or that they do
        not depend on, do not count.
    memory_format : torch.memory_format
        Of the images.

    Returns
    -------
    NetworkFacts

    Raises
    ------
    ValueError
        If it takes none of these sizes, returns no mask logits, or has no such layer.

    Examples
    --------
    >>> down, up = nn.Conv2d(3, 8, 4, stride=4), nn.ConvTranspose2d(8, 2, 4, stride=4)
    >>> facts = examine(nn.Sequential(down, nn.Dropout(0.1), up))
    >>> facts.stride, facts.scale, facts.embedding_layer, facts.draws_masks
    (4, 1, '1', True)
    """
    twin = evaluated_twin(module)
    check_part(twin, "network.embedding_layer", embedding_layer)
    trial = _Trial(twin, canvas, memory_format)
    with torch.no_grad():
        found, scale = trial.stride(stride)
    size, masks, classes, calls = trial.watch(padded(_WIDE, found), padded(canvas, found))
    _refuse_probabilities(masks, trial.name)
    active = {name for name, part in twin.named_modules() if is_dropout(part) and part.p > 0}
    return NetworkFacts(
        n_channels=trial.n_channels,
        stride=found,
        scale=scale,
        n_mask_logits=masks.shape[1],
        n_class_logits=None if classes is None else classes.shape[1],
        embedding_layer=_embedding_layer(calls, size, masks.shape[1], embedding_layer),
        draws_masks=any(call.before_masks for call in calls if call.name in active),
        draws_classes=any(call.before_classes for call in calls if call.name in active),
    )


def _refuse_probabilities(masks, name):
    """A softmax of a softmax learns next to nothing, and nobody is told."""
    total = masks.sum(1)
    if masks.shape[1] > 1 and bool((masks >= 0).all()) and torch.allclose(total, total**0):
        rule = "a module that gives logits of the pixels' classes"
        remedy = "Leave out its softmax."
        raise ValueError(message("network", rule, f"{name}, whose values sum to 1", remedy))


def check_part(module, name, part):
    """Refuse a dotted name that is of no part of a network, with the nearest one that is.

    Raises
    ------
    ValueError
    """
    parts = [known for known, _ in module.named_modules() if known]
    if part is not None and part not in parts:
        rule = f"the dotted name of a part of {type(module).__name__}"
        shown = ", ".join(parts[:8]) + (", ..." if len(parts) > 8 else "") if parts else "none"
        remedy = did_you_mean(part, parts) or f"It has {shown}."
        raise ValueError(message(name, rule, part, remedy))


def padded(size, stride):
    """The next height and width that are multiples of a stride; as they are without one.

    Examples
    --------
    >>> padded((33, 64), 16), padded((33, 64), None)
    ((48, 64), (33, 64))
    """
    return tuple(size) if stride is None else tuple(-(-side // stride) * stride for side in size)


class _Trial:
    """Calls of a network in evaluation mode with images of zeros."""

    def __init__(self, twin, canvas, memory_format):
        self.twin, self.canvas, self.memory_format = twin, tuple(canvas), memory_format
        tensor = next((p for p in twin.parameters() if p.is_floating_point()), torch.empty(0))
        self.device, self.name = tensor.device, type(twin).__name__
        self.n_channels = self._first_channels()

    def run(self, size, requires_grad=False):
        x = torch.zeros(1, self.n_channels, *size, device=self.device)
        x = x.contiguous(memory_format=self.memory_format)
        return self.twin(x.requires_grad_(requires_grad))

    def _first_channels(self):
        """Channels that the first convolution takes; 3 of a network that reaches none."""
        met = []
        convolutions = [m for m in self.twin.modules() if isinstance(m, nn.Conv2d)]
        hooks = [
            conv.register_forward_pre_hook(lambda m, x: met.append(m.in_channels))
            for conv in convolutions
        ]
        self.n_channels = 3
        try:
            self.run(padded(self.canvas, 64))
        except Exception:  # whatever it does not like is met again, and said, later
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return met[0] if met else 3

    def stride(self, given):
        """The stride, None for one size alone, and by how much the logits are smaller."""
        for stride in STRIDES if given is None else (given,):
            scale, reason = self._scale(hard(self.canvas, stride), padded(self.canvas, stride))
            if scale is not None:
                return stride, scale
        if given is None:
            scale, _ = self._scale(self.canvas)
            if scale is not None:
                return None, scale
        height, width = self.canvas
        tried = f"multiples of {given or ', '.join(map(str, STRIDES))}"
        rule = f"a module that takes images (N, {self.n_channels}, {height}, {width}), padded to"
        remedy = (
            "If it takes one size alone, set image_size to that; if multiples of another number,"
            " give it: WholeNetwork(module, stride=...)."
        )
        raise ValueError(message("network", f"{rule} {tried}", f"{self.name}: {reason}", remedy))

    def _scale(self, *sizes):
        """By how much logits of these sizes are smaller, all alike; else None and the reason."""
        scales, reason = set(), ""
        for size in sizes:
            try:
                out = self.run(size)
            except ImportError:  # a package that it needs, whatever the size
                raise
            except Exception as error:  # networks refuse a size by errors of every kind
                return None, f"{type(error).__name__}: {str(error).strip().split(chr(10))[0]}"
            got = mask_and_class_logits(out)[0].shape[2:]
            reason = f"mask logits of {tuple(got)} for images of {tuple(size)}"
            if any(side % small for side, small in zip(size, got)):
                return None, reason
            scales |= {side // small for side, small in zip(size, got)}
        return (scales.pop() if len(scales) == 1 else None), reason

    def watch(self, size, otherwise):
        """The size, logits of masks and classes, and the calls of all layers, in their order."""
        seen: list = []

        def record(name, part, inputs, out):
            if is_dropout(part) and torch.is_tensor(out):
                out = out.clone()  # else it is what went in, which others may read as well
            seen.append((name, out))
            return out

        hooks = [
            part.register_forward_hook(functools.partial(record, name))
            for name, part in self.twin.named_modules()
        ]
        try:
            with torch.enable_grad():
                out = self.run(size, requires_grad=True)
        except Exception:  # it takes one size alone, or none as large
            if size == otherwise:
                raise
            return self.watch(otherwise, otherwise)
        finally:
            for hook in hooks:
                hook.remove()
        masks, classes = mask_and_class_logits(out)
        outs = [tensor_in(out) for _, out in seen]
        before = _depends(masks, outs), _depends(classes, outs)
        calls = [_Call(*call, *known) for call, *known in zip(seen, *before)]
        return size, masks, classes, calls


class _Call(NamedTuple):
    """A layer that was called, what it gave, and whether these logits depend on that."""

    name: str
    out: Any
    before_masks: bool
    before_classes: bool


def _depends(logits, outs):
    """Of each of these outputs, whether the logits depend on it, by the graph of their gradient."""
    tracked = [out is not None and out.requires_grad for out in outs]
    if logits is None or not logits.requires_grad:
        return [logits is not None] * len(outs)
    some = [out for out, known in zip(outs, tracked) if known]
    try:
        found = iter(torch.autograd.grad(logits.sum(), some, allow_unused=True, retain_graph=True))
    except RuntimeError:  # what no gradient goes through cannot be asked
        return [True] * len(outs)
    return [known and next(found) is not None for known in tracked]


def _embedding_layer(calls, size, n_logits, given):
    """The layer that is named, or the one of the smallest maps, completed last."""
    if given is not None:
        seen = [call.out for call in calls if call.name == given]
        if not seen or pooled(seen[-1]) is None:
            rule = "a layer that gives maps (N, D, h, w), tokens (N, T, D) or vectors (N, D)"
            found = tuple(getattr(tensor_in(seen[-1]), "shape", ())) if seen else "no call"
            raise ValueError(message("network.embedding_layer", rule, f"{given}: {found}"))
        return given
    best = None
    for call in calls:
        area, depth = _area(tensor_in(call.out), size)
        usable = area and depth != n_logits and call.before_masks
        if usable and (best is None or area <= best[0]):
            best = area, call.name
    return "" if best is None else best[1]


def hard(size, stride):
    """The next larger size whose sides are odd multiples of a stride, and differ.

    Examples
    --------
    >>> hard((64, 96), 16), hard((64, 64), 16), hard((80, 112), 16)
    ((80, 112), (80, 112), (112, 144))
    """
    height, width = (stride * (n + 1 + n % 2) for n in (side // stride for side in size))
    return (height, width + 2 * stride) if height == width else (height, width)


def _area(maps, size):
    """Positions of maps of the whole image (1, D, h, w), or of tokens (1, T, D), and D; else 0."""
    height, width = size
    if maps is None or len(maps) != 1:
        return 0, 0
    if maps.ndim == 4:
        depth, h, w = maps.shape[1:]
        # Pooled vectors (squeeze and excitation) and pyramids have not the image's own shape.
        alike = h * w > 1 and 0.8 < (height * w) / (width * h) < 1.25
        return (h * w if alike and h <= height else 0), depth
    if maps.ndim == 3:
        n_tokens, depth = maps.shape[1:]
        for side in range(1, min(size) + 1):
            whole = height % side == 0 and width % side == 0
            n_patches = (height // side) * (width // side)
            if whole and n_patches > 1 and n_tokens in (n_patches, n_patches + 1):  # a class token
                return n_patches, depth
    return 0, 0


_KNOWN: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def examined(source, make, key):
    """`examine` of what `make` gives, remembered by what it is made of.

    Parameters
    ----------
    source : nn.Module or callable
        A module is known by itself and by the shapes of its weights; a function by itself.
    make : callable
        Called without arguments if it is not known: facts about the network.
    key : hashable
        What else decides them.

    Returns
    -------
    NetworkFacts
    """
    if isinstance(source, nn.Module):
        shapes = tuple((name, tuple(t.shape)) for name, t in source.state_dict().items())
        key = key, shapes, tuple(m.p for m in source.modules() if is_dropout(m))
    try:
        known = _KNOWN.setdefault(source, {})
    except TypeError:  # it cannot be referred to weakly
        known = {}
    if key not in known:
        known[key] = make()
    return known[key]
