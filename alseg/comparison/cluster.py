"""Jobs on the workers of a dask cluster: looked at first, then sent, and named when they fail."""

import builtins
import inspect
import io
import operator
import os
import sys
import threading
import time
import types
import warnings
from pathlib import Path

from alseg.experiment import versions
from alseg.files import file_digest
from alseg.images import as_images, as_masks
from alseg.threads import warnings_ignored

COMPARED = ("alseg", "torch", "numpy", "scikit-learn", "skorch", "python")
"""Packages whose versions decide the numbers."""

_CONNECT = 10.0  # seconds in which a scheduler has to answer
_ANSWER = 60.0  # seconds in which a worker has to answer; importing torch takes most of them
_WORKERS = 30.0  # seconds that a scheduler may be without any worker
_LOOK_EVERY = 2.0


class ClusterError(OSError):
    """A cluster that cannot do the work: which worker, why, and what to do about it."""


def active_client():
    """The client of the cluster that ``joblib.parallel_config`` has named, or None.

    Returns
    -------
    distributed.Client or None
    """
    from joblib import parallel
    from joblib.parallel import get_active_backend

    backend = get_active_backend()[0]
    kind = parallel.BACKENDS.get("dask")
    return backend.client if kind is not None and isinstance(backend, kind) else None


def connect(address):
    """A client of the scheduler at an address, or an error within seconds.

    Parameters
    ----------
    address : str

    Returns
    -------
    distributed.Client

    Raises
    ------
    ClusterError
        If nobody answers there. What listens there and says nothing (a scheduler that hangs,
        another program) is waited for without end by distributed itself.
    """
    from distributed import Client

    found = []

    def try_it():
        try:
            found.append(Client(address, timeout=_CONNECT))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=try_it, name="alseg-connect", daemon=True)
    thread.start()
    thread.join(_CONNECT + 5)
    if found and not isinstance(found[0], Exception):
        return found[0]
    why = f" ({found[0]})" if found else ""
    raise ClusterError(
        f"the scheduler at {address} does not answer within {_CONNECT:.0f} s{why}. See that a dask "
        "scheduler runs there, and that this machine reaches it."
    )


# -- before the first job -------------------------------------------------------------------------


def check_workers(client, things, parts):
    """See that every worker can do the work, before it is sent any.

    Parameters
    ----------
    client : distributed.Client
    things : object
        What jobs are made of, without the data: sent to every worker and unpickled there.
    parts : iterable of (Dataset, Dataset)
        Their files have to be there, and the modules of their classes.

    Raises
    ------
    ClusterError
        If a worker cannot import something, has other versions, does not see a file, or does not
        answer; or if there is no worker. All that is wrong is named.
    """
    import cloudpickle

    parts = list(parts)
    modules = {module for thing in (things, parts) for module in _modules_of(thing)}
    here = {name: value for name, value in versions().items() if name in COMPARED}
    files = sorted(_files_of(parts).items())
    workers = _wait_for_workers(client)
    asked = cloudpickle.dumps(things), sorted(modules), list(here), files
    answers = _ask_workers(client, workers, _by_value(_look_around, _unseen), asked)
    _refuse(answers, lambda answer: _said_of(answer, here, len(files)))
    _warn_of_threads(client, workers)
    _warn_of_shared_devices(answers)


def check_sees(client, path):
    """See that every worker sees a file as it is here, and may write beside it.

    Parameters
    ----------
    client : distributed.Client
    path : Path
        In the folder that jobs write to.

    Raises
    ------
    ClusterError
        If one does not.
    """
    path = Path(path).resolve()
    asked = str(path), file_digest(path)
    answers = _ask_workers(client, _wait_for_workers(client), _by_value(_look_at), asked)
    remedy = "Name one that all workers can write to under the same path."
    _refuse(
        answers,
        lambda why: [f"does not see the folder {path.parent} ({why}). {remedy}"] if why else [],
    )


def _refuse(answers, said_of):
    """Raise what there is to say of the answers of workers."""
    wrong = []
    for worker, answer in answers.items():
        if isinstance(answer, BaseException):
            said = f"failed when asked ({type(answer).__name__}: {answer}). Look at its log."
            wrong.append(f"worker {worker} {said}")
        else:
            wrong += [f"worker {worker} {said}" for said in said_of(answer)]
    if wrong:
        raise ClusterError(" ".join(wrong))


def _wait_for_workers(client):
    """Addresses of the workers, of which there has to be one soon."""
    deadline = time.monotonic() + _WORKERS
    while True:
        workers = list(_of_scheduler(client, client.nthreads))
        if workers:
            return workers
        if time.monotonic() > deadline:
            address = client.scheduler.address
            raise ClusterError(
                f"the scheduler at {address} has no worker after {_WORKERS:.0f} s. Start one for "
                f"each job that shall run at once: dask worker {address} --nthreads 1"
            )
        time.sleep(min(_LOOK_EVERY, 0.2))


