"""One file: what its pixels are, in every format that is read, and what is refused."""

import builtins
import errno
import io
import lzma
import os
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from test_images import deep_png, save
from waiting import HANG

from alseg.images import (
    IMAGE_SUFFIXES,
    as_images,
    as_masks,
    image_size,
    is_image_name,
    mask_values,
    read_image,
    read_mask,
)
from alseg.images import formats as image_formats

READERS = [read_image, read_mask, image_size]
GREY = np.array([[0, 100, 255], [7, 1, 2]], np.uint8)


@pytest.fixture
def rgb(rng):
    return rng.integers(0, 256, (6, 9, 3)).astype(np.uint8)


def tiff(path, array, **options):
    tifffile.imwrite(path, array, **options)
    return path


def pillow(path, image, **options):
    image.save(path, **options)
    return path


# ---- what is opened ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_documented_suffix_is_read(tmp_path, rgb, suffix):
    path = save(tmp_path / f"a{suffix}", rgb)
    assert read_image(path).shape == rgb.shape and image_size(path) == (6, 9)
    assert is_image_name(path) and is_image_name(str(path).upper())
    path.rename(tmp_path / "content counts.dat")
    assert read_image(tmp_path / "content counts.dat").shape == rgb.shape


def test_names_that_are_no_images():
    assert not any(map(is_image_name, ["a.txt", "png", "a.png.zip", "d/._a.png", "a.svs"]))


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) (w) file\n",
        b"\xc5\xd0\xd3\xc6" + bytes(28) + b"%!PS",
        b"P6 1 1 255\n\0\0\0",
        b"%PDF-1.4\n",
        b"\0\0\1\0" + bytes(60),
    ],
)
@pytest.mark.parametrize("reader", READERS)
def test_other_formats_are_refused_and_start_no_program(tmp_path, reader, content, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    Image.init()  # all of Pillow's formats are there to be asked
    for name in ("Popen", "run", "call", "check_call"):
        monkeypatch.setattr(subprocess, name, lambda *a, **k: pytest.fail("a program was run"))
    known = r"a\.png' cannot be read: it is not an image of a readable format \(BMP, GIF, JPEG, PNG"
    with pytest.raises(ValueError, match=known):
        reader(path)


def test_no_file_of_the_package_opens_images_by_itself():
    from pathlib import Path

    import alseg

    for source in Path(alseg.__file__).parent.rglob("*.py"):
        assert "Image.open(" not in source.read_text(), source


@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_is_no_file(tmp_path, reader):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match="it is a pipe or a device"):
        reader(tmp_path / "a.png")


@pytest.mark.parametrize(
    "name", ["a#b?.png", "a\nb.png", "a\x1b[2Jb.png", "\udcff\udcfe.png", "é.png"]
)
def test_odd_names_are_read_and_shown_escaped(tmp_path, rgb, name):
    path = os.path.join(tmp_path, name)
    Image.fromarray(rgb).save(tmp_path / "plain.png")
    os.rename(tmp_path / "plain.png", path)
    np.testing.assert_array_equal(read_image(path), rgb)
    np.testing.assert_array_equal(as_images([path])[0], rgb)
    with open(path, "wb") as file:
        file.write(b"no image")
    with pytest.raises(ValueError, match="not an image of") as caught:
        read_image(path)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    str(caught.value).encode("utf-8")  # can be printed


def test_a_name_that_cannot_be_is_not_there():
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_image("a\0b.png")


# ---- limits ------------------------------------------------------------------------------------


def huge_png(path, side=20_000):
    """A PNG whose header says 20 000 x 20 000 at one bit, with next to nothing behind it."""
    Image.new("1", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(content)
    return path


def huge_tiff(path):
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.zeros((8, 8), np.uint8))
    with tifffile.TiffFile(path, mode="r+") as file:
        for tag in (256, 257):
            file.pages[0].tags[tag].overwrite(20_000)
    return path


@pytest.mark.parametrize("make, name", [(huge_png, "a.png"), (huge_tiff, "a.tif")])
@pytest.mark.parametrize("reader", READERS)
def test_too_many_pixels_are_refused_from_the_header(tmp_path, make, name, reader):
    path = make(tmp_path / name)
    limit = r"it is 20000 x 20000 pixels, 400 megapixels, and at most 128 are read\. Cut it into"
    with warnings.catch_warnings(), pytest.raises(ValueError, match=limit):
        warnings.simplefilter("error")
        reader(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".webp", ".tif"])
def test_the_limit_is_looked_at_before_anything_is_decoded(tmp_path, rgb, suffix, monkeypatch):
    path = save(tmp_path / f"a{suffix}", rgb)
    monkeypatch.setattr(image_formats, "MAX_PIXELS", 6 * 9)
    assert read_image(path).shape == (6, 9, 3)
    monkeypatch.setattr(image_formats, "MAX_PIXELS", 6 * 9 - 1)
    monkeypatch.setattr(Image.core, "new", lambda *a: pytest.fail("decoded"))
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *a, **k: pytest.fail("decoded"))
    for reader in READERS:
        with pytest.raises(ValueError, match="it is 6 x 9 pixels"):
            reader(path)


