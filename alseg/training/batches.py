"""Training batches: drawn from what is decoded, then moved and coloured as a batch."""

import hashlib

import numpy as np
import torch

from alseg.labels import MISSING
from alseg.training.augment import (
    draw_affine,
    draw_colours,
    draw_flips,
    draw_stains,
    flip,
    move,
    move_soft,
    recolour,
    restain,
)
from alseg.training.device import send
from alseg.training.mixing import copy_paste, mix
from alseg.training.training_data import split_streams, to_unit

# Gradient steps of an epoch, at most, where the user names none: with the default of 30 epochs the
# budget of a fit, whatever the number of images.
MAX_STEPS = 5


def cycle(positions, n_draws, rng):
    """`n_draws` positions: whole permutations one after the other, so each comes equally often."""
    n_rounds = -(-n_draws // len(positions))
    order = np.concatenate([rng.permutation(len(positions)) for _ in range(n_rounds)])
    return positions[order[:n_draws]]


def n_batches(n, batch_size, drop_tiny=True):
    """How many batches a pass over `n` images has; a last one that is tiny is dropped.

    Tiny is an eighth of `batch_size` or less (a single image, for small batches): BatchNorm takes
    its statistics from it. The only batch is never dropped.

    Examples
    --------
    >>> n_batches(22, 20), n_batches(22, 20, drop_tiny=False), n_batches(67, 20), n_batches(2, 20)
    (1, 2, 4, 1)
    """
    full, rest = divmod(n, batch_size)
    tiny = drop_tiny and full and rest <= max(1, batch_size // 8)
    return full + bool(rest and not tiny)


def steps_of_epoch(n, batch_size, steps_per_epoch=None, passes=False, drop_tiny=True):
    """Gradient steps of an epoch.

    Parameters
    ----------
    n : int
        Images that a pass goes over.
    batch_size : int
    steps_per_epoch : int or None, default=None
        The answer, where it is given.
    passes : bool, default=False
        Whether an epoch is one pass, see `n_batches`; else batches are drawn, as many as hold `n`,
        but no more than `MAX_STEPS`.
    drop_tiny : bool, default=True

    Examples
    --------
    >>> steps_of_epoch(22, 20), steps_of_epoch(22, 20, passes=True), steps_of_epoch(22, 20, 7)
    (2, 1, 7)
    >>> steps_of_epoch(100_000, 4)
    5
    """
    if steps_per_epoch:
        return steps_per_epoch
    return n_batches(n, batch_size, drop_tiny) if passes else min(-(-n // batch_size), MAX_STEPS)


def drawn(top, n_first, n_second, rng):
    """Positions of the images that are read, where batches hold fewer than there are.

    Parameters
    ----------
    top : ndarray of shape (n,), float
        The largest weight of each image's annotated pixels, 0 where there is none.
    n_first, n_second : int
        How many batches hold at most of either stream, see `split_streams`.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int, increasing
        All of a stream where there are no more; else so many of it at random.

    Examples
    --------
    >>> drawn(np.array([1.0, 0, 0, 0, 1.0]), 2, 3, np.random.default_rng(0))
    array([0, 1, 2, 3, 4])
    >>> len(drawn(np.zeros(1000), 8, 4, np.random.default_rng(0)))  # one stream, without masks
    8
    """
    chosen = []
    for stream, n in zip(split_streams(torch.as_tensor(top)), (n_first, n_second)):
        stream = stream.numpy()
        chosen.append(rng.permutation(stream)[:n] if len(stream) > n > 0 else stream[:n])
    return np.sort(np.concatenate(chosen))


class TrainingBatches:
    """Iterate over an epoch of augmented batches, as ``(x, target)`` pairs for skorch.

    Parameters
    ----------
    data : TrainingData
    positions : tensor of int
        The images to train on.
    n_steps : int or None
        Batches an epoch, whatever the number of masks. None, with ``sampling="passes"``, is one
        pass.
    batch_size, weak_batch_size : int
        Images of the first stream in each batch, and of the second (see `TrainingData.streams`).
    augmentation : dict
        ``flips``, ``affine`` (None or (scale, degrees)), ``stain`` and ``jitter``; and, with random
        numbers of their own, ``copy_paste``, a probability, before the hook, and ``mixup``, the
        alpha of `mix`, after it.
    rng : numpy.random.Generator
    decode : bool, default=True
        False trains the class head alone: batches are drawn from all images, with no masks.
    device : str, default="cpu"
        Where batches are made and given: that of `data`.
    memory_format : torch.memory_format
        Of the images of a batch.
    sampling : {"streams", "passes"}, default="streams"
        ``"passes"`` goes over the images in whole passes, shuffled anew, all kinds mixed, in
        batches of `batch_size`, the last of a pass smaller.
    only_annotated : bool, default=False
        Leave out images without an annotated pixel, from which nothing can be learned.
    drop_tiny : bool, default=True
        See `n_batches`.
    joint_flip : bool, default=True
        False flips the images and not their masks: a defect of published code, for comparison.
    n_views : int or None, default=None
        Each image comes in one of so many views, which depend on its content alone and are the same
        in every fit. None moves and colours it anew each time.
    hook : None or callable, default=None
        What else a batch goes through, see `run_hook`; with random numbers of its own, so that all
        others are those of batches without it.
    """

    def __init__(
        self,
        data,
        n_steps,
        batch_size,
        weak_batch_size,
        augmentation,
        rng,
        decode=True,
        device="cpu",
        memory_format=torch.contiguous_format,
        sampling="streams",
        only_annotated=False,
        drop_tiny=True,
        joint_flip=True,
        n_views=None,
        hook=None,
    ):
        self.data, self.n_steps = data, n_steps
        self.batch_size, self.weak_batch_size = batch_size, weak_batch_size
        self.augmentation, self.rng, self.decode = augmentation, rng, decode
        self.device, self.memory_format = device, memory_format
        self.has_masks = decode and bool(data.annotated().any())
        if self.has_masks:
            self.first, self.second = data.streams()
        else:
            known = data.labelled.nonzero().flatten()
            # Without a mask nothing else teaches.
            self.first = known if len(known) else torch.arange(len(data))
            self.second = torch.arange(0)
        self.sampling, self.drop_tiny, self.joint_flip = sampling, drop_tiny, joint_flip
        if only_annotated and self.has_masks:
            self.second = self.second[data.annotated()[self.second]]
        self.second_annotated = self.has_masks and bool(data.annotated()[self.second].any())
        if sampling == "passes" and n_steps is None:
            n = len(self.first) + len(self.second)
            self.n_steps = n_batches(n, batch_size, drop_tiny)
        self.generator = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
        self.n_views, self._image_digests = n_views, {}
        self.hook = hook
        seed = self.generator.initial_seed()
        self.hook_generator = torch.Generator().manual_seed(seed ^ 1)
        self.paste_rng, self.mix_rng = (np.random.default_rng([seed, i]) for i in (2, 3))

    def __len__(self):
        return self.n_steps

    def smallest(self):
        """Fewest images of a batch, and fewest, where there are any, that the decoder sees."""
        if self.sampling == "streams":
            n_second = self.weak_batch_size if len(self.second) else 0
            n = self.batch_size + n_second
            return n, (n if self.second_annotated else self.batch_size) if self.has_masks else 0
        positions = torch.cat([self.first, self.second])
        n_pass = n_batches(len(positions), self.batch_size, self.drop_tiny)
        last = len(positions) - (n_pass - 1) * self.batch_size
        n = min(self.batch_size, last) if self.n_steps >= n_pass else self.batch_size
        if not self.has_masks:
            return n, 0
        known = self.data.annotated()[positions]
        return n, n if known.all() else 1  # mixed as chance has it

    def __iter__(self):
        # All that is random in the epoch is drawn before its first batch, and sent to the device in
        # one go: a copy for each batch would have the host wait for a GPU to finish the one before.
        batches = self._streams() if self.sampling == "streams" else self._passes()
        order = [(self._draw(positions), len(positions), n) for positions, n in batches]
        table = {name: torch.cat([draw[name] for draw, *_ in order]) for name in order[0][0]}
        table = {name: send(numbers, self.device) for name, numbers in table.items()}
        stop = 0
        for _, n, n_decode in order:
            start, stop = stop, stop + n
            yield self._batch({name: t[start:stop] for name, t in table.items()}, n_decode)

    def _passes(self):
        """Pairs of positions and how many of them, the first ones, have a mask."""
        positions = torch.cat([self.first, self.second])
        known = self.data.annotated() if self.has_masks else torch.zeros(len(self.data), dtype=bool)
        per_pass, step = n_batches(len(positions), self.batch_size, self.drop_tiny), 0
        while step < self.n_steps:
            order = positions[self.rng.permutation(len(positions))]
            for idx in order.split(self.batch_size)[: min(per_pass, self.n_steps - step)]:
                # Those with a mask first: the others need the class head alone.
                idx = torch.cat([idx[known[idx]], idx[~known[idx]]])
                yield idx, int(known[idx].sum())
                step += 1

    def _streams(self):
        n_second = self.weak_batch_size if len(self.second) else 0
        first = cycle(self.first, self.n_steps * self.batch_size, self.rng)
        first = first.reshape(self.n_steps, self.batch_size)
        if n_second:
            second = cycle(self.second, self.n_steps * n_second, self.rng)
            second = second.reshape(self.n_steps, n_second)
        for step in range(self.n_steps):
            idx = torch.cat([first[step], second[step]]) if n_second else first[step]
            # Without a pseudo-mask among them, the second stream needs the class head alone.
            n_decode = 0
            if self.has_masks:
                n_decode = len(idx) if self.second_annotated else self.batch_size
            yield idx, n_decode

    def _draw(self, positions):
        """All that is random about a batch, by name: tensors on the CPU, a row an image."""
        if self.n_views is None:
            return self._draw_from(positions, self.generator)
        views = self.rng.integers(self.n_views, size=len(positions)).tolist()
        draws = [
            self._draw_from(one, self._view_generator(int(one), view))
            for one, view in zip(positions.split(1), views)
        ]
        return {name: torch.cat([draw[name] for draw in draws]) for name in draws[0]}

    def _draw_from(self, positions, generator):
        n, options = len(positions), self.augmentation
        draw = {"positions": positions, **self.data.draw(positions, generator)}
        draw["flips"] = draw_flips(n, generator, options["flips"])
        if options["affine"]:
            draw["theta"] = draw_affine(n, self.data.size, generator, *options["affine"])
        if options.get("stain"):
            draw["stain"], draw["stain_shift"] = draw_stains(n, generator, options["stain"])
        if options["jitter"]:
            colours = draw_colours(n, self.data.n_channels, generator, options["jitter"])
            draw["gain"], draw["offset"] = colours
        return draw

    def _batch(self, draw, n_decode):
        if self.n_views is None:
            images, masks, weights, soft, objects = self._augmented(draw)
        else:
            # One by one: a view must not depend on the images beside it.
            rows = range(len(draw["positions"]))
            ones = [{name: part[i : i + 1] for name, part in draw.items()} for i in rows]
            parts = [self._augmented(one) for one in ones]
            images, masks, weights, soft, objects = (
                None if part[0] is None else torch.cat(part) for part in zip(*parts)
            )
        labels, masks = self.data.labels[draw["positions"]], masks.long()
        if self.augmentation.get("copy_paste"):
            images, masks, weights = copy_paste(
                images, masks, weights, self.paste_rng, self.augmentation["copy_paste"]
            )
        if self.hook is not None:
            images, masks, labels, weights = self.hook(
                images, masks, labels, weights, self.hook_generator
            )
        n_decode = self._n_decode(masks, n_decode)
        target = {
            "labels": labels,
            "masks": masks[:n_decode],
            "mask_weight": weights[:n_decode],
        }
        if soft is not None:
            target["mask_proba"] = soft[:n_decode]
        if objects is not None:
            target["objects"] = objects[:n_decode]
        if self.augmentation.get("mixup"):
            images, target = mix(images, target, self.mix_rng, self.augmentation["mixup"])
        x = {"x": images.contiguous(memory_format=self.memory_format), "n_decode": n_decode}
        return x, target

    def _n_decode(self, masks, n_decode):
        """How many images the decoder sees: all, if one after the first ones was given a mask."""
        if not self.has_masks or n_decode == len(masks):
            return n_decode
        if self.augmentation.get("mixup"):  # each may meet one with a mask
            return len(masks)
        given = self.hook is not None or self.augmentation.get("copy_paste")
        return len(masks) if given and (masks[n_decode:] != MISSING).any() else n_decode

    def _augmented(self, draw):
        """Images, masks, weights, soft masks and objects (or None), moved and coloured as drawn."""
        where = {name: draw[name] for name in ("positions", "corners") if name in draw}
        images, masks, weights = self.data.gather(**where)
        soft, objects = (
            self._moved(maps, draw, masks, weights)
            for maps in (self.data.gather_soft(**where), self.data.gather_objects(**where))
        )
        images = to_unit(images)
        flipped = flip(images, masks, weights, draw["flips"])
        images, masks, weights = flipped if self.joint_flip else (flipped[0], masks, weights)
        if "theta" in draw:
            images, masks, weights = move(images, masks, weights, draw["theta"])
        if "stain" in draw:
            images = restain(images, draw["stain"], draw["stain_shift"])
        if "gain" in draw:
            images = recolour(images, draw["gain"], draw["offset"])
        return images, masks, weights, soft, objects

    def _moved(self, maps, draw, masks, weights):
        """Maps (N, C, h, w) of what is learned, or None, moved as the masks are."""
        if maps is None:
            return None
        if self.joint_flip:
            maps, *_ = flip(maps, masks, weights, draw["flips"])
        return move_soft(maps, draw["theta"]) if "theta" in draw else maps

    def _view_generator(self, position, view):
        """The random numbers of a view: by the image's content, whatever data it is part of."""
        if position not in self._image_digests:
            pixels = self.data.images[position].cpu().contiguous().numpy()
            self._image_digests[position] = hashlib.blake2b(pixels, digest_size=16).digest()
        seed = hashlib.blake2b(self._image_digests[position] + bytes(str(view), "ascii"))
        return torch.Generator().manual_seed(int.from_bytes(seed.digest()[:7], "big"))
