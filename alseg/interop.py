"""The one module that knows modAL's shapes: strategy results, data containers, signatures."""

import functools
import importlib
import inspect
import json

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_consistent_length, check_X_y

from alseg.validation import as_labels, message

# -- what a strategy gives ----------------------------------------------------------------------


def as_query_idx(result):
    """The positions in what a query strategy returned, whichever modAL it was written for.

    modAL 0.4.1's strategies return the positions, others a tuple whose first element they are
    (`(query_idx, X_pool[query_idx])`, `(query_idx, metric)`). Two positions are not a tuple:
    `np.array([3, 7])` and `[3, 7]` are both asked for.

    Parameters
    ----------
    result : int, sequence or ndarray of shape (n_instances,), or tuple
        What the strategy returned. Of a tuple the first element counts.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Raises
    ------
    TypeError
        If there are no integer positions in it.

    Examples
    --------
    >>> as_query_idx(np.array([3, 7]))
    array([3, 7])
    >>> as_query_idx((np.array([3, 7]), np.array([0.9, 0.8])))
    array([3, 7])
    """
    first = result[0] if isinstance(result, tuple) and len(result) else result
    idx = np.atleast_1d(np.asarray(first))
    if idx.ndim != 1 or (idx.size and idx.dtype.kind not in "iu"):
        raise TypeError(
            message(
                "query_strategy's result",
                "a 1-D array of integer positions in the pool, or a tuple that starts with one",
                result,
            )
        )
    return idx.astype(np.intp)


def check_query_idx(result, n_pool, n_instances):
    """Like `as_query_idx`, and the positions are as many as asked, unique and in the pool.

    Raises
    ------
    ValueError
        If a position is outside the pool or given twice, or their number is not `n_instances`.
    """
    idx = as_query_idx(result)
    if len(idx) != n_instances:
        raise ValueError(
            message("query_strategy's result", f"{n_instances} positions, as asked", idx)
        )
    if ((idx < 0) | (idx >= n_pool)).any() or len(np.unique(idx)) != len(idx):
        raise ValueError(
            message("query_strategy's result", f"unique positions in [0, {n_pool - 1}]", idx)
        )
    return idx


# -- calling a strategy -------------------------------------------------------------------------


def _parameters(function):
    """Parameters that a caller may still give by name, or {} where there is no signature."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some builtins have none
        return {}
    # What a partial has bound is the user's decision, though its signature still shows it.
    bound = function.keywords if isinstance(function, functools.partial) else {}
    return {
        name: p
        for name, p in parameters.items()
        if name not in bound and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def accepts(function, name):
    """Whether `function` has a parameter of this name; `**kwargs` does not count.

    modAL's strategies hand their `**kwargs` on to `predict_proba`, which would fail on a keyword
    that it does not know.

    Examples
    --------
    >>> accepts(lambda learner, X_pool, random_state=None: 0, "random_state")
    True
    >>> accepts(lambda learner, X_pool, **predict_kwargs: 0, "random_state")
    False
    """
    return name in _parameters(function)


def unit_of(strategy, /, **given):
    """What a strategy asks about: its `unit`, given by the caller, bound, or its default.

    Returns
    -------
    str
        "image" where it has no such parameter.

    Examples
    --------
    >>> def parts(learner, X_pool, n_instances=1, unit="pixel"):
    ...     pass
    >>> unit_of(parts), unit_of(parts, unit="image"), unit_of(as_query_idx)
    ('pixel', 'image', 'image')
    """
    if "unit" in given:
        return given["unit"]
    try:
        parameter = inspect.signature(strategy).parameters.get("unit")
    except (TypeError, ValueError):
        return "image"
    if parameter is None or parameter.default is parameter.empty:
        return "image"
    return parameter.default


def accepts_any(function):
    """Whether `function` takes keywords that it does not name (`**kwargs`)."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.kind is p.VAR_KEYWORD for p in parameters)


