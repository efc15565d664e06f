"""Synthetic glands: repeatable, in range, and not solved by a colour or a threshold."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2hed
from skimage.filters import threshold_otsu
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from alseg.datasets import _glands, make_glands


@pytest.fixture(autouse=True, scope="module")
def _made_anew():
    """Undoes tests/glands_once.py, under which images would repeat however they are made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_glands, "_make_one", _glands._make_one.__wrapped__)
        yield


@pytest.fixture(scope="module")
def glands():
    return make_glands(100, random_state=1)


def mean_iou(predicted, mask):
    return np.mean(
        [
            ((predicted == k) & (mask == k)).sum() / ((predicted == k) | (mask == k)).sum()
            for k in (0, 1)
        ]
    )


def test_shapes_dtypes_and_classes(glands):
    assert glands.images.shape == (100, 96, 144, 3) and glands.images.dtype == np.uint8
    assert glands.masks.shape == (100, 96, 144) and glands.masks.dtype == np.int8
    np.testing.assert_array_equal(glands.masks, glands.instances > 0)
    assert set(glands.labels) == {"regular", "irregular"}
    assert (glands.labels == "regular").sum() == 50
    for ids in glands.instances:  # 0, 1, ..., n without a gap
        np.testing.assert_array_equal(np.unique(ids), np.arange(ids.max() + 1))


def test_glands_cover_35_to_55_percent_of_every_image(glands):
    share = glands.masks.mean(axis=(1, 2))
    assert share.min() >= 0.35 and share.max() <= 0.55
    assert abs(share[glands.labels == "regular"].mean() - share.mean()) < 0.01


@pytest.mark.parametrize("texture", ["glands", "stroma"])
def test_repeats_bit_for_bit_and_by_prefix(texture):
    state = np.random.get_state()[1].copy()
    first, again = (make_glands(4, (40, 50), texture=texture, random_state=3) for _ in range(2))
    longer = make_glands(6, (40, 50), texture=texture, random_state=3)
    other = make_glands(4, (40, 50), texture=texture, random_state=4)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.instances, again.instances)
    np.testing.assert_array_equal(first.images, longer.images[:4])
    assert (first.images != other.images).mean() > 0.5
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_the_switch_changes_the_stroma_of_irregular_images_alone():
    inside, everywhere = (make_glands(4, texture=t, random_state=0) for t in ("glands", "stroma"))
    np.testing.assert_array_equal(inside.masks, everywhere.masks)
    changed = (inside.images != everywhere.images).any(axis=-1)
    regular = inside.labels == "regular"
    assert not changed[regular].any()
    assert changed[~regular][inside.masks[~regular] == 0].mean() > 0.5


@pytest.mark.parametrize("size", [(16, 16), (33, 57), (200, 120)])
def test_any_image_size(size):
    glands = make_glands(3, size, random_state=0)
    assert glands.images.shape == (3, *size, 3)
    share = glands.masks.mean(axis=(1, 2))
    assert share.min() > 0.33 and share.max() < 0.57


@pytest.mark.parametrize("texture", ["glands", pytest.param("stroma", marks=pytest.mark.slow)])
def test_class_is_not_readable_from_colour(texture):
    glands = make_glands(120, random_state=2, texture=texture)
    pixels = glands.images.reshape(120, -1, 3) / 255.0
    features = np.concatenate([pixels.mean(axis=1), pixels.std(axis=1)], axis=1)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    assert cross_val_score(model, features, glands.labels, cv=5).mean() < 0.75


def test_glands_are_not_readable_from_the_stain(glands):
    scores = []
    for image, mask in zip(glands.images[:40], glands.masks):
        stain = rgb2hed(image)[..., 0]
        for sigma in (1, 3):
            blurred = gaussian_filter(stain, sigma)
            scores.append(mean_iou(blurred > threshold_otsu(blurred), mask))
    assert np.mean(scores) < 0.55


def test_staining_varies_between_images(glands):
    means = glands.images.mean(axis=(1, 2))
    assert (means.std(axis=0) > 8).all()


def test_bad_arguments_raise():
    with pytest.raises(ValueError, match="n_samples must be >= 1, got 0"):
        make_glands(0)
    with pytest.raises(ValueError, match="image_size must be >= 16, got 8"):
        make_glands(1, (8, 32))
    with pytest.raises(ValueError, match=r"image_size must be a pair \(H, W\), got 64"):
        make_glands(1, 64)
    with pytest.raises(ValueError, match="texture must be one of .*Did you mean 'glands'"):
        make_glands(1, texture="gland")
    with pytest.raises(TypeError, match="random_state must be"):
        make_glands(1, random_state="seed")
