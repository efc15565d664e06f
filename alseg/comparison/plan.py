"""`compare_strategies`: many strategies and seeds under one protocol; and its `Plan`."""

import os
import threading
import time
from pathlib import Path

import numpy as np
from sklearn.base import clone

from alseg.calling import name_of, unit_of
from alseg.comparison.advance import fits_bar
from alseg.comparison.cluster import active_client, check_sees, check_workers, on_workers
from alseg.comparison.devices import check_sendable, take_device, visible_devices
from alseg.comparison.estimate import measure, not_countable, predictions_of_job, steps_of_job
from alseg.comparison.jobs import Row, control_rows, make_jobs, read_job, run_job, with_steps
from alseg.comparison.result import FILE_NAME, read_comparison, read_file
from alseg.experiment import (
    ERRORS,
    RECORDS_FILE,
    SCORES,
    Protocol,
    annotated_part,
    check_data,
    check_groups,
    describe_data,
    described,
    described_value,
    release_memory,
    same,
    split,
    told_groups,
    versions,
    without_classes,
)
from alseg.files import AppendOnly, FolderInUse, RecordsError, jsonable, sweep, write_json
from alseg.images import as_masks
from alseg.interfaces import ChecksParams, has_class_head, has_part, mask_classes_of, meets
from alseg.labels import missing_labels
from alseg.strategies import as_function, check_needs, current_description
from alseg.validation import check_number, check_option, did_you_mean, message


def compare_strategies(
    estimator,
    strategies,
    *,
    data,
    out,
    protocol=None,
    seeds=(0, 1, 2, 3, 4),
    augmenter=None,
    n_jobs=1,
    verbose=1,
    allow_torn_groups=False,
):
    """Compare query strategies: rows x seeds under one protocol, in parallel, resumable.

    Killed at any moment and called again with the same arguments, it goes on where it was and ends
    with the same numbers. `n_jobs` and the backend (``joblib.parallel_config``) decide where jobs
    run and never what they give: threads of a fit are part of the protocol, and jobs that a backend
    hands to threads of one process run one after another there.

    Parameters
    ----------
    estimator : estimator
        As `JointCAMSegmenter`; never fitted itself. `random_state` is set from the seed.
    strategies : dict of str -> callable or Row
        Names of the rows, and ``f(learner, X_pool, n_instances=1, ...) -> query_idx`` or a strategy
        of scikit-activeml; a `Row` also has an augmenter or an estimator of its own.
    data : Parts with train and test, (Dataset, Dataset), or a Dataset with `protocol.n_folds`
        All training masks known: they play the expert.
    out : str or Path
        Folder of the comparison. Workers write their records there, so all of them must see it.
    protocol : Protocol or None, default=None
        None is ``Protocol()``.
    seeds : sequence of int, default=(0, 1, 2, 3, 4)
        Each strategy is run once with each; differences are paired by seed.
    augmenter : PseudoLabelAugmenter or None, default=None
        Of all rows that have none of their own.
    n_jobs : int, default=1
        Jobs at once, as joblib counts them. A cluster has as many as it has workers.
    verbose : int, default=1
        0 is silent; else a progress bar on stderr.
    allow_torn_groups : bool, default=False
        Whether a group (patient) may stand in both the training and the test part. The parts of
        published splits, as `load_glas` gives them, are taken as they are; the report says so.

    Returns
    -------
    result : Comparison

    Raises
    ------
    ValueError, TypeError
        If an argument, an image or a mask is wrong, or a group stands in both parts: before any
        training.
    OSError
        If `out` cannot be written to.
    RecordsError
        If `out` holds another comparison, or one that is running now. Nothing is overwritten.
    ClusterError
        If a worker of a dask cluster cannot do the work, or the cluster is gone.

    Examples
    --------
    >>> import tempfile
    >>> from alseg import JointCAMSegmenter
    >>> from alseg.datasets import make_glands
    >>> from alseg.strategies import entropy_sampling, random_sampling
    >>> glands = make_glands(24, image_size=(32, 48), random_state=0)
    >>> result = compare_strategies(
    ...     JointCAMSegmenter(encoder="tiny", max_epochs=1),
    ...     {"random": random_sampling, "entropy": entropy_sampling},
    ...     data=(glands.take(range(16)), glands.take(range(16, 24))),
    ...     protocol=Protocol(initial=4, n_instances=2, rounds=1, references=(), controls=()),
    ...     seeds=range(2), out=tempfile.mkdtemp(), verbose=0,
    ... )
    >>> result.names, result.curves()["entropy"][0].tolist()
    (['random', 'entropy'], [[4.0, 6.0], [4.0, 6.0]])
    """
    plan = Plan(estimator, strategies, data, protocol, seeds, augmenter, allow_torn_groups)
    plan.check()
    return plan.compare(out, n_jobs, verbose)


