"""Checks: drawn by chance alone, hidden until they are answered, counted only as fair samples."""

import json
from collections import Counter

import numpy as np
import pytest
from made_slides import write_slides
from requests_by_hand import Client
from scipy.stats import chisquare

from alseg.annotate.asked_points import random_points
from alseg.annotate.check_images import HELD_OUT, Checks, is_check
from alseg.annotate.cost_log import COSTS
from alseg.annotate.marks import Marks
from alseg.annotate.server import allowed_hosts, make_app
from alseg.labels import MISSING
from alseg.project import ProjectError, ask_at_once, keep, open_project, undo

FAST = {"encoder": "tiny", "max_epochs": 1, "image_size": [24, 32], "device": "cpu"}
SIZE = (24, 32)
N = 24 * 32
TOKEN = "a-token"
WHOLE = bytes(N // 2) + bytes([1]) * (N // 2)


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checks") / "slides"
    write_slides(folder, 40, SIZE)
    return folder


@pytest.fixture
def project(slides, tmp_path):
    with open_project(tmp_path / "state", slides, {"estimator": FAST}) as project:
        yield project


@pytest.fixture
def marks(project):
    marks = Marks(project)
    yield marks
    marks.close()


def to_check(marks):
    """Answers questions until an open check is asked; its position."""
    i = marks.next()
    while marks.checks.status(marks.names[i]) != "open":
        marks.save(i, marks.revision(i), "all", WHOLE)
        i = marks.next(i)
    return i


def pixels(mask):
    return np.where(mask == MISSING, 255, mask).astype(np.uint8).tobytes()


# -- when, and which --


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_one_question_of_each_six_is_a_check_from_the_fifth_on(seed):
    asked = [is_check(k, seed) for k in range(4 + 6 * 200)]
    assert not any(asked[:4])
    blocks = np.array(asked[4:]).reshape(200, 6)
    assert (blocks.sum(axis=1) == 1).all()
    assert chisquare(blocks.sum(axis=0)).pvalue > 0.001  # at any place alike


def test_the_page_asks_them_in_their_places(marks, project):
    i, seen = marks.next(), []
    while i is not None and len(seen) < 30:
        seen.append(marks.checks.status(marks.names[i]) is not None)
        marks.save(i, 0, "all", WHOLE)
        i = marks.next(i)
    assert seen == [is_check(k, seed=0) for k in range(30)]
    assert sum(seen) == 4


def test_each_image_that_is_left_is_as_likely(slides, tmp_path):
    counts = Counter()
    with open_project(tmp_path / "state", slides, {"estimator": FAST}) as project:
        ask_at_once(project, 8)
        asked = set(project.pending())
        keep(project, {name: np.ones(SIZE, np.int16) for name in list(asked)[:3]})
        rounds = list(project.state["rounds"])
        for seed in range(200):
            project.state["options"]["seed"] = seed
            project.state["rounds"], project.state["checks"] = list(rounds), {}
            assert Checks(project).ask(lambda i: i != 5)
            counts.update(list(project.state["checks"]))
    free = set(project.data.ids.tolist()) - asked - {project.data.ids[5]}
    assert set(counts) == free
    assert chisquare(list(counts.values())).pvalue > 0.001


# -- hidden, answered, counted --


def test_a_check_is_hidden_until_it_is_answered(marks, project):
    app = make_app(marks, TOKEN, allowed_hosts("127.0.0.1", 8765), {"index.html": b""})
    ask = Client(app, TOKEN)
    i = to_check(marks)
    found = ask.get(f"/api/images/{i}").json
    assert found["check"] == "open" and found["proposal"] is False
    assert "measures" in found["why"]
    refused = ask.get(f"/api/images/{i}/proposal")
    assert refused.status == 404 and "check" in refused.json["error"]
    saved = ask.put(f"/api/images/{i}/marks?revision=0&answer=all", WHOLE).json
    assert saved == {"revision": 1, "check": "counted"}
    assert ask.get(f"/api/images/{i}").json["check"] == "counted"
    assert "no model" in ask.get(f"/api/images/{i}/proposal").json["error"]
    other = marks.next(i)
    assert ask.get(f"/api/images/{other}").json["check"] is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("nothing", "counted"),
        ("strokes", None),
        ("points", "counted"),
        ("some cannot be told", "counted"),
        ("most cannot be told", None),
        ("more points than asked at first", "counted"),
        ("the last ones cannot be told", "counted"),
        ("few points", None),
        ("points and strokes", "counted"),
        ("strokes over some points", None),
        ("points that were never asked", None),
    ],
)
def test_what_is_a_fair_sample(marks, project, kind, expected):
    i = to_check(marks)
    name = marks.names[i]
    mask = np.full(SIZE, MISSING, np.int16)
    points = random_points(name, SIZE, 40)
    if kind not in ("nothing", "strokes", "points that were never asked"):
        np.testing.assert_array_equal(marks.checks.points(name, SIZE, 5), points[:20])
    if kind == "more points than asked at first":
        marks.checks.points(name, SIZE, 40)
    marked = {
        "strokes": [],
        "points": range(20),
        "some cannot be told": [*range(0, 20, 2), 19],
        "most cannot be told": [*range(0, 20, 3), 19],
        "points and strokes": range(20),
        "strokes over some points": range(0, 20, 2),
        "more points than asked at first": range(31),
        "the last ones cannot be told": range(11),
        "few points": range(9),
        "points that were never asked": range(20),
    }.get(kind, [])
    for k in marked:
        mask[tuple(points[k])] = k % 2
    if "strokes" in kind:
        mask[3:9, 4:20] = 1
    if kind == "nothing":
        marks.save(i, 0, "nothing", b"")
    else:
        marks.save(i, 0, "marks", pixels(mask))
    assert marks.checks.status(name) == expected
    assert (name in marks.checks.held_out()) == (expected == "counted")


