"""Active learning for joint image classification and segmentation with few pixel annotations."""

from importlib import import_module

from alseg._version import __version__

# Loaded when first used: the command line shows its help without waiting for torch.
_PUBLIC = {
    "ActiveLearner": "alseg.learner",
    "Augmentation": "alseg.segmenter",
    "Committee": "alseg.learner",
    "Consistency": "alseg.segmenter",
    "EmptyPool": "alseg.validation",
    "Execution": "alseg.segmenter",
    "JointCAMSegmenter": "alseg.segmenter",
    "MISSING": "alseg.labels",
    "PixelClassifier": "alseg.segmenter",
    "Network": "alseg.segmenter",
    "Protocol": "alseg.experiment",
    "PseudoLabelAugmenter": "alseg.pseudo",
    "Schedule": "alseg.segmenter",
    "SelfSupervisedPretrainer": "alseg.segmenter",
    "ValidationSet": "alseg.segmenter",
    "compare_strategies": "alseg.comparison",
    "dice_scorer": "alseg.metrics",
}

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'alseg' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_PUBLIC})
