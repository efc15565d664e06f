"""Decoding one image: TIFF through tifffile, the rest through Pillow, into one form."""

from __future__ import annotations

import logging
import sys
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

from alseg._types import Images, StrPath
from alseg.images.formats import (
    Unreadable,
    check_single,
    check_size,
    format_of,
    header_of,
    opened,
    orientation_of,
    rawmode_of,
    refuse_channels,
    refuse_format,
    refuse_planes,
    set_rawmode,
)

_TRANSPOSED = {5, 6, 7, 8}  # EXIF orientations that swap height and width

# Tags and their values in TIFF.
_ORIENTATION, _MAX_SAMPLE_VALUE, _PHOTOMETRIC = 274, 281, 262
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE = 0, 1, 2, 3
_PREMULTIPLIED, _ALPHA = 1, 2
_FAX = {2, 3, 4}
_JPEG = {6, 7}
# What tifffile decodes only beside another package, and the libtiff in Pillow by itself.
_BY_PILLOW = _FAX | _JPEG | {5}  # and LZW
_DEFLATE, _LZMA = {8, 32946}, 34925


@dataclass
class Pixels:
    """An image as it is stored, upright, before anything is made of its values.

    Attributes
    ----------
    values : ndarray of shape (H, W) or (H, W, C)
        Any dtype. Positions in the palette where there is one; 0 and 1 where `bilevel`.
    alpha : ndarray of shape (H, W) or None
        0 is transparent; the scale is the file's.
    palette : ndarray of shape (n, 3), uint8, or None
    keyed : bool
        Whether `alpha` only marks some values as transparent (of a palette, or of grey).
    bilevel, lossy : bool
        Whether the file knows two values; whether its values were changed by compression.
    white_is_zero : bool
        Whether 0 is to be shown as white (TIFF).
    top : int or None
        The largest possible value, where the file says so.
    cut : bool
        Whether Pillow kept one byte of two.
    """

    values: np.ndarray
    alpha: np.ndarray | None = None
    palette: np.ndarray | None = None
    keyed: bool = False
    bilevel: bool = False
    lossy: bool = False
    white_is_zero: bool = False
    top: int | None = None
    cut: bool = False


def decode(path: StrPath) -> Any:
    """How errors name a file, and its `Pixels`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `alseg.images.read_image`.
    """
    with opened(path) as (where, found, file):
        return where, _decoded(where, found, file)


def decode_bytes(where: Any, stored: bytes) -> Any:
    """The `Pixels` of the content of a file, as `decode` gives them."""
    found = format_of(stored[:16])
    if found is None:
        refuse_format(where)
    return _decoded(where, found, BytesIO(stored))


def _decoded(where, found, file):
    if found == "TIFF":
        return _from_tiff(where, file)
    lossy = found == "JPEG" or (found == "WebP" and _is_lossy_webp(file))
    image = header_of(where, found, file)
    orientation = orientation_of(image)
    if found == "PNG" and rawmode_of(image) in {"RGB;16B", "RGBA;16B"}:
        pixels = _split(_both_bytes(lambda: header_of(where, found, file), "B", "L"))
    else:
        pixels = from_pillow(where, image)
    pixels.lossy = lossy
    return upright(where, pixels, orientation)


def size_of(path: StrPath) -> Any:
    """Height and width of an image file as `decode` gives it, from its header."""
    with opened(path) as (where, found, file):
        if found == "TIFF":
            with _tiff(file) as tiff:
                height, width, orientation = _tiff_header(where, tiff)
        else:
            image = header_of(where, found, file)
            (width, height), orientation = image.size, orientation_of(image)
    return (width, height) if orientation in _TRANSPOSED else (height, width)


def depth_of(path: StrPath) -> Any:
    """Channels and bits of an image file as `decode` gives them, from its header."""
    with opened(path) as (where, found, file):
        if found == "TIFF":
            with _tiff(file) as tiff:
                page = tiff.pages[0]
                if page.photometric in {_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB}:
                    channels = _tiff_channels(where, page)[0]
                else:
                    channels = 3  # palettes, and what Pillow makes RGB of
                return channels, page.bitspersample
        image = header_of(where, found, file)
        if image.mode.startswith(("I", "F")):
            return 1, 16  # PNG: others of these modes are TIFF
        bits = 16 if ";16" in rawmode_of(image) else 8
        return (1 if image.mode in ("1", "L", "LA", "La") else 3), bits


