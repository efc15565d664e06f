"""Commands on images whose masks are known: `run`, `compare`, `report`."""

import os
import sys
from contextlib import contextmanager

from alseg.cli.annotation import report_state
from alseg.cli.data import compared_data, train_and_test
from alseg.cli.errors import PROG, BadArgument, begun, show
from alseg.cli.options import (
    check_out,
    estimator_options,
    make_augmenter,
    make_estimator,
    named_strategy,
)

# Option, field of the protocol, type; those not given keep the protocol's own default.
PROTOCOL = (
    ("--initial", "initial", int, "N", "masks before the first question; default: 8"),
    ("--n-instances", "n_instances", int, "N", "masks asked for in a round; default: 2"),
    ("--rounds", "rounds", int, "N", "rounds after the first masks; default: 10"),
    ("--n-steps", "n_steps", int, "N", "gradient steps of every fit; default: the model's own"),
    ("--epochs", "epochs", int, "N", "instead: passes over the annotated images"),
    ("--budget", "budget", float, "X", "end a row when its annotations cost this much"),
    ("--cost", "cost", str, "UNIT", "of the budget: images, pixels, clicks, seconds"),
    ("--folds", "n_folds", int, "N", "test seed s on fold s modulo N of the data, by group"),
    ("--threads", "n_threads", int, "N", "threads of a fit, part of the protocol; default: 1"),
    ("--stop-agreement", "stop_agreement", float, "X", "end a row when predictions agree so much"),
    ("--control", "control", str, "NAME", "row to compare with; default: random"),
    ("--metric", "metric", str, "NAME", "what is compared; default: dice"),
    ("--alpha", "alpha", float, "X", "level of the verdict; default: 0.05"),
)


def run(args):
    """One experiment."""
    from pathlib import Path

    check_out(args.out)
    with begun(args, "Loading PyTorch and the images"):
        strategy, name = named_strategy(args)
        from alseg.experiment import RECORDS_FILE, run
        from alseg.report import save_panels

        estimator = make_estimator(estimator_options(args))
        estimator.verbose = int(not args.quiet)  # a bar of each fit, below that of rounds
        augmenter = make_augmenter(args.pseudo_labels)
        train, test = train_and_test(args)
    bar = _Bar(args.rounds, args.quiet)
    with bar:
        records = run(
            estimator,
            train,
            test,
            strategy,
            rounds=args.rounds,
            n_instances=args.n_instances,
            initial=args.initial,
            seed=args.seed,
            out=args.out,
            augmenter=augmenter,
            name=name,
            panels=None if args.no_panels else save_panels,
            progress=bar,
            allow_torn_groups=bool(args.torn_groups),
        )
    if not args.quiet:
        show(_summary(records))
    show(f"records: {Path(args.out) / RECORDS_FILE}")
    if args.report:
        from alseg.report import write_report

        show(f"report:  {write_report(args.out)}")


def _summary(records):
    from alseg.report import as_markdown, rounds_table

    table = rounds_table(records)
    wanted = ["round", "masks", "Dice", "mean IoU", "class accuracy"]
    return as_markdown(table[[name for name in wanted if name in table]])


def compare(args):
    """Strategies over seeds, under one protocol."""
    from pathlib import Path

    given = merged_with_file(args)
    for name in ("data", "out", "strategies"):
        if given.get(name) is None:
            option = "strategy" if name == "strategies" else name
            raise BadArgument(f"{option} must be given, as --{option} or in a TOML file.")
    if given["n_jobs"] == 0:
        raise BadArgument("n_jobs must be >= 1, or negative as joblib counts them, got 0.")
    check_out(given["out"])
    with begun(args, "Loading PyTorch and the images"):
        from alseg.report import verdict_text

        plan = make_plan(args, given)
        plan.check()
    if args.dry_run:
        show(plan.describe(given["n_jobs"]))
        return
    with _backend(given.get("scheduler")):
        result = plan.compare(
            given["out"], given["n_jobs"], verbose=not args.quiet, command=shown_command(args.argv)
        )
    if not args.quiet:
        from alseg.report import as_markdown

        table = result.table()
        show(as_markdown(table[[name for name in table.columns[:4]]]))
    show(verdict_text(result))
    show(f"records: {given['out']}")
    if args.report:
        show(f"report:  {result.to_html(Path(given['out']) / 'report.html')}")


def shown_command(argv):
    """A command as it may stand in a file: of a path from the root its last part alone."""
    import shlex

    def without_folder(text):
        option, sign, value = text.partition("=") if text.startswith("--") else ("", "", text)
        whole = os.path.expanduser(value)
        if not (os.path.isabs(whole) or value.startswith("..")):
            return text
        return option + sign + os.path.basename(whole.rstrip("/"))

    return shlex.join([PROG, *(without_folder(str(text)) for text in argv)])


