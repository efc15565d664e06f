"""Which annotated images are held out of training, to choose a threshold or an epoch on."""

import numpy as np

from alseg.images import fingerprint, stack
from alseg.labels import MISSING, is_annotated


def hold_out(images, y, masks, mask_weight, share, rng, held=(), seen=()):
    """Hold a share of the images that an expert annotated out of training, class by class.

    Images are known again by their content: one that was trained on is never held out later, one
    that was held out stays so, and a copy of it is not trained on.

    Parameters
    ----------
    images : as from `alseg.images.as_images`, n of them
    y : ndarray of shape (n,)
        Class labels.
    masks : as from `alseg.images.as_masks`
    mask_weight : list of n floats or arrays of shape (H, W), or None
        An expert's pixels have the largest weight that there is; pseudo-masks have less.
    share : float in (0, 1]
        Of each class; at least one image is held out and at least one left. Copies of an image
        are one: they are held out, or left, together.
    rng : numpy.random.Generator
    held, seen : collection of str, default=()
        Fingerprints of the images held out and trained on before.

    Returns
    -------
    train, part : ndarray of int
        Positions to train on, and those held out.
    held, seen : frozenset of str
        As given, with those of this time.

    Raises
    ------
    ValueError
        If there are annotated images, but none that can be held out, or none left to train on.

    Examples
    --------
    >>> from alseg.images import as_images, as_masks
    >>> X = np.arange(6 * 48, dtype=np.uint8).reshape(6, 4, 4, 3)
    >>> masks = as_masks([np.ones((4, 4), int)] * 4 + [None] * 2, 6)
    >>> y, rng = np.zeros(6, int), np.random.default_rng(0)
    >>> train, part, *known = hold_out(as_images(X), y, masks, None, 0.25, rng)
    >>> part, train
    (array([2]), array([0, 1, 3, 4, 5]))
    >>> part = hold_out(as_images(X), y, masks, None, 0.5, rng, *known)[1]  # no other is unseen
    >>> part
    array([2])
    """
    n, held = len(images), frozenset(held)
    experts = annotated = np.flatnonzero([is_annotated(masks[i]) for i in range(n)])
    if mask_weight is not None and len(experts):
        # A threshold is chosen on what an expert drew, not on pseudo-masks.
        top = np.array([np.max(mask_weight[i]) for i in experts])
        experts = experts[(top > 0) & (top >= top.max())]
    key = {i: fingerprint(images[i]) for i in experts}
    label_of = {key[i]: y[i] for i in reversed(experts)}  # each content once, by its first label
    chosen = set()
    for label in np.unique(y):
        candidates = [k for k in dict.fromkeys(key.values()) if label_of[k] == label]
        n_held = min(max(1, round(share * len(candidates))), len(candidates) - 1)
        n_held -= sum(k in held for k in candidates)
        free = [k for k in candidates if k not in held and k not in seen]
        chosen |= {free[i] for i in rng.permutation(len(free))[: max(0, n_held)]}
    held = held | chosen
    part = np.array([i for i in experts if key[i] in held], dtype=int)
    if len(experts) and len(part) in (0, len(experts)):
        lack = "train on" if len(part) else "hold out"
        why = "each class needs two annotated images, copies of one aside"
        why += ", one of them not trained on before" if seen else ""
        if len(experts) < len(annotated):
            why += (
                f"; of the {len(annotated)} with a mask only the {len(experts)} of the largest"
                " mask_weight count, which is an expert's"
            )
        raise ValueError(
            f"validation={share} leaves no image to {lack}: {why}. Annotate more or give a"
            " ValidationSet."
        )
    seen = frozenset(seen) | {key[i] for i in experts if key[i] not in held}
    return np.setdiff1d(np.arange(n), part), part, held, seen


def experts_masks(masks, mask_weight, part):
    """The masks at some positions, without the pixels that weigh less than an expert's.

    Parameters
    ----------
    masks, mask_weight : as in `hold_out`
    part : ndarray of int

    Returns
    -------
    ndarray
    """
    if mask_weight is None:
        return masks.take(part)
    top = max((float(np.max(mask_weight[i])) for i in part), default=1.0)
    return stack([np.where(np.asarray(mask_weight[i]) >= top, masks[i], MISSING) for i in part])
