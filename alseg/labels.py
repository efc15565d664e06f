"""What a missing label looks like, of a pixel and of an image, said once.

A pixel that nobody has annotated is `MISSING`, -1. An image whose class nobody has said has as its
label -1 among numbers, and None among all others; `as_labels` makes these of NaN, of pandas' NA and
NaT, and of None among numbers. Labels that are None altogether are all missing, as masks are.
An empty string is a class, and so is the string "nan".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Array, Masks

MISSING = -1
"""The value of a pixel that nobody has annotated, and of a number that is no image's class."""


def is_soft(mask: Masks) -> bool:
    """Whether a mask is of probabilities, (C, H, W) float, and not of classes.

    Examples
    --------
    >>> is_soft(np.full((2, 4, 4), 0.5)), is_soft(np.ones((4, 4), int)), is_soft(None)
    (True, False, False)
    """
    return mask is not None and np.ndim(mask) == 3 and np.asarray(mask).dtype.kind == "f"


def known_pixels(mask: Masks) -> np.ndarray:
    """Which pixels of a mask are annotated.

    Parameters
    ----------
    mask : ndarray of any shape, int, or of shape (C, H, W), float
        Class of each pixel, `MISSING` (-1) where not annotated; or the probability of each class,
        NaN where not annotated.

    Returns
    -------
    ndarray, bool
        Of the shape of the mask; of one of probabilities (H, W).

    Examples
    --------
    >>> known_pixels(np.array([[-1, 0]])), known_pixels(np.array([[[0.2, np.nan]], [[0.8, 1.0]]]))
    (array([[False,  True]]), array([[ True, False]]))
    """
    if is_soft(mask):
        return ~np.isnan(mask).any(axis=0)
    return np.asarray(np.asarray(mask) != MISSING)


def is_annotated(mask: Masks) -> bool:
    """Whether a mask holds at least one annotated pixel.

    Parameters
    ----------
    mask : ndarray of any shape, int, or None
        Class of each pixel, `MISSING` (-1) where not annotated. None is all missing. A soft mask
        (C, H, W), float, is missing where a class is NaN.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_annotated(np.array([[-1, -1], [-1, 0]])), is_annotated(None)
    (True, False)
    """
    return mask is not None and bool(known_pixels(mask).any())


