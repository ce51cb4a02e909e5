"""The variances that initialisations state of a mean logit, against draws."""

import pytest
import torch
from torch import Tensor, nn

from kdlm.networks.initialisation import INITIALISATIONS, classifier_variances, initialise, stream

FEATURES, CLASSES, SEEDS = 48, 6, 400


class _Classifier(nn.Module):
    """The last layer alone."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(FEATURES, CLASSES)

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits


@pytest.mark.parametrize("name", INITIALISATIONS)
def test_the_stated_variances_are_those_of_the_mean_over_classes(name: str) -> None:
    model = _Classifier()
    weights, biases = [], []
    for seed in range(SEEDS):
        initialise(model, name, stream(seed, "draws"))
        weights.append(model.classifier.weight.detach().double().mean(dim=0))
        biases.append(model.classifier.bias.detach().double().mean())
    weight_variance, bias_variance = classifier_variances(name, FEATURES, CLASSES)
    # of a mean over K rows, times K; its relative standard error is √(2/n)
    found = CLASSES * float(torch.stack(weights).square().mean())
    assert found == pytest.approx(
        weight_variance, rel=5 * (2 / (SEEDS * FEATURES)) ** 0.5, abs=1e-14
    )
    found = CLASSES * float(torch.stack(biases).square().mean())
    assert found == pytest.approx(bias_variance, rel=5 * (2 / SEEDS) ** 0.5, abs=1e-14)
