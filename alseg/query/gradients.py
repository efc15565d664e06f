"""Gradients of the last layer: their length, and spread-out picks without ever forming them."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Random
from alseg.query.diversity.cover import draw
from alseg.validation import check_n_instances, check_rng, message

BLOCK_BYTES = 8 * 2**20


def label_residuals(proba: Array) -> np.ndarray:
    """``p - onehot(argmax p)``: gradient of the cross-entropy by the logits, the guess as label.

    Parameters
    ----------
    proba : ndarray of shape (n, K), float
        Class probabilities; of equal ones the first is the guess.

    Returns
    -------
    residuals : ndarray of shape (n, K), float

    Examples
    --------
    >>> label_residuals(np.array([[0.75, 0.25]]))
    array([[-0.25,  0.25]])
    """
    proba = _matrix("proba", proba)
    residuals = proba.copy()
    residuals[np.arange(len(proba)), proba.argmax(axis=1)] -= 1
    return residuals


def badge_picks(
    proba: Array, embeddings: Array, n_instances: int, random_state: Random = None
) -> np.ndarray:
    """BADGE [1]_: k-means++ on ``(p - onehot(argmax p)) (x) phi``, the last layer's gradients.

    The first pick is the longest gradient, each further one is drawn with a chance in proportion
    to the squared distance to the nearest pick. See `outer_picks` for what it costs.

    Parameters
    ----------
    proba : ndarray of shape (n, K), float
        Class probabilities.
    embeddings : ndarray of shape (n, d), float
        What the last layer sees; may be memory-mapped.
    n_instances : int
        In [1, n].
    random_state : None, int, numpy Generator or RandomState, default=None

    Returns
    -------
    picks : ndarray of shape (n_instances,), int

    Raises
    ------
    EmptyPool
        If there is no row.
    TypeError, ValueError
        If `n_instances` is out of range, shapes disagree, or a number is not finite.

    References
    ----------
    .. [1] Ash et al. 2020, arXiv:1906.03671.

    Examples
    --------
    >>> proba = np.array([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]])
    >>> badge_picks(proba, np.array([[1.0, 0], [0, 2], [9, 9]]), 1)  # of the last it is certain
    array([1])
    """
    return outer_picks(label_residuals(proba), embeddings, n_instances, random_state)


def outer_picks(
    left: Array, right: Array, n_instances: int, random_state: Random = None
) -> np.ndarray:
    """k-means++ on the outer products ``left_i (x) right_i``, in factorised form.

    Of outer products ``<a (x) b, c (x) d> = (a.c) (b.d)``, so that distances need the factors
    alone: one pass over (n, K) and (n, d) for each pick, and n numbers of memory beside them, where
    the products themselves are (n, K d).

    Parameters
    ----------
    left : ndarray of shape (n, K), float
    right : ndarray of shape (n, d), float
        May be memory-mapped: it is read a block at a time.
    n_instances : int
        In [1, n].
    random_state : None, int, numpy Generator or RandomState, default=None

    Returns
    -------
    picks : ndarray of shape (n_instances,), int
        Different positions, the longest first. Once all that is left equals a pick, the rest are
        drawn alike.

    Raises
    ------
    EmptyPool
        If there is no row.
    TypeError, ValueError
        If `n_instances` is out of range, shapes disagree, or a number is not finite.

    Examples
    --------
    >>> outer_picks(np.ones((3, 1)), np.array([[0.0], [5.0], [0.0]]), 1)
    array([1])
    """
    left, right = _matrix("left", left), _matrix("right", right, check=False)
    n = len(left)
    if len(right) != n:
        raise ValueError(message("right", f"of {n} rows, as left", len(right)))
    n_instances = check_n_instances(n_instances, n)
    rng = check_rng(random_state)
    length = np.empty(n)
    for part in _blocks(right):
        rows = np.asarray(right[part])
        length[part] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    if not np.isfinite(length).all():
        where = int(np.argmin(np.isfinite(length)))
        raise ValueError(f"embeddings must be finite, got NaN or infinity in row {where}.")
    length *= np.einsum("ij,ij->i", left, left, dtype=np.float64)

    eps = np.finfo(np.result_type(left.dtype, right.dtype)).eps
    # What rounding leaves of the distance of equal rows; it grows as the root of the products.
    noise = 8 * eps * (np.sqrt(right.shape[1] + left.shape[1]) + 8)
    near, open_ = np.full(n, np.inf), np.ones(n, bool)
    picks = [int(length.argmax())]
    while True:
        pick = picks[-1]
        open_[pick] = False
        if len(picks) == n_instances:
            return np.array(picks)
        centre = np.array(right[pick])
        for part in _blocks(right):
            inner = (left[part] @ left[pick]).astype(np.float64) * (right[part] @ centre)
            squared = length[part] + length[pick] - 2 * inner
            squared[squared <= noise * length[part]] = 0
            np.minimum(near[part], squared, out=near[part])
        picks.append(draw(np.where(open_, near, 0), open_, rng))


def expected_gradient_length(proba: Array, embeddings: Array) -> np.ndarray:
    """Length of the last layer's gradient, expected over the class: ``|phi| sum_c p_c |p - e_c|``.

    Parameters
    ----------
    proba : ndarray of shape (n, K), float
        Class probabilities.
    embeddings : ndarray of shape (n, d), float
        What the last layer sees.

    Returns
    -------
    score : ndarray of shape (n,), float
        0 for a certain prediction. Larger is more worth asking.

    Raises
    ------
    ValueError
        If shapes disagree, or a number is not finite.

    References
    ----------
    .. [1] Settles et al. 2008, NIPS, Multiple-instance active learning.

    Examples
    --------
    >>> expected_gradient_length(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[3.0, 4], [3, 4]]))
    array([3.53553391, 0.        ])
    """
    proba, embeddings = _matrix("proba", proba), _matrix("embeddings", embeddings)
    if len(embeddings) != len(proba):
        raise ValueError(message("embeddings", f"of {len(proba)} rows, as proba", len(embeddings)))
    squares = (proba**2).sum(axis=1, keepdims=True)
    away = np.sqrt(np.clip(squares - 2 * proba + 1, 0, None))  # |p - e_c|, (n, K)
    return np.linalg.norm(embeddings, axis=1) * (proba * away).sum(axis=1)


def _matrix(name, values, check=True):
    found = values if isinstance(values, np.memmap) else np.asarray(values)
    if found.ndim != 2 or found.dtype.kind not in "fiub":
        got = (found.dtype.name, found.shape)
        raise ValueError(message(name, "numbers of shape (n, d)", got))
    if found.dtype not in (np.float32, np.float64):
        found = found.astype(np.float32 if found.dtype == np.float16 else np.float64)
    if check and not np.isfinite(found).all():
        where = int(np.argmin(np.isfinite(found).all(axis=1)))
        raise ValueError(f"{name} must be finite, got NaN or infinity in row {where}.")
    return found


def _blocks(matrix):
    """Slices over the rows of a block each."""
    step = max(1, BLOCK_BYTES // max(1, matrix.shape[1] * matrix.itemsize))
    return (slice(i, min(i + step, len(matrix))) for i in range(0, len(matrix), step))


def mask_gradients(network: Any, x: Array, loss: str = "cross_entropy") -> Any:
    """Gradient of each image's mask loss by the last convolution's weights, the guess as truth.

    The prediction is upsampled as in training, and what is wrong with it is mapped back to the
    decoder's grid, where it meets the features of the last convolution: one backward step of that
    layer alone, summed over the pixels.

    Parameters
    ----------
    network : JointCAMNetwork
        Its modes are left as they are.
    x : tensor of shape (N, 3, H, W)
    loss : {"cross_entropy", "joint"}, default="cross_entropy"
        "joint" adds the Dice loss; see `alseg.training.mask_loss`.

    Returns
    -------
    gradients : tensor of shape (N, C * D)
        For C pixel classes and D channels before the last convolution.
    """
    import torch

    from alseg.training import mask_loss

    decoded, logits = _last_layer(network, x)
    with torch.inference_mode(False), torch.enable_grad():
        leaf = logits.detach().clone().requires_grad_()
        full = network.upsample(leaf, x.shape[2:])
        truth = full.detach().argmax(dim=1)
        per_image, _ = mask_loss(full, truth, full.new_ones(1), float(loss == "joint"))
        (residuals,) = torch.autograd.grad(per_image.sum(), leaf)
    return torch.einsum("nchw,ndhw->ncd", residuals, decoded).flatten(1)


def mask_gradient_length(network: Any, x: Array) -> Any:
    """Root of the expected squared length of the gradient of the mean cross-entropy over pixels.

    On the decoder's grid, with labels of pixels drawn independently from the prediction, the
    expectation of ``|sum_x (p_x - e_x) (x) h_x|^2`` is ``sum_x |h_x|^2 (1 - sum_c p_xc^2)``,
    since each term has mean 0.

    Parameters
    ----------
    network : JointCAMNetwork
    x : tensor of shape (N, 3, H, W)

    Returns
    -------
    length : tensor of shape (N,)
    """
    decoded, logits = _last_layer(network, x)
    doubt = 1 - (logits.softmax(dim=1) ** 2).sum(dim=1)  # (N, h, w)
    total = ((decoded**2).sum(dim=1) * doubt).flatten(1).sum(dim=1)
    return total**0.5 / doubt[0].numel()


def _last_layer(network, x):
    """What the last convolution sees and gives, (N, D, h, w) and (N, C, h, w), no gradient kept."""
    import torch

    from alseg.network import evaluated

    network = evaluated(network)
    with torch.no_grad():
        decoded = network.decode(network.encode(x))
        return decoded.float(), network.mask_conv(decoded).float()
