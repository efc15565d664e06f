"""The jobs of a comparison, independent of one another, and their files.

A *start* is round 0 of a seed: the initial masks and the network fitted to them, which all rows of
that seed share. A *chain* is one row and seed from round 1 on. A *reference* asks nothing.

    out/starts/<setting>/<seed>/   records.jsonl, model-0/
    out/rows/<row>/<seed>/         records.jsonl
    out/references/<name>/<seed>/  records.jsonl

Each job writes its own file, a line a round, and goes on there when it is started again; so it does
not matter how many jobs run at once, where, or how often one is killed.
"""

import functools
import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.utils import Bunch

from alseg.calling import unit_of
from alseg.experiment import (
    Records,
    annotated_part,
    describe_data,
    described,
    device_of,
    environment,
    evaluate,
    foreground_pixels,
    peak_memory,
    read_records,
    run,
    set_passes,
    split,
    stabilised,
    told_measures,
)
from alseg.files import digest_of, jsonable
from alseg.images import as_masks
from alseg.interfaces import before_and_last, fit_arguments, mask_classes_of, set_random_state
from alseg.pseudo import fits_of_round
from alseg.strategies import (
    class_balanced,
    class_balanced_sampling,
    foreground_random,
    random_sampling,
)
from alseg.threads import ProcessLock


class Row(NamedTuple):
    """What a row of a comparison may differ in.

    Parameters
    ----------
    strategy : callable, or a strategy of scikit-activeml
    augmenter : object or None, default=None
        As `PseudoLabelAugmenter`; None is that of the comparison.
    estimator : estimator or None, default=None
        None is that of the comparison. Rows with another estimator or augmenter have a network of
        their own in round 0 too.
    """

    strategy: Any
    augmenter: Any = None
    estimator: Any = None


class Job(NamedTuple):
    """One independent piece of work.

    Attributes
    ----------
    kind : {"start", "chain", "reference"}
    name : str
        Of the row or reference; of a start, of its setting.
    seed : int
    row : Row or None
    start : str or None
        Setting of the start that a chain goes on from.
    n_fits : int
        Fits at most.
    """

    kind: str
    name: str
    seed: int
    row: Any = None
    start: str | None = None
    n_fits: int = 1

    @property
    def folder(self):
        """Where its records stand, below the folder of the comparison."""
        place = {"start": "starts", "chain": "rows", "reference": "references"}[self.kind]
        return Path(place) / slug(self.name) / str(self.seed)


