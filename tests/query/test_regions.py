"""alseg.query: the value, sums against brute force, picks by hand; asking, answering, learning."""

import copy
import functools
import json
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy
from sklearn.base import clone

import alseg.query
from alseg import ActiveLearner, JointCAMSegmenter
from alseg.datasets import make_glands
from alseg.images import as_images, as_masks
from alseg.labels import MISSING, fraction_annotated
from alseg.oracles import FolderOracle, MaskOracle
from alseg.query.region_picks import pick_regions
from alseg.query.region_scores import (
    box_mean,
    box_sum,
    region_impurity,
    ripu,
    superpixel_means,
    tile_means,
)
from alseg.query.regions import Regions
from alseg.query.superpixels import slic_superpixels, superpixels_of
from alseg.strategies import (
    bald_score,
    by_region,
    class_balanced,
    entropy_sampling,
    entropy_score,
    least_confidence_score,
    margin_score,
    mc_variance_score,
    pixelpick_sampling,
    random_score,
    region_sampling,
    ripu_sampling,
    ripu_score,
)
from alseg.testing.toys import ToySegmenter, toy_images
from alseg.training.training_data import TrainingData, mask_tensor
from alseg.validation import EmptyPool

SCORES = [
    entropy_score,
    margin_score,
    least_confidence_score,
    mc_variance_score,
    bald_score,
    None,
]


def three():
    return Regions([7, 2, 7], [[0, 1, 4], [3], [5]], {7: (2, 3), 2: (2, 2)}, "superpixel")


# -- the value ------------------------------------------------------------------------------------


def test_regions_say_what_is_asked_in_each_image():
    regions = three()
    assert len(regions) == 3 and regions.n_pixels == 5 and regions.unit == "superpixel"
    assert regions.sample_ids.tolist() == [7, 2] and regions.sizes.tolist() == [[2, 3], [2, 2]]
    np.testing.assert_array_equal(regions.region_map(7), [[0, 0, -1], [-1, 0, 2]])
    np.testing.assert_array_equal(regions.mask(2), [[False, False], [False, True]])
    assert [(i, pixels.tolist()) for i, pixels in regions] == [(7, [0, 1, 4]), (2, [3]), (7, [5])]
    truth = np.array([[1, 0, 1], [1, 1, 0]])
    np.testing.assert_array_equal(regions.restrict(7, truth), [[1, 0, -1], [-1, 1, 0]])
    assert truth.min() == 0  # a copy
    assert regions.take([2, 0]).sample_ids.tolist() == [7] and len(regions.take([2, 0])) == 2
    assert "3 superpixels of 5 pixels in 2 images" in repr(regions)


def test_regions_do_not_change():
    ids, pixels = np.array([0, 1]), [np.array([0]), np.array([1])]
    regions = Regions(ids, pixels, {0: (1, 2), 1: (1, 2)}, "pixel")
    ids[0], pixels[0][0] = 5, 1
    assert regions.ids.tolist() == [0, 1] and regions.pixels(0).tolist() == [0]
    for array in (regions.ids, regions.sample_ids, regions.sizes, regions.pixels(0)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError):
        regions.ids = [3]


