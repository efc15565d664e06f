"""One-file HTML report: the learning curve, the scores, and the images asked for in each round."""

import base64
import io
import json
import re
from html import escape
from pathlib import Path

from alseg.experiment.records import read_records, write_text
from alseg.report.tables import as_html, lookup, rounds_table

PANELS = "panels"
KINDS = {
    "image": "image",
    "prediction": "prediction",
    "cam": "class activation",
    "uncertainty": "uncertainty",
    "mask": "true mask",
}
"""Pictures of an asked image: end of the file name, and what the reader sees under it."""

STYLE = """
:root { color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1b1d22; --soft: #626874; --line: #e3e4e1;
  --one: #1f5fbf; --two: #b4531a; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14161a; --card: #1c1f25; --ink: #e8e9ec; --soft: #9da4b1; --line: #31353e;
  --one: #7fb0ff; --two: #f0a36b; } }
@media print { :root { --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #ccc;
  --one: #1f5fbf; --two: #b4531a; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 3rem 1.5rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; font-weight: 650; letter-spacing: -.01em;
  margin: 0 0 .4rem; }
h2 { font-size: 1.15rem; line-height: 1.3; font-weight: 650; margin: 3rem 0 .75rem; }
h3 { font-size: 1rem; font-weight: 600; margin: 2rem 0 .5rem; }
p { margin: 0 0 .75rem; max-width: 42rem; }
.soft, caption, figcaption, summary { color: var(--soft); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr));
  margin: 2rem 0 0; padding: 0; border-top: 1px solid var(--line); }
.facts div { padding: .9rem 1rem .2rem 0; }
.facts dt { color: var(--soft); font-size: .82rem; white-space: nowrap; }
.facts dd { margin: 0; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.facts small { font-size: .82rem; font-weight: 400; color: var(--soft); }
figure { margin: 0; }
.curve svg { display: block; width: 100%; height: auto; }
.curve .narrow { display: none; }
.curve figcaption { font-size: .85rem; margin-top: .5rem; max-width: 42rem; }
.wide-table { overflow-x: auto; }
table.small { width: auto; min-width: min(100%, 26rem); }
table { border-collapse: collapse; width: 100%; font-size: .88rem;
  font-variant-numeric: tabular-nums; }
th { font-weight: 500; color: var(--soft); vertical-align: bottom; line-height: 1.25; }
th, td { text-align: right; padding: .42rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.asked { margin: 0 0 1.1rem; padding: .8rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px; break-inside: avoid; }
.asked header { display: flex; flex-wrap: wrap; gap: .1rem .9rem; align-items: baseline;
  font-size: .88rem; margin-bottom: .6rem; }
.asked header b { font-weight: 600; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); gap: .6rem; }
.seed { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr));
  gap: .8rem; }
.seed .asked { margin: 0; }
.seed .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.tiles img { display: block; width: 100%; height: auto; border-radius: 4px; }
.tiles figcaption { font-size: .76rem; line-height: 1.3; margin-top: .25rem; }
details { margin-top: 1rem; font-size: .88rem; }
summary { cursor: pointer; }
pre { overflow-x: auto; padding: .9rem 1rem; background: var(--card); font-size: .8rem;
  line-height: 1.45; border: 1px solid var(--line); border-radius: 8px; }
a { color: var(--one); }
@media (max-width: 36rem) {
  main { padding: 1.75rem 1rem 3rem; }
  h1 { font-size: 1.45rem; }
  .facts { grid-template-columns: repeat(2, 1fr); }
  .round .tiles { grid-template-columns: repeat(3, minmax(0, 1fr)); }
  .curve .wide { display: none; } .curve .narrow { display: block; }
}
@media print {
  body { font-size: 11pt; } main { max-width: none; padding: 0; }
  .wide-table { overflow: visible; } th, td { padding: .25rem .3rem; font-size: 8pt; }
  h2, h3 { break-after: avoid; }
}
"""

# Colours that stand for CSS variables while matplotlib draws, so that one figure serves both modes.
_STAND_INS = {"#010203": "--ink", "#040506": "--soft", "#070809": "--line",
              "#0a0b0c": "--one", "#0d0e0f": "--two"}  # fmt: skip


