"""What is said once: pixel classes, labels whose images hold nothing; and what is taken back."""

import json

import numpy as np
import pytest
from made_slides import write_slides
from requests_by_hand import Client

from alseg.annotate.marks import Marks
from alseg.annotate.server import allowed_hosts, make_app
from alseg.cli import main
from alseg.project import ProjectError, keep, open_project, set_classes, set_empty, undo

SIZE = (24, 32)
N = 24 * 32
FAST = {"encoder": "tiny", "max_epochs": 1, "image_size": [24, 32], "device": "cpu"}


@pytest.fixture
def project(tmp_path):
    write_slides(tmp_path / "slides", 8, SIZE)
    with open_project(tmp_path / "state", tmp_path / "slides", {"estimator": FAST}) as project:
        yield project


@pytest.fixture
def ask(project):
    marks = Marks(project)
    yield Client(make_app(marks, "t", allowed_hosts("127.0.0.1", 8765), {}), "t")
    marks.close()


def mask(*, value=1, missing=False):
    found = np.full(SIZE, -1 if missing else 0)
    found[3:9, 4:20] = value
    return found


# -- classes --


def test_classes_are_asked_for_until_they_are_named(ask, project):
    assert ask.get("/api/project").json["first_start"] is True
    said = {"names": [" gland ", "lumen"], "colors": ["#ff0000", "#00ff00"]}
    found = ask.put("/api/classes", said).json["mask_classes"]
    assert [(one["name"], one["color"]) for one in found] == [
        ("background", "#000000"),
        ("gland", "#ff0000"),
        ("lumen", "#00ff00"),
    ]
    shown = ask.get("/api/project").json
    assert shown["first_start"] is False and shown["mask_classes"] == found
    assert project.n_mask_classes == 3
    body = np.full(N, 2, np.uint8).tobytes()
    assert ask.put("/api/images/0/marks?revision=0&answer=all", body).status == 200


def test_names_are_kept_and_the_commands_use_them(project, tmp_path):
    set_classes(project, ["gland"], ["#12ab34"])
    folder = project.folder
    text = (folder / "state.json").read_text()
    project.files.__exit__(None, None, None)
    with open_project(folder) as again:
        assert again.class_names == ["gland"] and again.state["colors"] == ["#12ab34"]
    assert not main(["query", "--out", str(folder), "-n", "2"])
    queries = json.loads((folder / "ask" / "round_001" / "queries.json").read_text())
    assert queries["classes"] == ["gland"] and json.loads(text)["colors"] == ["#12ab34"]


def test_named_or_with_a_mask_nobody_is_asked_for_classes(ask, project):
    keep(project, {project.data.ids[0]: mask()})
    assert ask.get("/api/project").json["first_start"] is False


@pytest.mark.parametrize(
    "names, colors",
    [
        ([], []),
        (["a", "a"], ["#000000"] * 2),
        (["a", "A"], ["#000000"] * 2),
        (["Background"], ["#000000"]),
        ([""], ["#000000"]),
        (["a" * 61], ["#000000"]),
        (["a\x1b[2J"], ["#000000"]),
        ([1], ["#000000"]),
        ("a", ["#000000"]),
        (["a"], ["red"]),
        (["a"], ["#00000"]),
        (["a"], []),
        (["a"], [None]),
        ([f"c{k}" for k in range(254)], ["#000000"] * 254),
    ],
)
def test_classes_that_are_none_change_nothing(ask, project, names, colors):
    before = json.dumps(project.state)
    answer = ask.put("/api/classes", {"names": names, "colors": colors})
    assert answer.status == 400 and "must be" in answer.json["error"]
    assert json.dumps(project.state) == before


def test_what_is_marked_keeps_its_class(ask, project):
    set_classes(project, ["a", "b"], ["#000000"] * 2)
    set_classes(project, ["b"], ["#000000"])  # nothing is marked
    set_classes(project, ["a", "b"], ["#000000"] * 2)
    assert ask.put("/api/images/0/draft?revision=0", bytes(N)).status == 200  # a draft is enough
    for names in (["a"], ["b", "a"], ["c", "a", "b"]):
        with pytest.raises(ValueError, match="in that order, or more"):
            set_classes(project, names, ["#000000"] * len(names))
    set_classes(project, ["a", "gland", "c"], ["#000000"] * 3)
    assert project.class_names == ["a", "gland", "c"] and project.n_mask_classes == 4


# -- rules --


def labelled(project, label):
    return np.flatnonzero(project.data.labels == label)


