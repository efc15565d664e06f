"""The protocol of a comparison: what is fixed before it starts, and can be kept as JSON."""

import dataclasses
from typing import Any

import numpy as np

from alseg.datasets import Dataset, torn_groups
from alseg.experiment.evaluation import ERRORS, TAKEN
from alseg.experiment.measures import NAMED, as_measures, told_measures
from alseg.files import jsonable, read_json, write_json
from alseg.labels import label_codes, label_strata
from alseg.validation import check_number, check_option, did_you_mean, message

REFERENCES = ("full supervision", "weak labels only", "all-ones")
CONTROLS = ("random", "class-balanced random", "CAM-guided random")
COSTS = ("images", "pixels", "clicks", "seconds")
_LISTED = 5  # groups that one error names


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How strategies are compared and how the verdict is reached, fixed before anything is run.

    All strategies of a seed start from the same images, annotated at random and class-balanced, and
    from one network fitted to them. Each round asks, annotates, fits and measures.

    Parameters
    ----------
    initial : int, default=8
        Masks before the first question (round 0).
    n_instances : int, default=2
        Masks, or parts of images, asked for in a round.
    rounds : int, default=10
        Rounds after round 0.
    class_balanced : bool, default=True
        Whether every strategy shares its questions alike among the image classes. Strategies that
        ask about parts of images are left as they are.
    budget : float or None, default=None
        A row ends with the round in which the annotation costs this much; None is no limit.
    cost : {"images", "pixels", "clicks", "seconds"}, default="images"
        What `budget` counts, see `alseg.query.annotation_cost`.
    seconds_per_image, seconds_per_click : float, default=0.0 and 1.0
        Rates of the seconds.
    n_steps : int or None, default=None
        Gradient steps of every fit, the same for all rows and rounds. None leaves the estimator's
        own number, which does not depend on the number of masks either.
    epochs : int or None, default=None
        Instead: passes over the annotated images, so that steps grow with the masks (as published
        work often does: a learning curve then compares training lengths too).
    warm_start : bool, default=False
        Whether a round continues from the model of the round before; else it starts from scratch.
    n_threads : int, default=1
        Threads of a fit. Part of the protocol, because one more changes the last digits.
    n_folds : int or None, default=None
        For data without a test part: seed s is tested on fold ``s % n_folds`` of stratified folds,
        and no group (patient) stands on both sides where the data have groups.
    stop_agreement : float or None, default=None
        A row ends when the predicted masks of two rounds agree by this Dice three times in a row;
        its curve goes on at its last value. None asks all rounds.
    control : str, default="random"
        The row that the others are compared with.
    family : sequence of str or None, default=None
        The rows whose p-values are adjusted together (Holm). None is all strategies given, without
        the control and the added control rows.
    metric : str, default="dice"
        What the verdict is about: a number among the records' ``metrics`` of which more is better,
        or one of `metrics`. "hausdorff", "hd95" and "object_hausdorff" are measured by being named.
    metrics : dict of str -> value, or sequence of str, default=()
        Further scores of each test image, which records, tables and reports then have: names among
        "hausdorff", "hd95" (the 95th percentile) and "object_hausdorff", which are distances in
        pixels; or, by name, ``f(truth, prediction) -> float`` of two integer masks (H, W), -1
        where the truth is not annotated, or such a function as ``package.module:name``. Less is
        better with ``(f, "lower")``. Where it has parameters `proba` or `instances`, it gets the
        probabilities (C, H, W) and the numbers of the true objects, or None. Images are averaged;
        one whose value is NaN is left out of the mean, and an infinite value is an error.
    window : (float, float) or None, default=None
        Masks between which the area under the curve is taken; None is all of them.
    alpha : float, default=0.05
        Two-sided level of the verdict, over the family.
    references : sequence of str, default=("full supervision", "weak labels only", "all-ones")
        Rows that ask nothing.
    controls : sequence of str
        Rows that ask without a strategy: "random" (of all images), "class-balanced random",
        "CAM-guided random" (66 % of the questions where the CAM sees most foreground). One that a
        given strategy is already is not run twice. Default: all three.

    Examples
    --------
    >>> protocol = Protocol(initial=8, rounds=4)
    >>> Protocol.from_dict(protocol.to_dict()) == protocol
    True
    """

    initial: int = 8
    n_instances: int = 2
    rounds: int = 10
    class_balanced: bool = True
    budget: float | None = None
    cost: str = "images"
    seconds_per_image: float = 0.0
    seconds_per_click: float = 1.0
    n_steps: int | None = None
    epochs: int | None = None
    warm_start: bool = False
    n_threads: int = 1
    n_folds: int | None = None
    stop_agreement: float | None = None
    control: str = "random"
    family: tuple | None = None
    metric: str = "dice"
    metrics: Any = dataclasses.field(default=(), hash=False)
    window: tuple | None = None
    alpha: float = 0.05
    references: tuple = REFERENCES
    controls: tuple = CONTROLS

    def __post_init__(self):
        self._check_numbers()
        measures = as_measures(self.metrics, TAKEN)
        if self.metric in NAMED and self.metric not in measures:
            measures[self.metric] = NAMED[self.metric]
        object.__setattr__(self, "metrics", measures)
        if self.n_steps is not None and self.epochs is not None:
            raise ValueError(message("epochs", "None where n_steps is given", self.epochs))
        check_option("cost", self.cost, COSTS)
        set_ = object.__setattr__  # frozen for users; a list is the tuple that it stands for
        for name, known in (("references", REFERENCES), ("controls", CONTROLS)):
            value = getattr(self, name)
            set_(self, name, () if value is None else _names(name, value))
            for one in getattr(self, name):
                check_option(name, one, known)
        if self.family is not None:
            set_(self, "family", _names("family", self.family))
        if self.window is not None:
            set_(self, "window", _window(self.window))

    def _check_numbers(self):
        for name, low in (("initial", 1), ("n_instances", 1), ("rounds", 0), ("n_threads", 1)):
            check_number(name, getattr(self, name), low, integer=True)
        for name, low in (("n_steps", 1), ("epochs", 1), ("n_folds", 2)):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), low, integer=True)
        for name in ("seconds_per_image", "seconds_per_click"):
            check_number(name, getattr(self, name), 0)
        for name in ("class_balanced", "warm_start"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise TypeError(message(name, "a bool", getattr(self, name)))
        if self.budget is not None:
            check_number("budget", self.budget, 0)
        if self.stop_agreement is not None:
            check_number("stop_agreement", self.stop_agreement, 0, 1)
        if not 0 < self.alpha < 1:
            raise ValueError(message("alpha", "in (0, 1)", self.alpha))

    def to_dict(self):
        """The protocol as JSON's types.

        Returns
        -------
        dict of str -> value
        """
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        found["metrics"] = told_measures(self.metrics)
        if not self.metrics:  # as files of before have it
            del found["metrics"]
        return jsonable(found)

    def resolved(self):
        """The same with the functions of `metrics` that a file names imported.

        Raises
        ------
        ValueError
            If one cannot be.
        """
        found = {name: measure.resolved() for name, measure in self.metrics.items()}
        return dataclasses.replace(self, metrics=found)

    def better(self, metric=None):
        """Whether more or less of a metric is better.

        Parameters
        ----------
        metric : str or None, default=None
            None is the protocol's.

        Returns
        -------
        {"higher", "lower"}
        """
        metric = metric or self.metric
        if metric in self.metrics:
            return self.metrics[metric].better
        return "lower" if metric in ERRORS else "higher"

    def scale(self, metric=None):
        """What a metric is multiplied by where people read it.

        Parameters
        ----------
        metric : str or None, default=None
            None is the protocol's.

        Returns
        -------
        float
            100 for scores in [0, 1], which are shown in per cent; 1 for those of `metrics`.
        """
        return 1.0 if (metric or self.metric) in self.metrics else 100.0

    @classmethod
    def from_dict(cls, values):
        """The protocol of a `to_dict`; what is not named keeps its default.

        Parameters
        ----------
        values : dict of str -> value

        Returns
        -------
        Protocol

        Raises
        ------
        ValueError
            If a name is unknown; the nearest one is named.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(
                    message("protocol", f"made of {known}", name, did_you_mean(name, known))
                )
        return cls(**values)

    def save(self, path):
        """Write the protocol as JSON.

        Parameters
        ----------
        path : str or Path
            Where no file is, or one that holds a protocol, which is replaced.

        Returns
        -------
        path : Path

        Raises
        ------
        NotOurs
            If another file is at `path`.
        """
        return write_json(path, self.to_dict(), marker=_holds_protocol)

    @classmethod
    def load(cls, path):
        """Read what `save` wrote.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        Protocol
        """
        return cls.from_dict(read_json(path))


