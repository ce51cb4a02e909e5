"""What reproduces, what does not, and that either is told plainly."""

import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import torch

from kdlm.archive.environment import build_digest
from kdlm.archive.manifest import parse_manifest
from kdlm.archive.names import MANIFEST
from kdlm.cli import main
from kdlm.errors import InputError
from kdlm.reproduce.check import reproduce
from kdlm.reproduce.fixed import note_of_late_numbers
from kdlm.reproduce.machine import differences, here
from kdlm.reproduce.outcome import Level, Outcomes, State
from kdlm.reproduce.rerun import draw, rerunnable
from kdlm.reproduce.unpacked import UNTOLD, open_archive
from kdlm.storage.parquet import read_arrow, read_table, write_table
from kdlm.study.config import parse
from tests.forged import changed, without_other_records

Kdlm = Callable[..., subprocess.CompletedProcess[str]]
BUILDS = ("torch", "numpy", "scikit-learn", "pillow")
TABLES = ("runs", "histories", "layer_means", "init_means", "gradient_limit", "identities")


def levels_of(outcome: dict[str, Any], name: str) -> dict[str, str]:
    found = outcome["outputs"][name]
    return {level: entry["state"] for level, entry in found.items() if level != "highest"}


def test_what_was_archived_is_rebuilt_to_the_byte(
    kdlm: Kdlm, archived: Path, tmp_path: Path
) -> None:
    """Without git, without Slurm, without a network."""
    run = kdlm("reproduce", archived, "--folder", tmp_path / "out", "--yes",
               "--level", "L1", "L4", "--json", tmp_path / "out.json",
               PATH="/nowhere", HTTPS_PROXY="http://127.0.0.1:9")  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert "L1 holds" in run.stdout
    outcome = json.loads((tmp_path / "out.json").read_text())
    for name in (*(f"tables/{table}.parquet" for table in TABLES), "claims.parquet",
                 "figures/routes.svg", "figures/routes.png", "report.html",
                 "answer.txt"):  # fmt: skip
        assert outcome["outputs"][f"results/tiny/{name}"]["L1"]["state"] == "held", name
    comparisons = outcome["outputs"]["results/tiny/tables/comparisons.parquet"]
    assert comparisons["L1"]["state"] == "not done"
    assert "starts from tables/comparisons.parquet" in comparisons["L1"]["reason"]
    assert comparisons["highest"] == "L0"
    assert levels_of(outcome, "results/tiny/claims.parquet") == dict.fromkeys(
        ("L0", "L1", "L4"), "held"
    )
    assert outcome["outputs"]["claim eq1 (as stated)"]["highest"] == "L4"


@pytest.mark.slow
def test_with_weights_nothing_starts_from_tables(
    kdlm: Kdlm, with_weights: Path, tmp_path: Path
) -> None:
    run = kdlm("reproduce", with_weights, "--folder", tmp_path / "out", "--yes",
               "--level", "L1", "--json", tmp_path / "out.json")  # fmt: skip
    assert run.returncode == 0, run.stdout
    outcome = json.loads((tmp_path / "out.json").read_text())
    assert outcome["levels"]["L1"]["not_done"] == 0
    assert levels_of(outcome, "results/tiny/tables/comparisons.parquet")["L1"] == "held"


