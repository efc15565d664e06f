"""The figure of the landing page: `python docs/figures/landing.py`, some minutes on one core.

Left, what is made up on the spot: a test image of `make_glands`, what a network shows of class
labels alone, and what it draws after eight masks. Right, the committed records of GlaS.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from alseg import ActiveLearner, JointCAMSegmenter
from alseg.comparison import read_comparison
from alseg.datasets import make_glands
from alseg.oracles import MaskOracle
from alseg.report import outline, overlay
from alseg.strategies import class_balanced, entropy_score

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "benchmarks/results/alseg-glas-fine-tuned"
N_ALL, DICE_OF_ALL = 67, 91.1  # masks of the training part, and what they reach


def panels():
    """An image with its true outline, the map of its class, and masks before and after."""
    train = make_glands(40, image_size=(96, 128), random_state=0)
    test = make_glands(12, image_size=(96, 128), random_state=1)
    learner = ActiveLearner(
        JointCAMSegmenter(image_size=(96, 128), max_epochs=10, steps_per_epoch=10),
        query_strategy=class_balanced(entropy_score),
        images=train.images,
        labels=train.labels,
        random_state=0,
    ).fit()
    before = learner.predict_joint(test.images)
    sample_ids, _ = learner.query(n_instances=8)
    learner.annotate(sample_ids, MaskOracle(train.masks)(sample_ids))
    after = learner.predict_masks(test.images)
    shown = 1
    image, label = test.images[shown], before.labels[shown]
    cam = before.cams[shown][list(learner.estimator.classes_).index(label)]
    cam = (cam - cam.min()) / np.ptp(cam)
    return [
        (f"class label: “{test.labels[shown]}”", outline(image, test.masks[shown])),
        ("no mask: the class activation map", overlay(image, cam, low=0, high=1, cmap="viridis")),
        ("after eight masks", outline(image, after[shown])),
    ]


def curve(ax):
    """Dice on the 80 test images of GlaS, mean and range of three seeds."""
    result = read_comparison(RECORDS)
    masks, dice = result.curves()["random"]
    ax.fill_between(masks[0], 100 * dice.min(0), 100 * dice.max(0), alpha=0.25, linewidth=0)
    ax.plot(masks[0], 100 * dice.mean(0), marker="o")
    ax.axhline(DICE_OF_ALL, color="0.4", linestyle="--", linewidth=1)
    ax.text(
        56,
        DICE_OF_ALL + 0.1,
        f"all {N_ALL} masks: {DICE_OF_ALL}",
        ha="right",
        va="bottom",
        color="0.3",
    )
    ax.set(xlabel="annotated images", ylabel="Dice (%)", ylim=(84, 92.5), xticks=masks[0])
    ax.set_title("GlaS, 80 test images, 3 seeds", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)


def main():
    figure = plt.figure(figsize=(12, 2.9), layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1.25])
    for ax, (title, picture) in zip(axes, panels()):
        ax.imshow(picture)
        ax.set_title(title, fontsize="medium")
        ax.set_axis_off()
    curve(axes[-1])
    figure.savefig(ROOT / "docs/_static/landing.png", dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main()
