"""The command line: experiments on known masks, and annotation of a folder that has none.

Imports stay inside the commands, so that `alseg --help` does not wait for torch.
"""

import argparse
import os
import sys
import warnings

PROG = "alseg"
_BAD_ARGUMENT, _FAILED, _INTERRUPTED = 2, 1, 130


class _BadArgument(Exception):
    """An argument that is wrong on its own, whatever the data."""


def main(argv=None):
    """Run a command.

    Parameters
    ----------
    argv : list of str or None, default=None
        Arguments without the program's name; None takes those of the process.

    Returns
    -------
    int
        0 if all went well, 1 if it failed, 2 for a wrong argument; the reason is one line on
        stderr.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else list(argv)
    if args.command is None:
        parser.print_help()
        return 0
    try:
        with _threads(args.threads), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return args.run(args) or 0
    except _BadArgument as error:
        return _complain(error, _BAD_ARGUMENT)
    except KeyboardInterrupt:
        return _complain("interrupted. Give the same command again to continue.", _INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`); there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except (ValueError, TypeError, OSError, KeyError) as error:
        if os.environ.get("ALSEG_TRACEBACK"):
            raise
        return _complain(error.args[0] if isinstance(error, KeyError) else error, _FAILED)


def _complain(error, code):
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"{PROG}: error: {text}", file=sys.stderr)
    return code


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(f"{PROG}: warning: {' '.join(str(message).split())}", file=sys.stderr)


class _threads:
    """Set torch's threads for a command and give them back: `main` may be called in a program."""

    def __init__(self, n):
        self.n = n

    def __enter__(self):
        if self.n is not None:
            import torch

            self.before = torch.get_num_threads()
            torch.set_num_threads(self.n)

    def __exit__(self, *error):
        if self.n is not None:
            import torch

            torch.set_num_threads(self.before)


# -- arguments ------------------------------------------------------------------------------------


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog):
        super().__init__(prog, max_help_position=30, width=min(100, _columns()))

    def _get_help_string(self, action):
        # Defaults are said where there is one to say.
        text = action.help or ""
        if "default" in text or action.default in (None, False, argparse.SUPPRESS):
            return text
        return f"{text} (default: {action.default})"


def _columns():
    import shutil

    return shutil.get_terminal_size().columns - 2


class _Parser(argparse.ArgumentParser):
    """As argparse's, but an error is one line, without the usage before it."""

    def error(self, message):
        self.exit(_BAD_ARGUMENT, f"{PROG}: error: {message} (see `{self.prog} --help`)\n")


