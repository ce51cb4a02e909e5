"""Drawing initial weights: named initialisations, and independent streams of random numbers."""

import hashlib
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from kdlm.networks.network import Network

__all__ = [
    "INITIALISATIONS",
    "VARIANCES",
    "classifier_variances",
    "initialise",
    "perturb",
    "stream",
]

_BATCHNORM = (nn.BatchNorm2d,)


def stream(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator of its own for each seed and purpose, so that no two draws are shared."""
    digest = hashlib.sha256(f"{purpose}\0{seed}".encode()).digest()
    generator = torch.Generator()
    # manual_seed takes 64 bits, read as a signed number
    generator.manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    return generator


def _default_linear(layer: nn.Linear, generator: torch.Generator) -> None:
    """W and b uniform on ±1/√F, F the number of inputs: PyTorch's own."""
    bound = 1 / math.sqrt(layer.in_features)
    _draw(layer.weight, lambda w: nn.init.uniform_(w, -bound, bound, generator=generator))
    _draw(layer.bias, lambda b: nn.init.uniform_(b, -bound, bound, generator=generator))


def _draw(parameter: Tensor, fill: Callable[[Tensor], Tensor]) -> None:
    # drawn in float32 on the CPU, whatever the network's type and device: equal numbers for all
    with torch.no_grad():
        parameter.copy_(fill(torch.empty(parameter.shape, dtype=torch.float32, device="cpu")))


def _layers_before(model: Network) -> list[nn.Conv2d | nn.Linear]:
    """All layers with weights but the last, in the order of the network's modules."""
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and module is not model.classifier
    ]


def _no_bias(layer: nn.Conv2d | nn.Linear) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _he(model: Network, generator: torch.Generator) -> None:
    """Weights N(0, 2/fan_out) (He et al., arXiv 1502.01852), biases 0; the last as `default`."""
    for layer in _layers_before(model):
        _draw(
            layer.weight,
            lambda w: nn.init.kaiming_normal_(
                w, mode="fan_out", nonlinearity="relu", generator=generator
            ),
        )
        _no_bias(layer)
    _default_linear(model.classifier, generator)


def _default(model: Network, generator: torch.Generator) -> None:
    """PyTorch's own: every weight and bias uniform on ±1/√fan_in."""
    for layer in _layers_before(model):
        _draw(
            layer.weight,
            lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5), generator=generator),
        )
        if layer.bias is not None:
            bound = 1 / math.sqrt(layer.weight[0].numel())
            _draw(layer.bias, partial(nn.init.uniform_, a=-bound, b=bound, generator=generator))
    _default_linear(model.classifier, generator)


def _xavier(model: Network, generator: torch.Generator) -> None:
    """Weights uniform on ±√(6/(fan_in + fan_out)) (Glorot, Bengio 2010), biases 0."""
    for layer in (*_layers_before(model), model.classifier):
        _draw(layer.weight, lambda w: nn.init.xavier_uniform_(w, generator=generator))
        _no_bias(layer)


def _he_centred(model: Network, generator: torch.Generator) -> None:
    """As `he`, then Σ_k W_k = 0 and Σ_k b_k = 0, so that z̄(x) = 0 for every image x."""
    _he(model, generator)
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.sub_(parameter.double().mean(dim=0).to(parameter.dtype))


INITIALISATIONS: dict[str, Callable[[Network, torch.Generator], None]] = {
    "he": _he,
    "default": _default,
    "xavier": _xavier,
    "he-centred": _he_centred,
}


def _unknown(name: str) -> ValueError:
    return ValueError(f"unknown initialisation {name!r}; known: {', '.join(INITIALISATIONS)}")


def initialise(model: Network, name: str, generator: torch.Generator) -> None:
    """Draw all weights of ``model`` anew; BatchNorm becomes the identity with fresh statistics.

    Raises:
        ValueError: no such initialisation, or one that leaves a parameter of this network as it
            was: its first value would be of no seed's making.

    """
    if name not in INITIALISATIONS:
        raise _unknown(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    for module in model.modules():
        if isinstance(module, _BATCHNORM):
            module.reset_parameters()
    INITIALISATIONS[name](model, generator)
    if left := [key for key, value in model.named_parameters() if value.isnan().any()]:
        raise ValueError(
            f"initialisation {name!r} draws no numbers for {', '.join(left)}; it knows "
            f"convolutions, linear layers and BatchNorm"
        )


Variances = Callable[[int, int], tuple[float, float]]

VARIANCES: dict[str, Variances] = {
    # uniform on ±a has variance a²/3
    "he": lambda in_features, _num_classes: (1 / (3 * in_features), 1 / (3 * in_features)),
    "default": lambda in_features, _num_classes: (1 / (3 * in_features), 1 / (3 * in_features)),
    "xavier": lambda in_features, num_classes: (2 / (in_features + num_classes), 0.0),
    # the rows sum to zero
    "he-centred": lambda _in_features, _num_classes: (0.0, 0.0),
}
"""By initialisation: `classifier_variances` as a function of F and K."""


def classifier_variances(name: str, in_features: int, num_classes: int) -> tuple[float, float]:
    """Variances σ_w² and σ_b² of a mean over K independent rows, times K, of the last layer.

    >>> classifier_variances("xavier", in_features=64, num_classes=36)
    (0.02, 0.0)

    Raises:
        ValueError: no such initialisation.

    """
    if name not in VARIANCES:
        raise _unknown(name)
    return VARIANCES[name](in_features, num_classes)


def perturb(model: Network, ulps: int) -> None:
    """Move every parameter by ``ulps`` units in the last place, towards +∞."""
    with torch.no_grad():
        for parameter in model.parameters():
            for _ in range(ulps):
                parameter.copy_(parameter.nextafter(parameter.new_tensor(math.inf)))
