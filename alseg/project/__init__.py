"""The state folder of somebody who annotates a folder of images."""

from alseg.project.state import Project, ProjectError, open_project, save_mask

__all__ = ["Project", "ProjectError", "open_project", "save_mask"]
