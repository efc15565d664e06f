"""`Augmentation(copy_paste=, mixup=)` in a segmenter: repeated, searched, saved, in learners."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from two_rounds import after_two_rounds

from alseg import (
    ActiveLearner,
    Augmentation,
    JointCAMSegmenter,
    PseudoLabelAugmenter,
    WholeNetwork,
)
from alseg.datasets import make_glands
from alseg.segmenter import with_fields
from alseg.strategies import random_sampling

GLANDS = make_glands(8, image_size=(24, 32), random_state=0)
SOME = [mask if i < 4 else None for i, mask in enumerate(GLANDS.masks)]
BOTH = {"augmentation__copy_paste": 0.5, "augmentation__mixup": 0.4}


def make(**options):
    defaults = {"encoder": "tiny", "max_epochs": 1, "random_state": 0, "device": "cpu"}
    return JointCAMSegmenter(**with_fields({**defaults, **options}))


def fitted(labels=GLANDS.labels, masks=SOME, mask_weight=None, **options):
    return make(**options).fit(GLANDS.images, labels, masks, mask_weight)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.module_.parameters()])


@cache
def plain(way):
    """The weights of a fit that mixes nothing."""
    return weights(fitted(**WAYS[way]))


WAYS = {
    "joint": {},
    "consistency": {"consistency": 1.0},
    "two-phase": {"schedule__phases": "two-phase"},
    "passes": {"schedule__sampling": "passes"},
    "crop": {"crop": {"size": 16}},
    "plain loss": {"criterion": torch.nn.CrossEntropyLoss(ignore_index=-1)},
    "no head": {"network__pooling": None},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", BOTH)
def test_they_act_and_repeat_bit_for_bit(way, name):
    options = {**WAYS[way], name: BOTH[name]}
    model = fitted(**options)
    assert torch.equal(weights(model), weights(clone(model).fit(*_data())))
    assert not torch.equal(weights(model), plain(way))
    assert weights(model).isfinite().all()
    off = fitted(**{**WAYS[way], name: 0.0})
    assert torch.equal(weights(off), plain(way))


def _data():
    return GLANDS.images, GLANDS.labels, SOME


@pytest.mark.parametrize("name", BOTH)
def test_images_with_neither_mask_nor_label_are_used(name):
    labels = [label if i < 4 else None for i, label in enumerate(GLANDS.labels)]
    for known in (labels, None):
        annotated = None if known is None else known[:4]
        few = make(**{name: 0.9}).fit(GLANDS.images[:4], annotated, SOME[:4])
        assert not torch.equal(weights(few), weights(fitted(known, **{name: 0.9})))
        assert fitted(known).predict_masks(GLANDS.images).shape == (8, 24, 32)
    # As always they are not, so that a fit is that of the others.
    few = make(max_epochs=2).fit(GLANDS.images[:4], None, SOME[:4])
    assert torch.equal(weights(few), weights(fitted(None, max_epochs=2, steps_per_epoch=1)))


def test_the_loss_of_a_step_is_the_mean_of_two():
    from skorch.callbacks import Callback

    class Look(Callback):
        def on_batch_end(self, net, batch=None, loss=None, y_pred=None, training=False, **kwargs):
            x, target = batch
            mixed = target["mixed"]
            own = {name: target[name] for name in ("labels", "masks", "mask_weight")}
            one, two = (net.criterion_(y_pred, known) for known in (own, mixed["other"]))
            expected = mixed["share"] * one + (1 - mixed["share"]) * two
            assert torch.allclose(loss, expected, rtol=1e-5) and len(y_pred["mask_logits"]) == 8
            seen.append(mixed["share"])

    seen = []
    fitted(
        augmentation__mixup=0.4, max_epochs=2, callbacks=[Look()], batch_size=4, weak_batch_size=4
    )
    assert len(seen) == len(set(seen)) == 4 and all(0 <= share <= 1 for share in seen)


def test_three_classes_weights_and_a_loss_of_pixels():
    masks = [None if mask is None else mask + (mask > 0) * (i % 2) for i, mask in enumerate(SOME)]
    weight = [1.0, 0.5, 1.0, 0.1, 1.0, 0.0, 1.0, 1.0]
    pixels = torch.nn.CrossEntropyLoss(ignore_index=-1, reduction="none")
    for options in ({}, {"criterion": pixels}):
        model = fitted(masks=masks, mask_weight=weight, n_mask_classes=3, **BOTH, **options)
        assert weights(model).isfinite().all()
        assert model.predict_mask_proba(GLANDS.images).shape == (8, 3, 24, 32)


def test_labels_of_several_classes_an_image():
    labels = np.array([[1, 0, 1], [0, 1, 1], [-1, 0, 0], [1, 1, 0]] * 2)
    model, again = (fitted(labels, **BOTH) for _ in range(2))
    assert torch.equal(weights(model), weights(again)) and weights(model).isfinite().all()
    assert model.predict(GLANDS.images).shape == (8, 3)


def test_processes_that_share_a_fit_are_refused(monkeypatch):
    from sklearn.utils import Bunch

    from alseg.segmenter import fits

    group = Bunch(num_processes=2, process_index=0, device="cpu")
    monkeypatch.setattr(fits, "sharing", lambda kind: group)
    for name, value in BOTH.items():
        words = f"execution.processes must be None with {name.replace('__', '.')}"
        with pytest.raises(ValueError, match=words):
            fitted(execution__processes="accelerate", **{name: value})


def test_a_whole_network_of_ones_own():
    module = torch.nn.Conv2d(3, 2, 3, padding=1)
    model = JointCAMSegmenter(
        **with_fields({"network": WholeNetwork(module), "max_epochs": 1, "random_state": 0, **BOTH})
    )
    assert weights(model.fit(GLANDS.images, None, SOME)).isfinite().all()


def test_they_are_searched_set_and_saved(tmp_path):
    grid = {"augmentation__copy_paste": [0.0, 0.5], "augmentation__mixup": [0.0, 0.4]}
    search = GridSearchCV(make(max_epochs=1), grid, cv=2, error_score="raise")
    search.fit(GLANDS.images, GLANDS.labels, masks=GLANDS.masks)
    assert len(search.cv_results_["params"]) == 4
    model = fitted(**BOTH)
    model.save(tmp_path / "model")
    loaded = JointCAMSegmenter.load(tmp_path / "model")
    assert loaded.augmentation == Augmentation(copy_paste=0.5, mixup=0.4) == model.augmentation
    proba = model.predict_mask_proba(GLANDS.images)
    assert np.array_equal(loaded.predict_mask_proba(GLANDS.images), proba)
    for one in (model, loaded):
        one.fit(*_data())
    assert torch.equal(weights(model), weights(loaded))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"augmentation__copy_paste": 1.5}, ValueError, "augmentation.copy_paste must be >= 0 and"),
        ({"augmentation__copy_paste": True}, TypeError, "augmentation.copy_paste must be a number"),
        ({"augmentation__mixup": -0.1}, ValueError, "augmentation.mixup must be >= 0, got -0.1"),
        ({"augmentation__mixup": np.inf}, ValueError, "augmentation.mixup must be >= 0, got inf"),
        ({"augmentation__mixup": 0.2, "feature_cache": "."}, ValueError, "0 with feature_cache"),
        ({"augmentation__copy_paste": 1, "feature_cache": "."}, ValueError, "0 with feature_cache"),
    ],
)
def test_what_cannot_be_is_refused_before_training(options, error, words):
    model = make(**options, schedule__encoder_lr_scale=0)
    with pytest.raises(error, match=words):
        model.fit(*_data())
    assert not model.initialized_


def test_fits_in_threads_are_those_one_after_the_other():
    def fit(seed):
        return weights(fitted(random_state=seed, **BOTH))

    alone = [fit(seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(fit, range(3)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together))


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_learner_with_pseudo_masks(warm_start):
    def run():
        learner = ActiveLearner(
            make(max_epochs=1, **BOTH),
            query_strategy=random_sampling,
            augmenter=PseudoLabelAugmenter("all", weight=0.3),
            images=GLANDS.images,
            labels=GLANDS.labels,
            warm_start=warm_start,
            random_state=0,
        )
        return after_two_rounds(learner, GLANDS.masks).predict_mask_proba(GLANDS.images)

    assert np.array_equal(run(), run())
