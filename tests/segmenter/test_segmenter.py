"""The estimator as its users meet it: scikit-learn's habits, skorch's options, saved and loaded."""

import copy
import io
import itertools
import json
import os
import pickle
import re
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin, clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, LoadInitState
from torch import nn

from alseg.images import ImageFiles, MaskFiles
from alseg.labels import MISSING
from alseg.metrics.overlap import dice_per_image
from alseg.metrics.scoring import dice_scorer
from alseg.network.published_networks import PlainUNet
from alseg.segmenter import JointCAMSegmenter, ValidationSet, with_fields
from alseg.training.schedules import one_cycle

H, W = 32, 48


def squares(n=8, size=(H, W), seed=0):
    """Bright squares, red or blue ones by class; the squares are the mask."""
    rng = np.random.default_rng(seed)
    h, w = size
    images = rng.integers(0, 60, (n, h, w, 3), dtype=np.uint8)
    masks = np.zeros((n, h, w), dtype=int)
    labels = np.array(["blue", "red"])[np.arange(n) % 2]
    for i in range(n):
        top, left = rng.integers(0, h // 2), rng.integers(0, w // 2)
        masks[i, top : top + h // 2, left : left + w // 2] = 1
        images[i, ..., 0 if labels[i] == "red" else 2][masks[i] == 1] += 180
    return images, labels, masks


def ragged(n=6):
    """Images of three sizes, as lists."""
    parts = [squares(n, size, seed) for seed, size in enumerate([(32, 48), (33, 47), (40, 50)])]
    images, masks = ([parts[i % 3][j][i] for i in range(n)] for j in (0, 2))
    return images, parts[0][1], masks


def make(**options):
    common = {"encoder": "tiny", "max_epochs": 1, "batch_size": 8, "weak_batch_size": 4}
    return JointCAMSegmenter(**with_fields({**common, "random_state": 0, **options}))


def fitted(**options):
    images, labels, masks = squares()
    return make(**options).fit(images, labels, masks=masks), images, labels, masks


def state_of(model):
    return {k: v.clone() for k, v in model.module_.state_dict().items()}


def same_weights(a, b):
    a, b = (m if isinstance(m, dict) else m.module_.state_dict() for m in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class OwnEncoder(nn.Module):
    """A user's module. Its name says that it is not one of ours."""

    def __init__(self, width=8):
        super().__init__()
        self.out_channels, self.strides = [width, 2 * width], [2, 4]
        self.first = nn.Sequential(
            nn.Conv2d(3, width, 2, stride=2), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.second = nn.Sequential(nn.Conv2d(width, 2 * width, 2, stride=2), nn.ReLU())

    def forward(self, x):
        x = self.first(x)
        return [x, self.second(x)]


def write_files(folder, images, masks):
    for i, (image, mask) in enumerate(zip(images, masks)):
        Image.fromarray(image).save(folder / f"{i}.png")
        if mask is not None:
            Image.fromarray(mask.astype(np.uint8)).save(folder / f"mask{i}.png")
    n = range(len(images))
    mask_paths = [None if masks[i] is None else str(folder / f"mask{i}.png") for i in n]
    return [str(folder / f"{i}.png") for i in n], mask_paths


# -- it learns -------------------------------------------------------------------------------------


def test_it_learns_masks_and_labels():
    images, labels, masks = squares(24)
    model = make(max_epochs=25, lr=3e-3).fit(images[:16], labels[:16], masks[:16])
    assert model.score(images[16:], labels[16:]) == 1
    assert model.score_masks(images[16:], masks[16:]) > 0.9
    losses = model.history[:, "train_loss"]
    assert losses[-1] < losses[0] / 2


@pytest.mark.slow
def test_it_learns_from_a_few_masks_and_labels_of_all():
    images, labels, masks = squares(24)
    some = [mask if i in (2, 5, 8, 11) else None for i, mask in enumerate(masks[:16])]
    model = make(max_epochs=25, lr=3e-3).fit(images[:16], labels[:16], some)
    assert model.score(images[16:], labels[16:]) == 1
    assert model.score_masks(images[16:], masks[16:]) > 0.85


# -- every method, for arrays, lists and paths -----------------------------------------------------


def check_methods(model, X, labels, masks, sizes):
    n, n_classes = len(labels), len(model.classes_)
    same = len(set(sizes)) == 1
    proba, pred = model.predict_proba(X), model.predict(X)
    assert proba.shape == (n, n_classes) and proba.dtype == np.float64
    assert np.allclose(proba.sum(1), 1, atol=1e-12)
    assert pred.shape == (n,) and set(pred) <= set(labels)
    pred_masks, mask_proba = model.predict_masks(X), model.predict_mask_proba(X)
    assert pred_masks.shape == ((n, *sizes[0]) if same else (n,))
    assert mask_proba.shape == ((n, 2, *sizes[0]) if same else (n,))
    for size, mask, p in zip(sizes, pred_masks, mask_proba):
        assert mask.shape == size and mask.dtype == np.int16 and set(np.unique(mask)) <= {0, 1}
        assert p.shape == (2, *size) and p.dtype == np.float32
        assert np.allclose(p.sum(0), 1, atol=1e-5) and p.min() >= -1e-6
        assert ((p[1] >= model.threshold_) == mask).all()
    cams = model.predict_cams(X)
    assert cams.ndim == 4 and cams.shape[:2] == (n, n_classes) and cams.dtype == np.float32
    embeddings = model.transform(X)
    assert embeddings.shape == (n, 96) and embeddings.dtype == np.float32
    joint = model.predict_joint(X)
    assert set(joint) == {"labels", "proba", "masks", "mask_proba", "cams"}
    assert (joint.labels == pred).all() and np.allclose(joint.proba, proba)
    assert all((a == b).all() for a, b in zip(joint.masks, pred_masks))
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(joint.mask_proba, mask_proba))
    assert np.allclose(joint.cams, cams, atol=1e-5)
    assert model.score(X, labels) == np.mean(pred == labels)
    assert model.score_masks(X, masks) == pytest.approx(dice_per_image(pred_masks, masks).mean())
    for method in ("least_confidence", "margin", "entropy", "mc_variance", "bald"):
        score = model.predict_uncertainty(X, method, n_draws=3)
        assert score.shape == (n,) and score.dtype == np.float64 and (score >= 0).all()
        again, maps = model.predict_uncertainty(X, method, n_draws=3, return_maps=True)
        assert (again == score).all()
        assert [m.shape for m in maps] == list(sizes)
        of_label = model.predict_uncertainty(X, method, target="label", n_draws=3)
        assert of_label.shape == (n,) and np.isfinite(of_label).all()


def test_methods_on_an_array():
    model, images, labels, masks = fitted()
    check_methods(model, images, labels, masks, [(H, W)] * 8)
    assert model.classes_.tolist() == ["blue", "red"] and model.has_masks_
    assert model.canvas_ == (H, W)


def test_methods_on_ragged_lists():
    images, labels, masks = ragged()
    model = make().fit(images, labels, masks)
    check_methods(model, images, labels, masks, [m.shape for m in masks])
    held = np.empty(6, dtype=object)
    held[:] = images
    assert (model.predict_proba(held) == model.predict_proba(images)).all()


def test_methods_on_paths(tmp_path):
    images, labels, masks = ragged()
    masks[1] = None
    paths, mask_paths = write_files(tmp_path, images, masks)
    model = make().fit(paths, labels, mask_paths)
    assert same_weights(model, make().fit(images, labels, masks))
    assert same_weights(model, make().fit(ImageFiles(paths), labels, MaskFiles(mask_paths)))
    masks[1] = np.full(images[1].shape[:2], MISSING)
    mask_paths[1] = masks[1]
    sizes = [m.shape for m in masks]
    proba = model.predict_proba(images)
    for X in (paths, np.array(paths), ImageFiles(paths)):
        assert (model.predict_proba(X) == proba).all()
        assert [m.shape for m in model.predict_masks(X)] == sizes


def test_bytes_and_floats_give_nearly_the_same():
    images, labels, masks = squares()
    a = make().fit(images, labels, masks)
    b = make().fit((images / 255).astype(np.float32), labels, masks)
    c = make().fit(images / 255, labels, masks)
    for other in (b, c):
        assert np.allclose(
            a.predict_mask_proba(images), other.predict_mask_proba(images / 255), atol=1e-3
        )
        assert np.allclose(a.predict_proba(images), other.predict_proba(images / 255), atol=1e-3)


def test_grey_images():
    images, labels, masks = squares()
    grey = images.max(3)
    model = make().fit(grey, labels, masks)
    same = make().fit(np.repeat(grey[..., None], 3, 3), labels, masks)
    assert same_weights(model, same)
    assert model.predict_masks(grey).shape == (8, H, W)


@pytest.mark.parametrize("size, canvas", [(None, (H, W)), (24, (24, 24)), ((17, 31), (17, 31))])
def test_image_size(size, canvas):
    model, images, *_ = fitted(image_size=size)
    assert model.canvas_ == canvas
    assert model.predict_masks(images).shape == (8, H, W)  # always the image's own size


def test_predictions_do_not_depend_on_batch_or_order():
    model, images, *_ = fitted()
    order = np.random.default_rng(0).permutation(8)
    whole = [model.predict_proba(images), model.predict_mask_proba(images)]
    uncertainty = {
        (method, target): model.predict_uncertainty(images, method, target=target, random_state=1)
        for method in ("entropy", "mc_variance", "bald")
        for target in ("mask", "label")
    }
    for batch_size in (1, 3, 100):
        model.set_params(predict_batch_size=batch_size)
        assert np.allclose(model.predict_proba(images[order]), whole[0][order], atol=1e-5)
        assert np.allclose(model.predict_mask_proba(images[order]), whole[1][order], atol=1e-5)
        for (method, target), expected in uncertainty.items():
            got = model.predict_uncertainty(images[order], method, target=target, random_state=1)
            assert np.allclose(got, expected[order], rtol=1e-3, atol=1e-6)


def test_uncertainty_options():
    model, images, *_ = fitted()
    score, maps = model.predict_uncertainty(images, return_maps=True)
    assert np.allclose(score, maps.mean((1, 2)), rtol=1e-5)
    proba = model.predict_mask_proba(images)
    assert np.allclose(maps, -(proba * np.log(proba)).sum(1), atol=1e-5)
    assert (model.predict_uncertainty(images, aggregate="max") >= score).all()
    first = model.predict_uncertainty(images, "bald", random_state=1)
    assert (first == model.predict_uncertainty(images, "bald", random_state=1)).all()
    assert (first != model.predict_uncertainty(images, "bald", random_state=2)).any()
    with pytest.raises(ValueError, match="method must be .*Did you mean 'entropy'"):
        model.predict_uncertainty(images, "entropi")
    with pytest.raises(ValueError, match="target must be"):
        model.predict_uncertainty(images, target="pixel")
    with pytest.raises(ValueError, match="n_draws must be >= 2"):
        model.predict_uncertainty(images, "bald", n_draws=1)
    with pytest.raises(ValueError, match="a class label has no map"):
        model.predict_uncertainty(images, target="label", return_maps=True)


def test_test_flips():
    model, images, *_ = fitted(test_flips="both")
    flipped = model.predict_mask_proba(images[:, :, ::-1])
    assert np.allclose(model.predict_mask_proba(images), flipped[..., ::-1], atol=1e-4)
    once = clone(model).set_params(test_flips="none").fit(*squares()[:2], masks=squares()[2])
    assert same_weights(once, model)
    assert not np.allclose(once.predict_mask_proba(images), model.predict_mask_proba(images))


# -- what is annotated -----------------------------------------------------------------------------


@pytest.mark.parametrize("masks", [None, [None] * 8, np.full((8, H, W), MISSING)])
def test_without_masks_they_come_from_the_cam(masks):
    images, labels, truth = squares()
    model = make().fit(images, labels, masks)
    assert not model.has_masks_
    check_methods(model, images, labels, truth, [(H, W)] * 8)
    foreground = model.predict_mask_proba(images)[:, 1]
    assert np.allclose(foreground.max((1, 2)), 1) and np.allclose(foreground.min((1, 2)), 0)
    assert same_weights(model, make().fit(images, labels))


def test_more_mask_classes_need_masks():
    images, labels, masks = squares()
    model = make(n_mask_classes=3).fit(images, labels)
    assert model.predict(images).shape == (8,)  # labels are no trouble
    for call in (
        model.predict_masks,
        model.predict_mask_proba,
        model.predict_joint,
        model.predict_uncertainty,
    ):
        with pytest.raises(ValueError, match="n_mask_classes is 3. Fit with some masks"):
            call(images)
    masks[masks == 1] += np.arange(8).repeat((masks == 1).sum((1, 2))) % 2
    model.fit(images, labels, masks)
    proba, pred = model.predict_mask_proba(images), model.predict_masks(images)
    assert proba.shape == (8, 3, H, W) and (proba.argmax(1) == pred).all()


@pytest.mark.parametrize("labels", [["a"], ["a"] * 8, ["a"] * 7 + ["b"]])
def test_one_image_one_class_a_class_with_one_image(labels):
    images, _, masks = squares()
    n = len(labels)
    model = make().fit(images[:n], labels, masks[:n])
    assert model.predict(images).shape == (8,)
    assert model.predict_masks(images).shape == (8, H, W)
    assert np.allclose(model.predict_proba(images).sum(1), 1)


@pytest.mark.parametrize(
    "labels", [[True, False] * 4, [3, -2] * 4, ["x", "yy"] * 4, [2.0, 1.0] * 4]
)
def test_labels_of_any_sortable_type(labels):
    images, _, masks = squares()
    model = make().fit(images, labels, masks)
    assert model.classes_.tolist() == sorted(set(labels))
    pred = model.predict(images)
    assert pred.dtype == np.asarray(labels).dtype and set(pred.tolist()) <= set(labels)
    series = pd.Series(labels, index=range(10, 18))
    assert same_weights(model, make().fit(images, series, masks))


@pytest.mark.parametrize("labels", [[b"a", b"b"] * 4, np.array([b"a", b"b"] * 4, dtype=object)])
def test_labels_of_bytes_are_refused(labels):
    with pytest.raises(TypeError, match=r"y must be text, numbers or booleans.*y.astype\(str\)"):
        make().fit(squares()[0], labels)


def test_a_data_frame_and_images_with_a_palette():
    images, labels, masks = squares()
    with pytest.raises(TypeError, match="X must be one column, got 'DataFrame'. Pass the column"):
        make().fit(pd.DataFrame({"image": list(images), "label": labels}), labels)
    palette = [Image.fromarray(image).convert("P") for image in images]
    colours = [np.asarray(image.convert("RGB")) for image in palette]
    model = make().fit(palette, labels, masks)
    assert np.array_equal(model.predict_proba(palette), model.predict_proba(colours))


def test_weight_zero_is_no_mask_bit_for_bit():
    images, labels, masks = squares()
    weight = np.array([1, 1, 0, 1, 0, 1, 1, 1.0])
    a = make().fit(images, labels, masks, mask_weight=weight)
    b = make().fit(images, labels, [m if w else None for m, w in zip(masks, weight)])
    assert same_weights(a, b)
    c = make().fit(images, labels, masks, mask_weight=np.zeros(8))
    assert same_weights(c, make().fit(images, labels)) and not c.has_masks_


def test_mask_weight_forms():
    images, labels, masks = squares()
    weight = np.array([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1])
    model = make().fit(images, labels, masks, mask_weight=weight)
    assert not same_weights(model, make().fit(images, labels, masks))
    forms = [list(weight), pd.Series(weight, index=range(3, 11)), weight.astype(np.float32)]
    assert all(same_weights(model, make().fit(images, labels, masks, mask_weight=w)) for w in forms)
    pixels = np.broadcast_to(weight[:, None, None], masks.shape)
    plain = {"augmentation__affine": None, "augmentation__flips": "none"}
    a = make(**plain).fit(images, labels, masks, mask_weight=weight)
    b = make(**plain).fit(images, labels, masks, mask_weight=pixels)
    assert np.allclose(a.predict_mask_proba(images), b.predict_mask_proba(images), atol=1e-4)


def test_number_of_steps_does_not_depend_on_the_number_of_masks():
    images, labels, masks = squares()
    for n_masks in (0, 1, 8):
        some = [*masks[:n_masks], *[None] * (8 - n_masks)]
        model = make(batch_size=3, max_epochs=2).fit(images, labels, some)
        assert model.n_steps_ == 2 * 3 == 2 * model.history[-1, "train_batch_count"]
    assert make(steps_per_epoch=5).fit(images, labels, masks).n_steps_ == 5


# -- repeatable, and nothing global is touched -----------------------------------------------------


def test_F9_random_state_repeats_bit_for_bit():
    images, labels, masks = squares()
    fits = [make(max_epochs=2).fit(images, labels, masks) for _ in range(2)]
    torch.rand(3)  # whatever the global state is
    fits.append(fits[0].fit(images, labels, masks) and fits[0])
    assert same_weights(fits[0], fits[1]) and same_weights(fits[1], fits[2])
    assert (fits[0].predict_mask_proba(images) == fits[1].predict_mask_proba(images)).all()
    other = make(max_epochs=2, random_state=1).fit(images, labels, masks)
    assert not same_weights(other, fits[0])


def test_random_states_of_other_kinds():
    images, labels, masks = squares()
    for new in (np.random.RandomState, np.random.default_rng):
        a = make(random_state=new(5)).fit(images, labels, masks)
        b = make(random_state=new(5)).fit(images, labels, masks)
        assert same_weights(a, b)
        assert not same_weights(state_of(a), a.fit(images, labels, masks))  # it moves on
    a, b = (make(random_state=None).fit(images, labels, masks) for _ in range(2))
    assert not same_weights(a, b)


def test_global_random_state_is_neither_used_nor_changed():
    images, labels, masks = squares()
    np.random.seed(3)
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    for random_state in (0, None):
        model = make(random_state=random_state, validation=0.5, threshold="validation")
        model.fit(images, labels, masks).partial_fit(images, labels, masks=masks)
        model.predict_joint(images)
        for method in ("entropy", "bald"):
            model.predict_uncertainty(images, method)
            model.predict_uncertainty(images, method, target="label")
        assert (np.random.get_state()[1] == before[0]).all()
        assert torch.equal(torch.get_rng_state(), before[1])


def test_input_is_left_as_it_was():
    images, labels, masks = squares()
    copies = images.copy(), labels.copy(), masks.copy()
    model = make().fit(images, labels, masks)
    model.predict_joint(images)
    assert all((a == b).all() for a, b in zip(copies, (images, labels, masks)))
    floats = images / 255
    before = floats.copy()
    make().fit(floats, labels, masks).predict(floats)
    assert (floats == before).all()


# -- the facts of the style guide that concern the estimator ---------------------------------------


def test_F7_batches_without_an_annotated_pixel_leave_the_history_finite():
    images, labels, masks = squares()
    masks[:] = MISSING
    masks[0, 0, 0] = 1  # one pixel, which augmentation moves out now and then
    model = make(max_epochs=6, batch_size=2, augmentation__affine=(0.5, 45.0)).fit(
        images, labels, masks
    )
    assert np.isfinite(model.history[:, "train_loss"]).all() and model.has_masks_


def test_F8_a_dict_for_y_is_refused():
    images, labels, masks = squares()
    with pytest.raises(ValueError, match="y should be a 1d array"):
        make().fit(images, {"label": labels, "mask": masks})


def test_F9_signature_in_cross_validation_and_search():
    images, labels, masks = squares()
    assert 0 <= make().fit(images, labels, masks).score(images, labels) <= 1
    assert cross_val_score(make(), images, labels, params={"masks": masks}, cv=2).shape == (2,)
    search = GridSearchCV(make(), {"lr": [1e-3, 1e-2]}, cv=2, error_score="raise")
    search.fit(images, labels, masks=masks)
    assert search.best_estimator_.has_masks_
    from modAL.uncertainty import entropy_sampling

    idx = np.ravel(entropy_sampling(search.best_estimator_, images, n_instances=2))
    assert len(set(idx[:2].astype(int))) == 2


@pytest.mark.parametrize("placement", ["last", "everywhere"])
def test_F10_prediction_gives_modes_and_statistics_back(placement):
    model, images, *_ = fitted(network__dropout_placement=placement)
    for training in (True, False):
        model.module_.train(training)
        before = state_of(model)
        for call in (
            model.predict_joint,
            model.transform,
            lambda X: model.predict_uncertainty(X, "bald", n_draws=3),
            lambda X: model.predict_uncertainty(X, "bald", target="label", n_draws=3),
        ):
            call(images)
            assert all(m.training == training for m in model.module_.modules())
            assert same_weights(before, model)
    draws = model.predict_uncertainty(images, "mc_variance", n_draws=5)
    assert (draws > 0).all()  # they differ


def test_F16_is_a_classifier_with_labels_of_its_own():
    model, images, labels, _ = fitted()
    assert is_classifier(model) and is_classifier(make())
    assert set(model.predict(images)) <= {"blue", "red"}


def test_F17_an_encoder_module_in_clone_and_set_params():
    own = OwnEncoder()
    before = {k: v.clone() for k, v in own.state_dict().items()}
    images, labels, masks = squares()
    model = make(encoder=own).fit(images, labels, masks)
    assert model.get_params()["encoder"] is own and isinstance(model.module_.encoder, OwnEncoder)
    assert same_weights(before, own.state_dict())  # trained was a copy
    assert not same_weights(before, model.module_.encoder.state_dict())
    copied = clone(model)
    assert isinstance(copied.encoder, OwnEncoder) and same_weights(
        before, copied.encoder.state_dict()
    )
    other = make().set_params(encoder=own)
    assert other.encoder is own
    assert same_weights(other.fit(images, labels, masks), model)
    model.set_params(encoder=OwnEncoder(width=4)).fit(images, labels, masks)
    assert model.module_.encoder.first[0].out_channels == 4


def test_F17_a_grid_over_encoders_carries_no_weights_between_folds():
    images, labels, masks = squares()
    own = OwnEncoder()
    before = {k: v.clone() for k, v in own.state_dict().items()}
    starts = []

    class Start(Callback):
        def on_train_begin(self, net, X=None, y=None, **kwargs):
            if isinstance(net.module_.encoder, OwnEncoder):
                encoder = net.module_.encoder.state_dict()
                starts.append({k: v.clone() for k, v in encoder.items()})

    # Callbacks are cloned with the net; a list in this function's reach is seen by all.
    grid = {"encoder": ["tiny", own]}
    search = GridSearchCV(make(callbacks=[Start()]), grid, cv=2, error_score="raise")
    search.fit(images, labels, masks=masks)
    assert len(starts) in (2, 3)  # two folds, and the refit if it won
    assert all(same_weights(before, start) for start in starts)
    assert same_weights(before, own.state_dict())
    assert search.cv_results_["param_encoder"][1] is own


def test_F18_auto_device_stays_a_parameter():
    model = make()
    assert model.device == "auto"
    images, labels, masks = squares()
    model.fit(images, labels, masks)
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert (model.device, model.device_) == ("auto", expected)
    assert clone(model).device == "auto" and model.get_params()["device"] == "auto"
    model.partial_fit(images, labels, masks=masks).initialize()
    assert model.device == "auto"


def test_F19_losses_are_read_once_an_epoch(monkeypatch):
    reads = []
    for name in ("item", "tolist", "__float__"):
        original = getattr(torch.Tensor, name)

        def counted(self, _original=original, _name=name):
            if self.is_floating_point():
                reads.append(_name)
            return _original(self)

        monkeypatch.setattr(torch.Tensor, name, counted)
    images, labels, masks = squares()
    counts = []
    for steps in (2, 6):
        reads.clear()
        model = make(
            max_epochs=3,
            steps_per_epoch=steps,
            optimizer=torch.optim.SGD,
            schedule__lr_schedule="constant",
        )
        model.fit(images, labels, masks)
        counts.append(len(reads))
        assert len(model.history[-1, "batches", :, "train_loss"]) == steps
    assert counts[0] == counts[1]  # whatever the number of steps


def test_F19_history_is_the_mean_of_the_batches():
    model, *_ = fitted(steps_per_epoch=3, max_epochs=2)
    for row in model.history:
        losses = [b["train_loss"] for b in row["batches"]]
        assert row["train_loss"] == pytest.approx(np.mean(losses)) and row["train_batch_count"] == 3


def test_F20_lazy_files_are_split_lazily(tmp_path, monkeypatch):
    images, labels, masks = ragged()
    paths, mask_paths = write_files(tmp_path, images, masks)
    X, M = ImageFiles(paths), MaskFiles(mask_paths)
    seen = []
    original = JointCAMSegmenter.fit

    def fit(self, X, y, masks=None, mask_weight=None):
        seen.append((type(X), type(masks), len(X)))
        return original(self, X, y, masks, mask_weight)

    monkeypatch.setattr(JointCAMSegmenter, "fit", fit)
    cross_validate(make(), X, labels, params={"masks": M}, cv=2, error_score="raise")
    assert seen == [(ImageFiles, MaskFiles, 3)] * 2


# -- validation and threshold ----------------------------------------------------------------------


def test_validation_fraction_is_held_out_by_class_among_the_annotated():
    images, labels, masks = squares(12)
    some = [m if i < 8 else None for i, m in enumerate(masks)]  # four annotated of each class
    model = make(validation=0.25, threshold="validation").fit(images, labels, some)
    part = model.validation_
    assert len(part.labels) == 2 and set(part.labels) == {"blue", "red"}
    for i in range(2):
        assert any((part.images[i] == image).all() for image in images[:8])
    assert 0.05 <= model.threshold_ <= 0.99
    proba = model.predict_mask_proba(images)[:, 1]
    assert ((proba >= np.float32(model.threshold_)) == model.predict_masks(images)).all()


def test_validation_part_is_not_trained_on():
    images, labels, masks = squares(12)
    model = make(validation=0.5).fit(images, labels, masks)
    held = [next(i for i in range(12) if (images[i] == x).all()) for x in model.validation_.images]
    other = images.copy()
    other[held] = 255 - other[held]
    assert same_weights(model, make(validation=0.5).fit(other, labels, masks))


def test_validation_never_holds_out_pseudo_masks_or_masks_of_weight_zero():
    images, labels, masks = squares(12)
    weight = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0.1, 0.1, 0.1, 0.1])
    for seed in range(4):
        model = make(validation=0.5, random_state=seed).fit(images, labels, masks, weight)
        assert len(model.validation_.labels) == 2
        for x in model.validation_.images:
            assert any((x == image).all() for image in images[:4])


def positions(part, images):
    return sorted(next(i for i, x in enumerate(images) if (x == y).all()) for y in part.images)


def test_what_was_trained_on_is_never_held_out_later(tmp_path):
    images, labels, masks = squares(16)
    few, more = ([m if i < n else None for i, m in enumerate(masks)] for n in (8, 16))
    model = make(validation=0.25, threshold="validation").fit(images, labels, few)
    first = positions(model.validation_, images)
    assert len(first) == 2 and len(model.trained_on_) == 6
    model.save(tmp_path / "model")
    for one in (model, JointCAMSegmenter.load(tmp_path / "model", device="cpu")):
        one.set_params(random_state=5).partial_fit(images, labels, masks=few)
        assert positions(one.validation_, images) == first
        one.partial_fit(images, labels, masks=more)
        second = positions(one.validation_, images)
        assert set(first) < set(second) and len(second) == 4
        assert all(i in first or i >= 8 for i in second)  # the others of the eight were trained on
        threshold = one.threshold_
        one.set_params(validation=None, threshold=0.5).partial_fit(images, labels)
        assert one.validation_ is None and len(one.held_out_) == 4 and 0 <= threshold <= 1
    fresh = model.set_params(validation=0.25).fit(images, labels, few)
    assert len(fresh.held_out_) == 2 and len(fresh.trained_on_) == 6  # known of this fit alone


@pytest.mark.parametrize("kind", ["none", "set", "start", "file"])
def test_what_is_not_known_to_be_unseen_is_not_held_out(tmp_path, kind):
    images, labels, masks = squares(12)
    part = ValidationSet(images[8:], labels[8:], masks[8:]) if kind == "set" else None
    model = make(validation=part).fit(images[:8], labels[:8], masks[:8])
    assert model.trained_on_ is None and model.held_out_ == frozenset()
    model.save(tmp_path / "model")
    go_on = {"classes": None, "masks": masks}
    if kind == "start":
        model, go_on = make(schedule__start_from=tmp_path / "model"), {"masks": masks}
    elif kind == "file":
        record = json.loads((tmp_path / "model" / "model.json").read_text())
        record["trained_on"] = []  # as earlier versions wrote
        (tmp_path / "model" / "model.json").write_text(json.dumps(record))
        model = JointCAMSegmenter.load(tmp_path / "model", device="cpu")
    match = "validation must be None or a ValidationSet after a fit on masks .*the first fit on"
    with pytest.raises(ValueError, match=match):
        model.set_params(validation=0.25).partial_fit(images, labels, **go_on)
    model.set_params(validation=ValidationSet(images, labels, masks))
    model.partial_fit(images, labels, **go_on)
    fresh = model.set_params(validation=0.25, schedule__start_from=None).fit(images, labels, masks)
    assert len(fresh.held_out_) == 4 and len(fresh.trained_on_) == 8


def test_a_start_is_known_by_what_it_held_out(tmp_path):
    images, labels, masks = squares(12)
    weak = make().fit(images, labels)
    assert weak.trained_on_ == frozenset()
    weak.save(tmp_path / "weak")
    first = make(validation=0.5, schedule__start_from=tmp_path / "weak")  # no mask was learned from
    first.fit(images[:8], labels[:8], masks[:8]).save(tmp_path / "first")
    then = make(validation=0.25, schedule__start_from=tmp_path / "first", random_state=3)
    then.fit(images, labels, masks)
    assert first.held_out_ == then.held_out_ and first.trained_on_ < then.trained_on_
    labels_alone = make(schedule__start_from=tmp_path / "first", validation=None).fit(
        images, labels
    )
    assert labels_alone.trained_on_ == first.trained_on_
    make().fit(images, labels, masks).save(tmp_path / "unknown")
    labels_alone.set_params(schedule__start_from=tmp_path / "unknown").fit(images, labels)
    labels_alone.save(tmp_path / "labels")
    assert not labels_alone.has_masks_
    assert JointCAMSegmenter.load(tmp_path / "labels", device="cpu").trained_on_ is None


def test_a_start_brings_its_normalisation(tmp_path):
    images, labels, masks = squares()
    make(network__normalize="imagenet").fit(images, labels).save(tmp_path / "start")
    model = make(schedule__start_from=tmp_path / "start").fit(images, labels, masks)
    assert model.module_.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    model.save(tmp_path / "model")
    loaded = JointCAMSegmenter.load(tmp_path / "model", device="cpu")
    assert np.array_equal(loaded.predict_proba(images), model.predict_proba(images))
    make(schedule__start_from=tmp_path / "start", network__normalize="imagenet").fit(
        images, labels, masks
    )
    for other in ("half", (0.4, 0.2), ((0.485, 0.456, 0.406), (0.2, 0.2, 0.2))):
        with pytest.raises(ValueError, match="normalize must be 'auto', or that of the model in"):
            make(schedule__start_from=tmp_path / "start", network__normalize=other).fit(
                images, labels, masks
            )
    make(network__normalize="dataset").fit(images[:4], labels[:4]).save(tmp_path / "measured")
    model = make(network__normalize="dataset", schedule__start_from=tmp_path / "measured").fit(
        images, labels, masks
    )
    loaded = JointCAMSegmenter.load(tmp_path / "measured", device="cpu")
    assert torch.equal(model.module_.mean, loaded.module_.mean)


def test_a_copy_of_a_held_out_image_is_not_trained_on():
    images, labels, masks = squares(6)
    twice = np.tile(np.arange(6), 2)
    model = make(validation=0.34).fit(images[twice], labels[twice], masks[twice])
    held = set(positions(model.validation_, images))
    assert len(model.validation_.labels) == 2 * len(held)  # with their copies
    assert len(held) + len(model.trained_on_) == 6


def test_pixels_that_no_expert_drew_are_no_truth_of_the_validation_part():
    images, labels, masks = squares(8)
    weight = np.ones(masks.shape)
    weight[:, :, 8:] = 0.5
    model = make(validation=0.25).fit(images, labels, masks, list(weight))
    assert (model.validation_.masks[:, :, 8:] == MISSING).all()
    for image, mask in zip(model.validation_.images, model.validation_.masks, strict=True):
        (i,) = [i for i in range(8) if (images[i] == image).all()]
        assert (mask[:, :8] == masks[i][:, :8]).all()


def test_a_fit_on_class_labels_alone_keeps_the_threshold():
    images, labels, masks = squares(12)
    model = make(validation=0.34, threshold="validation", max_epochs=3).fit(images, labels, masks)
    model.threshold_ = 0.37  # as if it were the one that was found
    assert model.partial_fit(images, labels).threshold_ == 0.37


def test_a_bad_validation_set_is_found_before_training():
    images, labels, masks = squares(12)
    for bad, match in (
        (255 * masks[8:], "which is no class"),
        ([None] * 4, "annotated in at least"),
    ):
        part = ValidationSet(images[8:], labels[8:], bad)
        model = make(validation=part, threshold="validation")
        with pytest.raises(ValueError, match=match):
            model.fit(images[:8], labels[:8], masks[:8])
        assert not hasattr(model, "classes_")


def test_a_fit_that_goes_on_follows_its_parameters(tmp_path):
    images, labels, masks = squares(8)
    labels = np.array(["red"] * 6 + ["blue"] * 2)
    model = make(class_weight="balanced").fit(images, labels, masks)
    weight = model.criterion_.class_weight
    model.save(tmp_path / "model")
    loaded = JointCAMSegmenter.load(tmp_path / "model", device="cpu")
    loaded.partial_fit(images, labels, masks=masks)
    assert torch.equal(loaded.criterion_.class_weight, weight) and len(set(weight.tolist())) == 2
    model.set_params(class_weight={"red": 1.0, "blue": 5.0}).partial_fit(
        images, labels, masks=masks
    )
    assert sorted(model.criterion_.class_weight.tolist()) == [1.0, 5.0]
    model.set_params(class_weight=None).partial_fit(images, labels, masks=masks)
    assert model.criterion_.class_weight is None
    model.set_params(
        schedule__encoder_lr_scale=0.5,
        schedule__lr_schedule="constant",
        execution__channels_last=False,
    )
    model.partial_fit(images, labels, masks=masks)
    assert [group["lr"] for group in model.optimizer_.param_groups] == [3e-3, 1.5e-3]
    assert model.module_.encoder.stages[1][0].weight.is_contiguous()


def test_a_fit_that_goes_on_follows_its_cache(tmp_path):
    model, images, labels, masks = fitted(schedule__encoder_lr_scale=0.0)
    for name in ("one", "two"):
        model.set_params(feature_cache=tmp_path / name, augmentation__n_views=2)
        model.partial_fit(images, labels, masks=masks)
        assert list((tmp_path / name).rglob("*.npy"))


@pytest.mark.parametrize(
    "changed",
    [
        {"network__dropout": 0.5},
        {"network__class_dropout": 0.5},
        {"image_size": 16},
        {"crop": {"size": 16}},
        {"network__normalize": "imagenet"},
        {"network__normalize": (np.full(3, 0.4), np.full(3, 0.2))},
        {"network__pooling": "max"},
        {"network__cam_stride": 8},
        {"n_mask_classes": 3},
        {"encoder": OwnEncoder()},
        {"encoder_weights": "imagenet"},
        {"module__decoder_channels": (8, 4)},
        {"compile": True},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_network_is_not_gone_on_with_as_if_it_were_another(tmp_path, changed):
    model, images, labels, masks = fitted()
    proba, (name,) = model.predict_proba(images), changed
    model.set_params(**changed)
    assert np.array_equal(model.predict_proba(images), proba)
    told = name.replace("network__", "network.")
    match = rf"{told} must be as when the network was built, [\s\S]*start anew with fit"
    with pytest.raises(ValueError, match=match):
        model.partial_fit(images, labels, masks=masks)
    with pytest.raises(ValueError, match=match):
        model.save(tmp_path / "model")
    if name not in ("encoder_weights", "compile"):  # a download, minutes
        model.fit(images, labels, masks)
        assert not np.array_equal(model.predict_proba(images), proba)


def test_parameters_that_do_not_shape_the_network_are_free(tmp_path):
    model, images, labels, masks = fitted(network__normalize=[0.5, 0.5], encoder=OwnEncoder())
    model.save(tmp_path / "model")
    loaded = JointCAMSegmenter.load(tmp_path / "model", encoder=OwnEncoder(), device="cpu")
    for one in (model, loaded, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        one.set_params(
            lr=1e-3,
            augmentation__flips="none",
            augmentation__jitter=0.0,
            device="cpu",
            execution__amp=True,
            random_state=1,
            batch_size=4,
            network__normalize=(0.5, 0.5),
            schedule__ema=0.5,
        )
        assert one.partial_fit(images, labels, masks=masks).n_steps_ == 3


def test_the_optimizer_of_a_fitted_model_may_be_another():
    model, images, labels, masks = fitted()
    model.set_params(optimizer=torch.optim.SGD, optimizer__momentum=0.5)
    model.set_params(iterator_train__shuffle=True)
    model.partial_fit(images, labels, masks=masks)
    assert type(model.optimizer_) is torch.optim.SGD
    assert {group["momentum"] for group in model.optimizer_.param_groups} == {0.5}


def test_skorchs_checkpoints_load_with_a_device_of_auto(tmp_path):
    best = Checkpoint(dirname=str(tmp_path), monitor="train_loss_best", load_best=True)
    images, labels, masks = squares()
    model = make(device="auto", callbacks=[best], max_epochs=2).fit(images, labels, masks)
    again = make(device="auto", callbacks=[LoadInitState(best)], max_epochs=0)
    assert same_weights(model, again.fit(images, labels, masks)) and again.device == "auto"


def test_a_fit_that_goes_on_trains_what_was_frozen_before(tmp_path):
    images, labels, masks = squares(8)
    two = make(schedule__phases="two-phase").fit(images, labels, masks)
    before = state_of(two)
    two.set_params(schedule__phases="joint").partial_fit(images, labels, masks=masks)
    after = state_of(two)
    assert any((before[k] != after[k]).any() for k in before if k.startswith("encoder"))
    still = make(schedule__encoder_lr_scale=0.0, feature_cache=tmp_path).fit(images, labels, masks)
    before = state_of(still)
    still.set_params(schedule__encoder_lr_scale=1.0, feature_cache=None).partial_fit(
        images, labels, masks=masks
    )
    after = state_of(still)
    assert still.module_.feature_memory is None
    assert any((before[k] != after[k]).any() for k in before if k.startswith("encoder"))


@pytest.mark.parametrize(
    "options, match",
    [
        (
            {"augmentation__affine": 0.3},
            r"affine must be None or a pair \(scale, degrees\), got 0.3",
        ),
        ({"augmentation__affine": (1.5, 10.0)}, r"affine\[0\] must be >= 0 and <= 0.99"),
        ({"augmentation__affine": (0.1, -3)}, r"affine\[1\] must be >= 0"),
        ({"network__normalize": 0.5}, r"a pair \(mean, std\), got 0.5"),
        (
            {"network__pooling": None, "schedule__phases": "two-phase"},
            r"schedule.phases must be 'joint' with Network\(pooling=None",
        ),
    ],
)
def test_parameters_that_cannot_be_are_refused_before_training(options, match):
    with pytest.raises(ValueError, match=match):
        make(**options).fit(*squares())


def test_one_number_for_a_square_is_no_other_image_size():
    images, labels, masks = squares()
    model = make(image_size=32).fit(images, labels, masks)
    model.set_params(image_size=(32, 32)).partial_fit(images, labels, masks=masks)
    assert len(model.history) == 2
    with pytest.raises(ValueError, match="image_size must be as when the network was built"):
        model.set_params(image_size=64).partial_fit(images, labels, masks=masks)


def test_a_warm_start_from_a_network_that_was_only_built():
    images, labels, masks = squares()
    model = make(warm_start=True).initialize()
    assert model.fit(images, labels, masks).n_steps_ > 0


def test_validation_set():
    images, labels, masks = squares(12)
    part = ValidationSet(images[8:], labels[8:], masks[8:])
    model = make(validation=part, threshold="validation").fit(images[:8], labels[:8], masks[:8])
    assert model.validation_ is part
    plain = make().fit(images[:8], labels[:8], masks[:8])
    assert same_weights(model, plain) and plain.threshold_ == 0.5
    from alseg.metrics.threshold import best_threshold

    expected = best_threshold(plain.predict_mask_proba(images[8:]), masks[8:])
    assert model.threshold_ == pytest.approx(expected)
    scores = cross_val_score(model, images[:8], labels[:8], params={"masks": masks[:8]}, cv=2)
    assert scores.shape == (2,)  # not sliced by the folds


def test_fixed_threshold():
    model, images, *_ = fitted(threshold=0.3)
    proba = model.predict_mask_proba(images)[:, 1]
    assert ((proba >= np.float32(0.3)) == model.predict_masks(images)).all()


def test_validation_that_cannot_be():
    images, labels, masks = squares()
    with pytest.raises(ValueError, match="needs a validation part"):
        make(threshold="validation").fit(images, labels, masks)
    with pytest.raises(ValueError, match="leaves no image to hold out"):
        make(validation=0.5).fit(images[:2], labels[:2], masks[:2])
    with pytest.raises(ValueError, match="validation must be > 0"):
        make(validation=0.0).fit(images, labels, masks)
    with pytest.raises(ValueError, match="for two mask classes alone"):
        make(threshold="validation", validation=0.5, n_mask_classes=3).fit(images, labels, masks)
    with pytest.raises(ValueError, match="threshold must be one of"):
        make(threshold="valid").fit(images, labels, masks)


# -- schedules, warm starts, classes ---------------------------------------------------------------


def test_two_phases_freeze_the_classifier():
    images, labels, masks = squares()
    first = make(max_epochs=2).fit(images, labels)
    model = make(max_epochs=2, schedule__phases="two-phase").fit(images, labels, masks)
    assert len(model.history) == 4 and model.n_steps_ == 4
    # The first phase is the fit without masks; encoder, statistics and head stay from there on.
    before, after = first.module_.state_dict(), model.module_.state_dict()
    frozen = [k for k in after if k.startswith(("encoder", "class_head"))]
    assert any("running_mean" in k for k in frozen) and any("class_head.maps" in k for k in frozen)
    assert all(torch.equal(before[k], after[k]) for k in frozen)
    moved = [k for k in after if k.startswith(("decoder", "mask_conv")) and "num_batches" not in k]
    assert moved and not any(torch.equal(before[k], after[k]) for k in moved)
    assert (first.predict_proba(images) == model.predict_proba(images)).all()
    assert all(p.requires_grad for p in model.module_.parameters())


def test_two_phases_over_several_fits():
    images, labels, masks = squares()
    model = make(schedule__phases="two-phase").fit(images, labels)
    assert len(model.history) == 1 and not model.has_masks_
    frozen = {k: v for k, v in state_of(model).items() if k.startswith(("encoder", "class_head"))}
    for n in (2, 3):
        model.partial_fit(images, labels, masks=masks)
        assert len(model.history) == n and model.has_masks_
        assert all(torch.equal(v, model.module_.state_dict()[k]) for k, v in frozen.items())
    with pytest.raises(ValueError, match="masks must be annotated .* with phases='two-phase'"):
        model.partial_fit(images, labels)


def test_partial_fit_goes_on():
    images, labels, masks = squares()
    model = make().partial_fit(images[:4], labels[:4], classes=["blue", "red", "yellow"])
    assert model.classes_.tolist() == ["blue", "red", "yellow"] and not model.has_masks_
    before = state_of(model)
    model.partial_fit(images, labels, masks=masks)
    assert not same_weights(before, model) and model.has_masks_
    assert len(model.history) == 2 and model.predict_proba(images).shape == (8, 3)
    with pytest.raises(ValueError, match=r"y must be of the classes .*got \['green'\]"):
        model.partial_fit(images[:1], ["green"])
    with pytest.raises(ValueError, match="y must be of the classes"):
        make().partial_fit(images, labels, classes=["red", "yellow"])


def test_partial_fit_takes_no_masks_for_classes():
    images, labels, masks = squares()
    by_name = "Masks are given by name: masks=masks"
    for wrong in (masks, list(masks), [None] * len(masks), 3):
        with pytest.raises(ValueError, match=f"classes must be the labels .*{by_name}"):
            make().partial_fit(images, labels, wrong)
    model = make().fit(images, labels, masks)
    before = state_of(model)
    with pytest.raises(ValueError, match=by_name):
        model.partial_fit(images, labels, masks)
    with pytest.raises(ValueError, match="classes must be as at the first call, .*green"):
        model.partial_fit(images, labels, classes=[*model.classes_, "green"])
    assert same_weights(before, model)
    model.partial_fit(images, labels, classes=model.classes_[::-1], masks=masks)
    assert not same_weights(before, model)


def test_warm_start_goes_on_and_a_cold_fit_does_not():
    images, labels, masks = squares()
    warm = make(warm_start=True).fit(images, labels, masks)
    first = state_of(warm)
    warm.fit(images, labels, masks)
    assert len(warm.history) == 2
    going_on = make().fit(images, labels, masks).partial_fit(images, labels, masks=masks)
    assert same_weights(warm, going_on)
    cold = make().fit(images, labels, masks)
    assert same_weights(first, cold) and same_weights(first, cold.fit(images, labels, masks))
    assert len(cold.history) == 1


def test_a_new_learning_rate_holds_for_the_next_fit():
    images, labels, masks = squares()
    model = make(warm_start=True, schedule__lr_schedule="constant", schedule__encoder_lr_scale=0.5)
    model.fit(images, labels, masks).set_params(lr=0.25).fit(images, labels, masks)
    assert [g["lr"] for g in model.optimizer_.param_groups] == [0.25, 0.125]
    model.set_params(optimizer__lr=0.5).fit(images, labels, masks)
    assert [g["lr"] for g in model.optimizer_.param_groups] == [0.5, 0.25]
    model.set_params(optimizer__weight_decay=0.25, warm_start=False).fit(images, labels, masks)
    assert {g["weight_decay"] for g in model.optimizer_.param_groups} == {0.25}
    assert clone(model).optimizer__weight_decay == 0.25


@pytest.mark.parametrize("n_steps", [5, 8, 9, 30, 100])
def test_one_cycle_is_torchs(n_steps):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=n_steps, pct_start=0.25, cycle_momentum=False
    )
    for step in range(n_steps):
        assert one_cycle(step, n_steps) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        scheduler.step() if step < n_steps - 1 else None


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4])
def test_one_cycle_of_few_steps(n_steps):
    rates = [one_cycle(step, n_steps) for step in range(n_steps)]
    assert rates[0] == 1 and all(0 < r <= 1 for r in rates) and rates == sorted(rates)[::-1]
    images, labels, masks = squares()
    model = make(max_epochs=n_steps, optimizer=torch.optim.SGD).fit(images, labels, masks)
    assert len(model.history) == n_steps


def test_learning_rates_follow_the_cycle():
    seen = []

    class Rates(Callback):
        def on_batch_begin(self, net, **kwargs):
            seen.append([g["lr"] for g in net.optimizer_.param_groups])

    fitted(
        callbacks=[Rates()],
        steps_per_epoch=10,
        max_epochs=2,
        lr=0.01,
        schedule__encoder_lr_scale=0.1,
    )
    expected = [0.01 * one_cycle(step, 20) for step in range(20)]
    assert np.allclose(np.array(seen)[:, 0], expected)
    assert np.allclose(np.array(seen)[:, 1], np.array(expected) * 0.1)


def test_class_weight():
    images, labels, masks = squares()
    labels[:6] = "blue"
    _, counts = np.unique(labels, return_counts=True)
    model = make(class_weight="balanced").fit(images, labels, masks)
    assert np.allclose(model.criterion_.class_weight, 8 / (2 * counts))
    model = make(class_weight={"blue": 1.0, "red": 4.0}).fit(images, labels, masks)
    assert model.criterion_.class_weight.tolist() == [1, 4]
    assert make().fit(images, labels, masks).criterion_.class_weight is None
    first = make(class_weight="balanced").partial_fit(images, labels, ["blue", "green", "red"])
    assert np.allclose(first.criterion_.class_weight, [8 / (2 * counts[0]), 1, 8 / (2 * counts[1])])


# -- skorch's options ------------------------------------------------------------------------------


def test_optimizer_and_its_options():
    model, *_ = fitted(optimizer=torch.optim.SGD, optimizer__momentum=0.9, optimizer__nesterov=True)
    assert isinstance(model.optimizer_, torch.optim.SGD)
    assert model.optimizer_.param_groups[0]["momentum"] == 0.9
    groups = [("encoder*", {"lr": 0.0})]
    images, labels, masks = squares()
    model = make(optimizer__param_groups=groups, optimizer__weight_decay=0.0)
    model.fit(images, labels, masks)
    lr = sorted(g["initial_lr"] for g in model.optimizer_.param_groups)
    assert lr == [0.0, model.lr]


def test_criterion_options_reach_the_loss():
    model, *_ = fitted(criterion__dice_scale=0, criterion__normalize="batch")
    assert model.criterion_.dice_scale == 0 and model.criterion_.normalize == "batch"
    other, *_ = fitted()
    assert other.criterion_.dice_scale == 1 and not same_weights(model, other)
    changed = other.set_params(criterion__dice_scale=0, criterion__normalize="batch")
    assert same_weights(changed.fit(*squares()[:2], masks=squares()[2]), model)


def class_scale(**options):
    return make(**options).initialize().criterion_.class_scale


def test_the_class_loss_counts_more_from_random_weights(tmp_path):
    assert class_scale() == class_scale(encoder="mobilenet_v2") == 0.3  # "bundled" is none of these
    assert class_scale(encoder="efficientnet-lite0") == 0.1
    assert class_scale(encoder="efficientnet-lite0", encoder_weights=None) == 0.3
    assert class_scale(module=PlainUNet) == 0.3  # it takes no encoder
    assert class_scale(criterion__class_scale=0.7) == 0.7
    assert class_scale(encoder=OwnEncoder()) == 0.1  # it may come with weights of its own
    from safetensors.torch import save_file

    from alseg.network.encoder import TinyEncoder

    start = str(tmp_path / "start.safetensors")
    save_file(TinyEncoder().state_dict(), start)
    assert class_scale(encoder_weights=start) == class_scale(module__encoder_weights=start) == 0.1
    model, *_ = fitted(encoder_weights=start)
    model.save(tmp_path / "model")
    again = JointCAMSegmenter.load(tmp_path / "model")
    assert again.criterion_.class_scale == model.criterion_.class_scale == 0.1
    assert class_scale(schedule__start_from=str(tmp_path / "model")) == 0.1


def test_a_loss_of_the_users_own_gets_no_class_scale():
    class OwnLoss(nn.Module):
        takes_batch = True

        def forward(self, prediction, target):
            return nn.functional.cross_entropy(prediction["logits"], target["labels"])

    assert fitted(criterion=OwnLoss)[0].n_steps_ == 1


def test_module_options_reach_the_network():
    model, *_ = fitted(
        network__pooling="wildcat",
        module__head_options={"modalities": 3},
        module__decoder_channels=(8, 4),
    )
    assert model.module_.class_head.modalities == 3 and model.module_.decoder.out_channels == 4


@pytest.mark.parametrize("normalize", ["auto", "half", "imagenet", (0.4, 0.2)])
def test_normalization(normalize):
    model, *_ = fitted(network__normalize=normalize)
    mean = {"imagenet": [0.485, 0.456, 0.406], (0.4, 0.2): [0.4]}.get(normalize, [0.5])
    assert model.module_.mean.flatten().tolist() == pytest.approx(mean)


def test_amp_and_memory_format():
    model, images, *_ = fitted(execution__amp=True, execution__channels_last=False)
    assert np.isfinite(model.predict_mask_proba(images)).all()
    a, *_ = fitted(execution__channels_last=False)
    b, *_ = fitted(execution__channels_last=True)
    assert np.allclose(a.predict_mask_proba(images), b.predict_mask_proba(images), atol=1e-2)


def test_early_stopping_ends_a_fit_quietly():
    """skorch's callbacks say "done" by a KeyboardInterrupt, which is not the user's."""
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=100.0)
    model, images, *_ = fitted(callbacks=[stop], max_epochs=20)
    assert 2 <= len(model.history) < 20
    assert model.predict(images).shape == (8,)
    model, *_ = fitted(callbacks=[stop], max_epochs=20, schedule__phases="two-phase")
    assert 4 <= len(model.history) < 20 and model.n_steps_ == len(model.history)
    # The second phase ran too: its decoder was trained.
    first = make(callbacks=[stop], max_epochs=20).fit(*squares()[:2])
    assert not torch.equal(first.module_.mask_conv.weight, model.module_.mask_conv.weight)


