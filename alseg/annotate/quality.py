"""How good the model behind the page was found to be, kept in the state folder, and what it says.

A line of the file is what the check images held out at that time said of a version of the model,
or how far a proposal agreed with what was drawn on another image. Nothing is ever taken out of it.
"""

import json
import math
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime

import numpy as np

from alseg.annotate.estimates import advice, estimate, learning_curve, outlook, shown_curve
from alseg.files import AppendOnly
from alseg.labels import MISSING

QUALITY = ".alseg-quality.jsonl"
"""File of the state folder that says what checks and proposals came to."""

_EVERY = 60.0  # seconds between two lines of versions that know the same marks
_NO_GROUP = ("", "nan", "None")  # as an empty cell of a table is read
_AGREEMENT = 12  # images drawn last that the agreement is of


def read_lines(data):
    """The objects of a file of JSON lines; a line that a kill has cut is left out.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    lines : list of dict

    Examples
    --------
    >>> read_lines(b'{"seconds": 3}\\n{"sec')
    [{'seconds': 3}]
    """
    found = []
    for line in data.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def read_counts(counts, n_classes):
    """Counts by name as arrays, without those that are of other classes, or damaged.

    Parameters
    ----------
    counts : dict of str to nested list
    n_classes : int

    Returns
    -------
    counts : dict of str to ndarray of shape (n_classes, n_classes)
    """
    found = {}
    for name, value in counts.items() if isinstance(counts, dict) else ():
        try:
            array = np.asarray(value, dtype=float)
        except (ValueError, TypeError):
            continue
        if array.shape == (n_classes, n_classes) and np.isfinite(array).all() and array.sum() > 0:
            found[name] = array
    return found


def read_groups(groups):
    """Groups by name, without those that are damaged.

    Examples
    --------
    >>> read_groups({"a": "patient 1", "b": 3}), read_groups(None)
    ({'a': 'patient 1'}, {})
    """
    items = groups.items() if isinstance(groups, dict) else ()
    return {name: group for name, group in items if isinstance(group, str)}


def minutes_of(line):
    """Active minutes that a line says, or None.

    Examples
    --------
    >>> minutes_of({"minutes": 2}), minutes_of({"minutes": "x"})
    (2.0, None)
    """
    value = line.get("minutes")
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fine and value >= 0 else None


def proposed_classes(proposal, size):
    """The classes that the bytes of a proposal mean: foreground from a half on.

    Parameters
    ----------
    proposal : bytes
        H * W probabilities of foreground, 0 to 255; with more than two classes H * W classes more.
    size : (int, int)

    Returns
    -------
    mask : ndarray of shape (H, W), int

    Examples
    --------
    >>> proposed_classes(bytes([0, 200, 128, 127]), (2, 2))
    array([[0, 1],
           [1, 0]])
    """
    n = size[0] * size[1]
    values = np.frombuffer(proposal, np.uint8).astype(int)
    classes = values[n : 2 * n] if len(values) >= 2 * n else 1
    return np.where(values[:n] >= 128, classes, 0).reshape(size)


