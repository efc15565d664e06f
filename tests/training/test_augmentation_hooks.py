"""Hooks by hand, of kornia, of torchvision.v2 and of albumentations; what they do to a batch."""

import functools
import random

import numpy as np
import pytest
import torch
from foreign_packages import make_torchvision_importable

from alseg.labels import MISSING
from alseg.training import (
    TrainingBatches,
    TrainingData,
    check_hook,
    from_albumentations,
    from_kornia,
    from_torchvision,
    run_hook,
)


def batch(n=4, size=(6, 8), weights="pixel", seed=0):
    """Images whose first channel is their mask and whose second is its weight, where known."""
    draw = torch.Generator().manual_seed(seed)
    masks = torch.randint(-1, 3, (n, *size), generator=draw)
    weight = torch.randint(1, 5, (n, *size), generator=draw) / 4
    if weights == "image":
        weight = weight[:, :1, :1]
    images = torch.stack([(masks + 1) / 4, weight.expand(n, *size), torch.zeros(n, *size)], 1)
    return images, masks, torch.arange(n), weight


def run(hook, parts, seed=0):
    images, masks, labels, weight = parts
    generator = torch.Generator().manual_seed(seed)
    return run_hook(hook, images, masks, labels, weight, generator, n_mask_classes=3)


# -- by hand ---------------------------------------------------------------------------------------


def test_a_hook_is_passed_what_it_names():
    seen = {}

    def hook(images, masks, labels, generator, mask_weight):
        seen.update(labels=labels, weight=mask_weight, drawn=torch.rand(2, generator=generator))
        return images * 0, masks * 0, labels + 1, mask_weight / 2

    parts = batch()
    images, masks, labels, weight = run(hook, parts)
    assert not images.any() and not masks.any()
    assert torch.equal(labels, parts[2] + 1) and torch.equal(weight, parts[3] / 2)
    assert torch.equal(seen["labels"], parts[2]) and torch.equal(seen["weight"], parts[3])
    before = seen["drawn"]
    run(hook, parts)
    assert torch.equal(seen["drawn"], before)


@pytest.mark.parametrize(
    "hook",
    [
        lambda images, masks: (images, masks),
        lambda x, m: (x, m),
        lambda *parts: parts,
        functools.partial(lambda strength, images, masks: (images, masks), 0.5),
        lambda images, masks, strength=1.0: (images, masks),
    ],
)
def test_a_hook_that_changes_nothing(hook):
    check_hook("augmentation.hook", hook)
    parts = batch()
    assert all(torch.equal(a, b) for a, b in zip(run(hook, parts), parts))


@pytest.mark.parametrize(
    "hook",
    [
        "flip",
        3,
        torch.nn.ReLU,
        lambda images: images,
        lambda images, masks, strength: (images, masks),
        lambda images, masks, *, strength: (images, masks),
        lambda generator, labels: labels,
    ],
)
def test_what_is_no_hook_is_refused(hook):
    with pytest.raises(TypeError, match=r"augmentation.hook must be None or a function hook\("):
        check_hook("augmentation.hook", hook)


@pytest.mark.parametrize(
    ("hook", "error", "words"),
    [
        (lambda x, m: x, TypeError, r"gives \(images, masks\) back, got 'Tensor|shape \(4"),
        (lambda x, m: (x, m, m), TypeError, r"gives \(images, masks\) back, got"),
        (lambda x, m, labels: (x, m), TypeError, r"gives \(images, masks, labels\) back"),
        (
            lambda x, m: (x[:2], m),
            ValueError,
            r"images of augmentation.hook must be .*\(4, 3, 6, 8\)",
        ),
        (lambda x, m: (x[:, :1], m), ValueError, r"got 'shape \(4, 1, 6, 8\)"),
        (lambda x, m: ((x * 255).byte(), m), ValueError, "got .*uint8"),
        (lambda x, m: (x.numpy(), m), ValueError, "got 'ndarray'"),
        (lambda x, m: (x, m.float()), ValueError, "masks of augmentation.hook must be .* float32"),
        (lambda x, m: (x, m[:, None]), ValueError, r"masks of .*\(4, 1, 6, 8\)"),
        (lambda x, m: (x / 0, m), ValueError, "images of augmentation.hook must be finite"),
        (lambda x, m: (x, m + 1), ValueError, r"must be in \[0, 2\], or -1 .*, got 3"),
        (lambda x, m: (x, m - 1), ValueError, r"must be in \[0, 2\], or -1 .*, got -2"),
        (lambda x, m, labels: (x, m, labels[:1]), ValueError, "labels of augmentation.hook"),
    ],
)
def test_what_a_hook_gives_is_checked(hook, error, words):
    with pytest.raises(error, match=words):
        run(hook, batch(weights="image"))


