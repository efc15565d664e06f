"""Images of torch, Hugging Face and MONAI, and of sequences of one's own."""

import copy
import multiprocessing
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_validate
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Subset, TensorDataset

from alseg import ActiveLearner, JointCAMSegmenter
from alseg.datasets import Dataset, make_glands
from alseg.images import (
    LazyImages,
    as_images,
    as_masks,
    from_hf,
    from_monai,
    from_sequence,
    from_torch,
    thumbnails,
)
from alseg.rows import data_vstack, n_rows
from alseg.training import decoded

GLANDS = make_glands(6, image_size=(32, 48), random_state=0)
CODES = np.unique(GLANDS.labels, return_inverse=True)[1]


class Counting(TorchDataset):
    """Items as dicts of PIL images; counts how often one is read, and by how many at once."""

    def __init__(self, n=6):
        self.n, self.reads, self.inside, self.most = n, [], 0, 0

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if not isinstance(i, int) or not 0 <= i < self.n:
            raise IndexError(i)
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.reads.append(i)
        item = {
            "image": Image.fromarray(GLANDS.images[i]),
            "mask": Image.fromarray(np.uint8(GLANDS.masks[i] > 0) * 255),
            "kind": GLANDS.labels[i],
        }
        self.inside -= 1
        return item


def tensors(masks=True):
    parts = [torch.from_numpy(GLANDS.images).movedim(-1, 1), torch.from_numpy(CODES)]
    return TensorDataset(*parts, *([torch.from_numpy(GLANDS.masks)] if masks else []))


def tiny(**params):
    return JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0, **params)


def fits_as_arrays(triple, labels=CODES):
    found = tiny().fit(*triple).predict_mask_proba(triple.images)
    expected = tiny().fit(GLANDS.images, labels, GLANDS.masks).predict_mask_proba(GLANDS.images)
    np.testing.assert_array_equal(found, expected)


# ---- torch -------------------------------------------------------------------------------------


def test_a_tensor_dataset_fits_as_its_arrays_do():
    triple = from_torch(tensors(), mask=2)
    assert triple.labels.tolist() == CODES.tolist()
    np.testing.assert_array_equal(triple.images[3], GLANDS.images[3])
    np.testing.assert_array_equal(triple.masks[3], GLANDS.masks[3])
    assert triple.masks[3].dtype == np.int16
    fits_as_arrays(triple)


def test_items_may_be_dicts_of_pictures():
    triple = from_torch(
        Counting(), image="image", label="kind", mask="mask", mask_mapping="nonzero"
    )
    assert triple.labels.tolist() == GLANDS.labels.tolist()
    fits_as_arrays(triple, GLANDS.labels)


def test_an_image_and_its_mask_are_one_read_and_a_round_reads_no_image_again():
    source = Counting(6)
    triple = from_torch(source, "image", label=GLANDS.labels, mask="mask", mask_mapping="nonzero")
    source.reads.clear()
    for i in (4, 1, 5):
        triple.images[i], triple.masks[i]
    assert source.reads == [4, 1, 5]
    source.reads.clear()
    tiny(image_size=(32, 48), steps_per_epoch=3).fit(*triple)
    assert sorted(source.reads) == list(range(6))
    source.reads.clear()
    # kept, as files are
    tiny(image_size=(32, 48), steps_per_epoch=3).fit(triple.images, triple.labels)
    assert source.reads == []


def test_labels_that_are_given_read_no_item():
    source = Counting(40)
    GLANDS_n = np.arange(40) % 2
    source.__class__ = type("Bounded", (Counting,), {"__getitem__": lambda s, i: s.item(i)})
    source.item = lambda i: source.reads.append(i) or {"image": GLANDS.images[i % 6]}
    images, labels, masks = from_torch(source, "image", label=GLANDS_n)
    assert labels.tolist() == GLANDS_n.tolist() and masks is None
    assert set(source.reads) == {0, 20, 39}  # those that are looked at twice
    assert from_torch(source, "image", label=None).labels is None


