"""The page of `alseg annotate`, used by a robot as a person uses it: real server, browser, pointer.

What drives the browser is that of the tests, `tests/webdriver.py`.
"""

import base64
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np

from alseg.labels import MISSING
from alseg.oracles import Stroke, paint
from benchmarks import ONE_THREAD

sys.path.append(str(Path(__file__).parents[2] / "tests"))  # where no installed package is

from waiting import wait_until  # noqa: E402
from webdriver import MISSING_PROGRAMS, browser  # noqa: E402

__all__ = ["MISSING_PROGRAMS", "Robot", "browser", "served", "straightened"]

NOBODY, MARGIN, HALF = 255, 12, 128
AGAIN = 5  # seconds after which a key that was not heard is pressed again
ENTER, SHIFT = "\ue007", "\ue008"
ANSWERS = {"marks": (ENTER,), "all": (SHIFT, ENTER), "nothing": ("n",), "later": ("\ue014",)}

# Before the page's own scripts: keeps what the page gets of proposals and asked pixels, which may
# be others when they are asked for again.
KEEP = """{
const fetched = window.fetch;
window.kept = {proposal: {}, points: {}};
window.base64 = (buffer) => {
  const bytes = new Uint8Array(buffer);
  let found = "";
  for (let i = 0; i < bytes.length; i += 32768) {
    found += String.fromCharCode(...bytes.subarray(i, i + 32768));
  }
  return btoa(found);
};
window.fetch = async (...request) => {
  const answer = await fetched(...request);
  const found = String(request[0]).match(/images\\/(\\d+)\\/(proposal|points)(\\?|$)/);
  if (found && answer.ok) {
    const version = found[2] === "proposal" ? answer.headers.get("X-Alseg-Version") : "";
    const kept = (window.kept[found[2]][found[1]] ??= {});
    kept[version] = window.base64(await answer.clone().arrayBuffer());
  }
  return answer;
};
}"""

# Asks the page's own server, from within the page.
FETCH = """
const [path, token] = arguments;
return fetch(path, {cache: "no-store", headers: {"X-Alseg-Token": token}}).then(async (answer) => {
  return [answer.status, window.base64(await answer.arrayBuffer())];
});
"""


