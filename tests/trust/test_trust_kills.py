"""Killed at any moment and given again, every command ends as if it had not been killed."""

import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from killing import Launcher, moments
from odd_folders import make, picture, put, with_split
from running import TINY, untouched

SIGNALS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
RUN = ["--rounds", "1", "--initial", "2", "--n-instances", "1", *TINY]
QUERY = ["-n", "2", "--seconds", "0", *TINY]
VOLATILE = {"seconds", "memory_mib", "environment", "ran", "time", "pid", "weights"}


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    found = Launcher(tmp_path_factory.mktemp("launcher"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The user's data; beside them stands what each command starts from."""
    root = tmp_path_factory.mktemp("kills")
    with_split(make(root / "data", 8, masks=8))
    make(root / "open", 6)
    for i in range(6):
        put(root / "drawn", f"im{i}.png", picture(i)[1] * np.uint8(255))
    for i in (0, 1, 2, 5):  # those that the first question asks for are among them
        put(root / "some_drawn", f"im{i}.png", picture(i)[1] * np.uint8(255))
    for i in range(2):
        put(root / "redrawn", f"im{i}.png", picture(i + 1)[1] * np.uint8(255))
    return root


_QUERY = ["query", "--data", "{root}/open", "--out", "{work}/state", *QUERY]
_ADD = ["add", "{work}/state", "{root}/drawn"]
STARTS = {
    "empty": [],
    "asked": [_QUERY],
    "added": [_QUERY, _ADD],
    "some": [_QUERY, ["add", "{work}/state", "{root}/some_drawn"]],
    "trained": [_QUERY, _ADD, ["predict", "{work}/state", "{root}/open", "--out", "{work}/first"]],
    "ran": [["run", "--data", "{root}/data", "--out", "{work}/out", *RUN]],
}


def started(name, folders, launcher):
    """The folder that a command starts from, made when it is first asked for."""
    work = folders / name
    if not work.exists():
        work.mkdir()
        for argv in STARTS[name]:
            done = launcher(*[part.format(work=work, root=folders) for part in argv]).done
            assert done.code == 0, done
    return work


COMMANDS = {
    "run": ("empty", ["run", "--data", "{root}/data", "--out", "{work}/out", "--report", *RUN]),
    "compare": (
        "empty",
        [
            "compare",
            "--data",
            "{root}/data",
            "--out",
            "{work}/out",
            "--strategy",
            "random",
            "--strategy",
            "entropy",
            "--seeds",
            "1",
            "--no-controls",
            "--no-references",
            *RUN,
        ],
    ),
    "report": ("ran", ["report", "{work}/out", "-o", "{work}/page.html"]),
    "query": ("empty", ["query", "--data", "{root}/open", "--out", "{work}/state", *QUERY]),
    "query_again": ("some", ["query", "--out", "{work}/state", "-n", "1", "--seconds", "0"]),
    "add": ("asked", ["add", "{work}/state", "{root}/drawn"]),
    "replace": ("added", ["add", "{work}/state", "{root}/redrawn", "--replace"]),
    "undo": ("added", ["undo", "{work}/state"]),
    "predict": ("added", ["predict", "{work}/state", "{root}/open", "--out", "{work}/p"]),
    "predict_only": ("trained", ["predict", "{work}/state", "{root}/open", "--out", "{work}/p"]),
}


def plain(value):
    """JSON without what differs between two runs of one command."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in VOLATILE and "sha" not in k}
    return [plain(v) for v in value] if isinstance(value, list) else value


def tree(work):
    """All that a command has left, by relative path, in a form that can be compared."""
    found = {}
    for path in sorted(Path(work).rglob("*")):
        name = path.relative_to(work).as_posix()
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if path.is_dir() or hidden or path.suffix == ".sha256":  # checksums of lines with seconds
            continue
        content = path.read_bytes().replace(str(work).encode(), b"WORK")
        if path.suffix == ".jsonl":
            content = [plain(json.loads(line)) for line in content.splitlines()]
            for record in content:
                record.pop("checksum", None)
        elif path.suffix == ".json":
            content = plain(json.loads(content))
        elif path.suffix == ".html":  # tells seconds and the machine
            content = len(content) > 1000
        # the name of a model's folder, and of weights that have taken the place of others
        found[re.sub(r"model-[0-9a-f]+", "model", name)] = content
    return found


def of_command(name, folders, work):
    start, argv = COMMANDS[name]
    shutil.copytree(folders / start, work)
    for file in work.rglob("state.json"):
        assert str(folders / start) not in file.read_text(), "a state may be moved"
    return [part.format(work=work, root=folders) for part in argv]


def kill_and_again(name, folders, launcher, tmp_path, k, number, after, expected):
    work = tmp_path / f"k{k}_{int(number)}"
    argv = of_command(name, folders, work)
    killed = launcher(*argv, k=k, number=number, after=after).done
    assert "Traceback" not in killed.err, (name, k, number, killed)
    assert killed.code in (SIGNALS[number], 0), (name, k, number, killed)
    if killed.code in (130, 143):
        assert killed.err.splitlines()[-1].startswith("alseg: error: "), killed
    again = launcher(*argv).done
    if killed.code == 0 and again.code == 1:  # it was through already: nothing is done twice
        assert name in ("undo", "report") or "already" in again.err, (name, k, number, again)
    else:
        assert again.code == 0, (name, k, number, killed, again)
    found = tree(work)
    if name == "undo":  # what was taken back before the kill is not taken back once more
        return again
    assert found.keys() == expected.keys(), (name, k, number)
    for path, content in expected.items():
        assert found[path] == content, (name, k, number, path)
    left = [path for path in work.rglob("*") if path.name.endswith(".tmp")]
    assert not left, (name, k, number, left)
    shutil.rmtree(work)
    return again


def attack_command(name, folders, launcher, tmp_path, wanted):
    """Kill a command at `wanted` moments with each signal in turn; the number of kills."""
    whole = tmp_path / "whole"
    started(COMMANDS[name][0], folders, launcher)
    argv = of_command(name, folders, whole)
    with untouched(folders):
        done, count = launcher(*argv)
        assert done.code == 0 and count >= 2, (done, count)
        expected = tree(whole)
        n = 0
        for i, k in enumerate(moments(count, wanted)):
            number = list(SIGNALS)[i % 3]
            kill_and_again(name, folders, launcher, tmp_path, k, number, bool(i % 2), expected)
            n += 1
    return n


@pytest.mark.parametrize("name", ["add"])
def test_some_kills(name, folders, launcher, tmp_path):
    assert attack_command(name, folders, launcher, tmp_path, 4) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_kills(name, folders, launcher, tmp_path):
    """Ten commands, more than sixty kills: a report is one file, all others write more often."""
    assert attack_command(name, folders, launcher, tmp_path, 9) >= (4 if name == "report" else 7)
