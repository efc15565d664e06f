"""The state folder of an annotator: what is kept, taken back, predicted, and never touched."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_slides import write_slides
from PIL import Image

from alseg.cli import main
from alseg.datasets import make_glands
from alseg.project import ProjectError, add, ask, open_project, predict, predicting, undo
from alseg.project.mask_files import mask_bytes, read_proposal, read_stored, stored_bytes

FAST = {"encoder": "tiny", "max_epochs": 1, "image_size": [24, 32], "device": "cpu"}


@pytest.fixture
def slides(tmp_path):
    """Ten images of two classes in folders, without a mask; and their true masks."""
    glands = write_slides(tmp_path / "slides", 10)
    truth = {f"s{name}": mask for name, mask in zip(glands.ids, glands.masks)}
    return tmp_path / "slides", truth


@pytest.fixture
def guarded(slides, tmp_path):
    """As `slides`; at the end no file of the user's has changed."""

    def digests():
        return {
            p: hashlib.sha256(p.read_bytes()).hexdigest()
            for p in slides[0].rglob("*")
            if p.is_file()
        }

    before = digests()
    yield slides
    assert digests() == before


def draw(folder, truth, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.png").write_bytes(mask_bytes(truth[name]))
    return folder


def opened(state, root=None, **options):
    return open_project(state, root, {"estimator": FAST, **options})


def asked(state, root=None, n=2, new=False, **options):
    with opened(state, root, **options) as project:
        return ask(project, n, new=new, max_seconds=None)


def added(state, folder, **options):
    with open_project(state) as project:
        return add(project, folder, **options)


def read_state(state):
    return json.loads((state / "state.json").read_text())


def test_masks_as_files_are_what_they_were():
    mask = np.array([[0, 1, -1], [2, 0, 253]], np.int16)
    path = Path("m.png")
    for data, read, same in (
        (stored_bytes(mask), read_stored, mask),
        (mask_bytes(mask % 3, 3), lambda p: read_proposal(p, 3), mask % 3),
        (mask_bytes(mask > 0), read_proposal, mask > 0),
    ):
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "m.png")
            path.write_bytes(data)
            np.testing.assert_array_equal(read(path), same)


# -- asking ---------------------------------------------------------------------------------------


def test_the_first_question_needs_no_model(guarded, tmp_path, monkeypatch):
    monkeypatch.setattr("alseg.learner.loop.ActiveLearner.fit", None)
    root, truth = guarded
    found = asked(tmp_path / "state", root, n=4)
    assert len(set(found["ids"])) == 4 and found["looked_at"] is None
    with opened(tmp_path / "state") as project:
        labels = project.data.labels[[project.positions[name] for name in found["ids"]]]
    assert sorted(labels) == ["irregular"] * 2 + ["regular"] * 2
    # Another seed, another question; the same, the same.
    assert asked(tmp_path / "again", root, n=4, seed=0)["ids"] == found["ids"]
    others = [
        tuple(asked(tmp_path / f"s{seed}", root, n=4, seed=seed)["ids"]) for seed in (1, 2, 3)
    ]
    assert len({*others, tuple(found["ids"])}) > 1


def test_first_images_may_be_diverse(slides, tmp_path):
    """Two kinds of pictures of one class, one of them rare: both are asked for."""
    root, _ = slides
    shutil.rmtree(root / "images")
    folder = root / "images" / "all"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(10):
        pixels = rng.integers(0, 256, (48, 64, 3)) if i < 2 else np.full((48, 64, 3), 90 + 9 * i)
        Image.fromarray(pixels.astype(np.uint8)).save(
            folder / f"{'rare' if i < 2 else 'usual'}{i}.png"
        )
    for seed in range(3):
        found = asked(tmp_path / f"s{seed}", root, n=2, first="diverse", seed=seed)
        assert sorted(name[:4] for name in found["ids"]) == ["rare", "usua"]


