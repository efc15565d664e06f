"""One message shape for every bad argument: `<name> must be <rule>, got <value>. <remedy>`."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np

from alseg._types import Array, Random
from alseg.labels import is_missing


class EmptyPool(ValueError):
    """There is nothing (or not enough) left to ask about."""


class UnknownName(KeyError, ValueError):
    """A name that is not there. Unlike a bare KeyError it says so in a sentence."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def message(name: str, rule: str, value: Any, remedy: str = "") -> str:
    """Build the text of an error about an argument.

    Examples
    --------
    >>> message("lam", "in [0, 1]", 3, "Divide by the batch size.")
    'lam must be in [0, 1], got 3. Divide by the batch size.'
    """
    shown = repr(value)
    if len(shown) > 200:
        shown = shown[:197] + "..."
    text = f"{name} must be {rule}, got {shown}."
    return f"{text} {remedy}" if remedy else text


def printable(text: str) -> str:
    """Text as it may be shown: control characters and bytes that are no UTF-8 as their escapes.

    Examples
    --------
    >>> print(printable("gland 01"), printable("a\\nb\\x1b[31m"))
    gland 01 a\\nb\\x1b[31m
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def in_shell(text: object) -> str:
    """A path or another text as one word of a command that somebody is told to give.

    Parameters
    ----------
    text : object

    Returns
    -------
    str

    Examples
    --------
    >>> in_shell("state"), in_shell("my slides-state")
    ('state', "'my slides-state'")
    """
    import shlex

    return shlex.quote(printable(str(text)))


def counted(n: int, one: str, many: str | None = None) -> str:
    """A number and what is counted.

    Examples
    --------
    >>> counted(1, "mask"), counted(2, "mask"), counted(0, "class", "classes")
    ('1 mask', '2 masks', '0 classes')
    """
    return f"{n} {one if n == 1 else many or one + 's'}"


def did_you_mean(value: Any, options: Iterable[Any]) -> str:
    """A remedy that names the nearest option, or an empty string.

    Examples
    --------
    >>> did_you_mean("entropi", ["entropy", "margin"])
    "Did you mean 'entropy'?"
    """
    close = difflib.get_close_matches(str(value), [str(o) for o in options], n=1)
    return f"Did you mean {close[0]!r}?" if close else ""


def check_option(name: str, value: Any, options: Any) -> Any:
    """Return `value` if it is one of `options`, else raise with the nearest one named.

    Raises
    ------
    ValueError
        If `value` is not among `options`.
    """
    if isinstance(value, str) and value in options:
        return value
    raise ValueError(
        message(name, f"one of {sorted(map(str, options))}", value, did_you_mean(value, options))
    )


def check_keys(name: str, value: Any, known: Any, instead: str = "None") -> Any:
    """Return `value` if it is a dict of known keys, else raise with the nearest key named.

    Parameters
    ----------
    name : str
    value : object
    known : iterable of str
    instead : str, default="None"
        What else the argument may be, for the error.

    Raises
    ------
    TypeError
        If it is no dict.
    ValueError
        If a key is not known.

    Examples
    --------
    >>> check_keys("crop", {"size": 64}, ["size", "pad"])
    {'size': 64}
    """
    known = list(known)
    rule = f"{instead} or a dict with keys among {known}"
    if not isinstance(value, dict):
        raise TypeError(message(name, rule, value))
    unknown = [key for key in value if key not in known]
    if unknown:
        raise ValueError(message(name, rule, unknown, did_you_mean(unknown[0], known)))
    return value


def check_number(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    integer: bool = False,
    open_low: Any = False,
) -> Any:
    """Return `value` if it is a finite number in range, else raise.

    Parameters
    ----------
    name : str
    value : object
    low, high : float or None
        Bounds, inclusive (`low` exclusive with `open_low`). None is no bound.
    integer : bool, default=False
        Whether it must be an integer; booleans are not numbers here.

    Raises
    ------
    TypeError
        If it is not a number (an integer, with `integer`).
    ValueError
        If it is outside the bounds or not finite.
    """
    kind: Any = numbers.Integral if integer else numbers.Real
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, kind):
        raise TypeError(message(name, "an integer" if integer else "a number", value))
    left = "" if low is None else f"{'>' if open_low else '>='} {low}"
    right = "" if high is None else f"<= {high}"
    rule = " and ".join(part for part in (left, right) if part) or "finite"
    bad = (
        not (isinstance(value, numbers.Integral) or np.isfinite(value))  # integers of any length
        or (low is not None and (value <= low if open_low else value < low))
        or (high is not None and value > high)
    )
    if bad:
        raise ValueError(message(name, rule, value))
    return value


def check_n_instances(n_instances: int, n_pool: int) -> int:
    """Return `n_instances` as an int if that many can be picked from a pool of `n_pool`.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is not an integer in [1, n_pool].
    """
    if n_pool == 0:
        raise EmptyPool("The pool is empty: nothing is left to ask about.")
    check_number("n_instances", n_instances, integer=True)
    if not 1 <= n_instances <= n_pool:
        raise ValueError(message("n_instances", f"in [1, {n_pool}] (the pool size)", n_instances))
    return int(n_instances)


def check_rng(random_state: Random) -> np.random.Generator:
    """A `numpy.random.Generator` from None, an int, a Generator or a legacy RandomState.

    The global state is never touched: None draws fresh entropy from the system. A RandomState is
    advanced by one draw, so a seeded one gives a repeatable sequence of generators.

    Raises
    ------
    TypeError
        If `random_state` is none of these.
    """
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31 - 1))
    if random_state is None or isinstance(random_state, (numbers.Integral, np.random.Generator)):
        return np.random.default_rng(random_state)
    raise TypeError(
        message("random_state", "None, an int, a Generator or a RandomState", random_state)
    )


def seed_of(random_state: Any, rng: Any) -> int | None:
    """The seed for what is called on the way: the generator's next; None where none was given.

    None stays None because it leaves the seed to what is called: an estimator's draws then follow
    its own `random_state`, which decides a run.

    Parameters
    ----------
    random_state : None, int, Generator or RandomState
        As it was given.
    rng : Generator
        What `check_rng` made of it.

    Examples
    --------
    >>> seed_of(None, np.random.default_rng()), seed_of(0, np.random.default_rng(0))
    (None, 1826701614)
    """
    return None if random_state is None else int(rng.integers(2**31 - 1))


def check_all_known(name: str, labels: Array) -> None:
    """Refuse labels of which some are missing, for estimators that know no missing ones.

    -1 is a label like another here, as it is for them.

    Parameters
    ----------
    name : str
    labels : sequence of n labels

    Raises
    ------
    ValueError
        If a label is None, NaN, or pandas' NA or NaT. Their positions are named.

    Examples
    --------
    >>> check_all_known("labels", ["cat", float("nan"), "dog"])
    Traceback (most recent call last):
        ...
    ValueError: labels must be known for all images, got none at the positions [1]. Give each ...
    """
    missing = [i for i, label in enumerate(labels) if is_missing(label)]
    if missing:
        shown = missing if len(missing) <= 10 else f"{str(missing[:10])[:-1]}, ...]"
        raise ValueError(
            f"{name} must be known for all images, got none at the positions {shown}. Give "
            "each image a class, or leave these out."
        )
