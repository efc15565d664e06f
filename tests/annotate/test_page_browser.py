"""The page in a browser: what is drawn with a pointer is what the server gets."""

import numpy as np
import pytest
from pretend_server import OPEN, Item, glands, serving
from waiting import wait_until
from webdriver import MISSING_PROGRAMS, browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING_PROGRAMS), reason=f"not installed: {MISSING_PROGRAMS}"),
]
SIZE = (192, 288)
ENTER, SHIFT, CONTROL = "\ue007", "\ue008", "\ue009"
BACKSPACE, ESCAPE = "\ue003", "\ue00c"
BRUSH = 12


@pytest.fixture(scope="module")
def window():
    with browser() as window:
        yield window


@pytest.fixture
def opened(window):
    """(window, state of the server, the first of six images), the image on the desk."""
    with serving(glands(6, SIZE)) as (state, address):
        window.open(address)
        wait_for(window, 0)
        yield window, state, state.items[0]
        assert window.errors() == []
        window.leave()  # what it says when it is left belongs to this server
        hosts = {path for _, path in state.requests if not path.startswith("/")}
        assert not hosts


def wait_for(window, image):
    window.wait(
        "document.getElementById('desk').dataset.image === arguments[0] && "
        "!document.getElementById('desk').ariaBusy",
        str(image),
    )


def to_screen(window, points, size=SIZE):
    """Places of the window at which the page shows points of a whole image, and the scale."""
    x, y, across, down = window.run(
        "const r = document.getElementById('canvas').getBoundingClientRect();"
        "return [r.x, r.y, r.width, r.height]"
    )
    height, width = size
    scale = min((across - 24) / width, (down - 24) / height)
    corner = np.array([x + (across - width * scale) / 2, y + (down - height * scale) / 2])
    return corner + np.asarray(points) * scale, corner, scale


def draw(window, points, size=SIZE):
    """Drags along points of the image; where the pointer really was, in pixels of the image."""
    places, corner, scale = to_screen(window, points, size)
    places = np.round(places)
    window.drag(places)
    return (places - corner) / scale


def stroke(points, brush=BRUSH, size=SIZE):
    """Pixels within half an even brush of the path through corners of pixels."""
    corners = np.round(points)
    assert (np.abs(np.abs(points - corners) - 0.5) > 1e-6).all(), "rounding decides"
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    painted = np.zeros(size, bool)
    for a, b in zip(corners, corners[1:]):
        step = b - a
        along = ((x - a[0]) * step[0] + (y - a[1]) * step[1]) / max(step @ step, 1)
        t = np.clip(along, 0, 1)
        distance = np.hypot(x - a[0] - t * step[0], y - a[1] - t * step[1])
        painted |= distance <= brush / 2 + 1e-9
    return painted


def marks(item):
    return np.frombuffer(item.marks, np.uint8).reshape(item.pixels.shape[:2])


PATH = [(60.1, 60.2), (90.2, 80.1), (120.1, 70.2), (120.2, 110.1)]


def test_a_stroke_arrives_as_the_bytes_that_it_should_give(opened):
    window, state, item = opened
    first = stroke(draw(window, PATH))
    window.press("0")
    second = stroke(draw(window, [(200.1, 40.2), (230.2, 40.1)]))
    window.click("[data-answer=marks]")
    wait_for(window, 1)
    expected = np.full(SIZE, OPEN)
    expected[first], expected[second] = 1, 0
    np.testing.assert_array_equal(marks(item), expected)
    assert item.state == "marked"
    wait_until(lambda: state.log)
    assert state.log[0]["id"] == 0 and state.log[0]["strokes"] == state.log[0]["clicks"] == 2
    assert state.log[0]["seconds"] > 0


