"""alseg.strategies.domain: AADA against scikit-learn's own probabilities, sources that count."""

import functools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from alseg.query import diversity
from alseg.strategies import (
    aada_sampling,
    aada_score,
    class_balanced,
    core_set_sampling,
    discriminative_sampling,
    entropy_score,
    with_source,
)
from alseg.testing.toys import ToyLearner, ToySegmenter, toy_images


def known(values):
    def score(learner, X_pool):
        return np.asarray(values, float)

    return score


class WithSource(ToyLearner):
    """A learner whose source is there."""

    def __init__(self, source, *args):
        super().__init__(*args)
        self.source_set = source


def test_aada_is_the_odds_of_the_discriminator_times_the_entropy(rng):
    pool, source = rng.normal(size=(30, 3)) + 0.5, rng.normal(size=(50, 3))
    doubt = rng.random(30)
    found = aada_score(None, pool, score=known(doubt), source=source, embedding="input")
    model = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
    )
    model.fit(np.concatenate([pool, source]), np.arange(80) >= 30)  # True is the source
    d = model.predict_proba(pool)[:, 1]
    np.testing.assert_allclose(found, (1 - d) / d * doubt, rtol=1e-5)
    picked = aada_sampling(None, pool, 4, score=known(doubt), source=source, embedding="input")
    np.testing.assert_array_equal(picked, found.argsort()[::-1][:4])


def test_the_odds_are_the_ratio_of_the_densities(rng):
    # Normal densities of means 1 and -1 and variance 1: log p / q = 2 x.
    pool, source = rng.normal(size=(20000, 1)) + 1, rng.normal(size=(10000, 1)) - 1
    odds = diversity.odds_of_unlabelled(pool, source)
    some = np.abs(pool[:, 0]) < 2
    np.testing.assert_allclose(np.log(odds[some]), 2 * pool[some, 0], atol=0.25)


def test_far_from_the_source_the_odds_are_finite_and_in_order():
    pool, source = np.array([[0.0], [1e3], [2e3]]), np.array([[0.0], [1.0]])
    odds = diversity.odds_of_unlabelled(pool, source)
    assert np.isfinite(odds).all() and (np.diff(odds) > 0).all()
    tree = DecisionTreeClassifier()  # sure of everything: probabilities of 0 and 1
    odds = diversity.odds_of_unlabelled(np.array([[5.0], [6.0]]), source, tree, 0)
    np.testing.assert_array_equal(odds, np.exp([500.0, 500.0]))


def test_labelled_images_count_as_source():
    X, toy = toy_images(8), ToySegmenter()
    learner = ToyLearner(toy, toy_images(3, random_state=1), ["class 0", "class 1", "class 2"])
    beside = WithSource(toy_images(5, random_state=2), toy, learner.X_training, learner.y_training)
    both = np.concatenate([toy.transform(beside.source_set), toy.transform(learner.X_training)])
    expected = diversity.odds_of_unlabelled(toy.transform(X), both) * entropy_score(toy, X)
    np.testing.assert_allclose(aada_score(beside, X), expected)
    assert not np.allclose(aada_score(learner, X), expected)
    np.testing.assert_allclose(aada_score(learner, X, source=beside.source_set), expected)
    # Inside a wrapper the source is that of the learner.
    balanced = class_balanced(aada_score)(beside, X, 4, 0, y_pool=np.array(["a", "b"] * 4))
    assert len(set(balanced.tolist())) == 4


def test_draws_among_the_top():
    points, source = np.zeros((100, 1)), np.zeros((5, 1))
    strategy = functools.partial(
        aada_sampling, None, points, 2, score=known(np.arange(100)), source=source,
        embedding="input",
    )  # fmt: skip
    assert strategy().tolist() == [99, 98]
    seen = {int(i) for seed in range(40) for i in strategy(random_state=seed, top=0.05)}
    assert seen == {95, 96, 97, 98, 99}
    assert set(strategy(random_state=0, top=0.001).tolist()) == {98, 99}
    with pytest.raises(ValueError, match="top must be > 0 and <= 1"):
        strategy(top=0)


def test_what_aada_refuses(rng):
    pool = rng.normal(size=(5, 2))
    ask = functools.partial(aada_sampling, None, pool, score=known(np.ones(5)))
    with pytest.raises(ValueError, match="source must be given where nothing is labelled"):
        ask(embedding="input")
    with pytest.raises(ValueError, match="scores must be >= 0, got -1"):
        aada_score(None, pool, score=known(-np.ones(5)), source=pool, embedding="input")
    with pytest.raises(TypeError, match="source must be embeddings where embedding= is arrays"):
        ask(embedding=(pool, pool), source=toy_images(3))
    with pytest.raises(ValueError, match="finite"):
        ask(source=pool * np.nan, embedding="input")
    assert len(ask(embedding=(pool, pool[:2]))) == 1  # a pair: what is labelled is the source


def test_to_core_set_the_source_counts_as_labelled():
    X_pool, source = np.array([[0.0], [4.0], [9.0]]), np.array([[9.5], [8.0]])
    learner = WithSource(source, None, np.array([[0.5]]), ["a"])
    plain = functools.partial(core_set_sampling, embedding=np.asarray)
    assert plain(learner, X_pool).tolist() == [2]
    assert with_source(plain)(learner, X_pool).tolist() == [1]
    learner.source_set = None
    assert with_source(plain)(learner, X_pool).tolist() == [2]


def test_a_table_of_embeddings_has_no_rows_of_the_source():
    class Learner:
        images, pool_ids, annotated_ids = np.zeros((4, 1)), np.arange(3), np.array([3])
        X_training, source_set = np.zeros((1, 1)), np.zeros((2, 1))

    strategy = with_source(functools.partial(discriminative_sampling, embedding=np.eye(4)))
    with pytest.raises(ValueError, match="embedding must be an array with a row for each image"):
        strategy(Learner(), np.zeros((3, 1)))