def _parser():
    parser = _Parser(
        prog=PROG,
        formatter_class=_Help,
        allow_abbrev=False,
        description="Active learning for images with few pixel masks.",
        epilog="Try it on made-up data, in a minute:\n"
        "  alseg run --data glands --rounds 3 --n-instances 2 --out runs/first --report",
    )
    parser.add_argument("--version", action="version", version=_version())
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command",
                                     parser_class=_Parser)  # fmt: skip

    def command(name, function, help_, example):
        sub = commands.add_parser(
            name, help=help_, description=help_[0].upper() + help_[1:] + ".", allow_abbrev=False,
            formatter_class=_Help, epilog=f"example:\n  {example}",
        )  # fmt: skip
        sub.set_defaults(run=function)
        return sub

    sub = command(
        "run", _run,
        "run active learning on data whose masks are known, and record every round",
        "alseg run --data glands --strategy entropy --rounds 3 --n-instances 2 --seed 0 \\\n"
        "    --max-epochs 10 --out runs/entropy --report\n\n"
        "Interrupted, it continues where it was when given the same command again.",
    )  # fmt: skip
    _run_arguments(sub)

    sub = command(
        "compare", _compare,
        "compare strategies over seeds under one protocol, with a verdict",
        "alseg compare --data glands --strategy random --strategy entropy --seeds 3 --rounds 2 \\\n"
        "    --encoder tiny --max-epochs 5 --out runs/compared --report\n\n"
        "Or all of it in a file: alseg compare comparison.toml. Interrupted, it continues where it\n"
        "was when given the same command again; --dry-run prints the plan and what it would cost.",
    )  # fmt: skip
    _compare_arguments(sub)

    sub = command("report", _report, "write the one-file HTML report of a run or a comparison",
                  "alseg report runs/entropy -o entropy.html")  # fmt: skip
    sub.add_argument("folder", metavar="D", help="what alseg run or alseg compare has written")
    sub.add_argument("-o", "--output", metavar="FILE", help="default: report.html in D")
    sub.add_argument("--data", metavar="glands|DIR", help="of a comparison, as given to alseg "
                     "compare: for pictures, and intervals for other patients")  # fmt: skip
    sub.add_argument("--config", metavar="FILE", help="the TOML file of the comparison instead, for "
                     "its data")  # fmt: skip
    sub.add_argument("--no-pictures", action="store_true",
                     help="no images of the data in the report")  # fmt: skip
    _data_arguments(sub)

    sub = command(
        "query", _query, "choose the next images to annotate, and propose their masks",
        "alseg query --data slides/ --out state/ -n 5\n\n"
        "slides/ holds images/<class>/*, or images and a manifest.csv; masks/ if there are some.\n"
        "Draw the masks, then: alseg add state/ drawn/ ; alseg query --out state/ -n 5",
    )  # fmt: skip
    sub.add_argument("--data", metavar="DIR", help="the folder of images; needed the first time")
    sub.add_argument("--out", metavar="STATE", required=True, help="the state folder")
    sub.add_argument("-n", "--n-instances", type=_positive, default=5, metavar="N",
                     help="images to ask for")  # fmt: skip
    sub.add_argument("--new", action="store_true",
                     help="ask about other images, though earlier ones lack a mask")  # fmt: skip
    sub.add_argument("--part", metavar="NAME", help="part of the data, such as train; default: all")
    _mapping_argument(sub)
    _strategy_arguments(sub, default=None)
    _estimator_arguments(sub, preset=False)
    sub.add_argument("--seed", type=_natural, metavar="N", help="default: 0")

    sub = command("add", _add, "take in masks that were drawn, found by their file names",
                  "alseg add state/ drawn/")  # fmt: skip
    sub.add_argument("state", metavar="STATE", help="what alseg query --out has made")
    sub.add_argument("masks", metavar="MASKS", help="folder of masks, named as their images")
    sub.add_argument("--replace", action="store_true", help="replace masks that are there already")
    sub.add_argument("--missing-value", type=int, metavar="V",
                     help="value of pixels that are not annotated")  # fmt: skip

    sub = command("predict", _predict, "write predicted masks and class labels of images",
                  "alseg predict state/ new_images/ --out predicted/")  # fmt: skip
    sub.add_argument("state", metavar="STATE", help="what alseg query --out has made")
    sub.add_argument("images", metavar="IMAGES", help="a folder of images, or one image")
    sub.add_argument("--out", metavar="DIR", required=True, help="folder for masks and labels.csv")
    sub.add_argument("--overwrite", action="store_true", help="replace files that are there")

    for name, sub in commands.choices.items():
        if name == "compare":  # has them in the protocol, which decides the numbers
            sub.set_defaults(threads=None)
        else:
            sub.add_argument("--threads", type=_positive, metavar="N",
                             help="threads of torch; default: its own")  # fmt: skip
        sub.add_argument("--quiet", action="store_true", help="no progress, no hints")
    return parser


def _version():
    from alseg._version import __version__

    return f"{PROG} {__version__}"


def _run_arguments(sub):
    add = sub.add_argument
    add("--data", required=True, metavar="glands|DIR",
        help="'glands' makes synthetic histology from the seed; else a folder with masks "
        "(images/<class>/* and masks/*, a manifest.csv, or GlaS as published)")
    add("--out", required=True, metavar="D", help="folder for records.jsonl and panels/")
    _strategy_arguments(sub, default="entropy")
    add("--rounds", type=_natural, default=3, metavar="N", help="rounds after the seed set")
    add("--n-instances", type=_positive, default=2, metavar="N", help="masks asked for in a round")
    add("--initial", type=_positive, metavar="N",
        help="masks of the seed set, class-balanced; default: two a class")
    add("--seed", type=_natural, default=0, metavar="N", help="decides the whole run")
    add("--report", action="store_true", help="write D/report.html at the end")
    add("--no-panels", action="store_true", help="save no pictures of the images asked for")
    _data_arguments(sub)
    _estimator_arguments(sub)


# Option, field of the protocol, type; those not given keep the protocol's own default.
_PROTOCOL = (
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
)  # fmt: skip


