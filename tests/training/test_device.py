"""A fit on a device that is not the CPU: batches are made there, and its steps never wait for it.

Torch's meta device stands for a GPU. Its tensors have a shape and no values, so that whatever would
make the host wait for a GPU (reading a value, the positions of what is true, a copy back) raises.
Copies to the device do not raise, and are watched for. What this cannot see is whether a GPU's own
kernels wait; torch's debug mode does, in the one test that needs a GPU.
"""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from alseg import Execution, Network, Schedule
from alseg.images import as_images, as_masks
from alseg.learner.ensemble import DeepEnsemble
from alseg.network.random_numbers import forked_torch_rng
from alseg.segmenter import with_fields
from alseg.segmenter.estimator import JointCAMSegmenter
from alseg.segmenter.pretraining import SelfSupervisedPretrainer
from alseg.training.batches import TrainingBatches
from alseg.training.device import resolve_amp, resolve_device, send
from alseg.training.memory import PartSize
from alseg.training.training_data import CropData, JoinedImages, TrainingData

AUGMENTED = {"flips": "both", "affine": (0.25, 15.0), "stain": 0.05, "jitter": 0.15}
N_STEPS = 2


class Copies(TorchDispatchMode):
    """Notes every operation that has tensors with elements on two devices."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, out)) if torch.is_tensor(t) and t.ndim]
        if len({t.device.type for t in tensors}) > 1:
            self.seen.append(str(func))
        return out


class WatchSteps(Callback):
    """Watches from the first step of an epoch to the last, then ends the phase."""

    def __init__(self, copies):
        self.copies = copies

    def __deepcopy__(self, memo):
        return self  # nets copy their callbacks; what was seen must come out

    def on_epoch_begin(self, net, **kwargs):
        self.n_begun = 0

    def on_batch_begin(self, net, **kwargs):
        self.n_begun += 1
        if self.n_begun == 1:
            self.copies.__enter__()

    def on_batch_end(self, net, **kwargs):
        if self.n_begun == N_STEPS:
            self.copies.__exit__(None, None, None)
            self.copies.seen.append("end of a phase")
            raise KeyboardInterrupt  # as EarlyStopping does, before the losses are read


def glands(n=9):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 32, 48, 3), dtype=np.uint8)
    masks = [rng.integers(-1, 2, (32, 48)) if i < 5 else None for i in range(n)]
    return images, np.arange(n) % 2, masks


@pytest.mark.parametrize(
    "options, weighted",
    [
        ({}, False),
        (
            {
                "augmentation__stain": 0.05,
                "schedule__ema": 0.9,
                "schedule__clip_norm": 1.0,
                "network__pooling": "wildcat",
            },
            True,
        ),
        ({"crop": {"size": 24, "scale": 0.9}, "schedule__lr_schedule": ("step", 1, 0.5)}, True),
        (
            {"schedule__sampling": "passes", "network__pooling": None, "criterion__dice": "batch"},
            False,
        ),
        (
            {
                "schedule__phases": "two-phase",
                "optimizer": torch.optim.SGD,
                "augmentation__joint_flip": False,
            },
            False,
        ),
    ],
    ids=lambda part: "-".join(part) if isinstance(part, dict) else str(part),
)
def test_steps_never_wait_for_the_device(options, weighted):
    copies = Copies()
    images, labels, masks = glands()
    weight = [np.full((32, 48), 0.1 + i) for i in range(9)] if weighted else None
    model = JointCAMSegmenter(
        encoder="tiny",
        device="meta",
        steps_per_epoch=N_STEPS,
        callbacks=[WatchSteps(copies)],
        random_state=0,
        **with_fields(options),
    )
    model.fit(images, labels, masks, weight)
    n_phases = 1 + (options.get("schedule__phases") == "two-phase")
    assert copies.seen == ["end of a phase"] * n_phases
    assert model.n_steps_ == n_phases * N_STEPS and model.device_ == "meta"


def test_the_watch_sees_what_it_is_for():
    on_device, on_host = torch.empty(3, device="meta"), torch.arange(3)
    for wait in (torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.nonzero, torch.Tensor.cpu):
        with pytest.raises((RuntimeError, NotImplementedError)):
            wait(on_device[:1])
    with pytest.raises((RuntimeError, NotImplementedError)):
        on_device[on_device > 0]
    with Copies() as copies:
        on_host.to("meta")
        on_device[on_host]
        on_device + 1
    assert copies.seen == ["aten._to_copy.default", "aten.index.Tensor"]


def test_images_and_masks_live_on_the_device_as_bytes():
    images, labels, masks = glands()
    data = TrainingData.build(as_images(images), labels, as_masks(masks, 9), None, (32, 48), 2)
    there = data.to("meta")
    kinds = [(t.dtype, t.device.type) for t in (there.images, there.masks, there.labels)]
    assert kinds == [(torch.uint8, "meta"), (torch.int16, "meta"), (torch.int64, "meta")]
    assert there.annotated().tolist() == [True] * 5 + [False] * 4  # known without asking the device
    batches = TrainingBatches(there, 2, 4, 2, AUGMENTED, np.random.default_rng(0), device="meta")
    for x, target in batches:
        shown = {x["x"].device.type, *(t.device.type for t in target.values())}
        assert shown == {"meta"} and x["x"].shape == (6, 3, 32, 48)


# -- crops of images of differing sizes ------------------------------------------------------------


def crop_data(pixelwise, scale=1.0):
    rng = np.random.default_rng(0)
    sizes = [(24, 31), (40, 25), (24, 24), (33, 47)]
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    masks = [rng.integers(-1, 2, size) for size in sizes]
    masks[2] = None
    weight = [rng.random(size) if pixelwise else 0.5 + i for i, size in enumerate(sizes)]
    crop = {"size": 24, "scale": scale, "min_side": None, "pad": 0.0}
    return CropData.build(as_images(images), np.arange(4), as_masks(masks, 4), weight, crop, 2)


def joined(data):
    """As `data.to` does for a GPU, here on the CPU."""
    row = JoinedImages.build(data.images, data.masks, data.weights, "cpu")
    images, masks, weights = row.views(data.masks)
    return CropData(images, data.labels, masks, weights, data.crop, data.top, row)


@pytest.mark.parametrize("pixelwise", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.75])
def test_a_batch_cut_at_once_is_the_one_cut_image_by_image(pixelwise, scale):
    data = crop_data(pixelwise, scale)
    positions, generator = torch.tensor([3, 0, 2, 1, 3, 3]), torch.Generator().manual_seed(1)
    corners = data.draw(positions, generator)["corners"]
    assert len(set(map(tuple, corners[[0, 4, 5]].tolist()))) == 3
    one_by_one = data.gather(positions, corners)
    at_once = joined(data).gather(positions, corners)
    for mine, theirs in zip(at_once, one_by_one):
        assert mine.shape == theirs.shape and mine.dtype == theirs.dtype
        assert torch.allclose(mine.float(), theirs.float(), atol=1e-6)
    assert scale != 1 or all(torch.equal(a, b) for a, b in zip(at_once, one_by_one))


@pytest.mark.parametrize("pixelwise", [False, True])
def test_joined_images_are_seen_as_before(pixelwise):
    data = crop_data(pixelwise)
    row = joined(data)
    for name in ("images", "masks", "weights"):
        pairs = zip(getattr(row, name), getattr(data, name), data.masks)
        assert all(torch.equal(a, b.expand(a.shape)) for a, b, _ in pairs)
    part, whole = row.take(torch.tensor([3, 1])), data.take(torch.tensor([3, 1]))
    positions, corners = torch.tensor([1, 0]), torch.tensor([[5, 1], [2, 9]])
    for mine, theirs in zip(part.gather(positions, corners), whole.gather(positions, corners)):
        assert torch.equal(mine, theirs)
    assert part.top.tolist() == whole.top.tolist()


def test_epochs_of_joined_images_are_the_same():
    epochs = []
    for data in (crop_data(True), joined(crop_data(True))):
        batches = TrainingBatches(data, 3, 4, 2, AUGMENTED, np.random.default_rng(0))
        epochs.append([(x["x"], *target.values()) for x, target in batches])
    for mine, theirs in zip(*epochs):
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(mine, theirs))


def test_send_pins_for_a_gpu_alone(monkeypatch):
    numbers = torch.arange(3)
    assert send(numbers, "cpu") is numbers
    calls = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: calls.append("pinned") or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *a, **k: calls.append((a, k)) or self)
    send(numbers, "cuda:1")
    assert calls == ["pinned", (("cuda:1",), {"non_blocking": True})]


@pytest.mark.parametrize("capability, on", [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_auto_amp_is_for_gpus_that_compute_in_bfloat16(monkeypatch, capability, on):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_amp("auto", "cuda") is on and resolve_amp("auto", "cpu") is False
    assert resolve_amp(True, "cuda") is True and resolve_amp(False, "cuda") is False


def test_a_device_that_is_not_there_is_named(monkeypatch):
    for name in ("gpu", "0", "cuda:x"):
        with pytest.raises(ValueError, match=f"device must be 'auto', 'cpu', .* got '{name}'"):
            resolve_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:0", "hpu", torch.device("cuda")):
        with pytest.raises(ValueError, match="device must be one that torch finds here, got"):
            resolve_device(name)
    assert [resolve_device(name) for name in (None, "auto", "cpu", "meta")] == [
        "cpu",
        "cpu",
        "cpu",
        "meta",
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [resolve_device(d) for d in ("auto", "cuda", "cuda:1")] == ["cuda", "cuda", "cuda:1"]
    with pytest.raises(ValueError, match="finds here, got 'cuda:2'. Use 'auto'."):
        resolve_device("cuda:2")


def test_a_fit_on_a_device_that_is_not_there_is_refused():
    images, labels, masks = glands()
    model = JointCAMSegmenter(encoder="tiny", device="gpu", max_epochs=1)
    with pytest.raises(ValueError, match="device must be"):
        model.fit(images, labels, masks)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "options", [{}, {"crop": {"size": 24, "scale": 0.9}}, {"execution__amp": "auto"}]
)
def test_a_gpu_is_not_waited_for(options):
    class Strict(Callback):
        def on_batch_begin(self, net, **kwargs):
            torch.cuda.set_sync_debug_mode("error")

        def on_batch_end(self, net, **kwargs):
            if net.n_steps_ % N_STEPS == 0:
                torch.cuda.set_sync_debug_mode("default")

    images, labels, masks = glands()
    model = JointCAMSegmenter(
        encoder="tiny",
        device="cuda",
        steps_per_epoch=N_STEPS,
        max_epochs=3,
        callbacks=[Strict()],
        random_state=0,
        **with_fields(options),
    )
    try:
        model.fit(images, labels, masks)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert np.isfinite(model.history[-1, "train_loss"])


@pytest.mark.slow
def test_a_compiled_fit_is_the_same():
    images, labels, masks = glands()
    options = {"encoder": "tiny", "max_epochs": 2, "random_state": 0, "device": "cpu"}
    plain = JointCAMSegmenter(**options).fit(images, labels, masks)
    # This backend traces the network and runs what it traced, without a compiler.
    model = JointCAMSegmenter(**options, compile=True, compile__backend="eager")
    model.fit(images, labels, masks)
    assert len(model.optimizer_.param_groups) == 2  # the encoder is known by its name
    assert np.allclose(model.predict_proba(images), plain.predict_proba(images), atol=1e-5)


# -- the devices that a fit touches ----------------------------------------------------------------


class FakeGenerator:
    def __init__(self, calls, index):
        self.calls, self.index, self.state = calls, index, "the user's"

    def get_state(self):
        self.calls.append(("get_state", self.index))
        return self.state

    def set_state(self, state):
        self.calls.append(("set_state", self.index))
        self.state = state

    def manual_seed(self, seed):
        self.calls.append(("manual_seed", self.index))
        self.state = seed


@pytest.fixture
def two_gpus(monkeypatch):
    """A torch that says there are two GPUs, and the calls of whatever would touch one of them."""
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    # torch's optimizers ask a GPU that is there whether it records a graph. A build for GPUs on a
    # machine without a driver fails there.
    for name in ("_cuda", "_accelerator"):
        check = f"{name}_graph_capture_health_check"
        monkeypatch.setattr(torch.optim.Optimizer, check, lambda self: None, raising=False)
    generators = tuple(FakeGenerator(calls, index) for index in range(2))
    monkeypatch.setattr(torch.cuda, "default_generators", generators)
    touching = (
        "init",
        "_lazy_init",
        "_lazy_call",
        "synchronize",
        "get_rng_state",
        "set_rng_state",
        "manual_seed",
        "manual_seed_all",
        "seed",
        "seed_all",
        "get_device_capability",
        "get_device_name",
        "get_device_properties",
        "set_device",
        "current_stream",
        "mem_get_info",
        "reset_peak_memory_stats",
        "max_memory_allocated",
    )
    for name in touching:
        monkeypatch.setattr(torch.cuda, name, lambda *a, name=name, **k: calls.append((name, *a)))
    return calls


def test_on_the_cpu_no_gpu_is_touched(two_gpus, tmp_path):
    images, labels, masks = glands()
    model = JointCAMSegmenter(
        encoder="tiny",
        device="cpu",
        max_epochs=1,
        network=Network(dropout_placement="everywhere"),
        execution=Execution(amp="auto"),
        random_state=0,
        validation=0.4,
        schedule=Schedule(keep_epoch="validation", ema=0.9),
        consistency=0.5,
    )
    model.fit(images, labels, masks).partial_fit(images, labels, masks=masks)
    model.predict_joint(images)
    model.predict_uncertainty(images, "bald", n_draws=2)
    model.gradient_embedding(images)
    model.save(tmp_path / "model")
    JointCAMSegmenter.load(tmp_path / "model", device="cpu").predict(images)
    pickle.loads(pickle.dumps(model)).predict(images)
    pretrainer = SelfSupervisedPretrainer("tiny", n_steps=1, batch_size=4, device="cpu")
    pretrainer.fit(images).transform(images)
    DeepEnsemble(clone(model), 2).fit(images, labels, masks).predict(images)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        PartSize("training", "").run(out_of_memory, 1)
    assert two_gpus == []


def out_of_memory(parts):
    raise torch.cuda.OutOfMemoryError("full")


@pytest.mark.parametrize("device, index", [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_fit_on_one_gpu_seeds_the_generator_of_no_other(two_gpus, device, index):
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="in the middle"), forked_torch_rng(7, device):
        assert torch.cuda.default_generators[index].state == 7
        assert torch.cuda.default_generators[1 - index].state == "the user's"
        raise RuntimeError("in the middle")
    assert [generator.state for generator in torch.cuda.default_generators] == ["the user's"] * 2
    assert torch.equal(torch.get_rng_state(), before)
    touched = [call for call in two_gpus if call != ("init",)]
    assert touched == [(name, index) for name in ("get_state", "manual_seed", "set_state")]


def test_a_fit_names_its_own_device(monkeypatch):
    seen = []

    def seeding(seed, device="cpu"):
        seen.append(device)
        raise KeyboardInterrupt  # this is all that is wanted

    for module in ("fits", "pretraining"):
        monkeypatch.setattr(f"alseg.segmenter.{module}.forked_torch_rng", seeding)
    images, labels, masks = glands()
    for model in (
        JointCAMSegmenter(encoder="tiny", device="meta"),
        SelfSupervisedPretrainer("tiny", device="meta", batch_size=4),
    ):
        with pytest.raises(KeyboardInterrupt):
            model.fit(images, labels)
    assert seen == ["meta"] * 2
