"""The gallery in a browser: chosen, looked at, compared and opened by keys alone."""

import numpy as np
import pytest
from pretend_server import Item, glands, serving
from waiting import wait_until
from webdriver import MISSING_PROGRAMS, browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING_PROGRAMS), reason=f"not installed: {MISSING_PROGRAMS}"),
]
SIZE = (192, 288)
ENTER, TAB, ESCAPE, SHIFT = "\ue007", "\ue004", "\ue00c", "\ue008"
LEFT, RIGHT, DOWN, END = "\ue012", "\ue014", "\ue015", "\ue010"
FOCUSED = "document.activeElement.closest('.cell')?.dataset.index"


@pytest.fixture(scope="module")
def window():
    with browser() as window:
        yield window


@pytest.fixture
def opened(window):
    """(window, state of the server) of fourteen images, the gallery open."""
    items = glands(14, SIZE)
    for k in (1, 4):
        items[k].state = "done"
        items[k].marks = bytes(value > 100 for value in items[k].proposal or bytes(items[k].id))
    items[4].marks = items[1].marks
    items[8].state, items[9].state = "skipped", "unreadable"
    with serving(items) as (state, address):
        window.open(address)
        window.wait("document.getElementById('desk').dataset.image === '0'")
        window.press("g")
        window.wait(f"{FOCUSED} === '0'")
        yield window, state
        assert window.errors() == []
        window.leave()


def names(window):
    return window.run(
        "return [...document.querySelectorAll('.cell')]"
        ".sort((a, b) => a.dataset.index - b.dataset.index)"
        ".map((cell) => cell.querySelector('.name')?.textContent)"
    )


def choose(window, choice, value):
    window.run(
        "const choice = document.getElementById(arguments[0]);"
        "choice.value = arguments[1]; choice.dispatchEvent(new Event('change'))",
        choice,
        value,
    )


def test_arrows_move_enter_opens_and_the_way_back_leads_to_the_same_image(opened):
    window, _ = opened
    for key in (RIGHT, RIGHT, DOWN, LEFT):
        window.press(key)
    columns = window.run(
        "return Math.floor(document.getElementById('gallery-cells').clientWidth / 176)"
    )
    assert window.run(f"return {FOCUSED}") == str(columns + 1)
    stops = window.run("return document.querySelectorAll('.cell [tabindex=\"0\"]').length")
    assert stops == 1  # Tab leads past the images, not through all of them
    window.press(ENTER)
    window.wait("document.getElementById('desk').dataset.image === arguments[0]", str(columns + 1))
    assert window.run("return document.getElementById('gallery').hidden")
    assert window.run("return document.activeElement.id") == "canvas"
    window.press("g")
    window.wait(f"{FOCUSED} === '{columns + 1}'")
    window.press("g")
    window.wait("document.getElementById('gallery').hidden")


def test_found_by_name_and_by_state(opened):
    window, _ = opened
    window.press("/")
    window.press("0"), window.press("1"), window.press("2")
    window.wait("document.querySelectorAll('.cell').length === 1")
    window.wait("document.querySelector('.cell .name')")
    assert names(window) == ["slide-012.png"]
    assert window.run("return document.getElementById('gallery-count').textContent") == "1"
    window.press(DOWN)  # from the words to what was found
    window.press(ENTER)
    window.wait("document.getElementById('desk').dataset.image === '12'")
    window.press("g")
    window.wait(f"{FOCUSED} === '0'")
    window.run("document.getElementById('gallery-find').value = ''")
    choose(window, "gallery-state", "done")
    window.wait("document.querySelectorAll('.cell .name').length === 2")
    assert names(window) == ["slide-001.png", "slide-004.png"]
    said = window.run("return document.getElementById('gallery-state').selectedOptions[0].text")
    assert said == "● done (2)"
    count = window.run("return document.getElementById('gallery-count').textContent")
    assert count == "2 of 14"
    choose(window, "gallery-label", "is benign")
    window.wait("document.querySelectorAll('.cell .name').length === 1")
    choose(window, "gallery-state", "check")
    window.wait("!document.getElementById('gallery-none').hidden")


