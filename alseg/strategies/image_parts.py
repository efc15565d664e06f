"""Asking about parts of images: patches, superpixels, pixels; RIPU and PixelPick."""

import functools

from alseg.calling import call, name_of
from alseg.derived import scores_of_proba
from alseg.interfaces import MaskProbabilities, meets
from alseg.query import UNITS, ripu, top_n
from alseg.rows import n_rows
from alseg.strategies._shared import check_pool, check_shape, last_step
from alseg.strategies.around_others import named
from alseg.strategies.best_parts import ask_parts
from alseg.strategies.informativeness import entropy_score, margin_score
from alseg.validation import check_number, check_option, check_rng, message, seed_of

PART_OPTIONS = (
    "size",
    "sliding",
    "per_image",
    "top",
    "superpixels",
    "max_known",
    "centred",
    "spread",
)
"""What `by_region` takes besides a score and a unit."""


def region_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    score=entropy_score,
    unit="patch",
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
    """Ask about the parts of images that score most; `by_region` makes a strategy of it.

    The score of a part is the mean of its pixels', where annotated ones count 0. With ``score=
    None`` parts are drawn at random, each as likely as any other: the control.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        What `score` needs.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
        Of one size or of differing sizes.
    n_instances : int, default=1
        How many parts, in the whole pool.
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides draws, between equal scores, and what `top` picks.
    score : callable or None, default=entropy_score
        A public score with a parameter `return_maps`, such as `mc_variance_score`, or a
        `functools.partial` of one. Its own `aggregate` is not used.
    unit : {"patch", "superpixel", "pixel", "image"}, default="patch"
        With "image" it is a plain strategy of `score`.
    size : int, default=32
        Side of a patch; a superpixel has about ``size ** 2`` pixels.
    sliding : bool, default=False
        Patches are the tiles of a grid; if True, windows at any place, which do not overlap.
    per_image : int or None, default=None
        Most parts of one image in one call.
    top : float in (0, 1] or None, default=None
        In each image, parts are drawn at random among the best share `top`; None takes the best.
    superpixels : callable or None, default=None
        ``f(image, size) -> (H, W) int``. None is SLIC. Computed once an image and kept.
    max_known : int or None, default=None
        For ``unit="pixel"``: most annotated pixels of one image, in all rounds.
    centred : bool, default=False
        Whether each pixel of the score's maps is already the score of the window around it.
    spread : bool, default=False
        Whether no image gives a second part before all have given a first, in this question or in
        one before; see `alseg.query.RegionPicker`.
    masks_pool : sequence of n_pool masks and None, or None, default=None
        What is annotated already and not asked again. `ActiveLearner` passes it in mask mode.

    Returns
    -------
    regions : Regions
        `n_instances` parts, best first, none with an annotated pixel; of positions in the pool.
        With ``unit="image"``, `query_idx`.

    Raises
    ------
    EmptyPool
        If the pool is empty, or annotated.
    TypeError, ValueError
        If fewer parts are left than asked for, an option is out of range, the score has no
        maps, or they are not finite.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> regions = region_sampling(ToySegmenter(), toy_images(5), 3, random_state=0, size=4)
    >>> regions
    Regions(3 patches of 48 pixels in 1 image)
    """
    check_option("unit", unit, UNITS)
    if score is not None and not callable(score):
        raise TypeError(message("score", "a score (callable) or None", score))
    if unit == "image":
        n_instances = check_pool(X_pool, n_instances)
        rng = check_rng(random_state)
        n_pool = n_rows(X_pool)
        if score is None:
            return top_n(rng.random(n_pool), n_instances, rng)
        seed = seed_of(random_state, rng)
        scores = call(score, learner, X_pool, random_state=seed)
        return top_n(check_shape(scores, n_pool), n_instances, rng)
    return ask_parts(
        score,
        learner,
        X_pool,
        n_instances,
        random_state,
        unit=unit,
        size=size,
        sliding=sliding,
        per_image=per_image,
        top=top,
        superpixels=superpixels,
        max_known=max_known,
        centred=centred,
        spread=spread,
        masks_pool=masks_pool,
    )


def by_region(score=entropy_score, unit="patch", **options):
    """A strategy that asks about parts of images: the one way to ask for them, of any score.

    What is annotated already is not asked about again: `ActiveLearner` says it in mask mode, others
    by ``masks_pool=`` when the strategy is called.

    Parameters
    ----------
    score : callable or None, default=entropy_score
        A public score with a parameter `return_maps`; None is at random.
    unit : {"patch", "superpixel", "pixel", "image"}, default="patch"
    **options
        Of `region_sampling`: `size`, `sliding`, `per_image`, `top`, `superpixels`, `max_known`,
        `centred`, `spread`.

    Returns
    -------
    strategy : functools.partial
        Of `region_sampling`, with a `__name__` to show.

    Raises
    ------
    TypeError, ValueError
        If `score` is not callable, `unit` is unknown, or an option is none of these.

    Examples
    --------
    >>> strategy = by_region(margin_score, "superpixel", size=16)
    >>> strategy.__name__
    'by_region(margin_score, superpixel)'
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> by_region(entropy_score, "pixel", per_image=2)(ToySegmenter(), toy_images(5), 6)
    Regions(6 pixels in 3 images)
    """
    if score is not None and not callable(score):
        raise TypeError(message("score", "a score (callable) or None", score))
    check_option("unit", unit, UNITS)
    for name in options:
        check_option("option", name, PART_OPTIONS)
    shown = "random" if score is None else name_of(score)
    return named(f"by_region({shown}, {unit})", region_sampling, score=score, unit=unit, **options)


