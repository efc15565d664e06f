"""Progress of what takes long: one bar on stderr, with a total and the time left."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress(what: str, total: int, unit: str = "images", show: bool = True) -> Any:
    """A bar on stderr, which goes when it is done.

    Parameters
    ----------
    what : str
        In a word, such as "read".
    total : int
    unit : str, default="images"
        What is counted.
    show : bool, default=True
        False is silent.

    Returns
    -------
    tqdm
        A context manager with ``update(n)`` and ``set_postfix(loss=0.3)``.

    Examples
    --------
    >>> with progress("predict", 3, show=False) as bar:
    ...     bar.update(3)
    """
    return tqdm(
        desc=what,
        total=total,
        unit=f" {unit}",
        disable=not show,
        leave=False,
        file=sys.stderr,
        dynamic_ncols=True,
    )
