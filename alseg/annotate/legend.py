"""Pixel classes as a page shows them: names and colours."""

import colorsys

from alseg.project import PALETTE


def shown_classes(names, colors=()):
    """Pixel classes as a page shows them.

    Parameters
    ----------
    names : sequence of str
        Of classes 1, 2, ...
    colors : sequence of str, default=()
        "#rrggbb" of the first of them, where somebody has chosen them.

    Returns
    -------
    classes : list of dict
        ``value``, ``name`` and ``color`` ("#rrggbb"), the background first.

    Examples
    --------
    >>> [found["color"] for found in shown_classes(["gland", "lumen"])]
    ['#000000', '#ffc800', '#00e5ff']
    """
    colours = [PALETTE[k] if k < len(PALETTE) else _hue(k) for k in range(len(names) + 1)]
    shown = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in colours]
    shown = [shown[0], *colors[: len(names)], *shown[1 + len(colors) :]]
    return [
        {"value": k, "name": name, "color": colour}
        for k, (name, colour) in enumerate(zip(["background", *names], shown))
    ]


def _hue(k):
    """Colours beyond the palette: hues that differ as much as may be from those just before."""
    rgb = colorsys.hsv_to_rgb(0.618034 * k % 1, 0.75, 0.95)
    return tuple(round(255 * value) for value in rgb)
