import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.base import clone

from alseg.labels import MISSING
from alseg.pseudo import augmenter as pseudo
from alseg.pseudo.augmenter import PseudoLabelAugmenter


class Segmenter:
    """Foreground probability is the red channel, so a test says what is predicted."""

    def __init__(self, n_classes=2, **attributes):
        self.n_classes = n_classes
        self.n_predicted = 0
        vars(self).update(attributes)

    def predict_mask_proba(self, X):
        self.n_predicted += len(X)
        found = []
        for i in range(len(X)):
            p = X[i][..., 0].astype(np.float32) / (255 if X[i].dtype == np.uint8 else 1)
            rest = [(1 - p) / (self.n_classes - 1)] * (self.n_classes - 1)
            found.append(np.stack([*rest, p]))
        if len({p.shape for p in found}) == 1:
            return np.stack(found)
        held = np.empty(len(found), dtype=object)
        held[:] = found
        return held


def images_of(*red):
    """Images of shape (2, 2) with these four values of red, as float."""
    X = np.zeros((len(red), 2, 2, 3), dtype=np.float32)
    X[..., 0] = np.reshape(red, (len(red), 2, 2))
    return X


def augment(augmenter, X, masks, y=None, estimator=None):
    estimator = estimator or Segmenter()
    y = ["a"] * len(X) if y is None else y
    return augmenter.fit(X, y, masks, estimator=estimator).transform(X)


X = images_of([0.9, 0.8, 0.1, 0.2], [0.95, 0.95, 0.05, 0.05], [0.6, 0.4, 0.6, 0.4])
TRUTH = np.array([[0, 1], [1, 0]])


def test_all_fills_what_the_oracle_has_not_annotated():
    masks, weight = augment(PseudoLabelAugmenter("all", weight=0.25), X, [TRUTH, None, None])
    np.testing.assert_array_equal(masks, [TRUTH, [[1, 1], [0, 0]], [[1, 0], [1, 0]]])
    np.testing.assert_array_equal(weight, [1, 0.25, 0.25])
    assert masks.dtype == np.int16


def test_a_partly_annotated_image_gets_weights_by_pixel():
    partly = np.array([[0, MISSING], [1, MISSING]])
    augmenter = PseudoLabelAugmenter("all", weight=0.5)
    masks, weight = augment(augmenter, X, [partly, TRUTH, None])
    np.testing.assert_array_equal(masks, [[[0, 1], [1, 0]], TRUTH, [[1, 0], [1, 0]]])
    expected = [[[1, 0.5], [1, 0.5]], np.ones((2, 2)), np.full((2, 2), 0.5)]
    np.testing.assert_array_equal(weight, expected)
    assert augmenter.selected_.tolist() == [0, 2]
    np.testing.assert_array_equal(partly, [[0, MISSING], [1, MISSING]])  # the input is not touched


@given(seed=st.integers(0, 10**6), sure=st.sampled_from([None, 0.7, (0.3, 0.6)]))
@settings(deadline=None, max_examples=30)
def test_oracle_pixels_are_never_overwritten(seed, sure):
    rng = np.random.default_rng(seed)
    pool = [rng.random(s + (3,)) for s in [(3, 4), (2, 2), (4, 3), (3, 3)]]
    given_masks = [rng.integers(-1, 2, image.shape[:2]) for image in pool]
    given_masks[int(rng.integers(4))] = None
    augmenter = PseudoLabelAugmenter("all", sure=sure, weight=0.1)
    masks, weight = augment(augmenter, pool, given_masks)
    for i, (before, after) in enumerate(zip(given_masks, masks, strict=True)):
        if after is None:
            assert before is None and i not in augmenter.selected_
            continue
        before = np.full(after.shape, MISSING) if before is None else before
        known = before != MISSING
        np.testing.assert_array_equal(after[known], before[known])
        w = np.broadcast_to(weight[i], after.shape)
        assert (w[known] == 1).all()
        np.testing.assert_allclose(w[~known & (after != MISSING)], 0.1)
        if sure is None:
            assert (after != MISSING).all()


