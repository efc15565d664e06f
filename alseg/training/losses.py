"""JointLoss: image classification plus a counted mask loss, where missing pixels do not count."""

import torch
import torch.nn.functional as F
from torch import nn

from alseg.labels import MISSING
from alseg.training.sparse_marks import balanced_weight, gated_crf_loss
from alseg.validation import check_number, check_option, message


class JointLoss(nn.Module):
    """Cross-entropy of classes, of annotated pixels, and their Dice loss (Belharbi 2021, Eq. 1).

    For image i with annotated pixels A_i and pixel weights v (1 oracle, lambda pseudo)::

        ce_i   = sum_{p in A_i} v_p CE_p / |A_i|
        dice_i = v_i (1 - (2 sum v p t + eps) / (sum v (p + t) + eps)), mean over foreground classes
        loss   = class_scale CE + mask_scale / n * sum_i (ce_i + dice_scale dice_i)

    where v_i is the mean weight of the image's annotated pixels and n the number of images with any
    (``normalize="annotated"``) or the whole batch, as published (``"batch"``). A batch without one
    annotated pixel has the class loss alone, finite.

    Parameters
    ----------
    class_scale : float, default=0.1
        Of the class loss. It is small, since its gradient holds back the mask branch, and the class
        head learns as well with a small one: an optimizer that scales by its own gradients (Adam)
        trains it at the same pace. Published: 1. `JointCAMSegmenter` takes 0.3 where a named
        encoder starts from random weights, unless ``criterion__class_scale`` is given.
    mask_scale : float, default=1.0
    dice_scale : float, default=1.0
        0 is cross-entropy alone, as published.
    ce_scale : float, default=1.0
        0 is Dice alone.
    dice : {"image", "batch"}, default="image"
        ``"batch"`` takes one Dice over the pixels of the whole batch, as if it were one image [2]_.
    dice_background : bool, default=False
        Count the background among the classes that Dice is averaged over.
    dice_eps : float, default=1.0
        Smoothing, in pixels.
    normalize : {"annotated", "batch"}, default="annotated"
    class_weight : tensor of shape (K,) or None
        Weight of each image class in the class loss.
    prior : float, sequence of C floats, or None, default=None
        For strokes and other marks that are no fair sample: share of the pixels that the foreground
        (each class, the background first) covers. Images annotated in part are weighted by it, see
        `alseg.training.balanced_weight`.
    crf_scale : float, default=0.0
        Of the loss by which pixels that nobody marked follow neighbours of their colour, in images
        annotated in part, see `alseg.training.gated_crf_loss`; 0.1 as published [3]_. The images
        must reach the loss: not with a `feature_cache`.

    References
    ----------
    .. [1] Belharbi et al. 2021, arXiv:2010.04889, Eq. 1.
    .. [2] Gorriz et al. 2017, arXiv:1711.09168, in its released code.
    .. [3] Obukhov et al. 2019, arXiv:1906.04651.
    """

    takes_batch = True  # see `alseg.interfaces.BatchLoss`

    def __init__(
        self,
        class_scale=0.1,
        mask_scale=1.0,
        dice_scale=1.0,
        normalize="annotated",
        class_weight=None,
        ce_scale=1.0,
        dice="image",
        dice_background=False,
        dice_eps=1.0,
        prior=None,
        crf_scale=0.0,
    ):
        super().__init__()
        self.class_scale, self.mask_scale, self.dice_scale = class_scale, mask_scale, dice_scale
        self.ce_scale, self.dice_eps, self.dice_background = ce_scale, dice_eps, dice_background
        self.dice = check_option("dice", dice, ("image", "batch"))
        self.normalize = check_option("normalize", normalize, ("annotated", "batch"))
        self.register_buffer("class_weight", class_weight)
        self.register_buffer("prior", _checked_prior(prior))
        self.crf_scale = check_number("crf_scale", crf_scale, 0)

    @property
    def takes_images(self):
        """Whether ``target["images"]`` must be there: the images of the batch, in [0, 1]."""
        return self.crf_scale > 0

    def forward(self, prediction, target):
        """The loss of a batch.

        Parameters
        ----------
        prediction : dict
            ``logits`` (N, K) and ``mask_logits`` (M, C, H, W) of the first M images, or None.
        target : dict
            ``labels`` (N,) int and ``masks`` (M, H, W) int, both with MISSING; ``mask_weight``
            (M, 1, 1) or (M, H, W) float. In a fit with soft masks also ``mask_proba``
            (M, C, H, W) float, whose likeliest classes ``masks`` are.

        Returns
        -------
        scalar tensor
        """
        loss, proba = prediction["logits"].new_zeros(()), target.get("mask_proba")
        if self.class_scale:
            loss = loss + self.class_scale * class_loss(
                prediction["logits"], target["labels"], self.class_weight
            )
        if prediction["mask_logits"] is not None and self.mask_scale:
            mask_weight = target["mask_weight"]
            if self.prior is not None:
                mask_weight = balanced_weight(target["masks"], mask_weight, self.prior)
            per_image, annotated = mask_loss(
                prediction["mask_logits"],
                target["masks"],
                mask_weight,
                self.dice_scale if self.dice == "image" else 0.0,
                self.dice_eps,
                self.ce_scale,
                self.dice_background,
                proba,
            )
            if self.normalize == "batch":
                n = len(prediction["logits"])
            else:
                n = annotated.sum().clamp(min=1)  # a count of 0 would give nan
            loss = loss + self.mask_scale * per_image.sum() / n
            if self.dice == "batch" and self.dice_scale:
                weight = (target["masks"] != MISSING) * mask_weight
                overlap, total = _dice_parts(
                    prediction["mask_logits"], target["masks"], weight, self.dice_background, proba
                )
                overlap, total = overlap.sum(0), total.sum(0)
                dice = 1 - ((2 * overlap + self.dice_eps) / (total + self.dice_eps)).mean()
                loss = loss + self.mask_scale * self.dice_scale * dice
            if self.crf_scale:
                loss = loss + self.crf_scale * gated_crf_loss(
                    prediction["mask_logits"],
                    target["images"][: len(target["masks"])],
                    target["masks"],
                )
        return loss


def _checked_prior(prior):
    """(C,) tensor of shares, or None."""
    if prior is None:
        return None
    shares = torch.atleast_1d(torch.as_tensor(prior, dtype=torch.float32))
    if shares.numel() == 1:
        shares = torch.cat([1 - shares, shares])
    good = shares.ndim == 1 and bool(((shares > 0) & (shares < 1)).all())
    if not good or abs(float(shares.sum()) - 1) > 1e-3:
        rule = "a share in (0, 1), or one for each pixel class that together are 1"
        raise ValueError(message("prior", rule, prior))
    return shares


def class_loss(logits, labels, weight=None):
    """Cross-entropy of image classes, averaged over the images whose class is known.

    Of several classes an image it is the binary one, averaged over the entries that are known.

    Parameters
    ----------
    logits : tensor of shape (N, K)
    labels : tensor of shape (N,), or (N, K) of 0 and 1, int, MISSING where not known
    weight : tensor of shape (K,) or None

    Returns
    -------
    scalar tensor
        0 where no class is known.
    """
    if labels.ndim == 2 and not labels.is_floating_point():
        known = labels != MISSING
        known = known if weight is None else known * weight
        each = F.binary_cross_entropy_with_logits(
            logits, labels.clamp(min=0).to(logits.dtype), reduction="none"
        )
        return (each * known).sum() / known.sum().clamp(min=1e-12)
    loss = F.cross_entropy(logits, labels, weight=weight, ignore_index=MISSING)
    return torch.where((labels != MISSING).any(), loss, 0)  # the mean of none is NaN


def mask_loss(
    mask_logits,
    masks,
    mask_weight,
    dice_scale=1.0,
    eps=1.0,
    ce_scale=1.0,
    background=False,
    proba=None,
):
    """Cross-entropy and soft Dice of each image over its annotated pixels.

    Parameters
    ----------
    mask_logits : tensor of shape (M, C, H, W)
    masks : tensor of shape (M, H, W), int, MISSING where not annotated
    mask_weight : tensor broadcastable to (M, H, W), float
    dice_scale : float, default=1.0
    eps : float, default=1.0
        Smoothing in pixels: an empty mask predicted empty has a Dice of 1.
    ce_scale : float, default=1.0
    background : bool, default=False
        Whether Dice is averaged over the background too.
    proba : tensor of shape (M, C, H, W), float, or None, default=None
        Soft masks: what is learned in place of `masks`, which then only say where something is
        annotated. Finite everywhere. Cross-entropy is ``-sum_c t_c log p_c``; the overlap of Dice
        is ``sum min(p, t)`` [1]_, which is ``sum p t`` of masks that are not soft, and largest, as
        that is not, where p = t.

    Returns
    -------
    per_image : tensor of shape (M,)
        0 for an image without an annotated pixel.
    annotated : tensor of shape (M,), bool

    References
    ----------
    .. [1] Wang et al. 2023, Dice semimetric losses, arXiv:2303.16296.

    Examples
    --------
    >>> logits = torch.zeros(1, 2, 1, 1)
    >>> agree = torch.full((1, 2, 1, 1), 0.5)  # half of the annotators say foreground
    >>> masks, weight = torch.zeros(1, 1, 1, dtype=torch.int64), torch.ones(1, 1, 1)
    >>> loss, _ = mask_loss(logits, masks, weight, proba=agree)  # log 2, and no Dice loss
    >>> round(loss.item(), 4)
    0.6931
    """
    known = masks != MISSING
    n_known = known.flatten(1).sum(1)
    weight = known * mask_weight  # (M, H, W)
    if proba is None:
        ce = F.cross_entropy(mask_logits, masks, ignore_index=MISSING, reduction="none")
    else:
        ce = F.cross_entropy(mask_logits, proba.to(mask_logits.dtype), reduction="none")
    per_image = (ce * weight).flatten(1).sum(1) / n_known.clamp(min=1)
    if ce_scale != 1:
        per_image = ce_scale * per_image
    if dice_scale:
        overlap, total = _dice_parts(mask_logits, masks, weight, background, proba)
        dice = 1 - ((2 * overlap + eps) / (total + eps)).mean(1)
        mean_weight = weight.flatten(1).sum(1) / n_known.clamp(min=1)
        per_image = per_image + dice_scale * dice * mean_weight
    return per_image * (n_known > 0), n_known > 0


def _dice_parts(mask_logits, masks, weight, background=False, soft=None):
    """Overlap and total of each image and class, (M, C or C - 1): Dice is 2 overlap / total."""
    n_classes, first = mask_logits.shape[1], 0 if background else 1
    proba = mask_logits.float().softmax(1)[:, first:]
    if soft is None:
        # Not `one_hot`, which makes int64 of all classes.
        classes = torch.arange(first, n_classes, device=masks.device)[:, None, None]
        truth = masks.clamp(min=0).unsqueeze(1) == classes
        common = proba * truth
    else:
        truth = soft[:, first:]
        common = torch.minimum(proba, truth.to(proba.dtype))
    w = weight.unsqueeze(1)
    overlap = (common * w).flatten(2).sum(2)
    return overlap, ((proba + truth) * w).flatten(2).sum(2)
