"""The published areas come out of the published curves; the sign-flip test is scipy's."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg.experiment.statistics import area_under_curve, sign_flip_test

# Mean columns of the per-round tables of Belharbi et al. 2021 (test Dice), and their areas.
GLAS = {
    "random": "67.14 70.27 71.59 71.44 74.06 75.37 73.76 72.20 74.40 79.22 79.81 82.04 80.44 82.40 "
    "82.26 81.53 81.89 75.22 81.25 82.53 83.12 83.77 85.34 85.66 84.98",
    "entropy": "67.26 72.76 70.94 72.61 73.45 75.15 75.32 73.25 76.58 79.89 80.23 79.76 "
    "81.32 82.31 82.34 82.29 83.11 79.25 81.26 83.64 83.67 83.61 85.36 84.88 85.28",
    "mc_dropout": "70.02 68.45 69.70 69.97 72.71 73.00 74.06 72.57 76.39 78.99 78.76 80.50 79.76 "
    "80.06 82.19 81.77 82.24 78.55 80.58 81.18 81.86 82.77 83.48 83.82 83.45",
    "label_prop": "67.20 71.03 74.08 76.53 77.64 78.41 79.11 80.16 80.43 81.61 82.90 82.77 83.82 "
    "83.97 83.97 84.10 84.83 84.39 85.19 83.89 84.63 84.97 85.31 85.39 85.55",
}
CUB = {
    "random": "52.95 56.86 61.39 62.98 63.56 66.99 66.48 68.78 66.31 68.80 69.42 71.31 72.04 73.22 "
    "72.17 73.78 72.62 72.37 72.74 73.01",
    "entropy": "54.05 57.38 59.11 60.48 63.82 63.59 67.07 68.81 67.29 69.79 69.98 72.11 "
    "70.46 71.96 73.11 74.59 73.64 74.27 75.00 74.47",
    "mc_dropout": "54.68 57.13 59.98 63.52 63.03 64.68 64.41 67.03 68.89 68.31 69.09 69.06 70.94 "
    "70.78 72.06 73.25 72.29 74.20 73.03 74.23",
    "label_prop": "59.07 62.59 66.33 67.02 69.40 68.28 70.71 72.11 71.73 74.12 74.96 73.15 74.10 "
    "74.49 74.06 74.59 74.87 77.25 75.92 75.37",
}
AREAS = {
    "GlaS": (GLAS, {"random": 78.57, "entropy": 79.13, "mc_dropout": 77.92, "label_prop": 81.48}),
    "CUB": (CUB, {"random": 68.15, "entropy": 68.25, "mc_dropout": 67.69, "label_prop": 71.73}),
}
FIRST_TEN = {
    "GlaS": {"random": 72.92, "entropy": 73.74, "mc_dropout": 72.37, "label_prop": 76.86},
    "CUB": {"random": 63.80, "entropy": 63.28, "mc_dropout": 63.35, "label_prop": 68.31},
}


@pytest.mark.parametrize("strategy", GLAS)
@pytest.mark.parametrize("data", AREAS)
def test_published_areas(data, strategy):
    curves, areas = AREAS[data]
    curve = [float(value) for value in curves[strategy].split()]
    assert len(curve) == {"GlaS": 25, "CUB": 20}[data]
    assert area_under_curve(curve) == pytest.approx(areas[strategy], abs=0.02)
    assert area_under_curve(curve[:10]) == pytest.approx(FIRST_TEN[data][strategy], abs=0.02)


def test_area_over_masks():
    assert area_under_curve([0.0, 1.0, 1.0], x=[8, 10, 18]) == pytest.approx((1 + 8) / 10)
    y = np.random.default_rng(0).random((3, 5))
    x = [1, 2, 4, 8, 16]
    np.testing.assert_allclose(area_under_curve(y, x), scipy.integrate.trapezoid(y, x) / 15)
    np.testing.assert_allclose(area_under_curve(y, 2.0 * np.arange(5) + 3), area_under_curve(y))
    assert area_under_curve([0.7]) == 0.7


@pytest.mark.parametrize(
    "y, x, match",
    [
        ([], None, "y must be scores of at least one round"),
        ([1.0, np.nan], None, "y must be finite"),
        ([1.0, 2.0], [1.0], "x must be of shape"),
        ([1.0, 2.0], [2, 2], "x must be finite and strictly increasing"),
    ],
)
def test_area_bad_input(y, x, match):
    with pytest.raises(ValueError, match=match):
        area_under_curve(y, x)


def test_sign_flip_by_hand():
    # Sums of the 8 patterns of (1, 2, 4): ±7, ±5, ±3, ±1. Seen with one sign turned: 1 + 4 - 2 = 3.
    assert sign_flip_test([1, -2, 4]) == (6 / 8, 2 / 8)
    assert sign_flip_test([1, 2, 4]) == (2 / 8, 2 / 8)
    assert sign_flip_test([0.0, 0.0]) == (1.0, 0.5)
    assert sign_flip_test([0.1, 0.2, -0.3]).p_value == 1.0  # 0 on paper, 5e-17 in floats
    assert sign_flip_test(np.ones(5)).p_value == 0.0625  # five seeds cannot reach 0.05


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(-40, 40), min_size=2, max_size=9))
def test_sign_flip_is_scipys(values):
    differences = np.array(values) / 8
    reference = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_test(differences).p_value == pytest.approx(reference.pvalue)


def test_sign_flip_of_twenty_and_more():
    rng = np.random.default_rng(0)
    differences = rng.normal(0.4, 1, 20)
    exact = sign_flip_test(differences)
    assert exact.floor == 2**-19
    assert exact.p_value == pytest.approx(
        scipy.stats.ttest_1samp(differences, 0).pvalue, abs=0.02
    )
    many = sign_flip_test(np.append(differences, 1e-9), random_state=0)
    assert many.p_value == pytest.approx(exact.p_value, abs=0.005)
    assert many == sign_flip_test(np.append(differences, 1e-9), random_state=0)
    assert many.floor == 1 / 100_001


@pytest.mark.parametrize("bad", [[], [[1.0]], [np.nan]])
def test_sign_flip_bad_input(bad):
    with pytest.raises(ValueError, match="differences must be"):
        sign_flip_test(bad)