@contextmanager
def served(data, state, *options):
    """A server of these images, in a process of its own: the address of its page, and the process.

    Parameters
    ----------
    data, state : path
    *options : str
        Of the command.
    """
    environment = {k: v for k, v in os.environ.items() if k not in ONE_THREAD}
    command = [sys.executable, "-m", "alseg", "annotate", str(data), "--out", str(state)]
    process = subprocess.Popen(
        [*command, "--no-browser", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment | {"MPLBACKEND": "Agg"},
    )
    try:
        address = process.stdout.readline().strip()
        if not address.startswith("http"):
            raise SystemExit(f"{' '.join(command)} failed:\n{process.stderr.read()}")
        yield address, process
    finally:
        process.terminate()
        process.communicate()


def straightened(points):
    """A path without the points between two others on a straight line, which it covers anyway."""
    points = np.asarray(points, dtype=float)
    if len(points) < 3:
        return points
    before, after = np.diff(points, axis=0)[:-1], np.diff(points, axis=0)[1:]
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    on = (np.abs(cross) < 1e-9) & ((before * after).sum(axis=1) > 0)
    return points[np.concatenate([[True], ~on, [True]])]


class Robot:
    """A page in a browser, and what it sees and does there.

    Parameters
    ----------
    window : webdriver.Browser
    address : str
        Of the page, with the token.
    """

    def __init__(self, window, address):
        self.window, self.address = window, address
        self.token = parse_qs(urlsplit(address).query)["token"][0]
        window.devtools("Page.addScriptToEvaluateOnNewDocument", source=KEEP)
        window.open(address)
        self.presses_again = 0
        self.name_classes()
        self.clear_the_way()
        self.wait()

    def name_classes(self):
        """Keep the names of the classes as they are, where the page asks for them."""
        self.window.wait("document.querySelector('#classes').children.length")
        if self.window.run("return !!document.querySelector('#name-classes[open]')"):
            self.window.click("#name-classes .primary")
            self.window.wait("!document.querySelector('#name-classes[open]')")

    def clear_the_way(self):
        """Hide what takes a stroke that begins on it: rings of asked pixels, zoom, messages."""
        self.window.run(
            "const rings = document.getElementById('points-ringed');"
            "if (rings?.checked) rings.click();"
            "for (const over of document.querySelectorAll('.zoom, #toast')) {"
            "  over.style.pointerEvents = 'none';"
            "}"
        )

    def wait(self, after=None):
        """Wait until an image is on the desk, another than `after`, or no question is left."""
        wait_until(lambda: self.left(after))

    def left(self, image):
        """Whether something else than this image is on the desk, and the page at rest."""
        return not self.is_busy() and self.window.run(
            "return !document.getElementById('finished').hidden || "
            "(document.getElementById('desk').dataset.image ?? arguments[0]) !== arguments[0]",
            str(image),
        )

    def is_busy(self):
        return self.window.run("return !!document.getElementById('desk').ariaBusy")

    # -- what it sees --

    def fetch(self, path):
        """The bytes of an address of the server, asked for by the page; None for none."""
        status, text = self.window.run(FETCH, path, self.token)
        if status == 404:
            return None
        if status != 200:
            raise RuntimeError(f"{path}: {status}")
        return base64.b64decode(text)

    def image(self):
        """What the page was told about the image on the desk; None when no question is left."""
        number = self.window.run("return document.getElementById('desk').dataset.image ?? null")
        return None if number is None else json.loads(self.fetch(f"/api/images/{number}"))

    def kept(self, what, image):
        """What the page shows of an image: its "proposal" or "points", as bytes, or None.

        Of proposals of several models that it was sent, the one that it shows: a newer one that
        comes late is not taken.
        """
        script = (
            "const of = what === 'points' ? '' : document.getElementById('desk').dataset.version;"
            "return (window.kept[what][id] ?? {})[of] ?? null"
        )
        script = f"const [what, id] = arguments; {script}"
        found = self.window.run(script, what, image["id"])
        return None if found is None else base64.b64decode(found)

    def proposal(self, image, threshold=HALF):
        """The mask that the page shows as proposed; None where it proposes nothing."""
        proposed = self.kept("proposal", image)
        if proposed is None:
            return None
        size = image["height"], image["width"]
        first = np.frombuffer(proposed, np.uint8, count=size[0] * size[1]).reshape(size)
        return (first >= threshold).astype(np.int16)

    def asked(self, image):
        """(row, column) of the pixels that the page asks about, in order."""
        found = self.kept("points", image)
        return [] if found is None else json.loads(found)["points"]

    def saved(self, image):
        """The marks of an image that the server gives now, `MISSING` where nobody said."""
        marks = np.frombuffer(self.fetch(f"/api/images/{image['id']}/marks"), np.uint8)
        marks = marks.reshape(image["height"], image["width"]).astype(np.int16)
        return np.where(marks == NOBODY, MISSING, marks)

    # -- what it does --

    def places(self, image):
        """Where the page shows an image as a whole: its corner (x, y) in the window, and scale."""
        x, y, across, down = self.window.run(
            "const r = document.getElementById('canvas').getBoundingClientRect();"
            "return [r.x, r.y, r.width, r.height]"
        )
        height, width = image["height"], image["width"]
        scale = min((across - 2 * MARGIN) / width, (down - 2 * MARGIN) / height)
        return np.array([x + (across - width * scale) / 2, y + (down - height * scale) / 2]), scale

    def draw(self, image, strokes):
        """Draw strokes with the pointer; the mask that the pointer's whole pixels say.

        Parameters
        ----------
        image : dict
        strokes : sequence of Stroke

        Returns
        -------
        mask : ndarray of shape (H, W), int16
        """
        corner, scale = self.places(image)
        mask = np.full((image["height"], image["width"]), MISSING, np.int16)
        held = None
        for stroke in strokes:
            if held != (stroke.width, stroke.value):
                self.take(stroke.width, stroke.value)
                held = stroke.width, stroke.value
            on_screen = corner + straightened(stroke.points)[:, ::-1] * scale
            on_screen = _clear_of_edges(np.round(on_screen), corner, scale, stroke.width)
            self.window.drag(on_screen)
            really = ((on_screen - corner) / scale)[:, ::-1]
            paint(mask, Stroke(really, stroke.width, stroke.value))
        return mask

    def say(self, image, truth):
        """Say of each pixel that the page asks about what it is; the mask of what was said.

        The page gives the answer "only what I marked" at the last one by itself: seconds until the
        next image is on the desk are returned too.
        """
        self.window.wait("window.kept.points[arguments[0]]", image["id"])
        mask = np.full(truth.shape, MISSING, np.int16)
        asked = self.asked(image)
        for at in map(tuple, asked):
            mask[at] = truth[at]
            began = time.perf_counter()
            self.window.press(str(int(truth[at])))
        self.wait(image["id"])
        return mask, time.perf_counter() - began

    def take(self, width, value):
        """Take the brush, so wide, of a class."""
        self.window.press("b")
        self.window.press(str(value))
        self.window.run(
            "const b = document.getElementById('brush'); b.value = arguments[0];"
            "b.dispatchEvent(new Event('input'))",
            width,
        )

    def answer(self, kind, image):
        """Give an answer by its key; seconds until the next image is on the desk.

        Parameters
        ----------
        kind : {"marks", "all", "nothing", "later"}
        image : dict
            The one on the desk.
        """
        began = time.perf_counter()
        self.window.press(*ANSWERS[kind])
        while not self.left(image["id"]):
            if time.perf_counter() - began > AGAIN and not self.is_busy():
                self.presses_again += 1  # what somebody does whose key was not heard
                self.window.press(*ANSWERS[kind])
                began = time.perf_counter()
            time.sleep(0.01)
        return time.perf_counter() - began


def _clear_of_edges(places, corner, scale, width):
    """Whole pixels of the window, moved by one where a rounding error would decide what is hit."""
    shift = 0.0 if width % 2 else 0.5
    for _ in range(2):
        inside = (places - corner) / scale + shift
        places = np.where(np.abs(inside - np.round(inside)) < 1e-6, places + 1, places)
    return places
