"""Figures: learning curves on axes, and pictures with an outline or a map laid over them."""

import numpy as np

from alseg.labels import MISSING
from alseg.validation import message

OUTLINE_COLOURS = ((255, 200, 0), (0, 229, 255), (255, 92, 205), (124, 252, 0), (255, 255, 255))
"""RGB of mask classes 1, 2, ...; each line is drawn on a dark casing, so it shows on any tissue."""


def new_axes(width=6.4, height=3.6):
    """Axes of a new figure in inches, made without pyplot's global state.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Its figure is `ax.figure`.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def learning_curve(curves, x, ax=None, *, x_label="masks", y_label="Dice (%)", colours=None):
    """Draw scores against masks, each curve named at its end.

    Parameters
    ----------
    curves : dict of str -> array-like of shape (n_rounds,) or (n_seeds, n_rounds), float
        Scores in the unit of `y_label`. With seeds: their mean, and a band from least to most.
        NaN is a gap.
    x : array-like of shape (n_rounds,), number
    ax : matplotlib.axes.Axes or None, default=None
        None makes new ones.
    x_label, y_label : str
    colours : dict of str -> colour, default=None
        By name of the curve; the others take matplotlib's cycle.

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If a curve has not as many rounds as `x`.

    Examples
    --------
    >>> ax = learning_curve({"entropy": [61.0, 70.5, 74.2]}, x=[4, 6, 8])
    >>> [line.get_label() for line in ax.lines]
    ['entropy']
    """
    from matplotlib.ticker import MaxNLocator

    ax = new_axes() if ax is None else ax
    x = np.asarray(x, dtype=float)
    ends = []
    for name, values in curves.items():
        values = np.atleast_2d(np.asarray(values, dtype=float))
        if values.shape[1] != len(x):
            raise ValueError(
                message(f"curves[{name!r}]", f"of {len(x)} rounds, as x", values.shape[1])
            )
        mean = values.mean(axis=0)
        colour = (colours or {}).get(name)
        (line,) = ax.plot(
            x, mean, color=colour, label=name, linewidth=2, marker="o", markersize=4, clip_on=False
        )
        if len(values) > 1:
            ax.fill_between(
                x, values.min(0), values.max(0), color=line.get_color(), alpha=0.18, linewidth=0
            )
        if np.isfinite(mean).any():
            last = np.flatnonzero(np.isfinite(mean))[-1]
            ends.append((mean[last], x[last], name, line.get_color()))
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.grid(axis="y", linewidth=0.6, alpha=0.5)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, pad=6)
    ax.margins(x=0.02, y=0.12)
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    if len(x) <= 12:
        ax.set_xticks(x, [f"{value:g}" for value in x])
    _name_ends(ax, ends)
    return ax


def _name_ends(ax, ends, apart=0.075):
    """Write each curve's name beside its last point, moved apart where they would touch."""
    low, high = ax.get_ylim()
    placed = -np.inf
    for y, x, name, colour in sorted(ends):
        placed = max(y, placed + apart * (high - low))
        ax.annotate(
            f"{name} {y:.1f}",
            (x, y),
            xytext=(10, (placed - y) / (high - low) * ax.bbox.height * 72 / ax.figure.dpi),
            textcoords="offset points",
            color=colour,
            va="center",
            annotation_clip=False,
        )


def fit_within(image, side):
    """Scale an image so that its longer side has `side` pixels.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C), uint8 or float in [0, 1]
    side : int

    Returns
    -------
    ndarray of shape (h, w, 3), uint8
    """
    from PIL import Image

    image = np.asarray(image)
    if image.dtype != np.uint8:
        image = np.rint(np.clip(image.astype(float), 0, 1) * 255).astype(np.uint8)
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[-1] < 3:
        image = np.repeat(image[..., :1], 3, axis=-1)
    size = _size_within(image.shape[:2], side)
    return np.asarray(Image.fromarray(image[..., :3]).resize(size[::-1], Image.Resampling.BICUBIC))


def _size_within(size, side):
    scale = side / max(size)
    return tuple(max(1, round(scale * length)) for length in size)


def outline(image, mask, side=256):
    """Draw the outline of each class of a mask on an image.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C), uint8 or float in [0, 1]
    mask : ndarray of shape (H, W), int
        0 is background, `MISSING` is drawn as background.
    side : int, default=256
        Longer side of the picture.

    Returns
    -------
    picture : ndarray of shape (h, w, 3), uint8

    Examples
    --------
    >>> mask = np.zeros((8, 8), int)
    >>> mask[2:6, 2:6] = 1
    >>> outline(np.zeros((8, 8, 3), np.uint8), mask, side=32).shape
    (32, 32, 3)
    """
    from scipy.ndimage import binary_dilation
    from skimage.transform import resize

    picture = fit_within(image, side).copy()
    mask = np.asarray(mask)
    lines, width = [], max(1, round(side / 320))  # pixels on each side of the edge
    for number in np.unique(mask[(mask != 0) & (mask != MISSING)]):
        # Smooth edges: the class's map is scaled linearly and cut at one half.
        smooth = resize((mask == number).astype(float), picture.shape[:2], order=1) > 0.5
        edge = smooth & binary_dilation(~smooth, np.ones((3, 3)))
        colour = OUTLINE_COLOURS[(number - 1) % len(OUTLINE_COLOURS)]
        lines.append((binary_dilation(edge, np.ones((2, 2)), width), colour))
    for edge, _ in lines:
        picture[binary_dilation(edge, iterations=width)] = (18, 18, 28)
    for edge, colour in lines:
        picture[edge] = colour
    return picture


def overlay(image, values, side=256, low=None, high=None, cmap="magma", strength=0.62):
    """Lay a map over an image in grey.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C), uint8 or float in [0, 1]
    values : ndarray of shape (h, w), float
        Any size; scaled to the picture.
    side : int, default=256
        Longer side of the picture.
    low, high : float or None, default=None
        Values at the ends of the colour map; None is the least and the greatest of `values`.
    cmap : str, default="magma"
    strength : float in [0, 1], default=0.62
        How much of the colour covers the image.

    Returns
    -------
    picture : ndarray of shape (h, w, 3), uint8
    """
    import matplotlib
    from skimage.transform import resize

    grey = fit_within(image, side).astype(float) @ (0.299, 0.587, 0.114) / 255
    values = np.asarray(values, dtype=float)
    low = np.nanmin(values) if low is None else low
    high = np.nanmax(values) if high is None else high
    scaled = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    scaled = resize(scaled, grey.shape, order=1, mode="edge")
    colour = matplotlib.colormaps[cmap](scaled)[..., :3]
    mixed = (1 - strength) * grey[..., None] + strength * colour
    return np.rint(np.clip(mixed, 0, 1) * 255).astype(np.uint8)
