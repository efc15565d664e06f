"""One fit by two processes (gloo, on the CPU) is the fit of one with the same batches."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from shares import GLANDS, fitted, model, weights
from sklearn.utils import Bunch

from alseg.experiment import read_records
from alseg.training import JointLoss, check_sharing, share_of, sharing

HERE = Path(__file__).parent


def batch(n=6, n_decode=4):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, 3, 8, 8, generator=generator)
    masks = (torch.rand(n_decode, 8, 8, generator=generator) > 0.5).long()
    labels = torch.randint(0, 2, (n,), generator=generator)
    target = {"labels": labels, "masks": masks, "mask_weight": torch.ones(n_decode, 8, 8)}
    return {"x": x, "n_decode": n_decode}, target


def test_shares_are_all_of_a_batch_once():
    x, target = batch()
    shares = [share_of((x, target), rank, 2) for rank in range(2)]
    assert [one["n_decode"] for one, _ in shares] == [2, 2]
    for name, order in (("labels", [0, 2, 4, 1, 3, 5]), ("masks", [0, 2, 1, 3])):
        assert torch.equal(torch.cat([t[name] for _, t in shares]), target[name][order])
    assert torch.equal(torch.cat([one["x"] for one, _ in shares]), x["x"][[0, 2, 4, 1, 3, 5]])


@pytest.mark.parametrize("n, n_decode", [(6, 4), (4, 0), (4, 4)])
def test_the_mean_of_the_shares_losses_is_that_of_the_batch(n, n_decode):
    weight = torch.randn(2, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)

    def gradient(one):
        x, target = one
        pixels = torch.einsum("kc,nchw->nkhw", weight, x["x"])
        out = {
            "logits": pixels.mean((2, 3)),
            "mask_logits": pixels[: x["n_decode"]] if x["n_decode"] else None,
        }
        (found,) = torch.autograd.grad(JointLoss()(out, target), weight)
        return found

    whole = batch(n, n_decode)
    mean = sum(gradient(share_of(whole, rank, 2)) for rank in range(2)) / 2
    torch.testing.assert_close(mean, gradient(whole))


def test_alone_nothing_is_shared():
    assert sharing(None) is None
    pytest.importorskip("accelerate")
    assert sharing("accelerate") is None  # one process
    alone, told = fitted(), fitted("accelerate")
    for name, value in weights(alone).items():
        np.testing.assert_array_equal(value, weights(told)[name])


@pytest.mark.parametrize(
    "options, said",
    [
        ({"batch_size": 3}, "batch_size must be a multiple of 2, the processes of the fit, got 3"),
        ({"weak_batch_size": 1}, "weak_batch_size must be a multiple of 2"),
        ({"random_state": None}, "random_state must be an int where processes share a fit"),
        ({"others": {"consistency": True}}, "execution.processes must be None with consistency"),
    ],
)
def test_what_cannot_be_shared_alike_is_refused(options, said):
    usual = {"batch_size": 4, "weak_batch_size": 2, "random_state": 0, "others": {}}
    with pytest.raises(ValueError, match=said):
        check_sharing(Bunch(num_processes=2), **{**usual, **options})


def test_another_way_is_refused():
    with pytest.raises(ValueError, match="execution.processes must be None or 'accelerate'"):
        model("horovod").fit(GLANDS.images, GLANDS.labels)


@pytest.mark.slow
def test_two_processes_fit_as_one(tmp_path):
    pytest.importorskip("accelerate")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)]),
    }
    command = [sys.executable, str(HERE / "shares.py"), str(tmp_path)]
    processes = [
        subprocess.Popen(
            [*command, str(rank)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [process.wait(300) for process in processes] == [0, 0]
    first, second = (dict(np.load(tmp_path / f"{rank}.npz")) for rank in range(2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])  # bit for bit
    alone = fitted()
    losses = np.array(alone.history[:, "train_loss"])
    # BatchNorm takes its statistics from half of the images in each.
    np.testing.assert_allclose(first["losses"], losses, rtol=0.15)
    for name, value in weights(alone).items():
        if name.endswith("weight") and value.ndim == 4:
            a, b = value.ravel(), first[name].ravel()
            assert a @ b / np.sqrt(a @ a * (b @ b)) > 0.97, name
    one, other = (read_records(tmp_path / f"run-{rank}") for rank in range(2))
    assert [r["sample_ids"] for r in one] == [r["sample_ids"] for r in other]
    assert [r["metrics"] for r in one] == [r["metrics"] for r in other]
