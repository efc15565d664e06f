"""Out of memory: a batch goes through the network in parts that fit, and the work goes on."""

import warnings
from contextlib import contextmanager, nullcontext

import torch
from torch.utils.checkpoint import checkpoint

# torch 2.4 has it under `torch.cuda` alone.
OutOfMemory = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)


class PartSize:
    """How many images may go through a network at once: all, until memory runs out.

    Parameters
    ----------
    doing : str
        Of what, for the messages: "training" or "predicting".
    note : str
        What it means that images go through in parts, and how to avoid it.

    Attributes
    ----------
    most : int or None
        Images at once; None is as many as come.

    Examples
    --------
    >>> size = PartSize("training", "It takes longer.")
    >>> size.run(lambda parts: parts, 5)
    [slice(0, 5, None)]
    >>> size.most = 2
    >>> size.run(lambda parts: parts, 5)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """

    def __init__(self, doing, note):
        self.doing, self.note, self.most = doing, note, None

    def run(self, work, n):
        """What `work` returns, given slices of n images; with half as many images while it fails.

        Parameters
        ----------
        work : callable
            Takes a list of slices. It is called again after `torch.OutOfMemoryError`.
        n : int

        Raises
        ------
        torch.OutOfMemoryError
            If a single image is too much.
        """
        while True:
            most = min(n, self.most or n)
            parts = [slice(start, min(start + most, n)) for start in range(0, n, most)]
            try:
                return work(parts)
            except OutOfMemory as error:
                reason = str(error).split(". ")[0]
            # Here the error is gone, and with it the tensors that its traceback held.
            torch.cuda.empty_cache()  # does nothing where no GPU is in use
            self._halve(most, reason)

    def apply(self, function, x):
        """What `function` gives for tensor x of shape (n, ...), part by part where it must be."""
        return self.run(lambda parts: join([function(x[part]) for part in parts]), len(x))

    def _halve(self, most, reason):
        if most == 1:
            raise OutOfMemory(
                f"Out of memory in {self.doing} with a single image: set a smaller image_size or"
                f" take a smaller encoder. ({reason})"
            )
        self.most = -(-most // 2)
        warnings.warn(
            f"Out of memory in {self.doing} with {most} images at once: from here on at most"
            f" {self.most} go through the network together. {self.note} ({reason})",
            RuntimeWarning,
            stacklevel=4,
        )


def in_parts(forward, module, x, parts):
    """A network's output for a batch, a part at a time, with a graph that holds one part at a time.

    Activations are dropped after each part and computed again in the backward pass, with the same
    dropout [1]_. So any loss of the whole batch has its own gradient, also one that is no sum over
    images, at the price of a second forward pass. BatchNorm alone sees the parts: it takes its
    statistics from each, and moves its running ones once a part.

    Parameters
    ----------
    forward : callable
        Given ``{"x": images, "n_decode": int}``, a dict of tensors with a row an image, or None.
    module : nn.Module
        The network that it runs.
    x : dict
        The batch: ``x`` (N, 3, H, W), and how many of its images, the first ones, go through the
        decoder.
    parts : list of slices
        Of the N images, one after the other.

    Returns
    -------
    dict of tensors, or None
        Rows of the parts one after the other.

    References
    ----------
    .. [1] Chen et al. 2016, arXiv:1604.06174.
    """
    outs = []
    for part in parts:
        n_decode = min(max(x["n_decode"] - part.start, 0), part.stop - part.start)
        outs.append(
            checkpoint(
                forward,
                {"x": x["x"][part], "n_decode": n_decode},
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), statistics_kept(module)),
            )
        )
    return join(outs)


def join(outs):
    """Tensors with a row an image, or dicts of tensors or None: rows one after the other."""
    if isinstance(outs[0], dict):
        rows = {name: [out[name] for out in outs if out[name] is not None] for name in outs[0]}
        return {name: join(some) if some else None for name, some in rows.items()}
    return torch.cat(outs) if len(outs) > 1 else outs[0]


@contextmanager
def statistics_kept(module):
    """BatchNorm in training mode leaves its running statistics as they are."""
    norms = [m for m in module.modules() if getattr(m, "track_running_stats", False)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            # Without running statistics it would keep fewer tensors for the backward pass than in
            # the first pass, which checkpoints do not allow. So it moves them by nothing.
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before):
            norm.momentum, norm.num_batches_tracked = momentum, count
