"""Questions about a part of an image: a ninth of it, which alone takes marks.

A window is kept in the state when its image is shown first, so it is the same after a restart.
"""

import numpy as np

from alseg.annotate.asked_points import seeds_of
from alseg.labels import MISSING
from alseg.project import ask_about
from alseg.validation import EmptyPool

_PARTS = 3  # of each side
_OPEN = 0.5  # of the most uncertain window must be open for it to be asked
_AGAIN = 5  # images asked again at once


def ninths(size):
    """The nine windows of an image that is cut in three each way.

    Parameters
    ----------
    size : (int, int)
        Height and width.

    Returns
    -------
    windows : list of [int, int, int, int]
        Top, left, height and width; fewer of an image of less than three pixels a side.

    Examples
    --------
    >>> ninths((3, 10))[:4]
    [[0, 0, 1, 3], [0, 3, 1, 3], [0, 6, 1, 4], [1, 0, 1, 3]]
    """
    rows, columns = ([side * k // _PARTS for k in range(_PARTS + 1)] for side in size)
    return [
        [top, left, bottom - top, right - left]
        for top, bottom in zip(rows, rows[1:])
        for left, right in zip(columns, columns[1:])
        if top < bottom and left < right
    ]


def ninth_around(frame, size):
    """The window of a third of each side whose middle is nearest to that of a frame.

    Examples
    --------
    >>> ninth_around([0, 50, 10, 10], (30, 60))
    [0, 40, 10, 20]
    """
    found = []
    for start, length, side in zip(frame[:2], frame[2:], size):
        third = max(1, side // _PARTS)
        first = round(start + length / 2 - third / 2)
        found.append((min(max(0, first), side - third), third))
    (top, height), (left, width) = found
    return [top, left, height, width]


def cut_out(mask, window):
    """The part of a mask, a view, that a window shows."""
    top, left, height, width = window
    return mask[top : top + height, left : left + width]


class Regions:
    """The windows that questions are about. What it changes is on the disk when it returns.

    Parameters
    ----------
    project : Project
    asked : bool
        Whether questions are about windows at all; if not, those kept are not looked at.
    """

    def __init__(self, project, asked):
        self.project, self.asked = project, asked

    def entries(self):
        """What is kept of each image that a window was asked of, by name."""
        return self.project.state.get("regions", {}) if self.asked else {}

    def of(self, name):
        """The window that takes the marks of an image, or None for all of it."""
        entry = self.entries().get(name)
        return None if entry is None else entry["windows"][-1]

    def not_asked(self, name, size):
        """Pixels of an image that no window of it shows, (H, W) bool; None where all are asked.

        What was asked before is asked still: another window may be chosen while a page shows the
        one before.
        """
        entry = self.entries().get(name)
        if entry is None:
            return None
        found = np.ones(size, dtype=bool)
        for window in entry["windows"]:
            cut_out(found, window)[...] = False
        return found

    def open_again(self):
        """Names of images that have marks, and of which another window was asked since."""
        masks, skipped = self.project.state["masks"], self.project.state.get("skipped", ())
        return [
            name
            for name, entry in self.entries().items()
            if name in masks and name not in skipped and entry["answered"] < len(entry["windows"])
        ]

    def begin(self, name, mask, frame=None):
        """Choose the first window of an image, if questions are about windows and it has none."""
        if self.asked and name not in self.entries():
            window = self._chosen(name, mask, frame, [])
            if window is not None:
                self._put(name, {"windows": [window], "answered": 0})
                self.project.write()

    def answered(self, name, mask):
        """Note that an image is answered, if its last window is by this mask.

        On the disk with the next `Project.write`.
        """
        entry = self.entries().get(name)
        if entry is not None and (cut_out(mask, entry["windows"][-1]) != MISSING).any():
            self._put(name, {**entry, "answered": len(entry["windows"])})

    def ask_again(self, read, frame, after=None):
        """Ask about other windows of images of which one is marked, those least marked first.

        Parameters
        ----------
        read : callable
            Gives the mask that counts of an image, by position.
        frame : callable
            Gives its most uncertain window, or None, by position.
        after : str or None, default=None
            Name of the image before, which comes last.

        Raises
        ------
        EmptyPool
            If none has a window that is open.
        """
        masks, skipped = self.project.state["masks"], self.project.state.get("skipped", ())
        order = np.random.default_rng(len(self.project.state["rounds"])).permutation(
            [name for name in self.entries() if name in masks and name in self.project.positions]
        )
        chosen, least = [], 0

        def place(name):
            return len(self.entries()[name]["windows"]), name == after

        for name in sorted(order.tolist(), key=place):
            entry, i = self.entries()[name], self.project.positions[name]
            is_open = entry["answered"] < len(entry["windows"])
            if is_open or name in skipped or masks[name].get("annotated") == 1:
                continue
            if chosen and len(entry["windows"]) > least:
                break
            least = len(entry["windows"])
            window = self._chosen(name, read(i), frame(i), entry["windows"])
            if window is not None:
                self._put(name, {**entry, "windows": [*entry["windows"], window]})
                chosen.append(i)
            if len(chosen) == _AGAIN:
                break
        if not chosen:
            raise EmptyPool("No image has a part that is open.")
        ask_about(self.project, chosen, "Another part of an image of which one is marked.")

    def _chosen(self, name, mask, frame, windows):
        """The most uncertain window, or one at random, of those that are open; or None."""
        size = mask.shape
        if frame is not None:
            window = ninth_around(frame, size)
            if (cut_out(mask, window) == MISSING).mean() >= _OPEN:
                return window
        share = [(cut_out(mask, one) == MISSING).mean() for one in ninths(size)]
        best = [one for one, open_ in zip(ninths(size), share) if open_ == max(share)]
        if not max(share):
            return None
        rng = np.random.default_rng([*seeds_of(name, 0), len(windows)])
        return best[rng.integers(len(best))]

    def _put(self, name, entry):
        # A new dict, so that a state that is given back after an error holds the old one.
        # In it the one asked last stands last.
        kept = self.project.state.get("regions", {})
        others = {key: value for key, value in kept.items() if key != name}
        self.project.state["regions"] = {**others, name: entry}
