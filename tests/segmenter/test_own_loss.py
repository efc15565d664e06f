"""`criterion` in torch's form, in a segmenter: searched, saved, gone on with, in learners."""

import copy
import pickle
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn
from two_rounds import after_two_rounds

from alseg import ActiveLearner, JointCAMSegmenter, PseudoLabelAugmenter
from alseg.datasets import make_glands
from alseg.labels import MISSING
from alseg.segmenter import with_fields
from alseg.strategies import random_sampling
from alseg.training import JointLoss

GLANDS = make_glands(8, image_size=(24, 32), random_state=0)
SOME = [mask if i < 5 else None for i, mask in enumerate(GLANDS.masks)]


def own(logits, masks, gamma=2.0):
    """The focal loss of each pixel, 0 where it is not annotated."""
    ce = F.cross_entropy(logits, masks, ignore_index=MISSING, reduction="none")
    return (1 - (-ce).exp()) ** gamma * ce


def make(**options):
    defaults = {"encoder": "tiny", "max_epochs": 2, "random_state": 0, "device": "cpu"}
    return JointCAMSegmenter(**with_fields({**defaults, **options}))


def fitted(masks=SOME, **options):
    return make(**options).fit(GLANDS.images, GLANDS.labels, masks)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.module_.parameters()])


FORMS = {
    "object": {"criterion": nn.CrossEntropyLoss(ignore_index=MISSING)},
    "class": {"criterion": nn.CrossEntropyLoss, "criterion__label_smoothing": 0.1},
    "function": {"criterion": own},
    "lambda": {"criterion": lambda z, m: own(z, m)},
    "options": {"criterion": own, "criterion__gamma": 1.0, "criterion__class_scale": 0.5},
}


def form(name):
    """One of them; MONAI takes seconds to import, which only those who ask for it wait."""
    if name != "monai":
        return FORMS[name]
    import monai.losses

    return {"criterion": monai.losses.DiceCELoss(to_onehot_y=True, softmax=True)}


WAYS = {
    "joint": {},
    "consistency": {"consistency": 1.0},
    "two-phase": {"schedule__phases": "two-phase"},
    "passes": {"schedule__sampling": "passes"},
}


@cache
def by_default(way):
    """The weights of a fit of the default loss."""
    return weights(fitted(max_epochs=1, **WAYS[way]))


@pytest.mark.parametrize("name", [*FORMS, "monai"])
@pytest.mark.parametrize("way", WAYS)
def test_any_form_trains_and_repeats_bit_for_bit(name, way):
    model = fitted(max_epochs=1, **form(name), **WAYS[way])
    assert np.isfinite(model.history[:, "train_loss"]).all()
    again = clone(model).fit(GLANDS.images, GLANDS.labels, SOME)
    assert torch.equal(weights(model), weights(again))
    assert not torch.equal(weights(model), by_default(way))


def test_cross_entropy_of_pixels_is_the_default_loss_without_dice():
    model = fitted(criterion=nn.CrossEntropyLoss(reduction="none", ignore_index=MISSING))
    same = fitted(criterion__dice_scale=0.0)
    assert torch.allclose(weights(model), weights(same), atol=1e-5)


def test_options_are_set_and_searched():
    model = make(criterion=own).set_params(criterion__gamma=0.0)
    cross_entropy = fitted(criterion=nn.CrossEntropyLoss(reduction="none"))
    model.fit(GLANDS.images, GLANDS.labels, SOME)
    assert torch.allclose(weights(model), weights(cross_entropy), atol=1e-5)
    grid = {
        "criterion": [own, nn.CrossEntropyLoss(), JointLoss],
        "criterion__class_scale": [0.1, 1],
    }
    search = GridSearchCV(make(max_epochs=1), grid, cv=2, error_score="raise")
    search.fit(GLANDS.images, GLANDS.labels, masks=GLANDS.masks)
    assert len(search.cv_results_["params"]) == 6
    search = GridSearchCV(make(criterion=own, max_epochs=1), {"criterion__gamma": [0.0, 2.0]}, cv=2)
    assert search.fit(GLANDS.images, GLANDS.labels, masks=GLANDS.masks).best_params_


def test_a_class_scale_from_random_weights_and_of_ones_own():
    assert make(criterion=own).initialize().criterion_.class_scale == 0.3  # as of the default
    assert (
        make(criterion=own, encoder="efficientnet-lite0").initialize().criterion_.class_scale == 0.1
    )
    assert make(criterion=own, criterion__class_scale=1).initialize().criterion_.class_scale == 1


def test_classes_are_weighted():
    model = fitted(criterion=own, class_weight="balanced")
    assert model.criterion_.class_weight.shape == (2,)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"criterion": own, "criterion__gama": 1.0}, "'criterion__gama'. .*criterion__gamma"),
        (
            {"criterion": nn.MSELoss(), "criterion__reduction": "none"},
            "made already: .* criterion=MSE",
        ),
        ({"criterion": "dice"}, "criterion must be a class"),
    ],
)
def test_what_cannot_be_is_refused_before_training(options, words):
    model = make(**options)
    with pytest.raises(TypeError, match=words):
        model.fit(GLANDS.images, GLANDS.labels, SOME)
    assert not model.initialized_