def test_weights_of_pixels_move_with_masks_or_are_asked_for():
    def flipped(images, masks):
        return images.flip(-1), masks.flip(-1)

    def in_place(images, masks):
        masks[:] = 0
        return images, masks

    run(flipped, batch(weights="image"))
    run(lambda images, masks: (images / 2, masks.clone()), batch())
    for hook in (flipped, in_place):
        with pytest.raises(ValueError, match="must take mask_weight, and give it back"):
            run(hook, batch())


def test_random_numbers_are_seeded_and_given_back():
    def noise(images, masks):
        return images + torch.rand(images.shape), masks

    parts = batch()
    before = torch.get_rng_state()
    first, again, other = (run(noise, parts, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_may_be_mixed():
    def mix_up(images, masks, labels, generator):
        share = torch.rand((), generator=generator)
        shares = torch.eye(4)[labels]
        mixed = share * images + (1 - share) * images.flip(0)
        return mixed, masks, share * shares + (1 - share) * shares.flip(0)

    assert run(mix_up, batch())[2].shape == (4, 4)


# -- in a batch ------------------------------------------------------------------------------------


def data(n=6, n_known=3):
    draw = torch.Generator().manual_seed(0)
    masks = torch.randint(2, (n, 8, 8), generator=draw).to(torch.int16)
    masks[n_known:] = MISSING
    images = torch.randint(256, (n, 3, 8, 8), generator=draw, dtype=torch.uint8)
    return TrainingData(images, torch.arange(n), masks, torch.ones(n, 1, 1))


OURS = {"flips": "both", "affine": (0.2, 10.0), "jitter": 0.1, "stain": 0.0}
NONE = {"flips": "none", "affine": None, "jitter": 0.0, "stain": 0.0}


def batches(hook, options=OURS, **more):
    rng = np.random.default_rng(0)
    return list(TrainingBatches(data(), 3, 2, 2, options, rng, hook=hook, **more))


def plain(images, masks, labels, weights, generator):
    return images, masks, labels, weights


def test_a_hook_comes_after_ours_and_leaves_our_draws_alone():
    def half(images, masks, labels, weights, generator):
        torch.rand(3, generator=generator)
        return images / 2, masks, labels, weights

    for (x, target), (x_half, same) in zip(batches(None), batches(half)):
        assert torch.equal(x["x"] / 2, x_half["x"]) and x["n_decode"] == x_half["n_decode"] == 2
        assert torch.equal(target["masks"], same["masks"])
        assert torch.equal(target["labels"], same["labels"])


def test_objects_are_pasted_into_images_without_a_mask():
    def paste(images, masks, labels, weights, generator):
        images, masks = images.clone(), masks.clone()
        n = len(images) // 2
        images[n:, :, :4], masks[n:, :4] = images[:n, :, :4], masks[:n, :4]
        return images, masks, labels, weights

    for x, target in batches(paste, NONE):
        assert x["n_decode"] == len(target["masks"]) == len(target["mask_weight"]) == 4
        assert torch.equal(target["masks"][2:, :4], target["masks"][:2, :4])
        assert (target["masks"][2:, 4:] == MISSING).all()
    for x, target in batches(paste, NONE, decode=False):  # of classes alone
        assert x["n_decode"] == len(target["masks"]) == 0


# -- libraries -------------------------------------------------------------------------------------


def together(images, masks, weight):
    """Whether masks and weights lie where the images say, with nearest pixels only."""
    known = masks != MISSING
    return bool(
        torch.allclose(images[:, 0][known], (masks[known] + 1) / 4, atol=0.003)
        and torch.allclose(images[:, 1][known], weight.expand(masks.shape)[known], atol=0.003)
    )


def check_adapter(hook, moved, outside=False):
    """Masks, and weights of pixels, are where their pixels are; draws repeat and differ."""
    check_hook("augmentation.hook", hook)
    parts = batch()
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    images, masks, labels, weight = run(hook, parts)
    assert torch.equal(labels, parts[2]) and masks.dtype == torch.int64
    assert together(images, masks, weight)
    assert (not torch.equal(masks, parts[1])) == moved
    if outside:
        assert (masks == MISSING).sum() > (parts[1] == MISSING).sum()
    for one, same in zip((images, masks, weight), run(hook, parts)[:2] + run(hook, parts)[3:]):
        assert torch.equal(one, same)
    others = [run(hook, parts, seed)[1] for seed in range(1, 6)]
    assert any(not torch.equal(masks, other) for other in others) == moved
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1] and random.getstate() == states[2]
    even = batch(weights="image")
    assert torch.equal(run(hook, even)[3], even[3])
    return images, masks


def test_kornia():
    kornia = pytest.importorskip("kornia.augmentation")
    check_adapter(from_kornia(kornia.RandomHorizontalFlip(), kornia.RandomVerticalFlip()), True)
    shift = {"translate": (0.3, 0.3), "degrees": 0.0, "resample": "nearest", "p": 1.0}
    given = kornia.AugmentationSequential(kornia.RandomAffine(**shift), data_keys=["input", "mask"])
    check_adapter(from_kornia(given), True, outside=True)
    images, masks = check_adapter(from_kornia(kornia.RandomErasing(p=0.0)), False)
    bright = from_kornia(kornia.ColorJiggle(0.5, 0.5, p=1.0))
    images, masks, *_ = run(bright, batch())
    assert torch.equal(masks, batch()[1]) and not torch.equal(images, batch()[0])
    assert images.min() >= 0 and images.max() <= 1


def test_kornia_draws_anew_for_each_image():
    kornia = pytest.importorskip("kornia.augmentation")
    images, masks, labels, weight = (
        part[:1].repeat(16, *[1] * (part.ndim - 1)) for part in batch()
    )
    moved = run(from_kornia(kornia.RandomHorizontalFlip()), (images, masks, labels, weight))[1]
    flipped = [bool((one == masks[0].flip(-1)).all()) for one in moved]
    assert 0 < sum(flipped) < 16


def test_torchvision():
    make_torchvision_importable()
    v2 = pytest.importorskip("torchvision.transforms.v2")
    flips = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()])
    check_adapter(from_torchvision(flips), True)
    shift = v2.RandomAffine(0.0, translate=(0.3, 0.3))
    check_adapter(from_torchvision(shift), True, outside=True)
    images, masks, *_ = run(from_torchvision(v2.ColorJitter(0.5, 0.5)), batch())
    assert torch.equal(masks, batch()[1]) and not torch.equal(images, batch()[0])


