"""Whatever meets a protocol of alseg.interfaces is taken, and by more than one who asks for it."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from alseg import (
    ActiveLearner,
    JointCAMSegmenter,
    Protocol,
    PseudoLabelAugmenter,
    compare_strategies,
)
from alseg import interfaces as asked
from alseg.datasets import make_glands
from alseg.experiment import run
from alseg.learner import DeepEnsemble
from alseg.metrics import dice_scorer, mean_dice
from alseg.network import PlainUNet, build_encoder
from alseg.oracles import MaskOracle
from alseg.strategies import by_region, entropy_sampling, entropy_score, random_sampling

N, SIZE = 8, (16, 24)


class Brightness(BaseEstimator):
    """Not alseg's, of numpy alone: foreground is what is as bright as known foreground."""

    n_mask_classes = 2

    def __init__(self, softness=20.0):
        self.softness = softness

    def fit(self, X, y, masks=None, mask_weight=None):
        self.classes_, self.level_, self.sign_ = np.unique(y), 128.0, 1
        weight = np.ones(len(X)) if mask_weight is None else mask_weight
        sums = np.zeros((2, 2))
        for i, mask in enumerate([None] * len(X) if masks is None else masks):
            for value in (0, 1) if mask is not None else ():
                there = np.asarray(X[i]).mean(axis=-1)[mask == value]
                sums[value] += np.mean(weight[i]) * np.array([there.sum(), there.size])
        if sums[:, 1].all():
            dark, bright = sums[:, 0] / sums[:, 1]
            self.level_, self.sign_ = (dark + bright) / 2, np.sign(bright - dark)
        return self

    def predict_mask_proba(self, X):
        found = []
        for i in range(len(X)):
            away = (np.asarray(X[i]).mean(axis=-1) - self.level_) / self.softness
            p = 1 / (1 + np.exp(-self.sign_ * np.clip(away, -30, 30)))
            found.append(np.stack([1 - p, p]))
        return np.stack(found)

    def predict_masks(self, X):
        return self.predict_mask_proba(X).argmax(axis=1)


@pytest.fixture(scope="module")
def glands():
    return make_glands(N + 4, image_size=SIZE, random_state=0)


def test_an_estimator_of_someone_elses_asks_and_learns(glands):
    learner = ActiveLearner(
        Brightness(),
        entropy_sampling,
        images=glands.images,
        labels=glands.labels,
        augmenter=PseudoLabelAugmenter("all", weight=0.5),
        random_state=0,
    )
    oracle = MaskOracle(glands.masks)
    for n_known in (2, 4):
        asked_ids, _ = learner.query(n_instances=2)
        model = learner.estimator
        # the images whose pixels have the largest mean entropy, by hand
        p = model.predict_mask_proba(glands.images)
        entropy = -(p * np.log(np.clip(p, 1e-300, None))).sum(axis=1).mean(axis=(1, 2))
        pool = learner.pool_ids
        expected = pool[np.argsort(-entropy[pool])[:2]]
        assert sorted(asked_ids.tolist()) == sorted(expected.tolist())
        learner.annotate(asked_ids, oracle(asked_ids))
        assert len(learner.annotated_ids) == n_known
    assert learner.gradient_steps is None and len(learner.augmenter.selected_) == N + 4 - 4
    learner.query_strategy = by_region(entropy_score, "pixel", per_image=2)
    regions, _ = learner.query(n_instances=5)
    assert len(regions) == 5
    score = learner.score_masks(glands.images, glands.masks)
    assert score == mean_dice(learner.predict_masks(glands.images), glands.masks)
    learner.annotate(regions, oracle(regions))


def test_a_run_of_an_estimator_of_someone_elses_goes_on(glands, tmp_path):
    parts = glands.take(range(N)), glands.take(range(N, N + 4))
    options = {"n_instances": 2, "initial": 2, "augmenter": PseudoLabelAugmenter("all")}
    run(Brightness(), *parts, entropy_sampling, rounds=1, out=tmp_path / "cut", **options)
    again = run(Brightness(), *parts, entropy_sampling, rounds=2, out=tmp_path / "cut", **options)
    whole = run(Brightness(), *parts, entropy_sampling, rounds=2, out=tmp_path / "whole", **options)
    for a, b in zip(again, whole, strict=True):
        assert a["metrics"] == b["metrics"] and a["sample_ids"] == b["sample_ids"]
    assert "class_accuracy" not in whole[0]["metrics"] and whole[2]["metrics"]["dice"] > 0.3


