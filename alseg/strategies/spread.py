"""Questions spread over groups (patients, slides, videos), and over images before any is again."""

import warnings

import numpy as np

from alseg.calling import accepts, call, check_query_idx, name_of, unit_of
from alseg.images import as_masks
from alseg.labels import is_annotated
from alseg.query import Regions, top_n
from alseg.rows import n_rows
from alseg.rows import retrieve_rows as rows
from alseg.strategies._shared import check_pool, check_shape
from alseg.strategies.around_others import check_callable, named
from alseg.strategies.informativeness import entropy_score
from alseg.strategies.underlying import score_beside
from alseg.validation import check_number, check_rng, counted, message, seed_of


def spread_over_groups_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    score=entropy_score,
    per_group=1,
    groups_pool=None,
    unit="image",
    y_pool=None,
    masks_pool=None,
):
    """Ask about groups that have been asked about least, at most `per_group` images of each.

    One image after the other is picked. Each time the groups come into question that have less than
    `per_group` images in this question; of these the groups with the fewest images, annotated
    before or picked now; and of all their images the one of the largest score. So a patient of
    whom nobody has drawn anything comes before the most doubtful image of one who is known.

    Parameters
    ----------
    learner : what `score` needs
        Of one with `groups` and `annotated_ids`, as `ActiveLearner` in mask mode, the annotated
        images count; of any other those of this question alone.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal scores, and is handed on to a score or a strategy that names it.
    score : callable, default=entropy_score
        A score ``f(learner, X_pool) -> (n_pool,)``, computed once for the whole pool, or a strategy
        ``f(learner, X_pool, n_instances=...)``, told by its parameter `n_instances`. One that takes
        the images of a score (`score_beside`) is taken for that score. Any other is asked about the
        images of the groups in question, for one of each; of those that it gives of one group the
        first is taken, and it is asked again about the groups that are left.
    per_group : int or None, default=1
        None is no limit. Where the pool has too few groups it is exceeded, with a warning.
    groups_pool : array-like of shape (n_pool,)
        The group of each image of the pool. ``ActiveLearner(groups=...)`` passes it.
    unit : str, default="image"
        What `score` asks about. Of parts of images (`by_region`) an image gives one at most.
    y_pool, masks_pool : sequence of n_pool, or None
        Cut, and handed on to a score or a strategy that names them.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int; or Regions
        In the order in which they were picked, so that any beginning of it is spread.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid, `groups_pool` does not give a group for each image, or more is
        asked for than there are images.

    Warns
    -----
    UserWarning
        If more than `per_group` images of a group are asked for.

    Examples
    --------
    Two of the patient "p" have the largest scores, but "q" and "r" come before the second.

    >>> groups = ["p", "p", "q", "q", "r"]
    >>> def score(learner, X_pool):
    ...     return np.array([0.9, 0.8, 0.3, 0.7, 0.1])[X_pool]
    >>> spread_over_groups_sampling(None, np.arange(5), 3, score=score, groups_pool=groups)
    array([0, 3, 4])
    """
    n_instances = check_pool(X_pool, n_instances)
    check_callable("score", score)
    _check_per_group(per_group)
    groups = _groups_of(groups_pool, n_rows(X_pool))
    rng = check_rng(random_state)
    offered = {"y_pool": y_pool, "masks_pool": masks_pool}
    ask = _asking(score, learner, X_pool, seed_of(random_state, rng), unit, offered, rng)
    return _picked(ask, n_instances, groups, _annotated_groups(learner), per_group)


