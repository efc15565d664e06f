"""Questions about parts of images: which one, kept over a restart, and what comes after it."""

import numpy as np
import pytest
from made_slides import write_slides
from requests_by_hand import Client

from alseg.annotate.asked_regions import Regions, ninth_around, ninths
from alseg.annotate.marks import Marks
from alseg.annotate.server import allowed_hosts, make_app
from alseg.labels import MISSING
from alseg.project import open_project

SIZE = (24, 32)


@pytest.fixture
def project(tmp_path):
    write_slides(tmp_path / "slides", 3, SIZE)
    with open_project(tmp_path / "state", tmp_path / "slides") as project:
        yield project


def asked(project, regions=True):
    marks = Marks(project, regions)
    client = Client(make_app(marks, "a-token", allowed_hosts("127.0.0.1", 8765), {}), "a-token")
    client.marks = marks
    return client


@pytest.fixture
def ask(project):
    client = asked(project)
    yield client
    client.marks.close()


def answered(ask, image, value=1):
    """Marks all of the part that is asked."""
    top, left, height, width = image["region"]
    counted = ask.marks.read(image["id"], draft=False)[0]
    mask = np.where(counted == MISSING, 255, counted).astype(np.uint8)
    mask[top : top + height, left : left + width] = value
    url = f"/api/images/{image['id']}/marks?revision={image['revision']}&answer=marks"
    assert ask.put(url, mask.tobytes()).status == 200
    return ask.get(f"/api/next?after={image['id']}").json


def put(ask, image, mask, what="marks", answer="&answer=marks"):
    revision = ask.get(f"/api/images/{image['id']}").json["revision"]
    return ask.put(f"/api/images/{image['id']}/{what}?revision={revision}{answer}", mask.tobytes())


def inside(window, value=1):
    """The bytes of a mask of which a window alone is marked."""
    top, left, height, width = window
    mask = np.full(SIZE, 255, np.uint8)
    mask[top : top + height, left : left + width] = value
    return mask


def test_nine_windows_cover_an_image_once():
    for size in [(24, 32), (522, 775), (3, 3), (2, 5), (1, 1)]:
        cover = np.zeros(size, int)
        for top, left, height, width in ninths(size):
            cover[top : top + height, left : left + width] += 1
        assert (cover == 1).all()


def test_a_window_around_a_frame_stays_inside():
    assert ninth_around([0, 0, 9, 9], (90, 60)) == [0, 0, 30, 20]
    assert ninth_around([80, 55, 9, 5], (90, 60)) == [60, 40, 30, 20]
    assert ninth_around([40, 20, 10, 20], (90, 60)) == [30, 20, 30, 20]


def test_each_question_is_about_one_window_which_is_the_same_after_a_restart(ask, project):
    assert ask.get("/api/project").json["regions"] is True
    first = ask.get("/api/next").json
    assert first["region"] in ninths(SIZE)
    assert ask.get(f"/api/images/{first['id']}").json["region"] == first["region"]
    ask.marks.close()
    again = asked(project)
    assert again.get("/api/next").json == first
    again.marks.close()
    whole = asked(project, regions=False)
    assert whole.get("/api/next").json["region"] is None
    assert whole.get("/api/project").json["regions"] is False


def test_windows_are_drawn_from_all_nine(project):
    regions = Regions(project, True)
    for k in range(300):
        regions.entries()
        project.state.setdefault("regions", {})
        regions.begin(f"image-{k}", np.full(SIZE, MISSING))
    found = [tuple(entry["windows"][0]) for entry in regions.entries().values()]
    counts = [found.count(tuple(one)) for one in ninths(SIZE)]
    assert sum(counts) == 300 and min(counts) > 15


def test_the_most_uncertain_window_is_asked_where_it_is_known_and_open(ask):
    ask.marks.frame = lambda i: [2, 20, 6, 8]
    assert ask.get("/api/next").json["region"] == [1, 19, 8, 10]
    mask = np.full(SIZE, MISSING)
    mask[:12] = 1
    ask.marks.regions.begin("b", mask, [2, 20, 6, 8])
    assert ask.marks.regions.of("b")[0] >= 12


def test_other_windows_follow_when_every_image_had_one(ask):
    image, seen = ask.get("/api/next").json, []
    for _ in range(27):
        seen.append((image["id"], *image["region"]))
        image = answered(ask, image)
    assert image == {"done": True}
    # Each image once, then each another time, and in the end all of all.
    assert [len({one[0] for one in seen[k : k + 3]}) for k in range(0, 27, 3)] == [3] * 9
    assert len(set(seen)) == 27
    assert all(ask.get(f"/api/images/{i}").json["state"] == "done" for i in range(3))


