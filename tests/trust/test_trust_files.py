"""Odd files: every reader reads one or says in one line which and why, whatever its bytes are."""

import os
import warnings

import numpy as np
import odd_files
import pytest

from alseg.images import image_size, read_image, read_mask
from alseg.labels import MISSING

READERS = {"image": read_image, "mask": read_mask, "size": image_size}


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    found = odd_files.all_files()
    for odd in found:
        (folder / odd.name).write_bytes(odd.content)
    return folder, found


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_reads_or_names_the_file(everything, reader, capfd):
    folder, files = everything
    assert len(files) >= 500
    wrong = []
    for odd in files:
        path = folder / odd.name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of libraries: that a file is odd
                found = READERS[reader](path)
        except (ValueError, FileNotFoundError) as error:
            text = str(error)
            if odd.must == "read" and reader != "mask":
                wrong.append((odd, "must be read", text))
            if odd.name not in text or "\n" in text or len(text) > 1000:
                wrong.append((odd, "is not named in one line", text))
        except Exception as error:
            wrong.append((odd, "raises", repr(error)[:200]))
        else:
            if odd.must == "refuse" and reader != "size":
                wrong.append((odd, "must be refused", np.shape(found)))
            if reader == "image":
                assert found.ndim == 3 and found.dtype in (np.uint8, np.float32)
                # A TIFF of other samples than a colour and its alpha has as many channels.
                other = any(kind in odd.name for kind in ("channels", "RGBX", "mutated0_RGBA"))
                assert found.shape[2] == 3 or (other and odd.name.endswith(".tif")), odd.name
                assert np.isfinite(found).all() and found.min() >= 0
                assert found.dtype == np.uint8 or found.max() <= 1
            if reader == "mask":
                assert found.ndim == 2 and found.dtype == np.int16 and found.min() >= MISSING
    if capfd.readouterr().out:
        wrong.append("something was printed")
    assert not wrong, f"{len(wrong)} of {len(files)}:\n" + "\n".join(map(str, wrong[:40]))


def test_a_size_is_that_of_what_is_read(everything):
    folder, files = everything
    for odd in files:
        try:
            image = read_image(folder / odd.name)
        except ValueError:
            continue
        assert image_size(folder / odd.name) == image.shape[:2], odd


def test_the_same_bytes_under_any_name(everything, tmp_path):
    """What a file holds decides, never its suffix."""
    folder, files = everything
    for odd in files[::5]:
        found = []
        for name in (odd.name, "other.png", "other.tiff", "other.JPG"):
            path = tmp_path / name
            path.write_bytes(odd.content)
            try:
                found.append(read_image(path).tobytes())
            except ValueError:
                found.append(None)
        assert len(set(found)) == 1, odd


@pytest.mark.parametrize(
    "kind",
    [
        "pipe",
        "folder",
        "broken",
        "loop",
        "socket",
        "null",
        "zero",
        "denied",
        "missing",
        "descriptor",
    ],
)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file(kind, reader, tmp_path):
    from odd_folders import unusual

    folder = unusual(tmp_path / "d")
    names = {"loop": "itself.png", "descriptor": "/dev/fd/0", "denied": "/proc/self/mem"}
    path = folder / names.get(kind, f"{kind}.png")
    with pytest.raises((ValueError, OSError), match=os.path.basename(path).split(".")[0]) as caught:
        READERS[reader](path)
    assert "\n" not in str(caught.value)
