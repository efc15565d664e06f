"""What a mask that somebody gave looks like, beside the proposal and the masks given before."""

from dataclasses import dataclass

import numpy as np

from alseg.images import fingerprint
from alseg.labels import MISSING
from alseg.validation import check_number, message

_OPPOSED = -0.3  # from this correlation with the proposal down, the mask says the opposite
_AGREED = 0.3  # from here up it is not inverted, whatever the others look like
_FEW = 3  # masks that say what is usual
_FAR = 0.3  # share of foreground from the others' median
_MANY = 8  # classes above which looking for each by itself takes longer


@dataclass(frozen=True)
class Answer:
    """What `look_at_mask` found.

    Attributes
    ----------
    shares : dict of str to float
        Of each class but background, by name: its part of the annotated pixels.
    foreground : float
        All of them together.
    annotated : float
        Share of the pixels that are annotated.
    agreement : float or None
        With the proposal: Dice of the foreground; with several classes the mean of Dice over those
        that either of the two holds. None without a proposal.
    digest : str
        Of the mask's content, to be given as one of `others` for those that follow.
    warnings : tuple of str
        What looks wrong, as parts of a sentence: "looks inverted: ...".
    """

    shares: dict
    foreground: float
    annotated: float
    agreement: float | None
    digest: str
    warnings: tuple

    def line(self):
        """One line, such as "foreground 28 %, agrees 0.91 with what was proposed"."""
        parts = [f"{name} {_percent(share)}" for name, share in self.shares.items()]
        if self.annotated < 1:
            parts[-1] += f" of the annotated {_percent(self.annotated)}"
        if self.agreement is not None:
            parts.append(f"agrees {self.agreement:.2f} with what was proposed")
        return ", ".join(parts)


def look_at_mask(
    mask, proposal=None, other_shares=(), others=None, n_mask_classes=2, class_names=None
):
    """Shares, agreement with the proposal, and what looks wrong with a mask.

    Parameters
    ----------
    mask : ndarray of shape (H, W), int
        Class of each pixel, `MISSING` where not annotated; at least one pixel is.
    proposal : ndarray of shape (H, W), int, or None, default=None
        What a model proposed.
    other_shares : sequence of float, default=()
        Share of foreground of the masks given before (`Answer.foreground`). Fewer than three say
        nothing.
    others : dict of str to str, or None, default=None
        Names of the masks given before, by their `Answer.digest`.
    n_mask_classes : int, default=2
    class_names : sequence of str, or None, default=None
        Of the classes but background, or of all. None is "foreground", or "class 1", "class 2", ...

    Returns
    -------
    Answer

    Raises
    ------
    ValueError
        If sizes differ, a value is no class, nothing is annotated, or the names are not as many.

    Notes
    -----
    A mask looks inverted where it says the opposite of the proposal (their correlation over pixels
    is -0.3 or less), or where its share of foreground is far from the median of the others (0.3
    or more) and that of its complement is at most half as far, unless it agrees with the proposal.
    An empty mask or a full one is warned of as such.

    Examples
    --------
    >>> mask = np.zeros((4, 5), int)
    >>> mask[1:3, 1:4] = 1
    >>> proposal = mask.copy()
    >>> proposal[1, 1] = 0
    >>> look_at_mask(mask, proposal).line()
    'foreground 30 %, agrees 0.91 with what was proposed'
    >>> look_at_mask(1 - mask, proposal).warnings
    ('looks inverted: it says the opposite of what was proposed',)
    """
    mask = _checked("mask", mask, n_mask_classes)
    names = _names(class_names, n_mask_classes)
    counts = _counts(mask, n_mask_classes)
    n_seen = counts.sum()
    if not n_seen:
        raise ValueError(message("mask", "annotated in at least one pixel", f"only {MISSING}"))
    shares = {name: float(n / n_seen) for name, n in zip(names, counts[1:], strict=True)}
    foreground = float(counts[1:].sum() / n_seen)
    is_whole = n_seen == mask.size
    agreement = values = guess = None
    if proposal is not None:
        proposal = _checked("proposal", proposal, n_mask_classes)
        if proposal.shape != mask.shape:
            raise ValueError(
                message("proposal", f"of the mask's size {mask.shape}", proposal.shape)
            )
        seen = mask != MISSING
        values, guess = mask[seen], proposal[seen]
        agreement = _mean_dice(values, guess, n_mask_classes)
    digest = fingerprint(mask)
    warnings = []
    if foreground in (0, 1) and is_whole:
        empty, full = "is empty: it holds nothing but background", "is full: it holds no background"
        warnings.append(full if foreground else empty)
    else:
        warnings += _inverted(values, foreground, guess, other_shares)
        if others and digest in others:
            warnings.append(f"is the same as that of {others[digest]}")
    if guess is not None and is_whole and np.array_equal(values, guess):
        warnings.append("is what was proposed, unchanged")
    return Answer(shares, foreground, float(n_seen / mask.size), agreement, digest, tuple(warnings))


