"""Rank agreement and colour evidence, against scikit-learn and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from alseg.labels import MISSING
from alseg.pseudo.agreement import colour_evidence, pixel_quality, rank_agreement


@given(seed=st.integers(0, 10**6), levels=st.sampled_from([2, 5, 1000]))
@settings(deadline=None, max_examples=40)
def test_agreement_is_the_area_under_the_roc_curve(seed, levels):
    rng = np.random.default_rng(seed)
    evidence = rng.integers(0, levels, (5, 6)) / 7 - 3
    mask = rng.integers(-1, 3, (5, 6))
    known = mask != MISSING
    expected = roc_auc_score(mask[known] > 0, evidence[known])
    assert rank_agreement(evidence, mask) == pytest.approx(expected)
    assert rank_agreement(3 * evidence + 1, mask) == pytest.approx(expected)  # no scale
    assert rank_agreement(-evidence, mask) == pytest.approx(1 - expected)


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (3, 4)])
def test_agreement_with_a_coarse_map_is_that_with_the_map_enlarged(size, rng):
    mask = rng.integers(-1, 2, size)
    evidence = rng.random((3, 4))
    rows, columns = (np.arange(n) * m // n for n, m in zip(size, (3, 4)))
    enlarged = evidence[rows][:, columns]
    assert rank_agreement(evidence, mask) == pytest.approx(rank_agreement(enlarged, mask))


@pytest.mark.parametrize("fill", [0, 1, MISSING])
def test_a_mask_of_one_class_is_at_chance(fill):
    assert rank_agreement(np.arange(4.0).reshape(2, 2), np.full((2, 2), fill)) == 0.5


def test_evidence_must_be_finite():
    with pytest.raises(ValueError, match="evidence must be finite"):
        rank_agreement(np.array([[np.nan, 1.0]]), np.array([[0, 1]]))


def test_colour_evidence_counts_colours():
    example = np.zeros((2, 3, 3), dtype=np.uint8)
    example[0] = [200, 10, 10]
    mask = np.array([[1, 1, 0], [0, 0, MISSING]])
    # red: 2 of foreground, 1 of background; black: 0 and 2; one of each added
    red, black = np.log(3 / 2), np.log(1 / 3)
    found = colour_evidence(example, example, mask)
    np.testing.assert_allclose(found, [[red] * 3, [black] * 3])
    np.testing.assert_allclose(colour_evidence(example / 255, example, mask), found)
    unseen = np.full((1, 1, 1), 255, dtype=np.uint8)  # grey, of one channel, in no example
    assert colour_evidence(unseen, example, mask).tolist() == [[0.0]]


def test_quality_is_scikit_learns(rng):
    predicted, truth = rng.integers(-1, 2, (2, 9, 9))
    open_pixels = rng.random((9, 9)) < 0.7
    coverage, accuracy, dice = pixel_quality(predicted, truth, open_pixels)
    assert coverage == pytest.approx((predicted[open_pixels] != MISSING).mean())
    kept = open_pixels & (predicted != MISSING) & (truth != MISSING)
    assert accuracy == pytest.approx(accuracy_score(truth[kept], predicted[kept]))
    assert dice == pytest.approx(f1_score(truth[kept], predicted[kept]))
    assert np.isnan(pixel_quality(predicted, np.full((9, 9), MISSING), open_pixels)[1:]).all()
