"""The plain active-learning experiment: seed set, then rounds of ask, annotate, fit, evaluate."""

import functools
import inspect
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sklearn.base import clone

from alseg.calling import unit_of
from alseg.derived import joint_of, masks_of
from alseg.experiment.description import describe_data, described
from alseg.experiment.evaluation import TAKEN, evaluate
from alseg.experiment.machine import environment, peak_memory, peak_memory_mib
from alseg.experiment.measures import as_measures, told_measures
from alseg.experiment.protocol import check_groups
from alseg.experiment.records import Records, read_records, same
from alseg.experiment.stopping import agreement
from alseg.files import RecordsError, files_below, jsonable, remove_files
from alseg.images import as_images, as_masks, check_pairs
from alseg.interfaces import Saved, before_and_last, is_fitted, loaded, mask_classes_of, meets
from alseg.labels import as_labels, is_annotated, label_names, label_strata, missing_labels
from alseg.learner import ActiveLearner
from alseg.metrics import dice_score
from alseg.oracles import MaskOracle
from alseg.pseudo import fits_of_round
from alseg.query import AnnotationCost, Regions, annotation_cost, class_balanced_top_n
from alseg.strategies import as_function, check_needs, entropy_score
from alseg.validation import check_number, message


def run(
    estimator,
    train,
    test,
    strategy,
    *,
    rounds,
    n_instances,
    out,
    initial=None,
    seed=0,
    augmenter=None,
    name=None,
    panels=None,
    progress=None,
    start=None,
    keep_model=False,
    warm_start=False,
    epochs=None,
    until=None,
    cost_rates=(0.0, 1.0),
    metrics=None,
    checked=False,
    allow_torn_groups=False,
):
    """Run active learning on images whose masks are all known, and record every round.

    Round 0 annotates a class-balanced random seed set, which depends on the data, `initial` and
    `seed` alone, so that strategies start from the same images. Each later round asks `strategy`
    for `n_instances` more, adds their masks, fits from scratch, and evaluates on `test`.

    It may be killed at any moment. Called again with the same arguments it continues after the last
    whole record and ends with the records of an uninterrupted run, apart from the fields in
    `alseg.experiment.records.VOLATILE`: every random number of a round follows from `seed` and the
    round, so the ids in the records are all that is needed. With more `rounds` it goes on.

    Parameters
    ----------
    estimator : estimator
        As `JointCAMSegmenter`; never fitted itself. Its `random_state` is set from `seed`.
    train, test : Dataset
        With ``images``, ``labels``, ``masks``, ``ids`` and ``instances`` (or None), as
        `alseg.datasets` gives them. Training images without a mask are left out.
    strategy : callable, or a strategy of scikit-activeml
        ``f(learner, X_pool, n_instances=1, ...) -> query_idx``.
    rounds : int, at least 0
        Rounds after the seed set.
    n_instances : int, at least 1
        Masks asked for in each.
    out : str or Path
        Folder for ``records.jsonl`` and ``panels/``.
    initial : int or None, default=None
        Masks of the seed set. None is two a class, of several classes an image two a column.
    seed : int, default=0
    augmenter : PseudoLabelAugmenter or None, default=None
    name : str or None, default=None
        What the records call the strategy; None is the function's name.
    panels : callable or None, default=None
        Saves pictures of each image asked for; `alseg.report.panels.save_panels` makes those that
        the report shows. Called as ``panels(out, round, sample_id, image, mask, seen)``.
    progress : callable or None, default=None
        Called as ``progress(round, stage, record)`` with stage "ask", "fit", "evaluate" (record
        None) and "done".
    start : str or Path or None, default=None
        Folder of a run of 0 rounds with `keep_model` on the same data, estimator and seed: its
        round 0 is this run's, and its model asks first. So strategies share one network.
    keep_model : bool, default=False
        Whether to save the last model in `out`, as ``model-<round>/``.
    warm_start : bool, default=False
        Whether each fit continues from the model before, instead of from scratch.
    epochs : int or None, default=None
        Passes over the annotated images in each fit, so that its steps grow with the masks; None
        leaves the estimator's own number of steps.
    until : callable or None, default=None
        ``f(records) -> reason or None``, asked after each round; a reason ends the run there and
        stands in the last record as ``stopped``. It must depend on the records alone.
    cost_rates : (float, float), default=(0.0, 1.0)
        Seconds per image and per click of `alseg.query.annotation_cost`.
    metrics : dict, sequence of str or None, default=None
        Further scores, as ``Protocol(metrics=)`` takes them.
    checked : bool, default=False
        Whether the data were checked before (`check_data`).
    allow_torn_groups : bool, default=False
        Whether a group (patient) may stand in both `train` and `test`. The parts of published
        splits, as `load_glas` gives them, are taken as they are; the records say so.

    Returns
    -------
    records : list of dict
        One a round, round 0 first:

        - ``round``, ``strategy``, ``seed``, ``config`` (what decides the numbers)
        - ``sample_ids`` asked in this round, positions in the annotated part of `train`; ``asked``,
          their names, labels, and what the model that asked thought of them
        - ``n_masks`` that the oracle has given, ``n_masks_validation`` used to choose a threshold
          (with ``validation`` a fraction, they are among the former), ``gradient_steps`` of this
          round's fits
        - ``validation_score``, where ``keep_epoch="validation"`` chose the weights by it
        - ``foreground_pixels`` of objects that the oracle has annotated so far
        - ``cost`` so far in ``images``, ``pixels``, ``clicks`` and ``seconds``, see
          `alseg.query.annotation_cost`
        - ``metrics``, see `alseg.experiment.evaluate`
        - ``agreement`` with the round before, over the training images: ``dice`` and ``kappa``
        - ``pseudo``, with an augmenter that reports it: images that could get a pseudo-mask and
          those that did (``n_candidates``, ``n_selected``), the mean ``coverage`` of the former,
          and the mean ``accuracy`` and ``dice`` of the labelled pixels against the hidden masks
        - ``torn_groups``, where groups stand in `train` and `test`: ``n_torn``, ``n_groups`` and
          whether that is ``published``
        - ``seconds``, ``memory_mib`` (the most held while asking and while fitting),
          ``environment``

    Raises
    ------
    OSError
        If `out` cannot be written to; before any training, as all of these.
    RecordsError
        If `out` holds records of other arguments, or another run is writing there.
    ValueError
        If an image cannot be read, a mask does not fit its image, more masks are asked for than
        there are, or a group stands in both parts.
    """
    torn = check_groups(train, test, allow_torn_groups)
    check_number("rounds", rounds, 0, integer=True)
    check_number("n_instances", n_instances, 1, integer=True)
    check_number("seed", seed, 0, integer=True)
    train, strategy = annotated_part(train), as_function(strategy)
    labels = as_labels(train.labels, len(train.ids))
    n_classes = labels.shape[1] if labels.ndim == 2 else label_strata(labels).max() + 1
    initial = 2 * n_classes if initial is None else initial
    check_number("initial", initial, 1, integer=True)
    _check_wanted(len(labels), initial, rounds, n_instances, strategy)
    name = getattr(strategy, "__name__", repr(strategy)) if name is None else name
    measures = {key: one.resolved() for key, one in as_measures(metrics, TAKEN).items()}
    config = {
        "strategy": name,
        "seed": seed,
        "n_instances": n_instances,
        "initial": initial,
        "estimator": described(estimator),
        "augmenter": None if augmenter is None else described(augmenter),
        "data": describe_data(train, test),
    }
    for key, value, usual in (
        ("warm_start", warm_start, False),
        ("epochs", epochs, None),
        ("cost_rates", list(cost_rates), [0.0, 1.0]),
        ("metrics", told_measures(measures), {}),
    ):
        if value != usual:
            config[key] = value
    check_needs(strategy, estimator, "strategy", labels=labels)
    with Records(out, config) as records:
        _check_rounds(records)
        if start is not None and not records.records:
            records.append(_round_0_of(start, name, records.config))
        done = len(records.records)
        if done > rounds or (done and records.records[-1].get("stopped")):
            return list(records.records)
        _warn_of_another_machine(records.records)
        if not checked:
            check_data(estimator, train, test)
        loop = _Loop(
            estimator,
            strategy,
            train,
            test,
            initial,
            n_instances,
            seed,
            augmenter,
            warm_start,
            epochs,
            cost_rates,
            measures,
        )
        loop.replay(records.records)
        if done == 1 and start is not None:
            loop.load(_model_folder(start, 0))
        elif done and loop.carries:
            loop.load(_model_folder(out, done - 1))
        shared = {} if torn is None else {"torn_groups": torn}

        def made(round_):
            save = None if panels is None else functools.partial(panels, out, round_)
            found = loop.round(round_, save, progress)
            return {**jsonable({"strategy": name, "seed": seed, **found}), **shared}

        _go_on(loop, records, made, range(done, rounds + 1), out, keep_model, until, progress)
        return list(records.records)


