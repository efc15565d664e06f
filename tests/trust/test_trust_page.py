"""The page's server over odd files, tampered states, foreign files, links: told, and no harm."""

import io
import json
import os
import shutil
import sys
from unicodedata import category

import numpy as np
import odd_files
import pytest
from odd_folders import NAMES, make, picture, put
from PIL import Image
from requests_by_hand import Client
from running import attack, everything_under, untouched
from test_trust_states import RAW, tampered

from alseg.annotate.marks import Marks
from alseg.annotate.server import allowed_hosts, make_app, page_files
from alseg.project import open_project

PAGE = page_files()


def asked(project):
    marks = Marks(project)
    client = Client(make_app(marks, "t", allowed_hosts("127.0.0.1", 8765), PAGE), "t")
    client.marks = marks
    return client


READ = ("", "/picture", "/thumbnail", "/marks", "/overlay?of=mask", "/agreement", "/proposal")


def everything_asked(client):
    """All that the page asks for of some images; what goes wrong is a sentence in a line.

    An error that is none of ours is raised by the application itself.
    """
    answers = [client.get("/api/project"), client.get("/api/next")]
    for sort in ("name", "asked", "newest", "uncertainty"):
        answers.append(client.get(f"/api/gallery?sort={sort}&state=unreadable"))
    n = len(client.marks.names)
    for i in sorted({0, 1, n - 1} & set(range(n))):
        answers += [client.get(f"/api/images/{i}{what}") for what in READ]
        answers.append(client.get(f"/api/next?after={i}"))
        answers.append(client.post(f"/api/images/{i}/skip"))
        answers.append(client.put(f"/api/images/{i}/draft?revision=0", bytes(320)))
        answers.append(client.put(f"/api/images/{i}/marks?revision=0&answer=nothing"))
        answers.append(client.put(f"/api/images/{i}/label", {"label": "a"}))
    line = {"id": 0, "seconds": 1, "strokes": 1, "clicks": 1}
    answers.append(client.post("/api/log", line))
    for answer in answers:
        if answer.status != 200:
            assert set(answer.json) <= {"error", "revision"} and len(answer.json["error"]) > 10
            assert answer.json["error"].isprintable(), answer.json
    return answers


def one_of_each(odds):
    return {f"{k:03d}_{odd.name}": odd for k, odd in enumerate(odds)}


def sweep_images(odds, tmp_path):
    """Each odd file is shown at its size, or said to be unreadable; marks of others are kept."""
    data = make(tmp_path / "data", 4)
    named = one_of_each(odds)
    for name, odd in named.items():
        (data / "images" / "a" / name).write_bytes(odd.content)
    with untouched(data), open_project(tmp_path / "state", data) as project:
        client = asked(project)
        shown = 0
        for i, name in enumerate(client.marks.names):
            found = client.get(f"/api/images/{i}")
            for what in READ:
                answer = client.get(f"/api/images/{i}{what}")
                assert answer.status in (200, 404), (name, what, answer.body)
                if answer.status == 404:
                    assert answer.json["error"].isprintable()
            whole = client.get(f"/api/images/{i}/picture")
            if whole.status == 200:
                size = Image.open(io.BytesIO(whole.body)).size
                assert size == (found.json["width"], found.json["height"]), name
                shown += 1
        assert client.get("/api/gallery?state=unreadable").status == 200
        good = client.marks.names.index("im0")
        assert client.put(f"/api/images/{good}/marks?revision=0&answer=nothing").status == 200
        client.marks.close()
    return shown


def test_some_odd_files_in_the_page(tmp_path):
    odds = [*odd_files.pillow_files(), *odd_files.tiff_files()][::6]
    assert sweep_images(odds, tmp_path) > 10


