"""`check_estimator` passes what alseg exports, and says of others what is wrong."""

import json

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from alseg import JointCAMSegmenter, PixelClassifier
from alseg.images import as_images, as_masks, stack
from alseg.interfaces import PARTS
from alseg.learner import DeepEnsemble
from alseg.testing import ContractError, check_estimator


class Levels(BaseEstimator):
    """Grey values against the means of background and of foreground: the least there can be."""

    n_mask_classes = 2

    def __init__(self, width=20.0, random_state=None):
        self.width, self.random_state = width, random_state

    def fit(self, X, y, masks=None, mask_weight=None):
        images, masks = as_images(X), as_masks(masks, len(X))
        self.classes_ = np.array([0]) if y is None else np.unique(y)
        self.level_ = 128.0
        self._learn(images, masks, np.ones(len(images)) if mask_weight is None else mask_weight)
        return self

    def _learn(self, images, masks, weight):
        sums = np.zeros((2, 2))
        for i in range(len(images)):
            for c in (0, 1) if masks[i] is not None else ():
                of_pixels = np.broadcast_to(weight[i], masks[i].shape)[masks[i] == c]
                grey = images[i].mean(axis=-1)[masks[i] == c]
                sums[c] += (of_pixels * grey).sum(), of_pixels.sum()
        if sums[:, 1].all():
            self.level_ = float((sums[:, 0] / sums[:, 1]).mean())

    def _grey(self, X):
        images = as_images(X)
        return [images[i].mean(axis=-1) for i in range(len(images))]

    def predict_mask_proba(self, X):
        p = [1 / (1 + np.exp((self.level_ - grey) / self.width)) for grey in self._grey(X)]
        return stack([np.stack([1 - one, one]) for one in p])


class Everything(Levels):
    """With every part that is optional."""

    def predict_proba(self, X):
        p = np.array(
            [
                [np.cos(grey.mean() + k) + 1.1 for k in range(len(self.classes_))]
                for grey in self._grey(X)
            ]
        )
        return p / p.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def predict_masks(self, X):
        return stack([(p[1] > 0.5).astype(np.int16) for p in self.predict_mask_proba(X)])

    def predict_joint(self, X):
        return {
            "masks": self.predict_masks(X),
            "mask_proba": self.predict_mask_proba(X),
            "labels": self.predict(X),
            "proba": self.predict_proba(X),
        }

    def predict_cams(self, X):
        return [np.ones((len(self.classes_), 4, 6)) * grey.mean() for grey in self._grey(X)]

    def predict_uncertainty(
        self,
        X,
        method="entropy",
        aggregate="mean",
        target="mask",
        return_maps=False,
        n_draws=5,
        random_state=None,
    ):
        rng = np.random.default_rng(random_state)
        maps = [p[0] * p[1] + 0.01 * rng.random() for p in self.predict_mask_proba(X)]
        scores = np.array([one.mean() for one in maps])
        return (scores, maps) if return_maps else scores

    def transform(self, X):
        return np.array([[grey.mean(), grey.std()] for grey in self._grey(X)])

    def score_masks(self, X, masks):
        return 0.5

    def partial_fit(self, X, y, masks=None, mask_weight=None):
        return self.fit(X, y, masks, mask_weight)

    def save(self, path):
        path.mkdir()
        known = {"level": self.level_, "classes": self.classes_.tolist()}
        (path / "levels.json").write_text(json.dumps(known))

    @classmethod
    def load(cls, path):
        known = json.loads((path / "levels.json").read_text())
        model = cls()
        model.level_, model.classes_ = known["level"], np.array(known["classes"])
        return model


def test_the_least_there_can_be_passes_and_is_told_what_it_can():
    model = Levels()
    found = check_estimator(model)
    assert found.parts == ("masks",) and found.fits == ("weights", "labels alone", "masks alone")
    assert {"entropy_sampling", "random_sampling", "cdal_sampling"} <= set(found.strategies)
    assert found.closed["bald_sampling"] == ("draws",)
    assert found.closed["core_set_sampling"] == ("embeddings",)
    assert not hasattr(model, "classes_") and model.get_params() == Levels().get_params()