def page(title, body):
    """A whole HTML page around `body`, with this module's style and nothing from elsewhere."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def picture(path, alt):
    """An `img` element that holds the file itself."""
    path = Path(path)
    kind = "png" if path.suffix.lower() == ".png" else "jpeg"
    return embedded(path.read_bytes(), kind, alt)


def embedded(data, kind, alt):
    """An `img` element that holds the bytes of a "jpeg" or "png" file."""
    data = base64.b64encode(data).decode("ascii")
    return f'<img alt="{escape(alt)}" loading="lazy" src="data:image/{kind};base64,{data}">'


def panel_path(folder, round_, sample_id, kind):
    """Where the picture of an image that was asked for in a round lies."""
    return Path(folder) / PANELS / f"round_{round_:03d}" / f"{sample_id:06d}_{kind}.jpg"


def write_report(folder, path=None):
    """Write the report of a run as one HTML file.

    Parameters
    ----------
    folder : str or Path
        What `alseg run --out` or `alseg.experiment.run.run` has written: `records.jsonl` and,
        for the pictures, `panels/`. The run may still be going on.
    path : str or Path or None, default=None
        None is `report.html` in the folder.

    Returns
    -------
    path : Path

    Raises
    ------
    FileNotFoundError, RecordsError
        If there are no records, or they cannot be read.
    """
    folder = Path(folder)
    folder = folder if folder.is_dir() else folder.parent
    records = read_records(folder)
    if not records:
        raise FileNotFoundError(f"no records at {folder} yet. Wait for the first round to end.")
    path = folder / "report.html" if path is None else Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    title, body = _body(records, folder)
    return write_text(path, page(title, body))


def _per_cent(value):
    return "–" if value is None else f"{100 * value:.1f}"


def _duration(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _body(records, folder):
    first, last = records[0], records[-1]
    config = last.get("config", {})
    data = lookup(config, ("data", "name")) or "images"
    title = f"Active learning by {last.get('strategy', 'an unnamed strategy')} on {data}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(_lead(records))}</p>',
        _facts(records),
        "<h2>Learning curve</h2>",
        _curve(records),
        "<h2>Scores by round</h2>",
        f'<div class="wide-table">{as_html(rounds_table(records))}</div>',
        '<p class="soft" style="font-size:.85rem;margin-top:.75rem">Per cent, mean over the test '
        "images unless it says pooled. Two empty masks agree (100). Object Dice and F1 compare "
        "single objects, where the data says which pixel belongs to which.</p>",
        _by_label(last),
        "<h2>Images asked for</h2>",
        '<p class="soft">Each picture shows the model that asked, before it had seen the mask: '
        "outlines of the predicted and of the true mask, the class activation map of the predicted "
        "class, and the uncertainty of each pixel; bright is strong.</p>",
        *(_round(record, folder) for record in records),
        "<h2>How this was run</h2>",
        _details("Options", config),
        _details("Machine and versions", last.get("environment", {})),
        _details("Seconds and memory of the last round",
                 {"seconds": last.get("seconds"), "memory_mib": last.get("memory_mib")}),
    ]  # fmt: skip
    if first.get("round") != 0:
        parts.insert(2, "<p>The first rounds are not in these records.</p>")
    return title, "\n".join(part for part in parts if part)


def _lead(records):
    first, last = records[0], records[-1]
    start, end = (lookup(r, ("metrics", "dice")) for r in (first, last))
    text = f"Seed {last.get('seed')}. "
    if start is None or end is None:
        return text + f"{last.get('n_masks')} masks after {len(records) - 1} rounds."
    text += f"With {first['n_masks']} masks the test images are segmented at a Dice of "
    text += f"{_per_cent(start)}"
    if len(records) > 1:
        text += f"; with {last['n_masks']} masks, at {_per_cent(end)}"
    return text + "."


def _facts(records):
    first, last = records[0], records[-1]
    start, end = (lookup(r, ("metrics", "dice")) for r in (first, last))
    total = sum(sum(filter(None, (r.get("seconds") or {}).values())) for r in records)
    facts = [("Dice", _per_cent(end), "")]
    if len(records) > 1 and None not in (start, end):
        facts.append(("gain over seed set", f"{100 * (end - start):+.1f}", ""))
    pool = lookup(last, ("config", "data", "n_train"))
    facts.append(("masks", str(last.get("n_masks")), f" of {pool}" if pool else ""))
    if last.get("n_masks_validation"):
        facts.append(("masks for validation", str(last["n_masks_validation"]), ""))
    accuracy = lookup(last, ("metrics", "class_accuracy"))
    if accuracy is not None:
        facts.append(("class accuracy", _per_cent(accuracy), ""))
    facts.append(("time", _duration(total), ""))
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>"
        for name, value, more in facts
    )
    return f'<dl class="facts">{items}</dl>'


def _curve(records):
    series = {"Dice": "dice", "mean IoU": "mean_iou"}
    curves = {}
    for name, key in series.items():
        values = [lookup(record, ("metrics", key)) for record in records]
        if any(value is not None for value in values):
            curves[name] = [float("nan") if v is None else 100 * v for v in values]
    if not curves:
        return ""
    masks = [record["n_masks"] for record in records]
    alt = "; ".join(
        f"{name} {values[0]:.1f} at {masks[0]} masks, {values[-1]:.1f} at {masks[-1]} masks"
        for name, values in curves.items()
    )
    drawn = "".join(
        f'<div class="{kind}">{_svg(curves, masks, size, kind, alt)}</div>'
        for kind, size in (("wide", (9.2, 3.5)), ("narrow", (4.0, 3.2)))
    )
    return (
        f'<figure class="curve">{drawn}<figcaption>Scores on the test images against the number of '
        "masks that the oracle has given, one point a round.</figcaption></figure>"
    )


def _svg(curves, masks, size, kind, alt):
    import matplotlib

    from alseg.report.plots import learning_curve, new_axes

    names = {variable: colour for colour, variable in _STAND_INS.items()}
    style = {
        "svg.fonttype": "none", "svg.hashsalt": kind, "font.size": 10.5,
        "text.color": names["--ink"], "axes.labelcolor": names["--soft"],
        "xtick.color": names["--soft"], "ytick.color": names["--soft"],
        "axes.edgecolor": names["--line"], "grid.color": names["--line"],
        "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
    }  # fmt: skip
    with matplotlib.rc_context(style):
        colours = dict(zip(curves, (names["--one"], names["--two"])))
        ax = learning_curve(curves, masks, new_axes(*size), y_label="per cent", colours=colours)
        # The names at the ends of the curves stand outside the axes.
        ax.figure.set_layout_engine(None)
        width, height = size
        ax.set_position([0.62 / width, 0.6 / height, 1 - 1.95 / width, 1 - 0.75 / height])
        buffer = io.StringIO()
        ax.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"(font(?:-family)?:[^;\"']*?)'[^;\"]*", r"\1system-ui, sans-serif", svg)
    for colour, variable in _STAND_INS.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)


def _by_label(record):
    groups = lookup(record, ("metrics", "by_label"))
    if not groups:
        return ""
    import pandas as pd

    headings = {"n_images": "images", "dice": "Dice",
                "dice_background": "Dice, background", "mean_iou": "mean IoU",
                "object_dice": "object Dice", "object_f1": "object F1",
                "class_accuracy": "class accuracy"}  # fmt: skip
    rows = []
    for label, scores in groups.items():
        row = {"class": str(label)}
        for key, heading in headings.items():
            if scores.get(key) is not None:
                value = scores[key]
                row[heading] = value if heading == "images" else float(100 * value)
        rows.append(row)
    table = as_html(pd.DataFrame(rows)).replace("<table", '<table class="small"', 1)
    return f'<h3>By class, after the last round</h3>\n<div class="wide-table">{table}</div>'


def _round(record, folder):
    number = record["round"]
    asked = record.get("asked") or [
        {"sample_id": i, "id": str(i)} for i in record.get("sample_ids", [])
    ]
    cards = "\n".join(_card(item, number, folder) for item in asked)
    name, kind = ("Seed set", "seed") if number == 0 else (f"Round {number}", "round")
    after = _per_cent(lookup(record, ("metrics", "dice")))
    count = f"{len(asked)} image{'' if len(asked) == 1 else 's'}"
    return (
        f"<section>\n<h3>{name} <span class=soft style='font-weight:400'>· {count}, "
        f"Dice {after} after it</span></h3>\n<div class={kind}>{cards}</div>\n</section>"
    )


def _card(item, number, folder):
    name = str(item.get("id", item["sample_id"]))
    notes = []
    if item.get("label") is not None:
        notes.append(str(item["label"]))
    if item.get("predicted_label") is not None:
        right = item["predicted_label"] == item.get("label")
        notes.append("class predicted right" if right else f"predicted {item['predicted_label']}")
    if item.get("dice") is not None:
        notes.append(f"Dice {_per_cent(item['dice'])} when asked")
    if item.get("uncertainty") is not None:
        notes.append(f"uncertainty {item['uncertainty']:.3f}")
    tiles = []
    for kind, caption in KINDS.items():
        path = panel_path(folder, number, item["sample_id"], kind)
        if path.is_file():
            image = picture(path, f"{caption} of {name}")
            tiles.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    notes = "".join(f'<span class="soft">{escape(note)}</span>' for note in notes)
    pictures = f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""
    return f'<div class="asked"><header><b>{escape(name)}</b>{notes}</header>{pictures}</div>'


def _details(title, content):
    if not content:
        return ""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"
