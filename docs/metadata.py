"""Write .zenodo.json and codemeta.json, for deposits, from CITATION.cff and pyproject.toml.

Run it after a change of either file: ``make metadata``. A test compares.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]

Json = dict[str, Any]


def zenodo(citation: Json, project: Json) -> Json:
    """Return the metadata of a deposit at Zenodo."""
    return {
        "title": citation["title"],
        "upload_type": citation["type"],
        "description": project["description"],
        "creators": [{"name": author["name"]} for author in citation["authors"]],
        "license": citation["license"],
        "version": citation["version"],
        "keywords": citation["keywords"],
        "related_identifiers": [
            {
                "identifier": identifier["value"],
                "relation": "references",
                "resource_type": "publication-preprint",
            }
            for work in citation["references"]
            for identifier in work["identifiers"]
        ],
    }


def codemeta(citation: Json, project: Json) -> Json:
    """Return the description of the software in the terms of CodeMeta 3.0, as JSON-LD."""
    return {
        "@context": "https://w3id.org/codemeta/3.0",
        "@type": "SoftwareSourceCode",
        "name": project["name"],
        "description": project["description"],
        "version": citation["version"],
        "license": f"https://spdx.org/licenses/{citation['license']}",
        "author": [
            {"@type": "Organization", "name": author["name"]} for author in citation["authors"]
        ],
        "keywords": citation["keywords"],
        "programmingLanguage": "Python",
        "runtimePlatform": f"Python {project['requires-python']}",
        "softwareRequirements": project["dependencies"],
        "referencePublication": [
            {
                "@type": "ScholarlyArticle",
                "@id": work["url"],
                "name": work["title"],
                "author": [
                    {
                        "@type": "Person",
                        "familyName": author["family-names"],
                        "givenName": author["given-names"],
                    }
                    for author in work["authors"]
                ],
                "datePublished": str(work["year"]),
            }
            for work in citation["references"]
        ],
    }


def generated() -> dict[str, str]:
    """Return the text of each file that this program writes, by its name."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    described = {
        ".zenodo.json": zenodo(citation, project),
        "codemeta.json": codemeta(citation, project),
    }
    return {
        name: json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        for name, content in described.items()
    }


if __name__ == "__main__":
    for name, text in generated().items():
        (ROOT / name).write_text(text, encoding="utf-8")
