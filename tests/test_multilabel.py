"""Images of several classes beyond one fit: data sets, folds, learners, runs and their records."""

import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator

from alseg import (
    ActiveLearner,
    Committee,
    JointCAMSegmenter,
    PixelClassifier,
    PseudoLabelAugmenter,
    compare_strategies,
)
from alseg.datasets import Dataset, class_folds, make_glands
from alseg.derived import doubt_of_labels, uncertainty_of
from alseg.experiment import Protocol, evaluate, run
from alseg.experiment.protocol import folds, without_classes
from alseg.labels import as_labels, join_labels, label_names, label_strata
from alseg.learner import DeepEnsemble
from alseg.metrics import by_label
from alseg.pseudo import within_class_cosine
from alseg.query import class_balanced_top_n, class_quotas
from alseg.strategies import (
    badge_sampling,
    cam_disagreement_score,
    class_balanced,
    committee_sampling,
    committee_score,
    egl_score,
    entropy_score,
    foreground_random_sampling,
    from_skactiveml,
    learning_loss_score,
    least_confidence_score,
    margin_score,
    random_sampling,
    tta_score,
    virtual_adversarial_score,
)
from alseg.testing import ToySegmenter

GLANDS = make_glands(10, image_size=(32, 48), random_state=0)
Y = np.array([[0, 1], [1, 0], [0, 0], [1, 1], [0, 1], [1, 0], [0, 1], [1, 0], [-1, -1], [1, -1]])
DATA = Dataset(GLANDS.images, Y, GLANDS.masks)
TINY = functools.partial(
    JointCAMSegmenter, encoder="tiny", encoder_weights=None, max_epochs=1, random_state=0
)


class Told:
    """Predicts what it is told: masks that are all background, and these classes."""

    n_mask_classes, has_class_head, multilabel_ = 2, True, True

    def __init__(self, proba):
        self.proba, self.classes_ = np.asarray(proba), np.arange(2)

    def predict_joint(self, X):
        n = len(X)
        masks = np.zeros((n, 32, 48), int)
        mask_proba = np.stack([np.ones((n, 32, 48)), np.zeros((n, 32, 48))], 1)
        proba = self.proba[:n]
        return {
            "masks": masks,
            "mask_proba": mask_proba,
            "proba": proba,
            "labels": (proba > 0.5).astype(int),
        }

    def predict_mask_proba(self, X):
        return self.predict_joint(X)["mask_proba"]


# -- labels --


def test_names_joins_and_strata():
    assert label_names(Y).tolist() == [
        *["1", "0", "none", "0+1", "1", "0", "1", "0"],
        *[None, "0+1?"],
    ]
    joined = join_labels(as_labels(Y[:2]), as_labels(None, 1))
    assert joined.tolist() == [[0, 1], [1, 0], [-1, -1]]
    assert join_labels(as_labels(None, 1), as_labels(Y[:1])).tolist() == [[-1, -1], [0, 1]]
    with pytest.raises(TypeError, match="of one shape"):
        join_labels(as_labels(Y), as_labels(np.ones((2, 3))))
    # none: 1 image, 01: 3, 0?: 1, 10: 3, 11: 1, unknown: 1.
    assert sorted(np.bincount(label_strata(Y, at_least=3))) == [3, 3, 4]
    assert sorted(np.bincount(label_strata(Y[:3], at_least=3))) == [3]
    # The one rare set joins the smaller of the others.
    y = [[0, 1]] * 3 + [[1, 0]] * 2 + [[1, 1]]
    assert label_strata(y, at_least=2).tolist() == [0, 0, 0, 1, 1, 1]


def test_parts_of_a_data_set():
    assert repr(DATA) == "Dataset('': 10 images, 2 classes, 10 masks)"
    assert DATA.take([3, 8]).labels.tolist() == [[1, 1], [-1, -1]]
    tests = [test for _, test in folds(DATA.labels, None, 3)]
    assert sorted(np.concatenate(tests).tolist()) == list(range(10))
    for test in tests:  # of the sets of three images each fold has one
        names = label_names(Y[test]).tolist()
        assert names.count("0") == names.count("1") == 1
    valid = class_folds(Y, 0, n_folds=3)
    names = label_names(Y[valid]).tolist()
    assert names.count("0") == names.count("1") == 1
    assert valid.sum() == 4


