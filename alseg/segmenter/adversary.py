"""The worst small change of an image: virtual adversarial perturbations of a network's input."""

import functools

import torch

from alseg.network import evaluated
from alseg.query import kl_divergence


def adversarial_batch(network, x, target, epsilon, n_steps, seed, restore=None, xi=1e-3):
    """How far the worst change of a batch moves its predictions (Miyato et al. 2018 [1]_).

    Parameters
    ----------
    network : JointCAMNetwork
    x : tensor of shape (N, 3, H, W), in [0, 1]
    target : {"mask", "label"}
    epsilon : float
        Root mean square of the change.
    n_steps : int
        Power iterations.
    seed : int
        Of the noise that they start from, the same for all images.
    restore : None or callable, default=None
        What brings logits of masks to the images' own size.
    xi : float, default=1e-3
        Root mean square of the change at which gradients are taken; small, and above what float32
        rounds.

    Returns
    -------
    divergence : tensor of shape (N, H, W), or (N,) for labels
        ``KL(p(x) || p(x + r))``.
    proba : tensor of shape (N, C, H, W), or (N, K)
        Of the batch unchanged.

    References
    ----------
    .. [1] arXiv:1704.03976, equations 5 to 12.
    """
    predict = functools.partial(_proba, evaluated(network), target, restore)
    noise = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(seed)).to(x)
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone()
        with torch.no_grad():
            proba = predict(x)
        direction = _scaled(noise.expand_as(x))
        for _ in range(n_steps):
            change = (xi * direction).requires_grad_()
            moved = kl_divergence(proba, predict(x + change), axis=1)
            (gradient,) = torch.autograd.grad(moved.sum(), change)
            direction = _scaled(gradient, otherwise=direction)
        with torch.no_grad():
            moved = predict(x + epsilon * direction)
            return kl_divergence(proba, moved, axis=1), proba


def _proba(network, target, restore, x):
    features, size = network.encode(x), x.shape[2:]
    if target == "label":
        return network.classify(features, size)[0].double().softmax(1)
    logits = network.mask_head(network.decode(features), size).float()
    # A divergence of 1e-9 is lost in single precision.
    return (restore(logits) if restore else logits).double().softmax(1)


def _scaled(change, otherwise=None):
    """Each image's change at a root mean square of 1; where there is none, another."""
    size = change.pow(2).mean((1, 2, 3), keepdim=True).sqrt()
    scaled = change / size.clamp(min=torch.finfo(change.dtype).tiny)
    return scaled if otherwise is None else torch.where(size > 0, scaled, otherwise)
