"""A classifier of pixels: values by hand, pixels that must not matter, the loop around it."""

import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from alseg import (
    ActiveLearner,
    PixelClassifier,
    Protocol,
    PseudoLabelAugmenter,
    compare_strategies,
    interfaces,
)
from alseg.datasets import make_glands
from alseg.experiment import run
from alseg.labels import MISSING
from alseg.oracles import MaskOracle
from alseg.query import DrawSums
from alseg.segmenter.pixel_training import draw_of_each
from alseg.strategies import bald_sampling, entropy_sampling, random_sampling


def brightness(image):
    """The one feature of a pixel: its red."""
    return image[..., 0]


def colours(image):
    return image


def of_one_feature(classifier=None, **options):
    return PixelClassifier(classifier or DecisionTreeClassifier(), brightness, **options)


def grey(*rows):
    """One image (1, H, W, 3), float, of brightness values."""
    return np.repeat(np.array(rows, dtype=np.float32)[None, ..., None], 3, axis=-1)


@pytest.fixture(scope="module")
def glands():
    return make_glands(16, image_size=(16, 24), random_state=0)


def forest(**options):
    return PixelClassifier(
        RandomForestClassifier(5), colours, n_pixels=40, **{"random_state": 0, **options}
    )


class Recorder(DecisionTreeClassifier):
    """A tree that keeps what it was fitted to."""

    def fit(self, X, y, sample_weight=None):
        self.seen_ = X.copy(), np.array(y), sample_weight
        return super().fit(X, y, sample_weight)


# -- values worked by hand ---------------------------------------------------------------------


def test_a_threshold_between_two_values():
    X = grey([0.25, 0.75], [0.25, 0.75])
    model = of_one_feature().fit(X, None, masks=[[[0, MISSING], [MISSING, 1]]])
    new = grey([0.0, 0.49], [0.51, 1.0])  # a tree cuts in the middle, at 0.5
    assert model.predict_masks(new).tolist() == [[[0, 0], [1, 1]]]
    assert model.predict_mask_proba(new)[0, 1].tolist() == [[0, 0], [1, 1]]
    assert model.predict_masks(new).dtype == np.int16
    assert model.predict_mask_proba(new).dtype == np.float32
    assert model.score_masks(new, np.array([[[0, 1], [1, 1]]])) == pytest.approx(0.8)


def test_probabilities_are_the_share_of_weights():
    X = np.concatenate([grey([0.5, 0.5])] * 2)
    masks = [np.array([[0, 0]]), np.array([[1, 1]])]
    of_images = of_one_feature().fit(X, None, masks, mask_weight=[1, 0.25])
    of_pixels = of_one_feature().fit(X, None, masks, [np.ones((1, 2)), np.array([[0, 0.5]])])
    for model in (of_images, of_pixels):  # 2 against 2 * 0.25, and against 0 + 0.5
        assert model.predict_mask_proba(X[:1])[0, 1] == pytest.approx(0.2)
        assert model.predict_mask_proba(X[:1]).sum(1) == pytest.approx(1)


def test_entropy_and_its_maps():
    X = grey([0.0, 0.0, 1.0, 1.0])
    model = of_one_feature().fit(X, None, masks=[[[0, 1, 1, 1]]])
    scores, maps = model.predict_uncertainty(X, return_maps=True)
    assert maps[0] == pytest.approx(np.log([[2, 2, 1, 1]]))
    assert scores == pytest.approx([np.log(2) / 2])
    assert model.predict_uncertainty(X, "margin", "max") == pytest.approx([1])


def test_draws_are_the_trees(glands):
    model = forest().fit(glands.images, None, glands.masks)
    image = glands.images[:1]
    trees = np.array(
        [
            tree.predict_proba((image[0] / 255).astype(np.float32).reshape(-1, 3))
            for tree in model.classifier_.estimators_
        ]
    )
    assert len(trees) == 5 and not np.allclose(trees[0], trees[1])
    sums = DrawSums(axis=1, votes=True)
    for tree in trees:
        sums.add(tree)
    for method, values in (
        ("bald", sums.bald()),
        ("vote_entropy", sums.vote_entropy()),
        ("mc_variance", trees.var(axis=0, ddof=1).mean(axis=1)),
    ):
        assert model.predict_uncertainty(image, method) == pytest.approx([values.mean()], rel=1e-5)