def test_undo_and_the_eraser_leave_nothing(opened):
    window, state, item = opened
    draw(window, PATH)
    window.press("0")
    draw(window, PATH[::-1])
    window.press(CONTROL, "z")
    window.press(CONTROL, "z")
    window.press(ENTER)
    window.wait("document.getElementById('toast').textContent.includes('Nothing is marked')")
    window.press(CONTROL, SHIFT, "z")
    window.press("e")
    draw(window, PATH)
    window.press(ENTER)
    assert item.revision == 0
    window.press("x")
    wait_for(window, 1)
    assert item.state == "skipped"


def test_enter_answers_after_a_button_was_pressed_and_a_stroke_drawn(opened):
    window, _, item = opened
    draw(window, PATH[::-1])
    window.click("#undo")
    painted = stroke(draw(window, PATH))
    window.press(ENTER)
    wait_for(window, 1)
    np.testing.assert_array_equal(marks(item), np.where(painted, 1, OPEN))


def test_a_draft_outlives_the_page(opened):
    window, state, item = opened
    painted = stroke(draw(window, PATH))
    wait_until(lambda: item.draft is not None)
    assert item.revision == 0 and (marks(item) == OPEN).all()  # a draft does not count
    address = window.run("return location.href")
    window.leave()
    window.open(address)
    wait_for(window, 0)
    window.press(ENTER)
    wait_for(window, 1)
    np.testing.assert_array_equal(marks(item), np.where(painted, 1, OPEN))


def test_a_stale_page_is_told_and_overwrites_nothing(opened):
    window, state, item = opened
    painted = stroke(draw(window, PATH))
    wait_until(lambda: item.draft is not None)
    theirs = np.full(SIZE, OPEN, np.uint8)
    theirs[:5] = 2
    item.marks, item.revision, item.draft = theirs.tobytes(), 1, None
    window.press(ENTER)
    window.wait("!document.getElementById('conflict').hidden")
    np.testing.assert_array_equal(marks(item), theirs)
    assert len(window.errors()) == 1  # Chromium notes the answer 409
    window.click("#theirs")
    window.wait("document.getElementById('conflict').hidden")
    window.press(CONTROL, "z")  # what was drawn here is not lost either
    window.press(ENTER)
    wait_for(window, 1)
    np.testing.assert_array_equal(marks(item), np.where(painted, 1, OPEN))
    assert item.revision == 2


def test_proposals_count_when_the_person_says_so(opened):
    window, state, item = opened
    proposal = np.frombuffer(item.proposal, np.uint8).reshape(SIZE)
    window.press("0")
    dropped = stroke(draw(window, PATH))
    window.press(SHIFT, ENTER)
    wait_for(window, 1)
    np.testing.assert_array_equal(marks(item), (proposal >= 128) & ~dropped)
    window.click("[data-answer=later]")
    wait_for(window, 2)
    assert state.items[1].revision == 0
    window.press("n")
    wait_for(window, 3)
    assert not marks(state.items[2]).any()


def test_a_proposed_object_is_taken_by_one_click(opened):
    from scipy.ndimage import label

    window, state, item = opened
    objects, _ = label(np.frombuffer(item.proposal, np.uint8).reshape(SIZE) >= 128)
    y, x = np.argwhere(objects == np.bincount(objects.ravel())[1:].argmax() + 1)[50]
    window.press("t")
    draw(window, [(x + 0.5, y + 0.5)])
    window.press(ENTER)
    wait_for(window, 1)
    np.testing.assert_array_equal(marks(item), np.where(objects == objects[y, x], 1, OPEN))


def test_the_gallery_opens_an_image_again(opened):
    window, state, item = opened
    window.press("n")
    wait_for(window, 1)
    window.press("g")
    window.wait("document.querySelectorAll('.cell img[src]').length === 6")
    window.click(".cell [title^='benign/slide-000.png']")
    wait_for(window, 0)
    draw(window, PATH)
    window.press(ENTER)
    wait_for(window, 1)
    assert item.revision == 2 and (marks(item) == 1).any()


def test_every_control_has_a_name(opened):
    window, _, _ = opened
    n = window.run("return document.querySelectorAll('button, input, select, canvas').length")
    assert n > 30
    for control in window.find_all("button, input, select, canvas:not([aria-hidden]), progress"):
        name = window.name_of(control)
        assert name or not window.is_shown(control), control


