"""What mask values mean: decided once, from all files, and held to."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alseg.datasets import load_folder
from alseg.images import MaskCoding, MaskFiles, check_pairs, decide_coding
from alseg.images.fitting import merged, ratio, resized
from alseg.labels import MISSING

BLOCK = 16  # pixels a side: what a JPEG keeps apart


def save(folder, name, values, mode=None):
    """A mask with a block of each value."""
    array = np.repeat(np.repeat([values], BLOCK, axis=0), BLOCK, axis=1)
    high = array.max()
    array = array.astype(np.uint8 if high < 256 else np.uint16)
    image = Image.fromarray(array)
    if mode == "1":
        image = Image.fromarray(array > 0)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def classes(mask):
    """The class of each block of a mask that `save` wrote."""
    return mask[BLOCK // 2, BLOCK // 2 :: BLOCK].tolist()


def decided(folder, files, **options):
    paths = [save(folder, name, values) for name, values in files.items()]
    coding = decide_coding(paths, **options)
    return coding, [classes(mask) for mask in MaskFiles(paths, coding)]


@pytest.mark.parametrize(
    "files, options, expected, told",
    [
        # what stands in one kind of file alone
        (
            {"a.png": [0, 255], "b.png": [0, 0]},
            {},
            [[0, 1], [0, 0]],
            "0 = background, 255 = foreground",
        ),
        ({"a.png": [255, 255]}, {}, [[1, 1]], "0 = background, 255 = foreground"),
        ({"a.png": [0, 1], "b.png": [1, 1]}, {}, [[0, 1], [1, 1]], "class ids 0, 1"),
        ({"a.png": [1, 2]}, {}, [[1, 2]], "class ids 1, 2"),
        ({"a.png": [0, 127]}, {}, [[0, 127]], "class ids 0, 127"),
        (
            {"a.png": [0, 300], "b.png": [255, 1]},
            {},
            [[0, 300], [255, 1]],
            "class ids 0, 1, 255, 300",
        ),
        ({"a.png": [0, 0]}, {}, [[0, 0]], "0 = background, and none has foreground"),
        # 255 beside classes is not annotated
        ({"a.png": [0, 1, 2, 255]}, {}, [[0, 1, 2, -1]], "class ids 0, 1, 2; 255 = not annotated"),
        (
            {"a.png": [0, 255], "b.png": [1, 2]},
            {},
            [[0, -1], [1, 2]],
            "class ids 0, 1, 2; 255 = not annotated",
        ),
        ({"a.png": [0, 2, 255]}, {}, [[0, 2, -1]], "class ids 0, 2; 255 = not annotated"),
        # said by the user
        (
            {"a.png": [0, 1, 255]},
            {"missing_value": 255},
            [[0, 1, -1]],
            "class ids 0, 1; 255 = not annotated",
        ),
        (
            {"a.png": [0, 1, 255]},
            {"mapping": "binary"},
            [[0, 1, 1]],
            "0 = background, 1 and 255 = foreground",
        ),
        (
            {"a.png": [0, 128, 255]},
            {"missing_value": 128},
            [[0, -1, 1]],
            "0 = background, 255 = foreground; 128 = not annotated",
        ),
        (
            {"a.png": [0, 128, 255]},
            {"mapping": "half"},
            [[0, 1, 1]],
            "what is above 127 is foreground",
        ),
        (
            {"a.png": [0, 128, 255]},
            {"mapping": "half", "missing_value": 128},
            [[0, -1, 1]],
            "what is above 127 is foreground; 128 = not annotated",
        ),
        ({"a.png": [0, 7, 255]}, {"mapping": None}, [[0, 7, 255]], "values as they are"),
        (
            {"a.png": [0, 7, 255]},
            {"mapping": None, "missing_value": 255},
            [[0, 7, -1]],
            "values as they are; 255 = not annotated",
        ),
        (
            {"a.png": [0, 7, 255]},
            {"mapping": "nonzero", "missing_value": 255},
            [[0, 1, -1]],
            "what is above 0 is foreground; 255 = not annotated",
        ),
        (
            {"a.png": [0, 1, 2]},
            {"missing_value": 0},
            [[-1, 1, 2]],
            "class ids 1, 2; 0 = not annotated",
        ),
        # a JPEG changes nothing for the others
        ({"a.png": [0, 1], "b.jpg": [0, 255]}, {}, [[0, 1], [0, 1]], "class ids 0, 1"),
        ({"a.png": [0, 2], "b.jpg": [0, 255]}, {}, [[0, 2], [0, 1]], "class ids 0, 2"),
        (
            {"a.png": [0, 1, 2, 255], "b.jpg": [0, 255]},
            {},
            [[0, 1, 2, -1], [0, 1]],
            "class ids 0, 1, 2; 255 = not annotated",
        ),
        ({"a.jpg": [0, 255]}, {}, [[0, 1]], "0 = background, 255 = foreground"),
        (
            {"a.jpg": [0, 255]},
            {"missing_value": 255},
            [[0, 1]],
            "in JPEG files 0 = background, 255 = foreground; 255 = not annotated",
        ),
    ],
)
def test_values_mean_what_all_files_say(tmp_path, files, options, expected, told):
    coding, found = decided(tmp_path, files, **options)
    assert found == expected
    assert coding.describe() == f"masks: {told}"
    again = MaskCoding.from_dict(json.loads(json.dumps(coding.to_dict())))
    assert again == coding and again.seen == coding.seen


@pytest.mark.parametrize(
    "files, match",
    [
        (
            {"a.png": [0, 1, 255]},
            r"'.*a\.png' holds 1 and 255\. Say missing_value=255 .*mapping='binary'",
        ),
        (
            {"a.png": [0, 1], "b.png": [0, 255]},
            r"a\.png' holds 1, '.*b\.png' 255\. Say missing_value",
        ),
        ({"a.png": [1, 255]}, "Masks of 0, 1 and 255 may mean two things"),
        ({"a.png": [0, 128, 255]}, r"a\.png' holds the value 128 .*mask_mapping='half'"),
        (
            {"a.png": [0, 255], "b.png": [0, 254]},
            r"b\.png' holds the value 254 where masks hold 255",
        ),
        ({"a.jpg": [0, 128, 255]}, r"a\.jpg' cannot be read: it is lossy .*far from 0"),
        ({"a.jpg": [0, 2]}, "values up to [1-3]: class ids do not survive"),
    ],
)
def test_what_is_not_clear_is_refused_with_files_and_remedies(tmp_path, files, match):
    with pytest.raises(ValueError, match=match):
        decided(tmp_path, files)


def test_rounded_values_are_told(tmp_path):
    soft = np.zeros((BLOCK, BLOCK), np.uint8)
    soft[:, 5:] = 255
    paths = [tmp_path / f"{i}.jpg" for i in range(2)]
    for path in paths:
        Image.fromarray(soft).save(path, quality=90)
    coding = decide_coding(paths)
    assert coding.n_lossy == coding.n_rounded == 2 and set(coding.rounded).isdisjoint({0, 255})
    assert coding.describe().endswith(" in 2 JPEG files rounded")
    np.testing.assert_array_equal(coding.read(paths[0]), soft > 0)
    told = MaskCoding(n_lossy=3, n_rounded=3, rounded=(1, 254)).describe()
    assert told == "masks: 0 = background, 255 = foreground; 254 and 1 in 3 JPEG files rounded"
    told = MaskCoding(n_lossy=1, n_rounded=1, rounded=(1, 2, 9, 250, 254)).describe()
    assert told.endswith("; 1 to 9 and 250 to 254 in 1 JPEG file rounded")


def test_one_bit_says_itself_what_is_foreground(tmp_path):
    bit = save(tmp_path, "a.png", [0, 1], mode="1")
    white, ids = save(tmp_path, "b.png", [0, 255]), save(tmp_path, "c.png", [0, 2, 1])
    for others in ([white], [ids], []):
        coding = decide_coding([bit, *others])
        assert classes(coding.read(bit)) == [0, 1]
    assert coding.describe() == "masks: 0 = background, 1 = foreground"


@pytest.mark.parametrize(
    "first, later, match",
    [
        (
            [0, 255],
            [0, 1],
            r"b\.png' holds the value 1, .*\(masks: 0 = background, 255 = foreground\)",
        ),
        ([0, 255], [0, 1, 2, 255], r"b\.png' holds the value 2, which contradicts the other files"),
        (
            [0, 1],
            [0, 255],
            r"b\.png' holds the value 255, .*\(masks: class ids 0, 1\)\. Say missing_",
        ),
        ([0, 0], [0, 255], None),
        ([0, 1], [0, 2], None),
        ([0, 1, 2], [0, 1, 2, 255], None),
        ([0, 1, 2, 255], [0, 1], None),
    ],
)
def test_a_later_file_agrees_or_is_named(tmp_path, first, later, match):
    a = save(tmp_path, "a.png", first)
    coding = decide_coding([a])
    before = coding.read(a)
    b = save(tmp_path, "b.png", later)
    if match is None:
        after = decide_coding([a, b], known=coding)
        np.testing.assert_array_equal(after.read(a), before)
        assert classes(after.read(b)) == classes(decide_coding([a, b]).read(b))
    else:
        with pytest.raises(ValueError, match=match):
            decide_coding([a, b], known=coding)
        with pytest.raises(ValueError, match=match):
            coding.read(b)


VALUES = st.lists(st.sampled_from([0, 1, 2, 7, 128, 254, 255, 300]), min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(
    first=st.lists(VALUES, min_size=1, max_size=3),
    later=st.lists(VALUES, max_size=2),
    missing_value=st.sampled_from([None, None, 0, 128, 255]),
)
def test_what_was_read_stays_as_it_is(first, later, missing_value):
    """Files that come later change nothing of those before, or are refused; order is nothing."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for i, values in enumerate([*first, *later]):
            paths.append(Path(folder, f"{i}.png"))
            Image.fromarray(np.array([values], np.uint16 if max(values) > 255 else np.uint8)).save(
                paths[-1]
            )
        old = paths[: len(first)]
        try:
            coding = decide_coding(old, missing_value=missing_value)
        except ValueError:
            return
        before = [coding.read(path).tolist() for path in old]  # all that were looked at are read
        assert decide_coding(old[::-1], missing_value=missing_value) == coding
        try:
            after = decide_coding(paths, known=coding)
        except ValueError as error:
            assert any(repr(str(path)) in str(error) for path in paths[len(first) :])
            return
        assert [after.read(path).tolist() for path in old] == before
        for path in paths:
            after.read(path)