def test_the_class_of_an_image_is_told_by_its_mean():
    X = np.concatenate([grey([level, level]) for level in (0.1, 0.2, 0.8, 0.9)])
    model = of_one_feature().fit(X, ["dark", "dark", "light", "light"])
    assert model.transform(X)[:, 0] == pytest.approx([0.1, 0.2, 0.8, 0.9])
    assert model.predict(grey([0.0, 0.4])).tolist() == ["dark"]
    assert model.predict(grey([0.4, 1.0])).tolist() == ["light"]
    assert model.predict_proba(grey([0.5, 0.5])) == pytest.approx(np.array([[0.5, 0.5]]), abs=1e-4)
    assert model.score(X, ["dark", "dark", "light", "light"]) == 1


def test_a_stroke_finds_its_place_at_another_size():
    X = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    X[0, 4:, 4:] = 255
    mask = np.full((1, 8, 8), MISSING)
    mask[0, 0, 1], mask[0, 5, 7] = 0, 1  # one pixel each: the nearest pixel of each place is not
    model = of_one_feature(image_size=(2, 2)).fit(X, None, mask)
    assert model.canvas_ == (2, 2)
    proba = model.predict_mask_proba(X)[0, 1]
    assert proba.shape == (8, 8) and proba[0, 0] == 0 and proba[7, 7] == 1


def test_sizes_of_features(glands):
    images = [np.zeros((10, 20, 3), np.uint8), np.full((30, 12, 3), 255, np.uint8)]
    masks = [np.zeros((10, 20), int), np.ones((30, 12), int)]
    for image_size, canvas in ((None, (20, 16)), ("own", None), (6, (6, 6))):
        model = of_one_feature(image_size=image_size).fit(images, None, masks)
        assert model.canvas_ == canvas
        found = model.predict_masks(images)
        assert [m.shape for m in found] == [(10, 20), (30, 12)]
        assert all((m == mask).all() for m, mask in zip(found, masks))
        _, maps = model.predict_uncertainty(images, return_maps=True)
        assert [m.shape for m in maps] == [(10, 20), (30, 12)]


# -- what counts, and what does not ------------------------------------------------------------

small_masks = st.lists(
    st.lists(st.sampled_from([MISSING, 0, 1]), min_size=6, max_size=6), min_size=4, max_size=4
)


@settings(max_examples=20)
@given(small_masks, st.sampled_from([None, 3]), st.integers(0, 99))
def test_what_is_not_annotated_never_matters(mask, n_pixels, seed):
    mask = np.array(mask)
    mask[0, :2] = 0, 1
    X = np.random.default_rng(seed).random((1, 4, 6, 3), dtype=np.float32)
    other = np.where(mask[..., None] == MISSING, 1 - X[0], X[0])[None]
    fits = [
        PixelClassifier(GaussianNB(), colours, n_pixels=n_pixels, random_state=0).fit(
            images, None, [given_mask], weight
        )
        for images, given_mask, weight in (
            (X, mask, None),
            (other, mask, None),
            # a mask of weight 0 there says the same as none
            (X, np.where(mask == MISSING, 1, mask), [(mask != MISSING).astype(float)]),
        )
    ]
    found = [model.predict_mask_proba(X) for model in fits]
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_all_pixels_are_those_of_a_fit_by_hand(glands):
    masks = [mask if i < 3 else None for i, mask in enumerate(glands.masks)]
    model = PixelClassifier(GaussianNB(), colours, n_pixels=None).fit(glands.images, None, masks)
    pixels = (glands.images / 255).astype(np.float32)
    by_hand = GaussianNB().fit(
        pixels[:3].reshape(-1, 3), np.concatenate([m.ravel() for m in glands.masks[:3]])
    )
    expected = by_hand.predict_proba(pixels[5].reshape(-1, 3))[:, 1].reshape(16, 24)
    assert model.predict_mask_proba(glands.images[5:6])[0, 1] == pytest.approx(expected, abs=1e-6)


