"""Commands on the state folder of somebody who annotates: `annotate`, `query`, `add`, ..."""

import contextlib
import os

from alseg.cli.errors import FAILED, BadArgument, begun, complain, tell
from alseg.cli.options import (
    check_out,
    checked,
    estimator_options,
    hint,
    make_augmenter,
    named_strategy,
)

_LISTED = 5  # files that one line names
_THIS_COMPUTER = ("127.0.0.1", "localhost", "::1")


def annotate(args):
    """Serve a page in which somebody marks the images."""
    if args.port > 65535:
        raise BadArgument(f"port must be an integer in [0, 65535], got {args.port}.")
    if args.target is not None and not 0 < args.target <= 100:
        raise BadArgument(f"target must be in (0, 100], got {args.target}.")
    state = _state_beside(args.data) if args.out is None else args.out
    check_out(state)
    if args.host not in _THIS_COMPUTER:
        tell(
            f"alseg: warning: with --host {args.host} whoever has the address below can see the "
            "images and mark them, and the connection is not encrypted."
        )
    with contextlib.ExitStack() as stack:
        stack.enter_context(begun(args, f"Opening {state}"))
        from alseg.annotate import serve
        from alseg.project import open_project
        from alseg.validation import in_shell

        project = stack.enter_context(open_project(state, args.data, _project_options(args)))
        hint(args, project.summary() + ".")
        for line in project.notes():
            hint(args, line)

        def ready(address):
            print(address, flush=True)
            hint(args, f"Marks go to {state}. Ctrl-C ends it; what was saved stays.")
            if not args.no_browser:
                _open_browser(address)

        with contextlib.suppress(KeyboardInterrupt):  # the way to end it
            serve(
                project,
                host=args.host,
                port=args.port,
                ready=ready,
                train=not args.no_training,
                target=None if args.target is None else args.target / 100,
                regions=args.regions,
            )
    hint(args, f"Ended. Train and predict: alseg predict {in_shell(state)} IMAGES --out DIR")


def _state_beside(data):
    """The state folder of a folder of images, where none is named: the same one each time."""
    from pathlib import Path

    if data is None:
        raise BadArgument("DATA must be given to start, or --out STATE to go on.")
    data = Path(data).expanduser().resolve()
    data = data.parent if data.is_file() else data
    if not data.name:
        raise BadArgument(f"--out STATE must be given for {data}.")
    return f"{data}-state"


