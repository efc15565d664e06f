"""Synthetic histology: glands in stroma, stained with haematoxylin and eosin, with exact masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter

from alseg._types import Random
from alseg.datasets._dataset import Dataset
from alseg.validation import check_number, check_option, check_rng, message

CLASSES = np.array(["irregular", "regular"])
TEXTURES = ("glands", "stroma")

# Optical density of red, green, blue a unit of stain (Ruifrok and Johnston 2001).
_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
_EOSIN = np.array([0.08, 0.93, 0.24])


def make_glands(
    n_samples: int = 120,
    image_size: Any = (96, 144),
    *,
    texture: str = "glands",
    random_state: Random = None,
) -> Any:
    """Make synthetic histology: regular or irregular glands, with exact masks.

    A gland is a ring of epithelium around a lumen. Regular ones are smooth, with one round lumen
    and their nuclei in a row at the outer border; irregular ones have distorted outlines, torn
    lumina and scattered nuclei. Both have as many nuclei and as much lumen, and the stains'
    strength and hue change from image to image, so that no mean colour tells the class. Stroma
    has fibres, gaps as white as the lumina, and crowds of dark cells, so that no threshold on the
    stain tells the glands. The glands cover 35 to 55 % of every image.

    Parameters
    ----------
    n_samples : int, default=120
        Classes alternate. The first k images are the same whatever `n_samples`.
    image_size : tuple (H, W) of int, each at least 16, default=(96, 144)
        What is in the picture grows with its shorter side.
    texture : {"glands", "stroma"}, default="glands"
        Where the class shows: "glands" in the glands alone; "stroma" there and in the stroma,
        whose fibres lie parallel around regular glands and curl around irregular ones.
    random_state : None, int, Generator or RandomState, default=None

    Returns
    -------
    glands : Dataset
        ``images`` (n, H, W, 3) uint8, ``labels`` "regular" or "irregular", ``masks`` (n, H, W)
        int8 with 1 in glands (lumen included), ``instances`` (n, H, W) int16.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> glands = make_glands(4, (48, 64), random_state=0)
    >>> glands
    Dataset('glands': 4 images, 2 classes, 4 masks)
    >>> bool((glands.instances[0] > 0).sum() == glands.masks[0].sum())
    True
    """
    check_number("n_samples", n_samples, low=1, integer=True)
    check_option("texture", texture, TEXTURES)
    if np.shape(image_size) != (2,):
        raise ValueError(message("image_size", "a pair (H, W)", image_size))
    height, width = (check_number("image_size", n, low=16, integer=True) for n in image_size)
    seeds = check_rng(random_state).integers(2**63, size=n_samples)
    labels = CLASSES[np.arange(n_samples) % 2]
    images = np.empty((n_samples, height, width, 3), dtype=np.uint8)
    instances = np.empty((n_samples, height, width), dtype=np.int16)
    for i, seed in enumerate(seeds):
        regular = labels[i] == "regular"
        images[i], instances[i] = _make_one(
            np.random.default_rng(seed), height, width, regular, regular or texture == "glands"
        )
    return Dataset(
        images=images,
        labels=labels,
        masks=(instances > 0).astype(np.int8),
        instances=instances,
        ids=[f"glands_{i}" for i in range(n_samples)],
        name="glands",
    )


def _make_one(rng, height, width, regular, parallel):
    """One image (H, W, 3) uint8 and its instances (H, W) int16."""
    unit = max(min(height, width) / 96, 0.5)  # pixels a pixel of the default size
    size = (height, width)
    bend = [_smooth(rng, size, 6 * unit) for _ in range(2)]
    ids, depth = _outlines(rng, size, unit, bend, regular)
    gland = ids > 0
    lumen = _lumina(rng, size, unit, depth, gland, regular)
    stroma = ~gland

    # -- stroma: fibres, gaps, cells --
    fibre_angle = rng.uniform(0, np.pi)
    fibres = _fibres(rng, size, unit, bend, fibre_angle, parallel)
    patches = _smooth(rng, size, 7 * unit)
    gap = stroma & (depth > 1.12) & (patches > np.quantile(patches, rng.uniform(0.86, 1.0)))
    crowd = stroma & ~gap & (patches < np.quantile(patches, rng.uniform(0.1, 0.6)))

    # -- nuclei --
    tall, long = np.gradient(depth)
    outward = np.arctan2(tall, long)
    ring = gland & ~lumen
    row = _spaced(rng, ring & (depth > 0.76) & (depth < 0.93), 3 * unit)
    spread = _spaced(rng, ring & (depth < 0.95), 3 * unit)
    n_nuclei = min(len(row), len(spread))
    chosen = row if regular else spread
    chosen = chosen[rng.permutation(len(chosen))[:n_nuclei]]
    angle = outward[chosen[:, 0], chosen[:, 1]] if regular else rng.uniform(0, np.pi, n_nuclei)
    nuclei = np.zeros(size)
    _draw(nuclei, rng, chosen, angle + rng.normal(0, 0.2, n_nuclei), 2.6 * unit, 1.5 * unit)
    nuclei *= ring  # the oval ends at the gland's border
    cells = np.zeros(size)
    lymphocytes = _spaced(rng, crowd, 3 * unit)
    _draw(cells, rng, lymphocytes, np.zeros(len(lymphocytes)), 1.7 * unit, 1.6 * unit)
    fibroblasts = _spaced(rng, stroma & ~gap, 8 * unit)
    angles = fibre_angle + rng.normal(0, 0.2 if parallel else 2.0, len(fibroblasts))
    _draw(cells, rng, fibroblasts, angles, 3.6 * unit, 1.0 * unit)
    cells *= stroma & ~gap

    # -- stains: how much of each, pixel by pixel --
    grain = _smooth(rng, size, 1.0 * unit)
    haematoxylin = np.where(ring, 0.30 + 0.05 * grain, 0.20 + 0.06 * fibres)
    eosin = np.where(ring, 0.42 + 0.06 * grain, 0.55 + 0.16 * fibres)
    mucin = ring & (depth < rng.uniform(0.5, 0.75))
    pale = rng.uniform(0.5, 1.0)
    haematoxylin[mucin] *= pale
    eosin[mucin] *= pale
    empty = lumen | gap
    haematoxylin[empty] = 0.03 + 0.01 * grain[empty]
    eosin[empty] = 0.05 + 0.02 * grain[empty]
    dark = np.maximum(nuclei, cells)
    haematoxylin += dark * (0.75 + 0.12 * grain)
    haematoxylin, eosin = (gaussian_filter(stain, 0.5 * unit) for stain in (haematoxylin, eosin))
    return _stain(rng, haematoxylin, eosin), ids


def _smooth(rng, size, sigma):
    """A smooth random field of mean about 0 and standard deviation 1."""
    white = rng.standard_normal(size, dtype=np.float32)
    field = gaussian_filter(white, sigma, mode="wrap", truncate=3)
    return field / field.std()


def _outlines(rng, size, unit, bend, regular):
    """Instance ids (H, W) int16, and depth (H, W): 0 at a gland's centre, 1 at its border."""
    height, width = size
    spacing = rng.uniform(36, 48) * unit
    share = rng.uniform(0.37, 0.53)
    # Centres on a jittered hexagonal grid that reaches over the borders.
    rows = np.arange(-0.5, height / (0.87 * spacing) + 1)
    columns = np.arange(-0.5, width / spacing + 1)
    y, x = (c.ravel() for c in np.meshgrid(rows * 0.87 * spacing, columns * spacing, indexing="ij"))
    x = x + spacing / 2 * (np.arange(len(rows)) % 2).repeat(len(columns))
    x, y = (c + rng.uniform(-0.22, 0.22, len(c)) * spacing for c in (x, y))
    x, y = x + rng.uniform(-0.5, 0.5) * spacing, y + rng.uniform(-0.5, 0.5) * spacing
    # Glands crowd together, as in lobes: the centres where a slow wave is low are left out.
    waves = rng.normal(0, 0.022 / unit, (3, 2)), rng.uniform(0, 2 * np.pi, 3)
    lobes = sum(np.cos(k[0] * x + k[1] * y + phase) for k, phase in zip(*waves))
    inside = (x > 0) & (x < width) & (y > 0) & (y < height)
    pool = lobes[inside] if inside.any() else lobes
    kept = lobes >= np.quantile(pool, max(1 - share / rng.uniform(0.58, 0.78), 0))
    x, y = x[kept], y[kept]
    radius = rng.uniform(0.8, 1.25, len(x))
    stretch = np.exp(rng.uniform(-0.22, 0.22, len(x)))
    turn = rng.uniform(0, np.pi, len(x))
    cos, sin = np.cos(turn), np.sin(turn)
    # The quadratic form of each oval: a dx^2 + 2 b dx dy + c dy^2.
    long, short = (stretch / radius) ** 2, (1 / (stretch * radius)) ** 2
    a, b, c = (
        (q / spacing**2).astype(np.float32)
        for q in (
            long * cos**2 + short * sin**2,
            (long - short) * cos * sin,
            long * sin**2 + short * cos**2,
        )
    )

    strength = (0.8 if regular else 5.0) * unit
    rows, columns = np.indices(size, dtype=np.float32)
    rows, columns = rows + strength * bend[0], columns + strength * bend[1]
    nearest, second = (np.full(size, np.inf, dtype=np.float32) for _ in range(2))
    ids = np.zeros(size, dtype=np.int16)
    for i in range(len(x)):
        down, right = rows - np.float32(y[i]), columns - np.float32(x[i])
        distance = right * (a[i] * right + 2 * b[i] * down) + c[i] * down * down
        closer = distance < nearest
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
        ids[closer] = i + 1
    nearest, second = np.sqrt(nearest), np.sqrt(second)
    # Where two glands are equally near stands a septum of stroma.
    depth = nearest + 0.35 * np.exp((nearest - second) * 14)
    # The threshold that gives the share of foreground asked for.
    depth /= np.quantile(depth, share)
    ids[depth >= 1] = 0
    present = np.unique(ids)
    return np.searchsorted(present, ids).astype(np.int16) if present[0] == 0 else ids, depth


