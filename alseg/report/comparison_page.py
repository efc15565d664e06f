"""One-file HTML report of a comparison: the verdict first, then what it rests on."""

from html import escape
from pathlib import Path

import numpy as np

from alseg.experiment import told_groups
from alseg.experiment.statistics import penalty_matrix
from alseg.files import jsonable
from alseg.report import plots
from alseg.report.asked_section import asked_section
from alseg.report.gains_sections import (
    forecast_section,
    foreground_section,
    saved_section,
    stability_section,
)
from alseg.report.page import (
    STAND_INS,
    details,
    facts,
    note,
    page,
    section,
    unbroken,
    write_page,
)
from alseg.report.row_table import (
    SHARES,
    comparison_numbers,
    comparison_table,
    has_verdict,
    seconds_and_memory,
)
from alseg.report.shown import Shown, plural, shared_x
from alseg.report.tables import as_html, lookup

_STYLE = """<style>
.verdict { margin: 1rem 0; padding: 0; list-style: none; max-width: 46rem; }
.verdict li { padding: .65rem 0 .65rem .9rem; border-left: 3px solid var(--line);
  margin-bottom: .6rem; overflow-wrap: anywhere; }
.verdict li.better { border-color: var(--c3); } .verdict li.worse { border-color: var(--c2); }
.panels { display: grid; gap: 1.2rem 1.6rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
.panels figure { break-inside: avoid; min-width: 0; }
.panels figcaption { font-size: .88rem; overflow-wrap: anywhere; color: var(--ink); }
.panels svg, .figure svg { display: block; width: 100%; height: auto; }
.figure figcaption { font-size: .85rem; margin-top: .5rem; max-width: 42rem; }
.figure .narrow { display: none; }
.key { display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; margin: .6rem 0 0; padding: 0;
  list-style: none; font-size: .85rem; }
.key li { overflow-wrap: anywhere; } .key svg { vertical-align: -.1em; margin-right: .4em; }
.terms { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; font-size: .92rem;
  gap: .3rem 1.4rem; margin: 0; }
.terms dt { color: var(--soft); } .terms dd { margin: 0; overflow-wrap: anywhere; }
.groups { display: grid; gap: 1.6rem 2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
.groups section { break-inside: avoid; min-width: 0; } .groups h3 { margin: 0 0 .4rem; }
.thumbs { display: grid; gap: .6rem; margin: .4rem 0 0;
  grid-template-columns: repeat(auto-fill, minmax(6rem, 1fr)); }
.thumbs img { display: block; width: 100%; aspect-ratio: 4 / 3; object-fit: cover;
  border-radius: 4px; }
.thumbs figcaption { font-size: .76rem; line-height: 1.3; margin-top: .25rem;
  overflow-wrap: anywhere; }
.note { font-size: .85rem; margin-top: .75rem; }
td { white-space: nowrap; } .words td { white-space: normal; }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
h3 { overflow-wrap: anywhere; }
@media (max-width: 36rem) {
  .figure .wide { display: none; } .figure .narrow { display: block; }
  .terms { grid-template-columns: 1fr; gap: 0; } .terms dd { margin-bottom: .5rem; }
}
@media print { .panels { grid-template-columns: repeat(3, 1fr); } }
</style>"""


def draw_curves(comparison, ax=None, x="masks", metric=None):
    """Draw the learning curves of a comparison.

    Parameters
    ----------
    comparison : alseg.comparison.Comparison
    ax : matplotlib.axes.Axes or None, default=None
        None makes new ones.
    x : {"masks", "images", "pixels", "clicks", "seconds", "round"}, default="masks"
    metric : str or None, default=None
        None is the comparison's.

    Returns
    -------
    ax : matplotlib.axes.Axes
    """
    metric = metric or comparison.metric
    shown = Shown(comparison, metric)
    ax = plots.new_axes(8.0, 4.5) if ax is None else ax
    return shown.overview(ax, shown.percent(x), x)