def test_what_lies_over_the_images(opened):
    window, state = opened

    def overlays():
        return sum("/overlay" in path for _, path in state.requests)

    window.wait("document.querySelectorAll('.cell .thumb').length === 13")  # one is unreadable
    assert overlays() == 0
    for choice, n in (("masks", 2), ("proposals", 9), ("differences", 2), ("images alone", 0)):
        window.press("o")
        window.wait("document.getElementById('toast').textContent.includes(arguments[0])", choice)
        window.wait(
            "document.querySelectorAll('.cell .thumb').length === 13 && "
            "document.querySelectorAll('.cell .over').length === arguments[0]",
            n,
        )
        legend = window.run("return !document.getElementById('gallery-legend').hidden")
        assert legend == (choice == "differences")


@pytest.mark.parametrize("size", [(1280, 800), (800, 600), (390, 844)])
def test_a_message_lies_over_no_image_and_no_button(opened, size):
    window, _ = opened
    window.resize(*size)
    window.press("o")
    window.wait("!document.getElementById('toast').hidden")
    window.run(  # as long as one gets
        "document.querySelector('#toast span').textContent = 'It does not answer. '.repeat(12)"
    )
    hit = window.run(
        "const box = (id) => document.getElementById(id).getBoundingClientRect();"
        "const over = box('toast');"
        "return ['gallery-scroll', 'predict', 'close-gallery'].filter((id) => {"
        "  const one = box(id);"
        "  return one.right > over.left && one.left < over.right"
        "    && one.bottom > over.top && one.top < over.bottom })"
    )
    window.resize(1400, 900)
    assert hit == []


def test_compared_and_opened_to_mark(opened):
    window, state = opened
    window.press(RIGHT)
    window.press("c")
    window.wait("document.getElementById('compare-dice').textContent.includes('0.50')")
    assert window.run("return document.querySelectorAll('#compare img').length") == 7
    assert window.run("return document.getElementById('compare-place').textContent") == "2 of 14"
    for _ in range(6):  # the focus stays in it
        window.press(TAB)
        focused = "document.activeElement === document.body"  # Chromium passes its own bar here
        assert window.run(
            f"return document.activeElement.closest('#compare') !== null || {focused}"
        )
    window.press(RIGHT)
    window.wait("document.getElementById('compare-title').textContent.includes('slide-002')")
    window.wait("document.querySelectorAll('#compare img').length === 1")
    missing = window.run(
        "return [...document.querySelectorAll('#compare [data-missing]')]"
        ".map((place) => place.dataset.missing)"
    )
    expected = ["Nothing is proposed", "Nothing is marked", "Needs a mask and a proposal"]
    assert missing == expected
    window.press(ESCAPE)
    window.wait(f"{FOCUSED} === '2'")
    window.press("c")
    window.wait("document.activeElement.id === 'compare-open'")
    window.press(ENTER)
    window.wait("document.getElementById('desk').dataset.image === '2'")
    assert window.run("return document.querySelector('dialog[open]') === null")
    assert "/api/images/2/agreement" not in [path for _, path in state.requests]


def test_a_check_hides_its_proposal(opened):
    window, state = opened
    state.items[5].proposal = None  # as the server says of a check that is open
    for _ in range(5):
        window.press(RIGHT)
    window.press("g"), window.press("g")
    window.wait(f"{FOCUSED} === '0' || {FOCUSED} === '5'")
    assert window.run(
        "return document.querySelector('.cell[data-index=\"5\"] .check').textContent"
    ).endswith("check")


def test_why_nothing_can_be_predicted_is_said(opened):
    window, _ = opened
    assert window.run("return document.getElementById('predict').disabled")
    why = window.run("return document.getElementById('predict-why').textContent")
    assert why == "Nothing is trained behind this page."
    described = window.run(
        "return document.getElementById('predict').getAttribute(arguments[0])", "aria-describedby"
    )
    assert described == "predict-why"


