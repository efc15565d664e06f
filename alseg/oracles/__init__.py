"""Who answers: an oracle is a callable from sample ids to masks.

Any function `oracle(sample_ids) -> masks` will do; one with a parameter `regions` can be asked
about parts of images. These stand in for a person: `MaskOracle` knows all the masks and counts what
it is asked, `FolderOracle` reads what somebody has drawn into a folder, and the others say, of
known masks, only what a person would say with points, a patch, strokes or corrections.
"""

from alseg.oracles.corrections import Correction, CorrectionOracle
from alseg.oracles.folder_masks import FolderOracle
from alseg.oracles.free_strokes import StrokeOracle
from alseg.oracles.known_masks import MaskOracle
from alseg.oracles.simulated import Drawing, PatchOracle, PointOracle
from alseg.oracles.strokes import Stroke, paint

__all__ = [
    "Correction",
    "CorrectionOracle",
    "Drawing",
    "FolderOracle",
    "MaskOracle",
    "PatchOracle",
    "PointOracle",
    "Stroke",
    "StrokeOracle",
    "paint",
]
