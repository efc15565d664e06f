"""Colour-histogram neighbours: which images look like one that the oracle has answered for.

The published gate for pseudo-labels: Belharbi et al. 2021, WACV,
doi:10.1109/WACV48630.2021.00338, after the description of its released code.
"""

import numpy as np

from alseg.images import as_images
from alseg.labels import as_labels, label_strata, one_an_image
from alseg.validation import check_number, message

N_BINS = 256
_HEIGHT, _SATURATION, _BLUR_SIGMA = 128, 3.0, 0.9
_BLOCK_BYTES = 2**25  # of one intermediate array; larger blocks are not faster


def colour_histogram(image):
    """Colour distribution of one image, one histogram for each of red, green and blue.

    Of images of other channels than grey or RGB the first three are taken for colours, the last
    repeated where there are two.

    The colours are saturated threefold, the image brought to a height of 128 pixels and slightly
    blurred first, so that the histogram tells stains apart and not noise.

    Parameters
    ----------
    image : ndarray of shape (H, W, C) or (H, W), uint8 or float in [0, 1]

    Returns
    -------
    histogram : ndarray of shape (3, 256), float64
        Each row sums to 1 and has no exact zero.

    Examples
    --------
    >>> histogram = colour_histogram(np.full((8, 8, 3), [255, 0, 0], dtype=np.uint8))
    >>> histogram.argmax(axis=1), histogram.sum(axis=1)
    (array([255,   0,   0]), array([1., 1., 1.]))
    """
    from PIL import Image, ImageEnhance
    from scipy.ndimage import correlate1d

    rgb = ImageEnhance.Color(Image.fromarray(_as_rgb8(image))).enhance(_SATURATION)
    width = max(1, round(rgb.width * _HEIGHT / rgb.height))
    pixels = np.asarray(rgb.resize((width, _HEIGHT), Image.Resampling.BICUBIC)) / 255.0
    tap = np.exp(-0.5 / _BLUR_SIGMA**2)
    kernel = np.array([tap, 1, tap]) / (1 + 2 * tap)
    for axis in (0, 1):  # "mirror" does not repeat the border pixel, as torch's "reflect"
        pixels = correlate1d(pixels, kernel, axis=axis, mode="mirror")
    # The last bin takes the value 1 itself; rounding may leave [0, 1] by a last digit.
    bins = np.clip((pixels * N_BINS).astype(int), 0, N_BINS - 1)
    counts = np.stack([np.bincount(bins[..., c].ravel(), minlength=N_BINS) for c in range(3)])
    histogram = counts + 1e-8
    return histogram / histogram.sum(axis=1, keepdims=True)


def colour_histograms(images):
    """`colour_histogram` of each image, one at a time.

    Parameters
    ----------
    images : images as everywhere: an array, a list of arrays of any sizes, or paths

    Returns
    -------
    histograms : ndarray of shape (n_samples, 3, 256), float64

    Examples
    --------
    >>> colour_histograms(np.zeros((2, 8, 8, 3), dtype=np.uint8)).shape
    (2, 3, 256)
    """
    images = as_images(images)
    return np.stack([colour_histogram(images[i]) for i in range(len(images))])


def within_class_distances(histograms, labels=None):
    """Distances between images of one class.

    Two images are as far apart as their histograms diverge (Jensen-Shannon), summed over the
    channels, each channel divided by its sum over all pairs of the class.

    Parameters
    ----------
    histograms : ndarray of shape (n_samples, n_channels, n_bins), float
        Rows that sum to 1, as `colour_histograms` gives them.
    labels : array-like of shape (n_samples,) or None, default=None
        Class of each image. None takes all images as one class.

    Returns
    -------
    blocks : list of tuples (sample_ids, distances), one a class, in order of the classes
        `sample_ids` : ndarray of shape (m,), int, ascending; `distances` : ndarray of shape
        (m, m), float, symmetric, 0 on the diagonal. Images of different classes have no distance,
        so a pool of many classes costs far less than its square.

    Examples
    --------
    >>> histograms = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[0.5, 0.5]]])
    >>> within_class_distances(histograms, ["a", "b", "a"])
    [(array([0, 2]), array([[0. , 0.5], [0.5, 0. ]])), (array([1]), array([[0.]]))]
    """
    histograms = np.asarray(histograms, dtype=float)
    if histograms.ndim != 3:
        rule = "of shape (n_samples, n_channels, n_bins)"
        raise ValueError(message("histograms", rule, histograms.shape))
    blocks = []
    for sample_ids in _classes(labels, len(histograms)):
        distances = np.zeros((len(sample_ids),) * 2)
        for channel in range(histograms.shape[1]):
            divergence = _pairwise_divergence(histograms[sample_ids, channel])
            total = divergence.sum()
            if total > 0:  # else the channel tells nothing apart, as in a class of one image
                distances += divergence / total
        blocks.append((sample_ids, distances))
    return blocks