def test_of_ten_thousand_images_those_are_asked_for_that_are_looked_at(window):
    pixels = np.zeros((24, 32, 3), np.uint8)
    items = [Item(k, pixels, None) for k in range(10_000)]
    with serving(items) as (state, address):
        window.open(address)
        window.wait("document.getElementById('desk').dataset.image === '0'")
        window.press("g")
        window.wait(f"{FOCUSED} === '0'")
        window.wait("document.querySelectorAll('.cell .thumb').length > 20")
        window.run(
            "const scroll = document.getElementById('gallery-scroll');"
            "const frame = () => new Promise(requestAnimationFrame);"
            "return (async () => { for (let k = 1; k <= 100; k++) {"
            "  scroll.scrollTop = k * scroll.scrollHeight / 100; await frame(); } })()"
        )
        window.press(END)
        window.wait(f"{FOCUSED} === '9999'")
        window.wait(
            "document.querySelector('.cell[data-index=\"9999\"] .thumb') && "
            "document.querySelectorAll('.cell .thumb').length > 20"
        )
        assert window.run("return document.querySelectorAll('.cell').length") < 120
        thumbnails = [path for _, path in state.requests if "/thumbnail" in path]
        assert len(thumbnails) < 1000
        assert window.errors() == []
        window.leave()


def test_long_names_that_differ_at_their_ends_look_different(window):
    items = glands(3, SIZE)
    with serving(items) as (_, address):
        window.open(address)
        window.wait("document.getElementById('desk').dataset.image === '0'")
        window.run(
            "const fetched = window.fetch;"
            "window.fetch = async (...asked) => {"
            "  const answer = await fetched(...asked);"
            "  if (!String(asked[0]).includes('/api/gallery')) return answer;"
            "  const found = await answer.json();"
            "  for (const image of found.images) {"
            "    image.folder = `${'patient'.repeat(9)}-${image.id}`;"
            "    image.name = `${image.folder}/${'section'.repeat(9)}-${image.id}.png`;"
            "  }"
            "  return new Response(JSON.stringify(found));"
            "}"
        )
        window.press("g")
        window.wait("document.querySelectorAll('.cell .name').length === 3")
        seen = window.run(
            "return [...document.querySelectorAll('.cell')].map((cell) => {"
            "  const right = cell.getBoundingClientRect().right;"
            "  return [...cell.querySelectorAll('.cut')].map((cut) => ["
            "    cut.lastChild.textContent,"
            "    cut.lastChild.getBoundingClientRect().right <= right,"
            "    cut.firstChild.getBoundingClientRect().width > 0])"
            "})"
        )
        assert seen == [
            [[f"atient-{k}", True, True], [f"on-{k}.png", True, True]] for k in range(3)
        ]
        titles = window.run(
            "return [...document.querySelectorAll('.cell .image')].map((one) => one.title)"
        )
        assert all(title.startswith("patient" * 9) for title in titles)
        assert window.errors() == []
        window.leave()


def test_with_the_server_of_its_own(window, tmp_path):
    from PIL import Image

    from alseg.annotate import serve

    for item in glands(6, SIZE):
        path = tmp_path / "slides" / "images" / item.label / f"{item.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(item.pixels).save(path)
    with serve(tmp_path / "state", tmp_path / "slides", block=False) as served:
        window.open(served.url)
        window.wait("document.getElementById('desk').dataset.image")
        window.run("document.getElementById('name-classes').close()")
        window.press("n")
        wait_until(lambda: list((tmp_path / "state" / "masks").glob("*.png")))
        window.wait("!document.getElementById('desk').ariaBusy")
        window.press("g")
        window.wait("document.querySelectorAll('.cell .thumb').length === 6")
        choose(window, "gallery-over", "mask")
        window.wait("document.querySelectorAll('.cell .over').length === 1")
        choose(window, "gallery-sort", "newest")
        window.wait("document.querySelector('.cell[data-index=\"0\"] [data-state=done]')")
        assert window.errors() == []
        window.leave()
