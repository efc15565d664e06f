"""`JointCAMSegmenter(network=...)` with a whole network: all that a user does with an estimator."""

import functools
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from alseg import (
    ActiveLearner,
    Augmentation,
    Execution,
    JointCAMSegmenter,
    Network,
    PseudoLabelAugmenter,
    Schedule,
    WholeNetwork,
)
from alseg.datasets import make_glands
from alseg.interfaces import ClassMaps, has_class_head, has_part, meets
from alseg.learner import DeepEnsemble
from alseg.network.published_networks import PlainUNet
from alseg.strategies import (
    badge_sampling,
    bald_sampling,
    cam_disagreement_sampling,
    core_set_sampling,
    entropy_sampling,
)

H, W = 32, 48
GLANDS = make_glands(8, image_size=(H, W), random_state=0)
IMAGES, LABELS, MASKS = GLANDS.images, GLANDS.labels, GLANDS.masks


class Small(nn.Module):
    """A U-Net of one level, and class logits where `n_classes` says how many."""

    def __init__(self, n_mask_classes=2, n_classes=None, dropout=0.2):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        )
        self.drop = nn.Dropout2d(dropout)
        self.up = nn.ConvTranspose2d(8, n_mask_classes, 2, stride=2)
        self.beside = nn.Conv2d(3, n_mask_classes, 1)
        self.head = None if n_classes is None else nn.Linear(8, n_classes)

    def forward(self, x):
        maps = self.encoder(x)
        masks = self.up(self.drop(maps)) + self.beside(x)
        if self.head is None:
            return masks
        return {"out": masks, "class_logits": self.head(maps.mean((2, 3)))}


