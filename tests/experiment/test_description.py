"""What a record says of parameters, files and data: by their content, and not where they lie."""

import dataclasses
import functools
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from alseg import Schedule, WholeNetwork
from alseg.datasets import make_glands
from alseg.experiment.description import describe_data, described, described_file, described_value
from alseg.experiment.records import same
from alseg.images import ImageFiles, MaskFiles
from alseg.learner.ensemble import DeepEnsemble
from alseg.segmenter import JointCAMSegmenter, ValidationSet


def test_files_are_told_by_name_and_content(tmp_path, monkeypatch):
    path = tmp_path / "w.pt"
    path.write_bytes(b"weights")
    told = described_file(path)
    assert told == {"file": "w.pt", "sha256": "9a129038d9a00aed"}
    assert described_value(path) == described_value(str(path)) == told
    monkeypatch.chdir(tmp_path)
    # A name alone is a file where it may be one; "tiny" in the working folder is no encoder.
    (tmp_path / "tiny").mkdir()
    assert described_value("w.pt", "encoder_weights") == told
    assert described_value("w.pt", "module__encoder_weights") == told
    assert described_value("w.pt", "schedule") == "w.pt"
    assert described_value("tiny", "encoder") == "tiny"
    for text in ("imagenet", "https://host/w.pt"):
        assert described_value(text, "encoder_weights") == text
    path.write_bytes(b"another")
    assert described_file(path)["sha256"] != told["sha256"]


def test_folders_are_told_by_all_that_is_in_them(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "model" / "weights").write_bytes(b"1")
    first, second = (described_file(tmp_path / name / "model") for name in ("a", "b"))
    assert first == second and first["file"] == "model"
    (tmp_path / "b" / "model" / "more").write_bytes(b"")
    assert described_file(tmp_path / "b" / "model") != first


def test_what_is_not_there_has_no_folder_either(tmp_path):
    assert described_value(tmp_path / "gone.pt") == {"file": "gone.pt", "sha256": None}


def test_a_network_is_told_by_its_layers_and_weights():
    def net(p=0.1):
        return torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.Dropout(p))

    first, copied, other, drops = net(), net(), net(), net(0.2)
    copied.load_state_dict(first.state_dict())
    drops.load_state_dict(first.state_dict())
    told = [described(JointCAMSegmenter(network=n))["network"] for n in (first, copied)]
    assert told[0] == told[1] and told[0]["class"] == "torch.nn.modules.container.Sequential"
    assert all(described_value(n) != told[0] for n in (other, drops))
    within = described(JointCAMSegmenter(network=WholeNetwork(first, stride=2)))["network"]
    assert within["module"] == told[0] and within["stride"] == 2


def test_a_partial_is_told_by_its_function_and_what_that_gets():
    one, two = (functools.partial(net_of, 2, width=width) for width in (8, 16))
    assert described_value(one) == {
        "function": "test_description.net_of",
        "args": [2],
        "keywords": {"width": 8},
    }
    assert described_value(one) != described_value(two)


def net_of(depth, width):
    raise NotImplementedError


def test_an_estimator_within_is_described():
    one, two = (described(DeepEnsemble(JointCAMSegmenter(max_epochs=n))) for n in (1, 2))
    assert one["estimator"]["max_epochs"] == 1 and one != two
    assert "random_state" not in one["estimator"]


@pytest.mark.parametrize(
    "a, b, alike",
    [
        ({"w": {"file": "a", "sha256": "1"}}, {"w": {"file": "b", "sha256": "1"}}, True),
        ({"w": {"file": "a", "sha256": "1"}}, {"w": {"file": "a", "sha256": "2"}}, False),
        ({"w": {"file": "a", "sha256": None}}, {"w": {"file": "b", "sha256": None}}, False),
        ({"w": "a"}, {"w": {"file": "a", "sha256": "1"}}, False),
        ({"w": 1}, {"w": 1, "v": None}, False),
        ([1, {"a": 2}], [1, {"a": 2}], True),
    ],
)
def test_what_is_the_same(a, b, alike):
    assert same(a, b) is alike and same(b, a) is alike


