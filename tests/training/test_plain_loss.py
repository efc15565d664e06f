"""Losses in torch's form, of torch, of MONAI and one's own, against what they give themselves."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from foreign_packages import make_torchvision_importable
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from alseg.interfaces import BatchLoss, takes_batch
from alseg.labels import MISSING
from alseg.training import JointLoss, PlainLoss, build_criterion, criterion_options


def batch(seed=0, n=3, n_classes=3, missing=0.3, weights=None, size=(5, 7)):
    """What a network might give, and what is known: labels of n images, masks of all but one."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, n_classes, *size, generator=draw).requires_grad_()
    masks = torch.randint(n_classes, (n, *size), generator=draw)
    masks[torch.rand(masks.shape, generator=draw) < missing] = MISSING
    prediction = {"logits": torch.randn(n + 1, 2, generator=draw), "mask_logits": logits}
    shape = {"image": (n, 1, 1), "pixel": (n, *size)}.get(weights)
    weight = torch.ones(n, 1, 1) if shape is None else torch.rand(shape, generator=draw) + 0.1
    labels = torch.randint(2, (n + 1,), generator=draw)
    return prediction, {
        "labels": labels,
        "masks": masks,
        "mask_weight": weight,
        "weighted": weights is not None,
    }


def of_classes(prediction, target):
    return F.cross_entropy(prediction["logits"], target["labels"])


# -- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(ignore_index=MISSING),
        nn.CrossEntropyLoss(),  # MISSING becomes its -100
        F.cross_entropy,
        functools.partial(F.cross_entropy, ignore_index=7),
        lambda logits, masks: F.cross_entropy(logits, masks, ignore_index=MISSING),
    ],
    ids=["module", "other-index", "function", "bound", "own"],
)
def test_cross_entropy_is_torchs_over_the_annotated_pixels(loss):
    prediction, target = batch()
    criterion = build_criterion(loss, {"class_scale": 0.5})
    want = F.cross_entropy(prediction["mask_logits"], target["masks"], ignore_index=MISSING)
    want = want + 0.5 * of_classes(prediction, target)
    assert criterion(prediction, target).item() == pytest.approx(want.item(), rel=1e-6)


@given(st.integers(0, 2**31), st.sampled_from([None, "image", "pixel"]))
def test_a_loss_of_each_pixel_is_that_of_joint_loss(seed, weights):
    prediction, target = batch(seed, weights=weights)
    own = build_criterion(nn.CrossEntropyLoss(reduction="none"), {"class_scale": 0.3})
    want = JointLoss(class_scale=0.3, dice_scale=0.0)(prediction, target)
    assert own(prediction, target).item() == pytest.approx(want.item(), rel=1e-5)


def test_a_number_is_weighted_image_by_image():
    prediction, target = batch(weights="image")
    loss = nn.CrossEntropyLoss(ignore_index=MISSING)
    parts = [
        w.item() * loss(z[None], m[None]).item()
        for z, m, w in zip(prediction["mask_logits"], target["masks"], target["mask_weight"])
    ]
    found = PlainLoss(loss, class_scale=0.0)(prediction, target)
    assert found.item() == pytest.approx(np.mean(parts), rel=1e-5)


def test_a_loss_of_each_image_is_weighted():
    prediction, target = batch(weights="image", missing=0.0)

    def squares(logits, masks):
        return (logits**2).mean((1, 2, 3))

    want = (squares(prediction["mask_logits"], None) * target["mask_weight"].flatten()).mean()
    found = PlainLoss(squares, class_scale=0.0)(prediction, target)
    assert found.item() == pytest.approx(want.item(), rel=1e-6)


def test_weights_of_pixels_that_are_even_act_as_one():
    prediction, target = batch(weights="image")
    loss = PlainLoss(nn.CrossEntropyLoss(ignore_index=MISSING), class_scale=0.0)
    spread = target["mask_weight"].expand(target["masks"].shape).clone()
    spread[target["masks"] == MISSING] = 0.0  # what is not annotated may weigh anything
    found = loss(prediction, {**target, "mask_weight": spread})
    assert found.item() == pytest.approx(loss(prediction, target).item(), rel=1e-5)


@pytest.mark.parametrize("one_hot", [True, False])
@pytest.mark.parametrize("batch_dice", [True, False])
def test_monais_dice_leaves_out_what_is_not_annotated(monai, one_hot, batch_dice):
    prediction, target = batch()
    options = {"include_background": False, "softmax": True, "batch": batch_dice}
    own = build_criterion(
        monai.losses.DiceLoss, {**options, "to_onehot_y": one_hot, "class_scale": 0.0}
    )
    proba = prediction["mask_logits"].softmax(1)[:, 1:]
    truth = torch.stack([target["masks"] == c for c in (1, 2)], 1)
    known = (target["masks"] != MISSING)[:, None]
    axes = (0, 2, 3) if batch_dice else (2, 3)
    overlap, total = (proba * truth * known).sum(axes), ((proba + truth) * known).sum(axes)
    want = (1 - (2 * overlap + 1e-5) / (total + 1e-5)).mean()
    assert own(prediction, target).item() == pytest.approx(want.item(), rel=1e-5)


