"""alseg.query.uncertainty: formulas against scipy, hand-worked values, numpy against torch."""

import tracemalloc

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alseg.query import uncertainty
from alseg.query.uncertainty import (
    DRAW_UNCERTAINTIES,
    UNCERTAINTIES,
    DrawSums,
    bald,
    entropy,
    least_confidence,
    margin,
    mean_deviation,
    mean_entropy,
    sums_for,
    variance,
    variation_ratio,
    vote_entropy,
)


def random_proba(rng, shape, axis=-1):
    raw = rng.random(shape) ** 3
    return raw / raw.sum(axis=axis, keepdims=True)


@st.composite
def probas(draw, n_draws=None):
    n, k = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    shape = (n, k) if n_draws is None else (draw(n_draws), n, k)
    raw = draw(hnp.arrays(np.float64, shape, elements=st.floats(0, 1)))
    raw[..., 0] += 1e-3  # something to normalise by; the other classes may be exactly 0
    return raw / raw.sum(axis=-1, keepdims=True)


def test_names():
    assert set(UNCERTAINTIES) == {"least_confidence", "margin", "entropy"}
    assert set(DRAW_UNCERTAINTIES) == {
        "mc_variance",
        "bald",
        "mean_deviation",
        "predictive_entropy",
        "expected_entropy",
        "vote_entropy",
        "variation_ratio",
        "pairwise_dice",
    }
    assert all(hasattr(uncertainty, name) for name in uncertainty.__all__)


