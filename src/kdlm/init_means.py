"""Mean outputs of untrained networks: Proposition 1, its extension to every layer, and Table 1."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn

from kdlm.initialisation import classifier_variances, initialise, stream
from kdlm.resnet import ARCHITECTURES, ResNet

__all__ = ["layer_means", "mean_logits", "summarise"]

KINDS: dict[type[nn.Module], str] = {
    nn.Conv2d: "convolution",
    nn.BatchNorm2d: "batchnorm",
    nn.Linear: "linear",
}


@contextmanager
def _observed(model: ResNet) -> Iterator[list[dict[str, Any]]]:
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
        module.register_forward_hook(observer(name, KINDS[type(module)]))
        for name, module in model.named_modules()
        if type(module) in KINDS
    ]
    try:
        yield rows
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def layer_means(
    architecture: str,
    seeds: Iterable[int],
    images: Tensor,
    initialisation: str,
    batchnorm: str,
    num_classes: int,
) -> pd.DataFrame:
    """Table ``means``: for each seed the mean output of every layer.

    Given the mean feature f̄ over images, the mean logit w̄·f̄ + b̄ is a mean over K independent
    rows of the last layer, so its sd over seeds is √((σ_b² + σ_w² ‖f̄‖²)/K), whatever comes before.

    Args:
        architecture: a name of `kdlm.resnet.ARCHITECTURES`.
        seeds: of the weights; each network depends on its own seed alone.
        images: (N, C, H, W), normalised, N at least 2.
        initialisation: a name of `kdlm.initialisation.INITIALISATIONS`.
        batchnorm: ``train`` normalises by the statistics of these images, ``eval`` by the running
            statistics of an untrained network, mean 0 and variance 1.
        num_classes: K.

    Raises:
        ValueError: an unknown name or mode.

    """
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"unknown architecture {architecture!r}; known: {', '.join(ARCHITECTURES)}"
        )
    if batchnorm not in ("train", "eval"):
        raise ValueError(f"batchnorm must be train or eval, not {batchnorm!r}")
    model = ARCHITECTURES[architecture](num_classes=num_classes, in_channels=images.shape[1])
    model.train(batchnorm == "train")
    # torch annotates the memory format of tensors only
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = images.contiguous(memory_format=torch.channels_last)
    width = model.classifier.in_features
    weight_variance, bias_variance = classifier_variances(initialisation, width, num_classes)
    found: list[dict[str, Any]] = []
    for seed in seeds:
        initialise(model, initialisation, stream(seed, "initial means"))
        with _observed(model) as rows:
            features = model.features(images)
            model.classifier(features)
        centre = features.double().mean(dim=0)
        variance = (bias_variance + weight_variance * float(centre.square().sum())) / num_classes
        rows[-1]["predicted_sd"] = math.sqrt(variance)
        found += [{"seed": seed} | row for row in rows]
    return pd.DataFrame(found)


def mean_logits(
    architecture: str,
    seeds: Iterable[int],
    images: Tensor,
    initialisation: str,
    batchnorm: str,
    num_classes: int,
) -> Tensor:
    """Mean logit over images and classes, (seeds,) float64; see `layer_means`."""
    rows = layer_means(architecture, seeds, images, initialisation, batchnorm, num_classes)
    return torch.from_numpy(rows.loc[rows["kind"] == "linear", "mean"].to_numpy(copy=True))


def summarise(means: pd.DataFrame) -> pd.DataFrame:
    """Table ``init_means`` of one protocol's ``means``: a row per layer, moments over seeds.

    The 95 % confidence interval is Student's; of a single seed it is NaN, as are sd and error.
    """
    groups = means.groupby(["layer", "depth", "kind"], sort=False)
    summary = groups["mean"].agg(seeds="size", mean="mean", sd="std").reset_index()
    summary["standard_error"] = summary["sd"] / np.sqrt(summary["seeds"])
    half = stats.t.ppf(0.975, summary["seeds"] - 1) * summary["standard_error"]
    summary["ci_low"], summary["ci_high"] = summary["mean"] - half, summary["mean"] + half
    for column in ("rms", "predicted_sd"):
        squares = means.assign(square=means[column].astype(float).pow(2))
        of_layer = squares.groupby(["layer", "depth", "kind"], sort=False)["square"]
        summary[column] = np.sqrt(of_layer.mean()).to_numpy()
    return summary
