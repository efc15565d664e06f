"""What goes into a paper: tables in LaTeX, bold with care, and figures with text and no date."""

import dataclasses
import re

import numpy as np
import pytest
from made_comparison import made_comparison

from alseg.comparison.result import Comparison
from alseg.files import NotOurs
from alseg.report import plots
from alseg.report.comparison_page import draw_curves
from alseg.report.figure_files import save_figure
from alseg.report.latex import comparison_latex, escaped, rows_in_bold

# -- LaTeX --


def test_what_latex_would_take_for_its_own_is_escaped():
    assert escaped("a_b & 50% #1 $x^2$ {~}") == (
        r"a\_b \& 50\% \#1 \$x\textasciicircum{}2\$ \{\textasciitilde{}\}"
    )
    assert escaped('\\end{tabular}\n|<">') == (
        r"\textbackslash{}end\{tabular\} \textbar{}\textless{}\textquotedbl{}\textgreater{}"
    )
    assert escaped("Grüße, 図") == "Grüße, 図"


def test_a_table_has_a_line_for_each_row_and_reference():
    result = made_comparison(names=("random", "a_b & c", "mine"), n_seeds=8)
    text = result.to_latex()
    lines = text.splitlines()
    assert lines[0].startswith("% ") and r"\begin{table}" not in text
    assert lines[1] == r"\begin{tabular}{lrrrr}" and lines[-1] == r"\end{tabular}"
    rows = [line for line in lines if line.endswith(r"\\")]
    assert len(rows) == 1 + 3 + 3 and all(line.count(" & ") == 4 for line in rows)
    assert rows[0] == r" & Dice (\%) & area (\%) & difference to random & $p$ \\"
    y = result.curves()["random"][1][:, -1] * 100
    assert rows[1].startswith(f"random & {y.mean():.1f} $\\pm$ {y.std(ddof=1):.1f} & ")
    assert r"a\_b \& c" in rows[2] and [lines.count(r"\midrule")] == [2]
    assert rows[-1] == r"all-ones & 62.8 & -- & -- & -- \\" or "all-ones & " in rows[-1]
    assert text.count("{") == text.count("}")


def test_a_caption_makes_a_table_of_it(tmp_path):
    result = made_comparison()
    path = tmp_path / "table.tex"
    text = result.to_latex(caption=r"Dice, \emph{ours}.", label="tab:dice", path=path)
    assert path.read_text("utf-8") == text
    assert r"\caption{Dice, \emph{ours}.}" in text and r"\label{tab:dice}" in text
    assert r"\begin{table}" in text and text.endswith("\\end{table}\n")
    assert result.to_latex(path=path) == path.read_text("utf-8")  # over its own
    other = tmp_path / "other.tex"
    other.write_text("mine")
    with pytest.raises(NotOurs):
        result.to_latex(path=other)


def with_areas(lower=False, **areas):
    """A comparison of two rounds with these areas; `areas` by row, one a seed."""
    made = made_comparison(names=tuple(areas), n_seeds=len(areas["random"]), n_rounds=2)
    if lower:
        made.protocol = dataclasses.replace(made.protocol, metric="hd95")
    for (name, seed), chain in made.chains.items():
        for record in chain:
            record["metrics"] |= dict.fromkeys(("dice", "hd95"), areas[name][seed])
    return Comparison(
        made.chains, {}, made.protocol, made.names, made.family, made.seeds, made.config
    )


BASE = 0.5 + 0.01 * np.array([0.0, 1, -1, 2, -2, 1])
NOISE = 0.004 * np.array([1.0, -1, 0, 1, -1, 0])


@pytest.mark.parametrize(
    "areas, bold",
    [
        ({"a": BASE + 0.05 + NOISE, "b": BASE + NOISE}, {"a"}),
        ({"a": BASE + NOISE, "b": BASE + NOISE[::-1]}, set()),  # nobody is better
        ({"a": BASE + 0.05 + NOISE, "b": BASE + 0.051 - NOISE}, {"a", "b"}),  # nor told apart
        ({"a": BASE + 0.05 + NOISE, "b": BASE + 0.1 - NOISE}, {"b"}),  # better, but not the best
        ({"a": BASE - 0.05 + NOISE, "b": BASE - 0.06 - NOISE}, {"random"}),  # all others worse
        ({"a": BASE + 0.05 + NOISE, "b": BASE + 0.06 + 25 * NOISE}, set()),  # the best is not told
    ],
)
def test_bold_is_what_the_verdict_allows(areas, bold):
    assert rows_in_bold(with_areas(random=BASE, **areas)) == bold
    negative = {name: -values for name, values in {"random": BASE, **areas}.items()}
    assert rows_in_bold(with_areas(lower=True, **negative)) == bold