def test_sizes_are_known_from_a_read_and_shared_by_views():
    source = Counting(6)
    images = from_torch(source, "image", label="kind").images
    source.reads.clear()
    assert [images.size(i) for i in range(6)] == [(32, 48)] * 6
    assert images.take([3, 1]).size(0) == (32, 48)
    assert source.reads == []


def test_random_transforms_are_refused():
    class Flipping(Counting):
        def __getitem__(self, i):
            item = super().__getitem__(i)
            item["image"] = np.asarray(item["image"]) // (1 + len(self.reads) % 2)
            return item

    with pytest.raises(ValueError, match="dataset must give the same item each time, but .*item 0"):
        from_torch(Flipping(), "image", label=None)


@pytest.mark.parametrize(
    "dataset, options, error, rule",
    [
        (iter([1]), {}, TypeError, "dataset must be an object with a length and positions"),
        (Subset(Counting(), []), {}, ValueError, "dataset must be at least one image"),
        (tensors(False), {"mask": 2}, ValueError, r"dataset\[0\]\[2\] must be there.*of 2 parts"),
        (Counting(), {"image": "img"}, ValueError, r"\['img'\] must be there, among .*'image'\?"),
        (tensors(), {"mask_mapping": "x"}, ValueError, "mask_mapping must be one of"),
        (tensors(), {"label": [0, 1]}, ValueError, "label must be of 6 labels, got '2 labels'"),
        (tensors(), {"value_range": 255}, ValueError, "value_range must be None or a pair"),
        (tensors(), {"value_range": (1, 1)}, ValueError, "value_range must be a pair of which the"),
        (tensors(), {"image": 1}, ValueError, r"dataset\[0\]\[1\] must be an image of two dimensi"),
        (tensors(), {"mask": 0}, ValueError, r"dataset\[0\]\[0\] must be a mask of shape \(H, W\)"),
    ],
)
def test_what_is_no_dataset_is_refused_by_a_sentence(dataset, options, error, rule):
    with pytest.raises(error, match=rule):
        from_torch(dataset, **{"image": 0, "label": None, **options})


# ---- kinds of values ---------------------------------------------------------------------------


def one(value, **options):
    return from_sequence([value], **options)[0]


@pytest.mark.parametrize(
    "value, options, expected",
    [
        (np.array([[0, 255]], np.uint8), {}, np.array([0, 255], np.uint8)),
        (np.array([[0, 255]], np.uint8), {"value_range": (0, 255)}, np.array([0, 255], np.uint8)),
        (np.array([[0, 51]], np.uint8), {"value_range": (0, 51)}, np.float32([0, 1])),
        (np.array([[0, 65535]], np.uint16), {"value_range": (0, 65535)}, np.float32([0, 1])),
        (np.array([[0, 819]], np.uint16), {"value_range": (0, 4095)}, np.float32([0, 0.2])),
        (np.array([[-160, 240]], np.int16), {"value_range": (-160, 240)}, np.float32([0, 1])),
        (np.array([[0, 127.5]]), {"value_range": (0, 255)}, np.float32([0, 0.5])),
        (np.array([[0, 0.5]]), {}, np.float32([0, 0.5])),
        (torch.tensor([[0, 0.5]], dtype=torch.bfloat16), {}, np.float32([0, 0.5])),
        (torch.tensor([[[0, 0.5]]], requires_grad=True), {}, np.float32([0, 0.5])),
        (Image.fromarray(np.array([[0, 9]], np.uint8)), {}, np.array([0, 9], np.uint8)),
        (Image.fromarray(np.array([[0, 9]], np.uint16)), {"value_range": (0, 90)}, [0, 0.1]),
    ],
)
def test_values_become_bytes_or_unit_floats_by_the_range_given(value, options, expected):
    image = one(value, **options)
    assert image.shape == (1, 2, 3)
    assert image.dtype in (np.uint8, np.float32)
    for channel in range(3):
        np.testing.assert_allclose(image[0, :, channel], expected, rtol=1e-6)
    if hasattr(expected, "dtype"):
        assert image.dtype == expected.dtype