def _holds_protocol(path):
    try:
        Protocol.load(path)
    except (ValueError, TypeError):
        return False
    return True


def _window(value):
    """(low, high) as a tuple."""
    window = tuple(value) if np.iterable(value) else ()
    if len(window) != 2:
        raise ValueError(message("window", "(low, high) with low < high", value))
    for k, one in enumerate(window):
        check_number(f"window[{k}]", one)
    if not window[0] < window[1]:
        raise ValueError(message("window", "(low, high) with low < high", value))
    return window


def _names(name, value):
    """A tuple of different names."""
    if isinstance(value, str) or not np.iterable(value):
        raise TypeError(message(name, "a sequence of names", value))
    value = tuple(value)
    if len(set(value)) != len(value):
        raise ValueError(message(name, "different names", list(value)))
    return value


def without_classes(protocol, labels):
    """A protocol without the rows that make no sense where images have one class or none.

    Parameters
    ----------
    protocol : Protocol
    labels : sequence of array-like of shape (n,) or (n, K)
        Class labels of the training images of each seed.

    Returns
    -------
    Protocol
        The same where there are two classes. Else without "weak labels only" and "CAM-guided
        random", which learn from labels, and without class balance, which is "random" then. Of
        several classes an image without those two alone, which take the map of one.

    Examples
    --------
    >>> found = without_classes(Protocol(), [[None, None]])
    >>> found.references, found.controls, found.class_balanced
    (('full supervision', 'all-ones'), ('random',), False)
    """
    several = any(np.ndim(one) == 2 for one in labels)
    if not several and any(len(label_codes(one)[0]) > 1 for one in labels):
        return protocol
    untaught = ("weak labels only", "CAM-guided random")
    names = ("control", "references", "controls")
    kept = {name: getattr(protocol, name) for name in names}
    same = {"class-balanced random": "random", "random, not balanced": "random"}
    same = {} if several else same
    kept["control"] = same.get(kept["control"], kept["control"])
    for name in ("references", "controls"):
        rows = (same.get(row, row) for row in kept[name] if row not in untaught)
        kept[name] = tuple(dict.fromkeys(rows))
    return dataclasses.replace(protocol, class_balanced=several and protocol.class_balanced, **kept)


