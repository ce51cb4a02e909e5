"""Margins: defaults in one place, which configs of any age can be read against."""

import logging
from typing import Any

import pytest

from kdlm.errors import InputError
from kdlm.study import margins
from kdlm.study.config import parse
from kdlm.study.margins import Margins

Config = dict[str, Any]


def test_a_config_names_what_it_sets_otherwise(config: Config) -> None:
    config["margins"] = {"drift": 0.2}
    assert parse(config).margins == Margins(drift=0.2)
    del config["margins"]
    assert parse(config).margins == Margins()


def test_the_resolved_config_has_them_all(config: Config) -> None:
    config["margins"] = {}
    resolved = parse(config).model_dump(mode="json")["margins"]
    assert set(resolved) == set(Margins.model_fields)
    assert None not in resolved.values()


def test_a_margin_that_is_new_makes_no_older_config_unreadable(config: Config) -> None:
    for key in Margins.model_fields:
        older = {k: v for k, v in Margins().model_dump().items() if k != key}
        assert parse(config | {"margins": older}).margins == Margins()


def test_a_retired_margin_is_read_and_its_successor_named(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(margins.RETIRED, "distance", "set trained instead")
    config["margins"] = {"distance": 0.4, "drift": 0.2}
    with caplog.at_level(logging.WARNING):
        assert parse(config).margins == Margins(drift=0.2)
    assert caplog.messages == ["config: margins.distance is no longer used: set trained instead"]


def test_the_share_of_other_predictions_is_now_one_of_that_of_two_seeds(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    config["margins"] = {"agreement": 0.02}
    with caplog.at_level(logging.WARNING):
        assert parse(config).margins == Margins(seed_disagreement=1.0)
    assert "margins.agreement is no longer used: set seed_disagreement" in caplog.text


def test_an_unknown_margin_is_refused_with_the_nearest(config: Config) -> None:
    config["margins"] = {"drifts": 0.2}
    with pytest.raises(InputError, match=r"margins\.drifts.*'drift'"):
        parse(config)


def test_the_floor_is_retired_in_favour_of_the_ladder(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    config["margins"] = {"floor": 0.3}
    with caplog.at_level(logging.WARNING):
        assert parse(config).margins == Margins()
    (message,) = caplog.messages
    assert "margins.floor is no longer used" in message
    assert "relative_perturbations" in message
