"""Scores of single test images that a protocol names: distances, and functions of your own."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from alseg.calling import accepts
from alseg.experiment.by_name import import_own
from alseg.files import jsonable, name_of_kind
from alseg.metrics import hausdorff_per_image, instances_from_mask, object_hausdorff
from alseg.validation import check_option, did_you_mean, message

BETTER = ("higher", "lower")
OFFERED = ("proba", "instances")
"""What a function gets beside truth and prediction, if it has a parameter of that name."""


@dataclasses.dataclass(frozen=True)
class Measure:
    """A score of an image that is averaged over the test images.

    Parameters
    ----------
    told : str
        A name among `NAMED`, or ``package.module:name``, by which records tell the function.
    better : {"higher", "lower"}
    function : callable or None
        None where it was read from a file: it is imported when a run needs it, not before.
    """

    told: str
    better: str = "higher"
    function: Callable[..., float] | None = dataclasses.field(default=None, compare=False)

    def resolved(self):
        """The same with its function, imported by its name where need be.

        Raises
        ------
        ValueError
            If there is none of that name.
        """
        if self.function is not None:
            return self
        return dataclasses.replace(self, function=import_own(self.told, "metric"))

    @property
    def needs(self):
        """Those of `OFFERED` that its function names."""
        return [name for name in OFFERED if accepts(self.function, name)]


# -- by name --------------------------------------------------------------------------------------


def hausdorff(truth, prediction, percentile=None):
    """Hausdorff distance between the contours of a class, in pixels, averaged over the classes.

    Parameters
    ----------
    truth, prediction : ndarray of shape (H, W), int
    percentile : float or None, default=None

    Returns
    -------
    float
        0 where neither mask holds foreground, the image's diagonal for a class that one alone
        holds, NaN for an image that is not wholly annotated.

    Examples
    --------
    >>> truth, prediction = np.zeros((2, 3, 4), int)
    >>> truth[1, 1] = 1
    >>> hausdorff(truth, prediction)
    5.0
    """
    classes = np.union1d(truth, prediction)
    n = int(max(classes.max(initial=0) + 1, 2))
    found = [
        hausdorff_per_image(
            prediction[None], truth[None], label=int(label), percentile=percentile, n_mask_classes=n
        )[0]
        for label in classes[classes > 0]
    ]
    return float(np.mean(_at_most_the_diagonal(found, truth))) if found else _nothing(truth)


def _at_most_the_diagonal(distances, truth):
    return np.minimum(distances, np.hypot(*truth.shape))


def _nothing(truth):
    return 0.0 if (truth >= 0).all() else np.nan


def hd95(truth, prediction):
    """`hausdorff` at the 95th percentile, which a few stray pixels do not decide.

    Parameters
    ----------
    truth, prediction : ndarray of shape (H, W), int

    Returns
    -------
    float
    """
    return hausdorff(truth, prediction, percentile=95)


def of_objects(truth, prediction, instances):
    """Object-level Hausdorff distance of an image in pixels, see `alseg.metrics.object_hausdorff`.

    Parameters
    ----------
    truth, prediction : ndarray of shape (H, W), int
        Predicted objects are the connected parts.
    instances : ndarray of shape (H, W), int, or None
        Numbers of the true objects.

    Returns
    -------
    float
        The image's diagonal where one side alone has objects; NaN where they are not known.
    """
    if instances is None:
        return np.nan
    distance = object_hausdorff(instances_from_mask(prediction), instances)
    return float(_at_most_the_diagonal(distance, truth))


NAMED = {
    "hausdorff": Measure("hausdorff", "lower", hausdorff),
    "hd95": Measure("hd95", "lower", hd95),
    "object_hausdorff": Measure("object_hausdorff", "lower", of_objects),
}
"""Measures that a protocol has by name; all are distances in pixels."""


# -- what a protocol is given ---------------------------------------------------------------------


def as_measures(metrics, taken=()):
    """Measures of what ``Protocol(metrics=)`` was given.

    Parameters
    ----------
    metrics : None, sequence of str, or dict of str -> value
        Names among `NAMED`; or by name a callable, such a name or ``package.module:name``, or
        (one of these, "higher" or "lower").
    taken : collection of str
        Names of numbers that every record has.

    Returns
    -------
    dict of str -> Measure

    Raises
    ------
    ValueError, TypeError
        If a name is taken or no name, or a value is none of these.
    """
    if metrics is None:
        return {}
    if isinstance(metrics, str) or not np.iterable(metrics):
        rule = "a dict of names and functions, or a sequence of names"
        raise TypeError(message("metrics", rule, metrics))
    given = metrics if hasattr(metrics, "items") else {name: name for name in metrics}
    return {_checked_name(name, taken): _measure(name, value) for name, value in given.items()}


def told_measures(measures):
    """Measures as JSON's types, as `as_measures` takes them: ``[told, better]`` by name."""
    return {name: [one.told, one.better] for name, one in measures.items()}


