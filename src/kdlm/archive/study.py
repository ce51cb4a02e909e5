"""Archiving a finished study in one file, for a reviewer."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kdlm import __version__
from kdlm.archive import FORMAT
from kdlm.archive.contents import results, root_of
from kdlm.archive.crate import Described, describe_crate
from kdlm.archive.datasets import describe
from kdlm.archive.environment import installed
from kdlm.archive.names import FACTS, SOURCE
from kdlm.archive.packing import Content, Stored, pack, sha256_of, size_of
from kdlm.archive.places import without_places
from kdlm.archive.records import (
    Job,
    Record,
    check_sources,
    input_checksums,
    jobs,
    read_records,
)
from kdlm.archive.source import Source, operator, read_source
from kdlm.errors import InputError
from kdlm.storage.files import verify
from kdlm.study.config import Study
from kdlm.study.jobs import init_means_jobs, network_jobs

__all__ = ["archive_study"]

_README = """# Study {study} of kdlm, as it was run

Made by kdlm {version} at commit {commit}{changed}.

    sha256sum --check --strict --quiet manifest-sha256.txt
    python -m kdlm reproduce ARCHIVE.zip --level L0
    python -m kdlm reproduce ARCHIVE.zip --level L1 L4

The first needs nothing of this project; the others need the packages of source/requirements.lock
and `pip install --no-deps --editable source`, or any other checkout of kdlm. source/docs/archive.md
says what is where, what each level means, and what a refusal tells.
"""


def archive_study(
    study: Study,
    folder: Path,
    output: Path,
    *,
    weights: bool = False,
    small: bool = False,
    include_diff: bool = False,
) -> None:
    """Write the archive of the finished study in ``folder``, results/<study>, to ``output``.

    Two archives of the same results have the same bytes, whenever they are made.

    Args:
        study: the study.
        folder: its folder.
        output: path of the archive.
        weights: whether to archive the networks' weights.
        small: whether to leave out logits, initialisation means and PNG files.
        include_diff: whether the source may differ from its commit.

    Raises:
        InputError: the study is not finished or was run from other sources, an output is damaged,
            or the source differs from its commit and ``include_diff`` is false.

    """
    root = root_of(folder)
    place = Path("results", study.study)
    if not (root / place).is_dir() or not folder.samefile(root / place):
        raise InputError(f"{folder} is not {place}, the folder of its study")
    source = read_source(include_diff=include_diff)
    found = results(study, root, weights=weights, small=small)
    records = read_records(root, found.outputs)
    ran = tuple(jobs(records))
    check_sources(ran)
    outputs = {path.as_posix(): Stored.of(root / path) for path in found.outputs}
    _check_outputs(outputs, records)
    datasets = describe(study, root / place)
    left_out = _measured({path.as_posix(): outputs[path.as_posix()] for path in found.left_out})
    contents: dict[str, Content] = {
        **{path.as_posix(): outputs[path.as_posix()] for path in found.archived},
        **_traces(root, ran),
        "snakemake/records.json": _json(records),
        "specs.json": _json(_specs(study)),
        "datasets.json": _json(datasets),
        "environment/installed.json": _json(installed()),
        FACTS: _json(_facts(study, source, left_out)),
        "README.md": _readme(study, source),
        **({"source.diff": source.diff} if source.diff else {}),
    }
    crate = describe_crate(
        Described(
            study=study.study,
            commit=source.commit,
            agent=operator(),
            snakemake=version("snakemake"),
            files=_measured(contents),
            left_out=left_out,
            datasets=datasets,
            jobs=ran,
            hosts=_hosts(root, ran),
        )
    )
    files = {f"{SOURCE}/{name}": content for name, content in source.files.items()}
    pack({**contents, **files, **crate}, output)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _check_outputs(outputs: Mapping[str, Stored], records: Mapping[str, Record]) -> None:
    """Check outputs against their seals, and against the SHA-256 that jobs recorded on reading.

    Raises:
        InputError: an output is damaged, or has changed since a job read it.

    """
    read = input_checksums(records)
    for name, output in outputs.items():
        if output.path.suffix in (".parquet", ".safetensors"):
            verify(output.path)
        if other := read.get(name, set()) - {output.sha256}:
            raise InputError(
                f"{output.path} is not what the jobs after it read: its SHA-256 is "
                f"{output.sha256}, it was {other.pop()}; delete it, run snakemake --cores all "
                f"{shlex.quote(name)}, then snakemake, and archive again"
            )


def _measured(contents: Mapping[str, Content]) -> dict[str, tuple[int, str]]:
    """Return size in bytes and SHA-256 of each content by name, sorted by name."""
    return {name: (size_of(contents[name]), sha256_of(contents[name])) for name in sorted(contents)}


def _traces(root: Path, ran: Iterable[Job]) -> dict[str, Content]:
    """Return the logs and benchmarks of the jobs, by path.

    A log may contain folders of the machine and the user's name, in a warning for example. They are
    removed (`without_places`). The rest is unchanged, and that includes the host in the last line.
    """
    names = {name for job in ran for name in (*job.logs, job.benchmark)}
    return {
        name: without_places((root / name).read_bytes())
        for name in names
        if (root / name).is_file()
    }


def _specs(study: Study) -> dict[str, Any]:
    """Return the spec of every training and initialisation job, by the job's folder."""
    return {
        job.folder.as_posix(): job.spec.model_dump(mode="json")
        for job in (*network_jobs(study), *init_means_jobs(study))
    }


def _facts(study: Study, source: Source, left_out: Mapping[str, tuple[int, str]]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kdlm": __version__,
        "study": study.study,
        "source": {"commit": source.commit, "as_committed": not source.diff},
        "left_out": {
            name: {"bytes": size, "sha256": digest} for name, (size, digest) in left_out.items()
        },
    }


def _readme(study: Study, source: Source) -> bytes:
    changed = ", and what source.diff adds to it" if source.diff else ""
    return _README.format(
        study=study.study, version=__version__, commit=source.commit, changed=changed
    ).encode()


def _hosts(root: Path, ran: Iterable[Job]) -> dict[Job, str]:
    """Return the host of each job, read from the last line of its log."""
    hosts = {}
    for job in ran:
        for name in job.logs:
            text = (root / name).read_text(errors="replace") if (root / name).is_file() else ""
            if match := re.search(r"^finished on (\S+)\n*\Z", text, re.MULTILINE):
                hosts[job] = match[1]
    return hosts
