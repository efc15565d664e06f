"""alseg.segmenter.parameters: arguments that belong together, as values that nothing changes."""

import dataclasses
import inspect
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, ParameterGrid

from alseg import (
    Augmentation,
    Consistency,
    Execution,
    JointCAMSegmenter,
    Network,
    Objects,
    Schedule,
)
from alseg.experiment import described, same
from alseg.files import FLAT_PLACES, flat_settings, nested_names
from alseg.files.flat_arguments import _LATER, CONSISTENCY, FIELDS
from alseg.segmenter.parameters import KINDS, with_fields

ALL = [
    Network(pooling="max", normalize=(np.full(3, 0.4), 0.2)),
    Augmentation(jitter=0.3),
    Consistency(0.5, ramp=0.1),
    Objects("distance"),
    Schedule("two-phase", class_phase={"lr": 0.1}),
    Execution(amp="auto"),
]
by_name = pytest.mark.parametrize("value", ALL, ids=lambda value: type(value).__name__)


def test_a_constructor_of_at_most_26_arguments():
    parameters = inspect.signature(JointCAMSegmenter).parameters.values()
    assert len([p for p in parameters if p.kind is not p.VAR_KEYWORD]) <= 26


def test_the_constructor_stores_what_it_is_given():
    given = {**{name: kind() for name, kind in KINDS.items()}, "crop": {"size": 8}}
    model = JointCAMSegmenter(**given)
    assert all(getattr(model, name) is value for name, value in given.items())
    for name, parameter in inspect.signature(JointCAMSegmenter).parameters.items():
        if parameter.default is not parameter.empty:
            stored = JointCAMSegmenter().get_params()[name]
            assert stored is parameter.default or stored == parameter.default


@by_name
def test_they_are_values(value):
    kind = type(value)
    again = kind(**value.get_params())
    assert again == value and again is not value and value != kind()
    assert clone(value) == pickle.loads(pickle.dumps(value)) == value
    assert repr(kind()) == f"{kind.__name__}()"
    assert value != object() and kind() != 3
    with pytest.raises(TypeError, match="unhashable"):
        hash(value)


def test_repr_shows_what_is_not_the_default():
    shown = "Schedule(phases='two-phase', class_phase={'lr': 0.1})"
    assert repr(Schedule("two-phase", class_phase={"lr": 0.1}, ema=None)) == shown


@by_name
def test_nothing_sets_an_attribute(value):
    for name in (*value.get_params(), "other"):
        with pytest.raises(
            dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"
        ):
            setattr(value, name, 1)


def test_set_params_of_one_estimator_changes_no_other_and_no_default():
    shared = Augmentation(flips="none")
    one, two, plain = (
        JointCAMSegmenter(augmentation=shared),
        JointCAMSegmenter(augmentation=shared),
        JointCAMSegmenter(),
    )
    copied = clone(one)
    one.set_params(augmentation__jitter=0.5, network__pooling="max", schedule__ema=0.9)
    assert one.augmentation == Augmentation(flips="none", jitter=0.5)
    assert (one.network, one.schedule) == (Network("max"), Schedule(ema=0.9))
    assert shared == two.augmentation == copied.augmentation == Augmentation(flips="none")
    for other in (two, plain, JointCAMSegmenter()):
        assert (other.network, other.schedule) == (Network(), Schedule())
    plain.set_params(augmentation__jitter=0.5)
    assert JointCAMSegmenter().augmentation == Augmentation()


def test_an_object_and_its_field_together():
    model = JointCAMSegmenter(schedule=Schedule(ema=0.9))
    model.set_params(schedule__clip_norm=1.0, schedule=Schedule(sampling="passes"))
    assert model.schedule == Schedule(sampling="passes", clip_norm=1.0)


def test_get_params_names_the_fields():
    model = JointCAMSegmenter(consistency=Consistency(2), objects=Objects())
    params = model.get_params(deep=True)
    for argument, kind in KINDS.items():
        for field in dataclasses.fields(kind):
            assert f"{argument}__{field.name}" in params
    assert params["consistency__weight"] == 2
    assert "network" in JointCAMSegmenter().get_params(deep=False)
    assert "network__pooling" not in JointCAMSegmenter().get_params(deep=False)


def test_a_grid_searches_them():
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    model = JointCAMSegmenter("tiny", max_epochs=0, device="cpu", random_state=0)
    grid = {"augmentation__jitter": [0.0, 0.2], "network": [Network("max")]}
    search = GridSearchCV(model, grid, cv=2).fit(images, np.arange(8) % 2)
    assert search.best_params_ in list(ParameterGrid(grid))
    assert search.best_estimator_.network == Network("max")


@pytest.mark.parametrize(
    "make, rule",
    [
        (lambda: Augmentation(jiter=0.1), "Augmentation got .* 'jiter'. Did you mean 'jitter'"),
        (lambda: Schedule(zzz=1), "got an unexpected argument 'zzz'. It has phases, class_phase"),
        (
            lambda: JointCAMSegmenter().set_params(network__poling=None),
            "Network got an unexpected argument 'poling'. Did you mean 'pooling'",
        ),
        (
            lambda: JointCAMSegmenter(network="max").set_params(network__pooling=None),
            r"network must be a Network, as network=Network\(pooling=...\) to set network__pooling",
        ),
        (
            lambda: JointCAMSegmenter(jitter=0.3).check_params(),
            r"unexpected argument 'jitter'. Give augmentation=Augmentation\(jitter=...\)",
        ),
        (
            lambda: JointCAMSegmenter(augmentation__jitter=0.3).check_params(),
            r"Give augmentation=Augmentation\(jitter=...\), or use set_params",
        ),
        (
            lambda: JointCAMSegmenter(schedule="two-phase").check_params(),
            r"schedule must be a Schedule, as schedule=Schedule\(phases=...\), got 'two-phase'",
        ),
        (
            lambda: JointCAMSegmenter(augmentation=Network()).check_params(),
            r"augmentation must be an Augmentation, .* got Network\(\)",
        ),
    ],
)
def test_what_is_not_such_an_argument(make, rule):
    with pytest.raises(TypeError, match=rule):
        make()


