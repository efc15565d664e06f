"""The server of the page: what each request is answered, what is refused, and what is kept."""

import configparser
import fnmatch
import io
import json
import os
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from made_slides import write_slides
from PIL import Image
from requests_by_hand import HOST, Client

import alseg
from alseg.annotate import serve
from alseg.annotate.cost_log import COSTS
from alseg.annotate.marks import Marks
from alseg.annotate.server import allowed_hosts, make_app, page_files
from alseg.cli import main
from alseg.files import FolderInUse
from alseg.project import keep, open_project, undo

FAST = {"encoder": "tiny", "max_epochs": 1, "image_size": [24, 32], "device": "cpu"}
SIZE = (24, 32)
N = 24 * 32
TOKEN = "a-token"
PAGE = {"index.html": b"<!doctype html>", "editor.js": b"let x", "parts/a.css": b"a {}"}


@pytest.fixture
def slides(tmp_path):
    """Six images of two classes, without a mask."""
    write_slides(tmp_path / "slides", 6, SIZE)
    return tmp_path / "slides"


@pytest.fixture
def project(slides, tmp_path):
    with open_project(tmp_path / "state", slides, {"estimator": FAST}) as project:
        yield project


def asked(project, **options):
    """A client of the application of a project."""
    marks = Marks(project)
    app = make_app(marks, TOKEN, allowed_hosts("127.0.0.1", 8765), PAGE)
    client = Client(app, TOKEN)
    client.marks = marks
    return client


@pytest.fixture
def ask(project):
    client = asked(project)
    yield client
    client.marks.close()


def drawn(missing=255):
    mask = np.full(SIZE, missing, np.uint8)
    mask[2:9, 3:20] = 1
    mask[12:15] = 0
    return mask


# -- what is answered --


def test_the_project(ask):
    found = ask.get("/api/project").json
    assert found["n_images"] == 6 and found["n_done"] == 0 and found["name"] == "slides"
    assert found["mask_classes"] == [
        {"value": 0, "name": "background", "color": "#000000"},
        {"value": 1, "name": "foreground", "color": "#ffc800"},
    ]
    assert found["labels"] == ["irregular", "regular"]


def test_images_marked_in_part_are_counted_beside_those_answered(ask, project):
    def numbers():
        found = ask.get("/api/project").json
        return found["n_done"], found["n_part"]

    keep(project, {project.data.ids[0]: np.ones(SIZE, np.int16)})
    assert numbers() == (1, 0)
    ask.put("/api/images/1/marks?revision=0&answer=marks", drawn().tobytes())
    ask.put("/api/images/2/marks?revision=0&answer=nothing", b"")
    assert numbers() == (3, 1)
    del project.state["masks"][project.data.ids[1]]["annotated"]  # of an earlier version
    assert numbers() == (3, 1)
    ask.marks.set_empty("regular", True)  # a rule leaves nothing open
    assert numbers()[1] == 1
    ask.put("/api/images/1/marks?revision=1&answer=all", drawn(0).tobytes())
    assert numbers()[1] == 0


def test_the_first_question_is_that_of_query_and_the_others_follow(ask, project):
    first = ask.get("/api/next").json
    assert first["name"] == project.pending()[0]
    assert (first["width"], first["height"]) == (32, 24)
    assert first["state"] == "open" and first["revision"] == 0 and first["proposal"] is False
    assert first["label"] in ("irregular", "regular") and first["why"].startswith("Drawn at random")
    assert ask.get(f"/api/images/{first['id']}").json == first
    seen = [first["id"]]
    for _ in range(6):
        seen.append(ask.get(f"/api/next?after={seen[-1]}").json["id"])
    assert sorted(seen[:6]) == list(range(6)) and seen[6] == seen[0]  # none was answered
    assert [project.data.ids[i] for i in seen[:6]] == project.pending()


def test_large_images_are_asked_for_one_by_one(ask, project, monkeypatch):
    monkeypatch.setattr("alseg.annotate.marks._PIXELS", 1.5 * N)
    first = ask.get("/api/next").json
    assert project.pending() == [first["name"]]
    second = ask.get(f"/api/next?after={first['id']}").json
    assert project.pending() == [first["name"], second["name"]]


