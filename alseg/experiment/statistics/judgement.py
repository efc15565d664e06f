"""What may be said after a comparison: better, not better, or too few seeds."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from alseg.experiment.statistics.paired import (
    holm,
    paired_t,
    power_paired_t,
    seeds_needed,
    sign_flip_test,
)
from alseg.validation import UnknownName, check_number, check_option, did_you_mean, message

_POWER = 0.8
_MANY_SEEDS = 1000  # beyond that the number says "never", and its digits nothing


class VerdictRow(NamedTuple):
    """What `verdict` finds about one strategy.

    Attributes
    ----------
    name : str
    n : int
        Seeds that both the strategy and the control have.
    difference : float
        Mean over the seeds, strategy minus control.
    interval : (float, float)
        Student's t interval of the difference at 1 - alpha, for this strategy by itself.
    sd : float
        Of the paired differences.
    p_value, p_holm : float
        Of the paired t-test, and adjusted over the family.
    p_sign, floor_sign : float
        Of the exact sign-flip test, and the least that n seeds can reach. Not adjusted.
    power : float
        To find a difference of one sd with n seeds, after Holm over the family.
    power_seen : float
        The same for the difference seen. It is the p-value in other words: no further evidence.
    seeds_needed : int or float
        To find the difference seen in four of five comparisons, if it is what it seems.
    seeds_needed_holm : int or float
        The same after Holm over the family.
    seeds_needed_sd : int
        To find a difference of one sd, after Holm over the family.
    decision : {"better", "worse", "not distinguishable", "too few seeds"}
    """

    name: str
    n: int
    difference: float
    interval: tuple
    sd: float
    p_value: float
    p_holm: float
    p_sign: float
    floor_sign: float
    power: float
    power_seen: float
    seeds_needed: float
    seeds_needed_holm: float
    seeds_needed_sd: float
    decision: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What may be said of each strategy against the control; `print` it.

    Attributes
    ----------
    rows : tuple of VerdictRow
        The family, in its order.
    control : str
    alpha : float
        Two-sided level over the family.
    unit : str
        What is compared.
    scale : float
        What numbers are multiplied by in the text.
    """

    rows: tuple
    control: str
    alpha: float = 0.05
    unit: str = "area"
    scale: float = 100.0

    def __getitem__(self, name):
        """The row of a strategy.

        Parameters
        ----------
        name : str

        Returns
        -------
        VerdictRow
        """
        return _row_named(self.rows, name)

    @property
    def headline(self):
        """What may be said of all strategies, in one sentence."""
        return _headline(self.rows, self.control)

    @property
    def evidence(self):
        """What the headline rests on: a line of terms, one a row, and how much seeds can tell."""
        ns = sorted({row.n for row in self.rows})
        seeds = " to ".join(str(n) for n in dict.fromkeys([ns[0], ns[-1]]))
        lines = [
            f"{self.unit[:1].upper()}{self.unit[1:]} against {self.control}, {seeds} paired "
            f"{'seed' if ns[-1] == 1 else 'seeds'}, {_over(len(self.rows))}two-sided level "
            f"{self.alpha:g}."
        ]
        lines += [self.sentence(row) for row in self.rows]
        for n in (n for n in ns if n > 1):
            power = next(row.power for row in self.rows if row.n == n)
            lines.append(
                f"With {n} seeds a difference of one standard deviation (of the paired "
                f"differences) is found in {100 * power:.0f} % of comparisons{_after(self.rows)}."
            )
        return lines

    def __str__(self):
        return "\n".join([self.headline, *self.evidence])

    def sentence(self, row):
        """What may be said of one strategy, in words.

        Parameters
        ----------
        row : VerdictRow

        Returns
        -------
        str
        """
        head = f"{row.name}: {row.decision}"
        if row.n == 0:
            return f"{head}, no seed is there for both it and {self.control}."
        head += f", {self._shown(row.difference, '+')}"
        if row.n == 1:
            return (
                f"{head}. One seed cannot tell a difference from chance: about "
                f"{row.seeds_needed_sd:.0f} paired seeds are needed to find one of one standard "
                "deviation."
            )
        low, high = map(self._shown, row.interval)
        p_holm = f", {show_p(row.p_holm)} after Holm" if len(self.rows) > 1 else ""
        parts = [f"{head} [{low}, {high}] (t-test {show_p(row.p_value)}{p_holm})."]
        if row.sd == 0 and row.difference != 0:
            parts.append("All seeds differ by the same amount: are they different runs?")
        if row.decision in ("better", "worse"):
            parts.append("The interval excludes 0.")
        elif row.sd > 0:
            parts.append(self._needed(row))
        if row.floor_sign > self.alpha / len(self.rows):
            after = "" if row.floor_sign > self.alpha else _after(self.rows)
            parts.append(
                f"The exact sign-flip test cannot decide with {row.n} seeds{after}: its least "
                f"p-value is {row.floor_sign:.3g}."
            )
        else:
            parts.append(f"Exact sign-flip test: {show_p(row.p_sign)}.")
        return " ".join(parts)

    def _shown(self, value, sign=""):
        value = self.scale * value
        small = self.scale != 100 and 0 < abs(value) < 0.1  # of a score in a unit of its own
        return f"{value:{sign}{'.2g' if small else '.2f'}}"

    def _needed(self, row):
        after = _after(self.rows)
        if row.decision == "too few seeds" and row.seeds_needed_holm > row.seeds_needed_sd:
            # The difference seen is small, but so few seeds say little about how small.
            return (
                f"About {row.seeds_needed_sd:.0f} paired seeds are needed to find a difference of "
                f"one standard deviation{after}."
            )
        if math.isinf(row.seeds_needed):
            return "No difference was seen that more seeds could confirm."
        if row.seeds_needed > _MANY_SEEDS:
            return (
                f"More than {_MANY_SEEDS} paired seeds are needed to find a difference this small."
            )
        more = f" ({row.seeds_needed_holm:.0f}{after})" if len(self.rows) > 1 else ""
        return (
            f"About {row.seeds_needed:.0f} paired seeds{more} are needed to find a difference of "
            "this size."
        )


