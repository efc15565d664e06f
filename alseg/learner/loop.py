"""The active-learning loop: `ActiveLearner`, modAL's surface and a mask mode."""

import copy
import functools
import inspect
import numbers
import time
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, clone

from alseg.calling import accepts, accepts_any, call_strategy, check_query_idx, unit_of
from alseg.images import as_images, as_masks
from alseg.labels import MISSING, fraction_annotated, is_annotated
from alseg.learner.on_disk import read_learner, write_learner
from alseg.query import Regions
from alseg.rows import (
    check_training_data,
    data_vstack,
    n_rows,
    retrieve_rows,
    transform_without_estimating,
)
from alseg.validation import (
    EmptyPool,
    as_labels,
    check_n_instances,
    check_number,
    check_rng,
    message,
)

# What a seed is for; a new one goes at the end.
_FIT, _QUERY, _AUGMENT, _CONTINUE, _CARRY = range(5)


class Querying:
    """What `ActiveLearner` and `Committee` share: asking a strategy."""

    def _query_pool(self, X_pool, args, kwargs, strategy=None):
        strategy = self.query_strategy if strategy is None else strategy
        extras = {}
        # A seed that the user did not ask for would override the strategy's own default; and one
        # that is not used is not drawn.
        if self._seeds_queries() and accepts(strategy, "random_state"):
            extras["random_state"] = self._query_seed()
        result = call_strategy(strategy, self, X_pool, *args, extras=extras, **kwargs)
        if isinstance(result, tuple):
            return result
        asked = result.sample_ids if isinstance(result, Regions) else result
        return result, retrieve_rows(X_pool, asked)

    def _seeds_queries(self):
        return self.random_state is not None

    def _query_seed(self):
        return int(self._rng.integers(2**31 - 1))

    def _resolved_strategy(self, strategy):
        strategy = self._default_strategy() if strategy is None else strategy
        if not callable(strategy):
            raise TypeError(message("query_strategy", "callable", strategy))
        return strategy


