"""A published comparison that can be run at several sizes: its options, its plan, what differs.

A script makes a `Study` and calls `benchmarks.core.run_study.main`; see studies/belharbi_glas.py.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from alseg.comparison import Plan


class Study(NamedTuple):
    """A published comparison that can be run at several sizes.

    Parameters
    ----------
    name : str
        Of the folder of results.
    text : str
        For --help.
    profiles : dict of str -> dict
        "paper", where there is one, is what the others are compared with. ``folder`` is that of
        the data, below ALSEG_DATA.
    load : callable
        ``f(folder, options) -> dict of str -> Dataset``, all that is there.
    wanted : callable
        ``f(folder, options) -> dict of str -> Wanted``.
    build : callable
        ``f(parts, options) -> (estimator, dict of str -> Row, Protocol)``.
    classifier : callable or None
        ``f(parts, options) -> estimator`` fitted first, once, on class labels alone.
    published : callable
        ``f(options, n_masks) -> dict of str -> (area, area's sd, final)``, of each row.
    notes : tuple of str
        What is not as published in any profile.
    pairs : tuple of (str, str)
        Rows to be set against one another besides the control: a method and its own controls.
    data : str or None
        Name of the published data set, for its pseudo-labels' quality.
    windows : tuple of (int, int)
        Masks that areas are told over, where a run covers them.
    """

    name: str
    text: str
    profiles: dict
    load: Callable
    wanted: Callable
    build: Callable
    published: Callable
    classifier: Any = None
    notes: tuple = ()
    pairs: tuple = ()
    data: str | None = None
    windows: tuple = ((8, 16), (8, 28), (8, 56))


# -- options --------------------------------------------------------------------------------------

_OPTIONS = (
    ("--initial", "initial", int, "masks before the first question"),
    ("--n-instances", "n_instances", int, "masks asked for in a round"),
    ("--rounds", "rounds", int, "rounds after the first masks"),
    ("--epochs", "epochs", int, "of a fit on masks"),
    ("--class-epochs", "class_epochs", int, "of the fit on class labels"),
    ("--lr", "lr", float, "learning rate of a fit on masks"),
    ("--limit", "limit", int, "training images"),
    ("--valid-limit", "valid_limit", int, "validation images"),
    ("--test-limit", "test_limit", int, "test images"),
    ("--encoder-weights", "encoder_weights", str, "a file, or imagenet (downloads)"),
    ("--device", "device", str, "cpu or cuda"),
    ("--n-jobs", "n_jobs", int, "rows and seeds at once; never changes a number"),
    ("--threads", "threads", int, "of a fit; part of the protocol"),
)


def make_parser(study):
    """The parser of a study's command line."""
    parser = argparse.ArgumentParser(
        description=study.text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--profile", choices=list(study.profiles), default="cpu")
    add("--data", type=Path, help="folder of the data; default: the usual one below ALSEG_DATA")
    add("--out", type=Path, help="default: below benchmarks/results")
    add("--dry-run", action="store_true", help="check the data, print the plan and what it takes")
    add("--only-report", action="store_true", help="tables and report of what is there")
    add("--minutes", type=float, help="stop after so long; the same command goes on")
    add("--rows", nargs="+", metavar="ROW", help="these alone; 'random' is always among them")
    add("--only", nargs="+", metavar="ROW", help="of the rows, run these now and others later")
    add("--seeds", type=int, nargs="+")
    for option, key, type_, text in _OPTIONS:
        add(option, dest=key, type=type_, help=text)
    return parser


def read_options(study, arguments):
    """The options of a profile with those of the command line in their place.

    Returns
    -------
    dict
    """
    options = {"profile": arguments.profile, **study.profiles[arguments.profile]}
    for _, key, *_ in _OPTIONS:
        if getattr(arguments, key) is not None:
            options[key] = getattr(arguments, key)
    if arguments.seeds:
        options["seeds"] = tuple(arguments.seeds)
    options["rows"] = arguments.rows or options.get("rows")  # None is all of them
    return options


# -- the plan -------------------------------------------------------------------------------------


def make_plan(study, parts, options):
    """The comparison of a study.

    Returns
    -------
    Plan
    """
    estimator, rows, protocol = study.build(parts, options)
    if options["rows"]:
        unknown = [row for row in options["rows"] if row not in rows]
        if unknown:
            raise SystemExit(f"--rows must be among {', '.join(rows)}, got {unknown[0]!r}.")
        kept = {"random", *options["rows"]}
        rows = {name: row for name, row in rows.items() if name in kept}
        if protocol.family is not None:
            family = [name for name in protocol.family if name in rows]
            protocol = dataclasses.replace(protocol, family=family)
    data = (parts["train"], parts["test"]) if protocol.n_folds is None else parts["train"]
    return Plan(estimator, rows, data, protocol, options["seeds"])


# -- what is not as published ----------------------------------------------------------------------

_SAID = {
    "data_name": "data",
    "fold": "fold",
    "shrink": "images scaled by",
    "crop": "crop",
    "image_size": "image size",
    "encoder": "encoder",
    "encoder_weights": "encoder weights",
    "epochs": "epochs",
    "class_epochs": "epochs on class labels",
    "lr": "learning rate",
    "lr_schedule": "schedule",
    "batch_size": "batch size",
    "ce_scale": "cross-entropy beside Dice",
    "steps": "steps of a fit",
    "n_draws": "draws",
    "amp": "bfloat16",
    "seeds": "seeds",
    "initial": "first masks",
    "n_instances": "masks a round",
    "rounds": "rounds",
    "limit": "training images",
    "valid_limit": "validation images",
    "test_limit": "test images",
    "refit_epochs": "epochs of a later round",
    "schedule": "pseudo-labels",
    "rows": "rows",
}


def differences(study, options):
    """What a run does otherwise than the published one, as "what mine (published theirs)".

    Returns
    -------
    list of str
    """
    paper, found = study.profiles.get("paper"), []
    if paper is None:
        return found
    for key, said in _SAID.items():
        mine, theirs = options.get(key), paper.get(key)
        if _plain(mine) != _plain(theirs):
            none = "none" if key == "encoder_weights" else "all"
            mine, theirs = _shown(mine, none), _shown(theirs, none)
            found.append(f"{said} {mine} (published {theirs})")
    return found


# What a row of the table says by itself; the rest stands below it.
_SHORT = (
    "data_name",
    "shrink",
    "image_size",
    "ce_scale",
    "encoder",
    "encoder_weights",
    "epochs",
    "steps",
    "seeds",
)


def short_differences(study, options):
    """The differences that matter most to a number, in a few words.

    Returns
    -------
    str
    """
    if "paper" not in study.profiles:
        return "network and recipe"
    odd = {**options, "seeds": len(options["seeds"])}
    paper = {**study.profiles["paper"], "seeds": len(study.profiles["paper"]["seeds"])}
    told = [
        f"{_SAID[key]} {_shown(odd.get(key), 'none')} for {_shown(paper.get(key), 'none')}"
        for key in _SHORT
        if _plain(odd.get(key)) != _plain(paper.get(key))
    ]
    return ", ".join(told) or "see below"


def _plain(value):
    return list(value) if isinstance(value, (tuple, range)) else value


def _shown(value, none):
    if value is None:
        return none
    if isinstance(value, dict):
        return " ".join(f"{k} {v:g}" for k, v in value.items())
    if isinstance(value, (tuple, list, range)):
        return ("; " if any("," in str(v) for v in value) else ", ").join(map(str, value))
    if isinstance(value, str):
        return Path(value).name
    return str(value)


def name_on_data(study, options):
    """The study's name; on other data than the published ones, with the name of those."""
    if on_published_data(study, options):
        return study.name
    return f"{study.name.rpartition('-')[0]}-{options['data_name']}"


def on_published_data(study, options):
    known = study.profiles.get("paper", {}).get("data_name")
    return known in (None, options["data_name"])
