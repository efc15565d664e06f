"""Records as tables."""

from html import escape

COLUMNS = (
    # (heading, where in the record, factor, decimals)
    ("round", ("round",), 1, 0),
    ("masks", ("n_masks",), 1, 0),
    ("Dice", ("metrics", "dice"), 100, 1),
    ("Dice, background", ("metrics", "dice_background"), 100, 1),
    ("mean IoU", ("metrics", "mean_iou"), 100, 1),
    ("Dice, pooled", ("metrics", "pooled_dice"), 100, 1),
    ("Dice, worst tenth", ("metrics", "dice_worst_tenth"), 100, 1),
    ("object Dice", ("metrics", "object_dice"), 100, 1),
    ("object F1", ("metrics", "object_f1"), 100, 1),
    ("Hausdorff (px)", ("metrics", "hausdorff"), 1, 1),
    ("Hausdorff 95 % (px)", ("metrics", "hd95"), 1, 1),
    ("object Hausdorff (px)", ("metrics", "object_hausdorff"), 1, 1),
    ("class accuracy", ("metrics", "class_accuracy"), 100, 1),
    ("gradient steps", ("gradient_steps",), 1, 0),
)


def lookup(record, path):
    """The value at a path of keys in a record, or None where one is missing."""
    for key in path:
        if not isinstance(record, dict) or key not in record:
            return None
        record = record[key]
    return record


def rounds_table(records):
    """A row a round with the main scores, in per cent or pixels.

    Parameters
    ----------
    records : list of dict
        As `alseg.experiment.records.read_records` gives them.

    Returns
    -------
    table : pandas.DataFrame
        Columns that no record has are left out. Scores of one's own are as they are.

    Examples
    --------
    >>> rounds_table([{"round": 0, "n_masks": 4, "metrics": {"dice": 0.61}}])
       round  masks  Dice
    0      0      4  61.0
    """
    import pandas as pd

    columns = {}
    for heading, path, factor, decimals in COLUMNS:
        values = [lookup(record, path) for record in records]
        if all(value is None for value in values):
            continue
        column = pd.Series([None if v is None else round(factor * v, decimals) for v in values])
        columns[heading] = column.astype("Int64") if decimals == 0 else column.astype(float)
    own = records[0].get("config", {}).get("metrics", {}) if records else {}
    for name in own:
        if not any(path == ("metrics", name) for _, path, *_ in COLUMNS):
            values = [lookup(record, ("metrics", name)) for record in records]
            columns[name] = pd.Series(values, dtype=float)
    return pd.DataFrame(columns)


def _cells(table):
    for row in table.itertuples(index=False):
        yield [
            "–"
            if value != value or str(value) == "<NA>"
            else f"{value:.1f}"
            if isinstance(value, float)
            else str(value)
            for value in row
        ]


def as_markdown(table):
    """A data frame as a Markdown table, numbers to one decimal, a dash where there is none.

    Examples
    --------
    >>> print(as_markdown(rounds_table([{"round": 0, "n_masks": 4}])))
    | round | masks |
    |---|---|
    | 0 | 4 |
    """
    lines = [list(table.columns), ["---"] * len(table.columns), *_cells(table)]
    return "\n".join(
        "|" + "|".join(line) + "|" if line[0] == "---" else "| " + " | ".join(line) + " |"
        for line in lines
    )


def as_html(table, caption=""):
    """A data frame as an HTML table, escaped, with the same cells as `as_markdown`."""
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in table.columns)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _cells(table)
    )
    caption = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"
