"""Objects through fits, predictions, files and strategies; what does not go with them."""

import functools
import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_predict
from sklearn.utils import Bunch

from alseg import (
    ActiveLearner,
    Augmentation,
    Consistency,
    JointCAMSegmenter,
    Objects,
    PseudoLabelAugmenter,
    Schedule,
)
from alseg.datasets import make_discs
from alseg.labels import MISSING
from alseg.learner import DeepEnsemble
from alseg.metrics import object_f1
from alseg.network import PlainUNet
from alseg.segmenter import ValidationSet, separate_objects, separation
from alseg.strategies import entropy_score
from alseg.testing import ToySegmenter
from alseg.training import DEEPEST, object_targets

DISCS = make_discs(8, (32, 48), n_discs=5, random_state=0)
IDS = Objects("border", mask_kind="instances", border_width=1.0)
TINY = functools.partial(
    JointCAMSegmenter, encoder="tiny", encoder_weights=None, max_epochs=2, random_state=0
)


def fitted(masks=None, weight=None, **options):
    masks = DISCS.masks if masks is None else masks
    return TINY(**options).fit(DISCS.images, DISCS.labels, masks, weight)


# -- apart, from what is inside --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["border", "distance"])
def test_exact_maps_give_exact_objects(kind):
    for ids in make_discs(4, random_state=3).instances:
        target, _ = object_targets(ids.astype(np.int32), kind, 2)
        inside = (ids > 0) - target if kind == "border" else DEEPEST / 2 * target
        found = separate_objects(ids > 0, inside)
        assert found.dtype == np.int32 and found.max() == ids.max()
        assert object_f1(found, ids) == 1.0
        assert (found > 0).sum() == (ids > 0).sum()
        assert_array_equal(separate_objects(ids > 0, inside, seam=0.4), found)


def test_small_ones_holes_and_parts_without_a_marker():
    foreground = np.zeros((9, 20), bool)
    foreground[1:8, 1:8] = foreground[1:3, 10:12] = foreground[4:8, 10:18] = True
    foreground[4, 4] = False  # a hole
    inside = np.where(foreground, 0.9, 0.0)
    inside[4:8, 10:18] = 0.2  # sure of no interior
    found = separate_objects(foreground, inside, min_size=5)
    assert found[4, 4] == found[1, 1] != 0
    assert (found[1:3, 10:12] == 0).all()
    assert len(np.unique(found[4:8, 10:18])) == 1 and found[5, 12] not in (0, found[1, 1])
    assert separate_objects(foreground, inside, fill_holes=False)[4, 4] == 0
    inside[4, 5:7] = inside[4, 1:4] = inside[5:8, 4] = inside[1:4, 4] = 0.1
    apart = separate_objects(foreground, inside)
    assert separate_objects(foreground, inside, min_inside=49).max() == 3 < apart.max()
    assert separate_objects(np.zeros((4, 4), bool), np.ones((4, 4))).max() == 0
    with pytest.raises(ValueError, match="inside must be of shape"):
        separate_objects(foreground, inside[1:])


def test_seams_that_look_like_inside_part_nothing():
    #         a a | b b | c c, and d below b: a seam with a, b and c of one pixel each
    ids = np.array([[1, 1, 2, 2, 3, 3], [0, 0, 4, 0, 0, 0]])
    inside = np.array([[0.9, 0.5, 0.5, 0.9, 0.3, 0.9], [0, 0, 0.1, 0, 0, 0]])
    # means at the seams: a-b 0.5, b-c 0.6, b-d 0.3
    for seam, groups in {
        0.6: [{1}, {2}, {3}, {4}],
        0.55: [{1}, {2, 3}, {4}],
        0.45: [{1, 2, 3}, {4}],
        0.29: [{1, 2, 3, 4}],
    }.items():
        found = separation._joined(ids, inside, seam)
        assert [set(ids[found == k].tolist()) for k in np.unique(found[found > 0])] == groups


def test_a_seam_with_one_that_is_made_of_two_is_that_of_both():
    ids = np.array([[1, 1], [2, 3]])
    inside = np.array([[1.0, 0.0], [0.8, 0.8]])  # seams 0.9, 0.4 and 0.8; then 0.6
    assert separation._joined(ids, inside, 0.75).tolist() == [[1, 1], [1, 3]]
    assert separation._joined(ids, inside, 0.59).tolist() == [[1, 1], [1, 1]]
    inside[0] = 0.7, 0.0  # 0.75, 0.4 and 0.8; then 0.575
    assert separation._joined(ids, inside, 0.6).tolist() == [[1, 1], [2, 2]]
    assert separation._joined(ids, inside, 0.57).tolist() == [[1, 1], [1, 1]]


