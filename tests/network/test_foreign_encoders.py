"""Encoders of timm, segmentation-models-pytorch and transformers, with weights drawn at random."""

import copy
import importlib
import importlib.util
import pickle
import socket
import subprocess
import sys
import warnings

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from alseg.network import (
    JointCAMNetwork,
    PatchEncoder,
    build_encoder,
    normalization_of,
    starts_at_random,
)
from alseg.network.foreign_encoders import PACKAGES, check_foreign, foreign_package

IMPORTED = ("torchvision", "timm", "segmentation_models_pytorch", "transformers")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FIVE, FOUR = [2, 4, 8, 16, 32], [4, 8, 16, 32]

# name, channels, strides
CONVOLUTIONS = [
    ("timm/resnet10t", [64, 64, 128, 256, 512], FIVE),
    ("timm/mobilenetv3_small_050", [16, 8, 16, 24, 288], FIVE),
    ("timm/convnext_atto.d2_in1k", [40, 80, 160, 320], FOUR),
    ("timm/edgenext_xx_small", [24, 48, 88, 168], FOUR),
    ("smp/mobilenet_v2", [16, 24, 32, 96, 1280], FIVE),
    ("smp/mit_b0", [32, 64, 160, 256], FOUR),
    ("smp/tu-mobilenetv3_small_050", [16, 8, 16, 24, 288], FIVE),
]


@pytest.fixture(scope="module")
def configurations(tmp_path_factory):
    """Folders with a config.json each, of small networks."""
    import transformers

    tokens = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    folder = tmp_path_factory.mktemp("hf")
    made = {
        "vit": transformers.ViTConfig(**tokens, intermediate_size=32, image_size=64),
        "dinov2": transformers.Dinov2Config(**tokens, mlp_ratio=2, image_size=70, patch_size=14),
        "convnext": transformers.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1] * 4),
    }
    for name, config in made.items():
        config.save_pretrained(folder / name)
    return folder


@pytest.fixture
def offline(monkeypatch):
    """A machine on which asking for any address is a failure."""
    asked = []

    def refuse(*args, **kwargs):
        asked.append(args)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return asked


def maps_of(encoder, x):
    with torch.no_grad():
        return encoder.eval()(x)


# -- the packages -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", IMPORTED)
def test_the_package_can_be_imported_here(name):
    importlib.import_module(name)


def test_alseg_imports_none_of_them():
    code = "import sys, alseg; from alseg import *; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "skorch" in done.stdout
    assert not {*IMPORTED} & {*done.stdout.split()}


@pytest.mark.parametrize("kind", sorted(PACKAGES))
def test_a_package_that_is_not_there_is_named(kind, monkeypatch):
    module, wheel = PACKAGES[kind]
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == module else found(n))
    with pytest.raises(ValueError, match=rf"^encoder='{kind}/x' needs .*: pip install {wheel}$"):
        check_foreign(f"{kind}/x")


def test_a_package_that_cannot_be_imported_says_why(monkeypatch):
    def fail(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ValueError, match=r"torchvision::nms does not exist\. .*--index-url"):
        check_foreign("timm/resnet10t")


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("timm/resnet10", "timm/resnet10t"),
        ("timm/convnext_atto.d2_in2k", "timm/convnext_atto.d2_in1k"),
        ("smp/resnet19", "smp/resnet18"),
        ("smp/tu-resnet10", "smp/tu-resnet10t"),
        ("hf/convnex", "hf/convnext"),
    ],
)
def test_unknown_names_are_answered_by_the_closest(name, close):
    with pytest.raises(ValueError, match=rf"^encoder must be .* Did you mean '{close}'\?$"):
        build_encoder(name, None)


@pytest.mark.parametrize("name", ["tim/resnet10t", "timm", "/resnet18", "timm-resnet10t"])
def test_other_prefixes_are_no_packages(name):
    with pytest.raises(ValueError, match="encoder must be one of"):
        build_encoder(name, None)


