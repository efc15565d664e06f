"""A learner with a source: annotated images of another domain, in every fit and no question."""

import pickle

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone

from alseg import ActiveLearner, JointCAMSegmenter, PseudoLabelAugmenter
from alseg.datasets import make_glands
from alseg.images import ImageFiles, as_images, join_images
from alseg.learner import DeepEnsemble
from alseg.strategies import aada_sampling, clue_sampling, core_set_sampling, with_source

N = 6
TARGET = make_glands(N, image_size=(16, 24), random_state=0)
SOURCE = make_glands(4, image_size=(20, 28), random_state=1)


class Told(BaseEstimator):
    """Remembers what it was fitted to."""

    n_mask_classes = 2

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y, masks=None, mask_weight=None):
        self.classes_ = np.unique(y)
        self.told_ = {"X": X, "y": y, "masks": masks, "mask_weight": mask_weight}
        return self

    def predict_mask_proba(self, X):
        return [np.full((2, *np.asarray(image).shape[:2]), 0.5) for image in X]

    def predict_masks(self, X):
        return [np.zeros(np.asarray(image).shape[:2], int) for image in X]

    def transform(self, X):
        return np.array([np.asarray(image).mean(axis=(0, 1)) for image in X])


def made(estimator=None, **options):
    options = {"images": TARGET.images, "labels": TARGET.labels, "random_state": 0, **options}
    return ActiveLearner(Told() if estimator is None else estimator, aada_sampling, **options)


def test_every_fit_is_to_the_source_too():
    learner = made(source=SOURCE)
    assert learner.predict_masks(TARGET.images) is not None
    told = learner.estimator.told_
    assert len(told["X"]) == N + 4 and told["mask_weight"] is None
    assert [mask is None for mask in told["masks"]] == [True] * N + [False] * 4
    np.testing.assert_array_equal(told["y"], [*TARGET.labels, *SOURCE.labels])
    np.testing.assert_array_equal(told["X"][N + 1], SOURCE.images[1])
    learner.annotate([2], [TARGET.masks[2]])
    told = learner.estimator.told_
    assert [i for i in range(N + 4) if told["masks"][i] is not None] == [2, *range(N, N + 4)]
    np.testing.assert_array_equal(told["masks"][2], TARGET.masks[2])
    np.testing.assert_array_equal(told["masks"][N + 3], SOURCE.masks[3])


def test_nobody_is_asked_about_it():
    learner = made(source=(SOURCE.images, SOURCE.labels, SOURCE.masks))
    assert learner.X_training is None and len(learner.pool_ids) == N
    for strategy in (
        aada_sampling,
        clue_sampling,
        core_set_sampling,
        with_source(core_set_sampling),
    ):
        learner.query_strategy = strategy
        sample_ids, _ = learner.query(n_instances=N)
        assert sorted(sample_ids.tolist()) == list(range(N))


def test_its_masks_have_a_weight_beside_pseudo_masks():
    learner = made(source=SOURCE, source_weight=0.25).annotate([0], [TARGET.masks[0]])
    weights = learner.estimator.told_["mask_weight"]
    assert [float(np.mean(w)) for w in weights] == [1.0] * N + [0.25] * 4
    model = JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0)
    learner = made(model, source=SOURCE, augmenter=PseudoLabelAugmenter(weight=0.1))
    learner.annotate([0, 1], TARGET.masks[[0, 1]])
    assert learner.predict_masks(TARGET.images).shape == (N, 16, 24)
    learner.set_params(source_weight=-1)
    with pytest.raises(ValueError, match="source_weight must be >= 0"):
        learner.fit()
    with pytest.raises(ValueError, match="mask_weight must be left out with a source"):
        made(source=SOURCE, mask_weight=np.ones(N)).fit()