def test_the_page_and_its_own_server(window, tmp_path):
    from PIL import Image

    from alseg.annotate import serve

    for item in glands(6, SIZE):
        path = tmp_path / "slides" / "images" / item.label / f"{item.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(item.pixels).save(path)
    with serve(tmp_path / "state", tmp_path / "slides", block=False) as served:
        window.open(served.url)
        window.wait("document.getElementById('desk').dataset.image")
        window.press(ENTER)  # one class, foreground
        window.wait("!document.getElementById('name-classes').open")
        first = window.run("return document.getElementById('desk').dataset.image")
        painted = stroke(draw(window, PATH))
        window.press(ENTER)
        window.wait("document.getElementById('desk').dataset.image !== arguments[0]", first)
        assert window.errors() == []
        window.leave()
    (saved,) = (tmp_path / "state" / "masks").iterdir()
    with Image.open(saved) as mask:
        np.testing.assert_array_equal(np.asarray(mask), np.where(painted, 1, OPEN))


def test_a_large_image_takes_a_stroke():
    size = (3000, 4000)
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[::40] = 200
    with serving([Item(0, pixels, None)]) as (state, address), browser() as window:
        window.open(address)
        wait_for(window, 0)
        # A wide slide is shown small: the pen moves over many of its pixels at once.
        painted = stroke(draw(window, [(500, 500), (3000, 700), (2500, 2400)], size), size=size)
        window.press(ENTER)
        window.wait("!document.getElementById('finished').hidden")
        np.testing.assert_array_equal(marks(state.items[0]), np.where(painted, 1, OPEN))


# -- single pixels --


def walk(window):
    """What the page says of the asked pixel: "3 of 20"."""
    return window.run("return document.getElementById('points-count').textContent")


def wait_for_walk(window, standing):
    window.wait("document.getElementById('points-count').textContent === arguments[0]", standing)


@pytest.fixture
def points(opened):
    """As `opened`; the browser forgets afterwards which way of marking was chosen."""
    window, state, item = opened
    yield window, state, item
    window.run("localStorage.clear()")


@pytest.mark.parametrize(
    "width, height, least", [(800, 600, 0.45), (844, 390, 0.4), (1280, 600, 0.6), (390, 844, 0.35)]
)
def test_low_and_narrow_windows_show_the_image_and_all_tools(points, width, height, least):
    window, _, _ = points
    window.press("q")
    wait_for_walk(window, "1 of 20")
    window.resize(width, height)
    across, down, lowest, farthest, answer, end = window.run(
        "const box = (node) => node.getBoundingClientRect();"
        "const tools = [...document.querySelectorAll('.rail button')].map(box);"
        "const stage = box(document.querySelector('.stage'));"
        "const answer = box(document.querySelector('#points-classes button:last-child'));"
        "return [stage.width, stage.height, Math.max(...tools.map((r) => r.bottom)), "
        "Math.max(...tools.map((r) => r.right)), answer.bottom, "
        "box(document.querySelector('.answers')).top]"
    )
    window.resize(1400, 900)
    assert across * down / (width * height) > least
    assert lowest <= height and farthest <= width
    assert answer <= end or height < 580  # what is asked is answered without scrolling


def test_asked_pixels_are_answered_by_a_key_each(points):
    window, state, item = points
    asked = np.array(item.points(20)["points"])
    window.press("q")
    wait_for_walk(window, "1 of 20")
    expected = np.full(SIZE, OPEN)
    for number, (row, column) in enumerate(asked[:-1]):
        key = "10x2"[number % 4]
        window.press(key)
        if key != "x":
            expected[row, column] = int(key)
    wait_for_walk(window, "20 of 20")
    assert state.items[0].revision == 0
    window.press("1")
    expected[tuple(asked[-1])] = 1
    wait_for(window, 1)  # saved as "only what I marked", and the next walk has begun
    wait_for_walk(window, "1 of 20")
    np.testing.assert_array_equal(marks(item), expected)
    assert item.state == "marked"
    wait_until(lambda: state.log)
    assert state.log[0]["clicks"] == 20 and state.log[0]["strokes"] == 0


