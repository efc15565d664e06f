"""Packages whose names are imported when they are first asked for."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def attach(
    package: str, modules: dict[str, list[str]]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """`__all__`, `__getattr__` and `__dir__` of a package whose names are found when used.

    Parameters
    ----------
    package : str
        `__name__` of the package.
    modules : dict of str to list of str
        The modules of the package, and the names that each offers.

    Returns
    -------
    __all__ : list of str
    __getattr__, __dir__ : callable
    """
    where = {name: module for module, names in modules.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name in where:
            return getattr(import_module(f"{package}.{where[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted(where)

    return sorted(where), __getattr__, __dir__
