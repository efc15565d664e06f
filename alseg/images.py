"""Reading images and masks: one face over arrays, lists of differing sizes, and files."""

import hashlib
import numbers
import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from alseg.labels import MISSING
from alseg.validation import check_option, message

MASK_MAPPINGS = ("nonzero", "half", "binary")
IMAGE_SUFFIXES = (".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff")

_MAX_ID = np.iinfo(np.int16).max
_TRANSPOSED = {5, 6, 7, 8}  # EXIF orientations that swap height and width
_EXIF_ORIENTATION = 0x0112
_LISTED = 10  # bad files that one error names


# ---- one file ----------------------------------------------------------------------------------


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
        problem = _float_problem(pixels)
        if problem:
            raise ValueError(_bad(path, problem))
        return pixels.astype(np.float32)
    raise ValueError(
        _bad(path, f"its pixels are {mode} ({pixels.dtype}); 8 or 16 bits or floats can be read")
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
            raise ValueError(_bad(path, "its colour channels differ, so they are no ids", remedy))
        pixels = colours[:, :, 0]
    if pixels.dtype.kind == "f":
        if not (np.isfinite(pixels).all() and (pixels == np.round(pixels)).all()):
            raise ValueError(_bad(path, "its values are not whole numbers, so they are no ids"))
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
            raise ValueError(_bad(path, problem, remedy))
        return (pixels > 0).astype(np.int16)
    if low < MISSING or high > _MAX_ID:
        value = low if low < MISSING else high
        raise ValueError(_bad(path, f"its value {value} is outside [{MISSING}, {_MAX_ID}]"))
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
    with _opened(path) as image:
        width, height = image.size
        # Pillow gives TIFF sizes with the orientation already applied.
        if image.format != "TIFF" and _orientation(image) in _TRANSPOSED:
            width, height = height, width
    return height, width


def _bad(path, problem, remedy=""):
    """The message of every unreadable file: which, why, and what to do."""
    text = f"{os.fspath(path)!r} cannot be read: {problem}."
    return f"{text} {remedy}" if remedy else text


class _opened:
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
                raise ValueError(_bad(path, "it is a folder, not a file"))
            if path.stat().st_size == 0:
                raise ValueError(_bad(path, "the file is empty"))
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
            raise ValueError(_bad(shown, "it is not an image file of a known format")) from None
        if isinstance(error, Image.DecompressionBombError):
            raise ValueError(_bad(shown, "it is too large", "Cut it into tiles.")) from error
        if isinstance(error, ValueError) and "cannot be read:" in str(error):
            return
        # Decoders raise what they like on damaged bytes (SyntaxError, struct.error, IndexError,
        # zlib.error, ...): all of it means that this file is bad.
        if isinstance(error, Exception):
            reason = f"it is truncated or corrupt ({type(error).__name__}: {error})"
            if isinstance(error, PermissionError):
                reason = "permission denied"
            raise ValueError(_bad(shown, reason)) from error


def _decode(path, for_mask):
    """Pixels as stored (palette indices for masks, colours for images) and Pillow's mode."""
    with _opened(path) as image:
        mode = image.mode
        orientation = _orientation(image)
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
            raise ValueError(_bad(path, "it has no pixels"))
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
        raise ValueError(_bad(path, f"its first page has the shape {pixels.shape}"))
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


def _orientation(image):
    """The EXIF orientation that the header gives, 1 to 8."""
    # Not PngImageFile.getexif: it decodes the pixels to look for EXIF behind them.
    return Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1)


def _orient(pixels, orientation):
    """Apply an EXIF orientation (1 to 8) to an array."""
    if orientation in _TRANSPOSED:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels


def _float_problem(pixels):
    """What is wrong with float pixels, or an empty string."""
    low, high = pixels.min(), pixels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return "it holds NaN or infinite values"
    if low < 0 or high > 1:
        return f"its values are in [{low:g}, {high:g}], not in [0, 1]"
    return ""


# ---- many files --------------------------------------------------------------------------------


