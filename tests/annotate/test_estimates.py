"""Estimates from checks: by hand, by simulation, and what is forecast against what came."""

import numpy as np
import pytest

from alseg.annotate.estimates import (
    Estimate,
    Outlook,
    advice,
    estimate,
    learning_curve,
    outlook,
    shown_curve,
)
from alseg.metrics import dice_from_confusion, iou_from_confusion


def images(rng, n, kind):
    """Shares of an image's pixels by true and predicted class: (n, 2, 2)."""
    foreground = np.clip(rng.lognormal(-1.6, 0.8, n), 0.002, 0.9)
    quality = {
        "skewed": lambda: rng.beta(6, 1, n),
        "nearly right": lambda: rng.beta(60, 1.5, n),
        "one in ten fails": lambda: np.where(
            rng.random(n) < 0.1, rng.uniform(0, 0.4, n), rng.beta(20, 2, n)
        ),
    }[kind]()
    missed = foreground * (1 - quality) * rng.uniform(0.3, 1, n)
    false = np.minimum(foreground * (1 - quality) * rng.uniform(0.3, 1, n), 1 - foreground)
    rows = [[1 - foreground - false, false], [missed, foreground - missed]]
    return np.moveaxis(np.array(rows), -1, 0)


def points(rng, shares, n):
    """So many random pixels of each image, by true and predicted class."""
    return np.array([rng.multinomial(n, one.ravel() / one.sum()).reshape(2, 2) for one in shares])


def of_all(shares):
    return float(dice_from_confusion(shares.sum(axis=0)[None] * 1e6)[0, 1])


# -- by hand --


def test_one_image_is_its_own_score():
    counts = np.array([[[5, 2], [1, 8]]])
    assert estimate(counts) == Estimate(pytest.approx(2 * 8 / (2 * 8 + 2 + 1)), None, None, 1)
    assert estimate(counts, "iou").value == pytest.approx(8 / 11)
    assert estimate(counts, "accuracy").value == pytest.approx(13 / 16)


def test_images_count_alike_however_many_pixels_are_known():
    small, large = np.array([[4, 1], [1, 4]]), np.array([[700, 0], [100, 200]])
    shares = [small / 10, large / 1000]
    found = estimate([small, large])
    assert found.value == pytest.approx(2 * (0.4 + 0.2) / (2 * 0.6 + 0.1 + 0.1 + 0.1))
    assert found.value == pytest.approx(estimate(shares).value)
    assert estimate([small, large], "accuracy").value == pytest.approx((0.8 + 0.9) / 2)


def test_several_classes_have_the_mean_of_those_that_occur():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 50, (5, 4, 4)).astype(float)
    counts[:, 3, :] = counts[:, :, 3] = 0  # nobody saw it, and it is proposed nowhere
    counts /= counts.sum(axis=(1, 2), keepdims=True)
    total = counts.sum(axis=0)
    assert estimate(counts).value == pytest.approx(dice_from_confusion(total)[1:3].mean())
    assert estimate(counts, "iou").value == pytest.approx(iou_from_confusion(total)[1:3].mean())


def test_nothing_there_and_nothing_proposed_agree():
    assert estimate([[[9, 0], [0, 0]]] * 4).value == 1


def test_the_error_is_that_of_the_jackknife():
    """By scipy's own ends of Student's interval, of scores that leave out one image each."""
    from scipy import stats

    counts = images(np.random.default_rng(3), 8, "skewed")
    counts[:2, 1] = counts[:2, 1, ::-1]  # two that fail
    found = estimate(counts, confidence=0.9)
    without = np.array([of_all(np.delete(counts, k, axis=0)) for k in range(8)])
    error = np.sqrt(7 / 8 * ((without - without.mean()) ** 2).sum())
    value = of_all(counts)
    centre = np.log(value / (1 - value))
    reach = stats.t.ppf(0.95, 7) * error / (value * (1 - value))
    assert found.low == pytest.approx(1 / (1 + np.exp(reach - centre)), rel=1e-6)
    assert found.high == pytest.approx(1 / (1 + np.exp(-reach - centre)), rel=1e-6)