def within_class_cosine(embeddings, labels=None):
    """Cosine distances between images of one class.

    Parameters
    ----------
    embeddings : ndarray of shape (n_samples, n_features), float
        Of any length; a row of zeros has the distance 1 to every other.
    labels : array-like of shape (n_samples,) or None, default=None
        Class of each image. None takes all images as one class.

    Returns
    -------
    blocks : list of tuples (sample_ids, distances)
        As `within_class_distances` gives them; distances are ``1 - cos``, in [0, 2].

    Raises
    ------
    ValueError
        If `embeddings` is not of two dimensions or holds a value that is not finite.

    Examples
    --------
    >>> embeddings = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    >>> within_class_cosine(embeddings, ["a", "b", "a"])
    [(array([0, 2]), array([[0., 1.], [1., 0.]])), (array([1]), array([[0.]]))]
    """
    embeddings = np.asarray(embeddings, dtype=float)
    if embeddings.ndim != 2:
        rule = "of shape (n_samples, n_features)"
        raise ValueError(message("embeddings", rule, embeddings.shape))
    if not np.isfinite(embeddings).all():
        raise ValueError(message("embeddings", "finite", "a value that is not"))
    # By the largest entry first: the squares of a length neither overflow nor vanish.
    largest = np.abs(embeddings).max(axis=1, keepdims=True, initial=0)
    unit = embeddings / np.where(largest > 0, largest, 1)
    length = np.linalg.norm(unit, axis=1, keepdims=True)
    unit = unit / np.where(length > 0, length, 1)
    blocks = []
    for sample_ids in _classes(labels, len(embeddings)):
        rows = unit[sample_ids]
        distances = np.clip(1 - rows @ rows.T, 0, 2)
        np.fill_diagonal(distances, 0)
        blocks.append((sample_ids, distances))
    return blocks


def paired_neighbours(blocks, labelled, k):
    """The unlabelled images that have a labelled one among their `k` nearest of the same class.

    Parameters
    ----------
    blocks : list of tuples (sample_ids, distances)
        As `within_class_distances` gives them.
    labelled : ndarray of shape (n_samples,), bool
        Which images are labelled.
    k : int, at least 1
        How many neighbours of an unlabelled image are looked at, labelled and unlabelled alike.
        With `k` at least the size of a class (less one) every image of it passes as soon as one
        image of the class is labelled.

    Returns
    -------
    sample_ids : ndarray of shape (n_paired,), int
        The unlabelled images that pass, ascending.
    partner_ids : ndarray of shape (n_paired,), int
        The nearest labelled image of each.

    Examples
    --------
    >>> line = np.abs(np.subtract.outer([0.0, 1.0, 3.0, 7.0], [0.0, 1.0, 3.0, 7.0]))
    >>> blocks = [(np.arange(4), line)]
    >>> paired_neighbours(blocks, np.array([True, False, False, False]), k=1)
    (array([1]), array([0]))
    >>> paired_neighbours(blocks, np.array([True, False, False, False]), k=2)
    (array([1, 2]), array([0, 0]))
    """
    check_number("k", k, 1, integer=True)
    labelled = np.asarray(labelled)
    n_samples = sum(len(sample_ids) for sample_ids, _ in blocks)
    if labelled.dtype != bool or labelled.shape != (n_samples,):
        got = (labelled.dtype, labelled.shape)
        raise ValueError(message("labelled", f"bool, of shape ({n_samples},)", got))
    found, partners = [np.empty(0, int)], [np.empty(0, int)]
    for sample_ids, distances in blocks:
        known = labelled[sample_ids]
        rows = np.flatnonzero(~known)
        if not len(rows) or not known.any():
            continue
        away = distances[rows].copy()
        away[np.arange(len(rows)), rows] = np.inf  # last, so that it is never its own neighbour
        order = np.argsort(away, axis=1, kind="stable")[:, : min(k, len(sample_ids) - 1)]
        hit = known[order]  # (n_rows, k), nearest first
        passed = hit.any(axis=1)
        nearest = order[np.arange(len(rows)), hit.argmax(axis=1)]
        found.append(sample_ids[rows[passed]])
        partners.append(sample_ids[nearest[passed]])
    found, partners = np.concatenate(found), np.concatenate(partners)
    ascending = np.argsort(found)
    return found[ascending], partners[ascending]


def _classes(labels, n_samples):
    """Positions of the images of each class, ascending, in order of the classes."""
    if labels is None:
        labels = np.zeros(n_samples, dtype=int)
    labels = as_labels(labels)
    if not one_an_image(labels, n_samples):
        raise ValueError(message("labels", f"of shape ({n_samples},)", labels.shape))
    strata = label_strata(labels)
    return [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]


def _as_rgb8(image):
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3:
        raise ValueError(message("image", "of shape (H, W, C) or (H, W)", image.shape))
    if image.dtype != np.uint8:
        image = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(image[..., np.minimum(range(3), image.shape[2] - 1)])


def _negentropy(p):
    from scipy.special import xlogy

    return xlogy(p, p).sum(axis=-1)


def _pairwise_divergence(p):
    """Divergence of every pair of rows: (m, n_bins) -> (m, m), a block of rows at a time."""
    m, n_bins = p.shape
    result = np.zeros((m, m))
    own = _negentropy(p)
    start = 0
    while start < m:
        rest = p[start:]  # the other half is its mirror image
        stop = min(m, start + max(1, _BLOCK_BYTES // (rest.shape[0] * n_bins * p.itemsize)))
        mixed = _negentropy((p[start:stop, None] + rest[None]) / 2)
        block = (own[start:stop, None] + own[None, start:]) / 2 - mixed
        result[start:stop, start:] = np.maximum(block, 0.0)
        start = stop
    upper = np.triu(result, 1)
    return upper + upper.T