@pytest.mark.parametrize("schedule", ["joint", "two-phase"])
@pytest.mark.parametrize("event", ["on_batch_end", "on_epoch_end"])
def test_an_interrupt_of_the_users_raises(monkeypatch, event, schedule):
    """Ctrl-C falls anywhere: here into the work that a callback has called."""

    def work():
        raise KeyboardInterrupt

    class Slow(Callback):
        def on_batch_end(self, net, training=None, **kwargs):
            if event == "on_batch_end":
                work()

        def on_epoch_end(self, net, **kwargs):
            work()

    images, labels, masks = squares()
    model = make(callbacks=[Slow()], max_epochs=3, schedule__phases=schedule)
    with pytest.raises(KeyboardInterrupt):
        model.fit(images, labels, masks)
    assert not {"_data", "_rng", "_phase", "_scheduler", "_interrupted"} & set(vars(model))
    clone(model).set_params(callbacks=None).fit(images, labels, masks)
    model.set_params(callbacks=None).fit(images, labels, masks)
    assert len(model.history) == (3 if schedule == "joint" else 6)


def test_an_error_in_training_leaves_nothing_behind():
    class Bad(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise RuntimeError("in the middle")

    images, labels, masks = squares()
    model = make(callbacks=[Bad()])
    with pytest.raises(RuntimeError, match="in the middle"):
        model.fit(images, labels, masks)
    assert set(clone(model).get_params()) == set(make().get_params())
    state = torch.get_rng_state()
    assert torch.equal(state, torch.get_rng_state())


def test_train_split_gives_a_validation_loss():
    from skorch.dataset import ValidSplit

    model, *_ = fitted(train_split=ValidSplit(4, stratified=False), max_epochs=2)
    assert np.isfinite(model.history[:, "valid_loss"]).all()


def test_silent_and_talkative(capsys):
    images, labels, masks = squares()
    model = make(verbose=0).fit(images, labels, masks)
    model.predict_joint(images)
    model.fit(images, labels, masks).set_params(lr=0.1)
    out = capsys.readouterr()
    assert out.out == "" and out.err == ""
    make(verbose=2).fit(images, labels, masks)
    assert "train_loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    "typo, suggestion",
    [
        ("encodr", "encoder"),
        ("max_epoch", "max_epochs"),
        ("criterion__dice_scal", "criterion__dice_scale"),
        ("optimizer__weight_deca", "optimizer__weight_decay"),
        ("module__decoder_chanels", "module__decoder_channels"),
        ("criterium__dice_scale", "criterion"),
    ],
)
def test_typos_are_told_before_any_file_is_read(typo, suggestion):
    with pytest.raises(
        TypeError, match=f"unexpected argument {typo!r}. Did you mean '{suggestion}'"
    ):
        make(**{typo: 1}).fit(["no such file.png"], ["a"])
    if "__" in typo:
        with pytest.raises(TypeError, match=f"Did you mean '{suggestion}'"):
            make().set_params(**{typo: 1}).fit(["no such file.png"], ["a"])
    else:
        with pytest.raises(ValueError, match="Invalid parameter"):
            make().set_params(**{typo: 1})