def test_images_of_a_group_are_left_out_together():
    """By scipy's own ends of Student's interval, of scores that leave out one group each."""
    from scipy import stats

    counts = images(np.random.default_rng(3), 8, "skewed")
    groups = ["a", "b", "a", None, "c", "c", "c", "b"]
    found = estimate(counts, confidence=0.9, groups=groups)
    assert (found.n, found.n_groups) == (8, 4) and found.value == estimate(counts).value
    units = [[0, 2], [1, 7], [3], [4, 5, 6]]
    without = np.array([of_all(np.delete(counts, unit, axis=0)) for unit in units])
    error = np.sqrt(3 / 4 * ((without - without.mean()) ** 2).sum())
    value = of_all(counts)
    reach = stats.t.ppf(0.95, 3) * error / (value * (1 - value))
    centre = np.log(value / (1 - value))
    one_more = (1 - value) / 10, value / 10  # a fifth group that is half as good, or half as bad
    low = min(1 / (1 + np.exp(reach - centre)), value - one_more[1])
    high = max(1 / (1 + np.exp(-reach - centre)), value + one_more[0])
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)


def test_groups_of_one_image_each_are_none():
    counts = images(np.random.default_rng(4), 6, "skewed")
    alone = estimate(counts)
    assert estimate(counts, groups=[None] * 6) == alone and alone.n_groups is None
    assert estimate(counts, groups=list("abcdef")) == alone._replace(n_groups=6)
    assert estimate(counts, groups=list("aabbbb"))[1:] == (None, None, 6, 2)
    nothing = np.concatenate([counts, np.zeros((1, 2, 2))])  # no pixel of it is known
    assert estimate(nothing, groups=list("abcdefg")) == alone._replace(n_groups=6)


def test_what_was_never_seen_is_not_excluded():
    right = estimate([[[6, 0], [0, 4]]] * 9)
    assert right.value == 1 and right.high == 1 and right.low == pytest.approx(1 - 1 / 20)
    wrong = estimate([[[6, 0], [4, 0]]] * 9)
    assert wrong.value == 0 and wrong.low == 0 and wrong.high == pytest.approx(1 / 20)


def test_nothing_is_left_open_once_all_images_are_known():
    counts = images(np.random.default_rng(0), 6, "skewed")
    found = estimate(counts, n_images=6)
    assert found.low == pytest.approx(found.value) and found.high == pytest.approx(found.value)
    half = estimate(counts, n_images=12)
    full = estimate(counts)
    assert full.low < half.low < half.high < full.high


def test_what_cannot_be_estimated_is_told():
    with pytest.raises(ValueError, match="score must be one of"):
        estimate([[[1, 0], [0, 1]]], "kappa")
    with pytest.raises(ValueError, match="with a known pixel"):
        estimate(np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="of shape"):
        estimate(np.zeros((3, 2)))


# -- by simulation --


@pytest.mark.parametrize("kind", ["skewed", "nearly right"])
@pytest.mark.parametrize("n", [6, 12, 30])
@pytest.mark.parametrize("n_points", [None, 20, 100])
def test_intervals_hold_as_often_as_they_say(kind, n, n_points):
    rng = np.random.default_rng([n, n_points or 0, kind == "skewed"])
    population = images(rng, 4000, kind)
    truth, covered, errors = of_all(population), [], []
    for _ in range(500):
        drawn = population[rng.integers(0, 4000, n)]
        if n_points:
            drawn = points(rng, drawn, n_points)
        found = estimate(drawn)
        covered.append(found.low <= truth <= found.high)
        errors.append(found.value - truth)
    assert 0.90 <= np.mean(covered) <= 0.99  # of 500: 98 % is seen as 99 now and then
    assert abs(np.mean(errors)) < 0.02


