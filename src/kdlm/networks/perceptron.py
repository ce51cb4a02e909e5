"""A multilayer perceptron: no convolution, no BatchNorm, so that what is seen is not theirs."""

from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["ARCHITECTURES", "SPELLINGS", "Perceptron"]

WIDTH = 256


class Perceptron(nn.Module):
    """Two hidden layers of 256 units with ReLU on the pixels of an image."""

    def __init__(self, num_classes: int, in_channels: int, image_side: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Flatten(),
            nn.Linear(in_channels * image_side**2, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(WIDTH, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features (B, 256) of images (B, C, H, W)."""
        # channels_last is a layout that pixels cannot be flattened in
        features: Tensor = self.hidden(images.contiguous())
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


SPELLINGS = ((r"^fc\.", lambda _found: "classifier."),)
"""How others spell the names of these layers."""

ARCHITECTURES: dict[str, Callable[..., Perceptron]] = {"mlp": Perceptron}
"""By name: a function of ``num_classes``, ``in_channels`` and ``image_side``."""