@pytest.mark.slow
def test_a_small_archive_says_that_it_starts_from_tables(
    kdlm: Kdlm, archived: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small.zip"
    assert kdlm("archive", "results/tiny", "--small", "--output", small).returncode == 0
    assert small.stat().st_size < archived.stat().st_size
    run = kdlm("reproduce", small, "--folder", tmp_path / "out", "--yes", "--level", "L1", "L4")
    assert run.returncode == 0, run.stdout
    for table in ("runs", "histories", "comparisons", "layer_means", "identities"):
        assert f"starts from tables/{table}.parquet" in run.stdout
    assert "L4 holds" in run.stdout


def test_a_sample_of_jobs_is_rerun_to_the_bit(kdlm: Kdlm, archived: Path, tmp_path: Path) -> None:
    run = kdlm("reproduce", archived, "--folder", tmp_path / "out", "--yes", "--level", "L2", "L3",
               "--jobs", "2", "--sample-seed", "3", "--json", tmp_path / "out.json")  # fmt: skip
    assert run.returncode == 0, run.stdout
    outcome = json.loads((tmp_path / "out.json").read_text())
    assert outcome["sample"]["seed"] == 3
    assert len(outcome["sample"]["jobs"]) == 2
    for folder in outcome["sample"]["jobs"]:
        names = [name for name in outcome["outputs"] if f"/{folder}/" in name and "L2" in
                 outcome["outputs"][name]]  # fmt: skip
        assert names
        for name in names:
            assert outcome["outputs"][name]["highest"] == "L2"
    # weights are not in the archive, their digests are
    assert [name for name in outcome["outputs"] if name.endswith("model.safetensors")]


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="no other instructions to forgo"
)
def test_equal_bytes_are_not_asked_for_on_another_machine(
    kdlm: Kdlm, archived: Path, tmp_path: Path
) -> None:
    run = kdlm("reproduce", archived, "--folder", tmp_path / "out", "--yes", "--level", "L2",
               "--jobs", "1", "--json", tmp_path / "out.json",
               ATEN_CPU_CAPABILITY="default")  # fmt: skip
    assert run.returncode == 1
    assert "L2 refused" in run.stdout
    assert "cpu_capability: " in run.stdout
    assert "there, DEFAULT here" in run.stdout
    assert not json.loads((tmp_path / "out.json").read_text())["levels"]["L2"]["holds"]
    assert not list((tmp_path / "out/rerun").rglob("*.parquet"))


@pytest.mark.slow
def test_another_machine_may_be_within_the_tolerances(
    kdlm: Kdlm, archived: Path, tmp_path: Path
) -> None:
    run = kdlm("reproduce", archived, "--folder", tmp_path / "out", "--yes", "--level", "L3",
               "--jobs", "3", ATEN_CPU_CAPABILITY="default")  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert "L3 holds" in run.stdout


@pytest.mark.slow
def test_a_result_that_its_job_does_not_give_is_found(
    kdlm: Kdlm, archived: Path, unpacked: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    name = next(
        path.relative_to(unpacked).as_posix()
        for path in sorted(unpacked.glob("results/tiny/init_means/**/means.parquet"))
    )
    table = read_arrow(unpacked / name, "means")
    means = table["mean"].to_numpy() + 0.1
    table = table.set_column(table.column_names.index("mean"), "mean", [means])
    folder = Path(name).parent.relative_to("results/tiny").as_posix()
    spec = json.loads((unpacked / "specs.json").read_text())[folder]
    write_table("means", table, tmp_path / "means.parquet", spec)
    archive = changed(archived, tmp_path / "a.zip", {
        name: (tmp_path / "means.parquet").read_bytes(), **without_other_records(archived),
    })  # fmt: skip
    jobs = rerunnable(parse(tiny))
    seed = next(s for s in range(1000) if draw(jobs, 1, s)[0].folder == folder)
    run = kdlm("reproduce", archive, "--folder", tmp_path / "out", "--yes", "--level", "L1", "L2",
               "L3", "--jobs", "1", "--sample-seed", str(seed))  # fmt: skip
    assert run.returncode == 1
    assert "L1 failed: results/tiny/tables/init_means.parquet" in run.stdout
    assert f"L2 failed: {name}" in run.stdout
    assert f"L3 failed: {name}: column mean: rms difference 0.1" in run.stdout


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(90, "was written 90 s after the first training began"), (-90, None), (None, "do not say")],
)
def test_numbers_that_are_younger_than_a_training_are_noted(
    seconds: float | None, said: str | None, archived: Path, tmp_path: Path
) -> None:
    unpacked = open_archive(archived, tmp_path / "out")
    unpacked.folder.joinpath("snakemake/records.json").write_text(_written(archived, seconds))
    note = note_of_late_numbers(unpacked, [Level.INTEGRITY, Level.VERDICT])
    if said is None:
        assert note is None
    else:
        assert note is not None
        assert said in note
        assert "study.json, and with it margins (L4)," in note
    assert note_of_late_numbers(unpacked, [Level.INTEGRITY]) is None