class _Files:
    """A lazy sequence of files: indexed like a 1-D array, each element read when asked for.

    `shape` and the indexing by arrays are what scikit-learn's splitters need: without them they
    decode everything into a list.
    """

    _none_allowed = False

    def __init__(self, paths):
        if isinstance(paths, (str, os.PathLike)) or not hasattr(paths, "__len__"):
            raise TypeError(message("paths", "a sequence of paths", paths))
        held = np.empty(len(paths), dtype=object)
        for i, path in enumerate(paths):
            if path is None and self._none_allowed:
                continue
            if not isinstance(path, (str, os.PathLike)):
                raise TypeError(message(f"paths[{i}]", "a string or a Path", path))
            held[i] = os.path.expanduser(os.fspath(path))
        self.paths = held

    ndim = 1

    @property
    def shape(self):
        return (len(self.paths),)

    def __len__(self):
        return len(self.paths)

    def __iter__(self):
        return (self._read(path) for path in self.paths)

    def __getitem__(self, key):
        if isinstance(key, tuple):  # scikit-learn indexes rows with `X[key, ...]`
            if len(key) != 2 or key[1] is not Ellipsis:
                raise IndexError(message("index", "one-dimensional", key))
            key = key[0]
        if isinstance(key, numbers.Integral) and not isinstance(key, (bool, np.bool_)):
            return self._read(self.paths[key])
        return self._like(self.paths[_as_key(key)])

    def __array__(self, dtype=None, copy=None):
        array = stack(list(self))
        return array if dtype is None else array.astype(dtype)

    def take(self, idx):
        """The files at the positions `idx`, (k,) int, as a sequence of the same kind."""
        return self._like(self.paths[_as_key(idx)])

    def size(self, i):
        """(H, W) of file `i` from its header alone; None where there is no file."""
        path = self.paths[i]
        return None if path is None else image_size(path)

    def where(self, i):
        """How an error names element `i`: by its file."""
        return f"{self.paths[i]!r}"

    def __repr__(self):
        first = f", first {self.paths[0]!r}" if len(self) else ""
        return f"{type(self).__name__}({len(self)} files{first})"


class ImageFiles(_Files):
    """Image files as a sequence that reads each when it is asked for.

    Parameters
    ----------
    paths : sequence of str or Path
        ``~`` is expanded. Nothing is opened here.

    Attributes
    ----------
    paths : ndarray of shape (n,), object
        The paths as strings.
    shape : tuple (n,)

    Examples
    --------
    >>> files = ImageFiles(["a.png", "b.png", "c.png"])
    >>> files.shape, files[[2, 0]].paths.tolist()
    ((3,), ['c.png', 'a.png'])
    """

    def _like(self, paths):
        return ImageFiles(paths)

    def _read(self, path):
        return read_image(path)


class MaskFiles(_Files):
    """Mask files as a sequence that reads each when it is asked for.

    Parameters
    ----------
    paths : sequence of str, Path or None
        None is an image without a mask.
    mapping : {None, "nonzero", "half", "binary"}, default=None
        What becomes of the values, see `read_mask`.

    Attributes
    ----------
    paths : ndarray of shape (n,), object
        The paths as strings, None where there is none.
    shape : tuple (n,)

    Examples
    --------
    >>> masks = MaskFiles(["a.png", None], mapping="nonzero")
    >>> masks[1] is None, masks[:1].mapping
    (True, 'nonzero')
    """

    _none_allowed = True

    def __init__(self, paths, mapping=None):
        if mapping is not None:
            check_option("mapping", mapping, MASK_MAPPINGS)
        super().__init__(paths)
        self.mapping = mapping

    def _like(self, paths):
        return MaskFiles(paths, self.mapping)

    def _read(self, path):
        return None if path is None else read_mask(path, self.mapping)


def _as_key(key):
    """An index that numpy applies to a 1-D array: a slice, positions, or a boolean mask."""
    if isinstance(key, slice):
        return key
    key = np.asarray(key)
    return key.astype(np.intp) if key.size == 0 and key.dtype != bool else key


# ---- one face ----------------------------------------------------------------------------------


