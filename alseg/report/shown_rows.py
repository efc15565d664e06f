"""What the sections of a comparison's page share: its rows' curves, colours and figures."""

from html import escape

import numpy as np

from alseg.report import plots
from alseg.report.page import ROW_COLOURS, STAND_INS, as_svg, figure_style
from alseg.report.row_table import metric_name


class ShownRows:
    """The rows of a comparison as its page shows them: scaled, a colour and a marker for each.

    Parameters
    ----------
    comparison : alseg.comparison.Comparison
    metric : str
    """

    def __init__(self, comparison, metric):
        self.comparison, self.metric = comparison, metric
        self.name = metric_name(metric)
        self.scale = comparison.protocol.scale(metric)
        self.in_unit = " in per cent" if self.scale == 100 else ""
        self.lower = comparison.protocol.better(metric) == "lower"
        self.names = [name for name in comparison.names if name in self.scaled("masks")]
        references = comparison.references(metric)
        self.references = {k: self.scale * v for k, v in references.items()}
        styles = plots.styles_of(comparison.names, comparison.control)
        self.colours, self.markers, self.lines = styles
        # On the page each is a variable, so that one figure serves light and dark.
        variables = dict(zip(plots.COLOURS, ROW_COLOURS, strict=True))
        variables[plots.CONTROL_COLOUR] = STAND_INS["soft"]
        self.page_colours = {name: variables[colour] for name, colour in self.colours.items()}

    def scaled(self, x):
        """Curves with their scores as people read them: in per cent, or in a unit of their own."""
        curves = self.comparison.curves(self.metric, x)
        return {name: (at, self.scale * scores) for name, (at, scores) in curves.items()}

    def overview(self, ax, curves, x, page=False, named=True, references=True):
        """All means with their bands, and each seed only as far as one can tell them apart."""
        few = len(curves) <= 3
        plots.cost_curve(
            curves,
            ax,
            x_label=_X_LABELS.get(x, x),
            y_label=self.name + (" (%)" if self.scale == 100 else ""),
            colours=self.page_colours if page else self.colours,
            markers=self.markers,
            lines=self.lines,
            references=self.references if references else None,
            confidence=1 - self.comparison.alpha,
            seeds=few,
            named=named,
        )
        rounds = shared_rounds(curves)
        if rounds is not None and len(rounds) <= 12 and x in ("masks", "images", "round"):
            ax.set_xticks(rounds, [f"{value:g}" for value in rounds])
        return ax

    def draw(self, function, size, salt, alt):
        """An SVG of what a function draws on axes of a size in inches."""
        import matplotlib

        with matplotlib.rc_context(figure_style(salt)):
            ax = plots.new_axes(*size)
            function(ax)
            return as_svg(ax.figure, alt)


_X_LABELS = {
    "pixels": "pixels annotated",
    "clicks": "clicks",
    "images": "images opened",
    "seconds": "seconds of annotation",
}


def shared_rounds(curves):
    """The x axis that all seeds of all rows share, or None."""
    rows = np.concatenate([x for x, _ in curves.values()]) if curves else np.empty((0, 0))
    rows = rows[np.isfinite(rows).all(axis=1)]
    return rows[0] if len(rows) and (rows == rows[0]).all() else None


def wide_and_narrow(shown, salt, alt, height, function, narrow_height=None):
    """A figure for wide pages and one for narrow ones; the style shows one of them."""
    sizes = {"wide": (9.2, height), "narrow": (4.2, narrow_height or height)}
    return "".join(
        f'<div class="{kind}">{shown.draw(function, size, f"{salt}-{kind}", alt)}</div>'
        for kind, size in sizes.items()
    )


def ends_of_curves(curves):
    """First and last mean of each row, as the text in the place of a figure."""
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


def row_panels(shown, salt, curves, function):
    """A small figure a row, all with the same axes."""
    control, found = shown.comparison.control, []
    names = [name for name in curves if name != control] or list(curves)
    for k, name in enumerate(names):
        alt = f"{name}: {ends_of_curves({name: curves[name]})}"
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


def key_of_rows(shown, names):
    """Colours and markers of the rows, where names do not stand at the curves."""
    items = []
    for name in names:
        variable = next(v for v, c in STAND_INS.items() if c == shown.page_colours[name])
        items.append(
            f'<li><svg width="26" height="12" aria-hidden="true" style="color:var(--{variable});'
            f'fill:currentColor;display:inline;width:26px"><path d="{_dashes(shown.lines[name])}"/>'
            f"{_SHAPES[shown.markers[name]]}</svg>{escape(name)}</li>"
        )
    return f'<ul class="key">{"".join(items)}</ul>'


def _dashes(line, length=26):
    """A line in the key, as the path of its dashes."""
    pattern = [0.9 * part for part in line[1]] if line != "solid" else [length, 0]
    found, at = [], 0.0
    while at < length:
        for part, gap in zip(pattern[::2], pattern[1::2]):
            part = min(part, length - at)
            if part > 0:
                found.append(f"M{at:g} 5h{part:g}v2h{-part:g}z")
            at += part + gap
    return "".join(found)


def few_ticks(x, most=6):
    """At most `most` evenly spaced values of an axis, and their labels."""
    step = -(-len(x) // most)
    return x[::step], [f"{value:g}" for value in x[::step]]


def plural(n, word):
    """A number with its word.

    Examples
    --------
    >>> plural(1, "seed"), plural(2, "seed")
    ('1 seed', '2 seeds')
    """
    return f"{n} {word}{'' if n == 1 else 's'}"


def config_of(comparison):
    """The settings of a comparison; of one without them those of its first record."""
    return getattr(comparison, "config", None) or comparison.records[0].get("config") or {}
