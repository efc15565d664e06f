"""What each ingredient of the recipe is worth on GlaS, by folds of its 85 training images.

    python -m benchmarks.studies.ablation --dry-run  # the plan: rows, fits, estimated CPU minutes
    python -m benchmarks.studies.ablation --n-jobs 2        # all rows; resumable, fold by fold
    python -m benchmarks.studies.ablation --only ema stain  # some rows
    python -m benchmarks.studies.ablation --table-only

Paired cross-validation over five folds that tear no patient apart and keep the classes' shares. The
80 test images are not opened. In each fold and for each seed all rows get the same 8 (or 16) masks,
class-balanced at random, the class labels of the whole fold, and the same random numbers. A row
changes one ingredient and is compared with the row named in `against`: the defaults, or, for what
costs a second fit, the defaults trained for as many steps.

A difference is first averaged over the seeds, so that a pair is a fold and the interval speaks
about other patients: five pairs, on which only large gains show. Nothing is a gain whose interval
includes 0. Seconds are CPU seconds at one thread.
"""

import argparse
import copy
import functools
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from alseg import JointCAMSegmenter, PseudoLabelAugmenter, SelfSupervisedPretrainer
from alseg.datasets import class_folds, load_glas
from alseg.experiment import environment, read_records
from alseg.experiment.statistics import paired_t
from alseg.files import write_text
from alseg.labels import MISSING
from alseg.metrics import dice_per_image
from alseg.query import class_balanced_top_n
from benchmarks.core.data import decoded, find_weights, found_all, weights_name
from benchmarks.core.results import BATCHES, RESULTS
from benchmarks.core.runner import run_missing
from benchmarks.core.tables import head, line

N_FOLDS = 5
SECONDS_A_STEP = 0.45  # CPU seconds, measured: MobileNetV2, 12 images of 96 x 144, one thread
MEASURED_AREA = 96 * 144

# One sure stream of pseudo-labels, as in `from_preset`'s companion.
SURE = {"selection": "all", "sure": (0.1, 0.9), "weight": 0.5}


@dataclass(frozen=True)
class Ingredient:
    """One ingredient.

    change : parameters of the estimator that differ from the defaults
    steps : gradient steps, as a multiple of `--steps`
    pseudo : parameters of PseudoLabelAugmenter, or None
    cycles : how often masks are predicted and learned from
    reuse : the default's fit is kept and only its prediction changes
    oracle : "all" takes the true masks for pseudo-labels, "kept" the true classes of those pixels
        alone that the pseudo-labels keep
    warm_up : steps of self-supervised training of the encoder before, as a multiple of `--steps`
    against : the row that it is compared with
    also : a second one, for a row that takes more seconds a step
    """

    what: str
    change: dict = field(default_factory=dict)
    steps: float = 1
    pseudo: dict | None = None
    cycles: int = 0
    reuse: bool = False
    oracle: str = ""
    warm_up: float = 0
    against: str = "default"
    also: str = ""

    @property
    def cost(self):
        """Gradient steps of the whole row, as a multiple of `--steps`."""
        # A step of consistency predicts and decodes more images.
        steps = self.steps * (1.25 if "consistency" in self.change else 1)
        # A step of the warm-up sees 32 images, about twice, and trains no decoder.
        return 0 if self.reuse else steps + self.cycles + 4 * self.warm_up


