"""What the study asks of a network: the features, the last linear layer, and a module's methods."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

__all__ = ["Network"]


class Network(Protocol):
    """A classifier whose last layer is linear; every ``nn.Module`` with these two members is one.

    Logits are ``classifier(features(images))``. The study reads the classifier's weight and bias
    by name, centres them for the initialisation ``he-centred``, and predicts the spread of the mean
    logit from the features.
    """

    training: bool
    classifier: nn.Linear
    """The last layer, (F, K), with a bias."""

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features (B, F) of images (B, C, H, W)."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        ...

    # what nn.Module brings along

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