def test_a_question_asked_ahead_changes_nothing(ask, project):
    first = ask.get("/api/next").json
    state = json.dumps(project.state)
    second = ask.get(f"/api/next?after={first['id']}").json
    assert ask.get(f"/api/next?after={first['id']}").json == second
    assert ask.get("/api/next").json == first and json.dumps(project.state) == state


def test_what_was_left_open_comes_again_at_the_end(ask):
    order = [ask.get("/api/next").json["id"]]
    for _ in range(5):
        order.append(ask.get(f"/api/next?after={order[-1]}").json["id"])
    for i in order[2:]:
        ask.put(f"/api/images/{i}/marks?revision=0&answer=nothing")
    assert ask.get(f"/api/next?after={order[-1]}").json["id"] == order[0]
    assert ask.get(f"/api/next?after={order[0]}").json["id"] == order[1]
    assert ask.get(f"/api/next?after={order[1]}").json["id"] == order[0]
    ask.post(f"/api/images/{order[0]}/skip")
    assert ask.get(f"/api/next?after={order[1]}").json == {"done": True}
    assert ask.get("/api/next").json["id"] == order[1]


def test_the_picture_is_the_image(ask, project):
    answer = ask.get("/api/images/2/picture")
    assert answer.headers["content-type"] == "image/png"
    assert answer.body == Path(project.data.images.path(2)).read_bytes()  # a browser reads it alike
    shown = np.asarray(Image.open(io.BytesIO(answer.body)))
    assert (shown == project.data.images[2]).all()
    small = Image.open(io.BytesIO(ask.get("/api/images/2/thumbnail").body))
    assert small.format == "JPEG" and max(small.size) == 192


@pytest.mark.parametrize("mode", ["L", "I;16", "LA", "RGBA", "P"])
def test_any_image_is_shown_at_its_size(tmp_path, mode):
    values = np.arange(N).reshape(SIZE)
    image = Image.fromarray((values * 80).astype(np.uint16)) if mode == "I;16" else None
    image = image or Image.fromarray((values % 256).astype(np.uint8)).convert(mode)
    folder = tmp_path / "slides" / "images" / "a"
    folder.mkdir(parents=True)
    image.save(folder / "a.png")
    with open_project(tmp_path / "state", tmp_path / "slides") as project:
        shown = Image.open(io.BytesIO(asked(project).get("/api/images/0/picture").body))
        assert shown.size == (32, 24) and shown.mode == ("L" if mode == "L" else "RGB")
        assert np.asarray(shown).std() > 10


def test_marks_are_saved_and_read_as_they_were(ask, project):
    empty = ask.get("/api/images/1/marks")
    assert empty.body == b"\xff" * N and empty.headers["x-alseg-revision"] == "0"
    assert empty.headers["x-alseg-draft"] == "0"
    mask = drawn()
    url = "/api/images/1/marks?revision={}&answer={}"
    assert ask.put(url.format(0, "marks"), mask.tobytes()).json == {"revision": 1}
    assert ask.get("/api/images/1/marks").body == mask.tobytes()
    assert ask.get("/api/images/1").json["state"] == "marked"
    known = project.known_masks()[1]
    assert (known[mask == 255] == -1).all() and (known == mask)[mask < 255].all()
    assert ask.put(url.format(1, "all"), drawn(0).tobytes()).json == {"revision": 2}
    assert ask.get("/api/images/1").json["state"] == "done"
    assert ask.put(url.format(2, "nothing")).json == {"revision": 3}
    assert ask.get("/api/images/1/marks").body == b"\0" * N
    assert ask.get("/api/project").json["n_done"] == 1
    assert project.state["revisions"] == {project.data.ids[1]: 3}
    undo(project)
    assert ask.get("/api/images/1/marks").body == drawn(0).tobytes()


