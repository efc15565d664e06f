"""ActiveLearner: modAL's surface (modAL itself as reference) and the mask mode."""

import copy
import functools
import itertools
import json
import os
import pickle
import re
import shutil
from contextlib import suppress

import modAL.batch
import modAL.uncertainty
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from modAL.models import ActiveLearner as ModalLearner
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.fixes import parse_version

from alseg.images import ImageFiles, MaskFiles
from alseg.labels import MISSING
from alseg.learner.committee import Committee
from alseg.learner.loop import ActiveLearner
from alseg.pseudo.augmenter import PseudoLabelAugmenter
from alseg.rows import n_rows
from alseg.segmenter.estimator import JointCAMSegmenter
from alseg.strategies import class_balanced, entropy_sampling, entropy_score, random_sampling
from alseg.validation import EmptyPool

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3)) + np.repeat(np.eye(3) * 2, 20, axis=0)
Y = np.repeat([0, 1, 2], 20)
START = np.r_[0:6, 20:26, 40:46]
POOL = RNG.normal(size=(40, 3))

MODELS = {
    "logistic": LogisticRegression(),
    "naive Bayes": GaussianNB(),
    "neighbours": KNeighborsClassifier(5),
    "forest": RandomForestClassifier(10, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
}
UNCERTAINTY = [
    modAL.uncertainty.uncertainty_sampling,
    modAL.uncertainty.margin_sampling,
    modAL.uncertainty.entropy_sampling,
    modAL.batch.uncertainty_batch_sampling,
]


def both(model, strategy=None, **options):
    """Ours and modAL's, constructed alike."""
    options = {"X_training": X[START], "y_training": Y[START], **options}
    if strategy is not None:
        options["query_strategy"] = strategy
    return [kind(clone(model), **options) for kind in (ActiveLearner, ModalLearner)]


# == code written for modAL =====================================================================


@pytest.mark.parametrize("strategy", UNCERTAINTY, ids=lambda f: f.__name__)
@pytest.mark.parametrize("model", MODELS)
def test_modals_strategies_pick_what_they_pick_in_modal(model, strategy):
    ours, reference = both(MODELS[model], strategy)
    assert np.allclose(ours.predict_proba(POOL), reference.predict_proba(POOL))
    assert np.array_equal(ours.predict(POOL), reference.predict(POOL))
    assert ours.score(X, Y) == reference.score(X, Y)
    idx, rows = ours.query(POOL, n_instances=4)
    expected, expected_rows = reference.query(POOL, n_instances=4)
    assert np.array_equal(idx, expected) and np.array_equal(rows, expected_rows)


@pytest.mark.parametrize("strategy", UNCERTAINTY, ids=lambda f: f.__name__)
def test_ranked_batches_on_transformed_pipelines(strategy):
    ours, reference = both(MODELS["pipeline"], strategy, on_transformed=True)
    picks = [learner.query(POOL, n_instances=3)[0] for learner in (ours, reference)]
    assert np.array_equal(*picks)
    Xt, expected = (learner.transform_without_estimating(POOL) for learner in (ours, reference))
    assert np.array_equal(Xt, expected) and not np.allclose(Xt, POOL)


def test_the_arguments_come_in_modals_order():
    strategy = modAL.uncertainty.margin_sampling
    learner = ActiveLearner(GaussianNB(), strategy, X[START], Y[START], False, True, False)
    assert learner.query_strategy is strategy
    assert learner.X_training.shape == (18, 3) and learner.y_training.shape == (18,)
    flags = learner.bootstrap_init, learner.on_transformed, learner.force_all_finite
    assert flags == (False, True, False)


def test_the_default_strategy_is_modals():
    ours, reference = both(MODELS["logistic"])
    assert ours.query_strategy is modAL.uncertainty.uncertainty_sampling
    assert np.array_equal(ours.query(POOL)[0], reference.query(POOL)[0])


def test_the_estimator_is_the_one_that_was_given():
    model = GaussianNB()
    learner = ActiveLearner(model, X_training=X[START], y_training=Y[START])
    assert learner.estimator is model and hasattr(model, "classes_")


def test_an_unfitted_learner_can_be_asked_and_then_taught():
    learner = ActiveLearner(GaussianNB())
    assert learner.X_training is None and learner.y_training is None
    assert learner.query(POOL, n_instances=3)[0].shape == (3,)
    with pytest.raises(NotFittedError):
        learner.predict(POOL)
    learner.teach(X[START], Y[START])
    assert learner.X_training is X[START] or np.array_equal(learner.X_training, X[START])
    assert learner.predict(POOL).shape == (40,)


def test_teaching_works_where_modals_fails():  # STYLE F1
    ours, reference = both(MODELS["logistic"])
    if parse_version(sklearn.__version__) >= parse_version("1.8"):
        for method in (reference.teach, reference.fit):
            with pytest.raises(TypeError, match="force_all_finite"):
                method(X[:2], Y[:2])
    assert ours.teach(X[6:8], Y[6:8]) is None
    assert np.array_equal(ours.X_training, X[np.r_[START, 6, 7]])
    assert np.array_equal(ours.y_training, Y[np.r_[START, 6, 7]])
    expected = LogisticRegression().fit(X[np.r_[START, 6, 7]], Y[np.r_[START, 6, 7]])
    assert np.allclose(ours.predict_proba(POOL), expected.predict_proba(POOL))


def test_a_whole_loop_as_in_modals_readme():
    learner = ActiveLearner(
        estimator=RandomForestClassifier(10, random_state=0),
        query_strategy=modAL.uncertainty.entropy_sampling,
        X_training=X[START],
        y_training=Y[START],
    )
    pool, answers = np.delete(X, START, axis=0), np.delete(Y, START)
    for _ in range(4):
        query_idx, query_instance = learner.query(pool)
        learner.teach(query_instance.reshape(1, -1), answers[query_idx].reshape(1))
        pool, answers = np.delete(pool, query_idx, axis=0), np.delete(answers, query_idx)
    assert len(learner.X_training) == 22 and len(pool) == 38
    assert learner.score(X, Y) > 0.7


def test_only_new_fits_to_the_new_alone_and_remembers_all():
    ours, _ = both(MODELS["naive Bayes"])
    new = np.r_[6:10, 26:30, 46:50]
    ours.teach(X[new], Y[new], only_new=True)
    assert np.allclose(
        ours.predict_proba(POOL), GaussianNB().fit(X[new], Y[new]).predict_proba(POOL)
    )
    assert len(ours.X_training) == len(START) + len(new)


def test_fit_forgets_what_was_taught():
    ours, _ = both(MODELS["naive Bayes"])
    assert ours.fit(X, Y) is ours
    assert ours.X_training is X and ours.y_training is Y


def test_fit_arguments_reach_the_estimator():
    class Recording(GaussianNB):
        def fit(self, X, y, sample_weight=None):
            self.weights = getattr(self, "weights", []) + [sample_weight]
            return super().fit(X, y, sample_weight)

    weights = [np.full(18, w) for w in (1.0, 2.0)] + [
        np.full(2, 3.0),
        np.full(3, 4.0),
        np.full(20, 5.0),
    ]
    learner = ActiveLearner(
        Recording(), X_training=X[START], y_training=Y[START], sample_weight=weights[0]
    )
    learner.fit(X[START], Y[START], sample_weight=weights[1])
    learner.teach(X[:2], Y[:2], only_new=True, sample_weight=weights[2])
    learner._fit_on_new(X[:3], Y[:3], bootstrap=True, sample_weight=weights[3])
    learner.rebagged = learner._fit_to_known(bootstrap=True, sample_weight=weights[4])
    found = learner.estimator.weights
    assert all(a is b for a, b in zip(found[:3], weights[:3], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(found, weights, strict=True))  # rows drawn


@pytest.mark.parametrize("way", ["init", "fit", "teach", "only_new", "rebag"])
@pytest.mark.parametrize("kind", [list, np.array, tuple, lambda a: pd.Series(a, range(20, 8, -1))])
def test_a_bootstrap_draws_fit_arguments_with_their_rows(way, kind):
    fits = []

    class Recording(GaussianNB):
        def fit(self, X, y, masks=None, shape=(1, 2), note=None):
            fits.append((list(X[:, 0]), list(y), list(masks)))
            assert shape == (3, 4) and note == "twelve chars"
            return super().fit(X, y)

    given = {"masks": kind(range(12)), "shape": (3, 4), "note": "twelve chars"}
    rows, classes = np.arange(12.0)[:, None], np.arange(12) % 2
    start = {"X_training": rows, "y_training": classes, "bootstrap_init": True, **given}
    learner = ActiveLearner(Recording(), random_state=0, **(start if way == "init" else {}))
    if way == "fit":
        learner.fit(rows, classes, bootstrap=True, **given)
    elif way in ("teach", "only_new"):
        learner.teach(rows, classes, bootstrap=True, only_new=way == "only_new", **given)
    elif way == "rebag":
        learner._add_training_data(rows, classes)
        Committee([learner]).rebag(**given)
    ((drawn, labels, masks),) = fits
    assert masks == drawn and labels == [i % 2 for i in drawn] and len(set(drawn)) < 12


def test_masks_without_images_are_a_fit_argument():
    learner = ActiveLearner(FakeSegmenter(), X_training=IMAGES, y_training=LABELS, masks=MASKS)
    assert learner.estimator.n_annotated == 6 and learner.masks is None


@pytest.mark.parametrize("bootstrap", ["init", "fit", "teach", "only_new"])
def test_bootstraps_repeat_and_leave_the_global_state_alone(bootstrap):
    def proba(seed):
        options = {"X_training": X[START], "y_training": Y[START]}
        learner = ActiveLearner(
            GaussianNB(), bootstrap_init=bootstrap == "init", random_state=seed, **options
        )
        if bootstrap == "fit":
            learner.fit(X, Y, bootstrap=True)
        elif bootstrap != "init":
            learner.teach(X, Y, bootstrap=True, only_new=bootstrap == "only_new")
        return learner.predict_proba(POOL)

    np.random.seed(3)
    state = np.random.get_state()[1].copy()
    assert np.array_equal(proba(1), proba(1))
    assert not np.allclose(proba(1), proba(2))
    proba(None)
    assert np.array_equal(np.random.get_state()[1], state)


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_a_bootstrap_draws_rows_with_their_labels():
    learner = ActiveLearner(DecisionTreeClassifier(), random_state=0)
    distinct = np.arange(50.0).reshape(-1, 1)
    learner.fit(distinct, np.arange(50), bootstrap=True)
    assert 20 < len(learner.estimator.classes_) < 45  # about 1 - 1/e of them
    assert np.array_equal(
        learner.predict(learner.estimator.classes_[:, None]), learner.estimator.classes_
    )


KINDS = {
    "lists": (np.ndarray.tolist, list),
    "frames": (lambda a: pd.DataFrame(a, columns=list("uvw")), pd.Series),
    "csr": (sp.csr_matrix, np.asarray),
    "coo": (sp.coo_matrix, np.asarray),
    "arrays and lists": (np.asarray, list),
}


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")  # modAL stacks bare rows
@pytest.mark.parametrize("bootstrap", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_lists_frames_and_sparse_matrices_go_the_whole_way(kind, bootstrap):
    wrap, wrap_y = KINDS[kind]
    learner = ActiveLearner(
        LogisticRegression(),
        X_training=wrap(X[START]),
        y_training=wrap_y(Y[START]),
        bootstrap_init=bootstrap,
        random_state=0,
    )
    if kind == "lists":
        learner.query_strategy = lambda learner, pool, n_instances: np.arange(n_instances)
    query_idx, rows = learner.query(wrap(POOL), n_instances=2)
    assert type(rows) is type(wrap(POOL)) and len(query_idx) == 2
    learner.teach(rows, wrap_y([0, 1]), bootstrap=bootstrap)
    assert type(learner.X_training) is type(wrap(X))
    assert n_rows(learner.X_training) == 20
    if not bootstrap:
        expected = LogisticRegression().fit(
            np.vstack([X[START], POOL[query_idx]]), [*Y[START], 0, 1]
        )
        assert np.allclose(learner.predict_proba(POOL), expected.predict_proba(POOL), atol=1e-4)


def test_text_goes_through_a_pipeline():
    def least_sure(learner, pool):
        return [int(learner.predict_proba(pool).max(axis=1).argmin())]

    texts, labels = ["good fine", "bad poor", "good", "poor"], [1, 0, 1, 0]
    learner = ActiveLearner(
        make_pipeline(CountVectorizer(), LogisticRegression()),
        query_strategy=least_sure,
        X_training=texts,
        y_training=labels,
    )
    query_idx, rows = learner.query(["good", "unknown", "poor"])
    assert query_idx == [1] and rows == ["unknown"]
    learner.teach(["unknown words"], [0])
    assert learner.X_training == [*texts, "unknown words"] and learner.y_training == [*labels, 0]


def test_regressors_and_several_outputs():
    target = np.column_stack([X @ [1.0, 2.0, 0.0], X @ [0.0, 1.0, 1.0]])

    def largest_std(regressor, pool):  # as in modAL's documentation: a single position
        _, std = regressor.predict(pool, return_std=True)
        return np.argmax(std.sum(axis=1))

    ours, reference = both(
        GaussianProcessRegressor(optimizer=None), largest_std, y_training=target[START]
    )
    (idx, row), (expected, expected_row) = ours.query(POOL), reference.query(POOL)
    assert idx == expected and np.array_equal(row, expected_row) and row.shape == (3,)
    ours.teach(row.reshape(1, -1), target[:1])
    assert ours.y_training.shape == (19, 2) and ours.score(X, target) > 0


def test_images_of_four_dimensions():  # STYLE F4
    images = np.random.default_rng(0).random((12, 4, 4, 3))

    class OnMeans(BaseEstimator, ClassifierMixin):
        def fit(self, X, y):
            self.model_ = LogisticRegression().fit(X.mean(axis=(1, 2)), y)
            self.classes_ = self.model_.classes_
            return self

        def predict_proba(self, X):
            return self.model_.predict_proba(X.mean(axis=(1, 2)))

    learner = ActiveLearner(
        OnMeans(), modAL.batch.uncertainty_batch_sampling, images[:4], [0, 1, 0, 1]
    )
    query_idx, picked = learner.query(images[4:], n_instances=3)
    assert len(set(query_idx)) == 3 and picked.shape == (3, 4, 4, 3)
    learner.teach(picked, [0, 1, 1])
    assert learner.X_training.shape == (7, 4, 4, 3)


def test_two_positions_stay_two():  # STYLE F3
    ours, _ = both(MODELS["naive Bayes"], lambda learner, pool: np.array([3, 7]))
    query_idx, rows = ours.query(POOL)
    assert query_idx.tolist() == [3, 7] and np.array_equal(rows, POOL[[3, 7]])


@pytest.mark.parametrize(
    "result", [(np.array([3]), "a synthetic row"), (np.array([3, 7]), np.array([0.9, 0.8]))]
)
def test_a_tuple_is_handed_on_unchanged(result):
    ours, reference = both(MODELS["naive Bayes"], lambda learner, pool: result)
    with pytest.warns(DeprecationWarning):
        assert reference.query(POOL) is result
    assert ours.query(POOL) is result


def test_arguments_of_the_strategy_are_handed_on():
    def strategy(learner, pool, start, n_instances=1, *, step):
        return np.arange(start, start + n_instances * step, step)

    ours, _ = both(MODELS["naive Bayes"], strategy)
    assert ours.query(POOL, 5, n_instances=2, step=3)[0].tolist() == [5, 8]


def seed_of(learner, pool, n_instances=1, random_state=42):
    return (random_state, None)


def test_a_seed_is_given_only_if_asked_for():
    assert both(MODELS["naive Bayes"], seed_of)[0].query(POOL) == (42, None)
    draws = []
    for _ in range(2):
        learner, _ = both(MODELS["naive Bayes"], seed_of)
        learner.set_params(random_state=1)
        draws.append([learner.query(POOL)[0] for _ in range(3)])
        assert learner.query(POOL, random_state=5) == (5, None)
    assert draws[0] == draws[1] and len(set(draws[0])) == 3


def test_our_way_of_writing_strategies_works_in_modals_learner():
    def strategy(learner, X_pool, n_instances=1, random_state=None):
        model = getattr(learner, "estimator", learner)
        return np.argsort(model.predict_proba(X_pool).max(axis=1))[:n_instances]

    learners = both(MODELS["logistic"], strategy)
    picks = [learner.query(POOL, n_instances=3)[0] for learner in learners]
    assert np.array_equal(*picks)


def test_hooks_of_a_subclass_are_called():
    class Hooked(ActiveLearner):
        def __init__(self, *args, **kwargs):
            self.calls = []
            super().__init__(*args, **kwargs)

        def _add_training_data(self, X, y):
            self.calls.append("add")
            super()._add_training_data(X, y)

        def _fit_to_known(self, bootstrap=False, **fit_kwargs):
            self.calls.append("known")
            return super()._fit_to_known(bootstrap=bootstrap, **fit_kwargs)

        def _fit_on_new(self, X, y, bootstrap=False, **fit_kwargs):
            self.calls.append("new")
            return super()._fit_on_new(X, y, bootstrap=bootstrap, **fit_kwargs)

    learner = Hooked(GaussianNB(), X_training=X[START], y_training=Y[START])
    learner.teach(X, Y)
    learner.teach(X, Y, only_new=True)
    learner.fit(X, Y)
    assert learner.calls == ["known", "add", "known", "add", "new", "known"]


def test_a_clone_works_where_modals_fails():  # STYLE F5
    ours, reference = both(MODELS["naive Bayes"], bootstrap_init=True)
    with pytest.raises((AttributeError, RuntimeError), match="bootstrap_init"):
        clone(reference)
    again = clone(ours)
    assert again.bootstrap_init and again.estimator is not ours.estimator
    assert np.array_equal(again.X_training, ours.X_training)
    weighted = both(MODELS["naive Bayes"], sample_weight=np.arange(1.0, 19))[0]
    assert np.array_equal(clone(weighted).predict_proba(POOL), weighted.predict_proba(POOL))


def test_copies_and_pickles_go_on_alike():
    learner, _ = both(MODELS["naive Bayes"], seed_of)
    learner.set_params(random_state=1)
    learner.query(POOL)
    others = [copy.deepcopy(learner), pickle.loads(pickle.dumps(learner))]
    expected = learner.query(POOL)
    for other in others:
        assert other.query(POOL) == expected
        other.teach(X, Y, bootstrap=True)
        assert len(learner.y_training) == 18


def test_what_is_not_finite_is_refused_unless_allowed():
    bad = np.array([[np.nan, 0.0, 0.0]])
    strict, _ = both(MODELS["naive Bayes"])
    with pytest.raises(ValueError, match="contains NaN"):
        strict.teach(bad, [0])
    assert len(strict.X_training) == 18
    tree = ActiveLearner(
        DecisionTreeClassifier(), X_training=X[START], y_training=Y[START], force_all_finite=False
    )
    tree.teach(bad, [0])
    assert len(tree.X_training) == 19


@pytest.mark.parametrize("new", [(X[:2, :2], Y[:2]), (X[:2], np.zeros((2, 2)))])
def test_data_of_another_shape_leave_the_learner_as_it_was(new):
    learner, _ = both(MODELS["naive Bayes"])
    match = r"X and y must be of the shape of the training data so far \(\(18, 3\)"
    with pytest.raises(ValueError, match=match):
        learner.teach(*new)
    assert len(learner.X_training) == len(learner.y_training) == 18


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_fit_leaves_the_training_data_as_they_were(error):
    class Failing(GaussianNB):
        def fit(self, X, y):
            if len(y) > 18:
                raise error("stopped")
            return super().fit(X, y)

    learner = ActiveLearner(Failing(), X_training=X[START], y_training=Y[START])
    with pytest.raises(error, match="stopped"):
        learner.teach(X[:1], Y[:1])
    assert len(learner.X_training) == len(learner.y_training) == 18


def test_clear_errors_without_images():
    learner, _ = both(MODELS["naive Bayes"])
    with pytest.raises(TypeError, match="query must be given X_pool"):
        learner.query()
    with pytest.raises(
        TypeError, match=r"X_pool must be a pool, got 3. Write query\(n_instances=...\)"
    ):
        learner.query(3)
    with pytest.raises(TypeError, match="fit must be given X and y"):
        learner.fit()
    with pytest.raises(TypeError, match="annotate needs a learner that was given images= .*teach"):
        learner.annotate([0], [np.zeros((2, 2), int)])
    for method in ("annotated_ids", "pool_ids"):
        with pytest.raises(TypeError, match=f"{method} needs a learner that was given images="):
            getattr(learner, method)
    with pytest.raises(TypeError, match="save needs a learner that was given images="):
        learner.save("nowhere")
    with pytest.raises(TypeError, match="query_strategy must be callable, got 'margin'"):
        ActiveLearner(GaussianNB(), "margin")
    with pytest.raises(TypeError, match="force_all_finite must be a bool, got 1"):
        ActiveLearner(GaussianNB(), force_all_finite=1)
    with pytest.raises(TypeError, match="images must be given with labels, got None"):
        ActiveLearner(GaussianNB(), labels=[0])
    with pytest.raises(TypeError, match="images must be given with augmenter, got None"):
        ActiveLearner(GaussianNB(), augmenter=object())


def test_the_name_says_how_much_is_known():
    shown = repr(both(MODELS["naive Bayes"])[0])
    assert shown.endswith("query_strategy=uncertainty_sampling, n_training=18)")
    assert "n_images=6, n_annotated=1" in repr(mask_learner(masks=first_masks(1)))


# == mask mode ==================================================================================


class FakeSegmenter(ClassifierMixin, BaseEstimator):
    """The surface of DESIGN §4 in numpy: a pixel is foreground above a learned intensity."""

    def __init__(self, n_mask_classes=2, random_state=None, error=None):
        self.n_mask_classes = n_mask_classes
        self.random_state = random_state
        self.error = error

    def fit(self, X, y, masks=None, mask_weight=None, **fit_kwargs):
        self.history_ = []
        return self.partial_fit(X, y, masks, mask_weight, **fit_kwargs)

    def partial_fit(self, X, y, masks=None, mask_weight=None, **fit_kwargs):
        if self.error is not None:
            raise self.error
        weights = np.ones(len(X)) if mask_weight is None else mask_weight
        known = [] if masks is None else [i for i in range(len(X)) if masks[i] is not None]
        centres = [100.0, 100.0]
        for k in (0, 1):
            values = [np.asarray(X[i]).mean(-1)[masks[i] == k] for i in known]
            if sum(map(len, values)):
                total = sum(w * v.sum() for w, v in zip(weights[known], values, strict=True))
                count = sum(w * len(v) for w, v in zip(weights[known], values, strict=True))
                centres[k] = total / max(count, 1e-9)
        noise = np.random.default_rng(self.random_state).normal()
        self.threshold_ = sum(centres) / 2 + noise
        self.classes_ = np.unique(y)
        self.n_annotated = len(known)
        self.has_masks_ = bool(known) or getattr(self, "has_masks_", False)
        self.history_ = [*getattr(self, "history_", []), (len(known), fit_kwargs)]
        LOG.append(
            {
                "n": len(X),
                "known": known,
                "weights": mask_weight,
                "model": self,
                "seed": self.random_state,
            }
        )
        return self

    def predict_mask_proba(self, X):
        below = [self.threshold_ - np.asarray(X[i]).mean(-1) for i in range(len(X))]
        foreground = [1 / (1 + np.exp(b / 20)) for b in below]
        return np.stack([np.stack([1 - p, p]) for p in foreground])

    def predict_masks(self, X):
        return self.predict_mask_proba(X).argmax(axis=1)

    def predict_proba(self, X):
        p = self.predict_mask_proba(X)[:, 1].mean(axis=(1, 2))
        return np.stack([1 - p, p], axis=1)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def predict_uncertainty(self, X):
        return 1 - self.predict_mask_proba(X).max(axis=1).mean(axis=(1, 2))

    def predict_cams(self, X):
        return self.predict_mask_proba(X)

    def predict_joint(self, X):
        return {"masks": self.predict_masks(X)}

    def score_masks(self, X, masks):
        return float(np.mean(self.predict_masks(X) == np.asarray(masks)))

    def save(self, path):
        path.mkdir()
        state = {
            "threshold": self.threshold_,
            "classes": self.classes_.tolist(),
            "params": {"n_mask_classes": self.n_mask_classes, "random_state": self.random_state},
        }
        (path / "fake.json").write_text(json.dumps(state))

    @classmethod
    def load(cls, path):
        state = json.loads((path / "fake.json").read_text())
        model = cls(**state["params"])
        model.threshold_, model.classes_ = state["threshold"], np.array(state["classes"])
        return model


class FakeAugmenter(BaseEstimator):
    """All that is missing is predicted by the model and counts `weight`."""

    def __init__(self, weight=0.5, random_state=None):
        self.weight = weight
        self.random_state = random_state

    def fit(self, X, y, masks, *, estimator):
        self.masks_, self.estimator_ = masks, estimator
        self.cache_ = getattr(self, "cache_", 0) + 1
        return self

    def transform(self, X):
        masks = self.masks_.copy()
        weights = np.ones(len(X))
        for i, predicted in enumerate(self.estimator_.predict_masks(X)):
            if masks[i] is None:
                masks[i], weights[i] = predicted, self.weight
        return masks, weights


LOG = []


@pytest.fixture(autouse=True)
def _empty_log():
    LOG.clear()


N, SIDE = 6, 16
MASKS = np.zeros((N, SIDE, SIDE), dtype=int)
for _i in range(N):
    MASKS[_i, 2 : 6 + _i, 3:12] = 1
NOISE = np.random.default_rng(1).integers(0, 40, (N, SIDE, SIDE, 3))
IMAGES = (60 + 90 * MASKS[..., None] + NOISE).astype(np.uint8)
LABELS = np.array(["a", "b", "a", "b", "a", "b"])


def first_masks(n):
    return [MASKS[i] if i < n else None for i in range(N)]


def uncertain(learner, X_pool, n_instances=1, random_state=None):
    score = getattr(learner, "estimator", learner).predict_uncertainty(X_pool)
    return np.argsort(-score, kind="stable")[:n_instances]


def at_random(learner, X_pool, n_instances=1, random_state=None):
    return np.random.default_rng(random_state).permutation(len(X_pool))[:n_instances]


def in_order(learner, X_pool, n_instances=1):
    return np.arange(n_instances)


def mask_learner(strategy=in_order, model=None, **options):
    options = {"images": IMAGES, "labels": LABELS, "random_state": 0, **options}
    return ActiveLearner(FakeSegmenter() if model is None else model, strategy, **options)


def snapshot(learner):
    """All that must stay as it was when something fails."""
    return pickle.dumps(
        (
            learner.masks,
            learner.annotated_ids,
            learner.pool_ids,
            learner._n_annotate,
            learner.estimator,
            learner.augmenter,
            learner.random_state,
        )
    )


# -- asking -------------------------------------------------------------------------------------


def test_only_those_that_may_be_asked_about_are():
    seen = []

    def last(learner, X_pool, n_instances=1, random_state=None, y_pool=None, masks_pool=None):
        seen.append((len(X_pool), y_pool.tolist(), len(masks_pool), random_state))
        return np.arange(len(X_pool))[-n_instances:]

    learner = mask_learner(last)
    learner.annotate([2], MASKS[2:3], fit=False)
    ids, images = learner.query(n_instances=2, among=[4, 2, 1, 0])
    assert ids.tolist() == [1, 4] and np.array_equal(images, IMAGES[[1, 4]])
    assert seen[0][:3] == (3, [LABELS[i] for i in (0, 1, 4)], 3)
    ids, _ = learner.query(n_instances=1, among=np.array([5, 3]), max_seconds=60)
    assert ids.tolist() == [5] and seen[-1][0] == 2
    with pytest.raises(ValueError, match=r"n_instances must be in \[1, 2\]"):
        learner.query(n_instances=3, among=[0, 1])
    with pytest.raises(EmptyPool, match="The 1 given images are fully annotated: 1 requested, 0"):
        learner.query(among=[2])
    with pytest.raises(ValueError, match="among must be in .*got .99"):
        learner.query(among=[99])
    with pytest.raises(TypeError, match="among must be None with a pool of its own"):
        learner.query(IMAGES[:2], among=[0])
    with pytest.raises(TypeError, match="among needs a learner that was given images="):
        ActiveLearner(GaussianNB(), last).query(np.zeros((2, 1)), among=[0])


def test_the_loop_asks_for_every_image_once_and_then_says_so():
    learner = mask_learner(uncertain)
    asked = []
    for _ in range(3):
        sample_ids, images = learner.query(n_instances=2)
        assert np.array_equal(images, IMAGES[sample_ids])
        asked += sample_ids.tolist()
        assert learner.annotate(sample_ids, MASKS[sample_ids]) is learner
        assert learner.annotated_ids.tolist() == sorted(asked)
    assert sorted(asked) == list(range(N)) and len(learner.pool_ids) == 0
    assert learner.score_masks(IMAGES, MASKS) > 0.95
    with pytest.raises(
        EmptyPool, match="All 6 images are fully annotated: 1 requested, 0 available"
    ):
        learner.query()


def test_positions_in_the_pool_become_sample_ids():
    seen = []

    def strategy(learner, X_pool, n_instances):
        seen.append(X_pool)
        return [2, 0]

    learner = mask_learner(strategy, masks=first_masks(2))
    assert learner.query(n_instances=2)[0].tolist() == [4, 2]
    assert np.array_equal(seen[0], IMAGES[2:])


def test_what_is_annotated_is_what_a_strategy_treats_as_labelled():
    learner = mask_learner()
    assert learner.X_training is None and learner.y_training is None
    learner.annotate([4, 1], MASKS[[4, 1]])
    assert np.array_equal(learner.X_training, IMAGES[[1, 4]])
    assert learner.y_training.tolist() == ["b", "a"]
    for name in ("X_training", "y_training"):
        with pytest.raises(TypeError, match=rf"Setting {name} is not for .* Use annotate"):
            setattr(learner, name, [0])


def test_extras_reach_strategies_that_name_them():
    seen = {}

    def strategy(learner, X_pool, n_instances=1, y_pool=None, random_state=None, colour="red"):
        seen.update(y_pool=y_pool, random_state=random_state, colour=colour)
        return np.arange(n_instances)

    learner = mask_learner(strategy, masks=first_masks(2))
    learner.query(n_instances=2, colour="blue")
    assert seen["y_pool"].tolist() == ["a", "b", "a", "b"] and seen["colour"] == "blue"
    assert isinstance(seen["random_state"], int)
    learner.query(random_state=7)
    assert seen["random_state"] == 7


@pytest.mark.parametrize("strategy", UNCERTAINTY, ids=lambda f: f.__name__)
def test_modals_strategies_ask_for_images(strategy):
    learner = mask_learner(strategy, masks=first_masks(2))
    sample_ids, images = learner.query(n_instances=2)
    assert set(sample_ids) <= {2, 3, 4, 5} and len(set(sample_ids)) == 2
    if strategy is modAL.uncertainty.uncertainty_sampling:
        certainty = learner.predict_proba(IMAGES[2:]).max(axis=1)
        assert set(sample_ids) == set(2 + np.argsort(certainty)[:2])


def test_a_strategy_that_picks_one_and_one_that_gives_a_tuple():
    learner = mask_learner(lambda learner, X_pool: np.argmax(X_pool.mean(axis=(1, 2, 3))))
    assert learner.query()[0].tolist() == [int(IMAGES.mean(axis=(1, 2, 3)).argmax())]
    with pytest.raises(ValueError, match="query_strategy's result must be 2 positions, as asked"):
        learner.query(n_instances=2)
    learner = mask_learner(lambda learner, X_pool, n_instances: (np.array([1, 3]), X_pool[[1, 3]]))
    assert learner.query(n_instances=2)[0].tolist() == [1, 3]


def test_a_pool_of_ones_own_is_asked_about_as_in_modal():
    learner = mask_learner(uncertain)
    query_idx, rows = learner.query(IMAGES[3:], n_instances=2)
    assert set(query_idx) <= {0, 1, 2} and np.array_equal(rows, IMAGES[3:][query_idx])


@pytest.mark.parametrize(
    ("n_instances", "match"),
    [
        (5, r"n_instances must be in \[1, 4\] \(the pool size\), got 5"),
        (0, r"n_instances must be in \[1, 4\]"),
        (-1, r"n_instances must be in \[1, 4\]"),
    ],
)
def test_more_than_there_is_cannot_be_asked(n_instances, match):
    learner = mask_learner(uncertain, masks=first_masks(2))
    before = snapshot(learner)
    with pytest.raises(ValueError, match=match):
        learner.query(n_instances=n_instances)
    with pytest.raises(TypeError, match="n_instances must be an integer, got 1.5"):
        learner.query(n_instances=1.5)
    assert snapshot(learner) == before and LOG == []


@pytest.mark.parametrize("result", [[0, 0], [0, 9], [-1, 0], [0]])
def test_a_strategy_that_answers_wrongly_is_named(result):
    learner = mask_learner(lambda learner, X_pool, n_instances: np.array(result))
    with pytest.raises(ValueError, match="query_strategy's result must be"):
        learner.query(n_instances=2)


# -- when a model is fitted ---------------------------------------------------------------------


def test_a_strategy_without_a_model_trains_nothing():
    learner = mask_learner(at_random)
    learner.query(n_instances=3)
    repr(learner), learner.get_params(), learner.X_training
    assert LOG == []


def through_the_learner(learner, X_pool, n_instances):
    return np.argsort(learner.predict_uncertainty(X_pool))[:n_instances]


@pytest.mark.parametrize(
    "strategy", [uncertain, through_the_learner, modAL.uncertainty.uncertainty_sampling]
)
def test_a_strategy_with_a_model_gets_one_from_the_image_labels_once(strategy):
    learner = mask_learner(strategy)
    first = learner.query()[0]
    assert len(LOG) == 1 and LOG[0]["known"] == [] and LOG[0]["n"] == N
    assert np.array_equal(learner.query()[0], first) and len(LOG) == 1


def test_a_prediction_needs_a_model_too():
    learner = mask_learner(masks=first_masks(2))
    assert LOG == []
    assert learner.predict_masks(IMAGES).shape == MASKS.shape
    assert LOG[0]["known"] == [0, 1] and len(LOG) == 1
    for method in (
        "predict",
        "predict_proba",
        "predict_mask_proba",
        "predict_cams",
        "predict_uncertainty",
    ):
        result = getattr(learner, method)(IMAGES)
        assert np.array_equal(result, getattr(learner.estimator, method)(IMAGES))
        assert len(result) == N
    assert set(learner.predict_joint(IMAGES)) == {"masks"}
    assert learner.score(IMAGES, LABELS) == learner.estimator.score(IMAGES, LABELS)
    assert len(LOG) == 1


def test_the_estimator_given_is_never_fitted_but_one_that_is_fitted_is_used():
    model = FakeSegmenter()
    learner = ActiveLearner(model, uncertain, images=IMAGES, labels=LABELS)
    learner.annotate([0], MASKS[:1])
    assert not hasattr(model, "classes_") and learner.estimator is not model
    ready = FakeSegmenter().fit(IMAGES, LABELS)
    ActiveLearner(ready, uncertain, images=IMAGES, labels=LABELS).query()
    assert len(LOG) == 2


def test_annotate_fits_to_all_images_and_the_masks_so_far():
    learner = mask_learner()
    learner.annotate([3, 1], MASKS[[3, 1]])
    learner.annotate([0], MASKS[:1])
    seen = [(entry["n"], entry["known"], entry["weights"]) for entry in LOG]
    assert seen == [(6, [1, 3], None), (6, [0, 1, 3], None)]


def test_annotating_without_a_fit_and_fitting_later():
    learner = mask_learner()
    learner.annotate([0], MASKS[:1], fit=False).annotate([1], MASKS[1:2], fit=False)
    assert LOG == [] and learner.annotated_ids.tolist() == [0, 1]
    assert learner.fit(extra=1) is learner
    assert LOG[0]["known"] == [0, 1] and LOG[0]["model"].history_[0][1] == {"extra": 1}


def test_fit_arguments_reach_every_fit():
    learner = mask_learner(extra=2)
    learner.annotate([0], MASKS[:1])
    assert LOG[0]["model"].history_ == [(1, {"extra": 2})]


def test_warm_start_goes_on_from_a_copy():
    learner = mask_learner(warm_start=True)
    learner.annotate([0], MASKS[:1])
    first = learner.estimator
    learner.annotate([1], MASKS[1:2])
    assert [n for n, _ in first.history_] == [1]
    assert [n for n, _ in learner.estimator.history_] == [1, 2]
    assert learner.estimator is not first
    cold = mask_learner()
    cold.annotate([0], MASKS[:1]).annotate([1], MASKS[1:2])
    assert [n for n, _ in cold.estimator.history_] == [2]


@pytest.mark.parametrize("augmenter", [None, FakeAugmenter()])
def test_each_fit_of_a_warm_start_has_random_numbers_of_its_own(augmenter):
    def seeds(random_state):
        LOG.clear()
        model, options = FakeSegmenter(random_state=7), {"augmenter": augmenter, "warm_start": True}
        learner = mask_learner(model=model, random_state=random_state, **options)
        learner.annotate([0], MASKS[:1]).annotate([1], MASKS[1:2])
        return [entry["seed"] for entry in LOG]

    found = seeds(0)
    assert len(set(found)) == len(found) == (2 if augmenter is None else 4)
    assert seeds(0) == found
    assert set(seeds(None)) == {7}  # not the learner's to set


# -- seeds --------------------------------------------------------------------------------------


def test_the_random_state_decides_fits_and_queries():
    def run(seed):
        learner = mask_learner(at_random, random_state=seed)
        ids = []
        for _ in range(2):
            sample_ids, _ = learner.query(n_instances=2)
            learner.annotate(sample_ids, MASKS[sample_ids])
            ids += sample_ids.tolist()
        return ids, [entry["seed"] for entry in LOG[-2:]]

    state = np.random.get_state()[1].copy()
    first = run(0)
    assert run(0) == first and run(1) != first
    assert first[1][0] != first[1][1]
    assert run(np.random.default_rng(3)) == run(np.random.default_rng(3))
    assert np.array_equal(np.random.get_state()[1], state)


def test_the_same_question_in_the_same_state_has_the_same_answer():
    learner = mask_learner(at_random)
    first = learner.query(n_instances=3)[0]
    assert np.array_equal(learner.query(n_instances=3)[0], first)
    learner.annotate([0], MASKS[:1])
    seed = learner.estimator.random_state
    learner.fit()
    assert learner.estimator.random_state == seed


def test_without_a_random_state_the_estimators_own_stays():
    for own in (None, 5):
        learner = ActiveLearner(
            FakeSegmenter(random_state=own), in_order, images=IMAGES, labels=LABELS
        )
        learner.annotate([0], MASKS[:1])
        assert learner.estimator.random_state == own


# -- masks --------------------------------------------------------------------------------------


def test_partial_masks_are_merged_and_asked_about_until_complete():
    learner = mask_learner(strategy=in_order)
    left, right = MASKS[0].copy(), np.full((SIDE, SIDE), MISSING)
    left[:, 8:] = MISSING
    right[:, 6:] = 1 - MASKS[0][:, 6:]
    learner.annotate([0], [left])
    assert 0 in learner.pool_ids and 0 in learner.annotated_ids
    assert learner.query()[0].tolist() == [0]
    learner.annotate([0], [right])
    assert 0 not in learner.pool_ids
    expected = np.where(np.arange(SIDE) < 6, MASKS[0], 1 - MASKS[0])
    assert np.array_equal(learner.masks[0], expected)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5))
def test_merging_is_pixel_by_pixel_the_last_answer(seeds):
    learner = mask_learner()
    expected = np.full((SIDE, SIDE), MISSING)
    for seed in seeds:
        answer = np.random.default_rng(seed).integers(-1, 2, (SIDE, SIDE))
        given_before = answer.copy()
        learner.annotate([2], [answer], fit=False)
        assert np.array_equal(answer, given_before)
        for pixel in np.ndindex(SIDE, SIDE):
            expected[pixel] = answer[pixel] if answer[pixel] != MISSING else expected[pixel]
    assert np.array_equal(learner.masks[2], expected)
    assert (2 in learner.pool_ids) == bool((expected == MISSING).any())


def test_a_second_answer_overwrites_the_first():
    learner = mask_learner()
    learner.annotate([0], MASKS[:1]).annotate([0], 1 - MASKS[:1])
    assert np.array_equal(learner.masks[0], 1 - MASKS[0])
    assert LOG[-1]["known"] == [0]


def test_masks_are_small_copies():
    mine = [MASKS[0].copy(), np.full((SIDE, SIDE), 200)]
    learner = ActiveLearner(
        FakeSegmenter(n_mask_classes=300), in_order, images=IMAGES, labels=LABELS
    )
    learner.annotate([0, 1], mine)
    mine[0][:] = 0
    assert np.array_equal(learner.masks[0], MASKS[0])
    assert [learner.masks[i].dtype for i in (0, 1)] == [np.int8, np.int16]


def test_an_array_a_list_and_files_are_masks(tmp_path):
    for i in (0, 1):
        Image.fromarray((255 * MASKS[i]).astype(np.uint8)).save(tmp_path / f"{i}.png")
    files = MaskFiles([tmp_path / "0.png", tmp_path / "1.png"], mapping="half")
    for masks in (MASKS[:2], list(MASKS[:2]), MASKS[:2].astype(np.int8), files):
        learner = mask_learner()
        learner.annotate([0, 1], masks, fit=False)
        assert np.array_equal(np.stack(list(learner.masks[:2])), MASKS[:2])


WRONG = {
    "unknown id": ([6], MASKS[:1], ValueError, r"sample_ids must be in \[0, 5\], got \[6\]"),
    "negative id": ([-1], MASKS[:1], ValueError, r"sample_ids must be in \[0, 5\], got \[-1\]"),
    "twice": (
        [1, 2, 1],
        MASKS[:3],
        ValueError,
        r"sample_ids must be unique in one call.* got \[1\]",
    ),
    "float ids": ([1.0], MASKS[:1], TypeError, "sample_ids must be a 1-D sequence of integers"),
    "boolean ids": (
        np.arange(N) == 1,
        MASKS[:1],
        TypeError,
        "sample_ids must be a 1-D sequence of integers",
    ),
    "one number": (1, MASKS[:1], TypeError, "sample_ids must be a 1-D sequence of integers"),
    "too few masks": (
        [0, 1],
        MASKS[:1],
        ValueError,
        "masks must be one for each of the 2 sample ids, got '1 masks'",
    ),
    "one bare mask": ([0], MASKS[0], ValueError, "masks must be one for each of the 1 sample ids"),
    "masks None": (
        [0],
        None,
        ValueError,
        "masks must be one for each of the 1 sample ids, got None",
    ),
    "a mask None": (
        [0, 3],
        [MASKS[0], None],
        ValueError,
        r"masks\[1\] \(sample id 3\) must be annotated in .* one pixel, got None",
    ),
    "all missing": (
        [3],
        np.full((1, SIDE, SIDE), MISSING),
        ValueError,
        r"masks\[0\] \(sample id 3\) must be annotated",
    ),
    "wrong size": (
        [0, 3],
        [MASKS[0], MASKS[0][1:]],
        ValueError,
        r"masks\[1\] \(sample id 3\) must be of .* size \(16, 16\), got \(15, 16\)",
    ),
    "no class": (
        [4],
        [MASKS[0] * 255],
        ValueError,
        r"masks\[0\] \(sample id 4\) must be of classes in \[0, 1\].* \[255\]. Map 0/255",
    ),
    "fractions": ([4], [MASKS[0] / 2], TypeError, "masks"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_answer_leaves_the_learner_as_it_was(case):
    sample_ids, masks, error, match = WRONG[case]
    learner = mask_learner(masks=first_masks(1)).fit()
    before, fits = snapshot(learner), len(LOG)
    with pytest.raises(error, match=match):
        learner.annotate(sample_ids, masks)
    assert snapshot(learner) == before and len(LOG) == fits


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt("stopped")])
@pytest.mark.parametrize("where", ["estimator", "augmenter"])
def test_a_failed_or_interrupted_fit_leaves_the_learner_as_it_was(error, where):
    class Failing(FakeAugmenter):
        fails = False

        def transform(self, X):
            if Failing.fails:
                raise error
            return super().transform(X)

    learner = mask_learner(uncertain, augmenter=Failing() if where == "augmenter" else None)
    learner.annotate([0], MASKS[:1])
    ids, n_fits, model = learner.query()[0], len(LOG), learner.estimator
    masks, augmenter = learner.masks, learner.augmenter
    if where == "estimator":
        model.error = error
    Failing.fails = True
    with pytest.raises(type(error), match=str(error)):
        learner.annotate([2], MASKS[2:3])
    with pytest.raises(type(error), match=str(error)):
        learner.fit()
    assert learner.masks is masks and learner.estimator is model and learner.augmenter is augmenter
    assert np.array_equal(learner.query()[0], ids)
    model.error, Failing.fails = None, False
    learner.annotate([2], MASKS[2:3])
    undisturbed = mask_learner(uncertain, augmenter=Failing() if where == "augmenter" else None)
    undisturbed.annotate([0], MASKS[:1]).annotate([2], MASKS[2:3])
    assert learner.estimator.threshold_ == undisturbed.estimator.threshold_
    assert len(LOG) > n_fits


# -- the augmenter ------------------------------------------------------------------------------


def test_an_augmenter_means_two_fits_from_the_same_start():
    given_one = FakeAugmenter()
    learner = mask_learner(augmenter=given_one)
    learner.annotate([0, 3], MASKS[[0, 3]])
    first, second = LOG
    assert first["known"] == [0, 3] and first["weights"] is None
    assert second["known"] == list(range(N))
    assert second["weights"].tolist() == [1, 0.5, 0.5, 1, 0.5, 0.5]
    assert first["seed"] == second["seed"] and first["model"] is not second["model"]
    assert learner.augmenter.estimator_ is first["model"] and learner.estimator is second["model"]
    # pseudo-masks are of one fit: what is known stays what the oracle said
    assert learner.annotated_ids.tolist() == [0, 3] and learner.masks[1] is None
    assert not hasattr(given_one, "masks_")
    assert isinstance(learner.augmenter.random_state, int)


def test_pseudo_masks_leave_when_the_oracle_answers_and_caches_stay():
    learner = mask_learner(augmenter=FakeAugmenter())
    learner.annotate([0], MASKS[:1]).annotate([1], MASKS[1:2])
    assert LOG[-1]["weights"].tolist() == [1, 1, 0.5, 0.5, 0.5, 0.5]
    assert learner.augmenter.cache_ == 2


def test_without_a_mask_there_is_nothing_to_augment():
    learner = mask_learner(uncertain, augmenter=FakeAugmenter())
    learner.query()
    assert len(LOG) == 1


def test_a_warm_augmented_round_goes_on_from_its_first_fit():
    learner = mask_learner(augmenter=FakeAugmenter(), warm_start=True)
    learner.annotate([0], MASKS[:1])
    assert [n for n, _ in learner.estimator.history_] == [1, 6]


class Counting(FakeSegmenter):
    """Takes ten steps a fit, and is chosen by a validation score that is handed to it."""

    scores = ()

    def partial_fit(self, X, y, masks=None, mask_weight=None, **fit_kwargs):
        super().partial_fit(X, y, masks, mask_weight, **fit_kwargs)
        self.n_steps_ = 10 * len(self.history_)
        if Counting.scores:
            self.validation_score_ = Counting.scores[(len(LOG) - 1) % len(Counting.scores)]
        return self


class Refitting(FakeAugmenter):
    """Says by `refit`, as `PseudoLabelAugmenter` does, which fits a round makes."""

    fits_of_round = PseudoLabelAugmenter.fits_of_round

    def __init__(self, weight=0.5, random_state=None, refit="scratch"):
        super().__init__(weight, random_state)
        self.refit = refit


def test_a_second_fit_may_go_on_from_the_first_with_other_random_numbers():
    learner = mask_learner(model=Counting(), augmenter=Refitting(refit="continue"))
    learner.annotate([0], MASKS[:1])
    assert [n for n, _ in learner.estimator.history_] == [1, 6]
    first, second = LOG
    assert first["seed"] != second["seed"] and first["model"] is not second["model"]
    assert learner.gradient_steps == 20 and learner.estimator.n_steps_ == 20
    learner.annotate([1], MASKS[1:2])  # each round starts anew
    assert [n for n, _ in learner.estimator.history_] == [2, 6] and learner.gradient_steps == 20


def test_a_published_round_begins_with_the_last_models_pseudo_masks():
    learner = mask_learner(model=Counting(), augmenter=Refitting(refit="published"))
    learner.annotate([0], MASKS[:1])
    assert [entry["known"] for entry in LOG] == [[0], list(range(N))]  # nothing from before
    predicted = learner.estimator.predict_masks(IMAGES)
    learner.annotate([3], MASKS[3:4])
    first, second = LOG[2:]
    assert first["known"] == second["known"] == list(range(N))
    # what the oracle has answered since has taken the place of what was predicted
    assert first["weights"].tolist() == second["weights"].tolist() == [1, 0.5, 0.5, 1, 0.5, 0.5]
    # the model of the first fit saw these masks: oracle's at 0 and 3, the last model's elsewhere
    expected = predicted.copy()
    expected[[0, 3]] = MASKS[[0, 3]]
    alone = Counting(random_state=first["seed"]).fit(
        IMAGES, LABELS, [*expected], np.array([1, 0.5, 0.5, 1, 0.5, 0.5])
    )
    assert alone.threshold_ == first["model"].threshold_
    # each starts anew, and a refit in the same place carries over its own predictions
    assert all(len(entry["model"].history_) == 1 for entry in LOG)
    assert learner.gradient_steps == 20


def test_of_a_published_round_the_better_fit_is_kept(monkeypatch):
    for scores, kept in (((0.8, 0.7), 0), ((0.7, 0.8), 1), ((0.7, 0.7), 1)):
        LOG.clear()
        monkeypatch.setattr(Counting, "scores", scores)
        learner = mask_learner(model=Counting(), augmenter=Refitting(refit="published"))
        learner.annotate([0], MASKS[:1])
        assert learner.estimator is LOG[kept]["model"]
        assert learner.gradient_steps == 20  # both were trained, whichever is kept


def test_a_published_round_does_not_go_on_from_a_warm_start():
    rule = "warm_start must be False with refit='published'"
    with pytest.raises(ValueError, match=rule):
        mask_learner(augmenter=Refitting(refit="published"), warm_start=True)
    learner = mask_learner(augmenter=Refitting(refit="published"))
    learner.warm_start = True
    with pytest.raises(ValueError, match=rule):
        learner.annotate([0], MASKS[:1])
    assert learner.annotated_ids.tolist() == []


def test_a_round_may_fit_once_with_what_the_model_of_the_round_before_predicts():
    learner = mask_learner(model=Counting(), augmenter=Refitting(refit="once"))
    learner.fit()  # class labels alone: a model that has seen no mask predicts none
    learner.annotate([0], MASKS[:1])
    assert [entry["known"] for entry in LOG] == [[], [0]]
    assert not hasattr(learner.augmenter, "estimator_")
    before = learner.estimator
    predicted = before.predict_masks(IMAGES)
    learner.annotate([3], MASKS[3:4])
    (entry,) = LOG[2:]
    assert entry["known"] == list(range(N)) and entry["weights"].tolist() == [
        1,
        0.5,
        0.5,
        1,
        0.5,
        0.5,
    ]
    expected = predicted.copy()
    expected[[0, 3]] = MASKS[[0, 3]]
    alone = Counting(random_state=entry["seed"]).fit(IMAGES, LABELS, [*expected], entry["weights"])
    assert alone.threshold_ == entry["model"].threshold_
    assert learner.gradient_steps == 10 and len(learner.estimator.history_) == 1


def test_a_warm_round_that_fits_once_goes_on_from_the_model_that_predicted():
    learner = mask_learner(model=Counting(), augmenter=Refitting(refit="once"), warm_start=True)
    for i in range(3):
        learner.annotate([i], MASKS[i : i + 1])
        assert learner.gradient_steps == 10
    assert [n for n, _ in learner.estimator.history_] == [1, N, N]
    assert len({entry["seed"] for entry in LOG}) == 3


def test_no_masks_are_carried_over_from_a_model_of_class_labels_alone():
    for refit in ("published", "once"):
        LOG.clear()
        learner = mask_learner(model=Counting(), augmenter=Refitting(refit=refit))
        learner.fit()
        learner.annotate([0], MASKS[:1], fit=False)
        learner.annotate([3], MASKS[3:4])
        assert [entry["known"] for entry in LOG[:2]] == [[], [0, 3]]


def test_gradient_steps_are_those_of_the_last_refit():
    learner = mask_learner(model=Counting(), warm_start=True)
    assert learner.gradient_steps is None
    for i in range(3):
        learner.annotate([i], MASKS[i : i + 1])
        assert learner.gradient_steps == 10
    assert learner.estimator.n_steps_ == 30
    assert mask_learner().annotate([0], MASKS[:1]).gradient_steps is None  # it does not count


@pytest.mark.parametrize(
    "set_",
    [lambda le, masks: le.set_params(masks=masks), lambda le, masks: setattr(le, "masks", masks)],
)
def test_masks_set_as_a_whole_are_what_is_annotated(set_):
    learner = mask_learner(masks=first_masks(1))
    set_(learner, [None, None, *MASKS[2:4], None, None])
    assert learner.annotated_ids.tolist() == [2, 3] and learner.pool_ids.tolist() == [0, 1, 4, 5]
    assert learner.masks[2] is not MASKS[2] and learner.fit().estimator.n_annotated == 2
    with pytest.raises(ValueError, match=r"masks must be of the length of X \(6\), got 2"):
        set_(learner, MASKS[:2])
    assert learner.annotated_ids.tolist() == [2, 3]
    set_(learner, None)
    assert not len(learner.annotated_ids)
    with pytest.raises(TypeError, match="Setting masks needs a learner that was given images="):
        set_(ActiveLearner(FakeSegmenter()), MASKS)


# -- construction -------------------------------------------------------------------------------


def test_masks_known_at_the_start_may_be_partial_missing_or_files(tmp_path):
    Image.fromarray(MASKS[0].astype(np.uint8)).save(tmp_path / "0.png")
    partly = MASKS[1].copy()
    partly[0] = MISSING
    everything = [tmp_path / "0.png", partly, None, np.full((SIDE, SIDE), MISSING), MASKS[4], None]
    learner = mask_learner(masks=everything)
    assert learner.annotated_ids.tolist() == [0, 1, 4]
    assert learner.pool_ids.tolist() == [1, 2, 3, 5]
    assert [mask is None for mask in learner.masks] == [False, False, True, True, False, True]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        (
            {"labels": LABELS[:4]},
            ValueError,
            r"labels must be of shape \(6,\), one an image, or .* got \(4,\)",
        ),
        (
            {"masks": first_masks(1)[:5]},
            ValueError,
            r"masks must be of the length of X \(6\), got 5",
        ),
        (
            {"masks": [MASKS[0][:4]] + [None] * 5},
            ValueError,
            r"masks\[0\] .* of its image's size \(16, 16\), got \(4, 16\)",
        ),
        (
            {"masks": MASKS * 7},
            ValueError,
            r"masks\[0\] \(sample id 0\) must be of classes in \[0, 1\]",
        ),
        ({"images": np.full((6, 4, 4, 3), np.nan)}, ValueError, r"X\[0\] must be finite"),
        ({"images": IMAGES[:0], "labels": []}, ValueError, "X must"),
        (
            {"X_training": IMAGES},
            TypeError,
            "X_training and y_training must be left out with images",
        ),
        ({"random_state": "0"}, TypeError, "random_state must be None, an int"),
    ],
)
def test_clear_errors_at_construction(options, error, match):
    with pytest.raises(error, match=match):
        mask_learner(**options)