def test_what_a_round_that_goes_on_needs_is_said(glands, tmp_path):
    parts = glands.take(range(N)), glands.take(range(N, N + 4))
    options = {"n_instances": 2, "initial": 2, "rounds": 1, "out": tmp_path}
    needs = "estimator must be one with save and load for a run whose rounds need the model"
    with pytest.raises(TypeError, match=needs):
        run(Brightness(), *parts, entropy_sampling, warm_start=True, **options)
    with pytest.raises(TypeError, match=needs):
        augmenter = PseudoLabelAugmenter("all", refit="once")
        run(Brightness(), *parts, entropy_sampling, augmenter=augmenter, **options)
    given = {"images": glands.images, "labels": glands.labels}
    with pytest.raises(TypeError, match="one with partial_fit for a fit that goes on"):
        ActiveLearner(Brightness(), warm_start=True, **given)
    learner = ActiveLearner(Brightness(), **given).fit()
    learner.warm_start, level = True, learner.estimator.level_
    with pytest.raises(TypeError, match="one with partial_fit for a fit that goes on"):
        learner.annotate([0], glands.masks[:1])
    assert not len(learner.annotated_ids) and learner.estimator.level_ == level


def test_a_comparison_of_an_estimator_of_someone_elses(glands, tmp_path):
    arguments = {
        "strategies": {"random": random_sampling, "entropy": entropy_sampling},
        "data": (glands.take(range(N)), glands.take(range(N, N + 4))),
        "seeds": range(2),
        "out": tmp_path,
        "verbose": 0,
    }
    options = {"initial": 2, "n_instances": 2, "rounds": 2}
    with pytest.raises(
        ValueError, match="without 'weak labels only' for a model with no class head"
    ):
        compare_strategies(Brightness(), protocol=Protocol(**options), **arguments)
    protocol = Protocol(**options, references=("full supervision", "all-ones"), controls=())
    result = compare_strategies(Brightness(), protocol=protocol, **arguments)
    last = [record for record in result.records if record["round"] == 2]
    assert sorted({record["strategy"] for record in last}) == ["entropy", "random"]
    assert all(record["n_masks"] == 6 for record in last)


def test_what_alseg_makes_meets_its_protocols():
    model = JointCAMSegmenter()
    for protocol in (
        asked.Estimator,
        asked.MaskProbabilities,
        asked.ClassHead,
        asked.JointPredictions,
        asked.ClassMaps,
        asked.Uncertainty,
        asked.Embeddings,
        asked.ObjectMaps,
        asked.GoesOn,
        asked.Saved,
        asked.ChecksParams,
    ):
        assert isinstance(model, protocol) and asked.meets(model, protocol), protocol
        assert not asked.meets(object(), protocol)
        assert not isinstance(LogisticRegression(), protocol) or protocol is asked.ClassHead
    assert isinstance(PseudoLabelAugmenter(), asked.Augmenter)
    assert isinstance(PseudoLabelAugmenter(), asked.TellsFits)
    assert isinstance(PseudoLabelAugmenter(), asked.CountsPseudoMasks)
    assert isinstance(DeepEnsemble(model), asked.Estimator)
    assert isinstance(entropy_sampling, asked.Strategy) and isinstance(entropy_score, asked.Score)
    assert isinstance(MaskOracle([np.zeros((2, 2), int)]), asked.Oracle)
    assert isinstance(build_encoder("tiny", None), asked.Encoder)
    assert not isinstance(PlainUNet(), asked.Encoder)
    assert isinstance(Brightness(), asked.Estimator)
    assert not isinstance(Brightness(), asked.Uncertainty)