def test_every_part_is_found():
    found = check_estimator(Everything())
    assert found.parts == ("masks", "labels", "cams", "draws", "embeddings")
    assert found.fits == ("weights", "labels alone", "masks alone", "going on", "saving")
    assert found.closed == {
        "badge_sampling": ("gradients",),
        "committee_sampling": ("members",),
        "egl_sampling": ("gradients",),
    }


class Halved(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return [np.asarray(image) // 2 for image in as_images(X)]


SMALL = {"encoder": "tiny", "encoder_weights": None, "max_epochs": 1, "random_state": 0}
PIXELS = {"n_pixels": 20, "random_state": 0}
TREES = RandomForestClassifier(3)
OURS = {
    "JointCAMSegmenter": (JointCAMSegmenter(**SMALL), set(PARTS) - {"members"}),
    "without class head": (
        JointCAMSegmenter(**SMALL).set_params(network__pooling=None),
        {"masks", "draws", "embeddings", "gradients"},
    ),
    "three classes": (JointCAMSegmenter(n_mask_classes=3, **SMALL), set(PARTS) - {"members"}),
    "PixelClassifier": (PixelClassifier(**PIXELS), {"masks", "labels", "draws", "embeddings"}),
    "naive Bayes of pixels": (
        PixelClassifier(GaussianNB(), **PIXELS),
        {"masks", "labels", "embeddings"},
    ),
    "DeepEnsemble": (
        DeepEnsemble(JointCAMSegmenter(**SMALL), 2, random_state=0),
        set(PARTS) - {"gradients"},
    ),
    "a whole network": (
        JointCAMSegmenter(
            network=torch.nn.Conv2d(3, 2, 3, padding=1), max_epochs=1, random_state=0
        ),
        None,
    ),
    "DeepEnsemble of others": (
        DeepEnsemble(Levels(), 2, random_state=0),
        {"masks", "draws", "members"},
    ),
    "DeepEnsemble of everything": (
        DeepEnsemble(Everything(), 2, random_state=0),
        {"masks", "labels", "cams", "draws", "embeddings", "members"},
    ),
    "DeepEnsemble of pixels": (
        DeepEnsemble(PixelClassifier(TREES, **PIXELS), 2, random_state=0),
        {"masks", "labels", "draws", "embeddings", "members"},
    ),
    "a Pipeline": (make_pipeline(Halved(), Levels()), {"masks"}),
}


@pytest.mark.parametrize("name", OURS)
def test_what_alseg_exports_passes(name):
    model, parts = OURS[name]
    found = set(check_estimator(model).parts)
    assert found == parts if parts is not None else "masks" in found


# -- what is wrong is found, each by a sentence of its own --


class NoBase:
    fit = Levels.fit
    predict_mask_proba = Levels.predict_mask_proba


class ChangesArguments(Levels):
    def __init__(self, width=20.0):
        self.width = np.array([width])


class NoMasks(Levels):
    def fit(self, X, y):
        return self


class NoProbabilities(BaseEstimator):
    def fit(self, X, y, masks=None):
        return self


class ReturnsNothing(Levels):
    def fit(self, X, y, masks=None, mask_weight=None):
        super().fit(X, y, masks, mask_weight)


class NoSign(Levels):
    def fit(self, X, y, masks=None, mask_weight=None):
        return self

    def predict_mask_proba(self, X):
        return None


class WantsAllMasks(Levels):
    def fit(self, X, y, masks=None, mask_weight=None):
        np.stack(list(masks))
        return super().fit(X, y, masks)


class ChangesMasks(Levels):
    def fit(self, X, y, masks=None, mask_weight=None):
        for mask in [m for m in masks if m is not None] if masks is not None else []:
            mask[mask == -1] = 0
        return super().fit(X, y, masks, mask_weight)


class ChangesParameters(Levels):
    def fit(self, X, y, masks=None, mask_weight=None):
        self.width = 30.0
        return super().fit(X, y, masks, mask_weight)


def gives(change):
    """An estimator whose probabilities are changed by a function of (C, H, W)."""

    class Changed(Levels):
        def predict_mask_proba(self, X):
            return [change(p) for p in super().predict_mask_proba(X)]

    return Changed


class OnlyArrays(Levels):
    def predict_mask_proba(self, X):
        p = 1 / (1 + np.exp((self.level_ - X[:, :, :, 0] * 1.0) / self.width))
        return np.stack([1 - p, p], axis=1)


class OneSize(Levels):
    def predict_mask_proba(self, X):
        images = as_images(X)
        first = images.size(0)
        fitted = [np.resize(images[i], (*first, 3)) for i in range(len(images))]
        return super().predict_mask_proba(fitted)


class LooksAround(Levels):
    def predict_mask_proba(self, X):
        shift = np.mean([grey.mean() for grey in self._grey(X)]) / 1000
        return [
            np.stack([p[0] * (1 - shift), 1 - p[0] * (1 - shift)])
            for p in super().predict_mask_proba(X)
        ]


class Restless(Levels):
    def predict_mask_proba(self, X):
        self.calls_ = getattr(self, "calls_", 0) + 1
        return [np.roll(p, 1, 0) if self.calls_ == 6 else p for p in super().predict_mask_proba(X)]


class Unseeded(Levels):
    def fit(self, X, y, masks=None, mask_weight=None):
        super().fit(X, y, masks, mask_weight)
        self.level_ += np.random.default_rng().random()
        return self


class GoesOnAlways(Levels):
    def fit(self, X, y, masks=None, mask_weight=None):
        before = getattr(self, "level_", None)
        super().fit(X, y, masks, mask_weight)
        self.level_ = self.level_ if before is None else (self.level_ + before) / 2
        return self


class WeighsImagesAlone(Levels):
    def fit(self, X, y, masks=None, mask_weight=None):
        if mask_weight is not None:
            [float(one) for one in mask_weight]
        return super().fit(X, y, masks, mask_weight)


def with_method(name, function):
    return type("Changed", (Everything,), {name: function})


class NoClasses(Everything):
    def fit(self, X, y, masks=None, mask_weight=None):
        super().fit(X, y, masks, mask_weight)
        del self.classes_
        return self


class Twins(Everything):
    def __deepcopy__(self, memo):
        return self

    def partial_fit(self, X, y, masks=None, mask_weight=None):
        self.level_ += 40
        return self


class LoadsAnother(Everything):
    @classmethod
    def load(cls, path):
        model = super().load(path)
        model.level_ += 40
        return model


FAULTS = [
    (NoBase, r"get_params must give the parameters of the constructor.*BaseEstimator"),
    (ChangesArguments, "__init__ must keep its arguments as they are, got RuntimeError"),
    (NoMasks, r"fit must take masks by the name masks: fit\(X, y, masks=None"),
    (NoProbabilities, r"predict_mask_proba must give an array \(C, H, W\).*no such method"),
    (ReturnsNothing, "fit must return the estimator itself, got NoneType"),
    (NoSign, "fit must leave classes_, or another attribute that ends in an underscore"),
    (
        WantsAllMasks,
        "fit must take masks as an object array .* and None where an image is not, got",
    ),
    (ChangesMasks, "fit must leave images and masks as they are"),
    (ChangesParameters, r"fit must leave the parameters of the constructor alone, got \['width'\]"),
    (gives(lambda p: p[1]), r"predict_mask_proba must give 6 arrays \(C, H, W\), C=2 .*\(32, 48\)"),
    (gives(lambda p: np.log(p)), r"give probabilities in \[0, 1\], got -"),
    (gives(lambda p: p / 2), "probabilities that sum to 1 over the classes, got a sum of 0.5"),
    (gives(lambda p: p * np.nan), "give finite floats, got NaN or infinity"),
    (gives(lambda p: p.round().astype(int)), "give finite floats, got int64"),
    (gives(lambda p: p[:, ::2, ::2]), r"got \(2, 16, 24\) for an image of \(32, 48\)"),
    (OnlyArrays, r"predict_mask_proba must take any sequence of images, by len\(X\) and X\[i\]"),
    (OneSize, r"predict_mask_proba must give 3 arrays .* of the image, got \(2, 32, 48\) for an"),
    (LooksAround, "give the same for an image alone as among others, got a difference of"),
    (Restless, "predict_mask_proba must give the same each time it is asked"),
    (Unseeded, "fit must give the same model for the same random_state"),
    (GoesOnAlways, "fit must start anew, whatever it was fitted to before"),
    (WeighsImagesAlone, r"fit must take mask_weight as a number for each image \(n,\), and as"),
    (with_method("predict_masks", Levels.predict_mask_proba), "predict_masks must give an integer"),
    (NoClasses, "fit must leave classes_, the sorted class labels"),
    (
        with_method("predict_proba", lambda self, X: np.ones((len(X), 2))),
        "sum to 1, got sums up to 2",
    ),
    (
        with_method("predict", lambda self, X: np.zeros(len(X))),
        "predict must give a label of classes_",
    ),
    (
        with_method("predict_joint", lambda self, X: {"labels": self.predict(X)}),
        r"predict_joint must give a Bunch .* got none of \['masks', 'mask_proba', 'proba'\]",
    ),
    (
        with_method("predict_cams", lambda self, X: np.ones((len(X), 4, 6))),
        r"predict_cams must give class maps \(K, h, w\), K=2, .* got shape \(4, 6\)",
    ),
    (
        with_method("predict_uncertainty", lambda self, X, **options: np.zeros((len(X), 3))),
        r"predict_uncertainty must give a finite score for each image, shape \(6,\), got shape",
    ),
    (
        with_method(
            "predict_uncertainty",
            lambda self, X, method="entropy", n_draws=3, random_state=None, return_maps=False: (
                (np.zeros(len(X)), [np.zeros((32, 48)) for _ in range(len(X))])
                if return_maps
                else np.random.default_rng().random(len(X))
            ),
        ),
        "predict_uncertainty must repeat its draws with the same random_state",
    ),
    (
        with_method("transform", lambda self, X: np.full((len(X), 2), np.inf)),
        "transform must give a",
    ),
    (with_method("score_masks", lambda self, X, masks: None), "score_masks must give a number"),
    (Twins, "partial_fit must change the copy that is fitted"),
    (with_method("partial_fit", lambda self, X, y: self), "partial_fit must take what fit takes"),
    (with_method("save", lambda self, path: 1 / 0), "save must write a fitted model.*ZeroDivision"),
    (LoadsAnother, "load must be a class method that gives the model that save wrote"),
]


@pytest.mark.parametrize(("broken", "says"), FAULTS)
def test_what_is_wrong_is_said_in_a_sentence(broken, says):
    with pytest.raises(ContractError, match=says) as caught:
        check_estimator(broken())
    for sentence in str(caught.value).splitlines():
        assert sentence.startswith(broken.__name__ + ".")
        assert sentence.endswith("See docs/user/own_estimator.md.")


def test_all_that_is_missing_is_said_at_once():
    class Nothing(BaseEstimator):
        pass

    with pytest.raises(ContractError) as caught:
        check_estimator(Nothing())
    first, second = str(caught.value).splitlines()
    assert first.startswith("Nothing.fit must") and second.startswith("Nothing.predict_mask_proba")
    with pytest.raises(ContractError, match="LogisticRegression.fit must take masks"):
        check_estimator(LogisticRegression())


def test_images_of_ones_own_are_taken():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (5, 16, 20, 3), dtype=np.uint8)
    masks = (images.mean(axis=-1) > 128).astype(int)
    with pytest.raises(ValueError, match="images must be at least 4, got 3"):
        check_estimator(Levels(), images[:3], ["a", "b", "a"], masks[:3])
    with pytest.raises(ValueError, match="masks must be all known and of one size"):
        check_estimator(Levels(), images, ["a", "b", "a", "b", "b"])
    assert check_estimator(Levels(), images, ["a", "b", "a", "b", "b"], masks).parts == ("masks",)
