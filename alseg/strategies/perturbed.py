"""Perturbation: how much a prediction changes when an image is changed a little, at worst."""

import functools

import numpy as np

from alseg.images import as_images, stack
from alseg.interfaces import Adversarial, MaskProbabilities, meets
from alseg.query import aggregate as aggregate_maps
from alseg.query import kl_divergence, needs_mask_proba
from alseg.rows import n_rows
from alseg.strategies._shared import (
    TARGETS,
    ask_images,
    check_map_target,
    check_maps,
    check_one_class,
    check_shape,
    last_step,
)
from alseg.validation import check_number, check_option, check_rng, message, seed_of


def virtual_adversarial_score(
    learner,
    X_pool,
    random_state=None,
    *,
    epsilon=0.01,
    n_draws=1,
    aggregate="mean",
    target="mask",
    return_maps=False,
):
    """How far the worst small change of an image moves its prediction (virtual adversary [1]_).

    ``KL(p(x) || p(x + r))``, of each pixel's class or of the image's, where r is the change of a
    given size that moves the prediction most, to second order: by power iteration, from noise,
    along the gradient of the divergence. A prediction that so little turns over is unsure whatever
    its probability. An estimator that is not `alseg.interfaces.Adversarial`, and so has no
    gradients, is shown noise of that size instead, and the divergence is the mean over `n_draws`.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        `JointCAMSegmenter`, or one with `predict_mask_proba` (`predict_proba` for labels).
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    random_state : None, int, numpy Generator or RandomState, default=None
        Of the noise. None is the estimator's own `random_state`, where it has gradients.
    epsilon : float, default=0.01
        Above 0. Size of the change: the root mean square over pixels and channels, of values in
        [0, 1]; in [1]_ it is the length of the whole vector.
    n_draws : int, default=1
        Power iterations (in [1]_ one is enough), or draws of noise.
    aggregate : str or callable, default="mean"
        From the pixels to the image, see `alseg.query.aggregate`; not used for labels.
    target : {"mask", "label"}, default="mask"
        Whose prediction: the pixels' classes, or the image's class.
    return_maps : bool, default=False
        Return the maps too, each at its image's own size (for masks).

    Returns
    -------
    score : ndarray of shape (n_pool,), float, in nats
        Larger is more worth asking.
    maps : ndarray of shape (n_pool, H, W), or (n_pool,) of arrays; with `return_maps`

    Raises
    ------
    TypeError
        If the estimator cannot predict what is asked.
    ValueError
        If an option is not valid, or masks are asked of a model fitted without any.

    References
    ----------
    .. [1] Miyato et al. 2018, arXiv:1704.03976, equations 5 to 12.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> virtual_adversarial_score(ToySegmenter(), toy_images(3), 0).shape
    (3,)
    """
    check_option("target", target, TARGETS)
    check_map_target(target, return_maps)
    needs_mask_proba(aggregate)
    check_number("epsilon", epsilon, 0, open_low=True)
    check_number("n_draws", n_draws, 1, integer=True)
    rng, n_pool = check_rng(random_state), n_rows(X_pool)
    estimator, X_pool = last_step(learner, X_pool)
    if target == "label":
        check_one_class(estimator, "Take target='mask', or entropy_sampling with target='label'.")
    options = {"epsilon": epsilon, "aggregate": aggregate, "target": target}
    if meets(estimator, Adversarial):
        result = estimator.adversarial_divergence(
            X_pool,
            n_steps=n_draws,
            return_maps=return_maps,
            random_state=seed_of(random_state, rng),
            **options,
        )
    else:
        seed = int(rng.integers(2**31 - 1))
        result = _noisy(estimator, X_pool, seed, n_draws, return_maps=return_maps, **options)
    if return_maps:
        return check_maps(result, n_pool)
    return check_shape(result, n_pool)


def _noisy(estimator, X_pool, seed, n_draws, epsilon, aggregate, target, return_maps):
    """Divergence of predictions of images and of the same with noise, one image at a time."""
    name = "predict_mask_proba" if target == "mask" else "predict_proba"
    if not hasattr(estimator, name) or (
        target == "mask" and not meets(estimator, MaskProbabilities)
    ):
        raise TypeError(message("learner", f"with `{name}`", estimator))
    predict, images = getattr(estimator, name), as_images(X_pool)
    scores, maps = [], []
    for i in range(len(images)):
        image = images[i]
        clean = image / np.float32(255) if image.dtype == np.uint8 else image
        # The same noise for every image of a size: a score does not depend on where it stands.
        noise = np.random.default_rng(seed).standard_normal((n_draws, *clean.shape))
        noisy = np.clip(clean + np.float32(epsilon) * noise.astype(np.float32), 0, 1)
        proba, *others = predict(stack([clean.astype(np.float32), *noisy]))
        proba = np.asarray(proba, dtype=float)
        moved = [kl_divergence(proba, np.asarray(p, float), axis=0) for p in others]
        map_ = np.mean(moved, axis=0).clip(min=0)
        if target == "label":
            scores.append(float(map_))
            continue
        scores.append(aggregate_maps(map_[None], aggregate, mask_proba=proba[None])[0])
        if return_maps:
            maps.append(map_.astype(np.float32))
    scores = np.array(scores, dtype=float)
    return (scores, stack(maps)) if return_maps else scores


def virtual_adversarial_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    epsilon=0.01,
    n_draws=1,
    aggregate="mean",
    target="mask",
):
    """Ask about the images of the largest `virtual_adversarial_score`.

    Parameters
    ----------
    learner, X_pool, epsilon, n_draws, aggregate, target
        As in `virtual_adversarial_score`.
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Of the noise, and between equal scores.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `virtual_adversarial_score`.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> virtual_adversarial_sampling(ToySegmenter(), toy_images(5), 2, 0).shape
    (2,)
    """
    score = functools.partial(
        virtual_adversarial_score,
        epsilon=epsilon,
        n_draws=n_draws,
        aggregate=aggregate,
        target=target,
    )
    return ask_images(score, learner, X_pool, n_instances, random_state)