def ripu_score(learner, X_pool, *, size=3, aggregate="mean", return_maps=False):
    """Region impurity times mean entropy around each pixel, see `alseg.query.ripu` [1]_.

    Impurity is the entropy of the predicted classes in a window: high where classes meet.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        With `predict_mask_proba`.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
        Of one size or of differing sizes.
    size : int, default=3
        Side of the window in pixels of the image.
    aggregate : str or callable, default="mean"
        From the pixels to the image, see `alseg.query.aggregate`.
    return_maps : bool, default=False
        Return the maps too.

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        In [0, 1] for the mean; larger is more worth asking.
    maps : ndarray of shape (n_pool, H, W), or (n_pool,) of arrays; with `return_maps`

    Raises
    ------
    TypeError
        If the estimator has no `predict_mask_proba`.

    References
    ----------
    .. [1] Xie et al. 2022, arXiv:2111.12940.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> ripu_score(ToySegmenter(), toy_images(5)).shape
    (5,)
    """
    check_number("size", size, low=1, integer=True)
    estimator, X_pool = last_step(learner, X_pool)
    if not meets(estimator, MaskProbabilities):
        raise TypeError(message("learner", "with `predict_mask_proba`", estimator))
    window = functools.partial(ripu, size=size)
    return scores_of_proba(estimator, X_pool, window, aggregate, return_maps)


def ripu_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    unit="patch",
    size=3,
    per_image=None,
    spread=False,
    masks_pool=None,
):
    """Ask where classes meet and the prediction is unsure, by `ripu_score` [1]_.

    As published, ``unit="patch"`` asks for the windows around the best pixels (RIPU-RA, 2.2 % of
    the pixels of each image in five rounds), ``unit="pixel"`` for those pixels alone (RIPU-PA, 40
    an image); there each image gives as many, which is ``n_instances = per_image * n_pool``.
    Windows do not overlap here.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        With `predict_mask_proba`.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
        How many windows or pixels, in the whole pool.
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal scores.
    unit : {"patch", "pixel", "image"}, default="patch"
    size : int, default=3
        Side of the window; the published radius ``k`` is ``2 k + 1``.
    per_image : int or None, default=None
        Most windows or pixels of one image in one call.
    spread : bool, default=False
        See `region_sampling`.
    masks_pool : sequence of n_pool masks and None, or None, default=None
        What is annotated already and not asked again.

    Returns
    -------
    regions : Regions
        Of positions in the pool, best first; `query_idx` for ``unit="image"``.

    Raises
    ------
    EmptyPool, TypeError, ValueError
        As `region_sampling`.

    References
    ----------
    .. [1] Xie et al. 2022, Towards Fewer Annotations: Active Learning via Region Impurity and
       Prediction Uncertainty for Domain Adaptive Semantic Segmentation, arXiv:2111.12940.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> ripu_sampling(ToySegmenter(), toy_images(5), 6, per_image=2)
    Regions(6 patches of 39 pixels in 3 images)
    """
    check_option("unit", unit, ("patch", "pixel", "image"))
    score = functools.partial(ripu_score, size=size)
    windows = {"size": size, "sliding": unit == "patch", "per_image": per_image, "centred": True}
    ask = by_region(score, unit, spread=spread, **windows)
    return ask(learner, X_pool, n_instances, random_state, masks_pool=masks_pool)


def pixelpick_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    score=margin_score,
    unit="pixel",
    per_image=10,
    top=0.05,
    max_pixels=100,
    spread=False,
    masks_pool=None,
):
    """Ask about a few pixels an image, at random among its most uncertain ones [1]_.

    Picking among the best share keeps the pixels of an image apart from one another. As published
    every image gives `per_image` pixels a round, which is ``n_instances = per_image * n_pool``;
    with fewer, those of the largest score are asked for.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        What `score` needs.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
        How many pixels, in the whole pool.
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides the pixels.
    score : callable, default=margin_score
        A public score with a parameter `return_maps`.
    unit : {"pixel"}, default="pixel"
        Says to learners that `n_instances` counts pixels.
    per_image : int or None, default=10
        Most pixels of one image in one call.
    top : float in (0, 1], default=0.05
        Share of an image's pixels, without those annotated, that are drawn from.
    max_pixels : int or None, default=100
        Most annotated pixels of one image, in all rounds.
    spread : bool, default=False
        See `region_sampling`.
    masks_pool : sequence of n_pool masks and None, or None, default=None
        What is annotated already and not asked again.

    Returns
    -------
    regions : Regions
        Of positions in the pool.

    Raises
    ------
    EmptyPool, TypeError, ValueError
        As `region_sampling`.

    References
    ----------
    .. [1] Shin et al. 2021, All you need are a few pixels: semantic segmentation with PixelPick,
       arXiv:2104.06394.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> pixelpick_sampling(ToySegmenter(), toy_images(5), 20, random_state=0)
    Regions(20 pixels in 4 images)
    """
    check_option("unit", unit, ("pixel",))
    if not callable(score):
        raise TypeError(message("score", "a score (callable)", score))
    if max_pixels is not None:
        check_number("max_pixels", max_pixels, low=1, integer=True)
    options = {"per_image": per_image, "top": top, "max_known": max_pixels, "spread": spread}
    ask = by_region(score, unit, **options)
    return ask(learner, X_pool, n_instances, random_state, masks_pool=masks_pool)
