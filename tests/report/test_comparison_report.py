"""Figures and the page of a comparison: what they say, and that no name or gap breaks them."""

import re
from collections import Counter

import numpy as np
import pytest
from made_comparison import REFERENCES, made_comparison
from test_report import Page

from alseg.experiment.forecasting import backtest
from alseg.experiment.statistics import (
    LabelsSaved,
    foreground_efficiency,
    labels_saved,
    labels_to_reach,
    paired_t,
    rank_stability,
)
from alseg.report import plots
from alseg.report.comparison_page import draw_curves, write_comparison_report
from alseg.report.gains_sections import saved_text
from alseg.report.page import STYLE, as_svg, figure_style
from alseg.report.row_table import comparison_numbers, comparison_table, metric_name

HOSTILE = ("</style><b>&\"'", "$x_1^", '<g id="a" style="font:\'x">', "図 ; font:'y")


class Outline(Page):
    """Also the headings in their order, and the names of elements."""

    def __init__(self, text):
        self.headings, self.ids, self.svgs = [], [], []
        super().__init__(text)

    def handle_starttag(self, tag, attrs):
        super().handle_starttag(tag, attrs)
        attrs = dict(attrs)
        if tag == "svg" and "aria-hidden" not in attrs:
            self.svgs.append(attrs)
        if re.fullmatch(r"h\d", tag):
            self.headings.append([int(tag[1]), ""])
        if "id" in attrs:
            self.ids.append(attrs["id"])

    def handle_data(self, data):
        super().handle_data(data)
        if self.open and re.fullmatch(r"h\d", self.open[-1]):
            self.headings[-1][1] += data


def read(path):
    text = path.read_text("utf-8")
    return text, Outline(text)


def check_page(text, page):
    assert page.open == []
    assert all(r.startswith(("data:image/", "#")) for r in page.references)
    assert not re.search(r"url\((?!#)|@import|<script|<link", text)
    assert all(image["alt"].strip() for image in page.images)
    assert all(svg["role"] == "img" and svg["aria-label"].strip() for svg in page.svgs)
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert (np.diff(levels) <= 1).all()  # no level is jumped over
    assert not re.search(r"#0102[0-9a-f]{2}\b", text)  # every stand-in is a variable of the style
    used = re.findall(r"url\(#([\w-]+)\)", text) + [r[1:] for r in page.references if r[0] == "#"]
    assert set(used) <= set(page.ids)
    assert max(Counter(page.ids).values()) == 1


@pytest.fixture(scope="module")
def small():
    return made_comparison(pictures=True)


@pytest.fixture(scope="module")
def written(small, tmp_path_factory):
    return read(small.to_html(tmp_path_factory.mktemp("report") / "sub" / "page.html"))


# -- the page --


def test_one_file_that_needs_nothing_else(written):
    check_page(*written)
    assert "bootstrap" not in written[1].text  # too few seeds
    assert len(written[1].images) == 4 + 4 * 2  # the seed set, and two of each row
    assert len(written[1].svgs) == 2 + 2 + 3 + 3 + 1 + 4 + 4
    assert "without the data" not in written[1].text


def test_sections_in_order(written):
    titles = [title for level, title in written[1].headings if level == 2]
    assert titles == [
        "Verdict",
        "Protocol",
        "Learning curves",
        "Paired differences",
        "All rows",
        "Masks saved",
        "Who beats whom",
        "Would the ranking last?",
        "What the annotation costs",
        "What annotated foreground is worth",
        "What more masks would bring",
        "What was asked first",
        "Time and memory",
        "How this was run",
    ]


def test_the_verdict_is_there_word_for_word(small, written):
    text = " ".join(written[1].text.split())
    for line in str(small.verdict()).splitlines():
        assert line in text


def test_what_it_rests_on(written):
    text = " ".join(written[1].text.split())
    for said in (
        "4 masks at random, the same for all rows of a seed",
        "3 rounds of 2, shared alike among the classes",
        "from scratch, 120 gradient steps",
        "made-up glands: 20 images to train on, 6 to test on",
        "a1b2, c3d4",
        "alseg 0.1, python 3.11, torch 2.4, cpu, 1 thread",
        "A picture, not a test",
        "image 9 · regular",
    ):
        assert said in text
    assert "Not complete" not in text
    labels = [svg["aria-label"] for svg in written[1].svgs]
    assert any(re.search(r"mine [\d.]+ at 4, [\d.]+ at 10", label) for label in labels)