def split(data, protocol, seed):
    """Training and test part of a seed.

    Parameters
    ----------
    data : Parts with train and test, (Dataset, Dataset), or a Dataset with `protocol.n_folds`
    protocol : Protocol
    seed : int

    Returns
    -------
    train, test : Dataset

    Raises
    ------
    ValueError
        If there is no test part and no `n_folds`, or more folds than groups or images of a class.
    """
    if hasattr(data, "keys"):  # Parts
        if protocol.n_folds is None:
            missing = [name for name in ("train", "test") if name not in data]
            if missing:
                rule = "parts train and test, or a protocol with n_folds"
                raise ValueError(message("data", rule, f"parts {list(data)}"))
            return data["train"], data["test"]
        if "all" not in data:
            raise ValueError(message("data", "a part 'all' for n_folds", f"parts {list(data)}"))
        data = data["all"]
    elif isinstance(data, (tuple, list)):
        if len(data) != 2:
            raise ValueError(message("data", "(train, test)", f"{len(data)} parts"))
        if protocol.n_folds is not None:
            remedy = "Give one data set, or leave n_folds out."
            raise ValueError(message("data", "one data set where n_folds is given", "two", remedy))
        for part in data:
            if not hasattr(part, "masks"):
                raise TypeError(message("data", "Parts, a Dataset, or (train, test)", part))
        return tuple(data)
    if not isinstance(data, Dataset):
        raise TypeError(message("data", "Parts, a Dataset, or (train, test)", data))
    if protocol.n_folds is None:
        remedy = "Give (train, test), or Protocol(n_folds=5)."
        raise ValueError(message("data", "with a test part", repr(data), remedy))
    train, test = folds(data.labels, data.groups, protocol.n_folds)[seed % protocol.n_folds]
    return data.take(train), data.take(test)


