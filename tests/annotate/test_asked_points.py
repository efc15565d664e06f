"""Asked pixels: drawn fairly, the same again, only where nobody said anything."""

import re

import numpy as np
import pytest
from made_slides import write_slides
from requests_by_hand import Client
from scipy.stats import chisquare

from alseg.annotate.asked_points import asked_points, open_points, random_points, unsure_points
from alseg.annotate.marks import Marks
from alseg.annotate.server import allowed_hosts, make_app
from alseg.labels import MISSING
from alseg.project import keep, open_project
from alseg.training.training_data import mask_tensor

SIZE = (6, 8)


def counted(draw, n_images=3000):
    counts = np.zeros(SIZE)
    for image in range(n_images):
        points = draw(f"image-{image}")
        np.add.at(counts, tuple(points.T), 1)
    return counts


@pytest.mark.parametrize("n", [1, 8, 40])
def test_each_pixel_is_as_likely_as_any_other(n):
    counts = counted(lambda name: random_points(name, SIZE, n))
    assert counts.sum() == 3000 * n
    # Drawn without one twice, counts vary less than independent ones: the test is on the safe side.
    assert chisquare(counts.ravel()).pvalue > 0.01
    if n == 1:
        assert chisquare(counts.ravel()).pvalue < 0.99  # nor too even to be chance


def test_each_open_pixel_is_as_likely_as_any_other():
    mask = np.full(SIZE, MISSING)
    mask[1:4, 2:7] = 1
    counts = counted(lambda name: open_points(name, mask, 5))
    assert (counts[mask != MISSING] == 0).all()
    assert chisquare(counts[mask == MISSING]).pvalue > 0.01


def test_they_are_the_same_again_and_of_each_image_and_seed_their_own():
    points = random_points("a", (522, 775), 20)
    np.testing.assert_array_equal(points, random_points("a", (522, 775), 20))
    assert (points != random_points("b", (522, 775), 20)).any()
    assert (points != random_points("a", (522, 775), 20, seed=1)).any()
    assert (points < (522, 775)).all() and (points >= 0).all()
    # As drawn on the day this was written: what was asked may not change with a version.
    assert random_points("a", (522, 775), 3).tolist() == [
        [346, 345],
        [486, 752],
        [119, 439],
    ]


def test_none_comes_twice_and_the_first_ones_stay():
    points = random_points("a", SIZE, 100)
    assert len(np.unique(points, axis=0)) == len(points) == 48
    for n in (0, 1, 20, 30):
        np.testing.assert_array_equal(random_points("a", SIZE, n), points[:n])


def test_what_is_answered_is_not_asked_and_the_others_keep_their_order():
    mask = np.full(SIZE, MISSING)
    points = random_points("a", SIZE, 48)
    for row, column in points[[0, 2, 30]]:
        mask[row, column] = 1
    np.testing.assert_array_equal(open_points("a", mask, 48), np.delete(points, [0, 2, 30], 0))
    np.testing.assert_array_equal(open_points("a", mask, 2), points[[1, 3]])
    assert open_points("a", np.zeros(SIZE, np.int16), 5).shape == (0, 2)


def test_unsure_ones_lie_where_the_proposal_is_nearest_to_a_half():
    rng = np.random.default_rng(0)
    proposal = rng.integers(0, 256, (40, 50))
    mask = np.full((40, 50), MISSING)
    mask[:20] = 0
    points = unsure_points("a", mask, proposal, 30)
    assert len(np.unique(points, axis=0)) == 30 and (points[:, 0] >= 20).all()
    doubt = np.abs(proposal - 127.5)
    assert doubt[tuple(points.T)].max() <= np.quantile(doubt[20:], 0.1)
    np.testing.assert_array_equal(points, unsure_points("a", mask, proposal, 30))
    assert len(unsure_points("a", np.zeros((4, 5), int), np.zeros((4, 5)), 3)) == 0


def test_unsure_ones_are_spread_where_all_are_alike():
    mask, flat = np.full(SIZE, MISSING), np.full(SIZE, 9)
    counts = counted(lambda name: unsure_points(name, mask, flat, 3))
    assert chisquare(counts.ravel()).pvalue > 0.01