@pytest.mark.parametrize(
    "options, rule",
    [
        ({"encoder": "resnet"}, "encoder must be one of .*Did you mean 'resnet"),
        ({"network__pooling": "averge"}, "pooling must be one of .*Did you mean 'average'"),
        ({"schedule__phases": "two_phase"}, "schedule.phases must be .*Did you mean 'two-phase'"),
        ({"augmentation__flips": "vertical"}, "flips must be"),
        ({"test_flips": "all"}, "test_flips must be"),
        ({"schedule__lr_schedule": "linear"}, "lr_schedule must be"),
        ({"network__normalize": "imagnet"}, "Did you mean 'imagenet'"),
        ({"network__dropout_placement": "all"}, "dropout_placement must be"),
        ({"n_mask_classes": 1}, "n_mask_classes must be >= 2"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"predict_batch_size": 0}, "predict_batch_size must be >= 1"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be >= 1"),
        ({"max_epochs": -1}, "max_epochs must be >= 0"),
        ({"network__dropout": 1.0}, "dropout must be"),
        ({"lr": 0.0}, "lr must be > 0"),
        ({"lr": float("nan")}, "lr must be"),
        ({"image_size": (1, 2, 3)}, "image_size must be"),
        ({"image_size": 0}, "image_size must be >= 1"),
        ({"threshold": 1.5}, "threshold must be"),
        ({"schedule__ema": 1.0}, "ema must be"),
        ({"augmentation__stain": -0.1}, "stain must be >= 0"),
    ],
)
def test_bad_options(options, rule):
    images, labels, masks = squares()
    with pytest.raises(ValueError, match=rule):
        make(**options).fit(images, labels, masks)