def test_teaching_masks_is_pointed_to_annotate():
    learner = mask_learner()
    for call in (learner.teach, learner.fit, learner._add_training_data, learner._fit_on_new):
        with pytest.raises(TypeError, match=r"given images: .* Use annotate\(sample_ids, masks\)"):
            call(IMAGES, LABELS)
    with pytest.raises(
        TypeError, match=r"X_pool must be a pool, got 2. Write query\(n_instances=...\)"
    ):
        learner.query(2)


@pytest.mark.parametrize("kind", ["list", "ragged", "object", "paths", "files"])
def test_images_of_every_form(kind, tmp_path):
    images, masks = list(IMAGES), list(MASKS)
    if kind == "ragged":
        images[1], masks[1] = images[1][:, :10], masks[1][:, :10]
    if kind in ("paths", "files"):
        paths = [tmp_path / f"{i}.png" for i in range(N)]
        for path, image in zip(paths, images, strict=True):
            Image.fromarray(image).save(path)
        images = paths if kind == "paths" else ImageFiles(paths)
    if kind == "object":
        held = np.empty(N, dtype=object)
        for i, image in enumerate(images):
            held[i] = image
        images = held
    learner = mask_learner(
        lambda learner, X_pool, n_instances: np.arange(len(X_pool))[-n_instances:], images=images
    )
    sample_ids, picked = learner.query(n_instances=2)
    assert sample_ids.tolist() == [4, 5] and type(picked) is type(images)
    learner.annotate([1, 4], [masks[1], masks[4]], fit=False)
    assert len(learner.X_training) == 2
    with pytest.raises(ValueError, match="of its image's size"):
        learner.annotate([1], [masks[1][:3]])