class ActiveLearner(Querying, BaseEstimator):
    """An estimator that asks for the labels, or the masks, that help it most.

    It has two modes. With `X_training`, `y_training` or nothing it is modAL's ``ActiveLearner``
    [1]_, argument by argument, for any scikit-learn estimator: `query` a pool, `teach` the answers.
    With `images` and `labels` it is in **mask mode**: every image has a class label, masks are
    what is asked for: `query` without a pool, `annotate` the answers.

    Parameters
    ----------
    estimator : estimator
        In mask mode one with ``fit(X, y, masks=None, mask_weight=None)``, such as
        `JointCAMSegmenter`; it is never fitted itself there, only clones of it. Elsewhere it is
        fitted in place, as modAL does.
    query_strategy : callable or None, default=None
        ``f(learner, X_pool, n_instances=1, ...) -> query_idx``, alseg's or modAL's. None is
        modAL's uncertainty sampling, in mask mode `alseg.strategies.entropy_sampling`.
    X_training, y_training : array-like of shape (n_samples, ...) or None, default=None
        Initial data; the estimator is fitted to them at once. In mask mode they are not given but
        read: the annotated images (at least one pixel) and their labels, None while there are none.
    bootstrap_init : bool, default=False
        Whether that first fit is to a bootstrap sample of them.
    on_transformed : bool, default=False
        Read by strategies that measure distances: whether to do so on
        `transform_without_estimating(X)`.
    force_all_finite : bool, default=True
        Whether new data with NaN or infinite values are refused.
    images : array of shape (n, H, W, C), list, array of paths or ImageFiles, or None, default=None
        All images. Giving them chooses the mask mode.
    labels : array-like of shape (n,), str or int
        Their class labels.
    masks : array of shape (n, H, W), list or MaskFiles, or None, default=None
        Masks known at the start: class of each pixel, `MISSING` (-1) where not annotated, None
        for an image without. Copied. Without `images` it is an argument of the estimator's `fit`
        like any other in `fit_kwargs`.
    augmenter : object or None, default=None
        ``fit(X, y, masks, *, estimator)`` and ``transform(X) -> (masks, mask_weight)``, such as
        `PseudoLabelAugmenter`. Each refit is then two fits [2]_: to the annotated masks alone, and,
        after the augmenter has used that model, to its masks. The second starts where the first did,
        or as the augmenter's ``refit`` says; with ``refit="once"`` the augmenter uses the present
        model, and there is one.
    warm_start : bool, default=False
        Whether a refit continues from the present model with ``partial_fit`` instead of starting
        from scratch.
    random_state : None, int, Generator or RandomState, default=None
        Decides bootstraps, the seeds given to strategies that name `random_state`, and, in mask
        mode, the estimator's own `random_state` for each fit (None leaves that as it is). In mask
        mode the seeds depend on it and on the number of `annotate` calls so far: the same question
        in the same state has the same answer.
    **fit_kwargs
        Handed to the estimator's ``fit`` at construction; in mask mode at every fit. Of those with
        an entry a sample a bootstrap draws the same rows.

    Attributes
    ----------
    estimator : estimator
    X_training, y_training : None or of the kind that was given
    images, labels, masks
        Mask mode: `masks` is an object array of shape (n,) of integer arrays (H, W) and None. Set
        as a whole they replace all that was known, and the next fit uses them.
    annotated_ids, pool_ids : ndarray of int
        Mask mode: images with any annotated pixel, and images not fully annotated.
    looked_at : (int, int) or None
        Of the last `query` with `max_seconds`: images looked at, and images of the pool.
    gradient_steps : int or None
        Mask mode: of the last refit, all of its fits; None where the estimator does not count.
    true_masks : masks of all images, or None
        In a simulation, set after construction: handed to ``augmenter.fit`` for its report of how
        good pseudo-labels are. Nothing is trained on them, and `save` leaves them out.

    Notes
    -----
    In mask mode a model is fitted when it is first needed (a prediction, or a strategy that asks
    for ``learner.estimator`` or predicts): to the image labels alone while there is no mask.
    `annotate` and `fit` fit a copy and swap it in at the end, so an error or an interrupt leaves
    the learner as it was.

    References
    ----------
    .. [1] Danka, Horvath 2018, arXiv:1805.00979.
    .. [2] Belharbi et al. 2021, arXiv:2010.04889, Algorithm 1.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> X, y = np.array([[0.0], [1.0], [9.0], [10.0]]), np.array([0, 0, 1, 1])
    >>> learner = ActiveLearner(GaussianNB(), X_training=X, y_training=y)
    >>> query_idx, instance = learner.query(np.array([[0.0], [5.0], [10.0]]))
    >>> query_idx, instance
    (array([1]), array([[5.]]))
    >>> learner.teach(instance, [1])
    >>> len(learner.y_training)
    5
    """

    true_masks = None
    gradient_steps = None
    looked_at = None
    _asking = False  # whether a strategy is running, which may need a model
    _seconds_fitted = 0.0  # in fits that a question had to wait for

    def __init__(
        self,
        estimator,
        query_strategy=None,
        X_training=None,
        y_training=None,
        bootstrap_init=False,
        on_transformed=False,
        force_all_finite=True,
        *,
        images=None,
        labels=None,
        masks=None,
        augmenter=None,
        warm_start=False,
        random_state=None,
        **fit_kwargs,
    ):
        if not isinstance(force_all_finite, (bool, np.bool_)):
            raise TypeError(message("force_all_finite", "a bool", force_all_finite))
        if images is None and masks is not None:
            fit_kwargs["masks"] = masks
        self.images = images
        self.estimator = estimator
        self.query_strategy = self._resolved_strategy(query_strategy)
        self.bootstrap_init = bootstrap_init
        self.on_transformed = on_transformed
        self.force_all_finite = force_all_finite
        self.augmenter = augmenter
        self.warm_start = warm_start
        self.random_state = random_state
        self.fit_kwargs = fit_kwargs
        if images is None:
            self._start_with_training_data(X_training, y_training, labels)
        else:
            self._start_with_images(X_training, y_training, labels, masks)

    def _start_with_training_data(self, X_training, y_training, labels):
        for name, value in (("labels", labels), ("augmenter", self.augmenter)):
            if value is not None:
                raise TypeError(message("images", f"given with {name}", None))
        self.labels = self.masks = None
        self.X_training = X_training
        self.y_training = y_training
        if X_training is not None:
            self._fit_to_known(bootstrap=self.bootstrap_init, **self.fit_kwargs)

    def _start_with_images(self, X_training, y_training, labels, masks):
        if X_training is not None or y_training is not None:
            raise TypeError(
                message(
                    "X_training and y_training",
                    "left out with images",
                    (type(X_training).__name__, type(y_training).__name__),
                    "Give what is annotated as masks=.",
                )
            )
        n = len(as_images(self.images))
        if labels is None:
            raise TypeError(message("labels", f"given with images, one for each of {n}", None))
        labels = np.array(as_labels("labels", labels))
        if labels.shape != (n,):
            raise ValueError(message("labels", f"of shape ({n},), one an image", labels.shape))
        self.labels = labels
        self._n_annotate = 0
        self.masks = masks

    def _default_strategy(self):
        if self.images is not None:
            from alseg.strategies import entropy_sampling

            return entropy_sampling
        from modAL.uncertainty import uncertainty_sampling

        return uncertainty_sampling

    # -- state ----------------------------------------------------------------------------------

    @property
    def estimator(self):
        """The model; one that was never fitted is fitted when a strategy asks for it."""
        if self._asking:
            self._ensure_fitted()
        return self._estimator

    @estimator.setter
    def estimator(self, estimator):
        self._estimator = estimator

    @property
    def random_state(self):
        """What all seeds of the learner come from."""
        return self._random_state

    @random_state.setter
    def random_state(self, random_state):
        root = int(check_rng(random_state).integers(2**63 - 1))
        self._random_state, self._root, self._rng = random_state, root, np.random.default_rng(root)

    @property
    def X_training(self):
        """What is labelled: the training data, or in mask mode the annotated images."""
        if self.images is None:
            return self._X_training
        ids = self.annotated_ids
        return retrieve_rows(self.images, ids) if len(ids) else None

    @X_training.setter
    def X_training(self, X):
        self._refuse_in_mask_mode("Setting X_training")
        self._X_training = X

    @property
    def y_training(self):
        """Labels of `X_training`; in mask mode the class labels of the annotated images."""
        if self.images is None:
            return self._y_training
        ids = self.annotated_ids
        return self.labels[ids] if len(ids) else None

    @y_training.setter
    def y_training(self, y):
        self._refuse_in_mask_mode("Setting y_training")
        self._y_training = y

    @property
    def masks(self):
        """What is known of each image's mask; None without images."""
        return self.__dict__.get("masks")

    @masks.setter
    def masks(self, masks):
        if self.images is None:
            if masks is not None:
                self._require_mask_mode("Setting masks")
            self.__dict__["masks"] = None
        else:
            self._set_masks(self._checked_masks(masks))

    @property
    def annotated_ids(self):
        """Ids of the images with at least one annotated pixel, ascending."""
        self._require_mask_mode("annotated_ids")
        return np.flatnonzero(self._fractions > 0)

    @property
    def pool_ids(self):
        """Ids of the images not fully annotated, ascending: what `query` asks about."""
        self._require_mask_mode("pool_ids")
        return np.flatnonzero(self._fractions < 1)

    def _checked_masks(self, masks):
        faces = as_images(self.images)
        n = len(faces)
        nothing, given = np.full(n, None, dtype=object), as_masks(masks, n)
        return _merged(nothing, range(n), given, faces, self._n_classes, skip=True)

    def _set_masks(self, masks, **others):
        fractions = np.array([fraction_annotated(mask) for mask in masks])
        # One assignment: an interrupt falls before it or after it.
        self.__dict__.update(masks=masks, _fractions=fractions, **others)

    @property
    def _n_classes(self):
        return getattr(self._estimator, "n_mask_classes", None)

    def _refuse_in_mask_mode(self, what):
        if self.__dict__.get("images") is not None:
            raise TypeError(
                f"{what} is not for a learner that was given images: its training data are the "
                "annotated ones. Use annotate(sample_ids, masks)."
            )

    def _require_mask_mode(self, name):
        if self.images is None:
            raise TypeError(
                f"{name} needs a learner that was given images= and labels=. "
                "Without them, use query(X_pool) and teach(X, y)."
            )

    def __sklearn_clone__(self):
        names = set(self.get_params(deep=False))
        if self.images is None:
            names -= {"masks"}  # then it is among fit_kwargs
        else:
            names -= {"X_training", "y_training"}
        params = {name: clone(getattr(self, name), safe=False) for name in names}
        return type(self)(**params, **copy.deepcopy(self.fit_kwargs))

    def __repr__(self, N_CHAR_MAX=700):
        strategy = getattr(self.query_strategy, "__name__", repr(self.query_strategy))
        if self.images is None:
            size = f"n_training={0 if self.X_training is None else n_rows(self.X_training)}"
        else:
            size = f"n_images={len(self.labels)}, n_annotated={len(self.annotated_ids)}"
        name = type(self).__name__
        return f"{name}(estimator={self._estimator!r}, query_strategy={strategy}, {size})"

    # -- the estimator's own --------------------------------------------------------------------

    def _model(self):
        """The estimator; in mask mode, one that is fitted."""
        if self.images is not None:
            self._ensure_fitted()
        return self._estimator

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
        return self._model().predict_masks(X, **kwargs)

    def predict_mask_proba(self, X, **kwargs):
        """Class probabilities of each pixel: (n, C, H, W), or an object array of (C, H, W)."""
        return self._model().predict_mask_proba(X, **kwargs)

    def predict_cams(self, X, **kwargs):
        """Raw class activation maps of the estimator."""
        return self._model().predict_cams(X, **kwargs)

    def predict_joint(self, X, **kwargs):
        """Labels, masks, their probabilities and CAMs of the estimator, from one pass."""
        return self._model().predict_joint(X, **kwargs)

    def predict_uncertainty(self, X, **kwargs):
        """The estimator's uncertainty, shape (n_samples,), larger = more worth asking."""
        return self._model().predict_uncertainty(X, **kwargs)

    def score_masks(self, X, masks, **kwargs):
        """Mean Dice of the estimator's masks over the images."""
        return self._model().score_masks(X, masks, **kwargs)

    def transform_without_estimating(self, X):
        """`X` as the last step of the estimator's pipeline(s) sees it."""
        return transform_without_estimating(self._estimator, X)

    # -- fitting, modAL's way -------------------------------------------------------------------

    def _add_training_data(self, X, y):
        """Append to the training data without a fit."""
        self._refuse_in_mask_mode("_add_training_data")
        check_training_data(X, y, self.force_all_finite)
        if self.X_training is None:
            self.X_training, self.y_training = X, y
            return
        try:
            grown = data_vstack((self.X_training, X)), data_vstack((self.y_training, y))
        except ValueError as error:
            raise ValueError(
                "X and y must be of the shape of the training data so far "
                f"({_shown(self.X_training)} and {_shown(self.y_training)}), "
                f"got {_shown(X)} and {_shown(y)}."
            ) from error
        self.X_training, self.y_training = grown

    def _fit_to_known(self, bootstrap=False, **fit_kwargs):
        """Fit the estimator to the training data so far, or to a bootstrap sample of them."""
        return self._fit_in_place(self.X_training, self.y_training, bootstrap, fit_kwargs)

    def _fit_on_new(self, X, y, bootstrap=False, **fit_kwargs):
        """Fit the estimator to these data alone, or to a bootstrap sample of them."""
        check_training_data(X, y, self.force_all_finite)
        return self._fit_in_place(X, y, bootstrap, fit_kwargs)

    def _fit_in_place(self, X, y, bootstrap, fit_kwargs):
        self._refuse_in_mask_mode("Fitting to X and y")
        if bootstrap:
            n = n_rows(X)
            picked = self._rng.integers(n, size=n)
            X, y = retrieve_rows(X, picked), retrieve_rows(y, picked)
            fit_kwargs = {
                name: retrieve_rows(value, picked) if _has_rows(value, n) else value
                for name, value in fit_kwargs.items()
            }
        self._estimator.fit(X, y, **fit_kwargs)
        return self

    def fit(self, X=None, y=None, bootstrap=False, **fit_kwargs):
        """Fit to `X`, `y`, which replace the training data; in mask mode, refit (no `X`, `y`).

        Parameters
        ----------
        X, y : array-like of shape (n_samples, ...)
            New training data. In mask mode they are left out.
        bootstrap : bool, default=False
            Whether to fit to a bootstrap sample of them.
        **fit_kwargs
            For the estimator's ``fit``.

        Returns
        -------
        self : ActiveLearner
        """
        if self.images is not None:
            if X is not None or y is not None or bootstrap:
                self._refuse_in_mask_mode("fit(X, y)")
            self.__dict__.update(self._fitted(self.masks, self._n_annotate, fit_kwargs))
            return self
        if X is None or y is None:
            raise TypeError("fit must be given X and y, unless the learner was given images=.")
        check_training_data(X, y, self.force_all_finite)
        self.X_training, self.y_training = X, y
        return self._fit_to_known(bootstrap=bootstrap, **fit_kwargs)

    def teach(self, X, y, bootstrap=False, only_new=False, **fit_kwargs):
        """Add labelled data and fit again.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples, ...)
        bootstrap : bool, default=False
            Whether to fit to a bootstrap sample.
        only_new : bool, default=False
            Whether to fit to `X`, `y` alone (for estimators whose ``fit`` continues). They are
            added to the training data all the same.
        **fit_kwargs
            For the estimator's ``fit``. Those with an entry a sample, such as `masks`, are of all
            that is fitted to, and a bootstrap draws their rows too.

        Raises
        ------
        TypeError
            In mask mode: masks go through `annotate`.
        ValueError
            If `X`, `y` do not fit each other or the training data, or are not finite. If this or
            the fit fails, the training data are as before.
        """
        self._refuse_in_mask_mode("teach")
        before = self.X_training, self.y_training
        try:
            self._add_training_data(X, y)
            if only_new:
                self._fit_on_new(X, y, bootstrap=bootstrap, **fit_kwargs)
            else:
                self._fit_to_known(bootstrap=bootstrap, **fit_kwargs)
        except BaseException:  # an interrupt too
            self.X_training, self.y_training = before
            raise

    # -- asking ---------------------------------------------------------------------------------

    def query(self, X_pool=None, *args, max_seconds=None, **kwargs):
        """Ask the query strategy what to label next.

        Parameters
        ----------
        X_pool : array-like of shape (n_pool, ...) or None, default=None
            What may be asked about. In mask mode it is left out: the images not fully annotated.
        *args, **kwargs
            For the strategy. In mask mode `n_instances`, default 1, is checked against the pool;
            it counts parts of images where the strategy's `unit` is not "image".
        max_seconds : float or None, default=None
            About how long it may take, whatever the pool: images are looked at in random order for
            that time, and the question is asked among those (`looked_at` says how many); see
            `alseg.strategies.within_seconds`. A model that is fitted first is not counted. None is
            no limit, and gives what a pool gives that is looked at as a whole in the time.

        Returns
        -------
        query_idx : of the strategy
            Positions in `X_pool`; a strategy's own tuple is handed on unchanged. In mask mode
            without a pool: the sample ids, ndarray of shape (n_instances,), best first, unique;
            or `alseg.query.Regions` of them, from a strategy that asks about parts of images.
        instances : of the kind of the pool
            ``X_pool[query_idx]``, or ``images[sample_ids]``.

        Raises
        ------
        EmptyPool
            If every image is fully annotated.
        ValueError
            If more is asked for than there is.
        """
        if isinstance(X_pool, numbers.Number):
            raise TypeError(message("X_pool", "a pool", X_pool, "Write query(n_instances=...)."))
        if self.images is None and X_pool is None:
            raise TypeError("query must be given X_pool, unless the learner was given images=.")
        strategy = self.query_strategy
        if max_seconds is not None:
            strategy, args, kwargs = self._within(max_seconds, X_pool, args, kwargs)
        self._asking = self.images is not None
        try:
            if X_pool is not None:
                return self._query_pool(X_pool, args, kwargs, strategy)
            return self._query_images(strategy, *args, **kwargs)
        finally:
            self._asking = False

    def _within(self, max_seconds, X_pool, args, kwargs):
        """The strategy in bounded time, and the arguments that are left to give."""
        from alseg.strategies import as_strategy, within_seconds

        strategy = self.query_strategy
        if args and X_pool is not None:  # after the learner and the pool
            names = list(inspect.signature(strategy).parameters)[2 : 2 + len(args)]
            args, kwargs = args[len(names) :], {**dict(zip(names, args)), **kwargs}
        kept = {"n_instances"}
        kept |= {n for n in ("random_state", "y_pool", "masks_pool") if accepts(strategy, n)}
        options = {name: value for name, value in kwargs.items() if name not in kept}
        if options:
            strategy = functools.partial(strategy, **options)
        strategy = within_seconds(
            as_strategy(strategy),
            max_seconds,
            report=lambda n_seen, n_pool: setattr(self, "looked_at", (n_seen, n_pool)),
            clock=lambda: time.monotonic() - self._seconds_fitted,
        )
        return strategy, args, {name: value for name, value in kwargs.items() if name in kept}

    def _query_images(self, strategy, /, n_instances=1, **kwargs):
        pool_ids = self.pool_ids
        if not len(pool_ids):
            raise EmptyPool(
                f"All {len(self.labels)} images are fully annotated: {n_instances} requested, "
                "0 available."
            )
        if unit_of(strategy, **kwargs) == "image":
            n_instances = check_n_instances(n_instances, len(pool_ids))
        else:  # parts of images, of which there are more
            n_instances = int(check_number("n_instances", n_instances, low=1, integer=True))
        extras = {
            "random_state": self._query_seed(),
            "y_pool": self.labels[pool_ids],
            "masks_pool": self.masks[pool_ids],
        }
        if accepts_any(strategy):
            kwargs["n_instances"] = n_instances
        else:  # a strategy that picks one image has no parameter for it
            extras["n_instances"] = n_instances
        X_pool = retrieve_rows(self.images, pool_ids)
        result = call_strategy(strategy, self, X_pool, extras=extras, **kwargs)
        regions = result[0] if isinstance(result, tuple) and len(result) else result
        if isinstance(regions, Regions):
            if len(regions) != n_instances:
                rule = f"{n_instances} regions, as asked"
                raise ValueError(message("query_strategy's result", rule, regions))
            regions = regions.renumbered(pool_ids)
            return regions, retrieve_rows(self.images, regions.sample_ids)
        sample_ids = pool_ids[check_query_idx(result, len(pool_ids), n_instances)]
        return sample_ids, retrieve_rows(self.images, sample_ids)

    # -- mask mode ------------------------------------------------------------------------------

    def annotate(self, sample_ids, masks, fit=True):
        """Add masks and refit. Either all of it happens or nothing.

        Parameters
        ----------
        sample_ids : sequence of shape (n,), int, or Regions
            Positions in `images`, each once. `Regions` stand for their `sample_ids`.
        masks : array of shape (n, H, W), list of arrays of shape (H, W), paths or MaskFiles
            One for each id: class of each pixel, `MISSING` (-1) where not annotated. Pixels given
            overwrite what was known; `MISSING` ones leave it.
        fit : bool, default=True
            Whether to refit at once. Without, `fit()` does it later.

        Returns
        -------
        self : ActiveLearner

        Raises
        ------
        TypeError
            If the learner has no images (use `teach`), or the ids are not integers.
        ValueError
            If an id is unknown or given twice, the numbers of ids and masks differ, or a mask is
            None or has no annotated pixel, another size than its image, or values that are no
            class. The learner is as before then, and also if the fit fails or is interrupted.
        """
        self._require_mask_mode("annotate")
        if isinstance(sample_ids, Regions):
            sample_ids = sample_ids.sample_ids
        ids = _check_sample_ids(sample_ids, len(self.labels))
        n_masks = len(masks) if hasattr(masks, "__len__") else None
        if n_masks != len(ids):
            shown = masks if n_masks is None else f"{n_masks} masks"
            raise ValueError(message("masks", f"one for each of the {len(ids)} sample ids", shown))
        faces = as_images(retrieve_rows(self.images, ids))
        merged = _merged(self.masks, ids, as_masks(masks, len(ids)), faces, self._n_classes)
        step = self._n_annotate + 1
        swapped = self._fitted(merged, step, {}) if fit else {}
        self._set_masks(merged, _n_annotate=step, **swapped)
        return self

    def _seed(self, purpose, step=None):
        # Not a stream: a failed call, or a query repeated, leaves no trace in what follows.
        key = (self._n_annotate if step is None else step, purpose)
        sequence = np.random.SeedSequence(self._root, spawn_key=key)
        return int(sequence.generate_state(1)[0] >> 1)  # below 2**31, as RandomState wants

    def _seeds_queries(self):
        return self.images is not None or super()._seeds_queries()

    def _query_seed(self):
        return super()._query_seed() if self.images is None else self._seed(_QUERY)

    def _ensure_fitted(self):
        if hasattr(self._estimator, "classes_"):
            return
        start = time.monotonic()
        self._asking, asking = False, self._asking
        try:
            self.__dict__.update(self._fitted(self.masks, self._n_annotate, {}))
        finally:
            self._asking = asking
            self._seconds_fitted += time.monotonic() - start

    def _fitted(self, masks, step, fit_kwargs):
        """What a refit changes of the learner: a fitted copy, its augmenter, the steps of its fits."""
        fit_kwargs = {**self.fit_kwargs, **fit_kwargs}
        seed = self._seed_at(_FIT, step)
        has_masks = any(mask is not None for mask in masks)
        augmenter, counts = self.augmenter, []
        if augmenter is not None and "mask_weight" in fit_kwargs:
            remedy = "Its masks have weights of their own."
            raise ValueError(message("mask_weight", "left out with an augmenter", "one", remedy))

        def fitted(start, masks, weight, seed, go_on=self.warm_start):
            go_on = go_on and hasattr(start, "classes_")
            model = self._fit_copy(start, masks, weight, seed, fit_kwargs, go_on)
            counts.append(_steps(model, start if go_on else None))
            return model

        refit = getattr(augmenter, "refit", "scratch")
        if augmenter is None or not has_masks:
            model = fitted(self._estimator, masks if has_masks else None, None, seed)
        elif refit == "once":
            known = masks, None
            if self._has_learned_masks():
                seed_of_it = self._seed_at(_AUGMENT, step)
                augmenter = self._fitted_augmenter(masks, self._estimator, seed_of_it)
                known = augmenter.transform(self.images)
            model = fitted(self._estimator, *known, seed)
        else:
            known = masks, None
            if refit == "published":
                known = self._with_last_pseudo_masks(masks, step)
            first = fitted(self._estimator, *known, seed)
            augmenter = self._fitted_augmenter(masks, first, self._seed_at(_AUGMENT, step))
            more = augmenter.transform(self.images)
            if refit == "continue" or self.warm_start:
                # Other random numbers than those that the first fit has used.
                model = fitted(first, *more, self._seed_at(_CONTINUE, step), go_on=True)
            else:
                model = fitted(self._estimator, *more, seed)
            if refit == "published" and _score(model) < _score(first):
                model = first
        steps = None if None in counts else sum(counts)
        return {"_estimator": model, "augmenter": augmenter, "gradient_steps": steps}

    def _seed_at(self, purpose, step):
        return None if self.random_state is None else self._seed(purpose, step)

    def _has_learned_masks(self):
        """Whether there is a model of the round before, and not of class labels alone."""
        fitted = hasattr(self._estimator, "classes_") and any(m is not None for m in self.masks)
        return fitted and getattr(self._estimator, "has_masks_", True)

    def _fitted_augmenter(self, masks, model, seed):
        # A shallow copy: a descriptor of the pool, computed once, goes along.
        augmenter = copy.copy(self.augmenter)
        if seed is not None:
            _set_random_state(augmenter, seed)
        known = {} if self.true_masks is None else {"true_masks": self.true_masks}
        augmenter.fit(self.images, self.labels, masks.copy(), estimator=model, **known)
        return augmenter

    def _with_last_pseudo_masks(self, masks, step):
        """Masks, and what the present model says of the images that had pseudo-masks before."""
        if self.warm_start:
            remedy = "The published way starts each fit anew."
            raise ValueError(message("warm_start", "False with refit='published'", True, remedy))
        if not self._has_learned_masks():
            return masks, None  # no round before
        seed = self._seed_at(_CARRY, step)
        before = self._fitted_augmenter(self.masks, self._estimator, seed)
        found, weight = before.transform(self.images)
        for i, mask in enumerate(masks):
            if mask is not None:
                found[i], weight[i] = mask, np.ones_like(weight[i])
        return found, weight

    def _fit_copy(self, start, masks, mask_weight, seed, fit_kwargs, go_on):
        given = {"masks": masks} if masks is not None else {}
        if mask_weight is not None:
            given["mask_weight"] = mask_weight
        model = copy.deepcopy(start) if go_on else clone(start)
        if seed is not None:  # also of a fit that goes on, which else repeats the draws before it
            _set_random_state(model, seed)
        fit = model.partial_fit if go_on else model.fit
        fit(self.images, self.labels, **given, **fit_kwargs)
        return model

    # -- files ----------------------------------------------------------------------------------

    def save(self, path, include_images=True):
        """Write the learner into a folder, so that `load` goes on where it is.

        The folder holds JSON, arrays without pickle, and what the estimator's own ``save`` writes.
        Images given as paths stay paths. The new state is written beside the old one and takes its
        place in one step; an interrupted save leaves the old one.

        Parameters
        ----------
        path : str or Path
            Created if it is not there. Other files in it are left alone.
        include_images : bool, default=True
            Whether images that are arrays are written too. Without, give them to `load`.
        """
        self._require_mask_mode("save")
        write_learner(self, Path(path), include_images)
        return self

    @classmethod
    def load(cls, path, *, estimator=None, query_strategy=None, augmenter=None, images=None):
        """The learner that `save` wrote; its next answers are those of the one saved.

        With ``warm_start=True`` nearly so: what an optimizer remembers of its steps is not kept.

        Nothing that the folder holds is run: names in it are looked up among alseg's own alone,
        and anything else is given here.

        Parameters
        ----------
        path : str or Path
        estimator : estimator, class or callable, or None, default=None
            Needed if the estimator's class is not alseg's, or it was not fitted yet and has
            parameters that are not plain JSON. Of a fitted one the class alone counts, through its
            ``load``; a callable ``f(folder) -> estimator`` reads it in its own way, and gives it what
            is not written: ``functools.partial(JointCAMSegmenter.load, validation=part)``.
        query_strategy : callable or None, default=None
            Needed if it is not one of alseg's functions (or a `functools.partial` of one).
        augmenter : object or None, default=None
            Needed if it is not one of alseg's with parameters in plain JSON.
        images : as for `ActiveLearner`, or None, default=None
            Needed if they were not written. Otherwise they replace what the folder names.

        Returns
        -------
        learner : ActiveLearner

        Raises
        ------
        FileNotFoundError
            If the folder holds no learner.
        ValueError
            If its files are damaged, of a later version, or name something that is not alseg's.
        """
        arguments, state = read_learner(Path(path), estimator, query_strategy, augmenter, images)
        learner = cls(**arguments)
        learner.__dict__.update(state)
        return learner


