"""The contract of a strategy, a score and an oracle, as checks."""

import functools
import random

import numpy as np

from alseg import strategies
from alseg.calling import accepts, call, name_of
from alseg.images import as_images, as_masks, stack
from alseg.labels import MISSING, is_annotated
from alseg.query import DRAW_UNCERTAINTIES, Regions, pick_regions
from alseg.testing.toys import ContractError, ToyLearner, ToySegmenter, toy_images
from alseg.validation import EmptyPool

# -- our own --


def all_strategies():
    """Every strategy of `alseg.strategies`, with the options that it needs.

    Returns
    -------
    dict
        name -> strategy. Each exported ``*_sampling`` is among them, on masks and on labels
        where it can do both, and each wrapper at least once around a score and a strategy.

    Examples
    --------
    >>> "entropy_sampling" in all_strategies()
    True
    """
    found = {n: getattr(strategies, n) for n in strategies.__all__ if n.endswith("_sampling")}
    small = {"size": 5, "per_image": 3}
    for name, strategy in list(found.items()):
        if accepts(strategy, "target"):
            found[f"{name}(label)"] = functools.partial(strategy, target="label")
    for unit in ("patch", "superpixel", "pixel"):
        for score in (strategies.entropy_score, strategies.mc_variance_score, None):
            strategy = strategies.by_region(score, unit, **small)
            found[strategy.__name__] = strategy
    for score in (
        strategies.least_confidence_score,
        strategies.margin_score,
        strategies.bald_score,
    ):
        strategy = strategies.by_region(score, **small)
        found[strategy.__name__] = strategy
    found["by_region(sliding)"] = strategies.by_region(sliding=True, size=5)
    for unit in ("pixel", "image"):
        found[f"ripu_sampling({unit})"] = functools.partial(strategies.ripu_sampling, unit=unit)
    for score in (strategies.entropy_score, strategies.mc_variance_score):
        found[f"class_balanced({score.__name__})"] = strategies.class_balanced(score)
    for strategy in (
        strategies.entropy_sampling,
        strategies.random_sampling,
        strategies.alps_sampling,
        strategies.typiclust_sampling,
    ):
        found[f"class_balanced({strategy.__name__})"] = strategies.class_balanced(strategy)
    for kind in ("decoder", "cam"):
        strategy = functools.partial(strategies.core_set_sampling, embedding=kind)
        found[f"core_set_sampling({kind})"] = strategy
    for method in DRAW_UNCERTAINTIES:
        for name in ("mc_dropout_sampling", "committee_sampling", "tta_sampling"):
            strategy = functools.partial(getattr(strategies, name), method=method)
            found[f"{name}({method})"] = strategy
    return found | _wrapped()


