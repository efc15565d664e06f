"""Many strategies, many seeds, one protocol, and a verdict: `compare_strategies`."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
from sklearn.base import clone

from alseg.experiment import statistics
from alseg.experiment.chains import (
    Job,
    Row,
    control_rows,
    make_jobs,
    read_job,
    read_reference,
    run_job,
    with_steps,
)
from alseg.experiment.description import describe_data, described, described_value
from alseg.experiment.environment import versions
from alseg.experiment.estimate import measure, not_countable, predictions_of_job, steps_of_job
from alseg.experiment.evaluate import SCORES
from alseg.experiment.forecast import forecast
from alseg.experiment.gains import (
    backtest_rows,
    efficiency_by_row,
    foreground_shares,
    mean_curve,
    ranks_without_a_seed,
    saved_by_row,
)
from alseg.experiment.protocol import Protocol, split
from alseg.experiment.records import (
    FolderInUse,
    RecordsError,
    jsonable,
    lock,
    same,
    write_text,
)
from alseg.experiment.run import annotated_part, check_data
from alseg.images import as_masks
from alseg.interop import unit_of
from alseg.strategies.calls import name_of
from alseg.validation import check_number, did_you_mean, message

FILE_NAME = "comparison.json"


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
):
    """Compare query strategies: rows x seeds under one protocol, in parallel, resumable.

    Killed at any moment and called again with the same arguments, it goes on where it was and ends
    with the same numbers. `n_jobs` and the backend (``joblib.parallel_config``) decide where jobs
    run and never what they give: threads of a fit are part of the protocol.

    Parameters
    ----------
    estimator : estimator
        As `JointCAMSegmenter`; never fitted itself. `random_state` is set from the seed.
    strategies : dict of str -> callable or Row
        Names of the rows, and ``f(learner, X_pool, n_instances=1, ...) -> query_idx``; a `Row` also
        has an augmenter or an estimator of its own.
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
        Jobs at once, as joblib counts them.
    verbose : int, default=1
        0 is silent; else a progress bar on stderr.

    Returns
    -------
    result : Comparison

    Raises
    ------
    ValueError, TypeError
        If an argument, an image or a mask is wrong: before any training.
    OSError
        If `out` cannot be written to.
    RecordsError
        If `out` holds another comparison, or one that is running now. Nothing is overwritten.

    Examples
    --------
    >>> import tempfile
    >>> from alseg import JointCAMSegmenter
    >>> from alseg.datasets import make_glands
    >>> from alseg.strategies import entropy_sampling, random_sampling
    >>> glands = make_glands(24, image_size=(32, 48), random_state=0)
    >>> result = compare_strategies(
    ...     JointCAMSegmenter(encoder="tiny", max_epochs=2),
    ...     {"random": random_sampling, "entropy": entropy_sampling},
    ...     data=(glands.take(range(16)), glands.take(range(16, 24))),
    ...     protocol=Protocol(initial=4, n_instances=2, rounds=1, references=(), controls=()),
    ...     seeds=range(2), out=tempfile.mkdtemp(), verbose=0,
    ... )
    >>> result.names, result.curves()["entropy"][0].tolist()
    (['random', 'entropy'], [[4.0, 6.0], [4.0, 6.0]])
    """
    plan = Plan(estimator, strategies, data, protocol, seeds, augmenter)
    plan.check()
    return plan.compare(out, n_jobs, verbose)


class Plan:
    """What a comparison is going to do.

    Parameters
    ----------
    estimator, strategies, data, protocol, seeds, augmenter
        See `compare_strategies`.

    Attributes
    ----------
    jobs : list of Job
    rows : dict of str -> Row
        The strategies given.
    config : dict
        What decides the numbers, as JSON.
    """

    def __init__(self, estimator, strategies, data, protocol=None, seeds=(0,), augmenter=None):
        self.protocol = Protocol() if protocol is None else protocol
        if not isinstance(self.protocol, Protocol):
            raise TypeError(message("protocol", "a Protocol", protocol))
        self.estimator, self.data, self.augmenter = estimator, data, augmenter
        self.rows = _checked_rows(strategies)
        self.seeds = _checked_seeds(seeds)
        self.jobs = make_jobs(self.protocol, self.rows, self.seeds, estimator, augmenter)
        self.names = list(dict.fromkeys([*self.rows, *control_rows(self.protocol, self.rows)]))
        self.family = _checked_family(self.protocol, self.rows, self.names)
        self.parts = {seed: split(data, self.protocol, seed) for seed in self.seeds}

    @property
    def config(self):
        """What decides the numbers, as JSON's types."""
        train, test = split(self.data, self.protocol, 0)  # of the data, not of these seeds
        chains = {job.name: job.row for job in self.jobs if job.kind == "chain"}
        return jsonable({
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
        })  # fmt: skip

    @property
    def n_fits(self):
        """Fits at most, of all jobs."""
        return sum(job.n_fits for job in self.jobs)

    def check(self):
        """Look at every input, before anything is trained.

        Raises
        ------
        ValueError, TypeError
            If sizes do not fit the data, or an image or mask cannot be read.
        """
        protocol, seen = self.protocol, set()
        last = protocol.initial + protocol.rounds * protocol.n_instances
        if protocol.window is not None:
            low, high = protocol.window
            if low < protocol.initial or high > last:
                rule = f"within [{protocol.initial}, {last}], the masks of the curves"
                raise ValueError(message("window", rule, protocol.window))
            if any(unit_of(row.strategy) != "image" for row in self.rows.values()):
                rule = "None where a row asks about parts of images: it has no number of masks"
                raise ValueError(message("window", rule, protocol.window))
        if protocol.metric not in SCORES:  # an error of calibration: the verdict would turn it over
            remedy = did_you_mean(protocol.metric, SCORES)
            rule = f"one of {list(SCORES)}, of which more is better"
            raise ValueError(message("metric", rule, protocol.metric, remedy))
        estimators = {id(job.row.estimator): job.row.estimator for job in self.jobs}.values()
        # Every row's masks: a class that is one to all of them is one to the row with the fewest.
        strictest = min(estimators, key=lambda one: getattr(one, "n_mask_classes", np.inf))
        for train, test in self.parts.values():
            if (id(train), id(test)) in seen:
                continue
            seen.add((id(train), id(test)))
            check_data(strictest, train, test)
            n_known = len(annotated_part(train).labels)
            if protocol.metric.startswith("object_") and getattr(test, "instances", None) is None:
                rule = "another one: the test images have no numbers of objects"
                raise ValueError(message("metric", rule, protocol.metric))
            if not any(mask is not None for mask in as_masks(test.masks, len(test.labels))):
                raise ValueError(message("test.masks", "masks of some images", "none"))
            images = [job for job in self.jobs if job.kind == "chain"]
            asks = any(unit_of(job.row.strategy) == "image" for job in images)
            wanted = last if asks else protocol.initial
            if wanted > n_known:
                rule = f"at most {n_known}, the training images with a mask"
                raise ValueError(message("initial + rounds * n_instances", rule, wanted))
        for estimator in estimators:
            headless = getattr(estimator, "pooling", "") is None
            if headless and protocol.metric == "class_accuracy":
                rule = "another one: a model with pooling=None has no class head"
                raise ValueError(message("metric", rule, protocol.metric))
            known = estimator.get_params(deep=False)
            for name, needed in (("n_steps", ("max_epochs", "steps_per_epoch")),
                                 ("epochs", ("max_epochs", "steps_per_epoch", "batch_size"))):  # fmt: skip
                if getattr(protocol, name) is not None and not set(needed) <= set(known):
                    rule = f"None for an estimator without {' and '.join(needed)}"
                    raise ValueError(message(name, rule, getattr(protocol, name)))
        for estimator in estimators:
            if hasattr(estimator, "_check_params"):
                clone(estimator)._check_params()

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
        measured = {key: measure(model, self.protocol, train, test) for key, model in models.items()}
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
            f"data        {train.name or 'images'}: {len(train)} to train on, {len(test)} to test on",
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

    def compare(self, out, n_jobs=1, verbose=1, command="Python"):
        """Do what `compare_strategies` does after the check.

        Parameters
        ----------
        out, n_jobs, verbose
            See `compare_strategies`.
        command : str, default="Python"
            What is kept of how it was run, beside the versions.

        Returns
        -------
        result : Comparison
        """
        _check_n_jobs(n_jobs)
        with _Folder(out, self, command):
            self.run(out, n_jobs, verbose)
        return read_comparison(out, data=self.data)

    def run(self, out, n_jobs=1, verbose=1):
        """Do all jobs that are not done yet.

        Parameters
        ----------
        out : str or Path
        n_jobs : int, default=1
        verbose : int, default=1
        """
        from joblib import Parallel, delayed
        from tqdm import tqdm

        left = [job for job in self.jobs if not self._is_done(job, out)]
        n_done = self.n_fits - sum(job.n_fits for job in left)
        bar = tqdm(total=self.n_fits, initial=n_done, unit="fit",
                   disable=not verbose, file=sys.stderr, desc="comparing", smoothing=0.05,
                   leave=False)  # fmt: skip
        with bar:
            for first in (True, False):  # a chain goes on from its start
                jobs = [job for job in left if (job.kind == "start") == first]
                parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
                for name, n_fits in parallel(
                    delayed(_do)(job, self.protocol, self.data, str(out), os.getpid())
                    for job in jobs
                ):
                    bar.set_postfix_str(name, refresh=False)
                    bar.update(n_fits)

    def _is_done(self, job, out):
        records = read_job(job, out)
        n_records = self.protocol.rounds + 1 if job.kind == "chain" else 1
        return len(records) >= n_records or bool(records and records[-1].get("stopped"))