@pytest.mark.parametrize(
    "value, options, rule",
    [
        (np.array([[0, 900]], np.uint16), {}, r"X\[0\] must be uint8, .*value_range=\(0, 65535\)"),
        (np.array([[0, 900]], np.uint16), {"value_range": (0, 255)}, r"in value_range=\(0\.0, 255"),
        (np.array([[0, 200.0]]), {}, r"must be finite and in \[0, 1\].*value_range=\(0, 255\)"),
        (np.array([[0, np.nan]]), {"value_range": (0, 255)}, r"in value_range=.*nan"),
        (np.array([["a"]]), {"value_range": (0, 1)}, "must be numbers"),
        (np.zeros((3, 8, 8), np.uint8), {}, "Put the channels last"),
        (np.zeros((2, 3, 8, 8), np.uint8), {}, "must be an image of two dimensions"),
        (np.zeros((0, 8), np.uint8), {}, "must be an image of two dimensions"),
        (None, {}, r"X\[0\] must be an image, got None"),
    ],
)
def test_what_is_no_image_is_refused(value, options, rule):
    with pytest.raises((ValueError, TypeError), match=rule):
        one(value, **options)


def test_arrays_say_themselves_what_to_do_with_other_ranges():
    with pytest.raises(TypeError, match=r"from_sequence\(X, value_range=\(0, 65535\)\)"):
        as_images(np.zeros((2, 4, 4, 3), np.uint16))
    with pytest.raises(ValueError, match=r"from_sequence\(X, value_range=\(0, 255\)\)"):
        as_images(np.full((2, 4, 4, 3), 200.0))
    with pytest.raises(ValueError, match=r"from_sequence\(X, channels_first=True\)"):
        as_images(np.zeros((2, 3, 4, 4), np.uint8))


@pytest.mark.parametrize("n_channels", [1, 2, 3, 5])
def test_channels_first_is_said_or_a_tensor(n_channels):
    rng = np.random.default_rng(0)
    last = rng.integers(0, 256, (2, 6, 9, n_channels)).astype(np.uint8)
    first = np.ascontiguousarray(np.moveaxis(last, -1, 1))
    expected = as_images(last)
    for images in (
        from_sequence(first, channels_first=True),
        from_sequence(torch.from_numpy(first)),
        from_sequence(last),
    ):
        for i in range(2):
            np.testing.assert_array_equal(images[i], expected[i])


@pytest.mark.parametrize(
    "value, mapping, expected",
    [
        (torch.tensor([[0.0, 1.0]]), None, [0, 1]),
        (torch.tensor([[[0, 2]]]), None, [0, 2]),
        (np.array([[[0], [1]]], np.uint8), None, [0, 1]),
        (np.array([[False, True]]), None, [0, 1]),
        (np.array([[-1, 1]]), None, [-1, 1]),
        (np.array([[0, 255]], np.uint8), "nonzero", [0, 1]),
        (np.array([[0, 255]], np.uint8), "binary", [0, 1]),
        (np.array([[127, 128]], np.uint8), "half", [0, 1]),
        (Image.fromarray(np.array([[0, 255]], np.uint8)), "nonzero", [0, 1]),
    ],
)
def test_masks_become_classes(value, mapping, expected):
    row = (np.zeros((1, 2), np.uint8), value)
    masks = from_torch([row], label=None, mask=1, mask_mapping=mapping).masks
    assert masks[0].dtype == np.int16 and masks[0].tolist() == [expected]


@pytest.mark.parametrize(
    "value, mapping, rule",
    [
        (torch.tensor([[0.5, 1.0]]), None, "must be whole numbers"),
        (np.array([[0, 7]], np.uint8), "binary", "must be of 0, 1 and 255 alone, got 7"),
        (np.array([[-2, 0]]), None, r"must be in \[-1, 32767\], got -2"),
    ],
)
def test_what_is_no_mask_is_refused(value, mapping, rule):
    with pytest.raises(ValueError, match=r"dataset\[0\]\[1\] " + rule):
        from_torch([(np.zeros((1, 2), np.uint8), value)], label=None, mask=1, mask_mapping=mapping)


