"""ForeignNetwork: a whole network of somebody else's, as the segmenter uses a network."""

import copy
import functools
import inspect
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from alseg.network.examining import padded
from alseg.network.foreign_outputs import mask_and_class_logits, pooled, with_two_classes
from alseg.network.inputs import NormalizedInputs
from alseg.validation import message

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's mode "L"

# Where the embedding layer puts its vectors while this thread predicts: None while it trains.
_CAUGHT: ContextVar[list | None] = ContextVar("caught", default=None)


class Outputs(NamedTuple):
    """What one pass gives: it stands where another network has feature maps."""

    masks: Any
    classes: Any
    embedding: Any


class ForeignNetwork(NormalizedInputs):
    """A network that maps images to mask logits, and maybe class logits, in one piece.

    It has no class maps, and no part that could be computed alone: a stochastic draw is a whole
    pass.

    Parameters
    ----------
    module : nn.Module
        Trained in place; see `made` for a copy.
    facts : NetworkFacts
        What `alseg.network.examine` finds of it.
    n_classes : int, default=2
        K, image classes.
    n_mask_classes : int, default=2
    classifies : bool, default=False
        Whether its class logits are used.
    mean, std : float or sequence of floats, default=0.5
    encoder : str or None, default=None
        Dotted name of the part that is `encoder` here, which learns at a rate of its own.

    Examples
    --------
    >>> from alseg.network import examine
    >>> module = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), nn.ReLU(), nn.Conv2d(4, 1, 1))
    >>> network = ForeignNetwork(module, examine(module))
    >>> network(torch.rand(2, 3, 5, 7))["mask_logits"].shape
    torch.Size([2, 2, 5, 7])
    """

    def __init__(
        self,
        module,
        facts,
        n_classes=2,
        n_mask_classes=2,
        classifies=False,
        mean=0.5,
        std=0.5,
        encoder=None,
    ):
        super().__init__()
        self.module, self.facts = module, facts
        self.n_classes, self.n_mask_classes = n_classes, n_mask_classes
        self.classifies, self.encoder_name = classifies, encoder
        self.min_stride = facts.scale
        self.normalize_by(mean, std)
        module.get_submodule(facts.embedding_layer).register_forward_hook(_catch)

    @property
    def encoder(self):
        """The part that learns at a rate of its own, or None."""
        name = self.encoder_name
        return None if name is None else self.module.get_submodule(name)

    def colours(self, x):
        """Images (N, 3, H, W), made grey (N, 1, H, W) for a network that takes one channel."""
        if self.facts.n_channels != 1 or x.shape[1] != 3:
            return x
        weight = torch.tensor(LUMA, dtype=x.dtype, device=x.device).reshape(1, 3, 1, 1)
        return (x * weight).sum(1, keepdim=True)

    def class_parts(self):
        """Nothing can be frozen for a second phase: parts that its owner froze stay so."""
        return ()

    def mask_parts(self):
        """Nothing can rest in a first phase."""
        return ()

    def run(self, x):
        """Images (N, C, H, W) in [0, 1], of any size, to mask logits at its stride, and classes."""
        x = (self.colours(x) - self.mean) / self.std
        h, w = x.shape[2:]
        height, width = padded((h, w), self.facts.stride)
        if (height, width) != (h, w):
            x = F.pad(x, (0, width - w, 0, height - h), mode="replicate")
        masks, classes = mask_and_class_logits(self.module(x))
        masks = with_two_classes(masks, self.n_mask_classes)
        if self.classifies and classes is not None:
            return masks, with_two_classes(classes, self.n_classes)
        return masks, None

    def forward(self, x, n_decode=None):
        """Everything from one pass; masks of the first `n_decode` images alone (all by default)."""
        n_decode = len(x) if n_decode is None else n_decode
        logits = x.new_zeros(len(x), self.n_classes)
        masks, seen = None, x if self.classifies else x[:n_decode]
        if len(seen):
            masks, classes = self.run(seen)
            logits = logits if classes is None else classes
            masks = self.upsample(masks[:n_decode], x.shape[2:]) if n_decode else None
        return {"logits": logits, "cam": None, "mask_logits": masks}

    def encode(self, x):
        """One pass: `Outputs`, in the place of feature maps."""
        caught: list = []
        token = _CAUGHT.set(caught)
        try:
            masks, classes = self.run(x)
        finally:
            _CAUGHT.reset(token)
        if classes is None:
            classes = x.new_zeros(len(x), self.n_classes)
        return Outputs(masks, classes, caught[-1])

    def embed(self, features):
        """What the embedding layer gave, pooled: (N, D, 1, 1)."""
        return features.embedding.float()[:, :, None, None]

    def classify(self, features, size):
        """Class logits (N, K), zeros where the network gives none, and no class maps."""
        return features.classes, None

    def decode(self, features):
        """As they are: the pass has given the mask logits, too."""
        return features

    def mask_head(self, features, size, grid=False):
        """Mask logits (N, C, H, W) of a pass; with `grid`, at the network's own scale."""
        if grid:
            return self.crop_maps(features.masks, size, self.min_stride)
        return self.upsample(features.masks, size)

    def first_dropout(self):
        """ "encoder", so that each draw is a whole pass, or None where nothing is stochastic."""
        draws = self.facts.draws_masks or (self.classifies and self.facts.draws_classes)
        return "encoder" if draws else None


def _catch(module, inputs, out):
    """Of the embedding layer, while `encode` is waiting: at once, before others write into it."""
    caught = _CAUGHT.get()
    if caught is not None:
        caught.append(pooled(out))


def made(source, **known):
    """A network of one's own: a copy of a module, or what a function makes.

    Parameters
    ----------
    source : nn.Module or callable
        A function is given those of `known` that it names.
    **known
        ``n_classes``, ``n_mask_classes``, ``n_channels``.

    Returns
    -------
    nn.Module

    Raises
    ------
    TypeError
        If the function gives something else.

    Examples
    --------
    >>> made(lambda n_mask_classes: nn.Conv2d(3, n_mask_classes, 1), n_classes=2, n_mask_classes=4)
    Conv2d(3, 4, kernel_size=(1, 1), stride=(1, 1))
    """
    module = source
    if not isinstance(source, nn.Module):
        if needs := [name for name in names_of(source, needed=True) if name not in known]:
            rule = f"a function that needs nothing but {', '.join(known)}"
            remedy = (
                "functools.partial gives it the rest, as in partial(UNet, spatial_dims=2, ...)."
            )
            raise TypeError(message("network", rule, f"one that needs {needs}", remedy))
        module = source(**{name: known[name] for name in names_of(source) if name in known})
        if not isinstance(module, nn.Module):
            rule = "a torch module, or a function that makes one"
            raise TypeError(message("network", rule, module))
    # What a function gives is copied as well: it may be the same one each time.
    return copy.deepcopy(module)


def names_of(function, needed=False):
    """The arguments that a function names, but for those that a `functools.partial` gives it.

    With `needed`, those without a default.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    bound = function.keywords if isinstance(function, functools.partial) else ()
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    named = [p for p in parameters if p.kind in kinds and p.name not in bound]
    return [p.name for p in named if not needed or p.default is p.empty]