def test_sure_pixels_only():
    for sure, expected in [
        ((0.1, 0.9), [[MISSING, MISSING], [MISSING, MISSING]]),
        ((0.15, 0.85), [[1, MISSING], [0, MISSING]]),
        ((0.15, 0.75), [[1, 1], [0, MISSING]]),
        (0.85, [[1, MISSING], [0, MISSING]]),
    ]:
        augmenter = PseudoLabelAugmenter("all", sure=sure)
        masks, weight = augment(augmenter, X, [None, TRUTH, TRUTH])
        if (np.array(expected) == MISSING).all():
            assert masks[0] is None and weight[0] == 1 and augmenter.selected_.tolist() == []
        else:
            np.testing.assert_array_equal(masks[0], expected)
            assert weight[0] == 0.1 and augmenter.selected_.tolist() == [0]


@given(seed=st.integers(0, 10**6), n_classes=st.integers(2, 4))
@settings(deadline=None, max_examples=30)
def test_soft_labels_are_the_probabilities_and_the_oracles_pixels(seed, n_classes):
    rng = np.random.default_rng(seed)
    pool = rng.random((5, 3, 4, 3)).astype(np.float32)
    estimator = Segmenter(n_classes)
    proba = estimator.predict_mask_proba(pool)
    partly = rng.integers(-1, n_classes, (3, 4))
    partly[0, :2] = MISSING, 0
    whole = rng.integers(0, n_classes, (3, 4))
    augmenter = PseudoLabelAugmenter("all", labels="soft", weight=0.3)
    masks, weight = augment(augmenter, pool, [whole, partly, None, None, None], None, estimator)
    assert masks.dtype == object and masks[0].shape == (3, 4) and augmenter.threshold_ is None
    np.testing.assert_array_equal(masks[0], whole)
    for i in (2, 3, 4):
        np.testing.assert_array_equal(masks[i], proba[i])
        assert (np.asarray(weight[i]) == np.float32(0.3)).all()
    for r, c in np.ndindex(3, 4):
        known = partly[r, c] != MISSING
        expected = np.eye(n_classes)[partly[r, c]] if known else proba[1, :, r, c]
        np.testing.assert_array_equal(masks[1][:, r, c], expected.astype(np.float32))
        assert weight[1][r, c] == (1 if known else np.float32(0.3))
    assert augmenter.selected_.tolist() == [1, 2, 3, 4]
    assert augmenter.report_.coverage.tolist() == [1, 1, 1, 1]


def test_soft_labels_where_every_image_is_annotated_in_part():
    """No stack of probabilities: an oracle's next mask is put in the place of one of them."""
    partly = np.array([[0, MISSING], [1, MISSING]])
    masks, _ = augment(PseudoLabelAugmenter("all", labels="soft"), X, [partly] * 3)
    assert masks.shape == (3,) and masks[0].shape == (2, 2, 2) and masks[0].dtype == np.float32
    ids = np.array([[0, 5], [MISSING, 9]])  # of objects, which are foreground
    masks, _ = augment(PseudoLabelAugmenter("all", labels="soft"), X, [ids, None, None])
    np.testing.assert_array_equal(masks[0][1], np.float32([[0, 1], [X[0, 1, 0, 0], 1]]))


@pytest.mark.parametrize("labels", ["soft", "sampled"])
@pytest.mark.parametrize("option", [{"sure": 0.9}, {"threshold": 0.4}])
def test_probabilities_know_no_class_of_a_pixel(labels, option):
    (name,) = option
    with pytest.raises(ValueError, match=f"{name} must be None with labels='{labels}'"):
        augment(PseudoLabelAugmenter("all", labels=labels, **option), X, [TRUTH, None, None])


def test_a_soft_label_that_disagrees_is_left_out():
    cams = {i: np.array([[1.0, 1.0], [0.0, 0.0]]) for i in range(3)}
    cams[2] = 1 - cams[0]
    augmenter = PseudoLabelAugmenter("all", labels="soft", agreement=0.9, evidence=("cam",))
    pool = numbered(images_of(*[[0.9, 0.8, 0.1, 0.2]] * 3))
    masks, _ = augment(augmenter, pool, [TRUTH, None, None], estimator=Joint(cams))
    assert augmenter.selected_.tolist() == [1] and masks[2] is None and masks[1].shape == (2, 2, 2)


