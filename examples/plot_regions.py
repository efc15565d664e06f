"""
A few pixels an image
=====================

An outline of every gland in an image takes minutes; a click on a pixel or a superpixel takes a
second. The same scores can ask for parts of images: the oracle answers with a mask that is
annotated there alone, and training counts what is annotated.

**How to read the figures.** The first shows what the same model asks for in one image, as whole
patches, as superpixels and as single pixels (drawn among its five least sure per cent), on the map
of its uncertainty (bright is unsure). The second shows the test Dice against the *clicks* spent:
corners of the polygons for whole images, one click for a region of one class, polygons inside it
for a mixed one. Against the number of annotated pixels the picture would be another one, which is
why the cost is an argument. All curves begin with the class labels alone. The first sixty pixels
make the masks *worse* than that: they replace the class activation maps by a decoder that has seen
too little. One seed and small images: compare over many seeds before you believe a gap.
"""

# %%
# Images with class labels and no masks; the oracle plays the expert.

import copy
import functools

import matplotlib.pyplot as plt

from alseg import ActiveLearner, JointCAMSegmenter
from alseg.datasets import make_glands
from alseg.oracles import MaskOracle
from alseg.query import Regions, annotation_cost
from alseg.strategies import by_region, entropy_sampling, entropy_score, pixelpick_sampling

train = make_glands(24, image_size=(48, 72), random_state=0)
test = make_glands(16, image_size=(48, 72), random_state=1)
start = ActiveLearner(
    JointCAMSegmenter(encoder="tiny", max_epochs=12, device="cpu"),
    images=train.images,
    labels=train.labels,
    random_state=0,
)
first = 100 * start.score_masks(test.images, test.masks)  # from class labels alone

# %%
# Three rounds each. ``n_instances`` counts what is asked about: images, superpixels, pixels.

strategies = {
    "images": (entropy_sampling, 3),
    "superpixels": (by_region(entropy_score, "superpixel", size=10, per_image=2), 30),
    "pixels (PixelPick)": (functools.partial(pixelpick_sampling, per_image=3), 60),
}
curves = {}
for name, (strategy, n_instances) in strategies.items():
    learner, oracle, spent = copy.deepcopy(start), MaskOracle(train.masks), 0
    learner.query_strategy = strategy
    curves[name] = [(0, first)]
    for _ in range(3):
        asked, _ = learner.query(n_instances=n_instances)
        masks = oracle(asked)
        parts = asked if isinstance(asked, Regions) else None
        spent += annotation_cost(masks, parts).clicks
        learner.annotate(asked, masks)
        curves[name].append((spent, 100 * learner.score_masks(test.images, test.masks)))
    print(name, oracle.n_pixels, "pixels,", spent, "clicks,", round(curves[name][-1][1], 1), "Dice")

# %%
# What one model asks for in the image it is least sure of, as parts of different kinds.

units = {"patch": (4, {"size": 12}), "superpixel": (6, {"size": 10}), "pixel": (20, {"top": 0.05})}
i = entropy_sampling(learner, train.images)[0]
one = train.images[i : i + 1]
_, maps = learner.predict_uncertainty(one, return_maps=True)
figure, axes = plt.subplots(1, 4, figsize=(12, 2.6), constrained_layout=True)
axes[0].imshow(one[0])
axes[0].contour(train.masks[i], [0.5], colors="yellow", linewidths=1)
axes[0].set_title("the image, its true outline")
for axis, (unit, (n_instances, options)) in zip(axes[1:], units.items(), strict=True):
    strategy = by_region(entropy_score, unit, **options)
    regions = strategy(learner, one, n_instances, random_state=0)
    axis.imshow(maps[0], cmap="magma")
    axis.contour(regions.mask(0), [0.5], colors="cyan", linewidths=1)
    axis.set_title(repr(regions).removeprefix("Regions(").removesuffix(" in 1 image)"))
for axis in axes:
    axis.axis("off")

# %%
# Dice against clicks.

figure, axis = plt.subplots(figsize=(5.5, 3.6), constrained_layout=True)
for name, curve in curves.items():
    axis.plot(*zip(*curve, strict=True), marker="o", label=name)
axis.set_xlabel("clicks of the annotator")
axis.set_ylabel("mean Dice on the test images (%)")
axis.legend()
plt.show()
