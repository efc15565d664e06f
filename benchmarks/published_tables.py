"""Tables of a comparison beside the one of its areas: pseudo-labels, subsets, share of the full."""

import numpy as np
import pandas as pd
from published import PSEUDO_LABEL_DICE

from alseg.experiment.statistics import paired_t


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
            lines.append({
                "row": row,
                "masks": f"{n_masks:g}",
                "seeds": str(len(found)),
                "images": _mean([one["n_selected"] for one in found], 1),
                "coverage": _mean([one["coverage"] for one in found]),
                "accuracy": _mean([one["accuracy"] for one in found]),
                "Dice of the kept pixels": _mean([one["dice"] for one in found]),
                "Dice, published (all pixels)": "–" if np.isnan(theirs) else f"≈ {theirs:.0f}",
            })  # fmt: skip
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
                line[f"area {title}, % of full"] = _mean(own / full)
            line[f"area {title}, minus {result.control}"] = _difference(own, control)
        for place in range(y.shape[1]):
            line[f"Dice, {np.nanmin(x[:, place]):g} masks"] = _mean(y[:, place])
        lines.append(line)
    if full is not None:
        lines.append({"row": "full supervision", "seeds": str(len(full)),
                      "Dice, all masks": _mean(full)})  # fmt: skip
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
    last = {}
    for row in result.names:
        chains = [result.chains.get((row, seed)) for seed in result.seeds]
        last[row] = [chain[-1] for chain in chains if chain]
    last |= {name: records for name, records in result._references.items() if name != "all-ones"}
    lines = []
    for row, records in last.items():
        parts = [record["metrics"].get("by_subset", {}) for record in records]
        names = sorted({name for part in parts for name in part})
        if len(names) < 1:
            continue
        line = {"row": row, "seeds": str(len(records))}
        for name in names:
            for key, said in (("dice", "Dice"), ("object_dice", "object Dice"),
                              ("object_f1", "object F1")):  # fmt: skip
                values = [part[name].get(key) for part in parts if name in part]
                line[f"{name} {said}"] = _mean(values)
        lines.append(line)
    return pd.DataFrame(lines)


def _mean(values, scale=100):
    values = np.array([v for v in values if v is not None], dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return "–"
    shown = f"{scale * values.mean():.1f}"
    return shown + (f" ± {scale * values.std(ddof=1):.1f}" if len(values) > 1 else "")


def _difference(own, control):
    both = np.isfinite(own) & np.isfinite(control)
    if own is control or both.sum() < 2:
        return "–"
    test = paired_t(100 * (own - control)[both])
    low, high = test.interval
    return f"{test.mean:+.2f} [{low:+.2f}, {high:+.2f}]"