def _compare_arguments(sub):
    add = sub.add_argument
    add("config", nargs="?", metavar="FILE", help="a TOML file with any of these options; those "
        "given here come first")
    add("--data", metavar="glands|DIR", help="as in alseg run")
    add("--out", metavar="D", help="folder for the records; all workers must see it")
    add("--strategy", action="append", metavar="NAME", dest="strategies",
        help="a name such as entropy, or package.module:name; once for each row")
    add("--seeds", type=_positive, metavar="N", help="seeds 0 to N - 1; default: 5")
    add("--n-jobs", type=int, metavar="N", help="fits at once; never changes a number; default: 1")
    add("--scheduler", metavar="ADDRESS", help="of a dask cluster, such as tcp://host:8786")
    add("--dry-run", action="store_true", help="check all inputs, print the plan and what it would "
        "cost, and train nothing")
    add("--report", action="store_true", help="write D/report.html at the end")
    group = sub.add_argument_group("protocol")
    for option, name, type_, metavar, help_ in _PROTOCOL:
        names = (option, "--fit-threads") if name == "n_threads" else (option,)
        group.add_argument(*names, dest=name, type=type_, metavar=metavar, help=help_)
    group.add_argument("--window", type=float, nargs=2, metavar=("LOW", "HIGH"),
                       help="masks between which areas are taken; default: all")  # fmt: skip
    group.add_argument("--not-class-balanced", dest="class_balanced", action="store_const",
                       const=False, help="do not share questions among classes")  # fmt: skip
    group.add_argument("--warm-start", action="store_const", const=True,
                       help="continue from the model of the round before")  # fmt: skip
    group.add_argument("--no-controls", dest="controls", action="store_const", const=(),
                       help="no rows of random questions beside those given")  # fmt: skip
    group.add_argument("--no-references", dest="references", action="store_const", const=(),
                       help="no full supervision, weak labels and all-ones")  # fmt: skip
    group.add_argument("--pseudo-labels", type=float, metavar="LAMBDA",
                       help="label the rest by the model itself in all rows, with this weight")
    _data_arguments(sub)
    _estimator_arguments(sub)


def _data_arguments(sub):
    group = sub.add_argument_group("data")
    group.add_argument("--limit", "--n-samples", type=_positive, metavar="N",
                       help="training images; glands make 60 by default, a folder has all")
    group.add_argument("--test-limit", type=_positive, metavar="N",
                       help="test images; glands make 30 by default, a folder has all")
    group.add_argument("--train-split", default="train", metavar="NAME", help="part to train on")
    group.add_argument("--test-split", default="test", metavar="NAME", help="part to test on")
    group.add_argument("--fold", metavar="K", help="split by this fold or column of the manifest")
    _mapping_argument(group)


def _mapping_argument(sub):
    sub.add_argument("--mask-mapping", choices=("auto", "none", "nonzero", "half", "binary"),
                     help="how mask values become classes: nonzero is for instance ids; default: "
                     "auto, which looks at some")  # fmt: skip


def _strategy_arguments(sub, default):
    said = "" if default else "; default: entropy"
    sub.add_argument("--strategy", default=default, metavar="NAME",
                     help=f"a name such as random or entropy, or package.module:name{said}")
    sub.add_argument("--class-balanced", action="store_const", const=True,
                     help="share the images asked for among the classes")
    sub.add_argument("--pseudo-labels", type=float, metavar="LAMBDA",
                     help="label the rest by the model itself, with this weight in the loss")


# Option, parameter, type; those not given keep the estimator's own default.
_ESTIMATOR = (
    ("--encoder", "encoder", str, "NAME", "tiny, mobilenet_v2, resnet18, ...; default: tiny for "
     "glands, else resnet18"),
    ("--encoder-weights", "encoder_weights", str, "FILE", "a file, a URL, or imagenet (downloads)"),
    ("--pooling", "pooling", str, "NAME", "of class maps: average, max, lse, wildcat, attention"),
    ("--n-mask-classes", "n_mask_classes", int, "N", "pixel classes with the background; "
     "default: 2"),
    ("--max-epochs", "max_epochs", int, "N", "of each fit; default: 30"),
    ("--steps-per-epoch", "steps_per_epoch", int, "N", "default: images / batch size"),
    ("--batch-size", "batch_size", int, "N", "annotated images in a batch; default: 8"),
    ("--lr", "lr", float, "X", "largest learning rate; default: 0.003"),
    ("--schedule", "schedule", str, "NAME", "joint or two-phase; default: joint"),
    ("--device", "device", str, "NAME", "cpu, cuda; default: auto"),
)  # fmt: skip


