"""Reading files, the lazy sequences, and the one face over every form of input."""

import pickle
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing

from alseg.images import (
    IMAGE_SUFFIXES,
    ImageFiles,
    MaskFiles,
    as_images,
    as_masks,
    check_pairs,
    image_size,
    read_image,
    read_mask,
    stack,
)


@pytest.fixture
def rgb(rng):
    return rng.integers(0, 256, (6, 9, 3)).astype(np.uint8)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def deep_png(path, array, colour_type):
    """Write a 16-bit PNG by hand: no library at hand writes one with colour."""

    def chunk(tag, data):
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


# ---- images ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".tif", ".tiff"])
def test_lossless_formats_give_the_pixels(tmp_path, rgb, suffix):
    image = read_image(save(tmp_path / f"a{suffix}", rgb))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, rgb)


def test_jpeg_is_read_as_pillow_reads_it(tmp_path, rgb):
    path = save(tmp_path / "a.jpg", rgb)
    np.testing.assert_array_equal(read_image(path), np.asarray(Image.open(path)))


def test_grey_alpha_palette_bit_and_cmyk_become_three_channels(tmp_path, rgb):
    grey = rgb[:, :, 0]
    np.testing.assert_array_equal(
        read_image(save(tmp_path / "l.png", grey)), np.repeat(grey[..., None], 3, axis=2)
    )
    alpha = np.dstack([rgb, np.zeros_like(grey)])  # transparent everywhere: the colours stay
    np.testing.assert_array_equal(read_image(save(tmp_path / "rgba.png", alpha)), rgb)
    both = Image.fromarray(np.dstack([grey, grey]), "LA")
    both.save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "la.png")[..., 2], grey)
    palette = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    palette.save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png")[0, 1].tolist() == [40, 50, 60]
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    bits.save(tmp_path / "1.png")
    assert read_image(tmp_path / "1.png")[0].tolist() == [[0, 0, 0], [255, 255, 255]]
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "cmyk.jpg")
    assert read_image(tmp_path / "cmyk.jpg").shape == rgb.shape


@pytest.mark.parametrize("colour_type, n_channels", [(0, 1), (2, 3), (6, 4)])
def test_16_bit_png_keeps_all_bits(tmp_path, rng, colour_type, n_channels):
    deep = rng.integers(0, 65536, (5, 7, n_channels)).astype(np.uint16)
    image = read_image(deep_png(tmp_path / "deep.png", deep, colour_type))
    assert image.dtype == np.float32 and image.shape == (5, 7, 3)
    expected = deep[:, :, :3].astype(np.float32) / 65535
    np.testing.assert_allclose(image, np.broadcast_to(expected, (5, 7, 3)), rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "rgb"},
        {"photometric": "rgb", "compression": "zlib"},
        {"photometric": "rgb", "byteorder": ">"},
    ],
)
def test_16_bit_tiff_keeps_all_bits(tmp_path, rng, options):
    deep = rng.integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, **options)
    np.testing.assert_allclose(read_image(tmp_path / "deep.tif") * 65535, deep, rtol=1e-6)
    planar = np.ascontiguousarray(np.moveaxis(deep, -1, 0))
    tifffile.imwrite(tmp_path / "planar.tif", planar, **options, planarconfig="separate")
    np.testing.assert_allclose(read_image(tmp_path / "planar.tif") * 65535, deep, rtol=1e-6)
    grey_options = {**options, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "grey.tif", deep[..., 0], **grey_options)
    np.testing.assert_allclose(
        read_image(tmp_path / "grey.tif")[..., 1] * 65535, deep[..., 0], rtol=1e-6
    )