@pytest.fixture
def files(tmp_path):
    """Four images and masks as files, and as a data set."""
    glands = make_glands(4, image_size=(240, 320), random_state=0)
    for i in range(4):
        Image.fromarray(glands.images[i]).save(tmp_path / f"{i}.bmp")
        Image.fromarray(glands.masks[i].astype(np.uint8)).save(tmp_path / f"{i}m.bmp")
    images = ImageFiles([tmp_path / f"{i}.bmp" for i in range(4)])
    masks = MaskFiles([*(tmp_path / f"{i}m.bmp" for i in range(3)), None])
    return tmp_path, dataclasses.replace(glands, images=images, masks=masks, instances=None)


def digest(part):
    return describe_data(part, part)["train"]


def change(path, at):
    """One byte another, the size and name as they were."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(1, os.stat(path).st_mtime_ns + 1))  # the clock of a file can be coarse


def test_the_digest_of_files_sees_their_content(files):
    folder, part = files
    found = {digest(part)}
    assert digest(part) in found
    for name, at in (("2.bmp", 60), ("0.bmp", -1), ("1m.bmp", -1)):
        change(folder / name, at)
        found.add(digest(part))
    assert len(found) == 4
    size = (folder / "0.bmp").stat().st_size
    assert size > 3 * 2**16
    change(folder / "0.bmp", size // 2)  # not at an end: told by nothing but a read of all of it
    assert digest(part) in found


def test_the_digest_of_files_sees_how_masks_are_read(files):
    _, part = files
    mapped = MaskFiles(part.masks.paths, mapping="nonzero")
    assert digest(dataclasses.replace(part, masks=mapped)) != digest(part)


def test_the_digest_does_not_see_where_files_lie(files, tmp_path):
    folder, part = files
    moved = folder / "moved"
    moved.mkdir()
    for path in folder.glob("*.bmp"):
        (moved / path.name).write_bytes(path.read_bytes())
    images = ImageFiles([moved / f"{i}.bmp" for i in range(4)])
    masks = MaskFiles([*(moved / f"{i}m.bmp" for i in range(3)), None])
    assert digest(dataclasses.replace(part, images=images, masks=masks)) == digest(part)


def test_a_validation_set_is_told_by_its_content(files):
    folder, part = files

    def told(images=part.images, labels=part.labels, masks=part.masks):
        return described(JointCAMSegmenter(validation=ValidationSet(images, labels, masks)))

    first = told()["validation"]
    assert first["class"] == "alseg.segmenter.ValidationSet" and len(first["sha256"]) == 16
    assert told() == told() and same(told(), json.loads(json.dumps(told())))
    arrays = {"images": np.stack(list(part.images)), "masks": list(part.masks)}
    named = {"images": list(part.images.paths), "masks": part.masks.paths}
    assert told(**named)["validation"] == first  # the same files, not decoded
    others = [
        told(labels=part.labels[::-1]),
        told(labels=None),
        told(masks=None),
        told(**arrays),
        told(images=ImageFiles(part.images.paths[::-1])),
    ]
    arrays["masks"][0] = 1 - np.clip(arrays["masks"][0], 0, 1)
    others.append(told(**arrays))
    change(folder / "1.bmp", -1)
    others.append(told())
    assert len({one["validation"]["sha256"] for one in others} | {first["sha256"]}) == 8
    assert not any(same(told(labels=None), other) for other in (others[0], others[-1]))
    assert told(masks=None, labels=None)["validation"]["class"] == first["class"]


def test_arrays_have_the_digest_that_committed_records_hold():
    part = make_glands(2, image_size=(16, 16), random_state=0)
    part = dataclasses.replace(
        part,
        images=np.zeros((2, 8, 8, 3), np.uint8),
        masks=np.ones((2, 8, 8), np.int16),
        ids=np.array(["a", "b"]),
        labels=np.array(["x", "y"]),
        instances=None,
    )
    assert digest(part) == "b7869c65d5ceaeb8"


def test_a_cache_of_features_may_lie_anywhere_and_grow(tmp_path):
    models = [
        JointCAMSegmenter(schedule=Schedule(encoder_lr_scale=0), feature_cache=folder)
        for folder in (None, tmp_path / "a", tmp_path / "b")
    ]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "maps.npy").write_bytes(b"1")
    told = [described(model)["feature_cache"] for model in models]
    assert told == [False, True, True]
