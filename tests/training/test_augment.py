"""Geometry moves image, mask and weights together; colour moves the image alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg.labels import MISSING
from alseg.training.augment import STAINS, colour_jitter, random_affine, random_flip, stain_jitter


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def marked(n=64, h=9, w=13, row=2, column=3):
    """Images with one bright pixel, which is also the mask's and the weights'."""
    images = torch.zeros(n, 3, h, w)
    images[:, :, row, column] = 1
    masks = torch.zeros(n, h, w, dtype=torch.int16)
    masks[:, row, column] = 1
    weights = torch.full((n, h, w), 0.25)
    weights[:, row, column] = 0.5
    return images, masks, weights


def places(images):
    return {tuple(p) for p in torch.nonzero(images[:, 0])[:, 1:].tolist()}


@pytest.mark.parametrize(
    "flips, expected",
    [
        ("none", {(2, 3)}),
        ("horizontal", {(2, 3), (2, 9)}),
        ("both", {(2, 3), (2, 9), (6, 3), (6, 9)}),
    ],
)
def test_flips_move_all_together(flips, expected):
    images, masks, weights = random_flip(*marked(), seeded(), flips)
    assert places(images) == expected  # all of them, and no other
    assert torch.equal(masks == 1, images[:, 0] == 1)
    assert torch.equal(weights == 0.5, images[:, 0] == 1)
    assert masks.dtype == torch.int16


def test_each_direction_flips_half_of_the_images():
    images, _, _ = random_flip(*marked(2000), seeded(), "both")
    _, _, row, column = torch.nonzero(images[:, :1]).T
    for flipped in (row == 6, column == 9):
        assert flipped.float().mean().item() == pytest.approx(0.5, abs=0.05)
    both = ((row == 6) & (column == 9)).float().mean().item()
    assert both == pytest.approx(0.25, abs=0.05)  # independent


def test_one_weight_an_image_stays():
    images, masks, _ = marked()
    weights = torch.rand(64, 1, 1)
    for moved in (
        random_flip(images, masks, weights, seeded()),
        random_affine(images, masks, weights, seeded()),
    ):
        assert torch.equal(moved[2], weights)


def test_weights_of_one_column_or_row_flip_too():
    images, masks, weights = marked(h=9, w=1, column=0)
    moved = random_flip(images, masks, weights, seeded())
    assert places(moved[0]) == {(2, 0), (6, 0)}
    assert torch.equal(moved[2] == 0.5, moved[0][:, 0] == 1)


def test_unknown_flips():
    with pytest.raises(ValueError, match="Did you mean 'horizontal'"):
        random_flip(*marked(), seeded(), "horizontl")


def test_affine_without_zoom_and_rotation_is_the_identity():
    images = torch.rand(4, 3, 9, 13)
    masks = torch.randint(-1, 3, (4, 9, 13), dtype=torch.int16)
    weights = torch.rand(4, 9, 13)
    moved = random_affine(images, masks, weights, seeded(), scale=0.0, degrees=0.0)
    assert torch.allclose(moved[0], images, atol=1e-5)
    assert torch.equal(moved[1], masks) and moved[1].dtype == torch.int16
    assert torch.equal(moved[2], weights)


def smooth(n, h, w):
    """Blobs: large enough to be found again after resampling."""
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    blob = (((y - 0.4 * h) / (0.2 * h)) ** 2 + ((x - 0.6 * w) / (0.15 * w)) ** 2 < 1).float()
    return blob.expand(n, 3, h, w).contiguous(), blob.expand(n, h, w).to(torch.int16).contiguous()


def test_affine_moves_image_mask_and_weights_together():
    images, masks = smooth(32, 48, 64)
    weights = masks.float() + 1
    moved, moved_masks, moved_weights = random_affine(images, masks, weights, seeded())
    inside = moved_masks != MISSING
    agree = (moved[:, 0] > 0.5) == (moved_masks == 1)
    assert agree[inside].float().mean() > 0.985  # but for the edge of the blob
    assert torch.equal(moved_weights[inside], moved_masks[inside].float() + 1)
    assert (moved_masks != masks).flatten(1).any(1).all()  # it does move
    assert not torch.equal(moved[0], moved[1])  # each in its own way


def test_affine_marks_what_comes_from_outside_as_missing():
    images, masks = torch.ones(64, 3, 32, 48), torch.zeros(64, 32, 48, dtype=torch.int16)
    weights = torch.ones(64, 32, 48)
    moved, moved_masks, moved_weights = random_affine(images, masks, weights, seeded(), 0.4, 0.0)
    outside = moved_masks == MISSING
    shrunk = outside.flatten(1).any(1)
    assert 0.3 < shrunk.float().mean() < 0.7  # zoomed out: half of them
    assert set(moved_masks.unique().tolist()) == {MISSING, 0}
    assert (moved_weights[outside] == 0).all() and (moved_weights[~outside] == 1).all()
    assert torch.allclose(moved, torch.ones(()), atol=1e-5)  # the image is reflected


def test_rotation_keeps_shapes_on_wide_images():
    """Degrees are degrees of the picture, not of the unit square: a disc stays a disc."""
    h, w = 40, 100
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    radius = torch.sqrt((y - 19.5) ** 2 + (x - 49.5) ** 2)
    disc = (radius < 15).float()
    images = disc.expand(16, 3, h, w).contiguous()
    masks = disc.expand(16, h, w).to(torch.int16).contiguous()
    moved, _, _ = random_affine(images, masks, torch.ones(16, 1, 1), seeded(), 0.0, 90.0)
    # Farther out the disc is seen reflected.
    assert (moved[:, 0] - disc)[:, radius < 19].abs().mean() < 0.03


def test_rotation_turns_by_at_most_the_degrees():
    h = w = 64
    images = torch.zeros(200, 3, h, w)
    images[:, :, 30:34, 32:] = 1  # a hand of a clock
    masks = torch.zeros(200, h, w, dtype=torch.int16)
    moved, _, _ = random_affine(images, masks, torch.ones(200, 1, 1), seeded(), 0.0, 20.0)
    y, x = torch.meshgrid(torch.arange(h) - 31.5, torch.arange(w) - 31.5, indexing="ij")
    weight = moved[:, 0] * (x > 0)
    slope = (weight * y).sum((1, 2)) / (weight * x).sum((1, 2))
    angles = torch.rad2deg(torch.atan(slope))
    assert angles.abs().max() < 21 and angles.max() > 15 and angles.min() < -15


def test_colour_jitter_moves_channels_alike_over_the_image():
    images = torch.rand(16, 3, 5, 7) * 0.4 + 0.3  # clear of the clipping
    moved = colour_jitter(images, seeded(), 0.15)
    # Gain and offset: an affine map of each channel of each image.
    x, y = images.flatten(2), moved.flatten(2)
    gain = ((x - x.mean(2, True)) * (y - y.mean(2, True))).sum(2) / x.var(2, correction=0) / 35
    offset = y.mean(2) - gain * x.mean(2)
    assert torch.allclose(gain[..., None] * x + offset[..., None], y, atol=1e-4)
    assert ((gain - 1).abs() <= 0.151).all() and (offset.abs() <= 0.076).all()
    assert gain.std() > 0.05 and offset.std() > 0.02
    assert torch.allclose(colour_jitter(images, seeded(), 0.0), images)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.sampled_from(["both", "horizontal", "none"]))
def test_augmented_stays_in_range_repeats_and_leaves_the_input(seed, flips):
    generator = seeded(seed)
    images = torch.rand(3, 3, 8, 11, generator=generator)
    masks = torch.randint(-1, 3, (3, 8, 11), generator=generator, dtype=torch.int16)
    weights = torch.rand(3, 8, 11, generator=generator)
    copies = [t.clone() for t in (images, masks, weights)]
    before = torch.get_rng_state(), np.random.get_state()[1].copy()

    def run():
        g = seeded(seed)
        moved = random_affine(*random_flip(images, masks, weights, g, flips), g)
        return colour_jitter(moved[0], g), *moved[1:]

    first, second = run(), run()
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    assert first[0].min() >= 0 and first[0].max() <= 1
    assert set(first[1].unique().tolist()) <= {-1, 0, 1, 2}
    assert first[2].min() >= 0 and first[2].max() <= weights.max()
    assert all(torch.equal(a, b) for a, b in zip(copies, (images, masks, weights)))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


# -- stains ----------------------------------------------------------------------------------------


def test_stains_are_scikit_images():
    from skimage.color import rgb_from_hed

    np.testing.assert_allclose(STAINS, rgb_from_hed)


@pytest.mark.parametrize("strength", [0.05, 0.2])
def test_amounts_of_stain_change_by_a_gain_and_a_shift(strength):
    """Against scikit-image's separation into stains, whose unit is that of a natural logarithm."""
    from skimage.color import hed_from_rgb, rgb_from_hed, separate_stains

    torch.manual_seed(0)
    images = 0.1 + 0.9 * torch.rand(5, 3, 6, 7)
    changed = stain_jitter(images, seeded(3), strength)
    draws = seeded(3)
    gain = 1 + strength * (torch.rand(5, 3, generator=draws) * 2 - 1)
    shift = strength * (torch.rand(5, 3, generator=draws) * 2 - 1)

    def amounts(image):  # in decadic optical density; scikit-image would clip negative ones
        rgb = image.permute(1, 2, 0).double().numpy()
        exact = -np.log10(rgb) @ hed_from_rgb
        found = separate_stains(rgb, hed_from_rgb) * np.log10(1e6)
        np.testing.assert_allclose(found, np.maximum(exact, 0), atol=1e-9)
        return exact

    assert not np.allclose(changed, images, atol=0.01)
    for i in range(5):
        stains = amounts(images[i]) * gain[i].numpy() + shift[i].numpy()
        expected = np.clip(10 ** -(stains @ rgb_from_hed), 0, 1)
        np.testing.assert_allclose(changed[i].permute(1, 2, 0), expected, atol=1e-5)


def test_stain_draws_are_one_an_image_and_of_the_generator():
    images = torch.full((4, 3, 2, 2), 0.5)
    changed = stain_jitter(images, seeded(0), 0.1)
    assert torch.equal(changed, stain_jitter(images, seeded(0), 0.1))
    assert (changed == changed[:, :, :1, :1]).all()  # one change for all pixels of an image
    assert len(torch.unique(changed[:, 0, 0, 0])) == 4
    extremes = stain_jitter(torch.tensor([0.0, 1.0]).expand(2, 3, 1, 2), seeded(1), 0.9)
    assert torch.isfinite(extremes).all() and extremes.min() >= 0 and extremes.max() <= 1
