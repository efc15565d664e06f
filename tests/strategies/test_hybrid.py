"""alseg.strategies.hybrid and foreground: references, hand-worked picks, chances."""

import functools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from alseg import ActiveLearner
from alseg.strategies import (
    clasp_sampling,
    clue_sampling,
    entropy_score,
    foreground_random,
    foreground_random_sampling,
    least_confidence_score,
    ramp,
    ranked_batch_sampling,
)
from alseg.strategies.foreground import foreground_fraction
from alseg.testing.toys import ToyLearner, ToySegmenter, toy_images


def known(values):
    def score(learner, X_pool):
        return np.asarray(values, float)

    return score


def plain(X):
    return np.asarray(X, float)


# -- CLUE --


def test_clue_takes_the_nearest_to_weighted_centres():
    points = np.array([[0.0], [1.0], [2.0], [50.0], [51.0], [54.0]])
    # centres: (0 + 1 + 8 * 2) / 10 = 1.7 and (50 + 51 + 8 * 54) / 10 = 53.3
    strategy = functools.partial(clue_sampling, embedding=plain)
    picked = strategy(None, points, 2, 0, score=known([1, 1, 8, 1, 1, 8]))
    assert sorted(picked.tolist()) == [2, 5]
    # unweighted they are 1 and 51.67
    picked = strategy(None, points, 2, 0, score=known([0] * 6))
    assert sorted(picked.tolist()) == [1, 4]
    heavy = strategy(None, points, 2, 0, score=known([1, 1, 1, 5, 5, 5]))
    assert heavy[0] in (3, 4, 5)  # the heaviest cluster first


def test_clue_with_fewer_points_than_clusters():
    points = np.zeros((6, 2))
    picked = clue_sampling(None, points, 4, 0, score=known(np.ones(6)), embedding=plain)
    assert len(set(picked.tolist())) == 4
    with pytest.raises(ValueError, match="scores must be >= 0, got -1"):
        clue_sampling(None, points, 1, score=known([-1] * 6), embedding=plain)
    with pytest.raises(ValueError, match="embeddings must be finite"):
        clue_sampling(None, points + np.nan, 1, score=known(np.ones(6)), embedding=plain)


# -- ranked batches --


def test_ranked_batches_equal_modal(rng):
    from modAL.batch import uncertainty_batch_sampling
    from modAL.models import ActiveLearner as ModalLearner

    X = rng.normal(size=(80, 3))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    modal = ModalLearner(LogisticRegression(), X_training=X[:12], y_training=y[:12])
    ours = ActiveLearner(LogisticRegression(), X_training=X[:12], y_training=y[:12])
    score = functools.partial(least_confidence_score, target="label")
    for n in (1, 7, 20):
        expected = uncertainty_batch_sampling(modal, X[12:], n_instances=n)
        found = ranked_batch_sampling(ours, X[12:], n, score=score, embedding="input", scale=False)
        np.testing.assert_array_equal(
            found, np.asarray(expected[0] if isinstance(expected, tuple) else expected)
        )


def test_ranked_batches_by_hand():
    points = np.array([[0.0], [0.1], [10.0]])
    picked = ranked_batch_sampling(
        None, points, 3, score=known([0.9, 0.8, 0.1]), embedding=plain, scale=False
    )
    assert picked.tolist() == [0, 2, 1]  # nothing labelled: doubt first, then distance
    picked = ranked_batch_sampling(None, points * 0, 3, score=known([2, 3, 1]), embedding=plain)
    assert picked.tolist() == [1, 0, 2]  # all in one place: doubt alone


def test_ranked_batches_do_not_depend_on_units(rng):
    points, scores = rng.normal(size=(20, 2)), rng.random(20)
    one = ranked_batch_sampling(None, points, 6, 0, score=known(scores), embedding=plain)
    other = ranked_batch_sampling(
        None, 1000 * points, 6, 0, score=known(0.01 * scores), embedding=plain
    )
    np.testing.assert_array_equal(one, other)


# -- ClaSP --


class ByHand:
    """Two images of 2 x 2: the rare class is in doubt in the second alone."""

    def predict_uncertainty(self, X, method, aggregate):
        maps = np.zeros((4, 2, 2))
        labels = np.zeros((4, 2, 2), int)
        maps[0] = 0.9  # background in doubt
        labels[1, 0, 0], maps[1, 0, 0] = 1, 0.4  # one pixel of class 1
        labels[2, 0], maps[2, 0, 0] = 2, 0.2  # two of class 2, one of them in doubt
        proba = (np.arange(3)[:, None, None] == labels[:, None]).astype(float)
        return np.concatenate(
            [aggregate(maps[i : i + 1], mask_proba=proba[i : i + 1]) for i in range(4)]
        )


