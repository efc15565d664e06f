"""Fitted scikit-learn classifiers as plain numbers and arrays, and back: nothing is pickled."""

from __future__ import annotations

from typing import Any

import numpy as np

from alseg.files import describe_object
from alseg.validation import check_number, check_option, message

# What a fitted model of these kinds consists of beside its parameters.
_FITTED = {
    "GaussianNB": ("classes_", "theta_", "var_", "class_prior_", "class_count_", "epsilon_"),
    "LogisticRegression": ("classes_", "coef_", "intercept_", "n_iter_"),
    "StandardScaler": ("mean_", "var_", "scale_", "n_samples_seen_"),
}
_TREES = ("DecisionTreeClassifier", "ExtraTreeClassifier")
_FORESTS = ("RandomForestClassifier", "ExtraTreesClassifier")
STORABLE = (*_FORESTS, *_TREES, "GaussianNB", "LogisticRegression")
"""Classifiers that can be stored, on their own or in a `Pipeline` after a `StandardScaler`."""


def is_storable(classifier: Any) -> bool:
    """Whether a classifier can be stored as arrays: its kind and its parameters, fitted or not.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> is_storable(RandomForestClassifier()), is_storable(KNeighborsClassifier())
    (True, False)
    """
    kinds = _kinds()
    steps = [step for _, step in classifier.steps] if _is_pipeline(classifier) else [classifier]
    return (
        all(kinds.get(type(step).__name__) is type(step) for step in steps)
        and type(steps[-1]).__name__ in STORABLE
        and all(describe_object(step) is not None for step in steps)
    )


def describe_classifier(classifier: Any) -> dict[str, Any]:
    """Kind and parameters of a storable classifier, as JSON.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> describe_classifier(GaussianNB(var_smoothing=0.1))
    {'kind': 'GaussianNB', 'params': {'var_smoothing': 0.1}}
    """
    if _is_pipeline(classifier):
        steps = [[name, describe_classifier(step)] for name, step in classifier.steps]
        return {"kind": "Pipeline", "steps": steps}
    params = describe_object(classifier)["params"]
    return {"kind": type(classifier).__name__, "params": params}


def make_classifier(described: dict[str, Any]) -> Any:
    """A new classifier of what `describe_classifier` wrote.

    Raises
    ------
    ValueError
        If it names a kind that is not storable.
    """
    kinds = _kinds()
    if described["kind"] == "Pipeline":
        from sklearn.pipeline import Pipeline

        return Pipeline([(str(name), make_classifier(step)) for name, step in described["steps"]])
    kind = kinds[check_option("kind", described["kind"], tuple(kinds))]
    return kind(
        **{
            name: tuple(value["tuple"]) if isinstance(value, dict) and "tuple" in value else value
            for name, value in described["params"].items()
        }
    )


def to_arrays(model: Any) -> dict[str, np.ndarray]:
    """What fitting has made of a storable classifier.

    Parameters
    ----------
    model : classifier
        Fitted on arrays of float features, with classes that are integers.

    Returns
    -------
    dict of str -> ndarray
        Numbers are arrays without dimensions.
    """
    if _is_pipeline(model):
        return {
            f"{k}.{name}": array
            for k, (_, step) in enumerate(model.steps)
            for name, array in to_arrays(step).items()
        }
    kind = type(model).__name__
    if kind in _FITTED:
        names = (*_FITTED[kind], "n_features_in_")
        return {name: np.asarray(getattr(model, name)) for name in names}
    trees = model.estimators_ if kind in _FORESTS else [model]
    states = [tree.tree_.__getstate__() for tree in trees]
    nodes = np.concatenate([state["nodes"] for state in states])
    return {
        "classes_": np.asarray(model.classes_),
        "n_features_in_": np.asarray(model.n_features_in_),
        "n_nodes": np.array([state["node_count"] for state in states]),
        "depths": np.array([state["max_depth"] for state in states]),
        "values": np.concatenate([state["values"] for state in states])[:, 0],  # (n_nodes, K)
        **{f"node_{name}": np.ascontiguousarray(nodes[name]) for name in nodes.dtype.fields or ()},
    }


