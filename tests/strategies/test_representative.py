"""Strategies of coverage and density, cold start, and where their embeddings come from."""

import functools

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from alseg import ActiveLearner, JointCAMSegmenter, strategies
from alseg.datasets import make_glands
from alseg.network.encoder import TinyEncoder
from alseg.network.joint import evaluating
from alseg.query import diversity
from alseg.query.diversity import class_context, k_center_greedy
from alseg.strategies import alps_sampling, pretrained_embedding
from alseg.strategies.embedding import embeddings_of
from alseg.testing.toys import ToyLearner, ToySegmenter, toy_images
from alseg.training.decoding import image_tensor
from alseg.training.training_data import to_unit

ARRAYS = {
    "core_set_sampling": lambda P, L, n: diversity.k_center_greedy(P, n, L),
    "facility_location_sampling": lambda P, L, n: diversity.facility_location(P, n, L),
    "k_means_sampling": lambda P, L, n: diversity.k_means_picks(P, n, random_state=0),
    "alps_sampling": lambda P, L, n: diversity.k_means_picks(P, n, random_state=0),
    "k_means_plus_plus_sampling": lambda P, L, n: diversity.k_means_plus_plus(
        P, n, L, random_state=0
    ),
    "typiclust_sampling": lambda P, L, n: diversity.typiclust(P, n, L, random_state=0),
    "fps_sampling": lambda P, L, n: diversity.farthest_of_groups(P, n, random_state=0),
    "rep_div_sampling": lambda P, L, n: diversity.represent_then_spread(P, n, L),
    "discriminative_sampling": lambda P, L, n: diversity.discriminative_picks(
        P, n, L, random_state=0
    ),
}


@pytest.fixture(scope="module")
def fitted():
    glands = make_glands(12, image_size=(32, 48), random_state=0)
    model = JointCAMSegmenter(encoder="tiny", max_epochs=2, random_state=0, device="cpu")
    return glands, model.fit(glands.images, glands.labels, glands.masks)


@pytest.fixture
def toy():
    return ToyLearner(ToySegmenter(), toy_images(4, random_state=1), ["class 0"] * 4)


@pytest.mark.parametrize("name", ARRAYS)
def test_strategies_hand_pool_and_labelled_embeddings_on(toy, name):
    X_pool = toy_images(40)
    P, L = toy.estimator.transform(X_pool), toy.estimator.transform(toy.X_training)
    picks = getattr(strategies, name)(toy, X_pool, 8, 0)
    np.testing.assert_array_equal(picks, ARRAYS[name](P, L, 8))


def test_scores_rank_the_first_pick(toy):
    X_pool = toy_images(40)
    for name in ("core_set", "facility_location", "cdal", "density_weighted"):
        score = getattr(strategies, f"{name}_score")(toy, X_pool)
        picks = getattr(strategies, f"{name}_sampling")(toy, X_pool, random_state=0)
        assert picks[0] == score.argmax()
    score = strategies.prob_cover_score(toy, X_pool, radius=0.2)
    pick = strategies.prob_cover_sampling(toy, X_pool, radius=0.2, random_state=0)[0]
    assert score[pick] == score.max() > 1
    score = strategies.discriminative_score(toy, X_pool)
    picks = strategies.discriminative_sampling(toy, X_pool, 3, 0, n_batches=1)
    np.testing.assert_array_equal(picks, np.argsort(-score)[:3])


def test_suggestive_annotation_covers_by_the_uncertain(toy):
    X_pool = toy_images(30)
    scores = strategies.entropy_score(toy, X_pool)
    picks = strategies.suggestive_annotation_sampling(
        toy, X_pool, 4, 0, score=strategies.entropy_score, n_candidates=9
    )
    candidates = np.argsort(-scores)[:9]
    pool = toy.estimator.transform(X_pool)
    np.testing.assert_array_equal(
        picks, diversity.facility_location(pool, 4, candidates=candidates)
    )
    with pytest.raises(ValueError, match="n_candidates must be >= 4"):
        strategies.suggestive_annotation_sampling(toy, X_pool, 4, n_candidates=3)
    with pytest.raises(TypeError, match="score must be a score"):
        strategies.suggestive_annotation_sampling(toy, X_pool, 4, score="entropy")


