"""Paired augmentation of a batch: geometry moves image and mask together, colour the image alone.

Each change is in two parts: `draw_*` takes its random numbers from a generator on the CPU, so that
they are the same whatever the device, and the other part works where the images are. The numbers of
many batches can so be drawn, and sent to a GPU, at once. `random_*` and `*_jitter` do both.
"""

import torch
import torch.nn.functional as F

from alseg.labels import MISSING
from alseg.validation import check_option

FLIPS = ("both", "horizontal", "none")

# Optical density of red, green and blue in haematoxylin, eosin and a third stain (DAB), measured by
# Ruifrok and Johnston 2001; scikit-image has the same numbers.
STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
_DARKEST = 1 / 255  # a logarithm needs a value above 0


def random_flip(images, masks, weights, generator, flips="both"):
    """Flip each image, its mask and its weights, each direction with probability one half.

    Parameters
    ----------
    images : tensor of shape (N, C, H, W)
    masks : tensor of shape (N, H, W)
    weights : tensor of shape (N, H, W) or (N, 1, 1)
    generator : torch.Generator
        On the CPU: the same draws whatever the device.
    flips : {"both", "horizontal", "none"}, default="both"
        ``"horizontal"`` for natural images, which have an up and a down.

    Returns
    -------
    images, masks, weights : tensors of the same shapes
    """
    chosen = draw_flips(len(images), generator, flips)
    return flip(images, masks, weights, chosen.to(images.device))


def draw_flips(n, generator, flips="both"):
    """Which of n images are flipped: bool tensor of shape (n, 2), left to right and upside down.

    With ``flips="horizontal"`` of shape (n, 1), with ``"none"`` (n, 0).
    """
    check_option("flips", flips, FLIPS)
    n_axes = {"both": 2, "horizontal": 1, "none": 0}[flips]
    chosen = torch.empty(n, n_axes, dtype=torch.bool)
    for axis in range(n_axes):
        chosen[:, axis] = torch.rand(n, generator=generator) < 0.5
    return chosen


def flip(images, masks, weights, chosen):
    """Flip the images that `draw_flips` chose, with their masks and weights."""
    for axis, of_axis in zip((-1, -2), chosen.unbind(1)):
        images = torch.where(of_axis[:, None, None, None], images.flip(axis), images)
        masks = torch.where(of_axis[:, None, None], masks.flip(axis), masks)
        if weights.shape[axis] > 1:
            weights = torch.where(of_axis[:, None, None], weights.flip(axis), weights)
    return images, masks, weights


def random_affine(images, masks, weights, generator, scale=0.25, degrees=15.0):
    """Rotate, scale and shift each image with its mask; pixels from outside are MISSING.

    Parameters
    ----------
    images, masks, weights, generator
        As in `random_flip`.
    scale : float in [0, 1), default=0.25
        The zoom is drawn log-uniformly from [1 - scale, 1 / (1 - scale)].
    degrees : float, default=15.0
        The rotation is drawn from [-degrees, degrees].

    Returns
    -------
    images, masks, weights : tensors of the same shapes
        Images are reflected at the border.
    """
    theta = draw_affine(len(images), images.shape[2:], generator, scale, degrees)
    return move(images, masks, weights, theta.to(images.device))


def draw_affine(n, size, generator, scale=0.25, degrees=15.0):
    """Matrices (n, 2, 3) of random zoom, rotation and shift, for images of a (height, width)."""
    h, w = size

    def uniform():
        return torch.rand(n, generator=generator) * 2 - 1

    zoom = (1 - scale) ** uniform()
    angle = uniform() * degrees * torch.pi / 180
    # A zoom below 1 shows a part of the image, which may lie anywhere in it.
    room = (1 - zoom).clamp(min=0)
    shift_x, shift_y = uniform() * room, uniform() * room
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    return torch.stack(
        [
            torch.stack([cos, -sin * h / w, shift_x], 1),
            torch.stack([sin * w / h, cos, shift_y], 1),
        ],
        1,
    )


def move_soft(proba, theta):
    """Move probabilities (N, C, H, W) as `move` does the masks: the nearest, 0 from outside."""
    grid = F.affine_grid(theta, (len(proba), 1, *proba.shape[2:]), align_corners=False)
    return F.grid_sample(proba, grid, mode="nearest", align_corners=False)


