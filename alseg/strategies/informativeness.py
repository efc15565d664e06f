"""Uncertainty of one prediction: least confidence, margin, entropy."""

import functools

from alseg.strategies._shared import ask_images, plain_score
from alseg.strategies.as_released import released_entropy, released_form


def least_confidence_score(learner, X_pool, *, aggregate="mean", target=None, return_maps=False):
    """One minus the probability of the most likely class, of pixels or of the image.

    The formula is `alseg.query.least_confidence`.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        With `predict_uncertainty`; for ``target="label"`` any classifier with
        `predict_proba`.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
        Of one size or of differing sizes.
    aggregate : str or callable, default="mean"
        From the pixels to the image, see `alseg.query.aggregate`; not used for labels.
    target : {"mask", "label"} or None, default=None
        None is "mask", and "label" of a model that gives no masks.
        Whose uncertainty: the pixels' classes, or the image's class.
    return_maps : bool, default=False
        Return the maps too, each at its image's own size (for masks).

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        Larger is more worth asking; for labels in [0, 1 - 1/K].
    maps : ndarray of shape (n_pool, H, W), or (n_pool,) of arrays; with `return_maps`

    Raises
    ------
    TypeError
        If the estimator has no `predict_uncertainty` and `target` is "mask".

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> model = GaussianNB().fit([[0.0], [1.0], [4.0], [5.0]], [0, 0, 1, 1])
    >>> least_confidence_score(model, [[2.5], [0.0]], target="label").round(2)
    array([0.5, 0. ])
    """
    return plain_score(learner, X_pool, "least_confidence", aggregate, target, return_maps)


def least_confidence_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    aggregate="mean",
    target=None,
):
    """Ask about the images of the largest `least_confidence_score`.

    Parameters
    ----------
    learner, X_pool, aggregate, target
        As in `least_confidence_score`.
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal scores.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Positions in the pool, best first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `least_confidence_score`.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> model = GaussianNB().fit([[0.0], [1.0], [4.0], [5.0]], [0, 0, 1, 1])
    >>> least_confidence_sampling(model, [[0.0], [2.4], [5.0]], target="label")
    array([1])
    """
    score = functools.partial(least_confidence_score, aggregate=aggregate, target=target)
    return ask_images(score, learner, X_pool, n_instances, random_state)


def margin_score(learner, X_pool, *, aggregate="mean", target=None, return_maps=False):
    """One minus the gap between the two most likely classes, of pixels or of the image.

    The formula is `alseg.query.margin`.

    Parameters
    ----------
    learner, X_pool, aggregate, target, return_maps
        As in `least_confidence_score`.

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        Larger is more worth asking; for labels in [0, 1].
    maps : ndarray of shape (n_pool, H, W), or (n_pool,) of arrays; with `return_maps`

    Raises
    ------
    TypeError
        If the estimator has no `predict_uncertainty` and `target` is "mask".

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> model = GaussianNB().fit([[0.0], [1.0], [4.0], [5.0]], [0, 0, 1, 1])
    >>> margin_score(model, [[2.5], [0.0]], target="label").round(2)
    array([1., 0.])
    """
    return plain_score(learner, X_pool, "margin", aggregate, target, return_maps)


def margin_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    aggregate="mean",
    target=None,
):
    """Ask about the images of the largest `margin_score`.

    Parameters
    ----------
    learner, X_pool, aggregate, target
        As in `margin_score`.
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal scores.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Positions in the pool, best first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `margin_score`.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> model = GaussianNB().fit([[0.0], [1.0], [4.0], [5.0]], [0, 0, 1, 1])
    >>> margin_sampling(model, [[0.0], [2.4], [5.0]], target="label")
    array([1])
    """
    score = functools.partial(margin_score, aggregate=aggregate, target=target)
    return ask_images(score, learner, X_pool, n_instances, random_state)


def entropy_score(
    learner,
    X_pool,
    *,
    aggregate="mean",
    target=None,
    return_maps=False,
    entropy_form="binary",
):
    """Entropy of the predicted class probabilities, of pixels or of the image.

    With masks and ``aggregate="mean"`` it is the entropy score of [1]_ in its intended form.

    Parameters
    ----------
    learner, X_pool, aggregate, target, return_maps
        As in `least_confidence_score`.
    entropy_form : {"binary", "released"}, default="binary"
        "released" has a defect of the code of [1]_, to compare with: of (p, p) for (1 - p, p), it
        is largest at p = 1 / e, see `alseg.strategies.as_released.released_entropy`.

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        In nats; larger is more worth asking. For labels in [0, log K].
    maps : ndarray of shape (n_pool, H, W), or (n_pool,) of arrays; with `return_maps`

    Raises
    ------
    TypeError
        If the estimator has no `predict_uncertainty` and `target` is "mask".
    ValueError
        If the released form is asked of labels, for maps, or with another `aggregate`.

    References
    ----------
    .. [1] Belharbi et al. 2021, arXiv:2010.04889.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> model = GaussianNB().fit([[0.0], [1.0], [4.0], [5.0]], [0, 0, 1, 1])
    >>> entropy_score(model, [[2.5], [0.0]], target="label").round(2)
    array([0.69, 0.  ])
    """
    if released_form(
        "entropy_form", entropy_form, "binary", "released", aggregate, target, return_maps
    ):
        aggregate = released_entropy
    return plain_score(learner, X_pool, "entropy", aggregate, target, return_maps)


def entropy_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    aggregate="mean",
    target=None,
    entropy_form="binary",
):
    """Ask about the images of the largest `entropy_score`.

    Parameters
    ----------
    learner, X_pool, aggregate, target, entropy_form
        As in `entropy_score`.
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal scores.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Positions in the pool, best first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `entropy_score`.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> model = GaussianNB().fit([[0.0], [1.0], [4.0], [5.0]], [0, 0, 1, 1])
    >>> entropy_sampling(model, [[0.0], [2.4], [5.0]], target="label")
    array([1])
    """
    options = {"aggregate": aggregate, "target": target, "entropy_form": entropy_form}
    score = functools.partial(entropy_score, **options)
    return ask_images(score, learner, X_pool, n_instances, random_state)
