"""Copy-paste and mix-up by hand on batches of 4 x 4 pixels, and what holds for any batch."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg.images import as_images, as_masks
from alseg.training import (
    JointLoss,
    PlainLoss,
    TrainingBatches,
    TrainingData,
    copy_paste,
    mix,
    mixed_loss,
)

# Three objects: 1s joined by a corner, a 2 that touches them, and another 1 by itself.
MASK = torch.tensor([[1, 0, 0, 1], [0, 1, 2, 0], [0, 0, 2, -1], [0, 0, 0, -1]])
OBJECTS = [{(0, 0), (1, 1)}, {(0, 3)}, {(1, 2), (2, 2)}]
NOTHING = torch.full((4, 4), -1)


class Told:
    """Draws that are told beforehand, in their order."""

    def __init__(self, *numbers, pick=0):
        self.numbers, self.pick = list(numbers), pick

    def random(self, size=None):
        if size is None:
            return self.numbers.pop(0)
        return np.array([self.numbers.pop(0) for _ in range(size)])

    def choice(self, among):
        return among[self.pick]


def flat(*values):
    """Images (N, 1, 4, 4), each of one value."""
    return torch.tensor(values)[:, None, None, None].expand(-1, 1, 4, 4).clone()


def where(mask):
    return {tuple(place) for place in mask.nonzero().tolist()}


# -- copy-paste ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draws", "taken"),
    [
        ([0.4, 0.9, 0.9], [0]),  # objects of class 1 come first, by rows
        ([0.9, 0.1, 0.2], [1, 2]),
        ([0.9, 0.8, 0.7], [2]),  # one at least
        ([0.0, 0.0, 0.0], [0, 1, 2]),
    ],
)
def test_objects_are_connected_and_of_one_class(draws, taken):
    masks = torch.stack([MASK, NOTHING])
    # Image 0 has nobody to receive from, image 1 receives.
    images, pasted, weights = copy_paste(
        flat(0.2, 0.7), masks, torch.ones(2, 1, 1), Told(0.1, 0.1, *draws), 0.5
    )
    expected = set().union(*(OBJECTS[k] for k in taken))
    assert where(pasted[1] >= 0) == expected == where(images[1, 0] == 0.2)
    assert all(pasted[1][place] == MASK[place] for place in expected)
    assert (images[1, 0][pasted[1] < 0] == 0.7).all()
    assert torch.equal(pasted[0], MASK) and (images[0] == 0.2).all()
    assert weights.shape == (2, 1, 1)


def test_an_annotated_image_keeps_what_is_not_pasted_over():
    other = torch.zeros(4, 4, dtype=torch.int64)
    other[3, 3], other[0, 1] = 1, -1
    rng = Told(0.6, 0.1, 0.1, 0.9, 0.1)  # image 0 is left alone at 0.5
    images, masks, _ = copy_paste(
        flat(0.2, 0.7), torch.stack([MASK, other]), torch.ones(2, 1, 1), rng, 0.5
    )
    expected = torch.tensor([[1, -1, 0, 0], [0, 1, 2, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    assert torch.equal(masks[1], expected)
    assert where(images[1, 0] == 0.2) == OBJECTS[0] | OBJECTS[2]


def test_objects_are_those_of_before():
    """Two images that give to each other: neither gives back what it has received."""
    left, right = NOTHING.clone(), NOTHING.clone()
    left[0, 0], right[3, 3] = 1, 2
    given = torch.stack([left, right])
    _, masks, _ = copy_paste(
        flat(0.0, 1.0), given, torch.ones(2, 1, 1), Told(0.0, 0.0, 0.0, 0.0), 1.0
    )
    assert masks[:, 0, 0].tolist() == [1, 1] and masks[:, 3, 3].tolist() == [2, 2]
    assert torch.equal(given, torch.stack([left, right]))  # which are not written to


@pytest.mark.parametrize("of_pixels", [False, True])
def test_weights_go_with_the_pixels(of_pixels):
    weights = torch.tensor([0.25, 1.0])[:, None, None]
    weights = weights.expand(2, 4, 4).clone() if of_pixels else weights
    if of_pixels:
        weights[0, 1, 1] = 0.5
    rng = Told(0.9, 0.1, 0.1, 0.9, 0.9)
    _, masks, found = copy_paste(
        flat(0.2, 0.7), torch.stack([MASK, NOTHING]), weights, rng, probability=0.5
    )
    expected = torch.ones(4, 4)
    expected[0, 0], expected[1, 1] = 0.25, 0.5 if of_pixels else 0.25
    assert torch.equal(found[1], expected) and (found[0, 0, 1:] == 0.25).all()
    assert where(masks[1] >= 0) == OBJECTS[0]


def test_who_gives_is_drawn_among_the_others_with_objects():
    rng, seen = np.random.default_rng(0), set()
    background = torch.zeros(4, 4, dtype=torch.int64)
    masks = torch.stack([MASK, NOTHING, background, MASK])
    images = flat(0.0, 1.0, 2.0, 3.0)
    for _ in range(50):
        found, *_ = copy_paste(images, masks, torch.ones(4, 1, 1), rng, probability=1.0)
        seen |= {(i, int(v)) for i in range(4) for v in found[i].unique() if v != i}
    assert seen == {(0, 3), (1, 0), (1, 3), (2, 0), (2, 3), (3, 0)}


def test_half_of_the_images_receive_at_one_half():
    rng, n = np.random.default_rng(1), 2000
    masks = torch.cat([MASK[None], NOTHING.expand(n, 4, 4)])
    images = torch.zeros(n + 1, 1, 4, 4)
    _, masks, _ = copy_paste(images, masks, torch.ones(n + 1, 1, 1), rng, probability=0.5)
    received = (masks[1:] >= 0).flatten(1).any(1).float().mean().item()
    assert abs(received - 0.5) < 0.05  # 4.5 standard errors
    shares = [(masks[1:, r, c] >= 0).float().mean().item() for r, c in [(0, 0), (0, 3), (1, 2)]]
    # Of three objects each is taken with 1/2, and by 1/3 of the 1/8 where none would be.
    assert np.allclose(shares, 0.5 * (1 / 2 + 1 / 24), atol=0.05)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 4), st.integers(0, 10**6), st.floats(0, 1), st.booleans())
def test_any_batch(n, seed, probability, of_pixels):
    rng = np.random.default_rng(seed)
    masks = torch.from_numpy(rng.integers(-1, 4, (n, 5, 6)))
    images = torch.from_numpy(rng.random((n, 2, 5, 6)))
    weights = torch.from_numpy(rng.random((n, 5, 6) if of_pixels else (n, 1, 1)))
    given = images.clone(), masks.clone(), weights.clone()
    found, again = (
        copy_paste(images, masks, weights, np.random.default_rng(seed), probability)
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(found, again))
    assert all(torch.equal(a, b) for a, b in zip(given, (images, masks, weights)))
    pixels, classes, _ = found
    changed = (pixels != images).any(1)
    assert not (classes[changed] < 1).any()  # what is pasted is an object
    assert torch.equal(classes[~changed], masks[~changed])
    if probability == 0 or n < 2:
        assert not changed.any()


# -- mix-up ----------------------------------------------------------------------------------------


def test_images_and_what_is_known_of_them():
    images = torch.rand(3, 2, 4, 4)
    known = {"labels": torch.tensor([0, 1, -1]), "masks": torch.stack([MASK, NOTHING, MASK + 0])}
    rng = np.random.default_rng(5)
    share, order = rng.beta(0.4, 0.4), rng.permutation(3)
    mixed, target = mix(images, known, np.random.default_rng(5), alpha=0.4)
    for i, j in enumerate(order):
        assert torch.allclose(mixed[i], share * images[i] + (1 - share) * images[j])
        for name, values in known.items():
            assert torch.equal(target["mixed"]["other"][name][i], values[j])
    assert target["mixed"]["share"] == share and target["labels"] is known["labels"]
    assert sorted(order.tolist()) == [0, 1, 2] and order.tolist() != [0, 1, 2]


def test_the_loss_by_hand():
    """lam L(own) + (1 - lam) L(other), where one of two masks is not known, and one label."""
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    mask_logits = torch.zeros(2, 2, 4, 4)
    mask_logits[:, 1] = 1.0
    masks = torch.full((2, 4, 4), -1)
    masks[0, 0] = torch.tensor([1, 0, 0, -1])
    target = {
        "labels": torch.tensor([1, -1]),
        "masks": masks,
        "mask_weight": torch.tensor([0.5, 1.0])[:, None, None],
        "mixed": {
            "share": 0.75,
            "other": {
                "labels": torch.tensor([-1, 1]),
                "masks": masks.flip(0),
                "mask_weight": torch.tensor([1.0, 0.5])[:, None, None],
            },
        },
    }
    # The class of image 0 counts 0.75, and as that of image 1 it counts 0.25.
    of_class = 0.75 * np.log1p(np.exp(2)) + 0.25 * np.log1p(np.exp(-1))
    # The mask is predicted alike in both images: a 1 is given 1 / (1 + 1/e).
    one, zero = np.log1p(np.exp(-1)), np.log1p(np.exp(1))
    of_mask = 0.5 * (one + 2 * zero) / 3
    criterion = JointLoss(class_scale=1.0, dice_scale=0.0)
    prediction = {"logits": logits, "mask_logits": mask_logits}
    found = mixed_loss(criterion, prediction, target)
    assert found.item() == pytest.approx(of_class + of_mask, rel=1e-6)


def test_it_is_the_cross_entropy_of_mixed_labels():
    """Zhang et al., Eq. 1 and 2: one loss of labels that are weighted means of two one-hot ones."""
    torch.manual_seed(0)
    logits, mask_logits = torch.randn(4, 3), torch.randn(4, 3, 4, 4)
    known = {
        "labels": torch.tensor([0, 1, 2, 1]),
        "masks": torch.randint(0, 3, (4, 4, 4)),
        "mask_weight": torch.ones(4, 1, 1),
    }
    _, target = mix(torch.rand(4, 1, 4, 4), known, np.random.default_rng(2), alpha=1.0)
    share, other = target["mixed"]["share"], target["mixed"]["other"]

    def soft(values, others):
        return share * torch.eye(3)[values] + (1 - share) * torch.eye(3)[others]

    cross_entropy = torch.nn.functional.cross_entropy
    of_class = cross_entropy(logits, soft(known["labels"], other["labels"]))
    shares = soft(known["masks"], other["masks"]).movedim(-1, 1)
    expected = 0.3 * of_class + cross_entropy(mask_logits, shares)
    prediction = {"logits": logits, "mask_logits": mask_logits}
    for criterion in (
        JointLoss(class_scale=0.3, dice_scale=0.0),
        PlainLoss(torch.nn.CrossEntropyLoss(), class_scale=0.3),
    ):
        found = mixed_loss(criterion, prediction, target)
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_criterion_sees_no_more_than_it_knows():
    seen = []

    def look(prediction, target):
        seen.append(sorted(target))
        return torch.tensor(float(len(seen)))

    mixed = {"share": 0.25, "other": {"labels": 1}}
    assert mixed_loss(look, None, {"labels": 0, "mixed": mixed}).item() == 0.25 * 1 + 0.75 * 2
    assert mixed_loss(look, None, {"labels": 0}).item() == 3
    assert mixed_loss(lambda *parts: parts, 1, 2) == (1, 2)  # of skorch's own, not of ours
    assert seen == [["labels"]] * 3


# -- in batches ------------------------------------------------------------------------------------

PLAIN = {"flips": "none", "affine": None, "jitter": 0.0}
MOVED = {"flips": "both", "affine": (0.25, 15.0), "jitter": 0.15}


def data(masked=3, n=6, mask_weight=None):
    rng = np.random.default_rng(0)
    images = rng.random((n, 8, 12, 3)).astype(np.float32)
    masks = [rng.integers(0, 3, (8, 12)) if i < masked else None for i in range(n)]
    parts = as_images(images), np.arange(n) % 2, as_masks(masks, n)
    return TrainingData.build(*parts, mask_weight, (8, 12), 3)


def batches(options, part=None, seed=0, **more):
    part = data() if part is None else part
    return list(TrainingBatches(part, 3, 3, 2, options, np.random.default_rng(seed), **more))


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    return torch.equal(a, b) if torch.is_tensor(a) else a == b


@pytest.mark.parametrize("name", ["copy_paste", "mixup"])
@pytest.mark.parametrize("options", [PLAIN, MOVED])
def test_seeded_and_off_they_change_nothing(name, options):
    off, zero = batches(options), batches({**options, name: 0.0})
    on, again = (batches({**options, name: 0.9}) for _ in range(2))
    assert all(equal(a[k], b[k]) for a, b in zip(off, zero) for k in (0, 1))
    assert all(equal(a[k], b[k]) for a, b in zip(on, again) for k in (0, 1))
    assert not any(torch.equal(a[0]["x"], b[0]["x"]) for a, b in zip(off, on))
    assert not torch.equal(on[0][0]["x"], batches({**options, name: 0.9}, seed=1)[0][0]["x"])


def test_copy_paste_draws_nothing_from_the_others_and_lets_all_be_decoded():
    plain, pasted = batches(MOVED), batches({**MOVED, "copy_paste": 1.0})
    for (x, target), (x_new, new) in zip(plain, pasted):
        assert (x["n_decode"], x_new["n_decode"]) == (3, 5)
        assert torch.equal(new["labels"], target["labels"])  # of the images that receive
        same = (x["x"] == x_new["x"]).all(1)
        assert torch.equal(new["masks"][:3][same[:3]], target["masks"][same[:3]])
        late = new["masks"][3:]
        assert torch.equal(late >= 1, ~same[3:]) and ((late >= 1) | (late == -1)).all()
    assert batches({**PLAIN, "copy_paste": 1.0}, data(masked=0))[0][0]["n_decode"] == 0


def test_mix_up_comes_last_and_mixes_what_it_is_given():
    seen = []

    def look(images, masks, labels, weights, generator):
        seen.append((images.clone(), masks.clone(), labels.clone()))
        return images, masks, labels, weights

    found = batches({**MOVED, "copy_paste": 1.0, "mixup": 1.0}, hook=look)
    pasted = batches({**MOVED, "copy_paste": 1.0})
    for (images, masks, labels), (x, target), (before, _) in zip(seen, found, pasted):
        assert torch.equal(images, before["x"])
        share, other = target["mixed"]["share"], target["mixed"]["other"]
        assert torch.equal(target["masks"], masks) and torch.equal(target["labels"], labels)
        order = [int((other["masks"][i] == masks).flatten(1).all(1).nonzero()) for i in range(5)]
        assert torch.equal(other["labels"], labels[order]) and sorted(order) == [0, 1, 2, 3, 4]
        assert torch.allclose(x["x"], share * images + (1 - share) * images[order])
        assert x["n_decode"] == 5


def test_shares_of_labels_from_a_hook_are_mixed():
    def shared(images, masks, labels, weights, generator):
        return images, masks, torch.eye(2)[labels], weights

    *_, (x, target) = batches({**PLAIN, "mixup": 0.5}, hook=shared)
    assert target["mixed"]["other"]["labels"].shape == target["labels"].shape == (5, 2)
    prediction = {"logits": torch.randn(5, 2), "mask_logits": torch.randn(5, 3, 8, 12)}
    assert mixed_loss(JointLoss(), prediction, target).isfinite()


def test_the_classes_of_a_phase_without_masks_are_mixed():
    for x, target in batches({**PLAIN, "mixup": 0.5, "copy_paste": 1.0}, decode=False):
        assert x["n_decode"] == 0 and not len(target["mixed"]["other"]["masks"])
        prediction = {"logits": torch.randn(5 if len(x["x"]) == 5 else 3, 2), "mask_logits": None}
        assert partial(mixed_loss, JointLoss())(prediction, target).isfinite()
