"""Where a network runs: the device and its precision."""

import torch

from alseg.validation import message


def resolve_device(device):
    """What "auto" means here: the GPU if there is one, else the CPU.

    Raises
    ------
    ValueError
        If torch does not know the device, or it is not there.

    Examples
    --------
    >>> resolve_device("cpu")
    'cpu'
    """
    if device in (None, "auto"):
        return "cuda" if torch.cuda.is_available() else "cpu"
    name = str(device)
    try:
        found = torch.device(name)
    except RuntimeError:
        rule = "'auto', 'cpu', or another that torch knows, such as 'cuda' or 'cuda:1'"
        raise ValueError(message("device", rule, device)) from None
    if not _is_there(found):
        raise ValueError(message("device", "one that torch finds here", name, "Use 'auto'."))
    return name


def _is_there(device):
    if device.type == "cuda":  # asked without a first tensor, which would take memory of the GPU
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError):  # as its part of torch happens to fail
        return False
    return True


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
    return torch.device(device).type == "cuda" and torch.cuda.get_device_capability(device) >= (
        8,
        0,
    )


def send(tensor, device):
    """A tensor of the CPU on a device, without waiting for the copy where that can be."""
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
