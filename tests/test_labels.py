"""Class labels that are missing: what counts as one, and that it counts nowhere."""

import functools
import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.metrics import accuracy_score
from sklearn.model_selection import KFold, cross_validate

from alseg import (
    ActiveLearner,
    JointCAMSegmenter,
    Network,
    PixelClassifier,
    PseudoLabelAugmenter,
    Schedule,
)
from alseg.cli import main
from alseg.comparison import Plan, compare_strategies
from alseg.datasets import Dataset, class_folds, load_folder, make_glands
from alseg.experiment import Protocol, evaluate, run, without_classes
from alseg.experiment.protocol import folds
from alseg.labels import (
    MISSING,
    as_labels,
    codes_among,
    label_codes,
    label_strata,
    missing_labels,
)
from alseg.learner import DeepEnsemble
from alseg.metrics import by_label
from alseg.query import class_balanced_top_n, class_quotas
from alseg.strategies import class_balanced, entropy_sampling, entropy_score, random_sampling
from alseg.training import JointLoss
from alseg.training.losses import class_loss

NAN = float("nan")
HOLES = {  # labels -> what they become
    "nan": (["cat", NAN, "dog"], ["cat", None, "dog"]),
    "numpy nan": (("cat", np.float32("nan"), "dog"), ["cat", None, "dog"]),
    "none": (["cat", None, "dog"], ["cat", None, "dog"]),
    "pandas NA": (["cat", pd.NA, "dog"], ["cat", None, "dog"]),
    "pandas NaT": (["cat", pd.NaT, "dog"], ["cat", None, "dog"]),
    "object array": (np.array(["cat", np.nan, "dog"], dtype=object), ["cat", None, "dog"]),
    "column": (pd.Series(["cat", None, "dog"]), ["cat", None, "dog"]),
    "strings of pandas": (pd.Series(["cat", None, "dog"], dtype="string"), ["cat", None, "dog"]),
    "category": (pd.Series(["cat", None, "dog"], dtype="category"), ["cat", None, "dog"]),
    "numbers": ([1, NAN, 0], [1, -1, 0]),
    "none among numbers": ([1, None, 0], [1, -1, 0]),
    "array of numbers": (np.array([1, np.nan, 0]), [1, -1, 0]),
    "integers of pandas": (pd.Series([1, None, 0], dtype="Int64"), [1, -1, 0]),
    "minus one": ([1, -1, 0], [1, -1, 0]),
    "minus one as a float": (np.array([1.0, -1.0, 0.0]), [1, -1, 0]),
    "booleans": ([True, None, False], [True, None, False]),
}
KNOWN = [
    ["cat", "nan", "dog"],
    ["cat", "", "dog"],
    np.array(["cat", "nan", "dog"]),
    ["-1", "1", "2"],
    [True, False, True],
    pd.Series(["cat", "dog", "cat"]),
    [1.0, 2.0, 1.0],
    np.array([b"a", b"b", b"a"]),
]
GLANDS = make_glands(8, image_size=(32, 48), random_state=0)
TINY = functools.partial(
    JointCAMSegmenter, encoder="tiny", encoder_weights=None, max_epochs=2, random_state=0
)


def same_weights(a, b):
    a, b = a.module_.state_dict(), b.module_.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# -- what is missing -----------------------------------------------------------------------------


@pytest.mark.parametrize(("labels", "found"), HOLES.values(), ids=HOLES)
def test_each_form_of_a_missing_label_becomes_one(labels, found):
    array = as_labels(labels)
    assert array.tolist() == found
    assert array.dtype.kind in ("i" if MISSING in found else "O")
    assert missing_labels(labels).tolist() == [False, True, False]
    classes, codes = label_codes(labels)
    assert classes.tolist() == sorted([found[0], found[2]])
    assert codes.tolist() == [
        classes.tolist().index(found[0]),
        -1,
        classes.tolist().index(found[2]),
    ]
    assert label_strata(labels)[1] == 2
    assert as_labels(array) is array or (as_labels(array) == array).all()


