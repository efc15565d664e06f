"""How much work a plan is: fits, steps and counted operations of every row, without training."""

import inspect
import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from alseg.comparison import fits_of_job, steps_of_fit, with_steps
from alseg.images import as_images
from alseg.training import check_crop, enlarged, n_batches
from benchmarks.core.counting import COUNTED

PEAK = 989e12  # operations a second of an H200 in bfloat16, by its data sheet
SUSTAINED = 0.1 * PEAK  # what small batches of small images may reach of it; a guess, not measured


def cost_of_image(estimator, n_classes, canvas=None, decode=True):
    """Operations of one image: forward, and forward and backward as a fit does it.

    Counted on a network without memory: two operations a multiplication and addition, of
    convolutions and matrix products; what is frozen has no backward pass.

    Parameters
    ----------
    estimator : JointCAMSegmenter
        Not fitted.
    n_classes : int
        Image classes.
    canvas : (int, int) or None, default=None
        Of the network; None is the estimator's own, by `crop` or `image_size`.
    decode : bool, default=True
        False is the classifier alone, and all of it is trained.

    Returns
    -------
    forward, training : float
    """
    network = build_network(estimator, n_classes).to("meta")
    if decode and estimator.schedule.phases == "two-phase":
        freeze(network)
    # Two images: BatchNorm has no statistics of one value.
    x = torch.empty(2, 3, *(canvas or canvas_of(estimator)), device="meta")
    if estimator.feature_cache is not None:
        known = network.encode(x)
        network.encode = lambda x: known  # read, not computed
    with FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
        out = network(x, n_decode=2 if decode else 0)
        forward = counter.get_total_flops()
        out["mask_logits" if decode else "logits"].sum().backward()
        return forward / 2, counter.get_total_flops() / 2


def freeze(network):
    """What a two-phase fit does to the classifier before it trains on masks."""
    for part in network.class_parts():
        part.requires_grad_(False)


def build_network(estimator, n_classes):
    """The network of an estimator, of random weights and nothing read from files."""
    model = estimator.__class__(**{**estimator.get_params(deep=False), "device": "cpu"})
    model.set_params(encoder_weights=None, schedule__start_from=None, feature_cache=None)
    model.classes_ = np.arange(n_classes)
    return model.initialize().module_.train()


def canvas_of(estimator):
    """Height and width at which the network of an estimator trains."""
    if estimator.crop is not None:
        crop = check_crop(estimator.crop)
        return (round(crop["size"] * crop["scale"]),) * 2
    size = estimator.image_size
    return (size, size) if np.isscalar(size) else tuple(size)


def whole_image_share(estimator, images):
    """Pixels of a whole image, as it is predicted, over those that a fit sees of it."""
    if estimator.crop is None:
        return 1.0
    crop, images = check_crop(estimator.crop), as_images(images)
    sizes = [images.size(i) for i in range(min(len(images), 64))]
    area = np.mean([np.prod(enlarged(size, crop)) for size in sizes]) * crop["scale"] ** 2
    return float(area / np.prod(canvas_of(estimator)))


def fit_size(estimator, n_masks, n_train, n_pseudo=0, again=False):
    """Gradient steps of a fit, the images in its batches, and its epochs.

    Parameters
    ----------
    estimator : JointCAMSegmenter
    n_masks, n_train : int
        Annotated images, and all images. Without a mask the classifier is trained, on all.
    n_pseudo : int, default=0
        Those with a pseudo-mask.
    again : bool, default=False
        Whether it goes on from the fit before.

    Examples
    --------
    >>> from alseg import JointCAMSegmenter
    >>> model = JointCAMSegmenter.from_preset(
    ...     "belharbi2021-glas", validation=0.2, schedule__start_from="classifier"
    ... )
    >>> fit_size(model, 8, 67), fit_size(model, 8, 67, n_pseudo=59)
    ((1000, 8000, 1000), (4000, 67000, 1000))
    """
    batch, epochs = estimator.batch_size, estimator.max_epochs
    if again and estimator.schedule.refit_epochs is not None:
        epochs = estimator.schedule.refit_epochs
    steps = steps_of_fit(estimator, n_masks + n_pseudo, n_train, again)
    n_masks = n_masks or n_train
    if estimator.schedule.sampling == "streams":
        weak = estimator.weak_batch_size if n_masks < n_train and estimator.has_class_head else 0
        return steps, steps * (batch + weak), epochs
    n = n_masks + n_pseudo
    a_pass = n_batches(n, batch, estimator.schedule.drop_tiny_last_batch)
    return steps, round(steps * min(n, a_pass * batch) / a_pass), epochs