def test_a_mask_of_none_is_none():
    rows = [(GLANDS.images[0], None), (GLANDS.images[1], GLANDS.masks[1])]
    triple = from_torch(rows, label=None, mask=1)
    assert triple.masks[0] is None and triple.masks.size(0) is None
    assert as_masks(triple.masks, 2) is triple.masks


# ---- Hugging Face ------------------------------------------------------------------------------


class HFRows:
    """Of the call shape of ``datasets.Dataset``."""

    column_names = ("image", "annotation", "kind")

    def __init__(self):
        self.decoded = 0

    def __len__(self):
        return 6

    def __getitem__(self, key):
        if isinstance(key, str):
            return {"kind": CODES.tolist()}[key]
        if not isinstance(key, int):
            raise TypeError(key)
        self.decoded += 1
        mask = np.uint8(GLANDS.masks[key] > 0) * 255
        return {
            "image": Image.fromarray(GLANDS.images[key]),
            "annotation": Image.fromarray(mask) if key else None,
            "kind": int(CODES[key]),
        }


def test_hugging_face_rows_are_columns():
    rows = HFRows()
    images, labels, masks = from_hf(rows, label="kind", mask="annotation", mask_mapping="nonzero")
    assert rows.decoded == 6  # the first, the middle and the last, twice
    assert labels.tolist() == CODES.tolist() and masks[0] is None
    np.testing.assert_array_equal(masks[2], GLANDS.masks[2])
    np.testing.assert_array_equal(images[5], GLANDS.images[5])
    known = [None, *GLANDS.masks[1:]]
    found = tiny().fit(images, labels, masks).predict_masks(images)
    np.testing.assert_array_equal(
        found, tiny().fit(GLANDS.images, CODES, known).predict_masks(GLANDS.images)
    )


def test_an_undecoded_picture_is_decoded(tmp_path):
    Image.fromarray(GLANDS.images[0]).save(tmp_path / "a.png")
    stored = (tmp_path / "a.png").read_bytes()
    for value in (
        {"bytes": stored, "path": None},
        {"bytes": None, "path": str(tmp_path / "a.png")},
    ):
        np.testing.assert_array_equal(from_sequence([value])[0], GLANDS.images[0])


@pytest.mark.parametrize(
    "stored, why",
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a readable format"),
        (b"", "not an image of a readable format"),
        (b"\x89PNG\r\n\x1a\n" + 40 * b"\0", "cannot be read"),
    ],
    ids=["eps", "empty", "damaged"],
)
def test_stored_bytes_are_opened_as_files_are(stored, why):
    with pytest.raises(ValueError, match=why):
        from_sequence([{"bytes": stored, "path": None}])[0]


def test_columns_are_named_and_splits_chosen():
    with pytest.raises(ValueError, match="mask must be one of .*Did you mean 'annotation'"):
        from_hf(HFRows(), mask="annotations")
    splits = HFRows()
    splits.column_names = {"train": [], "test": []}
    with pytest.raises(TypeError, match=r"one split, got .*'train'.*dataset\[name\]"):
        from_hf(splits)
    with pytest.raises(TypeError, match="dataset must be one with `column_names`"):
        from_hf([{"image": GLANDS.images[0]}])


# ---- MONAI -------------------------------------------------------------------------------------


def monai_files(folder):
    rows = []
    for i in range(4):
        image, mask = str(folder / f"{i}.png"), str(folder / f"{i}_m.png")
        Image.fromarray(GLANDS.images[i]).save(image)
        Image.fromarray(np.uint8(GLANDS.masks[i] > 0) * 255).save(mask)
        rows.append({"image": image, "label": mask, "kind": str(GLANDS.labels[i])})
    return rows


