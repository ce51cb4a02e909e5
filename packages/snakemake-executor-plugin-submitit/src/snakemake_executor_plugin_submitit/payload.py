"""The code that runs on the node.

submitit's pickles name this module, so the node imports it; it imports no other module of the
plugin.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Never

import psutil
from submitit import JobEnvironment
from submitit.core.utils import pickle_load
from submitit.helpers import DelayedSubmission

__all__ = ["ELSEWHERE", "CommandError", "JobCommand", "log_path"]

NOTICE = signal.SIGUSR2
"""The signal that announces a preemption or the time limit; submitit requests it of Slurm."""

EARLY = 120
"""Seconds by which a notice may be early: 60 allowed to Slurm (sbatch, --signal), and the time of
the setup lines."""

ELSEWHERE = "the log cannot be"
"""Beginning of the line after which the text of the log follows in the job's own output."""

RUNTIMES = frozenset({"java", "R", "julia"})
"""Programs that handle SIGUSR2 for purposes of their own, and not to save work."""


BINDINGS = frozenset({"SLURM_CPU_BIND", "SLURM_MEM_BIND", "SLURM_GPU_BIND", "SLURM_GPUS_BIND"})
"""Variables by which srun tells this step its cores and memory. An inner srun would take them for a
request, which nodes with other free cores could not meet."""


class CommandError(Exception):
    """A job's command has failed; the message is its exit status or signal."""


@dataclass
class JobCommand:
    """One Snakemake job as a shell command, run by submitit.

    Its output goes to its log through a pipe, so that the job does not fail if the log cannot be
    written. At a notice (of a preemption or of the time limit) the processes of the job that handle
    SIGUSR2 receive it and save their work; then the job is requeued. All other processes ignore the
    signal. If no process of a job handles it, the job runs on to its time limit, because after a
    requeue it would only reach the same limit again.
    """

    command: str
    folder: str
    """Working directory of the command."""
    logs: str
    """Folder of the job's logs."""
    title: str
    tag: str
    """A word unique to the submission, by which a controller finds jobs whose ids it lacks."""
    runtime: int
    """Time limit in seconds."""
    notice: int
    """Seconds between the notice and the time limit."""
    max_requeues: int
    requeue_at_limit: bool
    """Whether the job may be requeued at its time limit, to go on from its saved work."""
    requeues: int = 0
    """How often the job was requeued so far."""

    def __call__(self) -> None:
        """Run the command and wait for its end.

        Raises:
            CommandError: the command failed. Raised rather than returned so that Slurm, too, counts
                the job as failed.
        """
        requeue = signal.getsignal(NOTICE)
        environment = JobEnvironment()
        result = environment.paths.result_pickle
        if _is_success(result):
            # Slurm 24.11 requeues a preempted job even after a success, and by then other jobs may
            # read its outputs.
            _say("this job has succeeded before; it does not run again")
            return
        _rename(f"{self.title} {self.tag}")
        # An earlier run of this job, which Slurm requeued, may have recorded its end as a failure.
        with contextlib.suppress(OSError):
            result.unlink()
        # Processes inherit an ignored signal as ignored, unless they install a handler.
        signal.signal(NOTICE, signal.SIG_IGN)
        # With this, `python` is the controller's Python, even if its environment is not activated.
        path = os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])
        log = log_path(self.logs, environment.job_id)
        terminated: list[int] = []
        child = subprocess.Popen(  # noqa: S603
            ["/bin/bash", "-c", self.command],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if name not in BINDINGS}
            | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            self._listen(child, requeue, terminated)
            pump = threading.Thread(target=_pump, args=(child.stdout, log), daemon=True)
            pump.start()
            status = _wait(child)
        finally:
            _kill(child.pid)
        # A process that the job left behind may hold the pipe open, hence the timeout.
        pump.join(timeout=10)
        if status != 0:
            # The SIGTERM that ended the command may be about to reach this process too.
            time.sleep(1)
            if terminated:
                # Leave no result, so that the scheduler's state (preempted, cancelled) is reported.
                _wait_for_end()
            raise CommandError(_describe(status))

    def _listen(
        self, child: subprocess.Popen[bytes], requeue: object, terminated: list[int]
    ) -> None:
        """Install handlers that pass Slurm's signals on to the processes of the job.

        ``requeue`` is submitit's handler of a notice. The numbers of terminating signals are
        appended to ``terminated``.
        """
        started = time.monotonic()
        # Slurm signals the job's processes directly too, so that a process with a handler may have
        # ended by the time on_notice looks for it. `heard` remembers that there was one.
        heard = threading.Event()
        threading.Thread(target=_watch, args=(child.pid, heard), daemon=True).start()

        def on_notice(signum: int, frame: FrameType | None) -> None:
            listeners = list(_listeners(child.pid))
            at_limit = time.monotonic() - started >= self.runtime - self.notice - EARLY
            if at_limit and not (self.requeue_at_limit and (listeners or heard.is_set())):
                _say(
                    "time limit ahead; this job saves no work that it could go on from: it runs on"
                )
                return
            for process in listeners:
                _say(f"notice: SIGUSR2 to process {process.pid}, which saves its work")
                with contextlib.suppress(psutil.Error):
                    process.send_signal(NOTICE)
            if (listeners or heard.is_set()) and _succeeds(child, 0.8 * self.notice):
                return
            if callable(requeue):
                requeue(signum, frame)

        def on_terminate(signum: int, _frame: FrameType | None) -> None:
            # Slurm preempts the job, and requeues it by itself, or a user cancels it. In both cases
            # SIGKILL follows.
            terminated.append(signum)
            for process in _listeners(child.pid):
                with contextlib.suppress(psutil.Error):
                    process.send_signal(NOTICE)

        signal.signal(signal.SIGTERM, on_terminate)
        signal.signal(NOTICE, on_notice)

    def checkpoint(self) -> DelayedSubmission:
        """Return the submission that submitit stores for the next run before it requeues the job.

        Raises:
            RuntimeError: the job was requeued too often; submitit passes the error on to the
                controller as the job's result.
        """
        if self.requeues >= self.max_requeues:
            raise RuntimeError(
                f"not requeued: this job was already requeued {self.requeues} times"
                " (--submitit-max-requeues)"
            )
        self.requeues += 1
        return DelayedSubmission(self)


