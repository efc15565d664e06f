"""A dask cluster does all of the work, exactly, or says at once which worker cannot and why."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings

import pytest
from small import SMALL, compared, data, numbers
from waiting import HANG, wait_until

from alseg.comparison import cluster
from alseg.comparison.cluster import ClusterError
from alseg.comparison.jobs import Row
from alseg.datasets import Dataset, make_glands

distributed = pytest.importorskip("distributed")


@contextlib.contextmanager
def on(address):
    """Comparisons go to a cluster."""
    from joblib import parallel_config

    with distributed.Client(address), parallel_config(backend="dask"):
        yield


@pytest.fixture(scope="module")
def in_threads():
    """A cluster whose one worker is a thread of this process: quick, for what is only asked."""
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(processes=False, silence_logs=50, **options) as found:
        yield found


@pytest.fixture(scope="module")
def in_a_process():
    """A cluster with a single worker, of one thread, in a process of its own."""
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(processes=True, silence_logs=50, **options) as found:
        yield found


def writes_its_process(path):
    """A strategy without a module of its own, so that its code is sent."""

    def strategy(learner, X_pool, n_instances=1):
        with open(path, "a") as file:
            file.write(f"{os.getpid()}\n")
        return list(range(n_instances))

    return strategy


# -- asked before the first job --


@pytest.mark.parametrize(
    "package, there, said",
    [
        ("torch", "1.0.0", "has torch .*, here it is 1.0.0: numbers could differ. Install the sa"),
        ("python", "3.9.1", "has python .*, here it is 3.9.1"),
        ("skorch", None, "has no skorch. Install it there: pip install skorch=="),
    ],
)
def test_versions_are_compared(in_threads, tmp_path, monkeypatch, package, there, said):
    if there is None:
        monkeypatch.setattr(cluster, "versions", lambda: {"skorch": "1.4"})
        real = cluster._said_of
        monkeypatch.setattr(
            cluster, "_said_of", lambda a, v, n: real({**a, "versions": {"skorch": None}}, v, n)
        )
    else:
        monkeypatch.setattr(cluster, "versions", lambda: {package: there})
    with on(in_threads), pytest.raises(ClusterError, match=rf"^worker \w+://.* \(on .*\) {said}"):
        compared(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_builds_and_patches_may_differ():
    assert cluster._release("2.13.0+cpu", "torch") == cluster._release("2.13.0+cu126", "torch")
    assert cluster._release("2.13.0", "torch") != cluster._release("2.13.1", "torch")
    assert cluster._release("3.11.2", "python") == cluster._release("3.11.9", "python")


def of_files(folder):
    import skimage.io

    glands = make_glands(20, image_size=(32, 32), random_state=0)
    paths = [folder / f"{i}.png" for i in range(20)]
    for path, image in zip(paths, glands.images):
        skimage.io.imsave(path, image, check_contrast=False)
    whole = Dataset([str(path) for path in paths], glands.labels, glands.masks)
    return paths, (whole.take(range(14)), whole.take(range(14, 20)))


def test_every_file_of_the_data_is_looked_for(in_threads, tmp_path, monkeypatch):
    paths, parts = of_files(tmp_path)
    assert set(cluster._files_of([parts, parts])) == set(map(str, paths))
    real = cluster._files_of
    wrong = {str(tmp_path / "0.png"): 3, str(tmp_path / "away.png"): 10}
    monkeypatch.setattr(cluster, "_files_of", lambda parts: real(parts) | wrong)
    said = r"does not see 2 of 21 files .* such as .*0.png \(\d+ bytes there, 3 here\)\. Put the"
    with on(in_threads), pytest.raises(ClusterError, match=said):
        compared(tmp_path / "out", data=parts)
    assert cluster._unseen(str(tmp_path / "away.png"), 10) == "No such file or directory"
    assert cluster._unseen(str(paths[0]), paths[0].stat().st_size) is None


def test_the_folder_of_the_comparison_is_looked_for(in_threads, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "file_digest", lambda path: "0")
    said = r"does not see the folder .*out \(another file is there\)\. Name one that all workers"
    with on(in_threads), pytest.raises(ClusterError, match=said):
        compared(tmp_path / "out")
    assert cluster._look_at(str(tmp_path / "no"), "0") == "No such file or directory"


def test_modules_are_those_that_a_pickle_imports():
    from functools import partial

    from alseg.strategies import entropy_sampling

    def own(learner, X_pool, n_instances=1):
        return [0]

    of_entropy = {"alseg.strategies.informativeness"}
    assert cluster._modules_of(entropy_sampling) == of_entropy
    assert of_entropy < cluster._modules_of(Row(partial(entropy_sampling, target="mask")))
    assert not cluster._modules_of(own) & {__name__, "test_clusters"}  # its code is sent
    assert "alseg.datasets._dataset" in cluster._modules_of([data()])


def test_what_is_sent_by_value_needs_no_module():
    import cloudpickle

    payload = cloudpickle.dumps(cluster._by_value(cluster._look_around, cluster._unseen))
    assert b"alseg.comparison" not in payload
    found = cloudpickle.loads(payload)(cloudpickle.dumps(1), ["no.such"], ["python", "no-such"], [])
    assert found["versions"]["no-such"] is None and "ModuleNotFound" in found["lacks"]["no.such"]


@pytest.mark.parametrize("listens", [True, False])
def test_who_does_not_answer_is_named(monkeypatch, listens):
    monkeypatch.setattr(cluster, "_CONNECT", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        address = "tcp://{}:{}".format(*silent.getsockname())
        said = f"the scheduler at {address} does not answer within 0 s.*See that a dask scheduler"
        with pytest.raises(ClusterError, match=said):
            cluster.connect(address)


def test_a_scheduler_without_workers_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_WORKERS", 0.2)
    options = {"n_workers": 0, "dashboard_address": ":0"}
    with distributed.LocalCluster(processes=False, silence_logs=50, **options) as found:
        said = "scheduler at .* has no worker after 0 s. Start one .*dask worker .* --nthreads 1"
        with on(found), pytest.raises(ClusterError, match=said):
            compared(tmp_path / "out")


def test_threads_of_a_worker_are_told(whole, tmp_path):
    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(processes=False, silence_logs=50, **options) as found,
        on(found),
        pytest.warns(UserWarning, match="has 2 threads, of which one .*--nworkers 2"),
    ):
        result = compared(tmp_path / "out", seeds=[1])
    assert numbers(result)[0].items() <= numbers(whole)[0].items()


def test_workers_that_share_a_gpu_are_told():
    alike = {"host": "a", "gpus": "0,1"}
    with pytest.warns(UserWarning, match="2 workers on a share GPU 0. Start each with one of its"):
        cluster._warn_of_shared_devices({"w1": alike, "w2": alike})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cluster._warn_of_shared_devices(
            {"w1": alike, "w2": {"host": "b", "gpus": "0,1"}, "w3": {"host": "a", "gpus": "1,0"}}
        )
        cluster._warn_of_shared_devices(
            {"w1": {"host": "a", "gpus": ""}} | {"w2": {"host": "a", "gpus": ""}}
        )


# -- in processes --


@pytest.mark.slow
def test_a_single_worker_does_all_the_work(whole, in_a_process, tmp_path):
    asked = tmp_path / "asked"
    strategies = {"random": writes_its_process(asked), "other": writes_its_process(asked)}
    with on(in_a_process):
        compared(tmp_path / "own", strategies, seeds=[0], n_jobs=1)
        result = compared(tmp_path / "same", seeds=[0], n_jobs=1)
    processes = set(asked.read_text().split())
    assert len(processes) == 1 and str(os.getpid()) not in processes
    assert numbers(result)[0].items() <= numbers(whole)[0].items()


@pytest.mark.slow
def test_a_module_that_workers_lack_is_named_at_once(in_a_process, tmp_path, monkeypatch):
    in_a_process.wait_for_workers(1)
    (tmp_path / "lonely_strategies.py").write_text(
        "def first(learner, X_pool, n_instances=1):\n    return list(range(n_instances))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from lonely_strategies import first

    said = r"cannot import lonely_strategies \(ModuleNotFoundError: .*PYTHONPATH"
    with on(in_a_process), pytest.raises(ClusterError, match=said):
        compared(tmp_path / "out", {"random": first, "b": first})
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_worker_that_does_not_answer_is_named(in_a_process, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_ANSWER", 2.0)
    with distributed.Client(in_a_process) as client:
        ((address, pid),) = client.run(os.getpid).items()
        os.kill(pid, signal.SIGSTOP)
        try:
            with (
                on(in_a_process),
                pytest.raises(ClusterError, match=f"worker {address} did not ans"),
            ):
                compared(tmp_path / "out")
        finally:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
def test_a_job_that_kills_its_workers_is_named(tmp_path):
    import dask

    def deadly(learner, X_pool, n_instances=1):
        os.kill(os.getpid(), signal.SIGKILL)

    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    # The other job may wait on the same worker, and is lost with it as often.
    said = "job '(random|all-ones)', seed 0, was lost with its worker 2 times, .* memory runs out"
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(processes=True, silence_logs=50, **options) as found,
        on(found),
        pytest.raises(ClusterError, match=said),
    ):
        compared(tmp_path, {"random": deadly}, seeds=[0])


def started(*command, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **options,
    )


@pytest.mark.slow
def test_a_scheduler_that_is_killed_is_named(tmp_path):
    known = tmp_path / "scheduler.json"

    def waits(learner, X_pool, n_instances=1):
        import time

        (tmp_path / "asked").touch()
        time.sleep(HANG)

    scheduler = started("scheduler", "--scheduler-file", known, "--port", 0, "--no-dashboard")
    worker = started(
        "worker", "--scheduler-file", known, "--nthreads", 1, "--no-nanny", "--no-dashboard"
    )
    try:
        wait_until(known.exists)

        def kill():
            wait_until((tmp_path / "asked").exists)
            scheduler.kill()

        thread = threading.Thread(target=kill)
        with distributed.Client(scheduler_file=str(known)) as client:
            client.wait_for_workers(1)
            from joblib import parallel_config

            thread.start()
            said = "the scheduler at tcp://.* does not answer any more. What has ended is kept"
            with parallel_config(backend="dask"), pytest.raises(ClusterError, match=said):
                compared(tmp_path / "out", {"random": waits}, seeds=[0], protocol=SMALL)
        thread.join()
    finally:
        scheduler.kill()
        worker.kill()
        scheduler.wait()
        worker.wait()
