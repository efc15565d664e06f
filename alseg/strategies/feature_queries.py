"""Query strategies on feature vectors, as scikit-activeml has them, asked about images."""

import functools

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from alseg.calling import accepts, check_query_idx
from alseg.images import as_images
from alseg.interfaces import Embeddings, PoolQuery, meets
from alseg.labels import MISSING, codes_among, label_strata, missing_labels
from alseg.rows import n_rows
from alseg.strategies._shared import check_one_class, check_pool, estimator_of
from alseg.strategies.around_others import named
from alseg.strategies.disagreement import members_of
from alseg.strategies.embedding import embeddings_of
from alseg.validation import check_rng, message


def from_skactiveml(strategy, *, embedding=None, **options):
    """A strategy of scikit-activeml [1]_ as one of alseg's.

    `ActiveLearner` and `compare_strategies` take it as it is and do this by themselves; the
    function is for options, and for wrappers: ``class_balanced(from_skactiveml(CoreSet()))``.

    It sees a row of features for each image, of the pool first, then of what is labelled; the class
    labels as numbers, NaN for the pool. What its ``query`` names besides is given where it is
    known: as `clf` or `estimator` the learner's own fitted model (with ``fit_clf=False``), which
    predicts for the images that the rows belong to; as `ensemble` the members of a committee or of
    a `DeepEnsemble`; as `discriminator` a logistic regression; as `reg` a clone of the learner's
    regressor, to be fitted.

    Parameters
    ----------
    strategy : alseg.interfaces.PoolQuery
        A pool-based strategy for one annotator. It is cloned for each question, with the seed of
        the question for each `random_state` that is None.
    embedding : None, str, callable, array or pair of arrays, default=None
        What the features are, see `alseg.strategies.embedding.embeddings_of`. None is the
        estimator's `transform`; without one the pool's own rows, or its images' pixels (of one
        size).
    **options
        For ``strategy.query``, instead of what is given by itself.

    Returns
    -------
    strategy : functools.partial
        ``f(learner, X_pool, n_instances=1, random_state=None) -> query_idx``, with a `__name__` to
        show.

    Raises
    ------
    TypeError
        If `strategy` has no such ``query``.

    Notes
    -----
    A strategy that refits the classifier for each candidate (``MonteCarloEER``) can do so where the
    features are what the learner is fitted to; a model of images is not refitted.

    References
    ----------
    .. [1] Kottke et al. 2021, doi:10.20944/preprints202103.0194.v1.

    Examples
    --------
    >>> from skactiveml.pool import CoreSet
    >>> strategy = from_skactiveml(CoreSet(), embedding="input")
    >>> X_pool = np.array([[0.0], [1.0], [5.0], [9.0]])
    >>> strategy.__name__, len(strategy(None, X_pool, 2, random_state=0))
    ('CoreSet', 2)
    """
    if not meets(strategy, PoolQuery) or isinstance(strategy, type):
        rule = "an object with query(X, y, ...), missing_label and parameters"
        remedy = "Write CoreSet(), not CoreSet." if isinstance(strategy, type) else ""
        raise TypeError(message("strategy", rule, strategy, remedy))
    given = {"strategy": strategy, "embedding": embedding}
    given |= {"options": options} if options else {}
    found = named(type(strategy).__name__, query_features, **given)
    # Of an estimator; without embeddings it is pixels.
    asked = {name: part for name, part in _PARTS.items() if name not in options}
    found.needs = sorted({part for name, part in asked.items() if _names(strategy, name)})
    found.one_class = bool(found.needs)  # its classifiers know no images of several, see `_known`
    return found


_PARTS = {"clf": "labels", "estimator": "labels", "ensemble": "members"}


def as_function(strategy):
    """A strategy that can be called: itself, or that of a `PoolQuery`.

    Examples
    --------
    >>> from skactiveml.pool import CoreSet
    >>> as_function(as_function) is as_function, as_function(CoreSet()).__name__
    (True, 'CoreSet')
    """
    known = callable(strategy) or not meets(strategy, PoolQuery)
    return strategy if known else from_skactiveml(strategy)


