"""Fitted models on disk: weights as safetensors, parameters as JSON; reading executes nothing."""

import os
import re
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch

from alseg.files import (
    has_marker,
    is_temporary,
    make_folder,
    nested_names,
    read_json,
    remove_files,
    replacing,
    sweep,
    write_json,
)
from alseg.network import JointCAMNetwork, PlainUNet, TwoEncoderNetwork
from alseg.segmenter.option_values import Options
from alseg.segmenter.parameters import KINDS, WholeNetwork, with_fields
from alseg.training import JointLoss
from alseg.validation import check_option, message

FORMAT = "alseg.JointCAMSegmenter/1"
WEIGHTS, RECORD = "model.safetensors", "model.json"
_WEIGHTS_NAMES = re.compile(r"model(-[0-9a-f]{8})?\.safetensors")
UNKNOWN = "unknown"  # stands for `trained_on_` where it is not known
# What a saved model never decides: where weights are read from, and how trustingly.
UNSAFE = ("torch_load_kwargs", "module__encoder_weights", "module__encoder", "device", "compile")
# What a saved model may name of ours.
_OPTIONS = {kind.__name__: kind for kind in (*KINDS.values(), WholeNetwork)}
PARTS = {part.__name__: part for part in (JointCAMNetwork, JointLoss, PlainUNet, TwoEncoderNetwork)}


def lost_criterion(logits, masks):
    """Stands where a saved model had a loss that is code: it predicts, and is not trained on."""
    raise ValueError(
        "This model was saved with its own criterion, which is code and is not in the file: give it"
        " by load(path, criterion=...), or by set_params, before it is trained."
    )


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
        A field of an object by a name such as ``network__normalize``.
    """
    described, left_out = {}, []
    for name, value in params.items():
        if isinstance(value, Options):
            fields, missed = describe_params(value.get_params(), type(value)().get_params())
            described[name] = {type(value).__name__: fields}
            left_out += [f"{name}__{field}" for field in missed]
            continue
        try:
            described[name] = to_json(value)
        except TypeError:
            if value is not defaults.get(name):
                left_out.append(name)
    return described, sorted(left_out)


def write_model(path, record, state):
    """Write a record and a state dict to a folder; at any moment it holds the old or the new model.

    The weights are written first, under a name that nothing there has. The record, which names
    them, is then replaced in one step, and the weights of before it are removed last.

    Parameters
    ----------
    path : str or Path
        A new or empty folder, or one that this function wrote before, whose model is replaced.
    record : dict
        Plain JSON. Its ``format``, where it has one, says what else than a segmenter is saved.
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
    if path.exists() and not _is_saved_model(path, record.get("format", FORMAT)):
        raise ValueError(message("path", "new, or a folder of an earlier save", str(path)))
    make_folder(path)
    sweep(path)
    # The usual name only where no record can mean other weights by it.
    taken = (path / RECORD).exists() or (path / WEIGHTS).exists()
    weights = path / (f"model-{secrets.token_hex(4)}.safetensors" if taken else WEIGHTS)
    tensors, places = {}, set()
    for name, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous()
        # Of a layer under two names each gets its own copy: the format has no word for sharing.
        place = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if place in places else tensor
        places.add(place)
    try:
        with replacing(weights, path) as temporary:
            try:
                save_file(tensors, temporary)
            except SafetensorError as error:  # a full disk, no error of ours or of the user's
                raise OSError(str(error)) from error
        write_json(path / RECORD, {"format": FORMAT, "weights": weights.name, **record}, path)
    except BaseException:
        with suppress(OSError, ValueError):
            named = (path / RECORD).exists() and read_json(path / RECORD).get("weights", WEIGHTS)
            if named != weights.name:
                remove_files(path, [weights.name])
        raise
    with suppress(OSError):  # somebody reads them: the next save takes them away
        remove_files(path, [name for name in _weights_in(path) if name != weights.name])


def _weights_in(path):
    return [name for name in sorted(os.listdir(path)) if _WEIGHTS_NAMES.fullmatch(name)]