def as_images(X):
    """One face over every form that images are given in.

    Parameters
    ----------
    X : ndarray of shape (n, H, W, 3), (n, H, W, 1) or (n, H, W); or sequence of n
        uint8, or float in [0, 1]. A list or 1-D object array holds arrays of shape (H, W),
        (H, W, 1) or (H, W, 3) of differing sizes, PIL images, or paths; `ImageFiles` is taken as
        it is.

    Returns
    -------
    images : sequence
        ``len(images)``; ``images[i]`` is (H, W, 3), uint8 or float32 in [0, 1], grey repeated
        (it may be the very memory of `X`: not to be written to);
        ``images.size(i)`` is (H, W) without decoding; ``images.take(idx)`` the same for the
        positions `idx`, without a copy; ``images.where(i)`` names an element in errors.

    Raises
    ------
    TypeError
        If the dtype is neither uint8 nor float, or `X` is no sequence of images.
    ValueError
        If it is empty, has other than 1 or 3 channels, NaN, or floats outside [0, 1].

    Examples
    --------
    >>> images = as_images([np.zeros((4, 5), np.uint8), np.ones((2, 3, 3))])
    >>> len(images), images.size(0), images[1].dtype
    (2, (4, 5), dtype('float32'))
    """
    if isinstance(X, (ImageFiles, _HeldImages)):
        _check_filled("X", X)
        return X
    if isinstance(X, _Files) or isinstance(X, (str, bytes, os.PathLike)):
        raise TypeError(message("X", "a sequence of images or of image files", X))
    if _is_numeric_array(X):
        X = np.asarray(X)
        if X.ndim not in (3, 4):
            raise ValueError(
                message("X", "of shape (n, H, W, C) or (n, H, W)", X.shape, _shape_remedy(X.shape))
            )
        if X.ndim == 3 and X.shape[2] in (3, 4) and min(X.shape[:2]) >= 16:
            remedy = "That looks like one image: pass X[None]."
            raise ValueError(message("X", "a sequence of images", X.shape, remedy))
        _check_filled("X", X)
        _check_pixels("X", X, X.shape[3] if X.ndim == 4 else 1)
        return _HeldImages(X)
    items = _as_items("X", X)
    _check_filled("X", items)
    if all(isinstance(item, (str, os.PathLike)) for item in items):
        return ImageFiles(items)
    for i, item in enumerate(items):
        if isinstance(item, (str, os.PathLike)):
            items[i] = os.path.expanduser(os.fspath(item))
            continue
        if item is None:
            raise ValueError(message(f"X[{i}]", "an image", item))
        if isinstance(item, Image.Image) and item.mode in ("P", "PA"):
            item = item.convert("RGB")  # an array of it holds positions in the palette, no colours
        array = np.asarray(item)
        if array.ndim not in (2, 3):
            raise ValueError(message(f"X[{i}]", "of shape (H, W) or (H, W, C)", array.shape))
        _check_pixels(f"X[{i}]", array, array.shape[2] if array.ndim == 3 else 1)
        items[i] = array
    return _HeldImages(items)


def as_masks(masks, n_samples):
    """One face over every form that masks are given in.

    Parameters
    ----------
    masks : None, ndarray of shape (n, H, W), or sequence of n
        Class of each pixel, signed int, `MISSING` (-1) where not annotated. A list or 1-D object
        array holds arrays of shape (H, W), None (nothing annotated), or paths; `MaskFiles` is
        taken as it is. None is None for every image.
    n_samples : int
        How many there must be.

    Returns
    -------
    masks : sequence
        ``masks[i]`` is (H, W) int16, or None; ``take``, ``size``, ``where`` as in `as_images`.
        A mask that is all `MISSING` stays an array.

    Raises
    ------
    TypeError
        If the masks are not whole numbers.
    ValueError
        If there are not `n_samples`, or a value is outside [-1, 32767].

    Examples
    --------
    >>> masks = as_masks([None, np.array([[0, 1]])], 2)
    >>> masks[0] is None, masks[1].dtype
    (True, dtype('int16'))
    """
    if masks is None:
        masks = _HeldMasks(np.full(n_samples, None, dtype=object))
    elif isinstance(masks, (MaskFiles, _HeldMasks)):
        pass
    elif isinstance(masks, _Files) or isinstance(masks, (str, bytes, os.PathLike)):
        raise TypeError(message("masks", "a sequence of masks or of mask files", masks))
    elif _is_numeric_array(masks):
        masks = np.asarray(masks)
        if masks.ndim != 3:
            raise ValueError(message("masks", "of shape (n, H, W)", masks.shape))
        _check_ids("masks", masks)
        masks = _HeldMasks(masks)
    else:
        items = _as_items("masks", masks)
        for i, item in enumerate(items):
            if item is None:
                continue
            if isinstance(item, (str, os.PathLike)):
                items[i] = os.path.expanduser(os.fspath(item))
                continue
            array = np.asarray(item)
            if array.ndim != 2 or array.size == 0:
                raise ValueError(message(f"masks[{i}]", "of shape (H, W) or None", array.shape))
            _check_ids(f"masks[{i}]", array)
            items[i] = array
        masks = _HeldMasks(items)
    if len(masks) != n_samples:
        remedy = "Use None for an image without a mask."
        raise ValueError(
            message("masks", f"of the length of X ({n_samples})", len(masks), remedy)
        )
    return masks


