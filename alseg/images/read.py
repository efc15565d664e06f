"""One file: the pixels of an image, the classes of a mask, the size of either."""

from pathlib import Path

import numpy as np
from PIL import Image

from alseg.images.formats import TRANSPOSED, bad, opened, orientation_of
from alseg.labels import MISSING
from alseg.validation import check_option

MASK_MAPPINGS = ("nonzero", "half", "binary")
MAX_ID = np.iinfo(np.int16).max


def read_image(path):
    """Read an image file.

    Grey is repeated to three channels, alpha is dropped, palettes are expanded, the EXIF
    orientation is applied; of a file with several pages the first is read.

    Parameters
    ----------
    path : str or Path
        ``~`` is expanded.

    Returns
    -------
    image : ndarray of shape (H, W, 3), uint8, or float32 in [0, 1]
        Files of 16 bits a channel are divided by 65535; files of floats must be in [0, 1].

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is empty, truncated, corrupt or not an image. Every message names the file.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (4, 2), 7).save(folder + "/grey.png")
    ...     read_image(folder + "/grey.png").shape
    (2, 4, 3)
    """
    pixels, mode = _decode(path, for_mask=False)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    elif pixels.shape[2] < 3:  # grey with alpha
        pixels = np.repeat(pixels[:, :, :1], 3, axis=2)
    pixels = np.ascontiguousarray(pixels[:, :, :3])
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return pixels.astype(np.float32) / np.float32(65535)
    if pixels.dtype.kind == "f":
        problem = float_problem(pixels)
        if problem:
            raise ValueError(bad(path, problem))
        return pixels.astype(np.float32)
    raise ValueError(
        bad(path, f"its pixels are {mode} ({pixels.dtype}); 8 or 16 bits or floats can be read")
    )


