"""alseg.query.aggregation: each against loops and scipy, numpy against torch, size bias."""

import functools

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg.query.aggregation import (
    AGGREGATIONS,
    aggregate,
    boundary_mean,
    classwise_mean,
    distance_weighted,
    foreground_mean,
    needs_mask_proba,
    patch_max,
    quantile,
    top_fraction,
)

NEEDS = {"foreground_mean", "classwise_mean", "boundary_mean", "distance_weighted"}


def random_case(rng, n=3, c=3, h=12, w=17):
    proba = rng.random((n, c, h // 4 + 1, w // 4 + 1)).repeat(4, axis=2).repeat(4, axis=3)
    proba = proba[:, :, :h, :w] ** 4
    return rng.random((n, h, w)), proba / proba.sum(axis=1, keepdims=True)


def test_names_and_needs():
    assert {name for name in AGGREGATIONS if needs_mask_proba(name)} == NEEDS
    assert needs_mask_proba(functools.partial(boundary_mean, width=2))
    assert not needs_mask_proba(functools.partial(boundary_mean, mask_proba=np.ones(1)))
    assert not needs_mask_proba(lambda maps: maps)
    assert not needs_mask_proba(max)


@pytest.mark.parametrize("how", AGGREGATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_equals_numpy(rng, how, dtype):
    maps, proba = random_case(rng)
    expected = aggregate(maps, how, mask_proba=proba)
    assert isinstance(expected, np.ndarray) and expected.shape == (3,)
    tensors = torch.as_tensor(maps, dtype=dtype), torch.as_tensor(proba, dtype=dtype)
    result = aggregate(tensors[0], how, mask_proba=tensors[1])
    assert isinstance(result, torch.Tensor) and result.dtype == dtype
    np.testing.assert_allclose(result.numpy(), expected, rtol=2e-5)


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_ragged_and_alone_equal_a_batch(rng, how):
    maps, proba = random_case(rng)
    expected = aggregate(maps, how, mask_proba=proba)
    listed = aggregate(list(maps), how, mask_proba=list(proba))
    np.testing.assert_allclose(listed, expected)
    ragged = np.empty(2, dtype=object)
    ragged[:] = [maps[0, :7, :9], maps[1]]
    result = aggregate(ragged, how, mask_proba=[proba[0, :, :7, :9], proba[1]])
    np.testing.assert_allclose(result[1], expected[1])
    alone = aggregate(maps[:1, :7, :9], how, mask_proba=proba[:1, :, :7, :9])
    np.testing.assert_allclose(result[0], alone[0])


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_input_untouched_and_constant_map(rng, how):
    _, proba = random_case(rng)
    maps = np.full((3, 12, 17), 0.25)
    before = maps.copy(), proba.copy()
    score = aggregate(maps, how, mask_proba=proba)
    np.testing.assert_array_equal(maps, before[0])
    np.testing.assert_array_equal(proba, before[1])
    if how not in ("sum", "distance_weighted"):
        np.testing.assert_allclose(score, 0.25)  # a mean, whichever pixels it is of


@pytest.mark.parametrize("how", AGGREGATIONS)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_nan_is_never_hidden(rng, how, kind):
    maps, proba = random_case(rng, n=2)
    proba[0] = np.array([0.1, 0.1, 0.8])[:, None, None]
    proba[0, :, :, 8:] = np.array([0.8, 0.1, 0.1])[:, None, None]
    maps[0, 5, 7] = np.nan  # inside the foreground, beside the contour
    if kind == "torch":
        maps, proba = torch.from_numpy(maps), torch.from_numpy(proba)
    score = aggregate(maps, how, mask_proba=proba)
    assert np.isnan(float(score[0])) and np.isfinite(float(score[1]))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.01, 1), st.floats(0, 1))
def test_top_fraction_and_quantile_by_sorting(seed, fraction, q):
    maps = np.random.default_rng(seed).random((2, 5, 6))
    flat = np.sort(maps.reshape(2, -1), axis=1)
    k = max(1, round(fraction * 30))
    np.testing.assert_allclose(top_fraction(maps, fraction), flat[:, -k:].mean(axis=1))
    expected = np.quantile(flat, q, axis=1)
    np.testing.assert_allclose(quantile(maps, q), expected)
    tensor = torch.from_numpy(maps)
    np.testing.assert_allclose(quantile(tensor, q), expected)
    np.testing.assert_allclose(top_fraction(tensor, fraction), flat[:, -k:].mean(axis=1))


def test_ends_of_the_ranges(rng):
    maps, _ = random_case(rng)
    np.testing.assert_allclose(top_fraction(maps, 1), aggregate(maps, "mean"))
    np.testing.assert_allclose(top_fraction(maps, 1e-9), aggregate(maps, "max"))
    np.testing.assert_allclose(quantile(maps, 1), aggregate(maps, "max"))
    np.testing.assert_allclose(patch_max(maps, 1), aggregate(maps, "max"))
    np.testing.assert_allclose(patch_max(maps, 1000), aggregate(maps, "mean"))


@pytest.mark.parametrize("size", [2, 5, 12, 15])
def test_patch_max_equals_sliding_windows(rng, size):
    maps, _ = random_case(rng)
    window = (min(size, 12), min(size, 17))
    windows = np.lib.stride_tricks.sliding_window_view(maps, window, axis=(1, 2))
    expected = windows.mean(axis=(-1, -2)).max(axis=(1, 2))
    np.testing.assert_allclose(patch_max(maps, size), expected)


def test_foreground_and_class_means_by_masks(rng):
    maps, proba = random_case(rng)
    labels = proba.argmax(axis=1)
    tops = [[m[a == c].mean() for c in np.unique(a)] for m, a in zip(maps, labels, strict=True)]
    expected = [np.mean(values) for values in tops]
    np.testing.assert_allclose(classwise_mean(maps, proba), expected)
    expected = [np.average(m, weights=1 - p[0]) for m, p in zip(maps, proba, strict=True)]
    np.testing.assert_allclose(foreground_mean(maps, proba), expected)


def test_foreground_mean_still_scores_an_image_without_predicted_foreground():
    maps = np.array([[[0.5, 0.1]]])
    proba = np.array([[[[0.7, 0.9]], [[0.3, 0.1]]]])
    np.testing.assert_allclose(foreground_mean(maps, proba), [(0.15 + 0.01) / 0.4])
    certain = np.array([[[[1.0, 1.0]], [[0.0, 0.0]]]])
    np.testing.assert_array_equal(foreground_mean(maps, certain), [0.0])


@pytest.mark.parametrize("width", [1, 2, 3])
def test_boundary_equals_dilation_by_scipy(rng, width):
    maps, proba = random_case(rng, c=2)
    cross = scipy.ndimage.generate_binary_structure(2, 1)
    expected = []
    for m, p in zip(maps, proba, strict=True):
        a = p.argmax(axis=0).astype(bool)
        # Class 1 grown plus class 0 grown meet exactly at the contour.
        near = scipy.ndimage.binary_dilation(a, cross, iterations=width)
        near &= scipy.ndimage.binary_dilation(~a, cross, iterations=width)
        expected.append(m[near].mean())
    np.testing.assert_allclose(boundary_mean(maps, proba, width=width), expected)


def test_boundary_mean_without_a_contour_is_zero():
    proba = np.stack([np.zeros((1, 3, 3)), np.ones((1, 3, 3))], axis=1)
    assert boundary_mean(np.ones((1, 3, 3)), proba).tolist() == [0.0]


def test_distance_weighted_equals_the_published_formula(rng):
    maps, proba = random_case(rng, c=2)
    expected = []
    for m, p in zip(maps, proba, strict=True):
        depth = scipy.ndimage.distance_transform_edt(p[1] >= 0.5)
        expected.append((m * (depth - depth.min()) / (depth.max() - depth.min())).sum())
    np.testing.assert_allclose(distance_weighted(maps, proba), expected)


@pytest.mark.parametrize("foreground", [0.0, 1.0])
def test_distance_weighted_without_a_contour_is_zero(foreground):
    proba = np.full((1, 2, 4, 5), foreground)
    proba[:, 0] = 1 - foreground
    assert distance_weighted(np.ones((1, 4, 5)), proba).tolist() == [0.0]


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_bias_towards_large_images(rng, how):
    """An image tiled 2 x 2 holds nothing new: a fair aggregation scores it (nearly) the same."""
    maps, proba = random_case(rng, n=2, h=16, w=16)
    one = aggregate(maps, how, mask_proba=proba)
    tiled = aggregate(np.tile(maps, (1, 2, 2)), how, mask_proba=np.tile(proba, (1, 1, 2, 2)))
    if how in ("sum",):
        np.testing.assert_allclose(tiled, 4 * one)
    elif how == "distance_weighted":
        assert (tiled > 2 * one).all()
    elif how in ("mean", "max", "top_fraction", "foreground_mean", "classwise_mean"):
        np.testing.assert_allclose(tiled, one, rtol=0.02)
    else:  # seams add contour and windows: between the two
        assert (tiled < 2 * one).all()


def test_max_grows_with_the_number_of_pixels(rng):
    small, large = rng.random((200, 4, 4)), rng.random((200, 32, 32))
    assert aggregate(large, "max").mean() > aggregate(small, "max").mean() + 0.03
    difference = aggregate(large, "mean").mean() - aggregate(small, "mean").mean()
    assert abs(difference) < 0.02


def test_a_users_own_function():
    maps = np.arange(8.0).reshape(2, 2, 2)
    np.testing.assert_array_equal(aggregate(maps, lambda m: m[:, 0, 0]), [0, 4])
    half = functools.partial(top_fraction, fraction=0.5)
    np.testing.assert_array_equal(aggregate(maps, half), [2.5, 6.5])

    def background(maps, mask_proba):
        return (maps * mask_proba[:, 0]).sum(axis=(1, 2))

    np.testing.assert_array_equal(aggregate(maps, background, np.ones((2, 2, 2, 2))), [6, 22])


def test_errors(rng):
    maps, proba = random_case(rng)
    with pytest.raises(ValueError, match="aggregate must be one of .* Did you mean 'mean'?"):
        aggregate(maps, "mena")
    with pytest.raises(ValueError, match="aggregate must be one of"):
        aggregate(maps, None)
    with pytest.raises(ValueError, match="mask_proba must be given for aggregate='boundary_mean'"):
        aggregate(maps, "boundary_mean")
    with pytest.raises(ValueError, match=r"aggregate must be a function that gives shape \(3,\)"):
        aggregate(maps, lambda m: m.mean())
    with pytest.raises(ValueError, match="aggregate must be a function that gives one score"):
        aggregate(list(maps), lambda m: m)
    with pytest.raises(ValueError, match=r"maps must be of shape \(n, H, W\)"):
        aggregate(proba)
    with pytest.raises(ValueError, match=r"maps\[1\] must be of shape \(H, W\)"):
        aggregate([maps[0], proba[0]])
    for fraction in (0, 1.5, np.nan):
        with pytest.raises(ValueError, match="fraction must be > 0 and <= 1"):
            top_fraction(maps, fraction)
    with pytest.raises(ValueError, match="q must be >= 0 and <= 1, got 2"):
        quantile(maps, 2)
    with pytest.raises(ValueError, match="size must be >= 1, got 0"):
        patch_max(maps, 0)
    with pytest.raises(ValueError, match="width must be >= 1, got 0"):
        boundary_mean(maps, proba, width=0)
    with pytest.raises(ValueError, match="threshold must be"):
        distance_weighted(maps, proba, threshold=7)
