"""Random, but where the objects are: the control that a clever strategy has to beat."""

import numpy as np

from alseg.derived import PAGE, joint_of
from alseg.images import as_images
from alseg.interfaces import has_part
from alseg.query import shares, stochastic_top_n
from alseg.rows import n_rows
from alseg.strategies._shared import check_one_class, check_pool, last_step
from alseg.strategies.around_others import named
from alseg.strategies.disagreement import chunks
from alseg.strategies.two_views import scaled_map
from alseg.validation import check_number, check_option, check_rng, message

SOURCES = ("cam", "mask")


def foreground_fraction(learner, X_pool, source="cam", threshold=0.5):
    """The share of each image that is foreground, as far as is known.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    source : {"cam", "mask"}, array-like or callable, default="cam"
        "cam": where the class activation map of the predicted class, scaled to [0, 1] in each
        image, is at least `threshold`; it needs no mask. "mask": the mean probability of
        foreground. Else the truth, for a control: one number an image of the pool, or of the
        learner's own images (mask mode), or ``f(X_pool) -> (n_pool,)``.
    threshold : float in [0, 1], default=0.5

    Returns
    -------
    fraction : ndarray of shape (n_pool,), float, not negative

    Raises
    ------
    TypeError
        If the estimator cannot predict it.
    ValueError
        If there is not one number >= 0 for each image.

    Examples
    --------
    >>> foreground_fraction(None, ["a.png", "b.png"], source=[0.2, 0.0])
    array([0.2, 0. ])
    """
    n_pool = n_rows(X_pool)
    check_number("threshold", threshold, 0, 1)
    if isinstance(source, str):
        check_option("source", source, SOURCES)
        fraction = _predicted(*last_step(learner, X_pool), source, threshold)
    elif callable(source):
        fraction = np.asarray(source(X_pool), dtype=float)
    else:
        fraction = np.asarray(source, dtype=float)
        pool_ids = None
        if fraction.shape != (n_pool,) and getattr(learner, "images", None) is not None:
            pool_ids = learner.pool_ids
        known = pool_ids is not None and len(pool_ids) == n_pool and fraction.ndim == 1
        if known and len(fraction) == n_rows(learner.images):
            fraction = fraction[pool_ids]
    if fraction.shape != (n_pool,):
        rule = f"one number for each of {n_pool} images"
        raise ValueError(message("source", rule, fraction.shape))
    if not (np.isfinite(fraction).all() and (fraction >= 0).all()):
        raise ValueError(message("source", "finite and >= 0", fraction))
    return fraction


def _predicted(estimator, X_pool, source, threshold):
    name = "predict_joint" if source == "cam" else "predict_mask_proba"
    if not has_part(estimator, {"cam": "cams", "mask": "masks"}[source]):
        raise TypeError(message("learner", f"with `{name}` for source={source!r}", estimator, PAGE))
    if source == "cam":
        check_one_class(estimator, "Take source='mask'.")
    images, found = as_images(X_pool), []
    for idx in chunks(len(images)):
        part = images.take(idx)
        if source == "mask":
            background = [np.asarray(p)[0] for p in estimator.predict_mask_proba(part)]
            found.extend(1 - p.mean(dtype=float) for p in background)
            continue
        joint = joint_of(estimator, part, cams=True)
        proba = np.asarray(joint["proba"])
        if not np.isfinite(proba).all():
            raise ValueError(message("predict_joint(X_pool)['proba']", "finite", proba))
        for cam, winner in zip(joint["cams"], proba.argmax(axis=1), strict=True):
            cam = np.asarray(cam)[winner]
            found.append((scaled_map(cam, cam.shape) >= threshold).mean())
    return np.array(found, dtype=float)


def foreground_random_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    source="cam",
    share=0.66,
    threshold=0.5,
):
    """Ask at random, most of it in proportion to the foreground (foreground-aware random [1]_).

    Uniform random wastes questions on images without an object; a strategy that only beats it may
    have learned no more than that. With ``source="cam"`` it takes no mask, with the true
    fractions it is the bound that no real control can reach.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        Not looked at if `source` is the truth.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
    source : {"cam", "mask"}, array-like or callable, default="cam"
        See `foreground_fraction`.
    share : float in [0, 1], default=0.66
        Of the questions that follow the foreground; the others are uniform.
    threshold : float in [0, 1], default=0.5
        Of the scaled map, for "cam".

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Those that follow the foreground first. Without any foreground all are uniform.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid, or `source` does not fit the pool.

    References
    ----------
    .. [1] nnActive, Transactions on Machine Learning Research 2025.

    Examples
    --------
    >>> foreground_random_sampling(None, list("abc"), 1, 0, source=[0, 0, 0.5], share=1)
    array([2])
    """
    n_instances = check_pool(X_pool, n_instances)
    check_number("share", share, 0, 1)
    fraction = foreground_fraction(learner, X_pool, source, threshold)
    rng = check_rng(random_state)
    n_guided = int(shares([share, 1 - share], n_instances, rng)[0])
    n_guided = min(n_guided, int((fraction > 0).sum()))
    picked = np.empty(0, dtype=np.intp)
    if n_guided:
        picked = stochastic_top_n(fraction, n_guided, random_state=rng)
    left = np.setdiff1d(np.arange(len(fraction)), picked)
    return np.concatenate([picked, rng.permutation(left)[: n_instances - n_guided]])


def foreground_random(source="cam", share=0.66, threshold=0.5):
    """A strategy that asks at random where the objects are; see `foreground_random_sampling`.

    Parameters
    ----------
    source : {"cam", "mask"}, array-like or callable, default="cam"
    share : float in [0, 1], default=0.66
    threshold : float in [0, 1], default=0.5

    Returns
    -------
    strategy : functools.partial

    Examples
    --------
    >>> foreground_random("mask").__name__, foreground_random([0.1, 0.2]).__name__
    ('foreground_random(mask)', 'foreground_random(oracle)')
    """
    check_number("share", share, 0, 1)
    shown = source if isinstance(source, str) else "oracle"
    options = {"source": source, "share": share, "threshold": threshold}
    return named(f"foreground_random({shown})", foreground_random_sampling, **options)
