"""Where parts of the page meet: tools, points, gallery, a server that is gone."""

import numpy as np
import pytest
from pretend_server import OPEN, glands, serving
from waiting import wait_until
from webdriver import MISSING_PROGRAMS, browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING_PROGRAMS), reason=f"not installed: {MISSING_PROGRAMS}"),
]
ENTER, CONTROL, ESCAPE = "\ue007", "\ue009", "\ue00c"
SKETCH = "document.querySelector('#sketch .over').getAttribute('points')"


@pytest.fixture(scope="module")
def window():
    with browser(width=1280, height=800) as window:
        yield window


@pytest.fixture
def opened(window):
    with serving(glands(6)) as (state, address):
        window.open(address)
        shown(window, 0)
        yield window, state
        window.run("localStorage.clear()")
        window.leave()
        window.errors()


def shown(window, image):
    window.wait(
        "document.getElementById('desk').dataset.image === arguments[0] && "
        "!document.getElementById('desk').ariaBusy",
        str(image),
    )


def middle(window):
    return window.run(
        "const r = document.getElementById('canvas').getBoundingClientRect();"
        "return [r.x + r.width / 2, r.y + r.height / 2]"
    )


def is_off(window, name):
    return window.run("return document.getElementById(arguments[0]).disabled", name)


def test_a_tool_that_is_taken_gives_up_the_polygon_and_undo_goes_across_tools(opened):
    window, _ = opened
    x, y = middle(window)
    window.press("p")
    for point in [(x - 60, y), (x, y - 60)]:
        window.drag([point])
    window.wait(f"{SKETCH}.length > 0")
    window.press("b")
    window.wait(f"{SKETCH} === ''")
    window.press(ENTER)  # nothing is marked: no polygon was closed
    window.wait("document.getElementById('toast').textContent.includes('Nothing is marked yet')")
    window.drag([(x, y), (x + 30, y)])
    window.press("l")
    window.drag([(x, y + 60), (x + 30, y + 60)])
    window.press("q")
    window.wait("document.getElementById('points-count').textContent === '1 of 20'")
    window.press("1")
    window.wait("document.getElementById('points-count').textContent === '2 of 20'")
    for _ in range(3):
        assert not is_off(window, "undo")
        window.press(CONTROL, "z")
    assert is_off(window, "undo")
    assert window.run("return document.getElementById('points-count').textContent") == "1 of 20"


def test_an_answer_in_the_middle_of_a_walk_saves_what_was_said(opened):
    window, state = opened
    window.press("q")
    window.wait("document.getElementById('points-count').textContent === '1 of 20'")
    for key in "01x":
        window.press(key)
    window.wait("document.getElementById('points-count').textContent === '4 of 20'")
    window.press(ENTER)
    shown(window, 1)
    wait_until(lambda: state.items[0].state == "marked")
    marks = np.frombuffer(state.items[0].marks, np.uint8)
    assert (marks != OPEN).sum() == 2
    window.wait("document.getElementById('points-count').textContent === '1 of 20'")


def test_the_gallery_opens_from_the_points_and_leads_back_to_them(opened):
    window, _ = opened
    window.press("q")
    window.wait("document.getElementById('points-count').textContent === '1 of 20'")
    window.press("g")
    window.wait("document.querySelectorAll('.cell .name').length === 6")
    window.press("1")  # no answer: nothing is asked here
    window.press(ESCAPE)
    window.wait("!document.getElementById('desk').hidden")
    assert window.run("return document.getElementById('desk').dataset.way") == "points"
    assert window.run("return document.getElementById('points-count').textContent") == "1 of 20"


def test_an_image_that_is_left_while_its_superpixels_come_gets_none_of_them(opened):
    window, _ = opened
    window.press("s")
    window.press("\ue014")  # at once: the answer may still be on its way
    shown(window, 1)
    x, y = middle(window)

    def outlined():
        window.hover(x + 3, y)
        window.hover(x, y)
        return window.run("return document.querySelector('#cell .over').getAttribute('d')")

    wait_until(outlined)
    window.drag([(x, y)])
    window.press(CONTROL, "z")
    window.wait("document.getElementById('undo').disabled")


def test_an_answer_at_once_after_a_flood_has_the_flood_in_it(opened):
    window, state = opened
    x, y = middle(window)
    window.press("f")
    window.run(
        "const canvas = document.getElementById('canvas');"
        "const at = {bubbles: true, pointerId: 1, clientX: arguments[0], clientY: arguments[1]};"
        "canvas.setPointerCapture = () => {};"  # there is no such pointer
        "canvas.dispatchEvent(new PointerEvent('pointerdown', at));"
        "canvas.dispatchEvent(new PointerEvent('pointerup', at));"
        "document.querySelector('[data-answer=marks]').click();",
        x,
        y,
    )
    shown(window, 1)
    wait_until(lambda: state.items[0].state == "marked")
    assert (np.frombuffer(state.items[0].marks, np.uint8) == 1).any()
    assert window.errors() == []


def test_a_server_that_is_gone_is_said_and_what_was_drawn_is_saved_when_it_is_back(opened):
    window, state = opened
    calm = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    window.devtools("Network.enable")
    window.devtools("Network.emulateNetworkConditions", offline=True, **calm)
    try:
        x, y = middle(window)
        window.drag([(x, y), (x + 40, y)])
        window.wait("document.getElementById('saved').dataset.state === 'failed'")
        window.wait("document.getElementById('training-text').textContent.includes('not answer')")
        window.press(ENTER)
        window.wait("document.getElementById('toast').textContent.includes('does not answer')")
        assert window.run("return document.getElementById('desk').dataset.image") == "0"
    finally:
        window.devtools("Network.emulateNetworkConditions", offline=False, **calm)
    wait_until(lambda: state.items[0].draft is not None)
    assert (np.frombuffer(state.items[0].draft, np.uint8) != OPEN).any()
    window.press(ENTER)
    shown(window, 1)
    wait_until(lambda: state.items[0].state == "marked")


def test_answers_number_and_advice_are_seen_without_scrolling(opened):
    window, state = opened
    state.quality = {
        "n_checks": 9,
        "n_counted": 9,
        "dice": 0.86,
        "low": 0.83,
        "high": 0.89,
        "curve": [[2.0, 0.6, None, None], [14.0, 0.86, 0.83, 0.89]],
        "forecast": None,
        "advice": {"stop": False, "text": "Go on: ten more minutes bring about 3."},
        "agreement": None,
    }
    window.wait("!document.getElementById('quality-found').hidden")
    below = window.run(
        "const top = document.querySelector('.answers').getBoundingClientRect().top;"
        "return ['quality-dice', 'quality-curve', 'quality-advice'].filter("
        "  (id) => document.getElementById(id).getBoundingClientRect().bottom > top)"
    )
    assert below == []
    assert window.run(
        "return document.querySelector('.answers').getBoundingClientRect().bottom <= innerHeight"
    )
