"""alseg.training.decoding: what is kept of files is what they hold, now."""

import os
import pickle
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from alseg import JointCAMSegmenter
from alseg.images import ImageFiles, as_images
from alseg.labels import MISSING
from alseg.training import decoding as decoded


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Six files of differing sizes, which count as old; how often each is read."""
    monkeypatch.setattr(decoded, "_FRESH", 0)
    decoded.forget()
    rng = np.random.default_rng(0)
    for i in range(6):
        pixels = rng.integers(0, 256, (30 + i, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    read, reads = ImageFiles._read, []

    def counted(self, i):
        reads.append(os.path.basename(self.paths[i]))
        return read(self, i)

    monkeypatch.setattr(ImageFiles, "_read", counted)
    yield ImageFiles([str(tmp_path / f"{i}.png") for i in range(6)]), reads
    decoded.forget()


def plain(images, i, canvas):
    return decoded.image_tensor(images[i], canvas)


def test_the_same_pixels_and_one_reading(files):
    images, reads = files
    expected = [plain(images, i, (16, 24)) for i in range(6)]
    reads.clear()
    for _ in range(3):
        for i in range(6):
            found = decoded.decoded(images, i, (16, 24))
            assert found.dtype == torch.uint8 and torch.equal(found, expected[i])
    assert len(reads) == 6
    assert torch.equal(decoded.decoded(images, 0, (8, 8)), plain(images, 0, (8, 8)))  # its own
    assert torch.equal(decoded.decoded(images.take([5, 2]), 1, (16, 24)), expected[2])


def test_a_file_that_is_written_again_is_read_again(files):
    images, reads = files
    path = images.paths[0]
    first = decoded.decoded(images, 0, (8, 8))
    status = os.stat(path)
    Image.fromarray(np.full((30, 40, 3), 9, np.uint8)).save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as some programs do
    second = decoded.decoded(images, 0, (8, 8))
    assert not torch.equal(first, second) and (second == 9).all()
    os.replace(images.paths[1], path)
    assert torch.equal(decoded.decoded(images, 0, (8, 8)), plain(ImageFiles([path]), 0, (8, 8)))
    os.remove(path)
    with pytest.raises(FileNotFoundError, match="0.png' does not exist"):
        decoded.decoded(images, 0, (8, 8))


def test_a_file_of_this_moment_is_not_kept(files, monkeypatch):
    images, reads = files
    monkeypatch.setattr(decoded, "_FRESH", 3e9)
    for _ in range(2):
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(images.paths[0])
        decoded.decoded(images, 0, (8, 8))
    assert len(reads) == 2 and not decoded._kept
    os.utime(images.paths[0], ns=(0, 4 * 10**18))  # a clock that goes wrong: a time to come
    decoded.decoded(images, 0, (8, 8))
    assert not decoded._kept


def test_a_file_that_changes_while_it_is_read_is_not_kept(files, monkeypatch):
    images, _ = files
    read = ImageFiles._read

    def slow(self, i):
        found = read(self, i)
        Image.fromarray(np.full((9, 9, 3), 1, np.uint8)).save(self.paths[i])
        return found

    monkeypatch.setattr(ImageFiles, "_read", slow)
    decoded.decoded(images, 0, (8, 8))
    assert not decoded._kept


def test_arrays_are_not_kept(files):
    X = np.zeros((2, 12, 12, 3), np.uint8)
    images = as_images(X)
    assert (decoded.decoded(images, 0, (6, 6)) == 0).all()
    X[0] = 200
    assert (decoded.decoded(images, 0, (6, 6)) == 200).all() and not decoded._kept
    mixed = as_images([X[0], files[0].paths[1]])
    for i in range(2):
        assert torch.equal(decoded.decoded(mixed, i, (6, 6)), plain(mixed, i, (6, 6)))
    assert len(decoded._kept) == 1


def test_memory_is_bounded_and_the_oldest_leave(files, monkeypatch):
    images, reads = files
    monkeypatch.setattr(decoded, "LIMIT", 3 * 3 * 16 * 16)  # three images
    for i in (0, 1, 2, 0, 3):
        decoded.decoded(images, i, (16, 16))
    reads.clear()
    for i in (0, 2, 3):
        decoded.decoded(images, i, (16, 16))
    assert reads == [] and decoded._n_bytes == decoded.LIMIT
    decoded.decoded(images, 1, (16, 16))
    assert reads == ["1.png"]
    decoded.decoded(images, 4, (64, 64))  # larger than all that may be kept
    assert decoded._n_bytes == decoded.LIMIT == sum(t.numel() for t in decoded._kept.values())


def test_many_threads(files, monkeypatch):
    images, _ = files
    monkeypatch.setattr(decoded, "LIMIT", 4 * 3 * 16 * 16)
    expected, wrong = [plain(images, i, (16, 16)) for i in range(6)], []

    def work(seed):
        for i in np.random.default_rng(seed).integers(0, 6, 200):
            if not torch.equal(decoded.decoded(images, i, (16, 16)), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong and decoded._n_bytes == sum(t.numel() for t in decoded._kept.values())


def test_fits_and_predictions_are_those_without_it(files, monkeypatch):
    images, reads = files
    labels = ["a", "b"] * 3
    masks = [np.zeros((30 + i, 40), int) for i in range(6)]
    for mask in masks:
        mask[5:20, 5:20] = 1
    masks[1][:10] = MISSING

    def numbers():
        model = JointCAMSegmenter(
            encoder="tiny",
            encoder_weights=None,
            max_epochs=1,
            image_size=32,
            random_state=0,
            device="cpu",
        )
        model.fit(images, labels, masks=masks)
        return np.array([p.mean() for p in model.predict_mask_proba(images)]), pickle.dumps(model)

    decoded.forget()
    first, size = numbers()
    n_first = len(reads)
    with torch.inference_mode():  # kept by a prediction, then trained on
        decoded.forget()
        for i in range(6):
            decoded.decoded(images, i, (32, 32))
    again, size_again = numbers()
    monkeypatch.setattr(decoded, "LIMIT", 0)
    decoded.forget()
    without, size_without = numbers()
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, without)
    assert n_first < len(reads) - n_first and not decoded._kept
    assert len(size) == len(size_again) == len(size_without)