def test_monai_dicts_of_paths_and_of_tensors_are_the_same(tmp_path):
    from monai.data import Dataset as MonaiDataset
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

    rows = monai_files(tmp_path)
    paths = from_monai(rows, label="kind", mask_mapping="nonzero")
    load = Compose([LoadImaged(["image", "label"]), EnsureChannelFirstd(["image", "label"])])
    loaded = from_monai(
        MonaiDataset(rows, load),
        label="kind",
        axes="xy",  # MONAI's readers give (C, W, H)
        value_range=(0, 255),  # and floats
        mask_mapping="nonzero",
    )
    upright = Compose(
        [
            LoadImaged(["image", "label"], reverse_indexing=False),
            EnsureChannelFirstd(["image", "label"]),
        ]
    )
    kept = from_monai(
        MonaiDataset(rows, upright), label="kind", value_range=(0, 255), mask_mapping="nonzero"
    )
    assert paths.labels.tolist() == loaded.labels.tolist() == GLANDS.labels[:4].tolist()
    for i in range(4):
        np.testing.assert_array_equal(paths.images[i], GLANDS.images[i])
        np.testing.assert_array_equal(paths.masks[i], GLANDS.masks[i])
        for one in (loaded, kept):
            np.testing.assert_allclose(one.images[i], GLANDS.images[i] / 255, atol=1e-6)
            np.testing.assert_array_equal(one.masks[i], GLANDS.masks[i])


def test_random_monai_transforms_are_refused(tmp_path):
    from monai.data import Dataset as MonaiDataset
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, RandGaussianNoised

    keys = ["image", "label"]
    transforms = Compose(
        [LoadImaged(keys), EnsureChannelFirstd(keys), RandGaussianNoised("image", prob=1.0)]
    )
    with pytest.raises(ValueError, match="data must give the same item each time"):
        from_monai(MonaiDataset(monai_files(tmp_path), transforms), value_range=(-999, 999))


def test_volumes_and_other_axes_are_refused():
    with pytest.raises(ValueError, match="must be an image of two dimensions"):
        from_monai([{"image": np.zeros((1, 8, 8, 8))}], mask=None)
    with pytest.raises(ValueError, match="axes must be one of"):
        from_monai([{"image": np.zeros((8, 8))}], mask=None, axes="zyx")


# ---- own sequences -----------------------------------------------------------------------------


def read_pages(path):
    return np.moveaxis(tifffile.imread(path), 0, -1)


def test_a_format_of_ones_own_is_read_by_a_function(tmp_path):
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.tif")
        stack = np.concatenate([GLANDS.images[i], GLANDS.images[i][..., :2]], -1)
        tifffile.imwrite(paths[-1], np.moveaxis(stack, -1, 0))  # five pages
    images = from_sequence(paths, read_pages)
    assert images[1].shape == (32, 48, 5)
    np.testing.assert_array_equal(images[1][..., :3], GLANDS.images[1])
    assert tiny().fit(images, CODES[:3], GLANDS.masks[:3]).n_channels_ == 5


def test_a_range_of_files_is_of_their_own_numbers(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 1000]], np.uint16))
    image = from_sequence([tmp_path / "a.tif"], value_range=(0, 10_000))[0]
    np.testing.assert_allclose(image[0, :, 0], [0, 0.1], rtol=1e-6)


# ---- as a sequence -----------------------------------------------------------------------------


def lazies():
    return from_torch(tensors(), mask=2)


def test_it_is_indexed_as_an_array_is():
    images = lazies().images
    assert images.shape == (6,) and images.ndim == 1 and n_rows(images) == 6
    assert as_images(images) is images
    for key in ([4, 0], np.array([4, 0]), slice(1, 4), np.arange(6) % 2 == 0, []):
        part, expected = images[key], GLANDS.images[key if not isinstance(key, list) else key or []]
        assert isinstance(part, LazyImages) and len(part) == len(expected)
        assert all(np.array_equal(a, b) for a, b in zip(part, expected, strict=True))
    nested = images[[5, 3, 1]][[2, 0]]
    np.testing.assert_array_equal(np.asarray(nested), GLANDS.images[[1, 5]])
    np.testing.assert_array_equal(images[-1], GLANDS.images[-1])
    assert images[np.array([1, 2]), ...].index.tolist() == [1, 2]
    with pytest.raises(IndexError):
        images[6]
    joined = data_vstack([images[[1]], images[[4, 2]]])
    np.testing.assert_array_equal(np.asarray(joined), GLANDS.images[[1, 4, 2]])