def test_density_weighting_is_a_product(toy):
    X_pool = toy_images(12)
    expected = strategies.margin_score(toy, X_pool) * strategies.density_score(toy, X_pool) ** 2
    score = functools.partial(strategies.density_weighted_score, beta=2.0)
    np.testing.assert_allclose(score(toy, X_pool, score=strategies.margin_score), expected)
    with pytest.raises(ValueError, match="must be not negative"):
        score(toy, X_pool, score=lambda learner, X: -np.ones(len(X)))


def test_cdal_compares_predicted_masks(toy):
    X_pool = toy_images(70)  # more than are held at once
    contexts = [class_context(p) for p in toy.estimator.predict_mask_proba(X_pool)]
    known = [class_context(p) for p in toy.estimator.predict_mask_proba(toy.X_training)]
    np.testing.assert_array_equal(
        strategies.cdal_sampling(toy, X_pool, 5), diversity.contextual_picks(contexts, 5, known)
    )
    with pytest.raises(TypeError, match="with `predict_mask_proba`, got LogisticRegression"):
        strategies.cdal_sampling(LogisticRegression(), X_pool)


def test_prob_cover_radius_follows_the_purity_rule(toy):
    X_pool = toy_images(40)
    P, L = toy.estimator.transform(X_pool), toy.estimator.transform(toy.X_training)
    both = np.concatenate([P, L])
    groups, _ = diversity.k_means_groups(both, 3, random_state=np.random.default_rng(0))
    radius = diversity.purity_radius(both, groups, 0.9)
    found = strategies.prob_cover_score(toy, X_pool, 0, purity=0.9)
    np.testing.assert_array_equal(found, diversity.cover_degrees(P, radius, L))
    with pytest.raises(ValueError, match="radius must be > 0"):
        strategies.prob_cover_sampling(toy, X_pool, radius=0.0)


def test_discriminative_needs_something_labelled():
    X_pool = toy_images(5)
    with pytest.raises(ValueError, match="use a cold-start strategy"):
        strategies.discriminative_sampling(ToySegmenter(), X_pool)


# -- embeddings --


def test_embedding_by_name_array_and_callable(toy):
    X_pool = toy_images(6)
    P, L = toy.estimator.transform(X_pool), toy.estimator.transform(toy.X_training)

    def mean_colour(X):
        return np.array([x.mean(axis=(0, 1)) for x in X])

    for embedding, expected in {
        None: (P, L),
        "encoder": (P, L),
        "cam": tuple(toy.estimator.transform(X, kind="cam") for X in (X_pool, toy.X_training)),
        mean_colour: (mean_colour(X_pool), mean_colour(toy.X_training)),
    }.items():
        found = embeddings_of(toy, X_pool, embedding)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
    pool, labelled = embeddings_of(toy, X_pool, (P[:, :2], L[:, :2]))
    assert pool.shape == (6, 2) and labelled.shape == (4, 2)
    pool, labelled = embeddings_of(ToySegmenter(), X_pool, P)
    assert pool is P and labelled is None
    with pytest.raises(ValueError, match="Give a pair"):
        embeddings_of(toy, X_pool, P)
    with pytest.raises(ValueError, match="embedding must be of 6 rows"):
        embeddings_of(toy, X_pool, lambda X: P[:2])
    with pytest.raises(ValueError, match="Did you mean 'encoder'"):
        embeddings_of(toy, X_pool, "encodr")
    with pytest.raises(TypeError, match="transform.*Give embedding="):
        embeddings_of(LogisticRegression(), X_pool)
    with pytest.raises(TypeError, match=r"transform\(X, kind='cam'\)"):
        embeddings_of(StandardScaler(), X_pool, "cam")


def test_points_are_their_own_embedding_without_a_transform(rng):
    X = rng.normal(size=(30, 4)) * [1, 1, 1, 50]
    y = (X[:, 0] > 0).astype(int)
    plain = ActiveLearner(
        LogisticRegression(), strategies.core_set_sampling, X_training=X[:5], y_training=y[:5]
    )
    assert plain.query(X[5:], n_instances=3)[0].tolist() == (
        k_center_greedy(X[5:], 3, X[:5]).tolist()
    )
    scaled = ActiveLearner(
        make_pipeline(StandardScaler(), LogisticRegression()),
        strategies.core_set_sampling,
        X_training=X[:5],
        y_training=y[:5],
    )
    scaler = StandardScaler().fit(X[:5])
    expected = k_center_greedy(scaler.transform(X[5:]), 3, scaler.transform(X[:5]))
    assert scaled.query(X[5:], n_instances=3)[0].tolist() == expected.tolist()


