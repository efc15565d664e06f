"""alseg.calling: strategy results, calls, names in files, data containers; modAL as reference."""

import functools
import importlib
import sys

import modAL.utils.data as modal_data
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from modAL.models import ActiveLearner as ModalLearner
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import check_X_y

from alseg.calling import accepts, as_query_idx, call_strategy, check_query_idx
from alseg.files.objects import (
    MOVED,
    current_name,
    describe_callable,
    describe_object,
    function_name,
    is_json,
    resolve_callable,
    resolve_class,
    resolve_name,
    resolve_object,
)
from alseg.images import ImageFiles
from alseg.query.uncertainty import entropy
from alseg.rows import (
    check_training_data,
    data_hstack,
    data_vstack,
    n_rows,
    retrieve_rows,
    transform_without_estimating,
)
from alseg.strategies import class_balanced, entropy_sampling, entropy_score

# -- as_query_idx (STYLE F3) --------------------------------------------------------------------


@pytest.mark.parametrize(
    "result",
    [
        np.array([3, 7]),
        [3, 7],
        np.array([3, 7], dtype=np.uint8),
        (np.array([3, 7]), np.array([0.9, 0.8])),  # later modAL: indices and metric
        (np.array([3, 7]), np.zeros((2, 4))),  # earlier modAL: indices and instances
        ([3, 7], ["an image", "another"]),
        (np.array([3, 7]),),
    ],
)
def test_two_positions_stay_two_in_every_form(result):
    idx = as_query_idx(result)
    assert idx.tolist() == [3, 7]
    assert idx.dtype == np.intp


@pytest.mark.parametrize("result", [3, np.int64(3), np.array(3), np.array([3]), (3, "row")])
def test_one_position_becomes_an_array(result):
    assert as_query_idx(result).tolist() == [3]


@pytest.mark.parametrize("result", [np.array([0.5, 0.2]), np.zeros((2, 2), int), ["a"], None])
def test_what_holds_no_positions_is_refused(result):
    with pytest.raises(TypeError, match="query_strategy's result must be a 1-D array of integer"):
        as_query_idx(result)


@pytest.mark.parametrize(
    ("result", "match"),
    [
        ([0, 1, 2], "must be 2 positions, as asked"),
        ([0], "must be 2 positions, as asked"),
        ([1, 1], r"must be unique positions in \[0, 4\]"),
        ([0, 5], r"must be unique positions in \[0, 4\]"),
        ([-1, 0], r"must be unique positions in \[0, 4\]"),
    ],
)
def test_positions_are_checked_against_what_was_asked(result, match):
    with pytest.raises(ValueError, match=match):
        check_query_idx(np.array(result), n_pool=5, n_instances=2)


# -- call_strategy ------------------------------------------------------------------------------

EXTRAS = {"random_state": 11, "y_pool": ["a"]}


def test_extras_go_only_where_the_signature_names_them():
    def both(learner, X_pool, n_instances=1, random_state=None, y_pool=None):
        return n_instances, random_state, y_pool

    def none(learner, X_pool, **predict_kwargs):
        return predict_kwargs

    assert call_strategy(both, None, [0], extras=EXTRAS, n_instances=3) == (3, 11, ["a"])
    assert call_strategy(none, None, [0], extras=EXTRAS) == {}


def test_what_the_caller_gives_wins_over_extras():
    def strategy(learner, X_pool, n_instances=1, random_state=None):
        return random_state

    assert call_strategy(strategy, None, [0], extras=EXTRAS, random_state=5) == 5
    assert call_strategy(strategy, None, [0], 2, 6, extras=EXTRAS) == 6
    assert call_strategy(functools.partial(strategy, random_state=7), None, [0], extras=EXTRAS) == 7


def test_extras_reach_callable_objects_and_partials():
    class Strategy:
        def __call__(self, learner, X_pool, random_state=None):
            return random_state

    assert call_strategy(Strategy(), None, [0], extras=EXTRAS) == 11
    bound = functools.partial(
        lambda learner, X_pool, beta, random_state: (beta, random_state), beta=2
    )
    assert call_strategy(bound, None, [0], extras=EXTRAS) == (2, 11)


