"""What may be given on the command line."""

import argparse
import sys

from alseg.cli import annotation, experiments
from alseg.cli.errors import BAD_ARGUMENT, EXIT_CODES, PROG, complain
from alseg.cli.experiments import PROTOCOL
from alseg.cli.options import ESTIMATOR


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
        sys.exit(complain(f"{message} (see `{self.prog} --help`)", BAD_ARGUMENT))


def make_parser():
    """The parser of all commands."""
    parser = _Parser(
        prog=PROG,
        formatter_class=_Help,
        allow_abbrev=False,
        description="Active learning for images with few pixel masks.",
        epilog="Try it on made-up data, in a minute:\n"
        "  alseg run --data glands --rounds 3 --n-instances 2 --out runs/first --report\n\n"
        "exit codes:\n" + "".join(f"  {code:<5}{text}\n" for code, text in EXIT_CODES.items()),
    )
    parser.add_argument("--version", action="version", version=_version())
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", parser_class=_Parser
    )

    def command(name, function, help_, example):
        sub = commands.add_parser(
            name,
            help=help_,
            description=help_[0].upper() + help_[1:] + ".",
            allow_abbrev=False,
            formatter_class=_Help,
            epilog=f"example:\n  {example}",
        )
        sub.set_defaults(run=function)
        return sub

    sub = command(
        "run",
        experiments.run,
        "run active learning on data whose masks are known, and record every round",
        "alseg run --data glands --strategy entropy --rounds 3 --n-instances 2 --seed 0 \\\n"
        "    --max-epochs 10 --out runs/entropy --report\n\n"
        "Interrupted, it continues where it was when given the same command again.",
    )
    _run_arguments(sub)

    sub = command(
        "compare",
        experiments.compare,
        "compare strategies over seeds under one protocol, with a verdict",
        "alseg compare --data glands --strategy random --strategy entropy --seeds 3 --rounds 2 \\\n"
        "    --encoder tiny --max-epochs 5 --out runs/compared --report\n\n"
        "Or all of it in a file: alseg compare comparison.toml. Interrupted, it continues where\n"
        "it was when given the same command again; --dry-run prints the plan and what it costs.",
    )
    _compare_arguments(sub)

    sub = command(
        "report",
        experiments.report,
        "write the one-file HTML report of a run, a comparison or a state folder, or their figures",
        "alseg report runs/entropy -o entropy.html",
    )
    sub.add_argument(
        "folder",
        metavar="D",
        help="what alseg run or alseg compare has written, or the state folder of alseg annotate",
    )
    sub.add_argument(
        "-o",
        "--out",
        "--output",
        dest="output",
        metavar="FILE",
        help="default: report.html in D; one that ends "
        "in .csv has the scores, in .tex the table, in .pdf, .svg or .png the learning curves",
    )
    sub.add_argument(
        "--data",
        metavar="glands|DIR",
        help="of a comparison, as given to alseg "
        "compare: for pictures, and intervals for other patients",
    )
    sub.add_argument(
        "--config", metavar="FILE", help="the TOML file of the comparison instead, for its data"
    )
    sub.add_argument(
        "--no-pictures", action="store_true", help="no images of the data in the report"
    )
    _data_arguments(sub)

    sub = command(
        "annotate",
        annotation.annotate,
        "mark the images of a folder in a page of the browser",
        "alseg annotate slides/\n\n"
        "slides/ holds images/<class>/*, or images and a manifest.csv. The page opens; what is\n"
        "saved in it goes to slides-state/, for alseg query, add and predict too. Given again, it\n"
        "goes on.",
    )
    sub.add_argument(
        "data", nargs="?", metavar="DATA", help="the folder of images; needed without --out"
    )
    sub.add_argument("--out", metavar="STATE", help="the state folder; default: DATA-state")
    sub.add_argument(
        "--port", type=_natural, default=0, metavar="N", help="default: one that is free"
    )
    sub.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="NAME",
        help="address to listen at: another one lets other computers in, unencrypted "
        "(default: this computer alone)",
    )
    sub.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    sub.add_argument("--no-training", action="store_true", help="learn nothing behind the pen")
    sub.add_argument(
        "--target",
        type=float,
        metavar="DICE",
        help="per cent that are enough: the page says so once the whole interval is above",
    )
    sub.add_argument(
        "--regions",
        action="store_true",
        help="ask about a ninth of an image at a time, which alone takes marks",
    )
    sub.add_argument("--part", metavar="NAME", help="part of the data, such as train; default: all")
    sub.add_argument(
        "--mask-classes",
        metavar="NAMES",
        help="names of the pixel classes, such as gland,lumen; default: one class",
    )
    sub.add_argument("--seed", type=_natural, metavar="N", help="of the first images; default: 0")
    _mask_arguments(sub, "in the folder of images")

    sub = command(
        "query",
        annotation.query,
        "choose the next images to annotate, and propose their masks",
        "alseg query --data slides/ --out state/ -n 5\n\n"
        "slides/ holds images/<class>/*, or images and a manifest.csv; masks/ if there are some.\n"
        "The first images are named at once. Draw their masks, then: alseg add state/ drawn/ ;\n"
        "alseg query state/ -n 5 trains, looks at images for 10 seconds, and asks again.",
    )
    sub.add_argument("state", nargs="?", metavar="STATE", help="the state folder, as --out")
    sub.add_argument("--data", metavar="DIR", help="the folder of images; needed the first time")
    sub.add_argument("--out", metavar="STATE", help="the state folder, made where it is not there")
    sub.add_argument(
        "-n", "--n-instances", type=_positive, metavar="N", help="images to ask for; default: 5"
    )
    sub.add_argument(
        "--new", action="store_true", help="ask about other images, though earlier ones lack a mask"
    )
    sub.add_argument(
        "--propose",
        action="store_true",
        help="train on the class labels and propose masks before there is any mask",
    )
    sub.add_argument(
        "--first",
        choices=("random", "diverse"),
        help="first images: at random, at "
        "once; or as different as the pretrained encoder sees them, in --seconds "
        "(default: random)",
    )
    sub.add_argument(
        "--seconds",
        type=_seconds,
        metavar="X",
        help="for looking at images before "
        "asking; 0 looks at all; default: 10, or 3 with alseg-fast",
    )
    sub.add_argument("--part", metavar="NAME", help="part of the data, such as train; default: all")
    _mask_arguments(sub, "in the folder of images")
    sub.add_argument(
        "--mask-classes",
        metavar="NAMES",
        help="names of the pixel classes, such as gland,lumen; default: one class",
    )
    sub.add_argument(
        "--mask-kind",
        choices=("classes", "instances"),
        help="what masks hold: classes, whose connected parts are objects, or the ids of objects; "
        "with --objects. Default: classes",
    )
    _strategy_arguments(sub, default=None, balanced=True)
    _estimator_arguments(sub)
    sub.add_argument("--seed", type=_natural, metavar="N", help="default: 0")

    sub = command(
        "add",
        annotation.add,
        "take in masks that were drawn, found by their file names",
        "alseg add state/ drawn/",
    )
    sub.add_argument("state", metavar="STATE", help="what alseg query or annotate has made")
    sub.add_argument("masks", metavar="MASKS", help="folder of masks, named as their images")
    sub.add_argument("--replace", action="store_true", help="replace masks that are there already")
    _mask_arguments(sub, "that were drawn")

    sub = command(
        "undo",
        annotation.undo,
        "take back the last add or query; again for the one before",
        "alseg undo state/",
    )
    sub.add_argument("state", metavar="STATE", help="what alseg query or annotate has made")

    sub = command(
        "predict",
        annotation.predict,
        "write predicted masks and class labels of images",
        "alseg predict state/ new_images/ --out predicted/",
    )
    sub.add_argument("state", metavar="STATE", help="what alseg query or annotate has made")
    sub.add_argument("images", metavar="IMAGES", help="a folder of images, or one image")
    sub.add_argument("--out", metavar="DIR", required=True, help="folder for masks and labels.csv")
    sub.add_argument(
        "--objects",
        action="store_true",
        help="tell objects apart and count them: their ids in objects/, objects.csv and counts.csv",
    )
    sub.add_argument(
        "--min-area",
        type=_natural,
        metavar="N",
        help="with --objects: leave out those of fewer pixels; default: 0",
    )
    sub.add_argument(
        "--overwrite", action="store_true", help="replace predictions of an earlier model"
    )

    for name, sub in commands.choices.items():
        if name == "compare":  # has them in the protocol, which decides the numbers
            sub.set_defaults(threads=None)
        else:
            sub.add_argument(
                "--threads", type=_positive, metavar="N", help="threads of torch; default: its own"
            )
        sub.add_argument("--quiet", action="store_true", help="no progress, no hints")
    return parser