@pytest.mark.parametrize("refit", ["scratch", "published", "once"])
def test_a_learner_learns_from_soft_labels(refit, rng):
    from alseg.learner import ActiveLearner
    from alseg.segmenter import JointCAMSegmenter

    pool = rng.integers(0, 256, (6, 16, 24, 3), dtype=np.uint8)
    truth = (pool[..., 0] > 127).astype(int)
    partly = np.where(np.arange(24) < 12, truth[1], MISSING)
    learner = ActiveLearner(
        JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0),
        augmenter=PseudoLabelAugmenter("all", labels="soft", weight=0.5, refit=refit),
        images=pool,
        labels=list("aabbab"),
        random_state=0,
    )
    learner.annotate([0, 1], [truth[0], partly]).annotate([2], truth[2:3])
    assert learner.augmenter.selected_.tolist() == [1, 3, 4, 5]
    assert np.isfinite(learner.estimator.predict_mask_proba(pool)).all()


def test_more_mask_classes():
    pool = images_of([0.9, 0.2, 0.5, 0.3])
    estimator = Segmenter(n_classes=3)
    masks, _ = augment(PseudoLabelAugmenter("all"), pool, [None], estimator=estimator)
    # red is the probability of class 2, the others share the rest; of equals the first
    np.testing.assert_array_equal(masks[0], [[2, 0], [2, 0]])
    masks, _ = augment(PseudoLabelAugmenter("all", sure=0.45), pool, [None], estimator=estimator)
    np.testing.assert_array_equal(masks[0], [[2, MISSING], [2, MISSING]])
    with pytest.raises(ValueError, match="sure must be a number with 3 or more mask classes"):
        augment(PseudoLabelAugmenter("all", sure=(0.1, 0.9)), pool, [None], estimator=estimator)


def test_confidence_picks_images_by_the_pixels_that_are_open():
    # confidences of the images: 0.85, 0.95, 0.6
    augmenter = PseudoLabelAugmenter("confidence", confidence=0.84)
    masks, weight = augment(augmenter, X, None)
    assert augmenter.selected_.tolist() == [0, 1] and masks[2] is None
    np.testing.assert_allclose(weight, [0.1, 0.1, 1])
    # the open pixels of image 0 are 0.9 and 0.1: surer than the image
    partly = np.array([[MISSING, 1], [MISSING, 1]])
    augmenter.set_params(confidence=0.89)
    masks, _ = augment(augmenter, X, [partly, None, None])
    assert augmenter.selected_.tolist() == [0, 1]
    np.testing.assert_array_equal(masks[0], [[1, 1], [0, 1]])


def test_neighbours_of_the_same_class(rng):
    """Two stains; each image looks like those of its own stain."""
    stains = np.array([[200, 80, 120], [90, 60, 200]], dtype=float)
    kind = np.array([0, 0, 0, 1, 1, 1])
    pool = stains[kind][:, None, None] + rng.normal(0, 4, (6, 16, 16, 3))
    pool = pool.clip(0, 255).astype(np.uint8)
    masks = [np.zeros((16, 16), int)] + [None] * 5
    one_class = ["a"] * 6
    augmenter = PseudoLabelAugmenter(k=2)
    augment(augmenter, pool, masks, one_class)
    assert augmenter.pairs_.tolist() == [[1, 0], [2, 0]]
    assert augmenter.candidates_.tolist() == augmenter.selected_.tolist() == [1, 2]
    # image 2 is of another class now, and image 3 joins the class of image 0 (and has only it)
    labels = ["a", "a", "b", "b", "b", "b"]
    augment(augmenter, pool, masks, labels)
    assert augmenter.pairs_.tolist() == [[1, 0]]
    augment(augmenter.set_params(same_class=False), pool, masks, labels)
    assert augmenter.pairs_.tolist() == [[1, 0], [2, 0]]
    # an image that the oracle has begun joins by itself, and counts as annotated for others
    masks[5] = np.full((16, 16), MISSING)
    masks[5][0] = 1
    augment(augmenter.set_params(same_class=True), pool, masks, one_class)
    assert augmenter.pairs_.tolist() == [[1, 0], [2, 0], [3, 5], [4, 5]]
    assert augmenter.candidates_.tolist() == [1, 2, 3, 4, 5]


def test_nothing_annotated_means_no_neighbour_and_no_prediction():
    estimator = Segmenter()
    masks, weight = augment(PseudoLabelAugmenter(), X, None, estimator=estimator)
    assert [m is None for m in masks] == [True] * 3 and weight.tolist() == [1, 1, 1]
    assert estimator.n_predicted == 0


def test_weight_zero_is_the_baseline_exactly():
    estimator = Segmenter()
    for masks in ([TRUTH, None, None], np.stack([TRUTH] * 3), None):
        got, weight = augment(PseudoLabelAugmenter("all", weight=0), X, masks, estimator=estimator)
        assert got is masks
        np.testing.assert_array_equal(weight, np.ones(3))
    assert estimator.n_predicted == 0


