"""What the process behind the server is doing, said a few times a second at most."""

import time

_EVERY = 0.2  # seconds


class Reporting:
    """Says what is being done, how much of it is done, and how long it will take.

    Parameters
    ----------
    send : callable
        Gets messages of the kind "standing".
    clock : callable, default=time.monotonic

    Attributes
    ----------
    present : tuple
        What is being done; may be put back after something else was.

    Examples
    --------
    >>> sent, now = [], iter([0, 0, 10]).__next__
    >>> report = Reporting(sent.append, now)
    >>> report.begin("training", "Learning", 4)
    >>> report.done(0)
    >>> report.done(2)
    >>> sent[-1]["done"], sent[-1]["seconds_left"]
    (2, 10.0)
    """

    def __init__(self, send, clock=time.monotonic):
        self._send, self._clock = send, clock
        self.version = self.n_marked = 0
        self.present = ("waiting", "", 0)
        self._started = self._from = 0
        self._said, self._last = -_EVERY, None

    @property
    def total(self):
        """How much there is to do; 0 where nobody knows."""
        return self.present[2]

    @total.setter
    def total(self, value):
        self.present = (*self.present[:2], value)

    def begin(self, state, text, total):
        """Something begins; what is the same as before goes on."""
        if (state, text) == self.present[:2]:
            self.total = total
            return
        self.present = (state, text, total)
        self._started, self._from = self._clock(), None
        self._say(0, None)

    def done(self, done, seconds_left=None):
        """So much of it is done."""
        now = self._clock()
        if self._from is None:
            self._from = 0 if done <= 1 else done  # what was done before has another pace
        if seconds_left is None and done > self._from and self.total:
            seconds_left = (now - self._started) / (done - self._from) * (self.total - done)
        if now - self._said >= _EVERY or done >= self.total:
            self._said = now
            self._say(done, seconds_left)

    def rest(self, state, text):
        """Nothing is being done."""
        self.present = (state, text, 0)
        self._say(0, None)

    def fail(self, error):
        """Something went wrong."""
        self.present = ("failed", "Training has stopped; marks are kept as before.", 0)
        self._say(0, None, error)

    def _say(self, done, seconds_left, error=None):
        state, text, total = self.present
        message = {
            "kind": "standing",
            "state": state,
            "text": text,
            "done": done,
            "total": total,
            "seconds_left": None if seconds_left is None else round(float(seconds_left), 1),
            "version": self.version,
            "n_marked": self.n_marked,
            "error": error,
        }
        if message != self._last:
            self._last = message
            self._send(message)
