"""alseg.query.costs: clicks of shapes that can be counted by hand, and the stated formula."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg.datasets import make_glands
from alseg.labels import MISSING
from alseg.oracles import MaskOracle
from alseg.query.costs import AnnotationCost, annotation_cost, polygon_clicks
from alseg.query.region_picks import pick_regions
from alseg.query.regions import Regions
from alseg.query.superpixels import slic_superpixels


def square(size=20, low=5, high=15):
    mask = np.zeros((size, size), int)
    mask[low:high, low:high] = 1
    return mask


def test_clicks_of_shapes():
    assert polygon_clicks(np.zeros((9, 9), int)) == 0
    assert polygon_clicks(square()) == 4
    two = square()
    two[17:20, 0:3] = 1
    assert polygon_clicks(two) == 8
    ring = square()
    ring[8:12, 8:12] = 0
    assert polygon_clicks(ring) == 8  # outline and hole
    assert polygon_clicks(np.ones((30, 40), int)) == 4  # the border of the image
    halves = square()
    halves[10:15] *= 2
    assert polygon_clicks(halves) == 8  # two classes, or two touching instances
    l_shape = square()
    l_shape[5:10, 10:15] = 0
    assert polygon_clicks(l_shape) == 6
    missing = np.where(square() == 1, 1, MISSING)
    assert polygon_clicks(missing) == 4
    assert polygon_clicks(np.eye(1, dtype=int)) >= 1


def test_a_finer_outline_costs_more():
    mask = make_glands(1, (96, 144), random_state=0).masks[0]
    clicks = [polygon_clicks(mask, tolerance) for tolerance in (0.0, 0.5, 1.0, 2.0, 8.0)]
    assert clicks == sorted(clicks, reverse=True) and clicks[0] > 3 * clicks[2] > 0


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_clicks_do_not_depend_on_where_an_object_lies(seed):
    rng = np.random.default_rng(seed)
    blob = (rng.random((6, 7)) < 0.7).astype(int)
    blob[2, 3] = 1
    at = rng.integers(1, 8, 2)
    placed = np.zeros((16, 17), int)
    placed[at[0] : at[0] + 6, at[1] : at[1] + 7] = blob
    assert polygon_clicks(placed) == polygon_clicks(np.pad(blob, 2))


def test_whole_images():
    masks = [square(), np.zeros((4, 5), int), None, np.full((3, 3), MISSING)]
    cost = annotation_cost(masks, seconds_per_image=10, seconds_per_region=2, seconds_per_click=0.5)
    assert cost == AnnotationCost(2, 420, 5, 2 * 10 + 2 * 2 + 5 * 0.5)
    touching = np.where(square() == 1, 1 + (np.arange(20) >= 10), 0)
    assert annotation_cost([square()], instances=[touching]).clicks == 8


def test_a_pure_region_is_one_click_and_a_mixed_one_is_outlined():
    mask = square()
    box = np.zeros((20, 20), bool)
    box[0:10, 0:10] = True  # a corner of the square inside
    pixels = [np.flatnonzero(box), [210], [15, 16], [399]]
    regions = Regions([0, 0, 0, 0], pixels, {0: (20, 20)}, "patch")
    answer = MaskOracle([mask])(regions)
    cost = annotation_cost(answer, regions, seconds_per_region=1.0)
    assert cost == AnnotationCost(1, 104, 4 + 3, 4 + 7.0)
    assert annotation_cost(answer, regions.take([0])).clicks == 4
    by_majority = MaskOracle([mask], majority=True)(regions)
    assert annotation_cost(by_majority, regions).clicks == 4


def test_superpixels_of_a_picture_cost_less_by_majority():
    glands = make_glands(3, (48, 64), random_state=0)
    labels = [slic_superpixels(image, 12) for image in glands.images]
    maps = [np.ones(mask.shape) for mask in glands.masks]
    regions = pick_regions(maps, 12, "superpixel", labels=labels, random_state=0)
    exact = annotation_cost(MaskOracle(glands.masks)(regions), regions)
    quick = annotation_cost(MaskOracle(glands.masks, majority=True)(regions), regions)
    assert quick.clicks == 12 < exact.clicks and quick.pixels == exact.pixels == regions.n_pixels


def test_costs_add_up():
    costs = [annotation_cost([square()]), annotation_cost([np.zeros((2, 2), int)])]
    assert sum(costs) == annotation_cost([square(), np.zeros((2, 2), int)])
    with pytest.raises(TypeError):
        costs[0] + 1


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: polygon_clicks(np.zeros(3, int)), ValueError, "mask must be integers of shape"),
        (lambda: polygon_clicks(np.zeros((3, 3))), ValueError, "mask must be integers of shape"),
        (lambda: polygon_clicks(square(), -1), ValueError, "tolerance must be >= 0"),
        (
            lambda: annotation_cost([square()], seconds_per_click=-1),
            ValueError,
            "seconds_per_click must be >= 0",
        ),
        (lambda: annotation_cost([square()], [0]), TypeError, "regions must be Regions or None"),
        (
            lambda: annotation_cost([square()], Regions([0], [[0]], {0: (2, 2)})),
            ValueError,
            r"of the size of its image \(2, 2\)",
        ),
        (
            lambda: annotation_cost([square()], instances=[np.ones((2, 2), int)]),
            ValueError,
            "instances.0. must be of its mask's size",
        ),
        (
            lambda: annotation_cost(
                [square()], Regions([0, 1], [[0], [0]], {0: (2, 2), 1: (2, 2)})
            ),
            ValueError,
            "masks",
        ),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()