def test_values_worked_by_hand():
    proba = np.array([[0.5, 0.5, 0.0], [0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(least_confidence(proba), [0.5, 0.3, 0.0])
    np.testing.assert_allclose(margin(proba), [1.0, 0.5, 0.0])
    expected = -0.7 * np.log(0.7) - 0.2 * np.log(0.2) - 0.1 * np.log(0.1)
    np.testing.assert_allclose(entropy(proba), [np.log(2), expected, 0.0])
    assert entropy(proba)[2] == 0.0  # exactly: no epsilon


@settings(deadline=None, max_examples=40)
@given(probas())
def test_equals_scipy_and_sorting(proba):
    np.testing.assert_allclose(entropy(proba), scipy.stats.entropy(proba, axis=-1), atol=1e-12)
    ranked = np.sort(np.c_[proba, np.zeros(len(proba))], axis=1)[:, ::-1]
    np.testing.assert_allclose(least_confidence(proba), 1 - ranked[:, 0])
    np.testing.assert_allclose(margin(proba), 1 - ranked[:, 0] + ranked[:, 1], atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(probas())
def test_ranges_and_class_order(proba):
    n_classes = proba.shape[1]
    for name, top in {
        "least_confidence": 1 - 1 / n_classes,
        "margin": 1.0 if n_classes > 1 else 0.0,
        "entropy": np.log(n_classes),
    }.items():
        score = UNCERTAINTIES[name](proba)
        assert (score >= -1e-12).all() and (score <= top + 1e-12).all()
        np.testing.assert_allclose(UNCERTAINTIES[name](proba[:, ::-1]), score, atol=1e-12)


@pytest.mark.parametrize("n_classes", [1, 2, 3, 6])
@pytest.mark.parametrize("name", UNCERTAINTIES)
def test_torch_equals_numpy_on_any_axis(rng, name, n_classes):
    measure = UNCERTAINTIES[name]
    proba = random_proba(rng, (3, n_classes, 4, 5), axis=1)
    expected = measure(np.moveaxis(proba, 1, -1))
    np.testing.assert_allclose(measure(proba, axis=1), expected, atol=1e-12)
    tensor = torch.from_numpy(proba)
    result = measure(tensor, axis=1)
    assert isinstance(result, torch.Tensor) and result.dtype == torch.float64
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-12)
    assert np.shares_memory(tensor.numpy(), proba) and (tensor.numpy() == proba).all()


@pytest.mark.parametrize("name", UNCERTAINTIES)
def test_dtypes(rng, name):
    proba = random_proba(rng, (4, 3))
    measure = UNCERTAINTIES[name]
    assert measure(proba.astype(np.float32)).dtype == np.float32
    assert measure(proba.astype(np.float16)).dtype == np.float32
    assert measure(torch.from_numpy(proba).half()).dtype == torch.float32
    assert measure(torch.from_numpy(proba).bfloat16()).dtype == torch.float32
    assert measure([[1, 0], [0, 1]]).tolist() == [0, 0]


@pytest.mark.parametrize("as_kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("name", UNCERTAINTIES)
def test_nan_is_never_hidden(name, as_kind):
    score = UNCERTAINTIES[name](as_kind(np.array([[np.nan, 0.5], [0.5, 0.5]])))
    assert np.isnan(float(score[0])) and not np.isnan(float(score[1]))


def test_draws_worked_by_hand():
    draws = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[0.5, 0.5]]])
    np.testing.assert_allclose(variance(draws), [0.25])  # of (1, 0, 1/2), unbiased
    np.testing.assert_allclose(variance(draws, ddof=0), [1 / 6])
    np.testing.assert_allclose(mean_entropy(draws), [np.log(2) / 3])
    np.testing.assert_allclose(bald(draws), [np.log(2) * 2 / 3])


def test_variance_of_two_classes_is_the_variance_of_the_foreground(rng):
    foreground = rng.random((7, 3, 4, 5))
    draws = np.stack([1 - foreground, foreground], axis=2)
    np.testing.assert_allclose(variance(draws, axis=2), foreground.var(axis=0, ddof=1))


@settings(deadline=None, max_examples=40)
@given(probas(n_draws=st.integers(2, 6)))
def test_sums_equal_the_formulas_on_stacked_draws(draws):
    mean = draws.mean(axis=0)
    entropies = scipy.stats.entropy(draws, axis=-1)
    expected = {
        "mean": mean,
        "variance": draws.var(axis=0, ddof=1).mean(axis=-1),
        "expected_entropy": entropies.mean(axis=0),
        "predictive_entropy": scipy.stats.entropy(mean, axis=-1),
        "bald": np.maximum(scipy.stats.entropy(mean, axis=-1) - entropies.mean(axis=0), 0),
    }
    sums = DrawSums()
    for one in draws:
        sums.add(one)
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(sums, name)(), value, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(sums.variance(ddof=0), variance(draws, ddof=0), atol=1e-12)
    for f, name in ((variance, "variance"), (mean_entropy, "expected_entropy"), (bald, "bald")):
        np.testing.assert_allclose(f(draws), expected[name], atol=1e-12, err_msg=name)


@pytest.mark.parametrize("spread", [1e-1, 1e-3])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_sums_in_float32_keep_small_variances(rng, kind, spread):
    """Squares minus square of the mean would lose all digits at a spread of 1e-4 (F23)."""
    foreground = 0.9 + spread * (rng.random((50, 64)) - 0.5)
    draws = np.stack([1 - foreground, foreground], axis=1).astype(np.float32)  # (T, 2, n)
    sums = DrawSums(axis=0)
    for one in draws:
        sums.add(torch.from_numpy(one) if kind == "torch" else one)
    exact = draws.astype(np.float64)
    np.testing.assert_allclose(sums.variance(), variance(exact, axis=1), rtol=1e-3)
    np.testing.assert_allclose(sums.mean(), exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(sums.bald(), bald(exact, axis=1), atol=5e-7)
    assert sums.variance().dtype == (torch.float32 if kind == "torch" else np.float32)


def test_sums_of_equal_draws_are_zero(rng):
    one = random_proba(rng, (5, 3)).astype(np.float32)
    sums = DrawSums()
    for _ in range(30):
        sums.add(one)
    assert (sums.variance() == 0).all() and (sums.bald() <= 2e-7).all()
    assert (sums.bald() >= 0).all()


def test_sums_neither_change_nor_keep_what_they_are_given(rng):
    draws = [random_proba(rng, (4, 3)) for _ in range(3)]
    before = [d.copy() for d in draws]
    sums = DrawSums()
    for one in draws:
        sums.add(one)
    mean = sums.mean()
    mean += 1  # a result is the caller's own
    for one, old in zip(draws, before, strict=True):
        np.testing.assert_array_equal(one, old)
        one[:] = 0
    np.testing.assert_allclose(sums.mean(), np.mean(before, axis=0))


def test_sums_in_half_precision_and_with_gradients(rng):
    tensor = torch.from_numpy(random_proba(rng, (4, 3))).half().requires_grad_()
    sums = DrawSums().add(tensor).add(tensor)
    assert sums.variance().dtype == torch.float32 and not sums.mean().requires_grad


def test_memory_does_not_grow_with_the_draws(rng):
    draw = random_proba(rng, (8, 2, 32, 32), axis=1).astype(np.float32)

    def peak(n_draws):
        tracemalloc.start()
        sums = DrawSums(axis=1)
        for _ in range(n_draws):
            sums.add(draw)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(40) < 1.1 * peak(4)


def test_too_few_draws():
    sums = DrawSums()
    with pytest.raises(ValueError, match="n_draws must be at least 1 .* got 0"):
        sums.mean()
    sums.add(np.array([[0.5, 0.5]]))
    with pytest.raises(ValueError, match="n_draws must be at least 2 .* got 1"):
        sums.variance()
    with pytest.raises(ValueError, match="n_draws must be at least 2"):
        sums.bald()
    with pytest.raises(ValueError, match="draws must be at least 2 draws, got 1"):
        variance(np.full((1, 1, 2), 0.5))
    with pytest.raises(ValueError, match="draws must be at least 2 draws, got 1"):
        bald(np.full((1, 1, 2), 0.5))


def test_bad_shapes():
    sums = DrawSums().add(np.full((2, 2), 0.5))
    with pytest.raises(ValueError, match=r"proba must be of the shape .* \(2, 2\), got \(3, 2\)"):
        sums.add(np.full((3, 2), 0.5))
    assert sums.n_draws == 1
    with pytest.raises(ValueError, match="axis must be another axis than 0"):
        variance(np.full((4, 2), 0.5), axis=0)


# -- votes, deviations --


def test_votes_worked_by_hand():
    # 4 members, 3 classes: votes 0, 1, 1, 2, and for the second position 2, 2, 2, 2
    one = np.array([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7]])
    two = np.array([[0.2, 0.5, 0.3], [0.0, 0.4, 0.6]])
    three = np.array([[0.1, 0.6, 0.3], [0.3, 0.3, 0.4]])
    four = np.array([[0.0, 0.4, 0.6], [0.0, 0.0, 1.0]])
    draws = np.stack([one, two, three, four])
    np.testing.assert_allclose(variation_ratio(draws), [1 - 2 / 4, 0])
    np.testing.assert_allclose(vote_entropy(draws), [1.5 * np.log(2), 0], atol=1e-15)
    np.testing.assert_allclose(mean_deviation(draws), draws.std(axis=0).mean(axis=-1))
    # two equal classes: the first gets the vote, not both
    np.testing.assert_array_equal(variation_ratio(np.full((2, 1, 2), 0.5)), [0])


@settings(deadline=None, max_examples=40)
@given(probas(n_draws=st.integers(2, 6)))
def test_votes_equal_scipy_and_modal(draws):
    from modAL.disagreement import KL_max_disagreement

    n_draws, n, k = draws.shape
    counts = np.stack([np.bincount(votes, minlength=k) for votes in draws.argmax(axis=-1).T])
    expected = {
        "vote_entropy": scipy.stats.entropy(counts, axis=-1),
        "variation_ratio": 1 - counts.max(axis=-1) / n_draws,
        "mean_deviation": draws.std(axis=0).mean(axis=-1),
        "predictive_entropy": scipy.stats.entropy(draws.mean(axis=0), axis=-1),
    }
    for name, value in expected.items():
        sums = sums_for(name)
        for one in draws:
            sums.add(one)
        found = DRAW_UNCERTAINTIES[name](sums)
        np.testing.assert_allclose(found, value, atol=1e-9, err_msg=name)
        if hasattr(uncertainty, name):
            direct = getattr(uncertainty, name)(draws)
            np.testing.assert_allclose(direct, value, atol=1e-9, err_msg=name)

    # The mean divergence from the consensus is BALD: one formula serves draws and committees.
    divergence = scipy.special.rel_entr(draws, draws.mean(axis=0)).sum(axis=-1)
    np.testing.assert_allclose(bald(draws), divergence.mean(axis=0), atol=1e-9)

    class Committee:
        classes_ = np.arange(k)
        n_classes_ = k

        def __len__(self):
            return n_draws

        def __iter__(self):
            return iter(range(n_draws))

        def vote_proba(self, X):
            return draws.swapaxes(0, 1)

    largest = KL_max_disagreement(Committee(), np.zeros((n, 1)))  # modAL takes the largest
    np.testing.assert_allclose(largest, divergence.max(axis=0), atol=1e-9)
    assert (bald(draws) <= largest + 1e-9).all()


OF_IMAGES = {"pairwise_dice"}  # what stands behind the class axis is an image to it


def brute_dice(masks, n_classes):
    """Of masks (T, H, W), by sets of pixels."""
    found = []
    for c in range(1, n_classes):
        sets = [set(np.flatnonzero(mask == c)) for mask in masks]
        if any(sets):
            dice = [
                2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0
                for i, a in enumerate(sets)
                for b in sets[:i]
            ]
            found.append(np.mean(dice))
    return 1 - np.mean(found) if found else 0.0


@pytest.mark.parametrize("as_kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_pairwise_dice_equals_sets_of_pixels(rng, n_classes, as_kind):
    draws = random_proba(rng, (5, 3, n_classes, 4, 6), axis=2) ** 3
    draws[:, 2, 0] = 9  # background alone
    sums = sums_for("pairwise_dice", axis=1)
    for one in draws:
        sums.add(as_kind(one))
    found = np.asarray(sums.pairwise_dice())
    assert found.shape == (3, 4, 6)
    for i in range(3):
        expected = brute_dice(draws[:, i].argmax(axis=1), n_classes)
        np.testing.assert_allclose(found[i], expected, atol=1e-6)
    assert (found[2] == 0).all() and found[0, 0, 0] > 0
    one = sums_for("pairwise_dice", axis=0)
    for draw in draws[:, 0]:
        one.add(as_kind(draw))
    np.testing.assert_allclose(one.pairwise_dice(), found[0], atol=1e-6)


def test_pairwise_dice_by_hand():
    left, whole = np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]])
    sums = sums_for("pairwise_dice", axis=0)
    for mask in (left, whole, whole):  # Dice 2/3, 2/3, 1
        sums.add(np.stack([1 - mask, mask]))
    np.testing.assert_allclose(sums.pairwise_dice(), np.full((1, 2), 2 / 9))
    with pytest.raises(ValueError, match="masks must be True for this measure"):
        DrawSums().add(np.ones((1, 2))).add(np.ones((1, 2))).pairwise_dice()


