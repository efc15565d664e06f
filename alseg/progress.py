"""Progress of what takes long: one bar on stderr, with a total and the time left."""

import sys

from tqdm import tqdm


def progress(what, total, unit="images", show=True):
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
