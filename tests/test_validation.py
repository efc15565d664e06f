"""Labels: what is missing among them is found before numpy makes a class of it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.naive_bayes import GaussianNB

from alseg import ActiveLearner, JointCAMSegmenter
from alseg.datasets import Dataset
from alseg.query.selection import class_balanced_top_n
from alseg.rows import data_vstack
from alseg.validation import as_labels

IMAGES = np.zeros((3, 16, 16, 3), np.uint8)
HOLES = {
    "nan": ["cat", float("nan"), "dog"],
    "numpy nan": ("cat", np.float32("nan"), "dog"),
    "none": ["cat", None, "dog"],
    "pandas NA": ["cat", pd.NA, "dog"],
    "pandas NaT": ["cat", pd.NaT, "dog"],
    "object array": np.array(["cat", np.nan, "dog"], dtype=object),
    "column": pd.Series(["cat", None, "dog"]),
    "strings of pandas": pd.Series(["cat", None, "dog"], dtype="string"),
    "category": pd.Series(["cat", None, "dog"], dtype="category"),
    "numbers": [1, float("nan"), 0],
    "array of numbers": np.array([1, np.nan, 0]),
}
SAID = r"must be known for all images, got none at the positions \[1\]\. Give each image a class"


@pytest.mark.parametrize("labels", HOLES.values(), ids=HOLES)
def test_a_missing_label_is_named_wherever_labels_come_in(labels):
    with pytest.raises(ValueError, match=f"^labels {SAID}"):
        as_labels("labels", labels)
    with pytest.raises(ValueError, match=f"^labels {SAID}"):
        Dataset(IMAGES, labels)
    model = JointCAMSegmenter(encoder="tiny", encoder_weights=None)
    with pytest.raises(ValueError, match=f"^labels {SAID}"):
        ActiveLearner(model, images=IMAGES, labels=labels)
    with pytest.raises(ValueError, match=f"^y {SAID}"):
        model.fit(IMAGES, labels)
    with pytest.raises(ValueError, match=f"^y_pool {SAID}"):
        class_balanced_top_n(np.zeros(3), labels, 1)


@pytest.mark.parametrize(
    "labels",
    [
        ["cat", "nan", "dog"],
        np.array(["cat", "nan", "dog"]),
        [-1, 1, 2],
        [True, False, True],
        pd.Series(["cat", "dog", "cat"]),
        [1.0, 2.0, 1.0],
        np.array([b"a", b"b", b"a"]),
    ],
)
def test_labels_that_are_known_are_taken_as_they_are(labels):
    np.testing.assert_array_equal(as_labels("y", labels), np.asarray(labels))


def test_many_missing_labels_are_counted_off():
    with pytest.raises(ValueError, match=r"positions \[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.\]\. G"):
        as_labels("y", [None] * 12)


def test_a_missing_label_does_not_become_a_class_on_the_way_to_a_plain_estimator():
    assert data_vstack([["a"], [np.nan]])[1] is np.nan
    learner = ActiveLearner(GaussianNB(), X_training=np.eye(3), y_training=["a", "b", "a"])
    with pytest.raises(ValueError, match=r"y must be known .* at the positions \[1\]"):
        learner.teach(np.eye(3), ["a", float("nan"), "b"])
