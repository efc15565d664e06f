"""Tables of a comparison beside the one of its areas: pseudo-labels, subsets, share of the full."""

import numpy as np
import pandas as pd

from alseg.experiment.statistics import paired_t
from benchmarks.core.paper_scores import PSEUDO_LABEL_DICE
from benchmarks.core.tables import spread


def pseudo_table(result, name=None):
    """How good the pseudo-labels of each round were, against the hidden masks.

    Parameters
    ----------
    result : alseg.comparison.Comparison
    name : str or None
        Data set whose published numbers stand beside.

    Returns
    -------
    pandas.DataFrame of str
        In per cent, means over seeds; empty where no row has pseudo-labels.
    """
    published = PSEUDO_LABEL_DICE.get(name, {})
    lines = []
    for row in result.names:
        chains = [result.chains.get((row, seed), []) for seed in result.seeds]
        for place in range(max(map(len, chains), default=0)):
            records = [chain[place] for chain in chains if len(chain) > place]
            found = [record["pseudo"] for record in records if "pseudo" in record]
            if not found:
                continue
            n_masks = records[0]["n_masks"]
            at, known = list(published), list(published.values())
            theirs = np.interp(n_masks, at, known, np.nan, np.nan) if published else np.nan
            lines.append(
                {
                    "row": row,
                    "masks": f"{n_masks:g}",
                    "seeds": str(len(found)),
                    "images": spread([one["n_selected"] for one in found], 1),
                    "coverage": spread([one["coverage"] for one in found]),
                    "accuracy": spread([one["accuracy"] for one in found]),
                    "Dice of the kept pixels": spread([one["dice"] for one in found]),
                    "Dice, published (all pixels)": "–" if np.isnan(theirs) else f"≈ {theirs:.0f}",
                }
            )
    return pd.DataFrame(lines)


def share_table(result, windows):
    """Areas and Dice relative to full supervision of the same seeds.

    Parameters
    ----------
    result : alseg.comparison.Comparison
    windows : list of (float, float)
        Masks between which areas are taken; left out where the curves do not cover them.

    Returns
    -------
    pandas.DataFrame of str
        Per cent of full supervision, and the difference to the control in points of Dice, paired by
        seed, with its 95 % interval.
    """
    full = result.references("dice").get("full supervision")
    curves = result.curves("dice") if result.chains else {}
    lines = []
    for row, (x, y) in curves.items():
        line = {"row": row, "seeds": str(int(np.isfinite(y).all(1).sum()))}
        for window in windows:
            low, high = np.nanmin(x), np.nanmax(x)
            if not low <= window[0] < window[1] <= high:
                continue
            areas = result.areas("dice", window)
            title = f"{window[0]:g} to {window[1]:g}"
            own, control = areas[row], areas[result.control]
            if full is not None and len(full) == len(own):
                line[f"area {title}, % of full"] = spread(own / full)
            line[f"area {title}, minus {result.control}"] = difference(own, control)
        for place in np.flatnonzero(np.isfinite(x).any(0)):  # a chain may not be at its end
            line[f"Dice, {np.nanmin(x[:, place]):g} masks"] = spread(y[:, place])
        lines.append(line)
    if full is not None:
        lines.append(
            {"row": "full supervision", "seeds": str(len(full)), "Dice, all masks": spread(full)}
        )
    return pd.DataFrame(lines).fillna("–")


def subset_table(result):
    """Dice, object Dice and object F1 of each subset of the test images, after the last round.

    Parameters
    ----------
    result : alseg.comparison.Comparison

    Returns
    -------
    pandas.DataFrame of str
        In per cent, means over seeds; empty where the data have no subsets.
    """
    last = {}  # record by row and seed; of a row the last round comes last
    for record in result.records:
        last.setdefault(record["strategy"], {})[record["seed"]] = record
    lines = []
    for row in [*result.names, *result.references("dice")]:
        records = [] if row == "all-ones" else last.get(row, {}).values()
        parts = [record["metrics"].get("by_subset", {}) for record in records]
        names = sorted({name for part in parts for name in part})
        if len(names) < 1:
            continue
        line = {"row": row, "seeds": str(len(records))}
        for name in names:
            for key, said in (
                ("dice", "Dice"),
                ("object_dice", "object Dice"),
                ("object_f1", "object F1"),
            ):
                values = [part[name].get(key) for part in parts if name in part]
                line[f"{name} {said}"] = spread(values)
        lines.append(line)
    return pd.DataFrame(lines)


def mean_steps(result, name):
    """Mean over seeds of the steps of all fits of a row or reference; NaN without any."""
    return _total(result, name, lambda record: record["gradient_steps"])


def steps_of(result, name):
    """`mean_steps` as a cell."""
    return _cell(mean_steps(result, name))


def fit_seconds(result, name):
    """Mean over seeds of the seconds of all fits of a row or reference, as a cell."""
    return _cell(_total(result, name, lambda record: record["seconds"].get("fit")))


def _total(result, name, value):
    found = {}
    for record in result.records:
        if record["strategy"] == name and value(record):
            found[record["seed"]] = found.get(record["seed"], 0) + value(record)
    return float(np.mean(list(found.values()))) if found else np.nan


def _cell(number):
    return "–" if np.isnan(number) else f"{number:.0f}"


def pairs_table(result, pairs):
    """Each pair of rows: the difference of areas, paired by seed, and what both rows trained.

    Parameters
    ----------
    result : alseg.comparison.Comparison
    pairs : sequence of (str, str)
        Rows, and those that they are set against.

    Returns
    -------
    table : pandas.DataFrame of str, or None
        Dice in per cent, intervals of 95 %; p is not adjusted. None without a pair of two seeds.
    """
    areas, lines = result.areas("dice") if result.chains else {}, []
    for name, other in pairs:
        if name not in areas or other not in areas:
            continue
        test = _paired(areas[name], areas[other])
        if test is None:
            continue
        low, high = test.interval
        lines.append(
            {
                "row": name,
                "against": other,
                "seeds": str(test.n),
                "area": f"{test.mean:+.1f} [{low:.1f}, {high:.1f}]",
                "p": f"{test.p_value:.2f}",
                "steps": f"{steps_of(result, name)} against {steps_of(result, other)}",
            }
        )
    return pd.DataFrame(lines) if lines else None


def _paired(own, other):
    """The paired test of two rows' areas in points, of the seeds that both have; None of one."""
    differences = 100 * (own - other)
    differences = differences[np.isfinite(differences)]
    return paired_t(differences) if len(differences) > 1 else None


def difference(own, control):
    """Mean difference of two rows in points, paired by seed, with its 95 % interval, as a cell."""
    test = None if own is control else _paired(own, control)
    if test is None:
        return "–"
    low, high = test.interval
    return f"{test.mean:+.2f} [{low:+.2f}, {high:+.2f}]"
