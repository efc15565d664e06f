"""What the state folder keeps of checks and proposals, and what a page is told of them."""

import dataclasses
import json

import numpy as np
import pytest
from made_slides import write_slides
from requests_by_hand import Client

from alseg.annotate.cost_log import COSTS
from alseg.annotate.effort_spent import spent
from alseg.annotate.estimates import estimate
from alseg.annotate.marks import Marks
from alseg.annotate.quality import QUALITY, Quality, proposed_classes
from alseg.annotate.server import allowed_hosts, make_app
from alseg.files import FolderInUse
from alseg.project import open_project
from alseg.report import write_annotation_report

FAST = {"encoder": "tiny", "max_epochs": 1, "image_size": [24, 32], "device": "cpu"}
SIZE = (24, 32)
N = 24 * 32
WHOLE = bytes(N // 2) + bytes([1]) * (N // 2)


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality") / "slides"
    write_slides(folder, 60, SIZE)
    return folder


@pytest.fixture
def project(slides, tmp_path):
    with open_project(tmp_path / "state", slides, {"estimator": FAST}) as project:
        yield project


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def marks(project):
    marks = Marks(project)
    yield marks
    marks.close()


def counts(dice):
    wrong = round(300 * (1 - dice))
    return [[N // 2, wrong], [wrong, 300 - wrong]]


def answer(marks, n):
    """Answers so many questions; half a minute each."""
    i = marks.next()
    for _ in range(n):
        marks.save(i, marks.revision(i), "all", WHOLE)
        marks.log(i, 30, 2, 5, answer="all")
        i = marks.next(i)
    return i


def told(marks, version, dice):
    found = {name: counts(dice - 0.01 * k) for k, name in enumerate(marks.checks.held_out())}
    marks.quality.record({"version": version, "n_marked": marks.n_answered(), "counts": found})


def lines(project):
    return [json.loads(line) for line in (project.folder / QUALITY).read_text().splitlines()]


def test_nothing_is_said_before_there_is_a_check(marks):
    app = make_app(marks, "t", allowed_hosts("127.0.0.1", 8765), {"index.html": b""})
    found = Client(app, "t").get("/api/standing").json["quality"]
    assert found["n_checks"] == found["n_counted"] == 0 and found["dice"] is None
    assert found["curve"] == [] and found["forecast"] is None and found["agreement"] is None
    assert found["advice"] == {"stop": False, "text": ""}


def test_the_number_is_the_estimate_of_the_checks(marks):
    answer(marks, 34)
    assert len(marks.checks.counted()) == 5
    told(marks, 1, 0.8)
    found = marks.quality.standing()
    expected = estimate([counts(0.8 - 0.01 * k) for k in range(5)], n_images=60 - 34 + 5)
    assert (found["dice"], found["low"], found["high"]) == pytest.approx(expected[:3])
    assert found["n_checks"] == 5 and found["curve"] == [pytest.approx([17.0, *expected[:3]])]
    assert found["forecast"] is None and found["n_counted"] == 5
    answer(marks, 3)
    told(marks, 2, 0.83)
    answer(marks, 3)
    told(marks, 3, 0.84)
    found = marks.quality.standing()
    assert [point[0] for point in found["curve"]] == [17, 18.5, 20]
    assert found["forecast"]["n_checks"] == found["n_checks"] and found["advice"]["text"]
    json.dumps(found, allow_nan=False)


def test_a_line_for_each_mark_and_else_one_a_minute(project):
    clock, minutes = Clock(), Clock()
    marks = Marks(project)
    answer(marks, 10)
    marks.quality.close()
    quality = Quality(project, marks.checks, minutes, clock=clock)
    (name,) = marks.checks.held_out()
    for second in range(0, 200, 5):
        clock.now, minutes.now = second, second / 60
        dice = 0.5 + second / 1000
        n_marked = 10 + second // 100
        found = {"version": second, "n_marked": n_marked, "counts": {name: counts(dice)}}
        quality.record(found)
    assert [line["version"] for line in lines(project)] == [0, 60, 100, 160]
    latest = quality.standing()  # what is not written yet is known
    assert latest["dice"] == pytest.approx(estimate([counts(0.5 + 195 / 1000)]).value)
    quality.record({"version": 9, "n_marked": 12, "counts": {}})
    assert len(lines(project)) == 4
    quality.close()
    marks.close()


def test_what_was_said_is_known_again(slides, tmp_path):
    folder = tmp_path / "state"
    with open_project(folder, slides, {"estimator": FAST}) as project:
        marks = Marks(project)
        answer(marks, 34)
        told(marks, 1, 0.7)
        before = marks.quality.standing()
        with pytest.raises(FolderInUse):
            Quality(project, marks.checks, lambda: 0)
        marks.close()
    with open(folder / QUALITY, "ab") as file:
        file.write(b'{"minutes": 3, "counts": {"x": [[1, "a"]]}}\n{"counts": 7}\n[]\n{"mi')
    with open_project(folder) as project:
        marks = Marks(project)
        assert marks.quality.standing() == before
        told(marks, 2, 0.75)
        assert marks.quality.standing()["dice"] > before["dice"]
        assert lines_that_parse(project)[-1]["version"] == 2
        assert lines_that_parse(project)[-1]["minutes"] == pytest.approx(17)
        marks.close()


def lines_that_parse(project):
    return [json.loads(line) for line in (project.folder / QUALITY).read_text().splitlines()[-1:]]


def test_images_of_a_patient_are_one_observation(marks, project, tmp_path):
    answer(marks, 34)
    names = marks.checks.counted()
    groups = np.full(len(project.data), "", dtype=object)
    groups[[project.positions[name] for name in names]] = ["p1", "p2", "p1", "p3", "nan"]
    project.data = dataclasses.replace(project.data, groups=groups)
    told(marks, 1, 0.8)
    assert lines(project)[-1]["groups"] == dict(zip(names, ["p1", "p2", "p1", "p3"]))
    found = marks.quality.standing()
    expected = estimate(
        [counts(0.8 - 0.01 * k) for k in range(5)],
        n_images=60 - 34 + 5,
        groups=["p1", "p2", "p1", "p3", None],
    )
    assert (found["n_checks"], found["n_groups"]) == (5, 4) == expected[3:]
    assert (found["low"], found["high"]) == pytest.approx(expected[1:3])
    report = spent(project.folder)
    assert report["quality"]["low"] == found["low"]
    assert report["estimates"][0]["low"] == pytest.approx(found["low"])
    write_annotation_report(tmp_path / "report.html", report)
    assert "by 5 checks of 4 groups" in (tmp_path / "report.html").read_text()


def test_a_target_that_is_reached_is_told(marks):
    marks.quality.target = 0.3
    answer(marks, 34)
    told(marks, 1, 0.8)
    found = marks.quality.standing()
    assert found["low"] > 0.3 and found["advice"]["stop"] and "target" in found["advice"]["text"]
    marks.quality.target = 0.79
    told(marks, 2, 0.8)
    assert not marks.quality.standing()["advice"]["stop"]


def test_a_check_that_is_taken_back_says_nothing_any_more(marks, project):
    from alseg.project import undo

    answer(marks, 34)
    told(marks, 1, 0.8)
    name = marks.checks.counted()[-1]
    while name in project.state["masks"]:
        undo(project)
    assert marks.quality.standing()["n_checks"] == 4


def test_checks_that_train_again_say_nothing_of_later_versions(marks):
    """Each record has the checks held out at its time, and the last one gives the number."""
    answer(marks, 34)
    told(marks, 1, 0.8)
    held_out = marks.checks.held_out()
    found = {name: counts(0.6) for name in held_out[2:]}
    marks.quality.record({"version": 2, "n_marked": 99, "counts": found})
    assert marks.quality.standing()["n_checks"] == 3


def test_agreement_is_of_images_that_are_no_checks(marks):
    i = marks.next()
    proposal = bytes([200]) * N
    marks.save(i, 0, "all", WHOLE, proposal)
    marks.save(i, 1, "all", WHOLE, proposal)  # looked at again: it agreed with what it was
    found = marks.quality.standing()["agreement"]
    assert found == {"n": 1, "dice": pytest.approx(2 * 0.5 / 1.5)}
    while marks.checks.status(marks.names[i]) != "open":
        i = marks.next(i)
    marks.save(i, 0, "all", WHOLE, proposal)
    assert marks.quality.standing()["agreement"]["n"] == 1


def test_what_bytes_of_several_classes_propose():
    found = proposed_classes(bytes([0, 255, 130, 127, 2, 2, 1, 1]), (2, 2))
    np.testing.assert_array_equal(found, [[0, 2], [1, 0]])


def test_minutes_are_those_of_the_cost_log(slides, tmp_path):
    folder = tmp_path / "state"
    with open_project(folder, slides, {"estimator": FAST}) as project:
        marks = Marks(project)
        marks.log(0, 90, 1, 1)
        marks.close()
    with open(folder / COSTS, "ab") as file:
        file.write(b'{"image": "old", "seconds": 30}\n{"seconds": "x"}\n{"seconds": 1e99}\n')
    with open_project(folder) as project:
        marks = Marks(project)
        answer(marks, 10)
        told(marks, 1, 0.8)
        assert lines(project)[-1]["minutes"] == pytest.approx(2 + 5)
        marks.close()