def test_names_of_any_kind_and_missing_rounds(tmp_path):
    names = ("random", *HOSTILE)
    comparison = made_comparison(
        names, missing=[(HOSTILE[0], 1, 2), (HOSTILE[1], 0, 0)], parts=(HOSTILE[2],), validation=3
    )
    text, page = read(comparison.to_html(tmp_path / "page.html"))
    check_page(text, page)
    assert "<b>&\"'" not in text
    said = " ".join(page.text.split())
    for name in HOSTILE:
        assert name in said  # as text
    assert f"Not complete yet: {HOSTILE[0]} (2 of 3 seeds), {HOSTILE[1]} (2 of 3 seeds)" in said
    assert "masks with validation" in said and "Score minus that of random" in said
    assert "image 9" in said and page.images == []  # without pictures names stand there
    assert said.count("this page was written without the data: alseg report FOLDER --data") == 1


def test_one_seed_without_references(tmp_path):
    comparison = made_comparison(("random", "mine"), n_seeds=1, references=False)
    text, page = read(write_comparison_report(comparison, tmp_path / "page.html"))
    check_page(text, page)
    assert "One seed cannot tell" in page.text and "Who beats whom" not in page.text
    assert "Dotted" not in page.text and "nan" not in page.text.lower()
    titles = [title for _, title in page.headings]
    for title in ("Masks saved", "Would the ranking last?", "What annotated foreground is worth"):
        assert title not in titles
    assert "What more masks would bring" in titles


def test_other_test_images_where_there_are_seeds_enough(tmp_path, no_figures):
    comparison = made_comparison(("random", "mine"), n_seeds=5, n_rounds=2, references=False)
    _, page = read(comparison.to_html(tmp_path / "page.html"))
    assert "bootstrap over seeds and test images" in page.text
    row = comparison_numbers(comparison).set_index("row").loc["mine"]
    low, high = (f"{row[name]:.1f}" for name in ("final_low", "final_high"))
    assert f"mine{row['final_difference']:+.1f}{low}{high}" in page.text


def test_only_a_control_that_has_just_begun(tmp_path):
    comparison = made_comparison(("random",), n_seeds=2, n_rounds=1, references=False)
    text, page = read(comparison.to_html(tmp_path / "page.html"))
    check_page(text, page)
    assert "No row to compare with random" in page.text


def test_nothing_yet(tmp_path):
    comparison = made_comparison(
        missing=[(n, s, 0) for n in ("random", "mine") for s in (0,)],
        names=("random", "mine"),
        n_seeds=1,
        references=False,
    )
    with pytest.raises(FileNotFoundError, match="Wait for the first round"):
        comparison.to_html(tmp_path / "page.html")
    assert len(comparison_table(comparison)) == 2


def test_pictures_by_a_function(small, tmp_path, no_figures):
    comparison = made_comparison(("random", "mine"), n_seeds=1, n_rounds=2)
    seen = []

    def image(sample_id):
        seen.append(sample_id)
        return np.zeros((8, 8), np.uint8)

    _, page = read(write_comparison_report(comparison, tmp_path / "page.html", images=image))
    assert len(page.images) == len(seen) == 4 + 2 + 2


def test_pictures_may_be_left_out(small, tmp_path, no_figures):
    _, page = read(small.to_html(tmp_path / "page.html", pictures=False))
    assert page.images == [] and "image 9" in page.text
    assert "without the data" not in page.text  # they are there, and were not wanted


def rows_of(page_text, title):
    """Cells of the table that follows a heading."""
    part = page_text[page_text.index(f"<h2>{title}</h2>") :]
    part = part[: part.index("</table>")].replace("\N{NO-BREAK SPACE}", " ")
    return [re.findall(r"<td>(.*?)</td>", row) for row in part.split("<tr>")[2:]]


