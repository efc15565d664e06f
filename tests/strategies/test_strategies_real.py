"""Every strategy on a real network: three rounds of a learner with the tiny encoder."""

import numpy as np
import pytest

from alseg import ActiveLearner, JointCAMSegmenter, PseudoLabelAugmenter
from alseg.calling import call
from alseg.datasets import make_glands
from alseg.query.regions import Regions
from alseg.strategies import ceal_sampling
from alseg.strategies.around_others import n_labelled
from alseg.testing.contracts import all_strategies


@pytest.fixture(scope="module")
def glands():
    return make_glands(12, image_size=(24, 32), random_state=0)


@pytest.fixture(scope="module")
def learner(glands):
    masks = [mask if i % 3 == 0 else None for i, mask in enumerate(glands.masks)]
    model = JointCAMSegmenter(encoder="tiny", max_epochs=2, steps_per_epoch=2)
    learner = ActiveLearner(
        model, images=glands.images, labels=glands.labels, masks=masks, random_state=0
    )
    return learner.fit()


class Ensemble:
    """The learner, with members for the strategies that ask for a committee."""

    def __init__(self, learner):
        self.learner_list = [learner.estimator, learner.estimator]


# Toys cover the options; a network, each strategy once.
@pytest.mark.parametrize(
    "name",
    [
        n
        for n in all_strategies()
        if "(label)" not in n and not n.startswith(("class_balanced(", "by_region("))
    ],
)
def test_asks_a_real_network(name, learner, glands):
    asked = Ensemble(learner) if name.startswith("committee") else learner
    pool_ids = learner.pool_ids
    pool, labels = glands.images[pool_ids], np.asarray(glands.labels)[pool_ids]
    known = {"y_pool": labels, "groups_pool": labels}
    picked = call(all_strategies()[name], asked, pool, n_instances=3, random_state=0, **known)
    if isinstance(picked, Regions):
        assert len(picked) == 3
        return
    assert len(set(np.asarray(picked).tolist())) == 3 and max(picked) < len(pool)


def test_ceal_runs_three_rounds(glands):
    schedule = {"n_initial": 4, "n_per_round": 2, "start": 1, "n_first": 2, "growth": 1}
    masks = [mask if i % 3 == 0 else None for i, mask in enumerate(glands.masks)]
    learner = ActiveLearner(
        JointCAMSegmenter(encoder="tiny", max_epochs=2, steps_per_epoch=3, threshold=0.3),
        query_strategy=ceal_sampling,
        augmenter=PseudoLabelAugmenter("ceal", weight=1, schedule=schedule, labels="sampled"),
        images=glands.images,
        labels=glands.labels,
        masks=masks,
        random_state=0,
        warm_start=True,
    )
    for round_ in (1, 2, 3):
        sample_ids, _ = learner.query(n_instances=2)
        assert not set(sample_ids) & set(learner.annotated_ids.tolist())
        learner.annotate(sample_ids, glands.masks[sample_ids])
        assert n_labelled(learner) == 4 + 2 * round_
        assert len(learner.augmenter.selected_) <= 1 + round_
        assert not set(learner.augmenter.selected_) & set(learner.annotated_ids.tolist())