def test_images_of_an_empty_label_are_done_and_not_asked_for(ask, project):
    ruled = labelled(project, "regular")
    first = ask.get("/api/next").json
    assert ask.put("/api/empty", {"label": "regular", "empty": True}).json == {"empty": ["regular"]}
    shown = ask.get("/api/project").json
    assert shown["empty"] == ["regular"] and shown["n_done"] == len(ruled)
    for i in ruled:
        found = ask.get(f"/api/images/{i}").json
        assert found["state"] == "done" and "rule" in found["why"]
        assert ask.get(f"/api/images/{i}/marks").body == bytes(N)
    counts = ask.get("/api/gallery").json["counts"]
    assert counts["done"] == len(ruled)
    asked, last = [], None
    for _ in range(8 - len(ruled)):
        last = ask.get("/api/next" if last is None else f"/api/next?after={last}").json["id"]
        asked.append(last)
    assert sorted(asked) == labelled(project, "irregular").tolist()
    ask.put("/api/empty", {"label": "regular", "empty": False})
    assert ask.get("/api/project").json["n_done"] == 0
    assert ask.get(f"/api/images/{ruled[0]}/marks").body == b"\xff" * N
    assert ask.get("/api/next").json == first


def test_ruled_images_teach_no_more_than_drawn_ones(project):
    ruled = labelled(project, "regular")
    others = labelled(project, "irregular")
    set_empty(project, "regular", True)
    assert not any(found is not None for found in project.known_masks())  # nothing to learn yet
    seen = set()
    for n, i in enumerate(others[:3], 1):
        keep(project, {project.data.ids[i]: mask()})
        known = project.known_masks()
        taken = {int(k) for k in ruled if known[k] is not None}
        assert len(taken) == min(n, len(ruled)) and seen <= taken
        assert all((known[k] == 0).all() and known[k].shape == SIZE for k in taken)
        seen = taken
    keep(project, {project.data.ids[ruled[0]]: mask()})  # drawn: it goes before the rule
    assert (project.known_masks()[ruled[0]] == mask()).all()
    assert project.has_drawn().sum() == 4 and project.has_mask().sum() == 3 + len(ruled)
    set_empty(project, "regular", False)
    assert sum(found is not None for found in project.known_masks()) == 4


def test_a_corrected_label_changes_what_the_rule_says(ask, project):
    set_empty(project, "regular", True)
    i = int(labelled(project, "regular")[0])
    ask.put(f"/api/images/{i}/label", {"label": "irregular"})
    assert ask.get(f"/api/images/{i}").json["state"] == "open"


def test_the_rule_holds_for_the_commands(project, capsys):
    set_empty(project, "regular", True)
    keep(project, {project.data.ids[labelled(project, "irregular")[0]]: mask()})
    names = set(project.data.ids[labelled(project, "irregular")])
    folder = project.folder
    project.files.__exit__(None, None, None)
    assert not main(["query", "--out", str(folder), "-n", "8", "--new", "--seconds", "0"])
    said = capsys.readouterr()
    assert set(said.out.split()) <= names and "Training on 2 masks" in said.err
    assert "4 images empty by their class" in said.err


@pytest.mark.parametrize(
    "said",
    [
        {"label": "odd", "empty": True},
        {"label": 1, "empty": True},
        {"label": "regular", "empty": 1},
        {"label": "regular"},
    ],
)
def test_rules_that_are_none(ask, project, said):
    assert ask.put("/api/empty", said).status == 400 and "empty" not in project.state


@pytest.mark.parametrize(
    "key, value",
    [("empty", "regular"), ("empty", [1]), ("colors", ["red"]), ("colors", {}), ("empty", {})],
)
def test_a_damaged_state_is_refused(project, key, value):
    project.state[key] = value
    project.write()
    folder = project.folder
    project.files.__exit__(None, None, None)
    with pytest.raises(ProjectError, match=f"'{key}' must be"), open_project(folder):
        pass


# -- what is taken back --


def test_cannot_tell_is_taken_back(ask, project):
    ask.post("/api/images/3/skip")
    assert ask.post("/api/undo", {"id": 3}).json == {"revision": 0}
    assert ask.get("/api/images/3").json["state"] == "open"
    assert "skip" not in [step["command"] for step in project.state["history"]]
    answer = ask.post("/api/undo", {"id": 3})
    assert answer.status == 400 and "nothing to take back" in answer.json["error"]
    assert ask.post("/api/undo", {"id": 8}).status == 404
    ask.post("/api/images/3/skip")
    assert undo(project) == {"command": "skip", "ids": [project.data.ids[3]]}
    assert ask.get("/api/images/3").json["state"] == "open"


# -- two pages on one image --


def draft(ask, page, value=1):
    url, headers = "/api/images/0/draft?revision=0", {"x-alseg-page": page}
    return ask.put(url, bytes([value]) * N, headers=headers)


def look(ask, page):
    return ask.get("/api/images/0/marks", headers={"x-alseg-page": page}).body


def test_of_two_pages_that_draw_on_one_image_none_writes_over_the_other(ask):
    look(ask, "a"), look(ask, "b")
    assert draft(ask, "a", 0).status == 200
    answer = draft(ask, "b", 1)
    assert answer.status == 409 and "Another page is drawing" in answer.json["error"]
    assert look(ask, "c") == bytes(N)
    assert draft(ask, "a", 1).status == 200
    assert draft(ask, "c").status == 409  # it looked before
    assert look(ask, "b") == b"\1" * N
    assert draft(ask, "b", 0).status == 200  # it has seen what is there: it takes over
    assert draft(ask, "a").status == 409
