"""What does fitting through the estimator cost? An epoch of `fit` against a bare PyTorch loop.

    python -m benchmarks.speed.training                     # about 8 minutes on one core
    python -m benchmarks.speed.training --device cuda  # other cases, in bfloat16, where a GPU is
    python -m benchmarks.speed.training --compile resnet18  # and a compiled step, after minutes

The bare loop trains the same network with the same augmentation, loss, optimizer and learning rates
on the same decoded tensors, as one would write it by hand. It runs one epoch after each epoch of
`fit`, in the same process, so that a busy machine slows both alike, and CPU seconds at one thread
are compared. An epoch of `fit` is all that happens between two bare ones, callbacks and history
included. The first epoch of each is left out, decoding lies before both. On a GPU it is seconds of
the clock, and an epoch of either ends when the GPU is done.

Images per second stand beside those of a floor: the operations of a training step, counted, at the
largest rate that a matrix product or a convolution reaches in the same run; or, where that takes
longer, the bytes of weights and of activations kept for the backward pass, each moved once, at the
rate of a copy.

`ratio` lines have a limit, and the exit status is 1 where it is broken. The `channels-last` ratio
is a training step in that memory layout over one in the default layout: below 1 it pays. `bfloat16`
is one with `amp=True` on the CPU; what comes of it depends on the processor's instructions.
"""

import argparse
import copy
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from skorch.callbacks import Callback
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from alseg import Execution, JointCAMSegmenter
from alseg.datasets import make_glands
from alseg.images import as_images, as_masks
from alseg.network import JointCAMNetwork
from alseg.training import (
    JointLoss,
    TrainingData,
    colour_jitter,
    random_affine,
    random_flip,
    resolve_amp,
)
from benchmarks.core.counting import COUNTED
from benchmarks.core.results import RESULTS, write_record
from benchmarks.core.timing import Stopwatch, interleave, ratio_row

LIMIT = 1.10
BATCH, WEAK_BATCH = 8, 4
GPU_BATCH, GPU_WEAK_BATCH = 32, 16
LR, ENCODER_LR = 1e-3, 3e-4

# (encoder, image size, images with a mask of how many): the smaller the network, the more the
# estimator's own work would show.
CASES = {
    "tiny": ("tiny", (96, 144), 16, 48),
    "tiny-all-masks": ("tiny", (96, 144), 48, 48),
    "mobilenet_v2": ("mobilenet_v2", (128, 192), 16, 32),
    "resnet18": ("resnet18", (128, 192), 16, 32),
}
# Larger, since a GPU is hardly busy with the others.
GPU_CASES = {
    "mobilenet_v2": ("mobilenet_v2", (192, 288), 256, 512),
    "resnet18": ("resnet18", (192, 288), 256, 512),
    "resnet50": ("resnet50", (384, 384), 256, 512),
}


