"""Drawing initial weights: the named initialisations and the random streams they draw from."""

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
    "jitter",
    "perturb",
    "stream",
]

_BATCHNORM = (nn.BatchNorm2d,)


def stream(seed: int, purpose: str) -> torch.Generator:
    """Return the random-number generator, on the CPU, of one seed and purpose.

    Its state is derived from a hash of both, so two purposes never share their random numbers, and
    one more draw for one purpose does not change another.

    >>> draws = [torch.rand(1, generator=stream(0, "teacher weights")) for _ in range(2)]
    >>> draws[0] == draws[1]
    tensor([True])
    """
    digest = hashlib.sha256(f"{purpose}\0{seed}".encode()).digest()
    generator = torch.Generator()
    # manual_seed takes 64 bits as a signed integer
    generator.manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    return generator


def _default_linear(layer: nn.Linear, generator: torch.Generator) -> None:
    """Draw W and b uniformly from ±1/√F, F the number of inputs, as PyTorch's ``Linear`` does."""
    bound = 1 / math.sqrt(layer.in_features)
    _draw(layer.weight, lambda w: nn.init.uniform_(w, -bound, bound, generator=generator))
    _draw(layer.bias, lambda b: nn.init.uniform_(b, -bound, bound, generator=generator))


def _draw(parameter: Tensor, fill: Callable[[Tensor], Tensor]) -> None:
    # Always drawn in float32 on the CPU, so that networks of every type and device get the same
    # numbers.
    with torch.no_grad():
        parameter.copy_(fill(torch.empty(parameter.shape, dtype=torch.float32, device="cpu")))


def _layers_before(model: Network) -> list[nn.Conv2d | nn.Linear]:
    """Return the convolutions and linear layers but the last, in the order of the modules."""
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and module is not model.classifier
    ]


def _no_bias(layer: nn.Conv2d | nn.Linear) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _he(model: Network, generator: torch.Generator) -> None:
    """Draw weights from N(0, 2/fan_out) (He et al., arXiv 1502.01852) and set biases to 0.

    The last layer is drawn as in initialisation ``default``.
    """
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
    """Draw every weight and bias uniformly from ±1/√fan_in, as PyTorch does."""
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
    """Draw weights uniformly from ±√(6/(fan_in + fan_out)) and set biases to 0.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010.
    """
    for layer in (*_layers_before(model), model.classifier):
        _draw(layer.weight, lambda w: nn.init.xavier_uniform_(w, generator=generator))
        _no_bias(layer)


def _he_centred(model: Network, generator: torch.Generator) -> None:
    """Draw as in ``he``, then subtract the class means of the last layer's W and b.

    After that Σ_k W_k = 0 and Σ_k b_k = 0, so the mean logit z̄(x) is 0 for every image x.
    """
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
"""By name, the function that draws the weights of a network from a generator."""


def _unknown(name: str) -> ValueError:
    return ValueError(f"unknown initialisation {name!r}; known: {', '.join(INITIALISATIONS)}")


def initialise(model: Network, name: str, generator: torch.Generator) -> None:
    """Draw all weights of ``model`` anew, in place.

    BatchNorm gets scale 1, shift 0, running mean 0 and running variance 1.

    Args:
        model: the network.
        name: a name of `INITIALISATIONS`.
        generator: where the random numbers come from; see `stream`.

    Raises:
        ValueError: there is no such initialisation, or it does not set every parameter of this
            network. Such a parameter would not be decided by the seed.

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
    # a uniform distribution on ±a has variance a²/3
    "he": lambda in_features, _num_classes: (1 / (3 * in_features), 1 / (3 * in_features)),
    "default": lambda in_features, _num_classes: (1 / (3 * in_features), 1 / (3 * in_features)),
    "xavier": lambda in_features, num_classes: (2 / (in_features + num_classes), 0.0),
    # the rows of W and the entries of b sum to zero, so their means do not vary at all
    "he-centred": lambda _in_features, _num_classes: (0.0, 0.0),
}
"""By initialisation, the function of F and K that `classifier_variances` evaluates."""


def classifier_variances(name: str, in_features: int, num_classes: int) -> tuple[float, float]:
    """Return the variances σ_w² and σ_b² of a weight and of a bias of the last layer.

    They are defined as K times the variance of the mean over the K classes. Where the rows of the
    last layer are independent, that is the variance of a single weight or bias; for ``he-centred``,
    whose rows sum to zero, it is 0.

    >>> classifier_variances("xavier", in_features=64, num_classes=36)
    (0.02, 0.0)

    Args:
        name: a name of `INITIALISATIONS`.
        in_features: F, the number of inputs of the last layer.
        num_classes: K, the number of its outputs.

    Raises:
        ValueError: there is no such initialisation.

    """
    if name not in VARIANCES:
        raise _unknown(name)
    return VARIANCES[name](in_features, num_classes)


def perturb(model: Network, ulps: int) -> None:
    """Move every parameter of ``model``, in place, by ``ulps`` units in the last place towards +∞.

    A student perturbed by one unit shows what rounding alone does.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            for _ in range(ulps):
                parameter.copy_(parameter.nextafter(parameter.new_tensor(math.inf)))


def jitter(model: Network, size: float, generator: torch.Generator) -> None:
    """Multiply every parameter of ``model``, in place, by 1 + εξ, where ξ is 1 or −1.

    A ladder of such students, with ε from the rounding of the weights to a hundredth, shows how far
    training carries a difference of a known size.

    Args:
        model: the network.
        size: ε, a pure number; at 0 nothing is drawn and nothing moves.
        generator: where the signs come from; every ε has the same signs.

    """
    if size == 0:
        return
    with torch.no_grad():
        for parameter in model.parameters():
            signs = torch.randint(0, 2, parameter.shape, generator=generator, device="cpu") * 2 - 1
            parameter.mul_(1 + size * signs.to(parameter))
