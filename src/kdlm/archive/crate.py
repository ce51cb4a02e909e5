"""The archive's metadata: a Provenance Run Crate 0.5 (based on RO-Crate 1.1), as JSON-LD."""

import json
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from rocrate.model.contextentity import ContextEntity
from rocrate.model.entity import Entity
from rocrate.model.preview import Preview
from rocrate.rocrate import ROCrate

from kdlm import __version__
from kdlm.archive.names import CRATE, FACTS, PREVIEW, SOURCE
from kdlm.archive.records import Job

__all__ = ["Described", "describe_crate", "iso"]

_WORKFLOW = f"{SOURCE}/workflow/Snakefile"
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
_SHA256 = "https://w3id.org/ro/terms/workflow-run#sha256"
_COMPLETED = "http://schema.org/CompletedActionStatus"
_BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
_FORMATS = {
    ".diff": "text/x-diff",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".safetensors": "application/octet-stream",
    ".tsv": "text/tab-separated-values",
}


@dataclass(frozen=True)
class Described:
    """The facts that a crate describes."""

    study: str
    commit: str
    agent: str
    """Name of the person who archives the study."""
    snakemake: str
    """Version of Snakemake."""
    files: Mapping[str, tuple[int, str]]
    """Size in bytes and SHA-256 of every archived file except those of the source, by name."""
    left_out: Mapping[str, tuple[int, str]]
    """Size in bytes and SHA-256 of every output that is not archived, by name."""
    datasets: Mapping[str, Mapping[str, Any]]
    """The facts of `kdlm.archive.datasets.describe`."""
    jobs: tuple[Job, ...]
    hosts: Mapping[Job, str]
    """The host that each job ran on, where its log names it."""


