"""What estimators that know no missing labels are kept from."""

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from alseg import ActiveLearner
from alseg.rows import data_vstack
from alseg.validation import check_all_known


def test_a_missing_label_does_not_become_a_class_on_the_way_to_a_plain_estimator():
    assert data_vstack([["a"], [np.nan]])[1] is np.nan
    learner = ActiveLearner(GaussianNB(), X_training=np.eye(3), y_training=["a", "b", "a"])
    with pytest.raises(ValueError, match=r"y must be known .* at the positions \[1\]"):
        learner.teach(np.eye(3), ["a", float("nan"), "b"])


def test_many_missing_labels_are_counted_off():
    with pytest.raises(ValueError, match=r"positions \[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.\]\. G"):
        check_all_known("y", [None] * 12)
