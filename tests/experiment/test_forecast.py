"""Forecasts of an exact law; intervals hold later scores about as often as they say."""

import numpy as np
import pytest
import scipy.stats

from alseg.experiment.forecasting import _quantile, backtest, forecast
from benchmarks.core.paper_scores import CURVES, N_MASKS

N = np.array([8.0, 10, 12, 16, 24, 40])


def test_forecast_of_an_exact_law():
    scores = 0.95 - 0.9 * N**-0.5
    result = forecast(N, scores, [48, 80])
    np.testing.assert_allclose(result.mean, 0.95 - 0.9 * np.array([48, 80]) ** -0.5, atol=0.03)
    assert (result.low < result.mean).all() and (result.mean < result.high).all()


def test_forecast_is_honest_about_few_rounds_and_long_ways():
    scores = 0.95 - 0.9 * N**-0.5
    widths = [np.subtract(*forecast(N[:k], scores[:k], 80)[:1:-1]) for k in (3, 4, 6)]
    assert widths[0] > widths[1] > widths[2] > 0.04  # a round's noise is known beforehand
    near, far = (np.subtract(*forecast(N, scores, at)[:1:-1]) for at in (44, 400))
    assert far > 1.3 * near
    noisy = forecast(N, scores + [0.05, -0.05, 0.05, -0.05, 0.05, -0.05], 80)
    assert noisy.high - noisy.low > 1.5 * widths[2]


def test_forecast_shapes_limits_and_missing_rounds():
    scores = 0.95 - 0.9 * N**-0.5
    one, many = forecast(N, scores, 50), forecast(N, scores, [50.0, 60.0, 1e6])
    assert isinstance(one.mean, float) and many.low.shape == (3,)
    # Sums of one column and of three round differently on some processors.
    assert one[1:] == pytest.approx((many.mean[0], many.low[0], many.high[0]), rel=1e-12)
    assert (np.diff(many.mean) > 0).all() and many.high[-1] <= 1
    # any unit of masks
    in_pixels = forecast(1e4 * N, scores, 5e5)
    assert in_pixels[1:] == pytest.approx(one[1:])
    with_gap = forecast(np.append(N, 44), np.append(scores, np.nan), 50)
    assert with_gap == one
    wide = forecast(N, scores, 50, confidence=0.99)
    assert wide.low < one.low < one.high < wide.high and wide.mean == one.mean
    nothing = forecast(N, np.zeros(6), 50)
    assert nothing.low == 0 and 0 < nothing.high < 0.2
    perfect = forecast(N, np.ones(6), 50)
    assert perfect.high == 1 and perfect.low > 0.9


def test_quantiles_of_a_mixture():
    centre, spread, weight = np.array([[0.2, 0.6]]), np.array([[0.1, 0.05]]), np.array([1.0, 0.0])
    assert _quantile(0.9, centre, spread, weight, 3)[0] == pytest.approx(
        scipy.stats.t.ppf(0.9, 3, 0.2, 0.1)
    )
    weight = np.array([0.3, 0.7])
    at = _quantile(0.25, centre, spread, weight, 4)[0]
    assert (weight * scipy.stats.t.cdf(at, 4, centre[0], spread[0])).sum() == pytest.approx(0.25)


@pytest.mark.slow
@pytest.mark.parametrize("data", CURVES)
def test_coverage_on_published_curves(data):
    """What the user guide says; the measured numbers stand in benchmarks/results/forecast.json."""
    result = backtest(N_MASKS[data], np.stack(list(CURVES[data].values())) / 100)
    assert 0.85 <= result.coverage <= 0.95
    assert result.mean_error < 0.03 < result.mean_error_of_last
    assert result.bias < 0  # cautious
    n_rounds = len(N_MASKS[data])
    assert result.n == 4 * (n_rounds - 3) * (n_rounds - 2) / 2


def test_coverage_on_simulated_curves():
    rng = np.random.default_rng(0)
    n_masks = np.arange(8, 30, 2)
    curves = [
        rng.uniform(0.8, 0.95)
        - rng.uniform(0.2, 0.4) * (n_masks / 8) ** -rng.uniform(0.3, 0.9)
        + rng.normal(0, 0.015, len(n_masks))
        for _ in range(60)
    ]
    assert 0.85 <= backtest(n_masks, curves, min_rounds=6, horizon=4).coverage <= 1
    half = backtest(n_masks, curves, 0.5, min_rounds=6, horizon=4).coverage
    assert 0.4 <= half <= 0.85


def test_backtest_counts_by_hand():
    n_masks, curve = [8, 10, 12, 14, 16], [0.6, 0.65, 0.7, 0.1, 0.72]
    result = backtest(n_masks, curve, horizon=1)
    first, second = forecast(n_masks[:3], curve[:3], 14), forecast(n_masks[:4], curve[:4], 16)
    assert result.n == 2
    assert result.coverage == np.mean([first.low <= 0.1, second.low <= 0.72 <= second.high])
    assert result.bias == pytest.approx((first.mean - 0.1 + second.mean - 0.72) / 2)
    assert result.mean_error == pytest.approx((first.mean - 0.1 + abs(second.mean - 0.72)) / 2)
    assert result.mean_error_of_last == pytest.approx((0.6 + 0.62) / 2)
    assert result.width == pytest.approx((first.high - first.low + second.high - second.low) / 2)
    assert backtest(n_masks, [curve, [np.nan, 0.6, 0.6, 0.6, 0.6]]).n == 3 + 1


@pytest.mark.parametrize(
    "n_masks, scores, match",
    [
        ([8, 10], [0.5, 0.6], "scores must be known for three rounds or more, got 2"),
        ([8, 10, 12], [0.5, np.nan, 0.6], "scores must be known for three rounds"),
        ([8, 8, 10], [0.5, 0.6, 0.7], "n_masks must be above 0, strictly increasing"),
        ([0, 8, 10], [0.5, 0.6, 0.7], "n_masks must be above 0, strictly increasing"),
        ([8, 10, np.nan], [0.5, 0.6, 0.7], r"n_masks must be of shape \(n_rounds,\), finite"),
        ([8, 10, 12], [0.5, 0.6], r"scores must be of shape \(3,\), as n_masks"),
        ([8, 10, 12], [50, 60, 70], "scores must be in .* Divide percent by 100"),
    ],
)
def test_rounds_bad_input(n_masks, scores, match):
    with pytest.raises(ValueError, match=match):
        forecast(n_masks, scores, 20)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda s: forecast(N, s, 0), "at must be above 0"),
        (lambda s: forecast(N, s, [50, np.nan]), "at must be above 0"),
        (lambda s: forecast(N, s, 50, 1), r"confidence must be in \(0, 1\)"),
        (lambda s: backtest(N, s[:5]), r"curves must be of shape \(\.\.\., 6\)"),
        (lambda s: backtest(N, s, min_rounds=2), "min_rounds must be >= 3"),
        (lambda s: backtest(N, s, horizon=4), "curves must be of more than 3 rounds"),
    ],
)
def test_forecast_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call(0.95 - 0.9 * N**-0.5)