@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_a_strip_that_inflates_without_end_is_refused(tmp_path, compression):
    zeros = bytes(2**27)
    packed = zlib.compress(zeros, 9) if compression == "zlib" else lzma.compress(zeros, preset=0)
    with tifffile.TiffWriter(tmp_path / "bomb.tif") as writer:
        writer.write(
            iter([packed]),
            shape=(8, 8),
            dtype="u1",
            photometric="minisblack",
            compression=compression,
            rowsperstrip=8,
        )
    for reader in (read_image, read_mask):
        with pytest.raises(ValueError, match=r"bomb\.tif' .*inflates to more than the whole image"):
            reader(tmp_path / "bomb.tif")


def test_bytes_are_limited_too(tmp_path, monkeypatch):
    path = tiff(tmp_path / "a.tif", np.zeros((6, 9, 3)), photometric="rgb")
    monkeypatch.setattr(image_formats, "MAX_BYTES", 6 * 9 * 3 * 8 - 1)
    with pytest.raises(ValueError, match="which decoded take 0.0 GB, and at most"):
        read_image(path)


# ---- the machine at fault ----------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_what_the_system_says_blames_no_image(tmp_path, rgb, number, suffix, monkeypatch):
    path = save(tmp_path / f"good{suffix}", rgb)
    whole = builtins.open

    def refuse(file, *args, **kwargs):
        if str(file) == str(path):
            raise OSError(number, os.strerror(number), file)
        return whole(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", refuse)
    for reader in READERS:
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            reader(path)
        assert caught.value.errno == number and caught.value.filename == str(path)


def test_a_disk_that_breaks_while_it_is_read_blames_no_image(tmp_path, rgb, monkeypatch):
    path = save(tmp_path / "good.png", rgb)
    whole = builtins.open

    class Broken(io.BytesIO):
        def readinto(self, buffer):
            if self.tell() > 40:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().readinto(memoryview(buffer)[:20])

    def broken(file, *args, **kwargs):
        return Broken(path.read_bytes()) if file == str(path) else whole(file, *args, **kwargs)

    monkeypatch.setattr("pathlib.Path.read_bytes", lambda self: whole(self, "rb").read())
    monkeypatch.setattr(builtins, "open", broken)
    with pytest.raises(OSError, match="Input/output error: '.*good.png'"):
        read_image(path)


def test_too_little_memory_blames_no_image(tmp_path, rgb, monkeypatch):
    paths = [save(tmp_path / f"good{suffix}", rgb) for suffix in (".png", ".tif")]

    def none_left(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(Image.core, "new", none_left)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", none_left)
    for path in paths:
        for reader in (read_image, read_mask):
            with pytest.raises(MemoryError):
                reader(path)


def test_a_damaged_length_is_no_lack_of_memory(tmp_path, rgb):
    path = save(tmp_path / "bad.png", rgb)
    content = path.read_bytes()
    at = content.index(b"IDAT") - 4
    path.write_bytes(content[:at] + b"\xf0\0\0\0" + content[at + 4 :])  # four gigabytes
    code = (
        "import resource, numpy\nfrom alseg.images import read_image\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        f"print(read_image({str(path)!r}).shape)"  # all pixels are there
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG)
    assert run.stdout.strip() == "(6, 9, 3)", run.stderr


# ---- TIFF --------------------------------------------------------------------------------------


BOOL = np.array([[True, False, False], [True, True, False]])


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"photometric": "minisblack"}])
@pytest.mark.parametrize("mapping", [None, "nonzero", "half", "binary"])
def test_boolean_tiffs_come_in_as_they_were_written(tmp_path, options, mapping):
    path = tiff(tmp_path / "m.tif", BOOL, **options)
    np.testing.assert_array_equal(read_mask(path, mapping), BOOL)
    assert mask_values(path)[1] == "bilevel"
    np.testing.assert_array_equal(read_image(path)[..., 0], BOOL * 255)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_one_bit_tiffs_of_pillow_and_libtiff(tmp_path, compression):
    path = pillow(tmp_path / "m.tif", Image.fromarray(BOOL), compression=compression)
    np.testing.assert_array_equal(read_mask(path), BOOL)
    np.testing.assert_array_equal(read_image(path)[..., 2], BOOL * 255)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