ROWS = {
    "default": Ingredient("the defaults", against=""),
    "twice": Ingredient("twice the steps", steps=2),
    "thrice": Ingredient("three times the steps", steps=3),
    "no-affine": Ingredient("without zoom and rotation", {"augmentation__affine": None}),
    "no-flips": Ingredient("without flips in training", {"augmentation__flips": "none"}),
    "unpaired": Ingredient(
        "flips move the image and not its mask", {"augmentation__joint_flip": False}
    ),
    "no-jitter": Ingredient("without colour jitter", {"augmentation__jitter": 0.0}),
    "stain": Ingredient("stain 0.05", {"augmentation__stain": 0.05}),
    "stain-strong": Ingredient(
        "stain 0.2 instead of colour jitter",
        {"augmentation__stain": 0.2, "augmentation__jitter": 0.0},
    ),
    "copy-paste": Ingredient(
        "annotated objects pasted into half of the images", {"augmentation__copy_paste": 0.5}
    ),
    "mixup": Ingredient("mix-up, alpha 0.2", {"augmentation__mixup": 0.2}),
    "passes": Ingredient(
        "shuffled passes instead of two streams", {"schedule__sampling": "passes"}
    ),
    "no-second": Ingredient("no images without mask in a batch", {"weak_batch_size": 0}),
    "frozen": Ingredient(
        "encoder's weights stay as pretrained", {"schedule__encoder_lr_scale": 0.0}
    ),
    "full-lr": Ingredient("encoder learns at the full rate", {"schedule__encoder_lr_scale": 1.0}),
    "two-phase": Ingredient(
        "two phases instead of joint", {"schedule__phases": "two-phase"}, steps=2, against="twice"
    ),
    "decoder-narrow": Ingredient(
        "decoder of half the width", {"module__decoder_channels": (64, 32, 24, 16)}
    ),
    "decoder-wide": Ingredient(
        "decoder of twice the width", {"module__decoder_channels": (256, 128, 96, 64)}
    ),
    "no-class": Ingredient("without class loss", {"criterion__class_scale": 0.0}),
    "ce-alone": Ingredient("cross-entropy without Dice", {"criterion__dice_scale": 0.0}),
    "dice-alone": Ingredient("Dice without cross-entropy", {"criterion__ce_scale": 0.0}),
    "ema": Ingredient("moving average of weights, 0.95", {"schedule__ema": 0.95}),
    "consistency": Ingredient(
        "consistency on images without a mask", {"consistency": 1.0}, also="twice"
    ),
    "bfloat16": Ingredient("bfloat16 in training", {"execution__amp": True}),
    "warm-up": Ingredient("encoder warmed up on the fold's images, without labels", warm_up=1),
    "test-flips": Ingredient("mean over four test flips", {"test_flips": "both"}, reuse=True),
    "pseudo-published": Ingredient(
        "pseudo-labels as published: all pixels, weight 0.1",
        pseudo={"k": 40, "weight": 0.1},
        cycles=1,
        against="twice",
    ),
    "pseudo-sure": Ingredient(
        "pseudo-labels: sure pixels, weight 0.5", pseudo=SURE, cycles=1, against="twice"
    ),
    "pseudo-sure-2": Ingredient("the same, two cycles", pseudo=SURE, cycles=2, against="thrice"),
    "pseudo-neighbours": Ingredient(
        "sure pixels of images with an annotated one among their 5 nearest by colours",
        pseudo=SURE | {"selection": "neighbours", "k": 5},
        cycles=1,
        against="pseudo-sure",
    ),
    "pseudo-encoder-neighbours": Ingredient(
        "the same, nearest by the encoder's embeddings",
        pseudo=SURE | {"selection": "neighbours", "k": 5, "descriptor": "encoder"},
        cycles=1,
        against="pseudo-neighbours",
        also="pseudo-sure",
    ),
    "pseudo-agreed": Ingredient(
        "sure pixels, weighed by agreement with colours",
        pseudo=SURE | {"agreement": "weight", "evidence": ("colours",)},
        cycles=1,
        against="pseudo-sure",
    ),
    "pseudo-cam": Ingredient(
        "sure pixels, weighed by agreement with the CAM",
        pseudo=SURE | {"agreement": "weight", "evidence": ("cam",)},
        cycles=1,
        against="pseudo-sure",
    ),
    "pseudo-weighted": Ingredient(
        "all pixels, weighed by confidence",
        pseudo={"selection": "all", "labels": "weighted", "weight": 0.5},
        cycles=1,
        against="pseudo-sure",
    ),
    "pseudo-continued": Ingredient(
        "sure pixels, the second fit goes on from the first",
        pseudo=SURE | {"refit": "continue"},
        cycles=1,
        against="twice",
        also="pseudo-sure",
    ),
    "pseudo-oracle": Ingredient(
        "control: the true masks as pseudo-labels, weight 0.5",
        pseudo=SURE,
        cycles=1,
        oracle="all",
        against="twice",
    ),
    "pseudo-oracle-kept": Ingredient(
        "control: the true classes of the sure pixels, weight 0.5",
        pseudo=SURE,
        cycles=1,
        oracle="kept",
        against="twice",
        also="pseudo-sure",
    ),
}


