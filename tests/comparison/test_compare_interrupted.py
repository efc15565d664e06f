"""Comparisons in threads and processes, killed and on full disks: the same records always."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from small import SMALL, Started, compared, numbers
from waiting import HANG, wait_until

import alseg.comparison.plan
from alseg.comparison.jobs import Job
from alseg.comparison.result import read_comparison
from alseg.files import FolderInUse, RecordsError

# -- in threads and processes --


@pytest.mark.slow
def test_two_jobs_give_the_same_records(whole, tmp_path):
    assert numbers(compared(tmp_path, n_jobs=2)) == numbers(whole)


@pytest.mark.parametrize(
    "workers",
    [None, pytest.param((1, 2), marks=pytest.mark.slow), (2, 1)],
    ids=["threading", "dask-1x2", "dask-2x1"],
)
def test_jobs_in_threads_of_one_process_give_the_same_records(whole, tmp_path, workers):
    from distributed import Client
    from joblib import parallel_config

    if workers is None:
        with parallel_config(backend="threading"):
            assert numbers(compared(tmp_path, n_jobs=2)) == numbers(whole)
    else:
        n_workers, n_threads = workers
        with (
            Client(
                processes=False,
                n_workers=n_workers,
                threads_per_worker=n_threads,
                dashboard_address=None,
                silence_logs=50,
            ),
            parallel_config(backend="dask"),
        ):
            result = compared(tmp_path, n_jobs=-1, seeds=[1])  # two rows at once
        assert numbers(result)[0].items() <= numbers(whole)[0].items()


def test_a_backend_that_cannot_be_is_refused_before_anything_is_written(tmp_path):
    from joblib import parallel_config

    rule = "must be one that gives results as they come, .* got 'multiprocessing'"
    with parallel_config(backend="multiprocessing"), pytest.raises(ValueError, match=rule):
        compared(tmp_path / "out", n_jobs=2)
    assert not (tmp_path / "out").exists()


def test_the_number_of_threads_here_does_not_matter(whole, tmp_path):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2 if before == 1 else 1)
    try:
        assert numbers(compared(tmp_path, seeds=[1]))[0].items() <= numbers(whole)[0].items()
        assert torch.get_num_threads() == (2 if before == 1 else 1)
    finally:
        torch.set_num_threads(before)


# -- killed --


def killed_and_continued(folder, n_kills, rng, seconds, n_jobs=1):
    for _ in range(n_kills):
        started = Started(folder, n_jobs)
        time.sleep(rng.uniform(0, seconds))
        started.kill()
    assert Started(folder, n_jobs).says() == "done"
    return read_comparison(folder)


@pytest.mark.slow
def test_killed_twice_it_ends_with_the_same_numbers(whole, tmp_path):
    result = killed_and_continued(tmp_path, 2, random.Random(0), 3.0)
    assert numbers(result) == numbers(whole)


ORPHANED = """
import sys, time
from pathlib import Path
import numpy as np
from alseg import JointCAMSegmenter
from alseg.comparison.plan import compare_strategies
from alseg.datasets import make_glands
from alseg.experiment.protocol import Protocol

def slow(learner, X_pool, n_instances=1):
    if not Path(sys.argv[2]).exists():
        time.sleep(3600)
    return np.arange(n_instances)