def test_wrong_arguments_fail_in_pythons_own_words():
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        call_strategy(lambda learner, X_pool, random_state=0: 0, None, [0], extras=EXTRAS, colour=1)


def test_a_builtin_without_signature_names_nothing():
    assert not accepts(dict, "random_state")


# -- names in files -----------------------------------------------------------------------------


def test_a_name_from_elsewhere_is_refused_without_an_import():
    assert "antigravity" not in sys.modules
    for name in (
        "antigravity:geohash",
        "os:system",
        "alseg_evil:f",
        "alseg",
        "alseg.calling",
        "alseg..rows:n_rows",
        "alseg.rows:n_rows.__globals__",
        "../x:y",
        "",
    ):
        with pytest.raises(
            ValueError, match="query_strategy must be the name of .* Pass query_str"
        ):
            resolve_name("query_strategy", name, "alseg")
    assert "antigravity" not in sys.modules


def test_a_name_that_was_only_imported_there_is_refused():
    # These modules have json and check_X_y, but do not define them.
    for name in (
        "alseg.files.objects:json",
        "alseg.rows:check_X_y",
        "alseg.calling:nothing",
        "alseg.nothing:at_all",
        "alseg.labels:MISSING",
    ):
        with pytest.raises(ValueError, match="something defined in alseg"):
            resolve_name("query_strategy", name, "alseg")


def test_a_strategy_is_looked_up_among_strategies_alone():
    with pytest.raises(ValueError, match="defined in alseg.strategies"):
        resolve_callable("query_strategy", {"name": "alseg.rows:n_rows"})
    found = resolve_callable("f", {"name": "alseg.rows:n_rows"}, "alseg.rows")
    assert found is n_rows


def test_a_function_is_never_called_as_a_class():
    with pytest.raises(ValueError, match="augmenter must be a class with fit"):
        resolve_object("augmenter", {"class": "alseg.rows:n_rows", "params": {}}, ("fit",))
    with pytest.raises(ValueError, match="estimator must be a class with fit, load"):
        resolve_class("estimator", "alseg.validation:EmptyPool", ("fit", "load"))


def test_a_partial_survives_as_its_name_and_keywords():
    described = describe_callable(functools.partial(n_rows, X=[1, 2]))
    assert is_json(described)
    assert resolve_callable("f", described, "alseg.rows")() == 2


def test_a_strategy_around_a_score_survives():
    around = class_balanced(functools.partial(entropy_score, aggregate="max"))
    described = describe_callable(around)
    assert is_json(described)
    again = resolve_callable("query_strategy", described)
    assert again.__name__ == around.__name__ and again.func is around.func
    assert again.keywords["score"].func is entropy_score
    assert again.keywords["score"].keywords == {"aggregate": "max"}
    described["keywords"]["score"]["callable"]["name"] = "os:system"
    with pytest.raises(ValueError, match="query_strategy must be the name of something defined in"):
        resolve_callable("query_strategy", described)


def test_what_cannot_be_found_again_has_no_name():
    def local():
        pass

    assert function_name(local) is None
    assert describe_callable(functools.partial(n_rows, X=np.zeros(2))) is None
    assert describe_callable(functools.partial(n_rows, [1])) is None


def test_an_object_survives_as_the_parameters_off_their_defaults():
    described = describe_object(MinMaxScaler(feature_range=(0, 2)))
    assert described["params"] == {"feature_range": {"tuple": [0, 2]}}
    assert is_json(described)
    again = resolve_object("scaler", described, ("fit", "transform"), package="sklearn")
    assert again.feature_range == (0, 2)
    assert describe_object(LogisticRegression(C=np.zeros(2))) is None
    assert describe_object(object()) is None


# -- containers, against modAL's own helpers ----------------------------------------------------

