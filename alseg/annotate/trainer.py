"""The process behind the server: it learns from marks, predicts, and writes nothing that counts.

It gets messages by its standard input and sends some by its standard output. It ends when the
server does, and may be killed at any moment: what it knows it reads again from the state folder,
in which it writes nothing but features of images that were seen, and a model as a whole.
"""

import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

from alseg.annotate.behind import PREDICTED
from alseg.annotate.channel import Channel
from alseg.annotate.check_images import Checks
from alseg.annotate.proposed import proposed
from alseg.annotate.reporting import Reporting
from alseg.metrics import pixel_confusion
from alseg.project import by_rule, fitted, last_model, look_into, predict
from alseg.validation import counted

_NICE = 10
_CHECK_EVERY = 10.0  # seconds, while it learns
_AHEAD = 1.1  # a full fit proposes until slices know so many times its images
_LEAST = 6  # steps of a version of the model, where slices are cut short
_BESIDE = 4  # images looked at beside each slice, so that there is something to ask by
_WHOLE = 2e6  # pixels up to which all that is predicted is sent; larger when asked for


class Abandoned(Exception):
    """Somebody goes on, and what takes long makes way."""


class Trainer:
    """What the process does, one job after another; between them it listens.

    Parameters
    ----------
    channel : Channel
        To the server.
    inbox : queue.Queue
        Of messages from it.
    """

    def __init__(self, channel, inbox):
        self.channel, self.inbox = channel, inbox
        self.project = self.slices = self.full = None
        self.version = 0  # of what is proposed; each slice and each full fit makes a new one
        self.full_version = self.full_marked = 0
        self.held_out, self.todo = [], {}
        self.wanted, self.next, self.seen = [], [], {}  # seen: version of each image predicted
        self.checked, self.checked_at = 0, -np.inf
        self.failed, self.active = None, False
        self.is_warm, self.unsaid = False, 0  # steps since the last version
        self.report = Reporting(self.send)
        self.rng = np.random.default_rng()

    def send(self, message, pixels=b""):
        """Send, or end where nobody is there."""
        try:
            self.channel.send(message, pixels)
        except (OSError, ValueError):
            os._exit(0)

    # -- what comes in ----------------------------------------------------------------------------

    def run(self):
        """Work and listen, until the process ends."""
        while True:
            self.hear(wait=not self.step())

    def hear(self, wait=False):
        """Take up the messages that have come; with `wait` at least one."""
        while True:
            try:
                message, _ = self.inbox.get(block=wait)
            except queue.Empty:
                return
            wait = False
            getattr(self, f"on_{message['kind']}")(message)

    def on_start(self, message):
        """Which project it is."""
        self.project = look_into(message["folder"], message["options"], message["given"])
        self.version = message["version"]
        path = last_model(self.project)
        if path is not None:
            self._guarded(lambda: self._load(path, 0))

    def on_changed(self, message):
        """Marks, labels or options were changed."""
        self.todo["take up"] = message  # when what is being done is done
        self.failed = None

    def on_next(self, message):
        """What is opened next."""
        self.next = message["ids"]

    def on_wanted(self, message):
        """What somebody waits for."""
        self.wanted += [i for i in message["ids"] if i not in self.wanted]

    def on_fit(self, message):
        """The person pauses."""
        self.todo["fit"] = "pause"

    def on_active(self, message):
        """The person goes on."""
        self.active = True
        if self.todo.get("fit") == "pause":
            del self.todo["fit"]
            self.send({"kind": "abandoned"})

    def on_predict(self, message):
        """Masks of all images are asked for."""
        self.todo["predict"] = True

    # -- what is done -----------------------------------------------------------------------------

    def step(self, light=False):
        """Do the next thing, or say that there is none.

        Parameters
        ----------
        light : bool, default=False
            Only what does not take long.
        """
        job = self._job(light)
        if job is None:
            if not light and self.project is not None:
                self._rest()
            return False
        self._guarded(job)
        return True

    def _job(self, light):
        if self.project is None:
            return None
        if self.wanted and self._proposes():
            return self._predict_wanted
        if "take up" in self.todo:
            return self._take_up
        if self._is_to_check():
            return self._check
        if self._proposes() and self._next_to_propose():
            return self._propose_next
        if self._is_to_learn():
            return self._learn
        if light:
            return None
        return self._long_job()

    def _long_job(self):
        if "predict" in self.todo:
            return self._predict_all
        if "fit" in self.todo:
            return self._fit
        if self._proposes() and self._others():
            return self._look_at_others
        return None if self.is_warm else self._get_ready

    def _guarded(self, job):
        """Do it; what goes wrong is said, and the next thing is done."""
        try:
            job()
        except Abandoned:
            self.send({"kind": "abandoned"})
            self.report.rest("waiting", "Made way for you.")
        except Exception as error:  # of whatever library: the page says it, and goes on without
            self._fail(error)

    def _fail(self, error):
        self.failed = str(error) or type(error).__name__
        self.todo = {name: what for name, what in self.todo.items() if name == "take up"}
        self.report.fail(self.failed)

    def _rest(self):
        """Say that there is nothing to do."""
        if self.failed is not None:
            self.report.fail(self.failed)
            return
        n = self._n_marked()
        if not self._proposes():
            self.report.rest("waiting", "Learning begins with the first marks.")
        elif n:
            self.report.rest("waiting", f"Has learned from {counted(n, 'marked image')}.")
        else:
            self.report.rest("waiting", "Proposes by the model fitted last.")

    # -- marks ------------------------------------------------------------------------------------

    def _take_up(self):
        """Read images that were marked."""
        message = self.todo.pop("take up")
        if self.project.state["options"] != message["options"]:
            self.project.state["options"], self.slices = message["options"], None
            n_classes = self.project.n_mask_classes
            if self.full is not None and self.full.n_mask_classes != n_classes:
                self.full = None
            self.seen.clear()
        self.project.reread()
        self.held_out = message["held_out"]
        if self.slices is None:
            if not (self.project.state["masks"] or self.project.in_folder().any()):
                return
            self.report.begin("encoding", "Getting ready to learn", 0)
            from alseg.annotate.slices import Slices

            self.slices = Slices(self.project)
        wanted = self.slices.wanted(self.held_out)
        new = self.slices.to_read(wanted)
        text = f"Reading {counted(len(new), 'marked image')}"
        self.report.begin("encoding", text, len(new))
        for n, i in enumerate(new):
            if not self.slices.read(i, wanted[i]):
                self._tell_unreadable(i)
            self.report.done(n + 1)

    def _get_ready(self):
        """Import what learning takes, before there is something to learn from."""
        self.is_warm = True
        self.report.begin("encoding", "Getting ready to learn", 0)
        from alseg.annotate.slices import get_ready

        get_ready()

    def _is_to_learn(self):
        return self.failed is None and self.slices is not None and bool(self.slices.left)

    def _learn(self):
        slices = self.slices
        if not slices.n_known:
            slices.left = 0
            return
        text = f"Learning from {counted(slices.n_known, 'marked image')}"
        self.report.begin("training", text, slices.goal)
        at = slices.goal - slices.left

        def hear(net):
            nonlocal at
            at += 1
            self.report.done(at, slices.seconds_left)
            self.hear()
            return self._is_wanted_now()

        self.report.done(at, slices.seconds_left)
        self.is_warm = True
        self.unsaid += slices.learn(hear)
        if self._is_wanted_now() and self.unsaid < _LEAST:
            return  # hardly another model: the next slice goes on
        self.unsaid = 0
        self._new_version(slices.n_marked, "slices")
        self._look_beside()

    def _is_wanted_now(self):
        """Whether somebody waits: for a proposal, or for what was marked to be learned."""
        return "take up" in self.todo or bool(self.wanted and self._proposes())

    def _look_beside(self):
        """Look at a few open images, those seen by the oldest models, so that there is something
        recent to ask by, also where marks come faster than all images can be looked at."""
        if not self._proposes():
            return
        some = self.rng.permutation(np.flatnonzero(~self.project.has_mask()))
        oldest = np.argsort([self.seen.get(i, -1) for i in some.tolist()], kind="stable")
        for i in self._stale(some[oldest[:_BESIDE]].tolist()):
            if self.inbox.empty():
                self._propose(i, whole=False)

    def _new_version(self, n_marked, source):
        self.version += 1
        self.report.version, self.report.n_marked = self.version, self._n_marked()
        message = {"kind": "model", "version": self.version, "n_marked": n_marked}
        self.send({**message, "source": source, "proposes": self._source() == source})

    # -- proposals --------------------------------------------------------------------------------

    def _source(self):
        """Whether "slices" or the "full" fit proposes: what knows more, or None."""
        ready = self.slices is not None and self.slices.is_ready
        if self.full is None:
            return "slices" if ready else None
        more = ready and self.slices.n_marked > _AHEAD * self.full_marked
        return "slices" if more else "full"

    def _proposes(self):
        return self._source() is not None

    def _n_marked(self):
        return {"slices": getattr(self.slices, "n_marked", 0), "full": self.full_marked}.get(
            self._source(), 0
        )

    def _present(self):
        """Version of the model that proposes."""
        return self.full_version if self._source() == "full" else self.version

    def _stale(self, ids):
        return [i for i in ids if self.seen.get(i, -1) < self._present()]

    def _proba(self, i):
        if self._source() == "slices":
            return self.slices.predict(i)
        return self.full.predict_mask_proba(self._images.take(np.array([i])))[0]

    @property
    def _images(self):
        """All images, as the full model gets them."""
        from alseg.images import as_images

        return as_images(self.project.data.images)

    def _propose(self, i, whole=True):
        """Predict an image, and send what the page is told of it."""
        message = {"kind": "proposed", "id": i, "version": self._present()}
        self.seen[i] = self._present()
        try:
            proba = self._proba(i)
        except (OSError, ValueError) as error:
            self.send({**message, "error": str(error)})
            self._tell_unreadable(i)
            return
        found = proposed(proba)
        message |= {
            "uncertainty": found.uncertainty,
            "frame": found.frame,
            "n_marked": self._n_marked(),
        }
        whole = whole or proba[0].size <= _WHOLE
        self.send(message, found.pixels if whole else b"")

    def _tell_unreadable(self, i):
        """Say that the pixels of an image cannot be read, if that is what is wrong with it."""
        try:
            self._images[i]
        except ValueError as error:
            self.send({"kind": "unreadable", "id": i, "error": str(error)})
        except OSError:  # gone, or not to be had now
            return

    def _predict_wanted(self):
        self._propose(self.wanted.pop(0))

    def _next_to_propose(self):
        """Those opened next that are to be looked at; again only after what was marked is known."""
        stale = self._stale(self.next)
        if self._is_to_learn() and self.slices.has_news:
            return [i for i in stale if i not in self.seen]
        return stale

    def _propose_next(self):
        self._propose(self._next_to_propose()[0])

    def _others(self):
        """Images that the present model has not looked at; those never seen first."""
        left = self._stale(range(len(self.project.data)))
        never = [i for i in left if i not in self.seen]
        return never or left

    def _look_at_others(self):
        others, n = self._others(), len(self.project.data)
        done = n - len(self._stale(range(n)))
        self.report.begin("predicting", "Looking at all images", n)
        for k, i in enumerate(self.rng.permutation(others).tolist()):
            if not self.inbox.empty():
                return
            self._propose(i, whole=False)
            self.report.done(done + k + 1)

    # -- checks -----------------------------------------------------------------------------------

    def _is_to_check(self):
        if self.slices is None or not self.slices.is_ready or not self.held_out:
            return False
        if self.checked == self.version:
            return False
        return not self.slices.left or time.monotonic() - self.checked_at > _CHECK_EVERY

    def _check(self):
        """Predict the images that were held out, with a model that has not seen them."""
        self.checked, self.checked_at = self.version, time.monotonic()
        n_classes, counts = self.project.n_mask_classes, {}
        checks = Checks(self.project)
        for name in self.held_out:
            i = self.project.positions.get(name)
            mask = None if i is None else self.project.mask(i)
            if mask is None:
                continue
            try:
                proba = self.slices.predict(i)
            except (OSError, ValueError):
                continue
            called = (proba[1] >= 0.5).astype(int) if n_classes == 2 else proba.argmax(0)
            if name in checks.entries():
                mask = checks.sample(name, mask)
            counts[name] = pixel_confusion([called], [mask], n_classes).tolist()
        message = {"kind": "checked", "version": self.version, "counts": counts}
        self.send({**message, "n_marked": self.slices.n_marked})

    # -- what takes long --------------------------------------------------------------------------

    def _fit(self):
        """The project's own recipe, as `alseg predict` fits it, and kept as it keeps it."""
        why = self.todo.pop("fit")
        from alseg.annotate.slices import Steps

        self.project.reread()
        masks = self.project.known_masks()
        drawn = ~by_rule(self.project)
        n = sum(mask is not None for mask in masks[drawn])
        text = "Full training on" if why == "predict" else "You pause: full training on"
        self.report.begin("full fit", f"{text} {counted(n, 'marked image')}", 0)

        def hear(net):
            self.hear()
            if why == "pause" and (self.active or "take up" in self.todo or self.wanted):
                raise Abandoned
            epochs = len(net.history) - 1 if net.history else 0
            steps = len(net.history[-1].get("batches", ())) if net.history else 0
            of_epoch = net.steps_per_epoch or steps
            total = net.max_epochs * max(1, of_epoch)
            self.report.total = total
            self.report.done(min(total, epochs * max(1, of_epoch) + steps))

        self.active = False
        model, key = fitted(self.project, masks, callbacks=[Steps(hear)])
        self._have(model, n)
        self.send({"kind": "fitted", "model": f"model-{key}", "n_marked": n})

    def _load(self, path, n_marked):
        from alseg.segmenter import JointCAMSegmenter

        device = self.project.state["options"]["estimator"].get("device") or "auto"
        self.report.begin("encoding", "Loading the model fitted last", 0)
        options = {"feature_cache": None, "schedule__start_from": None, "verbose": 0}
        model = JointCAMSegmenter.load(path, device=device, **options)
        if model.n_mask_classes == self.project.n_mask_classes:
            self._have(model, n_marked)

    def _have(self, model, n_marked):
        self.full, self.full_marked = model, n_marked
        self.full_version = self.version + 1
        self._new_version(n_marked, "full")

    def _predict_all(self):
        """Masks of all images, and what came of it."""
        del self.todo["predict"]
        error = None
        try:
            self._write_all()
        except Exception as found:
            error = str(found) or type(found).__name__
            raise
        finally:
            self.send({"kind": "predicted", "error": error})

    def _write_all(self):
        """Masks of all images in the folder `predicted`, by a full fit; both go on when killed."""
        self.todo["fit"] = "predict"
        self._fit()
        source = Path(self.project.state["data"])
        source = source if source.is_dir() else source.parent
        out = self.project.folder / PREDICTED
        self.report.begin("writing", "Writing masks of all images", len(self.project.data))

        def progress(done, total):
            shown = self.report.present
            self.hear()
            if self.step(light=True):  # what is being marked does not wait for it
                self.report.present = shown
            self.report.total = total
            self.report.done(done)

        predict(self.project, source, out, overwrite=True, progress=progress)


def listen(channel, inbox):
    """Put messages into the inbox; the process ends with the pipe, whatever it is doing."""
    while True:
        found = channel.get()
        if found is None:
            os._exit(0)
        inbox.put(found)


def main():
    """Run it, as `alseg.annotate.behind` starts it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends it
    if hasattr(os, "nice"):
        os.nice(_NICE)
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no message
    channel, inbox = Channel(sys.stdin.buffer.raw, outgoing), queue.Queue()
    threading.Thread(target=listen, args=(channel, inbox), daemon=True).start()
    trainer = Trainer(channel, inbox)
    try:
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
        trainer.run()
    except MemoryError:
        os._exit(1)