def from_arrays(described: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    """A fitted classifier of what `describe_classifier` and `to_arrays` gave.

    Parameters
    ----------
    described : dict
    arrays : dict of str -> ndarray

    Returns
    -------
    classifier
        Its predictions are those of the one stored.

    Raises
    ------
    ValueError, KeyError
        If the arrays are not those of such a classifier. Trees are compiled code that follows
        indices: none leads out of its arrays, or in a circle.
    """
    model = make_classifier(described)
    if _is_pipeline(model):
        for k, (_, step) in enumerate(described["steps"]):
            own = {n[len(f"{k}.") :]: a for n, a in arrays.items() if n.startswith(f"{k}.")}
            model.steps[k] = (model.steps[k][0], from_arrays(step, own))
        return model
    model.n_features_in_ = int(check_number("n_features_in_", arrays["n_features_in_"].item(), 1))
    if described["kind"] in _FITTED:
        for name in _FITTED[described["kind"]]:
            setattr(model, name, arrays[name] if arrays[name].ndim else arrays[name].item())
        return model
    classes = arrays["classes_"]
    trees = _trees(arrays, model.n_features_in_, len(classes))
    if described["kind"] in _TREES:
        model.tree_ = trees[0]
        return _with_classes(model, classes)
    params = {name: getattr(model, name) for name in model.estimator_params}
    model.estimator_ = type(model)().estimator  # what each tree is made of
    model.estimators_ = [type(model.estimator_)(**params) for _ in trees]
    for member, tree in zip(model.estimators_, trees, strict=True):
        member.tree_, member.n_features_in_ = tree, model.n_features_in_
        _with_classes(member, np.arange(len(classes), dtype=float))
    return _with_classes(model, classes)


def _with_classes(model, classes):
    model.classes_, model.n_classes_, model.n_outputs_ = classes, len(classes), 1
    return model


def _trees(arrays, n_features, n_classes):
    """scikit-learn's compiled trees, of arrays that were looked at."""
    from sklearn.tree import DecisionTreeClassifier

    template = DecisionTreeClassifier(max_depth=1).fit([[0.0], [1.0]], [0, 1]).tree_
    dtype = template.__getstate__()["nodes"].dtype
    columns = {name: arrays.get(f"node_{name}") for name in dtype.names}
    missing = [name for name, column in columns.items() if column is None]
    if missing:
        remedy = "It was written with another release of scikit-learn: fit it again."
        raise ValueError(message("nodes", f"with {missing}", "trees without", remedy))
    nodes = np.zeros(len(columns["feature"]), dtype=dtype)
    for name, column in columns.items():
        nodes[name] = column
    values = np.ascontiguousarray(arrays["values"], dtype=float)
    sizes = [int(check_number("n_nodes", n, 1)) for n in arrays["n_nodes"].tolist()]
    if sum(sizes) != len(nodes) or values.shape != (len(nodes), n_classes):
        raise ValueError(message("nodes", f"{sum(sizes)} with {n_classes} values", values.shape))
    found, ends = [], np.cumsum(sizes)
    for size, end, depth in zip(sizes, ends, arrays["depths"].tolist(), strict=True):
        own = nodes[end - size : end].copy()
        _check_nodes(own, n_features)
        tree = type(template)(n_features, np.array([n_classes], dtype=np.intp), 1)
        tree.__setstate__(
            {
                "max_depth": int(check_number("depths", depth, 0)),
                "node_count": size,
                "nodes": own,
                "values": values[end - size : end, None].copy(),
            }
        )
        found.append(tree)
    return found


def _check_nodes(nodes, n_features):
    """Refuse a tree that leads out of its nodes or features, or does not end."""
    left, right, feature = (nodes[name] for name in ("left_child", "right_child", "feature"))
    leaf = left == -1
    here = np.arange(len(nodes))
    inner = (left > here) & (right > here) & (left < len(nodes)) & (right < len(nodes))
    inner &= (feature >= 0) & (feature < n_features)
    if not np.where(leaf, right == -1, inner).all():
        raise ValueError(message("nodes", "of a tree", "one that leads to no leaf"))


def _is_pipeline(model):
    from sklearn.pipeline import Pipeline

    return type(model) is Pipeline


def _kinds():
    """The classes by name, imported when they are wanted."""
    from sklearn import ensemble, linear_model, naive_bayes, preprocessing, tree

    found = (
        *(getattr(ensemble, name) for name in _FORESTS),
        *(getattr(tree, name) for name in _TREES),
        naive_bayes.GaussianNB,
        linear_model.LogisticRegression,
        preprocessing.StandardScaler,
    )
    return {kind.__name__: kind for kind in found}


def below(name: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays whose names begin with `name` and a dot, by what follows."""
    return {key[len(name) + 1 :]: a for key, a in arrays.items() if key.startswith(f"{name}.")}


def pack(name: str, classifier: Any, fitted: bool = True) -> tuple[Any, dict[str, np.ndarray]]:
    """A classifier, a list of them, or None: as JSON, and arrays whose names begin with `name`."""
    if isinstance(classifier, list):
        packed = [pack(f"{name}.{k}", one, fitted) for k, one in enumerate(classifier)]
        return [said for said, _ in packed], {k: a for _, own in packed for k, a in own.items()}
    if classifier is None:  # not by its truth: a forest has a length, and before its fit none
        return None, {}
    own = to_arrays(classifier) if fitted else {}
    arrays = {f"{name}.{key}": np.array(array) for key, array in own.items()}
    return describe_classifier(classifier), arrays


def unpack(name: str, said: Any, arrays: dict[str, Any]) -> Any:
    """What `pack` was given, of the JSON and the tensors."""
    if isinstance(said, list):
        return [unpack(f"{name}.{k}", one, arrays) for k, one in enumerate(said)]
    own = {key: array.numpy() for key, array in below(name, arrays).items()}
    return said and from_arrays(said, own)
