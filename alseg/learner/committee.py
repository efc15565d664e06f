"""Committees: several learners taught together and asked as one, on modAL's surface."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from alseg.derived import labels_of_proba
from alseg.interfaces import is_multilabel
from alseg.learner.base import Querying
from alseg.rows import data_hstack
from alseg.validation import check_rng, message

_ONE_CLASS = "one class an image, for votes of a committee"
_ASK_OURS = "Take alseg.strategies.committee_sampling, which asks about each class by itself."


class _CommitteeBase(Querying, BaseEstimator):
    """A list of learners that are taught together and asked as one."""

    def __init__(self, learner_list, query_strategy=None, on_transformed=False, random_state=None):
        if not isinstance(learner_list, list) or not learner_list:
            raise TypeError(message("learner_list", "a list of at least one learner", learner_list))
        self.learner_list = learner_list
        self.query_strategy = self._resolved_strategy(query_strategy)
        self.on_transformed = on_transformed
        self.random_state = random_state
        self.X_training = None  # each learner has its own, as in modAL
        self._rng = check_rng(random_state)

    def __iter__(self):
        return iter(self.learner_list)

    def __len__(self):
        return len(self.learner_list)

    def _add_training_data(self, X, y):
        for learner in self.learner_list:
            learner._add_training_data(X, y)

    def _fit_to_known(self, bootstrap=False, **fit_kwargs):
        for learner in self.learner_list:
            learner._fit_to_known(bootstrap=bootstrap, **fit_kwargs)

    def _fit_on_new(self, X, y, bootstrap=False, **fit_kwargs):
        for learner in self.learner_list:
            learner._fit_on_new(X, y, bootstrap=bootstrap, **fit_kwargs)

    def fit(self, X, y, **fit_kwargs):
        """Fit every learner to `X`, `y`, which replace its training data.

        Parameters
        ----------
        X, y : array-like of shape (n_samples, ...)
        **fit_kwargs
            For the learners' ``fit``: `bootstrap=True` fits each to a bootstrap sample of its own.

        Returns
        -------
        self : Committee
        """
        for learner in self.learner_list:
            learner.fit(X, y, **fit_kwargs)
        return self

    def rebag(self, **fit_kwargs):
        """Refit every learner to a bootstrap sample of its own training data."""
        self._fit_to_known(bootstrap=True, **fit_kwargs)

    def teach(self, X, y, bootstrap=False, only_new=False, **fit_kwargs):
        """Add labelled data to every learner and fit all again, as `ActiveLearner.teach`."""
        self._add_training_data(X, y)
        if only_new:
            self._fit_on_new(X, y, bootstrap=bootstrap, **fit_kwargs)
        else:
            self._fit_to_known(bootstrap=bootstrap, **fit_kwargs)

    def extend(self, images, labels=None, masks=None, groups=None):
        """Add images to every learner, all in mask mode; see `ActiveLearner.extend`.

        Either all of them get the images or none.

        Returns
        -------
        sample_ids : list of ndarray of shape (n_new,), int
            Of each learner.
        """
        found = [le._mode.extended(images, labels, masks, groups) for le in self.learner_list]
        ids = []
        for learner, changes in zip(self.learner_list, found, strict=True):
            ids.append(np.arange(len(learner.labels), len(changes["labels"])))
            learner.__dict__.update(changes)
        return ids

    def query(self, X_pool, *args, **kwargs):
        """Ask the query strategy which of `X_pool` to label next, as `ActiveLearner.query`."""
        return self._query_pool(X_pool, args, kwargs)

    def transform_without_estimating(self, X):
        """The learners' transformations of `X`, side by side."""
        return data_hstack([le.transform_without_estimating(X) for le in self.learner_list])

    def vote(self, X, **predict_kwargs):
        """What each learner predicts.

        Returns
        -------
        votes : ndarray of shape (n_samples, n_learners)
            Of the type of the labels.
        """
        if any(is_multilabel(learner) for learner in self.learner_list):
            raise TypeError(message("labels", _ONE_CLASS, "several classes an image", _ASK_OURS))
        votes = [np.asarray(learner.predict(X, **predict_kwargs)) for learner in self.learner_list]
        return np.column_stack([vote.reshape(len(vote)) for vote in votes])


