"""Folders and manifests as people have them: names, layouts, and what is said of bad ones."""

import os
import unicodedata
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alseg.datasets import load_folder, match_names
from alseg.datasets._manifest import read_manifest
from alseg.datasets._names import safe_ids
from alseg.files import file_names

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))


def save(path, value=0, size=(4, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)
    return path


@pytest.fixture
def manifest(tmp_path):
    def write(*rows, end="\n", encoding="utf-8"):
        for name in "abc":
            save(tmp_path / "images" / f"{name}.png")
        save(tmp_path / "masks" / "a.png", 255)
        (tmp_path / "manifest.csv").write_bytes(end.join(rows).encode(encoding))
        return tmp_path

    return write


# ---- ids ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names, ids",
    [
        (["cat/a.png", "dog/b.png"], ["a", "b"]),
        (["cat/a.png", "cat/b.png", "dog/a.png"], ["cat/a", "cat/b", "dog/a"]),
        (["/d/x/a.png", "/d/y/a.png"], ["x/a", "y/a"]),
        (["../../p1/s.png", "../p2/s.png"], ["p1/s", "p2/s"]),
        (["x/../y/a.png", "./a.png"], ["y/a", "a"]),
        (["cat/a.png", "cat/a.bmp"], ["cat/a", "cat/a~2"]),
        (["cat/a.png", "dog/A.png"], ["cat/a", "dog/A"]),
        (["a~2.png", "a.png", "a.bmp"], ["a~2", "a", "a~3"]),
        ([f"{DECOMPOSED}.png", "e.png"], [COMPOSED, "e"]),
        (["a\nb.png", "a\\b.png", "\udcff.png"], ["a_b", "a_b~2", "_"]),
        (["...png", "/", ".hidden.png"], ["___png", "_", "_hidden"]),
        (["caf\u202egnp.png"], ["caf_gnp"]),
    ],
)
def test_ids_are_short_and_tell_images_apart(names, ids):
    assert safe_ids(names) == ids


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text("aA./\\\n\0e\u0301\u00e9~2 \udcff", max_size=9), max_size=6, unique=True))
def test_ids_are_harmless_whatever_the_names(names):
    ids = safe_ids(names)
    folded = {unicodedata.normalize("NFC", name.casefold()) for name in ids}
    assert len(ids) == len(names) == len(folded)
    for name in ids:
        path = PurePosixPath(name)
        assert not path.is_absolute() and str(path) == name and name.isprintable()
        assert not any(part.startswith(".") for part in path.parts) and "\\" not in name
        name.encode()  # what is no UTF-8 could not be written down


# ---- names of masks ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "files, ids, suffix, matches",
    [
        (["b.png"], ["a", "b"], None, {1: ["b.png"]}),
        (
            ["cat/a.png", "dog/a.tif"],
            ["cat/a", "dog/a"],
            None,
            {0: ["cat/a.png"], 1: ["dog/a.tif"]},
        ),
        (["p1/a.png"], ["cat/p1/a", "cat/p2/a"], None, {0: ["p1/a.png"]}),
        (["cat/p1/a.png"], ["cat/a", "dog/a"], None, {0: ["cat/p1/a.png"]}),
        (["dog/a.png"], ["a"], None, {0: ["dog/a.png"]}),
        ([f"{DECOMPOSED}.png"], [COMPOSED], None, {0: [f"{DECOMPOSED}.png"]}),
        (
            ["x_mask_10.png", "x_mask.png", "x_mask_2.png"],
            ["x"],
            "_mask",
            {0: ["x_mask.png", "x_mask_2.png", "x_mask_10.png"]},
        ),
        (["x_1_mask.png", "x.png"], ["x", "x_1"], "_mask", {0: ["x.png"], 1: ["x_1_mask.png"]}),
        (["x.png", "x_1.png", "x_2.png"], ["x"], "", {0: ["x.png", "x_1.png", "x_2.png"]}),
        (["x_1.png", "x_2.png"], ["x_1", "x_2"], "", {0: ["x_1.png"], 1: ["x_2.png"]}),
        (["a_mask.png"], ["a", "a_mask"], None, {1: ["a_mask.png"]}),
        (["a_mask.png"], ["a", "a_mask"], "_mask", {0: ["a_mask.png"]}),
    ],
)
def test_masks_find_their_images(files, ids, suffix, matches):
    found = match_names([Path("m", file) for file in files], ids, "m", suffix)
    assert found == {i: [Path("m", file) for file in fits] for i, fits in matches.items()}


def test_a_proposal_that_somebody_drew_in_is_the_mask_of_its_image():
    ids = ["cat/a", "dog/a", "IMG_1", "a~2", "x" * 300, COMPOSED]
    files = file_names(ids, ".png")
    assert match_names(files, ids) == {i: [Path(file)] for i, file in enumerate(files)}
    assert match_names([Path("m", "dog", files[0])], ids, "m") == {0: [Path("m", "dog", files[0])]}


@pytest.mark.parametrize(
    "files, ids, suffix, match",
    [
        (
            ["a.png"],
            ["cat/a", "dog/a"],
            None,
            r"'m/a.png' fits 2 images \(cat/a, dog/a\). Put it into",
        ),
        (["dog/b.png"], ["cat/b"], None, "1 masks fit no image: 'm/dog/b.png'"),
        (["A.png"], ["a"], None, "1 masks fit no image: 'm/A.png'"),
        (["imagee.png"], ["image"], None, "Did you mean 'image'?"),
        (["a_mask.png"], ["a"], None, r"say mask_suffix='_mask' \(--mask-suffix _mask\)"),
        (["a_1.png", "a_2.png"], ["a"], None, r"say mask_suffix='' \(--mask-suffix ''\)"),
        (["a.png", "a.tif"], ["a"], None, "Two masks fit one image: 'm/a.png' and 'm/a.tif'"),
        (["a.png", "a_mask.png"], ["a"], "_mask", "Two masks fit one image: 'm/a.png' and"),
        (["a_mask.png", "a_mask.tif"], ["a"], "_mask", "Two masks fit one image"),
        ([f"{COMPOSED}.png", f"{DECOMPOSED}.png"], [COMPOSED], None, "Two masks fit one image"),
    ],
)
def test_masks_that_fit_nothing_or_too_much_are_named(files, ids, suffix, match):
    with pytest.raises(ValueError, match=match):
        match_names([Path("m", file) for file in files], ids, "m", suffix)
    with pytest.raises(TypeError, match="mask_suffix must be a string or None, got 3"):
        match_names([], [], suffix=3)


# ---- layouts -----------------------------------------------------------------------------------


def test_folders_within_classes_are_read_and_what_is_skipped_is_named(tmp_path):
    for name in ("cat/p1/a", "cat/p2/a", "dog/deep/er/b", "dog/c10", "dog/c9"):
        save(tmp_path / "images" / f"{name}.png")
    for name in ("notes.txt", "dog/scan.svs", "dog/Thumbs.db", ".DS_Store", ".cache/x.png"):
        (tmp_path / "images" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "images" / name).write_text("x")
    save(tmp_path / "masks" / "cat" / "p2" / "a.png", 255)
    save(tmp_path / "masks" / "b.png", 255)
    (tmp_path / "masks" / "how.md").write_text("x")
    data = load_folder(tmp_path)
    assert data.all.ids.tolist() == ["p1/a", "p2/a", "dog/c9", "dog/c10", "er/b"]
    assert data.all.labels.tolist() == ["cat", "cat", "dog", "dog", "dog"]
    has = dict(zip(data.all.ids.tolist(), [mask is not None for mask in data.all.masks]))
    assert has == {"p1/a": False, "p2/a": True, "er/b": True, "dog/c9": False, "dog/c10": False}
    assert data.skipped == ("images/notes.txt", "images/dog/scan.svs", "masks/how.md")
    assert data.describe().splitlines()[:2] == [
        "5 images, 2 classes (cat: 2, dog: 3), 2 masks",
        "7 of 10 files are read; skipped: images/notes.txt, images/dog/scan.svs, masks/how.md",
    ]


def test_names_of_skipped_files_are_escaped_where_shown(tmp_path):
    save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "b\x1b[31m.txt").write_text("x")
    assert r"skipped: images/b\x1b[31m.txt" in load_folder(tmp_path).describe()


def test_a_folder_of_images_alone_is_enough(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png")
    save(tmp_path / "masks" / "b.png", 255)
    data = load_folder(tmp_path)
    assert data.all.ids.tolist() == ["a", "b"] and data.all.labels.tolist() == [None] * 2
    assert [mask is None for mask in data.all.masks] == [True, False]
    assert data.all.name == tmp_path.name


def test_folders_of_classes_alone_are_enough(tmp_path):
    for name in ("cat/a", "cat/p1/b", "dog/c", "masks/cat/b"):
        save(tmp_path / f"{name}.png", 255)
    data = load_folder(tmp_path)
    assert data.all.labels.tolist() == ["cat", "cat", "dog"]
    assert data.all.ids.tolist() == ["a", "b", "c"]
    assert [mask is None for mask in data.all.masks] == [True, False, True]


@pytest.mark.parametrize(
    "names, error, match",
    [
        (
            ["train/cat/a.png", "test/cat/b.png"],
            ValueError,
            "folder test/.*Name the parts in the col",
        ),
        (["tissue/a.png", "labels/a.png"], ValueError, "folder labels/.*masks into masks/"),
        (["cat/a.png", "b.png"], ValueError, "folders of classes or images, got both: 'cat/a.png'"),
        (["notes.txt"], FileNotFoundError, "root must be a folder with images/ or manifest.csv"),
        (
            ["state.json", "masks/a.png"],
            FileNotFoundError,
            "a state folder of alseg; give the folder",
        ),
        (["masks/a.png"], FileNotFoundError, "root must be a folder with images/ or manifest.csv"),
    ],
)
def test_folders_that_do_not_say_what_they_hold_are_refused(tmp_path, names, error, match):
    for name in names:
        save(tmp_path / name) if name.endswith("png") else (tmp_path / name).write_text("{}")
    with pytest.raises(error, match=match):
        load_folder(tmp_path)


def test_a_folder_of_masks_of_another_name_is_said_to_be_skipped(tmp_path):
    save(tmp_path / "images" / "a.png")
    save(tmp_path / "labels" / "a.png", 255)
    data = load_folder(tmp_path)
    assert data.all.masks is None and data.skipped == ("labels/",)


def test_images_that_differ_in_unicode_form_alone_are_named(tmp_path):
    for form in (COMPOSED, DECOMPOSED):
        save(tmp_path / "images" / f"{form}.png")
    with pytest.raises(ValueError, match=r"differ in their stems.*e\\u0301\.png.*\\xe9\.png"):
        load_folder(tmp_path)


def test_masks_are_found_in_another_unicode_form(tmp_path):
    save(tmp_path / "images" / DECOMPOSED / f"{DECOMPOSED}.png")
    save(tmp_path / "masks" / COMPOSED / f"{COMPOSED}.png", 255)
    data = load_folder(tmp_path).all
    assert data.ids.tolist() == [COMPOSED] and data.masks[0].max() == 1


def test_links_to_folders_are_followed_once(tmp_path):
    save(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "images" / "cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "elsewhere")
    assert load_folder(tmp_path / "data").all.ids.tolist() == ["a"]


# ---- manifests ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows, match",
    [
        (
            ["image,label", "images/a.png,x", "images/b.png,x,y"],
            "has 3 fields in line 3 and 2 in its",
        ),
        (["image,mask,label", "images/a.png,x"], "has 2 fields in line 2 and 3 in its header"),
        (["image,label", '"images/a.png",x', '"images/\nb.png"'], "has 1 fields in line 3 and 2"),
        (["image,label", '"images/\na.png",x', "", "images/b.png"], "has 1 fields in line 5 and 2"),
        (["image,mask,image", "a,b,c"], "has the column 'image' twice in line 1"),
        (["Image,mask", "a,b"], "got 'Image'. Did you mean 'image'?"),
        (["image,Label", "a,b"], "got 'Label'. Did you mean 'label'?"),
        (["image,masks", "a,b"], "got 'masks'. Did you mean 'mask'?"),
        (["image,Patient", "a,b"], "got 'Patient'. Did you mean 'patient'?"),
        (["file;label", "a;b"], "must be a CSV with a column 'image', got"),
        (["image,label", '"images/a.png"x,y'], "line 2: ',' expected after"),
        (["image,label", '"images/a.png,y'], "line 2: unexpected end of data"),
        (["image", "images/\0a.png"], "line 2 holds a NUL byte"),
        (
            ["image", "images/a.png", "./images/a.png"],
            "in lines 2 and 3: 'images/a.png' and './ima",
        ),
        (["image", "images/../images/a.png", "images/a.png"], "names one image more than once"),
        (["image", "images/a.png", "images/link.png"], "in lines 2 and 3: .*'images/link.png'"),
        (["image,mask", "images/a.png,images/a.png"], "one file as image and mask in line 2"),
    ],
)
def test_a_bad_manifest_is_refused_with_its_line(manifest, rows, match):
    folder = manifest(*rows)
    (folder / "images" / "link.png").symlink_to(folder / "images" / "a.png")
    with pytest.raises(ValueError, match=match) as caught:
        load_folder(folder)
    assert "manifest.csv'" in str(caught.value) and "\n" not in str(caught.value)


def test_one_image_by_an_absolute_and_a_relative_path_is_one(manifest):
    folder = manifest("image")
    rows = f"image\n{folder}/images/a.png\nimages/a.png\n"
    (folder / "manifest.csv").write_text(rows)
    with pytest.raises(ValueError, match="names one image more than once, in lines 2 and 3"):
        load_folder(folder)


def test_missing_files_are_named_with_their_lines(manifest):
    folder = manifest("image,mask", "images/a.png,", "~no-such-user/z.png,masks/z.png")
    with pytest.raises(FileNotFoundError) as caught:
        load_folder(folder)
    assert "names 2 files that do not exist" in str(caught.value)
    assert "~no-such-user/z.png' (line 3)" in str(caught.value)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_manifests_of_other_programs_are_read(manifest, separator, end, encoding):
    rows = [
        ["image", "label", "comment"],
        ["images/a.png", "käse", '"a, ; b"'],
        ["", "", ""],
        ["images/b.png", "x", ""],
    ]
    folder = manifest(*(separator.join(row) for row in rows), "", end=end, encoding=encoding)
    data = load_folder(folder).all
    assert data.ids.tolist() == ["a", "b"] and data.labels.tolist() == ["käse", "x"]


def test_an_encoding_of_8_bits_is_taken_where_the_files_are_there(tmp_path):
    save(tmp_path / "bär.png")
    text = "image,label\nbär.png,groß\n"
    (tmp_path / "manifest.csv").write_bytes(text.encode("cp1252"))
    data = load_folder(tmp_path).all
    assert data.ids.tolist() == ["bär"] and data.labels.tolist() == ["groß"]
    (tmp_path / "manifest.csv").write_bytes(text.encode("cp437"))
    with pytest.raises(
        FileNotFoundError, match="1 files that do not exist.*save it as 'CSV UTF-8'"
    ):
        load_folder(tmp_path)


def test_a_manifest_finds_files_in_another_unicode_form(tmp_path):
    save(tmp_path / DECOMPOSED / f"{DECOMPOSED}.png")
    (tmp_path / "manifest.csv").write_text(f"image\n{COMPOSED}/{COMPOSED}.png\n")
    data = load_folder(tmp_path).all
    assert os.path.isfile(data.images.paths[0]) and data.ids.tolist() == [COMPOSED]


def test_what_has_no_group_is_a_group_of_its_own(manifest):
    folder = manifest("image,patient", "images/a.png,7", "images/b.png,", "images/c.png,")
    assert load_folder(folder).all.groups.tolist() == ["7", "b", "c"]


def test_colliding_names_of_a_manifest_stay_inside(tmp_path):
    for name in ("x/a", "y/a"):
        save(tmp_path / "out" / f"{name}.png")
    rows = [str(tmp_path / "out" / "x" / "a.png"), "../out/y/a.png"]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "manifest.csv").write_text("\n".join(["image", *rows]))
    assert read_manifest(tmp_path / "in" / "manifest.csv")["id"].tolist() == ["x/a", "y/a"]


def test_a_class_may_have_any_name(tmp_path):
    save(tmp_path / "images" / f"{DECOMPOSED}\n" / "a.png")
    save(tmp_path / "images" / os.fsdecode(b"\xff") / "b.png")
    data = load_folder(tmp_path).all
    assert sorted(data.labels.tolist()) == ["_", f"{COMPOSED}_"]
    assert data.images[0].shape == (4, 6, 3)


def test_a_folder_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    save(tmp_path / "images" / "cat" / "a.png")
    scandir = os.scandir

    def closed(path):
        if Path(path).name == "cat":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(PermissionError, match="images/cat"):
        load_folder(tmp_path)