def _wrapped():
    """The wrappers, each around a score and around a strategy where it can be either."""
    score, draws = strategies.entropy_score, strategies.mc_variance_score
    both = [strategies.entropy_sampling, strategies.random_score]
    found = {
        "stochastic(softmax)": strategies.stochastic(score, beta=50, kind="softmax"),
        "stochastic(softrank)": strategies.stochastic(draws, kind="softrank"),
        "stochastic(inf)": strategies.stochastic(score, beta=np.inf),
        "subsample(5)": strategies.subsample(strategies.entropy_sampling, size=5),
        "subsample(score)": strategies.subsample(draws, size=0.5),
        "mixture(schedule)": strategies.mixture(both, [1, lambda n_labelled: n_labelled / 3]),
    }
    for wrapper in (
        strategies.stochastic,
        strategies.stochastic_batches,
        strategies.distinct,
        strategies.subsample,
    ):
        found[wrapper(score).__name__] = wrapper(score)
    for source in ("cam", "mask", lambda X_pool: np.arange(len(X_pool))):
        strategy = strategies.foreground_random(source)
        found[strategy.__name__] = strategy
    found["clasp_sampling(bald)"] = functools.partial(strategies.clasp_sampling, method="bald")
    for inner in (strategies.core_set_sampling, strategies.core_set_score):
        found[f"with_source({inner.__name__})"] = strategies.with_source(inner)
    found["aada_sampling(0.5)"] = functools.partial(strategies.aada_sampling, top=0.5)
    found["badge_sampling(joint)"] = functools.partial(strategies.badge_sampling, loss="joint")
    # An hour is all of the pool; no time is the fewest images that a question needs.
    for inner in (score, draws, strategies.alps_sampling, strategies.class_balanced(score)):
        for seconds in (3600, 0):
            strategy = strategies.within_seconds(inner, seconds)
            found[f"within_seconds({name_of(inner)}, {seconds})"] = strategy
    parts = strategies.by_region(strategies.entropy_score, size=5, per_image=3)
    for inner in (score, draws, parts, strategies.alps_sampling, strategies.class_balanced(score)):
        found[f"without_near_duplicates({name_of(inner)})"] = strategies.without_near_duplicates(
            inner
        )
    found["without_near_duplicates(-1)"] = strategies.without_near_duplicates(score, alike=-1)
    found["within_seconds(patch)"] = strategies.within_seconds(parts, 3600)
    for inner in (score, draws, parts, strategies.core_set_sampling):
        found[f"spread_over_groups({name_of(inner)})"] = strategies.spread_over_groups(inner, None)
        found[f"spread_over_images({name_of(inner)})"] = strategies.spread_over_images(inner)
    spread = strategies.spread_over_groups(strategies.class_balanced(score), per_group=1)
    found["spread_over_groups(1)"] = spread
    found["within_seconds(spread)"] = strategies.within_seconds(spread, 3600)
    found["distinct(0.5)"] = strategies.distinct(score, similarity=0.5)
    found["mixture(entropy_sampling, random_score)"] = strategies.mixture(both)
    return found


def all_scores():
    """Every score of `alseg.strategies`, on masks and on labels where it can do both.

    Returns
    -------
    dict
        name -> score.

    Examples
    --------
    >>> "entropy_score" in all_scores()
    True
    """
    found = {n: getattr(strategies, n) for n in strategies.__all__ if n.endswith("_score")}
    for name, score in list(found.items()):
        if accepts(score, "target"):
            found[f"{name}(label)"] = functools.partial(score, target="label")
    return found


# -- the contract --


def _fail(name, what):
    raise ContractError(f"{name} {what}.")


def _global_state():
    """The global random states that nobody may move: Python's, numpy's, torch's."""
    import torch  # before the first look: what is checked may be the first to import it

    state = [random.getstate(), np.random.get_state()[1].tobytes(), np.random.get_state()[2]]
    return [*state, torch.random.get_rng_state().numpy().tobytes()]


def _toy_learner(broken=False):
    return ToyLearner(
        ToySegmenter(broken=broken),
        toy_images(3, random_state=1),
        ["class 0", "class 1", "class 2"],
    )


def _labels(n):
    return np.array([f"class {i % 3}" for i in range(n)])


def _check_positions(name, query_idx, n_instances, n_pool):
    idx = np.asarray(query_idx[0] if isinstance(query_idx, tuple) else query_idx)
    if idx.shape != (n_instances,):
        _fail(name, f"must give {n_instances} positions, got shape {idx.shape}")
    if idx.dtype.kind not in "iu":
        _fail(name, f"must give integers, got dtype {idx.dtype}")
    if len(np.unique(idx)) != n_instances:
        _fail(name, f"must give different positions, got {idx.tolist()}")
    if idx.min() < 0 or idx.max() >= n_pool:
        _fail(name, f"must give positions in [0, {n_pool - 1}], got {idx.tolist()}")
    return idx


