"""Several predictions of one image: stochastic draws, a committee's members, a deep ensemble's."""

import functools

import numpy as np

from alseg.derived import either_or, of_images
from alseg.images import as_images, stack
from alseg.interfaces import MaskProbabilities, meets
from alseg.query import DRAW_UNCERTAINTIES, UNCERTAINTIES, needs_mask_proba, sums_for, top_n
from alseg.query import aggregate as aggregate_maps
from alseg.rows import n_rows
from alseg.strategies._shared import (
    ask_images,
    check_map_target,
    check_pool,
    check_shape,
    draws_score,
    estimator_of,
    target_of,
)
from alseg.validation import check_option, message

CHUNK = 16  # images whose probabilities are held at once


def mc_dropout_score(
    learner,
    X_pool,
    random_state=None,
    *,
    method="predictive_entropy",
    aggregate="mean",
    target=None,
    n_draws=20,
    return_maps=False,
):
    """Any measure of draws with dropout on; by default the entropy of their mean (DBAL [1]_).

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        With `predict_uncertainty` and a dropout, such as `JointCAMSegmenter`.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides the draws; None leaves them to the estimator's own `random_state`.
    method : str, default="predictive_entropy"
        A name in `alseg.query.DRAW_UNCERTAINTIES`: "mc_variance", "bald",
        "mean_deviation", "predictive_entropy", "expected_entropy", "vote_entropy",
        "variation_ratio", "pairwise_dice".
    aggregate : str or callable, default="mean"
        From the pixels to the image, see `alseg.query.aggregate`; not used for labels.
    target : {"mask", "label"} or None, default=None
        None is "mask", and "label" of a model that gives no masks.
        Whose uncertainty: the pixels' classes, or the image's class.
    n_draws : int, default=20
    return_maps : bool, default=False
        Return the maps too, each at its image's own size.

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        Larger is more worth asking.
    maps : ndarray of shape (n_pool, H, W), or (n_pool,) of arrays; with `return_maps`

    Raises
    ------
    TypeError
        If the estimator cannot draw.
    ValueError
        If there is no such measure.

    References
    ----------
    .. [1] Gal et al. 2017, arXiv:1703.02910.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> mc_dropout_score(ToySegmenter(), toy_images(5), 0, method="variation_ratio").shape
    (5,)
    """
    check_option("method", method, DRAW_UNCERTAINTIES)
    return draws_score(
        learner, X_pool, method, aggregate, target, n_draws, random_state, return_maps
    )


def mc_dropout_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    method="predictive_entropy",
    aggregate="mean",
    target=None,
    n_draws=20,
):
    """Ask about the images of the largest `mc_dropout_score`.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides the draws, and between equal scores.
    method, aggregate, target, n_draws
        As in `mc_dropout_score`.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Positions in the pool, best first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `mc_dropout_score`.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> mc_dropout_sampling(ToySegmenter(), toy_images(5), 2, random_state=0).shape
    (2,)
    """
    n_instances = check_pool(X_pool, n_instances)
    scores = mc_dropout_score(
        learner,
        X_pool,
        random_state,
        method=method,
        aggregate=aggregate,
        target=target,
        n_draws=n_draws,
    )
    return top_n(scores, n_instances, random_state)


def members_of(learner):
    """The fitted estimators of a committee.

    Parameters
    ----------
    learner : Committee, sequence of estimators or learners, or ensemble
        What has `learner_list` (our `Committee` and modAL's), a list or tuple, or an estimator
        (or a learner around it) with `estimators_`, such as `DeepEnsemble` and scikit-learn's
        ensembles.

    Returns
    -------
    members : list

    Raises
    ------
    TypeError
        If it has no members.
    ValueError
        If there is only one: it cannot disagree with itself.

    Examples
    --------
    >>> members_of(["one model", "another"])
    ['one model', 'another']
    """
    owner = learner
    if not isinstance(learner, (list, tuple)) and not hasattr(learner, "learner_list"):
        owner = estimator_of(learner)
    if hasattr(owner, "learner_list"):
        found = owner.learner_list
    elif isinstance(owner, (list, tuple)):
        found = owner
    else:
        found = getattr(owner, "estimators_", None)
    if found is None:
        remedy = "Take a Committee, a DeepEnsemble, or a list of fitted estimators."
        raise TypeError(message("learner", "a committee of estimators", learner, remedy))
    members = [estimator_of(member) for member in found]
    if len(members) < 2:
        rule = "a committee of at least 2 members"
        remedy = "One cannot disagree with itself."
        raise ValueError(message("learner", rule, len(members), remedy))
    return members