def fingerprint(image):
    """What tells an image from others by its content: a digest of pixels, shape and type.

    Parameters
    ----------
    image : ndarray

    Returns
    -------
    str

    Examples
    --------
    >>> a = np.zeros((2, 3, 3), np.uint8)
    >>> fingerprint(a) == fingerprint(a.copy()), fingerprint(a) == fingerprint(a.reshape(3, 2, 3))
    (True, False)
    """
    image = np.ascontiguousarray(image)
    start = f"{image.dtype.str}{image.shape}".encode()
    return hashlib.blake2b(image.data, digest_size=16, key=hashlib.sha256(start).digest()).hexdigest()


def check_pairs(images, masks, n_mask_classes=None):
    """Read every image and mask once, before an hour of training shows that one is bad.

    Parameters
    ----------
    images : as for `as_images`
    masks : as for `as_masks`
    n_mask_classes : int or None, default=None
        If given, mask values must be `MISSING` or in [0, n_mask_classes - 1].

    Raises
    ------
    FileNotFoundError, ValueError
        Names each file or position that is bad (the first ten), and why: it cannot be read, a
        mask's size differs from its image's, a value is no class.

    Examples
    --------
    >>> check_pairs(np.zeros((1, 2, 2), np.uint8), [np.array([[0, 2], [0, 0]])], n_mask_classes=2)
    Traceback (most recent call last):
        ...
    ValueError: masks[0] holds the value 2, which is no class: with n_mask_classes=2 ...
    """
    images = as_images(images)
    masks = as_masks(masks, len(images))
    problems, missing = [], True
    for i in range(len(images)):
        try:
            _check_pair(images, masks, i, n_mask_classes)
        except FileNotFoundError as error:
            problems.append(str(error))
        except ValueError as error:
            problems.append(str(error))
            missing = False
    if problems:
        text = problems[0]
        if len(problems) > 1:
            text = f"{len(problems)} images or masks are bad. " + " ".join(problems[:_LISTED])
        raise (FileNotFoundError if missing else ValueError)(text)


def _check_pair(images, masks, i, n_mask_classes):
    height, width = images[i].shape[:2]
    mask = masks[i]
    if mask is None:
        return
    if mask.shape != (height, width):
        raise ValueError(
            f"The mask {masks.where(i)} is {mask.shape[0]} x {mask.shape[1]} pixels, its image "
            f"{images.where(i)} {height} x {width}: they must agree."
        )
    if n_mask_classes is None:
        return
    bad = mask[(mask < MISSING) | (mask >= n_mask_classes)]
    if bad.size:
        remedy = ""
        if n_mask_classes == 2:
            remedy = (
                " For 0/255 masks or instance ids map what is above 0 to 1: "
                "MaskFiles(paths, mapping='nonzero')."
            )
        raise ValueError(
            f"{masks.where(i)} holds the value {bad.max()}, which is no class: with "
            f"n_mask_classes={n_mask_classes} it must be {MISSING} (not annotated) or in "
            f"[0, {n_mask_classes - 1}].{remedy}"
        )


def stack(arrays):
    """One array if the shapes agree, else a 1-D object array.

    Parameters
    ----------
    arrays : sequence of ndarray (or None)

    Returns
    -------
    ndarray of shape (n, ...) or (n,), object

    Examples
    --------
    >>> stack([np.zeros((2, 3)), np.ones((2, 3))]).shape
    (2, 2, 3)
    >>> stack([np.zeros((2, 3)), np.ones((4, 3))]).shape
    (2,)
    """
    arrays = list(arrays)
    if arrays and all(array is not None for array in arrays):
        if len({np.shape(array) for array in arrays}) == 1:
            return np.stack(arrays)
    held = np.empty(len(arrays), dtype=object)
    for i, array in enumerate(arrays):
        held[i] = array
    return held


