"""`alseg annotate`: an address, one writer, an end by Ctrl-C, and what is refused at once."""

import json
import signal
import subprocess
import sys
import urllib.request

import pytest
from PIL import Image

from alseg.cli import main


@pytest.fixture
def slides(tmp_path):
    folder = tmp_path / "slides" / "images" / "a"
    folder.mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (32, 24), (90 * i, 9, 9)).save(folder / f"i{i}.png")
    return tmp_path / "slides"


def served(*argv):
    command = [sys.executable, "-m", "alseg", "annotate", *map(str, argv), "--no-browser"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    return process, process.stdout.readline().strip()


def ask(address, path, method="GET"):
    address, token = address.split("/?token=")
    request = urllib.request.Request(address + path, method=method)
    request.add_header("X-Alseg-Token", token)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def ended(process, number=signal.SIGINT):
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


def test_it_serves_until_it_is_interrupted_and_goes_on(slides, capsys):
    state = f"{slides}-state"
    process, address = served(slides, "--mask-classes", "gland,lumen")
    found = ask(address, "/api/project")
    assert [one["name"] for one in found["mask_classes"]] == ["background", "gland", "lumen"]
    assert ask(address, "/api/images/0/marks?revision=0&answer=nothing", "PUT")["revision"] == 1
    assert main(["annotate", str(slides), "--no-browser"]) == 1
    assert "in use" in capsys.readouterr().err
    code, out, err = ended(process)
    assert (code, out) == (0, "") and "3 images" in err and f"alseg predict {state}" in err
    process, address = served("--out", state, "--quiet")
    found = ask(address, "/api/project")
    assert found["n_done"] == 1 and len(found["mask_classes"]) == 3
    assert ended(process, signal.SIGTERM)[0] == 143


@pytest.mark.parametrize(
    "argv, code, what",
    [
        ([], 2, "DATA must be given to start, or --out STATE"),
        (["/"], 2, "--out STATE must be given for /"),
        (["x", "--port", "65536"], 2, "port must be an integer in [0, 65535]"),
        (["--out", "no-state"], 1, "not a state folder"),
        (["no-folder", "--out", "s"], 1, "data must be a folder of images"),
    ],
)
def test_what_is_refused_at_once(tmp_path, monkeypatch, capsys, argv, code, what):
    monkeypatch.chdir(tmp_path)
    assert main(["annotate", *argv, "--no-browser"]) == code
    assert what in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_another_host_is_warned_of(tmp_path, capsys):
    code = main(["annotate", "--out", str(tmp_path / "no"), "--host", "0.0.0.0", "--no-browser"])
    assert code == 1 and "not encrypted" in capsys.readouterr().err