def call_strategy(strategy, learner, X_pool, /, *args, extras=None, **kwargs):
    """Call a query strategy, with the extra keywords that its signature names.

    Parameters
    ----------
    strategy : callable
        `f(learner, X_pool, ...)`.
    learner : object
        What the strategy asks for predictions.
    X_pool : array, data frame, sparse matrix, list or lazy sequence of shape (n_pool, ...)
    *args, **kwargs
        The caller's own arguments, handed on as they are.
    extras : dict or None
        Keywords offered (`random_state`, `y_pool`): each is passed if the strategy has a
        parameter of that name and the caller has not given it.

    Returns
    -------
    object
        What the strategy returned, unchanged.

    Examples
    --------
    >>> def first(learner, X_pool, n_instances=1, y_pool=None):
    ...     return np.flatnonzero(y_pool == "b")[:n_instances]
    >>> call_strategy(first, None, np.zeros((3, 2)),
    ...               extras={"y_pool": np.array(["a", "b", "b"]), "random_state": 0})
    array([1])
    """
    named = {name: value for name, value in (extras or {}).items() if accepts(strategy, name)}
    if named:
        try:
            given = inspect.signature(strategy).bind_partial(learner, X_pool, *args, **kwargs)
        except TypeError:
            named = {}  # the call below says what is wrong, in Python's own words
        else:
            named = {k: v for k, v in named.items() if k not in given.arguments}
    return strategy(learner, X_pool, *args, **kwargs, **named)


# -- naming a strategy in a file ----------------------------------------------------------------


def function_name(function):
    """`package.module:name` of a function that can be imported again, or None.

    Examples
    --------
    >>> function_name(as_query_idx)
    'alseg.interop:as_query_idx'
    >>> function_name(lambda learner, X_pool: 0) is None
    True
    """
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not module or not name or not name.isidentifier() or module == "__main__":
        return None
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    return f"{module}:{name}" if found is function else None


def resolve_name(argument, name, package):
    """The object behind `package.module:name`, if it is defined inside `package`.

    A file must not decide what is run: names outside `package` are refused without an import,
    and so are names that a module inside has merely imported.

    Raises
    ------
    ValueError
        If the name is of another form, from elsewhere, or not there. `argument` is the argument
        by which the caller can give the object itself.
    """
    remedy = f"Pass {argument}= itself if you trust it."
    rule = f"the name of something defined in {package}, as {package}.module:name"
    module, _, attribute = str(name).partition(":")
    if not attribute.isidentifier() or not _is_inside(module, package):
        raise ValueError(message(argument, rule, name, remedy))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(message(argument, rule, name, remedy)) from error
    if not callable(found) or not _is_inside(getattr(found, "__module__", None), package):
        raise ValueError(message(argument, rule, name, remedy))
    return found


def _is_inside(module, package):
    parts = str(module).split(".")
    inside = parts[: package.count(".") + 1] == package.split(".")
    return inside and all(part.isidentifier() for part in parts)


def describe_callable(function):
    """A callable as JSON: its name, and the keywords of a `functools.partial`; None without name.

    A keyword may be a callable with a name itself, as in ``class_balanced(entropy_score)``.

    Examples
    --------
    >>> describe_callable(functools.partial(as_query_idx, result=[1]))
    {'name': 'alseg.interop:as_query_idx', 'keywords': {'result': {'value': [1]}}}
    """
    if not isinstance(function, functools.partial):
        name = function_name(function)
        return None if name is None else {"name": name}
    described = describe_callable(function.func)
    if described is None or "keywords" in described or function.args:
        return None
    packed = {}
    for name, value in function.keywords.items():
        inner = describe_callable(value) if callable(value) else None
        if inner is None and not is_json(value):
            return None
        packed[name] = {"value": value} if inner is None else {"callable": inner}
    described["keywords"] = packed
    if hasattr(function, "__name__"):
        described["shown"] = function.__name__
    return described


def resolve_callable(argument, described, package="alseg.strategies"):
    """The callable that `describe_callable` wrote down, if it is defined in `package`.

    Raises
    ------
    ValueError
        If it, or a callable among its keywords, is not.
    """
    function = resolve_name(argument, described["name"], package)
    if "keywords" not in described:
        return function
    keywords = {
        name: resolve_callable(argument, packed["callable"], package)
        if "callable" in packed
        else packed["value"]
        for name, packed in described["keywords"].items()
    }
    partial = functools.partial(function, **keywords)
    if "shown" in described:
        partial.__name__ = described["shown"]
    return partial