def _is_saved_model(path, form):
    """Whether a folder is of `write_model`, or of one that was killed, or empty."""
    if (path / RECORD).is_file():
        return has_marker(path / RECORD, form.partition("/")[0])
    return path.is_dir() and all(
        _WEIGHTS_NAMES.fullmatch(name) or is_temporary(name) for name in os.listdir(path)
    )


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
        Attributes of the fitted model; `trained_on_` is None where it is not known.
    state : dict of str -> tensor

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder is not a saved model, or is damaged.
    """
    path = Path(path).expanduser()
    with reading(path):
        record, state = read_parts(path)
        params = {k: from_json(v) for k, v in record["params"].items() if k not in UNSAFE}
        params = with_fields(nested_names(params))
        fitted = {
            "classes_": np.array(record["classes"], dtype=np.dtype(record["classes_dtype"])),
            "canvas_": tuple(int(s) for s in record["canvas"]),
            "n_channels_": int(record.get("n_channels", 3)),  # earlier versions knew no other
            "has_masks_": bool(record["has_masks"]),
            "multilabel_": bool(record.get("multilabel", False)),
            "threshold_": float(record["threshold"]),
            "min_object_size_": float(record.get("min_object_size", 0)),
            "validation_": None,
            "held_out_": frozenset(map(str, record.get("held_out", ()))),
            "trained_on_": frozenset(map(str, record.get("trained_on", ()))),
            "n_steps_": int(record["n_steps"]),
        }
        seen = fitted["trained_on_"]
        # Earlier versions left it empty where they did not know.
        if seen == {UNKNOWN} or (fitted["has_masks_"] and not seen):
            fitted["trained_on_"] = None
        return params, set(nested_names(dict.fromkeys(record["left_out"]))), fitted, state


_HEADS = ("class_head.", "mask_conv.", "object_conv.")


def with_own_heads(state, own, same_classes):
    """Saved weights for a network whose heads may be of other classes, which then begin anew.

    Parameters
    ----------
    state, own : dict of str -> tensor
        What was saved, and what the new network holds.
    same_classes : bool
        Whether images are of the same classes; else the class head is the network's own.

    Returns
    -------
    dict of str -> tensor
    """

    def shapes(weights, head):
        return {name: part.shape for name, part in weights.items() if name.startswith(head)}

    anew = tuple(
        head
        for head in _HEADS
        if shapes(own, head) != shapes(state, head) or (head == _HEADS[0] and not same_classes)
    )
    kept = {name: part for name, part in state.items() if not name.startswith(anew)}
    return {**kept, **{name: part for name, part in own.items() if name.startswith(anew)}}


def take_normalization(network, state):
    """Make room for the normalisation of saved weights: of one channel, or of each.

    Parameters
    ----------
    network : nn.Module
    state : dict of str -> tensor
    """
    for name, now in dict(network.named_buffers(recurse=False)).items():
        if name in ("mean", "std") and name in state and state[name].numel() in (1, 3, now.numel()):
            setattr(network, name, state[name].to(now.device, now.dtype, copy=True))


def read_parts(path, form=FORMAT):
    """A record and the weights that it names, also while they are being replaced.

    Parameters
    ----------
    path : Path
    form : str
        The format that the record must name.

    Returns
    -------
    record : dict
    weights : dict of str -> tensor
    """
    from safetensors.torch import load

    while True:
        record = read_json(path / RECORD)
        if record["format"] != form:
            raise ValueError(f"unknown format {record['format']!r}")
        weights = record.get("weights", WEIGHTS)  # which earlier versions did not say
        if not (isinstance(weights, str) and _WEIGHTS_NAMES.fullmatch(weights)):
            raise ValueError(message("weights", "a file of the folder", weights))
        try:
            return record, load((path / weights).read_bytes())  # load_file wants a path in UTF-8
        except FileNotFoundError:
            if read_json(path / RECORD) == record:
                raise


def to_json(value):
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
        return {"tuple" if isinstance(value, tuple) else "list": [to_json(v) for v in value]}
    if isinstance(value, dict) and all(isinstance(k, (str, int)) for k in value):
        return {"dict": [[to_json(k), to_json(v)] for k, v in value.items()]}
    if isinstance(value, type) and getattr(torch.optim, value.__name__, None) is value:
        return {"torch.optim": value.__name__}
    if isinstance(value, type) and _torch_loss(value.__name__) is value:
        return {"torch.nn": value.__name__}
    raise TypeError(type(value).__name__)


def from_json(value):
    """A parameter of what `describe_params` gave."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "torch.optim":
        optimizer = getattr(torch.optim, str(content), None)
        if not (isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer)):
            raise ValueError(message("optimizer", "a class of torch.optim", content))
        return optimizer
    if kind == "torch.nn":
        loss = _torch_loss(content)
        if loss is None:
            raise ValueError(message("criterion", "a loss of torch.nn", content))
        return loss
    if kind == "alseg":
        return PARTS[check_option("part", content, tuple(PARTS))]
    if kind == "dict":
        return {k: from_json(v) for k, v in content}
    if kind in _OPTIONS:
        return _OPTIONS[kind](**{name: from_json(v) for name, v in content.items()})
    check_option("kind", kind, ("tuple", "list"))
    items = [from_json(v) for v in content]
    return tuple(items) if kind == "tuple" else items


def _torch_loss(name):
    """The loss of this name in torch.nn, or None."""
    found = getattr(torch.nn, str(name), None)
    return found if str(name).endswith("Loss") and isinstance(found, type) else None