def _label_probas(learner, members, X_pool):
    """Class probabilities of each member, (n, K) over the classes that any of them knows."""
    owner = estimator_of(learner) if not isinstance(learner, (list, tuple)) else learner
    subsets = getattr(owner, "estimators_features_", None)  # of bagging over features
    probas, known = [], []
    for i, member in enumerate(members):
        X = X_pool if subsets is None else np.asarray(X_pool)[:, subsets[i]]
        probas.append(np.asarray(member.predict_proba(X), dtype=float))
        if probas[-1].ndim != 2:
            rule = "of shape (n_samples, n_classes)"
            raise ValueError(message(f"members[{i}].predict_proba", rule, probas[-1].shape))
        known.append(np.asarray(getattr(member, "classes_", np.arange(probas[-1].shape[1]))))
    classes = np.unique(np.concatenate(known))
    for proba, own in zip(probas, known, strict=True):
        full = np.zeros((len(proba), len(classes)))  # a class never seen has probability 0
        full[:, np.searchsorted(classes, own)] = proba
        yield full


def committee_score(
    learner,
    X_pool,
    *,
    method="vote_entropy",
    aggregate="mean",
    target=None,
    members=None,
    return_maps=False,
):
    """How much the members of a committee disagree, on pixels or on the image's class.

    Every measure of stochastic draws is one of members too: "vote_entropy" [1]_; "bald", which is
    the mean Kullback-Leibler divergence of a member from the mean of all [2]_; "mc_variance", that
    of a deep ensemble [3]_; "predictive_entropy", the entropy of the consensus. The pool is
    predicted a chunk at a time, and only sums over the members are kept.

    Parameters
    ----------
    learner : Committee, ensemble, or list of estimators
        See `members_of`.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    method : str, default="vote_entropy"
        A name in `alseg.query.DRAW_UNCERTAINTIES`.
    aggregate : str or callable, default="mean"
        From the pixels to the image, see `alseg.query.aggregate`; not used for labels. Maps
        are of each image's own size: "sum" and "max" favour large images.
    target : {"mask", "label"} or None, default=None
        None is "mask", and "label" of a model that gives no masks.
        Disagreement about the pixels' classes (members need `predict_mask_proba`), or about the
        image's class (`predict_proba`). A class that a member has not seen has probability 0.
    members : list of estimators or None, default=None
        The committee, where `learner` is not one.
    return_maps : bool, default=False
        Return the maps too, each at its image's own size.

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        Larger is more worth asking; 0 where all agree (but for the entropies).
    maps : ndarray of shape (n_pool, H, W), or (n_pool,) of arrays; with `return_maps`

    Raises
    ------
    TypeError
        If there is no committee, or a member cannot predict what is asked.
    ValueError
        If it has a single member, or an option is unknown.

    References
    ----------
    .. [1] Dagan and Engelson 1995, ICML, Committee-based sampling.
    .. [2] McCallum and Nigam 1998, ICML, Employing EM and pool-based active learning.
    .. [3] Lakshminarayanan et al. 2017, arXiv:1612.01474.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> X, y = np.array([[0.0], [1.0], [4.0], [5.0]]), [0, 0, 1, 1]
    >>> pair = [GaussianNB().fit(X, y), GaussianNB().fit(X + 1, y)]
    >>> committee_score(pair, [[0.0], [3.0]], target="label").round(3)
    array([0.   , 0.693])
    """
    check_option("method", method, DRAW_UNCERTAINTIES)
    needs_mask_proba(aggregate)
    members = members_of(learner if members is None else members)
    target = target_of(learner, target, members)
    check_map_target(target, return_maps)
    n_pool = n_rows(X_pool)
    if target == "label":
        for member in members:
            if not hasattr(member, "predict_proba"):
                raise TypeError(message("members", "with `predict_proba`", member))
        sums = sums_for(method, axis=1)
        for proba in _label_probas(learner, members, X_pool):
            sums.add(either_or(members[0], proba))
        return check_shape(of_images(DRAW_UNCERTAINTIES[method](sums)), n_pool)
    for member in members:
        if not meets(member, MaskProbabilities):
            remedy = "Classifiers can disagree about labels: target='label'."
            raise TypeError(message("members", "with `predict_mask_proba`", member, remedy))
    images = as_images(X_pool)
    predictions = (
        [member.predict_mask_proba(images.take(idx)) for member in members]
        for idx in chunks(n_pool)
    )
    return pixel_scores(predictions, method, aggregate, return_maps)