MONAIS = {
    "DiceCELoss": {"to_onehot_y": True, "softmax": True},
    "DiceFocalLoss": {"to_onehot_y": True, "softmax": True},
    "DiceLoss": {"softmax": True},
    "FocalLoss": {"to_onehot_y": True, "use_softmax": True},
    "GeneralizedDiceLoss": {"to_onehot_y": True, "softmax": True},
    "GeneralizedWassersteinDiceLoss": {"dist_matrix": 1 - np.eye(3)},
    "TverskyLoss": {"to_onehot_y": True, "softmax": True},
}


@pytest.mark.parametrize("name", MONAIS)
def test_monais_losses_are_monais_where_all_is_annotated(monai, name):
    prediction, target = batch(missing=0.0, size=(6, 8))
    loss, masks = getattr(monai.losses, name)(**MONAIS[name]), target["masks"][:, None]
    if not MONAIS[name].get("to_onehot_y", "dist_matrix" in MONAIS[name]):
        masks = torch.stack([target["masks"] == c for c in range(3)], 1).float()
    want = loss(prediction["mask_logits"], masks)
    found = PlainLoss(loss, class_scale=0.0)(prediction, target)
    assert found.item() == pytest.approx(want.item(), rel=1e-6)


@pytest.mark.parametrize("name", MONAIS)
def test_what_is_not_annotated_has_no_gradient(monai, name):
    prediction, target = batch(size=(6, 8))
    loss = PlainLoss(getattr(monai.losses, name)(**MONAIS[name]), class_scale=0.0)
    loss(prediction, target).backward()
    slope = prediction["mask_logits"].grad.abs().sum(1)
    known = target["masks"] != MISSING
    assert torch.isfinite(slope).all() and not slope[~known].any()
    assert (slope[known] > 0).float().mean() > 0.9


SMPS = {
    "DiceLoss": {"mode": "multiclass", "ignore_index": MISSING},
    "FocalLoss": {"mode": "multiclass", "ignore_index": MISSING},
    "JaccardLoss": {"mode": "multiclass"},
    "LovaszLoss": {"mode": "multiclass", "ignore_index": MISSING},
    "TverskyLoss": {"mode": "multiclass", "ignore_index": MISSING},
}


@pytest.mark.parametrize("name", SMPS)
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_losses_of_segmentation_models_are_theirs(name, missing):
    make_torchvision_importable()
    losses = pytest.importorskip("segmentation_models_pytorch.losses")
    prediction, target = batch(missing=missing)
    loss = getattr(losses, name)(**SMPS[name])
    found = PlainLoss(loss, class_scale=0.0)(prediction, target)
    if missing and "ignore_index" not in SMPS[name]:
        found.backward()
        assert not prediction["mask_logits"].grad.abs().sum(1)[target["masks"] == MISSING].any()
    else:
        want = loss(prediction["mask_logits"], target["masks"])
        assert found.item() == pytest.approx(want.item(), rel=1e-6)


def test_images_without_an_annotated_pixel_are_not_shown():
    prediction, target = batch()
    target["masks"][1] = MISSING
    seen = []

    def loss(logits, masks):
        seen.append(len(logits))
        return F.cross_entropy(logits, masks, ignore_index=MISSING)

    found = PlainLoss(loss, class_scale=0.0)(prediction, target)
    rest = [0, 2]
    want = F.cross_entropy(
        prediction["mask_logits"][rest], target["masks"][rest], ignore_index=MISSING
    )
    assert seen == [2] and found.item() == pytest.approx(want.item(), rel=1e-6)
    target["masks"][:] = MISSING
    alone = PlainLoss(loss, class_scale=0.5)(prediction, target)
    assert seen == [2]
    assert alone.item() == pytest.approx(0.5 * of_classes(prediction, target).item(), rel=1e-6)
    PlainLoss(loss, class_scale=0.0)(prediction, target).backward()
    assert not prediction["mask_logits"].grad.any()
    without = PlainLoss(loss)(({**prediction, "mask_logits": None}), target)
    assert torch.isfinite(without) and seen == [2]


