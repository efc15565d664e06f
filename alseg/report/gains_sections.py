"""Sections of a comparison's page on what masks were worth: saved, foreground, forecasts."""

from html import escape

import numpy as np

from alseg.experiment import mean_curve
from alseg.report.page import note, section, unbroken
from alseg.report.row_table import SHARES, metric_name
from alseg.report.tables import as_html, lookup

_MORE_FOREGROUND = 10  # per cent of all foreground, for which the gap that is closed is told


def saved_section(comparison):
    """What each row saves against the control on the way to full supervision, as a section.

    Parameters
    ----------
    comparison : alseg.comparison.Comparison

    Returns
    -------
    list of str
        HTML; empty where there is nothing to say, as from all functions here.
    """
    curves = comparison.curves(comparison.metric)
    x = "masks" if _rise(curves) else "pixels"
    curves = curves if x == "masks" else comparison.curves(comparison.metric, x)
    saved = comparison.labels_saved(SHARES, x=x)
    if not saved:
        return []
    full = 100 * float(np.nanmean(comparison.references()["full supervision"]))
    columns = {"row": list(saved)}
    for share in SHARES:
        columns[f"to {share} % ({share * full / 100:.1f})"] = [
            _held_together(
                saved_text(by_share[share], *_first_last(curves, name, comparison.control))
            )
            for name, by_share in saved.items()
        ]
    control = comparison.control
    return section(
        f"{x.capitalize()} saved",
        f"<p>How many {x} fewer or more than {escape(control)} a row needs to reach 90, 95 and "
        f"99&nbsp;% of full supervision, which scores {full:.1f}.</p>",
        _wide(columns, "words"),
        note(
            f"In brackets those of the row and of {control}. ≤: reached with the first {x}, which "
            "nothing can be saved of; >: not reached with the last. From mean curves, without an "
            "interval: where the verdict finds no difference, these may be chance too."
        ),
    )


def _rise(curves):
    """Whether every row of every seed has more masks each round: it asks about whole images."""
    return all(not (np.diff(x, axis=1) <= 0).any() for x, _ in curves.values())


def _first_last(curves, name, control):
    """First and last label of a row, and last of the control, over seeds."""
    x, of_control = curves[name][0], curves[control][0]
    return np.nanmin(x[:, 0]), np.nanmean(x[:, -1]), np.nanmean(of_control[:, -1])


def saved_text(saved, first, last, last_control):
    """Labels saved, in words.

    Parameters
    ----------
    saved : alseg.experiment.statistics.LabelsSaved
    first, last : float
        Labels of the row in its first and last round.
    last_control : float

    Returns
    -------
    str

    Examples
    --------
    >>> from alseg.experiment.statistics import LabelsSaved
    >>> saved_text(LabelsSaved(13.5, 17.0, 3.5, "exact"), 8, 26, 26)
    '3 fewer (14, not 17)'
    >>> saved_text(LabelsSaved(13.5, np.inf, 12.5, "at least"), 8, 26, 26)
    'at least 12 fewer (14, not >26)'
    >>> saved_text(LabelsSaved(np.inf, np.inf, np.nan, "unknown"), 8, 26, 26)
    '– (>26 both)'
    """
    mine, control = _whole(saved.labels), _whole(saved.labels_control)
    if np.isnan(mine) or np.isnan(control):
        return "–"
    shown = f">{last:,.0f}" if np.isinf(mine) else f"{mine:,.0f}"
    shown_control = f">{last_control:,.0f}" if np.isinf(control) else f"{control:,.0f}"
    if saved.bound == "unknown":
        both = f"{shown} both" if shown == shown_control else f"{shown} and {shown_control}"
        return f"– ({both})"
    if saved.bound == "exact" and mine <= first:
        shown = f"≤{shown}"
        if control <= first:
            return f"{shown} both"
    n = (last_control if np.isinf(control) else control) - (last if np.isinf(mine) else mine)
    if saved.bound == "exact" and n == 0:
        return f"as many ({shown})"
    fewer = saved.bound == "at least" or (saved.bound == "exact" and n > 0)
    n = max(n if fewer else -n, 0)
    least = "" if saved.bound == "exact" else "at least "
    return f"{least}{n:,.0f} {'fewer' if fewer else 'more'} ({shown}, not {shown_control})"


def _held_together(text):
    """A line of a narrow cell ends before a bracket, not in it."""
    head, bracket, rest = text.partition("(")
    head = head if bracket else head.replace(" ", "\N{NO-BREAK SPACE}")
    return head + bracket + rest.replace(" ", "\N{NO-BREAK SPACE}")


def _whole(labels):
    return np.ceil(labels - 1e-9)


def stability_section(comparison):
    """Whether the order of the rows would last without one of the seeds, as a section.

    Parameters
    ----------
    comparison : alseg.comparison.Comparison

    Returns
    -------
    list of str
    """
    ranks, stability = comparison.ranks(), comparison.rank_stability()
    n_seeds = len(next(iter(ranks.values()), (0, ()))[1])
    if n_seeds < 3:
        return []  # without one of two seeds one is left
    names = sorted(ranks, key=lambda name: ranks[name][0])
    columns = {
        "row": names,
        "rank by area": [str(ranks[name][0]) for name in names],
        "without one seed": [_range(ranks[name][1]) for name in names],
    }
    best = {name for name, (_, without) in ranks.items() if (without == 1).any()}
    best = [name for name in names if name in best]
    first = (
        f"{escape(best[0])} comes first whichever seed is left out."
        if len(best) == 1
        else f"Which row comes first depends on the seed that is left out: {_listed(best)}."
    )
    pairs = ""
    if np.isfinite(stability.mean):
        kept = [100 * (1 + tau) / 2 for tau in (stability.mean, stability.least)]
        pairs = (
            f" Of all pairs of rows, {kept[0]:.0f} % keep their order when one of the {n_seeds} "
            f"seeds is left out, {kept[1]:.0f} % in the worst case (Kendall's tau "
            f"{stability.mean:.2f} and {stability.least:.2f})."
        )
    return section(
        "Would the ranking last?",
        f"<p>{unbroken(first + pairs)}</p>",
        _wide(columns, "small"),
        note(
            "Rankings without one seed share all the others: with new seeds the order would "
            "change more often than this."
        ),
    )