def chunks(n_pool):
    """Positions of a pool, `CHUNK` at a time.

    Examples
    --------
    >>> [len(idx) for idx in chunks(20)]
    [16, 4]
    """
    return (np.arange(i, min(i + CHUNK, n_pool)) for i in range(0, n_pool, CHUNK))


def pixel_scores(predictions, method, aggregate, return_maps=False):
    """Scores from several predictions of the same images.

    Parameters
    ----------
    predictions : iterable, one item a chunk of images
        Each an iterable of the predictions of the chunk, ndarray of shape (b, C, H, W) or a
        sequence of b (C, H, W), all in the same geometry. They are looked at one by one.
    method : str
        A name in `alseg.query.DRAW_UNCERTAINTIES`, or in `UNCERTAINTIES` for that measure of
        their mean.
    aggregate : str or callable
    return_maps : bool, default=False

    Returns
    -------
    score : ndarray of shape (n,), float
    maps : ndarray of shape (n, H, W), or (n,) of arrays; with `return_maps`

    Examples
    --------
    >>> one, other = np.zeros((2, 1, 2, 2, 2))
    >>> one[:, 0], other[:, 1] = 1, 1  # all background, all foreground
    >>> pixel_scores([[one, other]], "variation_ratio", "mean")
    array([0.5])
    """
    scores, maps = [], []
    for chunk in predictions:
        sums = None
        for prediction in chunk:
            if sums is None:
                kept = "bald" if method in UNCERTAINTIES else method
                sums = [sums_for(kept, axis=0) for _ in range(len(prediction))]
            for one, proba in zip(sums, prediction, strict=True):
                one.add(proba)
        for one in sums:
            proba = np.asarray(one.mean())
            if method in UNCERTAINTIES:
                values = UNCERTAINTIES[method](proba, axis=0)
            else:
                values = np.asarray(DRAW_UNCERTAINTIES[method](one))
            scores.append(aggregate_maps(values[None], aggregate, mask_proba=proba[None])[0])
            if return_maps:
                maps.append(values.astype(np.float32))
    scores = np.array(scores, dtype=float)
    return (scores, stack(maps)) if return_maps else scores


def committee_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    method="vote_entropy",
    aggregate="mean",
    target=None,
    members=None,
):
    """Ask about the images that a committee disagrees about most.

    Parameters
    ----------
    learner : Committee, ensemble, or list of estimators
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal scores, of which votes give many.
    method, aggregate, target, members
        As in `committee_score`.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Positions in the pool, best first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `committee_score`.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> X, y = np.array([[0.0], [1.0], [4.0], [5.0]]), [0, 0, 1, 1]
    >>> pair = [GaussianNB().fit(X, y), GaussianNB().fit(X + 1, y)]
    >>> committee_sampling(pair, [[0.0], [3.0]], target="label")
    array([1])
    """
    score = functools.partial(
        committee_score, method=method, aggregate=aggregate, target=target, members=members
    )
    return ask_images(score, learner, X_pool, n_instances, random_state)