def _of_scheduler(client, ask):
    """What the scheduler says; an error that names it where it says nothing."""
    from distributed import TimeoutError as LateError
    from distributed.comm import CommClosedError

    try:
        return ask(callback_timeout=_ANSWER)
    except (OSError, CommClosedError, LateError, AttributeError) as error:
        raise _no_scheduler(client) from error


def _no_scheduler(client):
    address = getattr(client.scheduler, "address", "its address")
    return ClusterError(
        f"the scheduler at {address} does not answer any more. What has ended is kept: start the "
        "cluster again, then give the same command again."
    )


def _ask_workers(client, workers, function, asked):
    """What a function says on each worker; one that does not answer is named."""
    import asyncio

    async def ask():
        options = {"on_error": "return", "asynchronous": True}
        tasks = {
            asyncio.ensure_future(client.run(function, *asked, workers=[worker], **options)): worker
            for worker in workers
        }
        done, late = await asyncio.wait(tasks, timeout=_ANSWER)
        for task in late:
            task.cancel()
        return {tasks[task]: task.exception() or task.result()[tasks[task]] for task in done}

    answers = client.sync(ask)
    late = [worker for worker in workers if worker not in answers]
    if late:
        raise ClusterError(
            f"worker {', '.join(late)} did not answer within {_ANSWER:.0f} s. Look at its log, "
            "and start it again."
        )
    return answers


def _by_value(function, *helpers):
    """A function that is sent with its code, for processes that do not have our modules."""
    known = {"__builtins__": builtins, **{one.__name__: _by_value(one) for one in helpers}}
    copy = types.FunctionType(function.__code__, known, function.__name__)
    copy.__module__ = "__main__"
    return copy


def _look_around(payload, modules, packages, files):
    """What a worker has and lacks. It runs there by itself: all it needs it imports."""
    import importlib
    import os
    import platform
    import socket
    from importlib import metadata

    import cloudpickle

    found = {"host": socket.gethostname(), "versions": {}, "lacks": {}, "unseen": []}
    for name in packages:
        try:
            if name == "alseg":  # which may lie in a folder that is not installed
                known = importlib.import_module(name).__version__
            else:
                known = platform.python_version() if name == "python" else metadata.version(name)
        except ImportError:
            known = None
        found["versions"][name] = known
    for module in modules:
        try:
            importlib.import_module(module)
        except BaseException as error:  # it runs whatever its author wrote
            found["lacks"][module] = f"{type(error).__name__}: {error}"
    if not found["lacks"]:
        try:
            cloudpickle.loads(payload)
        except BaseException as error:
            found["lacks"]["what the jobs need"] = f"{type(error).__name__}: {error}"
    for path, size in files:
        why = _unseen(path, size)
        if why is not None:
            found["unseen"].append((path, why))
    found["gpus"] = os.environ.get("CUDA_VISIBLE_DEVICES")
    if found["gpus"] is None and not found["lacks"]:
        import torch

        found["gpus"] = ",".join(map(str, range(torch.cuda.device_count())))
    return found


def _unseen(path, size):
    """Why a file is not the one of that size, or None."""
    import os

    try:
        there = os.stat(path).st_size
    except OSError as error:
        return error.strerror
    if there != size:
        return f"{there} bytes there, {size} here"
    return None if os.access(path, os.R_OK) else "it may not be read"


def _look_at(path, digest):
    """Why a worker does not see a file, or cannot write beside it; None if it can."""
    import hashlib
    import os

    try:
        with open(path, "rb") as file:
            there = hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        return error.strerror
    if there != digest:
        return "another file is there"
    return None if os.access(os.path.dirname(path), os.W_OK) else "it may not be written to"


def _said_of(answer, versions, n_files):
    """What is wrong with a worker, a sentence each, with its remedy."""
    at = f"(on {answer['host']})"
    for name, here in versions.items():
        there = answer["versions"][name]
        if there is None:
            yield f"{at} has no {name}. Install it there: pip install {name}=={here}"
        elif _release(there, name) != _release(here, name):
            yield (
                f"{at} has {name} {there}, here it is {here}: numbers could differ. Install the "
                "same version on both."
            )
    absent = {
        name.replace("scikit-learn", "sklearn") for name, v in answer["versions"].items() if not v
    }
    for module, why in answer["lacks"].items():
        if module.partition(".")[0] not in absent:
            yield (
                f"{at} cannot import {module} ({why}). Install it there, put it into a folder of "
                "the worker's PYTHONPATH, or define it in the script that you run."
            )
    if answer["unseen"]:
        path, why = answer["unseen"][0]
        yield (
            f"{at} does not see {len(answer['unseen'])} of {n_files} files of the data as they are "
            f"here, such as {path} ({why}). Put the data where all workers see them under the "
            "same path."
        )


def _release(version, name):
    """What has to be the same: of Python two numbers, of others all but the build."""
    parts = version.partition("+")[0].split(".")
    return parts[:2] if name == "python" else parts


