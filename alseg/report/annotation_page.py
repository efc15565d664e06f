"""One-file HTML report of annotating a folder: how good the model got, and what it cost."""

from html import escape
from pathlib import Path

from alseg.report.page import (
    STAND_INS,
    as_svg,
    facts,
    figure_style,
    note,
    page,
    section,
    unbroken,
    write_page,
)
from alseg.report.plots import new_axes
from alseg.validation import counted


def write_annotation_report(path, found):
    """Write the report of a state folder.

    Parameters
    ----------
    path : str or Path
        Where no file is, or a report that nobody has changed since.
    found : dict
        What `alseg report STATE` has read: minutes, strokes, clicks, checks and estimates.

    Returns
    -------
    path : Path

    Raises
    ------
    NotOurs
        If another file is at `path`.
    """
    title = f"Annotation of {found['name']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{unbroken(escape(_lead(found)))}</p>',
        _facts(found),
        *section("Dice against minutes", _curve(found), _said(found)),
        *section("How good the model is", _estimates(found), _agreement(found)),
        *section("Where the minutes went", *_minutes(found)),
        *section("What is marked", _table(("", "images"), _mark_rows(found))),
        *section("What the number rests on", _checks(found)),
    ]
    return write_page(Path(path), page(title, "\n".join(part for part in parts if part)))


def _hundredths(value):
    return "–" if value is None else f"{100 * value:.0f}"


def _interval(row):
    if row["low"] is None:
        return "–"
    return f"{_hundredths(row['low'])} to {_hundredths(row['high'])}"