def _duration(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _do(job, protocol, data, out, main):
    _end_with(main)
    deadline = time.monotonic() + _ORPHANS_END_IN
    while True:
        try:
            run_job(job, protocol, data, out)
            return f"{job.name} {job.seed}", job.n_fits
        except FolderInUse:  # by a worker whose main process was killed just now
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_EVERY)


_LOOK_EVERY, _ORPHANS_END_IN = 0.5, 15.0  # seconds
_watched = []  # the main processes that this one, a worker, ends with


def _end_with(main):
    """Make a worker process end when the one that started it is gone, in the middle of a round.

    It would go on for the rest of its job else, which may be hours, and hold the lock of its
    records. They stand being cut anywhere.
    """
    if os.getppid() != main or main in _watched:  # here itself, on another machine, or watched
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
            self.out.mkdir(parents=True, exist_ok=True)
            self.file = open(self.out / ".lock", "a+b")
        except OSError as error:
            raise type(error)(
                message("out", "a folder that can be written to", str(self.out))
                + f" {error.strerror or error}"
            ) from error
        try:
            lock(self.file)
            self._check_config()
        except BaseException:
            self.file.close()
            raise

    def _check_config(self):
        path, config = self.out / FILE_NAME, self.plan.config
        seeds, ran = list(self.plan.seeds), []
        if path.exists():
            there = _read_json(path)
            ran = there.get("ran", [])
            _check_same({k: v for k, v in there.items() if k in config}, config, path)
            seeds = sorted({*there["seeds"], *seeds})  # more seeds are more of the same
        elif any((self.out / name).exists() for name in ("starts", "rows", "records.jsonl")):
            raise RecordsError(f"{self.out} holds records of something else. Use another folder.")
        now = {"command": self.command, "versions": versions()}
        if now not in ran and not all(self.plan._is_done(job, self.out) for job in self.plan.jobs):
            ran = [*ran, now]
        write_text(path, json.dumps({**config, "seeds": seeds, "ran": ran}, indent=1) + "\n")

    def __exit__(self, *error):
        self.file.close()