def test_a_draft_is_kept_apart_from_what_counts(ask, project):
    mask = drawn()
    assert ask.put("/api/images/3/draft?revision=0", mask.tobytes()).status == 200
    found = ask.get("/api/images/3/marks")
    assert found.body == mask.tobytes() and found.headers["x-alseg-draft"] == "1"
    assert ask.get("/api/images/3").json["state"] == "open" and not project.has_mask().any()
    ask.put("/api/images/3/marks?revision=0&answer=all", drawn(0).tobytes())
    found = ask.get("/api/images/3/marks")
    assert found.body == drawn(0).tobytes() and found.headers["x-alseg-draft"] == "0"
    assert ask.put("/api/images/3/draft?revision=0", mask.tobytes()).status == 409
    empty = b"\xff" * N
    assert ask.put("/api/images/3/draft?revision=1", empty).status == 200  # all was rubbed out
    assert ask.get("/api/images/3/marks").body == empty
    assert (project.known_masks()[3] == drawn(0)).all()


def test_a_stale_page_writes_nothing_over(ask, project):
    url = "/api/images/0/marks?revision=0&answer=all"
    assert ask.put(url, drawn(0).tobytes()).status == 200
    answer = ask.put(url, bytes(N))
    assert answer.status == 409 and answer.json["revision"] == 1
    assert "were changed since" in answer.json["error"]
    assert (project.known_masks()[0] == drawn(0)).all()
    assert ask.put("/api/images/0/marks?revision=7&answer=nothing").status == 409


