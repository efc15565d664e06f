"""modAL's mode of a learner: labelled data, fitted in place."""

from alseg.learner.base import Mode
from alseg.rows import check_training_data, data_vstack, n_rows, retrieve_rows
from alseg.validation import message


class Teaching(Mode):
    """A learner with training data or none: `query` a pool, `teach` the answers."""

    always_seeds = False
    left_out_of_clone = frozenset({"masks"})  # then it is among fit_kwargs

    def refuse(self, what):
        """Raise the TypeError that says what needs images."""
        raise TypeError(
            f"{what} needs a learner that was given images= and labels=. "
            "Without them, use query(X_pool) and teach(X, y)."
        )

    @staticmethod
    def default_strategy():
        """modAL's uncertainty sampling."""
        from modAL.uncertainty import uncertainty_sampling

        return uncertainty_sampling

    def start(self, X_training, y_training, labels, masks):
        """Take what the learner was constructed with, and fit to it at once."""
        learner = self.learner
        for name, value in (("labels", labels), ("augmenter", learner.augmenter)):
            if value is not None:
                raise TypeError(message("images", f"given with {name}", None))
        learner.labels = learner.masks = None
        learner.X_training = X_training
        learner.y_training = y_training
        if X_training is not None:
            learner._fit_to_known(bootstrap=learner.bootstrap_init, **learner.fit_kwargs)

    def training(self, name):
        """`X_training` or `y_training`."""
        return self.learner.__dict__[f"_{name}"]

    def set_training(self, name, value):
        """Set `X_training` or `y_training`."""
        self.learner.__dict__[f"_{name}"] = value

    def set_masks(self, masks):
        """There are none."""
        if masks is not None:
            self.refuse("Setting masks")
        self.learner.__dict__["masks"] = None

    def size(self):
        """How much there is, for `repr`."""
        X = self.learner.X_training
        return f"n_training={0 if X is None else n_rows(X)}"

    def model(self):
        """The estimator as it is."""
        return self.learner._estimator

    def query_seed(self):
        """The next of a stream of seeds."""
        return int(self.learner._rng.integers(2**31 - 1))

    def query(self, strategy, X_pool, among, args, kwargs):
        """See `ActiveLearner.query`."""
        if among is not None:
            self.refuse("among")
        if X_pool is None:
            raise TypeError("query must be given X_pool, unless the learner was given images=.")
        return self.learner._query_pool(X_pool, args, kwargs, strategy)

    def add_training_data(self, X, y):
        """Append to the training data without a fit."""
        learner = self.learner
        check_training_data(X, y, learner.force_all_finite)
        if learner.X_training is None:
            learner.X_training, learner.y_training = X, y
            return
        try:
            grown = data_vstack((learner.X_training, X)), data_vstack((learner.y_training, y))
        except ValueError as error:
            raise ValueError(
                "X and y must be of the shape of the training data so far "
                f"({_shown(learner.X_training)} and {_shown(learner.y_training)}), "
                f"got {_shown(X)} and {_shown(y)}."
            ) from error
        learner.X_training, learner.y_training = grown

    def fit_in_place(self, X, y, bootstrap, fit_kwargs):
        """Fit the learner's own estimator to these data, or to a bootstrap sample of them."""
        learner = self.learner
        if bootstrap:
            n = n_rows(X)
            picked = learner._rng.integers(n, size=n)
            X, y = retrieve_rows(X, picked), retrieve_rows(y, picked)
            fit_kwargs = {
                name: retrieve_rows(value, picked) if _has_rows(value, n) else value
                for name, value in fit_kwargs.items()
            }
        learner._estimator.fit(X, y, **fit_kwargs)
        return learner

    def fit_on_new(self, X, y, bootstrap, fit_kwargs):
        """Fit the learner's own estimator to these data alone, which are checked."""
        check_training_data(X, y, self.learner.force_all_finite)
        return self.fit_in_place(X, y, bootstrap, fit_kwargs)

    def fit(self, X, y, bootstrap, fit_kwargs):
        """See `ActiveLearner.fit`."""
        learner = self.learner
        if X is None or y is None:
            raise TypeError("fit must be given X and y, unless the learner was given images=.")
        check_training_data(X, y, learner.force_all_finite)
        learner.X_training, learner.y_training = X, y
        return learner._fit_to_known(bootstrap=bootstrap, **fit_kwargs)

    def teach(self, X, y, bootstrap, only_new, fit_kwargs):
        """See `ActiveLearner.teach`."""
        learner = self.learner
        before = learner.X_training, learner.y_training
        try:
            learner._add_training_data(X, y)
            if only_new:
                learner._fit_on_new(X, y, bootstrap=bootstrap, **fit_kwargs)
            else:
                learner._fit_to_known(bootstrap=bootstrap, **fit_kwargs)
        except BaseException:  # an interrupt too
            learner.X_training, learner.y_training = before
            raise


def _has_rows(value, n):
    """Whether an argument of `fit` has an entry a sample, as `sample_weight` and `masks` have."""
    if isinstance(value, (str, bytes, dict, type)) or not hasattr(value, "__getitem__"):
        return False
    shape = getattr(value, "shape", None)
    if shape is None:
        return hasattr(value, "__len__") and len(value) == n
    return len(shape) > 0 and shape[0] == n


def _shown(X):
    return getattr(X, "shape", None) or f"a {type(X).__name__} of {len(X)}"
