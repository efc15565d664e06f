"""Objects on disk: ids and tables of predictions, and masks of ids in a project."""

import csv
import io
import json
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_slides import write_slides
from numpy.testing import assert_array_equal
from PIL import Image
from skimage.measure import regionprops
from tifffile import imread

from alseg import Objects
from alseg.annotate import serve
from alseg.annotate.bytes_of_masks import as_pixels, marked_mask
from alseg.cli import main
from alseg.datasets import make_discs
from alseg.labels import MISSING
from alseg.project import ProjectError, add, fitted, open_project, predict, undo
from alseg.project.mask_files import id_bytes, png_bytes, read_stored, stored_bytes
from alseg.project.object_files import objects_of
from alseg.project.state import estimator_of

FAST = {"encoder": "tiny", "max_epochs": 1, "image_size": [32, 48], "device": "cpu"}
SIDES = st.integers(1, 9)
DISCS = make_discs(6, (32, 48), n_discs=20, random_state=0)


def write_discs(root, masks=None, folder="masks"):
    """Images of touching discs, and masks of the first of them."""
    masks = DISCS.instances[:4] if masks is None else masks
    (root / "images").mkdir(parents=True, exist_ok=True)
    (root / folder).mkdir(exist_ok=True)
    for k, image in enumerate(DISCS.images):
        Image.fromarray(image).save(root / "images" / f"d{k}.png")
    for k, mask in enumerate(masks):
        (root / folder / f"d{k}.png").write_bytes(png_bytes(mask.astype(np.uint16)))
    return root


def opened(state, root=None, **options):
    estimator = {**FAST, **options.pop("estimator", {})}
    return open_project(state, root, {"estimator": estimator, **options})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder whose masks hold ids, and a state that has learned from it."""
    root, state = write_discs(tmp_path_factory.mktemp("discs")), tmp_path_factory.mktemp("state")
    steps = {"steps_per_epoch": 40, "lr": 0.01, "objects": "border"}
    with opened(state, root, estimator=steps, mask_kind="instances") as project:
        fitted(project, project.known_masks())
    return root, state


@pytest.fixture
def discs(trained, tmp_path):
    """As `trained`; the state is the test's own."""
    root, state = trained
    return root, Path(shutil.copytree(state, tmp_path / "state"))


def predicted(state, source, out, **options):
    with open_project(state) as project:
        return predict(project, source, out, **options)


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# -- predictions -----------------------------------------------------------------------------------


def test_ids_and_tables_are_those_of_the_model(discs, tmp_path):
    root, state = discs
    found = predicted(state, root / "images", tmp_path / "out", objects=True)
    with open_project(state) as project:
        model, _ = fitted(project, project.known_masks())
    assert model.objects == Objects("border", mask_kind="instances")
    rows, ids = table(tmp_path / "out" / "objects.csv"), model.predict_objects(DISCS.images)
    assert found["n_objects"] == len(rows) == ids.max((1, 2)).sum() > 6
    for k in range(6):
        written = np.array(Image.open(tmp_path / "out" / "objects" / f"d{k}.png"))
        assert written.dtype == np.uint16 and written.shape == (32, 48)
        assert_array_equal(written, ids[k])
        own = [row for row in rows if row["image"] == f"d{k}.png"]
        for row, region in zip(own, regionprops(ids[k]), strict=True):
            top, left, bottom, right = region.bbox
            box = [int(row[name]) for name in ("top", "left", "height", "width")]
            assert box == [top, left, bottom - top, right - left]
            assert int(row["area"]) == region.area and int(row["id"]) == region.label
            centre = float(row["y"]), float(row["x"])
            np.testing.assert_allclose(centre, region.centroid, atol=0.0051)
            assert row["class"] == "foreground"
    counts = table(tmp_path / "out" / "counts.csv")
    assert [int(row["objects"]) for row in counts] == ids.max((1, 2)).tolist()
    for row, one in zip(counts, ids):
        assert int(row["area"]) == (one > 0).sum()
        assert float(row["share"]) == pytest.approx((one > 0).mean(), abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 6))