def decode_object(where: Any, image: Images) -> Any:
    """The `Pixels` of a Pillow image, as `decode` gives them for the file that it would be."""
    width, height = image.size
    check_size(where, height, width, 12 if image.mode.startswith(("I", "F")) else 3)
    check_single(where, image)
    if isinstance(image, TiffImageFile):
        return upright(where, _from_pillow_tiff(where, image), 1)  # loaded, it is upright
    orientation = orientation_of(image)
    pixels = from_pillow(where, image)
    pixels.lossy = image.format in {"JPEG", "MPO"}
    return upright(where, pixels, orientation)


def from_pillow(where: Any, image: Images) -> Any:
    """The `Pixels` of a Pillow image, not yet upright."""
    mode, key = image.mode, image.info.get("transparency")
    cut = rawmode_of(image) == "LA;16B"
    if mode == "P":
        palette = np.array(image.getpalette("RGB") or [0, 0, 0], np.uint8).reshape(-1, 3)
        values = np.array(image)
        alpha = None if key is None else _keyed_alpha(key, values)
        return Pixels(values, alpha, palette, keyed=True)
    if mode == "PA":
        both = np.array(image)
        palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        return Pixels(both[:, :, 0], both[:, :, 1], palette)
    if mode == "1":
        return Pixels(np.array(image).astype(np.uint8), bilevel=True)
    if mode == "L" or mode.startswith(("I", "F")):
        values = np.array(image)
        if isinstance(key, int) and mode == "L":
            return Pixels(values, (values != key).astype(np.uint8), keyed=True)
        return Pixels(values)
    if mode == "RGB":
        values = np.array(image)
        if isinstance(key, tuple):
            return Pixels(values, (values != np.array(key)).any(axis=2).astype(np.uint8))
        return Pixels(values)
    if mode in {"La", "RGBa"}:
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[mode])
    elif mode not in {"LA", "RGBA"}:
        image = image.convert("RGB")
    pixels = _split(np.array(image))
    pixels.cut = cut
    return pixels


def _split(array):
    """Grey or colours, and the alpha channel behind them, of an array (H, W[, 1 to 4])."""
    if array.ndim == 2:
        return Pixels(array)
    n_colours = array.shape[2] - 1 if array.shape[2] in (2, 4) else array.shape[2]
    alpha = array[:, :, n_colours] if n_colours < array.shape[2] else None
    return Pixels(array[:, :, 0] if n_colours == 1 else array[:, :, :3], alpha)


def _keyed_alpha(key, values):
    """Alpha of each palette position, from PNG's list of alphas or GIF's one position."""
    alphas = np.full(256, 255, np.uint8)
    if isinstance(key, bytes):
        alphas[: len(key)] = np.frombuffer(key, np.uint8)[:256]
    else:
        alphas[key] = 0
    return alphas[values]


def _both_bytes(reopened, right, wrong):
    """Colours of 16 bits: Pillow keeps one byte of two, so they are read twice.

    Told the order of bytes that the data are in (`right`) Pillow keeps the high bytes; told the
    other one (`wrong`) it keeps the low ones.
    """
    halves = []
    for order in (right, wrong):
        image = reopened()
        set_rawmode(image, rawmode_of(image)[:-1] + order)
        halves.append(np.array(image).astype(np.uint16))
    return halves[0] * np.uint16(256) + halves[1]


def _is_lossy_webp(file):
    """Whether the first picture of a WebP file is compressed with loss (its chunk is "VP8 ")."""
    start = file.read(2**16)
    file.seek(0)
    at = 12
    while at + 8 <= len(start):
        tag, size = start[at : at + 4], int.from_bytes(start[at + 4 : at + 8], "little")
        if tag in (b"VP8 ", b"VP8L"):
            return tag == b"VP8 "
        at += 8 + size + size % 2
    return True


def upright(where: Any, pixels: Any, orientation: Any) -> Any:
    """`Pixels` turned as the EXIF orientation (1 to 8) says, in the machine's byte order."""
    if pixels.values.size == 0:
        raise Unreadable(where, "it has no pixels")
    pixels.values = _native(_orient(pixels.values, orientation))
    if pixels.alpha is not None:
        pixels.alpha = _native(_orient(pixels.alpha, orientation))
    return pixels


def _orient(pixels, orientation):
    """Apply an EXIF orientation (1 to 8) to an array."""
    if orientation in _TRANSPOSED:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels


def _native(array):
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


# ---- TIFF --------------------------------------------------------------------------------------