class OfTheShape:
    """Called as albumentations' `Compose` is: arrays by name, a dict back, a seed of its own."""

    def __init__(self, float_out=False):
        self.rng, self.float_out, self.seen = np.random.default_rng(), float_out, []

    def set_random_seed(self, seed):
        self.rng = np.random.default_rng(seed)

    def __call__(self, *, image, masks):
        self.seen.append((image.dtype, image.shape, [mask.dtype for mask in masks]))
        axes = [axis for axis in (0, 1) if self.rng.random() < 0.5]
        image, *masks = (np.flip(one, axes) for one in (image, *masks))
        image = image.astype(np.float32) / 255 if self.float_out else image
        return {"image": image.copy(), "masks": [mask.copy() for mask in masks]}


@pytest.mark.parametrize("float_out", [False, True])
def test_what_is_called_as_albumentations(float_out):
    transform = OfTheShape(float_out)
    check_adapter(from_albumentations(transform), True)
    assert transform.seen[0] == (np.uint8, (6, 8, 3), [np.float32] * 2)
    assert transform.seen[-1] == (np.uint8, (6, 8, 3), [np.float32])
    transform = OfTheShape()
    images, masks, *_ = run(from_albumentations(transform, dtype="float32"), batch())
    assert transform.seen[0][0] == np.float32 and images.dtype == torch.float32
    with pytest.raises(ValueError, match="dtype must be 'uint8' or 'float32'"):
        from_albumentations(transform, dtype="float64")
    with pytest.raises(TypeError, match="transform must be a transform with set_random_seed"):
        from_albumentations(lambda image, masks: None)


def test_albumentations():
    """Skipped where it is not installed, as in our own tests: it brings OpenCV."""
    A = pytest.importorskip("albumentations")
    flips = A.Compose([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])
    check_adapter(from_albumentations(flips), True)
    check_adapter(from_albumentations(A.HorizontalFlip(p=0.5)), True)
    shift = A.Affine(translate_percent=(-0.3, 0.3), interpolation=0, p=1.0)
    check_adapter(from_albumentations(A.Compose([shift])), True, outside=True)
    colours = A.Compose([A.RandomBrightnessContrast(p=1.0), A.HueSaturationValue(p=1.0)])
    images, masks, *_ = run(from_albumentations(colours), batch())
    assert torch.equal(masks, batch()[1]) and not torch.equal(images, batch()[0])