def _picked(ask, n_instances, groups, known, per_group):
    """Picks one after another; ``ask(positions, n)`` gives positions best first, and parts."""
    _, codes = np.unique(np.concatenate([groups, known]), return_inverse=True)
    used = np.bincount(codes[len(groups) :], minlength=codes.max() + 1)
    codes, now = codes[: len(groups)], np.zeros_like(used)
    open_, picked, parts = np.ones(len(groups), bool), [], []
    most = n_instances if per_group is None else per_group
    while len(picked) < n_instances:
        allowed = open_ & (now[codes] < most)
        if not allowed.any():
            n_groups = counted(len(np.unique(codes)), "group")
            warnings.warn(
                f"{n_instances} are asked for, but the pool has {n_groups}, and"
                f" per_group={per_group}: more of some groups are asked for.",
                stacklevel=4,
            )
            most, allowed = n_instances, open_.copy()
        least = allowed & (used[codes] == used[codes[allowed]].min())
        positions = np.flatnonzero(least)
        n_groups = len(np.unique(codes[positions]))
        found, these = ask(positions, min(n_groups, n_instances - len(picked)))
        _, first = np.unique(codes[found], return_index=True)
        for k in np.sort(first)[: n_instances - len(picked)]:
            picked.append(found[k])
            parts.append(None if these is None else these.take([k]))
            open_[found[k]] = False
            used[codes[found[k]]] += 1
            now[codes[found[k]]] += 1
    return np.array(picked, dtype=np.intp) if parts[0] is None else _joined(parts)


def _asking(score, learner, X_pool, seed, unit, offered, rng):
    """What `_picked` asks: one that takes the images of a score is that score, computed once."""
    beside = score_beside(score) if unit == "image" else None
    if beside is not None or not accepts(score, "n_instances"):
        score = score if beside is None else beside
        return _by_score(score, learner, X_pool, seed, unit, offered, rng)
    return _by_strategy(score, learner, X_pool, seed, unit, offered, rng)


def _by_score(score, learner, X_pool, seed, unit, offered, rng):
    scores = check_shape(call(score, learner, X_pool, random_state=seed, **offered), n_rows(X_pool))
    order = top_n(scores, len(scores), rng)
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))

    def ask(positions, n):
        return positions[np.argsort(rank[positions])], None

    return ask


def _by_strategy(strategy, learner, X_pool, seed, unit, offered, rng):
    def ask(positions, n):
        cut = {
            name: None if value is None else rows(value, positions)
            for name, value in offered.items()
        }
        result = call(
            strategy,
            learner,
            rows(X_pool, positions),
            n_instances=n,
            random_state=seed,
            unit=unit,
            **cut,
        )
        first = result[0] if isinstance(result, tuple) and len(result) else result
        if isinstance(first, Regions):
            return positions[first.ids], first.renumbered(positions)
        whose = f"the result of {name_of(strategy)}"
        return positions[check_query_idx(result, len(positions), n, whose)], None

    return ask


def _joined(parts):
    """Regions of one part each as one, in their order."""
    sizes = {int(i): tuple(size) for one in parts for i, size in zip(one.sample_ids, one.sizes)}
    ids = [int(one.ids[0]) for one in parts]
    return Regions(ids, [one.pixels(0) for one in parts], sizes, parts[0].unit)


def _annotated_groups(learner):
    """Groups of the images that are annotated, where the learner knows both."""
    groups = getattr(learner, "groups", None)
    if groups is None or not hasattr(learner, "annotated_ids"):
        return np.empty(0, dtype=object)
    return np.asarray(groups)[learner.annotated_ids]


def _groups_of(groups_pool, n_pool):
    if groups_pool is None or np.shape(groups_pool) != (n_pool,):
        got = None if groups_pool is None else np.shape(groups_pool)
        remedy = "ActiveLearner(groups=...) passes it in mask mode; else pass it to query."
        raise ValueError(message("groups_pool", f"groups of shape ({n_pool},)", got, remedy))
    return np.asarray(groups_pool)


def _check_per_group(per_group):
    if per_group is not None:
        check_number("per_group", per_group, 1, integer=True)


def spread_over_groups(score=entropy_score, per_group=1):
    """A strategy that spreads its questions over groups; see `spread_over_groups_sampling`.

    It goes around other wrappers, ``spread_over_groups(class_balanced(entropy_score))``, but for
    `within_seconds` and `without_near_duplicates`, which may go around it; `class_balanced` around
    it spreads the questions of each class by itself.

    Parameters
    ----------
    score : callable, default=entropy_score
        A score or a strategy, also one that asks about parts of images.
    per_group : int or None, default=1
        Images of a group in one question, at most.

    Returns
    -------
    strategy : functools.partial

    Examples
    --------
    >>> spread_over_groups(entropy_score, per_group=2).__name__
    'spread_over_groups(entropy_score)'
    """
    check_callable("score", score)
    _check_per_group(per_group)
    options = {"score": score, "per_group": per_group, "unit": unit_of(score)}
    return named(f"spread_over_groups({name_of(score)})", spread_over_groups_sampling, **options)