@given(seed=st.integers(0, 2**16), seam=st.floats(0.2, 0.9))
@settings(max_examples=30, deadline=None)
def test_objects_are_made_one_as_by_looking_at_all_seams_each_time(seed, seam):
    rng = np.random.default_rng(seed)
    ids = np.kron(rng.integers(0, 9, (4, 5)), np.ones((2, 2), int))
    inside = rng.integers(0, 5, ids.shape) / 4
    found, expected = separation._joined(ids, inside, seam), ids.copy()
    while True:
        means = {}
        for i, j in itertools.combinations(range(1, 9), 2):
            at = [
                (inside[p] + inside[q]) / 2
                for p in np.ndindex(ids.shape)
                for q in ((p[0] + 1, p[1]), (p[0], p[1] + 1))
                if q[0] < ids.shape[0] and q[1] < ids.shape[1]
                if {expected[p], expected[q]} == {i, j}
            ]
            means[i, j] = np.sum(at) / len(at) if at else -1
        i, j = max(means, key=means.get)
        if means[i, j] <= seam:
            break
        expected[expected == j] = i
    assert_array_equal(found, expected)


# -- a fit -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_touching_discs_are_told_apart_where_classes_alone_do_not():
    data = make_discs(32, random_state=0)
    train, test = data.take(np.arange(24)), data.take(np.arange(24, 32))
    found = {}
    for kind in (None, "border", "distance"):
        model = TINY(
            objects=Objects(kind, mask_kind="instances"),
            max_epochs=40 if kind else 16,
            batch_size=8,
            weak_batch_size=0,
        )
        model.fit(train.images, train.labels, train.instances)
        assert model.score_masks(test.images, test.masks) > 0.9
        scores = [model.score_objects(test.images, test.instances, m) for m in ("f1", "dice")]
        found[kind] = scores
    assert max(found[None]) < 0.45
    assert min(found["border"]) > 0.75 and min(found["distance"]) > 0.6


@pytest.mark.parametrize("kind", ["border", "distance"])
def test_ids_and_classes_where_nothing_touches_are_learned_alike(kind):
    apart = np.where(DISCS.instances == 1, 1, 0)
    ids = fitted(7 * apart, objects=Objects(kind, mask_kind="instances"))
    classes = fitted(apart, objects=kind)
    assert_array_equal(
        ids.predict_mask_proba(DISCS.images), classes.predict_mask_proba(DISCS.images)
    )
    assert_array_equal(ids.predict_objects(DISCS.images), classes.predict_objects(DISCS.images))
    assert ids.min_object_size_ == classes.min_object_size_ > 0
    assert ids.score_masks(DISCS.images, 7 * apart) == classes.score_masks(DISCS.images, apart)


def test_classes_are_those_of_a_fit_without_where_the_loss_of_objects_is_off():
    """One more output changes no other: they are two convolutions of one decoder."""
    none = fitted(objects=None)
    off = fitted(objects=Objects("border", weight=0.0))
    assert none.predict_mask_proba(DISCS.images).shape == (8, 2, 32, 48)
    assert off.predict_mask_proba(DISCS.images).shape == (8, 2, 32, 48)
    assert "object_conv.weight" not in none.module_.state_dict()
    assert_array_equal(none.predict_objects(DISCS.images) > 0, none.predict_masks(DISCS.images) > 0)


@pytest.mark.parametrize(
    "options",
    [
        {"crop": {"size": 24}},
        {"crop": {"size": 24, "scale": 0.5}},
        {"schedule": Schedule(sampling="passes")},
        {"schedule": Schedule(phases="two-phase")},
        {"schedule": Schedule(ema=0.9)},
        {"augmentation": Augmentation(mixup=0.4)},
        {"augmentation": Augmentation(affine=None, joint_flip=False)},
        {"consistency": Consistency(1.0, threshold=0.5)},
        {"test_flips": "both"},
        {"network__dropout_placement": "everywhere"},
        {"criterion": torch.nn.CrossEntropyLoss},
        {"image_size": (24, 32)},
        {"network__pooling": None},
    ],
    ids=str,
)
def test_it_goes_with(options):
    masks = [*DISCS.instances[:6], None, None]
    models = [TINY(objects=IDS, max_epochs=1).set_params(**options) for _ in range(2)]
    first, second = (m.fit(DISCS.images, DISCS.labels, masks) for m in models)
    found = first.predict_objects(DISCS.images)
    assert found.shape == (8, 32, 48) and found.dtype == np.int32
    assert_array_equal(found, second.predict_objects(DISCS.images))
    assert first.predict_masks(DISCS.images).max() <= 1


