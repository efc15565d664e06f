"""Where a network runs: the device, its precision, and the random numbers that it draws."""

from contextlib import contextmanager

import torch

from alseg.threads import ProcessLock
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
    return torch.device(device).type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


class Generators:
    """Random numbers of one's own: a generator for each device, made from one seed when asked for.

    Parameters
    ----------
    seed : int or None
        None is torch's global generators, which belong to whoever seeded them.

    Examples
    --------
    >>> a, b = (torch.rand(2, generator=Generators(0).on("cpu")) for _ in range(2))
    >>> torch.equal(a, b)
    True
    """

    def __init__(self, seed):
        self.seed, self._made = seed, {}

    def on(self, device):
        """The generator of a device; None, as torch's functions take it, for the global one."""
        device = torch.device(device)
        if self.seed is None:
            return None
        if device not in self._made:
            self._made[device] = torch.Generator(device).manual_seed(self.seed)
        return self._made[device]


# Whoever seeds torch's global generators has them alone until their states are back.
_seeding = ProcessLock()


@contextmanager
def forked_torch_rng(seed, device="cpu"):
    """Seed torch's global generators inside, and give their states back after, whatever happens.

    What a network of any modules draws (initial weights, dropout) comes from these generators,
    which all threads of a process share. So one thread at a time is inside, and others wait.

    Parameters
    ----------
    seed : int
    device : str or torch.device, default="cpu"
        Where the network runs: its generator is seeded beside the CPU's, and that of no other
        device is looked at. The CPU is no device to touch a GPU for.
    """
    with _seeding.held():
        generators = [torch.default_generator, *_generators_of(torch.device(device))]
        states = [generator.get_state() for generator in generators]
        try:
            for generator in generators:
                generator.manual_seed(seed)
            yield
        finally:
            for generator, state in zip(generators, states):
                generator.set_state(state)


def _generators_of(device):
    if device.type in ("cuda", "xpu"):
        module = getattr(torch, device.type)
        module.init()
        index = module.current_device() if device.index is None else device.index
        return [module.default_generators[index]]
    return [_MPS()] if device.type == "mps" else []


class _MPS:
    """The generator of Apple's GPU, which torch shows by functions alone."""

    def get_state(self):
        return torch.mps.get_rng_state()

    def set_state(self, state):
        torch.mps.set_rng_state(state)

    def manual_seed(self, seed):
        torch.mps.manual_seed(seed)