def test_how_many_pixels_are_drawn():
    X = np.random.default_rng(0).random((3, 10, 10, 3), dtype=np.float32)
    masks = np.zeros((3, 10, 10), int)
    masks[0, 3, 3] = 1  # a class of one pixel
    masks[1, 2:] = MISSING  # 20 pixels are annotated
    weight = [np.ones((10, 10)), np.ones((10, 10)), np.full((10, 10), 0.5)]
    weight[2][:4] = 1  # an expert's beside pseudo-labels
    model = of_one_feature(Recorder(), n_pixels=30, random_state=0).fit(X, None, masks, weight)
    seen, classes, weights = model.classifier_.seen_
    assert len(seen) == 30 + 20 + (30 + 30)
    assert classes.sum() == 1 and (weights == 0.5).sum() == 30
    known = {*X[0, ..., 0].ravel(), *X[1, :2, :, 0].ravel(), *X[2, ..., 0].ravel()}
    assert set(seen[:, 0]) <= known and len(set(seen[:, 0])) == len(seen)
    again = of_one_feature(Recorder(), n_pixels=30, random_state=0).fit(X, None, masks, weight)
    assert np.array_equal(again.classifier_.seen_[0], seen)
    other = of_one_feature(Recorder(), n_pixels=30, random_state=1).fit(X, None, masks, weight)
    assert not np.array_equal(other.classifier_.seen_[0], seen)


