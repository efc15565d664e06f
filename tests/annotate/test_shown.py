"""What is shown of images: the file itself where a browser reads it alike, windows, channels."""

import io

import numpy as np
import pytest
from PIL import Image
from requests_by_hand import Client

from alseg.annotate.marks import Marks
from alseg.annotate.server import allowed_hosts, make_app
from alseg.annotate.shown import in_window, picture, thumbnail
from alseg.images import image_depth, plain_file
from alseg.project import open_project

VALUES = np.arange(24 * 32).reshape(24, 32)


def bytes_of(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def written(folder, data, name="a.png"):
    path = folder / name
    path.write_bytes(data)
    return path


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WebP"])
def test_plain_files_are_given_as_they_are(tmp_path, mode, kind):
    data = bytes_of(Image.fromarray((VALUES % 256).astype(np.uint8)).convert(mode), kind)
    assert plain_file(written(tmp_path, data)) == (f"image/{kind.lower()}", data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_file_that_is_cut_off_is_not_given(tmp_path, kind):
    data = bytes_of(Image.fromarray((VALUES % 256).astype(np.uint8)), kind)
    assert plain_file(written(tmp_path, data[:-20])) is None


def test_other_files_are_not_given(tmp_path):
    grey = Image.fromarray((VALUES % 256).astype(np.uint8))
    frames = {"save_all": True, "append_images": [grey.convert("1")]}
    for data in [
        bytes_of(grey.convert("P")),
        bytes_of(grey.convert("1")),
        bytes_of(grey.convert("LA")),
        bytes_of(Image.merge("RGBA", [grey] * 4), "WebP"),
        bytes_of(grey, transparency=3),
        bytes_of(Image.fromarray((VALUES * 80).astype(np.uint16))),
        bytes_of(grey.convert("CMYK"), "JPEG"),
        bytes_of(grey, "JPEG", exif=turned(6)),
        bytes_of(grey, "PNG", exif=turned(3)),
        bytes_of(grey, "BMP"),
        bytes_of(grey, "TIFF"),
    ]:
        assert plain_file(written(tmp_path, data)) is None
    assert plain_file(written(tmp_path, bytes_of(grey, "JPEG", exif=turned(1)))) is not None
    with pytest.raises(ValueError, match="planes"):
        plain_file(written(tmp_path, bytes_of(grey, "WebP", **frames)))
    with pytest.raises(FileNotFoundError):
        plain_file(tmp_path / "none.png")


def test_channels_and_bits_of_files(tmp_path):
    import tifffile

    grey = Image.fromarray((VALUES % 256).astype(np.uint8))
    for image, expected in [
        (grey, (1, 8)),
        (grey.convert("1"), (1, 8)),
        (grey.convert("P"), (3, 8)),
        (grey.convert("RGBA"), (3, 8)),
        (Image.fromarray((VALUES * 80).astype(np.uint16)), (1, 16)),
    ]:
        assert image_depth(written(tmp_path, bytes_of(image))) == expected
    for shape, dtype, expected in [
        ((24, 32), np.uint16, (1, 16)),
        ((24, 32, 3), np.uint8, (3, 8)),
        ((24, 32, 5), np.uint16, (5, 16)),
        ((24, 32), np.float32, (1, 32)),
    ]:
        photometric = "rgb" if shape[2:] == (3,) else "minisblack"
        values = np.zeros(shape, dtype)
        planes = {"photometric": photometric, "planarconfig": "contig"} if shape[2:] else {}
        tifffile.imwrite(tmp_path / "a.tif", values, **planes)
        assert image_depth(tmp_path / "a.tif") == expected


def test_a_window_is_of_percentiles():
    values = np.arange(101, dtype=np.float32).reshape(1, 101, 1) / 1000
    shown = in_window(values, 10, 60)[0, :, 0]
    expected = np.rint(255 * np.clip((np.arange(101) - 10) / 50, 0, 1))
    assert np.abs(shown - expected).max() <= 1 and shown[10] == 0 and shown[60] == 255
    full = in_window((values * 1000).astype(np.uint8))
    np.testing.assert_array_equal(full[0, :, 0], np.arange(101))  # 8 bits stay as they are


def test_colours_share_a_window_and_markers_have_one_each():
    ramp = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10, 1)
    colours = in_window(np.concatenate([ramp, ramp / 2, ramp / 4], axis=2), 0, 100)
    assert colours.max(axis=(0, 1)).tolist() == [255, 128, 64]
    markers = np.concatenate([ramp, ramp / 2, ramp / 4, ramp / 8, ramp / 16], axis=2)
    assert in_window(markers, 0, 100, (4, 1, 0)).max(axis=(0, 1)).tolist() == [255] * 3
    np.testing.assert_array_equal(
        in_window(markers, 0, 100, (3,)), in_window(np.repeat(ramp, 3, axis=2), 0, 100)
    )


def test_flat_images_are_shown_as_they_are():
    assert (in_window(np.full((4, 4, 3), 0.6, np.float32)) == 153).all()
    assert (in_window(np.full((4, 4, 5), 7, np.uint8), 1, 99) == 7).all()


@pytest.mark.parametrize("channels", [(), (0, 1), (5,), (-1,), (0, 1, 5)])
def test_channels_that_are_none(channels):
    with pytest.raises(ValueError, match="channels must be 1 or 3 of the 5 channels"):
        in_window(np.zeros((4, 4, 5), np.uint8), channels=channels)


def test_the_picture_loses_nothing():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (13, 17, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picture(image)))), image)
    dark = rng.random((30, 40, 1), np.float32) * 0.01
    assert np.asarray(Image.open(io.BytesIO(thumbnail(dark)))).std() > 40


def test_deep_images_are_asked_for_by_window_and_channel(tmp_path):
    import tifffile

    folder = tmp_path / "slides" / "images" / "a"
    folder.mkdir(parents=True)
    image = np.stack([VALUES * (k + 1) for k in range(5)], axis=2).astype(np.uint16)
    tifffile.imwrite(folder / "m.tif", image, photometric="minisblack", planarconfig="contig")
    with open_project(tmp_path / "state", tmp_path / "slides") as project:
        marks = Marks(project)
        ask = Client(make_app(marks, "t", allowed_hosts("127.0.0.1", 8765), {}), "t")
        described = ask.get("/api/images/0").json
        assert (described["channels"], described["bits"]) == (5, 16)
        answer = ask.get("/api/images/0/picture?low=0&high=100&channels=3")
        assert answer.headers["content-type"] == "image/bmp"
        shown = np.asarray(Image.open(io.BytesIO(answer.body)))
        assert np.abs(shown[..., 0] - np.rint(VALUES / VALUES.max() * 255)).max() <= 1
        plain = np.asarray(Image.open(io.BytesIO(ask.get("/api/images/0/picture").body)))
        assert plain.max() == 255 and plain.shape == (24, 32, 3)
        for query in (
            "low=x",
            "low=nan",
            "low=-1",
            "high=101",
            "low=60&high=50",
            "channels=5",
            "channels=",
            "channels=0,1",
            "channels=a",
            "channels=99999999999",
        ):
            answer = ask.get(f"/api/images/0/picture?{query}")
            assert answer.status == 400 and "must be" in answer.json["error"], query
        marks.close()
