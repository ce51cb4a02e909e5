"""Locks that end with the process that holds them, however it ends."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlm.errors import InputError
from kdlm.locks import hold, waiting

Observed = Callable[[str], None]


def test_a_folder_is_held_by_one_alone(tmp_path: Path) -> None:
    with hold(tmp_path / "study"), pytest.raises(InputError, match=r"study is being worked on by"):
        hold(tmp_path / "study")
    hold(tmp_path / "study").close()


def test_the_refusal_names_the_holder_and_its_death_frees_the_folder(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from kdlm.locks import hold;"
        "held = hold(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"by process {holder.pid} on .*; wait for it"):
            hold(tmp_path)
        holder.send_signal(signal.SIGKILL)
    hold(tmp_path).close()


def test_whoever_waits_comes_after(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with waiting(tmp_path / "lock"):
            order.append("second")

    with waiting(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