ROWS = np.arange(12.0).reshape(6, 2)
CONTAINERS = {
    "array": ROWS,
    "4-D array": np.arange(24.0).reshape(6, 2, 2, 1),
    "list": ROWS.tolist(),
    "list of text": list("abcdef"),
    "csr": sp.csr_matrix(ROWS),
    "coo": sp.coo_matrix(ROWS),
    "frame": pd.DataFrame(ROWS, columns=["u", "v"], index=list("qrstuv")),
}
INDICES = {
    "array": np.array([4, 0]),
    "list": [4, 0],
    "one": np.array([2]),
    "mask": np.arange(6) % 2 == 0,
    "nothing": np.array([], dtype=int),
}


def dense(rows):
    return rows.toarray() if sp.issparse(rows) else np.asarray(rows)


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("kind", CONTAINERS)
def test_rows_are_those_of_modal(kind, index):
    X, idx = CONTAINERS[kind], INDICES[index]
    rows, reference = retrieve_rows(X, idx), modal_data.retrieve_rows(X, idx)
    assert type(rows) is type(reference)
    assert np.array_equal(dense(rows), dense(reference))
    if sp.issparse(X):
        assert rows.format == X.format


@pytest.mark.parametrize("kind", ["array", "list", "csr", "frame"])
def test_a_single_row_is_that_of_modal(kind):
    rows, reference = (f(CONTAINERS[kind], 3) for f in (retrieve_rows, modal_data.retrieve_rows))
    assert np.array_equal(dense(rows), dense(reference))
    assert dense(rows).shape == dense(reference).shape


def test_rows_of_images_of_differing_sizes_and_of_paths_stay_what_they_are():
    images = [np.zeros((2, 3, 3)), np.ones((4, 5, 3)), np.ones((1, 1, 3))]
    picked = retrieve_rows(images, np.array([2, 1]))
    assert isinstance(picked, list) and picked[1] is images[1]
    files = ImageFiles(["a.png", "b.png", "c.png"])
    assert retrieve_rows(files, np.array([2, 0])).paths.tolist() == ["c.png", "a.png"]
    series = pd.Series([1, 2, 3], index=[7, 8, 9])
    assert retrieve_rows(series, [2, 0]).tolist() == [3, 1]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(0, 4))
def test_stacking_is_concatenation_for_every_kind(n, m, p, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-3, 4, (n, p)), rng.integers(-3, 4, (m, p))
    expected = np.concatenate([a, b])
    for kind in (
        np.asarray,
        sp.csr_matrix,
        sp.csc_matrix,
        sp.coo_matrix,
        pd.DataFrame,
        np.ndarray.tolist,
    ):
        stacked = data_vstack((kind(a), kind(b)))
        assert type(stacked) is type(kind(a))
        assert np.array_equal(dense(stacked), expected)
        assert n_rows(stacked) == n + m


def test_frames_keep_their_columns_and_take_bare_rows():
    frame = CONTAINERS["frame"]
    assert data_vstack((frame, frame[["v", "u"]])).to_numpy()[6].tolist() == [0.0, 1.0]
    assert data_vstack((frame, [[8.0, 9.0]])).iloc[-1].to_dict() == {"u": 8.0, "v": 9.0}
    assert data_vstack((pd.Series([1, 2]), np.array([3]))).tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"columns must be \['u', 'v'\], got \['u', 'w'\]"):
        data_vstack((frame, frame.rename(columns={"v": "w"})))


def test_stacking_images_and_files():
    small, large = np.zeros((2, 2, 3)), np.zeros((4, 4, 3))
    assert [i.shape[0] for i in data_vstack(([small, large], [large]))] == [2, 4, 4]
    files = data_vstack((ImageFiles(["a.png"]), ImageFiles(["b.png"])))
    assert isinstance(files, ImageFiles) and files.paths.tolist() == ["a.png", "b.png"]


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix, np.ndarray.tolist])
def test_rows_of_another_length_are_refused(kind):
    with pytest.raises(ValueError):
        data_vstack((kind(np.zeros((2, 2))), kind(np.zeros((2, 3)))))


def test_an_unknown_container_is_refused():
    with pytest.raises(TypeError, match="blocks must be arrays, data frames"):
        data_vstack(("ab", "cd"))


