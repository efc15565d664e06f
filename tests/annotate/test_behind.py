"""What learns behind the pen as the server sees it, with a process that only pretends."""

import threading

import numpy as np
import pytest
from made_slides import write_slides
from requests_by_hand import Client
from waiting import wait_until

from alseg.annotate.behind import OFF, Behind
from alseg.annotate.marks import Marks
from alseg.annotate.server import allowed_hosts, make_app
from alseg.project import ask_at_once, keep, open_project

SIZE = (24, 32)
TOKEN = "a-token"


class Pretend:
    """A process that does nothing but what a test makes it say."""

    def __init__(self, hear, ended):
        self.hear, self.ended, self.told, self.closed = hear, ended, [], False

    def send(self, message):
        self.told.append(message)

    def kinds(self):
        return [message["kind"] for message in self.told]

    def says(self, kind, pixels=b"", **message):
        self.hear({"kind": kind, **message}, pixels)

    def learned(self, version=1, n_marked=1):
        self.says("model", version=version, n_marked=n_marked, source="slices", proposes=True)

    def proposes(self, i, pixels, version=1, uncertainty=0.5):
        frame = [1, 2, 8, 11]
        self.says("proposed", pixels, id=i, version=version, uncertainty=uncertainty, frame=frame)

    def close(self):
        self.closed = True


class Desk:
    """A project, its marks, what is behind them, and the processes that were started."""

    def __init__(self, project, **options):
        self.started, self.now = [], 0.0
        self.project, self.marks = project, Marks(project)
        self.behind = Behind(
            project,
            self.marks.checks.held_out,
            on_unreadable=self.marks.headers.note_broken,
            start=self.start,
            clock=lambda: self.now,
            **options,
        )
        self.marks.changed, self.marks.scores = self.behind.changed, self.behind.scores
        app = make_app(self.marks, TOKEN, allowed_hosts("127.0.0.1", 8765), {}, self.behind)
        self.ask = Client(app, TOKEN)

    def start(self, hear, ended):
        self.started.append(Pretend(hear, ended))
        return self.started[-1]

    def mark(self, i):
        pixels = np.full(SIZE, 255, np.uint8)
        pixels[4:9, 5:20] = 1
        revision = self.marks.revision(i)
        url = f"/api/images/{i}/marks?revision={revision}&answer=marks"
        assert self.ask.put(url, pixels.tobytes()).status == 200

    @property
    def child(self):
        wait_until(lambda: self.started and self.started[-1].told)
        return self.started[-1]


@pytest.fixture
def project(tmp_path):
    write_slides(tmp_path / "slides", 6, SIZE)
    with open_project(tmp_path / "state", tmp_path / "slides") as project:
        yield project


@pytest.fixture
def desk(project):
    desk = Desk(project)
    yield desk
    desk.behind.close()
    desk.marks.close()


def test_nothing_is_started_before_there_is_something_to_learn(desk):
    first = desk.ask.get("/api/next").json
    assert first["proposal"] is False and first["version"] is None and first["frame"] is None
    found = desk.ask.get("/api/standing").json["training"]
    assert found["state"] == "waiting" and found["n_marked"] == 0
    assert desk.ask.get(f"/api/images/{first['id']}/proposal").status == 404
    assert not desk.started


def test_it_is_started_when_somebody_draws_so_that_it_is_ready(desk):
    first = desk.ask.get("/api/next").json["id"]
    pixels = np.full(SIZE, 255, np.uint8)
    pixels[4:9, 5:20] = 1
    for _ in range(2):
        url = f"/api/images/{first}/draft?revision=0"
        assert desk.ask.put(url, pixels.tobytes()).status == 200
        wait_until(lambda: desk.child.kinds()[:3] == ["start", "changed", "next"])
    desk.mark(first)
    wait_until(lambda: desk.child.kinds()[-1] == "changed")
    assert len(desk.started) == 1


def test_it_is_told_of_the_project_then_of_marks_and_of_what_is_opened_next(desk, project):
    first = desk.ask.get("/api/next").json["id"]
    desk.mark(first)
    child = desk.child
    wait_until(lambda: len(child.told) >= 3)
    assert child.kinds()[:3] == ["start", "changed", "next"]
    start, changed, opened = child.told[:3]
    assert start["folder"] == str(project.folder.resolve()) and start["version"] == 0
    assert changed["options"] == project.state["options"] and changed["held_out"] == []
    assert opened["ids"][0] == first
    following = desk.ask.get(f"/api/next?after={first}").json["id"]
    assert child.told[-1] == {"kind": "next", "ids": child.told[-1]["ids"]}
    assert child.told[-1]["ids"][0] == following and first not in child.told[-1]["ids"]
    desk.mark(following)
    assert child.kinds()[-1] == "changed" and len(desk.started) == 1