def verdict(areas, control, family=None, alpha=0.05, unit="area", scale=100.0, better="higher"):
    """Say of each strategy whether it is better than the control, with its evidence.

    Differences are paired by seed. A strategy is "better" or "worse" where the paired t-test stays
    below `alpha` after Holm's adjustment over the family; otherwise it is "too few seeds" where

    - there is one seed, or
    - the difference is at least one standard deviation of the pairs and still not found, or
    - so many seeds would miss a difference of two standard deviations more often than find it,

    and else "not distinguishable". The exact sign-flip test, which assumes no distribution, stands
    beside it with its least p-value, but decides nothing.

    Parameters
    ----------
    areas : dict of str -> array-like of shape (n_seeds,), float
        Of each row, in the same order of seeds. NaN where a seed is not there: that pair is left
        out.
    control : str
        The row that the others are compared with.
    family : sequence of str or None, default=None
        Rows that are judged together, fixed before the comparison was run. None is all others.
    alpha : float, default=0.05
        Two-sided level over the family, in (0, 1).
    unit : str, default="area"
        What the numbers are, for the text.
    scale : float, default=100.0
        What numbers are multiplied by in the text: scores in [0, 1] become percent.
    better : {"higher", "lower"}, default="higher"
        "lower" for distances and other errors. Differences keep their sign.

    Returns
    -------
    result : Verdict

    Raises
    ------
    ValueError
        If a name is unknown, the family is empty, or rows differ in their number of seeds.

    Examples
    --------
    >>> areas = {"random": [0.70, 0.72, 0.71, 0.69], "mine": [0.75, 0.76, 0.77, 0.74]}
    >>> print(verdict(areas, "random"))
    mine is better than random.
    Area against random, 4 paired seeds, two-sided level 0.05.
    mine: better, +5.00 [3.70, 6.30] (t-test p = 0.001). The interval excludes 0. The exact
    sign-flip test cannot decide with 4 seeds: its least p-value is 0.125.
    With 4 seeds a difference of one standard deviation (of the paired differences) is found in
    29 % of comparisons.
    """
    areas, family = _checked_rows(areas, control, family)
    check_number("alpha", alpha, 0, 1, open_low=True)
    check_option("better", better, ("higher", "lower"))
    found = {}
    for name in family:
        differences = areas[name] - areas[control]
        # Sums in another order differ by rounding alone, and always in the same direction.
        noise = 1e-12 * np.maximum(np.abs(areas[name]), np.abs(areas[control]))
        differences = np.where(np.abs(differences) <= noise, 0.0, differences)
        found[name] = differences[np.isfinite(differences)]
    tests = [paired_t(d, 1 - alpha) if len(d) else None for d in found.values()]
    adjusted = holm([1.0 if test is None else test.p_value for test in tests])
    rows = [
        _row(name, found[name], test, p_holm, alpha, len(family), better)
        for name, test, p_holm in zip(family, tests, adjusted, strict=True)
    ]
    return Verdict(tuple(rows), control, alpha, unit, scale)