def _written(archived: Path, seconds: float | None) -> str:
    """The records of an archive, had the config been written so long after the first training."""
    records = json.loads(without_other_records(archived)["snakemake/records.json"])
    trainings = ("train_teacher", "distill", "init_means")
    began = min(r["starttime"] for r in records.values() if r["rule"] in trainings)
    written = None if seconds is None else began + seconds
    records["results/tiny/study.json"]["starttime"] = written
    return json.dumps(records)


@pytest.mark.slow
def test_what_is_noted_is_on_the_terminal_and_in_the_report(
    kdlm: Kdlm, archived: Path, tmp_path: Path
) -> None:
    changes = without_other_records(archived)
    changes["snakemake/records.json"] = _written(archived, 90).encode()
    archive = changed(archived, tmp_path / "a.zip", changes)
    run = kdlm("reproduce", archive, "--folder", tmp_path / "out", "--yes", "--level", "L4",
               "--json", tmp_path / "out.json")  # fmt: skip
    assert run.returncode == 0, run.stdout
    notes = " ".join(json.loads((tmp_path / "out.json").read_text())["notes"])
    for text in (run.stdout, notes):
        assert "was written 90 s after the first training began" in text


@pytest.mark.slow
def test_rerun_as_a_whole_the_claims_are_those_of_the_rerun(
    kdlm: Kdlm, archived: Path, tmp_path: Path
) -> None:
    run = kdlm("reproduce", archived, "--folder", tmp_path / "out", "--yes", "--level", "L2", "L4",
               "--jobs", "all", "--json", tmp_path / "out.json")  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert "claims made from all jobs' reruns" in run.stdout
    outcome = json.loads((tmp_path / "out.json").read_text())
    for name in ("tables/comparisons.parquet", "claims.parquet", "figures/distances.svg"):
        assert outcome["outputs"][f"results/tiny/{name}"]["highest"] == "L2"


@pytest.mark.slow
def test_another_verdict_is_told(
    kdlm: Kdlm, archived: Path, unpacked: Path, tmp_path: Path
) -> None:
    claims = read_table(unpacked / "results/tiny/claims.parquet", "claims")
    claims.loc[claims["id"] == "eq7-printed", "verdict"] = "supported"
    write_table("claims", claims, tmp_path / "claims.parquet")
    archive = changed(archived, tmp_path / "a.zip", {
        "results/tiny/claims.parquet": (tmp_path / "claims.parquet").read_bytes(),
        **without_other_records(archived),
    })  # fmt: skip
    run = kdlm("reproduce", archive, "--folder", tmp_path / "out", "--yes", "--level", "L4")
    assert run.returncode == 1
    assert (
        "L4 failed: claim eq7-printed (printed): supported in the archive, refuted now"
        in run.stdout
    )


def test_a_table_that_others_contradict(archived: Path, unpacked: Path, tmp_path: Path) -> None:
    """A manifest that was made anew over a changed table still leaves two witnesses."""
    name = "results/tiny/tables/runs.parquet"
    write_table("runs", read_table(unpacked / name, "runs").head(1), tmp_path / "runs.parquet")
    archive = changed(
        archived, tmp_path / "a.zip", {name: (tmp_path / "runs.parquet").read_bytes()}
    )
    outcomes = reproduce(archive, tmp_path / "out", [Level.INTEGRITY], consent=None)
    assert not outcomes.held(Level.INTEGRITY)
    assert "Snakemake's record" in str(outcomes.first_complaint())
    assert name in str(outcomes.first_complaint())


def test_a_digest_of_what_was_left_out_that_others_contradict(
    archived: Path, unpacked: Path, tmp_path: Path
) -> None:
    facts = json.loads((unpacked / "archive.json").read_text())
    name = "results/tiny/data/digits.safetensors"
    assert facts["left_out"][name]["sha256"] != "0" * 64
    facts["left_out"][name]["sha256"] = "0" * 64
    archive = changed(archived, tmp_path / "a.zip", {"archive.json": json.dumps(facts).encode()})
    outcomes = reproduce(archive, tmp_path / "out", [Level.INTEGRITY], consent=None)
    assert outcomes.states[name][Level.INTEGRITY][0] == State.FAILED
    assert "Snakemake's record" in outcomes.states[name][Level.INTEGRITY][1]


