"""Determinantal point processes: picks of high quality that span a large volume."""

from __future__ import annotations

import numpy as np

from alseg._types import Array, Images, Random
from alseg.query.diversity.cover import check_weights
from alseg.query.diversity.points import as_embeddings, block_rows
from alseg.validation import check_n_instances, check_rng


def dpp_picks(
    X: Images, n_instances: int, quality: Array = None, random_state: Random = None
) -> np.ndarray:
    """The likeliest picks of a determinantal point process, found greedily [1]_.

    With the kernel ``L_ij = q_i q_j cos(x_i, x_j)`` [2]_ each pick is the one that raises
    ``det L`` of all picks most: of high quality, and unlike those before. Rows of `L` are scaled
    unit vectors, so that the gain of a point is the squared length that is left of its row beside
    the span of the picks: no n x n matrix is made, and none of n x n_instances either.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite; read a block at a time, so that they may be memory-mapped. A zero row
        has no direction: it is at right angles to all but other zero rows.
    n_instances : int
        In [1, n_samples].
    quality : array-like of shape (n_samples,) or None, default=None
        Not negative; where all are 0, and for None, they are alike.
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal gains.

    Returns
    -------
    picks : ndarray of shape (n_instances,), int
        In the order picked. When the picks span the space, so that nothing is left of any other
        row, the next are picked as if there were none before, among the rest.

    Raises
    ------
    EmptyPool
        If `X` has no row.
    TypeError, ValueError
        If `n_instances` is out of range, or the embeddings or qualities are not finite numbers.

    References
    ----------
    .. [1] Chen et al. 2018, arXiv:1709.05135, Algorithm 1.
    .. [2] Kulesza and Taskar 2012, arXiv:1207.6083, equation 3.1.

    Examples
    --------
    >>> X = [[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]
    >>> dpp_picks(X, 2, quality=[1.0, 0.9, 0.5])  # the second is nearly the first
    array([0, 2])
    """
    n_instances = check_n_instances(n_instances, len(X))
    X = as_embeddings(X)
    rows = _ScaledRows(X, quality)
    order = check_rng(random_state).permutation(len(X))
    left, basis = rows.sq.copy(), np.empty((0, rows.width))
    open_, picks = np.ones(len(X), bool), np.empty(n_instances, np.intp)
    for k in range(n_instances):
        least = 1e-9 * rows.sq[open_].max()
        if not (left[open_] > least).any():  # the picks span all that there is
            left, basis = rows.sq.copy(), np.empty((0, rows.width))
        value = np.where(open_, left, -1.0)
        picks[k] = order[value[order].argmax()]
        open_[picks[k]] = False
        direction = rows[picks[k]]
        for _ in range(2):  # twice is enough for orthogonality to rounding
            direction = direction - basis.T @ (basis @ direction)
        length = np.linalg.norm(direction)
        if length == 0 or k == n_instances - 1:
            continue
        direction /= length
        basis = np.concatenate([basis, direction[None]])
        rows.take_away(left, direction)
    return picks


class _ScaledRows:
    """Rows of unit length times their quality, made a block at a time; zero rows have an axis."""

    def __init__(self, X, quality):
        self.X = X
        norms, step = np.empty(len(X)), block_rows(X.shape[1], np.float64)
        self.parts = [slice(i, i + step) for i in range(0, len(X), step)]
        for part in self.parts:
            norms[part] = np.linalg.norm(X[part].astype(np.float64), axis=1)
        if not np.isfinite(norms).all():
            raise ValueError("X must be finite, got NaN or infinite values.")
        if quality is None or not np.any(quality):
            quality = np.ones(len(X))
        self.quality = check_weights(quality, len(X))
        self.zero = norms == 0
        self.scale = self.quality / np.where(self.zero, 1, norms)
        self.width = X.shape[1] + 1
        self.sq = self.quality**2

    def __getitem__(self, i):
        row = np.append(self.X[i].astype(np.float64), self.zero[i])
        return row * self.scale[i]

    def take_away(self, left, direction):
        """Lower the squared lengths that are left by what lies along a direction."""
        for part in self.parts:
            along = self.X[part].astype(np.float64) @ direction[:-1]
            along += self.zero[part] * direction[-1]
            left[part] -= (along * self.scale[part]) ** 2
        np.maximum(left, 0, out=left)
