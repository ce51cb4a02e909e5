"""The bare names a config is checked against are those of the registries."""

from kdlm import losses
from kdlm.data import loaders as data
from kdlm.networks import initialisation, resnet
from kdlm.study import names


def test_every_registry_has_the_names_of_the_config() -> None:
    assert set(losses.LOSSES) == set(names.LOSSES)
    assert set(resnet.ARCHITECTURES) == set(names.ARCHITECTURES)
    assert set(initialisation.INITIALISATIONS) == set(names.INITIALISATIONS)
    assert set(data.DATASETS) == set(names.DATASETS)
