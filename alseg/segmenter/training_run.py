"""A fit while it is under way."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alseg.segmenter.phases import Phase
from alseg.training import PartSize, TrainingData

# What it means that a batch goes through the network in parts, see `alseg.training.memory`.
_NOTE = (
    "Steps keep their batch and its gradient, but BatchNorm sees the parts, and a step takes"
    " longer: set a smaller batch_size or image_size to avoid it."
)


@dataclass
class TrainingRun:
    """What a fit trains on, the phase that it is in, and what that phase has come to so far.

    Parameters
    ----------
    data : alseg.training.TrainingData
        The images that were read, decoded.
    images : images
        The same, as they were given: callbacks see these.
    labels : ndarray of shape (n,)
    codes : ndarray of shape (n,), int
        Their positions in the classes, MISSING without one.
    all_codes : ndarray of shape (m,), int
        Of all images to train on, also of those that no step would have drawn.
    n_annotated : int
        Images with an annotated pixel.
    phases : list of Phase
    rng : numpy Generator
    weighted : bool
        Whether a pixel that is annotated counts anything else than 1.
    min_object_size : float
        As of `ObjectReader.smallest`.

    Attributes
    ----------
    phase : Phase or None
        The present one.
    unchecked : list of Phase
        Those whose batches nobody has looked at yet.
    scheduler, average, bar
        Learning rate (None if it is constant), moving average of weights (None for none) and
        progress bar of the present phase.
    best : (float, dict) or None
        Score and weights of the present phase's best epoch.
    validation : dict
        What is kept of the validation part from one epoch to the next.
    interrupted : bool
        Whether somebody has pressed Ctrl-C.
    """

    data: TrainingData
    images: Any
    labels: np.ndarray
    codes: np.ndarray
    all_codes: np.ndarray
    n_annotated: int
    phases: list[Phase]
    rng: np.random.Generator
    weighted: bool = True
    min_object_size: float = 0.0
    phase: Phase | None = None
    scheduler: Any = None
    average: Any = None
    bar: Any = None
    best: tuple | None = None
    validation: dict = field(default_factory=dict)
    interrupted: bool = False
    part_size: PartSize = field(default_factory=lambda: PartSize("training", _NOTE))

    def __post_init__(self):
        self.unchecked = list(self.phases)
        self.n_left_out = len(self.all_codes) - len(self.codes)

    def begin(self, phase):
        """Go over to a phase, of which nothing is known yet."""
        self.phase, self.best, self.average, self.scheduler = phase, None, None, None

    def keep_best(self, value, module, later=False):
        """Remember the weights if they are better than those before (or as good, with `later`)."""
        if self.best is None or value > self.best[0] or (later and value == self.best[0]):
            state = module.state_dict()
            self.best = value, {name: weight.clone() for name, weight in state.items()}