def test_copies_pickles_and_clones_go_on_alike():
    learner = mask_learner(at_random, augmenter=FakeAugmenter())
    learner.annotate([0], MASKS[:1])
    for other in (copy.deepcopy(learner), pickle.loads(pickle.dumps(learner))):
        assert np.array_equal(other.query(n_instances=3)[0], learner.query(n_instances=3)[0])
        other.annotate([1], MASKS[1:2])
        assert learner.annotated_ids.tolist() == [0]
    again = clone(learner)
    assert again.annotated_ids.tolist() == [0] and not hasattr(again.estimator, "classes_")


# -- save and load ------------------------------------------------------------------------------


def same_from_here(learner, other):
    for _ in range(2):
        (ids, _), (other_ids, _) = learner.query(n_instances=2), other.query(n_instances=2)
        assert np.array_equal(ids, other_ids)
        for one in (learner, other):
            one.annotate(ids, MASKS[ids])
        assert learner.estimator.threshold_ == other.estimator.threshold_
        assert learner.estimator.random_state == other.estimator.random_state


@pytest.mark.parametrize("rounds", [0, 1])
@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize("strategy", [at_random, uncertain])
def test_a_loaded_learner_goes_on_where_it_was(tmp_path, rounds, seed, strategy):
    learner = mask_learner(
        strategy, augmenter=FakeAugmenter(), random_state=seed, on_transformed=True, extra=3
    )
    learner.estimator.random_state = 4 if seed is None else None
    if rounds:
        partly = MASKS[0].copy()
        partly[0] = MISSING
        learner.annotate([0, 3], [partly, MASKS[3]])
    learner.save(tmp_path / "state")
    fake = FakeSegmenter(random_state=4 if seed is None else None)
    other = ActiveLearner.load(
        tmp_path / "state", estimator=fake, query_strategy=strategy, augmenter=FakeAugmenter()
    )
    assert np.array_equal(other.images, IMAGES) and np.array_equal(other.labels, LABELS)
    assert other.on_transformed and other.fit_kwargs == {"extra": 3}
    for mask, again in zip(learner.masks, other.masks, strict=True):
        assert (mask is None) == (again is None) == (getattr(again, "dtype", None) is None)
        assert mask is None or (mask.dtype == again.dtype and np.array_equal(mask, again))
    if rounds:
        assert np.array_equal(other.predict_masks(IMAGES), learner.predict_masks(IMAGES))
    same_from_here(learner, other)


