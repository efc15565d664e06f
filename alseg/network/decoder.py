"""The mask branch: a U-Net-like decoder over an encoder's feature maps."""

import torch
import torch.nn.functional as F
from torch import nn


def _conv_bn_relu(c_in, c_out, kernel=3):
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(inplace=True),
    )


class UNetDecoder(nn.Module):
    """From the deepest map to the shallowest: resize, join the skip, convolve (Ronneberger 2015).

    Wide maps are first reduced by a 1 x 1 convolution, so that the cost depends little on the
    encoder.

    Parameters
    ----------
    in_channels : list of int
        Channels of the encoder's maps, shallowest first.
    channels : sequence of int, default=(128, 64, 48, 32)
        Width at each level, deepest joined level first; the last one repeats if there are more
        levels.
    dropout : float in [0, 1), default=0.0
        Of channels, after each level: for Monte-Carlo dropout everywhere. The default network has
        its dropout after the decoder (see `JointCAMNetwork`).
    """

    def __init__(self, in_channels, channels=(128, 64, 48, 32), dropout=0.0):
        super().__init__()
        n_joined = len(in_channels) - 1
        widths = (list(channels) + [channels[-1]] * n_joined)[: max(1, n_joined)]
        self.bottom = _conv_bn_relu(in_channels[-1], widths[0], kernel=1)
        self.skips, self.blocks, self.dropouts = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        previous = widths[0]
        for skip, width in zip(reversed(in_channels[:-1]), widths):
            reduced = min(skip, width)
            self.skips.append(nn.Identity() if skip == reduced else _conv_bn_relu(skip, reduced, 1))
            self.blocks.append(_conv_bn_relu(previous + reduced, width))
            self.dropouts.append(nn.Dropout2d(dropout))
            previous = width
        self.out_channels = previous

    def forward(self, features):
        x = self.bottom(features[-1])
        levels = zip(reversed(features[:-1]), self.skips, self.blocks, self.dropouts)
        for skip, reduce, block, dropout in levels:
            x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = dropout(block(torch.cat([x, reduce(skip)], 1)))
        return x  # (N, out_channels, H / strides[0], W / strides[0])


class OneLogitConv(nn.Module):
    """A 1 x 1 convolution to one map z, given as the logits (0, z) of background and foreground.

    Their softmax is the sigmoid of z and their cross-entropy the binary one. `weight` and `bias`
    are those of the convolution to both maps, of which the first is zero.
    """

    def __init__(self, in_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 1, 1)

    @property
    def weight(self):
        """(2, in_channels, 1, 1)"""
        return torch.cat([torch.zeros_like(self.conv.weight), self.conv.weight])

    @property
    def bias(self):
        """(2,)"""
        return torch.cat([torch.zeros_like(self.conv.bias), self.conv.bias])

    def forward(self, x):
        z = self.conv(x)
        return torch.cat([torch.zeros_like(z), z], 1)  # (N, 2, H, W)