def patients(rng, n_groups, n_each):
    """Images of patients, of which some are harder than others: (n_groups * n_each, 2, 2)."""
    foreground = np.clip(rng.lognormal(-1.6, 0.3, (n_groups, n_each)), 0.02, 0.9)
    right = np.clip(
        rng.beta(6, 2, (n_groups, 1)) + 0.03 * rng.normal(size=(n_groups, n_each)), 0, 1
    )
    wrong = foreground * (1 - right)
    rows = [[1 - foreground - wrong, wrong], [wrong, foreground - wrong]]
    return np.moveaxis(np.clip(rows, 0, 1), (0, 1), (-2, -1)).reshape(-1, 2, 2)


@pytest.mark.parametrize(("n_groups", "n_each"), [(4, 3), (8, 3), (6, 5)])
def test_intervals_hold_for_patients_not_seen_where_images_are_of_few(n_groups, n_each):
    rng = np.random.default_rng([9, n_groups])
    truth = of_all(patients(rng, 20_000, 1))
    whose = [str(k // n_each) for k in range(n_groups * n_each)]
    grouped, alone = [], []
    for _ in range(500):
        drawn = patients(rng, n_groups, n_each)
        for held, groups in ((grouped, whose), (alone, None)):
            found = estimate(drawn, groups=groups)
            held.append(found.low <= truth <= found.high)
    assert 0.90 <= np.mean(grouped) <= 0.99
    assert np.mean(alone) < np.mean(grouped) - 0.08  # as if each were another patient's


def test_failures_that_are_rare_are_missed_by_few_images():
    """The limit of any interval: of 12 images one in ten fails, or none does, and is not seen."""
    rng = np.random.default_rng(0)
    population = images(rng, 4000, "one in ten fails")
    truth = of_all(population)
    for n, least in ((6, 0.9), (12, 0.75), (30, 0.83)):
        found = [estimate(population[rng.integers(0, 4000, n)]) for _ in range(400)]
        assert np.mean([one.low <= truth <= one.high for one in found]) >= least


def test_accuracy_of_points_is_without_bias():
    rng = np.random.default_rng(5)
    population = images(rng, 2000, "skewed")
    truth = np.trace(population.sum(axis=0)) / 2000
    found = [
        estimate(points(rng, population[rng.integers(0, 2000, 6)], 20), "accuracy").value
        for _ in range(2000)
    ]
    assert abs(np.mean(found) - truth) < 4 * np.std(found) / np.sqrt(2000)


def test_all_images_of_a_small_folder_are_few_left_to_guess():
    rng = np.random.default_rng(8)
    population = images(rng, 40, "skewed")
    truth, covered, widths = of_all(population), [], []
    for _ in range(500):
        drawn = population[rng.permutation(40)[:24]]
        found = estimate(drawn, n_images=40)
        covered.append(found.low <= truth <= found.high)
        widths.append((found.high - found.low) / (estimate(drawn).high - estimate(drawn).low))
    assert 0.90 <= np.mean(covered) <= 0.99
    assert np.mean(widths) == pytest.approx(np.sqrt(1 - 24 / 40), abs=0.03)


# -- the curve, and what is to come --


class World:
    """Images that a model learns: each by a power law of its own, with noise of training."""

    def __init__(self, rng, n=300):
        self.rng, self.n = rng, n
        self.foreground = np.clip(rng.lognormal(-1.4, 0.6, n), 0.02, 0.7)
        self.top, self.rate = rng.beta(14, 1.5, n), rng.uniform(0.2, 1.2)
        self.start = rng.uniform(1, 8)
        self.below = np.clip(rng.uniform(0.1, 0.6) * rng.lognormal(0, 0.4, n), 0, 0.9)
        self.noise = rng.uniform(0.002, 0.015), rng.uniform(0.01, 0.05)

    def shares(self, minutes, noisy=True):
        right = self.top - self.below * (1 + minutes / self.start) ** -self.rate
        if noisy:
            right = right + self.noise[0] * self.rng.standard_normal()
            right = right + self.noise[1] * self.rng.standard_normal(self.n)
        wrong = self.foreground * (1 - np.clip(right, 0.01, 0.995))
        false = np.minimum(wrong, 1 - self.foreground)
        rows = [[1 - self.foreground - false, false], [wrong, self.foreground - wrong]]
        return np.moveaxis(np.array(rows), -1, 0)

    def flat(self):
        """The same, but no image is learned any better."""
        self.below[:] = 0
        return self

    def marked(self, minutes=50, n_points=None, every=1):
        """Records as they come: a mark, a version of the model, the checks held out then."""
        rng, records, held_out, now = self.rng, [], [], 0.0
        free, pace, k = rng.permutation(self.n).tolist(), rng.uniform(0.4, 1.2), 0
        while now < minutes:
            now += pace * rng.uniform(0.5, 1.5)
            k += 1
            if k >= 5 and k % 6 == 0:
                held_out = [*held_out, free.pop()][-12:]
            shares = self.shares(now)
            counts = {str(i): shares[i] for i in held_out}
            if n_points:
                counts = {name: self._points(name, one, n_points) for name, one in counts.items()}
            records.append((now, counts))
            if k % 12 == 0:
                yield records

    def _points(self, name, shares, n):
        at = np.random.default_rng([int(name), 7]).random(n)  # the same pixels each time
        drawn = np.searchsorted(shares.ravel().cumsum() / shares.sum(), at).clip(0, 3)
        return np.bincount(drawn, minlength=4).reshape(2, 2)


def constant(dice):
    return np.array([[0.5, 0.25 * (1 - dice)], [0.25 * (1 - dice), 0.25 * dice]])


def test_a_curve_has_the_last_record_and_few_others():
    records = [(m, {"a": constant(0.8)}) for m in (1.0, 1.02, 1.2, 1.21, 1.22)]
    found = learning_curve([*records, (3.0, {})])
    assert [point.minutes for point in found] == [1.02, 1.22]
    assert learning_curve([]) == [] and shown_curve([]) == [] and outlook([]) is None


def test_which_images_are_held_out_does_not_move_the_curve():
    """The score of each image stays; easy ones come later, hard ones go."""
    scores = np.linspace(0.5, 0.95, 10)
    records = [(2.0 + k, {str(i): constant(scores[i]) for i in range(k, k + 6)}) for k in range(3)]
    raw = [point.estimate.value for point in learning_curve(records)]
    assert raw[2] - raw[0] > 0.05
    shown = [value for _, value, _, _ in shown_curve(learning_curve(records))]
    np.testing.assert_allclose(shown, raw[2])
    ahead = outlook(learning_curve(records))
    assert ahead.n_checks == 6 and ahead.n_points == 3


@pytest.mark.parametrize(("n_images", "n_records"), [(3, 9), (4, 2)])
def test_nothing_is_forecast_from_little(n_images, n_records):
    counts = {str(i): constant(0.8) for i in range(n_images)}
    assert outlook(learning_curve([(1.0 + k, counts) for k in range(n_records)])) is None


def test_a_forecast_goes_on_as_the_curve_does():
    minutes = np.arange(4, 44, 2)
    records = [
        (float(m), {str(i): constant(0.95 - 0.1 * i / 8 - 0.6 * m**-0.7) for i in range(8)})
        for m in minutes
    ]
    ahead = outlook(learning_curve(records))
    truth = 0.6 * (42**-0.7 - 52**-0.7)
    assert ahead.gain_low <= truth <= ahead.gain_high
    assert ahead.gain == pytest.approx(truth, abs=0.01)
    now = learning_curve(records)[-1].estimate
    assert ahead.dice == pytest.approx(now.value + ahead.gain)
    assert ahead.low < now.value < ahead.high


def test_three_points_of_a_flat_curve_promise_little_and_perhaps_nothing():
    dice = [0.7 + 0.03 * k / 8 for k in range(8)]
    records = [(m, {str(k): constant(d) for k, d in enumerate(dice)}) for m in (3.0, 5.0, 7.0)]
    curve = learning_curve(records)
    found = outlook(curve)
    assert found.n_points == 3 and found.gain_low == 0 and found.gain < 0.016 < found.gain_high
    stop, text = advice(curve[-1].estimate, found, 10)
    assert not stop and text.endswith("or none.")
    rising = [(m, {k: constant(0.9 - m**-0.8) for k in "abcdefgh"}) for m in range(3, 30, 2)]
    assert outlook(learning_curve(rising)).gain_low > 0  # there it is excluded


def test_a_forecast_hangs_on_groups():
    counts = [
        {str(k): constant(0.9 - 0.02 * k - m**-0.9) for k in range(8)} for m in range(3, 24, 2)
    ]
    records = list(zip(map(float, range(3, 24, 2)), counts))
    alone = outlook(learning_curve(records))
    whose = {str(k): "abcd"[k // 2] for k in range(8)}
    grouped = outlook(learning_curve(records, groups=whose))
    assert (grouped.dice, grouped.n_checks) == (alone.dice, 8)
    assert grouped.high - grouped.low > alone.high - alone.low
    of_two = {name: "a" if group in "ab" else "b" for name, group in whose.items()}
    assert outlook(learning_curve(records, groups=of_two)) is None  # there is no interval
    # All images that an early point has are of one group: without it nothing is left of the curve.
    early = [(m, {k: v for k, v in one.items() if int(k) < 4}) for m, one in records[:-1]]
    of_one = {str(k): "a" if k < 4 else str(k) for k in range(8)}
    assert outlook(learning_curve([*early, records[-1]])) is not None
    assert outlook(learning_curve([*early, records[-1]], groups=of_one)) is None


@pytest.mark.parametrize("n_points", [None, 20])
def test_the_gain_of_a_flat_curve_is_not_excluded(n_points):
    rng = np.random.default_rng([2, n_points or 0])
    held, gains = [], []
    for _ in range(15):
        for records in World(rng).flat().marked(minutes=30, n_points=n_points):
            found = outlook(learning_curve(records, n_images=300))
            if found is not None:
                held.append(found.gain_low == 0)
                gains.append(found.gain)
    assert len(held) > 10 and np.mean(held) >= 0.9
    assert np.mean(gains) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("n_points", [None, 20])
def test_intervals_of_forecasts_hold_on_average(n_points):
    rng = np.random.default_rng([1, n_points or 0])
    held, of_gain, errors, stops = [], [], [], []
    for _ in range(60):
        world = World(rng)
        for records in world.marked(n_points=n_points):
            curve = learning_curve(records, n_images=300)
            ahead = outlook(curve)
            if ahead is None:
                continue
            now = records[-1][0]
            later = of_all(world.shares(now + 10))
            gain = of_all(world.shares(now + 10, False)) - of_all(world.shares(now, False))
            held.append(ahead.low <= later <= ahead.high)
            of_gain.append(ahead.gain_low <= gain <= ahead.gain_high)
            errors.append(ahead.gain - gain)
            if advice(curve[-1].estimate, ahead, 100)[0]:
                stops.append(gain)
    assert len(held) > 150
    assert 0.88 <= np.mean(held) <= 0.99
    assert np.mean(of_gain) >= 0.8
    assert abs(np.mean(errors)) < 0.006
    assert len(stops) > 5 and np.mean(stops) < 0.006  # what was given up by stopping


# -- advice --


def ahead(gain, most):
    return Outlook(10.0, 0.8 + gain, 0.7, 0.9, gain, 0.0, most, 9, 20)


def test_advice_says_why():
    now = Estimate(0.8, 0.75, 0.84, 9)
    assert advice(now, None, 10) == (False, "")
    stop, text = advice(now, ahead(0.003, 0.008), 10)
    assert stop and "0.3 points" in text and "0.8" in text
    stop, text = advice(now, ahead(0.003, 0.012), 10)
    assert not stop and text.endswith("perhaps 1.2, or none.")
    _, text = advice(now, ahead(0.02, 0.03)._replace(gain_low=0.01), 10)
    assert text.endswith("about 2.0 points, perhaps 3.0.")
    assert not advice(now, ahead(0.02, 0.03), 10)[0]
    assert advice(now, ahead(0.02, 0.03), 10, target=0.74)[0]
    assert not advice(now, ahead(0.02, 0.03), 10, target=0.76)[0]
    assert advice(now, ahead(0.02, 0.03), 0) == (True, "Every image has an answer.")
