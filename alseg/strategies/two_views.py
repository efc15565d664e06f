"""Two looks at one image that should agree: transformed views, and CAM against decoder."""

import functools

import numpy as np

from alseg.derived import PAGE, either_or, joint_of, of_images
from alseg.images import as_images, stack
from alseg.interfaces import has_part
from alseg.query import DRAW_UNCERTAINTIES, bald, needs_mask_proba, sums_for
from alseg.query import aggregate as aggregate_maps
from alseg.rows import n_rows
from alseg.strategies._shared import (
    ask_images,
    check_map_target,
    check_one_class,
    check_shape,
    last_step,
    target_of,
)
from alseg.strategies.disagreement import chunks, pixel_scores
from alseg.validation import check_number, check_option, did_you_mean, message

# name -> (quarter turns, then mirrored or not)
VIEWS = {
    "identity": (0, False),
    "rot90": (1, False),
    "rot180": (2, False),
    "rot270": (3, False),
    "horizontal": (0, True),
    "vertical": (2, True),
    "transpose": (3, True),
    "antitranspose": (1, True),
}
FLIPS = ("identity", "horizontal", "vertical", "rot180")


def move(array, view, axes=(0, 1)):
    """An image in another geometry.

    Parameters
    ----------
    array : ndarray
    view : str
        A name in `VIEWS`.
    axes : pair of int, default=(0, 1)
        Those of height and width.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> move(np.array([[1, 2], [3, 4]]), "vertical")
    array([[3, 4],
           [1, 2]])
    """
    turns, mirrored = VIEWS[view]
    moved = np.rot90(array, turns, axes)
    return np.flip(moved, axes[1]) if mirrored else moved