def test_nothing_is_stale():
    estimator = Segmenter()
    augmenter = PseudoLabelAugmenter("all").fit(X, None, [TRUTH, None, None], estimator=estimator)
    before, _ = augmenter.transform(X)
    changed = 1 - X
    after, _ = augmenter.transform(changed)  # predicted again, not remembered
    np.testing.assert_array_equal(after[1], 1 - before[1])
    assert estimator.n_predicted == 4
    # the oracle answers for image 1: its prediction is gone
    masks, weight = augment(augmenter, X, [TRUTH, TRUTH, None], estimator=estimator)
    np.testing.assert_array_equal(masks[1], TRUTH)
    assert weight[1] == 1 and augmenter.selected_.tolist() == [2]


def test_descriptors_are_computed_once_a_pool(monkeypatch, rng, tmp_path):
    counted = []
    original = pseudo.colour_histogram
    monkeypatch.setattr(pseudo, "colour_histogram", lambda im: counted.append(1) or original(im))
    distances = []
    original_distances = pseudo.within_class_distances
    monkeypatch.setattr(
        pseudo,
        "within_class_distances",
        lambda *args: distances.append(1) or original_distances(*args),
    )
    pool = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    masks = [np.zeros((8, 8), int)] + [None] * 4
    augmenter = PseudoLabelAugmenter(k=2)
    augment(augmenter, pool, masks)
    assert (len(counted), len(distances)) == (5, 1)
    masks[3] = masks[0]
    augment(augmenter, pool.copy(), masks)  # the same content in another place
    augment(augmenter, list(pool), masks)
    assert (len(counted), len(distances)) == (5, 1)
    augment(augmenter, pool[:4], masks[:4])  # a part of the pool: new distances alone
    assert (len(counted), len(distances)) == (5, 2)
    pool[4] = 0  # changed in place: seen
    augment(augmenter, pool, masks)
    assert (len(counted), len(distances)) == (6, 3)
    augment(augmenter, pool, masks, y=list("aabba"))  # other classes, other distances
    assert (len(counted), len(distances)) == (6, 4)

    again = pickle.loads(pickle.dumps(augmenter))
    augment(again, pool, masks)
    assert len(counted) == 6
    augment(clone(augmenter), pool, masks)  # a clone is parameters only
    assert len(counted) == 11

    paths = []
    for i, image in enumerate(pool):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    of_files = PseudoLabelAugmenter(k=2)
    assert of_files.precompute(paths) is of_files
    assert len(counted) == 16
    from_files, _ = augment(of_files, paths, masks)
    assert len(counted) == 16
    from_arrays, _ = augment(augmenter, pool, masks)
    assert of_files.pairs_.tolist() == augmenter.pairs_.tolist()
    for a, b in zip(from_files, from_arrays, strict=True):
        np.testing.assert_array_equal(a, b)


class Embedder(Segmenter):
    """Embeds an image as the angle that its blue says, in right angles."""

    n_embedded = 0

    def transform(self, X):
        self.n_embedded += 1
        angle = np.pi / 2 * np.array([X[i][0, 0, 2] for i in range(len(X))])
        return 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def blue(*values):
    """Images of the same colours but for the blue of their corner."""
    pool = images_of(*[[0.9, 0.9, 0.1, 0.1]] * len(values))
    pool[:, 0, 0, 2] = values
    return pool


MASK = np.array([[1, 1], [0, 0]])


def test_neighbours_by_embeddings_of_the_model_or_of_the_user():
    pool = blue(0.0, 0.1, 0.3, 0.8, 1.0)
    masks = [MASK, None, None, None, MASK]
    expected = [[1, 0], [3, 4]]  # image 2 is nearest to image 1
    angle = np.pi / 2 * pool[:, 0, 0, 2]
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def own(images):
        assert len(images) == 5 and images[0].shape == (2, 2, 3)
        return rows

    for descriptor in ("encoder", rows, rows.tolist(), own):
        augmenter, estimator = PseudoLabelAugmenter(k=1, descriptor=descriptor), Embedder()
        augment(augmenter, pool, masks, estimator=estimator)
        assert augmenter.pairs_.tolist() == expected
        assert estimator.n_embedded == (1 if isinstance(descriptor, str) else 0)
        assert augmenter.precompute(pool) is augmenter
        assert "_known_histograms" not in vars(augmenter)
        assert "descriptor" in repr(augmenter) and clone(augmenter).k == 1
    augment(augmenter.set_params(k=2), pool, masks)
    assert augmenter.pairs_.tolist() == [[1, 0], [2, 0], [3, 4]]
    # within a class
    augment(augmenter, pool, masks, y=list("aabba"))
    assert augmenter.pairs_.tolist() == [[1, 0]]


