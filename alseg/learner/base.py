"""What both modes of a learner share: asking a strategy, the model's own methods, refusals."""

import numpy as np

from alseg.calling import accepts, accepts_any, argument_names, call_strategy
from alseg.derived import joint_of, mask_proba_of, masks_of, score_of_masks, uncertainty_of
from alseg.interfaces import PoolQuery, before_and_last, meets
from alseg.query import Regions
from alseg.rows import retrieve_rows, transform_without_estimating
from alseg.validation import check_rng, did_you_mean, message


def check_fit_kwargs(learner, estimator, fit_kwargs, own):
    """Refuse keywords that are no arguments of an estimator's `fit`, with what was meant.

    Parameters
    ----------
    learner : ActiveLearner
        Whose hook `_fit_to_known`, if it is the user's, may take some for itself.
    estimator : object
    fit_kwargs : dict
    own : list of str
        Arguments of the learner, of which one may be misspelt.

    Raises
    ------
    TypeError
        If `fit` names neither the keyword nor ``**kwargs``; or, with the latter, if the keyword is
        spelt nearly as one of `own` and `fit` does not name it.
    """
    fit = getattr(estimator, "fit", None)
    anything = fit is None or accepts_any(fit)
    taken = {*(() if fit is None else argument_names(fit)), *argument_names(learner._fit_to_known)}
    taken -= {"bootstrap"}  # the learner's own
    for name in fit_kwargs:
        if name in taken:
            continue
        known = [*own, *taken]
        meant = did_you_mean(name, own if anything else known)
        if anything and not (meant and "__" not in name):  # "step__argument" is a pipeline's
            continue
        kind = type(estimator).__name__
        rule = f"an argument of ActiveLearner or of {kind}.fit"
        raise TypeError(message("a keyword", rule, name, meant))


class Querying:
    """What `ActiveLearner` and `Committee` share: asking a strategy."""

    def _query_pool(self, X_pool, args, kwargs, strategy=None):
        strategy = self._strategy() if strategy is None else strategy
        extras = {}
        # A seed that the user did not ask for would override the strategy's own default; and one
        # that is not used is not drawn.
        if self._seeds_queries() and accepts(strategy, "random_state"):
            extras["random_state"] = self._query_seed()
        extras |= self._source_extra()
        result = call_strategy(strategy, self, X_pool, *args, extras=extras, **kwargs)
        if isinstance(result, tuple):
            return result
        asked = result.sample_ids if isinstance(result, Regions) else result
        return result, retrieve_rows(X_pool, asked)

    def _source_extra(self):
        """A set of images from elsewhere, for strategies that name `source`."""
        return {}

    def _seeds_queries(self):
        return self.random_state is not None

    def _query_seed(self):
        return int(self._rng.integers(2**31 - 1))

    def _resolved_strategy(self, strategy):
        strategy = self._default_strategy() if strategy is None else strategy
        if not callable(strategy) and not meets(strategy, PoolQuery):
            raise TypeError(message("query_strategy", "callable", strategy))
        return strategy

    def _strategy(self):
        """The strategy as a function: one on feature vectors is asked about the images' own."""
        if callable(self.query_strategy):
            return self.query_strategy
        from alseg.strategies import as_function

        return as_function(self._resolved_strategy(self.query_strategy))


class Predicting:
    """The methods of a learner's model under the learner's own name; `_model()` gives the model."""

    def predict(self, X, **kwargs):
        """Predictions of the estimator, shape (n_samples,)."""
        return self._model().predict(X, **kwargs)

    def predict_proba(self, X, **kwargs):
        """Class probabilities of the estimator, shape (n_samples, n_classes)."""
        return self._model().predict_proba(X, **kwargs)

    def score(self, X, y, **kwargs):
        """The estimator's score: accuracy of a classifier, R² of a regressor."""
        return self._model().score(X, y, **kwargs)

    def predict_masks(self, X, **kwargs):
        """Class of each pixel: (n, H, W) int, or an object array where sizes differ."""
        return masks_of(self._model(), X, **kwargs)

    def predict_mask_proba(self, X, **kwargs):
        """Class probabilities of each pixel: (n, C, H, W), or an object array of (C, H, W)."""
        return mask_proba_of(self._model(), X, **kwargs)

    def predict_cams(self, X, **kwargs):
        """Raw class activation maps of the estimator."""
        before, model = before_and_last(self._model())
        return model.predict_cams(X if before is None else before(X), **kwargs)

    def predict_joint(self, X, **kwargs):
        """Labels, masks, their probabilities and CAMs of the estimator, from one pass."""
        return joint_of(self._model(), X, **kwargs)

    def predict_uncertainty(self, X, **kwargs):
        """The estimator's uncertainty, shape (n_samples,), larger = more worth asking."""
        return uncertainty_of(self._model(), X, **kwargs)

    def score_masks(self, X, masks, **kwargs):
        """Mean Dice of the estimator's masks over the images."""
        return score_of_masks(self._model(), X, masks, **kwargs)

    def transform_without_estimating(self, X):
        """`X` as the last step of the estimator's pipeline(s) sees it."""
        return transform_without_estimating(self._estimator, X)


class Seeded:
    """A learner's `random_state`, and what its seeds come from."""

    @property
    def random_state(self):
        """What all seeds of the learner come from."""
        return self._random_state

    @random_state.setter
    def random_state(self, random_state):
        root = int(check_rng(random_state).integers(2**63 - 1))
        self._random_state, self._root, self._rng = random_state, root, np.random.default_rng(root)


class Mode:
    """What a learner does in one of its modes: a view of the learner, which keeps all state.

    What belongs to the other mode alone is refused here; a mode replaces what it can do.

    Parameters
    ----------
    learner : ActiveLearner
    """

    def __init__(self, learner):
        self.learner = learner

    def refuse(self, what):
        """Raise the TypeError that says what is not for a learner in this mode."""
        raise NotImplementedError

    # -- of mask mode ---------------------------------------------------------------------------

    @property
    def annotated_ids(self):
        """See `ActiveLearner`."""
        self.refuse("annotated_ids")

    @property
    def pool_ids(self):
        """See `ActiveLearner`."""
        self.refuse("pool_ids")

    def set_masks(self, masks):
        """Replace all that is known of the masks."""
        self.refuse("Setting masks")

    def source_set(self, source):
        """A source as it was given, checked."""
        self.refuse("A source")

    def extended(self, images, labels, masks, groups):
        """See `ActiveLearner.extend`."""
        self.refuse("extend")

    def checked_groups(self, groups):
        """See `ActiveLearner`."""
        self.refuse("groups")

    def annotate(self, sample_ids, masks, fit):
        """See `ActiveLearner.annotate`."""
        self.refuse("annotate")

    def write(self, path, include_images):
        """See `ActiveLearner.save`."""
        self.refuse("save")

    # -- of modAL's -----------------------------------------------------------------------------

    def set_training(self, name, value):
        """Set `X_training` or `y_training`."""
        self.refuse(f"Setting {name}")

    def add_training_data(self, X, y):
        """Append to the training data without a fit."""
        self.refuse("_add_training_data")

    def fit_in_place(self, X, y, bootstrap, fit_kwargs):
        """Fit the learner's own estimator to these data, or to a bootstrap sample of them."""
        self.refuse("Fitting to X and y")

    def fit_on_new(self, X, y, bootstrap, fit_kwargs):
        """Fit the learner's own estimator to these data alone, which are checked."""
        self.refuse("Fitting to X and y")

    def teach(self, X, y, bootstrap, only_new, fit_kwargs):
        """See `ActiveLearner.teach`."""
        self.refuse("teach")
