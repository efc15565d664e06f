"""The random numbers that a network draws: generators of our own, and torch's, given back."""

from contextlib import contextmanager

import torch

from alseg.threads import ProcessLock


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
