"""Soft masks in a fit's data and loss: by hand, and as their masks of classes where one-hot."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg.images import as_images, as_masks, soft_mask
from alseg.labels import MISSING
from alseg.training import CropData, JointLoss, TrainingBatches, TrainingData, check_crop, mask_loss
from alseg.training.augment import flip, move, move_soft
from alseg.training.processes import share_of
from alseg.training.training_data import soft_tensors

H, W = 8, 12


def logits_of(p):
    p = torch.as_tensor(p, dtype=torch.float64)
    return torch.stack([torch.zeros_like(p), torch.logit(p)], 1)


def test_the_loss_by_hand():
    """Two pixels of weight 1/2 that three of four, and none, call foreground; one not known."""
    prediction = logits_of([[[0.8, 0.1, 0.9]]])
    proba = torch.tensor([[[[0.25, 1.0, 0.0]], [[0.75, 0.0, 0.0]]]])
    masks, weight = torch.tensor([[[1, 0, MISSING]]]), torch.full((1, 1, 1), 0.5)
    found, annotated = mask_loss(prediction, masks, weight, proba=proba)
    first = -(0.75 * math.log(0.8) + 0.25 * math.log(0.2))
    ce = 0.5 * (first - math.log(0.9)) / 2
    overlap, total = 0.5 * (0.75 + 0), 0.5 * (0.8 + 0.75 + 0.1)
    dice = 0.5 * (1 - (2 * overlap + 1) / (total + 1))
    assert found.item() == pytest.approx(ce + dice, rel=1e-6) and annotated.all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from(["image", "batch"]))
def test_one_hot_is_the_loss_of_classes(seed, background, dice):
    draws = np.random.default_rng(seed)
    masks = torch.as_tensor(draws.integers(-1, 3, (2, 4, 5)))
    proba = torch.stack([(masks == k).float() for k in range(3)], 1)
    prediction = {
        "logits": torch.zeros(2, 2),
        "mask_logits": torch.as_tensor(draws.normal(0, 3, (2, 3, 4, 5))).float(),
    }
    weight = torch.as_tensor(draws.uniform(size=(2, 4, 5))).float()
    target = {"labels": torch.zeros(2).long(), "masks": masks, "mask_weight": weight}
    loss = JointLoss(dice=dice, dice_background=background)
    expected = loss(prediction, target)
    assert loss(prediction, {**target, "mask_proba": proba}).item() == pytest.approx(
        expected.item(), abs=1e-6
    )


def test_the_loss_is_least_where_prediction_and_truth_agree():
    """Also its Dice, which with an overlap of products would pull 0.6 up to 1."""
    masks, weight = torch.ones(1, 1, 1, dtype=torch.int64), torch.ones(1, 1, 1)
    proba = torch.tensor([0.4, 0.6]).reshape(1, 2, 1, 1)
    grid = np.linspace(0.05, 0.95, 19)
    for ce_scale in (0.0, 1.0):
        losses = [
            mask_loss(logits_of([[[p]]]), masks, weight, ce_scale=ce_scale, proba=proba)[0].item()
            for p in grid
        ]
        assert grid[np.argmin(losses)] == pytest.approx(0.6)


def test_a_canvas_takes_means_of_what_is_known():
    mask = np.array([[[0.0, 0.5, 1.0, np.nan]], [[1.0, 0.5, 0.0, np.nan]]])
    proba, masks = soft_tensors(mask, (1, 2))
    assert proba.tolist() == [[[0.25, 1.0]], [[0.75, 0.0]]] and masks.tolist() == [[1, 0]]
    proba, masks, weight = soft_tensors(mask, (1, 2), np.array([[3.0, 1.0, 0.0, 9.0]]))
    assert proba[1].tolist() == [[0.875, 0.0]]
    assert masks.tolist() == [[1, MISSING]] and weight.tolist() == [[2.0, 0.0]]


def test_what_is_off_by_rounding_is_divided_by_its_sum():
    mask = np.full((2, 2, 2), 0.4998, dtype=np.float16)
    assert torch.equal(soft_tensors(mask, (2, 2))[0], torch.full((2, 2, 2), 0.5))


def data_of(masks, weight=None, crop=None):
    draws = np.random.default_rng(0)
    images = as_images(draws.integers(0, 256, (len(masks), H, W, 3), dtype=np.uint8))
    masks, labels = as_masks(masks, len(masks), soft=True), np.arange(len(masks))
    if crop is not None:
        return CropData.build(images, labels, masks, weight, crop, 2)
    return TrainingData.build(images, labels, masks, weight, (H, W), 2)


def batches_of(data, **options):
    options = {"flips": "both", "affine": (0.25, 15.0), "jitter": 0.1, **options}
    return TrainingBatches(data, 3, 4, 2, options, np.random.default_rng(0))


def some_masks():
    draws = np.random.default_rng(1)
    return [draws.integers(-1, 2, (H, W)) for _ in range(5)]


def one_hot(mask):
    return soft_mask([mask], 2)


@pytest.mark.parametrize("crop", [None, {"size": 6}, {"size": 8, "scale": 0.5}])
def test_probabilities_move_with_their_masks(crop):
    crop = None if crop is None else check_crop(crop)
    masks = some_masks()
    mixed = [one_hot(masks[0]), *masks[1:4], None]
    weight = [1.0, 1.0, 0.5, np.random.default_rng(2).uniform(size=(H, W)), 1.0]
    data = data_of(mixed, weight, crop)
    plain = data_of([*masks[:4], None], weight, crop)
    assert plain.soft is None
    seen = 0
    for (x, target), (x_plain, target_plain) in zip(batches_of(data), batches_of(plain)):
        assert torch.equal(x["x"], x_plain["x"])
        known = target["masks"] != MISSING
        assert torch.equal(target["masks"], target_plain["masks"])
        assert torch.equal(target["mask_weight"], target_plain["mask_weight"])
        assert "mask_proba" not in target_plain
        proba = target["mask_proba"].movedim(1, -1)
        assert torch.equal(proba[known], torch.eye(2)[target["masks"][known]])
        assert torch.isfinite(proba).all()
        seen += int(known.sum())
    assert seen


def test_taken_and_sent_data_keep_their_probabilities():
    masks = some_masks()
    for crop in (None, {"size": 6}):
        data = data_of([one_hot(m) for m in masks], crop=crop and check_crop(crop))
        taken = data.take(torch.tensor([2, 0])).to("cpu")
        assert torch.equal(taken.soft[0], data.soft[2]) and len(taken.soft) == 2
        plain = data_of(masks, crop=crop and check_crop(crop))
        assert plain.take(torch.tensor([1])).to("cpu").soft is None


def test_a_move_of_probabilities_is_that_of_masks():
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 2, (3, H, W), generator=generator)
    proba = torch.stack([masks == 0, masks == 1], 1).float()
    theta = torch.tensor([[[0.9, -0.2, 0.1], [0.3, 0.8, 0.4]]]).repeat(3, 1, 1)
    images, weights = torch.zeros(3, 3, H, W), torch.ones(3, 1, 1)
    moved = move(images, masks, weights, theta)[1]
    expected = torch.stack([moved == 0, moved == 1], 1).float()
    assert (moved == MISSING).any() and torch.equal(move_soft(proba, theta), expected)
    chosen = torch.tensor([[True, False], [False, True], [True, True]])
    flipped = flip(proba, masks, weights, chosen)
    assert torch.equal(flipped[0][:, 1].long(), flipped[1])


def test_views_and_shares_of_a_batch_have_theirs():
    data = data_of([one_hot(mask) for mask in some_masks()])
    options = {"flips": "both", "affine": None, "jitter": 0.0}
    batches = TrainingBatches(data, 2, 4, 0, options, np.random.default_rng(0), n_views=2)
    for batch in batches:
        assert torch.equal(batch[1]["mask_proba"].argmax(1), batch[1]["masks"].clamp(min=0))
        _, share = share_of(batch, 1, 2)
        assert torch.equal(share["mask_proba"], batch[1]["mask_proba"][1::2])


def test_a_weight_of_zero_leaves_a_soft_mask_out():
    data = data_of([one_hot(mask) for mask in some_masks()], [0.0, 1.0, 1.0, 1.0, 1.0])
    assert not data.annotated()[0] and data.annotated()[1:].all()
