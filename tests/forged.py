"""Archives that lie: what a stranger can put into a zip whose checksums are all right."""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdlm.archive.contents import expected
from kdlm.archive.manifest import format_manifest
from kdlm.archive.names import CRATE, FACTS, MANIFEST
from kdlm.archive.packing import Content, entry, pack
from kdlm.reproduce.unpacked import Facts, Unpacked
from kdlm.study.config import parse

__all__ = ["bare", "changed", "made_up", "repacked", "without_other_records"]

RECORDS = "snakemake/records.json"
STUDY = "results/tiny/study.json"
CLAIMS = "results/tiny/claims.parquet"
LEFT_OUT = "results/tiny/data/digits.safetensors"


def changed(archive: Path, path: Path, changes: Mapping[str, bytes | None]) -> Path:
    """A copy of an archive in which files are others, or gone; its manifest is true to them."""
    with zipfile.ZipFile(archive) as opened:
        contents: dict[str, Content] = {
            name: opened.read(name) for name in opened.namelist() if name != MANIFEST
        }
    for name, data in changes.items():
        if data is None:
            del contents[name]
        else:
            contents[name] = data
    pack(contents, path)
    return path


def without_other_records(archive: Path) -> dict[str, bytes]:
    """Records and crate as a forger would make them: with nothing that contradicts."""
    with zipfile.ZipFile(archive) as opened:
        records = json.loads(opened.read(RECORDS))
        crate = json.loads(opened.read(CRATE))
    for record in records.values():
        record["input_checksums"] = {}
    for entity in crate["@graph"]:
        entity.pop("sha256", None)
    return {RECORDS: json.dumps(records).encode(), CRATE: json.dumps(crate).encode()}


def repacked(path: Path, entries: Iterable[tuple[str, bytes]]) -> Path:
    """A zip of any entries, as `pack` writes it but that it refuses none, with their manifest."""
    every = list(entries)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in every}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in sorted([*every, (MANIFEST, format_manifest(digests))]):
            info = entry(name)
            info.filename = name
            archive.writestr(info, data, compresslevel=9)
    return path


def made_up(config: Mapping[str, Any]) -> dict[str, bytes]:
    """Contents of a small archive of study tiny that L0 holds for, most of it left out."""
    files = {
        "README.md": b"what this is\n",
        STUDY: json.dumps(config).encode(),
        CLAIMS: b"PAR1 not read by L0 PAR1",
        "results/tiny/logs/judge.log": b"finished on a machine\n",
        "source/src/kdlm/__main__.py": b"raise SystemExit(0)\n",
        "source/Snakefile": b"rule all:\n",
        "environment/installed.json": b"{}",
    }
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    prepared = hashlib.sha256(b"prepared").hexdigest()
    records = {
        STUDY: {"rule": "resolve", "input": [], "input_checksums": {}, "starttime": 1.0},
        CLAIMS: {
            "rule": "judge",
            "input": [STUDY, LEFT_OUT],
            "input_checksums": {
                STUDY: f"sha256:{digests[STUDY]}", LEFT_OUT: f"sha256:{prepared}",
            },
            "starttime": 2.5,
        },
    }  # fmt: skip
    facts = {
        "format": 1,
        "kdlm": "0.1.0",
        "study": "tiny",
        "source": {"commit": "0" * 40, "as_committed": True},
        "left_out": {
            name: {"bytes": 8, "sha256": prepared}
            for name in (f"results/tiny/{one}" for one in expected(parse(config), ()))
            if name not in files
        },
    }
    graph = [
        {"@id": name, "name": name, "contentSize": str(len(data)), "sha256": digests[name]}
        for name, data in files.items()
    ]
    told = {FACTS: facts, RECORDS: records, CRATE: {"@graph": [*graph, {"@id": "#agent"}]}}
    return files | {name: json.dumps(value).encode() for name, value in told.items()}


def bare(
    folder: Path, config: Mapping[str, Any], digests: dict[str, str] | None = None
) -> Unpacked:
    """What an archive of study tiny, of which ``folder`` holds the config alone, is opened to."""
    facts = Facts(study="tiny", kdlm="", commit=None, as_committed=False, left_out={})
    unpacked = Unpacked(Path("a.zip"), folder, "", digests or {}, facts)
    unpacked.results.mkdir(parents=True, exist_ok=True)
    (unpacked.results / "study.json").write_text(json.dumps(config))
    return unpacked