def _time(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _lead(found):
    text = f"{counted(found['n_marked'], 'image')} with a mask. "
    if found["minutes"]:  # none are known of masks that came as files
        n = counted(found["n_images"], "image")
        text = f"{found['minutes']:.0f} active minutes on {n}. "
    quality = found["quality"]
    if quality["dice"] is None:
        return text + "No check has been measured yet, so nothing is known of the model."
    return (
        text + f"On images that nobody has marked the model reaches a Dice of "
        f"{_hundredths(quality['dice'])}"
        + ("" if quality["low"] is None else f" ({_interval(quality)})")
        + f", by {_of_checks(quality)}: images drawn by chance, which it did not learn from."
    )


def _of_checks(quality):
    groups = quality.get("n_groups")
    of = "" if groups is None else f" of {counted(groups, 'group')}"
    return counted(quality["n_checks"], "check") + of


def _facts(found):
    quality = found["quality"]
    items = []
    if quality["dice"] is not None:
        items = [
            ("Dice", _hundredths(quality["dice"]), ""),
            ("95 % interval", _interval(quality), ""),
            ("checks", str(quality["n_checks"]), ""),
        ]
    if found["minutes"]:
        items += [
            ("active minutes", f"{found['minutes']:.0f}", ""),
            ("images", str(found["n_images"]), ""),
            ("strokes", str(found["strokes"]), ""),
            ("clicks", str(found["clicks"]), ""),
            ("points answered", str(found["points"]), ""),
        ]
    return facts(items) if items else ""


def _curve(found):
    curve = found["quality"]["curve"]
    if len(curve) < 2:
        return ""
    first, last = curve[0], curve[-1]
    alt = (
        f"Dice {_hundredths(first[1])} after {first[0]:.0f} active minutes, "
        f"{_hundredths(last[1])} after {last[0]:.0f}"
    )
    drawn = "".join(
        f'<div class="{kind}">{_svg(found, size, kind, alt)}</div>'
        for kind, size in (("wide", (9.2, 3.5)), ("narrow", (4.0, 3.0)))
    )
    return f'<figure class="curve">{drawn}<figcaption>{unbroken(_CAPTION)}</figcaption></figure>'


_CAPTION = (
    "Dice of the model behind the page on the checks held out then, with its 95 % interval over "
    "images; points are compared with the last one on the checks that both have. A tick is a "
    "check that was answered; the dotted line is what is forecast."
)


def _svg(found, size, kind, alt):
    import matplotlib

    quality = found["quality"]
    colour, soft = STAND_INS["c1"], STAND_INS["soft"]
    with matplotlib.rc_context(figure_style(kind)):
        ax = new_axes(*size)
        known = [point for point in quality["curve"] if point[2] is not None]
        if known:
            minutes, _, low, high = zip(*known)
            low, high = ([100 * value for value in ends] for ends in (low, high))
            ax.fill_between(minutes, low, high, color=colour, alpha=0.16, linewidth=0)
        minutes, dice, *_ = zip(*quality["curve"])
        ax.plot(minutes, [100 * value for value in dice], color=colour, linewidth=2)
        _draw_forecast(ax, quality, minutes[-1], colour)
        bottom = ax.get_ylim()[0]
        ticks = [at for at in found["check_minutes"] if at <= ax.get_xlim()[1]]
        ax.plot(ticks, [bottom] * len(ticks), "|", color=soft, markersize=9, clip_on=False)
        ax.set_ylim(bottom=bottom)
        ax.set_xlim(left=0)
        ax.set_xlabel("active minutes")
        ax.set_ylabel("Dice (%)")
        ax.grid(axis="y", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        return as_svg(ax.figure, alt)


def _draw_forecast(ax, quality, now, colour):
    ahead = quality["forecast"]
    if ahead is None:
        return
    at, dice = now + ahead["after"], 100 * ahead["dice"]
    ax.plot([now, at], [100 * quality["dice"], dice], ":", color=colour, linewidth=2)
    reach = [[dice - 100 * ahead["low"]], [100 * ahead["high"] - dice]]
    ax.errorbar([at], [dice], yerr=reach, color=colour, fmt="o", markersize=4, capsize=3)


def _said(found):
    quality = found["quality"]
    ahead, text = quality["forecast"], []
    if ahead is not None:
        text.append(
            f"After {ahead['after']:.0f} more minutes about {_hundredths(ahead['dice'])} "
            f"({_interval(ahead)}, 90 %), by {ahead['n_points']} points of the curve and "
            f"{ahead['n_checks']} checks."
        )
    if quality["advice"]["text"]:
        text.append(quality["advice"]["text"])
    return f'<p style="margin-top:.75rem">{unbroken(escape(" ".join(text)))}</p>' if text else ""


def _estimates(found):
    rows = [
        (row["name"], _hundredths(row["value"]), _interval(row), str(row["n"]))
        for row in found["estimates"]
    ]
    if not rows:
        return ""
    return _table(("", "per cent", "95 % interval", "checks"), rows) + note(
        "Over images that nobody has marked, each alike. Accuracy is without bias; that of Dice "
        "and IoU, ratios over all checks, falls as one over their number. With more than two "
        "classes they are means over those above the background. An interval from few images "
        "misses failures that are rarer than one in as many."
    )


def _agreement(found):
    agreement = found["quality"]["agreement"]
    if agreement is None:
        return ""
    return note(
        f"Proposals agreed with what was drawn on the last {agreement['n']} images that were no "
        f"checks by a Dice of {_hundredths(agreement['dice'])}. Those images were asked for "
        "because they are hard, and what was drawn began with the proposal: it is no estimate."
    )


_EFFORT = ("minutes", "share", "times", "strokes", "clicks", "points")


def _minutes(found):
    if not found["kinds"]:
        return []
    parts = [
        "<h3>By kind of answer</h3>",
        _table(("", *_EFFORT), _effort_rows(found["kinds"])),
    ]
    if len(found["labels"]) > 1 or found["labels"][0]["name"] != "not known":
        parts += [
            "<h3>By class label</h3>",
            _table(("", *_EFFORT), _effort_rows(found["labels"])),
        ]
    seconds = found["seconds"]
    if seconds["longest"]:
        half = unbroken(_time(seconds["median"]))
        parts += [
            "<h3>By image</h3>",
            f"<p>Half of the images took less than {half}. Those that took longest:</p>",
            _table(("", "time"), [(name, _time(value)) for name, value in seconds["longest"]]),
        ]
    return parts


def _effort_rows(rows):
    total = sum(row["minutes"] for row in rows)
    for row in rows:
        share = row["minutes"] / total if total else 0
        yield (
            row["name"],
            f"{row['minutes']:.1f}",
            f"{100 * share:.0f} %",
            *(str(row[name]) for name in ("times", "strokes", "clicks", "points")),
        )


def _mark_rows(found):
    return [(row["name"], str(row["images"])) for row in found["marks"]]


def _checks(found):
    rows = [
        (
            row["name"],
            row["answer"],
            f"{row['pixels']:,}".replace(",", " "),
            _hundredths(row["dice"]),
        )
        for row in found["checks"]
    ]
    if not rows:
        return ""
    return _table(("check", "answered", "pixels", "Dice"), rows) + note(
        "The checks that the last version of the model was measured by, and had not learned from. "
        "Of one image measured by points the Dice alone says little."
    )


def _table(headings, rows):
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in headings)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{unbroken(escape(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return (
        '<div class="wide-table" style="margin-bottom:.75rem">'
        f'<table class="small"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )
