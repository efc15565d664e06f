"""Classifiers as arrays: they predict the same, and arrays that somebody made up are refused."""

import json

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from alseg.segmenter.classifier_arrays import (
    describe_classifier,
    from_arrays,
    is_storable,
    to_arrays,
)

KINDS = (
    RandomForestClassifier(4, min_samples_leaf=2, random_state=0),
    ExtraTreesClassifier(3, random_state=0),
    DecisionTreeClassifier(max_depth=3),
    ExtraTreeClassifier(random_state=0),
    GaussianNB(var_smoothing=0.01),
    LogisticRegression(C=0.5),
    make_pipeline(StandardScaler(), LogisticRegression()),
)


@pytest.fixture
def data(rng):
    X = rng.random((60, 3)).astype(np.float32)
    return X, np.array([0, 2, 5])[(3 * X[:, 1]).astype(int)]


@pytest.mark.parametrize("model", KINDS, ids=lambda model: type(model).__name__)
def test_it_predicts_the_same(model, data):
    X, y = data
    model.fit(X, y)
    described, arrays = describe_classifier(model), to_arrays(model)
    assert json.loads(json.dumps(described)) == described
    assert all(array.dtype.kind in "iufb" for array in arrays.values())
    again = from_arrays(described, arrays)
    assert str(again) == str(model) and again.classes_.tolist() == [0, 2, 5]
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(again.predict(X), model.predict(X))
    twice = to_arrays(again)
    assert all(np.array_equal(twice[name], array) for name, array in arrays.items())


def test_what_can_be_stored():
    assert all(is_storable(model) for model in KINDS)

    class Mine(GaussianNB):
        pass

    for model in (
        KNeighborsClassifier(),
        SVC(probability=True),
        Mine(),
        StandardScaler(),
        make_pipeline(MinMaxScaler(), GaussianNB()),
        make_pipeline(GaussianNB(), StandardScaler()),
        RandomForestClassifier(random_state=np.random.RandomState(0)),
    ):
        assert not is_storable(model)


@pytest.mark.parametrize(
    ("name", "position", "value", "match"),
    [
        ("node_left_child", 0, 0, "leads to no leaf"),  # round in a circle
        ("node_left_child", 0, 10**6, "leads to no leaf"),
        ("node_right_child", 0, -1, "leads to no leaf"),
        ("node_left_child", 0, -5, "leads to no leaf"),
        ("node_feature", 0, 3, "leads to no leaf"),
        ("node_feature", 0, -1, "leads to no leaf"),
        ("n_nodes", 0, 10**6, "nodes must be"),
        ("n_nodes", 0, -1, "n_nodes must be >= 1"),
        ("depths", 0, -1, "depths must be >= 0"),
    ],
)
def test_trees_that_lead_elsewhere(data, name, position, value, match):
    model = RandomForestClassifier(2, random_state=0).fit(*data)
    arrays = {key: array.copy() for key, array in to_arrays(model).items()}
    arrays[name][position] = value
    with pytest.raises(ValueError, match=match):
        from_arrays(describe_classifier(model), arrays)


def test_trees_of_another_release(data):
    model = DecisionTreeClassifier().fit(*data)
    arrays = to_arrays(model)
    del arrays["node_threshold"]
    with pytest.raises(ValueError, match="another release of scikit-learn"):
        from_arrays(describe_classifier(model), arrays)


def test_classes_that_are_not_those_of_the_trees(data):
    model = DecisionTreeClassifier().fit(*data)
    arrays = {**to_arrays(model), "classes_": np.arange(7)}
    with pytest.raises(ValueError, match="with 7 values"):
        from_arrays(describe_classifier(model), arrays)
    with pytest.raises(ValueError, match="kind must be one of"):
        from_arrays({"kind": "SVC", "params": {}}, arrays)