@pytest.mark.parametrize("white_is_zero", [0, 1])
def test_fax_compressed_masks_are_what_a_viewer_shows(tmp_path, compression, white_is_zero):
    path = pillow(
        tmp_path / "m.tif",
        Image.fromarray(BOOL),
        compression=compression,
        tiffinfo={262: 1 - white_is_zero},
    )
    seen = np.asarray(Image.open(path))
    np.testing.assert_array_equal(read_mask(path), seen)
    np.testing.assert_array_equal(read_image(path)[..., 0], seen * 255)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_ids_with_white_as_zero_stay_and_pictures_are_shown(tmp_path, dtype):
    path = tiff(tmp_path / "m.tif", GREY.astype(dtype), photometric="miniswhite")
    np.testing.assert_array_equal(read_mask(path), GREY)
    np.testing.assert_array_equal(read_mask(path, "nonzero"), GREY > 0)
    np.testing.assert_allclose(
        read_image(path)[..., 0] / (255 if dtype == "u1" else 1),
        (255 - GREY.astype(float)) / 255,
        atol=1e-6,
    )
    lzw = pillow(
        tmp_path / "l.tif", Image.fromarray(255 - GREY), compression="tiff_lzw", tiffinfo={262: 0}
    )
    stored = 255 - np.asarray(Image.open(lzw))
    np.testing.assert_array_equal(read_mask(lzw), stored)
    np.testing.assert_array_equal(read_image(lzw)[..., 0], 255 - stored)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"compression": "zlib"},
        {"tile": (16, 16)},
        {"rowsperstrip": 1},
    ],
)
def test_mask_tiffs_of_every_number_type(tmp_path, dtype, options):
    ids = np.array([[0, 3, 1], [127, 2, 0]], dtype)
    read = read_mask(tiff(tmp_path / "m.tif", ids, **options))
    assert read.dtype == np.int16 and read.flags.writeable
    np.testing.assert_array_equal(read, ids)


@pytest.mark.parametrize("dtype", ["i2", "i4", "i8", "u2", "u4", "u8"])
@pytest.mark.parametrize("high, top", [(200, 255), (4000, 4095), (30_000, 65535)])
def test_whole_numbers_of_any_type_are_pictures(tmp_path, dtype, high, top):
    values = np.array([[0, high], [17, 5]], dtype)
    image = read_image(tiff(tmp_path / "a.tif", values))
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[..., 1], values / top, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_float_tiffs_in_unit_range_are_pictures(tmp_path, rng, dtype):
    values = rng.random((4, 5, 3)).astype(dtype)
    image = read_image(tiff(tmp_path / "a.tif", values, photometric="rgb"))
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, values.astype(np.float32))


