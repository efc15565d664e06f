"""alseg.strategies and alseg.testing: the contract for all, modAL as reference, the options."""

import functools
import inspect
import pickle
import subprocess
import sys

import modAL.models
import modAL.uncertainty
import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from alseg import ActiveLearner, strategies, testing
from alseg.calling import accepts
from alseg.images import ImageFiles, stack
from alseg.query.selection import class_balanced_top_n, top_n
from alseg.query.uncertainty import entropy
from alseg.strategies import (
    bald_score,
    class_balanced,
    class_balanced_sampling,
    entropy_sampling,
    entropy_score,
    least_confidence_score,
    margin_score,
    mc_variance_sampling,
    mc_variance_score,
    random_sampling,
    random_score,
)
from alseg.testing.contracts import all_scores, all_strategies, check_score, check_strategy
from alseg.testing.toys import ContractError, ToyLearner, ToySegmenter, toy_images
from alseg.validation import EmptyPool

SAMPLINGS = [n for n in strategies.__all__ if n.endswith("_sampling")]
PLAIN = ["least_confidence", "margin", "entropy"]
DRAWS = ["mc_variance", "bald"]


@pytest.fixture
def points(rng):
    X = rng.normal(size=(60, 4))
    y = np.array(["a", "b", "c"])[X[:, :3].argmax(axis=1)]
    return X, y, LogisticRegression().fit(X[:30], y[:30])


class Asked(ToySegmenter):
    """Remembers the options that it was asked with."""

    def predict_uncertainty(self, X, **options):
        self.options = options
        return super().predict_uncertainty(X, **options)


# -- the contract --


def of_few_steps(function):
    """What trains something keeps the contract however long it trains."""
    return functools.partial(function, n_steps=10) if accepts(function, "n_steps") else function


@pytest.mark.parametrize("name", all_strategies())
def test_contract_of_each_strategy(name):
    check_strategy(of_few_steps(all_strategies()[name]))


@pytest.mark.parametrize("name", all_scores())
def test_contract_of_each_score(name):
    check_score(of_few_steps(all_scores()[name]))


def test_every_exported_strategy_is_checked():
    public = [n for n in strategies.__all__ if not n.endswith("_score")]
    assert set(SAMPLINGS) <= set(all_strategies())
    wrappers = {n for n in public if n not in SAMPLINGS} - {
        "ramp",
        "look",
        "pretrained_embedding",
        "from_skactiveml",  # in test_feature_queries.py
        "needs_of",
    }  # no strategies
    assert {"by_region", "class_balanced", "stochastic", "mixture"} <= wrappers
    for wrapper in wrappers:
        assert any(name.startswith(f"{wrapper}(") for name in all_strategies()), wrapper
    assert any(n.startswith("class_balanced(") for n in all_strategies())
    assert {n for n in strategies.__all__ if n.endswith("_score")} <= set(all_scores())


@pytest.mark.parametrize("name", SAMPLINGS)
def test_one_shape_of_signature(name):
    parameters = list(inspect.signature(getattr(strategies, name)).parameters.values())
    assert [p.name for p in parameters[:4]] == ["learner", "X_pool", "n_instances", "random_state"]
    assert [p.default for p in parameters[2:4]] == [1, None]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[4:])


