"""What a comparison of strategies has found: its records, curves, areas, verdict and report."""

from pathlib import Path

import numpy as np

from alseg.comparison.jobs import Job, read_job, read_reference
from alseg.experiment import (
    Protocol,
    annotated_part,
    backtest_rows,
    efficiency_by_row,
    forecast,
    foreground_shares,
    mean_curve,
    ranks_without_a_seed,
    saved_by_row,
    split,
    statistics,
)
from alseg.files import RecordsError, read_json
from alseg.validation import check_number, did_you_mean, message

FILE_NAME = "comparison.json"
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
            `alseg.query.AnnotationCost`, or the round.

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
        metric, better = metric or self.metric, self.protocol.better(metric)
        unit = "area" if metric == "dice" else f"area under {metric}"
        return statistics.verdict(
            areas,
            self.control,
            self.family,
            alpha=self.alpha,
            unit=unit if better == "higher" else f"{unit}, of which less is better,",
            scale=self.protocol.scale(metric),
            better=better,
        )

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
                    [found[seed] for seed in seeds],
                    [control[seed] for seed in seeds],
                    self.test_groups,
                    random_state=random_state,
                )
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
        dict of str -> alseg.experiment.Forecast
            For the mean over seeds that are complete; of rows with at least three rounds. Empty for
            a score of one's own, or one of which less is better.
        """
        check_number("more", more, 1, integer=True)
        if not self._is_share(metric):
            return {}
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
        result : alseg.experiment.Backtest, or None
            Of the mean curves of all rows; None if no row has more than three rounds, or where
            `forecast` is empty.
        """
        return backtest_rows(self.curves(metric), confidence) if self._is_share(metric) else None

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
            without full supervision or the control, and where less is better.
        """
        if self.protocol.better(metric) == "lower":
            return {}
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
            where the first round closes the gap. Without full supervision, or a gap to it, and
            where less is better, empty.
            Records of before foreground was counted need the data, see `read_comparison`.
        """
        full, curves = self._full(metric), self.curves(metric)
        if not np.isfinite(full) or self.protocol.better(metric) == "lower":
            return {}
        return efficiency_by_row(self.foreground(), curves, full)

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
        """Areas in the seeds that all rows have, larger is better: (n_rows, n_seeds)."""
        areas = np.array(list(self.areas(metric).values())).reshape(-1, len(self.seeds))
        areas = areas[:, np.isfinite(areas).all(axis=0)]
        return areas if self.protocol.better(metric) == "higher" else -areas

    def _is_share(self, metric):
        """Whether a metric is in [0, 1], and more of it better."""
        return self.protocol.scale(metric) == 100 and self.protocol.better(metric) == "higher"

    def _full(self, metric):
        """Mean score of full supervision, NaN without."""
        values = self.references(metric).get("full supervision", np.empty(0))
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else np.nan

    def table(self, metric=None):
        """A row for each strategy, control and reference.

        Parameters
        ----------
        metric : str or None, default=None

        Returns
        -------
        pandas.DataFrame
        """
        from alseg.report import comparison_table

        return comparison_table(self, metric)

    def to_frame(self, cost=None, per_image=False):
        """All scores as a tidy table: a line for each row, seed, round and metric.

        Parameters
        ----------
        cost : {"images", "pixels", "clicks", "seconds"} or None, default=None
            What the column ``cost`` counts; None is the protocol's `cost`.
        per_image : bool, default=False
            Whether the scores of single test images have lines too.

        Returns
        -------
        pandas.DataFrame
            As `alseg.report.tidy_frame` makes it of the records.
        """
        from alseg.report import tidy_frame

        return tidy_frame(self.records, cost or self.protocol.cost, per_image)

    def to_csv(self, path, cost=None, per_image=False):
        """Write `to_frame` as a CSV file.

        Parameters
        ----------
        path : str or Path
            Where no file is, or one that this has written.
        cost, per_image
            As in `to_frame`.

        Returns
        -------
        path : Path
            ``pandas.read_csv(path)`` gives the numbers again; pandas before 3.1 wants
            ``float_precision="round_trip"`` for the last of their digits.

        Raises
        ------
        NotOurs
            If another file is at `path`.
        """
        from alseg.report import write_csv

        return write_csv(path, self.to_frame(cost, per_image))

    def to_latex(self, metric=None, caption=None, label=None, path=None):
        """The table as LaTeX (booktabs), its names escaped.

        Bold are the row with the best area, and those that cannot be told from it, where the
        verdict calls them better than the control; without such a finding nothing is.

        Parameters
        ----------
        metric : str or None, default=None
        caption, label : str or None, default=None
            LaTeX of one's own. With either the ``tabular`` stands in a ``table``.
        path : str or Path or None, default=None
            Where to write it too: where no file is, or one that this has written.

        Returns
        -------
        str

        Raises
        ------
        NotOurs
            If another file is at `path`.
        """
        from alseg.report import comparison_latex

        return comparison_latex(self, metric, caption, label, path)

    def plot(self, ax=None, x="masks", metric=None, path=None):
        """Draw the learning curves, with bands of the level of the verdict.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
        x : str, default="masks"
            See `curves`.
        metric : str or None, default=None
        path : str or Path or None, default=None
            Where to write the figure too, as PDF, SVG or PNG by its ending; see
            `alseg.report.save_figure`.

        Returns
        -------
        ax : matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If the path ends otherwise.
        NotOurs
            If a file is at `path` that is no figure of alseg.
        """
        from alseg.report import draw_curves, save_figure

        ax = draw_curves(self, ax=ax, x=x, metric=metric)
        if path is not None:
            save_figure(ax, path)
        return ax

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
        from alseg.report import write_comparison_report

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
    config = read_file(path)
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
                message(
                    "data",
                    f"those of the comparison, {sizes[0]} images to train on and "
                    f"{sizes[1]} to test on",
                    (len(train.ids), len(test.ids)),
                    _how_it_ran(config),
                )
            )
        for item in (item for record in chain for item in record.get("asked", ())):
            name = str(train.ids[item["sample_id"]])
            if name != item["id"]:
                raise ValueError(
                    message(
                        "data",
                        f"those of the comparison, where training image "
                        f"{item['sample_id']} is {item['id']!r}",
                        name,
                        _how_it_ran(config),
                    )
                )


def _how_it_ran(config):
    commands = [one["command"] for one in config.get("ran", ()) if one["command"] != "Python"]
    return f"It was run by: {commands[-1]}" if commands else ""


def read_file(path):
    """What a file `FILE_NAME` holds."""
    try:
        there = read_json(path)
    except ValueError as error:
        raise RecordsError(f"{path} is not JSON ({error}) Use another output folder.") from error
    kinds = {"protocol": dict, "rows": dict, "family": list, "seeds": list, "ran": list}
    wrong = [name for name, kind in kinds.items() if not isinstance(there.get(name, kind()), kind)]
    if wrong or not {"protocol", "rows", "seeds"} <= there.keys():
        raise RecordsError(f"{path} is not of a comparison. Use another output folder.")
    natural = [seed for seed in there["seeds"] if isinstance(seed, int) and seed >= 0]
    if not natural or natural != there["seeds"]:
        raise RecordsError(f"{path} must have seeds that are integers >= 0. It is damaged.")
    return there