def small(seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Small(**options)


def masks_alone(n_mask_classes):
    return Small(n_mask_classes)


def segmenter(network=None, **options):
    network = small() if network is None else network
    given = {"max_epochs": 1, "random_state": 0, "device": "cpu", **options}
    return JointCAMSegmenter(network=network, **given)


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# -- what it gives ---------------------------------------------------------------------------------


def test_unfitted_weights_predict_what_the_module_does():
    net = small().eval()
    model = segmenter(net, max_epochs=0, image_size=(H, W)).fit(IMAGES, None, MASKS)
    x = torch.tensor(IMAGES).permute(0, 3, 1, 2) / 255
    mean, std = (
        torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    expected = net((x - mean) / std).softmax(1).detach().numpy()
    np.testing.assert_allclose(model.predict_mask_proba(IMAGES), expected, atol=1e-6)
    vectors = net.encoder((x - mean) / std).mean((2, 3)).detach().numpy()
    np.testing.assert_allclose(model.transform(IMAGES), vectors, atol=1e-6)


def test_masks_alone():
    model = segmenter().fit(IMAGES, None, MASKS)
    assert not model.has_class_head and not model.has_cams and not has_class_head(model)
    assert model.predict_masks(IMAGES).shape == (8, H, W)
    assert model.score_masks(IMAGES, MASKS) >= 0
    assert set(model.predict_joint(IMAGES)) == {"masks", "mask_proba"}
    for name in ("predict", "predict_proba"):
        with pytest.raises(ValueError, match=f"{name} needs a class head.*mask logits alone"):
            getattr(model, name)(IMAGES)
    with pytest.raises(ValueError, match="masks must be annotated .* a network of mask logits al"):
        segmenter().fit(IMAGES, LABELS)


def test_class_logits_are_a_class_head():
    model = segmenter(small(n_classes=2), max_epochs=3).fit(IMAGES, LABELS, MASKS)
    assert model.has_class_head and has_class_head(model) and not model.has_cams
    proba = model.predict_proba(IMAGES)
    np.testing.assert_allclose(proba.sum(1), 1)
    assert set(model.predict(IMAGES)) <= set(LABELS)
    joint = model.predict_joint(IMAGES)
    assert "cams" not in joint
    np.testing.assert_array_equal(joint.proba, proba)
    np.testing.assert_array_equal(joint.masks, model.predict_masks(IMAGES))
    assert model.predict_uncertainty(IMAGES, "margin", target="label").shape == (8,)


def test_the_class_loss_reaches_the_class_head():
    model = segmenter(small(n_classes=2), criterion__mask_scale=0.0, max_epochs=2)
    before = small(n_classes=2).head.weight
    model.fit(IMAGES, LABELS, MASKS)
    assert not torch.equal(model.module_.module.head.weight, before)


def test_labels_alone_train_the_class_head_and_no_masks():
    model = segmenter(small(n_classes=2)).fit(IMAGES, LABELS)
    assert model.predict(IMAGES).shape == (8,)
    for predict in (model.predict_masks, model.predict_uncertainty):
        with pytest.raises(ValueError, match="which this whole network has not: fit with some"):
            predict(IMAGES)


@pytest.mark.parametrize("network", [small(n_classes=2), Small])
def test_without_labels_class_logits_are_left_alone(network, tmp_path):
    model = segmenter(network).fit(IMAGES, None, MASKS)
    assert not model.has_class_head
    assert set(model.predict_joint(IMAGES)) == {"masks", "mask_proba"}
    model.save(tmp_path / "model")
    again = JointCAMSegmenter.load(tmp_path / "model", network=network)
    np.testing.assert_array_equal(
        again.predict_mask_proba(IMAGES), model.predict_mask_proba(IMAGES)
    )


@pytest.mark.parametrize("n_classes", [None, 2])
def test_there_are_no_class_maps(n_classes):
    model = segmenter(small(n_classes=n_classes)).fit(IMAGES, LABELS, MASKS)
    for name in ("predict_cams", "gradient_embedding", "gradient_length"):
        assert not hasattr(model, name) and hasattr(JointCAMSegmenter(), name)
    assert not meets(model, ClassMaps) and meets(JointCAMSegmenter(), ClassMaps)
    with pytest.raises(ValueError, match="kind must be 'encoder' with a whole network"):
        model.transform(IMAGES, kind="decoder")
    with pytest.raises(ValueError, match=r"transform\(kind='cam'\) needs a? ?class"):
        model.transform(IMAGES, kind="cam")


@pytest.mark.parametrize("n_in", [1, 2, 3])
def test_other_images_are_taken_as_they_come(n_in):
    """Grey, of floats, of differing sizes, one alone."""
    floats = [image.astype(np.float32) / 255 for image in IMAGES[:3]]
    grey = IMAGES[..., :1] if n_in == 1 else IMAGES
    model = segmenter(nn.Conv2d(n_in if n_in == 1 else 3, 2, 3, padding=1)).fit(grey, None, MASKS)
    ragged = [floats[0], floats[1][:-1], floats[2][:, :-3]]
    assert [m.shape for m in model.predict_masks(ragged)] == [(H, W), (H - 1, W), (H, W - 3)]
    assert model.predict_masks(IMAGES[:1]).shape == (1, H, W)


def test_images_of_other_channels():
    bands = np.concatenate([IMAGES, IMAGES[..., :2]], axis=-1)

    def five(n_channels):
        return nn.Conv2d(n_channels, 2, 3, padding=1)

    model = segmenter(five).fit(bands, None, MASKS)
    assert model.module_.module.in_channels == 5
    assert model.predict_masks(bands).shape == (8, H, W)
    assert segmenter(nn.Conv2d(5, 2, 1)).fit(bands, None, MASKS).has_masks_
    with pytest.raises(
        ValueError, match="takes images of 5 channels, as X has, got 'Conv2d with 3"
    ):
        segmenter(nn.Conv2d(3, 2, 1)).fit(bands, None, MASKS)
    with pytest.raises(
        ValueError, match="takes images of 3 channels, as X has, got 'Conv2d with 5"
    ):
        segmenter(nn.Conv2d(5, 2, 1)).fit(IMAGES, None, MASKS)


def test_one_map_is_two_classes():
    model = segmenter(small(n_mask_classes=1)).fit(IMAGES, None, MASKS)
    proba = model.predict_mask_proba(IMAGES)
    assert proba.shape == (8, 2, H, W)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-5)


def test_several_mask_classes():
    masks = MASKS + (np.arange(W) > 20) * (MASKS > 0)
    model = segmenter(masks_alone, n_mask_classes=3).fit(IMAGES, None, masks)
    assert model.predict_mask_proba(IMAGES).shape == (8, 3, H, W)


@pytest.mark.parametrize("n_out, n", [(3, 2), (2, 3), (1, 3), (4, 3)])
def test_channels_that_are_not_the_classes_are_refused_by_both_numbers(n_out, n):
    model = segmenter(small(n_mask_classes=n_out), n_mask_classes=n)
    rule = (
        rf"network must be a module that gives {n} mask logits a pixel.* got 'Small with {n_out}'"
    )
    for refused in (model.check_params, lambda: model.fit(["no such file.png"], None)):
        with pytest.raises(ValueError, match=rule):
            refused()


def test_class_logits_that_are_not_the_classes_are_refused_and_nothing_changes():
    model = segmenter(small(n_classes=3))
    with pytest.raises(
        ValueError, match="gives 2 class logits, as y has classes, got 'Small with 3"
    ):
        model.fit(IMAGES, LABELS, MASKS)
    assert not hasattr(model, "classes_")
    other = np.array(["a", "b", "c", "a"] * 2)
    assert segmenter(Small).fit(IMAGES, other, MASKS).predict_proba(IMAGES).shape == (8, 3)


# -- draws -----------------------------------------------------------------------------------------


def test_draws_are_seeded_and_do_not_depend_on_the_batch():
    model = segmenter(small(n_classes=2)).fit(IMAGES, LABELS, MASKS)
    score = model.predict_uncertainty(IMAGES, "mc_variance", n_draws=4, random_state=3)
    assert (score > 0).all()
    again = model.set_params(predict_batch_size=3).predict_uncertainty(
        IMAGES, "mc_variance", n_draws=4, random_state=3
    )
    np.testing.assert_allclose(score, again, rtol=1e-5)
    other = model.predict_uncertainty(IMAGES, "mc_variance", n_draws=4, random_state=4)
    assert not np.allclose(score, other)
    assert model.has_draws
    with pytest.raises(ValueError, match="with a network that draws no label, got 'bald'"):
        model.predict_uncertainty(IMAGES, "bald", target="label")


def test_a_draw_drops_what_the_dropout_layers_drop():
    """Against a network with a single channel, of which a draw is all or nothing."""

    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.drop = nn.Conv2d(3, 1, 1), nn.Dropout2d(0.5)

        def forward(self, x):
            z = self.drop(self.conv(x).abs() + 1)
            return torch.cat([0 * z, z], 1)

    net = One()
    model = segmenter(net, max_epochs=0, image_size=(H, W)).fit(IMAGES, None, MASKS)
    _, maps = model.predict_uncertainty(IMAGES, "mean_deviation", n_draws=2, return_maps=True)
    kept = model.predict_mask_proba(IMAGES)[:, 1]
    assert maps.shape == kept.shape
    dropped = [m for m in maps if m.max() > 0] or list(maps)
    assert all((m.max() == 0) or (m.min() > 0) for m in dropped)


def test_without_dropout_draws_are_refused():
    model = segmenter(small(dropout=0.0)).fit(IMAGES, None, MASKS)
    assert not model.has_draws
    with pytest.raises(
        ValueError, match="least_confidence, .* draws no mask, got 'bald'. No dropo"
    ):
        model.predict_uncertainty(IMAGES, "bald")
    assert model.predict_uncertainty(IMAGES, "entropy").shape == (8,)


# -- where it starts -------------------------------------------------------------------------------


def test_each_fit_starts_from_the_weights_given_and_leaves_them():
    net = small()
    before = small()
    model = segmenter(net).fit(IMAGES, None, MASKS)
    assert same_weights(net, before) and net.training
    first = model.predict_mask_proba(IMAGES)
    assert not same_weights(model.module_.module, before)
    np.testing.assert_array_equal(model.fit(IMAGES, None, MASKS).predict_mask_proba(IMAGES), first)
    np.testing.assert_array_equal(
        clone(model).fit(IMAGES, None, MASKS).predict_mask_proba(IMAGES), first
    )
    model.set_params(max_epochs=0).fit(IMAGES, None, MASKS)
    assert same_weights(model.module_.module, before)


def test_a_function_makes_a_new_one_by_the_seed():
    state = torch.get_rng_state()
    weights = [
        segmenter(masks_alone, max_epochs=0, random_state=seed).fit(IMAGES, None, MASKS).module_
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert same_weights(weights[0], weights[1]) and not same_weights(weights[0], weights[2])


def test_parts_that_its_owner_froze_stay_frozen():
    net = small()
    net.encoder.requires_grad_(False)
    model = segmenter(net, max_epochs=2).fit(IMAGES, None, MASKS)
    assert torch.equal(model.module_.module.encoder[0].weight, net.encoder[0].weight)
    assert not torch.equal(model.module_.module.up.weight, net.up.weight)
    assert not model.module_.module.encoder[0].weight.requires_grad


def test_a_network_that_cannot_learn_only_predicts():
    net = small()
    net.requires_grad_(False)
    with pytest.raises(
        ValueError, match="parameters that learn, got 'Small, all frozen'.*max_epoc"
    ):
        segmenter(net).fit(IMAGES, None, MASKS)
    model = segmenter(net, max_epochs=0).fit(IMAGES, None, MASKS)
    assert model.predict_masks(IMAGES).shape == (8, H, W)


# -- what a fit does with it -----------------------------------------------------------------------


def test_a_named_encoder_learns_at_its_own_rate():
    network = WholeNetwork(small(), encoder="encoder")
    model = segmenter(
        network, schedule=Schedule("joint", encoder_lr_scale=0.1, lr_schedule="constant")
    )
    model.fit(IMAGES, None, MASKS)
    rest, encoder = model.optimizer_.param_groups
    inside = {id(p) for p in model.module_.module.encoder.parameters()}
    assert {id(p) for p in encoder["params"]} == inside and encoder["lr"] == 0.1 * rest["lr"]
    frozen = segmenter(network, schedule=Schedule(encoder_lr_scale=0.0)).fit(IMAGES, None, MASKS)
    assert same_weights(frozen.module_.module.encoder, small().encoder)  # BatchNorm's, too
    assert not same_weights(frozen.module_.module.up, small().up)
    plain = segmenter().fit(IMAGES, None, MASKS)
    assert len(plain.optimizer_.param_groups) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": Schedule(ema=0.9)},
        {
            "schedule": Schedule(keep_epoch="validation"),
            "validation": 0.3,
            "threshold": "validation",
        },
        {"schedule": Schedule(sampling="passes", clip_norm=1.0, keep_epoch="train_loss")},
        {"execution": Execution(amp=True)},
        {"execution": Execution(channels_last=False)},
        {"consistency": 0.5},
        {"crop": {"size": 24}},
        {"test_flips": "both"},
        {"image_size": 16},
        {"criterion__normalize": "batch"},
        {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
        {"augmentation": Augmentation(jitter=0.5), "batch_size": 1},
        {"network": WholeNetwork(small(), normalize="dataset", embedding_layer="up", stride=4)},
        {"class_weight": "balanced"},
    ],
)
@pytest.mark.parametrize("n_classes", [None, 2])
def test_options_of_a_fit(options, n_classes):
    model = segmenter(small(n_classes=n_classes)).set_params(**options)
    some = [mask if i % 4 else None for i, mask in enumerate(MASKS)]
    proba = model.fit(IMAGES, LABELS, some).predict_mask_proba(IMAGES)
    assert np.isfinite(proba).all()
    np.testing.assert_array_equal(
        clone(model).fit(IMAGES, LABELS, some).predict_mask_proba(IMAGES), proba
    )


@pytest.mark.parametrize(
    "options, rule",
    [
        ({"encoder": "tiny"}, "encoder must be 'efficientnet-lite0', its default, with a whole"),
        ({"encoder_weights": None}, "encoder_weights must be 'bundled', its default"),
        ({"module__dropout": 0.3}, "module must be left out with a whole network, got {'dropout'"),
        ({"module": PlainUNet}, "module must be left out with a whole network, got .*PlainUNet"),
        (
            {"network": nn.Sequential(nn.Conv2d(3, 2, 1), nn.Softmax(1))},
            "gives logits of the pixels' classes, got 'Sequential, whose values sum to 1'",
        ),
        (
            {"feature_cache": "maps", "schedule__encoder_lr_scale": 0.0},
            "feature_cache must be None",
        ),
        ({"schedule__phases": "two-phase"}, "schedule.phases must be 'joint' with a whole network"),
        ({"schedule__encoder_lr_scale": 0.0}, "which part is its encoder, got 0.0. Name it: Whole"),
        ({"network__stride": 0}, "network.stride must be >= 1, got 0"),
        ({"network__stride": "4"}, "network.stride must be an integer"),
        ({"network__embedding_layer": "encodr"}, "Did you mean 'encoder'"),
        ({"network__encoder": "encodr"}, "network.encoder must be the dotted name .*'encoder'"),
        ({"network__encoder": 3}, "network.encoder must be None or a dotted name"),
        ({"network__normalize": "auto"}, "network.normalize must be one of"),
        ({"network__normalize": 3}, r"network.normalize must be .* or a pair \(mean, std\)"),
        ({"network": "unet"}, "network must be a Network, .* or a torch module, or a function"),
        ({"network": WholeNetwork()}, "network.module must be a torch module, or a function"),
        ({"network": WholeNetwork("unet")}, "network.module must be a torch module, or a func"),
        ({"network": lambda: 3}, "network must be a torch module, or a function that makes one"),
        (
            {"network": nn.Conv2d},
            "a function that needs nothing but n_classes, n_mask_classes, n_ch",
        ),
        ({"network": nn.Conv2d(3, 2, 3)}, "network must be a module that takes images"),
        ({"network": nn.Flatten()}, "network must be a module that returns mask logits"),
    ],
)
def test_what_does_not_go_together_is_refused_before_a_file_is_read(options, rule):
    with pytest.raises((TypeError, ValueError), match=rule):
        segmenter().set_params(**options).fit(["no such file.png"], ["a"])


def test_a_field_of_the_other_kind_is_refused():
    with pytest.raises(
        TypeError, match="WholeNetwork got an unexpected argument 'pooling'. It has"
    ):
        segmenter().set_params(network__pooling="max")
    model = JointCAMSegmenter().set_params(network=small(), network__stride=2)
    assert isinstance(model.network, WholeNetwork) and model.network.stride == 2


def test_images_of_a_layout_that_it_cannot_take():
    class View(nn.Conv2d):
        def forward(self, x):
            return super().forward(x.view(-1).reshape(x.shape))

    with pytest.raises(ValueError, match="execution.channels_last must be False with this network"):
        segmenter(View(3, 2, 1)).check_params()
    plain = segmenter(View(3, 2, 1), execution=Execution(channels_last=False))
    assert plain.fit(IMAGES, None, MASKS).predict_masks(IMAGES).shape == (8, H, W)


def test_a_network_of_one_size_alone():
    class Fixed(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) + torch.zeros(1, 2, 40, 40)

    model = segmenter(Fixed(3, 2, 1), image_size=40)
    assert model.fit(IMAGES, None, MASKS).predict_masks(IMAGES).shape == (8, H, W)
    with pytest.raises(ValueError, match="set image_size to that"):
        segmenter(Fixed(3, 2, 1)).check_params()
    with pytest.raises(
        ValueError, match="crop must be None with Fixed, which takes one size alone"
    ):
        segmenter(Fixed(3, 2, 1), crop={"size": 40}).check_params()


def test_a_network_that_was_mended_in_place_is_looked_at_again():
    net = small(n_mask_classes=3)
    model = segmenter(net)
    with pytest.raises(ValueError, match="Set n_mask_classes=3, or give the network 2 channels"):
        model.check_params()
    net.up, net.beside = nn.ConvTranspose2d(8, 2, 2, stride=2), nn.Conv2d(3, 2, 1)
    model.check_params()


def test_a_single_image_of_which_batchnorm_learns_nothing():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
            self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4))

        def forward(self, x):
            maps = self.maps(x)
            return self.last(maps * self.gate(maps))

    model = segmenter(Gated(), batch_size=1, weak_batch_size=0)
    with pytest.raises(ValueError, match="batch_size must be such that no batch holds a single"):
        model.fit(IMAGES, None, MASKS)
    assert not hasattr(model, "classes_")
    model.set_params(batch_size=2).fit(IMAGES[:1], None, MASKS[:1])
    assert model.predict_masks(IMAGES[:1]).shape == (1, H, W)