def write_comparison_report(comparison, path=None, images=None):
    """Write the report of a comparison as one HTML file that needs nothing from elsewhere.

    Parameters
    ----------
    comparison : alseg.comparison.Comparison
        It may still be going on: what is missing is said.
    path : str or Path or None, default=None
        None is ``comparison.html`` in the working directory.
    images : sequence, callable, None or False, default=None
        Training images by sample id, ``images[sample_id]`` or ``images(sample_id)``, for pictures
        of what was asked first. None takes those of ``comparison.train``, if it has any; without
        them names stand there, and with False too.

    Returns
    -------
    path : Path

    Raises
    ------
    FileNotFoundError
        If no round has ended yet.
    NotOurs
        If a file is at `path` that alseg did not write.
    """
    if not comparison.records:
        raise FileNotFoundError("no records yet. Wait for the first round to end.")
    path = Path("comparison.html" if path is None else path)
    shown = Shown(comparison, comparison.metric)
    parts = [
        _STYLE,
        _head(shown),
        *_verdict(shown),
        *_protocol(shown),
        *_curves(shown),
        *_differences(shown),
        *_table(shown),
        *saved_section(comparison),
        *_penalties(shown),
        *stability_section(comparison),
        *_costs(shown),
        *foreground_section(comparison),
        *forecast_section(comparison),
        *asked_section(comparison, images),
        *_time(shown),
        *_provenance(shown),
    ]
    return write_page(path, page(_title(comparison), "\n".join(part for part in parts if part)))


# -- the sections, in their order -----------------------------------------------------------------


def _config(comparison):
    """Of the comparison if it has one, else of its first record."""
    return getattr(comparison, "config", None) or comparison.records[0].get("config") or {}


def _title(comparison):
    data = lookup(_config(comparison), ("data", "name")) or "images"
    data = data.removesuffix(".train")  # the part that is asked about; others are tested on
    n = len(comparison.names)
    return f"{n} {'strategy' if n == 1 else 'strategies'} on {data}"


def _head(shown):
    comparison = shown.comparison
    found = [
        ("rows", str(len(comparison.names)), ""),
        ("seeds", str(len(comparison.seeds)), ""),
    ]
    masks = [r["n_masks"] for r in comparison.records if r["strategy"] in comparison.names]
    if masks:
        pool = lookup(_config(comparison), ("data", "n_train"))
        of = f" of {pool}" if pool else ""
        found.append(("masks, first and last", f"{min(masks)} – {max(masks)}", of))
    validation = max((r.get("n_masks_validation") or 0 for r in comparison.records), default=0)
    if validation:
        found.append(("more for validation", str(validation), ""))
    n_test = lookup(_config(comparison), ("data", "n_test"))
    if n_test:
        found.append(("test images", str(n_test), ""))
    lead = (
        f"Scores are {shown.name} on the test images, in per cent, each row run once with each "
        f"seed. Rows of a seed start from the same images, so differences to {comparison.control} "
        "are paired by seed."
    )
    torn = told_groups(next(filter(None, (r.get("torn_groups") for r in comparison.records)), None))
    if torn:
        lead += f" {torn}: scores speak about patients that were seen."
    return "\n".join(
        [
            f"<h1>{escape(_title(comparison))}</h1>",
            f'<p class="soft">{escape(lead)}</p>',
            _missing(shown),
            facts(found),
        ]
    )


def _missing(shown):
    """Says which rows lack rounds."""
    curves, lacking = shown.percent("masks"), []
    for name in shown.comparison.names:
        y = curves[name][1] if name in curves else np.full((len(shown.comparison.seeds), 1), np.nan)
        whole = int(np.isfinite(y).all(axis=1).sum())
        if whole < len(y):
            lacking.append(f"{name} ({whole} of {plural(len(y), 'seed')})")
    if not lacking:
        return ""
    text = "Not complete yet: " + ", ".join(lacking)
    return f"<p><strong>{escape(text)}.</strong> Means stand where no seed is missing.</p>"


