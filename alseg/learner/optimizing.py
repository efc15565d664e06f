"""Bayesian optimisation on modAL's surface: a learner that looks for the largest value."""

import numpy as np

from alseg.learner.loop import ActiveLearner
from alseg.rows import n_rows, retrieve_rows


class BayesianOptimizer(ActiveLearner):
    """A regressor that asks where the largest value may be, with modAL's surface [1]_.

    Parameters
    ----------
    estimator : regressor
        Whose `predict` takes ``return_std=True``, such as a Gaussian process.
    query_strategy : callable or None, default=None
        Of ``modAL.acquisition``, say; None is ``max_EI``, expected improvement.
    X_training, y_training, bootstrap_init, on_transformed, force_all_finite, random_state, \
**fit_kwargs
        As of `ActiveLearner`; there is no mask mode.

    Attributes
    ----------
    X_max : row of `X_training`, or None
        Where the largest value so far is.
    y_max : value of `y_training`, or -inf
        The largest so far.

    References
    ----------
    .. [1] Danka, Horvath 2018, arXiv:1805.00979.

    Examples
    --------
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> X = np.linspace(0, 4, 9)[:, None]
    >>> optimizer = BayesianOptimizer(
    ...     GaussianProcessRegressor(), X_training=X[:1], y_training=np.sin(X[:1, 0])
    ... )
    >>> for _ in range(4):
    ...     query_idx, x = optimizer.query(X)
    ...     optimizer.teach(x, np.sin(x[:, 0]))
    >>> optimizer.get_max()[0]
    array([1.5])
    """

    @staticmethod
    def _default_strategy():
        from modAL.acquisition import max_EI

        return max_EI

    @property
    def _best(self):
        X, y = self.X_training, self.y_training
        return None if X is None or not n_rows(X) else int(np.argmax(y))

    @property
    def X_max(self):
        """Where the largest value so far is; None without one."""
        return None if self._best is None else retrieve_rows(self.X_training, self._best)

    @property
    def y_max(self):
        """The largest value so far; -inf without one."""
        return -np.inf if self._best is None else retrieve_rows(self.y_training, self._best)

    def get_max(self):
        """`X_max` and `y_max`."""
        return self.X_max, self.y_max
