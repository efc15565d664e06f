"""The next question: which images to annotate, with proposed masks, in bounded time.

The first question needs no model: images at random, the classes sharing alike. Later ones fit a
model to the masks known, look at images in random order for a stated time and ask among those.
"""

import functools
import hashlib
import json
import warnings
from contextlib import suppress
from pathlib import PurePosixPath

import numpy as np

from alseg.calling import accepts
from alseg.files import NotOurs, file_names, jsonable
from alseg.images import as_images
from alseg.labels import fraction_annotated, missing_labels
from alseg.progress import progress
from alseg.project.mask_files import mask_bytes
from alseg.project.rules import by_rule
from alseg.project.state import check_trusted, check_weights, clean, estimator_of
from alseg.query import class_balanced_top_n, top_n
from alseg.report import ask_folder
from alseg.validation import EmptyPool, check_number, counted

N_CONTEXT = 100
"""Images without a mask that a fit learns from, beside all that have one: drawn anew in each round,
since more of them cost time to read and teach hardly more (a step sees four)."""

_SCORES = "scores.json"
_PREDICTED = 8  # images predicted at once


def ask(project, n_instances, new=False, propose=False, max_seconds="auto", show=None, say=None):
    """Choose the next images to annotate, and write them to `ask/round_<number>/`.

    Images of an earlier question that have no mask yet are asked for again, unless `new`.

    Parameters
    ----------
    project : Project
    n_instances : int
        Fewer are asked for where fewer are left.
    new : bool, default=False
        Ask about other images, and leave the open ones open.
    propose : bool, default=False
        Fit and propose masks in the first question too, from class labels alone, where there are
        any.
    max_seconds : float, None or "auto", default="auto"
        For looking at images; None looks at all. "auto" is 10, or 3 with the preset "alseg-fast".
    show : callable or None, default=None
        Gives the files of a page about the question, such as `alseg.report.question_page`.
    say : callable or None, default=None
        Told in a line what is being done.

    Returns
    -------
    round : dict
        ``round``, ``ids`` (names), ``folder``, ``open`` (names without a mask yet), ``again``,
        whether the question is an old one, ``looked_at`` and ``pool``, numbers of images, and
        ``unreadable``, why by name.

    Raises
    ------
    EmptyPool
        If every image has a mask or was asked for.
    """
    check_number("n_instances", n_instances, 1, integer=True)
    say = say or (lambda text: None)
    if max_seconds == "auto":
        fast = project.state["options"]["estimator"].get("preset") == "alseg-fast"
        max_seconds = 3.0 if fast else 10.0
    open_ = project.pending()
    if open_ and not new:
        return _again(project, open_)
    check_trusted(project, "strategy", project.option("strategy"), ":", "code")
    question = _Question(project, say)
    pool = question.pool(open_)
    n_instances = min(n_instances, len(pool))
    model = None
    labelled = not missing_labels(project.data.labels).all()
    if propose and not (question.n_known or labelled):
        say("Without class labels no mask can be proposed before one is known.")
    if question.n_known or (propose and labelled):
        model = question.fit()
    if question.n_known:
        chosen = question.most_worth(model, pool, n_instances, max_seconds)
    else:
        chosen = question.first(pool, n_instances, max_seconds)
    if not len(chosen):
        raise EmptyPool(f"None of the {len(pool)} images left can be read.")
    found = _write(project, chosen, model, question, show)
    return {
        **found,
        "open": project.pending(),
        "again": False,
        "pool": len(pool),
        "looked_at": question.looked_at,
        "unreadable": question.why_unreadable(),
    }


