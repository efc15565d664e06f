"""Many strategies, many seeds, one protocol, and a verdict: `compare_strategies`."""

import json
import sys
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
    n_threads,
    read_job,
    read_reference,
    run_job,
    with_steps,
)
from alseg.experiment.environment import peak_memory
from alseg.experiment.evaluate import SCORES
from alseg.experiment.forecast import forecast
from alseg.experiment.protocol import Protocol, split
from alseg.experiment.records import RecordsError, jsonable, lock, write_text
from alseg.experiment.run import annotated_part, check_data, describe_data, described
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
        for train, test in self.parts.values():
            if (id(train), id(test)) in seen:
                continue
            seen.add((id(train), id(test)))
            check_data(self.estimator, train, test)
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
        estimators = {id(job.row.estimator): job.row.estimator for job in self.jobs}.values()
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
        """What a fit and an evaluation take, measured here by two short fits.

        Returns
        -------
        dict of str -> float
            ``n_steps`` of a fit, ``seconds_per_fit``, ``seconds_per_evaluation``, ``seconds`` of
            all jobs one after another (asking counts as one prediction of the training images),
            ``mib`` of a job.
        """
        train, test = self.parts[self.seeds[0]]
        model = with_steps(self.estimator, self.protocol).set_params(random_state=0)
        params = model.get_params(deep=False)
        steps = params["steps_per_epoch"] or -(-len(train.labels) // params["batch_size"])
        n_steps = params["max_epochs"] * steps
        took, memory = {}, {}
        few = train.take(np.arange(min(len(train.labels), 16)))
        with n_threads(self.protocol.n_threads), peak_memory(memory, "peak"):
            for n in (1, 2, 5):  # the first also loads libraries
                model.set_params(max_epochs=1, steps_per_epoch=n)
                began = time.perf_counter()
                model.fit(few.images, few.labels, few.masks)
                took[n] = time.perf_counter() - began
            some = test.take(np.arange(min(len(test.labels), 4)))
            began = time.perf_counter()
            model.predict_masks(some.images)
            image = (time.perf_counter() - began) / len(some.labels)
        step = max(took[5] - took[2], 0.0) / 3
        reading = max(took[2] - 2 * step, 0.0) / len(few.labels)
        fit = len(train.labels) * reading + n_steps * step
        evaluation = image * len(test.labels)
        asked = sum(job.kind == "chain" for job in self.jobs) * self.protocol.rounds
        seconds = self.n_fits * (fit + evaluation) + asked * image * len(train.labels)
        return {
            "n_steps": n_steps,
            "seconds_per_fit": fit,
            "seconds_per_evaluation": evaluation,
            "seconds": seconds,
            "mib": memory.get("peak", float("nan")),
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
        lines = [
            f"data        {train.name or 'images'}: {len(train)} to train on, {len(test)} to test on",
            f"rows        {', '.join(self.names)}",
            f"references  {', '.join(protocol.references) or 'none'}",
            f"seeds       {', '.join(map(str, self.seeds))}",
            f"asked       {protocol.initial} masks, then {asks}",
            f"verdict     {', '.join(self.family) or 'nothing'} against {protocol.control}, area "
            f"under {protocol.metric}, level {protocol.alpha:g} with Holm's adjustment",
            f"fits        {self.n_fits} of {cost['n_steps']} steps in {len(self.jobs)} jobs",
            f"time        about {_duration(cost['seconds'] / n_jobs)} with {n_jobs} at once: "
            f"{cost['seconds_per_fit']:.1f} s a fit, {cost['seconds_per_evaluation']:.1f} s a test",
            f"memory      about {cost['mib']:.0f} MiB a job",
        ]
        return "\n".join(lines)

    def compare(self, out, n_jobs=1, verbose=1):
        """Do what `compare_strategies` does after the check.

        Parameters
        ----------
        out, n_jobs, verbose
            See `compare_strategies`.

        Returns
        -------
        result : Comparison
        """
        _check_n_jobs(n_jobs)
        with _Folder(out, self):
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
                    delayed(_do)(job, self.protocol, self.data, str(out)) for job in jobs
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


def _do(job, protocol, data, out):
    run_job(job, protocol, data, out)
    return f"{job.name} {job.seed}", job.n_fits


class _Folder:
    """The folder of a comparison, ours alone until the end."""

    def __init__(self, out, plan):
        self.out, self.plan, self.file = Path(out), plan, None

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
        seeds = list(self.plan.seeds)
        if path.exists():
            there = _read_json(path)
            _check_same({k: v for k, v in there.items() if k in config}, config, path)
            seeds = sorted({*there["seeds"], *seeds})  # more seeds are more of the same
        elif any((self.out / name).exists() for name in ("starts", "rows", "records.jsonl")):
            raise RecordsError(f"{self.out} holds records of something else. Use another folder.")
        write_text(path, json.dumps({**config, "seeds": seeds}, indent=1) + "\n")

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
        if isinstance(a, dict) and isinstance(b, dict):
            _check_same(a, b, path)
        elif a != b:
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
        try:
            found[key] = jsonable(value)
        except TypeError:
            found[key] = _described_strategy(value) if callable(value) else type(value).__name__
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
            whole = np.isfinite(y).all(axis=1)  # else later rounds would be means of fewer seeds
            if not whole.any():
                continue
            at, scores = x[whole].mean(axis=0), y[whole].mean(axis=0)
            if len(at) >= 3 and (np.diff(at) > 0).all():
                found[name] = forecast(at, scores, at[-1] + more, confidence)
        return found

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

    def to_html(self, path):
        """Write the report: one file that needs nothing from the network.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        path : Path
        """
        from alseg.report.comparison import write_comparison_report

        return write_comparison_report(self, path)


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
    return Comparison(
        chains, references, protocol, config["rows"], config["family"], seeds, config, train, test
    )