def test_checks_are_not_learned_from(desk, monkeypatch):
    monkeypatch.setattr(desk.behind, "held_out", lambda: ["s3"])
    desk.mark(0)
    wait_until(lambda: "changed" in desk.child.kinds())
    assert next(m for m in desk.child.told if m["kind"] == "changed")["held_out"] == ["s3"]


def test_a_proposal_is_shown_with_where_it_is_unsure(desk):
    desk.mark(0)
    desk.child.learned()
    pixels = bytes(range(256)) * 3
    desk.child.proposes(2, pixels, uncertainty=0.25)
    found = desk.ask.get("/api/images/2").json
    assert found["proposal"] is True and found["version"] == 1 and found["uncertainty"] == 0.25
    assert found["frame"] == [1, 2, 8, 11]
    answer = desk.ask.get("/api/images/2/proposal")
    assert answer.body == pixels and answer.headers["x-alseg-version"] == "1"
    desk.child.learned(version=2)
    desk.child.proposes(2, pixels[::-1], version=2)
    assert desk.ask.get("/api/images/2/proposal").body == pixels[::-1]


def test_who_asks_for_a_proposal_waits_until_it_comes(desk):
    desk.mark(0)
    desk.child.learned()
    found = []
    thread = threading.Thread(target=lambda: found.append(desk.behind.proposal(4, wait=1800)))
    thread.start()
    wait_until(lambda: {"kind": "wanted", "ids": [4]} in desk.child.told)
    desk.child.proposes(4, b"pixels")
    thread.join()
    assert found == [(1, b"pixels")]
    thread = threading.Thread(target=lambda: found.append(desk.behind.proposal(5, wait=1800)))
    thread.start()
    wait_until(lambda: {"kind": "wanted", "ids": [5]} in desk.child.told)
    desk.child.says("proposed", id=5, version=1, error="it cannot be read")
    thread.join()
    assert found[1] is None


def test_proposals_in_memory_are_bounded_and_those_asked_for_last_stay(desk, monkeypatch):
    monkeypatch.setattr("alseg.annotate.behind._BYTES", 100)
    desk.mark(0)
    desk.child.learned()
    for i in range(3):
        desk.child.proposes(i, bytes(40), uncertainty=i / 10)
    assert [desk.behind.version(i) for i in range(3)] == [None, 1, 1]
    desk.behind.proposal(1)
    desk.child.proposes(3, bytes(40))
    assert [desk.behind.version(i) for i in range(4)] == [None, 1, None, 1]
    assert desk.behind.uncertainty(0) == 0  # numbers are kept of all


def test_one_that_dies_is_started_again_and_told_everything(desk):
    desk.mark(0)
    desk.child.learned(version=7)
    desk.child.proposes(2, b"before", version=7)
    desk.now = 100.0
    desk.child.ended()
    wait_until(lambda: len(desk.started) == 2)
    wait_until(lambda: desk.child.kinds() == ["start", "changed", "next"])
    assert desk.child.told[0]["version"] == 7  # versions go on
    assert desk.behind.version(2) == 7 and not desk.behind.there
    desk.child.learned(version=8)
    assert desk.behind.there


def test_one_that_dies_at_once_is_given_up_and_the_page_is_told(desk):
    desk.mark(0)
    for n in range(1, 4):
        wait_until(lambda n=n: len(desk.started) == n)
        desk.child.ended()
    found = desk.behind.standing()
    assert found["state"] == "failed" and "3 times" in found["error"]
    desk.mark(1)
    assert len(desk.started) == 3 and desk.marks.n_answered() == 2


def test_deaths_far_apart_do_not_count(desk):
    desk.mark(0)
    for n in range(1, 6):
        wait_until(lambda n=n: len(desk.started) == n)
        desk.child.told.clear()
        desk.now += 1000
        desk.started[-1].ended()
    wait_until(lambda: len(desk.started) == 6)


