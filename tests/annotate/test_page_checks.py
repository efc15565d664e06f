"""What the page shows of checks, and of how good the model is."""

import json

import pytest
from made_slides import write_slides
from pretend_server import glands, serving
from waiting import wait_until
from webdriver import MISSING_PROGRAMS, browser

from alseg.annotate import serve
from alseg.annotate.check_images import is_check as is_check_at
from alseg.annotate.cost_log import COSTS
from alseg.project import open_project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING_PROGRAMS), reason=f"not installed: {MISSING_PROGRAMS}"),
]
SHIFT, ENTER = "\ue008", "\ue007"
FOUND = {
    "n_checks": 9,
    "n_counted": 9,
    "dice": 0.861,
    "low": 0.83,
    "high": 0.889,
    "curve": [[2.0, 0.6, None, None], [6.0, 0.8, 0.7, 0.9], [14.0, 0.861, 0.83, 0.889]],
    "forecast": {"after": 10, "dice": 0.88, "low": 0.84, "high": 0.92, "n_checks": 9},
    "advice": {"stop": True, "text": "You may stop."},
    "agreement": {"n": 12, "dice": 0.7},
}
NOTHING = {"n_checks": 0, "n_counted": 0}


@pytest.fixture(scope="module")
def window():
    with browser() as window:
        yield window


def shown(window, image):
    window.wait(
        "document.getElementById('desk').dataset.image === arguments[0] && "
        "!document.getElementById('desk').ariaBusy",
        str(image),
    )


def text(window, css):
    return window.run("return document.querySelector(arguments[0]).innerText", css)


def folded(window, css):
    """What stands in a part that may be folded."""
    return window.run("return document.querySelector(arguments[0]).textContent", css)


def test_a_check_is_said_to_be_one_and_what_its_answers_mean(window):
    with serving(glands(6)) as (state, address):
        state.quality = NOTHING
        state.items[0].check = state.items[2].check = "open"
        window.open(address)
        shown(window, 0)
        assert "stays hidden until then" in text(window, "#check-note")
        assert "only by its points" in text(window, "[data-answer=marks]")
        assert text(window, "#all-means") == "the rest is background"  # nothing is proposed
        assert not any(path.endswith("0/proposal") for _, path in state.requests)
        assert text(window, "#quality-none") == "No check yet"
        assert text(window, "#quality-dice") == ""
        window.press(SHIFT, ENTER)
        shown(window, 1)
        window.wait("document.getElementById('toast').textContent.includes('Counted as a check')")
        assert text(window, "#check-note") == ""
        assert "the rest stays open" in text(window, "[data-answer=marks]")
        window.press("n")
        shown(window, 2)
        canvas = window.run(
            "const r = document.getElementById('canvas').getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]"
        )
        window.drag([canvas, [canvas[0] + 40, canvas[1] + 9]])
        window.press(ENTER)
        shown(window, 3)
        window.wait("document.getElementById('toast').textContent.includes('no check any more')")
        wait_until(lambda: len(state.log) == 3)
        assert [line["answer"] for line in state.log] == ["all", "nothing", "marks"]
        assert window.errors() == []
        window.leave()


def test_the_number_the_curve_the_forecast_and_the_advice(window):
    with serving(glands(2)) as (state, address):
        state.quality = NOTHING
        window.open(address)
        window.wait("document.getElementById('quality-none').innerText === 'No check yet'")
        state.quality = FOUND  # the page asks again by itself
        window.wait("!document.getElementById('quality-found').hidden")
        assert text(window, "#quality-dice") == "86" and text(window, "#quality-interval") == "± 3"
        assert "from 9 checks" in text(window, "#quality-rests")
        assert folded(window, "#quality-forecast").startswith(
            "86 ± 3 now; about 88 (84 to 92) after"
        )
        assert text(window, "#quality-advice") == "You may stop."
        assert "harder than most" in folded(window, "#quality-agreement")
        assert not window.run("return document.getElementById('quality-none').checkVisibility()")
        label = window.run("return document.getElementById('quality-curve').ariaLabel")
        assert label == "Dice against active minutes: 60 after 2, 86 after 14"
        box = window.run(
            "const r = document.querySelector('#quality-curve .line').getBoundingClientRect();"
            "return [r.width, r.height]"
        )
        assert box[0] > 100 and box[1] > 20
        assert window.errors() == []
        window.leave()


def test_checks_of_a_real_server_by_points_and_whole(window, tmp_path):
    write_slides(tmp_path / "slides", 24, (48, 64))
    options = {"estimator": {"encoder": "tiny", "image_size": [48, 64], "device": "cpu"}}
    options["mask_classes"] = ["gland"]  # or the page asks for them first
    with (
        open_project(tmp_path / "state", tmp_path / "slides", options) as project,
        serve(project, block=False, train=False) as served,
    ):
        window.open(served.url)
        by_points, seen = True, []
        while len(seen) < 14:
            # A page that shows the next image has let go of "busy" as well.
            window.wait("document.getElementById('desk').dataset.image !== undefined")
            image = window.run("return document.getElementById('desk').dataset.image")
            shown(window, image)
            is_check = window.run("return !document.getElementById('check-note').hidden")
            seen.append(is_check)
            if is_check and by_points:
                window.press("q")
                window.wait("document.getElementById('points-count').textContent === '1 of 20'")
                for key in "01" * 9 + "xx":
                    window.press(key)
                by_points = False
                name = project.data.ids[int(image)]
            else:
                window.press(SHIFT, ENTER)
            window.wait("document.getElementById('desk').dataset.image !== arguments[0]", image)
            if is_check:
                window.wait("document.getElementById('toast').textContent.includes('Counted as a')")
                window.run("document.querySelector('[data-way=draw]').click()")
        assert seen == [is_check_at(k, seed=0) for k in range(14)]
        assert [entry["answer"] for entry in project.state["checks"].values()] == [
            "points",
            "whole",
        ]
        assert list(project.state["checks"])[0] == name
        wait_until(lambda: len(lines(project)) == 14)
        (line,) = [line for line in lines(project) if line["image"] == name]
        assert line["points"] == 20 and line["check"] == "counted" and line["answer"] == "marks"
        assert window.errors() == []
        window.leave()


def lines(project):
    return [json.loads(line) for line in (project.folder / COSTS).read_text().splitlines()]