def check_groups(train, test, allow_torn=False):
    """Refuse a split with a group (patient) on both sides, and say what a record says of it.

    Parameters
    ----------
    train, test : Dataset
    allow_torn : bool, default=False
        Whether such a split is meant.

    Returns
    -------
    torn : dict or None
        ``n_torn``, ``n_groups`` and ``published``, as `alseg.datasets.torn_groups` gives them.

    Raises
    ------
    ValueError
        If a group is torn that neither a published split nor `allow_torn` accounts for.
    """
    if not isinstance(allow_torn, (bool, np.bool_)):
        raise TypeError(message("allow_torn_groups", "a bool", allow_torn))
    torn = torn_groups(train, test)
    if torn is None:
        return None
    groups = torn.pop("groups")
    if not (torn["published"] or allow_torn):
        shown = ", ".join(map(repr, groups[:_LISTED])) + ", ..." * (len(groups) > _LISTED)
        raise ValueError(
            f"train and test must have no group (patient) in common, got {torn['n_torn']} of "
            f"{torn['n_groups']} in both ({shown}). Split by group, or say "
            "allow_torn_groups=True (--torn-groups)."
        )
    return torn


def told_groups(torn):
    """What `check_groups` has found, in words; an empty string where nothing is torn.

    Examples
    --------
    >>> told_groups({"n_torn": 11, "n_groups": 16, "published": True})
    '11 of 16 groups (patients) stand in train and test, as published'
    """
    if not torn:
        return ""
    text = f"{torn['n_torn']} of {torn['n_groups']} groups (patients) stand in train and test"
    return text + (", as published" if torn.get("published") else ", as was asked for")


def folds(labels, groups, n_folds):
    """Class-stratified folds that tear no group apart.

    Parameters
    ----------
    labels : array-like of shape (n,), or (n, K) for several classes an image
        Those that are missing are one more class. Each set of classes is one, those of fewer images
        than folds together.
    groups : array-like of shape (n,), or None
    n_folds : int, at least 2

    Returns
    -------
    list of (train, test)
        Positions, ascending; every image is in one test part.

    Raises
    ------
    ValueError
        If there are fewer groups, or images of a class, than folds.

    Examples
    --------
    >>> labels, groups = ["a", "a", "b", "b"], ["p", "q", "r", "s"]
    >>> [test.tolist() for _, test in folds(labels, groups, 2)]
    [[0, 2], [1, 3]]
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    check_number("n_folds", n_folds, 2, integer=True)
    labels = label_strata(labels, n_folds)
    _, counts = np.unique(labels, return_counts=True)
    if counts.min() < n_folds:
        raise ValueError(
            message("n_folds", f"at most {counts.min()}, the images of the rarest class", n_folds)
        )
    if groups is None:
        splitter = StratifiedKFold(n_folds, shuffle=True, random_state=0)
    else:
        n_groups = len(np.unique(groups))
        if n_groups < n_folds:
            raise ValueError(message("n_folds", f"at most {n_groups}, the groups", n_folds))
        # Its order decides ties; a shuffle would make them worse, not better.
        splitter = StratifiedGroupKFold(n_folds)
    return list(splitter.split(np.zeros(len(labels)), labels, groups))
