"""Strategies of scikit-activeml, as they are, in learners and comparisons."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from alseg import ActiveLearner, Committee, JointCAMSegmenter, Protocol, compare_strategies
from alseg.datasets import make_glands
from alseg.interfaces import PoolQuery, meets
from alseg.strategies import (
    class_balanced,
    core_set_sampling,
    from_skactiveml,
    margin_score,
    within_seconds,
)
from alseg.testing import check_strategy
from alseg.testing.toys import ToyLearner, ToySegmenter, toy_images
from alseg.validation import EmptyPool

skactiveml = pytest.importorskip("skactiveml.pool")

# Whatever a question needs: features alone, a classifier, a list as Badge gives it, members.
KINDS = [
    "RandomSampling",
    "CoreSet",
    "TypiClust",
    "MaxHerding",
    "GreedySamplingX",
    "UncertaintySampling",
    "Badge",
    "Falcun",
    "Clue",
    "ContrastiveAL",
    "DiscriminativeAL",
    "QueryByCommittee",
    "GreedyBALD",
]


@pytest.fixture
def points(rng):
    X = rng.normal(size=(40, 3))
    return X, np.where(X[:, 0] > 0, "b", "a")


def kinds(names=KINDS):
    return [pytest.param(getattr(skactiveml, name), id=name) for name in names]


@pytest.mark.parametrize("kind", kinds())
def test_the_contract(kind):
    check_strategy(from_skactiveml(kind()))


@pytest.mark.parametrize("kind", kinds(KINDS[:11]))
def test_as_it_is_in_a_learner_with_a_plain_classifier(kind, points):
    X, y = points
    asked = kind()

    def ask():
        learner = ActiveLearner(
            LogisticRegression(), asked, X_training=X[:12], y_training=y[:12], random_state=0
        )
        state = np.random.get_state()[1].tobytes()
        query_idx, rows = learner.query(X[12:], n_instances=3)
        assert np.random.get_state()[1].tobytes() == state
        np.testing.assert_array_equal(rows, X[12:][query_idx])
        assert learner.query_strategy is asked and clone(learner).query_strategy is not None
        return query_idx

    first = ask()
    assert len(set(first.tolist())) == 3
    np.testing.assert_array_equal(first, ask())
    assert not [name for name in vars(asked) if name.endswith("_")]  # a clone was asked


def test_the_features_and_labels_that_it_is_shown(points):
    class Seen(BaseEstimator):
        def __init__(self, missing_label="nothing", random_state=None):
            self.missing_label, self.random_state = missing_label, random_state

        def query(self, X, y, candidates=None, batch_size=1):
            shown.update(X=X, y=y, missing=self.missing_label, seed=self.random_state)
            return [2, 0][:batch_size], "utilities"

    shown = {}
    X, y = points
    assert meets(Seen(), PoolQuery)
    learner = ActiveLearner(LogisticRegression(), Seen(), X_training=X[:4], y_training=y[:4])
    assert learner.query(X[4:], n_instances=2)[0].tolist() == [2, 0]
    np.testing.assert_array_equal(shown["X"], np.concatenate([X[4:], X[:4]]))
    np.testing.assert_array_equal(shown["y"][36:], (y[:4] == "b").astype(float))
    assert np.isnan(shown["y"][:36]).all() and np.isnan(shown["missing"])
    assert isinstance(shown["seed"], int)
    learner.set_params(query_strategy=Seen(random_state=5)).query(X[4:])
    assert shown["seed"] == 5  # the user's decision


def test_the_classifier_is_the_learners_own(points):
    X, y = points
    asked = skactiveml.UncertaintySampling(method="margin_sampling")
    for model in (LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression())):
        learner = ActiveLearner(model, asked, X_training=X[:12], y_training=y[:12], random_state=0)
        expected = margin_score(model, X[12:], target="label").argsort()[::-1][:4]
        np.testing.assert_array_equal(learner.query(X[12:], n_instances=4)[0], expected)


def test_the_classifier_predicts_images_by_their_embeddings():
    toy, X = ToySegmenter(), toy_images(9)
    learner = ToyLearner(toy, toy_images(3, random_state=1), ["class 0", "class 1", "class 2"])
    strategy = from_skactiveml(skactiveml.UncertaintySampling(method="margin_sampling"))
    expected = margin_score(toy, X, target="label").argsort()[::-1][:4]
    np.testing.assert_array_equal(strategy(learner, X, 4, 0), expected)


def test_core_set_equals_ours(points):
    X, y = points
    learner = ActiveLearner(LogisticRegression(), X_training=X[:5], y_training=y[:5])
    theirs = from_skactiveml(skactiveml.CoreSet())(learner, X[5:], 6, 0)
    np.testing.assert_array_equal(theirs, core_set_sampling(learner, X[5:], 6, embedding="input"))


def test_members_of_committees_and_ensembles(points):
    X, y = points
    asked = skactiveml.QueryByCommittee()
    members = [
        ActiveLearner(LogisticRegression(C=c), X_training=X[:12], y_training=y[:12])
        for c in (0.01, 1, 100)
    ]
    committee = Committee(members, asked, random_state=0)
    bagging = BaggingClassifier(LogisticRegression(), random_state=0)
    alone = ActiveLearner(bagging, asked, X_training=X[:12], y_training=y[:12], random_state=0)
    for learner in (committee, alone):
        assert len(set(learner.query(X[12:], n_instances=3)[0].tolist())) == 3
    single = ActiveLearner(LogisticRegression(), asked, X_training=X[:12], y_training=y[:12])
    with pytest.raises(TypeError, match="learner must be a committee of estimators"):
        single.query(X[12:])


def test_a_regressor_and_a_strategy_that_refits(points):
    X, y = points
    target = X @ np.array([1.0, 2, 3])
    asked = skactiveml.GreedySamplingTarget()
    learner = ActiveLearner(
        LinearRegression(), asked, X_training=X[:12], y_training=target[:12], random_state=0
    )
    assert len(set(learner.query(X[12:], n_instances=3)[0].tolist())) == 3
    refits = skactiveml.MonteCarloEER()
    learner = ActiveLearner(
        LogisticRegression(), refits, X_training=X[:12], y_training=y[:12], random_state=0
    )
    assert 0 <= learner.query(X[12:20])[0][0] < 8
    with pytest.raises(TypeError, match="one that does not refit the model"):
        from_skactiveml(refits)(
            ToyLearner(ToySegmenter(), toy_images(2), ["class 0"] * 2), toy_images(4)
        )


def test_mask_mode_as_it_is_balanced_in_time_and_pickled():
    glands = make_glands(8, image_size=(32, 48), random_state=0)
    learner = ActiveLearner(
        JointCAMSegmenter(encoder="tiny", max_epochs=1),
        skactiveml.Badge(),
        images=glands.images,
        labels=glands.labels,
        masks=[glands.masks[0], *[None] * 7],
        random_state=0,
    )
    sample_ids, _ = learner.query(n_instances=2)
    assert 0 not in sample_ids and len(sample_ids) == 2
    np.testing.assert_array_equal(learner.query(n_instances=2)[0], sample_ids)
    np.testing.assert_array_equal(learner.query(n_instances=2, max_seconds=600)[0], sample_ids)
    learner.query_strategy = class_balanced(from_skactiveml(skactiveml.CoreSet()))
    picked, _ = learner.query(n_instances=2)
    assert len(set(glands.labels[picked])) == 2
    strategy = pickle.loads(pickle.dumps(from_skactiveml(skactiveml.CoreSet())))
    assert strategy.__name__ == "CoreSet"
    check_strategy(within_seconds(strategy, 600))


def test_pixels_are_the_features_of_an_estimator_without_embeddings():
    class Plain:
        classes_ = np.array(["a", "b"])

        def predict_proba(self, X):
            share = np.array([np.asarray(x).mean() / 255 for x in X])
            return np.column_stack([share, 1 - share])

    X = toy_images(6)
    for asked in (skactiveml.CoreSet(), skactiveml.UncertaintySampling()):
        assert len(from_skactiveml(asked)(Plain(), X, 2, 0)) == 2
    with pytest.raises(ValueError, match="images must be of one size.*embedding="):
        from_skactiveml(skactiveml.CoreSet())(Plain(), toy_images(6, ragged=True), 2, 0)


def test_in_a_comparison(tmp_path):
    glands = make_glands(14, image_size=(32, 48), random_state=0)
    result = compare_strategies(
        JointCAMSegmenter(encoder="tiny", max_epochs=1),
        {"core-set": skactiveml.CoreSet(), "margin": skactiveml.UncertaintySampling()},
        data=(glands.take(range(10)), glands.take(range(10, 14))),
        protocol=Protocol(initial=4, n_instances=2, rounds=1, references=()),
        seeds=[0],
        out=tmp_path,
        verbose=0,
    )
    assert {"core-set", "margin", "random"} <= set(result.names)


def test_what_is_refused(points):
    X, y = points
    with pytest.raises(TypeError, match=r"Write CoreSet\(\), not CoreSet"):
        from_skactiveml(skactiveml.CoreSet)
    with pytest.raises(TypeError, match=r"strategy must be an object with query\(X, y, ...\)"):
        from_skactiveml(LogisticRegression())
    with pytest.raises(TypeError, match="query_strategy must be callable"):
        ActiveLearner(LogisticRegression(), LogisticRegression())
    strategy = from_skactiveml(skactiveml.UncertaintySampling(), embedding="input")
    with pytest.raises(TypeError, match="with `predict_proba` and classes"):
        strategy(None, X, 1)
    with pytest.raises(EmptyPool):
        strategy(None, X[:0], 1)
    with pytest.raises(ValueError, match="features of X_pool must be finite"):
        strategy(None, X * np.nan, 1)
    model = LogisticRegression().fit(X, y)
    learner = ToyLearner(model, X[:3], ["a", "b", "z"])
    with pytest.raises(ValueError, match="y_training must be of the classes"):
        strategy(learner, X, 1)
    perturbs = from_skactiveml(skactiveml.DropQuery())
    with pytest.raises(TypeError, match="asks the model about the images that there are alone"):
        perturbs(ToyLearner(ToySegmenter(), toy_images(2), ["class 0"] * 2), toy_images(5), 1, 0)


def test_options_go_before_what_is_given_by_itself(points):
    from skactiveml.classifier import ParzenWindowClassifier

    X, y = points
    mine = ParzenWindowClassifier(classes=[0, 1], random_state=0)
    strategy = from_skactiveml(skactiveml.EpistemicUncertaintySampling(), clf=mine, fit_clf=True)
    learner = ActiveLearner(
        LogisticRegression(), strategy, X_training=X[:12], y_training=y[:12], random_state=0
    )
    assert 0 <= learner.query(X[12:])[0][0] < 28
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inner = skactiveml.SubSamplingWrapper(skactiveml.UncertaintySampling(), max_candidates=10)
        learner.set_params(query_strategy=inner)
        assert len(learner.query(X[12:], n_instances=2)[0]) == 2


def test_in_a_run_by_name_and_on_disk(tmp_path, monkeypatch):
    from alseg.experiment import run
    from alseg.experiment.by_name import resolve_strategy

    (tmp_path / "others_of_mine.py").write_text(
        "from skactiveml.pool import CoreSet, Badge\nmine, kind = CoreSet(), Badge()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    strategy = resolve_strategy("others_of_mine:mine")
    assert strategy.__name__ == "CoreSet"
    glands = make_glands(10, image_size=(32, 48), random_state=0)
    model = JointCAMSegmenter(encoder="tiny", max_epochs=1)
    parts = glands.take(range(8)), glands.take(range(8, 10))
    sizes = {"initial": 2, "rounds": 1, "n_instances": 2}
    found = [
        run(model, *parts, one, out=tmp_path / name, **sizes)[-1]["sample_ids"]
        for name, one in (("named", strategy), ("raw", skactiveml.CoreSet()))
    ]
    assert found[0] == found[1]

    learner = ActiveLearner(
        model, skactiveml.Badge(), images=glands.images, labels=glands.labels, random_state=0
    )
    learner.annotate([0, 1], glands.masks[[0, 1]]).save(tmp_path / "learner")
    with pytest.raises(ValueError, match="query_strategy must be given.*Badge"):
        ActiveLearner.load(tmp_path / "learner")
    again = ActiveLearner.load(tmp_path / "learner", query_strategy=skactiveml.Badge())
    np.testing.assert_array_equal(again.query(n_instances=3)[0], learner.query(n_instances=3)[0])


def test_what_it_needs_of_an_estimator():
    for kind, needs in (("CoreSet", []), ("Badge", ["labels"]), ("QueryByCommittee", ["members"])):
        strategy = from_skactiveml(getattr(skactiveml, kind)())
        assert strategy.needs == pickle.loads(pickle.dumps(strategy)).needs == needs
    inner = skactiveml.SubSamplingWrapper(skactiveml.UncertaintySampling())
    assert from_skactiveml(inner).needs == ["labels"]
    assert from_skactiveml(skactiveml.Clue(), estimator="mine").needs == []
