"""What the sections of a comparison's report share: curves in per cent, a colour for each row."""

import numpy as np

from alseg.report import plots
from alseg.report.page import ROW_COLOURS, STAND_INS, as_svg, figure_style
from alseg.report.row_table import metric_name


class Shown:
    """What the sections share: curves in per cent, and one colour and marker for each row."""

    def __init__(self, comparison, metric):
        self.comparison, self.metric = comparison, metric
        self.name = metric_name(metric)
        self.names = [name for name in comparison.names if name in self.percent("masks")]
        self.references = {k: 100 * v for k, v in comparison.references(metric).items()}
        control = comparison.control
        others = [name for name in comparison.names if name != control]
        self.markers = {n: plots.MARKERS[k % len(plots.MARKERS)] for k, n in enumerate(others)}
        self.markers[control] = "o"
        self.colours = self._colours(plots.COLOURS, plots.CONTROL_COLOUR)
        self.page_colours = self._colours(ROW_COLOURS, STAND_INS["soft"])

    def _colours(self, colours, of_control):
        others = [name for name in self.comparison.names if name != self.comparison.control]
        found = {name: colours[k % len(colours)] for k, name in enumerate(others)}
        return {**found, self.comparison.control: of_control}

    def percent(self, x):
        """Curves with their scores in per cent."""
        curves = self.comparison.curves(self.metric, x)
        return {name: (at, 100 * scores) for name, (at, scores) in curves.items()}

    def overview(self, ax, curves, x, page=False, named=True, references=True):
        """All means, with seeds and bands only as far as one can tell them apart."""
        few = len(curves) <= 3
        plots.cost_curve(
            curves,
            ax,
            x_label=X_LABELS.get(x, x),
            y_label=f"{self.name} (%)",
            colours=self.page_colours if page else self.colours,
            markers=self.markers,
            references=self.references if references else None,
            confidence=1 - self.comparison.alpha if few else None,
            seeds=few,
            named=named,
        )
        rounds = shared_x(curves)
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


X_LABELS = {
    "pixels": "pixels annotated",
    "clicks": "clicks",
    "images": "images opened",
    "seconds": "seconds of annotation",
}


def shared_x(curves):
    """The x axis that all seeds of all rows share, or None."""
    rows = np.concatenate([x for x, _ in curves.values()]) if curves else np.empty((0, 0))
    rows = rows[np.isfinite(rows).all(axis=1)]
    return rows[0] if len(rows) and (rows == rows[0]).all() else None


def plural(n, word):
    """A number and its word: "1 seed", "2 seeds"."""
    return f"{n} {word}{'' if n == 1 else 's'}"
