"""CITATION.cff is valid, and what is deposited beside the source says the same."""

import importlib.util
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import kdlm

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads(Path(__file__).with_name("cff-1.2.0.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def citation() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return loaded


def test_the_citation_is_valid(citation: dict[str, Any]) -> None:
    jsonschema.validate(citation, SCHEMA, jsonschema.Draft7Validator)


def test_two_authors_with_one_name_are_not(citation: dict[str, Any]) -> None:
    for author in citation["references"][0]["authors"]:
        author.pop("given-names")
    with pytest.raises(jsonschema.ValidationError, match="non-unique"):
        jsonschema.validate(citation, SCHEMA, jsonschema.Draft7Validator)


def test_the_versions_are_one(citation: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == kdlm.__version__ == project["version"]
    assert citation["license"] == project["license"]


@pytest.mark.parametrize("name", [".zenodo.json", "codemeta.json"])
def test_what_is_generated_is_what_is_there(name: str) -> None:
    spec = importlib.util.spec_from_file_location("metadata", ROOT / "docs/metadata.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / name).read_text(encoding="utf-8") == module.generated()[name], "make metadata"