def test_a_loaded_learner_tells_the_steps_of_its_last_fit(tmp_path):
    learner = mask_learner(model=Counting())
    learner.save(tmp_path / "state")
    assert load_fake(tmp_path / "state", estimator=Counting()).gradient_steps is None
    learner.annotate([0], MASKS[:1]).save(tmp_path / "state")
    assert load_fake(tmp_path / "state", estimator=Counting).gradient_steps == 10
    path = tmp_path / "state" / "learner.json"
    older = json.loads(path.read_text())
    older.pop("gradient_steps")
    path.write_text(json.dumps(older))
    assert load_fake(tmp_path / "state", estimator=Counting).gradient_steps is None


def load_fake(path, **options):
    return ActiveLearner.load(
        path, **{"estimator": FakeSegmenter, "query_strategy": in_order, **options}
    )


def test_saving_again_replaces_the_state_and_keeps_other_files(tmp_path):
    learner = mask_learner()
    learner.annotate([0], MASKS[:1]).save(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    images_file = next(tmp_path.glob("images-*"))
    learner.annotate([1], MASKS[1:2]).save(tmp_path)
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == [
        "estimator",
        "images",
        "learner.json",
        "masks",
        "notes.txt",
    ]
    assert images_file.exists()  # images are written once
    assert load_fake(tmp_path).annotated_ids.tolist() == [0, 1]


@pytest.mark.parametrize("step", ["estimator", "masks", "rename"])
def test_an_interrupted_save_leaves_the_earlier_state(tmp_path, monkeypatch, step):
    learner = mask_learner()
    learner.annotate([0], MASKS[:1]).save(tmp_path)
    learner.annotate([1], MASKS[1:2])

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    owner, name = {
        "estimator": (FakeSegmenter, "save"),
        "masks": (np, "savez_compressed"),
        "rename": (os, "replace"),
    }[step]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stop)
        with pytest.raises(KeyboardInterrupt):
            learner.save(tmp_path)
    assert load_fake(tmp_path).annotated_ids.tolist() == [0]
    learner.save(tmp_path)
    assert load_fake(tmp_path).annotated_ids.tolist() == [0, 1]
    assert len(list(tmp_path.glob("masks-*"))) == len(list(tmp_path.glob("estimator-*"))) == 1
    assert not list(tmp_path.glob(".learner.json.*"))


