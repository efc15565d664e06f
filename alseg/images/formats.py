"""What is opened as an image, and what an error says of a file that is none."""

import os
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from alseg.validation import message

IMAGE_SUFFIXES = (".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
TRANSPOSED = {5, 6, 7, 8}  # EXIF orientations that swap height and width
_EXIF_ORIENTATION = 0x0112


def bad(path, problem, remedy=""):
    """The message of every unreadable file: which, why, and what to do."""
    text = f"{os.fspath(path)!r} cannot be read: {problem}."
    return f"{text} {remedy}" if remedy else text


class opened:
    """Open a file as an image; what goes wrong, here or in the body, names file and reason."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        try:
            path = Path(self.path).expanduser()
        except TypeError:
            raise TypeError(message("path", "a string or a Path", self.path)) from None
        try:
            if path.is_dir():
                raise ValueError(bad(path, "it is a folder, not a file"))
            if path.stat().st_size == 0:
                raise ValueError(bad(path, "the file is empty"))
            self.image = Image.open(path)
        except Exception as error:
            self._explain(error)
            raise
        return self.image

    def __exit__(self, kind, error, traceback):
        self.image.close()
        if error is not None:
            self._explain(error)
        return False

    def _explain(self, error):
        """Raise the clear error in place of `error`; return if it is clear already."""
        shown = str(Path(self.path).expanduser())
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{shown!r} does not exist.") from None
        if isinstance(error, UnidentifiedImageError):
            raise ValueError(bad(shown, "it is not an image file of a known format")) from None
        if isinstance(error, Image.DecompressionBombError):
            raise ValueError(bad(shown, "it is too large", "Cut it into tiles.")) from error
        if isinstance(error, ValueError) and "cannot be read:" in str(error):
            return
        # Decoders raise what they like on damaged bytes (SyntaxError, struct.error, IndexError,
        # zlib.error, ...): all of it means that this file is bad.
        if isinstance(error, Exception):
            reason = f"it is truncated or corrupt ({type(error).__name__}: {error})"
            if isinstance(error, PermissionError):
                reason = "permission denied"
            raise ValueError(bad(shown, reason)) from error


def orientation_of(image):
    """The EXIF orientation that the header gives, 1 to 8."""
    # Not PngImageFile.getexif: it decodes the pixels to look for EXIF behind them.
    return Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1)