def test_code_of_an_archive_is_not_run_without_consent(
    kdlm: Kdlm, archived: Path, tmp_path: Path
) -> None:
    run = kdlm("reproduce", archived, "--folder", tmp_path / "a")
    assert run.returncode == 1
    assert "no terminal to ask on; say --yes" in run.stdout
    assert not (tmp_path / "a").exists()
    questions: list[str] = []

    def no(question: str) -> bool:
        questions.append(question)
        return False

    with pytest.raises(InputError, match="nothing of the archive was run"):
        reproduce(archived, tmp_path / "b", [Level.REBUILT], consent=no)
    assert len(questions) == 1
    assert "runs the Python code in it" in questions[0]
    assert not (tmp_path / "b/rebuilt").exists()


def test_integrity_needs_no_consent_either(kdlm: Kdlm, archived: Path, tmp_path: Path) -> None:
    run = kdlm("reproduce", archived, "--level", "L0", "--folder", tmp_path / "out",
               PATH="/nowhere", HTTPS_PROXY="http://127.0.0.1:9")  # fmt: skip
    assert run.returncode == 0, run.stdout


def test_a_locale_of_ascii_alone(kdlm: Kdlm, archived: Path, tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = kdlm("reproduce", archived, "--level", "L0", "--folder", tmp_path / "ü",
               "--json", tmp_path / "out.json", **ascii_only)  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert "L0 holds" in run.stdout
    assert json.loads((tmp_path / "out.json").read_text("utf-8"))["levels"]["L0"]["holds"]


@pytest.mark.slow
def test_shell_code_in_a_crate_is_text(
    kdlm: Kdlm, archived: Path, unpacked: Path, tmp_path: Path
) -> None:
    witness = tmp_path / "witness"
    crate = json.loads((unpacked / "ro-crate-metadata.json").read_text())
    records = json.loads((unpacked / "snakemake/records.json").read_text())
    specs = json.loads((unpacked / "specs.json").read_text())
    for entity in crate["@graph"]:
        entity.pop("sha256", None)
        if entity["@type"] == "CreateAction":
            entity["description"] = f"touch {witness}; $(touch {witness})"
    for record in records.values():
        record["shellcmd"] = record["code"] = f"touch {witness}"
    for spec in specs.values():
        spec["architecture"] = f"$(touch {witness})"
    archive = changed(archived, tmp_path / "a.zip", {
        "ro-crate-metadata.json": json.dumps(crate).encode(),
        "snakemake/records.json": json.dumps(records).encode(),
        "specs.json": json.dumps(specs).encode(),
    })  # fmt: skip
    run = kdlm("reproduce", archive, "--folder", tmp_path / "out", "--yes",
               "--level", "L1", "L2", "--jobs", "1")  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert not witness.exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("study", "x; touch witness", "study"),
        ("study", "../../etc", "study"),
        ("threads", "2; touch witness", "threads"),
        ("shell", "touch witness", "unknown key"),
    ],
)
def test_a_config_that_is_none(
    key: str, value: str, message: str, archived: Path, unpacked: Path, tmp_path: Path
) -> None:
    study = json.loads((unpacked / "results/tiny/study.json").read_text())
    archive = changed(archived, tmp_path / "a.zip", {
        "results/tiny/study.json": json.dumps(study | {key: value}).encode(),
        **without_other_records(archived),
    })  # fmt: skip
    with pytest.raises(InputError, match=message):
        reproduce(archive, tmp_path / "out", list(Level), consent=lambda _: True)
    assert not (tmp_path / "out/rebuilt").exists()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"format": 99}, "format 99, this version reads 1"),
        ({"study": "../../tiny"}, "of which there is no study.json"),
        ({"left_out": None}, "lacks what an archive says of itself"),
    ],
)
def test_facts_that_are_none(
    facts: dict[str, Any], message: str, archived: Path, unpacked: Path, tmp_path: Path
) -> None:
    found = json.loads((unpacked / "archive.json").read_text())
    archive = changed(archived, tmp_path / "a.zip", {
        "archive.json": json.dumps(found | facts).encode(), **without_other_records(archived),
    })  # fmt: skip
    with pytest.raises(InputError, match=message):
        reproduce(archive, tmp_path / "out", [Level.INTEGRITY], consent=None)