def test_regions_are_equal_by_value_and_survive_files():
    regions = three()
    saved = json.loads(json.dumps(regions.to_dict()))
    for again in (
        Regions.from_dict(saved),
        pickle.loads(pickle.dumps(regions)),
        copy.deepcopy(regions),
    ):
        assert again == regions and hash(again) == hash(regions)
        assert not again.ids.flags.writeable
    assert regions != three().take([0, 1]) and regions != "regions"
    assert regions != Regions(regions.ids, [p for _, p in regions], {7: (3, 2), 2: (2, 2)})
    assert json.loads(json.dumps(regions.summary())) == {
        "unit": "superpixel",
        "n_regions": 3,
        "n_images": 2,
        "n_pixels": 5,
        "images": [
            {"sample_id": 7, "n_regions": 2, "n_pixels": 4},
            {"sample_id": 2, "n_regions": 1, "n_pixels": 1},
        ],
    }


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_any_regions_go_through_a_file_and_a_new_numbering(seed):
    rng = np.random.default_rng(seed)
    maps = [rng.random(rng.integers(1, 9, 2)) for _ in range(4)]
    n = int(rng.integers(1, 1 + sum(m.size for m in maps) // 4 or 2))
    try:
        regions = pick_regions(maps, n, ["pixel", "patch"][seed % 2], size=2, random_state=rng)
    except ValueError:  # fewer than n
        return
    assert Regions.from_dict(regions.to_dict()) == regions
    names = rng.permutation(100)[:4]
    moved = regions.renumbered(names)
    assert moved.ids.tolist() == names[regions.ids].tolist()
    for i in regions.sample_ids:
        np.testing.assert_array_equal(moved.mask(names[i]), regions.mask(i))


@pytest.mark.parametrize(
    "ids, pixels, sizes, error, match",
    [
        ([0.5], [[0]], {0: (1, 1)}, TypeError, "ids must be a row of integers"),
        ([0], [], {0: (1, 1)}, ValueError, "pixels must be one array for each of the 1 regions"),
        ([0], [[]], {0: (1, 1)}, ValueError, r"pixels\[0\] must be at least one pixel"),
        ([0], [[0.0]], {0: (1, 1)}, TypeError, r"pixels\[0\] must be integers"),
        ([3], [[0]], {0: (1, 1)}, ValueError, r"sizes must be given for the images \[3\]"),
        ([0], [[6]], {0: (2, 3)}, ValueError, "pixels must be inside their images"),
        ([0], [[-1]], {0: (2, 3)}, ValueError, "pixels must be inside their images"),
        ([0, 0], [[0, 1], [1]], {0: (2, 3)}, ValueError, "must be in one region each"),
        ([0], [[1, 1]], {0: (2, 3)}, ValueError, "must be in one region each"),
    ],
)
def test_regions_that_do_not_fit(ids, pixels, sizes, error, match):
    with pytest.raises(error, match=match):
        Regions(ids, pixels, sizes)


def test_regions_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match="unit must be one of"):
        Regions([0], [[0]], {0: (1, 1)}, "image")
    with pytest.raises(ValueError, match=r"sample_id must be one of \[7, 2\], got 3"):
        three().mask(3)
    with pytest.raises(ValueError, match=r"mask of image 7 must be of its size \(2, 3\)"):
        three().restrict(7, np.zeros((3, 2), int))
    with pytest.raises(ValueError, match=r"must be positions in \[0, 2\]"):
        three().renumbered([1, 2, 3])
    with pytest.raises(IndexError, match="k must be in"):
        three().pixels(3)
    for damaged in ({}, {"unit": "patch", "ids": [0], "sizes": [[0, 1, 1]], "runs": [[5, 2]]}, 3):
        with pytest.raises(ValueError, match="saved must be what Regions.to_dict wrote"):
            Regions.from_dict(damaged)


# -- sums -----------------------------------------------------------------------------------------


def windows(shape, size):
    """Pixels of the window centred at each pixel, by its definition."""
    for r in range(shape[0]):
        for c in range(shape[1]):
            top, left = r - size // 2, c - size // 2
            yield np.s_[max(top, 0) : top + size, max(left, 0) : left + size]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_box_sums_are_those_of_a_loop(h, w, size, seed):
    map_ = np.random.default_rng(seed).normal(size=(h, w))
    for function, reduce in ((box_sum, np.sum), (box_mean, np.mean)):
        expected = np.array([reduce(map_[box]) for box in windows((h, w), size)]).reshape(h, w)
        np.testing.assert_allclose(function(map_, size), expected, atol=1e-12)
        np.testing.assert_allclose(
            function(np.stack([map_, 2 * map_]), size)[1], 2 * expected, atol=1e-12
        )
    tiles = [
        map_[r : r + size, c : c + size].mean()
        for r in range(0, h, size)
        for c in range(0, w, size)
    ]
    np.testing.assert_allclose(tile_means(map_, size).reshape(-1), tiles, atol=1e-12)


def test_box_sum_is_a_convolution_with_ones(rng):
    maps = rng.random((3, 20, 31))
    expected = F.conv2d(
        torch.as_tensor(maps)[None], torch.ones(3, 1, 7, 7).double(), padding=3, groups=3
    )[0]
    np.testing.assert_allclose(box_sum(maps, 7), expected.numpy(), atol=1e-10)


@given(st.integers(2, 5), st.integers(1, 6), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_impurity_is_the_entropy_of_the_window(n_classes, size, seed):
    classes = np.random.default_rng(seed).integers(0, n_classes, (5, 7))
    expected = [
        scipy_entropy(np.bincount(classes[box].reshape(-1)), base=n_classes)
        for box in windows(classes.shape, size)
    ]
    found = region_impurity(classes, size, n_classes)
    np.testing.assert_allclose(found.reshape(-1), expected, atol=1e-9)


def test_ripu_by_hand(rng):
    # left half sure background, right half unsure foreground: impurity 0 away from the border
    foreground = np.repeat([[0.0, 0.0, 0.6, 0.6]], 3, axis=0)
    score = ripu(np.stack([1 - foreground, foreground]), size=3)
    h = scipy_entropy([0.4, 0.6], base=2)
    third = scipy_entropy([1, 2], base=2)
    np.testing.assert_allclose(score[1], [0, third * h / 3, third * 2 * h / 3, 0], atol=1e-9)
    proba = rng.dirichlet(np.ones(4), (6, 9)).transpose(2, 0, 1)
    assert ripu(proba).min() >= 0 and ripu(proba).max() <= 1
    assert ripu(np.full((4, 5, 5), 0.25)).max() == 0  # of one predicted class, however unsure


def test_superpixel_means_are_those_of_a_loop(rng):
    map_, labels = rng.random((6, 7)), rng.integers(0, 5, (6, 7))
    labels[labels == 3] = 4
    expected = [map_[labels == k].mean() if (labels == k).any() else 0 for k in range(5)]
    np.testing.assert_allclose(superpixel_means(map_, labels), expected)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: box_sum(np.ones((2, 2)), 0), "size must be >= 1"),
        (lambda: region_impurity([[0, 2]], 3, 2), r"classes must be integers in \[0, 1\]"),
        (lambda: region_impurity([[0.0, 1.0]], 3, 2), "classes must be integers"),
        (lambda: superpixel_means(np.ones((2, 2)), np.zeros((2, 3), int)), "of the map's size"),
        (lambda: superpixel_means(np.ones((1, 2)), [[0, -1]]), "integers of at least 0"),
        (lambda: pick_regions(np.ones((1, 2, 2)), 1, "superpixel"), "labels must be given"),
        (lambda: pick_regions(np.ones((1, 2, 2)), 1, "image"), "unit must be one of"),
        (
            lambda: pick_regions(np.ones((1, 2, 2)), 1, "pixel", sliding=True),
            "'patch' with sliding",
        ),
        (lambda: pick_regions(np.ones((1, 2, 2)), 5, "pixel"), r"in \[1, 4\] \(the regions left"),
        (lambda: pick_regions(np.ones((1, 2, 2)), 1, top=0.0), "top must be > 0"),
        (lambda: pick_regions(np.ones((1, 2, 2)), 1, per_image=0), "per_image must be >= 1"),
        (
            lambda: pick_regions(np.ones((2, 2)), 1),
            r"image 0 of the pool must be of shape \(H, W\)",
        ),
        (lambda: pick_regions(np.ones((1, 2, 2)), 1, known=[np.ones((2, 3), bool)]), "known of"),
    ],
)
def test_bad_arguments(call, match):
    with pytest.raises(ValueError, match=match):
        call()