# -- bad input -------------------------------------------------------------------------------------


def bad_inputs():
    images, labels, masks = squares()
    nan = images / 255
    nan[3, 0, 0, 0] = np.nan
    wrong_size = [*masks[:5], np.zeros((4, 4), int), *masks[6:]]
    infinite = np.ones(8)
    infinite[2] = np.inf
    return [
        ("nan", (nan, labels, masks), r"X\[3\] must be finite"),
        ("range", (images / 1.0, labels, masks), r"X\[0\].*Divide by 255"),
        ("short y", (images, labels[:5], masks), r"y must be of the length of X \(8\)"),
        ("short masks", (images, labels, masks[:5]), r"masks must be of the length of X \(8\)"),
        ("no y", (images, None, None), "y must hold a label where there are no masks"),
        ("fractions", (images, np.arange(8) / 3, masks), "Unknown label type"),
        ("nan y", (images, [np.nan] * 8, None), "y must hold a label where there are no masks"),
        ("value", (images, labels, masks + 1), r"masks\[\d\] holds the value 2, which is no class"),
        ("size", (images, labels, wrong_size), r"masks\[5\] is 4 x 4 pixels"),
        ("weights", (images, labels, masks, np.ones(3)), "mask_weight must be of the length"),
        (
            "negative",
            (images, labels, masks, -np.ones(8)),
            r"mask_weight\[0\] must be finite and >= 0",
        ),
        ("infinite", (images, labels, masks, infinite), r"mask_weight\[2\] must be finite"),
        (
            "pixels",
            (images, labels, masks, np.ones((8, 3, 3))),
            r"of shape \(32, 48\), got \(3, 3\)",
        ),
        ("empty", (images[:0], labels[:0], masks[:0]), "X must be at least one image"),
    ]


