"""Canvas, decoded training data, and how often a batch shows each image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alseg.images import as_images, as_masks
from alseg.labels import MISSING
from alseg.training.batches import TrainingBatches, cycle
from alseg.training.decoding import image_tensor
from alseg.training.training_data import MAX_AREA, TrainingData, choose_canvas, mask_tensor

PLAIN = {"flips": "none", "affine": None, "jitter": 0.0}
MOVED = {"flips": "both", "affine": (0.25, 15.0), "jitter": 0.15}


def pool(n=10, n_masks=4, h=8, w=12, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, h, w, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(n)  # an image is known by its first pixel
    masks = [rng.integers(0, 2, (h, w)) if i < n_masks else None for i in range(n)]
    return images, np.arange(n) % 2, masks


def build(images, labels, masks, mask_weight=None, canvas=(8, 12), n_mask_classes=2):
    return TrainingData.build(
        as_images(images), labels, as_masks(masks, len(images)), mask_weight, canvas, n_mask_classes
    )


def batches(
    data, n_steps=5, batch_size=4, weak_batch_size=2, augmentation=PLAIN, seed=0, **options
):
    rng = np.random.default_rng(seed)
    return TrainingBatches(data, n_steps, batch_size, weak_batch_size, augmentation, rng, **options)


def who(x):
    return (x["x"][:, 0, 0, 0] * 255).round().int().tolist()


# -- canvas ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes, expected",
    [
        ([(33, 47)] * 3, (33, 47)),  # small images of one size keep it
        ([(20, 40), (30, 50), (100, 60)], (30, 50)),
        ([(128, 192)], (128, 192)),
        ([(1, 1)], (1, 1)),
        ([(522, 775)], (128, 192)),
    ],
)
def test_choose_canvas_by_hand(sizes, expected):
    assert choose_canvas(sizes) == expected


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=1, max_size=5))
def test_choose_canvas_is_near_its_area_and_its_shape(sizes):
    h, w = choose_canvas(sizes)
    median_h, median_w = np.median(sizes, axis=0)
    assert isinstance(h, int) and isinstance(w, int) and h >= 1 and w >= 1
    if median_h * median_w <= MAX_AREA:
        assert (h, w) == (int(median_h), int(median_w))
    else:
        assert h % 8 == 0 and w % 8 == 0
        factor = np.sqrt(MAX_AREA / (median_h * median_w))
        assert abs(h - median_h * factor) <= max(4, 8 - median_h * factor)
        assert abs(w - median_w * factor) <= max(4, 8 - median_w * factor)


# -- decoding --------------------------------------------------------------------------------------


def test_image_tensor_keeps_its_type_and_pixels():
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    tensor = image_tensor(image, (8, 12))
    assert tensor.dtype == torch.uint8 and (tensor.permute(1, 2, 0).numpy() == image).all()
    assert image_tensor(image / 255, (8, 12)).dtype == torch.float32
    tensor[:] = 0
    assert image.any()  # a copy


def test_resizing_bytes_and_floats_agree():
    image = np.random.default_rng(0).integers(0, 256, (31, 45, 3), dtype=np.uint8)
    a = image_tensor(image, (16, 24)).float() / 255
    b = image_tensor((image / 255).astype(np.float32), (16, 24))
    assert a.shape == (3, 16, 24) and (a - b).abs().max() < 2 / 255
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[::2] = 255  # without anti-aliasing they would come out black or white
    assert (image_tensor(stripes, (8, 8)).float() / 255 - 0.5).abs().max() < 0.1


def test_resizing_a_mask_invents_no_class():
    mask = np.full((30, 40), MISSING)
    mask[:, :20] = 2
    small = mask_tensor(mask, (15, 20))
    assert small.dtype == torch.int16 and set(small.unique().tolist()) == {MISSING, 2}
    assert (small[:, :10] == 2).all() and (small[:, 10:] == MISSING).all()


def test_build_from_arrays_lists_and_paths(tmp_path):
    images, labels, masks = pool()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        if masks[i] is not None:
            Image.fromarray(masks[i].astype(np.uint8)).save(tmp_path / f"mask{i}.png")
    paths = [tmp_path / f"{i}.png" for i in range(10)]
    mask_paths = [tmp_path / f"mask{i}.png" if i < 4 else None for i in range(10)]
    held = build(images, labels, masks)
    for other in (build(list(images), labels, masks), build(paths, labels, mask_paths)):
        for name in ("images", "labels", "masks", "weights"):
            assert torch.equal(getattr(held, name), getattr(other, name))
    assert held.annotated().tolist() == [True] * 4 + [False] * 6
    assert held.masks.dtype == torch.int16 and held.images.dtype == torch.uint8


def test_build_with_bytes_and_floats_mixed():
    images = [np.full((8, 12, 3), 51, np.uint8), np.full((8, 12, 3), 0.2)]
    data = build(images, [0, 1], [None, None])
    assert data.images.dtype == torch.float32 and torch.allclose(data.images, torch.tensor(0.2))


def test_build_refuses_bad_pairs_by_position():
    images, labels, masks = pool()
    with pytest.raises(ValueError, match=r"masks\[1\] is 3 x 3 pixels, its image X\[1\] 8 x 12"):
        build(images, labels, [masks[0], np.zeros((3, 3), int), *masks[2:]])
    with pytest.raises(ValueError, match=r"masks\[0\] holds the value 2"):
        build(images, labels, [masks[0] + 1, *masks[1:]])


def test_weight_zero_is_no_annotation():
    images, labels, masks = pool()
    weight = np.array([1, 0, 1, 0, 1, 1, 1, 1, 1, 1.0])
    data = build(images, labels, masks, weight)
    without = build(images, labels, [masks[0], None, masks[2], *[None] * 7])
    assert torch.equal(data.masks, without.masks)
    assert data.streams()[0].tolist() == [0, 2]
    pixels = [np.ones((8, 12)) for _ in range(10)]
    pixels[0][:4] = 0
    data = build(images, labels, masks, pixels)
    assert (data.masks[0, :4] == MISSING).all() and (data.masks[0, 4:] != MISSING).all()


def test_weights_of_pixels_and_of_images_mixed():
    images, labels, masks = pool(3, 3)
    data = build(images, labels, masks, [1.0, np.full((8, 12), 0.5), 0.1])
    assert data.weights.shape == (3, 8, 12)
    assert data.weights.flatten(1).unique(dim=1).flatten().tolist() == pytest.approx([1, 0.5, 0.1])


# -- streams and cycles ----------------------------------------------------------------------------


def test_streams():
    images, labels, masks = pool()
    weight = np.array([1, 0.1, 1, 0.1] + [1] * 6)
    first, second = build(images, labels, masks, weight).streams()
    assert first.tolist() == [0, 2] and second.tolist() == [1, 3, 4, 5, 6, 7, 8, 9]
    first, second = build(images, labels, masks, np.full(10, 0.1)).streams()
    assert first.tolist() == [0, 1, 2, 3]  # pseudo-masks alone are what there is to trust
    first, second = build(images, labels, [None] * 10).streams()
    assert len(first) == 10 and len(second) == 0
    first, second = build(images, labels, masks).streams()
    assert first.tolist() == [0, 1, 2, 3] and second.tolist() == [4, 5, 6, 7, 8, 9]


def test_streams_look_at_weights_of_annotated_pixels_alone():
    images, labels, masks = pool(3, 3)
    pseudo = masks[1].copy()
    pseudo[:4] = MISSING
    weight = np.full((8, 12), 0.1)
    weight[:4] = 1  # of pixels that hold nothing
    first, second = build(images, labels, [masks[0], pseudo, None], [1, weight, 1]).streams()
    assert first.tolist() == [0] and second.tolist() == [1, 2]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 20), st.integers(1, 100), st.integers(0, 2**31))
def test_cycle_shows_each_equally_often(n, n_draws, seed):
    positions = torch.arange(n) * 3
    drawn = cycle(positions, n_draws, np.random.default_rng(seed))
    counts = torch.bincount(drawn // 3, minlength=n)
    assert len(drawn) == n_draws and counts.max() - counts.min() <= 1
    for start in range(0, n_draws - n + 1, n):  # whole permutations
        assert len(set(drawn[start : start + n].tolist())) == n
    again = cycle(positions, n_draws, np.random.default_rng(seed))
    assert torch.equal(drawn, again)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10), st.integers(1, 5), st.integers(0, 3), st.integers(1, 6))
def test_an_epoch_holds_a_fixed_share_of_each_stream(n_masks, batch_size, weak, n_steps):
    data = build(*pool(10, n_masks))
    seen_first, seen_second = [], []
    epoch = list(batches(data, n_steps, batch_size, weak))
    assert len(epoch) == n_steps == len(batches(data, n_steps, batch_size, weak))
    for x, target in epoch:
        ids = who(x)
        seen_first += ids[:batch_size]
        seen_second += ids[batch_size:]
        mixed = 0 < n_masks < 10 and weak
        assert len(ids) == batch_size + (weak if mixed else 0)
        assert x["n_decode"] == (batch_size if n_masks else 0)
        assert len(target["masks"]) == len(target["mask_weight"]) == x["n_decode"]
        assert target["labels"].tolist() == [i % 2 for i in ids]
        for i, mask in zip(ids, target["masks"]):
            assert torch.equal(mask, data.masks[i].long())
    allowed = range(n_masks) if n_masks else range(10)
    assert set(seen_first) <= set(allowed)
    assert set(seen_second) <= set(range(n_masks, 10))
    counts = [seen_first.count(i) for i in allowed]
    assert max(counts) - min(counts) <= 1


def test_pseudo_masks_in_the_second_stream_are_decoded():
    images, labels, masks = pool()
    data = build(images, labels, masks, np.array([1, 0.1, 1, 0.1] + [1] * 6))
    for x, target in batches(data):
        assert x["n_decode"] == 6 == len(target["masks"]) == len(x["x"])
        assert target["mask_weight"].flatten()[:4].tolist() == [1] * 4


def test_without_decoding_all_images_train_the_class_head():
    data = build(*pool())
    seen = []
    for x, target in batches(data, decode=False):
        assert x["n_decode"] == 0 and len(target["masks"]) == 0
        seen += who(x)
    assert sorted(seen) == sorted(list(range(10)) * 2)


def test_batches_repeat_and_differ_between_epochs():
    data = build(*pool())
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, two = (batches(data, augmentation=MOVED) for _ in range(2))
    first_epoch, second_epoch = list(one), list(one)
    for (x, target), (other, other_target) in zip(first_epoch, list(two)):
        assert torch.equal(x["x"], other["x"])
        assert all(torch.equal(target[k], other_target[k]) for k in target)
    assert not torch.equal(first_epoch[0][0]["x"], second_epoch[0][0]["x"])
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


def test_augmentation_leaves_the_data_as_it_was():
    data = build(*pool())
    held = [t for t in vars(data).values() if t is not None]
    copies = [t.clone() for t in held]
    for x, _ in batches(data, augmentation=MOVED):
        x["x"].zero_()
    assert all(torch.equal(a, b) for a, b in zip(copies, held))


def test_memory_format():
    data = build(*pool())
    x, _ = next(iter(batches(data, memory_format=torch.channels_last)))
    assert x["x"].is_contiguous(memory_format=torch.channels_last)


def test_stains_change_the_images_alone():
    data = build(*pool())
    (plain, truth), *_ = batches(data)
    (stained, target), *_ = batches(data, augmentation={**PLAIN, "stain": 0.1})
    assert not torch.allclose(stained["x"], plain["x"], atol=0.01)
    assert all(torch.equal(truth[name], target[name]) for name in truth)
    (off, _), *_ = batches(data, augmentation={**PLAIN, "stain": 0.0})
    assert torch.equal(off["x"], plain["x"])
