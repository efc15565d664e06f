"""`validation=` in the history of a fit: losses and scores, and the callbacks that go by them."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score
from skorch.callbacks import Checkpoint, EarlyStopping, EpochScoring, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn

from alseg import ActiveLearner, JointCAMSegmenter, ValidationSet
from alseg.datasets import make_glands
from alseg.labels import MISSING
from alseg.oracles import MaskOracle
from alseg.segmenter import with_fields
from alseg.strategies import random_sampling
from alseg.training import JointLoss

GLANDS = make_glands(14, image_size=(24, 32), random_state=0)
FIT = GLANDS.images[:8], GLANDS.labels[:8], GLANDS.masks[:8]
HELD = ValidationSet(GLANDS.images[8:], GLANDS.labels[8:], GLANDS.masks[8:])


def make(validation=HELD, **options):
    defaults = {"encoder": "tiny", "max_epochs": 3, "random_state": 0, "device": "cpu"}
    return JointCAMSegmenter(**with_fields({**defaults, "validation": validation, **options}))


def fitted(validation=HELD, **options):
    return make(validation, **options).fit(*FIT)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.module_.parameters()])


def logits_of(model, images):
    x = torch.as_tensor(np.asarray(images)).movedim(-1, 1).float() / 255
    with torch.no_grad():
        return model.module_(x, n_decode=len(x))


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"schedule__ema": 0.5}, {"predict_batch_size": 4}])
def test_the_last_row_is_of_the_fitted_model(options):
    model = fitted(**options)
    last, found = model.history[-1], logits_of(model, HELD.images)
    codes = torch.as_tensor(np.searchsorted(model.classes_, HELD.labels))
    masks = torch.as_tensor(np.asarray(HELD.masks)).long()
    size, parts = options.get("predict_batch_size", 6), []
    for start in range(0, 6, size):
        part = slice(start, start + size)
        known = {
            "labels": codes[part],
            "masks": masks[part],
            "mask_weight": torch.ones(len(masks[part]), 1, 1),
        }
        given = {"logits": found["logits"][part], "mask_logits": found["mask_logits"][part]}
        parts.append(JointLoss(class_scale=0.3)(given, known).item() * len(masks[part]))
    assert last["valid_loss"] == pytest.approx(sum(parts) / 6, rel=1e-5)
    assert last["valid_dice"] == model.score_masks(HELD.images, HELD.masks)
    assert last["valid_accuracy"] == accuracy_score(HELD.labels, model.predict(HELD.images))


def test_without_a_class_head_the_loss_is_of_masks_alone():
    model = make(network__pooling=None).fit(*FIT)  # it knows two classes, and has no head
    assert not model.has_class_head
    known = {
        "labels": torch.full((6,), MISSING),
        "masks": torch.as_tensor(np.asarray(HELD.masks)).long(),
        "mask_weight": torch.ones(6, 1, 1),
    }
    found = JointLoss(class_scale=0)(logits_of(model, HELD.images), known).item()
    assert model.history[-1, "valid_loss"] == pytest.approx(found, rel=1e-5)


def test_training_is_what_it_is_without():
    assert torch.equal(weights(fitted()), weights(fitted(None)))
    with_ema = [fitted(part, schedule__ema=0.5, max_epochs=2) for part in (HELD, None)]
    assert torch.equal(weights(with_ema[0]), weights(with_ema[1]))
    assert "valid_loss" not in fitted(None).history[-1]


def test_every_epoch_of_every_fit_has_them():
    model = fitted(schedule__phases="two-phase", max_epochs=2)
    assert len(model.history[:, "valid_loss"]) == len(model.history) == 4
    assert ["valid_dice" in row for row in model.history] == [False, False, True, True]
    model.partial_fit(*FIT[:2], masks=FIT[2])
    assert len(model.history[:, "valid_loss"]) == len(model.history) == 6
    best, scores = -1.0, model.history[2:, ("valid_dice", "valid_dice_best")]
    for score, is_best in scores:
        assert is_best == (score > best)
        best = max(best, score)


def test_the_epoch_that_is_kept_is_the_best_row():
    model = fitted(
        schedule__keep_epoch="validation", max_epochs=6, schedule__lr_schedule="constant"
    )
    rows = model.history[:, "valid_dice"]
    assert rows == model.history[:, "validation_score"] and model.validation_score_ == max(rows)
    assert model.score_masks(HELD.images, HELD.masks) == max(rows)


@pytest.mark.parametrize(
    "options",
    [
        {"crop": {"size": 16}},
        {"crop": {"size": 16, "scale": 0.5}, "test_flips": "both"},
        {"test_flips": "horizontal"},
        {"image_size": (16, 24)},
        {"network__pooling": None},
        {"schedule__sampling": "passes", "consistency": None},
        {"consistency": 1.0},
        {"criterion": nn.CrossEntropyLoss()},
        {"criterion": nn.CrossEntropyLoss(reduction="none"), "class_weight": "balanced"},
        {"execution__amp": True},
    ],
    ids=str,
)
def test_in_every_kind_of_fit(options):
    model = fitted(**options, max_epochs=1)
    last = model.history[-1]
    assert np.isfinite(last["valid_loss"]) and "valid_loss_best" in last
    assert last["valid_dice"] == model.score_masks(HELD.images, HELD.masks)
    assert ("valid_accuracy" in last) == model.has_class_head


def test_images_of_differing_sizes_some_without_a_mask():
    sizes = [(24, 32), (20, 32), (24, 30), (22, 22), (24, 32), (24, 32)]
    images = [image[:h, :w] for image, (h, w) in zip(HELD.images, sizes)]
    masks = [mask[:h, :w] if i else None for i, (mask, (h, w)) in enumerate(zip(HELD.masks, sizes))]
    model = fitted(ValidationSet(images, HELD.labels, masks))
    assert model.history[-1, "valid_dice"] == model.score_masks(images, masks)
    nothing = fitted(ValidationSet(images, HELD.labels, None)).history[-1]
    assert "valid_dice" not in nothing and nothing["valid_loss"] < 0.3  # of the classes alone
    partly = [np.where(np.arange(32) < 16, mask, MISSING) for mask in HELD.masks]
    assert np.isfinite(
        fitted(ValidationSet(HELD.images, HELD.labels, partly)).history[-1, "valid_loss"]
    )


def test_labels_are_a_list_and_of_other_classes():
    known = HELD.labels[:3].tolist()
    model = fitted(ValidationSet(HELD.images, [*known, "other", "other", "other"], HELD.masks))
    first = np.asarray(HELD.images)[:3]
    assert model.history[-1, "valid_accuracy"] == np.mean(model.predict(first) == known)
    none = fitted(ValidationSet(HELD.images, ["other"] * 6, HELD.masks)).history[-1]
    assert "valid_accuracy" not in none and "valid_dice" in none


def test_a_share_that_is_held_out():
    model = fitted(0.5)
    part = model.validation_
    assert model.history[-1, "valid_dice"] == model.score_masks(part.images, part.masks)
    weak = make(0.5).fit(*FIT[:2])  # nothing is annotated, and nothing held out
    assert weak.validation_ is None and "valid_loss" not in weak.history[-1]


def test_a_split_of_skorch_has_the_loss_and_the_part_the_scores():
    alone = fitted(None, train_split=ValidSplit(4)).history[:, "valid_loss"]
    both = fitted(train_split=ValidSplit(4)).history
    assert both[:, "valid_loss"] == alone and len(both[:, "valid_dice"]) == 3


# -- callbacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stop",
    [
        EarlyStopping(patience=2, threshold=10.0, threshold_mode="abs"),
        EarlyStopping(
            "valid_dice", lower_is_better=False, patience=2, threshold=1, threshold_mode="abs"
        ),
    ],
)
def test_early_stopping(stop):
    assert len(fitted(callbacks=[stop], max_epochs=20).history) == 3
    learner = ActiveLearner(
        make(callbacks=[stop], max_epochs=20),
        query_strategy=random_sampling,
        images=GLANDS.images[:8],
        labels=GLANDS.labels[:8],
        random_state=0,
    )
    for _ in range(2):
        asked, _ = learner.query(n_instances=2)
        learner.annotate(asked, MaskOracle(GLANDS.masks)(asked))
        assert len(learner.estimator.history) == 3


def test_a_score_of_ones_own():
    seen = []

    def agreement(net, X, y):
        seen.append((len(X), list(y)))
        return np.mean(net.predict_masks(X) == np.asarray(net.validation_.masks))

    scoring = EpochScoring(agreement, lower_is_better=False, name="agreement")
    model = fitted(callbacks=[scoring, EpochScoring("accuracy", lower_is_better=False)])
    assert seen == 3 * [(6, list(HELD.labels))]
    last = model.history[-1]
    assert last["agreement"] == np.mean(model.predict_masks(HELD.images) == HELD.masks)
    assert last["accuracy"] == last["valid_accuracy"]


def test_checkpoints_and_plateaus(tmp_path):
    best = Checkpoint(monitor="valid_dice_best", dirname=tmp_path, load_best=True)
    plateau = LRScheduler("ReduceLROnPlateau", monitor="valid_loss", patience=0, threshold=10.0)
    model = fitted(callbacks=[best], max_epochs=4)
    found = max(model.history[:, "valid_dice"])
    assert model.score_masks(HELD.images, HELD.masks) == pytest.approx(found)
    model = fitted(callbacks=[plateau], schedule__lr_schedule="constant", max_epochs=4)
    assert model.optimizer_.param_groups[0]["lr"] < model.lr
    loss = Checkpoint(dirname=tmp_path / "loss")  # its default monitor is valid_loss_best
    assert (fitted(callbacks=[loss]), (tmp_path / "loss" / "params.pt").exists())[1]


@pytest.mark.parametrize("callback", [EarlyStopping(), Checkpoint(), EarlyStopping("valid_loss")])
def test_a_loss_that_will_not_be_there_is_named_before_training(callback):
    model = make(None, callbacks=[("stop", callback)])
    with pytest.raises(
        ValueError, match="callbacks must be without .*valid_loss.* set `validation`"
    ):
        model.fit(*FIT)
    assert not model.initialized_
    make(None, callbacks=[EarlyStopping("train_loss")], max_epochs=1).fit(*FIT)
