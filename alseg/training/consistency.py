"""Consistency training: what a model or its teacher says of unknown pixels, under other colours."""

import numpy as np
import torch
import torch.nn.functional as F

from alseg.labels import MISSING
from alseg.training.augment import colour_jitter, stain_jitter

CONSISTENCY_TARGETS = ("sure", "soft")
_MEMORY = 0.99  # of the moving averages of adaptive thresholds: some hundred steps


def sure_masks(mask_logits, threshold=0.95):
    """The likeliest class of each pixel, where the model is sure of it.

    Parameters
    ----------
    mask_logits : tensor of shape (M, C, H, W)
    threshold : float in [0, 1] or tensor of shape (C,), default=0.95
        One for all classes, or one of each.

    Returns
    -------
    tensor of shape (M, H, W), int64
        `MISSING` where no class has a probability above its threshold.

    Examples
    --------
    >>> logits = torch.tensor([0.9, 0.96]).logit().reshape(1, 1, 1, 2)
    >>> logits = torch.cat([torch.zeros_like(logits), logits], 1)
    >>> sure_masks(logits).tolist(), sure_masks(logits, torch.tensor([0.95, 0.85])).tolist()
    ([[[-1, 1]]], [[[1, 1]]])
    """
    proba, likeliest = mask_logits.softmax(1).max(1)
    if torch.is_tensor(threshold):
        threshold = threshold.to(proba.device)[likeliest]
    return torch.where(proba > threshold, likeliest, MISSING)


class AdaptiveThresholds:
    """A threshold of each class that rises as the model learns it [1]_.

    The moving average of the largest probability, times the moving average of the class's
    probability over that of the commonest class. Both begin at 1 / C.

    Parameters
    ----------
    memory : float in [0, 1), default=0.99
        Decay of the averages over steps.

    References
    ----------
    .. [1] Wang et al. 2023, FreeMatch, arXiv:2205.07246, self-adaptive thresholding, for pixels.

    Examples
    --------
    >>> thresholds = AdaptiveThresholds(memory=0.5)
    >>> logits = torch.tensor([0.8, 0.2]).log().reshape(1, 2, 1, 1)
    >>> [round(t, 3) for t in thresholds.after(logits).tolist()]  # 0.65 x (0.65, 0.35) / 0.65
    [0.65, 0.35]
    """

    def __init__(self, memory=_MEMORY):
        self.memory, self.confidence, self.shares = memory, None, None

    def after(self, mask_logits):
        """The thresholds (C,) once the probabilities of a batch (M, C, H, W) are known too."""
        proba = mask_logits.softmax(1)
        n_classes = proba.shape[1]
        if self.shares is None:
            self.confidence = proba.new_tensor(1 / n_classes)
            self.shares = proba.new_full((n_classes,), 1 / n_classes)
        kept = self.memory
        self.confidence = kept * self.confidence + (1 - kept) * proba.max(1)[0].mean()
        self.shares = kept * self.shares + (1 - kept) * proba.mean((0, 2, 3))
        return self.confidence * self.shares / self.shares.max()


def consistency_loss(mask_logits, masks, n_open):
    """Cross-entropy of the pixels that have a target, divided by all open pixels [1]_.

    So an image of which few pixels are sure pulls little, as in [2]_.

    Parameters
    ----------
    mask_logits : tensor of shape (M, C, H, W)
        Of the strongly coloured images.
    masks : tensor of shape (M, H, W), int64, or (M, C, H, W), float
        Classes, `MISSING` where there is none; or probabilities of classes, 0 in all of them where
        there is none.
    n_open : tensor or float
        How many pixels are not annotated, and so might have a target.

    Returns
    -------
    scalar tensor
        0 where no pixel is open.

    References
    ----------
    .. [1] Sohn et al. 2020, FixMatch, arXiv:2001.07685, Eq. 4, for pixels.
    .. [2] French et al. 2020, arXiv:1906.01916.

    Examples
    --------
    >>> logits = torch.zeros(2, 2, 1, 2)  # log 2 a pixel; one of the two of the first image is sure
    >>> masks = torch.tensor([[[1, -1]], [[-1, -1]]])
    >>> round(consistency_loss(logits, masks, 2).item(), 4)
    0.3466
    """
    # Not a mean over what has a target, which is nan where nothing has.
    ignored = {} if masks.is_floating_point() else {"ignore_index": MISSING}
    ce = F.cross_entropy(mask_logits.float(), masks, reduction="sum", **ignored)
    return ce / torch.as_tensor(n_open).clamp(min=1)


