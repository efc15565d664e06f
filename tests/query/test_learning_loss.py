"""alseg.query.learning_loss: the pair loss and losses by hand, an order that can be learned."""

import numpy as np
import pytest
import torch

from alseg import ActiveLearner
from alseg.query.learning_loss import LossPredictor, pair_loss
from alseg.strategies import learning_loss_sampling, learning_loss_score
from alseg.strategies.expected_error import _label_losses, _mask_losses
from alseg.testing.toys import ToyLearner, ToySegmenter, toy_images


def test_pair_loss_by_hand():
    losses = torch.tensor([3.0, 1.0, 1.0])
    predicted = torch.tensor([2.0, 0.5, 2.5])
    # pairs (0, 1): 1 - 1.5 < 0; (0, 2): 1 + 0.5; (1, 2) equal, left out; each counted twice
    torch.testing.assert_close(pair_loss(predicted, losses), torch.tensor((0 + 1.5) / 2))
    torch.testing.assert_close(pair_loss(predicted, losses, margin=0.5), torch.tensor(0.5))
    assert pair_loss(predicted, torch.ones(3)) == 0
    assert pair_loss(predicted, 100 * losses) == pair_loss(predicted, losses)  # order alone


def test_an_order_is_learned(rng):
    X = rng.normal(size=(150, 6))
    losses = np.exp(X[:, 0] - X[:, 1])
    predictor = LossPredictor(random_state=0).fit(X[:100], losses[:100])
    found = predictor.predict(X[100:])
    ranks = np.argsort(np.argsort(found)), np.argsort(np.argsort(losses[100:]))
    assert np.corrcoef(*ranks)[0, 1] > 0.9
    again = LossPredictor(random_state=0).fit(X[:100], losses[:100])
    np.testing.assert_array_equal(again.predict(X[100:]), found)


def test_nothing_to_order_and_bad_input():
    assert (LossPredictor().fit(np.ones((3, 2)), np.ones(3)).predict(np.ones((2, 2))) == 0).all()
    assert (LossPredictor().fit(np.ones((1, 2)), [1.0]).predict(np.ones((2, 2))) == 0).all()
    with pytest.raises(ValueError, match="losses must be one for each of 3 rows"):
        LossPredictor().fit(np.ones((3, 2)), [1.0])
    with pytest.raises(ValueError, match="must be finite"):
        LossPredictor().fit(np.ones((2, 2)), [1.0, np.nan])
    with pytest.raises(ValueError, match="n_steps must be >= 1"):
        LossPredictor(n_steps=0).fit(np.ones((2, 2)), [1.0, 2.0])


def test_losses_of_labelled_images_by_hand():
    toy, X = ToySegmenter(), toy_images(6)
    labels = ["class 1", "class 0", "class 2"]
    learner = ToyLearner(toy, X[:3], labels)
    proba = toy.predict_proba(X[:3])
    np.testing.assert_allclose(
        _label_losses(learner, X[:3]), -np.log([proba[0, 1], proba[1, 0], proba[2, 2]])
    )
    masks = [None] * 6
    masks[4] = np.full((16, 16), -1)
    masks[4][0, :2] = 0, 2  # partly annotated: those two pixels count
    masks[1] = np.ones((16, 16), int)
    learner = ActiveLearner(ToySegmenter(), images=X, labels=[0] * 6, masks=masks)
    learner.masks[4] = masks[4]
    p = toy.predict_mask_proba(X)
    expected = [-np.log(p[1, 1]).mean(), -np.log([p[4, 0, 0, 0], p[4, 2, 0, 1]]).mean()]
    np.testing.assert_allclose(_mask_losses(learner, learner.X_training), expected)
    scores = learning_loss_score(learner, X[[0, 2, 3, 5]], 0)
    assert scores.shape == (4,) and len(set(scores)) > 1


def test_what_cannot_be_learned_from():
    X = toy_images(4)
    with pytest.raises(TypeError, match="learner must be with `X_training`.*ActiveLearner"):
        learning_loss_sampling(ToySegmenter(), X)
    learner = ActiveLearner(ToySegmenter(), images=X, labels=[0] * 4)
    assert (learning_loss_score(learner, X) == 0).all()
    with pytest.raises(ValueError, match="target must be one of"):
        learning_loss_score(learner, X, target="masks")
