"""Committee and CommitteeRegressor: modAL's as reference, hand-worked values elsewhere."""

import copy
import pickle

import modAL.disagreement as modal_disagreement
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from modAL.models import ActiveLearner as ModalLearner
from modAL.models import Committee as ModalCommittee
from modAL.models import CommitteeRegressor as ModalRegressor
from modAL.uncertainty import uncertainty_sampling
from scipy.stats import entropy
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version

from alseg.learner.committee import Committee, CommitteeRegressor
from alseg.learner.loop import ActiveLearner
from alseg.learner.optimizing import BayesianOptimizer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3)) + np.repeat(np.eye(3) * 2, 20, axis=0)
Y = np.repeat([0, 1, 2], 20)
POOL = RNG.normal(size=(40, 3))
STARTS = [np.r_[0:6, 20:26, 40:46], np.r_[6:12, 26:32, 46:52], np.r_[12:18, 32:38]]


def members(learner_class, starts=STARTS, **options):
    models = [LogisticRegression(), KNeighborsClassifier(3), GaussianNB()]
    return [
        learner_class(model, X_training=X[i], y_training=Y[i], **options)
        for model, i in zip(models, starts, strict=True)
    ]


@pytest.fixture
def pair():
    """Ours and modAL's of the same members; the third knows two of the three classes."""
    return Committee(members(ActiveLearner)), ModalCommittee(members(ModalLearner))


def test_votes_and_probabilities_are_modals_with_an_unknown_class(pair):
    ours, reference = pair
    assert np.array_equal(ours.classes_, reference.classes_)
    assert ours.n_classes_ == reference.n_classes_ == 3
    assert len(ours) == len(reference) == 3 and list(ours) == ours.learner_list
    for method in ("vote", "vote_proba", "predict_proba", "predict"):
        assert np.allclose(getattr(ours, method)(POOL), getattr(reference, method)(POOL)), method
    assert (ours.vote_proba(POOL)[:, 2, 2] == 0).all()
    assert ours.score(X, Y) == reference.score(X, Y)
    assert np.array_equal(ours.transform_without_estimating(POOL), np.hstack([POOL] * 3))


@pytest.mark.parametrize(
    "name", ["vote_entropy_sampling", "consensus_entropy_sampling", "max_disagreement_sampling"]
)
def test_modals_disagreement_strategies_pick_the_same(pair, name):
    strategy = getattr(modal_disagreement, name)
    for committee in pair:
        committee.query_strategy = strategy
    picks = [committee.query(POOL, n_instances=5) for committee in pair]
    assert np.array_equal(picks[0][0], picks[1][0])
    assert np.array_equal(picks[0][1], POOL[picks[0][0]])


def test_the_default_strategy_and_uncertainty_work(pair):
    ours, reference = pair
    assert ours.query_strategy is modal_disagreement.vote_entropy_sampling
    assert np.array_equal(ours.query(POOL)[0], reference.query(POOL)[0])
    ours.query_strategy = uncertainty_sampling
    expected = np.argmax(1 - ours.predict_proba(POOL).max(axis=1))
    assert ours.query(POOL)[0].tolist() == [expected]


def test_either_librarys_learners_sit_on_either_committee():
    ours, theirs = members(ActiveLearner), members(ModalLearner)
    assert np.allclose(Committee(theirs).vote_proba(POOL), ModalCommittee(ours).vote_proba(POOL))


def test_votes_by_hand():
    x = np.array([[0.0], [1.0], [2.0]])
    names = np.array(["a", "b", "c"])
    committee = Committee(
        [
            ActiveLearner(KNeighborsClassifier(1), X_training=x[i], y_training=names[i])
            for i in ([0, 1], [1, 2])
        ]
    )
    assert committee.vote(x).tolist() == [["a", "b"], ["b", "b"], ["b", "c"]]
    assert committee.vote_proba(x)[0].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert committee.predict(x[1:2]).tolist() == ["b"]
    disagreement = modal_disagreement.vote_entropy(committee, x)
    assert np.allclose(disagreement, [np.log(2), 0, np.log(2)])
    assert np.allclose(disagreement[0], entropy([0.5, 0.5]))


