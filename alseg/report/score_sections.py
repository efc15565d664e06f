"""Sections of a comparison's page on scores: curves, differences, tables, costs."""

from html import escape

import numpy as np

from alseg.experiment.statistics import penalty_matrix
from alseg.report import plots
from alseg.report.page import STAND_INS, note, section, unbroken
from alseg.report.row_table import SHARES, comparison_numbers, comparison_table
from alseg.report.shown_rows import (
    ends_of_curves,
    few_ticks,
    key_of_rows,
    row_panels,
    shared_rounds,
    wide_and_narrow,
)
from alseg.report.tables import as_html, lookup


def curves_section(shown):
    """The learning curves: all rows in one figure, then each with its seeds.

    Parameters
    ----------
    shown : ShownRows

    Returns
    -------
    list of str
        HTML; empty where there is nothing to say.
    """
    curves = shown.scaled("masks")
    if not curves:
        return []
    size = max(3.6, 1.2 + 0.24 * len(curves))
    alt = f"{shown.name}{shown.in_unit} by masks, means over seeds: " + ends_of_curves(curves)
    wide = shown.draw(
        lambda ax: shown.overview(ax, curves, "masks", page=True), (9.2, size), "curves-wide", alt
    )
    narrow = shown.draw(
        lambda ax: shown.overview(ax, curves, "masks", page=True, named=False),
        (4.2, 3.6),
        "curves-narrow",
        alt,
    )
    key = key_of_rows(shown, curves)
    dotted = " Dotted: rows that ask nothing." if shown.references else ""
    level = f"{100 * (1 - shown.comparison.alpha):g} %"
    told = f"Means over the seeds, with {level} intervals of each by itself.{dotted}"
    return section(
        "Learning curves",
        f'<figure class="figure"><div class="wide">{wide}</div><div class="narrow">{narrow}{key}'
        f"</div><figcaption>{unbroken(told)}</figcaption></figure>",
        "<h3>Each row and its seeds</h3>",
        note(
            f"Thin: one seed. Thick: their mean, with its {level} interval. Grey: "
            f"{shown.comparison.control}."
        ),
        row_panels(shown, "seeds", curves, _one_row),
    )


def _one_row(shown, ax, name, curves):
    control = shown.comparison.control
    pair = {n: curves[n] for n in dict.fromkeys((control, name)) if n in curves}
    plots.cost_curve(
        pair,
        ax,
        x_label="masks",
        y_label="",
        colours=shown.page_colours,
        markers=shown.markers,
        confidence=1 - shown.comparison.alpha,
        named=False,
    )
    rounds = shared_rounds(curves)
    if rounds is not None:
        ax.set_xticks(*few_ticks(rounds))
    y = np.concatenate([y.ravel() for _, y in curves.values()])
    room = 0.06 * (np.nanmax(y) - np.nanmin(y) or 1.0)
    ax.set_ylim(np.nanmin(y) - room, np.nanmax(y) + room)


def differences_section(shown):
    """Each row minus the control of the same seed, round by round.

    Parameters
    ----------
    shown : ShownRows

    Returns
    -------
    list of str
        HTML; empty where there is nothing to say.
    """
    control = shown.comparison.control
    curves = shown.scaled("masks")
    if control not in curves or len(curves) < 2:
        return []
    x, label = shared_rounds(curves), "masks"
    if x is None:  # parts of images: rounds can be set beside each other, masks cannot
        x, label = np.arange(curves[control][1].shape[1]), "round"
    scores = {name: y for name, (_, y) in curves.items()}
    gaps = {name: (np.broadcast_to(x, y.shape), y - scores[control]) for name, y in scores.items()}
    every = np.concatenate([y.ravel() for _, y in gaps.values()])
    low, high = np.nanmin(every), np.nanmax(every)

    def one(shown, ax, name, _):
        pair = {n: scores[n] for n in (name, control)}
        plots.paired_differences(
            pair,
            control,
            x,
            ax,
            x_label=label,
            y_label="",
            colours=shown.page_colours,
            markers=shown.markers,
            confidence=1 - shown.comparison.alpha,
            named=False,
        )
        ax.set_xticks(*few_ticks(x))
        room = 0.06 * (high - low or 1.0)
        ax.set_ylim(low - room, high + room)

    return section(
        "Paired differences",
        f"<p>{escape(f'Score minus that of {control} with the same seed, by {label}.')}</p>",
        row_panels(shown, "gaps", gaps, one),
        note(
            "Rounds of one row depend on each other: a band that leaves zero somewhere is no "
            "finding. The verdict rests on the area alone."
        ),
    )


def table_section(shown):
    """Scores of all rows, and what they take.

    Parameters
    ----------
    shown : ShownRows

    Returns
    -------
    list of str
        HTML; empty where there is nothing to say.
    """
    comparison = shown.comparison
    table = comparison_table(comparison)
    reach = [f"masks to {share} %" for share in SHARES]
    of_work = [
        *reach,
        "fit (s)",
        "query (s)",
        "peak MiB",
        "GPU MiB",
        "masks",
        "masks with validation",
    ]
    scores = table[[name for name in table if name not in of_work]]
    work = table[[name for name in table if name == "row" or name in of_work]]
    notes = [
        f"{shown.name} after the last round and area under the curve: mean ± standard deviation "
        f"over seeds. Difference: of the areas, with its {100 * (1 - comparison.alpha):g} % "
        "interval (Student's t)."
    ]
    if "p (Holm)" in scores:
        notes.append(
            "p (Holm): paired t-test, adjusted over the family. p (sign-flip): exact, not "
            "adjusted, with the least that so many seeds can reach."
        )
    more = ""
    if any(name in work for name in reach):
        more = "Masks to 90, 95, 99 %: with which the mean curve reaches that share of full "
        more += "supervision; > where it had not with its last mask. "
    more += "Seconds: mean of a round."
    drawn_anew = _drawn_anew(comparison)
    return section(
        "All rows",
        f'<div class="wide-table">{as_html(scores)}</div>',
        note(" ".join(notes)),
        "<h3>What it takes</h3>",
        f'<div class="wide-table">{unbroken(as_html(work))}</div>',
        note(more),
        *drawn_anew,
    )


