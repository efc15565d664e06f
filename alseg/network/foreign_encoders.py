"""Encoders of other packages, by name: timm, segmentation-models-pytorch, transformers."""

import copy
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import warnings
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from alseg.network.channels import with_channels
from alseg.network.checkpoints import HEAD_PREFIXES, fit_weights, read_weights
from alseg.network.pyramid import PatchEncoder
from alseg.network.random_numbers import forked_torch_rng
from alseg.validation import did_you_mean, message

# By prefix: what is imported, and what is installed.
PACKAGES = {
    "timm": ("timm", "timm"),
    "smp": ("segmentation_models_pytorch", "segmentation-models-pytorch"),
    "hf": ("transformers", "transformers"),
}
PRETRAINED = "pretrained"  # the one word that lets a package download
# The parts of a whole network that no encoder has.
WHOLE_PREFIXES = (*HEAD_PREFIXES, "pooler.", "decoder.", "segmentation_head.")
_VISION = "a vision model of transformers that gives maps or patches"
_TORCHVISION = (
    " PyPI's torchvision is built for a torch with CUDA; beside torch's CPU build: pip install"
    " torchvision --index-url https://download.pytorch.org/whl/cpu"
)


def is_foreign(encoder):
    """Whether an encoder is named as one of another package's, such as ``"timm/convnext_atto"``.

    Examples
    --------
    >>> is_foreign("timm/convnext_atto"), is_foreign("resnet18"), is_foreign(nn.Identity())
    (True, False, False)
    """
    return isinstance(encoder, str) and encoder.partition("/")[0] in PACKAGES and "/" in encoder


def check_foreign(encoder, weights=None):
    """Raise unless the package of an encoder is there and knows its name. Nothing is downloaded.

    Parameters
    ----------
    encoder : str
        One that `is_foreign`.
    weights : object, default=None
        Of `build_foreign`. With ``"pretrained"`` any name may be one of the Hugging Face hub.

    Raises
    ------
    ValueError
        If the package is not installed, cannot be imported, or does not know the name.
    """
    kind, _, name = encoder.partition("/")
    package = _package(encoder)
    if kind == "hf":
        if str(weights) != PRETRAINED:
            _config(name)
        return
    known = _timm_names() if kind == "timm" else _smp_names()
    if name not in known:
        rule = f"'{kind}/' and one of the {len(known)} names that {package.__name__} knows"
        close = did_you_mean(name, known).replace("mean '", f"mean '{kind}/")
        raise ValueError(message("encoder", rule, encoder, close))


@functools.cache
def _timm_names():
    timm = _package("timm/")
    return {*timm.list_models(), *timm.list_models(pretrained=True)}


@functools.cache
def _smp_names():
    return {*_package("smp/").encoders.get_encoder_names(), *(f"tu-{n}" for n in _timm_names())}


def build_foreign(encoder, weights=None, n_channels=3):
    """Make an encoder of another package.

    Parameters
    ----------
    encoder : str
        - ``"timm/<name>"``: as of `timm.create_model`, with or without a tag of weights;
        - ``"smp/<name>"``: as of `segmentation_models_pytorch.encoders.get_encoder`;
        - ``"hf/<name>"``: a model type of transformers in its default configuration
          (``"hf/dinov2"``), a folder with a ``config.json``, or a name on its hub.
    weights : None, "bundled", "pretrained", str or Path, default=None
        None and ``"bundled"`` start from random weights, the second with a warning;
        ``"pretrained"`` has the package fetch its own; else a file or URL, of this encoder's
        weights or of a whole network as the package publishes them.
    n_channels : int, default=3
        Of the images that weights of a file may be for.

    Returns
    -------
    nn.Module
        With ``out_channels`` and ``strides``; a `PatchEncoder` for what gives maps of one stride.

    Raises
    ------
    OSError
        If weights cannot be fetched.
    ValueError
        If the network cannot be an encoder, or the weights do not fit.
    """
    kind, _, name = encoder.partition("/")
    check_foreign(encoder, weights)
    make = {"timm": _timm, "smp": _smp, "hf": _hugging_face}[kind]
    text = str(weights)
    if text == "bundled":
        warnings.warn(
            f"Encoder {encoder!r} starts from random weights, since alseg fetches none unasked. "
            f"encoder_weights={PRETRAINED!r} has {PACKAGES[kind][1]} download its own, a file's "
            "path reads that file, and None says that random ones are meant.",
            stacklevel=2,
        )
    if weights is None or text == "bundled":
        return make(name)
    if text == "imagenet":
        rule = f"{PRETRAINED!r} for the own ones of {encoder!r}"
        raise ValueError(message("encoder_weights", rule, weights))
    if text == PRETRAINED:
        try:
            return make(name, True)
        except Exception as error:  # each package and its hub have errors of their own
            raise OSError(
                f"encoder_weights={PRETRAINED!r} of {encoder!r} could not be had: {error} "
                "Fetch a file by other means and give its path."
            ) from error
    state, net = read_weights(weights, encoder), make(name)
    renamed = _renamed(state, net)
    whole = {"timm": _timm_whole, "hf": _hugging_face_whole}.get(kind)
    if whole is None or _fits(renamed, net):
        fit_weights(net, renamed, weights, encoder, n_channels)
        return net
    try:
        net, without = whole(name, state)
    except (RuntimeError, KeyError, ValueError) as error:
        rule, remedy = f"a checkpoint of {encoder!r}", str(error).splitlines()[-1].strip()
        raise ValueError(message("encoder_weights", rule, text, remedy)) from error
    if without:
        rule, remedy = f"a checkpoint of {encoder!r}", f"It has nothing for {without[0]!r}"
        remedy += f" ({len(without)} names without weights)."
        raise ValueError(message("encoder_weights", rule, text, remedy))
    return net


