"""alseg.query.diversity: each against brute force in double precision, and bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import chisquare, entropy
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from alseg.query import diversity
from alseg.query.diversity import (
    balls,
    class_context,
    clustering,
    contextual_distance,
    contextual_picks,
    cover,
    cover_degrees,
    density,
    discriminative_picks,
    distance_to_labelled,
    facility_location,
    farthest_of_groups,
    k_center_greedy,
    k_means_groups,
    k_means_picks,
    k_means_plus_plus,
    looks_unlabelled,
    odds_of_unlabelled,
    points,
    prob_cover,
    purity_radius,
    represent_then_spread,
    representation_gain,
    typical_of_groups,
    typicality,
    typiclust,
)
from alseg.validation import EmptyPool

METRICS = ["euclidean", "cosine"]


def clusters(rng, n, d=8, n_groups=6, dtype=np.float32, shift=0.0):
    centres = rng.normal(scale=4, size=(n_groups, d))
    X = centres[rng.integers(n_groups, size=n)] + rng.normal(size=(n, d))
    return (X + shift).astype(dtype)


def brute_k_center(X, n_instances, labelled=None, metric="euclidean"):
    X = np.asarray(X, dtype=np.float64)
    if labelled is None:
        U = X / np.linalg.norm(X, axis=1, keepdims=True) if metric == "cosine" else X
        picks = [int(((U - U.mean(axis=0)) ** 2).sum(axis=1).argmin())]
        near = cdist(X, X[picks], metric)[:, 0]
    else:
        picks, near = [], cdist(X, np.asarray(labelled, dtype=np.float64), metric).min(axis=1)
    while len(picks) < n_instances:
        near[picks] = -1
        picks.append(int(near.argmax()))
        near = np.minimum(near, cdist(X, X[picks[-1:]], metric)[:, 0])
    return np.array(picks)


# -- core-set --


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("with_labelled", [True, False])
def test_k_center_picks_are_those_of_brute_force(rng, metric, dtype, with_labelled):
    X = clusters(rng, 700, dtype=dtype)
    labelled = clusters(rng, 30, dtype=dtype) if with_labelled else None
    picks = k_center_greedy(X, 60, labelled, metric)
    np.testing.assert_array_equal(picks, brute_k_center(X, 60, labelled, metric))


@pytest.mark.parametrize("shift", [0.0, 1e2, 1e4, 1e6])
def test_k_center_is_exact_far_from_the_origin(rng, shift):
    X, labelled = clusters(rng, 600, shift=shift), clusters(rng, 20, shift=shift)
    expected = brute_k_center(X, 50, labelled)
    np.testing.assert_array_equal(k_center_greedy(X, 50, labelled), expected)


def test_k_center_is_exact_beside_an_outlier_that_hides_all_else(rng):
    X = clusters(rng, 500)
    X[17] = 1e6  # in float32 the expanded square of the others is noise beside its length
    np.testing.assert_array_equal(k_center_greedy(X, 40), brute_k_center(X, 40))


def test_k_center_in_narrow_cone(rng):
    X = (1 + 1e-3 * rng.normal(size=(300, 16))).astype(np.float32)
    np.testing.assert_array_equal(
        k_center_greedy(X, 30, metric="cosine"), brute_k_center(X, 30, metric="cosine")
    )


def test_k_center_of_all_and_of_a_small_top(rng, monkeypatch):
    monkeypatch.setattr(cover, "CHUNK", 16)  # many rounds of few
    X = clusters(rng, 300)
    np.testing.assert_array_equal(k_center_greedy(X, 300), brute_k_center(X, 300))


@pytest.mark.parametrize("metric", METRICS)
def test_k_center_reads_blocks_and_memory_maps(rng, metric, monkeypatch, tmp_path):
    X = clusters(rng, 400)
    expected = brute_k_center(X, 30, X[:5], metric)
    monkeypatch.setattr(points, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(points, "KEEP_BYTES", 0)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(k_center_greedy(mapped, 30, mapped[:5], metric), expected)
    np.testing.assert_array_equal(k_center_greedy(torch.as_tensor(X), 30, X[:5], metric), expected)


def test_k_center_duplicates_take_their_turn_last(rng):
    X = np.repeat(clusters(rng, 40), 5, axis=0)
    picks = k_center_greedy(X, 200)
    assert sorted(picks) == list(range(200))
    assert len(np.unique(X[picks[:40]], axis=0)) == 40
    assert (np.diff(picks[40:]) > 0).all()  # nothing left to tell them by: in their order
    assert k_center_greedy(np.ones((9, 3)), 9).tolist() == list(range(9))


def test_k_center_first():
    X = [[0.0], [1.0], [5.0], [9.0]]
    assert k_center_greedy(X, 3, first=1).tolist() == [1, 3, 2]
    assert k_center_greedy(X, 4, [[9.0]], first=1).tolist() == [1, 2, 0, 3]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.floats(-1e4, 1e4), st.sampled_from([np.float32, np.float64]))
def test_k_center_does_not_depend_on_place_or_order(seed, shift, dtype):
    rng = np.random.default_rng(seed)
    X = rng.integers(-512, 512, size=(60, 3)).astype(dtype)  # sums below are exact
    X = np.unique(X, axis=0)
    order = rng.permutation(len(X))
    first = int(rng.integers(len(X)))
    picks = k_center_greedy(X, 12, first=first)
    np.testing.assert_array_equal(k_center_greedy(X + dtype(round(shift)), 12, first=first), picks)
    moved = order[k_center_greedy(X[order], 12, first=int(np.flatnonzero(order == first)[0]))]
    away = cdist(X, X)

    if len(np.unique(away)) > len(X) * (len(X) - 1) // 2:  # no two alike
        np.testing.assert_array_equal(moved, picks)


@pytest.mark.parametrize("metric", METRICS)
def test_distance_to_labelled(rng, metric):
    X, labelled = clusters(rng, 200, shift=100), clusters(rng, 9, shift=100)
    X[3] = labelled[4]
    expected = cdist(X.astype(float), labelled.astype(float), metric).min(axis=1)
    found = distance_to_labelled(X, labelled, metric)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-12)
    assert found[3] <= 1e-15
    expected = np.linalg.norm(X.astype(float) - X.mean(axis=0, dtype=float), axis=1)
    np.testing.assert_allclose(distance_to_labelled(X), expected, rtol=1e-4)


def test_zero_rows_under_the_cosine_are_alike_and_far_from_all_others(rng):
    X = rng.normal(size=(6, 4))
    X[[2, 5]] = 0
    away = distance_to_labelled(X, np.zeros((1, 4)), "cosine")
    np.testing.assert_allclose(away, [1, 1, 0, 1, 1, 0], atol=1e-12)
    np.testing.assert_allclose(distance_to_labelled(X, X[:1], "cosine")[[2, 5]], 1)
    assert len({*k_center_greedy(X, 6, metric="cosine").tolist()}) == 6
    assert np.isfinite(density(X)).all()
    assert density(X)[2] == pytest.approx((4 * 0.5 + 2 * 1) / 6)


# -- k-means++ --


def test_k_means_plus_plus_draws_by_the_squared_distance():
    X = np.array([[0.0], [1.0], [2.0], [4.0]])
    counts = np.zeros(4)
    rng = np.random.default_rng(0)
    for _ in range(1500):
        counts[k_means_plus_plus(X, 1, labelled=[[0.0]], random_state=rng)[0]] += 1
    assert counts[0] == 0
    assert chisquare(counts[1:], 1500 * np.array([1, 4, 16]) / 21).pvalue > 1e-3
    counts = np.zeros(4)
    for _ in range(1500):
        pick = k_means_plus_plus(X, 1, labelled=[[0.0]], weights=[9, 4, 2, 0], random_state=rng)
        counts[pick[0]] += 1
    assert chisquare(counts[1:3], 1500 * np.array([4, 8]) / 12).pvalue > 1e-3 and counts[3] == 0


def test_k_means_plus_plus_first_two_picks_have_the_right_chance():
    X = np.array([[0.0], [1.0], [3.0]])
    rng = np.random.default_rng(1)
    counts = np.zeros((3, 3))
    for _ in range(2500):
        a, b = k_means_plus_plus(X, 2, random_state=rng)
        counts[a, b] += 1
    chance = np.array([[0, 1, 9], [1, 0, 4], [9, 4, 0]]) / np.array([[10], [5], [13]]) / 3
    off = ~np.eye(3, dtype=bool)
    assert chisquare(counts[off], 2500 * chance[off]).pvalue > 1e-3


def test_k_means_plus_plus_with_duplicates(rng):
    X = np.repeat(clusters(rng, 30, shift=1000), 4, axis=0)
    picks = k_means_plus_plus(X, 120, random_state=0)
    assert sorted(picks) == list(range(120))
    assert len(np.unique(picks[:30] // 4)) == 30
    again = k_means_plus_plus(X, 120, random_state=0)
    np.testing.assert_array_equal(picks, again)


# -- facility location --


def brute_facility(X, n_instances, labelled, metric, weights, candidates):
    away = cdist(X, X, metric)
    near = np.full(len(X), np.inf)
    if labelled is not None:
        near = cdist(X, labelled, metric).min(axis=1)
    picks = []
    for _ in range(n_instances):
        cost = np.array([weights @ np.minimum(near, away[:, c]) for c in candidates])
        for place, c in enumerate(candidates):
            if c in picks:
                cost[place] = np.inf
        tied = np.flatnonzero(cost <= cost.min() + 1e-9)
        picks.append(int(candidates[tied[near[candidates[tied]].argmax()]]))
        near = np.minimum(near, away[:, picks[-1]])
    return np.array(picks)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("with_labelled", [True, False])
def test_facility_location_is_plain_greedy(rng, metric, with_labelled):
    X = clusters(rng, 320, dtype=np.float64)
    labelled = clusters(rng, 7, dtype=np.float64) if with_labelled else None
    weights = rng.random(320)
    candidates = rng.permutation(320)[:150]
    expected = brute_facility(X, 25, labelled, metric, weights, candidates)
    picks = facility_location(X, 25, labelled, metric, weights, candidates)
    np.testing.assert_array_equal(picks, expected)


def test_facility_location_evaluates_few_candidates_again(rng, monkeypatch):
    X = clusters(rng, 400, dtype=np.float64)
    counted = []
    sums = cover.representation_sums

    def count(points_, candidates, *rest):
        counted.append(len(candidates))
        return sums(points_, candidates, *rest)

    monkeypatch.setattr(cover, "representation_sums", count)
    facility_location(X, 40, X[:5], "euclidean")
    assert sum(counted) < 10 * 400  # plain greedy: 40 * 400


def test_representation_gain_is_the_drop_of_the_mean_distance(rng):
    X, labelled = clusters(rng, 90, dtype=np.float64), clusters(rng, 5, dtype=np.float64)
    for metric in METRICS:
        near = cdist(X, labelled, metric).min(axis=1)
        after = np.minimum(near[:, None], cdist(X, X, metric)).mean(axis=0)
        np.testing.assert_allclose(representation_gain(X, labelled, metric), near.mean() - after)


# -- ProbCover --


def brute_degrees(X, radius, open_):
    return (cdist(X, X) < radius)[:, open_].sum(axis=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_prob_cover_takes_the_largest_degree_each_time(rng, dtype):
    X, labelled, radius = clusters(rng, 400, dtype=dtype), clusters(rng, 5, dtype=dtype), 3.0
    picks = prob_cover(X, 30, radius, labelled, random_state=0)
    X64 = X.astype(float)
    open_ = ~(cdist(X64, labelled.astype(float)) < radius).any(axis=1)
    np.testing.assert_array_equal(
        cover_degrees(X, radius, labelled), brute_degrees(X64, radius, open_)
    )
    for pick in picks:
        degree = brute_degrees(X64, radius, open_)
        assert open_.any() and degree[pick] == degree.max()
        open_ &= ~(cdist(X64, X64[[pick]])[:, 0] < radius)


def test_prob_cover_counts_are_exact_at_the_radius(rng):
    """Points on a lattice lie exactly at the radius: rounding must not decide."""
    X = (np.stack(np.meshgrid(np.arange(9), np.arange(9)), -1).reshape(-1, 2) + 4096.0).astype(
        np.float32
    )
    expected = (cdist(X.astype(float), X.astype(float)) < 5.0).sum(axis=1)
    np.testing.assert_array_equal(cover_degrees(X, 5.0), expected)


def test_prob_cover_goes_on_with_the_farthest_once_all_is_covered(rng):
    X = clusters(rng, 50)
    picks = prob_cover(X, 50, radius=1e3, random_state=0)
    assert sorted(picks) == list(range(50))
    away = cdist(X, X[picks[:1]])[:, 0]
    assert picks[1] == away.argmax()
    assert prob_cover(X, 3, np.inf, random_state=0)[1] != picks[0]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n_groups", [1, 3, 40])
def test_prob_cover_counts_across_groups_of_points(rng, metric, n_groups, monkeypatch):
    """Groups that are too far apart are not compared, and none that is not."""
    monkeypatch.setattr(balls, "GROUP_SIZE", 13)
    monkeypatch.setattr(points, "BLOCK_BYTES", 40_000)  # several blocks of others
    X = clusters(rng, 700, n_groups=n_groups, dtype=np.float64, shift=3)
    X[100:130] = X[7]  # a group of nothing but one point
    X[::50] *= 20  # outliers
    X[3] = 0
    away = cdist(X, X, metric)
    if metric == "cosine":  # a zero row is at distance 1 from all but itself
        away[3], away[:, 3] = 1, 1
        away[3, 3] = 0
    open_ = rng.random(700) < 0.7
    for share in (0.002, 0.05, 0.6):
        radius = np.quantile(away[away > 1e-9], share) * (1 + 1e-6)
        pairs = points.Points(X, metric)
        found = balls._Balls(pairs, 2 * radius if metric == "cosine" else radius**2)
        inside = away < radius
        np.testing.assert_array_equal(found.degrees(open_), inside[:, open_].sum(axis=1))
        some = rng.permutation(700)[:300]
        np.testing.assert_array_equal(found.counts(some), inside[:, some].sum(axis=1))


def test_prob_cover_compares_few_of_points_in_clusters(rng, monkeypatch):
    X = clusters(rng, 3000, n_groups=30) * 4
    compared = []
    pairs = balls._Balls._pairs

    def counted(self, others, mine, *centres):
        compared.append(len(others) * len(mine))
        return pairs(self, others, mine, *centres)

    monkeypatch.setattr(balls._Balls, "_pairs", counted)
    cover_degrees(X, 2.0)
    assert sum(compared) < 3000**2 / 5


def test_prob_cover_decides_ties_by_seed():
    X = np.arange(8.0)[:, None] * 10
    picks = {int(prob_cover(X, 1, 1.0, random_state=seed)[0]) for seed in range(30)}
    assert len(picks) > 4


@pytest.mark.parametrize("metric", METRICS)
def test_purity_radius_is_the_largest_on_a_fine_grid(rng, metric):
    X = clusters(rng, 120, dtype=np.float64)
    groups = KMeans(5, n_init=1, random_state=0).fit_predict(X)
    away = cdist(X, X, metric)
    impure = groups[:, None] != groups

    def purity(radius):
        return 1 - ((away < radius) & impure).any(axis=1).mean()

    for wanted in (0.5, 0.9, 0.95, 1.0):
        radius = purity_radius(X, groups, wanted, metric)
        assert purity(radius * (1 - 1e-9)) >= wanted > purity(radius * (1 + 1e-9))
    assert purity_radius(X, np.zeros(120)) == np.inf


# -- density --


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_typicality_against_nearest_neighbours(rng, dtype):
    X = clusters(rng, 300, dtype=dtype, shift=50)
    X[10:14] = X[10]  # duplicates: of their distance the expanded square keeps no digit
    X64 = X.astype(float)
    away, _ = NearestNeighbors(n_neighbors=4).fit(X64).kneighbors(X64)
    expected = 1 / (away[:, 1:].mean(axis=1) + 1e-5)
    np.testing.assert_allclose(typicality(X, 3), expected, rtol=1e-3)
    assert typicality(X, 3)[10] == pytest.approx(1e5)


def test_typicality_of_few(rng):
    assert typicality([[3.0]]).tolist() == [1.0]
    np.testing.assert_allclose(typicality([[0.0], [2.0]], 20), 0.5, rtol=1e-4)


def reference_typiclust(X, groups, n_instances, labelled_groups, k=20, smallest=6):
    """The published loop, by pairwise distances, without its failure on an empty cluster."""
    found = np.unique(groups)
    n_known = [int((labelled_groups == c).sum()) for c in found]
    size = [int((groups == c).sum()) + n for c, n in zip(found, n_known, strict=True)]
    order = sorted(
        (i for i in range(len(found)) if size[i] >= smallest), key=lambda i: (n_known[i], -size[i])
    )
    left, picks, turn = groups.copy(), [], 0
    while len(picks) < n_instances:
        members = np.flatnonzero(left == found[order[turn % len(order)]])
        turn += 1
        if not len(members):
            continue
        away = np.sort(pairwise_distances(X[members]), axis=1)
        near = max(1, min(k, len(members) // 2))
        mean = away[:, 1 : near + 1].mean(axis=1) if len(members) > 1 else np.zeros(1)
        best = members[(1 / (mean + 1e-5)).argmax()]
        picks.append(int(best))
        left[best] = -1
    return picks


def test_typiclust_against_the_published_loop(rng):
    X, labelled = clusters(rng, 300, dtype=np.float64), clusters(rng, 6, dtype=np.float64)
    groups, _ = k_means_groups(X, 15, labelled=labelled, random_state=3)
    picks = typical_of_groups(X, groups[:300], 25, groups[300:])
    assert picks.tolist() == reference_typiclust(X, groups[:300], 25, groups[300:])
    one = typiclust(X, 9, labelled, random_state=3)
    assert one.tolist() == reference_typiclust(X, groups[:300], 9, groups[300:])
    assert sorted(typiclust(X, 300, random_state=0)) == list(range(300))


def test_typiclust_asks_small_clusters_last():
    groups = np.repeat([0, 1, 2], [10, 3, 8])
    X = np.random.default_rng(0).normal(size=(21, 2))
    picks = typical_of_groups(X, groups, 21, min_cluster_size=6)
    assert groups[picks[:4]].tolist() == [0, 2, 0, 2]
    assert set(groups[picks[18:]]) == {1}


# -- k-means --


def brute_lloyd(X, centres, weights, max_iter=300):
    """From the definition; for starts at which no cluster is lost."""
    for _ in range(max_iter):
        groups = cdist(X, centres).argmin(axis=1)
        new = np.stack(
            [
                np.average(X[groups == c], axis=0, weights=weights[groups == c])
                for c in range(len(centres))
            ]
        )
        if (new == centres).all():
            break
        centres = new
    return centres, groups


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weighted", [False, True])
def test_lloyd_against_brute_force_from_one_start(rng, metric, weighted, monkeypatch):
    monkeypatch.setattr(points, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(clustering, "BLOCK_BYTES", 512)
    monkeypatch.setattr(clustering, "TOLERANCE", 0.0)
    X = clusters(rng, 330, d=3, n_groups=1, dtype=np.float64, shift=5)
    weights = rng.random(330) if weighted else np.ones(330)
    rows = X / np.linalg.norm(X, axis=1, keepdims=True) if metric == "cosine" else X
    sets = points.pair(X[:250], X[250:], metric, keep=False)
    start = rows[::30]
    expected, expected_groups = brute_lloyd(rows, start, weights)
    centres, groups = clustering.lloyd(sets, start - sets[0].mean, 11, weights)
    np.testing.assert_array_equal(groups, expected_groups)
    np.testing.assert_allclose(centres + sets[0].mean, expected, atol=1e-12)


def inertia(X, groups):
    X = X.astype(np.float64)
    return sum(((X[groups == c] - X[groups == c].mean(axis=0)) ** 2).sum() for c in set(groups))


@pytest.mark.parametrize("n_groups", [pytest.param(1, marks=pytest.mark.slow), 12])
def test_k_means_is_as_good_as_scikit_learn_s(rng, n_groups, monkeypatch):
    monkeypatch.setattr(clustering, "MIN_SAMPLE", 400)  # a start from a third of the points
    X = clusters(rng, 1200, n_groups=n_groups, shift=100)
    ours = [inertia(X, k_means_groups(X, 12, random_state=s)[0]) for s in range(60)]
    theirs = [inertia(X, KMeans(12, n_init=1, random_state=s).fit_predict(X)) for s in range(60)]
    assert np.mean(ours) < 1.06 * np.mean(theirs)  # three standard errors; random starts: 1.5


def test_candidates_for_a_start_follow_the_distances_of_the_time():
    """Drawn many at a time, they are kept by what has become of their chance since."""
    rng, rows = np.random.default_rng(0), np.arange(6.0)[:, None]
    sq, weights = rows[:, 0] ** 2, np.array([1.0, 2.0, 1.0, 1.0, 1.0, 3.0])
    near, lower = np.array([0.0, 1, 4, 9, 16, 25]), np.array([0.0, 1, 2, 0, 1, 0.5])
    counts = np.zeros(6)
    for _ in range(4000):
        mine = near.copy()
        candidates = clustering._candidates(rows, sq, weights, mine, rng)
        _, away = next(candidates)
        mine[:] = lower  # while others are drawn already
        counts[next(candidates)[0]] += 1
        assert (away >= 0).all()
    expected = weights * lower / (weights @ lower)
    np.testing.assert_allclose(counts / 4000, expected, atol=0.03)
    mine[:] = 0
    assert next(candidates, None) is None


@pytest.mark.parametrize("metric", METRICS)
def test_k_means_groups_labelled_as_if_one_array(rng, metric, tmp_path, monkeypatch):
    monkeypatch.setattr(clustering, "TOLERANCE", 0.0)
    X, labelled = clusters(rng, 300, dtype=np.float64), clusters(rng, 40, dtype=np.float64)
    weights = rng.random(340)
    groups, away = k_means_groups(X, 9, weights, metric, 5, labelled)
    both = np.concatenate([X, labelled])
    one_groups, one_away = k_means_groups(both, 9, weights, metric, random_state=5)
    np.testing.assert_array_equal(groups, one_groups)
    np.testing.assert_allclose(away, one_away, atol=1e-12)
    np.save(tmp_path / "X.npy", X)
    monkeypatch.setattr(points, "BLOCK_BYTES", 4096)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    again, _ = k_means_groups(mapped, 9, weights, metric, 5, labelled)
    np.testing.assert_array_equal(groups, again)
    X[7] = labelled[3] = 0  # no direction: alike, and not in either array alone
    groups, _ = k_means_groups(X, 9, weights, metric, 5, labelled)
    assert groups[7] == groups[303]


def test_lloyd_computes_distances_to_centres_that_moved_alone(rng, monkeypatch):
    X, computed = clusters(rng, 2000, n_groups=30, dtype=np.float64), []
    nearer = clustering._nearer

    def counted(away, *others):
        computed.append(away.size)
        nearer(away, *others)

    monkeypatch.setattr(clustering, "TOLERANCE", 0.0)
    monkeypatch.setattr(clustering, "_nearer", counted)
    start = X[:60]
    sets = [points.Points(X)]
    _, groups = clustering.lloyd(sets, start - sets[0].mean, 60)
    n_computed, computed[:] = sum(computed), []
    np.testing.assert_array_equal(groups, brute_lloyd(X, start, np.ones(2000))[1])
    n_passes = 0
    assign = clustering._assign

    def all_changed(*arguments):
        nonlocal n_passes
        n_passes += 1
        return assign(*arguments[:-1], np.ones(60, bool))

    monkeypatch.setattr(clustering, "_assign", all_changed)
    _, again = clustering.lloyd(sets, start - sets[0].mean, 60)
    np.testing.assert_array_equal(groups, again)
    assert sum(computed) == n_passes * 2000 * 60 and n_computed < 0.8 * sum(computed)


def test_a_lost_cluster_starts_again_at_the_farthest_point():
    X = np.array([[0.0], [1.0], [2.0], [9.0], [30.0]])
    sets = [points.Points(X)]
    start = np.array([[1.0], [500.0]]) - sets[0].mean  # nothing is near 500
    centres, groups = clustering.lloyd(sets, start, 2)
    np.testing.assert_allclose(centres[:, 0] + sets[0].mean, [3, 30])
    assert groups.tolist() == [0, 0, 0, 0, 1]
    # by what it adds to the sum: 9 x 8^2 is more than 0.1 x 29^2
    centres, groups = clustering.lloyd(sets, start, 2, np.array([1, 1, 1, 9, 0.1]), max_iter=1)
    assert groups.tolist() == [0, 0, 0, 1, 1]


def test_k_means_groups_with_duplicates_and_of_all(rng):
    X = np.repeat(clusters(rng, 5, shift=1000), 4, axis=0)
    groups, away = k_means_groups(X, 12, random_state=0)
    assert len(set(groups.tolist())) == 5 and (away < 1e-6).all()
    assert (groups.reshape(5, 4) == groups[::4, None]).all()
    X = clusters(rng, 30)
    for n_clusters in (30, 99):
        groups, away = k_means_groups(X, n_clusters, random_state=0)
        assert sorted(groups) == list(range(30)) and (away == 0).all()
    groups, away = k_means_groups(np.zeros((4, 2)), 3, random_state=0)
    assert len(set(groups.tolist())) == 1 and (away == 0).all()


def test_k_means_start_sees_a_few_heavy_points_among_many_light_ones(rng, monkeypatch):
    monkeypatch.setattr(clustering, "MIN_SAMPLE", 100)
    X = rng.normal(size=(3000, 2))
    weights = np.full(3000, 1e-6)
    heavy = np.array([5, 1500, 2999])
    X[heavy] = [[50, 0], [-50, 0], [0, 50]]
    weights[heavy] = 1
    groups, away = k_means_groups(X, 4, weights, random_state=0)
    assert len(set(groups[heavy].tolist())) == 3 and away[heavy].max() < 1
    # points without weight belong to a cluster, and move no centre
    weights[:2900] = 0
    weights[heavy] = 1
    groups, away = k_means_groups(X, 3, weights, random_state=0)
    np.testing.assert_allclose(away[heavy], 0, atol=1e-2)
    assert len(set(groups.tolist())) == 3
    with pytest.raises(ValueError, match=r"weights must be of shape \(3005,\)"):
        k_means_groups(X, 3, weights, labelled=X[:5])


@pytest.mark.parametrize("metric", METRICS)
def test_k_means_picks_are_the_nearest_to_the_centres(rng, metric):
    X = clusters(rng, 150, dtype=np.float64)
    weights = rng.random(150)
    groups, away = k_means_groups(X, 6, weights, metric, random_state=1)
    picks = k_means_picks(X, 6, weights, metric, random_state=1)
    rows = X / np.linalg.norm(X, axis=1, keepdims=True) if metric == "cosine" else X
    for group in range(6):
        mine = groups == group
        centre = np.average(rows[mine], axis=0, weights=weights[mine])
        gap = ((rows - centre) ** 2).sum(axis=1)
        np.testing.assert_allclose(away[mine], gap[mine], atol=1e-9)
        assert np.flatnonzero(mine)[gap[mine].argmin()] in picks
    mass = [weights[groups == groups[p]].sum() for p in picks]
    assert mass == sorted(mass, reverse=True)


def test_k_means_picks_with_more_clusters_than_distinct_points(rng):
    X = np.repeat(clusters(rng, 4), 5, axis=0)
    picks = k_means_picks(X, 12, random_state=0)
    assert len(set(picks.tolist())) == 12 and len(set((picks[:4] // 5).tolist())) == 4
    assert sorted(k_means_picks(X[:3] * 0, 3, random_state=0)) == [0, 1, 2]


def test_density_is_the_mean_similarity(rng):
    X = clusters(rng, 80, dtype=np.float64)
    np.testing.assert_allclose(density(X), (2 - cdist(X, X, "cosine")).mean(axis=1) / 2)
    expected = (1 / (1 + cdist(X, X))).mean(axis=1)
    np.testing.assert_allclose(density(X, "euclidean"), expected, rtol=1e-6)


def test_farthest_of_groups_takes_the_diameter_of_each(rng):
    X = clusters(rng, 60, n_groups=3, dtype=np.float64)
    groups, _ = k_means_groups(X, 3, random_state=2)
    picks = farthest_of_groups(X, 6, random_state=2)
    for group in range(3):
        mine = np.flatnonzero(groups == group)
        away = cdist(X[mine], X[mine])
        i, j = np.unravel_index(away.argmax(), away.shape)
        assert {mine[i], mine[j]} <= set(picks)
    assert len(farthest_of_groups(X, 5, random_state=2)) == 5
    assert len(set(farthest_of_groups(X[:4], 4, random_state=0).tolist())) == 4
    assert len(set(farthest_of_groups(np.zeros((5, 2)), 5, random_state=0).tolist())) == 5


def test_represent_then_spread_is_both(rng):
    X = clusters(rng, 100, dtype=np.float64)
    picks = represent_then_spread(X, 10)
    np.testing.assert_array_equal(picks[:7], facility_location(X, 7))
    rest = np.setdiff1d(np.arange(100), picks[:7])
    expected = rest[k_center_greedy(X[rest], 3, X[picks[:7]], "cosine")]
    np.testing.assert_array_equal(picks[7:], expected)
    np.testing.assert_array_equal(
        represent_then_spread(X, 4, X[:3], share=0), k_center_greedy(X, 4, X[:3], "cosine")
    )


# -- contextual diversity --


def brute_context(proba):
    n = len(proba)
    flat = proba.reshape(n, -1)
    predicted, weight = flat.argmax(axis=0), entropy(flat, axis=0)
    rows = [
        np.average(flat[:, predicted == c], axis=1, weights=weight[predicted == c])
        if (predicted == c).any()
        else np.zeros(n)
        for c in range(n)
    ]
    return np.stack(rows)


def random_proba(rng, n=4):
    return rng.dirichlet(np.full(n, 0.5), size=(6, 5)).transpose(2, 0, 1)


def test_class_context_and_distance_against_scipy(rng):
    contexts = [class_context(random_proba(rng)) for _ in range(7)]
    for _ in range(7):
        proba = random_proba(rng)
        np.testing.assert_allclose(class_context(proba), brute_context(proba), atol=1e-9)
    one_class = class_context(np.stack([np.full((3, 3), 0.9), np.full((3, 3), 0.1)]))
    np.testing.assert_allclose(one_class, [[0.9, 0.1], [0, 0]])
    contexts[2][1] = 0  # a class that the image does not show
    found = contextual_distance(contexts, contexts[:3])
    for i in range(7):
        for j in range(3):
            total = 0
            for p, q in zip(contexts[i], contexts[j], strict=True):
                if p.any() and q.any():
                    total += (entropy(p, q) + entropy(q, p)) / 2
            assert found[i, j] == pytest.approx(total / 4, abs=1e-9)


def test_class_context_of_certain_pixels():
    proba = np.zeros((2, 1, 4))
    proba[0, 0, :3], proba[1, 0, 3] = 1, 1
    np.testing.assert_allclose(class_context(proba), np.eye(2))


def test_contextual_picks_are_k_center_greedy(rng):
    contexts = np.array([class_context(random_proba(rng)) for _ in range(40)])
    away = contextual_distance(contexts, contexts)
    near, expected = away[:, :3].min(axis=1), []
    for _ in range(10):
        expected.append(int(near.argmax()))
        near = np.minimum(near, away[:, expected[-1]])
        near[expected] = -1
    assert contextual_picks(contexts, 10, contexts[:3]).tolist() == expected
    assert contextual_picks(contexts, 1)[0] == away.mean(axis=1).argmin()
    assert sorted(contextual_picks(contexts, 40)) == list(range(40))


# -- labelled or not --


def test_looks_unlabelled_against_a_classifier_by_hand(rng):
    X, labelled = clusters(rng, 60, dtype=np.float64), clusters(rng, 20, dtype=np.float64)
    model = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
    )
    model.fit(np.vstack([X, labelled]), np.repeat([1, 0], [60, 20]))
    found = looks_unlabelled(X, labelled)
    np.testing.assert_allclose(found, model.predict_proba(X)[:, 1], rtol=1e-3)
    odds = odds_of_unlabelled(X, labelled)
    np.testing.assert_allclose(odds, np.exp(model.decision_function(X)), rtol=1e-3)
    one = discriminative_picks(X, 5, labelled, n_batches=1)
    np.testing.assert_array_equal(one, np.argsort(-model.predict_proba(X)[:, 1])[:5])


def test_discriminative_picks_do_not_all_come_from_one_place(rng):
    X = np.concatenate([rng.normal(size=(40, 2)) * 0.1 + c for c in ([0, 0], [6, 0], [0, 6])])
    picks = discriminative_picks(X, 6, X[:5], n_batches=6, random_state=0)
    assert {1, 2} <= set((picks // 40).tolist())
    assert sorted(discriminative_picks(X, 120, X[:5])) == list(range(120))
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(5)
    a, b = (discriminative_picks(X, 4, X[:5], 2, forest, random_state=7) for _ in range(2))
    np.testing.assert_array_equal(a, b)


# -- bad input --

CALLS = {
    "k_center_greedy": lambda X, n: k_center_greedy(X, n),
    "k_center_greedy(cosine)": lambda X, n: k_center_greedy(X, n, metric="cosine"),
    "k_means_plus_plus": lambda X, n: k_means_plus_plus(X, n, random_state=0),
    "k_means_picks": lambda X, n: k_means_picks(X, n, random_state=0),
    "facility_location": lambda X, n: facility_location(X, n),
    "prob_cover": lambda X, n: prob_cover(X, n, 1.0, random_state=0),
    "typiclust": lambda X, n: typiclust(X, n, random_state=0),
    "farthest_of_groups": lambda X, n: farthest_of_groups(X, n, random_state=0),
    "represent_then_spread": lambda X, n: represent_then_spread(X, n),
    "discriminative_picks": lambda X, n: discriminative_picks(X, n, np.zeros((1, 3))),
}


@pytest.mark.parametrize("name", CALLS)
def test_bad_input_is_one_clear_error(rng, name):
    run, X = CALLS[name], rng.normal(size=(6, 3))
    for bad in (np.nan, np.inf):
        Y = X.copy()
        Y[4, 1] = bad
        with pytest.raises(ValueError, match="finite"):
            run(Y, 2)
    with pytest.raises(ValueError, match=r"n_instances must be in \[1, 6\]"):
        run(X, 7)
    with pytest.raises(EmptyPool, match="empty"):
        run(X[:0], 1)
    with pytest.raises(ValueError, match=r"of shape \(n_samples, n_features\)"):
        run(X[..., None], 2)
    before = X.copy()
    for n in (1, 6):
        assert len(set(run(X, n).tolist())) == n
    assert len(set(run(np.zeros((6, 3)), 6).tolist())) == 6  # nothing tells them apart
    assert run(X[:1], 1).tolist() == [0]
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("name", CALLS)
def test_picks_repeat_and_leave_the_global_state_alone(rng, name):
    X = clusters(rng, 50, d=3)
    state = np.random.get_state()[1].copy()
    np.testing.assert_array_equal(CALLS[name](X, 7), CALLS[name](X, 7))
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_bad_options():
    X = np.eye(4)
    with pytest.raises(ValueError, match="radius must be > 0"):
        prob_cover(X, 1, 0)
    with pytest.raises(ValueError, match="purity must be > 0 and <= 1"):
        purity_radius(X, [0, 0, 1, 1], 0)
    with pytest.raises(ValueError, match=r"labelled must be of shape \(n_labelled, 4\)"):
        k_center_greedy(X, 1, np.eye(3))
    with pytest.raises(ValueError, match="labelled must be finite"):
        k_center_greedy(X, 1, np.full((1, 4), np.nan))
    with pytest.raises(ValueError, match="metric must be one of"):
        k_center_greedy(X, 1, metric="cosin")
    with pytest.raises(ValueError, match="weights must be finite, not negative"):
        k_means_plus_plus(X, 1, weights=[-1, 1, 1, 1])
    with pytest.raises(ValueError, match="candidates must be different positions"):
        facility_location(X, 1, candidates=[0, 0])
    with pytest.raises(ValueError, match=r"candidates must be in \[0, 3\]"):
        facility_location(X, 1, candidates=[4])
    with pytest.raises(ValueError, match="labelled must be at least one row"):
        looks_unlabelled(X, X[:0])
    with pytest.raises(TypeError, match="classifier must be with `predict_proba`"):
        looks_unlabelled(X, X, classifier=StandardScaler())
    with pytest.raises(TypeError, match="X must be numbers"):
        density([["a"]])
    with pytest.raises(ValueError, match="small enough to be squared"):
        density(np.full((2, 2), 1e200))
    with pytest.raises(ValueError, match=r"contexts must be of shape \(n, C, C\)"):
        contextual_picks(np.ones((3, 2)), 1)
    assert sorted(diversity.__all__) == diversity.__all__
