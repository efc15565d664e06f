"""No image a second time before all have a first: images that have marks, and parts of images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg import ActiveLearner, JointCAMSegmenter
from alseg.datasets import make_glands
from alseg.labels import MISSING
from alseg.oracles import MaskOracle, PointOracle
from alseg.query import pick_regions
from alseg.strategies import (
    by_region,
    class_balanced,
    core_set_sampling,
    entropy_sampling,
    entropy_score,
    pixelpick_sampling,
    ripu_sampling,
    spread_over_groups,
    spread_over_images,
    within_seconds,
    without_near_duplicates,
)
from alseg.testing import ToySegmenter, toy_images


def score_of(values):
    return lambda learner, X_pool: np.asarray(values, dtype=float)[np.asarray(X_pool)]


def marks(*marked):
    """A mask of each image, with a pixel of class 1 where it is said to be marked."""
    masks = np.full((len(marked), 1, 2), MISSING)
    masks[np.flatnonzero(marked), 0, 0] = 1
    return list(masks)


# ---- images ------------------------------------------------------------------------------------


def test_images_without_a_mark_come_first_each_in_the_order_of_the_score():
    ask = spread_over_images(score_of([0.9, 0.1, 0.8, 0.3, 0.5]))
    masks = marks(1, 0, 1, 0, 0)
    asked = [ask(None, np.arange(5), n, masks_pool=masks).tolist() for n in (1, 3, 5)]
    assert asked == [[4], [4, 3, 1], [4, 3, 1, 0, 2]]


def test_without_marks_and_with_marks_everywhere_it_is_the_strategy():
    ask, X = spread_over_images(entropy_sampling), toy_images(6)
    plain = entropy_sampling(ToySegmenter(), X, 4, 0)
    for masks in (None, [None] * 6, marks(*[1] * 6)):
        np.testing.assert_array_equal(ask(ToySegmenter(), X, 4, 0, masks_pool=masks), plain)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.data())
@settings(deadline=None, max_examples=40)
def test_no_image_with_a_mark_is_asked_while_one_without_is_left(marked, data):
    n = data.draw(st.integers(1, len(marked)))
    scores = data.draw(st.permutations(range(len(marked))))
    found = spread_over_images(score_of(scores))(
        None, np.arange(len(marked)), n, masks_pool=marks(*marked)
    )
    assert len(set(found.tolist())) == n
    asked = np.array(marked)[found]
    assert (np.diff(asked.astype(int)) >= 0).all()
    assert not asked[: marked.count(False)].any()


@pytest.mark.parametrize(
    "strategy",
    [
        spread_over_images(core_set_sampling),
        spread_over_images(class_balanced(entropy_score)),
        class_balanced(spread_over_images(entropy_score)),
        spread_over_groups(spread_over_images(entropy_score)),
        within_seconds(spread_over_images(entropy_score), 3600),
        within_seconds(spread_over_images(class_balanced(entropy_sampling)), 0),
        without_near_duplicates(spread_over_images(entropy_sampling)),
    ],
    ids=lambda strategy: strategy.__name__,
)
def test_it_goes_with_other_wrappers(strategy):
    X, labels = toy_images(8), np.array(["a", "b"] * 4)
    options = {"y_pool": labels, "groups_pool": labels, "masks_pool": marks(*[1, 1, 0, 0] * 2)}
    taken = {name: options[name] for name in options if name in _names(strategy)}
    found = strategy(ToySegmenter(), X, 2, random_state=0, **taken)
    assert set(found.tolist()) <= {2, 3, 6, 7}


def _names(strategy):
    from alseg.calling import argument_names

    return argument_names(strategy)


# ---- parts of images ---------------------------------------------------------------------------


def naive(maps, known, n):
    """Pixels one after another: of the images with the fewest the largest value."""
    open_, counts, picked = [~k for k in known], [int(k.sum()) for k in known], []
    while len(picked) < n:
        left = [i for i in range(len(maps)) if open_[i].any()]
        fewest = [i for i in left if counts[i] == min(counts[j] for j in left)]
        best = max(fewest, key=lambda i: np.where(open_[i], maps[i], -1).max())
        at = int(np.where(open_[best], maps[best], -1).argmax())
        picked.append((best, at))
        open_[best].flat[at] = False
        counts[best] += 1
    return picked


@given(st.integers(1, 5), st.integers(0, 2**32 - 1), st.floats(0, 0.9))
@settings(deadline=None, max_examples=60)
def test_parts_are_those_of_one_pick_after_another(n_images, seed, share):
    rng = np.random.default_rng(seed)
    maps = rng.permutation(n_images * 12).reshape(n_images, 3, 4) / 100
    known = list(rng.random(maps.shape) < share)
    n_open = sum(int((~k).sum()) for k in known)
    if n_open == 0:
        return
    n = int(rng.integers(1, n_open + 1))
    regions = pick_regions(maps, n, "pixel", known=known, spread=True)
    found = [(int(i), int(pixels[0])) for i, pixels in regions]
    assert set(found) == set(naive(maps, known, n))


def test_a_long_pool_is_spread_as_a_short_one():
    # more than are held at once: what comes late is pruned by its turn
    rng = np.random.default_rng(0)
    maps = rng.random((60, 10, 12))
    regions = pick_regions(maps, 90, "pixel", spread=True)
    counts = np.bincount(regions.ids, minlength=60)
    assert counts.tolist().count(1) == 30 and counts.tolist().count(2) == 30
    assert set(regions.ids[:60].tolist()) == set(range(60))
    second = np.sort(maps.reshape(60, -1), axis=1)[:, -2]
    assert set(regions.ids[60:].tolist()) == set(np.argsort(-second)[:30].tolist())


def test_what_is_annotated_counts_as_parts():
    maps = np.ones((2, 4, 8))
    maps[0] = 2.0  # the first image is better everywhere, but a tile and a pixel of it are known
    known = np.zeros(maps.shape, bool)
    known[0, :, :4] = True
    known[0, 0, 4] = True
    assert pick_regions(maps, 2, "patch", 4, known=known).ids.tolist() == [0, 1]
    assert pick_regions(maps, 2, "patch", 4, known=known, spread=True).ids.tolist() == [1, 1]


@pytest.mark.parametrize(
    "strategy",
    [
        by_region(entropy_score, size=5),
        by_region(None, "superpixel", size=4),
        by_region(entropy_score, size=5, sliding=True),
        by_region(entropy_score, "pixel", spread=True),
        pixelpick_sampling,
        ripu_sampling,
    ],
)
def test_strategies_of_parts_are_spread(strategy):
    ask, X = spread_over_images(strategy), toy_images(5)
    regions = ask(ToySegmenter(), X, 7, 0)
    assert set(regions.ids[:5].tolist()) == set(range(5))
    assert sorted(np.bincount(regions.ids)) == [1, 1, 1, 2, 2]
    again = ask(ToySegmenter(), X, 2, 0, masks_pool=_answered(regions.take(slice(3))))
    assert set(again.ids.tolist()) == set(range(5)) - set(regions.ids[:3].tolist())


def _answered(regions):
    masks = [None] * 5
    for i in regions.sample_ids:
        masks[i] = np.where(regions.mask(i), 0, MISSING)
    return masks


def test_a_strategy_of_parts_that_cannot_be_spread_is_refused():
    def parts(learner, X_pool, n_instances=1, unit="patch"):
        raise AssertionError

    for bad in (parts, by_region(entropy_score, spread=False)):
        with pytest.raises(TypeError, match="score must be one of images, or one of parts .*by_re"):
            spread_over_images(bad)
    with pytest.raises(TypeError, match="score must be a score or a strategy"):
        spread_over_images(3)
    with pytest.raises(TypeError, match="spread must be True or False, got 2"):
        pick_regions(np.ones((1, 2, 2)), 1, "pixel", spread=2)


# ---- in a learner ------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy, oracle", [(entropy_sampling, PointOracle)])
def test_a_learner_gives_all_images_points_before_one_has_them_twice(strategy, oracle):
    glands = make_glands(6, image_size=(32, 48), random_state=0)
    learner = ActiveLearner(
        JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0),
        spread_over_images(strategy),
        images=glands.images,
        labels=glands.labels,
        random_state=0,
    )
    expert, asked = oracle(glands.masks, n_points=5, random_state=0), []
    for _ in range(3):
        ids, _ = learner.query(n_instances=2)
        learner.annotate(ids, expert(ids))
        asked += ids.tolist()
    assert sorted(asked) == list(range(6))


def test_a_learner_spreads_parts_over_rounds():
    glands = make_glands(4, image_size=(32, 48), random_state=0)
    learner = ActiveLearner(
        JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0),
        spread_over_images(by_region(entropy_score, size=16)),
        images=glands.images,
        labels=glands.labels,
        random_state=0,
    )
    expert, asked = MaskOracle(glands.masks), []
    for _ in range(3):
        regions, _ = learner.query(n_instances=2)
        learner.annotate(regions, expert(regions))
        asked += regions.ids.tolist()
    assert sorted(asked[:4]) == [0, 1, 2, 3] and len(set(asked[4:])) == 2