def test_only_new_files_are_looked_at(tmp_path, monkeypatch):
    a = save(tmp_path, "a.png", [0, 255])
    coding = decide_coding([a])
    steps = []
    b = save(tmp_path, "b.png", [255, 255])
    again = decide_coding([a, None, b], known=coding, progress=lambda *step: steps.append(step))
    assert steps == [(1, 1)] and len(again.seen) == 2
    save(tmp_path, "a.png", [0, 0, 1])  # written again: a new file
    with pytest.raises(ValueError, match=r"a\.png' holds the value 1, which contradicts"):
        decide_coding([a, b], known=again)
    # what is said anew is decided anew
    assert decide_coding([a, b], "nonzero", known=again) == MaskCoding("nonzero")
    assert decide_coding([a, b], missing_value=255, known=again).reading == "ids"


def test_files_that_cannot_be_read_are_left_to_who_reads_them(tmp_path):
    good = save(tmp_path, "a.png", [0, 255])
    (tmp_path / "b.png").write_bytes(b"no image")
    coding = decide_coding([good, tmp_path / "b.png", tmp_path / "none.png"])
    assert coding.reading == "binary"
    with pytest.raises(ValueError, match=r"b\.png' cannot be read"):
        coding.read(tmp_path / "b.png")


@pytest.mark.parametrize(
    "change, error",
    [
        ({"mapping": "import os"}, ValueError),
        ({"reading": "code"}, ValueError),
        ({"values": "255"}, TypeError),
        ({"values": [0.5]}, TypeError),
        ({"seen": [1]}, TypeError),
        ({"missing_value": "255"}, TypeError),
        ({"missing_value": 10**9}, ValueError),
        ({"n_lossy": -1}, ValueError),
        ({"extra": 1}, ValueError),
    ],
)
def test_a_tampered_coding_is_refused(change, error):
    with pytest.raises(error, match="must be"):
        MaskCoding.from_dict({**MaskCoding().to_dict(), **change})
    with pytest.raises(ValueError, match="coding must be a dict with keys among"):
        MaskCoding.from_dict([])


