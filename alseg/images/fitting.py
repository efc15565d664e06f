"""Masks brought to their images: parts drawn in several files, and other sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alseg._types import Masks


def merged(masks: Masks, names: Sequence[str]) -> np.ndarray:
    """One mask of several of one image: what any of them calls foreground.

    Parameters
    ----------
    masks : sequence of ndarray of shape (H, W), int
        Class of each pixel, `MISSING` where not annotated.
    names : sequence of str
        For errors.

    Returns
    -------
    mask : ndarray of shape (H, W), int
        Where none says foreground, `MISSING` if one says so, else 0.

    Raises
    ------
    ValueError
        If sizes differ, or two masks give one pixel two classes. Both are named.

    Examples
    --------
    >>> merged([np.array([[0, 1, 0, -1]]), np.array([[0, 0, 2, 0]])], ["a", "b"])
    array([[ 0,  1,  2, -1]])
    """
    whole = masks[0]
    for mask, name in zip(masks[1:], names[1:]):
        if mask.shape != whole.shape:
            raise ValueError(
                f"Masks of one image must agree in size, got {names[0]!r} of {_shown(whole.shape)} "
                f"and {name!r} of {_shown(mask.shape)} pixels."
            )
        clash = (whole > 0) & (mask > 0) & (whole != mask)
        if clash.any():
            row, column = map(int, np.argwhere(clash)[0])
            other = next(n for m, n in zip(masks, names) if m[row, column] == whole[row, column])
            raise ValueError(
                f"Masks of one image must agree where they overlap, but {other!r} and {name!r} "
                f"give the pixel in row {row}, column {column} the classes {whole[row, column]} "
                f"and {mask[row, column]}."
            )
        unknown = (whole < 0) | (mask < 0)
        whole = np.maximum(whole, mask)
        whole = np.where(unknown & (whole == 0), -1, whole).astype(mask.dtype)
    return whole


def ratio(size: Any, wanted: Any) -> Any:
    """The whole number, at least 2, by which one size is larger than another, or None.

    A side that does not divide may be rounded up or down.

    Examples
    --------
    >>> ratio((20, 30), (40, 60)), ratio((775, 522), (388, 261)), ratio((20, 30), (40, 50))
    (2, 2, None)
    """
    small, large = (size, wanted) if size[0] <= wanted[0] else (wanted, size)
    by = round(large[0] / small[0])
    fits = by >= 2 and all(abs(b - by * s) < by for s, b in zip(small, large))
    return by if fits else None


def resized(mask: Masks, size: Any) -> Any:
    """A mask at a whole ratio of `size`, brought to it by nearest neighbour; else as it is.

    Examples
    --------
    >>> resized(np.array([[0, 1]]), (2, 4))
    array([[0, 0, 1, 1],
           [0, 0, 1, 1]])
    """
    if ratio(mask.shape, size) is None:
        return mask
    rows, columns = (
        ((np.arange(n) + 0.5) * have / n).astype(int) for n, have in zip(size, mask.shape)
    )
    return mask[np.ix_(rows, columns)]


def _shown(shape):
    return f"{shape[0]} x {shape[1]}"
