"""Fixtures that the whole suite shares: small images, one torch thread, the real data if there."""

import gc
import signal

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from real_data import data_folder

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


@pytest.fixture(scope="session")
def monai():
    """Imported here, since it takes seconds, which each process that collects tests would wait."""
    import monai.losses
    import monai.metrics

    return monai


@pytest.fixture
def no_figures(monkeypatch):
    """Reports of comparisons come without their curves, which take nearly all of the time."""
    from alseg.report.shown_rows import ShownRows

    monkeypatch.setattr(ShownRows, "draw", lambda *args: "")


@pytest.fixture
def glas_folder():
    return data_folder("glas")
