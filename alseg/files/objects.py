"""Classes and functions by name, objects as JSON: what a file may say of code and never runs.

Three things are written as JSON, and each has its own form because it is read for another end:

- values, by `alseg.files.jsonable`: to be read by people and other programs. A tuple becomes a
  list, NaN becomes null; what is neither number, text, list nor dict is refused.
- objects that are made again, by `describe_object` and `describe_callable`: a class or function by
  its name, and what is off its defaults; None where the object could not be made again. A saved
  model writes its own parameters so too, with each list and tuple told apart (`segmenter.saving`).
- settings that are compared, by `alseg.experiment.described`: whether a run may go on. Nothing is
  made of them again, so that they may say of a file its content and of code its name alone.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import re
from typing import Any

from alseg._types import Function
from alseg.files.flat_arguments import FIELDS, nested_names
from alseg.validation import message

# Modules whose names another package offers now: records and saved models of before say the old
# one.
MOVED = {
    "aggregate": "query",
    "agreement": "pseudo",
    "answers": "project",
    "arguments": "segmenter",
    "augment": "training",
    "batches": "training",
    "ceal": "query",
    "committee": "learner",
    "compare": "comparison",
    "costs": "query",
    "crops": "training",
    "decoded": "training",
    "device": "training",
    "diversity": "query.diversity",
    "ensemble": "learner",
    "experiment.chains": "comparison",
    "experiment.estimate": "comparison",
    "gradients": "query",
    "held_out": "training",
    "inference": "segmenter",
    "interop": "calling",
    "learner_files": "learner",
    "learning_loss": "query",
    "losses": "training",
    "memory": "training",
    "neighbours": "pseudo",
    "presets": "segmenter",
    "pretrain": "segmenter",
    "regions": "query",
    "saving": "segmenter",
    "schedules": "training",
    "selection": "query",
    "semi": "training",
    "stain": "segmenter",
    "threshold": "metrics",
    "uncertainty": "query",
}
# Names that are others now, after the move of their modules.
RENAMED = {"alseg.query.Schedule": "alseg.query.CEALSchedule"}
_INNER = ("experiment.statistics", "query.diversity")  # packages inside packages
_OURS = re.compile(r"alseg\.(\w+(?:\.\w+)*)([.:])([A-Za-z_]\w*)")


# -- names ----------------------------------------------------------------------------------------


def current_name(name: str) -> Any:
    """The public name of something of ours: its package and itself, whichever module held it.

    Parameters
    ----------
    name : object
        Of text such as ``"alseg.losses.JointLoss"`` or
        ``"alseg.strategies.balance:class_balanced"`` it is made; anything else comes back as it is.

    Examples
    --------
    >>> current_name("alseg.losses.JointLoss"), current_name("sklearn.svm:SVC")
    ('alseg.training.JointLoss', 'sklearn.svm:SVC')
    """
    found = _OURS.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        return name
    parts = found[1].split(".")
    for n in (2, 1):
        inner = ".".join(parts[:n])
        if inner in MOVED or inner in _INNER:
            package = MOVED.get(inner, inner)
            break
    else:
        package = parts[0]
    name = f"alseg.{package}{found[2]}{found[3]}"
    return RENAMED.get(name, name)


def name_of_kind(kind: Any, separator: Any = ".") -> Any:
    """The name under which a file tells a class or a function, importable or not.

    Examples
    --------
    >>> from alseg.validation import EmptyPool
    >>> name_of_kind(EmptyPool), name_of_kind(re.Pattern, ":")
    ('alseg.validation.EmptyPool', 're:Pattern')
    """
    return current_name(f"{kind.__module__}{separator}{kind.__qualname__}")


def function_name(function: Function) -> Any:
    """`package:name` of a function that can be imported again, or None.

    One of ours that its package does not offer is told by its module.

    Examples
    --------
    >>> function_name(is_json)
    'alseg.files:is_json'
    >>> function_name(lambda learner, X_pool: 0) is None
    True
    """
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not module or not name or not name.isidentifier() or module == "__main__":
        return None
    for told in (current_name(f"{module}:{name}"), f"{module}:{name}"):
        if _imported(told) is function:
            return told
    return None


def _imported(name):
    """What stands under `package.module:name`, or None."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return None


def resolve_name(argument: str, name: str, package: Any) -> Any:
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
    found = _imported(current_name(name)) or _imported(name)
    if not callable(found) or not _is_inside(getattr(found, "__module__", None), package):
        raise ValueError(message(argument, rule, name, remedy))
    return found


def _is_inside(module, package):
    parts = str(module).split(".")
    inside = parts[: package.count(".") + 1] == package.split(".")
    return inside and all(part.isidentifier() for part in parts)


def describe_callable(function: Function) -> Any:
    """A callable as JSON: its name, and the keywords of a `functools.partial`; None without name.

    A keyword may be a callable with a name itself, as in ``class_balanced(entropy_score)``.

    Examples
    --------
    >>> describe_callable(functools.partial(is_json, value=[1]))
    {'name': 'alseg.files:is_json', 'keywords': {'value': {'value': [1]}}}
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


def resolve_callable(argument: str, described: Any, package: Any = "alseg.strategies") -> Any:
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
        partial.__name__ = described["shown"]  # type: ignore[attr-defined]
    return partial


def describe_object(value: Any) -> Any:
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

    A parameter that is such an object is described in the same way.
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
        packed = _packed(param)
        if not is_json(packed):
            return None
        params[name] = packed
    return {"class": name_of_kind(kind, ":"), "params": params}


def _packed(param):
    if isinstance(param, tuple):
        return {"tuple": list(param)}
    return param if isinstance(param, type) else describe_object(param) or param


def _is_same(a, b):
    """Whether a parameter need not be written, since the default gives it back.

    Stricter than `alseg.experiment.same`, which compares what stands in files, where a tuple is a
    list already: a list in the place of a tuple is written.
    """
    plain = is_json(a) or (hasattr(a, "get_params") and not isinstance(a, type))
    return a is b or (type(a) is type(b) and plain and bool(a == b))


def resolve_object(argument: str, described: Any, needs: Any, package: Any = "alseg") -> Any:
    """A new object of the class that `describe_object` wrote down, if `package` defines it.

    Raises
    ------
    ValueError
        If it does not, or the name is no class with the methods `needs`.
    """
    kind = resolve_class(argument, described["class"], needs, package)
    params = {
        name: _unpacked(f"{argument}.{name}", param, package)
        for name, param in described["params"].items()
    }
    if not FIELDS.keys() <= inspect.signature(kind).parameters.keys():
        return kind(**params)
    params = nested_names(params)  # an earlier version told them side by side
    nested = tuple(f"{name}__" for name in (*FIELDS, "consistency"))
    fields = {name: params.pop(name) for name in list(params) if name.startswith(nested)}
    return kind(**params).set_params(**fields)


def _unpacked(argument, param, package):
    if isinstance(param, dict) and "tuple" in param:
        return tuple(param["tuple"])
    if isinstance(param, dict) and param.keys() == {"class", "params"}:
        return resolve_object(argument, param, ("get_params",), package)
    return param


def resolve_class(argument: str, name: str, needs: Any, package: Any = "alseg") -> Any:
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


def is_json(value: Any) -> bool:
    """Whether a value survives a JSON file unchanged.

    Examples
    --------
    >>> is_json({"k": [1, None]}), is_json({"k": (1, 2)}), is_json(len)
    (True, False, False)
    """
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False
