"""Questions spread over groups: at most so many of one, those asked about least first."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from alseg import ActiveLearner, JointCAMSegmenter
from alseg.datasets import make_glands
from alseg.query import Regions
from alseg.strategies import (
    by_region,
    class_balanced,
    core_set_sampling,
    entropy_sampling,
    entropy_score,
    mixture,
    spread_over_groups,
    spread_over_groups_sampling,
    within_seconds,
    without_near_duplicates,
)
from alseg.testing import ToySegmenter, toy_images


class Knows:
    """A learner that has asked before."""

    def __init__(self, groups, annotated_ids):
        self.groups, self.annotated_ids = np.array(groups), np.array(annotated_ids, dtype=int)


def score_of(values):
    return lambda learner, X_pool: np.asarray(values, dtype=float)[np.asarray(X_pool)]


def ask(values, groups, n, learner=None, **options):
    return spread_over_groups_sampling(
        learner, np.arange(len(values)), n, 0, score=score_of(values), groups_pool=groups, **options
    ).tolist()


def test_an_example_by_hand():
    #          0    1    2    3    4    5
    scores = [0.9, 0.8, 0.3, 0.7, 0.1, 0.6]
    groups = ["p", "p", "q", "q", "r", "p"]
    # the best of p, q and r; then, with two of each, again p (1), q (2), and r has none left
    assert ask(scores, groups, 3) == [0, 3, 4]
    assert ask(scores, groups, 5, per_group=2) == [0, 3, 4, 1, 2]
    assert ask(scores, groups, 6, per_group=None) == [0, 3, 4, 1, 2, 5]
    # of p two images are annotated, of q one: r, then q, then (r is at its limit) p
    learner = Knows(["p", "p", "q", "x", *groups], [0, 1, 2])
    assert ask(scores, groups, 1, learner) == [4]
    assert ask(scores, groups, 3, learner) == [4, 3, 0]
    # r was asked (1), q has 1: equally often, so the larger score of q comes next, then q again (2)
    assert ask(scores, groups, 3, learner, per_group=2) == [4, 3, 0]


def test_the_limit_is_exceeded_only_where_it_must_and_says_so():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ask([0.1, 0.2, 0.3], ["p", "p", "q"], 2) == [2, 1]
    with pytest.warns(UserWarning, match="3 are asked for, but the pool has 2 groups, and per_gr"):
        assert ask([0.1, 0.2, 0.3], ["p", "p", "q"], 3) == [2, 1, 0]


def naive(scores, groups, n, known, per_group):
    """One pick after another, as the definition says it."""
    picked = []
    while len(picked) < n:
        left = [i for i in range(len(scores)) if i not in picked]
        of = [groups[i] for i in picked]
        allowed = [i for i in left if per_group is None or of.count(groups[i]) < per_group]
        if not allowed:
            per_group, allowed = None, left
        used = {g: known.count(g) + of.count(g) for g in set(groups)}
        least = min(used[groups[i]] for i in allowed)
        best = [i for i in allowed if used[groups[i]] == least]
        picked.append(max(best, key=lambda i: scores[i]))
    return picked


@settings(deadline=None, max_examples=150)
@given(
    data=st.data(),
    groups=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    known=st.lists(st.integers(0, 6), max_size=8),
    per_group=st.sampled_from([None, 1, 2, 3]),
)
@pytest.mark.filterwarnings("ignore:.*are asked for")
def test_it_is_the_greedy_rule_and_its_bounds_hold(data, groups, known, per_group):
    n_pool = len(groups)
    scores = data.draw(st.permutations(range(n_pool)))
    n = data.draw(st.integers(1, n_pool))
    learner = Knows([*groups, *known], range(n_pool, n_pool + len(known)))
    found = ask(scores, groups, n, learner, per_group=per_group)
    assert found == naive(scores, groups, n, known, per_group)
    assert found == ask(scores, groups, n_pool, learner, per_group=per_group)[:n]  # a beginning
    counts = np.unique([groups[i] for i in found], return_counts=True)[1]
    if per_group is not None and n <= sum(min(groups.count(g), per_group) for g in set(groups)):
        assert counts.max() <= per_group


def test_a_strategy_is_asked_as_the_score_that_it_takes():
    X, groups = toy_images(12), np.arange(12) % 4
    both = [
        spread_over_groups(one, per_group=2)(ToySegmenter(), X, 6, 0, groups_pool=groups).tolist()
        for one in (entropy_sampling, entropy_score)
    ]
    assert both[0] == both[1]


def test_a_strategy_without_a_score_is_asked_about_what_is_left():
    calls = []

    def first_of(learner, X_pool, n_instances=1, random_state=None, y_pool=None):
        calls.append((list(X_pool), n_instances, list(y_pool)))
        return np.arange(n_instances)

    groups = ["p", "p", "q", "q", "r"]
    found = spread_over_groups_sampling(
        None, np.arange(5), 3, score=first_of, groups_pool=groups, y_pool=np.array(list("abcde"))
    )
    # asked for one of each of three groups it gives 0, 1, 2: 1 is of p again, so r comes by itself
    assert found.tolist() == [0, 2, 4]
    assert calls == [([0, 1, 2, 3, 4], 3, list("abcde")), ([4], 1, ["e"])]


@pytest.mark.parametrize(
    "inner",
    [
        core_set_sampling,
        class_balanced(entropy_score),
        class_balanced(core_set_sampling),
        mixture([entropy_sampling, core_set_sampling]),
        without_near_duplicates(entropy_sampling),
    ],
)
def test_it_goes_around_other_wrappers(inner):
    X, groups, labels = toy_images(12), np.arange(12) // 3, np.array(["a", "b"] * 6)
    strategy = spread_over_groups(inner)
    found = strategy(ToySegmenter(), X, 4, 0, groups_pool=groups, y_pool=labels)
    assert sorted(groups[found]) == [0, 1, 2, 3]
    again = strategy(ToySegmenter(), X, 4, 0, groups_pool=groups, y_pool=labels)
    np.testing.assert_array_equal(found, again)


def test_class_balance_around_it_spreads_the_questions_of_each_class():
    X, groups, labels = toy_images(12), np.arange(12) // 3, np.array(["a", "b"] * 6)
    strategy = class_balanced(spread_over_groups(entropy_score))
    found = strategy(ToySegmenter(), X, 6, random_state=0, groups_pool=groups, y_pool=labels)
    for label in "ab":
        mine = found[labels[found] == label]
        assert len(mine) == len(set(groups[mine])) == 3


@pytest.mark.parametrize("around", [within_seconds, without_near_duplicates])
def test_two_wrappers_go_around_it(around):
    X, groups = toy_images(12), np.arange(12) // 3
    inner = spread_over_groups(entropy_score)
    options = {"seconds": 3600} if around is within_seconds else {}
    found = around(inner, **options)(ToySegmenter(), X, 4, random_state=0, groups_pool=groups)
    assert sorted(groups[found]) == [0, 1, 2, 3]
    if around is within_seconds:
        short = within_seconds(inner, 0)(ToySegmenter(), X, 2, random_state=0, groups_pool=groups)
        assert len(set(groups[short])) == len(short) == 2


def test_parts_of_images_are_spread_too():
    X, groups = toy_images(8), np.arange(8) // 2
    strategy = spread_over_groups(by_region(entropy_score, size=5, per_image=3))
    regions = strategy(ToySegmenter(), X, 4, 0, groups_pool=groups)
    assert isinstance(regions, Regions) and len(regions) == 4
    assert sorted(groups[regions.ids]) == [0, 1, 2, 3]
    with pytest.warns(UserWarning, match="more of some groups"):
        more = strategy(ToySegmenter(), X, 8, 0, groups_pool=groups)
    assert sorted(more.ids.tolist()) == list(range(8))
    with pytest.raises(ValueError):
        strategy(ToySegmenter(), X, 9, 0, groups_pool=groups)


@pytest.mark.parametrize(
    "options, error, rule",
    [
        ({"groups_pool": None}, ValueError, r"shape \(3,\), got None. ActiveLearner\(groups"),
        ({"groups_pool": [1, 2]}, ValueError, r"groups_pool must be groups of shape \(3,\)"),
        ({"per_group": 0}, ValueError, "per_group must be"),
        ({"per_group": 1.5}, (TypeError, ValueError), "per_group must be"),
        ({"score": 3}, TypeError, "score must be a score or a strategy"),
        ({"n_instances": 4}, ValueError, "n_instances"),
        ({"score": lambda learner, X: [np.nan] * 3}, ValueError, "NaN|nan|finite"),
    ],
)
def test_what_is_refused(options, error, rule):
    given_ = {"n_instances": 1, "groups_pool": [1, 1, 2], "score": score_of([1, 2, 3]), **options}
    with pytest.raises(error, match=rule):
        spread_over_groups_sampling(None, np.arange(3), **given_)


# ---- in a learner ------------------------------------------------------------------------------

GLANDS = make_glands(8, image_size=(32, 48), random_state=0)
PATIENTS = np.array(["p", "p", "p", "p", "q", "q", "r", "r"])


def learner(**options):
    model = JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0)
    options = {"groups": PATIENTS, **options}
    return ActiveLearner(
        model,
        spread_over_groups(entropy_score),
        images=GLANDS.images,
        labels=GLANDS.labels,
        random_state=0,
        **options,
    )


def test_a_learner_asks_about_patients_that_it_knows_least(tmp_path):
    one = learner()
    ids, _ = one.query(n_instances=3)
    assert sorted(PATIENTS[ids]) == ["p", "q", "r"]
    one.annotate(ids[:2], GLANDS.masks[ids[:2]])
    known = set(PATIENTS[ids[:2]])
    (missing,) = {"p", "q", "r"} - known
    asked = one.query()[0]
    assert PATIENTS[asked].tolist() == [missing]
    one.save(tmp_path / "l")
    again = ActiveLearner.load(tmp_path / "l")
    assert again.groups.tolist() == PATIENTS.tolist()
    assert again.query()[0].tolist() == asked.tolist()
    for copy in (clone(one), pickle.loads(pickle.dumps(one))):
        assert copy.groups.tolist() == PATIENTS.tolist()


def test_a_query_in_bounded_time_and_among_some_knows_groups():
    one = learner()
    ids, _ = one.query(n_instances=3, max_seconds=3600)
    np.testing.assert_array_equal(ids, one.query(n_instances=3)[0])
    ids, _ = one.query(n_instances=2, among=[0, 1, 2, 4])
    assert sorted(PATIENTS[ids]) == ["p", "q"]


def test_groups_are_checked_and_needed():
    with pytest.raises(ValueError, match=r"groups must be of shape \(8,\), one an image"):
        learner(groups=["p"])
    with pytest.raises(ValueError, match="groups must be of one sortable type, none missing"):
        learner(groups=[None, *PATIENTS[1:]])
    with pytest.raises(ValueError, match=r"groups must be .*none missing"):
        learner(groups=[np.nan, *range(7)])
    with pytest.raises(ValueError, match=r"groups_pool must be .*ActiveLearner\(groups=...\)"):
        learner(groups=None).query()
    with pytest.raises(TypeError, match="groups needs a learner that was given images"):
        ActiveLearner(JointCAMSegmenter(), groups=PATIENTS)


def test_a_run_hands_on_the_groups_of_its_data(tmp_path):
    from alseg.datasets import Dataset
    from alseg.experiment import read_records, run

    train = Dataset(GLANDS.images, GLANDS.labels, GLANDS.masks, groups=PATIENTS)
    test = make_glands(2, image_size=(32, 48), random_state=1)
    run(
        JointCAMSegmenter(encoder="tiny", max_epochs=1),
        train,
        test,
        spread_over_groups(entropy_score),
        rounds=1,
        initial=2,
        n_instances=2,
        seed=0,
        out=tmp_path / "run",
    )
    records = read_records(tmp_path / "run")
    asked = [PATIENTS[record["sample_ids"]].tolist() for record in records]
    assert len(set(asked[1])) == 2
    assert set(asked[1]) >= {"p", "q", "r"} - set(asked[0])
