"""A study from the command line: check its data, tell its plan, run it or a slice of it."""

import contextlib
import json
import signal
import sys
from pathlib import Path

import numpy as np

from alseg.comparison import read_comparison
from alseg.experiment import described, same
from alseg.files import jsonable, write_text
from benchmarks.core.data import find_data, find_weights
from benchmarks.core.parts import read_parts
from benchmarks.core.results import RESULTS
from benchmarks.core.study import differences, make_parser, make_plan, name_on_data, read_options
from benchmarks.core.study_results import command_of, write_origin, write_results
from benchmarks.core.work import (
    PEAK,
    SUSTAINED,
    cost_of_image,
    duration,
    fit_size,
    measured_speed,
    work_of,
)

CLASSIFIER = "classifier"  # folder of the network that all fits start from, in that of the results


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
    out = arguments.out or RESULTS / f"{name_on_data(study, options)}-{options['profile']}"
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
    phase = model.schedule.class_phase or {}
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