def test_masks_saved(small, written):
    saved = small.labels_saved()
    assert list(saved) == ["entropy", "core-set", "mine"]
    full = small.references()["full supervision"].mean()
    y, control = (small.curves()[name][1].mean(axis=0) for name in ("mine", "random"))
    for share in (90, 95, 99):
        assert saved["mine"][share] == labels_saved([4, 6, 8, 10], y, control, share / 100 * full)
    at_90 = saved["mine"][90]
    assert at_90.bound == "at least" and 8 < at_90.labels < 10
    cells = {row[0]: row[1:] for row in rows_of(written[0], "Masks saved")}
    assert cells["mine"][0] == "at least 0 fewer (10, not &gt;10)"
    assert cells["entropy"][2] == "– (&gt;10 both)"
    assert f"which scores {100 * full:.1f}" in written[1].text
    assert made_comparison(references=False).labels_saved() == {}


@pytest.mark.parametrize(
    "saved, said",
    [
        (LabelsSaved(13.5, 16.2, 2.7, "exact"), "3 fewer (14, not 17)"),
        (LabelsSaved(17.0, 13.5, -3.5, "exact"), "3 more (17, not 14)"),
        (LabelsSaved(16.2, 16.9, 0.7, "exact"), "as many (17)"),
        (LabelsSaved(8.0, 8.0, 0.0, "exact"), "≤8 both"),
        (LabelsSaved(8.0, 11.0, 3.0, "exact"), "3 fewer (≤8, not 11)"),
        (LabelsSaved(20.0, np.inf, 6.0, "at least"), "at least 6 fewer (20, not >26)"),
        (LabelsSaved(np.inf, 17.0, -9.0, "at most"), "at least 9 more (>26, not 17)"),
        (LabelsSaved(np.inf, np.inf, np.nan, "unknown"), "– (>26 both)"),
        (LabelsSaved(np.nan, np.inf, np.nan, "unknown"), "–"),
    ],
)
def test_labels_saved_in_words(saved, said):
    assert saved_text(saved, 8, 26, 26) == said


def test_pixels_are_saved_where_rows_ask_for_parts(tmp_path, no_figures):
    comparison = made_comparison(("random", "parts"), parts=("parts",))
    for chain in comparison.chains.values():
        for record in chain:  # a part of an image that is open already
            record["n_masks"] = 4 if record["strategy"] == "parts" else record["n_masks"]
    text, page = read(comparison.to_html(tmp_path / "page.html"))
    assert "Pixels saved" in text and "Masks saved" not in text
    assert rows_of(text, "Pixels saved")[0][3] == "– (&gt;7,066 and &gt;15,360)"


def test_the_ranking_without_a_seed(small, written):
    areas = np.array(list(small.areas().values()))
    stability, ranks = small.rank_stability(), small.ranks()
    assert stability.taus.tolist() == rank_stability(areas).taus.tolist()
    assert ranks["mine"][0] == 1 and ranks["random"][0] == 4
    without_1 = np.delete(areas, 1, axis=1).mean(axis=1)
    assert [ranks[name][1][1] for name in small.names] == (
        4 - without_1.argsort().argsort()
    ).tolist()
    cells = rows_of(written[0], "Would the ranking last?")
    assert cells[0] == ["mine", "1", "1"] and cells[-1][0] == "random"
    assert "mine comes first whichever seed is left out." in written[1].text
    assert made_comparison(("random",)).rank_stability() is None
    # A seed that a row lacks counts for none of them.
    lacking = made_comparison(missing=[("mine", 0, 2)])
    assert len(lacking.ranks()["random"][1]) == 2


def test_rows_that_change_places(tmp_path, no_figures):
    comparison = made_comparison(("random", "mine"), n_seeds=3, n_rounds=2)
    for (name, seed), chain in comparison.chains.items():
        chain[1]["metrics"]["dice"] = {"random": [0.9, 0.5, 0.5], "mine": [0.5, 0.6, 0.65]}[name][
            seed
        ]
    _, page = read(comparison.to_html(tmp_path / "page.html"))
    assert (
        "Which row comes first depends on the seed that is left out: random or mine." in page.text
    )


def test_foreground_efficiency(small, written):
    shares = small.foreground()
    assert shares["mine"][0].tolist() == [0.2, 0.39, 0.52, 0.65]
    full, y = small.references()["full supervision"].mean(), small.curves()["mine"][1].mean(axis=0)
    rate = foreground_efficiency(shares["mine"][0], y, full)
    assert small.foreground_efficiency()["mine"] == pytest.approx(rate)
    cells = {row[0]: row[1:] for row in rows_of(written[0], "What annotated foreground is worth")}
    closed = 100 * (1 - np.exp(-rate / 10))
    assert cells["mine"] == ["65&nbsp;%", f"{closed:.0f}&nbsp;%", f"{rate:.1f}"]


