"""Objects of the foreground, told apart by what is inside them."""

import numpy as np

from alseg.validation import check_number, message


def separate_objects(foreground, inside, threshold=0.5, min_size=0, min_inside=0, fill_holes=True):
    """Touching objects apart, by marker-controlled watershed.

    Connected parts of the foreground where `inside` is above the threshold are markers, which
    spread over the foreground, along the largest values of `inside` first. A part of the foreground
    without a marker is an object by itself.

    Parameters
    ----------
    foreground : ndarray of shape (H, W), bool
    inside : ndarray of shape (H, W), float
        Large inside an object and small at its border.
    threshold : float, default=0.5
    min_size : float, default=0
        Smaller objects are left out, in pixels.
    min_inside : float, default=0
        Smaller parts are no markers, in pixels.
    fill_holes : bool, default=True
        Whether background that an object encloses is its own.

    Returns
    -------
    ndarray of shape (H, W), int32
        0 is background, objects are 1, 2, ...

    Examples
    --------
    >>> foreground = np.array([[1, 1, 1, 1, 1, 0, 1]], dtype=bool)
    >>> separate_objects(foreground, np.array([[0.9, 0.9, 0.1, 0.8, 0.8, 0.0, 0.2]]))
    array([[1, 1, 1, 2, 2, 0, 3]], dtype=int32)
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    check_number("min_size", min_size, 0)
    check_number("min_inside", min_inside, 0)
    foreground, inside = np.asarray(foreground, dtype=bool), np.asarray(inside, dtype=float)
    if foreground.shape != inside.shape or foreground.ndim != 2:
        raise ValueError(message("inside", f"of shape {foreground.shape}", inside.shape))
    markers, n_markers = ndimage.label(foreground & (inside > threshold))
    markers = _without_small(markers, min_inside)
    parts, _ = ndimage.label(foreground)
    marked = np.zeros(parts.max() + 1, dtype=bool)
    marked[parts[markers > 0]] = True
    alone = foreground & ~marked[parts]
    markers = np.where(alone, parts + n_markers, markers)
    found = watershed(-inside, markers, mask=foreground)
    if fill_holes:
        found = _filled(found)
    return _renumbered(_without_small(found, min_size))


def _without_small(numbers, min_size):
    if not min_size:
        return numbers
    return np.where((np.bincount(numbers.ravel()) >= min_size)[numbers], numbers, 0)


def _filled(numbers):
    from scipy import ndimage

    found = numbers.copy()
    for number, box in enumerate(ndimage.find_objects(numbers), 1):
        if box is not None:
            hole = ndimage.binary_fill_holes(numbers[box] == number) & (found[box] == 0)
            found[box][hole] = number
    return found


def _renumbered(numbers):
    present = np.unique(np.append(numbers, 0))
    return np.searchsorted(present, numbers).astype(np.int32)
