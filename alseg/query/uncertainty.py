"""How unsure a prediction is: probabilities in, one number a position out (numpy or torch)."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from scipy import special

from alseg._types import Array
from alseg.validation import check_number, check_option, message

__all__ = [
    "DRAW_UNCERTAINTIES",
    "UNCERTAINTIES",
    "DrawSums",
    "bald",
    "entropy",
    "kl_divergence",
    "least_confidence",
    "margin",
    "mean_deviation",
    "mean_entropy",
    "sums_for",
    "variance",
    "variation_ratio",
    "vote_entropy",
]


def is_tensor(x: Any) -> bool:
    """Whether `x` is a torch tensor, without importing torch for those who have none.

    Examples
    --------
    >>> is_tensor(np.zeros(2))
    False
    """
    torch = sys.modules.get("torch")  # a tensor cannot exist before torch was imported
    return torch is not None and isinstance(x, torch.Tensor)


def namespace(x: Any) -> Any:
    """The module that computes with `x`: torch for a tensor, else numpy.

    Examples
    --------
    >>> namespace([0.2, 0.8]).__name__
    'numpy'
    """
    return sys.modules["torch"] if is_tensor(x) else np


def floating(x: Any, *, copy: Any = False) -> Any:
    """`x` as an array or tensor with at least 32 bits: half precision cannot hold a variance."""
    if is_tensor(x):
        torch = namespace(x)
        dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
        return x.to(dtype, copy=copy)
    x = np.asarray(x)
    dtype = x.dtype if x.dtype in (np.float32, np.float64) else np.float64
    if x.dtype == np.float16:
        dtype = np.float32
    return x.astype(dtype, copy=copy)


def _sum_entr(proba, axis):
    """Sum of -p log p, with 0 log 0 = 0 exactly: no epsilon, hence no bias."""
    entr = namespace(proba).special.entr if is_tensor(proba) else special.entr
    return entr(proba).sum(axis=axis)


def least_confidence(proba: Array, axis: int = -1) -> Any:
    """One minus the probability of the most likely class.

    Parameters
    ----------
    proba : ndarray or torch.Tensor of any shape, float
        Class probabilities, in [0, 1] and summing to 1 over `axis`: `(n, K)` for labels,
        `(n, C, H, W)` with ``axis=1`` for pixels.
    axis : int, default=-1
        The class axis.

    Returns
    -------
    score : ndarray or torch.Tensor, float, the shape of `proba` without `axis`
        In [0, 1 - 1/K]; larger is more worth asking. A tensor stays on its device.

    Examples
    --------
    >>> least_confidence(np.array([[0.5, 0.5], [1.0, 0.0]]))
    array([0.5, 0. ])
    """
    proba = floating(proba)
    return 1 - namespace(proba).amax(proba, axis=axis)


def margin(proba: Array, axis: int = -1) -> Any:
    """One minus the gap between the two most likely classes, ``1 - (p_1 - p_2)``.

    It ranks as the usual ``-(p_1 - p_2)`` does; the one is added so that certainty is 0, as for
    the other measures. With two classes it is twice the least confidence.

    Parameters
    ----------
    proba : ndarray or torch.Tensor of any shape, float
        Class probabilities, in [0, 1] and summing to 1 over `axis`.
    axis : int, default=-1
        The class axis. A single class is certain: 0.

    Returns
    -------
    score : ndarray or torch.Tensor, float, the shape of `proba` without `axis`
        In [0, 1]; larger is more worth asking.

    Examples
    --------
    >>> margin(np.array([[0.5, 0.5, 0.0], [0.75, 0.25, 0.0]]))
    array([1. , 0.5])
    """
    proba = floating(proba)
    n_classes = proba.shape[axis]
    if n_classes == 1:
        return 1 - namespace(proba).amax(proba, axis=axis)
    if is_tensor(proba):
        first, second = proba.topk(2, dim=axis).values.unbind(dim=axis)
    else:
        top = np.partition(proba, n_classes - 2, axis=axis)
        first, second = np.take(top, -1, axis=axis), np.take(top, -2, axis=axis)
    return 1 - (first - second)


def entropy(proba: Array, axis: int = -1) -> Any:
    """Shannon entropy ``-sum p log p`` in nats, with ``0 log 0 = 0``.

    Parameters
    ----------
    proba : ndarray or torch.Tensor of any shape, float
        Class probabilities, in [0, 1] and summing to 1 over `axis`.
    axis : int, default=-1
        The class axis.

    Returns
    -------
    score : ndarray or torch.Tensor, float, in nats, the shape of `proba` without `axis`
        In [0, log K] up to rounding; larger is more worth asking.

    Examples
    --------
    >>> entropy(np.array([[0.5, 0.5], [1.0, 0.0]])).round(4)
    array([0.6931, 0.    ])
    """
    return _sum_entr(floating(proba), axis)


def kl_divergence(proba: Array, other: Array, axis: int = -1) -> Any:
    """Kullback-Leibler divergence ``sum p log(p / q)`` in nats, with ``0 log 0 = 0``.

    Parameters
    ----------
    proba, other : ndarray or torch.Tensor of one shape, float
        Class probabilities p and q; a q of 0 is taken for the smallest float. Of tensors the
        gradient by `other` is defined.
    axis : int, default=-1

    Returns
    -------
    divergence : ndarray or torch.Tensor, float
        Not negative, but for rounding.

    Examples
    --------
    >>> kl_divergence(np.array([0.5, 0.5]), np.array([0.25, 0.75])).round(4)
    np.float64(0.1438)
    """
    proba, other = floating(proba), floating(other)
    xp = namespace(proba)
    log = xp.log(other.clip(xp.finfo(other.dtype).tiny))
    return -_sum_entr(proba, axis) - (proba * log).sum(axis=axis)


class DrawSums:
    """Running sums over stochastic draws of class probabilities; the draws are not kept.

    Memory is one array like a draw and two without its class axis, whatever the number of draws;
    `votes` and `classwise` cost one more like a draw each. Means and squared deviations are
    updated draw by draw (Welford), so that float32 loses nothing when the draws differ little.

    Parameters
    ----------
    axis : int, default=-1
        The class axis of a draw: 1 for `(n, C, H, W)`.
    votes : bool, default=False
        Whether to count the likeliest classes, for `vote_entropy` and `variation_ratio`.
    classwise : bool, default=False
        Whether to keep the variance of each class, for `mean_deviation`.
    masks : bool, default=False
        Whether to keep the likeliest class of each draw, for `pairwise_dice`: a byte each.

    Attributes
    ----------
    n_draws : int
        How many draws were added.

    References
    ----------
    .. [1] Welford 1962, Note on a method for calculating corrected sums of squares and products.

    Examples
    --------
    >>> sums = DrawSums()
    >>> sums.add(np.array([[0.0, 1.0]])).add(np.array([[1.0, 0.0]])).n_draws
    2
    >>> sums.mean(), sums.variance(), sums.bald().round(4)
    (array([[0.5, 0.5]]), array([0.5]), array([0.6931]))
    """

    def __init__(
        self,
        axis: int = -1,
        *,
        votes: bool = False,
        classwise: bool = False,
        masks: bool = False,
    ) -> None:
        self.axis = axis
        self.masks = masks
        self._masks: list[Any] = []
        self.votes = votes
        self.classwise = classwise
        self.n_draws = 0
        self._mean: Any = None
        self._squares: Any = None
        self._entropy: Any = None
        self._votes: Any = None

    def add(self, proba: Array) -> Any:
        """Add one draw; return self.

        Parameters
        ----------
        proba : ndarray or torch.Tensor, float
            Class probabilities of one draw, of the same shape at each call. Not changed, not kept.

        Raises
        ------
        ValueError
            If its shape is not that of the draws before.
        """
        if is_tensor(proba):
            proba = proba.detach()  # a graph through the sums would keep every draw alive
        if self.masks:
            self._masks.append(_likeliest(floating(proba), self.axis))
        if self.n_draws == 0:
            self._mean = floating(proba, copy=True)
            self._entropy = _sum_entr(self._mean, self.axis)
            like = self._mean if self.classwise else self._entropy
            self._squares = namespace(self._mean).zeros_like(like)
            self._votes = _one_vote(self._mean, self.axis) if self.votes else None
            self.n_draws = 1
            return self
        proba = floating(proba)
        if proba.shape != self._mean.shape:
            rule = f"of the shape of the draws before, {tuple(self._mean.shape)}"
            raise ValueError(message("proba", rule, tuple(proba.shape)))
        self.n_draws += 1
        deviation = proba - self._mean
        self._mean += deviation / self.n_draws
        deviation *= proba - self._mean
        # Summed over the classes at once, where that of each is not needed on its own.
        self._squares += deviation if self.classwise else deviation.sum(axis=self.axis)
        if self.votes:
            self._votes += _one_vote(proba, self.axis)
        self._entropy += (_sum_entr(proba, self.axis) - self._entropy) / self.n_draws
        return self

    def _check(self, least):
        if self.n_draws < least:
            rule = f"at least {least} for this measure"
            raise ValueError(message("n_draws", rule, self.n_draws, "Add more draws."))

    def mean(self) -> Any:
        """Mean probabilities over the draws, of the shape of a draw."""
        self._check(1)
        return self._mean * 1  # a copy: the sums go on

    def variance(self, ddof: Any = 1) -> Any:
        """Variance over the draws, averaged over the classes; see `variance`."""
        self._check(ddof + 1)
        n_classes = self._mean.shape[self.axis]
        squares = self._squares.sum(axis=self.axis) if self.classwise else self._squares
        return squares / ((self.n_draws - ddof) * n_classes)

    def mean_deviation(self) -> Any:
        """Standard deviation over the draws, averaged over the classes; see `mean_deviation`."""
        self._check(1)
        if not self.classwise:
            raise ValueError(message("classwise", "True for this measure", self.classwise))
        squares = self._squares.clip(min=0)  # never negative but by rounding
        return ((squares / self.n_draws) ** 0.5).mean(axis=self.axis)

    def _shares(self):
        self._check(1)
        if not self.votes:
            raise ValueError(message("votes", "True for this measure", self.votes))
        return self._votes / self.n_draws

    def vote_entropy(self) -> Any:
        """Entropy of the draws' votes, in nats; see `vote_entropy`."""
        return _sum_entr(self._shares(), self.axis)

    def variation_ratio(self) -> Any:
        """Share of the draws that do not vote with the most; see `variation_ratio`."""
        shares = self._shares()
        return 1 - namespace(shares).amax(shares, axis=self.axis)

    def pairwise_dice(self) -> Any:
        """One minus the Dice of two draws, expected; the same at all pixels of an image.

        Dice is of one class, averaged over the pairs of draws, then over the classes above 0 that
        any draw predicts; 0 where none does. Two masks without the class agree. What stands behind
        the class axis is the image; with nothing behind it, class 0 is one as any other.
        """
        self._check(2)
        if not self.masks:
            raise ValueError(message("masks", "True for this measure", self.masks))
        n_classes, behind = self._mean.shape[self.axis], self._mean.shape[self.axis :][1:]
        value = _pairwise_dice(self._masks, n_classes, len(behind))
        return value + 0 * self._mean.sum(axis=self.axis)  # to each pixel; NaN stays NaN

    def expected_entropy(self) -> Any:
        """Mean over the draws of the entropy of a draw, in nats."""
        self._check(1)
        return self._entropy * 1

    def predictive_entropy(self) -> Any:
        """Entropy of the mean probabilities, in nats."""
        self._check(1)
        return _sum_entr(self._mean, self.axis)

    def bald(self) -> Any:
        """Mutual information, in nats; see `bald`."""
        self._check(2)
        # It is never negative (Jensen); rounding may say so where all the draws agree.
        return (self.predictive_entropy() - self._entropy).clip(min=0)


