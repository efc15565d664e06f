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


def keys_of(text):
    return [key.replace("−", "-") for key in re.findall("<kbd>(.+?)</kbd>", text)]


def test_the_table_of_keys_and_the_docs_agree():
    root = Path(alseg.__file__).parent
    page = (root / "annotate" / "page" / "index.html").read_text()
    dialog = page.split('<dialog id="keys"')[1].split("</dialog>")[0]
    docs = (root.parent / "docs" / "user" / "annotate.md").read_text().splitlines()
    rows = [line for line in docs if line.startswith("| ") and "<kbd>" in line]
    assert len(rows) > 15
    assert set(keys_of(dialog)) == set(keys_of("".join(rows)))


def test_no_key_of_the_desk_means_two_things():
    page = (Path(alseg.__file__).parent / "annotate" / "page" / "index.html").read_text()
    dialog = page.split('<dialog id="keys"')[1].split("</dialog>")[0]
    sections = [part for part in dialog.split("<section>") if "<h3>" in part]
    desk = [part for part in sections if not re.search("<h3>(Points|Gallery)<", part)]
    assert len(desk) == len(sections) - 2
    heads = re.findall('<th scope="row">(.+?)</th>', "".join(desk))
    assert len(set(heads)) == len(heads) > 20
    single = [key for head in heads for key in keys_of(head) if len(keys_of(head)) == 1]
    assert len(set(single)) == len(single)
