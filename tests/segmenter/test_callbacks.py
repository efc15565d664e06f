"""Every callback that skorch exports works in a fit, or is refused by name before it."""

from types import SimpleNamespace

import numpy as np
import pytest
import skorch.callbacks
import torch
from skorch.callbacks import (
    BatchScoring,
    Checkpoint,
    EpochScoring,
    Initializer,
    InputShapeSetter,
    LRScheduler,
    WarmRestartLR,
)
from skorch.dataset import ValidSplit

from alseg import JointCAMSegmenter
from alseg.datasets import make_glands
from alseg.segmenter import with_fields

GLANDS = make_glands(9, image_size=(16, 16), random_state=0)
LABELS = np.asarray(GLANDS.labels)


class Service(dict):
    """Stands for a service that logs: a dict of dicts whose every method takes anything down."""

    def __init__(self, folder):
        self.calls, self.dir, self.info = [], str(folder), SimpleNamespace(run_id="1")

    def __deepcopy__(self, memo):
        return self  # as a connection: what was logged must come out

    def __missing__(self, key):
        self[key] = Service(self.dir)
        return self[key]

    def __getattr__(self, name):
        if name.startswith("_") or name == "get_params":
            raise AttributeError(name)
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))


def make(callback, **options):
    return JointCAMSegmenter(
        **with_fields(
            {
                "encoder": "tiny",
                "max_epochs": 2,
                "steps_per_epoch": 1,
                "random_state": 0,
                "device": "cpu",
                "callbacks": [callback],
                "train_split": ValidSplit(3),
                "schedule__lr_schedule": "constant",
                **options,
            }
        )
    )


def fitted(callback, **options):
    return make(callback, **options).fit(GLANDS.images, LABELS, GLANDS.masks)


# How each is made, given a folder. Those that are not named here need no argument.
MADE = {
    "BatchScoring": lambda folder: BatchScoring("accuracy"),
    "Checkpoint": lambda folder: Checkpoint(dirname=folder, monitor="valid_loss_best"),
    "EpochScoring": lambda folder: EpochScoring("accuracy", lower_is_better=False),
    "Freezer": lambda folder: skorch.callbacks.Freezer("encoder.*"),
    "GradientNormClipping": lambda folder: skorch.callbacks.GradientNormClipping(1.0),
    "Initializer": lambda folder: Initializer("mask_conv.weight", fn=torch.nn.init.normal_),
    "LRScheduler": lambda folder: LRScheduler("StepLR", step_size=1, gamma=0.5),
    "LoadInitState": lambda folder: skorch.callbacks.LoadInitState(Checkpoint(dirname=folder)),
    "MlflowLogger": lambda folder: skorch.callbacks.MlflowLogger(Service(folder), Service(folder)),
    "NeptuneLogger": lambda folder: neptune(folder),
    "ParamMapper": lambda folder: skorch.callbacks.ParamMapper("mask_conv.*", torch.nn.init.zeros_),
    "PassthroughScoring": lambda folder: skorch.callbacks.PassthroughScoring(
        "train_batch_size", on_train=True
    ),
    "SacredLogger": lambda folder: skorch.callbacks.SacredLogger(Service(folder)),
    "TensorBoard": lambda folder: skorch.callbacks.TensorBoard(Service(folder)),
    "TrainEndCheckpoint": lambda folder: skorch.callbacks.TrainEndCheckpoint(dirname=folder),
    "Unfreezer": lambda folder: skorch.callbacks.Unfreezer("encoder.*"),
    "WandbLogger": lambda folder: skorch.callbacks.WandbLogger(Service(folder)),
    "WarmRestartLR": lambda folder: LRScheduler(WarmRestartLR),
}
REFUSED = {
    "BatchScoring": "callbacks must be without BatchScoring, .*EpochScoring",
    "InputShapeSetter": "callbacks must be without InputShapeSetter, .*image_size",
}


def neptune(folder):
    made = skorch.callbacks.NeptuneLogger(Service(folder), close_after_train=False)
    made._model_summary_file = str  # of the service's own type, else
    return made


