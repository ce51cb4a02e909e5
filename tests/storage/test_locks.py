"""Locks that end with the process that holds them, however it ends."""

import errno
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdlm.errors import InputError
from kdlm.storage.locks import acquire_folder, lock_file, lock_folder

Observed = Callable[[str], None]


def test_a_folder_is_held_by_one_alone(tmp_path: Path) -> None:
    with (
        acquire_folder(tmp_path / "study"),
        pytest.raises(InputError, match=r"study is being worked on by"),
    ):
        acquire_folder(tmp_path / "study")
    acquire_folder(tmp_path / "study").close()


def test_the_refusal_names_the_holder_and_its_death_frees_the_folder(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from kdlm.storage.locks import acquire_folder;"
        "held = acquire_folder(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"by process {holder.pid} on .*; wait for it"):
            acquire_folder(tmp_path)
        holder.send_signal(signal.SIGKILL)
    acquire_folder(tmp_path).close()


def test_whoever_waits_comes_after(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with lock_file(tmp_path / "lock"):
            order.append("second")

    with lock_file(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


HOLDER = """
import pathlib, sys
from kdlm.storage.locks import lock_folder
with lock_folder(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that works on the folder ``job`` until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "job"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_job_waits_for_the_same_job_and_says_for_whom(
    holder: subprocess.Popen[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    threading.Timer(0.7, holder.send_signal, [signal.SIGKILL]).start()
    with lock_folder(tmp_path / "job"):
        assert holder.wait() == -signal.SIGKILL
    (said,) = caplog.messages
    assert f"job is being worked on by process {holder.pid} on" in said


def test_a_signal_ends_the_waiting(
    holder: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlm.signals.received", lambda: signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, lock_folder(tmp_path / "job"):
        pytest.fail("the other has it")
    assert caught.value.code == 128 + signal.SIGTERM
    assert holder.poll() is None


def test_a_job_goes_on_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with lock_folder(tmp_path / "file"):
        assert "file: no lock (" in caplog.text
    caplog.clear()

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with lock_folder(tmp_path / "job"):
        assert "job: no locks on this file system (No locks available), so nothing" in caplog.text
    with lock_file(tmp_path / "data" / "lock"):
        assert f"to test it: flock {tmp_path / 'data' / '.lock'} true" in caplog.text
