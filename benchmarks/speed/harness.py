"""What does the comparison itself cost, and do two jobs on two cores get in each other's way?

    python -m benchmarks.speed.harness  # about 15 minutes on 2 idle cores
    python -m benchmarks.speed.harness --parts example

Overhead: the wall-clock time of all jobs of a comparison that is not in fits, questions and tests
of the models (records, cloning, checks, digests of the data), and what the tests of the models
take, each as a share of fits and questions.

Example: 4 strategies, 3 seeds and 4 rounds of 40 epochs on 24 synthetic images of 64 x 96 with the
small encoder, with the control and reference rows, two jobs of one thread; limit 600 s.

Throughput: the same comparison by one job of one thread, two jobs of one thread, and one job of two
threads, in turns; the ratio of their wall-clock times (workers have trained once before). It needs
two idle cores: the load when it began stands in the record. The exit status is 1 where a limit is
broken.
"""

import argparse
import json
import os
import sys
import tempfile
import time

import numpy as np

from alseg import JointCAMSegmenter, Protocol
from alseg.comparison import Plan, run_job
from alseg.datasets import make_glands
from alseg.strategies import bald_sampling, core_set_sampling, entropy_sampling, random_sampling
from benchmarks.core.results import RESULTS, write_record

STRATEGIES = {
    "random": random_sampling,
    "entropy": entropy_sampling,
    "core-set": core_set_sampling,
}


def make_plan(n_threads, n_steps, rounds, seeds):
    glands = make_glands(90, random_state=0)
    protocol = Protocol(
        initial=8,
        n_instances=2,
        rounds=rounds,
        n_steps=n_steps,
        n_threads=n_threads,
        controls=(),
        references=(),
    )
    model = JointCAMSegmenter(encoder="resnet18", image_size=(96, 144), device="cpu")
    data = glands.take(range(60)), glands.take(range(60, 90))
    return Plan(model, STRATEGIES, data, protocol, seeds)


def overhead(n_steps):
    plan = make_plan(1, n_steps, 3, [0])
    with tempfile.TemporaryDirectory(prefix="harness-") as out:
        spent = {"fit": 0.0, "query": 0.0, "evaluate": 0.0, "panels": 0.0}
        wall = 0.0
        for job in plan.jobs:
            records, seconds = run_job(job, plan.protocol, plan.data, out)
            wall += seconds
            for record in records[1 if job.kind == "chain" else 0 :]:  # round 0 is the start's
                for name in spent:
                    spent[name] += record["seconds"].get(name, 0.0)
    asked = spent["fit"] + spent["query"]
    rest = wall - sum(spent.values())
    rows = []
    for name, value, limit in (
        ("harness-to-fits-and-queries", rest / asked, 0.03),
        ("tests-to-fits-and-queries", (spent["evaluate"] + spent["panels"]) / asked, None),
    ):
        print(f"ratio {name} {value:.3f}" + (f" limit {limit}" if limit else ""), flush=True)
        rows.append(
            {"name": name, "value": value, "limit": limit, "met": not limit or value <= limit}
        )
    return [*rows, {"name": "overhead-seconds", "wall": wall, **spent}]


def example():
    glands = make_glands(36, image_size=(64, 96), random_state=0)
    strategies = {**STRATEGIES, "bald": bald_sampling}
    plan = Plan(
        JointCAMSegmenter(encoder="tiny", max_epochs=40, device="cpu"),
        strategies,
        (glands.take(range(24)), glands.take(range(24, 36))),
        Protocol(initial=8, n_instances=2, rounds=4),
        range(3),
    )
    with tempfile.TemporaryDirectory(prefix="harness-") as out:
        began = time.perf_counter()
        plan.run(out, 2, verbose=0)
        seconds = time.perf_counter() - began
    print(f"ratio example-seconds {seconds:.0f} limit 600", flush=True)
    return [{"name": "example-seconds", "value": seconds, "limit": 600, "met": seconds <= 600}]


def throughput(n_steps, repeats):
    settings = {"1 x 1": (1, 1), "2 x 1": (2, 1), "1 x 2": (1, 2)}
    seconds = {name: [] for name in settings}
    for repeat in range(repeats):
        names = list(settings) if repeat % 2 == 0 else list(settings)[::-1]
        for name in names:
            n_jobs, n_threads = settings[name]
            if n_jobs > 1:
                # Workers import torch and train once before the clock runs: joblib replaces one
                # that holds 300 MB more than after its first call, and ends idle ones in 5 min.
                with tempfile.TemporaryDirectory(prefix="harness-") as out:
                    make_plan(n_threads, 2, 1, [0, 1]).run(out, n_jobs, verbose=0)
            plan = make_plan(n_threads, n_steps, 2, [0, 1])
            with tempfile.TemporaryDirectory(prefix="harness-") as out:
                began = time.perf_counter()
                plan.run(out, n_jobs, verbose=0)
                seconds[name].append(time.perf_counter() - began)
            print(f"# {name} (jobs x threads): {seconds[name][-1]:.1f} s", flush=True)
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    rows = []
    for other, limit in (("1 x 1", 1.8), ("1 x 2", 1.1)):
        value = median[other] / median["2 x 1"]
        name = f"two-jobs-to-{other.replace(' ', '')}"
        print(f"ratio {name} {value:.2f} limit {limit} (at least)", flush=True)
        rows.append({"name": name, "value": value, "limit": limit, "met": value >= limit})
    return [*rows, {"name": "throughput-seconds", **seconds}]


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("overhead", "throughput", "example")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--n-steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args(argv)
    load, out, rows = os.getloadavg()[0], RESULTS / "harness.json", []
    if out.exists():  # parts that are not run again stay
        there = json.loads(out.read_text(encoding="utf-8"))["rows"]
        rows = [row for row in there if row["part"] not in arguments.parts]
    run = {
        "overhead": lambda: overhead(arguments.n_steps),
        "throughput": lambda: throughput(arguments.n_steps, arguments.repeats),
        "example": example,
    }
    status = 0
    for name in arguments.parts:
        rows += [{"part": name, **row} for row in run[name]()]
        status = write_record(out, rows, load=load, n_steps=arguments.n_steps)
    return status


if __name__ == "__main__":
    sys.exit(main())
