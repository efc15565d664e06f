"""A frozen encoder's maps are computed once, and nothing else changes."""

import os

import numpy as np
import pytest
import torch

from alseg import JointCAMSegmenter
from alseg.images import as_images, as_masks
from alseg.network.encoder import TinyEncoder
from alseg.network.feature_memory import FeatureMemory, trim
from alseg.segmenter import with_fields
from alseg.training.batches import TrainingBatches
from alseg.training.training_data import TrainingData


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return TinyEncoder(width=4).eval()


@pytest.fixture(scope="module")
def x():
    return torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(1))


class Counted(TinyEncoder):
    """Counts the images that it sees."""

    seen = 0

    def forward(self, x):
        type(self).seen += len(x)
        return super().forward(x)


def test_maps_are_those_of_the_encoder_rounded_to_half_precision(encoder, x, tmp_path):
    maps = FeatureMemory(tmp_path)(encoder, x)
    with torch.no_grad():
        expected = [encoder(one[None])[k] for k in range(4) for one in x]
    for k in range(4):
        assert torch.equal(maps[k], torch.cat(expected[3 * k : 3 * k + 3]).half().float())


def test_what_is_known_is_not_computed_again(x, tmp_path):
    encoder = Counted(width=4)
    Counted.seen = 0
    first = FeatureMemory(tmp_path)(encoder, x)
    assert Counted.seen == 4  # and a probe, since it is no encoder of ours
    again = FeatureMemory(tmp_path)(encoder, torch.cat([x[1:], x[:1]]))
    assert Counted.seen == 5
    assert torch.equal(again[0], torch.cat([first[0][1:], first[0][:1]]))


def test_other_weights_have_maps_of_their_own(encoder, x, tmp_path):
    first = FeatureMemory(tmp_path)(encoder, x)
    torch.manual_seed(5)
    other = TinyEncoder(width=4)
    assert not torch.equal(first[0], FeatureMemory(tmp_path)(other, x)[0])
    assert len(list(tmp_path.rglob("*.npy"))) == 6


def test_other_code_with_the_same_weights_has_maps_of_its_own(x, tmp_path):
    class Other(TinyEncoder):
        def forward(self, x):
            return [torch.tanh(part) for part in super().forward(x)]

    torch.manual_seed(0)
    plain, other = TinyEncoder(width=4).eval(), Other(width=4).eval()
    other.load_state_dict(plain.state_dict())
    first = FeatureMemory(tmp_path)(plain, x)
    assert not torch.equal(first[0], FeatureMemory(tmp_path)(other, x)[0])


class Squashed(TinyEncoder):
    """What it does is not in its layers."""

    def __init__(self, squash):
        super().__init__(width=4)
        self.squash = squash

    def forward(self, x):
        if x.shape[-1] != 48:
            raise ValueError("of one size")
        return [self.squash(part - 0.1) for part in super().forward(x)]


def test_the_same_layers_and_weights_with_other_code_have_maps_of_their_own(x, tmp_path):
    plain, other = Squashed(torch.relu).eval(), Squashed(torch.tanh).eval()
    other.load_state_dict(plain.state_dict())
    first = FeatureMemory(tmp_path)(plain, x)
    assert not torch.equal(first[0], FeatureMemory(tmp_path)(other, x)[0])


def test_weights_that_were_written_to_are_looked_at_again(x, tmp_path):
    torch.manual_seed(0)
    encoder, other = TinyEncoder(width=4).eval(), TinyEncoder(width=4).eval()
    memory = FeatureMemory(tmp_path)
    first = memory(encoder, x)
    encoder.load_state_dict(other.state_dict())
    expected = FeatureMemory(tmp_path)(other, x)[0]
    assert torch.equal(memory(encoder, x)[0], expected) and not torch.equal(first[0], expected)


