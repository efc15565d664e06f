"""What is learned of objects: by hand, beside scipy, and where nothing is known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure

from alseg.datasets import make_discs
from alseg.labels import MISSING
from alseg.training import (
    DEEPEST,
    JointLoss,
    ObjectReader,
    object_ids,
    object_loss,
    object_targets,
    with_objects,
)


def discs():
    return make_discs(2, random_state=0).instances.astype(np.int32)


def test_objects_are_parts_of_one_value():
    mask = np.array([[1, 1, 0, 1], [2, 2, 0, 1], [-1, 1, 0, 0]])
    assert object_ids(mask).tolist() == [[1, 1, 0, 2], [3, 3, 0, 2], [-1, 4, 0, 0]]
    corner = np.array([[1, 0], [0, 1]])  # which is no shared side
    assert object_ids(corner).tolist() == [[1, 0], [0, 2]]
    ids = discs()[0]
    assert len(np.unique(object_ids(ids))) == len(np.unique(ids))
    assert object_ids(ids > 0).max() == 3


def test_of_soft_masks_the_likeliest_class():
    foreground = np.array([[0.9, 0.2, 0.6, np.nan]])
    soft = np.stack([1 - foreground, foreground])
    assert object_ids(soft).tolist() == [[1, 0, 2, MISSING]]


@pytest.mark.parametrize("width", [1, 2])
def test_a_border_is_what_an_erosion_takes(width):
    for ids in discs():
        target, known = object_targets(ids, "border", width)
        assert_array_equal(known, ids > 0)
        for k in range(1, ids.max() + 1):
            ball = np.hypot(*np.indices((2 * width + 1,) * 2) - width) <= width
            inner = binary_erosion(np.pad(ids == k, 9), ball)[9:-9, 9:-9]
            assert_array_equal(target[ids == k] == 0, inner[ids == k])
    cross = generate_binary_structure(2, 1)
    one = np.zeros((5, 5), np.int32)
    one[:, :3] = 1  # the frame of the image is no border
    target, _ = object_targets(one, "border", 1)
    assert_array_equal(target > 0, (one > 0) & ~binary_erosion(one, cross, border_value=1))


def test_depths_are_distances_that_are_cut():
    for ids in discs():
        target, known = object_targets(ids, "distance", 1)
        for k in range(1, ids.max() + 1):
            depth = distance_transform_edt(ids == k)[ids == k]
            assert_allclose(target[ids == k], np.minimum(depth / DEEPEST, 1), rtol=1e-6)
        assert_array_equal(known, ids > 0)


def test_each_thin_object_has_an_interior():
    ids = np.zeros((7, 9), np.int32)
    ids[1:6, 1], ids[1:6, 4:7] = 1, 2  # one and three pixels wide
    target, _ = object_targets(ids, "border", 3)
    assert target[:, 1].sum() == 0 and target[2:5, 5].sum() == 0
    assert (target[1:6, [4, 6]] == 1).all()


@pytest.mark.parametrize("kind", ["border", "distance"])
def test_nothing_is_known_at_edges_of_what_is_not_annotated(kind):
    """Whatever lies in the part that is not annotated, what is said to be known stays true."""
    whole = discs()[0]
    part = whole.copy()
    part[:, 48:] = MISSING
    target, known = object_targets(part, kind, 2)
    truth, _ = object_targets(whole, kind, 2)
    inside = (part > 0) & (whole > 0)
    thin = np.isin(whole, np.unique(whole[:, 47:49]))  # cut ones: their depth was another
    for where in (known & ~thin, known & inside if kind == "distance" else known & ~thin):
        assert_allclose(target[where], truth[where])
    assert known[part > 0].any() and not known[part <= 0].any()
    cut = (part > 0)[:, 47]
    assert cut.any() and not known[cut, 47][truth[cut, 47] == 0].any()
    points = np.full((6, 6), MISSING)
    points[2, 2] = 1
    assert not object_targets(points, kind, 2)[1].any()


def test_a_reader_measures_whole_masks_in_pixels_of_the_network():
    reader = ObjectReader("border", 1.0)
    ids = np.zeros((10, 10), np.int16)
    ids[:4, :4], ids[6:, 6:] = 1, 2
    maps = reader.maps(torch.from_numpy(ids), scale=0.5)
    assert maps.dtype == torch.uint8 and maps.shape == (2, 10, 10)
    assert maps[0, 0].tolist() == [0, 0, 255, 255, 0, 0, 0, 0, 0, 0]  # two pixels of these
    assert reader.smallest() == 4.0
    ids[0, 9] = MISSING
    reader.maps(torch.from_numpy(ids))
    assert len(reader.sizes) == 1
    assert ObjectReader(None).smallest() == 0.0


def test_with_the_loss_of_classes_it_is_the_cross_entropy_of_three():
    """CE(class) + CE(border | foreground) of two classes: that of background, interior, border."""
    rng = torch.Generator().manual_seed(0)
    masks = torch.randint(-1, 2, (3, 8, 8), generator=rng)
    border = (torch.rand(3, 8, 8, generator=rng) < 0.3) & (masks == 1)
    objects = torch.stack([border.float(), (masks == 1).float()], 1)
    weight = torch.tensor([1.0, 0.5, 0.1]).reshape(3, 1, 1)
    mask_logits, logits = torch.randn(3, 2, 8, 8, generator=rng), torch.randn(3, 1, 8, 8)
    target = {"masks": masks, "mask_weight": weight, "objects": objects}
    known = (masks != MISSING).flatten(1).sum(1)
    log_p = mask_logits.log_softmax(1)
    three = torch.stack(
        [
            log_p[:, 0],
            log_p[:, 1] + F.logsigmoid(-logits[:, 0]),
            log_p[:, 1] + F.logsigmoid(logits[:, 0]),
        ],
        1,
    )
    told = torch.where(border, 2, masks)
    expected = F.nll_loss(three, told, ignore_index=MISSING, reduction="none") * weight
    expected = (expected.flatten(1).sum(1) / known).mean()
    classes = F.nll_loss(log_p, masks, ignore_index=MISSING, reduction="none") * weight
    classes = (classes.flatten(1).sum(1) / known).mean()
    found = classes + object_loss(logits, mask_logits, target, "border", dice_scale=0.0)
    assert_allclose(found, expected, rtol=1e-5)


def test_dice_of_the_border_by_hand():
    target = {"masks": torch.tensor([[[1, 1, 0, 0]]]), "mask_weight": torch.ones(1, 1, 1)}
    target["objects"] = torch.tensor([[[[1.0, 0, 0, 0]], [[1.0, 1, 0, 0]]]])
    mask_logits = torch.tensor([[[[-30.0, -30, 30, 30]], [[30.0, 30, -30, -30]]]])
    logits = torch.zeros(1, 1, 1, 4)  # a half wherever it is foreground
    both, alone = (object_loss(logits, mask_logits, target, "border", k) for k in (1.0, 0.0))
    assert_allclose(both - alone, 1 - (2 * 0.5 + 1) / (0.5 + 0.5 + 1 + 1), rtol=1e-5)
    assert_allclose(alone, 2 * np.log(2) / 4, rtol=1e-5)


def test_nothing_annotated_costs_nothing_and_a_batch_without_objects_is_as_it_was():
    masks = torch.full((2, 4, 4), MISSING)
    target = {"masks": masks, "mask_weight": torch.ones(2, 1, 1)}
    target["labels"] = torch.tensor([0, 1])
    prediction = {"logits": torch.zeros(2, 2), "mask_logits": torch.zeros(2, 2, 4, 4)}
    prediction["object_logits"] = torch.zeros(2, 1, 4, 4, requires_grad=True)
    loss, options = JointLoss(), type("Options", (), {"kind": "border", "weight": 1.0})
    plain = loss(prediction, target)
    assert with_objects(loss, options, prediction, target) == plain
    target["objects"] = torch.zeros(2, 2, 4, 4)
    found = with_objects(loss, options, prediction, target)
    found.backward()
    assert found == plain and torch.isfinite(prediction["object_logits"].grad).all()
