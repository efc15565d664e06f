"""Comparisons that several files look at, run once."""

import gc
import shutil

import pytest
from small import compared


@pytest.fixture(scope="session")
def _whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    result = compared(folder)
    gc.collect()
    gc.freeze()  # what a first fit imports is walked after each job otherwise, as in tests/conftest
    return folder, result


@pytest.fixture
def whole(_whole):
    """One comparison that was never interrupted."""
    return _whole[1]


@pytest.fixture
def only_starts(_whole, tmp_path):
    """A folder, of the test alone, that holds what all rows of that comparison start from."""
    shutil.copytree(_whole[0], tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "rows")
    return tmp_path


@pytest.fixture(scope="session")
def _one_seed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_seed")
    compared(folder, seeds=[0])
    return folder


@pytest.fixture
def one_seed(_one_seed, tmp_path):
    """A folder, of the test alone, that holds the comparison of seed 0."""
    shutil.copytree(_one_seed, tmp_path, dirs_exist_ok=True)
    return tmp_path