def test_frozen_maps_in_a_cache(tmp_path):
    options = {"schedule": Schedule(encoder_lr_scale=0), "objects": "border"}
    model = fitted(feature_cache=tmp_path / "cache", **options)
    again = fitted(feature_cache=tmp_path / "cache", **options)
    assert_array_equal(model.predict_objects(DISCS.images), again.predict_objects(DISCS.images))


def test_soft_masks_pseudo_masks_and_weights():
    soft = [np.stack([1 - mask, mask]).astype(float) for mask in DISCS.masks]
    one = fitted(soft, objects="border").predict_mask_proba(DISCS.images)
    assert_array_equal(one, fitted(objects="border").predict_mask_proba(DISCS.images))
    left_out = [*DISCS.masks[:7], None]
    nothing = fitted(DISCS.masks, [1] * 7 + [0], objects="border")
    without = fitted(left_out, objects="border")
    assert_array_equal(
        nothing.predict_mask_proba(DISCS.images), without.predict_mask_proba(DISCS.images)
    )


@pytest.mark.parametrize("objects", ["border", IDS])
def test_a_learner_with_pseudo_masks(objects):
    truth = DISCS.masks if objects == "border" else DISCS.instances
    learner = ActiveLearner(
        TINY(objects=objects),
        augmenter=PseudoLabelAugmenter(sure=(0.4, 0.6), selection="all"),
        images=DISCS.images,
        labels=DISCS.labels,
        masks=[truth[0], truth[1], *[None] * 6],
    )
    learner.annotate([2, 3], [truth[2], truth[3]])
    assert learner.estimator.predict_objects(DISCS.images).shape == (8, 32, 48)


def test_partly_annotated_masks_and_points():
    rng = np.random.default_rng(0)
    points = np.where(rng.random(DISCS.masks.shape) < 0.02, DISCS.masks, MISSING)
    model = fitted(points, objects="border")
    assert np.isfinite(model.predict_mask_proba(DISCS.images)).all()
    assert model.min_object_size_ == 0.0
    row = model.history[-1]
    assert np.isfinite(row["train_loss"])


def test_several_classes_have_objects_of_their_own():
    masks = np.where(DISCS.instances % 2, 2, DISCS.instances > 0)
    model = fitted(masks, objects="border", n_mask_classes=3, max_epochs=4)
    found, classes = model.predict_objects(DISCS.images), model.predict_masks(DISCS.images)
    for ids, mask in zip(found, classes):
        for k in range(1, ids.max() + 1):
            assert len(np.unique(mask[(ids == k) & (mask > 0)])) == 1


def test_what_lies_in_a_hole_of_another_class_stays_of_its_own():
    mask = np.ones((7, 9), np.int16)
    mask[1:6, 1:6], mask[3, 3], mask[3, 7] = 0, 2, 0
    model = JointCAMSegmenter(n_mask_classes=3, objects=Objects(None, min_size=0))
    proba = (mask == np.arange(3)[:, None, None]).astype(float)
    model.threshold_ = 0.5
    maps = Bunch(mask_proba=proba, inside=np.ones(mask.shape), min_size=0)
    model.__class__ = type("Known", (JointCAMSegmenter,), {"iter_object_maps": lambda s, X: [maps]})
    (found,) = model.predict_objects(None)
    assert_array_equal(found, np.where(mask == 2, 2, 1))


@pytest.mark.parametrize("kind", [None, "border", "distance"])
def test_one_pass_gives_the_objects_too(kind, monkeypatch):
    model = fitted(objects=kind, max_epochs=4)
    images = [DISCS.images[0], DISCS.images[1][:20]]
    passes, stream = [], JointCAMSegmenter._stream

    def counted(self, X, parts, **options):
        passes.append(parts)
        return stream(self, X, parts, **options)

    monkeypatch.setattr(JointCAMSegmenter, "_stream", counted)
    joint = model.predict_joint(images, objects=True)
    assert len(passes) == 1
    for found, expected in zip(joint.objects, model.predict_objects(images), strict=True):
        assert_array_equal(found, expected)
    assert set(model.predict_joint(images)) == set(joint) - {"objects"}
    for found, expected in zip(joint.mask_proba, model.predict_mask_proba(images), strict=True):
        assert_array_equal(found, expected)