def test_killed_at_any_moment_of_a_save_the_earlier_or_the_new_state_is_there(
    tmp_path, monkeypatch
):
    learner = mask_learner()
    learner.annotate([0], MASKS[:1]).save(tmp_path / "first")
    learner.annotate([1], MASKS[1:2])
    found = []
    for fail_at in itertools.count(1):
        state = shutil.copytree(tmp_path / "first", tmp_path / str(fail_at))
        calls = []

        def dying(real, calls=calls, fail_at=fail_at):
            def call(*args, **kwargs):
                calls.append(real)
                if len(calls) >= fail_at:
                    raise KeyboardInterrupt
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for name in ("fsync", "replace", "unlink", "rmdir", "mkdir"):
                patch.setattr(os, name, dying(getattr(os, name)))
            with suppress(KeyboardInterrupt):
                learner.save(state)
        found.append(load_fake(state).annotated_ids.tolist())
        learner.save(state)
        assert load_fake(state).annotated_ids.tolist() == [0, 1]
        names = sorted(re.sub(r"-.*", "", path.name) for path in state.iterdir())
        assert names == ["estimator", "images", "learner.json", "masks"]
        if len(calls) < fail_at:
            break
    assert found[0] == [0] and found[-1] == [0, 1] and len(found) > 6


