"""Images of several classes, or none: a matrix of labels, 0 or 1, and -1 where it is not known."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from alseg import JointCAMSegmenter, PixelClassifier
from alseg.datasets import make_glands
from alseg.labels import MISSING, as_labels, label_strata, missing_labels
from alseg.training.losses import class_loss

GLANDS = make_glands(8, image_size=(32, 48), random_state=0)
Y = np.array(
    [[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 1], [0, 0, 1], [1, 1, 0]]
)
HOLES = Y.astype(float)
HOLES[[0, 3], [1, 2]] = np.nan
HOLES[5] = np.nan
TINY = functools.partial(
    JointCAMSegmenter, encoder="tiny", encoder_weights=None, max_epochs=2, random_state=0
)


def same_weights(a, b):
    a, b = a.module_.state_dict(), b.module_.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_matrix_of_labels():
    found = as_labels(HOLES)
    assert found.dtype == np.int8
    assert found[0].tolist() == [0, MISSING, 1]
    assert missing_labels(found).tolist() == [i == 5 for i in range(8)]
    assert as_labels([[0, None], [True, 1]]).tolist() == [[0, -1], [1, 1]]
    assert as_labels(pd.DataFrame({"a": [0, pd.NA], "b": [1, 1]})).tolist() == [[0, 1], [-1, 1]]
    # Each set is a class of its own, and what is not known at all the last.
    assert label_strata([[0, 1], [1, 0], [-1, -1], [0, 1]]).tolist() == [0, 1, 2, 0]
    for bad in ([[0, 2], [1, 1]], [[0, 0.5], [1, 1]]):
        with pytest.raises(ValueError, match="several classes an image must be 0, 1, or -1"):
            TINY().fit(GLANDS.images[:2], bad, GLANDS.masks[:2])


def test_the_loss_by_hand():
    logits = torch.tensor([[0.0, np.log(3.0)], [np.log(3.0), 7.0]]).float()
    labels = torch.tensor([[1, 0], [1, -1]])
    # Probabilities 1/2, 3/4, 3/4 of what is 1, 0, 1; the fourth is not known.
    by_hand = [np.log(2), np.log(4), np.log(4 / 3)]
    assert float(class_loss(logits, labels)) == pytest.approx(np.mean(by_hand), rel=1e-6)
    weighted = class_loss(logits, labels, torch.tensor([1.0, 3.0]))
    assert float(weighted) == pytest.approx(np.average(by_hand, weights=[1, 3, 1]), rel=1e-6)
    logits.requires_grad_()
    nothing = class_loss(logits, torch.full((2, 2), -1))
    (gradient,) = torch.autograd.grad(nothing, logits)
    assert nothing.item() == 0
    assert not gradient.any()


def test_predictions_are_of_each_class_by_itself(tmp_path):
    model = TINY().fit(GLANDS.images, Y, GLANDS.masks)
    assert model.multilabel_
    assert model.classes_.tolist() == [0, 1, 2]
    proba, predicted = model.predict_proba(GLANDS.images), model.predict(GLANDS.images)
    assert proba.shape == (8, 3)
    assert not np.allclose(proba.sum(1), 1)
    assert_array_equal(predicted, proba > 0.5)
    joint = model.predict_joint(GLANDS.images)
    assert_array_equal(joint.labels, predicted)
    assert_allclose(joint.proba, proba, rtol=1e-6)
    assert model.predict_cams(GLANDS.images).shape[:2] == (8, 3)
    assert model.score(GLANDS.images, Y) == accuracy_score(Y, predicted)
    entropy = model.predict_uncertainty(GLANDS.images, target="label")
    by_hand = -(proba * np.log(proba) + (1 - proba) * np.log(1 - proba)).mean(1)
    assert_allclose(entropy, by_hand, rtol=1e-5)
    for method in ("margin", "least_confidence", "bald", "mc_variance", "vote_entropy"):
        assert model.predict_uncertainty(GLANDS.images, method, target="label").shape == (8,)
    model.save(tmp_path / "model")
    again = JointCAMSegmenter.load(tmp_path / "model")
    assert again.multilabel_
    assert_array_equal(again.predict_proba(GLANDS.images), proba)


def test_what_is_not_known_counts_nowhere():
    masks = [mask if i != 5 else None for i, mask in enumerate(GLANDS.masks)]
    model = TINY().fit(GLANDS.images, HOLES, masks)
    few = np.delete(np.arange(8), 5)  # neither its classes nor its mask are known
    assert same_weights(model, TINY().fit(GLANDS.images[few], HOLES[few], GLANDS.masks[few]))
    predicted, truth = model.predict(GLANDS.images), as_labels(HOLES)
    right = [all(p == t for p, t in zip(*row) if t != -1) for row in zip(predicted, truth)]
    assert model.score(GLANDS.images, HOLES) == np.mean(np.delete(right, 5))


def test_names_of_columns_class_weights_and_going_on():
    frame = pd.DataFrame(Y, columns=["ducts", "stroma", "fat"], index=range(10, 18))
    model = TINY(class_weight={"fat": 2.0}).fit(GLANDS.images, frame, GLANDS.masks)
    assert model.classes_.tolist() == ["ducts", "stroma", "fat"]
    assert model.criterion_.class_weight.tolist() == [1.0, 1.0, 2.0]
    model.partial_fit(GLANDS.images, HOLES, masks=GLANDS.masks)
    model.partial_fit(GLANDS.images, np.full_like(Y, -1), masks=GLANDS.masks)
    with pytest.raises(ValueError, match=r"y must be of shape \('n', 3\)"):
        model.partial_fit(GLANDS.images, GLANDS.labels, masks=GLANDS.masks)
    model.set_params(class_weight=None)
    assert not model.fit(GLANDS.images, GLANDS.labels, GLANDS.masks).multilabel_
    with pytest.raises(ValueError, match="class_weight must be None or a dict"):
        TINY(class_weight="balanced").fit(GLANDS.images, Y, GLANDS.masks)


def test_cross_validation_and_validation():
    found = cross_validate(
        TINY(), GLANDS.images, Y, cv=2, params={"masks": GLANDS.masks}, error_score="raise"
    )
    assert np.isfinite(found["test_score"]).all()
    model = TINY(validation=0.5).fit(GLANDS.images[[0] * 2 + [1] * 2], Y[[0] * 2 + [1] * 2], None)
    assert model.validation_ is None


def test_what_knows_one_class_an_image_says_so():
    weak = TINY().fit(GLANDS.images, Y)
    with pytest.raises(ValueError, match="has several here: predict_cams gives a map of each"):
        weak.predict_masks(GLANDS.images)
    assert weak.predict(GLANDS.images).shape == (8, 3)


def test_a_pixel_classifier_has_a_classifier_of_each_column(tmp_path):
    # The last column is known of no image, the third is 1 in none.
    y = pd.DataFrame(np.c_[HOLES[:, :2], np.zeros(8), np.full(8, np.nan)], columns=list("dcba"))
    model = PixelClassifier(n_pixels=50, random_state=0).fit(GLANDS.images, y, GLANDS.masks)
    assert model.multilabel_
    assert model.classes_.tolist() == list("dcba")
    proba, embeddings = model.predict_proba(GLANDS.images), model.transform(GLANDS.images)
    assert_array_equal(proba[:, 2:], [[0, 0.5]] * 8)
    for k in (0, 1):
        known = np.flatnonzero(~np.isnan(HOLES[:, k]))
        alone = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        alone.fit(embeddings[known].astype(float), HOLES[known, k])
        assert_allclose(proba[:, k], alone.predict_proba(embeddings)[:, 1], rtol=1e-6)
    joint = model.predict_joint(GLANDS.images)
    assert_array_equal(joint.labels, proba > 0.5)
    assert_array_equal(model.predict(GLANDS.images), proba > 0.5)
    doubt = model.predict_uncertainty(GLANDS.images, "least_confidence", target="label")
    assert_allclose(doubt, np.minimum(proba, 1 - proba).mean(1))
    truth = as_labels(y)
    right = ((proba > 0.5) == truth) | (truth == MISSING)
    assert model.score(GLANDS.images, y) == right.all(1).mean()
    model.save(tmp_path / "model")
    again = PixelClassifier.load(tmp_path / "model")
    assert again.multilabel_
    assert_array_equal(again.predict_proba(GLANDS.images), proba)
    assert not model.fit(GLANDS.images, GLANDS.labels, GLANDS.masks).multilabel_
