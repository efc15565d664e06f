"""Losses of few marks against sums over all pairs of pixels, and values by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg import JointCAMSegmenter
from alseg.labels import MISSING
from alseg.training import JointLoss, balanced_weight, gated_crf_loss


def test_three_marks_of_one_class_and_one_of_the_other_by_hand():
    masks = torch.tensor([[[0, 0, 0, 1, MISSING]], [[0, 0, 0, 1, 1]]])
    weight = torch.tensor([1.0, 0.5]).reshape(2, 1, 1)
    found = balanced_weight(masks, weight, torch.tensor([0.8, 0.2]))
    # 0.8 / (3 / 4) and 0.2 / (1 / 4); the whole mask is its own sample.
    torch.testing.assert_close(found[0, 0, :4], torch.tensor([16 / 15] * 3 + [0.8]))
    torch.testing.assert_close(found[1], torch.full((1, 5), 0.5))


@given(st.integers(0, 2**20), st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_each_class_gets_its_share_of_the_same_sum(seed, n_classes):
    rng = np.random.default_rng(seed)
    masks = torch.as_tensor(rng.integers(-1, n_classes, (2, 5, 6)))
    prior = torch.as_tensor(rng.dirichlet(np.ones(n_classes)), dtype=torch.float64)
    weight = torch.as_tensor(rng.uniform(0.1, 1, (2, 1, 1)))
    found = balanced_weight(masks, weight, prior)
    for mask, w, each in zip(masks, weight, found):
        known = mask != MISSING
        there = [c for c in range(n_classes) if (mask == c).any()]
        torch.testing.assert_close(each[known].sum(), w.squeeze() * known.sum())
        for c in there:
            share = each[mask == c].sum() / each[known].sum()
            torch.testing.assert_close(share, prior[c] / prior[there].sum())


def test_the_loss_of_marks_of_all_classes_alike_is_that_of_a_fair_sample():
    """A pixel of each class at one logit: cross-entropy is weighted as the image would be."""
    p = torch.tensor([[[0.3, 0.3, 0.3]]], dtype=torch.float64)
    prediction = {
        "logits": torch.zeros(1, 2, dtype=torch.float64),
        "mask_logits": torch.stack([torch.zeros_like(p), torch.logit(p)], 1),
    }
    target = {
        "labels": torch.tensor([MISSING]),
        "masks": torch.tensor([[[0, 1, MISSING]]]),
        "mask_weight": torch.ones(1, 1, 1, dtype=torch.float64),
    }
    loss = JointLoss(class_scale=0, dice_scale=0, prior=0.25)(prediction, target)
    assert loss.item() == pytest.approx(-(0.75 * math.log(0.7) + 0.25 * math.log(0.3)))


def energy(proba, images, gate, radius, sigma_xy, sigma_rgb):
    """The definition, pixel by pixel."""
    total, (_, height, width) = 0.0, proba.shape
    places = list(itertools.product(range(height), range(width)))
    for (i, j), (k, m) in itertools.product(places, places):
        if (i, j) == (k, m) or max(abs(i - k), abs(j - m)) > radius:
            continue
        near = ((i - k) ** 2 + (j - m) ** 2) / (2 * sigma_xy**2)
        colours = ((images[:, i, j] - images[:, k, m]) ** 2).sum() / (2 * sigma_rgb**2)
        kernel = math.exp(-near - colours)
        total += gate[i, j] * kernel * (1 - (proba[:, i, j] * proba[:, k, m]).sum())
    return total


@pytest.mark.parametrize("radius", [1, 2, 9])
def test_the_neighbours_loss_is_the_sum_over_all_pairs(radius):
    generator = torch.Generator().manual_seed(radius)
    logits = torch.randn(2, 3, 8, 10, generator=generator)
    images = torch.rand(2, 3, 8, 10, generator=generator)
    masks = torch.full((2, 8, 10), MISSING)
    masks[0, :4, :4] = 1  # of the second image nothing is known: it counts nothing
    found = gated_crf_loss(logits, images, masks, radius, 2.0, 0.4)
    gate = F.avg_pool2d((masks[:1] == MISSING).float(), 2)[0]
    halves = F.avg_pool2d(logits.softmax(1), 2)[0].numpy(), F.avg_pool2d(images, 2)[0].numpy()
    expected = energy(*halves, gate.numpy(), radius, 2.0, 0.4) / gate.sum().item()
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_whole_masks_and_none_have_no_neighbours_loss():
    logits, images = torch.randn(2, 2, 6, 6), torch.rand(2, 3, 6, 6)
    masks = torch.stack([torch.ones(6, 6, dtype=torch.int64), torch.full((6, 6), MISSING)])
    assert gated_crf_loss(logits, images, masks).item() == 0


def test_its_gradient_draws_a_pixel_to_the_neighbour_of_its_colour():
    images = torch.zeros(1, 3, 2, 6)
    images[..., 4:] = 1.0  # two colours: what is marked on the left says nothing of the right
    logits = torch.zeros(1, 2, 2, 6)
    logits[:, 1, :, :2] = 8.0
    logits.requires_grad_()
    masks = torch.full((1, 2, 6), MISSING)
    masks[..., :2] = 1
    gated_crf_loss(logits, images, masks).backward()
    gradient = logits.grad[0, 1, 0]
    assert gradient[2] < 0 and abs(gradient[2]) > 100 * abs(gradient[4])


@pytest.mark.parametrize("prior", [0.0, 1.0, (0.5, 0.6), (1.2, -0.2), float("nan")])
def test_a_prior_that_is_none_is_refused(prior):
    with pytest.raises(ValueError, match="prior must be a share"):
        JointLoss(prior=prior)


@pytest.mark.slow
def test_a_fit_on_points_learns_with_both(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 80, (6, 32, 32, 3), dtype=np.uint8)
    images[:, 8:24, 8:24] += 120
    truth = np.zeros((6, 32, 32), np.int16)
    truth[:, 8:24, 8:24] = 1
    masks = np.full_like(truth, MISSING)
    for mask, whole in zip(masks, truth):
        at = tuple(rng.integers(0, 32, (2, 30)))
        mask[at] = whole[at]
    options = {"criterion__prior": 0.25, "criterion__crf_scale": 0.1}
    model = JointCAMSegmenter(
        encoder="tiny", max_epochs=30, image_size=(32, 32), random_state=0, **options
    )
    model.fit(images, ["a", "b"] * 3, masks=masks)
    assert model.criterion_.takes_images
    assert model.score_masks(images, truth) > 0.8
    model.set_params(feature_cache=str(tmp_path), schedule__encoder_lr_scale=0.0)
    with pytest.raises(ValueError, match=r"criterion__crf_scale must be 0 with feature_cache"):
        model.fit(images, ["a", "b"] * 3, masks=masks)
