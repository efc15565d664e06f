"""A page in the browser in which somebody marks the images of a folder, and its small server."""

from alseg.annotate.effort_spent import spent
from alseg.annotate.serving import serve

__all__ = [
    "serve",
    "spent",
]