def test_answers_are_taken_back_and_what_is_not_answered_never_counts(points):
    window, state, item = points
    asked = item.points(20)["points"]
    window.press("q")
    wait_for_walk(window, "1 of 20")
    for key, standing in [
        ("1", "2 of 20"),
        ("x", "3 of 20"),
        ("1", "4 of 20"),
        (BACKSPACE, "3 of 20"),
        (BACKSPACE, "2 of 20"),
        ("2", "3 of 20"),
        ("9", "3 of 20"),  # there is no such class
        (BACKSPACE, "2 of 20"),
        (BACKSPACE, "1 of 20"),
        (BACKSPACE, "1 of 20"),
        ("0", "2 of 20"),
        ("1", "3 of 20"),
    ]:
        window.press(key)
        assert walk(window) == standing
    window.press(CONTROL, "z")
    assert walk(window) == "2 of 20"
    window.press(ESCAPE)
    assert window.run("return document.getElementById('points').hidden")
    window.press(ENTER)
    wait_for(window, 1)
    expected = np.full(SIZE, OPEN)
    expected[tuple(asked[0])] = 0
    np.testing.assert_array_equal(marks(item), expected)


def test_what_nobody_can_tell_is_not_asked_again_after_a_reload(points):
    window, state, item = points
    asked = item.points(40)["points"]
    window.press("q")
    wait_for_walk(window, "1 of 20")
    for key in ["x", "x", "1", "x", BACKSPACE]:
        window.press(key)
    wait_until(lambda: set(item.unknown) == {tuple(asked[0]), tuple(asked[1])})
    wait_until(lambda: item.draft is not None)
    window.open(window.run("return location.href"))
    wait_for_walk(window, "4 of 20")
    for _ in range(17):
        window.press("1")
    wait_for(window, 1)
    wait_for_walk(window, "1 of 20")
    window.run("document.getElementById('open-gallery').click()")  # the image again, and more of it
    window.wait("document.querySelector('#gallery-cells button.image[title]')")
    window.run("document.querySelector('#gallery-cells button.image').click()")
    wait_for(window, 0)
    window.open(window.run("return location.href"))
    wait_for_walk(window, "1 of 20")
    assert [list(at) for at in item.points(20)["points"]] == asked[20:40]


def test_the_last_answer_of_the_image_before_is_taken_back(points):
    window, state, item = points
    asked = item.points(20)["points"]
    window.press("q")
    wait_for_walk(window, "1 of 20")
    for _ in range(20):
        window.press("1")
    wait_for(window, 1)
    wait_for_walk(window, "1 of 20")
    window.press(BACKSPACE)
    wait_for(window, 0)
    wait_for_walk(window, "20 of 20")
    window.press("0")
    wait_for(window, 1)
    assert item.revision == 2 and marks(item)[tuple(asked[-1])] == 0
    assert (marks(item) != OPEN).sum() == 20


def test_the_way_of_marking_is_remembered_and_a_tool_leaves_it(points):
    window, state, item = points
    window.click("[data-way=points]")
    wait_for_walk(window, "1 of 20")
    first = tuple(item.points(1)["points"][0])
    window.click("#points-classes [data-value='1']")
    wait_until(lambda: item.draft is not None)
    window.open(window.run("return location.href"))
    wait_for(window, 0)
    wait_for_walk(window, "2 of 20")  # the same pixels, of which the draft answers one
    window.press("b")
    painted = stroke(draw(window, PATH))
    window.press(ENTER)
    wait_for(window, 1)
    painted[first] = True
    np.testing.assert_array_equal(marks(item), np.where(painted, 1, OPEN))