def broken_strategies():  # noqa: C901 (many small ones)
    def refuses(n_instances, X_pool):
        return top_n(np.arange(len(X_pool), dtype=float), n_instances)

    def too_few(learner, X_pool, n_instances=1):
        return refuses(n_instances, X_pool)[:1]

    def floats(learner, X_pool, n_instances=1):
        return refuses(n_instances, X_pool).astype(float)

    def twice(learner, X_pool, n_instances=1):
        return refuses(n_instances, X_pool) * 0

    def outside(learner, X_pool, n_instances=1):
        return refuses(n_instances, X_pool) + len(X_pool)

    def unrepeatable(learner, X_pool, n_instances=1):
        return np.random.default_rng().permutation(refuses(len(X_pool), X_pool))[:n_instances]

    def changes_the_pool(learner, X_pool, n_instances=1):
        X_pool[0] = 0
        return refuses(n_instances, X_pool)

    def changes_the_training_data(learner, X_pool, n_instances=1):
        learner.X_training[:] = 0
        return refuses(n_instances, X_pool)

    def numpy_state(learner, X_pool, n_instances=1):
        np.random.rand()
        return refuses(n_instances, X_pool)

    def torch_state(learner, X_pool, n_instances=1):
        torch.rand(1)
        return refuses(n_instances, X_pool)

    def by_position(learner, X_pool, n_instances=1):
        return refuses(n_instances, X_pool)

    def needs_one_size(learner, X_pool, n_instances=1):
        if isinstance(X_pool, list) or X_pool.dtype == object:
            raise ContractError("sizes")
        return refuses(n_instances, X_pool)

    def takes_what_there_is(learner, X_pool, n_instances=1):
        scores = learner.predict_proba(X_pool)[:, 0]
        return np.argsort(scores)[: max(1, int(n_instances))]

    def value_error_if_empty(learner, X_pool, n_instances=1):
        if len(X_pool) == 0:
            raise ValueError("no images")
        return entropy_sampling(learner, X_pool, n_instances)

    def repairs_nan(learner, X_pool, n_instances=1):
        strategies._shared.check_pool(X_pool, n_instances)
        scores = np.nan_to_num(learner.predict_proba(X_pool)[:, 0])
        return top_n(scores, n_instances, 0)

    return [
        (too_few, "must give 3 positions"),
        (floats, "must give integers"),
        (twice, "must give different positions"),
        (outside, r"must give positions in \[0, 10\]"),
        (unrepeatable, "must repeat"),
        (changes_the_pool, "must not change the pool"),
        (changes_the_training_data, "must not change what the learner was trained on"),
        (numpy_state, "must not use the global random state"),
        (torch_state, "must not use the global random state"),
        (by_position, "must not depend on the order of the pool"),
        (needs_one_size, "sizes"),
        (takes_what_there_is, "must refuse n_instances=0|must give 12|must refuse"),
        (value_error_if_empty, "must raise EmptyPool"),
        (repairs_nan, "must raise ValueError when the estimator's predictions are NaN"),
    ]


@pytest.mark.parametrize("strategy, says", broken_strategies())
def test_check_strategy_finds(strategy, says):
    with pytest.raises(ContractError, match=says):
        check_strategy(strategy)


@pytest.mark.slow
def test_the_first_strategy_of_a_process_to_import_torch_is_not_blamed():
    script = """
import sys
import numpy as np
from alseg.testing.contracts import check_strategy
from alseg.strategies import entropy_sampling

def imports_torch(learner, X_pool, n_instances=1):
    import torch
    return entropy_sampling(learner, X_pool, n_instances)

assert "torch" not in sys.modules
check_strategy(imports_torch)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not done.returncode, done.stderr


def test_check_score_finds():
    for score, says in [
        (lambda learner, X: np.zeros(2), "must give"),
        (lambda learner, X: np.zeros(len(X), dtype=int), "must give .* floats"),
        (lambda learner, X: np.full(len(X), np.nan), "must give finite numbers"),
        (lambda learner, X: np.random.default_rng().random(len(X)), "must repeat"),
        (lambda learner, X: np.arange(len(X)) / 7, "wherever it stands"),
    ]:
        with pytest.raises(ContractError, match=says):
            check_score(score)


def test_modal_strategies_meet_the_contract_but_for_refusals():
    """modAL's own give what is asked for; they do not refuse what cannot be given."""
    with pytest.raises(ContractError, match="must refuse|must depend|order"):
        check_strategy(modAL.uncertainty.entropy_sampling)


