"""Odd image files, made from scratch: what folders hold, and what somebody could put into one.

Each file is an `Odd`: a name, its bytes, and what a reader of images must do with it ("read",
"refuse", or "either" where both are right so long as it is said in one line).
"""

import io
import itertools
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

SIZE = (12, 16)  # of all files that have one


class Odd(NamedTuple):
    name: str
    content: bytes
    must: str = "either"

    def __repr__(self):
        return f"<{self.name}, {len(self.content)} bytes, {self.must}>"


def pixels(shape=SIZE, dtype=np.uint8, seed=0):
    """Pixels that differ, over the whole range of the type."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind == "f":
        return rng.random(shape).astype(dtype)
    if dtype.kind == "c":
        return (rng.random(shape) + 1j).astype(dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return rng.integers(low, high, shape, dtype=dtype, endpoint=True)


# -- each format as programs write it -----------------------------------------------------------

PILLOW = {"png": "PNG", "bmp": "BMP", "jpg": "JPEG", "tif": "TIFF", "webp": "WEBP", "gif": "GIF"}
MODES = (
    "1",
    "L",
    "LA",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "I;16",
    "F",
)
PLAIN = {"L", "RGB", "P"}  # what every reader must read, in each format that has it


def in_mode(mode, seed=0):
    if mode in ("I", "I;16", "F"):
        dtype = {"I": np.int32, "I;16": np.uint16, "F": np.float32}[mode]
        high = 65536 if mode == "I" else 1
        values = pixels(SIZE, dtype, seed) if mode == "I;16" else pixels(SIZE, np.float32, seed)
        return Image.fromarray((values * high).astype(dtype) if mode != "I;16" else values)
    image = Image.fromarray(pixels((*SIZE, 3), seed=seed))
    if mode == "LAB":
        return Image.frombytes("LAB", image.size, image.tobytes())
    if mode == "PA":
        return image.convert("P").convert("PA")
    return image.convert(mode) if mode != "RGBX" else image.convert("RGB").convert("RGBX")


def saved(image, form, **options):
    file = io.BytesIO()
    image.save(file, format=form, **options)
    return file.getvalue()


def pillow_files():
    for (suffix, form), mode in itertools.product(PILLOW.items(), MODES):
        try:
            content = saved(in_mode(mode), form)
        except (OSError, ValueError, KeyError):
            continue  # this format does not have this mode
        yield Odd(
            f"{mode.replace(';', '')}.{suffix}", content, "read" if mode in PLAIN else "either"
        )
    rgb, grey = in_mode("RGB"), in_mode("L")
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        yield Odd(f"turned{turn}.jpg", saved(rgb, "JPEG", exif=exif), "read")
    exif = Image.Exif()
    exif[0x0112] = 77
    yield Odd("turned77.jpg", saved(rgb, "JPEG", exif=exif))
    yield Odd("progressive.jpg", saved(rgb, "JPEG", progressive=True), "read")
    yield Odd("comment.jpg", saved(rgb, "JPEG", comment=b"\x1b[31m" * 9), "read")
    yield Odd("lossless.webp", saved(rgb, "WEBP", lossless=True), "read")
    more = [in_mode("RGB", seed) for seed in (1, 2)]
    for suffix in ("gif", "webp", "png", "tif"):
        several = {"save_all": True, "append_images": more}
        yield Odd(f"animated.{suffix}", saved(rgb, PILLOW[suffix], **several))
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        yield Odd(f"{compression}.tif", saved(rgb, "TIFF", compression=compression))
    yield Odd("group4.tif", saved(in_mode("1"), "TIFF", compression="group4"))
    transparent = in_mode("P")
    transparent.info["transparency"] = 0
    yield Odd("transparent.png", saved(transparent, "PNG", transparency=0), "read")
    yield Odd("interlaced.gif", saved(grey, "GIF", interlace=1), "read")
    yield Odd("profile.png", saved(rgb, "PNG", icc_profile=b"not a profile"))


def tiff(array, **options):
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def tiff_files():
    types = ("bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
    for name in types:
        dtype = np.dtype(name)
        yield Odd(f"grey_{name}.tif", tiff(pixels(SIZE, dtype)))
        if name != "bool":
            yield Odd(f"rgb_{name}.tif", tiff(pixels((*SIZE, 3), dtype), photometric="rgb"))
    yield Odd("complex.tif", tiff(pixels(SIZE, "c8")))
    rgb = pixels((*SIZE, 3))
    yield Odd("planar.tif", tiff(np.moveaxis(rgb, -1, 0), photometric="rgb"))
    yield Odd("big.tif", tiff(rgb, photometric="rgb", bigtiff=True), "read")
    yield Odd("bigendian.tif", tiff(rgb, photometric="rgb", byteorder=">"), "read")
    yield Odd("tiled.tif", tiff(rgb, photometric="rgb", tile=(16, 16)), "read")
    yield Odd("deflated.tif", tiff(rgb, photometric="rgb", compression="zlib"), "read")
    yield Odd("white.tif", tiff(pixels(SIZE), photometric="miniswhite"))
    yield Odd(
        "channels4.tif",
        tiff(pixels((*SIZE, 4)), photometric="minisblack", planarconfig="contig"),
        "read",
    )
    yield Odd(
        "channels7.tif",
        tiff(pixels((*SIZE, 7)), photometric="minisblack", planarconfig="contig"),
        "read",
    )
    # What a reader of pictures has no right to guess about.
    yield Odd("stack.tif", tiff(pixels((5, *SIZE)), photometric="minisblack"), "refuse")
    yield Odd("stack_rgb.tif", tiff(pixels((5, *SIZE, 3)), photometric="rgb"), "refuse")
    yield Odd(
        "channels2.tif", tiff(pixels((2, *SIZE)), photometric="minisblack", planarconfig="separate")
    )
    floats = pixels(SIZE, "f4")
    floats[0, 0] = np.nan
    yield Odd("nan.tif", tiff(floats), "refuse")
    yield Odd("large_floats.tif", tiff(floats * 0 + 1e30), "refuse")
    yield Odd("imagej.tif", tiff(pixels((3, 2, *SIZE), "u2"), imagej=True), "refuse")
    yield Odd("ome.tif", tiff(pixels((3, 2, *SIZE), "u2"), ome=True), "refuse")


# -- PNG by hand --------------------------------------------------------------------------------


def chunk(kind, content, crc=None):
    crc = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png(width, height, depth, colour, rows, *, before=b"", interlace=0, crc=None):
    """A PNG of these packed rows, which need not fit the header."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header, crc)
        + before
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def png_files():
    height, width = SIZE
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    depths = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    for colour, count in channels.items():
        for depth in depths[colour]:
            row = b"\0" + bytes(range(1, width * count * depth // 8 + 1))
            palette = chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""
            yield Odd(
                f"png_{colour}_{depth}.png",
                png(width, height, depth, colour, row * height, before=palette),
            )
    row = (b"\0" + bytes(width)) * height
    yield Odd("bad_crc.png", png(width, height, 8, 0, row, crc=1), "refuse")
    yield Odd("no_pixels.png", png(0, 0, 8, 0, b""), "refuse")
    yield Odd("bad_depth.png", png(width, height, 3, 0, row), "refuse")
    yield Odd("bad_colour.png", png(width, height, 8, 9, row), "refuse")
    yield Odd("short_rows.png", png(width, height, 8, 2, row), "refuse")
    yield Odd("no_palette.png", png(width, height, 8, 3, row))
    yield Odd("bad_interlace.png", png(width, height, 8, 0, row, interlace=7))
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(8 << 20)))
    yield Odd("text_bomb.png", png(width, height, 8, 0, row, before=text))
    profile = chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(8 << 20)))
    yield Odd("profile_bomb.png", png(width, height, 8, 0, row, before=profile))
    frames = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    yield Odd("many_frames.png", png(width, height, 8, 0, row, before=frames))
    exif = chunk(b"eXIf", b"MM\0*\0\0\0\x08" + b"\xff" * 40)
    yield Odd("bad_exif.png", png(width, height, 8, 0, row, before=exif))