def _check_wanted(n_known, initial, rounds, n_instances, strategy):
    """Refuse to ask for more masks than there are."""
    # Parts of images are more than images: what is left of them is not known ahead.
    wanted = initial + rounds * n_instances * (unit_of(strategy) == "image")
    if wanted > n_known:
        most = max(0, (n_known - initial) // n_instances)
        raise ValueError(
            message(
                "initial + rounds * n_instances",
                f"at most {n_known}, the training images with a mask",
                wanted,
                f"With these sizes, ask for at most {most} rounds.",
            )
        )


def _round_0_of(start, name, config):
    """The first record of a run that others start from, under the name of this one."""
    first = dict(read_records(start)[0])
    if not same({**first.pop("config"), "strategy": name}, config):
        raise RecordsError(
            f"{start} is round 0 of another run. Use another output folder, or the options "
            "of that run to continue it."
        )
    return {**first, "strategy": name}


def _go_on(loop, records, made, rounds, out, keep_model, until, progress):
    """Make and keep the records of the rounds that are left, and the model where it is needed."""
    before = files_below(_model_folder(out, rounds.start - 1)) if loop.carries else []
    for round_ in rounds:
        record = made(round_)
        reason = None if until is None else until([*records.records, record])
        # Before the record: a record without its model could not be continued from.
        if loop.carries or (keep_model and round_ == rounds[-1]):
            loop.save(_model_folder(out, round_))
        records.append(record if reason is None else {**record, "stopped": reason})
        if loop.carries:
            remove_files(_model_folder(out, round_ - 1), before)
            before = files_below(_model_folder(out, round_))
        if progress is not None:
            progress(round_, "done", records.records[-1])
        if reason is not None:
            break


def device_of(estimator):
    """Where an estimator would be fitted ("cpu", "cuda"), or None where it does not say."""
    from alseg.training import resolve_device

    return resolve_device(estimator.device) if hasattr(estimator, "device") else None


def _model_folder(out, round_):
    return Path(out) / f"model-{round_}"


def check_data(estimator, train, test):
    """Look at every image and mask, so that a bad one is named before anything is trained.

    Raises
    ------
    ValueError
        If one cannot be read, or a mask does not fit its image or the classes.
    """
    n_mask_classes = mask_classes_of(estimator, None)
    check_pairs(train.images, train.masks, n_mask_classes)
    check_pairs(test.images, test.masks, n_mask_classes)


def foreground_pixels(masks):
    """Pixels of a class above 0 in masks; one that is None has none.

    Examples
    --------
    >>> foreground_pixels([np.array([[0, 2], [-1, 1]]), None])
    2
    """
    return int(sum((np.asarray(mask) > 0).sum() for mask in masks if mask is not None))


def set_passes(estimator, epochs, n_masks):
    """Make the fits of an estimator so many passes over the annotated images."""
    steps = -(-n_masks // estimator.batch_size)
    estimator.set_params(max_epochs=epochs, steps_per_epoch=steps)


class _Loop:
    """The learner, and a round of asking, annotating, fitting and measuring.

    Everything random follows from the seed and the round, so that the ids in the records are all
    that is needed to go on.
    """

    n_watched = 16  # training images over which the models of two rounds are compared

    def __init__(
        self,
        estimator,
        strategy,
        train,
        test,
        initial,
        n_instances,
        seed,
        augmenter,
        warm_start,
        epochs,
        cost_rates,
        measures,
    ):
        self.measures = measures
        self.estimator, self.train, self.test, self.seed = estimator, train, test, seed
        self.initial, self.n_instances = initial, n_instances
        self.epochs, self.cost_rates = epochs, cost_rates
        self.cost = AnnotationCost(0, 0, 0, 0.0)
        self.foreground = 0
        self.oracle = MaskOracle(train.masks)
        # Whether a round's fits need the model of the round before.
        self.carries = any(fit.needs_last for fit in fits_of_round(augmenter, warm_start))
        if self.carries and not meets(estimator, Saved):
            rule = "one with save and load for a run whose rounds need the model of the one before"
            remedy = "Take warm_start=False, and an augmenter with refit='scratch' or 'continue'."
            raise TypeError(message("estimator", rule, estimator, remedy))
        self.learner = ActiveLearner(
            estimator,
            strategy,
            images=train.images,
            labels=train.labels,
            groups=getattr(train, "groups", None),
            augmenter=augmenter,
            warm_start=warm_start,
            random_state=seed,
        )
        if augmenter is not None and "true_masks" in inspect.signature(augmenter.fit).parameters:
            self.learner.true_masks = train.masks  # for the record of their quality alone
        watched = np.random.default_rng(seed).permutation(len(train.labels))[: self.n_watched]
        self.watched, self.watched_masks = as_images(train.images).take(np.sort(watched)), None

    def replay(self, records):
        """Annotate what the records have asked, without a fit."""
        for record in records:
            regions = Regions.from_dict(record["regions"]) if "regions" in record else None
            answer = self.oracle(record["sample_ids"], regions=regions)
            self.learner.annotate(record["sample_ids"], answer, fit=False)
            self.cost = AnnotationCost(**record["cost"])
            self.foreground += foreground_pixels(answer)

    def load(self, folder):
        """Take the model that `save` has left, if there is one; else it is fitted again."""
        if folder.is_dir():
            self.learner.estimator = loaded(self.estimator, folder)

    def save(self, folder):
        """Write the model, and where the next round needs it take what was written.

        Nothing of the optimizer is in a file: a chain that was killed and one that was not then
        continue from the same.
        """
        if meets(self.learner.estimator, Saved):
            self.learner.estimator.save(folder)
            if self.carries:
                self.load(folder)

    def round(self, round_, panels, progress):
        """What a round found; see `run` for the record."""
        learner, train, memory = self.learner, self.train, {}
        watch = _Watch(round_, progress)
        device = device_of(self.estimator)
        if round_ and not is_fitted(learner.estimator):
            with watch("refit"):  # continued after an interruption: the model that has to ask
                self._prepare_fit(len(learner.annotated_ids))
                learner.fit()
        if round_ and self.watched_masks is None:
            self.watched_masks = learner.predict_masks(self.watched)
        with watch("ask", "query"), peak_memory(memory, "query", device):
            sample_ids, regions = self._ask(round_)
            masks = self.oracle(sample_ids, regions=regions)
        with watch("panels"):
            model = learner.estimator if round_ else None
            asked = _describe_asked(sample_ids, train, masks, model, panels)
        with watch("fit"), peak_memory(memory, "fit", device):
            self._prepare_fit(len(np.union1d(learner.annotated_ids, sample_ids)))
            learner.annotate(sample_ids, masks)
        self.cost = self.cost + self._cost_of(sample_ids, masks, regions)
        self.foreground += foreground_pixels(masks)
        model = learner.estimator
        with watch("evaluate"):
            metrics = evaluate(model, self.test, self.measures)
            seen, self.watched_masks = self.watched_masks, masks_of(model, self.watched)
            agreed = None if seen is None else agreement(seen, self.watched_masks)
        own = before_and_last(model)[1]
        device, validation = getattr(own, "device_", None), getattr(own, "validation_", None)
        return {
            "round": round_,
            "sample_ids": sample_ids,
            **({} if regions is None else {"regions": regions.to_dict()}),
            "asked": asked,
            "n_masks": len(learner.annotated_ids),
            "n_masks_validation": 0 if validation is None else len(validation.masks),
            **_validation_score(own),
            "foreground_pixels": self.foreground,
            "gradient_steps": learner.gradient_steps,
            "cost": self.cost._asdict(),
            "metrics": metrics,
            **({} if agreed is None else {"agreement": agreed._asdict()}),
            **_pseudo_quality(learner.augmenter),
            "seconds": watch.seconds,
            "memory_mib": {**peak_memory_mib(device), **memory},
            "environment": environment(device),
        }

    def _ask(self, round_):
        if round_ == 0:
            labels = self.learner.labels
            rng = np.random.default_rng([self.seed, len(labels)])
            order = class_balanced_top_n(rng.random(len(labels)), labels, self.initial, rng)
            return np.asarray(order), None
        asked, _ = self.learner.query(n_instances=self.n_instances)
        return (asked.sample_ids, asked) if isinstance(asked, Regions) else (asked, None)

    def _prepare_fit(self, n_masks):
        """Make the next fit one of the estimator as it was given, for so many passes."""
        if not self.carries:  # a model that was loaded is not what the next is made of
            self.learner.estimator = clone(self.estimator)
        if self.epochs is not None:
            set_passes(self.learner.estimator, self.epochs, n_masks)

    def _cost_of(self, sample_ids, masks, regions):
        instances = getattr(self.train, "instances", None)
        if instances is not None:
            known = as_masks(instances, len(self.learner.labels))
            instances = [known[i] for i in np.asarray(sample_ids).tolist()]
        per_image, per_click = self.cost_rates
        return annotation_cost(
            masks,
            regions,
            instances=instances,
            seconds_per_image=per_image,
            seconds_per_click=per_click,
        )


def _validation_score(model):
    """What the weights of a model were chosen by; nothing where it was not by validation images."""
    score = getattr(model, "validation_score_", None)
    return {} if score is None else {"validation_score": score}


def _pseudo_quality(augmenter):
    """What the record says of the pseudo-labels of a round; nothing where there is no report."""
    report = getattr(augmenter, "report_", None)
    if report is None or "accuracy" not in report:
        return {}
    found = {"n_candidates": len(report.sample_ids), "n_selected": len(augmenter.selected_)}
    for key in ("coverage", "accuracy", "dice"):
        values = np.asarray(report[key], dtype=float)
        found[key] = float(np.nanmean(values)) if np.isfinite(values).any() else None
    return {"pseudo": found}


def _describe_asked(sample_ids, train, masks, model, save):
    """What the model that asked thought of each image, and pictures of it.

    Without a model (a seed set, which none chose) the names and labels alone.
    """
    images = as_images(train.images).take(sample_ids)
    labels = label_names(as_labels(train.labels, len(train.ids))[sample_ids])
    known = ~missing_labels(labels)
    masks = as_masks(masks, len(sample_ids))
    asked = []
    for position, sample_id in enumerate(sample_ids.tolist()):
        image, mask, seen = images[position], masks[position], None
        item = {
            "sample_id": sample_id,
            "id": str(train.ids[sample_id]),
            "label": labels[position] if known[position] else None,
        }
        if model is not None:
            # One image at a time: the maps of a whole round of large images would not be small.
            one = images.take(np.array([position]))
            joint = joint_of(model, one)
            uncertainty, maps = entropy_score(model, one, return_maps=True)
            n_mask_classes = len(joint.mask_proba[0])
            if "labels" in joint:
                item["predicted_label"] = label_names(joint.labels[:1])[0]
            item["uncertainty"] = float(uncertainty[0])
            item["dice"] = dice_score(joint.masks[0], mask, n_mask_classes=n_mask_classes)
            seen = {
                "mask": joint.masks[0],
                "cam": joint.cams[0][int(np.argmax(joint.proba[0]))] if "cams" in joint else None,
                "uncertainty": maps[0],
                "highest": np.log(n_mask_classes),  # of the entropy
            }
        if save is not None:
            save(sample_id, image, mask, seen)
        asked.append(item)
    return asked


class _Watch:
    """Measures the stages of a round and tells `progress` of them."""

    def __init__(self, round_, progress):
        self.round, self.progress, self.seconds = round_, progress, {}

    @contextmanager
    def __call__(self, stage, field=None):
        if self.progress is not None:
            self.progress(self.round, stage, None)
        start = time.perf_counter()
        yield
        self.seconds[field or stage] = round(time.perf_counter() - start, 3)


def annotated_part(train):
    """The images that have a mask: what the oracle can answer for."""
    masks = as_masks(train.masks, len(train.ids))
    known = [i for i in range(len(train.ids)) if _has_mask(masks, i)]
    if not known:
        raise ValueError(
            message(
                "train.masks",
                "masks of some images: they are what the oracle answers with",
                "none",
                "To annotate images without masks, use `alseg query`.",
            )
        )
    return train if len(known) == len(train.ids) else train.take(np.array(known))


def _has_mask(masks, i):
    # A file counts as a mask without being read here: reading them all is check_pairs' work.
    paths = getattr(masks, "paths", None)
    return paths[i] is not None if paths is not None else is_annotated(masks[i])


def _check_rounds(records):
    found = [record.get("round") for record in records.records]
    if found != list(range(len(found))):
        raise RecordsError(
            f"{records.path} must hold rounds 0, 1, 2, ... in order, got {found}. Use another "
            "output folder."
        )


def _warn_of_another_machine(records):
    if not records:
        return
    before, now = records[-1].get("environment", {}), jsonable(environment())
    changed = [
        f"{key}: {before[key]} then, {now[key]} now"
        for key in sorted(now)
        if key in before and before[key] != now[key]
    ]
    if changed:
        warnings.warn(
            f"The earlier rounds ran elsewhere ({'; '.join(changed)}): the numbers may differ from "
            "those of an uninterrupted run in the last digits.",
            stacklevel=3,
        )