def ask_at_once(project, n_instances, scores=None, known=""):
    """As `ask` about other images, without a fit and without looking at more images.

    Asked are images without any mask: those of the highest scores among `scores`, or among what
    `ask` has looked at and kept, whatever masks its model knew; at random where nothing is kept, or
    the strategy is "random". Another strategy has no part in `scores`: one that compares images
    with all others, such as "core_set", needs a fit and a look at all of them.

    Parameters
    ----------
    project : Project
    n_instances : int
        Fewer are asked for where fewer are left.
    scores : dict of str to float, or None, default=None
        How uncertain a model is of images, by name; of some of them, or of none.
    known : str, default=""
        What that model is and has learned from, as the reason that is given ends.

    Returns
    -------
    round : dict
        ``round``, ``ids``, ``folder``, ``why``, a sentence, and ``unreadable``, why by name, of
        images that were looked at and cannot be read.

    Raises
    ------
    EmptyPool
        If every image has a mask, was asked for, or cannot be read.
    """
    check_number("n_instances", n_instances, 1, integer=True)
    question = _at_once(project)
    pool = question.pool(project.pending())
    fresh = _of_names(scores or {}, project.data.ids[pool])
    scores = question.kept_scores(pool, of_any_model=True)
    at_random = _is_random(project)
    if at_random:
        fresh[:] = scores[:] = np.nan
    if np.isfinite(fresh).any():
        seen = np.isfinite(fresh)
        pool, scores = pool[seen], fresh[seen]
    elif np.isfinite(scores).any():
        seen, fresh = np.isfinite(scores), None
        pool, scores = pool[seen], scores[seen]
        strategy = project.option("strategy", "entropy")
        question.why = (
            f"Among the highest by {strategy} of {counted(len(pool), 'image')} that the last "
            "model looked at."
        )
    else:
        fresh = None
        scores = question.rng.random(len(pool))
        alike = ", the classes alike" if question.balanced else ""
        reason = "so this project asks" if at_random else "no model has looked at the images yet"
        question.why = f"Drawn at random{alike}: {reason}."
    chosen = question.best(pool, scores, n_instances, most=10 * n_instances)
    if not len(chosen):
        raise EmptyPool(f"None of the {len(pool)} images left can be read.")
    if fresh is not None:
        least = scores[np.isin(pool, chosen)].min()
        share = max(1, round(100 * (scores >= least).mean()))
        question.why = (
            f"Among the {share} % of {counted(len(pool), 'image')} that are least certain{known}."
        )
    found = _write(project, chosen, None, question, None)
    return {**found, "unreadable": question.why_unreadable()}


def ask_about(project, sample_ids, why):
    """Ask about images that somebody else has chosen.

    Parameters
    ----------
    project : Project
    sample_ids : sequence of int
        Positions of images that can be read.
    why : str
        A sentence.

    Returns
    -------
    round : dict
        See `ask_at_once`.
    """
    question = _at_once(project)
    question.why = why
    return _write(project, np.asarray(sample_ids, dtype=np.intp), None, question, None)


def _at_once(project):
    """A question for which no mask is read: whatever is in one, it is not asked for."""
    known = np.full(len(project.data), None, dtype=object)
    for i in np.flatnonzero(project.has_mask()):
        known[i] = np.zeros((1, 1), np.int16)
    return _Question(project, lambda text: None, known)


def _is_random(project):
    strategy = project.option("strategy", "entropy")  # of its name alone: it may be code
    return strategy.replace("-", "_").removesuffix("_sampling") == "random"


def _of_names(values, names):
    return np.array([values.get(name, np.nan) for name in names.tolist()], dtype=float)


def _again(project, open_):
    last = next(r for r in reversed(project.state["rounds"]) if set(r["ids"]) & set(open_))
    return {
        **last,
        "folder": _folder(project, last["round"]),
        "open": open_,
        "again": True,
        "pool": None,
        "looked_at": None,
        "unreadable": {},
    }


def _folder(project, number):
    return project.folder / ask_folder(number)