def test_classes_are_weighted():
    prediction, target = batch()
    weight = torch.tensor([0.2, 3.0])
    criterion = build_criterion(lambda z, m: z.mean() * 0, {"class_weight": weight})
    want = 0.1 * F.cross_entropy(prediction["logits"], target["labels"], weight=weight)
    assert criterion(prediction, target).item() == pytest.approx(want.item(), rel=1e-6)
    assert criterion.class_weight is weight and criterion.class_scale == 0.1


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "error", "words"),
    [
        (lambda z, m: z.mean() / 0 * 0, ValueError, "must be finite, got nan. The logits that it"),
        (lambda z, m: z.mean().log() - z.mean() / 0, ValueError, "must be finite"),
        (
            lambda z, m: z[:, :, 0],
            ValueError,
            r"number, or of shape \(3,\) or \(3, 5, 7\), got \(3,",
        ),
        (lambda z, m: z, ValueError, r"got \(3, 3, 5, 7\). Set its `reduction`"),
        (
            lambda z, m: (z.argmax(1) != m).float().mean(),
            ValueError,
            "differentiable by the logits",
        ),
        (lambda z, m: z.mean().item(), TypeError, "must be a tensor, got 'float'"),
        (lambda z, m: (z.mean(), z), TypeError, "must be a tensor, got 'tuple'"),
    ],
)
def test_a_loss_that_cannot_be_learned_from_is_named(loss, error, words):
    with pytest.raises(error, match=f"criterion's loss must be .*{words}|{words}"):
        PlainLoss(loss)(*batch())


def test_logits_that_are_not_finite_are_named():
    prediction, target = batch()
    prediction["mask_logits"] = prediction["mask_logits"] * float("nan")
    with pytest.raises(ValueError, match="finite, got nan. So are the logits .* smaller lr"):
        PlainLoss(nn.CrossEntropyLoss())(prediction, target)


def test_what_is_not_annotated_may_be_nan():
    prediction, target = batch()

    def loss(logits, masks):
        found = F.cross_entropy(logits, masks.clamp(min=0), reduction="none")
        return torch.where(masks == MISSING, float("nan"), found)

    want = PlainLoss(nn.CrossEntropyLoss(reduction="none"))(prediction, target)
    assert PlainLoss(loss)(prediction, target).item() == pytest.approx(want.item(), rel=1e-6)


def test_weights_of_pixels_need_a_loss_of_pixels():
    prediction, target = batch(weights="pixel")
    with pytest.raises(ValueError, match="mask_weight must be one number an image.*'none'"):
        PlainLoss(nn.CrossEntropyLoss())(prediction, target)


def test_an_error_says_how_it_was_called():
    def of_dicts(prediction, target):
        return prediction["mask_logits"].mean()

    with pytest.raises(Exception) as caught:
        PlainLoss(of_dicts)(*batch())
    note = "".join(caught.value.__notes__)
    assert "loss(logits (3, 3, 5, 7), masks (3, 5, 7) torch.int64, -1 where not" in note
    assert "`takes_batch = True`" in note


def test_options_of_an_object_are_refused(monai):
    with pytest.raises(TypeError, match="criterion__gamma cannot be set on it: give the class"):
        build_criterion(monai.losses.FocalLoss(), {"gamma": 1.0})


# -- which form -----------------------------------------------------------------------------------


def test_what_takes_a_batch_says_so():
    class OfBatch(nn.Module):
        takes_batch = True

        def __init__(self, scale=1.0):
            super().__init__()
            self.scale = scale

        def forward(self, prediction, target):
            return self.scale * prediction["mask_logits"].mean()

    prediction, target = batch()
    mean = prediction["mask_logits"].mean().item()
    for loss, options, scale in [
        (OfBatch, {}, 1),
        (OfBatch, {"scale": 3.0}, 3),
        (OfBatch(2.0), {}, 2),
        (functools.partial(OfBatch, scale=4.0), {}, 4),
    ]:
        made = build_criterion(loss, options)
        assert made(prediction, target).item() == pytest.approx(scale * mean)
    assert isinstance(OfBatch(), BatchLoss) and not takes_batch(nn.CrossEntropyLoss)
    assert criterion_options(OfBatch) == ["scale"] and criterion_options(OfBatch()) == []

    def function(prediction, target, scale=1.0):
        return scale * prediction["mask_logits"].mean()

    function.takes_batch = True
    assert build_criterion(function, {"scale": 2.0})(prediction, target).item() == pytest.approx(
        2 * mean
    )


def test_an_object_is_copied():
    loss = nn.CrossEntropyLoss(weight=torch.ones(3))
    made = build_criterion(loss, {})
    assert made.loss is not loss and torch.equal(made.loss.weight, loss.weight)


def test_options_are_named():
    assert criterion_options(nn.CrossEntropyLoss)[-1] == "class_scale"
    assert "label_smoothing" in criterion_options(nn.CrossEntropyLoss)
    assert criterion_options(JointLoss)[:2] == ["class_scale", "mask_scale"]
    assert criterion_options(lambda z, m, **options: z) is None