class Plan:
    """What a comparison is going to do.

    Parameters
    ----------
    estimator, strategies, data, protocol, seeds, augmenter, allow_torn_groups
        See `compare_strategies`.

    Attributes
    ----------
    jobs : list of Job
    rows : dict of str -> Row
        The strategies given.
    config : dict
        What decides the numbers, as JSON.
    """

    def __init__(
        self,
        estimator,
        strategies,
        data,
        protocol=None,
        seeds=(0,),
        augmenter=None,
        allow_torn_groups=False,
    ):
        self.protocol = Protocol() if protocol is None else protocol
        if not isinstance(self.protocol, Protocol):
            raise TypeError(message("protocol", "a Protocol", protocol))
        # A score that a file names is imported here, so that workers are asked for its module too.
        self.protocol = self.protocol.resolved()
        self.estimator, self.data, self.augmenter = estimator, data, augmenter
        self.rows = _checked_rows(strategies)
        self.seeds = _checked_seeds(seeds)
        self.parts = {seed: split(data, self.protocol, seed) for seed in self.seeds}
        labels = [train.labels for train, _ in self.parts.values()]
        self.protocol = without_classes(self.protocol, labels)
        self.jobs = make_jobs(self.protocol, self.rows, self.seeds, estimator, augmenter)
        self.names = list(dict.fromkeys([*self.rows, *control_rows(self.protocol, self.rows)]))
        self.family = _checked_family(self.protocol, self.rows, self.names)
        self._torn = [check_groups(*part, allow_torn_groups) for part in self.parts.values()]

    @property
    def config(self):
        """What decides the numbers, as JSON's types."""
        train, test = split(self.data, self.protocol, 0)  # of the data, not of these seeds
        chains = {job.name: job.row for job in self.jobs if job.kind == "chain"}
        return jsonable(
            {
                "protocol": self.protocol.to_dict(),
                "rows": {
                    name: {
                        "strategy": _described_strategy(chains[name].strategy),
                        "augmenter": _described_augmenter(chains[name].augmenter),
                        "estimator": described(with_steps(chains[name].estimator, self.protocol)),
                    }
                    for name in self.names
                },
                "family": self.family,
                "data": describe_data(train, test),
            }
        )

    @property
    def n_fits(self):
        """Fits at most, of all jobs."""
        return sum(job.n_fits for job in self.jobs)

    def check(self):
        """Look at every input, before anything is trained.

        Raises
        ------
        ValueError, TypeError
            If sizes do not fit the data, a file cannot be read, or an estimator lacks a part.
        """
        self._check_measures()
        estimators = {id(job.row.estimator): job.row.estimator for job in self.jobs}.values()
        # Every row's masks: a class that is one to all of them is one to the row with the fewest.
        strictest = min(estimators, key=lambda one: mask_classes_of(one, np.inf))
        seen = set()
        for train, test in self.parts.values():
            if (id(train), id(test)) not in seen:
                seen.add((id(train), id(test)))
                check_data(strictest, train, test)
                self._check_parts(train, test)
        for estimator in estimators:
            self._check_estimator(estimator)
        for job in self.jobs:
            if job.kind == "chain" and job.name in self.rows:
                row, labels = job.row, self.parts[self.seeds[0]][0].labels
                check_needs(row.strategy, row.estimator, f"strategies[{job.name!r}]", labels=labels)
                check_needs(row.augmenter, row.estimator, "augmenter", labels=labels)
        self._check_added_rows()
        for estimator in estimators:
            if meets(estimator, ChecksParams):
                clone(estimator).check_params()

    @property
    def _last(self):
        """Masks of a curve's last point, where a question is a mask."""
        return self.protocol.initial + self.protocol.rounds * self.protocol.n_instances

    def _check_measures(self):
        """What the verdict looks at: the window and the metric."""
        protocol = self.protocol
        if protocol.window is not None:
            low, high = protocol.window
            if low < protocol.initial or high > self._last:
                rule = f"within [{protocol.initial}, {self._last}], the masks of the curves"
                raise ValueError(message("window", rule, protocol.window))
            if any(unit_of(row.strategy) != "image" for row in self.rows.values()):
                rule = "None where a row asks about parts of images: it has no number of masks"
                raise ValueError(message("window", rule, protocol.window))
        known = [*SCORES, *ERRORS, *protocol.metrics]
        if protocol.metric not in known:
            remedy = did_you_mean(protocol.metric, known)
            remedy = remedy or "Give one of your own as metrics={name: function}."
            rule = f"one of {known}"
            raise ValueError(message("metric", rule, protocol.metric, remedy))

    def _check_parts(self, train, test):
        """Whether the masks at hand suffice for the metric and the questions."""
        protocol = self.protocol
        n_known = len(annotated_part(train).labels)
        if protocol.metric == "class_accuracy" and missing_labels(test.labels).all():
            rule = "another one: the test images have no class labels"
            raise ValueError(message("metric", rule, protocol.metric))
        if getattr(test, "instances", None) is None:
            rule = "another one: the test images have no numbers of objects"
            if protocol.metric.startswith("object_"):
                raise ValueError(message("metric", rule, protocol.metric))
            for name, own in protocol.metrics.items():
                if own.told == "object_hausdorff":
                    raise ValueError(message(f"metrics[{name!r}]", rule, own.told))
        if not any(mask is not None for mask in as_masks(test.masks, len(test.labels))):
            raise ValueError(message("test.masks", "masks of some images", "none"))
        chains = [job for job in self.jobs if job.kind == "chain"]
        asks = any(unit_of(job.row.strategy) == "image" for job in chains)
        wanted = self._last if asks else protocol.initial
        if wanted > n_known:
            rule = f"at most {n_known}, the training images with a mask"
            raise ValueError(message("initial + rounds * n_instances", rule, wanted))

    def _check_estimator(self, estimator):
        """Whether a model has what the metric and the number of steps need."""
        protocol = self.protocol
        of_class = ("class_accuracy", "label_calibration_error")
        if protocol.metric in of_class and not has_class_head(estimator):
            rule = "another one: a model without a class head has none"
            raise ValueError(message("metric", rule, protocol.metric))
        known = estimator.get_params(deep=False)
        for name, needed in (
            ("n_steps", ("max_epochs", "steps_per_epoch")),
            ("epochs", ("max_epochs", "steps_per_epoch", "batch_size")),
        ):
            if getattr(protocol, name) is not None and not set(needed) <= set(known):
                rule = f"None for an estimator without {' and '.join(needed)}"
                raise ValueError(message(name, rule, getattr(protocol, name)))

    def _check_added_rows(self):
        """Refuse references and controls that this model would fail at, which is after hours."""
        headless = not has_class_head(self.estimator)
        n_classes = mask_classes_of(self.estimator) or 2
        blind = None if has_part(self.estimator, "cams") else "no class maps"
        if headless:
            blind = "no class head, and so no class maps"
        untaught = blind
        if blind is None and n_classes > 2:
            untaught = f"n_mask_classes={n_classes}, of which class maps tell two"
        controls = control_rows(self.protocol, self.rows)
        for field, name, why, there in (
            ("references", "weak labels only", untaught, self.protocol.references),
            ("controls", "CAM-guided random", blind, controls),
        ):
            if why is not None and name in there:
                rule = f"without {name!r} for a model with {why}"
                remedy = f"Leave it out of {field}= of the Protocol."
                raise ValueError(message(field, rule, getattr(self.protocol, field), remedy))

    def estimate(self):
        """What the comparison takes, from fits whose steps are counted and three short ones.

        Returns
        -------
        dict of str -> value
            ``n_steps``, least and most of a fit; ``seconds_per_fit`` and
            ``seconds_per_evaluation``, means; ``seconds`` of all jobs one after another (asking
            counts as one prediction of the training images); ``mib`` of a job; and ``unknown``,
            None or why steps and seconds are not known: they are None and NaN then.
        """
        train, test = self.parts[self.seeds[0]]
        n_train, n_test = len(annotated_part(train).labels), len(test.labels)
        trained = [job for job in self.jobs if job.n_fits]
        models = {id(job.row.estimator): job.row.estimator for job in trained}
        for model in models.values():
            unknown = not_countable(model)
            if unknown is not None:
                nothing = dict.fromkeys(
                    ("seconds_per_fit", "seconds_per_evaluation", "seconds", "mib"), float("nan")
                )
                return {"n_steps": None, **nothing, "unknown": unknown}
        measured = {
            key: measure(model, self.protocol, train, test) for key, model in models.items()
        }
        steps, fitting, predicting, seen = [], 0.0, 0.0, []
        for job in trained:
            cost = measured[id(job.row.estimator)]
            of_job = steps_of_job(job, self.protocol, n_train)
            steps += of_job
            fitting += sum(of_job) * cost.step + len(of_job) * n_train * cost.reading
            n_images = predictions_of_job(job, self.protocol, n_train, n_test)
            predicting += n_images * cost.prediction
            seen.append(cost)
        return {
            "n_steps": (min(steps), max(steps)) if steps else (0, 0),
            "seconds_per_fit": fitting / max(len(steps), 1),
            "seconds_per_evaluation": n_test * float(np.mean([c.prediction for c in seen] or [0])),
            "seconds": fitting + predicting,
            "mib": max((cost.mib for cost in seen), default=float("nan")),
            "unknown": None,
        }

    def describe(self, n_jobs=1):
        """The plan and what it would cost, in words.

        Parameters
        ----------
        n_jobs : int, default=1

        Returns
        -------
        str
        """
        from joblib import effective_n_jobs

        protocol, cost = self.protocol, self.estimate()
        train, test = self.parts[self.seeds[0]]
        asks = f"{protocol.rounds} rounds of {protocol.n_instances}"
        n_jobs = min(effective_n_jobs(n_jobs), len(self.jobs))
        if cost["unknown"] is not None:
            steps, memory = "an unknown number of", "not known"
            time_ = f"not known: {cost['unknown']}, from which steps are counted"
        else:
            steps = " to ".join(map(str, dict.fromkeys(cost["n_steps"])))
            memory = f"about {cost['mib']:.0f} MiB a job"
            time_ = (
                f"about {_duration(cost['seconds'] / n_jobs)} with {n_jobs} at once: "
                f"{cost['seconds_per_fit']:.1f} s a fit, {cost['seconds_per_evaluation']:.1f} s a "
                "test"
            )
        lines = [
            f"data        {train.name or 'images'}: {len(train)} to train on, "
            f"{len(test)} to test on",
            *(f"groups      {told}" for told in [told_groups(self._torn[0])] if told),
            f"rows        {', '.join(self.names)}",
            f"references  {', '.join(protocol.references) or 'none'}",
            f"seeds       {', '.join(map(str, self.seeds))}",
            f"asked       {protocol.initial} masks, then {asks}",
            f"verdict     {', '.join(self.family) or 'nothing'} against {protocol.control}, area "
            f"under {protocol.metric}, level {protocol.alpha:g} with Holm's adjustment",
            f"fits        {self.n_fits} of {steps} steps in {len(self.jobs)} jobs",
            f"time        {time_}",
            f"memory      {memory}",
        ]
        return "\n".join(lines)

    def compare(self, out, n_jobs=1, verbose=1, command="Python", only=None):
        """Do what `compare_strategies` does after the check.

        Parameters
        ----------
        out, n_jobs, verbose
            See `compare_strategies`.
        command : str, default="Python"
            What is kept of how it was run, beside the versions.
        only : collection of str or None, default=None
            Rows to run now, None for all: the same folder takes the others, or other seeds of
            them, later.

        Returns
        -------
        result : Comparison
        """
        _check_n_jobs(n_jobs)
        _check_backend()
        check_sendable(self.jobs, n_jobs)
        only = self._checked_only(only)
        self.check_workers()
        with _Folder(out, self, command):
            self.check_workers(Path(out) / FILE_NAME)
            self.run(out, n_jobs, verbose, only)
        return read_comparison(out, data=self.data)

    def check_workers(self, seen=None):
        """See that the workers of a cluster can do the jobs, where joblib is told to use one.

        Parameters
        ----------
        seen : Path or None, default=None
            A file that they have to see. None looks at all else: what is imported, versions, the
            files of the data.

        Raises
        ------
        ClusterError
            If one cannot.
        """
        client = active_client()
        if client is None:
            return
        if seen is None:
            check_workers(client, (self.protocol, self.jobs), self.parts.values())
        else:
            check_sees(client, seen)

    def jobs_of(self, only=None):
        """The jobs that some rows take, references included.

        Parameters
        ----------
        only : collection of str or None, default=None
            Names of rows; None is all.

        Raises
        ------
        TypeError
            If it is one name instead of a collection.
        ValueError
            If there is no such row.
        """
        only = self._checked_only(only)
        if only is None:
            return self.jobs
        starts = {job.start for job in self.jobs if job.kind == "chain" and job.name in only}
        wanted = {"chain": only, "start": starts}
        return [job for job in self.jobs if job.name in wanted.get(job.kind, [job.name])]

    def _checked_only(self, only):
        if only is None:
            return None
        if isinstance(only, str) or not np.iterable(only):
            remedy = f"Write only=[{only!r}]." if isinstance(only, str) else ""
            raise TypeError(message("only", "a collection of names of rows", only, remedy))
        return [check_option("only", name, self.names) for name in only]

    def run(self, out, n_jobs=1, verbose=1, only=None):
        """Do all jobs that are not done yet.

        Parameters
        ----------
        out : str or Path
        n_jobs : int, default=1
        verbose : int, default=1
        only : collection of str or None, default=None
            See `compare`.
        """
        wanted = self.jobs_of(only)
        left = [job for job in wanted if not self._is_done(job, out)]
        with fits_bar(wanted, left, self.protocol.rounds, out, verbose) as ended:
            for first in (True, False):  # a chain goes on from its start
                jobs = [job for job in left if (job.kind == "start") == first]
                for folder in self._done(jobs, n_jobs, str(out)):
                    ended(folder)

    def _done(self, jobs, n_jobs, out):
        """Do jobs at once; the folders of their records, as they end."""
        from joblib import Parallel, delayed

        shared = self.protocol, self.data, out, os.getpid(), visible_devices()
        client = active_client()
        if client is not None:
            return on_workers(client, _do, jobs, *shared)
        parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
        return parallel(delayed(_do)(job, *shared) for job in jobs)

    def _is_done(self, job, out):
        records = read_job(job, out)
        n_records = self.protocol.rounds + 1 if job.kind == "chain" else 1
        return len(records) >= n_records or bool(records and records[-1].get("stopped"))