def move_back(array, view, axes=(1, 2)):
    """The inverse of `move`, by default for probabilities of shape (C, H, W).

    Parameters
    ----------
    array : ndarray
    view : str
        A name in `VIEWS`.
    axes : pair of int, default=(1, 2)
        Those of height and width.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> image = np.arange(6).reshape(2, 3)
    >>> move_back(move(image, "transpose"), "transpose", axes=(0, 1)).tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    turns, mirrored = VIEWS[view]
    array = np.flip(array, axes[1]) if mirrored else array
    return np.rot90(array, -turns, axes)


def _check_views(views):
    """Pairs (there, back) of functions; `back` of None leaves the geometry alone."""
    if isinstance(views, str) or not hasattr(views, "__len__") or len(views) < 2:
        rule = "a sequence of at least 2 views"
        raise ValueError(message("views", rule, views, "One view has nothing to differ from."))
    pairs = []
    for view in views:
        if isinstance(view, str):
            if view not in VIEWS:
                rule = f"names in {sorted(VIEWS)} or pairs of functions"
                raise ValueError(message("views", rule, view, did_you_mean(view, VIEWS)))
            pairs.append(
                (lambda image, v=view: move(image, v), lambda proba, v=view: move_back(proba, v))
            )
        elif isinstance(view, (tuple, list)) and len(view) == 2 and callable(view[0]):
            pairs.append((view[0], (lambda proba: proba) if view[1] is None else view[1]))
        else:
            rule = f"names in {sorted(VIEWS)} or pairs of functions (there, back)"
            raise ValueError(message("views", rule, view))
    return pairs


def tta_score(
    learner,
    X_pool,
    *,
    method="mc_variance",
    views=FLIPS,
    aggregate="mean",
    target=None,
    return_maps=False,
):
    """How much the prediction changes when the image is flipped or turned (test-time augmentation).

    Each view is predicted, mapped back to the image's own geometry, and only then compared with
    the others [1]_.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        With `predict_mask_proba` (`predict_proba` for labels).
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    method : str, default="mc_variance"
        A name in `alseg.query.DRAW_UNCERTAINTIES`; the views are the draws.
    views : sequence, default=("identity", "horizontal", "vertical", "rot180")
        At least two. Names in `VIEWS` (the eight turns and mirrorings of a square), or pairs of
        functions: ``there(image) -> image`` for (H, W, 3), and ``back(proba) -> proba`` for
        (C, H, W), or None where the geometry is left alone, as by a change of colour. Turns by
        90 degrees change the shape of an image that is not square, hence what a network of one
        canvas sees of it.
    aggregate : str or callable, default="mean"
        See `alseg.query.aggregate`; maps are of each image's own size.
    target : {"mask", "label"} or None, default=None
        None is "mask", and "label" of a model that gives no masks.
    return_maps : bool, default=False
        Return the maps too, each at its image's own size.

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        Larger is more worth asking; 0 where the views agree (but for the entropies). Nothing is
        to be learned from flips that the estimator averages over itself (`test_flips`).
    maps : ndarray of shape (n_pool, H, W), or (n_pool,) of arrays; with `return_maps`

    Raises
    ------
    TypeError
        If the estimator cannot predict what is asked.
    ValueError
        If an option is unknown, or a view that is mapped back has not the size of the image.

    References
    ----------
    .. [1] Wang et al. 2019, arXiv:1807.07356.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> tta_score(ToySegmenter(), toy_images(2))  # it looks at each pixel alone
    array([0., 0.])
    """
    check_option("method", method, DRAW_UNCERTAINTIES)
    needs_mask_proba(aggregate)
    pairs = _check_views(views)
    target = target_of(learner, target)
    check_map_target(target, return_maps)
    estimator, X_pool = last_step(learner, X_pool)
    name = "predict_mask_proba" if target == "mask" else "predict_proba"
    if not hasattr(estimator, name):
        raise TypeError(message("learner", f"with `{name}`", estimator))
    predict = getattr(estimator, name)
    images, n_pool = as_images(X_pool), n_rows(X_pool)

    def viewed(idx):
        faces = [images[i] for i in idx]
        for there, back in pairs:
            seen = predict(stack([np.ascontiguousarray(there(face)) for face in faces]))
            if target == "label":
                yield seen
                continue
            seen = [back(np.asarray(proba)) for proba in seen]
            for proba, face in zip(seen, faces, strict=True):
                if proba.shape[1:] != face.shape[:2]:
                    rule = f"mapped back to {face.shape[:2]}"
                    raise ValueError(message("views", rule, proba.shape[1:]))
            yield seen

    if target == "mask":
        predictions = (viewed(idx) for idx in chunks(n_pool))
        return pixel_scores(predictions, method, aggregate, return_maps)
    scores = []
    for idx in chunks(n_pool):
        sums = sums_for(method, axis=1)
        for proba in viewed(idx):
            sums.add(either_or(estimator, np.asarray(proba)))
        scores.append(of_images(DRAW_UNCERTAINTIES[method](sums)))
    return check_shape(np.concatenate(scores), n_pool)


def tta_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    method="mc_variance",
    views=FLIPS,
    aggregate="mean",
    target=None,
):
    """Ask about the images whose prediction changes most when they are flipped or turned.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal scores.
    method, views, aggregate, target
        As in `tta_score`.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Positions in the pool, best first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `tta_score`.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> tta_sampling(ToySegmenter(), toy_images(5), 2, random_state=0).shape
    (2,)
    """
    score = functools.partial(
        tta_score, method=method, views=views, aggregate=aggregate, target=target
    )
    return ask_images(score, learner, X_pool, n_instances, random_state)


def cam_disagreement_score(learner, X_pool, *, aggregate="mean", power=1.0, return_maps=False):
    """Where the evidence for the image's class and the mask disagree.

    The class activation map of the predicted class, scaled to [0, 1] in each image, and the
    decoder's probability of foreground are two opinions on one pixel: their Jensen-Shannon
    divergence is the score. The first is learned from all labels, the second from the masks there
    are, so that it is large where the class is seen and the object is missed, or the reverse. It
    presumes that the class *is* the object; where every class has the same objects (glands of
    any grade) a CAM says little about them.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
        With `predict_joint`, such as `JointCAMSegmenter`. Fitted without any mask its masks *are*
        the CAM, and the score is about 0 for all.
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    aggregate : str or callable, default="mean"
        See `alseg.query.aggregate`; maps are of each image's own size.
    power : float, default=1.0
        Above 0. The scaled map to this power: above 1 a CAM, which is too wide, is narrowed.
    return_maps : bool, default=False
        Return the maps too, each at its image's own size.

    Returns
    -------
    score : ndarray of shape (n_pool,), float, in nats
        In [0, log 2] for the mean. Larger is more worth asking.
    maps : ndarray of shape (n_pool, H, W), or (n_pool,) of arrays; with `return_maps`

    Raises
    ------
    TypeError
        If the estimator has no `predict_joint`.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> cam_disagreement_score(ToySegmenter(), toy_images(3)).shape
    (3,)
    """
    needs_mask_proba(aggregate)
    check_number("power", power, low=0, open_low=True)
    estimator, X_pool = last_step(learner, X_pool)
    if not has_part(estimator, "cams"):
        rule = "with `predict_joint`, or `predict_cams`, that gives class maps"
        raise TypeError(message("learner", rule, estimator, PAGE))
    check_one_class(estimator, "Take tta_score, which asks no class map.")
    images, scores, maps = as_images(X_pool), [], []
    for idx in chunks(n_rows(X_pool)):
        joint = joint_of(estimator, images.take(idx), cams=True)
        winners = np.asarray(joint["proba"]).argmax(axis=1)
        for cam, winner, proba in zip(joint["cams"], winners, joint["mask_proba"], strict=True):
            evidence = scaled_map(np.asarray(cam)[winner], proba.shape[1:]) ** power
            foreground = 1 - np.asarray(proba, dtype=float)[0]
            opinions = np.stack([evidence, foreground])
            values = bald(np.stack([1 - opinions, opinions], axis=1), axis=1)
            scores.append(aggregate_maps(values[None], aggregate, mask_proba=proba[None])[0])
            if return_maps:
                maps.append(values.astype(np.float32))
    scores = check_shape(scores, n_rows(X_pool))
    return (scores, stack(maps)) if return_maps else scores


def scaled_map(cam, size):
    """One class map (h, w) at an image's size, from 0 to 1.

    Examples
    --------
    >>> scaled_map(np.array([[1.0, 3.0]]), (1, 2))
    array([[0., 1.]])
    """
    import torch

    from alseg.segmenter import saliency

    return saliency(torch.from_numpy(np.ascontiguousarray(cam))[None], size)[0].double().numpy()


def cam_disagreement_sampling(
    learner, X_pool, n_instances=1, random_state=None, *, aggregate="mean", power=1.0
):
    """Ask about the images whose class activation map and mask disagree most.

    Parameters
    ----------
    learner : estimator, or learner with `.estimator`
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Decides between equal scores.
    aggregate, power
        As in `cam_disagreement_score`.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Positions in the pool, best first.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `cam_disagreement_score`.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> cam_disagreement_sampling(ToySegmenter(), toy_images(5), 2).shape
    (2,)
    """
    score = functools.partial(cam_disagreement_score, aggregate=aggregate, power=power)
    return ask_images(score, learner, X_pool, n_instances, random_state)