def query_features(
    learner, X_pool, n_instances=1, random_state=None, *, strategy, embedding=None, options=None
):
    """What `from_skactiveml` binds its arguments to.

    Parameters
    ----------
    learner, X_pool, n_instances, random_state
        As of every strategy.
    strategy, embedding : see `from_skactiveml`
    options : dict or None, default=None

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Examples
    --------
    >>> from skactiveml.pool import RandomSampling
    >>> len(query_features(None, np.eye(3), 2, 0, strategy=RandomSampling(), embedding="input"))
    2
    """
    n_instances, n_pool = check_pool(X_pool, n_instances), n_rows(X_pool)
    rng = check_rng(random_state)
    pool, labelled = embeddings_of(learner, X_pool, _embedding(learner, X_pool, embedding))
    X = np.ascontiguousarray(pool if labelled is None else np.concatenate([pool, labelled]))
    X = X.astype(np.result_type(np.float32, X.dtype), copy=False)
    if not np.isfinite(X).all():
        raise ValueError(message("the features of X_pool", "finite", "NaN or infinity"))
    asked = _prepared(strategy, int(rng.integers(2**31 - 1)))
    plain, classes = pool is X_pool, _classes(learner)
    y = np.full(len(X), np.nan)
    y[n_pool:] = _codes(learner, classes, len(X) - n_pool)
    given = dict(options or {})
    for name in ("clf", "estimator", "ensemble", "discriminator", "reg"):
        if name not in given and _names(asked, name):
            given |= _models(name, learner, X_pool, X, y, classes, plain)
    if _names(asked, "ignore_partial_fit"):  # it refits for each candidate, and starts with a fit
        given["fit_clf"] = (options or {}).get("fit_clf", True)
    result = asked.query(X=X, y=y, batch_size=n_instances, **given)
    return check_query_idx(result, n_pool, n_instances, f"the result of {type(strategy).__name__}")


def _embedding(learner, X_pool, embedding):
    """None is `transform`; of an estimator without one, and of images, their pixels."""
    last = estimator_of(learner)
    last = last[-1] if isinstance(last, Pipeline) else last
    has_rows = getattr(X_pool, "ndim", None) == 2 or hasattr(X_pool, "iloc")
    has_rows = has_rows or (isinstance(X_pool, list) and np.ndim(X_pool[0]) == 1)
    return (
        _pixels if embedding is None and not has_rows and not meets(last, Embeddings) else embedding
    )


def _pixels(X):
    images = as_images(X)
    rows = [np.ravel(images[i]) for i in range(len(images))]
    if len({len(row) for row in rows}) > 1:
        remedy = "Give embedding= to from_skactiveml, such as alseg.pseudo.colour_histograms."
        raise ValueError(message("images", "of one size to be features", "several sizes", remedy))
    return np.array(rows)


def _prepared(strategy, seed):
    """A clone with seeds of this question; labels are numbers, and NaN where there is none."""
    asked = clone(strategy)
    params = asked.get_params(deep=True)
    seeds = {
        name: seed
        for name, value in params.items()
        if value is None and name.rpartition("__")[2] == "random_state"
    }
    missing = {n: np.nan for n in params if n.rpartition("__")[2] == "missing_label"}
    if accepts(params.get("cluster_algo"), "random_state"):  # unseeded, it moves numpy's own state
        clustering = {"random_state": seed, **(params["cluster_algo_dict"] or {})}
        missing["cluster_algo_dict"] = clustering
    return asked.set_params(**seeds, **missing)


def _names(strategy, name):
    """Whether ``query`` names an argument, of the strategy or of one that it wraps."""
    inner = strategy.get_params(deep=False).values()
    return accepts(strategy.query, name) or any(
        _names(one, name) for one in inner if meets(one, PoolQuery)
    )


# -- labels --


def _model(learner):
    """What predicts: the learner's own methods where it has them, as a search or a committee."""
    return learner if hasattr(learner, "predict_proba") else estimator_of(learner)


def _classes(learner):
    """Classes of the labels; None of a regressor, and where nothing says them."""
    for one in (estimator_of(learner), learner):
        classes = getattr(one, "classes_", None)
        if classes is not None:
            return np.asarray(classes)
    y = getattr(learner, "y_training", None)
    if y is None or np.asarray(y).dtype.kind == "f":
        return None
    return np.unique(y)


