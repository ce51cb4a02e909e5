"""The tables of docs/configuration.md, generated from the schema of a config at each build."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from kdlm.study import names

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARK = "<!-- the tables of all keys -->"
"""The line of the page in whose place the tables stand."""

SCHEMA = Path(__file__).parents[2] / "workflow/schemas/config.schema.yaml"
# Schema keywords that limit a number or a length, and how each is written.
BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minItems": "at least {}",
    "maxItems": "at most {}",
}


def anchor(definition: str) -> str:
    """Return the name by which links find the table of a definition.

    >>> anchor("DatasetConfig")
    'config-datasetconfig'
    """
    return f"config-{definition.lower()}"


def kind(schema: Mapping[str, Any]) -> str:
    """Return what values a key takes, as Markdown: its type with bounds, or its choices.

    >>> kind({"type": "integer", "minimum": 1, "maximum": 9})
    'integer, ≥ 1, ≤ 9'
    >>> kind({"type": "array", "items": {"enum": ["train", "eval"]}, "minItems": 1})
    'list of `train` or `eval`, at least 1'
    """
    match schema:
        case {"$ref": reference}:
            definition = reference.rpartition("/")[2]
            return f"[{definition}](#{anchor(definition)})"
        case {"anyOf": kinds}:
            shown = [kind(one) for one in kinds if one != {"type": "null"}]
            return " or ".join(shown)
        case {"enum": choices}:
            return " or ".join(f"`{one}`" for one in choices)
        case {"type": "array", "prefixItems": items}:
            return f"list of {len(items)}: {', '.join(kind(one) for one in items)}"
        case {"type": "array", "items": items}:
            shown = f"list of {plural(kind(items))}"
        case {"type": "object"}:
            values = schema.get("additionalProperties") or next(
                iter(schema["patternProperties"].values())
            )
            return f"{kind(values)} by name"
        case _:
            shown = str(schema["type"])
    limits = [
        text.format("2⁶³" if schema[word] == 2**63 else schema[word])
        for word, text in BOUNDS.items()
        if word in schema
    ]
    return ", ".join([shown, *limits])


def plural(values: str) -> str:
    """Return the plural of a plain type in front of its bounds; of a link or choices, the same.

    >>> plural("integer, ≥ 0"), plural("number or string"), plural("`train` or `eval`")
    ('integers, ≥ 0', 'numbers or strings', '`train` or `eval`')
    """
    return re.sub(r"\b(number|integer|string)\b", r"\1s", values)


def default(schema: Mapping[str, Any], required: bool) -> str:
    """Return what happens where a key is left out, as Markdown.

    A default that is a mapping is described, key by key, in the table of its own definition.
    """
    if required:
        return "required"
    value = schema.get("default")
    if value is None or isinstance(value, Mapping):
        return ""
    # YAML ends a document that is a single number or word with a line of three dots
    text = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    return f"`{text}`"


def escaped(text: str) -> str:
    r"""Return ``text`` so that a cell of a Markdown table shows it as it is.

    >>> print(escaped("|sum g| of <name>"))
    \|sum g\| of \<name\>
    """
    for character in "\\|<>*_":
        text = text.replace(character, f"\\{character}")
    return text


def table(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of all keys of one object of a schema."""
    yield "| key | values | default | meaning |"
    yield "|---|---|---|---|"
    required = schema.get("required", ())
    for name, key in schema["properties"].items():
        cells = (
            f"`{name}`",
            kind(key),
            default(key, name in required),
            escaped(key["description"]),
        )
        yield f"| {' | '.join(cells)} |"


def listed() -> Iterator[str]:
    """Yield the lines of the section on the names that a config can use."""
    yield "## Names"
    yield ""
    for title, known in (
        ("Losses", names.LOSSES),
        ("Architectures", names.ARCHITECTURES),
        ("Initialisations", names.INITIALISATIONS),
        ("Data sets", names.DATASETS),
        ("Means", names.MEANS),
    ):
        yield f"- {title}: {', '.join(f'`{name}`' for name in known)}"
    yield ""


def tables(schema: Mapping[str, Any]) -> str:
    """Return the reference as Markdown: a section for the config, and for each object in it."""
    lines = [*listed(), "## The config", "", *table(schema), ""]
    for name, definition in sorted(schema["$defs"].items()):
        # further paragraphs of a description are for who changes the code
        summary = definition["description"].split("\n\n")[0]
        lines += [f"({anchor(name)})=", f"## {name}", "", summary, "", *table(definition), ""]
    return "\n".join(lines)


def insert(app: "Sphinx", _docname: str, source: list[str]) -> None:
    """Put the tables into the page as Sphinx reads it."""
    if MARK in source[0]:
        app.env.note_dependency(str(SCHEMA))
        schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
        source[0] = source[0].replace(MARK, tables(schema))


def setup(app: "Sphinx") -> dict[str, bool]:
    """Have Sphinx call `insert` for every page."""
    app.connect("source-read", insert)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
