"""How other people's functions are called: signatures, and what strategies return."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np

from alseg._types import Function, Images
from alseg.validation import message

# -- what a strategy gives ----------------------------------------------------------------------


def as_query_idx(result: Any, name: str = "query_strategy's result") -> np.ndarray:
    """The positions in what a query strategy returned, whichever modAL it was written for.

    modAL 0.4.1's strategies return the positions, others a tuple whose first element they are
    (`(query_idx, X_pool[query_idx])`, `(query_idx, metric)`). Two positions are not a tuple:
    `np.array([3, 7])` and `[3, 7]` are both asked for.

    Parameters
    ----------
    result : int, sequence or ndarray of shape (n_instances,), or tuple
        What the strategy returned. Of a tuple the first element counts.
    name : str, default="query_strategy's result"
        What an error calls it.

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
                name,
                "a 1-D array of integer positions in the pool, or a tuple that starts with one",
                result,
            )
        )
    return idx.astype(np.intp)


def check_query_idx(
    result: Any, n_pool: int, n_instances: int, name: str = "query_strategy's result"
) -> np.ndarray:
    """Like `as_query_idx`, and the positions are as many as asked, unique and in the pool.

    Parameters
    ----------
    result, name
        As in `as_query_idx`.
    n_pool, n_instances : int
        Rows of the pool, and how many were asked for.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Raises
    ------
    ValueError
        If a position is outside the pool or given twice, or their number is not `n_instances`.
    """
    idx = as_query_idx(result, name)
    if len(idx) != n_instances:
        raise ValueError(message(name, f"{n_instances} positions, as asked", idx))
    if ((idx < 0) | (idx >= n_pool)).any() or len(np.unique(idx)) != len(idx):
        raise ValueError(message(name, f"unique positions in [0, {n_pool - 1}]", idx))
    return idx


# -- calling a strategy -------------------------------------------------------------------------


def _parameters(function: Function) -> dict[str, inspect.Parameter]:
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


def accepts(function: Function, name: str) -> bool:
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


def argument_names(function: Function) -> list[str]:
    """Names of the arguments that `function` can be given by name.

    Examples
    --------
    >>> argument_names(lambda X, y, *, masks=None, **others: 0)
    ['X', 'y', 'masks']
    """
    return list(_parameters(function))


def unit_of(strategy: Function, /, **given: Any) -> str:
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


def accepts_any(function: Function) -> bool:
    """Whether `function` takes keywords that it does not name (`**kwargs`)."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.kind is p.VAR_KEYWORD for p in parameters)


def call_strategy(
    strategy: Function,
    learner: Any,
    X_pool: Images,
    /,
    *args: Any,
    extras: Any = None,
    **kwargs: Any,
) -> Any:
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


def call(function: Function, learner: Any, X_pool: Images, **offered: Any) -> Any:
    """Call a score or a strategy with those of the offered keywords that it names."""
    bound = function.keywords if isinstance(function, functools.partial) else {}
    named = {k: v for k, v in offered.items() if accepts(function, k) and k not in bound}
    return function(learner, X_pool, **named)


def name_of(function: Function) -> str:
    """A name to show, also of a `functools.partial`.

    Examples
    --------
    >>> name_of(functools.partial(check_query_idx))
    'check_query_idx'
    """
    while isinstance(function, functools.partial) and not hasattr(function, "__name__"):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)