class Committee(_CommitteeBase):
    """Classifiers that vote, with modAL's ``Committee`` surface [1]_.

    Parameters
    ----------
    learner_list : list of ActiveLearner
        Ours or modAL's. Give each its own `random_state`: equal ones bootstrap alike.
    query_strategy : callable, alseg.interfaces.PoolQuery or None, default=None
        ``f(committee, X_pool, ...) -> query_idx``, or a strategy of scikit-activeml. None is
        modAL's vote entropy sampling.
    on_transformed : bool, default=False
        Read by strategies that measure distances.
    given_classes : array-like of shape (n_classes,) or None, default=None
        All class labels there can be. None: those that any learner has seen.
    random_state : None, int, Generator or RandomState, default=None
        Decides the seeds given to strategies that name `random_state`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,) or None
        Classes known to any of the learners, sorted; None while one is not fitted.
    n_classes_ : int
        Their number; 0 while one learner is not fitted.

    References
    ----------
    .. [1] Danka, Horvath 2018, arXiv:1805.00979.

    Examples
    --------
    >>> from alseg import ActiveLearner
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array(["a", "b", "c"])
    >>> members = [ActiveLearner(KNeighborsClassifier(1), X_training=X[i], y_training=y[i])
    ...            for i in ([0, 1], [1, 2])]
    >>> committee = Committee(members)
    >>> committee.vote(X)
    array([['a', 'b'],
           ['b', 'b'],
           ['b', 'c']], dtype='<U1')
    >>> committee.predict_proba(X)  # a class that a learner does not know has probability 0
    array([[0.5, 0.5, 0. ],
           [0. , 1. , 0. ],
           [0. , 0.5, 0.5]])
    """

    def __init__(
        self,
        learner_list,
        query_strategy=None,
        on_transformed=False,
        given_classes=None,
        random_state=None,
    ):
        super().__init__(learner_list, query_strategy, on_transformed, random_state)
        self.given_classes = given_classes

    @staticmethod
    def _default_strategy():
        from modAL.disagreement import vote_entropy_sampling

        return vote_entropy_sampling

    @property
    def classes_(self):
        """All classes that a member knows, sorted."""
        known = [getattr(learner.estimator, "classes_", None) for learner in self.learner_list]
        if any(classes is None for classes in known):
            return None
        if self.given_classes is not None:
            return np.unique(np.asarray(self.given_classes))
        return np.unique(np.concatenate(known))

    @property
    def multilabel_(self):
        """Whether the learners are fitted to images of several classes."""
        return any(is_multilabel(learner) for learner in self.learner_list)

    @property
    def n_classes_(self):
        """How many they are."""
        classes = self.classes_
        return 0 if classes is None else len(classes)

    def vote_proba(self, X, **predict_proba_kwargs):
        """Class probabilities from each learner.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_learners, n_classes), float
            In the order of `classes_`; 0 for classes that a learner has not seen.

        Raises
        ------
        NotFittedError
            If a learner is not fitted.
        ValueError
            If a learner knows a class that is not among `given_classes`.
        TypeError
            If images are of several classes: modAL's measures take one an image.
        """
        if self.multilabel_:
            raise TypeError(message("labels", _ONE_CLASS, "several classes an image", _ASK_OURS))
        return self._proba_of_each(X, **predict_proba_kwargs)

    def _proba_of_each(self, X, **predict_proba_kwargs):
        classes = self.classes_
        if classes is None:
            raise NotFittedError("Every learner of the committee must be fitted. Call fit(X, y).")
        columns = []
        for learner in self.learner_list:
            own = np.asarray(learner.estimator.classes_)
            if not np.isin(own, classes).all():
                raise ValueError(
                    message("given_classes", f"all classes of the learners, {own}", classes)
                )
            proba = np.asarray(learner.predict_proba(X, **predict_proba_kwargs))
            full = np.zeros((len(proba), len(classes)))
            full[:, np.searchsorted(classes, own)] = proba
            columns.append(full)
        return np.stack(columns, axis=1)

    def predict_proba(self, X, **predict_proba_kwargs):
        """Mean of the learners' class probabilities, shape (n_samples, n_classes)."""
        return self._proba_of_each(X, **predict_proba_kwargs).mean(axis=1)

    def predict(self, X, **predict_proba_kwargs):
        """Class of the largest mean probability, shape (n_samples,); of several a matrix."""
        return labels_of_proba(self, self.predict_proba(X, **predict_proba_kwargs))

    def score(self, X, y, sample_weight=None):
        """Accuracy of `predict`."""
        from sklearn.metrics import accuracy_score

        return accuracy_score(y, self.predict(X), sample_weight=sample_weight)


class CommitteeRegressor(_CommitteeBase):
    """Regressors whose mean is the prediction, with modAL's ``CommitteeRegressor`` surface.

    Parameters
    ----------
    learner_list : list of ActiveLearner
        Ours or modAL's.
    query_strategy : callable or None, default=None
        None is modAL's largest standard deviation between the learners.
    on_transformed : bool, default=False
        Read by strategies that measure distances.
    random_state : None, int, Generator or RandomState, default=None
        Decides the seeds given to strategies that name `random_state`.

    Examples
    --------
    >>> from alseg import ActiveLearner
    >>> from sklearn.dummy import DummyRegressor
    >>> members = [ActiveLearner(DummyRegressor(), X_training=[[0.0]], y_training=[value])
    ...            for value in (1.0, 3.0)]
    >>> CommitteeRegressor(members).predict([[0.0]], return_std=True)
    (array([2.]), array([1.]))
    """

    @staticmethod
    def _default_strategy():
        from modAL.disagreement import max_std_sampling

        return max_std_sampling

    def predict(self, X, return_std=False, **predict_kwargs):
        """Mean (and standard deviation, ddof 0) of the learners, shape (n_samples,)."""
        votes = self.vote(X, **predict_kwargs)
        mean = votes.mean(axis=1)
        return (mean, votes.std(axis=1)) if return_std else mean


# -- small parts --------------------------------------------------------------------------------
