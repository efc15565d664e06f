"""Soft masks through fits, learners and files: one-hot they are classes."""

import functools

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.ensemble import RandomForestClassifier

from alseg import ActiveLearner, Augmentation, JointCAMSegmenter, PixelClassifier, Schedule
from alseg.datasets import make_glands
from alseg.images import soft_mask
from alseg.labels import MISSING
from alseg.pseudo import PseudoLabelAugmenter
from alseg.segmenter import ValidationSet

GLANDS = make_glands(8, image_size=(32, 48), random_state=0)
TINY = functools.partial(
    JointCAMSegmenter, encoder="tiny", encoder_weights=None, max_epochs=2, random_state=0
)
MASKS = list(GLANDS.masks)
SOFT = [soft_mask([mask], 2) for mask in MASKS]


def proba(masks, weight=None, **options):
    model = TINY(**options).fit(GLANDS.images, GLANDS.labels, masks, weight)
    return model.predict_mask_proba(GLANDS.images)


def blurred():
    """A teacher's probabilities: half of the truth, half 0.3."""
    return [np.stack([1 - p, p]) for p in (0.5 * mask + 0.15 for mask in MASKS)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"crop": {"size": 24}},
        {"schedule": Schedule(sampling="passes")},
        {"schedule": Schedule(phases="two-phase")},
        {"augmentation": Augmentation(mixup=0.4)},
        {"consistency": 1.0},
    ],
)
def test_one_hot_masks_are_masks_of_classes(options):
    mixed = [SOFT[0], MASKS[1], None, *SOFT[3:]]
    plain = [MASKS[0], MASKS[1], None, *MASKS[3:]]
    assert_array_equal(proba(mixed, **options), proba(plain, **options))


def test_one_array_of_all_and_the_same_seed_twice():
    found = proba(np.stack(SOFT))
    assert_array_equal(found, proba(SOFT))
    assert_array_equal(found, proba(MASKS))
    assert_array_equal(proba(blurred()), proba(blurred()))


def test_what_is_not_certain_is_learned_as_such():
    found, certain = (proba(masks, max_epochs=10)[:, 1] for masks in (blurred(), MASKS))
    assert found.max() < certain.max()
    assert abs(found.mean() - np.mean([m[1].mean() for m in blurred()])) < 0.1


def test_pixels_of_nan_and_weights_of_nothing_are_not_learned():
    left = [np.where(np.arange(48) < 24, mask, MISSING) for mask in MASKS]
    holes = [np.where(np.arange(48) < 24, mask, np.nan) for mask in SOFT]
    assert_array_equal(proba(holes), proba(left))
    weight = np.linspace(0, 1, 8)
    assert_array_equal(proba(SOFT, weight), proba(MASKS, weight))
    everywhere_else = [(np.arange(48) < 24) * np.ones((32, 1))] * 8
    assert_array_equal(proba(SOFT, everywhere_else), proba(MASKS, everywhere_else))


def test_a_fit_goes_on_from_classes_to_probabilities():
    model = TINY(warm_start=True).fit(GLANDS.images, GLANDS.labels, MASKS)
    other = TINY(warm_start=True).fit(GLANDS.images, GLANDS.labels, SOFT)
    for one, masks in ((model, SOFT), (other, MASKS)):
        one.partial_fit(GLANDS.images, GLANDS.labels, masks=masks)
    assert_array_equal(
        model.predict_mask_proba(GLANDS.images), other.predict_mask_proba(GLANDS.images)
    )


def test_scores_threshold_and_validation_take_the_likeliest_class():
    options = {"validation": 0.4, "threshold": "validation", "max_epochs": 2}
    model, plain = (
        TINY(**options).fit(GLANDS.images, GLANDS.labels, masks) for masks in (SOFT, MASKS)
    )
    assert model.threshold_ == plain.threshold_
    assert model.history[:, "valid_loss"] == plain.history[:, "valid_loss"]
    assert model.score_masks(GLANDS.images, blurred()) == model.score_masks(
        GLANDS.images, [(mask[1] > 0.5).astype(int) for mask in blurred()]
    )
    part = [ValidationSet(GLANDS.images, GLANDS.labels, masks) for masks in (SOFT, MASKS)]
    assert_array_equal(*(proba(SOFT, validation=one, threshold="validation") for one in part))
    weight = [1.0] * 7 + [0.5]
    TINY(validation=0.4).fit(GLANDS.images, GLANDS.labels, SOFT, weight)


def test_a_pixel_classifier_takes_the_likeliest_class():
    forest = PixelClassifier(RandomForestClassifier(5, random_state=0), random_state=0)
    images, y = GLANDS.images[:3], GLANDS.labels[:3]
    found, expected = (
        forest.fit(images, y, masks[:3]).predict_masks(images) for masks in (SOFT, MASKS)
    )
    assert_array_equal(found, expected)