class _Held:
    """Elements in memory (or paths among them), seen through positions, so `take` copies none."""

    def __init__(self, items, index=None):
        self.items = items
        self.index = np.arange(len(items)) if index is None else index

    ndim = 1

    @property
    def shape(self):
        return (len(self.index),)

    def __len__(self):
        return len(self.index)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key):
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]
        if isinstance(key, numbers.Integral) and not isinstance(key, (bool, np.bool_)):
            return self._read(self.items[self.index[key]])
        return self.take(key)

    def __array__(self, dtype=None, copy=None):
        array = stack(list(self))
        return array if dtype is None else array.astype(dtype)

    def take(self, idx):
        return type(self)(self.items, self.index[_as_key(idx)])

    def size(self, i):
        item = self.items[self.index[i]]
        if item is None:
            return None
        return image_size(item) if isinstance(item, str) else item.shape[:2]

    def where(self, i):
        item = self.items[self.index[i]]
        return repr(item) if isinstance(item, str) else f"{self.name}[{self.index[i]}]"


class _HeldImages(_Held):
    name = "X"

    def _read(self, item):
        if isinstance(item, str):
            return read_image(item)
        if item.ndim == 2:
            item = item[:, :, None]
        if item.shape[2] == 1:
            item = np.repeat(item, 3, axis=2)
        return item if item.dtype == np.uint8 else item.astype(np.float32, copy=False)


class _HeldMasks(_Held):
    name = "masks"

    def _read(self, item):
        if item is None:
            return None
        return read_mask(item) if isinstance(item, str) else item.astype(np.int16, copy=False)


def _is_numeric_array(X):
    dtype = getattr(X, "dtype", None)
    return dtype is not None and hasattr(X, "ndim") and getattr(dtype, "kind", "n") not in "OUST"


def _as_items(name, X):
    """A 1-D object array of the elements of a list, tuple, object array or column."""
    if not hasattr(X, "__len__") or not hasattr(X, "__iter__") or isinstance(X, dict):
        raise TypeError(message(name, "an array, or a list of arrays or of paths", X))
    if hasattr(X, "columns"):  # iterated, a data frame gives the names of its columns
        remedy = "Pass the column of images or paths alone, such as X['image']."
        raise TypeError(message(name, "one column", type(X).__name__, remedy))
    items = np.empty(len(X), dtype=object)
    for i, item in enumerate(X):
        # np.array(list_of_images, dtype=object) pulls images of one size apart into numbers.
        loose = getattr(item, "dtype", None) == object and np.ndim(item) > 0
        items[i] = _numbers(item) if loose else item
    return items


def _numbers(item):
    """An array of Python numbers as an array of numbers: whole ones in [0, 255] as uint8."""
    array = np.array(item.tolist())
    if array.dtype.kind == "i" and array.min(initial=0) >= 0 and array.max(initial=0) <= 255:
        return array.astype(np.uint8)
    return array


def _check_filled(name, X):
    if len(X) == 0:
        raise ValueError(message(name, "at least one image", f"{len(X)} images"))


def _shape_remedy(shape):
    return "For one image pass X[None]." if len(shape) == 2 else ""


def _check_pixels(name, array, n_channels):
    """Raise unless `array` holds pixels: uint8, or floats in [0, 1], of 1 or 3 channels."""
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        remedy = "Divide by the largest possible value, or pass uint8."
        raise TypeError(message(name, "uint8, or float in [0, 1]", str(array.dtype), remedy))
    if array.size == 0:
        raise ValueError(message(name, "an image with pixels", array.shape))
    if n_channels not in (1, 3):
        remedy = ""
        if n_channels in (2, 4):
            remedy = "Drop the alpha channel."
        elif array.ndim >= 3 and array.shape[-3] in (1, 3):
            remedy = "Put the channels last: np.moveaxis(X, -3, -1)."
        raise ValueError(message(name, "of 1 or 3 channels in the last axis", array.shape, remedy))
    if array.dtype.kind == "f":
        problem = _float_problem(array)
        if problem:
            if name == "X":  # the whole array: name the first image at fault
                first = next(i for i, image in enumerate(array) if _float_problem(image))
                name, problem = f"X[{first}]", _float_problem(array[first])
            remedy = " Divide by 255, or pass uint8." if array.max() > 1 else ""
            raise ValueError(f"{name} must be finite and in [0, 1], but {problem}.{remedy}")


def _check_ids(name, array):
    """Raise unless `array` holds pixel classes that fit int16."""
    if array.dtype.kind not in "iub":
        remedy = "Convert with .astype(int) if they are whole numbers."
        raise TypeError(message(name, "whole numbers (classes)", str(array.dtype), remedy))
    if array.size and array.dtype.kind != "b":
        low, high = array.min(), array.max()
        if low < MISSING or high > _MAX_ID:
            value = int(low if low < MISSING else high)
            raise ValueError(message(name, f"in [{MISSING}, {_MAX_ID}]", value))
