"""Files whose bytes a browser shows as they are read here, pixel by pixel."""

from __future__ import annotations

from typing import Any

from alseg._types import StrPath
from alseg.images.formats import explained, header_of, opened, orientation_of, rawmode_of

_KINDS = {"PNG": "image/png", "JPEG": "image/jpeg", "WebP": "image/webp"}
_PLAIN = {"L", "RGB"}
# How a whole file ends; of a JPEG somewhere near its end, where cameras leave more behind it.
_ENDS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9"}
_NEAR = 65536


def plain_file(path: StrPath) -> Any:
    """The bytes of an image file that a browser decodes to the pixels of `read_image`.

    Of 8 bits, grey or RGB, upright, without transparency, palette, CMYK or frames. Whether a
    browser takes profiles of colour and orientations into account is its caller's to say: here
    neither is.

    Parameters
    ----------
    path : str or Path
        ``~`` is expanded.

    Returns
    -------
    found : (str, bytes) or None
        The kind ("image/png", "image/jpeg", "image/webp") and the bytes; None of another file.

    Raises
    ------
    FileNotFoundError, ValueError, MemoryError, OSError
        As `read_image`, of what the header shows.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (4, 2)).save(folder + "/a.png")
    ...     Image.new("P", (4, 2)).save(folder + "/b.png")
    ...     plain_file(folder + "/a.png")[0], plain_file(folder + "/b.png")
    ('image/png', None)
    """
    with opened(path) as (where, found, file):
        if found not in _KINDS:
            return None
        image = header_of(where, found, file)
        plain = image.mode in _PLAIN and "transparency" not in image.info
        if found == "PNG":
            plain = plain and rawmode_of(image) in _PLAIN
        if not plain or orientation_of(image) != 1:
            return None
        with explained(where):
            file.seek(0)
            data = file.read()
        end = _ENDS.get(found)
        if end is not None and end not in data[-_NEAR:]:
            return None  # truncated: who reads it says so
        return _KINDS[found], data