@pytest.mark.slow
def test_compiled():
    model = segmenter(compile=True, compile__backend="eager").fit(IMAGES, None, MASKS)
    plain = segmenter().fit(IMAGES, None, MASKS)
    np.testing.assert_allclose(model.transform(IMAGES), plain.transform(IMAGES), atol=1e-5)


def test_strategies_that_need_class_maps_or_gradients_say_so():
    model = segmenter(small(n_classes=2)).fit(IMAGES, LABELS, MASKS)
    told = {part: has_part(model, part) for part in ("labels", "cams", "draws", "gradients")}
    assert told == {"labels": True, "cams": False, "draws": True, "gradients": False}
    for strategy, needs in (
        (cam_disagreement_sampling, "class maps"),
        (badge_sampling, "gradient"),
    ):
        with pytest.raises(TypeError, match=needs):
            strategy(model, IMAGES, n_instances=2)
    badge_sampling(model, IMAGES, n_instances=2, target="label")


def test_going_on():
    model = segmenter().partial_fit(IMAGES, None, masks=MASKS)
    first = model.predict_mask_proba(IMAGES)
    steps = model.n_steps_
    assert not np.array_equal(
        model.partial_fit(IMAGES, None, masks=MASKS).predict_mask_proba(IMAGES), first
    )
    assert model.n_steps_ == 2 * steps
    model.set_params(network=small(seed=1))
    np.testing.assert_array_equal(  # the fitted one stays until a fit starts anew
        model.predict_mask_proba(IMAGES).shape, first.shape
    )
    with pytest.raises(ValueError, match="network.module must be as when the network was built"):
        model.partial_fit(IMAGES, None, masks=MASKS)


