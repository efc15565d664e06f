"""The small comparison that tests run, and the same in a process of its own, to be killed."""

import contextlib
import multiprocessing
import os
import signal
import traceback

from waiting import HANG

from alseg import JointCAMSegmenter
from alseg.comparison.plan import compare_strategies
from alseg.datasets import make_glands
from alseg.experiment.protocol import Protocol
from alseg.experiment.records import comparable
from alseg.segmenter import with_fields
from alseg.strategies import entropy_sampling, random_sampling


def data(n_train=14, n_test=6):
    glands = make_glands(n_train + n_test, image_size=(32, 32), random_state=0)
    return glands.take(range(n_train)), glands.take(range(n_train, n_train + n_test))


def estimator(**options):
    return JointCAMSegmenter(encoder="tiny", max_epochs=1, device="cpu", **with_fields(options))


SMALL = Protocol(initial=2, n_instances=2, rounds=2, controls=(), references=("all-ones",))


def compared(out, strategies=None, protocol=SMALL, seeds=range(2), **options):
    strategies = strategies or {"random": random_sampling, "entropy": entropy_sampling}
    options = {"estimator": estimator(), "data": data(), "verbose": 0, **options}
    model = options.pop("estimator")
    return compare_strategies(model, strategies, protocol=protocol, seeds=seeds, out=out, **options)


def numbers(result):
    """All records of a comparison without what may differ between two runs of it."""
    chains = {key: [comparable(r) for r in chain] for key, chain in result.chains.items()}
    return chains, {k: [comparable(r) for r in v] for k, v in result._references.items()}


# -- in a process of its own ----------------------------------------------------------------------

# Forks of one process that has imported what a fit needs, in a tenth of the time of a new one.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["alseg", "torch._dynamo", "monai.networks.nets", "pandas"])


class Started:
    """`compared(out, n_jobs=n_jobs)` in a process of its own, which leads a session of its own.

    Parameters
    ----------
    out : Path
    n_jobs : int, default=1
    limit : int or None, default=None
        No file may grow beyond as many bytes, as if the disk were full then.
    """

    def __init__(self, out, n_jobs=1, limit=None):
        self._said, says = _context.Pipe(duplex=False)
        self._process = _context.Process(target=_work, args=(says, out, n_jobs, limit))
        self._process.start()
        says.close()
        assert self.says() == "ready"

    def says(self):
        """The next that it says: "ready", and then "done" or the last line of its error."""
        assert self._said.poll(HANG)
        return self._said.recv()

    def kill(self):
        """Kill it with all that it has started, if it has not ended by itself."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()


def _work(says, out, n_jobs, limit):
    os.setsid()
    if limit is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    says.send("ready")
    try:
        compared(out, n_jobs=n_jobs)
    except OSError as error:
        says.send(traceback.format_exception_only(error)[-1])
    else:
        says.send("done")