# -- superpixels ----------------------------------------------------------------------------------


def test_slic_covers_the_image_with_connected_parts():
    from scipy.ndimage import label

    image = make_glands(1, (48, 64), random_state=0).images[0]
    labels = slic_superpixels(image, size=12)
    assert labels.shape == (48, 64) and labels.dtype == np.int32
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert 10 <= labels.max() + 1 <= 35  # 48 * 64 / 12 ** 2 is 21
    assert all(label(labels == k)[1] == 1 for k in range(labels.max() + 1))
    assert np.array_equal(labels, slic_superpixels(image, size=12))
    assert slic_superpixels(image[:8, :8], size=32).max() == 0


def test_superpixels_are_computed_once_and_known_by_content(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(alseg.query.superpixels, "_kept", type(alseg.query.superpixels._kept)())
    asked = []

    def method(image, size):
        asked.append(image.shape)
        return np.arange(image.shape[0] * image.shape[1]).reshape(image.shape[:2]) // size

    pool = toy_images(3)
    first = superpixels_of(as_images(pool), [0, 2], 8, method)
    again = superpixels_of(as_images(pool[2:].copy()), [0], 8, method)  # another array, and place
    assert len(asked) == 2 and np.array_equal(again[0], first[1])
    superpixels_of(as_images(pool), [0], 4, method)
    assert len(asked) == 3
    with pytest.raises(ValueError, match="read-only"):
        first[0][0, 0] = 7
    path = tmp_path / "a.png"
    for content in pool[:2]:
        Image.fromarray(content).save(path)
        superpixels_of(as_images([path]), [0], 8, method)
        superpixels_of(as_images([path]), [0], 8, method)
    assert len(asked) == 5  # a file that changed is another image
    monkeypatch.setattr(alseg.query.superpixels, "_KEPT_BYTES", 1)
    superpixels_of(as_images(pool), [0, 1, 2], 3, method)
    assert len(alseg.query.superpixels._kept) == 1


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 2), int), np.zeros((16, 16)), -np.ones((16, 16), int)]
)
def test_superpixels_of_a_bad_method(bad):
    with pytest.raises(ValueError, match="superpixels must be"):
        superpixels_of(as_images(toy_images(1)), [0], 8, lambda image, size: bad)


