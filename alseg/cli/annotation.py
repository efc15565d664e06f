"""Commands on the state folder of somebody who annotates: `query`, `add`, `predict`."""

import sys

from alseg.cli.options import (
    check_out,
    checked,
    estimator_options,
    hint,
    make_augmenter,
    named_strategy,
)


def query(args):
    """Choose the next images to annotate."""
    check_out(args.out)
    options = {"estimator": estimator_options(args)}
    for name in ("strategy", "class_balanced", "pseudo_labels", "seed", "part", "mask_mapping"):
        if getattr(args, name) is not None:
            options[name] = getattr(args, name)
    if args.strategy is not None:
        named_strategy(args)
    from alseg.project import open_project
    from alseg.report.question import write_question
    from alseg.segmenter import JointCAMSegmenter

    checked(JointCAMSegmenter(**options["estimator"]))
    make_augmenter(args.pseudo_labels)
    with open_project(args.out, args.data, options) as project:
        hint(args, f"{len(project.data)} images, {len(project.state['masks'])} masks added. "
                    "Fitting and choosing ...")  # fmt: skip
        found = project.query(args.n_instances, new=args.new, show=write_question)
    if found["again"]:
        hint(args, f"Round {found['round']} is not answered yet (--new asks about other images).")
    for name in found["open"] if found["again"] else found["ids"]:
        print(name)
    hint(args, f"Look at {found['folder'] / 'index.html'}, draw the masks, then: "
                f"alseg add {args.out} FOLDER")  # fmt: skip


def add(args):
    """Take in masks that were drawn."""
    from alseg.project import open_project

    with open_project(args.state) as project:
        names = project.add(args.masks, replace=args.replace, missing_value=args.missing_value)
        left = project.pending()
    for name in names:
        print(name)
    todo = f"{len(left)} of those asked for are still open." if left else "None asked for is open."
    hint(args, f"{len(names)} masks added. {todo} Next: alseg query --out {args.state}")


def predict(args):
    """Write predicted masks and labels."""
    from alseg.project import open_project

    with open_project(args.state) as project:
        from tqdm import tqdm

        with tqdm(unit=" images", disable=args.quiet, file=sys.stderr) as bar:
            n = project.predict(
                args.images, args.out, overwrite=args.overwrite,
                progress=lambda done: bar.update(done - bar.n),
            )  # fmt: skip
    hint(args, f"{n} masks and labels.csv in {args.out}")