def test_a_module_of_the_folder_is_not_the_archives_source(
    kdlm: Kdlm, archived: Path, tmp_path: Path
) -> None:
    """Without source/src/kdlm the installed package would be run in its name."""
    with zipfile.ZipFile(archived) as opened:
        gone = {name: None for name in opened.namelist() if name.startswith("source/src/")}
    archive = changed(archived, tmp_path / "a.zip", gone)
    run = kdlm("reproduce", archive, "--folder", tmp_path / "out", "--yes")
    assert run.returncode == 1
    assert "holds no source that could be run" in run.stdout


@pytest.mark.slow
def test_claims_without_their_tables_are_not_taken_on_trust(
    kdlm: Kdlm, archived: Path, tmp_path: Path
) -> None:
    gone = "results/tiny/tables/comparisons.parquet"
    archive = changed(archived, tmp_path / "a.zip", {gone: None})
    run = kdlm("reproduce", archive, "--folder", tmp_path / "out", "--yes")
    assert run.returncode == 1
    assert f"L1 failed: {gone}: neither it nor" in run.stdout
    assert "claims.parquet: tables/comparisons.parquet could not be made anew" in run.stdout
    assert "L4 DOES NOT HOLD" in run.stdout


@pytest.mark.slow
def test_an_output_that_the_archive_does_not_tell_of_fails(
    kdlm: Kdlm, archived: Path, unpacked: Path, tmp_path: Path
) -> None:
    logits = next(unpacked.glob("results/tiny/students/**/logits.parquet"))
    gone = [logits.relative_to(unpacked).as_posix(), "results/tiny/figures/routes.svg"]
    archive = changed(archived, tmp_path / "a.zip", dict.fromkeys(gone))
    run = kdlm("reproduce", archive, "--folder", tmp_path / "out", "--yes", "--level", "L1",
               "--json", tmp_path / "out.json")  # fmt: skip
    assert run.returncode == 1
    outputs = json.loads((tmp_path / "out.json").read_text())["outputs"]
    for name in gone:
        assert outputs[name]["L0"]["state"] == "failed"
        assert UNTOLD in outputs[name]["L0"]["reason"]
    assert outputs[gone[1]]["L1"] == {"state": "failed", "reason": UNTOLD}
    runs = outputs["results/tiny/tables/runs.parquet"]["L1"]
    assert runs["state"] == "failed"
    assert gone[0].removeprefix("results/tiny/") in runs["reason"]


@pytest.mark.slow
def test_a_rerun_that_the_archive_has_no_digest_for_fails(
    kdlm: Kdlm, archived: Path, unpacked: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    name = next(unpacked.glob("results/tiny/init_means/**/means.parquet"))
    gone = name.relative_to(unpacked).as_posix()
    folder = name.parent.relative_to(unpacked / "results/tiny").as_posix()
    archive = changed(archived, tmp_path / "a.zip", {gone: None})
    jobs = rerunnable(parse(tiny))
    seed = next(s for s in range(1000) if draw(jobs, 1, s)[0].folder == folder)
    run = kdlm("reproduce", archive, "--folder", tmp_path / "out", "--yes", "--level", "L2",
               "--jobs", "1", "--sample-seed", str(seed))  # fmt: skip
    assert run.returncode == 1
    assert f"L2 failed: {gone}: {UNTOLD}" in run.stdout


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("archive.json", b'{"format": 1, "study": "tiny", "source": {}, "left_out": {"x": 1}}'),
        ("ro-crate-metadata.json", b"[]"),
        ("ro-crate-metadata.json", b'{"@graph": [{"sha256": 1}]}'),
        ("snakemake/records.json", b'{"x": []}'),
        ("snakemake/records.json", b"[" * 200_000),
        ("archive.json", b"[1]"),
        ("archive.json", b"\xff"),
        ("results/tiny/study.json", b"null"),
    ],
)
def test_json_that_is_of_another_shape(
    name: str, content: bytes, archived: Path, tmp_path: Path
) -> None:
    archive = changed(
        archived, tmp_path / "a.zip", {**without_other_records(archived), name: content}
    )
    with pytest.raises(InputError):
        reproduce(archive, tmp_path / "out", [Level.REBUILT], consent=lambda _: True)
    assert not (tmp_path / "out/rebuilt").exists()