def test_array_for_all_images_of_a_learner(fitted, rng):
    glands, model = fitted
    table = rng.normal(size=(12, 5))
    masks = [None] * 12
    masks[2], masks[7] = glands.masks[2], glands.masks[7]
    learner = ActiveLearner(
        model,
        functools.partial(strategies.core_set_sampling, embedding=table),
        images=glands.images,
        labels=glands.labels,
        masks=masks,
        random_state=0,
    )
    ids = learner.query(n_instances=3)[0]
    pool = np.setdiff1d(np.arange(12), [2, 7])
    np.testing.assert_array_equal(ids, pool[k_center_greedy(table[pool], 3, table[[2, 7]])])


def test_embeddings_of_the_segmenter_by_hand(fitted):
    glands, model = fitted
    network = model.module_
    size = model.canvas_
    x = torch.stack([to_unit(image_tensor(image, size)) for image in glands.images])
    with evaluating(network), torch.inference_mode():
        features = network.encode(x)
        logits, cam = network.classify(features, size)
        seen, decoded = network.embed(features), network.decode(features)
        foreground = network.mask_head(decoded, size, grid=True).softmax(1)[:, 1] > 0.5
    cams, maps = cam.numpy(), seen[:, :, : cam.shape[2], : cam.shape[3]].numpy()
    decoded = decoded[:, :, : foreground.shape[1], : foreground.shape[2]].numpy()
    by_cam, by_mask = (
        model.transform(glands.images, "cam"),
        model.transform(glands.images, "decoder"),
    )
    for i in range(12):
        chosen = cams[i, logits[i].argmax()]
        weight = (chosen - chosen.min()) / (chosen.max() - chosen.min())
        expected = np.average(maps[i].reshape(len(maps[i]), -1), axis=1, weights=weight.ravel())
        np.testing.assert_allclose(by_cam[i], expected, rtol=2e-3, atol=1e-4)
        inside = (
            foreground[i].numpy() if foreground[i].any() else np.ones(foreground.shape[1:], bool)
        )
        np.testing.assert_allclose(
            by_mask[i], decoded[i][:, inside].mean(axis=1), rtol=2e-3, atol=1e-4
        )
    np.testing.assert_allclose(
        model.transform(glands.images), seen.mean((2, 3)), rtol=2e-3, atol=1e-4
    )


def test_decoder_embedding_needs_a_mask(fitted):
    glands, _ = fitted
    model = JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0, device="cpu")
    model.fit(glands.images, glands.labels)
    assert model.transform(glands.images, kind="cam").shape[0] == 12
    with pytest.raises(ValueError, match="use kind='cam'"):
        model.transform(glands.images, kind="decoder")
    with pytest.raises(ValueError, match="Did you mean 'decoder'"):
        model.transform(glands.images, kind="decode")


def test_cold_start_in_the_loop(fitted):
    """Image labels alone: choose the first masks by ALPS, class by class."""
    glands, _ = fitted
    model = JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0, device="cpu")
    learner = ActiveLearner(
        model,
        strategies.class_balanced(strategies.alps_sampling),
        images=glands.images,
        labels=glands.labels,
        random_state=0,
    )
    ids = learner.query(n_instances=4)[0]
    assert np.unique(glands.labels[ids], return_counts=True)[1].tolist() == [2, 2]


# -- before any fit --


def test_pretrained_embedding_is_the_mean_of_the_deepest_map():
    torch.manual_seed(0)
    encoder = TinyEncoder(width=4).eval()
    X = toy_images(7)
    embedding = pretrained_embedding(encoder, image_size=30, batch_size=3, device="cpu")
    found = embedding(X)
    x = torch.stack([image_tensor(image, (32, 32)).float() / 255 for image in X])
    with torch.inference_mode():
        expected = encoder((x - 0.5) / 0.5)[-1].mean((2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found, embedding(X))
    np.testing.assert_allclose(embedding(X[[5, 1]]), found[[5, 1]], rtol=1e-5, atol=1e-6)
    picked = alps_sampling(None, X, 3, random_state=0, embedding=embedding)
    expected = alps_sampling(None, found, 3, random_state=0, embedding="input")
    np.testing.assert_array_equal(picked, expected)
    with pytest.raises(ValueError, match="encoder must be one of"):
        pretrained_embedding("resnet")(X)
    with pytest.raises(ValueError, match="image_size must be >= 8"):
        pretrained_embedding(image_size=4)
