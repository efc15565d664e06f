"""Discs that touch: repeatable, exact, and in groups."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.ndimage import label

from alseg.datasets import make_discs


def test_shapes_ids_and_classes():
    discs = make_discs(5, (48, 64), n_discs=7, random_state=0)
    assert discs.images.shape == (5, 48, 64, 3) and discs.images.dtype == np.uint8
    assert_array_equal(discs.masks, discs.instances > 0)
    assert discs.labels.tolist() == ["large", "small", "large", "small", "large"]
    for ids in discs.instances:
        assert_array_equal(np.unique(ids), np.arange(ids.max() + 1))
        for k in range(1, ids.max() + 1):
            assert label(ids == k)[1] == 1  # a disc in one part
    same = make_discs(3, (48, 64), n_discs=7, random_state=0)
    assert_array_equal(same.images, discs.images[:3])


def test_they_are_round_and_touch():
    discs = make_discs(20, random_state=1)
    for ids in discs.instances:
        assert label(ids > 0)[1] <= max(1, ids.max() // 2)
        rows, columns = np.indices(ids.shape)
        for k in range(1, ids.max() + 1):
            own = ids == k
            far = np.hypot(rows[own] - rows[own].mean(), columns[own] - columns[own].mean())
            assert far.max() < 1.35 * np.sqrt(own.sum() / np.pi)


@pytest.mark.parametrize("option", [{"image_size": (16, 16)}, {"n_discs": 0}, {"n_samples": 0}])
def test_what_is_out_of_range(option):
    with pytest.raises(ValueError, match="must be"):
        make_discs(**option)