def test_means_quotas_and_neighbours_by_set():
    values = np.arange(10.0)
    assert by_label(values, Y) == {"none": 2.0, "0": 13 / 3, "1": 10 / 3, "0+1": 3.0, "0+1?": 9.0}
    classes, counts = class_quotas(Y, 6, random_state=0)
    assert len(classes) == 6
    assert counts.tolist() == [1] * 6
    idx = class_balanced_top_n(values, Y, 6)
    assert sorted(idx.tolist()) == [2, 3, 6, 7, 8, 9]
    blocks = [ids.tolist() for ids, _ in within_class_cosine(np.eye(10), Y)]
    assert sorted(map(len, blocks)) == [1, 1, 1, 1, 3, 3]


# -- learners --


def test_a_learner_keeps_the_matrix(tmp_path):
    learner = ActiveLearner(
        TINY(),
        images=GLANDS.images[:8],
        labels=Y[:8],
        masks=[*GLANDS.masks[:2], *[None] * 6],
        augmenter=PseudoLabelAugmenter(),
        random_state=0,
    )
    assert learner.y_training.tolist() == Y[:2].tolist()
    seen = {}

    def strategy(learner, X_pool, n_instances=1, *, y_pool):
        seen["y_pool"] = y_pool
        return np.arange(n_instances)

    learner.query_strategy = strategy
    sample_ids, _ = learner.query(n_instances=2)
    assert_array_equal(seen["y_pool"], Y[2:8])
    learner.annotate(sample_ids, GLANDS.masks[sample_ids])
    assert learner.estimator.multilabel_
    learner.query_strategy = class_balanced(entropy_score)
    ids, _ = learner.query(n_instances=2)
    assert {tuple(row) for row in Y[ids]} == {(0, 1), (1, 0)}  # the sets that are left
    learner.save(tmp_path / "learner", include_images=True)
    again = ActiveLearner.load(tmp_path / "learner")
    assert_array_equal(again.labels, learner.labels)
    assert again.query(n_instances=2)[0].tolist() == ids.tolist()
    new = learner.extend(GLANDS.images[8:], Y[8:])
    assert_array_equal(learner.labels[new], Y[8:])
    learner.extend(GLANDS.images[:1])
    assert learner.labels[-1].tolist() == [-1, -1]
    with pytest.raises(ValueError, match=r"labels must be of shape \(1, 2\)"):
        learner.extend(GLANDS.images[:1], ["a"])
    with pytest.raises(ValueError, match="or .10, K. of several classes, got"):
        ActiveLearner(TINY(), images=GLANDS.images, labels=Y[:, :1])


def test_a_source_of_several_classes():
    source = (GLANDS.images[:2], Y[:2], GLANDS.masks[:2])
    learner = ActiveLearner(
        TINY(), images=GLANDS.images[2:], labels=Y[2:], source=source, random_state=0
    )
    assert learner.fit().estimator.multilabel_
    learner = ActiveLearner(TINY(), images=GLANDS.images[2:], labels=["a"] * 8, source=source)
    with pytest.raises(TypeError, match="labels of source must be of the kind"):
        learner.fit()


# -- experiments --


def test_scores_by_hand():
    # 0: both right. 1: one wrong. 2: not known at all. 3: the one that is known is right.
    test = Dataset(GLANDS.images[:4], [[0, 1], [1, 0], [-1, -1], [1, -1]], GLANDS.masks[:4])
    model = Told([[0.1, 0.9], [0.4, 0.2], [0.9, 0.9], [0.8, 0.3]])
    found = evaluate(model, test)
    assert found["class_accuracy"] == pytest.approx(2 / 3)
    assert {k: v["class_accuracy"] for k, v in found["by_label"].items()} == {
        **{"1": 1.0, "0": 0.0, "0+1?": 1.0}
    }
    assert {k: v["n_images"] for k, v in found["by_label"].items()} == {"1": 1, "0": 1, "0+1?": 1}
    # Five answers are known, with confidences 0.9, 0.9, 0.6, 0.8, 0.8, of which the third is wrong;
    # each confidence has a bin of its own.
    by_hand = (2 * 0.1 + 0.6 + 2 * 0.2) / 5
    assert found["label_calibration_error"] == pytest.approx(by_hand)


