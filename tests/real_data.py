"""Where real data sets lie, for the tests that look at them."""

import os
from pathlib import Path

import pytest


def data_folder(name):
    """The folder of a real data set, or a skip that says where it was looked for."""
    roots = [os.environ.get("ALSEG_DATA"), Path(__file__).parents[2] / "shared" / "data"]
    for root in filter(None, roots):
        if (Path(root) / name).is_dir():
            return Path(root) / name
    pytest.skip(f"no real data: neither ALSEG_DATA nor ../shared/data has a folder {name!r}")
