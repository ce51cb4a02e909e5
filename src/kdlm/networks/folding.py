"""Folding BatchNorm into the convolutions before it, for a network that is only evaluated."""

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from kdlm.networks.network import Network

__all__ = ["FoldedNetwork", "fold_batchnorm"]


def fold_batchnorm(network: Network) -> Network:
    """Return a copy of ``network`` in eval mode in which convolutions do the work of BatchNorm.

    In eval mode BatchNorm maps each channel x to γ (x − μ)/√(σ² + ε) + β, where μ and σ² are its
    running mean and variance. After a convolution x = w ∗ u + b this is again a convolution, with
    weight γ w/√(σ² + ε) and bias γ (b − μ)/√(σ² + ε) + β. The pass of BatchNorm over the images is
    saved. The new weights are computed in float64 and rounded once to the type of the network, so
    the logits differ from those of ``network`` by rounding.

    A BatchNorm that follows a convolution within an ``nn.Sequential`` is folded, and so is each
    that a module names in its ``BATCHNORM_AFTER``. Any other BatchNorm, as that before a
    convolution in a pre-activation block, stays and runs in eval mode.

    Args:
        network: the network; it is not changed.

    Raises:
        TypeError: a ``BATCHNORM_AFTER`` names other layers than a convolution and BatchNorm.

    """
    folded = copy.deepcopy(network)
    folded.eval()
    for module in list(folded.modules()):
        for convolution, batchnorm in _pairs(module):
            _fold(module, convolution, batchnorm)
    return folded


class FoldedNetwork:
    """A network with BatchNorm folded as by `fold_batchnorm`, whose weights change again and again.

    It is copied once and not for each change of its weights. Layers that are not folded are the
    network's own. Folded weights are computed in the type of the network, which is quick.

    Args:
        network: the network; it is not changed.

    Raises:
        TypeError: a ``BATCHNORM_AFTER`` names other layers than a convolution and BatchNorm.

    """

    def __init__(self, network: Network) -> None:
        own = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
        self._folded = copy.deepcopy(network, own)
        self._folded.eval()
        self._layers: list[tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d]] = []
        modules = zip(list(network.modules()), list(self._folded.modules()), strict=True)
        for module, copied in modules:
            for convolution, batchnorm in _pairs(module):
                before, after = _checked(module, convolution, batchnorm)
                folded, _ = _checked(copied, convolution, batchnorm)
                self._layers.append((before, after, folded))
                setattr(copied, batchnorm, nn.Identity())

    def update(self) -> Network:
        """Return the folded network for the present weights; the next update changes it."""
        for before, after, folded in self._layers:
            folded.weight, folded.bias = fuse_conv_bn_weights(
                before.weight,
                before.bias,
                cast("Tensor", after.running_mean),
                cast("Tensor", after.running_var),
                after.eps,
                after.weight,
                after.bias,
            )
        return self._folded


def _pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the names of a convolution in ``module`` and of the BatchNorm that alone follows it."""
    if isinstance(module, nn.Sequential):
        for (name, layer), (next_name, next_layer) in pairwise(module.named_children()):
            if isinstance(layer, nn.Conv2d) and isinstance(next_layer, nn.BatchNorm2d):
                yield name, next_name
    else:
        yield from getattr(module, "BATCHNORM_AFTER", {}).items()


def _fold(module: nn.Module, convolution: str, batchnorm: str) -> None:
    """Replace two layers of ``module``, by their names, by one convolution and an identity."""
    before, after = _checked(module, convolution, batchnorm)
    dtype = before.weight.dtype
    setattr(module, convolution, fuse_conv_bn_eval(before.double(), after.double()).to(dtype))
    setattr(module, batchnorm, nn.Identity())


def _checked(
    module: nn.Module, convolution: str, batchnorm: str
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Return the two layers of ``module`` that have these names."""
    before, after = module.get_submodule(convolution), module.get_submodule(batchnorm)
    # a network of the user's may name anything in its BATCHNORM_AFTER
    if not (isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d)):
        raise TypeError(
            f"BATCHNORM_AFTER of {type(module).__name__}: {convolution} is not a convolution, or "
            f"{batchnorm} is not BatchNorm"
        )
    return before, after
