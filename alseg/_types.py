"""Names of types in signatures: what is taken, in the words of the docstrings.

Images, masks and data are given in many forms (arrays, lists of arrays of differing sizes, paths),
told apart when they are looked at and not by their type: these names say to a reader which is
meant, and leave a type checker out of it.
"""

import os
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Images: TypeAlias = Any
"""Arrays of one size, a sequence of arrays or of paths, or `ImageFiles`."""
Masks: TypeAlias = Any
"""As `Images`, of whole numbers; an entry may be None."""
Data: TypeAlias = Any
"""Rows of any container."""
Array: TypeAlias = Any
"""An array, or what makes one: of numpy, or of torch where the docstring says so."""
StrPath: TypeAlias = str | os.PathLike[str]
Random: TypeAlias = int | np.random.Generator | np.random.RandomState | None
"""What decides random numbers, as `random_state`."""
Function: TypeAlias = Callable[..., Any]
