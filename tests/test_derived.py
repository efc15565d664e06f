"""What is taken for a method that a model lacks, compared with a model that has it."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline

from alseg import ActiveLearner, PseudoLabelAugmenter, derived
from alseg.experiment import run
from alseg.learner import DeepEnsemble
from alseg.metrics import mean_dice
from alseg.oracles import MaskOracle
from alseg.strategies import (
    cam_disagreement_score,
    entropy_sampling,
    entropy_score,
    ripu_score,
    tta_score,
)
from alseg.testing import ToySegmenter, toy_images


class Bare(BaseEstimator):
    """The least there can be: what is bright is foreground, from where the masks say."""

    def __init__(self, width=20.0):
        self.width = width

    def fit(self, X, y, masks=None, mask_weight=None):
        self.level_ = 128.0
        known = [] if masks is None else [i for i in range(len(X)) if masks[i] is not None]
        grey = [np.asarray(X[i]).mean(axis=-1) for i in known]
        sides = (
            [np.concatenate([g[masks[i] == c] for g, i in zip(grey, known)]) for c in (0, 1)]
            if known
            else [[], []]
        )
        if all(len(side) for side in sides):
            self.level_ = float(np.mean([side.mean() for side in sides]))
        return self

    def predict_mask_proba(self, X):
        found = []
        for i in range(len(X)):
            away = (np.asarray(X[i], float).mean(axis=-1) - self.level_) / self.width
            p = 1 / (1 + np.exp(-np.clip(away, -30, 30)))
            found.append(np.stack([1 - p, p]))
        return found


class Brighter(TransformerMixin, BaseEstimator):
    def __init__(self, by=30):
        self.by = by

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        bright = [np.clip(np.asarray(X[i], int) + self.by, 0, 255) for i in range(len(X))]
        return [image.astype(np.uint8) for image in bright]


@pytest.fixture
def images():
    return toy_images(6, random_state=2)


@pytest.fixture
def masks(images):
    return (images.mean(axis=-1) > 128).astype(int)


def test_masks_are_those_that_the_probabilities_stand_for(images, masks):
    model = Bare().fit(images, None)
    p = np.stack(model.predict_mask_proba(images))[:, 1]
    np.testing.assert_array_equal(derived.masks_of(model, images), p >= 0.5)
    model.threshold_ = 0.8
    np.testing.assert_array_equal(derived.masks_of(model, images), p >= 0.8)
    some = [*masks[:3], None, None, None]
    expected = mean_dice((p >= 0.8).astype(int), some)
    assert derived.score_of_masks(model, images, some) == expected
    model.predict_masks = lambda X: "its own"
    assert derived.masks_of(model, images) == "its own"


def test_everything_at_once_is_made_of_the_parts(images):
    toy = ToySegmenter()

    class Parts:
        classes_ = toy.classes_
        predict, predict_proba = toy.predict, toy.predict_proba
        predict_mask_proba = toy.predict_mask_proba

    whole, parts = toy.predict_joint(images), derived.joint_of(Parts(), images)
    assert set(parts) == {"labels", "proba", "masks", "mask_proba"}
    for name, value in parts.items():
        np.testing.assert_array_equal(value, whole[name])
    Parts.predict_cams = lambda self, X: toy.predict_joint(X)["cams"]
    assert "cams" not in derived.joint_of(Parts(), images)
    found = derived.joint_of(Parts(), images, cams=True)
    np.testing.assert_array_equal(found.cams, whole["cams"])
    np.testing.assert_array_equal(
        cam_disagreement_score(Parts(), images), cam_disagreement_score(toy, images)
    )
    assert set(derived.joint_of(Bare().fit(images, None), images)) == {"masks", "mask_proba"}


@pytest.mark.parametrize("method", ["entropy", "margin", "least_confidence"])
@pytest.mark.parametrize("target", ["mask", "label"])
def test_doubt_is_that_of_the_probabilities(images, method, target):
    toy = ToySegmenter()

    class Silent:
        predict_proba, predict_mask_proba = toy.predict_proba, toy.predict_mask_proba

    found = derived.uncertainty_of(Silent(), images, method=method, target=target)
    np.testing.assert_allclose(found, toy.predict_uncertainty(images, method, target=target))


def test_draws_are_not_made_up(images):
    model = Bare().fit(images, None)
    with pytest.raises(TypeError, match="one with predict_uncertainty for 'bald'.*own_estimator"):
        derived.uncertainty_of(model, images, method="bald")
    with pytest.raises(ValueError, match="Did you mean 'entropy'"):
        derived.uncertainty_of(model, images, method="entropi")


def test_a_pipeline_learns_and_is_asked_in_mask_mode(images, masks, tmp_path):
    """The steps before see the images, the last step the masks; and all ask the same model."""
    shifted = Brighter(30).transform(images)
    learner = ActiveLearner(
        make_pipeline(Brighter(30), Bare()),
        entropy_sampling,
        images=images,
        labels=["a", "b"] * 3,
        masks=[masks[0], *[None] * 5],
        augmenter=PseudoLabelAugmenter("all", weight=0.5),
        random_state=0,
    ).fit()
    alone = learner.estimator[-1]
    known = ActiveLearner(
        Bare(),
        images=shifted,
        labels=["a", "b"] * 3,
        masks=[masks[0], *[None] * 5],
        augmenter=PseudoLabelAugmenter("all", weight=0.5),
        random_state=0,
    ).fit()
    assert alone.level_ == known.estimator.level_ != 128
    for ask in (entropy_score, ripu_score):
        np.testing.assert_array_equal(ask(learner, images), ask(alone, shifted))
    np.testing.assert_array_equal(learner.predict_masks(images), known.predict_masks(shifted))
    assert learner.score_masks(images, masks) == known.score_masks(shifted, masks)
    assert tta_score(learner, images).shape == (6,)
    ids, _ = learner.query(n_instances=2)
    learner.annotate(ids, MaskOracle(masks)(ids))
    assert len(learner.annotated_ids) == 3


def test_an_ensemble_gives_what_its_members_give(images, masks):
    model = DeepEnsemble(Bare(), 2).fit(images, None, masks=list(masks))
    assert set(model.predict_joint(images)) == {"masks", "mask_proba"}
    assert not model.has_cams and not model.has_class_head


def test_a_run_takes_an_estimator_that_gives_probabilities_alone(tmp_path):
    from alseg.datasets import make_glands

    glands = make_glands(8, image_size=(16, 24), random_state=0)
    parts = glands.take(range(5)), glands.take(range(5, 8))
    records = run(
        Bare(), *parts, entropy_sampling, rounds=1, initial=2, n_instances=1, out=tmp_path
    )
    assert [record["n_masks"] for record in records] == [2, 3]