def test_twenty_pixels_of_a_slide_reach_the_network():
    size, canvas = (522, 775), (192, 288)
    mask = np.full(size, MISSING, np.int16)
    points = random_points("slide", size, 20)
    mask[tuple(points.T)] = np.arange(20) % 2
    small = mask_tensor(mask, canvas).numpy()
    assert (small != MISSING).sum() == 20
    where = ((2 * points + 1) * canvas // (2 * np.array(size))).T  # the place each falls into
    np.testing.assert_array_equal(small[tuple(where)], np.arange(20) % 2)


# -- as the page asks for them --


@pytest.fixture
def ask(tmp_path):
    """A client of the application of six images without a mask."""
    write_slides(tmp_path / "slides", 6, SLIDE)
    with open_project(tmp_path / "state", tmp_path / "slides") as project:
        marks = Marks(project)
        client = Client(make_app(marks, "a-token", allowed_hosts("127.0.0.1", 8765), {}), "a-token")
        client.marks = marks
        yield client
        marks.close()


SLIDE = (24, 32)


def test_the_page_gets_pixels_that_no_counted_mark_says(ask):
    name = ask.marks.names[3]
    drawn = random_points(name, SLIDE, 60)
    found = ask.get("/api/images/3/points").json
    assert found == {"points": drawn[:20].tolist(), "unsure": 0, "unknown": []}
    mask = np.full(SLIDE, 255, np.uint8)
    mask[tuple(drawn[:5].T)] = 1
    assert ask.put("/api/images/3/draft?revision=0", mask.tobytes()).status == 200
    assert ask.get("/api/images/3/points").json == found  # who goes on finds the same ones
    ask.put("/api/images/3/marks?revision=0&answer=marks", mask.tobytes())
    assert ask.get("/api/images/3/points?n=7").json["points"] == drawn[5:12].tolist()
    keep(ask.marks.project, {name: np.zeros(SLIDE, np.int16)})
    assert ask.get("/api/images/3/points").json["points"] == []


def test_without_a_proposal_all_are_a_fair_sample(ask):
    found = ask.get("/api/images/1/points?n=10&unsure=5").json
    assert len(found["points"]) == 10 and found["unsure"] == 0


def test_numbers_of_pixels_have_a_limit(ask):
    assert len(ask.get("/api/images/1/points?n=999999999").json["points"]) == 24 * 32
    assert ask.get("/api/images/1/points?n=-1").status == 400
    assert ask.get("/api/images/1/points?n=1.5").status == 400
    assert ask.get("/api/images/6/points").status == 404


def test_a_share_of_them_may_be_where_the_proposal_is_unsure(ask):
    proposal = np.zeros(SLIDE, np.uint8)
    proposal[:, 14:20] = 128
    points, n_unsure = asked_points(ask.marks, 2, 20, 8, proposal.tobytes())
    assert n_unsure == 8 and len(np.unique(points, axis=0)) == 20
    np.testing.assert_array_equal(points[:12], random_points(ask.marks.names[2], SLIDE, 12))
    assert ((points[12:, 1] >= 14) & (points[12:, 1] < 20)).all()
    # On a check nothing but chance may choose.
    name = ask.marks.names[2]
    ask.marks.project.state["checks"] = {name: {}}
    points, n_unsure = asked_points(ask.marks, 2, 20, 8, proposal.tobytes())
    assert n_unsure == 0 and ask.marks.checks.entries()[name] == {"points": 20}
    np.testing.assert_array_equal(points, random_points(name, SLIDE, 20))


def untold(ask, i, at, told=False, revision=None):
    said = {"row": int(at[0]), "column": int(at[1]), "told": told}
    said["revision"] = ask.marks.revision(i) if revision is None else revision
    return ask.put(f"/api/images/{i}/untold", said)


def asked_of(ask, i, n=20):
    found = ask.get(f"/api/images/{i}/points?n={n}").json
    return found["points"], found["unknown"]


def test_what_nobody_can_tell_is_known_until_the_marks_are_saved_and_then_not_asked(ask, tmp_path):
    points = random_points(ask.marks.names[3], SLIDE, 60).tolist()
    for k in (1, 4):
        assert untold(ask, 3, points[k]).status == 200
    assert asked_of(ask, 3) == (points[:20], [1, 4])  # the same ones, and how far one was
    assert untold(ask, 3, points[4], told=True).status == 200
    assert asked_of(ask, 3) == (points[:20], [1])
    mask = np.full(SLIDE, 255, np.uint8)
    mask[tuple(np.transpose(points[2:20]))] = 1
    ask.put("/api/images/3/marks?revision=0&answer=marks", mask.tobytes())
    assert asked_of(ask, 3) == ([points[0], *points[20:39]], [])
    assert untold(ask, 3, points[0]).status == 200
    untold(ask, 3, points[20], revision=0)  # it was on its way when the marks were saved
    expected = [points[0], *points[21:40]], [0]
    assert asked_of(ask, 3) == expected
    folder = ask.marks.project.folder
    with open(folder / ".alseg-untold.jsonl", "ab") as file:
        file.write(b'{"image": 3}\n[]\n{"image": "s3", "at": [99, "x"]}\n{"ima')
    ask.marks.close()
    ask.marks = Marks(ask.marks.project)  # which the fixture closes
    again = Client(make_app(ask.marks, "a-token", allowed_hosts("127.0.0.1", 8765), {}), "a-token")
    again.marks = ask.marks
    assert asked_of(again, 3) == expected
    points, _ = asked_points(ask.marks, 3, 999)
    assert len(points) == 24 * 32 - 18 - 2


def test_a_check_is_asked_by_the_same_pixels_whatever_nobody_can_tell(ask):
    name = ask.marks.names[2]
    ask.marks.project.state["checks"] = {name: {}}
    points = random_points(name, SLIDE, 20).tolist()
    untold(ask, 2, points[7])
    assert asked_of(ask, 2) == (points, [7])


@pytest.mark.parametrize(
    "said, what",
    [
        ({"row": 24}, r"row must be .* 23"),
        ({"column": -1}, r"column must be .* 31"),
        ({"row": 1.5}, "row must be"),
        ({"row": True}, "row must be"),
        ({"told": 1}, "told must be true or false"),
        ({"revision": "0"}, "revision must be"),
        ({"more": 1}, "the body must be a JSON object of"),
    ],
)
def test_a_pixel_that_is_none_is_refused(ask, said, what):
    said = {"row": 0, "column": 0, "revision": 0, "told": False, **said}
    answer = ask.put("/api/images/0/untold", said)
    assert answer.status == 400 and re.search(what, answer.json["error"])
    assert asked_of(ask, 0, 999)[1] == []


def test_a_check_that_is_answered_by_its_points_counts(ask):
    name = ask.marks.names[2]
    ask.marks.project.state["checks"] = {name: {}}
    mask = np.full(SLIDE, 255, np.uint8)
    mask[tuple(np.transpose(ask.get("/api/images/2/points").json["points"]))] = 1
    ask.put("/api/images/2/marks?revision=0&answer=marks", mask.tobytes())
    assert ask.marks.checks.entries()[name]["answer"] == "points"
    assert ask.marks.checks.status(name) == "counted"
