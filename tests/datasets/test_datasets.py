"""Loaders: the official layouts on small folders, the rule of the folds, and the real folders."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from real_data import data_folder

from alseg.datasets import (
    Dataset,
    Parts,
    class_folds,
    load_cub,
    load_folder,
    load_glas,
    load_isic,
    torn_groups,
)
from alseg.images import ImageFiles, MaskFiles, check_pairs


def save(path, value=0, size=(4, 6), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "RGB":
        Image.new("RGB", size[::-1], (value, value, value)).save(path)
    else:
        array = np.zeros(size, np.uint8)
        array[:2] = value
        image = Image.fromarray(array)
        if mode == "P":
            image.putpalette([200] * 768)
        image.save(path)
    return path


# ---- Dataset and Parts -------------------------------------------------------------------------


def test_take_takes_everything_along(rng):
    data = Dataset(
        images=[rng.random((3 + i, 4, 3)) for i in range(4)],
        labels=["a", "b", "a", "b"],
        masks=[np.zeros((3, 4), int), None, None, None],
        groups=[1, 1, 2, 2],
        name="toy",
    )
    assert repr(data) == "Dataset('toy': 4 images, 2 classes, 1 masks)"
    for idx in ([3, 0], np.array([3, 0])):
        part = data.take(idx)
        assert part.images[0] is data.images[3] and part.images[1] is data.images[0]
        assert part.masks[0] is None and part.masks[1] is data.masks[0]
        assert part.labels.tolist() == ["b", "a"] and part.groups.tolist() == [2, 1]
        assert part.ids.tolist() == ["3", "0"] and part.instances is None and len(part) == 2
    assert data.take(np.array([True, False, False, True])).ids.tolist() == ["0", "3"]
    assert len(data.take([])) == 0
    with pytest.raises(ValueError, match=r"labels must be of the length of images \(2\), got 1"):
        Dataset(np.zeros((2, 4, 4, 3), np.uint8), ["a"])
    with pytest.raises(AttributeError, match="cannot assign to field 'labels'"):
        data.labels = None


def test_parts_are_keys_and_attributes():
    data = Dataset(np.zeros((2, 4, 4, 3), np.uint8), ["a", "b"])
    parts = Parts({"train": data.take([0]), "test set": data.take([1]), "all": data})
    assert parts.parts == ("train", "test set", "all") == tuple(parts)
    assert parts.train is parts["train"] and len(parts["test set"]) == 1
    assert "train" in dir(parts) and "train" in parts and "tran" not in parts
    assert repr(parts) == "Parts(train: 1, test set: 1, all: 2)"
    with pytest.raises(AttributeError, match="part must be .*Did you mean 'train'"):
        _ = parts.tran
    with pytest.raises(KeyError, match="part must be one of"):
        parts["valid"]
    again = pickle.loads(pickle.dumps(parts))
    assert again.parts == parts.parts and again.train.labels.tolist() == ["a"]


# ---- folds -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(labels=st.lists(st.sampled_from("abc"), min_size=1, max_size=80))
def test_folds_cover_everything_once_in_chunks_of_a_fifth(labels):
    labels = np.array(labels)
    folds = np.array([class_folds(labels, fold) for fold in range(5)])
    np.testing.assert_array_equal(folds.sum(axis=0), 1)
    for label in set(labels):
        size = -(-(labels == label).sum() // 5)
        sizes = folds[:, labels == label].sum(axis=1)
        assert sizes.max() == sizes[0] == size and (np.diff(sizes) <= 0).all()


def test_published_counts_of_cub_follow_from_the_rule():
    labels = np.repeat(np.arange(200), [30] * 194 + [29] * 6)  # 5994 images
    counts = [class_folds(labels, fold).sum() for fold in range(5)]
    assert counts == [1200, 1200, 1200, 1200, 1194]


def test_folds_keep_groups_whole_if_asked():
    labels, groups = np.array(["a", "b"] * 20), np.repeat(np.arange(10), 4)
    for fold in range(5):
        valid = class_folds(labels, fold, groups)
        assert not set(groups[valid]) & set(groups[~valid]) and valid.sum() == 8
    with pytest.raises(ValueError, match="groups must be at least 5 different ones, got 1"):
        class_folds(labels, 0, np.zeros(40))
    with pytest.raises(ValueError, match="fold must be >= 0 and <= 4, got 5"):
        class_folds(labels, 5)


# ---- GlaS --------------------------------------------------------------------------------------


def make_official_glas(folder, suffix=".bmp"):
    """The 165 names of GlaS in its layout: \\r line ends, spaces in cells, 37 + 48 in train."""
    parts = {"train": (37, 48), "testA": (33, 27), "testB": (4, 16)}
    rows = ["name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"]
    for part, (n_benign, n_malignant) in parts.items():
        for i in range(1, n_benign + n_malignant + 1):
            label = "benign" if i <= n_benign else "malignant"
            rows.append(f"{part}_{i},{i % 7}, {label}, healthy")
            save(folder / f"{part}_{i}{suffix}", i, mode="RGB")
            save(folder / f"{part}_{i}_anno{suffix}", i)
    (folder / "Grade.csv").write_bytes("\r".join([rows[0], *sorted(rows[1:])]).encode())


@pytest.fixture(scope="module")
def official_glas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glas")
    # The archive unpacks into this folder.
    make_official_glas(folder / "Warwick QU Dataset (Released 2016_07_08)")
    return folder


@pytest.mark.parametrize("fold", range(5))
def test_glas_folds_have_the_published_counts(official_glas, fold):
    glas = load_glas(official_glas, fold=fold)
    assert glas.parts == ("train", "valid", "test", "all")
    sizes = [len(glas[part]) for part in glas]
    assert sizes == ([67, 18, 80, 165] if fold < 4 else [72, 13, 80, 165])
    benign = [(glas[part].labels == "benign").sum() for part in glas]
    assert benign == ([29, 8, 37, 74] if fold < 4 else [32, 5, 37, 74])
    ids = np.concatenate([glas[part].ids for part in ("train", "valid", "test")])
    assert sorted(ids) == sorted(glas.all.ids)


def test_glas_reads_the_official_folder(official_glas):
    glas = load_glas(official_glas)
    data = glas.all
    assert data.ids[:2].tolist() == ["train_1", "train_2"] and data.ids[85] == "testA_1"
    assert type(data.images) is ImageFiles and type(data.masks) is MaskFiles
    position = data.ids.tolist().index("train_12")
    assert data.images[position][0, 0, 0] == 12
    assert np.unique(data.instances[position]).tolist() == [0, 12]
    assert np.unique(data.masks[position]).tolist() == [0, 1]
    assert data.groups[position] == "5" and data.labels[position] == "benign"
    assert glas.train.name == "glas.train"
    assert load_glas(official_glas, fold=None).parts == ("train", "test", "all")
    with pytest.raises(ValueError, match="fold must be >= 0 and <= 4, got 5"):
        load_glas(official_glas, fold=5)


def test_glas_reads_copies_of_other_type(tmp_path):
    make_official_glas(tmp_path, ".png")
    assert len(load_glas(tmp_path).train) == 67
    (tmp_path / "testA_3_anno.png").unlink()
    with pytest.raises(FileNotFoundError, match="1 images or masks .*'testA_3_anno'"):
        load_glas(tmp_path)
    with pytest.raises(FileNotFoundError, match="root must be an existing folder"):
        load_glas(tmp_path / "nowhere")
    (tmp_path / "Grade.csv").unlink()
    with pytest.raises(FileNotFoundError, match="root must be a folder with Grade.csv"):
        load_glas(tmp_path)


def test_glas_takes_the_folds_of_a_manifest(tmp_path):
    rows = ["image,mask,label,split,patient,fold0,fold1"]
    for i, (split, zero, one) in enumerate(
        [("train", "train", "valid"), ("train", "valid", "train"), ("testA", "test", "test")]
    ):
        save(tmp_path / "images" / f"{split}_{i}.png", mode="RGB")
        save(tmp_path / "masks" / f"{split}_{i}.png", 3)
        file = f"{split}_{i}.png"
        rows.append(f"images/{file},masks/{file},benign,{split},p{i},{zero},{one}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    glas = load_glas(tmp_path, fold=1)
    assert glas.valid.ids.tolist() == ["train_0"] and glas.train.ids.tolist() == ["train_1"]
    assert glas.test.groups.tolist() == ["p2"]
    assert glas.test.masks[0].max() == 1 and glas.test.instances[0].max() == 3


def test_real_glas(glas_folder):
    for fold in range(5):
        glas = load_glas(glas_folder, fold)
        assert [len(glas[part]) for part in glas] == [
            67 + 5 * (fold == 4),
            18 - 5 * (fold == 4),
            80,
            165,
        ]
    one = glas.all.take([0, 100])
    check_pairs(one.images, one.masks, n_mask_classes=2)
    assert one.instances[0].max() > 1
    assert len(np.unique(glas.all.groups)) == 16
    names, counts = np.unique(glas.test.subsets, return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist())) == {"testA": 60, "testB": 20}
    whole = load_glas(glas_folder, None)
    torn = torn_groups(whole.train, whole.test)
    assert (torn["n_torn"], torn["n_groups"], torn["published"]) == (11, 16, True)
    own = torn_groups(whole.all.take(range(85)), whole.all.take(range(85, 165)))
    assert (own["n_torn"], own["published"]) == (11, False)


# ---- CUB ---------------------------------------------------------------------------------------


@pytest.fixture
def cub_folder(tmp_path):
    root = tmp_path / "CUB_200_2011"
    classes = ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    lists = {"images": [], "image_class_labels": [], "train_test_split": []}
    for number in range(1, 25):
        label = classes[number % 2]
        path = f"{label}/Bird_{number:04d}.jpg"
        lists["images"].append(f"{number} {path}")
        lists["image_class_labels"].append(f"{number} {number % 2 + 1}")
        lists["train_test_split"].append(f"{number} {int(number <= 20)}")
        save(root / "images" / path, number, mode="RGB")
        save((root.parent / "segmentations" / path).with_suffix(".png"), 200)
    lists["classes"] = [f"{i + 1} {name}" for i, name in enumerate(classes)]
    for name, lines in lists.items():
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def test_cub_reads_the_official_folder(cub_folder):
    for root in (cub_folder, cub_folder.parent):
        cub = load_cub(root)
        assert [len(cub[part]) for part in cub] == [16, 4, 4, 24]
    assert cub.parts == ("train", "valid", "test", "all")
    assert [cub[part].published_part for part in cub] == ["train", "valid", "test", None]
    assert cub.test.ids.tolist() == [f"Bird_{i:04d}" for i in range(21, 25)]
    assert cub.test.labels[0] == "002.Laysan_Albatross"
    assert cub.valid.labels.tolist().count("002.Laysan_Albatross") == 2
    np.testing.assert_array_equal(cub.test.masks[0], np.repeat([[1], [1], [0], [0]], 6, axis=1))
    assert load_cub(cub_folder, fold=None).parts == ("train", "test", "all")
    (cub_folder.parent / "segmentations").rename(cub_folder / "segmentations")
    assert load_cub(cub_folder).all.masks[3].max() == 1


def test_cub_masks_are_cut_at_half(cub_folder):
    cub = load_cub(cub_folder)
    for value, expected in ((127, 0), (128, 1)):
        save(type(cub_folder)(cub.test.masks.paths[0]), value)
        assert cub.test.masks[0].max() == expected


def test_bad_cub_folders_raise(cub_folder):
    split = cub_folder / "train_test_split.txt"
    lines = split.read_text()
    split.write_text(lines + "99 1\n")
    with pytest.raises(ValueError, match="must list the same images, but image '99'"):
        load_cub(cub_folder)
    split.write_text("1\n")
    with pytest.raises(ValueError, match=r"train_test_split.txt' must have two words"):
        load_cub(cub_folder)
    split.write_text(lines)
    next((cub_folder.parent / "segmentations" / "001.Black_footed_Albatross").iterdir()).unlink()
    with pytest.raises(FileNotFoundError, match="1 files do not exist, first .*Bird_"):
        load_cub(cub_folder)
    (cub_folder.parent / "segmentations").rename(cub_folder.parent / "elsewhere")
    with pytest.raises(FileNotFoundError, match="no folder 'segmentations' in or beside"):
        load_cub(cub_folder)
    (cub_folder / "classes.txt").unlink()
    with pytest.raises(FileNotFoundError, match="with 'classes.txt'"):
        load_cub(cub_folder)


# ---- ISIC --------------------------------------------------------------------------------------


def test_isic_reads_the_official_folders(tmp_path):
    flags = {"ISIC_1": "1.0,0.0", "ISIC_2": "0.0,1.0", "ISIC_3": "0.0,0.0"}
    for word in ("Training", "Test_v2"):
        for name in flags:
            save(tmp_path / f"ISIC-2017_{word}_Data" / f"{name}.jpg", 9, mode="RGB")
            save(tmp_path / f"ISIC-2017_{word}_Data" / f"{name}_superpixels.png", 9, mode="RGB")
            save(tmp_path / f"ISIC-2017_{word}_Part1_GroundTruth" / f"{name}_segmentation.png", 255)
        rows = [f"{name},{flag}" for name, flag in flags.items()]
        (tmp_path / f"ISIC-2017_{word}_Part3_GroundTruth.csv").write_text(
            "\n".join(["image_id,melanoma,seborrheic_keratosis", *rows])
        )
    isic = load_isic(tmp_path)
    assert isic.parts == ("train", "test", "all") and len(isic.all) == 6
    assert isic.train.take([0]).published_part == "train" and isic.all.published_part is None
    assert isic.test.labels.tolist() == ["melanoma", "seborrheic_keratosis", "nevus"]
    assert isic.train.masks[0].sum() == 12
    mask = tmp_path / "ISIC-2017_Test_v2_Part1_GroundTruth" / "ISIC_2_segmentation.png"
    mask.unlink()
    with pytest.raises(FileNotFoundError, match="ISIC_2_segmentation.png' does not exist"):
        load_isic(tmp_path)
    save(mask, 255)
    save(tmp_path / "ISIC-2017_Training_Data" / "ISIC_9.jpg", mode="RGB")
    with pytest.raises(ValueError, match="has no row for the image .*ISIC_9.jpg"):
        load_isic(tmp_path)
    with pytest.raises(FileNotFoundError, match="root must be a folder with ISIC-2017_Training"):
        load_isic(tmp_path / "ISIC-2017_Training_Data")


def test_real_isic():
    isic = load_isic(data_folder("isic2017"))
    assert [len(isic[part]) for part in isic] == [2000, 150, 2150]
    assert isic.parts == ("train", "valid", "all")
    assert (isic.train.labels == "melanoma").sum() == 374
    assert np.unique(isic.train.masks[0]).tolist() == [0, 1]


# ---- folders of one's own ----------------------------------------------------------------------


@pytest.fixture
def own_folder(tmp_path):
    for label, stems in {"cat": ["a", "b"], "dog": ["c", "d10", "d9"]}.items():
        for stem in stems:
            save(tmp_path / "images" / label / f"{stem}.png", mode="RGB")
    (tmp_path / "images" / "cat" / "Thumbs.db").write_text("x")
    (tmp_path / "images" / ".hidden").mkdir()
    return tmp_path


def test_layout_without_masks(own_folder):
    data = load_folder(own_folder, name="pets")
    assert data.parts == ("all",) and data.all.masks is None and data.all.groups is None
    assert data.all.ids.tolist() == ["a", "b", "c", "d9", "d10"]
    assert data.all.labels.tolist() == ["cat", "cat", "dog", "dog", "dog"]
    assert data.all.name == "pets"
    folds = load_folder(own_folder, fold=0)
    assert folds.parts == ("train", "valid", "all") and len(folds.valid) == 2


def test_layout_with_masks_flat_or_by_class(own_folder):
    save(own_folder / "masks" / "c.png", 255)
    save(own_folder / "masks" / "cat" / "b.tif", 255)
    masks = load_folder(own_folder).all.masks
    assert [mask is None for mask in masks] == [True, False, False, True, True]
    assert np.unique(masks[2]).tolist() == [0, 1] and masks.mapping.reading == "binary"
    save(own_folder / "masks" / "zebra.png")
    with pytest.raises(ValueError, match=r"1 masks fit no image: '.*zebra\.png'"):
        load_folder(own_folder)
    (own_folder / "masks" / "zebra.png").unlink()
    save(own_folder / "masks" / "b.png")
    with pytest.raises(ValueError, match="Two masks fit one image: .*b.png' and .*b.tif'"):
        load_folder(own_folder)


def test_layout_with_one_stem_in_two_classes(own_folder):
    save(own_folder / "images" / "dog" / "a.png", mode="RGB")
    assert "cat/a" in load_folder(own_folder).all.ids
    save(own_folder / "masks" / "dog" / "a.png", 1)
    assert [m is not None for m in load_folder(own_folder).all.masks] == [False, False, True] + (
        [False] * 3
    )
    (own_folder / "masks" / "dog" / "a.png").rename(own_folder / "masks" / "a.png")
    with pytest.raises(ValueError, match=r"a\.png' fits 2 images \(cat/a, dog/a\)\. Put"):
        load_folder(own_folder)
    save(own_folder / "images" / "cat" / "a.bmp", mode="RGB")
    with pytest.raises(ValueError, match="Images must differ in their stems"):
        load_folder(own_folder)


def test_layout_without_classes(tmp_path):
    save(tmp_path / "images" / "a.png", mode="RGB")
    save(tmp_path / "masks" / "a.png", 255)
    data = load_folder(tmp_path).all
    assert data.labels.tolist() == [None] and data.masks[0].max() == 1


@pytest.mark.parametrize(
    "values, suffix, mode, told, expected",
    [
        ([255, 255], ".png", "L", "binary", [1, 1]),
        ([1, 1], ".png", "L", None, [1, 1]),
        ([3, 7], ".png", "P", None, [3, 7]),
        ([255, 255], ".jpg", "L", "half", [1, 1]),
    ],
)
def test_how_masks_are_coded_is_seen(tmp_path, values, suffix, mode, told, expected):
    for i, value in enumerate(values):
        save(tmp_path / "images" / f"{i}.png", mode="RGB")
        save(tmp_path / "masks" / f"{i}{suffix}", value, mode=mode)
    data = load_folder(tmp_path)
    assert data.all.masks.mapping.told == told  # what records of earlier versions say
    assert [mask.max() for mask in data.all.masks] == expected
    assert data.describe().splitlines()[-1] == data.all.masks.mapping.describe()
    assert load_folder(tmp_path, mask_mapping="nonzero").all.masks.mapping.told == "nonzero"
    with pytest.raises(ValueError, match="mask_mapping must be one of .*Did you mean 'auto'"):
        load_folder(tmp_path, mask_mapping="aut")


@pytest.fixture
def manifest(tmp_path):
    def write(*rows):
        for name in "abcdef":
            save(tmp_path / "images" / f"{name}.png", mode="RGB")
        save(tmp_path / "masks" / "a.png", 255)
        (tmp_path / "manifest.csv").write_text("\n".join(rows))
        return tmp_path

    return write


def test_manifest_with_any_split_names_groups_and_missing_masks(manifest):
    folder = manifest(
        "image, mask ,label,split,group",
        "images/a.png,masks/a.png,x,site one,p1",
        "images/b.png,,x,train,p1",
        "images\\c.png,,y,,p2",
    )
    data = load_folder(folder)
    assert data.parts == ("train", "site one", "all")
    assert data["site one"].groups.tolist() == ["p1"] and len(data.all) == 3
    assert data.all.masks[1] is None and data.all.masks[0].max() == 1
    assert data.train.labels.tolist() == ["x"]
    assert load_folder(folder / "manifest.csv").all.name == folder.name


def test_manifest_with_nothing_but_images(manifest):
    data = load_folder(manifest("image", "images/a.png", "images/b.png"))
    assert data.parts == ("all",) and data.all.labels.tolist() == [None] * 2
    assert data.all.masks is None and data.all.groups is None


def test_manifest_with_fold_columns(manifest):
    folder = manifest(
        "image,label,split,fold0,fold1",
        "images/a.png,x,train,train,valid",
        "images/b.png,x,train,valid,train",
        "images/c.png,x,test,test,test",
    )
    assert load_folder(folder).parts == ("train", "test", "all")
    assert load_folder(folder, fold=1).valid.ids.tolist() == ["a"]
    assert load_folder(folder, fold="fold0").valid.ids.tolist() == ["b"]
    with pytest.raises(ValueError, match=r"fold must be in \[0, 1\] .* got 2"):
        load_folder(folder, fold=2)
    with pytest.raises(ValueError, match="fold must be a column of the manifest .* got 'fold7'"):
        load_folder(folder, fold="fold7")


def test_manifest_with_a_column_of_fold_numbers(manifest):
    folder = manifest(
        "image,split,fold", "images/a.png,train,0", "images/b.png,train,1", "images/c.png,test,"
    )
    data = load_folder(folder, fold=1)
    assert data.valid.ids.tolist() == ["b"] and data.train.ids.tolist() == ["a"]
    assert data.test.ids.tolist() == ["c"]
    with pytest.raises(ValueError, match="fold must be a value of the column 'fold'"):
        load_folder(folder, fold=5)


def test_folds_made_by_rule_keep_patients_whole(manifest):
    rows = [f"images/{name}.png,x,{i}" for i, name in enumerate("abcdef")]
    data = load_folder(manifest("image,label,patient", *rows), fold=2)
    assert not set(data.train.groups) & set(data.valid.groups) and len(data.valid) >= 1


@pytest.mark.parametrize(
    "rows, error, match",
    [
        (["file", "a.png"], ValueError, r"manifest\.csv' must be a CSV with a column 'image'"),
        (["image"], ValueError, "has no rows"),
        ([""], ValueError, "cannot be read as CSV"),
        (
            ["image", "images/z.png"],
            FileNotFoundError,
            r"names 1 files that do not exist: '.*z\.png'",
        ),
        (
            ["image,mask", "images/a.png,masks/z.png"],
            FileNotFoundError,
            r"not exist: '.*masks.z\.png'",
        ),
        (["image"] + ["images/a.png"] * 2, ValueError, "in lines 2 and 3: 'images/a.png'"),
        (["image,label", ",x"], ValueError, "names no image in line 2"),
    ],
)
def test_bad_manifests_raise(manifest, rows, error, match):
    with pytest.raises(error, match=match):
        load_folder(manifest(*rows))


def test_folders_that_are_none_raise(tmp_path):
    with pytest.raises(FileNotFoundError, match="root must be an existing folder, got .*nowhere"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="root must be a folder with images/ or manifest"):
        load_folder(tmp_path)
    with pytest.raises(TypeError, match="root must be a string or a Path, got 3"):
        load_folder(3)
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match="must hold images .* got none"):
        load_folder(tmp_path)


def test_real_butterflies_keep_groups_apart():
    data = load_folder(data_folder("leeds_butterfly"))
    assert data.parts == ("train", "test", "val", "all") and len(data.all) == 832
    groups = [set(data[part].groups) for part in ("train", "val", "test")]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    assert np.unique(data.train.masks[0]).tolist() == [0, 1]