@pytest.mark.parametrize("name", sorted({*DRAW_UNCERTAINTIES} - OF_IMAGES))
def test_every_measure_of_draws_in_torch_on_axis_1(rng, name):
    draws = random_proba(rng, (5, 2, 3, 4, 4), axis=2)
    sums, tensors = sums_for(name, axis=-1), sums_for(name, axis=1)
    for one in draws:
        sums.add(np.moveaxis(one, 1, -1))
        tensors.add(torch.from_numpy(one))
    found = DRAW_UNCERTAINTIES[name](tensors)
    assert isinstance(found, torch.Tensor) and found.shape == (2, 4, 4)
    np.testing.assert_allclose(found.numpy(), DRAW_UNCERTAINTIES[name](sums), atol=1e-12)
    np.testing.assert_allclose(tensors.variance().numpy(), variance(draws, axis=2), atol=1e-12)


@pytest.mark.parametrize("as_kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("name", DRAW_UNCERTAINTIES)
def test_nan_draws_are_never_hidden(name, as_kind):
    sums = sums_for(name)
    for one in ([[np.nan, 0.5], [0.5, 0.5]], [[0.2, 0.8], [0.5, 0.5]]):
        sums.add(as_kind(np.array(one)))
    found = DRAW_UNCERTAINTIES[name](sums)
    assert np.isnan(float(found[0])) and not np.isnan(float(found[1]))


def test_draws_converge_to_the_closed_form(rng):
    """p ~ Beta(a, b): variance ab / (s^2 (s + 1)), expected entropy by digamma."""
    a, b = 2.0, 3.0
    p = rng.beta(a, b, size=60_000)
    draws = np.stack([1 - p, p], axis=-1)[:, None]
    assert abs(variance(draws)[0] - a * b / ((a + b) ** 2 * (a + b + 1))) < 5e-4
    psi = scipy.special.digamma
    closed = psi(a + b + 1) - (a * psi(a + 1) + b * psi(b + 1)) / (a + b)
    assert abs(mean_entropy(draws)[0] - closed) < 2e-3
    consensus = scipy.stats.entropy([b / (a + b), a / (a + b)])
    assert abs(bald(draws)[0] - (consensus - closed)) < 2e-3
    assert abs(variation_ratio(draws)[0] - scipy.stats.beta(a, b).sf(0.5)) < 6e-3


def test_sums_say_what_they_were_not_asked_to_keep():
    sums = DrawSums().add(np.array([[0.5, 0.5]]))
    with pytest.raises(ValueError, match="votes must be True for this measure"):
        sums.vote_entropy()
    with pytest.raises(ValueError, match="votes must be True"):
        sums.variation_ratio()
    with pytest.raises(ValueError, match="classwise must be True for this measure"):
        sums.mean_deviation()
    with pytest.raises(ValueError, match="method must be one of .*Did you mean 'vote_entropy'"):
        sums_for("vote_entropi")
    assert not sums_for("bald").votes and not sums_for("bald").classwise
