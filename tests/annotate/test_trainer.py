"""The process behind the pen itself, on tiny images: it learns, is killed, and ends."""

import json
import os
import random
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
import torch
from made_slides import write_slides
from PIL import Image
from waiting import wait_until

from alseg.annotate.behind import Behind
from alseg.project import keep, last_model, open_project
from alseg.project import predict as predict_all

SIZE = (48, 64)
TINY = {"encoder": "tiny", "max_epochs": 2, "image_size": list(SIZE), "device": "cpu"}
SERVER = """
import sys
from alseg.annotate import serve
serve(sys.argv[1], ready=lambda address: print(address, flush=True))
"""

READY = "Getting ready to learn"

pytestmark = pytest.mark.slow


@pytest.fixture
def slides(tmp_path):
    return write_slides(tmp_path / "slides", 8, SIZE)


def opened(tmp_path, **options):
    options = {"estimator": {**TINY, **options}}
    return open_project(tmp_path / "state", tmp_path / "slides", options)


def marked(project, slides, ids, part=None):
    """Keep true masks of images; `part` leaves out all but a corner."""
    true = dict(zip((f"s{name}" for name in slides.ids), slides.masks))
    masks = {}
    for i in ids:
        name = str(project.data.ids[i])
        masks[name] = np.array(true[name.split("/")[-1]], np.int16)
        if part is not None:
            masks[name][part:] = -1
    keep(project, masks)


def rests(behind, n_marked):
    """Wait until it has learned from so many images and has nothing left to do."""

    def has_done():
        found = behind.standing()
        assert found["state"] != "failed", found["error"]
        return found["state"] == "waiting" and found["n_marked"] == n_marked

    wait_until(has_done)


def test_it_learns_what_is_marked_and_proposes_for_all_others(tmp_path, slides):
    states = np.random.get_state()[1], random.getstate(), torch.get_rng_state()
    checked = []
    with opened(tmp_path) as project:
        marked(project, slides, range(4))
        held_out = [str(project.data.ids[3])]
        behind = Behind(project, lambda: held_out, checked.append)
        behind.opens([5, 6])
        rests(behind, 3)
        for i in range(8):
            version, pixels = behind.proposal(i)
            assert len(pixels) == SIZE[0] * SIZE[1] and version > 0
            assert 0 <= behind.uncertainty(i) <= 1
            top, left, height, width = behind.frame(i)
            assert (height, width) == (16, 21) and top <= 32 and left <= 43
        counts = np.array(checked[-1]["counts"][held_out[0]])
        assert counts.shape == (2, 2) and counts.sum() == SIZE[0] * SIZE[1]
        assert checked[-1]["n_marked"] == 3
        mask = project.mask(3)
        assert counts.sum(1).tolist() == [(mask == 0).sum(), (mask == 1).sum()]
        held_out.clear()
        marked(project, slides, [4], part=10)
        behind.changed()
        rests(behind, 5)
        behind.close()
    assert (np.random.get_state()[1] == states[0]).all() and random.getstate() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_it_gets_ready_while_somebody_draws_and_then_waits(tmp_path, slides):
    with opened(tmp_path) as project:
        behind, said = Behind(project), []
        behind.draws()
        wait_until(lambda: said.append(behind.standing()) or said[-1]["text"] == READY)
        wait_until(lambda: behind.standing()["state"] == "waiting")
        assert behind.standing()["text"] == "Learning begins with the first marks."
        pid = behind._child.process.pid
        marked(project, slides, [0, 1])
        behind.changed()
        rests(behind, 2)
        assert behind._child.process.pid == pid
        behind.close()


def test_what_it_proposes_is_like_what_was_drawn(tmp_path, slides):
    with opened(tmp_path) as project:
        marked(project, slides, range(6))
        behind = Behind(project)
        behind.opens([7])
        rests(behind, 6)
        found = np.frombuffer(behind.proposal(0)[1], np.uint8).reshape(SIZE)
        drawn = project.mask(0) == 1
        assert found[drawn].mean() > found[~drawn].mean() + 30
        behind.close()


def test_several_classes_have_a_plane_of_the_likeliest(tmp_path, slides):
    with opened(tmp_path, n_mask_classes=3) as project:
        marked(project, slides, [0, 1])
        behind = Behind(project)
        behind.changed()
        rests(behind, 2)
        _, pixels = behind.proposal(5)
        planes = np.frombuffer(pixels, np.uint8).reshape(2, *SIZE)
        assert set(np.unique(planes[1])) <= {1, 2}
        behind.close()


def test_an_image_that_cannot_be_read_is_left_out(tmp_path, slides):
    with opened(tmp_path) as project:
        marked(project, slides, range(3))
        cut_off(project.data.images.paths[1])
        cut_off(project.data.images.paths[6])
        unreadable = {}
        behind = Behind(project, on_unreadable=unreadable.__setitem__)
        behind.opens([1, 4])
        rests(behind, 2)
        assert behind.proposal(1) is None and behind.proposal(4) is not None
        wait_until(lambda: set(unreadable) == {1, 6})  # one is marked, one was looked at
        assert all(project.data.images.paths[i] in why for i, why in unreadable.items())
        behind.close()


