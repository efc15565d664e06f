"""The segmenter on encoders of other packages: fitted, saved, frozen, and without the package."""

import importlib.util
import json
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from skorch.callbacks import Callback
from torch import nn

from alseg import JointCAMSegmenter
from alseg.datasets import make_glands
from alseg.network import PatchEncoder
from alseg.segmenter import Network, PixelClassifier, Schedule, SelfSupervisedPretrainer

slow = pytest.mark.slow

ENCODERS = [
    "timm/mobilenetv3_small_050",
    "timm/convnext_atto",
    "smp/mobilenet_v2",
    "hf/vit",
    "hf/dinov2",
    "hf/convnext",
    pytest.param("timm/resnet10t", marks=slow),
    pytest.param("timm/edgenext_xx_small", marks=slow),
    pytest.param("timm/vit_tiny_patch16_224", marks=slow),
    pytest.param("timm/swin_tiny_patch4_window7_224", marks=slow),
    pytest.param("timm/vit_small_patch14_dinov2", marks=slow),
    pytest.param("smp/resnet18", marks=slow),
    pytest.param("smp/mit_b0", marks=slow),
    pytest.param("hf/segformer", marks=slow),
]


@pytest.fixture(scope="module")
def glands():
    return make_glands(5, image_size=(33, 50), random_state=0)


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """From a name of the list to an encoder's: those of transformers stand for small networks."""
    import transformers

    tokens = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    small = {
        "hf/vit": transformers.ViTConfig(**tokens, intermediate_size=32, image_size=64),
        "hf/dinov2": transformers.Dinov2Config(**tokens, mlp_ratio=2, image_size=70, patch_size=14),
        "hf/convnext": transformers.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1] * 4),
    }

    def name(encoder):
        if encoder not in small:
            return encoder
        folder = tmp_path_factory.mktemp("configuration")
        small[encoder].save_pretrained(folder)
        return f"hf/{folder}"

    return name


def segmenter(encoder, **options):
    options = {"encoder_weights": None, "max_epochs": 1, "steps_per_epoch": 2, **options}
    return JointCAMSegmenter(encoder, random_state=0, **options)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_fit_predict_save_load(encoder, named, glands, tmp_path):
    model = clone(segmenter(named(encoder))).fit(glands.images, glands.labels, glands.masks)
    found = model.predict_mask_proba(glands.images)
    assert found.shape == (5, 2, 33, 50)
    assert np.isfinite(found).all()
    assert model.predict_cams(glands.images).shape == (5, 2, 3, 4)
    deepest = sum(channels for channels, stride in zip(*_maps(model.module_)) if stride >= 16)
    assert model.transform(glands.images).shape == (5, deepest)
    assert model.predict_uncertainty(glands.images, method="bald").shape == (5,)
    model.save(tmp_path / "model")
    for again in (
        JointCAMSegmenter.load(tmp_path / "model"),
        pickle.loads(pickle.dumps(model)),
        clone(model).fit(glands.images, glands.labels, glands.masks),
    ):
        assert np.array_equal(again.predict_mask_proba(glands.images), found)


def _maps(network):
    maps = network.neck if isinstance(network.encoder, PatchEncoder) else network.encoder
    return maps.out_channels, maps.strides


def test_a_frozen_transformer_and_a_pyramid_that_learns(named, glands, tmp_path):
    encoder = named("hf/vit")
    options = {
        "schedule": Schedule(encoder_lr_scale=0.0),
        "feature_cache": tmp_path / "features",
    }
    start = segmenter(encoder, max_epochs=0).fit(glands.images, glands.labels, glands.masks)
    model = segmenter(encoder, **options).fit(glands.images, glands.labels, glands.masks)
    before, after = start.module_.state_dict(), model.module_.state_dict()
    same = {k for k in before if torch.equal(before[k], after[k])}
    assert {k for k in before if k.startswith("encoder.")} <= same
    learned = {k for k, _ in model.module_.neck.named_parameters(prefix="neck")}
    assert learned
    assert not learned & same
    # What is kept is the transformer's map alone: 24 channels at stride 16 of 64 x 64 pixels.
    kept = [np.load(path) for path in (tmp_path / "features").glob("*/*.npy")]
    assert kept
    assert {row.shape for row in kept} == {(24 * 4 * 4,)}
    again = segmenter(encoder, **options).fit(glands.images, glands.labels, glands.masks)
    expected = model.predict_mask_proba(glands.images)
    assert np.array_equal(again.predict_mask_proba(glands.images), expected)


