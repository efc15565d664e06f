"""JointCAMNetwork: one encoder, a class head whose maps are the CAM, and a mask decoder."""

import copy
import functools
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

from alseg.network.cam import CAMHead, NoClassHead
from alseg.network.channels import of_channels
from alseg.network.decoder import OneLogitConv, UNetDecoder
from alseg.network.encoder import build_encoder
from alseg.network.inputs import NormalizedInputs
from alseg.network.pyramid import PatchEncoder, SimpleFeaturePyramid
from alseg.network.random_numbers import Generators, forked_torch_rng
from alseg.validation import check_option


class JointCAMNetwork(NormalizedInputs):
    """Classify an image and segment it from one encoder.

    Parameters
    ----------
    encoder : str or nn.Module, default="efficientnet-lite0"
        See `alseg.network.encoder.build_encoder`.
    encoder_weights : None, "bundled", "imagenet", str or Path, default="bundled"
    n_classes : int, default=2
        K, image classes.
    n_mask_classes : int, default=2
        C, pixel classes, background included.
    pooling : str or None, default="average"
        See `alseg.network.cam.CAMHead`. None is no class head at all: masks alone.
    cam_stride : int or None, default=16
        The class head sees all the encoder's maps of this stride and deeper, resized to it and
        joined. None is the deepest map alone, as in the published networks: a coarser CAM.
    decoder_channels : sequence of int, default=(128, 64, 48, 32)
    dropout : float in [0, 1), default=0.3
        Of channels, active in training and in stochastic draws. By default it sits after the
        decoder, before the last convolution, so that a draw costs that convolution alone.
    dropout_placement : {"last", "everywhere"}, default="last"
        ``"everywhere"`` drops channels after each encoder map and each decoder level too: a draw
        then costs the whole network.
    class_dropout : float in [0, 1), default=0.1
    head_options : dict or None
        Further arguments of `CAMHead`.
    mean, std : float or sequence of floats, default=0.5
        Input normalisation: ``(x - mean) / std`` for x in [0, 1], of all channels or of each. Three
        numbers, of RGB, are repeated for further channels, as the weights are.
    decoder : None or callable, default=None
        Given the channels of the encoder's maps, it makes a module of ``out_channels`` that maps
        these maps to one at the first map's stride. None is `UNetDecoder`.
    one_logit : bool, default=False
        For two mask classes, one map of logits, as before a sigmoid, instead of two.
    n_channels : int, default=3
        Channels of the images. The encoder's first layer is adapted to others than three.
    objects : bool, default=False
        Give one more map beside the classes of pixels, ``object_logits``: of their borders, or how
        deep in an object they lie.
    """

    feature_memory = None  # a `FeatureMemory`, while the encoder is frozen

    def __init__(
        self,
        encoder="efficientnet-lite0",
        encoder_weights="bundled",
        n_classes=2,
        n_mask_classes=2,
        pooling="average",
        cam_stride=16,
        decoder_channels=(128, 64, 48, 32),
        dropout=0.3,
        dropout_placement="last",
        class_dropout=0.1,
        head_options=None,
        mean=0.5,
        std=0.5,
        decoder=None,
        one_logit=False,
        n_channels=3,
        objects=False,
    ):
        super().__init__()
        check_option("dropout_placement", dropout_placement, ("last", "everywhere"))
        everywhere = dropout if dropout_placement == "everywhere" else 0.0
        self.encoder = build_encoder(encoder, encoder_weights, n_channels)
        # Of one map of patches a pyramid is made, which learns also where the encoder is frozen.
        plain, maps = isinstance(self.encoder, PatchEncoder), self.encoder
        if plain:
            maps = SimpleFeaturePyramid(maps.out_channels[0], maps.strides[0])
        channels, strides = list(maps.out_channels), list(maps.strides)
        self.neck = maps if plain else nn.Identity()
        self.strides, self.max_stride, self.min_stride = strides, strides[-1], strides[0]
        self.cam_level = next(
            (i for i, s in enumerate(strides) if cam_stride is not None and s >= cam_stride),
            len(strides) - 1,
        )
        self.encoder_dropouts = nn.ModuleList(nn.Dropout2d(everywhere) for _ in channels)
        if pooling is None:
            self.class_head = NoClassHead(n_classes)
        else:
            self.class_head = CAMHead(
                sum(channels[self.cam_level :]),
                n_classes,
                pooling,
                **{"dropout": class_dropout, **(head_options or {})},
            )
        if decoder is None:
            self.decoder = UNetDecoder(channels, decoder_channels, dropout=everywhere)
        else:
            self.decoder = decoder(channels)
        self.mask_dropout = nn.Dropout2d(dropout)
        if one_logit and n_mask_classes == 2:
            self.mask_conv = OneLogitConv(self.decoder.out_channels)
        else:
            self.mask_conv = nn.Conv2d(self.decoder.out_channels, n_mask_classes, 1)
        one = nn.Conv2d(self.decoder.out_channels, 1, 1) if objects else None
        self.register_module("object_conv", one)
        self.normalize_by(of_channels(mean, n_channels), of_channels(std, n_channels))

    def __setstate__(self, state):
        super().__setstate__(state)
        if "neck" not in self._modules:  # pickled by an earlier version
            self.neck, self.strides = nn.Identity(), list(self.encoder.strides)
        if "object_conv" not in self._modules:
            self.register_module("object_conv", None)

    def class_parts(self):
        """What a frozen classifier is: it learns nothing in the mask phase of a two-phase fit."""
        return (self.encoder, self.neck, self.encoder_dropouts, self.class_head)

    def mask_parts(self):
        """What rests while the classifier alone is trained."""
        own = () if self.object_conv is None else (self.object_conv,)
        return (self.decoder, self.mask_dropout, self.mask_conv, *own)

    def encode(self, x):
        """Images (N, C, H, W) in [0, 1] to feature maps; any size, padded right and below."""
        x = (self.colours(x) - self.mean) / self.std
        h, w = x.shape[2:]
        pad_h, pad_w = -h % self.max_stride, -w % self.max_stride
        if pad_h or pad_w:
            x = F.pad(x, (0, pad_w, 0, pad_h), mode="replicate")
        if self.feature_memory is None:
            features = self.encoder(x)
        else:
            features = self.feature_memory(self.encoder, x)
        return [dropout(f) for dropout, f in zip(self.encoder_dropouts, self.neck(features))]

    def embed(self, features):
        """The class head's input: maps from `cam_level` on, joined at its size."""
        maps = features[self.cam_level :]
        size = maps[0].shape[2:]
        return torch.cat(
            [maps[0]]
            + [F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps[1:]],
            1,
        )

    def classify(self, features, size):
        """Feature maps to logits (N, K) and cam (N, K, h, w), padding cropped off the cam."""
        logits, cam = self.class_head(self.embed(features))
        return logits, self.crop_maps(cam, size, self.strides[self.cam_level])

    def decode(self, features):
        """Feature maps to the decoder's map, before the last dropout."""
        return self.decoder(features)

    def mask_head(self, decoded, size, grid=False):
        """The decoder's map to mask logits (N, C, H, W); with `grid`, at the decoder's stride."""
        mask_logits = self.mask_conv(self.mask_dropout(decoded))
        if grid:
            return self.crop_maps(mask_logits, size, self.min_stride)
        return self.upsample(mask_logits, size)

    def object_head(self, decoded, size):
        """The decoder's map to what is learned of objects, (N, 1, H, W)."""
        return self.upsample(self.object_conv(self.mask_dropout(decoded)), size)

    def forward(self, x, n_decode=None):
        """Everything from one pass; masks of the first `n_decode` images alone (all by default)."""
        size = x.shape[2:]
        features = self.encode(x)
        logits, cam = self.classify(features, size)
        n_decode = len(x) if n_decode is None else n_decode
        out = {"logits": logits, "cam": cam, "mask_logits": None}
        if self.object_conv is not None:
            out["object_logits"] = None
        if n_decode:
            decoded = self.decode([f[:n_decode] for f in features])
            out["mask_logits"] = self.mask_head(decoded, size)
            if self.object_conv is not None:
                out["object_logits"] = self.object_head(decoded, size)
        return out

    def first_dropout(self):
        """Where the mask's first active dropout sits: "encoder", "decoder", "head" or None."""
        parts = {
            "encoder": [self.encoder, self.encoder_dropouts],
            "decoder": [self.decoder],
            "head": [self.mask_dropout],
        }
        for name, modules in parts.items():
            if any(is_dropout(m) and m.p > 0 for part in modules for m in part.modules()):
                return name
        return None