def _row(name, differences, test, p_holm, alpha, n_family, better):
    hardest = alpha / n_family  # the first step of Holm
    needed_sd = seeds_needed(1.0, 1.0, _POWER, hardest)
    if test is None:
        nothing = (np.nan, (np.nan, np.nan), np.nan, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, np.nan, np.nan)
        return VerdictRow(name, 0, *nothing, needed_sd, "too few seeds")
    sign = sign_flip_test(differences, random_state=0)
    power = power_seen = 0.0
    if test.n > 1:
        effect_size = 0.0 if test.mean == 0 else abs(test.mean) / test.sd if test.sd else np.inf
        power = power_paired_t(test.n, 1.0, hardest)
        power_seen = power_paired_t(test.n, effect_size, hardest)
    if p_holm < alpha:
        decision = "better" if (test.mean > 0) == (better == "higher") else "worse"
    elif (
        test.n == 1
        or power_paired_t(test.n, 2.0, hardest) < 0.5
        or (effect_size >= 1 and test.sd > 0)
    ):
        decision = "too few seeds"
    else:
        decision = "not distinguishable"
    return VerdictRow(
        name,
        test.n,
        test.mean,
        test.interval,
        test.sd,
        test.p_value,
        float(p_holm),
        sign.p_value,
        sign.floor,
        power,
        power_seen,
        seeds_needed(test.mean, test.sd, _POWER, alpha),
        seeds_needed(test.mean, test.sd, _POWER, hardest),
        needed_sd,
        decision,
    )


class PooledRow(NamedTuple):
    """What `pooled_verdict` finds about one strategy.

    Attributes
    ----------
    name : str
    n : int
        Pairs of all data sets together.
    differences : dict of str -> float
        Mean difference on each data set.
    difference : float
        Mean of all pairs.
    p_sign, floor_sign : float
        Of the sign-flip test of all pairs, and the least that so many can reach.
    p_holm : float
        `p_sign` adjusted over the family.
    decision : {"better", "worse", "not distinguishable", "too few seeds"}
    """

    name: str
    n: int
    differences: dict
    difference: float
    p_sign: float
    floor_sign: float
    p_holm: float
    decision: str


@dataclasses.dataclass(frozen=True)
class PooledVerdict:
    """What may be said over several data sets together; `print` it.

    Attributes
    ----------
    rows : tuple of PooledRow
    control : str
    alpha, unit, scale
        As in `Verdict`.
    """

    rows: tuple
    control: str
    alpha: float = 0.05
    unit: str = "area"
    scale: float = 100.0

    def __getitem__(self, name):
        """The row of a strategy.

        Parameters
        ----------
        name : str

        Returns
        -------
        PooledRow
        """
        return _row_named(self.rows, name)

    @property
    def headline(self):
        """What may be said of all strategies, in one sentence."""
        return _headline(self.rows, self.control)

    def __str__(self):
        sets = " and ".join(self.rows[0].differences)
        lines = [
            self.headline,
            f"{self.unit[:1].upper()}{self.unit[1:]} against {self.control}, pooled over {sets}, "
            f"{_over(len(self.rows))}exact sign-flip test, two-sided level {self.alpha:g}.",
        ]
        for row in self.rows:
            each = ", ".join(f"{self.scale * d:+z.2f} on {s}" for s, d in row.differences.items())
            p_holm = f", {show_p(row.p_holm)} after Holm" if len(self.rows) > 1 else ""
            lines.append(
                f"{row.name}: {row.decision}, {self.scale * row.difference:+z.2f} over {row.n} "
                f"pairs ({each}; {show_p(row.p_sign)}{p_holm})."
            )
        return "\n".join(lines)


