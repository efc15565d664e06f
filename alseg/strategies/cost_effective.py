"""CEAL: ask where nothing was found, where doubt is greatest, and at random in between."""

import numpy as np

from alseg.derived import masks_of
from alseg.images import as_images
from alseg.query import N_BINS, ceal_groups, predicted_doubt
from alseg.strategies._shared import check_estimator, check_pool, check_shape
from alseg.validation import check_number, check_option, check_rng, seed_of

REMEDY = "CEAL needs masks and stochastic draws of them."


def _doubt(learner, X_pool, random_state, n_draws, reduce):
    check_option("reduce", reduce, ("sum", "mean"))
    check_number("n_draws", n_draws, 2, integer=True)
    estimator, X_pool = check_estimator(learner, X_pool, REMEDY)
    seed = seed_of(random_state, check_rng(random_state))
    images = as_images(X_pool)
    score, empty = predicted_doubt(estimator, images, n_draws, seed, reduce, masks_of=masks_of)
    return check_shape(score, len(images)), empty


def ceal_score(learner, X_pool, random_state=None, *, n_draws=20, reduce="mean"):
    """Variance under dropout, weighted by the depth inside the predicted object [1]_.

    The mean over the pixels x of ``Var_t[p_t(x)] T(x)``, with T the Euclidean distance to the
    background of the deterministic predicted mask, scaled to [0, 1] in each image. 0 where nothing
    was detected. The paper sums over images that are all of one size; for these the mean puts them
    in the same order and the same bins.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        With `predict_uncertainty` and `predict_masks`.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides the draws.
    n_draws : int, default=20
    reduce : {"mean", "sum"}, default="mean"
        Over the pixels of an image at its own size: a sum favours large images.

    Returns
    -------
    score : ndarray of shape (n_pool,), float

    Raises
    ------
    TypeError
        If the estimator cannot draw.

    References
    ----------
    .. [1] Gorriz et al. 2017, arXiv:1711.09168.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> ceal_score(ToySegmenter(), toy_images(3), random_state=0).shape
    (3,)
    """
    return _doubt(learner, X_pool, random_state, n_draws, reduce)[0]


def ceal_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    groups=(10, 15, 10),
    n_draws=20,
    n_bins=N_BINS,
    reduce="mean",
):
    """Ask as CEAL does [1]_: no detections, the most uncertain, and some at random.

    With ``PseudoLabelAugmenter(selection="ceal")`` in the learner, which labels the fourth group
    by itself, and ``warm_start=True``, it is the method of the paper.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        With `predict_uncertainty` and `predict_masks`.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
        In the paper 35.
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides the draws, and who is picked within a group.
    groups : sequence of 3 numbers, default=(10, 15, 10)
        Shares of no detection, random and most uncertain, as published.
    n_draws : int, default=20
    n_bins : int, default=80
        Of the histogram of doubt that the groups are defined by, see `alseg.query.ceal_groups`.
    reduce : {"mean", "sum"}, default="mean"
        See `ceal_score`.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        No detections first, then the most uncertain, then the random ones. No image twice.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid, or a score is not finite.

    References
    ----------
    .. [1] Gorriz et al. 2017, arXiv:1711.09168. Where we differ: docs/notes.md.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> ceal_sampling(ToySegmenter(), toy_images(9), 3, random_state=0).shape
    (3,)
    """
    n_instances = check_pool(X_pool, n_instances)
    seed = random_state
    if random_state is not None:
        random_state = check_rng(random_state)
        seed = int(random_state.integers(2**31 - 1))
    scores, empty = _doubt(learner, X_pool, seed, n_draws, reduce)
    none, some, most = ceal_groups(scores, empty, n_instances, groups, n_bins, random_state)
    return np.concatenate([none, most, some])