def n_draws_of(strategy):
    """Passes over the pool that a question takes: 1, or the strategy's number of draws."""
    try:
        parameter = inspect.signature(strategy).parameters.get("n_draws")
    except (TypeError, ValueError):
        return 1
    return 1 if parameter is None else int(parameter.default)


def work_of(plan, n_validation=0):
    """Fits, steps and operations of each row and reference of a comparison.

    Parameters
    ----------
    plan : alseg.comparison.Plan
    n_validation : int, default=0
        Images of the validation part, looked at after each epoch where a fit chooses by it.

    Returns
    -------
    dict of str -> dict
        ``fits``, ``steps``, ``training`` and ``prediction`` (operations), by row; all seeds.
    """
    protocol, seen, found = plan.protocol, {}, {}
    train, test = plan.parts[plan.seeds[0]]
    n_train, n_test, n_classes = len(train.labels), len(test.labels), len(np.unique(train.labels))
    for job in plan.jobs:
        line = found.setdefault(_line_of(job, plan), _nothing())
        if job.name == "all-ones":
            continue
        estimator = with_steps(job.row.estimator, protocol)
        key = id(job.row.estimator)
        if key not in seen:
            share = whole_image_share(estimator, train.images)
            seen[key] = *cost_of_image(estimator, n_classes), share
        forward, training, share = seen[key]
        for fits in fits_of_job(job, protocol, n_train):
            sizes = [fit_size(estimator, n, n_train, more, again) for n, more, again in fits]
            sizes = [size for size in sizes if size[0]]  # none where there is no class phase
            n_masks, looked_at = fits[0].n_masks, n_test + sum(fit.n_pseudo for fit in fits)
            augmenter = job.row.augmenter
            if getattr(augmenter, "selection", None) == "ceal" and fits[-1].n_pseudo:
                looked_at += (n_train - n_masks) * (augmenter.n_draws + 1)
            if job.kind == "chain":
                looked_at += n_draws_of(job.row.strategy) * (
                    n_train - n_masks + protocol.n_instances
                )
            if estimator.schedule.keep_epoch == "validation":
                looked_at += n_validation * sum(epochs for *_, epochs in sizes)
            line["fits"] += len(sizes)
            line["steps"] += sum(steps for steps, *_ in sizes)
            line["training"] += training * sum(images for _, images, _ in sizes)
            line["prediction"] += forward * share * looked_at
    return found


def _line_of(job, plan):
    if job.kind != "start":
        return job.name
    rows = [other.name for other in plan.jobs if other.kind == "chain" and other.start == job.name]
    return rows[0]  # the others go on from the same fit


def _nothing():
    return {"fits": 0, "steps": 0, "training": 0.0, "prediction": 0.0}


def measured_speed(estimator, n_classes, side=96):
    """Operations that a core does in a CPU second of a training step of this network.

    At one thread that is what an idle core does in a second, whatever else the machine does.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        side = tuple(min(side, s) for s in canvas_of(estimator))
        _, training = cost_of_image(estimator, n_classes, side)
        network = build_network(estimator, n_classes)
        x = torch.rand(4, 3, *side).contiguous(memory_format=torch.channels_last)
        if estimator.schedule.phases == "two-phase":
            freeze(network)
        for _ in range(2):  # the first also prepares kernels
            began = time.process_time()
            network(x, n_decode=4)["mask_logits"].sum().backward()
            seconds = time.process_time() - began
        return 4 * training / seconds
    finally:
        torch.set_num_threads(before)


def duration(seconds):
    """Seconds to be read.

    Examples
    --------
    >>> duration(40), duration(1200), duration(90_000), duration(9e6)
    ('40 s', '20 min', '25 h', '104 days')
    """
    for unit, size, most in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 3e5)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"
