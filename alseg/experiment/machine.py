"""What a run ran on: versions, machine, threads, memory."""

import ctypes
import functools
import gc
import os
import platform
from contextlib import contextmanager
from importlib import metadata

PACKAGES = ("torch", "skorch", "scikit-learn", "numpy", "scipy", "scikit-image", "monai", "pillow")


def release_memory():
    """Give memory that is free inside this process back to the system, where its C library can.

    glibc keeps what a fit has freed in small pieces: half of all after a few fits. joblib takes
    that for a leak, warns, and starts the worker anew.
    """
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # another C library
        return
    trim(0)


def environment(device=None):
    """Versions, machine and threads, for the record.

    Parameters
    ----------
    device : str or None, default=None
        Where the model lives ("cpu", "cuda").

    Returns
    -------
    dict of str -> str or int
        A run repeats bit for bit where these agree.
    """
    import torch

    here = versions()
    found = {
        "alseg": here.pop("alseg"),
        "python": here.pop("python"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": _cores(),
        "torch_threads": torch.get_num_threads(),
    }
    if device is not None:
        found["device"] = str(device)
        if str(device).startswith("cuda"):
            found["gpu"] = torch.cuda.get_device_name(device)
    return found | here


def versions():
    """Versions of alseg, Python and the packages that numbers come from.

    Returns
    -------
    dict of str -> str
    """
    from alseg._version import __version__

    found = {"alseg": __version__, "python": platform.python_version()}
    return found | {name: of for name in PACKAGES if (of := _version(name)) is not None}


@functools.cache  # a process has one, and reading it takes longer than many a round of records
def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cores():
    # Of this process, which may be fewer than the machine has; not every system can tell.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor()


def peak_memory_mib(device=None):
    """Most memory that this process has held so far, in MiB, and on the GPU if it is used.

    Returns
    -------
    dict of str -> float
    """
    try:
        import resource
    except ImportError:  # Windows
        peak = {}
    else:
        factor = 2**20 if platform.system() == "Darwin" else 2**10  # bytes there, KiB elsewhere
        peak = {"peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / factor, 1)}
    if device is not None and str(device).startswith("cuda"):
        import torch

        peak["gpu_peak"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return peak


@contextmanager
def peak_memory(into, name, device=None):
    """Measure the most memory that this process holds inside the ``with``, in MiB.

    Parameters
    ----------
    into : dict
        Gets ``into[name]``, and ``into["gpu_" + name]`` on a GPU. Without Linux, where the mark of
        the system cannot be set back, it is the most that the process has held so far.
    name : str
    device : str or None, default=None

    Examples
    --------
    >>> found = {}
    >>> with peak_memory(found, "fit"):
    ...     held = bytearray(2**20)
    >>> found["fit"] > 1
    True
    """
    gpu = device is not None and str(device).startswith("cuda")
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the high-water mark becomes what is held now
        reset = True
    except OSError:
        reset = False
    if gpu:
        import torch

        torch.cuda.init()  # before it, there are no statistics to set back
        torch.cuda.reset_peak_memory_stats(device)
    yield
    peak = peak_memory_mib(device)
    if "peak" in peak:
        into[name] = _high_water_mib() if reset else peak["peak"]
    if gpu:
        into["gpu_" + name] = peak["gpu_peak"]


def _high_water_mib():
    with open("/proc/self/status", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 2**10, 1)
    raise RuntimeError("no VmHWM in /proc/self/status")
