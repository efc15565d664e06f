"""The published recipe and ours side by side on GlaS: each method, within each recipe.

    python benchmarks/belharbi_glas.py && python benchmarks/alseg_glas.py    # the records
    python benchmarks/factorial.py                                           # this table

Rows are methods, and each recipe has its columns: gradient steps and seconds of all fits of a seed,
the area under the curve of test Dice, and its difference to class-balanced random masks with as many
steps, paired by seed. A difference within a recipe speaks about the method; one between the recipes
is also one of network, weights, resolution and validation masks, which stand below the table.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from alseg_glas import LONGER as LONGER_OURS
from belharbi_glas import LONGER as LONGER_PUBLISHED
from belharbi_glas import published_rows
from common import RESULTS
from published_tables import difference, fit_seconds, spread, steps_of

from alseg.comparison import read_comparison
from alseg.experiment.records import write_text
from alseg.report.tables import as_markdown

# What a method is called in the records of the two recipes, and as published.
METHODS = {
    "class-balanced random": ("random", "random"),
    "the same, steps of the pseudo-labels": (LONGER_PUBLISHED, LONGER_OURS),
    "entropy": ("entropy", "entropy"),
    "low entropy (negative control)": (None, "low entropy"),
    "label propagation, k 40, weight 0.1": ("label propagation", "label propagation"),
    "label propagation, weight 0": ("label propagation, lambda = 0", None),
    "sure pixels, weight 0.5": ("pseudo-labels", "pseudo-labels"),
    "sure pixels, weight 0": (None, "pseudo-labels, lambda = 0"),
    "true masks as pseudo-labels": (None, "true masks as pseudo-labels"),
    "full supervision": ("full supervision", "full supervision"),
}
TWICE = ("label propagation", "pseudo-labels", "lambda = 0", "true masks")


def control_of(name, longer):
    """The row of random masks with as many gradient steps."""
    return longer if any(part in name for part in TWICE) and name != longer else "random"


def columns(result, name, longer, title):
    """What a recipe says of a method."""
    areas, references = result.areas("dice"), result.references("dice")
    cells = {"seeds": "–", "steps": "–", "seconds": "–", "Dice": "–", "at equal steps": "–"}
    if name in areas:
        own, control = areas[name], control_of(name, longer)
        cells["seeds"] = str(int(np.isfinite(own).sum()))
        cells["Dice"] = spread(own)
        if control != name and control in areas and name != longer:
            cells["at equal steps"] = difference(own, areas[control])
    elif name in references:
        cells |= {"seeds": str(len(references[name])), "Dice": spread(references[name])}
    if name in areas or name in references:
        cells |= {"steps": steps_of(result, name), "seconds": fit_seconds(result, name)}
    return {f"{title}: {key}": cell for key, cell in cells.items()}


def table(published, ours):
    """Both recipes, a line a method; only those that one of them has.

    Parameters
    ----------
    published, ours : alseg.comparison.Comparison

    Returns
    -------
    pandas.DataFrame of str
    """
    x = next(iter(published.curves("dice").values()))[0]
    theirs = published_rows("GlaS", (float(np.nanmin(x)), float(np.nanmax(x))))
    lines = []
    for said, (a, b) in METHODS.items():
        line = {"method": said}
        line |= columns(published, a, LONGER_PUBLISHED, "published recipe")
        line |= columns(ours, b, LONGER_OURS, "ours")
        known = theirs.get(a, {})
        line["as published, 1000 epochs"] = known.get("area", known.get("final", "–"))
        if any(line[f"{title}: Dice"] != "–" for title in ("published recipe", "ours")):
            lines.append(line)
    return pd.DataFrame(lines)


def main(argv=None):
    """Write the table beside the records."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--published", type=Path, default=RESULTS / "belharbi-glas-cpu")
    parser.add_argument("--ours", type=Path, default=RESULTS / "alseg-glas-cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "factorial.md")
    arguments = parser.parse_args(argv)
    try:
        both = read_comparison(arguments.published), read_comparison(arguments.ours)
    except FileNotFoundError as error:
        print(f"missing: {error}", file=sys.stderr)
        return 1
    text = as_markdown(table(*both)) + "\n"
    write_text(arguments.out, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
