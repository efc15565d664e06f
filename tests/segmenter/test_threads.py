"""Threads never change a number: predictions, fits, and the state that a process has once."""

import os
import random
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from torch import nn
from waiting import HANG

from alseg import JointCAMSegmenter
from alseg.comparison.jobs import n_threads
from alseg.datasets import make_glands
from alseg.learner.ensemble import DeepEnsemble
from alseg.network import JointCAMNetwork, with_dropout
from alseg.network.joint import evaluated
from alseg.network.random_numbers import forked_torch_rng
from alseg.segmenter import with_fields
from alseg.segmenter.pretraining import SelfSupervisedPretrainer
from alseg.strategies.cold_start import pretrained_embedding
from alseg.threads import ProcessLock, warnings_ignored

GLANDS = make_glands(6, image_size=(32, 32), random_state=0)


class Foreign(nn.Module):
    """An encoder as users write it: dropout of every kind, layers in a list, a bound method."""

    def __init__(self):
        super().__init__()
        self.out_channels, self.strides = [8, 8], [2, 4]
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Dropout2d(0.3))
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.AlphaDropout(0.3), Own(0.3))
        self.layers = [self.first, self.second]
        self.last = self.layers[-1].forward

    def forward(self, x):
        first = self.layers[0](x)
        if self.training:
            first = nn.functional.dropout(first, 0.2)
        return [first, self.last(first)]


class Own(nn.Dropout):
    def forward(self, x):
        return x * torch.bernoulli(torch.full_like(x, 1 - self.p)) if self.training else x


with forked_torch_rng(0):
    FOREIGN = Foreign()


def fitted(**options):
    model = JointCAMSegmenter(
        **with_fields(
            {"encoder": "tiny", "max_epochs": 1, "random_state": 0, "device": "cpu", **options}
        )
    )
    return model.fit(GLANDS.images, GLANDS.labels, GLANDS.masks)


def random_states():
    return (
        random.getstate(),
        [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],
        torch.get_rng_state().tolist(),
    )


def alike(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(alike, a, b))
    return np.array_equal(a, b)


def predictions(model):
    """What each method of a fitted model gives, by name, as calls without arguments."""
    images = GLANDS.images
    calls = {
        "predict": lambda: model.predict(images),
        "predict_proba": lambda: model.predict_proba(images),
        "predict_masks": lambda: model.predict_masks(images),
        "predict_mask_proba": lambda: model.predict_mask_proba(images),
        "predict_cams": lambda: model.predict_cams(images),
        "predict_joint": lambda: dict(model.predict_joint(images)),
        "gradient_embedding": lambda: model.gradient_embedding(images),
        "gradient_length": lambda: model.gradient_length(images),
    }
    for kind in ("encoder", "decoder", "cam"):
        calls[f"transform {kind}"] = lambda kind=kind: model.transform(images, kind=kind)
    for method in ("entropy", "mc_variance", "bald"):
        for target in ("mask", "label"):
            calls[f"{method} {target}"] = lambda method=method, target=target: (
                model.predict_uncertainty(
                    images,
                    method,
                    target=target,
                    n_draws=3,
                    random_state=1,
                    return_maps=target == "mask",
                )
            )
    return calls


def in_threads(calls, n_workers=8):
    """The results of calls made by threads that begin together."""
    start = threading.Barrier(n_workers, timeout=HANG)

    def work(part):
        start.wait()
        return [call() for call in part]

    with ThreadPoolExecutor(n_workers) as pool:
        futures = [pool.submit(work, calls[i::n_workers]) for i in range(n_workers)]
        parts = [future.result(HANG) for future in futures]
    return [parts[i % n_workers][i // n_workers] for i in range(len(calls))]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"network__dropout_placement": "everywhere", "test_flips": "both"},
        {"encoder": FOREIGN, "network__pooling": "wildcat"},
        {"crop": {"size": 32}, "test_flips": "horizontal"},
    ],
    ids=["default", "everywhere", "foreign", "crop"],
)
def test_eight_threads_predict_with_one_model_as_one_does(options):
    model = fitted(**options)
    calls = predictions(model)
    before = random_states(), {k: v.clone() for k, v in model.module_.state_dict().items()}
    alone = {name: call() for name, call in calls.items()}
    names = list(calls) * 3
    random.Random(0).shuffle(names)
    together = in_threads([calls[name] for name in names])
    wrong = {name for name, found in zip(names, together) if not alike(found, alone[name])}
    assert not wrong
    state = model.module_.state_dict()
    assert random_states() == before[0] and all(
        torch.equal(state[k], v) for k, v in before[1].items()
    )
    assert not any(m.training or "forward" in vars(m) for m in model.module_.modules())
    assert (alone["mc_variance mask"][0] > 0).all() and (alone["mc_variance label"] > 0).all()


