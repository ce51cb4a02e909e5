"""Mean outputs of every layer of untrained networks, for Proposition 1 and Table 1 of the paper."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdlm.data.prepared import first_images
from kdlm.networks.architectures import build
from kdlm.networks.devices import configure_torch, to_device
from kdlm.networks.folding import FoldedNetwork
from kdlm.networks.initialisation import classifier_variances, initialise, stream
from kdlm.networks.network import Network
from kdlm.storage.parquet import write_table
from kdlm.study.specs import InitMeansSpec

__all__ = ["draw_init_means", "layer_means"]

KINDS: dict[type[nn.Module], str] = {
    nn.Conv2d: "convolution",
    nn.BatchNorm2d: "batchnorm",
    nn.Linear: "hidden",
}


Rows = list[dict[str, Any]]
"""Rows of table ``means``."""


def _every_layer(model: Network, images: Tensor) -> tuple[Tensor, Rows]:
    """Run ``model`` and return its features and a row for each layer that ran, in that order."""
    rows: Rows = []

    def observer(name: str, module: nn.Module) -> Any:
        kind = "linear" if module is model.classifier else KINDS[type(module)]

        def observe(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            place = {"layer": name, "depth": len(rows), "kind": kind}
            rows.append(place | _summary(output))

        return observe

    hooks = [
        module.register_forward_hook(observer(name, module))
        for name, module in model.named_modules()
        if type(module) in KINDS
    ]
    try:
        features = model.features(images)
        model.classifier(features)
    finally:
        for hook in hooks:
            hook.remove()
    return features, rows


def _last_layer(model: Network, images: Tensor, place: dict[str, Any]) -> tuple[Tensor, Rows]:
    """Run ``model`` and return its features and the row of its last layer, at ``place``."""
    features = model.features(images)
    return features, [place | _summary(model.classifier(features))]


def _summary(output: Tensor) -> dict[str, float | None]:
    """Return mean, spread over images and rms of a layer's ``output``, summed in float64."""
    # A layer's mean is far smaller than its outputs. The mean is taken over axes because flattening
    # a channels_last tensor would copy it.
    wide = output.double()
    per_image = wide.mean(dim=tuple(range(1, wide.ndim)))
    return {
        "mean": float(per_image.mean()),
        "sd_over_images": float(per_image.std()),
        "rms": float(torch.linalg.vector_norm(wide)) / math.sqrt(wide.numel()),
        "predicted_sd": None,
    }


def draw_init_means(spec: InitMeansSpec, data: Path, output: Path) -> None:
    """Run the untrained networks of one shard and write their table ``means`` to ``output``.

    Args:
        spec: network, initialisation, BatchNorm mode, and the seeds of the shard.
        data: file of the prepared dataset, whose first images the networks are run on.
        output: Parquet file to write.

    Raises:
        InputError: the dataset cannot be read, or has fewer images than the spec asks for.

    """
    configure_torch(spec.threads)
    rows = layer_means(spec, first_images(data, spec.images))
    write_table("means", rows, output, spec.model_dump(mode="json"))


@torch.inference_mode()
def layer_means(spec: InitMeansSpec, images: Tensor) -> Rows:
    """Return the rows of table ``means``: the mean outputs of layers, for each seed.

    The first ``spec.layer_seeds`` seeds have a row for every layer, the others for the last layer,
    whose outputs are the logits.

    The last layer's row also has a predicted standard deviation. Let f̄ be the mean over images of
    the features. The mean logit is w̄·f̄ + b̄, where w̄ and b̄ are means over the K independent rows
    of the last layer's weights and biases. Given f̄, its standard deviation over seeds is therefore
    √((σ_b² + σ_w² ‖f̄‖²)/K), whatever the earlier layers are (docs/errata.md, section 6).

    In mode ``train`` BatchNorm normalises by the statistics of these images; in mode ``eval`` by
    the running statistics of an untrained network, which are mean 0 and variance 1. Where only the
    logits are recorded, convolutions do the work of BatchNorm in mode ``eval``; the logits differ
    by rounding from those of a network in which it runs.

    Args:
        spec: network, initialisation, BatchNorm mode, seeds, and number of classes K. Each network
            depends on its own seed alone, not on the shard.
        images: (N, C, H, W), normalised, N at least 2.

    """
    _, channels, _, side = images.shape
    model = build(spec.architecture, spec.num_classes, channels, image_side=side)
    model.train(spec.batchnorm == "train")
    to_device(model, images.device)
    images = images.contiguous(memory_format=torch.channels_last)
    # where the last layer stands does not depend on the weights, nor on the number of images
    last = _every_layer(model, images[:2])[1][-1]
    folded = FoldedNetwork(model) if spec.batchnorm == "eval" else None
    variances = classifier_variances(
        spec.initialisation, model.classifier.in_features, spec.num_classes
    )
    found: Rows = []
    for seed in range(spec.first_seed, spec.first_seed + spec.seeds):
        initialise(model, spec.initialisation, stream(seed, "initial means"))
        if seed < spec.first_seed + spec.layer_seeds:
            features, rows = _every_layer(model, images)
        else:
            features, rows = _last_layer(folded.update() if folded else model, images, last)
        rows[-1]["predicted_sd"] = _predicted_sd(features, *variances, spec.num_classes)
        found += [{"seed": seed} | row for row in rows]
    return found


def _predicted_sd(
    features: Tensor, weight_variance: float, bias_variance: float, num_classes: int
) -> float:
    """Return √((σ_b² + σ_w² ‖f̄‖²)/K), the sd over seeds of the mean logit.

    f̄ is the mean over images of ``features`` (N, F), the inputs of the last layer.
    """
    centre = features.double().mean(dim=0)
    variance = (bias_variance + weight_variance * float(centre.square().sum())) / num_classes
    return math.sqrt(variance)