class Fold:
    """The fits of one fold, seed and number of masks; the default's is kept for the rows on top."""

    def __init__(self, data, options, budget, seed, fold):
        held = class_folds(data.labels, fold, data.groups, N_FOLDS)
        self.train = data.take(np.flatnonzero(~held))
        self.test = data.take(np.flatnonzero(held))
        self.options, self.seed, self._default = options, seed, None
        n = len(self.train.labels)
        order = class_balanced_top_n(np.zeros(n), self.train.labels, n, random_state=seed)
        chosen = set(np.asarray(order)[:budget].tolist())
        self.masks = [self.train.masks[i] if i in chosen else None for i in range(n)]

    def model(self, change, steps):
        return JointCAMSegmenter.from_preset(
            "alseg",
            **{
                "encoder": self.options["encoder"],
                "encoder_weights": self.options["encoder_weights"],
                "image_size": tuple(self.options["image_size"]),
                "max_epochs": 1,
                "steps_per_epoch": round(steps * self.options["steps"]),
                "random_state": self.seed,
                "device": self.options["device"],
                **BATCHES,
                **change,
            },
        )

    def fit(self, model, masks, weight=None):
        """The fitted model, and the CPU seconds that it took."""
        began = time.process_time()
        model.fit(self.train.images, self.train.labels, masks, weight)
        return model, time.process_time() - began

    def fit_on(self, model, masks, weight):
        """As `fit`, of a copy that goes on from where the model is, with other draws."""
        model = copy.deepcopy(model).set_params(random_state=self.seed + 1000)
        began = time.process_time()
        model.partial_fit(self.train.images, self.train.labels, masks=masks, mask_weight=weight)
        return model, time.process_time() - began

    # Not a `cached_property`: its lock cannot go to a worker with the class.
    @property
    def default(self):
        if self._default is None:
            self._default = self.fit(self.model({}, 1), self.masks)
        return self._default

    def run(self, name):
        """The record of one row."""
        row, quality = ROWS[name], []
        before = {}
        if row.reuse:
            model, seconds = self.default[0], 0.0
            before = {key: getattr(model, key) for key in row.change}
            vars(model).update(row.change)
        elif name == "default" or row.pseudo:
            model, seconds = self.default
        else:
            two = row.change.get("schedule__phases") == "two-phase"  # each phase has its own epochs
            change, began = row.change, time.process_time()
            if row.warm_up:
                change = change | {"encoder_weights": self.warmed_up(row.warm_up)}
            warming = time.process_time() - began
            model = self.model(change, row.steps / 2 if two else row.steps)
            model, seconds = self.fit(model, self.masks)
            seconds += warming
        n_steps = 0  # of fits that the last one does not go on from
        for _ in range(row.cycles):
            began = time.process_time()
            masks, weight, found = self.pseudo(row, model)
            seconds += time.process_time() - began
            quality.append(found)
            if row.pseudo.get("refit") == "continue":
                model, more = self.fit_on(model, masks, weight)
            else:
                n_steps += model.n_steps_
                model, more = self.fit(self.model(row.change, 1), masks, weight)
            seconds += more
        began = time.process_time()
        predicted = model.predict_masks(self.test.images)
        prediction = time.process_time() - began
        vars(model).update(before)
        truth = [self.test.masks[i] for i in range(len(self.test.labels))]
        dice = dice_per_image(list(predicted), truth)
        return {
            "row": name,
            "gradient_steps": n_steps + model.n_steps_,
            "dice": float(np.nanmean(dice)),
            "dice_per_image": np.round(dice, 5),
            "ids": self.test.ids,
            "pseudo": quality,
            "seconds": {"fit": seconds, "predict": prediction},
        }

    def warmed_up(self, steps):
        """The file of an encoder trained on the fold's training images, without labels."""
        pretrainer = SelfSupervisedPretrainer(
            self.options["encoder"],
            encoder_weights=self.options["encoder_weights"],
            image_size=tuple(self.options["image_size"]),
            n_steps=round(steps * self.options["steps"]),
            random_state=self.seed,
            device=self.options["device"],
        )
        self.folder = tempfile.TemporaryDirectory(prefix="ablation-")
        return pretrainer.fit(self.train.images).save_encoder(
            Path(self.folder.name, "encoder.safetensors")
        )

    def pseudo(self, row, model):
        augmenter = PseudoLabelAugmenter(**row.pseudo)
        augmenter.fit(
            self.train.images,
            self.train.labels,
            self.masks,
            estimator=model,
            true_masks=self.train.masks,
        )
        masks, weight = augmenter.transform(self.train.images)
        if row.oracle:
            n, kept_alone = len(self.masks), row.oracle == "kept"
            true = [self.train.masks[i] for i in range(n)]
            masks = [true_classes(masks[i], true[i]) if kept_alone else true[i] for i in range(n)]
            weight = [row.pseudo["weight"] if m is None else 1.0 for m in self.masks]
        report = augmenter.report_
        kept = {"n_candidates": len(report.sample_ids), "n_selected": len(augmenter.selected_)}
        for key in ("coverage", "accuracy", "dice"):
            values = report[key][np.isfinite(report[key])]
            kept[key] = float(values.mean()) if len(values) else None
        return masks, weight, kept


