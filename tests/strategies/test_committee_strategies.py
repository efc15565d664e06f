"""alseg.strategies.disagreement and consistency: members, views, CAM against decoder, by hand."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB, MultinomialNB

from alseg import ActiveLearner, Committee, Network
from alseg.learner.ensemble import DeepEnsemble
from alseg.query.uncertainty import DRAW_UNCERTAINTIES
from alseg.strategies import (
    cam_disagreement_sampling,
    cam_disagreement_score,
    committee_sampling,
    committee_score,
    entropy_score,
    mc_dropout_sampling,
    mc_dropout_score,
    tta_sampling,
    tta_score,
)
from alseg.strategies.disagreement import members_of
from alseg.strategies.two_views import VIEWS, move, move_back
from alseg.testing.toys import ToyLearner, ToySegmenter, toy_images


class Constant:
    """The same probabilities of pixels for every image."""

    def __init__(self, foreground):
        self.foreground = foreground

    def predict_mask_proba(self, X):
        p = np.stack([np.full(np.shape(X[i])[:2], self.foreground) for i in range(len(X))])
        return np.stack([1 - p, p], axis=1)


def test_committee_of_segmenters_by_hand():
    X = toy_images(3)
    trio = [Constant(0.9), Constant(0.6), Constant(0.2)]  # votes 1, 1, 0
    p = np.array([0.9, 0.6, 0.2])
    draws = np.stack([1 - p, p], axis=1)
    consensus = scipy.stats.entropy(draws.mean(axis=0))
    expected = {
        "vote_entropy": scipy.stats.entropy([2 / 3, 1 / 3]),
        "variation_ratio": 1 / 3,
        "mc_variance": p.var(ddof=1),
        "mean_deviation": p.std(),
        "predictive_entropy": consensus,
        "expected_entropy": scipy.stats.entropy(draws, axis=1).mean(),
        "bald": scipy.special.rel_entr(draws, draws.mean(axis=0)).sum(axis=1).mean(),
        "pairwise_dice": 2 / 3,  # two masks of all pixels, and one of none: Dice 1, 0, 0
    }
    assert set(expected) == set(DRAW_UNCERTAINTIES)
    for method, value in expected.items():
        np.testing.assert_allclose(committee_score(trio, X, method=method), value, err_msg=method)
    total = committee_score(trio, X, method="variation_ratio", aggregate="sum")
    np.testing.assert_allclose(total, 256 / 3)
    scores, maps = committee_score(trio, X, method="variation_ratio", return_maps=True)
    assert maps.shape == (3, 16, 16)
    np.testing.assert_allclose(maps, 1 / 3)


def test_committee_on_images_of_differing_sizes_and_in_chunks():
    X = toy_images(20, ragged=True)
    members = ToySegmenter().estimators_
    draws = [np.stack([m.predict_mask_proba([x])[0] for m in members]) for x in X]
    expected = [d.var(axis=0, ddof=1).mean() for d in draws]
    found = committee_score(ToyLearner(ToySegmenter(), X[:1], [0]), X, method="mc_variance")
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    _, maps = committee_score(members, X, method="mc_variance", return_maps=True)
    assert [m.shape for m in maps] == [x.shape[:2] for x in X]
    best = committee_sampling(members, X, 2, method="mc_variance")
    np.testing.assert_array_equal(best, np.argsort(expected)[::-1][:2])


def test_committee_on_labels_equals_modal(rng):
    from modAL.disagreement import consensus_entropy, vote_entropy
    from modAL.models import ActiveLearner as ModalLearner
    from modAL.models import Committee as ModalCommittee

    X = rng.normal(size=(90, 3))
    y = X.argmax(axis=1)  # modAL's votes fail on labels that are text
    parts = [slice(0, 20), slice(20, 40), slice(40, 60)]
    fitted = [GaussianNB().fit(X[part], y[part]) for part in parts]
    modal = ModalCommittee([ModalLearner(model) for model in fitted])
    ours = Committee([ActiveLearner(model) for model in fitted])
    for committee in (modal, ours, fitted):
        votes = committee_score(committee, X, target="label")
        np.testing.assert_allclose(votes, vote_entropy(modal, X), atol=1e-12)
        found = committee_score(committee, X, target="label", method="predictive_entropy")
        np.testing.assert_allclose(found, consensus_entropy(modal, X), atol=1e-12)


def test_members_with_unequal_classes(rng):
    X = np.array([[0.0], [1.0], [2.0]])
    low = GaussianNB().fit([[0.0], [0.1], [1.0], [1.1]], ["a", "a", "b", "b"])
    high = GaussianNB().fit([[1.0], [1.1], [2.0], [2.1]], ["b", "b", "c", "c"])
    np.testing.assert_allclose(
        committee_score([low, high], X, target="label"), [np.log(2), 0, np.log(2)], atol=1e-9
    )


def test_ensembles_of_scikit_learn(rng):
    X = rng.normal(size=(60, 4))
    y = np.array(["a", "b"])[(X[:, 0] > 0).astype(int)]
    forest = RandomForestClassifier(5, max_depth=2, random_state=0).fit(X, y)
    draws = np.stack([tree.predict_proba(X) for tree in forest.estimators_])
    found = committee_score(forest, X, target="label", method="mc_variance")
    np.testing.assert_allclose(found, draws.var(axis=0, ddof=1).mean(axis=1))
    bagging = BaggingClassifier(LogisticRegression(), 4, max_features=2, random_state=0).fit(X, y)
    pairs = zip(bagging.estimators_, bagging.estimators_features_, strict=True)
    draws = np.stack([model.predict_proba(X[:, features]) for model, features in pairs])
    found = committee_score(bagging, X, target="label", method="mc_variance")
    np.testing.assert_allclose(found, draws.var(axis=0, ddof=1).mean(axis=1))


def test_what_is_no_committee():
    X = toy_images(2)
    with pytest.raises(TypeError, match="learner must be a committee of estimators.*DeepEnsemble"):
        committee_score(GaussianNB(), X)
    with pytest.raises(ValueError, match="at least 2 members, got 1. One cannot disagree"):
        committee_score([ToySegmenter()], X)
    with pytest.raises(TypeError, match="members must be with `predict_mask_proba`.*'label'"):
        committee_score([GaussianNB(), GaussianNB()], X, target="mask")
    with pytest.raises(TypeError, match="members must be with `predict_proba`"):
        committee_score([Constant(0), Constant(1)], X, target="label")
    with pytest.raises(ValueError, match="method must be one of .*Did you mean 'bald'"):
        committee_score(ToySegmenter(), X, method="balt")
    with pytest.raises(ValueError, match="target must be 'mask' for maps"):
        committee_score(ToySegmenter(), X, target="label", return_maps=True)
    assert members_of(ToyLearner(ToySegmenter(), X, [0, 0]))[0].phase == 0.3


# -- draws --


@pytest.mark.parametrize("method", DRAW_UNCERTAINTIES)
def test_every_measure_of_draws_is_a_strategy(method):
    toy, X = ToySegmenter(), toy_images(5)
    scores = mc_dropout_score(toy, X, 3, method=method, n_draws=6)
    expected = toy.predict_uncertainty(
        X, method, n_draws=6, random_state=int(np.random.default_rng(3).integers(2**31 - 1))
    )
    np.testing.assert_array_equal(scores, expected)
    labels = mc_dropout_score(toy, X, 3, method=method, target="label")
    assert labels.shape == (5,) and (labels != scores).any()
    with pytest.raises(ValueError, match="method must be one of"):
        mc_dropout_sampling(toy, X, method=method + "s")


# -- views --


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_inverted(view, rng):
    image, proba = rng.random((4, 6, 3)), rng.random((2, 4, 6))
    moved = np.stack([move(p, view) for p in proba])
    np.testing.assert_array_equal(move_back(moved, view), proba)
    assert (move(image, view).shape[:2] == (6, 4)) == (
        view in ("rot90", "rot270", "transpose", "antitranspose")
    )
    if view == "transpose":
        np.testing.assert_array_equal(move(image, view)[..., 0], image[..., 0].T)


def test_views_are_eight(rng):
    image = rng.random((3, 3))
    assert len({move(image, view).tobytes() for view in VIEWS}) == 8


class LeftIsForeground:
    """What it says depends on the place alone, so that a mirrored image gets another answer."""

    classes_ = np.array([0, 1])

    def predict_mask_proba(self, X):
        found = np.empty(len(X), dtype=object)
        for i in range(len(X)):
            h, w = np.shape(X[i])[:2]
            p = np.zeros((h, w))
            p[:, : w // 2] = 1
            found[i] = np.stack([1 - p, p])
        return found

    def predict_proba(self, X):
        light = np.array([np.asarray(X[i], float)[:, :2].mean() / 255 for i in range(len(X))])
        return np.stack([1 - light, light], axis=1)


def test_views_are_compared_in_the_image_s_own_geometry(rng):
    X = toy_images(3, ragged=True)
    # a pixelwise prediction moves with the image: nothing disagrees, in all eight views
    toy = ToySegmenter()
    np.testing.assert_allclose(tta_score(toy, X, views=list(VIEWS)), 0, atol=1e-12)
    entropies = tta_score(toy, X, views=list(VIEWS), method="predictive_entropy")
    np.testing.assert_allclose(entropies, entropy_score(toy, X), rtol=1e-6)
    # of identity, horizontal, vertical, rot180 two say left and two say right, at every pixel
    X = [np.zeros((4, 6, 3), np.uint8)]
    np.testing.assert_allclose(tta_score(LeftIsForeground(), X, method="vote_entropy"), np.log(2))
    np.testing.assert_allclose(tta_score(LeftIsForeground(), X), np.var([1, 0, 1, 0], ddof=1))
    same = tta_score(LeftIsForeground(), X, views=["identity", "vertical"])
    np.testing.assert_array_equal(same, [0])
    scores, maps = tta_score(LeftIsForeground(), X, return_maps=True)
    assert np.shape(maps) == (1, 4, 6)


def test_views_of_labels_and_own_views():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, :2] = 255
    found = tta_score(LeftIsForeground(), [image], target="label", views=["identity", "horizontal"])
    np.testing.assert_allclose(found, [0.5])  # certain of 1, certain of 0
    darker = (lambda x: x // 2, None)
    toy, X = ToySegmenter(), toy_images(3)
    found = tta_score(toy, X, views=["identity", darker])
    draws = np.stack([toy.predict_mask_proba(X), toy.predict_mask_proba(X // 2)])
    np.testing.assert_allclose(found, draws.var(axis=0, ddof=1).mean(axis=(1, 2, 3)), rtol=1e-6)


def test_bad_views():
    toy, X = ToySegmenter(), toy_images(2)
    for views in (["identity"], "horizontal", 3):
        with pytest.raises(ValueError, match="views must be a sequence of at least 2"):
            tta_score(toy, X, views=views)
    with pytest.raises(ValueError, match="views must be names.*Did you mean 'horizontal'"):
        tta_score(toy, X, views=["identity", "horizontl"])
    with pytest.raises(ValueError, match="views must be mapped back to"):
        tta_score(toy, [np.zeros((4, 6, 3))], views=["identity", (np.rot90, None)])
    with pytest.raises(TypeError, match="learner must be with `predict_mask_proba`"):
        tta_sampling(GaussianNB(), X, target="mask")


# -- CAM against decoder --


class Joint:
    def __init__(self, cams, foreground, proba=(0.0, 1.0)):
        self.cams, self.foreground, self.proba = cams, foreground, proba

    def predict_joint(self, X):
        n = len(X)
        p = np.repeat(self.foreground[None], n, axis=0)
        return {
            "proba": np.repeat([self.proba], n, axis=0),
            "cams": np.repeat(self.cams[None], n, axis=0),
            "mask_proba": np.stack([1 - p, p], axis=1),
        }


def test_cam_against_decoder_by_hand():
    cam = np.array([[2.0, 2.0], [6.0, 6.0]])  # scaled: background above, foreground below
    other = np.array([[9.0, 1.0], [1.0, 1.0]])
    X = np.zeros((2, 2, 2, 3), np.uint8)
    agree = Joint(np.stack([other, cam]), np.array([[0.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_allclose(cam_disagreement_score(agree, X), 0, atol=1e-12)
    # the lower left is missed by the mask: log 2 there (Jensen-Shannon), 0 elsewhere
    missed = Joint(np.stack([other, cam]), np.array([[0.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(cam_disagreement_score(missed, X), np.log(2) / 4)
    np.testing.assert_allclose(cam_disagreement_score(missed, X, aggregate="max"), np.log(2))
    # the class of the image decides whose map it is
    wrong = Joint(np.stack([cam, other]), np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert (cam_disagreement_score(wrong, X) > 0.3).all()
    _, maps = cam_disagreement_score(missed, X, return_maps=True)
    np.testing.assert_allclose(maps[0], [[0, 0], [np.log(2), 0]], atol=1e-6)
    half = Joint(np.stack([other, np.array([[0.0, 0.5], [1.0, 1.0]])]), np.zeros((2, 2)))
    assert (cam_disagreement_score(half, X, power=4) < cam_disagreement_score(half, X)).all()
    with pytest.raises(TypeError, match="learner must be with `predict_joint`"):
        cam_disagreement_sampling(GaussianNB(), X)
    with pytest.raises(ValueError, match="power must be > 0"):
        cam_disagreement_score(half, X, power=0)


# -- a deep ensemble --


def test_deep_ensemble_in_the_loop():
    from alseg.datasets import make_glands
    from alseg.segmenter.estimator import JointCAMSegmenter

    glands = make_glands(8, image_size=(32, 32), random_state=0)
    base = JointCAMSegmenter(encoder="tiny", max_epochs=1, predict_batch_size=4)
    model = DeepEnsemble(base, n_estimators=2, bootstrap=True, random_state=0)
    masks = [mask if i < 4 else None for i, mask in enumerate(glands.masks)]
    learner = ActiveLearner(
        model,
        query_strategy=committee_sampling,
        images=glands.images,
        labels=glands.labels,
        masks=masks,
        random_state=0,
    )
    sample_ids, _ = learner.query(n_instances=2)
    assert set(sample_ids) <= {4, 5, 6, 7}
    fitted = learner.estimator
    one, two = fitted.estimators_
    draws = np.stack([m.predict_mask_proba(glands.images) for m in (one, two)]).astype(float)
    assert np.abs(draws[0] - draws[1]).max() > 1e-4  # two starts
    np.testing.assert_allclose(
        fitted.predict_mask_proba(glands.images), draws.mean(axis=0), atol=1e-6
    )
    found = fitted.predict_uncertainty(glands.images, method="mc_variance")
    np.testing.assert_allclose(found, draws.var(axis=0, ddof=1).mean(axis=(1, 2, 3)), rtol=1e-4)
    plain = fitted.predict_uncertainty(glands.images, method="entropy")
    entropies = scipy.stats.entropy(draws.mean(axis=0), axis=1).mean(axis=(1, 2))
    np.testing.assert_allclose(plain, entropies, rtol=1e-4)
    label = fitted.predict_uncertainty(glands.images, method="bald", target="label")
    assert label.shape == (8,) and (label >= 0).all()
    assert fitted.transform(glands.images).shape[1] == 2 * one.transform(glands.images).shape[1]
    assert 0 <= fitted.score_masks(glands.images, glands.masks) <= 1
    assert fitted.predict_masks(glands.images).shape == (8, 32, 32)


def test_deep_ensemble_repeats_and_refuses():
    with pytest.raises(ValueError, match="n_estimators must be >= 2, got 1"):
        DeepEnsemble(GaussianNB(), 1).fit([[0.0], [1.0]], [0, 1])
    X, y = np.arange(12.0)[:, None], np.repeat(["a", "b"], 6)
    model = DeepEnsemble(GaussianNB(), 3, bootstrap=True, random_state=0).fit(X, y)
    again = DeepEnsemble(GaussianNB(), 3, bootstrap=True, random_state=0).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), again.predict_proba(X))
    assert len({m.theta_.tobytes() for m in model.estimators_}) == 3  # samples of their own
    assert all(m.class_count_.tolist() == [6, 6] for m in model.estimators_)
    with pytest.raises(ValueError, match="target must be 'mask' for maps"):
        model.predict_uncertainty(X, target="label", return_maps=True)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_an_ensemble_is_told_of_classes_that_it_has_not_met(bootstrap):
    X, y = np.repeat(np.eye(3, dtype=int)[:2], 4, axis=0), np.repeat([0, 1], 4)
    base = MultinomialNB(fit_prior=False)
    model = DeepEnsemble(base, 2, bootstrap=bootstrap, random_state=0)
    model.partial_fit(X, y, classes=[0, 1, 2])
    assert model.classes_.tolist() == [0, 1, 2] and model.predict_proba(X).shape == (8, 3)
    model.partial_fit([[0, 0, 9]], [2])
    assert model.predict([[0, 0, 1]]).tolist() == [2]


class Sampled(ClassifierMixin, BaseEstimator):
    """Keeps what it was fitted to, and from which seed."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y, masks=None, mask_weight=None):
        self.seen_ = []
        return self.partial_fit(X, y, None, masks, mask_weight)

    def partial_fit(self, X, y, classes=None, masks=None, mask_weight=None):
        marks = None if masks is None else [None if m is None else int(m[0, 0]) for m in masks]
        weights = None if mask_weight is None else list(mask_weight)
        self.seen_ += [(self.random_state, [int(np.ravel(x)[0]) for x in X], y, marks, weights)]
        self.classes_ = np.unique(0 if y is None else y)
        return self