def _estimator_arguments(sub, preset=True):
    group = sub.add_argument_group("model")
    if preset:
        group.add_argument("--preset", metavar="NAME",
                           help="a set-up, such as alseg; options given here come first")  # fmt: skip
    for option, name, type_, metavar, help_ in _ESTIMATOR:
        group.add_argument(option, dest=name, type=type_, metavar=metavar, help=help_)
    group.add_argument("--image-size", type=_positive, nargs=2, metavar=("H", "W"),
                       help="size at which the network works; default: of the median image, "
                       "at most 192 x 288 pixels")  # fmt: skip


def _estimator_options(args):
    names = [name for _, name, *_ in _ESTIMATOR]
    found = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.image_size is not None:
        found["image_size"] = tuple(args.image_size)
    if getattr(args, "preset", None) is not None:
        found["preset"] = args.preset
    return found


def _estimator(options, data, here=True):
    """The estimator of these options, checked before any data is read."""
    from alseg.segmenter import JointCAMSegmenter

    options = dict(options)
    preset = options.pop("preset", None)
    if data == "glands" and preset is None:
        options.setdefault("encoder", "tiny")
    try:
        if preset is not None:
            return _checked(JointCAMSegmenter.from_preset(preset, **options), here)
        return _checked(JointCAMSegmenter(**options), here)
    except (ValueError, TypeError) as error:
        raise _BadArgument(error) from error


def _natural(text):
    return _integer(text, 0)


def _positive(text):
    return _integer(text, 1)


def _integer(text, low):
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or value < low:
        raise argparse.ArgumentTypeError(f"must be an integer >= {low}, got {text!r}.")
    return value


# -- commands -------------------------------------------------------------------------------------


def _run(args):
    from pathlib import Path

    _check_out(args.out)
    strategy, name = _strategy(args)
    from alseg.experiment.run import run
    from alseg.report.panels import save_panels

    estimator = _estimator(_estimator_options(args), args.data)
    augmenter = _augmenter(args.pseudo_labels)
    train, test = _data(args)
    bar = _Bar(args.rounds, args.quiet)
    with bar:
        records = run(
            estimator, train, test, strategy, rounds=args.rounds, n_instances=args.n_instances,
            initial=args.initial, seed=args.seed, out=args.out, augmenter=augmenter, name=name,
            panels=None if args.no_panels else save_panels, progress=bar,
        )  # fmt: skip
    if not args.quiet:
        print(_summary(records))
    print(f"records: {Path(args.out) / 'records.jsonl'}")
    if args.report:
        from alseg.report.html import write_report

        print(f"report:  {write_report(args.out)}")


def _summary(records):
    from alseg.report.tables import as_markdown, rounds_table

    table = rounds_table(records)
    wanted = ["round", "masks", "Dice", "mean IoU", "class accuracy"]
    return as_markdown(table[[name for name in wanted if name in table]])


def _compare(args):
    from pathlib import Path

    from alseg.report.comparison_table import verdict_text

    given = _merged_with_file(args)
    for name in ("data", "out", "strategies"):
        if given.get(name) is None:
            option = "strategy" if name == "strategies" else name
            raise _BadArgument(f"{option} must be given, as --{option} or in a TOML file.")
    _check_out(given["out"])
    plan = _plan(args, given)
    plan.check()
    if args.dry_run:
        print(plan.describe(given["n_jobs"]))
        return
    with _backend(given.get("scheduler")):
        result = plan.compare(
            given["out"], given["n_jobs"], verbose=not args.quiet, command=_shown(args.argv)
        )
    if not args.quiet:
        from alseg.report.tables import as_markdown

        table = result.table()
        print(as_markdown(table[[name for name in table.columns[:4]]]))
    print(verdict_text(result))
    print(f"records: {given['out']}")
    if args.report:
        print(f"report:  {result.to_html(Path(given['out']) / 'report.html')}")


def _shown(argv):
    """A command as it may stand in a file: of a path from the root its last part alone."""
    import shlex

    def without_folder(text):
        option, sign, value = text.partition("=") if text.startswith("--") else ("", "", text)
        whole = os.path.expanduser(value)
        if not (os.path.isabs(whole) or value.startswith("..")):
            return text
        return option + sign + os.path.basename(whole.rstrip("/"))

    return shlex.join([PROG, *(without_folder(str(text)) for text in argv)])


