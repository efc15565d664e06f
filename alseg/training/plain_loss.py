"""A loss of one's own in torch's form, ``loss(logits, masks)``, beside the loss of the classes."""

import copy
import functools
import inspect
import numbers

import torch
from torch import nn

from alseg.interfaces import takes_batch
from alseg.labels import MISSING
from alseg.training.losses import JointLoss
from alseg.validation import message

_OWN = ("class_scale", "class_weight")
# A pixel that is not known is shown as background that is predicted for certain: with 40 between
# the logits, the softmax of every other class is 0 to sixteen digits.
_CERTAIN = 20.0


class PlainLoss(nn.Module):
    """The loss of a batch by a loss of masks, as torch, MONAI and others have them.

    What `JointCAMSegmenter` makes of such a ``criterion``. The loss of a batch is::

        class_scale CE(class) + loss(mask_logits, masks)

    of the images with an annotated pixel, and the class loss alone where there is none.

    Parameters
    ----------
    loss : callable
        ``loss(logits, masks)`` of logits (M, C, H, W), float32, and masks (M, H, W), int64 (of one
        of MONAI's (M, 1, H, W), or one-hot (M, C, H, W) unless it has ``to_onehot_y=True``).
        It gives a number; or (M,) or (M, H, W), of which `mask_weight` is a factor.
    class_scale : float, default=0.1
        As of `JointLoss`.
    class_weight : tensor of shape (K,) or None

    Notes
    -----
    What is `MISSING` depends on what the loss says:

    - a module with an ``ignore_index``, as torch has it, is given that value there;
    - a function with a parameter ``ignore_index`` is given `MISSING` as that (unless it is bound);
    - any other function sees the masks as they are, with `MISSING`;
    - any other module sees background there, predicted for certain: such pixels have no gradient
      and are right, so a mean over pixels counts them and a Dice of the foreground does not.

    A weight of each image multiplies its part of a loss (M,) or (M, H, W). A loss that gives one
    number is taken of each image by itself where a fit has weights other than 1, and of the batch
    as a whole otherwise. Weights that differ within an image need a loss (M, H, W).

    Examples
    --------
    >>> loss = PlainLoss(nn.CrossEntropyLoss(ignore_index=MISSING), class_scale=0.0)
    >>> prediction = {"logits": torch.zeros(1, 2), "mask_logits": torch.zeros(1, 2, 1, 2)}
    >>> masks = torch.tensor([[[1, MISSING]]])
    >>> target = {"labels": torch.tensor([0]), "masks": masks, "mask_weight": torch.ones(1, 1, 1)}
    >>> round(loss(prediction, target).item(), 4)
    0.6931
    """

    takes_batch = True

    def __init__(self, loss, class_scale=0.1, class_weight=None):
        super().__init__()
        self.of_classes = JointLoss(class_scale, mask_scale=0.0, class_weight=class_weight)
        self.loss = loss
        self.shown_as = _target_of_monai(loss)
        # A pixel of no class at all has no place in what is one-hot.
        self.missing = None if self.shown_as == "one-hot" else _value_of_missing(loss)

    @property
    def class_scale(self):
        """What the class loss counts."""
        return self.of_classes.class_scale

    @property
    def class_weight(self):
        """Weight of each image class in the class loss."""
        return self.of_classes.class_weight

    def forward(self, prediction, target):
        """The loss of a batch; arguments as of `JointLoss`.

        Raises
        ------
        TypeError, ValueError
            If what the loss gives is no tensor of a known shape, not finite or not differentiable,
            or the weights of `target` cannot act on it.
        """
        loss = self.of_classes(prediction, target)
        if prediction["mask_logits"] is None:
            return loss
        logits, masks = prediction["mask_logits"].float(), target["masks"]
        known = masks != MISSING
        annotated = known.flatten(1).any(1)
        if not annotated.all():  # a loss of nothing is nan, or no loss
            logits, masks, known = logits[annotated], masks[annotated], known[annotated]
        if not len(masks):
            return loss + 0.0 * prediction["mask_logits"].sum()  # for a gradient, if of nothing
        weight = target["mask_weight"][annotated]
        return loss + self._of_masks(logits, masks, known, weight, target.get("weighted", True))

    def _of_masks(self, logits, masks, known, weight, weighted):
        found = self._called(logits, masks, known)
        if found.ndim == 0 and not weighted:
            return found
        n_known = known.flatten(1).sum(1)
        if found.ndim == 3:
            pixels = torch.where(known, found, 0.0) * weight
            return (pixels.flatten(1).sum(1) / n_known).mean()
        of_image = (weight * known).flatten(1).sum(1) / n_known
        if weight.shape[1:] != (1, 1):
            self._check_even(weight, known, of_image)
        if found.ndim == 0 and len(masks) > 1:
            parts = zip(logits.split(1), masks.split(1), known.split(1))
            found = torch.stack([self._called(*part) for part in parts])
        return (found * of_image).mean()

    def _called(self, logits, masks, known):
        """What the loss gives for these images, checked: a number, (M,) or (M, H, W)."""
        if self.missing is None:
            certain = logits.new_full((1, logits.shape[1], 1, 1), -_CERTAIN)
            certain[:, 0] = _CERTAIN
            logits = torch.where(known[:, None], logits, certain)
            masks = masks.clamp(min=0)
        elif self.missing != MISSING:
            masks = torch.where(known, masks, self.missing)
        shown = masks
        if self.shown_as is not None:
            shown = masks[:, None]
            if self.shown_as == "one-hot":
                shown = _one_hot(masks, logits.shape[1]).to(logits.dtype)
        try:
            found = self.loss(logits, shown)
        except Exception as error:
            error.add_note(self._note(logits, shown))
            raise
        return self._checked(found, logits, masks)

    def _note(self, logits, shown):
        note = f"criterion was called as loss(logits {tuple(logits.shape)}, masks"
        note += f" {tuple(shown.shape)} {shown.dtype}"
        if self.missing == MISSING:
            note += f", {MISSING} where not annotated"
        return note + "). One that takes dicts of a whole batch says so by `takes_batch = True`."

    def _checked(self, found, logits, masks):
        if not torch.is_tensor(found):
            raise TypeError(message("criterion's loss", "a tensor", type(found).__name__))
        if found.ndim == 4 and found.shape[1] == 1:
            found = found[:, 0]
        if found.ndim and found.shape not in (masks.shape, masks.shape[:1]):
            rule = f"a number, or of shape {tuple(masks.shape[:1])} or {tuple(masks.shape)}"
            remedy = "Set its `reduction`, if it has one."
            raise ValueError(message("criterion's loss", rule, tuple(found.shape), remedy))
        if logits.requires_grad and torch.is_grad_enabled() and not found.requires_grad:
            remedy = "argmax, detach, numpy and the like have no gradient."
            rule = "differentiable by the logits"
            raise ValueError(message("criterion's loss", rule, "one without a gradient", remedy))
        if not torch.isfinite(found).all():
            known_part = found if found.ndim < 3 else torch.where(masks == MISSING, 0.0, found)
            self._check_finite(known_part, logits)
        return found

    def _check_finite(self, found, logits):
        if torch.isfinite(found).all():
            return
        if not torch.isfinite(logits).all():
            remedy = "So are the logits that it was given: training diverged, set a smaller lr."
        else:
            remedy = "The logits that it was given are finite."
        bad = found[~torch.isfinite(found)].flatten()[0].item()
        raise ValueError(message("criterion's loss", "finite", bad, remedy))

    @staticmethod
    def _check_even(weight, known, of_image):
        """Refuse weights that differ within an image, of which a number cannot make use."""
        off = (weight - of_image[:, None, None]).abs() * known
        if bool((off > 1e-5).any()):
            rule = "one number an image with a criterion that gives no loss of each pixel"
            remedy = "Take one with reduction='none', or weights of shape (n,)."
            raise ValueError(message("mask_weight", rule, "weights of pixels", remedy))