def take_channels(encoder, n_channels):
    """`with_channels`, also where a network of transformers looks how many channels come."""
    if n_channels != 3:
        with_channels(encoder, n_channels)
        for module in encoder.modules():
            if getattr(module, "num_channels", None) == 3:
                module.num_channels = n_channels
    return encoder


def foreign_package(encoder):
    """The package of an encoder's name and its version, such as "timm 1.0.31"; None for others."""
    if not is_foreign(encoder):
        return None
    wheel = PACKAGES[encoder.partition("/")[0]][1]
    return f"{wheel} {importlib.metadata.version(wheel)}"


def foreign_normalization(encoder, weights):
    """Mean and standard deviation with which an encoder's own weights expect images.

    Returns
    -------
    (mean, std)
        Tuples of three floats, of images in [0, 1]; ImageNet's where the package says nothing that
        can be known without a download.
    """
    kind, _, name = encoder.partition("/")
    check_foreign(encoder, weights)
    found = {}
    if kind == "timm" or name.startswith("tu-"):
        found = vars(_package("timm/").get_pretrained_cfg(name.removeprefix("tu-")) or object)
    elif kind == "smp" and str(weights) == PRETRAINED:
        encoders = _package(encoder).encoders
        setting = next(iter(encoders.encoders[name]["pretrained_settings"]))
        found = encoders.get_preprocessing_params(name, setting)
    elif kind == "hf":
        found = _preprocessor(name, str(weights) == PRETRAINED)
    mean = found.get("mean") or (0.485, 0.456, 0.406)
    std = found.get("std") or (0.229, 0.224, 0.225)
    return tuple(map(float, mean)), tuple(map(float, std))


def _package(encoder):
    """The package of an encoder's name, imported."""
    kind = encoder.partition("/")[0]
    module, wheel = PACKAGES[kind]
    if importlib.util.find_spec(module) is None:
        raise ValueError(
            f"encoder={encoder!r} needs {wheel}, which is not installed: pip install {wheel}"
        )
    try:
        if kind == "hf":  # its models for images import this, and torchvision where there is one
            importlib.import_module("transformers.image_utils")
        return importlib.import_module(module)
    except Exception as error:  # such as a torchvision of another build
        remedy = _TORCHVISION if "torchvision" in str(error) else ""
        raise ValueError(
            f"encoder={encoder!r} needs {wheel}, which is installed and cannot be imported: "
            f"{type(error).__name__}: {error}.{remedy}"
        ) from error


class ForeignEncoder(nn.Module):
    """Some of the maps that a network gives, as those of an encoder.

    Parameters
    ----------
    net : nn.Module
        Gives a list of maps.
    taps : list of int
        Which of them.
    channels, strides : list of int
        Of these.
    last : bool, default=False
        Whether the network's maps have their channels last.
    """

    def __init__(self, net, taps, channels, strides, last=False):
        super().__init__()
        self.net, self.taps, self.last = net, taps, last
        self.out_channels, self.strides = channels, strides

    def forward(self, x):
        """Images (N, 3, H, W) to the maps (N, C_i, H / s_i, W / s_i)."""
        maps = self.net(x)
        maps = [maps[i] for i in self.taps]
        return [m.movedim(-1, 1) for m in maps] if self.last else maps


