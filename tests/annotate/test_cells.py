"""Superpixels that the page gets: connected, of one colour, few sizes, kept, and whole."""

import numpy as np
import pytest
from made_slides import write_slides
from requests_by_hand import Client
from scipy.ndimage import label

from alseg.annotate.cells import COUNTS, Cells, cut
from alseg.annotate.marks import Marks
from alseg.annotate.server import allowed_hosts, make_app
from alseg.datasets import make_glands
from alseg.project import open_project


@pytest.fixture(scope="module")
def slide():
    return make_glands(1, image_size=(261, 387), random_state=0)


@pytest.mark.parametrize("n", COUNTS)
def test_they_are_about_as_many_as_asked_and_connected(slide, n):
    labels = cut(slide.images[0], n)
    assert labels.shape == (261, 387) and labels.dtype == np.uint16
    found = np.unique(labels)
    np.testing.assert_array_equal(found, np.arange(len(found)))
    assert 0.6 * n < len(found) < 1.2 * n
    for k in found[:: max(1, n // 50)]:
        assert label(labels == k)[1] == 1


def test_most_of_them_lie_in_one_class(slide):
    labels, mask = cut(slide.images[0], 2400), slide.masks[0] > 0
    inside = np.bincount(labels.ravel(), mask.ravel()) / np.bincount(labels.ravel())
    assert np.minimum(inside, 1 - inside).mean() < 0.05


def test_a_large_image_is_cut_at_a_reduced_size_and_a_dark_one_by_its_contrast():
    wide = np.zeros((1500, 3000), np.uint8)
    wide[:, 1500:] = 200
    labels = cut(wide, 150)
    assert labels.shape == (320, 640)
    assert not set(labels[:, :310].ravel()) & set(labels[:, 330:].ravel())
    dark = cut(wide / 255 / 100, 150)
    assert not set(dark[:, :310].ravel()) & set(dark[:, 330:].ravel())


def test_each_is_worked_out_once_and_the_ones_used_last_are_kept(monkeypatch):
    monkeypatch.setattr("alseg.annotate.cells._KEPT", 2)
    done = []
    monkeypatch.setattr("alseg.annotate.cells.cut", lambda image, n: done.append((image, n)))
    cells = Cells("abc")
    for i, n in [(0, 150), (0, 150), (0, 600), (0, 150), (1, 150), (0, 150), (0, 600)]:
        cells(i, n)
    assert done == [("a", 150), ("a", 600), ("b", 150), ("a", 600)]


def test_other_numbers_are_refused():
    with pytest.raises(ValueError, match=r"n must be one of \[150, 600, 2400\], got 7"):
        cut(np.zeros((8, 8), np.uint8), 7)


def test_the_page_gets_them_as_bytes_with_their_size(tmp_path):
    write_slides(tmp_path / "slides", 2, (24, 32))
    with open_project(tmp_path / "state", tmp_path / "slides") as project:
        marks = Marks(project)
        client = Client(make_app(marks, "a-token", allowed_hosts("127.0.0.1", 8765), {}), "a-token")
        answer = client.get("/api/images/1/superpixels?n=150")
        size = int(answer.headers["x-alseg-height"]), int(answer.headers["x-alseg-width"])
        labels = np.frombuffer(answer.body, "<u2").reshape(size)
        np.testing.assert_array_equal(labels, cut(marks.images[1], 150))
        assert client.get("/api/images/1/superpixels?n=9999999").status == 400
        assert client.get("/api/images/2/superpixels").status == 404
        marks.close()
