"""An estimator that alseg does not know is kept and continued by its own `save` and `load`."""

import json

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from alseg import ActiveLearner
from alseg.datasets import make_glands
from alseg.experiment import run
from alseg.images import as_images, as_masks, stack
from alseg.interfaces import loaded
from alseg.strategies import entropy_sampling


class Running(BaseEstimator):
    """A level that each fit moves half the way to what the masks say, from where it stands."""

    n_mask_classes = 2

    def __init__(self, width=20.0, random_state=None):
        self.width, self.random_state = width, random_state

    def fit(self, X, y, masks=None, mask_weight=None):
        self.level_, self.n_fits_ = 0.0, 0
        return self.partial_fit(X, y, masks, mask_weight)

    def partial_fit(self, X, y, masks=None, mask_weight=None):
        images, masks = as_images(X), as_masks(masks, len(X))
        known = [i for i in range(len(images)) if masks[i] is not None]
        if known:
            means = [
                np.mean([images[i].mean(axis=-1)[masks[i] == c].mean() for i in known])
                for c in (0, 1)
            ]
            self.level_ = (self.level_ + np.mean(means)) / 2
        self.n_fits_ += 1
        return self

    def predict_mask_proba(self, X):
        images = as_images(X)
        away = [(images[i].mean(axis=-1) - self.level_) / self.width for i in range(len(images))]
        p = [1 / (1 + np.exp(-np.clip(one, -30, 30))) for one in away]
        return stack([np.stack([1 - one, one]) for one in p])

    def save(self, path):
        path.mkdir()
        (path / "running.json").write_text(json.dumps([float(self.level_), self.n_fits_]))

    @classmethod
    def load(cls, path):
        model = cls()
        model.level_, model.n_fits_ = json.loads((path / "running.json").read_text())
        return model


@pytest.fixture(scope="module")
def glands():
    return make_glands(12, image_size=(16, 24), random_state=0)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("stage", ["ask", "fit", "evaluate", "done"])
def test_a_warm_run_that_was_killed_ends_with_the_same_numbers(glands, tmp_path, stage):
    parts = glands.take(range(8)), glands.take(range(8, 12))
    options = {"rounds": 3, "initial": 2, "n_instances": 1, "warm_start": True}
    model = Running(width=15.0)
    whole = run(model, *parts, entropy_sampling, out=tmp_path / "whole", **options)

    def kill(round_, now, record):
        if round_ == 2 and now == stage:
            raise Killed

    with pytest.raises(Killed):
        run(model, *parts, entropy_sampling, out=tmp_path / "cut", progress=kill, **options)
    again = run(model, *parts, entropy_sampling, out=tmp_path / "cut", **options)
    assert [r["sample_ids"] for r in again] == [r["sample_ids"] for r in whole]
    assert [r["metrics"] for r in again] == [r["metrics"] for r in whole]
    fresh = run(
        model, *parts, entropy_sampling, out=tmp_path / "new", **{**options, "warm_start": False}
    )
    assert fresh[-1]["metrics"] != whole[-1]["metrics"]  # else nothing was carried on


def test_what_is_loaded_has_the_parameters_of_the_estimator(glands, tmp_path):
    model = Running(width=15.0, random_state=3).fit(glands.images, None, glands.masks)
    model.save(tmp_path / "model")
    back = loaded(Running(width=7.0, random_state=9), tmp_path / "model")
    assert back.get_params() == {"width": 7.0, "random_state": None}  # a seed is of its own fit
    assert back.level_ == model.level_

    class Taking(Running):
        @classmethod
        def load(cls, path, width=1.0):
            return super().load(path).set_params(width=2 * width)

    assert loaded(Taking(width=7.0), tmp_path / "model").width == 14.0

    class TakingAll(Running):
        @classmethod
        def load(cls, path, **params):
            found = cls(**params)
            found.level_ = 5.0
            return found

    assert loaded(TakingAll(width=7.0), tmp_path / "model").width == 7.0


def test_a_learner_is_saved_with_an_estimator_of_someone_elses(glands, tmp_path):
    masks = [*glands.masks[:3], *[None] * 9]
    given = {"images": glands.images, "labels": glands.labels, "masks": masks, "random_state": 0}
    learner = ActiveLearner(Running(), entropy_sampling, **given).fit()
    learner.save(tmp_path / "learner")
    with pytest.raises(ValueError, match="estimator must be .* in alseg.*Pass estimator= itself"):
        ActiveLearner.load(tmp_path / "learner")
    for reader in (Running, Running(), Running.load):
        back = ActiveLearner.load(tmp_path / "learner", estimator=reader)
        assert back.estimator.level_ == learner.estimator.level_
        assert back.query(n_instances=3)[0].tolist() == learner.query(n_instances=3)[0].tolist()

    class Unsaved(Running):
        save = property()

    learner = ActiveLearner(Unsaved(), **given).fit()
    with pytest.raises(TypeError, match=r"one with save\(path\) and load\(path\).*own_est"):
        learner.save(tmp_path / "other")
