"""Networks of real packages, each in a small size and from random weights, in all that docs say."""

from functools import partial

import numpy as np
import pytest
import torch

from alseg import JointCAMSegmenter, Schedule, WholeNetwork
from alseg.datasets import make_glands
from alseg.metrics import mean_dice
from alseg.segmenter.whole_networks import network_facts

GLANDS = make_glands(4, image_size=(33, 50), random_state=0)

UNET = {
    "spatial_dims": 2,
    "in_channels": 3,
    "out_channels": 2,
    "channels": (8, 16, 32),
    "strides": (2, 2),
}


def monai_net(kind, *args, **options):
    from monai.networks import nets  # takes seconds, which all who collect tests would wait

    return getattr(nets, kind)(*args, **options)


def unet(**options):
    return monai_net("UNet", **{**UNET, **options})


def basic(kind):
    return monai_net(kind, 2, 3, 2, (8, 8, 16, 16, 32, 8))


def dynunet():
    return monai_net(
        "DynUNet", 2, 3, 2, [3, 3, 3], [1, 2, 2], [2, 2], deep_supervision=True, deep_supr_num=1
    )


def unetr():
    sizes = {"feature_size": 4, "hidden_size": 24, "mlp_dim": 24, "num_heads": 2}
    return monai_net("UNETR", 3, 2, img_size=(32, 32), spatial_dims=2, **sizes)


def smp(kind, **options):
    package = pytest.importorskip("segmentation_models_pytorch")
    given = {"encoder_name": "resnet18", "encoder_weights": None, "classes": 2, **options}
    return getattr(package, kind)(**given)


def deeplab():
    models = pytest.importorskip("torchvision.models.segmentation")
    return models.deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=2, aux_loss=True
    )


def lraspp():
    models = pytest.importorskip("torchvision.models.segmentation")
    return models.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2)


def segformer():
    package = pytest.importorskip("transformers")
    config = package.SegformerConfig(
        num_labels=2,
        depths=[1] * 4,
        hidden_sizes=[8, 16, 24, 32],
        num_attention_heads=[1, 2, 2, 4],
        decoder_hidden_size=16,
    )
    return package.SegformerForSemanticSegmentation(config)


def dpt():
    package = pytest.importorskip("transformers")
    sizes = {"hidden_size": 24, "intermediate_size": 24, "num_attention_heads": 2}
    config = package.DPTConfig(
        num_labels=2, image_size=64, patch_size=16, num_hidden_layers=4, **sizes,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8] * 4, fusion_hidden_size=8,
    )  # fmt: skip
    return package.DPTForSemanticSegmentation(config)


# What makes it, its stride, by how much its logits are smaller, and the layer that embeds.
TRIED = {
    "monai-unet": (unet, 4, 1, "model.1.submodule.1"),
    "monai-unet-grey": (partial(unet, in_channels=1), 4, 1, "model.1.*"),
    "monai-unet-sigmoid": (partial(unet, out_channels=1), 4, 1, "model*"),
    "monai-segresnet": (partial(monai_net, "SegResNet", 2, 8, 3, 2), 8, 1, "up_samples.0.0"),
    "monai-basic": (partial(basic, "BasicUNet"), 1, 1, "down_4"),
    "monai-basic++": (partial(basic, "BasicUNetPlusPlus"), 1, 1, "conv_4_0"),
    "monai-attention": (
        partial(monai_net, "AttentionUnet", 2, 3, 2, (8, 16, 32), (2, 2)), 4, 1, "model.1.*"),
    "monai-dynunet": (dynunet, 4, 1, "bottleneck"),
    "monai-swin": (
        partial(monai_net, "SwinUNETR", in_channels=3, out_channels=2, spatial_dims=2,
                feature_size=12, depths=(1,) * 4, num_heads=(2,) * 4), 32, 1, "encoder10"),
    "monai-unetr": (unetr, None, 1, "vit*"),
    "smp-unet": (
        partial(smp, "Unet", decoder_channels=(16, 8, 8, 4, 4)), None, 1, "decoder.center"),
    "smp-fpn": (partial(smp, "FPN"), 32, 1, "decoder.*"),
    "deeplab": (deeplab, 1, 1, "classifier.3"),
    "lraspp": (lraspp, 1, 1, "classifier.cbr"),
    "segformer": (segformer, 4, 4, "decode_head*"),
    "dpt": (dpt, None, 1, "neck.*"),
}  # fmt: skip
ONE_SIZE = {"monai-unetr": 32, "dpt": 64}
LONG = {"deeplab"}
every_network = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in LONG else []) for n in TRIED]
)


