"""The contract of a strategy and of a score as checks, for third parties and for our own tests.

One line checks a strategy of your own::

    alseg.testing.check_strategy(my_sampling)

The checks ask a small deterministic estimator (`ToySegmenter`) about small random images.
"""

from alseg.testing.contracts import (
    all_scores,
    all_strategies,
    check_oracle,
    check_score,
    check_strategy,
)
from alseg.testing.own_estimators import Abilities, check_estimator
from alseg.testing.toys import ContractError, ToyLearner, ToySegmenter, toy_images

__all__ = [
    "Abilities",
    "ContractError",
    "ToyLearner",
    "ToySegmenter",
    "all_scores",
    "all_strategies",
    "check_estimator",
    "check_oracle",
    "check_score",
    "check_strategy",
    "toy_images",
]
