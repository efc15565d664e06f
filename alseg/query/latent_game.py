"""A variational autoencoder that hides from a discriminator which points are labelled (VAAL)."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Images, Random
from alseg.query.diversity import as_embeddings
from alseg.validation import check_number, check_rng, message

_BLOCK = 4096  # rows whose codes are held at once


class LatentGame:
    """VAAL [1]_ on embeddings: tell labelled from unlabelled points in a space that hides it.

    A variational autoencoder is trained on both, to rebuild them (equation 1, mean squared error)
    and to make a discriminator of their codes take all of them for labelled (equation 2); the
    discriminator to tell them apart (equation 4). What it still takes for unlabelled is unlike
    everything labelled.

    Parameters
    ----------
    n_latent, width : int, default=16 and 128
        Of the codes and of the hidden layers, one in each network.
    n_steps : int, default=400
        Of Adam for each of the two players, on as many labelled as unlabelled points.
    batch_size : int, default=64
    beta, weight : float, default=1.0
        Of the divergence of the codes from the normal, and of the discriminator in the
        autoencoder's loss (the λ's of equation 3 are 1 and `weight`).
    lr : float, default=5e-4
    random_state : None, int, numpy Generator or RandomState, default=None

    References
    ----------
    .. [1] Sinha et al. 2019, arXiv:1904.00370.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labelled, X = rng.normal(size=(50, 2)), rng.normal(size=(50, 2)) + [[5, 0]]
    >>> X[:25] -= [5, 0]  # the first half is as the labelled
    >>> scores = LatentGame(random_state=0).fit(X, labelled).predict(X)
    >>> bool(scores[:25].mean() < scores[25:].mean())
    True
    """

    def __init__(
        self,
        n_latent: int = 16,
        width: int = 128,
        n_steps: int = 400,
        batch_size: int = 64,
        beta: float = 1.0,
        weight: float = 1.0,
        lr: float = 5e-4,
        random_state: Random = None,
    ) -> None:
        self.n_latent, self.width, self.n_steps = n_latent, width, n_steps
        self.batch_size, self.beta, self.weight = batch_size, beta, weight
        self.lr, self.random_state = lr, random_state

    def fit(self, X: Images, labelled: Array) -> Any:
        """Play the game.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Embeddings of the unlabelled, finite; only rows that are drawn are read, besides one
            pass for their mean and spread.
        labelled : array-like of shape (n_labelled, d)
            At least one.

        Returns
        -------
        self
        """
        import torch

        for name in ("n_latent", "width", "n_steps", "batch_size"):
            check_number(name, getattr(self, name), 1, integer=True)
        for name in ("beta", "weight"):
            check_number(name, getattr(self, name), 0)
        check_number("lr", self.lr, 0, open_low=True)
        X, labelled = as_embeddings(X), as_embeddings(labelled, "labelled")
        if not len(labelled) or labelled.shape[1] != X.shape[1]:
            rule = f"at least one row of {X.shape[1]} features"
            remedy = "With nothing labelled there is nothing to tell apart."
            raise ValueError(message("labelled", rule, labelled.shape, remedy))
        self._measure(X, labelled)
        rng = check_rng(self.random_state)
        generator = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
        with torch.inference_mode(False), torch.enable_grad():
            self._play(X, labelled, rng, generator)
        return self

    def _measure(self, X, labelled):
        n, sums = len(X) + len(labelled), np.zeros((2, X.shape[1]))
        for turn in range(2):  # the mean, then the squares about it
            for rows in (X, labelled):
                for start in range(0, len(rows), _BLOCK):
                    block = np.asarray(rows[start : start + _BLOCK], dtype=np.float64)
                    sums[turn] += ((block - sums[0] / n) ** 2).sum(0) if turn else block.sum(0)
        if not np.isfinite(sums).all():
            raise ValueError("X and labelled must be finite, got NaN or infinite values.")
        self.mean_, self.scale_ = sums[0] / n, np.sqrt(sums[1] / n)
        self.scale_[self.scale_ == 0] = 1

    def _standard(self, rows):
        import torch

        return torch.from_numpy(((rows - self.mean_) / self.scale_).astype(np.float32))

    def _play(self, X, labelled, rng, generator):
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

        d = X.shape[1]
        encoder = _layers(generator, d, self.width, 2 * self.n_latent)
        decoder = _layers(generator, self.n_latent, self.width, d)
        discriminator = _layers(generator, self.n_latent, self.width, 1)
        hide = torch.optim.Adam([*encoder, *decoder], lr=self.lr)
        tell = torch.optim.Adam(discriminator, lr=self.lr)
        half = self.batch_size
        truth = torch.cat([torch.ones(half), torch.zeros(half)])
        for _ in range(self.n_steps):
            parts = [rows[np.sort(rng.integers(len(rows), size=half))] for rows in (labelled, X)]
            x = self._standard(np.concatenate(parts))
            mean, spread = _forward(x, encoder).chunk(2, dim=1)
            noise = torch.randn(mean.shape, generator=generator)
            rebuilt = _forward(mean + noise * (spread / 2).exp(), decoder)
            divergence = (mean**2 + spread.exp() - 1 - spread).sum(1).mean() / 2
            fooled = cross_entropy(_forward(mean, discriminator)[:, 0], torch.ones(2 * half))
            loss = ((rebuilt - x) ** 2).sum(1).mean() + self.beta * divergence
            _step(hide, loss + self.weight * fooled, [*encoder, *decoder])
            mean = _forward(x, encoder)[:, : self.n_latent].detach()
            found = cross_entropy(_forward(mean, discriminator)[:, 0], truth)
            _step(tell, found, discriminator)
        self.weights_ = [[w.detach() for w in net] for net in (encoder, discriminator)]

    def predict(self, X: Images) -> np.ndarray:
        """Probability of being unlabelled by the discriminator: ndarray of shape (n,), float."""
        import torch

        X = as_embeddings(X)
        found = np.empty(len(X))  # filled in place: small pieces between blocks keep memory in use
        encoder, discriminator = self.weights_
        with torch.no_grad():
            for start in range(0, len(X), _BLOCK):
                code = _forward(self._standard(X[start : start + _BLOCK]), encoder)
                logit = _forward(code[:, : self.n_latent], discriminator)[:, 0]
                found[start : start + _BLOCK] = (-logit.double()).sigmoid().numpy()
        return found


def _layers(generator, *widths):
    """Two layers, as LossPredictor's: weights and biases that follow a generator of our own."""
    import torch

    layers = []
    for i, o in zip(widths, widths[1:]):
        layers += [torch.randn(i, o, generator=generator) * (2 / i) ** 0.5, torch.zeros(o)]
    layers[2] *= 0.5**0.5  # nothing follows
    return [layer.requires_grad_() for layer in layers]


def _forward(x, layers):
    return (x @ layers[0] + layers[1]).relu() @ layers[2] + layers[3]


def _step(optimizer, loss, weights):
    """A step that leaves no gradient in the weights of the other player."""
    import torch

    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights)):
        weight.grad = gradient
    optimizer.step()
