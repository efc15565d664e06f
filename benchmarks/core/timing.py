"""Seconds of calls, in turns, and the lines of ratios that have a limit."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


class Stopwatch:
    """CPU and wall-clock seconds since it was made.

    At one thread the two agree on an idle machine. On a shared one the wall clock also counts what
    the neighbours did, so ratios are of CPU seconds; both stand in the record.
    """

    def __init__(self):
        self.started = time.process_time(), time.perf_counter()

    def read(self):
        """(CPU seconds, wall-clock seconds)"""
        return time.process_time() - self.started[0], time.perf_counter() - self.started[1]


def interleave(sides, n_repeats):
    """Seconds of each function, in turns (A B B A A B ...), after one turn that is not counted.

    A neighbour on the machine then slows all sides alike. The order turns round each time, so that
    no side always runs in the cache that another left.

    Parameters
    ----------
    sides : dict of str -> function without arguments
    n_repeats : int

    Returns
    -------
    dict of str -> list of (CPU seconds, wall-clock seconds)
    """
    for run in sides.values():
        run()
    seconds = {name: [] for name in sides}
    for repeat in range(n_repeats):
        names = list(sides)
        for name in names if repeat % 2 == 0 else reversed(names):
            watch = Stopwatch()
            sides[name]()
            seconds[name].append(watch.read())
    return seconds


def ratio_row(name, above, below, limit):
    """The ratio of two medians against its limit, printed as one line and returned for the record.

    Parameters
    ----------
    name : str
    above, below : list of (CPU seconds, wall-clock seconds)
        Repeats of the two sides.
    limit : float or None
        None is a ratio without one.
    """
    sides = {"above": np.array(above), "below": np.array(below)}
    ratio = np.median(sides["above"], axis=0) / np.median(sides["below"], axis=0)
    row = {"name": name, "ratio": ratio[0], "ratio_wall": ratio[1]}
    shown = f"ratio {name} {ratio[0]:.3f}"
    if limit is not None:
        row |= {"limit": limit, "met": bool(ratio[0] <= limit)}
        shown += f" limit {limit:g}"
    print(shown, flush=True)
    row["seconds"] = {
        side: {"cpu": values[:, 0].tolist(), "wall": values[:, 1].tolist()}
        for side, values in sides.items()
    }
    return row


def checked_row(name, value, limit, at_least=False):
    """One number against its limit, printed as one line and returned for the record.

    Parameters
    ----------
    name : str
    value, limit : float
    at_least : bool, default=False
        Whether a larger number is better.

    Returns
    -------
    dict
    """
    print(f"ratio {name} {value:.3f} limit {limit:g}" + " (at least)" * at_least, flush=True)
    met = bool(value >= limit if at_least else value <= limit)
    return {"name": name, "value": value, "limit": limit, "met": met}


def said_by_child(module, arguments, env=None):
    """What a script prints last, as JSON, when it runs as ``--child`` in a process of its own.

    A process that has done nothing else holds no memory but what the call itself needs.

    Parameters
    ----------
    module : str
        As ``python -m`` takes it.
    arguments : sequence
    env : dict of str -> str or None, default=None

    Returns
    -------
    object
    """
    done = subprocess.run(
        [sys.executable, "-m", module, "--child", *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env=env,
    )
    return json.loads(done.stdout.splitlines()[-1])
