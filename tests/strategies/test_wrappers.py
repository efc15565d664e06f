"""Wrappers and the draws of alseg.query.selection: chances, batches, parts, schedules."""

import functools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg import ActiveLearner
from alseg.query.selection import shares, stochastic_top_n, top_n
from alseg.strategies import (
    distinct,
    entropy_sampling,
    entropy_score,
    mixture,
    ramp,
    random_sampling,
    random_score,
    stochastic,
    stochastic_batches,
    subsample,
)
from alseg.strategies.around_others import n_labelled
from alseg.testing.toys import ToyLearner, ToySegmenter, toy_images
from alseg.validation import EmptyPool


def given_score(values):
    """A score that is known: the pool holds positions."""

    def score(learner, X_pool):
        return np.asarray(values, float)[np.asarray(X_pool)]

    return score


# -- chances --


@pytest.mark.parametrize("kind", ["power", "softmax", "softrank"])
@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
def test_chance_of_the_first_pick(kind, beta):
    scores = np.array([0.1, 0.9, 0.4])
    rank = np.array([3, 1, 2])
    weight = {"power": scores**beta, "softmax": np.exp(beta * scores), "softrank": 1 / rank**beta}
    expected = weight[kind] / weight[kind].sum()
    rng = np.random.default_rng(0)
    first = [stochastic_top_n(scores, 1, beta, kind, rng)[0] for _ in range(6000)]
    np.testing.assert_allclose(np.bincount(first, minlength=3) / 6000, expected, atol=0.025)


def test_chance_of_a_pair_is_that_of_drawing_one_by_one():
    scores = np.array([1.0, 2.0, 5.0])
    rng = np.random.default_rng(1)
    pairs = [tuple(stochastic_top_n(scores, 2, random_state=rng)) for _ in range(6000)]
    for i, j in ((0, 1), (2, 0), (1, 2)):
        expected = scores[i] / 8 * scores[j] / (8 - scores[i])
        assert abs(pairs.count((i, j)) / 6000 - expected) < 0.02


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=12), st.integers(0, 5))
def test_limits_of_beta(scores, seed):
    n = len(scores)
    for kind in ("power", "softmax", "softrank"):
        found = stochastic_top_n(scores, n, np.inf, kind, seed)
        np.testing.assert_array_equal(found, top_n(scores, n, seed))
        assert sorted(stochastic_top_n(scores, n, 0, kind, seed)) == list(range(n))
    zeros = np.array([0.0, 0.0, 1.0])
    assert stochastic_top_n(zeros, 1, 1e-3, random_state=seed)[0] == 2  # 0 has no chance


def test_bad_noise():
    with pytest.raises(ValueError, match="scores must be >= 0 for kind='power', got .*-1"):
        stochastic_top_n([1, -1], 1)
    assert stochastic_top_n([1, -1], 2, kind="softmax", random_state=0).shape == (2,)
    for beta in (-1, np.nan):
        with pytest.raises(ValueError, match="beta must be >= 0"):
            stochastic_top_n([1, 2], 1, beta)
    with pytest.raises(TypeError, match="beta must be a number"):
        stochastic_top_n([1, 2], 1, "1")
    with pytest.raises(ValueError, match="kind must be one of .*Did you mean 'softmax'"):
        stochastic(entropy_score, kind="soft-max")
    with pytest.raises(ValueError, match="scores must be finite"):
        stochastic_top_n([1, np.nan], 1)
    with pytest.raises(EmptyPool):
        stochastic_top_n([], 1)


def test_stochastic_wraps_a_score_alone():
    strategy = stochastic(given_score([0, 0, 3, 0]))
    assert strategy(None, np.arange(4), 1, random_state=0).tolist() == [2]
    with pytest.raises(TypeError, match="score must be a score, not a strategy.*entropy_sampling"):
        stochastic(entropy_sampling)(ToySegmenter(), toy_images(3))
    with pytest.raises(TypeError, match="score must be a score or a strategy"):
        stochastic("entropy")


# -- shares --


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=6).filter(lambda w: sum(w) > 0.1),
    st.integers(0, 40),
)
def test_shares_sum_and_stay_near(weights, n):
    counts = shares(weights, n, 0)
    exact = np.array(weights) / sum(weights) * n
    assert counts.sum() == n and (np.abs(counts - exact) < 1 + 1e-6).all()
    assert (counts[np.array(weights) == 0] == 0).all()