def test_pixels_of_an_image_do_not_depend_on_how_many_are_annotated_beside_it(glands):
    def seen(masks):
        model = of_one_feature(Recorder(), n_pixels=10, random_state=0)
        return model.fit(glands.images[:2], None, masks).classifier_.seen_[0]

    both = seen(glands.masks[:2])
    assert np.array_equal(seen([None, glands.masks[1]]), both[10:])


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 12), st.integers(0, 9))
def test_draw_of_each(classes, n, seed):
    classes = np.array(classes, dtype=int)
    positions = 10 * np.arange(len(classes))
    chosen = draw_of_each(positions, classes, n, np.random.default_rng(seed))
    assert len(chosen) == min(n, len(positions))
    assert (np.diff(chosen) > 0).all() and set(chosen) <= set(positions)
    assert len(set(classes[chosen // 10])) == min(len(set(classes)), len(chosen))


def test_only_what_something_is_learned_from_is_read(tmp_path, glands):
    paths = [tmp_path / "not there.png", glands.images[1]]
    model = of_one_feature(image_size=(16, 24)).fit(paths, None, [None, glands.masks[1]])
    assert model.has_masks_ and not model.has_class_head
    with pytest.raises(FileNotFoundError, match="not there"):
        model.predict_masks(paths)


def test_one_class_of_pixels_or_of_images(glands):
    background = np.zeros((16, 16, 24), int)
    for classifier in (LogisticRegression(), RandomForestClassifier(3), None):
        model = PixelClassifier(classifier, colours, n_pixels=20, random_state=0)
        model.fit(glands.images, ["one"] * 16, background)
        assert not model.predict_masks(glands.images[:2]).any()
        assert model.predict(glands.images[:2]).tolist() == ["one", "one"]
        assert model.predict_mask_proba(glands.images[:1])[0, 1].max() == 0


def test_more_mask_classes(glands):
    masks = np.where(glands.masks == 1, 3, glands.masks)  # 1 and 2 do not occur
    model = forest(n_mask_classes=4).fit(glands.images, None, masks)
    proba = model.predict_mask_proba(glands.images[:2])
    assert proba.shape == (2, 4, 16, 24) and not proba[:, 1:3].any()
    assert set(np.unique(model.predict_masks(glands.images))) == {0, 3}


def test_results_do_not_depend_on_n_jobs_or_on_the_other_images(glands):
    for n_jobs in (1, 2):
        model = PixelClassifier(
            features="filters", sigmas=(1, 2), n_pixels=20, n_jobs=n_jobs, random_state=0
        )
        joint = model.fit(glands.images, glands.labels, glands.masks).predict_joint(glands.images)
        if n_jobs == 1:
            first = joint
    assert all(np.array_equal(joint[key], first[key]) for key in first)
    alone = model.predict_mask_proba(glands.images[3:4])
    assert np.array_equal(alone[0], joint.mask_proba[3])
    assert model.classifier_.n_estimators == 100 and model.classifier_.random_state is not None


def test_the_four_predictions_agree(glands):
    model = forest(threshold=0.3).fit(glands.images, glands.labels, glands.masks)
    joint = model.predict_joint(glands.images)
    assert np.array_equal(joint.masks, model.predict_masks(glands.images))
    assert np.array_equal(joint.masks, joint.mask_proba[:, 1] >= np.float32(0.3))
    assert np.array_equal(joint.mask_proba, model.predict_mask_proba(glands.images))
    assert np.array_equal(joint.labels, model.predict(glands.images))
    assert np.array_equal(joint.proba, model.predict_proba(glands.images))
    label = model.predict_uncertainty(glands.images, "least_confidence", target="label")
    assert label == pytest.approx(1 - joint.proba.max(1))


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"classifier": KNeighborsClassifier}, None, ""),  # a class has the methods too
        ({"classifier": StandardScaler()}, TypeError, "classifier must be None or a scikit-learn"),
        ({"features": "filter"}, ValueError, "Did you mean 'filters'"),
        ({"features": 3}, TypeError, "features must be some of"),
        ({"features": ("filters", "filters")}, ValueError, "each once"),
        ({"features": ()}, ValueError, "one or more"),
        ({"n_mask_classes": 1}, ValueError, "n_mask_classes must be >= 2"),
        ({"image_size": "huge"}, ValueError, "image_size must be one of"),
        ({"n_pixels": 0}, ValueError, "n_pixels must be >= 1"),
        ({"n_label_images": 0}, ValueError, "n_label_images must be >= 1"),
        ({"threshold": 2}, ValueError, "threshold must be"),
        ({"n_jobs": 0}, ValueError, "n_jobs must be"),
        ({"sigmas": 3}, TypeError, "sigmas must be a pair"),
        ({"sigmas": (4, 2)}, ValueError, r"sigmas\[1\] must be >= 4"),
        ({"encoder_strides": 4}, TypeError, "encoder_strides must be a sequence"),
        ({"feature_cache": 4}, TypeError, "feature_cache must be None or a folder"),
    ],
)
def test_parameters(params, error, match):
    if error is None:
        PixelClassifier(**params).check_params()
        return
    with pytest.raises(error, match=match):
        PixelClassifier(**params).fit(["not read.png"], None)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"masks": [np.zeros((4, 4), int)] * 16}, "must agree"),
        ({"masks": np.full((16, 16, 24), 2)}, "no class"),
        ({"y": ["a"]}, "y must be of the length of X"),
        ({"masks": None, "y": None}, "annotated in at least one pixel"),
        ({"masks": [None] * 16, "y": None}, "annotated in at least one pixel"),
        ({"mask_weight": np.zeros(16), "y": None}, "annotated in at least one pixel"),
        ({"mask_weight": np.zeros(3)}, "mask_weight must be of the length"),
        ({"mask_weight": np.full(16, -1)}, "finite and >= 0"),
    ],
)
def test_a_fit_that_is_refused_leaves_the_model_as_it_was(glands, change, match):
    arguments = {"X": glands.images, "y": glands.labels, "masks": glands.masks}
    model = forest().fit(**arguments)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=match):
        model.fit(**{**arguments, **change})
    assert vars(model) == before


