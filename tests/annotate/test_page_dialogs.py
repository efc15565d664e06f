"""The page in a browser: its classes, its rules, and what it shows of deep images."""

import json

import numpy as np
import pytest
import tifffile
from made_slides import write_slides
from waiting import wait_until
from webdriver import MISSING_PROGRAMS, browser

from alseg.annotate import serve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING_PROGRAMS), reason=f"not installed: {MISSING_PROGRAMS}"),
]
ENTER = "\ue007"
SHOWN = "document.getElementById('desk').dataset.image"
NAMES = (
    "[...document.querySelectorAll('#classes .class-name')].map((one) => one.textContent).join()"
)


@pytest.fixture(scope="module")
def window():
    with browser() as window:
        yield window


def state_of(folder):
    return json.loads((folder / "state.json").read_text())


def pixel(window, u, v):
    """Red, green and blue of the picture at shares of the canvas, in a frame yet to be drawn."""
    return window.run(
        "const canvas = document.querySelector('canvas.picture');"
        "const at = [canvas.width * arguments[0], canvas.height * arguments[1]].map(Math.round);"
        "const seen = () => canvas.getContext('2d').getImageData(...at, 1, 1).data.slice(0, 3);"
        "const frame = () => new Promise((drawn) => requestAnimationFrame(drawn));"
        "return frame().then(frame).then(() => [...seen()])",
        u,
        v,
    )


def slide(window, name, value):
    window.run(
        "const slider = document.getElementById(arguments[0]); slider.value = arguments[1];"
        "slider.dispatchEvent(new Event('input'))",
        name,
        value,
    )


def test_classes_are_named_at_the_first_start_and_rules_are_said(window, tmp_path):
    write_slides(tmp_path / "slides", 6, (48, 64))
    state = tmp_path / "state"
    with serve(state, tmp_path / "slides", block=False) as served:
        window.open(served.url)
        window.wait(SHOWN)
        window.wait("document.getElementById('name-classes').open")
        window.press(ENTER)  # at once
        window.wait("!document.getElementById('name-classes').open")
        assert state_of(state)["options"]["mask_classes"] == ["foreground"]
        window.click("#edit-classes")
        window.click("#add-class")
        window.press(ENTER)  # a class without a name is none
        assert window.run("return document.getElementById('name-classes').open")
        for letter in "foreground":
            window.press(letter)
        window.press(ENTER)
        window.wait("!document.getElementById('name-classes-error').hidden")
        window.press("2")
        window.click("#empty-boxes input")  # the label that stands first
        window.press(ENTER)
        window.wait("!document.getElementById('name-classes').open")
        window.wait(f"{NAMES} === 'background,foreground,foreground2'")
        found = state_of(state)
        assert found["empty"] == ["irregular"] and len(set(found["colors"])) == 2
        window.wait(f"document.getElementById('label').value === 'regular' && {SHOWN}")
        window.wait("document.getElementById('progress-text').textContent === '3 of 6 answered'")
        assert window.errors() == []
        window.open(served.url)
        window.wait(SHOWN)
        assert not window.run("return document.getElementById('name-classes').open")
        window.leave()


def test_cannot_tell_is_taken_back_with_what_was_drawn(window, tmp_path):
    write_slides(tmp_path / "slides", 4, (48, 64))
    with serve(tmp_path / "state", tmp_path / "slides", block=False) as served:
        window.open(served.url)
        window.wait(SHOWN)
        window.press(ENTER)
        window.wait("!document.getElementById('name-classes').open")
        first = window.run(f"return {SHOWN}")
        window.drag([(500, 400), (600, 450)])
        window.press("x")
        window.wait(f"{SHOWN} !== arguments[0]", first)
        assert len(state_of(tmp_path / "state")["skipped"]) == 1
        window.click("#toast button")
        window.wait(f"{SHOWN} === arguments[0]", first)
        assert state_of(tmp_path / "state")["skipped"] == []
        window.wait("document.querySelector('#classes [data-value=\"1\"] output').textContent")
        assert window.errors() == []
        window.leave()


def test_deep_images_are_seen_and_their_channels_chosen(window, tmp_path):
    folder = tmp_path / "slides" / "images" / "a"
    folder.mkdir(parents=True)
    image = np.zeros((40, 60, 5), np.uint16)
    image[:, 30:, :] = [100, 200, 300, 0, 4000]  # of 65535: black without a window
    image[:20, :, 3] = 50
    tifffile.imwrite(folder / "m.tif", image, photometric="minisblack", planarconfig="contig")
    with serve(tmp_path / "state", tmp_path / "slides", block=False) as served:
        window.open(served.url)
        window.wait(SHOWN)
        window.press(ENTER)
        window.wait("!document.getElementById('name-classes').open")
        assert pixel(window, 0.7, 0.5) == [255] * 3 and pixel(window, 0.3, 0.5) == [0] * 3
        window.run("document.querySelector('.picture-part').open = true")
        window.run("document.getElementById('one-channel').click()")
        window.run(
            "const one = document.getElementById('red'); one.value = '3';"
            "one.dispatchEvent(new Event('change'))"
        )
        wait_until(lambda: pixel(window, 0.3, 0.3) == [255] * 3)
        assert pixel(window, 0.7, 0.7) == [0] * 3
        slide(window, "brightness", 150)
        window.leave()
        window.open(served.url)  # the browser remembers it
        window.wait(SHOWN)
        assert pixel(window, 0.3, 0.3) == [255] * 3 and pixel(window, 0.7, 0.7) == [0] * 3
        style = "document.querySelector('canvas.picture').style.filter"
        assert window.run(f"return {style}") == "brightness(150%) contrast(100%)"
        window.run("document.querySelector('.picture-part').open = true")
        window.run("document.getElementById('reset-picture').click()")
        wait_until(lambda: pixel(window, 0.7, 0.7) == [255] * 3)
        assert window.run(f"return {style}") == ""
        assert window.errors() == []
        window.leave()
