"""alseg.query.selection: ranking, ties by seed, classes sharing alike."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg.query.selection import class_balanced_top_n, class_quotas, top_n
from alseg.validation import EmptyPool

pools = st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc")), min_size=1, max_size=25)


@settings(deadline=None, max_examples=40)
@given(pools, st.integers(0, 100), st.data())
def test_top_n_is_the_head_of_a_sort(pool, seed, data):
    scores = np.array([s for s, _ in pool], dtype=float)
    n = data.draw(st.integers(1, len(pool)))
    picked = top_n(scores, n, seed)
    assert picked.dtype.kind == "i" and len(set(picked.tolist())) == n
    np.testing.assert_array_equal(scores[picked], np.sort(scores)[::-1][:n])
    np.testing.assert_array_equal(picked, top_n(scores, n, seed))
    np.testing.assert_array_equal(picked, top_n(scores, len(pool), seed)[:n])


def test_ties_are_broken_by_seed_and_evenly():
    counts = np.bincount([top_n(np.zeros(5), 1, seed)[0] for seed in range(500)], minlength=5)
    assert counts.min() > 60
    before = np.random.get_state()[1].copy()
    top_n(np.zeros(5), 2)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_kinds_of_scores():
    assert top_n(torch.tensor([0.1, 0.3, 0.2]), 2).tolist() == [1, 2]
    assert top_n([1, 3, 2], 3).tolist() == [1, 2, 0]
    assert top_n(np.array([True, False]), 1).tolist() == [0]
    assert top_n([1.0], np.int64(1), np.random.RandomState(0)).tolist() == [0]


@pytest.mark.parametrize("select", [top_n, lambda s, n: class_balanced_top_n(s, [0] * len(s), n)])
def test_errors(select):
    found = "2 non-finite of 3.*position 0"
    with pytest.raises(ValueError, match=f"scores must be finite, got {found}"):
        select([np.nan, 1.0, np.inf], 1)
    with pytest.raises(EmptyPool, match="The pool is empty"):
        select([], 1)
    for n in (0, -1, 4):
        with pytest.raises(ValueError, match=rf"n_instances must be in \[1, 3\].*got {n}"):
            select([1.0, 2.0, 3.0], n)
    for n in (1.0, "1", None, True):
        with pytest.raises(TypeError, match="n_instances must be an integer"):
            select([1.0, 2.0, 3.0], n)
    with pytest.raises(ValueError, match=r"scores must be of shape \(n_samples,\)"):
        select(np.ones((3, 2)), 1)
    with pytest.raises(TypeError, match="scores must be numbers"):
        select(["a", "b"], 1)


def test_random_state_must_be_one():
    with pytest.raises(TypeError, match="random_state must be None, an int"):
        top_n([1.0], 1, "seed")


def test_y_pool_errors():
    for y_pool in (None, [0, 1], [[0], [1], [0]]):
        with pytest.raises(ValueError, match=r"y_pool must be labels of shape \(3,\)"):
            class_balanced_top_n([1.0, 2.0, 3.0], y_pool, 1)
    with pytest.raises(ValueError, match=r"y_pool must be labels of shape \(2,\)"):
        class_quotas([[0], [1]], 1)


def test_the_published_rule():
    """GlaS: 4 of each of two classes at first, then 1 of each (METHODS 1.9)."""
    y_pool = np.array(["benign"] * 29 + ["malignant"] * 38)
    scores = np.r_[np.linspace(2, 3, 29), np.linspace(0, 1, 38)]
    picked = class_balanced_top_n(scores, y_pool, 8)
    assert sorted(picked.tolist()) == [25, 26, 27, 28, 63, 64, 65, 66]
    assert picked[:2].tolist() == [28, 66]  # a turn: both classes, the better score first
    assert class_balanced_top_n(scores, y_pool, 2).tolist() == [28, 66]
    assert class_quotas(y_pool, 8)[1].tolist() == [4, 4]
    assert class_quotas(y_pool, 67)[1].tolist() == [29, 38]


def test_classes_that_run_out_are_skipped():
    y_pool = np.array([0, 1, 1, 1, 1, 2])
    picked = class_balanced_top_n([6.0, 5, 4, 3, 2, 1], y_pool, 5)
    assert picked.tolist() == [0, 1, 5, 2, 3]
    assert class_quotas(y_pool, 5)[1].tolist() == [1, 3, 1]


@settings(deadline=None, max_examples=40)
@given(pools, st.integers(0, 100), st.data())
def test_balance(pool, seed, data):
    scores = np.array([s for s, _ in pool], dtype=float)
    y_pool = np.array([y for _, y in pool])
    n = data.draw(st.integers(1, len(pool)))
    picked = class_balanced_top_n(scores, y_pool, n, seed)
    classes, quotas = class_quotas(y_pool, n, seed)
    assert len(set(picked.tolist())) == n == quotas.sum()
    sizes = np.array([(y_pool == c).sum() for c in classes])
    for counts in (np.array([(y_pool[picked] == c).sum() for c in classes]), quotas):
        assert (counts <= sizes).all()
        assert (counts >= np.minimum(sizes, n // len(classes))).all()
        open_ = counts < sizes  # those with images left are within one of the largest
        if open_.any():
            assert counts.max() - counts[open_].min() <= 1
    for c in classes:  # the best of each class, in order
        mine = scores[picked[y_pool[picked] == c]]
        np.testing.assert_array_equal(mine, np.sort(scores[y_pool == c])[::-1][: len(mine)])
    np.testing.assert_array_equal(picked, class_balanced_top_n(scores, y_pool, n, seed))
    np.testing.assert_array_equal(picked, class_balanced_top_n(scores, y_pool, len(pool), seed)[:n])


def test_the_remainder_goes_to_random_classes():
    given_to = [class_quotas([0, 1, 2], 1, seed)[1].argmax() for seed in range(60)]
    assert set(given_to) == {0, 1, 2}
