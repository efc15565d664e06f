"""Strategies by the names that a command line gives them."""

import importlib
import os
import sys

from alseg.validation import did_you_mean, message

SUFFIX = "_sampling"


def strategy_names():
    """Names of alseg's own strategies, without their common ending.

    Returns
    -------
    names : list of str
        Sorted; "entropy" stands for `alseg.strategies.entropy_sampling`.
    """
    from alseg import strategies

    found = [name for name in dir(strategies) if name.endswith(SUFFIX) and name[0] != "_"]
    return sorted(name.removesuffix(SUFFIX) for name in found)


def resolve_strategy(name):
    """The strategy of a name.

    Parameters
    ----------
    name : str
        "entropy", "entropy_sampling", or "package.module:name" for one's own; modules are looked
        for in the working folder too.

    Returns
    -------
    strategy : callable

    Raises
    ------
    ValueError
        If there is none of that name; the nearest one is named.
    """
    from alseg import strategies

    if not isinstance(name, str):
        raise ValueError(message("strategy", "a name", name))
    if ":" in name:
        return import_own(name)
    known = strategy_names()
    short = name.replace("-", "_").removesuffix(SUFFIX)
    if short in known:
        return getattr(strategies, short + SUFFIX)
    remedy = did_you_mean(short, known) or "Name your own as package.module:name."
    raise ValueError(message("strategy", f"one of {known}", name, remedy))


def import_own(name, argument="strategy"):
    """What ``package.module:name`` names, where that can be imported, also from the working folder.

    Parameters
    ----------
    name : str
    argument : str, default="strategy"
        What an error calls it.

    Returns
    -------
    callable

    Raises
    ------
    ValueError
        If there is none.
    """
    module_name, _, path = name.partition(":")
    here = os.getcwd()
    # As `python -m` does, and only after the installed packages: no name of theirs is hidden.
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # it runs whatever its author wrote
        raise ValueError(
            message(
                argument,
                "package.module:name of a module that can be imported",
                name,
                f"{type(error).__name__}: {error}.",
            )
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            remedy = did_you_mean(part, [n for n in dir(found) if not n.startswith("_")])
            raise ValueError(message(argument, f"a name in {module_name}", path, remedy))
        found = getattr(found, part)
    from alseg.strategies import as_function

    found = as_function(found)  # one of scikit-activeml
    if not callable(found):
        raise ValueError(message(argument, "a function", name))
    return found
