"""Segmentation by stain alone: the baseline that no training is needed for."""

import numpy as np

from alseg.images import as_images, stack

_BLUR = 1 / 64  # of the shorter side: about a nucleus in a field of some glands


def haematoxylin(image):
    """How much haematoxylin (the blue of nuclei) stands at each pixel, blurred [1]_.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3), uint8 or float in [0, 1]
        RGB of a tissue stained with haematoxylin and eosin.

    Returns
    -------
    saliency : ndarray of shape (H, W), float64
        Optical density of the stain after colour deconvolution and a Gaussian blur with a
        standard deviation of 1/64 of the shorter side. Comparable within an image only.

    References
    ----------
    .. [1] Ruifrok and Johnston 2001, Analytical and Quantitative Cytology and Histology 23.

    Examples
    --------
    >>> image = np.full((8, 16, 3), 255, dtype=np.uint8)
    >>> image[:, 8:] = [80, 60, 150]
    >>> density = haematoxylin(image)
    >>> bool(density[:, 8:].min() > density[:, :8].max())
    True
    """
    from skimage.color import rgb2hed
    from skimage.filters import gaussian

    density = rgb2hed(image)[..., 0]
    return gaussian(density, sigma=_BLUR * min(density.shape), mode="nearest")


def haematoxylin_masks(images):
    """Foreground where an image has much haematoxylin: Otsu's threshold, image by image.

    Parameters
    ----------
    images : images as everywhere: an array, a list of arrays of any sizes, or paths

    Returns
    -------
    masks : ndarray of shape (n_samples, H, W), int16, or (n_samples,), object
        1 where the blurred stain is above the threshold of its image, else 0. An image of one
        colour is all background.

    Examples
    --------
    >>> image = np.full((8, 16, 3), 255, dtype=np.uint8)
    >>> image[:, 8:] = [80, 60, 150]
    >>> haematoxylin_masks(image[None])[0, 0]
    array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1], dtype=int16)
    """
    from skimage.filters import threshold_otsu

    images = as_images(images)
    masks = []
    for i in range(len(images)):
        density = haematoxylin(images[i])
        if np.ptp(density) < 1e-9:  # Otsu would part the rounding errors of one colour
            masks.append(np.zeros(density.shape, dtype=np.int16))
        else:
            masks.append((density > threshold_otsu(density)).astype(np.int16))
    return stack(masks)