def ramp_up(step, n_steps, share):
    """How much of its weight a loss has at a step: from 0, evenly, to 1 after a share of the steps.

    Examples
    --------
    >>> [ramp_up(step, 8, 0.5) for step in range(6)], ramp_up(0, 8, 0)
    ([0.0, 0.25, 0.5, 0.75, 1.0, 1.0], 1.0)
    """
    length = share * n_steps
    return min(1.0, step / length) if length else 1.0


def cut_boxes(n, size, generator):
    """A box of half of the area for each of n images, of random shape and place [1]_.

    Parameters
    ----------
    n : int
    size : (int, int)
        Height and width of the images.
    generator : torch.Generator

    Returns
    -------
    tensor of shape (n, H, W), bool

    References
    ----------
    .. [1] French et al. 2020, arXiv:1906.01916, CutMix of segmentations: a half, whatever the
       shape. Yun et al. 2019, CutMix, arXiv:1905.04899.

    Examples
    --------
    >>> boxes = cut_boxes(2, (32, 48), torch.Generator().manual_seed(0))
    >>> boxes.shape, bool(abs(boxes.float().mean() - 0.5) < 0.05)
    (torch.Size([2, 32, 48]), True)
    """
    height = 2 ** -torch.rand(n, generator=generator)  # of the image's; the width is the rest
    sides = torch.stack([height, 0.5 / height], 1) * torch.tensor(size)
    room = torch.tensor(size) - sides
    low = room * torch.rand(n, 2, generator=generator)
    boxes = torch.ones(n, *size, dtype=torch.bool)
    for axis in (0, 1):
        at = torch.arange(size[axis]) + 0.5
        within = (at > low[:, axis, None]) & (at < (low + sides)[:, axis, None])
        boxes &= within[:, :, None] if axis == 0 else within[:, None, :]
    return boxes


