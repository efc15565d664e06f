"""Data sets: images, class labels, masks, groups and splits, read when needed or made up."""

from alseg.datasets._cub import load_cub
from alseg.datasets._dataset import Dataset, Parts, torn_groups
from alseg.datasets._discs import make_discs
from alseg.datasets._folder import load_folder
from alseg.datasets._folds import class_folds
from alseg.datasets._glands import make_glands
from alseg.datasets._glas import load_glas
from alseg.datasets._isic import load_isic
from alseg.datasets._names import is_mask_name, match_names

__all__ = [
    "Dataset",
    "Parts",
    "class_folds",
    "is_mask_name",
    "load_cub",
    "load_folder",
    "load_glas",
    "load_isic",
    "make_discs",
    "make_glands",
    "match_names",
    "torn_groups",
]
