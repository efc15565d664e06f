"""What "not annotated" looks like, said once."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Masks

MISSING = -1
"""The value of a pixel that nobody has annotated."""


def is_annotated(mask: Masks) -> bool:
    """Whether a mask holds at least one annotated pixel.

    Parameters
    ----------
    mask : ndarray of any shape, int, or None
        Class of each pixel, `MISSING` (-1) where not annotated. None is all missing.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_annotated(np.array([[-1, -1], [-1, 0]])), is_annotated(None)
    (True, False)
    """
    return mask is not None and bool((np.asarray(mask) != MISSING).any())


def fraction_annotated(mask: Masks) -> Any:
    """Share of a mask's pixels that are annotated, in [0, 1].

    Parameters
    ----------
    mask : ndarray of any shape, int, or None
        Class of each pixel, `MISSING` (-1) where not annotated. None is all missing.

    Returns
    -------
    float

    Examples
    --------
    >>> fraction_annotated(np.array([[-1, 1], [-1, 0]]))
    0.5
    """
    if mask is None or np.size(mask) == 0:
        return 0.0
    return float(np.mean(np.asarray(mask) != MISSING))