def segmenter(name, **options):
    given = {
        "network": TRIED[name][0],
        "image_size": ONE_SIZE.get(name),
        "max_epochs": 1,
        "steps_per_epoch": 1,
        "batch_size": 2,
        "lr": 3e-4,
        "random_state": 0,
        "device": "cpu",
    }
    return JointCAMSegmenter(**{**given, **options})


@every_network
def test_it_fits_predicts_embeds_and_is_saved(name, tmp_path):
    model = segmenter(name).fit(GLANDS.images, None, GLANDS.masks)
    assert model.predict_masks(GLANDS.images).shape == (4, 33, 50)
    proba = model.predict_mask_proba(GLANDS.images)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-4)
    vectors = model.transform(GLANDS.images)
    assert vectors.ndim == 2 and np.isfinite(vectors).all() and (vectors.std(0) > 0).any()
    model.save(tmp_path / "model")
    again = JointCAMSegmenter.load(tmp_path / "model", device="cpu", network=TRIED[name][0])
    np.testing.assert_array_equal(again.predict_mask_proba(GLANDS.images), proba)
    np.testing.assert_array_equal(again.transform(GLANDS.images), vectors)


@every_network
def test_what_is_found_of_it(name):
    _, stride, scale, layer = TRIED[name]
    facts = network_facts(segmenter(name))
    assert facts.scale == scale
    if name != "smp-unet":  # of its releases some take any size, and some multiples of 32
        assert facts.stride == stride
    assert facts.embedding_layer.startswith(layer[:-1]) if "*" in layer else (
        facts.embedding_layer == layer
    )  # fmt: skip
    assert facts.n_channels == (1 if "grey" in name else 3)


@pytest.mark.parametrize("name", ["monai-unet", "monai-segresnet", "segformer"])
def test_the_same_seed_gives_the_same_bits(name):
    fits = [segmenter(name).fit(GLANDS.images, None, GLANDS.masks) for _ in range(2)]
    a, b = (model.module_.state_dict() for model in fits)
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_auxiliary_classes_of_segmentation_models_are_a_class_head():
    network = partial(TRIED["smp-unet"][0], classes=1, aux_params={"classes": 2, "dropout": 0.5})
    model = segmenter("smp-unet", network=WholeNetwork(network, encoder="encoder"))
    model.fit(GLANDS.images, GLANDS.labels, GLANDS.masks)
    assert model.predict_proba(GLANDS.images).shape == (4, 2)
    assert [group["lr_scale"] for group in model.optimizer_.param_groups] == [1.0, 0.3]
    draws = model.predict_uncertainty(GLANDS.images, "bald", target="label", n_draws=3)
    assert (draws > 0).all()
    with pytest.raises(ValueError, match="draws no mask, got 'bald'"):  # it is of the classes alone
        model.predict_uncertainty(GLANDS.images, "bald")


@pytest.mark.parametrize(
    "network",
    [
        partial(unet, dropout=0.3),
        partial(monai_net, "SegResNet", 2, 8, 3, 2, dropout_prob=0.3),
        segformer,
    ],
)
def test_dropout_of_others_draws(network):
    model = segmenter("monai-unet", network=network).fit(GLANDS.images, None, GLANDS.masks)
    score = model.predict_uncertainty(GLANDS.images, "mc_variance", n_draws=3)
    assert model.has_draws and (score > 0).all()
    few = model.set_params(predict_batch_size=1).predict_uncertainty(
        GLANDS.images, "mc_variance", n_draws=3
    )
    np.testing.assert_allclose(few, score, rtol=1e-3)


@pytest.mark.slow
def test_a_unet_of_monai_learns_glands():
    """Clearly better than all-ones, whose Dice is the larger the more of an image is gland."""
    data = make_glands(40, image_size=(64, 96), random_state=1)
    train, test = slice(0, 24), slice(24, 40)
    network = partial(
        monai_net, "UNet", 2, 3, 2, channels=(16, 32, 64), strides=(2, 2), num_res_units=1
    )
    model = JointCAMSegmenter(network=network, random_state=0, device="cpu", schedule=Schedule())
    model.fit(data.images[train], None, data.masks[train])
    ones = mean_dice(np.ones_like(data.masks[test]), data.masks[test])
    assert model.score_masks(data.images[test], data.masks[test]) > ones + 0.15
