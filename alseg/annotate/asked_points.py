"""Which single pixels of an image are asked about: a fair sample, the same whenever it is drawn.

Uniformly drawn pixels say without bias how often a map of classes is right, whoever made it. So
nothing may choose among them: not the proposal, not what is easy to tell. Others may be drawn
where the proposal is unsure, of images that are no checks, and are said to be so.
"""

import hashlib

import numpy as np

from alseg.labels import MISSING
from alseg.validation import check_number

_UNSURE = 0.1  # share of the open pixels that are taken for the least certain


def random_points(name, size, n, seed=0):
    """Pixels of an image drawn at random, each as likely as any other, none twice.

    The first k of n are those of k: more of them add to those that there were.

    Parameters
    ----------
    name : str
        Of the image: each has pixels of its own.
    size : (int, int)
        Height and width.
    n : int
        All of them, in random order, where there are fewer.
    seed : int, default=0

    Returns
    -------
    points : ndarray of shape (n, 2), int
        Rows and columns, in the order drawn.

    Examples
    --------
    >>> points = random_points("slide-1", (522, 775), 20)
    >>> points.shape, (points[:5] == random_points("slide-1", (522, 775), 5)).all()
    ((20, 2), np.True_)
    """
    check_number("n", n, low=0, integer=True)
    height, width = size
    order = _order(name, height * width, seed)
    positions = [next(order) for _ in range(min(n, height * width))]
    return _places(positions, width)


def open_points(name, mask, n, seed=0):
    """The first of `random_points` about which nobody said anything.

    Parameters
    ----------
    name : str
    mask : ndarray of shape (H, W), int
        `MISSING` where nobody said.
    n : int
    seed : int, default=0

    Returns
    -------
    points : ndarray of shape (n, 2), int
        Fewer where fewer pixels are open.

    Examples
    --------
    >>> mask = np.full((2, 3), MISSING)
    >>> mask[0] = 1
    >>> sorted(open_points("a", mask, 9).tolist())
    [[1, 0], [1, 1], [1, 2]]
    """
    check_number("n", n, low=0, integer=True)
    is_open = (np.asarray(mask) == MISSING).ravel()
    left = min(n, int(is_open.sum()))
    positions = []
    order = _order(name, is_open.size, seed)
    while len(positions) < left:
        position = next(order)
        if is_open[position]:
            positions.append(position)
    return _places(positions, mask.shape[1])


def unsure_points(name, mask, proposal, n, seed=0):
    """Open pixels drawn at random among the tenth that the proposal is least sure of.

    They teach more where the model is in doubt, but say nothing of how good it is.

    Parameters
    ----------
    name : str
    mask : ndarray of shape (H, W), int
        `MISSING` where nobody said.
    proposal : ndarray of shape (H, W), uint8
        Probability of foreground, 0 to 255.
    n : int
    seed : int, default=0

    Returns
    -------
    points : ndarray of shape (n, 2), int
        Fewer where fewer pixels are open.

    Examples
    --------
    >>> proposal = np.full((4, 5), 255, np.uint8)
    >>> proposal[1, 2:4] = 130
    >>> sorted(unsure_points("a", np.full((4, 5), MISSING), proposal, 2).tolist())
    [[1, 2], [1, 3]]
    """
    check_number("n", n, low=0, integer=True)
    mask = np.asarray(mask)
    rng = np.random.default_rng(seeds_of(f"unsure {name}", seed))
    sure = np.abs(np.asarray(proposal, np.float32) - 127.5)  # 0.5, 1.5, ...
    # Of those that are alike, chance says which: else they would lie in the upper rows.
    sure += rng.random(sure.shape, dtype=np.float32)
    sure[mask != MISSING] = np.inf
    n_open = int(np.isfinite(sure).sum())
    n_least = max(min(n, n_open), int(_UNSURE * n_open))
    if not n_least:
        return _places([], mask.shape[1])
    least = np.argpartition(sure, n_least - 1, axis=None)[:n_least]
    return _places(rng.permutation(np.sort(least))[:n], mask.shape[1])


def asked_points(marks, i, n, n_unsure=0, proposal=None):
    """The pixels that a page asks about next; of a check those that it is measured by.

    Those that are answered in a draft are among them, and those that nobody could tell since the
    marks were saved: who goes on finds the same ones. What nobody could tell before is not asked.

    Parameters
    ----------
    marks : Marks
    i : int
    n : int
    n_unsure : int, default=0
        How many of them by `unsure_points`, where there is a proposal; none on a check.
    proposal : bytes or None, default=None
        As `Proposals` gives it.

    Returns
    -------
    points : ndarray of shape (n, 2), int
        Those drawn at random, then the unsure ones.
    n_unsure : int

    Raises
    ------
    FileNotFoundError, ValueError
        If the image cannot be read.
    """
    name = marks.names[i]
    if marks.checks.status(name) == "open":
        return marks.checks.points(name, marks.size(i), n), 0
    mask, revision, _ = marks.read(i, draft=False)
    mask = _without(mask, [at for at, said in marks.untold.of(name).items() if said < revision])
    window = marks.regions.of(name)
    if window is not None:  # elsewhere nothing is asked
        found = np.zeros_like(mask)
        part = tuple(slice(start, start + n) for start, n in zip(window[:2], window[2:]))
        found[part] = mask[part]
        mask = found
    if proposal is None or marks.checks.status(name) is not None:
        n_unsure = 0
    fair = open_points(name, mask, n - min(n, n_unsure))
    if not n_unsure:
        return fair, 0
    mask = mask.copy()
    mask[tuple(fair.T)] = 0  # none is asked twice
    foreground = np.frombuffer(proposal, np.uint8, mask.size).reshape(mask.shape)
    unsure = unsure_points(name, mask, foreground, min(n, n_unsure))
    return np.concatenate([fair, unsure]), len(unsure)


def _without(mask, pixels):
    """A mask in which some pixels are not open."""
    inside = [at for at in pixels if all(0 <= n < side for n, side in zip(at, mask.shape))]
    if inside:
        mask = mask.copy()
        mask[tuple(np.transpose(inside))] = 0
    return mask


def _order(name, total, seed):
    """Positions in random order, each once, drawn as they are needed."""
    rng = np.random.default_rng(seeds_of(name, seed))
    seen = set()
    while len(seen) < total:
        if 2 * len(seen) > total:  # most draws would be of those seen: what is left is shuffled
            left = np.setdiff1d(np.arange(total), np.fromiter(seen, np.intp, len(seen)))
            yield from rng.permutation(left).tolist()
            return
        position = int(rng.integers(total))
        if position not in seen:
            seen.add(position)
            yield position


def seeds_of(name, seed):
    """Seeds of what is drawn for an image: a list of two integers, by its name and a seed."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return [seed, int.from_bytes(digest[:8], "little")]


def _places(positions, width):
    positions = np.asarray(positions, dtype=np.intp)
    return np.column_stack([positions // width, positions % width])
