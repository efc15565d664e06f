"""Images of any number of channels through an estimator."""

import pickle

import numpy as np
import pytest
import tifffile
from sklearn.base import clone

from alseg import ActiveLearner, JointCAMSegmenter, PseudoLabelAugmenter
from alseg.datasets import make_glands
from alseg.images import read_image, thumbnails
from alseg.pseudo import colour_evidence, colour_histogram
from alseg.segmenter import (
    Augmentation,
    Network,
    PixelClassifier,
    Schedule,
    SelfSupervisedPretrainer,
)
from alseg.strategies import pretrained_embedding

GLANDS = make_glands(6, image_size=(32, 48), random_state=0)


def of_channels(n):
    return np.ascontiguousarray(np.concatenate([GLANDS.images] * 5, -1)[..., :n])


def tiny(**params):
    return JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0, **params)


def fitted(n, **params):
    return tiny(**params).fit(of_channels(n), GLANDS.labels, GLANDS.masks)


@pytest.mark.parametrize("n", [1, 2, 4, 5, 13])
def test_any_number_is_fitted_copied_and_saved(n, tmp_path):
    model, X = fitted(n), of_channels(n)
    assert model.n_channels_ == (3 if n == 1 else n)
    proba = model.predict_mask_proba(X)
    assert proba.shape == (6, 2, 32, 48)
    model.save(tmp_path / "m")
    for copy in (JointCAMSegmenter.load(tmp_path / "m"), pickle.loads(pickle.dumps(model))):
        assert copy.n_channels_ == model.n_channels_
        np.testing.assert_array_equal(copy.predict_mask_proba(X), proba)
    np.testing.assert_array_equal(
        clone(model).fit(X, GLANDS.labels, GLANDS.masks).predict_mask_proba(X), proba
    )


def test_every_channel_counts():
    model = fitted(5)
    X = of_channels(5)
    before = model.predict_mask_proba(X)
    for channel in range(5):
        changed = X.copy()
        changed[..., channel] = 255 - changed[..., channel]
        assert np.abs(model.predict_mask_proba(changed) - before).max() > 1e-4


def test_other_channels_are_refused_by_a_sentence(tmp_path):
    model = fitted(5)
    for call in (model.predict_masks, model.predict_proba, model.predict_uncertainty):
        with pytest.raises(ValueError, match="X must be of 5 channels, as at the fit, got '3 chan"):
            call(GLANDS.images)
    before = model.predict_masks(of_channels(5))
    with pytest.raises(ValueError, match="X must be of 5 channels, as in the fit that this one"):
        model.partial_fit(GLANDS.images, GLANDS.labels, masks=GLANDS.masks)
    np.testing.assert_array_equal(model.predict_masks(of_channels(5)), before)
    assert model.fit(GLANDS.images, GLANDS.labels, GLANDS.masks).n_channels_ == 3


def test_stain_is_of_rgb_alone():
    with pytest.raises(ValueError, match="augmentation.stain must be 0 with images of 5 channels"):
        fitted(5, augmentation=Augmentation(stain=0.1))
    with pytest.raises(ValueError, match="module must be a network with an argument `n_channels`"):
        JointCAMSegmenter.from_preset("gorriz2017-ceal", max_epochs=1).fit(
            of_channels(5), GLANDS.labels, GLANDS.masks
        )


@pytest.mark.parametrize(
    "params",
    [
        {"crop": {"size": 24}},
        {"consistency": 0.5},
        {"encoder": "resnet18", "encoder_weights": None},
        {"network": Network(normalize="dataset")},
        {"network": Network(normalize="imagenet")},
        {"network": Network(normalize=([0.1, 0.2, 0.3, 0.4, 0.5], 0.5))},
    ],
)
def test_options_go_with_channels(params, tmp_path):
    params = {"encoder": "tiny", **params}
    model = JointCAMSegmenter(max_epochs=1, random_state=0, **params)
    masks = [*GLANDS.masks[:3], None, None, None]
    model.fit(of_channels(5), GLANDS.labels, masks)
    found = model.predict_masks(of_channels(5))
    assert found.shape == (6, 32, 48)
    model.save(tmp_path / "m")
    again = JointCAMSegmenter.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict_masks(of_channels(5)), found)


