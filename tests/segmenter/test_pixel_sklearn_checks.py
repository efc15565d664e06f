"""scikit-learn's checks, on a subclass whose rows of numbers are images of one pixel a feature."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data

from alseg import PixelClassifier


class WholeRow:
    """Features: each pixel knows the whole row, so that its mean is the row."""

    def __call__(self, image):
        row = image[..., 0].reshape(-1)
        return np.broadcast_to(row, (*image.shape[:2], len(row)))

    def __repr__(self):
        return "WholeRow()"  # a name of tests, and so without an address


class RowClassifier(PixelClassifier):
    """A `PixelClassifier` of rows: shape (n, p) becomes images (n, 1, p) in [0, 1]."""

    def _fold(self, X, reset=False):
        X = validate_data(self, X, reset=reset, dtype=np.float64)
        return (0.5 + np.arctan(X) / np.pi).astype(np.float32)[:, None]

    def fit(self, X, y, masks=None, mask_weight=None):
        return super().fit(self._fold(X, reset=True), y, masks, mask_weight)

    def _predict_each(self, X, function):
        return super()._predict_each(self._fold(X), function)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


def make():
    options = {"n_label_images": 1000, "random_state": 0}
    return RowClassifier(RandomForestClassifier(3), WholeRow(), image_size="own", **options)


@parametrize_with_checks([make()])
def test_estimator_checks(estimator, check):
    if check.func.__name__ == "check_classifiers_classes":
        # By their names it knows classifiers for which -1 is a missing label and no class.
        check.func("SelfTrainingClassifier", estimator)
    else:
        check(estimator)


def test_what_the_tags_say():
    tags = get_tags(PixelClassifier())
    assert not tags.input_tags.two_d_array and tags.estimator_type == "classifier"
    assert tags.non_deterministic
    assert not get_tags(PixelClassifier(random_state=0)).non_deterministic
