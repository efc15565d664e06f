"""
Comparing strategies
====================

Does entropy ask for better images than chance does? Two strategies, three seeds each, on synthetic
histology with exact masks. The model is a `PixelClassifier`, a random forest on the filters around
each pixel, which is fitted in seconds. A mask of ones, which needs no model, is measured beside.

**How to read the figure.** Left: the mean Dice of held-out images against the masks bought so far,
one thin line a seed; the mask of ones is what any model has to beat. All rows of a seed start from
the same four masks and the same forest, so their lines begin in one point. Right: the difference to
random, paired by seed, with its 95 % interval. An interval that contains zero means that these
seeds cannot tell the two apart; the verdict says how many could.
"""

import tempfile

import matplotlib.pyplot as plt
from sklearn.ensemble import RandomForestClassifier

from alseg import PixelClassifier, Protocol, compare_strategies
from alseg.datasets import make_glands
from alseg.report import paired_differences
from alseg.strategies import entropy_sampling, random_sampling

glands = make_glands(50, image_size=(48, 72), random_state=0)
result = compare_strategies(
    PixelClassifier(RandomForestClassifier(30, min_samples_leaf=5), n_pixels=200),
    {"random": random_sampling, "entropy": entropy_sampling},
    data=(glands.take(range(34)), glands.take(range(34, 50))),
    protocol=Protocol(initial=4, n_instances=4, rounds=2, controls=(), references=("all-ones",)),
    seeds=range(3),
    out=tempfile.mkdtemp(),
    verbose=0,
)

# %%
# The curves, and the differences paired by seed.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
result.plot(left)
curves = {name: 100 * dice for name, (_, dice) in result.curves().items()}
paired_differences(curves, "random", result.curves()["random"][0][0], right)

# %%
# The same in words. The p-value of the exact sign-flip test has a floor: three seeds cannot reach
# 0.05, whatever they measure.

print(result.verdict())
result.table()
