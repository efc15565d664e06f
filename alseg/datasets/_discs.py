"""Round cells in touching groups, with the exact id of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import Random
from alseg.datasets._dataset import Dataset
from alseg.validation import check_number, check_rng, message

CLASSES = np.array(["large", "small"])
_RADIUS = {"large": (0.1, 0.13), "small": (0.065, 0.085)}  # of the shorter side
_BACKGROUND, _CELL = np.array([0.93, 0.84, 0.90]), np.array([0.42, 0.30, 0.58])


def make_discs(
    n_samples: int = 40,
    image_size: Any = (64, 96),
    *,
    n_discs: int = 12,
    random_state: Random = None,
) -> Any:
    """Make images of discs that touch, as nuclei in tissue do, with exact ids.

    Each disc after the first few touches one before it, so that connected parts of the foreground
    are groups of discs. Discs are darker in the middle; brightness and noise change from image to
    image. Classes are large and small discs.

    Parameters
    ----------
    n_samples : int, default=40
        Classes alternate. The first k images are the same whatever `n_samples`.
    image_size : tuple (H, W) of int, each at least 32, default=(64, 96)
        Discs grow with its shorter side.
    n_discs : int, default=12
        In each image; fewer where there is no room.
    random_state : None, int, Generator or RandomState, default=None

    Returns
    -------
    discs : Dataset
        ``images`` (n, H, W, 3) uint8, ``labels`` "large" or "small", ``masks`` (n, H, W) int8 with
        1 in discs, ``instances`` (n, H, W) int16.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from alseg.metrics import instances_from_mask
    >>> discs = make_discs(2, random_state=0)
    >>> int(discs.instances[0].max()), int(instances_from_mask(discs.masks[0]).max())
    (12, 3)
    """
    check_number("n_samples", n_samples, low=1, integer=True)
    check_number("n_discs", n_discs, low=1, integer=True)
    if np.shape(image_size) != (2,):
        raise ValueError(message("image_size", "a pair (H, W)", image_size))
    size = tuple(check_number("image_size", n, low=32, integer=True) for n in image_size)
    seeds = check_rng(random_state).integers(2**63, size=n_samples)
    labels = CLASSES[np.arange(n_samples) % 2]
    images = np.empty((n_samples, *size, 3), dtype=np.uint8)
    instances = np.empty((n_samples, *size), dtype=np.int16)
    for i, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        instances[i], depth = _drawn(_placed(rng, size, n_discs, _RADIUS[labels[i]]), size)
        images[i] = _coloured(rng, instances[i] > 0, depth)
    return Dataset(
        images=images,
        labels=labels,
        masks=(instances > 0).astype(np.int8),
        instances=instances,
        ids=[f"discs_{i}" for i in range(n_samples)],
        name="discs",
    )


def _placed(rng, size, n_discs, radii):
    """Discs (n, 3) of row, column and radius: a third of them anywhere, the rest touching one."""
    placed: Any = np.empty((0, 3))
    for _ in range(200 * n_discs):
        if len(placed) == n_discs:
            break
        radius = rng.uniform(*radii) * min(size)
        where = rng.uniform(radius, np.array(size) - radius)
        if len(placed) >= max(1, n_discs // 4):
            row, column, other = placed[rng.integers(len(placed))]
            angle, apart = rng.uniform(0, 2 * np.pi), radius + other - 0.7
            where = np.array([row + apart * np.sin(angle), column + apart * np.cos(angle)])
        inside = (where >= radius).all() and (where <= np.array(size) - radius).all()
        gaps = np.hypot(*(placed[:, :2] - where).T) - placed[:, 2] - radius
        if inside and (gaps > -1).all():
            placed = np.vstack([placed, [*where, radius]])
    return placed


def _drawn(placed, size):
    """Ids (H, W), and the distance from the centre in radii."""
    rows, columns = np.indices(size)
    far = np.stack([np.hypot(rows - r, columns - c) / radius for r, c, radius in placed])
    nearest = far.min(axis=0)
    return np.where(nearest < 1, far.argmin(axis=0) + 1, 0).astype(np.int16), nearest


def _coloured(rng, inside, depth):
    shade = (inside * (1 - 0.45 * np.minimum(depth, 1) ** 2))[..., None]
    strength = rng.uniform(0.75, 1.0)
    image = _BACKGROUND + strength * shade * (_CELL - _BACKGROUND)
    image = rng.uniform(0.9, 1.05) * image + rng.normal(0, 0.04, image.shape)
    return np.rint(255 * image.clip(0, 1)).astype(np.uint8)
