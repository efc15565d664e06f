"""The loss against values by hand, MONAI and numeric gradients; what is missing counts nothing."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg.labels import MISSING
from alseg.training.losses import JointLoss, mask_loss


def logits_of(p):
    """Mask logits (M, 2, H, W) whose softmax gives the foreground probability `p` (M, H, W)."""
    p = torch.as_tensor(p, dtype=torch.float64)
    return torch.stack([torch.zeros_like(p), torch.logit(p)], 1)


def batch(masks, n=None, n_classes=2, weight=1.0, seed=0, n_mask_classes=2):
    masks = torch.as_tensor(masks, dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    n = len(masks) if n is None else n
    prediction = {
        "logits": torch.randn(n, n_classes, generator=generator, dtype=torch.float64),
        "mask_logits": torch.randn(
            len(masks), n_mask_classes, *masks.shape[1:], generator=generator, dtype=torch.float64
        ),
    }
    target = {
        "labels": torch.arange(n) % n_classes,
        "masks": masks,
        "mask_weight": torch.as_tensor(weight, dtype=torch.float64).expand(len(masks), 1, 1)
        if np.ndim(weight) == 0
        else torch.as_tensor(weight, dtype=torch.float64),
    }
    return prediction, target


PUBLISHED = {"normalize": "batch", "dice_scale": 0.0, "class_scale": 1.0}


def test_published_loss_by_hand():
    """One expert mask, one pseudo-mask of lambda 0.1, one image without, a batch of 4."""
    p = [[[0.9, 0.2]], [[0.6, 0.5]], [[0.5, 0.5]]]
    masks = torch.tensor([[[1, 0]], [[1, 1]], [[MISSING, MISSING]]])
    prediction = {
        "logits": torch.log(torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.8, 0.2], [0.1, 0.9]])),
        "mask_logits": logits_of(p),
    }
    target = {
        "labels": torch.tensor([0, 1, 0, 0]),
        "masks": masks,
        "mask_weight": torch.tensor([1.0, 0.1, 1.0]).reshape(3, 1, 1),
    }
    class_loss = -(math.log(0.5) + math.log(0.75) + math.log(0.8) + math.log(0.1)) / 4
    expert = -(math.log(0.9) + math.log(0.8)) / 2
    pseudo = -(math.log(0.6) + math.log(0.5)) / 2
    loss = JointLoss(**PUBLISHED)(prediction, target)
    assert loss.item() == pytest.approx(class_loss + (expert + 0.1 * pseudo) / 4, rel=1e-6)
    # Over the two images that have a mask, as by default:
    loss = JointLoss(class_scale=1.0, dice_scale=0.0)(prediction, target)
    assert loss.item() == pytest.approx(class_loss + (expert + 0.1 * pseudo) / 2, rel=1e-6)
    loss = JointLoss(**{**PUBLISHED, "class_scale": 0.0, "mask_scale": 3.0})(prediction, target)
    assert loss.item() == pytest.approx(3 * (expert + 0.1 * pseudo) / 4, rel=1e-6)
    loss = JointLoss(class_scale=2.0, mask_scale=0.0)(prediction, target)
    assert loss.item() == pytest.approx(2 * class_loss, rel=1e-6)


def test_dice_by_hand():
    p = torch.tensor([[[0.5, 0.25]]])
    masks = torch.tensor([[[1, 0]]])
    per_image, annotated = mask_loss(logits_of(p), masks, torch.ones(1, 1, 1), dice_scale=2.0)
    ce = -(math.log(0.5) + math.log(0.75)) / 2
    dice = 1 - (2 * 0.5 + 1) / (0.75 + 1 + 1)
    assert per_image.item() == pytest.approx(ce + 2 * dice, rel=1e-6)
    assert annotated.tolist() == [True]


def test_dice_with_pixel_weights_by_hand():
    p = torch.tensor([[[0.5, 0.25, 0.9]]])
    masks = torch.tensor([[[1, 0, MISSING]]])
    weight = torch.tensor([[[1.0, 0.5, 7.0]]])
    per_image, _ = mask_loss(logits_of(p), masks, weight)
    ce = -(math.log(0.5) + 0.5 * math.log(0.75)) / 2  # divided by the two annotated pixels
    dice = 1 - (2 * 0.5 + 1) / ((0.5 + 1) + 0.5 * 0.25 + 1)
    assert per_image.item() == pytest.approx(ce + 0.75 * dice, rel=1e-6)


@pytest.mark.parametrize("n_mask_classes", [2, 4])
def test_dice_against_monai(n_mask_classes):
    from monai.losses import DiceLoss

    masks = torch.randint(0, n_mask_classes, (3, 6, 7), generator=torch.Generator().manual_seed(1))
    prediction, target = batch(masks, n_mask_classes=n_mask_classes)
    with_dice, _ = mask_loss(prediction["mask_logits"], masks, target["mask_weight"], 1.0)
    without, _ = mask_loss(prediction["mask_logits"], masks, target["mask_weight"], 0.0)
    theirs = DiceLoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        reduction="none",
        smooth_nr=1.0,
        smooth_dr=1.0,
    )(prediction["mask_logits"].float(), masks[:, None])
    assert torch.allclose((with_dice - without).float(), theirs.flatten(1).mean(1), atol=1e-5)


def test_empty_mask_predicted_empty_has_no_dice_loss():
    masks = torch.zeros(1, 4, 4, dtype=torch.int64)
    sure = logits_of(torch.full((1, 4, 4), 1e-9))
    per_image, _ = mask_loss(sure, masks, torch.ones(1, 1, 1))
    assert per_image.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("options", [{}, PUBLISHED])
def test_F7_batch_without_an_annotated_pixel(options):
    prediction, target = batch(np.full((3, 4, 4), MISSING))
    for tensor in prediction.values():
        tensor.requires_grad_()
    assert math.isnan(
        F.cross_entropy(prediction["mask_logits"], target["masks"], ignore_index=MISSING).item()
    )  # the fact that makes this test worth its lines
    loss = JointLoss(**{"class_scale": 1.0, **options})(prediction, target)
    expected = F.cross_entropy(prediction["logits"], target["labels"])
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    assert (prediction["mask_logits"].grad == 0).all()
    assert torch.isfinite(prediction["logits"].grad).all()


def test_F7_no_mask_logits_at_all():
    prediction, target = batch(np.zeros((0, 4, 4)), n=3)
    expected = F.cross_entropy(prediction["logits"], target["labels"])
    for mask_logits in (None, prediction["mask_logits"]):
        loss = JointLoss(class_scale=1.0)({**prediction, "mask_logits": mask_logits}, target)
        assert loss.item() == pytest.approx(expected.item())


def test_missing_pixels_have_no_gradient_and_no_value():
    masks = torch.tensor([[[0, 1, MISSING], [MISSING, 1, 0]]])
    prediction, target = batch(masks)
    prediction["mask_logits"].requires_grad_()
    loss = JointLoss()(prediction, target)
    loss.backward()
    per_pixel = prediction["mask_logits"].grad.abs().sum(1)
    assert (per_pixel[masks == MISSING] == 0).all() and (per_pixel[masks != MISSING] > 0).all()
    other = prediction["mask_logits"].detach().clone()
    other.movedim(1, -1)[masks == MISSING] = 1e3
    assert JointLoss()({**prediction, "mask_logits": other}, target).item() == loss.item()


def test_a_missing_image_changes_nothing_by_default():
    masks = np.random.default_rng(0).integers(0, 2, (2, 4, 4))
    prediction, target = batch(masks)
    loss = JointLoss(class_scale=0.0)(prediction, target)
    more, more_target = batch(np.concatenate([masks, np.full((1, 4, 4), MISSING)]))
    more["mask_logits"][:2] = prediction["mask_logits"]
    assert JointLoss(class_scale=0.0)(more, more_target).item() == pytest.approx(loss.item())
    share = JointLoss(class_scale=0.0, normalize="batch")(more, more_target).item()
    assert share == pytest.approx(loss.item() * 2 / 3)  # as published: over the whole batch


def test_weights_of_pixels_and_of_images_agree():
    masks = np.random.default_rng(0).integers(-1, 2, (3, 4, 5))
    weight = torch.tensor([1.0, 0.1, 0.5]).reshape(3, 1, 1)
    prediction, target = batch(masks, weight=weight)
    whole = JointLoss()(prediction, target)
    target["mask_weight"] = target["mask_weight"].expand(3, 4, 5)
    assert JointLoss()(prediction, target).item() == pytest.approx(whole.item())


def test_class_weight():
    prediction, target = batch(np.full((4, 2, 2), MISSING), n_classes=3)
    weight = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    loss = JointLoss(class_scale=1.0, class_weight=weight)(prediction, target)
    nll = -prediction["logits"].log_softmax(1)[range(4), target["labels"]]
    w = weight[target["labels"]]
    assert loss.item() == pytest.approx(((nll * w).sum() / w.sum()).item())


@pytest.mark.parametrize("options", [{}, PUBLISHED, {"dice_scale": 0.3, "mask_scale": 2.0}])
def test_gradient_is_that_of_the_value(options):
    masks = np.array([[[0, 1, 2], [MISSING, 1, 0]], [[MISSING] * 3] * 2])
    prediction, target = batch(masks, n=3, weight=np.array([[[0.7]], [[0.1]]]), n_mask_classes=3)
    loss = JointLoss(**options)

    def value(logits, mask_logits):
        # The probabilities are taken in float32; a coarse step then.
        return loss({"logits": logits, "mask_logits": mask_logits}, target)

    inputs = (prediction["logits"].requires_grad_(), prediction["mask_logits"].requires_grad_())
    assert torch.autograd.gradcheck(value, inputs, eps=1e-2, atol=2e-3, rtol=1e-2)


def test_unknown_normalization():
    with pytest.raises(ValueError, match="normalize must be one of .*Did you mean 'annotated'"):
        JointLoss(normalize="anotated")


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.integers(2, 4), st.floats(0, 1))
def test_loss_is_finite_and_not_negative(seed, n_mask_classes, share_missing):
    rng = np.random.default_rng(seed)
    masks = rng.integers(0, n_mask_classes, (3, 4, 5))
    masks[rng.random(masks.shape) < share_missing] = MISSING
    prediction, target = batch(masks, weight=rng.random((3, 1, 1)), n_mask_classes=n_mask_classes)
    prediction["mask_logits"] *= 50
    for options in ({}, PUBLISHED):
        loss = JointLoss(**options)(prediction, target)
        assert torch.isfinite(loss) and loss >= 0
    # Images in another order: the same loss.
    order = torch.tensor([2, 0, 1])
    moved = {k: v[order] for k, v in prediction.items()}
    moved_target = {k: v[order] for k, v in target.items()}
    assert JointLoss()(moved, moved_target).item() == pytest.approx(
        JointLoss()(prediction, target).item(), rel=1e-6
    )