def test_propose_fits_class_labels_first(guarded, tmp_path):
    root, _ = guarded
    with opened(tmp_path / "state", root) as project:
        found = ask(project, 2, propose=True)
    queries = json.loads((found["folder"] / "queries.json").read_text())["queries"]
    assert all((found["folder"] / q["proposal"]).is_file() for q in queries)


def test_no_near_duplicates_in_one_round(slides, tmp_path):
    root, _ = slides
    folder = next((root / "images").iterdir())
    shutil.rmtree(root / "images")
    glands = make_glands(3, image_size=(96, 128), random_state=5)
    folder.mkdir(parents=True)
    for k, image in enumerate(glands.images):  # three pictures, each in four exposures
        for e, gain in enumerate((0.8, 0.9, 1.0, 1.1)):
            exposed = np.clip(image * gain, 0, 255).astype(np.uint8)
            Image.fromarray(exposed).save(folder / f"p{k}_e{e}.png")
    for seed in range(4):
        found = asked(tmp_path / f"state{seed}", root, n=3, seed=seed)
        assert {name[:2] for name in found["ids"]} == {"p0", "p1", "p2"}
    # More than there are different ones: copies are better than nothing.
    assert len(asked(tmp_path / "state", root, n=5)["ids"]) == 5


def test_images_that_cannot_be_read_are_left_out(slides, tmp_path):
    root, truth = slides
    files = sorted((root / "images").rglob("*.png"))
    for file in files[:3]:
        file.write_bytes(file.read_bytes()[:60])
    broken = {file.stem for file in files[:3]}
    state = tmp_path / "state"
    found = asked(state, root, n=7)
    assert not broken & set(found["ids"]) and len(found["ids"]) == 7
    for name, reason in found["unreadable"].items():
        assert name in broken and f"{name}.png" in reason
    added(state, draw(tmp_path / "drawn", truth, found["ids"][:3]))
    undo_to = found["ids"][3:]
    again = asked(state, n=4)  # a fit, and looking at the rest, go round them
    assert again["again"] and set(again["open"]) == set(undo_to)
    with opened(state) as project:
        undo(project)  # the masks
        undo(project)  # the question
    added(state, tmp_path / "drawn")
    later = asked(state, n=4)
    assert not broken & set(later["ids"]) and set(later["unreadable"]) == broken
    with pytest.raises(ValueError, match="None of the 3 images left can be read"):
        added(state, draw(tmp_path / "rest", truth, set(truth) - broken - set(found["ids"][:3])))
        asked(state, n=1)


def test_scores_are_kept_for_the_same_model(slides, tmp_path, monkeypatch):
    root, truth = slides
    state = tmp_path / "state"
    first = asked(state, root, n=2)
    added(state, draw(tmp_path / "drawn", truth, first["ids"]))
    second = asked(state, n=2)
    assert second["looked_at"] == second["pool"] == 8
    kept = json.loads((state / "scores.json").read_text())["scores"]
    assert set(kept) == set(truth) - set(first["ids"])

    from alseg.segmenter.estimator import JointCAMSegmenter

    monkeypatch.setattr(JointCAMSegmenter, "predict_uncertainty", None)  # nobody looks again
    third = asked(state, n=2, new=True)
    assert not set(third["ids"]) & {*first["ids"], *second["ids"]}
    # The best of what was not asked for, class by class.
    with opened(state) as project:
        label = {name: project.data.labels[i] for name, i in project.positions.items()}
    for name in third["ids"]:
        rivals = [
            other
            for other in kept
            if label[other] == label[name] and other not in {*second["ids"], *third["ids"]}
        ]
        assert all(kept[name] >= kept[other] for other in rivals)


def test_damaged_scores_are_made_anew(slides, tmp_path):
    root, truth = slides
    state = tmp_path / "state"
    first = asked(state, root, n=2)
    added(state, draw(tmp_path / "drawn", truth, first["ids"]))
    second = asked(state, n=2)
    for text in ("", "[" * 5000, '{"of": 1}', '{"of": [], "scores": 3}'):
        with opened(state) as project:
            undo(project)
            project.files.remove("scores.json")
        (state / "scores.json").write_text(text)
        assert asked(state, n=2)["ids"] == second["ids"]
        assert (state / "scores.json").read_text() == text  # somebody else's: it stays


