"""One fit by several processes, each with its share of every batch, through accelerate."""

import numpy as np
import torch

from alseg.validation import message


def sharing(kind):
    """The processes that share a fit, or None where this one is alone.

    Parameters
    ----------
    kind : None or "accelerate"
        See `alseg.Execution`.

    Returns
    -------
    accelerate.PartialState or None

    Raises
    ------
    ImportError
        If accelerate is not installed.
    """
    if kind is None:
        return None
    try:
        from accelerate import PartialState
    except ImportError as error:
        text = "execution.processes needs accelerate: pip install 'alseg[accelerate]'."
        raise ImportError(text) from error
    state = PartialState()
    return state if state.num_processes > 1 else None


def share_of(batch, rank, n):
    """The part of a batch that one of n processes takes.

    Every n-th image with a mask, and every n-th of the others, so that all have as many of each
    and the mean of their losses is that of the whole batch.

    Parameters
    ----------
    batch : (dict, dict)
        As `TrainingBatches` gives it: those that are decoded stand first.
    rank, n : int

    Returns
    -------
    (dict, dict)

    Examples
    --------
    >>> x = {"x": torch.arange(6.0), "n_decode": 4}
    >>> target = {"labels": torch.arange(6), "masks": torch.arange(4), "mask_weight": torch.ones(4)}
    >>> x, target = share_of((x, target), 1, 2)
    >>> x["x"].tolist(), x["n_decode"], target["masks"].tolist()
    ([1.0, 3.0, 5.0], 2, [1, 3])
    """
    x, target = batch
    decoded = torch.arange(x["n_decode"])[rank::n]
    mine = torch.cat([decoded, torch.arange(x["n_decode"], len(x["x"]))[rank::n]])
    mine, decoded = mine.to(x["x"].device), decoded.to(x["x"].device)
    images = x["x"][mine]
    if x["x"].ndim == 4 and x["x"].is_contiguous(memory_format=torch.channels_last):
        images = images.contiguous(memory_format=torch.channels_last)
    return (
        {"x": images, "n_decode": len(decoded)},
        {
            "labels": target["labels"][mine],
            **{name: part[decoded] for name, part in target.items() if name != "labels"},
        },
    )


def average_gradients(module):
    """Make the gradients, and the running statistics, of all processes their mean.

    Parameters
    ----------
    module : nn.Module
        The same on all of them, after the backward pass of a share.
    """
    tensors = [p.grad for p in module.parameters() if p.grad is not None]
    tensors += [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    flat = mean_of_processes(torch.cat([t.detach().reshape(-1) for t in tensors]))
    with torch.no_grad():
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))


def mean_of_processes(tensor):
    """The mean of a tensor that each process has of its own; the same bits on all of them."""
    from accelerate.utils import reduce

    return reduce(tensor, reduction="mean")


def check_sharing(group, batch_size, weak_batch_size, random_state, others):
    """Refuse a fit that several processes cannot share alike.

    Parameters
    ----------
    group : accelerate.PartialState
    batch_size, weak_batch_size : int
    random_state : object
        An int, so that all draw the same batches.
    others : dict of str -> bool
        Options that each process would need the whole batch for, and whether they are on.
    """
    n = group.num_processes
    for name, value in (("batch_size", batch_size), ("weak_batch_size", weak_batch_size)):
        if value % n:
            raise ValueError(message(name, f"a multiple of {n}, the processes of the fit", value))
    if not isinstance(random_state, (int, np.integer)):
        raise ValueError(
            message("random_state", "an int where processes share a fit", random_state)
        )
    for name, is_on in others.items():
        if is_on:
            raise ValueError(message("execution.processes", f"None with {name}", "accelerate"))
