"""alseg.query.diversity.determinantal and cluster gaps: determinants and distances, brute force."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from alseg.query.diversity import cluster_gaps, dpp_picks
from alseg.strategies import dpp_sampling
from alseg.validation import EmptyPool


def brute_picks(X, n, quality):
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    L = (unit @ unit.T) * np.outer(quality, quality)
    picks = []
    for _ in range(n):
        rest = [i for i in range(len(X)) if i not in picks]
        dets = [np.linalg.det(L[np.ix_([*picks, i], [*picks, i])]) for i in rest]
        picks.append(rest[int(np.argmax(dets))])
    return picks


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_each_pick_raises_the_determinant_most(seed):
    rng = np.random.default_rng(seed)
    X, quality = rng.normal(size=(12, 9)), rng.uniform(0.5, 1.5, 12)
    assert dpp_picks(X, 7, quality).tolist() == brute_picks(X, 7, quality)


def test_blocks_types_and_memory_maps(tmp_path, rng, monkeypatch):
    from alseg.query.diversity import determinantal

    X, quality = rng.normal(size=(50, 6)), rng.random(50)
    expected = dpp_picks(X, 5, quality)
    monkeypatch.setattr(determinantal, "block_rows", lambda n_columns, dtype: 7)
    np.save(tmp_path / "x.npy", X)
    kinds = [np.load(tmp_path / "x.npy", mmap_mode="r"), X.tolist(), X.astype(np.float32)]
    for kind in kinds:
        np.testing.assert_array_equal(dpp_picks(kind, 5, quality), expected)
    np.testing.assert_array_equal(dpp_picks(3 * X, 5, 2 * quality), expected)  # no units


def test_when_the_space_is_spanned_it_begins_again():
    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0]])
    picks = dpp_picks(X, 4, [4, 3, 2, 1])
    assert picks[:2].tolist() == [0, 1] and sorted(picks[2:].tolist()) == [2, 3]
    zero = dpp_picks(np.zeros((3, 2)), 3, [1, 3, 2])
    assert zero.tolist() == [1, 2, 0]  # all alike: by quality
    mixed = dpp_picks(np.array([[0.0, 0.0], [5.0, 0.0], [4.0, 0.1]]), 2, [1, 1, 0.9])
    assert set(mixed.tolist()) == {0, 1}  # a zero row is unlike all others


def test_ties_are_broken_by_seed():
    X = np.eye(6)
    firsts = {int(dpp_picks(X, 1, random_state=seed)[0]) for seed in range(30)}
    assert firsts == set(range(6))
    for seed in range(3):
        assert sorted(dpp_picks(X, 6, np.zeros(6), seed).tolist()) == list(range(6))


def test_quality_against_likeness():
    X = np.array([[1.0, 0.0], [1.0, 0.2], [0.0, 1.0]])
    ask = functools.partial(
        dpp_sampling, None, X, 2, 0, score=lambda learner, X: [1.0, 0.95, 0.1], embedding="input"
    )
    assert ask().tolist() == [0, 1]  # 0.1 is too bad to be asked: 0.95 * sin(11 degrees) is more
    assert ask(power=0.5).tolist() == [0, 2]
    assert 2 in ask(power=0).tolist()


def test_what_is_refused():
    with pytest.raises(EmptyPool):
        dpp_picks(np.empty((0, 2)), 1)
    with pytest.raises(ValueError, match="X must be finite"):
        dpp_picks([[np.nan, 1.0]], 1)
    for quality in ([1.0], [-1.0, 1.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="weights must be"):
            dpp_picks(np.eye(2), 1, quality)
    with pytest.raises(ValueError, match="power must be >= 0"):
        dpp_sampling(None, np.eye(2), score=lambda learner, X: [1, 1], power=-1, embedding="input")


# -- the gap between the two nearest clusters --


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_gaps_equal_distances_to_the_centres(rng, metric):
    centres = np.array([[9.0, 0, 0], [0, 9, 0], [0, 0, 9]])
    X = np.concatenate([c + 0.3 * rng.normal(size=(20, 3)) for c in centres])
    X, labelled = X[:-6], X[-6:]
    found = cluster_gaps(X, 3, labelled, metric, random_state=0)
    both = np.concatenate([X, labelled])
    if metric == "cosine":
        both = both / np.linalg.norm(both, axis=1, keepdims=True)
    model = KMeans(3, n_init=5, random_state=0).fit(both)
    away = np.sort(np.linalg.norm(both[: len(X), None] - model.cluster_centers_, axis=2), axis=1)
    away = away**2 / 2 if metric == "cosine" else away
    np.testing.assert_allclose(found, away[:, 1] - away[:, 0], rtol=1e-6)


def test_gaps_of_few_points():
    assert cluster_gaps([[1.0], [2.0]], 1).tolist() == [0, 0]
    assert cluster_gaps([[1.0], [1.0]], 5, random_state=0).tolist() == [0, 0]  # one place
    np.testing.assert_allclose(cluster_gaps([[0.0], [3.0], [10.0]], 100, random_state=0), [3, 3, 7])
    with pytest.raises(ValueError, match="n_clusters must be >= 1"):
        cluster_gaps([[1.0]], 0)
