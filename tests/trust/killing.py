"""Kill commands at chosen moments: not by the clock, but when they write for the k-th time.

A small launcher counts what a command does to the disk (files opened for writing, renames, fsyncs,
removals) and sends itself a signal before or after the k-th of them: the same k is the same moment
on every machine. It imports alseg once and forks for each command, so that many kills take seconds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from running import HANG, Done, environment

LAUNCHER = """
import json, os, signal, sys, time

import alseg.cli, alseg.comparison.plan, alseg.project, alseg.report.run_page, alseg.report.question
import alseg.report.panels, alseg.segmenter.estimator, alseg.strategies, alseg.datasets
import pandas, matplotlib.pyplot
import safetensors.torch, tifffile, torch, torch._dynamo  # what a first fit imports, once for all
torch.set_num_threads(1)

HANG = int(sys.argv[1])

def counting(k, number, after):
    import builtins, io
    state = {"count": 0}
    main = os.getpid()

    def kill():
        os.kill(main, number)
        if number == signal.SIGKILL:
            time.sleep(60)

    def counted(function, counts=lambda *args: True):
        def call(*args, **kwargs):
            if os.getpid() != main or not counts(*args, **kwargs):
                return function(*args, **kwargs)
            state["count"] += 1
            now = state["count"] == k
            if now and not after:
                kill()
            found = function(*args, **kwargs)
            if now and after:
                kill()
            return found
        return call

    for name in ("replace", "rename", "fsync", "remove", "unlink", "rmdir", "mkdir", "link"):
        setattr(os, name, counted(getattr(os, name)))
    writes = lambda path, flags=0, *a, **kw: flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    os.open = counted(os.open, writes)
    for_writing = lambda file, mode="r", *a, **kw: any(letter in mode for letter in "wax+")
    builtins.open = io.open = counted(io.open, for_writing)
    return state

def child(task):
    for fd, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(task["to"] + "." + name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
    code, state = 70, {"count": 0}
    try:
        state = counting(task["k"], task["number"], task["after"])
        sys.argv = ["alseg", *task["argv"]]
        code = alseg.cli.main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        import traceback
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(3, b"%d" % state["count"])
    os._exit(code)

for line in sys.stdin:
    task = json.loads(line)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        os.dup2(write, 3)
        child(task)
    os.close(write)
    until = time.monotonic() + HANG
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            status = None
            break
        time.sleep(0.005)
    count = os.read(read, 20) if status is not None else b""
    os.close(read)
    code = "hang" if status is None else os.waitstatus_to_exitcode(status)
    print(json.dumps([code, int(count or 0)]), flush=True)
"""


class Killed(NamedTuple):
    """What came of a command that was sent a signal, and how often it wrote."""

    done: Done
    count: int


class Launcher:
    """Commands in forks of one process that has imported alseg already."""

    def __init__(self, folder):
        self.to = str(Path(folder) / "printed")
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(2 * HANG)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )

    def __call__(self, *argv, k=0, number=0, after=False):
        """A command, sent signal `number` at its k-th write; k = 0 is never."""
        task = {
            "argv": [os.fspath(part) for part in argv],
            "k": k,
            "number": int(number),
            "after": after,
            "to": self.to,
        }
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        code, count = json.loads(self.process.stdout.readline())
        out, err = (
            Path(f"{self.to}.{name}").read_text(errors="replace") for name in ("out", "err")
        )
        return Killed(Done(code, out, err), count)

    def close(self):
        self.process.stdin.close()
        self.process.wait(HANG)


def moments(n, wanted):
    """About `wanted` of the moments 1..n, spread evenly, first and last among them."""
    if n <= wanted:
        return list(range(1, n + 1))
    return sorted({round(1 + (n - 1) * i / (wanted - 1)) for i in range(wanted)})