def describe_object(value):
    """An object with `get_params` as JSON: its class and the parameters off their defaults.

    Returns
    -------
    dict or None
        None if such a parameter is neither plain JSON nor a tuple of it.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> describe_object(GaussianNB(var_smoothing=0.1))
    {'class': 'sklearn.naive_bayes:GaussianNB', 'params': {'var_smoothing': 0.1}}
    """
    kind = type(value)
    if not hasattr(value, "get_params"):
        return None
    try:
        defaults = kind().get_params(deep=False)
    except TypeError:  # it has parameters without a default
        defaults = {}
    params = {}
    for name, param in value.get_params(deep=False).items():
        if name.startswith("_"):  # skorch's own book-keeping is no parameter
            continue
        if name in defaults and _is_same(param, defaults[name]):
            continue
        packed = {"tuple": list(param)} if isinstance(param, tuple) else param
        if not is_json(packed):
            return None
        params[name] = packed
    return {"class": f"{kind.__module__}:{kind.__qualname__}", "params": params}


def _is_same(a, b):
    return a is b or (type(a) is type(b) and is_json(a) and a == b)


def resolve_object(argument, described, needs, package="alseg"):
    """A new object of the class that `describe_object` wrote down, if `package` defines it.

    Raises
    ------
    ValueError
        If it does not, or the name is no class with the methods `needs`.
    """
    kind = resolve_class(argument, described["class"], needs, package)
    params = {
        name: tuple(param["tuple"]) if isinstance(param, dict) and "tuple" in param else param
        for name, param in described["params"].items()
    }
    return kind(**params)


def resolve_class(argument, name, needs, package="alseg"):
    """The class of this name in `package`, with the methods `needs`; a function is never called.

    Raises
    ------
    ValueError
        If there is none.
    """
    kind = resolve_name(argument, name, package)
    if not isinstance(kind, type) or not all(hasattr(kind, method) for method in needs):
        raise ValueError(message(argument, f"a class with {', '.join(needs)}", name))
    return kind


def is_json(value):
    """Whether a value survives a JSON file unchanged.

    Examples
    --------
    >>> is_json({"k": [1, None]}), is_json({"k": (1, 2)}), is_json(np.float64)
    (True, False, False)
    """
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False


# -- data containers ----------------------------------------------------------------------------


def _is_frame(X):
    return hasattr(X, "iloc")


def n_rows(X):
    """Number of samples of an array, sparse matrix, data frame, list or lazy sequence."""
    shape = getattr(X, "shape", None)
    return int(shape[0]) if shape is not None else len(X)


def retrieve_rows(X, idx):
    """Rows of any container: an array, sparse matrix, data frame, list or lazy sequence.

    Parameters
    ----------
    X : ndarray, sparse matrix, DataFrame, Series, list, tuple or lazy sequence
    idx : int, sequence of int or bool, slice, or ndarray
        Positions (also in a data frame), or a boolean mask.

    Returns
    -------
    rows : of the kind of `X`
        A single row for a single position, as `X[i]` (`X.iloc[i]` of a data frame) gives it.

    Examples
    --------
    >>> retrieve_rows(["a", "b", "c"], np.array([2, 0]))
    ['c', 'a']
    """
    if sp.issparse(X):
        indexable = X if X.format in ("csr", "csc", "lil", "dok") else X.tocsr()
        return indexable[idx].asformat(X.format)
    if _is_frame(X):
        return X.iloc[idx]
    if isinstance(X, (list, tuple)):
        positions = np.arange(len(X))[idx]
        return X[positions] if np.ndim(positions) == 0 else [X[i] for i in positions]
    return X[idx]


def data_vstack(blocks):
    """One container below the other, of the kind of the first (sparse if any of them is).

    Raises
    ------
    ValueError
        If the rows do not agree in shape.
    TypeError
        If the kind of the first is not supported.

    Examples
    --------
    >>> data_vstack(([[1, 2]], [[3, 4]]))
    [[1, 2], [3, 4]]
    """
    blocks = list(blocks)
    first = blocks[0]
    if any(sp.issparse(block) for block in blocks):
        # The first sparse block's format: "coo", scipy's own choice, cannot be indexed.
        return sp.vstack(blocks, format=next(b.format for b in blocks if sp.issparse(b)))
    if _is_frame(first):
        return _frame_vstack(blocks)
    if hasattr(first, "paths"):  # a lazy sequence of files stays one
        return first.joined(blocks[1:])
    if isinstance(first, np.ndarray):
        return np.concatenate(blocks)
    if isinstance(first, (list, tuple)):
        rows = [row for block in blocks for row in block]
        # Images may differ in size, and of a missing label among strings numpy makes a string.
        if any(isinstance(row, str) or (isinstance(row, np.ndarray) and row.ndim > 1) for row in rows):
            return rows
        return np.concatenate(blocks).tolist()
    raise TypeError(
        message("blocks", "arrays, data frames, sparse matrices or lists", type(first).__name__)
    )


