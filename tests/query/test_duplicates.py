"""alseg.query.diversity.duplicates, alseg.images.thumbnails and the strategy around them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from alseg.datasets import make_glands
from alseg.images import ImageFiles, read_image, thumbnails
from alseg.query.diversity import distinct_images, likeness
from alseg.query.diversity.duplicates import ALIKE
from alseg.query.regions import Regions
from alseg.strategies import (
    by_region,
    class_balanced,
    core_set_sampling,
    entropy_sampling,
    entropy_score,
    without_near_duplicates,
)
from alseg.testing.toys import ToySegmenter, toy_images


def tile(seed, size=(96, 128)):
    """A smooth picture with structure at the scale of some pixels, far from black and white."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=size), 4)
    noise = (noise - noise.min()) / np.ptp(noise)
    return np.repeat((40 + 120 * noise).astype(np.uint8)[:, :, None], 3, axis=2)


def exposures(image):
    """Five exposures of one tile."""
    x = image.astype(float)
    changed = [0.6 * x, 1.5 * x, 255 * (x / 255) ** 0.6, 255 * (x / 255) ** 1.6, 0.5 * x + 80]
    return [np.clip(c, 0, 255).astype(np.uint8) for c in changed]


# -- thumbnails --


def test_thumbnails_are_means_of_blocks():
    image = np.arange(8 * 12, dtype=np.uint8).reshape(8, 12)
    found = thumbnails([image], 4)[0]
    expected = image.reshape(4, 2, 4, 3).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(found, expected, atol=0.51 / 255)
    floats = thumbnails([image / 255.0], 4)[0]
    np.testing.assert_allclose(floats, expected, atol=1e-6)
    colours = np.zeros((1, 4, 4, 3), np.uint8)
    colours[..., 0], colours[..., 1], colours[..., 2] = 200, 100, 50
    grey = (0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255
    for X in (colours, colours / 255.0):
        np.testing.assert_allclose(thumbnails(X, 2), grey, atol=0.6 / 255)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_thumbnails_of_files_are_those_of_the_pixels(tmp_path, orientation):
    image = Image.fromarray(tile(0, (480, 640)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.jpg", "a.png", "a.tif"):
        image.save(tmp_path / name, exif=exif, **({"quality": 95} if name == "a.jpg" else {}))
    image.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95, exif=exif)
    paths = [str(tmp_path / name) for name in ("a.jpg", "a.png", "a.tif", "cmyk.jpg")]
    whole = thumbnails([read_image(path) for path in paths])
    for X in (paths, ImageFiles(paths), [*paths[:3], read_image(paths[3])]):
        np.testing.assert_allclose(thumbnails(X), whole, atol=2.5 / 255)


def test_a_large_jpeg_is_not_decoded_as_a_whole(tmp_path, monkeypatch):
    Image.fromarray(tile(1, (1600, 2000))).save(tmp_path / "large.jpg")
    sizes, convert = [], Image.Image.convert

    def seen(image, *args, **kwargs):
        sizes.append(image.size)
        return convert(image, *args, **kwargs)

    monkeypatch.setattr("PIL.Image.Image.convert", seen)
    thumbnails([str(tmp_path / "large.jpg")])
    assert sizes == [(250, 200)]


# -- likeness --


def test_likeness_of_exposures_and_of_others():
    tiles = [tile(seed) for seed in range(12)]
    small = thumbnails(np.array(tiles))
    for image, own in zip(tiles, small, strict=True):
        assert likeness(own, own) == pytest.approx(1)
        for changed in thumbnails(np.array(exposures(image))):
            assert likeness(own, changed) >= ALIKE
    others = [likeness(small[i], small[j]) for i in range(12) for j in range(i)]
    assert max(others) < 0.6


def test_made_glands_are_no_duplicates():
    images = make_glands(20, image_size=(64, 96), random_state=0).images
    small = thumbnails(images)
    assert max(likeness(small[i], small[j]) for i in range(20) for j in range(i)) < 0.8


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.floats(0.5, 1.2), st.floats(0.6, 1.5))
def test_likeness_is_symmetric_and_knows_no_exposure(seed, gain, gamma):
    a, b = np.random.default_rng(seed).uniform(0.2, 0.6, (2, 16, 16))
    assert likeness(a, b) == pytest.approx(likeness(b, a))
    assert likeness(a, b) <= 1 + 1e-9
    # neither black nor white whatever is done: ranks are the same, and so is the likeness
    assert likeness(a, gain * a**gamma) == pytest.approx(1)
    assert likeness(a, gain * b**gamma) == pytest.approx(likeness(a, b))


def test_images_without_structure():
    flat, dark = np.full((16, 16), 0.5), np.zeros((16, 16))
    some = np.random.default_rng(0).random((16, 16))
    assert likeness(flat, dark) == likeness(flat, flat) == 1
    assert likeness(flat, some) == likeness(some, dark) == 0
    with pytest.raises(ValueError, match=r"b must be of the shape of a, \(16, 16\)"):
        likeness(flat, np.zeros((8, 8)))


# -- which are kept --


def test_distinct_images_by_hand():
    tiles = [tile(0), tile(1), tile(2)]
    images = [tiles[0], exposures(tiles[0])[0], tiles[1], exposures(tiles[0])[1], tiles[2]]
    assert distinct_images([0, 1, 2, 3, 4], images, 3).tolist() == [0, 2, 4]
    assert distinct_images([3, 1, 0, 4], images, 2).tolist() == [3, 4]
    assert distinct_images([3, 1, 0, 4], images, 3).tolist() == [3, 4, 1]  # nothing else is there
    assert distinct_images([0, 1, 2, 3, 4], images, 2, known=[tiles[1]]).tolist() == [0, 4]
    assert distinct_images([0, 1, 2], images, 3, alike=1.01).tolist() == [0, 1, 2]
    for n in (0, 4):
        with pytest.raises(ValueError, match="n_instances must be >= 1 and <= 3"):
            distinct_images([0, 1, 2], images, n)


def test_of_a_pool_of_copies_few_are_read():
    images = np.repeat(tile(0, (16, 16))[None], 400, axis=0)
    picked = distinct_images(np.arange(400)[::-1], images, 3)
    assert picked.tolist() == [399, 398, 397]


# -- the strategy --


def pool_of_exposures():
    tiles = [tile(seed, (32, 32)) for seed in range(8)]
    return np.array([image for one in tiles for image in (one, *exposures(one))])


@pytest.mark.parametrize(
    "strategy", [entropy_score, entropy_sampling, core_set_sampling, class_balanced(entropy_score)]
)
def test_one_of_each_tile_is_asked_about(strategy):
    X_pool, y_pool = pool_of_exposures(), np.array(["a", "b"] * 24)
    toy = ToySegmenter()
    options = {"y_pool": y_pool} if "class_balanced" in str(strategy) else {}
    picked = without_near_duplicates(strategy)(toy, X_pool, 5, random_state=0, **options)
    assert len(set((picked // 6).tolist())) == 5
    if strategy is entropy_score:
        best = np.argsort(-entropy_score(toy, X_pool))
        expected = [i for k, i in enumerate(best) if i // 6 not in set(best[:k] // 6)][:5]
        np.testing.assert_array_equal(picked, expected)
    everything = without_near_duplicates(strategy)(toy, X_pool, 48, random_state=0, **options)
    assert sorted(everything.tolist()) == list(range(48))
    assert len(set((everything[:8] // 6).tolist())) == 8


def test_it_is_the_strategy_itself_where_no_two_are_alike():
    toy, X_pool = ToySegmenter(), np.array([tile(seed, (32, 32)) for seed in range(12)])
    for strategy in (entropy_sampling, core_set_sampling):
        expected = strategy(toy, X_pool, 4, random_state=3)
        picked = without_near_duplicates(strategy)(toy, X_pool, 4, random_state=3)
        np.testing.assert_array_equal(picked, expected)


def test_scores_are_computed_once():
    toy = ToySegmenter()
    without_near_duplicates(entropy_sampling)(toy, pool_of_exposures(), 6)
    assert toy.n_calls == 1


def test_what_is_known_is_not_repeated_and_parts_are_handed_on():
    toy, X_pool = ToySegmenter(), pool_of_exposures()
    first = without_near_duplicates(entropy_score)(toy, X_pool, 3)
    others = without_near_duplicates(entropy_score, known=X_pool[first])(toy, X_pool, 3)
    assert not set((first // 6).tolist()) & set((others // 6).tolist())
    parts = by_region(entropy_score, size=5)
    assert isinstance(without_near_duplicates(parts)(toy, toy_images(4), 3), Regions)
    with pytest.raises(TypeError, match="strategy must be a score or a strategy"):
        without_near_duplicates("entropy")
    with pytest.raises(TypeError, match="alike must be a number"):
        without_near_duplicates(entropy_score, alike="much")