def _duration(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _do(job, protocol, data, out, main, devices=()):
    if os.getppid() == main:  # a worker process; others are started by somebody else, or here
        take_device(devices)
        _end_with(main)
    deadline = time.monotonic() + _ORPHANS_END_IN
    while True:
        try:
            run_job(job, protocol, data, out)
            release_memory()
            return job.folder
        except FolderInUse:  # by a worker whose main process was killed just now
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_EVERY)


_LOOK_EVERY, _ORPHANS_END_IN = 0.5, 60.0  # seconds; on a busy machine
_watched: list = []  # the main processes that this one, a worker, ends with


def _end_with(main):
    """Make a worker process end when the one that started it is gone, in the middle of a round.

    It would go on for the rest of its job else, which may be hours, and hold the lock of its
    records. They stand being cut anywhere.
    """
    if main in _watched:
        return
    _watched.append(main)

    def watch():
        while os.getppid() == main:
            time.sleep(_LOOK_EVERY)
        os._exit(1)

    threading.Thread(target=watch, name="alseg-end-with-main", daemon=True).start()


class _Folder:
    """The folder of a comparison, ours alone until the end."""

    def __init__(self, out, plan, command):
        self.out, self.plan, self.command, self.file = Path(out), plan, command, None

    def __enter__(self):
        try:
            self.file = AppendOnly(self.out / ".lock")
        except OSError as error:
            raise type(error)(
                message("out", "a folder that can be written to", str(self.out), str(error))
            ) from error
        try:
            sweep(self.out)
            self._check_config()
        except BaseException:
            self.file.close()
            raise

    def _check_config(self):
        path, config = self.out / FILE_NAME, self.plan.config
        seeds, ran = list(self.plan.seeds), []
        if path.exists():
            there = read_file(path)
            ran = there.get("ran", [])
            before = {k: v for k, v in there.items() if k in config}
            _check_same(before | {"rows": _current_rows(before.get("rows"))}, config, path)
            seeds = sorted({*there["seeds"], *seeds})  # more seeds are more of the same
        elif any((self.out / name).exists() for name in ("starts", "rows", RECORDS_FILE)):
            raise RecordsError(f"{self.out} holds records of something else. Use another folder.")
        now = {"command": self.command, "versions": versions()}
        if now not in ran and not all(self.plan._is_done(job, self.out) for job in self.plan.jobs):
            ran = [*ran, now]
        write_json(path, {**config, "seeds": seeds, "ran": ran}, self.out)

    def __exit__(self, *error):
        self.file.close()