def _as_encoder(net, channels, strides, last=False):
    """The last map of each stride; a `PatchEncoder` of those that have one stride alone."""
    taps = {stride: i for i, stride in enumerate(strides) if channels[i]}
    if len(taps) == 1 and max(taps) >= 8:
        return PatchEncoder(net, channels[-1], max(taps))
    taps = list(taps.values())
    return ForeignEncoder(net, taps, [channels[i] for i in taps], [strides[i] for i in taps], last)


def _fits(state, net):
    """Whether weights have the names of an encoder, all of them and no others."""
    own = net.state_dict()
    return own.keys() >= state.keys() and all(
        k in state or k.endswith("num_batches_tracked") for k in own
    )


def _renamed(state, net):
    """Weights under the names of an encoder, where they are those of the network inside it."""
    own = set(net.state_dict())
    base = next((m.base_model_prefix for m in net.modules() if hasattr(m, "base_model_prefix")), "")
    best = state
    for within in ("", "encoder.", f"{base}."):
        kept = {
            k.removeprefix(within): v
            for k, v in state.items()
            if k.startswith(within) and not k.removeprefix(within).startswith(WHOLE_PREFIXES)
        }
        for ours in ("", "net.", "net.net."):
            named = {ours + k: v for k, v in kept.items()}
            if len(own & named.keys()) > len(own & best.keys()):
                best = named
    return best


def _timm(name, pretrained=False, state=None):
    timm = _package("timm/")
    given = {} if state is None else {"pretrained_cfg_overlay": {"state_dict": state}}
    # The first that its class knows: transformers take one size unless they are told otherwise.
    dynamic, loose = {"dynamic_img_size": True}, {"strict_img_size": False}
    for options in ({**dynamic, **loose}, dynamic, loose, {}):
        try:
            net = timm.create_model(
                name, features_only=True, pretrained=pretrained, **given, **options
            )
            break
        except TypeError:
            if not options:
                raise
        except (RuntimeError, AttributeError, NotImplementedError) as error:
            if pretrained:
                raise
            rule = "a network of timm that gives feature maps (features_only=True)"
            raise ValueError(message("encoder", rule, f"timm/{name}", str(error))) from error
    info = net.feature_info
    last = str(getattr(net, "output_fmt", "")).endswith("NHWC")
    return _as_encoder(net, list(info.channels()), list(info.reduction()), last)


def _timm_whole(name, state):
    """An encoder with the weights of a whole network, whose names differ, and what has none."""
    with forked_torch_rng(0):
        net = _timm(name, True, state)
    with forked_torch_rng(0):
        random = dict(_timm(name).named_parameters())
    # timm leaves out what it does not find: that is told by what has stayed random.
    return net, [
        k
        for k, p in net.named_parameters()
        if p.ndim > 1 and p.detach().std() > 0 and torch.equal(p, random[k])
    ]


def _smp(name, pretrained=False):
    encoders = _package("smp/").encoders
    weights = None
    if pretrained:
        own = encoders.encoders.get(name, {}).get("pretrained_settings")
        weights = next(iter(own)) if own else True
    net = encoders.get_encoder(name, weights=weights)
    channels = [0, *net.out_channels[1:]]  # the first map is the image
    return _as_encoder(net, channels, [2**i for i in range(len(channels))])


