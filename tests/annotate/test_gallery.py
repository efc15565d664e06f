"""The gallery's list, and what lies over its thumbnails."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_slides import write_slides
from PIL import Image
from requests_by_hand import Client

from alseg.annotate.headers import Headers
from alseg.annotate.listing import Listing, folders_apart
from alseg.annotate.marks import Marks
from alseg.annotate.overlays import agreement, of_difference, of_mask
from alseg.annotate.server import allowed_hosts, make_app
from alseg.project import keep, open_project

SIZE = (24, 32)
NAMES = ["a1", "a2", "a10", "B3", "b4", "c"]


@pytest.fixture
def marks(tmp_path):
    """Six images without a mask: three of a class "one", three of "two"."""
    for k, name in enumerate(NAMES):
        place = tmp_path / "slides" / "images" / ("one" if k % 2 else "two")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1], (40 * k, 99, 99)).save(place / f"{name}.png")
    with open_project(tmp_path / "state", tmp_path / "slides") as project:
        marks = Marks(project)
        yield marks
        marks.close()


@pytest.fixture
def ask(marks):
    return Client(make_app(marks, "t", allowed_hosts("127.0.0.1", 8765), {}), "t")


def names(found):
    return [image["name"] for image in found["images"]]


def at(marks, name):
    return marks.names.index(name)


def save(marks, *which, value=0):
    for name in which:
        mask = np.full(SIZE, 0)
        mask[0, 0] = value
        keep(marks.project, {name: mask})


def test_names_stand_in_the_order_of_their_numbers(ask):
    found = ask.get("/api/gallery").json
    assert names(found) == NAMES and found["total"] == found["all"] == 6 and found["at"] is None
    assert names(ask.get("/api/gallery?offset=2&limit=3").json) == NAMES[2:5]
    assert names(ask.get("/api/gallery?offset=9").json) == []
    assert {image["width"] for image in found["images"]} == {32}


PARTS = st.lists(st.sampled_from(["a", "b", "1"]), min_size=1, max_size=5).map("/".join)


@given(st.lists(PARTS, unique=True))
def test_folders_tell_names_apart_and_no_more_than_do(names):
    folders = folders_apart(names)
    lasts = [name.split("/")[-1] for name in names]
    assert len({*zip(folders, lasts)}) == len(names)
    for name, folder, last in zip(names, folders, lasts):
        shown = f"{folder}/{last}" if folder else last
        assert f"/{name}".endswith(f"/{shown}")
        if folder:  # a folder less, and another name would end alike
            less = shown.partition("/")[2]
            assert sum(f"/{other}".endswith(f"/{less}") for other in names) > 1


def test_names_that_end_alike_come_with_their_folders(tmp_path):
    for place in ("x/1", "y/1", "y/2"):
        path = tmp_path / "slides" / "images" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(path)
    with open_project(tmp_path / "state", tmp_path / "slides") as project:
        found = Listing(Marks(project)).page()["images"]
    told = [(image["name"].split("/")[-1], image["folder"]) for image in found]
    assert sorted(told) == [("1", "x"), ("1", "y"), ("2", "")]


def test_a_state_a_label_and_a_part_of_the_name(ask, marks):
    save(marks, "a1")
    save(marks, "B3", value=-1)
    ask.post(f"/api/images/{at(marks, 'c')}/skip")
    asked = ask.get("/api/next").json["name"]  # asks for five at once
    n_asked = len(marks.asked())
    found = ask.get("/api/gallery").json
    states = {image["name"]: image["state"] for image in found["images"]}
    assert states["a1"] == "done" and states["B3"] == "marked" and states["c"] == "skipped"
    assert states[asked] == "asked"
    counts = found["counts"]
    assert counts["asked"] == len([s for s in states.values() if s == "asked"]) <= n_asked
    assert sum(counts.values()) == 6 and counts["check"] == counts["unreadable"] == 0
    for state in set(states.values()):
        found = ask.get(f"/api/gallery?state={state}").json
        assert set(names(found)) == {name for name in states if states[name] == state}
        assert found["counts"] == counts and found["all"] == 6  # whatever is chosen of them
    one = ask.get("/api/gallery?label=one").json
    assert names(one) == ["a2", "B3", "c"] and sum(one["counts"].values()) == one["all"] == 3
    assert names(ask.get("/api/gallery?find=A1").json) == ["a1", "a10"]
    assert names(ask.get("/api/gallery?find=b&label=two&state=open").json) in ([], ["b4"])
    assert names(ask.get("/api/gallery?label=").json) == []


def test_the_orders(marks):
    uncertain = {"a2": 0.1, "c": 0.9, "a10": 0.5}
    listing = Listing(marks, uncertainty=lambda i: uncertain.get(marks.names[i]))
    assert names(listing.page(sort="uncertainty")) == ["c", "a10", "a2", "a1", "B3", "b4"]
    marks.project.state["rounds"] = [{"round": 1, "ids": ["c", "gone", "a2"], "why": "x"}]
    assert names(listing.page(sort="asked")) == ["c", "a2", "a1", "a10", "B3", "b4"]
    save(marks, "b4", "a1", "c", "b4")
    assert names(listing.page(sort="newest")) == ["b4", "c", "a1", "a2", "a10", "B3"]
    assert listing.page(sort="newest", around=at(marks, "c"))["at"] == 1
    assert listing.page(state="done", around=at(marks, "a2"))["at"] is None


def test_uncertainty_of_older_models_stands_behind_that_of_newer_ones(marks):
    uncertain = {"a2": 0.1, "c": 0.9, "a10": 0.5, "B3": 0.3}
    listing = Listing(
        marks,
        uncertainty=lambda i: uncertain.get(marks.names[i]),
        older=lambda: {at(marks, "c"), at(marks, "B3")},
    )
    found = listing.page(sort="uncertainty")
    assert names(found) == ["a10", "a2", "c", "B3", "a1", "b4"]
    assert [image["older"] for image in found["images"]] == [False, False, True, True, False, False]
    assert found["looked"] == {"newest": 2, "older": 2, "none": 2}
    assert listing.page(find="a")["looked"] == {"newest": 2, "older": 0, "none": 1}


def test_checks_are_counted_beside_their_state(marks):
    checks = {at(marks, "a1"): "open", at(marks, "c"): "counted"}
    listing = Listing(marks, check=checks.get)
    found = listing.page()
    assert found["counts"]["check"] == 2 and found["counts"]["open"] == 6
    assert names(listing.page(state="check")) == ["a1", "c"]
    assert [image["check"] for image in found["images"]][:2] == ["open", None]


def test_what_a_rule_calls_empty_is_told_apart_from_what_somebody_marked(marks):
    save(marks, "a1")
    marks.set_empty("two", True)
    found = {image["name"]: image for image in Listing(marks).page(state="done")["images"]}
    assert {name: image["ruled"] for name, image in found.items()} == {
        "a1": False,
        "a10": True,
        "b4": True,
    }


def test_no_file_is_opened_but_of_what_is_shown(marks, monkeypatch):
    seen = []
    monkeypatch.setattr(marks, "size", lambda i: seen.append(i) or SIZE)
    listing = Listing(marks)
    listing.page(limit=2)
    assert [marks.names[i] for i in seen] == ["a1", "a2"]


def test_an_unreadable_image_is_told_and_found(ask, marks):
    path = Path(marks.images.paths[at(marks, "b4")])
    content = path.read_bytes()
    path.write_bytes(b"nothing")
    assert ask.get("/api/gallery?limit=2").json["counts"]["unreadable"] == 0  # nobody looked at it
    (found,) = ask.get("/api/gallery?state=unreadable").json["images"]
    assert found["name"] == "b4" and "b4.png" in found["error"] and found["width"] == 0
    path.write_bytes(content)
    states = [image["state"] for image in ask.get("/api/gallery").json["images"]]
    assert "unreadable" not in states
    assert ask.get("/api/gallery").json["counts"]["unreadable"] == 0


def cut_off(path):
    """A JPEG in the place of an image, whose header is there and whose pixels are not."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG", quality=95)
    path.write_bytes(file.getvalue()[: len(file.getvalue()) // 2])


def test_what_a_question_finds_undecodable_is_known_in_the_gallery(ask, marks):
    for name in NAMES[1:]:
        cut_off(Path(marks.images.paths[at(marks, name)]))
    assert ask.get("/api/gallery?state=unreadable").json["total"] == 0  # headers are fine
    assert ask.get("/api/next").json["name"] == "a1"
    found = ask.get("/api/gallery?state=unreadable").json
    assert found["total"] and all(".png" in image["error"] for image in found["images"])
    assert found["counts"]["unreadable"] == found["total"]
    marks.close()
    again = Marks(marks.project)  # of another process: nothing is decoded for it
    kept = Listing(again).page(state="unreadable")["images"]
    assert [(one["id"], one["error"]) for one in kept] == [
        (one["id"], one["error"]) for one in found["images"]
    ]
    first = Path(marks.images.paths[found["images"][0]["id"]])
    first.write_bytes(first.read_bytes() + b"more")
    assert Listing(again).page()["counts"]["unreadable"] == found["total"] - 1
    (marks.project.folder / "unreadable.json").write_text('{"a1": 7}')
    assert Headers(marks.images, marks.names, marks.project.files).broken() == {}
    again.close()


def test_an_error_of_the_file_system_is_tried_again_by_the_next_process(marks):
    for i, error in ((0, OSError("no such device")), (1, ValueError("its end is missing"))):
        marks.headers.note_broken(i, error)
    assert set(marks.headers.broken()) == {0, 1}
    notes = json.loads((marks.project.folder / "unreadable.json").read_text())
    assert set(notes) == {marks.names[1]}
    marks.headers.note_broken(1, ValueError("its end is missing"))  # no news


@pytest.mark.parametrize(
    "query, what",
    [
        ("sort=size", "sort must be one of ['name'"),
        ("state=odd", "state must be one of ['open'"),
        ("offset=-1", "offset must be an integer >= 0"),
        ("offset=%D9%A3", "offset must be an integer >= 0"),
        ("limit=1e3", "limit must be an integer >= 0"),
        ("around=x", "around must be an integer >= 0"),
    ],
)
def test_a_list_that_is_none_is_refused(ask, query, what):
    answer = ask.get(f"/api/gallery?{query}")
    assert answer.status == 400 and what in answer.json["error"]


# -- overlays --


def opened(png):
    image = Image.open(io.BytesIO(png))
    assert image.mode == "RGBA"
    return np.asarray(image).astype(int)


def test_a_mask_is_drawn_in_its_colours_and_clear_where_nobody_said():
    mask = np.full((30, 40), -1)
    mask[:10], mask[10:20] = 1, 0
    drawn = opened(of_mask(mask, ["#000000", "#ffc800"], 80))
    assert drawn.shape == (60, 80, 4)
    assert (drawn[:20, :, :3] == [255, 200, 0]).all() and (drawn[40:, :, 3] == 0).all()
    assert 0 < drawn[30, 0, 3] < drawn[0, 0, 3] < 255


def test_a_large_mask_keeps_its_parts_where_they_are():
    mask = np.zeros((3000, 4000), np.int16)
    mask[1500:, 2000:] = 1
    drawn = opened(of_mask(mask, ["#000000", "#ffffff"], 192))
    assert drawn.shape == (144, 192, 4)
    bright = drawn[..., 0] > 128
    expected = np.zeros((144, 192), bool)
    expected[72:, 96:] = True
    assert (bright == expected).mean() > 0.99


def test_the_difference_tells_four_cases_apart_and_leaves_out_what_nobody_said():
    mask = np.array([[0, 1, 1, 0, 1, -1]]).repeat(6, 0)
    proposed = np.array([[0, 1, 0, 1, 2, 1]]).repeat(6, 0)
    drawn = opened(of_difference(mask, proposed, 60))
    columns = [drawn[:, 10 * k + 5] for k in range(6)]
    assert not columns[0][:, 3].any() and not columns[5][:, 3].any()
    assert len({tuple(column[0, :3]) for column in columns[1:5]}) == 4
    assert len(set(columns[2][:, 3])) == 2  # hatched: told apart without its colour
    assert all(len(set(columns[k][:, 3])) == 1 for k in (1, 3, 4))


def test_the_agreement_is_dice_over_what_was_marked():
    mask = np.array([[1, 1, 0, 0, 2, -1, -1, -1]])
    proposed = np.array([[1, 0, 0, 1, 2, 1, 2, 0]])
    found = agreement(mask, proposed, ["gland", "lumen", "other"])
    assert found["marked"] == 5 / 8 and found["dice"] == 0.75
    assert found["classes"] == [{"name": "gland", "dice": 0.5}, {"name": "lumen", "dice": 1.0}]
    nothing = agreement(np.full((1, 3), -1), np.ones((1, 3), int), ["gland"])
    assert nothing == {"dice": None, "classes": [], "marked": 0.0}
    empty = agreement(np.zeros((1, 3), int), np.zeros((1, 3), int), ["gland"])
    assert empty == {"dice": 1.0, "classes": [], "marked": 1.0}


@pytest.fixture
def proposing(tmp_path, monkeypatch):
    """A client of six images, of which each has the proposal of its lower half."""
    write_slides(tmp_path / "slides", 6, SIZE)

    def proposed(self, i):
        found = np.zeros(SIZE, np.uint8)
        found[12:] = 200
        return found.tobytes()

    monkeypatch.setattr("alseg.annotate.shown.Proposals.__call__", proposed)
    with open_project(tmp_path / "state", tmp_path / "slides") as project:
        marks = Marks(project)
        client = Client(make_app(marks, "t", allowed_hosts("127.0.0.1", 8765), {}), "t")
        client.marks = marks
        yield client
        marks.close()


def test_overlays_and_agreement_of_an_image(proposing):
    url = "/api/images/1/{}"
    for what in ("overlay?of=mask", "overlay?of=difference", "agreement"):
        answer = proposing.get(url.format(what))
        assert answer.status == 404 and "has no marks that count" in answer.json["error"]
    mask = np.full(SIZE, 255, np.uint8)
    mask[:18] = 0
    mask[14:18] = 1
    draft = url.format("draft?revision=0")
    assert proposing.put(draft, mask.tobytes()).status == 200
    assert proposing.get(url.format("overlay?of=mask")).status == 404  # a draft does not count
    proposing.put(url.format("marks?revision=0&answer=marks"), mask.tobytes())
    for of in ("mask", "proposal", "difference"):
        answer = proposing.get(url.format(f"overlay?of={of}&side=64"))
        assert answer.status == 200 and answer.headers["content-type"] == "image/png"
        assert opened(answer.body).shape == (48, 64, 4)
    proposal = opened(proposing.get(url.format("overlay?of=proposal&side=32")).body)
    assert ((proposal[..., :3].sum(-1) > 0) == (np.arange(24) >= 12)[:, None]).all()
    found = proposing.get(url.format("agreement")).json
    assert found["dice"] == 0.8 and found["marked"] == 0.75  # 2 * 4 rows of 4 + 6


def test_the_proposal_of_an_open_check_is_not_shown(proposing, monkeypatch):
    mask = np.zeros(SIZE, np.uint8).tobytes()
    proposing.put("/api/images/1/marks?revision=0&answer=all", mask)
    monkeypatch.setattr(Listing, "__init__", checked(Listing.__init__))
    client = Client(make_app(proposing.marks, "t", allowed_hosts("127.0.0.1", 8765), {}), "t")
    for what in ("overlay?of=proposal", "overlay?of=difference", "agreement"):
        answer = client.get(f"/api/images/1/{what}")
        assert answer.status == 404 and "is a check" in answer.json["error"]
    assert client.get("/api/images/1/overlay?of=mask").status == 200


def checked(make):
    def make_it(self, marks, *args, **options):
        make(self, marks, check=lambda i: "open")

    return make_it


@pytest.mark.parametrize("side", ["0", "1025", "-1", "1.5", "999999999"])
def test_a_side_that_is_none_is_refused(ask, side):
    for what in ("thumbnail?", "overlay?of=mask&"):
        answer = ask.get(f"/api/images/0/{what}side={side}")
        assert answer.status == 400 and "side must be an integer" in answer.json["error"]
    assert ask.get("/api/images/0/overlay?of=all").status == 400
    assert ask.get("/api/images/0/overlay").status == 400


def test_thumbnails_of_a_size(ask):
    for side in (192, 64, 1024):
        body = ask.get(f"/api/images/0/thumbnail?side={side}").body
        assert max(Image.open(io.BytesIO(body)).size) == side


def test_the_list_changes_nothing(ask, marks):
    before = json.dumps(marks.project.state)
    for sort in ("name", "asked", "newest", "uncertainty"):
        ask.get(f"/api/gallery?sort={sort}&state=unreadable")
    assert json.dumps(marks.project.state) == before