def test_saving_removes_nothing_that_only_looks_like_ours(tmp_path):
    (tmp_path / "masks-final.npz").write_text("mine")
    (tmp_path / "estimator-notes").mkdir()
    learner = mask_learner()
    learner.annotate([0], MASKS[:1]).save(tmp_path)
    learner.annotate([1], MASKS[1:2]).save(tmp_path)
    assert (tmp_path / "masks-final.npz").read_text() == "mine"
    assert (tmp_path / "estimator-notes").is_dir()


@pytest.mark.parametrize("kind", ["paths", "files", "ragged", "object"])
def test_images_come_back_in_their_form(tmp_path, kind):
    paths = [str(tmp_path / f"{i}.png") for i in range(N)]
    for path, image in zip(paths, IMAGES, strict=True):
        Image.fromarray(image).save(path)
    images = {
        "paths": paths,
        "files": ImageFiles(paths),
        "ragged": [image[:, : 9 + i] for i, image in enumerate(IMAGES)],
    }
    held = np.empty(N, dtype=object)
    held[:] = paths
    images["object"] = held
    mask_learner(images=images[kind]).save(tmp_path / "state")
    again = load_fake(tmp_path / "state", estimator=FakeSegmenter()).images
    assert type(again) is type(images[kind])
    if kind == "ragged":
        for a, b in zip(again, images[kind], strict=True):
            assert np.array_equal(a, b) and a.dtype == b.dtype
    else:
        assert list(getattr(again, "paths", again)) == paths
        assert not list((tmp_path / "state").glob("images-*"))