def test_threads_predict_with_a_model_that_somebody_left_in_training_mode():
    model = fitted(encoder=FOREIGN)
    alone = model.predict_proba(GLANDS.images)
    model.module_.train()
    running = model.module_.encoder.first[1].running_mean.clone()
    found = in_threads([lambda: model.predict_proba(GLANDS.images)] * 16)
    assert all(np.array_equal(alone, proba) for proba in found)
    assert all(m.training for m in model.module_.modules())
    assert torch.equal(model.module_.encoder.first[1].running_mean, running)


# -- copies of a network that share its tensors ----------------------------------------------------


def test_a_copy_with_dropout_shares_tensors_and_leaves_the_module_alone():
    network = JointCAMNetwork(Foreign()).train()
    network.encoder.first.eval()
    modes = [m.training for m in network.modules()]
    for copy in (with_dropout(network, shared=True, seed=0), evaluated(network)):
        assert [m.training for m in network.modules()] == modes
        assert not any("forward" in vars(m) for m in network.modules())
        mine = {id(t) for t in (*network.parameters(), *network.buffers())}
        assert {id(t) for t in (*copy.parameters(), *copy.buffers())} == mine
        assert copy.encoder.layers[0] is copy.encoder.first
        assert copy.encoder.last.__self__ is copy.encoder.second
        assert not copy.encoder.first[1].training
    network.eval()
    assert evaluated(network) is network


def test_a_seed_decides_the_draws_of_every_kind_of_dropout():
    encoder, x = Foreign().eval(), torch.rand(4, 3, 16, 16)
    before = random_states()
    draws = []
    for seed in (0, 0, 1):
        drawing = with_dropout(encoder, seed=seed)
        draws.append([drawing(x), drawing(x)])
    assert random_states() == before
    (a, b), (again, _), (other, _) = draws
    for level in range(2):
        assert torch.equal(a[level], again[level])
        assert not torch.equal(a[level], b[level]) and not torch.equal(a[level], other[level])


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
@pytest.mark.parametrize(
    "kind, shape",
    [
        (nn.Dropout, (4, 3)),
        (nn.Dropout, (4, 3, 5, 6)),
        (nn.Dropout1d, (4, 3, 7)),
        (nn.Dropout1d, (3, 7)),
        (nn.Dropout2d, (4, 3, 5, 6)),
        (nn.Dropout3d, (4, 3, 5, 6, 2)),
        (nn.Dropout3d, (3, 5, 6, 2)),
    ],
)
def test_draws_are_torch_s_own_from_another_generator(kind, shape, p):
    module, x = kind(p), torch.rand(shape)
    ours = with_dropout(module, seed=3)
    with forked_torch_rng(3):
        theirs = [module(x), module(x)]
    assert all(torch.equal(ours(x), expected) for expected in theirs)
    if len(shape) == 4 and kind is not nn.Dropout3d:
        x = torch.ones(shape)
        shared = with_dropout(module, shared=True, seed=3)(x)
        assert torch.equal(shared, shared[:1].expand(shape))


# -- what is seeded -------------------------------------------------------------------------------


def weights(model):
    module = getattr(model, "module_", None) or model.encoder_
    return [t.numpy().copy() for t in module.state_dict().values()]


