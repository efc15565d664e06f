"""Doubt and spread in one: CLUE, DPP, ranked batches, class-stratified power sampling."""

import numpy as np

from alseg.derived import uncertainty_of
from alseg.interfaces import MaskProbabilities, Uncertainty, meets
from alseg.query import DRAW_UNCERTAINTIES, UNCERTAINTIES, floating, shares, stochastic_top_n, top_n
from alseg.query.diversity import Points, dpp_picks, k_means, squared
from alseg.strategies._shared import check_pool, last_step
from alseg.strategies.around_others import now, scores_of
from alseg.strategies.embedding import embeddings_of
from alseg.strategies.informativeness import entropy_score
from alseg.strategies.representative import WithoutTraining
from alseg.strategies.wrappers import finite, pool_embeddings
from alseg.validation import check_number, check_option, check_rng, message, seed_of


def _nonnegative(scores, score):
    top_n(scores, 1, 0)  # NaN is an error there
    if (scores < 0).any():
        raise ValueError(message("scores", ">= 0", float(scores.min()), f"From {score}."))
    return scores


# -- CLUE --

N_STARTS = 3  # of k-means; the best is taken
_BLOCK = 4096  # rows in double precision at once


def clue_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    score=entropy_score,
    embedding=None,
    y_pool=None,
):
    """Ask about the images nearest to the centres of a k-means weighted by doubt (CLUE [1]_).

    Centres lie where there are many images, or a few that are very uncertain.

    Parameters
    ----------
    learner : what `score` needs
        Its estimator needs `transform`, if `embedding` is None.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
        Also the number of clusters.
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides where the clusters start.
    score : callable, default=entropy_score
        The weights, not negative; where all are 0 they count alike. In [1]_ the entropy of the
        label, at a soft-max temperature of 0.1 to 1:
        ``functools.partial(entropy_score, target="label")`` has temperature 1.
    embedding : None, str, callable or array, default=None
        None is the estimator's `transform`; see `alseg.strategies.embedding.embeddings_of`.
    y_pool : array-like of shape (n_pool,) or None
        Handed on to a score that names it.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        That of the heaviest cluster first. Of two centres with one nearest image, the lighter takes
        the next nearest, so that with fewer different points than clusters there are enough.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid, scores are negative, or a number is not finite.

    References
    ----------
    .. [1] Prabhu et al. 2021, arXiv:2010.08666.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> clue_sampling(ToySegmenter(), toy_images(5), 2, random_state=0).shape
    (2,)
    """
    n_instances = check_pool(X_pool, n_instances)
    rng = check_rng(random_state)
    weights = scores_of(score, learner, X_pool, seed_of(random_state, rng), y_pool)
    weights = _nonnegative(weights, score)
    weights = weights if weights.any() else np.ones(len(weights))
    points = Points(pool_embeddings(learner, X_pool, embedding))
    fits = [k_means([points], n_instances, weights, rng) for _ in range(N_STARTS)]
    centres, groups, _ = min(fits, key=lambda fit: float(weights @ fit[2]))
    mass = np.bincount(groups, weights, minlength=n_instances)
    centres = np.where(np.isnan(centres), 0, centres).astype(points.dtype)  # empty ones come last
    centres_sq = np.einsum("ij,ij->i", centres, centres)
    away = np.empty((points.n, n_instances), points.dtype)
    for part, rows in points.blocks():
        away[part] = squared(rows, points.sq[part], centres, centres_sq)
    picked = []
    for cluster in np.argsort(-mass, kind="stable"):
        picked.append(int(away[:, cluster].argmin()))
        away[picked[-1]] = np.inf
    return np.array(picked)


# -- DPP --


