"""The active-learning loop, alone and in committees."""

from alseg.learner.committee import Committee, CommitteeRegressor
from alseg.learner.ensemble import DeepEnsemble
from alseg.learner.loop import ActiveLearner

__all__ = [
    "ActiveLearner",
    "Committee",
    "CommitteeRegressor",
    "DeepEnsemble",
]