def test_weights_need_a_classifier_that_takes_them(glands):
    weight = np.linspace(0.1, 1, 16)
    for classifier in (KNeighborsClassifier(), make_pipeline(KNeighborsClassifier())):
        model = PixelClassifier(classifier, colours, n_pixels=5)
        with pytest.raises(
            ValueError, match="sample_weight where pixels count differently.*forest"
        ):
            model.fit(glands.images, None, glands.masks, weight)
        model.fit(glands.images, None, glands.masks, np.full(16, 0.5))
    piped = make_pipeline(StandardScaler(), GaussianNB())
    PixelClassifier(piped, colours, n_pixels=5).fit(glands.images, None, glands.masks, weight)


def test_before_a_fit_and_after_half_of_one(glands):
    X = glands.images
    for method in (
        "predict",
        "predict_proba",
        "predict_masks",
        "predict_mask_proba",
        "predict_joint",
        "predict_uncertainty",
        "transform",
    ):
        with pytest.raises(NotFittedError, match="not fitted"):
            getattr(forest(), method)(X)
    with pytest.raises(NotFittedError, match="not fitted"):
        forest().save("folder")
    without_labels = forest().fit(X, None, glands.masks)
    assert "labels" not in without_labels.predict_joint(X)
    assert without_labels.classes_.tolist() == []
    with pytest.raises(ValueError, match="needs a fit with image labels"):
        without_labels.predict(X)
    with pytest.raises(ValueError, match="needs a fit with image labels"):
        without_labels.predict_uncertainty(X, target="label")
    without_masks = forest().fit(X, glands.labels)
    assert without_masks.has_class_head and not without_masks.has_masks_
    for method in ("predict_masks", "predict_mask_proba", "predict_joint", "predict_uncertainty"):
        with pytest.raises(ValueError, match="needs a fit with masks.*random_sampling"):
            getattr(without_masks, method)(X)


def test_uncertainties_that_there_are_not(glands):
    model = PixelClassifier(GaussianNB(), colours).fit(glands.images, glands.labels, glands.masks)
    with pytest.raises(ValueError, match="without a forest"):
        model.predict_uncertainty(glands.images, "bald")
    with pytest.raises(ValueError, match="has no draws"):
        model.predict_uncertainty(glands.images, "bald", target="label")
    with pytest.raises(ValueError, match="a class label has no map"):
        model.predict_uncertainty(glands.images, target="label", return_maps=True)
    with pytest.raises(ValueError, match="Did you mean 'entropy'"):
        model.predict_uncertainty(glands.images, "entropi")


# -- as others see it --------------------------------------------------------------------------


def test_which_interfaces_it_has():
    model = PixelClassifier()
    for kind in ("Estimator", "ClassHead", "JointPredictions", "Uncertainty", "Embeddings"):
        assert isinstance(model, getattr(interfaces, kind)), kind
    assert isinstance(model, interfaces.Saved) and isinstance(model, interfaces.ChecksParams)
    # no class activation maps, and no fit that goes on
    assert not isinstance(model, (interfaces.ClassMaps, interfaces.GoesOn))
    assert interfaces.has_class_head(model) and not interfaces.is_fitted(model)


def test_features_of_few_images_are_held_at_once(glands):
    made, most = [], []

    def counted(image):
        found = image.copy()
        made.append(weakref.ref(found))
        most.append(sum(ref() is not None for ref in made))
        return found

    model = PixelClassifier(GaussianNB(), counted, n_pixels=5)
    model.fit(glands.images, glands.labels, glands.masks).predict_joint(glands.images)
    assert len(most) == 32 and max(most) <= 3


# -- in scikit-learn ---------------------------------------------------------------------------