def test_teaching_works_where_modals_fails(pair):  # STYLE F1
    ours, reference = pair
    if parse_version(sklearn.__version__) >= parse_version("1.8"):
        with pytest.raises(TypeError, match="force_all_finite"):
            reference.teach(X[18:20], Y[18:20])
    sizes = [len(learner.y_training) for learner in ours]
    assert ours.teach(X[58:], Y[58:]) is None
    assert [len(learner.y_training) for learner in ours] == [n + 2 for n in sizes]
    for learner, start in zip(ours, STARTS, strict=True):
        again = clone(learner.estimator).fit(X[np.r_[start, 58, 59]], Y[np.r_[start, 58, 59]])
        assert np.allclose(learner.predict_proba(POOL), again.predict_proba(POOL))


def test_a_class_taught_to_one_member_is_known_at_once(pair):
    ours, _ = pair
    ours.learner_list[2].teach(X[50:53], np.full(3, 3))
    assert ours.classes_.tolist() == [0, 1, 2, 3]
    assert ours.vote_proba(POOL).shape == (40, 3, 4)
    assert np.allclose(ours.predict_proba(POOL).sum(axis=1), 1)


def test_only_new_fits_to_the_new_alone(pair):
    ours, _ = pair
    new = np.r_[0:3, 20:23, 40:43]
    ours.teach(X[new], Y[new], only_new=True)
    for learner in ours:
        expected = clone(learner.estimator).fit(X[new], Y[new]).predict_proba(POOL)
        assert np.allclose(learner.predict_proba(POOL), expected)
        assert len(learner.y_training) > len(new)


def test_fit_replaces_the_training_data_and_gives_the_committee(pair):
    ours, _ = pair
    assert ours.fit(X, Y) is ours
    assert all(learner.X_training is X for learner in ours)
    assert np.allclose(
        ours.vote_proba(POOL)[:, 0], LogisticRegression().fit(X, Y).predict_proba(POOL)
    )


def test_rebag_bootstraps_each_member_from_its_own_seed():
    def bagged(seeds):
        learners = [
            ActiveLearner(GaussianNB(), X_training=X, y_training=Y, random_state=seed)
            for seed in seeds
        ]
        committee = Committee(learners)
        before = committee.vote_proba(POOL)
        committee.rebag()
        assert all(learner.X_training is X for learner in committee)
        assert not np.allclose(committee.vote_proba(POOL), before)
        return committee.vote_proba(POOL)

    state = np.random.get_state()[1].copy()
    first = bagged([1, 2])
    assert np.array_equal(first, bagged([1, 2]))
    assert not np.allclose(first[:, 0], first[:, 1])
    assert np.array_equal(np.random.get_state()[1], state)


def test_bootstrapped_fit_and_teach_reach_the_members():
    learners = [ActiveLearner(GaussianNB(), random_state=seed) for seed in (1, 2)]
    committee = Committee(learners)
    assert committee.classes_ is None and committee.n_classes_ == 0
    committee.fit(X, Y, bootstrap=True)
    proba = committee.vote_proba(POOL)
    assert not np.allclose(proba[:, 0], proba[:, 1])
    committee.teach(X[:3], Y[:3], bootstrap=True)
    assert [len(learner.y_training) for learner in committee] == [63, 63]


def test_unfitted_members_are_said_to_be():
    committee = Committee([ActiveLearner(GaussianNB()), ActiveLearner(LogisticRegression())])
    with pytest.raises(NotFittedError, match="Every learner of the committee must be fitted"):
        committee.vote_proba(POOL)
    # modAL's strategies then treat all of the pool alike
    assert committee.query(POOL, n_instances=3)[0].shape == (3,)


def test_given_classes_fix_the_columns():
    committee = Committee(members(ActiveLearner), given_classes=[2, 0, 1, 9])
    assert committee.classes_.tolist() == [0, 1, 2, 9]
    assert (committee.vote_proba(POOL)[:, :, 3] == 0).all()
    with pytest.raises(ValueError, match="given_classes must be all classes of the learners"):
        Committee(members(ActiveLearner), given_classes=[0, 1]).vote_proba(POOL)


@pytest.mark.parametrize("kind", [pd.DataFrame, sp.csr_matrix, np.ndarray.tolist])
def test_frames_sparse_matrices_and_lists(kind):
    learners = [
        ActiveLearner(m, X_training=kind(X), y_training=list(Y))
        for m in (LogisticRegression(), KNeighborsClassifier(3))
    ]
    committee = Committee(learners)
    committee.teach(kind(POOL[:2]), [0, 1])
    committee.rebag()
    assert committee.vote(kind(POOL)).shape == (40, 2)
    committee.query_strategy = lambda committee, pool, n_instances: np.arange(n_instances)
    idx, rows = committee.query(kind(POOL), n_instances=2)
    assert type(rows) is type(kind(POOL)) and idx.tolist() == [0, 1]


