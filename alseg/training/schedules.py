"""Learning rates over the steps of a fit, as shares of the largest."""

import functools
import math

import numpy as np
import torch

from alseg.validation import check_number, check_option, message

LEAST_LR = 1e-7


def one_cycle(step, n_steps, warm_up=0.25, start=1 / 25, end=1e-4 / 25):
    """The share of the largest learning rate at a step: a cosine up, then a cosine down [1]_.

    As `torch.optim.lr_scheduler.OneCycleLR`, which divides by zero for 4 steps and takes a single
    step at its lowest rate; here so short a run starts at the peak.

    Parameters
    ----------
    step : int
        In [0, n_steps - 1].
    n_steps : int
    warm_up : float, default=0.25
        Share of the steps before the peak.
    start, end : float
        Shares at the first and at the last step.

    Returns
    -------
    float

    References
    ----------
    .. [1] Smith and Topin 2017, arXiv:1708.07120.

    Examples
    --------
    >>> [round(one_cycle(step, 9), 2) for step in range(9)]
    [0.04, 0.91, 0.97, 0.84, 0.64, 0.41, 0.2, 0.05, 0.0]
    >>> one_cycle(0, 1)
    1.0
    """
    peak = max(warm_up * n_steps - 1, 0.0)
    if step < peak:
        low, progress = start, step / peak  # from low up to 1
    else:
        low, progress = end, 1 - (step - peak) / max(n_steps - 1 - peak, 1.0)
    return low + (1 - low) * (1 - math.cos(math.pi * progress)) / 2


def step_decay(step, n_steps, factor, least=0.0):
    """The share of the largest learning rate after one more `factor` every `n_steps` steps.

    Parameters
    ----------
    step : int
    n_steps : int
    factor : float
    least : float, default=0.0

    Returns
    -------
    float

    Examples
    --------
    >>> [round(step_decay(epoch, 100, 0.9), 4) for epoch in (0, 99, 100, 250)]
    [1.0, 1.0, 0.9, 0.81]
    """
    return max(factor ** (step // n_steps), least)


def poly_decay(step, n_steps, power=0.9):
    """The share of the largest learning rate at a step: ``(1 - step / n_steps) ** power``.

    Examples
    --------
    >>> poly_decay(0, 4), poly_decay(3, 4, power=1), poly_decay(4, 4)
    (1.0, 0.25, 0.0)
    """
    return max(0.0, 1 - step / n_steps) ** power


def cosine_decay(step, n_steps):
    """The share of the largest learning rate at a step: half a cosine down to 0 [1]_.

    References
    ----------
    .. [1] Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts.

    Examples
    --------
    >>> [round(cosine_decay(step, 4), 2) for step in range(5)]
    [1.0, 0.85, 0.5, 0.15, 0.0]
    """
    return (1 + math.cos(math.pi * step / n_steps)) / 2


def check_lr_schedule(name, value):
    """Check a schedule: a name, ("step", n_epochs, factor), ("poly", power) or a function.

    Parameters
    ----------
    name : str
        Of the argument, for the error.
    value : str, tuple or callable

    Raises
    ------
    ValueError, TypeError
    """
    if isinstance(value, str):
        check_option(name, value, ("one-cycle", "cosine", "constant"))
        return
    if callable(value) and not isinstance(value, type):
        return
    rule = "'one-cycle', 'cosine', 'constant', ('step', n_epochs, factor), ('poly', power)"
    rule += " or a function of step and n_steps"
    kind = value[0] if isinstance(value, (tuple, list)) and value else None
    if (kind, np.size(value)) not in (("step", 3), ("poly", 2)):
        raise ValueError(message(name, rule, value))
    if kind == "step":
        check_number(f"{name}[1]", value[1], 1, integer=True)
    check_number(f"{name}[-1]", value[-1], 0, open_low=True)


def make_scheduler(optimizer, lr_schedule, lr, n_steps, n_epoch_steps):
    """The schedule of an optimizer's learning rates over a fit; None where they stay as they are.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its groups may have an ``lr_scale``, by which their rate differs from `lr`.
    lr_schedule : str, tuple or callable
        As `check_lr_schedule` allows.
    lr : float
        Largest rate.
    n_steps, n_epoch_steps : int
        Of the fit, and of an epoch.

    Returns
    -------
    torch.optim.lr_scheduler.LambdaLR or None
    """
    for group in optimizer.param_groups:
        # From the present `lr`, which may have been set since the optimizer was built.
        group["initial_lr"] = (
            lr * group["lr_scale"] if "lr_scale" in group else group.get("initial_lr", group["lr"])
        )
        group["lr"] = group["initial_lr"]
    if lr_schedule == "constant" or not n_steps:
        return None
    # Betas stay as they are, since not every optimizer has them.
    if lr_schedule == "one-cycle":
        shares = functools.partial(one_cycle, n_steps=n_steps)
    elif callable(lr_schedule):
        shares = functools.partial(_own_share, n_steps=n_steps, lr_schedule=lr_schedule)
    elif lr_schedule == "cosine":
        shares = functools.partial(cosine_decay, n_steps=n_steps)
    elif lr_schedule[0] == "poly":
        shares = functools.partial(poly_decay, n_steps=n_steps, power=lr_schedule[1])
    else:
        _, every, factor = lr_schedule
        shares = [
            functools.partial(
                step_decay,
                n_steps=every * n_epoch_steps,
                factor=factor,
                least=LEAST_LR / max(group["initial_lr"], LEAST_LR),
            )
            for group in optimizer.param_groups
        ]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, shares)


def _own_share(step, n_steps, lr_schedule):
    """What a function of the user's gives, which is asked of the steps that there are."""
    share = lr_schedule(min(step, n_steps - 1), n_steps)
    if isinstance(share, (torch.Tensor, np.generic)):
        share = share.item()
    return float(check_number("schedule.lr_schedule(step, n_steps)", share, 0))