def test_it_is_an_estimator_of_scikit_learn(glands):
    model = forest(random_state=None)
    twin = clone(model)
    assert twin.classifier is not model.classifier and twin.get_params()["n_pixels"] == 40
    model.set_params(classifier__n_estimators=3, random_state=0)
    assert len(model.fit(glands.images, None, glands.masks).classifier_.estimators_) == 3
    assert not hasattr(model.classifier, "estimators_")  # a clone is fitted
    scores = cross_val_score(
        model, glands.images, glands.labels, cv=2, params={"masks": glands.masks}
    )
    assert scores.shape == (2,) and (scores > 0).all()
    search = GridSearchCV(model, {"classifier__max_depth": [1, 3]}, cv=2)
    search.fit(glands.images, glands.labels, masks=glands.masks)
    assert search.best_estimator_.has_masks_


def test_a_generator_gives_a_new_draw_each_time_and_global_state_stays(glands):
    state = np.random.get_state()[1].copy()
    model = forest(random_state=np.random.default_rng(0))
    first = model.fit(glands.images, None, glands.masks).predict_mask_proba(glands.images)
    second = model.fit(glands.images, None, glands.masks).predict_mask_proba(glands.images)
    assert not np.array_equal(first, second)
    assert np.array_equal(np.random.get_state()[1], state)


# -- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_", ["masks", "labels", "both"])
def test_saved_and_loaded(tmp_path, glands, with_):
    labels = None if with_ == "masks" else glands.labels
    masks = None if with_ == "labels" else glands.masks
    model = PixelClassifier(
        RandomForestClassifier(3, max_depth=4),
        "filters",
        sigmas=(1.0, 2.0),
        threshold=0.4,
        random_state=0,
    )
    model.fit(glands.images, labels, masks)
    model.save(tmp_path / "model")
    model.save(tmp_path / "model")  # over its own
    loaded = PixelClassifier.load(tmp_path / "model")
    assert str(loaded.get_params()) == str(model.get_params())
    assert loaded.threshold_ == 0.4 and loaded.canvas_ == (16, 24)
    if masks is not None:
        found = [m.predict_mask_proba(glands.images) for m in (model, loaded)]
        assert np.array_equal(*found)
        found = [m.predict_uncertainty(glands.images, "bald") for m in (model, loaded)]
        assert np.array_equal(*found)
    if labels is not None:
        assert loaded.classes_.tolist() == ["irregular", "regular"]
        assert np.array_equal(*(m.predict_proba(glands.images) for m in (model, loaded)))
    again = loaded.fit(glands.images, labels, masks)  # all that a fit needs came along
    assert again.n_features_ == model.n_features_
    loaded.save(tmp_path / "model")


def test_what_is_not_in_the_file(tmp_path, glands):
    model = forest(feature_cache=tmp_path / "cache").fit(glands.images, None, glands.masks)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"load\(path, features=\.\.\.\)"):
        PixelClassifier.load(tmp_path / "model")
    loaded = PixelClassifier.load(tmp_path / "model", features=colours, threshold=0.2)
    assert loaded.threshold == 0.2 and loaded.feature_cache is None
    assert np.array_equal(*(m.predict_mask_proba(glands.images) for m in (model, loaded)))


def test_no_pickle(tmp_path, glands):
    model = PixelClassifier(HistGradientBoostingClassifier(max_iter=2), colours)
    for one in (model, model.fit(glands.images, None, glands.masks)):
        assert not hasattr(one, "save")
        with pytest.raises(AttributeError, match="no attribute 'save'") as error:
            one.save(tmp_path / "model")
        assert "pickle alone, which runs code" in str(error.value.__cause__)
    assert hasattr(PixelClassifier(), "save")


def test_folders_that_are_something_else(tmp_path, glands):
    model = forest().fit(glands.images, None, glands.masks)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="path must be new"):
        model.save(tmp_path)
    with pytest.raises(FileNotFoundError, match="a folder that `save` wrote"):
        PixelClassifier.load(tmp_path / "nothing")
    model.save(tmp_path / "model")
    record = tmp_path / "model" / "model.json"
    text = record.read_text()
    for old, new in (
        ("alseg.PixelClassifier/1", "alseg.JointCAMSegmenter/1"),
        ("RandomForestClassifier", "OneClassSVM"),
        ('"n_features": 3', '"n_features": "x"'),
    ):
        assert old in text
        record.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match="damaged"):
            PixelClassifier.load(tmp_path / "model", features=colours)