def test_what_is_told_of_objects_is_scikit_images(seed, n, min_area):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, n + 1, (5, 7))
    mask = np.where(ids, rng.integers(1, 4, n + 1)[ids], 0)
    kept, rows = objects_of(ids, mask, 4, min_area)
    regions = [one for one in regionprops(ids) if one.area >= min_area]
    assert len(rows) == len(regions) == kept.max()
    for (k, value, area, x, y, left, top, width, height), region in zip(rows, regions):
        assert_array_equal(kept == k, ids == region.label)
        assert value == mask[ids == region.label][0] and area == region.area
        assert (top, left, top + height, left + width) == region.bbox
        np.testing.assert_allclose((y, x), region.centroid, atol=0.0051)
    assert json.loads(json.dumps(rows)) == rows


def test_a_class_without_an_object_is_counted_as_none(tmp_path):
    root = write_discs(tmp_path / "discs", [np.minimum(one, 1) for one in DISCS.instances[:4]])
    with opened(tmp_path / "state", root, mask_classes=["disc", "ring"]) as project:
        found = predict(project, root / "images", tmp_path / "out", objects=True)
    counts = table(tmp_path / "out" / "counts.csv")
    assert [row["class"] for row in counts] == ["disc", "ring"] * 6
    assert sum(int(row["objects"]) for row in counts) == found["n_objects"]
    rings = [row for row in counts if row["class"] == "ring"]
    for row in rings:
        assert (row["mean_area"] == "") == (int(row["objects"]) == 0)


def test_smaller_ones_are_left_out_without_a_fit(discs, tmp_path, monkeypatch):
    root, state = discs
    every = predicted(state, root / "images", tmp_path / "out")
    assert every["n_objects"] is None and not (tmp_path / "out" / "objects.csv").exists()
    monkeypatch.setattr("alseg.learner.loop.ActiveLearner.fit", None)
    with open_project(state) as project:  # the same model: nothing of an earlier one
        every = predict(project, root / "images", tmp_path / "out", objects=True)
    areas = sorted(int(row["area"]) for row in table(tmp_path / "out" / "objects.csv"))
    least = areas[len(areas) // 2]
    found = predicted(state, root / "images", tmp_path / "out", objects=True, min_area=least)
    left = [int(row["area"]) for row in table(tmp_path / "out" / "objects.csv")]
    assert sorted(left) == [area for area in areas if area >= least]
    assert found["n_objects"] == len(left) < every["n_objects"]
    monkeypatch.setattr("alseg.segmenter.JointCAMSegmenter.predict_joint", None)
    for options in ({}, {"objects": True, "min_area": least}):  # nothing to do, and all stays
        predicted(state, root / "images", tmp_path / "out", **options)
        assert len(table(tmp_path / "out" / "objects.csv")) == len(left)
    with pytest.raises(ValueError, match="min_area must be"):
        predicted(state, root / "images", tmp_path / "out", objects=True, min_area=-1)


def test_objects_of_an_earlier_model_go_with_its_masks(discs, tmp_path):
    root, state = discs
    out = tmp_path / "out"
    predicted(state, root / "images", out, objects=True)
    mine = out / "objects" / "d0.png"
    mine.write_bytes(png_bytes(np.full((32, 48), 7, np.uint16)))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "d4.png").write_bytes(png_bytes(DISCS.instances[4].astype(np.uint16)))
    with open_project(state) as project:
        add(project, tmp_path / "more")
    with pytest.raises(ProjectError, match="earlier model"):
        predicted(state, root / "images", out, objects=True)
    kept = predicted(state, root / "images", out, objects=True, overwrite=True)["kept"]
    assert kept == ["d0.png"] and np.array(Image.open(mine)).max() == 7
    with open_project(state) as project:
        undo(project)
    predicted(state, root / "images", out, overwrite=True)  # without objects
    assert [path.name for path in (out / "objects").iterdir()] == ["d0.png"]
    assert not {"d1.png", "d5.png"} & {row["image"] for row in table(out / "objects.csv")}


