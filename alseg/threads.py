"""What the threads of a process share, and so must have one after another."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class ProcessLock:
    """What one thread of a process at a time may have; a thread that has it may take it again.

    Examples
    --------
    >>> lock = ProcessLock()
    >>> with lock.held(), lock.held():
    ...     pass
    """

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):  # the thread that holds it is not in a forked child
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for it, and have it inside the ``with``."""
        with self._lock:
            yield


_filtering = ProcessLock()


@contextmanager
def warnings_ignored(message: str, category: type[Warning] = Warning) -> Iterator[None]:
    """Ignore some warnings inside: their filters are the process's, and come back as they were.

    Parameters
    ----------
    message : str
        A pattern that its text begins with.
    category : type, default=Warning
    """
    with _filtering.held(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message, category)
        yield
