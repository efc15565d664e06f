"""alseg.strategies.bounded: questions in bounded time, by a clock that the tests turn."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from alseg import ActiveLearner, strategies
from alseg.calling import accepts, call
from alseg.query.regions import Regions
from alseg.strategies import (
    by_region,
    class_balanced,
    core_set_sampling,
    density_score,
    entropy_sampling,
    entropy_score,
    look,
    random_score,
    region_sampling,
    stochastic,
    within_seconds,
    without_near_duplicates,
)
from alseg.strategies.bounded import within_seconds_sampling
from alseg.strategies.underlying import by_image, score_beside
from alseg.testing.contracts import all_scores, all_strategies, check_strategy
from alseg.testing.toys import ToyLearner, ToySegmenter, toy_images
from alseg.validation import EmptyPool


class Clock:
    """Seconds that go by when images are looked at: `each`, to the `power` of their number."""

    def __init__(self, each=1.0, power=1.0):
        self.now, self.each, self.power, self.calls = 0.0, each, power, []

    def __call__(self):
        return self.now

    def timed(self, function):
        @functools.wraps(function)
        def slow(learner, X_pool, *args, **kwargs):
            self.now += self.each * len(X_pool) ** self.power
            self.calls.append(len(X_pool))
            return function(learner, X_pool, *args, **kwargs)

        return slow


def own(learner, X_pool):
    """The score of a pool that holds its scores."""
    return np.asarray(X_pool, float)


def largest(learner, X_pool, n_instances=1):
    return np.argsort(-np.asarray(X_pool))[:n_instances]


# -- look --


def test_look_sees_the_first_of_the_order():
    clock = Clock()
    order = np.random.default_rng(0).permutation(100)
    told = []
    scores = look(
        clock.timed(own),
        None,
        np.arange(100),
        order,
        20,
        progress=lambda *seen: told.append(seen),
        clock=clock,
    )
    seen = np.flatnonzero(np.isfinite(scores))
    # 4 and 8, and of the next 16 what 8 seconds are enough for
    assert clock.calls == [4, 8, 8] and told == [(4, 100), (12, 100), (20, 100)]
    np.testing.assert_array_equal(seen, np.sort(order[:20]))
    np.testing.assert_array_equal(scores[seen], seen)


def test_look_without_a_limit_is_one_call():
    for max_seconds, n in ((None, 100), (1e6, 4)):
        clock = Clock()
        scores = look(clock.timed(own), None, np.arange(n), max_seconds=max_seconds, clock=clock)
        assert clock.calls == [n]
        np.testing.assert_array_equal(scores, np.arange(n))


def test_what_fits_is_seen_in_one_call_in_its_own_order():
    clock, pools = Clock(), []

    def score(learner, X_pool):
        pools.append(np.asarray(X_pool))
        return own(learner, X_pool)

    look(clock.timed(score), None, np.arange(30), max_seconds=34, clock=clock)
    assert clock.calls == [4, 30]  # 4 seconds for 4: 30 more are there
    np.testing.assert_array_equal(pools[1], np.arange(30))
    clock = Clock()
    look(clock.timed(own), None, np.arange(30), max_seconds=33.9, clock=clock)
    assert clock.calls[:2] == [4, 8]


def test_look_goes_on_where_it_was():
    clock, known = Clock(), None
    n_seen = []
    while known is None or np.isnan(known).any():
        known = look(clock.timed(own), None, np.arange(50), range(50), 12, known, clock=clock)
        n_seen.append(int(np.isfinite(known).sum()))
    assert n_seen == [12, 24, 36, 48, 50] and sum(clock.calls) == 50
    before = known.copy()
    before[7] = -3  # a score that is known is not asked for again
    again = look(clock.timed(own), None, np.arange(50), max_seconds=12, known=before, clock=clock)
    assert sum(clock.calls) == 50 and again[7] == -3 and again is not before


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 60),
    seconds=st.floats(0, 80),
    each=st.floats(0, 3),
    at_least=st.integers(0, 60),
    holes=st.integers(0, 2**20),
)
def test_look_ends_in_time_with_at_least_what_is_needed(n, seconds, each, at_least, holes):
    clock = Clock(each)
    known = np.arange(n, dtype=float)
    known[[bool(holes >> (i % 20) & 1) for i in range(n)]] = np.nan
    n_known = int(np.isfinite(known).sum())
    scores = look(
        clock.timed(own),
        None,
        np.arange(n),
        max_seconds=seconds,
        known=known,
        at_least=at_least,
        random_state=0,
        clock=clock,
    )
    seen = np.isfinite(scores)
    assert seen[np.isfinite(known)].all()
    np.testing.assert_array_equal(scores[seen], np.flatnonzero(seen))
    assert seen.sum() >= min(n, max(at_least, n_known))
    # 4 are seen whatever they take; then what is needed, and what there is time for
    assert clock.now <= max(seconds, each * (4 + max(0, at_least - n_known))) + 1e-6


def test_look_hands_on_the_labels_and_one_seed():
    seeds = []

    def score(learner, X_pool, random_state, y_pool, masks_pool):
        seeds.append(random_state)
        assert list(y_pool) == [f"label {x}" for x in X_pool]
        assert [m[0] for m in masks_pool] == list(X_pool)
        return own(learner, X_pool)

    clock = Clock()
    look(
        clock.timed(score),
        None,
        list(range(30)),
        max_seconds=20,
        random_state=3,
        clock=clock,
        y_pool=np.array([f"label {i}" for i in range(30)]),
        masks_pool=[[i] for i in range(30)],
    )
    assert len(seeds) > 1 and len(set(seeds)) == 1 and isinstance(seeds[0], int)


def test_bad_arguments_of_look():
    for known, match in [
        (np.zeros(3), r"known must be of shape \(5,\)"),
        ([np.inf] * 5, "known must be finite, or NaN where not known"),
    ]:
        with pytest.raises(ValueError, match=match):
            look(own, None, np.arange(5), known=known)
    for order in ([0, 1], [0, 0, 1, 2, 3], [1, 2, 3, 4, 5]):
        with pytest.raises(ValueError, match="order must be the positions 0 to 4, each once"):
            look(own, None, np.arange(5), order)
    with pytest.raises(ValueError, match="max_seconds must be >= 0, got -1"):
        look(own, None, np.arange(5), max_seconds=-1)
    with pytest.raises(ValueError, match="scores must be finite, got nan at position 3"):
        look(own, None, np.array([0, 1, 2, np.nan, 4]))
    with pytest.raises(ValueError, match=r"scores must be of shape \(5,\)"):
        look(lambda learner, X_pool: [1.0], None, np.arange(5))


# -- strategies --


def pool(n=40):
    learner = ToyLearner(ToySegmenter(), toy_images(6, random_state=1), ["a", "b", "c"] * 2)
    return learner, toy_images(n), np.array(["a", "b", "c", "d"] * n)[:n]


@pytest.mark.parametrize("name", [n for n in all_strategies() if not n.startswith("within")])
def test_without_a_limit_and_with_time_for_all_it_is_the_strategy_itself(name):
    strategy = all_strategies()[name]
    if accepts(strategy, "n_steps"):
        strategy = functools.partial(strategy, n_steps=10)  # it is the same however long it trains
    learner, X_pool, y_pool = pool(9)

    def ask(strategy, random_state):
        return call(
            strategy,
            learner,
            X_pool,
            n_instances=3,
            random_state=random_state,
            y_pool=y_pool,
            groups_pool=y_pool,
        )

    for make in (lambda: 0, lambda: np.random.default_rng(7)):
        expected = ask(strategy, make())
        for seconds in (None, 3600)[make() != 0 :]:
            told = []
            bounded = within_seconds(strategy, seconds, report=lambda *n, told=told: told.append(n))
            found = ask(bounded, make())
            assert type(found) is type(expected) and told == [(9, 9)]
            if isinstance(expected, Regions):
                assert found == expected
            else:
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "strategy",
    [
        entropy_score,
        entropy_sampling,
        class_balanced(entropy_score),
        class_balanced(entropy_sampling),
        stochastic(entropy_score, beta=np.inf),
        without_near_duplicates(entropy_sampling),
        without_near_duplicates(class_balanced(entropy_score)),
    ],
)
def test_it_asks_among_those_seen(strategy):
    learner, X_pool, y_pool = pool()
    clock, told = Clock(), []
    toy = learner.estimator
    predict = toy.predict_uncertainty
    toy.predict_uncertainty = lambda X, **k: clock.timed(lambda _, X: predict(X, **k))(None, X)
    known = np.full(40, np.nan)
    picked = within_seconds_sampling(
        learner,
        X_pool,
        4,
        0,
        strategy=strategy,
        seconds=15,
        clock=clock,
        known=known,
        report=lambda *n: told.append(n),
        y_pool=y_pool,
    )
    seen = np.flatnonzero(np.isfinite(known))
    assert told == [(15, 40)] and len(seen) == 15
    np.testing.assert_array_equal(known[seen], entropy_score(ToySegmenter(), X_pool[seen]))
    if "class_balanced" in strategy.__name__:
        for label in "abcd":  # the best of each class, of those seen
            mine = seen[y_pool[seen] == label]
            assert mine[known[mine].argmax()] in picked
    else:
        np.testing.assert_array_equal(picked, seen[np.argsort(-known[seen])[:4]])
    # the next question goes on
    within_seconds_sampling(
        learner,
        X_pool,
        4,
        1,
        strategy=strategy,
        seconds=100,
        clock=clock,
        known=known,
        y_pool=y_pool,
    )
    assert np.isfinite(known).all() and sum(clock.calls) == 40


def test_other_strategies_are_asked_about_larger_and_larger_parts():
    clock, told = Clock(), []
    strategy = within_seconds(
        clock.timed(largest), 100, report=lambda *n: told.append(n), clock=clock
    )
    X_pool = np.arange(1000)
    picked = strategy(None, X_pool, 2, random_state=0)
    assert clock.calls == [4, 32, 64] and told == [(64, 1000)] and clock.now == 100
    again = within_seconds(clock.timed(largest), 100, clock=clock)(None, X_pool, 2, random_state=0)
    np.testing.assert_array_equal(picked, again)
    assert picked[0] > picked[1] and picked[0] != 999


def test_the_time_of_a_cost_that_grows_with_the_square_is_kept():
    clock = Clock(each=0.01, power=2)
    within_seconds(clock.timed(largest), 100, clock=clock)(None, np.arange(10**4), 2, 0)
    assert 50 <= clock.now <= 100 and clock.calls[-1] < 100


def test_scores_that_compare_images_are_asked_about_one_part():
    X_pool = np.random.default_rng(0).normal(size=(500, 2))
    for strategy in (density_score, core_set_sampling):
        clock = Clock()
        embedding = clock.timed(lambda learner, X: X)
        strategy = functools.partial(strategy, embedding=functools.partial(embedding, None))
        picked = within_seconds(strategy, 300, clock=clock)(None, X_pool, 3, 0)
        assert clock.calls == [4, 32, 256]  # and no further: the third took most of the time
        assert len(set(picked.tolist())) == 3 and picked.max() < 500


@pytest.mark.slow
def test_which_scores_see_each_image_alone():
    """The list is right: of these alone an image's score is the same in any part of a pool."""
    with_training, X_pool, y_pool = pool(12)
    bare = ToySegmenter()
    part = [3, 1, 8, 9]
    for name, score in all_scores().items():
        if score is random_score:  # the same at each chunk, and never looked at in chunks for long
            continue
        alone = True
        for learner in (with_training, bare):
            try:
                whole = call(score, learner, X_pool, random_state=0, y_pool=y_pool)
            except (ValueError, TypeError, AttributeError):
                continue  # it needs training data
            some = call(score, learner, X_pool[part], random_state=0, y_pool=y_pool[part])
            alone = alone and np.allclose(whole[part], some)
        if by_image(score):
            assert alone, name
        elif not name.startswith(("prob_cover", "learning_loss")):
            # of these: nothing is within the radius of so few, and it trains anew each time
            assert not alone, name


