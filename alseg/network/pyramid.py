"""Plain vision transformers as encoders: one map of patches, made into four of growing strides."""

import math

import torch.nn.functional as F
from torch import nn

from alseg.validation import check_number


class PatchEncoder(nn.Module):
    """A network that gives one map of patches, such as a plain vision transformer, as an encoder.

    `JointCAMNetwork` puts a `SimpleFeaturePyramid` behind it, which learns with the decoder, also
    where the encoder is frozen.

    Parameters
    ----------
    net : nn.Module
        Maps (N, 3, H, W), H and W multiples of `patch_size`, to a map
        (N, channels, H / patch_size, W / patch_size), or to a list of maps, of which the last
        counts.
    channels : int
    patch_size : int, default=16
        Where it is no power of two, as DINOv2's 14, images are resized first by bilinear
        interpolation, so that the map has the nearest power of two as its stride.

    Attributes
    ----------
    out_channels, strides : list of one int

    Examples
    --------
    >>> import torch
    >>> patches = nn.Conv2d(3, 24, 14, stride=14)
    >>> encoder = PatchEncoder(patches, 24, patch_size=14)
    >>> encoder.strides, encoder(torch.rand(1, 3, 64, 96))[0].shape
    ([16], torch.Size([1, 24, 4, 6]))
    """

    def __init__(self, net, channels, patch_size=16):
        super().__init__()
        self.net = net
        self.patch_size = check_number("patch_size", patch_size, 2, integer=True)
        self.out_channels = [check_number("channels", channels, 1, integer=True)]
        self.strides = [2 ** round(math.log2(patch_size))]

    def forward(self, x):
        """Images (N, 3, H, W) to [(N, channels, H / stride, W / stride)], for multiples of it."""
        if self.strides[0] != self.patch_size:
            size = [-(-side // self.strides[0]) * self.patch_size for side in x.shape[2:]]
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        maps = self.net(x)
        return [maps[-1]] if isinstance(maps, (list, tuple)) else [maps]


class SimpleFeaturePyramid(nn.Module):
    """One map at a stride s to four at s / 4, s / 2, s and 2 s [1]_, each from that map alone.

    Two transposed convolutions, one, none, or max-pooling; then of each a 1 x 1 and a 3 x 3
    convolution to the same number of channels, with layer norms. For 192 channels in and 128 out
    that is 825,776 parameters, for 768 in 3,518,144.

    Parameters
    ----------
    in_channels : int
        A multiple of 4.
    stride : int, default=16
        Of the map; a multiple of 4.
    channels : int, default=128
        Of each map that comes out, the most that the default decoder takes. Published is 256.

    Attributes
    ----------
    out_channels, strides : list of four ints

    References
    ----------
    .. [1] Li et al. 2022, arXiv:2203.16527, Sec. 3 and Fig. 2.

    Examples
    --------
    >>> import torch
    >>> pyramid = SimpleFeaturePyramid(192)
    >>> [tuple(m.shape) for m in pyramid([torch.rand(1, 192, 4, 6)])]
    [(1, 128, 16, 24), (1, 128, 8, 12), (1, 128, 4, 6), (1, 128, 2, 3)]
    """

    def __init__(self, in_channels, stride=16, channels=128):
        super().__init__()
        half, quarter = in_channels // 2, in_channels // 4
        self.out_channels = [channels] * 4
        self.strides = [stride // 4, stride // 2, stride, 2 * stride]
        scales = (
            nn.Sequential(
                nn.ConvTranspose2d(in_channels, half, 2, stride=2),
                ChannelNorm(half),
                nn.GELU(),
                nn.ConvTranspose2d(half, quarter, 2, stride=2),
            ),
            nn.ConvTranspose2d(in_channels, half, 2, stride=2),
            nn.Identity(),
            nn.MaxPool2d(2),
        )
        widths = (quarter, half, in_channels, in_channels)
        self.levels = nn.ModuleList(
            nn.Sequential(
                scale,
                nn.Conv2d(width, channels, 1, bias=False),
                ChannelNorm(channels),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                ChannelNorm(channels),
            )
            for scale, width in zip(scales, widths)
        )

    def forward(self, maps):
        """The last of a list of maps (N, in_channels, h, w) to four; h and w are even."""
        return [level(maps[-1]) for level in self.levels]


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each position of (N, C, H, W)."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)
