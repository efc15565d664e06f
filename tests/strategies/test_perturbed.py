"""alseg.strategies.perturbed: a matrix's worst direction, noise, a real network."""

import numpy as np
import pytest
import scipy.special
import torch
from torch import nn

from alseg import JointCAMSegmenter
from alseg.datasets import make_glands
from alseg.images import as_images
from alseg.query import kl_divergence
from alseg.segmenter.adversary import adversarial_batch
from alseg.strategies import virtual_adversarial_sampling, virtual_adversarial_score
from alseg.testing.toys import ToySegmenter, toy_images


class Linear(nn.Module):
    """A class head that is a matrix: logits of the pixels of an image."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def encode(self, x):
        return x.flatten(1)

    def classify(self, features, size):
        return features @ self.weight.T, None


def test_the_change_is_the_worst_to_second_order():
    """KL(p, p + r) is r' A r / 2 with A = J' (diag p - p p') J: the worst r is its eigenvector."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 12, generator=generator)
    network, x = Linear(weight).eval(), torch.rand(2, 3, 2, 2, generator=generator)
    epsilon = 2e-3
    found, proba = adversarial_batch(network, x, "label", epsilon, 30, seed=1)
    for i in range(2):
        p = proba[i].double().detach()
        J = weight.double()
        A = (J.T @ (torch.diag(p) - torch.outer(p, p)) @ J).numpy()
        worst = np.linalg.eigvalsh(A)[-1] / 2 * epsilon**2 * 12  # |r|^2 of this root mean square
        np.testing.assert_allclose(found[i].item(), worst, rtol=0.03)
    one, _ = adversarial_batch(network, x, "label", epsilon, 1, seed=1)
    assert (one <= found * 1.01).all() and (one > 0).all()
    assert all(weight.grad is None for weight in network.parameters())


@pytest.mark.parametrize("as_kind", [np.asarray, torch.as_tensor])
def test_divergence_equals_scipy(rng, as_kind):
    p, q = rng.dirichlet(np.ones(3), 5), rng.dirichlet(np.ones(3), 5)
    p[0] = [1, 0, 0]
    found = np.asarray(kl_divergence(as_kind(p), as_kind(q)))
    np.testing.assert_allclose(found, scipy.special.rel_entr(p, q).sum(axis=1))
    q[1] = [0, 0.5, 0.5]
    assert np.isfinite(np.asarray(kl_divergence(as_kind(p), as_kind(q)))).all()


@pytest.fixture(scope="module")
def fitted():
    glands = make_glands(6, image_size=(32, 48), random_state=0)
    model = JointCAMSegmenter(encoder="tiny", max_epochs=2, random_state=0)
    return model.fit(glands.images, glands.labels, glands.masks), glands.images


@pytest.mark.parametrize("target", ["mask", "label"])
def test_of_a_real_network(fitted, target):
    model, X = fitted
    held = [[p.detach().clone(), p.grad] for p in model.module_.parameters()]
    state = torch.random.get_rng_state()
    scores = virtual_adversarial_score(model, X, 0, target=target)
    assert scores.shape == (6,) and np.isfinite(scores).all() and (scores > 0).all()
    np.testing.assert_array_equal(virtual_adversarial_score(model, X, 0, target=target), scores)
    alone = [virtual_adversarial_score(model, X[i : i + 1], 0, target=target)[0] for i in range(6)]
    np.testing.assert_allclose(alone, scores, rtol=1e-3)
    larger = virtual_adversarial_score(model, X, 0, target=target, epsilon=0.03)
    assert (larger > scores).all()
    # Worse than noise of the same size.
    noise = 0.01 * np.random.default_rng(0).standard_normal(X.shape)
    noisy = np.clip(X / 255 + noise, 0, 1).astype(np.float32)
    name, axis = ("predict_mask_proba", 1) if target == "mask" else ("predict_proba", 1)
    clean, moved = (np.asarray(getattr(model, name)(Z), float) for Z in (X, noisy))
    random = kl_divergence(clean, moved, axis=axis).reshape(6, -1).mean(axis=1)
    assert scores.mean() > 2 * random.mean()
    assert torch.equal(torch.random.get_rng_state(), state)
    for (then, gradient), now in zip(held, model.module_.parameters(), strict=True):
        assert torch.equal(then, now) and now.grad is gradient
    picked = virtual_adversarial_sampling(model, X, 2, 0, target=target)
    np.testing.assert_array_equal(picked, scores.argsort()[::-1][:2])


def test_maps_and_differing_sizes(fitted):
    model, X = fitted
    some = [X[0], X[1][:20], X[2][:, :30]]
    scores, maps = virtual_adversarial_score(model, some, 0, return_maps=True)
    assert [m.shape for m in maps] == [as_images(some).size(i) for i in range(3)]
    assert scores.shape == (3,) and all((m >= 0).all() for m in maps)
    weak = JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0).fit(X, [0, 1] * 3)
    with pytest.raises(ValueError, match="Gradients of masks need an estimator fitted with masks"):
        virtual_adversarial_score(weak, X, 0)
    assert virtual_adversarial_score(weak, X, 0, target="label").shape == (6,)


def test_noise_for_estimators_without_gradients():
    toy, X = ToySegmenter(), toy_images(3)
    noise = np.random.default_rng(int(np.random.default_rng(4).integers(2**31 - 1)))
    noise = noise.standard_normal((2, 16, 16, 3)).astype(np.float32) * np.float32(0.05)
    expected = []
    for image in X:
        clean = image / np.float32(255)
        p = toy.predict_mask_proba([clean])[0]
        moved = toy.predict_mask_proba(np.clip(clean + noise, 0, 1))
        expected.append(np.mean([scipy.special.rel_entr(p, q).sum(axis=0).mean() for q in moved]))
    found = virtual_adversarial_score(toy, X, 4, epsilon=0.05, n_draws=2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    labels = virtual_adversarial_score(toy, X, 4, target="label")
    assert labels.shape == (3,) and (labels >= 0).all()
    with pytest.raises(TypeError, match="with `predict_mask_proba`"):
        virtual_adversarial_score(object(), X)
    with pytest.raises(ValueError, match="epsilon must be > 0"):
        virtual_adversarial_score(toy, X, epsilon=0)