def check_strategy(strategy, n_pool=11):
    """Check a query strategy against the contract; return None if it holds.

    Parameters
    ----------
    strategy : callable
        ``f(learner, X_pool, n_instances=1, random_state=None) -> query_idx``; bind the options
        it needs with `functools.partial`. If it names `y_pool` or `groups_pool` it is given class
        labels.
    n_pool : int, default=11
        Images in the toy pool.

    Raises
    ------
    ContractError
        Naming the first thing that does not hold:

        - the result is `n_instances` different integer positions in the pool, for one, for some,
          for all of it, and for a pool of one image;
        - the same `random_state` gives the same picks; None and a Generator are taken;
        - the pool, its labels and what the learner was trained on are left as they were, and so
          are the global random states of Python, numpy and torch;
        - images of differing sizes are taken, as a list and as an object array;
        - a pool in another order gives the same images in the same order, if the picks do not
          depend on `random_state`;
        - `n_instances` of 0, below 0, above the pool, or no integer, and an empty pool, are a
          ValueError or a TypeError;
        - if the estimator was asked and said NaN, that is a ValueError.

        One that gives `alseg.query.Regions` is held to the same, with parts of images for
        images: as many as asked, in images of the pool, of their sizes; it takes `masks_pool` and
        asks for no annotated pixel; and a pool that is all annotated is an EmptyPool.

    Examples
    --------
    >>> from alseg.strategies import entropy_sampling
    >>> check_strategy(entropy_sampling)
    >>> def first(learner, X_pool, n_instances=1, random_state=None):
    ...     return np.zeros(n_instances, dtype=int)
    >>> check_strategy(first)
    Traceback (most recent call last):
        ...
    alseg.testing.toys.ContractError: first must give different positions, got [0, 0, 0].
    """
    name = name_of(strategy)
    learner, X_pool, y_pool = _toy_learner(), toy_images(n_pool), _labels(n_pool)

    def ask(X, n_instances, random_state=0, y=None, learner=learner):
        y = _labels(len(X)) if y is None else y
        return call(
            strategy,
            learner,
            X,
            n_instances=n_instances,
            random_state=random_state,
            y_pool=y,
            groups_pool=y,
        )

    before = X_pool.copy(), learner.X_training.copy(), learner.y_training.copy(), _global_state()
    if isinstance(_plain(ask(X_pool, 1)), Regions):
        _check_part_strategy(name, strategy, learner, X_pool, y_pool, before)
        return
    for n_instances in (1, 3, n_pool):
        first = _check_positions(name, ask(X_pool, n_instances), n_instances, n_pool)
        again = _check_positions(name, ask(X_pool, n_instances), n_instances, n_pool)
        if not np.array_equal(first, again):
            _fail(name, f"must repeat with the same random_state, got {first} and {again}")
    for random_state in (None, np.random.default_rng(0)):
        _check_positions(name, ask(X_pool, 3, random_state), 3, n_pool)
    _check_untouched(name, learner, X_pool, y_pool, before)

    _check_positions(name, ask(X_pool[:1], 1), 1, 1)
    ragged = toy_images(n_pool, ragged=True)
    listed = _check_positions(name, ask(ragged, 3), 3, n_pool)
    objects = _check_positions(name, ask(stack(ragged), 3), 3, n_pool)
    if not np.array_equal(listed, objects):
        _fail(name, f"must ask the same of a list and an object array, got {listed}, {objects}")

    if _is_deterministic(ask, X_pool, n_pool):
        order = np.random.default_rng(5).permutation(n_pool)
        picked = np.asarray(_plain(ask(X_pool, 3)))
        moved = np.asarray(_plain(ask(X_pool[order], 3, y=y_pool[order])))
        if not np.array_equal(order[moved], picked):
            _fail(name, f"must not depend on the order of the pool, got {picked}, {order[moved]}")

    _check_refusals(name, ask, X_pool)
    _check_nan(name, ask, X_pool)


def _check_nan(name, ask, X_pool):
    broken = _toy_learner(broken=True)
    try:
        ask(X_pool, 2, learner=broken)
    except ValueError:
        return
    if broken.estimator.n_calls:
        _fail(name, "must raise ValueError when the estimator's predictions are NaN")