# -- in scikit-learn's hands, and in files ---------------------------------------------------------


def test_a_grid_of_networks():
    grid = {"network": [small(), Network(pooling=None), masks_alone], "max_epochs": [0]}
    model = JointCAMSegmenter("efficientnet-lite0", random_state=0, device="cpu", image_size=16)
    search = GridSearchCV(
        model, grid, cv=2, scoring=lambda m, X, y: m.score_masks(X, [MASKS[0]] * len(X))
    )
    search.fit(IMAGES[:4], LABELS[:4], masks=MASKS[:4])
    assert search.best_params_["network"] in grid["network"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_cross_validation_and_a_pipeline():
    model = segmenter(small(n_classes=2))
    scores = cross_validate(model, IMAGES, LABELS, cv=2, params={"masks": MASKS})
    assert np.isfinite(scores["test_score"]).all()
    same = FunctionTransformer(lambda X: X)
    pipe = Pipeline([("same", same), ("model", model)]).fit(IMAGES, LABELS, model__masks=MASKS)
    assert pipe.predict(IMAGES).shape == (8,)


@pytest.mark.parametrize("n_classes", [None, 2])
@pytest.mark.parametrize("kind", ["module", "function", "options"])
def test_saved_and_loaded_with_the_network_given_again(kind, n_classes, tmp_path):
    network = {
        "module": small(n_classes=n_classes),
        "function": functools.partial(Small, n_classes=n_classes),
        "options": WholeNetwork(
            small(n_classes=n_classes),
            embedding_layer="up",
            encoder="encoder",
            normalize=(0.4, 0.2),
        ),
    }[kind]
    model = segmenter(network).fit(IMAGES, LABELS, MASKS)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"its own network, .* load\(path, network=...\) with"):
        JointCAMSegmenter.load(tmp_path / "model")
    given = network.module if kind == "options" else network
    again = JointCAMSegmenter.load(tmp_path / "model", network=given)
    np.testing.assert_array_equal(
        again.predict_mask_proba(IMAGES), model.predict_mask_proba(IMAGES)
    )
    np.testing.assert_array_equal(again.transform(IMAGES), model.transform(IMAGES))
    if kind == "options":
        assert again.network == network
    again.save(tmp_path / "again")
    with pytest.raises(ValueError, match="weights of its network"):
        JointCAMSegmenter.load(tmp_path / "model", network=WholeNetwork(nn.Conv2d(3, 2, 1)))


