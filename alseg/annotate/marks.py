"""What somebody says about images, kept in the state folder: marks, drafts, labels, what it cost.

What counts stands in the project (`alseg.project.keep`), so `alseg query` and `predict` see it. A
draft is what a page sends while somebody draws: a file of its own, which never counts.
"""

import copy
import json
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import numpy as np

from alseg.annotate.asked_regions import Regions
from alseg.annotate.bytes_of_masks import marked_mask
from alseg.annotate.check_images import Checks
from alseg.annotate.cost_log import COSTS, checked_costs, minutes_spent
from alseg.annotate.drawing import Drawing
from alseg.annotate.headers import Headers
from alseg.annotate.quality import Quality, read_lines
from alseg.annotate.untold import Untold
from alseg.files import AppendOnly, file_name
from alseg.images import as_images
from alseg.labels import MISSING, label_codes, missing_labels
from alseg.project import (
    ask_at_once,
    by_rule,
    keep,
    read_stored,
    set_classes,
    set_empty,
    stored_bytes,
)
from alseg.validation import EmptyPool, message

_AHEAD, _PIXELS = 5, 4e6  # images asked for at once, and their pixels, which are read for it


class Stale(ValueError):
    """The marks were changed since a page has read them.

    Attributes
    ----------
    revision : int
        The present one.
    """

    def __init__(self, name, given, revision):
        super().__init__(
            f"The marks of {name} were changed since (revision {revision}, not {given}): look at "
            "them before you save. Nothing was written over."
        )
        self.revision = revision


class DrawnElsewhere(Stale):
    """Another page has written a draft since a page has looked at the marks."""

    def __init__(self, name, revision):
        ValueError.__init__(
            self, f"Another page is drawing on {name}: look at what it has before you go on."
        )
        self.revision = revision


