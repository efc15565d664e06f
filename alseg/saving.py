"""Fitted models on disk: weights as safetensors, parameters as JSON; reading executes nothing."""

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from alseg.losses import JointLoss
from alseg.network.joint import JointCAMNetwork
from alseg.network.published import PlainUNet, TwoEncoderNetwork
from alseg.validation import check_option, message

FORMAT = "alseg.JointCAMSegmenter/1"
WEIGHTS, RECORD = "model.safetensors", "model.json"
# What a saved model never decides: where weights are read from, and how trustingly.
UNSAFE = ("torch_load_kwargs", "module__encoder_weights", "module__encoder", "device", "compile")
# What a saved model may name of ours.
PARTS = {part.__name__: part for part in (JointCAMNetwork, JointLoss, PlainUNet, TwoEncoderNetwork)}


def describe_params(params, defaults):
    """Parameters as plain JSON, and the names of those that are code or state.

    Parameters
    ----------
    params, defaults : dict of str -> object
        A part that is the default's own object, such as skorch's DataLoader, is not missed.

    Returns
    -------
    described : dict
    left_out : list of str
    """
    described, left_out = {}, []
    for name, value in params.items():
        try:
            described[name] = _to_json(value)
        except TypeError:
            if value is not defaults.get(name):
                left_out.append(name)
    return described, sorted(left_out)


def write_model(path, record, state):
    """Write a record and a state dict to a folder, beside it first and then moved into place.

    Parameters
    ----------
    path : str or Path
        A new folder, or one that this function wrote before, which is replaced.
    record : dict
        Plain JSON.
    state : dict of str -> tensor

    Raises
    ------
    ValueError
        If `path` exists and is something else.
    OSError
        If it cannot be written, such as on a full disk. What was there stays.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path).expanduser()
    if path.exists() and not (path / RECORD).is_file():
        raise ValueError(message("path", "new, or a folder of an earlier save", str(path)))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        new, old = Path(folder, "new"), Path(folder, "old")
        new.mkdir()
        tensors = {k: v.detach().cpu().contiguous() for k, v in state.items()}
        try:
            save_file(tensors, new / WEIGHTS)
        except SafetensorError as error:  # a full disk, which is no error of ours or of the user's
            raise OSError(f"{path} could not be written: {error}") from error
        text = json.dumps({"format": FORMAT, **record}, indent=1)
        (new / RECORD).write_text(text, encoding="utf-8")
        # A folder cannot be replaced in one step: the old one steps aside, or comes back.
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(new, path)
        except BaseException:
            if old.exists():
                os.replace(old, path)
            raise


@contextmanager
def reading(path):
    """Whatever goes wrong inside, as one clear error about a saved folder.

    Parameters
    ----------
    path : Path
        The folder that is read.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            message("path", "a folder that `save` wrote", str(path), f"{error}")
        ) from None
    except Exception as error:  # whatever a damaged or made-up file does, the file is at fault
        raise ValueError(
            message("path", "a folder that `save` wrote", str(path), f"It is damaged: {error}")
        ) from error


def read_model(path):
    """Read what `write_model` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    params : dict of str -> object
    left_out : set of str
    fitted : dict of str -> object
        Attributes of the fitted model.
    state : dict of str -> tensor

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder is not a saved model, or is damaged.
    """
    from safetensors.torch import load_file

    path = Path(path).expanduser()
    with reading(path):
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"unknown format {record['format']!r}")
        params = {k: _from_json(v) for k, v in record["params"].items() if k not in UNSAFE}
        fitted = {
            "classes_": np.array(record["classes"], dtype=np.dtype(record["classes_dtype"])),
            "canvas_": tuple(int(s) for s in record["canvas"]),
            "has_masks_": bool(record["has_masks"]),
            "threshold_": float(record["threshold"]),
            "validation_": None,
            "held_out_": frozenset(map(str, record.get("held_out", ()))),
            "trained_on_": frozenset(map(str, record.get("trained_on", ()))),
            "n_steps_": int(record["n_steps"]),
        }
        return params, set(record["left_out"]), fitted, load_file(path / WEIGHTS)


def _to_json(value):
    """A parameter as plain JSON; TypeError for what is code or state."""
    if isinstance(value, type) and value in PARTS.values():
        return {"alseg": value.__name__}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.integer, np.floating)):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (tuple, list)):
        return {"tuple" if isinstance(value, tuple) else "list": [_to_json(v) for v in value]}
    if isinstance(value, dict) and all(isinstance(k, (str, int)) for k in value):
        return {"dict": [[_to_json(k), _to_json(v)] for k, v in value.items()]}
    if isinstance(value, type) and getattr(torch.optim, value.__name__, None) is value:
        return {"torch.optim": value.__name__}
    raise TypeError(type(value).__name__)


def _from_json(value):
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "torch.optim":
        optimizer = getattr(torch.optim, str(content), None)
        if not (isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer)):
            raise ValueError(message("optimizer", "a class of torch.optim", content))
        return optimizer
    if kind == "alseg":
        return PARTS[check_option("part", content, tuple(PARTS))]
    if kind == "dict":
        return {k: _from_json(v) for k, v in content}
    check_option("kind", kind, ("tuple", "list"))
    items = [_from_json(v) for v in content]
    return tuple(items) if kind == "tuple" else items