def test_a_ring_takes_the_class_in_the_hand(points):
    window, state, item = points
    asked = item.points(20)["points"]
    window.wait("document.querySelectorAll('#rings button').length === 5")
    window.click("#rings button:nth-child(2)")
    window.press("0")
    window.click("#rings button:nth-child(4)")
    window.click("#rings button:nth-child(5)")
    window.click("#rings button:nth-child(5)")  # a second click takes it back
    names = [window.name_of(ring) for ring in window.find_all("#rings button")]
    assert [name.split(": ")[1] for name in names] == [
        "not answered",
        "gland",
        "not answered",
        "background",
        "not answered",
    ]
    window.press(ENTER)
    wait_for(window, 1)
    expected = np.full(SIZE, OPEN)
    expected[tuple(asked[1])], expected[tuple(asked[3])] = 1, 0
    np.testing.assert_array_equal(marks(item), expected)


def test_a_superpixel_is_filled_by_a_click_and_those_on_its_way_by_a_drag(opened):
    window, state, item = opened
    window.press("s")
    # The first click comes when they are there: the outline under the pointer says so.
    window.wait("performance.getEntriesByType('resource').some((r) => /superpixels/.test(r.name))")
    places, _, _ = to_screen(window, [(12, 12)])
    window.hover(*places[0])
    window.wait("document.querySelector('#cell .over').getAttribute('d')?.length > 20")
    draw(window, [(20.1, 20.2)])  # squares of 8 pixels
    window.press("0")
    draw(window, [(100.1, 100.2), (104.2, 100.1), (116.1, 100.2)])
    window.press(ENTER)
    wait_for(window, 1)
    expected = np.full(SIZE, OPEN)
    expected[16:24, 16:24] = 1
    expected[96:104, 96:120] = 0
    np.testing.assert_array_equal(marks(item), expected)


# -- parts of an image --


def test_a_part_that_is_asked_takes_all_marks_and_the_rest_none(window):
    items = glands(6, SIZE)
    for item in items:
        item.region = [64, 96, 64, 96]
    inside = np.zeros(SIZE, bool)
    inside[64:128, 96:192] = True
    with serving(items) as (state, address):
        window.open(address)
        wait_for(window, 0)
        window.wait("!document.getElementById('region').hidden")
        (corner, far), _, _ = to_screen(window, [(96, 64), (192, 128)])
        shown = window.run(
            "const r = document.getElementById('region').getBoundingClientRect();"
            "return [r.left, r.top, r.right, r.bottom]"
        )
        np.testing.assert_allclose(shown, [*corner, *far], atol=1)
        painted = stroke(draw(window, [(20.1, 80.2), (280.2, 100.1)]))
        window.press(ENTER)
        wait_for(window, 1)
        expected = np.where(painted & inside, 1, OPEN)
        np.testing.assert_array_equal(marks(items[0]), expected)
        # All of it, and nothing, are said of the part alone.
        window.press(SHIFT, ENTER)
        wait_for(window, 2)
        proposal = np.frombuffer(items[1].proposal, np.uint8).reshape(SIZE) >= 128
        np.testing.assert_array_equal(marks(items[1]), np.where(inside, proposal, OPEN))
        window.press("n")
        wait_for(window, 3)
        np.testing.assert_array_equal(marks(items[2]), np.where(inside, 0, OPEN))
        assert [item.state for item in items[:3]] == ["marked"] * 3
        assert window.errors() == []
        window.leave()


def test_a_frame_says_where_to_look_and_marks_are_free(points):
    window, state, item = points
    window.wait("document.getElementById('frame').hidden")
    state.items[2].frame = [0, 200, 64, 88]
    for image in (1, 2):
        window.press("n")
        wait_for(window, image)
    window.wait("!document.getElementById('frame').hidden")
    window.press("w")
    assert window.run("return document.getElementById('frame').hidden")
    window.press("w")
    painted = stroke(draw(window, PATH))
    window.press(ENTER)
    wait_for(window, 3)
    np.testing.assert_array_equal(marks(state.items[2]), np.where(painted, 1, OPEN))
