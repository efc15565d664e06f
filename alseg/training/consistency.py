"""Consistency training: what a model is sure of in an image without a mask, under other colours."""

import torch
import torch.nn.functional as F

from alseg.labels import MISSING
from alseg.training.augment import colour_jitter, stain_jitter


def sure_masks(mask_logits, threshold=0.95):
    """The likeliest class of each pixel, where the model is sure of it.

    Parameters
    ----------
    mask_logits : tensor of shape (M, C, H, W)
    threshold : float in [0, 1], default=0.95

    Returns
    -------
    tensor of shape (M, H, W), int64
        `MISSING` where no class has a probability above `threshold`.

    Examples
    --------
    >>> logits = torch.tensor([0.9, 0.96]).logit().reshape(1, 1, 1, 2)
    >>> sure_masks(torch.cat([torch.zeros_like(logits), logits], 1)).tolist()
    [[[-1, 1]]]
    """
    proba, likeliest = mask_logits.softmax(1).max(1)
    return torch.where(proba > threshold, likeliest, MISSING)


def consistency_loss(mask_logits, masks, without_mask):
    """Cross-entropy of the sure pixels, divided by all pixels of the images without a mask [1]_.

    So an image of which few pixels are sure pulls little, as in [2]_.

    Parameters
    ----------
    mask_logits : tensor of shape (M, C, H, W)
        Of the strongly coloured images.
    masks : tensor of shape (M, H, W), int64
        What `sure_masks` gives of the same images before, and `MISSING` in those with a mask.
    without_mask : tensor of shape (M,), bool
        Which images these are.

    Returns
    -------
    scalar tensor
        0 where no image is without a mask.

    References
    ----------
    .. [1] Sohn et al. 2020, FixMatch, arXiv:2001.07685, Eq. 4, for pixels.
    .. [2] French et al. 2020, arXiv:1906.01916.

    Examples
    --------
    >>> logits = torch.zeros(2, 2, 1, 2)  # log 2 a pixel; one of the two of the first image is sure
    >>> masks = torch.tensor([[[1, -1]], [[-1, -1]]])
    >>> loss = consistency_loss(logits, masks, torch.tensor([True, False]))
    >>> round(loss.item(), 4)
    0.3466
    """
    ce = F.cross_entropy(mask_logits.float(), masks, ignore_index=MISSING, reduction="sum")
    # Not a mean over what is sure, which is nan where nothing is.
    return ce / (without_mask.sum().clamp(min=1) * masks[0].numel())


def ramp_up(step, n_steps, share):
    """How much of its weight a loss has at a step: from 0, evenly, to 1 after a share of the steps.

    Examples
    --------
    >>> [ramp_up(step, 8, 0.5) for step in range(6)], ramp_up(0, 8, 0)
    ([0.0, 0.25, 0.5, 0.75, 1.0, 1.0], 1.0)
    """
    length = share * n_steps
    return min(1.0, step / length) if length else 1.0


class ConsistentBatches:
    """Batches whose images without a mask come in strong colours, with what is sure of them before.

    Each batch of the second stream's images without a mask is predicted as it is, moved and mildly
    coloured, just before its step; then its colours are changed, and its sure pixels go along in
    ``target["consistency"]``. The draws of `batches` are those of a fit without all this.

    Parameters
    ----------
    batches : alseg.training.TrainingBatches
        Of two streams.
    predict : callable
        Images (M, 3, H, W) to mask logits (M, C, H, W), with no gradient.
    options : object
        With ``weight``, ``threshold``, ``ramp``, ``jitter`` and ``stain``, such as
        `alseg.segmenter.Consistency`.
    n_steps : int
        Steps of the whole fit, of which the ramp is a share.
    """

    def __init__(self, batches, predict, options, n_steps):
        self.batches, self.predict = batches, predict
        self.options, self.n_steps, self.step = options, n_steps, 0
        seed = (batches.generator.initial_seed() + 1) % 2**63
        self.generator = torch.Generator().manual_seed(seed)
        known = batches.data.annotated()[batches.second]
        self.any_without_mask = batches.has_masks and not bool(known.all())

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for x, target in self.batches:
            yield self._coloured(x, target) if self.any_without_mask else (x, target)
            self.step += 1

    def _coloured(self, x, target):
        n_first, options = self.batches.batch_size, self.options
        first, weak = x["x"][:n_first], x["x"][n_first:]
        # Of the others `target` has no masks, unless there are pseudo-masks among them. Counted on
        # the device: asking which they are would stop a GPU at each step.
        without_mask = torch.ones(len(weak), dtype=torch.bool, device=weak.device)
        if len(target["masks"]) > n_first:
            without_mask = (target["masks"][n_first:] == MISSING).flatten(1).all(1)
        masks = sure_masks(self.predict(weak), options.threshold)
        masks = torch.where(without_mask[:, None, None], masks, MISSING)
        strong = weak
        if options.stain:
            strong = stain_jitter(strong, self.generator, options.stain)
        if options.jitter:
            strong = colour_jitter(strong, self.generator, options.jitter)
        strong = torch.where(without_mask[:, None, None, None], strong, weak)
        images = torch.cat([first, strong]).contiguous(memory_format=self.batches.memory_format)
        weight = options.weight * ramp_up(self.step, self.n_steps, options.ramp)
        extra = {"masks": masks, "without_mask": without_mask, "weight": weight}
        return {"x": images, "n_decode": len(images)}, {**target, "consistency": extra}


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
    unknown = consistency_loss(last, extra["masks"], extra["without_mask"])
    return criterion(known, target) + extra["weight"] * unknown
