"""Which phases a fit has, how long each is, and at which rate it learns."""

from typing import NamedTuple

from alseg.interfaces import has_class_head
from alseg.segmenter.parameters import Schedule, uses_bare_images
from alseg.training import steps_of_epoch


class Phase(NamedTuple):
    """A part of a fit that trains one thing.

    Attributes
    ----------
    name : {"joint", "classifier", "mask"}
        What is trained: all of the network, encoder and class head, or the decoder.
    lr : float
        Largest learning rate.
    lr_schedule : str or tuple
        As of `Schedule`.
    n_epochs : int
    n_steps : int
        Gradient steps an epoch.
    """

    name: str
    lr: float
    lr_schedule: object
    n_epochs: int
    n_steps: int


def phases_of_fit(estimator, n_images, n_masks, again=False, head=None):
    """The phases of a fit, in their order.

    Parameters
    ----------
    estimator : estimator
        With `max_epochs`, `batch_size` and `steps_per_epoch`; one without a `Schedule` of its own
        has a single phase.
    n_images, n_masks : int
        All images that it is fitted to, and those of which any pixel is annotated.
    again : bool, default=False
        Whether it goes on from a fit before.
    head : bool or None, default=None
        Whether it has a class head in this fit; None is as the estimator says.

    Returns
    -------
    list of Phase

    Examples
    --------
    >>> from alseg import JointCAMSegmenter, Schedule
    >>> model = JointCAMSegmenter(max_epochs=9, schedule=Schedule("two-phase", refit_epochs=2))
    >>> [(phase.name, phase.n_epochs, phase.n_steps) for phase in phases_of_fit(model, 12, 4)]
    [('classifier', 9, 3), ('mask', 9, 3)]
    >>> [(phase.name, phase.n_epochs) for phase in phases_of_fit(model, 12, 4, again=True)]
    [('mask', 2)]
    """
    schedule = schedule_of(estimator)
    n_epochs = estimator.max_epochs
    if again and schedule.refit_epochs is not None:
        n_epochs = schedule.refit_epochs
    lr = getattr(estimator, "optimizer__lr", getattr(estimator, "lr", None))
    found = []
    for name in _names(schedule, n_masks, again):
        told = {"lr": lr, "lr_schedule": schedule.lr_schedule, "max_epochs": n_epochs}
        if name == "classifier":
            told.update(schedule.class_phase or {})
        n_steps = steps_of_phase(estimator, name, n_images, n_masks, head)
        found.append(Phase(name, told["lr"], told["lr_schedule"], told["max_epochs"], n_steps))
    return found


def _names(schedule, n_masks, again):
    if schedule.phases != "two-phase":
        return ("joint",)
    if not n_masks:
        return ("classifier",)
    # The classifier is frozen since the first fit.
    started = again or schedule.start_from is not None
    return ("mask",) if started else ("classifier", "mask")


def steps_of_phase(estimator, name, n_images, n_masks, head=None):
    """Gradient steps of an epoch of the phase of this name; parameters as of `phases_of_fit`."""
    schedule = schedule_of(estimator)
    passes = schedule.sampling == "passes"
    if passes and n_masks and only_annotated(estimator, name, head):
        n_images = n_masks
    return steps_of_epoch(
        n_images,
        estimator.batch_size,
        estimator.steps_per_epoch,
        passes,
        schedule.drop_tiny_last_batch,
    )


def only_annotated(estimator, name, head=None):
    """Whether batches of this phase leave out what has no mask, where anything has one."""
    # With streams the frozen phase draws as it always has: both kinds, one after the other.
    frozen = name == "mask" and schedule_of(estimator).sampling == "passes"
    # Without a class head an image without a mask teaches nothing, mostly.
    useless = not (has_class_head(estimator) if head is None else head)
    return frozen or (useless and not uses_bare_images(estimator))


def schedule_of(estimator):
    """The `Schedule` of an estimator; that of one without any is the default's."""
    schedule = getattr(estimator, "schedule", None)
    return schedule if isinstance(schedule, Schedule) else Schedule()
