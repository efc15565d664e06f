"""Answers kept without files, and questions asked at once: what `alseg annotate` stands on."""

import json

import numpy as np
import pytest
from made_slides import write_slides

from alseg.labels import MISSING
from alseg.project import ProjectError, add, ask, ask_at_once, keep, open_project, undo
from alseg.project.mask_files import mask_bytes
from alseg.validation import EmptyPool

FAST = {"encoder": "tiny", "max_epochs": 1, "image_size": [24, 32], "device": "cpu"}


@pytest.fixture
def slides(tmp_path):
    """Six images of two classes, without a mask."""
    write_slides(tmp_path / "slides", 6)
    return tmp_path / "slides"


@pytest.fixture
def state(slides, tmp_path):
    with open_project(tmp_path / "state", slides, {"estimator": FAST}):
        return tmp_path / "state"


def some(value=MISSING):
    mask = np.full((24, 32), value, np.int16)
    mask[2:9, 3:20] = 1
    mask[12:15] = 0
    return mask


def test_what_is_kept_is_known_whole_or_in_part(state):
    with open_project(state) as project:
        first, second = project.data.ids[:2].tolist()
        looks = keep(project, {first: some(), second: some(0)})
        assert looks[first].annotated == pytest.approx((7 * 17 + 3 * 32) / (24 * 32))
    with open_project(state) as project:
        known = project.known_masks()
        assert (known[0] == some()).all() and (known[1] == some(0)).all()
        assert project.has_mask().tolist() == [True, True, False, False, False, False]
        shares = [project.state["masks"][name]["annotated"] for name in (first, second)]
        assert shares[0] == looks[first].annotated and shares[1] == 1


def test_every_change_of_a_mask_is_counted(state, tmp_path):
    with open_project(state) as project:
        name = project.data.ids[0]
        keep(project, {name: some()})
        keep(project, {name: some(0)})
        assert project.state["revisions"] == {name: 2}
        undo(project)
        assert project.state["revisions"] == {name: 3}
        assert (project.known_masks()[0] == some()).all()
        (tmp_path / "drawn").mkdir()
        (tmp_path / "drawn" / f"{name}.png").write_bytes(mask_bytes(some(0)))
        add(project, tmp_path / "drawn", replace=True)
        add(project, tmp_path / "drawn")  # there already
        assert project.state["revisions"] == {name: 4}


def test_the_first_question_at_once_is_that_of_query(state, slides, tmp_path):
    with open_project(tmp_path / "other", slides, {"estimator": FAST}) as other:
        expected = ask(other, 3)["ids"]
    with open_project(state) as project:
        found = ask_at_once(project, 3)
        assert found["ids"] == expected == project.pending()
        assert found["why"].startswith("Drawn at random, the classes alike")
        more = ask_at_once(project, 9)["ids"]
        assert sorted(expected + more) == sorted(project.data.ids)
        with pytest.raises(EmptyPool, match="All 6 images"):
            ask_at_once(project, 1)
    assert not list(state.glob("model-*"))


def test_scores_of_the_last_model_decide_whatever_was_drawn_since(state):
    with open_project(state, options={"class_balanced": False}) as project:
        names = project.data.ids.tolist()
        keep(project, {names[0]: some(0)})
        scores = dict(zip(names[1:], [0.1, 0.5, 0.3, 0.9, 0.2]))
        kept = {"of": ["an earlier model", "entropy"], "scores": scores}
        project.files.write_json("scores.json", kept)
        found = ask_at_once(project, 2)
        assert found["ids"] == [names[4], names[2]]
        assert found["why"].startswith("Among the highest by entropy of 5 images")
        project.files.write_json("scores.json", {**kept, "of": ["a model", "random"]})
        assert ask_at_once(project, 2)["why"].startswith("Drawn at random: no model")


def test_skipped_images_are_not_asked_for_until_they_have_a_mask(state):
    with open_project(state) as project:
        first = ask_at_once(project, 2)["ids"]
        project.state["skipped"] = first[:1]
        project.write()
        assert project.pending() == first[1:]
        found = ask(project, 6, new=True)["ids"]
        assert len(found) == 4 and not set(found) & set(first)
        keep(project, {first[0]: some()})
        assert project.state["skipped"] == []


def test_corrected_labels_are_those_of_the_images(state):
    with open_project(state) as project:
        names, labels = project.data.ids.tolist(), project.data.labels.tolist()
        other = next(label for label in labels if label != labels[0])
        project.state["labels"] = {names[0]: other, "gone": other, names[1]: "no class"}
        project.write()
    with open_project(state) as project:
        assert project.data.labels.tolist() == [other, *labels[1:]]


@pytest.mark.parametrize(
    "name, value, what",
    [
        ("skipped", {"a": 1}, "'skipped' must be names"),
        ("labels", {"a": 1}, "'labels' must be names by name"),
        ("revisions", {"a": -1}, "'revisions' must be numbers"),
        ("revisions", [], "'revisions' must be numbers"),
        ("masks", {"a": {"file": "a.png", "annotated": "all"}}, "annotated share of 'a'"),
    ],
)
def test_a_state_that_says_otherwise_is_refused(state, name, value, what):
    path = state / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(ProjectError, match=what), open_project(state):
        pass


def test_options_are_kept_where_nothing_is_asked(state, slides):
    def options():
        return json.loads((state / "state.json").read_text())["options"]

    said = {"encoder": "tiny", "objects": "border"}
    with open_project(state) as project:
        ask(project, 2)
    with open_project(state, options={"estimator": said}) as project:
        assert ask(project, 2)["again"]
    assert options()["estimator"] == {**FAST, **said}
    with open_project(state) as project:
        keep(project, dict.fromkeys(project.data.ids.tolist(), some(0)))
    more = {"seed": 3, "estimator": {"objects": "distance"}}
    with (
        open_project(state, options=more) as project,
        pytest.raises(EmptyPool, match="All 6 images have a mask"),
    ):
        ask(project, 2)
    assert options() == {"seed": 3, "estimator": {**FAST, "objects": "distance"}}
    # What does not fit the folder is not kept, and no command without options writes anything.
    bad = {"seed": 4, "mask_kind": "instances"}
    with pytest.raises(ProjectError, match="mask_kind"), open_project(state, options=bad):
        pass
    before = (state / "state.json").stat().st_mtime_ns
    with open_project(state, slides, {"estimator": {}}):
        pass
    assert options()["seed"] == 3 and (state / "state.json").stat().st_mtime_ns == before


def test_a_folder_that_has_moved_is_kept_where_nothing_is_asked(state, slides, tmp_path):
    with open_project(state) as project:
        first = ask(project, 2)["ids"]
    slides.rename(tmp_path / "moved")
    with open_project(state, tmp_path / "moved") as project:
        assert ask(project, 2)["ids"] == first
    with open_project(state) as project:
        assert project.state["data"] == str(tmp_path / "moved") and project.pending() == first
