"""One-file HTML report of a run: learning curve, scores, and the images asked for each round."""

from html import escape
from pathlib import Path

from alseg.experiment import read_records, told_groups
from alseg.report.page import (
    ROW_COLOURS,
    as_svg,
    details,
    duration,
    facts,
    figure_style,
    page,
    picture,
    write_page,
)
from alseg.report.plots import learning_curve, new_axes
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


def panel_path(folder, round_, sample_id, kind):
    """Where the picture of an image that was asked for in a round lies."""
    return Path(folder) / PANELS / f"round_{round_:03d}" / f"{sample_id:06d}_{kind}.jpg"


def write_report(folder, path=None):
    """Write the report of a run as one HTML file.

    Parameters
    ----------
    folder : str or Path
        What `alseg run --out` or `alseg.experiment.run` has written: `records.jsonl` and,
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
    NotOurs
        If a file is at `path` that alseg did not write.
    """
    folder = Path(folder)
    folder = folder if folder.is_dir() else folder.parent
    records = read_records(folder)
    if not records:
        raise FileNotFoundError(f"no records at {folder} yet. Wait for the first round to end.")
    path = folder / "report.html" if path is None else Path(path)
    title, body = _body(records, folder)
    return write_page(path, page(title, body))


def _per_cent(value):
    return "–" if value is None else f"{100 * value:.1f}"


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
        details("Options", config),
        details("Machine and versions", last.get("environment", {})),
        details(
            "Seconds and memory of the last round",
            {"seconds": last.get("seconds"), "memory_mib": last.get("memory_mib")},
        ),
    ]
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
    torn = told_groups(last.get("torn_groups"))
    return text + (f". {torn}: scores speak about patients that were seen." if torn else ".")


def _facts(records):
    first, last = records[0], records[-1]
    start, end = (lookup(r, ("metrics", "dice")) for r in (first, last))
    total = sum(sum(filter(None, (r.get("seconds") or {}).values())) for r in records)
    found = [("Dice", _per_cent(end), "")]
    if len(records) > 1 and None not in (start, end):
        found.append(("gain over seed set", f"{100 * (end - start):+z.1f}", ""))
    pool = lookup(last, ("config", "data", "n_train"))
    found.append(("masks", str(last.get("n_masks")), f" of {pool}" if pool else ""))
    if last.get("n_masks_validation"):
        found.append(("masks for validation", str(last["n_masks_validation"]), ""))
    accuracy = lookup(last, ("metrics", "class_accuracy"))
    if accuracy is not None:
        found.append(("class accuracy", _per_cent(accuracy), ""))
    found.append(("time", duration(total), ""))
    return facts(found)


def run_curve(records):
    """Draw Dice and mean IoU of a run against its masks.

    Parameters
    ----------
    records : list of dict

    Returns
    -------
    ax : matplotlib.axes.Axes
    """
    return learning_curve(*_curves_of(records), new_axes(8.0, 4.5), y_label="per cent")


def _curves_of(records):
    """Curves in per cent by name, and the masks of the rounds."""
    curves = {}
    for name, key in {"Dice": "dice", "mean IoU": "mean_iou"}.items():
        values = [lookup(record, ("metrics", key)) for record in records]
        if any(value is not None for value in values):
            curves[name] = [float("nan") if v is None else 100 * v for v in values]
    return curves, [record["n_masks"] for record in records]


def _curve(records):
    curves, masks = _curves_of(records)
    if not curves:
        return ""
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

    with matplotlib.rc_context(figure_style(kind)):
        colours = dict(zip(curves, ROW_COLOURS))
        ax = learning_curve(curves, masks, new_axes(*size), y_label="per cent", colours=colours)
        # The names at the ends of the curves stand outside the axes.
        ax.figure.set_layout_engine(None)
        width, height = size
        ax.set_position([0.62 / width, 0.6 / height, 1 - 1.95 / width, 1 - 0.75 / height])
        return as_svg(ax.figure, alt)


def _by_label(record):
    groups = lookup(record, ("metrics", "by_label"))
    if not groups:
        return ""
    import pandas as pd

    headings = {
        "n_images": "images",
        "dice": "Dice",
        "dice_background": "Dice, background",
        "mean_iou": "mean IoU",
        "object_dice": "object Dice",
        "object_f1": "object F1",
        "class_accuracy": "class accuracy",
    }
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
