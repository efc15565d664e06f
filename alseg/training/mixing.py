"""Images made of two of a batch: objects of one pasted into another, and weighted means of two.

Random numbers come from a generator of numpy, on the CPU, so that they are the same whatever the
device.
"""

import numpy as np
import torch

from alseg.training.device import send


def copy_paste(images, masks, weights, rng, probability=0.5):
    """Paste annotated objects of one image of a batch into another [1]_.

    With `probability`, an image receives objects of another one, drawn among those that have any:
    each with probability one half, and at least one. An object is a connected part of the pixels of
    one class other than background (joined by side or corner). It replaces what is at its place:
    pixels, mask and weight.

    Parameters
    ----------
    images : tensor of shape (N, C, H, W)
    masks : tensor of shape (N, H, W), int, MISSING where not annotated
        In an image without a mask the objects alone are annotated after, all else stays MISSING.
    weights : tensor of shape (N, H, W) or (N, 1, 1)
    rng : numpy.random.Generator
    probability : float in [0, 1], default=0.5

    Returns
    -------
    images, masks : tensors of the same shapes
        New ones: all objects are those of before.
    weights : tensor of shape (N, H, W), or (N, 1, 1) as long as all images have the same

    References
    ----------
    .. [1] Ghiasi et al. 2021, arXiv:2012.07177, without its large-scale jitter and without blending
       at the edges, which it found to change nothing.

    Examples
    --------
    >>> images = torch.stack([torch.zeros(1, 2, 3), torch.ones(1, 2, 3)])
    >>> masks = torch.tensor([[[-1, -1, -1], [-1, -1, -1]], [[0, 0, 0], [0, 0, 1]]])
    >>> rng = np.random.default_rng(0)
    >>> images, masks, _ = copy_paste(images, masks, torch.ones(2, 1, 1), rng, probability=1.0)
    >>> images[0, 0].tolist(), masks[0].tolist()
    ([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [[-1, -1, -1], [-1, -1, 1]])
    """
    found = [_objects(mask) for mask in masks.cpu().numpy()]
    givers = np.flatnonzero([n_objects for _, n_objects in found])
    origin = np.arange(len(masks))
    pasted = np.zeros(masks.shape, dtype=bool)
    for receiver in range(len(masks)):
        others = givers[givers != receiver]
        if rng.random() >= probability or not len(others):
            continue
        origin[receiver] = rng.choice(others)
        objects, n_objects = found[origin[receiver]]
        draws = rng.random(n_objects)
        taken = np.append(False, (draws < 0.5) | (draws == draws.min()))  # 0 is no object
        pasted[receiver] = taken[objects]
    origin, pasted = (send(torch.from_numpy(part), masks.device) for part in (origin, pasted))
    if weights.shape[-1] > 1 or (weights != weights[:1]).any():
        weights = torch.where(pasted, weights[origin], weights)
    images = torch.where(pasted[:, None], images[origin], images)
    return images, torch.where(pasted, masks[origin], masks), weights


def _objects(mask):
    """The objects of a mask, as numbers from 1 on, and how many there are."""
    from scipy import ndimage

    objects, n_objects = np.zeros(mask.shape, dtype=np.int32), 0
    for kind in range(1, mask.max(initial=0) + 1):
        parts, n_parts = ndimage.label(mask == kind, structure=np.ones((3, 3)))
        objects += np.where(parts > 0, parts + n_objects, 0)
        n_objects += n_parts
    return objects, n_objects


def mix(images, target, rng, alpha):
    """Weighted means of the images of a batch and of the same in another order: mix-up [1]_.

    Image i becomes ``lam images[i] + (1 - lam) images[order[i]]``, with one lam ~ Beta(alpha,
    alpha) and one random order a batch, in which an image may meet itself.

    Parameters
    ----------
    images : tensor of shape (N, C, H, W)
    target : dict of str -> tensor
        What is known of each image: ``labels`` (N, ...), ``masks`` and ``mask_weight`` (N, ...), or
        of no image (0, ...).
    rng : numpy.random.Generator
    alpha : float > 0

    Returns
    -------
    images : tensor of shape (N, C, H, W)
    target : dict
        The same, and ``mixed``: ``share``, which is lam, and a dict ``other`` of what is known in
        the other order. Nothing known is mixed: `mixed_loss` takes the loss by each.

    References
    ----------
    .. [1] Zhang et al. 2018, arXiv:1710.09412, Eq. 1 to 3.

    Examples
    --------
    >>> images, rng = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1), np.random.default_rng(3)
    >>> images, target = mix(images, {"labels": torch.tensor([0, 1])}, rng, alpha=1.0)
    >>> target["labels"].tolist(), target["mixed"]["other"]["labels"].tolist()
    ([0, 1], [1, 0])
    >>> bool(images[1] == target["mixed"]["share"])
    True
    """
    share = float(rng.beta(alpha, alpha))
    order = send(torch.from_numpy(rng.permutation(len(images))), images.device)
    # Where classes alone are learned there are no masks, and nothing of them to order.
    other = {name: known[order[: len(known)]] for name, known in target.items()}
    images = share * images + (1 - share) * images[order]
    return images, {**target, "mixed": {"share": share, "other": other}}


def mixed_loss(criterion, prediction, target):
    """The loss of a batch of mixed images: ``lam L(own) + (1 - lam) L(other)``, see `mix`.

    For cross-entropy this is the loss by mixed labels, as published. It holds as well for losses
    that are not linear in them, such as Dice, and for labels and pixels that are missing in one of
    the two: there the loss is the other's share.

    Parameters
    ----------
    criterion : callable
        ``criterion(prediction, target)``, such as `alseg.training.JointLoss`.
    prediction : dict
    target : dict
        Also one without ``"mixed"``, of which this is the criterion itself.

    Returns
    -------
    scalar tensor
    """
    if not isinstance(target, dict) or "mixed" not in target:
        return criterion(prediction, target)
    own = {name: known for name, known in target.items() if name != "mixed"}
    share, other = target["mixed"]["share"], target["mixed"]["other"]
    first = criterion(prediction, own)
    return share * first + (1 - share) * criterion(prediction, {**own, **other})