glands = make_glands(12, image_size=(32, 32), random_state=0)
compare_strategies(
    JointCAMSegmenter(encoder="tiny", max_epochs=1, device="cpu"), {"slow": slow},
    data=(glands.take(range(8)), glands.take(range(8, 12))),
    protocol=Protocol(initial=2, rounds=1, controls=(), references=(), control="slow",
                      class_balanced=False),
    seeds=range(2), out=sys.argv[1], n_jobs=2, verbose=0,
)
print("done", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups to clear up with")
def test_only_the_main_process_killed_and_started_again_at_once(tmp_path):
    out, asked = tmp_path / "out", tmp_path / "asked"
    command = [sys.executable, "-c", ORPHANED, str(out), str(asked)]
    options = {"text": True, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    first = subprocess.Popen(command, start_new_session=True, **options)
    try:
        chain = out / "rows" / "slow" / "0" / "records.jsonl"
        wait_until(lambda: chain.exists() and chain.stat().st_size)
        first.kill()  # the worker goes on asking, and holds the lock of its chain
        first.wait()
        asked.touch()
        again = subprocess.run(command, capture_output=True, timeout=HANG, **options)
        assert again.stdout.endswith("done\n"), again.stderr  # without waiting for the answer
    finally:
        with contextlib.suppress(ProcessLookupError):  # all of its workers have ended
            os.killpg(first.pid, signal.SIGKILL)
    assert read_comparison(out).is_complete


def test_a_chain_that_an_orphan_holds_is_waited_for(monkeypatch):
    found = []

    def held(job, protocol, data, out):
        found.append(job)
        if len(found) < 3:
            raise FolderInUse("records.jsonl is in use by another run.")

    monkeypatch.setattr(alseg.comparison.plan, "run_job", held)
    monkeypatch.setattr(alseg.comparison.plan, "_LOOK_EVERY", 0.0)
    job = Job("chain", "random", 3, n_fits=2)
    assert alseg.comparison.plan._do(job, SMALL, None, "out", os.getpid()) == job.folder
    assert found == 3 * [job]
    monkeypatch.setattr(alseg.comparison.plan, "_ORPHANS_END_IN", 0.0)
    found.clear()
    with pytest.raises(FolderInUse, match="in use by another run"):
        alseg.comparison.plan._do(job, SMALL, None, "out", os.getpid())


@pytest.mark.slow
def test_killed_twenty_times_it_ends_with_the_same_numbers(whole, tmp_path):
    result = killed_and_continued(tmp_path, 20, random.Random(1), 4.0, n_jobs=2)
    assert numbers(result) == numbers(whole)


@pytest.mark.slow
def test_a_cluster_worker_of_two_threads_gives_the_same_records(whole, tmp_path):
    from distributed import Client, LocalCluster
    from joblib import parallel_config

    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with (
        LocalCluster(processes=True, silence_logs=50, **options) as cluster,
        Client(cluster),
        parallel_config(backend="dask"),
    ):
        result = compared(tmp_path, n_jobs=-1)
    assert numbers(result) == numbers(whole)


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_same_records(whole, tmp_path):
    from distributed import Client, LocalCluster
    from joblib import parallel_config

    killed = []

    def kill_one(pid):
        # In the middle: a chain has begun, and not all of them have.
        wait_until(lambda: list(tmp_path.glob("rows/*/*/records.jsonl")))
        os.kill(pid, signal.SIGKILL)
        killed.append(len(list(tmp_path.glob("rows/*/*/records.jsonl"))))

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(processes=True, silence_logs=50, **options) as cluster, Client(cluster) as me:
        pids = sorted(me.run(os.getpid).values())
        assert len(set(pids)) == 2 and os.getpid() not in pids
        thread = threading.Thread(target=kill_one, args=(pids[0],))
        thread.start()
        with parallel_config(backend="dask"):
            result = compared(tmp_path, n_jobs=-1)
        thread.join()
    assert killed and 1 <= killed[0] <= 4
    assert numbers(result) == numbers(whole)


# -- in use, and a full disk --


def test_two_at_once_are_refused(tmp_path):
    started = Started(tmp_path)
    try:
        wait_until((tmp_path / "comparison.json").exists)
        with pytest.raises(RecordsError, match="in use by another run"):
            compared(tmp_path)
    finally:
        started.kill()


@pytest.mark.parametrize(
    "folder", [pytest.param("tmp_path", marks=pytest.mark.slow), "only_starts"]
)
def test_a_full_disk_is_one_error_and_what_stands_is_continued(whole, request, folder):
    # A limit on the size of files stands in for the disk: a model, or a line of the records, is
    # cut in the middle.
    out = request.getfixturevalue(folder)
    said = Started(out, limit=9000).says()
    assert "OSError" in said and "too large" in said
    chains = list((out / "rows").rglob("records.jsonl"))
    assert any(path.stat().st_size == 9000 for path in chains) == (folder == "only_starts")
    assert numbers(compared(out)) == numbers(whole)