def _version():
    from alseg._version import __version__

    return f"{PROG} {__version__}"


def _run_arguments(sub):
    add = sub.add_argument
    add(
        "--data",
        required=True,
        metavar="glands|DIR",
        help="'glands' makes synthetic histology from the seed; else a folder with masks "
        "(images/<class>/* and masks/*, a manifest.csv, or GlaS as published)",
    )
    add("--out", required=True, metavar="D", help="folder for records.jsonl and panels/")
    _strategy_arguments(sub, default="entropy")
    add("--rounds", type=_natural, default=3, metavar="N", help="rounds after the seed set")
    add("--n-instances", type=_positive, default=2, metavar="N", help="masks asked for in a round")
    add(
        "--initial",
        type=_positive,
        metavar="N",
        help="masks of the seed set, class-balanced; default: two a class",
    )
    add("--seed", type=_natural, default=0, metavar="N", help="decides the whole run")
    add("--report", action="store_true", help="write D/report.html at the end")
    add("--no-panels", action="store_true", help="save no pictures of the images asked for")
    _data_arguments(sub)
    _estimator_arguments(sub)


def _compare_arguments(sub):
    add = sub.add_argument
    add(
        "config",
        nargs="?",
        metavar="FILE",
        help="a TOML file with any of these options; those given here come first",
    )
    add("--data", metavar="glands|DIR", help="as in alseg run")
    add("--out", metavar="D", help="folder for the records; all workers must see it")
    add(
        "--strategy",
        action="append",
        metavar="NAME",
        dest="strategies",
        help="a name such as entropy, or package.module:name; once for each row",
    )
    add("--seeds", type=_positive, metavar="N", help="seeds 0 to N - 1; default: 5")
    add("--n-jobs", type=int, metavar="N", help="fits at once; never changes a number; default: 1")
    add("--scheduler", metavar="ADDRESS", help="of a dask cluster, such as tcp://host:8786")
    add(
        "--dry-run",
        action="store_true",
        help="check all inputs, print the plan and what it would cost, and train nothing",
    )
    add("--report", action="store_true", help="write D/report.html at the end")
    group = sub.add_argument_group("protocol")
    for option, name, type_, metavar, help_ in PROTOCOL:
        names = (option, "--fit-threads") if name == "n_threads" else (option,)
        group.add_argument(*names, dest=name, type=type_, metavar=metavar, help=help_)
    group.add_argument(
        "--window",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="masks between which areas are taken; default: all",
    )
    group.add_argument(
        "--not-class-balanced",
        dest="class_balanced",
        action="store_const",
        const=False,
        help="do not share questions among classes",
    )
    group.add_argument(
        "--warm-start",
        action="store_const",
        const=True,
        help="continue from the model of the round before",
    )
    group.add_argument(
        "--no-controls",
        dest="controls",
        action="store_const",
        const=(),
        help="no rows of random questions beside those given",
    )
    group.add_argument(
        "--no-references",
        dest="references",
        action="store_const",
        const=(),
        help="no full supervision, weak labels and all-ones",
    )
    group.add_argument(
        "--pseudo-labels",
        type=float,
        metavar="LAMBDA",
        help="label the rest by the model itself in all rows, with this weight",
    )
    _data_arguments(sub)
    _estimator_arguments(sub)