def test_pipelines_are_transformed_side_by_side():
    learners = [
        ActiveLearner(
            make_pipeline(StandardScaler(), GaussianNB()), X_training=X[i], y_training=Y[i]
        )
        for i in STARTS
    ]
    committee = Committee(learners, on_transformed=True)
    scaled = [StandardScaler().fit(X[i]).transform(POOL) for i in STARTS]
    assert np.allclose(committee.transform_without_estimating(POOL), np.hstack(scaled))


def test_a_strategy_that_names_it_gets_a_seed_from_the_committee():
    seen = []

    def strategy(committee, pool, n_instances=1, random_state=None):
        seen.append(random_state)
        return np.arange(n_instances)

    for _ in range(2):
        committee = Committee(members(ActiveLearner), strategy, random_state=3)
        committee.query(POOL)
        committee.query(POOL)
    assert seen[:2] == seen[2:] and seen[0] != seen[1]
    Committee(members(ActiveLearner), strategy).query(POOL)
    assert seen[-1] is None


@pytest.mark.parametrize("bad", [(), [], None, np.array([1])])
def test_a_list_of_learners_is_asked_for(bad):
    with pytest.raises(TypeError, match="learner_list must be a list of at least one learner"):
        Committee(bad)


def test_a_strategy_must_be_callable():
    with pytest.raises(TypeError, match="query_strategy must be callable, got 'entropy'"):
        Committee(members(ActiveLearner), "entropy")


def test_copies_and_pickles_answer_alike(pair):
    ours, _ = pair
    for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), clone(ours)):
        assert again.learner_list[0] is not ours.learner_list[0]
        assert np.array_equal(again.vote_proba(POOL), ours.vote_proba(POOL))


def test_regressors_are_modals():
    target = X @ [1.0, -2.0, 0.5]
    models = (LinearRegression(), KNeighborsRegressor(2))
    starts = (np.arange(20), np.arange(15, 50))
    ours, reference = (
        kind(
            [
                learner(clone(m), X_training=X[i], y_training=target[i])
                for m, i in zip(models, starts, strict=True)
            ]
        )
        for kind, learner in ((CommitteeRegressor, ActiveLearner), (ModalRegressor, ModalLearner))
    )
    assert np.allclose(ours.vote(POOL), reference.vote(POOL))
    assert np.allclose(ours.predict(POOL), reference.predict(POOL))
    assert np.allclose(
        ours.predict(POOL, return_std=True), reference.predict(POOL, return_std=True)
    )
    assert np.array_equal(ours.query(POOL)[0], reference.query(POOL)[0])
    ours.query_strategy = lambda regressor, pool: np.argmax(
        regressor.predict(pool, return_std=True)[1]
    )
    idx, row = ours.query(POOL)  # a single position, as in modAL's documentation
    assert row.shape == (3,)
    ours.teach(row.reshape(1, -1), target[:1])
    assert [len(learner.y_training) for learner in ours] == [21, 36]


# -- modAL's optimizer --


@pytest.mark.parametrize("acquisition", ["max_EI", "max_PI", "max_UCB"])
def test_an_optimizer_asks_and_finds_as_modals(acquisition):
    from modAL import acquisition as acquisitions
    from modAL.models import BayesianOptimizer as ModalOptimizer
    from sklearn.gaussian_process import GaussianProcessRegressor

    X = np.linspace(0, 8, 33)[:, None]
    y = np.sin(X[:, 0]) - (X[:, 0] - 4) ** 2 / 10
    strategy, known = getattr(acquisitions, acquisition), [0, 16]
    ours = BayesianOptimizer(GaussianProcessRegressor(), strategy)
    assert ours.get_max() == (None, -np.inf)
    ours.fit(X[known], y[known])
    for _ in range(4):
        # modAL's own cannot be taught on scikit-learn 1.8: it is made anew.
        theirs = ModalOptimizer(GaussianProcessRegressor(), strategy, X[known], y[known])
        idx, x = ours.query(X)
        np.testing.assert_array_equal(idx, theirs.query(X)[0])
        assert ours.y_max == theirs.y_max and ours.X_max == theirs.X_max
        ours.teach(x, y[idx])
        known.extend(np.atleast_1d(idx).tolist())
    assert ours.y_max == y[known].max() == ours.get_max()[1]
    assert clone(ours).y_max == ours.y_max
    assert BayesianOptimizer(GaussianProcessRegressor()).query_strategy is acquisitions.max_EI