def true_classes(guess, true):
    """The true classes of the pixels that have a guessed one; None where the image has none."""
    return None if guess is None else np.where(np.asarray(guess) == MISSING, MISSING, true)


# -- the plan --------------------------------------------------------------------------------


def others(name):
    """The rows that a row is compared with."""
    return [other for other in (ROWS[name].against, ROWS[name].also) if other]


def chosen_rows(only):
    """The rows to run, and those that they are compared with, in the order of `ROWS`."""
    wanted = set(only or ROWS) | {"default"}
    for _ in ROWS:  # what it is compared with may itself be compared
        wanted |= {other for name in wanted for other in others(name)}
    return [name for name in ROWS if name in wanted]


def tasks(options, rows):
    """(budget, seed, fold, row): a fold's rows in one piece, since they share the default's fit."""
    return [
        (budget, seed, fold, name)
        for budget in options["budgets"]
        for seed in options["seeds"]
        for fold in range(N_FOLDS)
        for name in rows
    ]


def minutes(options, work):
    """Estimated CPU minutes: steps times the seconds of one, and reading and predicting."""
    area = np.prod(options["image_size"]) / MEASURED_AREA
    steps = sum(ROWS[name].cost for *_, name in work) * options["steps"]
    # The first fit of a pseudo-label row is the default's, made once for all rows of a fold.
    steps -= sum(ROWS[name].steps for *_, name in work if ROWS[name].pseudo) * options["steps"]
    return (steps * SECONDS_A_STEP * area + 6 * area * len(work)) / 60


def key_of(record):
    return record["budget"], record["seed"], record["fold"], record["row"]


def run_all(options, rows, root, out):
    data = load_glas(root / "glas", fold=None).train
    config = {k: options[k] for k in ("encoder", "image_size", "steps", "n_images")}
    config["encoder_weights"] = weights_name(options["encoder_weights"])
    n, n_images = len(data.labels), options["n_images"]
    data = decoded(data)
    if n_images and n_images < n:
        data = data.take(np.sort(np.random.default_rng(0).permutation(n)[:n_images]))
    run_missing(
        out,
        config,
        tasks(options, rows),
        key_of,
        functools.partial(run_piece, data, options, environment(options["device"])),
        piece_of=lambda task: task[:-1],
        n_jobs=options["n_jobs"],
        title="ablation",
        unit="fold",
    )