@pytest.mark.parametrize("schedule", ["joint", "two-phase"])
@pytest.mark.parametrize("name", sorted(skorch.callbacks.__all__))
def test_a_callback_works_or_is_refused_by_name(name, schedule, tmp_path):
    callback = MADE.get(name, lambda folder: getattr(skorch.callbacks, name)())(tmp_path)
    model = make(callback, schedule__phases=schedule, max_epochs=1)
    if name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name]):
            model.fit(GLANDS.images, LABELS, GLANDS.masks)
        assert not model.initialized_
        return
    model.fit(GLANDS.images, LABELS, GLANDS.masks).partial_fit(
        GLANDS.images, LABELS, masks=GLANDS.masks
    )
    assert np.isfinite(model.history[:, "valid_loss"]).all()
    assert model.predict(GLANDS.images).shape == (9,)


class Images:
    """A scorer of one's own, which keeps what it was given."""

    __name__ = "own"

    def __init__(self):
        self.seen = []

    def __call__(self, net, X, y):
        self.seen.append((np.asarray(X[0]), len(X), list(y)))
        return float(np.mean(net.predict(X) == y))

    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize("net_caching", ["auto", True, False])
@pytest.mark.parametrize("on_train", [True, False])
def test_scores_of_an_epoch_are_of_images_and_labels(use_caching, net_caching, on_train):
    own = Images()
    callbacks = [
        EpochScoring(own, lower_is_better=False, on_train=on_train, use_caching=use_caching),
        EpochScoring("accuracy", False, on_train=on_train, use_caching=use_caching),
        EpochScoring("neg_log_loss", False, on_train=on_train, use_caching=use_caching),
        EpochScoring(None, False, on_train=on_train, use_caching=use_caching, name="score"),
    ]
    model = fitted(None, callbacks=callbacks, use_caching=net_caching)
    assert model.use_caching == net_caching  # the parameter is as it was
    last = model.history[-1]
    assert last["own"] == last["accuracy"] == last["score"] and len(own.seen) == 2
    image, n, labels = own.seen[-1]
    assert n == (6 if on_train else 3) and set(labels) == set(LABELS)
    assert image.shape == (16, 16, 3) and image.dtype == np.uint8
    assert any(np.array_equal(image, there) for there in GLANDS.images)


def test_the_last_score_is_that_of_the_fitted_model():
    own = Images()
    scoring = EpochScoring(own, lower_is_better=False, on_train=True)
    whole = {"train_split": None, "steps_per_epoch": 2}  # in batches of 8 and of 1
    model = fitted(scoring, **whole)
    assert own.seen[-1][1:] == (9, LABELS.tolist())
    assert model.history[-1, "own"] == np.mean(model.predict(GLANDS.images) == LABELS)
    plain = fitted(None, callbacks=None, **whole)
    assert np.array_equal(model.predict_proba(GLANDS.images), plain.predict_proba(GLANDS.images))


def test_images_of_differing_sizes_and_words_are_scored(tmp_path):
    images = [GLANDS.images[i][: 16 - i] for i in range(9)]
    words = np.where(np.equal(LABELS, LABELS[0]), "one", "other")
    own = Images()
    model = make(EpochScoring(own, lower_is_better=False), image_size=(16, 16))
    model.fit(images, words)
    assert set(own.seen[-1][2]) == {"one", "other"}


@pytest.mark.parametrize("given", [BatchScoring, ("mine", BatchScoring("accuracy"))])
def test_a_callback_is_refused_in_any_form(given):
    with pytest.raises(ValueError, match="callbacks must be without BatchScoring, got"):
        fitted(given)


def test_two_that_set_the_learning_rate_are_refused():
    with pytest.raises(
        ValueError, match="without LRScheduler, .*lr_schedule sets .* set it to 'constant'"
    ):
        fitted(LRScheduler("StepLR", step_size=1), schedule__lr_schedule="one-cycle")
    with pytest.raises(ValueError, match="without LRScheduler"):
        fitted(
            LRScheduler("StepLR", step_size=1),
            schedule__class_phase={"lr_schedule": ("step", 1, 0.5)},
        )


@pytest.mark.parametrize("schedule", ["joint", "two-phase"])
def test_a_scheduler_of_the_user_s_sets_the_rates_of_each_phase(schedule):
    model = fitted(
        LRScheduler("StepLR", step_size=1, gamma=0.5), lr=0.01, schedule__phases=schedule
    )
    assert model.optimizer_.param_groups[0]["lr"] == pytest.approx(0.01 / 4)
    assert not hasattr(model, "_phase") and all(p.requires_grad for p in model.module_.parameters())


def test_a_subclass_of_what_is_refused_is_refused():
    class Mine(InputShapeSetter):
        pass

    with pytest.raises(ValueError, match="callbacks must be without Mine"):
        fitted(Mine())