def move(images, masks, weights, theta):
    """Move images, masks and weights by matrices of `draw_affine`, see `random_affine`."""
    n, _, h, w = images.shape
    grid = F.affine_grid(theta, (n, 1, h, w), align_corners=False)
    images = F.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    # Zero padding of mask + 1 makes MISSING (-1) what lies outside.
    moved = F.grid_sample(
        (masks - MISSING).unsqueeze(1).float(), grid, mode="nearest", align_corners=False
    )
    masks = (moved.squeeze(1).round().long() + MISSING).to(masks.dtype)
    if weights.shape[-1] > 1:
        weights = F.grid_sample(
            weights.unsqueeze(1), grid, mode="nearest", align_corners=False
        ).squeeze(1)
    return images, masks, weights


def colour_jitter(images, generator, strength=0.15):
    """Change gain and offset of each channel, and the contrast, of each image; clipped to [0, 1].

    Parameters
    ----------
    images : tensor of shape (N, C, H, W), float in [0, 1]
    generator : torch.Generator
    strength : float in [0, 1), default=0.15
        Gains are drawn from [1 - strength, 1 + strength], offsets from half of that around 0.

    Returns
    -------
    tensor of shape (N, C, H, W)
    """
    gain, offset = draw_colours(*images.shape[:2], generator, strength)
    return recolour(images, gain.to(images.device), offset.to(images.device))


def draw_colours(n, n_channels, generator, strength=0.15):
    """Random gain and offset of the channels of n images: two tensors of shape (n, C, 1, 1)."""
    shape = n, n_channels, 1, 1
    gain = 1 + strength * (torch.rand(shape, generator=generator) * 2 - 1)
    return gain, strength / 2 * (torch.rand(shape, generator=generator) * 2 - 1)


def recolour(images, gain, offset):
    """Images (N, C, H, W) with gain and offset of `draw_colours`, clipped to [0, 1]."""
    return (images * gain + offset).clamp(0, 1)


def stain_jitter(images, generator, strength=0.05):
    """Change how much of each stain an image of histology shows, as if stained elsewhere [1]_.

    Optical density, ``-log10`` of the colours, is a sum of stains. Each image's amounts c of
    haematoxylin, eosin and a rest become ``a c + b``, with a and b drawn once an image and stain.

    Parameters
    ----------
    images : tensor of shape (N, 3, H, W), float in [0, 1]
        RGB, stained with haematoxylin and eosin.
    generator : torch.Generator
        On the CPU: the same draws whatever the device.
    strength : float in [0, 1), default=0.05
        a is drawn from [1 - strength, 1 + strength], b from [-strength, strength] in units of
        optical density.

    Returns
    -------
    tensor of shape (N, 3, H, W)
        Clipped to [0, 1].

    References
    ----------
    .. [1] Tellez et al. 2018, IEEE Transactions on Medical Imaging 37, arXiv:1808.05896.

    Examples
    --------
    >>> pink = torch.tensor([0.8, 0.5, 0.7]).reshape(1, 3, 1, 1)
    >>> draws = torch.Generator().manual_seed(0)
    >>> torch.allclose(stain_jitter(pink, draws, strength=0.0), pink)
    True
    """
    change, shift = draw_stains(len(images), generator, strength)
    return restain(images, change.to(images.device), shift.to(images.device))


def draw_stains(n, generator, strength=0.05):
    """What random stains do to the density of n images: (n, 3, 3) matrices and (n, 3) shifts."""
    gain = 1 + strength * (torch.rand(n, 3, generator=generator) * 2 - 1)
    shift = strength * (torch.rand(n, 3, generator=generator) * 2 - 1)
    stains = torch.tensor(STAINS)
    # Density d = c S for amounts c, so that (a c + b) S = d (S^-1 diag(a) S) + b S: one matrix.
    change = torch.linalg.inv(stains) @ torch.diag_embed(gain) @ stains
    return change, shift @ stains


def restain(images, change, shift):
    """Images (N, 3, H, W) with their optical density changed as `draw_stains` says."""
    density = -images.clamp(min=_DARKEST).log10()
    density = torch.einsum("nchw,ncd->ndhw", density, change) + shift[:, :, None, None]
    return torch.pow(10, -density).clamp_(0, 1)