def iso(seconds: float) -> str:
    """Return a time, in seconds since 1970, as ISO 8601 text in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def describe_crate(described: Described) -> dict[str, bytes]:
    """Return the crate's metadata and their preview for a browser, each by the name of its file.

    Equal facts give equal bytes.
    """
    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms = {"sha256": _SHA256}
    agent = _context(crate, "#agent", "Person", name=described.agent)
    _describe_root(crate, described, agent)
    workflow = _add_workflow(crate, described)
    _add_files(crate, described)
    actions = [_add_job(crate, described, job, agent) for job in described.jobs]
    _add_run(crate, described, workflow, actions, agent)
    preview = crate.add(Preview(crate))
    text = json.dumps(crate.metadata.generate(), indent=1, sort_keys=True, ensure_ascii=False)
    # rocrate shows the licence as Python prints its entity, which a browser takes for a tag
    html = preview.generate_html().replace(f"<dd>{crate.license}</dd>", "<dd>MIT License</dd>")
    return {CRATE: f"{text}\n".encode(), PREVIEW: html.encode()}


def _context(crate: ROCrate, identifier: str, kind: str, **properties: Any) -> Entity:
    """Return the contextual entity with this identifier; add it if the crate has none."""
    return _known(crate, identifier) or crate.add(
        ContextEntity(crate, identifier, properties={"@type": kind, **properties})
    )


def _known(crate: ROCrate, identifier: str) -> Entity | None:
    """Return the entity with this identifier, or None.

    rocrate's own look-up of what is not there goes through all entities.
    """
    return crate.get(identifier) if identifier in crate else None


def _describe_root(crate: ROCrate, described: Described, agent: Entity) -> None:
    crate.name = f"Study {described.study} of kdlm, as it was run"
    crate.description = (
        "Is knowledge distillation at infinite temperature the same as logits matching? Results, "
        "the source and commands that made them, and what is needed to check both."
    )
    crate.license = _context(
        crate,
        "https://spdx.org/licenses/MIT",
        "CreativeWork",
        name="MIT License",
        description="Use, copies and changes are free where the copyright notice is kept",
    )
    # The time of archiving is left out, so that two archives of the same results are equal.
    crate.datePublished = iso(max(job.ended for job in described.jobs))
    crate.root_dataset["author"] = agent
    crate.publisher = _context(crate, "#authors", "Organization", name="The kdlm authors")
    crate.root_dataset["citation"] = _add_paper(crate)
    crate.root_dataset["conformsTo"] = [
        _context(crate, uri, "CreativeWork", name=name, version=version)
        for uri, (name, version) in _PROFILES.items()
    ]


def _add_paper(crate: ROCrate) -> Entity:
    """Add the paper that the study examines, as CITATION.cff names it."""
    authors = [
        _context(
            crate,
            f"#{given}-{family}".lower(),
            "Person",
            name=f"{given} {family}",
            givenName=given,
            familyName=family,
        )
        for given, family in (("Defang", "Chen"), ("Can", "Wang"), ("Chun", "Chen"))
    ]
    return _context(
        crate,
        "https://arxiv.org/abs/2109.06458",
        "ScholarlyArticle",
        name="Exploring the Connection between Knowledge Distillation and Logits Matching",
        author=authors,
        datePublished="2021",
    )


def _add_workflow(crate: ROCrate, described: Described) -> Entity:
    """Add the Snakefile with a step for each rule, in an order in which the rules can run."""
    workflow = crate.add_workflow(
        dest_path=_WORKFLOW,
        main=True,
        lang="snakemake",
        lang_version=described.snakemake,
        properties={
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            "name": "kdlm",
            "description": "Teachers, students, initialisation means, theory, claims, figures",
            "version": described.commit,
            "encodingFormat": "text/plain",
            "url": f"{SOURCE}/README.md",
            "license": {"@id": "https://spdx.org/licenses/MIT"},
            "conformsTo": {"@id": _BIOSCHEMAS},
        },
    )
    crate.add_dataset(
        dest_path=SOURCE,
        properties={"name": "source", "description": f"The checkout at commit {described.commit}"},
    )
    for position, rule in enumerate(dict.fromkeys(job.rule for job in described.jobs)):
        command = next(job.command for job in described.jobs if job.rule == rule)
        tool = _context(
            crate,
            f"{_WORKFLOW}#{rule}",
            "SoftwareApplication",
            name=" ".join(command.split()[:4]),
            description=f"What rule {rule} runs",
            softwareVersion=__version__,
            url=f"{SOURCE}/README.md",
        )
        step = _context(
            crate,
            f"{_WORKFLOW}#step-{rule}",
            "HowToStep",
            name=rule,
            position=str(position),
            workExample=tool,
        )
        workflow.append_to("hasPart", tool)
        workflow.append_to("step", step)
    return workflow


def _add_files(crate: ROCrate, described: Described) -> None:
    for name, (size, digest) in described.files.items():
        kind = _FORMATS.get(PurePosixPath(name).suffix) or mimetypes.guess_type(name)[0]
        crate.add_file(
            dest_path=name,
            properties={
                "name": name,
                "contentSize": str(size),
                "encodingFormat": kind or "application/octet-stream",
                "sha256": digest,
            },
        )
    for name, (size, digest) in described.left_out.items():
        _context(
            crate,
            _left_out(name),
            "CreativeWork",
            name=name,
            description="Not archived; what it was",
            size=f"{size} bytes",
            sha256=digest,
        )
    for name, dataset in described.datasets.items():
        # The jobs that read a dataset have its prepared file as input, so facts about the dataset
        # are added to the entity of that file.
        entity = crate.get(_left_out(f"results/{described.study}/data/{name}.safetensors"))
        entity["description"] = f"{dataset['title']}; not archived, licence: {dataset['licence']}"
        if dataset["url"]:
            entity["url"] = dataset["url"]


def _left_out(name: str) -> str:
    return f"#left-out/{name}"


def _entity(crate: ROCrate, name: str) -> Entity:
    """Return the entity of a file, archived or left out."""
    return _known(crate, quote(name)) or _known(crate, _left_out(name))


def _compact(entities: list[Entity]) -> Entity | list[Entity]:
    """Return the entities as JSON-LD has them: a single one without a list."""
    return entities[0] if len(entities) == 1 else entities


def _add_job(crate: ROCrate, described: Described, job: Job, agent: Entity) -> Entity:
    """Add a job as an action; return the action of the workflow step that ran it."""
    identifier = f"{job.rule}-{sha256(job.outputs[0].encode()).hexdigest()[:12]}"
    action = crate.add_action(
        crate.get(f"{_WORKFLOW}#{job.rule}"),
        identifier=f"#job-{identifier}",
        object=_compact([_entity(crate, name) for name in job.inputs]),
        result=_compact([_entity(crate, name) for name in job.outputs]),
        properties={
            "name": f"{job.rule}: {PurePosixPath(job.outputs[0]).parent}",
            "description": job.command,
            "startTime": iso(job.started),
            "endTime": iso(job.ended),
            "actionStatus": _COMPLETED,
            "agent": agent,
        },
    )
    if host := described.hosts.get(job):
        action["location"] = _context(crate, f"#host-{host}", "Place", name=host)
    for name in (*job.logs, job.benchmark):
        if name in described.files:
            _entity(crate, name)["about"] = action
    crate.root_dataset.append_to("mentions", action)
    return crate.add_action(
        crate.get(f"{_WORKFLOW}#step-{job.rule}"),
        identifier=f"#step-{identifier}",
        object=action,
        properties={
            "@type": "ControlAction",
            "name": f"step {job.rule}",
            "actionStatus": _COMPLETED,
        },
    )


def _add_run(
    crate: ROCrate, described: Described, workflow: Entity, steps: list[Entity], agent: Entity
) -> None:
    """Add the action of the whole run, and that of Snakemake, which organised it."""
    folder = f"results/{described.study}"
    reports = (f"{folder}/report.html", f"{folder}/answer.txt")
    study = _entity(crate, f"{folder}/study.json")
    results = [
        _entity(crate, name)
        for name in described.files
        if name.startswith(
            (f"{folder}/tables/", f"{folder}/figures/", f"{folder}/claims", *reports)
        )
    ]
    for slot, text, entities in (
        ("input", "The resolved config", [study]),
        ("output", "Tables, claims, figures and the report", results),
    ):
        parameter = crate.add_formal_parameter(
            slot, "File", identifier=f"{_WORKFLOW}#{slot}", description=text
        )
        parameter["workExample"] = _compact(entities)
        workflow[slot] = parameter
        for entity in entities:
            entity["exampleOfWork"] = parameter
    start, end = (
        iso(min(job.started for job in described.jobs)),
        iso(max(job.ended for job in described.jobs)),
    )
    when = {"startTime": start, "endTime": end, "actionStatus": _COMPLETED, "agent": agent}
    datasets = [
        _entity(crate, f"{folder}/data/{name}.safetensors") for name in sorted(described.datasets)
    ]
    run = crate.add_action(
        workflow,
        identifier="#run",
        object=[study, *datasets],
        result=results,
        properties={
            "name": f"Run of study {described.study}",
            "description": f"The jobs of {folder}/study.json, as recorded in snakemake/",
            **when,
        },
    )
    crate.root_dataset.append_to("mentions", run)
    engine = _context(
        crate,
        "https://snakemake.readthedocs.io",
        "SoftwareApplication",
        name="Snakemake",
        url="https://snakemake.readthedocs.io",
        softwareVersion=described.snakemake,
    )
    organised = crate.add_action(
        engine,
        identifier="#engine",
        object=steps,
        result=run,
        properties={
            "@type": "OrganizeAction",
            "name": f"Snakemake {described.snakemake} runs study {described.study}",
            **when,
        },
    )
    for name in described.files:
        if name == "README.md":
            _entity(crate, name)["about"] = crate.root_dataset
        if name.startswith("snakemake/") or name.endswith(("/snakemake-report.html", FACTS)):
            _entity(crate, name)["about"] = organised
