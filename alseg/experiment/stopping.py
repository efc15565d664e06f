"""Placeholder by the lead until helper STAT writes this module: replace the whole file."""

from typing import NamedTuple

import numpy as np


class Agreement(NamedTuple):
    dice: float
    kappa: float


def agreement(masks_a, masks_b):
    """Dice and Cohen's kappa over pixels."""
    a = np.concatenate([np.ravel(m) for m in masks_a])
    b = np.concatenate([np.ravel(m) for m in masks_b])
    dice = 2 * ((a > 0) & (b > 0)).sum() / max(1, (a > 0).sum() + (b > 0).sum())
    return Agreement(float(dice), float((a == b).mean()))
