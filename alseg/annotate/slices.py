"""Learning from marks as they come: a frozen encoder, a decoder that goes on, some steps at a time.

It imports torch, and so belongs to the process behind the server alone.
"""

import time

import numpy as np
import torch
from skorch.callbacks import Callback

from alseg.images import as_images
from alseg.network import starts_at_random, trim
from alseg.project import by_rule, check_weights, feature_cache, in_turn
from alseg.segmenter import JointCAMSegmenter
from alseg.training import AREAS, choose_canvas, image_tensor, mask_tensor

_MOST = 400  # images learned from, those marked last before others: 0.3 megabytes each
_OF_FOLDER = 100  # of these, images whose masks lie in the folder of images
_SIZES = 50  # images whose sizes decide that of the network
_SECONDS, _FEWEST, _MANY = 2.0, 6, 20  # of a slice: its time, and its steps
_LR, _LOWEST = 3e-3, 0.1  # falls by this factor while marks are learned
_FIRST, _AGAIN = 90, 60  # steps that marks are learned in: those seen first, and any that came
_READY = 20  # steps before anything is proposed: what fewer learn is worse than an empty image
_VIEWS = 4  # of an image, each of which the encoder sees once
_RULE = "rule"  # in the place of a file: no pixel holds anything, as is said of the class label
_DISK = 2 * 2**30  # bytes of `features/` in a large pool, as many as the views of `_MOST` images
_KEPT = ("encoder", "encoder_weights", "n_mask_classes", "device")


class Steps(Callback):
    """Tells of each step. What is heard may raise, and so give up a fit, or be true, and so end it
    there."""

    def __init__(self, hear=None):
        self.hear = hear

    def on_batch_end(self, net, training=False, **kwargs):
        """Tell."""
        if training and self.hear is not None and self.hear(net):
            raise KeyboardInterrupt  # of a callback: an early end, see `JointCAMSegmenter`


def get_ready():
    """Take the seconds of the first optimizer, which imports a compiler, before they are missed."""
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


