"""Query strategies: ``f(learner, X_pool, n_instances=1, random_state=None, ...) -> query_idx``.

Beside each stands its score ``f_score(learner, X_pool, ...) -> (n_pool,)``, which wrappers such
as `class_balanced` take. Vary an option with `functools.partial`.
"""

from alseg.strategies.balance import class_balanced, class_balanced_sampling
from alseg.strategies.controls import random_sampling, random_score
from alseg.strategies.stochastic import (
    bald_sampling,
    bald_score,
    mc_variance_sampling,
    mc_variance_score,
)
from alseg.strategies.uncertainty import (
    entropy_sampling,
    entropy_score,
    least_confidence_sampling,
    least_confidence_score,
    margin_sampling,
    margin_score,
)

__all__ = [
    "bald_sampling",
    "bald_score",
    "class_balanced",
    "class_balanced_sampling",
    "entropy_sampling",
    "entropy_score",
    "least_confidence_sampling",
    "least_confidence_score",
    "margin_sampling",
    "margin_score",
    "mc_variance_sampling",
    "mc_variance_score",
    "random_sampling",
    "random_score",
]
