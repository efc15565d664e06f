"""The table of a comparison, a line a row: as numbers to compute with, and as text to read."""

import numpy as np

from alseg.experiment.statistics import bootstrap_groups_seeds, labels_to_reach, paired_t
from alseg.report.tables import COLUMNS, lookup

SHARES = (90, 95, 99)
"""Per cent of the score of full supervision, for the masks that it takes to get there."""


def metric_name(metric):
    """What a metric of the records is called where people read.

    Examples
    --------
    >>> metric_name("mean_iou"), metric_name("my_score")
    ('mean IoU', 'my score')
    """
    known = {path[1]: heading for heading, path, *_ in COLUMNS if path[0] == "metrics"}
    return known.get(metric, str(metric).replace("_", " "))


def has_verdict(comparison, metric=None):
    """Whether there is a curve of the control and of a row of the family."""
    there = comparison.curves(metric) if comparison.records else {}
    return comparison.control in there and any(name in there for name in comparison.family)


def verdict_text(comparison):
    """The verdict in words, or that there is none where the control stands alone."""
    if not comparison.family:
        return f"{comparison.control} alone: there is nothing to compare it with."
    return str(comparison.verdict())


def comparison_numbers(comparison, metric=None):
    """All that is known of each row, as numbers.

    Parameters
    ----------
    comparison : alseg.comparison.Comparison
    metric : str or None, default=None
        None is the comparison's.

    Returns
    -------
    table : pandas.DataFrame
        A line for each row and, after them, each reference. Scores are per cent, except those of
        `Protocol.metrics`; NaN is "not there". Columns: ``row``, ``seeds`` (complete ones);
        ``final``, ``final_sd``; ``area``, ``area_sd``; ``difference``, ``low``, ``high`` (of the
        areas to the control, paired by seed, with Student's t interval), ``p_value``, and for rows
        of the family ``p_holm``, ``p_sign``, ``floor_sign``, ``decision``; ``final_difference``,
        ``final_low``, ``final_high`` (of the last round; the interval by bootstrap over seeds and
        test images or their groups, where the records hold Dice by image); ``masks_90``,
        ``masks_95``, ``masks_99`` (with which the mean curve reaches that share of full
        supervision; infinite where it does not); ``masks``, ``masks_validation``; ``fit_seconds``,
        ``query_seconds`` (means of a round), ``peak_mib`` (of any round), ``gpu_mib``.
    """
    import pandas as pd

    metric, control = metric or comparison.metric, comparison.control
    scale, lower = comparison.protocol.scale(metric), comparison.protocol.better(metric) == "lower"
    curves = comparison.curves(metric) if comparison.records else {}
    areas = comparison.areas(metric) if comparison.records else {}
    references = comparison.references(metric)
    judged = comparison.verdict(metric).rows if has_verdict(comparison, metric) else ()
    judged = {row.name: row for row in judged}
    full = references.get("full supervision", np.empty(0))
    full = np.nan if lower or not np.isfinite(full).any() else float(np.nanmean(full))
    lines = []
    for name in comparison.names:
        records = [r for r in comparison.records if r["strategy"] == name]
        line = {"row": name, "seeds": 0, **_cost(records)}
        if name in curves:
            x, y = curves[name]
            line["seeds"] = int(np.isfinite(y[:, -1]).sum())
            line |= _mean_sd("final", scale * y[:, -1]) | _mean_sd("area", scale * areas[name])
            line |= _to_reach(x, y, full)
        if name != control and name in areas and control in areas:
            gaps = areas[name] - areas[control]
            line |= _difference(gaps, scale, comparison.alpha, judged.get(name))
            line |= _final_difference(comparison, metric, name, curves)
        lines.append(line)
    for name, values in references.items():
        records = [r for r in comparison.records if r["strategy"] == name]
        n = int(np.isfinite(values).sum())
        lines.append(
            {"row": name, "seeds": n, **_mean_sd("final", scale * values), **_cost(records)}
        )
    wanted = [
        "row",
        "seeds",
        "final",
        "final_sd",
        "area",
        "area_sd",
        "difference",
        "low",
        "high",
        "p_value",
        "p_holm",
        "p_sign",
        "floor_sign",
        "decision",
        "final_difference",
        "final_low",
        "final_high",
        *(f"masks_{share}" for share in SHARES),
        "masks",
        "masks_validation",
        "fit_seconds",
        "query_seconds",
        "peak_mib",
        "gpu_mib",
    ]
    table = pd.DataFrame(lines)
    for name in wanted:
        if name not in table:
            table[name] = None if name == "decision" else np.nan
    return table[wanted]