@pytest.mark.parametrize("name", [n for n in strategies.__all__ if n.endswith("_sampling")])
def test_score_beside_is_what_a_strategy_takes_the_largest_of(name):
    strategy = getattr(strategies, name)
    score = score_beside(strategy)
    if score is None:
        return
    assert name == score.__name__.removesuffix("_score") + "_sampling"
    learner, X_pool, _ = pool(9)
    scores = call(score, learner, X_pool, random_state=0)
    if len(set(scores)) == 9:
        picked = call(strategy, learner, X_pool, n_instances=9, random_state=0)
        np.testing.assert_array_equal(picked, np.argsort(-scores))


def test_score_beside_keeps_options():
    assert score_beside(by_region(entropy_score, "pixel")) is None
    assert score_beside(core_set_sampling) is None and score_beside(largest) is None
    image = functools.partial(entropy_sampling, target="label")
    assert score_beside(image).keywords == {"target": "label"}


@pytest.mark.parametrize(
    "inner",
    [
        entropy_score,
        entropy_sampling,
        class_balanced(entropy_score),
        class_balanced(core_set_sampling),
        by_region(entropy_score, size=5, per_image=3),
        by_region(entropy_score, "superpixel", size=5),
    ],
)
def test_contract_while_the_time_is_short(inner):
    """As `check_strategy` asks, with a clock by which few of the 11 images are seen."""

    class Ticks:
        now = 0

        def __call__(self):
            self.now += 1
            return self.now

    check_strategy(within_seconds(inner, 3, clock=Ticks()))