class Killed(BaseException):
    """A kill: no handler of errors sees it."""


@pytest.mark.parametrize("moment", ["fitted", "asked", "written"])
def test_a_killed_question_is_asked_again(guarded, tmp_path, monkeypatch, moment):
    root, truth = guarded
    states = tmp_path / "whole", tmp_path / "killed"
    for state in states:
        names = asked(state, root, n=2)["ids"]
        added(state, draw(tmp_path / "drawn", truth, names))
    whole = asked(states[0], n=3)

    def die(*args, **kwargs):
        raise Killed

    target = {
        "fitted": "alseg.project.asking._Question.most_worth",
        "asked": "alseg.project.asking._write",
        "written": "alseg.project.state.Project.write",
    }[moment]
    with monkeypatch.context() as patch:
        patch.setattr(target, die)
        with pytest.raises(Killed):
            asked(states[1], n=3)
    assert len(read_state(states[1])["rounds"]) == 1
    assert asked(states[1], n=3)["ids"] == whole["ids"]
    files = [
        {p.relative_to(state): p.read_bytes() for p in (state / "ask").rglob("*.png")}
        for state in states
    ]
    assert files[0] == files[1] and files[0]
    assert len(list(states[1].glob("model-*"))) == 1


def test_a_killed_add_is_given_again(guarded, tmp_path, monkeypatch):
    root, truth = guarded
    state = tmp_path / "state"
    names = asked(state, root, n=2)["ids"]
    drawn = draw(tmp_path / "drawn", truth, names)

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("alseg.project.state.Project.write", die)
        with pytest.raises(Killed):
            added(state, drawn)
    assert set(asked(state)["open"]) == set(names)  # not added: asked again
    assert sorted(added(state, drawn)["looks"]) == sorted(names)
    assert len(list((state / "masks").glob("*.png"))) == 2


# -- answers --------------------------------------------------------------------------------------


def test_add_is_taken_back_by_undo(guarded, tmp_path):
    root, truth = guarded
    state = tmp_path / "state"
    names = asked(state, root, n=2)["ids"]
    before = read_state(state)
    added(state, draw(tmp_path / "one", truth, names))
    other = {name: 1 - mask for name, mask in truth.items()}
    with pytest.raises(ProjectError, match="has a mask already, another one"):
        added(state, draw(tmp_path / "two", other, names))
    added(state, tmp_path / "two", replace=True)
    with open_project(state) as project:
        known = project.known_masks()
        np.testing.assert_array_equal(known[project.positions[names[0]]], other[names[0]])
        assert undo(project) == {"command": "add", "ids": sorted(names)}
    with open_project(state) as project:
        known = project.known_masks()
        np.testing.assert_array_equal(known[project.positions[names[0]]], truth[names[0]])
        undo(project)
        assert set(project.pending()) == set(names)
        assert undo(project) == {"command": "query", "ids": names}
        with pytest.raises(ProjectError, match="nothing to undo"):
            undo(project)
    after = read_state(state)
    assert after["masks"] == before["masks"] == {} and after["rounds"] == []
    assert not list((state / "masks").glob("*")) if (state / "masks").exists() else True


def test_the_same_masks_again_are_no_error(guarded, tmp_path):
    root, truth = guarded
    state = tmp_path / "state"
    names = asked(state, root, n=2)["ids"]
    drawn = draw(tmp_path / "drawn", truth, names)
    added(state, drawn)
    before = read_state(state)
    found = added(state, drawn)
    assert sorted(found["same"]) == sorted(names) and not found["looks"]
    assert read_state(state) == before


