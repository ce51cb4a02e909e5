"""Journals of controllers: dead ones, living ones, and those that died at a bad moment."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.journal import Journal, RivalError, Submission, Took


def _submission(job_id: str, key: str | None = None) -> Submission:
    return Submission(
        job_id=job_id,
        cluster="slurm",
        folder="batch",
        key=key or f"out/{job_id}",
        fingerprint="f",
        title="t",
        logs="logs",
    )


def _die(journal: Journal) -> None:
    """What the kernel does with a process's files, whatever kills it."""
    journal._file.close()
    journal._lock.close()


def _dead(folder: Path, *job_ids: str) -> Journal:
    journal = Journal(folder)
    journal.submitting("tag", [])
    journal.submitted("tag", [_submission(job_id) for job_id in job_ids])
    _die(journal)
    return journal


def test_nothing_is_left_of_a_controller_with_nothing_left(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.submitting("tag", [])
    journal.submitted("tag", [_submission("1"), _submission("2")])
    journal.ended(["1"])
    assert list(journal.live) == ["2"]
    journal.ended(["2", "3"])
    journal.close()
    assert not list(tmp_path.iterdir())


def test_what_still_runs_outlives_a_close(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.submitting("tag", [])
    journal.submitted("tag", [_submission("1"), _submission("2")])
    journal.ended(["1"])
    journal.close()
    took = Journal(tmp_path).take({"out/1", "out/2"})
    assert took.orphans == [_submission("2")]
    assert not took.unfinished


def test_several_dead_controllers_are_taken_over_once(tmp_path: Path) -> None:
    _dead(tmp_path, "1", "2")
    _dead(tmp_path, "3")
    journal = Journal(tmp_path)
    took = journal.take({"out/1", "out/3"})
    assert {one.job_id for one in took.orphans} == {"1", "3"} == set(journal.live)
    # until it is known what became of them
    assert journal.take({"out/1", "out/3"}) == Took(took.orphans, [])
    journal.ended(["3"])
    assert [one.job_id for one in journal.take({"out/1", "out/3"}).orphans] == ["1"]
    # and once more, from the one that took them
    _die(journal)
    heir = Journal(tmp_path)
    took = heir.take({"out/1", "out/2", "out/3"})
    assert sorted(one.job_id for one in took.orphans) == ["1", "2"]
    assert [path for path in tmp_path.iterdir() if path != heir._folder] == []


def test_only_what_is_asked_for_is_taken(tmp_path: Path) -> None:
    _dead(tmp_path, "1", "2")
    assert not Journal(tmp_path).take({"elsewhere"}).orphans
    assert len(Journal(tmp_path).take({"out/1", "out/2"}).orphans) == 2


def test_death_between_submission_and_its_record(tmp_path: Path) -> None:
    journal = _dead(tmp_path, "1")
    with (journal._folder / "journal.jsonl").open("a") as file:
        file.write('{"submitting": "lost", "keys": ["out/9"]}\n')
    heir = Journal(tmp_path)
    took = heir.take(set())
    assert took.unfinished == ["lost"]
    assert heir.unfinished == {"lost"}
    assert not took.orphans
    # dying before it could cancel them, it leaves that to the next
    _die(heir)
    assert Journal(tmp_path).take(set()).unfinished == ["lost"]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_death_in_the_midst_of_a_line(tmp_path: Path, cut: int) -> None:
    journal = _dead(tmp_path, "1")
    path = journal._folder / "journal.jsonl"
    whole = path.read_text()
    path.write_text(whole + whole.splitlines()[-1].replace('"1"', '"9"')[:cut])
    journal = Journal(tmp_path)
    assert [one.job_id for one in journal.take({"out/1"}).orphans] == ["1"]


def test_what_follows_half_a_line_is_not_lost(tmp_path: Path) -> None:
    """Somebody took one of two jobs from a journal that ends in half a line, then died too."""
    dead = _dead(tmp_path, "1", "2")
    with (dead._folder / "journal.jsonl").open("a") as file:
        file.write('{"ended": ["2')
    first = Journal(tmp_path)
    assert [one.job_id for one in first.take({"out/1"}).orphans] == ["1"]
    first.ended(["1"])
    first.close()
    took = Journal(tmp_path).take({"out/1", "out/2"})
    assert [one.job_id for one in took.orphans] == ["2"]


def test_a_journal_that_was_begun_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "lock").touch()
    (tmp_path / "stray.txt").touch()
    took = Journal(tmp_path).take({"out/1"})
    assert (took.orphans, took.unfinished) == ([], [])


RIVAL = """
import json, sys
from pathlib import Path
from snakemake_executor_plugin_submitit.journal import Journal, Submission

journal = Journal(Path(sys.argv[1]))
journal.submitting("tag", [])
journal.submitted("tag", [Submission(**json.loads(sys.argv[2]))])
journal.submitting("half done", ["out/2"])
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("dies", [True, False])
def test_a_living_rival(tmp_path: Path, *, dies: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RIVAL, tmp_path, json.dumps(asdict(_submission("1")))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as rival:
        assert rival.stdout is not None
        assert rival.stdout.readline() == b"ready\n"
        for key in ("out/1", "out/2"):
            journal = Journal(tmp_path)
            message = rf"the snakemake of process {rival.pid} on \S+ works on {key}; nothing was"
            with pytest.raises(RivalError, match=message):
                journal.take({key})
            with pytest.raises(RivalError, match=message):
                journal.claim({key}, set())
            assert not journal.take({"elsewhere"}).orphans
            journal.close()
        if dies:
            rival.kill()
    if dies:
        took = Journal(tmp_path).take({"out/1"})
        assert took.orphans == [_submission("1")]
        assert took.unfinished == ["half done"]


def test_other_people_cannot_read_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new")
    assert journal._folder.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Journal(tmp_path / "file")
