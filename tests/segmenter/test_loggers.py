"""Callbacks that hold what cannot be copied, in clones, searches, learners and comparisons."""

import copy
import threading

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate
from skorch.callbacks import Callback, EarlyStopping, MlflowLogger, TensorBoard
from two_rounds import after_two_rounds

from alseg import (
    ActiveLearner,
    JointCAMSegmenter,
    Protocol,
    PseudoLabelAugmenter,
    compare_strategies,
)
from alseg.datasets import Dataset, make_glands
from alseg.learner import DeepEnsemble
from alseg.strategies import random_sampling

GLANDS = make_glands(8, image_size=(24, 32), random_state=0)


class ToFile(Callback):
    """A line an epoch; an open file and a lock can be neither copied nor pickled."""

    def __init__(self, file):
        self.file, self.lock, self.n_lines = file, threading.Lock(), 0

    def on_epoch_end(self, net, **kwargs):
        with self.lock:
            self.file.write(f"{net.history[-1, 'train_loss']}\n")
            self.n_lines += 1


class Client:
    """Stands for a client of MLflow: what is logged is kept, and a connection is not copied."""

    def __init__(self):
        self.logged, self.lock = [], threading.Lock()

    def log_metric(self, run_id, key, value, step):
        self.logged.append((key, step))

    def log_artifact(self, run_id, local_path):
        self.logged.append(("artifact", run_id))

    def set_terminated(self, run_id):
        self.logged.append(("end", run_id))


@pytest.fixture
def log(tmp_path):
    with open(tmp_path / "log.txt", "w") as file:
        yield file


def n_lines(file):
    file.flush()
    with open(file.name) as written:
        return len(written.readlines())


def make(*callbacks, **options):
    defaults = {"encoder": "tiny", "max_epochs": 2, "random_state": 0, "device": "cpu"}
    return JointCAMSegmenter(**{**defaults, **options}, callbacks=list(callbacks))


FIT = (GLANDS.images, GLANDS.labels, GLANDS.masks)


def test_a_clone_logs_to_the_same_place_by_a_callback_of_its_own(log):
    logger = ToFile(log)
    model = make(("log", logger), EarlyStopping("train_loss"), Callback)
    again = clone(clone(model))
    (name, copied), stopping, kind = again.callbacks
    assert name == "log" and copied is not logger and copied.file is log
    assert stopping is not model.callbacks[1] and kind is Callback
    model.fit(*FIT)
    again.fit(*FIT)
    assert n_lines(log) == 4 and logger.n_lines == copied.n_lines == 2
    assert clone(again).get_params(deep=False).keys() == model.get_params(deep=False).keys()


def test_a_copy_of_a_fitted_model_goes_on_logging(log):
    logger = ToFile(log)
    model = make(logger).fit(*FIT)
    again = copy.deepcopy(model)
    (copied,) = again.callbacks
    assert copied is not logger and dict(again.callbacks_)["ToFile"] is copied
    again.partial_fit(*FIT[:2], masks=FIT[2])
    assert n_lines(log) == 4 and logger.n_lines == 2 and copied.n_lines == 4
    assert np.array_equal(copy.deepcopy(model).predict_masks(FIT[0]), model.predict_masks(FIT[0]))


def test_what_cannot_even_be_copied_flatly_is_handed_on(log):
    class Alone(ToFile):
        def __copy__(self):
            raise TypeError("there is one of me")

    logger = Alone(log)
    assert clone(make(logger)).callbacks[0] is logger
    assert copy.deepcopy(make(logger)).callbacks[0] is logger


def test_searches_and_folds_log(log):
    given = {"params": {"masks": GLANDS.masks}}
    cross_validate(make(ToFile(log), max_epochs=1), *FIT[:2], cv=2, error_score="raise", **given)
    assert n_lines(log) == 2
    search = GridSearchCV(make(ToFile(log), max_epochs=1), {"lr": [0.01, 0.001]}, cv=2)
    search.fit(*FIT[:2], masks=FIT[2])
    assert n_lines(log) == 2 + 5
    DeepEnsemble(make(ToFile(log), max_epochs=1), n_estimators=2, random_state=0).fit(*FIT)
    assert n_lines(log) == 2 + 5 + 2


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("refit", ["scratch", "continue"])
def test_learners_log(log, warm_start, refit):
    client = Client()
    run = type("Run", (), {"info": type("Info", (), {"run_id": "1"})})
    learner = ActiveLearner(
        make(ToFile(log), MlflowLogger(run, client), max_epochs=1),
        query_strategy=random_sampling,
        augmenter=PseudoLabelAugmenter("all", refit=refit),
        images=GLANDS.images,
        labels=GLANDS.labels,
        warm_start=warm_start,
        random_state=0,
    )
    after_two_rounds(learner, GLANDS.masks)
    assert n_lines(log) == 4
    assert [key for key, _ in client.logged].count("train_loss") == 4


def test_comparisons_log(log, tmp_path):
    data = Dataset(GLANDS.images, GLANDS.labels, GLANDS.masks)
    compare_strategies(
        make(ToFile(log), max_epochs=1),
        {"random": random_sampling, "again": random_sampling},
        data=(data, data),
        out=tmp_path / "out",
        protocol=Protocol(initial=2, rounds=1, n_instances=2, controls=(), references=()),
        seeds=(0,),
        verbose=0,
    )
    assert n_lines(log) == 3  # the start that both rows share, and a round of each


def test_what_cannot_be_sent_to_other_processes_is_named(log, tmp_path):
    data = Dataset(GLANDS.images, GLANDS.labels, GLANDS.masks)
    with pytest.raises(TypeError, match="estimator must be one that can be pickled .* n_jobs=1"):
        compare_strategies(
            make(ToFile(log)),
            {"random": random_sampling},
            data=(data, data),
            out=tmp_path / "out",
            protocol=Protocol(initial=2, rounds=1, n_instances=2, controls=(), references=()),
            seeds=(0, 1),
            verbose=0,
            n_jobs=2,
        )
    assert not (tmp_path / "out").exists()


def test_tensorboard(tmp_path):
    """With tensorboard itself where it is installed."""
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        model = clone(make(TensorBoard(writer))).fit(*FIT)
        copy.deepcopy(model).partial_fit(*FIT[:2], masks=FIT[2])
    assert list(tmp_path.glob("events*"))