def test_embeddings_are_of_the_model_given_to_each_fit():
    pool, masks = blue(0.0, 0.1, 0.9, 1.0), [MASK, None, None, None]

    class Other(Embedder):
        def transform(self, X):
            return super().transform(X)[[0, 3, 2, 1]]

    augmenter = PseudoLabelAugmenter(k=1, descriptor="encoder")
    for estimator, found in ((Embedder(), [[1, 0]]), (Other(), [[3, 0]]), (Embedder(), [[1, 0]])):
        augment(augmenter, pool, masks, estimator=estimator)
        assert augmenter.pairs_.tolist() == found
    # the kept histograms are left alone
    augment(augmenter.set_params(descriptor="histogram"), pool, masks)
    kept = augmenter._blocks
    augment(augmenter.set_params(descriptor="encoder"), pool, masks, estimator=Embedder())
    augment(augmenter.set_params(descriptor="histogram"), pool, masks)
    assert augmenter._blocks is kept
    # nothing is embedded before there is anything to compare, or without a weight
    for masks, weight in (([None] * 4, 0.1), ([MASK, None, None, None], 0)):
        estimator = Embedder()
        augmenter.set_params(descriptor="encoder", weight=weight)
        augment(augmenter, pool, masks, estimator=estimator)
        assert estimator.n_embedded == 0


def test_colours_of_the_nearest_by_embeddings():
    """The example whose colours tell foreground is the one that the embeddings say."""
    upside_down = images_of([0.1, 0.1, 0.9, 0.9])  # in it, dark is foreground
    upright = images_of([0.9, 0.9, 0.1, 0.1])
    pool = np.concatenate([upright, upside_down, upright])
    masks = [MASK, MASK, None]
    for like, agreement in ((0, 1.0), (1, 0.0)):
        rows = np.eye(2)[[0, 1, like]]
        augmenter = PseudoLabelAugmenter(k=1, agreement=0.6, evidence=("colours",), descriptor=rows)
        augment(augmenter, pool, masks)
        assert augmenter.pairs_.tolist() == [[2, like]]
        assert augmenter.report_.agreement.tolist() == [agreement]
    estimator = Embedder()
    augmenter = PseudoLabelAugmenter(agreement=0.6, evidence=("colours",), descriptor="encoder")
    augment(augmenter, pool, masks, estimator=estimator)
    assert estimator.n_embedded == 1  # for the gate and for the examples


def test_descriptors_that_cannot_be():
    def fit(descriptor, estimator=None):
        augmenter = PseudoLabelAugmenter(descriptor=descriptor)
        estimator = estimator or Segmenter()
        return augmenter.fit(X, list("aaa"), [TRUTH, None, None], estimator=estimator)

    with pytest.raises(ValueError, match="Did you mean 'histogram'"):
        fit("histograms")
    with pytest.raises(TypeError, match="one with transform for descriptor='encoder', got 'Segm"):
        fit("encoder")
    with pytest.raises(ValueError, match=r"\(3, d\), a row for each image, got \(2, 4\)"):
        fit(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"descriptor must be numbers of shape.* got \(\)"):
        fit(None)
    with pytest.raises(TypeError, match=r"descriptor must be numbers of shape \(3, d\).*'list'"):
        fit([[1.0], ["a"], [2.0]])
    with pytest.raises(ValueError, match="descriptor must be finite"):
        fit(np.full((3, 1), np.nan))
    with pytest.raises(ValueError, match=r"descriptor\(images\) must be numbers of shape \(3, d\)"):
        fit(lambda images: np.zeros(3))
    broken = Embedder()
    broken.transform = lambda X: np.full((3, 2), np.inf)
    with pytest.raises(ValueError, match=r"transform\(X\) must be finite"):
        fit("encoder", broken)


