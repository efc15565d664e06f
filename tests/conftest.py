"""Fixtures that the whole suite shares: small images, one torch thread, the real data if there."""

import gc
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

# A machine that is busy with something else is no fault.
settings.register_profile("alseg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("alseg")

# A shell starts what runs in the background with SIGINT ignored, and so would be what tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is collected stays to the end: kept out of each collection of garbage from here on.

    Some hundred thousand objects, walked anew after each job of a comparison, took a fifth of all.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def data_folder(name):
    """The folder of a real data set, or a skip that says where it was looked for."""
    roots = [os.environ.get("ALSEG_DATA"), Path(__file__).parents[2] / "shared" / "data"]
    for root in filter(None, roots):
        if (Path(root) / name).is_dir():
            return Path(root) / name
    pytest.skip(f"no real data: neither ALSEG_DATA nor ../shared/data has a folder {name!r}")


@pytest.fixture
def glas_folder():
    return data_folder("glas")
