"""Soft masks: what annotators say by hand, what is refused, and who sees them as what."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alseg.images import as_masks, check_pairs, hard_mask, read_pairs, soft_mask
from alseg.labels import MISSING, fraction_annotated, is_annotated, known_pixels

NAN = float("nan")


def test_three_annotators_by_hand():
    """Of three two say 1; of two one; one says 2 alone; nobody."""
    masks = [
        np.array([[1, 0, MISSING, MISSING]]),
        np.array([[1, 2, MISSING, MISSING]]),
        np.array([[0, MISSING, 2, MISSING]]),
    ]
    found = soft_mask([*masks, None], n_mask_classes=3)
    third = 1 / 3
    expected = [[third, 0.5, 0, NAN], [2 * third, 0, 0, NAN], [0, 0.5, 1, NAN]]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)


def test_one_annotator_is_one_hot_and_back():
    mask = np.array([[0, 2, MISSING], [1, 1, 0]], dtype=np.int8)
    np.testing.assert_array_equal(hard_mask(soft_mask([mask], 3)), mask)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.int8, (3, 2, 4), elements=st.integers(-1, 2)))
def test_shares_sum_to_one_where_anybody_spoke(masks):
    found = soft_mask(list(masks), 3)
    spoken = (masks != MISSING).any(axis=0)
    np.testing.assert_array_equal(known_pixels(found), spoken)
    np.testing.assert_allclose(found.sum(axis=0)[spoken], 1, rtol=1e-6)
    check_pairs(np.zeros((1, 2, 4, 3), np.uint8), [found] if spoken.any() else None, 3)
    assert fraction_annotated(found) == spoken.mean() and is_annotated(found) == spoken.any()


@pytest.mark.parametrize(
    ("masks", "error", "said"),
    [
        ([], ValueError, "masks must be at least one mask"),
        ([None], ValueError, "masks must be at least one mask"),
        ([np.zeros((2, 2))], TypeError, r"masks\[0\] must be whole numbers"),
        ([np.zeros((2, 2), int), np.zeros((2, 3), int)], ValueError, r"masks\[1\] .* one image"),
        ([np.full((2, 2), 2)], ValueError, r"masks\[0\] must be of classes in \[0, 1\]"),
        ([np.full((2, 2), -2)], ValueError, r"got -2"),
    ],
)
def test_annotators_that_are_refused(masks, error, said):
    with pytest.raises(error, match=said):
        soft_mask(masks, 2)


def probabilities(*foreground):
    p = np.array([[foreground]], dtype=float)[0]
    return np.stack([1 - p, p])


def test_the_likeliest_class_unless_asked_for_more():
    soft, hard = probabilities(0.2, 0.7, NAN), np.array([[1, 0, -1]])
    masks = as_masks([soft, None, hard], 3)
    np.testing.assert_array_equal(masks[0], [[0, 1, MISSING]])
    assert masks[0].dtype == np.int16 and masks[1] is None and masks.size(0) == (1, 3)
    as_given = as_masks(masks, 3, soft=True)
    assert as_given[0] is soft and as_given.take([0])[0] is soft
    np.testing.assert_array_equal(as_given[2], hard)
    assert as_masks(as_given, 3)[0].ndim == 2  # whoever asks says how they are seen


def test_one_array_of_all_masks():
    masks = np.stack([probabilities(0.2, 0.7), probabilities(0.5, 1.0)])
    assert as_masks(masks, 2, soft=True)[1].shape == (2, 1, 2)
    with pytest.raises(ValueError, match=r"of shape \(n, H, W\)"):
        as_masks(np.zeros((2, 2, 1, 2), int), 2)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (probabilities(0.2, 0.3) * 0.9, r"masks\[0\] must be probabilities that sum to 1 .* 0\.9"),
        (
            np.stack([np.moveaxis(probabilities(0.2, 0.4), 0, -1)[0]] * 2),
            "The classes are the first axis",
        ),
        (np.array([[[-0.5]], [[1.5]]]), r"in \[0, 1\], got -0\.5"),
        (np.array([[[np.inf]], [[0.0]]]), r"in \[0, 1\], got inf"),
        (np.ones((1, 2, 2)), "two classes or more"),
        (np.ones((2, 0, 2)), "two classes or more"),
        (np.zeros((2, 2, 2), int), "One of probabilities, .* is of floats"),
    ],
)
def test_what_is_no_soft_mask(mask, said):
    with pytest.raises(ValueError, match=said):
        as_masks([mask], 1)


def test_a_whole_nan_pixel_is_missing_if_one_class_is():
    mask = probabilities(0.2, 0.7)
    mask[0, 0, 0] = np.nan
    assert known_pixels(mask).tolist() == [[False, True]]
    assert not is_annotated(np.full((2, 3, 3), np.nan))


def test_size_and_number_of_classes_are_those_of_the_image():
    images, masks = np.zeros((1, 1, 2, 3), np.uint8), [probabilities(0.2, 0.7)]
    assert next(read_pairs(images, masks, 2, soft=True))[1].shape == (2, 1, 2)
    with pytest.raises(ValueError, match=r"masks\[0\] must be of 3 classes"):
        list(read_pairs(images, masks, 3, soft=True))
    with pytest.raises(ValueError, match="is 1 x 2 pixels, its image .* 1 x 3"):
        list(read_pairs(np.zeros((1, 1, 3, 3), np.uint8), masks, 2, soft=True))
