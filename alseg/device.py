"""Where a network runs: the device, its precision, and torch's random state."""

from contextlib import contextmanager

import torch


def resolve_device(device):
    """What "auto" means here: the GPU if there is one, else the CPU.

    Examples
    --------
    >>> resolve_device("cpu")
    'cpu'
    """
    if device not in (None, "auto"):
        return str(device)
    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_amp(amp, device):
    """What `amp` means on a device: "auto" is True on a GPU that computes in bfloat16.

    Examples
    --------
    >>> resolve_amp("auto", "cpu"), resolve_amp(True, "cpu")
    (False, True)
    """
    if amp != "auto":
        return bool(amp)
    # Before compute capability 8 bfloat16 is emulated, and slow.
    return torch.device(device).type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


@contextmanager
def forked_torch_rng(seed):
    """Seed torch's global generators inside, and give their states back after."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
