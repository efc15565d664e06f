"""Agreement is scikit-learn's kappa and our Dice; stopping rules look at the sequence alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import cohen_kappa_score

from alseg.experiment.stopping import agreement, stabilised
from alseg.labels import MISSING
from alseg.metrics.overlap import pooled_dice

pairs = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.int16, shape, elements=st.integers(-1, 2))] * 2)
)


@settings(deadline=None, max_examples=60)
@given(st.lists(pairs, min_size=1, max_size=3))
def test_kappa_is_scikit_learns(images):
    a, b = (list(side) for side in zip(*images, strict=True))
    flat_a, flat_b = (np.concatenate([m.ravel() for m in side]) for side in (a, b))
    known = (flat_a != MISSING) & (flat_b != MISSING)
    if not known.any():
        with pytest.raises(ValueError, match="known in at least one pixel"):
            agreement(a, b)
        return
    flat_a, flat_b = flat_a[known], flat_b[known]
    found = agreement(a, b)
    if (flat_a == flat_b).all():
        assert found == (1, 1)
    else:
        expected = cohen_kappa_score(flat_a, flat_b)
        assert found.kappa == pytest.approx(expected, abs=1e-12)
    assert agreement(b, a) == pytest.approx(found)
    assert -1 <= found.kappa <= 1 and 0 <= found.dice <= 1


def test_dice_is_that_of_two_classes_and_asks_for_the_same_class():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (2, 3, 8, 8))
    assert agreement(a, b).dice == pytest.approx(pooled_dice(a, b, label=1))
    assert agreement([np.array([[1, 2, 0]])], [np.array([[1, 1, 0]])]).dice == 0.5


def test_agreement_by_hand():
    # 4 pixels, 3 alike; chance: ½ · ¼ + ½ · ¾ = ½
    found = agreement([np.array([[0, 1, 1, 0]])], [np.array([[0, 1, 0, 0]])])
    assert found == pytest.approx((2 / 3, 0.5))
    nothing = [np.zeros((2, 2), int)]
    assert agreement(nothing, nothing) == (1, 1)  # no foreground, one class
    assert agreement(nothing, [np.ones((2, 2), int)]) == (0, 0)
    assert agreement([np.ones((2, 2), bool)], [np.ones((2, 2), bool)]) == (1, 1)


def test_missing_pixels_and_images_are_left_out():
    a, b = np.array([[0, 1, 1, 0]]), np.array([[0, 1, 0, 0]])
    more = [a, np.array([[1, -1]]), None, np.array([[1]])]
    other = [b, np.array([[-1, 0]]), np.array([[1]]), None]
    assert agreement(more, other) == agreement([a], [b])


@pytest.mark.parametrize(
    "a, b, error, match",
    [
        ([np.zeros((1, 1), int)], [], ValueError, "masks_b must be 1 masks"),
        ([np.zeros((1, 1), int)], [np.zeros((1, 2), int)], ValueError, r"masks_b\[0\] must be of"),
        ([np.zeros((1, 1))], [np.zeros((1, 1), int)], TypeError, "Threshold probabilities first"),
        ([np.full((1, 1), -2)], [np.zeros((1, 1), int)], ValueError, r"masks_a\[0\] must be of cl"),
        ([None], [None], ValueError, "masks_a must be known in at least one pixel"),
    ],
)
def test_agreement_bad_input(a, b, error, match):
    with pytest.raises(error, match=match):
        agreement(a, b)


def test_stabilised():
    assert not stabilised([])
    assert not stabilised([1.0, 1.0])
    assert stabilised([1.0, 1.0], patience=2)
    assert stabilised([0.1, 0.99, 0.99, 0.99])
    assert not stabilised([0.99, 0.99, 0.99, 0.98])
    assert not stabilised([1.0, 0.975, 1.0])  # their mean would pass
    assert stabilised([0.9, 0.9, 0.9], threshold=0.9)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: stabilised([0.5, np.nan]), "agreements must be finite numbers"),
        (lambda: stabilised([0.5], threshold=2), "threshold must be >= 0 and <= 1"),
        (lambda: stabilised([0.5], patience=0), "patience must be >= 1"),
        (lambda: stabilised([[0.5]]), "agreements must be finite numbers in a row"),
    ],
)
def test_rules_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()