def test_an_image_that_nobody_can_tell_is_not_asked_again(ask):
    image = ask.get("/api/next").json
    ask.post(f"/api/images/{image['id']}/skip")
    following = ask.get(f"/api/next?after={image['id']}").json
    for _ in range(6):
        assert following["id"] != image["id"]
        following = answered(ask, following)


def test_points_lie_in_the_window(ask):
    image = ask.get("/api/next").json
    top, left, height, width = image["region"]
    points = np.array(ask.get(f"/api/images/{image['id']}/points?n=999").json["points"])
    assert len(points) == height * width
    assert (points >= (top, left)).all() and (points < (top + height, left + width)).all()


@pytest.mark.parametrize("answer", ["marks", "all", "nothing"])
def test_marks_outside_of_the_window_are_refused_whatever_the_answer(ask, answer):
    image = ask.get("/api/next").json
    mask = inside(image["region"])
    if answer == "marks":
        mask[tuple(np.argwhere(mask == 255)[0])] = 0  # one pixel
    if answer == "all":
        mask[mask == 255] = 0
    if answer == "nothing":
        mask = mask[:0]
    found = put(ask, image, mask, answer=f"&answer={answer}")
    assert found.status == 400 and "outside of the part" in found.json["error"]
    n = {"marks": 1}.get(answer, (inside(image["region"]) == 255).sum())
    assert f"{n} other pixels" in found.json["error"]
    assert ask.marks.revision(image["id"]) == 0
    assert put(ask, image, inside(image["region"])).status == 200


def test_a_draft_outside_of_the_window_is_refused(ask):
    image = ask.get("/api/next").json
    whole = np.ones(SIZE, np.uint8)
    found = put(ask, image, whole, "draft", "")
    assert found.status == 400 and "outside of the part" in found.json["error"]
    assert put(ask, image, inside(image["region"]), "draft", "").status == 200


def test_what_counts_elsewhere_stays_as_it_is(ask):
    image = ask.get("/api/next").json
    for _ in range(3):  # to the second window of the first image
        first, image = image, answered(ask, image)
    while image["id"] != first["id"]:
        image = answered(ask, image)
    assert image["region"] != first["region"]
    found = put(ask, image, inside(image["region"], 0))  # takes the marks of the first away
    assert found.status == 200  # both windows were asked of it
    third = next(w for w in ninths(SIZE) if w not in (image["region"], first["region"]))
    assert put(ask, image, inside(third)).status == 400


def test_who_corrects_a_window_after_another_was_asked_is_heard(ask):
    """The page asks ahead: a new window may be chosen while the one before is on the desk."""
    image = ask.get("/api/next").json
    answered(ask, image)
    marks, name = ask.marks, image["name"]
    other = next(w for w in ninths(SIZE) if w != image["region"])
    entry = marks.regions.entries()[name]
    marks.regions._put(name, {**entry, "windows": [*entry["windows"], other]})
    assert put(ask, image, inside(image["region"], 0)).status == 200
    assert marks.regions.open_again() == [name]  # the new one is still to be answered
    both = inside(image["region"], 0)
    both[inside(other) == 1] = 1
    assert put(ask, image, both).status == 200
    assert marks.regions.open_again() == []


def test_an_older_draft_is_cut_to_the_window(project):
    whole = asked(project, regions=False)
    image = whole.get("/api/next").json
    assert put(whole, image, np.ones(SIZE, np.uint8), "draft", "").status == 200
    whole.marks.close()
    ask = asked(project)
    image = ask.get("/api/next").json
    answer = ask.get(f"/api/images/{image['id']}/marks")
    assert answer.headers["x-alseg-draft"] == "1"
    assert answer.body == inside(image["region"]).tobytes()
    assert put(ask, image, np.frombuffer(answer.body, np.uint8)).status == 200
    ask.marks.close()


def test_a_check_is_asked_as_a_whole(ask, project):
    project.state["checks"] = {ask.marks.names[1]: {}}
    image = ask.get("/api/next").json
    for _ in range(2):
        if image["id"] == 1:
            break
        image = ask.get(f"/api/next?after={image['id']}").json
    assert image["id"] == 1 and image["region"] is None


def test_a_damaged_state_is_told(project):
    from alseg.project.state import ProjectError, read_state

    for entry in [3, {}, {"windows": [], "answered": 0}, {"windows": [[1, 2]], "answered": 0}]:
        project.state["regions"] = {"a": entry}
        project.write()
        with pytest.raises(ProjectError, match="'a'"):
            read_state(project.folder / "state.json")