def test_images_may_be_left_out_and_given_again(tmp_path):
    mask_learner(masks=first_masks(1)).fit().save(tmp_path, include_images=False)
    assert not list(tmp_path.glob("images-*"))
    with pytest.raises(ValueError, match="images must be given: they were not saved"):
        load_fake(tmp_path)
    assert load_fake(tmp_path, images=IMAGES).query()[0].tolist() == [1]
    with pytest.raises(ValueError, match=r"of its image's size \(4, 4\)"):
        load_fake(tmp_path, images=IMAGES[:, :4, :4])


@pytest.mark.parametrize("labels", [LABELS, np.arange(N), LABELS.astype(object)])
def test_labels_come_back_in_their_type(tmp_path, labels):
    mask_learner(labels=labels).save(tmp_path)
    again = load_fake(tmp_path, estimator=FakeSegmenter()).labels
    assert again.dtype == labels.dtype and again.tolist() == labels.tolist()


def test_what_is_not_ours_must_be_given(tmp_path):
    learner = mask_learner(functools.partial(at_random), augmenter=FakeAugmenter())
    learner.annotate([0], MASKS[:1]).save(tmp_path)
    fakes = {"estimator": FakeSegmenter, "query_strategy": at_random, "augmenter": FakeAugmenter()}
    for missing in fakes:
        given_ones = {name: value for name, value in fakes.items() if name != missing}
        with pytest.raises(
            ValueError, match=rf"{missing} must be .* Pass {missing}= itself if you trust it"
        ):
            ActiveLearner.load(tmp_path, **given_ones)
    as_function = {**fakes, "estimator": lambda folder: FakeSegmenter.load(folder)}
    assert (
        ActiveLearner.load(tmp_path, **as_function).estimator.threshold_
        == learner.estimator.threshold_
    )