def _range(ranks):
    low, high = int(np.min(ranks)), int(np.max(ranks))
    return str(low) if low == high else f"{low} to {high}"


def _listed(names):
    names = [escape(name) for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def foreground_section(comparison):
    """How quickly annotated foreground closes the gap to full supervision, as a section.

    Parameters
    ----------
    comparison : alseg.comparison.Comparison

    Returns
    -------
    list of str
    """
    rates = comparison.foreground_efficiency()
    if not rates:
        return []
    shares = comparison.foreground()
    ends = {name: 100 * np.nanmean(shares[name][:, -1]) for name in rates}
    order = sorted(rates, key=lambda name: -rates[name])
    closed = {name: 100 * (1 - np.exp(-rates[name] * _MORE_FOREGROUND / 100)) for name in order}
    columns = {
        "row": order,
        "foreground annotated at the end": [f"{ends[name]:.0f} %" for name in order],
        f"gap closed by {_MORE_FOREGROUND} % more": [
            "all" if np.isinf(rates[name]) else f"{closed[name]:.0f} %" for name in order
        ],
        "rate": ["–" if np.isinf(rates[name]) else f"{rates[name]:.1f}" for name in order],
    }
    return section(
        "What annotated foreground is worth",
        "<p>Objects take the time of an expert, background little. Of the gap between the first "
        "masks and full supervision, the share that a row closes by annotating a further "
        f"{_MORE_FOREGROUND}&nbsp;% of all foreground pixels of the training images.</p>",
        _wide(columns, "small"),
        note(
            "1 - exp(-rate × share), the rate fitted to the mean curve (nnActive's foreground "
            "efficiency); all: closed by the first round. To be compared within this table only, "
            "and no verdict: a small gap makes it noisy."
        ),
    )


def forecast_section(comparison):
    """What more masks would bring, with an interval and how often such intervals held.

    Parameters
    ----------
    comparison : alseg.comparison.Comparison

    Returns
    -------
    list of str
    """
    more = more_masks(comparison)
    found = comparison.forecast(more) if more else {}
    if not found:
        return []
    curves = comparison.curves(comparison.metric)
    now = {name: 100 * np.nanmean(curves[name][1][:, -1]) for name in found}
    columns = {
        "row": list(found),
        "now": [f"{now[name]:.1f}" for name in found],
        f"after {more} more masks": [f"{100 * one.mean:.1f}" for one in found.values()],
        "90 % interval": [f"{100 * one.low:.1f} to {100 * one.high:.1f}" for one in found.values()],
    }
    name = metric_name(comparison.metric)
    return section(
        "What more masks would bring",
        f"<p>{escape(name)} to be expected if it goes on like this, by all saturating curves "
        "that fit the rounds so far.</p>",
        _wide(columns, "small"),
        note(_how_it_held(comparison) + _all_masks(comparison)),
    )


def _all_masks(comparison):
    records = [r for r in comparison.records if r["strategy"] == "full supervision"]
    scores = comparison.references(comparison.metric).get("full supervision", np.empty(0))
    if not records or not np.isfinite(scores).any():
        return ""
    n_masks = max(record["n_masks"] for record in records)
    return f" With all {n_masks} masks it was {100 * np.nanmean(scores):.1f}."


def more_masks(comparison):
    """For how many further masks to forecast: as many as were asked for, if there are as many.

    Returns
    -------
    int
        0 where nothing can be asked for any more.
    """
    curves = comparison.curves(comparison.metric)
    x, _ = curves.get(comparison.control) or next(iter(curves.values()))
    first, last = np.nanmin(x), np.nanmax(x)
    n_train = lookup(comparison.config or {}, ("data", "n_train"))
    left = np.inf if n_train is None else n_train - last
    return int(max(min(last - first, left), 0))


def _how_it_held(comparison):
    test = comparison.backtest()
    published = (
        "On published curves of GlaS and CUB nine in ten intervals of 90 % held, and forecasts "
        "were rather too low."
    )
    if test is None:
        return "Not tested here, as three rounds are needed before the first forecast. " + published
    held = round(test.coverage * test.n)
    curves = [mean_curve(x, y)[0] for x, y in comparison.curves(comparison.metric).values()]
    ahead = max(x[-1] - x[2] for x in curves if len(x) > 3)
    return (
        f"Tested here on rounds that are known: from three rounds on, {held} of {test.n} intervals "
        f"({100 * test.coverage:.0f} %) held the mean score of a later round, at most {ahead:.0f} "
        f'masks ahead. The forecast errs by {100 * test.mean_error:.1f} points there, "it stays as '
        f'it is" by {100 * test.mean_error_of_last:.1f}. {published}'
    )


def _wide(columns, kind):
    import pandas as pd

    table = unbroken(as_html(pd.DataFrame(columns)))
    table = table.replace("<table", f'<table class="{kind}"', 1)
    return f'<div class="wide-table">{table}</div>'