def test_the_encoders_rate_is_of_the_transformer_and_not_of_the_pyramid(named, glands):
    schedule = Schedule(encoder_lr_scale=0.1)
    model = segmenter(named("hf/vit"), schedule=schedule)
    model.fit(glands.images, glands.labels, glands.masks)
    rest, encoder = model.optimizer_.param_groups
    assert (rest["lr_scale"], encoder["lr_scale"]) == (1.0, 0.1)
    counts = [len(group["params"]) for group in (encoder, rest)]
    own = len(list(model.module_.encoder.parameters()))
    assert counts == [own, len(list(model.module_.parameters())) - own]


def test_dropout_everywhere_is_behind_the_pyramid_too(named, glands):
    network = Network(dropout_placement="everywhere", dropout=0.5)
    model = segmenter(named("hf/vit"), network=network)
    model.fit(glands.images, glands.labels, glands.masks)
    assert len(model.module_.encoder_dropouts) == 4
    assert model.module_.first_dropout() == "encoder"
    assert model.predict_uncertainty(glands.images, method="bald").max() > 0


def test_two_phases_leave_the_pyramid_alone_in_the_second(named, glands):
    learns = []

    class Look(Callback):
        def on_epoch_end(self, net, **kwargs):
            learns.append({p.requires_grad for p in net.module_.neck.parameters()})

    model = segmenter(named("hf/vit"), schedule=Schedule(phases="two-phase"), callbacks=[Look()])
    model.fit(glands.images, glands.labels, glands.masks)
    assert learns == [{True}, {False}]


def test_images_are_normalised_as_the_package_does(glands):
    model = segmenter("timm/convnext_atto", max_epochs=0)
    model.fit(glands.images, glands.labels, glands.masks)
    assert model.module_.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert model.module_.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    half = segmenter("timm/convnext_atto", max_epochs=0, network=Network(normalize="half"))
    half.fit(glands.images, glands.labels, glands.masks)
    assert half.module_.mean.flatten().tolist() == [0.5]


def test_a_name_is_checked_before_anything_is_read(glands):
    missing = ["no/such/file.png"] * 5
    with pytest.raises(ValueError, match=r"Did you mean 'timm/convnext_atto'\?"):
        segmenter("timm/convnext_ato").fit(missing, glands.labels)
    with pytest.raises(ValueError, match="encoder must be one of"):
        segmenter("tini").check_params()


def test_without_its_package_a_model_is_not_made_and_not_loaded(glands, tmp_path, monkeypatch):
    model = segmenter("timm/mobilenetv3_small_050", max_epochs=0)
    model.fit(glands.images, glands.labels, glands.masks).save(tmp_path / "model")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "timm" else find_spec(n)
    )
    for action in (model.check_params, lambda: JointCAMSegmenter.load(tmp_path / "model")):
        with pytest.raises(
            ValueError, match="needs timm, which is not installed: pip install timm"
        ):
            action()


def test_what_was_saved_names_package_and_version(glands, tmp_path):
    import timm

    model = segmenter("timm/mobilenetv3_small_050", max_epochs=0)
    model.fit(glands.images, glands.labels, glands.masks).save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    record = json.loads(path.read_text())
    assert record["encoder_package"] == f"timm {timm.__version__}"
    record["encoder_package"] = "timm 0.9.1"
    record["params"]["encoder"] = "timm/mobilenetv3_small_075"  # as if it were built otherwise
    path.write_text(json.dumps(record))
    with pytest.raises(
        ValueError, match=rf"saved with timm 0\.9\.1; here is timm {timm.__version__}"
    ):
        JointCAMSegmenter.load(tmp_path / "model")


