"""Learning loss: a small network ranks images by the loss the model is going to have on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Images, Random
from alseg.validation import check_number, check_rng, message


def pair_loss(predicted: Array, losses: Array, margin: float = 1.0) -> Any:
    """Mean hinge over all pairs of images, ``max(0, margin - sgn(l_i - l_j) (s_i - s_j))`` [1]_.

    Only the order of the losses counts, whose scale changes as training goes on. Pairs of equal
    losses have no order and are left out.

    Parameters
    ----------
    predicted : tensor of shape (n,)
    losses : tensor of shape (n,)
    margin : float, default=1.0

    Returns
    -------
    scalar tensor
        0 where there is no pair of different losses.

    References
    ----------
    .. [1] Yoo and Kweon 2019, arXiv:1905.03677.

    Examples
    --------
    >>> import torch
    >>> pair_loss(torch.tensor([0.0, 0.5]), torch.tensor([3.0, 1.0]))
    tensor(1.5000)
    """
    order = (losses[:, None] - losses[None, :]).sign()
    hinge = (margin - order * (predicted[:, None] - predicted[None, :])).clamp(min=0)
    different = order != 0
    return (hinge * different).sum() / different.sum().clamp(min=1)


class LossPredictor:
    """Two layers from embeddings to a score whose order is that of the losses.

    Parameters
    ----------
    width : int, default=128
        Of the hidden layer.
    n_steps : int, default=200
        Of Adam, each on `n_pairs` images, all their pairs.
    n_pairs : int, default=64
    lr, weight_decay : float
    margin : float, default=1.0
    random_state : None, int, numpy Generator or RandomState, default=None

    Examples
    --------
    >>> X = np.linspace(-1, 1, 40)[:, None]
    >>> scores = LossPredictor(random_state=0).fit(X, X[:, 0] ** 2).predict(X)
    >>> bool(np.corrcoef(scores, X[:, 0] ** 2)[0, 1] > 0.9)
    True
    """

    def __init__(
        self,
        width: int = 128,
        n_steps: int = 200,
        n_pairs: int = 64,
        lr: float = 1e-2,
        weight_decay: float = 1e-3,
        margin: float = 1.0,
        random_state: Random = None,
    ) -> None:
        self.width, self.n_steps, self.n_pairs = width, n_steps, n_pairs
        self.lr, self.weight_decay, self.margin = lr, weight_decay, margin
        self.random_state = random_state

    def fit(self, X: Images, losses: Array) -> Any:
        """Learn the order of the losses of labelled images.

        Parameters
        ----------
        X : array-like of shape (n, d)
        losses : array-like of shape (n,)
            Fewer than two different ones have no order: every prediction is 0 then.

        Returns
        -------
        self
        """
        import torch

        for name, low in (("width", 1), ("n_steps", 1), ("n_pairs", 2)):
            check_number(name, getattr(self, name), low, integer=True)
        check_number("margin", self.margin, 0, open_low=True)
        X, losses = np.asarray(X, dtype=np.float32), np.asarray(losses, dtype=np.float32)
        if X.ndim != 2 or losses.shape != (len(X),):
            raise ValueError(message("losses", f"one for each of {len(X)} rows", losses.shape))
        if not (np.isfinite(X).all() and np.isfinite(losses).all()):
            raise ValueError("embeddings and losses must be finite, got NaN or infinity.")
        self.weights_ = None
        if len(np.unique(losses)) < 2:
            return self
        self.mean_, self.scale_ = X.mean(axis=0), X.std(axis=0)
        self.scale_[self.scale_ == 0] = 1
        seed = int(check_rng(self.random_state).integers(2**63 - 1))
        generator = torch.Generator().manual_seed(seed)
        x, y = torch.from_numpy((X - self.mean_) / self.scale_), torch.from_numpy(losses)
        d = x.shape[1]
        with torch.inference_mode(False), torch.enable_grad():
            weights = [
                torch.randn(d, self.width, generator=generator) * (2 / d) ** 0.5,
                torch.zeros(self.width),
                torch.randn(self.width, generator=generator) / self.width**0.5,
            ]
            for w in weights:
                w.requires_grad_()
            adam = torch.optim.Adam(weights, lr=self.lr, weight_decay=self.weight_decay)
            for _ in range(self.n_steps):
                idx = torch.randperm(len(x), generator=generator)[: self.n_pairs]
                adam.zero_grad()
                pair_loss(_forward(x[idx], weights), y[idx], self.margin).backward()
                adam.step()
        self.weights_ = [w.detach() for w in weights]
        return self

    def predict(self, X: Any) -> Any:
        """Scores whose order is that of the losses expected: ndarray of shape (n,), float."""
        import torch

        X = np.asarray(X, dtype=np.float32)
        if self.weights_ is None:
            return np.zeros(len(X))
        x = torch.from_numpy((X - self.mean_) / self.scale_)
        with torch.no_grad():
            return _forward(x, self.weights_).double().numpy()


def _forward(x, weights):
    return (x @ weights[0] + weights[1]).relu() @ weights[2]