# -- on labels: modAL as the reference --


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (least_confidence_score, modAL.uncertainty.classifier_uncertainty),
        (entropy_score, modAL.uncertainty.classifier_entropy),
        (margin_score, lambda *a: 1 - modAL.uncertainty.classifier_margin(*a)),
    ],
)
def test_label_scores_equal_modal(points, ours, theirs):
    X, _, classifier = points
    np.testing.assert_allclose(ours(classifier, X, target="label"), theirs(classifier, X))


@pytest.mark.parametrize("name", PLAIN)
def test_inside_modals_own_learner_the_same_picks_as_modal(points, name):
    X, y, _ = points
    modal = {"least_confidence": "uncertainty"}.get(name, name)
    theirs = getattr(modAL.uncertainty, f"{modal}_sampling")
    ours = functools.partial(getattr(strategies, f"{name}_sampling"), target="label")
    picks = []
    for strategy in (ours, theirs):
        estimator = LogisticRegression().fit(X[:30], y[:30])
        learner = modAL.models.ActiveLearner(estimator, query_strategy=strategy)
        query_idx, instances = learner.query(X[30:], n_instances=5)
        np.testing.assert_array_equal(instances, X[30:][query_idx])
        picks.append(set(np.asarray(query_idx).tolist()))
    assert picks[0] == picks[1]


@pytest.mark.parametrize("kind", [np.asarray, list, scipy.sparse.csr_matrix])
def test_kinds_of_pools_for_plain_classifiers(points, kind):
    X, y, classifier = points
    expected = entropy_sampling(classifier, X, 3, target="label")
    picked = entropy_sampling(classifier, kind(X), 3, target="label")
    np.testing.assert_array_equal(picked, expected)
    balanced = class_balanced(functools.partial(entropy_sampling, target="label"))
    picked = balanced(classifier, kind(X), 3, random_state=0, y_pool=y)
    assert sorted(y[picked].tolist()) == ["a", "b", "c"]


def test_of_a_model_without_masks_labels_are_meant(points):
    X, y, classifier = points
    committee = [classifier, LogisticRegression(C=0.01).fit(X, y)]
    given = {"embedding": lambda X: X}
    for name, model, options in (
        *((name, classifier, {}) for name in PLAIN),
        ("committee", committee, {}),
        ("badge", classifier, given),
        ("egl", classifier, given),
        ("learning_loss", ActiveLearner(classifier, X_training=X[:9], y_training=y[:9]), given),
    ):
        ask = functools.partial(getattr(strategies, f"{name}_sampling"), random_state=0, **options)
        picked = ask(model, X, 3)
        np.testing.assert_array_equal(picked, ask(model, X, 3, target="label"))
    np.testing.assert_array_equal(
        class_balanced(entropy_sampling)(classifier, X, 3, random_state=0, y_pool=y),
        class_balanced(functools.partial(entropy_sampling, target="label"))(
            classifier, X, 3, random_state=0, y_pool=y
        ),
    )
    toy, X_pool = ToySegmenter(), toy_images(5)
    np.testing.assert_array_equal(
        entropy_score(toy, X_pool), entropy_score(toy, X_pool, target="mask")
    )
    with pytest.raises(ValueError, match="target must be 'mask' for maps"):
        entropy_score(classifier, X, return_maps=True)


def test_a_search_and_an_ensemble_predict_as_a_whole(points):
    X, y, _ = points
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2).fit(X, y)
    bagging = BaggingClassifier(LogisticRegression(), n_estimators=2, random_state=0).fit(X, y)
    for model in (search, bagging, make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)):
        expected = entropy(model.predict_proba(X))
        np.testing.assert_allclose(entropy_score(model, X, target="label"), expected)