def test_one_seed_or_no_row_has_nothing_bold():
    assert rows_in_bold(made_comparison(n_seeds=1)) == set()
    alone = made_comparison(names=("random",), n_seeds=3)
    assert rows_in_bold(alone) == set() and "random &" in comparison_latex(alone)


def test_own_scores_have_three_digits():
    areas = {"random": 0.01 * BASE, "a": 0.01 * BASE + 0.0001}
    text = with_areas(lower=True, **areas).to_latex()
    assert "Hausdorff 95 \\% (px) & area & " in text
    assert "0.00512 $\\pm$ 0.000147" in text and "+0.0001 [" in text


# -- figures --

MANY = ("random", *(f"row {k}" for k in range(1, 20)))


@pytest.mark.parametrize("kind", ["pdf", "svg", "png"])
def test_the_same_figure_has_the_same_bytes(tmp_path, kind):
    result = made_comparison()
    path = tmp_path / f"curves.{kind}"
    ax = result.plot(path=path)
    before = path.read_bytes()
    assert ax.get_ylabel() == "Dice (%)"
    result.plot(path=path)  # over its own
    assert path.read_bytes() == before
    assert b"2026" not in before.replace(b"20260", b"") or kind == "png"
    if kind == "svg":
        assert "core-set 7" in before.decode() and b"<dc:date>" not in before
    if kind == "pdf":  # letters of an embedded font, not outlines
        assert b"/FontFile2" in before and b"/CreationDate" not in before


def test_a_figure_of_somebody_else_stays(tmp_path):
    path = tmp_path / "mine.pdf"
    path.write_bytes(b"%PDF of somebody")
    with pytest.raises(NotOurs):
        save_figure(plots.new_axes(), path)
    with pytest.raises(ValueError, match=r"path must be a file that ends in \.pdf, \.svg, \.png"):
        made_comparison().plot(path=tmp_path / "curves.jpg")


def test_every_row_has_a_band_however_many_there_are():
    for names in (MANY[:3], MANY[:6], MANY):
        ax = draw_curves(made_comparison(names=names, n_seeds=3))
        assert len(ax.collections) == len(names)
        assert [line.get_label() for line in ax.lines if line.get_linewidth() == 2] == list(names)
        alpha = {band.get_alpha() for band in ax.collections}
        assert len(alpha) == 1 and 0.02 < alpha.pop() <= 0.14
        seeds = [line for line in ax.lines if line.get_label() == "_seed"]
        assert bool(seeds) == (len(names) <= 3)


def test_rows_differ_without_their_colours():
    colours, markers, lines = plots.styles_of(MANY, control="random")
    assert len({(markers[n], str(lines[n])) for n in MANY[1:]}) == len(MANY) - 1
    assert list(colours.values()).count(plots.CONTROL_COLOUR) == 1
    alike = [(a, b) for a in MANY for b in MANY if a < b and colours[a] == colours[b]]
    assert alike and all(markers[a] != markers[b] and lines[a] != lines[b] for a, b in alike)


def test_names_that_have_moved_are_led_to():
    close = made_comparison(names=MANY, n_seeds=3)
    texts = [t for t in draw_curves(close).texts if re.match(r"(random|row)", t.get_text())]
    assert len(texts) == len(MANY) and all(t.arrow_patch is not None for t in texts)
    ax = plots.learning_curve({"a": [1.0, 2], "b": [5.0, 9]}, [4, 6])
    assert all(t.arrow_patch is None for t in ax.texts)


def test_a_key_shows_the_lines(tmp_path, no_figures):
    text = made_comparison(names=MANY, n_seeds=2).to_html(tmp_path / "page.html").read_text("utf-8")
    key = re.search(r'<ul class="key">(.*?)</ul>', text)[1].split("</li>")
    paths = [re.search(r'<path d="(M0 5[^"]*)"', item)[1] for item in key[:-1]]
    assert paths[0].count("M") == paths[7].count("M") == 1  # the control and seven are solid
    assert paths[8].count("M") > 1 and paths[15].count("M") > paths[8].count("M")