@pytest.mark.parametrize(
    "options, rule",
    [
        ({"augmentation": Augmentation(jitter=2)}, "augmentation.jitter must be >= 0 and <= 1"),
        ({"network": Network(dropout_placement="x")}, "network.dropout_placement must be one of"),
        ({"schedule": Schedule(ema=1.0)}, "schedule.ema must be"),
        ({"consistency": Consistency(jitter=2)}, "consistency.jitter must be"),
        ({"execution": Execution(amp="yes")}, "execution.amp must be False, True or 'auto'"),
    ],
)
def test_a_field_out_of_its_range_is_named(options, rule):
    with pytest.raises(ValueError, match=rule):
        JointCAMSegmenter(**options).fit(["no such file.png"], ["a"])


def test_presets_take_fields():
    model = JointCAMSegmenter.from_preset("gorriz2017-ceal", schedule__ema=0.5)
    plain = JointCAMSegmenter.from_preset("gorriz2017-ceal")
    assert model.schedule == dataclasses.replace(plain.schedule, ema=0.5)
    assert plain.schedule.ema is None


def test_saved_by_value(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    given = {
        "network": Network("max", normalize=(0.4, 0.2)),
        "augmentation": Augmentation(affine=None),
        "consistency": Consistency(0.5, ramp=0.1),
        "schedule": Schedule(class_phase={"lr": 0.1}, lr_schedule=("step", 1, 0.5)),
        "execution": Execution(channels_last=False),
    }
    model = JointCAMSegmenter("tiny", max_epochs=0, device="cpu", **given).fit(images, [0, 1] * 2)
    model.save(tmp_path / "model")
    loaded = JointCAMSegmenter.load(tmp_path / "model", schedule__ema=0.9)
    for name, value in given.items():
        assert getattr(loaded, name) == (
            value if name != "schedule" else dataclasses.replace(value, ema=0.9)
        )


def test_what_json_cannot_hold_of_an_object_is_left_out_by_its_name(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    network = Network("max", normalize=(np.full(3, 0.4), np.full(3, 0.2)))
    model = JointCAMSegmenter("tiny", max_epochs=0, device="cpu", network=network)
    model.fit(images, [0, 1] * 2).save(tmp_path / "model")
    with pytest.warns(UserWarning, match="at their defaults: \\['network__normalize'\\]"):
        assert JointCAMSegmenter.load(tmp_path / "model").network == Network("max")
    loaded = JointCAMSegmenter.load(tmp_path / "model", network__normalize=network.normalize)
    assert loaded.network == network


# -- files of before -------------------------------------------------------------------------------


def test_the_tables_are_those_of_the_classes():
    names = {name: tuple(f.name for f in dataclasses.fields(kind)) for name, kind in KINDS.items()}
    assert names.pop("consistency") == tuple(CONSISTENCY)
    names.pop("objects")  # which came when there were no flat ones
    assert names == FIELDS and Consistency().get_params() == CONSISTENCY
    # No name would now mean two things.
    assert len(FLAT_PLACES) == sum(map(len, FIELDS.values()))


def test_flat_names_become_fields():
    flat = {"jitter": 0.3, "schedule": "two-phase", "ema": 0.9, "amp": True, "lr": 0.1}
    flat["consistency"] = {"threshold": 0.5}
    assert with_fields(nested_names(flat)) == {
        "lr": 0.1,
        "augmentation": Augmentation(jitter=0.3),
        "schedule": Schedule("two-phase", ema=0.9),
        "execution": Execution(amp=True),
        "consistency": Consistency(threshold=0.5),
    }
    today = {"schedule": Schedule(), "consistency": 0.5}
    assert nested_names(today) == today


def test_records_of_before_are_of_the_same_run():
    model = JointCAMSegmenter(consistency=Consistency(0.5), schedule=Schedule("two-phase", ema=0.9))
    now = described(model)
    fields = ("network", "augmentation", "schedule", "execution")
    before = {name: value for name, value in now.items() if name not in fields}
    for name, (argument, field) in FLAT_PLACES.items():
        if name not in _LATER:  # which came when they were objects
            before[name] = now[argument][field]
    before.pop("objects")  # which is None, as it was before there were any
    assert before["schedule"] == "two-phase" and before["ema"] == 0.9
    for consistency in (0.5, {"weight": 0.5}, {"weight": 0.5, "ramp": 0.25}):
        assert same({"estimator": {**before, "consistency": consistency}}, {"estimator": now})
    assert flat_settings(before) == before | {"consistency": {**CONSISTENCY, "weight": 0.5}}
    for name in ("ema", "jitter", "pooling", "amp", "objects", *_LATER):
        assert not same({**before, name: "another"}, now)
    assert not same({**before, "consistency": {"weight": 0.5, "ramp": 0.5}}, now)