def test_shares_of_one_are_right_on_average():
    rng = np.random.default_rng(0)
    total = sum(shares([1, 3], 1, rng) for _ in range(4000))
    assert abs(total[0] / 4000 - 0.25) < 0.03
    for weights in ([0, 0], [1, -1], [np.nan]):
        with pytest.raises(ValueError, match="weights must be >= 0|scores must be finite"):
            shares(weights, 2)


# -- batches --


def test_stochastic_batches_by_hand():
    values = np.arange(12.0)
    for seed in range(5):
        picked = stochastic_batches(given_score(values))(None, np.arange(12), 3, random_state=seed)
        batches = np.random.default_rng(seed)
        batches.integers(2**31 - 1)  # the seed offered to the score
        batches.permutation(12)  # ties of the check
        groups = batches.permutation(12).reshape(4, 3)
        best = groups[values[groups].sum(axis=1).argmax()]
        np.testing.assert_array_equal(picked, np.sort(best)[::-1])
    picked = stochastic_batches(given_score(values))(None, np.arange(12), 12, random_state=0)
    np.testing.assert_array_equal(picked, np.arange(12)[::-1])
    assert len(stochastic_batches(given_score(values))(None, np.arange(12), 7, 0)) == 7
    with pytest.raises(ValueError, match="scores must be finite"):
        stochastic_batches(given_score([np.nan] * 3))(None, np.arange(3))


# -- a smaller pool --


def test_subsample_looks_at_a_part():
    seen = []

    def score(learner, X_pool):
        seen.append(np.asarray(X_pool))
        return np.asarray(X_pool, float)

    picked = subsample(score, size=10)(None, np.arange(100), 3, random_state=0)
    assert len(seen[0]) == 10
    np.testing.assert_array_equal(picked, np.sort(seen[0])[::-1][:3])
    subsample(score, size=0.25)(None, np.arange(10), 1, random_state=0)
    assert len(seen[1]) == 3
    subsample(score, size=2)(None, np.arange(10), 5, random_state=0)
    assert len(seen[2]) == 5  # as many as are asked for
    np.testing.assert_array_equal(
        subsample(score, size=10)(None, np.arange(10), 2, random_state=0), [9, 8]
    )
    for size in (0, 0.0, 1.5, -3):
        with pytest.raises(ValueError, match="size must be"):
            subsample(score, size=size)


def test_subsample_hands_on_labels_and_checks_the_answer():
    def by_label(learner, X_pool, n_instances=1, y_pool=None):
        assert len(y_pool) == len(X_pool) and (np.asarray(y_pool) == np.asarray(X_pool)).all()
        return np.arange(n_instances)

    subsample(by_label, size=4)(None, np.arange(9), 2, random_state=0, y_pool=np.arange(9))

    def twice(learner, X_pool, n_instances=1):
        return np.zeros(n_instances, int)

    with pytest.raises(ValueError, match="the result of twice must be unique positions in"):
        subsample(twice, size=4)(None, np.arange(9), 2)


# -- near duplicates --


def test_distinct_leaves_out_near_duplicates():
    points = np.array([[1, 0], [1, 0.01], [0, 1], [1, 1], [0.01, 1]], float)
    values = [5, 4, 3, 2, 1]

    def ask(n, similarity=0.95):
        strategy = distinct(
            given_score(values), similarity, embedding=lambda X: points[np.asarray(X)]
        )
        return strategy(None, np.arange(5), n, random_state=0).tolist()

    assert ask(3) == [0, 2, 3]
    assert ask(4) == [0, 2, 3, 1]  # too few: the best of those left out
    assert ask(5) == [0, 2, 3, 1, 4]
    assert ask(3, similarity=1) == [0, 1, 2]
    assert ask(2, similarity=0.5) == [0, 2]


def test_distinct_with_zeros_and_bad_embeddings():
    points = np.array([[0.0, 0], [0, 0], [1, 0]])
    strategy = distinct(given_score([3, 2, 1]), embedding=lambda X: points[np.asarray(X)])
    assert strategy(None, np.arange(3), 2, random_state=0).tolist() == [0, 2]
    bad = distinct(given_score([3, 2, 1]), embedding=lambda X: np.array([[1.0], [np.nan], [1.0]]))
    with pytest.raises(ValueError, match="embeddings must be finite, got .* at position 1"):
        bad(None, np.arange(3))
    short = distinct(given_score([3, 2, 1]), embedding=lambda X: np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"embedding must be of 3 rows"):
        short(None, np.arange(3))
    with pytest.raises(
        TypeError, match="learner must be an estimator with `transform`.*embedding="
    ):
        distinct(given_score([1, 2]))(object(), np.arange(2))
    with pytest.raises(ValueError, match="similarity must be >= -1 and <= 1"):
        distinct(entropy_score, similarity=2)