def comparison_table(comparison, metric=None):
    """The table of a comparison, to be read.

    Parameters
    ----------
    comparison : alseg.comparison.Comparison
    metric : str or None, default=None
        None is the comparison's.

    Returns
    -------
    table : pandas.DataFrame of str
        What `comparison_numbers` has, a line for each row and reference: scores in per cent with
        their standard deviation over seeds, the difference of areas to the control with its
        interval, its p-value after Holm's adjustment, that of the exact sign-flip test with the
        least possible one, masks with which 90, 95 and 99 % of full supervision are reached (">N"
        where they are not), seconds, memory, masks, and masks with those for validation. A dash
        where there is nothing; columns without anything are left out.
    """
    import pandas as pd

    numbers = comparison_numbers(comparison, metric)
    last = numbers["masks"]
    in_percent = comparison.protocol.scale(metric) == 100

    def pm(name):
        pairs = zip(numbers[name], numbers[f"{name}_sd"], strict=True)
        return [mean_and_sd(*pair, in_percent) for pair in pairs]

    p_family = [_p(value) for value in numbers["p_holm"]]
    columns = {
        "row": numbers["row"],
        metric_name(metric or comparison.metric): pm("final"),
        "area": pm("area"),
        f"difference to {comparison.control}": [
            with_interval(*values, in_percent)
            for values in zip(numbers["difference"], numbers["low"], numbers["high"], strict=True)
        ],
        "p (Holm)": p_family,
        "p (sign-flip)": [
            f"{_p(p)} (least {_p(floor)})" if np.isfinite(p) else "–"
            for p, floor in zip(numbers["p_sign"], numbers["floor_sign"], strict=True)
        ],
    }
    for share in SHARES:
        reached = zip(numbers[f"masks_{share}"], last, strict=True)
        columns[f"masks to {share} %"] = [_reached(value, most) for value, most in reached]
    columns["fit (s)"] = [_digits(value, 2) for value in numbers["fit_seconds"]]
    columns["query (s)"] = [_digits(value, 2) for value in numbers["query_seconds"]]
    columns["peak MiB"] = [_digits(value, 0) for value in numbers["peak_mib"]]
    columns["GPU MiB"] = [_digits(value, 0) for value in numbers["gpu_mib"]]
    columns["masks"] = [_digits(value, 0) for value in last]
    if (numbers["masks_validation"] > 0).any():
        both = last + numbers["masks_validation"]
        columns["masks with validation"] = [_digits(value, 0) for value in both]
    table = pd.DataFrame(columns)
    return table[[name for name in table if name == "row" or (table[name] != "–").any()]]


def seconds_and_memory(records):
    """Mean seconds a round and most memory, by part ("fit", "query").

    Parameters
    ----------
    records : list of dict
        Of one row.

    Returns
    -------
    seconds, memory : dict of str -> float
        Parts that no record has are left out.
    """
    seconds, memory = {}, {}
    for part in ("fit", "query"):
        took = [lookup(r, ("seconds", part)) for r in records]
        took = [value for value in took if value is not None]
        if took:
            seconds[part] = float(np.mean(took))
        held = [lookup(r, ("memory_mib", part)) for r in records]
        held = [value for value in held if value is not None]
        if held:
            memory[part] = float(np.max(held))
    return seconds, memory


def _cost(records):
    if not records:
        return {}
    seconds, _ = seconds_and_memory(records)
    held = [(r.get("memory_mib") or {}) for r in records]
    here = [v for m in held for k, v in m.items() if v is not None and not k.startswith("gpu_")]
    gpu = [v for m in held for k, v in m.items() if v is not None and k.startswith("gpu_")]
    return {
        "masks": max(r["n_masks"] for r in records),
        "masks_validation": max(r.get("n_masks_validation") or 0 for r in records),
        "fit_seconds": seconds.get("fit", np.nan),
        "query_seconds": seconds.get("query", np.nan),
        "peak_mib": max(here, default=np.nan),
        "gpu_mib": max(gpu, default=np.nan),
    }


def _mean_sd(name, values):
    values = values[np.isfinite(values)]
    return {
        name: values.mean() if len(values) else np.nan,
        f"{name}_sd": values.std(ddof=1) if len(values) > 1 else np.nan,
    }


