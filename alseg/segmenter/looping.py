"""skorch's loop over batches of images and masks: phases, steps, and which weights are kept."""

import copy
import functools
from contextlib import nullcontext

import numpy as np
import torch
from skorch.callbacks import Callback
from skorch.dataset import Dataset

from alseg.images import as_images
from alseg.network import WeightAverage, evaluating, forked_torch_rng
from alseg.progress import progress
from alseg.segmenter.assembly import AssembledSegmenter
from alseg.segmenter.parameters import as_consistency, as_objects
from alseg.segmenter.phases import only_annotated, steps_of_phase
from alseg.segmenter.validating import record_best, validation_loss, validation_scores
from alseg.training import (
    ConsistentBatches,
    TrainingBatches,
    average_gradients,
    in_parts,
    make_scheduler,
    mean_of_processes,
    mixed_loss,
    resolve_amp,
    run_hook,
    share_of,
    sharing,
    taught_by,
    with_consistency,
    with_objects,
)
from alseg.validation import message


class UntrainableBatch(ValueError):
    """BatchNorm would see a single value of a channel in training."""


class LoopingSegmenter(AssembledSegmenter):
    """A segmenter that trains on the `TrainingRun` that it holds."""

    def notify(self, method_name, **cb_kwargs):
        """Tell the callbacks images and labels, where skorch's loop has positions and codes."""
        getattr(self, method_name)(self, **cb_kwargs)
        if self._run is not None:
            for name, part in (("X", self._run.images), ("y", self._run.labels)):
                if name in cb_kwargs:
                    cb_kwargs[name] = part
            for name in ("dataset_train", "dataset_valid"):
                if cb_kwargs.get(name) is not None:
                    cb_kwargs[name] = self._seen_dataset(cb_kwargs[name])
            if "dataset_valid" in cb_kwargs and cb_kwargs["dataset_valid"] is None:
                cb_kwargs["dataset_valid"] = self._validation_dataset()
        for _, callback in self.callbacks_:
            getattr(callback, method_name)(self, **cb_kwargs)

    def _seen_dataset(self, dataset):
        idx = np.array([int(dataset[i][0]) for i in range(len(dataset))])
        return Dataset(self._run.images.take(idx), self._run.labels[idx])

    def _validation_dataset(self):
        """The validation part, as callbacks that score see what `train_split` leaves."""
        part = self.validation_
        if part is None:
            return None
        return Dataset(
            as_images(part.images), None if part.labels is None else np.asarray(part.labels)
        )

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Freeze what rests in this phase, and renew the optimizer, before callbacks see them."""
        if self._run is not None:
            self._set_frozen(self._run.phase.name == "mask")
            self._renew_optimizer()

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train over one or two phases; see skorch."""
        run = self._run
        # What callbacks score are images, predicted as after the fit, and never a batch's output.
        use_caching, self.use_caching = self.use_caching, False
        try:
            for i, phase in enumerate(run.phases):
                if i:  # for callbacks each phase is a training of its own
                    self.notify("on_train_end", X=X, y=y)
                    run.begin(phase)
                    self.notify("on_train_begin", X=X, y=y)
                self._train_phase(X, y, epochs, fit_params)
        except KeyboardInterrupt:
            run.interrupted = True
            raise
        finally:
            self.use_caching = use_caching
        return self

    def _train_phase(self, X, y, epochs, fit_params):
        """The epochs of the present phase, and the weights that it ends with."""
        run, phase = self._run, self._run.phase
        epochs = phase.n_epochs if epochs is None else epochs
        total = epochs * phase.n_steps
        run.scheduler = make_scheduler(
            self.optimizer_, phase.lr_schedule, phase.lr, total, phase.n_steps
        )
        if self.schedule.ema is not None:
            run.average = WeightAverage(self.module_, self.schedule.ema)
        name = {"joint": "fit", "mask": "fit masks"}.get(phase.name, "fit classes")
        try:
            with progress(name, total, "steps", self.verbose > 0) as run.bar:
                super().fit_loop(X, y, epochs=epochs, **fit_params)
        except KeyboardInterrupt as interrupt:
            if not _is_from_callback(interrupt):
                raise
        if run.best is not None:
            self.module_.load_state_dict(run.best[1])
            if self.schedule.keep_epoch == "validation":
                self.validation_score_ = run.best[0]
        elif run.average is not None:
            run.average.keep()

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Look at the validation part; remember the weights if `keep_epoch` prefers them."""
        average = self._run.average
        with nullcontext() if average is None else average.shown():
            if self.validation_ is not None:
                self._look_at_validation(has_split=dataset_valid is not None)
            if self.schedule.keep_epoch != "last":
                self._remember_if_best()

    def _look_at_validation(self, has_split):
        """Losses and scores of the validation part, in `history` before callbacks look there."""
        if not has_split:  # else `valid_loss` is that of skorch's split
            for loss, size in validation_loss(self):
                self.history.new_batch()
                self.history.record_batch("valid_loss", loss)
                self.history.record_batch("valid_batch_size", size)
        for name, value in validation_scores(self).items():
            record_best(self.history, name, value)

    def _remember_if_best(self):
        if self.schedule.keep_epoch == "train_loss":
            rows = [row for row in self.history[-1]["batches"] if "train_loss" in row]
            sizes = np.array([row["train_batch_size"] for row in rows])
            value = -float(np.average([row["train_loss"] for row in rows], weights=sizes))
            self._run.keep_best(value, self.module_)
            return
        value = self._validation_score()
        if value is not None:  # else nothing was held out: nothing is annotated
            self.history.record("validation_score", value)
            self._run.keep_best(value, self.module_, later=True)

    def _validation_score(self):
        """What `keep_epoch` goes by; None where the validation part says nothing."""
        last = self.history[-1]
        return last.get("valid_dice", last.get("valid_accuracy"))

    def on_grad_computed(self, net, named_parameters, training=False, **kwargs):
        """Clip the gradients of a step."""
        if training and self.schedule.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.module_.parameters(), self.schedule.clip_norm)

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Advance the learning rate."""
        if training:
            self.n_steps_ += 1
            if self._run.average is not None:
                self._run.average.update()
            if self._run.scheduler is not None:
                self._run.scheduler.step()

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """An epoch whose losses are read at its end: reading each would stall a GPU each step."""
        if iterator is None:
            return
        losses = []
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            losses.append((step["loss"].detach(), len(batch[0]["x"])))
            self.notify("on_batch_end", batch=batch, training=training, **step)
            if training:
                self._run.bar.update()
        rows = self.history[-1]["batches"][-len(losses) :] if losses else []
        values = torch.stack([loss for loss, _ in losses]).cpu().tolist() if losses else []
        for row, value, (_, size) in zip(rows, values, losses):
            row[prefix + "_loss"], row[prefix + "_batch_size"] = value, size
        self.history.record(prefix + "_batch_count", len(losses))
        if training and values:
            self._run.bar.set_postfix(loss=f"{np.mean(values):.3f}")

    def get_iterator(self, dataset, training=False):
        """Batches of the decoded images that `dataset` (of positions) names."""
        positions = torch.as_tensor([int(dataset[i][0]) for i in range(len(dataset))])
        run, data = self._run, self._run.data
        if len(positions) < len(data):
            data = data.take(positions)
        if training:
            self._check_smallest_batches(data)
        batches = self._batches_of(data, training, run.phase, run.rng)
        consistency = as_consistency(self.consistency)
        if not training or not consistency.weight:
            return batches
        n_steps = run.phase.n_epochs * len(batches)
        own = consistency.teacher is None
        predict = self._present_mask_logits if own else taught_by(consistency.teacher)
        return ConsistentBatches(batches, predict, consistency, n_steps)

    def _batches_of(self, data, training, phase, rng):
        augmentation, hook = {"flips": "none", "affine": None, "jitter": 0.0}, None
        if training and self.augmentation.hook is not None:
            hook = functools.partial(
                run_hook, self.augmentation.hook, n_mask_classes=self.n_mask_classes
            )
        if training:
            names = ("flips", "affine", "jitter", "stain", "copy_paste", "mixup")
            augmentation = {name: getattr(self.augmentation, name) for name in names}
        # A pass is counted by the batches themselves: `train_split` may leave fewer images.
        passes = self.schedule.sampling == "passes" and not self.steps_per_epoch
        return TrainingBatches(
            data,
            None if passes else self._steps_of(phase, len(data)),
            self.batch_size,
            self.weak_batch_size,
            augmentation,
            rng,
            decode=phase.name != "classifier",
            device=self.device_,
            memory_format=self._memory_format,
            sampling=self.schedule.sampling,
            only_annotated=only_annotated(self, phase.name),
            drop_tiny=self.schedule.drop_tiny_last_batch,
            joint_flip=self.augmentation.joint_flip,
            n_views=self.augmentation.n_views
            if training and self.feature_cache is not None
            else None,
            hook=hook,
        )

    def _steps_of(self, phase, n):
        """Steps of an epoch over n of the images that were read; `train_split` may leave fewer."""
        run = self._run
        return steps_of_phase(self, phase.name, n + run.n_left_out, run.n_annotated)

    def _check_smallest_batches(self, data):
        """Refuse, in the first phase, a batch of any phase from which BatchNorm cannot train."""
        phases, self._run.unchecked = self._run.unchecked, []
        present = self._run.phase
        try:
            for phase in phases:
                self._run.phase = phase  # what is frozen in it decides which BatchNorm trains
                batches = self._batches_of(data, True, phase, np.random.default_rng(0))
                n, n_decode = batches.smallest()
                if n == 1 or n_decode == 1:  # of two images each channel has two values anywhere
                    self._check_batch(min(n, 2), min(n_decode, 2))
        finally:
            self._run.phase = present

    def _check_batch(self, n, n_decode):
        self._set_training(True)
        network = copy.deepcopy(self._network)  # it would move the running statistics
        x = torch.zeros(n, 3, *self.canvas_, device=self.device_)
        try:
            with forked_torch_rng(0, self.device_), torch.no_grad():
                network(x, n_decode=n_decode)
        except ValueError as error:
            if not str(error).startswith("Expected more than 1"):
                raise
            height, width = self.canvas_
            rule = (
                f"such that no batch holds a single image{'' if n == 1 else ' with a mask'}"
                f" of {height} x {width} pixels, whose deepest map is one value"
            )
            remedy = (
                "BatchNorm cannot train on it: set a larger batch_size or image_size (crop size)"
            )
            passes = self.schedule.sampling == "passes"
            remedy += ", or Schedule(sampling='streams')." if passes else "."
            raise UntrainableBatch(message("batch_size", rule, self.batch_size, remedy)) from error

    def _present_mask_logits(self, x):
        """Mask logits of a batch as the network in training, or its average, would predict."""
        average = self._run.average
        shown = nullcontext() if average is None else average.shown()
        with torch.no_grad(), shown, evaluating(self.module_):
            return self.infer({"x": x, "n_decode": len(x)})["mask_logits"].float()

    def infer(self, x, **fit_params):
        """Run the network on a batch: a dict ``{"x": images, "n_decode": int}`` or a tensor."""
        if torch.is_tensor(x):
            x = {"x": x.to(self.device_)}
        if not resolve_amp(self.execution.amp, self.device_):
            return self.module_(**x, **fit_params)
        with torch.autocast(torch.device(self.device_).type, dtype=torch.bfloat16):
            out = self.module_(**x, **fit_params)
        return {name: part if part is None else part.float() for name, part in out.items()}

    def train_step_single(self, batch, **fit_params):
        """The loss of a batch and its gradient; in parts, once memory has run out."""
        self._set_training(True)
        group = sharing(self.execution.processes)
        if group is not None:
            batch = share_of(batch, group.process_index, group.num_processes)
        x, target = batch

        def step(parts):
            if len(parts) == 1:
                y_pred = self.infer(x, **fit_params)
            else:
                self._zero_grad_optimizer()  # what a try that failed has left
                forward = functools.partial(self.infer, **fit_params)
                y_pred = in_parts(forward, self.module_, x, parts)
            loss = self.get_loss(y_pred, target, X=x, training=True)
            loss.backward()
            return {"loss": loss, "y_pred": y_pred}

        found = self._run.part_size.run(step, len(x["x"]))
        if group is not None:
            average_gradients(self.module_)
            found["loss"] = mean_of_processes(found["loss"].detach())
        return found

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """The criterion of a batch; in the mask phase without the class loss, of frozen parts."""
        if self._phase_name == "mask":
            y_pred = {**y_pred, "logits": y_pred["logits"].detach()}
        if self._run is not None and isinstance(y_true, dict):
            y_true = {"weighted": self._run.weighted, **y_true}  # see `PlainLoss`
        if getattr(self.criterion_, "takes_images", False) and isinstance(y_true, dict):
            y_true = {"images": X["x"], **y_true}
        criterion = functools.partial(with_objects, self.criterion_, as_objects(self.objects))
        criterion = functools.partial(mixed_loss, criterion)
        return with_consistency(criterion, y_pred, y_true)

    @property
    def _phase_name(self):
        return None if self._run is None else self._run.phase.name

    def _set_training(self, training=True):
        super()._set_training(training)
        if self._frozen_encoder is not None:
            self._frozen_encoder.eval()
        phase = self._phase_name
        if training and phase == "mask":
            for part in self.module_.class_parts():
                part.eval()  # frozen statistics and no dropout, as published
        elif training and phase == "classifier":
            for part in self.module_.mask_parts():
                part.eval()


def _is_from_callback(error):
    """Whether a callback raised it, as `EarlyStopping` does to say that training is done."""
    frame = error.__traceback__
    while frame.tb_next is not None:
        frame = frame.tb_next
    return isinstance(frame.tb_frame.f_locals.get("self"), Callback)