@pytest.mark.parametrize("labels", KNOWN)
def test_labels_that_are_known_are_taken_as_they_are(labels):
    array, numpys = as_labels(labels), np.asarray(labels)
    assert array.dtype == numpys.dtype
    assert_array_equal(array, numpys)
    assert not missing_labels(labels).any()
    assert_array_equal(label_codes(labels)[0], np.unique(numpys))
    assert_array_equal(label_strata(labels), np.unique(numpys, return_inverse=True)[1])


def test_no_labels_are_all_missing():
    assert as_labels(None, 3).tolist() == [None] * 3
    assert missing_labels(as_labels(None, 3)).all()
    assert label_codes([NAN, NAN])[0].tolist() == []
    assert label_strata([]).tolist() == []


def test_fractions_and_mixed_kinds_are_refused_with_missing_ones_among_them():
    for labels in ([0.5, NAN, 1.0], np.array([0.5, np.nan, 1.0])):
        with pytest.raises(ValueError, match="continuous"):
            TINY().fit(GLANDS.images[:3], labels, GLANDS.masks[:3])
    with pytest.raises(TypeError, match="one sortable type"):
        TINY().fit(GLANDS.images[:3], ["a", 1, None], GLANDS.masks[:3])
    with pytest.raises(ValueError, match="finite"):
        TINY().fit(GLANDS.images[:3], np.array([np.inf, np.nan, 1.0]), GLANDS.masks[:3])


# -- the class loss ------------------------------------------------------------------------------