def test_what_it_says_of_checks_is_handed_on(desk):
    told = []
    desk.behind.on_checked = told.append
    desk.mark(0)
    record = {"version": 3, "n_marked": 5, "counts": {"s2": [[7, 1], [0, 2]]}}
    desk.child.says("checked", **record)
    assert told == [record]


def test_a_pause_begins_a_full_fit_once_and_going_on_ends_it(desk):
    desk.mark(0)
    desk.now = 61.0
    assert "fit" not in desk.child.kinds()  # of a single image
    desk.mark(1)
    desk.now = 130.0
    wait_until(lambda: "fit" in desk.child.kinds())
    standing = {"state": "full fit", "text": "", "done": 0, "total": 0, "seconds_left": None}
    desk.child.says("standing", **standing)
    desk.ask.post("/api/log", {"id": 0, "seconds": 1, "strokes": 0, "clicks": 0})
    assert desk.child.kinds()[-1] == "active"
    desk.child.says("standing", **{**standing, "state": "waiting"})
    desk.now = 1000.0
    desk.mark(2)
    assert desk.child.kinds().count("fit") == 1
    desk.now = 1061.0
    wait_until(lambda: desk.child.kinds().count("fit") == 2)
    desk.now = 1200.0
    desk.child.says("abandoned")
    wait_until(lambda: desk.child.kinds().count("fit") == 3)  # of the same marks


def test_a_full_fit_is_kept_as_the_model_of_the_project(desk, project):
    for name in ("model-old", "model-new"):
        (project.folder / name).mkdir()
        (project.folder / name / "model.json").write_text("{}")
    project.files.adopt("model-old")
    desk.mark(0)
    desk.child.says("fitted", model="model-new", n_marked=1)
    assert not (project.folder / "model-old").exists()
    assert "model-new/model.json" in project.files.names()


def test_questions_are_asked_by_what_it_has_looked_at(desk, project):
    desk.mark(0)
    desk.child.learned(n_marked=1)
    for i in range(1, 5):
        desk.child.proposes(i, b"", uncertainty=0.9 if i == 3 else 0.1 * i)
    first = desk.ask.get("/api/next").json
    asked = [project.positions[name] for name in project.pending()]
    assert sorted(asked) == [1, 2, 3, 4] and first["uncertainty"] is not None
    assert first["why"] == (
        "Among the 100 % of 4 images that are least certain to the model behind the pen, which "
        "has learned from 1 marked image."
    )


def test_the_least_certain_come_first_and_the_reason_says_among_how_many(desk, project):
    desk.mark(0)
    desk.child.learned(n_marked=1)
    for i in range(1, 6):
        desk.child.proposes(i, b"", uncertainty=0.9 if i == 3 else 0.1 * i)
    found = ask_at_once(project, 1, *desk.behind.scores())
    assert found["ids"] == [project.data.ids[3]]
    assert found["why"].startswith("Among the 20 % of 5 images that are least certain")


def asked_among(desk):
    return sorted(desk.project.positions[name] for name in desk.behind.scores()[0])


def test_only_what_the_newest_versions_saw_is_asked_about(desk, monkeypatch):
    monkeypatch.setattr("alseg.annotate.behind._ENOUGH", 3)
    assert asked_among(desk) == []
    desk.mark(0)
    for version, ids in enumerate([[1, 0], [2], [3, 4]], start=1):
        desk.child.learned(version)
        for i in ids:
            desk.child.proposes(i, b"", version, uncertainty=1 / version)
    assert asked_among(desk) == [2, 3, 4]  # of three versions two have looked at enough
    desk.child.proposes(1, b"", version=3)
    assert asked_among(desk) == [1, 3, 4]
    desk.mark(1)
    assert asked_among(desk) == [2, 3, 4]  # what is marked is not open


def test_the_gallery_has_what_older_versions_saw_behind_what_newer_ones_saw(desk, monkeypatch):
    monkeypatch.setattr("alseg.annotate.behind._ENOUGH", 2)
    assert desk.behind.older() == set()
    desk.mark(0)
    for version, ids in enumerate([[1, 0], [2, 4], [3]], start=1):
        desk.child.learned(version)
        for i in ids:
            desk.child.proposes(i, b"", version, uncertainty=1 / (version + i))
    assert desk.behind.older() == {0, 1}
    found = desk.ask.get("/api/gallery?sort=uncertainty").json
    assert [image["id"] for image in found["images"]] == [2, 3, 4, 0, 1, 5]
    assert found["looked"] == {"newest": 3, "older": 2, "none": 1}
    desk.child.says("model", version=4, n_marked=1, source="full", proposes=True)
    assert desk.behind.older() == {0, 1, 2, 3, 4}  # slices and full fits are not compared