# Keys of a file of options, and what their values may be.
_IN_FILE = {
    "data": (str, "a folder or 'glands'"),
    "out": (str, "a folder"),
    "strategies": ((list, dict), "a list of names, or a table of them"),
    "seeds": ((int, list), "an integer, or a list of integers"),
    "n_jobs": (int, "an integer"),
    "scheduler": (str, "an address"),
    "pseudo_labels": ((int, float), "a number"),
    "limit": (int, "an integer >= 1"),
    "test_limit": (int, "an integer >= 1"),
    "train_split": (str, "a name"),
    "test_split": (str, "a name"),
    "fold": ((int, str), "an integer, or a name"),
    "mask_mapping": (str, "a name"),
    "torn_groups": (bool, "true or false"),
    "protocol": (dict, "a table [protocol]"),
    "estimator": (dict, "a table [estimator]"),
}


def read_toml(path):
    """The options in a file, their names and types checked."""
    import tomllib

    from alseg.validation import did_you_mean, message

    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadArgument(f"{path} must be TOML: {error}") from error
    except RecursionError as error:
        raise BadArgument(
            f"{path} must be TOML of options, but it is nested too deeply."
        ) from error
    except OSError as error:
        raise BadArgument(f"{path} must be a TOML file: {error.strerror}.") from error
    for name, value in found.items():
        if name not in _IN_FILE:
            remedy = did_you_mean(name, _IN_FILE)
            raise BadArgument(f"{path}: unknown key {name!r}. {remedy}".rstrip())
        types, rule = _IN_FILE[name]
        if (
            not isinstance(value, types)
            or isinstance(value, bool) != (types is bool)
            or (name in ("limit", "test_limit") and value < 1)
        ):
            raise BadArgument(f"{path}: {message(name, rule, value)}")
    return found


def _take_data_options(args, given):
    """Set those of a file that the command line does not say."""
    for name in (
        "limit",
        "test_limit",
        "fold",
        "mask_mapping",
        "train_split",
        "test_split",
        "torn_groups",
    ):
        if name in given and getattr(args, name) in (None, "train", "test"):
            setattr(args, name, str(given[name]) if name == "fold" else given[name])


def merged_with_file(args):
    """Options by name: those of the command line before those of the file."""
    given = {"n_jobs": 1, "seeds": 5, "protocol": {}, "estimator": {}}
    if args.config is not None:
        given |= read_toml(args.config)
    for name in ("data", "out", "strategies", "seeds", "n_jobs", "scheduler", "pseudo_labels"):
        if getattr(args, name) is not None:
            given[name] = getattr(args, name)
    _take_data_options(args, given)
    fields = [name for _, name, *_ in PROTOCOL]
    fields += ["window", "class_balanced", "warm_start", "controls", "references"]
    own = {name: getattr(args, name) for name in fields if getattr(args, name) is not None}
    given["protocol"] = {**given["protocol"], **own}
    given["estimator"] = {**given["estimator"], **estimator_options(args)}
    return given


def make_plan(args, given):
    """The plan of the comparison that these options describe."""
    from alseg.comparison import Plan
    from alseg.experiment import Protocol, resolve_strategy

    try:
        named = given["strategies"]
        named = named if isinstance(named, dict) else _named(named)
        strategies = {name: resolve_strategy(value) for name, value in named.items()}
        protocol = Protocol.from_dict(given["protocol"])
    except (ValueError, TypeError) as error:
        raise BadArgument(error) from error
    options = dict(given["estimator"])
    if isinstance(options.get("image_size"), list):
        options["image_size"] = tuple(options["image_size"])
    here = given.get("scheduler") is None  # else workers elsewhere have the device, or not
    estimator = make_estimator(options, here)
    augmenter = make_augmenter(given.get("pseudo_labels"))
    args.data = given["data"]
    data = compared_data(args, protocol)
    seeds = given["seeds"]
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    try:
        torn = False if args.torn_groups is None else args.torn_groups
        return Plan(estimator, strategies, data, protocol, seeds, augmenter, torn)
    except (ValueError, TypeError) as error:
        raise BadArgument(error) from error


def _named(names):
    """Strategies by what the records call them."""
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"strategies must be a list of names, got {names!r}.")
    found = {}
    for name in names:
        short = _short(name)
        if short in found:
            raise ValueError(
                f"strategies must have different names, got {found[short]!r} and {name!r}, both "
                f"{short!r}. Name them in a TOML file: strategies = {{a = ..., b = ...}}."
            )
        found[short] = name
    return found


