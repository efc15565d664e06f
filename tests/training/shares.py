"""A fit in one of several processes: started by `accelerate launch`, or as tests/training/ does."""

import sys

import numpy as np

from alseg import Execution, JointCAMSegmenter, Network
from alseg.datasets import make_glands
from alseg.experiment import run
from alseg.strategies import entropy_sampling

GLANDS = make_glands(16, image_size=(32, 32), random_state=0)


def model(processes=None, **options):
    return JointCAMSegmenter(
        encoder="tiny",
        network=Network(dropout=0.0, class_dropout=0.0),
        execution=Execution(processes=processes),
        max_epochs=3,
        batch_size=8,
        weak_batch_size=4,
        steps_per_epoch=4,
        random_state=0,
        device="cpu",
        **options,
    )


def weights(fitted):
    return {name: value.numpy() for name, value in fitted.module_.state_dict().items()}


def fitted(processes=None):
    masks = [mask if i < 12 else None for i, mask in enumerate(GLANDS.masks)]
    return model(processes).fit(GLANDS.images, GLANDS.labels, masks)


if __name__ == "__main__":
    folder, rank = sys.argv[1], int(sys.argv[2])
    found = fitted("accelerate")
    losses = np.array(found.history[:, "train_loss"])
    np.savez(f"{folder}/{rank}.npz", **weights(found), losses=losses)
    # Every process asks the same; the records of the first count.
    train, test = GLANDS.take(range(12)), GLANDS.take(range(12, 16))
    run(
        model("accelerate"), train, test, entropy_sampling,
        rounds=1, n_instances=2, initial=4, out=f"{folder}/run-{rank}",
    )  # fmt: skip
