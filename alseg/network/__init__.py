"""The network: encoder, class head with CAM, mask decoder."""

from alseg.network.cam import POOLINGS, CAMHead
from alseg.network.channels import of_channels, with_channels
from alseg.network.checkpoints import BUNDLED, NAMED_WEIGHTS, bundled_file
from alseg.network.decoder import UNetDecoder
from alseg.network.encoder import (
    ENCODERS,
    NORMALIZATIONS,
    build_encoder,
    check_encoder_name,
    normalization_numbers,
    normalization_of,
    starts_at_random,
)
from alseg.network.examining import CANVAS, NetworkFacts, check_part, examine, examined
from alseg.network.feature_memory import FeatureMemory, trim
from alseg.network.foreign_encoders import build_foreign, foreign_package, is_foreign
from alseg.network.foreign_network import ForeignNetwork, made
from alseg.network.foreign_outputs import mask_and_class_logits
from alseg.network.joint import (
    JointCAMNetwork,
    dropout_active,
    dropout_mask,
    evaluated,
    evaluating,
    with_dropout,
)
from alseg.network.published_networks import PlainUNet, TwoEncoderNetwork
from alseg.network.pyramid import PatchEncoder, SimpleFeaturePyramid
from alseg.network.random_numbers import Generators, forked_torch_rng
from alseg.network.weight_average import WeightAverage

__all__ = [
    "ENCODERS",
    "JointCAMNetwork",
    "PatchEncoder",
    "SimpleFeaturePyramid",
    "build_encoder",
    "dropout_active",
    "with_dropout",
]
