"""Active learning for joint image classification and segmentation with few pixel annotations."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from alseg._version import __citation__ as __citation__
from alseg._version import __version__

if TYPE_CHECKING:  # for editors and type checkers; `_PUBLIC` says the same to Python
    from alseg.comparison import compare_strategies as compare_strategies
    from alseg.experiment import Protocol as Protocol
    from alseg.labels import MISSING as MISSING
    from alseg.learner import ActiveLearner as ActiveLearner
    from alseg.learner import BayesianOptimizer as BayesianOptimizer
    from alseg.learner import Committee as Committee
    from alseg.learner import CommitteeRegressor as CommitteeRegressor
    from alseg.metrics import dice_scorer as dice_scorer
    from alseg.pseudo import PseudoLabelAugmenter as PseudoLabelAugmenter
    from alseg.segmenter import Augmentation as Augmentation
    from alseg.segmenter import Consistency as Consistency
    from alseg.segmenter import Execution as Execution
    from alseg.segmenter import JointCAMSegmenter as JointCAMSegmenter
    from alseg.segmenter import Network as Network
    from alseg.segmenter import Objects as Objects
    from alseg.segmenter import PixelClassifier as PixelClassifier
    from alseg.segmenter import Schedule as Schedule
    from alseg.segmenter import SelfSupervisedPretrainer as SelfSupervisedPretrainer
    from alseg.segmenter import ValidationSet as ValidationSet
    from alseg.segmenter import WholeNetwork as WholeNetwork
    from alseg.validation import EmptyPool as EmptyPool

# Loaded when first used: the command line shows its help without waiting for torch.
_PUBLIC = {
    "ActiveLearner": "alseg.learner",
    "Augmentation": "alseg.segmenter",
    "BayesianOptimizer": "alseg.learner",
    "Committee": "alseg.learner",
    "CommitteeRegressor": "alseg.learner",
    "Consistency": "alseg.segmenter",
    "EmptyPool": "alseg.validation",
    "Execution": "alseg.segmenter",
    "JointCAMSegmenter": "alseg.segmenter",
    "MISSING": "alseg.labels",
    "Objects": "alseg.segmenter",
    "PixelClassifier": "alseg.segmenter",
    "Network": "alseg.segmenter",
    "Protocol": "alseg.experiment",
    "PseudoLabelAugmenter": "alseg.pseudo",
    "Schedule": "alseg.segmenter",
    "SelfSupervisedPretrainer": "alseg.segmenter",
    "ValidationSet": "alseg.segmenter",
    "WholeNetwork": "alseg.segmenter",
    "compare_strategies": "alseg.comparison",
    "dice_scorer": "alseg.metrics",
}

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'alseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
