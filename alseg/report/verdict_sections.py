"""Sections of a comparison's page on what was decided: the verdict and the protocol before it."""

from html import escape

import numpy as np

from alseg.files import jsonable
from alseg.report import plots
from alseg.report.page import details, note, section
from alseg.report.row_table import has_verdict
from alseg.report.shown_rows import plural, wide_and_narrow


def verdict_section(shown):
    """Which rows are better than the control, in words and as intervals.

    Parameters
    ----------
    shown : ShownRows

    Returns
    -------
    list of str
        HTML; empty where there is nothing to say.
    """
    comparison = shown.comparison
    if not has_verdict(comparison):
        text = f"No row to compare with {comparison.control}, the control, has been run yet."
        return section("Verdict", f"<p>{escape(text)}</p>")
    verdict = comparison.verdict()
    first, *lines = verdict.evidence
    n = len(verdict.rows)
    items = []
    for row, line in zip(verdict.rows, lines[:n], strict=True):
        head = f"{row.name}: {row.decision}"
        rest = line.removeprefix(head)
        bold = f"<strong>{escape(head)}</strong>" if rest != line else ""
        kind = row.decision if row.decision in ("better", "worse") else "open"
        items.append(f'<li class="{kind}">{bold}{escape(rest)}</li>')
    intervals = {
        row.name: tuple(shown.scale * value for value in (row.difference, *row.interval))
        for row in verdict.rows
        if row.n > 1
    }
    return section(
        "Verdict",
        f"<p><strong>{escape(verdict.headline)}</strong></p>",
        _forest(shown, intervals),
        f"<p>{escape(first)}</p>",
        f'<ul class="verdict">{"".join(items)}</ul>',
        *(f"<p>{escape(line)}</p>" for line in lines[n:]),
        note(
            f"Area is the mean height of the learning curve over masks{shown.in_unit}. The verdict "
            "speaks about this data set, its test images and this network."
        ),
    )


def _forest(shown, intervals):
    if not intervals:
        return ""
    confidence = f"{100 * (1 - shown.comparison.alpha):g} %"
    alt = f"Difference of areas to {shown.comparison.control} with {confidence} intervals: "
    alt += "; ".join(
        f"{name} {mean:+z.1f}" + (f" from {low:.1f} to {high:.1f}" if np.isfinite(low) else "")
        for name, (mean, low, high) in intervals.items()
    )
    drawn = wide_and_narrow(
        shown,
        "areas",
        alt,
        0.9 + 0.34 * len(intervals),
        lambda ax: plots.area_intervals(
            intervals,
            ax,
            colours=shown.page_colours,
            markers=shown.markers,
            x_label=_short_label("area", shown.comparison.control),
        ),
    )
    caption = f"Mean difference of the areas and its {confidence} interval, each row by itself."
    return f'<figure class="figure">{drawn}<figcaption>{escape(caption)}</figcaption></figure>'


def _short_label(what, control):
    return f"{what} minus that of {control if len(control) <= 20 else 'the control'}"


def protocol_section(shown):
    """What was fixed before anything was run.

    Parameters
    ----------
    shown : ShownRows

    Returns
    -------
    list of str
        HTML; empty where there is nothing to say.
    """
    comparison = shown.comparison
    values = jsonable(comparison.protocol.to_dict())
    terms = []
    if "initial" in values:
        start = f"{plural(values['initial'], 'mask')} at random, the same for all rows of a seed"
        terms.append(("start", start))
    if "rounds" in values and "n_instances" in values:
        asked = f"{plural(values['rounds'], 'round')} of {values['n_instances']}"
        asked += ", shared alike among the classes" if values.get("class_balanced") else ""
        terms.append(("questions", asked))
    if values.get("budget") is not None:
        terms.append(("budget", f"{values['budget']:g} {values.get('cost', '')}"))
    if "warm_start" in values:
        how = "from the model of the round before" if values["warm_start"] else "from scratch"
        terms.append(("each round trains", how + _steps(comparison, values)))
    if values.get("n_folds"):
        terms.append(("test images", f"fold of {values['n_folds']}, another one for each seed"))
    if values.get("stop_agreement") is not None:
        stop = f"predictions of two rounds agree by {values['stop_agreement']:g}, three times"
        terms.append(("a row stops when", stop))
    terms.append(("control", comparison.control))
    terms.append(("family", ", ".join(comparison.family) or "none"))
    terms.append(("level", f"{comparison.alpha:g}, two-sided, over the family (Holm)"))
    if comparison.window:
        terms.append(("area between", "{:g} and {:g} masks".format(*comparison.window)))
    items = "".join(f"<dt>{escape(a)}</dt><dd>{escape(str(b))}</dd>" for a, b in terms)
    return section(
        "Protocol",
        "<p>Fixed before anything was run.</p>",
        f'<dl class="terms">{items}</dl>',
        details("All of it", values),
    )


def _steps(comparison, values):
    steps = {
        r["gradient_steps"]
        for r in comparison.records
        if r["strategy"] in comparison.names and r.get("gradient_steps")
    }
    if values.get("epochs"):
        return f", {values['epochs']} epochs over the masks"
    if not steps:
        return ""
    low, high = min(steps), max(steps)
    return f", {low} gradient steps" if low == high else f", {low} to {high} gradient steps"
