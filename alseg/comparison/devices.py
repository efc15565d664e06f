"""One GPU for each worker process of this machine."""

import os
import re
from multiprocessing import current_process

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