def _likeliest(proba, axis):
    """The likeliest class, in a byte where it fits."""
    classes = proba.argmax(axis=axis)
    if is_tensor(classes):
        return classes.to(namespace(classes).uint8 if proba.shape[axis] < 256 else classes.dtype)
    return classes.astype(np.uint8 if proba.shape[axis] < 256 else classes.dtype)


def _pairwise_dice(masks, n_classes, n_behind):
    """One minus the expected Dice of two masks, with an axis of length 1 for each of the image's.

    The last `n_behind` axes are the image; those before them are images.
    """
    front = masks[0].shape[: masks[0].ndim - n_behind]
    stacked = namespace(masks[0]).stack(masks).reshape(len(masks), int(np.prod(front)), -1)
    step = max(1, 2**23 // (len(masks) * max(stacked.shape[2], len(masks))))
    parts = [
        _one_minus_dice(stacked[:, i : i + step], range(int(n_behind > 0), n_classes))
        for i in range(0, stacked.shape[1], step)
    ]
    return namespace(masks[0]).concatenate(parts).reshape((*front, *[1] * n_behind))


def _one_minus_dice(stacked, classes):
    """Of T masks of each of B images, (T, B, P) classes, to (B,)."""
    xp, n_draws = namespace(stacked), len(stacked)
    total = count = stacked[0].sum(-1) * 0.0
    for c in classes:
        inside = xp.moveaxis(floating(stacked == c), 0, 1)  # (B, T, P)
        both = inside @ xp.swapaxes(inside, 1, 2)  # (B, T, T)
        size = inside.sum(-1)
        sizes = size[:, :, None] + size[:, None, :]
        dice = xp.where(sizes > 0, 2 * both / sizes.clip(1), xp.ones_like(both))
        # The diagonal is 1: a mask agrees with itself.
        mean = (dice.sum(axis=(1, 2)) - n_draws) / (n_draws * (n_draws - 1))
        seen = (size > 0).any(-1) * 1.0
        total, count = total + (1 - mean) * seen, count + seen
    return total / count.clip(1)


def _one_vote(proba, axis):
    """1 at the likeliest class (the first of equal ones), 0 elsewhere, of the shape of `proba`.

    NaN stays NaN, so that a broken prediction cannot pass for a vote.
    """
    xp = namespace(proba)
    winner = proba.argmax(axis=axis)
    votes = xp.zeros_like(proba)
    if is_tensor(proba):
        votes.scatter_(axis, winner.unsqueeze(axis), 1)
    else:
        np.put_along_axis(votes, np.expand_dims(winner, axis), 1, axis=axis)
    return votes + 0 * proba


def _check_draws(draws, axis, least):
    """`draws` as float with at least `least` draws along axis 0, which is not the class axis."""
    draws = floating(draws)
    if axis % draws.ndim == 0:
        raise ValueError(message("axis", "another axis than 0, that of the draws", axis))
    if draws.shape[0] < least:
        raise ValueError(message("draws", f"at least {least} draws", draws.shape[0]))
    return draws


def variance(draws: Array, axis: int = -1, ddof: int = 1) -> Any:
    """Variance over stochastic draws, averaged over the classes.

    With two classes ``p_0 = 1 - p_1``, so that both have the same variance and this is exactly
    the variance of the foreground probability, the MC-dropout score of [1]_.

    Parameters
    ----------
    draws : ndarray or torch.Tensor of shape (n_draws, ...), float
        Class probabilities, summing to 1 over `axis`.
    axis : int, default=-1
        The class axis of `draws`; 2 for `(n_draws, n, C, H, W)`.
    ddof : int, default=1
        1 is the unbiased estimate (as [1]_), 0 the population variance (as CEAL [2]_).

    Returns
    -------
    score : ndarray or torch.Tensor, float
        In [0, 1/4] for ``ddof=0``; 0 when all draws agree. Larger is more worth asking.

    Raises
    ------
    ValueError
        If there are fewer than ``ddof + 1`` draws.

    See Also
    --------
    DrawSums : the same without keeping the draws.

    References
    ----------
    .. [1] Belharbi et al. 2021, arXiv:2010.04889.
    .. [2] Gorriz et al. 2017, arXiv:1711.09168.

    Examples
    --------
    >>> variance(np.array([[[0.25, 0.75]], [[0.75, 0.25]]]), ddof=0)
    array([0.0625])
    """
    check_number("ddof", ddof, low=0, integer=True)
    draws = _check_draws(draws, axis, ddof + 1)
    deviation = draws - draws.mean(axis=0)
    axis = axis % draws.ndim - 1
    return (deviation**2).sum(axis=0).mean(axis=axis) / (draws.shape[0] - ddof)


def mean_entropy(draws: Array, axis: int = -1) -> Any:
    """Mean over stochastic draws of the entropy of each, in nats (expected entropy).

    Parameters
    ----------
    draws : ndarray or torch.Tensor of shape (n_draws, ...), float
        Class probabilities, summing to 1 over `axis`.
    axis : int, default=-1
        The class axis of `draws`.

    Returns
    -------
    score : ndarray or torch.Tensor, float, in nats
        In [0, log K]. It is what no further training would remove; BALD takes it off.

    Raises
    ------
    ValueError
        If there is no draw.

    Examples
    --------
    >>> mean_entropy(np.array([[[0.5, 0.5]], [[1.0, 0.0]]])).round(4)
    array([0.3466])
    """
    draws = _check_draws(draws, axis, 1)
    return _sum_entr(draws, axis).mean(axis=0)


def bald(draws: Array, axis: int = -1) -> Any:
    """Mutual information between prediction and weights, ``H(mean p) - mean H(p)`` [1]_.

    Parameters
    ----------
    draws : ndarray or torch.Tensor of shape (n_draws, ...), float
        Class probabilities, summing to 1 over `axis`.
    axis : int, default=-1
        The class axis of `draws`; 2 for `(n_draws, n, C, H, W)`.

    Returns
    -------
    score : ndarray or torch.Tensor, float, in nats
        In [0, log K]; 0 when all draws agree. Larger is more worth asking.

    Raises
    ------
    ValueError
        If there are fewer than 2 draws.

    See Also
    --------
    DrawSums : the same without keeping the draws.

    References
    ----------
    .. [1] Houlsby et al. 2011, arXiv:1112.5745.

    Examples
    --------
    >>> bald(np.full((4, 1, 2), 0.5))  # every draw says the same: nothing to learn
    array([0.])
    """
    draws = _check_draws(draws, axis, 2)
    mean = draws.mean(axis=0)
    difference = _sum_entr(mean, axis % draws.ndim - 1) - mean_entropy(draws, axis)
    return difference.clip(min=0)


def mean_deviation(draws: Array, axis: int = -1) -> Any:
    """Standard deviation over stochastic draws, averaged over the classes (mean STD [1]_).

    Parameters
    ----------
    draws : ndarray or torch.Tensor of shape (n_draws, ...), float
        Class probabilities, summing to 1 over `axis`.
    axis : int, default=-1
        The class axis of `draws`.

    Returns
    -------
    score : ndarray or torch.Tensor, float
        In [0, 1/2], of the population; 0 when all draws agree. Larger is more worth asking.

    Raises
    ------
    ValueError
        If there is no draw.

    References
    ----------
    .. [1] Kampffmeyer et al. 2016, CVPR workshops, doi:10.1109/CVPRW.2016.90.

    Examples
    --------
    >>> mean_deviation(np.array([[[0.25, 0.75]], [[0.75, 0.25]]]))
    array([0.25])
    """
    draws = _check_draws(draws, axis, 1)
    deviation = draws - draws.mean(axis=0)
    return ((deviation**2).mean(axis=0) ** 0.5).mean(axis=axis % draws.ndim - 1)


def _vote_shares(draws, axis):
    draws = _check_draws(draws, axis, 1)
    return _one_vote(draws, axis % draws.ndim).mean(axis=0)


def vote_entropy(draws: Array, axis: int = -1) -> Any:
    """Entropy of the classes that the draws, or the members of a committee, vote for [1]_.

    Parameters
    ----------
    draws : ndarray or torch.Tensor of shape (n_draws, ...), float
        Class probabilities, summing to 1 over `axis`; each draw votes for its likeliest class,
        the first of equal ones.
    axis : int, default=-1
        The class axis of `draws`.

    Returns
    -------
    score : ndarray or torch.Tensor, float, in nats
        In [0, log min(K, n_draws)]; 0 when all vote alike. Larger is more worth asking.

    Raises
    ------
    ValueError
        If there is no draw.

    References
    ----------
    .. [1] Dagan and Engelson 1995, ICML, Committee-based sampling.

    Examples
    --------
    >>> vote_entropy(np.array([[[0.9, 0.1]], [[0.4, 0.6]]])).round(4)
    array([0.6931])
    """
    shares = _vote_shares(draws, axis)
    return _sum_entr(shares, axis % draws.ndim - 1)


def variation_ratio(draws: Array, axis: int = -1) -> Any:
    """Share of the draws that do not vote for the class most vote for [1]_.

    Parameters
    ----------
    draws : ndarray or torch.Tensor of shape (n_draws, ...), float
        Class probabilities, summing to 1 over `axis`.
    axis : int, default=-1
        The class axis of `draws`.

    Returns
    -------
    score : ndarray or torch.Tensor, float
        In [0, 1 - 1/K]; 0 when all vote alike. Larger is more worth asking.

    Raises
    ------
    ValueError
        If there is no draw.

    References
    ----------
    .. [1] Gal et al. 2017, arXiv:1703.02910.

    Examples
    --------
    >>> draws = np.array([[[0.9, 0.1]], [[0.4, 0.6]], [[0.3, 0.7]], [[0.2, 0.8]]])
    >>> variation_ratio(draws)
    array([0.25])
    """
    shares = _vote_shares(draws, axis)
    return 1 - namespace(shares).amax(shares, axis=axis % draws.ndim - 1)


UNCERTAINTIES = {"least_confidence": least_confidence, "margin": margin, "entropy": entropy}
"""Measures of one prediction: name -> ``f(proba, axis)``."""

DRAW_UNCERTAINTIES = {
    "mc_variance": DrawSums.variance,
    "bald": DrawSums.bald,
    "mean_deviation": DrawSums.mean_deviation,
    "predictive_entropy": DrawSums.predictive_entropy,
    "expected_entropy": DrawSums.expected_entropy,
    "vote_entropy": DrawSums.vote_entropy,
    "variation_ratio": DrawSums.variation_ratio,
    "pairwise_dice": DrawSums.pairwise_dice,
}
"""Measures of stochastic draws: name -> ``f(sums)`` of a filled `DrawSums`; see `sums_for`."""


def sums_for(method: str, axis: int = -1) -> Any:
    """An empty `DrawSums` that keeps what a measure needs, and no more.

    Parameters
    ----------
    method : str
        A name in `DRAW_UNCERTAINTIES`.
    axis : int, default=-1
        The class axis of a draw.

    Returns
    -------
    sums : DrawSums

    Raises
    ------
    ValueError
        If there is no such measure.

    Examples
    --------
    >>> sums = sums_for("variation_ratio").add(np.array([[0.9, 0.1]])).add(np.array([[0.4, 0.6]]))
    >>> DRAW_UNCERTAINTIES["variation_ratio"](sums)
    array([0.5])
    """
    check_option("method", method, DRAW_UNCERTAINTIES)
    return DrawSums(
        axis,
        votes=method in ("vote_entropy", "variation_ratio"),
        classwise=method == "mean_deviation",
        masks=method == "pairwise_dice",
    )