def _current_rows(rows):
    """Rows as a file tells them, their strategies as they are told now."""
    if not isinstance(rows, dict):
        return rows
    return {
        name: row | {"strategy": current_description(row.get("strategy"))}
        if isinstance(row, dict)
        else row
        for name, row in rows.items()
    }


def _check_same(there, here, path):
    for key in sorted({*there, *here}):
        a, b = there.get(key), here.get(key)
        if same(a, b):
            continue
        if isinstance(a, dict) and isinstance(b, dict) and "sha256" not in a:
            _check_same(a, b, path)
        else:
            raise RecordsError(
                f"{path} is of another comparison ({key}: {a!r} there, {b!r} now). Use another "
                "output folder, or the options of that comparison to continue it."
            )


def _checked_rows(strategies):
    if not hasattr(strategies, "items") or not strategies:
        raise TypeError(message("strategies", "a dict of names and strategies", strategies))
    rows = {}
    for name, value in strategies.items():
        row = value if isinstance(value, Row) else Row(value)
        row = row._replace(strategy=as_function(row.strategy))
        if not isinstance(name, str) or not name:
            raise TypeError(message("strategies", "named by strings", name))
        if not callable(row.strategy):
            raise TypeError(message(f"strategies[{name!r}]", "callable", row.strategy))
        rows[name] = row
    return rows