def fraction_annotated(mask: Masks) -> Any:
    """Share of a mask's pixels that are annotated, in [0, 1].

    Parameters
    ----------
    mask : ndarray of any shape, int, or None
        Class of each pixel, `MISSING` (-1) where not annotated. None is all missing. A soft mask
        (C, H, W), float, is missing where a class is NaN.

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
    return float(np.mean(known_pixels(mask)))


def is_missing(label: Any) -> bool:
    """Whether one value stands for a label that is not there: None, NaN, or pandas' NA and NaT.

    That -1 is missing among numbers is for `missing_labels` to say, which sees them all.

    Examples
    --------
    >>> is_missing(None), is_missing(float("nan")), is_missing(""), is_missing("nan")
    (True, True, False, False)
    """
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    kinds = (float, complex, np.inexact, np.datetime64, np.timedelta64)
    return isinstance(label, kinds) and bool(label != label)


def as_labels(labels: Array, n: int | None = None) -> np.ndarray:
    """Class labels of images as an array with one form for those that are missing.

    Parameters
    ----------
    labels : array-like of shape (n,), or (n, K) for several classes an image, or None
        Missing are -1 among numbers (booleans are none), and None, NaN, and pandas' NA and NaT
        anywhere. None is all missing.
    n : int or None, default=None
        How many there are, where `labels` is None.

    Returns
    -------
    ndarray of shape (n,), or (n, K) of 0, 1 and -1
        What is missing is -1 in an array of numbers, and None in one of objects. Whole numbers with
        NaN or None among them become integers. Where none is missing it is what numpy makes of
        them.

    Examples
    --------
    >>> as_labels(["cat", float("nan"), "dog"]).tolist(), as_labels([1.0, float("nan")]).tolist()
    (['cat', None, 'dog'], [1, -1])
    >>> as_labels(None, 2)
    array([None, None], dtype=object)
    """
    if labels is None:
        return np.full(n or 0, None, dtype=object)
    if isinstance(labels, (list, tuple)) and any(is_missing(label) for label in labels):
        array = np.empty(len(labels), dtype=object)  # numpy makes the class "nan" of NaN
        array[:] = labels
    else:
        array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] > 1:
        return _as_matrix(array)
    if array.ndim != 1 or array.dtype.kind not in "OfMm":
        return array
    holes = missing_labels(array)
    if not holes.any():
        return array
    known = array[~holes]
    if len(known) and all(_is_whole(label) for label in known.tolist()):
        found: np.ndarray = np.full(len(array), MISSING, dtype=np.int64)
    elif array.dtype.kind == "f" and len(known):
        return array  # fractions, which are no labels
    else:
        found = np.full(len(array), None, dtype=object)
    found[~holes] = known
    return found


def _as_matrix(array: np.ndarray) -> np.ndarray:
    """Whether each image is of each class: 0, 1, or `MISSING`."""
    if array.dtype.kind == "O":
        array = np.array([[np.nan if is_missing(one) else one for one in row] for row in array])
    if array.dtype.kind not in "biuf":
        raise ValueError(f"Labels of several classes an image must be 0 or 1, got {array.dtype}.")
    array = np.where(np.isnan(array), MISSING, array) if array.dtype.kind == "f" else array
    bad = np.unique(array[~np.isin(array, (MISSING, 0, 1))])
    if len(bad):
        rule = f"0, 1, or {MISSING} where it is not known"
        raise ValueError(f"Labels of several classes an image must be {rule}, got {bad.tolist()}.")
    return array.astype(np.int8)


def _is_whole(label: Any) -> bool:
    if isinstance(label, bool) or not isinstance(label, (int, float, np.integer, np.floating)):
        return False
    return bool(np.isfinite(label)) and label == int(label)


def missing_labels(labels: Array) -> np.ndarray:
    """Which images have no class label.

    Parameters
    ----------
    labels : array-like of shape (n,) or (n, K)
        As `as_labels` takes them.

    Returns
    -------
    ndarray of shape (n,), bool
        Of several classes an image, whether none of them is known.

    Examples
    --------
    >>> missing_labels([0, -1, 1]).tolist(), missing_labels(["a", None]).tolist()
    ([False, True, False], [False, True])
    """
    array = labels if isinstance(labels, np.ndarray) else as_labels(labels)
    if array.ndim == 2:
        return (as_labels(array) == MISSING).all(axis=1)
    if array.dtype.kind in "iu":
        return array == MISSING
    if array.dtype.kind == "f":
        return np.isnan(array) | (array == MISSING)
    if array.dtype.kind in "Mm":
        return np.isnat(array)
    if array.dtype.kind == "O":
        return np.array([is_missing(one) or _is_minus_one(one) for one in array], dtype=bool)
    return np.zeros(len(array), dtype=bool)


def _is_minus_one(label: Any) -> bool:
    number = isinstance(label, (int, float, np.number)) and not isinstance(label, bool)
    return number and bool(label == MISSING)


def one_an_image(labels: np.ndarray, n: int) -> bool:
    """Whether labels, as `as_labels` gives them, are of n images: (n,), or (n, K) of several.

    Examples
    --------
    >>> one_an_image(np.array(["a", "b"]), 2), one_an_image(np.zeros((2, 3)), 2)
    (True, True)
    >>> one_an_image(np.zeros((2, 1)), 2), one_an_image(np.array(["a"]), 2)
    (False, False)
    """
    return labels.shape == (n,) or (labels.ndim == 2 and len(labels) == n and labels.shape[1] > 1)


def label_names(labels: Array) -> np.ndarray:
    """One label an image: of several classes their set as a word, others as they are.

    Parameters
    ----------
    labels : array-like of shape (n,) or (n, K)
        As `as_labels` takes them.

    Returns
    -------
    ndarray of shape (n,)
        Of a matrix the numbers of the columns that are 1, with ``+`` between them and ``?`` after
        those that are not known; ``"none"`` where all are 0, None where nothing is known.

    Examples
    --------
    >>> label_names([[0, 1, 1], [0, 0, 0], [1, -1, 0], [-1, -1, -1]]).tolist()
    ['1+2', 'none', '0+1?', None]
    >>> label_names(["a", None]).tolist()
    ['a', None]
    """
    array = as_labels(labels)
    if array.ndim == 1:
        return array
    found = np.full(len(array), None, dtype=object)
    for i in np.flatnonzero(~missing_labels(array)):
        row = array[i].tolist()
        words = (f"{k}" + "?" * (one == MISSING) for k, one in enumerate(row) if one)
        found[i] = "+".join(words) or "none"
    return found


def join_labels(labels: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Labels after labels, with one form for those that are missing.

    Parameters
    ----------
    labels, more : ndarray of shape (n,), or both of (n, K)
        As `as_labels` gives them. One that is all missing, of shape (n,), is taken beside a matrix.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError
        If the known ones are strings here and no strings there, or a matrix of other columns.

    Examples
    --------
    >>> join_labels(as_labels([0, -1]), as_labels(None, 1))
    array([ 0, -1, -1])
    """
    holes = [missing_labels(part) for part in (labels, more)]
    widths = {p.shape[1:] for p, missing in zip((labels, more), holes) if not missing.all()}
    widths = widths or {labels.shape[1:]}
    if len(widths) > 1:
        raise TypeError("Labels must be of one shape, one an image or the same columns for all.")
    (width,) = widths
    if width:
        return np.concatenate(
            [
                np.full((len(part), *width), MISSING, dtype=np.int8) if missing.all() else part
                for part, missing in zip((labels, more), holes)
            ]
        )
    labels, more = (
        part if part.ndim == 1 else np.full(len(part), None, dtype=object)
        for part in (labels, more)
    )
    kinds = {
        isinstance(label, (str, bytes))
        for part, missing in zip((labels, more), holes)
        for label in part[~missing].tolist()
    }
    if len(kinds) > 1:
        raise TypeError("Labels must be of one kind, strings or numbers, got both.")
    if not any(missing.any() for missing in holes):
        return np.concatenate([labels, more])
    both = np.concatenate([labels.astype(object), more.astype(object)])
    both[np.concatenate(holes)] = None
    return as_labels(both)


