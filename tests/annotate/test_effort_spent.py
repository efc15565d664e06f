"""`alseg report STATE`: what annotating has cost and brought, read while the folder is in use."""

import json
import re

import numpy as np
import pytest
from made_slides import write_slides

from alseg.annotate import spent
from alseg.annotate.cost_log import COSTS
from alseg.annotate.estimates import estimate
from alseg.annotate.marks import Marks
from alseg.cli import main
from alseg.files import NotOurs
from alseg.project import keep, open_project
from alseg.report import write_annotation_report

FAST = {"encoder": "tiny", "max_epochs": 1, "image_size": [24, 32], "device": "cpu"}
SIZE = (24, 32)
N = 24 * 32
WHOLE = bytes(N // 2) + bytes([1]) * (N // 2)
PART = WHOLE[: N - 40] + bytes([255]) * 40


def counts(dice):
    wrong = round(300 * (1 - dice))
    return [[N // 2, wrong], [wrong, 300 - wrong]]


def answer(marks, n, start=0):
    """So many questions, each as long as its number says; checks by points, others as they come."""
    i = marks.next()
    for k in range(start, start + n):
        name, points = marks.names[i], 0
        if marks.checks.status(name) == "open":
            kind, points = "marks", 20
            mask = np.full(SIZE, 255, np.uint8)
            mask[tuple(marks.checks.points(name, SIZE, 20).T)] = 1
            pixels = mask.tobytes()
        else:
            kind, pixels = ("all", WHOLE) if k % 2 else ("marks", PART)
        marks.save(i, marks.revision(i), kind, pixels)
        marks.log(i, 10 + k, 2, 3 + points, points=points, answer=kind)
        found = {name: counts(0.6 + 0.2 * k / 40) for name in marks.checks.held_out()}
        marks.quality.record({"version": k, "n_marked": k, "counts": found})
        i = marks.next(i)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("spent")
    write_slides(place / "slides", 60, SIZE)
    return place


@pytest.fixture
def marks(folder, tmp_path):
    with open_project(tmp_path / "state", folder / "slides", {"estimator": FAST}) as project:
        marks = Marks(project)
        yield marks
        marks.close()


def test_sums_are_those_of_the_lines(marks):
    answer(marks, 34)
    found = spent(marks.project.folder)
    assert found["name"] == "slides" and found["n_images"] == 34
    assert found["minutes"] == pytest.approx(sum(10 + k for k in range(34)) / 60)
    assert found["strokes"] == 68 and found["points"] == 100 and found["clicks"] == 34 * 3 + 100
    assert found["seconds"]["median"] == 26.5
    assert [value for _, value in found["seconds"]["longest"]] == [43, 42, 41, 40, 39]
    kinds = {row["name"]: row for row in found["kinds"]}
    assert set(kinds) == {"only what was marked", "all of it right"}
    assert kinds["only what was marked"]["times"] + kinds["all of it right"]["times"] == 34
    for rows in (found["kinds"], found["labels"]):
        assert sum(row["minutes"] for row in rows) == pytest.approx(found["minutes"])
    assert {row["name"] for row in found["labels"]} == {"irregular", "regular"}
    marked = {row["name"]: row["images"] for row in found["marks"]}
    assert marked["whole"] + marked["a part"] == 34 and marked["checks, by points"] == 5


def test_the_estimates_are_those_of_the_page(marks):
    answer(marks, 40)
    found = spent(marks.project.folder)
    standing = marks.quality.standing()
    standing.pop("n_counted")
    assert found["quality"] == standing
    assert len(found["checks"]) == standing["n_checks"] == len(found["check_minutes"])
    last = [counts(0.6 + 0.2 * 39 / 40)] * standing["n_checks"]
    dice, iou, accuracy = found["estimates"]
    assert dice["value"] == pytest.approx(standing["dice"])
    assert iou["value"] == pytest.approx(estimate(last, "iou").value)
    assert accuracy["value"] == pytest.approx(estimate(last, "accuracy").value)
    assert {row["answer"] for row in found["checks"]} == {"points"}


def test_the_command_reads_while_the_folder_is_open(marks, capsys):
    answer(marks, 40)
    before = {p: p.read_bytes() for p in marks.project.folder.rglob("*") if p.is_file()}
    assert main(["report", str(marks.project.folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert re.match(r"Dice \d+ \(\d+ to \d+\) from 6 checks; about \d+ after 10 more min", lines[0])
    assert "active minutes on 40 images: 80 strokes" in lines[1]
    page = marks.project.folder / "report.html"
    assert lines[2] == str(page)
    after = {p: p.read_bytes() for p in marks.project.folder.rglob("*") if p.is_file()}
    html = after.pop(page).decode()
    assert after == before  # nothing else was touched
    assert "Annotation of slides" in html and html.count("<svg") == 2
    assert "Dice against minutes" in html and not re.search(r'(src|href)="(?!#)', html)
    answer(marks, 1, start=40)  # the page goes on, and the report is made anew
    assert main(["report", str(marks.project.folder)]) == 0


def test_a_folder_without_a_check_or_a_line_has_a_report_too(marks, capsys, tmp_path):
    output = tmp_path / "early.html"
    assert main(["report", str(marks.project.folder), "-o", str(output)]) == 0
    assert "No check has been measured yet." in capsys.readouterr().out
    assert "nothing is known of the model" in output.read_text()


def test_of_masks_that_came_as_files_no_minutes_are_told(marks, capsys):
    keep(marks.project, {name: np.zeros(SIZE, int) for name in marks.names[:3]})
    assert main(["report", str(marks.project.folder)]) == 0
    said = capsys.readouterr().out
    page = (marks.project.folder / "report.html").read_text()
    assert said.splitlines()[1] == "3 images with a mask." and "3 images with a mask." in page
    body = re.sub("<style>.*?</style>", "", page, flags=re.DOTALL)
    for word in ("minute", "click", "0 images"):
        assert word not in said and word not in body


def test_old_and_damaged_lines_are_read(marks):
    marks.close()
    path = marks.project.folder / COSTS
    old = {"image": "a<b>", "revision": 1, "seconds": 30, "strokes": 4, "clicks": 9, "time": ""}
    path.write_text(json.dumps(old) + '\n{"seconds": "x", "strokes": true}\n[1]\n{"sec')
    found = spent(marks.project.folder)
    assert found["minutes"] == 0.5 and found["strokes"] == 4 and found["n_images"] == 1
    assert found["kinds"][0]["name"] == "of an earlier version"
    html = write_annotation_report(marks.project.folder / "r.html", found).read_text()
    assert "a&lt;b&gt;" in html and "a<b>" not in html


def test_what_is_in_the_way_stays(marks, capsys):
    page = marks.project.folder / "report.html"
    page.write_text("mine")
    with pytest.raises(NotOurs):
        write_annotation_report(page, spent(marks.project.folder))
    assert main(["report", str(marks.project.folder)]) != 0
    assert page.read_text() == "mine"
    assert main(["report", str(marks.project.folder), "-o", "table.csv"]) == 2
    assert "must end in .html" in capsys.readouterr().err
