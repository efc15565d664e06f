"""What few marks teach: classes by their known share, and neighbours of one colour alike."""

import torch
import torch.nn.functional as F

from alseg.labels import MISSING


def balanced_weight(masks, mask_weight, prior):
    """Weights of pixels under which each class counts what it covers, not how often it was marked.

    Somebody who marks by hand gives each class about as many strokes, however little of the image
    it covers. In an image annotated in part, pixel p of class c is weighted by
    ``prior_c / (n_c / n)``, where n_c of the n annotated pixels are of class c; over the classes
    that are marked the priors are scaled to sum to 1. So the weights of an image sum to what they
    would without, and a whole mask, which is its own sample, keeps its own.

    Parameters
    ----------
    masks : tensor of shape (M, H, W), int, MISSING where not annotated
    mask_weight : tensor broadcastable to (M, H, W), float
    prior : tensor of shape (C,), float
        Share of the pixels that each class covers.

    Returns
    -------
    tensor of shape (M, H, W), float

    Examples
    --------
    >>> masks = torch.tensor([[[0, 0, 0, 1, MISSING]]])
    >>> balanced_weight(masks, torch.ones(1, 1, 1), torch.tensor([0.5, 0.5]))[0, 0].tolist()[:4]
    [0.6666666865348816, 0.6666666865348816, 0.6666666865348816, 2.0]
    """
    known = masks != MISSING
    n_known = known.flatten(1).sum(1)
    of_class = torch.stack([(masks == c).flatten(1).sum(1) for c in range(len(prior))], 1)
    prior = prior.to(mask_weight) * (of_class > 0)
    prior = prior / prior.sum(1, keepdim=True).clamp(min=1e-12)
    factor = prior * n_known[:, None] / of_class.clamp(min=1)  # (M, C)
    of_pixel = factor.gather(1, masks.clamp(min=0).flatten(1)).reshape(masks.shape)
    in_part = (n_known < known[0].numel())[:, None, None]
    return mask_weight * torch.where(in_part, of_pixel, torch.ones_like(of_pixel))


def gated_crf_loss(mask_logits, images, masks, radius=5, sigma_xy=6.0, sigma_rgb=0.1):
    """Pixels that nobody marked are to be of the class of neighbours that have their colour [1]_.

    ::

        L = sum_i g_i sum_{j != i, |i - j| <= r} K_ij (1 - sum_c p_ic p_jc) / sum_i g_i
        K_ij = exp(-|x_i - x_j|^2 / (2 sigma_xy^2) - |I_i - I_j|^2 / (2 sigma_rgb^2))

    where the gate g_i is 1 for pixels that are not annotated, of images that are annotated in part.
    The window is a square. Images and probabilities are taken at half their size.

    Parameters
    ----------
    mask_logits : tensor of shape (M, C, H, W)
    images : tensor of shape (M, channels, H, W), in [0, 1]
    masks : tensor of shape (M, H, W), int, MISSING where not annotated
    radius : int, default=5
        r, in pixels of the halved images.
    sigma_xy, sigma_rgb : float, default=6.0, 0.1
        As published.

    Returns
    -------
    scalar tensor
        0 where no image is annotated in part.

    References
    ----------
    .. [1] Obukhov et al. 2019, Gated CRF loss for weakly supervised semantic image segmentation,
       arXiv:1906.04651.
    """
    known = masks != MISSING
    share = known.flatten(1).float().mean(1)
    gate = (~known) * ((share > 0) & (share < 1))[:, None, None]
    proba = F.avg_pool2d(mask_logits.float().softmax(1), 2)
    images = F.avg_pool2d(images.float(), 2)
    gate = F.avg_pool2d(gate[:, None].float(), 2)
    total = proba.new_zeros(())
    for down in range(radius + 1):
        for across in range(-radius, radius + 1):
            if (down, across) > (0, 0):  # each pair once
                total = total + _pairs(proba, images, gate, down, across, sigma_xy, sigma_rgb)
    return total / gate.sum().clamp(min=1)


def _pairs(proba, images, gate, down, across, sigma_xy, sigma_rgb):
    """The sum over the pairs of pixels that lie `down` rows and `across` columns apart."""
    here, there = _apart(proba, down, across)
    if not here.numel():
        return proba.new_zeros(())
    apart = (1 - (here * there).sum(1, keepdim=True)).clamp(min=0)
    with torch.no_grad():
        first, second = _apart(images, down, across)
        colours = (first - second).square().sum(1, keepdim=True) / (2 * sigma_rgb**2)
        near = (down**2 + across**2) / (2 * sigma_xy**2)
        first, second = _apart(gate, down, across)
        kernel = torch.exp(-near - colours) * (first + second)
    return (kernel * apart).sum()


def _apart(maps, down, across):
    """Maps (M, C, H, W) and the same maps moved, where both are."""
    height, width = maps.shape[2:]
    left, right = max(0, -across), min(width, width - across)
    here = maps[:, :, : max(0, height - down), left : max(left, right)]
    there = maps[:, :, down:, left + across : max(left, right) + across]
    return here, there