def _warn_of_threads(client, workers):
    several = {worker: n for worker, n in client.nthreads(workers).items() if n > 1}
    if several:
        worker, n = next(iter(several.items()))
        warnings.warn(
            f"Worker {worker}{' and others' * (len(several) > 1)} has {n} threads, of which one "
            "works at a time: jobs of one process run one after another, so that their numbers "
            f"are exact. Start it as {n} workers: dask worker {client.scheduler.address} "
            f"--nworkers {n} --nthreads 1",
            stacklevel=4,
        )


def _warn_of_shared_devices(answers):
    """Say where workers of one machine would all take the first of its GPUs."""
    seen = {}
    for answer in answers.values():
        if answer["gpus"]:
            seen.setdefault((answer["host"], answer["gpus"].partition(",")[0]), []).append(answer)
    for (host, first), there in seen.items():
        if len(there) > 1:
            warnings.warn(
                f"{len(there)} workers on {host} share GPU {first}. Start each with one of its "
                "own: CUDA_VISIBLE_DEVICES=0 dask worker ..., or dask cuda worker.",
                stacklevel=4,
            )


def _modules_of(thing):
    """Modules that a thing's pickle imports: those of its classes and functions."""
    import cloudpickle

    found = set()

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, value):
            if (inspect.isfunction(value) or isinstance(value, type)) and _is_importable(value):
                found.add(value.__module__)
            return super().reducer_override(value)

    buffers = []  # arrays need no module, and may be most of the memory
    to_memory = Pickler(io.BytesIO(), protocol=5, buffer_callback=buffers.append).dump
    to_memory(thing)
    return found


def _is_importable(value):
    """Whether a class or function is sent by its name; others are sent with their code."""
    module = sys.modules.get(value.__module__)
    if module is None or value.__module__ == "__main__":
        return False
    try:
        return operator.attrgetter(value.__qualname__)(module) is value
    except AttributeError:
        return False


def _files_of(parts):
    """Paths of the data's files, and their sizes."""
    found = {}
    for part in {id(part): part for pair in parts for part in pair}.values():
        n = len(part.labels)
        images, masks = as_images(part.images), as_masks(part.masks, n)
        for items in (images, masks, as_masks(getattr(part, "instances", None), n)):
            paths = getattr(items, "paths", None)
            for path in () if paths is None else paths:
                for one in path if isinstance(path, tuple) else (path,):
                    if one is not None:
                        found[str(one)] = os.stat(one).st_size
    return found


# -- the jobs -------------------------------------------------------------------------------------


def on_workers(client, function, jobs, *shared):
    """What a function gives for each job, on the workers, as they end.

    Parameters
    ----------
    client : distributed.Client
    function : callable
        ``function(job, *shared)``.
    jobs : list
        With ``name`` and ``seed``, for what is said of one that fails.
    *shared : object
        Sent to each worker once.

    Yields
    ------
    object

    Raises
    ------
    ClusterError
        If a job was lost with its worker too often, no worker is left, or the scheduler is gone.
        What a job itself raises is raised here.
    """
    from concurrent.futures import CancelledError

    import cloudpickle
    from distributed import TimeoutError as LateError
    from distributed import wait
    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker

    # Sent as bytes: the scheduler needs none of the modules. A task, and not scattered, so that it
    # is made again where all who had it are gone.
    with warnings_ignored("Sending large graph"):
        once = client.submit(_by_value(_unpickled), cloudpickle.dumps(shared), pure=False)
        left = {
            client.submit(
                _by_value(_called, _unpickled), cloudpickle.dumps((function, job)), once, pure=False
            ): job
            for job in jobs
        }
    alone = None  # since when there is no worker
    while left:
        try:
            done = wait(list(left), timeout=_LOOK_EVERY, return_when="FIRST_COMPLETED").done
        except LateError:
            alone = _look_for_workers(client, alone)
            continue
        except (CancelledError, CommClosedError) as error:
            raise _no_scheduler(client) from error
        for future in done:
            job = left.pop(future)
            try:
                yield future.result()
            except (CancelledError, CommClosedError) as error:
                raise _no_scheduler(client) from error
            except KilledWorker as error:
                raise ClusterError(
                    f"job {job.name!r}, seed {job.seed}, was lost with its worker "
                    f"{error.allowed_failures + 1} times, at last with "
                    f"{error.last_worker.address}. Look at its log: often the system ends a "
                    "worker when memory runs out. What has ended is kept."
                ) from error


def _look_for_workers(client, since):
    """Since when there is no worker, None where there is one; an error after a while."""
    if _of_scheduler(client, client.nthreads):
        return None
    since = since or time.monotonic()
    if time.monotonic() - since > _WORKERS:
        raise ClusterError(
            f"the scheduler at {client.scheduler.address} has had no worker for {_WORKERS:.0f} s. "
            "What has ended is kept: start workers, then give the same command again."
        )
    return since


def _unpickled(data):
    import cloudpickle

    return cloudpickle.loads(data)


def _called(data, shared):
    function, job = _unpickled(data)
    return function(job, *shared)