def test_a_layer_under_two_names_is_saved_and_loaded(tmp_path):
    class Tied(Small):
        def __init__(self):
            super().__init__()
            self.again = self.encoder

    model = segmenter(Tied, schedule=Schedule(ema=0.5)).fit(IMAGES, None, MASKS)
    model.save(tmp_path / "model")
    again = JointCAMSegmenter.load(tmp_path / "model", network=Tied)
    assert again.module_.module.again is again.module_.module.encoder
    np.testing.assert_array_equal(
        again.predict_mask_proba(IMAGES), model.predict_mask_proba(IMAGES)
    )


def test_a_fit_may_start_from_a_saved_one(tmp_path):
    model = segmenter().fit(IMAGES, None, MASKS)
    model.save(tmp_path / "model")
    after = segmenter(masks_alone, max_epochs=0, schedule=Schedule(start_from=tmp_path / "model"))
    after.fit(IMAGES, None, MASKS)
    assert same_weights(after.module_, model.module_)


def test_pickled():
    model = segmenter().fit(IMAGES, None, MASKS)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(
        again.predict_mask_proba(IMAGES), model.predict_mask_proba(IMAGES)
    )
    np.testing.assert_array_equal(again.transform(IMAGES), model.transform(IMAGES))
    again.partial_fit(IMAGES, None, masks=MASKS)