def test_maps_are_the_same_inside_autocast(encoder, x, tmp_path):
    plain = FeatureMemory(tmp_path / "plain")(encoder, x)
    with torch.autocast("cpu", torch.bfloat16):
        inside = FeatureMemory(tmp_path / "inside")(encoder, x)
    assert all(torch.equal(a, b) for a, b in zip(plain, inside, strict=True))


def test_an_image_does_not_depend_on_those_beside_it(encoder, x, tmp_path):
    together = FeatureMemory(tmp_path / "a")(encoder, x)
    alone = FeatureMemory(tmp_path / "b")(encoder, x[2:])
    assert all(torch.equal(a[2:], b) for a, b in zip(together, alone))


def test_modes_come_back_and_batchnorm_stays(x, tmp_path):
    encoder = TinyEncoder(width=4).train()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    FeatureMemory(tmp_path)(encoder, x)
    assert all(m.training for m in encoder.modules())
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"half a file"])
def test_a_broken_file_is_replaced(encoder, x, tmp_path, content):
    first = FeatureMemory(tmp_path)(encoder, x[:1])
    (file,) = tmp_path.rglob("*.npy")
    file.write_bytes(content)
    assert torch.equal(FeatureMemory(tmp_path)(encoder, x[:1])[0], first[0])
    assert file.stat().st_size > len(content)
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_that_cannot_be_written_is_said_and_does_not_matter(encoder, x, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="not kept"):
        maps = FeatureMemory(tmp_path / "file")(encoder, x[:1])
    with pytest.warns(UserWarning, match="not kept") as warned:
        FeatureMemory(tmp_path / "file")(encoder, x)
    assert len(warned) == 1  # and not one an image
    assert torch.equal(maps[0], FeatureMemory(tmp_path / "good")(encoder, x[:1])[0])


# -- in the estimator ----------------------------------------------------------------------------


def make(glands, tmp_path, **options):
    options = {
        "encoder": "tiny",
        "max_epochs": 2,
        "random_state": 0,
        "device": "cpu",
        "schedule__encoder_lr_scale": 0,
        "feature_cache": tmp_path,
        "augmentation__n_views": 2,
        **options,
    }
    masks = [mask if i % 2 else None for i, mask in enumerate(glands.masks)]
    return JointCAMSegmenter(**with_fields(options)).fit(glands.images, glands.labels, masks)


@pytest.fixture(scope="module")
def glands():
    from alseg.datasets import make_glands

    return make_glands(8, image_size=(32, 48), random_state=0)


def test_a_frozen_encoder_stays_as_it_was_and_the_rest_learns(glands, tmp_path):
    short = make(
        glands, tmp_path, max_epochs=1, schedule__lr_schedule="constant", feature_cache=None
    )
    longer = make(
        glands, tmp_path, max_epochs=3, schedule__lr_schedule="constant", feature_cache=None
    )
    before, after = short.module_.state_dict(), longer.module_.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    inside = {name for name in before if name.startswith("encoder.")}
    assert inside <= same
    assert {"mask_conv.weight", "class_head.conv.weight"}.isdisjoint(same)
    assert not any(p.requires_grad for p in longer.module_.encoder.parameters())


def test_a_second_fit_is_the_same_and_computes_no_map(glands, tmp_path, monkeypatch):
    first = make(glands, tmp_path)
    proba = first.predict_mask_proba(glands.images)
    monkeypatch.setattr(TinyEncoder, "forward", None)  # whoever calls it fails
    second = make(glands, tmp_path)
    np.testing.assert_array_equal(second.predict_mask_proba(glands.images), proba)


def test_predictions_are_those_without_a_cache(glands, tmp_path):
    model = make(glands, tmp_path)
    kept = model.predict_mask_proba(glands.images)
    model.module_.feature_memory = None
    np.testing.assert_allclose(model.predict_mask_proba(glands.images), kept, atol=2e-3)