def _is_success(path: Path) -> bool:
    """Return whether there is a result, and it is a success."""
    try:
        kind, _ = pickle_load(path)
    except Exception:
        # The file is missing or incomplete.
        return False
    return bool(kind == "success")


def _describe(status: int) -> str:
    """Return the exit status of a process, negative for a signal, in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"ended by signal {-status}"


def log_path(logs: str, job_id: str) -> Path:
    """Return the path of the log of the job with this scheduler's id."""
    return Path(logs, f"{job_id}.log")


def _pump(output: IO[bytes], path: Path) -> None:
    """Copy the child's output to the log, or to this process's output if the log fails."""
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("ab", buffering=0)).fileno()
        except OSError as error:
            _say(f"{ELSEWHERE} opened, its text follows here: {error}")
            file = sys.stdout.fileno()
        while chunk := os.read(output.fileno(), 1 << 16):
            try:
                os.write(file, chunk)
            except OSError as error:
                _say(f"{ELSEWHERE} written, its text follows here: {error}")
                file = sys.stdout.fileno()
                with contextlib.suppress(OSError):
                    os.write(file, chunk)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _listeners(pid: int) -> Iterator[psutil.Process]:
    """Yield the processes of the job that handle the notice in order to save their work."""
    for process in _descendants(pid):
        with contextlib.suppress(OSError, StopIteration, psutil.Error):
            if process.name() in RUNTIMES:
                continue
            text = Path(f"/proc/{process.pid}/status").read_text()
            mask = next(line for line in text.splitlines() if line.startswith("SigCgt:"))
            if int(mask.split()[1], 16) >> (NOTICE - 1) & 1:
                yield process


def _watch(pid: int, heard: threading.Event) -> None:
    """Set ``heard`` once a process of the job handles the notice."""
    pause = 1.0
    while not any(_listeners(pid)):
        time.sleep(pause)
        pause = min(2 * pause, 60)
    heard.set()


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Wait for the child, and return its exit status, negative for a signal.

    The return value of `Popen.wait` is not used: it is 0, as after a success, if the status cannot
    be obtained.
    """
    result = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    child.wait()
    if result is None or result.si_code != os.CLD_EXITED:
        return -(result.si_status if result else signal.SIGKILL)
    return result.si_status


def _succeeds(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Return whether the child succeeds within that time; leave its status for `Popen.wait`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if result is not None:
            return result.si_code == os.CLD_EXITED and result.si_status == 0
        time.sleep(0.1)
    return False


def _kill(pid: int) -> None:
    for process in reversed(_descendants(pid)):
        with contextlib.suppress(psutil.Error):
            process.kill()


def _wait_for_end() -> Never:
    time.sleep(300)
    raise SystemExit(128 + signal.SIGTERM)


def _rename(comment: str) -> None:
    """Set the comment of this task in `squeue`, where it otherwise has that of the whole array."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    if array and task:
        with contextlib.suppress(OSError):
            subprocess.Popen(  # noqa: S603
                ["scontrol", "update", f"JobId={array}_{task}", f"Comment={comment}"],  # noqa: S607
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, flush=True)