def _verdict(shown):
    comparison = shown.comparison
    if not has_verdict(comparison):
        text = f"No row to compare with {comparison.control}, the control, has been run yet."
        return section("Verdict", f"<p>{escape(text)}</p>")
    verdict = comparison.verdict()
    first, *lines = str(verdict).splitlines()
    n = len(verdict.rows)
    items = []
    for row, line in zip(verdict.rows, lines[:n], strict=True):
        head = f"{row.name}: {row.decision}"
        rest = line.removeprefix(head)
        bold = f"<strong>{escape(head)}</strong>" if rest != line else ""
        kind = row.decision if row.decision in ("better", "worse") else "open"
        items.append(f'<li class="{kind}">{bold}{escape(rest)}</li>')
    intervals = {
        row.name: tuple(100 * value for value in (row.difference, *row.interval))
        for row in verdict.rows
        if row.n > 1
    }
    return section(
        "Verdict",
        f"<p>{escape(first)}</p>",
        f'<ul class="verdict">{"".join(items)}</ul>',
        *(f"<p>{escape(line)}</p>" for line in lines[n:]),
        _forest(shown, intervals),
        note(
            "Area is the mean height of the learning curve over masks, in per cent. The verdict "
            "speaks about this data set, its test images and this network."
        ),
    )