def test_a_run_and_what_it_records(tmp_path):
    train, test = DATA.take(range(7)), DATA.take([7, 8, 9])
    records = run(
        TINY(), train, test, random_sampling, rounds=1, n_instances=2, out=tmp_path / "run"
    )
    assert records[0]["config"]["initial"] == 4  # two a class
    assert 0 <= records[1]["metrics"]["class_accuracy"] <= 1
    asked = [item for record in records for item in record["asked"]]
    assert {item["label"] for item in asked} <= {"0", "1", "none", "0+1"}
    assert {item["predicted_label"] for item in records[1]["asked"]} <= {"0", "1", "none", "0+1"}


def test_rows_that_take_the_map_of_one_class_are_left_out():
    protocol = Protocol()
    found = without_classes(protocol, [Y])
    assert found.references == ("full supervision", "all-ones")
    assert "CAM-guided random" not in found.controls
    assert (found.control, found.class_balanced) == (protocol.control, protocol.class_balanced)


# -- doubt --


class Several(Told):
    """`Told` as a learner and a classifier."""

    def predict_proba(self, X):
        return self.proba[: len(X)]


PROBA = np.array([[0.5, 1.0], [0.9, 0.9], [0.2, 0.6]])


def test_doubt_is_the_mean_over_the_classes():
    model, X = Several(PROBA), list(GLANDS.images[:3])
    by_hand = {
        "least_confidence": [0.25, 0.1, 0.3],
        "margin": [(1 + 0) / 2, (0.2 + 0.2) / 2, (0.4 + 0.8) / 2],  # 1 - |p - (1 - p)|
    }
    for method, expected in by_hand.items():
        assert_allclose(doubt_of_labels(model, PROBA, method), expected)
        score = {"least_confidence": least_confidence_score, "margin": margin_score}[method]
        assert_allclose(score(model, X, target="label"), expected)
        assert_allclose(uncertainty_of(model, X, method=method, target="label"), expected)
    # Two members: of the first image the first class, of the second none, is disputed.
    other = Several([[0.5, 0.0], [0.9, 0.9], [0.2, 0.6]])
    votes = committee_score([model, other], X, method="vote_entropy", target="label")
    assert_allclose(votes, [np.log(2) / 2, 0, 0])
    assert_allclose(tta_score(model, X, target="label", method="mc_variance"), 0, atol=1e-12)


def test_a_deep_ensemble_and_a_committee(tmp_path):
    masks = [*GLANDS.masks[:4], *[None] * 6]
    ensemble = DeepEnsemble(TINY(), 2, bootstrap=True, random_state=0)
    ensemble.fit(GLANDS.images, Y, masks)
    proba = np.mean([m.predict_proba(GLANDS.images) for m in ensemble.estimators_], axis=0)
    assert_allclose(ensemble.predict_proba(GLANDS.images), proba)
    assert_array_equal(ensemble.predict(GLANDS.images), proba > 0.5)
    assert_array_equal(ensemble.predict_joint(GLANDS.images).labels, proba > 0.5)
    entropy = -(proba * np.log(proba) + (1 - proba) * np.log(1 - proba)).mean(1)
    assert_allclose(ensemble.predict_uncertainty(GLANDS.images, target="label"), entropy)
    right = ((ensemble.predict(GLANDS.images) == Y) | (Y == -1)).all(1)
    assert ensemble.score(GLANDS.images, Y) == right[Y.max(1) > -1].mean()
    ensemble.save(tmp_path / "ensemble")
    again = DeepEnsemble.load(tmp_path / "ensemble")
    assert again.multilabel_
    assert_array_equal(again.predict(GLANDS.images), proba > 0.5)
    learners = [
        ActiveLearner(TINY(), images=GLANDS.images, labels=Y, masks=masks, random_state=seed)
        for seed in (0, 1)
    ]
    committee = Committee(learners, query_strategy=committee_sampling)
    proba = np.mean([one.predict_proba(GLANDS.images) for one in learners], axis=0)
    assert_array_equal(committee.predict(GLANDS.images), proba > 0.5)
    assert committee_score(committee, GLANDS.images[:2], target="label").shape == (2,)
    for method in (committee.vote, committee.vote_proba):
        with pytest.raises(TypeError, match="labels must be one class an image, for votes"):
            method(GLANDS.images)


BY_ONE_CLASS = [
    functools.partial(egl_score, target="label"),
    functools.partial(badge_sampling, target="label"),
    functools.partial(virtual_adversarial_score, target="label"),
    functools.partial(learning_loss_score, target="label"),
    cam_disagreement_score,
    functools.partial(foreground_random_sampling, source="cam"),
]


