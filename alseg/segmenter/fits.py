"""What a segmenter is fitted to: checked, held out from, drawn, read, and trained on."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch

from alseg.images import as_images, as_masks, check_pairs, stack
from alseg.labels import (
    MISSING,
    is_annotated,
    known_pixels,
    label_codes,
    label_strata,
    missing_labels,
)
from alseg.metrics import best_threshold
from alseg.network import forked_torch_rng
from alseg.segmenter.checks import (
    check_classes,
    check_labels,
    check_takes_soft,
    check_weight,
    checked_image_size,
    class_masks,
)
from alseg.segmenter.looping import LoopingSegmenter, UntrainableBatch
from alseg.segmenter.option_values import same_value
from alseg.segmenter.parameters import (
    Network,
    as_consistency,
    as_network,
    as_objects,
    uses_bare_images,
)
from alseg.segmenter.phases import phases_of_fit
from alseg.segmenter.saving import read_model, take_normalization, with_own_heads
from alseg.segmenter.training_run import TrainingRun
from alseg.segmenter.whole_networks import check_facts, is_whole, network_facts
from alseg.training import (
    AREAS,
    CropData,
    TrainingData,
    check_crop,
    check_sharing,
    choose_canvas,
    drawn,
    experts_masks,
    hold_out,
    resolve_device,
    scaled,
    sharing,
)
from alseg.validation import check_number, check_rng, message

# Images whose sizes decide the canvas, where the user names none: of more, so many spread over all.
_SIZES = 1000

_NOTHING = (
    "y must hold a label where there are no masks, got none: annotate a few images first, such as"
    " those of random_sampling, which needs no model. (fit requires y to be passed, but the target"
    " y is None.)"
)


@dataclass(frozen=True)
class ValidationSet:
    """Images with labels and masks that choose the threshold and are never trained on.

    Parameters
    ----------
    images, labels, masks
        As `X`, `y` and `masks` of `JointCAMSegmenter.fit`.
    """

    images: Any
    labels: Any
    masks: Any


class FittingSegmenter(LoopingSegmenter):
    """A segmenter with `fit` and `partial_fit`."""

    def fit(self, X, y, masks=None, mask_weight=None):
        """Fit from scratch (or go on, with `warm_start`).

        Parameters
        ----------
        X : images
            ndarray of shape (n, H, W, C) uint8 or float in [0, 1]; or a list or 1-D object array of
            arrays of differing sizes, or of file paths; or images of `alseg.images.from_torch` and
            its like. Grey is repeated to three channels; of others the network has as many.
        y : array-like of shape (n,)
            Class label of each image. Missing are None and NaN, and -1 among numbers: such an image
            counts in the mask loss alone, and one without a mask as well not at all (but for
            `consistency`). None, or all missing, fits masks alone, without a class head. A matrix
            (n, K) of 0, 1 and -1, or a data frame of them, says of each class whether an image is
            of it: of several, or none.
        masks : None, ndarray of shape (n, H, W) int, or sequence of n (H, W) arrays, paths and None
            Pixel classes; -1 where not annotated. None is not annotated at all. Soft masks are
            arrays (C, H, W), float: the probability of each class at each pixel (of several
            annotators, of a teacher), NaN where not annotated; among others, or all (n, C, H, W).
        mask_weight : None, array-like of shape (n,), or n arrays of shape (H, W), default=None
            What a mask counts in the loss: 1 for an expert's (the default), less for a pseudo-mask;
            0 leaves the mask out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If arguments disagree in length or size, a label or pixel class is not valid, an image
            holds NaN, or a file cannot be read: before any training.
        """
        goes_on = self.warm_start and self.initialized_ and hasattr(self, "classes_")
        return self._fit(X, y, masks, mask_weight, fresh=not goes_on)

    def partial_fit(self, X, y, classes=None, masks=None, mask_weight=None):
        """Train on, for another `max_epochs`, from the present weights.

        Parameters
        ----------
        X, y, masks, mask_weight
            As in `fit`.
        classes : array-like of shape (K,) or None
            All image classes, at the first call; the sorted labels of `y` by default. Later they
            may be left out, and are the same.

        Returns
        -------
        self
        """
        fresh = not self.initialized_ or not hasattr(self, "classes_")
        return self._fit(X, y, masks, mask_weight, fresh=fresh, classes=classes)

    def _fit(self, X, y, masks, mask_weight, fresh, classes=None):
        self.check_params()
        if not fresh:
            self._check_built()
        given = self._checked(X, y, masks, mask_weight, classes, fresh)
        started = None
        if fresh and self.schedule.start_from is not None:
            started = self._read_start(given.classes)
        known = self._known_before(fresh, started)
        train, validation, *known = self._hold_out(given, known)
        run = self._read_run(given, train, again=bool(not fresh and self.n_steps_))
        self._check_what_is_learned(run, given.classes, fresh)
        self._check_channels(run.data.n_channels, fresh)
        if fresh and is_whole(self):
            n_classes, n_channels = len(given.classes) or None, run.data.n_channels
            facts = network_facts(self, given.canvas, n_classes or 1, n_channels)
            check_facts(self, facts, n_classes, n_channels)
        if run.n_annotated and not self._holds_out_a_share():
            known[1] = None  # not worth a fingerprint of each image in each fit
        before, rows = dict(vars(self)), list(self.history or ())
        if fresh:
            # Only now: a fit that is refused leaves the model as it was.
            self.classes_, self.canvas_ = given.classes, given.canvas
            self.n_channels_, self.multilabel_ = run.data.n_channels, given.y.ndim == 2
            self.has_masks_, self.threshold_, self.n_steps_ = False, 0.5, 0
            self.min_object_size_ = 0.0
            self.__dict__.pop("validation_score_", None)
        self.validation_, (self.held_out_, self.trained_on_) = validation, known
        self.has_masks_ = self.has_masks_ or run.n_annotated > 0
        self.min_object_size_ = run.min_object_size or self.min_object_size_
        self.device_ = self._device_of_fit()
        run.data, self._run = run.data.to(self.device_), run
        try:
            self._train(fresh, started)
        except UntrainableBatch:
            self.module_.eval()
            vars(self).clear()
            vars(self).update(before)
            if self.history is not None:
                self.history[:] = rows  # it was cleared in place
            raise
        finally:
            self.__dict__.pop("_run", None)
        if run.interrupted:
            # skorch ends a fit quietly here; a loop of queries must not take half a fit for one.
            raise KeyboardInterrupt
        self.module_.eval()
        self._choose_threshold()
        return self

    def _device_of_fit(self):
        """Where this process fits: of several that share a fit each has a GPU of its own."""
        group = sharing(self.execution.processes)
        if group is None:
            return resolve_device(self.device)
        others = {
            "consistency": bool(as_consistency(self.consistency).weight),
            "schedule.sampling='passes'": self.schedule.sampling == "passes",
            "augmentation.copy_paste": bool(self.augmentation.copy_paste),
            "augmentation.mixup": bool(self.augmentation.mixup),
        }
        sizes = self.batch_size, self.weak_batch_size
        check_sharing(group, *sizes, self.random_state, others)
        return str(group.device) if self.device == "auto" else resolve_device(self.device)

    def _checked(self, X, y, masks, mask_weight, classes, fresh):
        """What a fit is given, checked: nothing is decoded yet."""
        images = as_images(X)
        n = len(images)
        named, y = getattr(y, "columns", None), check_labels(y, n)
        if masks is None and n and missing_labels(y).all():
            raise ValueError(_NOTHING)
        masks = as_masks(masks, n, soft=True)
        weight = check_weight(mask_weight, images)
        rng = check_rng(self.random_state)
        if classes is not None:
            classes = check_classes(classes, None if fresh else self.classes_)
        if fresh:
            if y.ndim == 2:
                if not isinstance(self.class_weight, (dict, type(None))):
                    rule = "None or a dict where an image is of several classes"
                    raise ValueError(message("class_weight", rule, self.class_weight))
                classes = _names_of_columns(named, y.shape[1])
            classes = label_codes(y)[0] if classes is None else classes
            canvas = self._canvas(images)
        else:
            classes, canvas = self.classes_, self.canvas_
        unknown = np.empty(0) if y.ndim == 2 else np.setdiff1d(label_codes(y)[0], classes)
        if not fresh and not missing_labels(y).all():
            self._check_same_kind(y)
        if len(unknown) and not len(classes):
            remedy = "It was first fitted without labels, and so has no class head: fit it anew."
            raise ValueError(message("y", "None or all missing", unknown.tolist(), remedy))
        if len(unknown):
            raise ValueError(message("y", f"of the classes {classes.tolist()}", unknown.tolist()))
        return Bunch(
            images=images, y=y, masks=masks, weight=weight, rng=rng, classes=classes, canvas=canvas
        )

    def _read_run(self, given, train, again):
        """The fit of the images at these positions, of which those that it may draw are decoded."""
        head = self._has_class_head_of(given.classes)
        train = train[self._is_worth_a_look(given, train)] if head else train
        if not len(train):
            raise ValueError(_NOTHING)
        codes = np.full(len(train), MISSING, dtype=np.intp)
        known = ~missing_labels(given.y[train])
        if given.y.ndim == 2:
            codes = given.y[train].astype(np.intp)
        else:
            codes[known] = np.searchsorted(given.classes, given.y[train][known])
        weight = None if given.weight is None else [given.weight[i] for i in train]
        seen = self._drawn(given.masks.take(train), weight, again, head, given.rng)
        all_codes = codes
        if seen is not None:
            train, codes = train[seen], codes[seen]
            weight = weight and [weight[i] for i in seen]
        build, geometry = TrainingData.build, given.canvas
        if self.crop is not None:
            build, geometry = CropData.build, check_crop(self.crop)
        images, objects = given.images.take(train), as_objects(self.objects).reader()
        data = build(
            images,
            codes,
            given.masks.take(train),
            weight,
            geometry,
            self.n_mask_classes,
            self.verbose > 0,
            objects,
        )
        if data.soft is not None:
            check_takes_soft(self)
        n_annotated = int(data.annotated().sum())
        return TrainingRun(
            data=data,
            images=images,
            labels=given.y[train],
            codes=codes,
            all_codes=all_codes,
            n_annotated=n_annotated,
            phases=phases_of_fit(self, len(all_codes), n_annotated, again, head),
            rng=given.rng,
            weighted=data.weighted(),
            min_object_size=objects.smallest(),
        )

    def _check_same_kind(self, y):
        now, then = y.shape[1:], (len(self.classes_),) * self.multilabel_
        if now != then:
            raise ValueError(message("y", f"of shape {('n', *then)}, as at first", y.shape))

    def _is_worth_a_look(self, given, train):
        """Of each of these positions whether it has a label or a mask, or is of use without."""
        worth = np.ones(len(train), dtype=bool)
        if uses_bare_images(self):
            return worth
        for k in np.flatnonzero(missing_labels(given.y[train])):
            mask, weight = given.masks[train[k]], given.weight and given.weight[train[k]]
            worth[k] = is_annotated(mask) and (
                weight is None or np.any(known_pixels(mask) * weight)
            )
        return worth

    def _check_what_is_learned(self, run, classes, fresh):
        """Refuse a fit without masks where labels alone teach nothing, or do harm."""
        head = self._has_class_head_of(classes)
        if not head and self.schedule.phases == "two-phase":
            remedy = "The first of two phases has nothing to learn: set phases='joint'."
            raise ValueError(message("y", "known with phases='two-phase'", None, remedy))
        if run.n_annotated:
            return
        if not head or not (run.codes != MISSING).any():
            raise ValueError(
                f"masks must be annotated in at least one pixel with {self._headless}, got none"
                " that is: there is nothing else to learn from."
            )
        if not fresh and self.has_masks_ and self.schedule.phases == "two-phase":
            rule = "annotated in at least one pixel to go on after masks with phases='two-phase'"
            remedy = "Labels alone would change the encoder beneath the decoder: give masks too."
            raise ValueError(message("masks", rule, "none that is", remedy))

    def _check_channels(self, n_channels, fresh):
        """Refuse images of other channels than the network was built for, or stain in them."""
        if not fresh and n_channels != self.n_channels_:
            rule = f"of {self.n_channels_} channels, as in the fit that this one goes on from"
            raise ValueError(message("X", rule, f"{n_channels} channels"))
        if n_channels == 3:
            return
        for name, options in (
            ("augmentation", self.augmentation),
            ("consistency", as_consistency(self.consistency)),
        ):
            if options.stain:
                rule = f"0 with images of {n_channels} channels: stains are told by RGB"
                raise ValueError(message(f"{name}.stain", rule, options.stain))

    def _train(self, fresh, started):
        """Take the run through skorch's loop, the global random numbers aside."""
        run = self._run
        with forked_torch_rng(int(run.rng.integers(2**63 - 1)), self.device_):
            try:
                if fresh:
                    self.initialize()
                else:
                    self._follow_parameters()
                if started is not None:
                    self._load_start(started)
                run.begin(run.phases[0])
                super().partial_fit(np.arange(len(run.data)), run.codes)
            finally:
                if run.phase is not None:
                    self._set_frozen(False)

    def _choose_threshold(self):
        if self.threshold != "validation":
            self.threshold_ = float(self.threshold)
        elif self.has_masks_ and self.validation_ is not None:  # else the one that there is
            self.threshold_ = self._validation_threshold()

    def _drawn(self, masks, weight, again, head, rng):
        """Positions of the images that are worth reading, or None for all: batches hold so many."""
        n = len(masks)
        if (
            self.schedule.sampling == "passes"
            or self.train_split is not None
            or n <= self.batch_size
        ):
            return None
        if same_value(as_network(self.network).normalize, "dataset"):  # measured over all images
            return None
        *_, last = phases_of_fit(self, n, n, again, head)
        n_steps = max(last.n_epochs, 1) * last.n_steps
        of_classes = 0
        if self.schedule.phases == "two-phase":  # its first phase draws from all images
            epochs = (self.schedule.class_phase or {}).get("max_epochs", last.n_epochs)
            of_classes = epochs * last.n_steps
        n_first = (n_steps + of_classes) * self.batch_size
        n_second = n_steps * self.weak_batch_size + of_classes * self.batch_size
        if n <= min(n_first, n_second):
            return None
        top = [0.0] * n
        for i in range(n):
            if (mask := masks[i]) is not None:
                known = known_pixels(mask) * (1.0 if weight is None else weight[i])
                top[i] = float(known.max())
        seen = drawn(np.array(top, dtype=np.float32), n_first, n_second, rng)
        return None if len(seen) == n else seen

    def _canvas(self, images):
        if self.crop is not None:
            crop = check_crop(self.crop)
            return scaled((crop["size"],) * 2, crop["scale"])
        size = checked_image_size(self.image_size)
        if size is not None and size != "large":
            return size
        n = len(images)
        some = np.unique(np.linspace(0, n - 1, min(n, _SIZES)).round().astype(int))
        return choose_canvas([images.size(i) for i in some], AREAS[size])

    def _holds_out_a_share(self):
        return not (self.validation is None or isinstance(self.validation, ValidationSet))

    def _known_before(self, fresh, started):
        """Fingerprints held out and trained on in the fits that this one goes on from."""
        if not fresh:
            return self.held_out_, self.trained_on_
        if started is not None:
            return started.fitted["held_out_"], started.fitted["trained_on_"]
        return frozenset(), frozenset()

    def _hold_out(self, given, known):
        """Positions to train on, the validation part, and the fingerprints held out and seen."""
        images, y, masks, weight = given.images, given.y, given.masks, given.weight
        everything = np.arange(len(images))
        if self.validation is None:
            return everything, None, *known
        if isinstance(self.validation, ValidationSet):
            part = self._validation_set(masks)
            return everything, part, *known
        share = check_number("validation", self.validation, 0, 1, open_low=True)
        if known[1] is None:
            rule = (
                "None or a ValidationSet after a fit on masks (or schedule.start_from) without one"
            )
            remedy = (
                "Without a fraction it is not known which images it was trained on, and they might"
                " be held out: give a ValidationSet, or a fraction from the first fit on."
            )
            raise ValueError(message("validation", rule, share, remedy))
        strata = label_strata(y)
        train, held, *known = hold_out(images, strata, masks, weight, share, given.rng, *known)
        if not len(held):
            return train, None, *known
        held_masks = experts_masks(as_masks(masks, len(images)), weight, held)
        held_masks = stack(class_masks(self, held_masks, len(held)))
        return train, ValidationSet(images.take(held), y[held], held_masks), *known

    def _validation_set(self, masks):
        """The set that was given, checked, with masks of classes."""
        part, n = self.validation, len(self.validation.images)
        if as_objects(self.objects).mask_kind == "instances":
            part = replace(part, masks=class_masks(self, part.masks, n))
        check_pairs(part.images, part.masks, self.n_mask_classes)
        chooses = "validation" in (self.threshold, self.schedule.keep_epoch)
        if chooses and any(is_annotated(masks[i]) for i in range(len(masks))):
            held = as_masks(part.masks, n)
            if not any(is_annotated(held[i]) for i in range(n)):
                rule = (
                    "annotated in at least one pixel, as a threshold or an epoch is chosen by them"
                )
                raise ValueError(message("masks of the ValidationSet", rule, "none that is"))
        return part

    def _validation_threshold(self):
        part = self.validation_
        images = as_images(part.images)
        masks = as_masks(part.masks, len(images))
        return best_threshold(self._iter_mask_proba(images), (masks[i] for i in range(len(images))))

    def _read_start(self, classes):
        """The model to start from; of other classes only where its heads may begin anew."""
        params, _, fitted, state = read_model(self.schedule.start_from)
        same = np.array_equal(fitted["classes_"], classes)
        if not same and not self._heads_may_begin_anew():
            raise ValueError(
                message(
                    "schedule.start_from",
                    f"a model of the classes {classes.tolist()}",
                    fitted["classes_"].tolist(),
                )
            )
        return Bunch(params=params, fitted=fitted, state=state, same_classes=same)

    def _heads_may_begin_anew(self):
        """Whether all parts learn from the first step on: in two phases one of them is frozen."""
        return self.schedule.phases == "joint" and not is_whole(self)

    def _load_start(self, started):
        now = as_network(self.network).normalize
        then = started.params.get("network", Network()).normalize
        if not (same_value(now, "auto") or same_value(now, then)):
            self._check_normalization(started.state)
        take_normalization(self._network, started.state)
        state = started.state
        if self._heads_may_begin_anew():
            state = with_own_heads(state, self._network.state_dict(), started.same_classes)
        try:
            self._network.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(
                message(
                    "schedule.start_from",
                    "a model of the same network",
                    str(self.schedule.start_from),
                    str(error).splitlines()[-1].strip(),
                )
            ) from error

    def _check_normalization(self, state):
        for name in ("mean", "std"):
            then, now = state.get(name), getattr(self._network, name, None)
            if torch.is_tensor(then) and torch.is_tensor(now) and not _close(then, now.cpu()):
                rule = f"'auto', or that of the model in schedule.start_from, whose {name} is"
                rule = f"{rule} {[round(value, 4) for value in then.flatten().tolist()]}"
                remedy = "Its weights expect images normalised as they were."
                normalize = as_network(self.network).normalize
                raise ValueError(message("network.normalize", rule, normalize, remedy))


def _names_of_columns(named, n):
    if named is None:
        return np.arange(n)
    return np.array([str(name) for name in named])


def _close(a, b):
    alike = a.shape == b.shape or 1 in (a.numel(), b.numel())
    return alike and bool(torch.isclose(a, b).all())