@pytest.mark.parametrize(
    "name, arguments, rule", bad_inputs(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_bad_input_is_told_before_training_and_leaves_the_model(name, arguments, rule):
    model, images, *_ = fitted()
    before, proba = state_of(model), model.predict_proba(images)
    with pytest.raises(ValueError, match=rule):
        model.fit(*arguments)
    assert same_weights(before, model) and (model.predict_proba(images) == proba).all()
    with pytest.raises(ValueError, match=rule):
        model.partial_fit(arguments[0], arguments[1], None, *arguments[2:])
    assert same_weights(before, model) and len(model.history) == 1


def test_bad_input_of_another_type():
    images, labels, masks = squares()
    with pytest.raises(TypeError, match="mask_weight must be one weight an image.*np.full"):
        make().fit(images, labels, masks, mask_weight=0.5)
    with pytest.raises(TypeError, match=r"mask_weight\[1\] must be a number"):
        make().fit(images, labels, masks, mask_weight=[1, "much", 1, 1, 1, 1, 1, 1])
    with pytest.raises(TypeError, match="X must be uint8, or float"):
        make().fit(images.astype(int), labels, masks)
    with pytest.raises(TypeError, match="y must be labels of one sortable type"):
        make().fit(images, np.array([1, "a"] * 4, dtype=object), masks)


def test_bad_files_are_named_before_training(tmp_path):
    images, labels, masks = squares()
    paths, mask_paths = write_files(tmp_path, images, masks)
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:300])
    with pytest.raises(ValueError, match="3.png.*truncated"):
        make().fit(paths, labels, mask_paths)
    (tmp_path / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match="3.png"):
        make().fit(paths, labels, mask_paths, mask_weight=np.ones(8))


