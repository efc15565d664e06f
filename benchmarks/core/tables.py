"""Cells of the tables, and their lines."""

import numpy as np


def spread(values, scale=100, digits=1, none="–"):
    """Mean and standard deviation of what is finite, as a cell.

    Parameters
    ----------
    values : sequence of float or None
        One a seed.
    scale : float, default=100
    digits : int, default=1
    none : str, default="–"
        The cell where nothing is finite.

    Returns
    -------
    str

    Examples
    --------
    >>> spread([0.5, 0.75, None]), spread([2.0], scale=1), spread([])
    ('62.5 ± 17.7', '2.0', '–')
    """
    values = scale * np.array([v for v in values if v is not None], dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return none
    found = f"{values.mean():.{digits}f}"
    return found + (f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else "")


def head(columns):
    """The first two lines of a table in Markdown.

    Examples
    --------
    >>> head(["masks", "Dice"])
    ['| masks | Dice |', '|---|---|']
    """
    return [line(columns), "|---" * len(columns) + "|"]


def line(cells):
    """A line of a table in Markdown.

    Examples
    --------
    >>> line([8, "81.1"])
    '| 8 | 81.1 |'
    """
    return "| " + " | ".join(map(str, cells)) + " |"