def _tiff(file):
    import tifffile

    logger = logging.getLogger("tifffile")
    if not logger.handlers:  # else its remarks on odd files go to the terminal
        logger.addHandler(logging.NullHandler())
    # An OME file may name other files to read: this one alone is meant.
    return tifffile.TiffFile(file, is_ome=False)


def _tiff_header(where, tiff):
    """Height, width and orientation of a TIFF of one plane, of a size that can be read."""
    page = tiff.pages[0]
    height, width = page.imagelength, page.imagewidth
    check_size(where, height, width, 1)  # before tifffile divides by it
    n_samples = page.samplesperpixel
    planes = page.imagedepth
    if len(tiff.pages) > 1 or tiff.is_imagej or tiff.is_shaped or tiff.is_stk:
        # Smaller copies of the picture (pyramids, thumbnails) are no planes.
        series = [s for s in tiff.series if not s.keyframe.is_reduced and not s.keyframe.is_mask]
        planes *= max(sum(s.size // max(s.keyframe.size, 1) for s in series), 1)
    refuse_planes(where, planes)
    itemsize = page.dtype.itemsize if page.dtype is not None else 1
    stored = n_samples * itemsize
    # What is given on: colours of 8 bits, or floats.
    check_size(where, height, width, max(stored, 3 if itemsize == 1 else 12))
    if page.is_tiled:  # a tile is decoded whole
        check_size(where, page.tilelength, page.tilewidth, stored)
    orientation = page.tags.get(_ORIENTATION)
    return height, width, 1 if orientation is None else orientation.value


def _from_tiff(where, file):
    """The `Pixels` of an open TIFF file."""
    with _tiff(file) as tiff:
        _, _, orientation = _tiff_header(where, tiff)
        page = tiff.pages[0]
        if page.dtype is not None and page.dtype.kind not in "biuf":
            raise Unreadable(where, f"its pixels are {page.dtype}, no whole numbers or floats")
        colours, alpha = _tiff_channels(where, page)
        fax = page.compression in _FAX
        by_pillow = (
            page.compression in _BY_PILLOW
            or page.photometric not in {_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE}
            or (alpha == _PREMULTIPLIED and page.bitspersample == 8)
            or page.bitspersample not in {1, 2, 4, 8, 16, 32, 64}
            or (page.bitspersample < 8 and page.samplesperpixel > 1)
        )
        if not by_pillow:
            array = _tifffile_array(where, page)
        if by_pillow or array is None:
            return _tiff_by_pillow(where, file, page)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    values = array if array.ndim == 2 else array[:, :, 0] if colours == 1 else array[:, :, :colours]
    pixels = Pixels(
        values,
        alpha=array[:, :, colours] if alpha else None,
        bilevel=page.bitspersample == 1 and page.photometric != _PALETTE,
        white_is_zero=page.photometric == _WHITE_IS_ZERO and not fax,
        top=_top(page),
    )
    if page.photometric == _PALETTE:
        pixels.palette = _palette(where, page)
    if values.dtype == bool:
        pixels.values = values.astype(np.uint8)
    return upright(where, pixels, orientation)


def _tiff_channels(where, page):
    """The number of colours, and the kind of the alpha channel behind them (0: none)."""
    n_samples = page.samplesperpixel
    extra = [int(kind) for kind in page.extrasamples]
    colours = 3 if page.photometric == _RGB else 1
    if page.photometric not in {_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE}:
        colours = n_samples - len(extra)  # CMYK, YCbCr and others: Pillow knows how many
    elif colours == 1 and n_samples == 3:
        colours = 3  # grey by its tag, but a pixel of three values is a colour
    alpha = extra[-1] if extra and n_samples == colours + 1 else 0
    if n_samples == colours or (
        # Arrays with the channels first are written as planes of RGBA, whatever they hold.
        n_samples == colours + 1 and alpha in {_PREMULTIPLIED, _ALPHA} and page.planarconfig == 1
    ):
        return colours, alpha
    if page.photometric in {_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB}:
        return n_samples, 0  # bands, markers: channels that are no colours
    return refuse_channels(where, n_samples)


def _tifffile_array(where, page):
    """The array (H, W[, C]) of a page, or None if this tifffile cannot decode it."""
    end = page.parent.filehandle.size
    counts = page.databytecounts
    short = any(
        offset + count > end for offset, count in zip(page.dataoffsets, counts, strict=True)
    )
    if page.compression == 1 and all(counts):  # none is left out on purpose (sparse files)
        row = -(-page.imagewidth * page.bitspersample // 8)
        short |= sum(counts) < page.imagelength * row * page.samplesperpixel
    if short:
        raise Unreadable(where, "it is truncated")
    _check_inflation(where, page)
    try:
        array = page.asarray(squeeze=False, maxworkers=1)
    except (NotImplementedError, ImportError):
        return None
    except (ValueError, KeyError) as error:
        if "imagecodecs" in str(error):
            return None
        raise
    samples, depth, height, width, channels = (1,) * (5 - array.ndim) + array.shape
    if samples > 1:  # plane by plane
        array = np.moveaxis(array.reshape(samples, height, width), 0, -1)
    return array.reshape(height, width, max(samples, channels))


def _check_inflation(where, page):
    """Refuse a strip or tile that holds more than its image: tifffile would inflate all of it."""
    if page.compression in _DEFLATE:
        make, most = zlib.decompressobj, 1032  # bytes that one byte becomes
    elif page.compression == _LZMA:
        from lzma import LZMADecompressor as make  # not in every Python

        most = 10_000
    else:
        return
    n_bytes = page.nbytes
    if page.is_tiled:
        n_bytes = max(n_bytes, page.tilelength * page.tilewidth * page.samplesperpixel * 8)
    limit, file = max(n_bytes, 2**26), page.parent.filehandle
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if count * most <= limit:
            continue
        file.seek(offset)
        try:
            held = len(make().decompress(file.read(count), limit + 1))
        except (MemoryError, OSError):
            raise
        except Exception:  # zlib's and lzma's own: said when it is decoded
            continue
        if held > limit:
            raise Unreadable(where, "a part of it inflates to more than the whole image")


def _tiff_by_pillow(where, file, page):
    """The `Pixels` of a page that tifffile does not decode, or not into colours."""
    cannot = Unreadable(
        where,
        f"it is a TIFF of {page.dtype} {page.photometric.name} compressed with "
        f"{page.compression.name}, which is not decoded here",
        "Save it as RGB or grey without compression, or install imagecodecs.",
    )

    def reopened():
        file.seek(0)
        try:
            return TiffImageFile(file)
        except SyntaxError:  # a mode that Pillow does not know
            raise cannot from None

    image = reopened()
    if rawmode_of(image) in {"RGB;16N", "RGBA;16N"}:
        wrong = "B" if sys.byteorder == "little" else "L"
        pixels = _split(_both_bytes(reopened, "N", wrong))
    else:
        pixels = _from_pillow_tiff(where, image)
    pixels.top = _top(page)
    return upright(where, pixels, 1)  # Pillow turns it while it loads


def _from_pillow_tiff(where, image):
    """The `Pixels` of Pillow's TIFF, with grey as stored and not as shown."""
    photometric = image.tag_v2.get(_PHOTOMETRIC)
    bits = image.tag_v2.get(258, (1,))
    lossy = image.tag_v2.get(259) in _JPEG
    fax = image.tag_v2.get(259) in _FAX
    pixels = from_pillow(where, image)
    pixels.lossy = lossy
    if photometric == _WHITE_IS_ZERO and not fax and pixels.values.ndim == 2:
        pixels.white_is_zero = True
        if pixels.bilevel:
            pixels.values = 1 - pixels.values
        elif pixels.values.dtype == np.uint8:
            pixels.values = 255 - pixels.values
    bits = bits[0] if isinstance(bits, tuple) else bits
    if bits in {2, 4} and pixels.palette is None and pixels.values.dtype == np.uint8:
        pixels.top = 2**bits - 1
        pixels.values = pixels.values // np.uint8(255 // pixels.top)
    return pixels


def _top(page):
    """The largest value that a page can hold, where it is less than its type can."""
    if page.bitspersample not in {8, 16, 32, 64}:
        return 2**page.bitspersample - 1
    tag = page.tags.get(_MAX_SAMPLE_VALUE)
    value = getattr(tag, "value", None)
    value = max(value) if isinstance(value, tuple) and value else value
    # Some writers put the largest value that occurs: only a full number of bits is a depth.
    if isinstance(value, int) and value >= 255 and value & (value + 1) == 0:
        return value
    return None


def _palette(where, page):
    colours = page.colormap
    if not isinstance(colours, np.ndarray) or colours.ndim != 2 or len(colours) != 3:
        raise Unreadable(where, "its palette is missing or damaged")
    if colours.max() > 255:  # 16 bits, as the format wants it; some write 8
        colours = colours >> 8
    return np.ascontiguousarray(colours.T.astype(np.uint8))
