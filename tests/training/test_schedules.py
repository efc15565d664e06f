"""Learning rates by a function of one's own."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from alseg import JointCAMSegmenter, Schedule
from alseg.datasets import make_glands
from alseg.segmenter import with_fields
from alseg.training import check_lr_schedule, make_scheduler
from alseg.training.schedules import cosine_decay

GLANDS = make_glands(4, image_size=(24, 32), random_state=0)


class Rates(Callback):
    """The learning rates of all groups at each step."""

    def __init__(self):
        self.rates = []

    def on_batch_begin(self, net, training=False, **kwargs):
        if training:
            self.rates.append([group["lr"] for group in (2 * net.optimizer_.param_groups)[:2]])


def falls(step, n_steps):
    if not 0 <= step < n_steps:
        raise IndexError(step)
    return 1 - step / n_steps


def fitted(lr_schedule, **options):
    rates = Rates()
    model = JointCAMSegmenter(
        **with_fields(
            {
                "encoder": "tiny",
                "max_epochs": 2,
                "steps_per_epoch": 2,
                "lr": 0.01,
                "random_state": 0,
                "device": "cpu",
                "callbacks": [rates],
                "schedule__lr_schedule": lr_schedule,
                **options,
            }
        )
    )
    return model.fit(GLANDS.images, GLANDS.labels, GLANDS.masks), np.array(rates.rates)


def test_a_function_gives_the_share_of_each_step():
    model, rates = fitted(falls)
    assert np.allclose(rates[:, 0], [0.01, 0.0075, 0.005, 0.0025])
    assert np.allclose(rates[:, 1], 0.3 * rates[:, 0])  # of the encoder
    assert clone(model).schedule.lr_schedule is falls


def test_each_phase_has_its_own_steps():
    _, rates = fitted(falls, schedule__phases="two-phase")
    assert np.allclose(rates[:4, 0], rates[4:, 0]) and rates.shape[0] == 8
    first = {"lr_schedule": falls}
    _, rates = fitted("constant", schedule__phases="two-phase", schedule__class_phase=first)
    assert rates[3, 0] == pytest.approx(0.0025) and (rates[4:, 0] == 0.01).all()


def test_one_of_ours_said_as_a_function_is_the_same():
    same = [fitted(kind)[0].module_.state_dict() for kind in ("cosine", cosine_decay)]
    assert all(torch.equal(a, b) for a, b in zip(same[0].values(), same[1].values()))


@pytest.mark.parametrize("share", [np.float32(0.5), torch.tensor(0.5), 0.5, np.array(0.5)[()]])
def test_any_number_will_do(share):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    make_scheduler(optimizer, lambda step, n_steps: share, 0.1, 4, 2)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("share", "error"),
    [(-0.1, ValueError), (float("nan"), ValueError), (None, TypeError), ("0.1", TypeError)],
)
def test_a_share_that_is_none_is_named(share, error):
    with pytest.raises(error, match=r"schedule.lr_schedule\(step, n_steps\) must be"):
        fitted(lambda step, n_steps: share)


def test_what_is_no_schedule_is_refused():
    for wrong in (torch.optim.lr_scheduler.OneCycleLR, 3, ("falls", 1)):
        with pytest.raises(ValueError, match="or a function of step and n_steps, got"):
            check_lr_schedule("schedule.lr_schedule", wrong)


def test_a_function_is_code_that_no_file_holds(tmp_path):
    model, _ = fitted(falls, callbacks=None)
    model.save(tmp_path / "model")
    with pytest.warns(UserWarning, match=r"at their defaults: \['schedule__lr_schedule'\]"):
        assert JointCAMSegmenter.load(tmp_path / "model").schedule == Schedule()
    given = JointCAMSegmenter.load(tmp_path / "model", schedule__lr_schedule=falls)
    assert given.schedule == Schedule(lr_schedule=falls)
