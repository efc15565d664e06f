"""What is known of a pixel: filters at several scales, maps of a frozen encoder, own functions."""

import numpy as np
import pytest
import torch
from torch import nn

from alseg import PixelClassifier
from alseg.network import JointCAMNetwork, build_encoder
from alseg.segmenter.pixel_features import EncoderFeatures, filter_features, image_features


@pytest.fixture
def image(rng):
    return rng.random((20, 28, 3), dtype=np.float32)


class Identity(nn.Module):
    """An encoder whose two maps are its input, and its input at half the size."""

    out_channels, strides = [3, 3], [1, 2]

    def forward(self, x):
        return [x, nn.functional.avg_pool2d(x, 2)]


# -- filters -----------------------------------------------------------------------------------


def test_filters_of_one_colour_and_of_an_edge():
    flat = filter_features(np.full((12, 16, 3), 0.5, np.float32), (1.0, 2.0))
    assert flat.shape == (12, 16, 2 * 4 * 3) and flat.dtype == np.float32
    blurred = flat.reshape(12, 16, 3, 2, 4)[..., 0]
    assert blurred == pytest.approx(0.5, abs=1e-6)
    assert flat.reshape(12, 16, 3, 2, 4)[..., 1:] == pytest.approx(0, abs=1e-6)
    edge = np.zeros((12, 16, 3), np.float32)
    edge[:, 8:] = 1
    gradient = filter_features(edge, (1.0, 2.0)).reshape(12, 16, 3, 2, 4)[6, :, 0, :, 1]
    assert set(gradient.argmax(axis=0)) <= {7, 8}  # largest at the edge, at both scales
    assert gradient[8, 0] > gradient[8, 1] > 0  # and sharper at the finer one


def test_the_blurred_channels_are_scipys(image):
    from scipy.ndimage import gaussian_filter

    found = filter_features(image, (0.5, 4.0)).reshape(20, 28, 3, 4, 4)
    for k, sigma in enumerate((0.5, 1.0, 2.0, 4.0)):
        expected = gaussian_filter(image[..., 1], sigma, mode="nearest")
        assert found[:, :, 1, k, 0] == pytest.approx(expected, abs=1e-5)


def test_an_image_of_one_row():
    assert filter_features(np.ones((1, 5, 3), np.float32), (1.0, 1.0)).shape == (1, 5, 12)


# -- the encoder -------------------------------------------------------------------------------


def test_maps_are_normalised_and_brought_to_the_pixels():
    image = np.full((3, 5, 3), 0.75, np.float32)
    found = EncoderFeatures(Identity(), "bundled", (1, 2), "cpu", None)(image)
    assert found.shape == (3, 5, 6)  # the padding to even sizes is cut off again
    assert found == pytest.approx(0.5)  # (0.75 - 0.5) / 0.5
    image[0, 0] = 0
    found = EncoderFeatures(Identity(), "bundled", (2,), "cpu", None)(image)
    assert found[0, 0] == pytest.approx([-1 / 4 + 3 / 8] * 3)  # (-1 + 3 * 0.5) / 4


def test_maps_are_those_that_the_segmenter_sees(image):
    image = image[:16, :16]
    network = JointCAMNetwork("tiny", encoder_weights=None).eval()
    features = EncoderFeatures(network.encoder, None, (2,), "cpu", None)
    x = torch.from_numpy(image).movedim(-1, 0)[None]
    with torch.no_grad():
        maps = network.encode(x)[0]
    expected = nn.functional.interpolate(maps, size=(16, 16), mode="bilinear")[0].movedim(0, -1)
    assert features(image) == pytest.approx(expected.numpy(), abs=2e-3)  # rounded to float16


def test_the_cache_changes_no_number(tmp_path, image):
    encoder = build_encoder("tiny", None)
    plain = EncoderFeatures(encoder, None, (2, 8), "cpu", None)(image)
    for _ in range(2):
        cached = EncoderFeatures(encoder, None, (2, 8), "cpu", tmp_path / "cache")
        assert np.array_equal(cached(image), plain)
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 1


def test_strides_that_there_are_not(image):
    for strides in ((3,), (2, 64), ()):
        with pytest.raises(ValueError, match=r"encoder_strides must be some of \[2, 4, 8, 16\]"):
            EncoderFeatures("tiny", None, strides, "cpu", None)


def test_a_segmenter_of_encoder_features_is_saved_with_its_weights(tmp_path, rng):
    X = rng.random((2, 16, 16, 3), dtype=np.float32)
    masks = (X[..., 0] > 0.5).astype(int)
    options = {"encoder_strides": (2,), "random_state": 0, "n_pixels": 50}
    model = PixelClassifier(None, ("encoder", "filters"), encoder="tiny", **options)
    model.fit(X, None, masks).save(tmp_path / "named")
    loaded = PixelClassifier.load(tmp_path / "named")
    assert np.array_equal(*(m.predict_mask_proba(X) for m in (model, loaded)))
    other = PixelClassifier(None, "encoder", encoder="tiny", **{**options, "random_state": 1})
    assert not np.array_equal(*(m.fit(X, None, masks).transform(X)[:, 0] for m in (model, other)))
    options["encoder_strides"] = (1, 2)
    own = PixelClassifier(None, "encoder", encoder=Identity(), **options).fit(X, None, masks)
    own.save(tmp_path / "own")
    with pytest.raises(ValueError, match=r"load\(path, encoder=\.\.\.\)"):
        PixelClassifier.load(tmp_path / "own")
    loaded = PixelClassifier.load(tmp_path / "own", encoder=Identity())
    assert np.array_equal(*(m.predict_mask_proba(X) for m in (own, loaded)))
    with pytest.raises(ValueError, match="encoder must be the one that the model was saved with"):
        PixelClassifier.load(tmp_path / "named", encoder=Identity(), encoder_strides=(2,))


# -- functions of one's own --------------------------------------------------------------------


def test_features_stand_side_by_side(image):
    found = image_features(image, [lambda i: i, lambda i: i[..., :1] * 2])
    assert np.array_equal(found[..., :3], image) and np.array_equal(
        found[..., 3], 2 * image[..., 0]
    )


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda image: image[1:], r"features\(image\) must be of the shape of its image"),
        (lambda image: image[..., :0], r"features\(image\) must be of the shape"),
        (lambda image: image.mean(), r"features\(image\) must be of the shape"),
        (lambda image: image * np.nan, r"features\(image\) must be finite"),
    ],
)
def test_functions_that_give_something_else(function, match, rng):
    X = rng.random((1, 4, 4, 3))
    with pytest.raises(ValueError, match=match):
        PixelClassifier(None, function).fit(X, None, np.zeros((1, 4, 4), int))


def test_a_function_may_write_to_its_image(rng):
    def careless(image):
        image[:] = 0
        return image

    X = rng.random((1, 4, 4, 3), dtype=np.float32)
    before = X.copy()
    PixelClassifier(None, careless).fit(X, None, np.zeros((1, 4, 4), int)).predict_masks(X)
    assert np.array_equal(X, before)
