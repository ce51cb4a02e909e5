"""What stands beside an archive's own word: its commit, and the verdicts by this checkout."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kdlm as package
from kdlm.reproduce.commit import SOURCE_ROW, compare_source
from kdlm.reproduce.outcome import OURS, Level, Outcomes, State
from kdlm.reproduce.unpacked import open_archive
from kdlm.reproduce.verdicts import compare_own_verdicts
from kdlm.storage.parquet import read_table, write_table
from tests.forged import changed, made_up, repacked, without_other_records

Kdlm = Callable[..., subprocess.CompletedProcess[str]]
Observed = Callable[[str], None]

CODE = "source/src/kdlm/claims/__init__.py"
LIE = """

_honest = judge_study


def judge_study(study, folder):
    from kdlm.storage.parquet import read_table, write_table

    _honest(study, folder)
    claims = read_table(folder / "claims.parquet", "claims")
    claims.loc[claims["id"] == "eq7-printed", "verdict"] = "supported"
    write_table("claims", claims, folder / "claims.parquet")
"""


def lied_about(archived: Path, unpacked: Path, place: Path, **facts: Any) -> Path:
    """An archive whose code finds the verdict that it has, which the honest code does not."""
    claims = read_table(unpacked / "results/tiny/claims.parquet", "claims")
    claims.loc[claims["id"] == "eq7-printed", "verdict"] = "supported"
    write_table("claims", claims, place / "claims.parquet")
    told = json.loads((unpacked / "archive.json").read_text())
    told["source"] |= facts
    return changed(archived, place / "a.zip", {
        "results/tiny/claims.parquet": (place / "claims.parquet").read_bytes(),
        CODE: (unpacked / CODE).read_bytes() + LIE.encode(),
        "archive.json": json.dumps(told).encode(),
        **without_other_records(archived),
    })  # fmt: skip


@pytest.mark.fault(
    "an archive whose code finds the verdicts that it claims",
    area="hostile input",
    provoked="a verdict flipped in claims.parquet, and code in `source/` that flips it too; the "
    "commit it names is one that nobody has",
)
def test_verdicts_by_this_checkout_stand_beside(
    kdlm: Kdlm, archived: Path, unpacked: Path, tmp_path: Path, observed: Observed
) -> None:
    archive = lied_about(archived, unpacked, tmp_path, commit="0" * 40)
    run = kdlm("reproduce", archive, "--folder", tmp_path / "out", "--yes", "--level", "L4",
               "--json", tmp_path / "out.json")  # fmt: skip
    # the archive's own code agrees with it
    assert run.returncode == 0, run.stdout
    assert "L4 holds" in run.stdout
    row = next(line for line in run.stdout.splitlines() if line.startswith("each claim, by this"))
    assert "1 differing" in row
    name = f"{OURS}claim eq7-printed (printed)"
    assert f"L4 differing: {name}: supported in the archive, refuted by this checkout" in run.stdout
    assert "this checkout gives 1 of" in run.stdout
    assert f"not compared: git has no commit {'0' * 40}" in run.stdout
    outcome = json.loads((tmp_path / "out.json").read_text())
    assert outcome["outputs"][name]["L4"]["state"] == "differing"
    assert outcome["levels"]["L4"]["differing"] == 1
    observed("L4 holds by the archive's own code; verdicts by the reviewer's checkout stand beside "
             "it in the table, and the one that differs is named")  # fmt: skip


@pytest.mark.fault(
    "an archive whose source is not the commit's",
    area="hostile input",
    provoked="a module changed in `source/`, which is said to be as committed; the reviewer's "
    "checkout has the commit",
)
def test_a_source_that_is_not_its_commits(
    kdlm: Kdlm, archived: Path, unpacked: Path, tmp_path: Path, observed: Observed
) -> None:
    archive = lied_about(archived, unpacked, tmp_path)
    run = kdlm("reproduce", archive, "--folder", tmp_path / "out", "--level", "L0")
    assert run.returncode == 1
    commit = json.loads((unpacked / "archive.json").read_text())["source"]["commit"]
    assert f"L0 failed: {SOURCE_ROW}: not the commit's {commit}: {CODE[7:]}" in run.stdout
    observed("L0 fails, and names the file")


@pytest.fixture
def clone(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkout that the archive was made in, taken for the one that runs."""
    folder = workplace / "clone"
    monkeypatch.setattr(package, "__file__", str(folder / "src/kdlm/__init__.py"))
    return folder


def _compared(archive: Path, folder: Path) -> tuple[State, str]:
    outcomes = Outcomes((Level.INTEGRITY,))
    compare_source(open_archive(archive, folder), outcomes)
    return outcomes.states[SOURCE_ROW][Level.INTEGRITY]


def test_every_file_of_the_source_is_held_against_its_commit(
    clone: Path, archived: Path, unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (clone / ".git").is_dir()
    assert _compared(archived, tmp_path / "honest") == (State.HELD, "")
    for change in (
        {"source/docs/more.md": b"x"}, {"source/README.md": None}, {"source/README.md": b"x"},
    ):  # fmt: skip
        archive = changed(archived, tmp_path / "a.zip", change)
        state, reason = _compared(archive, tmp_path / str(len(list(tmp_path.iterdir()))))
        assert state == State.FAILED
        assert reason.endswith(next(iter(change)).removeprefix("source/"))
    told = json.loads((unpacked / "archive.json").read_text())
    told["source"]["as_committed"] = False
    change = {"archive.json": json.dumps(told).encode(), "source/README.md": b"x"}
    state, reason = _compared(changed(archived, tmp_path / "b.zip", change), tmp_path / "said")
    assert state == State.NOT_DONE
    assert "as the archive says (source.diff): README.md" in reason
    monkeypatch.setenv("PATH", "/nowhere")
    assert _compared(archived, tmp_path / "no git") == (
        State.NOT_DONE, "not compared: there is no git here",
    )  # fmt: skip


@pytest.mark.parametrize("commit", ["--output=x", "HEAD", "main", None, "0" * 39, ["0" * 40]])
def test_a_commit_that_is_none_is_not_asked_for(
    commit: Any, tiny: dict[str, Any], tmp_path: Path
) -> None:
    contents = made_up(tiny)
    facts = json.loads(contents["archive.json"])
    facts["source"]["commit"] = commit
    contents["archive.json"] = json.dumps(facts).encode()
    archive = repacked(tmp_path / "a.zip", contents.items())
    assert _compared(archive, tmp_path / "out") == (
        State.NOT_DONE, "not compared: the archive names no commit",
    )  # fmt: skip


def test_a_study_that_this_checkout_cannot_judge(tiny: dict[str, Any], tmp_path: Path) -> None:
    archive = repacked(tmp_path / "a.zip", made_up(tiny).items())
    outcomes = Outcomes((Level.VERDICT,))
    compare_own_verdicts(open_archive(archive, tmp_path / "out"), outcomes)
    state, reason = outcomes.states[f"{OURS}verdicts"][Level.VERDICT]
    assert state == State.NOT_DONE
    assert reason.startswith("this checkout cannot judge what is archived: kdlm judge: ")
    assert not outcomes.held(Level.VERDICT)
