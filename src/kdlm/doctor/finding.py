"""Findings of the checks, and running a check so that it can neither fail nor hang."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "found_by", "ok", "output_of", "problem", "warning"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    status: Literal["ok", "warning", "problem"]
    subject: str
    text: str
    advice: str = ""
    """What to do, unless all is well."""


def ok(subject: str, text: str) -> Finding:
    """Return the finding that all is well."""
    return Finding("ok", subject, text)


def warning(subject: str, text: str, advice: str) -> Finding:
    """Return a finding that does not keep a study from running."""
    return Finding("warning", subject, text, advice)


def problem(subject: str, text: str, advice: str) -> Finding:
    """Return a finding that keeps a study from running."""
    return Finding("problem", subject, text, advice)


def found_by(
    subject: str, check: Callable[[], Iterable[Finding]], seconds: float = 10
) -> list[Finding]:
    """Return what a check finds; a warning if the check fails, or takes longer than ``seconds``.

    The check runs in a thread of its own, which is left alone when the time is over: a file system
    that does not answer cannot be interrupted.
    """
    findings: list[Finding] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            findings.extend(check())
        except Exception as error:  # whatever it is, the other checks go on
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    found = list(findings)
    if thread.is_alive():
        why = f"no answer within {seconds:g} s"
    elif failures:
        why = f"{type(failures[0]).__name__}: {failures[0]}"
    else:
        return found
    return [*found, warning(subject, f"could not be checked ({why})", "check it by hand")]


def output_of(command: Sequence[str], seconds: float) -> tuple[bool, str]:
    """Run a program for at most ``seconds``; then it is killed, with all that it has started.

    Returns:
        Whether it succeeded, and what it printed, with its errors; or why it printed nothing.

    """
    try:
        process = subprocess.Popen(  # noqa: S603 - fixed programs, from the PATH of the user
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return False, error.strerror or str(error)
    with process:
        try:
            printed, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return False, f"no answer within {seconds:g} s"
    return process.returncode == 0, printed.strip()