def dpp_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    score=entropy_score,
    power=1.0,
    embedding=None,
    y_pool=None,
):
    """The likeliest batch of a determinantal point process of quality and likeness, greedily [1]_.

    Of all batches that with the largest ``det L``, where ``L_ij = q_i q_j cos(x_i, x_j)`` and
    ``q = score ** power``: unsure images, none like another.

    Parameters
    ----------
    learner : what `score` needs
        Its estimator needs `transform`, if `embedding` is None.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Of the score, and between equal gains.
    score : callable, default=entropy_score
        A score ``f(learner, X_pool) -> (n_pool,)``, not negative; where all are 0 they count alike.
    power : float, default=1.0
        At least 0. 0 looks at likeness alone; the larger, the more doubt counts.
    embedding : None, str, callable or array, default=None
        None is the estimator's `transform`; see `alseg.strategies.embedding.embeddings_of`.
    y_pool : array-like of shape (n_pool,) or None
        Handed on to a score that names it.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        In the order picked, see `alseg.query.diversity.dpp_picks`. Labelled images are not
        looked at: a score knows of them.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid, scores are negative, or a number is not finite.

    References
    ----------
    .. [1] Bıyık et al. 2019, arXiv:1906.07975, section IV; greedily as Chen et al. 2018,
       arXiv:1709.05135, Algorithm 1.

    Examples
    --------
    >>> X_pool = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    >>> dpp_sampling(None, X_pool, 2, score=lambda learner, X: [1, 0.9, 0.5], embedding="input")
    array([0, 2])
    """
    n_instances = check_pool(X_pool, n_instances)
    check_number("power", power, 0)
    rng = check_rng(random_state)
    scores = scores_of(score, learner, X_pool, seed_of(random_state, rng), y_pool)
    quality = _nonnegative(scores, score) ** power
    points, _ = embeddings_of(WithoutTraining(learner), X_pool, embedding)  # may be memory-mapped
    return dpp_picks(points, n_instances, quality, rng)


# -- ranked batches --


def ranked_batch_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    score=entropy_score,
    embedding=None,
    scale=True,
    y_pool=None,
):
    """Ask one by one for doubt and for distance from all that is labelled or picked [1]_.

    With ``a = n_unlabelled / (n_unlabelled + n_labelled)``, the next image has the largest
    ``a (1 - s) + (1 - a) score``, where ``s = 1 / (1 + d)`` for the distance d to the nearest
    labelled or picked one: distance counts while little is labelled, doubt later.

    Parameters
    ----------
    learner : what `score` needs
        What it holds in `X_training` counts as labelled; a bare estimator has none.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal ones.
    score : callable, default=entropy_score
        A score ``f(learner, X_pool) -> (n_pool,)``.
    embedding : None, str, callable, array or pair of arrays, default=None
        Of the pool and of `X_training`; None is the estimator's `transform`. See
        `alseg.strategies.embedding.embeddings_of`.
    scale : bool, default=True
        Bring the scores, and the distances by their mean, to the range that the formula weighs
        alike: a mean entropy of pixels is often below 0.1. False is the formula as published.
    y_pool : array-like of shape (n_pool,) or None
        Handed on to a score that names it.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        In the order picked. Where nothing is labelled the largest score is first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid, or a number is not finite.

    References
    ----------
    .. [1] Cardoso et al. 2017, Information Sciences, doi:10.1016/j.ins.2016.10.037; modAL's
       ``ranked_batch`` is the same with ``scale=False``.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> ranked_batch_sampling(ToySegmenter(), toy_images(5), 2, random_state=0).shape
    (2,)
    """
    n_instances = check_pool(X_pool, n_instances)
    rng = check_rng(random_state)
    scores = scores_of(score, learner, X_pool, seed_of(random_state, rng), y_pool)
    top_n(scores, 1, 0)  # NaN is an error there
    points, known = embeddings_of(learner, X_pool, embedding)
    points = finite(points)
    n_labelled = 0 if known is None else len(known)
    near = np.full(len(points), np.inf)
    if n_labelled:
        known = finite(known).astype(np.float64)
        if known.shape[1] != points.shape[1]:
            rule = f"of {points.shape[1]} features, as the pool"
            raise ValueError(message("embeddings of X_training", rule, known.shape[1]))
        for one in known:  # n distances at a time, however many are labelled
            np.minimum(near, _distances(points, one), out=near)
    unit = 1.0
    if scale:
        spread = np.ptp(scores)
        scores = (scores - scores.min()) / spread if spread > 0 else np.zeros(len(scores))
        middle = _distances(points, points.mean(axis=0, dtype=np.float64)).mean()
        unit = middle if middle > 0 else 1.0
    order = rng.permutation(len(points))  # decides between equal ones
    open_ = np.ones(len(points), bool)
    picked = []
    while len(picked) < n_instances:
        share = open_.sum() / (open_.sum() + n_labelled + len(picked))
        value = share * (1 - 1 / (1 + near / unit)) + (1 - share) * scores
        if np.isinf(near[0]):  # nothing to be far from: doubt alone
            value = scores
        value = np.where(open_, value, -np.inf)
        picked.append(int(order[value[order].argmax()]))
        open_[picked[-1]] = False
        np.minimum(near, _distances(points, points[picked[-1]]), out=near)
    return np.array(picked)