def test_add_leaves_what_is_not_ours(guarded, tmp_path):
    root, truth = guarded
    state = tmp_path / "state"
    names = asked(state, root, n=2)["ids"]
    (state / "masks" / "older").mkdir(parents=True)
    (state / "masks" / "mine.png").write_bytes(b"a week's work")
    (state / "masks" / "older" / "mine.png").write_bytes(b"another")
    added(state, draw(tmp_path / "drawn", truth, names))
    assert (state / "masks" / "mine.png").read_bytes() == b"a week's work"
    assert (state / "masks" / "older" / "mine.png").read_bytes() == b"another"
    # A mask of ours that somebody has worked on is theirs: it is not deleted when it is undone.
    (ours,) = [p for p in (state / "masks").glob(f"{names[0]}-*.png")]
    ours.write_bytes(mask_bytes(1 - truth[names[0]]))
    with open_project(state) as project:
        undo(project)
    assert ours.exists()


def test_how_masks_are_coded_is_decided_once(slides, tmp_path):
    root, truth = slides
    state = tmp_path / "state"
    names = asked(state, root, n=4)["ids"]
    added(state, draw(tmp_path / "drawn", truth, names[:2]))  # 0 and 255
    ids = tmp_path / "ids"
    ids.mkdir()
    Image.fromarray(truth[names[2]].astype(np.uint8)).save(ids / f"{names[2]}.png")  # 0 and 1
    with pytest.raises(ProjectError, match=f"{names[2]}.png.*value 1"):
        added(state, ids)
    added(state, ids, mask_mapping="binary")
    with open_project(state) as project:
        known = project.known_masks()
        for name in names[:3]:
            np.testing.assert_array_equal(known[project.positions[name]], truth[name])


def test_sizes_and_suffixes_on_request(slides, tmp_path):
    root, truth = slides
    state = tmp_path / "state"
    (name, other) = asked(state, root, n=2)["ids"]
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    mask = truth[name].astype(np.uint8) * 255
    Image.fromarray(mask.repeat(2, 0).repeat(2, 1)).save(drawn / f"{name}.png")
    with pytest.raises(ProjectError, match="48 x 64 pixels, its image 24 x 32.*--resize-masks"):
        added(state, drawn)
    added(state, drawn, resize_masks=True)
    left, right = truth[other].copy(), truth[other].copy()
    left[:, 16:], right[:, :16] = 0, 0
    parts = tmp_path / "parts"
    parts.mkdir()
    for k, part in enumerate((left, right)):
        Image.fromarray(part.astype(np.uint8) * 255).save(parts / f"{other}_mask_{k}.png")
    added(state, parts, mask_suffix="_mask")
    with open_project(state) as project:
        known = project.known_masks()
        np.testing.assert_array_equal(known[project.positions[name]], truth[name])
        np.testing.assert_array_equal(known[project.positions[other]], truth[other])


def test_names_of_classes(slides, tmp_path, capsys):
    root, truth = slides
    state = tmp_path / "state"
    code = main(
        [
            "query",
            "--data",
            str(root),
            "--out",
            str(state),
            "-n",
            "1",
            "--mask-classes",
            "gland,<b>lumen</b>",
            "--encoder",
            "tiny",
            "--max-epochs",
            "1",
        ]
    )
    name = capsys.readouterr().out.strip()
    assert code == 0 and read_state(state)["options"]["estimator"]["n_mask_classes"] == 3
    page = (state / "ask" / "round_001" / "index.html").read_text()
    assert "gland = 1" in page and "&lt;b&gt;lumen&lt;/b&gt; = 2" in page and "<b>lumen" not in page
    mask = truth[name].copy()
    mask[:, :8] *= 2
    (tmp_path / "drawn").mkdir()
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "drawn" / f"{name}.png")
    assert main(["add", str(state), str(tmp_path / "drawn")]) == 0
    line = capsys.readouterr().out
    assert f"gland {100 * np.mean(mask == 1):.0f} %" in line and "<b>lumen</b>" in line
    with pytest.raises(ProjectError, match="mask_classes must be 2 names"):
        asked(state, mask_classes=["one"])