# -- of several models -----------------------------------------------------------------------------


@functools.cache
def ensemble(**options):
    model = DeepEnsemble(TINY(objects=IDS, **options), 2, random_state=0)
    return model.fit(DISCS.images, DISCS.labels, masks=DISCS.instances)


@pytest.mark.parametrize("kind", [None, "border", "distance"])
def test_objects_of_one_model_twice_are_its_own(kind):
    model = fitted(objects=kind, max_epochs=4)
    twice = DeepEnsemble(model, 2)
    twice.estimators_, images = [model, model], [DISCS.images[0], DISCS.images[1][:20]]
    for one, two in zip(model.predict_objects(images), twice.predict_objects(images)):
        assert_array_equal(one, two)
    assert twice.predict_objects(DISCS.images).dtype == np.int32
    for metric in ("f1", "dice"):
        scores = [m.score_objects(DISCS.images, DISCS.masks, metric) for m in (model, twice)]
        assert scores[0] == scores[1]
    assert twice.has_objects == model.has_objects == (kind is not None)


def test_objects_of_an_ensemble_are_separated_by_the_means_of_its_maps():
    model = ensemble()
    proba = np.mean([m.predict_mask_proba(DISCS.images) for m in model.estimators_], axis=0)
    each = [list(m.iter_object_maps(DISCS.images)) for m in model.estimators_]
    inside = np.array([[maps.inside for maps in of_member] for of_member in each]).mean(0)
    sizes = [m.min_object_size_ for m in model.estimators_]  # all work at the images' own size
    found = model.predict_objects(DISCS.images)
    for k in range(len(DISCS)):
        size = np.mean(sizes)
        expected = separate_objects(proba[k, 1] >= 0.5, inside[k], 0.5, size, size / 4)
        assert_array_equal(found[k], expected)
    truth = list(DISCS.instances)
    assert model.score_objects(DISCS.images, DISCS.instances) == object_f1(list(found), truth)


def test_an_ensemble_reads_ids_and_is_saved(tmp_path):
    model = ensemble()
    assert model.mask_kind == "instances" and model.has_objects
    assert model.score_masks(DISCS.images, DISCS.instances) == model.score_masks(
        DISCS.images, DISCS.masks
    )
    model.save(tmp_path / "model")
    loaded = DeepEnsemble.load(tmp_path / "model")
    found = model.predict_objects(DISCS.images)
    assert_array_equal(loaded.predict_objects(DISCS.images), found)
    learner = ActiveLearner(
        clone(model),
        images=DISCS.images,
        labels=DISCS.labels,
        masks=[*DISCS.instances[:2], *[None] * 6],
    )
    learner.annotate([2], DISCS.instances[2:3])
    assert learner.estimator.predict_objects(DISCS.images).shape == (8, 32, 48)


def test_an_ensemble_of_models_that_know_no_objects_has_none():
    model = DeepEnsemble(ToySegmenter(), 2)
    assert model.mask_kind == "classes" and not model.has_objects and model.objects is None
    assert not any(map(functools.partial(hasattr, model), ["predict_objects", "score_objects"]))
    with pytest.raises(NotFittedError):
        DeepEnsemble(TINY(objects="border"), 2).predict_objects(DISCS.images)


def test_a_validation_part_with_ids(tmp_path):
    held = ValidationSet(DISCS.images[6:], DISCS.labels[6:], DISCS.instances[6:])
    for validation in (held, 0.25):
        model = TINY(objects=IDS, validation=validation, threshold="validation")
        model.fit(DISCS.images[:6], DISCS.labels[:6], DISCS.instances[:6])
        assert 0 <= model.history[-1]["valid_dice"] <= 1 and 0 <= model.threshold_ <= 1


def test_differing_sizes_and_without_masks():
    images = [DISCS.images[0], DISCS.images[1][:20]]
    model = fitted(objects="border")
    assert [one.shape for one in model.predict_objects(images)] == [(32, 48), (20, 48)]
    weak = TINY(objects="border").fit(DISCS.images, DISCS.labels)
    assert weak.predict_objects(DISCS.images).shape == (8, 32, 48)


