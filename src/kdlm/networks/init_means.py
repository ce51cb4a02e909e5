"""Mean outputs of untrained networks: Proposition 1, its extension to every layer, and Table 1."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdlm.data.prepared import first_images
from kdlm.networks.architectures import build
from kdlm.networks.devices import configure_torch, to_device
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


@contextmanager
def _observed(model: Network) -> Iterator[list[dict[str, Any]]]:
    """Collects a row for each layer that runs, in the order of the forward pass."""
    rows: list[dict[str, Any]] = []

    def observer(name: str, kind: str) -> Any:
        def observe(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # float64: the means sought are far below the outputs; and one cast for both
            # reductions, over axes: to flatten a channels_last tensor would be to copy it
            wide = output.double()
            per_image = wide.mean(dim=tuple(range(1, wide.ndim)))
            rows.append(
                {
                    "layer": name,
                    "depth": len(rows),
                    "kind": kind,
                    "mean": float(per_image.mean()),
                    "sd_over_images": float(per_image.std()),
                    "rms": float(torch.linalg.vector_norm(wide)) / math.sqrt(wide.numel()),
                    "predicted_sd": None,
                }
            )

        return observe

    hooks = [
        module.register_forward_hook(
            observer(name, "linear" if module is model.classifier else KINDS[type(module)])
        )
        for name, module in model.named_modules()
        if type(module) in KINDS
    ]
    try:
        yield rows
    finally:
        for hook in hooks:
            hook.remove()


def draw_init_means(spec: InitMeansSpec, data: Path, output: Path) -> None:
    """Write table ``means`` of one shard, drawn on the first images of the prepared ``data``.

    Raises:
        InputError: the data set cannot be read, or has fewer images than the spec asks for.

    """
    configure_torch(spec.threads)
    rows = layer_means(spec, first_images(data, spec.images))
    write_table("means", rows, output, spec.model_dump(mode="json"))


@torch.no_grad()
def layer_means(spec: InitMeansSpec, images: Tensor) -> list[dict[str, Any]]:
    """Rows of table ``means``: for each seed of ``spec`` the mean output of every layer.

    Given the mean feature f̄ over images, the mean logit w̄·f̄ + b̄ is a mean over K independent
    rows of the last layer, so its sd over seeds is √((σ_b² + σ_w² ‖f̄‖²)/K), whatever comes before.

    In mode ``train`` BatchNorm normalises by the statistics of these images, in mode ``eval`` by
    the running statistics of an untrained network, mean 0 and variance 1.

    Args:
        spec: network, initialisation, mode, seeds and number of classes K; each network depends on
            its own seed alone.
        images: (N, C, H, W), normalised, N at least 2.

    """
    _, channels, _, side = images.shape
    model = build(spec.architecture, spec.num_classes, channels, image_side=side)
    model.train(spec.batchnorm == "train")
    to_device(model, images.device)
    images = images.contiguous(memory_format=torch.channels_last)
    variances = classifier_variances(
        spec.initialisation, model.classifier.in_features, spec.num_classes
    )
    found: list[dict[str, Any]] = []
    for seed in range(spec.first_seed, spec.first_seed + spec.seeds):
        initialise(model, spec.initialisation, stream(seed, "initial means"))
        with _observed(model) as rows:
            features = model.features(images)
            model.classifier(features)
        rows[-1]["predicted_sd"] = _predicted_sd(features, *variances, spec.num_classes)
        found += [{"seed": seed} | row for row in rows]
    return found


def _predicted_sd(
    features: Tensor, weight_variance: float, bias_variance: float, num_classes: int
) -> float:
    """Sd over seeds of the mean logit, given the features (N, F) of the last layer."""
    centre = features.double().mean(dim=0)
    variance = (bias_variance + weight_variance * float(centre.square().sum())) / num_classes
    return math.sqrt(variance)