def _checked_seeds(seeds):
    if not np.iterable(seeds) or isinstance(seeds, str):
        raise TypeError(message("seeds", "a sequence of integers", seeds))
    found = [int(check_number("seeds", seed, 0, integer=True)) for seed in seeds]
    if not found or len(set(found)) != len(found):
        raise ValueError(message("seeds", "different integers, at least one", found))
    return found


def _check_n_jobs(n_jobs):
    check_number("n_jobs", n_jobs, integer=True)
    if n_jobs == 0:
        raise ValueError(message("n_jobs", ">= 1, or negative as joblib counts them", n_jobs))


def _check_backend():
    from joblib import parallel
    from joblib.parallel import get_active_backend

    backend = get_active_backend()[0]
    if not getattr(backend, "supports_return_generator", False):
        known = {id(kind): name for name, kind in parallel.BACKENDS.items()}
        name = known.get(id(type(backend)), type(backend).__name__)
        rule = "one that gives results as they come, such as 'loky', 'threading' or 'dask'"
        raise ValueError(message("backend of joblib.parallel_config", rule, name))


def _checked_family(protocol, rows, names):
    if protocol.control not in names:
        remedy = did_you_mean(protocol.control, names)
        raise ValueError(message("control", f"one of {names}", protocol.control, remedy))
    if protocol.family is None:
        return [name for name in rows if name != protocol.control]
    for name in protocol.family:
        if name not in names or name == protocol.control:
            allowed = [n for n in names if n != protocol.control]
            raise ValueError(
                message("family", f"made of {allowed}", name, did_you_mean(name, allowed))
            )
    return list(protocol.family)


def _described_augmenter(augmenter):
    return None if augmenter is None else described(augmenter)


def _described_strategy(strategy):
    """Name and bound arguments of a strategy, as JSON."""
    bound = getattr(strategy, "keywords", None)
    found = {"name": name_of(strategy)}
    for key, value in (bound or {}).items():
        found[key] = _described_strategy(value) if callable(value) else described_value(value, key)
    return found