def test_masks_of_a_plain_classifier_are_an_error(points):
    X, _, classifier = points
    for name in PLAIN:
        with pytest.raises(TypeError, match="predict_uncertainty.*LogisticRegression.*'label'"):
            getattr(strategies, f"{name}_sampling")(classifier, X, target="mask")
    for name in DRAWS:
        for target in ("mask", "label", None):
            with pytest.raises(TypeError, match="LogisticRegression.*has no draws"):
                getattr(strategies, f"{name}_sampling")(classifier, X, target=target)
    with pytest.raises(TypeError, match="learner must be with `predict_proba`"):
        entropy_score(object(), X, target="label")
    several = type("Several", (), {"predict_proba": lambda self, X: np.ones((2, len(X), 2))})()
    with pytest.raises(ValueError, match=r"predict_proba\(X_pool\) must be of shape"):
        entropy_score(several, X, target="label")


# -- on masks --


@pytest.mark.parametrize("aggregate", ["mean", "sum"])
@pytest.mark.parametrize("kind", ["array", "ragged"])
def test_mask_scores_by_hand(aggregate, kind):
    X_pool = toy_images(6, ragged=kind == "ragged")
    toy = ToySegmenter()
    maps = [entropy(proba, axis=0) for proba in toy.predict_mask_proba(X_pool)]
    expected = [getattr(np, aggregate)(m) for m in maps]
    np.testing.assert_allclose(entropy_score(toy, X_pool, aggregate=aggregate), expected)
    picked = entropy_sampling(toy, X_pool, 6, aggregate=aggregate)
    np.testing.assert_array_equal(picked, np.argsort(expected)[::-1])


@pytest.mark.parametrize("name", [*PLAIN, *DRAWS])
@pytest.mark.parametrize("target", ["mask", "label"])
def test_options_reach_the_estimator(name, target):
    sampling = getattr(strategies, f"{name}_sampling")
    score = getattr(strategies, f"{name}_score")
    toy = Asked()
    own = functools.partial(np.mean, axis=(1, 2))
    options = {"aggregate": own, "target": target} | ({"n_draws": 3} if name in DRAWS else {})
    picked = sampling(toy, toy_images(5), 5, 0, **options)
    if name in DRAWS or target == "mask":
        seed = toy.options.pop("random_state", "none")
        assert toy.options == {"method": name, **options}
        assert (type(seed) is int) == (name in DRAWS)
    seeded = {"random_state": 0} if name in DRAWS else {}
    scores = score(toy, toy_images(5), **seeded, **options)
    np.testing.assert_array_equal(picked, np.argsort(scores)[::-1])


def test_no_seed_leaves_the_draws_to_the_estimator():
    toy = Asked()
    mc_variance_sampling(toy, toy_images(3))
    assert toy.options["random_state"] is None
    class_balanced(mc_variance_score)(toy, toy_images(3), y_pool=[0, 0, 1])
    assert toy.options["random_state"] is None
    mc_variance_score(toy, toy_images(3), random_state=np.random.RandomState(0))
    assert type(toy.options["random_state"]) is int


def test_draws_follow_the_seed():
    toy, X_pool = ToySegmenter(), toy_images(5)
    for score in (mc_variance_score, bald_score):
        one = score(toy, X_pool, random_state=1)
        np.testing.assert_array_equal(one, score(toy, X_pool, random_state=1))
        assert (one != score(toy, X_pool, random_state=2)).any()


def test_behind_learners_searches_and_pipelines():
    toy, X_pool = ToySegmenter(), toy_images(6)
    expected = entropy_score(toy, X_pool)
    learner = ToyLearner(toy, X_pool[:2], ["a", "b"])
    np.testing.assert_array_equal(entropy_score(learner, X_pool), expected)
    search = type("Search", (), {"estimator": ToySegmenter(broken=True), "best_estimator_": toy})()
    np.testing.assert_array_equal(entropy_score(search, X_pool), expected)
    learner = ToyLearner(search, X_pool, [0] * 6)
    np.testing.assert_array_equal(entropy_score(learner, X_pool), expected)
    flipped = Pipeline([("flip", FunctionTransformer(lambda X: 255 - X)), ("toy", toy)])
    with_flip = entropy_score(toy, 255 - X_pool)
    np.testing.assert_array_equal(entropy_score(flipped, X_pool), with_flip)
    np.testing.assert_array_equal(entropy_score(Pipeline([("toy", toy)]), X_pool), expected)


