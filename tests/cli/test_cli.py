"""The command line: exit codes, one-line errors, and the state folder of an annotator."""

import argparse
import ast
import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import alseg.cli.experiments
import alseg.cli.parser
from alseg.cli import main
from alseg.datasets import make_glands
from alseg.experiment.records import comparable, read_records
from alseg.images import read_mask
from alseg.project import open_project
from alseg.project.mask_files import mask_bytes

COMMANDS = ("run", "compare", "report", "annotate", "query", "add", "undo", "predict")
TINY = ["--encoder", "tiny", "--max-epochs", "1", "--device", "cpu", "--threads", "1"]
RUN = [
    "run",
    "--data",
    "glands",
    "--limit",
    "8",
    "--test-limit",
    "4",
    "--rounds",
    "1",
    "--image-size",
    "24",
    "32",
    *TINY,
]


def call(capsys, *argv):
    """Exit code, stdout and stderr of a command; argparse's own exits are codes too."""
    try:
        code = main([str(a) for a in argv])
    except SystemExit as error:
        code = error.code
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys, *argv, code, match):
    """The command fails with one line that says this."""
    found, out, err = call(capsys, *argv)
    lines = [line for line in err.splitlines() if line.startswith("alseg: error:")]
    assert (found, out, len(lines)) == (code, "", 1), (found, out, err)
    assert match in lines[0], lines[0]
    assert "Traceback" not in err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_an_example(capsys, command):
    code, out, _ = call(capsys, command, "--help")
    assert code == 0
    example = out[out.index("example:") :].splitlines()[1].split()
    assert example[:2] == ["alseg", command]
    words = [word for word in example[1:] if word != "\\"]
    given = ["--out", "x"] if "--out" not in words and command == "run" else []
    alseg.cli.parser.make_parser().parse_args(words + given)


def test_help_version_and_no_command(capsys):
    from alseg import __version__

    assert call(capsys, "--version")[:2] == (0, f"alseg {__version__}\n")
    code, out, _ = call(capsys)
    assert code == 0 and all(f"    {command} " in out for command in COMMANDS)


def test_help_waits_for_nothing_heavy():
    imported = set()
    for file in Path(alseg.cli.__file__).parent.glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module)
    own = {name for name in imported if name.startswith("alseg.cli")}
    # all of the standard library, and none that takes time
    assert imported - own <= {
        "argparse",
        "concurrent.futures",
        "contextlib",
        "errno",
        "os",
        "signal",
        "sys",
        "threading",
        "warnings",
    }


