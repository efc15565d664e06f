"""States, models, records and comparisons that somebody has tampered with: one line, no harm."""

import copy
import json
import shutil

import numpy as np
import pytest
from odd_folders import make, picture, put, with_split
from running import TINY, attack, call

QUERY = ["-n", "1", "--seconds", "0", "--quiet", *TINY]
RUN = ["--rounds", "1", "--initial", "2", "--n-instances", "1", "--no-panels", "--quiet", *TINY]
VALUES = (
    None,
    True,
    -1,
    10**40,
    1e308,
    "",
    "x",
    "../../../etc/passwd",
    "/etc/passwd",
    "os:system",
    "http://127.0.0.1:9/x.pt",
    [],
    [[]],
    {},
    {"a": {"b": []}},
    "\x1b[2J\n",
)
RAW = (
    b"",
    b"\0" * 20,
    b"null",
    b"[]",
    b"3",
    b'"x"',
    b"{",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"\xff\xfe",
    b"NaN",
    b'{"format": "x"}',
    b"{}",
)


def nodes(value, path=()):
    """Paths of all that is inside of JSON, itself left out."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield (*path, key)
        yield from nodes(inner, (*path, key))


def tampered(value, step, start=0):
    """Every `step`-th of all ways to put another value into a place, or to take the place away."""
    number = 0
    for path in nodes(value):
        for new in (*VALUES, "gone"):
            number += 1
            if number % step != start % step:
                continue
            found = copy.deepcopy(value)
            inner = found
            for key in path[:-1]:
                inner = inner[key]
            if new == "gone":
                del inner[path[-1]]
            else:
                inner[path[-1]] = new
            yield json.dumps(found).encode()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Everything that commands write, and the user's folders."""
    root = tmp_path_factory.mktemp("made")
    data, full = make(root / "data", 6), with_split(make(root / "full", 6, masks=6), 1)
    drawn = root / "drawn"
    for i in range(6):
        put(drawn, f"im{i}.png", picture(i)[1] * np.uint8(255))
    assert call("query", "--data", data, "--out", root / "state", *QUERY).code == 0
    assert call("add", root / "state", drawn, "--quiet").code == 0
    assert call("predict", root / "state", data, "--out", root / "p", "--quiet").code == 0
    assert call("run", "--data", full, "--out", root / "run", *RUN).code == 0
    assert (
        call(
            "compare",
            "--data",
            full,
            "--out",
            root / "compared",
            "--strategy",
            "random",
            "--seeds",
            "1",
            "--no-controls",
            "--no-references",
            *RUN[:6],
            "--quiet",
            *TINY,
        ).code
        == 0
    )
    return root


def attack_file(made, tmp_path, folder, name, contents, *commands):
    """Each content in the place of a file; then the commands, on a copy of the folder."""
    n = 0
    for content in contents:
        work = tmp_path / "work"
        if work.exists():
            shutil.rmtree(work)
        shutil.copytree(made / folder, work)
        (file,) = work.glob(name)
        file.write_bytes(content)
        for command in commands:
            argv = [part.format(work=work, made=made, tmp=tmp_path) for part in command]
            attack(*argv, user=[made, tmp_path], out=[work, tmp_path / "out"])
        n += 1
    return n


def read(made, name):
    (file,) = made.glob(name)
    text = file.read_text()
    return json.loads(text.splitlines()[0] if file.suffix == ".jsonl" else text)


ADD = ["add", "{work}", "{made}/drawn", "--replace"]
UNDO = ["undo", "{work}"]
PREDICT = ["predict", "{work}", "{made}/data", "--out", "{tmp}/out", "--quiet", "--overwrite"]
ASK = ["query", "--out", "{work}", "--new", *QUERY[:5]]
REPORT = ["report", "{work}", "--no-pictures"]

FILES = {
    "state": ("state", "state.json", [ADD, UNDO]),
    "asked": ("state", "state.json", [ASK]),
    "model": ("state", "model-*/model.json", [PREDICT]),
    "records": ("run", "records.jsonl", [REPORT]),
    "comparison": ("compared", "comparison.json", [REPORT]),
}


# A comparison's is long, and read as the others are: its turn comes below.
@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != "comparison"])
def test_tampered_states(kind, made, tmp_path):
    folder, name, commands = FILES[kind]
    contents = [*RAW, *tampered(read(made, f"{folder}/{name}"), 97)][:: 4 if kind != "state" else 2]
    assert attack_file(made, tmp_path, folder, name, contents, *commands) > 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_states_tampered_with_everywhere(kind, made, tmp_path):
    folder, name, commands = FILES[kind]
    contents = [*RAW, *tampered(read(made, f"{folder}/{name}"), {"state": 5}.get(kind, 29), 3)]
    assert attack_file(made, tmp_path, folder, name, contents, *commands) > 20


def test_tampered_options_of_a_run(made, tmp_path):
    """`config: []` and its like: a run that is given again names the file and changes nothing."""
    full = made / "full"
    record = read(made, "run/records.jsonl")
    for config in ([], 3, None, "x", {"estimator": []}, {"seed": {}}):
        work = tmp_path / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(made / "run", work)
        (work / "records.jsonl").write_text(json.dumps({**record, "config": config}) + "\n")
        for sums in work.glob(".*sha*"):
            sums.unlink()
        attack(
            "run",
            "--data",
            full,
            "--out",
            work,
            *RUN,
            user=[full],
            out=[work],
            codes={1},
            names=["records.jsonl"],
        )
        attack("report", work, user=[full], out=[work])