# -- in the loop -------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [random_sampling, entropy_sampling, bald_sampling])
def test_in_a_learner_that_is_saved_and_goes_on(tmp_path, glands, strategy):
    model = PixelClassifier(
        RandomForestClassifier(3), "filters", sigmas=(1.0, 2.0), n_pixels=20, random_state=0
    )
    learner = ActiveLearner(
        model, strategy, images=glands.images, labels=glands.labels, random_state=0
    )
    oracle = MaskOracle(glands.masks)
    first = np.array([0, 5])
    learner.annotate(first, oracle(first))
    asked, _ = learner.query(n_instances=2)
    assert not set(asked) & {0, 5}
    learner.annotate(asked, oracle(asked))
    assert learner.annotated_ids.tolist() == sorted([0, 5, *asked])
    learner.save(tmp_path / "learner")
    loaded = ActiveLearner.load(tmp_path / "learner")
    assert np.array_equal(*(one.predict_masks(glands.images) for one in (learner, loaded)))
    assert np.array_equal(*(one.query(n_instances=3)[0] for one in (learner, loaded)))


def test_strokes_in_a_learner(glands):
    learner = ActiveLearner(forest(), images=glands.images, labels=glands.labels, random_state=0)
    with pytest.raises(ValueError, match="needs a fit with masks.*random_sampling"):
        learner.query()
    stroke = np.full((16, 24), MISSING)
    stroke[np.unravel_index([int(np.argmax(glands.masks[0] == c)) for c in (0, 1)], (16, 24))] = (
        0,
        1,
    )
    learner.annotate([0], [stroke])
    assert learner.score_masks(glands.images, glands.masks) > 0
    assert 0 in learner.pool_ids  # it may be asked about again


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"selection": "all", "labels": "weighted"},
        {"descriptor": "encoder"},
        {"refit": "once"},
        {"refit": "published"},
    ],
    ids=str,
)
def test_with_pseudo_labels(glands, options):
    augmenter = PseudoLabelAugmenter(weight=0.5, **options)
    learner = ActiveLearner(
        forest(),
        random_sampling,
        images=glands.images,
        labels=glands.labels,
        augmenter=augmenter,
        random_state=0,
    )
    for ids in ([0, 1, 2, 3], [4, 5]):
        learner.annotate(ids, glands.masks[ids])
    fitted = learner.augmenter
    assert len(fitted.candidates_) and len(fitted.selected_)
    assert learner.score_masks(glands.images, glands.masks) > 0.4


def test_in_a_run_and_in_a_comparison(tmp_path, glands):
    train, test = glands.take(range(12)), glands.take(range(12, 16))
    asks = {"rounds": 1, "n_instances": 2, "initial": 4, "seed": 0, "out": tmp_path / "run"}
    records = run(forest(), train, test, entropy_sampling, **asks)
    assert [len(r["sample_ids"]) for r in records] == [4, 2]
    assert all(0 < r["metrics"]["dice"] < 1 and "class_accuracy" in r["metrics"] for r in records)
    assert records[0]["gradient_steps"] is None
    nearest = PixelClassifier(KNeighborsClassifier(3), colours, n_pixels=20)  # cannot be saved
    records = run(nearest, train, test, random_sampling, **{**asks, "out": tmp_path / "nearest"})
    assert len(records) == 2 and not (tmp_path / "nearest" / "model-1").exists()
    for _ in range(2):  # the second time from its records
        result = compare_strategies(
            forest(),
            {"random": random_sampling, "entropy": entropy_sampling},
            data=(train, test),
            protocol=Protocol(
                initial=4, n_instances=2, rounds=1, references=("full supervision",), controls=()
            ),
            seeds=[0],
            out=tmp_path / "comparison",
            verbose=0,
        )
    assert result.curves()["entropy"][0].tolist() == [[4, 6]]
    assert ((curve := result.curves()["entropy"][1]) > 0).all() and (curve < 1).all()
