import csv

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score

from alseg.images import ImageFiles, MaskFiles
from alseg.segmenter.stain import haematoxylin, haematoxylin_masks


def tissue(h, e, shape):
    """RGB of tissue with that much of both stains, by the Beer-Lambert law (Ruifrok's vectors)."""
    density = h * np.array([0.65, 0.70, 0.29]) + e * np.array([0.07, 0.99, 0.11])
    return np.broadcast_to(10**-density, shape + (3,))


def test_finds_the_nuclear_stain_and_not_the_pink_one():
    image = tissue(0.1, 0.3, (64, 96)).copy()
    image[16:48, 24:72] = tissue(0.8, 0.3, (32, 48))
    image[:8] = tissue(0.1, 0.9, (8, 96))  # darker, but eosin
    eight_bit = np.round(image * 255).astype(np.uint8)
    for kind in (image, image.astype(np.float32), eight_bit):
        mask = haematoxylin_masks(kind[None])[0]
        assert mask.dtype == np.int16
        assert mask[18:46, 26:70].all()
        mask[14:50, 22:74] = 0  # the blur may move the border by two pixels
        assert not mask.any()


def test_density_is_blurred_and_monotone_in_the_stain():
    amounts = [0.1, 0.4, 0.8]
    means = [haematoxylin(tissue(h, 0.3, (8, 8))).mean() for h in amounts]
    assert means == sorted(means) and means[0] < means[2] / 4
    spot = tissue(0.1, 0.3, (128, 128)).copy()
    spot[64, 64] = tissue(1.0, 0.3, ())
    density = haematoxylin(spot)
    assert density[64, 64] > density[64, 66] > density[64, 68]  # sigma is 2 pixels here
    assert density.shape == (128, 128)


@pytest.mark.parametrize("colour", [0, 255, [200, 120, 180]])
def test_one_colour_is_background(colour):
    image = np.full((32, 48, 3), colour, dtype=np.uint8)
    assert (haematoxylin_masks(image[None]) == 0).all()


def test_sizes_that_differ_and_files(tmp_path, rng):
    images = [rng.integers(0, 256, s + (3,), dtype=np.uint8) for s in [(16, 20), (24, 16)]]
    masks = haematoxylin_masks(images)
    assert masks.dtype == object and [m.shape for m in masks] == [(16, 20), (24, 16)]
    paths = []
    for i, image in enumerate(images):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    for a, b in zip(haematoxylin_masks(paths), masks, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_on_the_glas_test_images(glas_folder):
    """The published size of it: mean IoU 0.44, pixel average precision about 0.64."""
    with open(glas_folder / "manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fold0"] == "test"]
    images = ImageFiles([glas_folder / row["image"] for row in rows])
    truths = MaskFiles([glas_folder / row["mask"] for row in rows], mapping="nonzero")
    ious, precisions = [], []
    for image, truth, mask in zip(images, truths, haematoxylin_masks(images), strict=True):
        pairs = [((mask == c), (truth == c)) for c in (0, 1)]
        ious.append(np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs]))
        score = haematoxylin(image)[::4, ::4].ravel()
        precisions.append(average_precision_score(truth[::4, ::4].ravel(), score))
    assert np.mean(ious) == pytest.approx(0.44, abs=0.01)
    assert 0.61 < np.mean(precisions) < 0.70