# -- predictions ----------------------------------------------------------------------------------


@pytest.fixture
def trained(slides, tmp_path):
    root, truth = slides
    state = tmp_path / "state"
    names = asked(state, root, n=4)["ids"]
    added(state, draw(tmp_path / "drawn", truth, names))
    return root, truth, state


def predicted(state, source, out, **options):
    with opened(state) as project:
        return predict(project, source, out, **options)


def test_one_bad_file_is_named_and_the_rest_is_done(trained, tmp_path, capsys):
    root, truth, state = trained
    shutil.copytree(root / "images", tmp_path / "new")
    files = sorted((tmp_path / "new").rglob("*.png"))
    files[0].write_bytes(b"no image")
    files[1].write_bytes(files[1].read_bytes()[:-40])  # its header is whole
    (tmp_path / "new" / "notes.txt").write_text("x")
    argv = ["predict", str(state), str(tmp_path / "new"), "--out", str(tmp_path / "out")]
    assert main(argv) == 1
    err = capsys.readouterr().err
    assert "2 of 10 images could not be read" in err and files[0].name in err
    assert "notes.txt" in err and "Traceback" not in err
    assert len(list((tmp_path / "out").rglob("*.png"))) == 8
    rows = (tmp_path / "out" / "labels.csv").read_text().splitlines()
    assert len(rows) == 9 and not any(files[0].name in row for row in rows)


def test_predict_goes_on_where_it_was_killed(trained, tmp_path, monkeypatch):
    root, truth, state = trained
    whole = tmp_path / "whole"
    assert predicted(state, root / "images", whole)["n"] == 10

    from alseg.files import OwnFolder

    write, left = OwnFolder.write, [3]

    def dies(folder, name, data):
        if name.endswith(".png"):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
        return write(folder, name, data)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(OwnFolder, "write", dies)
        with pytest.raises(Killed):
            predicted(state, root / "images", out)
    assert len(list(out.rglob("*.png"))) == 3 and not (out / "labels.csv").exists()
    calls = []
    predicted(state, root / "images", out, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(10, 10)]  # seven of them
    for file in whole.rglob("*"):
        if file.is_file() and not file.name.startswith("."):
            assert (out / file.relative_to(whole)).read_bytes() == file.read_bytes()
    # Given again, it has nothing to do and changes nothing.
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
    monkeypatch.setattr("alseg.segmenter.estimator.JointCAMSegmenter.predict_joint", None)
    assert predicted(state, root / "images", out)["n"] == 10
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.png")} == before


def test_predict_never_replaces_what_somebody_drew(trained, tmp_path):
    root, truth, state = trained
    out = tmp_path / "out"
    predicted(state, root / "images", out)
    edited = sorted(out.rglob("*.png"))[0]
    drawn = np.indices((24, 32)).sum(0) % 2
    edited.write_bytes(mask_bytes(drawn))
    found = predicted(state, root / "images", out)
    assert [Path(name).stem for name in found["kept"]] == [edited.stem]
    # A newer model: only on request, and the edited one stays even so.
    names = asked(state, n=2)["ids"]
    added(state, draw(tmp_path / "more", truth, names))
    with pytest.raises(ProjectError, match="of another image or an earlier model"):
        predicted(state, root / "images", out)
    found = predicted(state, root / "images", out, overwrite=True)
    assert len(found["kept"]) == 1 and found["n"] == 10
    np.testing.assert_array_equal(read_proposal(edited), drawn)
    # A file of that name that was there before is no prediction.
    other = tmp_path / "other"
    (other / edited.relative_to(out)).parent.mkdir(parents=True)
    (other / edited.relative_to(out)).write_bytes(b"mine")
    for overwrite in (False, True):
        with pytest.raises(ProjectError, match="alseg did not write it"):
            predicted(state, root / "images", other, overwrite=overwrite)
    assert (other / edited.relative_to(out)).read_bytes() == b"mine"