def test_foreground_of_records_that_did_not_count_it():
    comparison = made_comparison(pictures=True)
    for record in comparison.records:
        del record["foreground_pixels"]
    masks = np.asarray(comparison.train.masks) > 0
    chain = comparison.chains["mine", 0]
    ids = [i for record in chain[:2] for i in record["sample_ids"]]
    found = comparison.foreground()["mine"][0, 1]
    assert found == pytest.approx(sum(masks[i].sum() for i in ids) / masks.sum())
    comparison.train = None
    assert np.isnan(comparison.foreground()["mine"]).all()
    assert comparison.foreground_efficiency() == {}


def test_no_foreground_efficiency_without_a_gap():
    comparison = made_comparison()
    for record in comparison._references["full supervision"]:
        record["metrics"]["dice"] = 0.3
    assert comparison.foreground_efficiency() == {}
    for record in comparison._references["full supervision"]:
        record["metrics"]["dice"] = 0.56
    found = comparison.foreground_efficiency()
    assert found and all(np.isinf(rate) for rate in found.values())


def test_forecasts_and_how_they_held(small, written):
    test = small.backtest()
    each = [backtest(x[0], y.mean(axis=0)) for x, y in small.curves().values()]
    assert test.n == sum(one.n for one in each) == 4
    assert test.mean_error == pytest.approx(np.mean([one.mean_error for one in each]))
    assert test.coverage == pytest.approx(np.mean([one.coverage for one in each]))
    found = small.forecast(6)["mine"]
    cells = {row[0]: row[1:] for row in rows_of(written[0], "What more masks would bring")}
    assert cells["mine"][1:] == [
        f"{100 * found.mean:.1f}",
        f"{100 * found.low:.1f} to {100 * found.high:.1f}",
    ]
    text = " ".join(written[1].text.split())
    assert "after 6 more masks" in text and "With all 20 masks it was" in text
    assert f"{round(4 * test.coverage)} of 4 intervals" in text and "at most 2 masks ahead" in text
    assert made_comparison(n_rounds=3).backtest() is None


def test_no_forecast_beyond_the_images_there_are(tmp_path, no_figures):
    comparison = made_comparison()
    comparison.config["data"]["n_train"] = 13
    assert "after 3 more masks" in read(comparison.to_html(tmp_path / "a.html"))[1].text
    comparison.config["data"]["n_train"] = 10
    assert "more masks would bring" not in read(comparison.to_html(tmp_path / "b.html"))[1].text


# -- tables --


def test_numbers(small):
    numbers = comparison_numbers(small).set_index("row")
    assert list(numbers.index) == [*small.names, *REFERENCES]
    _, y = small.curves()["mine"]
    mine = numbers.loc["mine"]
    assert mine["seeds"] == 3
    assert mine["final"] == pytest.approx(100 * y[:, -1].mean())
    assert mine["final_sd"] == pytest.approx(100 * y[:, -1].std(ddof=1))
    areas = small.areas()
    test = paired_t(areas["mine"] - areas["random"])
    assert mine[["difference", "low", "high"]].astype(float).to_numpy() == pytest.approx(
        100 * np.array([test.mean, *test.interval])
    )
    row = small.verdict()["mine"]
    assert (mine["p_holm"], mine["p_sign"], mine["floor_sign"]) == (row.p_holm, row.p_sign, 0.25)
    full = small.references()["full supervision"].mean()
    assert mine["masks_90"] == labels_to_reach([4, 6, 8, 10], y.mean(axis=0), 0.9 * full)
    assert np.isinf(numbers.loc["random", "masks_99"])
    assert mine["final_low"] < mine["final_difference"] < mine["final_high"]
    assert mine["query_seconds"] == pytest.approx(4.5) and mine["peak_mib"] == 853
    assert numbers.loc["full supervision", "masks"] == 20
    assert np.isnan(numbers.loc["random", "difference"])