def _drawn_anew(comparison):
    """What the last round would say with other seeds and other test images of this kind."""
    numbers = comparison_numbers(comparison)
    known = numbers[np.isfinite(numbers["final_low"].astype(float))]
    if not len(known) or len(comparison.seeds) < 5:
        return []  # drawn from fewer seeds the interval is so narrow that it misleads
    import pandas as pd

    table = pd.DataFrame(
        {
            "row": known["row"],
            f"difference to {comparison.control}": known["final_difference"].map("{:+z.1f}".format),
            "from": known["final_low"].map("{:.1f}".format),
            "to": known["final_high"].map("{:.1f}".format),
        }
    )
    what = "test images" if comparison.test_groups is None else "groups of test images (patients)"
    what += " (patients are not known without the data)" if comparison.test is None else ""
    table = as_html(table).replace("<table", '<table class="small"', 1)
    return [
        "<h3>With other test images</h3>",
        f'<div class="wide-table">{table}</div>',
        note(
            f"Dice after the last round, and an interval by bootstrap over seeds and {what}: "
            "seeds alone speak about these images only. Too narrow with fewer than about "
            "ten of either."
        ),
    ]


def penalties_section(shown):
    """How often a row beats another, for every two rows.

    Parameters
    ----------
    shown : ShownRows

    Returns
    -------
    list of str
        HTML; empty where there is nothing to say.
    """
    curves = shown.scaled("masks")
    if len(curves) < 2 or len(shown.comparison.seeds) < 2:
        return []
    names = list(curves)
    stacked = np.stack([y for _, y in curves.values()])
    if stacked.shape[2] > 1:
        stacked = stacked[:, :, 1:]  # round 0 is shared
    matrix = penalty_matrix(-stacked if shown.lower else stacked, shown.comparison.alpha)
    above = "below" if shown.lower else "above"
    wins = [
        f"{names[i]} beats {names[j]} at {100 * matrix[i, j]:.0f} %"
        for i, j in zip(*np.nonzero(matrix), strict=True)
    ]
    alt = "Share of the budgets at which a row beats another: " + ("; ".join(wins) or "never")
    n = len(names)
    svg = shown.draw(
        lambda ax: plots.penalty_heatmap(matrix, names, ax, colour=STAND_INS["c1"]),
        (2.6 + 0.55 * n, 1.6 + 0.4 * n),
        "penalty",
        alt,
    )
    width = f"max-width:{min(60, 16 + 4 * n)}rem;min-width:{min(48, 12 + 3 * n)}rem"
    return section(
        "Who beats whom",
        f"<p>Share of the budgets, in per cent, at which the row on the left is {above} the one at "
        f"the top by a paired t-test at level {shown.comparison.alpha:g}.</p>",
        f'<div class="wide-table"><figure style="{width}" class="figure">{svg}</figure></div>',
        note(
            "A picture, not a test: budgets of one run depend on each other, the many tests are "
            "not adjusted (one in twenty finds a difference where there is none), few seeds "
            "rarely win at all, and the size of a difference is not seen."
        ),
    )


def costs_section(shown):
    """The learning curves over pixels and clicks in the place of masks.

    Parameters
    ----------
    shown : ShownRows

    Returns
    -------
    list of str
        HTML; empty where there is nothing to say.
    """
    figures = []
    if not shown.comparison.protocol.rounds:  # a point each is no curve
        return figures
    for unit in ("pixels", "clicks"):
        rows = [r for r in shown.comparison.records if r["strategy"] in shown.comparison.names]
        if any(lookup(r, ("cost", unit)) is None for r in rows):
            continue
        curves = shown.scaled(unit)
        if not curves:
            continue

        def draw(ax, curves=curves, unit=unit):
            most = [np.nanmax(x) for x, _ in curves.values()]
            least = min(np.nanmin(x) for x, _ in curves.values())
            if max(most) > 20 * min(most) and least > 0:  # parts of images beside whole ones
                ax.set_xscale("log")
            shown.overview(ax, curves, unit, page=True, named=False, references=False)

        alt = f"{shown.name}{shown.in_unit} by {unit}: {ends_of_curves(curves)}"
        drawn = wide_and_narrow(shown, f"cost-{unit}", alt, 3.4, draw, 3.2)
        figures.append(
            f'<figure class="figure"><h3>By {unit}</h3>{drawn}{key_of_rows(shown, curves)}</figure>'
        )
    if not figures:
        return []
    return section(
        "What the annotation costs",
        "<p>Means at equal cost: strategies that pick large or complicated objects pay for them "
        "here. Clicks are those of a polygon around each object.</p>",
        *figures,
    )