def test_the_sample_of_points_is_the_points_alone(marks):
    i = to_check(marks)
    name = marks.names[i]
    points = marks.checks.points(name, SIZE, 20)
    mask = np.full(SIZE, MISSING, np.int16)
    mask[tuple(points.T)] = 1
    drawn = mask.copy()
    drawn[0] = 0  # a stroke beside them
    marks.save(i, 0, "marks", pixels(drawn))
    expected = np.where(mask == 1, drawn, MISSING)
    np.testing.assert_array_equal(marks.checks.sample(name, drawn), expected)
    whole = to_check(marks)
    marks.save(whole, 0, "all", WHOLE)
    np.testing.assert_array_equal(marks.checks.sample(marks.names[whole], drawn), drawn)


def test_the_last_ones_are_held_out_in_the_order_answered(marks, project):
    names = marks.names[: HELD_OUT + 3]
    project.state["checks"] = {name: {} for name in names}
    for name in reversed(names):
        marks.checks.answered(name, np.ones(SIZE, np.int16))
        keep(project, {name: np.ones(SIZE, np.int16)})
    assert marks.checks.counted() == names[::-1]
    assert marks.checks.held_out() == names[::-1][3:]


# -- what else happens to them --


def test_undo_opens_a_check_again_and_takes_its_question_back(marks, project):
    i = to_check(marks)
    name = marks.names[i]
    marks.checks.points(name, SIZE, 20)
    marks.save(i, 0, "all", WHOLE)
    assert undo(project) == {"command": "add", "ids": [name]}
    assert marks.checks.status(name) == "open" and project.state["checks"][name] == {"points": 20}
    assert undo(project) == {"command": "query", "ids": [name]}
    assert marks.checks.status(name) is None and name not in project.state["checks"]


def test_they_are_known_again_and_those_that_came_by_add_count(slides, tmp_path):
    folder = tmp_path / "state"
    with open_project(folder, slides, {"estimator": FAST}) as project:
        marks = Marks(project)
        i = to_check(marks)
        marks.close()
        keep(project, {marks.names[i]: np.ones(SIZE, np.int16)})  # as `alseg add` does
    with open_project(folder) as project:
        marks = Marks(project)
        assert marks.checks.held_out() == [marks.names[i]]
        marks.close()


def test_what_is_not_written_does_not_count(marks, project, monkeypatch):
    i = to_check(marks)
    before = json.dumps(project.state)

    def full(*args, **options):
        raise OSError("no space left")

    monkeypatch.setattr("alseg.project.state.write_json", full)
    with pytest.raises(OSError, match="no space"):
        marks.save(i, 0, "all", WHOLE)
    assert json.dumps(project.state) == before
    assert marks.checks.status(marks.names[i]) == "open"


@pytest.mark.parametrize(
    "checks",
    [[], {"a": 3}, {"a": {"points": -1}}, {"a": {"number": "x"}}, {"a": {"answer": "guess"}}],
)
def test_a_damaged_state_is_told(slides, tmp_path, checks):
    folder = tmp_path / "state"
    with open_project(folder, slides, {"estimator": FAST}) as project:
        project.state["checks"] = checks
        project.write()
    with pytest.raises(ProjectError, match="check"), open_project(folder):
        pass


def test_a_line_of_costs_says_how_and_of_what(marks, project):
    i = to_check(marks)
    marks.log(i, 2.5, 0, 20, points=20, answer="marks")
    line = json.loads((project.folder / COSTS).read_text().splitlines()[-1])
    assert line["answer"] == "marks" and line["points"] == 20 and line["check"] == "open"
    assert line["label"] in ("irregular", "regular")
    with pytest.raises(ValueError, match="answer must be"):
        marks.log(i, 1, 1, 1, answer="maybe")
    with pytest.raises(ValueError, match="points must be a finite integer"):
        marks.log(i, 1, 1, 1, points=1.5)