def test_a_kill_between_mask_and_ids_is_made_good(discs, tmp_path, monkeypatch):
    from alseg.files import OwnFolder

    root, state = discs
    predicted(state, root / "images", tmp_path / "whole", objects=True)
    write = OwnFolder.write

    def dies(folder, name, data):
        if name == "objects/d2.png":
            raise KeyboardInterrupt
        return write(folder, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(OwnFolder, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            predicted(state, root / "images", tmp_path / "out", objects=True)
    predicted(state, root / "images", tmp_path / "out", objects=True)
    for path in (tmp_path / "whole").rglob("*.*"):
        if not path.name.startswith("."):
            same = tmp_path / "out" / path.relative_to(tmp_path / "whole")
            assert same.read_bytes() == path.read_bytes()


def test_what_would_be_one_file_is_refused(discs, tmp_path):
    root, state = discs
    for folder in ("new", "new/objects"):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(DISCS.images[0]).save(tmp_path / folder / "a.png")
    assert predicted(state, tmp_path / "new", tmp_path / "plain")["n"] == 2
    with pytest.raises(ProjectError, match="mask of 'objects/a.png' and the objects of 'a.png'"):
        predicted(state, tmp_path / "new", tmp_path / "out", objects=True)
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "objects.csv").write_text("mine")
    with pytest.raises(ProjectError, match="alseg did not write it"):
        predicted(state, root / "images", tmp_path / "table", objects=True)
    assert predicted(state, root / "images", tmp_path / "table")["n"] == 6
    assert (tmp_path / "table" / "objects.csv").read_text() == "mine"


def test_more_ids_than_16_bits_hold(tmp_path):
    ids = np.arange(65537).reshape(1, -1)
    suffix, data = id_bytes(ids)
    (tmp_path / f"a{suffix}").write_bytes(data)
    assert suffix == ".tif"
    assert_array_equal(imread(tmp_path / "a.tif"), ids)


def test_a_folder_without_masks_of_ids_has_connected_parts(tmp_path):
    glands = write_slides(tmp_path / "slides", 6)
    root = tmp_path / "slides"
    (root / "masks").mkdir()
    for name, mask in zip(glands.ids[:4], glands.masks):
        (root / "masks" / f"s{name}.png").write_bytes(stored_bytes(mask))
    with opened(tmp_path / "state", root) as project:
        predict(project, root / "images", tmp_path / "out", objects=True)
        model, _ = fitted(project, project.known_masks())
    assert model.objects is None
    found = sorted((tmp_path / "out" / "objects").rglob("*.png"))
    assert len(found) == 6
    for path in found:
        mask = np.array(Image.open(tmp_path / "out" / path.relative_to(tmp_path / "out/objects")))
        assert ((np.array(Image.open(path)) > 0) >= (mask > 0)).all()  # holes are filled


# -- a project whose masks hold ids ----------------------------------------------------------------


def test_ids_are_kept_and_learned(discs, tmp_path):
    root, state = discs
    many = np.arange(32 * 48).reshape(32, 48) // 2  # more than 8 bits hold
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / "d5.png").write_bytes(png_bytes(many.astype(np.uint16)))
    with open_project(state) as project:
        look = add(project, tmp_path / "drawn")["looks"]["d5"]
        known = project.known_masks()
    assert look.foreground == (many > 0).mean()
    assert_array_equal(known[5], many)
    assert_array_equal(known[0], DISCS.instances[0])


@pytest.mark.parametrize("most", [3, 254, 255, 256, 3000])
def test_stored_masks_of_ids_are_what_they_were(tmp_path, most):
    mask = np.array([[0, 1, MISSING, most, 255 % (most + 1)]], np.int16)
    (tmp_path / "a.png").write_bytes(stored_bytes(mask))
    assert_array_equal(read_stored(tmp_path / "a.png"), mask)


def test_from_the_command_line(tmp_path, capsys):
    root, state = write_discs(tmp_path / "discs"), tmp_path / "state"
    argv = ["query", "--data", str(root), "--out", str(state), "-n", "1", "--objects", "border"]
    argv += ["--mask-kind", "instances", "--encoder", "tiny", "--max-epochs", "1"]
    assert main([*argv, "--seconds", "0", "--image-size", "32", "48"]) == 0
    assert main(["query", "--out", str(state)]) == 0  # what was kept is read again
    out = tmp_path / "out"
    argv = ["predict", str(state), str(root / "images"), "--out", str(out), "--objects"]
    capsys.readouterr()
    assert main([*argv, "--min-area", "3"]) == 0
    assert "objects in objects.csv and counts.csv" in capsys.readouterr().err
    with open_project(state) as project:
        model, _ = fitted(project, project.known_masks())
    assert model.objects == Objects("border", mask_kind="instances")
    assert main([*argv[:-1], "--min-area", "3"]) == 2
    assert "min-area must be left out without --objects" in capsys.readouterr().err


