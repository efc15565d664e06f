"""The active-learning loop, alone and in committees."""

from alseg.learner.committee import Committee, CommitteeRegressor
from alseg.learner.ensemble import DeepEnsemble
from alseg.learner.loop import ActiveLearner
from alseg.learner.optimizing import BayesianOptimizer

__all__ = [
    "ActiveLearner",
    "BayesianOptimizer",
    "Committee",
    "CommitteeRegressor",
    "DeepEnsemble",
]
