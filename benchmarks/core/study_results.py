"""What a study leaves in its folder: ours beside the published numbers, tables, verdict, origin."""

import json
import shlex
from pathlib import Path

import numpy as np

from alseg.experiment import environment
from alseg.experiment.statistics import area_under_curve
from alseg.files import jsonable, write_text
from alseg.report import as_markdown, verdict_text
from benchmarks.core.results import script_command, write_curves
from benchmarks.core.study import differences, on_published_data, short_differences
from benchmarks.core.study_tables import (
    pairs_table,
    pseudo_table,
    share_table,
    steps_of,
    subset_table,
)
from benchmarks.core.tables import spread


def published_table(study, result, options):
    """Ours beside what was published, a line a row, and in each what differs.

    Parameters
    ----------
    study : Study
    result : alseg.comparison.Comparison
    options : dict

    Returns
    -------
    table : pandas.DataFrame of str
        Dice in per cent, standard deviation over seeds (published: of the population). Areas are
        taken over the masks that ours goes over, the published one also over all that it has.
        Steps are gradient steps of all fits of a seed.
    """
    import pandas as pd

    curves = result.curves("dice") if result.chains else {}
    areas, references = result.areas("dice"), result.references("dice")
    last = max((x[np.isfinite(x)].max() for x, _ in curves.values()), default=None)
    first = min((x[np.isfinite(x)].min() for x, _ in curves.values()), default=None)
    published = study.published(options, (first, last))
    odd = short_differences(study, options)
    lines = []
    for name in [*curves, *references]:  # a comparison may be run in parts
        theirs = published.get(name, {})
        line = {"row": name, "seeds": "–", "masks": "–", "steps": steps_of(result, name)}
        line |= {"area": "–", "final": "–"}
        if name in curves:
            x, y = curves[name]
            whole = np.isfinite(y[:, -1])
            line["seeds"] = str(int(whole.sum()))
            line["masks"] = f"{np.nanmin(x):g} to {np.nanmax(x):g}"
            line |= {"area": spread(areas[name]), "final": spread(y[:, -1])}
        elif name in references:
            line |= {"seeds": str(len(references[name])), "final": spread(references[name])}
        for key in ("area", "final"):
            line[f"published {key}"] = theirs.get(key, "–")
        line["published area, all rounds"] = theirs.get("all", "–")
        line["not as published"] = odd if theirs else "no published number"
        lines.append(line)
    wanted = [
        "row",
        "seeds",
        "masks",
        "steps",
        "area",
        "published area",
        "published area, all rounds",
        "final",
        "published final",
        "not as published",
    ]
    return pd.DataFrame(lines)[wanted]


def published_of_curve(curve, n_masks, area, window):
    """A published curve as a cell each: area over a window, over all rounds, and its end.

    Parameters
    ----------
    curve, n_masks : ndarray of shape (n_rounds,)
    area : (float, float)
        Over all rounds: mean and spread, as published.
    window : (float, float)
        Masks that ours goes over; the area is left out where the curve does not cover them.

    Returns
    -------
    dict of str -> str
    """
    found = {"all": f"{area[0]:.2f} ± {area[1]:.2f}"}
    low, high = window
    if low is None or low < n_masks[0] or high > n_masks[-1]:
        return found | {"final": f"{curve[-1]:.1f} ({n_masks[-1]} masks)"}
    found["final"] = f"{np.interp(high, n_masks, curve):.1f} ({high:g} masks)"
    if low < high:
        found["area"] = f"{area_under_curve(curve, n_masks, window=(low, high)):.1f}"
    return found


def published_mean(values):
    """A published mean with its spread, as the cell of a row that has no curve."""
    return {"final": f"{values.mean():.2f} ± {values.std():.2f}"}


_NOT_TOLD = ("data", "out", "encoder_weights", "minutes", "dry_run", "only_report", "n_jobs")


def command_of(arguments):
    """The command line in words, without what changes no number and without paths.

    Parameters
    ----------
    arguments : argparse.Namespace

    Returns
    -------
    str
    """
    told = script_command()
    for key, value in vars(arguments).items():
        if key not in _NOT_TOLD and value is not None:
            told += [f"--{key.replace('_', '-')}", *(value if isinstance(value, list) else [value])]
    return shlex.join(map(str, told))


def write_origin(options, command):
    """How the records came about, into the present folder; a report made elsewhere leaves it alone.

    A comparison may be run in parts: the commands of all of them, in their order, and the options
    and versions of the last one. Each record has its own versions.
    """
    path = Path("environment.json")
    before = json.loads(path.read_text("utf-8")).get("commands", []) if path.is_file() else []
    where = {
        "commands": before + [command] * (command not in before),
        "options": jsonable({k: v for k, v in options.items() if k != "encoder_weights"}),
        "environment": environment(options["device"]),
    }
    write_text("environment.json", json.dumps(where, indent=1) + "\n")


def write_results(study, result, options):
    """Tables, verdict and curves, into the present folder."""
    ours, pairs = (
        as_markdown(published_table(study, result, options)),
        pairs_table(result, study.pairs),
    )
    if pairs is not None:
        ours += f"\n\nAgainst its own controls, 95 % intervals:\n\n{as_markdown(pairs)}"
    odd = "".join(f"- {line}\n" for line in (*differences(study, options), *study.notes))
    ran = result.curves("dice") if result.chains else {}
    not_run = [name for name in result.names if name not in ran]
    odd += f"- not run: {'; '.join(not_run)}\n" * bool(not_run)
    write_text("published.md", f"{ours}\n\nNot as published:\n\n{odd}")
    write_text("table.md", as_markdown(result.table()) + "\n")
    said = verdict_text(result)
    write_text("verdict.txt", f"{said}\n")
    write_curves(result, "curves.png")
    published = study.data if on_published_data(study, options) else None
    shares = share_table(result, study.windows)
    details = {
        "Shares of full supervision, and differences paired by seed": shares,
        "Pseudo-labels against the hidden masks": pseudo_table(result, published),
        "Subsets of the test images, after the last round": subset_table(result),
    }
    shown = [f"## {title}\n\n{as_markdown(t)}\n" for title, t in details.items() if len(t)]
    write_text("details.md", "\n".join(shown))
    print(ours, said, sep="\n\n")