def _read_toml(path):
    """The options in a file, their names checked."""
    import tomllib

    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise _BadArgument(f"{path} must be TOML: {error}") from error
    known = {"data", "out", "strategies", "seeds", "n_jobs", "scheduler", "pseudo_labels",
             "limit", "test_limit", "train_split", "test_split", "fold", "mask_mapping",
             "protocol", "estimator"}  # fmt: skip
    for name in found:
        if name not in known:
            from alseg.validation import did_you_mean

            remedy = did_you_mean(name, known)
            raise _BadArgument(f"{path}: unknown key {name!r}. {remedy}".rstrip())
    for name in ("protocol", "estimator"):
        if not isinstance(found.get(name, {}), dict):
            raise _BadArgument(f"{path}: {name} must be a table [{name}].")
    for name in ("limit", "test_limit"):
        value = found.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise _BadArgument(f"{name} must be an integer >= 1, got {value!r}.")
    return found


def _take_data_options(args, given):
    """Set those of a file that the command line does not say."""
    for name in ("limit", "test_limit", "fold", "mask_mapping", "train_split", "test_split"):
        if name in given and getattr(args, name) in (None, "train", "test"):
            setattr(args, name, str(given[name]) if name == "fold" else given[name])


def _merged_with_file(args):
    """Options by name: those of the command line before those of the file."""
    given = {"n_jobs": 1, "seeds": 5, "protocol": {}, "estimator": {}}
    if args.config is not None:
        given |= _read_toml(args.config)
    for name in ("data", "out", "strategies", "seeds", "n_jobs", "scheduler", "pseudo_labels"):
        if getattr(args, name) is not None:
            given[name] = getattr(args, name)
    _take_data_options(args, given)
    fields = [name for _, name, *_ in _PROTOCOL]
    fields += ["window", "class_balanced", "warm_start", "controls", "references"]
    own = {name: getattr(args, name) for name in fields if getattr(args, name) is not None}
    given["protocol"] = {**given["protocol"], **own}
    given["estimator"] = {**given["estimator"], **_estimator_options(args)}
    return given


def _plan(args, given):
    from alseg.compare import Plan
    from alseg.experiment.names import resolve_strategy
    from alseg.experiment.protocol import Protocol

    try:
        named = given["strategies"]
        named = named if isinstance(named, dict) else _named(named)
        strategies = {name: resolve_strategy(value) for name, value in named.items()}
        protocol = Protocol.from_dict(given["protocol"])
    except (ValueError, TypeError) as error:
        raise _BadArgument(error) from error
    options = dict(given["estimator"])
    if "image_size" in options:
        options["image_size"] = tuple(options["image_size"])
    here = given.get("scheduler") is None  # else workers elsewhere have the device, or not
    estimator = _estimator(options, given["data"], here)
    augmenter = _augmenter(given.get("pseudo_labels"))
    args.data = given["data"]
    data = _compared_data(args, protocol)
    seeds = given["seeds"]
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    try:
        return Plan(estimator, strategies, data, protocol, seeds, augmenter)
    except (ValueError, TypeError) as error:
        raise _BadArgument(error) from error


def _compared_data(args, protocol):
    """What a comparison is given as `data`."""
    args.seed = 0
    _refuse_without_parts(args, protocol)
    if protocol.n_folds is None:
        return _data(args)
    if args.data == "glands":
        from alseg.datasets import make_glands

        return make_glands(args.limit or 60, random_state=0)
    data = _parts(args)
    if args.limit is not None and "all" in data:
        return _drawn(data["all"], args.limit, 0)
    return data


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
            from distributed import Client
        except ImportError as error:
            raise _BadArgument(
                "scheduler needs dask.distributed: pip install 'alseg[dask]'."
            ) from error
        from joblib import parallel_config

        self.client = Client(self.scheduler, timeout="10s")
        self.config = parallel_config(backend="dask")
        self.config.__enter__()

    def __exit__(self, *error):
        if self.scheduler is not None:
            self.config.__exit__(*error)
            self.client.close()


