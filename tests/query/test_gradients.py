"""alseg.query.gradients and its strategies: factors against the whole, network against autograd."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from alseg.network.joint import JointCAMNetwork
from alseg.query.diversity.cover import draw
from alseg.query.gradients import (
    badge_picks,
    expected_gradient_length,
    label_residuals,
    mask_gradient_length,
    mask_gradients,
    outer_picks,
)
from alseg.segmenter.estimator import JointCAMSegmenter
from alseg.strategies import badge_sampling, egl_sampling, egl_score
from alseg.testing.toys import ToySegmenter, toy_images
from alseg.training.losses import mask_loss
from alseg.validation import EmptyPool


def explicit_picks(left, right, n, seed):
    """k-means++ on the products themselves, with the same draws."""
    G = np.einsum("nk,nd->nkd", left, right).reshape(len(left), -1).astype(np.float64)
    rng = np.random.default_rng(seed)
    picks = [int((G**2).sum(axis=1).argmax())]
    while len(picks) < n:
        near = np.min([((G - G[p]) ** 2).sum(axis=1) for p in picks], axis=0)
        near[picks] = 0
        open_ = np.ones(len(G), bool)
        open_[picks] = False
        picks.append(draw(near, open_, rng))
    return np.array(picks)


def random_proba(rng, n, k):
    raw = rng.random((n, k)) ** 3
    return raw / raw.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shift", [0.0, 10.0])
def test_factorised_picks_equal_the_explicit_ones(rng, dtype, shift):
    proba = random_proba(rng, 200, 5)
    points = (rng.normal(size=(200, 8)) + shift).astype(dtype)
    for seed in range(5):
        found = badge_picks(proba, points, 30, seed)
        np.testing.assert_array_equal(
            found, explicit_picks(label_residuals(proba), points, 30, seed)
        )
    assert len(set(found.tolist())) == 30


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 3), st.integers(0, 6), st.data())
def test_any_pool_gives_different_picks(n, k, seed, data):
    values = st.sampled_from([0.0, 1.0, -1.0, 2.0])
    left = np.array(data.draw(st.lists(values, min_size=n * k, max_size=n * k))).reshape(n, k)
    right = np.array(data.draw(st.lists(values, min_size=2 * n, max_size=2 * n))).reshape(n, 2)
    picks = outer_picks(left, right, n, seed)
    assert sorted(picks) == list(range(n))
    np.testing.assert_array_equal(picks, outer_picks(left, right, n, seed))
    # as long as there is something new, no duplicate of a pick is drawn
    G = np.einsum("nk,nd->nkd", left, right).reshape(n, -1)
    n_different = len(np.unique(G, axis=0))
    assert len(np.unique(G[picks[:n_different]], axis=0)) >= n_different - 1
    with_origin = np.unique(np.vstack([G, np.zeros(G.shape[1])]), axis=0)
    if len(with_origin) > n_different:
        assert len(np.unique(G[picks[:n_different]], axis=0)) == n_different


def test_residuals_and_length_by_hand():
    proba = np.array([[0.7, 0.2, 0.1]])
    np.testing.assert_allclose(label_residuals(proba), [[-0.3, 0.2, 0.1]])
    phi = np.array([[3.0, 4.0]])
    lengths = [np.linalg.norm(np.outer(proba[0] - np.eye(3)[c], phi[0])) for c in range(3)]
    np.testing.assert_allclose(expected_gradient_length(proba, phi), proba[0] @ lengths)
    assert expected_gradient_length(np.array([[1.0, 0]]), phi)[0] == 0


def test_gradient_length_is_that_of_a_logistic_regression(rng):
    """Against autograd on the weights of a linear layer."""
    phi, W = torch.tensor(rng.normal(size=(6, 4))), torch.tensor(rng.normal(size=(3, 4)))
    proba = (phi @ W.T).softmax(dim=1)
    expected = []
    for i in range(6):
        total = 0.0
        for c in range(3):
            weight = W.clone().requires_grad_()
            loss = torch.nn.functional.cross_entropy(phi[i : i + 1] @ weight.T, torch.tensor([c]))
            loss.backward()
            total += float(proba[i, c] * weight.grad.norm())
        expected.append(total)
    np.testing.assert_allclose(expected_gradient_length(proba.numpy(), phi.numpy()), expected)


def test_memory_is_not_that_of_the_products(rng, tmp_path):
    n, k, d = 20_000, 20, 64  # the products would be 200 MB
    proba = random_proba(rng, n, k).astype(np.float32)
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (n, d))
    mapped[:] = rng.normal(size=(n, d))
    mapped.flush()
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    tracemalloc.start()
    picks = badge_picks(proba, mapped, 10, 0)
    top = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert top < 25 * 2**20
    np.testing.assert_array_equal(picks, badge_picks(proba, np.asarray(mapped), 10, 0))


def test_bad_gradients():
    proba, points = np.full((3, 2), 0.5), np.ones((3, 2))
    with pytest.raises(EmptyPool):
        badge_picks(proba[:0], points[:0], 1)
    with pytest.raises(ValueError, match="right must be of 3 rows"):
        badge_picks(proba, points[:2], 1)
    with pytest.raises(ValueError, match=r"n_instances must be in \[1, 3\]"):
        badge_picks(proba, points, 4)
    with pytest.raises(ValueError, match="proba must be finite, got NaN or infinity in row 1"):
        badge_picks(np.array([[0.5, 0.5], [np.nan, 0.5], [1, 0]]), points, 1)
    with pytest.raises(ValueError, match="embeddings must be finite, got .* in row 0"):
        badge_picks(proba, np.array([[np.inf, 1], [1, 1], [1, 1]]), 1)
    with pytest.raises(ValueError, match=r"proba must be numbers of shape \(n, d\)"):
        expected_gradient_length(np.ones(3), points)


# -- masks --


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return JointCAMNetwork(encoder="tiny", n_classes=2, n_mask_classes=3, dropout=0.4)


@pytest.fixture(scope="module")
def batch():
    return torch.rand(3, 3, 27, 33, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("loss", ["cross_entropy", "joint"])
def test_mask_gradients_equal_autograd_on_the_weights(network, batch, loss):
    found = mask_gradients(network, batch, loss)
    modes = network.training
    network.eval()
    try:
        for i in range(3):
            network.zero_grad()
            logits = network(batch[i : i + 1])["mask_logits"]
            guess = logits.detach().argmax(1)
            value, _ = mask_loss(logits, guess, torch.ones(1), float(loss == "joint"))
            value.sum().backward()
            expected = network.mask_conv.weight.grad.flatten()
            torch.testing.assert_close(found[i], expected, rtol=1e-3, atol=1e-6)
    finally:
        network.train(modes)
        network.zero_grad(set_to_none=True)


def test_mask_gradients_leave_the_network_alone(network, batch):
    network.train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with torch.inference_mode():
        one = mask_gradients(network, batch)
    torch.testing.assert_close(one, mask_gradients(network, batch))
    assert all(m.training for m in network.modules())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_expected_squared_length_equals_drawing_labels(network, batch):
    """Labels of pixels drawn many times: the mean squared length comes to the closed form."""
    from alseg.query.gradients import _last_layer

    decoded, logits = _last_layer(network, batch)
    proba = logits.softmax(dim=1)
    generator = torch.Generator().manual_seed(0)
    n_pixels = proba[0, 0].numel()
    flat = proba.movedim(1, -1).reshape(-1, 3)
    total = torch.zeros(3)
    for _ in range(400):
        labels = torch.multinomial(flat, 1, generator=generator).reshape(3, *proba.shape[2:])
        hot = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)
        gradient = torch.einsum("nchw,ndhw->ncd", proba - hot, decoded) / n_pixels
        total += (gradient**2).sum(dim=(1, 2)) / 400
    np.testing.assert_allclose(mask_gradient_length(network, batch), total**0.5, rtol=0.08)


def test_estimator_gives_gradients():
    from alseg.datasets import make_glands

    glands = make_glands(6, image_size=(32, 32), random_state=0)
    model = JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0, predict_batch_size=4)
    with pytest.raises(ValueError, match="need an estimator fitted with masks"):
        model.fit(glands.images, glands.labels).gradient_embedding(glands.images)
    model.fit(glands.images, glands.labels, masks=glands.masks)
    gradients = model.gradient_embedding(glands.images)
    assert gradients.shape == (6, 2 * model.module_.mask_conv.in_channels)
    rows = gradients.reshape(6, 2, -1)
    np.testing.assert_allclose(rows[:, 0], -rows[:, 1], atol=1e-6)  # two classes: mirror images
    assert (np.abs(gradients - model.gradient_embedding(glands.images, loss="joint")) > 0).any()
    lengths = model.gradient_length(glands.images)
    assert lengths.shape == (6,) and (lengths > 0).all()
    picks = badge_sampling(model, glands.images, 3, random_state=0)
    assert picks[0] == np.linalg.norm(gradients, axis=1).argmax()
    assert egl_sampling(model, glands.images, 1)[0] == lengths.argmax()
    with pytest.raises(ValueError, match="loss must be one of"):
        model.gradient_embedding(glands.images, loss="dice")


# -- strategies --


def test_strategies_on_labels(rng):
    X = rng.normal(size=(40, 3))
    y = (X[:, 0] > 0).astype(int)
    model = LogisticRegression().fit(X, y)
    proba = model.predict_proba(X)
    found = badge_sampling(model, X, 8, random_state=3, target="label", embedding=lambda X: X)
    np.testing.assert_array_equal(found, explicit_picks(label_residuals(proba), X, 8, 3))
    scores = egl_score(model, X, target="label", embedding=lambda X: X)
    np.testing.assert_allclose(scores, expected_gradient_length(proba, X))
    with pytest.raises(TypeError, match="learner must be with `gradient_embedding`.*'label'"):
        badge_sampling(model, X, target="mask")
    with pytest.raises(TypeError, match="learner must be with `gradient_length`"):
        egl_score(model, X, target="mask")


def test_strategies_on_masks():
    toy, X = ToySegmenter(), toy_images(9, ragged=True)
    gradients = toy.gradient_embedding(X)
    found = badge_sampling(toy, X, 5, random_state=2)
    np.testing.assert_array_equal(found, explicit_picks(np.ones((9, 1)), gradients, 5, 2))
    np.testing.assert_array_equal(egl_score(toy, X), toy.gradient_length(X))
