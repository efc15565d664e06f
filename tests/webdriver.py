"""Headless Chromium by the WebDriver protocol, over plain HTTP: what the page's tests drive."""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

from waiting import HANG, wait_until

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name of an element's id
MISSING_PROGRAMS = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]

_TRIES = 50  # a tenth of a second apart
# How many events of a kind this page has heard, and which page it is.
_HEARD = """
if (!window.heardEvents) {
  window.heardEvents = {keydown: 0, pointerdown: 0};
  for (const kind of Object.keys(window.heardEvents)) {
    window.addEventListener(kind, () => window.heardEvents[kind]++, true);
  }
}
return [performance.timeOrigin, window.heardEvents[arguments[0]]];
"""


class Browser:
    """One window; each method is one command of the protocol."""

    def __init__(self, address, width=1400, height=900, dark=False):
        self.address = address
        arguments = ["--headless=new", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")  # Chromium refuses to have one for root
        if dark:
            arguments.append("--force-dark-mode")
        options = {"binary": shutil.which("chromium"), "args": arguments}
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.address += f"/session/{answer['sessionId']}"
        self.process = answer["capabilities"]["goog:processID"]
        self.resize(width, height)
        if dark:
            self.devtools(
                "Emulation.setEmulatedMedia",
                features=[{"name": "prefers-color-scheme", "value": "dark"}],
            )

    def _ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=HANG) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from None

    def devtools(self, command, **params):
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def resize(self, width, height):
        """Of the page itself, whatever a window has around it."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def open(self, url):
        self._ask("POST", "/url", {"url": url})

    def leave(self):
        """Away from the page, so that what it says when it is left goes to the server it is of.

        A driver does not wait for an empty page; one that is opened before it is there may never
        come.
        """
        self.open("about:blank")
        self.wait("location.href === 'about:blank'")

    def run(self, script, *args):
        """What a function's body in JavaScript returns; a promise is waited for."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(args)})

    def wait(self, script, *args):
        wait_until(lambda: self.run(f"return {script}", *args))

    def find(self, css):
        return self._ask("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def find_all(self, css):
        found = self._ask("POST", "/elements", {"using": "css selector", "value": css})
        return [one[ELEMENT] for one in found]

    def name_of(self, element):
        """What a screen reader calls it."""
        return self._ask("GET", f"/element/{element}/computedlabel")

    def is_shown(self, element):
        return self._ask("GET", f"/element/{element}/displayed")

    def click(self, css):
        self._ask("POST", f"/element/{self.find(css)}/click", {})

    def press(self, *keys):
        """Presses keys in turn, then lets them go: `press(SHIFT, ENTER)`."""
        down = [{"type": "keyDown", "value": key} for key in keys]
        up = [{"type": "keyUp", "value": key} for key in reversed(keys)]
        self._until_heard("keydown", {"type": "key", "id": "keys", "actions": down + up})

    def hover(self, x, y):
        """The mouse moves to a place of the window."""
        move = {"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)}
        self._actions({"type": "pointer", "id": "mouse", "actions": [move]})

    def drag(self, points, kind="mouse"):
        """The pointer goes down at the first place of the window, along the others, and up."""
        moves = [
            {"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)} for x, y in points
        ]
        actions = [moves[0], {"type": "pointerDown", "button": 0}, *moves[1:]]
        actions.append({"type": "pointerUp", "button": 0})
        parameters = {"pointerType": kind}
        source = {"type": "pointer", "id": kind, "parameters": parameters, "actions": actions}
        self._until_heard("pointerdown", source)

    def _until_heard(self, event, source):
        """Acts again where the page has heard nothing.

        A browser drops what is pressed before a new page is painted for the first time, and says
        that it was done.
        """
        for _ in range(_TRIES):
            before = self.run(_HEARD, event)
            self._actions(source)
            if self.run(_HEARD, event) != before:  # or another page is there, which counts anew
                return
            time.sleep(0.1)
        raise RuntimeError(f"the page hears no {event}")

    def _actions(self, source):
        self._ask("POST", "/actions", {"actions": [source]})

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def errors(self):
        """What the page complained about since this was last asked."""
        lines = self._ask("POST", "/se/log", {"type": "browser"})
        return [line["message"] for line in lines if line["level"] == "SEVERE"]

    def kill(self):
        """End the browser as a crash does; nothing can be asked of it afterwards."""
        os.kill(self.process, signal.SIGKILL)
        self.close = lambda: None

    def close(self):
        self._ask("DELETE", "")


def start_driver(environment):
    """A driver and its port. One whose port somebody took meanwhile ends, and another is begun."""
    for _ in range(5):
        driver = subprocess.Popen(
            ["chromedriver", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        said = "on port "
        for line in driver.stdout:
            if said in line and "success" in line:
                return driver, int(line.split(said)[1].split(".")[0])
        stop_driver(driver)
    raise RuntimeError("chromedriver does not start.")


def stop_driver(driver):
    driver.terminate()
    driver.wait()
    driver.stdout.close()


@contextmanager
def browser(**options):
    """A browser of one's own, with a profile that is gone afterwards."""
    # What a browser that was killed has started may write for a moment more.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        environment = os.environ | {"HOME": home, "TMPDIR": home}
        driver, port = start_driver(environment)
        try:
            window = Browser(f"http://127.0.0.1:{port}", **options)
            try:
                yield window
            finally:
                window.close()
        finally:
            stop_driver(driver)