def test_table_to_be_read(small):
    table = comparison_table(small).set_index("row")
    assert table.map(lambda cell: type(cell) is str).all(axis=None)
    assert table.loc["random", "masks to 99 %"] == ">10"
    assert re.fullmatch(r"\d\d\.\d ± \d\.\d", table.loc["mine", "Dice"])
    assert re.fullmatch(r"\+\d\.\d \[-?\d\.\d, \d\.\d\]", table.loc["mine", "difference to random"])
    assert table.loc["mine", "p (sign-flip)"] == "0.25 (least 0.25)"
    assert "masks with validation" not in table
    more = comparison_table(made_comparison(validation=5)).set_index("row")
    assert more.loc["mine", ["masks", "masks with validation"]].tolist() == ["10", "15"]
    plain = comparison_table(made_comparison(references=False))
    assert not [name for name in plain if name.startswith("masks to")]


def test_a_row_outside_the_family_has_no_adjusted_p():
    comparison = made_comparison()
    comparison.family = ["mine"]
    numbers = comparison_numbers(comparison).set_index("row")
    assert np.isfinite(numbers["p_value"]["entropy"]) and np.isnan(numbers["p_holm"]["entropy"])
    assert numbers["p_holm"]["mine"] == numbers["p_value"]["mine"]


def test_metrics_have_names():
    assert metric_name("dice") == "Dice" and metric_name("pooled_dice") == "Dice, pooled"


# -- figures --


def test_mean_and_interval_of_a_curve():
    y = np.array([[50.0, 60.0, 70.0], [54.0, 66.0, np.nan]])
    ax = plots.learning_curve({"a": y}, [4, 6, 8])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [52, 63, np.nan])
    assert [line.get_label() for line in ax.lines] == ["a", "_seed", "_seed"]
    _, low, high = plots.mean_interval(y)
    interval = paired_t(y[:, 1]).interval
    assert (low[1], high[1]) == pytest.approx(interval) and np.isnan(low[2])
    # Two seeds have a band as wide as 76: the axes are those of the curves.
    assert high[1] - low[1] > 70 and ax.get_ylim()[0] > 45 and ax.get_ylim()[1] < 75
    without = plots.learning_curve({"a": y}, [4, 6, 8], seeds=False, confidence=None, named=False)
    assert len(without.lines) == 1 and not without.collections and not without.texts


@pytest.mark.parametrize("seeds", [True, False])
@pytest.mark.parametrize("n_rows", [1, 5])
def test_limits_hold_curves_seeds_and_bands(seeds, n_rows):
    rng = np.random.default_rng(0)
    curves = {f"row {k}": rng.normal(80 + k, 3, (5, 4)) for k in range(n_rows)}
    ax = plots.learning_curve(curves, [4, 6, 8, 10], seeds=seeds)
    bottom, top = ax.get_ylim()
    for y in curves.values():
        _, low, high = plots.mean_interval(y)
        assert bottom < min(low.min(), y.min()) and max(high.max(), y.max()) < top
    drawn = np.concatenate([band.get_paths()[0].vertices[:, 1] for band in ax.collections])
    assert bottom < drawn.min() and drawn.max() < top
    assert top - bottom < 1.2 * (max(drawn.max(), np.max([*curves.values()])) - drawn.min() + 9)


def test_references_are_lines_near_the_curves_and_words_far_off():
    references = {"full": [79.0, 81.0], "ones": 5.0, "none": [np.nan]}
    ax = plots.learning_curve({"a": [60.0, 70, 75]}, [4, 6, 8], references=references)
    assert ax.get_ylim()[0] > 50 and ax.get_ylim()[1] > 80
    assert {t.get_text() for t in ax.texts} == {"full 80.0", "↓ ones 5.0", "a 75.0"}
    flat = [line for line in ax.lines if set(np.ravel(line.get_ydata())) == {80.0}]
    assert len(flat) == 1


def test_what_is_far_below_stands_clear_of_a_line_at_the_foot():
    references = {"ones": 64.0, "weak": 31.0}
    ax = plots.learning_curve({"a": [66.0, 77, 81]}, [4, 6, 8], references=references)
    ax.figure.canvas.draw()
    (weak,) = [text for text in ax.texts if text.get_text() == "↓ weak 31.0"]
    top = ax.transData.inverted().transform(weak.get_window_extent().corners())[:, 1].max()
    assert ax.get_ylim()[0] < top < 64.0


