"""Pictures in a browser: its pixels are those that are read here."""

import base64
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from webdriver import MISSING_PROGRAMS, browser

from alseg.annotate import serve
from alseg.images import read_image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING_PROGRAMS), reason=f"not installed: {MISSING_PROGRAMS}"),
]

PIXELS = """
const [id] = arguments;
const token = new URLSearchParams(location.search).get("token");
const answer = await fetch(`/api/images/${id}/picture`, { headers: { "X-Alseg-Token": token } });
const options = { colorSpaceConversion: "none", imageOrientation: "none" };
const picture = await createImageBitmap(await answer.blob(), options);
const context = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
context.drawImage(picture, 0, 0);
const { data } = context.getImageData(0, 0, picture.width, picture.height);
let text = "";
for (let at = 0; at < data.length; at += 4096) {
  text += String.fromCharCode(...data.subarray(at, at + 4096));
}
return [answer.headers.get("Content-Type"), picture.height, picture.width, btoa(text)];
"""


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def write(folder):
    """Files of all kinds; those whose names begin with "own" are sent as they are."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    image = noise.resize((80, 60), Image.Resampling.BICUBIC)
    grey = image.convert("L")
    image.save(folder / "own-a.png")
    grey.save(folder / "own-b.png")
    image.save(folder / "own-c.jpg", quality=70)
    image.save(folder / "own-d.jpg", quality=90, subsampling=0, progressive=True)
    grey.save(folder / "own-e.jpg")
    image.save(folder / "own-f.webp", quality=60)
    image.save(folder / "own-g.webp", lossless=True)
    data = (folder / "own-a.png").read_bytes()
    # A gamma that browsers apply, and an orientation behind the pixels, which is not applied here.
    late = exif(6).tobytes().removeprefix(b"Exif\0\0")
    odd = data[:33] + chunk(b"gAMA", struct.pack(">I", 100000)) + data[33:-12]
    (folder / "own-h.png").write_bytes(odd + chunk(b"eXIf", late) + data[-12:])
    profile = b"\0" * 128  # damaged: it is ignored
    image.save(folder / "own-i.jpg", quality=95, icc_profile=profile, exif=exif(1))
    image.save(folder / "turned.jpg", exif=exif(6))
    image.quantize(20).save(folder / "palette.png")
    image.convert("RGBA").save(folder / "alpha.png")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.save(folder / "plain.bmp")


def test_pixels_are_those_that_are_read(tmp_path):
    folder = tmp_path / "slides" / "images" / "a"
    folder.mkdir(parents=True)
    write(folder)
    served = serve(tmp_path / "state", tmp_path / "slides", block=False)
    with served, browser() as window:
        window.open(served.url)
        files = sorted(folder.iterdir())
        window.wait("document.getElementById('desk').dataset.image")
        for i, file in enumerate(files):
            kind, height, width, text = window.run(PIXELS, i)
            shown = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)
            read = read_image(file)
            assert (kind != "image/bmp") == file.name.startswith("own"), file
            apart = np.abs(shown[..., :3].astype(int) - read)
            assert shown.shape[:2] == read.shape[:2] and (shown[..., 3] == 255).all()
            # Decoders of a file with loss may round differently.
            assert apart.max() <= (0 if file.suffix in (".png", ".bmp") else 2), file
