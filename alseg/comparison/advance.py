"""How far a comparison is: fits done, also those of jobs that other processes are at."""

import sys
import threading
from contextlib import contextmanager
from pathlib import Path

from alseg.experiment import RECORDS_FILE

_SECONDS = 2.0  # between two looks at what was written


@contextmanager
def fits_bar(wanted, left, rounds, out, show=True, seconds=_SECONDS):
    """A bar of fits on stderr, which moves with each round of a chain and not at its end alone.

    Parameters
    ----------
    wanted : list of Job
        All that the bar is of.
    left : list of Job
        Those that are not done.
    rounds : int
        Of each chain, without the start.
    out : str or Path
        Where the records are written.
    show : bool, default=True
    seconds : float, default=2.0
        Between two looks at the records.

    Yields
    ------
    ended : callable
        Told the folder of each job's records as it ends.
    """
    from tqdm import tqdm

    total = sum(job.n_fits for job in wanted)
    counted = _Counted(total - sum(job.n_fits for job in left), left, rounds, Path(out))
    bar = tqdm(
        total=total,
        initial=counted.fits(),
        unit="fit",
        disable=not show,
        file=sys.stderr,
        desc="comparing",
        smoothing=0.05,
        leave=False,
    )
    names = {job.folder: f"{job.name} {job.seed}" for job in left}
    lock, over = threading.Lock(), threading.Event()

    def move(folder=None):
        with lock:
            if folder is not None:
                counted.ended.add(folder)
                bar.set_postfix_str(names[folder], refresh=False)
            done = counted.fits() - bar.n
            if done:
                bar.update(done)
                bar.refresh()  # rounds are few

    def look():
        while not over.wait(seconds):
            move()

    watch = threading.Thread(target=look, daemon=True)
    with bar:
        if show:
            watch.start()
        try:
            yield move
        finally:
            over.set()
            if show:
                watch.join()


class _Counted:
    """Fits that are done: those of jobs that ended, and of chains as many as they have recorded."""

    def __init__(self, before, left, rounds, out):
        self.before, self.left, self.rounds, self.out = before, left, rounds, out
        self.ended = set()
        self.seen = {}  # by folder: bytes of whole lines that were read, and how many lines

    def fits(self):
        return self.before + sum(self._of(job) for job in self.left)

    def _of(self, job):
        if job.folder in self.ended:
            return job.n_fits
        if job.kind != "chain" or not self.rounds:
            return 0
        rounds = max(self._lines(job.folder) - 1, 0)  # the first is that of a start
        return job.n_fits * min(rounds, self.rounds) // self.rounds

    def _lines(self, folder):
        """Lines of a job's records, of which only what came since the last look is read."""
        size, lines = self.seen.get(folder, (0, 0))
        try:
            with open(self.out / folder / RECORDS_FILE, "rb") as file:
                file.seek(size)
                found = file.read()
        except OSError:
            return lines
        lines += found.count(b"\n")
        self.seen[folder] = size + found.rfind(b"\n") + 1, lines  # what a kill has cut goes again
        return lines