def test_values_that_do_not_fit_are_refused(tmp_path):
    for value in (-2, 2**40):
        path = tiff(tmp_path / "v.tif", np.array([[0, value]]))
        with pytest.raises(ValueError, match=rf"v\.tif' .* value {value} is outside"):
            read_mask(path)
        with pytest.raises(ValueError, match=r"v\.tif' .*values are in .*not in \[0, 65535\]"):
            read_image(path)
    tiff(tmp_path / "v.tif", np.array([[0, 2**64 - 1]], np.uint64))
    for mapping in (None, "nonzero"):
        with pytest.raises(
            ValueError, match=r"v\.tif' cannot be read: its value 18446744073709551615"
        ):
            read_mask(tmp_path / "v.tif", mapping)
    tiff(tmp_path / "c.tif", np.zeros((2, 2), complex))
    for reader in (read_image, read_mask):
        with pytest.raises(ValueError, match=r"c\.tif' cannot be read: its pixels are complex128"):
            reader(tmp_path / "c.tif")
    tiff(tmp_path / "f.tif", np.array([[0.0, 255.0]]))
    with pytest.raises(ValueError, match=r"in \[0, 255\], not in \[0, 1\]\. Divide them by"):
        read_image(tmp_path / "f.tif")


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg"])
def test_compressed_tiffs_of_libtiff(tmp_path, rgb, compression):
    smooth = np.broadcast_to(np.arange(0, 90, 10, dtype=np.uint8)[None, :, None], rgb.shape)
    path = pillow(
        tmp_path / "a.tif", Image.fromarray(np.ascontiguousarray(smooth)), compression=compression
    )
    image = read_image(path)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image, smooth, atol=3 if compression == "jpeg" else 0)
    ids = pillow(tmp_path / "m.tif", Image.fromarray(GREY), compression=compression)
    assert mask_values(ids)[1] == ("lossy" if compression == "jpeg" else "ids")
    if compression != "jpeg":
        np.testing.assert_array_equal(read_mask(ids), GREY)
        deep = Image.fromarray(np.array([[0, 300]], np.uint16))
        assert read_mask(pillow(tmp_path / "d.tif", deep, compression=compression)).tolist() == [
            [0, 300]
        ]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_damaged_exif_leaves_the_pixels(tmp_path, rgb, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    whole = read_image(save(tmp_path / f"whole{suffix}", rgb, **options))
    path = save(tmp_path / f"a{suffix}", rgb, exif=b"Exif\0\0garbage", **options)
    np.testing.assert_array_equal(read_image(path), whole)


def test_packed_12_bits_are_a_depth_that_the_file_states(tmp_path):
    packed = np.frombuffer(bytes([0x0F, 0x01, 0x23, 0x45, 0x60, 0x07]), np.uint8).reshape(1, 6)
    path = tiff(tmp_path / "a.tif", packed, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[256].overwrite(4)
        file.pages[0].tags[258].overwrite(12)
    values = [[0x0F0, 0x123, 0x456, 0x007]]
    assert read_mask(path).tolist() == values
    np.testing.assert_allclose(read_image(path)[..., 0], np.array(values) / 4095, rtol=1e-6)


def lzw(array):
    """An array's bytes as TIFF's LZW writes them: 9-bit codes, cleared before they grow."""
    codes = []
    for i, byte in enumerate(array.tobytes()):
        codes += [256] * (i % 200 == 0) + [byte]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_lzw_of_16_bits_and_colour_keeps_all_bits(tmp_path, rng, byteorder):
    deep = rng.integers(0, 65536, (5, 7, 3)).astype(byteorder + "u2")
    packed = lzw(deep)
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=byteorder) as writer:
        writer.write(
            iter([packed]),
            shape=deep.shape,
            dtype=deep.dtype,
            photometric="rgb",
            compression="zlib",
            rowsperstrip=5,
        )
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages[0].tags[259].overwrite(5)
    np.testing.assert_allclose(read_image(tmp_path / "a.tif") * 65535, deep, rtol=1e-6)


def test_a_compression_that_nobody_decodes_says_so(tmp_path):
    path = tiff(tmp_path / "a.tif", GREY, compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[259].overwrite(34887)  # LERC
    with pytest.raises(ValueError, match=r"a\.tif' .*TIFF of uint8 MINISBLACK .*LERC.*Save it as"):
        read_image(path)
    assert image_size(path) == GREY.shape


@pytest.mark.parametrize("compression", [None, "zlib", "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_tiffs_is_applied_once(tmp_path, rgb, compression, orientation):
    path = tmp_path / "a.tif"
    if compression == "tiff_lzw":
        pillow(path, Image.fromarray(rgb), compression=compression, tiffinfo={274: orientation})
    else:
        tiff(path, rgb, compression=compression, extratags=[(274, 3, 1, orientation, True)])
    exif = Image.Exif()
    exif[274] = orientation
    save(tmp_path / "a.png", rgb, exif=exif)
    np.testing.assert_array_equal(read_image(path), read_image(tmp_path / "a.png"))
    assert image_size(path) == image_size(tmp_path / "a.png")


def test_palettes_colours_and_alpha_in_tiffs(tmp_path, rgb):
    palette = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    for compression in ("raw", "tiff_lzw"):
        path = pillow(tmp_path / "p.tif", palette, compression=compression)
        assert read_image(path)[0, 1].tolist() == [40, 50, 60]
        assert read_mask(path).tolist() == [[0, 1], [2, 1]]
    for mode, red in [("CMYK", (0, 255, 255, 0)), ("YCbCr", (76, 85, 255))]:
        path = pillow(tmp_path / "c.tif", Image.new(mode, (3, 2), red))
        np.testing.assert_allclose(read_image(path)[0, 0], [254, 0, 0], atol=2)
    alpha = np.dstack([rgb, np.full(rgb.shape[:2], 9, np.uint8)])
    np.testing.assert_array_equal(read_image(tiff(tmp_path / "a.tif", alpha)), rgb)
    grey = tiff(
        tmp_path / "g.tif",
        np.dstack([rgb[..., 0], rgb[..., 1]]),
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    np.testing.assert_array_equal(read_image(grey)[..., 1], rgb[..., 0])


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_are_scaled_in_pictures_and_kept_in_tiff_masks(tmp_path, bits):
    values = np.array([[0, 1], [2, 3]], np.uint8)
    packed = np.array([[0b00010000], [0b10110000]] if bits == 2 else [[0x01], [0x23]], np.uint8)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(packed, photometric="minisblack", extratags=[], metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[256].overwrite(2)
        file.pages[0].tags[258].overwrite(bits)
    assert read_mask(path).tolist() == values.tolist()
    np.testing.assert_array_equal(read_image(path)[..., 0], values * (255 // (2**bits - 1)))


def test_strips_that_are_cut_or_too_short_are_seen(tmp_path, rng):
    path = tiff(tmp_path / "cut.tif", rng.integers(0, 9, (40, 50)).astype(np.uint8), rowsperstrip=8)
    path.write_bytes(path.read_bytes()[:-300])
    for reader in (read_image, read_mask):
        with pytest.raises(ValueError, match=r"cut\.tif' cannot be read: it is truncated"):
            reader(path)


def test_a_header_that_asks_for_more_than_there_is(tmp_path, rng):
    path = tiff(tmp_path / "long.tif", rng.integers(0, 9, (40, 50)).astype(np.uint8))
    with tifffile.TiffFile(path, mode="r+") as file:
        for tag in (257, 278):  # height, rows a strip
            file.pages[0].tags[tag].overwrite(60_000)
    for reader in (read_image, read_mask):
        with pytest.raises(ValueError, match=r"long\.tif' cannot be read: it is truncated"):
            reader(path)


def test_a_damaged_palette_and_colours_of_one_bit(tmp_path):
    palette = Image.fromarray(GREY % 3, "P")
    palette.putpalette([0, 0, 0, 9, 9, 9, 7, 7, 7])
    path = pillow(tmp_path / "p.tif", palette)
    content = path.read_bytes()
    tag = content.index(bytes([0x40, 0x01, 3, 0]))  # the palette: 768 numbers of 16 bits
    path.write_bytes(content[: tag + 4] + b"\1\0\0\0" + content[tag + 8 :])
    for reader in (read_image, read_mask):
        with pytest.raises(ValueError, match=r"p\.tif' cannot be read: its palette is"):
            reader(path)
    tiff(tmp_path / "c.tif", np.zeros((4, 8, 3), bool), photometric="rgb", planarconfig="contig")
    with pytest.raises(ValueError, match=r"c\.tif' .*is a TIFF of bool RGB .*not decoded here"):
        read_image(tmp_path / "c.tif")


# ---- several planes, other channels ------------------------------------------------------------


def frames(path, rgb, **options):
    first, *rest = (Image.fromarray(np.roll(rgb, i, axis=0)) for i in range(5))
    return pillow(path, first, save_all=True, append_images=rest, **options)


def stacks(folder, rgb):
    grey = np.arange(5 * 6 * 9, dtype=np.uint8).reshape(5, 6, 9)
    yield tiff(folder / "pages.tif", grey)
    yield tiff(folder / "imagej.tif", grey, imagej=True)
    yield tiff(folder / "volume.tif", grey, volumetric=True, tile=(16, 16, 16))
    yield tiff(folder / "truncated.tif", grey, contiguous=True, metadata={"axes": "ZYX"})
    yield tiff(folder / "ome.ome.tif", grey, metadata={"axes": "ZYX"})
    yield tiff(folder / "colours.tif", np.stack([rgb] * 5))
    yield frames(folder / "a.gif", rgb)
    yield frames(folder / "a.webp", rgb, lossless=True)
    yield frames(folder / "a.png", rgb)
    yield frames(folder / "pillow.tif", rgb)


def test_stacks_are_refused_with_their_number_of_planes(tmp_path, rgb):
    found = 0
    for path in stacks(tmp_path, rgb):
        for reader in READERS:
            rule = (
                rf"{path.name}' cannot be read: it holds 5 planes .* Save the plane that counts as"
            )
            with pytest.raises(ValueError, match=rule):
                reader(path)
        found += 1
    assert found == 10


def test_smaller_copies_of_the_picture_are_no_planes(tmp_path, rgb):
    big = np.repeat(np.repeat(rgb, 8, 0), 8, 1)
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as writer:
        writer.write(big)
        for step in (2, 4):
            writer.write(np.ascontiguousarray(big[::step, ::step]), subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "pyramid.tif"), big)
    # a phone's JPEG holds a smaller picture behind the first
    save(tmp_path / "plain.jpg", rgb)
    frames(tmp_path / "phone.jpg", rgb, format="MPO")
    np.testing.assert_array_equal(
        read_image(tmp_path / "phone.jpg"), read_image(tmp_path / "plain.jpg")
    )
    one = pillow(tmp_path / "one.gif", Image.fromarray(rgb[..., 0]), save_all=True)
    np.testing.assert_array_equal(read_image(one)[..., 0], rgb[..., 0])


@pytest.mark.parametrize(
    "shape, options",
    [
        ((6, 9, 4), {"photometric": "minisblack", "planarconfig": "contig"}),
        ((6, 9, 4), {"photometric": "rgb", "extrasamples": [0]}),
        ((4, 6, 9), {"photometric": "rgb", "planarconfig": "separate"}),
        ((6, 9, 2), {"photometric": "minisblack", "planarconfig": "contig"}),
        ((6, 9, 5), {"photometric": "rgb"}),
        ((6, 9, 7), {"photometric": "minisblack", "planarconfig": "contig"}),
        ((5, 6, 9), {"photometric": "rgb", "planarconfig": "separate"}),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_channels_that_are_no_colours_are_channels_of_an_image_and_no_mask(
    tmp_path, shape, options, dtype
):
    n_channels = min(shape) if min(shape) < 6 else 7
    stored = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    path = tiff(tmp_path / "c.tif", stored, **options)
    last = stored if shape[0] == 6 else np.moveaxis(stored, 0, -1)
    image = read_image(path)
    assert image.shape == (6, 9, n_channels)
    top = 255 if dtype == np.uint8 or stored.max() <= 255 else 4095
    expected = last if dtype == np.uint8 else last / np.float32(top)
    np.testing.assert_array_equal(image, expected.astype(image.dtype))
    with pytest.raises(
        ValueError, match=rf"c\.tif' .* holds {n_channels} channels, so they are no"
    ):
        read_mask(path)


# ---- more than 8 bits --------------------------------------------------------------------------


def test_exposures_of_a_12_bit_camera_share_one_scale(tmp_path, rng):
    scene = rng.integers(800, 4000, (8, 8)).astype(np.uint16)
    scene[0, 0] = 4000
    for share in (1, 2, 4, 8):  # exposures that leave from 4000 down to 500 at most
        path = save(tmp_path / "e.png", scene // share)
        np.testing.assert_allclose(read_image(path)[..., 0], (scene // share) / 4095, rtol=1e-6)


def test_a_depth_that_a_tiff_states_counts(tmp_path):
    values = np.array([[0, 900]], np.uint16)
    stated = tiff(tmp_path / "s.tif", values, extratags=[(281, 3, 1, 1023, True)])
    np.testing.assert_allclose(read_image(stated)[0, :, 0], [0, 900 / 1023], rtol=1e-6)
    highest = tiff(tmp_path / "h.tif", values, extratags=[(281, 3, 1, 900, True)])  # no depth
    np.testing.assert_allclose(read_image(highest)[0, :, 0], [0, 900 / 4095], rtol=1e-6)
    wrong = tiff(tmp_path / "w.tif", values, extratags=[(281, 3, 1, 255, True)])
    np.testing.assert_allclose(read_image(wrong)[0, :, 0], [0, 900 / 4095], rtol=1e-6)


# ---- masks: ink, palettes, colours -------------------------------------------------------------


DRAWN = np.array([[0, 1, 1, 0], [0, 1, 0, 0]], np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("ink", [(0, 0, 0), (255, 255, 255), (200, 10, 30)])
@pytest.mark.parametrize("opacity", [255, 128, 100])
@pytest.mark.parametrize("mapping", [None, "nonzero", "half", "binary"])
def test_ink_on_a_transparent_layer_is_the_mask(tmp_path, suffix, ink, opacity, mapping):
    layer = np.dstack([np.broadcast_to(ink, (2, 4, 3)), DRAWN * opacity]).astype(np.uint8)
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    path = save(tmp_path / f"m{suffix}", layer, **options)
    np.testing.assert_array_equal(read_mask(path, mapping), DRAWN)
    assert mask_values(path)[1] == "ink"
    layer[..., :3] *= DRAWN[..., None]  # black where nothing is drawn
    np.testing.assert_array_equal(read_mask(save(path, layer, **options), mapping), DRAWN)


def test_ink_in_grey_in_16_bits_and_with_soft_edges(tmp_path):
    for level in (0, 255):
        grey = np.dstack([np.full((2, 4), level), DRAWN * 255]).astype(np.uint8)
        np.testing.assert_array_equal(read_mask(save(tmp_path / "la.png", grey)), DRAWN)
    deep = np.dstack([np.zeros((2, 4, 3)), DRAWN * 65535.0]).astype(np.uint16)
    np.testing.assert_array_equal(read_mask(deep_png(tmp_path / "d.png", deep, 6)), DRAWN)
    soft = np.zeros((1, 4, 4), np.uint8)
    soft[0, :, 3] = [0, 100, 200, 255]
    assert read_mask(save(tmp_path / "s.png", soft)).tolist() == [[0, 0, 1, 1]]


def test_alpha_that_is_the_same_everywhere_says_nothing_but_an_empty_layer_is_empty(tmp_path):
    for alpha in (255, 9):
        ids = np.dstack([GREY, GREY, GREY, np.full_like(GREY, alpha)])
        np.testing.assert_array_equal(read_mask(save(tmp_path / "c.png", ids)), GREY)
    empty = np.zeros((2, 4, 4), np.uint8)
    empty[..., 0] = 200  # what an eraser leaves
    assert not read_mask(save(tmp_path / "e.png", empty)).any()
    assert mask_values(tmp_path / "e.png")[1] == "ink"


def test_ink_of_several_colours_is_refused(tmp_path):
    layer = np.zeros((1, 3, 4), np.uint8)
    layer[0, 1:] = [[255, 0, 0, 255], [0, 0, 255, 255]]
    with pytest.raises(
        ValueError, match=r"i\.png' .*transparent layer has several colours.*one colour"
    ):
        read_mask(save(tmp_path / "i.png", layer))
    layer[0, 2] = [253, 2, 1, 130]  # rounding of one colour at an edge
    assert read_mask(save(tmp_path / "i.png", layer)).tolist() == [[0, 1, 1]]


def palette_png(path, indices, colours, suffix=".png", **options):
    image = Image.fromarray(np.array(indices, np.uint8), "P")
    image.putpalette([value for colour in colours for value in colour])
    return pillow(path.with_suffix(suffix), image, **options)


BLACK, WHITE, RED, BLUE = (0, 0, 0), (255, 255, 255), (200, 0, 0), (0, 0, 200)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".gif", ".tif"])
@pytest.mark.parametrize(
    "colours, expected, kind",
    [
        ([BLACK, WHITE], [0, 1, 0], "bilevel"),
        ([WHITE, BLACK], [1, 0, 1], "bilevel"),
        ([RED, BLACK], [1, 0, 1], "bilevel"),
        ([BLACK, RED], [0, 1, 0], "bilevel"),
        ([BLACK, RED, BLUE], [0, 1, 0], "ids"),
        ([WHITE, RED], [0, 1, 0], "ids"),
        ([(0,) * 3, (85,) * 3, WHITE], [0, 1, 0], "ids"),
        ([BLACK, WHITE, (128,) * 3], [0, 1, 0], "ids"),
        ([WHITE, (85,) * 3, BLACK], [255, 85, 255], "ids"),
    ],
)
def test_palettes_give_indices_unless_they_are_black_and_one_colour(
    tmp_path, suffix, colours, expected, kind
):
    options = {"optimize": False} if suffix == ".gif" else {}
    path = palette_png(tmp_path / "m", [[0, 1, 0]], colours, suffix, **options)
    values, found = mask_values(path)
    assert values.tolist() == [expected] and found == kind


def test_palettes_of_label_sets_give_indices_whatever_is_used(tmp_path):
    voc = [BLACK, (128, 0, 0), (0, 128, 0)] + [(i, 255 - i, 7) for i in range(252)] + [WHITE]
    assert read_mask(palette_png(tmp_path / "v", [[0, 255]], voc)).tolist() == [[0, 255]]
    assert read_mask(palette_png(tmp_path / "v", [[1, 2]], voc)).tolist() == [[1, 2]]


def test_palettes_with_transparency(tmp_path):
    colours = [BLACK, RED, BLUE]
    ids = palette_png(tmp_path / "a", [[0, 1, 2]], colours, transparency=0)
    assert read_mask(ids).tolist() == [[0, 1, 2]] and mask_values(ids)[1] == "ids"
    ink = palette_png(tmp_path / "b", [[2, 0, 2]], colours, transparency=2)
    assert read_mask(ink).tolist() == [[0, 1, 0]] and mask_values(ink)[1] == "ink"
    several = palette_png(tmp_path / "c", [[2, 1, 0]], colours, transparency=2)
    with pytest.raises(ValueError, match=r"c\.png' .*several colours"):
        read_mask(several)
    opaque = palette_png(tmp_path / "d", [[0, 1, 0]], colours, transparency=2)
    assert read_mask(opaque).tolist() == [[0, 1, 0]]
    gif = palette_png(tmp_path / "e", [[2, 0, 2]], colours, ".gif", transparency=2)
    assert read_mask(gif).tolist() == [[0, 1, 0]]
    grey = pillow(tmp_path / "f.png", Image.fromarray(GREY), transparency=0)
    np.testing.assert_array_equal(read_mask(grey), GREY)


def test_colours_on_black_and_colours_that_are_no_ids(tmp_path):
    red = (DRAWN[..., None] * np.array(RED)).astype(np.uint8)
    assert mask_values(save(tmp_path / "r.png", red))[1] == "bilevel"
    for mapping in (None, "nonzero", "half", "binary"):
        np.testing.assert_array_equal(read_mask(tmp_path / "r.png", mapping), DRAWN)
    red[0, 0] = BLUE
    with pytest.raises(ValueError, match=r"r\.png' .*channels differ, .*or as one colour on black"):
        read_mask(save(tmp_path / "r.png", red))


def test_kinds_of_lossy_and_lossless_files(tmp_path):
    big = np.kron(DRAWN, np.ones((8, 8), np.uint8)) * 255
    for name, kind, options in [
        ("a.jpg", "lossy", {}),
        ("a.png", "ids", {}),
        ("a.webp", "lossy", {}),
        ("b.webp", "ids", {"lossless": True}),
        ("c.webp", "lossy", {"icc_profile": b"none"}),
    ]:
        path = save(tmp_path / name, big, **options)
        values, found = mask_values(path)
        assert found == kind and values.dtype == np.int32
        np.testing.assert_array_equal(read_mask(path, "half"), big > 0)


def test_grey_of_16_bits_with_alpha_is_refused_as_a_mask(tmp_path):
    ids = np.array([[[300, 65535], [0, 65535]]], np.uint16)
    path = deep_png(tmp_path / "a.png", ids, 4)
    with pytest.raises(ValueError, match=r"a\.png' cannot be read: grey of 16 bits with alpha"):
        read_mask(path)
    assert read_image(path).shape == (1, 2, 3)


# ---- Pillow images as objects ------------------------------------------------------------------


def objects(rng):
    colours = rng.integers(0, 256, (6, 9, 4)).astype(np.uint8)
    full = Image.fromarray(colours[..., :3])
    for mode in ("1", "L", "LA", "RGB", "RGBA", "CMYK", "P", "YCbCr", "PA", "HSV"):
        yield mode, full.convert(mode)
    yield "alpha", Image.fromarray(colours)
    yield "I;16", Image.fromarray(rng.integers(0, 4096, (6, 9)).astype(np.uint16))
    yield "I", Image.fromarray(rng.integers(0, 65536, (6, 9)).astype(np.int32))
    yield "F", Image.fromarray(rng.random((6, 9)).astype(np.float32))
    yield "F bad", Image.fromarray(rng.random((6, 9)).astype(np.float32) * 255)
    yield "ids", Image.fromarray(rng.integers(0, 5, (6, 9)).astype(np.uint8))
    ids = Image.fromarray(rng.integers(0, 3, (6, 9)).astype(np.uint8), "P")
    ids.putpalette([255, 255, 255, 0, 0, 0, 3, 3, 3])
    yield "P ids", ids
    bits = Image.fromarray(rng.integers(0, 2, (6, 9)).astype(np.uint8), "P")
    bits.putpalette([255, 255, 255, 0, 0, 0])
    yield "P bits", bits
    ink = Image.new("RGBA", (9, 6))
    ink.paste((0, 0, 0, 255), (2, 2, 5, 5))
    yield "ink", ink
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = full.copy()
    turned.info["exif"] = exif.tobytes()
    yield "turned", turned


def outcome(read):
    try:
        return read()
    except ValueError as error:
        return str(error).split("cannot be read", 1)[1]


def test_pillow_images_are_read_as_the_files_that_they_would_be(tmp_path, rng):
    for name, image in objects(rng):
        suffix = {"CMYK": ".tif", "YCbCr": ".tif", "F": ".tif", "F bad": ".tif", "I": ".tif"}.get(
            name, ".png"
        )
        path = tmp_path / f"{name}{suffix}"
        kept = {"exif": image.info["exif"]} if "exif" in image.info else {}
        if name in {"HSV", "PA"}:  # no file holds these: their colours
            image.convert("RGBA" if name == "PA" else "RGB").save(path)
        else:
            image.save(path, **kept)
        before = image.mode, image.size, image.tobytes()
        of_file = outcome(lambda: read_image(path))  # noqa: B023
        of_object = outcome(lambda: as_images([image])[0])  # noqa: B023
        assert type(of_file) is type(of_object), name
        np.testing.assert_array_equal(of_object, of_file, err_msg=name)
        if name != "PA":
            as_file = outcome(lambda: read_mask(path))  # noqa: B023
            as_object = outcome(lambda: as_masks([image], 1)[0])  # noqa: B023
            np.testing.assert_array_equal(as_object, as_file, err_msg=name)
        assert before == (image.mode, image.size, image.tobytes())
        with Image.open(path) as lazy:
            np.testing.assert_array_equal(
                outcome(lambda: as_images([lazy])[0]),
                of_file,
                err_msg=f"{name} opened",  # noqa: B023
            )


def test_bad_pillow_images_are_named_by_their_place(tmp_path, rgb):
    good = Image.fromarray(rgb)
    with Image.open(frames(tmp_path / "a.gif", rgb)) as several:
        with pytest.raises(ValueError, match=r"X\[1\] cannot be read: it holds 5 planes"):
            as_images([good, several])
        with pytest.raises(ValueError, match=r"masks\[1\] cannot be read: it holds 5 planes"):
            as_masks([None, several], 2)
    path = save(tmp_path / "cut.png", rgb)
    path.write_bytes(path.read_bytes()[:60])
    with (
        Image.open(path) as cut,
        pytest.raises(ValueError, match=r"X\[0\] cannot be read: it is tr"),
    ):
        as_images([cut])
    with pytest.raises(ValueError, match=r"masks\[0\] cannot be read: its colour channels differ"):
        as_masks([good], 1)


# ---- what is written comes back ----------------------------------------------------------------


NUMBERS = {
    "png": ["u1", "u2", "?"],
    "bmp": ["u1", "?"],
    "webp": ["u1"],
    "tif": ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8", "?"],
}


@st.composite
def files(draw):
    suffix = draw(st.sampled_from(sorted(NUMBERS)))
    dtype = np.dtype(draw(st.sampled_from(NUMBERS[suffix])))
    shape = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    high = (
        1 if dtype.kind == "b" else min(32767, 2**11 if dtype.kind == "f" else np.iinfo(dtype).max)
    )
    ids = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, high)))
    return suffix, ids.astype(dtype)


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files(), st.booleans(), st.sampled_from(["<", ">"]))
def test_masks_that_are_written_come_back(tmp_path, given_file, compressed, byteorder):
    suffix, ids = given_file
    path = tmp_path / f"m.{suffix}"
    if suffix == "tif":
        tiff(
            path,
            ids,
            compression="zlib" if compressed else None,
            byteorder=byteorder,
            photometric=None if ids.dtype.kind == "b" else "minisblack",
        )
    else:
        save(path, ids, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(read_mask(path), ids)
    assert image_size(path) == ids.shape


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3))),
    st.sampled_from(["png", "bmp", "webp", "tif", "lzw", "planar", "rgba"]),
)
def test_images_that_are_written_come_back(tmp_path, rgb, how):
    path = tmp_path / f"a.{how if how in NUMBERS else 'tif'}"
    if how == "planar":
        tiff(
            path,
            np.ascontiguousarray(np.moveaxis(rgb, -1, 0)),
            photometric="rgb",
            planarconfig="separate",
        )
    elif how == "rgba":
        tiff(path, np.dstack([rgb, rgb[..., 0]]))
    else:
        options = {"webp": {"lossless": True}, "lzw": {"compression": "tiff_lzw"}}.get(how, {})
        save(path, rgb, **options)
    image = read_image(path)
    assert image.dtype == np.uint8 and image.flags.writeable and image.flags.c_contiguous
    np.testing.assert_array_equal(image, rgb)


def test_tifffile_says_nothing_on_the_terminal(tmp_path, rgb):
    path = tiff(tmp_path / "a.tif", rgb)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    code = (
        f"from alseg.images import read_image\ntry: read_image({str(path)!r})\n"
        "except ValueError: print('told')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG)
    assert run.stdout.strip() == "told" and run.stderr == ""
