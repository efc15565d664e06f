"""
Active learning on synthetic glands
===================================

Two ways to choose the next masks, on histology that is made up on the spot, so that every true mask
is known. Both start from the same four masks, ask for eight more in each round, four of each class,
and are fitted anew after each answer.

**How to read the figures.** The curve shows the mean Dice over 24 test images against the masks
that an expert has drawn. The two curves begin in one point, since nothing has been chosen yet. Both
rise by some three points with the first eight masks and hardly after, and they do not differ by
more than another seed would change: this is *one* seed, a small network trained briefly, and a
small test set. Compare strategies over many seeds, at the same masks, with paired differences
(`alseg.experiment.statistics.sign_flip_test`).

The second figure shows what entropy asked for in its first round: the image with the true outline
(yellow), and where the model was unsure (bright).
"""

# %%
# Data: 40 images to learn from and 24 to test on, of 48 x 72 pixels, half of them "regular", half
# "irregular".

import copy

import matplotlib.pyplot as plt
import numpy as np

from alseg import ActiveLearner, JointCAMSegmenter
from alseg.datasets import make_glands
from alseg.oracles import MaskOracle
from alseg.query import class_balanced_top_n
from alseg.report import learning_curve, outline, overlay
from alseg.strategies import class_balanced, entropy_score, random_score

train = make_glands(40, image_size=(48, 72), random_state=0)
test = make_glands(24, image_size=(48, 72), random_state=1)

# %%
# The seed set: the same four images for all, two a class. The oracle plays the expert.

oracle = MaskOracle(train.masks)
seed_ids = class_balanced_top_n(np.zeros(len(train)), train.labels, 4, random_state=0)

start = ActiveLearner(
    JointCAMSegmenter(encoder="tiny", max_epochs=26, device="cpu"),
    images=train.images,
    labels=train.labels,
    random_state=0,
)
start.annotate(seed_ids, oracle(seed_ids))


def run(strategy, rounds=3):
    """The test Dice (%) after each round, and what was asked first, with its uncertainty."""
    learner = copy.deepcopy(start)
    learner.query_strategy = strategy
    dice, first = [learner.score_masks(test.images, test.masks)], None
    for _ in range(rounds):
        sample_ids, images = learner.query(n_instances=8)
        if first is None:
            first = sample_ids, learner.predict_uncertainty(images, return_maps=True)[1]
        learner.annotate(sample_ids, oracle(sample_ids))
        dice.append(learner.score_masks(test.images, test.masks))
    return 100 * np.array(dice), first


# %%
# A score says how much an image is worth asking about; `class_balanced` turns it into a strategy
# that shares the questions among the classes.

scores = {"random": random_score, "entropy": entropy_score}
curves, asked = {}, {}
for name, score in scores.items():
    curves[name], asked[name] = run(class_balanced(score))
    print(f"{name:9}", *(f"{dice:5.1f}" for dice in curves[name]))

fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
_ = learning_curve(curves, x=[4, 12, 20, 28], ax=ax)

# %%
# What entropy asked first.

sample_ids, maps = asked["entropy"]
fig, axes = plt.subplots(2, 6, figsize=(12, 3), layout="constrained")
for column, sample_id, map_ in zip(axes.T, sample_ids, maps):
    column[0].imshow(outline(train.images[sample_id], train.masks[sample_id]))
    column[1].imshow(overlay(train.images[sample_id], map_, low=0, high=np.log(2), cmap="viridis"))
    column[0].set_title(f"{train.ids[sample_id]}, {train.labels[sample_id]}", fontsize="medium")
for ax in axes.flat:
    ax.set_axis_off()
