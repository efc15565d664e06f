"""Telling labelled from unlabelled points: ask about those that look least like the labelled."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from alseg._types import Array, Images, Random
from alseg.query.diversity.points import SomeRows, as_embeddings, as_labelled, pair
from alseg.validation import check_n_instances, check_number, check_rng, message


def looks_unlabelled(
    X: Images, labelled: Array, classifier: Any = None, random_state: Random = None
) -> np.ndarray:
    """Probability of being one of the unlabelled, by a classifier trained to tell [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings of the unlabelled, finite.
    labelled : array-like of shape (n_labelled, n_features)
        At least one.
    classifier : scikit-learn classifier or None, default=None
        With `predict_proba`; cloned, and given all rows at once. None is a logistic regression on
        standardised features, the two classes weighted alike, which reads them a block at a time.
    random_state : None, int, numpy Generator or RandomState, default=None
        For a classifier that has a parameter of this name, unset.

    Returns
    -------
    proba : ndarray of shape (n_samples,), float

    Raises
    ------
    TypeError, ValueError
        If nothing is labelled, or the embeddings are not finite numbers.

    References
    ----------
    .. [1] Gissin and Shalev-Shwartz 2019, arXiv:1907.06347.

    Examples
    --------
    >>> proba = looks_unlabelled([[0.0], [1.0], [9.0]], [[0.0], [0.5]])
    >>> int(proba.argmax())
    2
    """
    X, known = _check(X, labelled)
    return _proba(X, known, classifier, check_rng(random_state))[0]


def odds_of_unlabelled(
    X: Images, labelled: Array, classifier: Any = None, random_state: Random = None
) -> np.ndarray:
    """Odds of being one of the unlabelled, ``p / (1 - p)``: the ratio of the two densities [1]_.

    Parameters
    ----------
    X, labelled, classifier, random_state
        As for `looks_unlabelled`, whose probability p is.

    Returns
    -------
    odds : ndarray of shape (n_samples,), float
        Above 0, and finite: from ``exp(-500)`` to ``exp(500)``, by the classifier's own logit where
        it has one, so that it does not round to 1 what is far.

    References
    ----------
    .. [1] Su et al. 2020, arXiv:1904.07848, section 3.

    Examples
    --------
    >>> odds = odds_of_unlabelled([[0.0], [1.0], [9.0]], [[0.0], [0.5]])
    >>> bool(odds[2] > 1 > odds[0])
    True
    """
    X, known = _check(X, labelled)
    if classifier is None:
        logit, _ = _logits(X, known)
    else:
        p, _ = _proba(X, known, classifier, check_rng(random_state))
        with np.errstate(divide="ignore"):
            logit = np.log(p) - np.log1p(-p)
    return np.exp(np.clip(logit, -500, 500))


def _proba(X, labelled, classifier, rng, start=None):
    """Of each row of X, the probability of being unlabelled; and where to start the next time."""
    if classifier is None:
        logit, found = _logits(X, labelled, start)
        return expit(logit), found
    model = _build(classifier, rng)
    both = np.concatenate([X[:], labelled])
    both = both.astype(np.result_type(np.float32, X.dtype), copy=False)
    if not np.isfinite(both).all():
        raise ValueError("X and labelled must be finite, got NaN or infinite values.")
    model.fit(both, np.arange(len(both)) < len(X))
    return np.asarray(model.predict_proba(both[: len(X)]), dtype=float)[:, 1], None


def _logits(X, labelled, start=None):
    """Logits of a logistic regression on standardised features, the two classes weighted alike.

    What scikit-learn's ``LogisticRegression(class_weight="balanced")`` minimises, with rows read a
    block at a time. Rows are shifted alone; what scales them acts on the coefficients.
    """
    from scipy.optimize import minimize

    points, known = pair(X, labelled, "euclidean")
    n, dtype = points.n + known.n, points.dtype
    mean, square = np.zeros((2, points.width))
    for one in (points, known):
        for _, rows in one.blocks():
            mean += rows.sum(axis=0, dtype=np.float64) / n
            square += np.einsum("ij,ij->j", rows, rows) / n
    variance = square - mean**2
    # Below this it is what rounding leaves of a constant.
    scale = np.sqrt(np.where(variance > np.finfo(dtype).eps * square, variance, 1))

    def logits(coef, rows):
        direction = coef[:-1] / scale
        return (rows @ direction.astype(dtype)).astype(np.float64) + coef[-1] - mean @ direction

    def loss(coef):
        value, slope = coef[:-1] @ coef[:-1] / (2 * n), np.zeros(len(coef))
        slope[:-1] = coef[:-1] / n
        for one, sign in ((points, 1), (known, -1)):
            for _, rows in one.blocks():
                margin = sign * logits(coef, rows)
                value += np.logaddexp(0, -margin).sum() / (2 * one.n)
                by_logit = -sign * expit(-margin) / (2 * one.n)
                slope[-1] += by_logit.sum()
                slope[:-1] += (by_logit.astype(dtype) @ rows - by_logit.sum() * mean) / scale
        return value, slope

    start = np.zeros(points.width + 1) if start is None else start
    options = {"maxiter": 1000, "maxls": 50, "gtol": 1e-4, "ftol": 64 * np.finfo(float).eps}
    coef = minimize(loss, start, method="L-BFGS-B", jac=True, options=options).x
    found = np.empty(points.n)
    for part, rows in points.blocks():
        found[part] = logits(coef, rows)
    return found, coef


def _check(X, labelled):
    X = as_embeddings(X)
    known = as_labelled(labelled, X.shape[1])
    if known is None:
        remedy = "With nothing labelled there is nothing to tell apart: use a cold-start strategy."
        raise ValueError(message("labelled", "at least one row", labelled, remedy))
    return X, known


def _build(classifier, rng):
    from sklearn.base import clone

    if not hasattr(classifier, "predict_proba"):
        raise TypeError(message("classifier", "with `predict_proba`", classifier))
    model = clone(classifier)
    if "random_state" in model.get_params() and model.get_params()["random_state"] is None:
        model.set_params(random_state=int(rng.integers(2**31 - 1)))
    return model


def discriminative_picks(
    X: Images,
    n_instances: int,
    labelled: Array,
    n_batches: int = 10,
    classifier: Any = None,
    random_state: Random = None,
) -> np.ndarray:
    """The points that look least like the labelled ones, a few at a time [1]_.

    The picks of a batch count as labelled when the classifier is trained for the next, so that
    they do not all come from one place.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings, finite.
    n_instances : int
        In [1, n_samples].
    labelled : array-like of shape (n_labelled, n_features)
        At least one.
    n_batches : int, default=10
        The classifier is trained this often, or once for each pick if there are fewer.
    classifier : scikit-learn classifier or None, default=None
        See `looks_unlabelled`.
    random_state : None, int, numpy Generator or RandomState, default=None
        Of the classifier, and between equal probabilities.

    Returns
    -------
    picks : ndarray of shape (n_instances,), int

    Raises
    ------
    EmptyPool
        If `X` has no row.
    TypeError, ValueError
        If `n_instances` is out of range, nothing is labelled, or the embeddings are not finite
        numbers.

    References
    ----------
    .. [1] Gissin and Shalev-Shwartz 2019, arXiv:1907.06347, Algorithm 1.

    Examples
    --------
    >>> discriminative_picks([[0.0], [1.0], [9.0]], 1, labelled=[[0.0], [0.5]])
    array([2])
    """
    n_instances = check_n_instances(n_instances, len(X))
    check_number("n_batches", n_batches, 1, integer=True)
    X, known = _check(X, labelled)
    rng = check_rng(random_state)
    rest, picks = np.arange(len(X)), np.empty(0, np.intp)
    n_batches, start = min(n_batches, n_instances), None
    for batch in range(n_batches):
        n_now = (n_instances - len(picks)) // (n_batches - batch)
        now = np.concatenate([known, X[picks]])
        proba, start = _proba(SomeRows(X, rest), now, classifier, rng, start)
        best = np.lexsort((rng.permutation(len(rest)), -proba))[:n_now]
        picks = np.concatenate([picks, rest[best]])
        rest = np.delete(rest, best)
    return picks
