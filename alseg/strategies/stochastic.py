"""Uncertainty of stochastic draws: variance under dropout, and BALD."""

import functools

from alseg.strategies._shared import ask_images, draws_score
from alseg.strategies.as_released import released_form, released_variance


def mc_variance_score(
    learner,
    X_pool,
    random_state=None,
    *,
    aggregate="mean",
    target=None,
    n_draws=20,
    return_maps=False,
    mc_variance_axis="draws",
):
    """Variance of the class probabilities over draws with dropout on.

    With masks and ``aggregate="mean"`` it is the MC-dropout score of [1]_ in its intended form;
    with ``aggregate="distance_weighted"`` it comes near that of CEAL [2]_.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        With `predict_uncertainty` and a dropout, such as `JointCAMSegmenter`.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
        Of one size or of differing sizes.
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides the draws; None leaves them to the estimator's own `random_state`.
    aggregate : str or callable, default="mean"
        From the pixels to the image, see `alseg.query.aggregate`; not used for labels.
    target : {"mask", "label"} or None, default=None
        None is "mask", and "label" of a model that gives no masks.
        Whose uncertainty: the pixels' classes, or the image's class.
    n_draws : int, default=20
        Stochastic predictions of each image; their memory does not grow with it.
    return_maps : bool, default=False
        Return the maps too, each at its image's own size (for masks).
    mc_variance_axis : {"draws", "all"}, default="draws"
        "all" has a defect of the code of [1]_, to compare with: one variance of all draws and
        pixels, see `alseg.strategies.as_released.released_variance`.

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        Larger is more worth asking; 0 where all draws agree.
    maps : ndarray of shape (n_pool, H, W), or (n_pool,) of arrays; with `return_maps`

    Raises
    ------
    TypeError
        If the estimator cannot draw.
    ValueError
        If the variance of all is asked of labels, for maps, or with another `aggregate`.

    References
    ----------
    .. [1] Belharbi et al. 2021, arXiv:2010.04889.
    .. [2] Gorriz et al. 2017, arXiv:1711.09168.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> X_pool = toy_images(5)
    >>> mc_variance_score(ToySegmenter(), X_pool, random_state=0).shape
    (5,)
    """
    if released_form(
        "mc_variance_axis", mc_variance_axis, "draws", "all", aggregate, target, return_maps
    ):
        aggregate = functools.partial(released_variance, n_draws=n_draws)
    return draws_score(
        learner, X_pool, "mc_variance", aggregate, target, n_draws, random_state, return_maps
    )


def mc_variance_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    aggregate="mean",
    target=None,
    n_draws=20,
    mc_variance_axis="draws",
):
    """Ask about the images of the largest `mc_variance_score`.

    Parameters
    ----------
    learner, X_pool, aggregate, target, n_draws, mc_variance_axis
        As in `mc_variance_score`.
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides the draws, and between equal scores. None leaves the draws to the estimator.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Positions in the pool, best first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `mc_variance_score`.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> X_pool = toy_images(5)
    >>> mc_variance_sampling(ToySegmenter(), X_pool, n_instances=3, random_state=0).shape
    (3,)
    """
    score = functools.partial(
        mc_variance_score,
        aggregate=aggregate,
        target=target,
        n_draws=n_draws,
        mc_variance_axis=mc_variance_axis,
    )
    return ask_images(score, learner, X_pool, n_instances, random_state)


def bald_score(
    learner,
    X_pool,
    random_state=None,
    *,
    aggregate="mean",
    target=None,
    n_draws=20,
    return_maps=False,
):
    """Mutual information between the prediction and the weights, by draws with dropout on.

    High where the draws are sure and contradict each other, low where they agree that the case is
    ambiguous [1]_.

    Parameters
    ----------
    learner, X_pool, random_state, aggregate, target, n_draws, return_maps
        As in `mc_variance_score`.

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        In nats; larger is more worth asking; 0 where all draws agree.
    maps : ndarray of shape (n_pool, H, W), or (n_pool,) of arrays; with `return_maps`

    Raises
    ------
    TypeError
        If the estimator cannot draw.

    References
    ----------
    .. [1] Houlsby et al. 2011, arXiv:1112.5745.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> X_pool = toy_images(5)
    >>> bald_score(ToySegmenter(), X_pool, random_state=0).shape
    (5,)
    """
    return draws_score(
        learner, X_pool, "bald", aggregate, target, n_draws, random_state, return_maps
    )


def bald_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    aggregate="mean",
    target=None,
    n_draws=20,
):
    """Ask about the images of the largest `bald_score`.

    Parameters
    ----------
    learner, X_pool, aggregate, target, n_draws
        As in `bald_score`.
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides the draws, and between equal scores. None leaves the draws to the estimator.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Positions in the pool, best first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `bald_score`.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> X_pool = toy_images(5)
    >>> bald_sampling(ToySegmenter(), X_pool, n_instances=3, random_state=0).shape
    (3,)
    """
    score = functools.partial(bald_score, aggregate=aggregate, target=target, n_draws=n_draws)
    return ask_images(score, learner, X_pool, n_instances, random_state)


def predicted_dice_score(learner, X_pool, random_state=None, *, n_draws=20, return_maps=False):
    """One minus the Dice that draws with dropout on have with one another, expected.

    Masks that agree between draws agree with the truth, too: the expected Dice of two draws, one
    structure at a time, predicts the Dice of the mask [1]_ [2]_. What is predicted to be bad is
    asked first. Of a committee's members: ``committee_score(method="pairwise_dice")``.

    Parameters
    ----------
    learner, X_pool, random_state, n_draws
        As in `mc_variance_score`. Memory is a byte for each pixel of a batch and each draw.
    return_maps : bool, default=False
        Return maps too, which are constant: a Dice is of a whole image.

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        In [0, 1]; the mean over the pixel classes above 0 that any draw predicts, 0 where there is
        none.
    maps : ndarray of shape (n_pool, H, W), or (n_pool,) of arrays; with `return_maps`

    Raises
    ------
    TypeError
        If the estimator cannot draw.

    References
    ----------
    .. [1] Roy et al. 2018, arXiv:1804.07046, the Dice agreement in Monte Carlo samples, 1 minus it.
    .. [2] Hoebel et al. 2020, SPIE Medical Imaging, doi:10.1117/12.2548722.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> predicted_dice_score(ToySegmenter(), toy_images(5), random_state=0).shape
    (5,)
    """
    return draws_score(
        learner, X_pool, "pairwise_dice", "mean", "mask", n_draws, random_state, return_maps
    )


def predicted_dice_sampling(learner, X_pool, n_instances=1, random_state=None, *, n_draws=20):
    """Ask about the images of the largest `predicted_dice_score`: the worst Dice expected.

    Parameters
    ----------
    learner, X_pool, n_draws
        As in `predicted_dice_score`.
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides the draws, and between equal scores. None leaves the draws to the estimator.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `predicted_dice_score`.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> predicted_dice_sampling(ToySegmenter(), toy_images(5), 3, random_state=0).shape
    (3,)
    """
    score = functools.partial(predicted_dice_score, n_draws=n_draws)
    return ask_images(score, learner, X_pool, n_instances, random_state)