def test_the_class_loss_by_hand():
    logits = torch.tensor([[0.0, np.log(3.0)], [5.0, -5.0], [0.0, 0.0]]).float()
    loss = class_loss(logits, torch.tensor([1, -1, 0]))
    assert float(loss) == pytest.approx((np.log(4 / 3) + np.log(2)) / 2, rel=1e-6)
    # Weights 1 and 3 of the classes: a weighted mean over the two known.
    loss = class_loss(logits, torch.tensor([1, -1, 0]), torch.tensor([1.0, 3.0]))
    assert float(loss) == pytest.approx((3 * np.log(4 / 3) + np.log(2)) / 4, rel=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    labels=st.lists(st.integers(-1, 2), min_size=1, max_size=6),
    weighted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_missing_labels_leave_the_gradients_as_if_the_images_were_not_there(labels, weighted, seed):
    rng = torch.Generator().manual_seed(seed)
    weight = torch.tensor([0.5, 1.0, 2.0]) if weighted else None
    logits = torch.randn(len(labels), 3, generator=rng).requires_grad_()
    target = {"labels": torch.tensor(labels)}
    loss = JointLoss(class_weight=weight)({"logits": logits, "mask_logits": None}, target)
    (gradient,) = torch.autograd.grad(loss, logits)
    known = target["labels"] != MISSING
    expected = torch.zeros_like(gradient)
    if known.any():
        few = logits[known].detach().requires_grad_()
        mean = torch.nn.functional.cross_entropy(few, target["labels"][known], weight=weight)
        (expected[known],) = torch.autograd.grad(0.1 * mean, few)
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(gradient, expected)


# -- fits ----------------------------------------------------------------------------------------


def test_minus_one_is_no_class_and_such_images_learn_from_their_masks():
    y = np.array([0, 1, -1, -1, 1, 0, -1, -1])
    masks = np.array([*GLANDS.masks[:4], *[None] * 4], dtype=object)
    model = TINY().fit(GLANDS.images, y, masks)
    assert model.classes_.tolist() == [0, 1]
    assert model.predict_proba(GLANDS.images).shape == (8, 2)
    # The two that have neither are as good as not there.
    few = TINY().fit(GLANDS.images[:6], y[:6], masks[:6])
    assert same_weights(model, few)
    # Those that have a mask are not.
    assert not same_weights(model, TINY().fit(GLANDS.images[[0, 1, 4, 5]], y[[0, 1, 4, 5]]))


def test_each_form_of_missing_gives_the_same_fit():
    strings = np.array(["a", "b", None, "a", "b", None, "a", "b"], dtype=object)
    models = [
        TINY().fit(GLANDS.images, y, GLANDS.masks)
        for y in (
            strings,
            ["a", "b", NAN, "a", "b", pd.NA, "a", "b"],
            pd.Series(strings),
        )
    ]
    numbers = TINY().fit(GLANDS.images, [0, 1, -1, 0, 1, -1, 0, 1], GLANDS.masks)
    assert all(same_weights(numbers, model) for model in models)
    assert all(model.classes_.tolist() == ["a", "b"] for model in models)
    assert all(model.classes_.dtype.kind == "U" for model in models)
    assert set(models[0].predict(GLANDS.images)) <= {"a", "b"}


def test_without_masks_only_the_labelled_images_are_drawn():
    y = np.array([0, 1, 0, 1, -1, -1, -1, -1])
    assert same_weights(TINY().fit(GLANDS.images, y), TINY().fit(GLANDS.images[:4], y[:4]))


def test_the_first_of_two_phases_learns_from_labelled_images_alone():
    y = [0, 1, 0, 1, -1, -1, -1, -1]
    model = TINY(schedule=Schedule("two-phase"), steps_per_epoch=3, batch_size=2)
    seen = []

    class Watching(type(model)):
        def get_loss(self, y_pred, y_true, *args, **kwargs):
            seen.append((self._phase_name, y_true["labels"].tolist()))
            return super().get_loss(y_pred, y_true, *args, **kwargs)

    Watching(**model.get_params(deep=False)).fit(GLANDS.images, y, GLANDS.masks)
    assert {name for name, _ in seen} == {"classifier", "mask"}
    assert all(MISSING not in labels for name, labels in seen if name == "classifier")
    assert any(MISSING in labels for name, labels in seen if name == "mask")


@pytest.mark.parametrize("balanced", ["balanced", {"a": 1.0, "b": 5.0}])
def test_class_weights_are_of_the_known_labels(balanced):
    y = np.array(["a", "b", "b", "b", None, None, None, "a"], dtype=object)
    model = TINY(class_weight=balanced).fit(GLANDS.images, y, GLANDS.masks)
    by_hand = [5 / 4, 5 / 6] if balanced == "balanced" else [1.0, 5.0]
    assert model.criterion_.class_weight.tolist() == pytest.approx(by_hand)


def test_going_on_takes_missing_labels_and_no_labels():
    y = np.array([0, 1] * 4)
    for later in (np.where(np.arange(8) < 6, -1, y), None, np.full(8, -1)):
        model = TINY().fit(GLANDS.images, y)
        model.partial_fit(GLANDS.images, later, masks=GLANDS.masks)
        assert model.classes_.tolist() == [0, 1]
        assert model.has_class_head
        assert np.isfinite(model.history[-1]["train_loss"])
    first = TINY().partial_fit(GLANDS.images, None, classes=[0, 1, -1], masks=GLANDS.masks)
    assert first.classes_.tolist() == [0, 1]


def test_a_held_out_share_takes_unlabelled_images_as_one_more_class():
    y = np.array(["a", "a", "b", "b", None, None, None, None], dtype=object)
    model = TINY(validation=0.5).fit(GLANDS.images, y, GLANDS.masks)
    assert sorted(map(str, model.validation_.labels)) == ["None", "None", "a", "b"]
    assert model.score(model.validation_.images, model.validation_.labels) in (0.0, 0.5, 1.0)


# -- scores --------------------------------------------------------------------------------------

MODELS = {
    "network": TINY(),
    "ensemble": DeepEnsemble(TINY(), n_estimators=2, random_state=0),
    "pixels": PixelClassifier(image_size=None, n_pixels=20, random_state=0),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_score_is_over_what_is_known(model):
    y = np.array(["a", "b", None, "a", "b", None, "a", "b"], dtype=object)
    model.fit(GLANDS.images, y, GLANDS.masks)
    assert model.classes_.tolist() == ["a", "b"]
    known = ~missing_labels(y)
    truth, predicted = y[known].tolist(), model.predict(GLANDS.images[known]).tolist()
    assert model.score(GLANDS.images, y) == accuracy_score(truth, predicted)
    weight = np.arange(1.0, 9)
    weighted = accuracy_score(truth, predicted, sample_weight=weight[known])
    assert model.score(GLANDS.images, y, weight) == weighted
    assert np.isnan(model.score(GLANDS.images, [None] * 8))
    with pytest.raises(TypeError):
        model.score(GLANDS.images)


def test_cross_validate_scores_what_is_known():
    y = np.array([0, 1, -1, 0, 1, -1, 0, 1])
    found = cross_validate(
        TINY(), GLANDS.images, y, cv=KFold(4), params={"masks": GLANDS.masks}, error_score="raise"
    )
    assert np.isfinite(found["test_score"]).all()
    cross_validate(TINY(), GLANDS.images, y, cv=2, error_score="raise")


def test_evaluate_leaves_missing_labels_out_of_the_accuracy_alone():
    model = TINY().fit(GLANDS.images, GLANDS.labels, GLANDS.masks)
    holes = GLANDS.labels.astype(object)
    holes[[0, 3]] = None
    test = Dataset(GLANDS.images, holes, GLANDS.masks)
    whole, some = (
        evaluate(model, Dataset(GLANDS.images, GLANDS.labels, GLANDS.masks)),
        evaluate(model, test),
    )
    assert some["class_accuracy"] == model.score(GLANDS.images, holes)
    assert some["dice"] == whole["dice"]
    assert {label: part["n_images"] for label, part in some["by_label"].items()} == {
        "irregular": 3,
        "regular": 3,
    }
    known = evaluate(model, test.take(np.flatnonzero(~missing_labels(holes))))
    assert some["label_calibration_error"] == known["label_calibration_error"]
    none = evaluate(model, Dataset(GLANDS.images, None, GLANDS.masks))
    assert "class_accuracy" not in none
    assert "label_calibration_error" not in none
    assert none["by_label"] == {}


# -- what shares and splits ----------------------------------------------------------------------


def test_images_without_a_label_are_one_more_class_where_classes_share_alike():
    y_pool = ["a", "a", "a", None, "b", NAN]
    classes, counts = class_quotas(y_pool, 3, random_state=0)
    assert classes.tolist() == ["a", "b", None]
    assert counts.tolist() == [1, 1, 1]
    classes, counts = class_quotas([1, -1, 1, 1, -1], 4)
    assert (classes.tolist(), counts.tolist()) == ([1, -1], [2, 2])
    # By hand: a's best, then the one without a label, then b.
    idx = class_balanced_top_n([0.9, 0.8, 0.7, 0.6, 0.1, 0.5], y_pool, 4, random_state=0)
    assert idx.tolist() == [0, 3, 4, 1]
    for strategy in (class_balanced(), class_balanced(random_sampling)):
        idx = strategy(None, list(range(6)), 3, random_state=0, y_pool=np.array(y_pool, object))
        assert sorted(map(str, np.array(y_pool, dtype=object)[idx])) in (
            ["None", "a", "b"],
            ["a", "b", "nan"],
        )


def test_folds_share_the_unlabelled_alike():
    labels = np.array(["a"] * 4 + ["b"] * 4 + [None] * 4, dtype=object)
    for _, test in folds(labels, None, 2):
        assert [str(label) for label in labels[test]].count("None") == 2
    assert [str(label) for label in labels[class_folds(labels, 0, n_folds=4)]] == ["a", "b", "None"]
    assert by_label([1.0, 0.5, 0.0], ["a", None, "a"]) == {"a": 0.5}


# -- the loop ------------------------------------------------------------------------------------


def test_a_learner_with_missing_labels_asks_answers_and_is_saved(tmp_path):
    labels = ["a", "b", None, "a", NAN, "b", None, "a"]
    learner = ActiveLearner(
        TINY(),
        class_balanced(),
        images=GLANDS.images,
        labels=labels,
        augmenter=PseudoLabelAugmenter(selection="neighbours", weight=0.1, same_class=True),
        random_state=0,
    )
    asked, _ = learner.query(n_instances=3)
    assert {str(learner.labels[i]) for i in asked} == {"a", "b", "None"}
    learner.annotate(asked, [GLANDS.masks[i] for i in asked])
    assert learner.estimator.classes_.tolist() == ["a", "b"]
    assert set(learner.y_training.tolist()) == {"a", "b", None}
    assert 0 <= learner.score(GLANDS.images, labels) <= 1
    learner.save(tmp_path / "saved")
    again = ActiveLearner.load(tmp_path / "saved")
    assert again.labels.tolist() == learner.labels.tolist()
    assert again.labels.dtype == learner.labels.dtype
    again.query(n_instances=2)


def test_a_run_and_a_comparison_with_missing_labels(tmp_path):
    glands = make_glands(12, image_size=(32, 48), random_state=1)
    labels = np.array([0, 1, -1] * 4)
    train = Dataset(glands.images[:8], labels[:8], glands.masks[:8])
    test = Dataset(glands.images[8:], labels[8:], glands.masks[8:])
    records = run(
        TINY(max_epochs=1),
        train,
        test,
        random_sampling,
        rounds=1,
        n_instances=2,
        out=tmp_path / "run",
    )
    asked = [item["label"] for record in records for item in record["asked"]]
    assert len(asked) == 8  # two of each class, and of those without one; then two more
    assert asked[:6].count(None) == 2
    assert {0, 1} <= set(asked)
    known = json.loads((tmp_path / "run" / "records.jsonl").read_text().splitlines()[0])
    assert set(known["metrics"]["by_label"]) == {"0", "1"}
    result = compare_strategies(
        TINY(max_epochs=1),
        {"entropy": entropy_sampling},
        data=(train, test),
        protocol=Protocol(initial=4, n_instances=1, rounds=1),
        seeds=[0],
        out=tmp_path / "compared",
        verbose=0,
    )
    assert "CAM-guided random" in result.names


# -- folders -------------------------------------------------------------------------------------


def write_images(folder, names):
    from PIL import Image

    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(GLANDS.images[i]).save(path)


def test_an_image_beside_the_folders_of_classes_has_no_class(tmp_path):
    write_images(tmp_path / "images", ["cat/1.png", "cat/2.png", "dog/3.png", "4.png"])
    data = load_folder(tmp_path)
    assert dict(zip(data.all.ids.tolist(), data.all.labels.tolist())) == {
        "1": "cat",
        "2": "cat",
        "3": "dog",
        "4": None,
    }
    assert repr(data.all).endswith("4 images, 2 classes, 0 masks)")
    assert data.describe() == "4 images, 2 classes (cat: 2, dog: 1), 1 without a class, 0 masks"


def test_an_empty_cell_of_a_manifest_is_a_missing_label(tmp_path):
    write_images(tmp_path, ["1.png", "2.png", "3.png"])
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("image,label\n1.png,cat\n2.png,\n3.png,nan\n")
    assert load_folder(tmp_path).all.labels.tolist() == ["cat", None, "nan"]
    manifest.write_text("image\n1.png\n2.png\n")
    data = load_folder(tmp_path)
    assert data.all.labels.tolist() == [None, None]
    assert data.describe() == "2 images, 0 classes, 0 masks"


# -- no labels at all ----------------------------------------------------------------------------


def test_a_fit_without_labels_is_one_without_a_class_head():
    model = TINY().fit(GLANDS.images, None, GLANDS.masks)
    assert model.classes_.tolist() == []
    assert not model.has_class_head
    headless = TINY(network=Network(pooling=None)).fit(GLANDS.images, None, GLANDS.masks)
    assert same_weights(model, headless)
    for y in ([None] * 8, [NAN] * 8, [-1] * 8):
        assert same_weights(model, TINY().fit(GLANDS.images, y, GLANDS.masks))
    joint = model.predict_joint(GLANDS.images)
    assert sorted(joint) == ["mask_proba", "masks"]
    assert_array_equal(joint.masks, model.predict_masks(GLANDS.images))
    assert model.transform(GLANDS.images).shape[0] == 8
    with pytest.raises(ValueError, match="class head.*without labels.*give labels"):
        model.predict(GLANDS.images)
    with pytest.raises(ValueError, match="target='label'"):
        model.predict_uncertainty(GLANDS.images, target="label")


def test_passes_count_what_has_a_mask_where_there_are_no_labels():
    masks = np.array([*GLANDS.masks[:3], *[None] * 5], dtype=object)
    schedule = Schedule(sampling="passes")
    options = {"schedule": schedule, "batch_size": 2, "max_epochs": 1}
    model = TINY(**options).fit(GLANDS.images, None, masks)
    assert model.n_steps_ == 1  # of two and one images, the tiny last batch dropped
    assert TINY(**options).fit(GLANDS.images, GLANDS.labels, masks).n_steps_ == 4
    # The same object, fitted to labels first: what it was then does not count.
    both = TINY(**options).fit(GLANDS.images, GLANDS.labels, masks)
    assert same_weights(both.fit(GLANDS.images, None, masks), model)
    assert both.fit(GLANDS.images, GLANDS.labels, masks).has_class_head


@pytest.mark.parametrize("y", [None, [None] * 8, [-1] * 8])
def test_neither_labels_nor_masks_are_refused(y):
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        TINY().fit(GLANDS.images, y)
    with pytest.raises(ValueError, match="masks must be annotated .* without labels"):
        TINY().fit(GLANDS.images, y, [None] * 8)
    with pytest.raises(ValueError, match="no labels|there are no labels"):
        PixelClassifier().fit(GLANDS.images, y, [None] * 8)


def test_what_labels_alone_could_do_is_refused_with_a_sentence():
    with pytest.raises(ValueError, match="y must be known with phases='two-phase'"):
        TINY(schedule=Schedule("two-phase")).fit(GLANDS.images, None, GLANDS.masks)
    model = TINY().fit(GLANDS.images, None, GLANDS.masks)
    with pytest.raises(ValueError, match="y must be None or all missing.*fit it anew"):
        model.partial_fit(GLANDS.images, GLANDS.labels, masks=GLANDS.masks)
    model.partial_fit(GLANDS.images, None, masks=GLANDS.masks)
    assert model.n_steps_ == 8


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_models_without_labels_are_saved_and_loaded(model, tmp_path):
    model.fit(GLANDS.images, None, GLANDS.masks)
    assert not model.has_class_head
    assert np.isnan(model.score(GLANDS.images, None))
    model.save(tmp_path / "model")
    again = type(model).load(tmp_path / "model")
    assert not again.has_class_head
    assert again.classes_.tolist() == []
    assert_array_equal(again.predict_masks(GLANDS.images), model.predict_masks(GLANDS.images))


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("strategy", [entropy_sampling, class_balanced(entropy_score)])
def test_a_learner_without_labels(strategy, class_weight, tmp_path):
    learner = ActiveLearner(
        TINY(class_weight=class_weight),
        strategy,
        images=GLANDS.images,
        augmenter=PseudoLabelAugmenter(weight=0.1),
        random_state=0,
    )
    with pytest.raises(ValueError, match="y must hold a label where there are no masks"):
        learner.query()
    first = [0, 1]
    learner.annotate(first, GLANDS.masks[first])
    asked, _ = learner.query(n_instances=2)
    learner.annotate(asked, GLANDS.masks[asked])
    assert 0 <= learner.score_masks(GLANDS.images, GLANDS.masks) <= 1
    assert learner.y_training.tolist() == [None] * 4
    learner.save(tmp_path / "saved")
    assert ActiveLearner.load(tmp_path / "saved").labels.tolist() == [None] * 8


def test_a_run_and_a_comparison_without_labels_drop_what_needs_them(tmp_path):
    glands = make_glands(12, image_size=(32, 48), random_state=1)
    train = Dataset(glands.images[:8], None, glands.masks[:8])
    test = Dataset(glands.images[8:], masks=glands.masks[8:])
    assert repr(train) == "Dataset('': 8 images, 0 classes, 8 masks)"
    records = run(
        TINY(max_epochs=1),
        train,
        test,
        entropy_sampling,
        rounds=1,
        n_instances=2,
        out=tmp_path / "run",
    )
    assert [record["n_masks"] for record in records] == [2, 4]
    for record in records:
        assert "class_accuracy" not in record["metrics"]
        assert record["metrics"]["by_label"] == {}
        assert all(item["label"] is None for item in record["asked"])
        assert all("predicted_label" not in item for item in record["asked"])
    plan = Plan(TINY(max_epochs=1), {"entropy": entropy_sampling}, (train, test))
    assert plan.names == ["entropy", "random"]
    assert plan.protocol.references == ("full supervision", "all-ones")
    assert not plan.protocol.class_balanced
    result = compare_strategies(
        TINY(max_epochs=1),
        {"entropy": entropy_sampling},
        data=(train, test),
        protocol=Protocol(initial=2, n_instances=1, rounds=1),
        seeds=[0],
        out=tmp_path / "compared",
        verbose=0,
    )
    assert result.names == ["entropy", "random"]
    result.to_html(tmp_path / "report.html")
    with pytest.raises(ValueError, match="the test images have no class labels"):
        compare_strategies(
            TINY(),
            {"entropy": entropy_sampling},
            data=(train, test),
            protocol=Protocol(metric="class_accuracy"),
            out=tmp_path / "refused",
        )


def test_with_two_classes_the_protocol_is_as_it_was_given():
    protocol = Protocol(control="class-balanced random")
    assert without_classes(protocol, [["a", "b", None]]) is protocol
    found = without_classes(protocol, [["a", None]])
    assert found.control == "random"
    assert found.controls == ("random",)


def test_a_flat_folder_is_asked_annotated_and_predicted_without_classes(tmp_path):
    from PIL import Image

    write_images(tmp_path / "data" / "images", [f"{i}.png" for i in range(4)])
    state = tmp_path / "state"
    options = ["--encoder", "tiny", "--max-epochs", "1"]
    options += ["--propose", "-n", "2"]
    assert main(["query", "--data", str(tmp_path / "data"), "--out", str(state), *options]) == 0
    asked = json.loads((state / "ask/round_001/queries.json").read_text())["queries"]
    assert [query["label"] for query in asked] == [None, None]
    assert [query["proposal"] for query in asked] == [None, None]
    (tmp_path / "answers").mkdir()
    for query in asked:
        mask = GLANDS.masks[int(query["id"])].astype(np.uint8) * 255
        Image.fromarray(mask).save(tmp_path / "answers" / f"{query['id']}.png")
    assert main(["add", str(state), str(tmp_path / "answers")]) == 0
    assert main(["query", "--out", str(state), "-n", "1"]) == 0
    out = tmp_path / "predicted"
    assert main(["predict", str(state), str(tmp_path / "data" / "images"), "--out", str(out)]) == 0
    assert (out / "labels.csv").read_text().split() == ["image", *(f"{i}.png" for i in range(4))]


def test_two_classes_that_are_called_1_and_minus_1_are_warned_of():
    with pytest.warns(UserWarning, match="of two classes write 0 and 1"):
        model = TINY().fit(GLANDS.images, [1, -1] * 4, GLANDS.masks)
    assert model.classes_.tolist() == [1]


@pytest.mark.parametrize(
    ("own", "others", "joined"),
    [
        (["a", None], ["b", "a"], ["a", None, "b", "a"]),
        (["a", "b"], None, ["a", "b", None, None]),
        ([0, -1], [1, NAN], [0, -1, 1, -1]),
        ([0, 1], None, [0, 1, -1, -1]),
        (None, [1, 0], [-1, -1, 1, 0]),
    ],
)
def test_labels_of_a_source_may_be_missing(own, others, joined):
    images = GLANDS.images
    learner = ActiveLearner(
        TINY(max_epochs=1),
        images=images[:2],
        labels=own,
        source=(images[2:4], others, GLANDS.masks[2:4]),
    )
    assert learner.source_set.with_labels(learner.labels).tolist() == joined
    assert learner.fit().estimator.classes_.tolist() == label_codes(joined)[0].tolist()


def test_codes_among_known_classes():
    classes = np.array([2, 5])
    np.testing.assert_array_equal(codes_among([5, -1, 2, 7], classes), [1, -1, 0, -1])
    np.testing.assert_array_equal(codes_among(["b", np.nan, "c"], ["a", "b"]), [1, -1, -1])
    np.testing.assert_array_equal(codes_among(None, classes), [])
    matrix = codes_among([[1, np.nan], [0, 1]], ["a", "b"])
    assert matrix.dtype == np.int64 and matrix.tolist() == [[1, -1], [0, 1]]