def _forest(shown, intervals):
    if not intervals:
        return ""
    confidence = f"{100 * (1 - shown.comparison.alpha):g} %"
    alt = f"Difference of areas to {shown.comparison.control} with {confidence} intervals: "
    alt += "; ".join(
        f"{name} {mean:+.1f}" + (f" from {low:.1f} to {high:.1f}" if np.isfinite(low) else "")
        for name, (mean, low, high) in intervals.items()
    )
    drawn = _both(
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


def _both(shown, salt, alt, height, function, narrow_height=None):
    """A figure for wide pages and one for narrow ones; the style shows one of them."""
    sizes = {"wide": (9.2, height), "narrow": (4.2, narrow_height or height)}
    return "".join(
        f'<div class="{kind}">{shown.draw(function, size, f"{salt}-{kind}", alt)}</div>'
        for kind, size in sizes.items()
    )


def _protocol(shown):
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


def _curves(shown):
    curves = shown.percent("masks")
    if not curves:
        return []
    size = max(3.6, 1.2 + 0.24 * len(curves))
    alt = f"{shown.name} in per cent by masks, means over seeds: " + _ends(curves)
    wide = shown.draw(
        lambda ax: shown.overview(ax, curves, "masks", page=True), (9.2, size), "curves-wide", alt
    )
    narrow = shown.draw(
        lambda ax: shown.overview(ax, curves, "masks", page=True, named=False),
        (4.2, 3.6),
        "curves-narrow",
        alt,
    )
    key = _key(shown, curves)
    dotted = " Dotted: rows that ask nothing." if shown.references else ""
    level = f"{100 * (1 - shown.comparison.alpha):g} %"
    return section(
        "Learning curves",
        f'<figure class="figure"><div class="wide">{wide}</div><div class="narrow">{narrow}{key}'
        f"</div><figcaption>Means over the seeds.{dotted}</figcaption></figure>",
        "<h3>Each row and its seeds</h3>",
        note(
            f"Thin: one seed. Thick: their mean, with its {level} interval. Grey: "
            f"{shown.comparison.control}."
        ),
        _panels(shown, "seeds", curves, _one_row),
    )


def _ends(curves):
    texts = []
    for name, (x, y) in curves.items():
        mean, _, _ = plots.mean_interval(y)
        there = np.flatnonzero(np.isfinite(mean))
        if len(there):
            first, last = there[0], there[-1]
            texts.append(
                f"{name} {mean[first]:.1f} at {np.nanmean(x[:, first]):.0f}, "
                f"{mean[last]:.1f} at {np.nanmean(x[:, last]):.0f}"
            )
    return "; ".join(texts)


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
    rounds = shared_x(curves)
    if rounds is not None:
        ax.set_xticks(*_few_ticks(rounds))
    y = np.concatenate([y.ravel() for _, y in curves.values()])
    room = 0.06 * (np.nanmax(y) - np.nanmin(y) or 1.0)
    ax.set_ylim(np.nanmin(y) - room, np.nanmax(y) + room)


def _panels(shown, salt, curves, function):
    """A small figure a row, all with the same axes."""
    control, found = shown.comparison.control, []
    names = [name for name in curves if name != control] or list(curves)
    for k, name in enumerate(names):
        alt = f"{name}: {_ends({name: curves[name]})}"
        svg = shown.draw(
            lambda ax, name=name: function(shown, ax, name, curves), (3.2, 2.2), f"{salt}{k}", alt
        )
        found.append(f"<figure><figcaption>{escape(name)}</figcaption>{svg}</figure>")
    return f'<div class="panels">{"".join(found)}</div>'


_SHAPES = {
    "o": '<circle cx="13" cy="6" r="3.6"/>',
    "s": '<path d="M9.6 2.6h6.8v6.8h-6.8z"/>',
    "^": '<path d="M13 1.6l4.2 8h-8.4z"/>',
    "v": '<path d="M13 10.4l4.2-8h-8.4z"/>',
    "D": '<path d="M13 1.2l4.8 4.8-4.8 4.8-4.8-4.8z"/>',
    "P": '<path d="M11.5 1.6h3v3h3v3h-3v3h-3v-3h-3v-3h3z"/>',
    "X": '<path d="M9.6 4l2-2 1.4 1.6 1.4-1.6 2 2-1.6 2 1.6 2-2 2-1.4-1.6-1.4 1.6-2-2 1.6-2z"/>',
    "<": '<path d="M8.8 6l8-4.2v8.4z"/>',
    ">": '<path d="M17.2 6l-8-4.2v8.4z"/>',
}


def _key(shown, names):
    """Colours and markers of the rows, where names do not stand at the curves."""
    items = []
    for name in names:
        variable = next(v for v, c in STAND_INS.items() if c == shown.page_colours[name])
        items.append(
            f'<li><svg width="26" height="12" aria-hidden="true" style="color:var(--{variable});'
            'fill:currentColor;display:inline;width:26px"><path d="M0 5h26v2h-26z"/>'
            f"{_SHAPES[shown.markers[name]]}</svg>{escape(name)}</li>"
        )
    return f'<ul class="key">{"".join(items)}</ul>'


def _differences(shown):
    control = shown.comparison.control
    curves = shown.percent("masks")
    if control not in curves or len(curves) < 2:
        return []
    x, label = shared_x(curves), "masks"
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
        ax.set_xticks(*_few_ticks(x))
        room = 0.06 * (high - low or 1.0)
        ax.set_ylim(low - room, high + room)

    return section(
        "Paired differences",
        f"<p>{escape(f'Score minus that of {control} with the same seed, by {label}.')}</p>",
        _panels(shown, "gaps", gaps, one),
        note(
            "Rounds of one row depend on each other: a band that leaves zero somewhere is no "
            "finding. The verdict rests on the area alone."
        ),
    )


def _few_ticks(x, most=6):
    step = -(-len(x) // most)
    return x[::step], [f"{value:g}" for value in x[::step]]


def _table(shown):
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
            f"difference to {comparison.control}": known["final_difference"].map("{:+.1f}".format),
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


def _penalties(shown):
    curves = shown.percent("masks")
    if len(curves) < 2 or len(shown.comparison.seeds) < 2:
        return []
    names = list(curves)
    stacked = np.stack([y for _, y in curves.values()])
    if stacked.shape[2] > 1:
        stacked = stacked[:, :, 1:]  # round 0 is shared
    matrix = penalty_matrix(stacked, shown.comparison.alpha)
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
        "<p>Share of the budgets, in per cent, at which the row on the left is above the one at "
        f"the top by a paired t-test at level {shown.comparison.alpha:g}.</p>",
        f'<div class="wide-table"><figure style="{width}" class="figure">{svg}</figure></div>',
        note(
            "A picture, not a test: budgets of one run depend on each other, the many tests are "
            "not adjusted (one in twenty finds a difference where there is none), few seeds "
            "rarely win at all, and the size of a difference is not seen."
        ),
    )


def _costs(shown):
    figures = []
    if not shown.comparison.protocol.rounds:  # a point each is no curve
        return figures
    for unit in ("pixels", "clicks"):
        rows = [r for r in shown.comparison.records if r["strategy"] in shown.comparison.names]
        if any(lookup(r, ("cost", unit)) is None for r in rows):
            continue
        curves = shown.percent(unit)
        if not curves:
            continue

        def draw(ax, curves=curves, unit=unit):
            most = [np.nanmax(x) for x, _ in curves.values()]
            least = min(np.nanmin(x) for x, _ in curves.values())
            if max(most) > 20 * min(most) and least > 0:  # parts of images beside whole ones
                ax.set_xscale("log")
            shown.overview(ax, curves, unit, page=True, named=False, references=False)

        alt = f"{shown.name} in per cent by {unit}: {_ends(curves)}"
        drawn = _both(shown, f"cost-{unit}", alt, 3.4, draw, 3.2)
        figures.append(
            f'<figure class="figure"><h3>By {unit}</h3>{drawn}{_key(shown, curves)}</figure>'
        )
    if not figures:
        return []
    return section(
        "What the annotation costs",
        "<p>Means at equal cost: strategies that pick large or complicated objects pay for them "
        "here. Clicks are those of a polygon around each object.</p>",
        *figures,
    )


def _time(shown):
    seconds, memory = {}, {}
    for name in shown.comparison.names:
        rows = [r for r in shown.comparison.records if r["strategy"] == name]
        seconds[name], memory[name] = seconds_and_memory(rows)
    if not any(seconds.values()):
        return []
    colours = {"fit": STAND_INS["c1"], "query": STAND_INS["c2"]}
    height, figures = 1.0 + 0.5 * len(seconds), []
    for what, values, unit, label in (
        ("Seconds a round", seconds, "s", "seconds"),
        ("Peak memory", memory, "MiB", "MiB"),
    ):
        if not any(values.values()):
            continue
        alt = f"{what}: " + "; ".join(
            f"{name} " + ", ".join(f"{part} {value:.3g} {unit}" for part, value in row.items())
            for name, row in values.items()
        )
        drawn = _both(
            shown,
            what.split()[0].lower(),
            alt,
            height,
            lambda ax, values=values, label=label: plots.bars(
                values, ax, x_label=label, colours=colours
            ),
        )
        figures.append(f'<figure class="figure"><h3>{what}</h3>{drawn}</figure>')
    return section("Time and memory", *figures)


def _provenance(shown):
    comparison = shown.comparison
    config = _config(comparison)
    places = {}
    for record in comparison.records:
        if record.get("environment"):
            key = tuple(sorted((str(k), v) for k, v in record["environment"].items()))
            places[key] = places.get(key, 0) + 1
    data = lookup(config, ("data",)) or {}
    terms = [("seeds", ", ".join(map(str, comparison.seeds)))]
    if data:
        n_train, n_test = data.get("n_train", "?"), data.get("n_test", "?")
        sizes = f"{n_train} images to train on, {n_test} to test on"
        terms.append(("data", f"{data.get('name') or 'images'}: {sizes}"))
        if "train" in data:
            terms.append(("digests of the data", f"{data['train']}, {data.get('test', '')}"))
    for one in config.get("ran", ()):
        packages = ", ".join(f"{k} {v}" for k, v in one.get("versions", {}).items())
        terms.append(("run by", f"{one['command']} ({packages})" if packages else one["command"]))
    for key, n in places.items():
        place = dict(key)
        words = [f"alseg {place['alseg']}"] if "alseg" in place else []
        words += [f"{name} {place[name]}" for name in ("python", "torch", "numpy") if name in place]
        words += [str(place[name]) for name in ("device", "gpu", "processor") if place.get(name)]
        if "torch_threads" in place:
            words.append(plural(place["torch_threads"], "thread"))
        terms.append((plural(n, "record"), ", ".join(words)))
    items = "".join(f"<dt>{escape(a)}</dt><dd>{escape(str(b))}</dd>" for a, b in terms)
    return section(
        "How this was run",
        f'<dl class="terms">{items}</dl>',
        details("Rows, estimator and data", jsonable(config)),
        *(
            details(f"Machine and versions of {plural(n, 'record')}", dict(key))
            for key, n in places.items()
        ),
    )