def test_of_two_pages_that_save_at_once_one_is_told(ask):
    statuses = []

    def save(value):
        url = "/api/images/0/marks?revision=0&answer=all"
        statuses.append(ask.put(url, bytes([value]) * N).status)

    threads = [threading.Thread(target=save, args=(k % 2,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, *[409] * 5]


def test_skipped_and_labelled(ask, project, tmp_path):
    first = ask.get("/api/next").json
    assert ask.post(f"/api/images/{first['id']}/skip").json == {"revision": 0}
    assert ask.get(f"/api/images/{first['id']}").json["state"] == "skipped"
    assert ask.get("/api/next").json["id"] != first["id"]
    other = {"irregular": "regular", "regular": "irregular"}[first["label"]]
    assert ask.put(f"/api/images/{first['id']}/label", {"label": other}).status == 200
    assert ask.get(f"/api/images/{first['id']}").json["label"] == other
    answer = ask.put(f"/api/images/{first['id']}/label", {"label": "odd"})
    assert answer.status == 400 and "one of ['irregular', 'regular']" in answer.json["error"]
    ask.put(f"/api/images/{first['id']}/marks?revision=0&answer=nothing")
    assert ask.get(f"/api/images/{first['id']}").json["state"] == "done"


def test_what_it_cost_is_a_line_each(ask, project):
    for seconds in (3, 4.5):
        entry = {"id": 2, "seconds": seconds, "strokes": 3, "clicks": 0}
        assert ask.post("/api/log", entry).status == 200
    with open(project.folder / COSTS, "ab") as file:
        assert file.tell() > 0
    lines = [json.loads(line) for line in (project.folder / COSTS).read_text().splitlines()]
    assert [line["seconds"] for line in lines] == [3, 4.5]
    assert lines[0]["image"] == project.data.ids[2] and lines[0]["strokes"] == 3


def test_masks_of_the_folder_are_marks_too(slides, tmp_path):
    folder = slides / "masks"
    folder.mkdir()
    name = next((slides / "images").rglob("*.png")).stem
    Image.fromarray(drawn(0) * 255).save(folder / f"{name}.png")
    with open_project(tmp_path / "state", slides) as project:
        ask = asked(project)
        i = project.positions[name]
        assert ask.get(f"/api/images/{i}").json["state"] == "done"
        assert ask.get(f"/api/images/{i}/marks").body == drawn(0).tobytes()
        assert ask.get("/api/project").json["n_done"] == 1
        ask.put(f"/api/images/{i}/marks?revision=0&answer=nothing")
        assert not project.known_masks()[i].any()


def test_an_image_that_is_gone_is_told_and_not_asked_for(ask, project):
    first = ask.get("/api/next").json
    Path(project.data.images.paths[first["id"]]).unlink()
    client = asked_again(project, ask)
    for url in ("", "/picture", "/thumbnail", "/marks"):
        assert client.get(f"/api/images/{first['id']}{url}").status == 404
    assert client.get("/api/next").json["id"] != first["id"]
    (gone,) = [i for i in client.get("/api/gallery").json["images"] if i["id"] == first["id"]]
    assert gone["state"] == "unreadable" and gone["width"] == 0


@pytest.mark.parametrize("broken", ["gone", "cut"])
def test_an_image_that_breaks_while_served_is_passed_over(ask, project, broken):
    first = ask.get("/api/next").json["id"]
    second = ask.get(f"/api/next?after={first}").json["id"]  # its size is known from now on
    path = Path(project.data.images.paths[second])
    content = path.read_bytes()
    path.unlink() if broken == "gone" else path.write_bytes(content[: len(content) * 3 // 4])
    assert ask.get(f"/api/images/{second}/picture").status == 404
    assert ask.get(f"/api/next?after={first}").json["id"] not in (first, second)
    found = {image["id"]: image for image in ask.get("/api/gallery").json["images"]}
    assert found[second]["state"] == "unreadable" and path.name in found[second]["error"]
    assert ask.get("/api/gallery").json["counts"]["unreadable"] == 1
    path.write_bytes(content)  # it is there again
    assert ask.get(f"/api/next?after={first}").json["id"] == second
    assert ask.get("/api/gallery").json["counts"]["unreadable"] == 0


def test_what_cannot_be_written_does_not_count(ask, project, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(project, "write", full)
        answer = ask.put("/api/images/0/marks?revision=0&answer=nothing")
        assert answer.status == 500 and "No space left" in answer.json["error"]
    assert ask.get("/api/images/0").json["revision"] == 0
    assert ask.put("/api/images/0/marks?revision=0&answer=nothing").json == {"revision": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_names_of_any_bytes_are_shown_and_kept(tmp_path):
    folder = os.fsencode(tmp_path / "slides" / "images") + b"/l\xff"
    os.makedirs(folder)
    os.makedirs(tmp_path / "slides" / "images" / "other")
    for name in (b"a\xfe\x1b[2J", "b\u202ec".encode()):
        image = io.BytesIO()
        Image.new("RGB", (32, 24)).save(image, "PNG")
        Path(os.fsdecode(folder + b"/" + name + b".png")).write_bytes(image.getvalue())
    Path(tmp_path / "slides" / "images" / "other" / "c.png").write_bytes(image.getvalue())
    with open_project(tmp_path / "state", tmp_path / "slides") as project:
        ask = asked(project)
        images = ask.get("/api/gallery").json["images"]
        assert len(images) == 3 and all(image["name"].isprintable() for image in images)
        (odd,) = [label for label in ask.get("/api/project").json["labels"] if label != "other"]
        assert odd.isprintable()
        for image in images:
            url = f"/api/images/{image['id']}"
            assert ask.put(f"{url}/draft?revision=0", drawn().tobytes()).status == 200
            assert ask.get(f"{url}/marks").headers["x-alseg-draft"] == "1"
            assert ask.put(f"{url}/marks?revision=0&answer=nothing").json == {"revision": 1}
            assert ask.put(f"{url}/marks?revision=0&answer=nothing").status == 409
            assert ask.put(f"{url}/label", {"label": odd}).status == 200
            assert ask.get(url).json["label"] == odd
        ask.marks.close()
    with open_project(tmp_path / "state") as project:
        assert project.has_mask().all() and set(project.data.labels) == {odd}


# -- proposals, and the commands --


def test_proposals_are_those_of_the_last_model(slides, tmp_path, capsys):
    state = tmp_path / "state"
    with open_project(state, slides, {"estimator": FAST}) as project:
        keep(project, {project.data.ids[0]: drawn(0).astype(int)})
        ask = asked(project)
        assert ask.get("/api/images/1/proposal").status == 404
        ask.marks.close()
    out = tmp_path / "out"
    assert not main(["predict", str(state), str(slides / "images"), "--out", str(out), "--quiet"])
    with open_project(state) as project:
        keep(project, {project.data.ids[1]: drawn(0).astype(int)})  # the model is older now
        ask = asked(project)
        assert ask.get("/api/images/2").json["proposal"] is True
        found = np.frombuffer(ask.get("/api/images/2/proposal").body, np.uint8).reshape(SIZE)
        predicted = out / f"{project.data.labels[2]}/{project.data.ids[2]}.png"
        same = (found > 127) == (np.asarray(Image.open(predicted)) > 0)
        assert same.mean() > 0.99  # the threshold lies within a step of 1/255
        assert ask.get("/api/images/2/proposal").body == found.tobytes()


def test_a_model_that_is_damaged_proposes_nothing(ask, project):
    model = project.folder / "model-0123456789ab"
    model.mkdir()
    (model / "model.json").write_text(json.dumps({"classes": ask.marks.labels}))
    client = asked_again(project, ask)
    assert client.get("/api/images/2").json["proposal"] is True
    assert client.get("/api/images/2/proposal").status == 404
    assert client.get("/api/images/2").json["proposal"] is False


def asked_again(project, before):
    before.marks.close()
    client = asked(project)
    before.marks = client.marks
    return client


def test_marks_are_seen_by_the_commands_and_theirs_by_the_page(slides, tmp_path, capsys):
    state = tmp_path / "state"
    with open_project(state, slides, {"estimator": FAST}) as project:
        ask = asked(project)
        first = ask.get("/api/next").json
        second = ask.get(f"/api/next?after={first['id']}").json
        ask.put(f"/api/images/{first['id']}/marks?revision=0&answer=marks", drawn().tobytes())
        ask.marks.close()
    assert not main(["query", "--out", str(state), "-n", "2", "--new", "--seconds", "0"])
    said = capsys.readouterr()
    assert "Training on 1 mask" in said.err and second["name"] not in said.out.split()
    folder = tmp_path / "drawn"
    folder.mkdir()
    Image.fromarray(drawn(0) * 255).save(folder / f"{second['name']}.png")
    assert not main(["add", str(state), str(folder)])
    with open_project(state) as project:
        ask = asked(project)
        found = ask.get(f"/api/images/{second['id']}").json
        assert found["state"] == "done" and found["revision"] == 1
        assert ask.get(f"/api/images/{second['id']}/marks").body == drawn(0).tobytes()
        assert ask.get(f"/api/images/{first['id']}").json["state"] == "marked"
        assert ask.get("/api/next").json["proposal"] is True
        ask.marks.close()
    assert not main(["undo", str(state)])
    with open_project(state) as project:
        assert asked(project).get(f"/api/images/{second['id']}").json["state"] == "open"


# -- what is refused --


API = ["/api/project", "/api/next", "/api/images/0", "/api/images/0/picture", "/api/gallery", "/"]


@pytest.mark.parametrize("token", [None, "", "a-toke", "a-token2", "é"])
def test_without_the_token_nothing_is_told(ask, token):
    for url in API:
        answer = ask.get(url, headers={"x-alseg-token": token})
        assert answer.status == 401 and "token" in answer.json["error"], url


@pytest.mark.parametrize(
    "method, url", [("PUT", "marks?revision=0&answer=nothing"), ("POST", "skip")]
)
def test_without_the_token_nothing_is_done(ask, project, method, url):
    before = json.dumps(project.state)
    assert ask(method, f"/api/images/0/{url}", headers={"x-alseg-token": "x"}).status == 401
    assert json.dumps(project.state) == before


def test_the_page_is_opened_by_the_token_in_its_address(ask):
    assert ask.get(f"/?token={TOKEN}", headers={"x-alseg-token": None}).body == PAGE["index.html"]
    assert ask.get("/?token=x").status == 401
    assert ask.get(f"/?token=x&token={TOKEN}").status == 401
    assert ask.get(f"/api/project?token={TOKEN}", headers={"x-alseg-token": None}).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8765"},
        {"host": "127.0.0.1:8766"},
        {"host": "127.0.0.1"},
        {"host": None},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1:8765"},
        {"origin": "http://localhost:8765"},
        {"host": "evil.example:8765", "origin": "http://evil.example:8765"},
    ],
)
def test_other_hosts_and_origins_are_refused(ask, headers):
    for url in ("/api/project", "/page/editor.js", f"/?token={TOKEN}"):
        assert ask.get(url, headers=headers).status == 403


def test_its_own_hosts_and_origins_are_taken(ask):
    for host in (HOST, "localhost:8765", "LOCALHOST:8765"):
        for headers in ({"host": host}, {"host": host, "origin": f"http://{host.lower()}"}):
            assert ask.get("/api/project", headers=headers).status == 200


def test_where_all_the_net_may_come_the_origin_is_still_that_of_the_host(project):
    marks = Marks(project)
    client = Client(make_app(marks, TOKEN, allowed_hosts("0.0.0.0", 8765), PAGE), TOKEN)
    assert client.get("/api/project", headers={"host": "pc.lan:8765"}).status == 200
    headers = {"host": "pc.lan:8765", "origin": "http://other:8765"}
    assert client.get("/api/project", headers=headers).status == 403
    marks.close()


@pytest.mark.parametrize(
    "name",
    [
        "../server.py",
        "parts/../../server.py",
        "..%2fserver.py",
        "/etc/passwd",
        "",
        "parts",
        "none.js",
        "editor.js\0.html",
    ],
)
def test_nothing_but_the_page_is_served(ask, name):
    answer = ask.get(f"/page/{name}")
    assert answer.status == 404 and "has no file" in answer.json["error"]


def test_the_files_of_the_page(ask):
    for name, kind in (("editor.js", "text/javascript"), ("parts/a.css", "text/css")):
        answer = ask.get(f"/page/{name}", headers={"x-alseg-token": None})
        assert answer.body == PAGE[name] and answer.headers["content-type"].startswith(kind)
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("answer", ["draft?revision=0", "marks?revision=0&answer=all"])
def test_a_body_is_read_no_further_than_the_image_is_large(ask, answer):
    url = f"/api/images/0/{answer}"
    found = ask.put(url, bytes(10), headers={"content-length": str(100_000_000)})
    assert found.status == 413 and ask.read == 0
    parts = [bytes(1000)] * 100_000
    found = ask.put(url, headers={"content-length": None}, parts=parts)
    assert found.status == 413 and ask.read == 1000
    assert ask.put(url, bytes(N + 1)).status == 413
    short = ask.put(url, bytes(N - 1))
    assert short.status == 400 and f"24 x 32 bytes, got {N - 1}" in short.json["error"]
    assert ask.put(url, bytes(N), headers={"content-length": "-1"}).status == 413


def test_json_is_of_a_few_bytes(ask):
    answer = ask.post("/api/log", {"id": 0, "seconds": 1, "strokes": 1, "clicks": "9" * 70000})
    assert answer.status == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 60000,
        b'{"id": 0, "seconds": NaN, "strokes": 1, "clicks": 1}',
        b'{"id": 0, "seconds": Infinity, "strokes": 1, "clicks": 1}',
        b'{"id": 0, "seconds": 1e999, "strokes": 1, "clicks": 1}',
        b'{"id": 0, "seconds": -1, "strokes": 1, "clicks": 1}',
        b'{"id": 0, "seconds": true, "strokes": 1, "clicks": 1}',
        b'{"id": 0, "seconds": 1, "strokes": 1.5, "clicks": 1}',
        b'{"id": 0, "seconds": 1, "strokes": 1}',
        b'{"id": 0, "seconds": 1, "strokes": 1, "clicks": 1, "more": 1}',
    ],
)
def test_a_log_that_is_none_is_refused(ask, project, body):
    assert ask.post("/api/log", body).status == 400
    assert (project.folder / COSTS).read_bytes() == b""


@pytest.mark.parametrize(
    "id_", ["6", "-1", "x", "1.5", "0/../1", "99999999999999999999", "9" * 5000]
)
def test_images_that_are_none(ask, id_):
    for url in ("", "/picture", "/marks", "/thumbnail", "/proposal"):
        assert ask.get(f"/api/images/{id_}{url}").status in (400, 404)
    assert ask.put(f"/api/images/{id_}/marks?revision=0&answer=nothing").status in (400, 404)
    assert ask.post("/api/log", {"id": -1, "seconds": 1, "strokes": 1, "clicks": 1}).status == 404


@pytest.mark.parametrize(
    "query, body, what",
    [
        ("answer=nothing", b"", "revision must be an integer"),
        ("revision=-1&answer=nothing", b"", "revision must be an integer"),
        ("revision=1e3&answer=nothing", b"", "revision must be an integer"),
        ("revision=0", bytes(N), "answer must be one of"),
        ("revision=0&answer=none", bytes(N), "answer must be one of"),
        ("revision=0&answer=nothing", bytes(N), "empty for answer=nothing"),
        ("revision=0&answer=all", bytes(N - 1) + b"\xff", "nobody said for answer=all, got 1"),
        ("revision=0&answer=marks", b"\xff" * N, "marked in at least one pixel"),
        ("revision=0&answer=marks", bytes(N - 1) + b"\x02", r"classes in [0, 1], or 255"),
    ],
)
def test_an_answer_that_is_none_is_refused(ask, project, query, body, what):
    answer = ask.put(f"/api/images/0/marks?{query}", body)
    assert answer.status == 400 and what in answer.json["error"]
    assert not project.has_mask().any() and "revisions" not in project.state


@pytest.mark.parametrize(
    "method, url, status",
    [
        ("GET", "/api/nothing", 404),
        ("POST", "/api/project", 405),
        ("DELETE", "/api/images/0/marks", 405),
        ("GET", "/api/next?after=6", 404),
        ("GET", "/api/next?after=x", 400),
        ("GET", "/api/gallery?offset=-1", 400),
        ("GET", "/api/project/", 404),
    ],
)
def test_what_is_not_there_is_an_error_of_the_same_shape(ask, method, url, status):
    answer = ask(method, url)
    assert answer.status == status and list(answer.json) == ["error"]


# -- the server itself --


def fetched(served, path, method="GET", body=None, **headers):
    address, token = served.url.split("/?token=")
    request = urllib.request.Request(address + path, data=body, method=method)
    for name, value in {"X-Alseg-Token": token, **headers}.items():
        request.add_header(name.replace("_", "-"), value)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


def test_a_server_in_a_thread_answers_and_a_second_one_is_told(slides, tmp_path):
    state = tmp_path / "state"
    with serve(state, slides, block=False) as served:
        assert json.loads(fetched(served, "/api/project"))["n_images"] == 6
        with pytest.raises(FolderInUse, match="in use"):
            serve(state, slides, block=False)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            fetched(served, "/api/project", Host="evil.example")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetched(served, "/page/%2e%2e/server.py")
        url = "/api/images/0/marks?revision=0&answer=nothing"
        assert json.loads(fetched(served, url, "PUT")) == {"revision": 1}
        port = int(served.url.split(":")[2].split("/")[0])
        with pytest.raises(OSError, match=f"127.0.0.1:{port} cannot be listened to"):
            serve(tmp_path / "other", slides, port=port, block=False)
    with open_project(state) as project:
        assert project.has_mask().sum() == 1
        with serve(project, block=False) as served:  # one that is open already
            assert json.loads(fetched(served, "/api/project"))["n_done"] == 1


@pytest.mark.parametrize("port", [-1, 65536, 1.5, True, "80"])
def test_a_port_that_is_none(tmp_path, port):
    with pytest.raises(ValueError, match="port must be an integer in"):
        serve(tmp_path / "state", port=port)
    assert not (tmp_path / "state").exists()


@pytest.mark.slow
def test_a_large_folder_is_asked_about_at_once(tmp_path):
    for kind in "ab":
        folder = tmp_path / "slides" / "images" / kind
        folder.mkdir(parents=True)
        for i in range(2500):
            Image.new("RGB", (48, 32), (i % 256, i // 10, 99)).save(folder / f"{kind}{i}.png")
    start = time.perf_counter()
    with serve(tmp_path / "state", tmp_path / "slides", block=False) as served:
        first = json.loads(fetched(served, "/api/next"))
        assert time.perf_counter() - start < 10
        times = []
        for _ in range(12):
            start = time.perf_counter()
            first = json.loads(fetched(served, f"/api/next?after={first['id']}"))
            times.append(time.perf_counter() - start)
        assert np.median(times) < 0.3


def test_the_page_is_in_the_package():
    page = page_files()
    assert b"<!doctype html>" in page["index.html"].lower()
    linked = re.findall(rb"/page/([^\"']+)", b" ".join(page.values()))
    assert {name.decode() for name in linked} <= page.keys() and len(page) > 5
    setup = configparser.ConfigParser()
    setup.read(Path(alseg.__file__).parents[1] / "setup.cfg")
    pattern = setup["options.package_data"]["alseg.annotate"]
    assert all(fnmatch.fnmatch(f"page/{name}", pattern) and "/" not in name for name in page)