def test_many_ids_are_kept_by_what_decides(tmp_path):
    ids = np.arange(1, 2000, dtype=np.uint16).reshape(1, -1)
    Image.fromarray(ids).save(tmp_path / "a.png")
    coding = decide_coding([tmp_path / "a.png"])
    assert len(coding.values) <= 64 and coding.values[-1] == 1999 and 255 in coding.values
    np.testing.assert_array_equal(coding.read(tmp_path / "a.png"), ids)
    assert coding.describe() == "masks: class ids 1 to 1999"


# ---- through a folder --------------------------------------------------------------------------


def folder_with(root, masks, size=(BLOCK, 2 * BLOCK), images=("x", "y")):
    for name in images:
        (root / "images").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size[::-1]).save(root / "images" / f"{name}.png")
    for name, values in masks.items():
        save(root, f"masks/{name}", values)
    return root


def test_a_folder_is_decided_once_and_may_be_told(tmp_path):
    root = folder_with(tmp_path, {"x.png": [0, 255]})
    data = load_folder(root)
    coding = data.all.masks.mapping
    assert data.describe().splitlines()[-1] == "masks: 0 = background, 255 = foreground"
    save(root, "masks/y.png", [0, 1])
    with pytest.raises(ValueError, match=r"y\.png' holds 1, '.*x\.png' 255\. Say"):
        load_folder(root)
    with pytest.raises(ValueError, match=r"y\.png' holds the value 1, which contradicts"):
        load_folder(root, mask_mapping=coding)
    both = load_folder(root, missing_value=255).all.masks
    assert [classes(mask) for mask in both] == [[0, MISSING], [0, 1]]
    (root / "manifest.csv").write_text("image,mask\nimages/x.png,masks/x.png\n")
    listed = load_folder(root, missing_value=255).all.masks
    assert [classes(mask) for mask in listed] == [[0, MISSING]]
    with pytest.raises(TypeError, match="missing_value must be an integer, got '255'"):
        load_folder(root, missing_value="255")