def test_a_loss_that_fails_is_named_and_says_how_it_was_called():
    with pytest.raises(IndexError) as caught:
        fitted(criterion=lambda z, m: z[:, :, :, 1000].mean())
    assert "criterion was called as loss(logits (" in caught.value.__notes__[0]
    with pytest.raises(ValueError, match="criterion's loss must be finite, got nan"):
        fitted(criterion=lambda z, m: z.mean() * float("nan"))


def test_weights_act_or_are_refused():
    weight = np.array([1, 1, 0.2, 0.2, 0.2, 1, 1, 1])
    for criterion in (own, nn.CrossEntropyLoss()):
        plain = fitted(criterion=criterion)
        less = make(criterion=criterion).fit(GLANDS.images, GLANDS.labels, SOME, weight)
        assert not torch.equal(weights(plain), weights(less))
    ones = make(criterion=nn.CrossEntropyLoss()).fit(GLANDS.images, GLANDS.labels, SOME, weight**0)
    assert torch.equal(weights(ones), weights(plain))
    pixels = np.broadcast_to(weight[:, None, None], (8, 24, 32)).copy()
    pixels[0, :12] = 0.5
    assert make(criterion=own).fit(GLANDS.images, GLANDS.labels, SOME, pixels).n_steps_
    with pytest.raises(ValueError, match="mask_weight must be one number an image"):
        make(criterion=nn.CrossEntropyLoss()).fit(GLANDS.images, GLANDS.labels, SOME, pixels)


def test_a_fit_that_goes_on_follows():
    model = fitted()
    model.set_params(criterion=own).partial_fit(GLANDS.images, GLANDS.labels, masks=SOME)
    assert model.criterion_.loss is own
    model.set_params(criterion__gamma=1.0).partial_fit(GLANDS.images, GLANDS.labels, masks=SOME)
    assert model.criterion_.loss.keywords == {"gamma": 1.0}
    kept = model.criterion_
    model.partial_fit(GLANDS.images, GLANDS.labels, masks=SOME)
    assert model.criterion_ is kept


def test_a_loss_of_torch_is_saved_by_name(tmp_path):
    model = fitted(criterion=nn.CrossEntropyLoss, criterion__ignore_index=MISSING)
    model.save(tmp_path / "model")
    loaded = JointCAMSegmenter.load(tmp_path / "model")
    assert loaded.criterion is nn.CrossEntropyLoss and loaded.criterion_.loss.ignore_index == -1
    assert np.array_equal(loaded.predict_masks(GLANDS.images), model.predict_masks(GLANDS.images))


@pytest.mark.parametrize("name", ["object", "function", "monai", "options"])
def test_code_is_not_saved_and_asked_for(name, tmp_path):
    model = fitted(**form(name))
    model.save(tmp_path / "model")
    loaded = JointCAMSegmenter.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_masks(GLANDS.images), model.predict_masks(GLANDS.images))
    for again in (loaded, clone(loaded)):
        with pytest.raises(ValueError, match=r"its own criterion, which is code.*criterion=\.\.\."):
            again.partial_fit(GLANDS.images, GLANDS.labels, masks=SOME)
    loaded.save(tmp_path / "model")  # nor does it become another loss on the way
    loaded = JointCAMSegmenter.load(tmp_path / "model").set_params(criterion=own)
    assert loaded.partial_fit(GLANDS.images, GLANDS.labels, masks=SOME).criterion_.loss is own
    model.save(tmp_path / "model")
    given = JointCAMSegmenter.load(tmp_path / "model", criterion=form(name)["criterion"])
    if name == "options":
        assert given.criterion_.class_scale == 0.5 and given.criterion__gamma == 1.0
    for one in (given, model):  # nothing of an optimizer is in a file
        one.set_params(optimizer=torch.optim.SGD)
        one.partial_fit(GLANDS.images, GLANDS.labels, masks=SOME)
    assert torch.allclose(weights(given), weights(model))


def test_it_is_pickled_and_copied():
    model = fitted(criterion=own)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert again.criterion_.loss is own
        assert np.array_equal(
            again.predict_masks(GLANDS.images), model.predict_masks(GLANDS.images)
        )


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("criterion", ["lambda", "function", "monai"])
def test_a_learner_teaches_it(criterion, warm_start):
    learner = ActiveLearner(
        make(**form(criterion), max_epochs=1),
        query_strategy=random_sampling,
        augmenter=PseudoLabelAugmenter(weight=0.3) if criterion == "function" else None,
        images=GLANDS.images,
        labels=GLANDS.labels,
        warm_start=warm_start,
        random_state=0,
    )
    after_two_rounds(learner, GLANDS.masks)
    assert learner.predict_masks(GLANDS.images).shape == (8, 24, 32)