def test_a_strategy_without_a_name_must_be_given(tmp_path):
    mask_learner(lambda learner, X_pool: 0).save(tmp_path)
    with pytest.raises(
        ValueError, match="query_strategy must be given: the saved one has no name in alseg"
    ):
        ActiveLearner.load(tmp_path, estimator=FakeSegmenter())


def test_a_tampered_state_runs_nothing(tmp_path):
    mask_learner().fit().save(tmp_path)
    path = tmp_path / "learner.json"
    state = json.loads(path.read_text())
    evil = tmp_path / "evil"
    for change in (
        {"query_strategy": {"described": {"name": "os:system", "keywords": {}}, "shown": ""}},
        {
            "augmenter": {
                "described": {"class": "os:mkdir", "params": {"path": str(evil)}},
                "shown": "",
            }
        },
        {
            "augmenter": {
                "described": {"class": "alseg.images:read_image", "params": {"path": str(evil)}},
                "shown": "",
            }
        },
        {"estimator": {"class": "subprocess:Popen", "file": state["estimator"]["file"]}},
        {"masks": "../masks.npz"},
        {"images": {"kind": "array", "file": "/etc/passwd"}},
    ):
        path.write_text(json.dumps({**state, **change}))
        trusted = {"estimator": FakeSegmenter, "query_strategy": in_order}
        given_ones = {name: value for name, value in trusted.items() if name not in change}
        with pytest.raises(ValueError, match="must be"):
            ActiveLearner.load(tmp_path, **given_ones)
    assert not evil.exists()


def test_a_pickle_among_the_masks_is_refused(tmp_path):
    mask_learner(masks=first_masks(1)).fit().save(tmp_path)
    masks = next(tmp_path.glob("masks-*"))
    bad = np.empty(1, dtype=object)
    bad[0] = {"not": "an array"}
    np.savez(masks, **{"0": bad})
    with pytest.raises(ValueError, match="is damaged: .*allow_pickle=False"):
        load_fake(tmp_path)


def test_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="learner.json"):
        load_fake(tmp_path)
    mask_learner(masks=first_masks(1)).fit().save(tmp_path)
    path, masks = tmp_path / "learner.json", next(tmp_path.glob("masks-*"))
    whole, content = path.read_text(), masks.read_bytes()
    masks.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"masks-\w+.npz is damaged"):
        load_fake(tmp_path)
    for text, match in (
        (whole[:50], "must be a saved learner, but is no JSON"),
        ("{}", "must be a saved learner, but is something else"),
        (
            whole.replace('"version": 1', '"version": 9'),
            r"version in .* must be 1, got 9. Update alseg",
        ),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=match):
            load_fake(tmp_path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="something else"):  # and it is not overwritten
        mask_learner().save(tmp_path)
    assert path.read_text() == "{}"


def test_what_cannot_be_saved_is_said_before_the_state_is_touched(tmp_path):
    with pytest.raises(TypeError, match="fit_kwargs must be plain JSON to be saved"):
        mask_learner(extra=np.zeros(2)).save(tmp_path)
    learner = mask_learner(masks=first_masks(1))
    learner.estimator = SGDClassifier().fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(
        TypeError, match=r"estimator must be one with save\(path\) and load\(path\)"
    ):
        learner.save(tmp_path)
    mixed = [IMAGES[0], *[str(tmp_path / "a.png")] * 5]
    Image.fromarray(IMAGES[1]).save(tmp_path / "a.png")
    with pytest.raises(TypeError, match="images must be all arrays or all paths"):
        mask_learner(images=mixed).save(tmp_path)
    assert not (tmp_path / "learner.json").exists()


# -- with the real estimator, strategies and augmenter ------------------------------------------

BIG = np.random.default_rng(2).integers(0, 255, (8, 32, 32, 3)).astype(np.uint8)
BIG_MASKS = (np.indices((32, 32)).sum(0) > 24).astype(int)[None].repeat(8, axis=0)
BIG_LABELS = np.array(["a", "b"] * 4)


def real_learner(strategy, **options):
    model = JointCAMSegmenter(encoder="tiny", max_epochs=1, steps_per_epoch=2, device="cpu")
    return ActiveLearner(model, strategy, images=BIG, labels=BIG_LABELS, random_state=0, **options)


@pytest.mark.parametrize("strategy", [None, class_balanced(entropy_score), random_sampling])
def test_the_real_parts_save_load_and_go_on_bit_for_bit(tmp_path, strategy):
    learner = real_learner(strategy, augmenter=PseudoLabelAugmenter(k=3, weight=0.2))
    if strategy is None:
        assert learner.query_strategy is entropy_sampling
    learner.save(tmp_path / "empty")
    unfitted = ActiveLearner.load(tmp_path / "empty")
    assert unfitted.estimator.get_params()["steps_per_epoch"] == 2
    ids, _ = learner.query(n_instances=2)
    assert hasattr(learner._estimator, "classes_") == (strategy is not random_sampling)
    assert np.array_equal(unfitted.query(n_instances=2)[0], ids)
    learner.annotate(ids, BIG_MASKS[ids])
    learner.save(tmp_path / "state")
    other = ActiveLearner.load(tmp_path / "state")  # all of it is alseg's own: nothing to pass
    assert other.augmenter.get_params() == learner.augmenter.get_params()
    assert np.array_equal(other.predict_mask_proba(BIG), learner.predict_mask_proba(BIG))
    (ids, _), (other_ids, _) = learner.query(n_instances=3), other.query(n_instances=3)
    assert np.array_equal(ids, other_ids)
    for one in (learner, other):
        one.annotate(ids, BIG_MASKS[ids])
    assert np.array_equal(other.predict_mask_proba(BIG), learner.predict_mask_proba(BIG))
    assert 0 <= learner.score_masks(BIG, BIG_MASKS) <= 1


def test_the_real_estimator_is_as_before_after_an_interrupt(monkeypatch):
    learner = real_learner(random_sampling)
    learner.annotate([0, 1], BIG_MASKS[:2])
    before, masks = learner.predict_mask_proba(BIG), learner.masks

    def interrupt(self, *args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(JointCAMSegmenter, "train_step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            learner.annotate([2], BIG_MASKS[2:3])
    assert learner.masks is masks and learner.annotated_ids.tolist() == [0, 1]
    assert np.array_equal(learner.predict_mask_proba(BIG), before)
    warm = real_learner(random_sampling, warm_start=True)
    warm.annotate([0], BIG_MASKS[:1]).annotate([1], BIG_MASKS[1:2])
    assert warm.estimator.n_steps_ == 4


# -- keywords --


@pytest.mark.parametrize(
    ("estimator", "keyword", "meant"),
    [
        (GaussianNB(), "query_stategy", "Did you mean 'query_strategy'"),
        (GaussianNB(), "sample_weigth", "Did you mean 'sample_weight'"),
        (GaussianNB(), "epochs", "GaussianNB.fit, got 'epochs'.$"),
        (GaussianNB(), "bootstrap", "Did you mean 'bootstrap_init'"),
        # it takes any keyword, and would be the one to complain, after hours
        (make_pipeline(StandardScaler(), GaussianNB()), "random_sate", "mean 'random_state'"),
        (JointCAMSegmenter(), "mask_weigth", "Did you mean 'mask_weight'"),
    ],
)
def test_a_misspelt_keyword_is_refused_at_once(estimator, keyword, meant):
    rule = "a keyword must be an argument of ActiveLearner or of .*" + meant
    with pytest.raises(TypeError, match=rule):
        ActiveLearner(estimator, **{keyword: 1})
    with pytest.raises(TypeError, match=rule):
        ActiveLearner(estimator, images=np.zeros((2, 4, 4, 3)), labels=[0, 1], **{keyword: 1})


def test_keywords_that_a_fit_or_a_hook_takes_are_taken():
    class Reading(ActiveLearner):
        def _fit_to_known(self, bootstrap=False, rounds=0, **fit_kwargs):
            self.rounds = rounds
            return super()._fit_to_known(bootstrap=bootstrap, **fit_kwargs)

    weight = np.arange(1.0, len(START) + 1)
    given = {"X_training": X[START], "y_training": Y[START]}
    assert Reading(GaussianNB(), **given, sample_weight=weight, rounds=3).rounds == 3
    pipeline = make_pipeline(StandardScaler(), GaussianNB())
    learner = ActiveLearner(pipeline, **given, gaussiannb__sample_weight=weight)
    alone = GaussianNB().fit(StandardScaler().fit_transform(X[START]), Y[START], weight)
    np.testing.assert_allclose(learner.estimator[-1].theta_, alone.theta_)
