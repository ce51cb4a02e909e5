"""The parts from which ``make docs`` builds the site, without building it."""

import doctest
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.docs.links import faults

ROOT = Path(__file__).parents[2]


@pytest.fixture
def reference() -> ModuleType:
    """The module that makes the tables of docs/configuration.md."""
    path = ROOT / "docs/_ext/config_reference.py"
    spec = importlib.util.spec_from_file_location("config_reference", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_examples_of_the_tables_hold(
    reference: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "config_reference", reference)
    assert doctest.testmod(reference).failed == 0
    assert doctest.testmod(reference).attempted >= 4


def test_every_key_is_in_the_tables_with_its_description(reference: ModuleType) -> None:
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    rows = {}
    for section in reference.tables(schema).split("\n## ")[1:]:
        cells = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
        rows[section.splitlines()[0]] = {one[0].strip("| `"): one for one in cells}
    for name, described in {"The config": schema, **schema["$defs"]}.items():
        assert list(rows[name]) == list(described["properties"])
        for key, value in described["properties"].items():
            assert len(rows[name][key]) == 4, f"{name}.{key}: a bar has split a cell"
            required = key in described.get("required", ())
            assert (rows[name][key][2] == "required") == required
            assert reference.escaped(value["description"]) in rows[name][key][3]


def test_the_page_has_one_place_for_the_tables(reference: ModuleType) -> None:
    assert (ROOT / "docs/configuration.md").read_text().count(reference.MARK) == 1


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="gone.html">x</a>', "gone.html leads to no file"),
        ('<a href="#gone">x</a>', "#gone leads to no anchor"),
        ('<a href="../outside.html">x</a>', "../outside.html leads to no file"),
        ('<script src="https://host/a.js"></script>', "loads https://host/a.js"),
        ('<link rel="stylesheet" href="//host/a.css">', "loads //host/a.css"),
        ('<b style="background: url(https://host/a.png)">x</b>', "loads https://host/a.png"),
        ("<p>no fault</p>", None),
        ('<a href="#here">x</a><a href="https://host/">x</a><p id="here">', None),
    ],
)
def test_a_link_that_leads_nowhere_or_elsewhere_is_found(
    body: str, fault: str | None, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "outside.html").write_text("")
    (site / "index.html").write_text(f"<html><body>{body}</body></html>")
    found = list(faults(site))
    assert len(found) == (fault is not None), found
    assert fault is None or fault in found[0]


def test_a_style_that_loads_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>")
    (tmp_path / "a.css").write_text("@font-face { src: url(https://host/a.woff2) }")
    assert [one for one in faults(tmp_path) if "https://host/a.woff2 from another" in one]


def test_a_site_without_pages_is_a_fault(tmp_path: Path) -> None:
    assert list(faults(tmp_path))