def test_scores_of_objects():
    model = fitted(objects="border")
    perfect = type("Perfect", (JointCAMSegmenter,), {"predict_objects": lambda self, X: truth})
    truth = [DISCS.instances[0], DISCS.instances[2]]
    masks = [DISCS.instances[0], None, DISCS.instances[2]]
    model.__class__ = perfect
    scores = [
        model.score_objects(DISCS.images[:3], masks, metric, "instances")
        for metric in ("f1", "dice", "hausdorff")
    ]
    assert scores == [1.0, 1.0, 0.0]
    merged = [(one > 0).astype(int) for one in truth]
    masks = [merged[0], None, merged[1]]
    assert model.score_objects(DISCS.images[:3], masks) < 1.0  # connected parts are the truth
    with pytest.raises(ValueError, match="metric must be one of"):
        model.score_objects(DISCS.images[:3], masks, "iou")


# -- doubt about borders ---------------------------------------------------------------------------


def test_doubt_about_borders():
    model = fitted(objects="border")
    score, maps = model.predict_uncertainty(DISCS.images, target="border", return_maps=True)
    assert maps.shape == (8, 32, 48) and (maps >= 0).all() and maps.max() <= np.log(2) + 1e-6
    assert_allclose(score, maps.mean((1, 2)), rtol=1e-5)
    assert_allclose(entropy_score(model, DISCS.images, target="border"), score)
    with pytest.raises(ValueError, match="Draws are of classes"):
        model.predict_uncertainty(DISCS.images, "bald", target="border")
    for other in (fitted(), fitted(objects="distance")):
        with pytest.raises(ValueError, match="objects must be 'border', and fitted with masks"):
            other.predict_uncertainty(DISCS.images, target="border")


# -- an argument as all others ---------------------------------------------------------------------


def test_clone_params_files_and_pickles(tmp_path):
    model = TINY(objects="border")
    assert clone(model).objects == "border"
    model.set_params(objects__border_width=2.0)
    assert model.objects == Objects("border", 2.0)
    assert JointCAMSegmenter().set_params(objects__kind="distance").objects == Objects("distance")
    model.fit(DISCS.images, DISCS.labels, DISCS.masks).save(tmp_path / "model")
    found = model.predict_objects(DISCS.images)
    loaded = JointCAMSegmenter.load(tmp_path / "model")
    assert loaded.objects == model.objects and loaded.min_object_size_ == model.min_object_size_
    for one in (loaded, pickle.loads(pickle.dumps(model))):
        assert_array_equal(one.predict_objects(DISCS.images), found)
    params = {"masks": DISCS.masks}
    predicted = cross_val_predict(
        TINY(objects="border"), DISCS.images, DISCS.labels, cv=2, params=params, method="predict"
    )
    assert predicted.shape == (8,)


def test_a_fit_goes_on_with_the_same_kind_alone():
    model = fitted(objects="border", warm_start=True)
    model.set_params(objects__min_size=5).fit(DISCS.images, DISCS.labels, DISCS.masks)
    model.set_params(objects=None)
    with pytest.raises(ValueError, match="objects must be as when the network was built"):
        model.fit(DISCS.images, DISCS.labels, DISCS.masks)


@pytest.mark.parametrize(
    "options, rule",
    [
        ({"objects": "edge"}, "objects.kind must be one of"),
        ({"objects": Objects(border_width=0)}, "objects.border_width must be > 0"),
        ({"objects": Objects(mask_kind="ids")}, "objects.mask_kind must be one of"),
        ({"objects": Objects(inside=2)}, "objects.inside must be"),
        ({"objects": Objects(min_size=-1)}, "objects.min_size must be >= 0"),
        ({"objects": Objects(seam=2)}, "objects.seam must be"),
        ({"objects": IDS, "n_mask_classes": 3}, "n_mask_classes must be 2 with ids in masks"),
        (
            {"objects": "border", "augmentation": Augmentation(copy_paste=0.5)},
            "augmentation.copy_paste must be 0 with objects",
        ),
        (
            {"objects": "border", "augmentation": Augmentation(hook=lambda images, masks: None)},
            "augmentation.hook must be None with objects",
        ),
        ({"objects": "border", "module": PlainUNet}, "objects must be None with PlainUNet"),
        (
            {"objects": "border", "network": torch.nn.Conv2d(3, 2, 1)},
            "objects must be None with a whole network",
        ),
    ],
)
def test_what_is_refused_before_a_file_is_read(options, rule):
    with pytest.raises(ValueError, match=rule):
        JointCAMSegmenter(**options).fit(["no such file.png"], ["a"])


def test_something_else_and_values_that_are_no_mask():
    with pytest.raises(TypeError, match="objects must be None, 'border', 'distance' or an Objects"):
        JointCAMSegmenter(objects=3).check_params()
    with pytest.raises(ValueError, match="holds the value 5, which is no class"):
        fitted(DISCS.instances, objects="border")