class _Question:
    """What a question is made from: the masks known, the images that can be read, chance."""

    def __init__(self, project, say, masks=None):
        self.project, self.say = project, say
        self.why = None
        self.data = project.data
        self.images = as_images(self.data.images)
        self.masks = project.known_masks() if masks is None else masks
        self.n_known = sum(mask is not None for mask in self.masks)
        self.unreadable = {}  # reason by position
        self.looked_at = self.key = None
        self.balanced = project.option("class_balanced", True)
        seed = project.option("seed", 0)
        self.rng = np.random.default_rng([seed, self.n_known, len(project.state["rounds"])])

    def pool(self, open_):
        """Positions of images that may be asked for."""
        complete = np.array([fraction_annotated(mask) == 1 for mask in self.masks])
        asked = np.isin(self.data.ids, [*open_, *self.project.state.get("skipped", ())])
        pool = np.flatnonzero(~complete & ~asked & ~by_rule(self.project))
        if not len(pool):
            raise EmptyPool(
                f"All {len(self.masks)} images have a mask"
                + (" or were asked for." if open_ else ".")
            )
        return pool

    def can_read(self, i):
        """Whether an image can be read; if not, the reason is kept."""
        if i not in self.unreadable:
            try:
                self.images[i]
            except (ValueError, FileNotFoundError) as error:
                self.unreadable[int(i)] = str(error)
        return i not in self.unreadable

    def why_unreadable(self):
        """The reasons by name."""
        return {str(self.data.ids[i]): reason for i, reason in self.unreadable.items()}

    # -- choosing -----------------------------------------------------------------------------

    def first(self, pool, n_instances, max_seconds):
        """Images to begin with, without a model: at random, or as different as an encoder sees."""
        if self.project.option("first", "random") == "random":
            self.say("No mask is known yet: the first images are drawn at random.")
            return self.best(pool, self.rng.random(len(pool)), n_instances)
        from alseg.strategies import alps_sampling, pretrained_embedding

        self.say("No mask is known yet: the first images are those that differ most.")
        strategy = functools.partial(alps_sampling, embedding=pretrained_embedding())
        learner = self._learner(estimator_of(self.project))  # it is not fitted for this
        return self._asked(strategy, learner, pool, n_instances, max_seconds)

    def _learner(self, model):
        """A learner that knows all masks, to ask by a model."""
        from alseg.learner import ActiveLearner

        images, labels = self.data.images, self.data.labels
        groups = self.data.groups
        return ActiveLearner(model, images=images, labels=labels, masks=self.masks, groups=groups)

    def most_worth(self, model, pool, n_instances, max_seconds):
        """Images that the strategy asks for, among those that there is time to look at."""
        from alseg.experiment import resolve_strategy
        from alseg.strategies import score_beside

        strategy = resolve_strategy(self.project.option("strategy", "entropy"))
        learner = self._learner(model)
        score = score_beside(strategy)
        if score is None:
            return self._asked(strategy, learner, pool, n_instances, max_seconds)
        scores = self._scores(score, learner, pool, n_instances, max_seconds)
        seen = np.isfinite(scores)
        return self.best(pool[seen], scores[seen], n_instances)

    def _asked(self, strategy, learner, pool, n_instances, max_seconds):
        """What a strategy without a score for each image asks for, in bounded time."""
        from alseg.strategies import class_balanced, within_seconds

        def report(n_seen, n_pool):
            self.looked_at = n_seen

        # One that spreads over groups would do so in each class by itself.
        balanced = self.balanced and not accepts(strategy, "groups_pool")
        asked = class_balanced(strategy) if balanced else strategy
        learner.query_strategy = within_seconds(asked, max_seconds, report=report)
        n_candidates = min(2 * n_instances + 4, len(pool))
        seed = int(self.rng.integers(2**31))
        with warnings.catch_warnings():  # of candidates beyond those that are asked for
            warnings.simplefilter("ignore", UserWarning)
            order, _ = learner.query(n_instances=n_candidates, among=pool, random_state=seed)
        order = [i for i in order if self.can_read(i)]
        if not order:
            return order
        kept, copies = self._distinct(order, min(n_instances, len(order)))
        return np.array((kept + copies)[:n_instances], dtype=np.intp)

    def _scores(self, score, learner, pool, n_instances, max_seconds):
        """(n_pool,) scores, NaN where there was no time, kept on disk beside the model."""
        from alseg.strategies import look

        def readable_only(learner, X, **options):
            try:
                return score(learner, X, **options)
            except (ValueError, FileNotFoundError):
                good = np.array([self.can_read(self.where[X.where(k)]) for k in range(len(X))])
                if good.all():
                    raise
                values = np.zeros(len(X))
                if good.any():
                    values[good] = score(learner, X.take(np.flatnonzero(good)), **options)
                return values

        self.where = {self.images.where(i): i for i in pool}
        known = self.kept_scores(pool)
        n_before = int(np.isfinite(known).sum())
        model = learner.estimator
        model.verbose = int(
            max_seconds is None and not self.project.quiet
        )  # it has a bar of its own
        show = max_seconds is not None and not self.project.quiet
        with progress("look", len(pool), show=show) as bar:
            bar.update(n_before)
            scores = look(
                readable_only,
                learner,
                self.images.take(pool),
                self.rng.permutation(len(pool)),
                max_seconds,
                known,
                lambda n_seen, n_pool: bar.update(n_seen - bar.n),
                at_least=n_instances,
                random_state=int(self.rng.integers(2**31)),
            )
        self.looked_at = int(np.isfinite(scores).sum())
        bad = np.isin(pool, list(self.unreadable))
        scores[bad] = np.nan
        self._write_scores(pool, scores)
        return scores

    def _scores_key(self):
        return [self.key, self.project.option("strategy", "entropy")]

    def kept_scores(self, pool, of_any_model=False):
        """(n_pool,) scores that were worked out before, NaN where there are none."""
        scores = np.full(len(pool), np.nan)
        try:
            kept = json.loads((self.project.folder / _SCORES).read_text(encoding="utf-8"))
            key = self._scores_key()
            if kept["of"][of_any_model:] != key[of_any_model:]:
                return scores
            scores = _of_names(kept["scores"], self.data.ids[pool])
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return np.full(len(pool), np.nan)  # made again: it only saves time
        return np.where(np.isinf(scores), np.nan, scores)

    def _write_scores(self, pool, scores):
        seen = np.isfinite(scores)
        kept = dict(zip(self.data.ids[pool[seen]].tolist(), scores[seen].tolist()))
        with suppress(NotOurs):  # they only save time: somebody else's file stays in their place
            self.project.files.write_json(_SCORES, {"of": self._scores_key(), "scores": kept})

    def best(self, candidates, scores, n_instances, most=np.inf):
        """Of the best scores (class by class) those that can be read and are not nearly alike.

        At most about `most` images are looked at.
        """
        chosen, rejected = [], []
        left = np.ones(len(candidates), dtype=bool)
        rng = np.random.default_rng(int(self.rng.integers(2**31)))
        while len(chosen) < n_instances and left.any() and (~left).sum() < most:
            at = np.flatnonzero(left)
            n = min(n_instances - len(chosen), len(at))
            if self.balanced:
                best = class_balanced_top_n(scores[at], self.data.labels[candidates[at]], n, rng)
            else:
                best = top_n(scores[at], n, rng)
            left[at[best]] = False
            good = [i for i in candidates[at[best]] if self.can_read(i)]
            if good:
                kept, copies = self._distinct(good, len(good), chosen)
                chosen, rejected = chosen + kept, rejected + copies
        return np.array((chosen + rejected)[:n_instances], dtype=np.intp)

    def _distinct(self, order, n_instances, chosen=()):
        """Those of `order` that are not nearly like one before or of `chosen`, and the others."""
        from alseg.query.diversity import first_distinct

        known = self.images.take(np.array(chosen, dtype=np.intp)) if len(chosen) else None
        return first_distinct(order, self.images, n_instances, known)

    # -- the model ----------------------------------------------------------------------------

    def fit(self):
        """The model fitted to the masks known: read from disk if there, else fitted and kept."""
        model, self.key = fitted(self.project, self.masks, self.say, self)
        return model

    def context(self):
        """Positions that a fit learns from: all with a mask, and some without, class by class."""
        without = np.flatnonzero([mask is None for mask in self.masks])
        without = without[~np.isin(without, list(self.unreadable))]
        rng = np.random.default_rng(self.project.option("seed", 0))
        n = min(N_CONTEXT, len(without))
        if n:
            scores = rng.random(len(without))
            drawn = class_balanced_top_n(scores, self.data.labels[without], n, rng)
            without = without[drawn]
        annotated = np.flatnonzero([mask is not None for mask in self.masks])
        return np.sort(np.concatenate([annotated, without])).astype(np.intp)