@pytest.mark.parametrize("warm_start", [False, True])
def test_real_models_learn_from_it(warm_start):
    model = JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0)
    for one in (model, DeepEnsemble(model, n_estimators=2, random_state=0)):
        learner = made(one, source=SOURCE, warm_start=warm_start)
        sample_ids, _ = learner.query(n_instances=2)
        learner.annotate(sample_ids, TARGET.masks[sample_ids])
        alone = made(one, warm_start=warm_start)
        alone.annotate(sample_ids, TARGET.masks[sample_ids])
        difference = learner.predict_mask_proba(TARGET.images) - alone.predict_mask_proba(
            TARGET.images
        )
        assert np.abs(difference).max() > 0
    weightless = made(model, source=SOURCE, source_weight=0).annotate([0], [TARGET.masks[0]])
    assert weightless.estimator.has_masks_


def test_clones_pickles_and_folders(tmp_path):
    model = JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0)
    learner = made(model, source=SOURCE, source_weight=0.5).annotate([0], [TARGET.masks[0]])
    question = learner.query(n_instances=3)[0]
    for other in (pickle.loads(pickle.dumps(learner)), clone(learner).fit()):
        assert other.source_weight == 0.5
        np.testing.assert_array_equal(other.source_set.masks[1], SOURCE.masks[1])
        assert len(other.query(n_instances=3)[0]) == 3
    learner.save(tmp_path)
    with pytest.raises(ValueError, match="source must be given, as it is not saved: 4 images"):
        ActiveLearner.load(tmp_path)
    with pytest.raises(ValueError, match="source must be the one of 4 images"):
        ActiveLearner.load(tmp_path, source=TARGET)
    again = ActiveLearner.load(tmp_path, source=SOURCE)
    np.testing.assert_array_equal(again.query(n_instances=3)[0], question)
    again.set_params(source=None).fit()
    assert again.source_set is None


def test_strategies_that_name_it_are_given_it():
    def named(learner, X_pool, n_instances=1, source=None):
        given.append(source)
        return list(range(n_instances))

    given = []
    made(source=SOURCE).set_params(query_strategy=named).query()
    made().set_params(query_strategy=named).query()
    made(source=SOURCE).set_params(query_strategy=named).query(TARGET.images)
    assert [None if one is None else len(one) for one in given] == [4, None, 4]


def test_what_is_refused():
    with pytest.raises(TypeError, match="A source needs a learner that was given images="):
        ActiveLearner(Told(), aada_sampling, source=SOURCE)
    with pytest.raises(TypeError, match=r"source must be a Dataset or \(images, labels, masks\)"):
        made(source=SOURCE.images)
    with pytest.raises(ValueError, match=r"labels of source must be of shape \(4,\)"):
        made(source=(SOURCE.images, SOURCE.labels[:3], SOURCE.masks))
    with pytest.raises(ValueError, match="masks of source must be some that are annotated"):
        made(source=(SOURCE.images, SOURCE.labels, [None] * 4))
    with pytest.raises(ValueError, match="of its image's size"):
        made(source=(SOURCE.images, SOURCE.labels, TARGET.masks[:4]))
    with pytest.raises(TypeError, match="labels of source must be of the kind of the learner's"):
        made(source=(SOURCE.images, np.arange(4), SOURCE.masks)).fit()


# -- joined images --


def test_joined_images_are_those_of_the_parts(tmp_path):
    from PIL import Image

    Image.fromarray(SOURCE.images[0]).save(tmp_path / "a.png")
    parts = [TARGET.images, ImageFiles([tmp_path / "a.png"]), [np.ones((5, 7))], SOURCE.images]
    joined = join_images(*parts)
    flat = [image for part in parts for image in as_images(part)]
    assert len(joined) == len(flat) == 12 and as_images(joined) is joined
    for i, image in enumerate(flat):
        np.testing.assert_array_equal(joined[i], image)
        assert joined.size(i) == image.shape[:2]
    some = joined[np.array([6, 0, -1])]
    np.testing.assert_array_equal(some[0], SOURCE.images[0])
    np.testing.assert_array_equal(some[2], SOURCE.images[-1])
    assert some.path(0) == str(tmp_path / "a.png") and some.path(1) is None
    assert "a.png" in joined.where(6)
    again = pickle.loads(pickle.dumps(some))
    np.testing.assert_array_equal(again[2], some[2])
    whole = join_images(TARGET.images, TARGET.images)
    assert isinstance(whole, np.ndarray) and whole.shape == (12, 16, 24, 3)