def test_distinct_uses_the_embeddings_of_the_estimator():
    X = toy_images(6)
    twins = np.concatenate([X, X])
    picked = distinct(entropy_score, similarity=0.9999999)(ToySegmenter(), twins, 6, 0)
    assert sorted(picked % 6) == list(range(6))


# -- mixtures and schedules --


def test_mixture_by_hand():
    up, down = given_score(np.arange(10)), given_score(-np.arange(10.0))
    picked = mixture([up, down], [2, 1])(None, np.arange(10), 6, random_state=0)
    assert picked.tolist() == [9, 8, 7, 6, 0, 1]
    picked = mixture([up, up])(None, np.arange(10), 4, random_state=0)
    assert picked.tolist() == [9, 8, 7, 6]  # what one has taken the next does not see
    everything = mixture([up, down, random_score])(None, np.arange(10), 10, random_state=0)
    assert sorted(everything) == list(range(10))


def test_mixture_follows_a_schedule():
    up, down = given_score(np.arange(10)), given_score(-np.arange(10.0))
    fading = functools.partial(ramp, start=1, stop=0, first=2, last=4)
    growing = functools.partial(ramp, start=0, stop=1, first=2, last=4)
    strategy = mixture([up, down], [fading, growing])

    def ask(n):
        learner = ToyLearner(ToySegmenter(), np.zeros((n, 1)), [0] * n)
        return strategy(learner, np.arange(10), 4, random_state=0).tolist()

    assert ask(2) == [9, 8, 7, 6]
    assert ask(3) == [9, 8, 0, 1]
    assert ask(9) == [0, 1, 2, 3]
    beta = functools.partial(ramp, start=0, stop=np.float64(1e6), first=0, last=4)
    sharp = stochastic(given_score(1 + np.arange(10)), beta=beta)
    learner = ToyLearner(ToySegmenter(), np.zeros((4, 1)), [0] * 4)
    assert sharp(learner, np.arange(10), 3, random_state=0).tolist() == [9, 8, 7]
    with pytest.raises(ValueError, match="last must be above first"):
        ramp(3, 0, 1, 5, 5)


def test_labels_are_counted_in_every_kind_of_learner(rng):
    from sklearn.linear_model import LogisticRegression

    X = rng.normal(size=(12, 2))
    y = np.repeat([0, 1], 6)
    learner = ActiveLearner(LogisticRegression(), X_training=X, y_training=y)
    assert n_labelled(learner) == 12 and n_labelled(LogisticRegression()) == 0
    masks = [np.zeros((16, 16), int) if i < 3 else None for i in range(5)]
    learner = ActiveLearner(ToySegmenter(), images=toy_images(5), labels=[0] * 5, masks=masks)
    assert n_labelled(learner) == 3
    learner = ActiveLearner(ToySegmenter(), images=toy_images(5), labels=[0] * 5)
    assert n_labelled(learner) == 0


def test_bad_mixtures():
    with pytest.raises(ValueError, match="strategies must be at least one"):
        mixture([])
    with pytest.raises(TypeError, match="strategies must be a score or a strategy"):
        mixture(["entropy"])
    with pytest.raises(ValueError, match="weights must be 2, one a strategy, got 1"):
        mixture([random_sampling, entropy_sampling], [1])
    with pytest.raises(ValueError, match="weights must be >= 0 and not all 0"):
        mixture([random_sampling], [0])(None, np.arange(3))


def test_wrappers_can_be_nested_named_and_pickled():
    strategy = subsample(mixture([stochastic(entropy_score), random_sampling]), size=8)
    assert strategy.__name__ == "subsample(mixture(stochastic(entropy_score), random_sampling))"
    again = pickle.loads(pickle.dumps(strategy))
    toy, X = ToySegmenter(), toy_images(12)
    np.testing.assert_array_equal(
        strategy(toy, X, 4, random_state=3), again(toy, X, 4, random_state=3)
    )