def read_mask(path, mapping=None):
    """Read a mask file: the class (or instance id) of each pixel.

    Palette files give the palette's indices; RGB or RGBA files whose colour channels agree give
    that channel; 1-bit files give 0 and 1.

    Parameters
    ----------
    path : str or Path
        ``~`` is expanded.
    mapping : {None, "nonzero", "half", "binary"}, default=None
        None keeps the values. "nonzero" maps what is above 0 to 1; "half" what is above 127
        (of 255) to 1; "binary" maps 255 to 1 and lets nothing but 0, 1 and 255 pass.

    Returns
    -------
    mask : ndarray of shape (H, W), int16

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read, has colours that are no ids, or values that do not fit.

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
    pixels, mode = _decode(path, for_mask=True)
    if pixels.ndim == 3:
        colours = pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, :1]
        if (colours != colours[:, :, :1]).any():
            remedy = "Save it as one channel (or palette) of class ids."
            raise ValueError(bad(path, "its colour channels differ, so they are no ids", remedy))
        pixels = colours[:, :, 0]
    if pixels.dtype.kind == "f":
        if not (np.isfinite(pixels).all() and (pixels == np.round(pixels)).all()):
            raise ValueError(bad(path, "its values are not whole numbers, so they are no ids"))
    if mapping == "nonzero":
        return (pixels > 0).astype(np.int16)
    if mapping == "half":
        # A 1-bit file says 0 and 1 where an 8-bit one says 0 and 255.
        return (pixels > (0 if mode == "1" else 127)).astype(np.int16)
    low, high = pixels.min(), pixels.max()
    if mapping == "binary":
        other = pixels[(pixels != 0) & (pixels != 1) & (pixels != 255)]
        if other.size:
            remedy = "Choose mapping=None for class ids, 'half' for soft edges."
            problem = f"it holds the value {other[0]}, where only 0, 1 and 255 may stand"
            raise ValueError(bad(path, problem, remedy))
        return (pixels > 0).astype(np.int16)
    if low < MISSING or high > MAX_ID:
        value = low if low < MISSING else high
        raise ValueError(bad(path, f"its value {value} is outside [{MISSING}, {MAX_ID}]"))
    return pixels.astype(np.int16)


def image_size(path):
    """Height and width of an image file, from its header, with the EXIF orientation applied.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    size : tuple (H, W) of int

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_image`; what the header does not show (truncation) is not seen here.
    """
    with opened(path) as image:
        width, height = image.size
        # Pillow gives TIFF sizes with the orientation already applied.
        if image.format != "TIFF" and orientation_of(image) in TRANSPOSED:
            width, height = height, width
    return height, width


def _decode(path, for_mask):
    """Pixels as stored (palette indices for masks, colours for images) and Pillow's mode."""
    with opened(path) as image:
        mode = image.mode
        orientation = orientation_of(image)
        if image.format == "TIFF" and _needs_tifffile(image):
            pixels = _read_tiff(path)
        elif image.format == "PNG" and image.tile and _is_deep_colour_png(image):
            pixels = _read_deep_png(path)
        else:
            if image.format == "TIFF":
                orientation = 1  # Pillow turns them itself
            if for_mask and mode not in {"CMYK", "YCbCr", "LAB", "HSV"}:
                pixels = np.array(image)
            elif mode.startswith("I") or mode == "F":
                pixels = np.array(image)
            elif mode in {"L", "LA", "1"}:
                pixels = np.array(image.convert("L"))
            else:
                pixels = np.array(image.convert("RGB"))
        pixels = _orient(pixels, orientation)
        if pixels.size == 0:
            raise ValueError(bad(path, "it has no pixels"))
        if pixels.dtype == bool:
            pixels = pixels.astype(np.uint8)
        elif pixels.dtype.kind == "u" and pixels.dtype.byteorder == ">":
            pixels = pixels.astype(pixels.dtype.newbyteorder("="))
        if mode == "I" and not for_mask and 0 <= pixels.min() and pixels.max() <= 65535:
            pixels = pixels.astype(np.uint16)  # how some writers and readers hold 16-bit grey
    return pixels, mode


def _needs_tifffile(image):
    """Whether Pillow would cut this TIFF to 8 bits a channel, or cannot hold it."""
    bits = image.tag_v2.get(258, (1,))  # BitsPerSample
    bits = bits if isinstance(bits, tuple) else (bits,)
    return len(bits) > 1 and max(bits) > 8


def _read_tiff(path):
    import tifffile

    with tifffile.TiffFile(Path(path).expanduser()) as file:
        page = file.pages[0]
        pixels = page.asarray()
        if pixels.ndim == 3 and "S" in page.axes and not page.axes.endswith("S"):
            pixels = np.moveaxis(pixels, page.axes.index("S"), -1)  # planar: channels first
    if pixels.ndim not in (2, 3):
        raise ValueError(bad(path, f"its first page has the shape {pixels.shape}"))
    return pixels


def _is_deep_colour_png(image):
    # Grey with alpha ("LA;16B") stays 8-bit: Pillow has no second reading of it.
    return image.tile[0][3] in {"RGB;16B", "RGBA;16B"}


def _read_deep_png(path):
    """A PNG with 16 bits a channel and colour: Pillow keeps one byte of two, so read it twice.

    PNG is big-endian. Told the truth ("RGB;16B") Pillow keeps the high bytes; told that the
    data were little-endian ("RGB;16L") it keeps the low ones.
    """
    halves = []
    for order in ("B", "L"):
        with Image.open(Path(path).expanduser()) as image:
            tile = image.tile[0]
            image.tile = [(*tile[:3], tile[3][:-1] + order)]
            halves.append(np.asarray(image).astype(np.uint16))
    return halves[0] * np.uint16(256) + halves[1]


def _orient(pixels, orientation):
    """Apply an EXIF orientation (1 to 8) to an array."""
    if orientation in TRANSPOSED:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels


def float_problem(pixels):
    """What is wrong with float pixels, or an empty string."""
    low, high = pixels.min(), pixels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return "it holds NaN or infinite values"
    if low < 0 or high > 1:
        return f"its values are in [{low:g}, {high:g}], not in [0, 1]"
    return ""
