"""What is learned behind the pen, as a browser shows it."""

import numpy as np
import pytest
from pretend_server import OPEN, glands, serving
from waiting import wait_until
from webdriver import MISSING_PROGRAMS, browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING_PROGRAMS), reason=f"not installed: {MISSING_PROGRAMS}"),
]
SIZE = (192, 288)
LEARNING = {
    "state": "training",
    "text": "Learning from 12 marked images",
    "done": 20,
    "total": 60,
    "seconds_left": 8.0,
    "version": 3,
    "n_marked": 10,
    "error": None,
}


@pytest.fixture(scope="module")
def window():
    with browser() as window:
        yield window


@pytest.fixture
def opened(window):
    items = glands(4, SIZE)
    late = items[0].proposal
    items[0].proposal = None
    with serving(items) as (state, address):
        window.open(address)
        window.wait("document.getElementById('desk').dataset.image === '0'")
        yield window, state, items, late
        assert window.errors() == []
        window.leave()


def text(window, name):
    return window.run("return document.getElementById(arguments[0]).textContent", name)


def test_a_bar_says_what_is_learned_and_how_long_it_takes(opened):
    window, state, _, _ = opened
    state.training = LEARNING
    wait_until(lambda: text(window, "training-text") == f"{LEARNING['text']}, 8 s left")
    bar = window.run("const b = document.getElementById('training-bar'); return [b.value, b.max]")
    assert bar == [20, 60]
    state.training = {**LEARNING, "state": "failed", "text": "Training has stopped.", "error": "!"}
    wait_until(lambda: text(window, "training-text") == "Training has stopped.")
    assert text(window, "training-said") == "!"
    assert window.run("return document.getElementById('training-bar').hidden")


def legend(window):
    return not window.run("return document.getElementById('legend-proposed').hidden")


def test_a_proposal_that_comes_late_is_shown_where_nothing_was_drawn(opened):
    window, state, items, late = opened
    assert not legend(window)
    items[0].proposal, state.training = late, LEARNING
    wait_until(lambda: legend(window))
    answers_again(window, items[0])
    proposed = np.frombuffer(late, np.uint8) >= 128
    np.testing.assert_array_equal(np.frombuffer(items[0].marks, np.uint8), proposed)


def answers_again(window, item):
    """Say "all of it" until it is taken."""

    def taken():
        window.click("[data-answer=all]")
        return item.state == "done"

    wait_until(taken)


def test_a_proposal_that_nobody_can_have_seen_is_not_confirmed(opened):
    window, state, items, late = opened
    window.run(
        "const answer = document.querySelector('[data-answer=all]');"
        "const seen = new MutationObserver(() => (seen.disconnect(), answer.click()));"
        "seen.observe(document.getElementById('desk'), { attributeFilter: ['data-version'] })"
    )
    items[0].proposal, state.training = late, LEARNING
    wait_until(lambda: text(window, "toast").startswith("A proposal has just come"))
    assert items[0].state != "done"
    answers_again(window, items[0])


def test_what_is_drawn_on_is_not_changed_under_the_pen(opened):
    window, state, items, late = opened
    x, y = window.run(
        "const r = document.getElementById('canvas').getBoundingClientRect();"
        "return [r.x + r.width / 2, r.y + r.height / 2]"
    )
    window.drag([(x, y), (x + 40, y)])
    items[0].proposal, state.training = late, LEARNING
    wait_until(lambda: text(window, "training-text").startswith("Learning"))
    n = len(state.requests)
    wait_until(lambda: sum(path == "/api/standing" for _, path in state.requests[n:]) > 1)
    assert not legend(window)
    assert ("GET", "/api/images/0/proposal") not in state.requests
    window.click("[data-answer=marks]")
    wait_until(lambda: items[0].state == "marked")
    assert OPEN in items[0].marks


def test_the_next_image_has_the_newest_proposal(opened):
    window, state, items, late = opened
    wait_until(lambda: ("GET", "/api/images/1/proposal") in state.requests)
    newer = bytes(255 - value for value in items[1].proposal)
    items[1].proposal, state.training = newer, LEARNING
    wait_until(lambda: text(window, "training-text").startswith("Learning"))
    window.click("[data-answer=later]")
    window.wait("document.getElementById('desk').dataset.image === '1'")
    window.click("[data-answer=all]")
    wait_until(lambda: items[1].state == "done")
    proposed = np.frombuffer(newer, np.uint8) >= 128
    np.testing.assert_array_equal(np.frombuffer(items[1].marks, np.uint8), proposed)