def fitted(project, masks, say=None, question=None, callbacks=None):
    """The model of these masks: read from disk if it is there, else fitted and kept.

    Parameters
    ----------
    project : Project
    masks : ndarray of shape (n,), object
        As `Project.known_masks` gives them.
    say : callable or None, default=None
        Told in a line what is being done.
    question : object or None, default=None
        What knows which images can be read; None finds it out.
    callbacks : list or None, default=None
        Of skorch, for the fit. One that raises ends it, and nothing is kept.

    Returns
    -------
    model : JointCAMSegmenter
    key : str
        A digest of all that it was fitted to.
    """
    say = say or (lambda text: None)
    key = _key(project, masks)
    path = project.folder / f"model-{key}"
    if (path / "model.json").is_file():
        from alseg.segmenter import JointCAMSegmenter

        wanted = estimator_of(project)
        model = JointCAMSegmenter.load(
            path,
            device=wanted.device,
            feature_cache=wanted.feature_cache,
            schedule__start_from=None,
            verbose=0,
        )
    else:
        model = _fit(project, masks, say, question or _Question(project, say), callbacks)
        model.callbacks = None  # they served this fit
        model.verbose = 0  # commands have bars of their own for what follows
        model.save(path)
    if model.device_ == "cpu":
        model.predict_batch_size = _PREDICTED  # as quick there, and a quarter less memory
    keep_model(project, path)
    return model, key


