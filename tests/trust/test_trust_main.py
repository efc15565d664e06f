"""Every failure is one line with the file or argument in it, and an exit code."""

import errno
import os
import pickle
import re
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor
from types import SimpleNamespace

import pytest
import running
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_folders import NAMES, make, with_split
from running import TINY, attack, call, environment

from alseg.cli import main as command_line
from alseg.cli.errors import BUG, EXIT_CODES, explain, one_line


def raised(error, cause=None):
    """`error` with a traceback, as `main` meets it."""
    try:
        raise error from cause
    except BaseException as found:
        return found


def found_wrong(code, **names):
    """What the interpreter itself raises for a line of code."""
    try:
        exec(code, names)
    except Exception as found:
        return found


ARGS = SimpleNamespace(out="here/out", data="there")


class KilledWorker(Exception):
    """Of the name of distributed's, which is told by its name."""


@pytest.mark.parametrize(
    "error, code, words",
    [
        (MemoryError(), 1, ["memory ran out", "--image-size"]),
        (MemoryError("Unable to allocate 3.21 TiB for an array"), 1, ["3.21 TiB", "--batch-size"]),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 1, ["CUDA out of"]),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate "
                "memory: you tried to allocate 99 bytes."
            ),
            1,
            ["memory ran out"],
        ),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "d/f"), 1, ["d/f: no space", "Free"]),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1, ["here/out", "no space", "Free"]),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "d/f"), 1, ["d/f", "ulimit -n"]),
        (OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "d"), 1, ["d: file name"]),
        (
            PermissionError(errno.EACCES, "Permission denied", b"d/\xff"),
            1,
            [r"d/\udcff: permission"],
        ),
        (OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"), 1, ["a -> b: invalid"]),
        (
            BrokenExecutor("A worker process managed by the executor was killed"),
            1,
            ["a worker process is gone", "--n-jobs"],
        ),
        (KilledWorker("fit-1"), 1, ["a worker process is gone"]),
        (ImportError("No module named 'tifffile'"), 1, ["tifffile"]),
        (ValueError("n must be >= 1,\n got 0."), 1, ["n must be >= 1, got 0."]),
        (TypeError("n must be an integer."), 1, ["n must be an integer."]),
        (KeyboardInterrupt(), 130, ["interrupted", "again to continue"]),
        (
            RuntimeError("The size of tensor a (3) must match"),
            70,
            ["unexpected RuntimeError", "ALSEG_TRACEBACK=1", "test_trust_main.py, line"],
        ),
        (RecursionError("maximum recursion depth exceeded"), 70, ["unexpected RecursionError"]),
        (AssertionError(), 70, ["unexpected AssertionError"]),
    ],
)
def test_what_is_said(error, code, words):
    text, found = explain(raised(error), ARGS)
    assert found == code and all(word in one_line(text) for word in words), text


@pytest.mark.parametrize("code", ["None[0]", "len(3)", "{}['masks']", "[][1]", "None.x", "1 / 0"])
def test_what_the_interpreter_finds_is_a_bug(code):
    text, found = explain(found_wrong(code), ARGS)
    assert found == BUG and "unexpected" in text


def test_a_type_error_from_a_worker_keeps_its_text():
    error = pickle.loads(pickle.dumps(TypeError("n must be an integer.")))
    assert explain(raised(error, cause=RuntimeError("Traceback of the worker")), ARGS)[1] == 1


def test_a_name_that_is_not_there_is_said_in_a_sentence():
    from alseg.datasets import make_glands
    from alseg.validation import UnknownName

    assert str(UnknownName("part must be x.")) == "part must be x."
    with pytest.raises(KeyError, match="part must be one of"):
        from alseg.datasets._dataset import make_parts

        data = make_glands(4, random_state=0)
        make_parts(data, ["train"] * 4, "glands")["tain"]


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_printable_changes_nothing_in_a_terminal(text):
    found = one_line(text)
    assert found.isprintable() and "\n" not in found
    plain = " ".join(text.split())
    assert found == plain or not plain.isprintable()