def is_dropout(module):
    """Whether a module is a dropout layer of torch's, of any kind."""
    # By type, not by name: a test on `startswith("Dropout")` would miss AlphaDropout.
    return isinstance(module, nn.modules.dropout._DropoutNd)


# What these multiply by does not depend on the input, so that images can share it.
_MULTIPLICATIVE = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def evaluated(module):
    """A module in evaluation mode, for any number of threads at once.

    Parameters
    ----------
    module : nn.Module
        Its modes stay as they are.

    Returns
    -------
    nn.Module
        The module itself where all of it is in evaluation mode, as after a fit; else a copy that
        is, and that shares its tensors.

    Examples
    --------
    >>> norm = nn.Sequential(nn.BatchNorm2d(3))
    >>> evaluated(norm).training, norm.training
    (False, True)
    """
    module = getattr(module, "_orig_mod", module)  # of a compiled one
    if not any(m.training for m in module.modules()):
        return module
    return evaluated_twin(module)


def with_dropout(module, shared=False, seed=None):
    """A copy of a module in evaluation mode in which dropout alone samples.

    The copy shares all parameters and buffers; the module itself is not touched, so that other
    threads may use it meanwhile. BatchNorm uses its running statistics and leaves them.

    Parameters
    ----------
    module : nn.Module
    shared : bool, default=False
        Drop the same elements or channels for all images of a batch: one draw is then one network
        for all of them, and what an image gets does not depend on its place in the batch. Alpha
        dropout, and dropout of a class of the user's, stays as it is.
    seed : int, Generators or None, default=None
        Of the draws' own random numbers. None takes torch's global generators.

    Returns
    -------
    nn.Module

    Examples
    --------
    >>> module = nn.Dropout(0.5).eval()
    >>> x = torch.ones(1000)
    >>> module(x).mean().item(), sorted(set(with_dropout(module, seed=0)(x).tolist()))
    (1.0, [0.0, 2.0])
    """
    generators = seed if isinstance(seed, Generators) else Generators(seed)
    twin = evaluated_twin(module)
    for m in twin.modules():
        if is_dropout(m):
            m.training = True
            m.forward = functools.partial(_dropped, m, shared, generators)
    return twin


