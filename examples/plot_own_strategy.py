"""
A strategy of your own
======================

A strategy is a function ``f(learner, X_pool, n_instances=1, random_state=None) -> query_idx``;
nothing is registered and no class is derived. This one asks for images that are uncertain *and*
unlike what is annotated already.

**How to read the figure.** Each point is an image of the pool, further right the more uncertain,
higher the further from every annotated image. Plain entropy takes the points furthest right
(squares), wherever they stand; the product (circles) leans to those high up, because the distances
differ by more than the entropies do. Where a point carries both marks, the two agree. Whether the
product is the better question is for an experiment to say, not for this figure.
"""

# %%
# The score first: larger is more worth asking. `learner.X_training` are the annotated images, and
# `transform` gives the embeddings of the fitted network.

import matplotlib.pyplot as plt
from sklearn.metrics import pairwise_distances

from alseg import ActiveLearner, JointCAMSegmenter
from alseg.datasets import make_glands
from alseg.query import top_n
from alseg.strategies import class_balanced, entropy_score
from alseg.testing import check_score, check_strategy


def distance_score(learner, X_pool):
    """How far an image is from the nearest annotated one."""
    known, pool = (learner.estimator.transform(X) for X in (learner.X_training, X_pool))
    return pairwise_distances(pool, known).min(axis=1)


def novel_entropy_score(learner, X_pool):
    """Uncertain and unlike what is annotated."""
    return entropy_score(learner, X_pool) * distance_score(learner, X_pool)


def novel_entropy_sampling(learner, X_pool, n_instances=1, random_state=None):
    """Ask about the images of the largest `novel_entropy_score`."""
    if len(X_pool) == 0:
        return top_n([], n_instances)  # the one who says that the pool is empty
    return top_n(novel_entropy_score(learner, X_pool), n_instances, random_state)


# %%
# Does it do what every caller relies on? Right number, unique, repeatable, the pool left alone,
# images of differing sizes, NaN refused, the global random state untouched: one line each.

check_score(novel_entropy_score)
check_strategy(novel_entropy_sampling)

# %%
# Then it is used like any other, alone or shared among the classes. From the command line it would
# be ``alseg run --strategy my_module:novel_entropy_sampling``.

glands = make_glands(60, image_size=(48, 72), random_state=0)
learner = ActiveLearner(
    JointCAMSegmenter(encoder="tiny", max_epochs=12, device="cpu"),
    query_strategy=class_balanced(novel_entropy_score),
    images=glands.images,
    labels=glands.labels,
    masks=[mask if i < 8 else None for i, mask in enumerate(glands.masks)],
    random_state=0,
)
sample_ids, _ = learner.query(n_instances=6)
print([f"{glands.ids[i]} ({glands.labels[i]})" for i in sample_ids])

# %%
# What it weighs.

pool_ids = learner.pool_ids
uncertainty = entropy_score(learner, glands.images[pool_ids])
distance = distance_score(learner, glands.images[pool_ids])

fig, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
ax.scatter(uncertainty, distance, s=18, color="0.65", label="pool")
for values, marker, size, name in (
    (uncertainty, "s", 70, "entropy"),
    (uncertainty * distance, "o", 170, "entropy x distance"),
):
    picked = top_n(values, 6, random_state=0)
    ax.scatter(
        uncertainty[picked],
        distance[picked],
        size,
        marker=marker,
        facecolor="none",
        edgecolor="C0" if marker == "s" else "C1",
        linewidth=1.8,
        label=f"asked by {name}",
    )
ax.set(xlabel="mean pixel entropy (nats)", ylabel="distance to the nearest annotated image")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