# -- moving average of weights ---------------------------------------------------------------------


class Steps(Callback):
    """Keeps the weights before the first step and after each."""

    def on_train_begin(self, net, **kwargs):
        self.states = [state_of(net)]

    def on_batch_end(self, net, training, **kwargs):
        if training:
            self.states.append(state_of(net))


def averaged_by_hand(states, decay):
    average = {k: v.double() for k, v in states[0].items()}
    for t, state in enumerate(states[1:], 1):
        d = min(decay, (1 + t) / (10 + t))
        average = {k: d * average[k] + (1 - d) * state[k].double() for k in average}
    return average


@pytest.mark.parametrize("decay", [0.3, 0.99])
def test_a_fit_ends_with_the_average_of_its_steps(decay):
    images, labels, masks = squares()
    steps = Steps()
    model = make(max_epochs=6, schedule__ema=decay, callbacks=[steps]).fit(images, labels, masks)
    plain = make(max_epochs=6).fit(images, labels, masks)
    assert same_weights(steps.states[-1], plain)  # training itself is not changed
    expected, found = averaged_by_hand(steps.states, decay), model.module_.state_dict()
    for name, value in found.items():
        if value.is_floating_point():  # running statistics among them
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(value, steps.states[-1][name])
    assert not same_weights(model, plain)


def test_a_decay_of_zero_is_no_average_bit_for_bit():
    images, labels, masks = squares()
    for options in ({}, {"schedule__phases": "two-phase"}):
        pair = [
            make(max_epochs=2, schedule__ema=ema, **options).fit(images, labels, masks)
            for ema in (None, 0.0)
        ]
        assert same_weights(*pair)


def test_the_average_is_what_is_validated_and_saved(tmp_path):
    images, labels, masks = squares(16)
    part = ValidationSet(images[8:], labels[8:], masks[8:])
    options = {
        "max_epochs": 5,
        "schedule__ema": 0.9,
        "validation": part,
        "schedule__keep_epoch": "validation",
        "lr": 1e-2,
    }
    model = make(**options).fit(images[:8], labels[:8], masks[:8])
    scores = model.history[:, "validation_score"]
    assert model.score_masks(images[8:], masks[8:]) == max(scores) == model.validation_score_
    model.save(tmp_path / "model")
    loaded = JointCAMSegmenter.load(tmp_path / "model", validation=part)
    assert same_weights(loaded, model) and loaded.schedule.ema == 0.9


def test_a_fit_that_nothing_was_chosen_in_has_no_validation_score():
    images, labels, masks = squares()
    part = ValidationSet(images[:4], labels[:4], masks[:4])
    model = make(max_epochs=1, validation=part, schedule__keep_epoch="validation").fit(
        images, labels, masks
    )
    assert 0 <= model.validation_score_ <= 1
    model.set_params(schedule__keep_epoch="last").fit(images, labels, masks)
    assert not hasattr(model, "validation_score_")


def test_stain_reaches_the_batches():
    images, labels, masks = squares()
    models = [make(augmentation__stain=stain).fit(images, labels, masks) for stain in (0.0, 0.1)]
    assert same_weights(models[0], make().fit(images, labels, masks))
    assert not same_weights(*models)


def test_a_frozen_classifier_stays_as_it_was_in_the_average():
    images, labels, masks = squares()
    steps = Steps()
    model = make(schedule__phases="two-phase", max_epochs=2, schedule__ema=0.5, callbacks=[steps])
    model.fit(images, labels, masks)
    before, after = steps.states[0], model.module_.state_dict()  # of the second phase
    frozen = [k for k in after if k.startswith(("encoder.", "head."))]
    assert frozen and all(torch.equal(before[k], after[k]) for k in frozen)


def test_not_fitted():
    images, labels, masks = squares()
    for name in (
        "predict",
        "predict_proba",
        "predict_masks",
        "predict_mask_proba",
        "predict_cams",
        "predict_joint",
        "predict_uncertainty",
        "transform",
    ):
        with pytest.raises(NotFittedError, match="call `fit`"):
            getattr(make(), name)(images)
    with pytest.raises(NotFittedError):
        make().score_masks(images, masks)
    with pytest.raises(NotFittedError):
        make().save("anywhere")
    with pytest.raises(ValueError, match="X must be at least one image"):
        fitted()[0].predict(images[:0])


# -- scikit-learn's tools --------------------------------------------------------------------------