@pytest.mark.parametrize("score", BY_ONE_CLASS)
def test_what_goes_by_one_class_says_so(score):
    learner = ActiveLearner(
        TINY(), images=GLANDS.images, labels=Y, masks=[*GLANDS.masks[:4], *[None] * 6]
    )
    learner.fit()
    with pytest.raises(ValueError, match="labels must be one class an image, for a strategy"):
        score(learner, GLANDS.images[4:])


class NeverFitted(ToySegmenter, BaseEstimator):
    multilabel_ = True

    def fit(self, *args, **kwargs):
        raise AssertionError("fitted before it was refused")


@pytest.mark.parametrize("score", BY_ONE_CLASS)
@pytest.mark.parametrize("wrapped", [lambda score: score, class_balanced], ids=["", "balanced"])
def test_it_is_refused_before_anything_is_fitted(score, wrapped, tmp_path):
    wrong = ".* must be one that does without the one class of an image: these are of several"
    strategy, model = wrapped(score), NeverFitted()
    masks = [*GLANDS.masks[:4], *[None] * 6]
    with pytest.raises(ValueError, match="query_strategy" + wrong):
        ActiveLearner(model, images=GLANDS.images, labels=Y, masks=masks, query_strategy=strategy)
    learner = ActiveLearner(model, images=GLANDS.images, labels=Y, masks=masks)
    learner.query_strategy = strategy
    with pytest.raises(ValueError, match="query_strategy" + wrong):
        learner.query()
    with pytest.raises(ValueError, match="strategy" + wrong):
        run(model, DATA, DATA, strategy, rounds=1, n_instances=1, initial=2, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"strategies\['asked'\]" + wrong):
        compare_strategies(
            model,
            {"asked": strategy},
            data=DATA,
            seeds=[0],
            out=tmp_path / "comparison",
            protocol=Protocol(initial=2, n_instances=1, rounds=1, n_folds=2, references=()),
            verbose=0,
        )


def test_a_strategy_of_scikit_activeml_that_asks_no_classifier():
    pool = pytest.importorskip("skactiveml.pool")
    learner = ActiveLearner(
        TINY(), images=GLANDS.images, labels=Y, masks=[*GLANDS.masks[:4], *[None] * 6]
    )
    learner.query_strategy = pool.CoreSet(random_state=0)
    assert set(learner.query(n_instances=2)[0]) <= set(range(4, 10))
    asks_one = pool.UncertaintySampling(random_state=0)
    learner.query_strategy = asks_one
    told = "must be one that does without the one class of an image.* scikit-activeml a clf= of"
    with pytest.raises(ValueError, match=f"query_strategy {told}"):
        learner.query(n_instances=2)
    with pytest.raises(ValueError, match=f"query_strategy {told}"):
        ActiveLearner(NeverFitted(), query_strategy=asks_one, images=GLANDS.images, labels=Y)
    with pytest.raises(ValueError, match="labels must be one class an image, for a strategy"):
        from_skactiveml(asks_one)(learner, GLANDS.images[4:], 2)


def test_an_augmenter_has_no_map_of_the_class():
    told = "augmenter must be one that does without the one class of an image"
    augmenter = PseudoLabelAugmenter(agreement="weight")
    masks = [*GLANDS.masks[:4], *[None] * 6]
    given = {"images": GLANDS.images, "labels": Y, "masks": masks}
    with pytest.raises(ValueError, match=f"{told}.*evidence=.'colours',."):
        ActiveLearner(TINY(), augmenter=augmenter, **given)
    model = TINY().fit(*given.values())
    with pytest.raises(ValueError, match="evidence must be .'colours',. where images are of seve"):
        augmenter.fit(*given.values(), estimator=model)


@pytest.mark.slow
def test_a_comparison(tmp_path):
    found = compare_strategies(
        PixelClassifier(n_pixels=20, random_state=0),
        {"random": random_sampling},
        data=DATA,
        seeds=[0],
        out=tmp_path / "out",
        protocol=Protocol(initial=2, n_instances=1, rounds=1, n_folds=2, references=("all-ones",)),
        verbose=0,
    )
    frame = found.to_frame()
    accuracy = frame[(frame["metric"] == "class_accuracy") & (frame["row"] == "random")]["value"]
    assert len(accuracy) == 2
    assert accuracy.between(0, 1).all()