class Quality:
    """What is known of the model, and its file. May be used from many threads.

    Parameters
    ----------
    project : Project
    checks : Checks
    minutes : callable
        Gives the active minutes so far.
    target : float or None, default=None
        Dice that is enough, in (0, 1].
    clock : callable, default=time.time
    """

    def __init__(self, project, checks, minutes, target=None, clock=time.time):
        self.project, self.checks = project, checks
        self.target = target
        self._minutes, self._clock = minutes, clock
        self._lock = threading.Lock()
        self._file = AppendOnly(project.folder / QUALITY)
        self._file.end_line()
        lines = read_lines(self._file.read())
        self._records = [line for line in lines if isinstance(line.get("counts"), dict)]
        self._agreed = [line for line in lines if "agreement" in line]
        self._latest = self._records[-1] if self._records else None
        self._written = -math.inf
        self._n_told = 0
        self._said = None, None

    def close(self):
        """Let another process write to the file."""
        self._file.close()

    # -- what is told ---------------------------------------------------------------------------

    def record(self, found):
        """Take what a version of the model makes of the checks held out.

        A line is written for each new mark, and else once a minute at most.

        Parameters
        ----------
        found : dict
            ``version``, ``n_marked``, and ``counts``: by name pixels by true and predicted class.
        """
        counts = {name: np.asarray(value).tolist() for name, value in found["counts"].items()}
        if not counts:
            return
        line = {
            "time": _now(),
            "minutes": round(self._minutes(), 3),
            "version": found["version"],
            "n_marked": found["n_marked"],
            "n_left": self._n_left(),
            "counts": counts,
        }
        if groups := self._groups(counts):
            line["groups"] = groups
        with self._lock:
            known = self._records[-1].get("n_marked") if self._records else None
            self._latest, self._n_told = line, self._n_told + 1
            news = known != line["n_marked"]
            if news or self._clock() - self._written >= _EVERY:
                self._records.append(line)
                self._written = self._clock()
                self._append(line)

    def _groups(self, names):
        """Whose images these are, by name, where the folder says it."""
        groups, at = self.project.data.groups, self.project.positions
        if groups is None:
            return {}
        found = {name: str(groups[at[name]]).strip() for name in names if name in at}
        return {name: group for name, group in found.items() if group not in _NO_GROUP}

    def agreed(self, name, mask, proposal):
        """Note how far the proposal that was shown agrees with what was drawn.

        Parameters
        ----------
        name : str
            Of an image that is no check, answered for the first time.
        mask : ndarray of shape (H, W), int
        proposal : bytes
        """
        n = self.project.n_mask_classes
        called = proposed_classes(proposal, mask.shape)
        known = (mask != MISSING) & (called < n)
        counts = np.bincount(n * mask[known] + called[known], minlength=n * n).reshape(n, n)
        line = {"time": _now(), "minutes": round(self._minutes(), 3), "name": name}
        line["agreement"] = counts.tolist()
        with self._lock:
            self._agreed.append(line)
            self._append(line)

    def _append(self, line):
        with suppress(OSError):  # what it says is known here; nobody's marks depend on it
            self._file.append(json.dumps(line).encode() + b"\n", durable=False)

    def _n_left(self):
        return int((~self.project.has_mask()).sum())

    # -- what is known --------------------------------------------------------------------------

    def standing(self):
        """What a page shows: the number and its interval, the curve, the forecast, the advice."""
        with self._lock:
            counted = tuple(self.checks.counted())
            n_left = self._n_left()
            key = counted, n_left, self._n_told, len(self._agreed)
            if self._said[0] != key:
                records = self._records
                if self._latest is not None and self._latest is not records[-1]:
                    records = [*records, self._latest]
                found = assess(
                    records,
                    self._agreed,
                    set(counted),
                    n_left,
                    self.project.n_mask_classes,
                    self.target,
                )
                self._said = key, {**found, "n_counted": len(counted)}
            return self._said[1]


def assess(records, agreed, counted, n_left, n_classes, target=None):
    """All that records of checks say.

    Parameters
    ----------
    records, agreed : list of dict
        Lines of the file.
    counted : set of str
        Names of the checks that count.
    n_left : int or None
        Images without an answer; None where nobody knows.
    n_classes : int
        Pixel classes, background included.
    target : float or None, default=None

    Returns
    -------
    found : dict
        See `Quality.standing`; numbers are in [0, 1], or None.
    """
    points = measured(records, counted, n_left, n_classes)
    now = points[-1].estimate if points else None
    ahead = outlook(points)
    stop, text = advice(now, ahead, n_left, target)
    agreement = [
        *read_counts({line.get("name"): line["agreement"] for line in agreed}, n_classes).values()
    ][-_AGREEMENT:]
    return {
        "n_checks": 0 if now is None else now.n,
        "n_groups": None if now is None else now.n_groups,
        "dice": None if now is None else now.value,
        "low": None if now is None else now.low,
        "high": None if now is None else now.high,
        "curve": shown_curve(points),
        "forecast": None if ahead is None else ahead._asdict(),
        "advice": {"stop": stop, "text": text},
        "agreement": None
        if not agreement
        else {"n": len(agreement), "dice": estimate(agreement).value},
    }


def measured(records, counted, n_left, n_classes):
    """The learning curve of the records; see `assess`.

    Returns
    -------
    points : list of CurvePoint
    """
    kept, groups = [], {}
    for line in records:
        counts = read_counts(line.get("counts"), n_classes)
        counts = {name: value for name, value in counts.items() if name in counted}
        if counts and minutes_of(line) is not None:
            kept.append((minutes_of(line), counts))
            groups |= read_groups(line.get("groups"))
    n_images = None if n_left is None else n_left + len(counted)
    return learning_curve(kept, n_images=n_images, groups=groups)


def _now():
    return datetime.now(UTC).isoformat(timespec="milliseconds")