def _short(name):
    """What the records call a strategy that was named on the command line."""
    return name.rpartition(":")[2].removesuffix("_sampling").replace("_", "-")


class _backend:
    """Where jobs run: here, or on the workers of a dask cluster."""

    def __init__(self, scheduler):
        self.scheduler = scheduler

    def __enter__(self):
        if self.scheduler is None:
            return
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise BadArgument(
                "scheduler needs dask.distributed: pip install 'alseg[dask]'."
            ) from error
        from joblib import parallel_config

        from alseg.comparison import connect

        self.client = connect(self.scheduler)
        self.config = parallel_config(backend="dask")
        self.config.__enter__()

    def __exit__(self, *error):
        if self.scheduler is not None:
            self.config.__exit__(*error)
            self.client.close()


def report(args):
    """The report of a run or a comparison."""
    if not os.path.exists(args.folder):
        raise FileNotFoundError(
            f"no records at {args.folder}: it is not there. Name a folder that `alseg run` or "
            "`alseg compare` has written, or the state folder of `alseg annotate`."
        )
    if os.path.isfile(os.path.join(args.folder, "state.json")):
        report_state(args)
        return
    with _damaged(args.folder):
        _report(args)


@contextmanager
def _damaged(folder):
    """What goes wrong with records that are not ours, as an error about their folder."""
    from alseg.files import RecordsError

    try:
        yield
    except (TypeError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
        if isinstance(error, ValueError):  # says itself what is wrong
            raise
        raise RecordsError(
            f"{folder} holds records that cannot be shown, they are damaged or of another version "
            f"({type(error).__name__}: {error})."
        ) from error


def _report(args):
    from alseg.comparison import FILE_NAME, read_comparison

    if os.path.isfile(os.path.join(args.folder, FILE_NAME)):
        output = args.output or os.path.join(args.folder, "report.html")
        if args.config is not None:
            given = read_toml(args.config)
            args.data = given.get("data") if args.data is None else args.data
            _take_data_options(args, given)
        data = None
        if args.data is not None:
            data = compared_data(args, read_comparison(args.folder).protocol)
        found = read_comparison(args.folder, data)
        from alseg.report import write_csv

        ending = _ending(output)
        if ending == ".csv":
            write_csv(output, found.to_frame())
        elif ending == ".tex":
            found.to_latex(path=output)
        elif ending in _FIGURES:
            found.plot(path=output)
        else:
            found.to_html(output, pictures=not args.no_pictures)
        show(output)
        return
    if args.data is not None or args.config is not None:
        raise BadArgument(
            f"data must be left out for the run in {args.folder}: its pictures were kept in it."
        )
    _report_run(args)


_FIGURES = (".pdf", ".svg", ".png")


def _ending(path):
    return os.path.splitext(path or "")[1].lower()


def _report_run(args):
    from alseg import report
    from alseg.experiment import read_records

    ending = _ending(args.output)
    if ending == ".tex":
        raise BadArgument("output must be .html, .csv, .pdf, .svg or .png for a run, got .tex.")
    if ending not in (".csv", *_FIGURES):
        show(report.write_report(args.folder, args.output))
    elif ending == ".csv":
        show(report.write_csv(args.output, report.tidy_frame(read_records(args.folder))))
    else:
        show(report.save_figure(report.run_curve(read_records(args.folder)), args.output))


class _Bar:
    """A progress bar over rounds: what is left is told once one was measured in this process."""

    def __init__(self, rounds, quiet):
        self.rounds, self.quiet, self.bar = rounds, quiet, None

    def __enter__(self):
        from tqdm import tqdm

        self.bar = tqdm(
            total=self.rounds + 1,
            disable=self.quiet,
            file=sys.stderr,
            leave=False,
            smoothing=0.1,
            bar_format="{desc} {bar} {percentage:3.0f} % [{elapsed}<{remaining}]{postfix}",
        )
        return self

    def __call__(self, round_, stage, record):
        if stage == "done":
            self.bar.update(round_ + 1 - self.bar.n)
        elif round_ > self.bar.n:  # done before an interruption: these took no time now
            self.bar.n = self.bar.initial = self.bar.last_print_n = round_
        self.bar.set_description_str(f"round {round_}/{self.rounds}, {stage}", refresh=False)
        if record is not None:
            dice = record["metrics"]["dice"]
            self.bar.set_postfix_str(f"{record['n_masks']} masks, Dice {100 * dice:.1f}", False)
        self.bar.refresh()

    def __exit__(self, *error):
        self.bar.close()