def test_copies_share_the_source_and_pickles_hold_it():
    triple = lazies()
    deep = copy.deepcopy(triple.images)
    assert deep.items.source is triple.images.items.source
    again = pickle.loads(pickle.dumps(triple))
    for i in range(6):
        np.testing.assert_array_equal(again.images[i], GLANDS.images[i])
        np.testing.assert_array_equal(again.masks[i], GLANDS.masks[i])
    assert again.images.key(0) != triple.images.key(0)
    assert again.images.items is again.masks.items  # one read for both, still


def test_threads_read_one_at_a_time():
    source = Counting(6)
    images = from_torch(source, "image", label="kind").images
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(images.__getitem__, list(range(6)) * 20))
    for i, image in enumerate(found):
        np.testing.assert_array_equal(image, GLANDS.images[i % 6])
    assert source.most == 1


def _read_in_child(images, queue):
    queue.put(float(images[2].mean()))


def test_a_fork_while_another_thread_reads_does_not_hang():
    images = lazies().images
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    held, done = threading.Event(), threading.Event()

    def hold():
        with images.items._lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    child = context.Process(target=_read_in_child, args=(images, queue))
    child.start()
    try:
        assert queue.get(timeout=20) == pytest.approx(GLANDS.images[2].mean())
    finally:
        done.set()
        thread.join()
        child.join(5)
        child.kill()


def test_what_is_kept_is_of_one_source():
    first, second = from_sequence(list(GLANDS.images)), from_sequence(list(GLANDS.images[::-1]))
    a, b = decoded(first, 0, (8, 8)), decoded(second, 0, (8, 8))
    assert not torch.equal(a, b)
    assert decoded(first, 0, (8, 8)) is a
    assert torch.equal(decoded(first[[5]], 0, (8, 8)), b)


def test_scikit_learn_and_the_learner_take_it(tmp_path):
    triple = lazies()
    scores = cross_validate(
        tiny(), triple.images, triple.labels, params={"masks": triple.masks}, cv=KFold(2)
    )
    expected = cross_validate(
        tiny(), GLANDS.images, CODES, params={"masks": GLANDS.masks}, cv=KFold(2)
    )
    assert scores["test_score"].tolist() == expected["test_score"].tolist()
    picks = []
    for images in (triple.images, GLANDS.images):
        learner = ActiveLearner(tiny(), images=images, labels=CODES, random_state=0)
        ids, instances = learner.query(n_instances=2)
        assert len(instances) == 2
        learner.annotate(ids, [triple.masks[i] for i in ids])
        picks.append(learner.query(n_instances=2)[0].tolist())
        assert len(clone(learner).images) == 6
        learner.save(tmp_path / f"{len(picks)}")
        again = ActiveLearner.load(tmp_path / f"{len(picks)}")
        assert again.query(n_instances=2)[0].tolist() == picks[-1]
        learner.save(tmp_path / f"{len(picks)}", include_images=False)
        again = ActiveLearner.load(tmp_path / f"{len(picks)}", images=images)
        assert again.query(n_instances=2)[0].tolist() == picks[-1]
    assert picks[0] == picks[1]


def test_a_dataset_is_made_of_it_and_known_by_its_content():
    from alseg.experiment import describe_data

    data = Dataset(*lazies(), groups=["p", "q"] * 3, name="mine")
    assert repr(data) == "Dataset('mine': 6 images, 2 classes, 6 masks)"
    part = data.take([4, 1])
    assert isinstance(part.images, LazyImages) and part.groups.tolist() == ["p", "q"]
    np.testing.assert_array_equal(part.masks[1], GLANDS.masks[1])
    same = describe_data(data.take([0, 1, 2]), data.take([3, 4, 5]))
    held = Dataset(GLANDS.images, CODES, GLANDS.masks, name="mine")
    assert describe_data(held.take([0, 1, 2]), held.take([3, 4, 5])) == same
    other = describe_data(data.take([1, 0, 2]), data.take([3, 4, 5]))
    assert other["train"] != same["train"]
    assert thumbnails(data.images, 2).shape == (6, 2, 2)
