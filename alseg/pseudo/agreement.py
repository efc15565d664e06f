"""Does something else see the mask that a model predicts? Rank agreement with maps of evidence."""

import numpy as np

from alseg.labels import MISSING
from alseg.validation import message

_LEVELS = 8  # of each colour channel: 512 colours, of which a stained tissue shows some dozens


def rank_agreement(evidence, mask):
    """How well a map ranks the foreground of a mask above its background.

    The share of pairs of a foreground and a background pixel that the map orders rightly, ties
    counting one half: the area under the ROC curve. It needs no threshold and no scale.

    Parameters
    ----------
    evidence : ndarray of shape (h, w), float
        Larger where foreground is likelier; the mask's size or smaller, such as a raw CAM.
    mask : ndarray of shape (H, W), int
        0 is background, larger is foreground; `MISSING` pixels do not count.

    Returns
    -------
    agreement : float
        In [0, 1]; 0.5 is chance, and what a mask of one class gets, which no map can rank.

    Raises
    ------
    ValueError
        If `evidence` holds a value that is not finite.

    Examples
    --------
    >>> rank_agreement(np.array([[0.1, 0.2], [0.8, 0.9]]), np.array([[0, 0], [1, 0]]))
    0.6666666666666666
    """
    evidence, mask = np.asarray(evidence, dtype=float), np.asarray(mask)
    if not np.isfinite(evidence).all():
        raise ValueError(message("evidence", "finite", "a value that is not"))
    rows, columns = (np.arange(n) * m // n for n, m in zip(mask.shape, evidence.shape))
    cells = rows[:, None] * evidence.shape[1] + columns  # where each pixel of the mask falls
    inside = np.bincount(cells[mask > 0], minlength=evidence.size)
    outside = np.bincount(cells[mask == 0], minlength=evidence.size)
    if not inside.any() or not outside.any():
        return 0.5
    _, rank = np.unique(evidence, return_inverse=True)
    inside = np.bincount(rank.ravel(), weights=inside)
    outside = np.bincount(rank.ravel(), weights=outside)
    below = np.cumsum(outside) - outside / 2
    return float((inside * below).sum() / (inside.sum() * outside.sum()))


def colour_evidence(image, example, mask):
    """Foreground as the colours of an annotated image tell it.

    Parameters
    ----------
    image : ndarray of shape (H, W, C), uint8 or float in [0, 1]
        Of more than three channels the first three count.
    example : ndarray of shape (h, w, C)
        An annotated image, best of the same stain.
    mask : ndarray of shape (h, w), int
        Of the example; `MISSING` pixels do not count.

    Returns
    -------
    evidence : ndarray of shape (H, W), float
        Logarithm of how much more often the pixel's colour (8 levels a channel) is foreground than
        background in the example, one pixel of each added.

    Examples
    --------
    >>> example = np.array([[[0, 0, 0], [255, 0, 0], [255, 0, 0]]], dtype=np.uint8)
    >>> colour_evidence(example[:, :2], example, np.array([[0, 1, 1]])).round(2)
    array([[-0.69,  1.1 ]])
    """
    mask = np.asarray(mask)
    colours = _colours(example)
    n_colours = _LEVELS**3
    inside = np.bincount(colours[mask > 0], minlength=n_colours) + 1
    outside = np.bincount(colours[mask == 0], minlength=n_colours) + 1
    return np.log(inside / outside)[_colours(image)]


def pixel_quality(predicted, truth, open_pixels):
    """How many pixels of a pseudo-mask are labelled, and how many of these are right.

    Parameters
    ----------
    predicted, truth : ndarrays of shape (H, W), int
        `MISSING` where not labelled, and where the truth is not known.
    open_pixels : ndarray of shape (H, W), bool
        Which could have been labelled.

    Returns
    -------
    coverage, accuracy, dice : float
        Shares in [0, 1]: labelled of the open pixels; right of the labelled; Dice of the foreground
        over the labelled pixels. nan where there is nothing to divide by.

    Examples
    --------
    >>> predicted, truth = np.array([[1, 1, 0, -1]]), np.array([[1, 0, 0, 1]])
    >>> [round(value, 3) for value in pixel_quality(predicted, truth, truth >= 0)]
    [0.75, 0.667, 0.667]
    """
    labelled = (predicted != MISSING) & open_pixels
    judged = labelled & (truth != MISSING)
    right = (predicted == truth) & judged
    overlap = 2 * (right & (truth > 0)).sum()
    total = (judged & (predicted > 0)).sum() + (judged & (truth > 0)).sum()
    return (
        _share(labelled.sum(), open_pixels.sum()),
        _share(right.sum(), judged.sum()),
        _share(overlap, total),
    )


def _share(part, whole):
    return float(part / whole) if whole else float("nan")


def _colours(image):
    """(H, W) int: one number a colour."""
    image = np.asarray(image)
    unit = image / 255 if image.dtype == np.uint8 else image
    levels = np.clip((unit * _LEVELS).astype(int), 0, _LEVELS - 1)
    levels = levels[..., np.minimum(range(3), levels.shape[2] - 1)]
    return (levels[..., 0] * _LEVELS + levels[..., 1]) * _LEVELS + levels[..., 2]
