"""The network: encoder, class head with CAM, mask decoder."""

from alseg.network.encoder import ENCODERS, build_encoder
from alseg.network.joint import JointCAMNetwork, dropout_active, with_dropout

__all__ = ["ENCODERS", "JointCAMNetwork", "build_encoder", "dropout_active", "with_dropout"]