def _check_untouched(name, learner, X_pool, y_pool, before):
    if not (np.array_equal(X_pool, before[0]) and np.array_equal(y_pool, _labels(len(y_pool)))):
        _fail(name, "must not change the pool")
    trained = learner.X_training, learner.y_training
    if not all(np.array_equal(a, b) for a, b in zip(trained, before[1:3], strict=True)):
        _fail(name, "must not change what the learner was trained on")
    if _global_state() != before[3]:
        _fail(name, "must not use the global random state of Python, numpy or torch")


def _check_part_strategy(name, strategy, learner, X_pool, y_pool, before):
    """The contract of a strategy that asks about parts of images."""
    n_pool = len(X_pool)

    def ask(X, n_instances, random_state=0, masks=None, learner=learner, y=None):
        result = call(
            strategy,
            learner,
            X,
            n_instances=n_instances,
            random_state=random_state,
            y_pool=_labels(len(X)) if y is None else y,
            masks_pool=masks,
            groups_pool=_labels(len(X)) if y is None else y,
        )
        return _check_regions(name, _plain(result), n_instances, as_images(X))

    for n_instances in (1, 3, n_pool):
        first, again = ask(X_pool, n_instances), ask(X_pool, n_instances)
        if first != again:
            _fail(name, f"must repeat with the same random_state, got {first} and {again}")
    for random_state in (None, np.random.default_rng(0)):
        ask(X_pool, 3, random_state)
    _check_untouched(name, learner, X_pool, y_pool, before)

    ask(X_pool[:1], 1)
    ragged = toy_images(n_pool, ragged=True)
    if ask(ragged, 3) != ask(stack(ragged), 3):
        _fail(name, "must ask the same of a list and an object array")

    if not accepts(strategy, "masks_pool"):
        _fail(name, "must take masks_pool, which says what is annotated already")
    _check_known_pixels(name, ask, X_pool)
    picks = [ask(X_pool, n, seed) for seed in range(4) for n in (3,)]
    if all(regions == picks[0] for regions in picks):
        order = np.random.default_rng(5).permutation(n_pool)
        if ask(X_pool[order], 3, y=y_pool[order]).renumbered(order) != picks[0]:
            _fail(name, "must not depend on the order of the pool")
    _check_numbers(name, ask, X_pool, X_pool[..., 0].size)
    _check_nan(name, ask, X_pool)


def _check_regions(name, regions, n_instances, images):
    """The regions, if they are as many as asked for, in images of the pool."""
    n_pool = len(images)
    if not isinstance(regions, Regions) or len(regions) != n_instances:
        _fail(name, f"must give Regions of {n_instances} parts, got {regions}")
    if regions.sample_ids.max() >= n_pool or regions.sample_ids.min() < 0:
        _fail(name, f"must ask about images in [0, {n_pool - 1}], got {regions.sample_ids}")
    for i, size in zip(regions.sample_ids, regions.sizes, strict=True):
        if tuple(size) != tuple(images.size(i)):
            _fail(name, f"must give an image's own size {images.size(i)}, got {tuple(size)}")
    return regions


def _check_known_pixels(name, ask, X_pool):
    """Annotated pixels are not asked for, and nothing is of a pool without others."""
    n_pool = len(X_pool)
    masks = np.full(n_pool, None, dtype=object)
    masks[0] = np.zeros(X_pool.shape[1:3], int)
    masks[1] = masks[0].copy()
    masks[1][3:] = MISSING
    kept = [None if mask is None else mask.copy() for mask in masks]
    regions = ask(X_pool, 3, masks=masks)
    for i in regions.sample_ids:
        if masks[i] is not None and (regions.mask(i) & (masks[i] != MISSING)).any():
            _fail(name, "must not ask for pixels that are annotated already")
    if not all(np.array_equal(a, b) for a, b in zip(masks, kept, strict=True)):
        _fail(name, "must not change the masks")
    complete = np.zeros(X_pool.shape[:3], int)
    for what, X, masks in (("empty", X_pool[:0], None), ("annotated", X_pool, complete)):
        try:
            ask(X, 1, masks=masks)
        except EmptyPool:
            continue
        except (ValueError, TypeError) as error:
            raise ContractError(
                f"{name} must raise EmptyPool for a pool that is {what}."
            ) from error
        _fail(name, f"must raise EmptyPool for a pool that is {what}")