def pooled_verdict(areas, control, family=None, alpha=0.05, unit="area", scale=100.0):
    """Judge strategies over several data sets together, by the exact sign-flip test of all pairs.

    Too few seeds on each of several data sets can be enough together. The test asks only that
    without a difference each pair's sign is a coin's, so data sets may vary as they like; one with
    larger differences counts more. It says "better on these data sets", not "on such data sets".

    Parameters
    ----------
    areas : dict of str -> dict of str -> array-like of shape (n_seeds,), float
        Data set, then row, as `verdict` takes them. Numbers of seeds may differ between data sets.
    control, family, alpha, unit, scale
        As in `verdict`. None as `family` is all rows of the first data set but the control.

    Returns
    -------
    result : PooledVerdict
        "too few seeds" is said where even the least p-value would not be enough after Holm.

    Raises
    ------
    ValueError
        As `verdict`, or if there is no data set.

    Examples
    --------
    >>> a = {"random": [0.70, 0.72, 0.71, 0.69], "mine": [0.75, 0.76, 0.77, 0.74]}
    >>> b = {"random": [0.50, 0.52, 0.51, 0.49], "mine": [0.51, 0.53, 0.56, 0.50]}
    >>> print(pooled_verdict({"glands": a, "birds": b}, "random"))
    mine is better than random.
    Area against random, pooled over glands and birds, exact sign-flip test, two-sided level 0.05.
    mine: better, +3.50 over 8 pairs (+5.00 on glands, +2.00 on birds; p = 0.008).
    """
    if not hasattr(areas, "items") or not areas:
        raise ValueError(message("areas", "a dict of data sets, at least one", areas))
    check_number("alpha", alpha, 0, 1, open_low=True)
    checked = {}
    for data_set, rows in areas.items():
        checked[data_set], family = _checked_rows(rows, control, family)
    pairs = {}
    for name in family:
        pairs[name] = {s: rows[name] - rows[control] for s, rows in checked.items()}
        pairs[name] = {s: d[np.isfinite(d)] for s, d in pairs[name].items()}
        for data_set, differences in pairs[name].items():
            if len(differences) == 0:
                rule = "known for at least one seed, as the control's"
                raise ValueError(message(f"areas[{data_set!r}][{name!r}]", rule, "none"))
    stacked = {name: np.concatenate(list(sets.values())) for name, sets in pairs.items()}
    tests = [sign_flip_test(differences, random_state=0) for differences in stacked.values()]
    rows = []
    for name, test, p_holm in zip(family, tests, holm([t.p_value for t in tests]), strict=True):
        mean = float(stacked[name].mean())
        if p_holm < alpha:
            decision = "better" if mean > 0 else "worse"
        else:
            few = test.floor * len(family) >= alpha
            decision = "too few seeds" if few else "not distinguishable"
        means = {data_set: float(d.mean()) for data_set, d in pairs[name].items()}
        rows.append(
            PooledRow(name, len(stacked[name]), means, mean, *test, float(p_holm), decision)
        )
    return PooledVerdict(tuple(rows), control, alpha, unit, scale)


def _checked_rows(areas, control, family):
    if not hasattr(areas, "items"):
        raise TypeError(message("areas", "a dict of names and areas", areas))
    areas = {name: np.asarray(values, dtype=float) for name, values in areas.items()}
    if control not in areas:
        remedy = did_you_mean(control, areas)
        raise ValueError(message("control", f"one of {list(areas)}", control, remedy))
    others = [name for name in areas if name != control]
    family = others if family is None else list(family)
    if not family:
        raise ValueError(message("family", "at least one row beside the control", family))
    for name in family:
        if name not in others:
            remedy = did_you_mean(name, others)
            raise ValueError(message("family", f"made of {others}", name, remedy))
    if len(set(family)) < len(family):
        raise ValueError(message("family", "of different names", family))
    shape = areas[control].shape
    for name in (control, *family):
        if areas[name].ndim != 1 or areas[name].shape != shape:
            rule = "of shape (n_seeds,), the same for all rows"
            raise ValueError(message(f"areas[{name!r}]", rule, areas[name].shape))
    return areas, family


def _row_named(rows, name):
    for row in rows:
        if row.name == name:
            return row
    names = [row.name for row in rows]
    raise UnknownName(message("name", f"one of {names}", name, did_you_mean(name, names)))


_SAID = {
    "better": "{names} {be} better than {it}",
    "worse": "{names} {be} worse than {it}",
    "not distinguishable": "{names} {be} not distinguishable from {it}",
    "too few seeds": "for {names} there are too few seeds to tell",
}


def _headline(rows, control):
    """The decisions about all rows as a sentence, the control named once."""
    said = []
    for decision, words in _SAID.items():
        names = [row.name for row in rows if row.decision == decision]
        if names:
            it = "it" if said else control
            be = "is" if len(names) == 1 else "are"
            said.append(words.format(names=_listed(names), be=be, it=it))
    if rows and len(said) == 1 and said[0].startswith("for "):
        said = [f"{said[0]} {'it' if len(rows) == 1 else 'them'} from {control}"]
    text = ", and ".join([", ".join(said[:-1]), said[-1]]) if len(said) > 1 else said[0]
    return f"{'F' if text.startswith('for ') else text[0]}{text[1:]}."


_MOST_NAMED = 6


def _listed(names):
    """Names as people list them; of many the first alone, and how many more there are."""
    if len(names) > _MOST_NAMED:
        names = [*names[: _MOST_NAMED - 1], f"{len(names) - _MOST_NAMED + 1} more"]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _over(n_family):
    return f"{n_family} strategies judged together (Holm), " if n_family > 1 else ""


def _after(rows):
    return f" after Holm over {len(rows)}" if len(rows) > 1 else ""


def show_p(p_value):
    """A p-value as text.

    Parameters
    ----------
    p_value : float

    Returns
    -------
    str

    Examples
    --------
    >>> show_p(0.0625), show_p(0.00002)
    ('p = 0.062', 'p < 0.001')
    """
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