class Marks:
    """The images of a project and what is said about them; may be used from many threads.

    All that is answered is on the disk before it is answered.

    Parameters
    ----------
    project : Project
        Open, and nobody else's meanwhile.
    regions : bool, default=False
        Whether each question is about a ninth of an image.

    Attributes
    ----------
    names : list of str
        Of the images; their positions are the ids of the page.
    labels : list of str
        Class labels that an image may have.
    headers : Headers
        What is known of their files.
    checks : Checks
        Those of them that measure the model.
    quality : Quality
        What they say of it.
    untold : Untold
        Asked pixels that nobody can tell.
    changed : callable or None
        Called when marks, labels or what else counts were changed, and are on the disk.
    scores : callable or None
        Gives `scores` and `known` of `alseg.project.ask_at_once`.
    regions : Regions
        The parts of images that are asked.
    frame : callable
        Gives the most uncertain part of an image, by position, or None.

    Raises
    ------
    FolderInUse, OSError
        If the file of costs cannot be written to.
    """

    def __init__(self, project, regions=False):
        self.project = project
        self.regions, self.frame = Regions(project, regions), lambda i: None
        self.names = project.data.ids.tolist()
        self.images = as_images(project.data.images)
        labels = project.data.labels
        self.classes = label_codes(labels)[0].tolist() if labels.ndim == 1 else []
        self.labels = [str(label) for label in self.classes]
        self._unknown = missing_labels(labels) if self.classes else None
        self._in_folder = project.in_folder()
        self.headers = Headers(self.images, self.names, project.files)
        self._drawing = Drawing()
        self._lock = threading.RLock()
        self.checks = Checks(project, self._lock)
        self.changed = self.scores = None
        self._costs = AppendOnly(project.folder / COSTS)
        try:
            self._costs.end_line()  # of a process that was killed
            lines = read_lines(self._costs.read())
            self._minutes = sum(minutes_spent(line) for line in lines)
            self.untold = Untold(project.folder)
            try:
                self.quality = Quality(project, self.checks, lambda: self._minutes)
            except BaseException:
                self.untold.close()
                raise
        except BaseException:
            self._costs.close()
            raise

    def close(self):
        """Let another process write to the files of costs, of quality and of untold pixels."""
        self.quality.close()
        self.untold.close()
        self._costs.close()

    # -- what is there --------------------------------------------------------------------------

    def size(self, i):
        """See `Headers.size`."""
        return self.headers.size(i)

    def revision(self, i):
        """How often the marks of an image were changed."""
        return self.project.state.get("revisions", {}).get(self.names[i], 0)

    def status(self, i):
        """What is said of an image: "open", "marked" (a part), "done" or "skipped"."""
        name, state = self.names[i], self.project.state
        entry = state["masks"].get(name)
        if entry is None:
            if self._in_folder[i]:
                return "done"
            if self.is_ruled(i):
                return "done"
            return "skipped" if name in state.get("skipped", ()) else "open"
        if "annotated" not in entry:  # of an earlier version
            entry["annotated"] = float((self._counted(i) != MISSING).mean())
        return "done" if entry["annotated"] == 1 else "marked"

    def statuses(self):
        """What is said of each image: `status`, and "asked" where an open one was asked for."""
        with self._lock:
            asked, skipped = set(self.asked()), set(self.project.state.get("skipped", ()))
            masks = self.project.state["masks"]
            ruled, found = by_rule(self.project), []
            for i, name in enumerate(self.names):
                if name in masks or self._in_folder[i] or ruled[i]:
                    found.append(self.status(i))
                elif name in skipped:
                    found.append("skipped")
                else:
                    found.append("asked" if i in asked else "open")
            return found

    def asked(self):
        """Positions of the images that were asked for, in that order."""
        with self._lock:
            rounds = self.project.state["rounds"]
            asked = dict.fromkeys(name for found in rounds for name in found["ids"])
        at = self.project.positions
        return [at[name] for name in asked if name in at]

    def changes(self):
        """Which change of marks, counted from the first, was the last one of an image.

        Returns
        -------
        found : dict of int to int
            By the image's position; without those that were never changed here.
        """
        with self._lock:
            history = list(self.project.state.get("history", ()))
        at = self.project.positions
        found = {}
        for number, step in enumerate(history):
            found |= {at[name]: number for name in step.get("before") or {} if name in at}
        return found

    def counted(self, i):
        """The mask that counts, of shape (H, W), or None. Drafts are none.

        Raises
        ------
        OSError, ValueError
            If the image or its mask cannot be read, or they are of different sizes.
        """
        with self._lock:
            mask = self._counted(i)
        if mask is not None and mask.shape != self.size(i):
            raise ValueError(f"the mask of {self.names[i]} is of another size than its image.")
        return mask

    def n_answered(self):
        """Images with marks that count."""
        return int(self.project.has_mask().sum())

    def n_in_part(self):
        """How many of these are marked in a part alone, and open elsewhere."""
        with self._lock:
            at, masks = self.project.positions, list(self.project.state["masks"])
            return sum(self.status(at[name]) == "marked" for name in masks if name in at)

    def is_ruled(self, i):
        """Whether an image without a mask holds nothing, as the rule about its class label says."""
        if self.label(i) not in self.project.state.get("empty", ()):
            return False
        return not self._in_folder[i] and self.names[i] not in self.project.state["masks"]

    def label(self, i):
        """The class label of an image, as a text, or None."""
        if self._unknown is None or self._unknown[i]:
            return None
        return str(self.project.data.labels[i])

    def describe(self, i):
        """What a page is told about an image.

        Raises
        ------
        FileNotFoundError, ValueError
            If it cannot be read.
        """
        height, width = self.size(i)
        channels, bits = self.headers.depth(i)
        with self._lock:
            return {
                "id": i,
                "name": self.names[i],
                "label": self.label(i),
                "width": width,
                "height": height,
                "channels": channels,
                "bits": bits,
                "why": self._why(i),
                "revision": self.revision(i),
                "state": self.status(i),
                "check": self.checks.status(self.names[i]),
                "region": self.regions.of(self.names[i]),
            }

    def _why(self, i):
        if self.is_ruled(i):
            return f"Nothing is in images of {self.label(i)}: so the rule says."
        for found in reversed(self.project.state["rounds"]):
            if self.names[i] in found["ids"]:
                why = found.get("why")
                return why if isinstance(why, str) else "Asked for by alseg query."
        return ""

    def _counted(self, i):
        """The mask that counts, or None."""
        mask = self.project.mask(i)
        if mask is None and self.is_ruled(i):
            return np.zeros(self.size(i), np.int16)
        return mask

    def read(self, i, draft=True, page=None):
        """The marks of an image: the draft, if there is one since they were changed.

        Parameters
        ----------
        i : int
        draft : bool, default=True
            False reads what counts alone.
        page : str or None, default=None
            Whose next draft is taken, if no other page writes one before.

        Returns
        -------
        mask : ndarray of shape (H, W), int16
        revision : int
        is_draft : bool
        """
        size = self.size(i)
        with self._lock:
            revision = self.revision(i)
            mask = self._read_draft(i, revision, size) if draft else None
            if draft:
                self._drawing.seen(page, i, revision)
            if mask is not None:
                return mask, revision, True
            mask = self._counted(i)
        if mask is None:
            mask = np.full(size, MISSING, np.int16)
        if mask.shape != size:
            raise ValueError(f"the mask of {self.names[i]} is of another size than its image.")
        return mask, revision, False

    def _read_draft(self, i, revision, size):
        path = self.project.folder / self._draft(i, revision)
        try:
            mask = read_stored(path)
        except (OSError, ValueError):  # none, or somebody's own file
            return None
        if mask.shape != size or mask.max() >= self.project.n_mask_classes:
            return None
        return self._kept_as_asked(i, mask)  # it may be older than the question about a part

    def _draft(self, i, revision):
        # By revision: what was drawn before the marks were changed is never taken for newer.
        return "drafts/" + file_name(f"{self.names[i]}-r{revision}", ".png")

    # -- the question ---------------------------------------------------------------------------

    def next(self, after=None):
        """The next image that is asked about: its position, or None if none is left.

        Parameters
        ----------
        after : int or None, default=None
            Position of the one before. None gives the first that is open.

        Notes
        -----
        Images that were asked for come in the order asked, also those of `alseg query`. At their
        end others are asked for, by `alseg.project.ask_at_once`, which trains nothing, or about
        one in six by chance alone: a check.
        """
        with self._lock:
            found = self._following(after)
            if found is None:
                # One that is on the desk is not the next one, unless it is asked again now.
                open_ = {*self.project.pending(), *self.regions.open_again()}
                but = None if after is None or self.names[after] not in open_ else after
                try:
                    self._ask(after)
                    found = self._following(after)
                except EmptyPool:
                    but = after
                if found is None:
                    found = self._following(None, but=but)
            return self._begun(found)

    def upcoming(self, i):
        """Positions of an image and of those that are asked about after it, as far as known."""
        with self._lock:
            open_ = [self.project.positions[name] for name in self.project.pending()]
        at = open_.index(i) if i in open_ else 0
        return [] if i is None else [i, *open_[at:], *open_[:at]]

    def _begun(self, i):
        """An image that is about to be shown: which part of it is asked is decided now."""
        if i is not None and self.regions.asked and self.names[i] not in self.checks.entries():
            with suppress(OSError, ValueError), self._whole():  # it cannot be read: all of it
                mask, _, _ = self.read(i, draft=False)
                self.regions.begin(self.names[i], mask, self.frame(i))
        return i

    def _ask(self, after):
        n = self.checks.n_before()
        if n == 0:
            with self._whole():
                if self.checks.ask(self.headers.is_readable):
                    return
        fresh = () if self.scores is None else self.scores()
        try:
            found = ask_at_once(self.project, min(self._ahead(), n or 1), *fresh)
            for name, reason in found["unreadable"].items():
                self.headers.note_broken(self.project.positions[name], reason)
        except EmptyPool:
            with self._whole():
                last = None if after is None else self.names[after]
                self.regions.ask_again(lambda i: self.read(i, draft=False)[0], self.frame, last)

    def _ahead(self):
        """How many images are asked for at once: as many as take no time to read."""
        if not self.headers.is_readable(0):
            return 1
        height, width = self.size(0)
        return max(1, min(_AHEAD, int(_PIXELS / (height * width))))

    def _following(self, after, but=None):
        open_ = [*self.project.pending(), *self.regions.open_again()]
        if after is not None:
            asked = [name for found in self.project.state["rounds"] for name in found["ids"]]
            asked = list(dict.fromkeys(reversed(asked)))[::-1]  # one asked again comes again
            name = self.names[after]
            at = asked.index(name) + 1 if name in asked else 0
            later = set(asked[at:]) - {name}
            open_ = [found for found in open_ if found in later]
        for name in open_:
            i = self.project.positions[name]
            if i != but and self.headers.is_readable(i):
                return i
        return None

    # -- answers --------------------------------------------------------------------------------

    def write_draft(self, i, revision, pixels, page=None):
        """Keep what is being drawn, apart from what counts.

        Parameters
        ----------
        i : int
        revision : int
            Of the marks that the page has read.
        pixels : bytes
            See `marked_mask`.
        page : str or None, default=None
            Who writes it. None is one that nobody minds.

        Raises
        ------
        Stale
            If the marks were changed since `revision`, or another page has written a draft that
            this one has not read.
        ValueError
            See `marked_mask`.
        """
        mask = marked_mask(pixels, self.size(i), self.project.n_mask_classes)
        with self._lock:
            self._check(i, revision)
            self._check_asked(i, mask)
            if not self._drawing.may_write(page, i, revision):
                raise DrawnElsewhere(self.names[i], revision)
            self.project.files.write(self._draft(i, revision), stored_bytes(mask))
            self._drawing.wrote(page, i, revision)

    def save(self, i, revision, answer, pixels, proposal=None):
        """Keep marks that count, in the place of those that were there.

        Parameters
        ----------
        i : int
        revision : int
            Of the marks that the page has read.
        answer : {"marks", "all", "nothing"}
            Whether only what is marked counts, all is right as it stands, or all is background.
        pixels : bytes
            See `marked_mask`; empty for "nothing".
        proposal : bytes or None, default=None
            What was proposed on the page meanwhile.

        Returns
        -------
        revision : int

        Raises
        ------
        Stale
            If the marks were changed since `revision`.
        ValueError
            If the answer is none, the pixels are not what it says, or some were changed that were
            not asked (see `Regions.not_asked`).
        """
        mask = self._answered(i, answer, pixels)
        name = self.names[i]
        with self._lock:
            self._check(i, revision)
            self._check_asked(i, mask)
            is_first = not self.project.has_mask()[i] and name not in self.checks.entries()
            with self._whole():
                self.checks.answered(name, mask)
                self.regions.answered(name, mask)
                keep(self.project, {name: mask})
            if is_first and proposal is not None:
                self.quality.agreed(name, mask, proposal)
            return self.revision(i)

    def _answered(self, i, answer, pixels):
        size = self.size(i)
        if answer == "nothing":
            if pixels:
                raise ValueError(message("body", "empty for answer=nothing", len(pixels)))
            return np.zeros(size, np.int16)
        if answer not in ("marks", "all"):
            raise ValueError(message("answer", "one of ['marks', 'all', 'nothing']", answer))
        mask = marked_mask(pixels, size, self.project.n_mask_classes)
        n_missing = int(np.count_nonzero(mask == MISSING))
        if answer == "all" and n_missing:
            rule = "without a pixel that nobody said for answer=all"
            raise ValueError(message("body", rule, n_missing))
        if n_missing == mask.size:
            remedy = "Mark a pixel, or skip the image."
            raise ValueError(message("body", "marked in at least one pixel", "none", remedy))
        return mask

    def _check(self, i, revision):
        if revision != self.revision(i):
            raise Stale(self.names[i], revision, self.revision(i))

    def _check_asked(self, i, mask):
        """Refuse marks elsewhere than in the part of an image that is asked."""
        kept = self._kept_as_asked(i, mask)
        n = 0 if kept is mask else int(np.count_nonzero(kept != mask))
        if n:
            rule = f"as it was outside of the part of {self.names[i]} that is asked about"
            remedy = "Mark in that part alone, or start alseg annotate without --regions."
            raise ValueError(message("body", rule, f"{n} other pixels", remedy))

    def _kept_as_asked(self, i, mask):
        """A mask, in which what is not asked about is what counts."""
        rest = self.regions.not_asked(self.names[i], mask.shape)
        if rest is None or not rest.any():
            return mask
        counted = self._counted(i)
        return np.where(rest, MISSING if counted is None else counted, mask)

    def skip(self, i):
        """Say that nobody can tell: the image is not asked for again. Its marks stay.

        Returns
        -------
        revision : int
        """
        with self._lock, self._whole():
            skipped = self.project.state.setdefault("skipped", [])
            if self.names[i] not in skipped:
                skipped.append(self.names[i])
                step = {"command": "skip", "id": self.names[i]}
                self.project.state.setdefault("history", []).append(step)
                self.project.write()
            return self.revision(i)

    def unskip(self, i):
        """Take back that nobody can tell.

        Raises
        ------
        ValueError
            If nobody said so.
        """
        name = self.names[i]
        with self._lock, self._whole():
            state = self.project.state
            if name not in state.get("skipped", ()):
                raise ValueError(f"{name} was not put aside: there is nothing to take back.")
            state["skipped"] = [other for other in state["skipped"] if other != name]
            step = {"command": "skip", "id": name}
            state["history"] = [one for one in state.get("history", ()) if one != step]
            self.project.write()

    def say_untold(self, i, revision, row, column, told):
        """See `Untold.say`."""
        with self._lock:
            self.untold.say(self.names[i], self.size(i), revision, row, column, told)

    def set_classes(self, names, colors):
        """See `alseg.project.set_classes`."""
        with self._lock, self._whole():
            set_classes(self.project, names, colors)

    def set_empty(self, label, empty):
        """See `alseg.project.set_empty`."""
        with self._lock, self._whole():
            set_empty(self.project, label, empty)

    def relabel(self, i, label):
        """Correct the class label of an image.

        Raises
        ------
        ValueError
            If it is none of `labels`.
        """
        if label not in self.labels:
            raise ValueError(message("label", f"one of {self.labels}", label))
        with self._lock, self._whole():
            self.project.state.setdefault("labels", {})[self.names[i]] = label
            self.project.write()
            self.project.data.labels[i] = self.classes[self.labels.index(label)]
            self._unknown[i] = False

    def log(self, i, seconds, strokes, clicks, points=0, answer=None):
        """Add a line to the file of costs.

        Parameters
        ----------
        i : int
        seconds : float
            In which somebody was busy with the image.
        strokes, clicks, points : int
            How many; a point is an asked pixel that was answered.
        answer : {"marks", "all", "nothing", "skip", "later"} or None, default=None
            How the image was left; None of an earlier version's page.

        Raises
        ------
        ValueError
            If one is no number from 0, strokes, clicks or points are not whole, or the answer is
            none.
        """
        costs = checked_costs(seconds, strokes, clicks, points, answer)
        with self._lock:
            line = {
                "image": self.names[i],
                "revision": self.revision(i),
                **costs,
                "label": self.label(i),
                "check": self.checks.status(self.names[i]),
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            self._costs.append(json.dumps(line).encode() + b"\n")
            self._minutes += minutes_spent(line)

    @contextmanager
    def _whole(self):
        """What could not be written to the disk does not count here either."""
        state = {key: copy.copy(value) for key, value in self.project.state.items()}
        try:
            yield
        except BaseException:
            self.project.state = state
            raise
        if self.changed is not None:
            self.changed()