def _inverted(values, share, guess, other_shares):
    correlation = None if guess is None else _correlation(values > 0, guess > 0)
    if correlation is not None and correlation <= _OPPOSED:
        return ["looks inverted: it says the opposite of what was proposed"]
    usual = np.asarray(other_shares, dtype=float)
    if len(usual) < _FEW or (correlation is not None and correlation >= _AGREED):
        return []
    middle = np.median(usual)
    far, far_if_turned = abs(share - middle), abs(1 - share - middle)
    if far < _FAR or far_if_turned > far / 2:
        return []
    return [f"looks inverted: foreground {_percent(share)}, {_percent(middle)} in the others"]


def _correlation(a, b):
    """Over pixels (phi); None where one of the two is the same everywhere."""
    if a.all() or b.all() or not (a.any() and b.any()):
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _counts(values, n_mask_classes):
    """Pixels of each class."""
    if n_mask_classes > _MANY:
        return np.bincount(values[values != MISSING], minlength=n_mask_classes)
    # No pixel is moved: somebody may wait for it, and there may be millions.
    return np.array([np.count_nonzero(values == k) for k in range(n_mask_classes)])


def _mean_dice(a, b, n_mask_classes):
    sizes = (_counts(a, n_mask_classes) + _counts(b, n_mask_classes))[1:]
    both = _counts(a[a == b], n_mask_classes)[1:]
    there = sizes > 0
    return float(np.mean(2 * both[there] / sizes[there])) if there.any() else 1.0


def _checked(name, mask, n_mask_classes):
    check_number("n_mask_classes", n_mask_classes, 2, integer=True)
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype.kind not in "iub":
        got = f"{mask.dtype} of shape {mask.shape}"
        raise ValueError(message(name, "whole numbers of shape (H, W)", got))
    # In its own type, by its ends: an image may have many millions of pixels.
    if mask.size and (mask.min() < MISSING or mask.max() >= n_mask_classes):
        bad = np.unique(mask[(mask < MISSING) | (mask >= n_mask_classes)])
        rule = f"of classes in [0, {n_mask_classes - 1}], or {MISSING} where not annotated"
        raise ValueError(message(name, rule, bad.tolist()))
    return mask.astype(np.int16, copy=False)


def _names(class_names, n_mask_classes):
    n = n_mask_classes - 1
    if class_names is None:
        return ["foreground"] if n == 1 else [f"class {k}" for k in range(1, n + 1)]
    names = [str(name) for name in class_names]
    names = names[1:] if len(names) == n + 1 else names
    if len(names) != n or len(set(names)) != n:
        rule = f"{n} different names, of the classes but background"
        raise ValueError(message("class_names", rule, list(class_names)))
    return names


def _percent(share):
    value = 100 * share
    if 0 < value < 1 or 99 < value < 100:
        return f"{value:.1f} %"
    return f"{value:.0f} %"
