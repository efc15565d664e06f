"""Encoders for images of other than three channels."""

import numpy as np
import pytest
import torch
from torch import nn

from alseg.network import build_encoder, of_channels, with_channels
from alseg.network.channels import input_channels


class OwnEncoder(nn.Module):
    out_channels, strides = [4, 8], [2, 4]

    def __init__(self, n_channels=3):
        super().__init__()
        self.first = nn.Conv2d(n_channels, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 8, 3, stride=2, padding=1)

    def forward(self, x):
        x = self.first(x).relu()
        return [x, self.second(x).relu()]


@pytest.mark.parametrize("n_channels", [1, 2, 4, 5, 7, 13])
def test_a_constant_over_channels_looks_to_the_adapted_layer_as_grey_did(n_channels):
    # Each of three weights stands for a third; where the channels are a multiple of three, or one,
    # the sum over channels of equal values is what it was.
    old = nn.Conv2d(3, 6, 3, padding=1)
    with torch.no_grad():
        old.weight[:, 1:] = old.weight[:, :1]  # equal over channels, so that any number sums alike
    grey = torch.rand(2, 1, 8, 8)
    before = old(grey.expand(-1, 3, -1, -1))
    new = with_channels(nn.Sequential(old), n_channels)[0]
    assert new.in_channels == n_channels
    torch.testing.assert_close(new(grey.expand(-1, n_channels, -1, -1)), before)


def test_weights_are_repeated_and_scaled():
    net = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1))
    four = with_channels(net, 4)[0].weight.flatten()
    torch.testing.assert_close(four, torch.tensor([0.75, 1.5, 3.0, 0.75]))


@pytest.mark.parametrize("name", ["tiny", "resnet18", "mobilenet_v2", "efficientnet-b0"])
def test_named_encoders_take_other_channels(name):
    net = build_encoder(name, None, n_channels=5).eval()
    assert input_channels(net) == 5
    maps = net(torch.zeros(1, 5, 64, 96))
    assert [m.shape[1] for m in maps] == list(net.out_channels)


def test_three_channels_change_nothing_and_draw_no_random_number():
    torch.manual_seed(0)
    plain = build_encoder("tiny", None)
    torch.manual_seed(0)
    five = build_encoder("tiny", None, n_channels=5)
    after = torch.rand(1)
    torch.manual_seed(0)
    build_encoder("tiny", None)
    assert torch.equal(torch.rand(1), after)
    for (name, a), b in zip(plain.state_dict().items(), five.state_dict().values()):
        assert a.shape == b.shape or name == "stages.0.0.weight"


def test_a_users_encoder_is_copied_adapted_or_refused():
    own = OwnEncoder()
    assert build_encoder(own, None, n_channels=4).first.in_channels == 4
    assert own.first.in_channels == 3
    four = OwnEncoder(4)
    kept = build_encoder(four, None, n_channels=4)
    assert torch.equal(kept.first.weight, four.first.weight)
    with pytest.raises(ValueError, match="encoder must be one of 5 channels, .*OwnEncoder of 4"):
        build_encoder(four, None, n_channels=5)
    with pytest.raises(ValueError, match=r"encoder must be a module that takes images \(N, 3,"):
        build_encoder(four, None)
    grouped = OwnEncoder()
    grouped.first = nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3)
    with pytest.raises(ValueError, match="encoder must be one of 5 channels"):
        build_encoder(grouped, None, n_channels=5)


def test_weights_of_an_adapted_encoder_are_read_again(tmp_path):
    from safetensors.torch import save_file

    trained = build_encoder("tiny", None, n_channels=5)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    again = build_encoder("tiny", tmp_path / "w.safetensors", n_channels=5)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    with pytest.raises(ValueError, match=r"'stages.0.0.weight' of shape \(16, 5, 3, 3\)"):
        build_encoder("tiny", tmp_path / "w.safetensors")


def test_normalisation_of_channels():
    imagenet = of_channels(np.array([0.1, 0.2, 0.3]), 5)
    assert imagenet.shape == (5, 1, 1)
    torch.testing.assert_close(imagenet.flatten(), torch.tensor([0.1, 0.2, 0.3, 0.1, 0.2]))
    assert of_channels(0.5, 7).shape == (1, 1, 1)
    assert of_channels([0.1] * 7, 7).shape == (7, 1, 1)
    with pytest.raises(ValueError, match="network.normalize must be of one or 7 numbers"):
        of_channels([0.1] * 4, 7)