def test_float_tiff_must_be_in_unit_range(tmp_path, rng):
    floats = rng.random((4, 5)).astype(np.float32)
    tifffile.imwrite(tmp_path / "f.tif", floats)
    np.testing.assert_array_equal(read_image(tmp_path / "f.tif")[..., 0], floats)
    tifffile.imwrite(tmp_path / "g.tif", floats * 300)
    with pytest.raises(ValueError, match=r"g\.tif' cannot be read: its values are in .*not in"):
        read_image(tmp_path / "g.tif")
    floats[0, 0] = np.nan
    tifffile.imwrite(tmp_path / "n.tif", floats)
    with pytest.raises(ValueError, match=r"n\.tif' cannot be read: it holds NaN"):
        read_image(tmp_path / "n.tif")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_pixels_and_size(tmp_path, rgb, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a{suffix}", rgb, exif=exif)
    image = read_image(path)
    np.testing.assert_array_equal(image, np.asarray(ImageOps.exif_transpose(Image.open(path))))
    assert image.shape[:2] == image_size(path) == ((6, 9) if orientation < 5 else (9, 6))


def test_size_decodes_nothing(tmp_path, rgb, monkeypatch):
    paths = [save(tmp_path / f"a{suffix}", rgb) for suffix in (".png", ".jpg", ".bmp", ".tif")]
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    assert [image_size(path) for path in paths] == [(6, 9)] * 4


def test_pixels_may_be_written_to(tmp_path, rgb):
    for suffix in (".png", ".jpg", ".bmp", ".tif"):
        assert read_image(save(tmp_path / f"a{suffix}", rgb)).flags.writeable


def test_home_is_expanded(tmp_path, rgb, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "a.png", rgb)
    np.testing.assert_array_equal(read_image("~/a.png"), rgb)
    assert image_size("~/a.png") == (6, 9)
    assert ImageFiles(["~/a.png"]).paths[0] == str(tmp_path / "a.png")


# ---- bad files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", [read_image, read_mask, image_size])
def test_bad_files_name_the_file_and_the_reason(tmp_path, reader):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png' does not exist"):
        reader(tmp_path / "nowhere.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"empty\.png' cannot be read: the file is empty"):
        reader(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not an image at all")
    with pytest.raises(ValueError, match=r"text\.png' cannot be read: it is not an image"):
        reader(tmp_path / "text.png")
    with pytest.raises(ValueError, match="cannot be read: it is a folder"):
        reader(tmp_path)
    with pytest.raises(TypeError, match="path must be a string or a Path, got 3"):
        reader(3)


@pytest.mark.parametrize("tag", [256, 257])  # ImageWidth, ImageLength
@pytest.mark.parametrize("reader", [read_image, read_mask, image_size])
def test_a_header_without_pixels_is_named(tmp_path, reader, tag):
    path = tmp_path / "none.tif"
    tifffile.imwrite(path, np.ones((7, 9), np.uint8))
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags[tag].overwrite(0)
    with pytest.raises(ValueError, match=r"none\.tif' cannot be read: it has no pixels"):
        reader(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.9])
@pytest.mark.parametrize("reader", [read_image, read_mask])
def test_truncated_files_raise(tmp_path, rng, suffix, share, reader):
    path = save(tmp_path / f"cut{suffix}", rng.integers(0, 256, (40, 50, 3)).astype(np.uint8))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=rf"cut\{suffix}' cannot be read"):
        reader(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(
    deadline=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(suffix=st.sampled_from(IMAGE_SUFFIXES), seed=st.integers(0, 10**6))
def test_damaged_bytes_raise_nothing_but_the_clear_error(tmp_path, suffix, seed):
    rng = np.random.default_rng(seed)
    path = save(tmp_path / f"bad{suffix}", rng.integers(0, 256, (12, 10, 3)).astype(np.uint8))
    content = bytearray(path.read_bytes())
    for position in rng.integers(0, len(content), 6):
        content[position] = rng.integers(256)
    path.write_bytes(content)
    for reader in (read_image, read_mask, image_size):
        try:
            reader(path)
        except ValueError as error:
            assert f"bad{suffix}' cannot be read" in str(error) and "\n" not in str(error)


# ---- masks -------------------------------------------------------------------------------------


def test_mask_values_are_kept_without_mapping(tmp_path):
    ids = np.array([[0, 3, 255]], np.uint8)
    mask = read_mask(save(tmp_path / "l.png", ids))
    assert mask.dtype == np.int16 and mask.tolist() == [[0, 3, 255]]
    palette = Image.fromarray(ids[:, :2], "P")
    palette.putpalette([255] * 768)  # the indices count, not their colours
    palette.save(tmp_path / "p.png")
    assert read_mask(tmp_path / "p.png").tolist() == [[0, 3]]
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    bits.save(tmp_path / "1.png")
    assert read_mask(tmp_path / "1.png").tolist() == [[0, 1]]
    equal = np.repeat(ids[..., None], 3, axis=2)
    assert read_mask(save(tmp_path / "rgb.png", equal)).tolist() == ids.tolist()
    transparent = np.dstack([equal, [[9, 9, 9]]]).astype(np.uint8)
    assert read_mask(save(tmp_path / "rgba.png", transparent)).tolist() == ids.tolist()
    save(tmp_path / "deep.png", np.array([[0, 300]], np.uint16))
    assert read_mask(tmp_path / "deep.png").tolist() == [[0, 300]]
    tifffile.imwrite(tmp_path / "deep.tif", np.array([[-1, 300]], np.int16))
    assert read_mask(tmp_path / "deep.tif").tolist() == [[-1, 300]]


@pytest.mark.parametrize(
    "mapping, values, expected",
    [
        ("nonzero", [0, 1, 127, 255], [0, 1, 1, 1]),
        ("half", [0, 127, 128, 255], [0, 0, 1, 1]),
        ("binary", [0, 1, 255, 255], [0, 1, 1, 1]),
    ],
)
def test_mask_mappings(tmp_path, mapping, values, expected):
    path = save(tmp_path / "m.png", np.array([values], np.uint8))
    assert read_mask(path, mapping).tolist() == [expected]


@pytest.mark.parametrize("mapping", ["nonzero", "half", "binary"])
def test_one_bit_masks_are_foreground_under_every_mapping(tmp_path, mapping):
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "1.png")
    assert read_mask(tmp_path / "1.png", mapping).tolist() == [[0, 1]]


def test_masks_that_are_no_ids_raise(tmp_path, rgb):
    path = save(tmp_path / "c.png", rgb)
    with pytest.raises(ValueError, match=r"c\.png' cannot be read: its colour channels differ"):
        read_mask(path)
    grey = save(tmp_path / "g.png", np.array([[0, 7, 255]], np.uint8))
    with pytest.raises(ValueError, match=r"g\.png' .* holds the value 7, where only 0, 1 and 255"):
        read_mask(grey, "binary")
    with pytest.raises(ValueError, match="mapping must be one of .*Did you mean 'nonzero'"):
        read_mask(grey, "non-zero")
    save(tmp_path / "big.png", np.array([[0, 40000]], np.uint16))
    with pytest.raises(ValueError, match=r"big\.png' .* 40000 is outside \[-1, 32767\]"):
        read_mask(tmp_path / "big.png")


# ---- sequences ---------------------------------------------------------------------------------


@pytest.fixture
def paths(tmp_path, rng):
    return [
        save(tmp_path / f"{i}.png", rng.integers(0, 256, (4 + i, 5, 3)).astype(np.uint8))
        for i in range(5)
    ]


def test_files_index_like_an_array(paths):
    files = ImageFiles(paths)
    names = np.array([str(p) for p in paths], dtype=object)
    assert files.shape == (5,) and len(files) == 5 and files.ndim == 1
    np.testing.assert_array_equal(files[2], read_image(paths[2]))
    np.testing.assert_array_equal(files[np.int64(-1)], read_image(paths[4]))
    for key in (slice(1, 4), [3, 0], np.array([3, 0]), np.array([True, False] * 2 + [True])):
        part = files[key]
        assert type(part) is ImageFiles
        np.testing.assert_array_equal(part.paths, names[key])
    assert len(files[[]]) == 0
    assert files.take([4, 4]).paths.tolist() == [names[4]] * 2
    assert [files.size(i) for i in range(5)] == [image.shape[:2] for image in files]
    assert np.asarray(files).shape == (5,) and np.asarray(files[:1]).shape == (1, 4, 5, 3)
    with pytest.raises(IndexError):
        files[5]
    with pytest.raises(TypeError, match="paths must be a sequence of paths, got 'a.png'"):
        ImageFiles("a.png")
    with pytest.raises(TypeError, match=r"paths\[1\] must be a string or a Path, got None"):
        ImageFiles(["a.png", None])


def test_files_go_through_scikit_learn_undecoded(tmp_path):
    # No such files: reading one would raise.
    files = ImageFiles([tmp_path / f"{i}.png" for i in range(6)])
    masks = MaskFiles(files.paths, "half")
    assert type(_safe_indexing(files, np.array([1, 2]))) is ImageFiles
    assert type(_safe_indexing(files, [True] * 6)) is ImageFiles
    train, test, mask_train, mask_test = train_test_split(files, masks, random_state=0)
    assert type(test) is ImageFiles and mask_test.mapping == "half"
    assert test.paths.tolist() == mask_test.paths.tolist()


def test_files_pickle_and_read_from_threads(paths):
    files = pickle.loads(pickle.dumps(ImageFiles(paths)))
    masks = pickle.loads(pickle.dumps(MaskFiles([None, *paths[1:]], "half")))
    assert masks[0] is None and masks.size(0) is None and masks.mapping == "half"
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(files.__getitem__, list(range(5)) * 8))
    for i, image in enumerate(read):
        np.testing.assert_array_equal(image, read_image(paths[i % 5]))


# ---- as_images ---------------------------------------------------------------------------------


def as_object_array(items):
    held = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        held[i] = item
    return held


def test_every_form_shows_one_face(tmp_path, paths, rng):
    arrays = [read_image(path) for path in paths]
    same = rng.integers(0, 256, (5, 4, 6, 3)).astype(np.uint8)
    forms = {
        "array": (same, list(same)),
        "list": (arrays, arrays),
        "objects": (as_object_array(arrays), arrays),
        "paths": (paths, arrays),
        "strings": (np.array([str(p) for p in paths]), arrays),
        "files": (ImageFiles(paths), arrays),
        "mixed": ([paths[0], *arrays[1:]], arrays),
        "cut": (same.astype(object), list(same)),
    }
    for name, (form, expected) in forms.items():
        images = as_images(form)
        assert len(images) == 5 and images.shape == (5,), name
        for i in range(5):
            np.testing.assert_array_equal(images[i], expected[i], err_msg=name)
            assert images.size(i) == expected[i].shape[:2]
        part = images.take(np.array([3, 1])).take([1])
        np.testing.assert_array_equal(part[0], expected[1], err_msg=name)
        assert as_images(images) is images
        assert len(list(images)) == 5


def test_grey_is_repeated_and_floats_are_float32(rng):
    grey = rng.random((3, 4, 5))
    for form in (grey, grey[..., None], list(grey)):
        images = as_images(form)
        assert images[1].shape == (4, 5, 3) and images[1].dtype == np.float32
        np.testing.assert_array_equal(images[1][..., 2], grey[1].astype(np.float32))


def test_bad_images_raise():
    uint8 = np.zeros((2, 4, 5, 3), np.uint8)
    with pytest.raises(TypeError, match=r"X must be uint8, or float in \[0, 1\], got 'int64'"):
        as_images(uint8.astype(np.int64))
    with pytest.raises(TypeError, match=r"X\[1\] must be uint8, .* got 'uint16'"):
        as_images([uint8[0], uint8[0].astype(np.uint16)])
    floats = np.zeros((2, 4, 5, 3))
    floats[1, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"X\[1\] must be finite .* but it holds NaN"):
        as_images(floats)
    with pytest.raises(ValueError, match=r"X\[1\] must be finite .* but it holds NaN"):
        as_images(list(floats))
    floats[1, 0, 0, 0] = 255
    with pytest.raises(ValueError, match=r"X\[1\].*in \[0, 255\], not in \[0, 1\]. Divide by 255"):
        as_images(floats)
    with pytest.raises(ValueError, match=r"X\[1\] must be of 3 channels, as those before it"):
        as_images([uint8[0], np.zeros((6, 7, 5), np.uint8)])
    with pytest.raises(ValueError, match=r"X\[1\] must be of 5 channels, .*got \(6, 7\)"):
        as_images([np.zeros((6, 7, 5), np.uint8), np.zeros((6, 7), np.uint8)])
    with pytest.raises(ValueError, match="Put the channels last"):
        as_images(np.moveaxis(uint8, -1, 1))
    with pytest.raises(ValueError, match="X must be at least one image"):
        as_images([])
    with pytest.raises(ValueError, match="X must be at least one image"):
        as_images(uint8[:0])
    with pytest.raises(ValueError, match=r"one image: pass X\[None\]"):
        as_images(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match=r"X must be of shape .* got \(4, 5\)"):
        as_images(uint8[0, :, :, 0])
    with pytest.raises(ValueError, match=r"X\[0\] must be of shape \(H, W\)"):
        as_images([np.zeros(3, np.uint8)])
    with pytest.raises(ValueError, match=r"X\[1\] must be an image, got None"):
        as_images([uint8[0], None])
    with pytest.raises(TypeError, match="X must be a sequence of images .* got 'a.png'"):
        as_images("a.png")
    with pytest.raises(TypeError, match="X must be a sequence of images"):
        as_images(MaskFiles(["a.png"]))


# ---- as_masks and check_pairs ------------------------------------------------------------------


def test_every_form_of_masks_shows_one_face(tmp_path, rng):
    same = rng.integers(-1, 3, (4, 5, 6))
    path = save(tmp_path / "m.png", np.full((5, 6), 2, np.uint8))
    for form in (same, list(same), as_object_array(list(same)), same.astype(np.int8)):
        masks = as_masks(form, 4)
        assert masks[3].dtype == np.int16
        np.testing.assert_array_equal(masks[3], same[3])
        np.testing.assert_array_equal(masks.take([2, 0])[1], same[0])
    assert [m is None for m in as_masks(None, 3)] == [True] * 3
    mixed = as_masks([None, path, same[0]], 3)
    assert mixed[0] is None and mixed.size(0) is None and (mixed[1] == 2).all()
    assert mixed.size(1) == (5, 6) and as_masks(mixed, 3) is mixed
    files = MaskFiles([path, None])
    assert as_masks(files, 2) is files
    missing = as_masks(np.full((1, 2, 2), -1), 1)[0]
    assert missing is not None and (missing == -1).all()
    assert as_masks(np.ones((1, 2, 2), bool), 1)[0].tolist() == [[1, 1], [1, 1]]


def test_bad_masks_raise():
    with pytest.raises(ValueError, match=r"masks must be of the length of X \(3\), got 2"):
        as_masks(np.zeros((2, 4, 4), int), 3)
    with pytest.raises(ValueError, match=r"masks must be of the length of X \(3\), got 1"):
        as_masks(MaskFiles([None]), 3)
    with pytest.raises(TypeError, match=r"masks must be whole numbers .* got 'float64'"):
        as_masks(np.zeros((2, 4, 4)), 2)
    with pytest.raises(ValueError, match=r"masks\[1\] must be in \[-1, 32767\], got -2"):
        as_masks([None, np.full((2, 2), -2)], 2)
    with pytest.raises(ValueError, match=r"masks\[0\] must be of shape \(H, W\) or None"):
        as_masks([np.zeros((2, 2, 1), int)], 1)
    with pytest.raises(ValueError, match=r"masks must be of shape \(n, H, W\)"):
        as_masks(np.zeros((2, 4), int), 2)
    with pytest.raises(TypeError, match="masks must be a sequence of masks"):
        as_masks(ImageFiles(["a.png"]), 1)


def test_check_pairs_passes_what_is_good(paths):
    masks = [np.zeros(image_size(path), int) for path in paths[:4]] + [None]
    masks[0][:] = -1
    masks[1][0] = 1
    check_pairs(paths, masks, n_mask_classes=2)
    check_pairs(paths, None)


def test_check_pairs_names_what_is_bad(tmp_path, paths):
    images = np.zeros((2, 4, 5, 3), np.uint8)
    with pytest.raises(ValueError, match=r"masks\[1\] is 4 x 4 pixels, its image X\[1\] 4 x 5"):
        check_pairs(images, [None, np.zeros((4, 4), int)])
    with pytest.raises(ValueError, match=r"masks\[0\] holds the value 255, .* \[0, 1\].*0/255"):
        check_pairs(images, [np.full((4, 5), 255), None], 2)
    wrong = save(tmp_path / "mask.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(ValueError, match=r"mask\.png' is 9 x 9 pixels, its image '.*0\.png' 4 x 5"):
        check_pairs(paths[:1], [wrong])
    paths[1].write_bytes(paths[1].read_bytes()[:60])
    paths[3].unlink()
    with pytest.raises(ValueError, match=r"(?s)2 images or masks are bad.*1\.png'.*3\.png' does"):
        check_pairs(paths, None)
    with pytest.raises(FileNotFoundError, match=r"3\.png' does not exist"):
        check_pairs(paths[3:], None)


def test_stack_keeps_differing_sizes_apart():
    square, wide = np.zeros((2, 2)), np.zeros((2, 3))
    assert stack([square, square]).shape == (2, 2, 2)
    ragged = stack([square, wide])
    assert ragged.dtype == object and ragged[1] is wide
    holes = stack([square, None])
    assert holes.dtype == object and holes[1] is None
    assert stack([]).shape == (0,)