# -- small files of many pixels -----------------------------------------------------------------


def bombs(side=30_000):
    """Few bytes, `side` x `side` pixels: refused by what the header says, before decoding."""
    packed = (b"\0" + bytes(side // 8)) * side if side <= 30_000 else b""
    yield Odd("bits.png", png(side, side, 1, 0, packed), "refuse")
    yield Odd("header.png", png(2**31 - 1, 2**31 - 1, 8, 2, b""), "refuse")
    yield Odd("wide.png", png(2**31 - 1, 1, 8, 0, b""), "refuse")
    jpeg = bytearray(saved(in_mode("RGB"), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    yield Odd("header.jpg", bytes(jpeg), "refuse")
    bmp = bytearray(saved(in_mode("RGB"), "BMP"))
    bmp[18:26] = struct.pack("<ii", 2**30, 2**30)
    yield Odd("header.bmp", bytes(bmp), "refuse")
    gif = bytearray(saved(in_mode("P"), "GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    yield Odd("header.gif", bytes(gif), "refuse")
    for name, kind in (("header.tif", "<"), ("header_be.tif", ">")):
        yield Odd(name, bare_tiff(kind, 2**31 - 1, 2**31 - 1), "refuse")
    yield Odd("hollow.tif", bare_tiff("<", side, side), "refuse")


def bare_tiff(order, width, height):
    """A TIFF of one empty strip."""
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, 1),
    ]
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    body = struct.pack(order + "H", len(tags))
    for tag, kind, value in tags:
        packed = struct.pack(
            order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,))
        )
        body += struct.pack(order + "HHI", tag, kind, 1) + packed
    return head + body + struct.pack(order + "I", 0)


# -- other things under the name of an image ----------------------------------------------------

POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 16 12
(%s) (w) file (ran) writestring
showpage
"""

DISGUISED = {
    "postscript": POSTSCRIPT,
    "eps_preview": b"\xc5\xd0\xd3\xc6" + struct.pack("<7I", 32, 200, 0, 0, 0, 0, 0) + POSTSCRIPT,
    "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog/OpenAction"
    b"<</S/JavaScript/JS(app.alert(1))>>>>endobj\n",
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'
    b'<image href="http://127.0.0.1:9/x.png"/></svg>',
    "xxe": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "zip": b"PK\x03\x04" + bytes(26),
    "gzip": b"\x1f\x8b\x08" + bytes(30),
    "html": b"<html><script>alert(1)</script></html>",
    "elf": b"\x7fELF\x02\x01\x01" + bytes(57),
    "shell": b"#!/bin/sh\ntouch ran\n",
    "pickle": b"\x80\x04c" + b"os\nsystem\n(S'touch ran'\ntR.",
    "numpy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(50),
    "text": "Grüße, \x1b[2J \u202e".encode(),
    "zeros": bytes(300),
    "spaces": b" " * 300,
    "newline": b"\n",
    "one": b"\x89",
    "empty": b"",
    "magic_png": b"\x89PNG\r\n\x1a\n",
    "magic_tif": b"II*\0",
    "magic_tif_loop": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "magic_bigtiff": b"II+\0\x08\0\0\0" + b"\xff" * 8,
    "magic_jpg": b"\xff\xd8\xff\xe0",
    "magic_gif": b"GIF89a",
    "magic_bmp": b"BM" + bytes(60),
    "magic_webp": b"RIFF\xff\xff\xff\xffWEBPVP8 ",
    "fits": b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800),
    "ppm": b"P6\n16 12\n255\n" + bytes(576),
    "xbm": b"#define im_width 8\n#define im_height 1\nstatic char im_bits[] = {0x00};\n",
    "psd": b"8BPS\0\1" + bytes(40),
    "avif": b"\0\0\0\x1cftypavif" + bytes(30),
    "gguf": b"GGUF\3\0\0\0" + b"\xff" * 16,
}

UNDOCUMENTED = (
    "PPM",
    "TGA",
    "ICO",
    "PCX",
    "SGI",
    "IM",
    "DDS",
    "JPEG2000",
    "EPS",
    "PDF",
    "MSP",
    "XBM",
    "SPIDER",
    "ICNS",
    "AVIF",
    "QOI",
    "BLP",
    "DIB",
)


def disguised_files(suffixes=("png", "jpg", "tif")):
    """Whatever is no image of a documented format: refused by what it holds, never by its name."""
    for (name, content), suffix in itertools.product(DISGUISED.items(), suffixes):
        yield Odd(f"{name}.{suffix}", content, "refuse")
    for form in UNDOCUMENTED:
        for mode in ("RGB", "L", "1", "F"):
            try:
                content = saved(in_mode(mode), form)
            except (OSError, ValueError, KeyError):
                continue
            must = "either" if form == "DIB" else "refuse"  # a bitmap that lacks its file header
            yield Odd(f"a_{form.lower()}.png", content, must)
            break


def misnamed_files():
    """A documented format under the suffix of another: what it holds counts."""
    for (suffix, form), other in itertools.product(PILLOW.items(), PILLOW):
        if suffix != other:
            yield Odd(f"{form.lower()}_as.{other}", saved(in_mode("RGB"), form))


# -- damaged ------------------------------------------------------------------------------------


def truncated_files(files, fractions=(0.1, 0.5, 0.9), last=1):
    for odd in files:
        for cut in sorted(
            {*(int(len(odd.content) * f) for f in fractions), len(odd.content) - last}
        ):
            yield Odd(f"cut{cut}_{odd.name}", odd.content[:cut])


def mutated_files(files, each=3, seed=0):
    rng = np.random.default_rng(seed)
    for odd in files:
        for k in range(each):
            content = np.frombuffer(odd.content, np.uint8).copy()
            # Some bytes of the header, where formats keep what they trust; some anywhere.
            n = int(rng.integers(1, 6))
            limit = min(len(content), 200) if k % 2 == 0 else len(content)
            content[rng.integers(0, limit, n)] = rng.integers(0, 256, n)
            yield Odd(f"mutated{k}_{odd.name}", content.tobytes())


def whole_files():
    """One or more of each documented format x type x mode, none damaged."""
    return [*pillow_files(), *tiff_files(), *png_files()]


def all_files(seed=0):
    """More than 500 files, the same ones each time; names differ."""
    whole = whole_files()
    by_step = whole[::3]
    found = [
        *whole,
        *misnamed_files(),
        *disguised_files(),
        *bombs(20_000),
        *truncated_files(by_step),
        *mutated_files(whole, 2, seed),
    ]
    assert len({odd.name for odd in found}) == len(found)
    return found


def few_files():
    """Some of each kind, for what must be fast."""
    whole = whole_files()
    return [
        *whole[::7],
        *list(misnamed_files())[::6],
        *disguised_files(("png",)),
        *bombs(8_000),
        *list(truncated_files(whole[::17])),
        *mutated_files(whole[::9], 1),
    ]
