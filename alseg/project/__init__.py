"""The state folder of somebody who annotates a folder of images."""

from alseg.project.adding import add
from alseg.project.answers import Answer, look_at_mask
from alseg.project.asking import ask
from alseg.project.predicting import predict
from alseg.project.state import Project, ProjectError, open_project, undo

__all__ = [
    "Project",
    "ProjectError",
    "add",
    "ask",
    "open_project",
    "predict",
    "undo",
]
