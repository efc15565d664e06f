"""What the benchmark scripts share: where data are, interleaved timing, ratios, the record."""

import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from alseg.experiment import environment

# Of the fits behind the recorded results, made before the defaults were halved.
BATCHES = {"batch_size": 8, "weak_batch_size": 4}
RESULTS = Path(__file__).parent / "results"


def find_data(name):
    """The folder `name` under ALSEG_DATA or beside the repository, or None."""
    candidates = [os.environ.get("ALSEG_DATA"), Path(__file__).parents[2] / "shared" / "data"]
    for root in filter(None, candidates):
        if (Path(root) / name).is_dir():
            return Path(root) / name
    return None


def find_weights(data, encoder):
    """The file of an encoder's ImageNet weights beside a folder of data, or None."""
    path = data.parent / "weights" / f"{encoder}_imagenet.safetensors"
    return str(path) if path.is_file() else None


class Stopwatch:
    """CPU and wall-clock seconds since it was made.

    At one thread the two agree on an idle machine. On a shared one the wall clock also counts what
    the neighbours did, so ratios are of CPU seconds; both stand in the record.
    """

    def __init__(self):
        self.started = time.process_time(), time.perf_counter()

    def read(self):
        """(CPU seconds, wall-clock seconds)"""
        return time.process_time() - self.started[0], time.perf_counter() - self.started[1]


def interleave(sides, n_repeats):
    """Seconds of each function, in turns (A B B A A B ...), after one turn that is not counted.

    A neighbour on the machine then slows all sides alike. The order turns round each time, so that
    no side always runs in the cache that another left.

    Parameters
    ----------
    sides : dict of str -> function without arguments
    n_repeats : int

    Returns
    -------
    dict of str -> list of (CPU seconds, wall-clock seconds)
    """
    for run in sides.values():
        run()
    seconds = {name: [] for name in sides}
    for repeat in range(n_repeats):
        names = list(sides)
        for name in names if repeat % 2 == 0 else reversed(names):
            watch = Stopwatch()
            sides[name]()
            seconds[name].append(watch.read())
    return seconds


def ratio_row(name, above, below, limit):
    """The ratio of two medians against its limit, printed as one line and returned for the record.

    Parameters
    ----------
    name : str
    above, below : list of (CPU seconds, wall-clock seconds)
        Repeats of the two sides.
    limit : float or None
        None is a ratio without one.
    """
    sides = {"above": np.array(above), "below": np.array(below)}
    ratio = np.median(sides["above"], axis=0) / np.median(sides["below"], axis=0)
    row = {"name": name, "ratio": ratio[0], "ratio_wall": ratio[1]}
    shown = f"ratio {name} {ratio[0]:.3f}"
    if limit is not None:
        row |= {"limit": limit, "met": bool(ratio[0] <= limit)}
        shown += f" limit {limit:g}"
    print(shown, flush=True)
    row["seconds"] = {
        side: {"cpu": values[:, 0].tolist(), "wall": values[:, 1].tolist()}
        for side, values in sides.items()
    }
    return row


def write_record(path, rows, device="cpu", **more):
    """Write rows, command, versions and machine as JSON.

    Returns
    -------
    int
        The exit status: 1 if a row of a limit does not meet it.
    """
    record = {
        "command": " ".join(["python", "benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]]),
        "environment": {
            **environment(device),
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
        },
        **more,
        "rows": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return int(not all(row.get("met", True) for row in rows))


def backward_operations(grad_out, x, weight, *rest, out_shape=None):
    """Of a convolution's backward pass, from shapes: its forward pass once for each gradient.

    torch's own count takes the gradient of a grouped convolution's weight for that of a full one.
    """
    transposed, mask = rest[4], rest[7]
    return 2 * math.prod(x if transposed else grad_out) * math.prod(weight[1:]) * sum(mask[:2])


COUNTED = {torch.ops.aten.convolution_backward: backward_operations}
