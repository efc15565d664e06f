"""Embeddings made ready for dot products: checked, shifted, read a block at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Images
from alseg.validation import check_option, message

METRICS = ("euclidean", "cosine")
BLOCK_BYTES = 4 << 20  # of prepared rows, or of one block of distances
KEEP_BYTES = 64 << 20  # prepared rows are kept if they fit in this, else prepared at each pass
CHUNK = 256  # centres taken together in one matrix product


def as_embeddings(X: Images, name: str = "X") -> Any:
    """Embeddings as a 2-D array of numbers; a memory-mapped one is not read.

    Parameters
    ----------
    X : array-like, numpy.memmap or torch.Tensor of shape (n_samples, n_features)
    name : str, default="X"
        For messages.

    Returns
    -------
    ndarray of shape (n_samples, n_features)

    Raises
    ------
    TypeError, ValueError
        If it is not 2-D, has no feature, or does not hold numbers.

    Examples
    --------
    >>> as_embeddings([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    X = X.detach().cpu().numpy() if hasattr(X, "detach") else X
    X = X if isinstance(X, np.ndarray) else np.asarray(X)
    if X.ndim != 2 or X.shape[1] == 0:
        raise ValueError(message(name, "of shape (n_samples, n_features)", X.shape))
    if X.dtype.kind not in "fiub":
        raise TypeError(message(name, "numbers", str(X.dtype)))
    return X


def as_labelled(labelled: Any, n_features: Any) -> Any:
    """Labelled embeddings as a 2-D array, or None where there are none.

    Examples
    --------
    >>> as_labelled(np.empty((0, 3)), 3) is None
    True
    """
    if labelled is None or len(labelled) == 0:
        return None
    labelled = as_embeddings(labelled, "labelled")
    if labelled.shape[1] != n_features:
        raise ValueError(
            message("labelled", f"of shape (n_labelled, {n_features}), as X", labelled.shape)
        )
    return labelled


class SomeRows:
    """Some rows of an array, for `Points`: read when they are asked for, and never all at once.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    which : ndarray of shape (m,), int
        Positions in `X`.

    Examples
    --------
    >>> some = SomeRows(np.arange(8).reshape(4, 2), np.array([3, 1]))
    >>> some.shape, some[:1]
    ((2, 2), array([[6, 7]]))
    """

    def __init__(self, X: Any, which: Any) -> None:
        self.X, self.which, self.dtype = X, which, X.dtype
        self.shape = len(which), X.shape[1]

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, which: Any) -> Any:
        return self.X[self.which[which]]


class Points:
    """Rows of embeddings, shifted so that the expanded square loses little, a block at a time.

    ``|x - c|^2 = |x|^2 + |c|^2 - 2 x.c`` costs one matrix product, but loses all digits of float32
    on data far from the origin. Distances do not change if the mean is subtracted first. For the
    cosine distance rows are first brought to unit length, where ``1 - cos = |u - v|^2 / 2``; a zero
    row has no direction and becomes a unit vector along an axis of its own, so that it is at
    distance 1 from all rows that have one, and at distance 0 from other zero rows.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    metric : {"euclidean", "cosine"}, default="euclidean"
    name : str, default="X"
        For messages.
    like : Points or None, default=None
        Take its type, shift and axes, so that the two can be compared.
    extra : bool, default=False
        Whether other points that will be compared have zero rows, with the cosine distance.
    keep : bool, default=True
        Whether prepared rows may be kept; a method that does much with each block needs none kept.

    Attributes
    ----------
    sq : ndarray of shape (n,)
        Squared length of each prepared row.
    radius_sq : float
        The largest of them.
    """

    def __init__(
        self,
        X: Images,
        metric: str = "euclidean",
        name: str = "X",
        like: Any = None,
        extra: bool = False,
        keep: bool = True,
    ) -> None:
        check_option("metric", metric, METRICS)
        self.X, self.metric, self.name = X, metric, name
        self.n = len(X)
        self.dtype = np.result_type(np.float32, X.dtype) if like is None else like.dtype
        self.dtype = np.dtype(np.float64) if self.dtype.itemsize > 8 else self.dtype
        self.kept: Any = None
        self.norms: Any = None
        self.extra = extra if like is None else like.extra
        self._measure(like)
        if keep and self.n * self.width * self.dtype.itemsize <= KEEP_BYTES:
            self.kept = np.empty((self.n, self.width), self.dtype)
            for part in self.parts():
                self.kept[part] = self._prepared(part)
        self.sq = np.empty(self.n, self.dtype)
        for part, rows in self.blocks():
            np.einsum("ij,ij->i", rows, rows, out=self.sq[part])
        self.radius_sq = float(self.sq.max(initial=0))

    @property
    def width(self) -> Any:
        """Features of a prepared row."""
        return self.X.shape[1] + self.extra

    def _measure(self, like):
        """One pass for lengths and one for the mean; every number is looked at."""
        total = np.zeros(self.X.shape[1])
        if self.metric == "cosine":
            self.norms = np.empty(self.n)
            for part in self.parts():
                rows = self.X[part].astype(np.float64)
                self.norms[part] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
            self._check_finite(self.norms.sum())
            self.extra = self.extra or bool((self.norms == 0).any() and like is None)
            self.norms[self.norms == 0] = np.inf  # a zero row stays one, then gets its own axis
            total = np.zeros(self.width)
        for part in self.parts():
            if like is None and self.metric == "cosine":
                total += self.exact(part).sum(axis=0)
            elif self.metric != "cosine":
                total += self.X[part].sum(axis=0, dtype=np.float64)
        self._check_finite(total.sum())
        self.mean = total / max(self.n, 1) if like is None else like.mean
        self.shift = self.mean.astype(self.dtype)

    def _check_finite(self, total):
        if np.isfinite(total):
            return
        bad = [int((~np.isfinite(self.X[part]).all(axis=1)).sum()) for part in self.parts()]
        if sum(bad):
            found = f"{sum(bad)} rows of {self.n} that are not"
            raise ValueError(message(self.name, "finite", found))
        raise ValueError(message(self.name, "small enough to be squared", "an overflow"))

    def parts(self):
        """Slices over the rows, each of a block."""
        step = block_rows(self.X.shape[1] + 1, self.dtype)
        for start in range(0, self.n, step):
            yield slice(start, min(start + step, self.n))

    def blocks(self):
        """Pairs (slice, prepared rows)."""
        for part in self.parts():
            yield part, self.rows(part)

    def rows(self, which: Any) -> Any:
        """Prepared rows of a slice or of positions."""
        return self._prepared(which) if self.kept is None else self.kept[which]

    def _prepared(self, which):
        if self.metric == "cosine":
            rows = self.exact(which)
            rows -= self.mean
            return rows.astype(self.dtype, copy=False)
        rows = self.X[which].astype(self.dtype)  # a copy: the input is left alone
        rows -= self.shift
        return rows

    def exact(self, which: Any) -> Any:
        """Rows in double precision, not shifted; of unit length for the cosine distance."""
        rows = np.asarray(self.X[which], dtype=np.float64)
        if self.metric == "euclidean":
            return rows
        norms = self.norms[which][:, None]
        return np.column_stack([rows / norms, np.isinf(norms)] if self.extra else [rows / norms])

    @property
    def tolerance(self) -> Any:
        """How far a squared distance by the expanded square may be from the true one."""
        eps = float(np.finfo(self.dtype).eps)
        # Rounding grows as the root of the number of products; 4 keeps well clear of what is seen.
        return 4 * eps * (np.sqrt(self.width) + 8) * self.radius_sq


def block_rows(n_columns: Any, dtype: Any) -> Any:
    """Rows of a block of this many columns, and of its distances to `CHUNK` centres.

    Examples
    --------
    >>> block_rows(512, np.float32)
    2048
    """
    return max(1, BLOCK_BYTES // (max(n_columns, CHUNK) * np.dtype(dtype).itemsize))


def pair(X: Images, labelled: Array, metric: str, keep: bool = True) -> Any:
    """Points of a pool and of what is labelled (or None), comparable with one another.

    Parameters
    ----------
    X : array-like of shape (n, d)
    labelled : array-like of shape (m, d), or None
    metric : {"euclidean", "cosine"}
    keep : bool, default=True

    Returns
    -------
    points : Points
    labelled : Points or None
    """
    labelled = as_labelled(labelled, X.shape[1])
    if labelled is None:
        return Points(X, metric, keep=keep), None
    # Zero rows of either need the axis in both.
    extra = metric == "cosine" and bool((~labelled.any(axis=1)).any())
    points = Points(X, metric, extra=extra, keep=keep)
    known = Points(labelled, metric, "labelled", like=points, keep=keep)
    points.radius_sq = known.radius_sq = max(points.radius_sq, known.radius_sq)
    return points, known


def squared(rows: Any, sq: Any, centres: Any, centres_sq: Any) -> Any:
    """Squared distances (n_rows, n_centres) of prepared rows, not below 0."""
    result = rows @ (-2 * centres).T
    result += sq[:, None]
    result += centres_sq
    return np.maximum(result, 0, out=result)


def bring_near(points: Any, near: Array, centres: Array, centres_sq: Array) -> None:
    """Lower `near`, the squared distance of each point to its nearest centre, by more centres.

    Parameters
    ----------
    points : Points
    near : ndarray of shape (n,), changed in place
    centres : ndarray of shape (m, d)
        Prepared rows.
    centres_sq : ndarray of shape (m,)
    """
    for part, rows in points.blocks():
        for start in range(0, len(centres), CHUNK):
            chunk = slice(start, start + CHUNK)
            low = rows @ (-2 * centres[chunk]).T  # (b, m)
            low += centres_sq[chunk]
            low = low.min(axis=1)
            low += points.sq[part]
            np.maximum(low, 0, out=low)
            np.minimum(near[part], low, out=near[part])


def nearest_of(points: Any, known: Any) -> Any:
    """Squared distance of each point to the nearest of `known` (Points or None: infinite)."""
    near = np.full(points.n, np.inf, points.dtype)
    if known is not None:
        for part, rows in known.blocks():
            bring_near(points, near, rows, known.sq[part])
    return near