def _data_arguments(sub):
    group = sub.add_argument_group("data")
    group.add_argument(
        "--limit",
        "--n-samples",
        type=_positive,
        metavar="N",
        help="training images; glands make 60 by default, a folder has all",
    )
    group.add_argument(
        "--test-limit",
        type=_positive,
        metavar="N",
        help="test images; glands make 30 by default, a folder has all",
    )
    group.add_argument("--train-split", default="train", metavar="NAME", help="part to train on")
    group.add_argument("--test-split", default="test", metavar="NAME", help="part to test on")
    group.add_argument("--fold", metavar="K", help="split by this fold or column of the manifest")
    _mapping_argument(group)
    group.add_argument(
        "--torn-groups",
        action="store_const",
        const=True,
        help="let a group (patient) stand in both parts",
    )


def _mapping_argument(sub):
    sub.add_argument(
        "--mask-mapping",
        choices=("auto", "none", "nonzero", "half", "binary"),
        help="how mask values become classes: nonzero is for instance ids; default: "
        "auto, which looks at some",
    )


def _mask_arguments(sub, which):
    """How masks are to be read: those in a folder of images, or those that were drawn."""
    group = sub.add_argument_group(f"masks {which}")
    _mapping_argument(group)
    group.add_argument(
        "--missing-value",
        type=int,
        metavar="V",
        help="value of pixels that are not annotated, such as 255",
    )
    group.add_argument(
        "--mask-suffix",
        metavar="TEXT",
        help="what a mask's name has beside its image's: with _mask x_mask.png is that of x.png",
    )
    group.add_argument(
        "--resize-masks",
        action="store_const",
        const=True,
        help="bring masks of twice, half, ... the image's size to it",
    )