def test_a_decoder_goes_on_from_one_that_learned_as_much(tmp_path):
    root, started = write_discs(tmp_path / "discs"), []
    for kind in (None, "border", "border", "distance"):
        options = {"preset": "alseg-fast", "objects": kind, "max_epochs": 1, "lr": 0.001}
        options["steps_per_epoch"] = 1 + len(started)
        with opened(tmp_path / "s", root, estimator=options, mask_kind="instances") as project:
            started.append(estimator_of(project).schedule.start_from)
            model, key = fitted(project, project.known_masks())
            project.write()
        assert model.objects.kind == kind
        last = str(tmp_path / "s" / f"model-{key}")
        started[-1] = (started[-1], last)
    before = [start for start, _ in started]
    assert before == [None, None, started[1][1], None]


def test_what_ids_do_not_go_with(discs, tmp_path):
    root, state = discs
    for options, rule in (
        ({"mask_mapping": "nonzero"}, "mask_mapping must be 'none' with ids in masks"),
        ({"mask_classes": ["a", "b"]}, "n_mask_classes must be 2 with ids in masks"),
        ({"mask_kind": "ids"}, "mask_kind must be one of"),
    ):
        with pytest.raises(ValueError, match=rule), opened(state, **options):
            pass
    with pytest.raises(ValueError, match="A page marks classes"):
        serve(state, block=False, train=False)
    (tmp_path / "drawn").mkdir()
    for name in ("d5_1", "d5_2"):
        (tmp_path / "drawn" / f"{name}.png").write_bytes(png_bytes(np.eye(32, 48).astype("u1")))
    with pytest.raises(ProjectError, match="one file an image"), open_project(state) as project:
        add(project, tmp_path / "drawn", mask_suffix="")
    (tmp_path / "drawn" / "d5_1.png").rename(tmp_path / "drawn" / "d5.png")
    (tmp_path / "drawn" / "d5_2.png").unlink()
    with open_project(state) as project:
        add(project, tmp_path / "drawn")
    rule = "as it was when masks were added"
    with pytest.raises(ProjectError, match=rule), opened(state, mask_kind="classes"):
        pass


@given(st.integers(0, 99), st.tuples(SIDES, SIDES), st.sampled_from([1, 200, 254, 255, 30_000]))
def test_other_programs_read_a_stored_mask_and_so_do_we(seed, size, largest):
    mask = np.random.default_rng(seed).integers(MISSING, largest, size, endpoint=True)
    mask = np.asfortranarray(mask.astype(np.int16)) if seed % 2 else mask.astype(np.int16)
    data = stored_bytes(mask)
    with Image.open(io.BytesIO(data)) as picture:
        picture.verify()  # its checksums
    with Image.open(io.BytesIO(data)) as picture:
        found = np.asarray(picture)
    unknown = 255 if mask.max() < 255 else 65_535
    assert_array_equal(found, np.where(mask == MISSING, unknown, mask.astype(int)))
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(data)
        file.flush()
        assert_array_equal(read_stored(file.name), mask)


@given(st.binary(min_size=12, max_size=12), st.sampled_from([2, 3, 130, 254]))
def test_bytes_of_a_page_are_classes_or_nobody(pixels, n_classes):
    values = np.frombuffer(pixels, np.uint8).reshape(3, 4)
    bad = sorted({value for value in pixels if n_classes <= value < 255})
    if bad:
        with pytest.raises(ValueError, match=re.escape(str(bad[:4]))):
            marked_mask(pixels, (3, 4), n_classes)
    else:
        mask = marked_mask(pixels, (3, 4), n_classes)
        assert_array_equal(mask, np.where(values == 255, MISSING, values.astype(int)))
        assert mask.dtype == np.int16 and as_pixels(mask) == pixels
