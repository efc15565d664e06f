"""CEAL: counts and groups by hand, defects of the released code, strategy with augmenter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from alseg import ActiveLearner, PseudoLabelAugmenter
from alseg.images import as_images
from alseg.labels import MISSING
from alseg.query.ceal import (
    CEALSchedule,
    ceal_groups,
    doubt,
    group_counts,
    histogram_bins,
    predicted_doubt,
    pseudo_group,
)
from alseg.strategies import ceal_sampling, ceal_score
from alseg.testing.toys import ToySegmenter, toy_images
from alseg.validation import EmptyPool


class Painted:
    """An image says what is predicted: red the foreground, green the variance, in [0, 1]."""

    classes_ = np.array([0, 1])
    threshold_ = 0.5

    def __init__(self, random_state=None):
        self.random_state = random_state
        self.fitted_on = []

    def get_params(self, deep=True):
        return {"random_state": self.random_state}

    def set_params(self, **params):
        vars(self).update(params)
        return self

    def fit(self, X, y, masks=None, mask_weight=None):
        self.masks, self.mask_weight = masks, mask_weight
        return self

    def predict_mask_proba(self, X):
        p = np.stack([np.asarray(X[i])[..., 0] for i in range(len(X))]).astype(float)
        return np.stack([1 - p, p], axis=1)

    def predict_masks(self, X):
        return (self.predict_mask_proba(X)[:, 1] >= 0.5).astype(int)

    def predict_uncertainty(self, X, method, return_maps, n_draws, random_state=None):
        assert method == "mc_variance" and return_maps
        maps = np.stack([np.asarray(X[i])[..., 1] for i in range(len(X))]).astype(float)
        return maps.mean(axis=(1, 2)), maps


def painted(doubts, height=3, width=5, found=True):
    """Images with an object of depth 1, 2, 1 in the middle row, whose doubt is 10 x the given."""
    X = np.zeros((len(doubts), height, width, 3), np.float32)
    if found:
        X[:, 1, 1:4, 0] = 1
    X[:, 1, 2, 1] = doubts
    return X


# -- counts --


def test_published_schedule():
    schedule, labelled, pool = CEALSchedule(), 600, 1000
    table = []
    for iteration in range(1, 11):
        before, labelled = pool, labelled + 35
        assert schedule.iteration(labelled) == iteration
        table.append((labelled, before, schedule.n_pseudo(labelled)))
        pool -= 35
    assert [row[0] for row in table] == [635, 670, 705, 740, 775, 810, 845, 880, 915, 950]
    assert [row[1] for row in table] == [1000, 965, 930, 895, 860, 825, 790, 755, 720, 685]
    assert [row[2] for row in table] == [0, 0, 0, 0, 20, 40, 60, 80, 100, 120]
    assert schedule.iteration(0) == 0 and schedule.n_pseudo(600) == 0
    small = CEALSchedule(n_initial=4, n_per_round=2, start=1, n_first=3, growth=1)
    assert [small.n_pseudo(n) for n in (4, 5, 6, 8, 9)] == [0, 0, 3, 4, 4]
    with pytest.raises(ValueError, match="n_per_round must be >= 1"):
        CEALSchedule(n_per_round=0)
    with pytest.raises(TypeError, match="growth must be an integer"):
        CEALSchedule(growth=1.5)


def test_group_counts():
    np.testing.assert_array_equal(group_counts(35), [10, 15, 10])
    np.testing.assert_array_equal(group_counts(70), [20, 30, 20])
    # 2 of 35: 0.571, 0.857, 0.571; the rest goes to random, then to the most uncertain
    np.testing.assert_array_equal(group_counts(2), [0, 1, 1])
    np.testing.assert_array_equal(group_counts(3), [1, 1, 1])
    np.testing.assert_array_equal(group_counts(4, (0, 0, 1)), [0, 0, 4])
    for groups in ((1, 2), (0, 0, 0), (1, -1, 1), (np.nan, 1, 1)):
        with pytest.raises(ValueError, match="groups must be 3 numbers"):
            group_counts(3, groups)


# -- doubt --


def test_doubt_by_hand():
    inside = np.zeros((5, 7), int)
    inside[1:4, 1:6] = 1
    depth = distance_transform_edt(inside)
    values = np.arange(35.0).reshape(5, 7) / 100
    expected = (values * depth / 2).sum()  # the middle row is 2 deep
    score, empty = doubt([values], [inside], n_draws=20)
    np.testing.assert_allclose(score, expected * 19 / 20 / 35)  # of the population
    assert not empty[0]
    total, _ = doubt([values], [inside], n_draws=20, reduce="sum")
    np.testing.assert_allclose(total, expected * 19 / 20)
    score, empty = doubt([values], [np.zeros((5, 7), int)], n_draws=20)
    assert score[0] == 0 and empty[0]
    score, empty = doubt([values], [np.ones((5, 7), int)], n_draws=20)
    assert score[0] == 0 and not empty[0]  # no contour is not "no detection"
    with pytest.raises(ValueError, match="maps must be of the size of the masks"):
        doubt([values], [inside.T], n_draws=20)


def test_depth_is_that_of_the_deterministic_mask():
    """As released, the transform of the last draw: positive everywhere, a ramp from the corner."""
    values, inside = np.ones((3, 4)), np.zeros((3, 4), int)
    inside[1, 1:3] = 1
    ramp = distance_transform_edt(np.full((3, 4), 0.3))
    assert ramp[0, 0] == 1 and ramp[0, -1] > 3  # no pixel of it is 0
    score, _ = doubt([values], [inside], n_draws=2, reduce="sum")
    np.testing.assert_allclose(score, 2 / 2)


def test_doubt_of_a_pool_is_that_of_its_chunks(rng):
    X = painted(rng.random(9) / 10)
    score, empty = predicted_doubt(Painted(), as_images(X), 20, 0, "sum", chunk=4)
    np.testing.assert_allclose(
        score, X[:, 1, 2, 1] * 19 / 20, rtol=1e-6
    )  # depth 1: T = 1 all along
    assert not empty.any()
    toy, X = ToySegmenter(), toy_images(5, ragged=True)
    once, _ = predicted_doubt(toy, as_images(X), 6, 3, chunk=16)
    np.testing.assert_allclose(predicted_doubt(toy, as_images(X), 6, 3, chunk=2)[0], once)
    with pytest.raises(TypeError, match="estimator must be with `predict_uncertainty`"):
        predicted_doubt(object(), as_images(X))
    with pytest.raises(ValueError, match="n_draws must be >= 2"):
        predicted_doubt(toy, as_images(X), 1)


def test_doubt_falls_with_the_number_of_draws_as_a_population_variance_does():
    foreground = np.array([0.9, 0.5, 0.4, 0.6])
    unbiased = np.full((3, 5), foreground.var(ddof=1))
    score, _ = doubt([unbiased], [painted([1])[0, ..., 0].astype(int)], 4, "sum")
    np.testing.assert_allclose(score, 3 * foreground.var())


# -- groups --


def test_bins():
    bins = histogram_bins(np.array([0.0, 0.1, 0.24, 0.25, 0.99, 1.0]), 4)
    np.testing.assert_array_equal(bins, [0, 0, 0, 1, 3, 3])
    expected, edges = np.histogram(np.arange(81.0), 80)
    np.testing.assert_array_equal(
        np.bincount(histogram_bins(np.arange(81.0)), minlength=80), expected
    )
    np.testing.assert_array_equal(histogram_bins(np.full(3, 7.0)), [0, 0, 0])


def published_pool():
    """80 bins of width 1: 40 in bin 3 (the fullest), one in each of 9..46, and a tail."""
    tail = [75] * 6 + [76] * 4 + [77] * 2 + [78] * 3 + [79] * 5
    bins = np.concatenate([[0] * 5, [3] * 40, np.arange(9, 47), [47, 48], tail])
    scores = bins + 0.5
    scores[0], scores[-1] = 0, 80  # the histogram's edges
    return scores, bins


def test_groups_by_hand():
    scores, bins = published_pool()
    seen = set()
    for seed in range(8):
        none, some, most = ceal_groups(scores, scores == 0, 35, random_state=seed)
        assert [len(g) for g in (none, some, most)] == [10, 15, 10]
        # five in bin 0, among them the empty one first, then five of the next lowest
        assert none[0] == 0 and set(none[:5]) == set(range(5)) and (bins[none[5:]] == 3).all()
        # bins m + 6 = 9 up to 46
        assert (bins[some] >= 9).all() and (bins[some] < 47).all()
        # ascending by count: 77 (2), 78 (3), 76 (4), 79 (5): that is 14, of which 10 are drawn
        assert set(bins[most]) <= {76, 77, 78, 79}
        assert (np.diff(scores[most]) <= 0).all()
        seen |= set(most.tolist())
    assert seen == set(np.flatnonzero(np.isin(bins, [76, 77, 78, 79])))
    # exactly enough in the emptier bins: 2 + 3 + 4 = 9 are all taken
    _, _, most = ceal_groups(scores, scores == 0, 9, groups=(0, 0, 1), random_state=0)
    assert sorted(bins[most]) == [76] * 4 + [77] * 2 + [78] * 3


def test_groups_that_find_too_few():
    # nothing between bins m + 6 and 47, as published an empty range
    scores = np.concatenate([np.full(30, 0.6), [0.0], np.linspace(0.97, 1, 6)])
    none, some, most = ceal_groups(scores, scores == 0, 7, random_state=1)
    assert [len(g) for g in (none, some, most)] == [2, 3, 2]
    assert none[0] == 30 and set(most) <= set(range(31, 37))
    # nothing but one image in the last five bins: the next highest scores follow
    scores = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 1.0])
    _, _, most = ceal_groups(scores, scores == 0, 3, groups=(0, 0, 1), random_state=0)
    np.testing.assert_array_equal(most, [5, 4, 3])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 3.7]), min_size=1, max_size=30),
    st.integers(1, 30),
    st.integers(0, 3),
)
def test_groups_never_overlap_and_are_complete(scores, n_instances, seed):
    scores = np.array(scores)
    n_instances = min(n_instances, len(scores))
    parts = ceal_groups(scores, scores == 0, n_instances, random_state=seed)
    picked = np.concatenate(parts)
    assert len(picked) == n_instances == len(set(picked.tolist()))
    again = ceal_groups(scores, scores == 0, n_instances, random_state=seed)
    np.testing.assert_array_equal(picked, np.concatenate(again))


def test_bad_groups():
    with pytest.raises(EmptyPool):
        ceal_groups([], np.empty(0, bool), 1)
    with pytest.raises(ValueError, match="scores must be finite"):
        ceal_groups([np.nan, 1], np.zeros(2, bool), 1)
    with pytest.raises(ValueError, match=r"empty must be bool of shape \(2,\)"):
        ceal_groups([0, 1], np.zeros(3, bool), 1)
    with pytest.raises(ValueError, match="n_bins must be >= 5"):
        ceal_groups([0, 1], np.zeros(2, bool), 1, n_bins=4)


def test_pseudo_group_is_from_the_fullest_bin_of_the_detected():
    scores, bins = published_pool()
    found = pseudo_group(scores, scores == 0, 20, random_state=0)
    assert len(found) == 20 and (bins[found] == 3).all()
    assert len(pseudo_group(scores, scores == 0, 60, random_state=0)) == 40  # all there are
    assert (found != pseudo_group(scores, scores == 0, 20, random_state=1)).any()
    # the fullest bin of all is that of the missed ones: as published they would be labelled empty
    scores = np.array([0.0] * 9 + [5.0] * 3 + [9.0, 10.0])
    np.testing.assert_array_equal(pseudo_group(scores, scores == 0, 20), [9, 10, 11])
    assert not len(pseudo_group(scores, np.ones(14, bool), 20))
    assert not len(pseudo_group(scores, scores == 0, 0))
    assert not len(pseudo_group([], np.empty(0, bool), 3))


# -- strategy --


def test_strategy_asks_the_groups():
    doubts = np.concatenate([np.full(20, 0.1), np.linspace(0.2, 0.55, 20), [0.9, 0.95, 1.0]])
    X = np.concatenate([painted(np.zeros(4), found=False), painted(doubts)])
    scores = ceal_score(Painted(), X, reduce="sum")
    np.testing.assert_allclose(scores, np.r_[np.zeros(4), doubts] * 19 / 20, rtol=1e-5)
    picked = ceal_sampling(Painted(), X, 7, random_state=0)
    assert (picked[:2] < 4).all()
    assert (picked[2:4] >= 44).all() and scores[picked[2]] >= scores[picked[3]]
    assert ((picked[4:] >= 24) & (picked[4:] < 44)).all()
    different = ceal_sampling(Painted(), X, 7, random_state=1)
    assert (picked != different).any()
    np.testing.assert_array_equal(picked, ceal_sampling(Painted(), X, 7, random_state=0))
    wide = painted([0.1], width=50)  # the sum favours large images, the mean does not
    assert ceal_score(Painted(), wide) < ceal_score(Painted(), X)[4]


def test_doubt_does_not_rank_by_the_size_of_images():
    """The paper has images of one size alone; an archive holds the same lesion at several."""
    small = painted(np.linspace(0.1, 0.5, 6))
    large = small.repeat(4, axis=1).repeat(4, axis=2)

    def scores(**options):
        first = ceal_score(Painted(), large[:3], **options)
        return np.concatenate([first, ceal_score(Painted(), small[3:], **options)])

    assert (np.diff(scores()) > 0).all()
    assert scores(reduce="sum")[2] > scores(reduce="sum")[3]
    # What the augmenter is certain of is judged alike.
    np.testing.assert_allclose(
        predicted_doubt(Painted(), as_images(small))[0], ceal_score(Painted(), small)
    )


def test_strategy_refuses():
    X = painted([0.1, 0.2])
    with pytest.raises(TypeError, match="learner must be with `predict_uncertainty`.*CEAL needs"):
        ceal_sampling(object(), X)
    with pytest.raises(ValueError, match="reduce must be one of"):
        ceal_sampling(Painted(), X, reduce="max")
    with pytest.raises(ValueError, match="n_draws must be >= 2"):
        ceal_sampling(Painted(), X, n_draws=1)


# -- augmenter --

SMALL = {"n_initial": 2, "n_per_round": 2, "start": 2, "n_first": 2, "growth": 2}


def augmented(n_annotated, **options):
    """20 alike in doubt, 4 missed, 6 doubtful; the first `n_annotated` have a mask."""
    doubts = [0.1] * 20 + list(np.linspace(0.4, 1, 6))
    X = np.concatenate(
        [painted(doubts[:20]), painted(np.zeros(4), found=False), painted(doubts[20:])]
    )
    masks = [np.ones((3, 5), int) if i < n_annotated else None for i in range(30)]
    augmenter = PseudoLabelAugmenter("ceal", weight=0.5, schedule=SMALL, random_state=0, **options)
    masks, weight = augmenter.fit(X, None, masks, estimator=Painted()).transform(X)
    return augmenter, X, masks, weight


def test_augmenter_follows_the_schedule():
    for n_annotated, expected in ((2, 0), (4, 0), (5, 0), (6, 2), (8, 4), (10, 6), (19, 1)):
        augmenter, X, masks, weight = augmented(n_annotated)
        assert len(augmenter.selected_) == expected, n_annotated
        assert (weight == 0.5).sum() == expected
    # 19 annotated of the 20 in the fullest bin: one is left, though the schedule has 14


def test_pseudo_masks_belong_to_their_images():
    """As released, positions in the pool index the data set: masks of other images."""
    augmenter, X, masks, weight = augmented(8)
    assert (augmenter.selected_ >= 8).all() and (augmenter.selected_ < 20).all()
    for i in augmenter.selected_:
        np.testing.assert_array_equal(masks[i], X[i, ..., 0] >= 0.5)
    for i in range(8):
        np.testing.assert_array_equal(masks[i], np.ones((3, 5)))
    for i in set(range(8, 30)) - set(augmenter.selected_.tolist()):
        assert masks[i] is None and weight[i] == 1
    assert not set(augmenter.selected_) & set(range(20, 24))  # nothing was found in those


def test_sampled_labels_are_soft_on_average():
    X = np.full((1, 60, 60, 3), 0.3, np.float32)
    augmenter = PseudoLabelAugmenter("all", labels="sampled", random_state=0)
    one, _ = augmenter.fit(X, None, [None], estimator=Painted()).transform(X)
    assert abs(one[0].mean() - 0.3) < 0.03 and set(np.unique(one[0])) == {0, 1}
    again, _ = augmenter.fit(X, None, [None], estimator=Painted()).transform(X)
    np.testing.assert_array_equal(one[0], again[0])
    other = augmenter.set_params(random_state=1).fit(X, None, [None], estimator=Painted())
    assert (other.transform(X)[0][0] != one[0]).any()

    class Three:
        def predict_mask_proba(self, X):
            return np.full((1, 3, 60, 60), 1.0) * np.array([0.2, 0.3, 0.5])[:, None, None]

    three, _ = augmenter.fit(X, None, [None], estimator=Three()).transform(X)
    counts = np.bincount(three[0].ravel(), minlength=3) / 3600
    np.testing.assert_allclose(counts, [0.2, 0.3, 0.5], atol=0.03)
    hard, _ = (
        augmenter.set_params(labels="hard").fit(X, None, [None], estimator=Painted()).transform(X)
    )
    assert (hard[0] == 0).all()


def test_weighted_labels_by_hand():
    p = np.array([[0.9, 0.5], [0.3, 0.4]])  # of foreground; the threshold is 0.35
    X = np.repeat(p[None, ..., None], 3, axis=-1)
    partly = np.array([[MISSING, 1], [MISSING, MISSING]])
    augmenter = PseudoLabelAugmenter("all", labels="weighted", weight=0.5, threshold=0.35)
    for known, mask, weight in [
        (None, [[1, MISSING], [0, MISSING]], [[0.4, 1], [0.2, 1]]),
        (partly, [[1, 1], [0, MISSING]], [[0.4, 1], [0.2, 1]]),
    ]:
        # 0.5 has no lead, and 0.4, foreground by the threshold, is behind.
        masks, found = augmenter.fit(X, None, [known], estimator=Painted()).transform(X)
        np.testing.assert_array_equal(masks[0], mask)
        np.testing.assert_allclose(found[0], weight, rtol=1e-6)
    undecided = np.full_like(X, 0.5)
    masks, found = augmenter.fit(undecided, None, [None], estimator=Painted()).transform(undecided)
    assert masks[0] is None and augmenter.selected_.tolist() == [] and found.tolist() == [1]

    class Three:
        def predict_mask_proba(self, X):
            return np.array([0.2, 0.3, 0.5]).reshape(1, 3, 1, 1)

    augmenter = PseudoLabelAugmenter("all", labels="weighted", weight=1, sure=0.4)
    masks, found = augmenter.fit(X[:, :1, :1], None, [None], estimator=Three()).transform(
        X[:, :1, :1]
    )
    assert masks.tolist() == [[[2]]] and found.item() == pytest.approx(0.2)


def test_weighted_labels_are_soft_labels_without_the_pull_to_one_half():
    import torch

    from alseg.training.losses import mask_loss

    rng = np.random.default_rng(0)
    X = np.repeat(rng.random((1, 6, 5, 1)), 3, axis=-1)
    augmenter = PseudoLabelAugmenter("all", labels="weighted", weight=1)
    masks, weight = augmenter.fit(X, None, [None], estimator=Painted()).transform(X)
    logits = torch.tensor(rng.normal(size=(1, 2, 6, 5)))
    found, _ = mask_loss(
        logits, torch.tensor(masks).long(), torch.tensor(weight).double(), dice_scale=0
    )
    p, log_q = X[0, ..., 0], logits.log_softmax(1)[0].numpy()
    soft = -(1 - p) * log_q[0] - p * log_q[1]
    pull = -(2 - 2 * np.maximum(p, 1 - p)) * log_q.mean(axis=0)
    assert found.item() == pytest.approx((soft - pull).mean(), rel=1e-5)


def test_bad_settings():
    X = painted([0.1])

    def fit(**options):
        PseudoLabelAugmenter("ceal", **options).fit(X, None, [None], estimator=Painted())

    with pytest.raises(ValueError, match="schedule must be .*'n_frist'.*Did you mean 'n_first'"):
        fit(schedule={"n_frist": 3})
    with pytest.raises(TypeError, match="schedule must be None, a CEALSchedule or a dict"):
        fit(schedule=3)
    with pytest.raises(ValueError, match="labels must be one of"):
        fit(labels="softened")
    with pytest.raises(ValueError, match="sure must be None with labels='sampled'"):
        fit(labels="sampled", sure=0.9)
    with pytest.raises(ValueError, match="n_draws must be >= 2"):
        fit(n_draws=1)
    with pytest.raises(TypeError, match="estimator must be with `predict_uncertainty`"):
        PseudoLabelAugmenter("ceal", schedule={"n_initial": 0, "start": 0}).fit(
            X, None, [None], estimator=type("M", (), {"predict_mask_proba": len})()
        )


def test_strategy_and_augmenter_in_the_loop():
    """Three rounds: counts of the schedule, no image asked twice, a pseudo-labelled one may be."""
    doubts = np.concatenate([np.full(20, 0.1), np.linspace(0.2, 1, 20)])
    X = np.concatenate([painted(doubts), painted(np.zeros(4), found=False)])
    masks = [np.ones((3, 5), int) if i < 2 else None for i in range(44)]
    learner = ActiveLearner(
        Painted(),
        query_strategy=ceal_sampling,
        augmenter=PseudoLabelAugmenter("ceal", weight=1, schedule=SMALL | {"n_per_round": 7}),
        images=X,
        labels=np.zeros(44, int),
        masks=masks,
        random_state=0,
    )
    asked, pseudo = set(range(2)), []
    for _ in range(4):
        sample_ids, _ = learner.query(n_instances=7)
        assert not asked & set(sample_ids.tolist())
        asked |= set(sample_ids.tolist())
        learner.annotate(sample_ids, np.ones((7, 3, 5), int))
        chosen = learner.augmenter.selected_
        pseudo.append(len(chosen))
        assert not asked & set(chosen.tolist())
        trained = [i for i, mask in enumerate(learner.estimator.masks) if mask is not None]
        assert set(trained) == asked | set(chosen.tolist())
    assert pseudo == [0, 2, 4, 6]
