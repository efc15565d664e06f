"""Worker processes of this machine: a GPU for each, and what can be sent to them."""

import os
import re
from multiprocessing import current_process

from alseg.validation import message

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_devices():
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them.

    Returns
    -------
    list of str
        Those of the variable, where it is set; else "0", "1", ... as torch counts them.
    """
    named = os.environ.get(_VISIBLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def take_device(devices, process=None):
    """Make a worker process see one GPU alone: worker i the one at ``i % len(devices)``.

    Called before its first job, since a process that has used one GPU keeps it. All later calls in
    it give the same.

    Parameters
    ----------
    devices : list of str
        Of the process that started the workers. With fewer than two nothing is changed.
    process : str or None, default=None
        Name of the worker, which ends with its number; None is this process.

    Returns
    -------
    device : str or None

    Examples
    --------
    >>> take_device(["5"], "LokyProcess-2") is None
    True
    """
    if len(devices) < 2:
        return None
    number = re.search(r"\d+$", current_process().name if process is None else process)
    device = devices[(int(number[0]) - 1 if number else 0) % len(devices)]
    os.environ[_VISIBLE] = device
    return device


def check_sendable(jobs, n_jobs):
    """Refuse an estimator that cannot be sent to other processes, such as for an open file."""
    from joblib import effective_n_jobs
    from joblib.externals.loky.backend.reduction import dumps  # as its workers are sent things
    from joblib.parallel import get_active_backend

    of_threads = getattr(get_active_backend()[0], "supports_sharedmem", False)
    if of_threads or effective_n_jobs(n_jobs) == 1:
        return
    for estimator in {id(job.row.estimator): job.row.estimator for job in jobs}.values():
        try:
            dumps(estimator)
        except Exception as error:  # whatever its parts have to say about it
            rule = "one that can be pickled where jobs run in other processes"
            remedy = f"{error}. Let a callback hold a path and no open file, or take n_jobs=1."
            raise TypeError(message("estimator", rule, type(estimator).__name__, remedy)) from error
