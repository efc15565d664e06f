"""The report is one file that needs nothing else; figures take axes and give them back."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from alseg.experiment.records import Records
from alseg.files import NotOurs
from alseg.labels import MISSING
from alseg.report.pictures import OUTLINE_COLOURS, fit_within, outline, overlay
from alseg.report.plots import learning_curve
from alseg.report.run_page import panel_path, write_report
from alseg.report.tables import as_html, as_markdown, rounds_table


def write_run(folder, n_rounds=2, pictures=True, strange="<b>&"):
    config = {"strategy": "entropy", "data": {"name": f"toy {strange}", "n_train": 20}}
    with Records(folder, config) as records:
        for round_ in range(n_rounds):
            dice = 0.5 + 0.1 * round_
            asked = [{"sample_id": round_, "id": f"image {strange}", "label": "a"}]
            if round_:
                asked[0] |= {"predicted_label": "b", "dice": 0.25, "uncertainty": 0.125}
            kinds = ("image", "mask") if round_ == 0 else ("image", "prediction", "cam", "mask")
            for kind in kinds if pictures else ():
                path = panel_path(folder, round_, round_, kind)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 24), (200, 30 * round_, 90)).save(path)
            records.append(
                {
                    "round": round_,
                    "strategy": "entropy",
                    "seed": 0,
                    "sample_ids": [round_],
                    "asked": asked,
                    "n_masks": 4 + round_,
                    "n_masks_validation": 0,
                    "metrics": {
                        "dice": dice,
                        "mean_iou": dice - 0.1,
                        "object_f1": None,
                        "by_label": {"a": {"n_images": 3, "dice": dice, "mean_iou": None}},
                    },
                    "seconds": {"fit": 2.0},
                    "environment": {"torch_threads": 1},
                }
            )
    return folder


class Page(HTMLParser):
    """Collects what a page refers to, and whether its elements are closed."""

    VOID = {"meta", "img", "br", "link", "path", "use", "rect", "input"}

    def __init__(self, text):
        super().__init__()
        self.references, self.images, self.open, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        named = ("src", "href", "xlink:href", "data")
        self.references += [value for name, value in attrs.items() if name in named]
        if tag == "img":
            self.images.append(attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_one_file_that_needs_nothing_else(tmp_path):
    path = write_report(write_run(tmp_path))
    assert path == tmp_path / "report.html"
    text = path.read_text("utf-8")
    page = Page(text)
    assert page.open == []
    assert all(r.startswith(("data:image/", "#")) for r in page.references)
    assert not re.search(r"url\((?!#)|@import|<script|<link", text)
    assert len(page.images) == 6 and all(image["alt"] for image in page.images)
    for mode in ("prefers-color-scheme: dark", "@media print", "max-width: 36rem"):
        assert mode in text
    assert not list(tmp_path.glob(".*tmp"))


@pytest.mark.parametrize("theirs", ["<html>my thesis</html>", "", "edited"])
def test_a_report_takes_the_place_of_an_unchanged_report_alone(tmp_path, theirs):
    run = write_run(tmp_path / "run")
    path = write_report(run, tmp_path / "page.html")
    assert write_report(run, path) == path
    whole = path.read_text("utf-8")
    theirs = whole.replace("<h1>", "<h1>My notes. ") if theirs == "edited" else theirs
    path.write_text(theirs, "utf-8")
    with pytest.raises(
        NotOurs, match="page.html is there and alseg did not write it.*Move it away"
    ):
        write_report(run, path)
    assert path.read_text("utf-8") == theirs
    older = re.sub('<meta name="generator".*\n', "", whole)  # it told itself by its policy alone
    path.write_text(older, "utf-8")
    write_report(run, path)
    assert path.read_text("utf-8") == whole


def test_what_it_says(tmp_path):
    text = write_report(write_run(tmp_path)).read_text("utf-8")
    page = Page(text)
    assert "With 4 masks the test images are segmented at a Dice of 50.0; with 5" in page.text
    assert "+10.0" in page.text and "5 of 20" in page.text
    assert "image <b>&" in page.text and "toy <b>&" in page.text  # names are escaped
    assert "predicted b" in page.text and "Dice 25.0 when asked" in page.text
    for drawn in re.findall(r"<svg.*?</svg>", text, re.S):
        assert "var(--c1)" in drawn
        assert not re.search(r"#0102[0-9a-f]{2}\b", drawn)  # every stand-in replaced
        assert "Dice 50.0 at 4 masks, 60.0 at 5 masks" in drawn


def test_report_of_a_run_that_is_going_on(tmp_path):
    write_run(tmp_path, n_rounds=1, pictures=False)
    with open(tmp_path / "records.jsonl", "ab") as file:
        file.write(b'{"round": 1, "strat')
    before = (tmp_path / "records.jsonl").read_bytes()
    path = write_report(tmp_path, tmp_path / "sub" / "page.html")
    page = Page(path.read_text("utf-8"))
    assert page.images == [] and "Seed set" in page.text and "Round 1" not in page.text
    assert (tmp_path / "records.jsonl").read_bytes() == before


def test_no_records(tmp_path):
    with pytest.raises(FileNotFoundError, match="no records at"):
        write_report(tmp_path)
    (tmp_path / "records.jsonl").touch()
    with pytest.raises(FileNotFoundError, match="Wait for the first round"):
        write_report(tmp_path)


def test_tables(tmp_path):
    records = [
        {"round": 0, "n_masks": 4, "metrics": {"dice": 0.5, "object_dice": None}},
        {"round": 1, "n_masks": 6, "metrics": {"dice": 0.6251, "object_dice": 0.25}},
    ]
    table = rounds_table(records)
    assert list(table.columns) == ["round", "masks", "Dice", "object Dice"]
    rows = as_markdown(table).splitlines()[2:]
    assert rows == ["| 0 | 4 | 50.0 | – |", "| 1 | 6 | 62.5 | 25.0 |"]
    assert "<td>62.5</td>" in as_html(table)
    table = table.rename(columns={"Dice": "a<b"})
    assert "a&lt;b" in as_html(table, caption="c<d") and "c&lt;d" in as_html(table, caption="c<d")


def test_learning_curve_takes_and_returns_axes():
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    seeds = np.array([[50.0, 60.0, 70.0], [54.0, 66.0, 68.0]])
    assert learning_curve({"a": seeds, "b": [40, np.nan, 60]}, [4, 6, 8], ax) is ax
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [52, 63, 69])
    assert len(ax.collections) == 1  # the band of the mean
    assert [line.get_label() for line in ax.lines] == ["a", "_seed", "_seed", "b"]
    names = sorted(text.get_text() for text in ax.texts)
    assert names == ["a 69.0", "b 60.0"]
    with pytest.raises(ValueError, match=r"curves\['a'\] must be of 2 rounds, as x, got 3"):
        learning_curve({"a": seeds}, [4, 6])


def test_names_at_the_ends_do_not_touch():
    ax = learning_curve({"a": [1.0, 50.0], "b": [99.0, 50.1], "c": [2.0, 50.2]}, [0, 1])
    heights = sorted(text.xyann[1] for text in ax.texts)
    assert np.diff(heights).min() > 8  # points


def test_outline_follows_the_mask():
    mask = np.zeros((16, 24), int)
    mask[4:12, 6:18] = 1
    mask[:2] = MISSING
    drawn = outline(np.full((16, 24, 3), 100, np.uint8), mask, side=96)
    line = (drawn == OUTLINE_COLOURS[0]).all(-1)
    assert drawn.shape == (64, 96, 3)
    assert line[14:20, 30:66].any() and not line[24:40, 36:60].any() and not line[:8].any()
    assert (drawn[30, 48] == 100).all()
    empty = outline(np.full((16, 24), 0.5), np.zeros((16, 24), int), side=24)
    assert (empty == 128).all()


def test_overlay_shows_the_map():
    image = np.zeros((8, 8, 3), np.uint8)
    values = np.zeros((2, 2))
    values[0, 0] = 3
    picture = overlay(image, values, side=32)
    assert picture[0, 0].sum() > picture[-1, -1].sum()
    flat = overlay(image, np.full((2, 2), 5.0), side=32)
    assert (flat == flat[0, 0]).all()  # no contrast is made up where there is none
    same_scale = overlay(image, values, side=32, low=0, high=300)
    assert same_scale[0, 0].sum() < picture[0, 0].sum()


def test_fit_within():
    assert fit_within(np.zeros((10, 40)), 20).shape == (5, 20, 3)
    assert fit_within(np.ones((10, 10, 1), np.float32), 20).max() == 255
    assert fit_within(np.zeros((1000, 1, 3), np.uint8), 20).shape == (20, 1, 3)