def test_parts_of_images_are_renumbered():
    learner, X_pool, _ = pool()
    clock = Clock()
    parts = by_region(entropy_score, size=5, per_image=1)
    strategy = within_seconds(clock.timed(parts), 20, clock=clock)
    assert strategy.keywords["unit"] == "patch"
    masks = np.full(40, None, dtype=object)
    masks[::2] = [np.zeros((16, 16), int)] * 20  # nothing is left to ask about there
    regions = strategy(learner, X_pool, 3, random_state=0, masks_pool=masks)
    assert len(regions) == 3 and (regions.sample_ids % 2 == 1).all()
    assert clock.now <= 20
    assert len(regions.sizes) == len(regions.sample_ids)


def test_a_part_with_nothing_left_is_no_empty_pool():
    def odd(learner, X_pool, n_instances=1):
        if not np.isin(np.asarray(X_pool), [13]).any():
            raise EmptyPool("nothing")
        return [int(np.flatnonzero(np.asarray(X_pool) == 13)[0])]

    for seed, n_seen in ((0, 128), (5, 300)):  # 13 is in a part, or in nothing but the whole
        clock = Clock()
        strategy = within_seconds(clock.timed(odd), 1, clock=clock)
        assert list(strategy(None, np.arange(300), random_state=seed)) == [13]
        assert clock.calls[-1] == n_seen
    with pytest.raises(EmptyPool, match="The pool is empty"):
        within_seconds(odd, 1)(None, np.arange(0))