def _report(args):
    from alseg.comparison import FILE_NAME, read_comparison

    if not os.path.exists(args.folder):
        raise FileNotFoundError(
            f"no records at {args.folder}: it is not there. Name a folder that `alseg run` or "
            "`alseg compare` has written."
        )
    if os.path.isfile(os.path.join(args.folder, FILE_NAME)):
        output = args.output or os.path.join(args.folder, "report.html")
        if args.config is not None:
            given = _read_toml(args.config)
            args.data = given.get("data") if args.data is None else args.data
            _take_data_options(args, given)
        data = None
        if args.data is not None:
            data = _compared_data(args, read_comparison(args.folder).protocol)
        found = read_comparison(args.folder, data)
        print(found.to_html(output, pictures=not args.no_pictures))
        return
    if args.data is not None or args.config is not None:
        raise _BadArgument(
            f"data must be left out for the run in {args.folder}: its pictures were kept in it."
        )
    from alseg.report.html import write_report

    print(write_report(args.folder, args.output))


def _query(args):
    _check_out(args.out)
    options = {"estimator": _estimator_options(args)}
    for name in ("strategy", "class_balanced", "pseudo_labels", "seed", "part", "mask_mapping"):
        if getattr(args, name) is not None:
            options[name] = getattr(args, name)
    if args.strategy is not None:
        _strategy(args)
    from alseg.experiment.project import open_project
    from alseg.report.question import write_question
    from alseg.segmenter import JointCAMSegmenter

    _checked(JointCAMSegmenter(**options["estimator"]))
    _augmenter(args.pseudo_labels)
    with open_project(args.out, args.data, options) as project:
        _hint(args, f"{len(project.data)} images, {len(project.state['masks'])} masks added. "
                    "Fitting and choosing ...")  # fmt: skip
        found = project.query(args.n_instances, new=args.new, show=write_question)
    if found["again"]:
        _hint(args, f"Round {found['round']} is not answered yet (--new asks about other images).")
    for name in found["open"] if found["again"] else found["ids"]:
        print(name)
    _hint(args, f"Look at {found['folder'] / 'index.html'}, draw the masks, then: "
                f"alseg add {args.out} FOLDER")  # fmt: skip


def _add(args):
    from alseg.experiment.project import open_project

    with open_project(args.state) as project:
        names = project.add(args.masks, replace=args.replace, missing_value=args.missing_value)
        left = project.pending()
    for name in names:
        print(name)
    todo = f"{len(left)} of those asked for are still open." if left else "None asked for is open."
    _hint(args, f"{len(names)} masks added. {todo} Next: alseg query --out {args.state}")


def _predict(args):
    from alseg.experiment.project import open_project

    with open_project(args.state) as project:
        from tqdm import tqdm

        with tqdm(unit=" images", disable=args.quiet, file=sys.stderr) as bar:
            n = project.predict(
                args.images, args.out, overwrite=args.overwrite,
                progress=lambda done: bar.update(done - bar.n),
            )  # fmt: skip
    _hint(args, f"{n} masks and labels.csv in {args.out}")


# -- their parts ----------------------------------------------------------------------------------


def _hint(args, text):
    if not args.quiet:
        print(text, file=sys.stderr)


def _check_out(out):
    """Find out now, not after the imports and the data, that nothing can be written there."""
    from pathlib import Path

    place = Path(out)
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise _BadArgument(
            f"out must be a folder that can be written to, got {out!r}. {place} is not a folder."
        )
    if not os.access(place, os.W_OK):
        raise _BadArgument(
            f"out must be a folder that can be written to, got {out!r}. {place} is read-only."
        )


def _strategy(args):
    """The function, and what the records call it."""
    from alseg.experiment.names import resolve_strategy

    try:
        strategy = resolve_strategy(args.strategy)
    except ValueError as error:
        raise _BadArgument(error) from error
    name = args.strategy.removesuffix("_sampling")
    if args.class_balanced:
        from alseg.strategies import class_balanced

        return class_balanced(strategy), f"class-balanced {name}"
    return strategy, name


def _checked(estimator, here=True):
    """The estimator, its parameters checked before any data is read.

    Its device is looked for too where it is fitted `here`.
    """
    try:
        estimator._check_params()
        if here:
            from alseg.device import resolve_device

            resolve_device(estimator.device)
        if isinstance(estimator.encoder, str):
            from alseg.network.encoder import ENCODERS
            from alseg.validation import check_option

            check_option("encoder", estimator.encoder, ENCODERS)
    except (ValueError, TypeError) as error:
        raise _BadArgument(error) from error
    return estimator