class Slices:
    """A model of what is marked, which learns a slice of steps at a time.

    Class labels play no part: the encoder does not change, and masks are all that is asked of it.

    Parameters
    ----------
    project : Project
        See `alseg.project.look_into`.

    Attributes
    ----------
    n_marked : int
        Images that it has learned from, those that are empty by a rule not counted. A new one is
        among them once a whole slice had it.
    left, goal : int
        Steps until what is marked was seen enough, and how many they were at first.
    unreadable : set of int
        Images that are marked and cannot be read, or are of other channels.
    """

    def __init__(self, project):
        check_weights(project)
        self.project, self.images = project, as_images(project.data.images)
        options = project.state["options"]["estimator"]
        self._options = {name: options[name] for name in _KEPT if options.get(name) is not None}
        self._is_large = feature_cache(project) is None
        self._size = options.get("image_size") or "large"
        self._rng = np.random.default_rng(project.option("seed", 0))
        self._model, self._canvas, self._per_step = None, None, _SECONDS / _FEWEST
        self._known, self._of, self._new, self._n_steps = {}, {}, {}, 0
        self.left, self.goal, self.n_marked, self.unreadable = 0, 1, 0, set()

    # -- what is marked ---------------------------------------------------------------------------

    def wanted(self, held_out):
        """Positions of images to learn from, by what their masks are called; the newest last.

        Parameters
        ----------
        held_out : collection of str
            Names of images not to learn from.

        Notes
        -----
        Images that are empty by a rule are among them, at most as many as others, and the same
        ones that a full fit takes first: see `Project.known_masks`.
        """
        project, held_out = self.project, set(held_out)
        marked = {
            project.positions[name]: entry["file"]
            for name, entry in project.state["masks"].items()
            if name in project.positions and name not in held_out
        }
        of_folder = [
            int(i)
            for i in np.flatnonzero(project.in_folder())
            if i not in marked and str(project.data.ids[i]) not in held_out
        ]
        rng = np.random.default_rng(project.option("seed", 0))
        if len(of_folder) > _OF_FOLDER:
            of_folder = rng.choice(of_folder, _OF_FOLDER, replace=False).tolist()
        drawn = list({**dict.fromkeys(of_folder, "folder"), **marked}.items())
        ruled = in_turn(project, by_rule(project))[: min(len(drawn), _MOST // 2)].tolist()
        return dict([*dict.fromkeys(ruled, _RULE).items(), *drawn[-(_MOST - len(ruled)) :]])

    def to_read(self, wanted):
        """Those of `wanted` whose marks are not known yet; what is not wanted is forgotten."""
        for i in set(self._of) - set(wanted):
            self._of.pop(i)
            if self._known.pop(i, None) is not None:
                self._begin(_AGAIN)
        self.unreadable &= set(wanted)
        return [i for i, file in wanted.items() if self._of.get(i) != file]

    def read(self, i, file):
        """Learn from an image from now on; False where it cannot be read."""
        self._of[i] = file
        self._known.pop(i, None)
        try:
            image = self.images[i]
            empty = np.zeros(np.shape(image)[:2], np.int16) if file == _RULE else None
            mask = self.project.mask(i) if empty is None else empty
            if mask is None or np.shape(mask) != np.shape(image)[:2]:
                raise ValueError("no mask of the size of the image")
            if self._canvas is None:
                self._canvas = self._choose_canvas()
            x = image_tensor(image, self._canvas).movedim(0, -1).numpy()
        except (OSError, ValueError):
            self.unreadable.add(i)
            return False
        n_channels = next((known[0].shape[2] for known in self._known.values()), x.shape[2])
        if x.shape[2] != n_channels:
            self.unreadable.add(i)
            return False
        self.unreadable.discard(i)
        self._known[i] = x, mask_tensor(mask, self._canvas).numpy()
        if file != _RULE:  # what somebody has drawn goes first
            self._new[i] = None
        self._begin(_AGAIN if self._model is not None else _FIRST)
        return True

    def _begin(self, n_steps):
        self.left = self.goal = max(self.left, n_steps)

    def _choose_canvas(self):
        size = self._size
        if isinstance(size, int):
            return size, size
        if not isinstance(size, str):
            return tuple(size)
        some, sizes = self._rng.permutation(len(self.images))[:_SIZES], []
        for i in some:
            try:
                sizes.append(self.images.size(int(i)))
            except (OSError, ValueError):
                continue
        return choose_canvas(sizes, AREAS["large"])

    # -- learning ---------------------------------------------------------------------------------

    @property
    def is_ready(self):
        """Whether it has learned enough to propose by."""
        return self._model is not None and self._n_steps >= _READY

    @property
    def has_news(self):
        """Whether something is marked that no slice has had."""
        return any(i in self._known for i in self._new)

    @property
    def n_known(self):
        """Images that the next slice may draw from."""
        return len(self._known)

    def learn(self, hear=None):
        """One slice of steps.

        Parameters
        ----------
        hear : callable or None, default=None
            Called after each step; if it gives True, the slice ends there.

        Returns
        -------
        n_steps : int
            How many it had.
        """
        n_steps = int(np.clip(_SECONDS / self._per_step, _FEWEST, _MANY))
        n_steps = min(n_steps, max(self.left, 1))
        model = self._made() if self._model is None else self._model
        lr = _LR * max(_LOWEST, self.left / self.goal)
        model.set_params(steps_per_epoch=n_steps, lr=lr)
        done = 0

        def step(net):
            nonlocal done
            done += 1
            return hear is not None and hear(net)

        (steps,) = [one for one in model.callbacks if isinstance(one, Steps)]
        steps.hear = step
        chosen = self._drawn(n_steps * model.batch_size)
        images, masks = zip(*(self._known[i] for i in chosen))
        started = time.monotonic()
        model.partial_fit(list(images), None, masks=list(masks))
        self._per_step = (time.monotonic() - started) / done
        self._model = model
        if self._is_large and set(self._new) & set(chosen):
            trim(self.project.folder / "features", _DISK)
        if done == n_steps:  # else nobody knows which of them it had
            self._new = {i: None for i in self._new if i not in chosen}
        self._n_steps += done
        self.left = self._left_after(done)
        self.n_marked = sum(self._of[i] != _RULE and i not in self._new for i in self._known)
        return done

    def _left_after(self, done):
        if not self._known:
            return 0
        # What was marked is seen once at least, however much of it there is.
        return max(_FEWEST if self.has_news else 0, self.left - done)

    @property
    def seconds_left(self):
        """About how long what is left takes; None before anybody knows."""
        return None if self._model is None else self.left * self._per_step

    def _drawn(self, n):
        """So many images for a slice: new ones in the first half, any in the second."""
        new = [i for i in self._new if i in self._known][: n // 2]
        others = [i for i in self._known if i not in set(new)]
        return new + self._rng.permutation(others).tolist()[: n - len(new)]

    def _made(self):
        encoder = self._options.get("encoder", "efficientnet-lite0")
        weights = self._options.get("encoder_weights", "bundled")
        options = {}
        if starts_at_random(encoder, weights):
            options["schedule__encoder_lr_scale"] = 1.0  # nothing there is worth keeping
        else:
            # Also of a large pool, of which `predict` writes what is marked, and no more.
            options["feature_cache"] = str(self.project.folder / "features")
        return JointCAMSegmenter.from_preset(
            "alseg-fast",
            **{**self._options, **options},
            image_size=self._canvas,
            augmentation__n_views=_VIEWS,
            max_epochs=1,
            random_state=self._rng,
            callbacks=[Steps()],
        )

    # -- predicting -------------------------------------------------------------------------------

    def predict(self, i):
        """Probabilities of the pixels of an image, (C, H, W) float32.

        Raises
        ------
        OSError, ValueError
            If it cannot be read, or is of other channels.
        """
        memory = getattr(self._model.module_, "feature_memory", None)
        if memory is None or not self._is_large:
            return self._predicted(i)
        memory.writes = str(self.project.data.ids[i]) in self.project.state["masks"]
        try:
            return self._predicted(i)
        finally:
            memory.writes = True

    def _predicted(self, i):
        return self._model.predict_mask_proba(self.images.take(np.array([i])))[0]