# -- picking --------------------------------------------------------------------------------------


def test_tiles_by_hand_those_at_the_end_are_cut():
    map_ = np.zeros((3, 5))
    map_[2, 4] = 1.0  # alone in its tile
    map_[0, :2] = 1.0  # half of one
    regions = pick_regions([map_], 2, "patch", size=2)
    assert [p.tolist() for _, p in regions] == [[14], [0, 1, 5, 6]]


def test_superpixels_and_pixels_by_hand():
    maps = np.array([[[0.9, 0.1, 0.4]], [[0.3, 0.6, 0.6]]])
    labels = np.array([[[0, 0, 1]], [[0, 1, 1]]])
    found = pick_regions(maps, 3, "superpixel", labels=labels)
    assert [(i, p.tolist()) for i, p in found] == [(1, [1, 2]), (0, [0, 1]), (0, [2])]
    found = pick_regions(maps, 4, "pixel", random_state=0)
    assert {(i, *p) for i, p in found} == {(0, 0), (1, 1), (1, 2), (0, 2)}
    found = pick_regions(maps, 2, "pixel", per_image=1, random_state=0)
    assert found.sample_ids.tolist() == [0, 1]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_sliding_windows_are_the_best_that_do_not_overlap(rng, size):
    map_ = rng.random((11, 13))
    found = pick_regions([map_], 6, "patch", size=size, sliding=True)
    means, boxes = box_mean(map_, size), list(windows(map_.shape, size))
    taken = np.zeros(map_.shape, bool)
    for _, pixels in found:  # by brute force: the best window that is still free
        free = np.array([not taken[box].any() for box in boxes])
        best = np.argmax(np.where(free, means.reshape(-1), -1))
        expected = np.zeros(map_.shape, bool)
        expected[boxes[best]] = True
        assert np.flatnonzero(expected).tolist() == sorted(pixels.tolist())
        taken |= expected


@pytest.mark.parametrize(
    "options",
    [
        {"unit": "pixel"},
        {"unit": "patch", "size": 3},
        {"unit": "patch", "size": 3, "sliding": True},
        {"unit": "superpixel"},
    ],
)
def test_what_is_known_is_not_asked_and_counts_nothing(rng, options):
    maps, known = rng.random((3, 9, 8)), rng.random((3, 9, 8)) < 0.4
    known[1] = True
    if options["unit"] == "superpixel":
        options = {**options, "labels": rng.integers(0, 6, (3, 9, 8))}
    seen = pick_regions(maps, 5, known=known, **options)
    for i in seen.sample_ids:
        assert i != 1 and not (seen.mask(i) & known[i]).any()
    silent = np.where(known, 0.0, maps)
    assert pick_regions(silent, 5, known=known, **options) == seen
    with pytest.raises(EmptyPool, match="No region is left"):
        pick_regions(maps, 1, known=np.ones_like(known), **options)


def test_picking_goes_on_until_every_pixel_is_asked(rng):
    for options in ({"unit": "patch", "size": 3}, {"unit": "patch", "size": 3, "sliding": True}):
        known, rounds = np.zeros((1, 7, 8), bool), 0
        while not known.all():
            known[0] |= pick_regions(rng.random((1, 7, 8)), 1, known=known, **options).mask(0)
            rounds += 1
        assert rounds < 57


def test_top_draws_among_the_best_share():
    maps = np.arange(100.0).reshape(1, 10, 10)
    drawn = set()
    for seed in range(40):
        found = pick_regions(maps, 2, "pixel", top=0.05, per_image=2, random_state=seed)
        drawn |= {int(p[0]) for _, p in found}
    assert drawn == set(range(95, 100))
    once = pick_regions(maps, 2, "pixel", top=0.05, random_state=3)
    assert once == pick_regions(maps, 2, "pixel", top=0.05, random_state=3)


def test_equal_scores_are_drawn_evenly():
    maps = [np.zeros((2, 3)), np.zeros((1, 4))]
    counts = np.zeros(10)
    for seed in range(600):
        for i, p in pick_regions(maps, 2, "pixel", random_state=seed):
            counts[6 * i + p[0]] += 1
    assert abs(counts - 120).max() < 5 * np.sqrt(120)


