"""alseg.query.latent_game: what is unlike the labelled comes first, the same each time."""

import numpy as np
import pytest
import torch

from alseg.query import LatentGame
from alseg.strategies import vaal_sampling, vaal_score
from alseg.testing.toys import ToyLearner, ToySegmenter, toy_images


@pytest.fixture
def points(rng):
    labelled, X = rng.normal(size=(30, 4)), rng.normal(size=(60, 4))
    X[30:, 0] += 5
    return X, labelled


def test_what_is_unlike_the_labelled_looks_unlabelled(points):
    X, labelled = points
    for seed in range(3):
        scores = LatentGame(n_steps=200, random_state=seed).fit(X, labelled).predict(X)
        above = (scores[:30, None] < scores[None, 30:]).mean()  # the area under the ROC curve
        assert above > 0.75 and (scores > 0).all() and (scores < 1).all()


def test_the_same_seed_gives_the_same_bits_and_no_global_state_moves(points):
    X, labelled = points
    state = torch.random.get_rng_state()
    first, again, other = (
        LatentGame(n_steps=20, random_state=seed).fit(X, labelled).predict(X) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.inference_mode():
        inside = LatentGame(n_steps=20, random_state=3).fit(X, labelled).predict(X)
    np.testing.assert_array_equal(first, inside)


def test_units_and_constant_features_do_not_matter(points):
    X, labelled = points
    options = {"n_steps": 20, "random_state": 0}
    plain = LatentGame(**options).fit(X, labelled).predict(X)
    scaled = LatentGame(**options).fit(100 * X + 7, 100 * labelled + 7).predict(100 * X + 7)
    np.testing.assert_allclose(plain, scaled, atol=1e-3)
    wide = [np.column_stack([rows, np.ones(len(rows))]) for rows in points]
    assert np.isfinite(LatentGame(**options).fit(*wide).predict(wide[0])).all()


def test_memory_maps_give_the_same(points, tmp_path):
    X, labelled = points
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    options = {"n_steps": 10, "random_state": 0}
    np.testing.assert_array_equal(
        LatentGame(**options).fit(mapped, labelled).predict(mapped),
        LatentGame(**options).fit(X, labelled).predict(X),
    )


def test_as_a_strategy():
    learner = ToyLearner(ToySegmenter(), toy_images(3, random_state=1), ["class 0"] * 3)
    X = toy_images(6)
    scores = vaal_score(learner, X, 0, n_steps=20)
    picked = vaal_sampling(learner, X, 3, 0, n_steps=20)
    assert len(set(picked.tolist())) == 3 and scores.shape == (6,)
    with pytest.raises(ValueError, match="labelled must be at least one row.*nothing labelled"):
        vaal_score(ToySegmenter(), X)


def test_what_is_refused(points):
    X, labelled = points
    with pytest.raises(ValueError, match="labelled must be at least one row of 4 features"):
        LatentGame().fit(X, labelled[:, :2])
    with pytest.raises(ValueError, match="X and labelled must be finite"):
        LatentGame().fit(X * np.nan, labelled)
    for name in ("n_latent", "width", "n_steps", "batch_size"):
        with pytest.raises(ValueError, match=f"{name} must be >= 1"):
            LatentGame(**{name: 0}).fit(X, labelled)
