"""What the strategies share: the pool as rows, the estimator behind a learner, its scores."""

import numpy as np

from alseg.calling import call
from alseg.derived import doubt_of_labels, uncertainty_of
from alseg.interfaces import (
    MaskProbabilities,
    Uncertainty,
    before_and_last,
    estimator_of,
    is_multilabel,
    meets,
)
from alseg.query import needs_mask_proba, top_n
from alseg.rows import n_rows
from alseg.validation import (
    check_n_instances,
    check_number,
    check_option,
    check_rng,
    message,
    seed_of,
)

TARGETS = ("mask", "label")


def check_pool(X_pool, n_instances):
    """`n_instances` as an int, checked against the pool before anything costly is done."""
    return check_n_instances(n_instances, n_rows(X_pool))


def last_step(learner, X_pool):
    """The estimator behind `learner`, and the pool as it sees it: the last step of a `Pipeline`."""
    before, last = before_and_last(estimator_of(learner))
    return last, X_pool if before is None else before(X_pool)


def check_one_class(learner, remedy):
    """Refuse images of several classes, for what goes by the one class of an image."""
    if is_multilabel(learner):
        rule = "one class an image, for a strategy that goes by it"
        raise ValueError(message("labels", rule, "several classes an image", remedy))


def target_of(learner, target, models=None):
    """Whose doubt is meant: the pixels', or of a model that gives no masks the image's.

    Parameters
    ----------
    learner : object
    target : {"mask", "label"} or None
        None is "mask" where the model gives probabilities of pixels or uncertainties of its own.
    models : list or None, default=None
        The models that are asked, where they are not the one behind `learner`.

    Returns
    -------
    {"mask", "label"}
    """
    if target is not None:
        return check_option("target", target, TARGETS)
    models = [estimator_of(learner)] if models is None else models
    lasts = [before_and_last(model)[1] for model in models]
    sees = all(meets(last, MaskProbabilities) or meets(last, Uncertainty) for last in lasts)
    return "mask" if sees else "label"


def check_estimator(learner, X_pool, remedy):
    """The estimator with `predict_uncertainty` behind `learner`, and the pool as it sees it.

    Raises
    ------
    TypeError
        If there is none; `remedy` says what to do.
    """
    last, X_pool = last_step(learner, X_pool)
    if not meets(last, Uncertainty):
        raise TypeError(message("learner", "with `predict_uncertainty`", last, remedy))
    return last, X_pool


def check_shape(scores, n_pool):
    """Scores as a float vector, one for each image of the pool."""
    scores = np.asarray(scores, dtype=float)
    if scores.shape != (n_pool,):
        raise ValueError(message("scores", f"of shape ({n_pool},), one an image", scores.shape))
    return scores


def check_map_target(target, return_maps):
    """Only masks have maps, and so parts to ask about."""
    if return_maps and target != "mask":
        raise ValueError(message("target", "'mask' for maps and parts of images", target))


def check_maps(result, n_pool):
    """Scores (n_pool,) and maps, one an image, of what was asked with ``return_maps=True``."""
    scores, maps = result
    if len(maps) != n_pool:
        raise ValueError(message("maps", f"one for each of the {n_pool} images", len(maps)))
    return check_shape(scores, n_pool), maps


def plain_score(learner, X_pool, method, aggregate, target, return_maps=False):
    """Scores of one deterministic prediction; `method` is a name in `UNCERTAINTIES`.

    `target` may be "border" too, of a model that learns borders of objects. With `return_maps` the
    maps too, each at its image's own size.
    """
    needs_mask_proba(aggregate)  # an unknown name is an error before anything is fitted
    if target != "border":
        target = target_of(learner, target)
        check_map_target(target, return_maps)
    n_pool = n_rows(X_pool)
    if target != "label":
        last, X_pool = last_step(learner, X_pool)
        if not (meets(last, MaskProbabilities) or meets(last, Uncertainty)):
            remedy = "It can do target='label', which target=None takes by itself."
            rule = "with `predict_mask_proba` or `predict_uncertainty`"
            raise TypeError(message("learner", rule, last, remedy))
        options = {"return_maps": True} if return_maps else {}
        scores = uncertainty_of(
            last, X_pool, method=method, aggregate=aggregate, target=target, **options
        )
        return check_maps(scores, n_pool) if return_maps else check_shape(scores, n_pool)
    # The learner's own if it has it: a search, a committee or a bagging predicts as a whole.
    model = learner if hasattr(learner, "predict_proba") else estimator_of(learner)
    if not hasattr(model, "predict_proba"):
        raise TypeError(message("learner", "with `predict_proba`", model))
    proba = np.asarray(model.predict_proba(X_pool))
    if proba.ndim != 2:
        rule = "of shape (n_samples, n_classes)"
        raise ValueError(message("predict_proba(X_pool)", rule, proba.shape))
    return check_shape(doubt_of_labels(learner, proba, method), n_pool)


def draws_score(
    learner, X_pool, method, aggregate, target, n_draws, random_state, return_maps=False
):
    """Scores of stochastic draws; `method` is a name in `DRAW_UNCERTAINTIES`.

    With `return_maps` the maps too, each at its image's own size.
    """
    needs_mask_proba(aggregate)
    check_number("n_draws", n_draws, low=2, integer=True)
    target = target_of(learner, target)
    check_map_target(target, return_maps)
    n_pool = n_rows(X_pool)
    remedy = "A plain classifier has no draws: use entropy_sampling with target='label'."
    estimator, X_pool = check_estimator(learner, X_pool, remedy)
    seed = seed_of(random_state, check_rng(random_state))
    scores = estimator.predict_uncertainty(
        X_pool,
        method=method,
        aggregate=aggregate,
        target=target,
        n_draws=n_draws,
        random_state=seed,
        **({"return_maps": True} if return_maps else {}),
    )
    return check_maps(scores, n_pool) if return_maps else check_shape(scores, n_pool)


def ask_images(score, learner, X_pool, n_instances, random_state):
    """The images of the largest score; without a `random_state` its draws are the estimator's."""
    n_instances = check_pool(X_pool, n_instances)
    rng = None if random_state is None else check_rng(random_state)
    return top_n(call(score, learner, X_pool, random_state=rng), n_instances, rng)
