"""Checks: images asked to measure the model, drawn by chance alone and kept out of its training.

An image that was chosen by a score says how good the model is on such images. A check says how good
it is on those that nobody has marked: it is drawn uniformly among them, what is proposed for it
stays hidden until it is answered, and the model behind the page does not learn from the last ones.
"""

from contextlib import nullcontext

import numpy as np

from alseg.annotate.asked_points import random_points
from alseg.labels import MISSING
from alseg.project import ask_about

HELD_OUT = 12
"""Checks counted last, which the model behind the page does not learn from.

In simulations the interval of the Dice from 12 whole masks is some 12 points wide; 24 would make it
8, at the price of as many masks more that teach nothing. So those before join the training.
"""

LEAST_POINTS = 20
"""Random pixels of a check that are asked at least."""

_FIRST, _BLOCK = 4, 6  # the fifth question may be one; from there on one of six is
# Share of the points asked that must be told: of the others it was said that they cannot be, or, if
# strokes lie beside the points, nobody knows, and whoever drew strokes kept clear of what is hard.
_TOLD, _TOLD_BESIDE_STROKES = 0.5, 0.9
_SALT = 16  # what else is drawn from the seed of a project is drawn apart


def is_check(question, seed):
    """Whether a question is a check: one of each six from the fifth on, at a place by chance.

    Parameters
    ----------
    question : int
        How many were asked before it.
    seed : int

    Returns
    -------
    bool

    Examples
    --------
    >>> [k for k in range(40) if is_check(k, seed=0)]
    [5, 13, 21, 26, 33, 39]
    """
    block, place = divmod(question - _FIRST, _BLOCK)
    if block < 0:
        return False
    return place == np.random.default_rng([seed, _SALT, block]).integers(_BLOCK)


def check_status(state, name):
    """What a check is by the state of its project: see `Checks.status`."""
    entry = state.get("checks", {}).get(name)
    if entry is None:
        return None
    if name not in state["masks"] or "answer" not in entry:
        return "open"
    return None if entry["answer"] == "strokes" else "counted"


def counted_checks(state):
    """Names of the checks that count, in the order answered.

    Examples
    --------
    >>> checks = {"a": {"answer": "whole", "number": 2}, "b": {"answer": "points", "number": 1}}
    >>> counted_checks({"checks": {**checks, "c": {}}, "masks": {"a": {}, "b": {}}})
    ['b', 'a']
    """
    checks = state.get("checks", {})
    found = [name for name in checks if check_status(state, name) == "counted"]
    return sorted(found, key=lambda name: checks[name].get("number", 0))


class Checks:
    """The checks of a project. What it changes is on the disk with the next `Project.write`.

    Parameters
    ----------
    project : Project
    lock : context manager or None, default=None
        Held while the state is changed, where many threads may.
    """

    def __init__(self, project, lock=None):
        self.project = project
        self._lock = nullcontext() if lock is None else lock
        self._seed = project.option("seed", 0)
        for name in self.entries():  # masks that came by `alseg add` meanwhile
            entry = project.state["masks"].get(name)
            if entry is not None and self.status(name) == "open":
                self._answer(name, "whole" if entry.get("annotated") == 1 else "strokes")

    def entries(self):
        """What is kept of each check, by name."""
        return self.project.state.get("checks", {})

    def status(self, name):
        """ "open" until it is answered, then "counted" if it is a fair sample, else None."""
        return check_status(self.project.state, name)

    def counted(self):
        """Names of those that count, in the order answered."""
        return counted_checks(self.project.state)

    def held_out(self):
        """Names of those that the model behind the page may not learn from now."""
        return self.counted()[-HELD_OUT:]

    # -- asking ---------------------------------------------------------------------------------

    def n_before(self):
        """How many other questions come before the next check; 0 if it is next."""
        asked = {name for found in self.project.state["rounds"] for name in found["ids"]}
        question = len(asked)
        while not is_check(question, self._seed):
            question += 1
        return question - len(asked)

    def ask(self, is_readable):
        """Ask about an image without a mask that was not asked about yet: each is as likely.

        Parameters
        ----------
        is_readable : callable
            Says of a position whether its image can be read.

        Returns
        -------
        bool
            Whether there was one.
        """
        project = self.project
        asked = [name for found in project.state["rounds"] for name in found["ids"]]
        free = ~project.has_mask() & ~np.isin(project.data.ids, asked)
        rng = np.random.default_rng([self._seed, _SALT, len(asked), len(project.state["rounds"])])
        for i in rng.permutation(np.flatnonzero(free)).tolist():
            if is_readable(i):
                name = str(project.data.ids[i])
                project.state["checks"] = {**self.entries(), name: {}}
                ask_about(project, [i], "A check, drawn at random: it measures the proposals.")
                return True
        return False

    def points(self, name, size, n):
        """The first `n` random pixels of an open check, and no fewer than `LEAST_POINTS`.

        How many were drawn is remembered, to know an answer by them from strokes.

        Returns
        -------
        points : ndarray of shape (n, 2), int
            Rows and columns, whether they are marked or not, in the order in which to ask.
        """
        n = max(n, LEAST_POINTS)
        with self._lock:
            entry = self.entries()[name]
            if n > entry.get("points", 0):
                self._put(name, {**entry, "points": n})
                self.project.write()
        return random_points(name, size, n)

    # -- answers --------------------------------------------------------------------------------

    def answered(self, name, mask):
        """Note how an image is answered by a mask that is about to be kept, if it is a check."""
        if self.status(name) != "open":
            return
        if (mask != MISSING).all():
            self._answer(name, "whole")
        else:
            self._answer(name, "points" if self._is_fair(name, mask) else "strokes")

    def _is_fair(self, name, mask):
        """Whether enough of the points drawn are marked, up to the last one that is.

        They come in random order, so that whoever stops early has answered a fair sample as well.
        """
        n = self.entries()[name].get("points", 0)
        rows, columns = random_points(name, mask.shape, n).T
        told = np.flatnonzero(mask[rows, columns] != MISSING)
        if not len(told):
            return False
        n_asked = told[-1] + 1
        strokes = (mask != MISSING).sum() > len(told)
        least = _TOLD_BESIDE_STROKES if strokes else _TOLD
        enough = _TOLD * min(LEAST_POINTS, mask.size)  # the last ones may be "cannot tell"
        return len(told) >= enough and len(told) >= least * n_asked

    def sample(self, name, mask):
        """What of a mask is a fair sample of its image: all, or the random points alone.

        Parameters
        ----------
        name : str
            Of a check that is counted.
        mask : ndarray of shape (H, W), int

        Returns
        -------
        mask : ndarray of shape (H, W), int
            `MISSING` elsewhere.
        """
        entry = self.entries()[name]
        if entry.get("answer") != "points":
            return mask
        rows, columns = random_points(name, mask.shape, entry["points"]).T
        found = np.full_like(mask, MISSING)
        found[rows, columns] = mask[rows, columns]
        return found

    def _answer(self, name, answer):
        last = max((entry.get("number", 0) for entry in self.entries().values()), default=0)
        self._put(name, {**self.entries()[name], "answer": answer, "number": last + 1})

    def _put(self, name, entry):
        # A new dict, so that a state that is given back after an error holds the old one.
        self.project.state["checks"] = {**self.entries(), name: entry}
