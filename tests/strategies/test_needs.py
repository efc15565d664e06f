"""What strategies say that they need is what they call, and is looked for before any fit."""

import functools
import inspect

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

from alseg import (
    ActiveLearner,
    JointCAMSegmenter,
    PixelClassifier,
    Protocol,
    PseudoLabelAugmenter,
    compare_strategies,
)
from alseg import strategies as offered
from alseg.calling import call
from alseg.datasets import make_glands
from alseg.experiment import run
from alseg.interfaces import PARTS, has_part
from alseg.learner import DeepEnsemble
from alseg.query import UNCERTAINTIES
from alseg.strategies import needs_of
from alseg.strategies.needing import needs_one_class
from alseg.testing import ToyLearner, ToySegmenter, all_scores, all_strategies, toy_images

EVERY = {**all_strategies(), **all_scores()}


class Recorder(ToySegmenter):
    """A toy that writes down which of its parts it is asked for."""

    members = False

    def __init__(self, **options):
        super().__init__(**options)
        self.asked, self._inside = set(), False

    @property
    def estimators_(self):
        found = [Recorder(phase=step) for step in (0.3, 0.6, 0.9)]
        for one in found:
            one.asked, one.members = self.asked, True
        return found


def _recorded(name, part):
    method = getattr(ToySegmenter, name)

    @functools.wraps(method)
    def call_it(self, X, *args, **options):
        outermost, self._inside = not self._inside, True
        try:
            if outermost:
                found = part(*args, **options) if callable(part) else part
                self.asked |= {found, "members"} if self.members else {found}
            return method(self, X, *args, **options)
        finally:
            if outermost:
                self._inside = False

    setattr(Recorder, name, call_it)


def _of_uncertainty(method="entropy", aggregate="mean", target="mask", **options):
    return ("masks" if target == "mask" else "labels") if method in UNCERTAINTIES else "draws"


for _name, _part in {
    "predict_mask_proba": "masks",
    "predict_masks": "masks",
    "predict_proba": "labels",
    "predict": "labels",
    "predict_joint": "cams",
    "transform": "embeddings",
    "gradient_embedding": "gradients",
    "gradient_length": "gradients",
    "predict_uncertainty": _of_uncertainty,
}.items():
    _recorded(_name, _part)


@pytest.mark.parametrize("name", EVERY)
def test_what_is_said_to_be_needed_is_what_is_called(name):
    toy, X_pool = Recorder(), toy_images(7)
    learner = ToyLearner(toy, toy_images(3, random_state=1), ["class 0", "class 1", "class 2"])
    labels = np.array([f"class {i % 3}" for i in range(7)])
    given = {"n_instances": 3, "random_state": 0, "y_pool": labels, "groups_pool": labels}
    call(EVERY[name], learner, X_pool, **given)
    needed = needs_of(EVERY[name])
    assert needed is not None and needed <= set(PARTS)
    implied = {"labels", "masks"} if "cams" in toy.asked else set()  # of the one call of both
    implied |= {"masks", "labels"} & needed if toy.asked & {"draws", "members"} else set()
    assert toy.asked <= needed <= toy.asked | implied


class OfSeveral(ToySegmenter):
    """A toy whose images are of any number of classes."""

    multilabel_ = True

    @property
    def estimators_(self):
        return [OfSeveral(phase=step) for step in (0.3, 0.6, 0.9)]

    def predict(self, X):
        return (self.predict_proba(X) > 0.5).astype(int)


def _with_each_target(name):
    found = EVERY[name]
    if "target" not in inspect.signature(found).parameters:
        return [found]
    return [found, *(functools.partial(found, target=one) for one in ("mask", "label"))]


@pytest.mark.parametrize("name", sorted(EVERY))
def test_what_goes_by_one_class_is_what_refuses_several(name):
    learner = ToyLearner(OfSeveral(), toy_images(3, random_state=1), np.eye(3, dtype=int))
    given = {"n_instances": 3, "random_state": 0, "y_pool": np.eye(7, 3, dtype=int)}
    for asked in _with_each_target(name):
        refused = ""
        try:
            call(asked, learner, toy_images(7), **given, groups_pool=np.arange(7))
        except ValueError as error:
            refused = str(error)
        is_refused = refused.startswith("labels must be one class an image, for a strategy")
        assert is_refused == needs_one_class(asked), refused


