"""An argument of several fields as a value: compared by its fields, never changed in place."""

import dataclasses

import numpy as np

from alseg.validation import did_you_mean


class Options:
    """Arguments that belong together: a value, compared by its fields and never changed in place.

    An estimator's fields are set by ``set_params(augmentation__jitter=0.3)``, which gives it a
    changed copy; so estimators may share one. `dataclasses.replace` makes such a copy by hand.
    """

    def __new__(cls, *args, **fields):
        """See that each name is a field's."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                remedy = did_you_mean(name, known) or f"It has {', '.join(known)}."
                raise TypeError(f"{cls.__name__} got an unexpected argument {name!r}. {remedy}")
        return super().__new__(cls)

    def get_params(self, deep=True):
        """The fields by name, as scikit-learn asks for them."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __sklearn_clone__(self):
        """Itself: what it holds, such as a fitted teacher, is not changed, and so not copied."""
        return self

    def check(self):
        """Refuse a field that is out of its range.

        Raises
        ------
        TypeError, ValueError
            Naming it as ``augmentation.jitter``.
        """

    def __eq__(self, other):
        if type(self) is not type(other):
            return NotImplemented
        return same_value(self.get_params(), other.get_params())

    __hash__ = None  # type: ignore[assignment]  # a field may be a dict

    def __repr__(self):
        fields = dataclasses.fields(self)
        shown = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields
            if not same_value(getattr(self, field.name), field.default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def same_value(a, b):
    """Whether two values of a parameter are the same; own code is where it is one object.

    Examples
    --------
    >>> same_value((0.5, np.full(3, 0.2)), [0.5, [0.2, 0.2, 0.2]])
    True
    """
    if a is b:
        return True
    a, b = (value.tolist() if isinstance(value, np.ndarray) else value for value in (a, b))
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same_value, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_value(a[key], b[key]) for key in a)
    try:
        return bool(a == b)
    except (TypeError, ValueError, RuntimeError):
        return False