class BareLoop:
    """A training loop by hand over decoded tensors: `epoch()` trains once over all images."""

    def __init__(self, network, data, n_steps, total_steps, seed, batch, weak_batch, amp=False):
        self.network, self.data, self.n_steps = network, data, n_steps
        self.batch, self.weak_batch, self.amp = batch, weak_batch, amp
        self.device = data.labels.device
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
        has_mask = (data.masks >= 0).flatten(1).any(1).cpu()
        self.first, self.second = has_mask.nonzero()[:, 0], (~has_mask).nonzero()[:, 0]

    def draw(self, positions, size):
        order = torch.randperm(len(positions), generator=self.generator)
        return positions[order.repeat(-(-size // len(order)))[:size]]

    def make_batch(self):
        idx = self.draw(self.first, self.batch)
        if len(self.second):
            idx = torch.cat([idx, self.draw(self.second, self.weak_batch)])
        idx = idx.to(self.device)
        images = self.data.images[idx].float().div_(255)
        masks, weights = self.data.masks[idx], self.data.weights[idx]
        images, masks, weights = random_flip(images, masks, weights, self.generator)
        images, masks, weights = random_affine(images, masks, weights, self.generator)
        images = colour_jitter(images, self.generator)
        target = {
            "labels": self.data.labels[idx],
            "masks": masks[: self.batch].long(),
            "mask_weight": weights[: self.batch],
        }
        return images.contiguous(memory_format=torch.channels_last), target

    def gradient(self, images, target):
        with torch.autocast(images.device.type, torch.bfloat16) if self.amp else nullcontext():
            out = self.network(images, n_decode=self.batch)
        loss = self.loss({name: part.float() for name, part in out.items()}, target)
        loss.backward()
        return loss.detach()

    def epoch(self):
        losses = []
        self.network.train()
        for _ in range(self.n_steps):
            images, target = self.make_batch()
            self.optimizer.zero_grad(set_to_none=True)
            losses.append(self.gradient(images, target))
            self.optimizer.step()
            self.scheduler.step()
        return float(torch.stack(losses).mean())

    def work(self):
        """Images, operations and bytes of a step, see `floor`."""
        kept = {p.data_ptr(): p.untyped_storage().nbytes() for p in self.network.parameters()}

        def keep(tensor):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        images, target = self.make_batch()
        counter = FlopCounterMode(display=False, custom_mapping=COUNTED)
        with counter, saved_tensors_hooks(keep, lambda t: t):
            self.gradient(images, target)
        self.optimizer.zero_grad(set_to_none=True)
        return {
            "images": len(images),
            "operations": counter.get_total_flops(),
            "bytes": sum(kept.values()),
        }


def rate(function, amount, device, n_repeats=7):
    """The most of `amount` a second that `function` does; on a CPU of its own seconds."""
    on_gpu = torch.device(device).type == "cuda"
    clock, seconds = time.perf_counter if on_gpu else time.process_time, []
    for _ in range(n_repeats):
        began = clock()
        function()
        if on_gpu:
            torch.cuda.synchronize(device)
        seconds.append(clock() - began)
    return amount / min(seconds)


def machine_rates(device, dtype):
    """Operations and bytes a second of the machine: matrix product, convolution and copy."""
    on_gpu = torch.device(device).type == "cuda"
    side, n, c, hw, size = (8192, 64, 256, 64, 2**28) if on_gpu else (1024, 8, 64, 64, 2**24)
    a = torch.rand(side, side, device=device, dtype=dtype)
    x = torch.rand(n, c, hw, hw, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    w = torch.rand(c, c, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    source, copy_ = torch.rand(size, device=device), torch.empty(size, device=device)
    with torch.no_grad():
        return {
            "matrix product": rate(lambda: a @ a, 2 * side**3, device),
            "convolution": rate(
                lambda: torch.conv2d(x, w, padding=1), 2 * n * (hw * c * 3) ** 2, device
            ),
            # Each of 4 bytes a number is read and written.
            "copied bytes": rate(lambda: copy_.copy_(source), 2 * 4 * size, device),
        }


def floor(work, rates):
    """The images per second that neither operations nor bytes of a step allow to pass."""
    seconds = {
        "operations": work["operations"] / max(rates["matrix product"], rates["convolution"]),
        "bytes": work["bytes"] / rates["copied bytes"],
    }
    bound = max(seconds, key=seconds.get)
    return {**work, "seconds": seconds, "bound": bound}, work["images"] / seconds[bound]


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


def compare(name, case, n_epochs, seed, rates, device="cpu", batches=(BATCH, WEAK_BATCH)):
    """Epochs of a fit and of the bare loop in turns; their images per second, and the floor's."""
    (encoder, size, n_masks, n), (batch, weak_batch) = case, batches
    glands = make_glands(n, image_size=size, random_state=seed)
    codes = np.unique(glands.labels, return_inverse=True)[1]
    images = as_images(glands.images)
    masks = [glands.masks[i] if i < n_masks else None for i in range(n)]
    data = TrainingData.build(images, codes, as_masks(masks, n), None, size, 2).to(device)
    n_steps, amp = -(-n // batch), resolve_amp("auto", device)

    def make_bare(net):
        network = copy.deepcopy(net.module_)  # the same weights at the start
        return BareLoop(network, data, n_steps, n_epochs * n_steps, seed, batch, weak_batch, amp)

    turns = InTurns(make_bare)
    model = JointCAMSegmenter(
        encoder=encoder,
        image_size=size,
        max_epochs=n_epochs,
        batch_size=batch,
        weak_batch_size=weak_batch,
        random_state=seed,
        device=device,
        execution=Execution(amp=amp),
        callbacks=[("turns", turns)],
    )
    model.fit(glands.images, glands.labels, masks)
    # `callbacks_` holds a clone of what the parameter names, or the object itself.
    turns = dict(model.callbacks_)["turns"]
    seconds = turns.fit_seconds[1:], turns.bare_seconds[1:]
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:  # what the processor does meanwhile says nothing
        seconds = tuple([(wall, wall) for _, wall in side] for side in seconds)
    row = ratio_row(f"epoch-{name}", *seconds, LIMIT)
    row.update(encoder=encoder, image_size=size, n_images=n, n_masks=n_masks, n_steps=n_steps)
    row.update(device=device, amp=amp, batch=[batch, weak_batch])
    row["last_loss"] = {"fit": model.history[-1, "train_loss"], "bare": turns.bare_losses[-1]}
    work = turns.bare.work()
    row["floor"], at_most = floor(work, rates)
    fit, bare = (n_steps * work["images"] / np.median(np.array(side)[:, 0]) for side in seconds)
    row["images_per_second"] = {"fit": fit, "bare": bare, "floor": at_most}
    shown = f"fit {fit:.1f} bare {bare:.1f} floor {at_most:.1f} by {row['floor']['bound']}"
    print(f"images/s epoch-{name} {shown}", flush=True)
    return row


def compiled(encoder, size, n_repeats, seed, device="cpu", batch=BATCH):
    """A training step of the network with `torch.compile` over one without; no limit, a record."""
    images = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(seed))
    images = images.to(device).contiguous(memory_format=torch.channels_last)
    amp = resolve_amp("auto", device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = JointCAMNetwork(encoder, dropout=0.0, class_dropout=0.0).to(device)
    network = network.to(memory_format=torch.channels_last).train()

    def make_step(forward):
        def step():
            network.zero_grad(set_to_none=True)
            with torch.autocast(images.device.type, torch.bfloat16) if amp else nullcontext():
                out = forward(images)
            (out["logits"].float().sum() + out["mask_logits"].float().square().mean()).backward()
            if images.is_cuda:
                torch.cuda.synchronize(device)

        return step

    steps = {"compiled": make_step(torch.compile(network)), "plain": make_step(network)}
    began = time.perf_counter()
    steps["compiled"]()
    first = time.perf_counter() - began
    seconds = {k: np.array(v) for k, v in interleave(steps, n_repeats).items()}
    column = int(images.is_cuda)  # CPU seconds, or of the clock
    medians = {name: float(np.median(rows[:, column])) for name, rows in seconds.items()}
    ratio = medians["compiled"] / medians["plain"]
    print(f"compiled-step-{encoder} {ratio:.3f}, its first step {first:.0f} s", flush=True)
    return {
        "name": f"compiled-step-{encoder}",
        "ratio": ratio,
        "first_step_seconds": first,
        "image_size": size,
        "device": device,
        "amp": amp,
        "seconds": {k: v[:, column].tolist() for k, v in seconds.items()},
    }


def step_ratio(name, encoder, size, variants, n_repeats, seed, limit=None):
    """A training step of one variant over one of another, and the losses of their first batch.

    Parameters
    ----------
    name : str
    encoder : str
    size : (int, int)
    variants : dict of str -> (torch.memory_format, bool)
        Two of them: memory layout, and whether the network computes in bfloat16.
    n_repeats, seed : int
    limit : float or None, default=None

    Returns
    -------
    dict
    """
    images = torch.rand(BATCH, 3, *size, generator=torch.Generator().manual_seed(seed))
    target = {
        "labels": torch.arange(BATCH) % 2,
        "masks": (images[:, 0] > 0.5).long(),
        "mask_weight": torch.ones(BATCH, 1, 1),
    }
    losses, steps = {}, {}
    for variant, (layout, amp) in variants.items():
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = JointCAMNetwork(encoder, dropout=0.0, class_dropout=0.0)
        network = network.to(memory_format=layout).train()

        def step(variant=variant, network=network, layout=layout, amp=amp):
            network.zero_grad(set_to_none=True)
            x = images.contiguous(memory_format=layout)
            with torch.autocast("cpu", torch.bfloat16, enabled=amp):
                out = network(x)
            out = {key: None if part is None else part.float() for key, part in out.items()}
            loss = JointLoss()(out, target)
            loss.backward()
            losses.setdefault(variant, float(loss.detach()))

        steps[variant] = step
    seconds = interleave(steps, n_repeats)
    row = ratio_row(f"{name}-{encoder}", *(seconds[variant] for variant in steps), limit)
    return {**row, "image_size": size, "first_loss": losses}


def layout_and_precision(n_repeats, seed):
    """What the default memory layout is worth on a CPU, and what bfloat16 would be."""
    layouts = {
        "channels last": (torch.channels_last, False),
        "default layout": (torch.contiguous_format, False),
    }
    kinds = {"bfloat16": (torch.channels_last, True), "float32": (torch.channels_last, False)}
    rows = []
    for encoder in ("mobilenet_v2", "resnet18"):
        size = (128, 192)
        rows += [
            step_ratio("channels-last-step", encoder, size, layouts, n_repeats, seed, limit=1.0),
            step_ratio("bfloat16-step", encoder, size, kinds, n_repeats, seed),
        ]
    return rows


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", help="of CASES, or of GPU_CASES on a GPU")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", nargs="*", default=[], metavar="ENCODER")
    parser.add_argument("--out", type=Path, help="default: training.json, or training-gpu.json")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    seed, device = arguments.seed, arguments.device
    on_gpu = torch.device(device).type == "cuda"
    cases = GPU_CASES if on_gpu else CASES
    unknown = set(arguments.cases or ()) - set(cases)
    if unknown:
        parser.error(f"--cases must be among {sorted(cases)}, got {sorted(unknown)}.")
    batches = (GPU_BATCH, GPU_WEAK_BATCH) if on_gpu else (BATCH, WEAK_BATCH)
    amp = resolve_amp("auto", device)
    rates = machine_rates(device, torch.bfloat16 if amp else torch.float32)
    print("rates", {name: f"{value:.3g}/s" for name, value in rates.items()}, flush=True)
    rows = [
        compare(name, cases[name], arguments.epochs, seed, rates, device, batches)
        for name in arguments.cases or cases
    ]
    if not on_gpu:
        rows += layout_and_precision(arguments.repeats, seed)
    for encoder in arguments.compile:
        size = (192, 288) if on_gpu else (128, 192)
        rows.append(compiled(encoder, size, arguments.repeats, seed, device, batches[0]))
    out = arguments.out or RESULTS / ("training-gpu.json" if on_gpu else "training.json")
    more = {"seed": seed, "epochs": arguments.epochs, "rates": rates}
    return write_record(out, rows, device, **more)


if __name__ == "__main__":
    sys.exit(main())
