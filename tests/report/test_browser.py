"""The pages in a real browser: they fit the window, say nothing on the console, fetch nothing."""

import json
import re
import shutil
import subprocess
from html import unescape

import numpy as np
import pytest
from made_comparison import made_comparison
from PIL import Image
from test_report import write_run
from waiting import HANG

from alseg.report.page import POLICY, page
from alseg.report.run_page import write_report

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.skipif(
        BROWSER is None, reason="no chromium, chromium-browser or google-chrome to look at pages"
    ),
    pytest.mark.slow,
]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
# What a page tells about itself; it is appended to a copy, the pages themselves have no script. The
# copy stands in a frame, because a window is not narrower than 500 pixels.
FRAME = """<!doctype html><title></title><body style="margin:0">
<script>addEventListener("message", e => { document.title = e.data; });</script>
<iframe src="probed.html" style="border:0;width:{width}px;height:1500px"></iframe>"""
PROBE = """<script>addEventListener("load", () => {
  const drawn = [...document.querySelectorAll("img, svg[role=img]")];
  const shown = drawn.filter(e => e.checkVisibility());
  parent.postMessage(JSON.stringify({
    width: innerWidth, page: document.documentElement.scrollWidth,
    broken: [...document.images].filter(i => i.complete && !i.naturalWidth).length,
    shown: shown.length, empty: shown.filter(e => !e.getBoundingClientRect().height).length,
    text: getComputedStyle(document.body).color,
    wide: [...document.querySelectorAll("main > *, main > * > *")]
      .filter(e => !e.closest(".wide-table, pre") &&
                   e.getBoundingClientRect().right > innerWidth + 1)
      .map(e => e.outerHTML.slice(0, 80)),
  }), "*");
});</script>"""
LIGHT, DARK = 1, 0  # as the browser counts them


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    hostile = "<img src=x onerror=console.error(1)>"
    rows = ("random", "entropy", hostile, "a name that goes on and on and on " * 3, "x" * 90)
    comparison = made_comparison(
        rows, n_rounds=6, pictures=True, missing=[("entropy", 1, 3)], parts=("entropy",)
    )
    return {
        "run": write_report(write_run(folder / "run", strange=hostile)),
        "comparison": comparison.to_html(folder / "comparison.html"),
    }


def browse(path, tmp_path, width, scheme, *options):
    command = [
        BROWSER,
        *FLAGS,
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},1600",
        f"--blink-settings=preferredColorScheme={scheme}",
        "--enable-logging=stderr",
        "--virtual-time-budget=4000",
        *options,
        path.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


def probe(text, tmp_path, width, scheme):
    # Loading anything is against the page's policy, and said on the console; the probe may run.
    text = text.replace(POLICY, f"{POLICY}; script-src 'unsafe-inline'")
    (tmp_path / "probed.html").write_text(text + PROBE, "utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.replace("{width}", str(width)), "utf-8")
    html = browse(frame, tmp_path, 1300, scheme, "--dump-dom")
    title = re.search(r"<title>(.*?)</title>", html, re.S).group(1)
    return json.loads(unescape(title))


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", [LIGHT, DARK])
@pytest.mark.parametrize("name", ["run", "comparison"])
def test_page_fits_the_window_and_is_quiet(pages, tmp_path, name, width, scheme):
    told = probe(pages[name].read_text("utf-8"), tmp_path, width, scheme)
    assert told["width"] == width
    assert told["page"] <= width and told["wide"] == []
    assert told["broken"] == told["empty"] == 0 and told["shown"] > 3
    light = sum(map(int, re.findall(r"\d+", told["text"])[:3])) > 3 * 128
    assert light == (scheme == DARK)


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
@pytest.mark.parametrize("name", ["run", "comparison"])
def test_page_is_drawn_in_its_colours(pages, tmp_path, name, scheme):
    shot = tmp_path / "shot.png"
    browse(pages[name], tmp_path, 1200, scheme, f"--screenshot={shot}")
    seen = np.asarray(Image.open(shot).convert("L"), dtype=float)
    assert seen.shape[1] == 1200
    # The page is mostly its background; lines and text are of the other side of grey.
    assert (np.median(seen) > 200) == (scheme == LIGHT)
    ink = (seen < 110) if scheme == LIGHT else (seen > 145)
    assert 0.005 < ink.mean() < 0.5


def test_comparison_can_be_printed(pages, tmp_path):
    printed = tmp_path / "page.pdf"
    browse(pages["comparison"], tmp_path, 1200, DARK, f"--print-to-pdf={printed}")
    data = printed.read_bytes()
    assert data.startswith(b"%PDF") and len(data) > 20_000


def test_the_probe_sees_what_is_wrong(tmp_path):
    told = probe(page("bad", "<div style='width:2000px'>wide</div>"), tmp_path, 390, LIGHT)
    assert told["page"] > 390 and len(told["wide"]) == 1
    with pytest.raises(AssertionError, match="none.png.* violates"):
        probe(page("bad", "<img src='none.png' alt='none'>"), tmp_path, 390, LIGHT)
    with pytest.raises(AssertionError, match="script.* violates"):
        loud = tmp_path / "loud.html"
        loud.write_text(page("bad", "<script>console.log(1)</script>"), "utf-8")
        browse(loud, tmp_path, 1200, LIGHT, "--dump-dom")
