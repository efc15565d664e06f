import pickle
import unicodedata

import numpy as np
import pytest
from PIL import Image

from alseg.images import MaskFiles
from alseg.labels import MISSING
from alseg.oracles import FolderOracle, MaskOracle


@pytest.fixture
def masks(rng):
    return rng.integers(0, 2, (5, 4, 6))


def save(path, mask):
    Image.fromarray(np.asarray(mask, dtype=np.uint8)).save(path)


def test_answers_in_the_order_asked(masks):
    answer = MaskOracle(masks)([3, 0])
    np.testing.assert_array_equal(answer, masks[[3, 0]])
    assert np.issubdtype(answer.dtype, np.signedinteger)


def test_counts_images_and_answers_apart(masks):
    oracle = MaskOracle(masks)
    assert (oracle.n_asked, oracle.n_answers, oracle.log) == (0, 0, [])
    oracle(np.array([4, 1]))
    oracle([1])
    assert (oracle.n_asked, oracle.n_answers) == (2, 3)
    assert oracle.log == [[4, 1], [1]]
    assert all(type(i) is int for call in oracle.log for i in call)  # so that JSON takes it


def test_sizes_that_differ_and_files(masks, tmp_path):
    save(tmp_path / "a.png", masks[0])
    save(tmp_path / "b.png", masks[1][:3])
    for source in (
        [masks[0], masks[1][:3]],
        [tmp_path / "a.png", str(tmp_path / "b.png")],
        MaskFiles([tmp_path / "a.png", tmp_path / "b.png"]),
    ):
        answer = MaskOracle(source)([1, 0])
        assert answer.shape == (2,) and answer.dtype == object
        np.testing.assert_array_equal(answer[0], masks[1][:3])
        np.testing.assert_array_equal(answer[1], masks[0])
    alone = MaskOracle([masks[0], masks[1][:3]])([1])
    assert alone.shape == (1, 3, 6)


def test_the_truth_is_not_handed_out_to_be_changed(masks):
    oracle = MaskOracle([masks[0], masks[1][:3]])
    for ids in ([0], [0, 1]):
        oracle(ids)[0][:] = MISSING
    np.testing.assert_array_equal(oracle([0])[0], masks[0])


def test_a_refused_call_leaves_no_trace(masks):
    without = [masks[0], None, np.full((4, 6), MISSING), masks[3]]
    oracle = MaskOracle(without)
    with pytest.raises(ValueError, match=r"ids of images with ground truth, got \[1, 2\]"):
        oracle([0, 1, 2])
    with pytest.raises(ValueError, match=r"sample_ids must be in \[0, 3\], got \[4, -1\]"):
        oracle([0, 4, -1])
    with pytest.raises(TypeError, match="sample_ids must be integers"):
        oracle([0.0])
    with pytest.raises(TypeError, match="sample_ids must be integers"):
        oracle([True, False])
    with pytest.raises(ValueError, match="sample_ids must be one row of ids, got 0"):
        oracle(0)
    with pytest.raises(ValueError, match="sample_ids must be at least one id"):
        oracle([])
    assert oracle.log == [] and oracle.n_asked == 0
    with pytest.raises(TypeError, match="masks must be a sequence of masks"):
        MaskOracle(None)


def test_a_partly_annotated_truth_is_an_answer(masks):
    partly = masks[0].copy()
    partly[1:] = MISSING
    np.testing.assert_array_equal(MaskOracle([partly])([0])[0], partly)


def test_pickled_with_its_log(masks):
    oracle = MaskOracle(masks)
    oracle([2])
    again = pickle.loads(pickle.dumps(oracle))
    np.testing.assert_array_equal(again([0]), oracle([0]))
    assert again.log == [[2], [0]]


def test_folder_by_stem(masks, tmp_path):
    save(tmp_path / "a.1.png", masks[0] * 255)
    save(tmp_path / "b_anno.bmp", masks[1] * 255)
    (tmp_path / ".DS_Store").write_bytes(b"")
    names = ["elsewhere/a.1.jpg", "b", "c.png"]
    oracle = pickle.loads(pickle.dumps(FolderOracle(tmp_path, names, mapping="half")))
    np.testing.assert_array_equal(oracle([0]), masks[:1])
    with_suffix = FolderOracle(str(tmp_path), names, suffix="_anno", mapping="half")
    np.testing.assert_array_equal(with_suffix([1]), masks[1:2])
    with pytest.raises(FileNotFoundError, match=r"got none for \['b', 'c'\]"):
        oracle([0, 1, 2])
    save(tmp_path / "c.png", masks[2] * 255)  # drawn in the meantime
    np.testing.assert_array_equal(oracle([2]), masks[2:3])
    save(tmp_path / "c.bmp", masks[2])
    with pytest.raises(
        ValueError, match=r"the mask of 'c' must be one file, got \['c.bmp', 'c.png'\]"
    ):
        oracle([2])
    with pytest.raises(ValueError, match=r"sample_ids must be in \[0, 2\]"):
        oracle([3])
    with pytest.raises(FileNotFoundError, match="folder must be an existing folder"):
        FolderOracle(tmp_path / "nowhere", names)([0])


def test_names_are_compared_in_one_unicode_form(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    Image.fromarray(np.array([[0, 1]], np.uint8)).save(tmp_path / f"{decomposed}.png")
    assert FolderOracle(tmp_path, [f"{composed}.jpg"])([0]).tolist() == [[[0, 1]]]
