"""What strategies for parts of images share: a score's maps by image, and the best regions."""

import numpy as np

from alseg.calling import accepts, call, name_of
from alseg.images import as_images, as_masks
from alseg.labels import MISSING
from alseg.query import RegionPicker, superpixels_of
from alseg.rows import n_rows
from alseg.rows import retrieve_rows as rows
from alseg.strategies._shared import check_maps
from alseg.validation import EmptyPool, check_number, check_rng, message, seed_of

_CHUNK = 32  # images whose maps are held at once


def maps_of(score, learner, X_pool, random_state=None):
    """The maps that a score is made of, a chunk of the pool at a time.

    Parameters
    ----------
    score : callable
        ``f(learner, X_pool, ..., return_maps=True) -> (scores, maps)``.
    learner : estimator or learner
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    random_state : None or int
        The same for each chunk, so that an image's draws do not depend on where it stands.

    Yields
    ------
    idx : ndarray of int
        Positions in the pool.
    maps : sequence of arrays of shape (H, W), aligned with `idx`

    Raises
    ------
    TypeError
        If the score has no parameter `return_maps`.
    """
    if not accepts(score, "return_maps"):
        rule = f"a score with a parameter return_maps, unlike {name_of(score)}"
        raise TypeError(message("score", rule, score, "It has no pixels to choose among."))
    n_pool = n_rows(X_pool)
    for start in range(0, n_pool, _CHUNK):
        idx = np.arange(start, min(start + _CHUNK, n_pool))
        result = call(
            score, learner, rows(X_pool, idx), random_state=random_state, return_maps=True
        )
        yield idx, check_maps(result, len(idx))[1]


def _no_maps(images, n_pool):
    for i in range(n_pool):
        yield np.array([i]), [np.zeros(images.size(i))]


def ask_parts(
    score,
    learner,
    X_pool,
    n_instances,
    random_state,
    *,
    unit,
    size=32,
    sliding=False,
    per_image=None,
    top=None,
    superpixels=None,
    max_known=None,
    centred=False,
    spread=False,
    masks_pool=None,
):
    """The regions of the largest scores; see `region_sampling` for what they are.

    Parameters
    ----------
    score : callable or None
        A score with `return_maps`; None is regions at random.
    learner, X_pool, n_instances, random_state
        As of a strategy; `n_instances` counts regions.
    unit, size, sliding, per_image, top, spread
        See `alseg.query.RegionPicker`.
    superpixels : callable or None
        See `alseg.query.superpixels_of`.
    max_known : int or None
        Annotated pixels from which on an image is not asked about (for ``unit="pixel"``).
    centred : bool
        Whether the maps are already scores of windows around each pixel.
    masks_pool : sequence of n_pool masks and None, or None
        What is annotated already.

    Returns
    -------
    Regions
        Of positions in the pool.
    """
    check_number("n_instances", n_instances, low=1, integer=True)
    n_pool = n_rows(X_pool)
    if n_pool == 0:
        raise EmptyPool("The pool is empty: nothing is left to ask about.")
    rng = check_rng(random_state)
    picker = RegionPicker(int(n_instances), unit, size, sliding, per_image, top, rng, spread)
    masks = as_masks(masks_pool, n_pool)
    images = as_images(X_pool) if unit == "superpixel" or score is None else None
    seed = seed_of(random_state, rng)
    none = score is None
    chunks = _no_maps(images, n_pool) if none else maps_of(score, learner, X_pool, seed)
    for idx, maps in chunks:
        for i, map_ in zip(idx, maps, strict=True):
            known = None if masks[i] is None else masks[i] != MISSING
            limit = None
            if max_known is not None:
                limit = max_known - (0 if known is None else int(known.sum()))
            labels = None
            if unit == "superpixel":
                labels = superpixels_of(images, [i], size, superpixels)[0]
            picker.add(i, map_, known, labels, limit, centred)
    return picker.regions()