def run_piece(data, options, machine, piece):
    """The records of some rows of one fold, seed and number of masks, at one thread."""
    torch.set_num_threads(1)
    budget, seed, fold, _ = piece[0]
    fits = Fold(data, options, budget, seed, fold)
    place = {"budget": budget, "seed": seed, "fold": fold}
    return [{**fits.run(name), **place, "environment": machine} for *_, name in piece]


# -- the table -------------------------------------------------------------------------------


def gains(records, name, budget, against):
    """Of a row over one that it is compared with, in points of Dice, averaged over seeds."""
    found = {key_of(r): r["dice"] for r in records}
    by_fold, seeds = {}, set()
    for b, seed, fold, row in found:
        other = found.get((b, seed, fold, against))
        if (b, row) == (budget, name) and other is not None:
            by_fold.setdefault(fold, []).append(100 * (found[b, seed, fold, row] - other))
            seeds.add(seed)
    return [float(np.mean(values)) for values in by_fold.values()], len(seeds)


def table(records):
    """Markdown: a line a row and number of masks."""
    columns = ("masks", "row", "against", "Dice", "gain", "95 % interval", "verdict")
    lines = head([*columns, "seeds x folds", "CPU seconds"])
    for budget in sorted({record["budget"] for record in records}):
        # A row that is compared with two has two lines.
        for name, against in ((row, other) for row in ROWS for other in others(row) or [""]):
            own = [r for r in records if (r["budget"], r["row"]) == (budget, name)]
            if not own:
                continue
            differences, n_seeds = gains(records, name, budget, against)
            gain = interval = verdict = ""
            if len(differences) > 1:
                test = paired_t(differences)
                low, high = test.interval
                gain, interval = f"{test.mean:+.2f}", f"{low:+.2f} to {high:+.2f}"
                apart = low > 0 or high < 0
                enough = n_seeds >= 3 and len(differences) == N_FOLDS
                verdict = ("gain" if test.mean > 0 else "loss") if apart else "not distinguishable"
                verdict = verdict if enough else "too few fits to say"
            dice = 100 * np.mean([r["dice"] for r in own])
            seconds = np.mean([sum(r["seconds"].values()) for r in own])
            against = ROWS[against].what if against else ""
            size = f"{len({r['seed'] for r in own})} x {len({r['fold'] for r in own})}"
            cells = (budget, ROWS[name].what, against, f"{dice:.1f}", gain, interval, verdict, size)
            lines.append(line([*cells, f"{seconds:.1f}"]))
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=[n for n in ROWS if n != "default"])
    parser.add_argument("--budgets", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--image-size", type=int, nargs=2, default=[96, 144])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--encoder", default="mobilenet_v2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--n-jobs", type=int, default=1, help="folds at once, a thread each")
    parser.add_argument("--n-images", type=int, help="of the 85, for a quick look")
    parser.add_argument("--out", type=Path, default=RESULTS / "ablation")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args(argv)
    rows, options = chosen_rows(arguments.only), vars(arguments).copy()
    if arguments.dry_run:
        work = tasks(options, rows)
        for name in rows:
            print(f"{name:18} {ROWS[name].what}")
        changed = [ROWS[name] for *_, name in work if not ROWS[name].reuse]
        n_fits = sum(row.cycles or 1 for row in changed)
        print(f"{len(work)} records, {n_fits} fits, about {minutes(options, work):.0f} CPU minutes")
        return 0
    if not arguments.table_only:
        folders = found_all("glas")
        if folders is None:
            return 0
        (folder,) = folders
        options["encoder_weights"] = find_weights(folder, arguments.encoder)
        run_all(options, rows, folder.parent, arguments.out)
    text = table(read_records(arguments.out))
    print(text)
    write_text(arguments.out / "table.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
