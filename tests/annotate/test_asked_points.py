"""Asked pixels: drawn fairly, the same again, only where nobody said anything."""

import numpy as np
import pytest
from scipy.stats import chisquare

from alseg.annotate.asked_points import open_points, random_points, unsure_points
from alseg.labels import MISSING
from alseg.training.training_data import mask_tensor

SIZE = (6, 8)


def counted(draw, n_images=3000):
    counts = np.zeros(SIZE)
    for image in range(n_images):
        points = draw(f"image-{image}")
        np.add.at(counts, tuple(points.T), 1)
    return counts


@pytest.mark.parametrize("n", [1, 8, 40])
def test_each_pixel_is_as_likely_as_any_other(n):
    counts = counted(lambda name: random_points(name, SIZE, n))
    assert counts.sum() == 3000 * n
    # Drawn without one twice, counts vary less than independent ones: the test is on the safe side.
    assert chisquare(counts.ravel()).pvalue > 0.01
    if n == 1:
        assert chisquare(counts.ravel()).pvalue < 0.99  # nor too even to be chance


def test_each_open_pixel_is_as_likely_as_any_other():
    mask = np.full(SIZE, MISSING)
    mask[1:4, 2:7] = 1
    counts = counted(lambda name: open_points(name, mask, 5))
    assert (counts[mask != MISSING] == 0).all()
    assert chisquare(counts[mask == MISSING]).pvalue > 0.01


def test_they_are_the_same_again_and_of_each_image_and_seed_their_own():
    points = random_points("a", (522, 775), 20)
    np.testing.assert_array_equal(points, random_points("a", (522, 775), 20))
    assert (points != random_points("b", (522, 775), 20)).any()
    assert (points != random_points("a", (522, 775), 20, seed=1)).any()
    assert (points < (522, 775)).all() and (points >= 0).all()
    # As drawn on the day this was written: what was asked may not change with a version.
    assert random_points("a", (522, 775), 3).tolist() == [
        [346, 345],
        [486, 752],
        [119, 439],
    ]


def test_none_comes_twice_and_the_first_ones_stay():
    points = random_points("a", SIZE, 100)
    assert len(np.unique(points, axis=0)) == len(points) == 48
    for n in (0, 1, 20, 30):
        np.testing.assert_array_equal(random_points("a", SIZE, n), points[:n])


def test_what_is_answered_is_not_asked_and_the_others_keep_their_order():
    mask = np.full(SIZE, MISSING)
    points = random_points("a", SIZE, 48)
    for row, column in points[[0, 2, 30]]:
        mask[row, column] = 1
    np.testing.assert_array_equal(open_points("a", mask, 48), np.delete(points, [0, 2, 30], 0))
    np.testing.assert_array_equal(open_points("a", mask, 2), points[[1, 3]])
    assert open_points("a", np.zeros(SIZE, np.int16), 5).shape == (0, 2)


def test_unsure_ones_lie_where_the_proposal_is_nearest_to_a_half():
    rng = np.random.default_rng(0)
    proposal = rng.integers(0, 256, (40, 50))
    mask = np.full((40, 50), MISSING)
    mask[:20] = 0
    points = unsure_points("a", mask, proposal, 30)
    assert len(np.unique(points, axis=0)) == 30 and (points[:, 0] >= 20).all()
    doubt = np.abs(proposal - 127.5)
    assert doubt[tuple(points.T)].max() <= np.quantile(doubt[20:], 0.1)
    np.testing.assert_array_equal(points, unsure_points("a", mask, proposal, 30))
    assert len(unsure_points("a", np.zeros((4, 5), int), np.zeros((4, 5)), 3)) == 0


def test_unsure_ones_are_spread_where_all_are_alike():
    mask, flat = np.full(SIZE, MISSING), np.full(SIZE, 9)
    counts = counted(lambda name: unsure_points(name, mask, flat, 3))
    assert chisquare(counts.ravel()).pvalue > 0.01


def test_twenty_pixels_of_a_slide_reach_the_network():
    size, canvas = (522, 775), (192, 288)
    mask = np.full(size, MISSING, np.int16)
    points = random_points("slide", size, 20)
    mask[tuple(points.T)] = np.arange(20) % 2
    small = mask_tensor(mask, canvas).numpy()
    assert (small != MISSING).sum() == 20
    where = ((2 * points + 1) * canvas // (2 * np.array(size))).T  # the place each falls into
    np.testing.assert_array_equal(small[tuple(where)], np.arange(20) % 2)
