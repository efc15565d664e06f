"""What a comparison would take: the steps of its fits, counted, and what a step takes, measured."""

import time
from typing import NamedTuple

import numpy as np
from sklearn.base import clone

from alseg.comparison.jobs import n_threads, with_steps
from alseg.derived import masks_of
from alseg.experiment import peak_memory, set_passes
from alseg.interfaces import fit_arguments
from alseg.pseudo import fits_of_round, most_pseudo_masks
from alseg.segmenter import phases_of_fit

NEEDED = ("max_epochs", "steps_per_epoch", "batch_size")
"""Parameters of an estimator without which its steps cannot be counted."""


class Measured(NamedTuple):
    """What `measure` returns.

    Attributes
    ----------
    step : float
        Seconds of a gradient step.
    reading : float
        Seconds that a fit takes beside its steps, for each image.
    prediction : float
        Seconds to predict an image.
    mib : float
        Most memory held.
    """

    step: float
    reading: float
    prediction: float
    mib: float


def not_countable(estimator):
    """Why the steps of an estimator are not known, or None.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    str or None

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> not_countable(GaussianNB())
    'GaussianNB has no max_epochs, steps_per_epoch and batch_size'
    """
    known = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    missing = [name for name in NEEDED if name not in known]
    if not missing:
        return None
    named = " and ".join(filter(None, [", ".join(missing[:-1]), missing[-1]]))
    return f"{type(estimator).__name__} has no {named}"


def steps_of_fit(estimator, n_masks, n_train, again=False):
    """Gradient steps of a fit.

    Parameters
    ----------
    estimator : JointCAMSegmenter
        Of the fit, with all its parameters set.
    n_masks, n_train : int
        Annotated images, and all of them.
    again : bool, default=False
        Whether it goes on from the fit before.

    Returns
    -------
    int
        Of both phases, where there are two.

    Examples
    --------
    >>> from alseg import JointCAMSegmenter, Schedule
    >>> model = JointCAMSegmenter(max_epochs=10, batch_size=8, schedule=Schedule("two-phase"))
    >>> steps_of_fit(model, 8, 20), steps_of_fit(model, 0, 20)  # with masks, and without
    (60, 30)
    >>> steps_of_fit(model, 8, 20, again=True)
    30
    """
    phases = phases_of_fit(estimator, n_train, n_masks, again)
    return sum(phase.n_epochs * phase.n_steps for phase in phases)


class Fit(NamedTuple):
    """A fit as a job makes it.

    Attributes
    ----------
    n_masks : int
        Annotated images.
    n_pseudo : int
        Images with a pseudo-mask, at most.
    again : bool
        Whether it goes on from the fit before.
    """

    n_masks: int
    n_pseudo: int
    again: bool


def fits_of_job(job, protocol, n_train):
    """The fits of a job, in their order.

    Parameters
    ----------
    job : alseg.comparison.jobs.Job
    protocol : Protocol
    n_train : int

    Returns
    -------
    list of list of Fit
        Of each round those that `alseg.pseudo.fits_of_round` tells. A row that asks about parts of
        images is taken to open as many images as it asks questions.
    """
    if job.kind == "reference":
        n_masks = {"full supervision": n_train, "all-ones": None}.get(job.name, 0)
        return [[]] if n_masks is None else [[Fit(n_masks, 0, False)]]
    augmenter, found = job.row.augmenter, []
    plan = fits_of_round(augmenter, protocol.warm_start)
    for round_ in range(1, protocol.rounds + 1) if job.kind == "chain" else [0]:
        n_masks = min(protocol.initial + round_ * protocol.n_instances, n_train)
        n_pseudo = most_pseudo_masks(augmenter, n_masks, n_train)
        found.append([])
        for fit in plan:
            predicted = fit.pseudo == "this" or (fit.pseudo is not None and round_ > 0)
            again = fit.start == "this" or (fit.start == "last" and round_ > 0)
            found[-1].append(Fit(n_masks, n_pseudo if predicted else 0, again))
    return found


def steps_of_job(job, protocol, n_train):
    """Gradient steps of each fit of a job, in their order; parameters as of `fits_of_job`.

    Returns
    -------
    list of int
    """
    model, found = with_steps(job.row.estimator, protocol), []
    for fits in fits_of_job(job, protocol, n_train):
        if protocol.epochs is not None and fits:
            model = clone(model)
            set_passes(
                model, protocol.epochs, n_train if job.kind == "reference" else fits[0].n_masks
            )
        found += [steps_of_fit(model, n + more, n_train, again) for n, more, again in fits]
    return found


def predictions_of_job(job, protocol, n_train, n_test):
    """Images that a job predicts: to measure, to ask (once each), and to label by itself.

    Parameters
    ----------
    job : alseg.comparison.jobs.Job
    protocol : Protocol
    n_train, n_test : int

    Returns
    -------
    int
    """
    if job.kind == "reference":
        return 0 if job.name == "all-ones" else n_test
    plan = fits_of_round(job.row.augmenter, protocol.warm_start)
    if job.kind != "chain":  # there is no model of a round before
        return n_test + n_train * sum(fit.pseudo == "this" for fit in plan)
    labelled = sum(fit.pseudo is not None for fit in plan)
    return protocol.rounds * (n_test + n_train * (labelled + 1))


def measure(estimator, protocol, train, test):
    """What a step, an image to read and an image to predict take here, by three short fits.

    Parameters
    ----------
    estimator : JointCAMSegmenter
    protocol : Protocol
    train, test : Dataset

    Returns
    -------
    Measured
    """
    model = with_steps(estimator, protocol).set_params(random_state=0)
    short = getattr(getattr(model, "schedule", None), "class_phase", None)
    if short:
        model.set_params(schedule__class_phase={**short, "max_epochs": 1})
    took, memory = {}, {}
    few = train.take(np.arange(min(len(train.labels), 16)))
    with n_threads(protocol.n_threads), peak_memory(memory, "peak"):
        for n in (1, 2, 5):  # the first also loads libraries
            model.set_params(max_epochs=1, steps_per_epoch=n)
            began = time.perf_counter()
            model.fit(few.images, few.labels, **fit_arguments(model, {"masks": few.masks}))
            took[n] = time.perf_counter() - began
        some = test.take(np.arange(min(len(test.labels), 4)))
        began = time.perf_counter()
        masks_of(model, some.images)
        image = (time.perf_counter() - began) / len(some.labels)
    phases = len(phases_of_fit(model, len(few.labels), len(few.labels)))
    step = max(took[5] - took[2], 0.0) / (3 * phases)
    reading = max(took[2] - 2 * phases * step, 0.0) / len(few.labels)
    return Measured(step, reading, image, memory.get("peak", float("nan")))
