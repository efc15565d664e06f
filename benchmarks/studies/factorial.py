"""The published recipe and ours side by side on GlaS: each method, within each recipe.

    python -m benchmarks.studies.belharbi_glas  # the records, two hours in all
    python -m benchmarks.studies.belharbi_glas --profile cpu-mobilenet
    python -m benchmarks.studies.alseg_glas
    python -m benchmarks.studies.factorial      # these tables

Rows are methods, and each recipe has its columns: the area under the curve of test Dice (seeds in
brackets), and its difference to class-balanced random masks with as many steps, paired by seed. A
difference within a recipe speaks about the method; one between recipes is also one of network,
weights, resolution and validation masks, which stand in the folders of the records. A second table
has the gradient steps and seconds of all fits of a seed.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from alseg.comparison import read_comparison
from alseg.files import write_text
from alseg.report import as_markdown
from benchmarks.core.results import RESULTS
from benchmarks.core.study_tables import difference, fit_seconds, mean_steps, steps_of
from benchmarks.core.tables import spread
from benchmarks.studies.alseg_glas import LONGER as LONGER_OURS
from benchmarks.studies.alseg_glas import STUDY as OURS
from benchmarks.studies.belharbi_glas import LONGER as LONGER_PUBLISHED
from benchmarks.studies.belharbi_glas import STUDY as PUBLISHED
from benchmarks.studies.belharbi_glas import published_rows

# Folder of the records: title, study, its row of random masks with more steps.
RECIPES = {
    "belharbi-glas-cpu": ("published recipe", PUBLISHED, LONGER_PUBLISHED),
    "belharbi-glas-cpu-mobilenet": ("the same, pretrained", PUBLISHED, LONGER_PUBLISHED),
    "alseg-glas-cpu": ("ours", OURS, LONGER_OURS),
}
# What a method is called in the records of the published recipe and of ours.
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
SAME = 0.05  # share by which steps may differ and still be called equal


def cells(result, name, study, longer):
    """What a recipe says of a method: its area, the difference at equal steps, steps and seconds.

    Parameters
    ----------
    result : alseg.comparison.Comparison
    name : str or None
        Of the row or reference; None is one that the recipe does not have.
    study : benchmarks.core.study.Study
        Whose pairs say which methods are set against `longer`.
    longer : str
        The row of random masks with more steps.

    Returns
    -------
    dict of str -> str
    """
    areas, references = result.areas("dice"), result.references("dice")
    values = areas.get(name, references.get(name))
    found = dict.fromkeys(("Dice", "at equal steps", "steps", "seconds"), "–")
    if values is None or not np.isfinite(values).any():
        return found
    found["Dice"] = f"{spread(values)} ({int(np.isfinite(values).sum())})"
    found |= {"steps": steps_of(result, name), "seconds": fit_seconds(result, name)}
    control = longer if (name, longer) in study.pairs else "random"
    if name in areas and control in areas and name not in ("random", longer):
        ratio = mean_steps(result, name) / mean_steps(result, control)
        share = "" if abs(ratio - 1) < SAME else f", {100 * ratio:.0f} % of the steps"
        shown = difference(values, areas[control])
        found["at equal steps"] = shown if shown == "–" else shown + share
    return found


def tables(results):
    """All recipes, a line a method; only those that one of them has.

    Parameters
    ----------
    results : dict of str -> alseg.comparison.Comparison
        By the names of `RECIPES`.

    Returns
    -------
    dice, work : pandas.DataFrame of str
    """
    x = np.concatenate([x.ravel() for r in results.values() for x, _ in r.curves("dice").values()])
    theirs = published_rows("GlaS", (float(np.nanmin(x)), float(np.nanmax(x))))
    dice, work = [], []
    for said, names in METHODS.items():
        lines = {"method": said}, {"method": said}
        for folder, result in results.items():
            title, study, longer = RECIPES[folder]
            found = cells(result, names[study is OURS], study, longer)
            for line, keys in zip(lines, (("Dice", "at equal steps"), ("steps", "seconds"))):
                line |= {f"{title}: {key}": found[key] for key in keys}
        if any(cell != "–" for cell in list(lines[0].values())[1:]):
            known = theirs.get(names[0], {})
            known = known.get("area", known.get("final", "–"))
            dice.append(lines[0] | {"as published, 1000 epochs": known})
            work.append(lines[1])
    return pd.DataFrame(dice), pd.DataFrame(work)


def main(argv=None):
    """Write the tables beside the records."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    parser.add_argument("--out", type=Path, help="default: factorial.md in that folder")
    arguments = parser.parse_args(argv)
    try:
        results = {name: read_comparison(arguments.results / name) for name in RECIPES}
    except FileNotFoundError as error:
        print(f"missing: {error}", file=sys.stderr)
        return 1
    text = "\n\n".join(map(as_markdown, tables(results))) + "\n"
    write_text(arguments.out or arguments.results / "factorial.md", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