def test_a_feature_cache_and_a_start_from_a_saved_model(tmp_path):
    frozen = fitted(5, feature_cache=tmp_path / "c", schedule=Schedule(encoder_lr_scale=0.0))
    assert frozen.predict_masks(of_channels(5)).shape == (6, 32, 48)
    fitted(5).save(tmp_path / "m")
    assert fitted(5, schedule=Schedule(start_from=tmp_path / "m")).n_channels_ == 5
    with pytest.raises(ValueError, match="schedule.start_from must be a model of the same network"):
        fitted(4, schedule=Schedule(start_from=tmp_path / "m"))


def test_a_learner_with_pseudo_labels_asks_about_five_channels():
    masks = [*GLANDS.masks[:2], None, None, None, None]
    learner = ActiveLearner(
        tiny(),
        images=of_channels(5),
        labels=GLANDS.labels,
        masks=masks,
        augmenter=PseudoLabelAugmenter(),
        random_state=0,
    )
    ids, instances = learner.query(n_instances=2)
    assert instances.shape == (2, 32, 48, 5)
    learner.annotate(ids, GLANDS.masks[ids])
    assert len(learner.annotated_ids) == 4


@pytest.mark.parametrize("features", ["filters", "encoder"])
def test_a_pixel_classifier_takes_channels(features, tmp_path):
    model = PixelClassifier(features=features, encoder="tiny", n_pixels=50, random_state=0)
    model.fit(of_channels(5), GLANDS.labels, GLANDS.masks)
    found = model.predict_masks(of_channels(5))
    model.save(tmp_path / "m")
    again = PixelClassifier.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict_masks(of_channels(5)), found)
    with pytest.raises(ValueError, match="X must be of 5 channels, as at the fit"):
        model.predict_masks(GLANDS.images)


def test_what_else_looks_at_images_takes_channels():
    X = of_channels(5)
    np.testing.assert_allclose(
        thumbnails(X, 1)[:, 0, 0], X.mean((1, 2, 3)) / 255, atol=2e-3
    )  # means of the first three count twice, as they stand twice in five
    histogram = colour_histogram(X[0])
    np.testing.assert_array_equal(histogram, colour_histogram(GLANDS.images[0]))
    two = colour_histogram(X[0][..., :2])
    np.testing.assert_array_equal(two, colour_histogram(X[0][..., [0, 1, 1]]))
    example = colour_evidence(X[0], X[1], GLANDS.masks[1])
    rgb = colour_evidence(GLANDS.images[0], GLANDS.images[1], GLANDS.masks[1])
    np.testing.assert_array_equal(example, rgb)
    embed = pretrained_embedding("tiny", image_size=32)
    assert embed(X).shape == embed(GLANDS.images).shape == (6, 96)
    pretrainer = SelfSupervisedPretrainer("tiny", n_steps=2, batch_size=4, random_state=0)
    assert pretrainer.fit(X).transform(X).shape == (6, 96)


def test_pretrained_weights_of_five_channels_are_a_start(tmp_path):
    pretrainer = SelfSupervisedPretrainer("tiny", n_steps=1, batch_size=4, random_state=0)
    path = pretrainer.fit(of_channels(5)).save_encoder(tmp_path / "e.safetensors")
    assert fitted(5, encoder_weights=path).n_channels_ == 5


def test_files_of_five_channels(tmp_path):
    paths = []
    for i, image in enumerate(of_channels(5)):
        paths.append(str(tmp_path / f"{i}.tif"))
        tifffile.imwrite(paths[-1], image, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(read_image(paths[0]), of_channels(5)[0])
    model = tiny().fit(paths, GLANDS.labels, GLANDS.masks)
    np.testing.assert_array_equal(
        model.predict_masks(paths), fitted(5).predict_masks(of_channels(5))
    )
    tifffile.imwrite(paths[2], GLANDS.images[2])
    with pytest.raises(ValueError, match="X must be images of one number of channels, got '5 in"):
        tiny().fit(paths, GLANDS.labels, GLANDS.masks)
