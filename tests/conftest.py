"""A study that is tiny but whole, for the tests."""

import copy
from typing import Any

import pytest
import yaml

pytest_plugins = ["tests.fault_report", "tests.finished_study"]

TINY = """
study: tiny
dataset: {name: digits}
device: cpu
threads: 1
recipes:
  short: {optimizer: sgd, learning_rate: 0.05, momentum: 0.9, weight_decay: 0,
          schedule: {name: constant}, epochs: 1, batch_size: 256, augment: true}
teachers:
  - {architecture: resnet8, initialisation: he, recipe: short}
arms:
  - {teacher: resnet8-he-short, architecture: resnet8, initialisation: he, recipe: short,
     losses: [ce, kd, lm], temperatures: [4, .inf], mean_gaps: [0], seeds: [0, 1]}
  - {teacher: resnet8-he-short, architecture: resnet8, initialisation: he, recipe: short,
     losses: [kd], temperatures: [4], mean_gaps: [0, 5], perturbations: [0, 1], seeds: [0]}
init_means:
  dataset: {name: photographs}
  images: 4
  num_classes: 10
  architectures: [resnet8]
  initialisations: [he]
  batchnorm: [train, eval]
  seeds: 3
  shard_size: 2
theory: {temperatures: [1, 100, 1000, 10000, .inf], samples: 20}
margins:
  identity: 1.0e-9
  limit: 1.0e-2
  slope: [-1.1, -0.9]
  scale: 10
  gradient_sum: 1.0e-6
  drift: 0.05
  classifier_sum: 1.0e-4
  trained: 0.1
  rounding: 0.01
  floor: 0.3
  agreement: 0.02
  accuracy: 0.01
  shrinkage: 0.95
  initial_mean: 0.3
  layer_mean: 0.05
  plausibility: 0.05
"""


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """The tiny config; not to be changed."""
    loaded: dict[str, Any] = yaml.safe_load(TINY)
    return loaded


@pytest.fixture
def config(tiny: dict[str, Any]) -> dict[str, Any]:
    """A copy of the tiny config, to be changed at will."""
    return copy.deepcopy(tiny)
