"""What all classifiers of images do with labels that are missing: they do not count."""

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from alseg.images import as_images
from alseg.labels import MISSING, as_labels, missing_labels


class KnownLabelsMixin(ClassifierMixin):
    """A scikit-learn classifier whose score is over the images whose class is known."""

    def score(self, X, y, sample_weight=None):
        """Accuracy over the images whose class label is known; NaN where none is.

        Parameters
        ----------
        X : images
        y : array-like of shape (n,)
            Missing labels are None and NaN, and -1 among numbers.
        sample_weight : array-like of shape (n,) or None, default=None

        Returns
        -------
        float
            Of several classes an image, the share of images all of whose known ones are right.
        """
        y = as_labels(y, None if y is not None else len(as_images(X)))
        if y.ndim == 2 and (y == MISSING).any():
            return self._score_of_sets(X, y, sample_weight)
        known = np.flatnonzero(~missing_labels(y))
        if len(known) == len(y):
            return accuracy_score(y, self.predict(X), sample_weight=sample_weight)
        if not len(known):
            return float("nan")
        weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        truth = np.array(y[known].tolist())  # objects as strings, if that is what they are
        predicted = self.predict(as_images(X).take(known))
        return accuracy_score(truth, predicted, sample_weight=weight)

    def _score_of_sets(self, X, y, sample_weight):
        known = np.flatnonzero((y != MISSING).any(axis=1))
        if not len(known):
            return float("nan")
        weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        predicted = self.predict(as_images(X).take(known))
        right = ((predicted == y[known]) | (y[known] == MISSING)).all(axis=1)
        return float(np.average(right, weights=weight))