def test_a_long_pool_is_picked_as_a_short_one(rng):
    # more candidates than are held at once, so that worse ones are dropped on the way
    maps = rng.random((60, 20, 20))
    found = pick_regions(maps, 40, "pixel")
    best = np.argsort(-maps.reshape(-1))[:40]
    assert [400 * i + p[0] for i, p in found] == best.tolist()


def test_scores_that_are_not_finite_say_where():
    maps = np.zeros((2, 2, 2))
    maps[1, 0, 1] = np.nan
    with pytest.raises(
        ValueError, match="image 1 of the pool must be finite, got '?1 non-finite of 4"
    ):
        pick_regions(maps, 1, "pixel")


# -- strategies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("unit", ["patch", "superpixel", "pixel"])
def test_the_same_scores_ask_for_parts(score, unit):
    toy, X_pool = ToySegmenter(), toy_images(6)
    regions = by_region(score, unit, size=6)(toy, X_pool, 4, random_state=0)
    if score is None:
        assert len(regions) == 4 and regions.unit == unit
        return
    # composed by hand from the public maps
    method = score.__name__.removesuffix("_score")
    rng = np.random.default_rng(0)
    seed = int(np.random.default_rng(int(rng.integers(2**31 - 1))).integers(2**31 - 1))
    _, maps = toy.predict_uncertainty(X_pool, method=method, return_maps=True, random_state=seed)
    labels = [slic_superpixels(image, 6) for image in X_pool]
    assert regions == pick_regions(maps, 4, unit, 6, labels=labels, random_state=rng)


def test_a_draws_map_does_not_depend_on_the_chunk(monkeypatch):
    from alseg.strategies import best_parts as parts

    toy, X_pool = ToySegmenter(), toy_images(7, ragged=True)
    ask = functools.partial(by_region(mc_variance_score, "pixel"), toy, X_pool, 9, random_state=1)
    whole = ask()
    monkeypatch.setattr(parts, "_CHUNK", 2)
    assert ask() == whole


def test_parts_need_maps():
    toy, X_pool = ToySegmenter(), toy_images(3)
    with pytest.raises(ValueError, match="target must be 'mask' for maps and parts"):
        by_region(functools.partial(entropy_score, target="label"), "pixel")(toy, X_pool, 1)
    with pytest.raises(ValueError, match="target must be 'mask' for maps and parts"):
        by_region(functools.partial(mc_variance_score, target="label"), "pixel")(toy, X_pool, 1)
    with pytest.raises(TypeError, match="score must be a score with a parameter return_maps"):
        region_sampling(toy, X_pool, 1, score=random_score)
    with pytest.raises(TypeError, match="score must be a score"):
        by_region("entropy")
    with pytest.raises(ValueError, match="Did you mean 'size'"):
        by_region(entropy_score, sise=3)
    with pytest.raises(ValueError, match="unit must be one of.*Did you mean 'pixel'"):
        by_region(entropy_score, "pixels")
    with pytest.raises(TypeError, match="a 1-D array of integer positions"):
        class_balanced(by_region())(toy, X_pool, 2, y_pool=["a", "a", "b"])


def test_unit_image_is_the_plain_strategy():
    toy, X_pool = ToySegmenter(), toy_images(6)
    plain = entropy_sampling(toy, X_pool, 3, random_state=0)
    assert np.array_equal(by_region(entropy_score, "image")(toy, X_pool, 3, random_state=0), plain)
    assert len(by_region(None, "image")(toy, X_pool, 3, random_state=0)) == 3


def test_ripu_sampling_is_ripu_of_the_prediction():
    toy, X_pool = ToySegmenter(), toy_images(5)
    maps = [ripu(proba, 3) for proba in toy.predict_mask_proba(X_pool)]
    scores, given_maps = ripu_score(toy, X_pool, return_maps=True)
    np.testing.assert_allclose(given_maps, maps, rtol=1e-6)
    np.testing.assert_allclose(scores, [m.mean() for m in maps])
    best = int(np.argmax(maps))
    asked = ripu_sampling(toy, X_pool, 1, unit="pixel")
    assert asked.ids[0] * 256 + asked.pixels(0)[0] == best
    window = ripu_sampling(toy, X_pool, 1)  # the window around it
    i, (r, c) = best // 256, divmod(best % 256, 16)
    expected = np.zeros((16, 16), bool)
    expected[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2] = True
    np.testing.assert_array_equal(window.mask(i), expected)
    published = ripu_sampling(toy, X_pool, 5 * 8, unit="pixel", per_image=8)
    assert np.bincount(published.ids).tolist() == [8] * 5
    with pytest.raises(TypeError, match="learner must be with `predict_mask_proba`"):
        ripu_score(object(), X_pool)