def _distances(points, one):
    """Of each point to one, in double precision, a block at a time."""
    found = np.empty(len(points))
    for start in range(0, len(points), _BLOCK):
        rows = points[start : start + _BLOCK].astype(np.float64)
        found[start : start + _BLOCK] = np.linalg.norm(rows - one, axis=1)
    return found


# -- ClaSP --


class _ClassMeans:
    """An aggregation that also keeps the mean of each predicted class's own pixels.

    Estimators aggregate a pool in order, so that the rows kept are the images.
    """

    __name__ = "class means"

    def __init__(self):
        self.kept = []

    def __call__(self, maps, mask_proba):
        maps, proba = floating(maps), floating(mask_proba)
        labels = proba.argmax(axis=1)
        rows = []
        for c in range(proba.shape[1]):
            inside = (labels == c) * (maps * 0 + 1)
            n = inside.sum(axis=(1, 2))
            total = (maps * inside).sum(axis=(1, 2)) / n.clip(min=1)
            rows.append(np.asarray(total.cpu() if hasattr(total, "cpu") else total, dtype=float))
        self.kept.append(np.stack(rows, axis=1))
        return maps.mean(axis=(1, 2))


def clasp_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    method="entropy",
    stratified=0.66,
    beta=1.0,
):
    """Part of the questions by turns for each pixel class, all drawn with power noise (ClaSP [1]_).

    A share of the questions goes to the predicted pixel classes in turn: each draws an image by
    the mean doubt of its own pixels, so that a rare class is asked about as often as the
    background. The rest is drawn by the mean doubt of the whole image. Draws are in proportion to
    ``score ** beta``.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        With `predict_uncertainty`.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
    method : str, default="entropy"
        What `predict_uncertainty` measures.
    stratified : float in [0, 1], default=0.66
        The share; what it leaves of a question is drawn.
    beta : float, or callable ``f(n_labelled) -> float``, default=1.0
        Larger is less noise; let it grow with `ramp` to let the noise decay as in [1]_.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Those of the classes first, taking turns.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid, or a score is negative or not finite.

    References
    ----------
    .. [1] nnActive, Transactions on Machine Learning Research 2025, ClaSP-PE, which asks about
       patches of volumes; here they are images.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> clasp_sampling(ToySegmenter(), toy_images(5), 3, random_state=0).shape
    (3,)
    """
    n_instances = check_pool(X_pool, n_instances)
    check_option("method", method, (*UNCERTAINTIES, *DRAW_UNCERTAINTIES))
    check_number("stratified", stratified, 0, 1)
    rng = check_rng(random_state)
    beta = now(beta, learner)
    remedy = "ClaSP asks by the doubt of pixels."
    estimator, X_pool = last_step(learner, X_pool)
    if not (meets(estimator, MaskProbabilities) or meets(estimator, Uncertainty)):
        raise TypeError(message("learner", "with `predict_mask_proba`", estimator, remedy))
    means = _ClassMeans()
    options = {"random_state": seed_of(random_state, rng)} if method in DRAW_UNCERTAINTIES else {}
    scores = uncertainty_of(estimator, X_pool, method=method, aggregate=means, **options)
    scores = _nonnegative(np.asarray(scores, dtype=float), method)
    by_class = np.concatenate(means.kept)  # (n_pool, C)
    n_by_class = shares([stratified, 1 - stratified], n_instances, rng)[0]

    taken = np.zeros(len(scores), bool)
    picked = []
    # A class predicted nowhere, or nowhere in doubt, has no turn.
    classes = [c for c in rng.permutation(by_class.shape[1]) if by_class[:, c].any()]
    turn = 0
    while len(picked) < n_by_class and classes:
        c = classes[turn % len(classes)]
        mine = np.flatnonzero(~taken & (by_class[:, c] > 0))
        if not len(mine):
            classes.remove(c)
            continue
        one = mine[stochastic_top_n(by_class[mine, c], 1, beta, "power", rng)[0]]
        picked.append(one)
        taken[one] = True
        turn += 1
    left = np.flatnonzero(~taken)
    n_rest = n_instances - len(picked)
    if n_rest:
        rest = left[stochastic_top_n(scores[left], n_rest, beta, "power", rng)]
        picked.extend(rest)
    return np.array(picked, dtype=np.intp)
