"""What runs on the node. submitit's pickles name this module, so it imports nothing of the rest."""

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
"""The signal by which submitit has Slurm announce a preemption or the time limit."""

EARLY = 120
"""Seconds by which a notice may be early: Slurm's own 60 (sbatch, --signal) and setup lines."""

ELSEWHERE = "the log cannot be"
"""How a line begins after which a job's own output stands in for the log."""

RUNTIMES = frozenset({"java", "R", "julia"})
"""Programs that handle SIGUSR2 for ends of their own, whatever they run; not to save its work."""


BINDINGS = frozenset({"SLURM_CPU_BIND", "SLURM_MEM_BIND", "SLURM_GPU_BIND", "SLURM_GPUS_BIND"})
"""Variables by which srun tells this step its cores and memory. To an inner srun they would be a
request, on nodes that may have others to give."""


class CommandError(Exception):
    """A job's command has failed; says how."""


@dataclass
class JobCommand:
    """One Snakemake job as a shell command, run by submitit.

    Its output goes to its log through a pipe, so that a log which cannot be written does not fail
    the job. At a notice (preemption, or the end of the time limit) those of its processes that
    handle SIGUSR2 get it, to save their work; then the job is requeued. All other processes ignore
    that signal. A job of which no process handles it is left alone at its time limit, because to
    start it over would end at the same place.
    """

    command: str
    folder: str
    logs: str
    """Folder of its logs."""
    title: str
    tag: str
    """A word that its submission has alone; by it a controller that knows no id finds the job."""
    runtime: int
    """Time limit in seconds."""
    notice: int
    """Seconds between the notice and the time limit."""
    max_requeues: int
    requeue_at_limit: bool
    """Whether the job may be started over at its time limit, to go on from what it saved."""
    requeues: int = 0

    def __call__(self) -> None:
        """Run the command.

        Raises:
            CommandError: if it fails; so that Slurm too counts the job as failed.
        """
        requeue = signal.getsignal(NOTICE)
        environment = JobEnvironment()
        result = environment.paths.result_pickle
        if _is_success(result):
            # Slurm 24.11 requeues a preempted job also when it ended well; others read its output
            _say("this job has succeeded before; it does not run again")
            return
        _rename(f"{self.title} {self.tag}")
        # A run before, which Slurm requeued, may have taken its end for a failure.
        with contextlib.suppress(OSError):
            result.unlink()
        # Ignored signals stay ignored in whatever the child starts, unless that handles them.
        signal.signal(NOTICE, signal.SIG_IGN)
        # `python` is the controller's, also where its environment has not been activated.
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
        # A process that the job left behind may hold the pipe open.
        pump.join(timeout=10)
        if status != 0:
            # The SIGTERM that ended the command may be about to reach this process too.
            time.sleep(1)
            if terminated:
                # No result: whoever sent it knows better how this ended.
                _wait_for_end()
            raise CommandError(_describe(status))

    def _listen(
        self, child: subprocess.Popen[bytes], requeue: object, terminated: list[int]
    ) -> None:
        """Pass the signals on that Slurm sends; ``requeue`` is submitit's answer to a notice."""
        started = time.monotonic()
        # Slurm tells the job's own processes too, which may have ended before this one looks.
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
            # A preemption (Slurm requeues by itself) or scancel; SIGKILL follows either.
            terminated.append(signum)
            for process in _listeners(child.pid):
                with contextlib.suppress(psutil.Error):
                    process.send_signal(NOTICE)

        signal.signal(signal.SIGTERM, on_terminate)
        signal.signal(NOTICE, on_notice)

    def checkpoint(self) -> DelayedSubmission:
        """What submitit stores for the next run of this job, which it then requeues.

        Raises:
            RuntimeError: if it was requeued too often; submitit hands it to the controller.
        """
        if self.requeues >= self.max_requeues:
            raise RuntimeError(
                f"not requeued: this job was already requeued {self.requeues} times"
                " (--submitit-max-requeues)"
            )
        self.requeues += 1
        return DelayedSubmission(self)


def _is_success(path: Path) -> bool:
    """Whether a result is on record, and says that the job succeeded."""
    try:
        kind, _ = pickle_load(path)
    except Exception:
        # none, or half of one
        return False
    return bool(kind == "success")


def _describe(status: int) -> str:
    """The exit status of a process, negative for a signal, in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"ended by signal {-status}"


def log_path(logs: str, job_id: str) -> Path:
    """Log of the job with this id of the scheduler."""
    return Path(logs, f"{job_id}.log")


def _pump(output: IO[bytes], path: Path) -> None:
    """Copy the child's output to the log; where that fails, to this job's own output."""
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
    """Processes of the job that have a handler for the notice, to save their work."""
    for process in _descendants(pid):
        with contextlib.suppress(OSError, StopIteration, psutil.Error):
            if process.name() in RUNTIMES:
                continue
            text = Path(f"/proc/{process.pid}/status").read_text()
            mask = next(line for line in text.splitlines() if line.startswith("SigCgt:"))
            if int(mask.split()[1], 16) >> (NOTICE - 1) & 1:
                yield process


def _watch(pid: int, heard: threading.Event) -> None:
    """Note whether a process of the job ever has a handler for the notice."""
    pause = 1.0
    while not any(_listeners(pid)):
        time.sleep(pause)
        pause = min(2 * pause, 60)
    heard.set()


def _wait(child: subprocess.Popen[bytes]) -> int:
    """`Popen.wait`, which however takes a status that is not to be had for 0, a success."""
    result = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    child.wait()
    if result is None or result.si_code != os.CLD_EXITED:
        return -(result.si_status if result else signal.SIGKILL)
    return result.si_status


def _succeeds(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the child ends well within that time; its status is left for `Popen.wait`."""
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
    """In `squeue` a task of an array bears the array's name until it says its own."""
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
