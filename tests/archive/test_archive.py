"""What an archive of a study holds, and what independent tools say of it."""

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdlm.archive.contents import expected, results
from kdlm.archive.datasets import ORIGINS
from kdlm.archive.source import operator
from kdlm.errors import InputError
from kdlm.figures import FIGURES
from kdlm.storage.parquet import read_spec
from kdlm.study import names
from kdlm.study.config import Study, parse
from kdlm.study.jobs import init_means_jobs, network_jobs
from tests.archived_study import LOGIN

ROOT = Path(__file__).parents[2]
VALIDATOR = ROOT / ".venv-roc"
Kdlm = Callable[..., subprocess.CompletedProcess[str]]
Observed = Callable[[str], None]

EXPLAINED = {
    # each is answered in docs/archive.md
    "process-run-crate-0.5_5.1",
    "ro-crate-1.1_30.2",
    "ro-crate-1.1_30.3",
    "ro-crate-1.1_31.2",
}


@pytest.fixture(scope="module")
def study(tiny: dict[str, Any]) -> Study:
    return parse(tiny)


@pytest.fixture(scope="module")
def crate(unpacked: Path) -> dict[str, dict[str, Any]]:
    graph = json.loads((unpacked / "ro-crate-metadata.json").read_text())["@graph"]
    return {entity["@id"]: entity for entity in graph}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _validate(folder: Path, profile: str, severity: str, report: Path) -> list[dict[str, Any]]:
    """Findings of roc-validator, in its own environment and without a network."""
    if not (VALIDATOR / ".ready").is_file():
        pytest.fail("roc-validator has no environment yet: make .venv-roc/.ready")
    run = subprocess.run(
        [
            # not the script: its first line cannot hold a path with a space
            VALIDATOR / "bin/python", "-c", "from rocrate_validator.cli import cli; cli()",
            "--no-interactive", "validate", "--offline",
            "--cache-path", VALIDATOR / "contexts", "--profile-identifier", profile,
            "--requirement-severity", severity, "--output-format", "json",
            "--output-file", report, "--no-paging", folder,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )  # fmt: skip
    assert report.is_file(), run.stdout
    found = json.loads(report.read_text())
    assert found["passed"] == (run.returncode == 0)
    issues: list[dict[str, Any]] = found["issues"]
    return issues


@pytest.mark.parametrize("profile", ["process", "workflow", "provenance"])
def test_the_crate_validates(profile: str, unpacked: Path, tmp_path: Path) -> None:
    profile = f"{profile}-run-crate-0.5"
    assert _validate(unpacked, profile, "required", tmp_path / "report.json") == []


def test_what_is_recommended_is_done_or_explained(unpacked: Path, tmp_path: Path) -> None:
    issues = _validate(
        unpacked, "provenance-run-crate-0.5", "recommended", tmp_path / "report.json"
    )
    found = {issue["check"]["identifier"]: issue["message"] for issue in issues}
    assert set(found) == EXPLAINED, found
    text = (ROOT / "docs/archive.md").read_text()
    assert all(identifier in text for identifier in EXPLAINED)


def test_the_validator_would_find_a_fault(unpacked: Path, tmp_path: Path) -> None:
    folder = tmp_path / "crate"
    shutil.copytree(unpacked, folder)
    text = (folder / "ro-crate-metadata.json").read_text()
    (folder / "ro-crate-metadata.json").write_text(text.replace('"instrument"', '"about"'))
    assert _validate(folder, "provenance-run-crate-0.5", "required", tmp_path / "report.json")


def test_coreutils_confirms_the_checksums(unpacked: Path) -> None:
    run = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "manifest-sha256.txt"],
        cwd=unpacked, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    listed = len((unpacked / "manifest-sha256.txt").read_text().splitlines())
    assert listed == sum(path.is_file() for path in unpacked.rglob("*")) - 1


