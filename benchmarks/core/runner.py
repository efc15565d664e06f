"""One runner for studies of many fits: what has a record is not done again."""

from joblib import Parallel, delayed
from tqdm import tqdm

from alseg.experiment import Records


def run_missing(out, config, tasks, key_of, run, *, piece_of=None, n_jobs=1, title="", unit="fit"):
    """Run the tasks that have no record yet, and append the records that they give.

    A record is one line of ``records.jsonl``, written when its task has ended: a run that is killed
    loses what was in progress, and the same command goes on.

    Parameters
    ----------
    out : Path
        Folder of the records.
    config : dict
        What decides their numbers; records of another one are refused.
    tasks : sequence of hashable
    key_of : callable
        ``f(record) -> task``, the one that a record is of.
    run : callable
        ``f(tasks) -> list of dict``, the records of the tasks of one piece.
    piece_of : callable or None, default=None
        ``f(task) -> hashable``: tasks of one piece run one after the other in one process, since
        they share something. None runs each by itself.
    n_jobs : int, default=1
        Pieces at once; each then runs in a process of its own.
    title, unit : str
        Of the progress bar.
    """
    with Records(out, config) as records:
        done = {key_of(record) for record in records.records}
        pieces = {}
        for task in tasks:
            if task not in done:
                pieces.setdefault(task if piece_of is None else piece_of(task), []).append(task)
        found = Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)(
            delayed(run)(piece) for piece in pieces.values()
        )
        for new in tqdm(found, desc=title, unit=unit, total=len(pieces)):
            for record in new:
                records.append(record)