def _read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordsError(f"{path} is not JSON ({error}). Use another output folder.") from error


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


# -- the result -----------------------------------------------------------------------------------

X_AXES = ("masks", "images", "pixels", "clicks", "seconds", "round")


class Comparison:
    """The records of a comparison, and what they say.

    Parameters
    ----------
    records : dict of (str, int) -> list of dict
        Of each row and seed, round 0 first.
    references : dict of str -> list of dict
        One record a seed, or one.
    protocol : Protocol
    names, family : list of str
        Rows in order; those whose p-values are adjusted together.
    seeds : list of int
    config : dict
    train, test : Dataset or None
        Of the first seed, for pictures and for groups of test images.

    Attributes
    ----------
    control, metric, alpha, window
        The protocol's.
    records : list of dict
        Every round of every row, and the references.
    test_groups : ndarray of shape (n_test,), or None
    """

    def __init__(
        self, records, references, protocol, names, family, seeds, config, train=None, test=None
    ):
        self.chains, self._references = records, references
        self.protocol, self.names, self.family = protocol, list(names), list(family)
        self.seeds, self.config, self.train, self.test = list(seeds), config, train, test
        self.control, self.metric = protocol.control, protocol.metric
        self.alpha, self.window = protocol.alpha, protocol.window

    def __repr__(self):
        return (
            f"Comparison({len(self.names)} rows x {len(self.seeds)} seeds, control "
            f"{self.control!r}, {len(self.records)} records)"
        )

    @property
    def records(self):
        """Every round of every row, and the references."""
        found = [record for chain in self.chains.values() for record in chain]
        return found + [record for rows in self._references.values() for record in rows]

    @property
    def test_groups(self):
        """Groups of the test images, where they are the same for all seeds."""
        return None if self.test is None else self.test.groups

    @property
    def is_complete(self):
        """Whether every row has every seed."""
        return all(self.chains.get((name, seed)) for name in self.names for seed in self.seeds)

    def references(self, metric=None):
        """Scores of the rows that ask nothing.

        Parameters
        ----------
        metric : str or None, default=None
            None is the protocol's.

        Returns
        -------
        dict of str -> ndarray of shape (n_values,), float
        """
        metric = metric or self.metric
        return {
            name: np.array([_number(record["metrics"].get(metric)) for record in records])
            for name, records in self._references.items()
            if any(metric in record["metrics"] for record in records)
        }

    def curves(self, metric=None, x="masks"):
        """Scores over rounds.

        Parameters
        ----------
        metric : str or None, default=None
            A number of the records' ``metrics``; None is the protocol's.
        x : {"masks", "images", "pixels", "clicks", "seconds", "round"}, default="masks"
            What stands on the horizontal axis: masks, the cost so far in a unit of
            `alseg.costs.AnnotationCost`, or the round.

        Returns
        -------
        dict of str -> (x, y), each ndarray of shape (n_seeds, n_rounds), float
            NaN where a seed has no such round. Where a chain has stopped early, its last value
            goes on.
        """
        if x not in X_AXES:
            raise ValueError(message("x", f"one of {list(X_AXES)}", x, did_you_mean(x, X_AXES)))
        metric = metric or self.metric
        n_rounds = max((len(chain) for chain in self.chains.values()), default=0)
        found = {}
        for name in self.names:
            at = np.full((len(self.seeds), n_rounds), np.nan)
            scores = at.copy()
            for row, seed in enumerate(self.seeds):
                chain = self.chains.get((name, seed), [])
                for column, record in enumerate(chain):
                    at[row, column] = _position(record, x)
                    scores[row, column] = _number(record["metrics"].get(metric))
                if chain and chain[-1].get("stopped"):
                    scores[row, len(chain) :] = scores[row, len(chain) - 1]
                    step = _position(chain[-1], x) - _position(chain[-2], x) if chain[1:] else 1
                    more = np.arange(1, n_rounds - len(chain) + 1)
                    at[row, len(chain) :] = at[row, len(chain) - 1] + step * more
            if np.isnan(scores).all():
                continue
            found[name] = at, scores
        if not found and self.chains:
            known = sorted(k for k, v in self.records[0]["metrics"].items() if np.isscalar(v))
            raise ValueError(
                message("metric", f"one of {known}", metric, did_you_mean(metric, known))
            )
        return found

    def areas(self, metric=None, window=None):
        """Area under each curve over masks, divided by its range: the mean height.

        Parameters
        ----------
        metric : str or None, default=None
        window : (float, float) or None, default=None
            Masks between which it is taken; None is the protocol's.

        Returns
        -------
        dict of str -> ndarray of shape (n_seeds,), float
            NaN for a seed that is not complete.
        """
        window = window or self.window
        found = {}
        for name, (at, scores) in self.curves(metric).items():
            # Parts of images can leave the number of opened images as it is: then rounds count.
            rising = not (np.diff(at, axis=1) <= 0).any()
            x = at if rising else np.broadcast_to(np.arange(at.shape[1]), at.shape)
            areas = np.full(len(scores), np.nan)
            for row, whole in enumerate(np.isfinite(scores).all(axis=1)):
                if not whole:
                    continue
                at_row, y = x[row], scores[row]
                stopped = self.chains[name, self.seeds[row]][-1].get("stopped")
                if rising and window and stopped and at_row[-1] < window[1]:
                    at_row, y = np.append(at_row, window[1]), np.append(y, y[-1])
                areas[row] = statistics.area_under_curve(
                    y, at_row, window=window if rising else None
                )
            found[name] = areas
        return found

    def verdict(self, metric=None):
        """What can be said of each row of the family against the control.

        Parameters
        ----------
        metric : str or None, default=None

        Returns
        -------
        alseg.experiment.statistics.Verdict
            ``print`` it.
        """
        nothing = np.full(len(self.seeds), np.nan)  # a row that has not begun still counts
        areas = {**dict.fromkeys(self.names, nothing), **self.areas(metric)}
        return statistics.verdict(areas, self.control, self.family, alpha=self.alpha)

    def patient_intervals(self, random_state=0):
        """Differences to the control, where patients are drawn by chance as well as seeds.

        Seeds on one split speak about its test images alone. Here the groups of the test images (or
        the images, where there are no groups) are drawn too.

        Parameters
        ----------
        random_state : int, default=0

        Returns
        -------
        dict of str -> alseg.experiment.statistics.BootstrapInterval
            Of the mean Dice over rounds, for each row of the family. Empty where seeds have
            different test images (`n_folds`).
        """
        if self.protocol.n_folds is not None:
            return {}

        n_rounds = max((len(chain) for chain in self.chains.values()), default=0)

        def images(name):  # of each seed that is complete: the mean over the rounds, (n_images,)
            found = {}
            for seed in self.seeds:
                chain = self.chains.get((name, seed), [])
                rounds = [record["metrics"]["dice_per_image"] for record in chain]
                if chain and chain[-1].get("stopped"):  # its last value goes on, as in `curves`
                    rounds += rounds[-1:] * (n_rounds - len(rounds))
                if rounds and len(rounds) == n_rounds:
                    found[seed] = np.array(rounds, dtype=float).mean(axis=0)
            return found

        control, intervals = images(self.control), {}
        for name in self.family:
            found = images(name)
            seeds = [seed for seed in found if seed in control]  # pairs
            if seeds:
                intervals[name] = statistics.bootstrap_groups_seeds(
                    [found[seed] for seed in seeds], [control[seed] for seed in seeds],
                    self.test_groups, random_state=random_state,
                )  # fmt: skip
        return intervals

    def forecast(self, more, metric=None, confidence=0.9):
        """The score of each row after `more` masks than it has, with an interval.

        Parameters
        ----------
        more : int
            Further masks.
        metric : str or None, default=None
            A score in [0, 1].
        confidence : float, default=0.9

        Returns
        -------
        dict of str -> alseg.experiment.forecast.Forecast
            For the mean over seeds that are complete; of rows with at least three rounds.
        """
        check_number("more", more, 1, integer=True)
        found = {}
        for name, (x, y) in self.curves(metric).items():
            at, scores = mean_curve(x, y)  # else later rounds would be means of fewer seeds
            if len(at) >= 3:
                found[name] = forecast(at, scores, at[-1] + more, confidence)
        return found

    def backtest(self, metric=None, confidence=0.9):
        """How good such forecasts would have been here, of rounds that are known now.

        Parameters
        ----------
        metric : str or None, default=None
            A score in [0, 1].
        confidence : float, default=0.9

        Returns
        -------
        result : alseg.experiment.forecast.Backtest, or None
            Of the mean curves of all rows; None if no row has more than three rounds.
        """
        return backtest_rows(self.curves(metric), confidence)

    def labels_saved(self, shares=(90, 95, 99), metric=None, x="masks"):
        """How many labels less than the control each row needs for a share of full supervision.

        Parameters
        ----------
        shares : sequence of number, default=(90, 95, 99)
            Per cent of the mean score of full supervision.
        metric : str or None, default=None
        x : str, default="masks"
            What is saved, see `curves`.

        Returns
        -------
        dict of str -> dict of number -> alseg.experiment.statistics.LabelsSaved
            By row and share, of the mean curves, where both may not reach it: see ``bound``. Empty
            without full supervision or the control.
        """
        return saved_by_row(self.curves(metric, x), self.control, self._full(metric), shares)

    def foreground_efficiency(self, metric=None):
        """How quickly annotated foreground closes each row's gap to full supervision.

        Parameters
        ----------
        metric : str or None, default=None

        Returns
        -------
        dict of str -> float
            As `alseg.experiment.statistics.foreground_efficiency`, of the mean curves; infinite
            where the first round closes the gap. Without full supervision, or a gap to it, empty.
            Records of before foreground was counted need the data, see `read_comparison`.
        """
        full, curves = self._full(metric), self.curves(metric)
        return efficiency_by_row(self.foreground(), curves, full) if np.isfinite(full) else {}

    def foreground(self):
        """Share of the training images' foreground that is annotated, over rounds.

        Returns
        -------
        dict of str -> ndarray of shape (n_seeds, n_rounds), float
            In [0, 1], NaN where it is not known.
        """
        n_rounds = max((len(chain) for chain in self.chains.values()), default=0)
        train = None if self.protocol.n_folds is not None else self.train
        return foreground_shares(
            self.chains, self._references, self.names, self.seeds, n_rounds, train
        )

    def rank_stability(self, metric=None):
        """Whether the rows would be ranked alike without one of the seeds.

        Parameters
        ----------
        metric : str or None, default=None

        Returns
        -------
        result : alseg.experiment.statistics.RankStability, or None
            By area, over the seeds that all rows have; None with fewer than two rows or seeds.
        """
        areas = self._common_areas(metric)
        return statistics.rank_stability(areas) if min(areas.shape) > 1 else None

    def ranks(self, metric=None):
        """Rank of each row by area, and the ranks that it has without one of the seeds.

        Parameters
        ----------
        metric : str or None, default=None

        Returns
        -------
        dict of str -> (int, ndarray of shape (n_seeds,), int)
            1 is the best. Empty with fewer than two rows or seeds in common.
        """
        areas = self._common_areas(metric)
        if min(areas.shape) < 2:
            return {}
        ranks, without = ranks_without_a_seed(areas)
        names = self.areas(metric)
        return {name: (int(ranks[k]), without[k]) for k, name in enumerate(names)}

    def _common_areas(self, metric):
        """Areas of the rows in the seeds that all of them have: (n_rows, n_seeds)."""
        areas = np.array(list(self.areas(metric).values())).reshape(-1, len(self.seeds))
        return areas[:, np.isfinite(areas).all(axis=0)]

    def _full(self, metric):
        """Mean score of full supervision, NaN without."""
        values = self.references(metric).get("full supervision", np.empty(0))
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else np.nan

    def table(self):
        """A row for each strategy, control and reference.

        Returns
        -------
        pandas.DataFrame
        """
        from alseg.report.comparison import comparison_table

        return comparison_table(self)

    def plot(self, ax=None, x="masks", metric=None):
        """Draw the learning curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
        x : str, default="masks"
            See `curves`.
        metric : str or None, default=None

        Returns
        -------
        ax : matplotlib.axes.Axes
        """
        from alseg.report.comparison import draw_curves

        return draw_curves(self, ax=ax, x=x, metric=metric)

    def to_html(self, path, pictures=True):
        """Write the report: one file that needs nothing from the network.

        Parameters
        ----------
        path : str or Path
        pictures : bool, default=True
            Whether images of the data may stand in it, where the data are at hand.

        Returns
        -------
        path : Path
        """
        from alseg.report.comparison import write_comparison_report

        return write_comparison_report(self, path, images=None if pictures else False)