def test_predict_takes_the_images_of_a_folder_and_not_its_masks(trained, tmp_path):
    root, truth, state = trained
    draw(root / "masks", truth, sorted(truth)[:3])
    found = predicted(state, root, root / "out")
    assert found["n"] == 10
    shutil.copytree(root / "images", tmp_path / "new")
    for _ in range(2):  # the second time not its own masks
        assert predicted(state, tmp_path / "new", tmp_path / "new" / "out")["n"] == 10
    with pytest.raises(ProjectError, match="out must be a folder outside the images"):
        predicted(state, root / "images", root / "images" / "out")


def test_a_state_among_the_images_is_refused(slides, tmp_path):
    root, _ = slides
    flat = root / "images"  # of folders of classes alone
    match = "out must be a folder outside the images"
    for inside in (flat / "state", flat / "a" / "b"):
        with pytest.raises(ProjectError, match=match), opened(inside, flat):
            pass
    assert not (flat / "state").exists()
    with opened(root / "state", root):  # images lie in images/ alone
        pass
    (flat / "manifest.csv").write_text(f"image\n{next(flat.rglob('*.png')).relative_to(flat)}\n")
    with opened(flat / "state", flat) as project:  # those that it names alone
        assert len(project.data) == 1


def test_masks_beside_images_are_not_predicted(trained, tmp_path):
    root, truth, state = trained
    new = tmp_path / "new"
    shutil.copytree(root / "images", new)
    for name in sorted(truth)[:3]:
        (new / f"{name}_mask.png").write_bytes(mask_bytes(truth[name]))
    assert predicted(state, new, tmp_path / "all")["n"] == 13
    with opened(state, mask_suffix="_mask") as project:
        assert predict(project, new, tmp_path / "images")["n"] == 10


def test_subfolders_keep_their_names_where_they_are_safe():
    names = ["Tag Pfauenauge/A.png", "Tag Pfauenauge/Böse/a.png", "x/Y/b.png", "x/y/b.png", "c.png"]
    found = predicting._targets([*names, "/abs/Con/d.png"])
    assert found["Tag Pfauenauge/A.png"] == "Tag Pfauenauge/A.png"
    assert found["Tag Pfauenauge/Böse/a.png"] == "Tag Pfauenauge/Böse/a.png"
    assert found["c.png"] == "c.png" and found["x/y/b.png"] == "x/y/b.png"
    assert re.fullmatch(r"x/y~\w{12}/b\.png", found["x/Y/b.png"])
    assert re.fullmatch(r"abs/_con~\w{12}/d\.png", found["/abs/Con/d.png"])
    with pytest.raises(ProjectError, match="Two images would have one mask: '/u/a.png' and 'u/a.b"):
        predicting._targets(["/u/a.png", "u/a.bmp"])


@given(st.lists(st.lists(st.sampled_from(["a", "A", "ä", "..", "b.c", "nul"]), max_size=3)))
def test_no_two_images_share_a_place_and_none_is_outside(folders):
    names = sorted({"/".join([*parts, "i.png"]) for parts in folders})
    places = list(predicting._targets(names).values())
    assert len({place.casefold() for place in places}) == len(names)
    assert not any(part in ("", ".", "..") for place in places for part in place.split("/"))


def test_names_too_long_are_said_before_the_fit(trained, tmp_path, monkeypatch):
    root, truth, state = trained
    monkeypatch.setattr("alseg.learner.loop.ActiveLearner.fit", None)
    deep = tmp_path / "new"
    for _ in range(14):
        deep = deep / ("d" * 120)
    deep.mkdir(parents=True)
    Image.new("RGB", (32, 24)).save(deep / "a.png")
    out = tmp_path
    for _ in range(21):
        out = out / ("o" * 120)
    out.mkdir(parents=True)
    with pytest.raises((ProjectError, OSError), match="could not|cannot be written"):
        predicted(state, tmp_path / "new", out)