def test_a_loaded_model_reads_the_cache(glands, tmp_path, monkeypatch):
    model = make(glands, tmp_path / "cache")
    labels = model.predict_proba(glands.images)
    model.save(tmp_path / "model")
    monkeypatch.setattr(TinyEncoder, "forward", None)
    loaded = JointCAMSegmenter.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(glands.images), labels)


def test_random_crops_are_kept_too(glands, tmp_path, monkeypatch):
    crop = {"size": 24, "min_side": 24}
    first = make(glands, tmp_path, crop=crop)
    monkeypatch.setattr(TinyEncoder, "forward", None)
    second = make(glands, tmp_path, crop=crop)
    assert torch.equal(first.module_.mask_conv.weight, second.module_.mask_conv.weight)


def test_views_are_few_and_masks_move_with_their_image():
    rng = np.random.default_rng(0)
    faces = (rng.random((2, 16, 16)) < 0.5).astype(np.uint8)
    images = np.repeat(255 * faces[..., None], 3, axis=-1)
    data = TrainingData.build(
        as_images(images), [0, 1], as_masks(faces.astype(np.int16), 2), None, (16, 16), 2
    )
    options = {"flips": "both", "affine": (0.25, 15.0), "jitter": 0.1}
    batches = TrainingBatches(data, 40, 2, 0, options, np.random.default_rng(1), n_views=3)
    seen = {0: set(), 1: set()}
    for x, target in batches:
        for image, mask, label in zip(x["x"], target["masks"], target["labels"].tolist()):
            seen[label].add(image.contiguous().numpy().tobytes())
            known = mask >= 0
            bright = image.mean(0) > 0.5
            assert (bright == (mask == 1))[known].float().mean() > 0.8
    assert [len(views) for views in seen.values()] == [3, 3]


def test_wrong_options_are_refused(glands, tmp_path):
    with pytest.raises(ValueError, match="encoder_lr_scale must be 0 with feature_cache"):
        make(glands, tmp_path, schedule__encoder_lr_scale=0.3)
    with pytest.raises(TypeError, match="feature_cache must be None or a folder, got True"):
        make(glands, True)
    with pytest.raises(ValueError, match="n_views must be"):
        make(glands, tmp_path, augmentation__n_views=0)
    with pytest.raises(ValueError, match="module must be a JointCAMNetwork with feature_cache"):
        JointCAMSegmenter.from_preset(
            "belharbi2021-glas",
            encoder_weights=None,
            schedule__encoder_lr_scale=0,
            feature_cache=tmp_path,
        ).initialize()


def test_what_is_not_written_is_held_for_a_while_and_the_same(tmp_path):
    encoder, calls = TinyEncoder(width=4).eval(), []
    encoder.register_forward_hook(lambda *args: calls.append(1))
    memory, x = FeatureMemory(tmp_path), torch.rand(20, 3, 32, 32)
    memory.writes = False
    first = memory(encoder, x)
    assert len(calls) == 20 and not list(tmp_path.iterdir())
    again = memory(encoder, x[-16:])
    assert len(calls) == 20 and all(torch.equal(a[-16:], b) for a, b in zip(first, again))
    memory(encoder, x[:1])
    assert len(calls) == 21  # the oldest was forgotten
    memory.writes = True
    memory(encoder, x[1:2])
    assert len(list(tmp_path.glob("??/*.npy"))) == 1


def test_maps_written_first_are_removed_first(tmp_path):
    encoder, memory = TinyEncoder(width=4).eval(), FeatureMemory(tmp_path)
    paths = []
    for k in range(4):
        memory(encoder, torch.full((1, 3, 32, 32), k / 4))
        (new,) = set(tmp_path.glob("??/*.npy")) - set(paths)
        os.utime(new, ns=(k, k))
        paths.append(new)
    (tmp_path / "note.txt").write_text("mine")
    size = paths[0].stat().st_size
    trim(tmp_path, 2.5 * size)
    assert [path.exists() for path in paths] == [False, False, True, True]
    trim(tmp_path, 2 * size)
    assert paths[2].exists() and (tmp_path / "note.txt").exists()