@pytest.mark.slow
def test_all_odd_files_in_the_page(tmp_path):
    odds = [*odd_files.pillow_files(), *odd_files.tiff_files()]
    assert sweep_images(odds, tmp_path) > 60


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A state folder with a question, marks, a draft, a skipped image and a corrected label."""
    root = tmp_path_factory.mktemp("page")
    data = make(root / "data", 6)
    with open_project(root / "state", data) as project:
        client = asked(project)
        client.get("/api/next")
        size = 16 * 20
        client.put("/api/images/0/marks?revision=0&answer=all", bytes(size))
        client.put("/api/images/1/draft?revision=0", bytes(size))
        client.post("/api/images/2/skip")
        client.put("/api/images/3/label", {"label": "b"})
        client.marks.close()
    return root


def attack_state(made, tmp_path, contents):
    """Refused in a sentence when the folder is opened, or asked everything."""
    n_open = 0
    for content in contents:
        work = tmp_path / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(made / "state", work)
        (work / "state.json").write_bytes(content)
        with untouched(made, tmp_path, but=[work]):
            try:
                with open_project(work, made / "data") as project:
                    client = asked(project)
                    try:
                        everything_asked(client)
                    finally:
                        client.marks.close()
                n_open += 1
            except (ValueError, OSError) as error:
                assert str(error) and "\x1b" not in str(error)
    return n_open


def test_tampered_states_in_the_page(made, tmp_path):
    state = json.loads((made / "state" / "state.json").read_text())
    contents = [*RAW, *tampered(state, 41)]
    assert attack_state(made, tmp_path, contents) > 3


@pytest.mark.slow
def test_states_tampered_with_everywhere_in_the_page(made, tmp_path):
    state = json.loads((made / "state" / "state.json").read_text())
    assert attack_state(made, tmp_path, [*tampered(state, 3, 1)]) > 30


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x89PNG\r\n\x1a\n", "other"])
def test_masks_and_drafts_that_somebody_has_changed(made, tmp_path, content):
    if content == "other":  # a mask of another size
        file = io.BytesIO()
        Image.fromarray(np.full((3, 4), 7, np.uint8)).save(file, "PNG")
        content = file.getvalue()
    shutil.copytree(made / "state", tmp_path / "state")
    for folder in ("masks", "drafts"):
        for file in (tmp_path / "state" / folder).iterdir():
            file.write_bytes(content)
    with open_project(tmp_path / "state", made / "data") as project:
        client = asked(project)
        assert client.get("/api/images/1/marks").headers["x-alseg-draft"] == "0"
        for what in ("/marks", "/overlay?of=mask", "/agreement"):
            answer = client.get(f"/api/images/0{what}")
            assert answer.status == 404 and answer.json["error"], what
        assert client.get("/api/gallery").status == 200
        answer = client.put("/api/images/0/marks?revision=1&answer=nothing")
        assert answer.status in (200, 409, 500)
        client.marks.close()


def test_a_foreign_file_in_the_place_of_a_draft_stays(made, tmp_path):
    shutil.copytree(made / "state", tmp_path / "state")
    (draft,) = (tmp_path / "state" / "drafts").iterdir()
    draft.write_bytes(b"mine")
    with open_project(tmp_path / "state", made / "data") as project:
        client = asked(project)
        answer = client.put("/api/images/1/draft?revision=0", bytes(320))
        assert answer.status in (400, 500) and draft.name in answer.json["error"]
        assert draft.read_bytes() == b"mine"
        saved = client.put("/api/images/1/marks?revision=0&answer=all", bytes(320))
        assert saved.status == 200 and draft.read_bytes() == b"mine"
        client.marks.close()


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_links_lead_nowhere_that_a_file_is_written(made, tmp_path):
    """Folders of the state that somebody has replaced by links: what they lead to stays."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.png").write_bytes(b"mine")
    for name in ("masks", "drafts"):
        state = tmp_path / name
        shutil.copytree(made / "state", state)
        shutil.rmtree(state / name)
        (state / name).symlink_to(outside)
        with untouched(outside):
            try:
                with open_project(state, made / "data") as project:
                    client = asked(project)
                    everything_asked(client)
                    client.marks.close()
            except (ValueError, OSError) as error:
                assert str(error)


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_a_link_to_what_is_no_image_tells_nothing_of_it(tmp_path):
    data = make(tmp_path / "data", 4)
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret words")
    (data / "images" / "a" / "linked.png").symlink_to(secret)
    (data / "images" / "a" / "looped.png").symlink_to("looped.png")
    (data / "images" / "a" / "folder.png").symlink_to(tmp_path)
    with open_project(tmp_path / "state", data) as project:
        client = asked(project)
        for i in range(len(client.marks.names)):
            for what in READ:
                assert b"secret words" not in client.get(f"/api/images/{i}{what}").body
        for answer in everything_asked(client):
            assert b"secret words" not in answer.body
        client.marks.close()


def test_odd_names_in_the_page(tmp_path):
    data = tmp_path / "data"
    for k, name in enumerate(NAMES.values()):
        try:
            put(data / "images" / "ab"[k % 2], f"{k:02d}{name}.png", picture(k)[0])
        except (OSError, ValueError):
            continue  # this file system does not have it
    before = everything_under(data)
    with open_project(tmp_path / "state", data) as project:
        client = asked(project)
        for i, name in enumerate(client.marks.names):
            url = f"/api/images/{i}"
            shown = client.get(url).json["name"]
            assert not any(category(letter) == "Cc" for letter in shown), shown
            assert client.put(f"{url}/draft?revision=0", bytes(320)).status == 200, name
            assert client.put(f"{url}/marks?revision=0&answer=nothing").json == {"revision": 1}
            assert client.get(f"{url}/overlay?of=mask").status == 200
        assert len(client.get("/api/gallery?limit=500").json["images"]) == len(client.marks.names)
        client.marks.close()
    assert everything_under(data) == before
    for path in (tmp_path / "state").rglob("*"):
        assert os.path.commonpath([path.resolve(), tmp_path / "state"]) == str(tmp_path / "state")


@pytest.mark.parametrize("content", RAW, ids=range(len(RAW)))
def test_the_command_refuses_a_tampered_state_in_a_line(made, tmp_path, content):
    shutil.copytree(made / "state", tmp_path / "state")
    (tmp_path / "state" / "state.json").write_bytes(content)
    argv = ["annotate", made / "data", "--out", tmp_path / "state", "--no-browser"]
    attack(*argv, user=[made], out=[tmp_path / "state"], codes={1}, names=["state.json"])
