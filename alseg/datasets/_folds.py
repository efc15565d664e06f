"""Splits into training and validation that keep the classes' shares."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from alseg._types import Array
from alseg.labels import label_strata
from alseg.validation import check_number, message

N_FOLDS = 5


def class_folds(
    labels: Array, fold: int = 0, groups: Array = None, n_folds: int = N_FOLDS
) -> np.ndarray:
    """Which images validate in one fold of a split by class.

    Each class is shuffled with seed 0 and cut into chunks of ceil(size / `n_folds`); chunk
    number `fold` validates, so the last is the smaller one [1]_. With 85 GlaS images that gives
    67 + 18 (fold 4: 72 + 13). The published shuffle is not part of this rule: here it is
    numpy's, so the counts are the published ones, the members are not.

    Parameters
    ----------
    labels : array-like of shape (n,), or (n, K) for several classes an image
        Those that are missing are one more class. Each set of classes is one, those of fewer images
        than folds together.
    fold : int in [0, n_folds - 1], default=0
    groups : array-like of shape (n,), or None
        If given, no group is torn apart (scikit-learn's StratifiedGroupKFold), and the counts
        are only about equal.
    n_folds : int, default=5

    Returns
    -------
    valid : ndarray of shape (n,), bool

    References
    ----------
    .. [1] Belharbi et al. 2021, arXiv:2010.04889.

    Examples
    --------
    >>> class_folds(["a"] * 37 + ["b"] * 48, fold=0).sum()
    np.int64(18)
    """
    check_number("n_folds", n_folds, low=2, integer=True)
    labels = label_strata(labels, n_folds)
    check_number("fold", fold, low=0, high=n_folds - 1, integer=True)
    valid = np.zeros(len(labels), dtype=bool)
    if groups is not None:
        from sklearn.model_selection import StratifiedGroupKFold

        n_groups = len(np.unique(groups))
        if n_groups < n_folds:
            raise ValueError(message("groups", f"at least {n_folds} different ones", n_groups))
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0)
        splits = list(splitter.split(labels, labels, groups))
        valid[splits[fold][1]] = True
        return valid
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        # RandomState: its stream is frozen over numpy's versions, Generator's is not.
        members = members[np.random.RandomState(0).permutation(len(members))]
        size = -(-len(members) // n_folds)
        valid[members[fold * size : (fold + 1) * size]] = True
    return valid


def split_train(split: Any, labels: Array, fold: Any, groups: Any = None) -> Any:
    """`split`, (n,) str, with fold `fold` of its "train" renamed "valid"."""
    split = np.array(split, dtype=object)
    train = np.flatnonzero(split == "train")
    valid = class_folds(labels[train], fold, None if groups is None else groups[train])
    split[train[valid]] = "valid"
    return split


def natural_key(name: str) -> Any:
    """Sort "train_2" before "train_10".

    Examples
    --------
    >>> sorted(["a10", "a2"], key=natural_key)
    ['a2', 'a10']
    """
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]