def test_options_decide_what_is_needed():
    partial = functools.partial
    for strategy, needed in [
        (offered.random_sampling, set()),
        (partial(offered.entropy_sampling, target="label"), {"labels"}),
        (partial(offered.badge_sampling, target="label"), {"labels", "embeddings"}),
        (partial(offered.clasp_sampling, method="bald"), {"masks", "draws"}),
        (partial(offered.committee_sampling, members=[1, 2]), {"masks"}),
        (offered.foreground_random("mask"), {"masks"}),
        (offered.foreground_random([0.5]), set()),
        (
            offered.mixture([offered.bald_score, offered.fps_sampling]),
            {"draws", "masks", "embeddings"},
        ),
        (offered.within_seconds(offered.subsample(offered.bald_score)), {"draws", "masks"}),
        (partial(offered.core_set_sampling, embedding=lambda X: X), set()),
        (offered.class_balanced(lambda learner, X_pool: X_pool), set()),
    ]:
        assert needs_of(strategy) == needed, strategy
    assert needs_of(offered.entropy_sampling, LogisticRegression()) == {"labels"}
    assert needs_of(lambda learner, X_pool: 0) is None

    def mine(learner, X_pool, n_instances=1, beta=1):
        return np.arange(n_instances)

    assert not needs_one_class(mine)
    mine.needs = ("cams",)
    assert needs_of(mine) == needs_of(partial(mine, beta=2)) == {"cams"}
    assert needs_of(offered.subsample(mine)) == {"cams"}
    assert needs_one_class(mine) and needs_one_class(offered.subsample(mine))
    for said in (False, True):  # and not what it follows from what it needs
        mine.one_class = said
        for one in (mine, partial(mine, beta=2), offered.subsample(mine)):
            assert needs_one_class(one) is said
    mine.needs = ("camps",)
    with pytest.raises(ValueError, match=r"needs must be of \['masks'.*got \['camps'\]"):
        offered.check_needs(mine, ToySegmenter())


def test_parts_are_told_before_a_fit():
    whole = JointCAMSegmenter()
    assert [part for part in PARTS if not has_part(whole, part)] == ["members"]
    forest = PixelClassifier()
    assert [p for p in PARTS if has_part(forest, p)] == ["masks", "labels", "draws", "embeddings"]
    assert not has_part(PixelClassifier(LogisticRegression()), "draws")
    ensemble = DeepEnsemble(forest)
    assert has_part(ensemble, "members") and not has_part(ensemble, "cams")
    assert not has_part(whole.set_params(network__pooling=None), "cams")


MISSING = r"must be one that does without class activation maps: predict_cams\(X\).* \(which "
MISSING += r"PixelClassifier does not have\), got .*cam_disagreement_sampling.*own_estimator.md"


def test_a_strategy_without_its_part_is_refused_before_any_fit(tmp_path):
    glands = make_glands(8, image_size=(16, 24), random_state=0)
    parts = glands.take(range(5)), glands.take(range(5, 8))
    model, strategy = PixelClassifier(), offered.cam_disagreement_sampling
    with pytest.raises(TypeError, match="query_strategy " + MISSING):
        ActiveLearner(model, strategy, images=glands.images, labels=glands.labels)
    learner = ActiveLearner(model, images=glands.images, labels=glands.labels)
    learner.query_strategy = strategy
    with pytest.raises(TypeError, match="query_strategy " + MISSING):
        learner.query()
    assert not hasattr(learner.__dict__["_estimator"], "classes_")
    options = {"rounds": 1, "initial": 2, "n_instances": 1, "out": tmp_path / "run"}
    with pytest.raises(TypeError, match="strategy " + MISSING):
        run(model, *parts, strategy, **options)
    protocol = Protocol(
        initial=2, n_instances=1, rounds=1, references=("full supervision",), controls=()
    )
    rows = {"random": offered.random_sampling, "cams": strategy}
    with pytest.raises(TypeError, match=r"strategies\['cams'\] " + MISSING):
        compare_strategies(
            model, rows, data=parts, protocol=protocol, seeds=[0], out=tmp_path / "all", verbose=0
        )
    assert not any(tmp_path.glob("*/rows/*"))


def test_feature_vectors_need_no_embeddings():
    X, y = np.array([[0.0], [1.0], [9.0]]), [0, 0, 1]
    learner = ActiveLearner(
        LogisticRegression(), offered.core_set_sampling, X_training=X, y_training=y
    )
    assert learner.query(np.array([[0.5], [20.0]]))[0].tolist() == [1]
    with pytest.raises(TypeError, match="does without stochastic draws.*LogisticRegression"):
        ActiveLearner(LogisticRegression(), offered.bald_sampling, X_training=X, y_training=y)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"agreement": 0.5}, "class activation maps"),
        ({"descriptor": "encoder"}, "embeddings"),
        ({"selection": "ceal"}, "stochastic draws"),
    ],
)
def test_what_an_augmenter_needs_is_looked_for_before_any_fit(options, part):
    class Bare(BaseEstimator):
        def fit(self, X, y, masks=None, mask_weight=None):
            raise AssertionError("it was fitted")

        def predict_mask_proba(self, X):
            return np.full((len(X), 2, 4, 5), 0.5)

    class Weightless(Bare):
        def fit(self, X, y, masks=None):
            raise AssertionError("it was fitted")

    given = {"images": np.zeros((2, 4, 5, 3), np.uint8), "labels": [0, 1]}
    augmenter = PseudoLabelAugmenter("all")
    ActiveLearner(Bare(), augmenter=augmenter, **given)
    with pytest.raises(TypeError, match="one whose fit takes mask_weight.*own_estimator.md"):
        ActiveLearner(Weightless(), augmenter=augmenter, **given)
    with pytest.raises(TypeError, match=f"augmenter must be one that does without {part}"):
        ActiveLearner(Bare(), augmenter=augmenter.set_params(**options), **given)
