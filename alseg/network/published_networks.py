"""Networks as published: one with a second encoder beside the first, and two plain U-Nets."""

import functools

import torch
import torch.nn.functional as F
from torch import nn

from alseg.network.encoder import ResNetEncoder
from alseg.network.joint import JointCAMNetwork
from alseg.validation import check_option, message

RESNETS = tuple(ResNetEncoder.LAYERS)
ALIKE = (*RESNETS, "mobilenet_v2")  # five maps of the same sizes
VARIANTS = ("pooled", "strided")
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's mode "L"


def _resize(x, size):
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def _conv_relu(c_in, c_out):
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU(inplace=True))


class _HalvingConv2d(nn.Conv2d):
    """3 x 3 with stride 2, also of a map one pixel wide in bfloat16 on a CPU.

    There oneDNN leaves the gradient of the taps that see padding alone unset (torch 2.13): so the
    padding is made part of the image.
    """

    def __init__(self, c_in, c_out):
        super().__init__(c_in, c_out, 3, stride=2, padding=1, bias=False)

    def forward(self, x):
        if x.shape[3] > 1:
            return super().forward(x)
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, stride=2)


def _down(c_in, c_out):
    # Both convolutions have stride 2 in the released code: a quarter of the size, not half.
    layers = []
    for channels in (c_in, c_out):
        layers += [
            _HalvingConv2d(channels, c_out),
            nn.BatchNorm2d(c_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class SecondEncoder(nn.Module):
    """The mask head of Belharbi et al. 2021: an encoder of its own, fed by leaks from the first.

    Parameters
    ----------
    in_channels : list of 5 ints
        Channels of the first encoder's maps, shallowest first.
    base_width : int, default=24
    leak : int, default=64
        Channels that each map of the first encoder gives.
    dropout : nn.Module or None, default=None
        After each level, down and up.
    """

    def __init__(self, in_channels, base_width=24, leak=64, dropout=None):
        super().__init__()
        widths = [base_width * 2 ** (i + 1) for i in range(5)]  # 2, 4, 8, 16, 32 times
        self.stem = nn.Sequential(_conv_relu(3, 64), _conv_relu(64, 64))
        self.leaks = nn.ModuleList(nn.Conv2d(c, leak, 3) for c in in_channels)  # no padding
        inputs = [64, *widths[:-1]]
        self.downs = nn.ModuleList(_down(c + leak, w) for c, w in zip(inputs, widths))
        skips, ups = widths[-2::-1], (256, 128, 128, 64)
        inputs = [widths[-1], *ups[:-1]]
        self.ups = nn.ModuleList(_conv_relu(c + s, w) for c, s, w in zip(inputs, skips, ups))
        self.last = _conv_relu(ups[-1] + 64, 64)
        self.dropout = nn.Identity() if dropout is None else dropout
        self.out_channels = 64

    def forward(self, features):
        """The image and the first encoder's five maps to one map of the image's size."""
        image, *maps = features
        full = x = self.stem(image)
        skips = []
        for stage, bridge, down in zip(maps, self.leaks, self.downs):
            leak = torch.relu(bridge(stage))
            x = _resize(x, leak.shape[2:])
            skips.append(x)  # what the last level gave, at this level's size
            x = self.dropout(down(torch.cat([x, leak], 1)))
        for skip, up in zip(skips[:0:-1], self.ups):  # not the first: it is the stem's
            x = _resize(self._double(x), skip.shape[2:])
            x = self.dropout(up(torch.cat([x, skip], 1)))
        x = _resize(self._double(x), full.shape[2:])
        return self.last(torch.cat([x, full], 1))  # (N, 64, H, W)

    @staticmethod
    def _double(x):
        return _resize(x, (2 * x.shape[2], 2 * x.shape[3]))


class TwoEncoderNetwork(JointCAMNetwork):
    """An encoder with a WILDCAT head, and a mask head with an encoder of its own [1]_.

    All resizing inside has its corners aligned, and images are not padded, as published. For two
    mask classes there is one logit a pixel. With ResNet-18, 2 classes, 24 and 64: 26,901,451
    parameters.

    Parameters
    ----------
    encoder : str, default="resnet18"
        A ResNet as published, or ``"mobilenet_v2"``, whose maps have the same strides and sizes.
    encoder_weights : None, "imagenet", str or Path, default=None
    n_classes, n_mask_classes : int, default=2
    pooling : str or None, default="wildcat"
        On the deepest map alone.
    base_width, leak : int, default=24, 64
        Of the mask head: level i has ``base_width * 2 ** (i + 1)`` channels, a leak `leak`.
    dropout : float in [0, 1), default=0.0
    dropout_placement : {"last", "everywhere"}, default="last"
        ``"everywhere"`` is the published Monte-Carlo network, with 0.2: single elements, after
        each of the ResNet's stages (what the next stage sees, too) and each level of the mask head,
        14 places. It rests while the classifier is trained. No other encoder has it.
    class_dropout : float in [0, 1), default=0.1
    head_options : dict or None
        Further arguments of `CAMHead`.
    wildcat_min_branch : bool, default=True
        False leaves WILDCAT's smallest values out, as the released code does.
    mean, std : float or sequence of 3 floats, default=0.5

    References
    ----------
    .. [1] Belharbi et al. 2021, arXiv:2010.04889, and its released code.
    """

    def __init__(
        self,
        encoder="resnet18",
        encoder_weights=None,
        n_classes=2,
        n_mask_classes=2,
        pooling="wildcat",
        base_width=24,
        leak=64,
        dropout=0.0,
        dropout_placement="last",
        class_dropout=0.1,
        head_options=None,
        wildcat_min_branch=True,
        mean=0.5,
        std=0.5,
    ):
        check_option("dropout_placement", dropout_placement, ("last", "everywhere"))
        active = dropout > 0 and dropout_placement == "everywhere"
        check_option("encoder", encoder, RESNETS if active else ALIKE)
        everywhere = nn.Dropout(dropout) if active else nn.Identity()
        options = dict(head_options or {})
        if pooling == "wildcat":
            options.setdefault("min_branch", wildcat_min_branch)
        super().__init__(
            encoder,
            encoder_weights,
            n_classes=n_classes,
            n_mask_classes=n_mask_classes,
            pooling=pooling,
            cam_stride=None,
            dropout=dropout if dropout_placement == "last" else 0.0,
            class_dropout=class_dropout,
            head_options=options,
            mean=mean,
            std=std,
            decoder=functools.partial(
                SecondEncoder, base_width=base_width, leak=leak, dropout=everywhere
            ),
            one_logit=True,
        )
        self.everywhere = everywhere  # one module in all 14 places
        self.min_stride = 1  # of what the decoder gives

    def encode(self, x):
        """Images in [0, 1] to themselves, normalised, and the five maps; any size above 64."""
        if min(x.shape[2:]) <= 64:
            raise ValueError(
                message(
                    "image_size",
                    "above 64 in height and width for this network",
                    tuple(x.shape[2:]),
                    "Its unpadded convolutions need 3 x 3 at stride 32.",
                )
            )
        x = (x - self.mean) / self.std
        if isinstance(self.everywhere, nn.Identity):
            return [x, *self.encoder(x)]
        return [x, *self.encoder(x, after=self.everywhere)]

    def embed(self, features):
        """The deepest map."""
        return features[-1]

    def mask_parts(self):
        """What rests while the classifier alone is trained, Monte-Carlo dropout included."""
        return (*super().mask_parts(), self.everywhere)

    def first_dropout(self):
        """Where the mask's first active dropout sits."""
        active = isinstance(self.everywhere, nn.Dropout)
        return "encoder" if active else super().first_dropout()


def _plain_block(c_in, c_out, variant, dropout, stride=1):
    """Two convolutions of one level; of the second variant, the first of them may have a stride."""
    if variant == "pooled":
        return nn.Sequential(_conv_relu(c_in, c_out), _conv_relu(c_out, c_out))
    layers = []
    for channels, step in ((c_in, stride), (c_out, 1)):
        layers += [
            nn.Conv2d(channels, c_out, 3, stride=step, padding=1),
            nn.Dropout2d(dropout),
            nn.BatchNorm2d(c_out),
            nn.LeakyReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class PlainEncoder(nn.Module):
    """The way down of `PlainUNet`: maps at strides 1, 2, 4, ..."""

    def __init__(self, in_channels, channels, variant, dropout):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, list(channels)
        self.strides = [2**i for i in range(len(channels))]
        self.pool = nn.MaxPool2d(2) if variant == "pooled" else nn.Identity()
        inputs = [in_channels, *channels[:-1]]
        strides = [1] + [2] * (len(channels) - 1)
        self.blocks = nn.ModuleList(
            _plain_block(c, w, variant, dropout, s) for c, w, s in zip(inputs, channels, strides)
        )

    def forward(self, x):
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(self.pool(x) if i else x)
            maps.append(x)
        return maps


class PlainDecoder(nn.Module):
    """The way up of `PlainUNet`: double the size, join the skip, two convolutions."""

    def __init__(self, in_channels, variant, dropout):
        super().__init__()
        self.bottom = nn.Dropout(dropout if variant == "pooled" else 0.0)
        down = in_channels[::-1]
        self.ups, self.blocks = nn.ModuleList(), nn.ModuleList()
        for deep, width in zip(down, down[1:]):
            if variant == "pooled":
                self.ups.append(nn.Upsample(scale_factor=2, mode="nearest"))
                joined = deep + width
            else:
                self.ups.append(nn.ConvTranspose2d(deep, width, 2, stride=2))
                joined = 2 * width
            self.blocks.append(_plain_block(joined, width, variant, dropout))
        self.out_channels = down[-1]

    def forward(self, features):
        x = self.bottom(features[-1])
        for skip, up, block in zip(features[-2::-1], self.ups, self.blocks):
            x = block(torch.cat([up(x), skip], 1))
        return x  # (N, out_channels, H, W)


class PlainUNet(JointCAMNetwork):
    """A U-Net of one input channel, without a class head unless `pooling` names one.

    Parameters
    ----------
    n_classes, n_mask_classes : int, default=2
    pooling : str or None, default=None
        None is no class head; else that of the deepest map, see `CAMHead`.
    variant : {"pooled", "strided"}, default="pooled"
        - ``"pooled"`` [1]_: convolution and ReLU, max-pooling, nearest upsampling; one dropout of
          single elements after the deepest level; one logit for two mask classes. With the default
          channels 7,846,081 parameters.
        - ``"strided"`` [2]_: convolution, dropout of channels, BatchNorm and leaky ReLU; strided
          convolutions down and transposed ones up. With four mask classes 7,765,508 parameters.
    channels : sequence of int, default=(32, 64, 128, 256, 512)
    dropout : float in [0, 1), default=0.5
    class_dropout : float in [0, 1), default=0.1
    head_options : dict or None
    mean, std : float, default=0.5
        Of the grey image.

    References
    ----------
    .. [1] Gorriz et al. 2017, arXiv:1711.09168, and its released code.
    .. [2] Wang et al. 2024, arXiv:2310.14230, and its companion code.
    """

    def __init__(
        self,
        n_classes=2,
        n_mask_classes=2,
        pooling=None,
        variant="pooled",
        channels=(32, 64, 128, 256, 512),
        dropout=0.5,
        class_dropout=0.1,
        head_options=None,
        mean=0.5,
        std=0.5,
    ):
        check_option("variant", variant, VARIANTS)
        super().__init__(
            PlainEncoder(1, list(channels), variant, dropout),
            n_classes=n_classes,
            n_mask_classes=n_mask_classes,
            pooling=pooling,
            cam_stride=None,
            dropout=0.0,
            class_dropout=class_dropout,
            head_options=head_options,
            mean=mean,
            std=std,
            decoder=functools.partial(PlainDecoder, variant=variant, dropout=dropout),
            one_logit=variant == "pooled",
        )
        if variant == "pooled":
            self.apply(_init_glorot)  # what its framework starts from

    def colours(self, x):
        """Images (N, 3, H, W) made grey (N, 1, H, W)."""
        weight = torch.tensor(LUMA, dtype=x.dtype, device=x.device).reshape(1, 3, 1, 1)
        return (x * weight).sum(1, keepdim=True)


def _init_glorot(module):
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
