"""What the threads of a process share, and so must have one after another."""

import os
import threading
from contextlib import contextmanager


class ProcessLock:
    """What one thread of a process at a time may have; a thread that has it may take it again.

    Examples
    --------
    >>> lock = ProcessLock()
    >>> with lock.held(), lock.held():
    ...     pass
    """

    def __init__(self):
        self._renew()
        if hasattr(os, "register_at_fork"):  # the thread that holds it is not in a forked child
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self):
        self._lock = threading.RLock()

    @contextmanager
    def held(self):
        """Wait for it, and have it inside the ``with``."""
        with self._lock:
            yield