def test_exit_codes_are_documented():
    shown = call("--help").out
    page = (running.ROOT / "docs" / "user" / "trust.md").read_text()
    for code, meaning in EXIT_CODES.items():
        assert f"  {code:<5}{meaning}" in shown
        assert re.search(rf"^\| {code} \| {re.escape(meaning)}", page, re.M), f"{code} in trust.md"
    assert running.EXIT_CODES | {BUG} == set(EXIT_CODES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_odd_arguments_are_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = os.fsdecode(NAMES[name])
    for argv in (
        ["run", "--data", f"./{text}", "--out", "o"],
        ["run", "--data", "glands", "--out", "o", f"--strategy={text}"],
        ["compare", f"./{text}"],
        ["report", f"./{text}"],
        ["add", f"./{text}", "m"],
        ["predict", f"./{text}", "m", "--out", "o"],
        ["query", "--data", f"./{text}", "--out", "o"],
        [text],
        ["run", f"--{text}=1"],
        ["run", f"--seed={text}"],
    ):
        done = attack(*argv, user=[tmp_path], out=[tmp_path / "o"], codes={0, 1, 2})
        assert done.code or text.startswith("-"), done


@pytest.mark.parametrize("text", ["1e400", "9" * 30, "9" * 5000, "0x1", "", "\0", "1;2", "inf"])
def test_odd_numbers_are_one_line(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = ["run", "--data", "glands", "--test-limit", "2", "--rounds", "0", "--out", "out"]
    for option in ("--limit", "--seed", "--initial", "--n-mask-classes", "--pseudo-labels"):
        done = attack(
            *start,
            *TINY,
            f"{option}={text}",
            user=[tmp_path],
            codes={1, 2},
            names=[option.strip("-"), option.strip("-").replace("-", "_")],
        )
        assert len(done.error) < 2100, option


TOML = {
    "not.toml": "= 1",
    "binary": b"\xff\xfe\0",
    "deep": "a = " + "[" * 5000 + "]" * 5000,
    "deep_tables": "[" + "a." * 5000 + "b]",
    "data_list": "data = []",
    "data_number": "data = 3",
    "out_list": 'data = "glands"\nout = ["o"]\nstrategies = ["random"]',
    "strategies_number": 'data = "glands"\nout = "o"\nstrategies = 3',
    "strategies_numbers": 'data = "glands"\nout = "o"\nstrategies = [1, 2]',
    "strategies_deep": 'data = "glands"\nout = "o"\nstrategies = {a = {b = 1}}',
    "strategies_none": 'data = "glands"\nout = "o"\nstrategies = []',
    "strategies_code": 'data = "glands"\nout = "o"\nstrategies = ["os:system"]',
    "protocol_list": "protocol = []",
    "protocol_huge": 'data = "glands"\nout = "o"\nstrategies = ["random"]\n[protocol]\nrounds = 1'
    + "0" * 40,
    "protocol_nan": 'data = "glands"\nout = "o"\nstrategies = ["random"]\n[protocol]\nalpha = nan',
    "protocol_unknown": 'data = "glands"\nout = "o"\nstrategies = ["random"]\n[protocol]\nx = 1',
    "references_number": 'data = "glands"\nout = "o"\nstrategies = ["random"]\n[protocol]\n'
    "references = 3",
    "family_number": 'data = "glands"\nout = "o"\nstrategies = ["random"]\n[protocol]\nfamily = 3',
    "window_text": 'data = "glands"\nout = "o"\nstrategies = ["random"]\n[protocol]\nwindow = "x"',
    "estimator_number": 'data = "glands"\nout = "o"\nstrategies = ["random"]\n[estimator]\n'
    "encoder = 3",
    "estimator_date": 'data = "glands"\nout = "o"\nstrategies = ["random"]\n[estimator]\n'
    "encoder = 1979-05-27",
    "image_size_number": 'data = "glands"\nout = "o"\nstrategies = ["random"]\n[estimator]\n'
    "image_size = -3",
    "image_size_texts": 'data = "glands"\nout = "o"\nstrategies = ["random"]\n[estimator]\n'
    'image_size = ["a", "b"]',
    "preset_list": 'data = "glands"\nout = "o"\nstrategies = ["random"]\n[estimator]\npreset = []',
    "module_url": 'data = "glands"\nout = "o"\nstrategies = ["random"]\n[estimator]\n'
    'module = "os:system"',
    "seeds_text": 'data = "glands"\nout = "o"\nstrategies = ["random"]\nseeds = "3"',
    "seeds_texts": 'data = "glands"\nout = "o"\nstrategies = ["random"]\nseeds = ["a"]',
    "n_jobs_list": 'data = "glands"\nout = "o"\nstrategies = ["random"]\nn_jobs = []',
    "n_jobs_zero": 'data = "glands"\nout = "o"\nstrategies = ["random"]\nn_jobs = 0',
    "pseudo_text": 'data = "glands"\nout = "o"\nstrategies = ["random"]\npseudo_labels = "x"',
    "limit_bool": "limit = true",
    "fold_list": 'data = "glands"\nout = "o"\nstrategies = ["random"]\nfold = [1]',
    "mapping_number": 'data = "glands"\nout = "o"\nstrategies = ["random"]\nmask_mapping = 3',
    "mapping_name": 'data = "DATA"\nout = "o"\nstrategies = ["random"]\nmask_mapping = "x"',
    "split_list": 'data = "glands"\nout = "o"\nstrategies = ["random"]\ntrain_split = []',
}


@pytest.mark.parametrize("name", sorted(TOML))
def test_odd_options_in_a_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with_split(make(tmp_path / "DATA", 8, masks=8))
    text = TOML[name]
    file = tmp_path / "c.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = attack(
        "compare",
        file,
        "--dry-run",
        "--limit",
        "8",
        "--rounds",
        "1",
        "--initial",
        "2",
        *(() if "[estimator]" in str(text) else TINY),
        user=[tmp_path],
    )
    # Its rounds are those of the command line; code that the file itself names is asked for.
    harmless = {"protocol_huge", "strategies_code"}
    assert done.code == 2 or name in harmless, done


# -- as a process -------------------------------------------------------------------------------


def process(*argv, before="", stdout=subprocess.PIPE, env=None):
    """`alseg` in a process of its own after some lines of Python: (code, stdout, stderr)."""
    code = f"import sys\n{before}\nfrom alseg.cli import main\nsys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *argv],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=env or environment(),
        timeout=running.HANG,
    )
    return done.returncode, done.stdout, done.stderr.decode()


