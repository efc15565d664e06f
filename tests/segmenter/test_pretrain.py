"""Self-supervised warm-up: the loss by hand, weights that the segmenter reads, and seeds."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from torch import nn

from alseg.files import NotOurs
from alseg.segmenter.estimator import JointCAMSegmenter
from alseg.segmenter.pretraining import SelfSupervisedPretrainer, heads, simsiam_loss


def pool(n=12, seed=0):
    """Stripes of three widths."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (n, 32, 48, 3), dtype=np.uint8)
    for i in range(n):
        period = 2 + 4 * (i % 3)
        images[i, (np.arange(32) // period) % 2 == 0] += 180
    return images


def make(**options):
    small = {"n_steps": 2, "batch_size": 6, "n_hidden": 16, "random_state": 0, "device": "cpu"}
    return SelfSupervisedPretrainer("tiny", **{**small, **options})


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_loss_by_hand_and_its_gradient():
    rng = np.random.default_rng(0)
    p1, p2, z1, z2 = rng.normal(size=(4, 5, 7))

    def cosine(a, b):
        return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)

    tensors = [torch.tensor(v, requires_grad=True) for v in (p1, p2, z1, z2)]
    loss = simsiam_loss(*tensors)
    assert loss.item() == pytest.approx(-(cosine(p1, z2).mean() + cosine(p2, z1).mean()) / 2)
    loss.backward()
    assert all(t.grad is not None for t in tensors[:2])
    assert all(t.grad is None for t in tensors[2:])  # the stopped gradient


def test_it_learns_to_see_views_alike_without_a_collapse():
    images = pool(24)
    options = {"affine": (0.2, 10.0), "lr": 3e-3, "n_hidden": 64, "batch_size": 12}
    pretrainer = make(n_steps=40, **options).fit(images)
    losses, spread = pretrainer.losses_, pretrainer.spread_
    assert losses.shape == spread.shape == (40,)
    assert losses[-5:].mean() < losses[:5].mean() - 0.3
    assert spread[-5:].min() > 0.5


def test_the_segmenter_starts_from_the_saved_encoder(tmp_path):
    images = pool()
    pretrainer = make().fit(images)
    path = pretrainer.save_encoder(tmp_path / "more" / "encoder.safetensors")
    assert [f.name for f in path.parent.iterdir()] == [path.name]
    labels, masks = list("ab") * 6, np.zeros((12, 32, 48), dtype=int)
    options = {"encoder_weights": path, "max_epochs": 0, "random_state": 1}
    model = JointCAMSegmenter("tiny", **options).fit(images, labels, masks)
    assert same_weights(model.module_.encoder, pretrainer.encoder_)
    pretrainer.fit(images[:4]).save_encoder(path)  # replaced
    again = clone(model).fit(images, labels, masks)
    assert same_weights(again.module_.encoder, pretrainer.encoder_)
    with pytest.raises(ValueError, match=r"path must be a file ending in \.safetensors"):
        pretrainer.save_encoder(tmp_path / "encoder.pth")
    save_file({"a": torch.zeros(2)}, tmp_path / "theirs.safetensors")
    with pytest.raises(NotOurs, match="theirs.safetensors is there and alseg did not write it"):
        pretrainer.save_encoder(tmp_path / "theirs.safetensors")


def test_random_state_decides_it_and_the_global_state_does_not():
    images = pool()
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = make().fit(images)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()
    torch.manual_seed(123)
    again, other = make().fit(images), make(random_state=1).fit(images)
    assert same_weights(first.encoder_, again.encoder_)
    assert (first.losses_ == again.losses_).all()
    assert not same_weights(first.encoder_, other.encoder_)


def test_no_steps_leave_the_weights_as_they_were(tmp_path):
    images = pool()
    start = make().fit(images)
    path = start.save_encoder(tmp_path / "encoder.safetensors")
    same = make(encoder_weights=path, n_steps=0).fit(images)
    assert same_weights(same.encoder_, start.encoder_) and same.losses_.shape == (0,)
    assert not same_weights(make(encoder_weights=path).fit(images).encoder_, start.encoder_)


def test_embeddings():
    images = pool(5)
    pretrainer = make(predict_batch_size=2).fit(images)
    found = pretrainer.transform(images)
    assert found.shape == (5, 96) and found.dtype == np.float32
    x = torch.tensor(images[3:4]).movedim(-1, 1) / 255  # by hand: 32 x 48 is the canvas
    with torch.no_grad():
        expected = pretrainer.encoder_((x - 0.5) / 0.5)[-1].mean((2, 3))
    np.testing.assert_allclose(found[3:4], expected, rtol=1e-4, atol=1e-6)
    assert not pretrainer.encoder_.training


class Own(nn.Module):
    out_channels, strides = [4, 8], [2, 4]

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1)

    def forward(self, x):
        x = self.a(x).relu()
        return [x, self.b(x).relu()]


