"""The process behind the pen is killed while marks come in: nothing is lost, all is learned."""

import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from made_slides import write_slides
from waiting import wait_until

from alseg.annotate.behind import Behind
from alseg.annotate.bytes_of_masks import NOBODY
from alseg.annotate.marks import Marks
from alseg.project import open_project

SIZE = (24, 32)
TINY = {"encoder": "tiny", "max_epochs": 1, "image_size": list(SIZE), "device": "cpu"}
N_IMAGES = 6


@contextmanager
def marking(marks, said, every):
    """Somebody marks an image each so many seconds; what was answered is noted."""
    ends, rng, errors = threading.Event(), np.random.default_rng(0), []

    def draw():
        try:
            while not ends.is_set():
                i = int(rng.integers(N_IMAGES - 1))  # the last one stays open
                pixels = rng.integers(0, 2, SIZE, dtype=np.uint8)
                pixels[0] = NOBODY
                revision = marks.save(i, marks.revision(i), "marks", pixels.tobytes())
                said[i] = pixels, revision
                ends.wait(every)
        except Exception as error:
            errors.append(error)

    pen = threading.Thread(target=draw)
    pen.start()
    yield
    ends.set()
    pen.join()
    assert not errors


@contextmanager
def killed_often(tmp_path, monkeypatch, moments, every=0.01):
    """Kill the process once for each of `moments`, which waits until it is to happen."""
    monkeypatch.setattr("alseg.annotate.behind._DEATHS", np.inf)
    write_slides(tmp_path / "slides", N_IMAGES, SIZE)
    said, killed = {}, []
    options = {"estimator": TINY}
    with open_project(tmp_path / "state", tmp_path / "slides", options) as project:
        marks = Marks(project)
        behind = Behind(project, marks.checks.held_out)
        marks.changed = behind.changed

        def another():
            child = behind._child
            return child is not None and child.process not in killed

        with marking(marks, said, every):
            for moment in moments:
                wait_until(another)
                process = behind._child.process  # one that nobody has killed does not end
                moment(behind)
                process.kill()
                killed.append(process)
                process.wait()
        yield behind, said
        behind.close()
        marks.close()
    with open_project(tmp_path / "state") as project:
        marks = Marks(project)
        for i, (pixels, revision) in said.items():
            mask, found, _ = marks.read(i)
            assert found == revision and np.array_equal(np.where(mask < 0, NOBODY, mask), pixels)
        marks.close()


def test_marks_are_kept_while_it_is_killed(tmp_path, monkeypatch):
    with killed_often(tmp_path, monkeypatch, [lambda behind: None] * 4) as (_, said):
        assert said


@pytest.mark.slow
def test_killed_fifty_times_it_has_learned_from_all_marks_in_the_end(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)

    def at_once(behind):
        time.sleep(rng.uniform(0, 0.5))

    def once_it_learns(behind):
        known = behind.standing()["version"]
        wait_until(lambda: behind.standing()["version"] > known)

    moments = [once_it_learns if k % 8 == 7 else at_once for k in range(50)]
    # Marks are taken up before anything is learned: nobody saves a hundred a second for minutes.
    with killed_often(tmp_path, monkeypatch, moments, every=0.3) as (behind, said):

        def has_learned():
            found = behind.standing()
            return found["state"] == "waiting" and found["n_marked"] == len(said)

        wait_until(has_learned)
        assert behind.proposal(N_IMAGES - 1) is not None