# -- what they give ---------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "channels", "strides"), CONVOLUTIONS)
def test_maps_are_as_declared_at_any_size(name, channels, strides):
    encoder = build_encoder(name, None)
    assert (encoder.out_channels, encoder.strides) == (channels, strides)
    maps = maps_of(encoder, torch.rand(1, 3, 32, 96))
    assert [m.shape for m in maps] == [(1, c, 32 // s, 96 // s) for c, s in zip(channels, strides)]


def test_channels_that_come_last_are_put_first():
    """timm's Swin gives (N, H, W, C), and takes one size unless told otherwise."""
    encoder = build_encoder("timm/swin_tiny_patch4_window7_224", None)
    assert (encoder.out_channels, encoder.strides) == ([96, 192, 384, 768], FOUR)
    x = torch.rand(1, 3, 64, 96)
    maps = maps_of(encoder, x)
    assert [m.shape[1:] for m in maps] == [(96 * 2**i, 16 >> i, 24 >> i) for i in range(4)]
    with torch.no_grad():
        assert torch.equal(maps[0], encoder.net(x)[0].permute(0, 3, 1, 2))


def test_a_plain_transformer_of_timm_is_one_map_and_a_pyramid():
    import timm

    encoder = build_encoder("timm/vit_tiny_patch16_224", None)
    assert type(encoder) is PatchEncoder
    assert (encoder.out_channels, encoder.strides) == ([192], [16])
    x = torch.rand(1, 3, 32, 48)
    (found,) = maps_of(encoder, x)
    reference = timm.create_model("vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True)
    state = {k.removeprefix("net.model."): v for k, v in encoder.state_dict().items()}
    reference.load_state_dict(state, strict=False)
    _, expected = reference.eval().forward_intermediates(x, indices=1)
    torch.testing.assert_close(found, expected[-1])
    network = JointCAMNetwork("timm/vit_tiny_patch16_224", None)
    assert network.strides == FOUR


def test_patches_of_transformers_are_its_last_tokens(configurations):
    encoder = build_encoder(f"hf/{configurations / 'vit'}", None)
    assert (type(encoder), encoder.out_channels, encoder.strides) == (PatchEncoder, [24], [16])
    x = torch.rand(2, 3, 48, 80)
    (found,) = maps_of(encoder, x)
    with torch.no_grad():
        tokens = encoder.net.net(pixel_values=x, interpolate_pos_encoding=True).last_hidden_state
    assert tokens.shape == (2, 1 + 3 * 5, 24)
    for i, j in ((0, 0), (1, 4), (2, 3)):
        assert torch.equal(found[:, :, i, j], tokens[:, 1 + 5 * i + j])


def test_dinov2_sees_fourteen_pixels_where_the_image_has_sixteen(configurations):
    encoder = build_encoder(f"hf/{configurations / 'dinov2'}", None)
    assert (encoder.patch_size, encoder.strides) == (14, [16])
    x = torch.rand(1, 3, 64, 96)
    (found,) = maps_of(encoder, x)
    smaller = F.interpolate(x, size=(56, 84), mode="bilinear", align_corners=False)
    with torch.no_grad():
        tokens = encoder.net.net(pixel_values=smaller).last_hidden_state
    assert torch.equal(found, tokens[:, 1:].reshape(1, 4, 6, 24).permute(0, 3, 1, 2))


def test_stages_of_transformers_are_maps(configurations):
    encoder = build_encoder(f"hf/{configurations / 'convnext'}", None)
    assert (encoder.out_channels, encoder.strides) == ([8, 16, 24, 32], FOUR)
    x = torch.rand(1, 3, 64, 32)
    with torch.no_grad():
        expected = encoder.net.net(pixel_values=x, output_hidden_states=True).hidden_states
    for found, stage in zip(maps_of(encoder, x), expected[1:], strict=True):
        assert torch.equal(found, stage)


def test_a_network_of_one_size_is_refused():
    with pytest.raises(ValueError, match=r"encoder must be .*doesn't match model \(224\)"):
        build_encoder("timm/mixer_s32_224", None)


@pytest.mark.parametrize("name", ["timm/resnet10t", "timm/vit_tiny_patch16_224", "smp/mit_b0"])
def test_other_numbers_of_channels(name):
    network = JointCAMNetwork(name, None, n_channels=5, mean=(0.4, 0.5, 0.6)).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 5, 40, 40))["mask_logits"].shape == (1, 2, 40, 40)


@pytest.mark.parametrize("kind", ["vit", "dinov2", "convnext"])
def test_other_numbers_of_channels_in_transformers(kind, configurations):
    encoder = build_encoder(f"hf/{configurations / kind}", None, 2)
    assert maps_of(encoder, torch.rand(1, 2, 64, 64))[-1].shape[0] == 1


@pytest.mark.parametrize("kind", ["vit", "dinov2", "convnext"])
def test_used_encoders_of_transformers_are_pickled_and_copied(kind, configurations):
    encoder = build_encoder(f"hf/{configurations / kind}", None)
    x = torch.rand(1, 3, 64, 64)
    expected = maps_of(encoder, x)
    for twin in (pickle.loads(pickle.dumps(encoder)), copy.deepcopy(encoder)):
        assert twin.net.net is not encoder.net.net
        for found, one in zip(maps_of(twin, x), expected, strict=True):
            assert torch.equal(found, one)


# -- weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["timm/mobilenetv3_small_050", "smp/mobilenet_v2", "hf/convnext"])
def test_nothing_is_fetched_unasked(name, offline):
    if not name.startswith("hf"):
        build_encoder(name, None)
    check_foreign(name)
    assert normalization_of(name, None) == IMAGENET
    assert offline == []


@pytest.mark.parametrize("name", ["timm/mobilenetv3_small_050.lamb_in1k", "smp/mobilenet_v2"])
def test_pretrained_is_asked_for_and_its_failure_is_told(name, offline, monkeypatch, tmp_path):
    hub = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)  # no retries
    with pytest.raises(OSError, match=r"^encoder_weights='pretrained' of .*Fetch a file"):
        build_encoder(name, "pretrained")