def _to_reach(x, y, full):
    """Of the mean over complete seeds: a mean of the seeds' own numbers is not there if one is
    censored."""
    whole = np.isfinite(y).all(axis=1) & np.isfinite(x).all(axis=1)
    if not whole.any() or not np.isfinite(full):
        return {}
    x, y = x[whole].mean(axis=0), y[whole].mean(axis=0)
    return {f"masks_{s}": labels_to_reach(x, y, s / 100 * full) for s in SHARES}


def _difference(differences, scale, alpha, row):
    differences = differences[np.isfinite(differences)]
    if len(differences) == 0:
        return {}
    test = paired_t(differences, 1 - alpha)
    found = {"difference": test.mean, "interval": test.interval, "p_value": test.p_value}
    if row is not None and row.n:  # the verdict's seeds are those that the whole family has
        wanted = (*found, "p_holm", "p_sign", "floor_sign", "decision")
        found = {name: getattr(row, name) for name in wanted}
    low, high = found.pop("interval")
    found["difference"] *= scale
    return {**found, "low": scale * low, "high": scale * high}


def _final_difference(comparison, metric, name, curves):
    mine, control = (curves[n][1][:, -1] for n in (name, comparison.control))
    both = np.isfinite(mine) & np.isfinite(control)
    if not both.any():
        return {}
    scale = comparison.protocol.scale(metric)
    found = {"final_difference": scale * float((mine - control)[both].mean())}
    if metric != "dice":
        return found
    kept = [seed for seed, there in zip(comparison.seeds, both, strict=True) if there]
    scores = [_by_image(comparison.records, n, kept) for n in (name, comparison.control)]
    data = {str(lookup(r, ("config", "data", "test"))) for r in comparison.records}
    if None in scores or len(data) > 1 or len({len(s) for table in scores for s in table}) > 1:
        return found  # folds: each seed has test images of its own
    groups = comparison.test_groups
    result = bootstrap_groups_seeds(
        *scores, groups, n_resamples=2000, confidence=1 - comparison.alpha, random_state=0
    )
    return found | {"final_low": 100 * result.low, "final_high": 100 * result.high}


def _by_image(records, name, seeds):
    """Dice of each test image after the last round: a list a seed, or None where one lacks it."""
    last = {}
    for record in records:
        if record["strategy"] == name and record["seed"] in seeds:
            kept = last.get(record["seed"])
            if kept is None or record["round"] > kept["round"]:
                last[record["seed"]] = record
    found = [lookup(last.get(seed, {}), ("metrics", "dice_per_image")) for seed in seeds]
    if any(not values for values in found):
        return None
    return [[np.nan if v is None else v for v in values] for values in found]


# -- as text --


def shown_number(value, in_percent, sign=""):
    """A score as text: per cent to one decimal, one of one's own to three digits.

    Examples
    --------
    >>> shown_number(71.26, True), shown_number(0.01234, False, "+"), shown_number(1234.5, False)
    ('71.3', '+0.0123', '1234')
    """
    kind = ".1f" if in_percent else ".0f" if abs(value) >= 100 else ".3g"
    return f"{value:{sign}{kind}}"


def mean_and_sd(mean, sd, in_percent):
    """Mean ± standard deviation as text, a dash where there is none."""
    if not np.isfinite(mean):
        return "–"
    both = [mean, sd] if np.isfinite(sd) else [mean]
    return " ± ".join(shown_number(value, in_percent) for value in both)


def with_interval(mean, low, high, in_percent):
    """A difference and its interval as text, which one seed has not."""
    if not np.isfinite(mean):
        return "–"
    text = shown_number(mean, in_percent, "+")
    if not np.isfinite([low, high]).all():
        return text
    return f"{text} [{shown_number(low, in_percent)}, {shown_number(high, in_percent)}]"


def _p(value):
    if not np.isfinite(value):
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _digits(value, most):
    """A number with at most so many decimals, fewer where it is large."""
    if not np.isfinite(value):
        return "–"
    return f"{value:.{max(0, most - (abs(value) >= 10) - (abs(value) >= 100))}f}"


def _reached(value, most):
    if np.isinf(value):
        return f">{most:.0f}"
    return "–" if np.isnan(value) else f"{np.ceil(value - 1e-9):.0f}"