def as_it_is(images, masks):
    return images, masks


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"criterion": torch.nn.CrossEntropyLoss}, "with a criterion that is given logits"),
        ({"augmentation": Augmentation(hook=as_it_is)}, "with augmentation.hook"),
        ({"augmentation": Augmentation(copy_paste=0.5)}, "with augmentation.copy_paste"),
        ({"n_mask_classes": 3}, r"masks\[0\] must be of 3 classes"),
    ],
)
def test_who_cannot_take_them_says_so_before_training(options, said):
    model = TINY(**options)
    with pytest.raises(ValueError, match=said):
        model.fit(GLANDS.images, GLANDS.labels, SOFT)
    assert not hasattr(model, "classes_")


# ---- learners ----------------------------------------------------------------------------------


def learner_of(masks, **options):
    return ActiveLearner(
        TINY(), images=GLANDS.images, labels=GLANDS.labels, masks=masks, random_state=0, **options
    )


def test_a_learner_asks_and_learns_as_with_classes():
    soft, plain = learner_of([*SOFT[:3], *[None] * 5]), learner_of([*MASKS[:3], *[None] * 5])
    for _ in range(2):
        ids, _ = soft.query(n_instances=2)
        assert_array_equal(ids, plain.query(n_instances=2)[0])
        soft.annotate(ids, [SOFT[i] for i in ids])
        plain.annotate(ids, [MASKS[i] for i in ids])
    assert_array_equal(soft.annotated_ids, plain.annotated_ids)
    assert_array_equal(
        soft.estimator.predict_mask_proba(GLANDS.images),
        plain.estimator.predict_mask_proba(GLANDS.images),
    )


def test_masks_are_merged_pixel_by_pixel():
    left, right = np.arange(48) < 24, np.arange(48) >= 24
    learner = learner_of([np.where(left, MASKS[0], MISSING), *[None] * 7])
    teacher = np.full((2, 32, 48), 0.5, dtype=np.float32)
    learner.annotate([0], [np.where(right, teacher, np.nan)], fit=False)
    known = learner.masks[0]
    assert known.shape == (2, 32, 48) and known.dtype == np.float32
    assert_array_equal(known[..., left], SOFT[0][..., left])
    assert (known[..., right] == 0.5).all() and 0 not in learner.pool_ids
    learner.annotate([0], [np.where(right, MASKS[0], MISSING)], fit=False)  # classes over both
    assert_array_equal(learner.masks[0], SOFT[0])
    teacher[:] = 0  # what callers do to their array later changes nothing
    assert_array_equal(learner.masks[0], SOFT[0])
    with pytest.raises(ValueError, match=r"masks\[0\] \(sample id 1\) must be of 2 classes"):
        learner.annotate([1], [np.full((4, 32, 48), 0.25)])
    with pytest.raises(ValueError, match="must be annotated in at least one pixel"):
        learner.annotate([1], [np.full((2, 32, 48), np.nan)])


def test_strategies_see_classes():
    seen = []

    def first(learner, X_pool, n_instances=1, random_state=None, masks_pool=None):
        seen.extend(masks_pool)
        return np.arange(n_instances)

    half = np.where(np.arange(48) < 24, SOFT[0], np.nan)
    learner_of([half, SOFT[1], *[None] * 6], query_strategy=first).query()
    assert_array_equal(seen[0], np.where(np.arange(48) < 24, MASKS[0], MISSING))
    assert all(mask is None for mask in seen[1:])


def test_a_saved_learner_has_them(tmp_path):
    learner = learner_of([blurred()[0].astype(np.float64), MASKS[1], *[None] * 6]).fit()
    learner.save(tmp_path / "learner")
    again = ActiveLearner.load(tmp_path / "learner")
    assert again.masks[0].dtype == np.float32 and again.masks[1].ndim == 2
    assert_array_equal(again.masks[0], learner.masks[0])
    ids, _ = again.query(n_instances=2)
    assert_array_equal(ids, learner.query(n_instances=2)[0])


def test_an_augmenter_adds_to_them():
    augmenter = PseudoLabelAugmenter(weight=0.1)
    soft = learner_of([*SOFT[:3], *[None] * 5], augmenter=augmenter).fit()
    plain = learner_of([*MASKS[:3], *[None] * 5], augmenter=augmenter).fit()
    assert_array_equal(
        soft.estimator.predict_mask_proba(GLANDS.images),
        plain.estimator.predict_mask_proba(GLANDS.images),
    )


def test_more_images_and_a_source_bring_theirs():
    learner = learner_of([*SOFT[:3], *[None] * 5], source=(GLANDS.images, GLANDS.labels, SOFT))
    learner.extend(GLANDS.images[:2], GLANDS.labels[:2], masks=[SOFT[0], None])
    assert learner.masks[8].shape == (2, 32, 48) and learner.masks[9] is None
    plain = learner_of([*MASKS[:3], *[None] * 5], source=(GLANDS.images, GLANDS.labels, MASKS))
    plain.extend(GLANDS.images[:2], GLANDS.labels[:2], masks=[MASKS[0], None])
    learner.fit(), plain.fit()
    assert_array_equal(
        learner.estimator.predict_mask_proba(GLANDS.images),
        plain.estimator.predict_mask_proba(GLANDS.images),
    )