def taught_by(teacher):
    """Mask probabilities of a batch by a fitted model: tensors (M, C, H, W), as of `predict`.

    Parameters
    ----------
    teacher : estimator
        With `predict_mask_proba(X)`, such as a fitted `JointCAMSegmenter` or `DeepEnsemble`. It
        sees the moved images as 8-bit arrays, as it would see those of a user.

    Returns
    -------
    callable
        Images (M, 3, H, W), float in [0, 1], to the logarithms of the probabilities.
    """

    def log_proba(x):
        pixels = (x.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
        found = teacher.predict_mask_proba(pixels.permute(0, 2, 3, 1).cpu().numpy())
        found = np.stack([np.asarray(one, dtype=np.float32) for one in found])
        return torch.from_numpy(found).to(x.device).clamp(min=1e-7).log()

    return log_proba


class ConsistentBatches:
    """Batches whose images without a mask come in strong colours, with what is said of them before.

    Each batch of the second stream's images without a mask is predicted as it is, moved and mildly
    coloured, just before its step; then its colours are changed, and what is predicted goes along
    in ``target["consistency"]``. The draws of `batches` are those of a fit without all this.

    Parameters
    ----------
    batches : alseg.training.TrainingBatches
        Of two streams.
    predict : callable
        Images (M, 3, H, W) to mask logits (M, C, H, W), with no gradient.
    options : object
        Fields of `alseg.segmenter.Consistency`.
    n_steps : int
        Steps of the whole fit, of which the ramp is a share.
    """

    def __init__(self, batches, predict, options, n_steps):
        self.batches, self.predict = batches, predict
        self.options, self.n_steps, self.step = options, n_steps, 0
        seed = (batches.generator.initial_seed() + 1) % 2**63
        self.generator = torch.Generator().manual_seed(seed)
        known = batches.data.annotated()[batches.second]
        self.any_open = batches.has_masks and (options.within or not bool(known.all()))
        self.thresholds = AdaptiveThresholds() if options.threshold == "adaptive" else None

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for x, target in self.batches:
            yield self._coloured(x, target) if self.any_open else (x, target)
            self.step += 1

    def _coloured(self, x, target):
        options, images = self.options, x["x"]
        n_first = 0 if options.within else self.batches.batch_size
        given, weak = images[:n_first], images[n_first:]
        open_ = self._open(target["masks"], n_first, images)
        # What is looked at on the device is not asked for: that would stop a GPU at each step.
        changed = open_.flatten(1).any(1)
        masks = self._targets(self.predict(weak), open_)
        strong = weak
        if options.stain:
            strong = stain_jitter(strong, self.generator, options.stain)
        if options.jitter:
            strong = colour_jitter(strong, self.generator, options.jitter)
        strong = torch.where(changed[:, None, None, None], strong, weak)
        bare = open_.flatten(1).all(1)
        strong, masks = self._with_objects(strong, masks, bare, images, target["masks"])
        strong, masks = self._cut(strong, masks, bare)
        images = torch.cat([given, strong]).contiguous(memory_format=self.batches.memory_format)
        weight = options.weight * ramp_up(self.step, self.n_steps, options.ramp)
        extra = {"masks": masks, "n_open": open_.sum(), "weight": weight}
        return {"x": images, "n_decode": len(images)}, {**target, "consistency": extra}

    def _open(self, masks, n_first, images):
        """Which pixels of the images after `n_first` are not annotated, (M, H, W)."""
        open_ = masks[n_first:] == MISSING
        n_bare = len(images) - n_first - len(open_)  # of which `masks` says nothing
        open_ = torch.cat([open_, open_.new_ones(n_bare, *images.shape[2:])])
        return open_ if self.options.within else open_ & open_.flatten(1).all(1)[:, None, None]

    def _targets(self, mask_logits, open_):
        options = self.options
        if options.targets == "soft":
            return mask_logits.softmax(1) * open_[:, None]
        threshold = options.threshold
        if self.thresholds is not None:
            threshold = self.thresholds.after(mask_logits)
        return torch.where(open_, sure_masks(mask_logits, threshold), MISSING)

    def _chosen(self, share, among):
        drawn = torch.rand(len(among), generator=self.generator) < share
        return drawn.to(among.device) & among

    def _with_objects(self, strong, masks, bare, images, known):
        """Annotated objects of a batch's first images pasted into images without a mask."""
        share = self.options.copy_paste
        if not share:
            return strong, masks
        n_first = min(self.batches.batch_size, len(known))
        source = torch.randint(n_first, (len(strong),), generator=self.generator)
        source = source.to(images.device)
        classes = known[source]
        where = (classes > 0) & self._chosen(share, bare)[:, None, None]
        if masks.is_floating_point():
            classes = F.one_hot(classes.clamp(min=0), masks.shape[1]).movedim(3, 1).to(masks.dtype)
        return _pasted(strong, masks, images[source], classes, where)

    def _cut(self, strong, masks, bare):
        """Boxes of images without a mask in others of them."""
        n = len(strong)
        if not self.options.cutmix or n < 2:
            return strong, masks
        shift = int(torch.randint(1, n, (1,), generator=self.generator))
        chosen = self._chosen(self.options.cutmix, bare & bare.roll(shift))
        boxes = cut_boxes(n, strong.shape[2:], self.generator).to(strong.device)
        where = boxes & chosen[:, None, None]
        return _pasted(strong, masks, strong.roll(shift, 0), masks.roll(shift, 0), where)


def _pasted(images, masks, other_images, other_masks, where):
    """Pixels of others where `where` (M, H, W) says so, with their targets."""
    wide = where[:, None]
    masks = torch.where(wide if masks.ndim == 4 else where, other_masks, masks)
    return torch.where(wide, other_images, images), masks


def with_consistency(criterion, prediction, target):
    """The loss of a batch: the criterion's, of the masks that are known, and that of consistency.

    Parameters
    ----------
    criterion : callable
        ``criterion(prediction, target)``, such as `alseg.training.JointLoss`. It sees what it would
        see without consistency training: mask logits of the images that have masks in `target`.
    prediction : dict
        As of `JointCAMNetwork`.
    target : dict
        Of a batch, also one without ``"consistency"``, of which this is the criterion alone.

    Returns
    -------
    scalar tensor
    """
    if not isinstance(target, dict) or "consistency" not in target:
        return criterion(prediction, target)
    extra, mask_logits = target["consistency"], prediction["mask_logits"]
    known = {**prediction, "mask_logits": mask_logits[: len(target["masks"])]}
    last = mask_logits[-len(extra["masks"]) :]
    unknown = consistency_loss(last, extra["masks"], extra["n_open"])
    return criterion(known, target) + extra["weight"] * unknown
