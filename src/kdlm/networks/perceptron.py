"""A multilayer perceptron: a network whose results owe nothing to convolution or BatchNorm."""

from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["ARCHITECTURES", "SPELLINGS", "Perceptron"]

WIDTH = 256


class Perceptron(nn.Module):
    """Two hidden layers of 256 units with ReLU, then the classifier; the input is the pixels.

    ``image_side`` is the side of the square images in pixels.
    """

    def __init__(self, num_classes: int, in_channels: int, image_side: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Flatten(),
            nn.Linear(in_channels * image_side**2, WIDTH),
            nn.ReLU(inplace=True),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Linear(WIDTH, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the penultimate features (B, 256) of images (B, C, H, W)."""
        # images come in channels_last; contiguous puts them into the order that Flatten expects
        features: Tensor = self.hidden(images.contiguous())
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, C, H, W)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


SPELLINGS = ((r"^fc\.", lambda _found: "classifier."),)
"""Translations of layer names in other code into ours."""

ARCHITECTURES: dict[str, Callable[..., Perceptron]] = {"mlp": Perceptron}
"""By name, the function of ``num_classes``, ``in_channels`` and ``image_side`` that builds it."""