# -- in the loop -----------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [entropy_sampling, core_set_sampling, bald_sampling])
@pytest.mark.parametrize("n_classes", [None, 2])
def test_in_a_learner(strategy, n_classes, tmp_path):
    network = small(n_classes=n_classes)
    learner = ActiveLearner(
        segmenter(network), query_strategy=strategy, images=IMAGES, labels=LABELS, random_state=0,
        augmenter=PseudoLabelAugmenter(weight=0.1),
    )  # fmt: skip
    learner.annotate([0, 1], MASKS[:2])
    ids, _ = learner.query(n_instances=2)
    learner.annotate(ids, MASKS[ids])
    learner.save(tmp_path / "learner")
    load = functools.partial(JointCAMSegmenter.load, network=network)
    again = ActiveLearner.load(tmp_path / "learner", estimator=load)
    np.testing.assert_array_equal(again.query(n_instances=2)[0], learner.query(n_instances=2)[0])


def test_in_a_committee():
    model = DeepEnsemble(segmenter(masks_alone), 2, random_state=0).fit(IMAGES, None, MASKS)
    assert model.predict_masks(IMAGES).shape == (8, H, W)
    both = DeepEnsemble(segmenter(functools.partial(Small, n_classes=2)), 2, random_state=0)
    joint = both.fit(IMAGES, LABELS, MASKS).predict_joint(IMAGES)
    assert "cams" not in joint and joint.proba.shape == (8, 2)