def test_side_by_side():
    a, b = ROWS, ROWS * 2
    expected = np.hstack([a, b])
    for kind in (np.asarray, sp.csr_matrix, pd.DataFrame, np.ndarray.tolist):
        assert np.array_equal(dense(data_hstack((kind(a), kind(b)))), expected)


# -- checks and pipelines -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["array", "4-D array", "list", "list of text", "csr", "frame"])
def test_training_data_of_every_kind_pass(kind):
    check_training_data(CONTAINERS[kind], [0, 1] * 3)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        check_training_data(CONTAINERS[kind], [0, 1])


def test_finiteness_is_asked_for_under_its_present_name():
    X = np.array([[1.0], [np.nan]])
    check_training_data(X, [0, 1], force_all_finite=False)
    with pytest.raises(ValueError, match="contains NaN"):
        check_training_data(X, [0, 1])


def test_ragged_images_and_files_are_counted_alone():
    ragged = [np.zeros((2, 3, 3)), np.zeros((4, 5, 3))]
    held = np.empty(2, dtype=object)
    held[:] = ragged
    for X in (ragged, held, ImageFiles(["a.png", "b.png"])):
        check_training_data(X, ["a", "b"])
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            check_training_data(X, ["a"])


def test_a_check_made_for_labels_refuses_masks():  # STYLE F2: why masks go through annotate
    with pytest.raises(ValueError, match="Found array with dim 3"):
        check_X_y(
            np.zeros((2, 4, 4, 3)),
            np.zeros((2, 4, 4), int),
            ensure_2d=False,
            allow_nd=True,
            multi_output=True,
        )


def fitted_models():
    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    pipes = [
        (name, make_pipeline(scale, LogisticRegression()))
        for name, scale in (("a", StandardScaler()), ("b", MinMaxScaler()))
    ]
    models = [
        LogisticRegression(),
        pipes[0][1],
        VotingClassifier(pipes),
        Pipeline(pipes[1][1].steps),
    ]
    return X, [model.fit(X, y) for model in models]


def test_transforming_without_estimating_is_modals():
    X, models = fitted_models()
    shapes = []
    for model in models:
        ours = transform_without_estimating(model, X)
        reference = ModalLearner(model).transform_without_estimating(X)
        assert np.array_equal(ours, reference)
        shapes.append(ours.shape[1])
    assert shapes == [2, 2, 4, 2]


def test_entropy_is_that_of_the_prediction():
    # STYLE F6: modAL 0.4.2.1 gives T / C times the mean entropy of the draws under this name.
    draws = np.array([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]])  # (T, n, C)
    assert np.allclose(entropy(draws.mean(axis=0)), [np.log(2), np.log(2)])
    wrong = 2 / 2 * scipy.stats.entropy(draws, axis=-1).mean(axis=0)
    assert np.allclose(wrong, [0, np.log(2)])  # it misses that the draws contradict each other
    proba = np.random.default_rng(0).dirichlet(np.ones(4), size=30)
    assert np.allclose(entropy(proba), scipy.stats.entropy(proba, axis=-1))


def test_names_of_before_a_move_are_todays():
    """What records and saved models of earlier versions say, by the module that held it then."""
    assert current_name("alseg.losses.JointLoss") == "alseg.training.JointLoss"
    assert (
        current_name("alseg.diversity.cover:k_center_greedy")
        == "alseg.query.diversity:k_center_greedy"
    )
    assert current_name("alseg.experiment.chains.Row") == "alseg.comparison.Row"
    assert current_name("alseg.ceal.Schedule") == "alseg.query.CEALSchedule"
    assert current_name("alseg.training.losses.JointLoss") == "alseg.training.JointLoss"
    found = resolve_callable("s", {"name": "alseg.strategies.uncertainty:entropy_sampling"})
    assert found is entropy_sampling and function_name(found) == "alseg.strategies:entropy_sampling"


@pytest.mark.parametrize("old", MOVED)
def test_the_package_that_offers_moved_names_is_there(old):
    with pytest.raises(ModuleNotFoundError):  # else a name has two homes
        importlib.import_module(f"alseg.{old}")
    assert importlib.import_module(f"alseg.{MOVED[old]}").__doc__