def build_criterion(criterion, options):
    """The loss of a batch that is meant by a ``criterion`` and its ``criterion__`` options.

    Parameters
    ----------
    criterion : class, nn.Module or function
        One that `takes_batch` is called with what the network gives and what is known; any other
        with logits and masks, see `PlainLoss`. Of a class an object is made, a module is copied,
        and options of a function are bound to it.
    options : dict of str -> object

    Returns
    -------
    nn.Module or callable

    Raises
    ------
    TypeError
        If there are options of a module, which is made already.

    Examples
    --------
    >>> build_criterion(nn.CrossEntropyLoss, {"label_smoothing": 0.1, "class_scale": 0.5}).loss
    CrossEntropyLoss()
    >>> type(build_criterion(JointLoss, {"dice_scale": 0.0})).__name__
    'JointLoss'
    """
    if takes_batch(criterion):
        return _made(criterion, options)
    own = {name: options[name] for name in _OWN if name in options}
    rest = {name: value for name, value in options.items() if name not in own}
    return PlainLoss(_made(criterion, rest), **own)


def criterion_options(criterion):
    """Names of the ``criterion__`` options that there are, or None for any.

    Examples
    --------
    >>> def focal(logits, masks, gamma=2.0): ...
    >>> criterion_options(focal), criterion_options(nn.CrossEntropyLoss())
    (['gamma', 'class_scale'], ['class_scale'])
    """
    own = [] if takes_batch(criterion) else ["class_scale"]
    if isinstance(criterion, nn.Module):
        return own
    parameters = _parameters(criterion)
    if parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    names = list(parameters)
    if takes_batch(criterion) and not _is_class(criterion):
        return names[2:]
    return names + own if _is_class(criterion) else names[2:] + own


def _made(criterion, options):
    """What is called with two arguments."""
    if _is_class(criterion):
        return criterion(**options)
    if isinstance(criterion, nn.Module):
        if options:
            kind, names = type(criterion).__name__, sorted(f"criterion__{name}" for name in options)
            remedy = f"{', '.join(names)} cannot be set on it: give the class, criterion={kind}."
            raise TypeError(
                message("criterion", "a class or a function to have options", criterion, remedy)
            )
        return copy.deepcopy(criterion)  # its tensors go to the device of a fit
    parameters = _parameters(criterion) or {}
    bound = criterion.keywords if isinstance(criterion, functools.partial) else {}
    if "ignore_index" in parameters and "ignore_index" not in bound and not takes_batch(criterion):
        options = {"ignore_index": MISSING, **options}
    return functools.partial(criterion, **options) if options else criterion


def _is_class(criterion):
    """Whether an object has to be made first, of a class or what binds some of its arguments."""
    if isinstance(criterion, functools.partial):
        criterion = criterion.func
    return isinstance(criterion, type)


def _parameters(function):
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # some of torch's functions have none
        return None


def _value_of_missing(loss):
    """What a loss is shown where a mask is MISSING; None if nothing tells it to leave it out."""
    if isinstance(loss, nn.Module):
        index = getattr(loss, "ignore_index", None)  # as torch's losses call it
        return int(index) if isinstance(index, numbers.Integral) else None
    while isinstance(loss, functools.partial):
        if "ignore_index" in loss.keywords:
            return loss.keywords["ignore_index"]
        loss = loss.func
    return MISSING


def _target_of_monai(loss):
    """How MONAI's losses want masks: "channel" (M, 1, H, W) or "one-hot"; None for any other."""
    if not any(kind.__module__.startswith("monai.") for kind in type(loss).__mro__):
        return None
    told = [part.to_onehot_y for part in loss.modules() if hasattr(part, "to_onehot_y")]
    return "one-hot" if told and not any(told) else "channel"


def _one_hot(masks, n_classes):
    classes = torch.arange(n_classes, device=masks.device)[:, None, None]
    return masks[:, None] == classes
