"""A batch of one value a channel under BatchNorm is refused before training, in every phase."""

import numpy as np
import pytest
import torch

from alseg import JointCAMSegmenter
from alseg.network import ENCODERS, build_encoder
from alseg.segmenter import with_fields

RULE = "batch_size must be such that no batch holds a single image"


def squares(n=4, side=8):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    return images, np.arange(n) % 2, rng.integers(0, 2, (n, side, side))


def make(encoder="tiny", **options):
    return JointCAMSegmenter(
        **with_fields(
            {
                "encoder": encoder,
                "encoder_weights": None,
                "image_size": (1, 1),
                "max_epochs": 1,
                "steps_per_epoch": 1,
                "batch_size": 1,
                "weak_batch_size": 0,
                "random_state": 0,
                "device": "cpu",
                **options,
            }
        )
    )


def refused(model, images, labels, masks=None, what=RULE):
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=what):
        model.fit(images, labels, masks)
    assert not model.initialized_ and not hasattr(model, "classes_")  # as it was
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_at_its_smallest_sizes(name):
    images, labels, masks = squares()
    refused(make(name), images, labels, masks)
    model = make(name, batch_size=2).fit(images, labels, masks)
    assert model.n_steps_ == 1 and np.isfinite(model.history[-1, "train_loss"])
    assert np.isfinite(model.predict_mask_proba(images)).all()


def test_the_deepest_map_decides():
    images, labels, masks = squares()
    stride = build_encoder("tiny").strides[-1]
    refused(make(image_size=(stride, stride)), images, labels, masks)
    assert make(image_size=(1, stride + 1)).fit(images, labels, masks).n_steps_ == 1


@pytest.mark.parametrize(
    "options",
    [
        {"schedule__phases": "two-phase"},
        {"schedule__phases": "two-phase", "schedule__class_phase": {"max_epochs": 0}},
        {"schedule__encoder_lr_scale": 0.0},
        {"network__pooling": None},
        {"image_size": None, "crop": {"size": 8}},
        {"weak_batch_size": 3},
        {
            "schedule__sampling": "passes",
            "steps_per_epoch": None,
            "batch_size": 3,
            "schedule__drop_tiny_last_batch": False,
        },
        {"schedule__sampling": "passes", "batch_size": 8, "n_images": 1},
        {"execution__channels_last": False, "execution__amp": True},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_phase_and_way_of_making_batches(options):
    options = dict(options)
    images, labels, masks = squares(options.pop("n_images", 4))
    refused(make(**options), images, labels, masks)


def test_an_encoder_that_sees_two_images_and_a_decoder_that_sees_one():
    images, labels, masks = squares()
    partly = [masks[0], masks[1], None, None]
    refused(make(weak_batch_size=1), images, labels, partly, "a single image with a mask of 1 x 1")
    mixed = make(schedule__sampling="passes", batch_size=4)
    refused(
        mixed, images, labels, partly, "single image with a mask .*, or Schedule.sampling='streams'"
    )
    make(schedule__sampling="passes", batch_size=4).fit(images, labels, masks)
    make(batch_size=2, weak_batch_size=1).fit(images, labels, partly)


@pytest.mark.parametrize(
    "options",
    [
        {
            "schedule__sampling": "passes",
            "steps_per_epoch": None,
            "batch_size": 3,
        },  # the last one is left out
        {"module__decoder_channels": (8, 8), "batch_size": 2},
        {
            "schedule__sampling": "passes",
            "steps_per_epoch": 1,
            "batch_size": 3,
            "schedule__drop_tiny_last_batch": False,
        },
    ],
    ids=["dropped", "two", "not-reached"],
)
def test_what_can_be_trained_is_not_refused(options):
    images, labels, masks = squares()
    assert make(**options).fit(images, labels, masks).n_steps_ >= 1


def test_the_second_of_two_phases_is_refused_before_the_first():
    images, labels, masks = squares()
    seen = []

    class Watched(JointCAMSegmenter):
        def train_step(self, batch, **fit_params):
            seen.append(self._run.phase.name)
            return super().train_step(batch, **fit_params)

    partly = [masks[0], None, None, None]
    model = Watched(
        **{
            **make(
                schedule__phases="two-phase", schedule__sampling="passes", batch_size=4
            ).get_params(deep=False)
        }
    )
    refused(model, images, labels, partly, "single image")
    assert seen == []


def test_a_refused_fit_leaves_a_fitted_model_as_it_was():
    images, labels, masks = squares()
    model = make(batch_size=2).fit(images, labels, masks)
    proba, history = model.predict_mask_proba(images), list(model.history)
    for fit in (model.fit, lambda *args: model.partial_fit(args[0], args[1], masks=args[2])):
        model.set_params(batch_size=1)
        with pytest.raises(ValueError, match=RULE):
            fit(images, labels, masks)
        assert np.array_equal(model.predict_mask_proba(images), proba)
        assert list(model.history) == history and model.n_steps_ == 1
        assert not any(m.training for m in model.module_.modules())
        model.set_params(batch_size=2)
    model.partial_fit(images, labels, masks=masks)
    assert model.n_steps_ == 2


def test_a_network_without_batchnorm_trains_on_anything():
    images, labels, masks = squares(side=32)
    model = JointCAMSegmenter.from_preset(
        "gorriz2017-ceal",
        image_size=(16, 16),
        batch_size=1,
        max_epochs=1,
        random_state=0,
        steps_per_epoch=1,
        device="cpu",
        module__channels=(4, 4, 4, 4, 4),
    )
    assert model.fit(images, labels, masks).n_steps_ == 1