@pytest.mark.parametrize("fit", ["fit", "partial_fit"])
def test_members_draw_masks_by_position(fit):
    X, y = np.arange(12)[:, None], np.repeat([0, 1], 6)
    masks = np.empty(12, dtype=object)
    masks[:] = [np.full((2, 2), i) if i % 3 else None for i in range(12)]
    column = pd.Series(masks, index=range(11, -1, -1))  # its labels are not its positions
    weight = pd.Series(np.arange(12) / 12, index=range(3, 15))
    model = DeepEnsemble(Sampled(), 2, bootstrap=True, random_state=0)
    getattr(model, fit)(X, y, masks=column, mask_weight=weight)
    model.partial_fit(X, y, masks=column, mask_weight=weight)
    for _, ids, labels, marks, weights in (one for m in model.estimators_ for one in m.seen_):
        assert len(set(ids)) < 12 and labels.tolist() == [i // 6 for i in ids]
        assert marks == [i if i % 3 else None for i in ids]
        assert weights == [i / 12 for i in ids]
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        getattr(model, fit)(X, y, masks=column, mask_weight=[*weight, 1.0])


@pytest.mark.parametrize("bootstrap", [False, True])
def test_a_continued_fit_of_an_ensemble_draws_anew(bootstrap):
    def seen(*seeds):
        model = DeepEnsemble(Sampled(), 2, bootstrap=bootstrap, random_state=seeds[0])
        for seed in seeds:
            model.set_params(random_state=seed).partial_fit(np.arange(12)[:, None], [0, 1] * 6)
        return [[(seed, ids) for seed, ids, *_ in m.seen_] for m in model.estimators_]

    one, two = seen(0, 1)
    drawn = [str(fit[1] if bootstrap else fit[0]) for fit in (*one, *two)]
    assert len(set(drawn)) == 4 and len({seed for seed, _ in (*one, *two)}) == 4
    assert seen(0, 1) == [one, two]
    assert seen(1, 0) == [one[::-1], two[::-1]]
    first, second = seen(5, None)[0]
    assert first[0] == second[0]  # no seed of the ensemble's: the member's own stays


def test_rounds_of_a_warm_ensemble_have_seeds_of_their_own():
    images, labels = toy_images(4), [0, 1, 0, 1]
    learner = ActiveLearner(
        DeepEnsemble(Sampled(), 2),
        images=images,
        labels=labels,
        warm_start=True,
        random_state=0,
        query_strategy=committee_sampling,
    )
    for i in range(3):
        learner.annotate([i], np.ones((1, *images[i].shape[:2]), int))
    seeds = [fit[0] for member in learner.estimator.estimators_ for fit in member.seen_]
    assert len(set(seeds)) == 6


@pytest.mark.parametrize("bootstrap", [False, True])
def test_an_ensemble_of_masks_alone_needs_no_classes(bootstrap):
    from alseg.segmenter.estimator import JointCAMSegmenter

    X = np.arange(6)[:, None]
    model = DeepEnsemble(Sampled(), 2, bootstrap=bootstrap, random_state=0).fit(X, None)
    model.partial_fit(X, None)
    assert all(fit[2] is None for member in model.estimators_ for fit in member.seen_)
    images, masks = toy_images(4), [np.ones((16, 16), int)] * 2 + [None] * 2
    base = JointCAMSegmenter("tiny", max_epochs=1, steps_per_epoch=1, network=Network(pooling=None))
    model = DeepEnsemble(base, 2, bootstrap=bootstrap, random_state=0).fit(images, None, masks)
    assert len(model.predict_masks(images)) == 4


@pytest.fixture(scope="module")
def glands():
    from alseg.datasets import make_glands

    return make_glands(8, image_size=(24, 32), random_state=0)


@pytest.fixture(scope="module")
def ensemble(glands):
    from alseg.segmenter.estimator import JointCAMSegmenter

    base = JointCAMSegmenter(encoder="tiny", max_epochs=1, steps_per_epoch=2, batch_size=4)
    return DeepEnsemble(base, 2, bootstrap=True, random_state=4).fit(
        glands.images, glands.labels, masks=glands.masks
    )


def same_predictions(one, two, X):
    for method in ("predict", "predict_proba", "predict_masks", "predict_mask_proba", "transform"):
        np.testing.assert_array_equal(getattr(one, method)(X), getattr(two, method)(X))
    kinds = [model.predict_uncertainty(X, method="bald") for model in (one, two)]
    np.testing.assert_array_equal(*kinds)


def test_a_saved_ensemble_is_the_same_again(ensemble, glands, tmp_path):
    path = tmp_path / "new" / "model"
    for _ in range(2):  # the second replaces the first
        ensemble.save(path)
        assert len(list(path.glob("member-*"))) == 2
    kinds = {file.suffix for file in path.rglob("*") if file.is_file()}
    assert kinds == {".json", ".safetensors"}
    again = DeepEnsemble.load(path)
    same_predictions(ensemble, again, glands.images)
    assert (again.n_estimators, again.bootstrap, again.random_state) == (2, True, 4)
    # A further fit is that of the one saved.
    fits = [
        m.fit(glands.images, glands.labels, masks=glands.masks)
        for m in (sklearn.base.clone(ensemble), again)
    ]
    same_predictions(*fits, glands.images)
    three = DeepEnsemble.load(path, estimator=ensemble.estimator, n_estimators=3, random_state=1)
    assert three.estimator is ensemble.estimator and three.n_estimators == 3
    same_predictions(ensemble, three, glands.images)


def test_a_learner_around_an_ensemble_is_saved(ensemble, glands, tmp_path):
    masks = [mask if i < 4 else None for i, mask in enumerate(glands.masks)]
    learner = ActiveLearner(
        ensemble,
        query_strategy=committee_sampling,
        images=glands.images,
        labels=glands.labels,
        masks=masks,
        random_state=0,
    ).fit()
    learner.save(tmp_path)
    again = ActiveLearner.load(tmp_path)
    same_predictions(learner.estimator, again.estimator, glands.images)
    np.testing.assert_array_equal(learner.query(n_instances=2)[0], again.query(n_instances=2)[0])


def test_an_interrupted_save_leaves_the_ensemble_before(ensemble, glands, tmp_path, monkeypatch):
    from alseg.segmenter.estimator import JointCAMSegmenter

    ensemble.save(tmp_path / "model")
    fitted = sklearn.base.clone(ensemble).set_params(random_state=5)
    fitted.fit(glands.images, glands.labels, masks=glands.masks)
    save, saved = JointCAMSegmenter.save, []

    def stopped(self, path):
        if saved:
            raise KeyboardInterrupt
        saved.append(path)
        save(self, path)

    for path in (tmp_path / "model", tmp_path / "other"):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            saved.clear()
            patched.setattr(JointCAMSegmenter, "save", stopped)
            fitted.save(path)
    same_predictions(DeepEnsemble.load(tmp_path / "model"), ensemble, glands.images)
    with pytest.raises(FileNotFoundError, match="path must be a folder that `save` wrote"):
        DeepEnsemble.load(tmp_path / "other")
    for path in (tmp_path / "model", tmp_path / "other"):
        fitted.save(path)
        assert len(list(path.glob("member-*"))) == 2
        same_predictions(DeepEnsemble.load(path), fitted, glands.images)


def test_loading_an_ensemble_executes_nothing(ensemble, tmp_path):
    path = tmp_path / "model"
    ensemble.save(path)
    record = json.loads((path / "ensemble.json").read_text())
    for field, value, match in [
        ("class", "os:system", "estimator must be .* defined in alseg, as alseg.module:name"),
        ("class", "alseg.learner.ensemble:json", "Pass estimator= itself"),
        ("members", ["../../elsewhere", "b"], "It is damaged: members"),
        ("members", [], "It is damaged: members"),
        ("n_estimators", 1, "It is damaged: n_estimators must be >= 2"),
        ("format", "alseg.DeepEnsemble/9", "unknown format"),
    ]:
        (path / "ensemble.json").write_text(json.dumps({**record, field: value}))
        with pytest.raises(ValueError, match=match):
            DeepEnsemble.load(path)
    (path / "ensemble.json").write_text("{")
    with pytest.raises(ValueError, match="path must be a folder that `save` wrote.*It is damaged"):
        DeepEnsemble.load(path)


def test_what_an_ensemble_refuses_to_save(ensemble, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="path must be new, or a folder of an earlier save"):
        ensemble.save(tmp_path)
    with pytest.raises(NotFittedError):
        DeepEnsemble(ensemble.estimator).save(tmp_path / "model")
    model = DeepEnsemble(GaussianNB(), 2, random_state=0).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(AttributeError, match="'DeepEnsemble' has no attribute 'save'"):
        model.save(tmp_path / "model")


def test_embeddings_of_an_ensemble_stand_side_by_side(ensemble, glands):
    one, two = ensemble.estimators_
    for kind in ("encoder", "decoder", "cam"):
        found = ensemble.transform(glands.images, kind=kind)
        parts = [member.transform(glands.images, kind=kind) for member in (one, two)]
        np.testing.assert_array_equal(found, np.concatenate(parts, axis=1))
    near, far = ((found[:1] - found[1:]) ** 2).sum(axis=1), 0
    for part in parts:
        far = far + ((part[:1] - part[1:]) ** 2).sum(axis=1)
    np.testing.assert_allclose(near, far, rtol=1e-5)
    np.testing.assert_array_equal(
        ensemble.transform(glands.images), ensemble.transform(glands.images, kind="encoder")
    )


def test_what_an_ensemble_predicts_jointly_is_the_mean(ensemble, glands):
    X = [glands.images[0], glands.images[1][:20]]  # of two sizes
    found, parts = ensemble.predict_joint(X), [m.predict_joint(X) for m in ensemble.estimators_]
    np.testing.assert_array_equal(found.labels, ensemble.predict(X))
    np.testing.assert_allclose(found.proba, ensemble.predict_proba(X))
    for i in range(2):
        np.testing.assert_allclose(
            found.mask_proba[i], ensemble.predict_mask_proba(X)[i], atol=1e-6
        )
        np.testing.assert_array_equal(found.masks[i], ensemble.predict_masks(X)[i])
        np.testing.assert_allclose(found.cams[i], (parts[0].cams[i] + parts[1].cams[i]) / 2)
    assert [mask.shape for mask in found.masks] == [(24, 32), (20, 32)]