def _number(value):
    return np.nan if value is None else float(value)


def _position(record, x):
    if x == "masks":
        return record["n_masks"]
    return record["round"] if x == "round" else record["cost"][x]


def read_comparison(folder, data=None):
    """Read the records of a comparison, also of one that is still running.

    Parameters
    ----------
    folder : str or Path
        What `compare_strategies` has written.
    data : as in `compare_strategies`, or None, default=None
        For pictures in the report, and for groups of test images.

    Returns
    -------
    result : Comparison

    Raises
    ------
    FileNotFoundError
        If there is no comparison in the folder.
    RecordsError
        If a file of it is corrupt.
    ValueError
        If the data are not those of the comparison.
    """
    folder = Path(folder)
    path = folder / FILE_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"no comparison at {path}. Name a folder that compare_strategies or `alseg compare` "
            "has written."
        )
    config = _read_json(path)
    protocol, seeds = Protocol.from_dict(config["protocol"]), config["seeds"]
    chains, references = {}, {}
    for name in config["rows"]:
        for seed in seeds:
            chain = read_job(Job("chain", name, seed), folder)
            if chain:
                chains[name, seed] = chain
    for name in protocol.references:
        found = read_reference(name, folder)
        if found:
            references[name] = found
    train = test = None
    if data is not None:
        train, test = split(data, protocol, seeds[0])
        train = annotated_part(train)  # what the ids of the records count
        _check_data_of(chains, config, seeds[0], train, test)
    return Comparison(
        chains, references, protocol, config["rows"], config["family"], seeds, config, train, test
    )


def _check_data_of(chains, config, seed, train, test):
    """Whether records of a seed are about these data: their sizes, and the names of those asked."""
    for (_, of_seed), chain in chains.items():
        if of_seed != seed:
            continue
        told = chain[0].get("config", {}).get("data", {})
        sizes = told.get("n_train"), told.get("n_test")
        if None not in sizes and sizes != (len(train.ids), len(test.ids)):
            raise ValueError(
                message("data", f"those of the comparison, {sizes[0]} images to train on and "
                        f"{sizes[1]} to test on", (len(train.ids), len(test.ids)),
                        _how_it_ran(config))
            )  # fmt: skip
        for item in (item for record in chain for item in record.get("asked", ())):
            name = str(train.ids[item["sample_id"]])
            if name != item["id"]:
                raise ValueError(
                    message("data", f"those of the comparison, where training image "
                            f"{item['sample_id']} is {item['id']!r}", name, _how_it_ran(config))
                )  # fmt: skip


def _how_it_ran(config):
    commands = [one["command"] for one in config.get("ran", ()) if one["command"] != "Python"]
    return f"It was run by: {commands[-1]}" if commands else ""