def test_parameters_are_kept_and_cloned():
    options = {
        "augmentation__affine": (0.1, 5),
        "class_weight": {"a": 1},
        "optimizer__weight_decay": 0.1,
    }
    model = make(**options)
    params = model.get_params()
    assert all(params[k] is v or params[k] == v for k, v in options.items())
    copied = clone(model)
    assert copied.get_params().keys() == params.keys()
    assert copied.get_params(deep=False).keys() == model.get_params(deep=False).keys()
    assert copied.augmentation.affine == (0.1, 5) and copied.optimizer__weight_decay == 0.1
    assert not copied.initialized_ and "tiny" in repr(copied) or "module" in repr(copied)
    assert "JointCAMNetwork" in repr(fitted()[0])


def test_clone_of_a_fitted_model_is_not_fitted():
    model, images, labels, masks = fitted()
    copied = clone(model)
    with pytest.raises(NotFittedError):
        copied.predict(images)
    assert same_weights(copied.fit(images, labels, masks), model)


@pytest.mark.parametrize("kind", ["array", "list", "paths"])
def test_cross_validation(kind, tmp_path):
    if kind == "array":
        X, labels, masks = squares(6)
        M = masks
    else:
        X, labels, M = ragged()
        if kind == "paths":
            X, M = write_files(tmp_path, X, M)
    result = cross_validate(
        make(), X, labels, params={"masks": M}, cv=3, return_estimator=True, error_score="raise"
    )
    assert len(result["test_score"]) == 3
    assert all(model.has_masks_ for model in result["estimator"])
    weighted = cross_val_score(
        make(), X, labels, params={"masks": M, "mask_weight": np.ones(6)}, cv=3, error_score="raise"
    )
    assert (weighted == result["test_score"]).all()


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_search_that_optimises_masks(routing):
    images, labels, masks = squares()
    grid = {"encoder": ["tiny", OwnEncoder()], "lr": [1e-3]}
    search = GridSearchCV(make(), grid, cv=2, scoring=dice_scorer, error_score="raise")
    search.fit(images, labels, masks=masks)
    assert search.best_estimator_.has_masks_
    assert (
        (search.cv_results_["mean_test_score"] >= 0) & (search.cv_results_["mean_test_score"] <= 1)
    ).all()
    assert search.score(images, labels, masks=masks) == pytest.approx(
        search.best_estimator_.score_masks(images, masks)
    )


def test_cross_validation_with_routing_on(routing):
    images, labels, masks = squares()
    params = {"masks": masks, "mask_weight": np.ones(8)}
    result = cross_validate(
        make(),
        images,
        labels,
        params=params,
        cv=2,
        return_estimator=True,
        error_score="raise",
        scoring={"dice": dice_scorer, "accuracy": "accuracy"},
    )
    assert all(model.has_masks_ for model in result["estimator"])
    for model in result["estimator"]:
        assert not model.get_params()["warm_start"]
    assert result["test_dice"].shape == result["test_accuracy"].shape == (2,)
    model = make().fit(images, labels, masks).partial_fit(images, labels, masks=masks)
    assert len(model.history) == 2


class Brighten(TransformerMixin, BaseEstimator):
    """A transformer for image arrays."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.clip(X * 1.2, 0, 255).astype(np.uint8)

    def __sklearn_is_fitted__(self):
        return True


def test_last_step_of_a_pipeline():
    images, labels, masks = squares()
    pipeline = Pipeline([("brighten", Brighten()), ("joint", make())])
    pipeline.fit(images, labels, joint__masks=masks)
    assert pipeline[-1].has_masks_ and pipeline.classes_.tolist() == ["blue", "red"]
    assert pipeline.predict(images).shape == (8,) and pipeline.transform(images).shape == (8, 96)
    assert same_weights(pipeline[-1], make().fit(Brighten().transform(images), labels, masks))
    assert 0 <= pipeline.score(images, labels) <= 1
    scores = cross_val_score(pipeline, images, labels, params={"joint__masks": masks}, cv=2)
    assert scores.shape == (2,)
    search = GridSearchCV(pipeline, {"joint__lr": [1e-3, 1e-2]}, cv=2, error_score="raise")
    assert search.fit(images, labels, joint__masks=masks).best_estimator_[-1].has_masks_


def test_pipeline_with_routing_and_dice(routing):
    images, labels, masks = squares()
    pipeline = Pipeline([("brighten", Brighten()), ("joint", make())])
    result = cross_validate(
        pipeline,
        images,
        labels,
        params={"masks": masks},
        cv=2,
        scoring=dice_scorer,
        error_score="raise",
    )
    assert (result["test_score"] >= 0).all()


# -- copies, pickles and saved models --------------------------------------------------------------


def by_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


@pytest.mark.parametrize(
    "duplicate",
    [lambda m: pickle.loads(pickle.dumps(m)), by_joblib, copy.deepcopy, copy.copy],
    ids=["pickle", "joblib", "deepcopy", "copy"],
)
def test_copies_predict_the_same_and_train_on(duplicate):
    images, labels, masks = squares()
    unfitted = duplicate(make())
    assert unfitted.device == "auto" and unfitted.encoder == "tiny" and not unfitted.initialized_
    model = make(encoder=OwnEncoder(), validation=0.5).fit(images, labels, masks)
    twin = duplicate(model)
    assert (twin.predict_mask_proba(images) == model.predict_mask_proba(images)).all()
    assert (twin.predict(images) == model.predict(images)).all() and twin.device == "auto"
    assert same_weights(
        twin.fit(images, labels, masks),
        make(encoder=model.encoder, validation=0.5).fit(images, labels, masks),
    )


def test_a_deep_copy_is_apart():
    model, images, labels, masks = fitted()
    before = state_of(model)
    copy.deepcopy(model).partial_fit(images, labels, masks=masks)
    assert same_weights(before, model)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"network__pooling": "attention", "image_size": (24, 40), "threshold": 0.3},
        {
            "schedule__phases": "two-phase",
            "augmentation__affine": None,
            "class_weight": {"red": 2.0, "blue": 1.0},
        },
        {
            "optimizer": torch.optim.SGD,
            "optimizer__momentum": 0.5,
            "network__normalize": "imagenet",
        },
        {
            "module__head_options": {"lse_r": 3.0},
            "network__pooling": "lse",
            "random_state": np.int64(3),
        },
        {"validation": 0.5, "threshold": "validation", "criterion__dice_scale": 0},
    ],
)
def test_save_and_load(tmp_path, options):
    model, images, labels, masks = fitted(**options)
    model.save(tmp_path / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = JointCAMSegmenter.load(tmp_path / "model")
    assert (loaded.predict_mask_proba(images) == model.predict_mask_proba(images)).all()
    assert (loaded.predict_masks(images) == model.predict_masks(images)).all()
    assert (loaded.predict(images) == model.predict(images)).all()
    assert loaded.classes_.dtype == model.classes_.dtype and loaded.device == "auto"
    for method in ("entropy", "bald"):
        a, b = (m.predict_uncertainty(images, method, random_state=1) for m in (model, loaded))
        assert (a == b).all()
    for name in options:
        assert loaded.get_params()[name] == options[name]
    loaded.partial_fit(images, labels, masks=masks)  # it can be trained on
    if model.random_state is not None:
        assert same_weights(clone(loaded).fit(images, labels, masks), model)


@pytest.mark.parametrize(
    "labels", [[True, False] * 4, [7, -1] * 4, np.array(["a", "bb"] * 4, dtype=object)]
)
def test_saved_labels_of_any_type(tmp_path, labels):
    images, _, masks = squares()
    model = make().fit(images, labels, masks)
    model.save(tmp_path / "model")
    loaded = JointCAMSegmenter.load(tmp_path / "model")
    assert loaded.predict(images).tolist() == model.predict(images).tolist()
    assert loaded.classes_.dtype == model.classes_.dtype


def test_a_saved_weak_model_stays_weak(tmp_path):
    images, labels, _ = squares()
    model = make().fit(images, labels)
    model.save(tmp_path / "model")
    loaded = JointCAMSegmenter.load(tmp_path / "model")
    assert not loaded.has_masks_
    assert (loaded.predict_masks(images) == model.predict_masks(images)).all()


def test_loading_reads_no_weights_of_before(tmp_path):
    """The checkpoint that the encoder began with may be gone."""
    from safetensors.torch import save_file

    from alseg.network.encoder import TinyEncoder

    save_file(TinyEncoder().state_dict(), tmp_path / "start.safetensors")
    model, images, *_ = fitted(encoder_weights=str(tmp_path / "start.safetensors"))
    model.save(tmp_path / "model")
    os.remove(tmp_path / "start.safetensors")
    loaded = JointCAMSegmenter.load(tmp_path / "model")
    assert (loaded.predict_proba(images) == model.predict_proba(images)).all()
    assert loaded.encoder_weights == str(tmp_path / "start.safetensors")


def test_a_saved_model_holds_no_pickle(tmp_path):
    model, *_ = fitted(encoder="tiny")
    model.save(tmp_path / "model")
    files = sorted((tmp_path / "model").iterdir())
    assert [f.name for f in files] == ["model.json", "model.safetensors"]
    for file in files:
        assert not zipfile.is_zipfile(file)
        with pytest.raises(Exception), open(file, "rb") as handle:  # noqa: B017 - any will do
            pickle.load(handle)
    json.loads(files[0].read_text(encoding="utf-8"))


def test_loading_never_unpickles(tmp_path, monkeypatch):
    model, *_ = fitted()
    model.save(tmp_path / "model")

    def refuse(*args, **kwargs):
        raise AssertionError("unpickled")

    for owner, name in [
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "Unpickler"),
        (torch, "load"),
    ]:
        monkeypatch.setattr(owner, name, refuse)
    JointCAMSegmenter.load(tmp_path / "model")


@pytest.mark.parametrize(
    "name, value, rule",
    [
        ("optimizer", {"torch.optim": "os.system"}, "optimizer must be a class of torch.optim"),
        ("optimizer", {"torch.optim": "lr_scheduler"}, "optimizer must be a class of torch.optim"),
        ("optimizer", "os.system", "optimizer must be a class"),
        ("module", "os.system", "module must be a class"),
        ("module", {"alseg": "os.system"}, "path must be a folder that `save` wrote"),
        ("criterion", {"py/object": "os.system"}, "path must be a folder that `save` wrote"),
        ("affine", {}, "path must be a folder that `save` wrote"),
        ("encoder", "../../other", "encoder must be one of"),
    ],
)
def test_tampered_parameters_are_refused(tmp_path, name, value, rule):
    model, *_ = fitted()
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    record = json.loads(path.read_text())
    record["params"][name] = value
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=rule):
        JointCAMSegmenter.load(tmp_path / "model")


def test_a_saved_model_does_not_say_what_to_trust(tmp_path):
    model, *_ = fitted()
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    record = json.loads(path.read_text())
    record["params"]["torch_load_kwargs"] = {"dict": [["weights_only", False]]}
    record["params"]["module__encoder_weights"] = "https://localhost:1/weights.pth"
    path.write_text(json.dumps(record))
    loaded = JointCAMSegmenter.load(tmp_path / "model")
    assert loaded.torch_load_kwargs is None and not hasattr(loaded, "module__encoder_weights")


def test_damaged_and_missing_folders(tmp_path):
    model, *_ = fitted()
    model.save(tmp_path / "model")
    with pytest.raises(FileNotFoundError, match="path must be a folder that `save` wrote.*nowhere"):
        JointCAMSegmenter.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty"):
        JointCAMSegmenter.load(tmp_path / "empty")
    weights, record = tmp_path / "model" / "model.safetensors", tmp_path / "model" / "model.json"
    whole = weights.read_bytes()
    for content in (b"", whole[:100], whole[:-4]):
        weights.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged"):
            JointCAMSegmenter.load(tmp_path / "model")
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors"):
        JointCAMSegmenter.load(tmp_path / "model")
    weights.write_bytes(whole)
    text = record.read_text()
    for content in ("", "[]", "{}", text[:200], text.replace("Segmenter/1", "Segmenter/99")):
        record.write_text(content)
        with pytest.raises(ValueError, match="path must be a folder that `save` wrote"):
            JointCAMSegmenter.load(tmp_path / "model")
    fewer = json.loads(text)
    fewer["classes"] = ["blue", "green", "red"]
    record.write_text(json.dumps(fewer))
    with pytest.raises(ValueError, match="with the weights of its network"):
        JointCAMSegmenter.load(tmp_path / "model")


def test_save_and_load_with_an_own_encoder(tmp_path):
    model, images, *_ = fitted(encoder=OwnEncoder(), callbacks=[("s", OwnCallback())])
    model.save(tmp_path / "model")
    with pytest.raises(
        ValueError, match=r"its own encoder, which is code.*load\(path, encoder=...\)"
    ):
        JointCAMSegmenter.load(tmp_path / "model")
    with pytest.warns(UserWarning, match="at their defaults: .*callbacks"):
        loaded = JointCAMSegmenter.load(tmp_path / "model", encoder=OwnEncoder())
    assert (loaded.predict_mask_proba(images) == model.predict_mask_proba(images)).all()
    with pytest.raises(ValueError, match="with the weights of its network"):
        JointCAMSegmenter.load(tmp_path / "model", encoder=OwnEncoder(width=4), callbacks=None)


class OwnCallback(Callback):
    """A callback of a user's."""


