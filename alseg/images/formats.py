"""Which files are images, told by their content and not their name; errors about the others."""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
from contextlib import contextmanager
from typing import Any

from PIL import Image, ImagePalette
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from alseg._types import Images, StrPath
from alseg.validation import message

FORMATS = {
    ".png": "PNG",
    ".bmp": "BMP",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WebP",
    ".gif": "GIF",
}
IMAGE_SUFFIXES = tuple(FORMATS)

# The classes themselves, and not PIL.Image.open: what opens a file is then this list and nothing
# that is registered beside it (EPS runs Ghostscript), and the size is known before any complaint
# about it. A phone's second picture behind a JPEG (MPO) stays unseen.
_OPENERS: dict[str, Any] = {
    "PNG": PngImageFile,
    "BMP": BmpImageFile,
    "JPEG": JpegImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
}

# Cameras and slide tiles in wide use stay below (108 megapixels, 10 000 x 10 000); an image of
# this size takes 384 MB as colours of 8 bits.
MAX_PIXELS = 128_000_000
MAX_BYTES = 2**30  # of one image once it is decoded: floats take four times the bytes

# What the system says when the content of a file (an offset that cannot be) is at fault.
_CONTENT = {errno.EINVAL, errno.EOVERFLOW}


def is_image_name(path: StrPath) -> bool:
    """Whether a file's name ends as those of the readable formats do.

    Parameters
    ----------
    path : str or Path
        Nothing is opened; the content decides when it is.

    Returns
    -------
    bool
        False for the shadows that macOS keeps beside files (``._a.png``).

    Examples
    --------
    >>> [is_image_name(name) for name in ("a.PNG", "a.webp", "a.svs", "._a.png")]
    [True, True, False, False]
    """
    name = os.path.basename(os.fspath(path))
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("._")


def format_of(start: Any) -> Any:
    """The readable format of a file that begins with `start` (16 bytes), or None.

    Examples
    --------
    >>> format_of(b"GIF89a"), format_of(b"%!PS-Adobe-3.0")
    ('GIF', None)
    """
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WebP"
    return "BMP" if start.startswith(b"BM") else None


class Unreadable(ValueError):
    """One image or mask that cannot be read: which, why, and what to do.

    Parameters
    ----------
    where : str
        How it is named: a path in quotes, or an element such as ``X[0]``.
    problem : str
    remedy : str, default=""

    Examples
    --------
    >>> print(Unreadable("'a.png'", "the file is empty"))
    'a.png' cannot be read: the file is empty.
    """

    def __init__(self, where: str, problem: str, remedy: str = "") -> None:
        text = f"{where} cannot be read: {problem}."
        super().__init__(f"{text} {remedy}" if remedy else text)
        self._args = (where, problem, remedy)

    def __reduce__(self):
        return type(self), self._args


@contextmanager
def explained(where: Any, path: StrPath | None = None):
    """Turn whatever decoding `where` raises into one clear error, and blame what is to blame.

    A file that is not there is a FileNotFoundError. Damaged bytes make decoders raise what they
    like (SyntaxError, struct.error, IndexError, zlib.error, ...): all that is `Unreadable`. Too
    little memory and what the system says (too many open files, a broken disk) are no fault of
    the image: MemoryError and OSError stay themselves, the latter with the path.
    """
    try:
        yield
    except (Unreadable, MemoryError):
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{where} does not exist.") from None
    except PermissionError as error:
        raise Unreadable(where, "permission denied") from error
    except OSError as error:
        if error.errno is not None and error.errno not in _CONTENT:
            raise OSError(error.errno, error.strerror, path) from error
        if "out of memory" in str(error):  # Pillow's decoders say it so
            raise MemoryError(f"{where}: {error}") from error
        raise Unreadable(where, _damage(error)) from error
    except Exception as error:
        raise Unreadable(where, _damage(error)) from error


def _damage(error):
    text = " ".join(str(error).split())
    return f"it is truncated or corrupt ({type(error).__name__}: {text})"


class _Bounded(io.BufferedReader):
    """A file that is asked for no more bytes at once than it has.

    A damaged length makes decoders ask for gigabytes, and Python takes them before it looks.
    """

    def __init__(self, raw, size):
        super().__init__(raw)
        self._size = size

    def read(self, n_bytes=-1, /):
        return super().read(n_bytes if n_bytes is None else min(n_bytes, self._size))


