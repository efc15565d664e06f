"""Image-level heads: class maps, and the pooling that turns them into image logits."""

import math

import torch
from torch import nn

from alseg.validation import check_number, check_option

POOLINGS = ("average", "max", "lse", "wildcat", "attention")


class CAMHead(nn.Module):
    """A 1 x 1 convolution to class maps, pooled into logits; the class maps are the CAM.

    Since the logits are a pooling of the maps themselves, the CAM is known in closed form: no hooks
    and no backward pass.

    Parameters
    ----------
    in_channels : int
    n_classes : int
    pooling : {"average", "max", "lse", "wildcat", "attention"}, default="average"
        - ``"average"``: the mean [1]_;
        - ``"max"``: the largest value;
        - ``"lse"``: ``log(mean(exp(r z))) / r``, between mean and maximum [2]_;
        - ``"wildcat"``: ``(mean(top kmax) + alpha mean(bottom kmin)) / 2`` of the mean over
          `modalities` maps a class [3]_;
        - ``"attention"``: the mean of the maps weighted by a gated attention over positions [4]_;
          the weights are part of the CAM, whose spatial mean is then the logit.
    modalities : int, default=5
        Maps a class, averaged; with WILDCAT alone.
    kmax, kmin : float or int, default=0.1
        A fraction (below 1) of the positions, rounded and at least 1, or a count.
    alpha : float, default=0.6
        Weight of the bottom values.
    min_branch : bool, default=True
        False leaves out the bottom values and the factor 1/2, as in the code that Belharbi et al.
        2021 released.
    lse_r : float, default=5.0
    dropout : float in [0, 1), default=0.1
        Of channels of the features; with WILDCAT, of the sorted values before pooling (as
        published).

    References
    ----------
    .. [1] Zhou et al. 2016, arXiv:1512.04150, Eq. 2.
    .. [2] Pinheiro and Collobert 2015, arXiv:1411.6228, Eq. 7.
    .. [3] Durand et al. 2017, WILDCAT, CVPR, Eq. 2.
    .. [4] Ilse et al. 2018, arXiv:1802.04712, Eq. 9.
    """

    def __init__(
        self,
        in_channels,
        n_classes,
        pooling="average",
        modalities=5,
        kmax=0.1,
        kmin=0.1,
        alpha=0.6,
        min_branch=True,
        lse_r=5.0,
        dropout=0.1,
    ):
        super().__init__()
        self.pooling = check_option("pooling", pooling, POOLINGS)
        self.n_classes = n_classes
        self.modalities = modalities if pooling == "wildcat" else 1
        self.kmax, self.kmin, self.alpha, self.min_branch = kmax, kmin, alpha, min_branch
        self.lse_r = check_number("lse_r", lse_r, 0, open_low=True)
        self.maps = nn.Conv2d(in_channels, n_classes * self.modalities, 1)
        self.dropout = nn.Dropout(dropout) if pooling == "wildcat" else nn.Dropout2d(dropout)
        if pooling == "attention":
            hidden = min(128, in_channels)
            self.attention_v = nn.Conv2d(in_channels, hidden, 1)
            self.attention_u = nn.Conv2d(in_channels, hidden, 1)
            self.attention_w = nn.Conv2d(hidden, 1, 1)

    def forward(self, features):
        """Map (N, in_channels, h, w) to logits (N, K) and cam (N, K, h, w)."""
        if self.pooling != "wildcat":
            features = self.dropout(features)
        n, _, h, w = features.shape
        cam = self.maps(features).view(n, self.n_classes, self.modalities, h, w).mean(2)
        if self.pooling == "average":
            return cam.mean((2, 3)), cam
        if self.pooling == "attention":
            gate = torch.tanh(self.attention_v(features)) * torch.sigmoid(
                self.attention_u(features)
            )
            attention = self.attention_w(gate).flatten(1).softmax(1).view(n, 1, h, w)
            cam = cam * attention * (h * w)
            return cam.mean((2, 3)), cam
        values = cam.flatten(2)  # (N, K, h * w)
        if self.pooling == "max":
            return values.amax(2), cam
        if self.pooling == "lse":
            log_mean = torch.logsumexp(self.lse_r * values, 2) - math.log(h * w)
            return log_mean / self.lse_r, cam
        return self._wildcat(values), cam

    def _wildcat(self, values):
        n_positions = values.shape[2]
        ordered = self.dropout(values.sort(dim=2, descending=True).values)
        top = ordered[..., : count(self.kmax, n_positions)].mean(2)
        if not self.min_branch:
            return top
        bottom = ordered[..., n_positions - count(self.kmin, n_positions) :].mean(2)
        return (top + self.alpha * bottom) / 2


class NoClassHead(nn.Module):
    """Stands where a network has no class head: logits and maps of zeros."""

    def __init__(self, n_classes):
        super().__init__()
        self.n_classes = n_classes

    def forward(self, features):
        """Map (N, in_channels, h, w) to logits (N, K) and cam (N, K, h, w), all zero."""
        n, _, h, w = features.shape
        cam = features.new_zeros(n, self.n_classes, h, w)
        return cam[:, :, 0, 0], cam


def count(k, n_positions):
    """How many positions `k` means: a fraction below 1 is rounded, a count is capped.

    Examples
    --------
    >>> count(0.1, 12 * 12), count(3, 144), count(0.1, 4)
    (14, 3, 1)
    """
    return min(max(1, round(k * n_positions) if k < 1 else int(k)), n_positions)
