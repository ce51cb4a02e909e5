"""The interface of a network: features, a last linear layer, and the methods of a module."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

__all__ = ["Network"]


class Network(Protocol):
    """A classifier of images whose last layer is linear.

    Every ``nn.Module`` that has `classifier` and `features` is a `Network`. Its logits are
    ``classifier(features(images))``. The study reads the classifier's weight and bias by name,
    centres them for the initialisation ``he-centred``, and predicts from the features how much the
    mean logit varies over seeds.
    """

    training: bool
    classifier: nn.Linear
    """The last layer, from F features to K logits, with a bias."""

    def features(self, images: Tensor) -> Tensor:
        """Return the penultimate features (B, F) of images (B, C, H, W)."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, C, H, W)."""
        ...

    # every nn.Module has the methods below

    def parameters(self) -> Iterator[nn.Parameter]: ...  # noqa: D102
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...  # noqa: D102
    def buffers(self) -> Iterator[Tensor]: ...  # noqa: D102
    def modules(self) -> Iterator[nn.Module]: ...  # noqa: D102
    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...  # noqa: D102
    def get_parameter(self, target: str) -> nn.Parameter: ...  # noqa: D102
    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...  # noqa: D102
    def train(self, mode: bool = True) -> Any: ...  # noqa: D102
    def eval(self) -> Any: ...  # noqa: D102
    def to(self, *args: Any, **kwargs: Any) -> Any: ...  # noqa: D102
