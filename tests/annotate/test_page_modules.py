"""The page's modules that need no browser, under `node --test`."""

import shutil
import subprocess
from pathlib import Path

import pytest
from waiting import HANG

TESTS = sorted(Path(__file__).parent.glob("*.test.mjs"))


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_module(path):
    done = subprocess.run(
        ["node", "--test", str(path)], capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 0, done.stdout + done.stderr