def _strategy_arguments(sub, default, balanced=False):
    said = "" if default else "; default: entropy"
    sub.add_argument(
        "--strategy",
        default=default,
        metavar="NAME",
        help=f"a name such as random or entropy, or package.module:name{said}",
    )
    sub.add_argument(
        "--class-balanced",
        action="store_const",
        const=True,
        help="share the images asked for among the classes" + ("; the default" if balanced else ""),
    )
    if balanced:
        sub.add_argument(
            "--not-class-balanced",
            dest="class_balanced",
            action="store_const",
            const=False,
            help="do not",
        )
    sub.add_argument(
        "--pseudo-labels",
        type=float,
        metavar="LAMBDA",
        help="label the rest by the model itself, with this weight in the loss",
    )


def _estimator_arguments(sub):
    group = sub.add_argument_group("model")
    group.add_argument(
        "--preset",
        metavar="NAME",
        help="a set-up, such as alseg-fast; options given here come first",
    )
    for option, name, type_, metavar, help_ in ESTIMATOR:
        group.add_argument(option, dest=name, type=type_, metavar=metavar, help=help_)
    group.add_argument(
        "--image-size",
        type=_positive,
        nargs=2,
        metavar=("H", "W"),
        help="size at which the network works; default: of the median image, "
        "at most 128 x 192 pixels",
    )


def _seconds(text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number >= 0, got {text!r}.")
    return value


def _natural(text):
    return _integer(text, 0)


def _positive(text):
    return _integer(text, 1)


_MOST = 2**63 - 1  # what arrays count with


def _integer(text, low):
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or value < low:
        raise argparse.ArgumentTypeError(f"must be an integer >= {low}, got {text!r}.")
    if value > _MOST:
        raise argparse.ArgumentTypeError(f"must be an integer <= {_MOST}, got {text!r}.")
    return value
