"""Objects of the foreground, told apart by what is inside them."""

import heapq

import numpy as np

from alseg.validation import check_number, message


def separate_objects(
    foreground, inside, threshold=0.5, min_size=0, min_inside=0, fill_holes=True, seam=None
):
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
    seam : float or None, default=None
        Two objects are one where they meet in what looks like inside: where the mean of `inside`,
        over the pairs of pixels at which they touch, is larger. Those with the largest mean are
        made one first. None makes none one.

    Returns
    -------
    ndarray of shape (H, W), int32
        0 is background, objects are 1, 2, ...

    Examples
    --------
    >>> foreground = np.array([[1, 1, 1, 1, 1, 0, 1]], dtype=bool)
    >>> separate_objects(foreground, np.array([[0.9, 0.9, 0.1, 0.8, 0.8, 0.0, 0.2]]))
    array([[1, 1, 1, 2, 2, 0, 3]], dtype=int32)
    >>> inside = np.array([[0.9, 0.9, 0.45, 0.8, 0.8, 0.0, 0.2]])
    >>> separate_objects(foreground, inside, seam=0.4)
    array([[1, 1, 1, 1, 1, 0, 2]], dtype=int32)
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
    if seam is not None:
        found = _joined(found, inside, seam)
    if fill_holes:
        found = _filled(found)
    return _renumbered(_without_small(found, min_size))


def _joined(numbers, inside, seam):
    """Neighbours made one whose seam has a larger mean of `inside`, the largest mean first."""
    seams = _seams(numbers, inside)
    waiting = [
        (-total / n, i, j) for i, near in seams.items() for j, (total, n) in near.items() if i < j
    ]
    heapq.heapify(waiting)
    into = np.arange(numbers.max() + 1)
    while waiting:
        mean, i, j = heapq.heappop(waiting)
        if -mean <= seam:
            break
        if j not in seams.get(i, ()) or mean != -seams[i][j][0] / seams[i][j][1]:
            continue  # one of them is gone, or their seam has become longer
        into[into == j] = i
        for k, (total, n) in seams.pop(j).items():
            del seams[k][j]
            if k != i:
                total_before, n_before = seams[i].get(k, (0.0, 0))
                total, n = total_before + total, n_before + n
                seams[i][k] = seams[k][i] = total, n
                heapq.heappush(waiting, (-total / n, min(i, k), max(i, k)))
    return into[numbers]


def _seams(numbers, inside):
    """Of each object its neighbours, with the sum of `inside` at their seam and its length."""
    pairs, values = [], []
    for axis in (0, 1):
        a, b = (np.moveaxis(numbers, axis, 0)[part] for part in (slice(-1), slice(1, None)))
        c, d = (np.moveaxis(inside, axis, 0)[part] for part in (slice(-1), slice(1, None)))
        meet = (a != b) & (a > 0) & (b > 0)
        pairs.append(np.sort(np.stack([a[meet], b[meet]], axis=1), axis=1))
        values.append((c[meet] + d[meet]) / 2)
    pairs, at = np.unique(np.concatenate(pairs), axis=0, return_inverse=True)
    totals, counts = np.bincount(at.ravel(), np.concatenate(values)), np.bincount(at.ravel())
    found = {}
    for (i, j), total, n in zip(pairs.tolist(), totals.tolist(), counts.tolist(), strict=True):
        found.setdefault(i, {})[j] = found.setdefault(j, {})[i] = (total, n)
    return found


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