def test_pools_of_files(tmp_path):
    from PIL import Image

    X_pool = toy_images(4)
    paths = []
    for i, image in enumerate(X_pool):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    toy = ToySegmenter()
    expected = entropy_sampling(toy, X_pool, 4)
    for pool in (paths, np.array([str(p) for p in paths]), ImageFiles(paths)):
        np.testing.assert_array_equal(entropy_sampling(toy, pool, 4), expected)
        balanced = class_balanced(entropy_sampling)
        picked = balanced(toy, pool, 2, random_state=0, y_pool=["a", "a", "b", "b"])
        assert sorted((picked >= 2).tolist()) == [False, True]


def test_errors_come_before_the_pool_is_predicted():
    toy, X_pool = ToySegmenter(), toy_images(3)
    for name in (*PLAIN, *DRAWS):
        sampling = getattr(strategies, f"{name}_sampling")
        with pytest.raises(ValueError, match="aggregate must be one of .*Did you mean 'mean'"):
            sampling(toy, X_pool, aggregate="meen")
        with pytest.raises(ValueError, match="target must be one of .*Did you mean 'mask'"):
            sampling(toy, X_pool, target="masks")
        with pytest.raises(ValueError, match=r"n_instances must be in \[1, 3\]"):
            sampling(toy, X_pool, 4)
        with pytest.raises(EmptyPool):
            sampling(toy, X_pool[:0])
        with pytest.raises(TypeError, match="random_state must be"):
            sampling(toy, X_pool, random_state="0")
    for n_draws in (1, 0):
        with pytest.raises(ValueError, match="n_draws must be >= 2"):
            mc_variance_sampling(toy, X_pool, n_draws=n_draws)
    assert toy.n_calls <= len(PLAIN)  # only a bad random_state of the plain ones is seen later
    with pytest.raises(ValueError, match=r"scores must be of shape \(3,\), one an image"):
        wrong = type("Wrong", (), {"predict_uncertainty": lambda self, X, **kw: np.zeros(2)})()
        entropy_score(wrong, X_pool)


# -- controls and wrappers --


def test_random_asks_nobody_and_everybody_alike():
    counts = np.bincount([random_sampling(None, range(5), 1, s)[0] for s in range(400)])
    assert counts.min() > 50 and len(counts) == 5
    scores = random_score(None, range(1000), 0)
    assert scores.min() >= 0 and scores.max() < 1 and abs(scores.mean() - 0.5) < 0.05


def test_class_balanced_around_a_score():
    toy, X_pool = ToySegmenter(), toy_images(9)
    y_pool = np.array(list("aaaaaabbc"))
    expected = class_balanced_top_n(entropy_score(toy, X_pool), y_pool, 5)
    strategy = class_balanced(entropy_score)
    toy.n_calls = 0
    np.testing.assert_array_equal(strategy(toy, X_pool, 5, y_pool=y_pool), expected)
    assert toy.n_calls == 1  # the whole pool at once
    assert sorted(y_pool[strategy(toy, X_pool, 6, y_pool=y_pool)]) == list("aaabbc")


def with_a_metric(learner, X_pool, n_instances=1):
    return entropy_sampling(learner, X_pool, n_instances), "as modAL 0.4.2 gives it"


@pytest.mark.parametrize("strategy", [entropy_sampling, with_a_metric])
def test_class_balanced_around_a_strategy(strategy):
    toy, X_pool = ToySegmenter(), toy_images(9)
    y_pool = np.array(list("abcabcabc"))
    picked = class_balanced(strategy)(toy, X_pool, 6, random_state=0, y_pool=y_pool)
    by_score = class_balanced(entropy_score)(toy, X_pool, 6, random_state=0, y_pool=y_pool)
    assert set(picked.tolist()) == set(by_score.tolist())
    for turn in (picked[:3], picked[3:]):
        assert sorted(y_pool[turn]) == ["a", "b", "c"]