def test_costs_are_compared_where_they_are_equal():
    x = [[0.0, 10, 20], [0, 5, 40]]
    y = [[0.0, 10, 20], [0, 20, 90]]
    line = plots.cost_curve({"a": (x, y)}).lines[0]
    assert line.get_xdata().tolist() == [0, 5, 10, 20]  # the first seed ends at 20
    assert line.get_ydata().tolist() == [0, 12.5, 20, 35]
    again = plots.cost_curve({"a": ([[0.0, 10, 10]], [[1.0, 2, 3]])}).lines[0]
    assert again.get_ydata().tolist() == [1, 2, 3]
    apart = plots.cost_curve({"a": ([[0.0, 1], [2, 3]], [[1.0, 2], [3, 4]])})
    assert len(apart.lines[0].get_xdata()) == 0 and len(apart.lines) == 3
    with pytest.raises(ValueError, match="of one shape"):
        plots.cost_curve({"a": ([1, 2], [1, 2, 3])})


def test_differences_are_paired():
    curves = {"random": [[60.0, 70], [40, 50]], "a": [[61.0, 74], [41, 56]]}
    ax = plots.paired_differences(curves, "random", [4, 6])
    assert ax.lines[0].get_ydata().tolist() == [1, 5]
    assert [t.get_text() for t in ax.texts] == ["a +5.0"]
    assert ax.get_ylim()[0] < 0
    with pytest.raises(ValueError, match="control must be one of .*Did you mean 'random'"):
        plots.paired_differences(curves, "randon", [4, 6])
    with pytest.raises(ValueError, match=r"curves\['a'\] must be of shape \(2, 2\)"):
        plots.paired_differences({**curves, "a": [[1.0, 2]]}, "random", [4, 6])


def test_intervals_of_areas():
    ax = plots.area_intervals({"a": (1.0, -1.0, 3.0), "b": (2.0, -np.inf, np.inf)})
    spans = [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "None"]
    assert spans == [[-1, 3], [0, 0]]  # and the line at zero
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row on top


def test_heatmap():
    ax = plots.penalty_heatmap([[0, 0.25], [0, 0]], ["a", "b"])
    shown = [(patch.get_x() > 0, patch.get_alpha() > 0) for patch in ax.patches]
    assert shown == [(True, True), (False, False)]
    with pytest.raises(ValueError, match=r"matrix must be of shape \(3, 3\)"):
        plots.penalty_heatmap([[0, 1], [0, 0]], ["a", "b", "c"])


def test_bars_of_rows_that_lack_parts():
    ax = plots.bars({"a": {"fit": 30.0, "query": 1234.5}, "b": {"fit": 25.0}})
    assert sorted(t.get_text() for t in ax.texts) == ["fit 25", "fit 30", "query 1234"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    ax = plots.bars({"a": {"fit": 800.0}, "b": {}})
    assert [t.get_text() for t in ax.texts] == ["fit 800"]


def test_curves_of_a_comparison(small):
    ax = plots.new_axes()
    assert draw_curves(small, ax) is ax
    assert {"random", "mine"} <= {line.get_label() for line in ax.lines}
    assert draw_curves(small, x="clicks", metric="mean_iou").get_ylabel() == "mean IoU (%)"
    assert small.plot(x="pixels").get_xlabel() == "pixels annotated"


def test_text_stays_as_it_is_in_a_figure():
    import matplotlib

    for name in HOSTILE:
        with matplotlib.rc_context(figure_style("salt")):
            ax = plots.learning_curve({name: [1.0, 2.0]}, [4, 6], plots.new_axes())
            svg = as_svg(ax.figure, name)
        page = Outline(svg)
        assert page.open == [] and f"{name} 2.0" in page.text
        assert page.svgs[0]["aria-label"] == name


def luminance(colour):
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_colours_stand_out_from_the_page():
    light, dark, printed = (
        dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6})", block))
        for block in re.findall(r":root \{(.*?)\}", STYLE, re.S)
    )
    for name, short in printed.items():
        printed[name] = short if len(short) == 7 else "#" + "".join(2 * c for c in short[1:])
    for mode in (light, dark, printed):
        for number in range(1, 8):
            assert contrast(mode[f"c{number}"], mode["page"]) >= 4.5
        assert contrast(mode["ink"], mode["page"]) >= 7
        assert contrast(mode["soft"], mode["page"]) >= 4.5
    for colour in (*plots.COLOURS, plots.CONTROL_COLOUR):
        assert min(contrast(colour, "#ffffff"), contrast(colour, "#14161a")) >= 3