@pytest.mark.parametrize("where", ["masks", "images"])
def test_several_files_an_image_are_one_mask(tmp_path, where):
    root = folder_with(tmp_path, {})
    for name, values in {"x_mask": [0, 0], "x_mask_1": [255, 0], "y_mask_2": [0, 255]}.items():
        save(root, f"{where}/{name}.png", values)
    data = load_folder(root, mask_suffix="_mask").all
    assert data.ids.tolist() == ["x", "y"]
    assert [classes(mask) for mask in data.masks] == [[1, 0], [0, 1]]
    assert data.masks.size(0) == (BLOCK, 2 * BLOCK) and "x_mask.png' and more" in data.masks.where(
        0
    )
    assert len(data.masks[:1]) == 1 and classes(data.masks.take([1])[0]) == [0, 1]
    check_pairs(data.images, data.masks, 2)
    assert (
        load_folder(root, mask_suffix="_mask").describe().startswith("2 images, 0 classes, 2 masks")
    )


def test_parts_that_contradict_one_another_are_named(tmp_path):
    root = folder_with(tmp_path, {"x_mask_1.png": [1, 0], "x_mask_2.png": [2, 0]})
    masks = load_folder(root, mask_suffix="_mask").all.masks
    with pytest.raises(
        ValueError,
        match=r"x_mask_1\.png' and '.*x_mask_2\.png' give the pixel in "
        "row 0, column 0 the classes 1 and 2",
    ):
        masks[0]
    save(root, "masks/x_mask_2.png", [0, 1, 1])
    with pytest.raises(ValueError, match=r"agree in size, got '.*x_mask_1\.png' of 16 x 32 and"):
        load_folder(root, mask_suffix="_mask").all.masks[0]