@contextmanager
def opened(path: StrPath):
    """Yield how errors name a file, its format, and the file itself, open at its beginning.

    Parameters
    ----------
    path : str or Path
        ``~`` is expanded.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    Unreadable
        If it is no regular file, empty, or of no readable format.
    """
    try:
        path = os.path.expanduser(os.fspath(path))
    except TypeError:
        raise TypeError(message("path", "a string or a Path", path)) from None
    if not isinstance(path, str):
        raise TypeError(message("path", "a string or a Path", path))
    where = repr(path)
    with explained(where, path):
        if "\0" in path:
            raise FileNotFoundError
        status = os.stat(path)  # before it is opened: opening a pipe would wait for a writer
        if stat.S_ISDIR(status.st_mode):
            raise Unreadable(where, "it is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable(where, "it is a pipe or a device, not a file")
        if status.st_size == 0:
            raise Unreadable(where, "the file is empty")
        with _Bounded(open(path, "rb", buffering=0), status.st_size) as file:
            found = format_of(file.read(16))
            if found is None:
                refuse_format(where)
            file.seek(0)
            yield where, found, file


def header_of(where: Any, found: Any, file: Any) -> Any:
    """The Pillow image of an open file of the format `found`, with its size checked."""
    file.seek(0)
    image = _OPENERS[found](file)
    if found == "BMP":
        _mend_bmp(image, file)
    width, height = image.size
    deep = image.mode.startswith(("I", "F")) or ";16" in rawmode_of(image)
    check_size(where, height, width, 12 if deep else 3)
    check_single(where, image)
    return image


def _mend_bmp(image, file):
    """Undo a slip of Pillow's: a palette that looks like grey makes it forget the bits a pixel.

    A palette of black and white alone at 4 or 8 bits a pixel is then read as one bit, and 16
    greys at 4 bits as eight.
    """
    file.seek(14)
    head = file.read(16)
    at = 10 if head[0] == 12 else 14  # OS/2's header of 12 bytes is shorter
    bits = int.from_bytes(head[at : at + 2], "little")
    right = {4: "P;4", 8: "P"}.get(bits)
    if right is None or image.mode not in {"1", "L"} or (bits == 8 and image.mode == "L"):
        return
    greys = [0, 255] if image.mode == "1" else range(16)
    image.palette = ImagePalette.raw("RGB", bytes(grey for grey in greys for _ in range(3)))
    image._mode = "P"
    if image.tile[0][0] == "raw":  # run lengths are decoded by the mode
        set_rawmode(image, right)


def rawmode_of(image: Images) -> Any:
    """How the bytes of a Pillow image that is not loaded yet become pixels, or an empty string."""
    args = image.tile[0][3] if getattr(image, "tile", None) else ""
    args = args[0] if isinstance(args, tuple) and args else args
    return args if isinstance(args, str) else ""


def set_rawmode(image: Images, rawmode: Any) -> None:
    """Say how the bytes of a Pillow image that is not loaded yet become pixels."""
    tile = image.tile[0]
    args = (rawmode, *tile[3][1:]) if isinstance(tile[3], tuple) else rawmode
    changed = (*tile[:3], args)
    image.tile = [tile._make(changed) if hasattr(tile, "_make") else changed]


def check_size(where: Any, height: Any, width: Any, bytes_per_pixel: Any) -> None:
    """Refuse what has no pixels or would take too much memory, before anything is decoded."""
    if height <= 0 or width <= 0:
        raise Unreadable(where, "it has no pixels")
    size = f"it is {height} x {width} pixels"
    if height * width > MAX_PIXELS:
        millions = height * width / 10**6
        problem = f"{size}, {millions:.0f} megapixels, and at most {MAX_PIXELS // 10**6} are read"
        raise Unreadable(where, problem, "Cut it into tiles.")
    n_bytes = height * width * bytes_per_pixel
    if n_bytes > MAX_BYTES:
        problem = (
            f"{size}, which decoded take {n_bytes / 2**30:.1f} GB, and at most "
            f"{MAX_BYTES / 2**30:g} GB are read"
        )
        raise Unreadable(where, problem, "Cut it into tiles, or save it with 8 bits a channel.")


def refuse_format(where: Any) -> None:
    """Refuse what is of none of the formats."""
    known = ", ".join(sorted(set(FORMATS.values())))
    raise Unreadable(where, f"it is not an image of a readable format ({known})")


def check_single(where: Any, image: Images) -> None:
    """Refuse a Pillow image of several frames."""
    if getattr(image, "is_animated", False) and image.format != "MPO":
        refuse_planes(where, image.n_frames)


def refuse_planes(where: Any, n_planes: Any) -> None:
    """Refuse an image of several planes: which of them counts is not ours to say."""
    if n_planes > 1:
        problem = f"it holds {n_planes} planes (pages, slices, channels or frames) and not one"
        raise Unreadable(where, problem, "Save the plane that counts as a file of its own.")


def refuse_channels(where: Any, n_channels: Any) -> None:
    """Refuse channels that are neither grey nor RGB, with or without alpha."""
    problem = f"it holds {n_channels} channels that are neither grey nor RGB (with alpha or not)"
    remedy = "Save the channel that counts, or the three to be shown, as a file of its own."
    raise Unreadable(where, problem, remedy)


def orientation_of(image: Images) -> Any:
    """The EXIF orientation that a Pillow image's header gives, 1 to 8; 1 if its EXIF is damaged."""
    try:
        # Not PngImageFile.getexif: it decodes the pixels to look for EXIF behind them.
        return Image.Image.getexif(image).get(0x0112, 1)
    except (SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error):
        return 1  # the pixels are none the worse for it
