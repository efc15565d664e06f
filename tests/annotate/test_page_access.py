"""The page for everybody: contrast in both themes, by keys alone, dialogs that keep the focus."""

import pytest
from pretend_server import glands, serving
from waiting import wait_until
from webdriver import MISSING_PROGRAMS, browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING_PROGRAMS), reason=f"not installed: {MISSING_PROGRAMS}"),
]
TAB, ENTER, ESCAPE, SHIFT = "\ue004", "\ue007", "\ue00c", "\ue008"

# Ratio of luminances, by WCAG 2, of each text that is seen and can be acted upon, against the
# colours that lie behind it; what lies over a picture, and what is disabled, is left out.
CONTRAST = """
const parse = (text) => {
  const parts = text.match(/[\\d.]+/g).map(Number);
  const most = text.startsWith("color(") ? 1 : 255;
  return [...parts.slice(0, 3).map((v) => v / most), parts[3] ?? 1];
};
const over = (top, under) => top.slice(0, 3).map((v, k) => v * top[3] + under[k] * (1 - top[3]));
const luminance = (colour) => {
  const [r, g, b] = colour.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  if (!element) return [1, 1, 1];
  const style = getComputedStyle(element);
  return over(parse(style.backgroundColor), behind(element.parentElement));
};
const opacity = (element) =>
  element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1;
const found = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  const text = walk.currentNode.textContent.trim();
  if (!text || !element.checkVisibility() || element.closest(":disabled, template")) continue;
  const ground = behind(element);
  const ink = parse(getComputedStyle(element).color);
  const [a, b] = [
    luminance(over([...ink.slice(0, 3), ink[3] * opacity(element)], ground)), luminance(ground),
  ];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  found.push([text.slice(0, 40), ratio]);
}
return found;
"""


def low_contrast(window):
    found = window.run(CONTRAST)
    assert len(found) > 10
    return sorted({(text, round(ratio, 2)) for text, ratio in found if ratio < 4.5})


def test_the_contrast_is_worked_out_right():
    with browser() as window:
        window.open("data:text/html,<body style='background:white;color:rgb(119,119,119)'>a b")
        for text in "cdefghijkl":
            window.run("document.body.append(document.createElement('p'))")
            window.run("document.body.lastChild.textContent = arguments[0]", text)
        (ratio,) = {round(ratio, 2) for _, ratio in window.run(CONTRAST)}
        assert ratio == 4.48  # #777 on white, as WCAG's own tables have it


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_texts_stand_out(dark):
    items = glands(10)
    items[1].state, items[2].state, items[3].state = "done", "marked", "unreadable"
    items[1].marks = items[2].marks = bytes(192 * 288)
    with serving(items) as (_, address), browser(dark=dark) as window:
        window.open(address)
        window.wait("document.getElementById('desk').dataset.image === '0'")
        assert low_contrast(window) == []
        window.press("?")
        window.wait("document.getElementById('keys').open")
        assert low_contrast(window) == []
        window.press(ESCAPE)
        window.press("g")
        window.wait("document.querySelectorAll('.cell .name').length === 10")
        assert low_contrast(window) == []
        window.press("c")
        window.wait("document.getElementById('compare').open")
        assert low_contrast(window) == []


def test_dialogs_keep_the_focus_and_give_it_back():
    with serving(glands(6)) as (_, address), browser() as window:
        window.open(address)
        window.wait("document.getElementById('desk').dataset.image === '0'")
        window.run("document.getElementById('open-keys').focus()")
        window.press(ENTER)
        window.wait("document.getElementById('keys').open")
        for _ in range(5):
            window.press(TAB)
            held = window.run(
                "const now = document.activeElement;"  # body: Chromium's own bar has it
                "return now === document.body || now.closest('#keys') !== null"
            )
            assert held
        window.press(ESCAPE)
        window.wait("document.activeElement.id === 'open-keys'")


def test_who_wants_no_movement_gets_none():
    with serving(glands(6)) as (_, address), browser() as window:
        window.devtools(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-reduced-motion", "value": "reduce"}],
        )
        window.open(address)
        window.wait("document.getElementById('desk').dataset.image === '0'")
        moving = window.run(
            "return [...document.querySelectorAll('*')].filter((element) => {"
            "  const style = getComputedStyle(element);"
            "  return style.transitionDuration !== '0s' || style.animationName !== 'none';"
            "}).length"
        )
        assert moving == 0


def test_answers_gallery_and_the_way_back_by_keys_alone():
    with serving(glands(6)) as (state, address), browser() as window:
        window.open(address)
        window.wait("document.getElementById('desk').dataset.image === '0'")
        window.press("1")
        window.press(SHIFT, ENTER)
        window.wait("document.getElementById('desk').dataset.image === '1'")
        window.press("n")
        window.wait("document.getElementById('desk').dataset.image === '2'")
        window.press("x")
        window.wait("document.getElementById('desk').dataset.image === '3'")
        window.press("g")
        window.wait("document.activeElement.closest('.cell')?.dataset.index === '3'")
        window.press("\ue012"), window.press("\ue012"), window.press("\ue012")
        window.press(ENTER)
        window.wait("document.getElementById('desk').dataset.image === '0'")
        window.press("n")  # would be in the place of what is marked: asked about
        window.wait("document.activeElement.closest('#confirm') !== null")
        window.press(ESCAPE)
        window.wait("!document.getElementById('desk').ariaBusy")
        window.press(SHIFT, ENTER)
        wait_until(lambda: state.items[0].revision == 2)
        states = [item.state for item in state.items[:4]]
        assert states == ["done", "done", "skipped", "open"]


def test_no_stop_of_tab_is_without_a_name():
    with serving(glands(6)) as (_, address), browser() as window:
        window.open(address)
        window.wait("document.getElementById('desk').dataset.image === '0'")
        for place in ("desk", "gallery"):
            if place == "gallery":
                window.press("g")
                window.wait("document.querySelectorAll('.cell .name').length === 6")
            for control in window.find_all(f"#{place} :is(button, input, select, [tabindex])"):
                assert window.name_of(control) or not window.is_shown(control), control
