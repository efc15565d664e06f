"""The active-learning loop: `ActiveLearner`, modAL's surface and a mask mode."""

import copy
import functools
import inspect
import numbers
import time
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, clone

from alseg.calling import accepts
from alseg.learner.annotating import POOL_EXTRAS, Annotating
from alseg.learner.base import Predicting, Querying, Seeded, check_fit_kwargs
from alseg.learner.on_disk import read_learner
from alseg.learner.teaching import Teaching
from alseg.strategies import check_needs
from alseg.validation import check_number, message


class ActiveLearner(Querying, Predicting, Seeded, BaseEstimator):
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
    query_strategy : callable, alseg.interfaces.PoolQuery or None, default=None
        ``f(learner, X_pool, n_instances=1, ...) -> query_idx``, alseg's or modAL's; or a strategy
        of scikit-activeml, see `alseg.strategies.from_skactiveml`. None is modAL's uncertainty
        sampling, in mask mode `alseg.strategies.entropy_sampling`.
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
    labels : array-like of shape (n,), str or int, or (n, K), or None, default=None
        Their class labels, for mask mode. Missing are None and NaN, and -1 among numbers; None is
        all missing. Of several classes an image a matrix of 0 and 1, -1 where it is not known.
    masks : array of shape (n, H, W), list or MaskFiles, or None, default=None
        Masks known at the start: class of each pixel, `MISSING` (-1) where not annotated, None
        for an image without. Copied. Without `images` it is an argument of the estimator's `fit`
        like any other in `fit_kwargs`.
    groups : array-like of shape (n,) or None, default=None
        Mask mode: what images belong to (patients, slides, videos). Strategies that name
        `groups_pool`, such as `alseg.strategies.spread_over_groups`, are given those of the pool.
    augmenter : object or None, default=None
        ``fit(X, y, masks, *, estimator)`` and ``transform(X) -> (masks, mask_weight)``, such as
        `PseudoLabelAugmenter`. Each refit is then two fits [2]_: to the annotated masks alone, and,
        after the augmenter has used that model, to its masks. An augmenter with a method
        ``fits_of_round(warm_start)`` says otherwise (`alseg.pseudo.fits_of_round`), as
        `PseudoLabelAugmenter` does by its ``refit``.
    source : Dataset, (images, labels, masks) or None, default=None
        Mask mode: annotated images of another domain. Every fit is to them too, and nobody is
        asked about them. Strategies that name `source`, such as `aada_sampling`, are given it. It
        is not saved.
    source_weight : float, default=1.0
        What the masks of the source count in the loss; its class labels count as the others'.
        `JointCAMSegmenter` draws what weighs less than 1 in its `weak_batch_size` alone.
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
        an entry a sample a bootstrap draws the same rows. What that ``fit`` has no argument for is
        a TypeError, and so is what is spelt nearly as an argument of the learner.

    Attributes
    ----------
    estimator : estimator
    X_training, y_training : None or of the kind that was given
    images, labels, masks
        Mask mode: `masks` is an object array of shape (n,) of integer arrays (H, W) and None (and
        float arrays (C, H, W) of soft masks, see `JointCAMSegmenter.fit`). Set
        as a whole they replace all that was known, and the next fit uses them.
    annotated_ids, pool_ids : ndarray of int
        Mask mode: images with any annotated pixel, and images not fully annotated.
    looked_at : (int, int) or None
        Of the last `query` with `max_seconds`: images looked at, and images of the pool.
    source_set : object or None
        Mask mode: the `images`, `labels` and `masks` of the source.
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
    source_set = None
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
        groups=None,
        augmenter=None,
        source=None,
        source_weight=1.0,
        warm_start=False,
        random_state=None,
        **fit_kwargs,
    ):
        if not isinstance(force_all_finite, (bool, np.bool_)):
            raise TypeError(message("force_all_finite", "a bool", force_all_finite))
        check_fit_kwargs(self, estimator, fit_kwargs, _OWN_ARGUMENTS)
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
        if query_strategy is not None:
            check_needs(query_strategy, estimator, images=images is not None, labels=labels)
        self._mode.start(X_training, y_training, labels, masks)
        self.groups = groups
        self.source_weight = check_number("source_weight", source_weight, 0)
        self.source = source

    @property
    def _mode(self):
        return (Teaching if self.__dict__.get("images") is None else Annotating)(self)

    def _default_strategy(self):
        return self._mode.default_strategy()

    # -- state ----------------------------------------------------------------------------------

    @property
    def estimator(self):
        """The model; one that was never fitted is fitted when a strategy asks for it."""
        return self._model() if self._asking else self._estimator

    @estimator.setter
    def estimator(self, estimator):
        self._estimator = estimator

    @property
    def X_training(self):
        """What is labelled: the training data, or in mask mode the annotated images."""
        return self._mode.training("X_training")

    @X_training.setter
    def X_training(self, X):
        self._mode.set_training("X_training", X)

    @property
    def y_training(self):
        """Labels of `X_training`; in mask mode the class labels of the annotated images."""
        return self._mode.training("y_training")

    @y_training.setter
    def y_training(self, y):
        self._mode.set_training("y_training", y)

    @property
    def masks(self):
        """What is known of each image's mask; None without images."""
        return self.__dict__.get("masks")

    @masks.setter
    def masks(self, masks):
        self._mode.set_masks(masks)

    @property
    def groups(self):
        """What each image belongs to, as it was given; None where that is not known."""
        return self.__dict__.get("groups")

    @groups.setter
    def groups(self, groups):
        found = None if groups is None else self._mode.checked_groups(groups)
        self.__dict__["groups"] = found

    @property
    def source(self):
        """Annotated images of another domain, as they were given."""
        return self.__dict__.get("source")

    @source.setter
    def source(self, source):
        found = None if source is None else self._mode.source_set(source)
        self.__dict__.update(source=source, source_set=found)

    def _source_extra(self):
        return {} if self.source is None else {"source": self.source_set}

    @property
    def annotated_ids(self):
        """Ids of the images with at least one annotated pixel, ascending."""
        return self._mode.annotated_ids

    @property
    def pool_ids(self):
        """Ids of the images not fully annotated, ascending: what `query` asks about."""
        return self._mode.pool_ids

    def __sklearn_clone__(self):
        names = set(self.get_params(deep=False)) - self._mode.left_out_of_clone
        params = {name: clone(getattr(self, name), safe=False) for name in names}
        return type(self)(**params, **copy.deepcopy(self.fit_kwargs))

    def __repr__(self, N_CHAR_MAX=700):
        strategy = getattr(self.query_strategy, "__name__", repr(self.query_strategy))
        name, size = type(self).__name__, self._mode.size()
        return f"{name}(estimator={self._estimator!r}, query_strategy={strategy}, {size})"

    def _model(self):
        return self._mode.model()

    # -- fitting --------------------------------------------------------------------------------

    def _add_training_data(self, X, y):
        """Append to the training data without a fit."""
        self._mode.add_training_data(X, y)

    def _fit_to_known(self, bootstrap=False, **fit_kwargs):
        """Fit the estimator to the training data so far, or to a bootstrap sample of them."""
        return self._mode.fit_in_place(self.X_training, self.y_training, bootstrap, fit_kwargs)

    def _fit_on_new(self, X, y, bootstrap=False, **fit_kwargs):
        """Fit the estimator to these data alone, or to a bootstrap sample of them."""
        return self._mode.fit_on_new(X, y, bootstrap, fit_kwargs)

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
        return self._mode.fit(X, y, bootstrap, fit_kwargs)

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
        self._mode.teach(X, y, bootstrap, only_new, fit_kwargs)

    def annotate(self, sample_ids, masks, fit=True):
        """Add masks and refit. Either all of it happens or nothing.

        Parameters
        ----------
        sample_ids : sequence of shape (n,), int, or Regions
            Positions in `images`, each once. `Regions` stand for their `sample_ids`.
        masks : array of shape (n, H, W), list of arrays of shape (H, W), paths or MaskFiles
            One for each id: class of each pixel, `MISSING` (-1) where not annotated. Pixels given
            overwrite what was known; `MISSING` ones leave it. Or soft masks (C, H, W), float.
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
        return self._mode.annotate(sample_ids, masks, fit)

    def extend(self, images, labels=None, masks=None, groups=None, fit=False):
        """Mask mode: add images. What is known, and the ids of the others, stay as they are.

        Parameters
        ----------
        images : of the kind of the learner's images
            Paths where those are paths, else arrays (of any sizes) or a lazy sequence.
            Lists, paths and lazy sequences are put together without a copy of any image.
        labels : array-like of shape (n_new,), or (n_new, K)
            Class labels of the new images, of the kind of the others.
        masks : array of shape (n_new, H, W), list or MaskFiles, or None, default=None
            What is known of their masks, as at construction.
        groups : array-like of shape (n_new,), or None
            What they belong to, where the learner has `groups`.
        fit : bool, default=False
            Whether to refit at once. Without, the next `annotate` or `fit` does it, and until then
            the present model is asked about the new images too.

        Returns
        -------
        sample_ids : ndarray of shape (n_new,), int
            Ids of the new images: they follow those that there are.

        Raises
        ------
        TypeError
            If the learner has no images (use `teach`), or paths and arrays are mixed.
        ValueError
            If something is not as many as the images, a mask does not fit its image, the images
            have other channels, `groups` are given or missing where the learner has none or some,
            or an argument of ``fit`` has an entry for each image. The learner is as before then,
            and also if the fit fails or is interrupted.

        Examples
        --------
        >>> from alseg import JointCAMSegmenter
        >>> from alseg.datasets import make_glands
        >>> first, more = (make_glands(4, (32, 48), random_state=seed) for seed in (0, 1))
        >>> learner = ActiveLearner(JointCAMSegmenter(), images=first.images, labels=first.labels)
        >>> learner.extend(more.images, more.labels), len(learner.pool_ids)
        (array([4, 5, 6, 7]), 8)
        """
        changes = self._mode.extended(images, labels, masks, groups)
        before, n_before = dict(self.__dict__), len(self.labels)
        self.__dict__.update(changes)
        if fit:
            try:
                self._mode.fit(None, None, False, {})
            except BaseException:
                self.__dict__.update(before)
                raise
        return np.arange(n_before, len(self.labels))

    # -- asking ---------------------------------------------------------------------------------

    def query(self, X_pool=None, *args, max_seconds=None, among=None, **kwargs):
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
        among : sequence of int or None, default=None
            In mask mode without a pool: sample ids that alone may be asked about, such as those
            that nobody is annotating right now.

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
            If every image, or every one of `among`, is fully annotated.
        ValueError
            If more is asked for than there is, or an id is unknown.
        """
        if isinstance(X_pool, numbers.Number):
            raise TypeError(message("X_pool", "a pool", X_pool, "Write query(n_instances=...)."))
        strategy = self._strategy()
        if max_seconds is not None:
            strategy, args, kwargs = self._within(max_seconds, X_pool, args, kwargs)
        return self._mode.query(strategy, X_pool, among, args, kwargs)

    def _seeds_queries(self):
        return self._mode.always_seeds or super()._seeds_queries()

    def _query_seed(self):
        return self._mode.query_seed()

    def _within(self, max_seconds, X_pool, args, kwargs):
        """The strategy in bounded time, and the arguments that are left to give."""
        from alseg.strategies import as_strategy, within_seconds

        strategy = self._strategy()
        if args and X_pool is not None:  # after the learner and the pool
            names = list(inspect.signature(strategy).parameters)[2 : 2 + len(args)]
            args, kwargs = args[len(names) :], {**dict(zip(names, args)), **kwargs}
        kept = {"n_instances"}
        kept |= {n for n in (*POOL_EXTRAS, "random_state") if accepts(strategy, n)}
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
        return self._mode.write(path, include_images)

    @classmethod
    def load(
        cls, path, *, estimator=None, query_strategy=None, augmenter=None, images=None, source=None
    ):
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
            ``load``; a callable ``f(folder) -> estimator`` reads it in its own way, and gives it
            what is not written: ``functools.partial(JointCAMSegmenter.load, validation=part)``.
        query_strategy : callable or None, default=None
            Needed if it is not one of alseg's functions (or a `functools.partial` of one).
        augmenter : object or None, default=None
            Needed if it is not one of alseg's with parameters in plain JSON.
        images : as for `ActiveLearner`, or None, default=None
            Needed if they were not written. Otherwise they replace what the folder names.
        source : as for `ActiveLearner`, or None, default=None
            Needed if there was one.

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
        arguments, state = read_learner(
            Path(path), estimator, query_strategy, augmenter, images, source
        )
        learner = cls(**arguments)
        learner.__dict__.update(state)
        return learner


# What `fit_kwargs` are not.
_OWN_ARGUMENTS = [
    name
    for name, parameter in inspect.signature(ActiveLearner).parameters.items()
    if parameter.kind is not parameter.VAR_KEYWORD
]