def evaluated_twin(module):
    """A copy of a tree of modules, in evaluation mode, that shares all tensors.

    Modes and methods are its own. By `deepcopy`, so that modules that a user's module also holds in
    a list, or by a bound method, are those of the copy there too.
    """
    module = getattr(module, "_orig_mod", module)
    held = (
        value
        for m in module.modules()
        for value in (*m._parameters.values(), *m._buffers.values(), *vars(m).values())
    )
    tensors = {id(value): value for value in held if torch.is_tensor(value)}
    return copy.deepcopy(module, tensors).eval()


def _dropped(module, shared, generators, x):
    """What a dropout module gives for x, its random numbers from `generators`."""
    if type(module) in _MULTIPLICATIVE:
        return x * dropout_mask(module, x, shared, generators) if module.p else x
    if generators.seed is None:
        return type(module).forward(module, x)
    seed = torch.randint(2**63 - 1, (), generator=generators.on("cpu"))
    with forked_torch_rng(int(seed), x.device):  # its code draws from the global generators
        return type(module).forward(module, x)


def dropout_mask(module, x, shared, generators):
    """What a dropout module multiplies x by: 0 with probability p, else 1 / (1 - p).

    Parameters
    ----------
    module : nn.Dropout, or one of whole channels
    x : tensor
    shared : bool
        Whether all rows of x get the same.
    generators : Generators

    Returns
    -------
    tensor
        That may be multiplied with x.
    """
    if type(module) is nn.Dropout:
        mask = torch.empty_like(x[:1] if shared else x)
    else:
        # A sample alone, without an axis of the batch, has its channels first (Dropout1d, 3d).
        alone = {nn.Dropout1d: 2, nn.Dropout3d: 4}.get(type(module)) == x.ndim
        n_kept = 1 if alone else 2
        shape = [*x.shape[:n_kept], *[1] * (x.ndim - n_kept)]
        mask = x.new_empty([1, *shape[1:]] if shared and not alone else shape)
    mask.bernoulli_(1 - module.p, generator=generators.on(mask.device))
    return mask.div_(1 - module.p) if module.p < 1 else mask


@contextmanager
def dropout_active(module, shared=False):
    """Put a module in evaluation mode with only its dropout sampling; give all modes back after.

    BatchNorm keeps its running statistics. The modes are restored after an exception too. The
    module is changed while this lasts, and torch's global generators are drawn from: it is for a
    module that no other thread uses. `with_dropout` leaves both alone.

    Parameters
    ----------
    module : nn.Module
    shared : bool, default=False
        As in `with_dropout`.
    """
    patched = []
    with evaluating(module):
        try:
            for m in module.modules():
                if is_dropout(m):
                    m.training = True
                    m.forward = functools.partial(_dropped, m, shared, Generators(None))
                    patched.append(m)
            yield module
        finally:
            for m in patched:
                del m.forward  # the class's own again


@contextmanager
def evaluating(module):
    """Put a module in evaluation mode; give all modes back after.

    For whoever has the module alone, as a fit does; see `evaluated`.
    """
    modes = [(m, m.training) for m in module.modules()]
    try:
        module.eval()
        yield module
    finally:
        for m, mode in modes:
            m.training = mode