def test_the_default_says_that_weights_are_random():
    with pytest.warns(UserWarning, match=r"starts from random weights.*'pretrained'"):
        build_encoder("smp/mobilenet_v2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_encoder("smp/mobilenet_v2", None)
    assert starts_at_random("smp/mobilenet_v2", "bundled")
    assert not starts_at_random("smp/mobilenet_v2", "pretrained")


def test_imagenet_is_no_word_of_theirs():
    with pytest.raises(ValueError, match="encoder_weights must be 'pretrained'"):
        build_encoder("timm/mobilenetv3_small_050", "imagenet")


def check_loaded(name, path, state, names):
    encoder = build_encoder(name, path).state_dict()
    random = build_encoder(name, None).state_dict()
    for own, theirs in names.items():
        assert torch.equal(encoder[own], state[theirs])
        assert not torch.equal(random[own], state[theirs])


def test_a_whole_network_of_timm_from_a_file(tmp_path):
    import timm

    path = tmp_path / "whole.safetensors"
    state = timm.create_model("mobilenetv3_small_050").state_dict()
    save_file(state, path)
    names = {"net.conv_stem.weight": "conv_stem.weight"}
    check_loaded("timm/mobilenetv3_small_050", path, state, names)
    state = timm.create_model("convnext_atto").state_dict()
    torch.save(state, tmp_path / "whole.pth")
    names = {"net.stages_1.blocks.0.mlp.fc1.weight": "stages.1.blocks.0.mlp.fc1.weight"}
    check_loaded("timm/convnext_atto", tmp_path / "whole.pth", state, names)
    with pytest.raises(ValueError, match="encoder_weights must be a checkpoint of 'timm/resnet10t"):
        build_encoder("timm/resnet10t", path)


def test_a_whole_network_of_smp_from_a_file(tmp_path):
    import segmentation_models_pytorch as smp

    path = tmp_path / "unet.safetensors"
    state = smp.Unet("mobilenet_v2", encoder_weights=None).state_dict()
    save_file(state, path)
    names = {"net.features.0.0.weight": "encoder.features.0.0.weight"}
    check_loaded("smp/mobilenet_v2", path, state, names)
    with pytest.raises(ValueError, match=r"checkpoint of 'smp/mit_b0', got .* has no "):
        build_encoder("smp/mit_b0", path)


@pytest.mark.parametrize("kind", ["vit", "dinov2", "convnext"])
def test_a_folder_of_transformers_and_its_file(kind, configurations, tmp_path, offline):
    """A classifier, as it is published: its head is left out."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(configurations / kind)
    whole = transformers.AutoModelForImageClassification.from_config(config)
    whole.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}'
    )
    state = whole.state_dict()
    own, theirs = next(
        (f"net.net.{k.partition('.')[2]}", k) for k in state if "patch_embeddings" in k
    )
    name = f"hf/{tmp_path}"
    for weights in ("pretrained", tmp_path / "model.safetensors"):
        check_loaded(name, weights, state, {own: theirs})
        assert normalization_of(name, weights) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert offline == []


@pytest.mark.parametrize("name", ["timm/convnext_atto", "smp/mit_b0"])
def test_weights_of_an_encoder_itself(name, tmp_path):
    encoder = build_encoder(name, None)
    save_file(
        {k: v.contiguous() for k, v in encoder.state_dict().items()}, tmp_path / "e.safetensors"
    )
    again = build_encoder(name, tmp_path / "e.safetensors").state_dict()
    assert all(torch.equal(v, again[k]) for k, v in encoder.state_dict().items())


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("timm/vit_tiny_patch16_224", ((0.5,) * 3, (0.5,) * 3)),
        ("timm/convnext_atto", IMAGENET),
        ("smp/tu-vit_tiny_patch16_224", ((0.5,) * 3, (0.5,) * 3)),
        ("smp/resnet18", IMAGENET),
        ("hf/dinov2", IMAGENET),
    ],
)
def test_images_are_normalised_as_the_package_does(name, numbers):
    assert normalization_of(name, None) == numbers


def test_a_version_is_told_of_other_packages_alone():
    assert foreign_package("timm/x") == f"timm {importlib.import_module('timm').__version__}"
    assert foreign_package("smp/x").startswith("segmentation-models-pytorch ")
    assert foreign_package("tiny") is None