def keep_model(project, path):
    """Note that a saved model is ours, so that it goes when it is old, and remove older ones.

    Parameters
    ----------
    project : Project
    path : Path
        Its folder, in the state folder.
    """
    _adopt_model(project, path)
    _remove_old_models(project, but=path)


def _fit(project, masks, say, question, callbacks=None):
    check_weights(project)
    positions = question.context()
    n_masks = sum(masks[i] is not None for i in positions)
    n_labels = int((~missing_labels(project.data.labels[positions])).sum())
    labels = f" and the class labels of {counted(n_labels, 'image')}" if n_labels else ""
    say(f"Training on {counted(n_masks, 'mask')}{labels}.")  # before imports that take seconds
    from alseg.learner import ActiveLearner

    augmenter = None
    if project.option("pseudo_labels") is not None:
        from alseg.pseudo import PseudoLabelAugmenter

        augmenter = PseudoLabelAugmenter(weight=project.option("pseudo_labels"))
    while True:
        learner = ActiveLearner(
            estimator_of(project).set_params(callbacks=callbacks),
            images=question.images.take(positions),
            labels=project.data.labels[positions],
            masks=masks[positions],
            augmenter=augmenter,
            random_state=project.option("seed", 0),
        )
        try:
            learner.fit()
            return learner.estimator
        except ValueError:
            # An image that cannot be read is left out; to look for it before would read all twice.
            good = [i for i in positions if masks[i] is not None or question.can_read(i)]
            if len(good) == len(positions):
                raise
            positions = question.context()


def _key(project, masks):
    digest = hashlib.sha256()
    of_questions = ("strategy", "first", "class_balanced", "mask_classes")
    options = {**project.state["options"], **dict.fromkeys(of_questions)}
    digest.update(json.dumps(options, sort_keys=True).encode())
    for name, label, mask in zip(project.data.ids.tolist(), project.data.labels.tolist(), masks):
        digest.update(repr((name, label, None if mask is None else mask.shape)).encode())
        if mask is not None:
            digest.update(np.ascontiguousarray(mask))
    return digest.hexdigest()[:12]


def _adopt_model(project, path):
    """Note that a saved model is ours, so that it may be removed when it is old."""
    if not any(name.startswith(f"{path.name}/") for name in project.files.names()):
        project.files.adopt(path.name)


def _remove_old_models(project, but):
    models = {PurePosixPath(name).parts[0] for name in project.files.names()}
    for name in models:
        if name.startswith("model-") and name != but.name:
            project.files.remove(name)


# -- the question on disk -------------------------------------------------------------------------


def _write(project, sample_ids, model, question, show):
    number = 1 + max((found["round"] for found in project.state["rounds"]), default=0)
    folder = ask_folder(number)
    project.files.remove(folder)  # of a command that was killed: no state names it
    names = project.data.ids[sample_ids].tolist()
    images = question.images.take(sample_ids)
    files = file_names(names, ".png")
    queries, proposals = [], []
    for position, name in enumerate(names):
        query = {
            "id": name,
            "image": _path_of(images, position),
            "label": project.data.labels[sample_ids[position]],
            "size": list(images.size(position)),
            "proposal": None,
        }
        proposals.append(None)
        if model is not None:
            proposal = model.predict_masks(images.take(np.array([position])))[0]
            query["proposal"] = files[position]
            data = mask_bytes(proposal, model.n_mask_classes)
            project.files.write(f"{folder}/{files[position]}", data)
            proposals[-1] = proposal
        queries.append(query)
    text = {"round": number, "classes": project.class_names, "queries": jsonable(queries)}
    project.files.write_json(f"{folder}/queries.json", text)
    if show is not None:
        page = show(number, queries, images, proposals, project.folder, project.class_names)
        project.files.write(f"{folder}/index.html", page)
    found = {"round": number, "ids": names, "n_masks": int(question.n_known)}
    if question.why:
        found["why"] = question.why
    project.state["rounds"].append(found)
    project.state.setdefault("history", []).append({"command": "query", "round": number})
    project.write()
    clean(project)
    return {**found, "folder": _folder(project, number)}


def _path_of(images, position):
    paths = getattr(images, "paths", None)
    return None if paths is None else str(paths[position])