@pytest.mark.parametrize(
    "masks, expected",
    [
        ([[0, 1], [0, 0]], [0, 1]),
        ([[0, 1], [2, 0]], [2, 1]),
        ([[-1, -1], [0, 1]], [-1, 1]),
        ([[-1, 0], [0, 0], [0, 0]], [-1, 0]),
        ([[0, 0], [-1, 2], [3, 2]], [3, 2]),
    ],
)
def test_merged_masks_by_hand(masks, expected):
    assert merged([np.array([mask], np.int16) for mask in masks], "abc").tolist() == [expected]


def test_masks_of_twice_or_half_the_size_are_brought_to_it_if_asked(tmp_path):
    root = folder_with(tmp_path, {"x.png": [0, 0, 255, 255], "y.png": [0, 255]}, images="xyz")
    half = np.repeat(np.repeat([[0, 255]], 8, axis=0), 8, axis=1).astype(np.uint8)
    Image.fromarray(half).save(root / "masks" / "z.png")
    double = np.repeat(np.repeat([[0, 255]], 32, axis=0), 32, axis=1).astype(np.uint8)
    Image.fromarray(double).save(root / "masks" / "x.png")
    data = load_folder(root).all
    with pytest.raises(
        ValueError, match=r"2 images or masks are bad.*resize_masks=True \(--resize"
    ):
        check_pairs(data.images, data.masks)
    data = load_folder(root, resize_masks=True).all
    check_pairs(data.images, data.masks, 2)
    assert [classes(mask) for mask in data.masks] == [[0, 1]] * 3
    assert [data.masks.size(i) for i in range(3)] == [(16, 32)] * 3
    assert classes(data.masks.take([2, 0])[0]) == [0, 1]
    save(root, "masks/x.png", [0, 0, 255])
    data = load_folder(root, resize_masks=True).all
    with pytest.raises(ValueError, match="is 16 x 48 pixels, its image .* they must agree.$"):
        check_pairs(data.images, data.masks)


@pytest.mark.parametrize(
    "size, wanted, expected",
    [
        ((10, 20), (20, 40), 2),
        ((30, 60), (10, 20), 3),
        ((10, 20), (10, 20), None),
        ((775, 522), (387, 261), 2),
        ((775, 522), (388, 261), 2),
        ((10, 20), (20, 20), None),
        ((10, 20), (15, 30), None),
        ((10, 60), (20, 30), None),
    ],
)
def test_ratio_of_sizes(size, wanted, expected):
    assert ratio(size, wanted) == ratio(wanted, size) == expected
    mask = np.zeros(size, np.int16)
    assert resized(mask, wanted).shape == (size if expected is None else wanted)


def test_resizing_keeps_the_middle_of_each_block():
    mask = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(resized(mask, (2, 2)), mask[1::2, 1::2])
    np.testing.assert_array_equal(resized(resized(mask, (12, 12)), (4, 4)), mask)


def test_a_coding_that_counts_rounded_files_names_their_values():
    with pytest.raises(ValueError, match=r"coding\['rounded'\] must be the values that were"):
        MaskCoding.from_dict({"n_rounded": 2, "rounded": []})
    assert MaskCoding.from_dict({"n_rounded": 2, "rounded": [127]}).rounded == (127,)