def _lumina(rng, size, unit, depth, gland, regular):
    """Where the glands are open: round in the middle, or as much of it torn into pieces."""
    round_ = gland & (depth < rng.uniform(0.3, 0.62))
    if regular:
        return round_
    field = _smooth(rng, size, 2.2 * unit)
    inner = gland & (depth < 0.85)
    share = min(round_.sum() / max(inner.sum(), 1), 1.0)
    if share == 0:
        return round_
    return inner & (field > np.quantile(field[inner], 1 - share))


def _fibres(rng, size, unit, bend, angle, parallel):
    """A texture of threads along `angle`, or curling."""
    rows, columns = np.indices(size, dtype=np.float32)
    strength = (3 if parallel else 12) * unit
    rows, columns = rows + strength * bend[1], columns - strength * bend[0]
    cos, sin = np.cos(angle), np.sin(angle)
    along = (cos * columns + sin * rows) / (7 * unit)
    across = (cos * rows - sin * columns) / (1.3 * unit)
    noise = rng.standard_normal((64, 64))
    return map_coordinates(noise, (across, along), order=1, mode="grid-wrap")


def _spaced(rng, zone, distance):
    """Random points (k, 2) int of a zone, no two within `distance` along an axis."""
    priority = np.where(zone, rng.random(zone.shape), 0.0)
    window = 2 * int(round(distance)) - 1
    return np.argwhere(zone & (priority == maximum_filter(priority, max(window, 1))))


