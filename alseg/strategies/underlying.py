"""The score that a strategy rests on, so that it can be asked for once, in parts, or kept."""

import functools
from typing import Any

from alseg.calling import accepts, unit_of
from alseg.query import top_n
from alseg.strategies import (
    disagreement as committee,
)
from alseg.strategies import (
    domain,
    representative,
    stochastic,
    typical,
    variational,
)
from alseg.strategies import (
    expected_change as gradients,
)
from alseg.strategies import (
    expected_error as learning_loss,
)
from alseg.strategies import (
    informativeness as uncertainty,
)
from alseg.strategies import (
    two_views as consistency,
)
from alseg.strategies.balance import class_balanced_sampling
from alseg.strategies.wrappers import stochastic_batches_sampling, stochastic_sampling

# Scores that compare an image with the others of the pool, which has other scores in a part of it,
# or that train first: they are asked as strategies are, about one random part.
_COMPARE = frozenset(
    {
        domain.aada_score,
        typical.bal_score,
        variational.vaal_score,
        representative.cdal_score,
        representative.core_set_score,
        typical.density_score,
        typical.density_weighted_score,
        representative.discriminative_score,
        representative.facility_location_score,
        representative.prob_cover_score,
        typical.typicality_score,
        learning_loss.learning_loss_score,
    }
)

# Strategies that take the images of the largest score, and that score.
_LARGEST: dict[Any, Any] = {
    uncertainty.entropy_sampling: uncertainty.entropy_score,
    uncertainty.least_confidence_sampling: uncertainty.least_confidence_score,
    uncertainty.margin_sampling: uncertainty.margin_score,
    stochastic.mc_variance_sampling: stochastic.mc_variance_score,
    stochastic.bald_sampling: stochastic.bald_score,
    committee.committee_sampling: committee.committee_score,
    committee.mc_dropout_sampling: committee.mc_dropout_score,
    consistency.tta_sampling: consistency.tta_score,
    consistency.cam_disagreement_sampling: consistency.cam_disagreement_score,
    gradients.egl_sampling: gradients.egl_score,
}

# Wrappers that need no more than a score of each image, and the argument that it stands in.
AROUND = {
    class_balanced_sampling: "score",
    stochastic_sampling: "score",
    stochastic_batches_sampling: "score",
}


def score_beside(strategy):
    """The score of which a strategy takes the images of the largest values, options included.

    Parameters
    ----------
    strategy : callable

    Returns
    -------
    score : callable ``f(learner, X_pool) -> (n_pool,)``, or None
        None where it is not one of alseg's that do so (such as `core_set_sampling`, which compares
        images), or asks about parts of images.

    Examples
    --------
    >>> from alseg.strategies import by_region, entropy_sampling
    >>> score_beside(entropy_sampling).__name__
    'entropy_score'
    >>> score_beside(functools.partial(entropy_sampling, aggregate="max")).keywords
    {'aggregate': 'max'}
    >>> score_beside(by_region()) is None
    True
    """
    if unit_of(strategy) != "image":
        return None
    options, function = {}, strategy
    if isinstance(strategy, functools.partial) and not strategy.args:
        options, function = dict(strategy.keywords), strategy.func
    score = _LARGEST.get(function) if _is_hashable(function) else None
    if score is None or not all(accepts(score, name) for name in options):
        return None
    return functools.partial(score, **options) if options else score


def by_image(score):
    """Whether a score sees each image alone, so that it may be asked about a few at a time.

    Of one that is not alseg's this is taken for granted: write a strategy where it is not so.

    Parameters
    ----------
    score : callable
        A score, with its options in a `functools.partial` or not.

    Returns
    -------
    bool

    Examples
    --------
    >>> from alseg.strategies import density_score, entropy_score
    >>> by_image(entropy_score), by_image(density_score)
    (True, False)
    """
    while isinstance(score, functools.partial):
        score = score.func
    return not (_is_hashable(score) and score in _COMPARE)


def inside(strategy, around=None):
    """The score, of each image alone, that is all that a strategy needs to know of images.

    Parameters
    ----------
    strategy : callable
        A strategy, or a score itself: its largest are then meant.
    around : dict of functions to names, or None, default=None
        Wrappers to look through, and which of their arguments is the score or the strategy inside.

    Returns
    -------
    score, with_scores : pair of callables, or None
        ``with_scores(values)`` is the strategy for images whose scores are `values`. None where
        there is no such score: the strategy compares images, say.

    Examples
    --------
    >>> import numpy as np
    >>> from alseg.strategies import class_balanced, core_set_sampling
    >>> score, with_scores = inside(class_balanced(uncertainty.entropy_sampling))
    >>> score.__name__
    'entropy_score'
    >>> ask = with_scores(np.array([0.1, 0.9, 0.5, 0.2]))
    >>> sorted(ask(None, list("abcd"), 2, y_pool=["x", "x", "x", "y"]).tolist())
    [1, 3]
    >>> inside(core_set_sampling) is None
    True
    """
    around = AROUND if around is None else around
    if not accepts(strategy, "n_instances"):
        return (strategy, _largest_of) if by_image(strategy) else None
    if isinstance(strategy, functools.partial) and strategy.func in around:
        name = around[strategy.func]
        found = inside(strategy.keywords[name], around) if name in strategy.keywords else None
        if found is None:
            return None
        score, with_scores = found

        def with_these(values):
            # What takes a score is given the values as one, and ranks them in its own way.
            inner = (lambda learner, X_pool: values) if name == "score" else with_scores(values)
            return functools.partial(strategy, **{name: inner})

        return score, with_these
    score = score_beside(strategy)
    return None if score is None else (score, _largest_of)


def _largest_of(values):
    def largest(learner, X_pool, n_instances=1, random_state=None):
        return top_n(values, n_instances, random_state)

    return largest


def _is_hashable(function):
    return getattr(function, "__hash__", None) is not None
