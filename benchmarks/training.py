"""What does fitting through the estimator cost? An epoch of `fit` against a bare PyTorch loop.

    python benchmarks/training.py                         # about 5 minutes on one core

The bare loop trains the same network with the same augmentation, loss, optimizer and learning rates
on the same decoded tensors, as one would write it by hand. It runs one epoch after each epoch of
`fit`, in the same process, so that a busy machine slows both alike, and CPU seconds at one thread
are compared. An epoch of `fit` is all that happens between two bare ones, callbacks and history
included. The first epoch of each is left out, decoding lies before both.

`ratio` lines have a limit, and the exit status is 1 where it is broken. The `channels-last` ratio
is a training step in that memory layout over one in the default layout: below 1 it pays.
"""

import argparse
import copy
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from common import RESULTS, Stopwatch, interleave, ratio_row, write_record
from skorch.callbacks import Callback

from alseg import JointCAMSegmenter
from alseg.augment import colour_jitter, random_affine, random_flip
from alseg.batches import TrainingData
from alseg.datasets import make_glands
from alseg.images import as_images, as_masks
from alseg.losses import JointLoss
from alseg.network import JointCAMNetwork

LIMIT = 1.10
BATCH, WEAK_BATCH = 8, 4
LR, ENCODER_LR = 1e-3, 3e-4

# (encoder, image size, images with a mask of how many): the smaller the network, the more the
# estimator's own work would show.
CASES = {
    "tiny": ("tiny", (96, 144), 16, 48),
    "tiny-all-masks": ("tiny", (96, 144), 48, 48),
    "mobilenet_v2": ("mobilenet_v2", (128, 192), 16, 32),
    "resnet18": ("resnet18", (128, 192), 16, 32),
}


class BareLoop:
    """A training loop by hand over decoded tensors: `epoch()` trains once over all images."""

    def __init__(self, network, data, n_steps, total_steps, seed):
        self.network, self.data, self.n_steps = network, data, n_steps
        self.loss = JointLoss()
        encoder = list(network.encoder.parameters())
        rest = [p for k, p in network.named_parameters() if not k.startswith("encoder.")]
        self.optimizer = torch.optim.AdamW(
            [{"params": rest, "lr": LR}, {"params": encoder, "lr": ENCODER_LR}]
        )
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, [LR, ENCODER_LR], total_steps, pct_start=0.25, cycle_momentum=False
        )
        self.generator = torch.Generator().manual_seed(seed)
        has_mask = (data.masks >= 0).flatten(1).any(1)
        self.first, self.second = has_mask.nonzero()[:, 0], (~has_mask).nonzero()[:, 0]

    def draw(self, positions, size):
        order = torch.randperm(len(positions), generator=self.generator)
        return positions[order.repeat(-(-size // len(order)))[:size]]

    def epoch(self):
        losses = []
        self.network.train()
        for _ in range(self.n_steps):
            idx = self.draw(self.first, BATCH)
            if len(self.second):
                idx = torch.cat([idx, self.draw(self.second, WEAK_BATCH)])
            images = self.data.images[idx].float().div_(255)
            masks, weights = self.data.masks[idx], self.data.weights[idx]
            images, masks, weights = random_flip(images, masks, weights, self.generator)
            images, masks, weights = random_affine(images, masks, weights, self.generator)
            images = colour_jitter(images, self.generator)
            target = {
                "labels": self.data.labels[idx],
                "masks": masks[:BATCH].long(),
                "mask_weight": weights[:BATCH],
            }
            images = images.contiguous(memory_format=torch.channels_last)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(self.network(images, n_decode=BATCH), target)
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())


class InTurns(Callback):
    """Runs a bare epoch after each epoch of the fit, and times both."""

    def __init__(self, make_bare):
        self.make_bare = make_bare

    def on_train_begin(self, net, **kwargs):
        self.bare = self.make_bare(net)
        self.fit_seconds, self.bare_seconds, self.bare_losses = [], [], []
        self.watch = Stopwatch()

    def on_epoch_end(self, net, **kwargs):
        self.fit_seconds.append(self.watch.read())
        self.watch = Stopwatch()
        self.bare_losses.append(self.bare.epoch())
        self.bare_seconds.append(self.watch.read())
        self.watch = Stopwatch()


def compare(name, n_epochs, seed):
    encoder, size, n_masks, n = CASES[name]
    glands = make_glands(n, image_size=size, random_state=seed)
    codes = np.unique(glands.labels, return_inverse=True)[1]
    images = as_images(glands.images)
    masks = [glands.masks[i] if i < n_masks else None for i in range(n)]
    data = TrainingData.build(images, codes, as_masks(masks, n), None, size, 2)
    n_steps = -(-n // BATCH)

    def make_bare(net):
        network = copy.deepcopy(net.module_)  # the same weights at the start
        return BareLoop(network, data, n_steps, n_epochs * n_steps, seed)

    turns = InTurns(make_bare)
    model = JointCAMSegmenter(
        encoder=encoder,
        image_size=size,
        max_epochs=n_epochs,
        random_state=seed,
        device="cpu",
        callbacks=[("turns", turns)],
    )
    model.fit(glands.images, glands.labels, masks)
    # `callbacks_` holds a clone of what the parameter names, or the object itself.
    turns = dict(model.callbacks_)["turns"]
    row = ratio_row(f"epoch-{name}", turns.fit_seconds[1:], turns.bare_seconds[1:], LIMIT)
    row.update(encoder=encoder, image_size=size, n_images=n, n_masks=n_masks, n_steps=n_steps)
    row["last_loss"] = {"fit": model.history[-1, "train_loss"], "bare": turns.bare_losses[-1]}
    return row


def channels_last(encoder, size, n_repeats, seed):
    """A training step in each memory layout, and how far the losses of the same batch are apart."""
    images = torch.rand(BATCH, 3, *size, generator=torch.Generator().manual_seed(seed))
    masks = (images[:, 0] > 0.5).long()
    target = {
        "labels": torch.arange(BATCH) % 2,
        "masks": masks,
        "mask_weight": torch.ones(BATCH, 1, 1),
    }
    losses, steps = {}, {}
    for layout in (torch.channels_last, torch.contiguous_format):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = JointCAMNetwork(encoder, dropout=0.0, class_dropout=0.0)
        network = network.to(memory_format=layout).train()

        def step(network=network, layout=layout):
            network.zero_grad(set_to_none=True)
            x = images.contiguous(memory_format=layout)
            loss = JointLoss()(network(x), target)
            loss.backward()
            losses.setdefault(str(layout), float(loss.detach()))

        steps[str(layout)] = step
    seconds = interleave(steps, n_repeats)
    name = f"channels-last-step-{encoder}"
    row = ratio_row(name, *(seconds[layout] for layout in steps), 1.0)
    return {**row, "image_size": size, "first_loss": losses}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=sorted(CASES), default=list(CASES))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "training.json")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = [compare(name, arguments.epochs, arguments.seed) for name in arguments.cases]
    for encoder in ("mobilenet_v2", "resnet18"):
        rows.append(channels_last(encoder, (128, 192), arguments.repeats, arguments.seed))
    return write_record(arguments.out, rows, seed=arguments.seed, epochs=arguments.epochs)


if __name__ == "__main__":
    sys.exit(main())
