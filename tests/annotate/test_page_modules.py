"""The page's modules that need no browser, under `node --test`."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from waiting import HANG

import alseg

TESTS = sorted(Path(__file__).parent.glob("*.test.mjs"))


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_module(path):
    done = subprocess.run(
        ["node", "--test", str(path)], capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_docs_name_each_key_that_a_control_has():
    root = Path(alseg.__file__).parent
    page = (root / "annotate" / "page" / "index.html").read_text()
    docs = (root.parent / "docs" / "user" / "annotate.md").read_text()
    keys = {key for found in re.findall(r'keyshortcuts="(.+?)"', page) for key in found.split("+")}
    shown = {"Control": "Ctrl", "ArrowRight": "→", "ArrowLeft": "←"}
    assert len(keys) > 15
    assert not {key for key in keys if f"<kbd>{shown.get(key, key)}</kbd>" not in docs}
