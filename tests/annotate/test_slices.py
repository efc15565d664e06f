"""What a slice learns from, when its model proposes, and what it leaves on the disk."""

import numpy as np
import pytest
from made_slides import write_slides

from alseg.annotate import slices as module
from alseg.annotate.slices import Slices
from alseg.project import keep, open_project, set_empty

SIZE = (32, 32)
TINY = {"encoder": "tiny", "image_size": list(SIZE), "device": "cpu"}
LITE = {"image_size": list(SIZE), "device": "cpu"}  # the encoder of "alseg-fast", with its weights


@pytest.fixture
def opened(tmp_path):
    """Opens a project of 12 images, of which the second half is of another label."""
    write_slides(tmp_path / "slides", 12, SIZE)
    opened = []

    def open_it(options):
        context = open_project(tmp_path / "state", tmp_path / "slides", {"estimator": options})
        opened.append(context)
        return context.__enter__()

    yield open_it
    for context in opened:
        context.__exit__(None, None, None)


def marked(project, ids):
    mask = np.zeros(SIZE, np.int16)
    mask[:16] = 1
    keep(project, {str(project.data.ids[i]): mask for i in ids})


def read(slices, held_out=()):
    wanted = slices.wanted(held_out)
    for i in slices.to_read(wanted):
        slices.read(i, wanted[i])
    return wanted


def written(project):
    return {path.name for path in (project.folder / "features").glob("??/*.npy")}


def test_nothing_is_proposed_before_twenty_steps(opened, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 1e-9)  # slices as short as may be
    project = opened(TINY)
    marked(project, [0, 1])
    slices, n_steps = Slices(project), []
    read(slices)
    while not slices.is_ready:
        before = slices.left
        slices.learn()
        n_steps.append(before - slices.left)
    assert n_steps == [6, 6, 6, 6] and slices.left == 90 - 24


def test_a_slice_ends_where_somebody_waits_and_the_next_one_goes_on(opened):
    project = opened(TINY)
    marked(project, range(4))
    slices, seen = Slices(project), []
    read(slices)
    assert slices.has_news
    assert slices.learn(lambda net: seen.append(net) or len(seen) == 2) == 2 == len(seen)
    assert slices.left == 90 - 2 and slices.n_marked == 0 and slices.has_news
    before = slices._model.module_.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    n_steps = slices.learn()
    assert n_steps >= 6 and slices.left == 88 - n_steps
    assert slices.n_marked == 4 and not slices.has_news
    after = slices._model.module_.state_dict()
    assert any((after[name] != value).any() for name, value in before.items())


def test_everything_marked_is_drawn_once_before_it_is_said_to_be_known(opened, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 1e-9)
    monkeypatch.setattr(module, "_FEWEST", 2)  # steps of four images, half of the eight new
    monkeypatch.setattr(module, "_FIRST", 2)
    project, drawn = opened(TINY), []
    monkeypatch.setattr(Slices, "_drawn", counting(Slices._drawn, drawn))
    marked(project, range(12))
    slices = Slices(project)
    read(slices)
    n_known = []
    while slices.left:
        slices.learn()
        n_known.append(slices.n_marked)
    assert 4 <= n_known[0] < 12 and n_known[-1] == 12
    assert set().union(*drawn) == set(range(12)) and {len(chosen) for chosen in drawn} == {8}


def counting(draw, drawn):
    def draw_it(self, n):
        found = draw(self, n)
        drawn.append(set(found))
        return found

    return draw_it


def test_images_that_are_empty_by_a_rule_teach_as_many_as_were_drawn(opened):
    project = opened(TINY)
    labels = project.data.labels.astype(str)
    of_rule = np.flatnonzero(labels == labels[0])
    drawn = np.flatnonzero(labels != labels[0])[:2].tolist()
    set_empty(project, labels[0], True)
    slices = Slices(project)
    assert read(slices) == {}  # a rule alone is nothing to learn from
    marked(project, drawn)
    known = [i for i, mask in enumerate(project.known_masks()) if mask is not None]
    wanted = read(slices)
    assert sorted(wanted) == known and len(known) == 4  # the same that a full fit takes
    assert list(wanted)[-2:] == drawn
    slices.learn()
    assert slices.n_known == 4 and slices.n_marked == 2
    for i in set(known) - set(drawn):
        assert i in of_rule and (slices._known[i][1] == 0).all()
    left_out = str(project.data.ids[drawn[0]])
    assert len(read(slices, [left_out])) == 2  # one drawn, one by the rule
    set_empty(project, labels[0], False)
    assert sorted(read(slices)) == sorted(drawn)


def test_at_least_half_of_what_is_known_was_drawn(opened, monkeypatch):
    monkeypatch.setattr(module, "_MOST", 4)
    project = opened(TINY)
    labels = project.data.labels.astype(str)
    set_empty(project, labels[0], True)
    marked(project, np.flatnonzero(labels != labels[0])[:5])
    wanted = Slices(project).wanted(())
    assert sorted(file == "rule" for file in wanted.values()) == [False, False, True, True]


def test_a_large_pool_keeps_maps_of_marked_images_alone(opened, monkeypatch):
    monkeypatch.setattr("alseg.project.state._CACHED", 3)
    project = opened(LITE)
    marked(project, [0])
    slices = Slices(project)
    read(slices)
    slices.learn()
    kept = written(project)
    assert 0 < len(kept) <= 5
    first = slices.predict(5)
    assert written(project) == kept  # looked at in passing
    assert np.array_equal(slices.predict(5), first)
    slices.predict(0)
    assert len(written(project)) <= len(kept) + 1  # a check is looked at again and again
    slices.learn()
    assert slices._model.module_.feature_memory.writes


def test_a_small_pool_keeps_maps_of_all_that_was_seen(opened):
    project = opened(LITE)
    marked(project, [0])
    slices = Slices(project)
    read(slices)
    slices.learn()
    kept = written(project)
    slices.predict(5)
    assert len(written(project)) == len(kept) + 1


def test_a_large_pool_never_fills_the_disk(opened, monkeypatch):
    monkeypatch.setattr("alseg.project.state._CACHED", 3)
    project = opened(LITE)
    slices = Slices(project)
    marked(project, [0])
    read(slices)
    slices.learn()
    (size,) = {path.stat().st_size for path in (project.folder / "features").glob("??/*.npy")}
    monkeypatch.setattr(module, "_DISK", 6 * size)
    for i in range(1, 4):
        marked(project, [i])
        read(slices)
        slices.learn()
        assert len(written(project)) <= 6
