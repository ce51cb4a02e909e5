"""Locks that are not there, and locks that only the machine that took them sees."""

import errno
import fcntl
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Never

import pytest

from fake_slurm import FakeSlurm
from snakemake_executor_plugin_submitit import locks
from snakemake_executor_plugin_submitit.journal import Journal, RivalError, Submission
from snakemake_executor_plugin_submitit.locks import LockError, seen_everywhere
from study import Study


def _submission(job_id: str) -> Submission:
    return Submission(
        job_id=job_id,
        cluster="slurm",
        folder="batch",
        key=f"out/{job_id}",
        fingerprint="f",
        title="t",
        logs="logs",
    )


@pytest.mark.fault(
    "a file system without locks",
    area="cluster",
    provoked="flock ends with ENOSYS, EOPNOTSUPP or ENOLCK",
)
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    observed: Callable[[str], None],
    number: int,
) -> None:
    def refuse(*_: Any) -> Never:
        raise OSError(number, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(LockError, match=r"file system has no locks.*to test it: `flock \S+ true`"):
        Journal(tmp_path)
    assert not list(tmp_path.iterdir())
    observed("the run is refused in one line that names locks, what is needed, and how to test it")


MOUNTS = {
    "ext4 rw": True,
    "nfs4 rw,vers=4.2,local_lock=none": True,
    "nfs rw,vers=3,nolock,local_lock=all": False,
    "nfs rw,vers=3,local_lock=flock": False,
    "lustre rw,flock,lazystatfs": True,
    "lustre rw,localflock": False,
    "gpfs rw": True,
    "beegfs rw": False,
    "fuse.sshfs rw": False,
    "9p rw": False,
}


def _mount(folder: Path, monkeypatch: pytest.MonkeyPatch, mount: str) -> None:
    kind, options = mount.split()
    place = str(folder).replace(" ", "\\040")
    text = "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
    text += f"40 22 0:50 / {place} rw,relatime shared:7 - {kind} server:/x {options}\n"
    table = folder.parent / "mountinfo"
    table.write_text(text)
    monkeypatch.setattr(locks, "_MOUNTS", table)


@pytest.mark.parametrize(("mount", "seen"), MOUNTS.items())
def test_where_locks_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: str, *, seen: bool
) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    _mount(folder, monkeypatch, mount)
    assert seen_everywhere(folder) is seen
    assert seen_everywhere(tmp_path)


def _from_elsewhere(journal: Journal, text: str = "process 17 on login2\nanother-boot\n") -> None:
    """As if another machine had written it, whose lock this one does not see."""
    journal._file.close()
    journal._lock.close()
    (journal._folder / "lock").write_text(text)


@pytest.mark.parametrize("mount", MOUNTS)
def test_the_controller_of_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: str
) -> None:
    folder = tmp_path / "controllers"
    journal = Journal(folder)
    journal.claim({"out/1", "out/2"}, {"data"})
    journal.submitting("tag", [])
    journal.submitted("tag", [_submission("1")])
    _from_elsewhere(journal)
    _mount(folder, monkeypatch, mount)
    heir = Journal(folder)
    if MOUNTS[mount]:
        heir.claim({"out/1"}, set())
        assert heir.take({"out/1"}).orphans == [_submission("1")]
        return
    message = (
        r"the snakemake of process 17 on login2 worked on out/1, and whether it still does cannot"
        r" be told from here, .* \(to test it: .*\)\. Nothing was touched: start snakemake on that"
        r" machine; or, if it has ended, scancel 1 and remove "
    )
    with pytest.raises(RivalError, match=message):
        heir.claim({"out/1"}, set())
    with pytest.raises(RivalError, match=message):
        heir.take({"out/1"})
    assert not heir.live
    # what it reads may not be made, what it does not touch may
    with pytest.raises(RivalError, match="worked on data"):
        heir.claim({"data"}, set())
    heir.claim({"out/9"}, {"data"})


def test_the_same_machine_after_a_reboot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "controllers"
    journal = Journal(folder)
    journal.submitting("tag", [])
    journal.submitted("tag", [_submission("1")])
    _from_elsewhere(journal, f"process 17 on {socket.gethostname()}\nbefore\n")
    _mount(folder, monkeypatch, "beegfs rw")
    assert Journal(folder).take({"out/1"}).orphans == [_submission("1")]


@pytest.mark.fault(
    "a controller on a machine whose locks cannot be seen",
    area="cluster",
    provoked="a lock that looks free, taken on another machine, where locks may be local to it",
)
def test_jobs_of_another_machine_are_left_alone(
    slurm: FakeSlurm, study: Study, observed: Callable[[str], None]
) -> None:
    study.write('rule a:\n    output: "done"\n    shell: "touch {output}"\n')
    slurm.fault("hold", "Resources")
    first = study.start()
    first.says("Submitted job 100")
    first.process.kill()
    first.end()
    (lock,) = study.files(".snakemake/submitit/controllers/*/lock")
    lock.write_text("process 17 on login2\nanother-boot\n")
    # as on a file system that is in no table
    code = "import snakemake_executor_plugin_submitit.locks as locks\nlocks._LOCAL = frozenset()\n"
    (study.folder / "sitecustomize.py").write_text(code)
    study.environment["PYTHONPATH"] = str(study.folder)
    text = study.start("--nolock", "--rerun-incomplete").fail()
    assert "submitit: the snakemake of process 17 on login2 worked on done" in text
    assert "Error in rule" not in text
    assert slurm.state_of("100") == "PENDING"
    assert not slurm.calls("scancel")
    observed("nothing is adopted or cancelled; one line says what to do and how to test the locks")