def _codes(learner, classes, n):
    """Labels of the labelled as numbers: positions in `classes`, or the values of a regression."""
    if n == 0:
        return np.empty(0)
    y = getattr(learner, "y_training", None)
    if y is None or len(y) != n:
        got = None if y is None else len(y)
        raise ValueError(message("y_training", f"{n} labels, as there are labelled rows", got))
    if classes is None:
        return np.asarray(y, dtype=float)
    if missing_labels(y).any():
        rule = "known for all annotated images, for a strategy that learns from labels"
        raise ValueError(message("y_training", rule, y))
    if np.ndim(y) == 2:  # no classifier learns from them, see `_known`: they are known
        return label_strata(y)
    codes = codes_among(y, classes)
    if (codes == MISSING).any():
        raise ValueError(message("y_training", f"of the classes {classes.tolist()}", y))
    return codes


# -- models --


def _models(name, learner, X_pool, X, y, classes, plain):
    """The keywords that give ``query`` a model under the name that it has for it."""
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.regressor import SklearnRegressor
    from sklearn.linear_model import LogisticRegression

    if name == "discriminator":
        return {name: SklearnClassifier(LogisticRegression(max_iter=1000))}
    if name == "reg":
        return {name: SklearnRegressor(clone(estimator_of(learner)))}
    images = (X_pool, getattr(learner, "X_training", None))
    known = functools.partial(_known, images=None if plain else images, X=X, y=y, classes=classes)
    if name == "ensemble":
        members = [known(one) for one in members_of(learner)]
        return {name: members, "fit_ensemble": False}
    return {name: known(_model(learner)), f"fit_{name}": False}


def _known(model, images, X, y, classes):
    """A fitted model as a classifier of scikit-activeml's, of the rows of features."""
    remedy = "Take a strategy that asks no classifier, such as CoreSet, or give clf=."
    if not hasattr(model, "predict_proba") or classes is None:
        raise TypeError(message("learner", "with `predict_proba` and classes", model, remedy))
    check_one_class(model, remedy)
    shown = None if images is None else _Shown(model, X, images)
    known = _classifier()(model, shown, labels=classes, classes=list(range(len(classes))))
    return known._remember(X, y)


class _Shown:
    """What a model predicts for the images that rows of features belong to."""

    def __init__(self, model, X, images):
        self.model, self.images, self.n_pool = model, images, n_rows(images[0])
        self.found = {}
        self.position = {row.tobytes(): i for i, row in reversed(list(enumerate(X)))}

    def predict_proba(self, X):
        """Class probabilities of rows, which are of the pool or of what is labelled."""
        try:
            positions = [self.position[row.tobytes()] for row in np.ascontiguousarray(X)]
        except KeyError:
            rule = "one that asks the model about the images that there are alone"
            raise TypeError(message("strategy", rule, "rows of features of no image")) from None
        parts = (np.array(positions) >= self.n_pool).astype(int)
        return np.array([self._of(p)[i - p * self.n_pool] for i, p in zip(positions, parts)])

    def _of(self, part):
        """Of the pool (0) or of the labelled (1), predicted when it is first asked for."""
        if part not in self.found:
            self.found[part] = np.asarray(self.model.predict_proba(self.images[part]), dtype=float)
        return self.found[part]


@functools.cache
def _classifier():
    from skactiveml.base import SkactivemlClassifier

    class KnownClassifier(SkactivemlClassifier):
        """The learner's model: asked through `shown`, or with the rows themselves."""

        def __init__(
            self,
            model=None,
            shown=None,
            labels=None,
            classes=None,
            missing_label=np.nan,
            cost_matrix=None,
            random_state=None,
        ):
            super().__init__(classes, missing_label, cost_matrix, random_state)
            self.model, self.shown, self.labels = model, shown, labels

        def _remember(self, X, y):
            self._validate_data(X, y)
            self.model_ = self.model
            return self

        def fit(self, X, y, sample_weight=None):
            if self.shown is not None:
                remedy = "Give clf= to from_skactiveml: a classifier of features."
                rule = "one that does not refit the model: it is of images, not of features"
                raise TypeError(message("strategy", rule, "one that does", remedy))
            X, y, _ = self._validate_data(X, y)  # y: -1 where there is none
            known = y >= 0
            self.model_ = clone(self.model).fit(X[known], np.asarray(self.labels)[y[known]])
            return self

        def predict_proba(self, X):
            proba = np.asarray((self.shown or self.model_).predict_proba(X), dtype=float)
            own = getattr(self.model_, "classes_", self.labels)
            full = np.zeros((len(proba), len(self.labels)))
            full[:, np.searchsorted(self.labels, own)] = proba
            return full

    return KnownClassifier
