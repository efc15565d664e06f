"""Active learning for joint image classification and segmentation with few pixel annotations."""

from alseg._version import __version__

__all__ = ["__version__"]