def _plain(result):
    return result[0] if isinstance(result, tuple) else result


def _is_deterministic(ask, X_pool, n_pool):
    """Whether the order of the whole pool is the same for several seeds."""
    picks = [np.asarray(_plain(ask(X_pool, n_pool, seed))) for seed in range(6)]
    fewer = [np.asarray(_plain(ask(X_pool, 2, seed))) for seed in range(6)]
    return all(np.array_equal(group[0], other) for group in (picks, fewer) for other in group[1:])


def _check_numbers(name, ask, X_pool, most):
    """Only whole numbers from 1 to `most` are asked for."""
    for n_instances in (0, -1, most + 1, 1.5, "2"):
        try:
            ask(X_pool, n_instances)
        except (ValueError, TypeError):
            continue
        _fail(name, f"must refuse n_instances={n_instances!r} of a pool of {len(X_pool)}")


def _check_refusals(name, ask, X_pool):
    _check_numbers(name, ask, X_pool, len(X_pool))
    try:
        ask(X_pool[:0], 1)
    except EmptyPool:
        return
    except (ValueError, TypeError) as error:
        raise ContractError(f"{name} must raise EmptyPool for an empty pool.") from error
    _fail(name, "must raise EmptyPool for an empty pool")


def check_score(score, n_pool=11):
    """Check a score against the contract; return None if it holds.

    Parameters
    ----------
    score : callable
        ``f(learner, X_pool) -> (n_pool,)``; bind the options it needs with `functools.partial`.
        If it names `random_state` or `y_pool` it is given them.
    n_pool : int, default=11

    Raises
    ------
    ContractError
        Naming the first thing that does not hold: a float vector, one finite number an image,
        also for images of differing sizes and a pool of one; the same for the same
        `random_state`; the same for an image wherever it stands (if it does not depend on
        `random_state`); the pool and the global random states left as they were.

    Examples
    --------
    >>> from alseg.strategies import entropy_score
    >>> check_score(entropy_score)
    """
    name = name_of(score)
    learner, X_pool, y_pool = _toy_learner(), toy_images(n_pool), _labels(n_pool)

    def ask(X, y, random_state=0):
        scores = np.asarray(call(score, learner, X, random_state=random_state, y_pool=y))
        if scores.shape != (len(y),) or scores.dtype.kind != "f":
            _fail(name, f"must give ({len(y)},) floats, got {scores.dtype} {scores.shape}")
        if not np.isfinite(scores).all():
            _fail(name, "must give finite numbers")
        return scores

    before, state = X_pool.copy(), _global_state()
    first = ask(X_pool, y_pool)
    if not np.array_equal(first, ask(X_pool, y_pool)):
        _fail(name, "must repeat with the same random_state")
    ask(X_pool[:1], y_pool[:1])
    ask(toy_images(n_pool, ragged=True), y_pool)
    if not np.array_equal(X_pool, before):
        _fail(name, "must not change the pool")
    if _global_state() != state:
        _fail(name, "must not use the global random state of Python, numpy or torch")
    if all(np.array_equal(first, ask(X_pool, y_pool, seed)) for seed in (1, 2)):
        order = np.random.default_rng(5).permutation(n_pool)
        if not np.allclose(ask(X_pool[order], y_pool[order]), first[order]):
            _fail(name, "must give an image the same score wherever it stands")