def _open_browser(address):
    """In a thread: a browser of the terminal would not come back."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def report_state(args):
    """The report of a state folder: what was spent, and how good the model got. It only reads."""
    output = args.output or os.path.join(args.folder, "report.html")
    if os.path.splitext(output)[1].lower() not in (".html", ".htm"):
        raise BadArgument(f"output must end in .html for a state folder, got {output}.")
    if args.data is not None or args.config is not None:
        raise BadArgument(f"data must be left out for {args.folder}: it knows its images.")
    from alseg.annotate import spent
    from alseg.report import write_annotation_report

    found = spent(args.folder)
    path = write_annotation_report(output, found)
    quality = found["quality"]
    print(_how_good(quality))
    print(_how_much(found))
    print(path)


def _how_much(found):
    """A line about what was spent; where masks came as files alone, nothing of that is known."""
    from alseg.validation import counted

    if not found["minutes"]:
        return f"{counted(found['n_marked'], 'image')} with a mask."
    seconds = found["seconds"]
    each = "" if seconds["median"] is None else f" Median {seconds['median']:.0f} s an image."
    return (
        f"{found['minutes']:.1f} active minutes on {counted(found['n_images'], 'image')}: "
        f"{found['strokes']} strokes, {found['clicks']} clicks, {found['points']} points.{each}"
    )


def _how_good(quality):
    """A line about the model of a state folder."""
    if quality["dice"] is None:
        return "No check has been measured yet."
    low, high = quality["low"], quality["high"]
    ends = "" if low is None else f" ({100 * low:.0f} to {100 * high:.0f})"
    n, groups, ahead = quality["n_checks"], quality["n_groups"], quality["forecast"]
    text = f"Dice {100 * quality['dice']:.0f}{ends} from {n} {'check' if n == 1 else 'checks'}"
    if groups is not None:
        text += f" of {groups} {'group' if groups == 1 else 'groups'}"
    if ahead is not None:
        text += f"; about {100 * ahead['dice']:.0f} after {ahead['after']:.0f} more minutes"
    return f"{text}. {quality['advice']['text']}".rstrip()


def query(args):
    """Choose the next images to annotate."""
    if (args.out is None) == (args.state is None):
        raise BadArgument("the state folder must be given once, as STATE or as --out STATE.")
    args.out = args.state if args.out is None else args.out
    check_out(args.out)
    with contextlib.ExitStack() as stack:
        stack.enter_context(begun(args, f"Opening {args.out}"))
        options = _project_options(args)
        _check_model_options(args, options)
        from alseg.project import ask, open_project
        from alseg.report import question_page
        from alseg.validation import EmptyPool, counted, in_shell

        project = stack.enter_context(open_project(args.out, args.data, options))
        project.quiet = args.quiet
        hint(args, project.summary() + ".")
        for line in project.notes():
            hint(args, line)
        n = 5 if args.n_instances is None else args.n_instances
        seconds = "auto" if args.seconds is None else args.seconds or None
        try:
            found = ask(
                project,
                n,
                new=args.new,
                propose=args.propose,
                max_seconds=seconds,
                show=question_page,
                say=lambda text: hint(args, text),
            )
        except EmptyPool as error:
            if project.pending():
                raise
            rest = f"To train and predict: alseg predict {in_shell(args.out)} IMAGES --out DIR"
            raise EmptyPool(f"{error} {rest}") from error
    _warn_unreadable(found["unreadable"])
    if found["again"]:
        ignored = "" if args.n_instances is None else f" -n {n} is not used."
        hint(
            args,
            f"Round {found['round']} is not answered yet, {len(found['open'])} open."
            f"{ignored} --new asks about other images, `alseg undo` takes the question "
            "back.",
        )
    elif len(found["ids"]) < n:
        hint(args, f"No more than {counted(len(found['ids']), 'image')} can be asked for.")
    if found["looked_at"] is not None:
        hint(args, f"Looked at {_spaced(found['looked_at'])} of {_spaced(found['pool'])} images.")
    for name in found["open"] if found["again"] else found["ids"]:
        print(_name(name))
    hint(
        args,
        f"Look at {found['folder'] / 'index.html'}, draw the masks, then: "
        f"alseg add {in_shell(args.out)} FOLDER",
    )


def _check_model_options(args, options):
    """What is found wrong before any file is read; torch is imported only where it is needed."""
    make_augmenter(args.pseudo_labels)
    if args.strategy is not None:
        named_strategy(args)
    if options["estimator"]:
        from alseg.files import nested_names
        from alseg.segmenter import JointCAMSegmenter

        given = nested_names(options["estimator"])
        try:
            estimator = JointCAMSegmenter.from_preset(given.pop("preset", "alseg"), **given)
        except (ValueError, TypeError) as error:
            raise BadArgument(error) from error
        checked(estimator)


def _project_options(args):
    from alseg.project import OPTIONS

    given = {name: getattr(args, name, None) for name in OPTIONS}
    options = {name: value for name, value in given.items() if value is not None}
    if "mask_classes" in options:
        options["mask_classes"] = [name.strip() for name in options["mask_classes"].split(",")]
    return {"estimator": estimator_options(args), **options}


def add(args):
    """Take in masks that were drawn."""
    from alseg.project import MASK_OPTIONS, open_project
    from alseg.project import add as add_masks
    from alseg.validation import counted, in_shell

    given = {name: getattr(args, name) for name in MASK_OPTIONS}
    with open_project(args.state) as project:
        found = add_masks(project, args.masks, replace=args.replace, **given)
        left = project.pending()
    if found["coding"]:
        hint(args, found["coding"] + ".")
    if found["skipped"]:
        hint(args, found["skipped"])
    state = in_shell(args.state)
    for name, look in found["looks"].items():
        print(_name(name) if args.quiet else f"{_name(name)}: {look.line()}")
    for name, look in found["looks"].items():
        for warning in look.warnings:
            tell(f"alseg: warning: {_name(name)} {warning}")
    todo = f"Still open of those asked for: {len(left)}." if left else "None asked for is open."
    same = f" There already: {len(found['same'])}." if found["same"] else ""
    hint(
        args,
        f"{counted(len(found['looks']), 'mask')} added.{same} {todo} "
        f"Next: alseg query {state} (or alseg undo {state})",
    )


def undo(args):
    """Take back the last `add` or `query`."""
    from alseg.project import open_project
    from alseg.project import undo as take_back

    with open_project(args.state) as project:
        found = take_back(project)
    for name in found["ids"]:
        print(_name(name))
    what = "the masks of these images" if found["command"] == "add" else "the question about these"
    hint(args, f"Took back {what}.")


def predict(args):
    """Write predicted masks and labels, and objects."""
    if args.min_area is not None and not args.objects:
        raise BadArgument("min-area must be left out without --objects: it is of them.")
    with contextlib.ExitStack() as stack:
        stack.enter_context(begun(args, f"Opening {args.state}"))
        from alseg.project import open_project
        from alseg.project import predict as predict_folder
        from alseg.validation import counted

        project = stack.enter_context(open_project(args.state))
        project.quiet = args.quiet
        hint(args, project.summary() + ".")
        with _Bar(args.quiet) as bar:
            found = predict_folder(
                project,
                args.images,
                args.out,
                overwrite=args.overwrite,
                progress=bar.show,
                say=lambda text: hint(args, text),
                objects=args.objects,
                min_area=args.min_area or 0,
            )
    if found["skipped"]:
        hint(args, f"Skipped, no images: {_listed(found['skipped'])}.")
    if found["kept"]:
        hint(args, f"Changed by somebody since, so left as they are: {_listed(found['kept'])}.")
    hint(args, f"{counted(found['n'], 'mask')} and labels.csv in {args.out}")
    if found["n_objects"] is not None:
        n = counted(found["n_objects"], "object")
        hint(
            args,
            f"{n} in objects.csv and counts.csv, their ids in {os.path.join(args.out, 'objects')}",
        )
    if found["bad"]:
        first = next(iter(found["bad"].values()))
        n = len(found["bad"])
        return complain(
            f"{n} of {n + found['n']} images could not be read: {_listed(found['bad'])}. {first}",
            FAILED,
        )


class _Bar:
    """A bar that is made when the total is known."""

    def __init__(self, quiet):
        self.quiet, self.bar = quiet, None

    def __enter__(self):
        return self

    def show(self, done, total):
        if self.bar is None:
            from alseg.progress import progress

            self.bar = progress("predict", total, show=not self.quiet)
        self.bar.update(done - self.bar.n)

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.close()


def _warn_unreadable(unreadable):
    if unreadable:
        first = next(iter(unreadable.values()))
        tell(
            f"alseg: warning: left out, since they cannot be read ({len(unreadable)}): "
            f"{_listed(unreadable)}. {first}"
        )


def _name(name):
    """A name as a terminal may show it."""
    from alseg.validation import printable

    return printable(str(name))


def _listed(names):
    names = list(names)
    shown = ", ".join(_name(name) for name in names[:_LISTED])
    return shown + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _spaced(n):
    return f"{n:,}".replace(",", " ")