def test_a_configuration_that_has_moved_is_pointed_at(named, glands, tmp_path):
    import shutil

    model = segmenter(named("hf/vit"), max_epochs=0).fit(glands.images, glands.labels, glands.masks)
    model.save(tmp_path / "model")
    shutil.move(model.encoder.removeprefix("hf/"), tmp_path / "moved")
    with pytest.raises(
        ValueError, match=r"encoder must be 'hf/' and .*a folder with a config\.json"
    ):
        JointCAMSegmenter.load(tmp_path / "model")
    again = JointCAMSegmenter.load(tmp_path / "model", encoder=f"hf/{tmp_path / 'moved'}")
    expected = model.predict_mask_proba(glands.images)
    assert np.array_equal(again.predict_mask_proba(glands.images), expected)


def test_weights_that_need_no_network_to_load(glands, tmp_path, named, monkeypatch):
    """A model that was begun with its package's own weights asks nobody for them again."""
    import socket

    model = segmenter("smp/mobilenet_v2", max_epochs=0)
    model.fit(glands.images, glands.labels, glands.masks)
    model.encoder_weights = "pretrained"
    model._built["encoder_weights"] = "pretrained"
    model.save(tmp_path / "model")

    def refuse(*args, **kwargs):
        raise AssertionError("it asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    again = JointCAMSegmenter.load(tmp_path / "model")
    expected = model.predict_mask_proba(glands.images)
    assert np.array_equal(again.predict_mask_proba(glands.images), expected)
    assert again.encoder_weights == "pretrained"


def test_pretraining_begins_and_ends_with_their_encoders(glands, tmp_path):
    name = "timm/mobilenetv3_small_050"
    pretrainer = SelfSupervisedPretrainer(
        name, encoder_weights=None, n_steps=1, batch_size=2, random_state=0
    ).fit(glands.images)
    assert pretrainer.transform(glands.images).shape == (5, 288)
    path = pretrainer.save_encoder(tmp_path / "encoder.safetensors")
    model = segmenter(name, encoder_weights=path, max_epochs=0)
    model.fit(glands.images, glands.labels, glands.masks)
    state = model.module_.encoder.state_dict()
    for key, value in pretrainer.encoder_.state_dict().items():
        assert torch.equal(state[key].cpu(), value.cpu()), key


def test_a_pixel_classifier_on_their_maps(glands, tmp_path):
    """It keeps how images are normalised, which nobody is asked for when it is read."""
    model = PixelClassifier(
        RandomForestClassifier(3, random_state=0),
        features="encoder",
        encoder="timm/mobilenetv3_small_050",
        encoder_weights=None,
        random_state=0,
    ).fit(glands.images, glands.labels, glands.masks)
    expected = model.predict_mask_proba(glands.images)
    model.encoder_weights = "pretrained"
    model.save(tmp_path / "model")
    again = PixelClassifier.load(tmp_path / "model")
    assert np.array_equal(again.predict_mask_proba(glands.images), expected)
    assert again.feature_functions_[0].normalization == model.feature_functions_[0].normalization


def test_an_own_transformer(glands, tmp_path):
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv2d(3, 16, 16, stride=16)
            self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)

        def forward(self, x):
            x = self.embed(x)
            tokens = self.block(x.flatten(2).transpose(1, 2))
            return tokens.transpose(1, 2).reshape(x.shape)

    own = PatchEncoder(Patches(), channels=16, patch_size=16)
    model = segmenter(own).fit(glands.images, glands.labels, glands.masks)
    found = model.predict_mask_proba(glands.images)
    assert found.shape == (5, 2, 33, 50)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="saved with its own encoder"):
        JointCAMSegmenter.load(tmp_path / "model")
    again = JointCAMSegmenter.load(tmp_path / "model", encoder=own)
    assert np.array_equal(again.predict_mask_proba(glands.images), found)