def _frame_vstack(blocks):
    import pandas as pd

    first = blocks[0]
    frames = [first]
    for block in blocks[1:]:
        if not _is_frame(block):  # bare rows: they are meant in the order of the columns
            bare = np.asarray(block)
            like = {"columns": first.columns} if first.ndim == 2 else {"name": first.name}
            block = (pd.DataFrame if first.ndim == 2 else pd.Series)(bare, **like)
        if first.ndim == 2 and set(block.columns) != set(first.columns):
            raise ValueError(message("columns", f"{list(first.columns)}", list(block.columns)))
        frames.append(block)
    return pd.concat(frames)


def data_hstack(blocks):
    """One container beside the other, of the kind of the first (sparse if any of them is).

    Examples
    --------
    >>> data_hstack((np.zeros((2, 1)), np.ones((2, 2))))
    array([[0., 1., 1.],
           [0., 1., 1.]])
    """
    blocks = list(blocks)
    if len(blocks) == 1:
        return blocks[0]
    if any(sp.issparse(block) for block in blocks):
        return sp.hstack(blocks, format=next(b.format for b in blocks if sp.issparse(b)))
    if all(_is_frame(block) for block in blocks):
        import pandas as pd

        return pd.concat(blocks, axis=1)
    if isinstance(blocks[0], (list, tuple)):
        return np.hstack(blocks).tolist()
    return np.hstack(blocks)


def check_training_data(X, y, force_all_finite=True):
    """Raise unless `X` and `y` are as many, and finite where that can be said.

    Numeric containers go through scikit-learn's `check_X_y` as modAL sends them there (any number
    of dimensions, sparse, several outputs), under the argument's present name: `force_all_finite`
    became `ensure_all_finite`, and modAL's own learner fails on it [1]_. Of images of differing
    sizes and of lazy sequences only the length is checked.

    Raises
    ------
    ValueError
        If the lengths differ, or a value is not finite, or a label missing, with `force_all_finite`.

    References
    ----------
    .. [1] https://github.com/modAL-python/modAL/issues/196
    """
    if force_all_finite and isinstance(y, (list, tuple)) and any(isinstance(v, str) for v in y):
        as_labels("y", y)  # an array of them has the class "nan"
    if _is_lazy_or_ragged(X):
        check_consistent_length(X, y)
        return
    check_X_y(
        X,
        y,
        accept_sparse=True,
        ensure_2d=False,
        allow_nd=True,
        multi_output=True,
        dtype=None,
        ensure_all_finite=force_all_finite,
    )


def _is_lazy_or_ragged(X):
    if sp.issparse(X) or _is_frame(X):
        return False
    if isinstance(X, np.ndarray):
        return X.dtype == object and any(isinstance(row, np.ndarray) for row in X.flat)
    if isinstance(X, (list, tuple)):
        shapes = {row.shape for row in X if isinstance(row, np.ndarray)}
        return len(shapes) > 1
    return not hasattr(X, "dtype")  # lazy: an array of it would read every file


def transform_without_estimating(estimator, X):
    """`X` as the last step of an estimator's pipeline(s) sees it.

    Parameters
    ----------
    estimator : estimator
        A pipeline: all its steps but the last are applied. A voting or stacking ensemble: the
        transformations of its pipelines side by side. Any other: `X` comes back.
    X : array, data frame, sparse matrix or list of shape (n_samples, ...)

    Returns
    -------
    Xt : array, data frame, sparse matrix or list of shape (n_samples, ...)
    """
    from sklearn.pipeline import Pipeline

    # Only the heterogeneous ensembles (voting, stacking) have both.
    is_ensemble = hasattr(estimator, "named_estimators") and hasattr(estimator, "estimators_")
    parts = []
    for member in estimator.estimators_ if is_ensemble else [estimator]:
        if isinstance(member, Pipeline):
            # A new pipeline of the same class (imbalanced-learn has its own), whose last step does
            # nothing: the class may treat its last step in a special way.
            steps = [*member.steps[:-1], ("passthrough", "passthrough")]
            parts.append(type(member)(steps=steps).transform(X))
    return data_hstack(parts) if parts else X