def test_what_is_there_under_a_condition_is_met_where_it_is_there():
    def search(probability):
        return GridSearchCV(SVC(probability=probability), {"C": [1.0]})

    assert asked.meets(search(True), asked.ClassHead)
    assert not asked.meets(search(False), asked.ClassHead)
    assert asked.meets(random_sampling, asked.Strategy) and not asked.meets(0, asked.Strategy)


def test_who_has_a_class_head():
    assert asked.has_class_head(JointCAMSegmenter())
    assert not asked.has_class_head(Brightness()) and asked.has_class_head(LogisticRegression())
    model = Brightness()
    model.has_class_head = True
    assert asked.has_class_head(model)
    assert asked.has_class_head(DeepEnsemble(JointCAMSegmenter()))
    assert not asked.has_class_head(DeepEnsemble(Brightness()))
    assert (
        asked.mask_classes_of(Brightness()) == 2 and asked.mask_classes_of(object(), None) is None
    )


def test_a_fitted_estimator_is_told_by_its_classes(glands):
    model = Brightness()
    assert not asked.is_fitted(model) and not asked.has_learned_masks(model)
    model.fit(glands.images, glands.labels)
    assert asked.is_fitted(model) and asked.has_learned_masks(model)
    model.has_masks_ = False
    assert not asked.has_learned_masks(model) and not asked.is_fitted(clone(model))


class Wrapper(BaseEstimator):
    """Predicts with the model inside it, in a way of its own."""

    def __init__(self, estimator=None):
        self.estimator = estimator

    def predict_proba(self, X):
        return np.ones((len(X), 1))


class MaskWrapper(Wrapper):
    def predict_mask_proba(self, X):
        return np.full((len(X), 2, *np.shape(X)[1:3]), 0.5)


def test_the_model_behind_a_learner_is_the_outermost_that_predicts():
    inner = Brightness()
    outer = MaskWrapper(inner)
    assert asked.estimator_of(outer) is outer
    assert asked.estimator_of(ActiveLearner(outer)) is outer
    assert asked.estimator_of(Wrapper(inner)) is inner  # masks are what most ask for
    labels = Wrapper(LogisticRegression())
    assert asked.estimator_of(ActiveLearner(labels)) is labels
    search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2)
    assert asked.estimator_of(search) is search
    X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]
    assert asked.estimator_of(search.fit(X, y)) is search.best_estimator_
    forest = RandomForestClassifier(2).fit(X, y)
    assert asked.estimator_of(forest) is forest and asked.estimator_of(None) is None
    images = np.zeros((3, 4, 5, 3), np.uint8)
    np.testing.assert_allclose(entropy_score(outer, images), np.log(2))
    assert PseudoLabelAugmenter("all").fit(
        images, [0, 1, 0], [np.zeros((4, 5), int), None, None], estimator=outer
    )


def test_the_last_step_of_a_pipeline_is_told_by_its_class():
    pipeline = make_pipeline(FunctionTransformer(), LogisticRegression())
    before, last = asked.before_and_last(pipeline)
    assert last is pipeline[-1] and before([[1.0]]) == [[1.0]]
    assert asked.before_and_last(make_pipeline(last)) == (None, last)
    model = Brightness()
    model.steps = "gradient steps, say"
    assert asked.before_and_last(model) == (None, model)
    with pytest.raises(TypeError, match="estimator must be one with `score_masks`"):
        dice_scorer(model, np.zeros((1, 2, 2, 3)), None, masks=np.zeros((1, 2, 2), int))


def test_a_fitted_estimator_without_classes_is_told_by_scikit_learns_signs():
    class Thresholds:
        pass

    model = Thresholds()
    assert not asked.is_fitted(model)
    model.threshold_ = 0.5
    assert asked.is_fitted(model) and asked.has_learned_masks(model)

    class Says:
        level_ = 1

        def __sklearn_is_fitted__(self):
            return False

    assert not asked.is_fitted(Says())


def test_steps_inside_are_seeded_too():
    pipeline = make_pipeline(FunctionTransformer(), LogisticRegression())
    assert asked.set_random_state(pipeline, 5) is pipeline and pipeline[-1].random_state == 5
    assert asked.set_random_state(Brightness(), 5).get_params() == {"softness": 20.0}
