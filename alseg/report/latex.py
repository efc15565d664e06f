"""The table of a comparison as LaTeX, bold where the verdict allows it."""

import re

import numpy as np

from alseg.experiment import statistics
from alseg.files import write_text
from alseg.report.row_table import (
    comparison_numbers,
    has_verdict,
    mean_and_sd,
    metric_name,
    with_interval,
)

_FIRST = r"% Made by alseg. It needs \usepackage{booktabs}."
_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def escaped(text):
    """Text that LaTeX shows as it is, in one line.

    Examples
    --------
    >>> print(escaped("50 % of my_rows & C:\\\\x"))
    50 \\% of my\\_rows \\& C:\\textbackslash{}x
    """
    text = " ".join(str(text).split())
    return re.sub(r'[\\~^<>|"&%$#_{}]', lambda found: _ESCAPED[found[0]], text)


def rows_in_bold(comparison, metric=None):
    """The rows that may be called best.

    Parameters
    ----------
    comparison : alseg.comparison.Comparison
    metric : str or None, default=None
        None is the comparison's.

    Returns
    -------
    set of str
        The row with the best mean area, if the verdict calls it better than the control, and the
        rows that it calls better too and that the same test, with the best as control, does not
        call worse. The control, if the verdict calls all others worse. Else none.
    """
    if not has_verdict(comparison, metric):
        return set()
    found = comparison.verdict(metric).rows
    if all(row.decision == "worse" for row in found):
        return {comparison.control}
    rivals = [row.name for row in found if row.decision == "better"]
    areas, direction = comparison.areas(metric), comparison.protocol.better(metric)
    sign = 1 if direction == "higher" else -1
    means = {n: sign * np.nanmean(a) for n, a in areas.items() if np.isfinite(a).any()}
    best = max(means, key=lambda name: means[name])
    if best not in rivals:
        return set()
    others = [name for name in rivals if name != best]
    if not others:
        return {best}
    against = statistics.verdict(areas, best, others, comparison.alpha, better=direction)
    return {best} | {row.name for row in against.rows if row.decision != "worse"}


def comparison_latex(comparison, metric=None, caption=None, label=None, path=None):
    """The table of a comparison as LaTeX (booktabs).

    Parameters
    ----------
    comparison : alseg.comparison.Comparison
    metric : str or None, default=None
        None is the comparison's.
    caption, label : str or None, default=None
        LaTeX of one's own. With either the ``tabular`` stands in a ``table``.
    path : str or Path or None, default=None
        Where to write it too: where no file is, or one that this has written.

    Returns
    -------
    str
        A line for each row and, below, each reference: score after the last round and area, mean ±
        standard deviation over seeds; difference of areas to the control with its interval, and its
        p-value after Holm. Names are escaped. `rows_in_bold` are bold.

    Raises
    ------
    NotOurs
        If another file is at `path`.
    """
    metric = metric or comparison.metric
    in_percent = comparison.protocol.scale(metric) == 100
    unit = r" (\%)" if in_percent else ""
    numbers, bold = comparison_numbers(comparison, metric), rows_in_bold(comparison, metric)
    head = [
        "",
        escaped(metric_name(metric)) + unit,
        f"area{unit}",
        f"difference to {escaped(comparison.control)}",
        "$p$",
    ]
    lines = [_line(row, row["row"] in bold, in_percent) for _, row in numbers.iterrows()]
    n = len(comparison.names)
    body = [r"\begin{tabular}{lrrrr}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    body += [*lines[:n], *([r"\midrule", *lines[n:]] if lines[n:] else [])]
    body += [r"\bottomrule", r"\end{tabular}"]
    if caption is not None or label is not None:
        around = [r"\begin{table}", r"\centering"]
        around += [] if caption is None else [f"\\caption{{{caption}}}"]
        around += [] if label is None else [f"\\label{{{label}}}"]
        body = [*around, *body, r"\end{table}"]
    text = "\n".join([_FIRST, *body]) + "\n"
    if path is not None:
        write_text(path, text, marker=_FIRST)
    return text


def _line(row, bold, in_percent):
    cells = [
        escaped(row["row"]),
        _as_latex(mean_and_sd(row["final"], row["final_sd"], in_percent)),
        _as_latex(mean_and_sd(row["area"], row["area_sd"], in_percent)),
        _as_latex(with_interval(row["difference"], row["low"], row["high"], in_percent)),
        _p(row["p_holm"]),
    ]
    if bold:
        cells[:3] = [f"\\textbf{{{cell}}}" for cell in cells[:3]]
    return " & ".join(cells) + r" \\"


def _as_latex(text):
    return text.replace("-", "$-$").replace("±", r"$\pm$").replace("–", "--")


def _p(value):
    if not np.isfinite(value):
        return "--"
    return "$<$0.001" if value < 0.001 else f"{value:.3f}"