def test_pixelpick_asks_every_image_for_a_few_of_its_unsure_pixels():
    toy, X_pool = ToySegmenter(), toy_images(4)
    masks = np.full(4, None, dtype=object)
    masks[2] = np.full((16, 16), MISSING)
    masks[2].reshape(-1)[:16] = 0
    asked = pixelpick_sampling(toy, X_pool, 34, random_state=0, max_pixels=20, masks_pool=masks)
    assert np.bincount(asked.ids).tolist() == [10, 10, 4, 10]  # 16 are known already
    _, maps = toy.predict_uncertainty(X_pool, method="margin", return_maps=True)
    for i in range(4):
        known = masks[i] == 0 if masks[i] is not None else np.zeros((16, 16), bool)
        n_best = int(np.ceil(0.05 * (~known).sum()))
        least = np.sort(maps[i][~known])[-n_best]
        assert maps[i][asked.mask(i)].min() >= least
    assert asked != pixelpick_sampling(
        toy, X_pool, 34, random_state=1, max_pixels=20, masks_pool=masks
    )


# -- oracles --------------------------------------------------------------------------------------


def test_an_oracle_answers_about_the_regions_alone(tmp_path):
    truth = np.arange(24).reshape(4, 2, 3) % 2
    regions = Regions([3, 1, 3], [[0, 1], [4], [5]], {3: (2, 3), 1: (2, 3)})
    oracle = MaskOracle(truth)
    answer = oracle(regions.sample_ids, regions=regions)
    np.testing.assert_array_equal(answer[0], [[0, 1, -1], [-1, -1, 1]])
    np.testing.assert_array_equal(answer[1], [[-1, -1, -1], [-1, 0, -1]])
    np.testing.assert_array_equal(oracle(regions), answer)
    np.testing.assert_array_equal(oracle([1], regions=regions), answer[1:])
    assert oracle.n_pixels == 4 + 4 + 1 and oracle.n_asked == 2
    with pytest.raises(ValueError, match="sample_id must be one of"):
        oracle([0], regions=regions)
    with pytest.raises(TypeError, match="regions must be Regions or None"):
        oracle([0], regions=[1])
    with pytest.raises(TypeError, match="regions must be left out"):
        oracle(regions, regions=three())
    np.save(tmp_path / "d.npy", truth[3].astype(np.int16))
    from PIL import Image

    Image.fromarray(truth[1].astype(np.uint8)).save(tmp_path / "b.png")
    Image.fromarray(truth[3].astype(np.uint8)).save(tmp_path / "d.png")
    (tmp_path / "d.npy").unlink()
    folder = FolderOracle(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    np.testing.assert_array_equal(folder(regions), answer)


def test_an_oracle_that_does_not_know_the_regions_says_so():
    truth = np.full((1, 1, 4), MISSING)
    truth[0, 0, 3] = 1
    oracle = MaskOracle(truth)
    with pytest.raises(ValueError, match="ground truth in the regions, got .0."):
        oracle(Regions([0], [[0, 1]], {0: (1, 4)}))
    assert oracle.log == [] and oracle.n_pixels == 0
    answer = oracle(Regions([0], [[2, 3]], {0: (1, 4)}))
    assert answer.tolist() == [[[-1, -1, -1, 1]]]


def test_one_click_says_the_majority():
    truth = np.array([[[1, 1, 0, 0, 2, 2, -1]]])
    regions = Regions([0, 0, 0], [[0, 1, 2], [3, 4], [5, 6]], {0: (1, 7)}, "superpixel")
    answer = MaskOracle(truth, majority=True)(regions)
    assert answer.tolist() == [[[1, 1, 1, 0, 0, 2, 2]]]


# -- learning -------------------------------------------------------------------------------------


def toy_learner(strategy, n=5, **options):
    class Fittable(ToySegmenter):
        def get_params(self, deep=True):
            return {}

        def fit(self, X, y, masks=None, mask_weight=None):
            self.fitted_to = masks
            return self

        def __sklearn_clone__(self):
            return Fittable()

    model = Fittable()
    return ActiveLearner(
        model,
        strategy,
        images=toy_images(n),
        labels=[0, 1] * (n // 2) + [0] * (n % 2),
        random_state=0,
        **options,
    )


TRUTH = (toy_images(5).mean(axis=-1) > 100).astype(int)


@pytest.mark.parametrize(
    "strategy",
    [
        by_region(entropy_score, size=5),
        by_region(None, "pixel"),
        by_region(entropy_score, "superpixel", size=6),
        by_region(sliding=True, size=6),
        functools.partial(pixelpick_sampling, max_pixels=None, per_image=50, top=1.0),
        ripu_sampling,
    ],
    ids=["patch", "random pixel", "superpixel", "sliding", "pixelpick", "ripu"],
)
def test_the_loop_never_asks_twice_and_ends(strategy):
    learner, oracle = toy_learner(strategy), MaskOracle(TRUTH)
    known = np.zeros((5, 16, 16), bool)
    n = 150 if "pixel" in str(strategy) else 7
    for _ in range(60):
        try:
            regions, images = learner.query(n_instances=n)
        except EmptyPool:
            break
        except ValueError as error:  # fewer are left than n
            assert "the regions left in the pool" in str(error)
            n = 1
            continue
        assert len(regions) == n and len(images) == len(regions.sample_ids)
        np.testing.assert_array_equal(images, learner.images[regions.sample_ids])
        learner.annotate(regions, oracle(regions), fit=False)
        for i in regions.sample_ids:
            assert not (known[i] & regions.mask(i)).any()
            known[i] |= regions.mask(i)
        for i, mask in enumerate(learner.masks):
            expected = np.where(known[i], TRUTH[i], MISSING)
            assert (mask is None and not known[i].any()) or np.array_equal(mask, expected)
        assert learner.pool_ids.tolist() == np.flatnonzero(~known.all((1, 2))).tolist()
    assert known.sum() > 400 and oracle.n_pixels == known.sum()


def test_the_same_loop_serves_images_and_parts():
    for strategy in (entropy_sampling, by_region(entropy_score, "pixel")):
        learner, oracle = toy_learner(strategy), MaskOracle(TRUTH)
        asked, _ = learner.query(n_instances=3)
        learner.annotate(asked, oracle(asked), fit=False)
        assert len(learner.annotated_ids) in (1, 2, 3)


def test_query_counts_parts_where_the_strategy_does():
    learner = toy_learner(by_region(entropy_score, "image"))
    with pytest.raises(ValueError, match=r"n_instances must be in \[1, 5\] \(the pool size\)"):
        learner.query(n_instances=6)
    assert len(learner.query(n_instances=6, unit="pixel")[0]) == 6
    with pytest.raises(ValueError, match="n_instances must be >= 1"):
        learner.query(n_instances=0, unit="pixel")
    with pytest.raises(TypeError, match="n_instances must be an integer"):
        learner.query(n_instances=1.5, unit="pixel")

    def too_few(learner, X_pool, n_instances=1, unit="pixel"):
        return Regions([0], [[0]], {0: (16, 16)}, "pixel")

    with pytest.raises(ValueError, match="result must be 2 regions, as asked"):
        toy_learner(too_few).query(n_instances=2)
    regions, images = toy_learner(too_few).query(toy_images(2), n_instances=1)
    assert len(regions) == 1 and len(images) == 1


def test_annotations_of_parts_grow_together():
    learner = toy_learner(by_region(None, "pixel"))
    first = Regions([2], [[0, 1]], {2: (16, 16)})
    second = Regions([2, 0], [[1, 2], [5]], {2: (16, 16), 0: (16, 16)})
    oracle = MaskOracle(TRUTH)
    learner.annotate(first, oracle(first), fit=False)
    learner.annotate(second.sample_ids, oracle(second.sample_ids, regions=second), fit=False)
    assert (learner.masks[2] != MISSING).sum() == 3 and (learner.masks[0] != MISSING).sum() == 1
    assert learner.annotated_ids.tolist() == [0, 2] and len(learner.pool_ids) == 5
    copied = clone(learner)
    assert np.array_equal(copied.masks[2], learner.masks[2])


def test_a_learner_with_partial_masks_is_saved_and_asks_on(tmp_path):
    glands = make_glands(6, (24, 32), random_state=0)
    model = JointCAMSegmenter(encoder="tiny", max_epochs=1, steps_per_epoch=1, random_state=0)
    strategy = by_region(entropy_score, "superpixel", size=8)
    learner = ActiveLearner(
        model, strategy, images=glands.images, labels=glands.labels, random_state=0
    )
    oracle = MaskOracle(glands.masks)
    for _ in range(2):
        regions, _ = learner.query(n_instances=4)
        learner.annotate(regions, oracle(regions))
    learner.save(tmp_path / "learner")
    again = ActiveLearner.load(tmp_path / "learner")
    for before, after in zip(learner.masks, again.masks, strict=True):
        assert np.array_equal(before, after) if before is not None else after is None
    assert again.query_strategy.__name__ == strategy.__name__
    assert again.query(n_instances=5)[0] == learner.query(n_instances=5)[0]


# -- training -------------------------------------------------------------------------------------


def test_an_annotated_pixel_is_not_lost_when_the_image_is_shrunk(rng):
    """A few pixels of a large image: taking every third row and column would miss most of them."""
    h, w, canvas = 33, 44, (11, 12)
    truth = rng.integers(0, 3, (h, w))
    mask = np.full((h, w), MISSING)
    picked = rng.choice(h * w, 12, replace=False)
    mask.reshape(-1)[picked] = truth.reshape(-1)[picked]
    data = TrainingData.build(
        as_images(np.zeros((1, h, w, 3), np.uint8)), [0], as_masks([mask], 1), None, canvas, 3
    )
    cells = {}
    for p in picked:
        r, c = divmod(p, w)
        cell = int((r + 0.5) * canvas[0] / h), int((c + 0.5) * canvas[1] / w)
        cells.setdefault(cell, set()).add(int(truth[r, c]))
    small = data.masks[0].numpy()
    assert {tuple(cell) for cell in np.argwhere(small != MISSING)} == set(cells)
    assert all(small[cell] in classes for cell, classes in cells.items())


def test_an_experts_pixel_is_not_lost_among_pseudo_labels(rng):
    h, w, canvas = 33, 44, (11, 12)
    mask, weight = np.zeros((h, w), int), np.full((h, w), 0.1)
    picked = rng.choice(h * w, 12, replace=False)
    mask.reshape(-1)[picked], weight.reshape(-1)[picked] = 1, 1.0
    data = TrainingData.build(
        as_images(np.zeros((1, h, w, 3), np.uint8)), [0], as_masks([mask], 1), [weight], canvas, 2
    )
    cells = {
        ((2 * r + 1) * 11 // (2 * h), (2 * c + 1) * 12 // (2 * w))
        for r, c in (divmod(int(p), w) for p in picked)
    }
    found = data.masks[0].numpy() == 1
    assert {tuple(cell) for cell in np.argwhere(found)} == cells
    np.testing.assert_allclose(data.weights[0].numpy(), np.where(found, 1.0, 0.1))


def test_a_whole_mask_is_shrunk_to_its_nearest_pixels(rng):
    mask = rng.integers(0, 3, (30, 41))
    for canvas in ((11, 12), (30, 41), (60, 50)):
        expected = F.interpolate(
            torch.as_tensor(mask)[None, None].float(), size=canvas, mode="nearest-exact"
        )[0, 0]
        assert torch.equal(mask_tensor(mask, canvas).float(), expected)


@pytest.mark.slow
def test_regions_of_few_pixels_raise_dice_over_rounds():
    glands = make_glands(24, (32, 48), random_state=0)
    test = make_glands(12, (32, 48), random_state=1)
    model = JointCAMSegmenter(
        encoder="tiny", max_epochs=10, steps_per_epoch=4, lr=3e-3, random_state=0
    )
    learner = ActiveLearner(
        model,
        functools.partial(pixelpick_sampling, per_image=5),
        images=glands.images,
        labels=glands.labels,
        random_state=0,
    )
    oracle = MaskOracle(glands.masks)
    dice = [learner.score_masks(test.images, test.masks)]
    for _ in range(3):
        regions, _ = learner.query(n_instances=5 * 24)
        learner.annotate(regions, oracle(regions))
        dice.append(learner.score_masks(test.images, test.masks))
    assert max(fraction_annotated(mask) for mask in learner.masks) < 0.01
    assert oracle.n_pixels == 360
    assert dice[-1] > dice[1] - 0.01 and dice[-1] > dice[0] + 0.1, dice


def test_an_experiment_about_parts_is_recorded_and_goes_on(tmp_path):
    from alseg.experiment.rounds import run

    train, test = (make_glands(6, (24, 32), random_state=seed) for seed in (0, 1))
    model = JointCAMSegmenter(encoder="tiny", max_epochs=1, steps_per_epoch=1)
    ask = functools.partial(
        run,
        model,
        train,
        test,
        by_region(entropy_score, "pixel", per_image=4),
        n_instances=9,
        initial=2,
        seed=0,
    )
    whole = ask(rounds=2, out=tmp_path / "whole")
    ask(rounds=1, out=tmp_path / "parts")
    resumed = ask(rounds=2, out=tmp_path / "parts")
    assert whole[2]["regions"] == resumed[2]["regions"] and len(whole[2]["regions"]["ids"]) == 9
    assert whole[2]["metrics"] == resumed[2]["metrics"]
