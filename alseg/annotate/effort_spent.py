"""What annotating a folder has cost and brought, read from its state folder, also while in use."""

from collections import defaultdict
from pathlib import Path, PurePath
from statistics import median

from alseg.annotate.check_images import HELD_OUT, counted_checks
from alseg.annotate.cost_log import COSTS, minutes_spent
from alseg.annotate.estimates import estimate
from alseg.annotate.quality import QUALITY, assess, measured, read_lines
from alseg.project import read_state

_KINDS = {
    "marks": "only what was marked",
    "all": "all of it right",
    "nothing": "nothing here",
    "skip": "cannot tell",
    "later": "left for later",
    None: "of an earlier version",
}
_SCORES = {"dice": "Dice", "iou": "IoU", "accuracy": "pixel accuracy"}
_LONGEST = 5  # images named


def spent(folder):
    """All that a report on a state folder says.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    found : dict
        ``name``; ``minutes``, ``strokes``, ``clicks`` and ``points``, sums; ``n_images`` that time
        was spent on; ``n_marked``, images with a mask, of the page or added;
        ``kinds`` and ``labels``, rows of what the minutes went to; ``seconds`` per
        image (``median``, ``longest``: pairs of name and seconds); ``marks``, rows of how many
        images are marked how; ``check_minutes``, when checks were answered; ``checks``, rows;
        ``estimates``, rows; ``quality``, as a page is told it (`alseg.annotate`).

    Raises
    ------
    FileNotFoundError, ProjectError
        If it is no state folder, or damaged.
    """
    folder = Path(folder)
    state = read_state(folder / "state.json")
    costs, quality = (_lines(folder / name) for name in (COSTS, QUALITY))
    n_classes = state["options"].get("estimator", {}).get("n_mask_classes", 2)
    counted = counted_checks(state)
    records = [line for line in quality if isinstance(line.get("counts"), dict)]
    agreed = [line for line in quality if "agreement" in line]
    n_left = records[-1].get("n_left") if records else None
    n_left = n_left if isinstance(n_left, int) else None
    points = measured(records, set(counted), n_left, n_classes)
    seconds = defaultdict(float)
    for line in costs:
        seconds[str(line.get("image"))] += 60 * minutes_spent(line)
    seconds = {name: value for name, value in seconds.items() if value > 0}
    return {
        "name": PurePath(state["data"]).name,
        "minutes": sum(map(minutes_spent, costs)),
        **{name: sum(_whole(line, name) for line in costs) for name in _EFFORTS},
        "n_images": len(seconds),
        "n_marked": len(state["masks"]),
        "kinds": _rows(costs, lambda line: _KINDS.get(line.get("answer"), "otherwise")),
        "labels": _rows(costs, lambda line: line.get("label") or "not known"),
        "seconds": {
            "median": median(seconds.values()) if seconds else None,
            "longest": sorted(seconds.items(), key=lambda item: -item[1])[:_LONGEST],
        },
        "marks": _marks(state),
        "check_minutes": _check_minutes(costs),
        "checks": _checks(state, counted, points[-1].counts if points else {}),
        "estimates": _estimates(points, n_left, len(counted)),
        "quality": assess(records, agreed, set(counted), n_left, n_classes),
    }


_EFFORTS = ("strokes", "clicks", "points")


def _lines(path):
    try:
        return read_lines(path.read_bytes())
    except FileNotFoundError:
        return []


def _whole(line, name):
    value = line.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _rows(costs, key):
    """Minutes, times and effort by a key, the largest first."""
    found = defaultdict(lambda: {"minutes": 0.0, "times": 0, **dict.fromkeys(_EFFORTS, 0)})
    for line in costs:
        row = found[str(key(line))]
        row["minutes"] += minutes_spent(line)
        row["times"] += 1
        for name in _EFFORTS:
            row[name] += _whole(line, name)
    rows = sorted(found.items(), key=lambda item: -item[1]["minutes"])
    return [{"name": name, **row} for name, row in rows]


def _marks(state):
    """How many images are marked how."""
    masks, checks = state["masks"], state.get("checks", {})
    whole = sum(entry.get("annotated", 1) == 1 for entry in masks.values())
    answers = [entry.get("answer") for entry in checks.values()]
    return [
        {"name": "whole", "images": whole},
        {"name": "a part", "images": len(masks) - whole},
        {"name": "cannot tell", "images": len(state.get("skipped", ()))},
        {"name": "checks, whole", "images": answers.count("whole")},
        {"name": "checks, by points", "images": answers.count("points")},
        {"name": "checks lost to strokes", "images": answers.count("strokes")},
    ]


def _check_minutes(costs):
    minutes, found = 0.0, []
    for line in costs:
        minutes += minutes_spent(line)
        if line.get("check") == "counted" and line.get("answer") in ("marks", "all", "nothing"):
            found.append(minutes)
    return found


def _checks(state, counted, counts):
    """The checks held out, each with its own Dice."""
    return [
        {
            "name": name,
            "answer": state["checks"][name]["answer"],
            "pixels": int(counts[name].sum()),
            "dice": estimate([counts[name]]).value,
        }
        for name in counted[-HELD_OUT:]
        if name in counts
    ]


def _estimates(points, n_left, n_counted):
    if not points:
        return []
    counts, groups = points[-1].counts, points[-1].groups
    counts, whose = list(counts.values()), [groups.get(name) for name in counts]
    n_images = None if n_left is None else n_left + n_counted
    rows = []
    for score, name in _SCORES.items():
        found = estimate(counts, score, n_images=n_images, groups=whose)
        rows.append({"name": name, **found._asdict()})
    return rows
