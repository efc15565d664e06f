"""Odd files, folders, names and manifests through every command."""

import csv
import os
import re
import shutil
from pathlib import Path

import numpy as np
import odd_files
import pytest
from odd_folders import LABELS, NAMES, make, manifests, picture, put, unusual, with_split
from PIL import Image
from running import TINY, attack, call

from alseg.images import image_size, read_image

RUN = ["--rounds", "0", "--initial", "2", "--no-panels", "--quiet", *TINY]
DRY = [
    "--strategy",
    "random",
    "--dry-run",
    "--rounds",
    "0",
    "--initial",
    "2",
    "--no-controls",
    "--no-references",
    "--quiet",
    *TINY,
]
QUERY = ["-n", "1", "--seconds", "0", "--quiet", *TINY]


def reads(reader, path):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return reader(path)
        except (ValueError, OSError):
            return None


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A state whose model is there already: (folder of images, state)."""
    root = tmp_path_factory.mktemp("trained")
    data, state, drawn = make(root / "data", 6), root / "state", root / "drawn"
    assert call("query", "--data", data, "--out", state, *QUERY, "-n", "4").code == 0
    for name in (f"im{i}" for i in range(6)):
        put(drawn, f"{name}.png", picture(int(name[2:]))[1] * np.uint8(255))
    assert call("add", state, drawn, "--quiet").code == 0
    assert call("predict", state, data / "images", "--out", root / "once", "--quiet").code == 0
    return data, state


def folder_with(root, odds, masks=True):
    """Four good images of two classes, in both parts, and odd ones with masks of their size."""
    make(root, 8, masks=8)
    rows = with_split(root, 1).joinpath("manifest.csv").read_text()
    for odd in odds:
        (root / "images" / "a" / odd.name).write_bytes(odd.content)
        mask = f"masks/a/{odd.name}.png" if masks else ""
        if masks:
            shape = odd_files.SIZE
            size = reads(image_size, root / "images" / "a" / odd.name)
            size = size if size and 0 < size[0] * size[1] <= 1e7 else shape
            put(root / "masks" / "a", f"{odd.name}.png", np.eye(*size, dtype=np.uint8) * 255)
        rows += f"images/a/{odd.name},{mask},a,train\n"
    (root / "manifest.csv").write_text(rows)
    return root


def numbered(odds):
    return [odd._replace(name=f"{i:03d}_{odd.name}") for i, odd in enumerate(odds)]


def groups(items, size):
    return [items[start : start + size] for start in range(0, len(items), size)]


def check_images(odds, root, trained, size):
    """Odd files as images of `run`, `compare --dry-run`, `query` and `predict`."""
    root.mkdir(exist_ok=True)
    (root / "all").mkdir()
    for odd in odds:
        (root / "all" / odd.name).write_bytes(odd.content)
    found = {odd.name: reads(read_image, root / "all" / odd.name) for odd in odds}
    # Those of other than three channels are read, and of another network than the rest.
    other = {name for name, image in found.items() if image is not None and image.shape[2] != 3}
    for name in other:
        (root / "all" / name).unlink()
    odds = [odd for odd in odds if odd.name not in other]
    good = [odd for odd in odds if found[odd.name] is not None]
    bad = [odd for odd in odds if odd not in good]
    assert len(good) > 5 and len(bad) > 5

    # predict: all in one folder; the good ones are predicted, a bad one is named
    _, state = trained
    out = root / "predicted"
    done = attack(
        "predict",
        state,
        root / "all",
        "--out",
        out,
        "--quiet",
        user=[root / "all"],
        out=[out, state],
        names=[odd.name for odd in bad],
        codes={1},
    )
    with open(out / "labels.csv", newline="") as file:
        rows = [row["image"] for row in csv.DictReader(file)]
    assert sorted(rows) == sorted(odd.name for odd in good), done

    # what can be read trains
    data = folder_with(root / "good", good)
    for command in (["run", *RUN], ["compare", *DRY], ["query", *QUERY]):
        out = root / f"out_{command[0]}"
        attack(*command, "--data", data, "--out", out, user=[data], out=[out], codes={0})

    # what cannot is named, before anything is trained or written
    for k, group in enumerate(groups(bad, size)):
        data = folder_with(root / f"bad{k}", group)
        names = [odd.name for odd in group]
        for command in (["run", *RUN], ["compare", *DRY]):
            out = root / f"bad{k}_{command[0]}"
            attack(
                *command,
                "--data",
                data,
                "--out",
                out,
                user=[data],
                out=[out],
                names=names,
                codes={1, 2},
            )
        out = root / f"bad{k}_query"
        attack(
            "query",
            *QUERY,
            "--data",
            data,
            "--out",
            out,
            user=[data],
            out=[out],
            names=names,
            codes={0, 1},
        )
        shutil.rmtree(data)


def check_masks(odds, root, size):
    """Odd files as drawn masks: all of a folder or none, and a bad one is named."""
    root.mkdir(exist_ok=True)
    image = np.zeros((*odd_files.SIZE, 3), np.uint8)
    data = root / "data"
    for odd in odds:
        put(data / "images" / "a", f"{Path(odd.name).stem}.png", image)
    put(data / "images" / "b", "other.png", image)
    state = root / "state"
    assert call("query", "--data", data, "--out", state, *QUERY).code == 0
    n_added = 0
    for k, group in enumerate(groups(odds, size)):
        drawn = root / f"drawn{k}"
        drawn.mkdir()
        for odd in group:
            (drawn / odd.name).write_bytes(odd.content)
        before = (state / "state.json").read_bytes()
        done = attack(
            "add", state, drawn, user=[data, drawn], out=[state], names=[odd.name for odd in group]
        )
        n_added += done.code == 0
        if done.code:
            assert (state / "state.json").read_bytes() == before
    return n_added


def test_some_odd_files_through_every_command(tmp_path, trained):
    odds = numbered(odd_files.few_files()[::3])
    check_images(odds, tmp_path / "images", trained, 8)
    check_masks(odds, tmp_path / "masks", 8)


@pytest.mark.slow
def test_all_odd_files_through_every_command(tmp_path, trained):
    odds = numbered(odd_files.all_files(seed=1))
    assert len(odds) >= 500
    check_images(odds, tmp_path / "images", trained, 6)
    assert check_masks(odds, tmp_path / "masks", 1) >= 1


# -- names --------------------------------------------------------------------------------------


def test_odd_names_through_every_command(tmp_path):
    """Names with any byte that a name may have: found again, shown escaped, never misread."""
    # Without those that differ from others in bytes that no name shows: refused, with both named.
    names = [
        *(v for k, v in NAMES.items() if k not in ("surrogate", "nfc", "newline", "return")),
        "plain",
        "PLAIN",
    ]
    data = tmp_path / "data"
    for i, name in enumerate(names):
        name = os.fsencode(name)[:240]
        put(data / "images" / LABELS[i % 2], name + b".png", picture(i)[0])
    state = tmp_path / "state"
    query = attack(
        "query",
        "--data",
        data,
        "--out",
        state,
        *QUERY,
        "-n",
        len(names),
        user=[data],
        out=[state],
        codes={0},
    )
    lines = query.out.splitlines()
    assert len(lines) == len(set(lines)) == len(names) and all(line.isprintable() for line in lines)
    # Masks are found by the names of the images themselves.
    drawn = tmp_path / "drawn"
    for i, name in enumerate(names):
        put(drawn / LABELS[i % 2], os.fsencode(name)[:240] + b".png", picture(i)[1] * np.uint8(255))
    done = attack("add", state, drawn, user=[data, drawn], out=[state], codes={0})
    assert len(done.out.splitlines()) == len(names), done
    out = tmp_path / "predicted"
    attack(
        "predict", state, data / "images", "--out", out, user=[data], out=[state, out], codes={0}
    )
    with open(out / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(names)
    for row in rows:
        assert row["image"][0] not in "=+-@\t\r"
        assert row["label"] in LABELS
    predicted = {
        os.path.relpath(os.path.join(folder, name), os.fsencode(out))
        for folder, _, files in os.walk(os.fsencode(out))
        for name in files
        if name.endswith(b".png")
    }
    assert len(predicted) == len(names)
    for page in state.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<b onload" not in text and not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text)


def mostly_slow(names, fast):
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize(
    "name", mostly_slow(["hash", "newline", "latin1", "dash", "percent", "control"], ["control"])
)
def test_odd_names_of_folders(name, tmp_path):
    base = os.fsdecode(os.path.join(os.fsencode(tmp_path), os.fsencode(NAMES[name])))
    os.mkdir(base)
    data = with_split(make(Path(base, "data"), 8, masks=8))
    for command in (["run", *RUN, "--report"], ["compare", *DRY], ["query", *QUERY]):
        out = os.path.join(base, f"out_{command[0]}")
        attack(*command, "--data", data, "--out", out, user=[data], out=[out], codes={0})
    attack(
        "report",
        os.path.join(base, "out_run"),
        user=[data],
        out=[os.path.join(base, "out_run")],
        codes={0},
    )
    attack(
        "predict",
        os.path.join(base, "out_query"),
        data,
        "--out",
        os.path.join(base, "p"),
        user=[data],
        out=[os.path.join(base, "p"), os.path.join(base, "out_query")],
        codes={0},
    )


def test_what_lies_in_folders_and_is_no_image(tmp_path, trained):
    data = make(tmp_path / "data", 8, masks=8)
    for label in LABELS:
        unusual(data / "images" / label / "more")
    unusual(data / "masks" / "a" / "more")
    unusual(data / "more")
    state, out = tmp_path / "state", tmp_path / "out"
    attack("query", "--data", data, "--out", state, *QUERY, user=[data], out=[state])
    attack("predict", trained[1], data / "images", "--out", out, user=[data], out=[out, trained[1]])
    assert len((out / "labels.csv").read_text().splitlines()) == 10  # with its head
    attack(
        "run",
        *RUN,
        "--data",
        data,
        "--out",
        tmp_path / "r",
        "--fold",
        "0",
        user=[data],
        out=[tmp_path / "r"],
    )
    for folder in (
        data / "images" / "a" / "more",
        data / "more",
        data / "images" / "a" / "im0.png",
    ):
        attack("add", trained[1], folder, user=[data], out=[trained[1]], codes={0, 1})
        attack(
            "predict",
            trained[1],
            folder,
            "--out",
            tmp_path / "p",
            user=[data],
            out=[tmp_path / "p", trained[1]],
        )


# -- manifests ----------------------------------------------------------------------------------

RIGHT = {"plain", "bom", "crlf", "no_end", "quoted", "no_label"}
WRONG = {
    "one_more",
    "one_less",
    "two_less",
    "header_twice",
    "header_only",
    "no_header",
    "empty",
    "commas",
    "twice",
    "twice_written_differently",
    "absolute",
    "device",
    "folder",
    "root_folder",
    "missing",
    "missing_mask",
    "url",
    "group_in_both",
}


@pytest.mark.parametrize("name", sorted(manifests()))
def test_odd_manifests(name, tmp_path):
    data = make(tmp_path / "data", 6, masks=6)
    (data / "manifest.csv").write_bytes(manifests()[name])
    codes = {0} if name in RIGHT else {1, 2} if name in WRONG else {0, 1, 2}
    out, state = tmp_path / "out", tmp_path / "state"
    attack("compare", *DRY, "--data", data, "--out", out, user=[data], out=[out], codes=codes)
    # A question needs no parts, and leaves out what is no image.
    also = {0, 1, 2} if name in ("group_in_both", "absolute", "folder") else codes
    attack("query", *QUERY, "--data", data, "--out", state, user=[data], out=[state], codes=also)


def test_colliding_names_never_write_over_an_image(tmp_path):
    data = tmp_path / "data"
    rows = ["image,label"]
    for i, place in enumerate(("x", "y", "../p1", "../../p2")):
        folder = (data / place).resolve()
        put(folder, "s.png", picture(i)[0])
        rows.append(f"{place}/s.png,{LABELS[i % 2]}")
    put(tmp_path / "far", "s.png", picture(9)[0])
    rows.append(f"{tmp_path}/far/s.png,a")
    (data / "manifest.csv").write_text("\n".join(rows) + "\n")
    state = tmp_path / "state"
    done = attack(
        "query",
        "--data",
        data,
        "--out",
        state,
        "--propose",
        *QUERY,
        "-n",
        "5",
        user=[tmp_path],
        out=[state],
        codes={0, 1},
    )
    if done.code == 0:
        names = done.out.splitlines()
        assert len(set(names)) == 5
        for made in state.rglob("*.png"):
            assert Image.open(made).size


@pytest.mark.parametrize(
    "name",
    mostly_slow(
        ["escape", "html", "formula", "newline", "bytes", "bidi", "nan", "spaces"], ["formula"]
    ),
)
def test_odd_labels(name, tmp_path):
    label = NAMES[name]
    data = make(tmp_path / "data", 8, masks=8)
    os.rename(data / "images" / "a", os.path.join(os.fsencode(data / "images"), os.fsencode(label)))
    os.rename(data / "masks" / "a", os.path.join(os.fsencode(data / "masks"), os.fsencode(label)))
    out, state = tmp_path / "o", tmp_path / "s"
    attack(
        "run",
        *RUN,
        "--data",
        data,
        "--out",
        out,
        "--fold",
        "0",
        "--test-split",
        "valid",
        "--report",
        user=[data],
        out=[out],
    )
    attack("query", *QUERY, "--data", data, "--out", state, user=[data], out=[state], codes={0})
    attack(
        "predict",
        state,
        data,
        "--out",
        tmp_path / "p",
        user=[data],
        out=[tmp_path / "p", state],
        codes={0},
    )
    text = (tmp_path / "p" / "labels.csv").read_text(encoding="utf-8", errors="strict")
    assert not any(
        cell.startswith(("=", "@", "+")) for row in csv.reader(text.splitlines()) for cell in row
    )