def cut_off(path):
    """Leave the header of an image, and not all of its pixels."""
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(content[: 2 * len(content) // 3])


def test_killed_it_is_started_again_and_knows_everything(tmp_path, slides):
    with opened(tmp_path) as project:
        marked(project, slides, range(3))
        behind = Behind(project)
        behind.changed()
        rests(behind, 3)
        version = behind.proposal(5)[0]
        first = behind._child.process
        first.kill()
        first.wait()
        marked(project, slides, [3])
        behind.changed()
        rests(behind, 4)
        assert behind._child.process.pid != first.pid
        wait_until(lambda: behind.proposal(5)[0] > version)
        behind.close()


def test_a_pause_fits_the_recipe_of_the_project_which_predict_then_finds(tmp_path, slides):
    with opened(tmp_path) as project:
        marked(project, slides, range(3))
        behind = Behind(project, pause=0.01)
        behind.changed()
        wait_until(lambda: any(n.startswith("model-") for n in project.files.names()))
        (name,) = {n.split("/")[0] for n in project.files.names() if n.startswith("model-")}
        behind.close()
        said = []
        out = tmp_path / "out"
        found = predict_all(project, tmp_path / "slides", out, say=said.append)
        assert found["n"] == 8 and said == []  # nothing was fitted
        assert last_model(project).endswith(name)


def test_masks_of_all_images_are_written(tmp_path, slides):
    with opened(tmp_path) as project:
        marked(project, slides, range(3))
        behind = Behind(project)
        behind.predict()
        wait_until(lambda: (project.folder / "predicted" / "labels.csv").is_file())
        wait_until(lambda: behind.standing()["state"] == "waiting")
        masks = sorted((project.folder / "predicted").rglob("*.png"))
        assert len(masks) == 8
        assert all(Image.open(path).size == SIZE[::-1] for path in masks)
        behind.close()


def test_a_full_fit_makes_way_and_is_begun_again_at_the_next_pause(tmp_path, slides):
    now = [0.0]
    with opened(tmp_path, max_epochs=10**6) as project:  # it would take days
        marked(project, slides, range(3))
        behind = Behind(project, clock=lambda: now[0])
        behind.changed()
        rests(behind, 3)
        for n_marked in (4, 5):
            now[0] += 61
            wait_until(lambda: behind.standing()["state"] == "full fit")
            wait_until(lambda: behind.standing()["done"] > 1)
            found = behind.standing()
            assert found["text"].startswith("You pause: full training on")
            assert found["total"] >= 10**6 and found["seconds_left"] > 60
            behind.touched()
            wait_until(lambda: behind.standing()["state"] != "full fit")
            rests(behind, n_marked - 1)
            if n_marked == 4:  # the same marks: the next pause begins again
                now[0] += 61
                wait_until(lambda: behind.standing()["state"] == "full fit")
            marked(project, slides, [n_marked - 1])
            behind.changed()
            rests(behind, n_marked)
        assert not list(project.folder.glob("model-*"))
        behind.close()


def written(folder):
    """When each mask was written; what is half written has a name that begins with a dot."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("[!.]*.png")}


def test_masks_half_written_when_the_server_ends_are_gone_on_with(tmp_path, slides):
    with opened(tmp_path) as project:
        marked(project, slides, range(3))
        out = project.folder / "predicted"
        behind = Behind(project)
        behind.predict()
        wait_until(lambda: written(out))
        behind.close()  # kills the process
        done = written(out)
        if (out / "labels.csv").is_file():  # it was quicker than the kill: as if it had not been
            (out / "labels.csv").unlink()
            done.pop(last := max(done))
            last.unlink()
            project.files.write_json("predicting.json", {})
    with opened(tmp_path) as project:
        behind = Behind(project)
        found = behind.predicting()
        assert found["ready"] and not found["running"] and "press again" in found["why"]
        behind.predict()
        wait_until(lambda: not behind.predicting()["running"])
        found = behind.predicting()
        assert found["error"] is None and found["why"] == "" and found["out"] == str(out)
        now = written(out)
        assert len(now) == 8 and {path: now[path] for path in done} == done  # not predicted again
        assert not list(out.rglob(".*.png"))
        behind.close()


def test_it_ends_with_a_server_that_is_killed(tmp_path, slides):
    with opened(tmp_path) as project:
        marked(project, slides, range(3))
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path / "state")], stdout=subprocess.PIPE, text=True
    )
    address, token = server.stdout.readline().strip().split("/?token=")

    def ask(path):
        request = urllib.request.Request(address + path, headers={"X-Alseg-Token": token})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    ask("/api/next")
    wait_until(lambda: ask("/api/standing")["training"]["version"] > 0)
    children = children_of(server.pid)
    assert len(children) == 1
    server.send_signal(signal.SIGKILL)
    server.wait()
    server.stdout.close()
    wait_until(lambda: not is_alive(children[0]))


def children_of(pid):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found.append(int(name))
    return found


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
