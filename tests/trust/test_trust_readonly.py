"""All commands work where the user's folders, HOME and TMPDIR cannot be written to."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from odd_folders import make, picture, put, with_split
from running import HANG, TINY, environment, everything_under, untouched

SCRIPT = """
import json, os, sys
from alseg.cli import main
codes = []
for argv in json.load(open(sys.argv[1])):
    try:
        codes.append(main(argv))
    except SystemExit as end:
        codes.append(end.code)
print(json.dumps(codes))
"""

RUN = ["--rounds", "1", "--initial", "2", "--n-instances", "1", *TINY]


def digests_of(folder):
    """What all files hold, by path; modes are changed here, so they are left out."""
    return {path: found[2:] for path, found in everything_under(folder).items() if found[4]}


def can_mount():
    """Whether a mount of one's own can be made, as root in a container often may."""
    if os.name != "posix" or shutil.which("unshare") is None or os.geteuid() != 0:
        return False
    test = ["unshare", "-m", "sh", "-c", "mount --bind /usr /usr && mount -o remount,ro,bind /usr"]
    return subprocess.run(test, capture_output=True).returncode == 0


def run_read_only(commands, folders, tmp_path, env):
    """Exit codes of commands in one process for which these folders are read-only.

    By a mount where that is allowed; else by their modes, which bind everybody but root. The
    digests of the caller hold in both.
    """
    file = tmp_path / "commands.json"
    file.write_text(json.dumps([[os.fspath(part) for part in argv] for argv in commands]))
    start = []
    if can_mount():
        mounts = "".join(
            'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && ' for _ in folders
        )
        start = ["unshare", "-m", "sh", "-c", f'{mounts} exec "$@"', "sh", *map(os.fspath, folders)]
    for folder in folders:
        for place, _, files in os.walk(folder):
            for name in files:
                os.chmod(os.path.join(place, name), 0o444)
            os.chmod(place, 0o555)
    try:
        done = subprocess.run(
            [*start, sys.executable, "-c", SCRIPT, os.fspath(file)],
            capture_output=True,
            text=True,
            env=environment(**env),
            timeout=10 * HANG,
            cwd="/",
        )
    finally:
        for folder in folders:
            for place, _, _ in os.walk(folder):
                os.chmod(place, 0o755)
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.slow
def test_read_only_folders_home_and_tmp(tmp_path):
    data, state, out = (
        with_split(make(tmp_path / "data", 8, masks=4)),
        tmp_path / "s",
        tmp_path / "o",
    )
    full = with_split(make(tmp_path / "full", 8, masks=8))
    drawn, home, tmp = tmp_path / "drawn", tmp_path / "home", tmp_path / "tmp"
    for i in range(8):
        put(drawn, f"im{i}.png", picture(i)[1] * np.uint8(255))
    for folder in (home, tmp):
        folder.mkdir()
    for label in "ab":  # those that are there may not be added again
        for file in (data / "masks" / label).iterdir():
            (drawn / file.name).unlink()
    query = ["query", "--seconds", "0", "-n", "2"]
    commands = [
        ["run", "--data", full, "--out", out / "run", "--report", *RUN],
        ["report", out / "run", "-o", out / "page.html"],
        [
            "compare",
            "--data",
            full,
            "--out",
            out / "c",
            "--strategy",
            "random",
            "--seeds",
            "1",
            "--no-controls",
            "--no-references",
            "--report",
            *RUN,
        ],
        [*query, "--data", data, "--out", state, *TINY],
        ["add", state, drawn],
        ["undo", state],
        ["add", state, drawn],
        ["predict", state, data / "images", "--out", out / "p"],
    ]
    env = {"HOME": str(home), "TMPDIR": str(tmp), "XDG_CACHE_HOME": None}
    digests = {folder: digests_of(folder) for folder in (data, full, drawn)}
    before = {folder: sorted(os.listdir(folder)) for folder in (home, tmp)}
    codes, err = run_read_only(commands, [data, full, drawn, home, tmp], tmp_path, env)
    assert codes == [0] * len(commands), (codes, err)
    assert {folder: sorted(os.listdir(folder)) for folder in (home, tmp)} == before
    assert {folder: digests_of(folder) for folder in digests} == digests


@pytest.mark.slow
def test_no_home(tmp_path):
    data, out = with_split(make(tmp_path / "data", 8, masks=8)), tmp_path / "o"
    commands = [
        ["run", "--data", data, "--out", out / "run", "--report", *RUN],
        ["query", "--seconds", "0", "-n", "1", "--data", data, "--out", out / "s", *TINY],
        ["predict", out / "s", data / "images", "--out", out / "p"],
    ]
    with untouched(data):
        codes, err = run_read_only(commands, [], tmp_path, {"HOME": None})
    assert codes == [0, 0, 0], (codes, err)


def test_an_output_that_cannot_be_written_to_says_so(tmp_path):
    data = with_split(make(tmp_path / "data", 8, masks=8))
    closed = tmp_path / "closed"
    closed.mkdir()
    commands = [
        ["run", "--data", data, "--out", closed / "o", *RUN],
        ["compare", "--data", data, "--out", closed / "o", "--strategy", "random", *RUN],
        ["query", "--data", data, "--out", closed / "o", *TINY],
        ["run", "--data", data, "--out", closed, *RUN],
        ["query", "--data", data, "--out", closed, *TINY],
    ]
    if not can_mount() and os.geteuid() == 0:
        return  # modes do not bind root, and there is no other way
    codes, err = run_read_only(commands, [closed], tmp_path, {})
    assert codes == [2] * len(commands), (codes, err)
    lines = [line for line in err.splitlines() if line.startswith("alseg: error:")]
    assert len(lines) == len(commands) and all(str(closed) in line for line in lines), err
    assert not list(closed.iterdir())