def _draw(canvas, rng, centres, angles, length, breadth):
    """Draw soft ovals of half axes about `length` and `breadth` into `canvas`, in place."""
    if len(centres) == 0:
        return
    reach = int(np.ceil(1.4 * length))
    offsets = np.arange(-reach, reach + 1)
    down, right = (c.ravel() for c in np.meshgrid(offsets, offsets, indexing="ij"))
    scale = rng.uniform(0.8, 1.2, (len(centres), 1))
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    along = (cos * right + sin * down) / (length * scale)
    across = (cos * down - sin * right) / (breadth * scale)
    darkness = rng.uniform(0.7, 1.0, (len(centres), 1))
    value = darkness * np.clip(2.2 * (1 - along * along - across * across) + 0.2, 0, 1)
    rows, columns = centres[:, :1] + down, centres[:, 1:] + right
    inside = (
        (value > 0)
        & (rows >= 0)
        & (rows < canvas.shape[0])
        & (columns >= 0)
        & (columns < canvas.shape[1])
    )
    np.maximum.at(canvas, (rows[inside], columns[inside]), value[inside])


def _stain(rng, haematoxylin, eosin):
    """Stain amounts to an image (H, W, 3) uint8, as one laboratory and one slide would show it."""
    vectors = np.array([_HAEMATOXYLIN, _EOSIN]) + rng.normal(0, 0.05, (2, 3))
    strength = np.exp(rng.normal(0, 0.28, 2))
    height, width = haematoxylin.shape
    slope = rng.normal(0, 0.08, 2)
    light = (
        1
        + slope[0] * np.linspace(-0.5, 0.5, height)[:, None]
        + slope[1] * np.linspace(-0.5, 0.5, width)
    ).astype(np.float32)
    white = rng.uniform(228, 250) + rng.normal(0, 3, 3)
    amounts = [np.maximum(-1.5 * strength[0] * haematoxylin, -9).astype(np.float32)]
    amounts += [np.maximum(-1.5 * strength[1] * eosin, -9).astype(np.float32)]
    vectors = vectors.astype(np.float32)
    image = 2.5 * rng.standard_normal((height, width, 3), dtype=np.float32)
    for channel in range(3):
        density = vectors[0, channel] * amounts[0] + vectors[1, channel] * amounts[1]
        image[:, :, channel] += np.float32(white[channel]) * light * np.exp(density)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