def fit(model):
    if isinstance(model, SelfSupervisedPretrainer):
        return weights(model.fit(GLANDS.images))
    model.fit(GLANDS.images, GLANDS.labels, GLANDS.masks)
    return [w for one in getattr(model, "estimators_", [model]) for w in weights(one)]


def kinds_of_fit():
    plain = JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0, device="cpu")
    return [
        plain,
        clone(plain).set_params(
            encoder=FOREIGN, random_state=1, schedule__ema=0.9, consistency=0.5
        ),
        DeepEnsemble(clone(plain), 2, random_state=2),
        SelfSupervisedPretrainer("tiny", n_steps=2, batch_size=4, random_state=3, device="cpu"),
    ]


def test_fits_in_threads_are_those_of_one_thread():
    before = random_states()
    alone = [fit(model) for model in kinds_of_fit()]
    together = Parallel(n_jobs=4, backend="threading")(
        delayed(fit)(clone(model)) for model in kinds_of_fit() * 2
    )
    assert all(alike(found, expected) for found, expected in zip(together, alone * 2))
    assert random_states() == before


def test_a_fit_that_fails_gives_the_random_states_back():
    class Fails(nn.Module):
        out_channels, strides = [4], [2]

        def forward(self, x):
            if self.training:
                torch.rand(3)
                raise RuntimeError("in the middle")
            return [x.new_zeros(len(x), 4, x.shape[2] // 2, x.shape[3] // 2)]

    before = random_states()
    with pytest.raises(RuntimeError, match="in the middle"):
        fitted(encoder=Fails())
    pretrainer = SelfSupervisedPretrainer(Fails(), n_steps=1, batch_size=4, device="cpu")
    with pytest.raises(RuntimeError, match="in the middle"):
        pretrainer.fit(GLANDS.images)
    assert random_states() == before


def test_an_encoder_that_a_strategy_builds_draws_from_nobody():
    before = random_states()
    found = in_threads([lambda: pretrained_embedding("tiny", None, 32)(GLANDS.images)] * 8)
    assert all(np.array_equal(rows, found[0]) for rows in found) and found[0].std() > 0
    assert random_states() == before


def test_one_thread_at_a_time_has_the_global_generators():
    inside, seen = threading.Event(), []

    def other():
        inside.wait(HANG)
        with forked_torch_rng(1):
            seen.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    before = torch.get_rng_state()
    with forked_torch_rng(0):
        with forked_torch_rng(5):  # of the thread that has them
            torch.rand(1)
        inside.set()
        first = torch.rand(3)
        seen.append("first")
    thread.join(HANG)
    assert seen == ["first", "other"] and torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, torch.rand(3, generator=torch.Generator().manual_seed(0)))


def test_numbers_of_threads_come_back_when_threads_set_them():
    from threadpoolctl import threadpool_info

    def limits():
        found = {info["filepath"]: info["num_threads"] for info in threadpool_info()}
        return found, torch.get_num_threads()

    before, inside = limits(), []

    def work(n):
        with n_threads(n):
            inside.append((n, torch.get_num_threads()))

    in_threads([lambda n=n: work(n) for n in (1, 2, 1, 2, 3, 1, 2, 1)])
    assert sorted(inside) == [(1, 1)] * 4 + [(2, 2)] * 3 + [(3, 3)]
    assert limits() == before


def test_filters_of_warnings_come_back_when_threads_set_them():
    before = list(warnings.filters)

    def work(i):
        for _ in range(200):
            with warnings_ignored(f"{i} is ignored"):
                warnings.warn(f"{i} is ignored", stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inside = list(warnings.filters)
        in_threads([lambda i=i: work(i) for i in range(8)])
        assert warnings.filters == inside
    assert warnings.filters == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_wait_for_a_thread_that_it_lacks():
    lock, held, done = ProcessLock(), threading.Event(), threading.Event()

    def hold():
        with lock.held():
            held.set()
            done.wait(HANG)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(HANG)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork where there are threads
        child = os.fork()
    if not child:
        signal.alarm(HANG)  # ends it where it hangs
        with lock.held():
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    done.set()
    thread.join(HANG)