def test_threshold_from_a_number_the_estimator_or_validation():
    pool = images_of([0.3, 0.4, 0.6, 0.7])

    def n_foreground(estimator, **options):
        augmenter = PseudoLabelAugmenter("all", **options)
        masks, _ = augment(augmenter, pool, [None], estimator=estimator)
        return int(masks[0].sum()), augmenter.threshold_

    assert n_foreground(Segmenter()) == (2, 0.5)
    assert n_foreground(Segmenter(threshold=0.65)) == (1, 0.65)
    assert n_foreground(Segmenter(threshold="validation", threshold_=0.35)) == (3, 0.35)
    assert n_foreground(Segmenter(threshold_=0.35), threshold=0.2) == (4, 0.2)
    held_out = SimpleNamespace(
        images=images_of([0.64, 0.64, 0.66, 0.66]), masks=[np.array([[0, 0], [1, 1]])]
    )
    assert n_foreground(Segmenter(), threshold="validation", validation=held_out) == (1, 0.65)
    assert n_foreground(Segmenter(validation_=held_out), threshold="validation") == (1, 0.65)
    with pytest.raises(ValueError, match="threshold must be a number without validation images"):
        n_foreground(Segmenter(), threshold="validation")


def test_many_images_of_many_sizes_in_chunks(monkeypatch, rng):
    monkeypatch.setattr(pseudo, "_CHUNK", 3)
    pool = [rng.random((2 + i % 3, 3, 3)).astype(np.float32) for i in range(10)]
    estimator = Segmenter()
    masks, weight = augment(PseudoLabelAugmenter("all"), pool, None, estimator=estimator)
    for image, mask in zip(pool, masks, strict=True):
        np.testing.assert_array_equal(mask, image[..., 0] >= 0.5)
    assert weight.shape == (10,) and estimator.n_predicted == 10
    partly = np.full((2, 3), MISSING)
    partly[0] = 0
    _, weight = augment(PseudoLabelAugmenter("all"), pool, [partly] + [None] * 9)
    assert weight.dtype == object and [w.shape for w in weight] == [x.shape[:2] for x in pool]