def _set_random_state(estimator, seed):
    """Seed an estimator and the steps in it, as scikit-learn's ensembles do."""
    if not hasattr(estimator, "get_params"):
        return
    names = estimator.get_params(deep=True)
    seeded = {n: seed for n in names if n == "random_state" or n.endswith("__random_state")}
    if seeded:
        estimator.set_params(**seeded)


def _steps(model, before):
    """Gradient steps that a fit has taken, those of the model that it went on from aside."""
    steps = getattr(model, "n_steps_", None)
    return steps if steps is None or before is None else steps - before.n_steps_


def _score(model):
    """On validation images, of a model that was chosen by them; without them all are alike."""
    score = getattr(model, "validation_score_", None)
    return 0.0 if score is None else score


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


def _check_sample_ids(sample_ids, n):
    ids = np.asarray(sample_ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise TypeError(message("sample_ids", "a 1-D sequence of integers", sample_ids))
    unknown = ids[(ids < 0) | (ids >= n)]
    if len(unknown):
        raise ValueError(message("sample_ids", f"in [0, {n - 1}]", unknown.tolist()))
    values, counts = np.unique(ids, return_counts=True)
    if len(values) < len(ids):
        twice = values[counts > 1].tolist()
        raise ValueError(message("sample_ids", "unique in one call, given once each", twice))
    return ids.astype(np.intp)


def _merged(masks, ids, given, images, n_classes, skip=False):
    """`masks` with the given ones written over them, as a new object array; all checked first.

    `given` and `images` are aligned with `ids`. With `skip`, a mask without an annotated pixel is
    passed over.
    """
    merged = masks.copy()
    for position, i in enumerate(ids):
        new = given[position]
        if not is_annotated(new):
            if skip:
                continue
            raise ValueError(
                message(
                    f"masks[{position}] (sample id {i})",
                    "annotated in at least one pixel",
                    None if new is None else f"only {MISSING}",
                )
            )
        name, size = f"masks[{position}] (sample id {i})", tuple(images.size(position))
        if new.shape != size:
            where = f"The image is {images.where(position)}."
            raise ValueError(message(name, f"of its image's size {size}", new.shape, where))
        high = np.iinfo(new.dtype).max if n_classes is None else n_classes - 1
        bad = np.unique(new[(new < MISSING) | (new > high)])
        if len(bad):
            remedy = "Map 0/255 masks and instance ids to classes." if n_classes == 2 else ""
            rule = f"of classes in [0, {high}], or {MISSING} where not annotated"
            raise ValueError(message(name, rule, bad.tolist(), remedy))
        old = masks[i]
        # (H, W); a copy: what callers do to their array later does not change what was said
        new = new.copy() if old is None else np.where(new == MISSING, old, new)
        merged[i] = new.astype(np.int8 if new.max() <= 127 else np.int16)
    return merged
