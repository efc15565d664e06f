"""What the benchmarks of published methods share: options, data checks, the plan, the run, tables.

A script makes a `Study` and calls `main`; see belharbi_glas.py.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from common import RESULTS, find_data, find_weights
from PIL import Image
from published_tables import (
    pairs_table,
    pseudo_table,
    share_table,
    spread,
    steps_of,
    subset_table,
)
from published_work import (
    PEAK,
    SUSTAINED,
    cost_of_image,
    duration,
    fit_size,
    measured_speed,
    work_of,
)

from alseg.comparison import Plan, read_comparison
from alseg.experiment import described, environment, same
from alseg.experiment.statistics import area_under_curve
from alseg.files import jsonable, write_text
from alseg.images import as_images, as_masks
from alseg.query import class_balanced_top_n
from alseg.report import as_markdown, verdict_text

CLASSIFIER = "classifier"  # folder of the network that all fits start from, in that of the results


class Wanted(NamedTuple):
    """What a part of the data must have.

    Parameters
    ----------
    n_images : int or None, default=None
        As published; None is any number.
    masks : bool, default=True
        Whether each image needs one.
    """

    n_images: int | None = None
    masks: bool = True


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

# Command-line option, key of a profile, type; one that is given replaces the profile's.
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


# -- data -----------------------------------------------------------------------------------------


class BadData(ValueError):
    """A folder that does not hold what a benchmark needs; the message has a line for each lack."""


def check_parts(parts, wanted, where):
    """Name everything that is missing, before anything is trained.

    Parameters
    ----------
    parts : mapping of str -> Dataset
    wanted : dict of str -> Wanted
    where : str or Path

    Raises
    ------
    BadData
        If a part, an image, a mask or a class is missing, or a published number of images differs.
    """
    lacks = []
    for name, want in wanted.items():
        if name not in parts:
            there = ", ".join(part for part in parts if part != "all") or "none"
            lacks.append(f"part {name!r}: must be there, got the parts {there}")
            continue
        part = parts[name]
        if want.n_images is not None and len(part) != want.n_images:
            lacks.append(f"part {name!r}: must have {want.n_images} images, got {len(part)}")
        if want.masks:
            lacks += _lacking_masks(name, part)
    if "train" in parts:
        taught = set(map(str, parts["train"].labels))
        for name in wanted:
            strange = sorted(set(map(str, parts[name].labels)) - taught) if name in parts else ()
            for label in strange:
                n = int((parts[name].labels.astype(str) == label).sum())
                lacks.append(
                    f"class {label!r}: must have a training image, got none ({n} in {name!r})"
                )
    if lacks:
        raise BadData("\n".join([f"{where} cannot be used:", *(f"  {lack}" for lack in lacks)]))


def _lacking_masks(name, part):
    if part.masks is None:
        return [f"part {name!r}: must have a mask for each of {len(part)} images, got none"]
    paths = getattr(part.masks, "paths", None)
    known = (
        [p is not None for p in paths]
        if paths is not None
        else [mask is not None for mask in as_masks(part.masks, len(part))]
    )
    without = [str(part.ids[i]) for i in np.flatnonzero(~np.array(known, dtype=bool))]
    if not without:
        return []
    shown = ", ".join(without[:5]) + (", ..." if len(without) > 5 else "")
    return [f"part {name!r}: must have a mask for each image, got none for {len(without)}: {shown}"]


def fewer(part, n, seed=0):
    """At most `n` images of a part, alike of all classes, drawn by a seed; in their order.

    Parameters
    ----------
    part : Dataset
    n : int or None
        None is all of them.
    seed : int, default=0

    Returns
    -------
    Dataset
    """
    if n is None or n >= len(part):
        return part
    rng = np.random.default_rng(seed)
    picked = class_balanced_top_n(rng.random(len(part)), part.labels, n, rng)
    return part.take(np.sort(picked))


def shrunk(part, factor):
    """A part as smaller arrays: images smoothly, masks and instances by their nearest pixels.

    Parameters
    ----------
    part : Dataset
    factor : float
        Of height and width; 1 leaves the part as it is.

    Returns
    -------
    Dataset
    """
    if factor == 1:
        return part

    def small(array, kind):
        height, width = (max(1, round(side * factor)) for side in array.shape[:2])
        return np.asarray(Image.fromarray(array).resize((width, height), kind))

    def small_masks(masks):
        if masks is None:
            return None
        known = as_masks(masks, len(part))
        return _listed(
            None
            if known[i] is None
            else small(known[i].astype(np.int32), Image.Resampling.NEAREST).astype(np.int16)
            for i in range(len(part))
        )

    images = as_images(part.images)
    return dataclasses.replace(
        part,
        images=[small(np.asarray(images[i]), Image.Resampling.BICUBIC) for i in range(len(part))],
        masks=small_masks(part.masks),
        instances=small_masks(part.instances),
    )


def _listed(arrays):
    arrays = list(arrays)
    found = np.empty(len(arrays), dtype=object)
    for i, array in enumerate(arrays):
        found[i] = array
    return found


def read_parts(study, options, folder):
    """The parts that a run uses, checked, cut and shrunk as the profile says.

    Raises
    ------
    BadData
        If something is missing, see `check_parts`; or a file is, as the loader says.
    """
    try:
        parts = study.load(folder, options)
    except (OSError, ValueError) as error:
        raise BadData(f"{folder} cannot be used:\n  {error}") from error
    wanted = study.wanted(folder, options)
    check_parts(parts, wanted, folder)
    limits = {"train": "limit", "valid": "valid_limit", "test": "test_limit"}
    found = {
        name: shrunk(fewer(parts[name], options.get(limits[name])), options.get("shrink", 1))
        for name in wanted
    }
    # A limit can leave a class without a training image; a class that is not trained is not tested.
    check_parts(found, {name: Wanted(None, want.masks) for name, want in wanted.items()}, folder)
    return found


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


def describe(study, plan, parts, options):
    """The plan in words: rows, fits, operations, time, and what is not as published.

    Returns
    -------
    str
    """
    protocol, n_valid = plan.protocol, len(parts["valid"]) if "valid" in parts else 0
    work = work_of(plan, n_valid)
    lines = [
        f"profile     {options['profile']}",
        "data        " + ", ".join(f"{name} {len(part)}" for name, part in parts.items()),
        f"seeds       {', '.join(map(str, plan.seeds))}",
        f"asked       {protocol.initial} masks, then {protocol.rounds} rounds of "
        f"{protocol.n_instances}",
        f"verdict     {', '.join(plan.family)} against {protocol.control}",
        "",
        "row, fits, gradient steps, operations of training and of prediction, all seeds:",
    ]
    if study.classifier is not None:
        work = {"classifier, once": classifier_work(study, parts, options), **work}
    for name, part in work.items():
        lines.append(
            f"  {name:<44}{part['fits']:>6}{part['steps']:>12,}{part['training']:>10.1e}"
            f"{part['prediction']:>10.1e}"
        )
    fits = sum(part["fits"] for part in work.values())
    total = sum(part["training"] + part["prediction"] for part in work.values())
    published = study.published(options, (None, None))
    known = sum(
        part["training"] + part["prediction"] for name, part in work.items() if name in published
    )
    speed = measured_speed(plan.estimator, len(np.unique(parts["train"].labels)))
    n_jobs = max(1, options["n_jobs"])
    lines += [
        "",
        f"fits        {fits}",
        f"operations  {total:.1e}, of which {known:.1e} in the rows that were published",
        f"time        {duration(total / speed / n_jobs)} on {n_jobs} idle cores like this one "
        f"({speed / 1e9:.0f}e9 operations a second, measured now)",
        f"            {duration(total / SUSTAINED)} on a GPU at {SUSTAINED:.0e} a second, "
        f"{duration(total / PEAK)} at {PEAK:.1e}, the peak of an H200",
    ]
    odd = differences(study, options)
    if odd:
        lines += ["", "not as published, by the profile:", *(f"  {line}" for line in odd)]
    if study.notes:
        lines += ["", "not as published, in any profile:", *(f"  {line}" for line in study.notes)]
    return "\n".join(lines)


def classifier_work(study, parts, options):
    """As a line of `work_of`, of the first fit, on class labels."""
    model = study.classifier(parts, options)
    n = len(parts["train"])
    phase = model.get_params(deep=False)["class_phase"] or {}
    model.set_params(max_epochs=phase.get("max_epochs", model.max_epochs))
    steps, images, epochs = fit_size(model, 0, n)
    forward, training = cost_of_image(model, len(np.unique(parts["train"].labels)), decode=False)
    looked_at = epochs * len(parts.get("valid", ()))
    return {
        "fits": 1,
        "steps": steps,
        "training": training * images,
        "prediction": forward * looked_at,
    }


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


# -- the run --------------------------------------------------------------------------------------


class OutOfTime(Exception):
    """The minutes given are over."""


@contextlib.contextmanager
def time_limit(minutes):
    """Raise `OutOfTime` in the main thread after so many minutes; None is never."""
    if minutes is None:
        yield
        return

    def stop(number, frame):
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fit_classifier(study, parts, options):
    """Fit the network that all rows start from, unless the present folder holds it.

    Raises
    ------
    ValueError
        If the folder holds one of other options.
    """
    model = study.classifier(parts, options)
    told = jsonable(
        {
            "estimator": {k: v for k, v in described(model).items() if k != "encoder_weights"},
            "weights": options["encoder_weights"] and Path(options["encoder_weights"]).name,
            "images": [str(one) for one in parts["train"].ids],
        }
    )
    note = Path(f"{CLASSIFIER}.json")
    if note.is_file():
        if not same(json.loads(note.read_text("utf-8")), told):
            raise ValueError(
                f"{note.resolve()} is of other options. Use another --out, or the options of that "
                "run to continue it."
            )
        return
    print("fitting the classifier that all rows start from ...", file=sys.stderr, flush=True)
    model.set_params(random_state=0)
    model.fit(parts["train"].images, parts["train"].labels).save(CLASSIFIER)
    write_text(note, json.dumps(told, indent=1) + "\n")  # last: without it the fit is done again


def main(study, argv=None):
    """Run a study from the command line.

    Returns
    -------
    int
        0 if all went well or the time was up, 1 if the data cannot be used.
    """
    arguments = make_parser(study).parse_args(argv)
    options = read_options(study, arguments)
    folder = arguments.data or find_data(options["folder"])
    if folder is None:
        print(
            f"missing: a folder {options['folder']}/ below ALSEG_DATA; or name one with --data",
            file=sys.stderr,
        )
        return 1
    folder = folder.expanduser().resolve()
    options["encoder_weights"] = _weights(options, folder)
    try:
        parts = read_parts(study, options, folder)
        options["data_name"] = parts["train"].name.partition(".")[0]
        plan = make_plan(study, parts, options)
        plan.jobs_of(arguments.only)  # a row that is not there is said now
        plan.check()
    except ValueError as error:  # also sizes that the data do not allow
        print(error, file=sys.stderr)
        return 1
    if arguments.dry_run:
        print(describe(study, plan, parts, options))
        return 0
    out = arguments.out or RESULTS / f"{_shown_name(study, options)}-{options['profile']}"
    out.mkdir(parents=True, exist_ok=True)
    # From inside: the classifier is then named alike wherever the folder lies.
    with contextlib.chdir(out):
        if not arguments.only_report:
            try:
                with time_limit(arguments.minutes):
                    if study.classifier is not None:
                        fit_classifier(study, parts, options)
                    plan.compare(Path(), options["n_jobs"], only=arguments.only)
            except OutOfTime:
                print("stopped: the minutes are over. The same command goes on from here.")
                return 0
        result = read_comparison(Path(), data=plan.data)
        options["seeds"] = tuple(result.seeds)  # those of earlier slices too
        if not arguments.only_report:
            write_origin(options, command_of(arguments))
        write_results(study, result, options)
    return 0


def _shown_name(study, options):
    """The study's name; on other data than the published ones, with the name of those."""
    if _on_published_data(study, options):
        return study.name
    return f"{study.name.rpartition('-')[0]}-{options['data_name']}"