def test_what_it_cannot_decode_is_known_in_the_gallery_until_the_file_changes(desk):
    desk.mark(0)
    why = "its end is missing"
    desk.child.says("unreadable", id=4, error=why)
    (found,) = desk.ask.get("/api/gallery?state=unreadable").json["images"]
    assert found["id"] == 4 and found["error"] == why
    with open(desk.marks.images.path(4), "ab") as file:
        file.write(b"\0")
    assert desk.ask.get("/api/gallery?state=unreadable").json["total"] == 0


def test_scores_of_slices_and_of_a_full_fit_are_not_mixed(desk):
    desk.mark(0)
    desk.child.learned(version=1)
    desk.child.proposes(1, b"", version=1)
    desk.child.says("model", version=2, n_marked=1, source="full", proposes=True)
    assert asked_among(desk) == []
    desk.child.proposes(2, b"", version=2)
    desk.child.says("model", version=3, n_marked=1, source="slices", proposes=False)
    assert asked_among(desk) == [2]
    desk.child.learned(version=4)
    desk.child.proposes(3, b"", version=4)
    assert asked_among(desk) == [3]


def test_a_project_that_asks_at_random_goes_on_so(desk, project):
    project.state["options"]["strategy"] = "random-sampling"
    desk.mark(0)
    desk.child.learned(n_marked=1)
    desk.child.proposes(3, b"", uncertainty=0.9)
    found = ask_at_once(project, 4, *desk.behind.scores())
    assert len(found["ids"]) == 4
    assert found["why"] == "Drawn at random, the classes alike: so this project asks."


def test_predicting_all_is_asked_for_and_asked_again_of_a_new_process(desk, project):
    answer = desk.ask.post("/api/predict")
    assert answer.json["out"] == str(project.folder / "predicted")
    wait_until(lambda: "predict" in desk.child.kinds())
    found = desk.ask.get("/api/standing").json["predict"]
    assert found["running"] and not found["ready"] and found["out"] is None
    desk.now = 100.0
    desk.child.ended()
    wait_until(lambda: len(desk.started) == 2 and "predict" in desk.child.kinds())
    desk.child.says("predicted", error="the disk is full")
    found = desk.ask.get("/api/standing").json["predict"]
    assert not found["running"] and found["error"] == "the disk is full"
    assert (project.folder / "predicting.json").is_file()  # what is there is not all
    desk.ask.post("/api/predict")
    desk.child.says("predicted", error=None)
    assert not (project.folder / "predicting.json").exists()
    desk.now = 200.0
    desk.mark(0)
    desk.child.ended()
    wait_until(lambda: len(desk.started) == 3 and "next" in desk.child.kinds())
    assert "predict" not in desk.child.kinds()


def test_the_end_ends_the_process(project):
    desk = Desk(project)
    desk.mark(0)
    child = desk.child
    desk.behind.close()
    child.ended()
    assert child.closed and len(desk.started) == 1
    desk.marks.close()


def test_without_training_the_page_is_told(project):
    marks = Marks(project)
    client = Client(make_app(marks, TOKEN, allowed_hosts("127.0.0.1", 8765), {}), TOKEN)
    assert client.get("/api/standing").json["training"] == OFF
    assert client.post("/api/predict").status == 409
    marks.close()


def test_masks_of_alseg_add_are_something_to_learn_from(project):
    keep(project, {str(project.data.ids[0]): np.ones(SIZE, np.int16)})
    desk = Desk(project)
    desk.ask.get("/api/next")
    assert desk.child.kinds()[0] == "start"
    desk.behind.close()
    desk.marks.close()


def test_other_classes_make_proposals_anew(desk, project):
    desk.mark(0)
    desk.child.learned()
    desk.child.proposes(2, b"of one class")
    project.state["options"]["estimator"]["n_mask_classes"] = 3
    desk.behind.changed()
    assert not desk.behind.there and desk.behind.version(2) is None
    assert desk.behind.uncertainty(2) is None
    assert desk.child.told[-1]["options"]["estimator"]["n_mask_classes"] == 3