def test_save_replaces_a_saved_model_and_nothing_else(tmp_path):
    first, images, labels, masks = fitted()
    second = make(random_state=1).fit(images, labels, masks)
    path = tmp_path / "new" / "model"
    first.save(path)
    second.save(path)
    loaded = JointCAMSegmenter.load(path)
    assert same_weights(loaded, second)
    assert os.listdir(path.parent) == ["model"]  # nothing is left beside it
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("work of years")
    for name in ("precious", "precious/thesis.txt"):
        with pytest.raises(ValueError, match="path must be new, or a folder of an earlier save"):
            first.save(tmp_path / name)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "work of years"


def test_a_failing_save_leaves_the_saved_model(tmp_path, monkeypatch):
    first, images, labels, masks = fitted()
    first.save(tmp_path / "model")
    second = make(random_state=1).fit(images, labels, masks)
    import safetensors.torch

    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="no space left"):
        second.save(tmp_path / "model")
    monkeypatch.undo()
    assert same_weights(JointCAMSegmenter.load(tmp_path / "model"), first)
    assert os.listdir(tmp_path) == ["model"]
    original = os.replace

    def last_move_fails(source, target):
        if Path(target).name == "model.json":
            raise OSError("lost the disk")
        original(source, target)

    monkeypatch.setattr(os, "replace", last_move_fails)
    for name in ("model", "new"):
        with pytest.raises(OSError, match=f"{name}.*lost the disk"):
            second.save(tmp_path / name)
    monkeypatch.undo()
    assert same_weights(JointCAMSegmenter.load(tmp_path / "model"), first)
    assert os.listdir(tmp_path) == ["model"]
    assert sorted(os.listdir(tmp_path / "model")) == ["model.json", "model.safetensors"]


def dying(monkeypatch, fail_at):
    """Let the process die at a call of the system; give the calls, with those that die."""
    calls = []

    def wrap(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) >= fail_at:
                raise Killed
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "replace", "unlink", "rmdir", "mkdir"):
        wrap(name)
    return calls


class Killed(BaseException):
    pass


def test_killed_at_any_moment_of_a_save_the_old_or_the_new_model_is_there(tmp_path, monkeypatch):
    first, images, labels, masks = fitted()
    second = make(random_state=1).fit(images, labels, masks)
    for over in (False, True):
        outcomes = []
        for fail_at in itertools.count(1):
            path = tmp_path / f"{over}-{fail_at}"
            if over:
                first.save(path)
            with monkeypatch.context() as patch:
                calls = dying(patch, fail_at)
                with suppress(Killed):
                    second.save(path)
            try:
                loaded = JointCAMSegmenter.load(path)
            except FileNotFoundError:
                assert not over
                outcomes.append("none")
            else:
                outcomes.append("new" if same_weights(loaded, second) else "old")
                assert same_weights(loaded, second) or (over and same_weights(loaded, first))
            second.save(path)  # what the killed one left is in nobody's way, and goes
            assert same_weights(JointCAMSegmenter.load(path), second)
            assert len(os.listdir(path)) == 2 and not list(tmp_path.glob(".*"))
            if len(calls) < fail_at:
                break
        assert outcomes[0] == ("old" if over else "none") and outcomes[-1] == "new"
        assert len(outcomes) > 6


def test_a_model_of_another_program_is_not_saved_over(tmp_path):
    model, *_ = fitted()
    (tmp_path / "model.json").write_text('{"format": "layers-model", "weightsManifest": []}')
    with pytest.raises(ValueError, match="path must be new, or a folder of an earlier save"):
        model.save(tmp_path)
    assert os.listdir(tmp_path) == ["model.json"]


def test_saved_models_of_before_are_read_and_saved_over(tmp_path):
    """Their record does not name their weights."""
    first, images, labels, masks = fitted()
    first.save(tmp_path / "model")
    record = json.loads((tmp_path / "model/model.json").read_text())
    assert record.pop("weights") == "model.safetensors"
    (tmp_path / "model/model.json").write_text(json.dumps(record))
    assert same_weights(JointCAMSegmenter.load(tmp_path / "model"), first)
    second = make(random_state=1).fit(images, labels, masks)
    second.save(tmp_path / "model")
    assert same_weights(JointCAMSegmenter.load(tmp_path / "model"), second)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "other.safetensors", 3])
def test_a_record_names_weights_of_its_own_folder_alone(tmp_path, name):
    model, *_ = fitted()
    model.save(tmp_path / "model")
    record = json.loads((tmp_path / "model/model.json").read_text())
    (tmp_path / "model/model.json").write_text(json.dumps({**record, "weights": name}))
    with pytest.raises(ValueError, match="weights must be a file of the folder"):
        JointCAMSegmenter.load(tmp_path / "model")


# -- steps, what is read, and bars -----------------------------------------------------------------


def pool_of_files(folder, n, n_masks=4):
    """Paths of `n` images, labels, and masks of the first ones."""
    rng = np.random.default_rng(0)
    paths = [str(folder / f"{i:03d}.png") for i in range(n)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    masks = [rng.integers(0, 2, (32, 32)) if i < n_masks else None for i in range(n)]
    return paths, np.arange(n) % 2, masks


@pytest.fixture
def files_read(monkeypatch):
    """The names of the image files that are read from now on, in their order."""
    from alseg.images import sequences

    read, names = sequences.read_image, []

    def told(path, *args, **kwargs):
        names.append(os.path.basename(str(path)))
        return read(path, *args, **kwargs)

    monkeypatch.setattr(sequences, "read_image", told)
    return names


@pytest.mark.parametrize(
    "options, n_read",
    [
        ({}, 4 + 5 * 2),  # 4 masks, and what 5 steps hold of the rest
        ({"max_epochs": 2}, 4 + 10 * 2),
        ({"weak_batch_size": 0}, 4),
        ({"steps_per_epoch": 20}, 4 + 20 * 2),
        ({"steps_per_epoch": 30}, 4 + 56),  # all of them
        ({"schedule__phases": "two-phase"}, 4 + 5 * 2 + 5 * 4),  # classes of any image, before
        ({"network__normalize": "dataset"}, 60),
        ({"schedule__sampling": "passes"}, 60),
        ({"crop": {"size": 24}}, 4 + 5 * 2),
    ],
)
def test_a_fit_reads_what_it_draws(tmp_path, files_read, options, n_read):
    paths, labels, masks = pool_of_files(tmp_path, 60)
    model = make(**{"batch_size": 4, "weak_batch_size": 2, "steps_per_epoch": None, **options})
    model.fit(paths, labels, masks)
    assert len(files_read) == len(set(files_read)) == n_read  # each once
    assert {f"{i:03d}.png" for i in range(4)} <= set(files_read)


def test_without_masks_a_fit_reads_what_it_draws(tmp_path, files_read):
    paths, labels, _ = pool_of_files(tmp_path, 60)
    make(batch_size=4, steps_per_epoch=None).fit(paths, labels)
    assert len(set(files_read)) == 5 * 4


def test_steps_do_not_grow_with_the_pool():
    images, labels, masks = squares()
    steps = [
        make(batch_size=2, steps_per_epoch=None, max_epochs=2)
        .fit(np.repeat(images, n, 0), np.repeat(labels, n), masks=np.repeat(masks, n, 0))
        .n_steps_
        for n in (1, 4, 8)
    ]
    n = -(-len(images) // 2)
    assert steps == [2 * min(n, 5), 10, 10]


def test_class_weights_are_of_all_labels_and_not_of_the_images_drawn():
    images = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    labels = np.repeat([0, 1], [54, 6])
    model = make(batch_size=2, steps_per_epoch=1, class_weight="balanced").fit(images, labels)
    assert model.criterion_.class_weight.tolist() == pytest.approx([60 / (2 * 54), 60 / (2 * 6)])


def test_bars_say_how_far_it_is(capsys):
    images, labels, masks = squares()
    make(verbose=0).fit(images, labels, masks).predict(images)
    assert capsys.readouterr() == ("", "")
    model = make(verbose=1, max_epochs=2, steps_per_epoch=3).fit(images, labels, masks)
    model.predict_masks(images)
    out, err = capsys.readouterr()
    n = len(images)
    for bar in (rf"read: .*\| \d+/{n} ", r"fit: .*\| \d+/6 ", rf"predict: .*\| \d+/{n} "):
        assert re.search(bar, err), bar
    assert out == ""
    make(verbose=2).fit(images, labels, masks)
    assert "train_loss" in capsys.readouterr().out


def test_a_net_with_a_bar_can_be_pickled_while_it_trains():
    class Copies(Callback):
        def on_epoch_end(self, net, **kwargs):
            state = net.__getstate__()
            assert "_bar" not in state

    images, labels, masks = squares()
    make(verbose=1, callbacks=[Copies()]).fit(images, labels, masks)
