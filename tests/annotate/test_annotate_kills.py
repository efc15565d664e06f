"""The server is killed at random moments: what was answered is there, and it goes on."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from http.client import HTTPException

import numpy as np
import pytest
from PIL import Image

from alseg.annotate.marks import COSTS, Marks
from alseg.project import open_project

SIZE = (24, 32)
N_KILLS = 8
SERVER = """
import sys
from alseg.annotate import serve
serve(sys.argv[1], sys.argv[2], ready=lambda url: print(url, flush=True))
"""


def started(state, slides):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(state), str(slides)], stdout=subprocess.PIPE, text=True
    )
    address, token = process.stdout.readline().strip().split("/?token=")

    def ask(path, method="GET", body=None):
        request = urllib.request.Request(address + path, data=body, method=method)
        request.add_header("X-Alseg-Token", token)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    return process, ask


def mark_until_it_ends(ask, revisions, answered, rng):
    """Draw, save and log on one image after the other; what was answered is noted, and returned is
    what was under way at the end."""
    while True:
        for i in range(4):
            mask = rng.integers(0, 2, SIZE, dtype=np.uint8)
            mask[0] = 255
            way = "save" if rng.random() < 0.6 else "draft"
            under_way = (way, i, mask.tobytes())
            try:
                if way == "save":
                    url = f"/api/images/{i}/marks?revision={revisions[i]}&answer=marks"
                    revisions[i] = json.loads(ask(url, "PUT", mask.tobytes()))["revision"]
                else:
                    ask(f"/api/images/{i}/draft?revision={revisions[i]}", "PUT", mask.tobytes())
            except (urllib.error.URLError, HTTPException, OSError) as error:
                assert not isinstance(error, urllib.error.HTTPError), error.read()
                return under_way
            answered[way, i] = mask.tobytes()
            if way == "save":
                answered.pop(("draft", i), None)
            try:
                line = {"id": i, "seconds": 1, "strokes": 2, "clicks": 3}
                ask("/api/log", "POST", json.dumps(line).encode())
                answered["lines"] += 1
            except (urllib.error.URLError, HTTPException, OSError):
                return None


@pytest.mark.slow
def test_killed_at_random_moments_it_loses_nothing_that_was_answered(tmp_path):
    folder = tmp_path / "slides" / "images" / "a"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(4):
        pixels = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"i{i}.png")
    state, revisions, answered = tmp_path / "state", [0] * 4, {"lines": 0}
    n_saved = 0
    for _ in range(N_KILLS):
        process, ask = started(state, tmp_path / "slides")
        killer = threading.Timer(rng.uniform(0.05, 0.6), os.kill, (process.pid, signal.SIGKILL))
        killer.start()
        under_way = mark_until_it_ends(ask, revisions, answered, rng)
        killer.join()
        process.wait()
        process.stdout.close()
        with open_project(state) as project:
            lines = (project.folder / COSTS).read_bytes().split(b"\n")
            whole = [line for line in lines if line.endswith(b"}")]
            assert len(whole) in (answered["lines"], answered["lines"] + 1)
            answered["lines"] = len(whole)
            marks = Marks(project)
            for i in range(4):
                mask, revision, is_draft = marks.read(i)
                pixels = np.where(mask < 0, 255, mask).astype(np.uint8).tobytes()
                expected = answered.get(("draft", i), answered.get(("save", i)))
                if under_way is not None and under_way[1] == i and pixels == under_way[2]:
                    answered[under_way[0], i] = pixels  # it was kept before it was answered
                    if under_way[0] == "save":
                        answered.pop(("draft", i), None)
                        assert revision == revisions[i] + 1
                elif expected is not None:
                    assert pixels == expected
                    assert is_draft == (("draft", i) in answered) and revision == revisions[i]
                revisions[i] = revision
            marks.close()
            n_saved += sum(key[0] == "save" for key in answered if key != "lines")
    assert n_saved > 4