class _HuggingFaceMaps(nn.Module):
    """All maps of a vision model of transformers; the last tokens of a plain one as a map."""

    def __init__(self, net):
        super().__init__()
        if any(True for _ in getattr(getattr(net, "pooler", None), "parameters", list)()):
            net.pooler = None  # a layer of what pretrained it, of no use to a map
        self.net = net
        patch = getattr(net.config, "patch_size", None) or 1
        self.patch = patch if isinstance(patch, int) else patch[0]
        known = inspect.signature(net.forward).parameters
        self.options = dict.fromkeys({"interpolate_pos_encoding"} & known.keys(), True)

    def __getstate__(self):
        # At a first call transformers puts in functions that no pickle can hold, and puts them in
        # again where they are missing.
        tensors = {id(t): t for t in (*self.parameters(), *self.buffers())}
        net = copy.deepcopy(self.net, tensors)
        for module in net.modules():
            vars(module).pop("_output_capturing_hooks_installed", None)
            for key, hook in list(module._forward_hooks.items()):
                if hook.__module__.startswith("transformers."):
                    del module._forward_hooks[key]
        return {**vars(self), "_modules": {**self._modules, "net": net}}

    def forward(self, x):
        out = self.net(pixel_values=x, output_hidden_states=True, **self.options)
        maps = getattr(out, "reshaped_hidden_states", None) or out.hidden_states or ()
        maps = [m for m in maps if m.ndim == 4]
        if maps:
            return maps
        h, w = (side // self.patch for side in x.shape[2:])
        tokens = out.last_hidden_state[:, -h * w :]  # those of classes and registers come first
        return [tokens.movedim(1, 2).unflatten(2, (h, w))]


def _hugging_face(name, pretrained=False):
    config = _config(name, pretrained)
    model = _package("hf/").AutoModel
    if not pretrained:
        try:
            net = model.from_config(config)
        except (ValueError, ImportError) as error:  # ImportError of one that needs a further one
            raise ValueError(message("encoder", _VISION, f"hf/{name}", str(error))) from error
        return _encoder_of(net, name)
    with _quiet():
        net, info = model.from_pretrained(
            _place(name), config=config, use_safetensors=True, output_loading_info=True
        )
    missing = _missing(info)
    if missing:
        raise ValueError(f"It has no {missing[0]!r} ({len(missing)} missing).")
    return _encoder_of(net, name)


def _hugging_face_whole(name, state):
    """An encoder with weights under the names of a file, and what of it has none there."""
    config = _config(name)
    kind = type(_package("hf/").AutoModel.from_config(config))
    with _quiet():
        net, info = kind.from_pretrained(
            None, config=config, state_dict=dict(state), output_loading_info=True
        )
    return _encoder_of(net, name), _missing(info)


def _missing(info):
    return sorted(k for k in info["missing_keys"] if "pooler" not in k)


@contextmanager
def _quiet():
    """Without the bars and tables that transformers shows while it loads."""
    logging = importlib.import_module("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _encoder_of(net, name):
    """An encoder of a model of transformers."""
    maps = _HuggingFaceMaps(net.float())
    side = 4 * maps.patch if maps.patch >= 8 else 128
    training = maps.training
    try:
        with torch.no_grad():
            shapes = [m.shape for m in maps.eval()(torch.zeros(1, 3, side, side))]
        strides = [side // shape[2] for shape in shapes]
    except Exception as error:  # a model has errors of its own
        raise ValueError(message("encoder", _VISION, f"hf/{name}", str(error))) from error
    maps.train(training)
    return _as_encoder(maps, [shape[1] for shape in shapes], strides)


def _config(name, download=False):
    """The configuration of a model type, of a folder, or of a hub's name."""
    transformers = _package("hf/")
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    types = {
        *auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        *auto.MODEL_FOR_BACKBONE_MAPPING_NAMES,
    }
    if name in types and not download:
        return _of_images(transformers.AutoConfig.for_model(name))
    local = _place(name) != name or not download
    try:
        found = transformers.AutoConfig.from_pretrained(_place(name), local_files_only=local)
        return _of_images(found)
    except (OSError, ValueError) as error:
        if not local:
            raise
        rule = (
            "'hf/' and a type of vision model, a folder with a config.json, or a name of the hub "
            f"that is in the local cache or that encoder_weights={PRETRAINED!r} may fetch"
        )
        close = did_you_mean(name, types).replace("mean '", "mean 'hf/")
        raise ValueError(message("encoder", rule, f"hf/{name}", close)) from error


def _of_images(config):
    """Of a model of images and text, as CLIP, the configuration of the part for images."""
    return getattr(config, "vision_config", None) or config


def _place(name):
    """The folder that a name is, or the name."""
    folder = Path(name).expanduser()
    return folder if folder.is_dir() else name


def _preprocessor(name, download):
    """What a folder or the hub says of mean and deviation, in ``preprocessor_config.json``."""
    find = importlib.import_module("transformers.utils").cached_file
    try:
        path = find(_place(name), "preprocessor_config.json", local_files_only=not download)
    except OSError:  # it has none
        return {}
    said = json.loads(Path(path).read_text("utf-8"))
    return {"mean": said.get("image_mean"), "std": said.get("image_std")}
