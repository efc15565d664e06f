"""One-file HTML report of a comparison: the verdict first, then what it rests on."""

from html import escape
from pathlib import Path

import numpy as np

from alseg.experiment import told_groups
from alseg.report import plots
from alseg.report.gains_sections import (
    forecast_section,
    foreground_section,
    saved_section,
    stability_section,
)
from alseg.report.origin_sections import asked_section, provenance_section, time_section
from alseg.report.page import facts, page, write_page
from alseg.report.score_sections import (
    costs_section,
    curves_section,
    differences_section,
    penalties_section,
    table_section,
)
from alseg.report.shown_rows import ShownRows, config_of, plural
from alseg.report.tables import lookup
from alseg.report.verdict_sections import protocol_section, verdict_section

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
h3, p { overflow-wrap: anywhere; }
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
    shown = ShownRows(comparison, metric)
    ax = plots.new_axes(8.0, 4.5) if ax is None else ax
    return shown.overview(ax, shown.scaled(x), x)


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
    shown = ShownRows(comparison, comparison.metric)
    parts = [
        _STYLE,
        _head(shown),
        *verdict_section(shown),
        *protocol_section(shown),
        *curves_section(shown),
        *differences_section(shown),
        *table_section(shown),
        *saved_section(comparison),
        *penalties_section(shown),
        *stability_section(comparison),
        *costs_section(shown),
        *foreground_section(comparison),
        *forecast_section(comparison),
        *asked_section(shown, images),
        *time_section(shown),
        *provenance_section(shown),
    ]
    return write_page(path, page(_title(comparison), "\n".join(part for part in parts if part)))


def _title(comparison):
    data = lookup(config_of(comparison), ("data", "name")) or "images"
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
        pool = lookup(config_of(comparison), ("data", "n_train"))
        of = f" of {pool}" if pool else ""
        found.append(("masks, first and last", f"{min(masks)} – {max(masks)}", of))
    validation = max((r.get("n_masks_validation") or 0 for r in comparison.records), default=0)
    if validation:
        found.append(("more for validation", str(validation), ""))
    n_test = lookup(config_of(comparison), ("data", "n_test"))
    if n_test:
        found.append(("test images", str(n_test), ""))
    lead = (
        f"Scores are {shown.name} on the test images{shown.in_unit}, each row run once with each "
        f"seed. {'Less is better. ' if shown.lower else ''}Rows of a seed start from the same "
        f"images, so differences to {comparison.control} "
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
    curves, lacking = shown.scaled("masks"), []
    for name in shown.comparison.names:
        y = curves[name][1] if name in curves else np.full((len(shown.comparison.seeds), 1), np.nan)
        whole = int(np.isfinite(y).all(axis=1).sum())
        if whole < len(y):
            lacking.append(f"{name} ({whole} of {plural(len(y), 'seed')})")
    if not lacking:
        return ""
    text = "Not complete yet: " + ", ".join(lacking)
    return f"<p><strong>{escape(text)}.</strong> Means stand where no seed is missing.</p>"
