"""What a forward keeps for its backward, counted without computing anything."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.memory import ASKED, count, saved_bytes


def kept() -> int:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.SiLU(), nn.Flatten())
    network.requires_grad_(False)
    x = torch.zeros(2, 3, 8, 8, requires_grad=True)
    return saved_bytes(lambda: network(x), network)


def test_the_inputs_of_convolution_and_activation_are_kept_and_no_weights() -> None:
    closed_form = 2 * (3 + 4) * 8 * 8 * 4  # images, channels, pixels, bytes
    assert kept() == closed_form
    with FakeTensorMode():
        assert kept() == closed_form


@pytest.mark.parametrize("name", ASKED)
def test_a_cheaper_decoder_keeps_less(name: str) -> None:
    found = count(name)
    assert found["exact"] > found["half"] > found.get("tiny", 0)
    assert found["exact"] == pytest.approx(4 * found["half"], rel=0.02)  # of a quarter the pixels
    assert found["network"] > 2**28