def slug(name):
    """A name as a folder: readable, and two names never the same.

    Parameters
    ----------
    name : str

    Returns
    -------
    str

    Examples
    --------
    >>> slug("entropy"), slug("CAM-guided random").rpartition("-")[0]
    ('entropy', 'CAM-guided-random')
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40]
    if plain and plain == name:
        return name
    return f"{plain}-{digest_of(name, 6)}".lstrip("-")


def control_rows(protocol, strategies):
    """The control rows that the strategies given are not already, by name.

    Parameters
    ----------
    protocol : Protocol
    strategies : dict of str -> Row

    Returns
    -------
    dict of str -> Row
        Ready to be asked: their class balance does not follow the protocol's.
    """
    made = {
        "random": random_sampling,
        "class-balanced random": class_balanced(),
        "CAM-guided random": foreground_random(),
    }
    # A plain random_sampling among the strategies is one of the first two.
    there = "class-balanced random" if protocol.class_balanced else "random"
    is_there = any(row == Row(random_sampling) for row in strategies.values())
    # "random" is what a strategy under this protocol is fairly compared with.
    fair = {"random": "random, not balanced", "class-balanced random": "random"}
    named = fair if protocol.class_balanced else {}
    found = {}
    for name in protocol.controls:
        if name == there and is_there:
            continue
        shown = named.get(name, name)
        if shown in strategies:
            continue
        found[shown] = Row(made[name])
    return found


def make_jobs(protocol, strategies, seeds, estimator, augmenter):
    """All jobs, the starts first and then the longest.

    Parameters
    ----------
    protocol : Protocol
    strategies : dict of str -> Row
    seeds : sequence of int
    estimator, augmenter
        Those of rows that have none of their own.

    Returns
    -------
    list of Job
    """
    rows = {}
    for name, row in strategies.items():
        strategy = row.strategy
        if protocol.class_balanced and not is_balanced(strategy) and unit_of(strategy) == "image":
            strategy = class_balanced(strategy)
        rows[name] = Row(
            strategy,
            augmenter if row.augmenter is None else row.augmenter,
            estimator if row.estimator is None else row.estimator,
        )
    for name, row in control_rows(protocol, strategies).items():
        rows[name] = Row(row.strategy, augmenter, estimator)
    jobs, settings = [], {}
    for name, row in rows.items():
        # By what it is, not by its place: rows may stand in another order when it is continued.
        key = "shared" if _same(row, estimator, augmenter) else f"own-{name}"
        for other, start in settings.items():
            if _same(row, start.estimator, start.augmenter):
                key = other
        settings.setdefault(key, Row(None, row.augmenter, row.estimator))
        n_fits = protocol.rounds * len(fits_of_round(row.augmenter, protocol.warm_start))
        jobs += [Job("chain", name, seed, row, key, n_fits) for seed in seeds]
    for key, row in settings.items():
        n_fits = len(fits_of_round(row.augmenter, protocol.warm_start))
        jobs += [Job("start", key, seed, row, None, n_fits) for seed in seeds]
    for name in protocol.references:
        once = name == "all-ones" and protocol.n_folds is None
        row = Row(None, None, estimator)
        n_fits = int(name != "all-ones")
        for seed in [0] if once else seeds:
            jobs.append(Job("reference", name, seed, row, None, n_fits))
    return sorted(jobs, key=lambda job: (job.kind != "start", -job.n_fits))


def is_balanced(strategy):
    """Whether a strategy is one of `class_balanced`, and needs no second one around it.

    Examples
    --------
    >>> is_balanced(class_balanced(random_sampling)), is_balanced(random_sampling)
    (True, False)
    """
    while isinstance(strategy, functools.partial):
        strategy = strategy.func
    return strategy is class_balanced_sampling


def _same(row, estimator, augmenter):
    return _alike(row.estimator, estimator) and _alike(row.augmenter, augmenter)


def _alike(a, b):
    """Whether two estimators or augmenters would do the same, so that one fit serves both.

    More than `alseg.experiment.same` on their descriptions: these name own code by its class alone.
    """
    if a is b:
        return True
    if a is None or b is None or described(a) != described(b) or not hasattr(a, "get_params"):
        return False
    mine, other = a.get_params(deep=False), b.get_params(deep=False)
    # What a description cannot tell apart must be one and the same object.
    return all(
        mine[k] is other[k] or _is_plain(mine[k]) or _alike(mine[k], other[k])
        for k in described(a)
        if k in mine
    )


def _is_plain(value):
    try:
        jsonable(value)
    except TypeError:
        return False
    return True


def run_job(job, protocol, data, out):
    """Do a job, or what is left of it.

    Parameters
    ----------
    job : Job
    protocol : Protocol
    data : see `alseg.experiment.protocol.split`
    out : str or Path
        Folder of the comparison.

    Returns
    -------
    records : list of dict
    seconds : float
        That the job took now, of the wall clock.
    """
    began = time.perf_counter()
    out = Path(out)
    train, test = split(data, protocol, job.seed)
    with n_threads(protocol.n_threads):
        if job.kind == "reference":
            records = _reference(job, protocol, train, test, out)
        else:
            chain = job.kind == "chain"
            records = run(
                with_steps(job.row.estimator, protocol),
                train,
                test,
                job.row.strategy if chain else random_sampling,
                rounds=protocol.rounds if chain else 0,
                n_instances=protocol.n_instances,
                initial=protocol.initial,
                seed=job.seed,
                augmenter=job.row.augmenter,
                name=job.name if chain else "",
                out=out / job.folder,
                start=out / job._replace(kind="start", name=job.start).folder if chain else None,
                keep_model=not chain,
                warm_start=protocol.warm_start,
                epochs=protocol.epochs,
                until=Until(protocol),
                cost_rates=(protocol.seconds_per_image, protocol.seconds_per_click),
                metrics=protocol.metrics,
                checked=True,
                allow_torn_groups=True,  # the plan has asked
            )
    return records, time.perf_counter() - began


class Until:
    """Why a chain ends after a round, if it does; a function of its records alone.

    Parameters
    ----------
    protocol : Protocol
    """

    patience = 3

    def __init__(self, protocol):
        self.protocol = protocol

    def __call__(self, records):
        """The reason, or None.

        Parameters
        ----------
        records : list of dict

        Returns
        -------
        str or None
        """
        protocol = self.protocol
        if protocol.budget is not None and records[-1]["cost"][protocol.cost] >= protocol.budget:
            return f"the budget of {protocol.budget:g} {protocol.cost} is spent"
        if protocol.stop_agreement is not None:
            found = [r["agreement"]["dice"] for r in records if "agreement" in r]
            if stabilised(found, protocol.stop_agreement, self.patience):
                return f"predictions agree by {protocol.stop_agreement:g}"
        return None


def with_steps(estimator, protocol):
    """A clone of the estimator that takes the protocol's number of steps in every fit."""
    estimator = clone(estimator)
    if protocol.n_steps is None:
        return estimator
    epochs = estimator.get_params(deep=False)["max_epochs"]
    epochs = next(
        e for e in range(min(epochs, protocol.n_steps), 0, -1) if protocol.n_steps % e == 0
    )
    return estimator.set_params(max_epochs=epochs, steps_per_epoch=protocol.n_steps // epochs)


_limiting = ProcessLock()


@contextmanager
def n_threads(n):
    """A number of threads for torch and for numpy's libraries, given back at the end.

    It belongs to the process, as what is measured of memory and time does: where jobs run in
    threads of one process, they run one after another.
    """
    import torch
    from threadpoolctl import threadpool_limits

    with _limiting.held(), threadpool_limits(n):
        before = torch.get_num_threads()
        torch.set_num_threads(n)
        try:
            yield
        finally:
            torch.set_num_threads(before)


class _Ones:
    """Predicts foreground (class 1) everywhere, in the form that `evaluate` takes."""

    def __init__(self, n_mask_classes):
        self.n_mask_classes = n_mask_classes

    def predict_joint(self, images):
        masks = [np.ones(image.shape[:2], np.int16) for image in images]
        return Bunch(labels=np.full(len(masks), None), masks=masks)


def _reference(job, protocol, train, test, out):
    trained = job.name != "all-ones"
    train = annotated_part(train)  # what chains are trained on
    estimator = with_steps(job.row.estimator, protocol)
    if protocol.epochs is not None and trained:  # as many steps as a chain with all masks
        set_passes(estimator, protocol.epochs, len(train.labels))
    config = {
        "reference": job.name,
        "seed": job.seed,
        "estimator": described(estimator) if trained else None,
        "data": describe_data(train, test),
    }
    measures = {name: one.resolved() for name, one in protocol.metrics.items()}
    if measures:
        config["metrics"] = told_measures(measures)
    with Records(out / job.folder, config) as records:
        if records.records:
            return list(records.records)
        n_masks, foreground, seconds, memory = 0, 0, {}, {}
        model = _Ones(mask_classes_of(estimator))
        if trained:
            model = set_random_state(estimator, job.seed)
            masks = train.masks if job.name == "full supervision" else None
            if masks is not None:
                n_masks = len(train.labels)
                foreground = foreground_pixels(as_masks(masks, n_masks))
            began = time.perf_counter()
            with peak_memory(memory, "fit", device_of(estimator)):
                model.fit(train.images, train.labels, **fit_arguments(model, {"masks": masks}))
            seconds["fit"] = round(time.perf_counter() - began, 3)
        began = time.perf_counter()
        metrics = evaluate(model, test, measures)
        seconds["evaluate"] = round(time.perf_counter() - began, 3)
        if not trained:
            for found in (metrics, *metrics["by_label"].values()):
                found.pop("class_accuracy", None)
        model = before_and_last(model)[1]
        validation = getattr(model, "validation_", None)
        records.append(
            {
                "strategy": job.name,
                "seed": job.seed,
                "round": 0,
                "n_masks": n_masks,
                "n_masks_validation": 0 if validation is None else len(validation.masks),
                "foreground_pixels": foreground,
                "gradient_steps": getattr(model, "n_steps_", 0),
                "metrics": metrics,
                "seconds": seconds,
                "memory_mib": memory,
                "environment": environment(getattr(model, "device_", None)),
            }
        )
        return list(records.records)


def read_job(job, out):
    """The records of a job so far; none where it has not begun.

    Parameters
    ----------
    job : Job
    out : str or Path

    Returns
    -------
    list of dict
    """
    try:
        return read_records(Path(out) / job.folder)
    except FileNotFoundError:
        return []


def read_reference(name, out):
    """The records of a reference, in the order of their seeds.

    Parameters
    ----------
    name : str
    out : str or Path

    Returns
    -------
    list of dict
    """
    parent = (Path(out) / Job("reference", name, 0).folder).parent
    seeds = sorted(int(folder.name) for folder in parent.glob("*") if folder.name.isdigit())
    return [record for seed in seeds for record in read_job(Job("reference", name, seed), out)]