def test_class_balanced_random_is_the_default():
    y_pool = np.array(["benign"] * 29 + ["malignant"] * 38)
    picked = class_balanced()(None, range(67), 8, random_state=0, y_pool=y_pool)
    assert (picked < 29).sum() == 4
    np.testing.assert_array_equal(
        picked, class_balanced_sampling(None, range(67), 8, 0, y_pool=y_pool)
    )


def test_class_balanced_hands_the_labels_on():
    def by_label(learner, X_pool, y_pool):
        return np.array([len(y) for y in y_pool], dtype=float)

    y_pool = np.array(["a", "bb", "bb"])
    assert class_balanced(by_label)(None, range(3), 1, y_pool=y_pool)[0] in (1, 2)


def test_class_balanced_can_be_named_and_pickled():
    strategy = class_balanced(functools.partial(entropy_score, aggregate="max"))
    assert strategy.__name__ == "class_balanced(entropy_score)"
    assert "y_pool" in inspect.signature(strategy).parameters
    again = pickle.loads(pickle.dumps(strategy))
    assert again.__name__ == strategy.__name__
    toy, X_pool, y_pool = ToySegmenter(), toy_images(4), [0, 0, 1, 1]
    np.testing.assert_array_equal(
        again(toy, X_pool, 4, y_pool=y_pool), strategy(toy, X_pool, 4, y_pool=y_pool)
    )


def test_class_balanced_errors():
    strategy = class_balanced()
    for y_pool in (None, [0, 1], [[0], [1], [2]]):
        with pytest.raises(ValueError, match=r"y_pool must be class labels of shape \(3,\)"):
            strategy(None, range(3), 1, y_pool=y_pool)
    with pytest.raises(TypeError, match="score must be a score or a strategy"):
        class_balanced("entropy")
    with pytest.raises(TypeError, match="score must be a score or a strategy"):
        class_balanced_sampling(None, range(3), y_pool=[0, 1, 2], score="entropy")
    with pytest.raises(ValueError, match=r"scores must be of shape \(3,\)"):
        class_balanced(lambda learner, X: np.zeros(2))(None, range(3), y_pool=[0, 1, 2])
    for result, error, rule in (
        ([0, 0], ValueError, r"unique positions in \[0, 2\]"),
        ([0], ValueError, "2 positions, as asked"),
        ([0, 5], ValueError, r"unique positions in \[0, 2\]"),
        ([0.0, 1.0], TypeError, "a 1-D array of integer positions"),
    ):

        def wrong(learner, X_pool, n_instances=1, result=result):
            return result

        with pytest.raises(error, match=f"the result of wrong must be {rule}"):
            class_balanced(wrong)(None, np.arange(6), 4, y_pool=[0, 0, 0, 1, 1, 1])


def test_the_toys_are_what_they_say():
    assert set(testing.__all__) >= {"check_strategy", "check_score", "all_strategies"}
    toy = ToySegmenter()
    for X in (toy_images(4), toy_images(4, ragged=True), stack(toy_images(4, ragged=True))):
        proba = toy.predict_mask_proba(X)
        for p, mask, image in zip(proba, toy.predict_masks(X), X, strict=True):
            assert p.shape == (3, *image.shape[:2]) and mask.shape == image.shape[:2]
            np.testing.assert_allclose(p.sum(axis=0), 1)
        assert set(toy.predict(X)) <= set(toy.classes_)
        scores, maps = toy.predict_uncertainty(X, return_maps=True)
        np.testing.assert_allclose([m.mean() for m in maps], scores)
    assert np.isnan(ToySegmenter(broken=True).predict_proba(toy_images(2))).all()
