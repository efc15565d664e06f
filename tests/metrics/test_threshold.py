import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alseg.labels import MISSING
from alseg.metrics.threshold import (
    THRESHOLD_GRID,
    best_threshold,
    mask_from_proba,
    threshold_scores,
)


def two_classes(p):
    return np.stack([1 - p, p], axis=-3)


def reference_scores(mask_proba, masks, grid):
    """One threshold, one image, one class at a time."""
    scores = []
    for t in grid:
        per_image = []
        for proba, mask in zip(mask_proba, masks):
            if (mask == MISSING).all():
                continue
            predicted = (proba[1] >= proba.dtype.type(t)).astype(int)
            ious = []
            for c in (0, 1):
                inter = ((predicted == c) & (mask == c)).sum()
                union = (((predicted == c) | (mask == c)) & (mask != MISSING)).sum()
                ious.append((inter + 1) / (union + 1))
            per_image.append(np.mean(ious))
        scores.append(np.mean(per_image))
    return np.array(scores)


def test_the_grid_is_the_published_one():
    assert len(THRESHOLD_GRID) == 95
    assert THRESHOLD_GRID[0] == 0.05 and THRESHOLD_GRID[1] == 0.06 and THRESHOLD_GRID[-1] == 0.99


@given(
    dtype=st.sampled_from([np.float32, np.float64]),
    levels=hnp.arrays(np.int64, (3, 4, 5), elements=st.integers(0, 20)),
    masks=hnp.arrays(np.int64, (3, 4, 5), elements=st.integers(-1, 1)),
)
@settings(deadline=None, max_examples=30)
def test_scores_are_those_of_the_definition(dtype, levels, masks):
    masks[0, 0, 0] = 1
    proba = two_classes((levels / 20).astype(dtype))  # many values stand exactly on the grid
    expected = reference_scores(proba, masks, THRESHOLD_GRID)
    np.testing.assert_allclose(threshold_scores(proba, masks), expected, rtol=1e-12)


def test_ragged_images_masks_of_none_and_generators(rng):
    sizes = [(4, 6), (5, 3), (7, 7)]
    proba = [two_classes(rng.random(s)) for s in sizes]
    masks = [rng.integers(0, 2, s) for s in sizes]
    expected = threshold_scores([proba[0], proba[2]], [masks[0], masks[2]])
    got = threshold_scores((p for p in proba), [masks[0], None, masks[2]])
    np.testing.assert_array_equal(got, expected)


def test_best_threshold_finds_a_shifted_decision(rng):
    truth = rng.integers(0, 2, (4, 16, 16))
    p = np.where(truth == 1, 0.30, 0.20) + rng.normal(0, 0.01, truth.shape)
    assert 0.22 <= best_threshold(two_classes(p), truth) <= 0.28


def test_of_equally_good_thresholds_the_one_nearest_to_a_half():
    p, truth = np.array([[0.1, 0.9]]), np.array([[0, 1]])
    assert best_threshold(two_classes(p)[None], truth[None]) == 0.5
    high = np.array([[0.6, 0.9]])
    assert best_threshold(two_classes(high)[None], truth[None]) == 0.61
    # 0.4 and 0.6 are equally far: the smaller
    assert best_threshold(two_classes(p)[None], truth[None], grid=[0.4, 0.6]) == 0.4


def test_an_absent_class_that_is_not_predicted_counts_one():
    p, truth = np.full((1, 2, 2), 0.01), np.zeros((1, 2, 2), int)
    assert threshold_scores(two_classes(p), truth, grid=[0.5])[0] == 1.0


def test_float32_probabilities_on_the_threshold_are_foreground():
    p = np.float32([[0.06, 0.0]])
    assert mask_from_proba(two_classes(p), 0.06).tolist() == [[1, 0]]
    assert threshold_scores(two_classes(p)[None], [[[1, 0]]], grid=[0.06])[0] == 1.0


def test_more_classes_take_the_likeliest():
    proba = np.array([0.2, 0.5, 0.3])[:, None, None]
    assert mask_from_proba(proba).tolist() == [[1]]
    assert mask_from_proba(proba).dtype == np.int16


def test_bad_input():
    good, truth = two_classes(np.full((1, 2, 2), 0.5)), np.zeros((1, 2, 2), int)
    with pytest.raises(ValueError, match=r"masks\[0\] must be of shape \(2, 2\), got \(3, 3\)"):
        threshold_scores(good, np.zeros((1, 3, 3), int))
    with pytest.raises(ValueError, match=r"masks\[0\] must be of 0, 1 and -1"):
        threshold_scores(good, truth + 2)
    with pytest.raises(ValueError, match=r"mask_proba\[0\] must be of two mask classes"):
        threshold_scores(np.full((1, 3, 2, 2), 1 / 3), truth)
    with pytest.raises(ValueError, match="annotated in at least one pixel"):
        best_threshold(good, truth + MISSING)
    with pytest.raises(ValueError, match="grid must be one ascending row"):
        threshold_scores(good, truth, grid=[0.5, 0.4])
    with pytest.raises(ValueError, match="threshold must be >= 0 and <= 1, got 2"):
        mask_from_proba(good[0], 2)
    with pytest.raises(ValueError, match="proba must be float, of shape"):
        mask_from_proba(truth)
    with pytest.raises(ValueError, match="shorter"):
        threshold_scores(good, [])