def test_what_runs_is_the_archives_source(
    kdlm: Kdlm, archived: Path, unpacked: Path, tmp_path: Path
) -> None:
    name = "source/src/kdlm/claims/__init__.py"
    other = b"raise SystemExit('of the archive')\n" + (unpacked / name).read_bytes()
    archive = changed(archived, tmp_path / "a.zip", {name: other})
    run = kdlm("reproduce", archive, "--folder", tmp_path / "out", "--yes", "--level", "L1")
    assert run.returncode == 1
    assert "kdlm judge: SystemExit: of the archive" in run.stdout
    assert "figures/routes.svg: claims.parquet could not be made anew" in run.stdout


def test_the_sample_is_the_seeds(tiny: dict[str, Any]) -> None:
    jobs = rerunnable(parse(tiny))
    assert draw(jobs, 4, 0) == draw(jobs, 4, 0)
    assert len({tuple(job.folder for job in draw(jobs, 4, seed)) for seed in range(20)}) > 10
    assert draw(jobs, 10**6, 5) == jobs


def test_every_difference_is_named() -> None:
    present = here("cpu")
    assert differences(present, present, {}) != []
    other = present | {"processor": "another", "packages": present["packages"] | {"torch": "1.0"}}
    found = differences(other, present, {})
    assert any(text.startswith("processor: another there, ") for text in found)
    assert any(text.startswith("torch: 1.0 there, ") for text in found)
    assert any(text.startswith("numpy: another build") for text in found)


def test_a_part_of_a_training_on_another_machine_is_a_difference() -> None:
    present = here("cpu")
    parts = [
        {"epoch": 3, "batch": 0, "cpu_capability": present["cpu_capability"]},
        {"epoch": 7, "batch": 1, "cpu_capability": "another"},
    ]
    installed = {name: {"sha256": build_digest(distribution(name))} for name in BUILDS}
    assert differences(present | {"resumed_from": parts[:1]}, present, installed) == []
    (found,) = differences(present | {"resumed_from": parts}, present, installed)
    assert found.startswith("cpu_capability before a stop in epoch 7: another there, ")


def test_the_highest_level_is_the_strongest() -> None:
    outcomes = Outcomes((Level.INTEGRITY, Level.REBUILT))
    for level in (Level.INTEGRITY, Level.VERDICT, Level.REBUILT, Level.TOLERANCE, Level.RERUN):
        outcomes.judge("x", level, None)
        assert outcomes.highest("x") == level
    outcomes.add("y", Level.REBUILT, State.NOT_DONE, "nothing to do it from")
    assert outcomes.held(Level.REBUILT)
    outcomes.judge("z", Level.REBUILT, "other bytes")
    assert not outcomes.held(Level.REBUILT)
    assert outcomes.first_complaint() == "L1 failed: z: other bytes"


def test_a_level_nothing_was_held_against_does_not_hold() -> None:
    outcomes = Outcomes((Level.INTEGRITY,))
    assert not outcomes.held(Level.INTEGRITY)
    assert outcomes.first_complaint()


def test_an_archive_that_is_refused_is_told_in_json_too(
    archived: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "a.zip"
    shutil.copy(archived, archive)
    with archive.open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff\x00\xff\x00")
    arguments = ["reproduce", str(archive), "--level", "L0", "--folder", str(tmp_path / "out"),
                 "--json", str(tmp_path / "out.json")]  # fmt: skip
    assert main(arguments) == 1
    refused = json.loads((tmp_path / "out.json").read_text())["refused"]
    assert capsys.readouterr().err == f"kdlm: {refused}\n"


def test_the_manifest_lists_all(archived: Path) -> None:
    with zipfile.ZipFile(archived) as opened:
        digests = parse_manifest(opened.read(MANIFEST), MANIFEST)
        assert set(digests) == set(opened.namelist()) - {MANIFEST}