def test_own_encoders_sizes_and_files(tmp_path):
    from PIL import Image

    own = Own()
    before = {k: v.clone() for k, v in own.state_dict().items()}
    images = [pool(1, seed)[0][: 20 + seed, :30] for seed in range(4)]
    pretrainer = make(stain=0.1, jitter=0.0, affine=None).set_params(encoder=own).fit(images)
    assert pretrainer.canvas_ == (24, 32)  # the median, 21 x 30, up to a multiple of 4
    assert all(torch.equal(before[k], v) for k, v in own.state_dict().items())  # a copy is trained
    assert not same_weights(pretrainer.encoder_, own)
    paths = []
    for i, image in enumerate(images):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    assert (clone(pretrainer).fit(paths).losses_ == pretrainer.losses_).all()


def test_in_scikit_learn():
    images = pool()
    pretrainer = make(image_size=(32, 32))
    assert clone(pretrainer).get_params() == pretrainer.get_params()
    assert Pipeline([("pretrain", pretrainer)]).fit_transform(images).shape == (12, 96)
    assert pretrainer.canvas_ == (32, 32)


@pytest.mark.parametrize("weights, expected", [(None, "half"), ("imagenet", "imagenet")])
def test_normalization_is_the_segmenters(weights, expected):
    assert make(encoder_weights=weights)._normalization() == expected
    assert make(encoder_weights=weights, normalize="half")._normalization() == "half"


@pytest.mark.parametrize(
    "options, rule",
    [
        ({"n_steps": -1}, "n_steps must be >= 0"),
        ({"batch_size": 1}, "batch_size must be >= 2"),
        ({"lr": 0.0}, "lr must be > 0"),
        ({"jitter": 2.0}, "jitter must be >= 0 and <= 1"),
        ({"stain": -1.0}, "stain must be >= 0 and <= 1"),
        ({"n_hidden": 2}, "n_hidden must be >= 4"),
        ({"image_size": (1, 2, 3)}, "image_size must be None, an int or"),
        ({"normalize": "imagenets"}, "Did you mean 'imagenet'"),
        ({"flips": "horizontl"}, "Did you mean 'horizontal'"),
    ],
)
def test_bad_options(options, rule):
    with pytest.raises(ValueError, match=rule):
        make(**options).fit(pool(4))


def test_bad_input():
    with pytest.raises(ValueError, match="X must be at least two images, got 1"):
        make().fit(pool(1))
    with pytest.raises(NotFittedError):
        make().transform(pool(2))
    with pytest.raises(NotFittedError):
        make().save_encoder("encoder.safetensors")


def test_heads():
    projector, predictor = heads(10, 16)
    assert predictor(projector(torch.rand(3, 10))).shape == (3, 16)
    widths = [(m.in_features, m.out_features) for m in predictor if isinstance(m, nn.Linear)]
    assert widths == [(16, 4), (4, 16)]