def _augmenter(weight):
    if weight is None:
        return None
    from alseg.pseudo import PseudoLabelAugmenter
    from alseg.validation import check_number

    try:
        check_number("pseudo_labels", weight, 0, 1)
    except (ValueError, TypeError) as error:
        raise _BadArgument(error) from error
    return PseudoLabelAugmenter(weight=weight)


def _data(args):
    """The training and the test part."""
    import dataclasses

    import numpy as np

    if args.data == "glands":
        from alseg.datasets import make_glands

        n_train, n_test = args.limit or 60, args.test_limit or 30
        glands = make_glands(n_train + n_test, random_state=args.seed)
        train, test = glands.take(np.arange(n_train)), glands.take(np.arange(n_train, len(glands)))
        return dataclasses.replace(train, name="glands"), dataclasses.replace(test, name="glands")
    if not os.path.exists(os.path.expanduser(args.data)):
        from alseg.validation import did_you_mean

        remedy = did_you_mean(args.data, ["glands"])
        raise _BadArgument(
            f"data must be 'glands' or a folder, got {args.data!r}. {remedy}".rstrip()
        )
    parts = _parts(args)
    found = []
    for option, name, limit in (
        ("train-split", args.train_split, args.limit),
        ("test-split", args.test_split, args.test_limit),
    ):
        if name not in parts:
            named = [part for part in parts if part != "all"]
            raise _BadArgument(
                f"{option} must be a part of {args.data} ({', '.join(named) or 'it has none'}), "
                f"got {name!r}. Name parts in a column 'split' of manifest.csv, or use --fold."
            )
        part = parts[name]
        found.append(part if limit is None else _drawn(part, limit, args.seed))
    return found


def _drawn(part, limit, seed):
    """So many images, drawn from the seed: a sorted folder then does not give one class."""
    import numpy as np

    if limit >= len(part):
        return part
    return part.take(np.sort(np.random.default_rng(seed).permutation(len(part))[:limit]))


def _refuse_without_parts(args, protocol):
    """With folds there is no test part that these options could be about."""
    if protocol.n_folds is None:
        return
    for name, usual in (("test_limit", None), ("fold", None), ("train_split", "train"),
                        ("test_split", "test")):  # fmt: skip
        if getattr(args, name) != usual:
            option = name.replace("_", "-")
            raise _BadArgument(f"{option} must be left out with folds, got {getattr(args, name)!r}.")


def _parts(args):
    from alseg.datasets import load_folder, load_glas

    fold = int(args.fold) if args.fold is not None and args.fold.isdigit() else args.fold
    if os.path.isfile(os.path.join(os.path.expanduser(args.data), "Grade.csv")):
        if isinstance(fold, str):
            raise _BadArgument(f"fold must be an integer in [0, 4] for GlaS, got {fold!r}.")
        return load_glas(args.data, fold=fold or 0)
    mapping = _mapping(args.mask_mapping)
    return load_folder(args.data, fold=fold, mask_mapping=mapping)


def _mapping(name):
    return {None: "auto", "none": None}.get(name, name)


class _Bar:
    """A progress bar over the stages of all rounds."""

    STAGES = {"refit": 0, "ask": 0, "panels": 1, "fit": 1, "evaluate": 3, "done": 4}

    def __init__(self, rounds, quiet):
        self.rounds, self.quiet, self.bar = rounds, quiet, None

    def __enter__(self):
        from tqdm import tqdm

        total = 4 * (self.rounds + 1)
        self.bar = tqdm(
            total=total, disable=self.quiet, file=sys.stderr, leave=False, smoothing=0.1,
            bar_format="{desc} {bar} {percentage:3.0f} % [{elapsed}<{remaining}]{postfix}",
        )  # fmt: skip
        return self

    def __call__(self, round_, stage, record):
        done = 4 * round_ + self.STAGES[stage]
        if done > self.bar.n:
            self.bar.update(done - self.bar.n)
        self.bar.set_description_str(f"round {round_}/{self.rounds}, {stage}", refresh=False)
        if record is not None:
            dice = record["metrics"]["dice"]
            self.bar.set_postfix_str(f"{record['n_masks']} masks, Dice {100 * dice:.1f}", False)
        self.bar.refresh()

    def __exit__(self, *error):
        self.bar.close()