def test_coreutils_finds_a_changed_file(unpacked: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(unpacked, folder)
    with (folder / "results/tiny/claims.parquet").open("ab") as file:
        file.write(b"\0")
    command = ["sha256sum", "--check", "--strict", "--quiet", "manifest-sha256.txt"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "results/tiny/claims.parquet: FAILED" in run.stdout


def test_two_archives_of_the_same_results_are_the_same_bytes(
    kdlm: Kdlm, archived: Path, workplace: Path, tmp_path: Path
) -> None:
    run = kdlm("archive", "results/tiny", "--output", tmp_path / "again.zip")
    assert run.returncode == 0, run.stdout
    assert (tmp_path / "again.zip").read_bytes() == archived.read_bytes()
    # neither who made it when, nor where the study lies
    moved = workplace / "moved"
    shutil.copytree(workplace / "run", moved)
    for path in moved.rglob("*"):
        if path.suffix in (".parquet", ".json", ".svg"):
            os.utime(path)
    run = kdlm("archive", moved / "results/tiny", "--output", tmp_path / "moved.zip")
    assert run.returncode == 0, run.stdout
    assert (tmp_path / "moved.zip").read_bytes() == archived.read_bytes()


def test_snakemakes_own_logs_are_left_out(
    kdlm: Kdlm, archived: Path, unpacked: Path, workplace: Path, tmp_path: Path
) -> None:
    """They hold user, host and command paths; what a job did is in its record and its own log."""
    assert [path.name for path in (unpacked / "snakemake").rglob("*")] == ["records.json"]
    shutil.copytree(workplace / "run", tmp_path / "run")
    logs = tmp_path / "run/.snakemake/log"
    (logs / "2099-01-01T000000.000000.snakemake.log").write_bytes(b"rule distill:\n")
    run = kdlm("archive", tmp_path / "run/results/tiny", "--output", tmp_path / "x.zip")
    assert run.returncode == 0, run.stdout
    assert (tmp_path / "x.zip").read_bytes() == archived.read_bytes()


def test_every_job_is_an_action(crate: dict[str, dict[str, Any]], study: Study) -> None:
    actions = [e for e in crate.values() if e["@type"] == "CreateAction" and e["@id"] != "#run"]
    jobs = len(network_jobs(study)) + len(list(init_means_jobs(study)))
    # two datasets, the config, four tables' jobs, claims, the figures, our report and Snakemake's
    assert len(actions) == jobs + 2 + 1 + 4 + 1 + len(FIGURES) + 2
    for action in actions:
        assert action["description"].startswith("python -m kdlm ")
        assert action["startTime"] <= action["endTime"]
        assert crate[action["agent"]["@id"]]["name"] == "A reviewer"
        assert crate[action["location"]["@id"]]["@type"] == "Place", action["description"]
        for part in [*_list(action.get("object", [])), *_list(action["result"])]:
            assert part["@id"] in crate
        assert crate[action["instrument"]["@id"]]["@type"] == "SoftwareApplication"
    made = [part["@id"] for action in actions for part in _list(action["result"])]
    assert len(made) == len(set(made))


def test_the_paper_is_the_one_of_the_citation(crate: dict[str, dict[str, Any]]) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    (work,) = citation["references"]
    paper = crate[crate["./"]["citation"]["@id"]]
    assert (paper["@id"], paper["name"], paper["@type"]) == (
        work["url"], work["title"], "ScholarlyArticle",
    )  # fmt: skip
    assert paper["datePublished"] == str(work["year"])
    people = [crate[author["@id"]] for author in paper["author"]]
    assert [(one["givenName"], one["familyName"]) for one in people] == [
        (author["given-names"], author["family-names"]) for author in work["authors"]
    ]


def test_a_browser_shows_what_the_crate_describes(
    unpacked: Path, crate: dict[str, dict[str, Any]]
) -> None:
    preview = (unpacked / "ro-crate-preview.html").read_text(encoding="utf-8")
    assert crate["ro-crate-preview.html"]["about"]["@id"] == "./"
    assert crate["./"]["name"] in preview
    assert f"<dd>{crate[crate['./']['license']['@id']]['name']}</dd>" in preview
    for part in crate["./"]["hasPart"]:
        assert f'href="{part["@id"]}"' in preview, part


def test_logs_and_benchmarks_say_whose_they_are(crate: dict[str, dict[str, Any]]) -> None:
    for name, entity in crate.items():
        if "/logs/" in name or "/benchmarks/" in name:
            assert crate[entity["about"]["@id"]]["@type"] == "CreateAction"


def test_what_is_inside(unpacked: Path, study: Study, tiny: dict[str, Any]) -> None:
    files = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*.*")}
    assert not [name for name in files if name.endswith(".safetensors")]
    for figure in FIGURES:
        assert {f"results/tiny/figures/{figure}.{end}" for end in ("svg", "png")} <= files
    specs = json.loads((unpacked / "specs.json").read_text())
    for job in network_jobs(study):
        assert job.spec.model_dump(mode="json") == specs[job.folder.as_posix()]
    for folder, spec in specs.items():
        for path in (unpacked / "results/tiny" / folder).glob("*.parquet"):
            assert read_spec(path) == spec
    config = json.loads((unpacked / "results/tiny/study.json").read_text())
    assert parse(config) == parse(tiny)
    assert config["tolerances"]["accuracy"]["absolute"] > 0
    runs = list((unpacked / "results/tiny").rglob("run.json"))
    assert len(runs) == len(network_jobs(study))
    circumstances = json.loads(runs[0].read_text())
    for fact in ("processor", "cpu_capability", "threads", "deterministic_algorithms", "host"):
        assert circumstances[fact] not in (None, "")
    installed = json.loads((unpacked / "environment/installed.json").read_text())
    assert installed["torch"]["version"] == version("torch")
    assert len(installed["numpy"]["sha256"]) == 64
    for name in ("pyproject.toml", "requirements.lock", "Snakefile", "src/kdlm/losses.py"):
        assert (unpacked / "source" / name).read_bytes() == (ROOT / name).read_bytes()
    for name in ("report.html", "snakemake-report.html"):
        assert (unpacked / "results/tiny" / name).stat().st_size > 1e6
    rendered = (unpacked / "results/tiny/snakemake-report.html").read_text()
    answer = (unpacked / "results/tiny/answer.txt").read_text().splitlines()[0]
    assert json.dumps(answer)[1:-1] in rendered
    for category in ("Answer", "Claims", "Figures"):
        assert f'"{category}"' in rendered


def test_snakemakes_records_are_whole(unpacked: Path) -> None:
    records = json.loads((unpacked / "snakemake/records.json").read_text())
    left_out = json.loads((unpacked / "archive.json").read_text())["left_out"]
    for name, record in records.items():
        assert (unpacked / name).is_file() or name in left_out
        assert record["shellcmd"].startswith("python -m kdlm ")
        assert record["endtime"] > record["starttime"]


def test_datasets_are_described_not_included(unpacked: Path) -> None:
    datasets = json.loads((unpacked / "datasets.json").read_text())
    assert set(datasets) == {"digits", "photographs"}
    assert datasets["digits"]["licence"] == "CC BY 4.0"
    assert datasets["digits"]["train_images"] == 1437
    assert len(datasets["digits"]["sha256"]) == 64


def test_every_dataset_has_an_origin() -> None:
    assert set(ORIGINS) == set(names.DATASETS)


@pytest.mark.fault(
    "an archive that tells of the person who made it",
    area="hostile input",
    provoked="a study run and archived by an account with a name and a home of its own; a job's "
    "log in which a warning names a file in that home; every file of the archive is read, and what "
    "is packed into the report's HTML",
)
def test_nothing_of_a_person_is_in_an_archive(
    kdlm: Kdlm, archived: Path, workplace: Path, tmp_path: Path, observed: Observed
) -> None:
    shutil.copytree(workplace / "run", tmp_path / "run")
    log = tmp_path / "run/results/tiny/logs/theory.log"
    home = workplace / "home"
    log.write_text(
        f"{home}/.cache/x y.py:3: UserWarning: of {LOGIN}\n"
        f"see /srv/users/somebody/notes.txt, https://example.org/a/b\n{log.read_text()}"
    )
    run = kdlm("archive", tmp_path / "run/results/tiny", "--output", tmp_path / "x.zip")
    assert run.returncode == 0, run.stdout
    for archive in (archived, tmp_path / "x.zip"):
        for name, content in _everything(archive):
            # but not of the checkout, which has this very test
            for secret in (str(workplace), sys.prefix, LOGIN, "/srv/users"):
                assert secret.encode() not in content or name.startswith("source/"), (name, secret)
    with zipfile.ZipFile(tmp_path / "x.zip") as opened:
        kept = opened.read("results/tiny/logs/theory.log").decode()
    assert kept.startswith(
        ".../x y.py:3: UserWarning: of ...\nsee .../notes.txt, https://example.org/a/b\n"
    )
    assert re.search(r"^finished on \S+$", kept, re.MULTILINE)
    observed("neither login name nor home nor path of the machine is in any file: Snakemake's own "
             "logs are left out, and of a path in a job's log all but its last part")  # fmt: skip


def _everything(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of an archive, and what is embedded in its report."""
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            content = opened.read(name)
            yield name, content
            for packed in re.findall(rb"base64,([A-Za-z0-9+/=]{40,})", content):
                data = base64.b64decode(packed + b"==")
                yield name, gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def test_who_archives_is_known_by_gits_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("USER", LOGIN)
    assert operator() == "not named"


def test_weights_are_by_choice(with_weights: Path, archived: Path) -> None:
    with zipfile.ZipFile(with_weights) as one, zipfile.ZipFile(archived) as other:
        more = set(one.namelist()) - set(other.namelist())
    assert more
    assert {Path(name).name for name in more} == {"model.safetensors"}


@pytest.mark.fault(
    "files in the checkout that are nobody else's business",
    area="hostile input",
    provoked="`--include-diff` with an untracked .env and notes, another .env that was added, and "
    "a link to a file elsewhere, beside a file that the study needs",
)
def test_a_changed_source_is_refused_unless_the_diff_is_included(
    kdlm: Kdlm, workplace: Path, tmp_path: Path, observed: Observed
) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(workplace / "clone", clone)
    # not as it stands here, for this file is archived
    secret = "-".join(("a", "key", "of", "mine"))
    (tmp_path / "elsewhere").write_text(secret)
    for name in (".env", "notes.md", "src/.env", "docs/added.md"):
        (clone / name).write_text(secret)
    (clone / "src/kdlm/link.py").symlink_to(tmp_path / "elsewhere")
    subprocess.run(["git", "add", "--force", "src/.env", "docs/added.md"], cwd=clone, check=True)

    def archive(*options: str) -> subprocess.CompletedProcess[str]:
        output = tmp_path / "x.zip"
        arguments = ["archive", "results/tiny", "--output", output, *options]
        return kdlm(*arguments, PYTHONPATH=str(clone / "src"))

    (clone / "CHANGELOG.md").write_text("changed\n")
    (clone / "workflow/rules/new.smk").write_text("# new\n")
    refused = archive()
    assert refused.returncode == 1
    assert "(CHANGELOG.md, " in refused.stdout
    assert "--include-diff" in refused.stdout
    assert not (tmp_path / "x.zip").exists()
    run = archive("--include-diff")
    assert run.returncode == 0, run.stdout
    assert "other than committed: CHANGELOG.md\n" in run.stdout
    assert "never committed: " in run.stdout
    assert "workflow/rules/new.smk\n" in run.stdout
    assert "not archived, neither committed nor needed: .env, docs/added.md, notes.md" in run.stdout
    for _, content in _everything(tmp_path / "x.zip"):
        assert secret.encode() not in content
    with zipfile.ZipFile(tmp_path / "x.zip") as opened:
        assert b"+changed" in opened.read("source.diff")
        assert opened.read("source/CHANGELOG.md") == b"changed\n"
        assert opened.read("source/workflow/rules/new.smk") == b"# new\n"
        assert not json.loads(opened.read("archive.json"))["source"]["as_committed"]
    observed("only that file and what is committed are packed, both listed before; of the others "
             "one line says that they are not")  # fmt: skip


def test_files_that_the_source_does_not_need_are_no_difference(
    kdlm: Kdlm, archived: Path, workplace: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(workplace / "clone", clone)
    (clone / "notes.md").write_text("mine")
    run = kdlm("archive", "results/tiny", "--output", tmp_path / "x.zip",
               PYTHONPATH=str(clone / "src"))  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert (tmp_path / "x.zip").read_bytes() == archived.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("link", ["results", "results/tiny"])
@pytest.mark.fault(
    "results behind a symbolic link",
    area="files",
    provoked="`results/`, and `results/<study>/`, as links to another disk; both reports are made, "
    "and the study archived",
)
def test_results_behind_a_link(
    link: str, kdlm: Kdlm, archived: Path, workplace: Path, tmp_path: Path, observed: Observed
) -> None:
    shutil.copytree(workplace / "run", tmp_path / "run")
    scratch = tmp_path / "scratch"
    shutil.move(tmp_path / "run" / link, scratch)
    (tmp_path / "run" / link).symlink_to(scratch)
    folder = tmp_path / "run/results/tiny"
    page = (folder / "report.html").read_bytes()
    run = kdlm("report", folder)
    assert run.returncode == 0, run.stdout
    assert (folder / "report.html").read_bytes() == page
    run = kdlm("snakemake-report", folder, "--output", tmp_path / "report.html")
    assert run.returncode == 0, run.stdout
    run = kdlm("archive", folder, "--output", tmp_path / "x.zip")
    assert run.returncode == 0, run.stdout
    assert (tmp_path / "x.zip").read_bytes() == archived.read_bytes()
    observed("all are made; the archive is the same bytes")


@pytest.mark.parametrize("name", ["run", "run/results", "run/results/other"])
def test_what_is_no_folder_of_a_study(
    name: str, kdlm: Kdlm, workplace: Path, tmp_path: Path
) -> None:
    shutil.copytree(workplace / "run/results/tiny", tmp_path / "run/results/other")
    for file in ("study.json",):
        shutil.copy(workplace / "run/results/tiny" / file, tmp_path / name)
    run = kdlm("archive", tmp_path / name, "--output", tmp_path / "x.zip")
    assert run.returncode == 1
    assert "the folder of" in run.stdout.splitlines()[-1]


def test_results_of_other_sources_are_refused(kdlm: Kdlm, workplace: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(workplace / "clone", clone)
    with (clone / "src/kdlm/losses.py").open("a") as file:
        file.write("EDITED = True\n")
    run = kdlm(
        "archive", "results/tiny", "--output", tmp_path / "x.zip", "--include-diff",
        PYTHONPATH=str(clone / "src"),
    )  # fmt: skip
    assert run.returncode == 1
    assert "was made by other sources than the present ones" in run.stdout


def test_the_source_of_an_archive_can_archive(
    kdlm: Kdlm, archived: Path, unpacked: Path, tmp_path: Path
) -> None:
    source = {"PYTHONPATH": str(unpacked / "source/src"), "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = ("archive", "results/tiny", "--output", tmp_path / "x.zip")
    run = kdlm(*arguments, PATH="/nowhere", **source)
    assert run.returncode == 0, run.stdout
    with zipfile.ZipFile(tmp_path / "x.zip") as one, zipfile.ZipFile(archived) as other:
        assert one.namelist() == other.namelist()
        assert one.read("archive.json") == other.read("archive.json")
    readme = unpacked / "source/README.md"
    before = readme.read_bytes()
    readme.write_bytes(before + b"changed")
    run = kdlm(*arguments, **source)
    readme.write_bytes(before)
    assert run.returncode == 1
    assert "source/README.md is not what the archive held" in run.stdout


@pytest.mark.parametrize(
    "lost",
    [
        "students/**/logits.parquet", "students/**/history.parquet", "students/**/run.json",
        "teachers/**/model.safetensors", "init_means/**/means.parquet", "data/digits.safetensors",
        "tables/layer_means.parquet", "figures/routes.svg", "figures/routes.png", "report.html",
        "answer.txt", "snakemake-report.html",
    ],
)  # fmt: skip
def test_an_output_that_is_missing_is_named_with_the_remedy(
    lost: str, workplace: Path, study: Study, tmp_path: Path
) -> None:
    shutil.copytree(workplace / "run/results", tmp_path / "results")
    gone = next((tmp_path / "results/tiny").glob(lost))
    gone.unlink()
    with pytest.raises(InputError) as refused:
        results(study, tmp_path, weights=False, small=False)
    assert f"{gone} is missing: the study is not finished" in str(refused.value)
    assert f"snakemake --cores all {gone.relative_to(tmp_path)}," in str(refused.value)


def test_what_is_expected_is_what_the_rules_make(unpacked: Path, study: Study) -> None:
    records = json.loads((unpacked / "snakemake/records.json").read_text())
    assert set(records) == {f"results/tiny/{name}" for name in expected(study)}
    read = {name for record in records.values() for name in record["input"]}
    assert read < set(records)


def test_the_remedy_for_an_intermediate_file_that_is_missing(
    kdlm: Kdlm, workplace: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(workplace / "run", run)
    table = "results/tiny/tables/layer_means.parquet"
    (run / table).unlink()

    def snakemake(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--snakefile", workplace / "clone/Snakefile",
             "--configfile", "tiny.yaml", "--cores", "all", *arguments],
            cwd=run, env=os.environ | {"PYTHONPATH": str(workplace / "clone/src")},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    # the archive is there, so Snakemake alone would never tell
    assert "Nothing to be done" in snakemake("-n", "archive")
    refused = kdlm("archive", run / "results/tiny", "--output", tmp_path / "x.zip")
    assert refused.returncode == 1
    assert f"--cores all {table}," in refused.stdout
    snakemake(table)
    done = kdlm("archive", run / "results/tiny", "--output", tmp_path / "x.zip")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", ["students/**/logits.parquet", "teachers/**/model.safetensors"])
def test_a_damaged_output_is_not_archived(
    kind: str, kdlm: Kdlm, workplace: Path, tmp_path: Path
) -> None:
    shutil.copytree(workplace / "run", tmp_path / "run")
    damaged = next((tmp_path / "run/results/tiny").glob(kind))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    run = kdlm("archive", tmp_path / "run/results/tiny", "--output", tmp_path / "x.zip")
    assert run.returncode == 1
    assert f"{damaged} is damaged" in run.stdout
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.parametrize("name", ["figures/routes.svg", "figures/routes.png", "study.json"])
def test_an_output_that_is_not_what_others_read_is_not_archived(
    name: str, kdlm: Kdlm, workplace: Path, tmp_path: Path
) -> None:
    shutil.copytree(workplace / "run", tmp_path / "run")
    changed = tmp_path / "run/results/tiny" / name
    with changed.open("ab") as file:
        file.write(b"\n")
    run = kdlm("archive", tmp_path / "run/results/tiny", "--output", tmp_path / "x.zip")
    assert run.returncode == 1
    assert f"{changed} is not what the jobs after it read" in run.stdout


def test_an_unfinished_study_is_refused(kdlm: Kdlm, workplace: Path, tmp_path: Path) -> None:
    shutil.copytree(workplace / "run", tmp_path / "run")
    results = tmp_path / "run/results/tiny"
    gone = next(results.glob("students/**/run.json")).parent
    shutil.rmtree(gone)
    run = kdlm("archive", results, "--output", tmp_path / "x.zip")
    assert run.returncode == 1
    assert gone.name in run.stdout
    assert "the study is not finished" in run.stdout


def test_without_snakemakes_records_there_is_no_archive(
    kdlm: Kdlm, workplace: Path, tmp_path: Path
) -> None:
    shutil.copytree(workplace / "run/results", tmp_path / "run/results")
    run = kdlm("archive", tmp_path / "run/results/tiny", "--output", tmp_path / "x.zip")
    assert run.returncode == 1
    assert ".snakemake is missing" in run.stdout


def test_the_validators_environment_is_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert not [text for text in declared if "roc-validator" in text]
    assert VALIDATOR not in Path(sys.prefix).parents
