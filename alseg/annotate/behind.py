"""What learns behind the pen, as the server sees it: a process that may come and go.

It is started when somebody draws, or there is something to learn from, at low priority, and again
where it died. It is told what was changed, and tells what it makes of images. Nothing that counts
depends on it.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from contextlib import suppress

from alseg.annotate.channel import Channel
from alseg.files import NotOurs
from alseg.project import keep_model, last_model
from alseg.validation import counted

PREDICTED = "predicted"
"""Folder in the state folder for the masks of all images."""

_UNFINISHED = "predicting.json"
"""File of the state folder that stands there from "predict all images" until all are predicted."""

_BYTES = 256 * 2**20  # of proposals kept in memory
_ENOUGH = 50  # open images to ask among, ten times those that are asked for at once
_NEXT = 6  # images that are predicted before others: those that the page opens next
_PAUSE = 60.0  # seconds without a request after which the person pauses
_QUICK, _DEATHS = 30.0, 3  # so many deaths within so many seconds of a start are enough
_WAIT = 2.0  # seconds that a request waits for a proposal, at most
_CODE = "import sys; sys.path[:] = {}; from alseg.annotate.trainer import main; main()"


class Child:
    """The process, and a thread that hears it.

    Parameters
    ----------
    hear : callable
        Called with each message and its bytes.
    ended : callable
        Called once no message will come any more.
    """

    def __init__(self, hear, ended):
        n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = str(max(1, n - 1))  # one stays for the pen
        settings = {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CODE.format(json.dumps(sys.path))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **settings},
        )
        self._channel = Channel(self.process.stdout, self.process.stdin)
        self._hear, self._ended = hear, ended
        self._outbox = queue.SimpleQueue()  # nobody waits until the process takes what it is told
        self._threads = [
            threading.Thread(target=work, name="alseg trainer", daemon=True)
            for work in (self._listen, self._tell)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, message):
        """Tell it; a message to a process that is gone is lost."""
        self._outbox.put(message)

    def _tell(self):
        with suppress(OSError, ValueError):
            while (message := self._outbox.get()) is not None:
                self._channel.send(message)

    def _listen(self):
        while (found := self._channel.get()) is not None:
            self._hear(*found)
        self.process.wait()
        self._outbox.put(None)
        self._threads[1].join()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                pipe.close()
        self._ended()

    def close(self):
        """End it, whatever it is doing."""
        self.process.kill()
        self._threads[0].join()


class Behind:
    """Learns from marks while somebody draws; may be used from many threads.

    Parameters
    ----------
    project : Project
        Whose folder is open here.
    held_out : callable, default=list
        Names of images not to learn from, for they are checks.
    on_checked : callable or None, default=None
        Called with ``version``, ``n_marked`` and ``counts``: by name of a check how often each
        class was called each, rows for what was marked.
    on_unreadable : callable or None, default=None
        Called with the position of an image whose pixels cannot be read, and why.
    start : callable, default=Child
        Makes the process.
    clock : callable, default=time.monotonic
    pause : float, default=60
        Seconds without a request after which a full fit begins.
    """

    def __init__(
        self,
        project,
        held_out=list,
        on_checked=None,
        on_unreadable=None,
        start=Child,
        clock=time.monotonic,
        pause=_PAUSE,
    ):
        self.project, self.held_out = project, held_out
        self.on_checked, self.on_unreadable = on_checked, on_unreadable
        self._start, self._clock, self._pause = start, clock, pause
        self._changed = threading.Condition(threading.RLock())
        self._child, self._closing, self._deaths = None, False, 0
        self._started = self._touched = clock()
        self._maps, self._size = OrderedDict(), 0  # position: (version, bytes)
        self._seen = {}  # position: (version, uncertainty, frame)
        self._waited, self._next = set(), []
        self._standing = _nothing("waiting", "Learning begins with the first marks.")
        self._version = self._n_marked = 0
        self._source, self._since = None, 0  # what proposes, and from which version on
        self._n_classes = project.n_mask_classes
        self._model = False  # whether the process can predict
        self._revision = self._fitted = 0  # how often marks were changed, and at the last full fit
        self._predict, self._predict_error, self._look = False, None, False
        self._told, self._drawn = None, False
        self._watch = threading.Thread(target=self._run, name="alseg behind", daemon=True)
        self._watch.start()

    # -- what the server tells --------------------------------------------------------------------

    def changed(self):
        """Marks, labels or options were changed, and are on the disk."""
        changes = self._changes()
        with self._changed:
            if self._n_classes != self.project.n_mask_classes:
                self._n_classes, self._model, self._size = self.project.n_mask_classes, False, 0
                self._maps.clear()
                self._seen.clear()
            self._revision += 1
            self._look = True
            self.touched()
            self._tell(changes)
            self._changed.notify_all()

    def touched(self):
        """The person is there."""
        with self._changed:
            self._touched = self._clock()
            if self._standing["state"] == "full fit":
                self._tell({"kind": "active"})

    def draws(self):
        """The person draws: the process is started, so that it is ready once that is saved."""
        with self._changed:
            self.touched()
            if not self._drawn:
                self._drawn = self._look = True
                self._changed.notify_all()

    def opens(self, ids):
        """These are the images that the page opens next, the first first."""
        with self._changed:
            self.touched()
            self._next, self._look = list(dict.fromkeys(ids))[:_NEXT], True
            self._tell({"kind": "next", "ids": self._next})
            self._changed.notify_all()

    def wanted(self, ids):
        """Predict these before others."""
        self._tell({"kind": "wanted", "ids": list(ids)})

    def predict(self):
        """Predict all images, by a full fit, into the folder `predicted` of the state folder.

        A process that dies does not end it; a server that ends does, and the next one says so: it
        goes on where it was, when it is asked for again.
        """
        with suppress(OSError, NotOurs):  # it only says that there is something to go on with
            self.project.files.write_json(_UNFINISHED, {})
        with self._changed:
            self.touched()
            self._predict, self._predict_error, self._look = True, None, True
            self._tell({"kind": "predict"})
            self._changed.notify_all()

    def close(self):
        """End the process."""
        with self._changed:
            self._closing = True
            child, self._child = self._child, None
            self._changed.notify_all()
        if child is not None:
            child.close()
        self._watch.join()

    # -- what the server asks ---------------------------------------------------------------------

    @property
    def there(self):
        """Whether proposals can be had."""
        return self._model

    def __call__(self, i):
        """What is proposed for an image, as bytes, or None; see `proposal`."""
        found = self.proposal(i)
        return None if found is None else found[1]

    def proposal(self, i, wait=_WAIT):
        """What is proposed for an image, asked for where it is not known.

        Parameters
        ----------
        i : int
        wait : float, default=2
            Seconds, at most.

        Returns
        -------
        version : int
        pixels : bytes
            See `alseg.annotate.proposed.as_bytes`. Or None, where there is no proposal (yet).
        """
        with self._changed:
            if i not in self._maps and self._model:
                self._waited.add(i)
                self.wanted([i])
                self._changed.wait_for(lambda: i not in self._waited or not self._model, wait)
                self._waited.discard(i)
            found = self._maps.get(i)
            if found is not None:
                self._maps.move_to_end(i)
            return found

    def uncertainty(self, i):
        """How unsure the model is of an image, 0 to 1, or None."""
        return self._seen.get(i, (None, None, None))[1]

    def frame(self, i):
        """[top, left, height, width] of its most uncertain part, or None."""
        return self._seen.get(i, (None, None, None))[2]

    def version(self, i):
        """Version of the model whose proposal is known, or None."""
        found = self._maps.get(i)
        return None if found is None else found[0]

    def scores(self):
        """How unsure the model is of open images, and what it has learned from.

        Each slice of training makes a version, which has looked at a few images by the time it is
        asked, and an earlier one is less sure of everything. So they are of the newest versions
        alone, as many as have looked at fifty images, and of the model that proposes: slices and
        full fits are not compared. Half a minute of training makes as many; where it rests, the
        last version looks at all.

        Returns
        -------
        scores : dict of str to float
            By name of image.
        known : str
        """
        names, open_ = self.project.data.ids, ~self.project.has_mask()
        with self._changed:
            seen = {i: one for i, one in self._seen.items() if open_[i]}
            least = self._newest(seen)
            scores = {str(names[i]): one[1] for i, one in seen.items() if one[0] >= least}
            n = counted(self._n_marked, "marked image")
        return scores, f" to the model behind the pen, which has learned from {n}"

    def _newest(self, seen):
        """The version from which on versions have looked at enough of these images."""
        versions = sorted((one[0] for one in seen.values() if one[0] >= self._since), reverse=True)
        return versions[min(len(versions), _ENOUGH) - 1] if versions else self._since

    def older(self):
        """Images whose `uncertainty` is of older versions than those that `scores` are of.

        Returns
        -------
        older : set of int
        """
        with self._changed:
            least = self._newest(self._seen)
            return {i for i, one in self._seen.items() if one[0] < least}

    def standing(self):
        """What is being done, and how long it will take."""
        return self._standing

    def predicting(self):
        """Whether all images can be predicted, are being predicted, or were."""
        standing, folder = self._standing, self.project.folder / PREDICTED
        ready = bool(self.project.has_mask().any()) and self._deaths < _DEATHS
        why = "Mark an image first: there is nothing to learn from yet."
        path = self.project.folder / _UNFINISHED
        if ready and not self._predict and not self._predict_error and path.is_file():
            why = "Not all images were predicted: press again, and it goes on where it was."
        elif ready:
            why = ""
        is_writing = self._predict and standing["state"] == "writing"
        return {
            "ready": ready,
            "why": why if ready else standing["error"] or why,
            "running": self._predict,
            "done": standing["done"] if is_writing else 0,
            "total": standing["total"] if is_writing else 0,
            "out": str(folder) if (folder / "labels.csv").is_file() else None,
            "error": self._predict_error,
        }

    # -- the process ------------------------------------------------------------------------------

    def _has_work(self):
        known = self._drawn or self.project.state["masks"] or self._predict
        known = known or last_model(self.project)
        return bool(known) or bool(self.project.in_folder().any())

    def _ensure(self, changes):
        """Start the process, unless it runs, or has died too often."""
        if self._child is not None or self._closing or self._deaths >= _DEATHS:
            return
        self._started = self._clock()
        self._standing = _nothing("encoding", "Getting ready to learn")
        holder = []
        self._child = self._start(self._hear, lambda: self._ended(holder))
        holder.append(self._child)
        self._tell(
            {
                "kind": "start",
                "folder": str(self.project.folder.resolve()),
                "options": self.project.state["options"],
                "given": self.project.given,
                "version": self._version,
            }
        )
        self._tell(changes)
        self._tell({"kind": "next", "ids": self._next})
        if self._predict:
            self._tell({"kind": "predict"})

    def _tell(self, message):
        child = self._child
        if child is not None:
            child.send(message)

    def _changes(self):
        # Outside of our lock: who says what is held out may have one of their own.
        options, held_out = self.project.state["options"], list(self.held_out())
        return {"kind": "changed", "options": options, "held_out": held_out}

    def _ended(self, holder):
        with self._changed:
            if self._closing or holder != [self._child]:
                return
            self._child, self._model, self._source = None, False, None
            quick = self._clock() - self._started < _QUICK
            self._deaths = self._deaths + 1 if quick else 1
            self._waited.clear()
            text = "The process that learns has ended; it is started again."
            if self._deaths >= _DEATHS:
                text = (
                    f"The process that learns has ended {self._deaths} times, and is not started "
                    "again. Marks are kept as before; start alseg annotate anew to try again."
                )
            self._standing = {**_nothing("failed", text), "error": text}
            self._look = True
            self._changed.notify_all()

    def _run(self):
        """Start the process when there is something to learn, and tell it of a pause."""
        while True:
            changes = self._changes()
            with self._changed:
                if self._closing:
                    return
                if self._look and self._child is None and self._has_work():
                    self._ensure(changes)
                self._look = False
                if self._is_pausing():
                    self._fitted = self._revision
                    self._tell({"kind": "fit"})
                self._changed.wait(min(1.0, self._pause))

    def _is_pausing(self):
        if self._child is None or self._clock() - self._touched < self._pause:
            return False
        return self._fitted != self._revision and self.project.has_drawn().sum() >= 2

    # -- what the process tells -------------------------------------------------------------------

    def _hear(self, message, pixels):
        with self._changed:
            getattr(self, f"_on_{message.pop('kind')}")(message, pixels)
            self._changed.notify_all()
        if self._told is not None and self.on_checked is not None:
            told, self._told = self._told, None
            self.on_checked(told)

    def _on_standing(self, message, pixels):
        self._standing = message

    def _on_model(self, message, pixels):
        self._version = message["version"]
        if message["proposes"]:
            self._model, self._n_marked = True, message["n_marked"]
            if message["source"] != self._source:
                self._source, self._since = message["source"], self._version

    def _on_proposed(self, message, pixels):
        i, version = message["id"], message["version"]
        self._waited.discard(i)
        if "error" in message:
            return
        self._seen[i] = (version, message["uncertainty"], message["frame"])
        if pixels:
            self._size += len(pixels) - len(self._maps.pop(i, (0, b""))[1])
            self._maps[i] = (version, pixels)
            while self._size > _BYTES and len(self._maps) > 1:
                _, (_, old) = self._maps.popitem(last=False)
                self._size -= len(old)

    def _on_unreadable(self, message, pixels):
        if self.on_unreadable is not None:
            self.on_unreadable(message["id"], message["error"])

    def _on_checked(self, message, pixels):
        self._told = message

    def _on_fitted(self, message, pixels):
        path = self.project.folder / message["model"]
        if (path / "model.json").is_file():
            keep_model(self.project, path)

    def _on_predicted(self, message, pixels):
        self._predict, self._predict_error = False, message["error"]
        if message["error"] is None:
            with suppress(OSError, NotOurs):
                self.project.files.remove(_UNFINISHED)

    def _on_abandoned(self, message, pixels):
        self._fitted = None  # the next pause begins it again


def _nothing(state, text):
    return {
        "state": state,
        "text": text,
        "done": 0,
        "total": 0,
        "seconds_left": None,
        "version": 0,
        "n_marked": 0,
        "error": None,
    }


OFF = _nothing("off", "Nothing is trained: alseg annotate was started with --no-training.")
"""What stands where nothing is trained."""
