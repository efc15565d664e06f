"""The object Hausdorff distance against its formula, written out with scikit-image's distance."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import hausdorff_distance

from alseg.metrics import object_hausdorff


def blobs(seed, shape=(40, 50)):
    noise = np.random.default_rng(seed).standard_normal(shape)
    return ndimage.label(ndimage.gaussian_filter(noise, 3) > 0.05)[0]


def by_the_formula(pred, true):
    """Object Hausdorff distance of one image as the GlaS contest writes it, object by object."""

    def one_side(a, b):
        weighted = area = 0.0
        for k in np.unique(a[a > 0]):
            overlap = {j: ((a == k) & (b == j)).sum() for j in np.unique(b[b > 0])}
            most = max(overlap.values())
            rivals = [j for j in overlap if overlap[j] == most]
            if most:  # of equal ones the smallest
                rivals = sorted(rivals, key=lambda j: (b == j).sum())[:1]
            weighted += (a == k).sum() * min(hausdorff_distance(a == k, b == j) for j in rivals)
            area += (a == k).sum()
        return weighted / area

    return (one_side(pred, true) + one_side(true, pred)) / 2


@pytest.mark.parametrize("seed", range(4))
def test_object_hausdorff_is_that_of_the_formula(seed):
    pred, true = blobs(seed), blobs(seed + 100)
    assert object_hausdorff(pred, true) == pytest.approx(by_the_formula(pred, true))
    renumbered = np.where(true > 0, 1000 - true, 0)
    assert object_hausdorff(pred, renumbered) == pytest.approx(by_the_formula(pred, true))


def test_object_hausdorff_at_its_ends():
    objects, none = blobs(0), np.zeros((40, 50), int)
    assert object_hausdorff(objects, objects) == object_hausdorff(none, none) == 0
    assert object_hausdorff(objects, none) == object_hausdorff(none, objects) == np.inf
    assert object_hausdorff([objects, none], [objects, none]) == 0
    whole, one = np.ones((5, 7), int), np.zeros((5, 7), int)
    one[2, 3] = 9
    assert object_hausdorff(whole, one) == pytest.approx(np.hypot(2, 3))