# -- a folder that comes from somebody else -------------------------------------------------------


def test_a_state_imports_no_code_by_itself(slides, tmp_path, monkeypatch):
    root, truth = slides
    state = tmp_path / "state"
    names = asked(state, root, n=2)["ids"]
    added(state, draw(tmp_path / "drawn", truth, names))
    found = read_state(state)
    found["options"]["strategy"] = "evil_module:strategy"
    (state / "state.json").write_text(json.dumps(found))
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    refused = pytest.raises(ProjectError, match="names code.*never loads by itself")
    with open_project(state) as project, refused:
        ask(project, 1)
    found["options"]["strategy"] = None
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", None)
    for weights, what in (("https://example.org/w.pth", "a URL"), ("pretrained", "weights to")):
        found["options"]["estimator"]["encoder_weights"] = weights
        (state / "state.json").write_text(json.dumps(found))
        with open_project(state) as project, pytest.raises(ProjectError, match=f"names {what}"):
            ask(project, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"masks": {"s0": {"file": "../../photo.png"}}},
        {"masks": {"s0": {"file": "/etc/passwd"}}},
        {"masks": {"s0": 3}},
        {"masks": []},
        {"rounds": [{"round": "x", "ids": []}]},
        {"rounds": [{"round": 1, "ids": [3]}]},
        {"options": []},
        {"data": 3},
        {"options": {"estimator": {"feature_cache": "/tmp/x"}}},
        {"options": {"module": "os"}},
        {"options": {"first": "os"}},
        {"options": {"estimator": {"n_mask_classes": 10**9}}},
        {"history": [{"command": "rm"}]},
        {"history": [{"command": "add", "before": {"a": {"file": "../x"}}}]},
        {"history": {}},
        {"coding": {"reading": "eval"}},
        {"options": {"estimator": 3}},
    ],
)
def test_a_tampered_state_is_refused(slides, tmp_path, change):
    root, _ = slides
    state = tmp_path / "state"
    asked(state, root, n=2)
    found = read_state(state)
    (state / "state.json").write_text(json.dumps({**found, **change}))
    before = {p: p.read_bytes() for p in state.rglob("*") if p.is_file()}
    said = "state.json is damaged|coding must be|reading must be"
    with pytest.raises(ValueError, match=said), open_project(state) as project:
        ask(project, 1, new=True)
    after = {p: p.read_bytes() for p in state.rglob("*") if p.is_file()}
    assert after == before


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "{", '{"format": "x"}', "\0\0"])
def test_a_damaged_state_is_one_line(slides, tmp_path, text, capsys):
    root, _ = slides
    state = tmp_path / "state"
    asked(state, root, n=2)
    (state / "state.json").write_text(text)
    assert main(["query", "--out", str(state)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "state.json" in err


def test_images_of_colliding_names_stay_what_they_are(tmp_path):
    """A manifest may name files from anywhere: what we write lies in our folder all the same."""
    glands = make_glands(4, image_size=(24, 32), random_state=0)
    rows, files = ["image,label"], []
    for i, image in enumerate(glands.images):
        file = tmp_path / f"p{i}" / "scan.png"
        file.parent.mkdir()
        Image.fromarray(image).save(file)
        files.append(file)
        given = file if i < 2 else os.path.relpath(file, tmp_path / "data")
        rows.append(f"{given},{glands.labels[i]}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.csv").write_text("\n".join(rows) + "\n")
    before = [file.read_bytes() for file in files]
    state = tmp_path / "state"
    with opened(state, tmp_path / "data") as project:
        found = ask(project, 4, propose=True)
    assert [file.read_bytes() for file in files] == before
    assert len(set(found["ids"])) == 4 and len(list(found["folder"].glob("*.png"))) == 4
    inside = {p for p in tmp_path.rglob("*") if p.is_file()} - {*files}
    assert all(state in p.parents or p.name == "manifest.csv" for p in inside)
