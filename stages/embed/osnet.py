"""OSNet x1.0 (Zhou et al., Omni-Scale Feature Learning for Person Re-Identification, ICCV 2019).

Modules have the names of the weights in the authors' checkpoints. Import this module only where a model is loaded: it
imports PyTorch.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import nn
from torch.nn import functional

DIM: Final = 512
INPUT_SIZE: Final = (256, 128)
"""Height and width of the input that the published weights were trained on."""

_WIDTHS: Final = (64, 256, 384, 512)
_SCALES: Final = 4

# A residual of an omni-scale block works on a quarter of its output's channels.
_BOTTLENECK: Final = 4

# The gate squeezes a stream to one sixteenth of its channels.
_SQUEEZE: Final = 16


class OSNet(nn.Module):
    """Crops to features.

    Takes float32 [N, 3, 256, 128], RGB, normalised by ImageNet's mean and deviation; returns float32 [N, 512], not
    normalised.
    """

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth = _WIDTHS
        self.conv1 = _Conv(3, first, kernel=7, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = nn.Sequential(*_pair(first, second), _halve(second))
        self.conv3 = nn.Sequential(*_pair(second, third), _halve(third))
        self.conv4 = nn.Sequential(*_pair(third, fourth))
        self.conv5 = _Conv(fourth, fourth)
        self.fc = nn.Sequential(nn.Linear(fourth, DIM), nn.BatchNorm1d(DIM), nn.ReLU())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features of a batch of crops."""
        x = self.maxpool(self.conv1(images))
        x = self.conv5(self.conv4(self.conv3(self.conv2(x))))
        features: torch.Tensor = self.fc(x.mean((2, 3)))
        return features


def load_osnet(state: Mapping[str, torch.Tensor]) -> OSNet:
    """The network with the weights of a checkpoint; the classifier of its training set is ignored.

    Raises:
        ValueError: The weights are not those of an OSNet x1.0.
    """
    model = OSNet()
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    try:
        model.load_state_dict({name: value for name, value in plain.items() if not name.startswith("classifier.")})
    except RuntimeError as error:
        raise ValueError(f"these are not weights of OSNet x1.0: {str(error).splitlines()[1].strip()[:200]}") from error
    return model.eval()


class _Conv(nn.Module):
    """Convolution and batch normalisation, then ReLU unless ``linear``."""

    def __init__(self, taken: int, given: int, *, kernel: int = 1, stride: int = 1, linear: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(taken, given, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(given)
        self.linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.conv(x))
        return x if self.linear else functional.relu(x)


class _LightConv(nn.Module):
    """Lite 3x3: a pointwise convolution, then a depthwise one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.bn(self.conv2(self.conv1(x))))


class _Gate(nn.Module):
    """Unified aggregation gate: each channel of a stream weighted by what the whole stream shows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _SQUEEZE, 1)
        self.fc2 = nn.Conv2d(channels // _SQUEEZE, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(weights)


class _Block(nn.Module):
    """Omni-scale block: streams of one to four lite convolutions, gated by the same gate and summed."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        inner = given // _BOTTLENECK
        self.conv1 = _Conv(taken, inner)
        self.conv2a = _LightConv(inner)
        self.conv2b, self.conv2c, self.conv2d = (
            nn.Sequential(*(_LightConv(inner) for _ in range(scale))) for scale in range(2, _SCALES + 1)
        )
        self.gate = _Gate(inner)
        self.conv3 = _Conv(inner, given, linear=True)
        self.downsample = _Conv(taken, given, linear=True) if taken != given else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.conv1(x)
        streams = [stream(inner) for stream in (self.conv2a, self.conv2b, self.conv2c, self.conv2d)]
        gated = torch.stack([self.gate(stream) for stream in streams]).sum(0)
        passed = x if self.downsample is None else self.downsample(x)
        return functional.relu(self.conv3(gated) + passed)


def _pair(taken: int, given: int) -> tuple[_Block, _Block]:
    return _Block(taken, given), _Block(given, given)


def _halve(channels: int) -> nn.Sequential:
    return nn.Sequential(_Conv(channels, channels), nn.AvgPool2d(2, stride=2))
