"""The facts that a config is checked against are those of the registries."""

import inspect

import pytest

from kdlm import losses
from kdlm.data import loaders
from kdlm.networks import architectures, initialisation
from kdlm.study import names


def test_every_registry_has_the_names_of_the_config() -> None:
    assert set(losses.LOSSES) == set(names.LOSSES)
    assert set(architectures.ARCHITECTURES) == set(names.ARCHITECTURES)
    assert set(initialisation.INITIALISATIONS) == set(names.INITIALISATIONS)
    assert set(loaders.DATASETS) == set(names.DATASETS)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_loss_needs_the_arguments_of_its_function(name: str) -> None:
    parameters = inspect.signature(losses.LOSSES[name]).parameters
    required = [key for key, one in parameters.items() if one.default is one.empty]
    assert required == ["student_logits", *names.LOSSES[name].needs]


def test_labels_tell_losses_apart() -> None:
    labels = [facts.label for facts in names.LOSSES.values()]
    assert len(set(labels)) == len(labels)
