"""The server is killed at random moments: what was answered is there, and it goes on."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import numpy as np
import pytest
from made_slides import write_slides
from PIL import Image
from waiting import wait_until
from webdriver import MISSING_PROGRAMS, browser

from alseg.annotate import serve
from alseg.annotate.cost_log import COSTS
from alseg.annotate.marks import Marks
from alseg.project import open_project, read_stored

SIZE = (24, 32)
N_KILLS = 50
PAGES, IMAGES = 3, 6  # pages that mark at once, each images of its own
SERVER = """
import sys
from alseg.annotate import serve
serve(sys.argv[1], sys.argv[2], ready=lambda url: print(url, flush=True))
"""
ENDS = (urllib.error.URLError, HTTPException, OSError)


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


def children(pid):
    """Processes that a server has started, such as one that trains."""
    try:
        return [int(k) for k in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []  # another system, or the server is gone


def kill(process, rng):
    """The server, or what it has started and a moment later the server."""
    for child in children(process.pid):
        if rng.random() < 0.5:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    time.sleep(rng.uniform(0, 0.1))
    left = children(process.pid)
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until(lambda: not any(is_running(child) for child in left))  # none outlives it


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Known:
    """What was answered of an image, and what was under way when the server ended."""

    def __init__(self):
        self.revision, self.mask, self.draft, self.under_way = 0, None, None, None

    def answered(self, way, pixels, revision):
        self.under_way, self.revision = None, revision
        self.mask, self.draft = (pixels, None) if way == "save" else (self.mask, pixels)

    def check(self, mask, revision, is_draft):
        """That what is on the disk is what was answered, or what was under way as well."""
        pixels = np.where(mask < 0, 255, mask).astype(np.uint8).tobytes()
        expected = self.mask if self.draft is None else self.draft
        if self.under_way is not None and pixels == self.under_way[1]:
            assert revision == self.revision + (self.under_way[0] == "save")
            self.answered(*self.under_way, revision)
        else:
            assert revision == self.revision and is_draft == (self.draft is not None)
            assert pixels == (bytes([255]) * len(pixels) if expected is None else expected)
        self.under_way = None


def mark_until_it_ends(ask, images, known, lines, rng):
    """Draw, save and log on one image after the other; what was answered is noted."""
    while True:
        for i in images:
            mask = rng.integers(0, 2, SIZE, dtype=np.uint8)
            mask[0] = 255
            way, pixels, now = "save" if rng.random() < 0.6 else "draft", mask.tobytes(), known[i]
            now.under_way = way, pixels
            url = f"/api/images/{i}/marks?revision={now.revision}&answer=marks"
            if way == "draft":
                url = f"/api/images/{i}/draft?revision={now.revision}"
            try:
                revision = json.loads(ask(url, "PUT", pixels))["revision"]
                now.answered(way, pixels, revision)
                line = {"id": i, "seconds": 1, "strokes": 2, "clicks": 3}
                ask("/api/log", "POST", json.dumps(line).encode())
            except ENDS as error:
                assert not isinstance(error, urllib.error.HTTPError), error.read()
                return
            lines.append(i)


@pytest.mark.slow
def test_killed_at_random_moments_it_loses_nothing_that_was_answered(tmp_path):
    folder = tmp_path / "slides" / "images" / "a"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        pixels = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"i{i}.png")
    state, known, lines, n_lines = tmp_path / "state", [Known() for _ in range(IMAGES)], [], 0
    for _ in range(N_KILLS):
        process, ask = started(state, tmp_path / "slides")
        pages = ThreadPoolExecutor(PAGES)
        done = [
            pages.submit(mark_until_it_ends, ask, range(k, IMAGES, PAGES), known, lines, seeded)
            for k, seeded in enumerate(rng.spawn(PAGES))
        ]
        time.sleep(rng.uniform(0.02, 0.5))
        kill(process, rng)
        for page in done:
            page.result()
        pages.shutdown()
        with open_project(state) as project:
            written = (project.folder / COSTS).read_bytes().split(b"\n")
            whole = sum(line.endswith(b"}") for line in written)
            assert 0 <= whole - n_lines - len(lines) <= PAGES  # kept before it was answered
            n_lines = whole
            lines.clear()
            marks = Marks(project)
            for i in range(IMAGES):
                known[i].check(*marks.read(i))
            marks.close()
    assert sum(one.revision for one in known) > N_KILLS / 2


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING_PROGRAMS), reason=f"not installed: {MISSING_PROGRAMS}")
def test_a_browser_that_is_killed_while_it_draws_leaves_its_draft(tmp_path):
    write_slides(tmp_path / "slides", 4, (96, 128))
    state = tmp_path / "state"
    with serve(state, tmp_path / "slides", block=False) as served:
        kept = None
        for k in range(3):
            with browser() as window:
                window.open(served.url)
                window.wait("document.getElementById('desk').dataset.image")
                window.run("document.getElementById('name-classes').close()")
                wait = "document.getElementById('saved').dataset.state === arguments[0]"
                if kept is not None:
                    marked = "document.getElementById('open-share').textContent !== '100 %'"
                    window.wait(marked)  # what was drawn before is there
                y = 200 + 130 * k
                window.drag([(400, y), (600, y + 60), (700, y)])
                window.wait(wait, "saved")
                (draft,) = (state / "drafts").glob("*.png")
                kept = draft.read_bytes()
                window.drag([(800, y), (900, y + 100)])  # may be lost: it was not saved
                window.kill()
            found = read_stored(draft)
            assert (found == 1).any() and draft.exists()
            with Image.open(io.BytesIO(kept)) as before:
                drawn = np.asarray(before) == 1
            assert (found[drawn] == 1).all()  # the draft, or one that came with more