def test_clasp_gives_each_class_its_turn():
    X = toy_images(4)
    for seed in range(4):
        picked = clasp_sampling(ByHand(), X, 3, seed, stratified=1, beta=np.inf)
        assert set(picked.tolist()) == {0, 1, 2}  # one for each class, in any order
        assert clasp_sampling(ByHand(), X, 1, seed, stratified=0, beta=np.inf)[0] == 0
        everything = clasp_sampling(ByHand(), X, 4, seed)
        assert sorted(everything) == [0, 1, 2, 3] and everything[3] == 3  # 3 has no doubt at all


def test_clasp_noise_may_decay():
    toy, X = ToySegmenter(), toy_images(12)
    beta = functools.partial(ramp, start=0, stop=1e9, first=0, last=3)
    learner = ToyLearner(toy, X[:3], [0] * 3)
    best = clasp_sampling(learner, X, 1, 0, stratified=0, beta=beta)
    assert best[0] == entropy_score(toy, X).argmax()
    seen = {clasp_sampling(toy, X, 1, s, stratified=0, beta=beta)[0] for s in range(12)}
    assert len(seen) > 3  # nothing labelled: beta is 0
    with pytest.raises(ValueError, match="stratified must be >= 0 and <= 1"):
        clasp_sampling(toy, X, stratified=2)
    with pytest.raises(ValueError, match="method must be one of"):
        clasp_sampling(toy, X, method="entropie")


# -- random where the objects are --


def test_foreground_random_draws_in_proportion():
    fraction = [0.0, 0.1, 0.3]
    first = [
        foreground_random_sampling(None, range(3), 1, seed, source=fraction, share=1)[0]
        for seed in range(2000)
    ]
    np.testing.assert_allclose(np.bincount(first, minlength=3) / 2000, [0, 0.25, 0.75], atol=0.04)
    uniform = [
        foreground_random_sampling(None, range(3), 1, seed, source=fraction, share=0)[0]
        for seed in range(2000)
    ]
    np.testing.assert_allclose(np.bincount(uniform) / 2000, [1 / 3] * 3, atol=0.04)
    none = foreground_random_sampling(None, range(3), 3, 0, source=[0, 0, 0], share=1)
    assert sorted(none) == [0, 1, 2]


def test_share_of_the_guided():
    fraction = np.r_[np.ones(10), np.zeros(90)]
    for seed in range(5):
        picked = foreground_random(fraction, share=0.5)(None, range(100), 12, seed)
        assert (picked[:6] < 10).all() and len(set(picked.tolist())) == 12


def test_foreground_of_predictions():
    toy, X = ToySegmenter(), toy_images(5, ragged=True)
    expected = [1 - p[0].mean() for p in toy.predict_mask_proba(X)]
    np.testing.assert_allclose(foreground_fraction(toy, X, "mask"), expected)
    cams = toy.predict_joint(X)
    winners = cams["proba"].argmax(axis=1)
    chosen = [cam[w] for cam, w in zip(cams["cams"], winners, strict=True)]
    scaled = [(c - c.min()) / (c.max() - c.min()) for c in chosen]
    np.testing.assert_allclose(
        foreground_fraction(toy, X, "cam"), [(s >= 0.5).mean() for s in scaled]
    )


def test_true_fractions_follow_the_learner_s_pool():
    X = toy_images(6)
    masks = [np.zeros((16, 16), int) if i in (0, 3) else None for i in range(6)]
    truth = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    learner = ActiveLearner(
        ToySegmenter(),
        query_strategy=foreground_random(truth, share=1),
        images=X,
        labels=[0] * 6,
        masks=masks,
        random_state=0,
    )
    sample_ids, _ = learner.query(n_instances=1)
    assert sample_ids.tolist() == [5]


def test_bad_foreground():
    X = toy_images(3)
    with pytest.raises(ValueError, match="source must be one number for each of 3 images"):
        foreground_fraction(None, X, [0.1])
    with pytest.raises(ValueError, match="source must be finite and >= 0"):
        foreground_fraction(None, X, [0.1, -1, 0])
    with pytest.raises(ValueError, match="source must be one of"):
        foreground_fraction(ToySegmenter(), X, "cams")
    with pytest.raises(TypeError, match="learner must be with `predict_joint` for source='cam'"):
        foreground_fraction(LogisticRegression(), X)
    with pytest.raises(ValueError, match="share must be"):
        foreground_random(share=2)
