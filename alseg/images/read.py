"""One file: the pixels of an image, the classes of a mask, the size of either."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg._types import StrPath
from alseg.images.formats import Unreadable, explained
from alseg.images.pixels import decode, depth_of, size_of
from alseg.labels import MISSING
from alseg.validation import check_option

MASK_MAPPINGS = ("nonzero", "half", "binary")
MAX_ID = np.iinfo(np.int16).max

_ONE_INK = 32  # colours that differ by less, of 255, are one ink: drawing programs round


def read_image(path: StrPath) -> Any:
    """Read an image file.

    PNG, BMP, JPEG, TIFF, WebP and GIF are read, told apart by their content. Grey is repeated to
    three channels, alpha is dropped, palettes are expanded, the EXIF orientation is applied.

    Parameters
    ----------
    path : str or Path
        ``~`` is expanded.

    Returns
    -------
    image : ndarray of shape (H, W, 3), uint8, or float32 in [0, 1]
        (H, W, C) of a TIFF file whose pixels have C values that are neither grey nor colours
        (bands of a satellite, markers).
        Whole numbers of more than 8 bits are divided by the largest number of 8, 12 or 16 bits
        that the file's largest value fits in (255, 4095 or 65535), or by that of the depth that
        the file itself states (TIFF): a camera's 12 bits in a file of 16 come out neither dark
        nor each exposure on a scale of its own. Floats must be in [0, 1]. A grey TIFF with white
        as 0 is shown as viewers do, but one of a single bit as it is written: True is white.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    MemoryError, OSError
        If the machine is at fault and not the file: memory, too many open files, a broken disk.
    ValueError
        If it is empty, truncated, corrupt or not an image; of more than 128 megapixels; or if it
        holds several planes (pages, slices, frames).
        Every message names the file.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (4, 2), 7).save(folder + "/grey.png")
    ...     read_image(folder + "/grey.png").shape
    (2, 4, 3)
    """
    where, pixels = decode(path)
    with explained(where):
        return as_picture(where, pixels)


def as_picture(where: Any, pixels: Any) -> Any:
    """What `read_image` makes of `alseg.images.pixels.Pixels`: (H, W, 3), uint8 or float32."""
    values = pixels.values
    if pixels.palette is not None:
        last = len(pixels.palette) - 1
        values = pixels.palette[np.minimum(values, last)]
    elif pixels.bilevel:
        values = values * np.uint8(255)
    elif values.dtype == np.uint8:
        if pixels.top is not None and pixels.top < 255:
            values = values * np.uint8(255 // pixels.top)
    else:
        values = _unit_range(where, values, pixels.top)
    if pixels.white_is_zero and not pixels.bilevel and pixels.values.dtype.kind == "u":
        values = (255 if values.dtype == np.uint8 else np.float32(1)) - values
    if values.ndim == 2:
        values = np.broadcast_to(values[:, :, None], (*values.shape, 3))
    return np.ascontiguousarray(values)


def _unit_range(where, values, top):
    """Numbers of more than 8 bits as float32 in [0, 1]."""
    if values.dtype.kind == "f":
        problem = float_problem(values)
        if problem:
            remedy = "Divide them by the largest possible value, or save it with 8 or 16 bits."
            raise Unreadable(where, problem, remedy)
        return values.astype(np.float32)
    if values.dtype.kind not in "iu":
        raise Unreadable(where, f"its pixels are {values.dtype} and no whole numbers or floats")
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        problem = f"its values are in [{low}, {high}], not in [0, 65535]"
        raise Unreadable(where, problem, "Save it with 8 or 16 bits.")
    if top is None or high > top:
        top = next(most for most in (255, 4095, 65535) if high <= most)
    return values.astype(np.float32) / np.float32(top)


def mask_values(path: StrPath) -> Any:
    """What a mask file says of each pixel, before a data set's coding makes it a class.

    Parameters
    ----------
    path : str or Path
        ``~`` is expanded.

    Returns
    -------
    values : ndarray of shape (H, W), int32 or int64
    kind : {"ids", "bilevel", "ink", "lossy"}
        "ids": the values as stored, whatever they mean (0/255, class ids, instance ids).
        "bilevel": the file knows two values, and they are 0 and 1 here: one bit a pixel, a
        boolean TIFF, or black and one colour. "ink": 1 where something is drawn on a transparent
        layer, else 0. "lossy": as "ids", out of a JPEG or a lossy WebP, whose values lie around
        those that were meant.

    Raises
    ------
    FileNotFoundError, ValueError, MemoryError, OSError
        As `read_mask`.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     layer = Image.new("RGBA", (2, 1))
    ...     layer.putpixel((1, 0), (0, 0, 0, 255))  # black ink
    ...     layer.save(folder + "/mask.png")
    ...     mask_values(folder + "/mask.png")
    (array([[0, 1]], dtype=int32), 'ink')
    """
    where, pixels = decode(path)
    with explained(where):
        return as_values(where, pixels)


def as_values(where: Any, pixels: Any) -> Any:
    """What `mask_values` makes of `alseg.images.pixels.Pixels`."""
    if pixels.cut:
        remedy = "Save it without the alpha channel."
        raise Unreadable(where, "grey of 16 bits with alpha would lose 8 of them", remedy)
    values, kind = pixels.values, "lossy" if pixels.lossy else "ids"
    drawn = None if pixels.alpha is None else _ink(where, pixels)
    if drawn is not None:
        values, kind = drawn, "ink"
    elif pixels.bilevel:
        kind = "bilevel"
    elif pixels.palette is not None:
        values, kind = _palette_values(values, pixels.palette)
    elif values.ndim == 3:
        if values.shape[2] != 3:
            problem = f"it holds {values.shape[2]} channels, so they are no ids"
            raise Unreadable(where, problem, "Save the channel that counts as a file of its own.")
        values, kind = _channel_values(where, values, kind)
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and (values == np.round(values)).all()):
            raise Unreadable(where, "its values are not whole numbers, so they are no ids")
    elif values.dtype.kind not in "iub":
        raise Unreadable(where, f"its values are {values.dtype}, so they are no ids")
    if values.dtype.itemsize > 2 and max(abs(float(values.min())), float(values.max())) >= 2**63:
        raise Unreadable(where, f"its value {values.max()} is too large to be an id")
    small = values.dtype.itemsize <= 2 and values.dtype.kind != "f"
    return values.astype(np.int32 if small else np.int64), kind


def _ink(where, pixels):
    """1 where something is drawn on a transparent layer; None if alpha says nothing."""
    alpha = pixels.alpha
    low, high = alpha.min(), alpha.max()
    if high == 0:
        return np.zeros(alpha.shape, np.uint8)  # an empty layer
    if low == high:
        return None
    # Of the strongest, not of the scale: a brush of 40 % opacity draws as well.
    drawn = alpha > high / 2
    if pixels.keyed and not pixels.values[alpha == 0].any() and set(np.unique(alpha)) <= {0, high}:
        return None  # value 0 is what is transparent: the background of ids
    colours = pixels.values if pixels.palette is None else pixels.palette[pixels.values]
    inks = colours[drawn].reshape(drawn.sum(), -1)
    scale = 255 if colours.dtype == np.uint8 else max(float(inks.max()), 1.0)
    if ((inks.max(axis=0) - inks.min(axis=0)) * (255 / scale) >= _ONE_INK).any():
        problem = "what is drawn on its transparent layer has several colours"
        remedy = "Draw in one colour, or save classes as 0, 1, 2, ... without transparency."
        raise Unreadable(where, problem, remedy)
    return drawn.astype(np.uint8)


def _palette_values(indices, palette):
    """Values and kind of a palette mask, see `read_mask`."""
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=len(palette)))
    if used[-1] >= len(palette):
        return indices, "ids"
    colours = {tuple(colour) for colour in palette.tolist()}
    if len({tuple(palette[i]) for i in used.tolist()}) < len(used):
        return indices, "ids"  # two values of one colour: the colours mean nothing
    if len(colours | {(0, 0, 0)}) <= 2:
        return palette.any(axis=1)[indices].astype(np.uint8), "bilevel"
    grey = palette[:, 0]
    if (palette != grey[:, None]).any() or grey[0] == 0:
        return indices, "ids"
    return grey[indices], "ids"


def _channel_values(where, values, kind):
    """Values and kind of a mask in colours."""
    red, green, blue = (values[:, :, i] for i in range(3))  # much faster than over the last axis
    if (red == green).all() and (red == blue).all():
        return red, kind
    drawn = (red != 0) | (green != 0) | (blue != 0)
    first = values[np.unravel_index(drawn.argmax(), drawn.shape)]
    if any((channel[drawn] != ink).any() for channel, ink in zip((red, green, blue), first)):
        problem = "its colour channels differ, so they are no ids"
        remedy = "Save it as one channel (or palette) of class ids, or as one colour on black."
        raise Unreadable(where, problem, remedy)
    return drawn.astype(np.uint8), "bilevel"


def read_mask(path: StrPath, mapping: str | None = None) -> np.ndarray:
    """Read a mask file: the class (or instance id) of each pixel.

    What a file says is decided by rules that look at nothing but the file:

    - A layer with transparency is a drawing: 1 where its ink is (half as opaque as the most
      opaque pixel, or more), whatever the colour of the ink, 0 elsewhere. Ink of several colours
      is refused. An alpha channel that is the same everywhere says nothing, unless everything is
      transparent: then nothing is drawn.
    - 1-bit files and boolean TIFFs give 0 and 1, the latter as they were written.
    - Palette files give the palette's indices. But a palette of black and one other colour gives
      0 for black and 1 for the other, whichever stands first, and one of greys alone that does
      not begin with black gives the greys.
    - RGB files whose channels agree give that channel; black and one other colour give 0 and 1;
      other colours are refused.

    Parameters
    ----------
    path : str or Path
        ``~`` is expanded.
    mapping : {None, "nonzero", "half", "binary"}, default=None
        None keeps the values. "nonzero" maps what is above 0 to 1; "half" what is above 127
        (of 255) to 1; "binary" maps 255 to 1 and lets nothing but 0, 1 and 255 pass. Values that
        the rules above have made 0 and 1 stay as they are.

    Returns
    -------
    mask : ndarray of shape (H, W), int16

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    MemoryError, OSError
        If the machine is at fault and not the file.
    ValueError
        If it cannot be read (see `read_image`), has colours that are no ids, or values that do
        not fit.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (2, 1), 255).save(folder + "/mask.png")
    ...     read_mask(folder + "/mask.png", mapping="half")
    array([[1, 1]], dtype=int16)
    """
    if mapping is not None:
        check_option("mapping", mapping, MASK_MAPPINGS)
    where, pixels = decode(path)
    with explained(where):
        return as_mask(where, pixels, mapping)


def as_mask(where: Any, pixels: Any, mapping: Any = None) -> Any:
    """What `read_mask` makes of `alseg.images.pixels.Pixels`."""
    values, kind = as_values(where, pixels)
    if kind in {"bilevel", "ink"}:
        return values.astype(np.int16)
    if mapping == "nonzero":
        return (values > 0).astype(np.int16)
    if mapping == "half":
        return (values > 127).astype(np.int16)
    low, high = values.min(), values.max()
    if mapping == "binary":
        other = values[(values != 0) & (values != 1) & (values != 255)]
        if other.size:
            remedy = "Choose mapping=None for class ids, 'half' for soft edges."
            problem = f"it holds the value {other[0]}, where only 0, 1 and 255 may stand"
            raise Unreadable(where, problem, remedy)
        return (values > 0).astype(np.int16)
    if low < MISSING or high > MAX_ID:
        value = low if low < MISSING else high
        raise Unreadable(where, f"its value {value} is outside [{MISSING}, {MAX_ID}]")
    return values.astype(np.int16)


def image_size(path: StrPath) -> Any:
    """Height and width of an image file, from its header, with the EXIF orientation applied.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    size : tuple (H, W) of int

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        As `read_image`; what the header does not show (truncation) is not seen here.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (4, 2)).save(folder + "/wide.png")
    ...     image_size(folder + "/wide.png")
    (2, 4)
    """
    return size_of(path)


def image_depth(path: StrPath) -> Any:
    """Channels and bits of an image file, from its header.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    channels : int
        1 of grey (`read_image` repeats it), 3 of colours and palettes, else as many as there are;
        alpha is none of them.
    bits : int
        Of each.

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        As `read_image`.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("I;16", (4, 2)).save(folder + "/deep.png")
    ...     image_depth(folder + "/deep.png")
    (1, 16)
    """
    return depth_of(path)


def float_problem(pixels: Any) -> Any:
    """What is wrong with float pixels, or an empty string."""
    low, high = pixels.min(), pixels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return "it holds NaN or infinite values"
    if low < 0 or high > 1:
        return f"its values are in [{low:g}, {high:g}], not in [0, 1]"
    return ""