def test_bad_options():
    with pytest.raises(TypeError, match="strategy must be a score or a strategy"):
        within_seconds("entropy")
    with pytest.raises(ValueError, match="seconds must be >= 0, got -1"):
        within_seconds(entropy_score, -1)
    with pytest.raises(TypeError, match="seconds must be a number"):
        within_seconds(entropy_score, "1")


def test_a_generator_is_used_as_without_a_limit_and_moves_on():
    learner, X_pool, _ = pool()
    rng = np.random.default_rng(0)
    clock = Clock()
    slow = within_seconds(clock.timed(largest), 8, clock=clock)
    first, second = (slow(None, np.arange(900), 3, random_state=rng) for _ in range(2))
    assert not np.array_equal(first, second)


# -- the learner --


def masked(strategy, n=40):
    labels = np.array(["class 0", "class 1"] * n)[:n]
    toy = ToySegmenter()
    learner = ActiveLearner(toy, strategy, images=toy_images(n), labels=labels, random_state=0)
    toy.fit = None  # it has classes_: nothing is fitted
    return learner


def test_query_of_a_learner(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    slow = clock.timed(entropy_sampling)
    learner = masked(slow)
    assert learner.looked_at is None
    ids, images = learner.query(n_instances=3, max_seconds=20)
    assert learner.looked_at == (16, 40) and clock.calls == [4, 16]
    np.testing.assert_array_equal(images, learner.images[ids])
    np.testing.assert_array_equal(ids, learner.query(n_instances=3, max_seconds=20)[0])
    whole, _ = learner.query(n_instances=3)
    np.testing.assert_array_equal(whole, learner.query(n_instances=3, max_seconds=1e6)[0])
    assert learner.looked_at == (40, 40)


def test_query_of_parts_of_images(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    learner = masked(clock.timed(region_sampling))
    regions, _ = learner.query(n_instances=5, unit="patch", size=5, per_image=2, max_seconds=30)
    assert isinstance(regions, Regions) and len(regions) == 5 and learner.looked_at[0] < 40
    assert clock.now <= 30


def test_a_model_that_is_fitted_first_is_not_counted(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)

    class Late(ToySegmenter):
        def __init__(self):
            super().__init__()
            del self.classes_

        def get_params(self, deep=True):
            return {}

        def fit(self, X, y, masks=None, mask_weight=None):
            clock.now += 1000
            self.classes_ = np.unique(y)
            return self

        def predict_uncertainty(self, X, **options):
            clock.now += len(X)
            return super().predict_uncertainty(X, **options)

    learner = ActiveLearner(
        Late(),
        class_balanced(entropy_score),
        images=toy_images(40),
        labels=["a", "b"] * 20,
        random_state=0,
    )
    learner.query(n_instances=2, max_seconds=20)
    assert learner.looked_at == (20, 40) and clock.now == 1020


def test_query_in_modals_way():
    X = np.random.default_rng(0).normal(size=(60, 3))
    y = np.arange(20) % 2
    for strategy in (None, functools.partial(entropy_sampling, target="label")):
        learner = ActiveLearner(LogisticRegression(), strategy, X_training=X[:20], y_training=y)
        for args, kwargs in (((), {"n_instances": 3}), ((3,), {})):
            idx, rows = learner.query(X[20:], *args, **kwargs)
            bounded, again = learner.query(X[20:], *args, max_seconds=3600, **kwargs)
            np.testing.assert_array_equal(idx, bounded)
            np.testing.assert_array_equal(rows, again)
        with pytest.raises(TypeError, match="nonsense"):
            learner.query(X[20:], nonsense=1, max_seconds=1)

    def one(learner, X_pool):
        return int(np.asarray(X_pool)[:, 0].argmax())

    learner = ActiveLearner(LogisticRegression(), one, X_training=X[:20], y_training=y)
    assert learner.query(X[20:], max_seconds=3600)[0] == X[20:, 0].argmax()
    few, _ = learner.query(X[20:], max_seconds=0)
    assert learner.looked_at[0] < 40 and few.shape == (1,)


def test_options_that_are_called_like_ours_reach_the_strategy():
    learner = masked(strategies.wrappers.subsample_sampling)
    for limit in ({}, {"max_seconds": 3600}):
        ids, _ = learner.query(n_instances=2, strategy=entropy_score, size=10, **limit)
        expected = strategies.subsample(entropy_score, 10)
        again, _ = masked(expected).query(n_instances=2)
        np.testing.assert_array_equal(ids, again)