def _checked_name(name, taken):
    if not isinstance(name, str) or not name.strip() or "/" in name:
        raise ValueError(message("metrics", "named by strings without a slash", name))
    if name in taken or name.startswith("by_") or name.endswith("_per_image"):
        raise ValueError(message("metrics", "named unlike what every record has", name))
    return name


def _measure(name, value):
    if isinstance(value, Measure):
        return value
    better = None
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(
                message(f"metrics[{name!r}]", "(function, 'higher' or 'lower')", value)
            )
        value, better = value
        check_option(f"metrics[{name!r}]", better, BETTER)
    if value in NAMED:
        return NAMED[value] if better in (None, "lower") else _refuse(name, value, better)
    if isinstance(value, str):
        if ":" not in value:
            remedy = did_you_mean(value, NAMED) or "Name your own as package.module:name."
            raise ValueError(message(f"metrics[{name!r}]", f"one of {list(NAMED)}", value, remedy))
        return Measure(value, better or "higher")
    if not callable(value):
        raise TypeError(message(f"metrics[{name!r}]", "a function", value))
    return Measure(_told(value), better or "higher", value)


def _refuse(name, value, better):
    rule = f"'lower' for {value!r}, a distance"
    raise ValueError(message(f"metrics[{name!r}]", rule, better))


def _told(function):
    """The name by which records tell a function, with what is bound to it."""
    if isinstance(function, functools.partial):
        bound = [*map(_shown, function.args)]
        bound += [f"{key}={_shown(value)}" for key, value in function.keywords.items()]
        return f"{_told(function.func)}({', '.join(bound)})"
    kind = function if hasattr(function, "__qualname__") else type(function)
    return name_of_kind(kind, ":")


def _shown(value):
    try:
        return repr(jsonable(value))
    except TypeError:
        return _told(value)


# -- measuring ------------------------------------------------------------------------------------


def measure_image(measures, truth, prediction, **known):
    """The measures of one image.

    Parameters
    ----------
    measures : dict of str -> Measure
        With their functions.
    truth : ndarray of shape (H, W), int, or None
        -1 where it is not annotated; an image without a mask counts nowhere.
    prediction : ndarray of shape (H, W), int
    **known
        Of `OFFERED`.

    Returns
    -------
    dict of str -> float

    Raises
    ------
    TypeError, ValueError
        If a function gives something else than a finite number or NaN.
    """
    if truth is None:
        return dict.fromkeys(measures, np.nan)
    pair = _read_only(np.asarray(truth)), _read_only(np.asarray(prediction))
    found = {}
    for name, measure in measures.items():
        value = measure.function(*pair, **{key: known.get(key) for key in measure.needs})
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            rule = "a function that gives a number for an image"
            raise TypeError(message(f"metrics[{name!r}]", rule, value)) from None
        if np.isinf(found[name]):
            rule = "a function whose numbers are finite, or NaN where there is none"
            remedy = "Give the worst value that there can be, such as the image's diagonal."
            raise ValueError(message(f"metrics[{name!r}]", rule, found[name], remedy))
    return found


def _read_only(array):
    view = array.view()
    view.flags.writeable = False
    return view


def average(values):
    """Mean over the images that have a number; None where none has."""
    values = np.asarray(values, dtype=float)
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
