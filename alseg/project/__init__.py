"""The state folder of somebody who annotates a folder of images."""

from alseg.project.adding import add, keep
from alseg.project.answers import Answer, look_at_mask
from alseg.project.asking import ask, ask_about, ask_at_once, fitted, keep_model
from alseg.project.mask_files import PALETTE, png_bytes, read_stored, stored_bytes
from alseg.project.predicting import predict
from alseg.project.rules import by_rule, in_turn, set_classes, set_empty
from alseg.project.state import (
    Project,
    ProjectError,
    check_weights,
    feature_cache,
    last_model,
    look_into,
    open_project,
    read_state,
)
from alseg.project.state_file import MASK_OPTIONS, OPTIONS
from alseg.project.undoing import undo

__all__ = [
    "Project",
    "ProjectError",
    "add",
    "ask",
    "ask_about",
    "ask_at_once",
    "keep",
    "open_project",
    "predict",
    "set_classes",
    "set_empty",
    "undo",
]