FAIL = """
import alseg.cli.experiments
def fail(args):
    {0}
alseg.cli.experiments.report = fail
"""


def test_failures_of_a_process(tmp_path):
    code, _, err = process(
        "report",
        "x",
        before=FAIL.format(
            "import os, signal; os.kill(os.getpid(), signal.SIGTERM); import time; time.sleep(60)"
        ),
    )
    assert (code, err) == (
        143,
        "alseg: error: terminated. Give the same command again to continue.\n",
    )
    code, _, err = process(
        "report",
        "x",
        before=FAIL.format(
            "import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(60)"
        ),
    )
    assert (code, err) == (
        130,
        "alseg: error: interrupted. Give the same command again to continue.\n",
    )
    code, _, err = process("report", "x", before=FAIL.format("None.x"))
    assert (
        code == 70 and err.count("\n") == 1 and "AttributeError" in err and "Traceback" not in err
    )
    code, _, err = process(
        "report", "x", before=FAIL.format("None.x"), env=environment(ALSEG_TRACEBACK="1")
    )
    assert code == 1 and "Traceback" in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_full_disk_behind_stdout():
    with open("/dev/full", "wb") as full:
        code, _, err = process("--version", stdout=full)
        assert (code, err.count("\n")) == (1, 1) and "No space left" in err
        code, _, err = process("report", "x", before=FAIL.format("print('x')"), stdout=full)
        assert (code, err) == (1, "alseg: error: standard output: No space left on device.\n")


def test_nobody_reads_stdout():
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as pipe:
        code, _, err = process(
            "report", "x", before=FAIL.format("print('x' * 100_000)"), stdout=pipe
        )
        assert (code, err) == (1, "")
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as pipe:
        assert process("--help", stdout=pipe)[::2] == (1, "")


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_letters_that_the_terminal_lacks(env):
    before = FAIL.format("print('Grüße 🦠 \\udcff')")
    code, out, err = process("report", "x", before=before, env=environment(**env))
    assert (code, err) == (0, "") and b"\xff" not in out or env.get("LC_ALL"), (out, err)
    code, _, err = process("report", b"nowhere_\xff\xe4\x1b[31m", env=environment(**env))
    assert code == 1 and "nowhere_" in err and "\x1b" not in err and err.count("\n") == 1


def test_sigterm_is_given_back():
    before = signal.getsignal(signal.SIGTERM)
    assert command_line(["report", "nowhere"]) == 1
    assert signal.getsignal(signal.SIGTERM) is before
