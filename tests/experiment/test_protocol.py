import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alseg.datasets import Dataset, Parts
from alseg.experiment.protocol import (
    CONTROLS,
    REFERENCES,
    Protocol,
    check_groups,
    folds,
    split,
    told_groups,
)


@given(
    st.integers(1, 20),
    st.integers(1, 9),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 500)),
    st.one_of(st.none(), st.tuples(st.integers(0, 9), st.integers(10, 99))),
    st.lists(st.sampled_from(REFERENCES), unique=True),
    st.one_of(st.none(), st.lists(st.sampled_from(["a", "b"]), unique=True)),
)
def test_a_protocol_is_read_back_equal(initial, n, balanced, n_steps, window, references, family):
    protocol = Protocol(
        initial=initial,
        n_instances=n,
        class_balanced=balanced,
        n_steps=n_steps,
        window=window,
        references=references,
        family=family,
    )
    again = Protocol.from_dict(json.loads(json.dumps(protocol.to_dict())))
    assert again == protocol and hash(again) == hash(protocol)


def test_a_protocol_on_disk(tmp_path):
    protocol = Protocol(rounds=3, window=(8, 16), controls=("random",))
    protocol.save(tmp_path / "protocol.json")
    assert Protocol.load(tmp_path / "protocol.json") == protocol


@pytest.mark.parametrize(
    "options, said",
    [
        ({"initial": 0}, "initial must be"),
        ({"n_instances": 0}, "n_instances must be"),
        ({"rounds": -1}, "rounds must be"),
        ({"n_folds": 1}, "n_folds must be"),
        ({"alpha": 1.0}, r"alpha must be in \(0, 1\)"),
        ({"cost": "click"}, "cost must be .*clicks"),
        ({"window": (9, 9)}, "window must be"),
        ({"references": ("full",)}, "references must be .*full supervision"),
        ({"n_steps": 5, "epochs": 5}, "epochs must be None where n_steps"),
        ({"budget": -1}, "budget must be"),
        ({"stop_agreement": 1.5}, "stop_agreement must be"),
    ],
)
def test_bad_values_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        Protocol(**options)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"family": "entropy"}, "family must be a sequence"),
        ({"controls": "random"}, "controls must be a sequence"),
        ({"warm_start": 1}, "warm_start must be a bool"),
    ],
)
def test_bad_types_are_named(options, said):
    with pytest.raises(TypeError, match=said):
        Protocol(**options)


def test_an_unknown_name_is_corrected():
    with pytest.raises(ValueError, match="n_instances"):
        Protocol.from_dict({"n_instance": 2})


def test_what_is_off_is_empty():
    assert Protocol(references=None, controls=[]).references == ()
    assert Protocol().controls == CONTROLS


labels_and_groups = st.integers(20, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from("ab"), min_size=n, max_size=n),
        st.lists(st.integers(0, 9), min_size=n, max_size=n),
    )
)


@given(labels_and_groups)
def test_folds_cover_all_and_tear_no_group_apart(drawn):
    labels, groups = map(np.array, drawn)
    n_folds = 3
    rarest = min((labels == label).sum() for label in np.unique(labels))
    if rarest < n_folds:
        with pytest.raises(ValueError, match="images of the rarest class"):
            folds(labels, groups, n_folds)
        return
    if len(np.unique(groups)) < n_folds:
        with pytest.raises(ValueError, match="n_folds must be at most .* the groups"):
            folds(labels, groups, n_folds)
        return
    found = folds(labels, groups, n_folds)
    assert sorted(np.concatenate([test for _, test in found])) == list(range(len(labels)))
    for train, test in found:
        assert not set(groups[train]) & set(groups[test])
        assert not set(train) & set(test)


def test_folds_without_groups_are_stratified():
    labels = np.repeat(["a", "b"], [20, 10])
    for _, test in folds(labels, None, 5):
        assert (labels[test] == "a").sum() == 4 and (labels[test] == "b").sum() == 2


def toy(n=12, groups=None):
    images = np.zeros((n, 8, 8, 3), np.uint8)
    return Dataset(images, np.array(["a", "b"] * (n // 2)), np.zeros((n, 8, 8), int), groups=groups)


def test_data_with_parts_and_pairs():
    data = toy()
    parts = Parts({"train": data.take(range(8)), "test": data.take(range(8, 12)), "all": data})
    train, test = split(parts, Protocol(), 0)
    assert len(train) == 8 and len(test) == 4
    pair = data.take(range(8)), data.take(range(8, 12))
    assert split(pair, Protocol(), 3) == pair


def test_data_in_folds_follow_the_seed():
    data = toy(groups=np.repeat(np.arange(6), 2))
    protocol = Protocol(n_folds=3)
    tests = [split(data, protocol, seed)[1].ids.tolist() for seed in range(6)]
    assert tests[:3] == tests[3:] and len({tuple(t) for t in tests}) == 3
    parts = Parts({"train": data, "all": data})
    assert split(parts, protocol, 1)[1].ids.tolist() == tests[1]


@pytest.mark.parametrize(
    "data, protocol, error, said",
    [
        (toy(), Protocol(), ValueError, r"Protocol\(n_folds=5\)"),
        (Parts({"train": toy(), "all": toy()}), Protocol(), ValueError, "parts train and test"),
        ((toy(),), Protocol(), ValueError, r"\(train, test\)"),
        ((toy(), toy()), Protocol(n_folds=2), ValueError, "one data set where n_folds"),
        (np.zeros(3), Protocol(), TypeError, "data must be"),
    ],
)
def test_data_of_the_wrong_kind(data, protocol, error, said):
    with pytest.raises(error, match=said):
        split(data, protocol, 0)


def test_every_field_is_documented():
    for field in dataclasses.fields(Protocol):
        assert f"{field.name}" in Protocol.__doc__, field.name


# ---- groups on both sides ----------------------------------------------------------------------


def torn(published=(None, None)):
    """Parts of which two of three patients stand in both, as parts of published splits or not."""
    data = toy(groups=["p"] * 4 + ["q"] * 4 + ["r"] * 4)
    sides = data.take(range(8)), data.take([0, 4, 8, 9])
    return tuple(
        dataclasses.replace(side, published_part=part) for side, part in zip(sides, published)
    )


def test_a_group_on_both_sides_is_refused_unless_said():
    with pytest.raises(
        ValueError,
        match=r"in common, got 2 of 3 in both \('p', 'q'\)\. Split by "
        r"group, or say allow_torn_groups=True \(--torn-groups\)",
    ):
        check_groups(*torn())
    found = check_groups(*torn(), allow_torn=True)
    assert found == {"n_torn": 2, "n_groups": 3, "published": False}
    assert (
        told_groups(found) == "2 of 3 groups (patients) stand in train and test, as was asked for"
    )
    with pytest.raises(TypeError, match="allow_torn_groups must be a bool, got 'no'"):
        check_groups(*torn(), allow_torn="no")


def test_published_parts_are_taken_as_they_are():
    found = check_groups(*torn(("train", "test")))
    assert found == {"n_torn": 2, "n_groups": 3, "published": True}
    assert told_groups(found).endswith("as published")
    for parts in (("train", None), ("train", "train")):  # a split of one's own
        with pytest.raises(ValueError, match="no group"):
            check_groups(*torn(parts))


def test_whole_groups_and_none_are_nothing_to_say():
    data = toy(groups=np.repeat(np.arange(6), 2))
    assert check_groups(data.take(range(8)), data.take(range(8, 12))) is None
    assert check_groups(toy(), toy()) is None and told_groups(None) == ""
