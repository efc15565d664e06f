"""Worker processes of one machine share its GPUs, one each; no GPU is needed to see that."""

import os

import pytest
from small import compared

from alseg.comparison.devices import take_device, visible_devices


def test_what_is_visible(monkeypatch):
    import torch

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-7a,")
    assert visible_devices() == ["5", "GPU-7a"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_devices() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert visible_devices() == ["0", "1", "2"]


@pytest.mark.parametrize(
    "process, device",
    [("LokyProcess-1", "5"), ("LokyProcess-2", "7"), ("LokyProcess-5", "5"), ("MainProcess", "5")],
)
def test_each_worker_takes_the_next(monkeypatch, process, device):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert take_device(["5", "7"], process) == device == os.environ["CUDA_VISIBLE_DEVICES"]
    assert take_device(["5", "7"], process) == device  # the next job of the process


@pytest.mark.parametrize("devices", [[], ["5"]])
def test_with_fewer_than_two_nothing_is_changed(monkeypatch, devices):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert take_device(devices, "LokyProcess-2") is None
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.slow
def test_jobs_in_processes_see_one_each(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    asked = str(tmp_path / "asked")

    def notes(learner, X_pool, n_instances=1):
        with open(asked, "a") as file:
            file.write(f"{os.getpid()} {os.environ['CUDA_VISIBLE_DEVICES']}\n")
        return list(range(n_instances))

    compared(tmp_path / "two", {"random": notes, "other": notes}, n_jobs=2)
    with open(asked) as file:
        lines = {tuple(line.split()) for line in file}
    assert len(lines) == len({process for process, _ in lines})  # a process keeps its device
    assert {device for _, device in lines} <= {"5", "7"}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,7"