def test_module_entry_point():
    done = subprocess.run(
        [sys.executable, "-m", "alseg", "run", "--out", "x"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == (
        "alseg: error: the following arguments are required: --data (see `alseg run --help`)\n"
    )


BEGINS = """
import sys
from importlib.abc import MetaPathFinder

class Watch(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in ("numpy", "torch"):
            print(f"<{name}>", file=sys.stderr)
            raise SystemExit(3)

sys.meta_path.insert(0, Watch())
from alseg.cli import main

main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "command",
    [
        ["annotate", "data", "--out", "state"],
        ["query", "--data", "data", "--out", "state"],
        ["predict", "state", "data", "--out", "masks"],
        ["run", "--data", "data", "--out", "records"],
        ["compare", "--data", "data", "--out", "records", "--strategy", "entropy"],
    ],
    ids=lambda command: command[0],
)
def test_a_command_says_what_it_begins_with_before_what_takes_time_is_imported(command, tmp_path):
    line = [sys.executable, "-c", BEGINS, *command]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    said, heavy = done.stderr.splitlines()[0].split(" ...")
    assert done.returncode == 3 and heavy in ("<numpy>", "<torch>")
    state = (
        "Loading PyTorch and the images" if command[0] in ("run", "compare") else "Opening state"
    )
    assert said == state and done.stdout == ""
    quiet = subprocess.run([*line, "--quiet"], capture_output=True, text=True, cwd=tmp_path)
    assert quiet.stderr == f"{heavy}\n"


@pytest.mark.parametrize("say", ["tell", "complain", "show_warning", "nothing"])
def test_what_a_command_begins_with_goes_when_anything_is_said(say, capsys):
    from alseg.cli import errors

    with errors.begun(argparse.Namespace(quiet=False), "Opening"):
        assert capsys.readouterr().err == "Opening ..."
        if say == "tell":
            errors.tell("two words")
        elif say == "complain":
            errors.complain("two words", 1)
        elif say == "show_warning":
            errors.show_warning("two words", UserWarning, "file", 1)
    wiped = "\r" + " " * len("Opening ...") + "\r"
    err = capsys.readouterr().err
    assert err.startswith(wiped) and err.count("\r") == 2
    assert err[len(wiped) :] == "" if say == "nothing" else err.endswith("two words\n")


# -- run, report ----------------------------------------------------------------------------------


def test_run_then_report(capsys, tmp_path):
    out = tmp_path / "deep" / "run"
    code, printed, err = call(capsys, *RUN, "--out", out, "--report", "--pseudo-labels", "0.1")
    assert code == 0, err
    assert f"report:  {out / 'report.html'}" in printed and "| 1 | 6 |" in printed
    bars = re.split(r"[\r\n]+", err)
    assert any(bar.startswith("fit: ") for bar in bars)
    first = [bar for bar in bars if bar.startswith("round 0/1, ") and "Dice" not in bar]
    assert first[0].startswith("round 0/1, ask") and "<?]" in first[0]
    assert all("<?]" in bar for bar in first if " 0 % " in bar)  # no time was measured yet
    assert any("50 % [" in bar and "<?]" not in bar for bar in bars if "round 1/1, fit" in bar)
    assert [p.name for p in out.rglob("*.jsonl")] == ["records.jsonl"]
    records = read_records(out)
    assert [r["n_masks"] for r in records] == [4, 6]
    assert records[0]["config"]["augmenter"]["weight"] == 0.1
    before = (out / "records.jsonl").read_bytes()
    code, again, err = call(capsys, *RUN, "--out", out, "--quiet", "--pseudo-labels", "0.1")
    assert (code, again, err) == (0, f"records: {out / 'records.jsonl'}\n", "")
    assert (out / "records.jsonl").read_bytes() == before
    code, printed, _ = call(capsys, "report", out, "-o", tmp_path / "page.html")
    assert (code, printed) == (0, f"{tmp_path / 'page.html'}\n")
    assert (tmp_path / "page.html").read_bytes() == (out / "report.html").read_bytes()
    for name, start in (("scores.csv", b"row,seed,"), ("curve.pdf", b"%PDF"), ("c.SVG", b"<?xml")):
        code, printed, err = call(capsys, "report", out, "--out", tmp_path / name)
        assert (code, printed, err) == (0, f"{tmp_path / name}\n", "")
        assert (tmp_path / name).read_bytes().startswith(start)
    refused(capsys, "report", out, "-o", "a.tex", code=2, match="must be .html, .csv, .pdf, .svg")
    refused(capsys, *RUN, "--out", out, "--seed", "1", code=1, match="seed: 0 there, 1 now")


def test_a_strategy_of_ones_own(capsys, tmp_path, monkeypatch):
    (tmp_path / "mine_alseg.py").write_text(
        "class Nested:\n"
        "    @staticmethod\n"
        "    def first(learner, X_pool, n_instances=1):\n"
        "        return list(range(n_instances))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = "mine_alseg:Nested.first"
    code, _, err = call(capsys, *RUN, "--out", "o", "--strategy", name, "--quiet", "--no-panels")
    assert code == 0, err
    records = read_records("o")
    free = sorted(set(range(8)) - set(records[0]["sample_ids"]))
    assert records[1]["sample_ids"] == free[:2] and records[1]["strategy"] == name
    assert not Path("o/panels").exists()
    refused(
        capsys,
        *RUN,
        "--out",
        "p",
        "--strategy",
        "mine_alseg:Nested.frist",
        code=2,
        match="strategy must be a name in mine_alseg",
    )
    refused(
        capsys,
        *RUN,
        "--out",
        "p",
        "--strategy",
        "no_such_module:f",
        code=2,
        match="No module named 'no_such_module'",
    )


@pytest.mark.parametrize(
    "options, code, match",
    [
        (["--strategy", "entropi"], 2, "got 'entropi'. Did you mean 'entropy'?"),
        (["--encoder", "resnet19"], 2, "encoder must be one of"),
        (["--pooling", "atention"], 2, "Did you mean 'attention'?"),
        (["--schedule", "two"], 2, "schedule.phases must be one of"),
        (["--data", "gland"], 2, "Did you mean 'glands'?"),
        (["--n-instances", "0"], 2, "--n-instances: must be an integer >= 1, got '0'"),
        (["--rounds", "-1"], 2, "--rounds: must be an integer >= 0"),
        (["--max-epochs", "-1"], 2, "max_epochs must be >= 0, got -1"),
        (["--pseudo-labels", "-1"], 2, "pseudo_labels must be >= 0 and <= 1, got -1.0"),
        (["--pseudo-labels", "2"], 2, "pseudo_labels must be >= 0 and <= 1, got 2.0"),
        (["--device", "gpu"], 2, "device must be 'auto', 'cpu', or another that torch knows"),
        (["--device", "cuda:99"], 2, "device must be one that torch finds here, got 'cuda:99'"),
        (["--rouns", "1"], 2, "unrecognized arguments: --rouns"),
        (["--rounds", "9"], 1, "ask for at most 2 rounds"),
    ],
)
def test_run_refuses(capsys, tmp_path, options, code, match):
    out = tmp_path / "out"
    refused(capsys, *RUN, "--out", out, *options, code=code, match=match)
    assert not out.exists()


def test_unwritable_output_folder(capsys, tmp_path):
    (tmp_path / "file").write_text("kept")
    refused(capsys, *RUN, "--out", tmp_path / "file" / "sub", code=2, match="is not a folder")
    refused(capsys, *RUN, "--out", tmp_path / "file", code=2, match="is not a folder")
    refused(
        capsys,
        "query",
        "--data",
        tmp_path,
        "--out",
        tmp_path / "file",
        code=2,
        match="is not a folder",
    )
    assert (tmp_path / "file").read_text() == "kept"


def test_a_preset_is_a_set_of_options(capsys, tmp_path):
    out = tmp_path / "d"
    small = ["--encoder-weights", "none", "--steps-per-epoch", "1", *TINY]
    refused(
        capsys,
        *RUN[: -len(TINY)],
        *TINY,
        "--preset",
        "alsegg",
        "--out",
        out,
        code=2,
        match="Did you mean 'alseg'",
    )
    weights = tmp_path / "w.safetensors"
    from safetensors.torch import save_file

    from alseg.network.encoder import build_encoder

    save_file(build_encoder("tiny").state_dict(), weights)
    small[1] = weights
    code, _, err = call(
        capsys,
        *RUN[: -len(TINY)],
        *small,
        "--preset",
        "alseg-best",
        "--out",
        out,
        "--no-panels",
        "--quiet",
    )
    assert code == 0, err
    config = read_records(out)[0]["config"]["estimator"]
    assert config["test_flips"] == "both" and config["encoder"] == "tiny"


# -- compare --------------------------------------------------------------------------------------

COMPARE = [
    "compare",
    "--data",
    "glands",
    "--limit",
    "12",
    "--test-limit",
    "4",
    "--rounds",
    "1",
    "--initial",
    "2",
    "--seeds",
    "2",
    "--strategy",
    "random",
    "--image-size",
    "24",
    "32",
    "--no-controls",
    *TINY,
]


def test_compare_then_report(capsys, tmp_path, request):
    out = tmp_path / "d"
    entropy = ["--strategy", "entropy", "--no-references"]
    code, printed, err = call(capsys, *COMPARE, *entropy, "--out", out, "--quiet")
    assert (code, err) == (0, "") and "entropy" in printed
    found = json.loads((out / "comparison.json").read_text())
    assert found["protocol"]["n_threads"] == 1 and str(tmp_path) not in json.dumps(found)
    command = found["ran"][0]["command"]
    assert command.startswith("alseg compare --data glands --limit 12")
    assert command.endswith("--strategy entropy --no-references --out d --quiet")
    page = tmp_path / "page.html"
    code, printed, _ = call(capsys, "report", out, "-o", page)
    assert code == 0 and "written without the data" in page.read_text("utf-8")
    for name, said in (
        ("t.tex", b"entropy & "),
        ("s.csv", b"\nentropy,0,1,"),
        ("f.svg", b"entropy "),
    ):
        code, printed, err = call(capsys, "report", out, "-o", tmp_path / name)
        assert (code, printed, err) == (0, f"{tmp_path / name}\n", "")
        assert said in (tmp_path / name).read_bytes()
    request.getfixturevalue("no_figures")  # drawn above; from here on it is about pictures
    data = ["--data", "glands", "--limit", "12", "--test-limit", "4"]
    code, printed, err = call(capsys, "report", out, "-o", page, *data)
    assert code == 0, err
    text = page.read_text("utf-8")
    assert "<img" in text and "written without the data" not in text and "alseg compare" in text
    file = tmp_path / "c.toml"
    file.write_text('data = "glands"\nlimit = 12\ntest_limit = 4\n')
    code, printed, err = call(capsys, "report", out, "-o", page, "--config", file, "--no-pictures")
    assert code == 0, err
    assert "<img" not in page.read_text("utf-8")
    refused(
        capsys,
        "report",
        out,
        "-o",
        page,
        "--data",
        "glands",
        code=1,
        match="those of the comparison, 12 images to train on and 4 to test on, got (60, 30). "
        "It was run by: alseg compare --data glands --limit 12",
    )
    before = {p: p.read_bytes() for p in out.rglob("records.jsonl")}
    code, printed, _ = call(capsys, *COMPARE, *entropy, "--out", out)
    assert code == 0 and "| entropy" in printed
    assert {p: p.read_bytes() for p in out.rglob("records.jsonl")} == before
    refused(
        capsys,
        *COMPARE,
        *entropy,
        "--n-instances",
        "1",
        "--out",
        out,
        code=1,
        match="n_instances: 2 there, 1 now",
    )


def test_the_control_alone_is_a_curve_without_a_verdict(capsys, tmp_path):
    out = tmp_path / "d"
    once = ["--seeds", "1", "--rounds", "0", "--out", out, "--report", "--quiet"]
    code, printed, err = call(capsys, *COMPARE, *once)
    assert (code, err) == (0, "")
    assert "random alone: there is nothing to compare it with." in printed
    assert f"report:  {out / 'report.html'}" in printed
    page = (out / "report.html").read_text("utf-8")
    assert "No row to compare with random" in page and "<h1>1 strategy on glands</h1>" in page
    assert "What it takes" in page and "annotation costs" not in page  # a point is no curve


def test_a_dry_run_writes_nothing(capsys, tmp_path):
    out = tmp_path / "d"
    code, printed, _ = call(capsys, *COMPARE, "--out", out, "--dry-run", "--n-jobs", "2")
    assert code == 0 and not out.exists()
    lines = dict(line.split(None, 1) for line in printed.splitlines())
    assert lines["rows"] == "random" and lines["seeds"] == "0, 1"
    # A start and a chain of one round a seed, full supervision and weak labels a seed.
    assert lines["fits"].startswith("8 of 3 steps in 9 jobs")
    assert "with 2 at once" in lines["time"] and "MiB a job" in lines["memory"]


def test_compare_from_a_file(capsys, tmp_path):
    file = tmp_path / "c.toml"
    file.write_text(
        'data = "glands"\nstrategies = ["random", "core-set"]\nseeds = [3]\nlimit = 12\n'
        "test_limit = 4\n[protocol]\ninitial = 2\nrounds = 5\ncontrols = []\nreferences = []\n"
        '[estimator]\nencoder = "tiny"\nmax_epochs = 1\nimage_size = [24, 32]\ndevice = "cpu"\n'
    )
    out = tmp_path / "d"
    code, printed, _ = call(capsys, "compare", file, "--rounds", "1", "--out", out, "--quiet")
    assert code == 0 and "core-set" in printed
    found = json.loads((out / "comparison.json").read_text())
    assert found["seeds"] == [3] and found["protocol"]["rounds"] == 1
    assert list(found["rows"]) == ["random", "core-set"]
    file.write_text('data = "glands"\nstrategy = ["random"]\n')
    refused(capsys, "compare", file, "--out", out, code=2, match="Did you mean 'strategies'")
    file.write_text('estimator = "tiny"\n')
    refused(capsys, "compare", file, "--out", out, code=2, match="estimator must be a table")
    file.write_text("limit = -4\n")
    refused(capsys, "compare", file, "--out", out, code=2, match="limit must be an integer >= 1")
    file.write_text("data = ")
    refused(capsys, "compare", file, "--out", out, code=2, match="must be TOML")
    file.write_text("[protocol]\nround = 1\n")
    refused(capsys, *COMPARE[:1], file, *COMPARE[1:], "--out", out, code=2, match="rounds")


@pytest.mark.parametrize(
    "change, match",
    [
        (["--strategy", "entropi"], "Did you mean 'entropy'"),
        (["--control", "rnd"], "control must be one of"),
        (["--pooling", "avg"], "pooling must be"),
        (["--cost", "mm"], "cost must be"),
        (["--data", "nowhere"], "data must be 'glands' or a folder"),
        (["--strategy", "random_sampling"], "strategies must have different names"),
        (["--folds", "2"], "test-limit must be left out with folds, got 4"),
        (["--device", "gpu"], "device must be 'auto', 'cpu', or another that torch knows"),
        (["--device", "cuda:99"], "device must be one that torch finds here"),
        (["--pseudo-labels", "2"], "pseudo_labels must be >= 0 and <= 1"),
    ],
)
def test_compare_refuses_what_is_wrong(capsys, tmp_path, change, match):
    refused(capsys, *COMPARE, *change, "--out", tmp_path / "d", code=2, match=match)
    assert not (tmp_path / "d").exists()


def test_the_device_of_workers_elsewhere_is_theirs():
    options = {"encoder": "tiny", "device": "cuda:99"}
    given = {
        "data": "glands",
        "strategies": ["random"],
        "protocol": {},
        "seeds": 1,
        "estimator": options,
        "scheduler": "tcp://host:1",
    }
    args = alseg.cli.parser.make_parser().parse_args(
        ["compare", "--limit", "12", "--test-limit", "4"]
    )
    assert alseg.cli.experiments.make_plan(args, given).estimator.device == "cuda:99"


def test_compare_refuses_rows_that_the_model_cannot_end(capsys, tmp_path):
    weak = ["--n-mask-classes", "3", "--dry-run", "--out", tmp_path / "d"]
    refused(capsys, *COMPARE, *weak, code=1, match="without 'weak labels only'")
    code, printed, err = call(capsys, *COMPARE, *weak, "--no-references")
    assert code == 0 and not (tmp_path / "d").exists(), err


@pytest.mark.parametrize("option", ["--threads", "--fit-threads"])
def test_threads_of_a_comparison_are_those_of_its_protocol(option):
    args = alseg.cli.parser.make_parser().parse_args(["compare", option, "2"])
    assert args.threads is None
    assert alseg.cli.experiments.merged_with_file(args)["protocol"] == {"n_threads": 2}


def test_a_command_is_kept_without_folders_of_its_machine():
    argv = [
        "compare",
        "a b.toml",
        "--out=/home/me/runs/",
        "--data",
        "~/glas",
        "--scheduler",
        "tcp://host:1",
        "--encoder-weights",
        "../w.pt",
        "--strategy",
        "mine.here:f",
    ]
    assert alseg.cli.experiments.shown_command(argv) == (
        "alseg compare 'a b.toml' --out=runs --data glas --scheduler tcp://host:1 "
        "--encoder-weights w.pt --strategy mine.here:f"
    )


def test_compare_needs_to_know_what(capsys, tmp_path):
    refused(
        capsys,
        "compare",
        "--data",
        "glands",
        "--out",
        tmp_path,
        code=2,
        match="strategy must be given",
    )
    refused(
        capsys,
        *COMPARE,
        "--rounds",
        "9",
        "--out",
        tmp_path / "d",
        code=1,
        match="initial + rounds * n_instances must be at most 12",
    )


def test_report_without_records(capsys, tmp_path):
    refused(capsys, "report", tmp_path, code=1, match="no records at")
    gone = tmp_path / "nowhere"
    for more in ((), ("--data", "glands")):
        refused(capsys, "report", gone, *more, code=1, match=f"no records at {gone}: it is not")
    refused(capsys, "report", tmp_path, "--data", "glands", code=2, match="data must be left out")


# -- a folder of images ---------------------------------------------------------------------------


@pytest.fixture
def slides(tmp_path):
    """Images of two classes in folders, of two sizes, without a mask; and their true masks."""
    glands = make_glands(8, image_size=(24, 32), random_state=0)
    truth = {}
    for i, name in enumerate(glands.ids):
        folder = tmp_path / "slides" / "images" / str(glands.labels[i])
        folder.mkdir(parents=True, exist_ok=True)
        width = 32 if i % 3 else 28
        Image.fromarray(glands.images[i][:, :width]).save(folder / f"slide_{name}.png")
        truth[f"slide_{name}"] = glands.masks[i][:, :width]
    return tmp_path / "slides", truth


def query(capsys, slides, state, *more):
    code, out, err = call(capsys, "query", "--data", slides, "--out", state, *TINY, *more)
    assert code == 0, err
    return out.split()


def draw(folder, truth, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.png").write_bytes(mask_bytes(truth[name]))
    return folder


def added(out):
    """The names in what `alseg add` has printed: one a line, before what is said of the mask."""
    return [line.partition(": ")[0] for line in out.splitlines()]


def state_of(folder):
    """Everything in a state folder that counts."""
    return {p.relative_to(folder): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def test_query_add_query_predict(capsys, slides, tmp_path):
    root, truth = slides
    state = tmp_path / "state"
    names = query(capsys, root, state, "-n", "2")
    round_ = state / "ask" / "round_001"
    asked = json.loads((round_ / "queries.json").read_text())
    assert [q["id"] for q in asked["queries"]] == names and len(names) == 2
    assert {q["label"] for q in asked["queries"]} == {p.name for p in (root / "images").iterdir()}
    # The first question is answered without a fit: nothing is proposed.
    assert all(q["proposal"] is None and Path(q["image"]).is_file() for q in asked["queries"])
    assert not list(state.glob("model-*"))
    page = (round_ / "index.html").read_text()
    assert page.count("<img") == 2 and "alseg add" in page and "://" not in page

    # Asked again, it says the same, and computes nothing; the state is named once, either way.
    before = state_of(state)
    assert query(capsys, root, state, "-n", "2") == names
    assert call(capsys, "query", state, "-n", "2")[:2] == (0, "\n".join(names) + "\n")
    for given in ([], [state, "--out", state]):
        code, _, err = call(capsys, "query", *given)
        assert code == 2 and "the state folder must be given once, as STATE or as --out" in err
    assert state_of(state) == before
    others = query(capsys, root, state, "-n", "3", "--new")
    assert len(others) == 3 and not set(others) & set(names)

    drawn = draw(tmp_path / "drawn", truth, names)
    code, out, err = call(capsys, "add", state, drawn)
    assert (code, sorted(added(out))) == (
        0,
        sorted(names),
    ) and "Still open of those asked for: 3." in err
    share = 100 * np.mean(truth[names[0]])
    assert f"{names[0]}: foreground {share:.0f} %" in out
    with open_project(state) as project:
        known = project.known_masks()
        for name in truth:
            mask = known[project.data.ids.tolist().index(name)]
            assert (mask is None) == (name not in names)
            if mask is not None:
                np.testing.assert_array_equal(mask, truth[name])
    assert set(query(capsys, root, state)) == set(others)
    call(capsys, "add", state, draw(tmp_path / "more", truth, others))
    last = query(capsys, root, state, "-n", "2", "--strategy", "margin")
    assert len(last) == 2 and not set(last) & {*names, *others}
    asked = json.loads((state / "ask" / "round_003" / "queries.json").read_text())
    for q in asked["queries"]:
        proposal = read_mask(state / "ask" / "round_003" / q["proposal"])
        assert list(proposal.shape) == q["size"] and set(np.unique(proposal)) <= {0, 255}

    code, _, err = call(capsys, "predict", state, root / "images", "--out", tmp_path / "masks")
    assert code == 0, err
    files = {p.stem: p for p in (tmp_path / "masks").rglob("*.png")}
    assert set(files) == set(truth)
    for name, file in files.items():
        mask = read_mask(file)
        assert mask.shape == truth[name].shape and set(np.unique(mask)) <= {0, 255}
    rows = list(csv.DictReader((tmp_path / "masks" / "labels.csv").open()))
    assert len(rows) == 8 and set(rows[0]) == {"image", "label", "proba_irregular", "proba_regular"}
    for row in rows:
        assert float(row["proba_irregular"]) + float(row["proba_regular"]) == pytest.approx(1)
    assert len(list(state.glob("model-*"))) == 1
    # The end of the pool.
    call(capsys, "add", state, draw(tmp_path / "last", truth, last))
    final = [name for name in truth if name not in {*names, *others, *last}]
    code, out, err = call(capsys, "query", "--out", state, "-n", "5")
    assert (code, out.split()) == (0, final) and "No more than 1 image can be asked for." in err
    call(capsys, "add", state, draw(tmp_path / "final", truth, final))
    rest = f"All 8 images have a mask. To train and predict: alseg predict {state} IMAGES"
    refused(capsys, "query", "--out", state, code=1, match=rest)


def test_commands_that_are_named_can_be_given(capsys, slides, tmp_path):
    root, truth = slides
    state, drawn = tmp_path / "my état", tmp_path / "drawn"
    code, names, err = call(capsys, "query", "--data", root, "--out", state, "-n", "1")
    assert code == 0, err
    assert shlex.split(err.split("then: ")[-1]) == ["alseg", "add", str(state), "FOLDER"]
    code, _, err = call(capsys, "add", state, draw(drawn, truth, names.split()))
    assert code == 0, err
    following = shlex.split(err.split("Next: ")[-1].replace("(or", "").replace(")", ""))
    assert following == ["alseg", "query", str(state), "alseg", "undo", str(state)]


def test_add_refuses_and_changes_nothing(capsys, slides, tmp_path):
    root, truth = slides
    state = tmp_path / "state"
    first, second = query(capsys, root, state, "-n", "2")
    drawn = tmp_path / "drawn"
    good = truth[second]

    def attempt(match, *more, name=f"{first}.png", mask=truth[first]):
        shutil.rmtree(drawn, ignore_errors=True)
        draw(drawn, truth, [second])
        Image.fromarray(np.asarray(mask, np.uint8)).save(drawn / name)
        before = state_of(state)
        refused(capsys, "add", state, drawn, *more, code=1, match=match)
        assert state_of(state) == before

    attempt(f"A mask must have its image's stem. Did you mean '{first}'?", name=f"{first}x.png")
    attempt("the mask is 24 x 31 pixels, its image 24 x", mask=np.zeros((24, 31)))
    attempt("holds 7, where only classes may stand (0 to 1, or 0 and 255)", mask=truth[first] * 7)
    attempt("holds the value 128 where masks hold 255 too", mask=np.where(truth[first], 255, 128))
    attempt("no pixel is annotated", "--missing-value", "0", mask=truth[first] * 0)
    attempt("Two masks fit one image", name=f"{second}.bmp", mask=good)
    (drawn / f"{second}.bmp").write_bytes(b"BM broken")
    refused(capsys, "add", state, drawn, code=1, match=f"{second}.bmp")
    refused(capsys, "add", state, tmp_path / "none", code=1, match="is not a folder")
    refused(capsys, "add", tmp_path / "other", drawn, code=1, match="is not a state folder")

    shutil.rmtree(drawn)
    draw(drawn, truth, [second])
    assert call(capsys, "add", state, drawn)[0] == 0
    attempt(
        f"'{second}' has a mask already, another one",
        name=f"{second}.png",
        mask=np.where(good, 0, 255),
    )
    # Replaced on request, partly annotated by request.
    shutil.rmtree(drawn)
    drawn.mkdir()
    partly = np.where(np.arange(good.shape[1]) < 9, 99, np.where(good, 255, 0)).astype(np.uint8)
    Image.fromarray(partly).save(drawn / f"{second}.png")
    code, _, err = call(capsys, "add", state, drawn, "--replace", "--missing-value", "99")
    assert code == 0, err
    with open_project(state) as project:
        mask = project.known_masks()[project.data.ids.tolist().index(second)]
    np.testing.assert_array_equal(mask, np.where(partly == 99, -1, good))
    assert len(list((state / "masks").iterdir())) == 2  # the replaced one comes back with undo


def test_query_refuses(capsys, slides, tmp_path):
    root, _ = slides
    refused(capsys, "query", "--out", tmp_path / "s", code=1, match="alseg query --data DIR")
    refused(capsys, "query", "--data", root, "--out", root, code=1, match="a new or empty folder")
    refused(
        capsys,
        "query",
        "--data",
        root,
        "--out",
        tmp_path / "s",
        "--strategy",
        "mergin",
        code=2,
        match="Did you mean 'margin'?",
    )
    refused(
        capsys,
        "query",
        "--data",
        tmp_path / "no",
        "--out",
        tmp_path / "s",
        code=1,
        match="data must be a folder of images or a manifest, got",
    )
    assert not (tmp_path / "s").exists()
    for option, match in (
        (["--device", "gpu"], "device must be 'auto', 'cpu', or another"),
        (["--pseudo-labels", "2"], "pseudo_labels must be"),
    ):
        refused(
            capsys,
            "query",
            "--data",
            root,
            "--out",
            tmp_path / "v",
            *TINY,
            *option,
            code=2,
            match=match,
        )
        assert not (tmp_path / "v").exists()
    (root / "images" / "regular" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    code, out, err = call(
        capsys, "query", "--data", root, "--out", tmp_path / "t", "-n", "8", *TINY
    )
    assert code == 0 and "warning: left out, since they cannot be read (1): broken" in err
    assert len(out.split()) == 8 and "broken" not in out
    (tmp_path / "u").mkdir()
    (tmp_path / "u" / "state.json").write_text('{"format": "some')
    refused(capsys, "query", "--data", root, "--out", tmp_path / "u", code=1, match="is damaged")
    assert (tmp_path / "u" / "state.json").read_text() == '{"format": "some'


@pytest.mark.parametrize("strategy, unit", [("pixelpick", "pixel"), ("region", "patch")])
def test_query_refuses_strategies_for_parts_before_training(
    capsys, slides, tmp_path, monkeypatch, strategy, unit
):
    root, _ = slides
    monkeypatch.setattr("alseg.segmenter.estimator.JointCAMSegmenter.fit", None)
    wanted = ["query", "--data", root, "--out", tmp_path / "s", "--strategy", strategy]
    refused(
        capsys,
        *wanted,
        code=1,
        match="strategy must be one that asks for whole images here, "
        f"got {strategy!r}. It asks for parts of images (unit={unit!r})",
    )
    assert not (tmp_path / "s" / "state.json").exists()


def test_a_state_is_of_one_folder_and_one_command(capsys, slides, tmp_path):
    root, _ = slides
    state = tmp_path / "state"
    names = query(capsys, root, state, "-n", "1")
    shutil.copytree(root, tmp_path / "copy")
    refused(
        capsys, "query", "--data", tmp_path / "copy", "--out", state, code=1, match="data must be"
    )
    with open_project(state):
        refused(capsys, "query", "--out", state, code=1, match="in use by another run")
    shutil.rmtree(root)  # moved, it may be named anew
    assert query(capsys, tmp_path / "copy", state) == names


def test_masks_that_lie_in_the_folder_count(capsys, slides, tmp_path):
    root, truth = slides
    draw(root / "masks", truth, sorted(truth)[:6])
    names = query(capsys, root, tmp_path / "state", "-n", "2")
    assert set(names) == set(sorted(truth)[6:])
    drawn = draw(tmp_path / "drawn", truth, sorted(truth)[:1])
    code, out, err = call(capsys, "add", tmp_path / "state", drawn)
    assert (code, out) == (0, "") and "0 masks added. There already: 1." in err
    draw(tmp_path / "drawn", {name: 1 - mask for name, mask in truth.items()}, sorted(truth)[:1])
    refused(capsys, "add", tmp_path / "state", drawn, code=1, match="has a mask already, another")


def test_instance_ids_and_glas_as_published(capsys, slides, tmp_path):
    root, truth = slides
    (root / "masks").mkdir()
    for name in sorted(truth)[:6]:
        Image.fromarray(truth[name].astype(np.uint8) * 3).save(root / "masks" / f"{name}.png")
    refused(
        capsys,
        "query",
        "--data",
        root,
        "--out",
        tmp_path / "a",
        "-n",
        "1",
        *TINY,
        code=1,
        match="got [3]",
    )
    names = query(capsys, root, tmp_path / "b", "-n", "1", "--mask-mapping", "nonzero")
    assert names[0] in sorted(truth)[6:]

    glas, rows = tmp_path / "glas", ["name,patient ID, grade (GlaS), grade (Sirinukunwattana)"]
    glas.mkdir()
    for i in range(16):
        name = f"train_{i + 1}" if i < 10 else f"test{'AB'[i % 2]}_{i // 2}"
        image = np.random.default_rng(i).integers(0, 255, (24, 32, 3)).astype(np.uint8)
        Image.fromarray(image).save(glas / f"{name}.bmp")
        Image.fromarray(np.eye(24, 32, dtype=np.uint8) * 5).save(glas / f"{name}_anno.bmp")
        rows.append(f"{name},{i}, {('benign', 'malignant')[i % 2]}, x")
    (glas / "Grade.csv").write_text("\n".join(rows) + "\n")
    options = ["--data", glas, "--rounds", "0", "--initial", "2", "--quiet", *TINY]
    code, _, err = call(capsys, "run", *options, "--out", tmp_path / "o", "--fold", "1")
    assert code == 0, err
    record = read_records(tmp_path / "o")[0]
    assert record["config"]["data"]["n_test"] == 6 and "object_dice" in record["metrics"]
    refused(
        capsys,
        "run",
        *options,
        "--out",
        tmp_path / "o",
        "--fold",
        "x",
        code=2,
        match="fold must be an integer in [0, 4]",
    )


def test_more_mask_classes(tmp_path):
    mask = np.arange(12).reshape(3, 4) % 3
    (tmp_path / "m.png").write_bytes(mask_bytes(mask, 3))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)
    with Image.open(tmp_path / "m.png") as image:
        colours = np.asarray(image.convert("RGB")).reshape(-1, 3)
        assert image.mode == "P" and len(np.unique(colours, axis=0)) == 3


def test_run_on_a_folder(capsys, slides, tmp_path):
    root, truth = slides
    draw(root / "masks", truth, truth)
    refused(
        capsys,
        "run",
        "--data",
        root,
        "--out",
        tmp_path / "o",
        *TINY,
        code=2,
        match="train-split must be a part",
    )
    rows = ["image,mask,label,split"]
    files = sorted((root / "images").rglob("*.png"))
    for i, file in enumerate(files):
        split = "learn" if i % 4 else "check"
        rows.append(f"{file.relative_to(root)},masks/{file.name},{file.parent.name},{split}")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    options = [
        "--data",
        root,
        "--train-split",
        "learn",
        "--test-split",
        "check",
        "--quiet",
        "--rounds",
        "1",
        "--initial",
        "2",
        "--n-instances",
        "1",
        "--class-balanced",
        *TINY,
    ]
    code, _, err = call(capsys, "run", *options, "--out", tmp_path / "o")
    assert code == 0, err
    records = read_records(tmp_path / "o")
    assert records[0]["config"]["data"]["n_test"] == 2 and len(records) == 2
    assert records[0]["strategy"] == "class-balanced entropy"
    code, _, err = call(capsys, "run", *options, "--out", tmp_path / "p")
    assert [comparable(r) for r in read_records(tmp_path / "p")] == [comparable(r) for r in records]
    refused(
        capsys,
        "run",
        *options,
        "--out",
        tmp_path / "q",
        "--test-split",
        "chekc",
        code=2,
        match="(check, learn), got 'chekc'",
    )
    files[2].write_bytes(files[2].read_bytes()[:300])
    refused(capsys, "run", *options, "--out", tmp_path / "q", code=1, match=files[2].name)


def test_torn_groups_are_refused_unless_said(capsys, slides, tmp_path):
    root, truth = slides
    draw(root / "masks", truth, truth)
    files = sorted((root / "images").rglob("*.png"))
    rows = ["image,mask,label,split,patient"]
    for i, file in enumerate(files):
        part = "train" if i % 4 else "test"
        rows.append(
            f"{file.relative_to(root)},masks/{file.name},{file.parent.name},{part},{i // 3}"
        )
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    options = [
        "--data",
        root,
        "--out",
        tmp_path / "o",
        "--quiet",
        "--rounds",
        "0",
        "--initial",
        "2",
        *TINY,
    ]
    refused(capsys, "run", *options, code=1, match="no group (patient) in common")
    refused(
        capsys,
        "compare",
        *options,
        "--strategy",
        "random",
        "--dry-run",
        code=2,
        match="allow_torn_groups=True (--torn-groups)",
    )
    code, _, err = call(capsys, "run", *options, "--torn-groups")
    assert code == 0, err
    assert read_records(tmp_path / "o")[0]["torn_groups"]["published"] is False