# -- images ---------------------------------------------------------------------------------------


def spread_over_images_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    score=entropy_score,
    unit="image",
    y_pool=None,
    masks_pool=None,
    groups_pool=None,
):
    """Ask about no image a second time before all have been asked about once.

    An image of which points, strokes or a part are marked stays in the pool, and the model may
    doubt it still. Those of which nothing is marked come first, and of them those that the strategy
    gives. Of a strategy that asks about parts of images the parts are spread, in this question too:
    see `alseg.query.RegionPicker`.

    Parameters
    ----------
    learner : what `score` needs
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
        How many images, or parts of images.
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal scores, and is handed on to a strategy that names it.
    score : callable, default=entropy_score
        A score or a strategy of images, or a strategy of parts that names `spread`, such as those
        of `by_region`.
    unit : str, default="image"
        What `score` asks about.
    masks_pool : sequence of n_pool masks and None, or None, default=None
        What is annotated already. `ActiveLearner` passes it in mask mode.
    y_pool, groups_pool : sequence of n_pool, or None
        Cut, and handed on to a score or a strategy that names them.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int; or Regions

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If a strategy of parts does not name `spread`, or as `score`.

    Examples
    --------
    The image of the largest score has a mark.

    >>> def score(learner, X_pool):
    ...     return np.array([0.9, 0.2, 0.5])[X_pool]
    >>> masks = [np.array([[1, -1]]), None, None]
    >>> ask = spread_over_images(score)
    >>> ask(None, np.arange(3), 1, masks_pool=masks), ask(None, np.arange(3), 3, masks_pool=masks)
    (array([2]), array([2, 1, 0]))
    """
    check_callable("score", score)
    offered = {"y_pool": y_pool, "masks_pool": masks_pool, "groups_pool": groups_pool}
    if unit != "image":
        _check_spreads(score)
        given = {"n_instances": n_instances, "random_state": random_state, "spread": True}
        return call(score, learner, X_pool, **given, **offered)
    n_instances = check_pool(X_pool, n_instances)
    rng = check_rng(random_state)
    known = as_masks(masks_pool, n_rows(X_pool))
    marked = np.array([is_annotated(known[i]) for i in range(n_rows(X_pool))])
    ask = _asking(score, learner, X_pool, seed_of(random_state, rng), unit, offered, rng)
    found, left = [], n_instances
    for positions in (np.flatnonzero(~marked), np.flatnonzero(marked)):
        n = min(left, len(positions))
        if n:
            found.append(ask(positions, n)[0][:n])
            left -= n
    return np.concatenate(found)


def _check_spreads(score):
    bound = getattr(score, "keywords", {})
    if not (accepts(score, "spread") or bound.get("spread")):
        rule = "one of images, or one of parts of images that names spread"
        raise TypeError(message("score", rule, name_of(score), "by_region makes such a one."))


def spread_over_images(score=entropy_score):
    """A strategy that asks about no image twice before all once; see `spread_over_images_sampling`.

    Parameters
    ----------
    score : callable, default=entropy_score
        A score or a strategy, also one that asks about parts of images.

    Returns
    -------
    strategy : functools.partial

    Raises
    ------
    TypeError
        If `score` is not callable, or asks about parts and does not name `spread`.

    Examples
    --------
    >>> from alseg.strategies import by_region
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> pixels = by_region(entropy_score, "pixel")
    >>> pixels(ToySegmenter(), toy_images(5), 5, 0)
    Regions(5 pixels in 3 images)
    >>> spread_over_images(pixels)(ToySegmenter(), toy_images(5), 5, 0)
    Regions(5 pixels in 5 images)
    """
    check_callable("score", score)
    unit = unit_of(score)
    if unit != "image":
        _check_spreads(score)
    name = f"spread_over_images({name_of(score)})"
    return named(name, spread_over_images_sampling, score=score, unit=unit)