def check_oracle(oracle, images, sample_ids=None, n_mask_classes=None):
    """Check an oracle against the contract; return None if it holds.

    It is asked several times, so give one that does not charge for it: of a person, a recording.

    Parameters
    ----------
    oracle : callable
        ``oracle(sample_ids) -> masks``. If it has a parameter `regions` it is asked about parts of
        images too.
    images : images as everywhere
        Whose masks they are, aligned with the ids.
    sample_ids : sequence of int, or None
        At least two images that it can answer for. None: the first two.
    n_mask_classes : int or None, default=None
        If given, the classes must be below it.

    Raises
    ------
    ContractError
        Naming the first thing that does not hold: one mask for each id, in the order asked, of
        integers and of its image's size, annotated in at least one pixel, of classes of at least
        0 (-1 where not annotated); ids that it does not know are a ValueError; the ids and the
        global random states are left as they were, and what a caller does to an answer does not
        change the next. With `regions`: nothing is said outside them, something in each image.

    Examples
    --------
    >>> from alseg.oracles import MaskOracle
    >>> images = toy_images(4)
    >>> check_oracle(MaskOracle(np.ones((4, 16, 16), int)), images)
    >>> check_oracle(lambda sample_ids: np.ones((1, 16, 16), int), images)
    Traceback (most recent call last):
        ...
    alseg.testing.toys.ContractError: the oracle must give a mask for each of 2 ids, got 1.
    """
    name = "the oracle"
    faces = as_images(images)
    ids = np.array([0, 1] if sample_ids is None else sample_ids)
    state = _global_state()

    def ask(ids, **regions):
        given = ids.copy()
        masks = oracle(ids, **regions)
        if not np.array_equal(ids, given):
            _fail(name, "must not change the ids")
        masks = _as_answers(name, masks, len(ids))
        for i, mask in zip(ids, masks, strict=True):
            _check_answer(name, i, mask, faces.size(i), n_mask_classes)
        return masks

    first = [mask.copy() for mask in ask(ids)]
    backwards = ask(ids[::-1].copy())[::-1]
    if not all(np.array_equal(a, b) for a, b in zip(first, backwards, strict=True)):
        _fail(name, "must answer in the order asked, and the same each time")
    for mask in oracle(ids.copy()):
        if isinstance(mask, np.ndarray) and mask.flags.writeable:
            mask[...] = MISSING
    if not all(np.array_equal(a, b) for a, b in zip(first, ask(ids), strict=True)):
        _fail(name, "must not let a caller change the truth through an answer")
    for unknown in (-1, len(faces) + 10**6):
        try:
            oracle(np.array([unknown]))
        except (ValueError, KeyError, IndexError, FileNotFoundError):
            continue
        _fail(name, f"must refuse the unknown id {unknown}")
    if accepts(oracle, "regions"):
        _check_answers_of_regions(name, ask, ids, first)
    if _global_state() != state:
        _fail(name, "must not use the global random state of Python, numpy or torch")


def _as_answers(name, masks, n):
    if not hasattr(masks, "__len__") or len(masks) != n:
        got = len(masks) if hasattr(masks, "__len__") else "no sequence"
        _fail(name, f"must give a mask for each of {n} ids, got {got}")
    try:
        masks = as_masks(masks, n)
        return [masks[k] for k in range(n)]
    except (TypeError, ValueError) as error:
        raise ContractError(f"{name} must give masks: {error}") from error


def _check_answer(name, i, mask, size, n_mask_classes):
    if not is_annotated(mask):
        _fail(name, f"must annotate a pixel of image {i} at least, got none")
    if mask.shape != tuple(size):
        _fail(name, f"must give masks of size {size}, got {mask.shape}")
    high = mask.max() if n_mask_classes is None else n_mask_classes - 1
    if mask.min() < MISSING or mask.max() > high:
        _fail(name, f"must give classes in [0, {high}] or -1, got {np.unique(mask)}")


def _check_answers_of_regions(name, ask, ids, first):
    known = [mask == MISSING for mask in first]  # ask where there is an answer
    maps = [np.ones(mask.shape) for mask in first]
    regions = pick_regions(maps, len(ids), "pixel", per_image=1, known=known, random_state=0)
    regions = regions.renumbered(ids)
    for i, mask in zip(ids, ask(ids, regions=regions), strict=True):
        if not np.array_equal(mask != MISSING, regions.mask(i)):
            _fail(name, "must answer about the regions, and about nothing else")
