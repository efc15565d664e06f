"""`Augmentation(hook=...)` in a segmenter: cloned, searched, saved, gone on with, in learners."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from two_rounds import after_two_rounds

from alseg import ActiveLearner, Augmentation, JointCAMSegmenter, PseudoLabelAugmenter
from alseg.datasets import make_glands
from alseg.segmenter import with_fields
from alseg.strategies import random_sampling
from alseg.training import from_kornia

GLANDS = make_glands(8, image_size=(24, 32), random_state=0)
SOME = [mask if i < 5 else None for i, mask in enumerate(GLANDS.masks)]


def noise(images, masks, generator, strength=0.1):
    """Add noise to the images; the masks stay."""
    return images + strength * torch.randn(images.shape, generator=generator), masks


def make(**options):
    defaults = {"encoder": "tiny", "max_epochs": 1, "random_state": 0, "device": "cpu"}
    return JointCAMSegmenter(**with_fields({**defaults, **options}))


def fitted(**options):
    return make(**options).fit(GLANDS.images, GLANDS.labels, SOME)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.module_.parameters()])


WAYS = {
    "joint": {},
    "consistency": {"consistency": 1.0},
    "two-phase": {"schedule__phases": "two-phase"},
    "passes": {"schedule__sampling": "passes"},
    "crop": {"crop": {"size": 16}},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_hook_acts_and_repeats_bit_for_bit(way):
    model = fitted(augmentation__hook=noise, **WAYS[way])
    again = clone(model).fit(GLANDS.images, GLANDS.labels, SOME)
    assert torch.equal(weights(model), weights(again))
    plain = weights(fitted(**WAYS[way]))
    assert not torch.equal(weights(model), plain)
    idle = fitted(augmentation__hook=lambda images, masks: (images, masks), **WAYS[way])
    assert torch.equal(weights(idle), plain)


def test_images_come_before_normalisation_and_masks_with_what_is_missing():
    seen = []

    def look(images, masks, labels, mask_weight):
        seen.append((images.min().item(), images.max().item(), masks.unique().tolist(), labels))
        assert images.shape == (6, 3, 24, 32) and masks.shape == (6, 24, 32)
        assert masks.dtype == torch.int64 and mask_weight.shape == (6, 1, 1)
        return images, masks, labels, mask_weight

    fitted(augmentation=Augmentation(flips="none", affine=None, jitter=0.0, hook=look))
    low, high, values, labels = map(list, zip(*seen))
    assert min(low) >= 0 and 0.5 < max(high) <= 1 and values == [[-1, 0, 1]] * 2
    assert all(set(some.tolist()) <= {0, 1} for some in labels)


def test_it_is_searched_and_set():
    grid = {"augmentation__hook": [None, noise, partial(noise, strength=0.5)]}
    search = GridSearchCV(make(max_epochs=1), grid, cv=2, error_score="raise")
    assert (
        len(search.fit(GLANDS.images, GLANDS.labels, masks=GLANDS.masks).cv_results_["params"]) == 3
    )
    assert make().set_params(augmentation__hook=noise).augmentation.hook is noise


def test_what_cannot_be_is_refused_before_training(tmp_path):
    for options, error, words in [
        ({"augmentation__hook": "flip"}, TypeError, "augmentation.hook must be None or a function"),
        (
            {
                "augmentation__hook": noise,
                "feature_cache": tmp_path,
                "schedule__encoder_lr_scale": 0,
            },
            ValueError,
            "augmentation.hook must be None with feature_cache",
        ),
    ]:
        model = make(**options)
        with pytest.raises(error, match=words):
            model.fit(GLANDS.images, GLANDS.labels, SOME)
        assert not model.initialized_
    with pytest.raises(ValueError, match="images of augmentation.hook must be a tensor of"):
        fitted(augmentation__hook=lambda images, masks: (images[:1], masks))


def test_it_is_code_that_no_file_holds(tmp_path):
    model = fitted(augmentation__hook=noise)
    model.save(tmp_path / "model")
    with pytest.warns(UserWarning, match=r"at their defaults: \['augmentation__hook'\]"):
        loaded = JointCAMSegmenter.load(tmp_path / "model")
    assert loaded.augmentation == Augmentation()
    given = JointCAMSegmenter.load(tmp_path / "model", augmentation__hook=noise)
    assert given.augmentation == model.augmentation
    assert pickle.loads(pickle.dumps(model)).augmentation.hook is noise


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_learner_with_pseudo_masks_and_kornia(warm_start):
    kornia = pytest.importorskip("kornia.augmentation")
    hook = from_kornia(kornia.RandomHorizontalFlip(), kornia.ColorJiggle(0.1, 0.1))
    ours = Augmentation(flips="none", affine=None, jitter=0.0, hook=hook)

    def run():
        learner = ActiveLearner(
            make(max_epochs=1, augmentation=ours),
            query_strategy=random_sampling,
            augmenter=PseudoLabelAugmenter("all", weight=0.3),
            images=GLANDS.images,
            labels=GLANDS.labels,
            warm_start=warm_start,
            random_state=0,
        )
        return after_two_rounds(learner, GLANDS.masks).predict_mask_proba(GLANDS.images)

    assert np.array_equal(run(), run())
