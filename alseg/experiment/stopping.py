"""When to stop asking: when the predictions of successive rounds no longer change."""

from typing import NamedTuple

import numpy as np

from alseg.labels import MISSING
from alseg.validation import check_number, message


class Agreement(NamedTuple):
    """What `agreement` returns.

    Attributes
    ----------
    dice : float
        Of the foreground, in [0, 1].
    kappa : float
        Cohen's, over all pixel classes, in [-1, 1]: agreement beyond that of chance.
    """

    dice: float
    kappa: float


def agreement(masks_a, masks_b):
    """How far two models agree about the same images, whatever the truth is [1]_.

    Parameters
    ----------
    masks_a, masks_b : sequence of n arrays (H, W), int or bool
        Predicted class of each pixel, such as of two successive rounds. A pixel that is `MISSING`
        (-1) on either side is left out, and so is an image that is None on either side.

    Returns
    -------
    result : Agreement
        Over all pixels together. Dice counts a foreground pixel as agreed where both give it the
        same class; without foreground on either side it is 1. Kappa is 1 where both give all
        pixels one and the same class.

    Raises
    ------
    TypeError
        If a mask is not of integers or booleans.
    ValueError
        If lengths or sizes differ, or no pixel is left.

    References
    ----------
    .. [1] Bloodgood and Vijay-Shanker 2009, A method for stopping active learning based on
       stabilizing predictions and the need for user-adjustable stopping, CoNLL.

    Examples
    --------
    >>> result = agreement([np.array([[0, 1, 1, 0]])], [np.array([[0, 1, 0, 0]])])
    >>> round(result.dice, 3), result.kappa
    (0.667, 0.5)
    """
    if len(masks_a) != len(masks_b):
        raise ValueError(message("masks_b", f"{len(masks_a)} masks, as masks_a", len(masks_b)))
    table = np.zeros((1, 1), dtype=np.int64)  # counts of (class in a, class in b)
    for i, (a, b) in enumerate(zip(masks_a, masks_b, strict=True)):
        if a is None or b is None:
            continue
        a, b = _classes(f"masks_a[{i}]", a), _classes(f"masks_b[{i}]", b)
        if a.shape != b.shape:
            raise ValueError(message(f"masks_b[{i}]", f"of shape {a.shape}, as masks_a", b.shape))
        known = (a != MISSING) & (b != MISSING)
        table = _add(table, a[known].astype(np.intp), b[known].astype(np.intp))
    n = table.sum()
    if n == 0:
        raise ValueError(message("masks_a", "known in at least one pixel where masks_b is", "none"))
    same = np.diag(table)
    of_a, of_b = table.sum(axis=1), table.sum(axis=0)
    foreground = of_a[1:].sum() + of_b[1:].sum()
    dice = 2 * same[1:].sum() / foreground if foreground else 1.0
    observed, chance = same.sum() / n, float((of_a / n) @ (of_b / n))
    alone = max(of_a.max(), of_b.max()) == n and observed == 1  # one class on both sides
    return Agreement(float(dice), 1.0 if alone else float((observed - chance) / (1 - chance)))


def _classes(name, mask):
    mask = np.asarray(mask)
    if mask.dtype.kind not in "biu":
        remedy = "Threshold probabilities first."
        raise TypeError(message(name, "of an integer dtype", str(mask.dtype), remedy))
    mask = mask.astype(np.int8) if mask.dtype == bool else mask
    if mask.size and mask.min() < MISSING:
        raise ValueError(message(name, "of classes >= 0 or MISSING (-1)", int(mask.min())))
    return mask


def _add(table, a, b):
    size = max(len(table), a.max(initial=0) + 1, b.max(initial=0) + 1)
    grown = np.bincount(a * size + b, minlength=size * size).reshape(size, size)
    grown[: len(table), : len(table)] += table
    return grown


def stabilised(agreements, threshold=0.99, patience=3):
    """Whether predictions have stopped changing: stop, or go on asking [1]_.

    Parameters
    ----------
    agreements : sequence of float
        Of each round with the one before it, so far: Dice or kappa of `agreement`.
    threshold : float, default=0.99
        In [0, 1]. 0.99 of kappa is that of [1]_, for text; masks of networks trained from scratch
        may never agree so far (two seeds of one fit do not), so look at `agreements` first.
    patience : int, default=3
        Rounds in a row that must reach it. [1]_ asks their mean to; one round that changes much
        then hides behind two that do not.

    Returns
    -------
    bool

    References
    ----------
    .. [1] Bloodgood and Vijay-Shanker 2009, CoNLL.

    Examples
    --------
    >>> stabilised([0.8, 0.992, 0.991, 0.995]), stabilised([0.992, 0.98, 0.995, 0.995])
    (True, False)
    """
    check_number("threshold", threshold, 0, 1)
    check_number("patience", patience, 1, integer=True)
    values = np.asarray(agreements, dtype=float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(message("agreements", "finite numbers in a row", values.tolist()))
    return len(values) >= patience and bool((values[-patience:] >= threshold).all())