def label_codes(labels: Array) -> tuple[np.ndarray, np.ndarray]:
    """The classes of labels, and the position of each label among them.

    Parameters
    ----------
    labels : array-like of shape (n,) or (n, K)
        As `as_labels` takes them. Of several classes an image, each set of them is a class.

    Returns
    -------
    classes : ndarray of shape (K,)
        Sorted; no missing one is among them. Of sets (k, K), the rows that there are.
    codes : ndarray of shape (n,), int
        -1 where the label is missing.

    Raises
    ------
    TypeError
        If they cannot be sorted.

    Examples
    --------
    >>> classes, codes = label_codes(["dog", None, "cat"])
    >>> classes.tolist(), codes.tolist()
    (['cat', 'dog'], [1, -1, 0])
    """
    array = as_labels(labels)
    known = ~missing_labels(array)
    axis = 0 if array.ndim == 2 else None
    if known.all():
        classes, codes = np.unique(array, axis=axis, return_inverse=True)
        return classes, codes
    own = array[known]
    if axis is None and all(isinstance(label, str) for label in own):
        own = own.astype(str)  # of one kind, whether others are missing or not
    codes = np.full(len(array), MISSING, dtype=np.intp)
    classes, codes[known] = np.unique(own, axis=axis, return_inverse=True)
    return classes, codes


def codes_among(labels: Array, classes: Array) -> np.ndarray:
    """Positions of labels among classes that are known already.

    Parameters
    ----------
    labels : array-like of shape (n,) or (n, K)
        As `as_labels` takes them.
    classes : array-like of shape (k,)

    Returns
    -------
    ndarray of shape (n,), int64
        `MISSING` where there is no label, or one of none of the classes. Of several classes an
        image the labels as they are, (n, K).

    Examples
    --------
    >>> codes_among(["dog", None, "cow"], ["cat", "dog"])
    array([ 1, -1, -1])
    """
    labels = as_labels(labels)
    if labels.ndim == 2:
        return labels.astype(np.int64)
    position = {label: code for code, label in enumerate(np.asarray(classes).tolist())}
    found = np.array([position.get(label, MISSING) for label in labels.tolist()], dtype=np.int64)
    found[missing_labels(labels)] = MISSING
    return found


def label_strata(labels: Array, at_least: int = 1) -> np.ndarray:
    """A number for the class of each image, those without a label being one more class.

    For what shares images alike among the classes, or splits each of them.

    Parameters
    ----------
    labels : array-like of shape (n,) or (n, K)
        As `as_labels` takes them. Of several classes an image, each set of them is a class.
    at_least : int, default=1
        Sets of classes of fewer images are one class together, and where that has fewer too, it
        joins the smallest of the others. Of one class an image it is not used.

    Returns
    -------
    ndarray of shape (n,), int
        In 0..k - 1, each of them at least once; the last is that without a label.

    Examples
    --------
    >>> label_strata(["dog", None, "cat"]).tolist(), label_strata([None, None]).tolist()
    ([1, 2, 0], [0, 0])
    >>> label_strata([[0, 1], [0, 1], [1, 0], [1, 1], [0, 0]], at_least=2).tolist()
    [0, 0, 1, 1, 1]
    """
    classes, codes = label_codes(labels)
    strata = np.where(codes == MISSING, len(classes), codes)
    if classes.ndim == 1 or at_least == 1:
        return strata
    counts = np.bincount(strata)
    rare = (counts > 0) & (counts < at_least)
    if counts[rare].sum() < at_least and not rare.all():
        often = np.flatnonzero(counts >= at_least)
        rare[often[counts[often].argmin()]] = rare.any()
    strata = np.where(rare[strata], len(counts), strata)
    return np.unique(strata, return_inverse=True)[1]
