"""WeightAverage: the moving average of a network's weights over the steps of a fit."""

from contextlib import contextmanager

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Average of weights and BatchNorm statistics, later steps counting more [1]_, [2]_.

    After step t the average moves to the present weights by ``1 - d``, where d is the smaller of
    `decay` and ``(1 + t) / (10 + t)``: so in a short fit it forgets where it began.

    Parameters
    ----------
    module : nn.Module
        Trained in place; its floating-point parameters and buffers are averaged.
    decay : float in [0, 1)
        0 is no average: the present weights.

    References
    ----------
    .. [1] Polyak and Juditsky 1992, SIAM Journal on Control and Optimization 30.
    .. [2] Tarvainen and Valpola 2017, arXiv:1703.01780, who predict with it.

    Examples
    --------
    >>> module = torch.nn.Linear(1, 1, bias=False)
    >>> with torch.no_grad():
    ...     average = WeightAverage(module.requires_grad_(False), decay=0.0)
    ...     _ = module.weight.fill_(3.0)
    >>> average.update()
    >>> average.keep()
    >>> module.weight.item()
    3.0
    """

    def __init__(self, module, decay):
        self.decay, self.n_updates = decay, 0
        # Detached, of the same memory: what a step writes is seen here. Counters are no weights.
        self._present = [t for t in module.state_dict().values() if t.is_floating_point()]
        self._average = [t.clone() for t in self._present]

    def update(self):
        """Take the present weights into the average."""
        self.n_updates += 1
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        get_ema_multi_avg_fn(decay)(self._average, self._present, None)

    def keep(self):
        """Put the average into the module, for good."""
        with torch.no_grad():
            for present, average in zip(self._present, self._average):
                present.copy_(average)

    @contextmanager
    def shown(self):
        """The module with the average in it; after, it has its own weights again."""
        own = [t.clone() for t in self._present]
        self.keep()
        try:
            yield
        finally:
            with torch.no_grad():
                for present, before in zip(self._present, own):
                    present.copy_(before)