def _on_published_data(study, options):
    known = study.profiles.get("paper", {}).get("data_name")
    return known in (None, options["data_name"])


def _weights(options, folder):
    """The file or word that was given; else a file beside the data; else what the profile says."""
    encoder = options.get("encoder", "resnet18")
    if encoder is None:  # a network without one
        return None
    given = options.get("encoder_weights")
    if given and given != "imagenet":
        path = Path(given).expanduser().resolve()
        if not path.is_file():
            raise SystemExit(f"--encoder-weights must be a file or imagenet, got {given!r}.")
        return str(path)
    return find_weights(folder, encoder) or given


# -- tables ---------------------------------------------------------------------------------------


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
    told = ["python", f"benchmarks/{Path(sys.argv[0]).name}"]
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
    """Tables, verdict and report, into the present folder."""
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
    # A report may go where the images may not: names instead of pictures.
    result.to_html("report.html", pictures=False)
    published = study.data if _on_published_data(study, options) else None
    shares = share_table(result, study.windows)
    details = {
        "Shares of full supervision, and differences paired by seed": shares,
        "Pseudo-labels against the hidden masks": pseudo_table(result, published),
        "Subsets of the test images, after the last round": subset_table(result),
    }
    shown = [f"## {title}\n\n{as_markdown(t)}\n" for title, t in details.items() if len(t)]
    write_text("details.md", "\n".join(shown))
    print(ours, said, sep="\n\n")