def test_scikit_learn_form():
    augmenter = PseudoLabelAugmenter("all", k=3, sure=(0.2, 0.7), weight=0.3)
    params = augmenter.get_params()
    assert params["sure"] == (0.2, 0.7) and set(params) == {
        "selection",
        "k",
        "same_class",
        "confidence",
        "weight",
        "threshold",
        "sure",
        "agreement",
        "evidence",
        "validation",
        "verbose",
        "labels",
        "schedule",
        "n_draws",
        "random_state",
        "descriptor",
        "refit",
    }
    copy = clone(augmenter)
    assert copy.get_params() == params
    fitted = augmenter.fit_transform(X, None, masks=[TRUTH, None, None], estimator=Segmenter())
    expected = augment(copy, X, [TRUTH, None, None])
    for a, b in zip(fitted[0], expected[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert augmenter.get_params() == params
    learner = SimpleNamespace(estimator=Segmenter())
    augmenter.fit(X, None, None, estimator=learner).transform(X)
    assert learner.estimator.n_predicted == 3


class Joint(Segmenter):
    """Also has the CAM of image i, which is known by its first value of green."""

    def __init__(self, cams, **attributes):
        super().__init__(**attributes)
        self.cams = cams

    def predict_joint(self, X):
        cams = [self.cams[round(float(X[i][0, 0, 1]) * 10)] for i in range(len(X))]
        cams = np.stack([np.stack([-np.asarray(c, float), np.asarray(c, float)]) for c in cams])
        proba = np.tile([0.3, 0.7], (len(X), 1))  # the second class is the predicted one
        return SimpleNamespace(mask_proba=self.predict_mask_proba(X), cams=cams, proba=proba)


def numbered(pool):
    pool = pool.copy()
    pool[..., 1] = np.arange(len(pool))[:, None, None] / 10
    return pool


SURE = images_of(*[[0.95, 0.95, 0.05, 0.05]] * 4)  # the upper half is foreground
CAMS = {
    0: [[2, 1], [0, -1]],  # ranks all 4 pairs rightly
    1: [[2, 0], [1, -1]],  # 3 of 4
    2: [[1, 1], [1, 1]],  # chance
    3: [[-1, 0], [1, 2]],  # none
}


def test_an_image_that_the_cam_disagrees_with_is_left_out():
    pool, joint = numbered(SURE), Joint(CAMS)
    augmenter = PseudoLabelAugmenter("all", weight=0.5, agreement=0.75, evidence=("cam",))
    masks, weight = augment(augmenter, pool, None, estimator=joint)
    np.testing.assert_allclose(augmenter.report_.agreement, [1, 0.75, 0.5, 0])
    assert augmenter.selected_.tolist() == [0, 1] and joint.n_predicted == 4
    assert [m is None for m in masks] == [False, False, True, True]
    assert weight.tolist() == [0.5, 0.5, 1, 1]
    assert augmenter.report_.coverage.tolist() == [1, 1, 0, 0]
    augmenter.set_params(agreement="weight")
    masks, weight = augment(augmenter, pool, None, estimator=joint)
    assert weight.tolist() == [0.5, 0.25, 1, 1] and augmenter.selected_.tolist() == [0, 1]
    augmenter.set_params(agreement="weight", labels="weighted")
    _, weight = augment(augmenter, pool, None, estimator=joint)
    np.testing.assert_allclose(weight[1], np.full((2, 2), 0.25 * 0.9), rtol=1e-6)


def test_an_agreement_of_zero_leaves_nothing_out():
    joint = Joint(CAMS)
    pairs = []
    for agreement in (None, 0.0):
        augmenter = PseudoLabelAugmenter("all", sure=0.9, agreement=agreement, evidence=("cam",))
        pairs.append(augment(augmenter, numbered(SURE), None, estimator=joint))
    np.testing.assert_array_equal(pairs[0][0], pairs[1][0])
    np.testing.assert_array_equal(pairs[0][1], pairs[1][1])


def test_colours_of_the_nearest_annotated_image():
    """Foreground is bright red in one stain and blue in the other."""
    one = images_of([0.9, 0.9, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1], [0.1, 0.1, 0.9, 0.9])
    other = images_of([0.9, 0.9, 0.1, 0.1])
    other[..., 2] = 0.9 - other[..., 0] / 2
    pool = np.concatenate([one, other])
    masks = [np.array([[1, 1], [0, 0]]), None, None, None]
    augmenter = PseudoLabelAugmenter("all", agreement=0.9, evidence=("colours",))
    augment(augmenter, pool, masks)
    # the decoder here is the red channel itself, so it agrees wherever the colours are known
    assert augmenter.report_.sample_ids.tolist() == [1, 2, 3]
    np.testing.assert_allclose(augmenter.report_.agreement, [1, 1, 0.5])
    assert augmenter.selected_.tolist() == [1, 2]
    # upside down, they disagree
    augment(augmenter, pool, [np.array([[0, 0], [1, 1]]), None, None, None])
    np.testing.assert_allclose(augmenter.report_.agreement, [0, 0, 0.5])
    # an image annotated in part is judged by its own colours
    partly = np.array([[MISSING, 0], [MISSING, 1]])
    augment(augmenter, pool, [masks[0], partly, None, None])
    np.testing.assert_allclose(augmenter.report_.agreement[0], 0)
    # of another class there is nobody: chance
    augment(augmenter, pool, masks, y=list("abab"))
    np.testing.assert_allclose(augmenter.report_.agreement, [0.5, 1, 0.5])


def test_report_against_hidden_masks():
    partly = np.array([[1, MISSING], [MISSING, MISSING]])
    truth = [TRUTH, np.array([[1, 0], [0, MISSING]]), np.array([[0, 1], [1, 0]])]
    augmenter = PseudoLabelAugmenter("all", sure=(0.15, 0.85))
    augmenter.fit(X, masks=[None, partly, None], estimator=Segmenter(), true_masks=truth)
    augmenter.transform(X)
    report = augmenter.report_
    # image 0 keeps 0.9 (1) and 0.1 (0), whose truth is 0 and 1; image 1 keeps its 3 open pixels,
    # [., 1], [0, 0], of truth [., 0], [0, ?]; image 2 none
    np.testing.assert_allclose(report.coverage, [0.5, 1, 0])
    np.testing.assert_allclose(report.accuracy, [0, 0.5, np.nan])
    np.testing.assert_allclose(report.dice, [0, 0, np.nan])
    assert np.isnan(report.agreement).all() and report.sample_ids.tolist() == [0, 1, 2]
    augment(augmenter, X, None)
    assert set(augmenter.report_) == {"sample_ids", "coverage", "agreement"}
    augment(PseudoLabelAugmenter(weight=0), X, None)


def test_bad_input():
    def fit(X=X, y=("a",) * 3, masks=None, estimator=None, **options):
        augmenter = PseudoLabelAugmenter(**options)
        return augmenter.fit(X, y, masks, estimator=estimator or Segmenter())

    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError, match="not fitted"):
        PseudoLabelAugmenter().transform(X)
    with pytest.raises(ValueError, match="refit must be one of .*Did you mean 'scratch'"):
        augment(PseudoLabelAugmenter(refit="scatch"), X, None)
    with pytest.raises(ValueError, match="Did you mean 'neighbours'"):
        fit(selection="neighbors")
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        fit(k=0)
    with pytest.raises(ValueError, match="weight must be >= 0 and <= 1, got -1"):
        fit(weight=-1)
    with pytest.raises(ValueError, match="confidence must be >= 0 and <= 1"):
        fit(confidence=2)
    with pytest.raises(ValueError, match="Did you mean 'validation'"):
        fit(threshold="valid")
    with pytest.raises(ValueError, match="threshold must be >= 0 and <= 1, got 3"):
        fit(threshold=3)
    for sure in [(0.9, 0.1), (0.1, 0.5, 0.9), "high"]:
        with pytest.raises(ValueError, match="sure must be None, a number or a pair"):
            fit(sure=sure)
    with pytest.raises(ValueError, match="sure must be >= 0 and <= 1, got 1.3"):
        fit(sure=1.3)
    with pytest.raises(ValueError, match="Did you mean 'weight'"):
        fit(agreement="weigh")
    with pytest.raises(ValueError, match="agreement must be >= 0 and <= 1, got 2"):
        fit(agreement=2)
    for evidence in [(), "cam", ("decoder",)]:
        with pytest.raises(ValueError, match="evidence must be one or more of"):
            fit(evidence=evidence)
    with pytest.raises(ValueError, match="predict_joint for evidence='cam'.*evidence=..colours"):
        fit(agreement=0.5)
    with pytest.raises(ValueError, match="predict_joint for evidence='cam'"):
        fit(agreement=0.5, estimator=Joint({}, has_class_head=False))
    with pytest.raises(ValueError, match=r"y must be of shape \(3,\), got \(2,\)"):
        fit(y=["a", "b"])
    with pytest.raises(TypeError, match="estimator must be an object with predict_mask_proba"):
        fit(estimator=object())
    with pytest.raises(ValueError, match="masks must be"):
        fit(masks=[None])
    with pytest.raises(ValueError, match="X must be the 3 images that fit was given, got 2"):
        fit().transform(X[:2])
    wrong_size = [np.array([[0, MISSING, 0]]), None, None]
    with pytest.raises(ValueError, match=r"the prediction for image 0 must be of the size"):
        fit(masks=wrong_size, selection="all").transform(X)


def test_with_the_segmenter_and_weight_zero_is_bit_for_bit_the_baseline(rng):
    from torch import nn

    from alseg.segmenter.estimator import JointCAMSegmenter

    class Tiny(nn.Module):
        out_channels, strides = [4, 8], [2, 4]

        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.second = nn.Conv2d(4, 8, 3, stride=2, padding=1)

        def forward(self, x):
            x = self.first(x).relu()
            return [x, self.second(x).relu()]

    pool = [rng.integers(0, 256, (16 + 8 * (i % 2), 24, 3), dtype=np.uint8) for i in range(6)]
    truth = [(image[..., 0] > 127).astype(int) for image in pool]
    partly = truth[1].copy()
    partly[8:] = MISSING
    masks, labels = [truth[0], partly, None, None, truth[4], None], list("aabbab")

    encoder = Tiny()  # copied at each fit

    def fit(*more):
        segmenter = JointCAMSegmenter(encoder=encoder, max_epochs=2, random_state=0, verbose=0)
        return segmenter.fit(pool, labels, *more)

    baseline = fit(masks)
    again = fit(*augment(PseudoLabelAugmenter(weight=0), pool, masks, labels, baseline))
    pairs = zip(baseline.predict_mask_proba(pool), again.predict_mask_proba(pool), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)

    augmenter = PseudoLabelAugmenter("all", weight=0.5)
    merged, weight = augment(augmenter, pool, masks, labels, baseline)
    assert augmenter.selected_.tolist() == [1, 2, 3, 5]
    for i, mask in enumerate(baseline.predict_masks(pool)):
        given_mask = np.full(mask.shape, MISSING) if masks[i] is None else masks[i]
        np.testing.assert_array_equal(merged[i], np.where(given_mask == MISSING, mask, given_mask))
    other = fit(merged, weight)
    assert np.isfinite(other.history[-1, "train_loss"])
