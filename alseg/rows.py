"""Rows of any container: arrays, sparse matrices, data frames, lists, lazy sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_consistent_length, check_X_y

from alseg._types import Array, Images
from alseg.validation import check_all_known, message

# -- data containers ----------------------------------------------------------------------------


def _is_frame(X: Any) -> bool:
    return hasattr(X, "iloc")


def n_rows(X: Any) -> int:
    """Number of samples of an array, sparse matrix, data frame, list or lazy sequence."""
    shape = getattr(X, "shape", None)
    return int(shape[0]) if shape is not None else len(X)


def retrieve_rows(X: Images, idx: Array) -> Any:
    """Rows of any container: an array, sparse matrix, data frame, list or lazy sequence.

    Parameters
    ----------
    X : ndarray, sparse matrix, DataFrame, Series, list, tuple or lazy sequence
    idx : int, sequence of int or bool, slice, or ndarray
        Positions (also in a data frame), or a boolean mask.

    Returns
    -------
    rows : of the kind of `X`
        A single row for a single position, as `X[i]` (`X.iloc[i]` of a data frame) gives it.

    Examples
    --------
    >>> retrieve_rows(["a", "b", "c"], np.array([2, 0]))
    ['c', 'a']
    """
    if sp.issparse(X):
        indexable = X if X.format in ("csr", "csc", "lil", "dok") else X.tocsr()
        return indexable[idx].asformat(X.format)
    if _is_frame(X):
        return X.iloc[idx]
    if isinstance(X, (list, tuple)):
        positions = np.arange(len(X))[idx]
        return X[positions] if np.ndim(positions) == 0 else [X[i] for i in positions]
    return X[idx]


def data_vstack(blocks: Any) -> Any:
    """One container below the other, of the kind of the first (sparse if any of them is).

    Raises
    ------
    ValueError
        If the rows do not agree in shape.
    TypeError
        If the kind of the first is not supported.

    Examples
    --------
    >>> data_vstack(([[1, 2]], [[3, 4]]))
    [[1, 2], [3, 4]]
    """
    blocks = list(blocks)
    first = blocks[0]
    if any(sp.issparse(block) for block in blocks):
        # The first sparse block's format: "coo", scipy's own choice, cannot be indexed.
        return sp.vstack(blocks, format=next(b.format for b in blocks if sp.issparse(b)))
    if _is_frame(first):
        return _frame_vstack(blocks)
    if hasattr(first, "joined"):  # a lazy sequence stays one
        return first.joined(blocks[1:])
    if isinstance(first, np.ndarray):
        return np.concatenate(blocks)
    if isinstance(first, (list, tuple)):
        rows = [row for block in blocks for row in block]
        # Images may differ in size, and of a missing label among strings numpy makes a string.
        if any(
            isinstance(row, str) or (isinstance(row, np.ndarray) and row.ndim > 1) for row in rows
        ):
            return rows
        return np.concatenate(blocks).tolist()
    raise TypeError(
        message("blocks", "arrays, data frames, sparse matrices or lists", type(first).__name__)
    )


def _frame_vstack(blocks: Any) -> Any:
    import pandas as pd

    first = blocks[0]
    frames = [first]
    for block in blocks[1:]:
        if not _is_frame(block):  # bare rows: they are meant in the order of the columns
            bare = np.asarray(block)
            like = {"columns": first.columns} if first.ndim == 2 else {"name": first.name}
            block = (pd.DataFrame if first.ndim == 2 else pd.Series)(bare, **like)
        if first.ndim == 2 and set(block.columns) != set(first.columns):
            raise ValueError(message("columns", f"{list(first.columns)}", list(block.columns)))
        frames.append(block)
    return pd.concat(frames)


def data_hstack(blocks: Any) -> Any:
    """One container beside the other, of the kind of the first (sparse if any of them is).

    Examples
    --------
    >>> data_hstack((np.zeros((2, 1)), np.ones((2, 2))))
    array([[0., 1., 1.],
           [0., 1., 1.]])
    """
    blocks = list(blocks)
    if len(blocks) == 1:
        return blocks[0]
    if any(sp.issparse(block) for block in blocks):
        return sp.hstack(blocks, format=next(b.format for b in blocks if sp.issparse(b)))
    if all(_is_frame(block) for block in blocks):
        import pandas as pd

        return pd.concat(blocks, axis=1)
    if isinstance(blocks[0], (list, tuple)):
        return np.hstack(blocks).tolist()
    return np.hstack(blocks)


def check_training_data(X: Any, y: Array, force_all_finite: Any = True) -> None:
    """Raise unless `X` and `y` are as many, and finite where that can be said.

    Numeric containers go through scikit-learn's `check_X_y` as modAL sends them there (any number
    of dimensions, sparse, several outputs), under the argument's present name: `force_all_finite`
    became `ensure_all_finite`, and modAL's own learner fails on it [1]_. Of images of differing
    sizes and of lazy sequences only the length is checked.

    Raises
    ------
    ValueError
        If the lengths differ, or a value is not finite, or a label missing, with
        `force_all_finite`.

    References
    ----------
    .. [1] https://github.com/modAL-python/modAL/issues/196
    """
    if force_all_finite and isinstance(y, (list, tuple)) and any(isinstance(v, str) for v in y):
        check_all_known("y", y)  # an array of them has the class "nan"
    if _is_lazy_or_ragged(X):
        check_consistent_length(X, y)
        return
    check_X_y(
        X,
        y,
        accept_sparse=True,
        ensure_2d=False,
        allow_nd=True,
        multi_output=True,
        dtype=None,
        ensure_all_finite=force_all_finite,
    )


def _is_lazy_or_ragged(X: Any) -> bool:
    if sp.issparse(X) or _is_frame(X):
        return False
    if isinstance(X, np.ndarray):
        return X.dtype == object and any(isinstance(row, np.ndarray) for row in X.flat)
    if isinstance(X, (list, tuple)):
        shapes = {row.shape for row in X if isinstance(row, np.ndarray)}
        return len(shapes) > 1
    return not hasattr(X, "dtype")  # lazy: an array of it would read every file


def transform_without_estimating(estimator: Any, X: Images) -> Any:
    """`X` as the last step of an estimator's pipeline(s) sees it.

    Parameters
    ----------
    estimator : estimator
        A pipeline: all its steps but the last are applied. A voting or stacking ensemble: the
        transformations of its pipelines side by side. Any other: `X` comes back.
    X : array, data frame, sparse matrix or list of shape (n_samples, ...)

    Returns
    -------
    Xt : array, data frame, sparse matrix or list of shape (n_samples, ...)
    """
    from sklearn.pipeline import Pipeline

    # Only the heterogeneous ensembles (voting, stacking) have both.
    is_ensemble = hasattr(estimator, "named_estimators") and hasattr(estimator, "estimators_")
    parts = []
    for member in estimator.estimators_ if is_ensemble else [estimator]:
        if isinstance(member, Pipeline):
            # A new pipeline of the same class (imbalanced-learn has its own), whose last step does
            # nothing: the class may treat its last step in a special way.
            steps = [*member.steps[:-1], ("passthrough", "passthrough")]
            parts.append(type(member)(steps=steps).transform(X))
    return data_hstack(parts) if parts else X
